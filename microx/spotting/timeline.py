"""Draw what was spotted in a video: movement by region over time, and the faces of each spot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from microx.plotting import BLUE, GREY, INK, VERMILLION, style
from microx.spotting.movement import SPOTTED_REGIONS, Movement, trace_movement
from microx.spotting.spot import Spot

MOST_SHOWN = 8
"""Spots whose faces are shown: those of the highest scores (our choice)."""

_COLOUR_OF = {"micro": VERMILLION, "macro": BLUE}


def draw_spots(
    movement: Movement,
    spots: Sequence[Spot],
    faces: Sequence[npt.NDArray[np.uint8]],
    *,
    title: str = "",
) -> Figure:
    """Draw movement by region with the spots shaded, and below the faces of the clearest spots.

    Parameters
    ----------
    movement : Movement
    spots : sequence of Spot
    faces : sequence of (3, H, W, 3) uint8
        Those at onset, apex and offset of each spot of `choose_shown`.
    title : str

    Returns
    -------
    Figure
    """
    shown = choose_shown(spots)
    heights = [1.15 * len(SPOTTED_REGIONS), *([3.6] if shown else [])]
    with style():
        figure = Figure(figsize=(10.0, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _draw_curves(parts[0], movement, spots, title)
        if shown:
            _draw_faces(parts[1], shown, faces)
    return figure


def _draw_curves(part: SubFigure, movement: Movement, spots: Sequence[Spot], title: str) -> None:
    axes = part.subplots(len(SPOTTED_REGIONS), 1, sharex=True, squeeze=False)[:, 0]
    curves = [trace_movement(movement, region) for region in SPOTTED_REGIONS]
    for row, region, curve in zip(axes, SPOTTED_REGIONS, curves, strict=True):
        for spot in spots:
            strength = 0.45 if spot.region == region else 0.12
            row.axvspan(
                spot.onset_s, spot.offset_s, color=_COLOUR_OF[spot.kind], alpha=strength, lw=0
            )
        row.plot(movement.times, curve, color=INK, lw=0.8)
        row.set_ylabel(region)
        row.set_ylim(0, max(1.0, float(np.nanmax(curve, initial=0.0)) * 1.1))
    if len(movement.times) > 1:
        axes[0].set_xlim(movement.times[0], movement.times[-1])
    axes[0].set_title(title, loc="left", fontweight="bold")
    axes[-1].set_xlabel("time in the video (s); movement in pixels of a face of 128")
    keys = [
        Patch(fc=colour, alpha=0.45, label=f"{kind}-expression")
        for kind, colour in _COLOUR_OF.items()
    ]
    keys.append(Patch(fc=GREY, alpha=0.3, label="pale: it moved more\nin another region"))
    part.legend(handles=keys, loc="outside right center", frameon=False)


def _draw_faces(
    part: SubFigure, shown: Sequence[Spot], faces: Sequence[npt.NDArray[np.uint8]]
) -> None:
    axes = part.subplots(3, MOST_SHOWN, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for column, (spot, images) in enumerate(zip(shown, faces, strict=True)):
        seconds = (spot.onset_s, spot.apex_s, spot.offset_s)
        for row, image, name, second in zip(
            axes[:, column], images, ("onset", "apex", "offset"), seconds, strict=True
        ):
            row.imshow(image, interpolation="bicubic")
            row.set_title(f"{name} {second:.2f} s", fontsize=7, color=_COLOUR_OF[spot.kind])


def choose_shown(spots: Sequence[Spot]) -> list[Spot]:
    """Choose the spots whose faces are shown, in order of time."""
    clearest = sorted(spots, key=lambda spot: -spot.score)[:MOST_SHOWN]
    return sorted(clearest, key=lambda spot: spot.onset)
