"""Histograms of oriented gradients as a Keras layer, so that a saved model is self-contained."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from microx.errors import ModelError

N_ORIENTATIONS, CELL, BLOCK = 9, 8, 2
"""Orientations within 180 degrees, pixels along a cell, cells along a block (Dalal & Triggs)."""

CLIP = 0.2
"""Where L2-Hys clips a normalised block (Lowe's number, adopted by Dalal & Triggs)."""

# Keeps a block without edges at 0; the number is scikit-image's (``skimage.feature.hog``).
_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="microx")
class HOG(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Describe images by the directions of their edges: (B, H, W, C) -> (B, n).

    Each pixel votes with the length of its gradient, divided between the two nearest of 9
    unsigned directions. Blocks of 16 x 16 pixels have a stride of 8, each of 2 x 2 cells; a vote
    is divided among a block's cells by distance, and weighs less far from the block's centre. A
    block is scaled to length 1, clipped at 0.2 and scaled again. n is (H // 8 - 1) (W // 8 - 1)
    36: blocks row by row, in each the 9 directions, in each of these the 4 cells row by row. Rows
    and columns beyond the last block are left out.

    H and W must be at least 16, one block, else `ModelError`. Nothing is learned. An empty
    batch gives (0, n). Of several channels the one with the longest gradient counts, pixel by
    pixel. At the border of the image the gradient across it is 0.

    Notes
    -----
    Source: Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection" (2005),
    section 6, without gamma, since a difference of frames may be negative. OpenCV's
    ``HOGDescriptor`` without gamma differs by 0.01 on average (``tests/models/test_hog.py``):
    its spatial weights are half a pixel off the centre, here a mirrored image has a mirrored
    descriptor.

    Examples
    --------
    >>> HOG()(keras.ops.zeros((2, 48, 48, 1))).shape[1]
    900
    """

    def call(self, images: Any) -> Any:
        """Compute the descriptor of each image.

        Parameters
        ----------
        images : tensor (B, H, W, C)
            Pixels in [0, 1] or [-1, 1].

        Returns
        -------
        tensor (B, n)
            In [0, 1]; all 0 for an image of one colour.
        """
        length = _length(images.shape)
        votes = _votes(*_gradient(images))
        weights = ops.convert_to_tensor(_cell_weights(), dtype=votes.dtype)
        blocks = ops.depthwise_conv(
            votes, weights, strides=CELL, padding="valid", data_format="channels_last"
        )  # (B, H // 8 - 1, W // 8 - 1, 9 x 4)
        blocks = _unit(ops.minimum(_unit(blocks), CLIP))
        return ops.reshape(blocks, (-1, length))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Shape (B, n) of the descriptors of images (B, H, W, C).

        Raises
        ------
        ModelError
            If an image is smaller than one block.
        """
        return input_shape[0], _length(input_shape)


def _length(shape: tuple[int | None, ...]) -> int:
    height, width = (int(side or 0) for side in shape[1:3])
    if min(height, width) < CELL * BLOCK:
        raise ModelError(
            f"HOG needs images of at least {CELL * BLOCK} x {CELL * BLOCK} pixels; "
            f"found {height} x {width}"
        )
    n_blocks = (height // CELL - BLOCK + 1) * (width // CELL - BLOCK + 1)
    return n_blocks * BLOCK * BLOCK * N_ORIENTATIONS


def _gradient(images: Any) -> tuple[Any, Any]:
    """Differences (B, H, W) across and down, of each pixel's steepest channel."""
    across = images[:, :, 2:] - images[:, :, :-2]
    across = ops.pad(across, ((0, 0), (0, 0), (1, 1), (0, 0)))
    down = images[:, 2:] - images[:, :-2]
    down = ops.pad(down, ((0, 0), (1, 1), (0, 0), (0, 0)))
    # Channel by channel: argmax and max of Keras fail in TFLite and on an empty batch.
    best_across, best_down = across[..., 0], down[..., 0]
    for channel in range(1, images.shape[-1]):
        x, y = across[..., channel], down[..., channel]
        longer = x**2 + y**2 > best_across**2 + best_down**2
        best_across = ops.where(longer, x, best_across)
        best_down = ops.where(longer, y, best_down)
    return best_across, best_down


def _votes(across: Any, down: Any) -> Any:
    """Length of the gradient, divided between the two nearest directions (B, H, W, 9)."""
    # 1e-6, far less than a grey level, gives a flat image finite derivatives, and no vote.
    length = ops.sqrt(across**2 + down**2 + 1e-12) - 1e-6
    # In bins: 0 is the centre of the first, and 9 bins (180 degrees) further is the same bin.
    angle = ops.arctan2(down, across + 1e-6) * (N_ORIENTATIONS / math.pi) - 0.5
    away = angle[..., None] - ops.arange(N_ORIENTATIONS, dtype=angle.dtype)
    away = away - N_ORIENTATIONS * ops.round(away / N_ORIENTATIONS)
    return length[..., None] * ops.relu(1.0 - ops.abs(away))


def _cell_weights() -> np.ndarray:
    """Weight of each pixel of a block for each of its cells, (16, 16, 9, 4)."""
    middle = np.arange(CELL * BLOCK) + 0.5 - CELL * BLOCK / 2
    gaussian = np.exp(-0.5 * (middle / (CELL * BLOCK / 4)) ** 2)
    centres = (np.arange(BLOCK) - (BLOCK - 1) / 2) * CELL
    side = np.maximum(1 - np.abs(middle[:, None] - centres) / CELL, 0) * gaussian[:, None]
    weights = np.einsum("yr,xc->yxrc", side, side).reshape(CELL * BLOCK, CELL * BLOCK, 1, -1)
    return np.tile(weights, (1, 1, N_ORIENTATIONS, 1)).astype(np.float32)


def _unit(blocks: Any) -> Any:
    return blocks / ops.sqrt(ops.sum(blocks**2, axis=-1, keepdims=True) + _EPSILON**2)
