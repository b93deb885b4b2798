"""How a model is made and trained: every setting by name, and each preset's values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypedDict, Unpack, cast, get_args

from microx.errors import InputError, ModelError
from microx.preprocessing.motion import MotionRecipe
from microx.preprocessing.occlusion.occluder import parse_occlusions
from microx.schema import (
    CLIP_FRAMES,
    MOTION_SIZE,
    SVM,
    Apex,
    Balance,
    Flow,
    Frames,
    Inputs,
    MotionNetwork,
    Optimizer,
    Precision,
    Reference,
    Schedule,
    Tail,
)
from microx.training.augmentation import MOTION_CHANGES, parse_augmentation

CHOICES: dict[str, tuple[str, ...]] = {
    "frames": get_args(Frames),
    "apex": get_args(Apex),
    "tail": get_args(Tail),
    "reference": get_args(Reference),
    "inputs": get_args(Inputs),
    "flow": get_args(Flow),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "balance": get_args(Balance),
    "precision": get_args(Precision),
}
"""Allowed values of settings that have few."""

COMPARED = ("difference", "flow", "motion")
"""Kinds of input that tell what changed since another frame."""

OF_MOTION = (*get_args(MotionNetwork), "flow+svm")
"""Presets that read motion and nothing else."""

STREAMED = ("compact", "motion")
"""Presets whose streams can do without each other."""

SVMS: tuple[str, ...] = get_args(SVM)
"""Presets that are support vector machines, see `microx.evaluation.svm`; the rest are networks."""

_OF_NETWORKS = (
    *("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule"),
    *("label_smoothing", "patience", "precision"),
)
"""Settings that an SVM has none of: they stay its preset's, so that a run's networks can share
others."""

_NOT_OF_SVMS = ("augment", "occlude", "build")


class FitOptions(TypedDict, total=False):
    """Settings by name: the fields of `FitSettings`, where None leaves the preset's as it is."""

    frames: str | None
    apex: str | None
    n_frames: int | None
    stride: int | None
    tail: str | None
    inputs: str | None
    reference: str | None
    motion_size: int | None
    flow: str | None
    build: Mapping[str, Any] | None
    region_dropout: float | None
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    weight_decay: float | None
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
    frames : {"all", "apex", "around-apex", "onset-apex-offset", "onset|apex"}
        Which frames of a video make its clips: windows over all of them, or those that its
        labels name; see `microx.corpus.key_clips.key_clips`. ``"onset|apex"`` is another
        task: whether there is an expression at all.
    apex : {"coded", "estimated", "middle"}
        Which frame is the apex: that of the labels, the one of the greatest motion since the onset
        (see `microx.corpus.motion.estimate_apex`), or the middle of the frames with a face.
    n_frames, stride, tail
        Of windows; see `microx.corpus.corpus.Corpus.clips`.
    inputs : {"rgb", "grey", "difference", "flow", "motion"}
        Kind of pixels; see `microx.preprocessing.motion.convert_crops`; or the motion of the face,
        see `microx.preprocessing.motion.measure_motion`.
    reference : {"first", "onset"}
        What "difference", "flow" and "motion" compare with: the first frame of the clip, or the
        onset of the labels; in a video without one, the first frame with a face.
    motion_size : int
        Pixels along a side of motion maps.
    flow : {"dis-medium", "dis-fast", "dis-ultrafast", "farneback"}
        How motion is measured.
    build : mapping
        More arguments for the builder, such as ``{"dropout": 0.5}`` for cnn6.
    region_dropout : float
        For compact and motion: probability that training drops each region, in [0, 0.9].
    epochs : int
        The maximum.
    batch_size : int
    optimizer : {"adam", "adamw", "rmsprop", "sgd"}
    learning_rate : float
    weight_decay : float
        For adamw.
    schedule : {"constant", "cosine", "plateau"}
        Of the rate: along a cosine to zero at the last epoch; or a fifth of it whenever
        the validation loss has not fallen for half the patience.
    label_smoothing : float
        In [0, 0.9]: how much of each target is spread over all classes.
    auxiliary : float
        For compact: weight of the streams' mean loss, added to the loss of their fusion.
    balance : {"none", "weights", "sampling"}
        What is done for rare emotions, counted on training clips only: each class weighted by
        n / (K n_class), or sampled as often as any other. The loss that chooses the best epoch
        is not weighted.
    patience : int
        Epochs without a lower validation loss before training stops. 0: no validation; its clips
        are trained on, too, and the last epoch is kept.
    augment : str
        Random changes of training clips; see `microx.training.augmentation.parse_augmentation`.
    occlude : str
        Objects on training and validation faces; see `microx.training.dataset.ClipDataset`.
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        Of the computation; weights are always float32. Half precision helps on GPUs only.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    frames: str = "all"
    apex: str = "coded"
    n_frames: int = CLIP_FRAMES
    stride: int | None = None
    tail: str = "drop"
    inputs: str = "rgb"
    reference: str = "first"
    motion_size: int = MOTION_SIZE
    flow: str = "dis-medium"
    build: Mapping[str, Any] = field(default_factory=dict)
    region_dropout: float = 0.0
    epochs: int = 50
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.004
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
        changes = parse_augmentation(self.augment)
        parse_occlusions(self.occlude)
        if self.inputs == "motion":
            self._check_motion({change.kind for change in changes})
        if self.frames == "onset|apex" and self.apex != "coded":
            raise InputError(
                f"frames onset|apex needs the annotated apex; received apex {self.apex}"
            )
        if self.patience == 0 and self.schedule == "plateau":
            raise InputError(
                "schedule plateau watches the validation, which patience 0 leaves out; use "
                "schedule cosine"
            )

    def _check_motion(self, changes: set[str]) -> None:
        """Refuse what cannot be done with motion that is measured once."""
        if unknown := changes - set(MOTION_CHANGES):
            raise InputError(
                f"augment of inputs motion must be of {', '.join(MOTION_CHANGES)}; received "
                f"{', '.join(sorted(unknown))}"
            )
        if self.occlude:
            raise InputError(
                f"occlude cannot be combined with inputs motion; received {self.occlude}; use a "
                "corpus made with `occlude`, or `without`"
            )

    def _check_comparison(self) -> None:
        """Refuse settings that compare a frame with itself."""
        if self.inputs not in COMPARED:
            return
        is_single = self.frames in ("apex", "around-apex") or (
            self.frames == "all" and self.n_frames == 1
        )
        if self.frames == "onset|apex" or (is_single and self.reference == "first"):
            raise InputError(
                f"inputs {self.inputs} compares frames; with frames {self.frames}, n_frames "
                f"{self.n_frames} and reference {self.reference} a frame would be compared with "
                "itself; use inputs rgb or grey"
            )

    @property
    def motion(self) -> MotionRecipe:
        """How motion is measured, for ``inputs="motion"``."""
        return MotionRecipe(self.motion_size, self.flow)

    @classmethod
    def of(
        cls, preset: str, settings: FitSettings | None = None, **changes: Unpack[FitOptions]
    ) -> FitSettings:
        """Take a preset's settings, or those given, with the changes that are not None.

        Raises
        ------
        ModelError
            If there is no such preset.
        InputError
            If there is no such setting, its value is invalid, or it is for compact only.

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
        if preset in SVMS:
            chosen = chosen._for_svm(preset)
        for name, presets in (("region_dropout", STREAMED), ("auxiliary", ("compact",))):
            if preset not in presets and (value := getattr(chosen, name)):
                raise InputError(
                    f"{name} is for {' and '.join(presets)}, whose streams can do without each "
                    f"other; received {value!r} for {preset}"
                )
        if (chosen.inputs == "motion") != (preset in OF_MOTION):
            raise InputError(
                f"inputs motion are for {', '.join(OF_MOTION)}, which read nothing else; received "
                f"inputs {chosen.inputs} for {preset}"
            )
        return chosen

    def _for_svm(self, preset: str) -> FitSettings:
        """Leave out what only networks have; refuse what would change the clips."""
        own = FIT_SETTINGS[preset]
        for name in _NOT_OF_SVMS:
            if (value := getattr(self, name)) != getattr(own, name):
                raise InputError(f"{name} is for networks; received {value!r} for {preset}")
        if self.balance == "sampling":
            raise InputError(f"balance of {preset} must be none or weights; received sampling")
        return replace(self, **{name: getattr(own, name) for name in _OF_NETWORKS})

    def changes_from(self, preset: str) -> FitOptions:
        """Settings that are not the preset's own, by name."""
        own = FitSettings.of(preset).as_dict()
        changed = {name: value for name, value in self.as_dict().items() if value != own[name]}
        return cast(FitOptions, changed)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON."""
        return asdict(self) | {"build": dict(self.build)}


def read_setting(text: str) -> tuple[str, Any]:
    """Read a setting written as ``NAME=VALUE``.

    Parameters
    ----------
    text : str
        ``NAME=VALUE``; ``build.NAME=VALUE`` is an argument for the builder. Numbers, true, false
        and null are read as such, also as Python writes them (True, False, None); any other
        value is text.

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
    """Read several settings, see `read_setting`; those of the builder are joined.

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

# Limits are int where the value must be whole.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("n_frames", 1, 10_000),
    ("stride", 1, 10_000),
    ("region_dropout", 0.0, 0.9),
    ("epochs", 1, 100_000),
    ("batch_size", 1, 100_000),
    ("learning_rate", 0.0, 100.0),
    ("label_smoothing", 0.0, 0.9),
    ("auxiliary", 0.0, 100.0),
    ("weight_decay", 0.0, 100.0),
    ("motion_size", 8, 256),
    ("patience", 0, 100_000),
)

_KINDS: tuple[tuple[str, type, str], ...] = (
    ("build", Mapping, "arguments by name, such as build.dropout=0.5"),
    ("augment", str, "text"),
    ("occlude", str, "text"),
)

_MOTION = FitSettings(
    frames="around-apex",
    inputs="motion",
    reference="onset",
    epochs=60,
    optimizer="adamw",
    schedule="cosine",
    balance="weights",
    patience=0,
    augment="flip,shift",
)

_IMAGES = FitSettings(n_frames=1, stride=CLIP_FRAMES, inputs="grey", augment="flip")

FIT_SETTINGS: dict[str, FitSettings] = {
    # Our choice, tried out on drawn actors; see docs/models.md.
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
    # Our choice, on FER2013; see docs/pretrained.md.
    "face_net": replace(
        _IMAGES,
        epochs=10,
        batch_size=128,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        schedule="cosine",
        patience=10,
        label_smoothing=0.1,
        augment="flip,shift,rotate,brightness,erase:0.25",
    ),
    # Meeting-recording CNN: batch and epochs. Where a paper names no optimiser: Adam, our choice.
    "fer_cnn": replace(_IMAGES, epochs=50, batch_size=32),
    # Apex-frame deep CNN: its frames, its epochs.
    "apex_dcnn": replace(_IMAGES, frames="apex", epochs=50, batch_size=8),
    # Six-convolution CNN: Adam did better than RMSprop.
    "cnn6": replace(_IMAGES, epochs=50),
    # CNN1, CNN2, ResNet18: random crop, flip, blur, rotation; strengths are our choice.
    **dict.fromkeys(
        ("cnn1", "cnn2", "resnet18"),
        replace(
            _IMAGES, inputs="rgb", epochs=50, learning_rate=3e-4, augment="flip,crop,blur,rotate"
        ),
    ),
    # Our choice, on half of the subjects of CASME II; see docs/micro.md.
    "motion": _MOTION,
    # Networks of one motion, onset to apex: rates, decay and epochs of their papers. Batches of
    # 256 and no augmentation (our choice, where they name none).
    "ststnet": replace(
        _MOTION, frames="apex", epochs=500, batch_size=256, learning_rate=5e-5, weight_decay=1e-3,
        schedule="constant", balance="none", augment="",
    ),
    "off_apexnet": replace(
        _MOTION, frames="apex", epochs=3000, batch_size=256, learning_rate=1e-4, optimizer="adam",
        schedule="constant", balance="none", augment="",
    ),
    "sssnet": replace(
        _MOTION, frames="apex", epochs=200, learning_rate=1e-4, weight_decay=1e-3, motion_size=64,
        schedule="constant", balance="none", augment="",
    ),
    # Support vector machines: nothing but the clips and what is read of them counts.
    "flow+svm": replace(_MOTION, frames="apex", augment=""),
    "pixels+svm": replace(_IMAGES, augment="", balance="weights", patience=0),
    "hog+svm": replace(_IMAGES, augment="", balance="weights", patience=0),
}  # fmt: skip
"""Each preset's settings by default."""
