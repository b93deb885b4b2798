"""Splits of clips into training, validation and test that share no subject.

A split is three arrays of row numbers into the clips frame. Where no subject is known, clips are
split by video; the result then says nothing about new subjects, and is marked so.
The protocols of `LEAKY` do share subjects; they are there to measure how much that adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import (
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    train_test_split,
)

from microx.corpus.corpus import FACE_MARK
from microx.errors import SplitError
from microx.text import first_few
from microx.training.protocol import LEAKY, Protocol

_TEST_FRACTIONS = {"holdout": 0.25, "clips": 0.2, "naive": 0.3}  # the first is our choice

_PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "publictest"),
    "test": ("test", "testing", "privatetest"),
}

_N_DRAWS = 25  # shuffles tried, to find one whose classes are balanced as in the whole (our choice)
_N_DRAWS_OF_RARE = 1000  # if each of these takes all clips of a class (our choice)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the clips frame for training, validation and test of one fold.

    Attributes
    ----------
    name : str
        Such as ``"fold 2 of 5"`` or, for leave-one-subject-out, the subject.
    train, validation, test : (n,) int64
        Row numbers; none in two of the three, none of the three empty.

    Raises
    ------
    SplitError
        If the train or test part is empty, or two parts share a row. Whether they share a
        *subject* needs the clips: `check_disjoint`.
    """

    name: str
    train: Rows
    validation: Rows
    test: Rows

    def __post_init__(self) -> None:
        rows = np.concatenate([part for _, part in self.parts()])
        for name, part in self.parts():
            if not len(part) and name != "validation":
                raise SplitError(f"split '{self.name}': the {name} part is empty")
        if len(np.unique(rows)) < len(rows):
            raise SplitError(f"split '{self.name}': the same clip is in two parts")

    def without_validation(self) -> Split:
        """The same with the validation's rows trained on, for models that choose no epoch."""
        rows = np.sort(np.concatenate([self.train, self.validation]))
        return replace(self, train=rows, validation=rows[:0])

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
        ``"video"`` as soon as one clip has no subject: the scores then say nothing about
        unseen subjects.

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
    test_fraction: float | None = None,
    validation_fraction: float = 0.2,
    parts: pd.DataFrame | None = None,
) -> list[Split]:
    """Divide clips so that no subject is in two of train, validation and test.

    Parameters
    ----------
    clips : DataFrame
        `Corpus.clips`: columns subject, video_id, label; corpus for ``"loco"``. Subjects of one
        name count as one, also across corpora.
    protocol : str
        ``"holdout"``: one split. ``"kfold"``: `n_folds` splits that test each clip once, with
        balanced classes (scikit-learn's StratifiedGroupKFold). ``"loso"``: one split for each
        subject, ``"loco"``: for each corpus. ``"list"``: those of `parts`.

        Of `LEAKY`: ``"clip-folds"`` tests each clip once, in `n_folds` parts of shuffled clips;
        ``"clips"`` tests a fifth of the shuffled clips and ``"naive"`` three tenths, of any
        subject; the rest is divided for validation in the same way.
    seed : int
    n_folds : int
        For ``"kfold"``, at least 2.
    test_fraction : float, optional
        Share of the *subjects* tested in a holdout, in (0, 1), by default 0.25; for a protocol
        of `LEAKY` the share of the clips, by default the protocol's own.
    validation_fraction : float
        Share of the remaining subjects that choose the epoch, in (0, 1); for `LEAKY`, of the
        remaining clips.
    parts : DataFrame, optional
        For ``"list"``: see `read_parts`. A fold without a validation part takes it from the
        training subjects.

    Returns
    -------
    list of Split

    Raises
    ------
    SplitError
        If there are too few subjects, naming how many are needed and found, or if a list puts
        one subject or video into two parts.

    Notes
    -----
    Of 25 shuffles, the one whose parts have class shares closest to the whole's is used, among
    those that leave training clips of every class; if none of the 25 does, of 1,000. Both this
    and kfold count videos, not clips, so that clips of another length or stride give the same
    split of subjects, as long as each video keeps a clip; the leaky protocols count clips. The
    released code of the MicroX paper calls ``train_test_split(test_size=.2, shuffle=True,
    random_state=0)`` over the clips, and uses .2 of the training rows for validation.

    Examples
    --------
    >>> clips = pd.DataFrame(
    ...     {"subject": list("aabbccdd"), "video_id": list("12345678"), "label": [0, 1] * 4}
    ... )
    >>> split, = make_splits(clips)
    >>> len(split.train), len(split.validation), len(split.test)
    (4, 2, 2)
    """
    Protocol(protocol, n_folds)  # refuses invalid values
    if (protocol == "list") != (parts is not None):
        found = "no list" if parts is None else f"a list and protocol {protocol}"
        raise SplitError(
            f"`protocol=list` and a list of parts (`split_file`) go together; found {found}"
        )
    if test_fraction is None:
        test_fraction = _TEST_FRACTIONS.get(protocol, 0.0)
    if protocol == "clip-folds":
        return _fold_clips(len(clips), n_folds, validation_fraction, seed)
    if protocol in LEAKY:
        return [_shuffle_clips(len(clips), protocol, test_fraction, validation_fraction, seed)]
    groups, kind = clip_groups(clips)
    if parts is not None:
        divisions = _list_rows(clips, parts)
    else:
        _check_enough(clips, groups, kind, protocol, n_folds)
        tests = _list_tests(clips, protocol, n_folds, test_fraction, seed)
        everything, empty = np.arange(len(clips)), np.empty(0, np.int64)
        divisions = [(name, np.setdiff1d(everything, test), empty, test) for name, test in tests]
    splits = []
    for name, train, validation, test in divisions:
        if not len(validation):
            _check_rest(name, kind, groups[train], groups[test])
            validation = _take(clips, train, validation_fraction, seed)
            train = np.setdiff1d(train, validation)
        splits.append(Split(name, train, validation, test))
        check_disjoint(clips, splits[-1])
    return splits


def read_parts(
    path: str | Path, manifest: pd.DataFrame, clips: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read a list of parts, our own or a published one, for ``protocol="list"``.

    Parameters
    ----------
    path : path
        A CSV that names clips or videos in its column clip_id, video_id or path, and has train,
        validation or test in ``part`` (or FER2013's ``Usage``), in upper or lower case; FER2013's
        Training, PublicTest and PrivateTest are these three. With a column ``fold`` instead,
        each fold is tested once and the others train; for a single fold the rest of the corpus
        trains. With both, each fold has parts of its own. split.csv of ``microx train`` and
        predictions.csv of a run are such files; each pair of a run's row and seed is a list of
        its own, named in its folds, and equal lists are joined.
    manifest : DataFrame
        `microx.corpus.corpus.Corpus.manifest`. A name that several faces of a video share means all
        of them.
    clips : DataFrame, optional
        If given, and if the file names only clips of these, the parts are of clips; else they
        are of whole videos.

    Returns
    -------
    parts : DataFrame
        Columns clip_id (for parts of clips), video_id, fold and part, all str; a clip or video
        once for each fold and part.
    notes : list of str
        One sentence each for videos of the file that the corpus lacks, videos that the file
        lacks, and clips that are not among `clips`; empty where the two agree.

    Raises
    ------
    SplitError
        If the file cannot be read as such a list, or names nothing that the corpus holds.

    Examples
    --------
    >>> parts, notes = read_parts("split.csv", corpus.manifest)  # doctest: +SKIP
    """
    path = Path(path)
    table = _read_list(path)
    videos = manifest.loc[manifest["status"] == "done", ["video_id", "path"]]
    table, known, strange = _name_clips(path, table, videos, clips)
    named = table[["name", "run", "fold", "part"]]
    named = named.merge(known.drop_duplicates(), on="name", how="left")
    lost = named.loc[named["video_id"].isna(), "name"].unique().tolist()
    named = named.dropna(subset="video_id")
    if named.empty:
        raise SplitError(
            f"{path}: expected clips or videos of the corpus "
            f"({first_few(videos['video_id'].tolist())}); found only {first_few(lost)}"
        )
    columns = [name for name in ("clip_id", "video_id") if name in known]
    units = known[columns].drop_duplicates()
    parts = join_runs(named[["run", *columns, "fold", "part"]].drop_duplicates())
    if (parts["part"] == "").all():
        runs = [_add_training(run, units) for _, run in parts.groupby("run", sort=False)]
        parts = pd.concat(runs, ignore_index=True)
    unused = units.loc[~units["video_id"].isin(parts["video_id"]), "video_id"].unique().tolist()
    notes = []
    if strange:
        notes.append(
            f"{path.name}: {len(strange)} clips are not among the corpus's "
            f"({first_few(strange)}), so it was read as a list of whole videos; whether clips of "
            "one video are in two parts is not known"
        )
    if lost:
        notes.append(f"{path.name}: {len(lost)} names are not in the corpus: {first_few(lost)}")
    if unused:
        notes.append(f"{path.name}: {len(unused)} videos are in no part: {first_few(unused)}")
    return parts[[*columns, "fold", "part"]], notes


def join_runs(parts: pd.DataFrame) -> pd.DataFrame:
    """Name each fold after its run, and keep runs with the same split once.

    Parameters
    ----------
    parts : DataFrame
        Columns run (``""`` if there is only one), fold, and those that define the parts.

    Returns
    -------
    DataFrame
        The rows of the first of equal runs, fold such as ``"mouth and 6 more, fold 1"``.

    Examples
    --------
    >>> table = [["a", "v", "fold 1", "test"], ["b", "v", "fold 1", "test"]]
    >>> join_runs(pd.DataFrame(table, columns=["run", "video_id", "fold", "part"]))["fold"].tolist()
    ['a and 1 more, fold 1']
    """
    alike: dict[frozenset[tuple[str, ...]], list[str]] = {}
    for run, rows in parts.groupby("run", sort=False):
        division = frozenset(rows.drop(columns="run").itertuples(index=False, name=None))
        alike.setdefault(division, []).append(str(run))
    names = {runs[0]: f"{first_few(runs, 1)}, " if runs[0] else "" for runs in alike.values()}
    parts = parts[parts["run"].isin(names)]
    return parts.assign(fold=parts["run"].map(names) + parts["fold"])


def name_run(row: str, seed: object, n_seeds: int) -> str:
    """Name a row of a run with one seed; the seed is part of the name if there are several."""
    return f"{row}, seed {seed}" if n_seeds > 1 else row


def check_disjoint(clips: pd.DataFrame, split: Split) -> None:
    """Check that a split's parts share neither subject nor video.

    Parameters
    ----------
    clips : DataFrame
        The frame the split's rows point into.
    split : Split
        Of any origin.

    Raises
    ------
    SplitError
        Naming the subjects or videos that are in two parts.
    """
    for kind in ("subject", "video_id"):
        names = clips[kind].to_numpy(str)
        held = {part: set(names[rows]) - {""} for part, rows in split.parts()}
        for one, other in (("train", "test"), ("validation", "test"), ("train", "validation")):
            shared = sorted(held[one] & held[other])
            if shared:
                raise SplitError(
                    f"split '{split.name}': {kind} {first_few(shared)} is in both {one} and "
                    f"{other}; the scores would be too high; put each into one part, and rename "
                    "different subjects of one name"
                )


def split_warnings(clips: pd.DataFrame, split: Split, classes: Sequence[str]) -> list[str]:
    """What a reader of the scores should know about a split: classes without clips.

    Parameters
    ----------
    clips : DataFrame
    split : Split
    classes : sequence of str

    Returns
    -------
    list of str
        One sentence per part that lacks a class, training, validation or the only test; empty
        if none does.
    """
    labels = clips["label"].to_numpy(np.int64)
    sentences = []
    # A fold's test part may well lack a class, as one subject's does: the pooled test counts.
    parts = [("train", split.train), ("validation", split.validation)]
    if split.name in _TEST_FRACTIONS:
        parts.append(("test", split.test))
    for part, rows in parts:
        if part == "validation" and not len(rows):
            continue  # no epoch is chosen
        absent = [name for k, name in enumerate(classes) if k not in labels[rows]]
        if absent:
            sentences.append(f"{split.name}: no {part} clips of {', '.join(absent)}")
    return sentences


def _check_enough(
    clips: pd.DataFrame, groups: npt.NDArray[np.str_], kind: str, protocol: str, n_folds: int
) -> None:
    if protocol == "loso" and kind == "video":
        raise SplitError(
            "loso leaves one subject out, but not every video has a subject; "
            "fill in the subject column of the labels, or use kfold"
        )
    if protocol == "loco":
        corpora = sorted(set(clips["corpus"].astype(str)))
        if len(corpora) < 2 or "" in corpora:
            raise SplitError(
                "loco leaves one corpus out and needs at least 2, named for every video; found "
                f"{first_few([name or '(none)' for name in corpora]) or 'no clips'}; "
                "fill in the corpus column of the labels"
            )
    needed = max(3, n_folds) if protocol == "kfold" else 3
    if protocol == "kfold" and n_folds < 2:
        raise SplitError(f"kfold needs at least 2 folds; found {n_folds}")
    n_groups = len(np.unique(groups))
    if n_groups < needed:
        advice = (
            "add subjects, or leave the subject column empty to split by video, which says "
            "nothing about new subjects"
            if kind == "subject"
            else "add videos"
        )
        raise SplitError(
            f"{protocol} needs at least {needed} {kind}s, so that training, validation and test "
            f"share none; found {n_groups} with usable clips; {advice}"
        )


def _check_rest(
    name: str, kind: str, train: npt.NDArray[np.str_], test: npt.NDArray[np.str_]
) -> None:
    if len(np.unique(train)) < 2:
        raise SplitError(
            f"{name}: testing on {len(np.unique(test))} {kind}s leaves fewer than 2 "
            f"for training and validation; use more folds, a smaller test part or more {kind}s"
        )


def _list_tests(
    clips: pd.DataFrame, protocol: str, n_folds: int, test_fraction: float, seed: int
) -> list[tuple[str, Rows]]:
    """Name each fold and give its test rows."""
    groups, kind = clip_groups(clips)
    labels = clips["label"].to_numpy(np.int64)
    everything = np.arange(len(clips))
    if protocol == "holdout":
        return [("holdout", _take(clips, everything, test_fraction, seed))]
    if protocol == "kfold":
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        # scikit-learn refuses classes of fewer rows than folds; repeats by a power of two keep
        # its sums exact, so that ties are broken as without repeats.
        first = np.repeat(_first_clips(clips), 2 ** n_folds.bit_length())
        with warnings.catch_warnings():  # `split_warnings` names rare classes
            warnings.simplefilter("ignore", UserWarning)
            chosen = [test for _, test in folds.split(first, labels[first], groups[first])]
        tests = [np.flatnonzero(np.isin(groups, groups[first[test]])) for test in chosen]
        return [(f"fold {k} of {n_folds}", test) for k, test in enumerate(tests, start=1)]
    kind, names = (
        ("corpus", clips["corpus"].to_numpy(str)) if protocol == "loco" else (kind, groups)
    )
    tests = [test for _, test in LeaveOneGroupOut().split(everything, labels, names)]
    return [(f"{kind} {names[test[0]]}", test) for test in tests]


def _shuffle_clips(
    n_clips: int, protocol: str, test_fraction: float, validation_fraction: float, seed: int
) -> Split:
    if n_clips < 3:
        raise SplitError(f"{protocol} needs at least 3 clips; found {n_clips}; add videos")
    rest, test = train_test_split(np.arange(n_clips), test_size=test_fraction, random_state=seed)
    train, validation = train_test_split(rest, test_size=validation_fraction, random_state=seed)
    return Split(protocol, np.sort(train), np.sort(validation), np.sort(test))


def _fold_clips(n_clips: int, n_folds: int, validation_fraction: float, seed: int) -> list[Split]:
    if n_clips < n_folds or n_folds < 2:
        raise SplitError(
            f"clip-folds needs at least 2 folds and a clip for each of them; found {n_clips} clips "
            f"for {n_folds} folds"
        )
    splits = []
    folds = KFold(n_folds, shuffle=True, random_state=seed).split(np.arange(n_clips))
    for fold, (rest, test) in enumerate(folds, start=1):
        parts = train_test_split(rest, test_size=validation_fraction, random_state=seed)
        train, validation = map(np.sort, parts)
        splits.append(Split(f"clip fold {fold}", train, validation, np.sort(test)))
    return splits


def _list_rows(clips: pd.DataFrame, parts: pd.DataFrame) -> list[tuple[str, Rows, Rows, Rows]]:
    """Name each fold of a list and give the rows of its train, validation and test."""
    unit = "clip_id" if "clip_id" in parts else "video_id"
    divisions = []
    for name, fold in parts.groupby("fold", sort=False):
        train, validation, test = (
            np.flatnonzero(clips[unit].isin(fold.loc[fold["part"] == part, unit]))
            for part in _PARTS
        )
        divisions.append((str(name), train, validation, test))
    return divisions


def _read_list(path: Path) -> pd.DataFrame:
    """Read a list of parts: its columns of names, run, fold and part, "" where there is none."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        found = " ".join(str(error).split())
        raise SplitError(f"{path}: expected a CSV of parts or folds; found {found}") from None
    table.columns = table.columns.str.strip().str.casefold()
    table = table.rename(columns={} if "part" in table else {"usage": "part"})
    if table.empty or not {"part", "fold"} & set(table):
        raise SplitError(
            f"{path}: expected rows with a column part (train, validation, test) or fold; found "
            f"{len(table)} rows and the columns {', '.join(map(str, table))}"
        )
    if "part" in table:
        spelled = {spelling: part for part, all_ in _PARTS.items() for spelling in all_}
        part = table["part"].str.strip().str.casefold().map(spelled)
        if part.isna().any():
            wrong = table.loc[part.isna(), "part"].replace("", "(nothing)").unique().tolist()
            raise SplitError(
                f"{path}: part must be train, validation or test; found {first_few(wrong)}"
            )
        table["part"] = part
    if "fold" in table and (table["fold"].str.strip() == "").any():
        raise SplitError(f"{path}: expected a fold in every row; found an empty one; fill it in")
    fold = "fold " + table["fold"].str.strip() if "fold" in table else "list"
    run: list[str] | str = ""
    if {"row", "seed"} <= set(table):
        n_seeds = table["seed"].nunique()
        run = [name_run(*pair, n_seeds) for pair in zip(table["row"], table["seed"], strict=True)]
    return table.assign(run=run, fold=fold, part=table.get("part", ""))


def _name_clips(
    path: Path, table: pd.DataFrame, videos: pd.DataFrame, clips: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Give each row the name of its clip, and the corpus's clips by such names.

    If no clips are named or given, or some are unknown, videos take their place; the unknown
    clips are the third value.
    """
    strange = list[str]()
    if clips is not None and "clip_id" in table:
        strange = table.loc[~table["clip_id"].isin(clips["clip_id"]), "clip_id"].unique().tolist()
        if not strange:
            known = clips[["clip_id", "video_id"]].assign(name=clips["clip_id"])
            return table.assign(name=table["clip_id"]), known, strange
    return *_name_videos(path, table, videos), strange


def _name_videos(
    path: Path, table: pd.DataFrame, videos: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give each row the name of its video, and the corpus's videos by such names."""
    by_id = videos[["video_id"]].assign(name=videos["video_id"])
    known = pd.concat([by_id, by_id.assign(name=by_id["name"].str.partition(FACE_MARK)[0])])
    if "video_id" in table:
        return table.assign(name=table["video_id"]), known
    if "path" in table:
        return table.assign(name=table["path"]), videos.assign(name=videos["path"])
    if "clip_id" in table:
        return table.assign(name=table["clip_id"].str.rpartition(":")[0]), known
    raise SplitError(
        f"{path}: expected a column clip_id, video_id or path; found {', '.join(map(str, table))}"
    )


def _add_training(tests: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """Let each fold train on the others, or a single one on all videos it does not name."""
    unit = units.columns[0]
    several = tests["fold"].nunique() > 1
    folds = []
    for name, test in tests.groupby("fold", sort=False):
        rest = tests.loc[tests["fold"] != name, units.columns].drop_duplicates()
        if not several:
            rest = units[~units[unit].isin(test[unit])]
        folds += [rest.assign(fold=name, part="train"), test.assign(part="test")]
    return pd.concat(folds, ignore_index=True)


def _take(clips: pd.DataFrame, rows: Rows, fraction: float, seed: int) -> Rows:
    """Rows of about a fraction of the groups, their classes balanced like the whole.

    A choice that leaves the other rows clips of every class is preferred.
    """
    groups = clip_groups(clips)[0]
    labels = clips["label"].to_numpy(np.int64)
    first = rows[_first_clips(clips.iloc[rows])]
    n_groups = len(np.unique(groups[first]))
    n_taken = min(max(1, round(n_groups * fraction)), n_groups - 1)
    whole = np.bincount(labels[first], minlength=labels.max() + 1)

    def rank(taken: Rows) -> tuple[int, float]:
        part = np.bincount(labels[first][taken], minlength=len(whole))
        n_emptied = int(np.sum((whole > 0) & (part == whole)))
        return n_emptied, float(np.abs(whole / len(first) - part / len(taken)).sum())

    for n_draws in (_N_DRAWS, _N_DRAWS_OF_RARE):
        shuffle = GroupShuffleSplit(n_draws, test_size=n_taken, random_state=seed)
        draws = [taken for _, taken in shuffle.split(first, groups=groups[first])]
        best = min(draws, key=rank)
        if rank(best)[0] == 0:
            break
    return rows[np.isin(groups[rows], groups[first[best]])]


def _first_clips(clips: pd.DataFrame) -> Rows:
    """Row of the first clip of each video, or of each of its labels.

    The number of clips of a video depends on their length; the tested subjects must not.
    """
    return np.flatnonzero(~clips.duplicated(["video_id", "label"]))
