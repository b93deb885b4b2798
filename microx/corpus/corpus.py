"""The corpus on disk: what the pipeline left of many videos, to be read.

A corpus folder holds ``corpus.json`` (the hashed recipe and the classes), ``manifest.csv``
(one row a video, or a face of one, the skipped ones with their reason) and
``crops/<video_id>.h5``, see `microx.corpus.storage`. Many images are held together in
``crops/shard~<number>.h5``, see `microx.corpus.shards`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from microx.corpus.shards import hash_shard, list_shards, read_index
from microx.corpus.storage import (
    STATUS_COUNTS,
    hash_crops,
    read_crops_file,
    read_facts,
    stretch_lengths,
)
from microx.errors import CorpusError, InputError
from microx.files import say_absence
from microx.markup import to_html
from microx.preprocessing.regions import crop_transform
from microx.schema import CLIP_FRAMES
from microx.text import first_few

FORMAT = 4
MANIFEST_COLUMNS = (
    *("video_id", "path", "emotion", "subject", "corpus", "onset", "apex", "offset"),
    *("status", "reason", "face", "occluder"),
    *("n_claimed", "n_decoded", "n_untimed", "n_unused", "n_cuts", "n_rejected", "n_combed"),
    "n_faces",
    *("n_frames", "n_found", "n_segments", *STATUS_COUNTS, "duration_s", "sha256"),
)
COUNT_COLUMNS = tuple(name for name in MANIFEST_COLUMNS if name == "face" or name.startswith("n_"))
CLIP_COLUMNS = (
    *("clip_id", "video_id", "start", "length"),
    *("emotion", "label", "subject", "corpus", "n_found"),
)
N_NAMED = 5
"""Ids that a message names at most (our choice)."""

FACE_MARK = "~"
"""Between a video's id and the number of a face, where a corpus holds all faces: ``talk~2``."""


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
        One row a video, or with ``faces="all"`` one a face: `MANIFEST_COLUMNS`. ``status`` is done
        or skipped. ``n_claimed`` frames were promised by the container, ``n_decoded`` came,
        ``n_untimed`` of them without a time, ``n_unused`` are shown at no tick of the frame rate;
        ``n_combed`` of the first were of two fields, 0 where the video is not interlaced;
        ``n_frames`` ticks stand in the corpus, ``n_found`` of them with crops, in ``n_segments``
        unbroken stretches; the counts of `microx.corpus.storage.STATUS_COUNTS` tell how each tick
        got its landmarks or why it has none, and add up to ``n_frames``. ``occluder`` is the kind
        of thing that was put on the face, "" where none.
    n_kept : int
        Videos that `microx.corpus.build.build_corpus` found there already; 0 where it was not just
        built.
    n_left_out : int
        Videos of before whose crops it removed, for they are no longer named; likewise.
    """

    folder: Path
    recipe: dict[str, Any]
    classes: tuple[str, ...]
    label_set: str
    manifest: pd.DataFrame
    n_kept: int = 0
    n_left_out: int = 0

    def __repr__(self) -> str:
        done = self.manifest[self.manifest["status"] == "done"]
        n_videos = done["video_id"].map(lambda name: str(name).partition(FACE_MARK)[0]).nunique()
        n_subjects = done.loc[done["subject"] != "", "subject"].nunique()
        try:
            clips = f"{self._say_clips()}, "
        except CorpusError:  # crops that are gone must not keep the rest from being shown
            clips = ""
        return (
            f"Corpus({n_videos} videos, {n_subjects} subjects, {clips}"
            f"{len(self.regions)} regions, {self.size} px)"
        )

    def _say_clips(self) -> str:
        """Count the clips; where no video is long enough for one, those as long as there are."""
        longest = max(map(_longest_stretch, self.segments.values()), default=0)
        length = max(1, min(CLIP_FRAMES, longest))
        n_clips = len(self.clips(length))
        if length == 1:
            return f"{n_clips} images"
        return f"{n_clips} clips" + (f" of {length} frames" if length < CLIP_FRAMES else "")

    def _repr_html_(self) -> str:
        done = self.manifest[self.manifest["status"] == "done"]
        rows = [
            {
                "emotion": emotion,
                "videos": int((done["emotion"] == emotion).sum()),
                "subjects": done.loc[done["emotion"] == emotion, "subject"].nunique(),
                "frames": int(done.loc[done["emotion"] == emotion, "n_frames"].sum()),
                "with crops": int(done.loc[done["emotion"] == emotion, "n_found"].sum()),
            }
            for emotion in self.classes
        ]
        return to_html(pd.DataFrame(rows), caption=repr(self))

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
        """Path of the HDF5 file that holds a row of the manifest."""
        name = video_id.partition(FACE_MARK)[0]
        shared = self._shared.get(name)
        return shared.path if shared else self.folder / "crops" / f"{name}.h5"

    def read_crops(
        self, video_id: str, region: str, frames: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Read the crops of one region: ``(T, size, size, 3)`` uint8 RGB, black where none.

        Parameters
        ----------
        video_id, region : str
        frames : sequence of n int, optional
            Only these frames, in this order: ``(n, size, size, 3)``. The rest is not read.

        Raises
        ------
        InputError
            If there is no such video_id, or the video was skipped.
        CorpusError
            If the region was not cropped or the video's file is gone.
        """
        return self._read(video_id, region, frames)

    def read_landmarks(self, video_id: str) -> np.ndarray:
        """Read landmarks: ``(T, 68, 2)`` float32 in pixels of the frame, NaN where none."""
        return self._read(video_id, "landmarks")

    def read_size_hw(self, video_id: str) -> tuple[int, int]:
        """Read the height and width of a video's frames."""
        self._row(video_id)
        if shared := self._shared.get(video_id.partition(FACE_MARK)[0]):
            return shared.size_hw
        facts = read_facts(self.crops_path(video_id)) or {"video": {"size_hw": (0, 0)}}
        height, width = facts["video"]["size_hw"]
        return int(height), int(width)

    def map_to_crop(self, xy: np.ndarray, region: str, size_hw: tuple[int, int]) -> np.ndarray:
        """Map a frame's pixels to those of a region's crop, by the frame's landmarks (68, 2).

        Parameters and what is returned are those of
        `microx.preprocessing.regions.crop_transform`.
        """
        return crop_transform(
            xy,
            region,
            size=self.size,
            policy=self.recipe["policy"],
            margin=self.recipe["margin"],
            size_hw=size_hw,
        )

    def read_frames_found(self, video_id: str) -> np.ndarray:
        """Read whether a face was found in each frame of a video: ``(T,)`` bool."""
        return self.read_segments(video_id) >= 0

    def read_segments(self, video_id: str) -> np.ndarray:
        """Read the segment of each frame of a video: ``(T,)`` int, -1 where no crops."""
        return self._read(video_id, "segment")

    def read_confidence(self, video_id: str) -> np.ndarray:
        """Read the confidence of each frame of a video: ``(T,)``, 0 to 1."""
        return self._read(video_id, "confidence")

    def read_ledger(self, video_id: str) -> pd.DataFrame:
        """Read what became of each of the T frames of a video.

        Returns
        -------
        DataFrame
            time_s; source_frame, the decoded frame shown; status, a name of
            `microx.preprocessing.tracking.faces.Status` in lower case; segment, -1 where no crops;
            confidence, 0 to 1. Of a video without any face, all frames are no_face.

        Raises
        ------
        InputError
            If there is no such video_id, or the video could not be preprocessed.
        CorpusError
            If the video's file is gone.
        """
        from microx.preprocessing.tracking.faces import Status

        row = self._row(video_id)
        no_face: dict[str, Any] = {"status": "no_face", "segment": -1, "confidence": 0.0}
        faceless = row["n_frames"] and not _has_face(row)
        seen = no_face
        if not faceless:
            seen = {name: self._read(video_id, name) for name in no_face}
            seen["status"] = [Status(status).name.lower() for status in seen["status"]]
        times = {
            "time_s": self._read_rows(video_id, "timestamp"),
            "source_frame": self._read_rows(video_id, "source_frame"),
        }
        return pd.DataFrame(times | seen)

    def content_hash(self) -> str:
        """Hash all that the corpus holds: the same for equal recipes, labels and videos.

        It does not depend on where the corpus lies, on how many processes made it, on how
        often they were interrupted, nor on which files hold which images. Paths and reasons
        are left out, which name places.

        Raises
        ------
        CorpusError
            If a video's file is gone or broken.
        """
        digest = hashlib.sha256(self.recipe_hash.encode())
        rows = self.manifest.drop(columns=["path", "reason"]).sort_values("video_id")
        digest.update(rows.to_csv(index=False).encode())
        names = rows["video_id"].str.partition(FACE_MARK)[0]
        done, every = set(names[rows["status"] == "done"]), set(names[rows["n_frames"] > 0])
        shared: dict[str, str] = {}
        for path in list_shards(self.folder / "crops"):
            shared |= hash_shard(path)
        for name in sorted(done | every):
            # Of a video that broke, a file of better days may be there still.
            if name in shared or name in done or self.crops_path(name).is_file():
                digest.update((shared.get(name) or hash_crops(self.crops_path(name))).encode())
        return digest.hexdigest()[:16]

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
            Whether to list clips that a missing face or a cut breaks, too: their ``n_found``,
            the frames of their longest unbroken stretch, is less than their length.

        Returns
        -------
        DataFrame
            clip_id, video_id, start, length, emotion, label (index into `classes`),
            subject and corpus ("" where none), n_found. Empty where no video is long enough.

        Examples
        --------
        >>> load_corpus("corpus").clips(10).start.unique().tolist()
        [0, 10]
        """
        rows: list[dict[str, Any]] = []
        done = self.manifest[self.manifest["status"] == "done"]
        for video in done.itertuples():
            segments = self.segments[str(video.video_id)]
            for start in clip_starts(len(segments), length, stride or length, tail):
                window = segments[start : start + length]
                if len(window) < length:
                    window = np.pad(window, (0, length - len(window)), "edge")
                rows.append(
                    {
                        "clip_id": f"{video.video_id}:{start}",
                        "video_id": video.video_id,
                        "start": start,
                        "length": length,
                        "emotion": video.emotion,
                        "label": self.classes.index(str(video.emotion)),
                        "subject": video.subject,
                        "corpus": video.corpus,
                        "n_found": _longest_stretch(window),
                    }
                )
        clips = pd.DataFrame(rows, columns=list(CLIP_COLUMNS))
        if not incomplete:
            clips = clips[clips["n_found"] == length]
        return clips.reset_index(drop=True)

    def find_frame(self, video_id: str, name: str) -> int | None:
        """Find the frame that the labels name.

        Parameters
        ----------
        video_id : str
        name : {"onset", "apex", "offset"}
            A column of the manifest, whose numbers count the decoded frames from 0.

        Returns
        -------
        int or None
            The frame of the corpus that shows it, or the nearest that shows a face; None where
            the labels give no number, as for neutral videos or CASME II's ``/``, or one beyond
            the frames that were decoded.
        """
        row = self._row(video_id)
        number = pd.to_numeric(str(row[name]).strip(), errors="coerce")
        if not 0 <= number < row["n_decoded"]:  # nor is nan
            return None
        if video_id not in self._source_frames:
            self._source_frames[video_id] = self._read_rows(video_id, "source_frame").astype(float)
        source = np.where(self.segments[video_id] < 0, np.inf, self._source_frames[video_id])
        return int(np.argmin(np.abs(source - number)))

    def read_times(self, video_id: str) -> np.ndarray:
        """Read when each of the T frames of a video is shown: ``(T,)`` seconds."""
        return self._read_rows(video_id, "timestamp")

    def check_clips(self, length: int = CLIP_FRAMES) -> None:
        """Refuse a corpus that holds no clip, before too few subjects are reported.

        Parameters
        ----------
        length : int
            Frames in a clip.

        Raises
        ------
        CorpusError
            If no video shows one face in so many frames on end.
        """
        segments = self.segments.values()
        if not any(_longest_stretch(of_video) >= length for of_video in segments):
            longest = max(map(_longest_stretch, segments), default=0)
            raise CorpusError(
                f"{self.folder}: expected clips of {length} frames; no video shows one face in "
                f"{length} frames on end (at most in {longest}); give longer videos, "
                f"`n_frames={max(longest, 1)}`, a `preset` of single images such as cnn6, or "
                "`input_fps` if folders of images are videos"
            )

    @cached_property
    def _source_frames(self) -> dict[str, np.ndarray]:
        return {}  # each read when it is first asked for

    @cached_property
    def _shared(self) -> dict[str, _Shared]:
        return {
            image["video_id"]: _Shared(path, row, tuple(image["facts"]["video"]["size_hw"]))
            for path in list_shards(self.folder / "crops")
            for row, image in enumerate(read_index(path))
        }

    @cached_property
    def _columns(self) -> dict[tuple[Path, str, int | None], np.ndarray]:
        return {}

    @cached_property
    def segments(self) -> dict[str, np.ndarray]:
        """The segment of each frame of every done video, -1 where no crops; read once."""
        done = self.manifest.loc[self.manifest["status"] == "done", "video_id"]
        return {video_id: self._read(video_id, "segment") for video_id in done}

    @cached_property
    def _rows(self) -> dict[str, dict[Hashable, Any]]:
        return {str(row["video_id"]): row for row in self.manifest.to_dict("records")}

    def _row(self, video_id: str) -> dict[Hashable, Any]:
        """Give the row of a video; refuse one that is not there."""
        if video_id in self._rows:
            return self._rows[video_id]
        faces = [name for name in self._rows if name.partition(FACE_MARK)[0] == video_id]
        known = faces or list(self._rows)
        raise InputError(
            f"{self.folder}: expected a video_id of the manifest; found no {video_id!r}; "
            f"{'its faces are' if faces else 'known:'} {first_few(known, N_NAMED)}"
        )

    def _read(
        self, video_id: str, name: str, frames: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        row = self._row(video_id)
        if not _has_face(row):
            raise InputError(
                f"{self.folder}: expected a video with crops; {video_id!r} was skipped: "
                f"{row['reason']}"
            )
        return self._read_rows(video_id, name, int(row["face"]), frames)

    def _read_rows(
        self,
        video_id: str,
        name: str,
        face: int | None = None,
        frames: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        shared = self._shared.get(video_id.partition(FACE_MARK)[0])
        if shared is None:
            return read_crops_file(self.crops_path(video_id), name, face, frames)
        rows = np.full(1, shared.row)[slice(None) if frames is None else np.asarray(frames, int)]
        if name in self.regions:
            return read_crops_file(shared.path, name, face, rows)
        # The rest is small, and soon wanted of every image: each is read once.
        place = (shared.path, name, face)
        if place not in self._columns:
            self._columns[place] = read_crops_file(*place)
        return np.asarray(self._columns[place][rows])


class _Shared(NamedTuple):
    """Where an image is that shares its file with others."""

    path: Path
    row: int
    size_hw: tuple[int, int]


def _has_face(row: Mapping[Hashable, Any]) -> bool:
    return any(row[name] for name in STATUS_COUNTS)  # landmarks that gave no crop are a face, too


def _longest_stretch(segments: np.ndarray) -> int:
    return int(stretch_lengths(segments).max(initial=0))


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


def check_corpus(corpus: object) -> None:
    """Refuse what is no corpus, such as its path, before anything slow is done.

    Raises
    ------
    InputError
        If it is anything but a `Corpus`.
    """
    if isinstance(corpus, Corpus):
        return
    if isinstance(corpus, str | Path):
        raise InputError(
            f"expected an open corpus; received the path {str(corpus)!r}; "
            f"open it: load_corpus({str(corpus)!r})"
        )
    raise InputError(
        f"expected an open corpus, of load_corpus or build_corpus; received {type(corpus).__name__}"
    )


def load_corpus(folder: str | Path) -> Corpus:
    """Open a corpus folder for reading.

    Raises
    ------
    CorpusError
        If the folder is not a corpus, was never finished, or is of another format.
    """
    address = say_absence(folder)
    folder = Path(folder)
    description = read_description(folder)
    if description is None:
        found = "none" if folder.is_dir() else "a file there" if folder.exists() else address
        raise CorpusError(
            f"{folder}: expected a corpus folder with corpus.json; found {found}; "
            "make one: microx preprocess"
        )
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise CorpusError(
            f"{folder}: expected manifest.csv; found none: microx preprocess is still at work "
            "there, or preprocessing was cut off; wait, or run the same command again: it goes on"
        )
    table = _read_manifest(manifest)
    return Corpus(
        folder=folder,
        recipe=description["recipe"],
        classes=tuple(description["classes"]),
        label_set=description["label_set"],
        manifest=table,
    )


def _read_manifest(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        for name in (*COUNT_COLUMNS, "duration_s"):
            table[name] = pd.to_numeric(table[name])
        return table[list(MANIFEST_COLUMNS)]
    except (OSError, ValueError, KeyError) as error:  # pandas' parser errors are ValueErrors
        found = " ".join(str(error).split())
        raise CorpusError(
            f"{path}: expected a row for each video; found {type(error).__name__}: {found}; delete "
            "it and run the same microx preprocess command again, what is done is kept"
        ) from None


def hash_recipe(recipe: Mapping[str, Any]) -> str:
    """Hash a recipe: the first 16 digits of the SHA-256 of its sorted JSON."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_description(folder: Path) -> dict[str, Any] | None:
    """Read corpus.json; None where there is none.

    Raises
    ------
    CorpusError
        If it cannot be read or is of another format.
    """
    path = folder / "corpus.json"
    if not path.is_file():
        return None
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            found = f"format {description['format']}"
        elif missing := {"recipe", "classes", "label_set"} - description.keys():
            found = f"no {min(missing)}"
        elif not isinstance(description["recipe"], dict):
            found = f"the recipe {description['recipe']!r}"
        else:
            return description
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
    raise CorpusError(
        f"{path}: expected a corpus description of format {FORMAT}; found {found}; delete that "
        "file and run microx preprocess again: crops that fit are kept"
    )
