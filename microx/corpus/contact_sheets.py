"""Contact sheets: a video's crops over time, and an emotion's crops over many subjects.

Like `microx.plotting`, each function takes plain arrays and gives a figure. A status has a
colour of Okabe and Ito, "Color Universal Design" (2008), and is written out as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microx.files import whole_file
from microx.plotting import BLUE, GREY, INK, VERMILLION

STATUS_COLOURS = {
    "detected": BLUE,
    "tracked": "#56B4E9",
    "interpolated": "#E69F00",
    "given": "#009E73",
    "assumed": "#CC79A7",
    "no_face": "#D9D9D9",
    "failed_crop": VERMILLION,
    "other_face": "#F0E442",
    "small_face": INK,
}
"""Colour of each `microx.preprocessing.tracking.faces.Status`, by its name in lower case, from
better to worse (our choice)."""

N_COLUMNS = 16
"""Frames shown of a video (our choice)."""

_DPI = 120  # dots per inch of the images (our choice)
_COMPRESSION = 3  # of PNG, from 0 to 9: it takes most of the time (our choice)
_CELL, _STEP = 0.66, 0.72  # inches: side of a cell, and from one cell to the next
_LEFT, _RIGHT = 0.95, 0.2
_BORDER = 3  # px
_SMALL = 6.5  # points
_BAR_PARTS = 1200  # about as many as the bar has pixels


def choose_columns(ledger: pd.DataFrame, doubt: np.ndarray, n: int = N_COLUMNS) -> np.ndarray:
    """Choose the frames of a video to show: most of them evenly, then the worst, then each gap.

    Parameters
    ----------
    ledger : DataFrame
        All T frames, as `microx.corpus.corpus.Corpus.read_ledger` gives them; T at least 1.
    doubt : ndarray of shape (T,)
        Frames with crops and a larger doubt are shown first.
    n : int
        Frames to choose at most. Five eighths of them are spread evenly over the frames with
        crops, an eighth are the most doubtful; then comes one of every segment and gap that
        is not shown yet, as long as there is room, and then more doubtful ones (our choice).

    Returns
    -------
    ndarray of int
        In order of time; every frame where T is at most `n`.
    """
    if len(ledger) <= n:
        return np.arange(len(ledger))
    segment, status = ledger["segment"].to_numpy(), ledger["status"].to_numpy(str)
    found = np.flatnonzero(segment >= 0)
    ranks = np.linspace(0, max(0, len(found) - 1), 5 * n // 8).astype(int)
    chosen = list(dict.fromkeys(found[ranks].tolist() if len(found) else [0]))
    _add_worst(chosen, doubt, found, n // 8)
    other = (segment[1:] != segment[:-1]) | ((segment[1:] < 0) & (status[1:] != status[:-1]))
    stretches = np.split(np.arange(len(ledger)), np.flatnonzero(other) + 1)
    for run in sorted(stretches, key=len, reverse=True):
        if not set(run.tolist()) & set(chosen):
            chosen.append(int(run[len(run) // 2]))
    _add_worst(chosen, doubt, found, n - len(chosen))
    return np.sort(np.array(chosen[:n]))


def _add_worst(chosen: list[int], doubt: np.ndarray, found: np.ndarray, n: int) -> None:
    """Add the most doubtful frames that are not next to one already chosen."""
    distance = max(2, len(found) // 48)
    for frame in found[np.argsort(-doubt[found], kind="stable")].tolist():
        if n <= 0:
            break
        if all(abs(frame - other) >= distance for other in chosen):
            chosen.append(frame)
            n -= 1


def worst_statuses(statuses: Sequence[str], n: int) -> list[str]:
    """Summarise a video's statuses in at most `n` parts: each part by its worst.

    Examples
    --------
    >>> worst_statuses(["tracked", "no_face", "tracked", "detected"], 2)
    ['no_face', 'tracked']
    """
    order = list(STATUS_COLOURS)
    codes = np.array([order.index(status) for status in statuses])
    starts = np.arange(min(n, len(codes))) * len(codes) // max(1, min(n, len(codes)))
    return [order[code] for code in np.maximum.reduceat(codes, starts)]


def draw_video_sheet(
    crops: Mapping[str, np.ndarray], ledger: pd.DataFrame, columns: np.ndarray, *, title: str
) -> Figure:
    """Draw a video's crops, one row per region and one column per frame, below a time bar.

    Parameters
    ----------
    crops : mapping of str to ndarray of shape (n, size, size, 3), uint8
        Region to RGB crops of the chosen frames, a region or more.
    ledger : DataFrame
        All T frames, as `microx.corpus.corpus.Corpus.read_ledger` gives them; T at least 1.
    columns : ndarray of n int
        The chosen frames, see `choose_columns`.
    title : str

    Returns
    -------
    Figure
        Borders and the bar have the `STATUS_COLOURS`; the line over the bar is confidence, a
        black stroke in it a break: a cut, a leap, or a face lost and found again.
    """
    width = max(_LEFT + _STEP * len(columns) + _RIGHT, 5.6)
    top = 1.62
    height = top + _STEP * len(crops) + 0.1
    figure, axes = _sheet(width, height)
    room = int((width - 0.3) / 0.085)
    short = title if len(title) <= room else title[: room - 1] + "…"
    _write(axes, 0.12, 0.2, short, size=9.5, weight="bold", va="center")
    _draw_bar(axes, ledger, columns, left=_LEFT, right=width - _RIGHT, top=0.42)
    chosen = ledger.iloc[columns]
    segment = chosen["segment"].to_numpy()
    for place, frame in enumerate(chosen.itertuples()):
        middle = _LEFT + place * _STEP + _CELL / 2
        lines = (f"{frame.time_s:.2f} s", str(frame.status).replace("_", " "))
        found = segment[place] >= 0
        for row, text in enumerate((*lines, f"{frame.confidence:.2f}" if found else "")):
            _write(axes, middle, 1.18 + 0.13 * row, text, size=_SMALL, ha="center")
        if place and segment[place] != segment[place - 1]:
            at = middle - _CELL / 2 - (_STEP - _CELL) / 2
            axes.plot([at, at], [top - 0.5, height - 0.08], color=INK, lw=1.4)
    for text, row in zip(("time", "status", "confidence"), range(3), strict=True):
        _write(axes, 0.12, 1.18 + 0.13 * row, text, size=_SMALL, color="#666666")
    for row, region in enumerate(crops):
        _write(axes, 0.12, top + _STEP * row + _CELL / 2, region.replace("_", " "), va="center")
    colours = [STATUS_COLOURS[status] for status in chosen["status"]]
    cells = [
        [
            _cell(crop, colour, empty=bool(at < 0))
            for crop, colour, at in zip(of_region, colours, segment, strict=True)
        ]
        for of_region in crops.values()
    ]
    _paste(axes, cells, _LEFT, top)
    return figure


def draw_emotion_sheet(
    crops: Sequence[np.ndarray], names: Sequence[str], statuses: Sequence[str], *, title: str
) -> Figure:
    """Draw one crop from each of many clips in a grid, with its subject or video.

    Parameters
    ----------
    crops : sequence of n ndarray of shape (size, size, 3), uint8
        n at least 1.
    names, statuses : sequence of n str
    title : str

    Returns
    -------
    Figure
    """
    n_across = min(12, max(6, len(crops)))
    n_down = -(-len(crops) // n_across)
    step, top = _STEP + 0.16, 0.42
    figure, axes = _sheet(0.24 + n_across * _STEP, top + n_down * step + 0.06)
    _write(axes, 0.12, 0.2, title, size=9.5, weight="bold", va="center")
    for place, (crop, name, status) in enumerate(zip(crops, names, statuses, strict=True)):
        down, across = divmod(place, n_across)
        left, upper = 0.12 + across * _STEP, top + down * step
        _paste(axes, [[_cell(crop, STATUS_COLOURS[status], empty=False)]], left, upper)
        short = name if len(name) <= 12 else f"…{name[-11:]}"
        _write(axes, left + _CELL / 2, upper + _CELL + 0.08, short, size=_SMALL - 0.5, ha="center")
    return figure


def write_sheet(figure: Figure, path: Path) -> Path:
    """Write a sheet as PNG and give its path; it appears whole or not at all."""
    with warnings.catch_warnings(), whole_file(path) as partial:
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(partial, format="png", dpi=_DPI, pil_kwargs={"compress_level": _COMPRESSION})
    return path


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose axes are in inches, from the upper left."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def _write(axes: Axes, x: float, y: float, text: str, *, size: float = 8, **style: Any) -> None:
    style = {"color": INK, "va": "center"} | style
    axes.text(x, y, text, fontsize=size, parse_math=False, **style)


def _draw_bar(
    axes: Axes, ledger: pd.DataFrame, columns: np.ndarray, *, left: float, right: float, top: float
) -> None:
    """Draw the whole video as a bar of statuses, with confidence, breaks and the frames shown."""
    n_frames, segment = len(ledger), ledger["segment"].to_numpy()
    edges = left + (right - left) * np.arange(n_frames + 1) / n_frames
    middles = (edges[:-1] + edges[1:]) / 2
    parts = worst_statuses(ledger["status"].tolist(), _BAR_PARTS)
    colours = np.array([[_rgb(STATUS_COLOURS[status]) for status in parts]], np.uint8)
    extent = (left, right, top + 0.44, top + 0.3)
    axes.imshow(colours, extent=extent, aspect="auto", interpolation="nearest")
    confidence = np.where(segment >= 0, ledger["confidence"].to_numpy(float), np.nan)
    for level, name in ((0.0, "1"), (0.26, "0")):
        axes.plot([left, right], [top + level] * 2, color="#CCCCCC", lw=0.5)
        _write(axes, left - 0.05, top + level, name, size=5.5, ha="right", color=GREY)
    _write(axes, 0.12, top + 0.13, "confidence", size=_SMALL, color="#666666")
    marker = "o" if n_frames == 1 else ""
    height = top + 0.26 * (1 - confidence)
    axes.plot(middles, height, color=INK, lw=0.8, marker=marker, markersize=2)
    breaks = (segment[1:] >= 0) & (segment[:-1] >= 0) & (segment[1:] != segment[:-1])
    places = edges[np.flatnonzero(breaks) + 1]
    axes.vlines(places, top - 0.02, top + 0.46, color=INK, lw=1.4)
    axes.plot(middles[columns], np.full(len(columns), top + 0.49), "^", color=INK, ms=2.5)
    _write(axes, 0.12, top + 0.37, "whole video", size=_SMALL, color="#666666")
    length = f"{n_frames} frames, {ledger['time_s'].iloc[-1]:.1f} s" if n_frames > 1 else "1 frame"
    _write(axes, right, top - 0.22, length, size=_SMALL, ha="right", color="#666666")


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def _cell(crop: np.ndarray, colour: str, *, empty: bool) -> np.ndarray:
    """Draw a coloured border round a crop; where there is none, an empty box crossed out."""
    side = round(_CELL * _DPI)
    cell = np.empty((side, side, 3), np.uint8)
    cell[:] = _rgb(colour)
    inner = side - 2 * _BORDER
    if empty:
        blank = np.full((inner, inner, 3), 246, np.uint8)
        cv2.line(blank, (0, inner), (inner, 0), (200, 200, 200), 1, cv2.LINE_AA)
        image = blank
    else:
        way = cv2.INTER_AREA if len(crop) > inner else cv2.INTER_CUBIC
        image = cv2.resize(crop, (inner, inner), interpolation=way).astype(np.uint8)
    cell[_BORDER:-_BORDER, _BORDER:-_BORDER] = image
    return cell


def _paste(axes: Axes, cells: list[list[np.ndarray]], left: float, top: float) -> None:
    """Draw rows of cells as one image."""
    gap = round((_STEP - _CELL) * _DPI)
    spaced = np.pad(
        np.array(cells), ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255
    )
    rows, columns, side = spaced.shape[:3]
    canvas = spaced.swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    extent = (left, left + columns * side / _DPI, top + rows * side / _DPI, top)
    axes.imshow(canvas, extent=extent, aspect="auto", interpolation="nearest", zorder=0)
