"""Scores of guessing: what somebody gets who knows the training labels and looks at no clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from microx.errors import InputError
from microx.evaluation.result import EvaluationResult

GUESSES = ("most_frequent", "stratified", "uniform")
"""Ways to answer without looking at a clip; see `guess`."""


def guess(result: EvaluationResult, how: str, *, seed: int = 0) -> EvaluationResult:
    """What somebody would have scored who knows the training labels and looks at no clip.

    Parameters
    ----------
    result : EvaluationResult
        Its ``facts.train_class_counts`` (folds x K, in the order of the folds that are
        there) tell what is frequent.
    how : {"most_frequent", "stratified", "uniform"}
        Always the most frequent training class, of equals the first in the label list; a class
        drawn as often as it stands in training; or any class, each as likely as another.
    seed : int
        Of what is drawn.

    Returns
    -------
    EvaluationResult
        Named after `how`, without regions, for the same rows and folds; each row names one
        class for certain.

    Raises
    ------
    InputError
        If there is no such way, or the counts are not of as many folds as the result.
    """
    if how not in GUESSES:
        raise InputError(f"how must be one of {', '.join(GUESSES)}; received {how!r}")
    counts = np.asarray(result.facts.train_class_counts, float)
    n_classes = len(result.classes)
    folds, fold = np.unique(result.fold, return_inverse=True)  # of a run's cell, fold 1 alone
    if len(folds) != len(counts):
        raise InputError(
            f"result '{result.name}': expected the training's class counts of each of its "
            f"{len(folds)} folds; found them of {len(counts)}; delete it and run again"
        )
    if how == "most_frequent":
        named = np.argmax(counts, axis=1)[fold]
    else:
        odds = counts if how == "stratified" else np.ones_like(counts)
        reach = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)[fold]
        drawn = np.random.default_rng(seed).random((len(reach), 1))
        named = np.minimum((drawn >= reach).sum(axis=1), n_classes - 1)
    return replace(
        result,
        name=how,
        regions=(),
        y_prob=np.eye(n_classes, dtype=np.float32)[named],
        history=result.history.iloc[:0],
        facts=replace(result.facts, preset=how, n_parameters=0, seconds=0.0),
    )
