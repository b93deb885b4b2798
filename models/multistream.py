"""Region streams fused into one model of the emotion of a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from microx.errors import ModelError
from microx.models.streams import compact_block, paper_block
from microx.schema import CLIP_FRAMES, CROP_SIZE, DEFAULT_REGIONS, EMOTIONS, REGIONS

PAPER_SIZE = 60
"""Pixels along a side of a crop in the paper's printed model (its text says 30)."""

# Block, its usual size and its least size in pixels.
_BLOCKS: dict[str, tuple[Callable[[Any, str, int], Any], int, int]] = {
    "compact": (compact_block, CROP_SIZE, 17),
    "paper": (paper_block, PAPER_SIZE, 3),
}
PRESETS: tuple[str, ...] = tuple(_BLOCKS)


def build_microx(
    regions: Sequence[str] = DEFAULT_REGIONS,
    *,
    preset: str = "compact",
    n_frames: int = CLIP_FRAMES,
    size: int | None = None,
    n_classes: int = len(EMOTIONS),
    channels: int = 3,
    seed: int | None = None,
) -> keras.Model:
    """Build the untrained MicroX network: one ConvLSTM stream per region, softmaxes fused.

    Parameters
    ----------
    regions : sequence of str
        One or more of `microx.schema.REGIONS`, each once.
    preset : {"compact", "paper"}
        ``"paper"`` is the published network, 276,362,527 parameters with five regions at
        60 pixels. ``"compact"`` keeps its idea in 428,407.
    n_frames, size, channels : int
        T, H = W in pixels and C of every region's clip; `size` None means the preset's own,
        32 for compact and 60 for paper.
    n_classes : int
        K, at least 2.
    seed : int, optional
        Sets Keras's global seed before the weights are drawn. None leaves it alone.

    Returns
    -------
    keras.Model
        Takes ``{region: (B, T, H, W, C) float32 in [0, 1]}``, gives (B, K) rows that sum
        to 1. Not compiled.

    Raises
    ------
    ModelError
        If a region, the preset or a size is not usable.

    Notes
    -----
    Source: MicroX paper, section on the model: streams end in a softmax each, and these are
    concatenated into a dense softmax. In ``"compact"`` that softmax reads the logarithms of
    the streams' and starts as their mean (our choice): on the probabilities themselves, which
    lie within [0, 1], its gradient is so small that the streams hardly learn. On drawn
    actors the mouth alone came to 0.45 that way, and to 0.95 with logarithms.

    Examples
    --------
    >>> model = build_microx(("mouth", "face"), size=32)
    >>> model.output_shape
    (None, 7)
    """
    _check_arguments(regions, preset, n_classes)
    block, own_size, least = _BLOCKS[preset]
    size = own_size if size is None else size
    if size < least or n_frames < 1 or channels < 1:
        raise ModelError(
            f"clips for preset '{preset}' must be at least (1, {least}, {least}, 1); "
            f"found ({n_frames}, {size}, {size}, {channels})"
        )
    if seed is not None:
        keras.utils.set_random_seed(seed)
    shape = (n_frames, size, size, channels)
    inputs = {region: keras.Input(shape, name=region) for region in regions}
    streams = [block(inputs[region], region, n_classes) for region in regions]
    # A single stream is still followed by the dense softmax, so that rows differ in input only.
    x = layers.Concatenate(name="fusion_concatenate")(streams) if len(streams) > 1 else streams[0]
    fusion = layers.Dense(n_classes, activation="softmax", name="fusion_softmax")
    if preset == "compact":
        y = fusion(layers.Activation(log_probability, name="fusion_log")(x))
        fusion.kernel.assign(np.tile(np.eye(n_classes), (len(streams), 1)) / len(streams))
    else:
        y = fusion(x)
    return keras.Model(inputs, y, name=f"microx_{preset}")


@keras.saving.register_keras_serializable(package="microx")  # type: ignore[untyped-decorator]
def log_probability(x: Any) -> Any:
    """Logarithm of probabilities, those below 1e-7 taken as 1e-7.

    Parameters
    ----------
    x : tensor, any shape
        In [0, 1].

    Returns
    -------
    tensor
        Same shape, in [-16.2, 0].
    """
    return keras.ops.log(keras.ops.maximum(x, 1e-7))


def _check_arguments(regions: Sequence[str], preset: str, n_classes: int) -> None:
    unknown = [region for region in regions if region not in REGIONS]
    if not regions or unknown or len(set(regions)) < len(regions):
        raise ModelError(
            f"regions must be one or more of {', '.join(REGIONS)}, each once; "
            f"found {', '.join(regions) or 'none'}"
        )
    if preset not in PRESETS:
        raise ModelError(f"preset must be one of {', '.join(PRESETS)}; found '{preset}'")
    if n_classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes; found {n_classes}")
