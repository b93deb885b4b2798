"""The protocol of an evaluation: how clips are divided into training and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from microx.errors import InputError, SplitError
from microx.schema import HonestProtocol, LeakyProtocol

PROTOCOLS: tuple[str, ...] = get_args(HonestProtocol)
"""Protocols whose parts share no subject."""

LEAKY: tuple[str, ...] = get_args(LeakyProtocol)
"""Published protocols that put clips of one video and one subject into both training and test: the
MicroX paper's released code, a fifth of the shuffled clips tested; the apex paper's naive 70/30;
and its folds over images."""

N_FOLDS = 5
"""Of kfold, by default."""


@dataclass(frozen=True)
class Protocol:
    """How clips are divided.

    Attributes
    ----------
    kind : str
        Of `PROTOCOLS` or `LEAKY`; see `microx.training.splits.make_splits`.
    n_folds : int
        For ``"kfold"``, at least 2.
    split_seed : int, optional
        Seed of the split; None means the seed of the training. With it, trainings of different
        seeds test the same subjects.
    split_file : path, optional
        For ``"list"``: the parts; see `microx.training.splits.read_parts`.

    Raises
    ------
    SplitError
        If there is no such kind.
    InputError
        If another value is invalid.

    Examples
    --------
    >>> Protocol("kfold", n_folds=3).is_leaky
    False
    """

    kind: str = "holdout"
    n_folds: int = N_FOLDS
    split_seed: int | None = None
    split_file: str | Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*PROTOCOLS, *LEAKY):
            raise SplitError(
                f"`protocol` must be one of {', '.join(PROTOCOLS)} or, leaky on purpose, "
                f"{', '.join(LEAKY)}; found '{self.kind}'"
            )
        if type(self.n_folds) is not int:
            raise InputError(f"`n_folds` must be a whole number; received {self.n_folds!r}")
        if self.kind == "kfold" and self.n_folds < 2:
            raise SplitError(f"kfold needs at least 2 folds; found {self.n_folds}")

    @classmethod
    def of(cls, protocol: Protocol | str) -> Protocol:
        """A protocol, or one of a kind that is named."""
        return protocol if isinstance(protocol, Protocol) else cls(protocol)

    @property
    def is_leaky(self) -> bool:
        """Whether training and test share subjects."""
        return self.kind in LEAKY

    def as_dict(self) -> dict[str, Any]:
        """The protocol as in run.json: ``protocol``, ``n_folds``, and a split file if any."""
        told: dict[str, Any] = {"protocol": self.kind, "n_folds": self.n_folds}
        if self.split_file is not None:
            told["split_file"] = str(self.split_file)
        return told
