"""How far a score can be trusted: intervals over subjects, paired tests and their power.

Clips of one subject are alike, so subjects are resampled, never clips. Everything starts from
`subject_counts`: a confusion matrix for each subject. A resample is then a weighted sum of them,
and thousands cost less than one pass over the clips. Several seeds are stacked in front, shape
(R, S, K, K): the score is their mean, and its uncertainty is that over new subjects, not over new
seeds. Where no subjects are known, videos take their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from microx.errors import InputError
from microx.evaluation.metrics import Labels, confusion_matrix

_NO_SPREAD = 1e-12
"""A smaller spread is rounding."""

METRICS = ("accuracy", "uar", "uf1")
"""Scores that can be computed from counts."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def subject_counts(y_true: Labels, y_pred: Labels, group: npt.ArrayLike, n_classes: int) -> Counts:
    """Count true against predicted class for each subject.

    Parameters
    ----------
    y_true, y_pred : (n,) int in [0, n_classes)
        Class indices. Empty input gives shape (0, K, K).
    group : (n,) str
        The subject of each row; its video where no subject is known.
    n_classes : int
        Length of the label list, K.

    Returns
    -------
    (S, K, K) int64
        Subjects in the order of their sorted names, so that runs on the same subjects match.

    Raises
    ------
    InputError
        If lengths differ or a label lies outside the list.

    Examples
    --------
    >>> subject_counts(np.array([0, 1, 1]), np.array([0, 1, 0]), ["b", "a", "b"], 2).tolist()
    [[[0, 0], [0, 1]], [[1, 0], [1, 0]]]
    """
    confusion_matrix(y_true, y_pred, n_classes)  # refuses invalid labels
    if np.shape(group) != np.shape(y_true):
        raise InputError(
            f"group must name a subject for each of the {len(y_true)} rows; "
            f"found shape {np.shape(group)}"
        )
    names, subject = np.unique(np.asarray(group), return_inverse=True)
    counts = np.zeros((len(names), n_classes, n_classes), np.int64)
    np.add.at(counts, (subject, np.asarray(y_true, int), np.asarray(y_pred, int)), 1)
    return counts


def metric_of_counts(counts: npt.ArrayLike, metric: str = "accuracy") -> Floats:
    """Score confusion matrices, many at a time, as `microx.evaluation.metrics` scores their rows.

    Parameters
    ----------
    counts : (..., K, K) number
        True class by predicted class. A matrix of zeros gives nan.
    metric : {"accuracy", "uar", "uf1"}

    Returns
    -------
    (...) float64
        In [0, 1].

    Raises
    ------
    InputError
        If the metric is none of these.

    Examples
    --------
    >>> metric_of_counts([[[1, 1], [0, 2]], [[2, 0], [0, 2]]])
    array([0.75, 1.  ])
    """
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}; found '{metric}'")
    counts = np.asarray(counts, np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    n_true, n_predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    if metric == "accuracy":
        return _share(right.sum(axis=-1), n_true.sum(axis=-1))
    each = _share(right, n_true) if metric == "uar" else _share(2 * right, n_true + n_predicted)
    return _share(np.nansum(each, axis=-1), np.isfinite(each).sum(axis=-1))


def bootstrap_interval(
    counts: npt.ArrayLike,
    metric: str = "accuracy",
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a score for subjects like those tested, by resampling subjects.

    Parameters
    ----------
    counts : (S, K, K) or (R, S, K, K) int
        From `subject_counts`; with R seeds in front, the score is their mean.
    metric : {"accuracy", "uar", "uf1"}
    level : float in (0, 1)
        Share of such intervals that hold the true score.
    n_resamples, seed : int
        2,000 move an end by about 0.002 from seed to seed (our choice).

    Returns
    -------
    low, high : float
        In [0, 1]. nan for fewer than two subjects, and where all subjects score the same, which
        gives no estimate of how others would differ. A score of exactly 1 (or 0) has no spread
        to resample; its other end is then that of S successes in S trials (Clopper-Pearson),
        which is wide.

    Raises
    ------
    InputError
        If the shape or the metric is not as above.

    Notes
    -----
    The bootstrap's standard error in a Student interval of S-1 degrees of freedom, on the
    logit scale, which keeps it within [0, 1]. Each resample has S-1 subjects, for with S the
    error is too small by sqrt((S-1)/S): the narrowness bias of Hesterberg 2015, "What Teachers
    Should Know about the Bootstrap".

    Measured coverage of 95 % intervals, 500 sets each of subjects that differ in difficulty and in
    their clips of each emotion, 3 to 7 classes, accuracy .4 to .85, all three metrics:
    93.0-96.4 % with 10, 20 and 40 subjects, 92.8-96.8 % with 8, 95.0-98.0 % with 5. On similar
    sets of 10 subjects the plain percentile interval had 86-91 %, the expanded one 91-96 %, BCa
    87-91 %.

    Examples
    --------
    >>> low, high = bootstrap_interval([[[3, 1], [0, 4]], [[2, 2], [1, 3]], [[4, 0], [2, 2]]])
    >>> round(low, 1), round(high, 1)
    (0.4, 0.9)
    """
    counts = _with_repeats(counts)
    n_subjects = counts.shape[1]
    if n_subjects < 2:
        return np.nan, np.nan
    tail = (1 - level) / 2
    score = float(metric_of_counts(counts.sum(axis=1), metric).mean())
    if score == 1:
        return float(tail ** (1 / n_subjects)), 1.0
    if score == 0:
        return 0.0, float(1 - tail ** (1 / n_subjects))
    resampled = _resample(counts, metric, n_resamples, seed)
    spread = np.sqrt(np.mean((resampled - score) ** 2))
    if spread < _NO_SPREAD:
        return np.nan, np.nan
    error = spread / (score * (1 - score))  # of the logit
    reach = stats.t.ppf(1 - tail, n_subjects - 1) * error
    low, high = special.expit(special.logit(score) + np.array([-reach, reach]))
    return float(low), float(high)


def difference_interval(
    counts_a: npt.ArrayLike,
    counts_b: npt.ArrayLike,
    metric: str = "accuracy",
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the score of run a less that of run b, both on the same subjects.

    Parameters
    ----------
    counts_a, counts_b : (S, K, K) or (R, S, K, K) int
        From `subject_counts`, the same subjects in the same order; clips and R may differ.
    metric, level, n_resamples, seed
        See `bootstrap_interval`.

    Returns
    -------
    low, high : float
        In [-1, 1]; nan for fewer than two subjects, and where two runs differ equally on every
        subject, which gives no estimate of how they would differ on others.

    Raises
    ------
    InputError
        If the subjects differ in number, or a shape or the metric is not as above.

    Notes
    -----
    As `bootstrap_interval`, without the logit; each resample has the same subjects for both.
    """
    a, b = _with_repeats(counts_a), _with_repeats(counts_b)
    n_subjects = a.shape[1]
    if n_subjects != b.shape[1]:
        raise InputError(f"two runs must share their subjects; found {n_subjects} and {b.shape[1]}")
    if n_subjects < 2:
        return np.nan, np.nan
    difference = np.subtract(*(metric_of_counts(x.sum(axis=1), metric).mean() for x in (a, b)))
    resampled = np.subtract(*(_resample(x, metric, n_resamples, seed) for x in (a, b)))
    error = np.sqrt(np.mean((resampled - difference) ** 2))
    if error < _NO_SPREAD:
        return np.nan, np.nan
    reach = stats.t.ppf((1 + level) / 2, n_subjects - 1) * error
    low, high = np.clip([difference - reach, difference + reach], -1, 1)
    return float(low), float(high)


def mcnemar_p(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> float:
    """Exact McNemar test of two runs on the same clips, as quoted in the literature.

    It assumes independent clips. Those of one subject are not independent, so its p is too small;
    quote that of `permutation_test`.

    Parameters
    ----------
    right_a, right_b : (n,) bool
        Whether each run predicted the clip correctly.

    Returns
    -------
    float
        Two-sided p; 1 where the runs are correct on the same clips, as with no clips at all.

    Raises
    ------
    InputError
        If the two differ in length.

    Examples
    --------
    >>> mcnemar_p([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])  # 2 / 2**5
    0.0625
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if a.shape != b.shape:
        raise InputError(f"two runs must share their clips; found {a.size} and {b.size}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def permutation_test(
    counts_a: npt.ArrayLike,
    counts_b: npt.ArrayLike,
    metric: str = "accuracy",
    *,
    n_permutations: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided p of the difference between two runs, by swapping the runs of whole subjects.

    Parameters
    ----------
    counts_a, counts_b : (S, K, K) or (R, S, K, K) int
        From `subject_counts`, of the same clips; a subject's R seeds are swapped together.
    metric : {"accuracy", "uar", "uf1"}
    n_permutations : int
        At random; if all 2**S are at most one more, all are used instead, and p is exact: up to
        13 subjects at the default (our choice).
    seed : int

    Returns
    -------
    float
        In (0, 1]: the given order counts as one of the permutations. No subjects give nan.

    Raises
    ------
    InputError
        If the runs differ in shape or in true classes, or the metric is none of these.

    Notes
    -----
    p cannot be below 2 / 2**S: with fewer than six subjects no difference reaches 0.05.

    Measured on 1,000 to 1,500 pairs of equally good runs, each metric: rejects at 0.05 in 3.0 to
    6.1 % from 15 subjects on. With 6 to 10 subjects UAR and UF1 are rejected in 3.0 to 5.7 %, and
    accuracy, for which many permutations are then tied, in only 1.5 to 2.7 %.

    Source: Phipson and Smyth 2010, "Permutation p-values should never be zero".

    Examples
    --------
    >>> good, bad = np.array([[[3, 0], [0, 3]]] * 6), np.array([[[2, 1], [1, 2]]] * 6)
    >>> permutation_test(good, bad)  # 2 / 2**6
    0.03125
    """
    a, b = _paired(counts_a, counts_b)
    n_subjects = a.shape[1]
    if not n_subjects:
        return np.nan
    exact = 2**n_subjects <= n_permutations + 1
    if exact:
        swapped = np.arange(2**n_subjects)[:, None] >> np.arange(n_subjects) & 1
    else:
        rng = np.random.default_rng(seed)
        swapped = rng.integers(0, 2, (n_permutations, n_subjects), dtype=np.int8)
    gain = _weighted(b - a, swapped)
    differences = metric_of_counts(a.sum(axis=1)[:, None] + gain, metric)
    differences -= metric_of_counts(b.sum(axis=1)[:, None] - gain, metric)
    scores = (metric_of_counts(x.sum(axis=1), metric).mean() for x in (a, b))
    observed = abs(np.subtract(*scores))
    as_far = np.abs(differences.mean(axis=0)) >= observed - 1e-12  # equal but for rounding
    return float(as_far.mean() if exact else (as_far.sum() + 1) / (n_permutations + 1))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Correct p-values of several comparisons, to keep the family-wise error rate at the level.

    Parameters
    ----------
    p_values : (m,) float
        Of all comparisons made, not only of those shown. nan stays nan and is not counted.

    Returns
    -------
    (m,) float64
        In the same order, at most 1. Empty stays empty.

    Notes
    -----
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2)
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # nan sorts last
    corrected = np.full(p.shape, np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def detectable_difference(
    counts_a: npt.ArrayLike, counts_b: npt.ArrayLike, *, power: float = 0.8, level: float = 0.05
) -> float:
    """Minimum detectable difference in accuracy of two such runs on these subjects.

    Parameters
    ----------
    counts_a, counts_b : (S, K, K) or (R, S, K, K) int
        From `subject_counts`, of the same clips.
    power : float in (0, 1)
        Probability that a difference of this size is found.
    level : float in (0, 1)
        Two-sided p below which a difference counts as found.

    Returns
    -------
    float
        In accuracy; nan with too few subjects for any p below `level` (fewer than 6 at .05), and
        where two runs differ equally on every subject, so that there is no spread.

    Raises
    ------
    InputError
        If the runs differ in shape or in true classes.

    Notes
    -----
    (t(1 - level / 2) + t(power)) times the standard error of the difference, with S-1 degrees
    of freedom: Bloom 1995, "Minimum detectable effects". The error is that of a ratio of sums
    over subjects: of sum(right_a - right_b) to sum(clips).

    Measured with 10 to 30 subjects and a power of 0.80: `permutation_test` found such a
    difference in 74 to 79 % of 300 pairs of runs.

    Examples
    --------
    >>> a = np.array([[[4, 0], [0, 4]], [[2, 2], [0, 4]], [[3, 1], [0, 4]]])
    >>> b = np.array([[[3, 1], [0, 4]], [[3, 1], [0, 4]], [[3, 1], [0, 4]]])
    >>> round(detectable_difference(a, b, level=0.25), 2)
    0.19
    """
    a, b = _paired(counts_a, counts_b)
    n_subjects = a.shape[1]
    if 2 / 2**n_subjects > level:
        return np.nan
    gained = np.trace(a - b, axis1=-2, axis2=-1).mean(axis=0)
    n_clips = a.sum(axis=(-2, -1)).mean(axis=0)
    rest = gained - n_clips * gained.sum() / n_clips.sum()
    error = np.sqrt(np.sum(rest**2) * n_subjects / (n_subjects - 1)) / n_clips.sum()
    if error < _NO_SPREAD:
        return np.nan
    return float(stats.t.ppf([1 - level / 2, power], n_subjects - 1).sum() * error)


def _resample(counts: Floats, metric: str, n_resamples: int, seed: int) -> Floats:
    """Score resamples of one subject fewer than there are, averaged over the repeats."""
    n_subjects = counts.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_subjects - 1, np.full(n_subjects, 1 / n_subjects), n_resamples)
    return np.asarray(metric_of_counts(_weighted(counts, weights), metric).mean(axis=0))


def _weighted(counts: Floats, weights: npt.NDArray[np.integer]) -> Floats:
    """Sum the subjects' counts by each row of weights: (R, S, K, K) and (B, S) to (R, B, K, K)."""
    blocks = np.array_split(weights, max(len(weights) // 1000, 1))  # or floats fill the memory
    sums = [np.tensordot(block.astype(np.float64), counts, (1, 1)) for block in blocks]
    return np.concatenate(sums).swapaxes(0, 1)


def _share(part: Floats, whole: Floats | npt.NDArray[np.integer]) -> Floats:
    """Divide; 0 / 0 is nan."""
    result = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _with_repeats(counts: npt.ArrayLike) -> Floats:
    found = np.asarray(counts, np.float64)
    if found.ndim == 3:
        found = found[None]
    if found.ndim != 4 or found.shape[2] != found.shape[3] or not found.shape[0]:
        raise InputError(
            f"counts must have shape (S, K, K), or (R, S, K, K) with R seeds, as "
            f"subject_counts gives them; found {np.shape(counts)}"
        )
    return found


def _paired(counts_a: npt.ArrayLike, counts_b: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = _with_repeats(counts_a), _with_repeats(counts_b)
    if a.shape != b.shape:
        raise InputError(
            f"two runs must share subjects, classes and number of seeds; found counts of shape "
            f"{a.shape} and {b.shape}"
        )
    if not np.array_equal(a.sum(axis=-1), b.sum(axis=-1)):
        raise InputError(
            "two runs must have the same clips; found different counts of true classes in at least "
            "one subject; compare runs of one split"
        )
    return a, b
