import numpy as np
import pytest
from sklearn import metrics as sk

from microx.class_tables import next_emotion_table, per_class_scores, two_by_two
from microx.errors import InputError

CLASSES = ["anger", "fear", "happy", "sad"]
NOTHING = np.array([], int)

# True a a a a f f h, predicted a a a f f h h; nobody is sad.
Y_TRUE = np.array([0, 0, 0, 0, 1, 1, 2])
Y_PRED = np.array([0, 0, 0, 1, 1, 2, 2])


def test_per_class_scores_by_hand():
    table = per_class_scores(Y_TRUE, Y_PRED, CLASSES)
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
    table = two_by_two(Y_TRUE, Y_PRED, CLASSES)
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


def test_empty_input():
    assert two_by_two(NOTHING, NOTHING, CLASSES).to_numpy().sum() == 0
    table = per_class_scores(NOTHING, NOTHING, CLASSES)
    assert table[["precision", "recall", "f1"]].isna().all(axis=None)
    assert next_emotion_table(NOTHING, np.zeros((0, 4)), CLASSES).isna().all(axis=None)


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="y_pred must lie in 0 … 1"):
        per_class_scores(Y_TRUE % 2, Y_PRED, ["anger", "fear"])
    with pytest.raises(InputError, match=r"y_prob must have shape \(n, 4\)"):
        next_emotion_table(Y_TRUE, np.eye(3)[Y_PRED], CLASSES)
