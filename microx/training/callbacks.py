"""Callbacks of a training: a clock, a checkpoint of the best weights, TensorBoard."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import keras

from microx.errors import ModelError
from microx.progress import Progress

WATCHED = "val_output_loss"
"""What the best epoch is chosen by: the loss of the fused output, without its streams'."""


def list_callbacks(
    model: keras.Model,
    keep: Callable[[], None],
    after_epoch: Callable[[keras.Model], None] | None,
    log_dir: str | Path | None,
) -> list[keras.callbacks.Callback]:
    """List the callbacks of a training besides its clock and early stopping.

    Raises
    ------
    ModelError
        If TensorBoard is wanted and not installed.
    """
    callbacks = [Keeper(keep)]
    if after_epoch is not None:
        call = after_epoch
        callbacks.append(
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: call(model))
        )
    if log_dir is not None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ModelError(
                f"{log_dir}: expected the package tensorboard; run: "
                "pip install 'microx[tensorboard]'"
            )
        callbacks.append(keras.callbacks.TensorBoard(str(log_dir), write_graph=False))
    return callbacks


class Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Calls back whenever the model is the best so far, to store it in case training is cut off.

    Parameters
    ----------
    keep : callable
        Called after each epoch whose validation loss is lower than any before.
    """

    def __init__(self, keep: Callable[[], None]) -> None:
        """Begin without any loss."""
        super().__init__()
        self._keep, self._lowest = keep, float("inf")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Store the model if it is better; Keras calls this."""
        told = logs or {}
        loss = told.get(WATCHED, -epoch if told else float("nan"))  # without validation, the last
        if loss < self._lowest:
            self._lowest = loss
            self._keep()


class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras carries no types
    """Measures the seconds of each epoch, validation included, and reports each to the caller."""

    def __init__(self, epochs: int, progress: Progress | None) -> None:
        """Take the maximum number of epochs and the callable that is told of each."""
        super().__init__()
        self.seconds: list[float] = []
        self._epochs = epochs
        self._progress = progress

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop the clock and report the epoch."""
        self.seconds.append(time.perf_counter() - self._start)
        if self._progress:
            told = logs or {}
            words = f"epoch {epoch + 1}, loss {told.get('output_loss', float('nan')):.2f}"
            if "val_output_accuracy" in told:
                words = f"epoch {epoch + 1}, validation accuracy {told['val_output_accuracy']:.2f}"
            self._progress(epoch + 1, self._epochs, words)
