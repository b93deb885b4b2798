"""The losses that training minimises and chooses the epoch by: the output's and its streams'.

A model of streams gives (B, 1 + S, K) during training: its fused output, then each stream's.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="microx")  # type: ignore[untyped-decorator]
def output_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 for each clip predicted correctly, else 0, (B,); of (B, 1 + S, K) the first row counts."""
    return keras.metrics.categorical_accuracy(y_true, _output_of(y_pred))


class OutputLoss(keras.metrics.MeanMetricWrapper):  # type: ignore[misc]
    """The loss of a model's fused output alone, by which its best epoch is chosen."""

    def __init__(self, label_smoothing: float) -> None:
        """Take how much of each target is spread over all classes."""
        super().__init__(self._measure, name="output_loss")
        self._label_smoothing = label_smoothing

    def _measure(self, y_true: Any, y_pred: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            y_true, _output_of(y_pred), label_smoothing=self._label_smoothing
        )


class StreamLoss(keras.losses.Loss):  # type: ignore[misc]
    """The loss of the fused output plus a share of the mean loss of its streams."""

    def __init__(self, label_smoothing: float, auxiliary: float) -> None:
        """Take how much of each target is spread, and the weight of the streams' loss."""
        super().__init__(name="stream_loss")
        self._label_smoothing, self._auxiliary = label_smoothing, auxiliary

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Measure a batch."""

        def loss(y_pred: Any) -> Any:
            return keras.losses.categorical_crossentropy(
                y_true, y_pred, label_smoothing=self._label_smoothing
            )

        total = loss(_output_of(y_pred))
        if len(y_pred.shape) == 2 or self._auxiliary == 0:
            return total
        streams = [loss(stream) for stream in ops.unstack(y_pred, axis=1)[1:]]
        return total + self._auxiliary * sum(streams) / len(streams)


def _output_of(y_pred: Any) -> Any:
    return y_pred[:, 0] if len(y_pred.shape) == 3 else y_pred
