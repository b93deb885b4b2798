"""What a reader must know before quoting a number: the cautions a run earns, in words.

Thresholds are our choice and are named in each sentence, so that a reader can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from microx.evaluation.baselines import guess
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import LEAKY_MARK, EvaluationResult
from microx.text import first_few
from microx.training.settings import SVMS

Rows = Mapping[str, Sequence[EvaluationResult]]
"""Rows of a run by name, a result a seed, as `microx.experiments.run.Run` has them."""

FEW_SUBJECTS = 10
"""Below this many test subjects a score depends mostly on who was tested (our choice)."""

FEW_EPOCHS = 5
"""A training that was allowed fewer is a trial (our choice)."""

STEEP = 0.05
"""Relative fall of the validation loss over the last three epochs, above which more epochs are
worth their time (our choice)."""

MANY_DROPPED = 0.05
"""Share of videos or frames lost above which the rest may not represent all (our choice)."""

NONE = "\u2013"
"""An en dash, for a number that does not exist."""


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
    """Whether clips of one subject or video were on both sides of a result's splits.

    Examples
    --------
    >>> is_leaky(result)
    False
    """
    return result.facts.is_leaky


def group_of(result: EvaluationResult) -> str:
    """Give what an interval is over: ``"subject"``, or ``"video"`` where subjects are missing.

    Examples
    --------
    >>> group_of(result)
    'subject'
    """
    return "subject" if np.all(result.subject != "") else "video"


def bare_name(name: str) -> str:
    """Name a row without the mark of a leak, for where the mark is shown beside it.

    Examples
    --------
    >>> bare_name("by clip (LEAKY)"), bare_name("by subject")
    ('by clip', 'by subject')
    """
    return name.removesuffix(LEAKY_MARK)


def marked(name: str, leaky: bool) -> str:
    """Name a row so that a leak shows even without colour.

    Examples
    --------
    >>> marked("by clip (LEAKY)", True), marked("face", True), marked("face", False)
    ('by clip (LEAKY)', 'face (LEAKY)', 'face')
    """
    return bare_name(name) + LEAKY_MARK if leaky else name


def is_shuffled(result: EvaluationResult) -> bool:
    """Whether a result is the control trained on shuffled labels.

    Examples
    --------
    >>> is_shuffled(result)
    False
    """
    return result.facts.is_shuffled


def is_simple(result: EvaluationResult) -> bool:
    """Whether a result is of a simple baseline, a support vector machine.

    Examples
    --------
    >>> is_simple(result)
    False
    """
    return result.facts.preset in SVMS


def main_row(rows: Rows) -> str:
    """Name the row a run is about: honest, of true labels, a network, and of most regions.

    It is chosen by what went into it, never by its score; of equals it is the first.

    Parameters
    ----------
    rows : mapping of str to sequence of EvaluationResult, at least one

    Examples
    --------
    >>> main_row(run.rows)
    'mouth+face'
    """

    def rank(name: str) -> tuple[bool, bool, bool, int]:
        first = rows[name][0]
        seen = set(first.regions) - set(first.facts.without)
        return not is_shuffled(first), not is_leaky(first), not is_simple(first), len(seen)

    return max(rows, key=rank)


def find_cautions(rows: Rows, manifest: pd.DataFrame | None = None) -> list[str]:
    """List what weakens a run's numbers, gravest first, one sentence each.

    Parameters
    ----------
    rows : mapping of str to sequence of EvaluationResult, at least one
        A result a seed.
    manifest : DataFrame, optional
        A corpus's manifest, for videos and frames lost on the way.

    Returns
    -------
    list of str
        Plain text; empty when there is nothing to say.

    Examples
    --------
    >>> find_cautions(run.rows)[0]
    'Only 1 subject was tested...'
    """
    true = {name: results for name, results in rows.items() if not is_shuffled(results[0])}
    controls = {name: results for name, results in rows.items() if name not in true}
    main = rows[main_row(rows)]
    found = [
        *_cautions_of_protocol(rows, main),
        *_cautions_of_control(controls),
        *_cautions_of_guessing(true),
        *_cautions_of_baselines(true, main),
        *_cautions_of_classes(main),
        *_cautions_of_training(true),
    ]
    if manifest is not None:
        found += _cautions_of_ledger(manifest)
    for results in true.values():
        found += [text for result in results for text in result.facts.warnings]
    return list(dict.fromkeys(found))


def _cautions_of_protocol(rows: Rows, main: Sequence[EvaluationResult]) -> Iterator[str]:
    first = main[0]
    leaky = [bare_name(name) for name, results in rows.items() if is_leaky(results[0])]
    if leaky:
        which = "" if len(leaky) == len(rows) else f" (rows {first_few(leaky, 5)})"
        yield (
            f"LEAKY{which}: clips of the same subject or video were trained on and tested on. "
            "These scores measure memory as well as skill and must not be quoted as performance "
            "on new subjects."
        )
    if first.facts.group == "video":
        yield (
            "The corpus names no subjects, so the split could only keep videos apart: the same "
            "subject may have been trained on and tested on. Name the subjects in the labels "
            "file for a score on new subjects."
        )
    n_subjects = len(set(first.subject.tolist()) - {""})
    if 0 < n_subjects < FEW_SUBJECTS:
        counted = "1 subject was" if n_subjects == 1 else f"{n_subjects} subjects were"
        yield (
            f"Only {counted} tested (fewer than {FEW_SUBJECTS}): another choice of test subjects "
            f"could move every score by many points. Small differences between rows may be chance."
        )
    if len(main) == 1:
        yield (
            "One training per row: with another seed every score would be somewhat "
            "different, and the intervals, which are over subjects, do not include that."
        )
    else:
        yield (
            f"{len(main)} trainings per row: ± shows their spread. The intervals and p-values are "
            "over subjects and do not include it."
        )


def _cautions_of_control(controls: Rows) -> Iterator[str]:
    for results in controls.values():
        first = results[0]
        n_videos = len(first.by_video().y_true)
        expected = max(1 / len(first.classes), _mean_accuracy([guess(first, "most_frequent")]))
        # Labels are shuffled among videos, so videos, not clips, are the independent draws.
        limit = expected + 2 * math.sqrt(expected * (1 - expected) / max(n_videos, 1))
        accuracy = _mean_accuracy(results)
        if accuracy > limit:
            yield (
                f"The control with shuffled labels scored {percent(accuracy)}, above the "
                f"{percent(limit)} that chance explains (two standard errors over {n_videos} "
                f"videos): something other than the emotion reveals the label."
            )


def _cautions_of_guessing(rows: Rows) -> Iterator[str]:
    below = [
        name
        for name, results in rows.items()
        if _mean_accuracy(results) <= _mean_accuracy([guess(results[0], "most_frequent")])
    ]
    if below:
        quoted = first_few([f"“{name}”" for name in below], 8)  # names may hold commas
        yield f"No better than always predicting the most frequent class: {quoted}."


def _cautions_of_baselines(rows: Rows, main: Sequence[EvaluationResult]) -> Iterator[str]:
    simple = {name: _mean_accuracy(r) for name, r in rows.items() if is_simple(r[0])}
    if not simple or is_simple(main[0]):
        return
    best = max(simple, key=simple.__getitem__)
    accuracy = _mean_accuracy(main)
    if accuracy <= simple[best]:
        n = len(main[0].y_true)
        yield (
            f"“{main[0].name}” does not beat the best simple baseline, “{best}”: "
            f"{percent(accuracy, n)} against {percent(simple[best], n)}. A network that a support "
            "vector machine equals is not worth its training."
        )


def _cautions_of_classes(main: Sequence[EvaluationResult]) -> Iterator[str]:
    first = main[0]
    n_classes = len(first.classes)
    classes = np.array(first.classes)
    untested = classes[np.bincount(first.y_true, minlength=n_classes) == 0]
    y_pred = np.concatenate([result.y_pred for result in main])
    unpredicted = classes[np.bincount(y_pred, minlength=n_classes) == 0]
    if len(untested):
        yield f"No test clip shows {', '.join(untested)}: nothing is known about it."
    if len(unpredicted):
        yield f"“{first.name}” never predicted {', '.join(unpredicted)}."


def _cautions_of_training(rows: Rows) -> Iterator[str]:
    fewest = min((r[0].facts.arguments.epochs for r in rows.values()), default=FEW_EPOCHS)
    if fewest < FEW_EPOCHS:
        yield (
            f"Trained for {fewest} {'epoch' if fewest == 1 else 'epochs'} at most (fewer than "
            f"{FEW_EPOCHS}): a trial, whose scores say little about what the model could learn."
        )
    rising = [name for name, results in rows.items() if any(map(_still_learns, results))]
    if rising:
        yield (
            f"Still learning when the epochs ran out (the last three lowered the validation loss "
            f"by more than {percent(STEEP)}): {first_few(rising, 5)}. More epochs may "
            f"raise the score; allow more and run again."
        )


def _still_learns(result: EvaluationResult) -> bool:
    """Whether a fold's best epoch was the last one allowed, and the loss still fell steeply.

    With a cosine schedule the rate ends at zero, and the last epoch is the best by design.
    """
    arguments = result.facts.arguments
    if result.history.empty or arguments.schedule == "cosine":
        return False
    best = result.facts.best_epoch
    folds = result.history.groupby("fold", sort=True)["val_loss"]
    for chosen, (_, losses) in zip(best, folds, strict=False):
        before = losses.to_numpy()[-4:]
        ran_out = chosen == len(losses) == arguments.epochs
        if ran_out and len(before) == 4 and before[-1] < (1 - STEEP) * before[0]:
            return True
    return False


def _cautions_of_ledger(manifest: pd.DataFrame) -> Iterator[str]:
    skipped = int((manifest["status"] != "done").sum())
    if skipped > MANY_DROPPED * len(manifest):
        yield (
            f"{skipped} of {len(manifest)} videos were left out (more than "
            f"{percent(MANY_DROPPED)}); the scores hold for the rest only."
        )
    done = manifest[manifest["status"] == "done"]
    frames, with_face = int(done["n_frames"].sum()), int(done["n_found"].sum())
    if frames - with_face > MANY_DROPPED * frames:
        yield (
            f"{frames - with_face:,} of {frames:,} frames have no crops (more than "
            f"{percent(MANY_DROPPED)}); these frames are in no clip and no score."
        )


def _mean_accuracy(results: Sequence[EvaluationResult]) -> float:
    return float(np.mean([accuracy_score(result.y_true, result.y_pred) for result in results]))
