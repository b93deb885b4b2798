"""What training minimises and what its epochs are judged by: the answer's loss and its streams'.

A model of streams gives (B, 1 + S, K) while it is trained: its answer, then that of each stream.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="microx")  # type: ignore[untyped-decorator]
def answer_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of clips whose answer is right, (B,); of (B, 1 + S, K) the first row answers."""
    return keras.metrics.categorical_accuracy(y_true, _answer(y_pred))


class AnswerLoss(keras.metrics.MeanMetricWrapper):  # type: ignore[misc]
    """The loss of a model's answer alone, by which its best epoch is chosen."""

    def __init__(self, label_smoothing: float) -> None:
        """Take how much of each target is spread over all classes."""
        super().__init__(self._measure, name="answer_loss")
        self._label_smoothing = label_smoothing

    def _measure(self, y_true: Any, y_pred: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            y_true, _answer(y_pred), label_smoothing=self._label_smoothing
        )


class StreamLoss(keras.losses.Loss):  # type: ignore[misc]
    """The loss of the answer, and a share of the mean loss of the streams behind it."""

    def __init__(self, label_smoothing: float, auxiliary: float) -> None:
        """Take how much of a target is spread, and the weight of the streams' loss."""
        super().__init__(name="stream_loss")
        self._label_smoothing, self._auxiliary = label_smoothing, auxiliary

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Measure a batch."""

        def loss(answer: Any) -> Any:
            return keras.losses.categorical_crossentropy(
                y_true, answer, label_smoothing=self._label_smoothing
            )

        total = loss(_answer(y_pred))
        if len(y_pred.shape) == 2 or self._auxiliary == 0:
            return total
        streams = [loss(answer) for answer in ops.unstack(y_pred, axis=1)[1:]]
        return total + self._auxiliary * sum(streams) / len(streams)


def _answer(y_pred: Any) -> Any:
    return y_pred[:, 0] if len(y_pred.shape) == 3 else y_pred
