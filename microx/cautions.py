"""What a reader must know before quoting a number: the cautions a run earns, in words.

Thresholds are our choice and are named in each sentence, so that a reader can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from microx.evaluation import EvaluationResult
from microx.metrics import accuracy_score, confusion_matrix

FEW_SUBJECTS = 10
"""Below this many test subjects a score mostly says who happened to be tested (our choice)."""

NONE = "\u2013"
"""An en dash, for a number that does not exist."""

MANY_DROPPED = 0.05
"""Share of videos or frames lost beyond which the rest may not stand for all (our choice)."""


def percent(share: float, n: int = 0) -> str:
    r"""Write a share as a percentage no finer than the rows it was counted over.

    Parameters
    ----------
    share : float in [0, 1] or nan
        nan gives an en dash.
    n : int
        Rows it was counted over; from 1,000 on there is one decimal (our choice).

    Examples
    --------
    >>> percent(0.8267, 52), percent(0.8267, 5200)
    ('83\xa0%', '82.7\xa0%')
    """
    return NONE if math.isnan(share) else f"{100 * share:.{int(n >= 1000)}f}\xa0%"


def is_leaky(result: EvaluationResult) -> bool:
    """Tell whether clips of one subject or video stood on both sides of a result's splits.

    Examples
    --------
    >>> is_leaky(result)  # doctest: +SKIP
    False
    """
    facts = result.facts
    return bool(facts.get("leaky")) or facts.get("group") not in ("subject", "video")


def is_shuffled(result: EvaluationResult) -> bool:
    """Tell whether a result is the control trained on shuffled labels.

    Examples
    --------
    >>> is_shuffled(result)  # doctest: +SKIP
    False
    """
    return bool(result.facts.get("shuffled_labels"))


def main_row(results: Sequence[EvaluationResult]) -> EvaluationResult:
    """Give the row a run is about: the one of most regions whose labels are true.

    It is chosen by its inputs, never by its score.

    Parameters
    ----------
    results : sequence of EvaluationResult, at least one

    Examples
    --------
    >>> main_row(results).name  # doctest: +SKIP
    'regions+face'
    """
    return max(results, key=lambda result: (not is_shuffled(result), len(result.regions)))


def find_cautions(
    results: Sequence[EvaluationResult],
    baseline_accuracy: float,
    manifest: pd.DataFrame | None = None,
) -> list[str]:
    """List what weakens a run's numbers, gravest first, one sentence each.

    Parameters
    ----------
    results : sequence of EvaluationResult, at least one
        The rows of a run; all share classes and test clips.
    baseline_accuracy : float in [0, 1]
        Accuracy of always naming the most frequent training class.
    manifest : DataFrame, optional
        A corpus's manifest, for videos and frames lost on the way.

    Returns
    -------
    list of str
        Plain text; empty when there is nothing to say.

    Examples
    --------
    >>> find_cautions(results, 0.14)  # doctest: +SKIP
    ['Only 3 subjects were tested …']
    """
    main = main_row(results)
    found = [*_cautions_of_protocol(main), *_cautions_of_control(results, baseline_accuracy)]
    below = [
        result.name
        for result in results
        if not is_shuffled(result)
        and accuracy_score(result.y_true, result.y_pred) <= baseline_accuracy
    ]
    if below:
        found.append(
            f"No better than always naming the most frequent class ({percent(baseline_accuracy)}): "
            f"{', '.join(below)}."
        )
    found += _cautions_of_classes(main)
    found += _cautions_of_training(results)
    if manifest is not None:
        found += _cautions_of_ledger(manifest)
    said = [
        str(text)
        for result in results
        if not is_shuffled(result)
        for text in result.facts.get("warnings", [])
    ]
    return list(dict.fromkeys(found + said))


def _cautions_of_protocol(main: EvaluationResult) -> list[str]:
    found = []
    if is_leaky(main):
        found.append(
            "LEAKY: clips of the same subject or video were trained on and tested on. These "
            "scores measure memory as well as skill and may not be quoted as performance on "
            "new people."
        )
    elif main.facts["group"] == "video":
        found.append(
            "The corpus names no subjects, so the split could only keep videos apart: the same "
            "person may have been trained on and tested on. Name the subjects in the labels "
            "file for a score on new people."
        )
    n_subjects = len(set(main.subject.tolist()) - {""})
    if 0 < n_subjects < FEW_SUBJECTS:
        whom = "1 subject was" if n_subjects == 1 else f"{n_subjects} subjects were"
        found.append(
            f"Only {whom} tested (fewer than {FEW_SUBJECTS}): another choice of test subjects "
            f"could move every score by many points. Small differences between rows may be luck."
        )
    return found


def _cautions_of_control(
    results: Sequence[EvaluationResult], baseline_accuracy: float
) -> list[str]:
    found = []
    for result in filter(is_shuffled, results):
        videos = result.by_video()
        expected = max(1 / len(result.classes), baseline_accuracy)
        # Labels are shuffled among videos, so videos, not clips, are the independent draws.
        limit = expected + 2 * math.sqrt(expected * (1 - expected) / max(len(videos.y_true), 1))
        accuracy = accuracy_score(result.y_true, result.y_pred)
        if accuracy > limit:
            found.append(
                f"The control with shuffled labels scored {percent(accuracy)}, above the "
                f"{percent(limit)} that luck explains (two standard errors over "
                f"{len(videos.y_true)} videos): "
                f"something other than the emotion gives the answer away."
            )
    return found


def _cautions_of_classes(main: EvaluationResult) -> list[str]:
    counts = confusion_matrix(main.y_true, main.y_pred, len(main.classes))
    classes = np.array(main.classes)
    untested = classes[counts.sum(axis=1) == 0].tolist()
    unnamed = classes[counts.sum(axis=0) == 0].tolist()
    found = []
    if untested:
        found.append(f"No test clip shows {', '.join(untested)}: nothing is known about it.")
    if unnamed:
        found.append(f"“{main.name}” never answered {', '.join(unnamed)}.")
    return found


def _cautions_of_training(results: Sequence[EvaluationResult]) -> list[str]:
    unfinished = []
    for result in results:
        if is_shuffled(result) or result.history.empty:
            continue
        last = result.history.groupby("fold")["epoch"].max().tolist()
        allowed = result.facts.get("arguments", {}).get("epochs")
        best = result.facts.get("best_epoch", [])
        if any(b == e and e == allowed for b, e in zip(best, last, strict=False)):
            unfinished.append(result.name)
    if not unfinished:
        return []
    return [
        f"Still improving when the epochs ran out: {', '.join(unfinished)}. More epochs may "
        f"raise the score; allow more and run again."
    ]


def _cautions_of_ledger(manifest: pd.DataFrame) -> list[str]:
    found = []
    skipped = int((manifest["status"] != "done").sum())
    if skipped > MANY_DROPPED * len(manifest):
        found.append(
            f"{skipped} of {len(manifest)} videos were left out (more than "
            f"{percent(MANY_DROPPED)}); the scores hold for those that remained."
        )
    done = manifest[manifest["status"] == "done"]
    frames, with_face = int(done["n_frames"].sum()), int(done["n_found"].sum())
    if frames - with_face > MANY_DROPPED * frames:
        found.append(
            f"No face was found in {frames - with_face:,} of {frames:,} frames (more than "
            f"{percent(MANY_DROPPED)}); these frames are in no clip and no score."
        )
    return found
