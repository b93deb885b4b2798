"""What is known of a model: how it was made, and which subjects it was trained on.

Facts are values: they check themselves when made, and read and write their JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
import pandas as pd

from microx.errors import InputError
from microx.schema import CLIP_FRAMES, CROP_SIZE, INPUTS, REGIONS
from microx.training.settings import FIT_SETTINGS, FitSettings


@dataclass(frozen=True)
class TrainedOn:
    """Subjects and videos used in training, including those that only chose the epoch.

    Attributes
    ----------
    subjects, videos : tuple of str
    only_chose_epoch : mapping of str to tuple of str
        ``"subjects"`` and ``"videos"`` that changed no weight.

    Raises
    ------
    InputError
        If one is not a name.
    """

    subjects: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    only_chose_epoch: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chose = self.only_chose_epoch
        is_right = are_words(self.subjects) and are_words(self.videos)
        is_right &= isinstance(chose, Mapping) and all(map(are_words, chose.values()))
        check("trained_on", is_right, _SUBJECTS, asdict(self))

    @classmethod
    def from_json(cls, value: Any) -> TrainedOn:
        """Read the subjects and videos that a file names.

        Raises
        ------
        InputError
            If it names neither subjects nor videos.
        """
        check("trained_on", isinstance(value, dict) and {"subjects", "videos"} <= set(value),
              _SUBJECTS, value)  # fmt: skip
        chose = value.get("only_chose_epoch", {})
        if isinstance(chose, dict):
            chose = {kind: as_tuple(names) for kind, names in chose.items()}
        return cls(as_tuple(value["subjects"]), as_tuple(value["videos"]), chose)

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of a kind, ``"subjects"`` or ``"videos"``."""
        return self.subjects if kind == "subjects" else self.videos


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model reads, what it predicts and how it was made.

    Attributes
    ----------
    classes : tuple of str
        In the order of the outputs.
    regions, streams : tuple of str
        Crops that are read, and the streams of the network: a stream may join regions.
    inputs : str
        Of `microx.schema.INPUTS`.
    size, n_frames : int
        Pixels along a crop, frames in a clip.
    preset : str
    seed : int
    recipe, recipe_hash
        How the crops were cut.
    arguments : FitSettings
        How it was trained.
    n_parameters : int, optional
    continued_from : str, optional
        File whose weights the training continued from.
    warnings : tuple of str
        What a reader of its scores should know.
    sources : tuple of str
        The corpora of its training clips, as the labels name them; empty where they name none.
    versions : mapping of str to str
        See `microx.training.model_file.read_versions`.

    Raises
    ------
    InputError
        Naming the first invalid fact.
    """

    classes: tuple[str, ...]
    regions: tuple[str, ...]
    streams: tuple[str, ...]
    inputs: str = "rgb"
    size: int = CROP_SIZE
    n_frames: int = CLIP_FRAMES
    preset: str = "compact"
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    recipe_hash: str = ""
    arguments: FitSettings = field(default_factory=FitSettings)
    n_parameters: int | None = None
    continued_from: str | None = None
    warnings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check("classes", is_set_of(self.classes, 2), _WORDS["classes"], self.classes)
        check("regions", is_set_of(self.regions, 1, REGIONS), _WORDS["regions"], self.regions)
        check("streams", is_set_of(self.streams, 1), _WORDS["streams"], self.streams)
        check("inputs", is_one_of(self.inputs, INPUTS), _WORDS["inputs"], self.inputs)
        check("size", is_count(self.size), _WORDS["size"], self.size)
        check("n_frames", is_count(self.n_frames), _WORDS["n_frames"], self.n_frames)
        check("preset", isinstance(self.preset, str), _WORDS["preset"], self.preset)
        check("seed", type(self.seed) is int, _WORDS["seed"], self.seed)
        check("recipe", isinstance(self.recipe, Mapping), _WORDS["recipe"], self.recipe)
        given = self.arguments
        check("arguments", isinstance(given, FitSettings), _WORDS["arguments"], given)
        check("warnings", are_words(self.warnings), _WORDS["warnings"], self.warnings)
        check("sources", are_words(self.sources), "a list of corpora", self.sources)
        check("versions", isinstance(self.versions, Mapping), _WORDS["versions"], self.versions)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what `as_dict` gives. Entries of other names are ignored.

        Raises
        ------
        InputError
            Naming the fact that is missing or invalid.
        """
        given: dict[str, Any] = {}
        for one in fields(cls):
            if one.name in found:
                given[one.name] = cls._read(one.name, found[one.name])
            elif one.default is MISSING and one.default_factory is MISSING:
                raise InputError(f"expected {one.name}; found none")
        return cls(**given)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        """Convert a fact of JSON to the class's type; an invalid one is returned as it is."""
        if name == "arguments" and isinstance(value, dict):
            known = {one.name for one in fields(FitSettings)}
            if unknown := sorted(value.keys() - known):
                raise InputError(f"setting {unknown[0]!r} is unknown")
            return FitSettings(**value)
        return as_tuple(value)

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON; a fact of the model that is not known is left out."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: as_json(value)
            for name, value in held.items()
            if not (value is None and name in _MAY_BE_UNKNOWN)
        }


@dataclass(frozen=True, kw_only=True)
class FitFacts(ModelFacts):
    """What a model's file holds beside the network: `ModelFacts`, and how its training went.

    Attributes
    ----------
    trained_on : TrainedOn
        Subjects and videos it must not be tested on.
    n_train, n_validation : int, optional
        Clips.
    train_class_counts : tuple of int
        Training clips of each class.
    best_epoch : int, optional
        The one that was kept, from 1; None during training.
    seconds_to_best : float, optional
    peak_memory_mib : int, optional
        Of the process, so far; a GPU's own is not counted.

    Raises
    ------
    InputError
        Naming the first invalid fact.
    """

    trained_on: TrainedOn = field(default_factory=TrainedOn)
    n_train: int | None = None
    n_validation: int | None = None
    train_class_counts: tuple[int, ...] = ()
    best_epoch: int | None = None
    seconds_to_best: float | None = None
    peak_memory_mib: int | None = None

    def __post_init__(self) -> None:
        from microx.models.streams import list_regions

        super().__post_init__()
        check("preset", self.preset in FIT_SETTINGS, _WORDS["preset"], self.preset)
        check("trained_on", isinstance(self.trained_on, TrainedOn), _SUBJECTS, self.trained_on)
        if list_regions(self.streams) != self.regions:
            streams, regions = ", ".join(self.streams), ", ".join(self.regions)
            raise InputError(f"streams {streams} do not read the regions {regions}")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return TrainedOn.from_json(value) if name == "trained_on" else super()._read(name, value)


def find_best(history: pd.DataFrame) -> int:
    """Row of the epoch that was kept: the one of the lowest validation loss, or the last."""
    losses = history["val_loss"].to_numpy(float)
    return len(losses) - 1 if np.isnan(losses).all() else int(np.nanargmin(losses))


def check(name: str, is_right: bool, words: str, found: Any) -> None:
    """Refuse a fact that is not what it must be."""
    if not is_right:
        raise InputError(f"{name} must be {words}; found {repr(as_json(found))[:60]}")


def as_tuple(value: Any) -> Any:
    """A JSON list as a tuple, recursively; anything else as it is."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def as_json(value: Any) -> Any:
    """A fact as JSON holds it."""
    if isinstance(value, FitSettings):
        return value.as_dict()
    if isinstance(value, TrainedOn):
        return {name: as_json(one) for name, one in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, tuple) else value


def are_words(value: Any) -> bool:
    """Whether a fact is a tuple of str."""
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)


def is_set_of(value: Any, least: int, choices: Collection[str] | None = None) -> bool:
    """Whether a fact is at least so many names, each once, and all of them choices."""
    is_set = are_words(value) and len(set(value)) == len(value) >= least
    return is_set and (choices is None or set(value) <= set(choices))


def is_count(value: Any) -> bool:
    """Whether a fact is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_one_of(value: Any, choices: Collection[str]) -> bool:
    """Whether a fact is one of some names."""
    return isinstance(value, str) and value in choices


_SUBJECTS = "lists of subjects and of videos, by these names"

_WORDS = {
    "classes": "a list of two names or more, each once",
    "regions": "a list of regions, each once",
    "streams": "a list of streams, each once",
    "inputs": f"one of {', '.join(INPUTS)}",
    "size": "a whole number of pixels",
    "n_frames": "a whole number of frames",
    "preset": f"one of {', '.join(FIT_SETTINGS)}",
    "seed": "a whole number",
    "recipe": "the crops' options by name",
    "arguments": "the training's settings by name",
    "warnings": "a list of sentences",
    "versions": "versions by name",
}

NEEDED = {**_WORDS, "trained_on": _SUBJECTS}
"""Facts that every use of a model's file needs, and what each must be, in words."""

_MAY_BE_UNKNOWN = frozenset(
    (
        *("n_parameters", "continued_from", "best_epoch", "n_train", "n_validation"),
        *("seconds_to_best", "peak_memory_mib"),
    )
)
