"""Builds a corpus: runs the pipeline over many videos, in parallel, and never loses good work."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from microx._version import VERSION
from microx.corpus.corpus import (
    COUNT_COLUMNS,
    FACE_MARK,
    FORMAT,
    MANIFEST_COLUMNS,
    Corpus,
    hash_recipe,
    load_corpus,
    read_description,
)
from microx.corpus.shards import (
    Image,
    deal_images,
    list_crops_files,
    list_held_ids,
    list_shards,
    preprocess_image,
    read_shard,
    shard_path,
    write_shard,
)
from microx.corpus.storage import read_crops_file, read_facts, write_crops
from microx.errors import CorpusError, InputError, LandmarkError
from microx.files import (
    check_new_folder,
    hold_folder,
    is_leftover,
    remove_leftovers,
    whole_file,
)
from microx.labels.labels import Labels, read_labels
from microx.labels.sheets import SHEET_SUFFIXES
from microx.parallel import one_opencv_thread, run_here, run_on_dask
from microx.preprocessing.pipeline import VideoStream, stream_video
from microx.preprocessing.recipe import PIPELINE_VERSION, Recipe, check_backend
from microx.preprocessing.video import VIDEO_SUFFIXES, is_image, list_files
from microx.progress import ProgressOption, tell_progress

_SAFE_ID = re.compile(r"\w[\w.-]*", re.ASCII)
_OUR_FILES = frozenset({".lock", "corpus.json", "manifest.csv", "crops", "motion"})


def build_corpus(
    labels: Labels | str | Path,
    out: str | Path,
    *,
    landmarks_dir: str | Path | None = None,
    openface: str | Path | None = None,
    timeout_s: float | None = None,
    n_workers: int = 1,
    dask: str | None = None,
    progress: ProgressOption = None,
    **settings: Any,
) -> Corpus:
    """Preprocess every labelled video into a corpus folder; what is already there stays.

    Each video's file is written under another name and then renamed, so it is whole or not
    there; of many images, several share a file. A video that cannot be used is a row of the
    manifest with its reason, never an exception; one that kills its worker process is tried
    again alone, and is such a row if it does so again. Run again after an interruption, it
    goes on where it was; a video whose bytes have changed is done anew, and the crops of one
    that is gone from folder and labels are removed.

    Parameters
    ----------
    labels : Labels or path
        The videos and their labels, from `microx.labels.labels`; a folder of videos is read as
        `microx.labels.labels.read_labels` reads it.
    out : path
        The corpus folder, made if need be.
    landmarks_dir : path, optional
        For ``landmarks="csv"``: the folder with ``<path of the video>.csv``, or, where no other
        video has its name, ``<name of the video>.csv``.
    openface : str or path, optional
        For ``landmarks="openface"``: the command, where the program is not on PATH.
    timeout_s : float, optional
        Seconds that OpenFace may take for one video.
    n_workers : int
        Processes; -1 for one per core. Work is spread by joblib; with 1, it is done in this
        very process.
    dask : str, optional
        Address of a Dask scheduler whose workers do the work instead (extra ``microx[dask]``).
        They need microx, and must see the same paths.
    progress : callable or bool, optional
        Called with videos done, videos in all, and the video's id. None shows a bar in a
        terminal and a notebook, False shows nothing.
    **settings
        Fields of `microx.preprocessing.recipe.Recipe`: landmarks, faces, regions, size,
        policy, margin, frame_rate, min_face, max_gap, occlude, occlude_seed. `input_fps` is that
        of the labels, or goes to `read_labels` with a folder. On the command line, frame_rate is
        ``--fps`` (None is ``native``), occlude_seed ``--seed``, n_workers ``--workers`` and
        timeout_s ``--timeout``; margin has no option, and the others have their own names.

    Returns
    -------
    Corpus
        Its ``n_kept`` and ``n_left_out`` tell what was there before.

    Raises
    ------
    InputError
        If a folder's labels cannot be read, a setting is unknown or out of its range, or
        `landmarks_dir` is not there, or one is given that the landmarks have no use for.
    CorpusError
        If `out` was made by another recipe (the differences are named) or of the videos in
        another folder, another run writes to it, it cannot be written, a video_id is unsafe,
        or Dask cannot be reached.
    LandmarkError
        If the landmark backend is not installed.

    Examples
    --------
    >>> from microx import read_labels
    >>> labels = read_labels("videos", "labels.csv")
    >>> given = {"landmarks": "csv", "landmarks_dir": "landmarks"}
    >>> build_corpus(labels, "corpus_of_mouths", regions=("mouth",), **given).regions
    ('mouth',)
    """
    check_new_folder(out)
    if not isinstance(labels, Labels):
        _check_videos(labels)
        labels = read_labels(labels, input_fps=settings.pop("input_fps", None))
    recipe = Recipe.of(**settings, input_fps=labels.input_fps)
    _check_used(recipe, "csv", landmarks_dir=landmarks_dir)
    _check_used(recipe, "openface", openface=openface, timeout_s=timeout_s)
    check_backend(recipe, openface=openface, landmarks_dir=landmarks_dir)
    if n_workers < 1 and n_workers != -1:
        raise InputError(f"`n_workers` must be 1 or more, or -1 for one a core; found {n_workers}")
    _check_ids(labels.table["video_id"])
    # Workers may run in another folder.
    out, root = Path(out).absolute(), labels.root.absolute()
    folder = None if landmarks_dir is None else Path(landmarks_dir).absolute()
    with _claimed(out, recipe, labels):
        rows = {str(row["video_id"]): row for row in labels.table.to_dict("records")}
        usable = [row for row in rows.values() if not row["reason"]]
        names = Counter(Path(row["path"]).stem for row in usable)
        videos = {
            str(row["video_id"]): _Video(
                video_id=str(row["video_id"]),
                path=root / row["path"],
                recipe=recipe,
                tables=_tables_for(row["path"], folder, names),
                places=(root,) if folder is None else (root, folder),
                openface=openface,
                timeout_s=timeout_s,
            )
            for row in usable
        }
        jobs = _deal(videos, recipe, out / "crops")
        files = {job.target: job.videos for job in jobs}
        n_left_out = len(list_held_ids(out) - rows.keys())
        outcomes: dict[str, dict[str, Any]] = {}
        with tell_progress(progress, "preprocessing", "videos") as told:
            while jobs:
                run = run_here(jobs, n_workers) if dask is None else run_on_dask(jobs, dask)
                given_up = []
                with closing(run):
                    for key, done in run:
                        outcomes |= done
                        given_up += [] if done else [key]
                        if told and done:
                            told(len(outcomes), len(videos), next(reversed(done)))
                # Each image of a shard that cannot be made shows alone whether it is the one.
                jobs = [one for job in jobs if job.key in given_up for one in job.split()]
        for video_id, outcome in outcomes.items():
            _place_marks(rows[video_id], outcome, out / "crops" / f"{video_id}.h5")
        _skip_copies(rows, outcomes)
        _remove_unnamed(out, rows, files)
        _write_manifest(out, rows, outcomes, every_face=recipe.faces == "all")
        n_kept = sum(outcome["kept"] for outcome in outcomes.values())
        return replace(load_corpus(out), n_kept=n_kept, n_left_out=n_left_out)


@dataclass(frozen=True)
class _Video:
    """One video to preprocess."""

    video_id: str
    path: Path
    recipe: Recipe
    tables: tuple[Path, ...]
    places: tuple[Path, ...]  # folders that reasons leave out
    openface: str | Path | None
    timeout_s: float | None

    def outcome(
        self, make: Callable[[_Video, dict[str, str]], tuple[dict[str, Any], bool]]
    ) -> dict[str, Any]:
        """Say what became of the video; `make` gives its facts and whether they were there."""
        try:
            table = self._table()
            made_of = {
                "recipe_hash": _hash_recipe(self.recipe),
                "pipeline": str(PIPELINE_VERSION),
                "format": str(FORMAT),
                "sha256": _hash_files(list_files(self.path)),
                "landmarks_sha256": _hash_files([table]) if table else "",
            }
            facts, kept = make(self, made_of)
        except (InputError, LandmarkError, OSError) as error:
            # An OSError here is the video's: one of the corpus's own files is a CorpusError.
            reason = str(error).removeprefix(f"{self.path}: ")
            for place in self.places:
                reason = reason.replace(f"{place}/", "")
            return _skipped(" ".join(reason.split()))
        outcome: dict[str, Any] = facts["video"] | {"faces": facts["faces"], "kept": kept}
        outcome["sha256"] = made_of["sha256"]
        if not any(face["n_found"] for face in facts["faces"]):
            reason = "no face found in any frame"
            if any(face["n_small_face"] for face in facts["faces"]):
                reason = (
                    "every face in it is too small: its outer eye corners are less than "
                    f"{self.recipe.min_face:g} pixels apart; lower `min_face` to crop it all the "
                    "same"
                )
            return outcome | {"status": "skipped", "reason": reason}
        return outcome | {"status": "done", "reason": ""}

    def _table(self) -> Path | None:
        if self.recipe.landmarks != "csv":
            return None
        for path in self.tables:
            if path.is_file():
                return path
        raise InputError(f"{self.tables[0]}: expected the landmarks of this video; found no file")

    def stream(self) -> VideoStream:
        """The video, not yet decoded."""
        return stream_video(
            self.path,
            self.recipe,
            name=self.video_id,
            landmarks_csv=self._table(),
            openface=self.openface,
            timeout_s=self.timeout_s,
        )


@dataclass(frozen=True)
class _Job:
    """A file to write: of one video, or of several images."""

    target: Path
    videos: tuple[_Video, ...]

    @property
    def key(self) -> str:
        return self.target.name

    def run(self) -> tuple[str, dict[str, Any]]:
        """Preprocess what is not there already; say what became of each video."""
        if not self.target.parent.is_dir():
            raise CorpusError(
                f"{self.target.parent}: expected the corpus's folder; found none; Dask workers "
                "must see the same paths, and nobody may move a corpus while it is written"
            )
        with one_opencv_thread():
            return self.key, self._write_one() if len(self.videos) == 1 else self._write_shard()

    def give_up(self, reason: str) -> tuple[str, dict[str, Any]]:
        """Leave the video out of the corpus; of several, none yet."""
        alone = len(self.videos) == 1
        return self.key, {self.videos[0].video_id: _skipped(reason)} if alone else {}

    def split(self) -> list[_Job]:
        """Give a job for each of the videos."""
        folder = self.target.parent
        return [_Job(folder / f"{video.video_id}.h5", (video,)) for video in self.videos]

    def _write_one(self) -> dict[str, Any]:
        def make(video: _Video, made_of: dict[str, str]) -> tuple[dict[str, Any], bool]:
            facts = read_facts(self.target, made_of)
            if facts is not None:
                return facts, True
            return write_crops(self.target, video.stream(), made_of), False

        return {video.video_id: video.outcome(make) for video in self.videos}

    def _write_shard(self) -> dict[str, Any]:
        try:
            before = read_shard(self.target)
        except CorpusError:  # it is not there, or broken
            before = {}
        images: dict[str, Image] = {}

        def make(video: _Video, made_of: dict[str, str]) -> tuple[dict[str, Any], bool]:
            image = before.get(video.video_id)
            if image is None or image.made_of != made_of:
                image = preprocess_image(video.stream(), made_of)
            images[video.video_id] = image
            return image.facts, image is before.get(video.video_id)

        outcomes = {video.video_id: video.outcome(make) for video in self.videos}
        if images != before:
            write_shard(self.target, images)
        return outcomes


@cache
def _hash_recipe(recipe: Recipe) -> str:
    return hash_recipe(recipe.as_dict())


def _skipped(reason: str) -> dict[str, Any]:
    return {"status": "skipped", "reason": reason, "faces": [], "kept": False}


def _check_videos(labels: str | Path) -> None:
    """Refuse a sheet in the place of the folder of videos."""
    path = Path(labels)
    if path.is_file() and path.suffix.lower() in SHEET_SUFFIXES:
        raise InputError(
            f"{path}: expected labels of read_labels, or a folder of videos; found a file; if it "
            f"is a labels file, read it with its videos: read_labels(FOLDER, {path.name!r})"
        )


def _check_used(recipe: Recipe, landmarks: str, **given: object) -> None:
    """Refuse what only other landmarks have a use for; it would be ignored."""
    for name, value in given.items():
        if value is not None and recipe.landmarks != landmarks:
            raise InputError(
                f"`{name}` is for `landmarks={landmarks}`; received "
                f"`landmarks={recipe.landmarks}`; leave one out"
            )


def _check_ids(ids: pd.Series) -> None:
    for video_id in ids:
        if not _SAFE_ID.fullmatch(str(video_id)):
            raise CorpusError(
                f"video_id {video_id!r} must be letters, digits, '_', '-' and '.', "
                "because it names a file"
            )
    if not ids.is_unique:
        raise CorpusError(f"video_id {ids[ids.duplicated()].iloc[0]!r} stands for two videos")


@contextmanager
def _claimed(out: Path, recipe: Recipe, labels: Labels) -> Iterator[None]:
    """Make the corpus folder this run's own, or refuse it."""
    with ExitStack() as stack:
        with _writing(out):
            _check_is_ours(out)
            out.mkdir(parents=True, exist_ok=True)
            is_held = stack.enter_context(hold_folder(out))
        if not is_held:
            raise CorpusError(
                f"{out}: another microx preprocess is writing this corpus; wait for it to end"
            )
        before = read_description(out)
        if before is not None:
            _check_same_recipe(out, before["recipe"], recipe.as_dict())
            _check_same_videos(out, str(before.get("videos", "")), labels)
        with _writing(out):
            # Until the run has ended, there is no manifest, and so no corpus to read.
            (out / "manifest.csv").unlink(missing_ok=True)
            (out / "crops").mkdir(exist_ok=True)
            remove_leftovers(out)
            remove_leftovers(out / "crops")
        description = {
            "format": FORMAT,
            "microx": VERSION,
            "recipe": recipe.as_dict(),
            "recipe_hash": hash_recipe(recipe.as_dict()),
            "label_set": labels.label_set,
            "classes": list(labels.classes),
            "videos": str(labels.root.resolve()),
        }
        _write_text(out / "corpus.json", json.dumps(description, indent=2) + "\n")
        try:
            yield
        finally:
            remove_leftovers(out / "crops")  # of workers that were stopped for another's fault


def _check_is_ours(out: Path) -> None:
    """Refuse a folder of other things; one that a run left before it wrote anything is ours."""
    if read_description(out) is not None or not out.is_dir():
        return
    foreign = [path.name for path in out.iterdir() if path.name not in _OUR_FILES]
    foreign = sorted(name for name in foreign if not is_leftover(name))
    if foreign:
        raise CorpusError(
            f"{out}: expected a new or empty folder, or a corpus to continue; found other files, "
            f"such as {foreign[0]!r}; name another `out`"
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"{path}: could not be written: {error}; what is done is kept; make room or name "
            "another `out`, then run the same command again"
        ) from None


def _check_same_recipe(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        raise CorpusError(
            f"{out}: was made with {', '.join(_told(name, before.get(name)) for name in other)}; "
            f"received {', '.join(_told(name, now[name]) for name in other)}; use the same "
            "settings to continue, or another `out`"
        )


def _told(name: str, value: Any) -> str:
    """Say a setting and its value."""
    if isinstance(value, list):
        value = ",".join(value)
    elif isinstance(value, float):
        value = f"{value:g}"
    elif not value and value != 0:  # no occluder, or no rate
        value = "native" if name == "frame_rate" else "none"
    return f"`{name}={value}`"


def _check_same_videos(out: Path, before: str, labels: Labels) -> None:
    """Refuse other videos, which would take the place of those that are there.

    The same videos may well have moved.
    """
    held = list_held_ids(out)
    if not before or not held or Path(before).resolve() == labels.root.resolve():
        return
    if Path(before).exists() or not held & set(labels.table["video_id"]):
        raise CorpusError(
            f"{out}: was made of the videos in {before}; received {labels.root}; use another "
            "`out`, or put both folders under one"
        )


def _deal(videos: Mapping[str, _Video], recipe: Recipe, folder: Path) -> list[_Job]:
    """Deal videos to files: each has one, but many images share theirs."""
    # OpenFace takes longer to start than a file to write: a kill should not cost many images.
    images = [
        video_id
        for video_id, video in videos.items()
        if is_image(video.path) and recipe.landmarks != "openface"
    ]
    shards = deal_images(images, 3 * recipe.size**2 * len(recipe.regions))
    shared = set(images)
    alone = [[video_id] for video_id in videos if video_id not in shared]
    jobs = []
    for number, ids in enumerate([*shards, *alone]):
        target = folder / f"{ids[0]}.h5" if len(ids) == 1 else shard_path(folder, number)
        jobs.append(_Job(target, tuple(videos[video_id] for video_id in ids)))
    return jobs


def _tables_for(path: str, folder: Path | None, names: Counter[str]) -> tuple[Path, ...]:
    """Where the CSV of a video may lie, the likelier place first."""
    if folder is None:
        return ()
    video = Path(path)
    bare = video.with_suffix("") if video.suffix.lower() in VIDEO_SUFFIXES else video
    beside = folder / bare.parent / f"{bare.name}.csv"
    # A bare name tells nothing where two videos have it.
    return (beside, folder / f"{bare.name}.csv") if names[video.stem] == 1 else (beside,)


def _place_marks(row: dict[Any, Any], outcome: dict[str, Any], crops: Path) -> None:
    """Bring times that labels name to frames; skip a video that has not the frame they name."""
    if outcome["status"] != "done":
        return
    place = f" (row {row['row']} of the labels)" if row.get("row") else ""
    for name in ("onset", "apex", "offset"):
        text = str(row[name]).strip()
        seconds = text.endswith(" s")
        number = pd.to_numeric(text.removesuffix(" s"), errors="coerce")
        if number != number:  # nan: the labels name none
            continue
        if seconds:
            known = -0.5 <= number <= outcome["duration_s"] + 0.5
            row[name] = "0"
            if outcome["n_frames"] > 1:
                times = read_crops_file(crops, "timestamp").astype(float)
                nearest = int(abs(times - number).argmin())
                row[name] = str(int(read_crops_file(crops, "source_frame")[nearest]))
        else:
            known = 0 <= number < outcome["n_decoded"]
        if not known:
            length = (
                f"it lasts {outcome['duration_s']:.2f} s"
                if seconds
                else f"it has {outcome['n_decoded']} frames, counted from 0; if the labels count "
                "otherwise, say how: `frame_numbers`"
            )
            reason = f"{name} {text} matches no frame{place}: {length}"
            outcome |= {"status": "skipped", "reason": reason}
            return


def _skip_copies(
    rows: Mapping[str, Mapping[Any, Any]], outcomes: Mapping[str, dict[str, Any]]
) -> None:
    """Use a recording once, though it lies there twice, so that no copy is trained and tested."""
    same: dict[str, list[str]] = {}
    for video_id in rows:
        if outcomes.get(video_id, {}).get("status") == "done":
            same.setdefault(outcomes[video_id]["sha256"], []).append(video_id)
    for ids in same.values():
        labels = {(rows[video_id]["emotion"], rows[video_id]["subject"]) for video_id in ids}
        for video_id in ids[1:] if len(labels) == 1 else ids * (len(ids) > 1):
            other = rows[ids[0] if video_id != ids[0] else ids[1]]["path"]
            otherwise = "" if len(labels) == 1 else ", which is labelled otherwise"
            outcomes[video_id] |= {"status": "skipped", "reason": f"a copy of {other}{otherwise}"}


def _remove_unnamed(
    out: Path, rows: Mapping[str, Any], files: Mapping[Path, tuple[_Video, ...]]
) -> None:
    """Remove the crops of videos neither there nor named any more, and of images held twice."""
    shards = set(list_shards(out / "crops"))
    shared = {video.video_id for path in shards & files.keys() for video in files[path]}
    for path in list_crops_files(out):
        alone = path.stem in rows and path.stem not in shared
        needed = path in files if path in shards else alone
        if not needed:
            with _writing(path):
                path.unlink(missing_ok=True)
    for path in out.glob("motion/*/*.npz"):
        if path.stem.partition(FACE_MARK)[0] not in rows:
            with _writing(path):
                path.unlink(missing_ok=True)


def _write_manifest(
    out: Path,
    rows: Mapping[str, Mapping[Any, Any]],
    outcomes: Mapping[str, dict[str, Any]],
    *,
    every_face: bool,
) -> None:
    lines = []
    for video_id, row in rows.items():
        outcome = {"status": "skipped", "faces": [], "occluder": ""} | outcomes.get(video_id, {})
        for face in outcome["faces"] or [{"face": 0}]:
            line = {**row, **outcome, **face}
            if every_face and outcome["faces"]:
                line["video_id"] = f"{video_id}{FACE_MARK}{face['face']}"
            lines.append(line)
    table = pd.DataFrame(lines, columns=list(MANIFEST_COLUMNS))
    table["duration_s"] = table["duration_s"].fillna(0)
    counts = list(COUNT_COLUMNS)
    table[counts] = table[counts].fillna(0).astype(int)
    # Every text is quoted, or a carriage return in a file's name would end a row.
    text = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    _write_text(out / "manifest.csv", text)


def _write_text(path: Path, text: str) -> None:
    with _writing(path), whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 of a file, or of the hashes of several in order."""
    hashes = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise InputError(f"{path}: expected a readable file; {error.strerror}") from None
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
