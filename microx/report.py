"""A run as one self-contained HTML page: what was done, what came out, what to make of it.

Scores come from `microx.experiments.results_table` and counts from `microx.metrics`; this
module only puts them into words, tables and figures.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from microx import figures, tables
from microx.cautions import NONE, find_cautions, is_leaky, is_shuffled, main_row, percent
from microx.corpus import Corpus, load_corpus
from microx.errors import CorpusError, InputError, MicroxError
from microx.evaluation import EvaluationResult
from microx.experiments import read_run
from microx.files import whole_file
from microx.metrics import accuracy_score, confusion_matrix, per_class_recall
from microx.pages import render_page
from microx.settings import FitSettings

EXAMPLE_FRAMES = 3
"""Frames shown of each example clip: first, middle, last (our choice)."""

VECTOR_LINES = 200
"""Learning curves on a page up to which they are drawn as vectors (our choice)."""

# Argument of run_ablation → option of `microx ablate`.
_OPTION_OF = {
    "regions": "--regions",
    "protocol": "--protocol",
    "preset": "--model",
    "epochs": "--epochs",
    "seed": "--seed",
    "n_folds": "--folds",
    "inputs": "--inputs",
    "balance": "--balance",
    "augment": "--augment",
    "occlude": "--occlude",
}


def write_report(
    run_folder: str | Path,
    corpus: str | Path | Corpus | None = None,
    out: str | Path | None = None,
    *,
    example_crops: bool = True,
) -> Path:
    """Write a run as one HTML page that needs no network and no other file.

    Parameters
    ----------
    run_folder : path
        What `microx.experiments.run_ablation` wrote; an interrupted run is reported as such.
    corpus : path or Corpus, optional
        The corpus, where it is no longer at the place the run remembers. Without a
        corpus the page says so and has neither the ledger of videos nor example crops.
    out : path, optional
        The page; ``report.html`` in the run folder by default. It appears whole or not at all.
    example_crops : bool
        Whether to show pictures of subjects' faces.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    InputError
        If the run folder is missing, empty or damaged.
    CorpusError
        If a corpus was named that cannot be read or is not the one the run was made from.

    Examples
    --------
    >>> write_report("RUN").name  # doctest: +SKIP
    'report.html'
    """
    run_folder = Path(run_folder)
    run, results, table = read_run(run_folder)
    loaded, trouble = _find_corpus(run, run_folder, main_row(results), corpus)
    context = _context(run, run_folder, results, table, loaded)
    context["corpus_trouble"] = trouble
    if loaded is not None and example_crops:
        context["examples"] = _examples(main_row(results), loaded)
    page = render_page("report.html.j2", context)
    path = run_folder / "report.html" if out is None else Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: expected a place for the page; {error.strerror}") from None
    return path


def _find_corpus(
    run: dict[str, Any],
    run_folder: Path,
    main: EvaluationResult,
    named: str | Path | Corpus | None,
) -> tuple[Corpus | None, str]:
    """Load the named corpus or the one the run remembers; say why where there is none."""
    if named is not None:
        corpus = named if isinstance(named, Corpus) else load_corpus(named)
        if not _is_corpus_of(main, corpus):
            raise CorpusError(
                f"{corpus.folder}: expected the corpus this run was made from, of recipe "
                f"{main.facts.get('recipe_hash')} and with its test clips; found recipe "
                f"{corpus.recipe_hash}; name the corpus of this run"
            )
        return corpus, ""
    remembered = _remembered_corpus(run, main)
    if not remembered:
        return None, "The run does not say which corpus it was made from."
    name = Path(remembered).name
    places = [Path(remembered), run_folder / name, run_folder.resolve().parent / name]
    place = next((place for place in places if (place / "corpus.json").is_file()), None)
    if place is None:
        return None, f"The corpus {remembered} was not found here or beside the run."
    try:
        corpus = load_corpus(place)
        if _is_corpus_of(main, corpus):
            return corpus, ""
    except MicroxError as error:
        return None, f"{error}."
    return None, f"The corpus at {place} is not, or no longer, the one this run was made from."


def _remembered_corpus(run: dict[str, Any], main: EvaluationResult) -> str:
    """Give the path of the corpus as the run recorded it, else its name, else nothing."""
    recorded = run.get("corpus") or main.facts.get("corpus") or ""
    if isinstance(recorded, dict):
        recorded = recorded.get("path") or recorded.get("folder") or ""
    return str(recorded)


def _is_corpus_of(main: EvaluationResult, corpus: Corpus) -> bool:
    if corpus.recipe_hash != main.facts.get("recipe_hash"):
        return False
    clips = tables.clips_of_run(corpus, main)
    return bool(np.isin(main.clip_id, clips["clip_id"].to_numpy(str)).all())


def _context(
    run: dict[str, Any],
    run_folder: Path,
    results: Sequence[EvaluationResult],
    table: pd.DataFrame,
    corpus: Corpus | None,
) -> dict[str, Any]:
    main = main_row(results)
    baseline = table.iloc[-1]
    where = str(corpus.folder) if corpus else _remembered_corpus(run, main) or "CORPUS"
    every = None if corpus is None else tables.clips_of_run(corpus, main)
    clips = None if every is None else every[every["n_found"] == every["length"]]
    manifest = None if corpus is None else corpus.manifest
    unfinished = [name for name in run["rows"] if name not in {row.name for row in results}]
    return {
        "run_name": run_folder.resolve().name,
        "main": main.name,
        "leaky": is_leaky(main),
        "answer": _answer(main, table),
        "cautions": find_cautions(results, float(baseline["accuracy"]), manifest),
        "unfinished": unfinished,
        "protocol": _protocol(main),
        "folds": tables.fold_rows(main),
        "ledger": None if corpus is None or every is None else tables.ledger(corpus, every),
        "clip_counts": tables.clip_counts(main, clips),
        "scores": tables.score_rows(results, table),
        "recalls": tables.recall_rows(results, table),
        "classes": main.classes,
        "chance": percent(1 / len(main.classes)),
        "n_test": len(main.y_true),
        "n_test_videos": len(main.by_video().y_true),
        "figures": _figures(results, table),
        "none_sign": NONE,
        "shuffled": _shuffled_sentence(results, table),
        "examples": [],
        "commands": _commands(run, run_folder, where),
        "facts": tables.fact_rows(main, where),
        "version": main.facts.get("versions", {}).get("microx", ""),
    }


def _answer(main: EvaluationResult, table: pd.DataFrame) -> str:
    row = table[table["name"] == main.name].iloc[0]
    n_clips, n_subjects = len(main.y_true), len(set(main.subject.tolist()) - {""})
    people = "1 person" if n_subjects == 1 else f"{n_subjects} people"
    if is_leaky(main):
        whom = "clips whose subjects or videos it had partly seen (LEAKY)"
    elif main.facts["group"] == "video":
        whom = "clips of videos it never saw (people it may have seen)"
    else:
        whom = f"clips of {people} it never saw"
    return (
        f"“{main.name}” named the right one of {len(main.classes)} emotions in "
        f"{percent(row['accuracy'], n_clips)} of {n_clips:,} {whom}. Always naming the most "
        f"frequent emotion would be right in {percent(table.iloc[-1]['accuracy'], n_clips)}; "
        f"chance is {percent(1 / len(main.classes))}."
    )


def _protocol(main: EvaluationResult) -> list[str]:
    """Say in words who was trained, validated and tested, and when the test was looked at."""
    facts = main.facts
    n_folds = len(facts["n_train"])
    group = facts.get("group")
    units = f"{group}s" if group in ("subject", "video") else "clips"
    said = {
        "holdout": f"One split: some {units} are trained on, others are tested (holdout).",
        "kfold": f"{n_folds} folds: the {units} of each are tested once, by a model trained on "
        f"those of the others.",
        "loso": f"Leave one subject out: {n_folds} models, each tested on one it never saw.",
    }
    lines = [said.get(str(facts["protocol"]), f"Protocol: {facts['protocol']}.")]
    if is_leaky(main):
        lines.append(
            "LEAKY: clips of one subject or one video fell on both sides of the split. The scores "
            "below are too good, by how much nobody can tell from them."
        )
    elif group == "subject":
        lines.append("No person is shared: all clips of a subject fall on one side of a split.")
    else:
        lines.append(
            "No video is shared, but the corpus names no subjects: a person may be on both sides."
        )
    subjects = sorted(set(main.subject.tolist()) - {""})
    if subjects:
        lines.append(f"Subjects tested ({len(subjects)}): {tables.listed(subjects)}.")
    lines += [
        "The epoch was chosen on an inner validation set cut out of the training side, again by "
        f"{group or 'clip'}; its clips trained nothing and are in no score.",
        "The test clips were predicted once, after the epoch was chosen.",
    ]
    return lines


def _figures(results: Sequence[EvaluationResult], table: pd.DataFrame) -> dict[str, Any]:
    main = main_row(results)
    n_classes = len(main.classes)
    counts = confusion_matrix(main.y_true, main.y_pred, n_classes)
    recall = per_class_recall(main.y_true, main.y_pred, n_classes)
    support = counts.sum(axis=1)
    ranked = [result for result in results if not is_shuffled(result)]
    scores = [accuracy_score(result.y_true, result.y_pred) for result in ranked]
    ranking = figures.draw_ranking(
        [result.name for result in ranked],
        scores,
        baseline=float(table.iloc[-1]["accuracy"]),
        chance=1 / n_classes,
        highlight=main.name,
    )
    order = np.argsort(scores)[::-1]
    in_words = ", ".join(f"{ranked[i].name} {percent(scores[i])}" for i in order)
    found = ", ".join(
        f"{name} {percent(value)} of {n}"
        for name, value, n in zip(main.classes, recall, support, strict=True)
    )
    return {
        "ranking": _embedded(ranking, f"Bars of accuracy, best first: {in_words}."),
        "confusion": _embedded(
            figures.draw_confusion(counts, main.classes),
            f"Confusion matrix of {main.name}; the same numbers stand in the table below it.",
        ),
        "confusion_counts": list(zip(main.classes, counts.tolist(), strict=True)),
        "recall": _embedded(
            figures.draw_recall(
                recall.tolist(), support.tolist(), main.classes, chance=1 / n_classes
            ),
            f"Bars of recall of {main.name}: {found}.",
        ),
        "curves": _curves(results),
    }


def _curves(results: Sequence[EvaluationResult]) -> list[dict[str, Any]]:
    drawn = [result for result in results if len(result.history)]
    losses = [result.history[["loss", "val_loss"]].to_numpy() for result in drawn]
    top = float(np.nanquantile(np.concatenate(losses), 0.99)) * 1.1 if losses else None
    # an SVG grows with every line in it, a PNG does not
    n_lines = sum(result.history["fold"].nunique() for result in drawn)
    embedded = []
    for result in drawn:
        best = result.facts.get("best_epoch", [])
        figure = figures.draw_curves(
            result.history, best_epochs=best, title=result.name, max_loss=top
        )
        chosen = ", ".join(str(epoch) for epoch in best)
        embedded.append(
            _embedded(
                figure,
                f"Loss and accuracy of {result.name} by epoch, training and inner validation; "
                f"chosen epoch {chosen}.",
                vector=n_lines <= VECTOR_LINES,
            )
        )
    return embedded


def _embedded(figure: Figure, alt: str, *, vector: bool = True) -> dict[str, Any]:
    uri, width = figures.embed_figure(figure, vector=vector)
    return {"uri": uri, "width": width, "alt": alt}


def _examples(main: EvaluationResult, corpus: Corpus) -> list[dict[str, Any]]:
    """Show per emotion the middling right clip and the most confidently wrong one."""
    clips = tables.clips_of_run(corpus, main).set_index("clip_id")
    known = np.isin(main.clip_id, clips.index.to_numpy(str))
    sure = main.y_prob.max(axis=1)
    right = main.y_pred == main.y_true
    groups = []
    for label, emotion in enumerate(main.classes):
        shown = []
        for wanted in (True, False):
            rows = np.flatnonzero((main.y_true == label) & (right == wanted) & known)
            if not len(rows):
                continue
            by_sureness = rows[np.argsort(sure[rows], kind="stable")]
            row = int(by_sureness[(len(rows) - 1) // 2 if wanted else -1])
            clip = clips.loc[main.clip_id[row]]
            frames = clip.get("frames", range(clip["start"], clip["start"] + clip["length"]))
            strip = _strip(corpus, str(main.video_id[row]), main.regions, np.array(frames))
            named = main.classes[main.y_pred[row]]
            shown.append(
                {
                    "right": wanted,
                    "named": named,
                    "sure": percent(float(sure[row])),
                    "video": str(main.video_id[row]),
                    "uri": figures.embed_image(strip),
                    "alt": f"{emotion} clip of {main.video_id[row]}, named {named}: "
                    f"{', '.join(main.regions)} at its first, middle and last frame",
                }
            )
        n_right = int((right & (main.y_true == label)).sum())
        n = int((main.y_true == label).sum())
        groups.append({"emotion": emotion, "n_right": n_right, "n": n, "clips": shown})
    return groups


def _strip(
    corpus: Corpus, video_id: str, regions: Sequence[str], frames: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Lay a clip's crops side by side, regions across and frames down, white between."""
    places = np.linspace(0, len(frames) - 1, min(EXAMPLE_FRAMES, len(frames))).astype(int)
    picked = frames[places]
    gap = ((1, 1), (1, 1), (0, 0))
    columns = [
        np.vstack(
            # A padded clip repeats its video's last frame.
            [
                np.pad(crops[min(frame, len(crops) - 1)], gap, constant_values=255)
                for frame in picked
            ],
        )
        for crops in (corpus.read_crops(video_id, region) for region in regions)
    ]
    return np.hstack(columns)


def _shuffled_sentence(results: Sequence[EvaluationResult], table: pd.DataFrame) -> str:
    control = next((result for result in results if is_shuffled(result)), None)
    if control is None:
        return ""
    row = table[table["name"] == control.name].iloc[0]
    return (
        f"Trained and tested in the same way on labels dealt out at random among the videos, the "
        f"model scored {percent(row['accuracy'], row['n_test'])} of {row['n_test']:,} clips; with "
        f"nothing to learn it should score about {percent(1 / len(control.classes))}, and a score "
        f"clearly above would mean that the test can be passed without seeing the emotion."
    )


def _commands(run: dict[str, Any], run_folder: Path, corpus: str) -> dict[str, str]:
    """Write the run as a shell command and as Python, from the arguments it recorded."""
    arguments = _known_arguments(run.get("arguments", {}))
    words = ["microx", "ablate", corpus, "--out", str(run_folder)]
    for name, value in arguments.items():
        if name == "shuffle_labels":
            words += ["--shuffle-labels"] if value else []
        elif name == "build":
            words += [f"--set=build.{key}={json.dumps(one)}" for key, one in value.items()]
        elif name in _OPTION_OF:
            words += [_OPTION_OF[name], str(value)]
        else:
            words.append(f"--set={name}={value}")
    given = "".join(f", {name}={value!r}" for name, value in arguments.items())
    return {
        "shell": shlex.join(words),
        "python": f"run_ablation(load_corpus({corpus!r}), {str(run_folder)!r}{given})",
    }


def _known_arguments(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give what `run_ablation` takes today of what a run recorded, which may be an older one."""
    arguments = {name: value for name, value in recorded.items() if value is not None}
    if arguments.pop("class_weight", None) == "balanced":
        arguments.setdefault("balance", "weights")
    known = {"shuffle_labels", *_OPTION_OF, *(setting.name for setting in fields(FitSettings))}
    return {name: value for name, value in arguments.items() if name in known}
