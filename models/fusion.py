"""How the streams of several regions become one answer, whichever of them are there.

The model is told by its input ``present`` which regions it can see. Each stream's answer is
weighed; the weights of those that are there add up to 1, and can be read.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

PRESENT = "present"
"""Name of the input (B, R) that tells which of the R regions are there: 1 or 0."""

WEIGHTS, STREAMS = "fusion_weights", "fusion_streams"
"""Names of the layers that give the weights (B, S) and the streams' answers (B, S, K)."""

_LEAST_PROBABILITY = 1e-7


@keras.saving.register_keras_serializable(package="microx")
class RegionDropout(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Hides regions at random while training, so that a model learns to do without each.

    Parameters
    ----------
    rate : float
        Probability, in [0, 1), with which each region of a clip is hidden. A clip whose
        regions would all be hidden keeps them all.
    seed : int, optional

    Notes
    -----
    Takes and gives (B, R), 1 where a region is there. After ModDrop of Neverova et al. (2016).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self._generator = keras.random.SeedGenerator(seed)

    def call(self, present: Any, training: bool = False) -> Any:
        """Hide some regions, if training."""
        if not training or self.rate == 0:
            return present
        drawn = keras.random.uniform(ops.shape(present), seed=self._generator)
        kept = ops.where(drawn >= self.rate, present, ops.zeros_like(present))
        return ops.where(ops.max(kept, axis=-1, keepdims=True) > 0, kept, present)

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"rate": self.rate, "seed": self.seed}  # type: ignore[no-any-return]


@keras.saving.register_keras_serializable(package="microx")
class HideMissing(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Gives a region's clips, and zeros where the region is missing, whatever stood there.

    Parameters
    ----------
    index : int
        Of the region, a column of `PRESENT`.

    Notes
    -----
    Takes (B, T, H, W, C), which may be nan where missing, and (B, R).
    """

    def __init__(self, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index

    def call(self, x: Any, present: Any) -> Any:
        """Hide the clips of a missing region."""
        is_there = ops.reshape(present[:, self.index], (-1, 1, 1, 1, 1)) > 0
        return ops.where(is_there, x, ops.zeros_like(x))

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"index": self.index}  # type: ignore[no-any-return]


@keras.saving.register_keras_serializable(package="microx")
class StreamAnswers(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Stacks the softmaxes of the streams as logarithms, and tells which streams are there.

    Parameters
    ----------
    members : list of list of int
        For each stream, the columns of `PRESENT` of its regions; one of them is enough.

    Notes
    -----
    Takes S tensors (B, K) and (B, R); gives (B, S, K), in [-16.2, 0] and 0 where a stream has
    no region, and (B, S).
    """

    def __init__(self, members: list[list[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members

    def call(self, streams: list[Any], present: Any) -> tuple[Any, Any]:
        """Stack the streams."""
        of_region = ops.cast(present > 0, "float32")  # as for HideMissing, nan is not there
        of_stream = [ops.max(ops.take(of_region, rows, axis=1), axis=1) for rows in self.members]
        is_there = ops.stack(of_stream, axis=1)
        answers = ops.log(ops.maximum(ops.stack(streams, axis=1), _LEAST_PROBABILITY))
        return answers * is_there[:, :, None], is_there

    def get_config(self) -> dict[str, Any]:
        """Arguments, to be stored with a model."""
        return super().get_config() | {"members": self.members}  # type: ignore[no-any-return]


@keras.saving.register_keras_serializable(package="microx")
class RegionWeights(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """Weighs the streams that are there, by how good each is and how sure of this clip.

    Notes
    -----
    Takes answers (B, S, K) and presence (B, S); gives (B, S): a softmax over the streams that
    are there, 0 for the others. The score of a stream is learned, a part that is its own and a
    part for each nat by which its answer is surer than no answer at all (our choice). With no
    stream at all every weight is 0.
    """

    def build(self, answers_shape: Any, is_there_shape: Any) -> None:
        """Make the weights; at first all streams count alike."""
        n_streams = answers_shape[1]
        self.score = self.add_weight(shape=(n_streams,), initializer="zeros", name="score")
        self.trust = self.add_weight(shape=(n_streams,), initializer="zeros", name="trust")

    def call(self, answers: Any, is_there: Any) -> Any:
        """Weigh the streams."""
        surety = ops.sum(ops.exp(answers) * answers, axis=-1) + np.log(answers.shape[-1])
        score = ops.where(is_there > 0, self.score + self.trust * surety, -1e9)
        weight = ops.exp(score - ops.max(score, axis=1, keepdims=True)) * is_there
        return weight / ops.maximum(ops.sum(weight, axis=1, keepdims=True), _LEAST_PROBABILITY)


@keras.saving.register_keras_serializable(package="microx")
class Fusion(layers.Layer):  # type: ignore[misc]  # Keras carries no types
    """The final dense softmax of MicroX, over the streams in the measure of their weights.

    Notes
    -----
    Takes answers (B, S, K) and weights (B, S); gives (B, K), rows that sum to 1. Each stream
    has a dense layer (K, K), at first the identity, so that training begins with the
    streams' weighted geometric mean (our choice).
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
    """Whether a model wants to be told which regions are there."""
    return any(tensor.name == PRESENT for tensor in model.inputs)


def show_streams(model: keras.Model) -> keras.Model:
    """A model of the same weights whose answer is followed by that of each stream.

    Parameters
    ----------
    model : keras.Model
        Of `microx.models.build_microx`, preset compact.

    Returns
    -------
    keras.Model
        Gives (B, 1 + S, K): the fused probabilities, then the streams'; ones for a stream that
        has no region, so that whatever its loss, no gradient reaches it.
    """
    answers, _ = model.get_layer(STREAMS).output
    # An operation, unlike a layer, does not take up a policy of half precision.
    fused = ops.expand_dims(model.output, axis=1)
    return keras.Model(model.inputs, ops.concatenate([fused, ops.exp(answers)], axis=1))


def show_weights(model: keras.Model) -> keras.Model:
    """A model of the same weights that also tells what each stream counted for.

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
