"""Scores of predictions: single numbers, tables with a row per class, the confusion matrix.

All take labels as integers 0 … K-1 and are counted over the rows of all folds *together*:
averaging the folds' F1 instead gives a different number under the same name. scikit-learn does
the counting.

Of the scores made from F1 only `uf1_score` may be called UF1. Micro F1 is accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """Compute all single-number scores of rows of probabilities.

    Parameters
    ----------
    y_true : (n,) int in [0, n_classes)
    y_prob : (n, n_classes) float
        Rows sum to 1; the predicted class is the most likely, among equals the first.
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
    """Share of rows predicted correctly; also known as weighted average recall (WAR).

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
    check_pairs(y_true, y_pred)
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
    check_pairs(y_true, y_pred, n_classes)
    return uf1_of_list(y_true, y_pred, n_classes)


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
    """Mean F1 of the classes, each weighted by its true rows; dominated by frequent classes.

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
    """Share of rows whose true class is among the k most likely: top-k accuracy.

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
    Among equals the first in the label list come first, as in `y_pred`. scikit-learn's takes
    the last, and refuses two classes.

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
    """Expected calibration error (ECE): how far confidence lies from accuracy.

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
    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3. With few rows even
    a perfectly calibrated model has a value above 0.

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
    check_pairs(y_true, y_pred, n_classes)
    if not len(y_true):
        return np.zeros((n_classes, n_classes), np.int64)
    counts = sk.confusion_matrix(y_true, y_pred, labels=list(range(n_classes)))
    return np.asarray(counts, np.int64)


def confusion_rates(y_true: Labels, y_pred: Labels, n_classes: int) -> npt.NDArray[np.float64]:
    """Share of each true class (row) that was predicted as each class (column).

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
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float64)


def per_class_scores(y_true: Labels, y_pred: Labels, classes: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of each class.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, K)
        Class indices. Empty input gives nan everywhere and a support of 0.
    classes : sequence of str
        The label list.

    Returns
    -------
    DataFrame
        A row a class; columns precision, recall, f1 (in [0, 1]) and support (true rows). All
        three are nan for a class without a true row; precision is 0 for one that occurs but is
        never predicted.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> per_class_scores(np.array([0, 0, 1]), np.array([0, 1, 1]), ["sad", "happy", "fear"])
           precision  recall        f1  support
    sad          1.0     0.5  0.666667        2
    happy        0.5     1.0  0.666667        1
    fear         NaN     NaN       NaN        0
    """
    check_pairs(y_true, y_pred, len(classes))
    names, labels = ("precision", "recall", "f1", "support"), list(range(len(classes)))
    table = pd.DataFrame(0, list(classes), list(names))
    if len(y_true):
        table[[*names]] = np.transpose(
            sk.precision_recall_fscore_support(y_true, y_pred, labels=labels, zero_division=0)
        )
    support = table["support"].astype(np.int64)
    return table.where(support > 0).assign(support=support)


def two_by_two(y_true: Labels, y_pred: Labels, classes: Sequence[str]) -> pd.DataFrame:
    """Each class against all others: true and false positives and negatives.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, K)
        Class indices. Empty input gives zeros.
    classes : sequence of str
        The label list.

    Returns
    -------
    DataFrame
        A row a class; columns TP, FP, FN, TN (rows), which sum to n.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> two_by_two(np.array([0, 0, 1]), np.array([0, 1, 1]), ["sad", "happy"])
           TP  FP  FN  TN
    sad     1   0   1   1
    happy   1   1   0   1
    """
    check_pairs(y_true, y_pred, len(classes))
    counts, labels = np.zeros((len(classes), 2, 2), np.int64), list(range(len(classes)))
    if len(y_true):
        counts = sk.multilabel_confusion_matrix(y_true, y_pred, labels=labels)
    cells = {"TP": (1, 1), "FP": (0, 1), "FN": (1, 0), "TN": (0, 0)}
    return pd.DataFrame({name: counts[:, i, j] for name, (i, j) in cells.items()}, list(classes))


def next_emotion_table(y: Labels, y_prob: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """For each class, how often each of the others was the most likely of the others.

    Parameters
    ----------
    y : (n,) int in [0, K)
        True classes, or the predicted ones: the table then counts the second most likely class.
    y_prob : (n, K) float
    classes : sequence of str
        The label list.

    Returns
    -------
    (K, K) DataFrame
        Class of `y` by next most likely class, in shares of the row's clips; nan on the
        diagonal, and throughout for a class without a clip, as for empty input.

    Raises
    ------
    InputError
        If shapes differ or a label lies outside the list.

    Notes
    -----
    Source: the table "next most likely emotion" of the MicroX paper. Among equals the first in
    the label list is taken.

    Examples
    --------
    >>> y_prob = np.array([[0.5, 0.3, 0.2], [0.5, 0.1, 0.4]])
    >>> next_emotion_table(np.array([0, 0]), y_prob, ["sad", "happy", "fear"])
           sad  happy  fear
    sad    NaN    0.5   0.5
    happy  NaN    NaN   NaN
    fear   NaN    NaN   NaN
    """
    y, y_prob = np.asarray(y), np.array(y_prob, np.float64)  # a copy
    check_rows(y, y_prob, len(classes))
    y_prob[np.arange(len(y)), y] = -1
    rates = confusion_rates(y, y_prob.argmax(axis=1), len(classes))
    np.fill_diagonal(rates, np.nan)
    return pd.DataFrame(rates, index=list(classes), columns=list(classes))


def uf1_of_list(y_true: Labels, y_pred: Labels, n_classes: int) -> float:
    """UF1 over the first n_classes classes, whatever else is predicted; empty input gives nan."""
    if not len(y_true):
        return np.nan
    labels = list(range(n_classes))
    return float(sk.f1_score(y_true, y_pred, labels=labels, average="macro", zero_division=np.nan))


def _mean_of_occurring(
    metric: Callable[..., float], y_true: Labels, y_pred: Labels, n_classes: int, average: str
) -> float:
    check_pairs(y_true, y_pred, n_classes)
    if not len(y_true):
        return np.nan
    occurring = np.unique(y_true)
    return float(metric(y_true, y_pred, labels=occurring, average=average, zero_division=0))


def check_pairs(y_true: Labels, y_pred: Labels, n_classes: int | None = None) -> None:
    """Refuse true and predicted classes that differ in length or lie outside the label list."""
    if np.shape(y_true) != np.shape(y_pred) or np.ndim(y_true) != 1:
        raise InputError(
            f"y_true and y_pred must be vectors of one length; "
            f"found {np.shape(y_true)} and {np.shape(y_pred)}"
        )
    if n_classes is None:
        return
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        check_labels(name, labels, n_classes)


def check_labels(name: str, labels: Labels, n_classes: int) -> None:
    """Refuse class indices outside 0 … n_classes-1; `name` is what the error calls them."""
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
    check_labels("y_true", y_true, np.shape(y_prob)[1])
