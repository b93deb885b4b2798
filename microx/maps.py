"""Pictures of why a model answers as it does: of the arrays that `microx.explain` gives.

Like `microx.figures`, each function takes plain arrays and gives a figure. Crops are drawn
grey, so that colour means one thing; maps go from dark to light, or from purple to orange,
and can be told apart by the colour-blind and without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from microx.anatomy import Stream, find_stream_of, find_streams
from microx.corpus import Corpus
from microx.dataset import ClipDataset
from microx.errors import InputError
from microx.explain import (
    grad_cam,
    list_frames,
    occlusion_sensitivity,
    open_for_model,
    region_weights,
)
from microx.figures import GREY, VERMILLION, _style, write_figure
from microx.files import whole_file
from microx.filters import FilterResponses, feature_maps, find_filter_responses
from microx.modelfiles import load_model
from microx.models.fusion import needs_present

MOST_FRAMES, MOST_CHANNELS, MOST_CLIPS = 10, 8, 200
"""Drawn of a clip and of a layer, and clips searched for what excites filters (our choice)."""

_LINES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#222222", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", (0, (1, 1))),
    ("#56B4E9", (0, (7, 2))),
)
_CELL = 0.85  # inches


def draw_cam(
    crops: Mapping[str, npt.NDArray[np.uint8]],
    cam: Mapping[str, npt.NDArray[np.float32]],
    times_s: Sequence[float],
    *,
    title: str,
) -> Figure:
    """Draw a clip's frames with what spoke for an emotion laid over, one region a row.

    Parameters
    ----------
    crops : dict of str to (T, H, W, 3) uint8
        By region, a region or more.
    cam : dict of str to (T, H, W) in [0, 1]
        Of the same regions; see `microx.explain.grad_cam`.
    times_s : sequence of T float
    title : str

    Returns
    -------
    Figure
        Of more than `MOST_FRAMES` frames so many, evenly chosen. The line is half the largest
        value.
    """
    n_frames = len(times_s)
    shown = np.unique(np.linspace(0, n_frames - 1, min(n_frames, MOST_FRAMES)).round().astype(int))
    with _style():
        figure, axes = _grid(len(crops), len(shown))
        for row, region in enumerate(crops):
            for column, frame in enumerate(shown.tolist()):
                _lay_over(axes[row, column], crops[region][frame], cam[region][frame])
                if row == 0:
                    axes[row, column].set_title(f"{times_s[frame]:.2f} s", fontsize=8)
            _name_row(axes[row, 0], region)
        scale = ScalarMappable(Normalize(0, 1), "inferno")
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
    """Draw on each region's crop how much of an emotion's probability hangs on each place.

    Parameters
    ----------
    crops : dict of str to (H, W, 3) uint8
        By region, a region or more.
    drops : dict of str to (h, w) in [-1, 1]
        Of the same regions; see `microx.explain.occlusion_sensitivity`.
    title : str

    Returns
    -------
    Figure
        The crops above, below them the maps, with the largest drop of each in points.
    """
    most = max(0.01, *(float(np.abs(drop).max()) for drop in drops.values()))
    colours = ScalarMappable(Normalize(-100 * most, 100 * most), "PuOr_r")
    with _style():
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
            axes[1, column].set_xlabel(f"at most {100 * drop.max():.0f}", fontsize=8, labelpad=3)
        bar = figure.colorbar(colours, ax=axes.ravel().tolist(), fraction=0.03, pad=0.02, aspect=25)
        bar.set_label("points lost when covered", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        _entitle(figure, title)
    return figure


def draw_filters(found: FilterResponses, *, title: str) -> Figure:
    """Draw each filter of a layer, its weights and the places that excite it most.

    Parameters
    ----------
    found : FilterResponses
        See `microx.filters.find_filter_responses`. Of more than 32 filters, the first 32.
    title : str

    Returns
    -------
    Figure
        Weights are shown where a filter reads colours, greys, or these and their change. The
        square is what the filter sees.
    """
    n_filters = min(32, len(found.patches))
    n_blocks = 2 if n_filters > 4 else 1
    n_rows = -(-n_filters // n_blocks)
    pictures = [_kernel_pictures(found, index) for index in range(n_filters)]
    n_kernels, n_patches = len(pictures[0]), found.patches.shape[1]
    width = n_kernels + n_patches
    ratios = ([1.0] * width + [0.5]) * n_blocks
    with _style():
        figure, axes = _grid(n_rows, len(ratios), cell=0.62, ratios=ratios)
        for place in axes.ravel():
            place.set_axis_off()
        for index in range(n_filters):
            block, row = divmod(index, n_rows)
            cells = axes[row, block * (width + 1) :]
            for cell, picture in zip(cells, pictures[index], strict=False):
                cell.imshow(picture, interpolation="nearest")
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
    """Draw what layers make of a picture, one layer a row.

    Parameters
    ----------
    crop : (H, W, 3) uint8
    maps : dict of str to (h, w, C) float32
        By layer, one or more; see `microx.filters.feature_maps`. The `MOST_CHANNELS` channels
        that are strongest on average are shown, each from its least (dark) to its most (light).
    title : str

    Returns
    -------
    Figure
    """
    n_columns = 1 + min(MOST_CHANNELS, max(one.shape[-1] for one in maps.values()))
    with _style():
        figure, axes = _grid(len(maps), n_columns)
        for row, (layer, one) in enumerate(maps.items()):
            axes[row, 0].set_axis_off()
            strongest = np.argsort(-np.abs(one).mean(axis=(0, 1)), kind="stable")
            for cell in axes[row, 1:]:
                cell.set_visible(False)
            for cell, channel in zip(axes[row, 1:], strongest.tolist(), strict=False):
                cell.set_visible(True)
                cell.imshow(one[..., channel], cmap="viridis", interpolation="nearest")
                cell.set_title(str(channel + 1), fontsize=7, pad=2)
            text = f"{layer}\n{one.shape[0]} x {one.shape[1]}"
            axes[row, 0].text(1, 0.5, text, transform=axes[row, 0].transAxes, ha="right",
                              va="center", fontsize=8)  # fmt: skip
        axes[0, 0].imshow(crop, interpolation="bicubic")
        _entitle(figure, title)
    return figure


def draw_weights(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw what each stream counted for over a video.

    Parameters
    ----------
    table : DataFrame
        See `microx.explain.region_weights`; a row or more.
    title : str

    Returns
    -------
    Figure
        The dotted line is what each would count for if all counted alike.
    """
    streams = [name for name in table.columns if name != "time_s"]
    with _style():
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for place, stream in enumerate(streams):
            colour, line = _LINES[place % len(_LINES)]
            marker = "o" if len(table) == 1 else ""
            axes.plot(table["time_s"], table[stream], color=colour, ls=line, lw=1.8, marker=marker,
                      label=stream.replace("_", " "))  # fmt: skip
        axes.axhline(1 / len(streams), color=GREY, ls=":", lw=1, label="all alike", zorder=0)
        axes.set_ylim(0, max(0.05, float(table[streams].to_numpy().max())) * 1.1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlabel("middle of the clip (s)")
        axes.set_ylabel("counted for")
        figure.legend(loc="outside right center", frameon=False, fontsize=9, handlelength=3)
        axes.set_title(title, loc="left", fontweight="bold")
    return figure


def _grid(
    n_rows: int, n_columns: int, *, cell: float = _CELL, ratios: Sequence[float] | None = None
) -> tuple[Figure, npt.NDArray[Any]]:
    """Axes for pictures, without ticks."""
    across = sum(ratios) if ratios is not None else n_columns
    figure = Figure(
        figsize=(1.3 + cell * across, 0.6 + (cell + 0.06) * n_rows), layout="constrained"
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
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")


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
    colour = matplotlib.colormaps["inferno"](large)[..., :3]
    alpha = 0.75 * np.sqrt(large)[..., None]
    axes.imshow(grey * (1 - alpha) + colour * alpha, interpolation="nearest")
    if large.max() > 0.5:
        axes.contour(large, levels=[0.5], colors=["white"], linewidths=0.8)


def _kernel_pictures(found: FilterResponses, index: int) -> list[npt.NDArray[np.float32]]:
    """A filter's weights as pictures: grey is 0, brighter more than that; none where unreadable."""
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


def write_explanation(
    model_path: str | Path,
    corpus: Corpus,
    video_id: str,
    out: str | Path,
    *,
    emotion: str | None = None,
    layer: str | None = None,
) -> list[Path]:
    """Draw why a model names a video of a corpus as it does.

    Parameters
    ----------
    model_path : path
        See `microx.modelfiles.find_model`.
    corpus : Corpus
        Made by the recipe of the model's.
    video_id : str
        Of the corpus.
    out : path
        Folder for the pictures, made if need be. Files of the same names are replaced.
    emotion : str, optional
        What to explain; by default what the video is named: the largest mean of its clips.
    layer : str, optional
        A layer whose filters to draw, see `microx.anatomy.Stream.map_layers`; by default the
        first and the last of the stream that counts most.

    Returns
    -------
    list of Path
        ``<video>.cam.png`` and ``.occlusion.png``, of the clip that says so most clearly;
        ``.maps.png``, what the layers of one stream make of its middle frame;
        ``.filters.<layer>.png``, their best places in up to `MOST_CLIPS` clips of the corpus;
        of a model that weighs its streams ``.weights.csv`` and ``.weights.png``.

    Raises
    ------
    ModelError
        If model and corpus do not fit, or the model knows no such layer.
    InputError
        If there is no such video or emotion, the video has no whole clip, or `out` is no folder.

    Examples
    --------
    >>> write_explanation("RUN", corpus, "S05_sad_1", "why")  # doctest: +SKIP
    [PosixPath('why/S05_sad_1.cam.png'), …]
    """
    model, facts = load_model(model_path)
    dataset = open_for_model(model, facts, corpus, video_id=video_id)
    label, place, prob = _choose(model, dataset, facts["classes"], emotion)
    folder, clip = _make_folder(out), _take_clip(dataset, place)
    frames = list_frames(dataset, len(corpus.read_frames_found(video_id)))[place]
    times = corpus.read_ledger(video_id)["time_s"].to_numpy(float)[frames]
    crops = {
        region: corpus.read_crops(video_id, region, frames)
        for region in facts["regions"]
        if region in corpus.regions
    }
    title = f"{video_id}, {times[0]:.2f} s: {facts['classes'][label]} {100 * prob:.0f} %"
    if video_id in facts["trained_on"]["videos"]:
        title += ", learned from this video"
    cam = grad_cam(model, clip, label)
    drops = {name: maps[0] for name, maps in occlusion_sensitivity(model, clip, label).items()}
    figures = {
        "cam": draw_cam(crops, {name: maps[0] for name, maps in cam.items()}, times, title=title),
        "occlusion": draw_occlusion(_middle(crops), drops, title=title),
    }
    table = None
    if needs_present(model):
        table = region_weights(model, facts, corpus, video_id)
        figures["weights"] = draw_weights(table, title=f"{video_id}: what each stream counted for")
    stream = _main_stream(model, table, layer)
    figures |= _draw_layers(model, facts, corpus, clip, crops, stream, layer)
    written = [
        write_figure(figure, folder / f"{video_id}.{name}.png") for name, figure in figures.items()
    ]
    if table is not None:
        with whole_file(folder / f"{video_id}.weights.csv") as partial:
            table.to_csv(partial, index=False, float_format="%.4f")
        written.append(folder / f"{video_id}.weights.csv")
    return written


def _choose(
    model: Any, dataset: ClipDataset, classes: Sequence[str], emotion: str | None
) -> tuple[int, int, float]:
    """Choose the emotion and the clip to explain; and how probable the one is in the other."""
    if emotion is not None and emotion not in classes:
        raise InputError(f"emotion must be one of {', '.join(classes)}; found {emotion!r}")
    prob = np.concatenate(
        [model.predict_on_batch(dataset[index][0]) for index in range(len(dataset))]
    )
    label = int(prob.mean(axis=0).argmax()) if emotion is None else classes.index(emotion)
    place = int(prob[:, label].argmax())
    return label, place, float(prob[place, label])


def _take_clip(dataset: ClipDataset, place: int) -> dict[str, npt.NDArray[np.float32]]:
    """Take one clip of a dataset, as a batch of one."""
    index, row = divmod(place, dataset.batch_size)
    return {name: x[row : row + 1] for name, x in dataset[index][0].items()}


def _middle(crops: Mapping[str, npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.uint8]]:
    return {region: each[len(each) // 2] for region, each in crops.items()}


def _main_stream(model: Any, table: pd.DataFrame | None, layer: str | None) -> Stream:
    """The stream of a layer, or else the one that counts most."""
    if layer is not None:
        return find_stream_of(model, layer)
    streams = {stream.name: stream for stream in find_streams(model)}
    if table is None:
        return next(iter(streams.values()))
    return streams[str(table.drop(columns="time_s").mean().idxmax())]


def _draw_layers(
    model: Any,
    facts: Mapping[str, Any],
    corpus: Corpus,
    clip: Mapping[str, npt.NDArray[np.float32]],
    crops: Mapping[str, npt.NDArray[np.uint8]],
    stream: Stream,
    layer: str | None,
) -> dict[str, Figure]:
    """Draw what a stream's layers make of a clip's middle frame, and what excites filters."""
    shown = [name for name in stream.map_layers if "relu" in name or "conv_lstm" in name]
    shown = [shown[at] for at in np.unique(np.linspace(0, len(shown) - 1, 6).round().astype(int))]
    each = {name: feature_maps(model, clip, name)[0] for name in shown}
    maps = {name: one[len(one) // 2] for name, one in each.items()}
    picture = np.concatenate([_middle(crops)[r] for r in stream.regions if r in crops], axis=1)
    figures = {"maps": draw_feature_maps(picture, maps, title=f"What {stream.name} makes of it")}
    searched = open_for_model(model, facts, corpus, most=MOST_CLIPS)
    for name in [layer] if layer else dict.fromkeys([shown[0], stream.last_map]):
        batches = (searched[index][0] for index in range(len(searched)))
        found = find_filter_responses(model, batches, name)
        figures[f"filters.{name}"] = draw_filters(found, title=f"What excites {name}")
    return figures


def _make_folder(out: str | Path) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: expected a folder to write to; {error.strerror}") from None
    return Path(out)
