"""The parts of a trained network: its streams, what each reads, and what its layers give.

The layers of every network of `microx.models` are named after their stream and their role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from microx.errors import ModelError
from microx.models.fusion import PRESENT
from microx.models.streams import parse_streams

Clips = Mapping[str, npt.NDArray[np.float32]]
Maps = dict[str, npt.NDArray[np.float32]]

RUN_EAGERLY = keras.backend.backend() != "jax"
"""A single run is not worth compiling; only JAX is slower without."""

# Layers with these endings arrange pixels; what a stream learns comes after them.
_LAYING_OUT = ("frames_last", "image", "border", "shown", "standardise")


@dataclass(frozen=True)
class Stream:
    """A part of a network that sees one image, or one clip.

    Attributes
    ----------
    name : str
        Its regions joined by ``+``, or a name of `microx.schema.JOINED`.
    regions : tuple of str
        Seen side by side, in this order.
    layers : tuple of keras.layers.Layer
        What follows the image, in order.
    """

    name: str
    regions: tuple[str, ...]
    layers: tuple[Any, ...]

    @property
    def map_layers(self) -> tuple[str, ...]:
        """Names of the layers that give maps, over place or over time and place."""
        return tuple(layer.name for layer in self.layers if len(layer.output.shape) >= 4)

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Names of the plain convolutions."""
        return tuple(one.name for one in self.layers if isinstance(one, keras.layers.Conv2D))

    @property
    def cam_layer(self) -> str:
        """Name of the first layer that gives maps over time and place, or else the last of all."""
        over_time = [layer.name for layer in self.layers if len(layer.output.shape) == 5]
        return over_time[0] if over_time else self.map_layers[-1]

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of what the stream sees, in pixels."""
        height, width = self.layers[0].input.shape[-3:-1]
        return height, width

    def split(self, maps: npt.NDArray[np.float32], size: int) -> Maps:
        """Enlarge maps (B, T, h, w) to the crops: (B, T, size, size), by region."""
        height, width = self.image_hw
        flat = maps.reshape(-1, *maps.shape[2:])
        drawn = np.stack(
            [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in flat]
        ).reshape(*maps.shape[:2], height, width)
        corners = {region: self.corner_of(region, size) for region in self.regions}
        return {
            region: drawn[:, :, top : top + size, left : left + size]
            for region, (top, left) in corners.items()
        }

    def corner_of(self, region: str, size: int) -> tuple[int, int]:
        """Top and left, in the image, of the crop of a region."""
        height, width = self.image_hw
        border = (height - size) // 2
        return border, border + self.regions.index(region) * (width // len(self.regions))

    def field_of(self, layer: str) -> tuple[int, int, float]:
        """Receptive field of a layer's cell, step between cells, middle of the first, in px.

        The normalisation of a clip, which mixes in all of it, is not counted.
        """
        field, step, middle = 1, 1, 0.0
        for one in self.layers:
            if "_shortcut" not in one.name:
                kernel, stride, before = _window(one)
                middle += ((kernel - 1) / 2 - before) * step
                field += (kernel - 1) * step
                step *= stride
            if one.name == layer:
                break
        return field, step, middle


def find_streams(model: keras.Model) -> list[Stream]:
    """Find the streams of a network of `microx.models`, by the names of its layers.

    Raises
    ------
    ModelError
        If the network is not one of them.

    Examples
    --------
    >>> from microx.models import build_microx
    >>> [one.regions for one in find_streams(build_microx(("eyes", "mouth")))]
    [('right_eye', 'left_eye'), ('mouth',)]
    """
    inputs = [tensor.name for tensor in model.inputs if tensor.name != PRESENT]
    names = [layer.name for layer in model.layers]
    stems = [name.removesuffix("_softmax") for name in names if name.endswith("_softmax")]
    if "fusion" in stems:
        stems.remove("fusion")
        regions = parse_streams([stem.replace("_and_", "+") for stem in stems])
    else:  # one image of all regions, named after them in their order
        regions = {stem: tuple(sorted(inputs, key=stem.find)) for stem in stems}
    if sorted(region for read in regions.values() for region in read) != sorted(inputs):
        raise ModelError(
            f"expected a network of microx.models, whose layer names give their regions; "
            f"found {model.name}"
        )
    streams = []
    for stream, read in regions.items():
        stem = stream.replace("+", "_and_")  # as `microx.models.multistream` names layers
        before = {f"{region}_{end}" for region in read for end in _LAYING_OUT}
        before |= {f"{stem}_join", f"{stem}_side_by_side"}
        own = (one for one in model.layers if one.name.startswith(f"{stem}_"))
        streams.append(Stream(stream, read, tuple(one for one in own if one.name not in before)))
    return streams


def find_stream_of(model: keras.Model, layer: str) -> Stream:
    """Find the stream that a layer of maps belongs to; `ModelError` if there is no such layer."""
    streams = find_streams(model)
    for stream in streams:
        if layer in stream.map_layers:
            return stream
    names = [name for stream in streams for name in stream.map_layers]
    raise ModelError(
        f"expected a layer of {model.name} that gives maps; found {layer!r}; known: "
        f"{', '.join(names[:6])}{' …' if len(names) > 6 else ''}"
    )


def complete_clips(model: keras.Model, clips: Clips) -> dict[str, npt.NDArray[np.float32]]:
    """Check that clips fit a network; all regions are present, unless ``"present"`` says otherwise.

    Raises
    ------
    ModelError
        If a region's clips are missing or of another shape.
    """
    shapes = {tensor.name: tuple(tensor.shape) for tensor in model.inputs}
    for name, (_, *shape) in shapes.items():
        if name == PRESENT:
            continue
        if name not in clips or list(clips[name].shape[1:]) != shape:
            found = clips[name].shape if name in clips else "none"
            raise ModelError(
                f"clips for region {name!r} must have shape (B, {', '.join(map(str, shape))}); "
                f"found {found}"
            )
    given = {name: clips[name] for name in shapes if name in clips}
    if PRESENT in shapes and PRESENT not in clips:
        n_clips = len(next(iter(given.values())))
        given[PRESENT] = np.ones((n_clips, shapes[PRESENT][1]), np.float32)
    return given


def stop_at(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """A model of the same weights that gives the outputs of some layers, as a list."""
    below = keras.Model(model.inputs, [model.get_layer(name).output for name in layers])
    below.run_eagerly = RUN_EAGERLY
    return below


def read_layers(below: keras.Model, clips: Clips) -> list[npt.NDArray[np.float32]]:
    """Give the outputs for clips of the layers that a model of `stop_at` ends in.

    Those of compact that see frames one by one give (B T, h, w, C).
    """
    outputs = below.predict_on_batch(complete_clips(below, clips))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [np.asarray(output, np.float32) for output in outputs]


def _window(layer: Any) -> tuple[int, int, int]:
    """Kernel, stride and pixels put before the first, of a layer along one side."""
    config = layer.get_config()
    padding = config.get("padding", "valid")
    if not isinstance(padding, str):  # of a layer that only puts zeros around
        return 1, 1, int(padding[0][0])
    kernel = _first(config.get("kernel_size", config.get("pool_size", 1)))
    stride = _first(config.get("strides", 1))
    if padding == "valid":
        return kernel, stride, 0
    n_pixels = layer.input.shape[-3]
    needed = (-(-n_pixels // stride) - 1) * stride + kernel
    return kernel, stride, max(needed - n_pixels, 0) // 2


def _first(sides: Any) -> int:
    return int(sides[0] if isinstance(sides, list | tuple) else sides)
