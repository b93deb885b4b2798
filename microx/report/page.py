"""Runs as one self-contained HTML page, and as tables for a paper: Markdown, CSV and LaTeX.

Scores come from `microx.evaluation`, words and counts from the other modules of this room; this
module puts them in order and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from microx.corpus.corpus import Corpus, load_corpus
from microx.errors import CorpusError, InputError, MicroxError
from microx.evaluation.baselines import guess
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import EvaluationResult
from microx.evaluation.summary import region_values
from microx.experiments.literature import tell_comparable
from microx.experiments.replicate import describe_reproduction
from microx.experiments.run import Run, read_run
from microx.files import whole_file
from microx.markup import escape_markdown, render_page, to_latex, to_markdown
from microx.report import protocol, tables
from microx.report.cautions import (
    NONE,
    find_cautions,
    group_of,
    is_leaky,
    is_shuffled,
    main_row,
    percent,
)
from microx.report.comparison import compare_runs
from microx.report.examples import pick_examples
from microx.report.figures import draw_run


def write_report(
    run_folders: str | Path | Sequence[str | Path],
    corpus: str | Path | Corpus | None = None,
    out: str | Path | None = None,
    *,
    example_crops: bool = True,
) -> Path:
    """Write runs as one HTML page that needs no network and no other file, and as tables.

    Parameters
    ----------
    run_folders : path, or sequence of paths
        What `microx.experiments.run.run_grid` wrote; an interrupted run is reported as such.
        Several are compared, on a page about them all.
    corpus : path or Corpus, optional
        Of a single run: its corpus, where it is no longer at the place the run recorded. Without
        a corpus the page says so and has neither an account of videos nor example crops.
    out : path, optional
        The page, ending in ``.html``; by default ``report.html`` in the run folder, of several
        runs ``comparison.html`` beside the first of them. Beside it, under the same name, ``.md``
        (the page in short), ``.csv`` (the numbers) and ``.tex`` (tables for the package
        booktabs). Each appears whole or not at all.
    example_crops : bool
        Whether to show images of subjects' faces.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    InputError
        If a run folder is missing, empty or damaged, or the page cannot be written there.
    CorpusError
        If the given corpus cannot be read or is not the one the run was made from.

    Examples
    --------
    >>> write_report("RUN").name
    'report.html'
    """
    folders = [run_folders] if isinstance(run_folders, str | Path) else list(run_folders)
    if not folders:
        raise InputError("expected the folder of a run, or of several; received none")
    runs = [read_run(folder) for folder in folders]
    if len(runs) == 1:
        path = runs[0].folder / "report.html" if out is None else Path(out)
        context = _describe_run(runs[0], corpus, example_crops)
        template = "report.html.j2"
    else:
        path = runs[0].folder.parent / "comparison.html" if out is None else Path(out)
        context = compare_runs(runs)
        template = "comparison.html.j2"
    if path.suffix != ".html":
        raise InputError(f"{path}: expected a name that ends in .html for the page")
    texts = {
        ".html": render_page(template, context),
        ".md": _in_short(context),
        ".csv": context["numbers"].to_csv(index=False),
        ".tex": _for_latex(context),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for ending, text in texts.items():
            with whole_file(path.with_suffix(ending)) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: expected a place for the page; {error.strerror}") from None
    return path


def _find_corpus(
    run: Run, main: EvaluationResult, given: str | Path | Corpus | None
) -> tuple[Corpus | None, str]:
    """Load the given corpus or the one the run recorded; say why where there is none."""
    if given is not None:
        corpus = given if isinstance(given, Corpus) else load_corpus(given)
        if not _is_corpus_of(main, corpus):
            raise CorpusError(
                f"{corpus.folder}: expected the corpus this run was made from, of recipe "
                f"{main.facts.recipe_hash} and with its test clips; found recipe "
                f"{corpus.recipe_hash}; give the corpus of this run"
            )
        return corpus, ""
    recorded = _recorded_corpus(run)
    if not recorded:
        return None, "The run does not say which corpus it was made from."
    name = Path(recorded).name
    places = [Path(recorded), run.folder / name, run.folder.resolve().parent / name]
    place = next((place for place in places if (place / "corpus.json").is_file()), None)
    if place is None:
        return None, f"The corpus {recorded} was not found here or beside the run."
    try:
        corpus = load_corpus(place)
        if _is_corpus_of(main, corpus):
            return corpus, ""
    except MicroxError as error:
        return None, f"{error}."
    return None, f"The corpus at {place} is not, or no longer, the one this run was made from."


def _recorded_corpus(run: Run) -> str:
    """Give the path of the corpus as the run recorded it, else its name, else nothing."""
    recorded = run.about.get("corpus") or {}
    return str(recorded.get("path") or recorded.get("folder") or "")


def _is_corpus_of(main: EvaluationResult, corpus: Corpus) -> bool:
    if corpus.recipe_hash != main.facts.recipe_hash:
        return False
    clips = protocol.clips_of_run(corpus, main)
    return bool(np.isin(main.clip_id, clips["clip_id"].to_numpy(str)).all())


def _describe_run(
    run: Run, given: str | Path | Corpus | None, example_crops: bool
) -> dict[str, Any]:
    """Everything that the page of one run says."""
    name = main_row(run.rows)
    results = run.rows[name]
    main = results[0]
    corpus, trouble = _find_corpus(run, main, given)
    where = str(corpus.folder) if corpus else _recorded_corpus(run) or "CORPUS"
    every = None if corpus is None else protocol.clips_of_run(corpus, main)
    clips = None if every is None else every[every["n_found"] == every["length"]]
    manifest = None if corpus is None else corpus.manifest
    subsets = run.about.get("experiment") == "experiment subsets"
    values = region_values(run.rows) if subsets else pd.DataFrame()
    return {
        "title": run.folder.resolve().name,
        "main": name,
        "leaky": is_leaky(main),
        "what": protocol.what_was_run(str(run.about.get("experiment"))),
        "headline": _headline(run, name),
        "cautions": _quick(run) + find_cautions(run.rows, manifest),
        "unfinished": {"This run": run.unfinished} if run.unfinished else {},
        "protocol": protocol.protocol_in_words(main, oracle=bool(run.oracles)),
        "folds": protocol.fold_rows(main),
        "corpus_trouble": trouble,
        "ledger": None
        if corpus is None or every is None
        else protocol.account_for(corpus, every) | protocol.count_missing(results, corpus, every),
        "clip_counts": protocol.clip_counts(main, clips),
        "n_seeds": len(results),
        "other_clips": len({len(rows[0].y_true) for rows in run.rows.values()}) > 1,
        "n_test": f"{len(main.y_true):,}",
        "n_test_videos": f"{len(main.by_video().y_true):,}",
        "classes": main.classes,
        "none_sign": NONE,
        "shuffled": _shuffled_sentence(run),
        "figures": draw_run(run, values),
        "examples": pick_examples(main, corpus) if corpus and example_crops else [],
        "commands": protocol.commands(run, where),
        "facts": protocol.fact_rows(main, where),
        "version": main.facts.versions.get("microx", ""),
        "comparable": None if manifest is None else _comparable(main, manifest),
        **_tabulate(run, name),
    }


def _quick(run: Run) -> list[str]:
    if not run.about.get("arguments", {}).get("quick"):
        return []
    return ["Quick: trained far less than in the paper; do not quote these numbers."]


def _tabulate(run: Run, name: str) -> dict[str, Any]:
    """The tables of one run, for the page and for the files beside it."""
    # A control has other labels, so there is nothing to compare.
    others = {
        other: (rows, run.rows[name])
        for other, rows in run.rows.items()
        if other != name and not is_shuffled(rows[0])
    }
    comparison = tables.comparison_rows(others)
    plain = [("Scores", tables.shown_table(run))]
    if comparison:
        plain.append((f"Compared with {name}", tables.shown_comparison(comparison)))
    return {
        "scores": tables.score_rows(run),
        "more_titles": list(tables.MORE_SCORES.values()),
        "recalls": tables.recall_rows(run),
        "comparison": comparison,
        "note_on_tests": tables.note_on_tests(run.rows[name]),
        "oracles": tables.oracle_rows(run),
        "reproduction": (numbers := tables.reproduction_rows(run)),
        "said_of_paper": describe_reproduction(run) if numbers else [],
        "trained_alone": tables.alone_rows(run),
        "by_emotion": tables.emotion_rows(run.rows[name]),
        "next_emotions": tables.next_rows(run.rows[name]),
        "plain": plain,
        "numbers": tables.number_table(run),
    }


def _headline(run: Run, name: str) -> str:
    main = run.rows[name][0]
    table = tables.honest_ends(run).set_index("name")
    scores, low, high = (table[key] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    n_clips, n_subjects = len(main.y_true), len(set(main.subject.tolist()) - {""})
    subjects = "1 subject" if n_subjects == 1 else f"{n_subjects} subjects"
    if is_leaky(main):
        tested = "clips whose subjects or videos it had partly seen (LEAKY)"
    elif main.facts.group == "video":
        tested = "clips of videos it never saw (subjects it may have seen)"
    else:
        tested = f"clips of {subjects} it never saw"
    seeds = "" if len(run.rows[name]) == 1 else f", mean of {len(run.rows[name])} trainings"
    between = tables.interval_in_words(low[name], high[name], n_clips)
    over = f"95 % interval over {group_of(main)}s"
    certainty = seeds if between == NONE else f" ({over} {between}{seeds})"
    guessed = guess(main, "most_frequent")
    majority = percent(accuracy_score(guessed.y_true, guessed.y_pred), n_clips)
    return (
        f"“{name}” predicted the right one of {len(main.classes)} emotions in "
        f"{percent(scores[name], n_clips)} of {n_clips:,} {tested}{certainty}. Always predicting "
        f"the most frequent emotion would score {majority}; "
        f"chance is {percent(1 / len(main.classes))}."
    )


def _shuffled_sentence(run: Run) -> str:
    control = next((name for name, rows in run.rows.items() if is_shuffled(rows[0])), None)
    if control is None:
        return ""
    score = float(run.table.set_index("name")["accuracy"][control])
    n_clips = len(run.rows[control][0].y_true)
    return (
        f"Trained and tested in the same way on labels shuffled among the videos, the "
        f"model scored {percent(score, n_clips)} on {n_clips:,} clips; with "
        f"nothing to learn it should score about {percent(1 / len(run.about['classes']))}, and a "
        f"clearly higher score would mean that the test can be passed without the emotion."
    )


def _comparable(main: EvaluationResult, manifest: pd.DataFrame) -> Any:
    done = manifest[manifest["status"] == "done"]
    n_tested = len(np.unique(main.video_id))
    return tell_comparable(main.facts, sorted(set(done["corpus"])), n_tested)


def _list_cautions(context: Mapping[str, Any]) -> list[str]:
    """What a reader must know, starting with what is still missing."""
    missing = [
        f"{name} is unfinished. Still missing: {'; '.join(rows)}."
        for name, rows in context["unfinished"].items()
    ]
    return missing + list(context["cautions"])


def _in_short(context: dict[str, Any]) -> str:
    """The page as Markdown: cautions, how it was tested, and the tables."""

    def listed(lines: Sequence[str]) -> str:
        return "".join(f"- {escape_markdown(line)}\n" for line in lines)

    parts = [f"# microx: {escape_markdown(context['title'])}\n"]
    if cautions := _list_cautions(context):
        parts.append(f"## Cautions before you quote this\n\n{listed(cautions)}")
    parts.append(f"{escape_markdown(context['headline'])}\n")
    if context["protocol"]:
        parts.append(f"## How it was tested\n\n{listed(context['protocol'])}")
    parts += [f"## {escape_markdown(title)}\n\n{to_markdown(t)}" for title, t in context["plain"]]
    if context["comparable"]:
        may, may_not = context["comparable"].may, context["comparable"].may_not
        parts.append(f"## What these numbers can be compared with\n\n{listed(may)}")
        parts.append(f"And what they cannot be compared with:\n\n{listed(may_not)}")
    return "\n".join(parts)


def _for_latex(context: dict[str, Any]) -> str:
    head = "% made by microx; needs \\usepackage{booktabs}\n"
    cautions = "".join(f"% {' '.join(line.split())}\n" for line in _list_cautions(context))
    floats = [
        to_latex(table, caption=f"{title} ({context['title']})", label=f"tab:microx-{k}")
        for k, (title, table) in enumerate(context["plain"], start=1)
    ]
    return head + cautions + "\n" + "\n".join(floats)
