"""The feature maps of a layer, and what its filters respond to.

`feature_maps` gives images of the layers, as the authors of the six-convolution CNN show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from microx.errors import InputError
from microx.explain.layers import Clips, Stream, find_stream_of, read_layers, stop_at


def feature_maps(model: keras.Model, clips: Clips, layer: str) -> npt.NDArray[np.float32]:
    """Give a layer's feature maps of clips.

    Parameters
    ----------
    model, clips
        As for `microx.explain.attribution.grad_cam`.
    layer : str
        A layer of maps, such as ``"mouth_conv_1"``; see
        `microx.explain.layers.Stream.map_layers`.

    Returns
    -------
    (B, T, h, w, C) float32
        T is 1 where a network sees the frames of a clip as one image.

    Raises
    ------
    ModelError
        If there is no such layer, or it gives no maps.
    """
    find_stream_of(model, layer)
    return _read_maps(stop_at(model, [layer]), clips)


def _read_maps(below: keras.Model, clips: Clips) -> npt.NDArray[np.float32]:
    (maps,) = read_layers(below, clips)
    if maps.ndim == 5:
        return maps
    n_clips = len(next(iter(clips.values())))
    return maps.reshape(n_clips, -1, *maps.shape[1:])  # frames of a batch in a row, or none


@dataclass(frozen=True, eq=False)
class FilterResponses:
    """The strongest responses of each of the F filters of a layer.

    Attributes
    ----------
    layer : str
    kernels : (F, k, k, C) float32, or None
        The filters' weights, where the layer has any.
    patches : (F, n, p, p, 3) float32 in [0, 1]
        Cut around the strongest responses, from strongest to weakest, at most one per
        clip: as the model reads them, 0 grey where it compares frames. Grey beyond the crop.
    responses : (F, n) float32
    clips : (F, n) int
        Which clip, counted over all batches.
    field : int
        Side in pixels of the receptive field, in the middle of each patch.
    """

    layer: str
    kernels: npt.NDArray[np.float32] | None
    patches: npt.NDArray[np.float32]
    responses: npt.NDArray[np.float32]
    clips: npt.NDArray[np.int64]
    field: int


def find_filter_responses(
    model: keras.Model, batches: Iterable[Clips], layer: str, *, n_patches: int = 8
) -> FilterResponses:
    """Find the places in many clips to which each filter of a layer responds most.

    Parameters
    ----------
    model : keras.Model
    batches : iterable of dict
        Clips as for `feature_maps`; read once, and one batch held at a time.
    layer : str
        As for `feature_maps`.
    n_patches : int
        For each filter, or as many as there are clips.

    Returns
    -------
    FilterResponses

    Raises
    ------
    ModelError
        If there is no such layer, or clips do not fit the model.
    InputError
        If there is no clip.

    Notes
    -----
    Real patches, as in Zeiler and Fergus (2014), not images made by gradient ascent: those
    show what is in no clip. A patch is at least half a crop wide (our choice), so that its
    place can be recognised.
    """
    stream, below = find_stream_of(model, layer), stop_at(model, [layer])
    kept: list[tuple[Any, Any, Any]] = []
    field = first = 0
    for clips in batches:
        maps = _read_maps(below, clips)
        n_clips, n_filters = maps.shape[0], maps.shape[-1]
        flat = np.moveaxis(maps, -1, 0).reshape(n_filters, n_clips, -1)
        order = np.argsort(-flat.max(axis=2), axis=1, kind="stable")[:, :n_patches]
        places = np.take_along_axis(flat.argmax(axis=2), order, axis=1)
        where = np.stack(np.unravel_index(places, maps.shape[1:4]), axis=-1)  # (F, n, 3)
        patches, field = _cut_patches(stream, clips, layer, order, where)
        responses = np.take_along_axis(flat.max(axis=2), order, axis=1)
        kept = [_merge([*kept, (responses, patches, order + first)], n_patches)]
        first += n_clips
    if not kept:
        raise InputError(f"{layer}: expected clips to find what its filters respond to; found none")
    responses, patches, numbers = kept[0]
    kernels = None
    if layer in stream.convolutions:
        kernels = np.moveaxis(ops.convert_to_numpy(model.get_layer(layer).kernel), -1, 0)
    return FilterResponses(layer, kernels, patches, responses, numbers, field)


def _merge(parts: list[tuple[Any, Any, Any]], n: int) -> tuple[Any, Any, Any]:
    """Keep the n strongest of each filter; the first of each part is the response."""
    joined = [np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)]
    order = np.argsort(-joined[0], axis=1, kind="stable")[:, :n]
    rows = np.arange(len(order))[:, None]
    responses, patches, numbers = (array[rows, order] for array in joined)
    return responses, patches, numbers


def _cut_patches(
    stream: Stream,
    clips: Clips,
    layer: str,
    order: npt.NDArray[np.int64],
    where: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float32], int]:
    """Cut the pixels around cells (t, i, j) of a layer's maps: (F, n, p, p, 3), and the field.

    `order` (F, n) are clips, `where` (F, n, 3) the cells.
    """
    _, n_frames, size, *_ = clips[stream.regions[0]].shape
    field, step, middle = stream.field_of(layer)
    side = min(max(field, size // 2), size)
    corners = [stream.corner_of(region, size) for region in stream.regions]
    patches = np.full((*order.shape, side, side, 3), 0.5, np.float32)
    for place in np.ndindex(order.shape):
        t, *cell = where[place].tolist()
        y, x = (int(middle + at * step) for at in cell)
        which = int(np.argmin([abs(x - left - size / 2) for _, left in corners]))
        top, left = corners[which]
        frame = clips[stream.regions[which]][order[place], min(t, n_frames - 1)]
        patches[place] = _cut_patch(frame, y - top, x - left, side)
    return patches, field


def _cut_patch(
    frame: npt.NDArray[np.float32], y: int, x: int, side: int
) -> npt.NDArray[np.float32]:
    """Cut a square around a pixel, as colours in [0, 1]; grey beyond the frame."""
    colours = np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
    if frame.min() < 0:  # compared with another frame
        colours = np.asarray((colours + 1) / 2, np.float32)
    around: npt.NDArray[Any] = np.pad(
        colours, ((side, side), (side, side), (0, 0)), constant_values=0.5
    )
    top, left = y + side - side // 2, x + side - side // 2
    top, left = (min(max(at, 0), len(around) - side) for at in (top, left))
    patch: npt.NDArray[np.float32] = around[top : top + side, left : left + side].clip(0, 1)
    return patch
