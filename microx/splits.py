"""Which clips train, which choose the epoch, which test: splits that share no subject.

A split is three arrays of row numbers into the clips frame. Where no subject is known, the
video takes the subject's place; the result then says nothing about new people, and says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, LeaveOneGroupOut, StratifiedGroupKFold

from microx.errors import SplitError

PROTOCOLS = ("holdout", "kfold", "loso")

_N_DRAWS = 25  # shuffles tried for one whose classes are balanced as in the whole (our choice)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the clips frame that train, validate and test one fold.

    Attributes
    ----------
    name : str
        Such as ``"fold 2 of 5"`` or, for leave-one-subject-out, the subject.
    train, validation, test : (n,) int64
        Row numbers; none in two of the three, none of the three empty.

    Raises
    ------
    SplitError
        If a part is empty or two parts share a row. Whether they share a *subject* needs the
        clips: `check_disjoint`.
    """

    name: str
    train: Rows
    validation: Rows
    test: Rows

    def __post_init__(self) -> None:
        rows = np.concatenate([part for _, part in self.parts()])
        for name, part in self.parts():
            if not len(part):
                raise SplitError(f"split '{self.name}': the {name} part is empty")
        if len(np.unique(rows)) < len(rows):
            raise SplitError(f"split '{self.name}': the same clip stands in two parts")

    def parts(self) -> Iterable[tuple[str, Rows]]:
        """Name and rows of train, validation and test, in this order."""
        return (("train", self.train), ("validation", self.validation), ("test", self.test))


def clip_groups(clips: pd.DataFrame) -> tuple[npt.NDArray[np.str_], str]:
    """What must not be shared between the parts of a split.

    Parameters
    ----------
    clips : DataFrame
        With columns subject and video_id.

    Returns
    -------
    groups : (n,) str
        The subject of each clip; its video where the subject is ``""``.
    kind : {"subject", "video"}
        ``"video"`` as soon as one clip has no subject: nothing can then be claimed about
        people never seen.

    Examples
    --------
    >>> clips = pd.DataFrame({"subject": ["1", "1"], "video_id": ["a", "b"]})
    >>> clip_groups(clips)[1]
    'subject'
    """
    subject = clips["subject"].to_numpy(str)
    video_id = clips["video_id"].to_numpy(str)
    kind = "subject" if np.all(subject != "") else "video"
    # The prefix keeps a video called "7" apart from a subject called "7".
    return np.where(subject != "", subject, np.char.add("video ", video_id)), kind


def make_splits(
    clips: pd.DataFrame,
    protocol: str = "holdout",
    *,
    seed: int = 0,
    n_folds: int = 5,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.2,
) -> list[Split]:
    """Divide clips so that no subject stands in two of train, validation and test.

    Parameters
    ----------
    clips : DataFrame
        `Corpus.clips`: columns subject, video_id, label.
    protocol : {"holdout", "kfold", "loso"}
        One division; `n_folds` divisions that test each clip once, their classes balanced
        (scikit-learn's StratifiedGroupKFold); or as many as there are subjects.
    seed : int
    n_folds : int
        For ``"kfold"``, at least 2.
    test_fraction : float
        Share of the *subjects* that test a holdout, in (0, 1).
    validation_fraction : float
        Share of the remaining subjects that choose the epoch, in (0, 1).

    Returns
    -------
    list of Split

    Raises
    ------
    SplitError
        If the subjects are too few, naming how many are needed and found.

    Notes
    -----
    Of 25 shuffles the one is taken whose parts have class shares closest to the whole's.

    Examples
    --------
    >>> clips = pd.DataFrame(
    ...     {"subject": list("aabbccdd"), "video_id": list("12345678"), "label": [0, 1] * 4}
    ... )
    >>> split, = make_splits(clips)
    >>> len(split.train), len(split.validation), len(split.test)
    (4, 2, 2)
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"protocol must be one of {', '.join(PROTOCOLS)}; found '{protocol}'")
    groups, kind = clip_groups(clips)
    _check_enough(groups, kind, protocol, n_folds)
    labels = clips["label"].to_numpy(np.int64)
    everything = np.arange(len(clips))
    if protocol == "holdout":
        tests = [("holdout", _take(everything, groups, labels, test_fraction, seed))]
    elif protocol == "kfold":
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # of rare classes `split_warnings` tells, by name
            warnings.simplefilter("ignore", UserWarning)
            parts = [test for _, test in folds.split(everything, labels, groups)]
        tests = [(f"fold {k} of {n_folds}", test) for k, test in enumerate(parts, start=1)]
    else:
        parts = [test for _, test in LeaveOneGroupOut().split(everything, labels, groups)]
        tests = [(f"subject {groups[test[0]]}", test) for test in parts]
    splits = []
    for name, test in tests:
        rest = np.setdiff1d(everything, test)
        if len(np.unique(groups[rest])) < 2:
            raise SplitError(
                f"{name}: testing on {len(np.unique(groups[test]))} {kind}s leaves fewer than 2 "
                f"for training and validation; use more folds, a smaller test part or more {kind}s"
            )
        validation = _take(rest, groups, labels, validation_fraction, seed)
        splits.append(Split(name, np.setdiff1d(rest, validation), validation, test))
        check_disjoint(clips, splits[-1])
    return splits


def check_disjoint(clips: pd.DataFrame, split: Split) -> None:
    """Prove that a split's parts share neither subject nor video.

    Parameters
    ----------
    clips : DataFrame
        The frame the split's rows point into.
    split : Split
        Of whatever origin.

    Raises
    ------
    SplitError
        Naming the subjects or videos that stand in two parts.
    """
    for kind in ("subject", "video_id"):
        names = clips[kind].to_numpy(str)
        held = {part: set(names[rows]) - {""} for part, rows in split.parts()}
        for one, other in (("train", "test"), ("validation", "test"), ("train", "validation")):
            shared = sorted(held[one] & held[other])
            if shared:
                raise SplitError(
                    f"split '{split.name}': {kind} {', '.join(shared[:5])} stands in both {one} "
                    f"and {other} ({len(shared)} in all); the scores would not be honest"
                )


def split_warnings(clips: pd.DataFrame, split: Split, classes: Sequence[str]) -> list[str]:
    """What a reader of the scores has to know about a split: classes without clips.

    Parameters
    ----------
    clips : DataFrame
    split : Split
    classes : sequence of str

    Returns
    -------
    list of str
        One sentence per part, training or validation, that lacks a class; empty where all is well.
    """
    labels = clips["label"].to_numpy(np.int64)
    sentences = []
    # A test part may well lack a class, as one person's does; the pooled test is what counts.
    for part, rows in (("train", split.train), ("validation", split.validation)):
        absent = [name for k, name in enumerate(classes) if k not in labels[rows]]
        if absent:
            sentences.append(f"{split.name}: no {part} clips of {', '.join(absent)}")
    return sentences


def _check_enough(groups: npt.NDArray[np.str_], kind: str, protocol: str, n_folds: int) -> None:
    if protocol == "loso" and kind == "video":
        raise SplitError(
            "loso leaves one subject out, but not every video has a subject; "
            "fill in the subject column of the labels, or use kfold"
        )
    needed = max(3, n_folds) if protocol == "kfold" else 3
    if protocol == "kfold" and n_folds < 2:
        raise SplitError(f"kfold needs at least 2 folds; found {n_folds}")
    n_groups = len(np.unique(groups))
    if n_groups < needed:
        advice = (
            "add people, or leave the subject column empty to split by video, which says "
            "nothing about new people"
            if kind == "subject"
            else "add videos"
        )
        raise SplitError(
            f"{protocol} needs at least {needed} {kind}s, so that training, validation and test "
            f"share none; found {n_groups} with usable clips; {advice}"
        )


def _take(
    rows: Rows, groups: npt.NDArray[np.str_], labels: Rows, fraction: float, seed: int
) -> Rows:
    """Rows of about a fraction of the groups, their classes balanced like the whole."""
    n_groups = len(np.unique(groups[rows]))
    n_taken = min(max(1, round(n_groups * fraction)), n_groups - 1)
    shuffle = GroupShuffleSplit(_N_DRAWS, test_size=n_taken, random_state=seed)
    n_classes = labels.max() + 1

    def imbalance(taken: Rows) -> float:
        whole = np.bincount(labels[rows], minlength=n_classes) / len(rows)
        part = np.bincount(labels[rows][taken], minlength=n_classes) / len(taken)
        return float(np.abs(whole - part).sum())

    draws = [taken for _, taken in shuffle.split(rows, groups=groups[rows])]
    return np.asarray(rows[min(draws, key=imbalance)], np.int64)
