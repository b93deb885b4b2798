"""Scores of spotting, by hand."""

import numpy as np
import pandas as pd
import pytest

from microx.spotting.scoring import (
    calculate_iou,
    choose_presence,
    choose_threshold,
    count_hits,
    match_intervals,
    score_hits,
    trace_recall,
)


def table(*rows):
    columns = ["video_id", "onset", "offset", "kind", "score"]
    return pd.DataFrame(rows, columns=columns[: len(rows[0])] if rows else columns)


VIDEOS = pd.DataFrame(
    {"video_id": ["a", "b", "c"], "subject": ["1", "2", "3"], "minutes": [1.0, 1.0, 2.0]}
)
TRUE = table(("a", 10, 19, "micro"), ("a", 100, 159, "macro"), ("b", 10, 19, "micro"))
SPOTS = table(
    ("a", 12, 19, "micro", 5.0),  # a hit: 8 of 10 frames
    ("a", 100, 120, "macro", 4.0),  # 21 of 60 frames: a miss and a false alarm
    ("b", 10, 19, "macro", 3.0),  # of another kind
    ("c", 50, 60, "micro", 2.0),  # where nothing is
)


def test_half_of_the_frames_in_common_is_a_hit():
    spots = np.array([[0, 9]])
    assert calculate_iou(spots, np.array([[0, 19]])) == 0.5
    assert match_intervals(spots, np.array([[0, 19]])) == [(0, 0)]
    assert match_intervals(spots, np.array([[0, 20]])) == []
    assert match_intervals(np.empty((0, 2), int), spots) == []


def test_matching_is_one_to_one_and_as_good_as_can_be():
    intervals = np.array([[0, 9], [5, 14]])
    assert match_intervals(np.array([[3, 12], [0, 9]]), intervals) == [(0, 1), (1, 0)]
    assert len(match_intervals(np.array([[0, 9], [0, 8], [1, 9]]), intervals[:1])) == 1


def test_scores_count_every_video():
    scores = score_hits(count_hits(SPOTS, TRUE, VIDEOS)).set_index("kind")
    assert scores.loc["overall", ["n_hits", "n_spots", "n_intervals"]].tolist() == [1, 4, 3]
    assert scores["f1"].round(3).tolist() == [0.286, 0.5, 0.0]
    assert scores["precision"].tolist() == [0.25, 0.5, 0.0]
    assert scores["recall"].round(3).tolist() == [0.333, 0.5, 0.0]
    assert scores["false_alarms"].tolist() == [0.75, 0.25, 0.5]
    assert scores["f1_low"]["overall"] < 0.286 < scores["f1_high"]["overall"]


def test_perfect_spots_score_one():
    scores = score_hits(count_hits(TRUE.assign(score=1.0), TRUE, VIDEOS))
    assert scores["f1"].tolist() == [1, 1, 1]
    assert scores["false_alarms"].tolist() == [0, 0, 0]


def test_nothing_spotted_scores_nought():
    scores = score_hits(count_hits(table(), TRUE, VIDEOS))
    assert scores["f1"].tolist() == [0, 0, 0]
    assert np.isnan(scores["precision"]).all()


def test_the_curve_moves_the_threshold():
    curve = trace_recall(SPOTS, TRUE, VIDEOS)
    assert curve["threshold"].tolist() == [2, 3, 4, 5]
    assert curve["false_alarms"].tolist() == [0.75, 0.5, 0.25, 0]
    assert curve["recall"].round(3).tolist() == [0.333] * 4
    assert choose_threshold(curve, 9.0) == 4.5  # between 4 and 5
    assert trace_recall(table(), TRUE, VIDEOS).empty
    assert choose_threshold(trace_recall(table(), TRUE, VIDEOS), 9.0) == 9


@pytest.mark.parametrize(
    ("scores", "shown", "chosen"),
    [([1, 2, 3, 4], [0, 0, 1, 1], 2.5), ([1, 2], [1, 1], 0), ([1, 2], [0, 0], 3)],
)
def test_presence_is_chosen_where_most_are_right(scores, shown, chosen):
    assert choose_presence(scores, shown) == chosen
