"""The systems MicroX is compared with: convolutional networks that read one image.

Six builders of one signature. Each reads a clip of one frame; the images of several regions are
concatenated side by side and read as one. Layers are named after the regions and their role, such
as ``face_conv_1``. What a system's description leaves open, above all widths, is our choice and
marked so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from microx.errors import ModelError
from microx.models.hog import BLOCK, CELL, HOG
from microx.models.streams import check_ends, list_regions
from microx.schema import EMOTIONS, INPUTS

FER_SIZE = 48
"""Pixels along a side of an image of FER2013, which most of these systems were trained on."""

APEX_SIZE = 340
"""Pixels along the longer side of a face in CASME II, about 280 x 340 (Yan et al., 2014)."""

APEX_PADDED = 400
"""Pixels along a side of the black square that the apex-frame network pads a face to."""

# Of batch normalisation, as in PyTorch and torchvision (which call Keras's 0.9 0.1): with Keras's
# default 0.99 the averages lag behind in trainings as short as these.
_MOMENTUM, _EPSILON = 0.9, 1e-5


def build_fer_cnn(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "grey",
    seed: int | None = None,
) -> keras.Model:
    """Build the small network of the meeting-recording system, untrained.

    Parameters
    ----------
    regions : sequence of str
        One or more, as in `microx.models.build_microx`; several are concatenated side by side in
        this order, also those of a joined name.
    n_frames : int
        Frames in a clip: 1.
    size : int
        H = W in pixels of a crop, at least 16.
    n_classes : int
        K, at least 2.
    inputs : str
        Kind of pixels, one of `microx.schema.INPUTS`; decides the channels C.
    seed : int, optional
        Sets Keras's global seed before the weights are initialised. None does not set it.

    Returns
    -------
    keras.Model
        Takes ``{region: (B, n_frames, H, W, C) float32}``, gives (B, K) rows that sum to 1.
        Not compiled.

    Raises
    ------
    ModelError
        If an argument is not usable.

    Notes
    -----
    Only the data and training of the system are described (FER2013 and 1,000 own faces, 48 x 48
    grey, batch 32, 50 epochs, 66 %). Our choice: four blocks of a convolution with batch
    normalisation, a pool and a dropout of 0.25, as is common for small networks on FER2013.

    Examples
    --------
    >>> build_fer_cnn().output_shape
    (None, 7)
    """
    tensors, x, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=16)
    blocks = ((1, 64), (1, 128), (1, 256), (1, 256))
    x = _convolutions(x, name, blocks, batch_norm=True, dropout=0.25)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(256, activation="relu", name=f"{name}_dense")(x)
    x = layers.Dropout(0.5, name=f"{name}_dense_dropout")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="fer_cnn")


def build_apex_dcnn(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = APEX_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "grey",
    pad_to: int | None = APEX_PADDED,
    normalise: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build the deep apex-frame network, untrained: 47 layers.

    Parameters
    ----------
    regions, n_classes, inputs, seed
        As in `build_fer_cnn`. Two classes are for whether there is an expression at all.
    n_frames : {1, 3}
        1 is the apex frame; 3 are onset, apex and offset, read as channels of one image.
    size : int
        H = W in pixels of a crop, at least 16 unless padded. The default is our choice: the
        largest face of the network's own corpus, which fits into 400 pixels.
    pad_to : int, optional
        Each crop is padded with zeros to a square of this side, which for ``"rgb"`` and
        ``"grey"`` are black. None reads the crops as they are.
    normalise : bool
        Whether each image, once padded, is normalised to mean 0 and variance 1, as in the paper;
        the stacked frames of a clip count as one image.

    Returns
    -------
    keras.Model
        As in `build_fer_cnn`, also for errors.

    Notes
    -----
    Source: the apex-frame network on CASME II: 14 times convolution, batch normalisation and
    ReLU, 4 max pools and one fully connected layer, on faces padded black to 400 x 400. Our
    choice: 3, 3, 4 and 4 convolutions before each pool, 8 to 64 wide, so that a CPU can train on
    254 images of this size; no bias, since batch normalisation has its own. We do not know
    whether the paper normalised before or after padding.

    Examples
    --------
    >>> build_apex_dcnn(n_frames=3, n_classes=2).input_shape
    (None, 3, 340, 340, 1)
    """
    if pad_to is not None and (not isinstance(pad_to, int) or isinstance(pad_to, bool)):
        raise ModelError(f"pad_to must be a whole number, or null; found {pad_to!r}")
    tensors, x, name = read_image(
        *(regions, n_frames, size, n_classes, inputs, seed),
        least=16,
        allowed_frames=(1, 3),
        pad_to=pad_to,
    )
    if not isinstance(normalise, bool):
        raise ModelError(f"normalise must be true or false; found {normalise!r}")
    if normalise:
        x = layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, name=f"{name}_image_norm"
        )(x)
    x = _convolutions(x, name, ((3, 8), (3, 16), (4, 32), (4, 64)), batch_norm=True)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="apex_dcnn")


def build_cnn6(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "grey",
    hog: bool = False,
    l2: float = 0.0,
    dropout: float = 0.0,
    batch_norm: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build the network of six convolutions, untrained.

    Parameters
    ----------
    regions, n_frames, n_classes, inputs, seed
        As in `build_fer_cnn`.
    size : int
        H = W in pixels of a crop, at least 8, with `hog` 16.
    hog : bool
        Whether histograms of oriented gradients of the same pixels (`microx.models.hog.HOG`)
        join the convolutions' features before the dense layer.
    l2 : float
        Penalty on the squared weights of the convolutions and the first dense layer, at least
        0; 0 is none.
    dropout : float
        Share of the values dropped after each pool and after the dense layer, in [0, 1).
    batch_norm : bool
        Whether each convolution is followed by batch normalisation.

    Returns
    -------
    keras.Model
        As in `build_fer_cnn`, also for errors.

    Notes
    -----
    Source: the six-convolution system: 48 x 48 grey, 3 x 3 ReLU convolutions, 2 x 2 max pools,
    flatten, dense, softmax; its abstract adds the options. Our choice: two convolutions before
    each pool, 32, 64 and 128 wide, 256 in the dense layer, and the places of the options.

    Examples
    --------
    >>> build_cnn6(hog=True, dropout=0.3).output_shape
    (None, 7)
    """
    for argument, value in (("hog", hog), ("batch_norm", batch_norm)):
        if not isinstance(value, bool):
            raise ModelError(f"{argument} must be true or false; found {value!r}")
    if not _is_number(l2) or not 0 <= l2 < math.inf:
        raise ModelError(f"l2 must be a number of at least 0; found {l2!r}")
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise ModelError(f"dropout must be a number in [0, 1); found {dropout!r}")
    least = CELL * BLOCK if hog else 8
    tensors, image, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=least)
    x = _convolutions(
        *(image, name, ((2, 32), (2, 64), (2, 128))),
        batch_norm=batch_norm,
        l2=l2,
        dropout=dropout,
    )
    x = layers.Flatten(name=f"{name}_flatten")(x)
    if hog:
        edges = HOG(dtype="float32", name=f"{name}_hog")(image)
        x = layers.Concatenate(name=f"{name}_join_hog")([x, edges])
    x = layers.Dense(256, activation="relu", kernel_regularizer=_l2(l2), name=f"{name}_dense")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dense_dropout")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="cnn6")


def build_cnn1(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "rgb",
    seed: int | None = None,
) -> keras.Model:
    """Build CNN1, untrained: nine convolutions in three blocks, three dense layers.

    Parameters
    ----------
    regions, n_frames, n_classes, inputs, seed
        As in `build_fer_cnn`.
    size : int
        H = W in pixels of a crop, at least 8.

    Returns
    -------
    keras.Model
        As in `build_fer_cnn`, also for errors.

    Notes
    -----
    Source: the comparison of CNN1, CNN2 and ResNet18. Our choice: 3 x 3 convolutions 32, 64 and
    128 wide, a 2 x 2 max pool after each block, dense layers as wide as CNN2's.

    Examples
    --------
    >>> build_cnn1().output_shape
    (None, 7)
    """
    tensors, x, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=8)
    x = _convolutions(x, name, ((3, 32), (3, 64), (3, 128)))
    x = layers.Flatten(name=f"{name}_flatten")(x)
    for step, units in enumerate((1024, 512), start=1):
        x = layers.Dense(units, activation="relu", name=f"{name}_dense_{step}")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="cnn1")


def build_cnn2(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "rgb",
    seed: int | None = None,
) -> keras.Model:
    """Build CNN2, untrained: twelve convolutions in four blocks, three dense layers.

    Parameters
    ----------
    regions, n_frames, n_classes, inputs, seed
        As in `build_fer_cnn`.
    size : int
        H = W in pixels of a crop, at least 16.

    Returns
    -------
    keras.Model
        As in `build_fer_cnn`, also for errors.

    Notes
    -----
    Source: the comparison of CNN1, CNN2 and ResNet18, which drops 0.5 after the dense layers of
    1024 and 512. Our choice: 3 x 3 convolutions, three a block, 32, 64, 128 and 256 wide, and a
    2 x 2 max pool after each block.

    Examples
    --------
    >>> build_cnn2().output_shape
    (None, 7)
    """
    tensors, x, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=16)
    x = _convolutions(x, name, ((3, 32), (3, 64), (3, 128), (3, 256)))
    x = layers.Flatten(name=f"{name}_flatten")(x)
    for step, units in enumerate((1024, 512), start=1):
        x = layers.Dense(units, activation="relu", name=f"{name}_dense_{step}")(x)
        x = layers.Dropout(0.5, name=f"{name}_dense_dropout_{step}")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="cnn2")


def build_resnet18(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "rgb",
    seed: int | None = None,
) -> keras.Model:
    """Build ResNet18 with 512 ReLU units before its classes, untrained.

    Parameters
    ----------
    regions, n_frames, n_classes, inputs, seed
        As in `build_fer_cnn`.
    size : int
        H = W in pixels of a crop, at least 32: the last stage then has a single cell.

    Returns
    -------
    keras.Model
        As in `build_fer_cnn`, also for errors.

    Notes
    -----
    Source: He et al., "Deep Residual Learning for Image Recognition" (2015), table 1 with
    projection shortcuts, in torchvision's form (``resnet18``: borders of zeros on both sides
    before strided steps); head of the comparison of CNN1, CNN2 and ResNet18. With the same
    weights, torchvision 0.28 gave the same 512 means to 1e-5.

    Examples
    --------
    >>> build_resnet18().output_shape
    (None, 7)
    """
    tensors, x, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=32)
    x = convolve_and_normalise(x, 64, 7, 2, f"{name}_stem")
    x = layers.ReLU(name=f"{name}_stem_relu")(x)
    # After a ReLU a border of zeros is equivalent to torchvision's of minus infinity.
    x = layers.ZeroPadding2D(1, name=f"{name}_pool_border")(x)
    x = layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in (1, 2):
            stride = 2 if block == 1 and stage > 1 else 1
            x = add_residual_block(x, filters, stride, f"{name}_stage_{stage}_{block}")
    x = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    x = layers.Dense(512, activation="relu", name=f"{name}_dense")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="resnet18")


def read_image(
    regions: Sequence[str],
    n_frames: int,
    size: int,
    n_classes: int,
    inputs: str,
    seed: int | None,
    *,
    least: int,
    allowed_frames: tuple[int, ...] = (1,),
    pad_to: int | None = None,
) -> tuple[dict[str, Any], Any, str]:
    """Check the arguments; return the model's inputs, the joined image, and its name."""
    regions = list_regions(regions)
    check_ends(inputs, n_classes)
    if n_frames not in allowed_frames:
        expected = " or ".join(str(count) for count in allowed_frames)
        raise ModelError(f"n_frames must be {expected} for this network; found {n_frames}")
    if size < 1 or (pad_to or size) < least:
        raise ModelError(
            f"this network reads images of at least {least} x {least} pixels; "
            f"found {pad_to or size} x {pad_to or size}"
        )
    if pad_to is not None and size > pad_to:
        raise ModelError(
            f"crops of {size} pixels do not fit a square of {pad_to}; "
            f"set pad_to to {size} or more, or to None"
        )
    if seed is not None:
        keras.utils.set_random_seed(seed)
    shape = (n_frames, size, size, INPUTS[inputs])
    tensors = {region: keras.Input(shape, name=region) for region in regions}
    images = [_lay_out(tensors[region], region, pad_to) for region in regions]
    name = "_".join(regions)
    if len(images) == 1:
        return tensors, images[0], name
    x = layers.Concatenate(axis=2, name=f"{name}_side_by_side")(images)
    return tensors, x, name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lay_out(x: Any, region: str, pad_to: int | None) -> Any:
    """One image (B, H, W, T C) of a clip (B, T, H, W, C), padded with zeros to `pad_to`."""
    _, n_frames, size, _, channels = x.shape
    if n_frames > 1:
        x = layers.Permute((2, 3, 1, 4), name=f"{region}_frames_last")(x)  # (B, H, W, T, C)
    x = layers.Reshape((size, size, n_frames * channels), name=f"{region}_image")(x)
    if pad_to is None or pad_to == size:
        return x
    before = (pad_to - size) // 2
    border = (before, pad_to - size - before)
    return layers.ZeroPadding2D((border, border), name=f"{region}_border")(x)


def _convolutions(
    x: Any,
    name: str,
    blocks: Sequence[tuple[int, int]],
    *,
    batch_norm: bool = False,
    l2: float = 0.0,
    dropout: float = 0.0,
) -> Any:
    """Blocks of (number, filters) 3 x 3 ReLU convolutions, each followed by a 2 x 2 max pool."""
    step = 0
    for block, (n_convolutions, filters) in enumerate(blocks, start=1):
        for _ in range(n_convolutions):
            step += 1
            x = layers.Conv2D(
                *(filters, 3),
                padding="same",
                use_bias=not batch_norm,
                # He et al., 2015: keeps the signal's scale through a dozen ReLU layers.
                kernel_initializer="he_normal",
                kernel_regularizer=_l2(l2),
                name=f"{name}_conv_{step}",
            )(x)
            if batch_norm:
                x = layers.BatchNormalization(
                    momentum=_MOMENTUM, epsilon=_EPSILON, name=f"{name}_norm_{step}"
                )(x)
            x = layers.ReLU(name=f"{name}_relu_{step}")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool_{block}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"{name}_dropout_{block}")(x)
    return x


def _l2(l2: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(l2) if l2 else None


def add_residual_block(x: Any, filters: int, stride: int, name: str) -> Any:
    """Two 3 x 3 convolutions, their input added: the basic block of ResNet18."""
    shortcut = x
    if stride > 1:
        shortcut = convolve_and_normalise(x, filters, 1, stride, f"{name}_shortcut")
    x = convolve_and_normalise(x, filters, 3, stride, f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = convolve_and_normalise(x, filters, 3, 1, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def convolve_and_normalise(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    """A convolution without bias between equal borders of zeros, and batch normalisation."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_border")(x)
    x = layers.Conv2D(
        *(filters, kernel, stride),
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=f"{name}_norm")(x)


def add_softmax(x: Any, name: str, n_classes: int) -> Any:
    """The class probabilities, in float32 also if the rest has half precision."""
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name=f"{name}_softmax")(x)
