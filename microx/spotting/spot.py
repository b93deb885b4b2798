"""Find expressions in a video: where a region departs from where it was, and returns.

A step is no expression, nor is a slow drift: the movement towards a frame and the movement away
from it have to be large and opposite. They are measured over several reaches of time, in units of
the video's own noise over that reach. All numbers without a source are our choice, made on drawn
subjects; see docs/micro.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import find_peaks

from microx.corpus.corpus import Corpus
from microx.errors import InputError
from microx.schema import SpotKind
from microx.spotting.movement import (
    SPOTTED_REGIONS,
    Block,
    Floats,
    Movement,
    read_movement,
    trace_movement,
)

THRESHOLD = 3.1
"""Score from which a departure with return is an expression: the highest F1 on 24 drawn subjects
(seeds 0 and 7, 22 minutes), .845 with 0.6 false alarms a minute; it is .841 at 3.25, .844 at 3."""

LOWEST = 1.5
"""The lowest threshold: below it, noise alone gives dozens of spots a minute."""

MICRO_S = 0.5
"""Longest micro-expression in seconds (Ekman's definition)."""

SHORTEST_S, LONGEST_S = 0.1, 4.5
"""Seconds of the shortest and the longest departure that is an expression."""

_REACHES_S = (0.2, 0.27, 0.4, 0.6, 0.9, 1.35, 2.0)  # about half the length of what each finds
_SMOOTH_S = 0.1
_NOISE_FLOOR = 0.03  # pixels of the face: what flow cannot see
_LEAP = 2.0  # pixels from the mean of the frames before and after
_END = 0.1  # of the height, where an expression begins and ends
_AROUND_S, _RIPPLE, _TURNS = 0.7, 0.3, 3  # of talking, see `spot_expressions`
_PULLED, _BLINK = ("brows", "nose"), 5.0  # regions a blink pulls at; times the eyes' usual movement
_OVERLAP, _COVERED = 0.2, 0.5  # from which two candidates are one: IoU, share of the shorter


@dataclass(frozen=True)
class Spot:
    """An expression that was spotted.

    Parameters
    ----------
    onset, apex, offset : int
        Frames of the corpus, from 0: the last at rest, the furthest from it, the first at rest.
    onset_s, apex_s, offset_s : float
        The same in seconds.
    score : float
        How far it departs and returns, in units of the video's own noise.
    region : str
        Of `SPOTTED_REGIONS`: the one that departs most clearly.
    kind : str
        "micro" up to `MICRO_S` from onset to offset, else "macro".
    """

    onset: int
    apex: int
    offset: int
    onset_s: float
    apex_s: float
    offset_s: float
    score: float
    region: str
    kind: str


def spot_expressions(
    corpus: Corpus, video_id: str, *, kind: str = "both", threshold: float = THRESHOLD
) -> list[Spot]:
    """Find the expressions in a video, without any training.

    Parameters
    ----------
    corpus : Corpus
        With the region face; crops of 128 pixels show what there is to be seen.
    video_id : str
    kind : {"micro", "macro", "both"}
    threshold : float
        At least `LOWEST`; higher means fewer expressions and fewer false alarms.

    Returns
    -------
    list of Spot
        In order of time, none overlapping another much. Empty of a video without a face, or of
        less than about a second.

    Raises
    ------
    CorpusError
        If the corpus lacks the face, or the video's file is gone.
    InputError
        If there is no such video, it was skipped, or an argument is out of its range.

    Notes
    -----
    Of a region's cells (`microx.spotting.movement.CELLS`), each divided by its noise (1.4826 median
    absolute deviations of its second difference over the reach), the score of a frame is the
    smaller of the movement towards it and the movement back, along the direction of their sum,
    divided by the median length of that sum in this video. Frames nearer to the block's median
    than those a reach away are a return to rest, not a departure.

    From the peak outwards the expression ends where its displacement has fallen half-way to the
    level on that side, and from there on, as long as it goes on falling, until a tenth of the
    height is left.

    Talking: a candidate whose displacement turns three times or more by 30 % of its height, from
    0.7 s before it to 0.7 s after it, is left out. Blinks move the eyes, which are not among the
    regions, but pull at brows and nose: a micro-expression of these is left out if the eyes move
    more than five times as far as usual during it.

    Examples
    --------
    >>> spot_expressions(corpus, "S01_happy_1", threshold=50)
    []
    """
    return find_spots(read_movement(corpus, video_id), kind=kind, threshold=threshold)


def find_spots(
    movement: Movement, *, kind: str = "both", threshold: float = THRESHOLD
) -> list[Spot]:
    """Find the expressions in a movement: see `spot_expressions`."""
    if kind not in get_args(SpotKind):
        raise InputError(f"`kind` must be one of {', '.join(get_args(SpotKind))}; found {kind!r}")
    if not threshold >= LOWEST:
        raise InputError(f"`threshold` must be at least {LOWEST:g}; received {threshold:g}")
    candidates = [
        spot for region in SPOTTED_REGIONS for spot in _search(movement, region, threshold)
    ]
    spots = sorted(_merge(candidates), key=lambda spot: spot.onset)
    return [spot for spot in spots if kind in ("both", spot.kind)]


def tabulate_spots(spots: Sequence[Spot]) -> pd.DataFrame:
    """Give spots as a table, a row each and a column for each field of `Spot`.

    Examples
    --------
    >>> tabulate_spots([]).columns.tolist()[:3]
    ['onset', 'apex', 'offset']
    """
    names = [field.name for field in fields(Spot)]
    return pd.DataFrame([asdict(spot) for spot in spots], columns=names)


@dataclass(frozen=True, eq=False)
class _Path:
    """Where a region is in the frames of a block, smoothed, and where it usually is."""

    start: int
    places: Floats  # (T, C)
    rest: Floats  # (C,)

    @classmethod
    def of(cls, block: Block, region: str, n_smooth: int) -> _Path:
        places = _smooth(_drop_flicker(block.region(region)), n_smooth)
        seen = places[np.isfinite(places[:, 0])]
        return cls(block.start, places, np.median(seen, axis=0) if len(seen) else places[0])


def _search(movement: Movement, region: str, threshold: float) -> Iterator[Spot]:
    """Give the candidates of one region, of every reach."""
    rate = movement.frame_rate
    paths = [_Path.of(block, region, round(_SMOOTH_S * rate)) for block in movement.blocks]
    is_pulled = _find_blinks(movement) & (region in _PULLED)
    for reach in sorted({max(2, round(seconds * rate)) for seconds in _REACHES_S}):
        path_of = _choose_paths(paths, len(movement.times), reach)
        frames = np.flatnonzero(path_of >= 0)
        if len(frames) < 2 * reach:
            continue
        scores = np.zeros(len(path_of))
        scores[frames], ways = _score_frames(paths, path_of, frames, reach)
        peaks, _ = find_peaks(scores, height=threshold, distance=max(1, reach // 2))
        for peak in peaks.tolist():
            path = paths[path_of[peak]]
            away = path.places - path.places[peak - path.start]
            along = away @ ways[np.searchsorted(frames, peak)]
            ends = _find_ends(along, peak - path.start, reach, rate)
            if ends is not None:
                where = [path.start + frame for frame in ends]
                spot = _name_spot(movement, where, float(scores[peak]), region)
                if not (is_pulled[spot.onset : spot.offset + 1].any() and spot.kind == "micro"):
                    yield spot


def _find_blinks(movement: Movement) -> npt.NDArray[np.bool_]:
    """Frames in which the eyes move much further than usual."""
    eyes = trace_movement(movement, "eyes")
    seen = eyes[np.isfinite(eyes)]
    usual = max(float(np.median(seen)), _NOISE_FLOOR) if len(seen) else np.inf
    return np.asarray(eyes > _BLINK * usual)


def _score_frames(
    paths: Sequence[_Path],
    path_of: npt.NDArray[np.int64],
    frames: npt.NDArray[np.int64],
    reach: int,
) -> tuple[Floats, Floats]:
    """Score how each of n frames departs and returns, (n,), and by which weights, (n, C)."""
    rows = [_look(paths[path_of[frame]], frame, reach) for frame in frames.tolist()]
    here, before, after, rest = (np.stack(column) for column in zip(*rows, strict=True))
    around = (before + after) / 2
    bump = here - around
    noise = 1.4826 * np.median(np.abs(bump - np.median(bump, axis=0)), axis=0)
    noise = np.maximum(noise, _NOISE_FLOOR)
    length = np.linalg.norm(bump / noise, axis=1)
    weights = bump / noise**2 / np.maximum(length, 1e-9)[:, None]
    there, back = (((here - side) * weights).sum(axis=1) for side in (before, after))
    departs = [np.linalg.norm((place - rest) / noise, axis=1) for place in (here, around)]
    is_away = departs[0] > departs[1]
    usual = max(float(np.median(length)), 1.0)  # less only where nothing moves at all
    return np.where(is_away, np.minimum(there, back) / usual, 0.0), weights


def _look(path: _Path, frame: int, reach: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Where the region is in a frame, a reach before, a reach after, and usually."""
    at = frame - path.start
    return path.places[at], path.places[at - reach], path.places[at + reach], path.rest


def _choose_paths(paths: Sequence[_Path], n_frames: int, reach: int) -> npt.NDArray[np.int64]:
    """For each frame the path nearest to whose middle it lies; -1 where none reaches far enough.

    Frames that are lost, or a reach from one, are in no path.
    """
    chosen, off = np.full(n_frames, -1), np.full(n_frames, np.inf)
    for number, path in enumerate(paths):
        length = len(path.places)
        seen = np.isfinite(path.places[:, 0])
        whole = seen[reach:-reach] & seen[: -2 * reach] & seen[2 * reach :]
        frames = path.start + reach + np.flatnonzero(whole)
        distance = np.abs(frames - path.start - length / 2)
        nearer = distance < off[frames]
        chosen[frames[nearer]], off[frames[nearer]] = number, distance[nearer]
    return chosen


def _find_ends(along: Floats, peak: int, reach: int, rate: float) -> tuple[int, int, int] | None:
    """Onset, apex and offset of a departure.

    None where it is talking, of no usual length, or goes on in lost frames.
    """
    far, near = int(1.5 * reach), reach // 2
    levels = [
        float(np.nanpercentile(side, 25))
        for side in (
            along[max(0, peak - far) : peak - near + 1],
            along[peak + near : peak + far + 1],
        )
    ]
    onset = _walk(along, peak, -1, levels[0])
    offset = _walk(along, peak, 1, levels[1])
    lost = np.isnan(along[[max(0, onset - 1), min(offset + 1, len(along) - 1)]])
    if lost.any() or not SHORTEST_S <= (offset - onset) / rate <= LONGEST_S:
        return None
    around = round(_AROUND_S * rate)
    ripple = _RIPPLE * (float(along[peak]) - max(levels))
    near_by = along[max(0, onset - around) : offset + around + 1]
    near_by = near_by[np.isfinite(near_by)]
    turns = sum(len(find_peaks(sign * near_by, prominence=ripple)[0]) for sign in (1, -1))
    if turns >= _TURNS:
        return None
    return onset, onset + int(np.nanargmax(along[onset : offset + 1])), offset


def _walk(along: Floats, peak: int, step: int, level: float) -> int:
    """Go from the peak to where the displacement has fallen to the level of that side."""
    height, at, last = float(along[peak]) - level, peak, len(along) - 1
    while 0 <= at + step <= last and along[at] > level + height / 2:
        at += step
    while (
        0 <= at + step <= last
        and along[at] > level + _END * height
        and along[at + step] < along[at]
    ):
        at += step
    return at


def _name_spot(movement: Movement, frames: Sequence[int], score: float, region: str) -> Spot:
    onset, apex, offset = frames
    onset_s, apex_s, offset_s = (float(movement.times[frame]) for frame in frames)
    kind = "micro" if (offset - onset) / movement.frame_rate <= MICRO_S else "macro"
    return Spot(onset, apex, offset, onset_s, apex_s, offset_s, score, region, kind)


def _merge(candidates: Sequence[Spot]) -> list[Spot]:
    """Of candidates that lie on one another, keep that of the highest score."""
    kept: list[Spot] = []
    for spot in sorted(candidates, key=lambda spot: -spot.score):
        if not any(_is_same(spot, other) for other in kept):
            kept.append(spot)
    return kept


def _is_same(one: Spot, other: Spot) -> bool:
    shared = min(one.offset, other.offset) - max(one.onset, other.onset)
    lengths = one.offset - one.onset, other.offset - other.onset
    return shared > _OVERLAP * (sum(lengths) - shared) or shared > _COVERED * min(lengths)


def _drop_flicker(places: Floats) -> Floats:
    """Lose the frames that leap away from both neighbours, where the flow found another place."""
    middle = (places[:-2] + places[2:]) / 2
    leaps = np.abs(places[1:-1] - middle).max(axis=1, initial=0.0) > _LEAP
    left = places.copy()
    left[1:-1][leaps] = np.nan
    return left


def _smooth(places: Floats, n_frames: int) -> Floats:
    """Mean over an odd number of frames, the ends repeated; nan where one of them is lost."""
    n_frames |= 1
    padded = np.pad(places, ((n_frames // 2, n_frames // 2), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_frames, axis=0)
    return np.asarray(windows.mean(axis=-1), np.float64)
