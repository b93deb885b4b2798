"""Scores of predictions: single numbers, recall per class and the confusion matrix.

All take labels as integers 0 … K-1 and are counted over the rows of every fold *together*:
averaging the folds' F1 instead gives another, usually lower or higher, number under the
same name. scikit-learn does the counting.

Of the scores made from F1 only `uf1_score` may be called UF1. Micro F1 is accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from microx.errors import InputError

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.floating]

N_BINS = 15
"""Bins of `calibration_error`, as of Guo et al. 2017."""


def score(y_true: Labels, y_prob: Probabilities, n_classes: int) -> dict[str, float]:
    """Every single number that rows of probabilities give.

    Parameters
    ----------
    y_true : (n,) int in [0, n_classes)
    y_prob : (n, n_classes) float
        Rows sum to 1; the first of equals is what is predicted.
    n_classes : int
        Length of the label list.

    Returns
    -------
    dict of str to float
        accuracy, uar, uf1, macro_f1, weighted_f1, macro_precision, top2, ece: each by the
        function of that name. Empty input gives nan everywhere.

    Raises
    ------
    InputError
        If shapes differ or a label lies outside the list.

    Examples
    --------
    >>> found = score(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]]), 2)
    >>> found["accuracy"], found["top2"], found["ece"]
    (0.5, 1.0, 0.375)
    """
    y_true, y_prob = np.asarray(y_true), np.asarray(y_prob)
    check_rows(y_true, y_prob, n_classes)
    y_pred = np.argmax(y_prob, axis=1)
    return {
        "accuracy": accuracy_score(y_true, y_pred),
        "uar": uar_score(y_true, y_pred, n_classes),
        "uf1": uf1_score(y_true, y_pred, n_classes),
        "macro_f1": macro_f1_score(y_true, y_pred, n_classes),
        "weighted_f1": weighted_f1_score(y_true, y_pred, n_classes),
        "macro_precision": macro_precision_score(y_true, y_pred, n_classes),
        "top2": top_k_score(y_true, y_prob, 2),
        "ece": calibration_error(y_true, y_prob),
    }


def accuracy_score(y_true: Labels, y_pred: Labels) -> float:
    """Share of rows predicted right; also known as weighted average recall (WAR).

    Parameters
    ----------
    y_true, y_pred : (n,) int
        Class indices. Empty input gives nan.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If the two differ in length.

    Examples
    --------
    >>> accuracy_score(np.array([0, 1, 1]), np.array([0, 1, 0]))
    0.6666666666666666
    """
    _check(y_true, y_pred)
    return float(np.mean(np.asarray(y_true) == np.asarray(y_pred))) if len(y_true) else np.nan


def uar_score(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """Unweighted average recall: the mean of the recalls of the classes that occur.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan.
    n_classes : int
        Length of the label list.

    Returns
    -------
    float
        In [0, 1]. A class without a true row has no recall and is left out of the mean.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> uar_score(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2)
    0.5
    """
    recall = per_class_recall(y_true, y_pred, n_classes)
    return float(np.nanmean(recall)) if len(y_true) else np.nan


def uf1_score(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """Unweighted F1: the mean over the label list of 2TP / (2TP + FP + FN), folds pooled.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices of the test rows of all folds. Empty input gives nan.
    n_classes : int
        Length of the label list, the same for every fold.

    Returns
    -------
    float
        In [0, 1]. A class that is neither true nor predicted anywhere has no F1 and is left
        out; one that is predicted but never true scores 0.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Notes
    -----
    Source: See et al., "MEGC 2019", section 4 (UF1), which has no absent class; leaving such
    a class out is our choice, so that a perfect predictor always scores 1.

    Examples
    --------
    >>> uf1_score(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 3)
    0.7333333333333334
    """
    _check(y_true, y_pred, n_classes)
    return _f1_of_list(y_true, y_pred, n_classes)


def macro_f1_score(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """Mean F1 of the classes that occur: UF1, but without those predicted and never true.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan.
    n_classes : int
        Length of the label list.

    Returns
    -------
    float
        In [0, 1]; the same as `uf1_score` where every predicted class occurs.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> macro_f1_score(np.array([0, 0, 0]), np.array([0, 0, 1]), 2)  # UF1 is 0.4
    0.8
    """
    return _mean_of_occurring(sk.f1_score, y_true, y_pred, n_classes, "macro")


def weighted_f1_score(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """Mean F1 of the classes, each weighted by its true rows; high where the frequent do well.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan.
    n_classes : int
        Length of the label list.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> round(weighted_f1_score(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2), 3)  # 3/4 * 6/7
    0.643
    """
    return _mean_of_occurring(sk.f1_score, y_true, y_pred, n_classes, "weighted")


def macro_precision_score(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """Mean precision of the classes that occur; the mean recall is `uar_score`.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan.
    n_classes : int
        Length of the label list.

    Returns
    -------
    float
        In [0, 1]; a class that occurs and is never predicted counts as 0.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> macro_precision_score(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2)
    0.375
    """
    return _mean_of_occurring(sk.precision_score, y_true, y_pred, n_classes, "macro")


def top_k_score(y_true: Labels, y_prob: Probabilities, k: int = 2) -> float:
    """Share of rows whose true class is among the k most likely.

    Parameters
    ----------
    y_true : (n,) int in [0, K)
    y_prob : (n, K) float
        Empty input gives nan.
    k : int
        1 gives accuracy; K and above give 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If shapes differ or a label lies outside the list.

    Notes
    -----
    Of equals the first in the label list go first, as in `y_pred`. scikit-learn's takes the
    last, and refuses two classes.

    Examples
    --------
    >>> top_k_score(np.array([1, 2]), np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]))
    0.5
    """
    y_true, y_prob = np.asarray(y_true), np.asarray(y_prob)
    check_rows(y_true, y_prob)
    ranked = np.argsort(-y_prob, axis=1, kind="stable")[:, :k]
    return float(np.any(ranked == y_true[:, None], axis=1).mean()) if len(y_true) else np.nan


def calibration_error(y_true: Labels, y_prob: Probabilities) -> float:
    """How far the stated confidence lies from the share of right answers (ECE).

    Parameters
    ----------
    y_true : (n,) int in [0, K)
    y_prob : (n, K) float in [0, 1]
        Empty input gives nan.

    Returns
    -------
    float
        In [0, 1]; 0 is best.

    Raises
    ------
    InputError
        If shapes differ or a label lies outside the list.

    Notes
    -----
    Rows fall into 15 equally wide bins by the probability of the predicted class; the gaps
    between a bin's mean probability and its accuracy are averaged by the bins' rows. Source:
    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3. Few rows give a
    value above 0 even to the best of models.

    Examples
    --------
    >>> calibration_error(np.array([0, 0]), np.array([[0.75, 0.25], [0.25, 0.75]]))  # 3/4, 1/2
    0.25
    """
    y_true, y_prob = np.asarray(y_true), np.asarray(y_prob, np.float64)
    check_rows(y_true, y_prob)
    if not len(y_true):
        return np.nan
    confidence, right = y_prob.max(axis=1), y_prob.argmax(axis=1) == y_true
    bins = np.ceil(np.clip(confidence, 0, 1) * N_BINS).astype(int)  # each bin holds its upper end
    gaps = np.bincount(bins, confidence - right)
    return float(np.abs(gaps).sum() / len(y_true))


def per_class_recall(y_true: Labels, y_pred: Labels, n_classes: int) -> npt.NDArray[np.float64]:
    """Recall of each class of the label list.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan everywhere.
    n_classes : int
        Length of the label list.

    Returns
    -------
    (n_classes,) float64
        In [0, 1]; nan for a class without a true row.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> per_class_recall(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    array([0.5, 1. , nan])
    """
    return np.diag(confusion_rates(y_true, y_pred, n_classes)).copy()


def confusion_matrix(y_true: Labels, y_pred: Labels, n_classes: int) -> npt.NDArray[np.int64]:
    """Counts of true class (row) against predicted class (column).

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives zeros.
    n_classes : int
        Length of the label list.

    Returns
    -------
    (n_classes, n_classes) int64

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    _check(y_true, y_pred, n_classes)
    if not len(y_true):
        return np.zeros((n_classes, n_classes), np.int64)
    counts = sk.confusion_matrix(y_true, y_pred, labels=list(range(n_classes)))
    return np.asarray(counts, np.int64)


def confusion_rates(y_true: Labels, y_pred: Labels, n_classes: int) -> npt.NDArray[np.float64]:
    """Share of each true class (row) that was given each class (column).

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives nan everywhere.
    n_classes : int
        Length of the label list.

    Returns
    -------
    (n_classes, n_classes) float64
        Rows sum to 1; nan for a class without a true row.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> confusion_rates(np.array([0, 0]), np.array([0, 1]), 2)
    array([[0.5, 0.5],
           [nan, nan]])
    """
    counts = confusion_matrix(y_true, y_pred, n_classes)
    n_true = counts.sum(axis=1, keepdims=True)
    rates = np.full(counts.shape, np.nan)
    np.divide(counts, n_true, out=rates, where=n_true > 0)
    return rates


def coverage_scores(
    y_true: Labels, y_pred: Labels, y_missing: Labels, n_classes: int
) -> pd.DataFrame:
    """Scores of what had a face, and of everything with the rest counted wrong.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Tested clips, or videos.
    y_missing : (m,) int in [0, n_classes)
        True classes of the test clips or videos without a face.
    n_classes : int
        Length of the label list.

    Returns
    -------
    DataFrame
        Rows ``"detected only"`` and ``"all, missing counted wrong"``; columns n, accuracy, uar,
        uf1. A missing one lowers the recall of its class and is a false positive of none. nan
        where there is nothing to score.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> coverage_scores(np.array([0, 1]), np.array([0, 1]), np.array([1, 1]), 2).round(2)
                                n  accuracy   uar   uf1
    detected only               2       1.0  1.00  1.00
    all, missing counted wrong  4       0.5  0.67  0.75
    """
    _check(y_true, y_pred, n_classes)
    _check_in_list("y_missing", y_missing, n_classes)
    no_answer = np.full(len(y_missing), n_classes)  # of no class in the list
    rows = {
        "detected only": (y_true, y_pred),
        "all, missing counted wrong": (
            np.concatenate([y_true, y_missing]),
            np.concatenate([y_pred, no_answer]),
        ),
    }
    table = pd.DataFrame.from_dict(
        {
            name: {
                "n": len(true),
                "accuracy": accuracy_score(true, answer),
                "uar": uar_score(true, answer, n_classes + 1),
                "uf1": _f1_of_list(true, answer, n_classes),
            }
            for name, (true, answer) in rows.items()
        },
        orient="index",
    )
    return table.astype({"n": np.int64})


def _f1_of_list(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    if not len(y_true):
        return np.nan
    labels = list(range(n_classes))
    return float(sk.f1_score(y_true, y_pred, labels=labels, average="macro", zero_division=np.nan))


def _mean_of_occurring(
    metric: Callable[..., float], y_true: Labels, y_pred: Labels, n_classes: int, average: str
) -> float:
    _check(y_true, y_pred, n_classes)
    if not len(y_true):
        return np.nan
    occurring = np.unique(y_true)
    return float(metric(y_true, y_pred, labels=occurring, average=average, zero_division=0))


def _check(y_true: Labels, y_pred: Labels, n_classes: int | None = None) -> None:
    if np.shape(y_true) != np.shape(y_pred) or np.ndim(y_true) != 1:
        raise InputError(
            f"y_true and y_pred must be vectors of one length; "
            f"found {np.shape(y_true)} and {np.shape(y_pred)}"
        )
    if n_classes is None:
        return
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        _check_in_list(name, labels, n_classes)


def _check_in_list(name: str, labels: Labels, n_classes: int) -> None:
    if len(labels) and not (np.min(labels) >= 0 and np.max(labels) < n_classes):
        raise InputError(
            f"{name} must lie in 0 … {n_classes - 1} (the label list has {n_classes} "
            f"classes); found {np.min(labels)} … {np.max(labels)}"
        )


def check_rows(y_true: Labels, y_prob: Probabilities, n_classes: int | None = None) -> None:
    """Refuse rows of probabilities that do not fit their labels.

    Parameters
    ----------
    y_true : (n,) int
    y_prob : (n, K) float
    n_classes : int, optional
        What K must be; None leaves it open.

    Raises
    ------
    InputError
        If shapes differ or a label lies outside 0 … K-1.
    """
    if np.ndim(y_prob) != 2 or (n_classes is not None and np.shape(y_prob)[1] != n_classes):
        raise InputError(
            f"y_prob must have shape (n, {'K' if n_classes is None else n_classes}), a column a "
            f"class; found {np.shape(y_prob)}"
        )
    if np.shape(y_true) != np.shape(y_prob)[:1]:
        raise InputError(
            f"y_prob must have a row for each of the {len(y_true)} labels; "
            f"found {np.shape(y_prob)[0]}"
        )
    _check_in_list("y_true", y_true, np.shape(y_prob)[1])
