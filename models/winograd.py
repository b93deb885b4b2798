"""3 x 3 convolutions with a quarter of the multiplications, as matrix products.

An image is cut into tiles of 4 x 4; each tile, with its border 6 x 6, is transformed, then
multiplied by the transformed kernel position by position, and transformed back. The sums are
those of an ordinary convolution up to rounding.

Source: Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section
4.3, F(4 x 4, 3 x 3). Ours: the first transform also adds the zero border, and is one matrix
product for each axis, since slices are cheap in the forward pass but not in the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

TILE, WINDOW, KERNEL = 4, 6, 3

_DATA = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
_BACK = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float32,
)


def transform_kernel(kernel: Any) -> Any:
    """Transform a kernel (3, 3, C, N) to (36, C, N), once for many convolutions."""
    c, n = kernel.shape[2:]
    both = np.kron(_KERNEL, _KERNEL)
    return ops.reshape(ops.matmul(both, ops.reshape(kernel, (KERNEL**2, c * n))), (-1, c, n))


class Tiles:
    """Transforms between a map of H x W cells and its tiles.

    Parameters
    ----------
    height, width : int
        Of the output map of the convolution, at least 1.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._count = (-(-height // TILE), -(-width // TILE))

    def transform(self, x: Any, border: int) -> Any:
        """Transform the tiles of an image.

        Parameters
        ----------
        x : tensor (B, H + 2 - 2 border, W + 2 - 2 border, C)
        border : {0, 1}
            Zeros to be added on each side: 0 for an image, 1 for a map.

        Returns
        -------
        tensor (36, n tiles, C)
        """
        rows, columns, channels = x.shape[1:]
        n_rows, n_columns = self._count
        x = ops.matmul(
            _window_matrix(rows, n_rows, border), ops.reshape(x, (-1, rows, columns * channels))
        )
        x = ops.matmul(
            _window_matrix(columns, n_columns, border), ops.reshape(x, (-1, columns, channels))
        )
        x = ops.reshape(x, (-1, n_rows, WINDOW, n_columns, WINDOW, channels))
        return ops.reshape(ops.transpose(x, (2, 4, 0, 1, 3, 5)), (WINDOW**2, -1, channels))

    def convolve(self, tiles: Any, kernel: Any) -> Any:
        """Convolve transformed tiles (36, n, C) with a kernel (36, C, N): cells (16, n, N)."""
        n_filters = kernel.shape[-1]
        sums = ops.reshape(ops.matmul(tiles, kernel), (WINDOW**2, -1))
        return ops.reshape(ops.matmul(np.kron(_BACK, _BACK), sums), (TILE**2, -1, n_filters))

    def to_map(self, cells: Any) -> Any:
        """Put cells (16, n, N) in their places: (B, H, W, N)."""
        (n_rows, n_columns), n_filters = self._count, cells.shape[-1]
        cells = ops.reshape(cells, (TILE, TILE, -1, n_rows, n_columns, n_filters))
        cells = ops.transpose(cells, (2, 3, 0, 4, 1, 5))
        height, width = self._size
        whole = ops.reshape(cells, (-1, TILE * n_rows, TILE * n_columns, n_filters))
        return whole[:, :height, :width]


def _window_matrix(size: int, n_tiles: int, border: int) -> npt.NDArray[np.float32]:
    """Matrix from an axis of `size` cells to its transformed windows, 6 for each tile."""
    matrix = np.zeros((n_tiles * WINDOW, size), np.float32)
    for tile in range(n_tiles):
        for position in range(WINDOW):
            cell = TILE * tile + position - border
            if 0 <= cell < size:  # beyond are zeros
                matrix[tile * WINDOW : (tile + 1) * WINDOW, cell] = _DATA[:, position]
    return matrix
