import numpy as np
import pytest
from scipy import stats

from microx.errors import InputError
from microx.evaluation import metrics
from microx.evaluation.statistics import (
    METRICS,
    bootstrap_interval,
    detectable_difference,
    difference_interval,
    holm,
    mcnemar_p,
    metric_of_counts,
    permutation_test,
    subject_counts,
)


def draw_runs(rng, n_subjects, *, n_classes=7, ease=0.6, n_clips=16, gain=0.0):
    """Counts (2, S, K, K) of two runs on subjects who differ in difficulty, in general and by run.

    A subject has 6 to 26 clips at the default, with emotions in their own proportions,
    the first emotions frequent and easy and the last ones rare and hard.
    """
    shares = 1 / np.arange(1, n_classes + 1)
    mixture = rng.dirichlet(20 * shares / shares.sum(), n_subjects)
    n_true = rng.multinomial(rng.integers(n_clips - 10, n_clips + 11, n_subjects), mixture)
    subject = rng.normal(0, 0.7, (n_subjects, 1)) + rng.normal(0, 0.3, (n_subjects, n_classes))
    logit = ease + subject + np.linspace(0.8, -0.8, n_classes)
    wrong = np.where(np.eye(n_classes), 0, shares)
    wrong /= wrong.sum(axis=1, keepdims=True)
    runs = []
    for plus in (0.0, gain):
        own = plus + rng.normal(0, 0.3, (n_subjects, 1))
        right = rng.binomial(n_true, 1 / (1 + np.exp(-logit - own)))
        counts = rng.multinomial(n_true - right, wrong)
        counts[:, range(n_classes), range(n_classes)] += right
        runs.append(counts)
    return np.array(runs)


def cover(n_sets, n_subjects, n_resamples, **drawing):
    """Share of intervals that hold the score of 50,000 subjects, for each metric."""
    truth = draw_runs(np.random.default_rng(0), 50_000, **drawing)[0].sum(axis=0)
    rng = np.random.default_rng(n_subjects)
    sets = [draw_runs(rng, n_subjects, **drawing)[0] for _ in range(n_sets)]
    return {
        metric: np.mean(
            [
                low <= metric_of_counts(truth, metric) <= high
                for low, high in (
                    bootstrap_interval(counts, metric, n_resamples=n_resamples) for counts in sets
                )
            ]
        )
        for metric in METRICS
    }


def reject(n_sets, n_subjects, *, gain=0.0, n_permutations=999, metric="accuracy"):
    """Share of pairs of runs that the permutation test tells apart at 0.05."""
    rng = np.random.default_rng(n_subjects)
    sets = (draw_runs(rng, n_subjects, gain=gain) for _ in range(n_sets))
    p = [permutation_test(a, b, metric, n_permutations=n_permutations) for a, b in sets]
    return np.mean(np.array(p) <= 0.05)


# Subject s has 3 of 4 right, subject t 1 of 2; only t has class 2.
Y_TRUE = np.array([0, 0, 1, 1, 2, 0])
Y_PRED = np.array([0, 0, 1, 0, 2, 1])
SUBJECT = np.array(["s", "s", "s", "s", "t", "t"])
COUNTS = [[[2, 0, 0], [1, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 1]]]


def test_counts_by_hand():
    counts = subject_counts(Y_TRUE, Y_PRED, SUBJECT, 3)
    assert counts.tolist() == COUNTS
    order = [5, 3, 1, 4, 2, 0]
    again = subject_counts(Y_TRUE[order], Y_PRED[order], SUBJECT[order], 3)
    np.testing.assert_array_equal(again, counts)
    assert subject_counts(Y_TRUE[:0], Y_PRED[:0], SUBJECT[:0], 3).shape == (0, 3, 3)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_true", [1, 3, 5])  # of five classes, the rest being absent
def test_scores_of_counts_are_those_of_the_rows(metric, n_true):
    rng = np.random.default_rng(n_true)
    y_true, y_pred = rng.integers(0, n_true, 60), rng.integers(0, min(n_true + 1, 5), 60)
    counts = subject_counts(y_true, y_pred, rng.integers(0, 4, 60).astype(str), 5)
    classes = [] if metric == "accuracy" else [5]
    expected = getattr(metrics, f"{metric}_score")(y_true, y_pred, *classes)
    assert metric_of_counts(counts.sum(axis=0), metric) == pytest.approx(expected)
    assert metric_of_counts(counts[None], metric).shape == (1, 4)
    assert np.isnan(metric_of_counts(np.zeros((5, 5)), metric))


def test_interval_by_hand():
    """Two subjects of 4 clips, 1 and 3 right: a resample of one subject has 1/4 or 3/4."""
    counts = [[[1, 3], [0, 0]], [[3, 1], [0, 0]]]
    # Score 1/2, error 1/4, of the logit (1/4) / (1/2 * 1/2) = 1; t with 1 degree is 12.706.
    expected = 1 / (1 + np.exp([12.706, -12.706]))
    np.testing.assert_allclose(bootstrap_interval(counts), expected, atol=1e-4)


def test_interval_of_repeats_is_that_of_their_mean():
    a, b = draw_runs(np.random.default_rng(0), 15)
    same = bootstrap_interval(np.stack([a, a, a]), "uf1")
    np.testing.assert_allclose(same, bootstrap_interval(a, "uf1"))
    low, high = bootstrap_interval(np.stack([a, b]), "uf1")
    mean = metric_of_counts(np.stack([a, b]).sum(axis=1), "uf1").mean()
    assert low < mean < high
    # Two runs together vary less than each alone.
    each = [np.diff(bootstrap_interval(run, "uf1"))[0] for run in (a, b)]
    assert high - low < max(each)


def test_intervals_without_spread():
    assert np.isnan(bootstrap_interval(COUNTS[:1])).all()
    assert np.isnan(bootstrap_interval(np.zeros((0, 3, 3)))).all()
    assert np.isnan(difference_interval(COUNTS[:1], COUNTS[:1])).all()
    perfect = np.array([np.eye(3) * n for n in (1, 2, 5, 3)])
    # Clopper-Pearson, 4 of 4: 0.025 ** (1 / 4) = 0.398.
    for metric in METRICS:
        assert bootstrap_interval(perfect, metric) == (pytest.approx(0.398, abs=1e-3), 1)
    low, high = bootstrap_interval(np.roll(perfect, 1, axis=1))
    assert (low, high) == (0, pytest.approx(0.602, abs=1e-3))
    half = np.array([[[1, 1], [0, 0]]] * 5)
    assert np.isnan(bootstrap_interval(half)).all()  # all alike by luck
    assert np.isnan(difference_interval(half, half)).all()
    assert np.isnan(detectable_difference(half, half))


def test_a_lower_level_is_narrower_and_a_seed_says_the_same():
    counts = draw_runs(np.random.default_rng(0), 12)[0]
    wide, narrow = bootstrap_interval(counts), bootstrap_interval(counts, level=0.8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wide == bootstrap_interval(counts)
    np.testing.assert_allclose(wide, bootstrap_interval(counts, seed=1), atol=0.01)


def test_interval_of_a_difference_by_hand():
    """Subjects of 4 clips: a has 3 and 4 right, b 2 and 1, so resamples differ by 1/4 or 3/4."""
    a, b = [[[3, 1], [0, 0]], [[4, 0], [0, 0]]], [[[2, 2], [0, 0]], [[1, 3], [0, 0]]]
    # 1/2 -+ t(.6, 1 degree) / 4, and level .2 leaves .4 below: t = tan(.1 pi) = .3249.
    low, high = difference_interval(a, b, level=0.2)
    np.testing.assert_allclose([low, high], [0.5 - 0.3249 / 4, 0.5 + 0.3249 / 4], atol=1e-4)
    assert difference_interval(b, a, level=0.2) == (pytest.approx(-high), pytest.approx(-low))
    assert np.isnan(difference_interval(a, a)).all()  # alike everywhere


def test_intervals_cover():
    assert all(0.9 <= share <= 0.99 for share in cover(100, 20, 300).values())


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", [10, 40])
@pytest.mark.parametrize(
    "drawing",
    [
        {},
        {"n_classes": 3, "n_clips": 12},
        {"n_classes": 5, "ease": 2.0},
    ],
    ids=["seven classes", "three classes", "easy"],
)
def test_intervals_cover_500_sets(drawing, n_subjects):
    """The bar is 93-97 % in truth; of 500 sets a share has a standard error of 1 %."""
    for metric, share in cover(500, n_subjects, 1000, **drawing).items():
        assert 0.92 <= share <= 0.98, f"{metric}: {share}"


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    # The sum of both tails of a fair coin's throws.
    [(0, 0, 1), (5, 0, 2 / 2**5), (1, 3, 2 * (1 + 4) / 2**4), (2, 2, 1), (9, 1, 2 * 11 / 2**10)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    right_a = [1] * only_a + [0] * only_b + [1, 1, 0]
    right_b = [0] * only_a + [1] * only_b + [1, 1, 0]
    assert mcnemar_p(right_a, right_b) == pytest.approx(p)


def test_permutation_by_hand():
    """Differences of 1, 1 and 2 clips: of 8 signs only +++ and --- are as far as 4."""
    b = np.array([[[1, 3], [0, 0]]] * 3)
    a = b + np.array([[[1, -1], [0, 0]], [[1, -1], [0, 0]], [[2, -2], [0, 0]]])
    assert permutation_test(a, b) == pytest.approx(2 / 8)
    # Of 1, -1 and 2, sum 2: the signs give 4, 2, 2, 0 and the same below zero.
    a[1] = b[1] - [[1, -1], [0, 0]]
    assert permutation_test(a, b) == pytest.approx(6 / 8)
    assert permutation_test(b, b) == 1


def test_exact_and_random_permutations_agree():
    a, b = draw_runs(np.random.default_rng(2), 12, gain=0.5)
    for metric in METRICS:
        exact = permutation_test(a, b, metric)
        assert permutation_test(b, a, metric) == pytest.approx(exact)
        drawn = permutation_test(a, b, metric, n_permutations=4000, seed=1)
        assert drawn == pytest.approx(exact, abs=0.03)
        assert permutation_test(np.stack([a] * 2), np.stack([b] * 2), metric) == exact


def test_exact_permutations_agree_with_scipy():
    a, b = draw_runs(np.random.default_rng(3), 10)
    gained = np.trace(a - b, axis1=1, axis2=2)
    ours = permutation_test(a, b)
    theirs = stats.permutation_test(
        (gained,),
        lambda x, axis: abs(x.sum(axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert ours == pytest.approx(theirs.pvalue)


def test_p_is_never_zero():
    good, bad = np.array([np.eye(2) * 3] * 40), np.array([[[0, 3], [3, 0]]] * 40)
    assert permutation_test(good, bad, n_permutations=99) == 1 / 100
    assert np.isnan(permutation_test(good[:0], bad[:0]))


def test_permutation_keeps_its_level():
    assert 0.01 <= reject(200, 8) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", [15, 40])
@pytest.mark.parametrize("metric", METRICS)
def test_permutation_rejects_in_3_to_7_of_100_null_sets(n_subjects, metric):
    assert 0.03 <= reject(500, n_subjects, n_permutations=499, metric=metric) <= 0.07


def test_holm_by_hand():
    # In order .01 * 4, .02 * 3, .03 * 2 (at least .06), .04 * 1 (at least .06).
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1, np.nan, 1])
    assert holm([]).shape == (0,)


def test_detectable_difference_by_hand():
    """Three subjects of 8 clips, 1, -1 and 0 more right: error sqrt(2 * 3 / 2) / 24."""
    b = np.array([[[4, 4], [0, 0]]] * 3)
    a = b + np.array([[[1, -1], [0, 0]], [[-1, 1], [0, 0]], [[0, 0], [0, 0]]])
    expected = (stats.t.ppf(0.85, 2) + stats.t.ppf(0.8, 2)) * np.sqrt(3) / 24
    assert detectable_difference(a, b, level=0.3) == pytest.approx(expected)
    assert detectable_difference(a, b, level=0.3, power=0.9) > expected
    assert np.isnan(detectable_difference(a, b))  # of three subjects no p is below .25
    assert np.isnan(detectable_difference(a, a))
    assert np.isnan(detectable_difference(a[:1], b[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", [10, 30])
def test_detectable_difference_is_found_in_four_of_five_sets(n_subjects):
    """The runs differ by what the mean set says is its minimum detectable difference."""
    rng = np.random.default_rng(0)
    needed = np.mean([detectable_difference(*draw_runs(rng, n_subjects)) for _ in range(200)])
    gains = np.linspace(0, 1.5, 7)
    large = (draw_runs(np.random.default_rng(1), 10_000, gain=gain) for gain in gains)
    apart = [np.diff(metric_of_counts(runs.sum(axis=1)))[0] for runs in large]
    gain = np.interp(needed, apart, gains)
    assert 0.72 <= reject(300, n_subjects, gain=gain, n_permutations=499) <= 0.88


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="group must name a subject for each of the 6 rows"):
        subject_counts(Y_TRUE, Y_PRED, SUBJECT[:2], 3)
    with pytest.raises(InputError, match=r"y_pred must lie in 0 … 1"):
        subject_counts(Y_TRUE % 2, Y_PRED, SUBJECT, 2)
    with pytest.raises(InputError, match="must be one of accuracy, uar, uf1; found 'f1'"):
        metric_of_counts(COUNTS, "f1")
    with pytest.raises(InputError, match=r"found \(3, 3\)"):
        bootstrap_interval(COUNTS[0])
    with pytest.raises(InputError, match="share their subjects; found 2 and 1"):
        difference_interval(COUNTS, COUNTS[:1])
    with pytest.raises(InputError, match=r"\(1, 2, 3, 3\) and \(1, 1, 3, 3\)"):
        permutation_test(COUNTS, COUNTS[:1])
    with pytest.raises(InputError, match="must have the same clips"):
        detectable_difference(COUNTS, COUNTS[::-1])
    with pytest.raises(InputError, match="share their clips; found 2 and 1"):
        mcnemar_p([True, False], [True])
