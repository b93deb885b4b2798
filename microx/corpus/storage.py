"""The HDF5 file of one video: its faces' crops, landmarks and ledger; whole or not there.

Layout: ``timestamp (T,)`` and ``source_frame (T,)`` for the T ticks of the video, and one group
``face_0``, ``face_1``, … for each face, every dataset of T rows: the regions ``(T, size, size,
3)`` uint8, ``landmarks (T, 68, 2)``, ``confidence``, ``box_xyxy (T, R, 4)``, ``status`` and
``segment``. Rows in which a face is not seen are never written, and but for a few take no room.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from microx.errors import CorpusError, InputError, MicroxError
from microx.files import scratch_file, whole_file
from microx.preprocessing.pipeline import VideoStream
from microx.preprocessing.preprocessed import FaceFrames, Ledger
from microx.preprocessing.tracking.faces import Status

# Few, so that a short video's last chunk wastes little room (our choice).
_ROWS_IN_CHUNK, _BYTES_IN_CHUNK = 16, 2**20
_ROWS_TO_HASH = 64

STATUS_COUNTS = tuple(f"n_{status.name.lower()}" for status in Status)
"""The ledger's counts, one a `Status` of a face; they add up to n_frames."""


def write_crops(target: Path, stream: VideoStream, made_of: Mapping[str, str]) -> dict[str, Any]:
    """Preprocess a video into its file and return the file's facts.

    Parameters
    ----------
    target : Path
    stream : VideoStream
        The video, not yet iterated.
    made_of : mapping
        What the file depends on, kept in it: hashes by name.

    Returns
    -------
    dict
        ``video``: counts of the whole video; ``faces``: for each face kept, its counts.

    Raises
    ------
    CorpusError
        If the file cannot be written: no room, no right.
    InputError, LandmarkError
        If the video cannot be preprocessed; no file is left then.
    """
    with (
        _room_for(target),
        scratch_file(target) as scratch,
        _DiskFile(scratch) as scratch_disk,
        h5py.File(scratch_disk, "w") as file,
    ):
        for piece in watch(stream):
            _append(file.require_group(f"face_{piece.face}"), piece)
            scratch_disk.check()
        with create_file(target) as final:
            facts = _finish(file, final, stream)
            final.attrs.update(dict(made_of) | {"facts": json.dumps(facts)})
            scratch_disk.check()
    return facts


@contextmanager
def create_file(target: Path) -> Iterator[h5py.File]:
    """Create an HDF5 file that appears whole or not at all; a full disk is a `CorpusError`."""
    with _room_for(target), whole_file(target) as partial, _DiskFile(partial) as disk:
        with h5py.File(disk, "w") as file:
            yield file
        disk.check()


def read_facts(path: Path, made_of: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Read the facts of a video's file; None if it is missing, broken, or made of other things."""
    try:
        with h5py.File(path, "r") as file:
            held = dict(file.attrs)
    except (OSError, RuntimeError, KeyError):  # h5py raises any of them for a broken file
        return None
    if any(held.get(name) != value for name, value in (made_of or {}).items()):
        return None
    try:
        facts: dict[str, Any] = json.loads(held["facts"])
    except (KeyError, ValueError):
        return None
    return facts


def read_crops_file(
    path: Path,
    name: str,
    face: int | None = None,
    frames: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Read one dataset of a video's file, of a face where one is named; some frames, or all.

    Raises
    ------
    CorpusError
        If the file or the dataset is not there or broken.
    """
    with open_crops(path) as file:
        place = file if face is None else file[f"face_{face}"]
        if name in place:
            if frames is None:
                return np.asarray(place[name][()])
            chosen, order = np.unique(np.asarray(frames, int), return_inverse=True)
            return np.asarray(place[name][chosen])[order]  # HDF5 reads in order, each once
        held = ", ".join(place)
    raise CorpusError(
        f"{path}: expected {name!r}; found {held}; preprocess with `regions` that name it"
    )


def hash_crops(path: Path) -> str:
    """Hash what a video's file holds, whatever bytes HDF5 stores it in: SHA-256.

    Raises
    ------
    CorpusError
        If the file is not there or broken.
    """
    with open_crops(path) as file:
        return hash_arrays(str(file.attrs["facts"]), list_arrays(file))


def hash_arrays(facts: str, arrays: Mapping[str, Any]) -> str:
    """Hash a video's facts and arrays by name, wherever they are stored: SHA-256."""
    digest = hashlib.sha256(facts.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        for start in range(0, len(array), _ROWS_TO_HASH):
            digest.update(array[start : start + _ROWS_TO_HASH].tobytes())
    return digest.hexdigest()


def list_arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """List the datasets of a file that have rows, by name."""
    found: dict[str, h5py.Dataset] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item

    file.visititems(add)
    return found


@contextmanager
def open_crops(path: Path) -> Iterator[h5py.File]:
    """Open a file of crops for reading; one that is not there or broken is a `CorpusError`."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises any of them
        found = " ".join(str(error).split())
        raise CorpusError(
            f"{path}: expected the crops of a video; {found}; run microx preprocess again"
        ) from None


def watch(stream: VideoStream) -> Iterator[FaceFrames]:
    """Give the stream's pieces; whatever goes wrong in it is the video's fault, not the disk's."""
    try:
        yield from stream
    except MicroxError:
        raise
    except Exception as error:
        # Thousands of other videos must not fail for a fault that nobody thought of.
        raise InputError(
            f"{stream.path}: expected a video; {type(error).__name__}: {error}"
        ) from error


def stretch_lengths(segment: np.ndarray) -> np.ndarray:
    """Count the frames of each unbroken stretch of crops.

    Parameters
    ----------
    segment : ndarray of shape (T,), int
        The segment of each frame, -1 where there are no crops.

    Returns
    -------
    ndarray of int64
        One count a stretch, in order; empty where no frame has crops.

    Examples
    --------
    >>> stretch_lengths(np.array([0, 0, -1, 0, 1, 1, 1])).tolist()
    [2, 1, 3]
    """
    edges = np.flatnonzero(segment[1:] != segment[:-1]) + 1
    bounds = np.array([0, *edges, len(segment)])
    return np.diff(bounds)[segment[bounds[:-1]] >= 0] if len(segment) else bounds[:0]


class _DiskFile(io.FileIO):
    """A file that HDF5 can always write to; whether the disk took it all is told by `check`.

    HDF5 itself, where the disk is full, prints tracebacks as it closes, or crashes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, unless the disk has failed before."""
        left = memoryview(data).cast("B")
        size = len(left)
        with self._patience():
            while left and self._fault is None:
                left = left[super().write(left) :]
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the file's length."""
        with self._patience():
            super().truncate(size)
        return size or 0

    @contextmanager
    def _patience(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._fault = self._fault or error

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._fault is not None:
            raise self._fault


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    try:
        yield
    except MicroxError:
        raise
    except (OSError, RuntimeError) as error:  # h5py raises either when a disk is full
        raise CorpusError(
            f"{target}: could not be written: {' '.join(str(error).split())}; what is done is "
            "kept; make room or name another `out`, then run the same command again"
        ) from None


def name_arrays(piece: FaceFrames) -> dict[str, np.ndarray]:
    """Give the arrays of a face by the names of their datasets."""
    return piece.crops | {
        "landmarks": piece.landmarks.xy,
        "confidence": piece.landmarks.confidence,
        "box_xyxy": piece.box_xyxy,
        "status": piece.status,
        "segment": piece.segment,
    }


def _append(group: h5py.Group, piece: FaceFrames) -> None:
    for name, array in name_arrays(piece).items():
        dataset = group.get(name)
        if dataset is None:
            dataset = create_rows(group, name, array.shape[1:], array.dtype)
        end = piece.start + len(piece)
        dataset.resize(max(end, len(dataset)), axis=0)
        dataset[piece.start : end] = array


def create_rows(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any, n_rows: int = 0
) -> h5py.Dataset:
    """Create a dataset of rows of this shape; those never written take no room."""
    kind = name.rpartition("/")[2]
    fill: Any = -1 if kind == "segment" else np.nan if kind in ("landmarks", "box_xyxy") else 0
    row_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    n_together = max(1, min(_ROWS_IN_CHUNK, _BYTES_IN_CHUNK // row_bytes))
    return group.create_dataset(
        name,
        shape=(n_rows, *shape),
        maxshape=(None, *shape),
        chunks=(n_together, *shape),
        dtype=dtype,
        fillvalue=fill,
    )


def _finish(scratch: h5py.File, final: h5py.File, stream: VideoStream) -> dict[str, Any]:
    """Move the faces that are kept to the file, whole over the video, and count."""
    ledger = stream.ledger
    final["timestamp"], final["source_frame"] = ledger.timestamp, ledger.source_frame
    for group in scratch.values():
        for dataset in group.values():
            dataset.resize(len(ledger), axis=0)
    groups = {int(name.removeprefix("face_")): group for name, group in scratch.items()}
    facts = choose_faces(groups, stream)
    for face in facts["faces"]:
        _copy(groups[face["face"]], final, len(ledger))
    return facts


def choose_faces(groups: Mapping[int, Mapping[str, Any]], stream: VideoStream) -> dict[str, Any]:
    """Count a video and the faces of it that are kept, the frames of the others marked in them.

    Parameters
    ----------
    groups : mapping of int to mapping of str to dataset or ndarray
        Every face and its arrays, all of T rows.
    stream : VideoStream
        The video, iterated to its end.

    Returns
    -------
    dict
        The facts, see `write_crops`.
    """
    faces = []
    for face, group in sorted(groups.items()):
        if stream.recipe.faces != "all":
            if face != stream.main_face:
                continue
            _mark_other_faces(group, [other for name, other in groups.items() if name != face])
        faces.append({"face": face} | _count(group))
    return {"video": _count_video(stream.ledger, stream, len(groups)), "faces": faces}


def _copy(group: h5py.Group, final: h5py.File, n_frames: int) -> None:
    if n_frames > _ROWS_IN_CHUNK:
        final.copy(group, final)  # as it is: what was never written stays so
        return
    for name, dataset in group.items():  # a single image must not take the room of a chunk
        final[f"{group.name}/{name}"] = dataset[()]


def _mark_other_faces(group: Mapping[str, Any], others: list[Mapping[str, Any]]) -> None:
    status = group["status"][()]
    for other in others:
        status[(status == Status.NO_FACE) & (other["segment"][()] >= 0)] = Status.OTHER_FACE
    group["status"][...] = status


def _count(group: Mapping[str, Any]) -> dict[str, int]:
    status, segment = group["status"][()], group["segment"][()]
    counts = dict(
        zip(STATUS_COUNTS, np.bincount(status, minlength=len(Status)).tolist(), strict=True)
    )
    return {
        "n_found": int((segment >= 0).sum()),
        "n_segments": len(stretch_lengths(segment)),
    } | counts


def _count_video(ledger: Ledger, stream: VideoStream, n_faces: int) -> dict[str, Any]:
    rate = stream.recipe.frame_rate
    if rate is not None:
        duration_s = len(ledger) / rate
    else:  # the last frame is shown as long as the others on average
        duration_s = float(ledger.timestamp[-1]) * len(ledger) / max(1, len(ledger) - 1)
    return {
        "n_claimed": ledger.n_claimed,
        "n_decoded": ledger.n_decoded,
        "n_untimed": ledger.n_untimed,
        "n_unused": ledger.n_decoded - len(np.unique(ledger.source_frame)),
        "n_cuts": ledger.n_cuts,
        "n_rejected": ledger.n_rejected,
        "n_combed": ledger.n_combed,
        "n_faces": n_faces,
        "n_frames": len(ledger),
        "duration_s": round(duration_s, 6),
        "size_hw": list(ledger.size_hw),
        "occluder": stream.occluder,
    }
