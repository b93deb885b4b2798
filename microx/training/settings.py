"""How a model is made and trained: every choice by name, and what each preset chooses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypedDict, Unpack, cast, get_args

from microx.errors import InputError, ModelError
from microx.preprocessing.occlusion.occluder import parse_occlusions
from microx.schema import (
    CLIP_FRAMES,
    Balance,
    Frames,
    Inputs,
    Optimizer,
    Precision,
    Reference,
    Schedule,
    Tail,
)
from microx.training.augmentation import parse_augmentation

CHOICES: dict[str, tuple[str, ...]] = {
    "frames": get_args(Frames),
    "tail": get_args(Tail),
    "reference": get_args(Reference),
    "inputs": get_args(Inputs),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "balance": get_args(Balance),
    "precision": get_args(Precision),
}
"""What settings of few values may be."""

COMPARED = ("difference", "flow")
"""Kinds of pixels that tell what changed since another frame."""


class FitOptions(TypedDict, total=False):
    """Settings by name: the fields of `FitSettings`, where None leaves the preset's as it is."""

    frames: str | None
    n_frames: int | None
    stride: int | None
    tail: str | None
    inputs: str | None
    reference: str | None
    build: Mapping[str, Any] | None
    region_dropout: float | None
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    schedule: str | None
    label_smoothing: float | None
    auxiliary: float | None
    balance: str | None
    patience: int | None
    augment: str | None
    occlude: str | None
    precision: str | None


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a model is made and trained.

    Attributes
    ----------
    frames : {"all", "apex", "onset-apex-offset", "onset|apex"}
        Which frames of a video make its clips: windows over all of them, or those that its
        labels name; see `microx.corpus.corpus.Corpus.key_clips`. ``"onset|apex"`` asks another
        question: whether there is an expression at all.
    n_frames, stride, tail
        Of windows; see `microx.corpus.corpus.Corpus.clips`.
    inputs : {"rgb", "grey", "difference", "flow"}
        Kind of pixels; see `microx.preprocessing.motion.convert_crops`.
    reference : {"first", "onset"}
        What "difference" and "flow" compare with: the first frame of the clip, or the frame
        that the labels call the onset, of a video without one the first with a face.
    build : mapping
        More arguments for the builder, such as ``{"dropout": 0.5}`` for cnn6.
    region_dropout : float
        For compact: how often training hides each region, in [0, 0.9].
    epochs : int
        At most so many.
    batch_size : int
    optimizer : {"adam", "adamw", "rmsprop", "sgd"}
    learning_rate : float
    schedule : {"constant", "cosine", "plateau"}
        Of the rate: along a cosine to zero at the last epoch; or a fifth of it whenever
        the validation loss has not fallen for half the patience.
    label_smoothing : float
        In [0, 0.9]: how much of each target is spread over all classes.
    auxiliary : float
        For compact: weight of the mean loss of the streams beside that of their fusion.
    balance : {"none", "weights", "sampling"}
        What is done for rare emotions, counted on training clips only: each class weighed by
        n / (K n_class), or drawn as often as any other. The loss that chooses the best epoch
        is not weighed.
    patience : int
        Epochs without a lower validation loss before training stops.
    augment : str
        Random changes of training clips; see `microx.training.augmentation.parse_augmentation`.
    occlude : str
        Objects on training and validation faces; see `microx.training.dataset.ClipDataset`.
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        Of the computation; weights are float32 always. Half precision helps GPUs only.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    frames: str = "all"
    n_frames: int = CLIP_FRAMES
    stride: int | None = None
    tail: str = "drop"
    inputs: str = "rgb"
    reference: str = "first"
    build: Mapping[str, Any] = field(default_factory=dict)
    region_dropout: float = 0.0
    epochs: int = 50
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    label_smoothing: float = 0.0
    auxiliary: float = 0.0
    balance: str = "none"
    patience: int = 7
    augment: str = ""
    occlude: str = ""
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if name == "stride" and value is None:
                continue
            kind, words = (int, "a whole number") if isinstance(low, int) else (float, "a number")
            is_number = isinstance(value, int | kind) and not isinstance(value, bool)
            if not is_number or not low <= value <= high:
                raise InputError(
                    f"{name} must be {words} from {low:g} to {high:g}; received {value!r}"
                )
        for name, form, words in _KINDS:
            if not isinstance(getattr(self, name), form):
                raise InputError(f"{name} must be {words}; received {getattr(self, name)!r}")
        self._check_comparison()
        parse_augmentation(self.augment)
        parse_occlusions(self.occlude)

    def _check_comparison(self) -> None:
        """Refuse clips that would be compared with themselves."""
        if self.inputs not in COMPARED:
            return
        is_single = self.frames == "apex" or (self.frames == "all" and self.n_frames == 1)
        if self.frames == "onset|apex" or (is_single and self.reference == "first"):
            raise InputError(
                f"inputs {self.inputs} compares frames; with frames {self.frames}, n_frames "
                f"{self.n_frames} and reference {self.reference} a frame would be compared with "
                "itself; use inputs rgb or grey"
            )

    @classmethod
    def of(
        cls, preset: str, settings: FitSettings | None = None, **changes: Unpack[FitOptions]
    ) -> FitSettings:
        """Take a preset's settings, or others, changed where one is given that is not None.

        Raises
        ------
        ModelError
            If there is no such preset.
        InputError
            If there is no such setting, its value cannot be, or it is one that only compact has.

        Examples
        --------
        >>> FitSettings.of("paper", epochs=30).optimizer
        'sgd'
        """
        if preset not in FIT_SETTINGS:
            raise ModelError(f"`preset` must be one of {', '.join(FIT_SETTINGS)}; found '{preset}'")
        _check_names(changes)
        given: dict[str, Any] = {n: value for n, value in changes.items() if value is not None}
        chosen = replace(FIT_SETTINGS[preset] if settings is None else settings, **given)
        for name in ("region_dropout", "auxiliary"):
            if preset != "compact" and (value := getattr(chosen, name)):
                raise InputError(
                    f"{name} is for compact, whose streams can do without each other; received "
                    f"{value!r} for {preset}"
                )
        return chosen

    def changes_from(self, preset: str) -> FitOptions:
        """Settings that are not the preset's own, by name."""
        own = FitSettings.of(preset).as_dict()
        changed = {name: value for name, value in self.as_dict().items() if value != own[name]}
        return cast(FitOptions, changed)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        return asdict(self) | {"build": dict(self.build)}


def read_setting(text: str) -> tuple[str, Any]:
    """Read a setting as a command line says it.

    Parameters
    ----------
    text : str
        ``NAME=VALUE``; ``build.NAME=VALUE`` is an argument for the builder. A value that reads
        as a number, true, false or null is that, also as Python writes them (True, False,
        None); any other is text.

    Returns
    -------
    name, value
        As `FitSettings.of` takes them.

    Raises
    ------
    InputError
        If there is no ``=``.

    Examples
    --------
    >>> read_setting("learning_rate=1e-3"), read_setting("build.dropout=0.5")
    (('learning_rate', 0.001), ('build', {'dropout': 0.5}))
    """
    name, equals, word = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"setting {text!r}: expected NAME=VALUE, such as optimizer=sgd")
    word = _JSON_OF_PYTHON.get(word.strip(), word.strip())
    try:
        value = json.loads(word)
    except ValueError:
        value = word
    place, _, argument = name.strip().partition(".")
    return (place, {argument: value}) if argument else (place, value)


def join_settings(texts: Sequence[str]) -> FitOptions:
    """Read several settings, see `read_setting`; those of one builder come together.

    Raises
    ------
    InputError
        If one cannot be read, or there is no such setting.
    """
    joined: dict[str, Any] = {}
    for name, value in map(read_setting, texts):
        both = isinstance(value, dict) and isinstance(joined.get(name), dict)
        joined[name] = joined[name] | value if both else value
    _check_names(joined)
    return cast(FitOptions, joined)


def _check_names(names: Iterable[str]) -> None:
    known = [one.name for one in fields(FitSettings)]
    for name in names:
        if name not in known:
            raise InputError(f"setting {name!r} is unknown; known: {', '.join(known)}")


_JSON_OF_PYTHON = {"True": "true", "False": "false", "None": "null"}

# An int where the value must be whole, too.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("n_frames", 1, 10_000),
    ("stride", 1, 10_000),
    ("region_dropout", 0.0, 0.9),
    ("epochs", 1, 100_000),
    ("batch_size", 1, 100_000),
    ("learning_rate", 0.0, 100.0),
    ("label_smoothing", 0.0, 0.9),
    ("auxiliary", 0.0, 100.0),
    ("patience", 1, 100_000),
)

_KINDS: tuple[tuple[str, type, str], ...] = (
    ("build", Mapping, "arguments by name, such as build.dropout=0.5"),
    ("augment", str, "text"),
    ("occlude", str, "text"),
)

_PICTURES = FitSettings(n_frames=1, stride=CLIP_FRAMES, inputs="grey", augment="flip")

FIT_SETTINGS: dict[str, FitSettings] = {
    # Our choice, by trial on drawn actors; see docs/models.md.
    "compact": FitSettings(
        epochs=10,
        batch_size=8,
        learning_rate=3e-3,
        schedule="cosine",
        label_smoothing=0.1,
        region_dropout=0.3,
        auxiliary=1.0,
        patience=4,
        augment="flip",
    ),
    # MicroX paper (optimiser, rate, batch) and its released code (epochs, patience).
    "paper": FitSettings(epochs=120, batch_size=8, optimizer="sgd", patience=7),
    # Meeting-recording CNN: batch and epochs. Where a paper names no optimiser: Adam, our choice.
    "fer_cnn": replace(_PICTURES, epochs=50, batch_size=32),
    # Apex-frame deep CNN: its frames, its epochs.
    "apex_dcnn": replace(_PICTURES, frames="apex", epochs=50, batch_size=8),
    # Six-convolution CNN: Adam did better than RMSprop.
    "cnn6": replace(_PICTURES, epochs=50),
    # CNN1, CNN2, ResNet18: random crop, flip, blur, rotation; strengths are our choice.
    **dict.fromkeys(
        ("cnn1", "cnn2", "resnet18"),
        replace(
            _PICTURES, inputs="rgb", epochs=50, learning_rate=3e-4, augment="flip,crop,blur,rotate"
        ),
    ),
}
"""How each preset is trained unless told otherwise."""
