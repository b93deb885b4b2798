"""Region streams fused into one model that predicts the emotion of a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from microx.errors import ModelError
from microx.models.fusion import (
    PRESENT,
    STREAMS,
    WEIGHTS,
    Fusion,
    HideMissing,
    RegionDropout,
    RegionWeights,
    StreamAnswers,
)
from microx.models.streams import (
    ClipNormalization,
    RawPixels,
    add_change,
    check_ends,
    compact_block,
    list_regions,
    name_layers,
    paper_block,
    parse_streams,
    side_by_side,
)
from microx.schema import CLIP_FRAMES, CROP_SIZE, DEFAULT_REGIONS, EMOTIONS, INPUTS

PAPER_SIZE = 60
"""Pixels along a side of a crop in the paper's printed model (its text says 30)."""

PIXELS = ("rgb", "grey")
"""Kinds of inputs that are pixels, not changes between frames."""

Block = Callable[[Any, str, int], Any]

# Block, its usual size and its least size in pixels.
_BLOCKS: dict[str, tuple[Block, int, int]] = {
    "compact": (compact_block, CROP_SIZE, 17),
    "paper": (paper_block, PAPER_SIZE, 3),
}


def build_microx(
    regions: Sequence[str] = DEFAULT_REGIONS,
    *,
    preset: str = "compact",
    n_frames: int = CLIP_FRAMES,
    size: int | None = None,
    n_classes: int = len(EMOTIONS),
    inputs: str = "rgb",
    region_dropout: float = 0.0,
    raw_pixels: bool | None = None,
    block: Block | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Build the untrained MicroX network: one ConvLSTM stream per region, softmaxes fused.

    Parameters
    ----------
    regions : sequence of str
        One stream each: a region, or several joined as ``"eyes"``, ``"eyes+brows"`` or
        ``"nose+mouth"``, whose crops the stream reads side by side; see
        `microx.models.streams.parse_streams`.
    preset : {"compact", "paper"}
        ``"paper"`` is the published network, 276,362,527 parameters with five regions at
        60 pixels. ``"compact"`` has 430,577, and can do without regions.
    n_frames, size : int
        T, and H = W in pixels of every region's clip; `size` None means the preset's own,
        32 for compact and 60 for paper.
    n_classes : int
        K, at least 2.
    inputs : {"rgb", "grey", "difference", "flow"}
        Kind of pixels, see `microx.preprocessing.motion.convert_crops`; decides C. With the first
        two, compact removes each clip's mean and scale, and also reads how the clip changed since
        its first frame.
    region_dropout : float
        For compact: probability, in [0, 1), that training drops each region; see
        `microx.models.fusion.RegionDropout`.
    raw_pixels : bool, optional
        For paper: whether its streams read 0-255 BGR, as its authors' did, converted by
        `microx.models.streams.RawPixels`. None means yes for ``"rgb"`` and ``"grey"``, no for
        the others.
    block : callable, optional
        In place of the preset's stream: from tensor (B, T, H, W, C), name and K to (B, K).
    seed : int, optional
        Sets Keras's global seed before the weights are initialised. None does not set it.

    Returns
    -------
    keras.Model
        Takes ``{region: (B, T, H, W, C) float32}`` and gives (B, K) rows that sum to 1. Not
        compiled. The compact one also takes ``"present": (B, R) float32``, 1 for a region that is
        present and 0 for a missing one, in the order of its regions; the values of a missing
        region, even nan, are ignored. With all regions missing the row is that of the fusion's
        bias; callers refuse such clips.

    Raises
    ------
    ModelError
        If a region, the preset, the inputs or a size is not usable.

    Notes
    -----
    Source: MicroX paper, section on the model: streams end in a softmax each, and these are
    concatenated into a dense softmax. In ``"compact"`` that softmax reads the logarithms of
    the streams' and starts as their mean (our choice): on the probabilities themselves, which
    are in [0, 1], its gradient is so small that the streams hardly learn. On drawn actors the
    mouth alone reached an accuracy of 0.45 that way, and 0.95 with logarithms. For the weights
    of the streams see `microx.models.fusion`.

    Examples
    --------
    >>> model = build_microx(("eyes", "face"), preset="paper", size=16)
    >>> sorted(tensor.name for tensor in model.inputs), model.output_shape
    (['face', 'left_eye', 'right_eye'], (None, 7))
    """
    streams = parse_streams(regions)
    size = _check_arguments(preset, n_frames, size, n_classes, inputs)
    if not 0 <= region_dropout < 1 or (region_dropout and preset != "compact"):
        raise ModelError(
            f"region_dropout is for preset compact, from 0 to below 1; found {region_dropout} for "
            f"{preset}"
        )
    if raw_pixels and (preset != "paper" or inputs not in PIXELS):
        raise ModelError(
            f"raw_pixels is for preset paper and inputs {' or '.join(PIXELS)}; found {preset} and "
            f"{inputs}"
        )
    if raw_pixels is None:
        raw_pixels = inputs in PIXELS
    if seed is not None:
        keras.utils.set_random_seed(seed)
    shape = (n_frames, size, size, INPUTS[inputs])
    clips = {region: keras.Input(shape, name=region) for region in list_regions(regions)}
    block = _BLOCKS[preset][0] if block is None else block
    if preset == "compact":
        return _build_compact(clips, streams, block, n_classes, region_dropout, inputs, seed)
    return _build_paper(clips, streams, block, n_classes, raw_pixels)


def _build_paper(
    clips: dict[str, Any],
    streams: dict[str, tuple[str, ...]],
    block: Block,
    n_classes: int,
    raw_pixels: bool,
) -> keras.Model:
    shown = clips
    if raw_pixels:
        shown = {region: RawPixels(name=f"{region}_raw")(clip) for region, clip in clips.items()}
    outputs = [
        block(side_by_side(shown, regions, name), name, n_classes)
        for name, regions in name_layers(streams).items()
    ]
    # A single stream is also followed by the dense softmax, so that rows differ in input only.
    x = layers.Concatenate(name="fusion_concatenate")(outputs) if len(outputs) > 1 else outputs[0]
    y = layers.Dense(n_classes, activation="softmax", dtype="float32", name="fusion_softmax")(x)
    return keras.Model(clips, y, name="microx_paper")


def _build_compact(
    clips: dict[str, Any],
    streams: dict[str, tuple[str, ...]],
    block: Block,
    n_classes: int,
    region_dropout: float,
    inputs: str,
    seed: int | None,
) -> keras.Model:
    names = list(clips)
    told = keras.Input((len(names),), name=PRESENT)
    present = RegionDropout(region_dropout, seed=seed, name="region_dropout")(told)
    shown = {}
    for index, (region, clip) in enumerate(clips.items()):
        x = HideMissing(index, name=f"{region}_shown")(clip, present)
        if inputs in PIXELS:  # the others are changes already
            x = add_change(ClipNormalization(name=f"{region}_standardise")(x))
        shown[region] = x
    logs, is_there = StreamAnswers(
        [[names.index(region) for region in regions] for regions in streams.values()],
        dtype="float32",
        name=STREAMS,
    )(
        [
            block(side_by_side(shown, regions, name), name, n_classes)
            for name, regions in name_layers(streams).items()
        ],
        present,
    )
    weights = RegionWeights(dtype="float32", name=WEIGHTS)(logs, is_there)
    y = Fusion(dtype="float32", name="fusion_softmax")(logs, weights)
    return keras.Model(clips | {PRESENT: told}, y, name="microx_compact")


def _check_arguments(
    preset: str, n_frames: int, size: int | None, n_classes: int, inputs: str
) -> int:
    if preset not in _BLOCKS:
        raise ModelError(f"`preset` must be one of {', '.join(_BLOCKS)}; found '{preset}'")
    check_ends(inputs, n_classes)
    _, own_size, least = _BLOCKS[preset]
    size = own_size if size is None else size
    if size < least or n_frames < 1:
        raise ModelError(
            f"clips for preset '{preset}' must be at least (1, {least}, {least}); "
            f"found ({n_frames}, {size}, {size})"
        )
    return size
