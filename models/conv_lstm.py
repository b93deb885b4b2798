"""The ConvLSTM layer: a convolutional memory that reads a clip frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from microx.errors import ModelError
from microx.models.winograd import KERNEL, Tiles, transform_kernel

METHODS = ("auto", "direct", "winograd", "dense")

# Measured: on smaller maps and with fewer filters Winograd's transforms cost more than the
# multiplications they save; on maps of few cells a convolution costs more than a matrix product.
_LEAST_SIDE, _LEAST_FILTERS, _MOST_CELLS = 12, 32, 9


@keras.saving.register_keras_serializable(package="microx")  # type: ignore[untyped-decorator]
def classic_hard_sigmoid(x: Any) -> Any:
    """The hard sigmoid of Keras before version 3: ``clip(0.2 x + 0.5, 0, 1)``.

    Parameters
    ----------
    x : tensor, any shape

    Returns
    -------
    tensor
        Same shape, in [0, 1].

    Notes
    -----
    Source: Keras 2.3, ``keras/backend/tensorflow_backend.py``, ``hard_sigmoid``, the default
    recurrent activation of ConvLSTM2D at the time of the MicroX paper. Keras 3 uses the same
    word for ``relu6(x + 3) / 6``, whose slope is 1/6, and made sigmoid the default.

    Examples
    --------
    >>> [float(y) for y in classic_hard_sigmoid(keras.ops.array([-3.0, 0.0, 1.0]))]
    [0.0, 0.5, 0.699999988079071]
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="microx")
class ConvLSTM(keras.layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """The layer of `keras.layers.ConvLSTM2D`, with the same weights and outputs, but faster.

    The four gates are one convolution at each step, over the frame and the hidden state
    concatenated; at the first step over the frame only. Large maps are convolved by
    `microx.models.winograd`; on the smallest, the step is a matrix product.

    Parameters
    ----------
    filters : int
    kernel_size : int
        Odd.
    padding : {"valid", "same"}
        Of the convolution over the frames; that over the hidden state keeps its size.
    recurrent_activation : str or callable
        Of the gates: ``"sigmoid"``, as in Keras 3, or `classic_hard_sigmoid`.
    return_sequences : bool
        Whether to return the state after each frame, or the last only.
    method : {"auto", "direct", "winograd", "dense"}
        How to convolve. ``"auto"`` is dense up to 9 cells (H' x W'), and Winograd's method for
        3 x 3 kernels on maps of 12 cells or more a side with 32 filters or more, computed in
        float32 without a GPU: a GPU's own library chooses its method, and half precision is too
        inaccurate.

    Raises
    ------
    ModelError
        If the kernel is even or does not fit the frames, or the method cannot be used.

    Notes
    -----
    Takes (B, T, H, W, C), gives (B, H', W', filters), or (B, T, H', W', filters) with
    `return_sequences`; H' = H - kernel_size + 1 where valid. T, H, W must be known. Weights:
    kernel (k, k, C, 4 filters), recurrent_kernel (k, k, filters, 4 filters) and bias
    (4 filters), gates in the order input, forget, candidate, output, as in Keras.
    Source: Shi et al. (2015), "Convolutional LSTM Network", without peepholes, as Keras.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        *,
        padding: str = "valid",
        recurrent_activation: str | Callable[[Any], Any] = "sigmoid",
        return_sequences: bool = False,
        method: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size % 2 == 0 or padding not in ("valid", "same") or method not in METHODS:
            raise ModelError(
                "a ConvLSTM needs an odd kernel_size, padding valid or same and method "
                f"{', '.join(METHODS)}; found {kernel_size}, {padding} and {method}"
            )
        if method == "winograd" and kernel_size != KERNEL:
            raise ModelError(f"method winograd needs kernel_size {KERNEL}; found {kernel_size}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.padding = padding
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.return_sequences = return_sequences
        self.method = method
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, initialised as in Keras's ConvLSTM2D."""
        k, n_gates = self.kernel_size, 4 * self.filters
        channels, (height, width) = input_shape[-1], self._map_size(input_shape)
        if None in input_shape[1:] or min(height, width) < 1:
            raise ModelError(
                f"{self.name}: expected clips (B, T, H, W, C) of known sizes, frames of at least "
                f"{k} x {k}; found {tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            shape=(k, k, channels, n_gates), initializer="glorot_uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(k, k, self.filters, n_gates), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(n_gates,), initializer=_forget_nothing, name="bias")

    def call(self, x: Any) -> Any:
        """Read a clip."""
        border = self.kernel_size // 2
        height, width = self._map_size(x.shape)
        if self.padding == "same":
            x = ops.pad(x, ((0, 0), (0, 0), (border, border), (border, border), (0, 0)))
        frames = ops.unstack(x, axis=1)  # indexing instead would fill the gradient with zeros
        method = self._choose_method(height, width)
        if method == "winograd":
            return self._read_tiles(frames, Tiles(height, width))
        if method == "dense":
            return self._read_flat(x, height, width)
        return self._read(frames, border)

    def _read(self, frames: list[Any], border: int) -> Any:
        """Read frames by the backend's own convolution."""
        joined = ops.concatenate([self.kernel, self.recurrent_kernel], axis=2)
        around = ((0, 0), (border, border), (border, border), (0, 0))
        z = ops.conv(frames[0], self.kernel) + self.bias
        hidden, cell = self._step(z, None)
        states = [hidden]
        for frame in frames[1:]:
            z = ops.conv(ops.concatenate([frame, ops.pad(hidden, around)], axis=-1), joined)
            hidden, cell = self._step(z + self.bias, cell)
            states.append(hidden)
        return ops.stack(states, axis=1) if self.return_sequences else hidden

    def _read_tiles(self, frames: list[Any], tiles: Tiles) -> Any:
        """Read frames by Winograd's convolution; the state stays in tiles between steps."""
        kernel = transform_kernel(self.kernel)
        joined = ops.concatenate([kernel, transform_kernel(self.recurrent_kernel)], axis=1)
        z = tiles.convolve(tiles.transform(frames[0], border=0), kernel) + self.bias
        hidden, cell = self._step(z, None)
        states = [tiles.to_map(hidden)]
        for frame in frames[1:]:
            seen = tiles.transform(frame, border=0)
            kept = tiles.transform(states[-1], border=1)
            z = tiles.convolve(ops.concatenate([seen, kept], axis=-1), joined)
            hidden, cell = self._step(z + self.bias, cell)
            states.append(tiles.to_map(hidden))
        return ops.stack(states, axis=1) if self.return_sequences else states[-1]

    def _read_flat(self, x: Any, height: int, width: int) -> Any:
        """Read a clip whose state has so few cells that one dense matrix product is fastest."""
        n_frames, n_cells, side = x.shape[1], height * width, height * width * self.filters
        # Flat from the start, gate by gate: a step is then a product, a sum and the gates.
        z = ops.conv(ops.reshape(x, (-1, *x.shape[2:])), self.kernel) + self.bias
        z = ops.transpose(ops.reshape(z, (-1, n_cells, 4, self.filters)), (0, 2, 1, 3))
        sums = ops.unstack(ops.reshape(z, (-1, n_frames, 4 * side)), axis=1)
        places = ops.cast(_neighbours(height, width, self.kernel_size), z.dtype)
        taps = ops.reshape(self.recurrent_kernel, (self.kernel_size**2, -1))
        matrix = ops.reshape(
            ops.matmul(places, taps), (n_cells, n_cells, self.filters, 4, self.filters)
        )
        matrix = ops.reshape(ops.transpose(matrix, (0, 2, 3, 1, 4)), (side, 4 * side))
        hidden, cell = self._step(sums[0], None)
        states = [hidden]
        for z in sums[1:]:
            hidden, cell = self._step(z + ops.matmul(hidden, matrix), cell)
            states.append(hidden)
        shape = (height, width, self.filters)
        if self.return_sequences:
            return ops.reshape(ops.stack(states, axis=1), (-1, n_frames, *shape))
        return ops.reshape(hidden, (-1, *shape))

    def _step(self, z: Any, cell: Any | None) -> tuple[Any, Any]:
        """Return the hidden state and the cell after the gates' sums `z`."""
        gate_in, gate_forget, candidate, gate_out = ops.split(z, 4, axis=-1)
        new = self.recurrent_activation(gate_in) * ops.tanh(candidate)
        cell = new if cell is None else self.recurrent_activation(gate_forget) * cell + new
        return self.recurrent_activation(gate_out) * ops.tanh(cell), cell

    def _choose_method(self, height: int, width: int) -> str:
        if self.method != "auto":
            return self.method
        if height * width <= _MOST_CELLS:
            return "dense"
        pays = min(height, width) >= _LEAST_SIDE and self.filters >= _LEAST_FILTERS
        if pays and self.kernel_size == KERNEL and self.compute_dtype == "float32":
            return "direct" if _is_on_gpu() else "winograd"
        return "direct"

    def _map_size(self, shape: tuple[int | None, ...]) -> tuple[int, int]:
        lost = self.kernel_size - 1 if self.padding == "valid" else 0
        return tuple((cells or 0) - lost for cells in shape[2:4])  # type: ignore[return-value]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the output of `call`."""
        frames = input_shape[1:2] if self.return_sequences else ()
        return (input_shape[0], *frames, *self._map_size(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {  # type: ignore[no-any-return]
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "padding": self.padding,
            "recurrent_activation": keras.activations.serialize(self.recurrent_activation),
            "return_sequences": self.return_sequences,
            "method": self.method,
        }


def _forget_nothing(shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Bias of the gates at the start: 1 for the forget gate, else 0 (Jozefowicz et al., 2015)."""
    return ops.concatenate(
        [ops.ones((n,), dtype) if gate == 1 else ops.zeros((n,), dtype)
         for gate, n in enumerate([shape[0] // 4] * 4)]
    )  # fmt: skip


def _is_on_gpu() -> bool:
    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        return bool(ops.zeros(1).device.type != "cpu")
    return not all(name.startswith("cpu") for name in keras.distribution.list_devices())


def _neighbours(height: int, width: int, kernel_size: int) -> npt.NDArray[np.float32]:
    """For each pair of cells (from, to), the tap of the kernel between them: one-hot, or zeros."""
    cells = np.stack(np.meshgrid(range(height), range(width), indexing="ij"), -1).reshape(-1, 2)
    steps = cells[:, None] - cells[None] + kernel_size // 2  # (from, to, 2)
    is_tap = np.all((steps >= 0) & (steps < kernel_size), axis=-1)
    taps = np.eye(kernel_size**2, dtype=np.float32)[np.where(is_tap, steps @ (kernel_size, 1), 0)]
    return np.asarray(np.where(is_tap[..., None], taps, 0), np.float32)
