"""The corpus on disk: the pipeline run over many videos, and what it left to read again.

A corpus folder holds ``corpus.json`` (the hashed recipe and the classes), ``manifest.csv``
(one row a video, the skipped ones with their reason) and ``crops/<video_id>.h5``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import microx
from microx.errors import CorpusError, MicroxError
from microx.files import whole_file
from microx.labels import Labels
from microx.progress import Progress
from microx.schema import CLIP_FRAMES, CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE

FORMAT = 1
_FACTS = ("n_claimed", "n_decoded", "n_untimed", "n_frames", "n_found", "duration_s", "sha256")
MANIFEST_COLUMNS = (
    *("video_id", "path", "emotion", "subject", "corpus", "onset", "apex", "offset"),
    *("status", "reason", *_FACTS),
)
CLIP_COLUMNS = (
    *("clip_id", "video_id", "start", "length"),
    *("emotion", "label", "subject", "n_found"),
)
_SAFE_ID = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A preprocessed corpus, open for reading.

    Parameters
    ----------
    folder : Path
        Where it lies.
    recipe : dict
        How its crops were made: the arguments of `microx.preprocessing.pipeline.preprocess_video`.
    classes : tuple of str
        The emotions, in the order of the models' outputs.
    label_set : str
        The label set that named the classes, or ``"file"`` where the labels did.
    manifest : DataFrame
        One row a video: `MANIFEST_COLUMNS`. ``status`` is done or skipped; ``n_claimed`` frames
        were promised by the container, ``n_decoded`` came, ``n_untimed`` of them without a
        time, ``n_frames`` stand in the corpus, ``n_found`` of them with a face.
    """

    folder: Path
    recipe: dict[str, Any]
    classes: tuple[str, ...]
    label_set: str
    manifest: pd.DataFrame

    @property
    def recipe_hash(self) -> str:
        """The first 16 digits of the recipe's SHA-256, the same on every machine."""
        return hash_recipe(self.recipe)

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that were cropped."""
        return tuple(self.recipe["regions"])

    @property
    def size(self) -> int:
        """Pixels along a side of each crop."""
        return int(self.recipe["size"])

    def crops_path(self, video_id: str) -> Path:
        """Path of a video's HDF5 file."""
        return self.folder / "crops" / f"{video_id}.h5"

    def read_crops(self, video_id: str, region: str) -> np.ndarray:
        """Read the crops of one region: ``(T, size, size, 3)`` uint8 RGB, black where none.

        Raises
        ------
        CorpusError
            If the region was not cropped or the video's file is gone.
        """
        return self._read(video_id, region)

    def read_frames_found(self, video_id: str) -> np.ndarray:
        """Read whether a face was found in each frame of a video: ``(T,)`` bool."""
        return self._read(video_id, "success")

    def clips(
        self,
        length: int = CLIP_FRAMES,
        *,
        stride: int | None = None,
        tail: str = "drop",
        incomplete: bool = False,
    ) -> pd.DataFrame:
        """Index the clips: windows over each video's crops, none of them copied.

        Parameters
        ----------
        length : int
            Frames in a clip.
        stride : int, optional
            Frames from one clip's start to the next; without it, `length`: no overlap.
        tail : {"drop", "pad"}
            What becomes of the frames after the last whole clip: left out, or made a clip
            by repeating the last frame (its ``start + length`` then passes the video's end).
        incomplete : bool
            Whether to list clips in which a frame has no face, too; ``n_found`` tells them.

        Returns
        -------
        DataFrame
            clip_id, video_id, start, length, emotion, label (index into `classes`),
            subject ("" where none), n_found. Empty where no video is long enough.

        Examples
        --------
        >>> load_corpus("corpus").clips(16).label.value_counts()  # doctest: +SKIP
        """
        rows: list[dict[str, Any]] = []
        done = self.manifest[self.manifest["status"] == "done"]
        for video in done.itertuples():
            found = self._found[str(video.video_id)]
            for start in clip_starts(len(found), length, stride or length, tail):
                window = found[start : start + length]
                rows.append(
                    {
                        "clip_id": f"{video.video_id}:{start}",
                        "video_id": video.video_id,
                        "start": start,
                        "length": length,
                        "emotion": video.emotion,
                        "label": self.classes.index(str(video.emotion)),
                        "subject": video.subject,
                        "n_found": int(window.sum()) + (length - len(window)) * int(window[-1]),
                    }
                )
        clips = pd.DataFrame(rows, columns=list(CLIP_COLUMNS))
        if not incomplete:
            clips = clips[clips["n_found"] == length]
        return clips.reset_index(drop=True)

    @cached_property
    def _found(self) -> dict[str, np.ndarray]:
        done = self.manifest.loc[self.manifest["status"] == "done", "video_id"]
        return {video_id: self.read_frames_found(video_id) for video_id in done}

    def _read(self, video_id: str, name: str) -> np.ndarray:
        import h5py

        path = self.crops_path(video_id)
        try:
            with h5py.File(path, "r") as file:
                if name in file:
                    return np.asarray(file[name][()])
                held = ", ".join(file)
        except OSError as error:
            raise CorpusError(
                f"{path}: expected the crops of a video; {error}; run microx preprocess again"
            ) from None
        raise CorpusError(
            f"{path}: expected {name!r}; found {held}; preprocess with --regions that name it"
        )


def clip_starts(n_frames: int, length: int, stride: int, tail: str = "drop") -> list[int]:
    """First frames of the clips of a video, see `Corpus.clips`; none for a video of 0 frames.

    Examples
    --------
    >>> clip_starts(25, 10, 10), clip_starts(25, 10, 10, "pad"), clip_starts(7, 10, 10)
    ([0, 10], [0, 10, 20], [])
    """
    if length < 1 or stride < 1:
        raise CorpusError(
            f"clips need a length and stride of 1 or more; received {length}, {stride}"
        )
    starts = list(range(0, n_frames - length + 1, stride))
    if tail == "pad":
        following = starts[-1] + stride if starts else 0
        starts += [following] if following < n_frames else []
    elif tail != "drop":
        raise CorpusError(f"tail must be drop or pad; received {tail!r}")
    return starts


def load_corpus(folder: str | Path) -> Corpus:
    """Open a corpus folder for reading.

    Raises
    ------
    CorpusError
        If the folder is not a corpus, was never finished, or is of another format.
    """
    folder = Path(folder)
    description = _read_description(folder)
    if description is None:
        raise CorpusError(
            f"{folder}: expected a corpus folder with corpus.json; found none; "
            "make one: microx preprocess VIDEOS --out CORPUS"
        )
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise CorpusError(
            f"{folder}: expected manifest.csv; found none, so preprocessing was cut off; "
            "run the same microx preprocess command again, it continues"
        )
    table = pd.read_csv(manifest, keep_default_na=False, dtype=str)
    for name in _FACTS[:-1]:
        table[name] = pd.to_numeric(table[name])
    return Corpus(
        folder=folder,
        recipe=description["recipe"],
        classes=tuple(description["classes"]),
        label_set=description["label_set"],
        manifest=table,
    )


def build_corpus(
    labels: Labels,
    out: str | Path,
    *,
    landmarks: str = "dlib",
    regions: Sequence[str] = DEFAULT_REGIONS,
    size: int = CROP_SIZE,
    policy: str = "aligned",
    margin: float | None = None,
    frame_rate: float = FRAME_RATE,
    landmarks_dir: str | Path | None = None,
    openface: str | Path | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Corpus:
    """Preprocess every labelled video into a corpus folder; what is already there stays.

    Each video's file is written under another name and then renamed, so it is whole or not
    there. A video that cannot be used is a row of the manifest with its reason, never an
    exception. Run again after an interruption, it goes on where it was; a video whose bytes
    have changed is done anew.

    Parameters
    ----------
    labels : Labels
        The videos and their labels, from `microx.labels`.
    out : path
        The corpus folder, made if need be.
    landmarks, regions, size, policy, margin, frame_rate, openface
        See `microx.preprocessing.pipeline.preprocess_video`.
    landmarks_dir : path, optional
        For ``landmarks="csv"``: the folder with ``<path of the video>.csv``, or, where that
        is not there, ``<name of the video>.csv``.
    n_workers : int
        Processes; -1 for one per core. Work is spread by joblib.
    progress : callable, optional
        Called with videos done, videos in all, and the video's id.

    Returns
    -------
    Corpus

    Raises
    ------
    CorpusError
        If `out` was made by another recipe (the difference is named), or a video_id is unsafe.
    LandmarkError
        If the landmark backend is not installed.
    """
    from joblib import Parallel, delayed

    from microx.preprocessing.pipeline import check_backend, check_cropping
    from microx.preprocessing.regions import MARGIN, check_regions

    out = Path(out)
    margin = float(MARGIN if margin is None else margin)
    check_cropping(size=size, policy=policy, margin=margin, frame_rate=frame_rate)
    recipe = {
        "landmarks": landmarks,
        "regions": list(check_regions(regions)),
        "size": int(size),
        "policy": policy,
        "margin": margin,
        "frame_rate": float(frame_rate),
    }
    check_backend(landmarks, openface=openface, landmarks_dir=landmarks_dir)
    _check_ids(labels.table["video_id"])
    _describe(out, recipe, labels)
    rows = {str(row["video_id"]): row for row in labels.table.to_dict("records")}
    jobs = [
        delayed(_preprocess_one)(video_id, labels.root, row, out, recipe, landmarks_dir, openface)
        for video_id, row in rows.items()
        if not row["reason"]
    ]
    facts: dict[str, dict[str, Any]] = {}
    with Parallel(n_jobs=n_workers, return_as="generator_unordered") as parallel:
        for video_id, outcome in parallel(jobs):
            facts[video_id] = outcome
            if progress:
                progress(len(facts), len(jobs), video_id)
    for video_id, row in rows.items():
        if row["reason"]:
            facts[video_id] = {"status": "skipped"}
    _skip_copies(rows, facts)
    _write_manifest(out, [row | facts[video_id] for video_id, row in rows.items()])
    return load_corpus(out)


def hash_recipe(recipe: Mapping[str, Any]) -> str:
    """Hash a recipe: the first 16 digits of the SHA-256 of its sorted JSON."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_ids(ids: pd.Series) -> None:
    for video_id in ids:
        if not _SAFE_ID.fullmatch(str(video_id)):
            raise CorpusError(
                f"video_id {video_id!r} must be letters, digits, '_', '-' and '.', "
                "because it names a file"
            )
    if not ids.is_unique:
        raise CorpusError(f"video_id {ids[ids.duplicated()].iloc[0]!r} stands for two videos")


def _read_description(folder: Path) -> dict[str, Any] | None:
    path = folder / "corpus.json"
    if not path.is_file():
        return None
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] == FORMAT and description["recipe"]["regions"]:
            return description
        found = f"format {description['format']}"
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
    raise CorpusError(f"{path}: expected a corpus description of format {FORMAT}; found {found}")


def _describe(out: Path, recipe: dict[str, Any], labels: Labels) -> None:
    before = _read_description(out)
    if before is not None and before["recipe"] != recipe:
        differing = [name for name in recipe if before["recipe"].get(name) != recipe[name]]
        name = differing[0] if differing else "recipe"
        raise CorpusError(
            f"{out}: was made with {name} {before['recipe'].get(name)}; received "
            f"{recipe.get(name)}; use the same settings to continue, or another --out"
        )
    if before is None and out.is_dir() and any(out.iterdir()):
        raise CorpusError(
            f"{out}: expected a new or empty folder, or a corpus to continue; found other files"
        )
    try:
        (out / "crops").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{out}: expected a folder to write the corpus in; {error}") from None
    description = {
        "format": FORMAT,
        "microx": microx.__version__,
        "recipe": recipe,
        "recipe_hash": hash_recipe(recipe),
        "label_set": labels.label_set,
        "classes": list(labels.classes),
        "videos": str(labels.root),
    }
    # Until the run has ended, there is no manifest, and so no corpus to read.
    (out / "manifest.csv").unlink(missing_ok=True)
    with whole_file(out / "corpus.json") as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _skip_copies(
    rows: Mapping[str, Mapping[Any, Any]], facts: Mapping[str, dict[str, Any]]
) -> None:
    """Use a recording once, though it lies there twice, so that no copy is trained and tested."""
    same: dict[str, list[str]] = {}
    for video_id in rows:
        if facts[video_id]["status"] == "done":
            same.setdefault(facts[video_id]["sha256"], []).append(video_id)
    for ids in same.values():
        labels = {(rows[video_id]["emotion"], rows[video_id]["subject"]) for video_id in ids}
        for video_id in ids[1:] if len(labels) == 1 else ids * (len(ids) > 1):
            other = rows[ids[0] if video_id != ids[0] else ids[1]]["path"]
            otherwise = "" if len(labels) == 1 else ", which is labelled otherwise"
            facts[video_id] |= {"status": "skipped", "reason": f"a copy of {other}{otherwise}"}


def _write_manifest(out: Path, rows: list[dict[Any, Any]]) -> None:
    table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    for name in _FACTS[:-1]:
        table[name] = table[name].fillna(0)
    for name in ("n_claimed", "n_decoded", "n_untimed", "n_frames", "n_found"):
        table[name] = table[name].astype(int)
    with whole_file(out / "manifest.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def _preprocess_one(
    video_id: str,
    root: Path,
    row: Mapping[Any, Any],
    out: Path,
    recipe: dict[str, Any],
    landmarks_dir: str | Path | None,
    openface: str | Path | None,
) -> tuple[str, dict[str, Any]]:
    """Preprocess one video unless its file is there already; say what became of it."""
    import cv2

    target = out / "crops" / f"{video_id}.h5"
    try:
        path = root / row["path"]
        landmarks_csv = _csv_for(row["path"], landmarks_dir)
        made_of = {
            "recipe_hash": hash_recipe(recipe),
            "sha256": _hash_file(path),
            "landmarks_sha256": _hash_file(landmarks_csv) if landmarks_csv else "",
        }
        facts = _facts_of(target, made_of)
        if facts is None:
            facts = _write_crops(path, target, recipe, made_of, landmarks_csv, openface)
    except (MicroxError, cv2.error) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{root / row['path']}: ")
        return video_id, {"status": "skipped", "reason": reason}
    if facts["n_found"] == 0:
        return video_id, facts | {"status": "skipped", "reason": "no face found in any frame"}
    return video_id, facts | {"status": "done", "reason": ""}


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CorpusError(f"{path}: expected a readable file; {error.strerror}") from None


def _facts_of(target: Path, made_of: dict[str, str]) -> dict[str, Any] | None:
    """Return the facts of a video done before by this recipe from these bytes, else None."""
    import h5py

    if not target.is_file():
        return None
    try:
        with h5py.File(target, "r") as file:
            held = dict(file.attrs)
    except OSError:
        return None
    if any(held.get(name) != value for name, value in made_of.items()):
        return None
    return {name: getattr(held[name], "item", lambda name=name: held[name])() for name in _FACTS}


def _csv_for(path: str, landmarks_dir: str | Path | None) -> Path | None:
    if landmarks_dir is None:
        return None
    beside = Path(landmarks_dir) / Path(path).with_suffix(".csv")
    return beside if beside.is_file() else Path(landmarks_dir) / f"{Path(path).stem}.csv"


def _write_crops(
    path: Path,
    target: Path,
    recipe: dict[str, Any],
    made_of: dict[str, str],
    landmarks_csv: Path | None,
    openface: str | Path | None,
) -> dict[str, Any]:
    import h5py

    from microx.preprocessing.pipeline import stream_video
    from microx.preprocessing.video import probe_video

    n_frames = n_found = 0
    chunk = None
    with whole_file(target) as partial, h5py.File(partial, "w") as file:
        for chunk in stream_video(path, **recipe, landmarks_csv=landmarks_csv, openface=openface):
            arrays = chunk.crops | {
                "landmarks": chunk.landmarks.xy,
                "confidence": chunk.landmarks.confidence,
                "success": chunk.landmarks.success,
                "timestamp": chunk.landmarks.timestamp,
                "box_xyxy": chunk.box_xyxy,
                "source_frame": chunk.source_frame,
            }
            for name, array in arrays.items():
                _append(file, name, array)
            n_frames += len(chunk)
            n_found += chunk.n_found
        facts = {
            "n_claimed": probe_video(path).n_frames_claimed,
            "n_decoded": chunk.n_decoded if chunk else 0,
            "n_untimed": chunk.n_untimed if chunk else 0,
            "n_frames": n_frames,
            "n_found": n_found,
            "duration_s": n_frames / recipe["frame_rate"],
            "sha256": made_of["sha256"],
        }
        file.attrs.update(facts | made_of)
    return facts


def _append(file: Any, name: str, array: np.ndarray) -> None:
    if name not in file:
        file.create_dataset(
            name,
            data=array,
            maxshape=(None, *array.shape[1:]),
            chunks=(min(64, len(array)), *array.shape[1:]),
        )
        return
    dataset = file[name]
    dataset.resize(len(dataset) + len(array), axis=0)
    dataset[-len(array) :] = array
