"""Scores of predictions: accuracy, UAR, UF1, recall per class and the confusion matrix.

All take labels as integers 0 … K-1 and are counted over the rows of every fold *together*:
averaging the folds' F1 instead gives another, usually lower or higher, number under the
same name. scikit-learn does the counting.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from microx.errors import InputError

Labels = npt.NDArray[np.int64]


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
    if not len(y_true):
        return np.nan
    labels = list(range(n_classes))
    return float(sk.f1_score(y_true, y_pred, labels=labels, average="macro", zero_division=np.nan))


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
    confusion = confusion_matrix(y_true, y_pred, n_classes)
    n_true = confusion.sum(axis=1)
    recall = np.full(n_classes, np.nan)
    np.divide(np.diag(confusion), n_true, out=recall, where=n_true > 0)
    return recall


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


def _check(y_true: Labels, y_pred: Labels, n_classes: int | None = None) -> None:
    if np.shape(y_true) != np.shape(y_pred) or np.ndim(y_true) != 1:
        raise InputError(
            f"y_true and y_pred must be vectors of one length; "
            f"found {np.shape(y_true)} and {np.shape(y_pred)}"
        )
    if n_classes is None:
        return
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        if len(labels) and not (np.min(labels) >= 0 and np.max(labels) < n_classes):
            raise InputError(
                f"{name} must lie in 0 … {n_classes - 1} (the label list has {n_classes} "
                f"classes); found {np.min(labels)} … {np.max(labels)}"
            )
