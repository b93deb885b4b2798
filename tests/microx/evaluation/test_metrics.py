import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from microx.errors import InputError
from microx.evaluation.metrics import (
    accuracy_score,
    calibration_error,
    confusion_matrix,
    confusion_rates,
    macro_f1_score,
    macro_precision_score,
    next_emotion_table,
    per_class_recall,
    per_class_scores,
    score,
    top_k_score,
    two_by_two,
    uar_score,
    uf1_score,
    weighted_f1_score,
)

# True a a a a b b c, predicted a a a b b c c.
Y_TRUE = np.array([0, 0, 0, 0, 1, 1, 2])
Y_PRED = np.array([0, 0, 0, 1, 1, 2, 2])


def test_scores_worked_out_by_hand():
    assert accuracy_score(Y_TRUE, Y_PRED) == pytest.approx(5 / 7)
    np.testing.assert_allclose(per_class_recall(Y_TRUE, Y_PRED, 3), [3 / 4, 1 / 2, 1])
    assert uar_score(Y_TRUE, Y_PRED, 3) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    # 2TP / (2TP + FP + FN): a 6 / (6 + 0 + 1), b 2 / (2 + 1 + 1), c 2 / (2 + 1 + 0).
    assert uf1_score(Y_TRUE, Y_PRED, 3) == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    np.testing.assert_array_equal(
        confusion_matrix(Y_TRUE, Y_PRED, 3), [[3, 1, 0], [0, 1, 1], [0, 0, 1]]
    )
    np.testing.assert_allclose(
        confusion_rates(Y_TRUE, Y_PRED, 3), [[3 / 4, 1 / 4, 0], [0, 1 / 2, 1 / 2], [0, 0, 1]]
    )
    assert macro_f1_score(Y_TRUE, Y_PRED, 3) == uf1_score(Y_TRUE, Y_PRED, 3)
    # Weighted by 4, 2 and 1 true rows.
    weighted = (4 * 6 / 7 + 2 * 1 / 2 + 2 / 3) / 7
    assert weighted_f1_score(Y_TRUE, Y_PRED, 3) == pytest.approx(weighted)
    # TP / (TP + FP): a 3 / 3, b 1 / 2, c 1 / 2.
    assert macro_precision_score(Y_TRUE, Y_PRED, 3) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 5, (2, 200))
    assert accuracy_score(y_true, y_pred) == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert uar_score(y_true, y_pred, 5) == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred))
    macro = sk.f1_score(y_true, y_pred, average="macro")
    assert uf1_score(y_true, y_pred, 5) == pytest.approx(macro)
    assert macro_f1_score(y_true, y_pred, 5) == pytest.approx(macro)
    assert weighted_f1_score(y_true, y_pred, 5) == pytest.approx(
        sk.f1_score(y_true, y_pred, average="weighted")
    )
    assert macro_precision_score(y_true, y_pred, 5) == pytest.approx(
        sk.precision_score(y_true, y_pred, average="macro")
    )
    np.testing.assert_allclose(
        confusion_rates(y_true, y_pred, 5), sk.confusion_matrix(y_true, y_pred, normalize="true")
    )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.integers(0, 5, 200), rng.dirichlet(np.ones(5), 200)
    expected = sk.top_k_accuracy_score(y_true, y_prob, k=k)
    assert top_k_score(y_true, y_prob, k) == pytest.approx(expected)


def test_top_k_takes_the_first_of_equals():
    even = np.full((3, 3), 1 / 3)
    assert top_k_score(np.array([0, 1, 2]), even, 1) == pytest.approx(1 / 3)
    assert top_k_score(np.array([0, 1, 2]), even, 2) == pytest.approx(2 / 3)
    assert top_k_score(np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]]), 2) == 1


def test_calibration_error_by_hand():
    y_prob = np.array([[0.75, 0.25], [0.25, 0.75], [0.9, 0.1], [1, 0]])
    # All are class 0. Bin 12 of 15 holds .75 twice, one right: off by 1/4; bin 14 holds .9, off
    # by 1/10; bin 15 holds 1, right.
    error = calibration_error(np.zeros(4, int), y_prob)
    assert error == pytest.approx((2 * 0.25 + 0.1 + 0) / 4)
    sure = np.array([[1.0, 0.0]])
    assert calibration_error(np.array([0]), sure) == 0
    assert calibration_error(np.array([1]), sure) == 1


def test_calibration_error_agrees_with_the_curve_of_scikit_learn():
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.integers(0, 4, 500), rng.dirichlet(np.ones(4), 500)
    confidence, right = y_prob.max(axis=1), y_prob.argmax(axis=1) == y_true
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    n_rows, _ = np.histogram(confidence, bins=15, range=(0, 1))
    expected = np.sum(n_rows[n_rows > 0] * np.abs(accuracy - mean)) / 500
    assert calibration_error(y_true, y_prob) == pytest.approx(expected)


def test_score_gives_every_number_by_its_function():
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.integers(0, 4, 100), rng.dirichlet(np.ones(6), 100)
    y_pred = y_prob.argmax(axis=1)
    assert score(y_true, y_prob, 6) == {
        "accuracy": accuracy_score(y_true, y_pred),
        "uar": uar_score(y_true, y_pred, 6),
        "uf1": uf1_score(y_true, y_pred, 6),
        "macro_f1": macro_f1_score(y_true, y_pred, 6),
        "weighted_f1": weighted_f1_score(y_true, y_pred, 6),
        "macro_precision": macro_precision_score(y_true, y_pred, 6),
        "top2": top_k_score(y_true, y_prob, 2),
        "ece": calibration_error(y_true, y_prob),
    }


def test_perfect_predictor_scores_one_though_a_class_is_absent():
    assert accuracy_score(Y_TRUE, Y_TRUE) == 1
    assert uar_score(Y_TRUE, Y_TRUE, 5) == 1
    assert uf1_score(Y_TRUE, Y_TRUE, 5) == 1
    found = score(Y_TRUE, np.eye(5)[Y_TRUE], 5)
    assert found == dict.fromkeys(found, 1) | {"ece": 0}


def test_majority_predictor():
    y_pred = np.zeros(7, int)
    assert accuracy_score(Y_TRUE, y_pred) == pytest.approx(4 / 7)
    assert uar_score(Y_TRUE, y_pred, 3) == pytest.approx(1 / 3)
    assert uf1_score(Y_TRUE, y_pred, 3) == pytest.approx((8 / 11) / 3)


def test_absent_classes():
    np.testing.assert_array_equal(per_class_recall(np.array([0]), np.array([1]), 3)[1:], np.nan)
    # b is predicted, never true: F1 0; c is neither: left out; so (2 / 3 + 0) / 2.
    y_true, y_pred = np.array([0, 0]), np.array([0, 1])
    assert uf1_score(y_true, y_pred, 3) == pytest.approx((2 / 3 + 0) / 2)
    # macro F1 leaves both out, as do the others of classes that occur.
    assert macro_f1_score(y_true, y_pred, 3) == pytest.approx(2 / 3)
    assert weighted_f1_score(y_true, y_pred, 3) == pytest.approx(2 / 3)
    assert macro_precision_score(y_true, y_pred, 3) == 1
    # A class that occurs and is never predicted has a precision of 0.
    assert macro_precision_score(y_pred, y_true, 3) == pytest.approx((1 / 2 + 0) / 2)
    np.testing.assert_array_equal(confusion_rates(y_true, y_pred, 3)[1:], np.nan)


def test_four_f1_of_one_run_are_four_numbers_and_uf1_is_the_pooled_one():
    """FACTS §6: fold mean, pooled, micro and weighted must not pass for each other."""
    fold_a = np.array([0, 0, 0]), np.array([0, 0, 0])
    fold_b = np.array([0, 1, 1]), np.array([1, 1, 1])
    y_true, y_pred = (np.concatenate(pair) for pair in zip(fold_a, fold_b, strict=True))
    # Pooled, class 0 has 3 TP and 1 FN, class 1 has 2 TP and 1 FP.
    pooled = (6 / 7 + 4 / 5) / 2
    weighted = (4 * 6 / 7 + 2 * 4 / 5) / 6
    micro = 5 / 6
    # Fold a has class 0 alone, F1 1; fold b has F1 0 and 4 / 5.
    fold_mean = (1 + (0 + 4 / 5) / 2) / 2
    assert uf1_score(y_true, y_pred, 2) == pytest.approx(pooled)
    assert weighted_f1_score(y_true, y_pred, 2) == pytest.approx(weighted)
    assert accuracy_score(y_true, y_pred) == pytest.approx(micro)
    assert sk.f1_score(y_true, y_pred, average="micro") == pytest.approx(micro)
    folds = [uf1_score(*fold, 2) for fold in (fold_a, fold_b)]
    assert np.mean(folds) == pytest.approx(fold_mean)
    four = np.sort([fold_mean, pooled, micro, weighted])
    assert np.all(np.diff(four) > 0.004)


def test_empty_input():
    nothing = np.array([], int)
    assert np.isnan([accuracy_score(nothing, nothing), uar_score(nothing, nothing, 3)]).all()
    assert np.isnan(uf1_score(nothing, nothing, 3))
    assert confusion_matrix(nothing, nothing, 3).sum() == 0
    assert np.isnan(confusion_rates(nothing, nothing, 3)).all()
    assert np.isnan(list(score(nothing, np.zeros((0, 3)), 3).values())).all()


def test_unusable_labels_are_refused():
    with pytest.raises(InputError, match=r"one length; found \(7,\) and \(2,\)"):
        accuracy_score(Y_TRUE, Y_PRED[:2])
    with pytest.raises(InputError, match=r"y_pred must lie in 0 … 2 .* found 0 … 7"):
        uf1_score(Y_TRUE, np.where(Y_TRUE == 2, 7, Y_PRED), 3)
    with pytest.raises(InputError, match=r"y_prob must have shape \(n, 4\).* found \(7, 3\)"):
        score(Y_TRUE, np.eye(3)[Y_PRED], 4)
    with pytest.raises(InputError, match="a row for each of the 7 labels; found 2"):
        top_k_score(Y_TRUE, np.eye(3)[:2])
    with pytest.raises(InputError, match="y_true must lie in 0 … 1"):
        calibration_error(Y_TRUE, np.eye(2)[Y_PRED % 2])


CLASSES = ["anger", "fear", "happy", "sad"]
NOTHING = np.array([], int)

# True a a a a f f h, predicted a a a f f h h; no row is sad.
TABLE_TRUE = np.array([0, 0, 0, 0, 1, 1, 2])
TABLE_PRED = np.array([0, 0, 0, 1, 1, 2, 2])


def test_per_class_scores_by_hand():
    table = per_class_scores(TABLE_TRUE, TABLE_PRED, CLASSES)
    assert table.index.tolist() == CLASSES
    assert table["support"].tolist() == [4, 2, 1, 0]
    # TP / (TP + FP), TP / (TP + FN), 2TP / (2TP + FP + FN).
    np.testing.assert_allclose(table["precision"], [3 / 3, 1 / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(table["recall"], [3 / 4, 1 / 2, 1 / 1, np.nan])
    np.testing.assert_allclose(table["f1"], [6 / 7, 2 / 4, 2 / 3, np.nan])


def test_a_class_that_is_only_predicted_has_no_scores_and_one_never_predicted_has_zeros():
    table = per_class_scores(np.array([0, 0]), np.array([1, 1]), ["anger", "fear"])
    assert table.loc["anger"].tolist() == [0, 0, 0, 2]
    np.testing.assert_array_equal(table.loc["fear"], [np.nan, np.nan, np.nan, 0])


def test_two_by_two_by_hand():
    table = two_by_two(TABLE_TRUE, TABLE_PRED, CLASSES)
    assert table.columns.tolist() == ["TP", "FP", "FN", "TN"]
    assert table.loc["anger"].tolist() == [3, 0, 1, 3]
    assert table.loc["fear"].tolist() == [1, 1, 1, 4]
    assert table.loc["happy"].tolist() == [1, 1, 0, 5]
    assert table.loc["sad"].tolist() == [0, 0, 0, 7]


def test_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 4, (2, 200))
    report = sk.classification_report(y_true, y_pred, target_names=CLASSES, output_dict=True)
    ours = per_class_scores(y_true, y_pred, CLASSES)
    for name in CLASSES:
        np.testing.assert_allclose(ours.loc[name], list(report[name].values()))
    theirs = sk.multilabel_confusion_matrix(y_true, y_pred)  # [[TN, FP], [FN, TP]]
    counts = two_by_two(y_true, y_pred, CLASSES)[["TN", "FP", "FN", "TP"]]
    np.testing.assert_array_equal(counts, theirs.reshape(4, 4))


def test_next_emotion_by_hand():
    y_prob = np.array(
        [
            [0.6, 0.3, 0.1, 0.0],  # anger, then fear
            [0.6, 0.1, 0.2, 0.1],  # anger, then happy
            [0.2, 0.7, 0.1, 0.0],  # fear, then anger
            [0.4, 0.4, 0.1, 0.1],  # anger, the first of equals, then fear
        ]
    )
    y_true = np.array([0, 0, 0, 1])
    by_true = next_emotion_table(y_true, y_prob, CLASSES)
    # Of three clips of anger the first of the others is fear, happy, fear; of fear it is anger.
    np.testing.assert_allclose(by_true.loc["anger"], [np.nan, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(by_true.loc["fear"], [1, np.nan, 0, 0])
    assert by_true.loc[["happy", "sad"]].isna().all(axis=None)
    by_predicted = next_emotion_table(y_prob.argmax(axis=1), y_prob, CLASSES)
    np.testing.assert_allclose(by_predicted.loc["anger"], [np.nan, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(by_predicted.loc["fear"], [1, np.nan, 0, 0])
    assert y_prob[0, 0] == 0.6  # the input is left as it was


def test_next_emotion_of_the_predicted_is_the_second_most_likely():
    y_prob = np.random.default_rng(0).dirichlet(np.ones(4), 300)
    first, second = np.argsort(-y_prob, axis=1)[:, :2].T
    table = next_emotion_table(first, y_prob, CLASSES)
    expected = sk.confusion_matrix(first, second, normalize="true")
    np.testing.assert_allclose(table.fillna(0), expected)
    np.testing.assert_array_equal(np.diag(table), np.nan)


def test_tables_of_empty_input():
    assert two_by_two(NOTHING, NOTHING, CLASSES).to_numpy().sum() == 0
    table = per_class_scores(NOTHING, NOTHING, CLASSES)
    assert table[["precision", "recall", "f1"]].isna().all(axis=None)
    assert next_emotion_table(NOTHING, np.zeros((0, 4)), CLASSES).isna().all(axis=None)


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="y_pred must lie in 0 … 1"):
        per_class_scores(TABLE_TRUE % 2, TABLE_PRED, ["anger", "fear"])
    with pytest.raises(InputError, match=r"y_prob must have shape \(n, 4\)"):
        next_emotion_table(TABLE_TRUE, np.eye(3)[TABLE_PRED], CLASSES)
