"""Tables of predictions, a row for each class: scores, two-by-two counts, next emotion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from microx.metrics import (
    Labels,
    Probabilities,
    check_rows,
    confusion_matrix,
    confusion_rates,
)


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
    support = confusion_matrix(y_true, y_pred, len(classes)).sum(axis=1)
    scores = np.full((3, len(classes)), np.nan)
    if len(y_true):
        labels = list(range(len(classes)))
        *scores, _ = sk.precision_recall_fscore_support(
            y_true, y_pred, labels=labels, zero_division=0
        )
    table = pd.DataFrame(index=list(classes))
    for name, values in zip(("precision", "recall", "f1"), scores, strict=True):
        table[name] = np.where(support > 0, values, np.nan)
    return table.assign(support=support)


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
    counts = confusion_matrix(y_true, y_pred, len(classes))
    right = np.diag(counts)
    table = pd.DataFrame({"TP": right, "FP": counts.sum(axis=0) - right}, index=list(classes))
    table["FN"] = counts.sum(axis=1) - right
    table["TN"] = counts.sum() - table.sum(axis=1)
    return table


def next_emotion_table(y: Labels, y_prob: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """For each class, how often each of the others was the most likely of the others.

    Parameters
    ----------
    y : (n,) int in [0, K)
        True classes, or the predicted ones: then the others' first is the second most likely.
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
    Source: the table "next most likely emotion" of the MicroX paper. Of equals the first in the
    label list is taken.

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
