"""Scores of spotting, over all videos: those without any expression count, too.

A spot is a hit if it shares an interval of its own kind by an intersection over union of at least
one half, and each interval has at most one (MEGC, "MEGC2022: ACM Multimedia 2022 Micro-Expression
Grand Challenge"). Every other spot is a false alarm: scoring only the videos that hold an
expression would hide those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment

from microx.evaluation.statistics import bootstrap_interval
from microx.spotting.movement import Floats

KINDS = ("micro", "macro")
LEAST_IOU = 0.5
"""Intersection over union from which a spot is a hit (MEGC)."""

FALSE_ALARM_RATES = (0.5, 1.0, 2.0)
"""False alarms a minute that recall is told at (our choice)."""

Frames = npt.NDArray[np.int64]


def calculate_iou(spots: Frames, intervals: Frames) -> Floats:
    """Share of frames in common of each spot with each interval.

    Parameters
    ----------
    spots : (n, 2) int
        First and last frame, both included.
    intervals : (m, 2) int

    Returns
    -------
    (n, m) float64
        Intersection over union, 0 to 1.

    Examples
    --------
    >>> calculate_iou(np.array([[0, 9]]), np.array([[0, 9], [5, 14], [20, 30]])).round(2).tolist()
    [[1.0, 0.33, 0.0]]
    """
    first = np.maximum(spots[:, None, 0], intervals[None, :, 0])
    last = np.minimum(spots[:, None, 1], intervals[None, :, 1])
    shared = np.maximum(last - first + 1, 0)
    lengths = (spots[:, 1] - spots[:, 0] + 1)[:, None] + (intervals[:, 1] - intervals[:, 0] + 1)
    return np.asarray(shared / (lengths - shared), np.float64)


def match_intervals(spots: Frames, intervals: Frames) -> list[tuple[int, int]]:
    """Match spots with intervals one to one: as many hits as there can be.

    Parameters
    ----------
    spots, intervals
        See `calculate_iou`.

    Returns
    -------
    list of (int, int)
        Rows of `spots` and of `intervals`; empty where either is.

    Examples
    --------
    >>> match_intervals(np.array([[0, 9], [1, 9]]), np.array([[0, 9]]))
    [(0, 0)]
    """
    iou = calculate_iou(spots, intervals)
    worth = np.where(iou >= LEAST_IOU, 1 + iou / (len(iou) + 1), 0.0)  # hits first, then overlap
    return [
        (int(spot), int(interval))
        for spot, interval in zip(*linear_sum_assignment(worth, maximize=True), strict=True)
        if worth[spot, interval] > 0
    ]


def count_hits(spots: pd.DataFrame, intervals: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """Count hits in every video, a row for each kind of expression.

    Parameters
    ----------
    spots, intervals : DataFrame
        video_id, onset, offset, kind; the spots their score.
    videos : DataFrame
        All videos, with and without expressions: video_id, subject, minutes.

    Returns
    -------
    DataFrame
        subject, video_id, kind, minutes, n_hits, n_spots, n_intervals.
    """
    return pd.DataFrame(
        [
            one.facts | {"n_hits": one.count_hits(), "n_spots": len(one.spots)}
            for one in _gather(spots, intervals, videos)
        ]
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Spots and intervals of one kind in one video."""

    facts: dict[str, Any]
    spots: Frames  # (n, 2)
    scores: Floats  # (n,)
    intervals: Frames  # (m, 2)

    def count_hits(self, threshold: float = -np.inf) -> int:
        return len(match_intervals(self.spots[self.scores >= threshold], self.intervals))


def _gather(spots: pd.DataFrame, intervals: pd.DataFrame, videos: pd.DataFrame) -> list[_Found]:
    found = []
    for video, kind in product(videos.to_dict("records"), KINDS):
        mine, true = (
            table[(table["video_id"] == video["video_id"]) & (table["kind"] == kind)]
            for table in (spots, intervals)
        )
        facts = {name: video[name] for name in ("subject", "video_id", "minutes")}
        ends = ["onset", "offset"]
        found.append(
            _Found(
                facts | {"kind": kind, "n_intervals": len(true)},
                mine[ends].to_numpy(np.int64),
                mine["score"].to_numpy(np.float64),
                true[ends].to_numpy(np.int64),
            )
        )
    return found


def score_hits(counts: pd.DataFrame) -> pd.DataFrame:
    """Score counts overall and by kind.

    Parameters
    ----------
    counts : DataFrame
        Of `count_hits`.

    Returns
    -------
    DataFrame
        A row each for overall, micro and macro: n_hits, n_spots, n_intervals, f1, precision,
        recall, false_alarms a minute, f1_low and f1_high (95 % over subjects). nan where nothing
        was there to be found, or nothing was.

    Notes
    -----
    The interval is that of `microx.evaluation.statistics.bootstrap_interval`: F1 is the accuracy of
    the table [[2 hits, false alarms], [misses, 0]].

    Examples
    --------
    >>> told = {"subject": ["a", "b"], "video_id": ["1", "2"], "minutes": 1.0, "kind": "micro"}
    >>> counts = pd.DataFrame({**told, "n_hits": 1, "n_spots": 1, "n_intervals": [1, 2]})
    >>> score_hits(counts)[["f1", "recall", "false_alarms"]].round(2).iloc[0].tolist()
    [0.8, 0.67, 0.0]
    """
    rows = []
    for kind in ("overall", *KINDS):
        of_kind = counts if kind == "overall" else counts[counts["kind"] == kind]
        low, high = bootstrap_interval(_tables_of_f1(of_kind))
        sums = {name: int(of_kind[name].sum()) for name in ("n_hits", "n_spots", "n_intervals")}
        scores = _score(**sums, minutes=count_minutes(of_kind))
        rows.append({"kind": kind, **sums, **scores, "f1_low": low, "f1_high": high})
    return pd.DataFrame(rows)


def _score(n_hits: int, n_spots: int, n_intervals: int, minutes: float) -> dict[str, float]:
    return {
        "f1": _share(2 * n_hits, n_spots + n_intervals),
        "precision": _share(n_hits, n_spots),
        "recall": _share(n_hits, n_intervals),
        "false_alarms": _share(n_spots - n_hits, minutes),
    }


def count_minutes(counts: pd.DataFrame) -> float:
    """Add up the minutes of all videos, each once."""
    return float(counts.drop_duplicates("video_id")["minutes"].sum())


def trace_recall(
    spots: pd.DataFrame, intervals: pd.DataFrame, videos: pd.DataFrame
) -> pd.DataFrame:
    """Move the threshold over all scores and tell what all kinds together score at each.

    Parameters
    ----------
    spots : DataFrame
        As for `count_hits`, found with a low threshold.
    intervals, videos : DataFrame

    Returns
    -------
    DataFrame
        threshold, f1, precision, recall, false_alarms a minute; by rising threshold, every spot's
        score one. Empty where there are no spots.
    """
    found = _gather(spots, intervals, videos)
    n_intervals, minutes = len(intervals), float(videos["minutes"].sum())
    scores = np.sort(spots["score"].to_numpy(np.float64))
    rows = []
    for threshold in np.unique(scores).tolist():
        n_spots = len(scores) - int(np.searchsorted(scores, threshold))
        n_hits = sum(one.count_hits(threshold) for one in found)
        rows.append({"threshold": threshold, **_score(n_hits, n_spots, n_intervals, minutes)})
    return pd.DataFrame(rows, columns=["threshold", "f1", "precision", "recall", "false_alarms"])


def choose_threshold(curve: pd.DataFrame, usual: float) -> float:
    """Choose the threshold of the highest F1: midway through those that are equally good.

    Parameters
    ----------
    curve : DataFrame
        Of `trace_recall`, of training subjects.
    usual : float
        What is taken where there is nothing to choose by.

    Examples
    --------
    >>> choose_threshold(pd.DataFrame({"threshold": [2.0, 3.0, 4.0], "f1": [0.5, 0.8, 0.8]}), 3.25)
    3.0
    """
    if not len(curve) or not curve["f1"].max() > 0:
        return usual
    best = curve.index[curve["f1"] == curve["f1"].max()]
    below = curve["threshold"].shift(1)[best[0]]
    low = curve["threshold"][best[0]] if np.isnan(below) else below
    return float((low + curve["threshold"][best[-1]]) / 2)


def choose_presence(scores: Sequence[float], shown: Sequence[bool]) -> float:
    """Choose the score from which a video is said to hold an expression: the most are right.

    Parameters
    ----------
    scores : sequence of n float
        The highest score in each training video, 0 without a spot.
    shown : sequence of n bool
        Whether the video holds an expression.

    Examples
    --------
    >>> choose_presence([0.0, 2.0, 4.0, 5.0], [False, False, True, True])
    3.0
    """
    found, truth = np.asarray(scores, np.float64), np.asarray(shown, bool)
    places = np.unique(found)
    between = np.concatenate([places[:1] - 1, (places[:-1] + places[1:]) / 2, places[-1:] + 1])
    right = [(np.equal(found >= place, truth)).sum() for place in between]
    return float(between[int(np.argmax(right))])


def _tables_of_f1(counts: pd.DataFrame) -> npt.NDArray[np.int64]:
    sums = counts.groupby("subject")[["n_hits", "n_spots", "n_intervals"]].sum()
    tables = np.zeros((len(sums), 2, 2), np.int64)
    tables[:, 0, 0] = 2 * sums["n_hits"]
    tables[:, 0, 1] = sums["n_spots"] - sums["n_hits"]
    tables[:, 1, 0] = sums["n_intervals"] - sums["n_hits"]
    return tables


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
