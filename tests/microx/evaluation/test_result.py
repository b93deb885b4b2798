from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.evaluation.baselines import guess
from microx.evaluation.facts import FACTS_OF_FOLDS, ResultFacts
from microx.evaluation.result import (
    EvaluationResult,
    join_folds,
    read_result,
    write_result,
)
from microx.training.facts import TrainedOn

SUBJECTS = ("", "NA", "NA", "007")


def _facts(**known):
    names = {"classes": ("neutral", "sad", "NA"), "regions": ("mouth",), "streams": ("mouth",)}
    return ResultFacts(**names | known)


def _result(
    y_true=(0, 1, 1, 2), y_prob=None, video_id=("v", "w", "w", "x"), subject=SUBJECTS, **changes
):
    n_clips = len(y_true)
    y_prob = np.eye(3)[np.array(y_true, int)] if y_prob is None else y_prob
    result = EvaluationResult(
        name="mouth",
        regions=("mouth",),
        classes=("neutral", "sad", "NA"),
        y_true=np.array(y_true, np.int64),
        y_prob=np.asarray(y_prob, np.float32).reshape(n_clips, 3),
        clip_id=np.array([f"c{k}" for k in range(n_clips)], str),
        video_id=np.array(video_id, str),
        subject=np.array(subject[:n_clips], str),
        fold=np.zeros(n_clips, np.int64),
        history=pd.DataFrame({"fold": [0], "epoch": [1], "loss": [0.1]}),
        facts=_facts(train_class_counts=((2, 5, 5),), n_train=(12,)),
    )
    return replace(result, **changes)


def test_a_result_shows_its_scores():
    result = _result(y_true=(0, 1, 1, 2), y_prob=np.eye(3)[[0, 1, 2, 2]])
    assert (result.accuracy, result.uar) == pytest.approx((3 / 4, 5 / 6))
    assert result.uf1 == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert result.confusion.loc["sad"].tolist() == [0, 1, 1]
    assert repr(result) == (
        "EvaluationResult(mouth: 4 clips, 2 subjects, accuracy 0.750, UAR 0.833, UF1 0.778)"
    )
    nothing = _result(y_true=(), video_id=(), y_prob=np.zeros((0, 3)))
    assert repr(nothing) == "EvaluationResult(mouth: 0 clips, 0 subjects)"


def test_stored_result_comes_back_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    result = _result(y_prob=rng.dirichlet(np.ones(3), 4))
    write_result(result, tmp_path / "row")
    again = read_result(tmp_path / "row")
    for field in ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold"):
        np.testing.assert_array_equal(getattr(again, field), getattr(result, field))
    assert (again.name, again.regions, again.classes) == ("mouth", ("mouth",), result.classes)
    assert again.facts == result.facts
    pd.testing.assert_frame_equal(again.history, result.history)
    table = pd.read_csv(tmp_path / "row" / "predictions.csv", keep_default_na=False)
    assert list(table["y_true"]) == ["neutral", "sad", "sad", "NA"]
    assert list(table)[-3:] == ["p_neutral", "p_sad", "p_NA"]


def test_unfinished_or_damaged_result_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished result here"):
        read_result(tmp_path)
    write_result(_result(), tmp_path)
    (tmp_path / "predictions.csv").write_text("clip_id\nc0\n")
    with pytest.raises(InputError, match="the stored result is damaged"):
        read_result(tmp_path)


def test_video_takes_the_mean_of_its_clips():
    y_prob = [[1, 0, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0, 0, 1]]
    result = _result(y_prob=y_prob)
    np.testing.assert_array_equal(result.y_pred, [0, 0, 1, 2])
    videos = result.by_video()
    assert list(videos.video_id) == ["v", "w", "x"]
    assert list(videos.subject) == ["", "NA", "007"]
    np.testing.assert_array_equal(videos.y_true, [0, 1, 2])
    np.testing.assert_allclose(videos.y_prob[1], [0.35, 0.65, 0], atol=1e-6)
    np.testing.assert_array_equal(videos.y_pred, [0, 1, 2])
    assert len(_result((), np.zeros((0, 3)), ()).by_video().y_true) == 0


def test_guessers_know_the_training_labels_and_nothing_else():
    result = _result()
    majority = guess(result, "most_frequent")
    assert (majority.name, majority.regions) == ("most_frequent", ())
    np.testing.assert_array_equal(majority.y_pred, [1, 1, 1, 1])  # the first of equals
    facts = _facts(train_class_counts=((2, 5, 5), (7, 0, 0)))
    folds = replace(_result(), fold=np.array([0, 1, 1, 0]), facts=facts)
    np.testing.assert_array_equal(guess(folds, "most_frequent").y_pred, [1, 0, 0, 1])
    many = _result(y_true=np.zeros(9000, int), video_id=["v"] * 9000, subject=["a"] * 9000)
    many = replace(many, facts=_facts(train_class_counts=((6, 3, 0),)))
    by_frequency = guess(many, "stratified")
    shares = np.bincount(by_frequency.y_pred, minlength=3) / 9000
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3, 0], atol=0.02)
    evenly = np.bincount(guess(many, "uniform", seed=1).y_pred, minlength=3) / 9000
    np.testing.assert_allclose(evenly, 1 / 3, atol=0.02)
    np.testing.assert_array_equal(guess(many, "uniform").y_pred, guess(many, "uniform").y_pred)
    assert (guess(many, "uniform").y_pred != guess(many, "uniform", seed=1).y_pred).any()
    with pytest.raises(InputError, match="how must be one of most_frequent, stratified"):
        guess(result, "by heart")


def test_guesser_of_a_later_fold_knows_that_fold():
    """A cell of a run, fold_1, holds that fold alone and what was frequent in its training."""
    cell = _result(fold=np.ones(4, np.int64))
    np.testing.assert_array_equal(guess(cell, "most_frequent").y_pred, [1, 1, 1, 1])
    sure = replace(cell, facts=_facts(train_class_counts=((0, 0, 9),)))
    np.testing.assert_array_equal(guess(sure, "stratified").y_pred, [2, 2, 2, 2])
    facts = _facts(train_class_counts=((2, 5, 5), (7, 0, 0)))
    later = replace(cell, fold=np.array([4, 2, 2, 4]), facts=facts)
    np.testing.assert_array_equal(guess(later, "most_frequent").y_pred, [0, 1, 1, 0])
    with pytest.raises(InputError, match=r"for each of its 1 folds; found them for 2"):
        guess(replace(cell, facts=facts), "uniform")


def test_folds_are_joined_with_their_facts():
    of_folds = dict.fromkeys(FACTS_OF_FOLDS, (1,)) | {"trained_on": (TrainedOn(("007",)),)}
    facts = _facts(**of_folds, warnings=("few",), seconds=1.5, seed=3)
    one = _result(facts=facts)
    other = replace(one, fold=np.ones(4, np.int64), facts=replace(facts, warnings=("few", "odd")))
    joined = join_folds([one, other])
    np.testing.assert_array_equal(joined.fold, [0, 0, 0, 0, 1, 1, 1, 1])
    assert joined.facts.n_train == (1, 1)
    assert (joined.facts.warnings, joined.facts.seconds) == (("few", "odd"), 3.0)
    assert joined.facts.seed == 3
    assert len(joined.history) == 2


def test_a_row_is_about_its_subject_or_else_its_video():
    assert _result().group.tolist() == ["video v", "NA", "NA", "007"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": np.array(["a"])}, r"subject must have shape \(4,\).*found \(1,\)"),
        ({"y_prob": np.ones((4, 2)) / 2}, r"y_prob must have shape \(4, 3\)"),
        ({"y_prob": np.full((4, 3), np.nan)}, "must sum to 1"),
        ({"y_true": np.array([0, 1, 2, 3])}, r"y_true must lie in 0 … 2"),
    ],
)
def test_result_checks_itself(changes, message):
    with pytest.raises(InputError, match=message):
        replace(_result(), **changes)


def test_a_video_of_two_classes_is_two_rows():
    result = _result(y_true=(0, 1, 1, 1), video_id=("a", "a", "b", "b"))
    assert result.by_video().y_true.tolist() == [0, 1, 1]
