import numpy as np
import pytest
from sklearn import metrics as sk

from microx.errors import InputError
from microx.metrics import (
    accuracy_score,
    confusion_matrix,
    per_class_recall,
    uar_score,
    uf1_score,
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


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 5, (2, 200))
    assert accuracy_score(y_true, y_pred) == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert uar_score(y_true, y_pred, 5) == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred))
    assert uf1_score(y_true, y_pred, 5) == pytest.approx(
        sk.f1_score(y_true, y_pred, average="macro")
    )


def test_perfect_predictor_scores_one_though_a_class_is_absent():
    assert accuracy_score(Y_TRUE, Y_TRUE) == 1
    assert uar_score(Y_TRUE, Y_TRUE, 5) == 1
    assert uf1_score(Y_TRUE, Y_TRUE, 5) == 1


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


def test_uf1_pools_the_folds():
    """FACTS §6: the mean of the folds' F1 is another number."""
    fold_a = np.array([0, 0, 0]), np.array([0, 0, 0])
    fold_b = np.array([0, 1, 1]), np.array([1, 1, 1])
    y_true, y_pred = (np.concatenate(pair) for pair in zip(fold_a, fold_b, strict=True))
    pooled = uf1_score(y_true, y_pred, 2)
    assert pooled == pytest.approx((6 / 7 + 4 / 5) / 2)
    mean = np.mean([uf1_score(*fold, 2) for fold in (fold_a, fold_b)])
    assert mean == pytest.approx((1 + (0 + 4 / 5) / 2) / 2)


def test_empty_input():
    nothing = np.array([], int)
    assert np.isnan([accuracy_score(nothing, nothing), uar_score(nothing, nothing, 3)]).all()
    assert np.isnan(uf1_score(nothing, nothing, 3))
    assert confusion_matrix(nothing, nothing, 3).sum() == 0


def test_unusable_labels_are_refused():
    with pytest.raises(InputError, match=r"one length; found \(7,\) and \(2,\)"):
        accuracy_score(Y_TRUE, Y_PRED[:2])
    with pytest.raises(InputError, match=r"y_pred must lie in 0 … 2 .* found 0 … 7"):
        uf1_score(Y_TRUE, np.where(Y_TRUE == 2, 7, Y_PRED), 3)
