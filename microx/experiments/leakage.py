"""Find what two parts of a split share: subjects, videos, copies of them, renamed subjects.

Names are compared and, since names can miss a leak, the bytes of the files, the images and the
mean faces. The split may be our own or a published one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.fft import dctn
from scipy.spatial.distance import pdist
from sklearn.covariance import ledoit_wolf

from microx.corpus.corpus import FACE_MARK, Corpus
from microx.errors import SplitError
from microx.evaluation.result import EvaluationResult, is_finished, read_result
from microx.experiments.run import read_run
from microx.progress import Progress
from microx.text import first_few
from microx.training.splits import Split, join_runs, make_splits, name_run, read_parts

KINDS = ("subject", "video", "file", "image", "mirrored image", "face")
"""What two parts of a split can share, the most certain first."""

IMAGE_LIMIT = 0.05
"""Distance up to which two videos count as showing the same images, in [0, 1], where unrelated
videos are near 0.5 (our choice). Of 20 drawn videos re-encoded in four ways and tracked again, all
were within 0.036, mirrored ones within 0.040; of 1,008 and 336 drawn videos no two of different
subjects were closer than 0.070."""

FACE_SHARE = 0.15
"""Two names count as one subject if their distance is at most this share of the usual distance of
two subjects (our choice). Of 36 and of 24 drawn actors the closest two were at 0.28 and 0.26, one
subject's videos under two names at most at 0.03 and 0.05; with 24 actors of two videos each, a
renamed one was found two times in three."""

MIN_CALIBRATION = 3
"""Subjects of at least two videos that are needed to estimate how much one subject varies (our
choice)."""

_N_FRAMES = 8  # of a video, spread evenly (our choice)
_IMAGE_SIDE = 32  # px of the compared images (our choice)
_N_WAVES = 12  # across and down: finer ones are lost in re-encoding (our choice)
_BLOCK = 32  # videos compared with all others at a time, for memory's sake (our choice)
_FACE_SIDE = 8  # px of the mean faces, in colour (our choice)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_SIDES = (("train", "test"), ("validation", "test"), ("train", "validation"))
_ALIKE = ("kind", "one", "other", "detail")

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Leak:
    """One thing that two parts of a split share.

    Attributes
    ----------
    fold : str
        Name of the split, such as ``"holdout"`` or ``"fold 2 of 5"``.
    kind : str
        One of `KINDS`.
    train, test : str
        The subject or video in either part; the same name twice if it is shared by name.
    sides : (str, str)
        The two parts: train or validation, and test or validation.
    detail : str
        How similar they are; ``""`` if they share a name.

    Examples
    --------
    >>> print(Leak("holdout", "subject", "S1", "S1", ("train", "test")))
    holdout: subject S1 is in train and in test
    """

    fold: str
    kind: str
    train: str
    test: str
    sides: tuple[str, str]
    detail: str = ""

    def __str__(self) -> str:
        one, other = self.sides
        if self.train == self.test:
            return f"{self.fold}: {self.kind} {self.train} is in {one} and in {other}"
        verb = {
            "file": "is the same file as",
            "image": "shows almost the same images as",
            "mirrored image": "shows, mirrored, almost the same images as",
            "face": "looks like",
        }[self.kind]
        return f"{self.fold}: {self.train} in {one} {verb} {self.test} in {other} ({self.detail})"


def find_leaks(
    corpus: Corpus, parts: pd.DataFrame, *, progress: Progress | None = None
) -> list[Leak]:
    """Find what a split shares between train, validation and test.

    Parameters
    ----------
    corpus : Corpus
    parts : DataFrame
        Columns video_id, fold and part, as `name_parts` and `microx.training.splits.read_parts`
        give them; train, validation or test. A video of several parts is a leak.
    progress : callable, optional
        Called with the videos read, the videos in all, and a video_id.

    Returns
    -------
    list of Leak
        By fold and kind; empty if nothing is shared, and for no parts.

    Raises
    ------
    CorpusError
        If a video's file is missing or damaged.

    Notes
    -----
    *Images*: of 8 frames of each face the 12 x 12 lowest coefficients of a cosine transform, each
    standardised over the corpus; the distance is half of 1 minus the cosine. It is a perceptual
    hash without rounding to bits, which would lose half of the margin. Each frame is compared
    with the closest of the other video, so that a copy may begin later; the distance is the
    median over frames. Pairs of one named subject are reported as ``"subject"`` only. Where no
    subjects are named, recordings of one subject in one light are found, too, as they should be.

    *Faces*: the mean face of each video in colour, 8 px a side, in units of its spread within
    subjects (Mahalanobis distance; scikit-learn's ``ledoit_wolf``), averaged for each subject.
    Two names look like one subject if they differ far less than subjects usually do. Light,
    make-up and glasses count too: a renamed subject in another light is not found, and two
    similar subjects in the same light may be. Check by eye what is reported.

    Examples
    --------
    >>> clips = corpus.clips()
    >>> find_leaks(corpus, name_parts(clips, make_splits(clips)))
    []
    """
    parts = parts[["video_id", "fold", "part"]].astype(str).drop_duplicates()
    if parts.empty:
        return []
    subjects = dict(zip(corpus.manifest["video_id"], corpus.manifest["subject"], strict=True))
    parts = parts.assign(subject=parts["video_id"].map(subjects).fillna(""))
    alike = _find_alike(corpus, sorted(set(parts["video_id"])), progress)
    return [
        leak
        for fold, rows in parts.groupby("fold", sort=False)
        for leak in _fold_leaks(str(fold), rows, alike)
    ]


def audit_file(
    corpus: Corpus, path: str | Path, *, progress: Progress | None = None
) -> tuple[list[Leak], list[str]]:
    """Audit a list of parts or folds, or a run's predictions.csv.

    Parameters
    ----------
    corpus : Corpus
    path : path
        See `microx.training.splits.read_parts`. For a predictions.csv in its run, beside run.json
        or result.json, the training subjects of each fold are known, and each row and seed is
        audited by itself; those with the same split once. Videos that the corpus skipped as
        copies are audited as well.
    progress : callable, optional
        See `find_leaks`.

    Returns
    -------
    leaks : list of Leak
    notes : list of str
        What the audit cannot find, one sentence each: see `list_blind_spots`.

    Raises
    ------
    SplitError
        If the file is no such list, names nothing that the corpus holds, or is of a run without
        the training subjects of each fold.
    InputError
        If the run beside the file is damaged.

    Examples
    --------
    >>> leaks, notes = audit_file(corpus, "split.csv")  # doctest: +SKIP
    """
    path = Path(path)
    results, notes = _results_beside(path)
    if results:
        parts = join_runs(pd.concat(map(_parts_of_run, results, results.values())))
    else:
        videos = corpus.manifest.assign(status="done")  # copies that we skip, others do not
        parts, notes = read_parts(path, videos, _list_clips(corpus))
    for fold, part in parts.groupby("fold", sort=False)["part"]:
        lacking = [name for name in ("train", "test") if name not in set(part)]
        if lacking:
            raise SplitError(
                f"{path}: expected a train and a test part in fold '{fold}'; found no "
                f"{' and no '.join(lacking)} part; add it"
            )
    return find_leaks(corpus, parts, progress=progress), notes + list_blind_spots(corpus, parts)


def audit_split(
    corpus: Corpus,
    protocol: str = "holdout",
    *,
    seed: int = 0,
    n_folds: int = 5,
    progress: Progress | None = None,
) -> tuple[list[Leak], list[str]]:
    """Audit the split that `microx.training.splits.make_splits` makes of a corpus.

    Parameters
    ----------
    corpus : Corpus
    protocol, seed, n_folds
        See `microx.training.splits.make_splits`; those of `microx.training.splits.LEAKY`, too.
    progress : callable, optional
        See `find_leaks`.

    Returns
    -------
    leaks, notes
        As `audit_file` gives them.

    Raises
    ------
    SplitError
        If there are too few subjects.

    Examples
    --------
    >>> audit_split(corpus)
    ([], [])
    """
    clips = _list_clips(corpus)
    parts = name_parts(clips, make_splits(clips, protocol, seed=seed, n_folds=n_folds))
    leaks = find_leaks(corpus, parts, progress=progress)
    return leaks, list_blind_spots(corpus, parts)


def name_parts(clips: pd.DataFrame, splits: Sequence[Split]) -> pd.DataFrame:
    """List the parts that each video's clips are in, for `find_leaks`.

    Parameters
    ----------
    clips : DataFrame
        The frame that the splits' rows point into.
    splits : sequence of Split

    Returns
    -------
    DataFrame
        video_id, fold (the split's name), part. Empty for no splits.
    """
    tables = [
        clips[["video_id"]].iloc[rows].drop_duplicates().assign(fold=split.name, part=part)
        for split in splits
        for part, rows in split.parts()
    ]
    empty = pd.DataFrame(columns=["video_id", "fold", "part"])
    return pd.concat(tables, ignore_index=True) if tables else empty


def list_blind_spots(corpus: Corpus, parts: pd.DataFrame) -> list[str]:
    """List what an audit of these parts cannot find, one sentence each.

    Parameters
    ----------
    corpus : Corpus
    parts : DataFrame
        As for `find_leaks`.

    Returns
    -------
    list of str
        Empty if there is nothing.
    """
    audited = corpus.manifest[corpus.manifest["video_id"].isin(parts["video_id"])]
    unnamed = audited["subject"] == ""
    unseen = audited["status"] != "done"
    n_videos = audited.loc[~unnamed & ~unseen, "subject"].value_counts()
    notes = []
    if strange := sorted(set(parts["video_id"]) - set(audited["video_id"])):
        notes.append(
            f"{len(strange)} videos are not in the corpus ({first_few(strange)}): neither their "
            "subjects nor their images are compared"
        )
    if unnamed.any():
        notes.append(
            f"{unnamed.sum()} of {len(audited)} videos name no subject: whether training and test "
            "share a subject cannot be told by name"
        )
    if unseen.any():
        notes.append(f"{unseen.sum()} of {len(audited)} videos have no crops: only names compared")
    if (n_videos > 1).sum() < MIN_CALIBRATION:
        notes.append(
            f"fewer than {MIN_CALIBRATION} subjects have two videos: whether two names are one "
            "subject is not known"
        )
    return notes


def _list_clips(corpus: Corpus) -> pd.DataFrame:
    clips = corpus.clips()
    return corpus.clips(1) if clips.empty else clips  # a corpus of images


def _results_beside(path: Path) -> tuple[dict[str, EvaluationResult], list[str]]:
    """Find the results of a predictions.csv, by row and seed, and a note on missing ones.

    None if the file is not beside its run, or the run lacks its training subjects; the file then
    names only the test part.
    """
    folder = path.parent
    if path.name != "predictions.csv":
        return {}, []
    if is_finished(folder):
        result = read_result(folder)
        return ({result.name: result} if result.facts.trained_on else {}), []
    if not (folder / "run.json").is_file():
        return {}, []
    run = read_run(folder)
    seeds = run.about["seeds"]
    results = {
        name_run(row, seed, len(seeds)): result
        for row, of_seeds in run.rows.items()
        for seed, result in zip(seeds, of_seeds, strict=True)
    }
    missing = f"rows that are not finished are not audited: {first_few(run.unfinished)}"
    return results, [missing] if run.unfinished else []


def _parts_of_run(run: str, result: EvaluationResult) -> pd.DataFrame:
    """List the videos that each fold was trained on, validation included, and tested on."""
    folds = np.unique(result.fold)  # a cell of a run is its fold 1 alone
    trained_on = result.facts.trained_on
    if len(folds) != len(trained_on):
        raise SplitError(
            f"result '{run}': expected the training subjects of each of its {len(folds)} folds; "
            f"found them for {len(trained_on)}; delete the folder and run again"
        )
    tables = [pd.DataFrame({"video_id": result.video_id, "fold": result.fold, "part": "test"})]
    tables += [
        pd.DataFrame({"video_id": list(seen.videos), "fold": fold, "part": "train"})
        for fold, seen in zip(folds, trained_on, strict=True)
    ]
    parts = pd.concat(tables, ignore_index=True).drop_duplicates()
    return parts.assign(run=run, fold=[f"fold {fold + 1}" for fold in parts["fold"]])


def _fold_leaks(fold: str, rows: pd.DataFrame, alike: pd.DataFrame) -> Iterator[Leak]:
    """Leaks of one fold, by kind."""
    held = {
        (unit, part): set(rows.loc[rows["part"] == part, unit]) - {""}
        for unit in ("subject", "video_id")
        for part in ("train", "validation", "test")
    }
    for kind in KINDS:
        unit = "subject" if kind in ("subject", "face") else "video_id"
        found = alike[alike["kind"] == kind]
        for sides in _SIDES:
            one, other = (held[unit, part] for part in sides)
            if kind in ("subject", "video"):
                yield from (Leak(fold, kind, name, name, sides) for name in sorted(one & other))
            across = found[found["one"].isin(one) & found["other"].isin(other)]
            for row in across.itertuples():
                yield Leak(fold, kind, str(row.one), str(row.other), sides, str(row.detail))


def _find_alike(
    corpus: Corpus, video_ids: Sequence[str], progress: Progress | None
) -> pd.DataFrame:
    """Pairs of videos or subjects that are the same under two names, each in both orders."""
    audited = corpus.manifest[corpus.manifest["video_id"].isin(video_ids)]
    seen = audited[(audited["status"] == "done") & (audited["n_found"] > 0)]
    waves, faces = _read_faces(corpus, seen, progress)
    videos = [*_same_files(audited), *_same_images(seen, waves)]
    subjects = _same_faces(seen["subject"].to_numpy(str), faces)
    # The same file shows the same images, too: each pair is kept once, with the surest kind.
    table = pd.DataFrame(videos, columns=list(_ALIKE)).drop_duplicates(["one", "other"])
    table = pd.concat([table, pd.DataFrame(subjects, columns=list(_ALIKE))])
    return pd.concat([table, table.rename(columns={"one": "other", "other": "one"})])


def _same_files(videos: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    for sha256, ids in videos[videos["sha256"] != ""].groupby("sha256")["video_id"]:
        names = ids.tolist()
        for k, one in enumerate(names):
            for other in names[k + 1 :]:
                if one.partition(FACE_MARK)[0] != other.partition(FACE_MARK)[0]:
                    yield "file", one, other, f"SHA-256 {str(sha256)[:8]}…"


def _read_faces(
    corpus: Corpus, videos: pd.DataFrame, progress: Progress | None
) -> tuple[Array, Array]:
    """Read the cosine waves of k frames of n videos, (4, n, k, p), and their mean faces, (n, q).

    The first of the four are of the images as they are, the others of the mirrored ones.
    """
    region = "face" if "face" in corpus.regions else corpus.regions[0]
    n_frames = int(min(_N_FRAMES, videos["n_found"].max())) if len(videos) else 1
    waves, faces = [], []
    for done, video_id in enumerate(videos["video_id"], start=1):
        found = np.flatnonzero(corpus.read_frames_found(video_id))
        frames = found[np.linspace(0, len(found) - 1, n_frames).round().astype(int)]
        crops = corpus.read_crops(video_id, region, frames).astype(np.float32)
        grey = np.array([_resize(image, _IMAGE_SIDE) for image in crops @ _LUMA])
        waves.append(_find_waves(grey))
        faces.append(_resize(crops.mean(axis=0), _FACE_SIDE))
        if progress is not None:
            progress(done, len(videos), str(video_id))
    if not waves:
        return np.empty((4, 0, 1, 1), np.float32), np.empty((0, 1), np.float32)
    return np.stack(waves, axis=1), np.array(faces, np.float32).reshape(len(faces), -1)


def _resize(image: Array, side: int) -> Array:
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


def _find_waves(grey: Array) -> Array:
    """Low cosine waves of k images: as they are, mirrored, and that shifted half a pixel."""
    mirrored = grey[..., ::-1]
    beside = np.pad(mirrored, ((0, 0), (0, 0), (1, 1)), "edge")
    ways = [grey, mirrored, (mirrored + beside[..., :-2]) / 2, (mirrored + beside[..., 2:]) / 2]
    low = dctn(np.array(ways), axes=(2, 3), norm="ortho")[..., :_N_WAVES, :_N_WAVES]
    return np.asarray(low.reshape(*low.shape[:2], -1)[..., 1:], np.float32)  # without brightness


def _same_images(videos: pd.DataFrame, waves: Array) -> Iterator[tuple[str, str, str, str]]:
    """Pairs of videos that show the same images, as they are or mirrored."""
    if len(videos) < 2:
        return
    mean, spread = waves[0].mean(axis=(0, 1)), waves[0].std(axis=(0, 1))
    waves = (waves - mean) / np.maximum(spread, 1e-6)
    waves = waves / np.maximum(np.linalg.norm(waves, axis=-1, keepdims=True), 1e-6)
    names, subject = videos["video_id"].tolist(), videos["subject"].to_numpy(str)
    for start in range(0, len(names), _BLOCK):
        block = slice(start, start + _BLOCK)
        likeness = [_likeness(way[block], waves[0]) for way in waves]
        for kind, near in (
            ("image", (1 - likeness[0]) / 2),
            ("mirrored image", (1 - np.max(likeness[1:], axis=0)) / 2),
        ):
            for row, other in zip(*np.nonzero(near <= IMAGE_LIMIT), strict=True):
                one = start + row
                if one < other and not subject[one] == subject[other] != "":
                    detail = f"distance {near[row, other]:.3f}; unrelated videos are near 0.5"
                    yield kind, names[one], names[other], detail


def _likeness(some: Array, every: Array) -> Array:
    """Cosine of the k frames of b videos, (b, k, p), and those of n, (n, k, p): (b, n)."""
    n_frames, n_waves = every.shape[1:]
    columns = every.transpose(2, 1, 0).reshape(n_waves, -1)
    cosine = some.reshape(-1, n_waves) @ columns
    cosine = cosine.reshape(len(some), n_frames, n_frames, len(every))
    # Either may contain the other, so the better of the two directions counts.
    ways = [np.median(cosine.max(axis=axis), axis=1) for axis in (1, 2)]
    return np.asarray(np.maximum(*ways), np.float32)


def _same_faces(subject: npt.NDArray[np.str_], faces: Array) -> Iterator[tuple[str, str, str, str]]:
    """Pairs of names whose mean faces differ far less than subjects usually do."""
    names = [str(name) for name in np.unique(subject) if name]
    rows = [np.flatnonzero(subject == name) for name in names]
    several = [own for own in rows if len(own) > 1]
    if len(several) < MIN_CALIBRATION:
        return
    within = np.concatenate([faces[own] - faces[own].mean(axis=0) for own in several])
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    spread, axes = np.linalg.eigh(covariance)
    faces = faces @ axes / np.sqrt(np.maximum(spread, 1e-3))
    means = np.array([faces[own].mean(axis=0) for own in rows])
    distance = pdist(means)
    usual = np.median(distance)
    for k in np.flatnonzero(distance < FACE_SHARE * usual):
        one, other = (int(ids[k]) for ids in np.triu_indices(len(names), 1))
        detail = f"{distance[k] / usual:.2f} times the usual distance of two subjects"
        yield "face", names[one], names[other], detail
