"""Results as one table of numbers: scores, their intervals, and how rows differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.errors import InputError
from microx.evaluation import metrics
from microx.evaluation.baselines import GUESSES, guess
from microx.evaluation.result import EvaluationResult
from microx.evaluation.statistics import (
    METRICS,
    bootstrap_interval,
    detectable_difference,
    difference_interval,
    holm,
    metric_of_counts,
    permutation_test,
    subject_counts,
)

SCORES = METRICS
"""Scores that get an interval and a spread over seeds: accuracy, UAR and UF1."""

LEVEL = 0.95
"""Of the intervals (our choice, and the usual one)."""

_N_DRAWS = 20
"""Repeats of a random guess, treated as so many seeds (our choice)."""


def results_table(rows: Mapping[str, Sequence[EvaluationResult]]) -> pd.DataFrame:
    """One line of scores per row, then the baselines that guess.

    Parameters
    ----------
    rows : mapping of str to sequence of EvaluationResult
        A result for each seed, all of the same clips. Empty gives an empty table.

    Returns
    -------
    DataFrame
        Columns name, regions (joined by ``+``), protocol, leaky, n_seeds, n_train and n_test
        (clips; over several folds the mean and the sum); of each of `SCORES` the mean over
        seeds, ``_sd`` over seeds (nan for one), ``_low`` and ``_high`` of the interval over
        subjects; macro_f1, weighted_f1, macro_precision, top2, ece; recall_<class> …;
        video_accuracy, video_uar, video_uf1; n_parameters. No times: the same seed gives the
        same table.
    """
    lines = [_line(name, results) for name, results in rows.items()]
    if rows:
        # On the clips of the honest rows: a leaky one tests other clips.
        first = min((r[0] for r in rows.values()), key=lambda r: r.facts.is_leaky)
        for how in GUESSES:
            guesses = [guess(first, how, seed=seed) for seed in range(_N_DRAWS)]
            lines.append(_line(how, guesses[:1] if how == GUESSES[0] else guesses))
    return pd.DataFrame(lines)


def compare_rows(
    rows: Mapping[str, Sequence[EvaluationResult]],
    reference: str,
    *,
    metric: str = "accuracy",
    seed: int = 0,
) -> pd.DataFrame:
    """Test each row against one of them, by subject, and correct for their number.

    Parameters
    ----------
    rows : mapping of str to sequence of EvaluationResult
        A row that tested other clips than the reference is left out.
    reference : str
        One of the rows.
    metric : {"accuracy", "uar", "uf1"}
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        Columns name, difference (row minus reference) with low and high of its interval, p
        (paired permutation by subject), p_holm, n_subjects, detectable (the minimum detectable
        difference in accuracy at a power of 0.8).
    """
    subjects, counts = count_by_subject(rows[reference])
    lines = []
    for name, results in rows.items():
        if name == reference or not same_clips(results[0], rows[reference][0]):
            continue
        _, theirs = count_by_subject(results)
        if theirs.shape != counts.shape:
            continue
        difference, low, high = _subtract(theirs, counts, metric, seed)
        lines.append(
            {
                "name": name,
                "difference": difference,
                "low": low,
                "high": high,
                "p": permutation_test(theirs, counts, metric, seed=seed),
                "n_subjects": len(subjects),
                "detectable": detectable_difference(theirs, counts),
            }
        )
    columns = ["name", "difference", "low", "high", "p", "n_subjects", "detectable"]
    table = pd.DataFrame(lines, columns=columns)
    table.insert(5, "p_holm", holm(table["p"].to_numpy(float)))
    return table


def measure_gap(
    above: Sequence[EvaluationResult],
    below: Sequence[EvaluationResult],
    *,
    metric: str = "accuracy",
    seed: int = 0,
) -> tuple[float, float, float, int]:
    """Measure how much higher one row scores than another on the subjects that both tested.

    Parameters
    ----------
    above, below : sequence of EvaluationResult
        One for each seed. The clips may differ, as those of a leaky and an honest protocol do.
    metric : {"accuracy", "uar", "uf1"}
    seed : int
        Of the resamples.

    Returns
    -------
    gap, low, high : float
        The difference and its interval over subjects; nan where they share fewer than two.
    n_subjects : int
        Subjects tested by both.
    """
    (one, counts_a), (other, counts_b) = count_by_subject(above), count_by_subject(below)
    both = sorted(set(one) & set(other))
    counts_a = counts_a[:, [one.index(subject) for subject in both]]
    counts_b = counts_b[:, [other.index(subject) for subject in both]]
    if len(both) < 2:
        return np.nan, np.nan, np.nan, len(both)
    return *_subtract(counts_a, counts_b, metric, seed), len(both)


def _subtract(
    counts_a: npt.NDArray[np.int64], counts_b: npt.NDArray[np.int64], metric: str, seed: int
) -> tuple[float, float, float]:
    """Score of one run less that of another on the same subjects, and its interval."""
    one, other = (metric_of_counts(c.sum(axis=1), metric).mean() for c in (counts_a, counts_b))
    interval = difference_interval(counts_a, counts_b, metric, level=LEVEL, seed=seed)
    return float(one - other), *interval


def region_values(rows: Mapping[str, Sequence[EvaluationResult]]) -> pd.DataFrame:
    """What each region adds to the accuracy of one model that was tested with every subset.

    Parameters
    ----------
    rows : mapping of str to sequence of EvaluationResult
        Of ``microx experiment CORPUS subsets``; rows of other models, such as those trained
        alone, are ignored.

    Returns
    -------
    DataFrame
        A line for each region, in the order of the model: column ``all`` and one for each class,
        Shapley values of the accuracy and of that class's recall, which sum to the gain of the
        whole model over chance, 1 / K. Empty if a subset is missing.
    """
    found = [results[0].facts.streams for results in rows.values()]
    streams: tuple[str, ...] = max(found, key=len, default=())
    values: dict[frozenset[str], npt.NDArray[np.float64]] = {}
    for results in rows.values():
        facts = results[0].facts
        if facts.streams == streams:
            values[frozenset(streams) - set(facts.without)] = _accuracies(results)
    if not streams or len(values) < 2 ** len(streams) - 1:
        return pd.DataFrame()
    classes = next(iter(rows.values()))[0].classes
    values[frozenset()] = np.full(1 + len(classes), 1 / len(classes))
    columns = [
        shapley_values({subset: float(each[k]) for subset, each in values.items()}, streams)
        for k in range(1 + len(classes))
    ]
    return pd.DataFrame(dict(zip(("all", *classes), columns, strict=True)), index=streams)


def _accuracies(results: Sequence[EvaluationResult]) -> npt.NDArray[np.float64]:
    """Accuracy and the recall of each class, averaged over seeds."""
    each = [
        [
            metrics.accuracy_score(r.y_true, r.y_pred),
            *metrics.per_class_recall(r.y_true, r.y_pred, len(r.classes)),
        ]
        for r in results
    ]
    return np.asarray(np.mean(each, axis=0))


def same_clips(one: EvaluationResult, other: EvaluationResult) -> bool:
    """Whether two results are about the same clips of the same subjects and classes."""
    if one.classes != other.classes:
        return False
    keys = [
        sorted(zip(r.subject.tolist(), r.clip_id.tolist(), r.y_true.tolist(), strict=True))
        for r in (one, other)
    ]
    return keys[0] == keys[1]


def count_by_subject(
    results: Sequence[EvaluationResult],
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Count true against predicted classes, for each seed and subject.

    Parameters
    ----------
    results : sequence of EvaluationResult
        One for each seed, of the same clips.

    Returns
    -------
    subjects : tuple of str
        S names in alphabetical order; videos where no subject is named.
    counts : (R, S, K, K) int64
    """
    subjects = tuple(sorted(set(results[0].group.tolist())))
    n_classes = len(results[0].classes)
    counts = [subject_counts(r.y_true, r.y_pred, r.group, n_classes) for r in results]
    return subjects, np.stack(counts)


def _line(name: str, results: Sequence[EvaluationResult]) -> dict[str, Any]:
    first = results[0]
    n_classes = len(first.classes)
    _, counts = count_by_subject(results)
    each = pd.DataFrame([metrics.score(r.y_true, r.y_prob, n_classes) for r in results])
    recall = np.mean([metrics.per_class_recall(r.y_true, r.y_pred, n_classes) for r in results], 0)
    videos = [result.by_video() for result in results]
    of_videos = pd.DataFrame([metrics.score(v.y_true, v.y_prob, n_classes) for v in videos])
    line: dict[str, Any] = {
        "name": name,
        "regions": "+".join(first.regions),
        "protocol": first.facts.protocol,
        "leaky": first.facts.is_leaky,
        "n_seeds": len(results),
        "n_train": round(float(np.mean(first.facts.n_train))),
        "n_test": len(first.y_true),
    }
    for score in SCORES:
        low, high = bootstrap_interval(counts, score, level=LEVEL)
        line[score] = float(each[score].mean())
        line |= {f"{score}_sd": float(each[score].std()), f"{score}_low": low}
        line[f"{score}_high"] = high
    others = [column for column in each.columns if column not in SCORES]
    line |= {column: float(each[column].mean()) for column in others}
    line |= {f"recall_{c}": value for c, value in zip(first.classes, recall, strict=True)}
    line |= {f"video_{score}": float(of_videos[score].mean()) for score in SCORES}
    return line | {"n_parameters": first.facts.n_parameters}


def coverage_scores(
    y_true: metrics.Labels, y_pred: metrics.Labels, y_missing: metrics.Labels, n_classes: int
) -> pd.DataFrame:
    """Scores of the clips with a face, and of all clips with the others counted as wrong.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Test clips, or videos.
    y_missing : (m,) int in [0, n_classes)
        True classes of the test clips or videos without a face.
    n_classes : int
        Length of the label list.

    Returns
    -------
    DataFrame
        Rows ``"detected only"`` and ``"all, missing counted wrong"``; columns n, accuracy, uar,
        uf1. A missing one lowers the recall of its class and is a false positive of no class. nan
        if there is nothing to score.

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
    metrics.check_pairs(y_true, y_pred, n_classes)
    metrics.check_labels("y_missing", y_missing, n_classes)
    no_class = np.full(len(y_missing), n_classes)  # outside the label list
    rows = {
        "detected only": (y_true, y_pred),
        "all, missing counted wrong": (
            np.concatenate([y_true, y_missing]),
            np.concatenate([y_pred, no_class]),
        ),
    }
    table = pd.DataFrame.from_dict(
        {
            name: {
                "n": len(true),
                "accuracy": metrics.accuracy_score(true, predicted),
                "uar": metrics.uar_score(true, predicted, n_classes + 1),
                "uf1": metrics.uf1_of_list(true, predicted, n_classes),
            }
            for name, (true, predicted) in rows.items()
        },
        orient="index",
    )
    return table.astype({"n": np.int64})


def shapley_values(
    value_of: Mapping[frozenset[str], float], players: Sequence[str]
) -> dict[str, float]:
    """Share the value of all players by what each adds to every subset of the others.

    Parameters
    ----------
    value_of : mapping of frozenset of str to float
        The score of each of the 2**P subsets, such as the UF1 of a model with only these
        regions; ``frozenset()`` is the score without any, chance.
    players : sequence of str
        Such as the regions.

    Returns
    -------
    dict of str to float
        In the order of `players`; they sum to ``value_of[all] - value_of[frozenset()]``.
        No players give an empty dict.

    Raises
    ------
    InputError
        If a subset has no value.

    Notes
    -----
    Source: Shapley 1953, "A value for n-person games", computed exactly.

    Examples
    --------
    >>> none, a, b, both = (frozenset(subset) for subset in ("", "a", "b", "ab"))
    >>> shapley_values({none: 0.0, a: 0.5, b: 0.25, both: 1.0}, ["a", "b"])
    {'a': 0.625, 'b': 0.375}
    """
    values = {}
    for player in players:
        others = [other for other in players if other != player]
        values[player] = 0.0
        for size in range(len(players)):
            weight = 1 / (len(players) * comb(len(others), size))
            for subset in map(frozenset, combinations(others, size)):
                with_player = _value(value_of, subset | {player})
                values[player] += weight * (with_player - _value(value_of, subset))
    return values


def _value(value_of: Mapping[frozenset[str], float], subset: frozenset[str]) -> float:
    if subset not in value_of:
        raise InputError(
            f"Shapley values need a score for every subset; found none for "
            f"{' + '.join(sorted(subset)) or 'no region at all'}"
        )
    return value_of[subset]
