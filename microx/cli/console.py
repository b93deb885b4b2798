"""What the command line prints: bars, sentences and tables. It computes nothing of its own."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microx.cli.wording import say_options
from microx.progress import Progress, show_bar
from microx.schema import CLIP_FRAMES

if TYPE_CHECKING:
    import pandas as pd

    from microx.cli.doctor import Finding
    from microx.corpus.corpus import Corpus
    from microx.corpus.quality import CorpusSummary
    from microx.evaluation.result import EvaluationResult
    from microx.experiments.leakage import Leak
    from microx.experiments.run import Run
    from microx.inference.meeting import Meeting
    from microx.inference.prediction import Prediction
    from microx.labels.labels import Labels
    from microx.spotting.experiment import SpottingRun
    from microx.spotting.video import SpottedVideo

N_WORST, N_GOOD = 10, 10
"""Videos that are printed one by one: the worst of a corpus; of a check, those without remarks
(our choice)."""

WIDE = 160
"""Columns of a table that goes to a file or another program (our choice)."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


@contextmanager
def show_progress(what: str, unit: str) -> Iterator[Progress]:
    """Show the bar of `microx.progress.show_bar` on the console."""
    with show_bar(what, unit, console) as advance:
        yield advance


def say(what: str, value: object) -> None:
    """Print one thing and its value on one line, however long."""
    console.print(f"{what}: {escape(say_options(str(value)))}", soft_wrap=True)


def warn(text: str) -> None:
    """Print a sentence to heed: broken between words on a terminal, and not at all in a file."""
    console.print(f"caution: {escape(say_options(text))}", soft_wrap=not console.is_terminal)


def print_ledger(corpus: Corpus) -> None:
    """Print what became of every video, frame and clip, and what to look into."""
    from microx.corpus.quality import find_doubts, summarize_corpus, tabulate_sources

    summary = summarize_corpus(corpus)
    kept = f"; {corpus.n_kept} of them were there already" if corpus.n_kept else ""
    console.print(f"\nvideos: {summary.n_done} done, {summary.n_skipped} skipped{kept}")
    _print_reasons(summary.reasons)
    if corpus.n_left_out:
        console.print(f"{_count_videos(corpus.n_left_out)} no longer named: crops removed")
    if summary.n_done:
        _print_frames(summary, corpus.recipe.get("frame_rate"))
        _print_emotions(corpus)
        _print_occluders(tabulate_sources(corpus))
        say("subjects", summary.n_subjects or "none named, so splits are by video")
    for doubt in find_doubts(corpus):
        warn(doubt)


def print_reading(labels: Labels) -> None:
    """Print what may spoil a result, and then what was taken for what, in the labels."""
    for caution in labels.cautions:
        warn(caution)
    for note in labels.notes:
        say("note", note)


def print_left_out(labels: Labels) -> None:
    """Print how many videos can be used, and the reasons of those that cannot."""
    from microx.text import first_few

    table = labels.table
    usable = table[table["reason"] == ""]
    say("videos", f"{len(usable)} with a label, {len(table) - len(usable)} left out")
    groups = [
        (str(reason), rows["path"].tolist())
        for reason, rows in table[table["reason"] != ""].groupby("reason", sort=False)
    ]
    for reason, paths in groups[:N_WORST]:
        named = escape(f"{reason} ({first_few(paths)})")
        console.print(f"  left out {len(paths)}: {named}", soft_wrap=True)
    if len(groups) > N_WORST:
        console.print(f"  and {sum(len(paths) for _, paths in groups[N_WORST:])} more like these")
    counts = ", ".join(f"{name} {n}" for name, n in usable["emotion"].value_counts().items())
    say("emotions", counts)
    say("subjects", usable["subject"].replace("", None).nunique() or "none named")


def print_labelling(labels: Labels) -> None:
    """Print which spellings a label set made another class of, and where frames are missing."""
    from microx.corpus.quality import find_missing_numbers
    from microx.labels.labels import find_mapped
    from microx.preprocessing.video import list_files
    from microx.text import first_few

    mapped = find_mapped(labels)
    if mapped:
        say(f"label set {labels.label_set}", "; ".join(mapped))
    gaps = []
    for path in labels.table.loc[labels.table["reason"] == "", "path"]:
        if (labels.root / path).is_dir():
            images = list_files(labels.root / path)
            lacking = find_missing_numbers(image.name for image in images)
            gaps += [f"{path} ({lacking})"] if lacking else []
    if gaps:
        warn(
            f"numbers are missing between the images of {_count_videos(len(gaps))}, and those "
            f"after them move up in time: {first_few(gaps)}"
        )


def print_videos(table: pd.DataFrame) -> None:
    """Print the most doubtful videos of `microx.corpus.quality.tabulate_videos`."""
    console.print()
    title = "video" if len(table) <= N_WORST else f"video, the {N_WORST} worst of {len(table)}"
    columns = (title, "emotion", "without\ncrops", "lowest\nconfidence", "largest\njump", "clips")
    rows = [
        (
            str(row.video_id),
            str(row.emotion),
            f"{row.missing:.0%}",
            f"{row.confidence:.2f}",
            f"{row.jump:.2f}",
            str(row.n_clips),
        )
        for row in table.head(N_WORST).itertuples()
    ]
    _print_table(columns, rows, n_texts=2)


def print_training(history: pd.DataFrame) -> None:
    """Print how long a training took and its best epoch; see `fit_model`."""
    from microx.training.facts import find_best

    best = history.iloc[find_best(history)]
    kept = f"best: epoch {best['epoch']:.0f}, validation accuracy {best['val_accuracy']:.0%}"
    if math.isnan(best["val_accuracy"]):
        kept = f"kept the last, training accuracy {best['accuracy']:.0%}"
    say(
        "epochs",
        f"{len(history)} in {_duration(history['seconds'].sum())}; {kept}",
    )


def print_run(run: Run, page: Path) -> None:
    """Print a run's scores and cautions, and where its table and its report lie."""
    print_results(run.table)
    print_cautions(run.rows)
    say("table", (run.folder / "results.csv").resolve())
    say("report", page.resolve())


def print_results(results: pd.DataFrame) -> None:
    """Print the scores, a row each, with the interval of the accuracy over subjects."""
    from microx.evaluation.result import LEAKY_MARK

    titles = ("row", "test clips", "accuracy", "95 % of subjects", "UAR", "UF1", "by video")
    rows = [
        (
            row["name"] + (LEAKY_MARK if row["leaky"] and LEAKY_MARK not in row["name"] else ""),
            str(row["n_test"]),
            f"{row['accuracy']:.3f}",
            _interval(row["accuracy_low"], row["accuracy_high"]) if not row["leaky"] else "",
            *(f"{row[score]:.3f}" for score in ("uar", "uf1", "video_accuracy")),
        )
        for row in results.to_dict("records")
    ]
    _print_table(titles, rows)


def print_prediction(prediction: Prediction) -> None:
    """Print what a model predicts for one video."""
    if prediction.note:
        say("note", prediction.note)
    share = prediction.n_found / prediction.n_frames
    is_by_frame = prediction.n_clips == prediction.n_found
    clips = "" if is_by_frame else f", {prediction.n_clips} clips"
    console.print(
        f"frames: {prediction.n_found} of {prediction.n_frames} with a face ({share:.0%}){clips}"
    )
    say("emotion", prediction.emotion)
    for emotion, percentage in prediction.percentages.items():
        console.print(f"  {percentage:5.1f} %  {escape(emotion)}")
    if prediction.streams:
        weights = prediction.mean_weights.items()
        say("weights", ", ".join(f"{stream} {weight:.0%}" for stream, weight in weights))


def print_recordings(table: pd.DataFrame, videos: Sequence[Path]) -> None:
    """Print a row for each of many recordings, and what all of them have in common."""
    table = table.set_index("video").loc[[str(video) for video in videos]]
    done, failed = table[table["error"] == ""], table[table["error"] != ""]
    notes = sorted({one for note in done.get("note", ()) for one in note.split("; ")})
    for note in notes:
        count = sum(note in one.split("; ") for one in done["note"])
        say("note", note if count == len(done) else f"{note} ({count} of {len(done)} recordings)")
    rows = [
        (
            Path(str(video)).name,
            row["emotion"],
            f"{row['p_' + row['emotion']]:.0%}",
            f"{row['n_found']:.0f} of {row['n_frames']:.0f}",
        )
        for video, row in done.iterrows()
    ]
    if rows:
        _print_table(("recording", "emotion", "mean probability", "frames with a face"), rows)
    for message in failed["error"]:
        warn(message)
    console.print(f"{len(done)} of {len(table)} recordings predicted")


def print_meeting(meeting: Meeting) -> None:
    """Print each participant's shares of usable time, a row each."""
    table = meeting.to_frame()
    titles = ("participant", "seen, s", "usable, s", "unseen, s", *meeting.classes)
    rows = [
        (
            row["name"],
            *(f"{row[name]:.1f}" for name in ("seen_s", "usable_s", "unseen_s")),
            *(f"{row[f'time_{name}']:.0%}" if row["emotion"] else "-" for name in meeting.classes),
        )
        for row in table.to_dict("records")
    ]
    _print_table(titles, rows)


def print_gap(gap: float, low: float, high: float, n_subjects: int) -> None:
    """Print what a leaky split adds to the accuracy."""
    interval = f"95 % interval {low:+.3f} to {high:+.3f}" if low == low else "no interval"
    verdict = ": more than chance" if low > 0 else ": within chance" if high >= 0 else ""
    console.print(
        f"the leaky split scores {gap:+.3f} against the honest one ({interval} over {n_subjects} "
        f"subjects){verdict}",
        soft_wrap=True,
    )


def print_leaks(leaks: Sequence[Leak]) -> None:
    """Print what training and test share, or that nothing was found."""
    for kind, n in Counter(leak.kind for leak in leaks).items():
        console.print(f"LEAK: {kind}: {n}")
        for leak in [leak for leak in leaks if leak.kind == kind][:N_WORST]:
            console.print(f"  {escape(str(leak))}", soft_wrap=True)
        if n > N_WORST:
            console.print(f"  and {n - N_WORST} more")
    console.print(f"leaks: {len(leaks) or 'none found'}")


def print_reproduction(run: Run) -> None:
    """Print a paper's numbers beside ours: under its own protocol and under an honest one."""
    from microx.experiments.replicate import describe_reproduction, reproduction_table

    console.print()
    for line in describe_reproduction(run):
        console.print(escape(line))
    table = reproduction_table(run)
    titles = ("table", "row", "metric", "published", "ours, LEAKY", "ours, honest", "95 %")
    rows = [
        (
            *(str(row[column]) for column in ("table", "row", "metric")),
            *(_number(row[column]) for column in ("published", "leaky", "honest")),
            _interval(row["honest_low"], row["honest_high"]),
        )
        for row in table.to_dict("records")
    ]
    _print_table(titles, rows, n_texts=3)
    say("tables", (run.folder / "reproduction.md").resolve())


def print_spots(found: SpottedVideo) -> None:
    """Print the expressions of one video, and where they are written."""
    console.print()
    share = found.n_found / found.n_frames
    say(
        found.video.name,
        f"{len(found.spots)} spotted in {_duration(found.duration_s)}; a face in "
        f"{found.n_found} of {found.n_frames} frames ({share:.0%}), searched {found.searched:.0%}",
    )
    if found.spots:
        titles = ("kind", "region", "onset s", "apex s", "offset s", "score")
        rows = [
            (
                spot.kind,
                spot.region,
                *(f"{second:.2f}" for second in (spot.onset_s, spot.apex_s, spot.offset_s)),
                f"{spot.score:.1f}",
            )
            for spot in found.spots
        ]
        _print_table(titles, rows, n_texts=2)
    if found.table is not None:
        say("table", found.table)
        say("time line", found.image)


def print_spotting(run: SpottingRun) -> None:
    """Print the scores of spotting, what was chosen for them, and the cautions."""
    titles = ("kind", "true", "spotted", "hits", "F1", "95 % of subjects", "precision", "recall")
    rows = [
        (
            row["kind"],
            *(str(row[name]) for name in ("n_intervals", "n_spots", "n_hits")),
            _number(row["f1"]),
            _interval(row["f1_low"], row["f1_high"]),
            *(_number(row[name]) for name in ("precision", "recall")),
            f"{row['false_alarms']:.2f}",
        )
        for row in run.table.to_dict("records")
    ]
    _print_table((*titles, "false alarms\na minute"), rows)
    thresholds = ", ".join(f"{value:.2f}" for value in run.facts["thresholds"])
    say("thresholds chosen on other subjects", thresholds)
    told = [f"{recall:.3f} at {rate}" for rate, recall in run.facts["recall_at"].items()]
    say("recall by false alarms a minute, one threshold over all", ", ".join(told))
    right, guess = run.facts["presence_accuracy"], run.facts["presence_most_frequent"]
    say("is there one, by video", f"{right:.3f} right; always the same answer: {guess:.3f}")
    for caution in run.cautions:
        warn(caution)
    say("table", (run.folder / "spotting.csv").resolve())


def print_cautions(rows: Mapping[str, Sequence[EvaluationResult]]) -> None:
    """Print what a reader must know before quoting the scores; the report says it, too."""
    from microx.report.cautions import find_cautions

    for caution in find_cautions(rows):
        warn(caution)


def print_scan(table: pd.DataFrame, *, quick: bool, faces: bool) -> None:
    """Print what `microx.corpus.check.scan_videos` found, and how many videos are fine."""
    fine = (table["problem"] == "") & (table["remarks"].map(len) == 0)
    columns = [
        "video",
        "size",
        "rate",
        "frames",
        "length",
        *(["faces"] if faces else []),
        "remarks",
    ]
    rows = [_scan_cells(video, faces) for video in table[~fine].to_dict("records")]
    rows += [_scan_cells(video, faces) for video in table[fine].head(N_GOOD).to_dict("records")]
    _print_table(columns, rows, ends_in_text=True)
    rest = int(fine.sum()) - N_GOOD
    if rest > 0:
        console.print(f"and {rest} more without remarks")
    n_bad = int((table["problem"] != "").sum())
    some = int((~fine).sum()) - n_bad
    length = "" if quick else f", {_duration(float(table['duration_s'].sum()))} in all"
    console.print(
        f"\nvideos: {len(table)}{length}: {int(fine.sum())} fine, {some} with remarks, "
        f"{n_bad} cannot be used"
    )


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what `microx.cli.doctor.diagnose` found, and what to do about it."""
    styles = {"ok": "green", "failed": "red", "missing": "red", "optional": "yellow"}
    table = _table(("what", "", "found"), n_texts=3)
    for finding in findings:
        state = f"[{styles[finding.state]}]{finding.state}[/]"
        advice = f"\n[bold]→ {escape(finding.advice)}[/]" if finding.advice else ""
        table.add_row(finding.name, state, escape(finding.found) + advice)
    console.print(table)


def _print_reasons(groups: Sequence[tuple[str, Sequence[str]]]) -> None:
    from microx.text import first_few

    for reason, paths in groups[:N_WORST]:
        told = escape(say_options(f"{reason} ({first_few(paths)})"))
        console.print(f"  skipped {len(paths)}: {told}", soft_wrap=True)
    rest = sum(len(paths) for _, paths in groups[N_WORST:])
    if rest:
        console.print(f"  skipped {rest} more for other reasons: see manifest.csv")


def _print_frames(summary: CorpusSummary, rate: float | None) -> None:
    counts = summary.frames
    n_claimed, n_decoded = counts["n_claimed"], counts["n_decoded"]
    claim = "" if n_claimed == n_decoded else f" (the files claim {n_claimed:,}, often an estimate)"
    pace = "each at its own time" if rate is None else f"at {rate:g} a second"
    left_out = f"; {counts['n_unused']:,} left out {pace}" if counts["n_unused"] else ""
    cuts = f"; shot cuts: {counts['n_cuts']:,}" if counts["n_cuts"] else ""
    console.print(f"frames decoded: {n_decoded:,}{claim}{left_out}{cuts}", soft_wrap=True)
    n_frames, n_found = summary.n_frames, summary.n_found
    share = f" ({n_found / n_frames:.1%})" if n_frames else ""
    what = "frames of faces" if summary.every_face else "frames"
    console.print(f"{what} {pace}: {n_found:,} of {n_frames:,} with crops{share}")
    console.print(f"  {summary.statuses}")


def _print_emotions(corpus: Corpus) -> None:
    from microx.corpus.quality import tabulate_emotions

    table = tabulate_emotions(corpus)
    n_whole, n_broken = int(table["n_clips"].sum()), int(table["n_broken"].sum())
    every_face = corpus.recipe.get("faces") == "all"
    broken = f"; {n_broken:,} left out for a missing face or a break (a cut, a leap)"
    clips = f"clips of {CLIP_FRAMES} frames: {n_whole:,} whole{'' if every_face else broken}"
    console.print(clips, soft_wrap=True)
    things = "faces" if every_face else "videos"
    rows = [
        (str(row.emotion), str(row.n_videos), str(row.n_subjects), str(row.n_clips))
        for row in table.itertuples()
    ]
    _print_table(("emotion", things, "subjects", "clips"), rows)


def _print_occluders(sources: pd.DataFrame) -> None:
    done = sources[sources["status"] == "done"]
    for kind, n in done.loc[done["occluder"] != "", "occluder"].value_counts().items():
        console.print(f"with {escape(str(kind))}: {n} of {_count_videos(len(done))}")


def _count_videos(n: int) -> str:
    return f"{n} video" if n == 1 else f"{n} videos"


def _scan_cells(video: dict[Any, Any], faces: bool) -> list[str]:
    n_decoded, rate = video["n_decoded"], video["frame_rate"]
    cells = [video["path"], video["size"], f"{rate:.4g}" if rate else "", str(n_decoded or "")]
    cells.append(f"{video['duration_s']:.1f} s" if rate and n_decoded else "")
    if faces:
        cells.append(video["faces"])
    unusable = [f"CANNOT BE USED: {video['problem']}"] if video["problem"] else []
    return [*cells, say_options("; ".join(unusable + video["remarks"]))]


def _interval(low: float, high: float) -> str:
    return f"{low:.2f}\u2013{high:.2f}" if low == low else ""


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else ""


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _table(columns: Sequence[str], *, n_texts: int = 1, ends_in_text: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, title in enumerate(columns):
        text = place < n_texts or (ends_in_text and place == len(columns) - 1)
        table.add_column(title, justify="left" if text else "right", overflow="fold")
    return table


def _print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    n_texts: int = 1,
    ends_in_text: bool = False,
) -> None:
    table = _table(columns, n_texts=n_texts, ends_in_text=ends_in_text)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
