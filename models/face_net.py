"""The network of a face in one image: small enough for a laptop, and what the package ships."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from microx.models.baselines import (
    FER_SIZE,
    add_residual_block,
    add_softmax,
    convolve_and_normalise,
    read_image,
)
from microx.schema import EMOTIONS

_STEM, _STAGES = 32, (64, 128, 192)
"""Filters of the first convolution and of each residual block."""


def build_face_net(
    regions: Sequence[str] = ("face",),
    *,
    n_frames: int = 1,
    size: int = FER_SIZE,
    n_classes: int = len(EMOTIONS),
    inputs: str = "grey",
    dropout: float = 0.3,
    seed: int | None = None,
) -> keras.Model:
    """Build the network of a face in one image, untrained: 871,143 parameters.

    Parameters
    ----------
    regions, n_frames, n_classes, inputs, seed
        As in `microx.models.build_fer_cnn`.
    size : int
        H = W in pixels of a crop, at least 16.
    dropout : float
        Before the classes, in [0, 1).

    Returns
    -------
    keras.Model
        As in `microx.models.build_fer_cnn`, also for errors.

    Notes
    -----
    Our choice: each image without its mean and scale, a strided 5 x 5 convolution, and three basic
    residual blocks (He et al., 2015) of 64, 128 and 192 filters, all strided: 22 million
    multiplications for a face of 48 pixels. See docs/pretrained.md.

    Examples
    --------
    >>> build_face_net().count_params()
    871143
    """
    tensors, x, name = read_image(regions, n_frames, size, n_classes, inputs, seed, least=16)
    x = layers.GroupNormalization(1, center=False, scale=False, name=f"{name}_normalise")(x)
    x = convolve_and_normalise(x, _STEM, 5, 2, f"{name}_stem")
    x = layers.ReLU(name=f"{name}_stem_relu")(x)
    for stage, filters in enumerate(_STAGES, start=1):
        x = add_residual_block(x, filters, 2, f"{name}_stage_{stage}")
    x = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return keras.Model(tensors, add_softmax(x, name, n_classes), name="face_net")
