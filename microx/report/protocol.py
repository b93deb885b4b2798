"""How a run was tested, the data it used, and how to repeat it: words and counts for a page.

Nothing is scored here; `microx.report.tables` has the scores.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus.corpus import Corpus, clip_starts
from microx.corpus.key_clips import key_clips
from microx.corpus.quality import summarize_corpus
from microx.evaluation.result import EvaluationResult
from microx.evaluation.summary import coverage_scores
from microx.experiments.run import Run
from microx.report.cautions import is_leaky, is_shuffled, percent
from microx.text import first_few
from microx.training.protocol import N_FOLDS, Protocol
from microx.training.settings import FitSettings
from microx.training.splits import clip_groups

N_NAMES = 40
"""Subjects listed in a cell or a sentence; the rest are counted (our choice)."""

_WHAT_WAS_RUN = {
    "ablate": "One model for each set of regions; it never saw the others.",
    "experiment regions": "One model for each set of regions; it never saw the others.",
    "experiment subsets": "One model that tolerates missing regions, tested with every subset of "
    "them; single regions are also trained alone.",
    "experiment mask": "Trained and tested with and without masks drawn on the faces.",
    "experiment occlusion": "Faces partly occluded in more and more of the test videos, for a "
    "model trained on unoccluded faces and one trained on occluded faces.",
    "experiment inputs": "The same model on several kinds of pixels.",
    "experiment lengths": "The same model on clips of several lengths; the rows test other clips.",
    "experiment optimizers": "The same model, trained by several optimisers.",
    "experiment networks": "Several networks, on single images.",
    "experiment protocols": "The same model under leaky and honest splits.",
    "experiment inflation": "The same model under a leaky and an honest protocol: what the leak "
    "is worth.",
}
_OF_A_PAPER = "A paper's experiment, split as published (LEAKY) and by subject, side by side."

# Argument of run_ablation and run_experiment → option of the command line.
_OPTION_OF = {
    "regions": "--regions",
    "protocol": "--protocol",
    "preset": "--model",
    "epochs": "--epochs",
    "seed": "--seed",
    "n_seeds": "--seeds",
    "n_folds": "--folds",
    "split_file": "--split",
    "inputs": "--inputs",
    "balance": "--balance",
    "augment": "--augment",
    "occlude": "--occlude",
}
_FLAG_OF = {"shuffle_labels": "--shuffle-labels", "oracle": "--oracle", "quick": "--quick"}


def what_was_run(experiment: str) -> str:
    """Say what the rows of an experiment are; ``""`` for an unknown one.

    Examples
    --------
    >>> what_was_run("ablate")
    'One model for each set of regions; it never saw the others.'
    """
    if experiment.startswith("reproduce "):
        return _OF_A_PAPER
    return _WHAT_WAS_RUN.get(experiment, "")


def protocol_in_words(main: EvaluationResult, *, oracle: bool = False) -> list[str]:
    """Say who was trained, validated and tested on, and when the test clips were used.

    Parameters
    ----------
    main : EvaluationResult
        The first seed's of the row that the page is about.
    oracle : bool
        Whether the run also asked what choosing the epoch on the test clips would have given.

    Returns
    -------
    list of str
        Sentences.
    """
    facts = main.facts
    group = facts.group
    units = f"{group}s" if group in ("subject", "video") else "clips"
    lines = [_division(facts.protocol, units, len(facts.n_train))]
    if is_leaky(main):
        lines.append(
            "LEAKY: clips of one subject or one video fell on both sides of the split. The scores "
            "below are too high, by an amount they do not show."
        )
    elif group == "subject":
        lines.append("No subject is shared: all clips of a subject fall on one side of a split.")
    else:
        lines.append(
            "No video is shared, but the corpus names no subjects: a subject may be on both sides."
        )
    subjects = sorted(set(main.subject.tolist()) - {""})
    if subjects:
        lines.append(f"Subjects tested ({len(subjects)}): {first_few(subjects, N_NAMES)}.")
    if any(facts.n_validation):
        lines.append(_validation(facts.protocol, group))
        lines.append("The test clips were predicted once, after the epoch was chosen.")
    else:
        lines.append(
            "No epoch was chosen: every clip that is not tested was trained on, for as many epochs "
            "as were set before. The test clips were predicted once, after the last."
        )
    if oracle:
        lines.append(
            "They were also predicted after every epoch (oracle), only for the gap "
            "reported below: no score and no choice depends on it."
        )
    return lines


def _validation(protocol: str, group: str) -> str:
    if protocol == "list":
        return (
            "The epoch was chosen on the list's own validation part, or, where it has none, on one "
            f"taken from the training side by {group}; its clips were not trained on."
        )
    cut = (
        "The epoch was chosen on an inner validation set taken from the training side, again by "
        f"{group}; its clips were not trained on"
    )
    if protocol in ("kfold", "loso", "loco"):
        return f"{cut}, and the model of that fold is not scored on them."
    return f"{cut} and are in no score."


def _division(protocol: str, units: str, n_folds: int) -> str:
    return {
        "holdout": f"One split: some {units} are trained on, others are tested (holdout).",
        "kfold": f"{n_folds} folds: the {units} of each are tested once, by a model trained on "
        f"those of the others.",
        "loso": f"Leave one subject out: {n_folds} models, each tested on one it never saw.",
        "loco": f"Leave one corpus out: {n_folds} models, each tested on a corpus it never saw.",
        "list": "A fixed list says who is trained on and who is tested.",
        "clips": "A fifth of the shuffled clips is tested, regardless of subject, as in the "
        "MicroX paper's released code.",
        "naive": "Three tenths of the shuffled clips are tested, regardless of subject (70/30).",
        "clip-folds": "The shuffled clips are tested fold by fold, regardless of subject.",
    }.get(protocol, f"Protocol: {protocol}.")


def fold_rows(main: EvaluationResult) -> list[dict[str, Any]]:
    """Count the training, validation and test clips of each split, and list the subjects."""
    facts = main.facts
    rows = []
    for fold in range(len(facts.n_train)):
        tested = main.fold == fold
        known = facts.trained_on[fold].subjects if fold < len(facts.trained_on) else ()
        rows.append(
            {
                "fold": fold,
                "n_train": facts.n_train[fold],
                "n_validation": _of_fold(facts.n_validation, fold),
                "n_test": int(tested.sum()),
                "known": first_few(known, 12),
                "test": first_few(sorted(set(main.subject[tested].tolist()) - {""}), N_NAMES),
                "best_epoch": _of_fold(facts.best_epoch, fold),
            }
        )
    return rows


def clips_of_run(corpus: Corpus, main: EvaluationResult) -> pd.DataFrame:
    """Index the corpus's clips as the run did, with those that lack a face."""
    facts = main.facts
    how = facts.arguments
    if how.frames != "all":
        return key_clips(corpus, how.frames)
    return corpus.clips(facts.n_frames, stride=how.stride, tail=how.tail, incomplete=True)


def account_for(corpus: Corpus, every: pd.DataFrame) -> dict[str, Any]:
    """Account for every video, frame and clip of the corpus.

    Parameters
    ----------
    corpus : Corpus
    every : DataFrame
        From `clips_of_run`.

    Returns
    -------
    dict
        The summary, counts of clips, and the reasons for which videos were left out.
    """
    summary = summarize_corpus(corpus)
    done = corpus.manifest[corpus.manifest["status"] == "done"]
    reasons = [
        {"reason": reason, "n": len(paths), "videos": first_few(paths, 5)}
        for reason, paths in summary.reasons
    ]
    clips = every[every["n_found"] == every["length"]]
    without = done[~done["video_id"].isin(clips["video_id"])]
    length = int(every["length"].iloc[0]) if len(every) else 0
    return {
        "summary": summary,
        "reasons": reasons,
        "n_clips": len(clips),
        "n_incomplete": len(every) - len(clips),
        "length": length,
        "of_images": length == 1,
        "without_clip": first_few(without["path"].map(str).tolist(), 5),
        "n_without_clip": len(without),
    }


def count_missing(
    results: Sequence[EvaluationResult], corpus: Corpus, every: pd.DataFrame
) -> dict[str, Any]:
    """Score the test subjects' clips and videos, also with those without a face counted wrong.

    Parameters
    ----------
    results : sequence of EvaluationResult
        A seed each, of one row.
    corpus : Corpus
    every : DataFrame
        From `clips_of_run`.

    Returns
    -------
    dict
        ``coverage``: rows of name, n, accuracy, UAR and UF1 as text, by clip and by video; empty
        where nothing is missing, or where whole subjects or videos were not what was tested.
        ``unplaced``: videos without any face of which it is not known whether they would have
        been tested; they are in no row.
    """
    main = results[0]
    if is_leaky(main) or is_shuffled(main):
        return {"coverage": [], "unplaced": 0}
    manifest = corpus.manifest
    skipped = (manifest["status"] != "done") & (manifest["n_frames"] > 0)
    faceless = manifest[skipped & (manifest["n_found"] == 0)]
    tested = _was_tested(main, faceless)
    clips = every[(every["n_found"] < every["length"]) & _was_tested(main, every)]
    videos = clips[~clips["video_id"].isin(main.video_id)]
    clips = pd.concat([clips, _would_be_clips(main, faceless[tested])])
    videos = pd.concat([videos, faceless[tested]]).drop_duplicates("video_id")
    coverage = _cover("clips", results, clips)
    coverage += _cover("videos", [result.by_video() for result in results], videos)
    known = {name for fold in main.facts.trained_on for name in fold.subjects}
    unplaced = ~tested & ~faceless["subject"].isin(known - {""}).to_numpy()
    return {"coverage": coverage, "unplaced": int(unplaced.sum())}


def _was_tested(main: EvaluationResult, rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether rows are of a test subject; with folds that go round, every subject is one."""
    all_tested = main.facts.protocol in ("kfold", "loso", "loco")
    return np.isin(clip_groups(rows)[0], main.group) | all_tested


def _would_be_clips(main: EvaluationResult, faceless: pd.DataFrame) -> pd.DataFrame:
    """The clips that videos would have given, had they shown a face; a row each."""
    arguments = main.facts.arguments
    if arguments.frames == "onset|apex":
        known = faceless[faceless["apex"].astype(str).str.strip().str.isdigit()]
        return known.drop(columns="emotion").merge(pd.Series(main.classes, name="emotion"), "cross")
    if arguments.frames != "all":
        return faceless
    length = main.facts.n_frames
    stride, tail = arguments.stride or length, arguments.tail
    n_clips = [len(clip_starts(int(n), length, stride, tail)) for n in faceless["n_frames"]]
    return faceless.loc[faceless.index.repeat(n_clips)]


def _cover(
    what: str, results: Sequence[EvaluationResult], missing: pd.DataFrame
) -> list[dict[str, Any]]:
    """Score results of clips or videos without and with what is missing; none where nothing is."""
    classes = results[0].classes
    index = {name: label for label, name in enumerate(classes)}
    labels = np.asarray(missing["emotion"].map(index).dropna(), np.int64)
    if not len(labels):
        return []
    each = [coverage_scores(r.y_true, r.y_pred, labels, len(classes)) for r in results]
    table = sum(each[1:], each[0]) / len(each)
    return [
        {
            "name": f"{what}: {name}",
            "n": f"{int(row['n']):,}",
            "scores": [percent(row[score], int(row["n"])) for score in ("accuracy", "uar", "uf1")],
        }
        for name, row in table.iterrows()
    ]


def clip_counts(main: EvaluationResult, clips: pd.DataFrame | None) -> dict[str, Any]:
    """Count clips by subject and emotion: all of the corpus, else those tested."""
    if clips is None:
        emotions = np.array(main.classes)[main.y_true]
        clips = pd.DataFrame({"subject": main.subject, "emotion": emotions})
        what = "test clips"
    else:
        what = "clips"
    tested = set(main.subject.tolist())
    counts = pd.crosstab(clips["subject"], clips["emotion"]).reindex(
        columns=list(main.classes), fill_value=0
    )
    rows = [
        {
            "subject": subject or "(unknown)",
            "tested": subject in tested,
            "counts": [int(value) for value in row],
            "total": int(row.sum()),
        }
        for subject, row in zip(counts.index.map(str), counts.to_numpy(), strict=True)
    ]
    totals = [int(value) for value in counts.to_numpy().sum(axis=0)]
    return {"what": what, "rows": rows, "totals": totals, "total": sum(totals)}


def fact_rows(main: EvaluationResult, corpus: str) -> list[tuple[str, str]]:
    """List what is needed to get the same numbers."""
    facts = main.facts
    rows = [
        ("seed", facts.seed),
        ("corpus", corpus),
        ("recipe hash", facts.recipe_hash),
        *((f"recipe: {name}", value) for name, value in facts.recipe.items()),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
        ("model preset", facts.preset),
        ("streams", facts.streams),
        ("parameters", None if facts.n_parameters is None else f"{facts.n_parameters:,}"),
        *((f"setting: {name}", value) for name, value in facts.arguments.as_dict().items()),
        ("seconds to the best epoch", facts.seconds_to_best),
        ("peak memory in MiB", facts.peak_memory_mib),
    ]
    return [(name, in_words(value)) for name, value in rows if value not in (None, "", {}, ())]


def commands(run: Run, corpus: str) -> dict[str, str]:
    """Write the run as a shell command and as Python, from the arguments it recorded.

    Parameters
    ----------
    run : Run
    corpus : str
        Its path.

    Returns
    -------
    dict
        ``shell``, ``python`` and ``imports``.
    """
    verb, _, name = str(run.about.get("experiment", "ablate")).partition(" ")
    arguments = _known_arguments(run.about.get("arguments", {}))
    if verb == "reproduce":  # the paper says all else
        seeds = run.about["seeds"]
        arguments = {"quick": arguments.get("quick", False), "seed": seeds[0]}
        arguments |= {"n_seeds": len(seeds)}
    out = str(run.folder)
    words = ["microx", verb, *([name] if name else []), corpus, "--out", out]
    for key, value in arguments.items():
        if key in _FLAG_OF:
            words += [_FLAG_OF[key]] if value else []
        elif key == "build":
            words += [f"--set=build.{part}={json.dumps(one)}" for part, one in value.items()]
        elif key in _OPTION_OF:
            words += [_OPTION_OF[key], str(value)]
        else:
            words.append(f"--set={key}={value}")
    how = _as_protocol(arguments)
    given = "".join(f", {key}={value!r}" for key, value in how.items())
    functions = {"ablate": "run_ablation", "reproduce": "reproduce"}
    function = functions.get(verb, "run_experiment")
    before = f"{name!r}, " if name else ""
    names = ["Protocol"] if isinstance(how.get("protocol"), Protocol) else []
    names += ["load_corpus", *([function] if verb != "reproduce" else [])]
    more = "; from microx.experiments.replicate import reproduce" if verb == "reproduce" else ""
    return {
        "shell": shlex.join(words),
        "python": f"{function}({before}load_corpus({corpus!r}), {out!r}{given})",
        "imports": f"from microx import {', '.join(names)}{more}",
    }


def _as_protocol(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give arguments as Python takes them: folds and list are parts of the protocol."""
    given = dict(arguments)
    parts = {name: given.pop(name) for name in ("n_folds", "split_file") if name in given}
    kind = given.get("protocol")
    if kind == "kfold" and parts.get("n_folds", N_FOLDS) != N_FOLDS:
        given["protocol"] = Protocol(kind, parts["n_folds"])
    elif kind == "list" and "split_file" in parts:
        given["protocol"] = Protocol(kind, split_file=parts["split_file"])
    return given


def _known_arguments(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the experiments take today of what a run recorded, which may be an older one."""
    arguments = {name: value for name, value in recorded.items() if value is not None}
    if arguments.pop("class_weight", None) == "balanced":
        arguments.setdefault("balance", "weights")
    known = {*_FLAG_OF, *_OPTION_OF, *(setting.name for setting in fields(FitSettings))}
    return {name: value for name, value in arguments.items() if name in known}


def _of_fold(values: Sequence[Any], fold: int) -> Any:
    """Give a fold's own entry of a fact that is one a fold, where the run recorded it."""
    return values[fold] if fold < len(values) else None


def in_words(value: Any) -> str:
    """Write a recorded fact as text.

    Examples
    --------
    >>> in_words(["mouth", "face"]), in_words(0.5)
    ('mouth, face', '0.5')
    """
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
