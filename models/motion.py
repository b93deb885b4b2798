"""Networks of micro-expressions: small, and reading how a face moved instead of how it looks.

All take the motion of a face since its onset, u, v and optical strain, of T frames, and begin with
the mean over T. See `microx.preprocessing.motion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from microx.errors import ModelError
from microx.models.fusion import PRESENT, HideMissing, RegionDropout, find_present
from microx.models.streams import (
    check_ends,
    list_regions,
    name_layers,
    parse_streams,
    side_by_side,
)
from microx.schema import EMOTIONS, INPUTS, JOINED, MOTION_SIZE, MOTION_WINDOWS, motion_window

MOTION_STREAMS = ("eyes", "nose", "mouth", "face")
"""What `build_motion` reads unless told otherwise; the eyes come with their brows."""


@keras.saving.register_keras_serializable("microx")
class MeanOfPresent(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Mean of the logits of the present streams: (B, S, K) and (B, R) to (B, K).

    Parameters
    ----------
    members : list of list of int
        For each of the S streams, which of the R regions it reads; one present region is enough.
        With none present, all logits are 0.
    """

    def __init__(self, members: list[list[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members

    def call(self, logits: Any, present: Any) -> Any:
        """Give the mean."""
        is_present = find_present(present, self.members)[..., None]
        shown = ops.where(is_present > 0, logits, ops.zeros_like(logits))
        return ops.sum(shown, axis=1) / ops.maximum(ops.sum(is_present, axis=1), 1)

    def get_config(self) -> dict[str, Any]:
        """What the layer was made of."""
        return super().get_config() | {"members": self.members}  # type: ignore[no-any-return]


def build_motion(
    regions: Sequence[str] = MOTION_STREAMS,
    *,
    n_frames: int = 1,
    size: int = MOTION_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "motion",
    region_dropout: float = 0.0,
    dropout: float = 0.5,
    seed: int | None = None,
) -> keras.Model:
    """Build microx's own network of micro-expressions: a small stream per region, logits averaged.

    Parameters
    ----------
    regions : sequence of str
        One stream each; a region of `microx.schema.MOTION_WINDOWS`, or several joined, see
        `microx.models.streams.parse_streams`.
    n_frames, size : int
        T, and the side of the motion of the whole face in pixels; a region's is its window.
    n_classes : int
        K, at least 2.
    inputs : {"motion"}
    region_dropout : float
        How often, in [0, 1), training hides each region; see `microx.models.fusion.RegionDropout`.
    dropout : float
        Before each stream's logits.
    seed : int, optional
        Sets Keras's global seed before the weights are drawn. None leaves it alone.

    Returns
    -------
    keras.Model
        Takes ``{region: (B, T, h, w, 3) float32}`` and ``"present": (B, R)``, 1 where a region is
        present and 0 where it is missing, and gives (B, K) rows that sum to 1. Not compiled.

    Raises
    ------
    ModelError
        If a region has no window, or the inputs or a size are not usable.

    Notes
    -----
    Our choice, made on half of the subjects of CASME II; see docs/micro.md. 15,092 parameters with
    four streams and 5 classes.

    Examples
    --------
    >>> build_motion(n_classes=5).count_params()
    15092
    """
    streams = parse_streams(regions)
    maps = _open_inputs(regions, n_frames, size, n_classes, inputs, seed)
    names = list(maps)
    told = keras.Input((len(names),), name=PRESENT)
    present = RegionDropout(region_dropout, seed=seed, name="region_dropout")(told)
    shown = {
        region: HideMissing(index, name=f"{region}_shown")(x, present)
        for index, (region, x) in enumerate(maps.items())
    }
    logits = []
    for name, members in name_layers(streams).items():
        x = ops.mean(side_by_side(shown, members, name), axis=1)
        logits.append(_motion_stream(x, name, n_classes, dropout, is_face=members == ("face",)))
    stacked = ops.stack(logits, axis=1)
    members_of = [[names.index(region) for region in read] for read in streams.values()]
    mean = MeanOfPresent(members_of, dtype="float32", name="fusion_mean")(stacked, present)
    y = layers.Softmax(dtype="float32", name="fusion_softmax")(mean)
    return keras.Model(maps | {PRESENT: told}, y, name="microx_motion")


def _motion_stream(x: Any, name: str, n_classes: int, dropout: float, *, is_face: bool) -> Any:
    """Two convolutions and a dense layer: (B, h, w, 3) to (B, K) logits."""
    kernel, pool = (5, 3) if is_face else (3, 2)
    for step, (filters, side, pooling) in enumerate(
        (
            (12, kernel, layers.MaxPooling2D(pool, padding="same", name=f"{name}_max_pool")),
            (16, 3, layers.AveragePooling2D(2, padding="same", name=f"{name}_average_pool")),
        ),
        start=1,
    ):
        x = layers.Conv2D(
            filters, side, padding="same", use_bias=False, name=f"{name}_convolution_{step}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_batch_norm_{step}")(x)
        x = pooling(layers.ReLU(name=f"{name}_relu_{step}")(x))
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(n_classes, name=f"{name}_dense")(x)


def build_ststnet(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = MOTION_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "motion",
    dropout: float = 0.5,
    seed: int | None = None,
) -> keras.Model:
    """Build STSTNet: three shallow branches of 3, 5 and 8 filters over one motion.

    Parameters
    ----------
    regions, n_frames, size, n_classes, inputs, dropout, seed
        As for `build_motion`; one region, by default the face.

    Returns
    -------
    keras.Model
        Takes ``{region: (B, T, h, w, 3) float32}``, gives (B, K) rows that sum to 1. Not compiled.

    Raises
    ------
    ModelError
        If there is not one region, or an argument is not usable.

    Notes
    -----
    Source: Liong et al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for
    Micro-expression Recognition", 2019. Batch normalisation and dropout are those of the authors'
    later code.

    Examples
    --------
    >>> build_ststnet(n_classes=3).count_params()
    1715
    """
    maps = _open_inputs(regions, n_frames, size, n_classes, inputs, seed, single="ststnet")
    branches = []
    for filters in (3, 5, 8):
        name = f"branch_{filters}"
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"{name}_convolution"
        )(_mean_motion(maps))
        x = layers.BatchNormalization(name=f"{name}_batch_norm")(x)
        x = layers.MaxPooling2D(3, padding="same", name=f"{name}_max_pool")(x)
        branches.append(layers.Dropout(dropout, name=f"{name}_dropout")(x))
    x = layers.Concatenate(name="fusion_concatenate")(branches)
    x = layers.AveragePooling2D(2, name="average_pool")(x)
    return keras.Model(maps, _softmax(layers.Flatten(name="flatten")(x), n_classes), name="ststnet")


def build_off_apexnet(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = MOTION_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "motion",
    seed: int | None = None,
) -> keras.Model:
    """Build OFF-ApexNet: u and v in a branch each, two dense layers of 1,024; no strain.

    Parameters
    ----------
    regions, n_frames, size, n_classes, inputs, seed
        As for `build_ststnet`.

    Returns
    -------
    keras.Model
        As `build_ststnet`.

    Raises
    ------
    ModelError
        If there is not one region, or an argument is not usable.

    Notes
    -----
    Source: Gan et al., "OFF-ApexNet on Micro-expression Recognition System", 2019.

    Examples
    --------
    >>> build_off_apexnet(n_classes=3).output_shape
    (None, 3)
    """
    maps = _open_inputs(regions, n_frames, size, n_classes, inputs, seed, single="off_apexnet")
    motion, branches = _mean_motion(maps), []
    for index, name in enumerate(("u", "v")):
        x = motion[..., index : index + 1]
        for step, filters in enumerate((6, 16), start=1):
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"{name}_convolution_{step}"
            )(x)
            x = layers.MaxPooling2D(2, name=f"{name}_max_pool_{step}")(x)
        branches.append(layers.Flatten(name=f"{name}_flatten")(x))
    x = layers.Concatenate(name="fusion_concatenate")(branches)
    for step in (1, 2):
        x = layers.Dense(1024, activation="relu", name=f"dense_{step}")(x)
    return keras.Model(maps, _softmax(x, n_classes), name="off_apexnet")


def build_sssnet(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = 64,
    n_classes: int = len(EMOTIONS),
    inputs: str = "motion",
    dropout: float = 0.5,
    seed: int | None = None,
) -> keras.Model:
    """Build SSSNet: two convolutions and a dense layer of 256 over one motion of 64 pixels.

    Parameters
    ----------
    regions, n_frames, size, n_classes, inputs, dropout, seed
        As for `build_ststnet`.

    Returns
    -------
    keras.Model
        As `build_ststnet`.

    Raises
    ------
    ModelError
        If there is not one region, or an argument is not usable.

    Notes
    -----
    Source: Varanka et al., "Data Leakage and Evaluation Issues in Micro-Expression Analysis", 2023,
    and its code (MEB).

    Examples
    --------
    >>> build_sssnet(n_classes=3).output_shape
    (None, 3)
    """
    maps = _open_inputs(regions, n_frames, size, n_classes, inputs, seed, single="sssnet")
    x = _mean_motion(maps)
    for step, (filters, kernel, pool) in enumerate(((32, 5, 3), (64, 3, 2)), start=1):
        x = layers.Conv2D(
            filters, kernel, padding="same", activation="relu", name=f"convolution_{step}"
        )(x)
        x = layers.MaxPooling2D(pool, name=f"max_pool_{step}")(x)
        x = layers.BatchNormalization(name=f"batch_norm_{step}")(x)
        x = layers.Dropout(dropout, name=f"dropout_{step}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(256, activation="relu", name="dense")(x)
    return keras.Model(maps, _softmax(x, n_classes), name="sssnet")


def _open_inputs(
    regions: Sequence[str],
    n_frames: int,
    size: int,
    n_classes: int,
    inputs: str,
    seed: int | None,
    *,
    single: str = "",
) -> dict[str, Any]:
    check_ends(inputs, n_classes)
    if inputs != "motion":
        raise ModelError(f"inputs of a network of motion must be motion; found '{inputs}'")
    read = list_regions(regions)
    if unknown := [region for region in read if region not in MOTION_WINDOWS]:
        raise ModelError(
            f"regions of motion must be of {', '.join(MOTION_WINDOWS)}, or "
            f"{next(iter(JOINED))}, which come with their brows; found {', '.join(unknown)}"
        )
    if single and len(read) != 1:
        raise ModelError(f"{single} reads one region; found {', '.join(regions)}")
    if n_frames < 1 or size < 8:
        raise ModelError(
            f"motion needs 1 frame or more of 8 pixels or more; found {n_frames} of {size}"
        )
    if seed is not None:
        keras.utils.set_random_seed(seed)
    maps = {}
    for region in read:
        rows, columns = motion_window(region, size)
        shape = (n_frames, rows.stop - rows.start, columns.stop - columns.start, INPUTS[inputs])
        maps[region] = keras.Input(shape, name=region)
    return maps


def _mean_motion(maps: dict[str, Any]) -> Any:
    (only,) = maps.values()
    return ops.mean(only, axis=1)


def _softmax(x: Any, n_classes: int) -> Any:
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name="softmax")(x)
