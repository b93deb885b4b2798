"""Baselines that guess from the training labels alone, as scikit-learn's DummyClassifier does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from microx.errors import InputError
from microx.evaluation.result import EvaluationResult

GUESSES = ("most_frequent", "stratified", "uniform")
"""Ways to predict without looking at a clip; see `guess`."""


def guess(result: EvaluationResult, how: str, *, seed: int = 0) -> EvaluationResult:
    """Predict a result's clips from the training labels alone.

    Parameters
    ----------
    result : EvaluationResult
        With ``facts.train_class_counts``, (folds, K), in the order of its folds.
    how : {"most_frequent", "stratified", "uniform"}
        Always the most frequent training class, among equals the first in the label list; a
        random class with the frequencies of the training labels; or any class with equal
        probability.
    seed : int
        For random guesses.

    Returns
    -------
    EvaluationResult
        Named after `how`, without regions, for the same rows and folds; each row predicts one
        class with probability 1.

    Raises
    ------
    InputError
        If there is no such way, or the counts are of another number of folds than the result.
    """
    if how not in GUESSES:
        raise InputError(f"how must be one of {', '.join(GUESSES)}; received {how!r}")
    counts = np.asarray(result.facts.train_class_counts, float)
    n_classes = len(result.classes)
    folds, fold = np.unique(result.fold, return_inverse=True)  # of a run's cell, fold 1 alone
    if len(folds) != len(counts):
        raise InputError(
            f"result '{result.name}': expected training class counts for each of its "
            f"{len(folds)} folds; found them for {len(counts)}; delete it and run again"
        )
    if how == "most_frequent":
        label = np.argmax(counts, axis=1)[fold]
    else:
        odds = counts if how == "stratified" else np.ones_like(counts)
        reach = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)[fold]
        sampled = np.random.default_rng(seed).random((len(reach), 1))
        label = np.minimum((sampled >= reach).sum(axis=1), n_classes - 1)
    return replace(
        result,
        name=how,
        regions=(),
        y_prob=np.eye(n_classes, dtype=np.float32)[label],
        history=result.history.iloc[:0],
        facts=replace(result.facts, preset=how, n_parameters=0, seconds=0.0),
    )
