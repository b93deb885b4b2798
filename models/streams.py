"""One stream of the network: from the clips of one or several regions to a softmax.

A block is a function from tensor to tensor; each of its layers is named after the stream
and its role, such as ``mouth_conv_lstm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from microx.errors import ModelError
from microx.models.conv_lstm import ConvLSTM, classic_hard_sigmoid
from microx.schema import INPUTS, JOINED, REGIONS

_LEAST_VARIANCE = 1e-3
"""Added to a variance before it divides, as Keras's own normalisations do."""


def parse_streams(streams: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """List the regions that each stream reads.

    Parameters
    ----------
    streams : sequence of str
        Regions, names of `microx.schema.JOINED`, or several of both joined by ``+``: one stream
        each.

    Returns
    -------
    dict of str to tuple of str
        Stream to its regions.

    Raises
    ------
    ModelError
        If there is none, a name is unknown, or a region is given twice.

    Examples
    --------
    >>> parse_streams(["eyes", "nose+mouth"])
    {'eyes': ('right_eye', 'left_eye'), 'nose+mouth': ('nose', 'mouth')}
    """
    parsed = {
        stream: tuple(region for part in stream.split("+") for region in JOINED.get(part, (part,)))
        for stream in streams
    }
    read = [region for regions in parsed.values() for region in regions]
    is_repeated = len(set(read)) < len(read) or len(parsed) < len(streams)
    if not read or set(read) - set(REGIONS) or is_repeated:
        raise ModelError(
            f"regions must be one or more of {', '.join(REGIONS)}, or {' or '.join(JOINED)}, "
            f"joined by + for one stream of several, each region once; "
            f"found {', '.join(streams) or 'none'}"
        )
    return parsed


def check_ends(inputs: str, n_classes: int) -> None:
    """Refuse an unknown kind of pixels or fewer than two classes: `ModelError`."""
    if inputs not in INPUTS:
        raise ModelError(f"inputs must be one of {', '.join(INPUTS)}; found '{inputs}'")
    if n_classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes; found {n_classes}")


def list_regions(streams: Sequence[str]) -> tuple[str, ...]:
    """List the regions that streams read, in order; see `parse_streams`."""
    return tuple(region for regions in parse_streams(streams).values() for region in regions)


def name_layers(streams: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Give each stream the prefix of its layers' names: TensorFlow's graphs allow no ``+``."""
    return {stream.replace("+", "_and_"): regions for stream, regions in streams.items()}


def side_by_side(clips: dict[str, Any], regions: Sequence[str], stream: str) -> Any:
    """Join a stream's clips (B, T, H, W, C) along the width; one alone stays as it is."""
    if len(regions) == 1:
        return clips[regions[0]]
    return layers.Concatenate(axis=3, name=f"{stream}_join")([clips[region] for region in regions])


def paper_block(x: Any, stream: str, n_classes: int) -> Any:
    """The stream of the MicroX paper: ConvLSTM, flattened head, softmax.

    Parameters
    ----------
    x : tensor (B, T, H, W, C)
        H and W must be at least 3.
    stream : str
        Prefix of every layer's name.
    n_classes : int

    Returns
    -------
    tensor (B, n_classes)
        Rows sum to 1.

    Notes
    -----
    Source: MicroX paper, section on the model, and its released code (second dropout).
    `RawPixels` turns our pixels into those of its authors.
    """
    x = ConvLSTM(64, 3, recurrent_activation=classic_hard_sigmoid, name=f"{stream}_conv_lstm")(x)
    x = layers.Dropout(0.2, name=f"{stream}_dropout")(x)  # (B, H-2, W-2, 64), the last step only
    x = layers.Flatten(name=f"{stream}_flatten")(x)
    x = layers.Dense(256, activation="relu", name=f"{stream}_dense")(x)
    x = layers.Dropout(0.3, name=f"{stream}_dense_dropout")(x)
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name=f"{stream}_softmax")(
        x
    )


@keras.saving.register_keras_serializable(package="microx")
class RawPixels(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Converts pixels to those of the MicroX authors: RGB in [0, 1] -> BGR in [0, 255].

    Notes
    -----
    Takes and gives (B, T, H, W, C). Source: MicroX's released code, which reads images by OpenCV
    and does not scale them. With its SGD at a rate of 1e-3, pixels in [0, 1] stayed at chance for
    40 epochs; raw ones did not.
    """

    def call(self, x: Any) -> Any:
        """Scale pixels, and reverse the order of their channels."""
        # By split and concatenate: not every export format supports a reversed slice.
        return 255.0 * ops.concatenate(ops.split(x, x.shape[-1], axis=-1)[::-1], axis=-1)


@keras.saving.register_keras_serializable(package="microx")
class ClipNormalization(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Removes the mean and scale of each channel of a clip, and with them skin tone and light.

    Notes
    -----
    Takes and gives (B, T, H, W, C). Nothing is learned, and clips are independent, so training
    and inference are the same. Instance normalisation (Ulyanov et al., 2016) over time as well
    as space: changes between frames are kept.
    """

    def call(self, x: Any) -> Any:
        """Normalise clips."""
        x = ops.cast(x, "float32")  # squares of half precision lose the variance
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        square = ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True)
        variance = ops.maximum(square - ops.square(mean), 0)  # rounding may leave less
        scale = ops.rsqrt(variance + _LEAST_VARIANCE)
        return ops.cast(x * scale - mean * scale, self.compute_dtype)


def add_change(x: Any, *, side: int = 3, least: float = 0.1, scale: float = 10.0) -> Any:
    """Append to the channels of a clip their change since its first frame.

    Parameters
    ----------
    x : tensor (B, T, H, W, C)
        With a standard deviation of about 1, as from `ClipNormalization`.
    side : int
        Pixels along a side of the square over which a change is averaged.
    least : float
        Soft threshold of a change, in the units of `x`.
    scale : float
        Factor for what exceeds the threshold.

    Returns
    -------
    tensor (B, T, H, W, 2 C)

    Notes
    -----
    Our choice, see docs/models.md: small movements are weak against the appearance of a face, and
    once amplified, the noise of a camera and its codec is stronger than the appearance. Soft
    thresholding (Donoho, 1995) removes the noise and keeps the order of larger changes.
    """
    change = x - x[:, :1]
    frames = ops.reshape(change, (-1, *x.shape[2:]))
    change = ops.reshape(ops.average_pool(frames, side, 1, padding="same"), (-1, *x.shape[1:]))
    beyond = change - ops.clip(change, -least, least)
    return ops.concatenate([x, scale * beyond], axis=-1)


def compact_block(x: Any, stream: str, n_classes: int) -> Any:
    """A small stream: strided convolutions, a ConvLSTM on 4 x 4 cells, a pooled head.

    Parameters
    ----------
    x : tensor (B, T, H, W, C)
        H and W must be at least 17.
    stream : str
        Prefix of every layer's name.
    n_classes : int

    Returns
    -------
    tensor (B, n_classes)
        Rows sum to 1.

    Notes
    -----
    Our choice, tried out on drawn actors; see docs/models.md.
    """
    n_frames = x.shape[1]
    for step, filters in enumerate((16, 24, 32), start=1):
        # Frame by frame, as if the clips of a batch were one long clip.
        x = ops.reshape(x, (-1, *x.shape[2:]))
        x = layers.Conv2D(filters, 3, 2, padding="same", name=f"{stream}_conv_{step}")(x)
        x = ops.reshape(x, (-1, n_frames, *x.shape[1:]))  # (B, T, H / 2**step, W / 2**step, …)
        x = ClipNormalization(name=f"{stream}_norm_{step}")(x)
        x = layers.ReLU(name=f"{stream}_relu_{step}")(x)
    x = ConvLSTM(32, 3, name=f"{stream}_conv_lstm")(x)  # (B, H / 8 - 2, W / 8 - 2, 32)
    cells = max(1, x.shape[1] // 2)
    x = layers.AveragePooling2D(cells, padding="same", name=f"{stream}_pool")(x)
    x = layers.Flatten(name=f"{stream}_flatten")(x)
    x = layers.Dropout(0.3, name=f"{stream}_dropout")(x)
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name=f"{stream}_softmax")(
        x
    )
