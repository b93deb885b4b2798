"""How a result was made: the split, the tested subjects, and what is known of each fold."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from microx.training.facts import FitFacts, ModelFacts, TrainedOn, as_tuple, check, is_one_of

GROUPS = ("subject", "video", "clip")
"""What the parts of a split do not share; those of clips may share subjects and videos."""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """How clips were divided, known before any training.

    Attributes
    ----------
    protocol : str
        Of `microx.training.splits`, or ``"stored model"``.
    leaky : bool
        Whether the protocol is one that leaks.
    group : {"subject", "video", "clip"}
        See `GROUPS`.
    split_seed : int, optional
        Seed of the split.
    split_file : str, optional
        Name of the list, for the protocol ``"list"``.
    n_subjects, n_videos : int
    shuffled_labels : bool
        Whether it is the control with shuffled labels.
    corpus : str
        Name of its folder.

    Raises
    ------
    InputError
        Naming the first invalid fact.
    """

    protocol: str = "holdout"
    leaky: bool = False
    group: str = "subject"
    split_seed: int | None = None
    split_file: str | None = None
    n_subjects: int = 0
    n_videos: int = 0
    shuffled_labels: bool = False
    corpus: str = ""

    def __post_init__(self) -> None:
        check("protocol", isinstance(self.protocol, str), "text", self.protocol)
        check("group", is_one_of(self.group, GROUPS), f"one of {', '.join(GROUPS)}", self.group)
        for name in ("leaky", "shuffled_labels"):
            value = getattr(self, name)
            check(name, isinstance(value, bool), "true or false", value)

    @property
    def is_leaky(self) -> bool:
        """Whether training and test of a split shared subjects or videos."""
        return self.leaky or self.group == "clip"

    @property
    def is_shuffled(self) -> bool:
        """Whether it is the control trained on shuffled labels."""
        return self.shuffled_labels


@dataclass(frozen=True, kw_only=True)
class ResultFacts(ModelFacts, SplitFacts):
    """All that is known of a result besides its predictions.

    Attributes
    ----------
    n_train, n_validation, n_test, best_epoch, peak_memory_mib : tuple of int
    seconds_to_best : tuple of float
    train_class_counts : tuple of tuple of int
    trained_on : tuple of TrainedOn
        One entry for each fold, in the order of the folds; the rest is about all folds.
    occlude_test : str, optional
        Objects put on the tested faces.
    without : tuple of str
        Regions treated as missing in the test.
    augment_test : str
        Random changes of the tested clips.
    seconds : float
        Of training and testing.
    oracle : bool
        Whether the epoch was chosen on the test clips; not an honest result.

    Raises
    ------
    InputError
        Naming the first invalid fact.
    """

    n_train: tuple[int, ...] = ()
    n_validation: tuple[int, ...] = ()
    n_test: tuple[int, ...] = ()
    train_class_counts: tuple[tuple[int, ...], ...] = ()
    best_epoch: tuple[int, ...] = ()
    trained_on: tuple[TrainedOn, ...] = ()
    seconds_to_best: tuple[float, ...] = ()
    peak_memory_mib: tuple[int, ...] = ()
    occlude_test: str | None = None
    without: tuple[str, ...] = ()
    augment_test: str = ""
    seconds: float = field(default=0.0)
    oracle: bool = False

    def __post_init__(self) -> None:
        ModelFacts.__post_init__(self)
        SplitFacts.__post_init__(self)
        for name in FACTS_OF_FOLDS:
            value = getattr(self, name)
            check(name, isinstance(value, tuple), "a list of one entry a fold", value)
        for seen in self.trained_on:
            words = "a list of subjects and videos, by fold"
            check("trained_on", isinstance(seen, TrainedOn), words, seen)

    @classmethod
    def of(cls, fit: FitFacts, split: SplitFacts, **own: Any) -> ResultFacts:
        """Join the facts of one fold's fit, its split and its test."""
        given = {one.name: getattr(fit, one.name) for one in fields(fit)}
        given = {
            name: value if name not in FACTS_OF_FOLDS else () if value is None else (value,)
            for name, value in given.items()
        }
        return cls(**given | {one.name: getattr(split, one.name) for one in fields(split)} | own)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "trained_on" and isinstance(value, list):
            return tuple(map(TrainedOn.from_json, value))
        return as_tuple(value) if name in FACTS_OF_FOLDS else super()._read(name, value)


FACTS_OF_FOLDS = (
    *("n_train", "n_validation", "n_test", "train_class_counts", "best_epoch", "trained_on"),
    *("seconds_to_best", "peak_memory_mib"),
)
"""Facts that have an entry for each fold."""


def join_facts(each: list[ResultFacts]) -> ResultFacts:
    """Join the facts of folds: the first fold's, with lists where they differ, seconds summed."""
    listed: dict[str, Any] = {
        name: tuple(one for facts in each for one in getattr(facts, name))
        for name in FACTS_OF_FOLDS
    }
    return replace(
        each[0],
        **listed,
        warnings=tuple(dict.fromkeys(line for facts in each for line in facts.warnings)),
        seconds=round(sum(facts.seconds for facts in each), 2),
    )
