"""Figures of why a model predicts as it does, from the arrays that this room gives.

Like `microx.plotting`, each function takes plain arrays and gives a figure. Crops are drawn
grey, so that colour means one thing; maps go from dark to light, or from purple to orange,
and are readable by the colour-blind and without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from microx.explain.filters import FilterResponses
from microx.plotting import GREY, VERMILLION, style

MOST_FRAMES, MOST_CHANNELS = 10, 8
"""Frames shown of a clip and channels of a layer (our choice)."""

_LINES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#222222", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", (0, (1, 1))),
    ("#56B4E9", (0, (7, 2))),
)
_HEAT = ListedColormap(matplotlib.colormaps["inferno"](np.linspace(0.3, 1, 256)))
_CELL = 0.85  # inches


def draw_cam(
    crops: Mapping[str, npt.NDArray[np.uint8]],
    cam: Mapping[str, npt.NDArray[np.float32]],
    times_s: npt.NDArray[np.float64],
    *,
    title: str,
) -> Figure:
    """Draw a clip's frames overlaid with the evidence for an emotion, one row per region.

    Parameters
    ----------
    crops : dict of str to (T, H, W, 3) uint8
        By region, a region or more.
    cam : dict of str to (T, H, W) in [0, 1]
        Of the same regions; see `microx.explain.attribution.grad_cam`.
    times_s : (T,) float
    title : str

    Returns
    -------
    Figure
        At most `MOST_FRAMES` frames, evenly chosen. The line is half the largest value.
    """
    n_frames = len(times_s)
    shown = np.unique(np.linspace(0, n_frames - 1, min(n_frames, MOST_FRAMES)).round().astype(int))
    with style():
        figure, axes = _grid(len(crops), len(shown))
        for row, region in enumerate(crops):
            for column, frame in enumerate(shown.tolist()):
                _lay_over(axes[row, column], crops[region][frame], cam[region][frame])
                if row == 0:
                    axes[row, column].set_title(f"{times_s[frame]:.2f} s", fontsize=8)
            _name_row(axes[row, 0], region)
        scale = ScalarMappable(Normalize(0, 1), _HEAT)
        bar = figure.colorbar(scale, ax=axes.ravel().tolist(), fraction=0.02, pad=0.01, aspect=30)
        bar.set_ticks([0, 0.5, 1], labels=["0", "half", "most"])
        bar.ax.tick_params(labelsize=8)
        _entitle(figure, title)
    return figure


def draw_occlusion(
    crops: Mapping[str, npt.NDArray[np.uint8]],
    drops: Mapping[str, npt.NDArray[np.float32]],
    *,
    title: str,
) -> Figure:
    """Draw on each region's crop how much of an emotion's probability depends on each place.

    Parameters
    ----------
    crops : dict of str to (H, W, 3) uint8
        By region, a region or more.
    drops : dict of str to (h, w) in [-1, 1]
        Of the same regions; see `microx.explain.attribution.occlusion_sensitivity`.
    title : str

    Returns
    -------
    Figure
        The crops above, below them the maps, with the largest drop of each in points.
    """
    most = max(0.01, *(float(np.abs(drop).max()) for drop in drops.values()))
    colours = ScalarMappable(Normalize(-100 * most, 100 * most), "PuOr_r")
    with style():
        figure, axes = _grid(2, len(crops), cell=1.35)
        for column, region in enumerate(crops):
            crop = crops[region]
            axes[0, column].imshow(crop, interpolation="bicubic")
            axes[0, column].set_title(region.replace("_", " "))
            grey, drop = _grey(crop), drops[region]
            size = (grey.shape[1], grey.shape[0])
            drawn = cv2.resize(drop, size, interpolation=cv2.INTER_NEAREST)
            colour = colours.to_rgba(100 * drawn)[..., :3]
            alpha = 0.85 * np.sqrt(np.abs(drawn) / most)[..., None]
            axes[1, column].imshow(grey * (1 - alpha) + colour * alpha, interpolation="nearest")
            axes[1, column].set_xlabel(
                f"largest drop: {100 * drop.max():.0f}", fontsize=8, labelpad=3
            )
        bar = figure.colorbar(colours, ax=axes.ravel().tolist(), fraction=0.03, pad=0.02, aspect=25)
        bar.set_label("points lost if occluded", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        _entitle(figure, title)
    return figure


def draw_filters(found: FilterResponses, *, title: str) -> Figure:
    """Draw each filter of a layer, its weights and the places of its strongest responses.

    Parameters
    ----------
    found : FilterResponses
        See `microx.explain.filters.find_filter_responses`. Of more than 32 filters, the
        first 32.
    title : str

    Returns
    -------
    Figure
        Weights are shown where a filter reads colours, greys, or these and their change. The
        square is the filter's receptive field.
    """
    n_filters = min(32, len(found.patches))
    n_blocks = 2 if n_filters > 4 else 1
    n_rows = -(-n_filters // n_blocks)
    kernels = [_kernel_images(found, index) for index in range(n_filters)]
    n_kernels, n_patches = len(kernels[0]), found.patches.shape[1]
    width = n_kernels + n_patches
    ratios = ([1.0] * width + [0.5]) * n_blocks
    with style():
        figure, axes = _grid(n_rows, len(ratios), cell=0.62, ratios=ratios)
        for place in axes.ravel():
            place.set_axis_off()
        for index in range(n_filters):
            block, row = divmod(index, n_rows)
            cells = axes[row, block * (width + 1) :]
            for cell, kernel in zip(cells, kernels[index], strict=False):
                cell.imshow(kernel, interpolation="nearest")
            for cell, patch in zip(cells[n_kernels:width], found.patches[index], strict=True):
                cell.imshow(patch, interpolation="nearest")
                _mark_field(cell, len(patch), found.field)
            cells[0].text(-0.15, 0.5, str(index + 1), transform=cells[0].transAxes, ha="right",
                          va="center", fontsize=8)  # fmt: skip
            if row == 0:
                names = [*("weights", "of change")[:n_kernels], "strongest"]
                for cell, name in zip(cells, names, strict=False):
                    cell.set_title(name, fontsize=7, loc="left")
        _entitle(figure, title)
    return figure


def draw_feature_maps(
    crop: npt.NDArray[np.uint8], maps: Mapping[str, npt.NDArray[np.float32]], *, title: str
) -> Figure:
    """Draw the feature maps of an image, one row per layer.

    Parameters
    ----------
    crop : (H, W, 3) uint8
    maps : dict of str to (h, w, C) float32
        By layer, one or more; see `microx.explain.filters.feature_maps`. The `MOST_CHANNELS`
        channels that are strongest on average are shown, each from its least (dark) to its
        most (light).
    title : str

    Returns
    -------
    Figure
    """
    n_columns = 1 + min(MOST_CHANNELS, max(one.shape[-1] for one in maps.values()))
    with style():
        figure, axes = _grid(len(maps), n_columns, left=1.2)
        for cell in axes.ravel():
            cell.set_visible(False)
        for row, (layer, one) in enumerate(maps.items()):
            strongest = np.argsort(-np.abs(one).mean(axis=(0, 1)), kind="stable")
            for cell, channel in zip(axes[row, 1:], strongest.tolist(), strict=False):
                cell.set_visible(True)
                cell.imshow(one[..., channel], cmap="viridis", interpolation="nearest")
                cell.set_title(str(channel + 1), fontsize=7, pad=2)
            text = f"{layer}\n{one.shape[0]} x {one.shape[1]}"
            axes[row, 1].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
        axes[0, 0].set_visible(True)
        axes[0, 0].imshow(crop, interpolation="bicubic")
        _entitle(figure, title)
    return figure


def draw_weights(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw the weight of each stream over a video.

    Parameters
    ----------
    table : DataFrame
        See `microx.explain.attribution.region_weights`; a row or more.
    title : str

    Returns
    -------
    Figure
        The dotted line is the weight of each if all were equal.
    """
    streams = [name for name in table.columns if name != "time_s"]
    with style():
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for place, stream in enumerate(streams):
            colour, line = _LINES[place % len(_LINES)]
            marker = "o" if len(table) == 1 else ""
            axes.plot(table["time_s"], table[stream], color=colour, ls=line, lw=1.8, marker=marker,
                      label=stream.replace("_", " "))  # fmt: skip
        axes.axhline(1 / len(streams), color=GREY, ls=":", lw=1, label="equal weights", zorder=0)
        axes.set_ylim(0, max(0.05, float(table[streams].to_numpy().max())) * 1.1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlabel("middle of the clip (s)")
        axes.set_ylabel("weight")
        figure.legend(loc="outside right center", frameon=False, fontsize=9, handlelength=3)
        axes.set_title(title, loc="left", fontweight="bold")
    return figure


def _grid(
    n_rows: int,
    n_columns: int,
    *,
    cell: float = _CELL,
    left: float = 0.0,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, npt.NDArray[Any]]:
    """Axes for images, without ticks."""
    across = sum(ratios) if ratios is not None else n_columns
    figure = Figure(
        figsize=(1.3 + left + cell * across, 0.6 + (cell + 0.06) * n_rows), layout="constrained"
    )
    axes = figure.subplots(
        n_rows, n_columns, squeeze=False, gridspec_kw={"width_ratios": ratios} if ratios else None
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.015, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
    for one in axes.ravel():
        one.set_xticks([])
        one.set_yticks([])
        for spine in one.spines.values():
            spine.set_visible(False)
    return figure, axes


def _entitle(figure: Figure, title: str) -> None:
    width = int(11 * figure.get_figwidth())  # letters of 10 points to an inch, about
    figure.suptitle(textwrap.fill(title, width), x=0.01, ha="left", fontsize=10, fontweight="bold")


def _name_row(axes: Axes, name: str) -> None:
    axes.set_ylabel(name.replace("_", "\n"), rotation=0, ha="right", va="center", fontsize=9)


def _grey(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """A crop without colour, enlarged, (h, w, 3) in [0, 1]."""
    grow = max(1, 96 // len(crop))
    size = (crop.shape[1] * grow, crop.shape[0] * grow)
    large = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_CUBIC)
    return np.repeat(large[..., None] / 255.0, 3, axis=-1)


def _lay_over(axes: Axes, crop: npt.NDArray[np.uint8], cam: npt.NDArray[np.float32]) -> None:
    grey = _grey(crop)
    large = cv2.resize(cam, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
    colour = _HEAT(large)[..., :3]
    alpha = 0.8 * np.sqrt(large)[..., None]
    axes.imshow(grey * (1 - alpha) + colour * alpha, interpolation="nearest")
    if large.max() > 0.5:
        axes.contour(large, levels=[0.5], colors=["white"], linewidths=0.8)


def _kernel_images(found: FilterResponses, index: int) -> list[npt.NDArray[np.float32]]:
    """A filter's weights as images: grey is 0, brighter is more; none where unreadable."""
    if found.kernels is None or found.kernels.shape[-1] not in (1, 2, 3, 6):
        return []
    kernel = found.kernels[index]
    kernel = 0.5 + 0.5 * kernel / max(float(np.abs(kernel).max()), 1e-12)
    n_channels = kernel.shape[-1]
    each = 3 if n_channels % 3 == 0 else 1
    parts = [kernel[..., first : first + each] for first in range(0, n_channels, each)]
    return [np.repeat(part, 3 // each, axis=-1) for part in parts]


def _mark_field(axes: Axes, side: int, field: int) -> None:
    if field < side:
        corner = (side // 2 - field / 2, side // 2 - field / 2)
        axes.add_patch(Rectangle(corner, field, field, fill=False, ec=VERMILLION, lw=0.9))
