"""Fusion of the streams of several regions, with any of them missing.

The input ``present`` says which regions a clip has. Each stream's output is weighted; the weights
of the streams that are present sum to 1, and can be read.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

PRESENT = "present"
"""Name of the input (B, R) that says which of the R regions are present: 1 or 0."""

WEIGHTS, STREAMS = "fusion_weights", "fusion_streams"
"""Names of the layers that give the weights (B, S) and the streams' outputs (B, S, K)."""

_LEAST_PROBABILITY = 1e-7


@keras.saving.register_keras_serializable(package="microx")
class RegionDropout(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Drops regions at random in training, so that a model learns to do without each.

    Parameters
    ----------
    rate : float
        Probability, in [0, 1), with which each region of a clip is dropped. A clip that would
        lose all regions keeps them all.
    seed : int, optional

    Notes
    -----
    Takes and gives (B, R), 1 where a region is present. After ModDrop of Neverova et al. (2016).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self._generator = keras.random.SeedGenerator(seed)

    def call(self, present: Any, training: bool = False) -> Any:
        """Drop some regions, if training."""
        if not training or self.rate == 0:
            return present
        sampled = keras.random.uniform(ops.shape(present), seed=self._generator)
        kept = ops.where(sampled >= self.rate, present, ops.zeros_like(present))
        return ops.where(ops.max(kept, axis=-1, keepdims=True) > 0, kept, present)

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"rate": self.rate, "seed": self.seed}  # type: ignore[no-any-return]


@keras.saving.register_keras_serializable(package="microx")
class HideMissing(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Replaces the clips of a missing region by zeros.

    Parameters
    ----------
    index : int
        Of the region, a column of `PRESENT`.

    Notes
    -----
    Takes (B, T, H, W, C), which may be nan for a missing region, and (B, R).
    """

    def __init__(self, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index

    def call(self, x: Any, present: Any) -> Any:
        """Set the clips of a missing region to zero."""
        is_there = ops.reshape(present[:, self.index], (-1, 1, 1, 1, 1)) > 0
        return ops.where(is_there, x, ops.zeros_like(x))

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"index": self.index}  # type: ignore[no-any-return]


def find_present(present: Any, members: list[list[int]]) -> Any:
    """Which streams have a present region, (B, S) of 1 and 0; for `members` see `StreamAnswers`."""
    of_region = ops.cast(present > 0, "float32")  # as in HideMissing, nan is missing
    of_stream = [ops.max(ops.take(of_region, rows, axis=1), axis=1) for rows in members]
    return ops.stack(of_stream, axis=1)


@keras.saving.register_keras_serializable(package="microx")
class StreamAnswers(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Stacks the logarithms of the streams' softmaxes, and says which streams are present.

    Parameters
    ----------
    members : list of list of int
        For each stream, the columns of `PRESENT` of its regions; one present region is enough.

    Notes
    -----
    Takes S tensors (B, K) and (B, R); gives (B, S, K), in [-16.2, 0] and 0 for a missing stream,
    and (B, S).
    """

    def __init__(self, members: list[list[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members

    def call(self, streams: list[Any], present: Any) -> tuple[Any, Any]:
        """Stack the streams."""
        is_there = find_present(present, self.members)
        logs = ops.log(ops.maximum(ops.stack(streams, axis=1), _LEAST_PROBABILITY))
        return logs * is_there[:, :, None], is_there

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"members": self.members}  # type: ignore[no-any-return]


@keras.saving.register_keras_serializable(package="microx")
class RegionWeights(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Weights the streams that are present, by a learned score and their confidence in this clip.

    Notes
    -----
    Takes log-probabilities (B, S, K) and presence (B, S); gives (B, S): a softmax over the
    streams that are present, 0 for the others. The score of a stream is learned: a constant of
    its own, and a factor for each nat by which its entropy is below that of the uniform
    distribution (our choice). With no stream at all every weight is 0.
    """

    def build(self, answers_shape: Any, is_there_shape: Any) -> None:
        """Make the weights; at first all streams count equally."""
        n_streams = answers_shape[1]
        self.score = self.add_weight(shape=(n_streams,), initializer="zeros", name="score")
        self.trust = self.add_weight(shape=(n_streams,), initializer="zeros", name="trust")

    def call(self, answers: Any, is_there: Any) -> Any:
        """Weight the streams."""
        confidence = ops.sum(ops.exp(answers) * answers, axis=-1) + np.log(answers.shape[-1])
        score = ops.where(is_there > 0, self.score + self.trust * confidence, -1e9)
        weight = ops.exp(score - ops.max(score, axis=1, keepdims=True)) * is_there
        return weight / ops.maximum(ops.sum(weight, axis=1, keepdims=True), _LEAST_PROBABILITY)


@keras.saving.register_keras_serializable(package="microx")
class Fusion(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """The final dense softmax of MicroX, over the weighted streams.

    Notes
    -----
    Takes log-probabilities (B, S, K) and weights (B, S); gives (B, K), rows that sum to 1. Each
    stream has a dense layer (K, K), initialised as the identity, so that training begins with
    the streams' weighted geometric mean (our choice).
    """

    def build(self, answers_shape: Any, weights_shape: Any) -> None:
        """Make the dense layers."""
        _, n_streams, n_classes = answers_shape
        identity = np.tile(np.eye(n_classes, dtype=np.float32), (n_streams, 1, 1))
        self.kernel = self.add_weight(shape=identity.shape, initializer="zeros", name="kernel")
        self.kernel.assign(identity)
        self.bias = self.add_weight(shape=(n_classes,), initializer="zeros", name="bias")

    def call(self, answers: Any, weights: Any) -> Any:
        """Fuse the streams."""
        votes = ops.einsum("bsk,skj->bsj", answers, self.kernel)
        return ops.softmax(ops.sum(votes * weights[:, :, None], axis=1) + self.bias, axis=-1)


def needs_present(model: keras.Model) -> bool:
    """Whether a model has an input for which regions are present."""
    return any(tensor.name == PRESENT for tensor in model.inputs)


def show_streams(model: keras.Model) -> keras.Model:
    """A model of the same weights that also gives the output of each stream.

    Parameters
    ----------
    model : keras.Model
        Of `microx.models.build_microx`, preset compact.

    Returns
    -------
    keras.Model
        Gives (B, 1 + S, K): the fused probabilities, then the streams'; ones for a missing
        stream, so that it gets no gradient.
    """
    logs, _ = model.get_layer(STREAMS).output
    # An operation, unlike a layer, does not follow a policy of half precision.
    fused = ops.expand_dims(model.output, axis=1)
    return keras.Model(model.inputs, ops.concatenate([fused, ops.exp(logs)], axis=1))


def show_weights(model: keras.Model) -> keras.Model:
    """A model of the same weights that also gives the weight of each stream.

    Parameters
    ----------
    model : keras.Model
        Of `microx.models.build_microx`, preset compact.

    Returns
    -------
    keras.Model
        Gives (B, K), the probabilities, and (B, S), the weights of the streams: they sum to 1.
    """
    return keras.Model(model.inputs, [model.output, model.get_layer(WEIGHTS).output])
