"""A network before its training: built from its facts, compiled, and kept from fold to fold."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from microx.errors import ModelError
from microx.models import BUILDERS
from microx.models.fusion import STREAMS, show_streams
from microx.training.facts import FitFacts
from microx.training.losses import OutputLoss, StreamLoss, output_accuracy
from microx.training.settings import STREAMED, FitSettings

_OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


@dataclass(frozen=True, eq=False)
class Network:
    """A network ready for training.

    Attributes
    ----------
    model : keras.Model
        What is stored and predicts.
    trained : keras.Model
        What is fitted in its place; see `compile_for_training`.
    """

    model: keras.Model
    trained: keras.Model

    def list_variables(self) -> list[Any]:
        """List what a training changes: weights, the optimizer's moments, states of dropout."""
        return [*self.trained.variables, *self.trained.optimizer.variables]


_kept: dict[str, tuple[Network, list[npt.NDArray[Any]]]] = {}
"""The network of this process's last training that was asked to be kept, by what it depends on,
and the values of its variables before any training."""


def open_network(facts: FitFacts, *, n_steps: int, keep: bool = False) -> Network:
    """Build and compile a network, or take the one of the fold before, as if just built.

    Parameters
    ----------
    facts : FitFacts
        Its preset, streams, classes, frames, size, seed and settings.
    n_steps : int
        Batches in an epoch.
    keep : bool
        Whether to keep it for the next call with the same facts, and to take what was kept.

    Raises
    ------
    ModelError
        If the preset or an argument of its builder is unknown, or not usable.

    Notes
    -----
    TensorFlow traces the training step of every compiled model anew, which takes longer than a
    fold of a small network. Weights are drawn by the seed alone, so those of a fold are those of
    any other, and the numbers are the same either way.
    """
    told = json.dumps(
        [
            *(facts.preset, facts.streams, facts.classes, facts.n_frames, facts.size, facts.seed),
            *(facts.arguments.as_dict(), n_steps),
        ]
    )
    if keep and told in _kept:
        network, start = _kept[told]
        for variable, value in zip(network.list_variables(), start, strict=True):
            variable.assign(value)
        return network
    if keep:
        _kept.clear()
        policy = keras.config.dtype_policy()
        keras.utils.clear_session()  # or each graph stays in memory; it forgets the policy, too
        keras.config.set_dtype_policy(policy)
    model = _build(facts.preset, facts.streams, facts.arguments, facts)
    keras.utils.set_random_seed(facts.seed)
    network = Network(model, compile_for_training(model, facts.arguments, n_steps))
    if keep:
        _kept[told] = network, [np.array(variable) for variable in network.list_variables()]
    return network


def compile_for_training(model: keras.Model, settings: FitSettings, n_steps: int) -> keras.Model:
    """Make the compiled model that is trained: the same weights, with losses and an optimizer.

    Parameters
    ----------
    model : keras.Model
        Stays as it is, so that its file holds no optimizer.
    settings : FitSettings
        Its optimizer, learning_rate, schedule, epochs, label_smoothing and auxiliary are used.
    n_steps : int
        Batches in an epoch.

    Returns
    -------
    keras.Model
        Gives what `model` gives; for a model of streams, `show_streams`.
    """
    has_streams = any(layer.name == STREAMS for layer in model.layers)
    trained = show_streams(model) if has_streams else keras.Model(model.inputs, model.output)
    decay = {"weight_decay": settings.weight_decay} if settings.optimizer == "adamw" else {}
    trained.compile(
        optimizer=_OPTIMIZERS[settings.optimizer](_rate(settings, n_steps), **decay),
        loss=StreamLoss(settings.label_smoothing, settings.auxiliary),
        metrics=[
            OutputLoss(settings.label_smoothing),
            keras.metrics.MeanMetricWrapper(output_accuracy, name="output_accuracy"),
        ],
        # TensorFlow's XLA makes a ConvLSTM's training step 18 times slower on a CPU; the
        # other backends need their own compilers.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    # Like the metrics' variables here and not in the first step, which TensorFlow would trace
    # twice, the first time to create them.
    trained.optimizer.build(trained.trainable_variables)
    return trained


def _build(
    preset: str, regions: Sequence[str], settings: FitSettings, facts: FitFacts
) -> keras.Model:
    if preset not in BUILDERS:
        raise ModelError(f"`preset` must be one of {', '.join(BUILDERS)}; found '{preset}'")
    given: dict[str, Any] = {
        "n_frames": facts.n_frames,
        "size": facts.size,
        "n_classes": len(facts.classes),
        "inputs": settings.inputs,
        "seed": facts.seed,
    }
    if settings.inputs == "motion":
        given |= {"n_frames": 1, "size": settings.motion_size}  # the mean over the clip's frames
    if preset in STREAMED:
        given["region_dropout"] = settings.region_dropout
    takes = inspect.signature(BUILDERS[preset]).parameters
    known = takes.keys() - {"regions", "preset", "block", "region_dropout", *given}
    if unknown := sorted(settings.build.keys() - known):
        raise ModelError(
            f"preset {preset}: build.{unknown[0]} is unknown; known: "
            f"{', '.join(f'build.{name}' for name in sorted(known)) or 'none'}"
        )
    return BUILDERS[preset](regions, **given, **settings.build)


def _rate(settings: FitSettings, n_steps: int) -> Any:
    if settings.schedule != "cosine":
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * n_steps)
