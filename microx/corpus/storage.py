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
        whole_file(target) as partial,
        _DiskFile(scratch) as scratch_disk,
        h5py.File(scratch_disk, "w") as file,
    ):
        for piece in _watched(stream):
            _append(file.require_group(f"face_{piece.face}"), piece)
            scratch_disk.check()
        with _DiskFile(partial) as disk:
            with h5py.File(disk, "w") as final:
                facts = _finish(file, final, stream)
                final.attrs.update(dict(made_of) | {"facts": json.dumps(facts)})
            scratch_disk.check()
            disk.check()
    return facts


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
    try:
        with h5py.File(path, "r") as file:
            place = file if face is None else file[f"face_{face}"]
            if name in place:
                if frames is None:
                    return np.asarray(place[name][()])
                chosen, order = np.unique(np.asarray(frames, int), return_inverse=True)
                return np.asarray(place[name][chosen])[order]  # HDF5 reads in order, each once
            held = ", ".join(place)
    except (OSError, RuntimeError, KeyError) as error:
        raise _broken(path, error) from None
    raise CorpusError(
        f"{path}: expected {name!r}; found {held}; preprocess with `regions` that name it"
    )


def _broken(path: Path, error: Exception) -> CorpusError:
    found = " ".join(str(error).split())
    return CorpusError(
        f"{path}: expected the crops of a video; {found}; run microx preprocess again"
    )


def hash_crops(path: Path) -> str:
    """Hash what a video's file holds, whatever bytes HDF5 stores it in: SHA-256.

    Raises
    ------
    CorpusError
        If the file is not there or broken.
    """
    digest = hashlib.sha256()

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(f"{name} {item.shape} {item.dtype}".encode())
            for start in range(0, len(item), _ROWS_TO_HASH):
                digest.update(item[start : start + _ROWS_TO_HASH].tobytes())

    try:
        with h5py.File(path, "r") as file:
            digest.update(str(file.attrs["facts"]).encode())
            file.visititems(add)
    except (OSError, RuntimeError, KeyError) as error:
        raise _broken(path, error) from None
    return digest.hexdigest()


def _watched(stream: VideoStream) -> Iterator[FaceFrames]:
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
    edges = np.flatnonzero(np.diff(segment)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, len(segment)]
    return np.asarray((ends - starts)[segment[starts] >= 0] if len(segment) else starts[:0])


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


def _arrays(piece: FaceFrames) -> dict[str, np.ndarray]:
    return piece.crops | {
        "landmarks": piece.landmarks.xy,
        "confidence": piece.landmarks.confidence,
        "box_xyxy": piece.box_xyxy,
        "status": piece.status,
        "segment": piece.segment,
    }


def _append(group: h5py.Group, piece: FaceFrames) -> None:
    for name, array in _arrays(piece).items():
        dataset = group.get(name)
        if dataset is None:
            dataset = _create(group, name, array.shape[1:], array.dtype)
        end = piece.start + len(piece)
        dataset.resize(max(end, len(dataset)), axis=0)
        dataset[piece.start : end] = array


def _create(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    fill: Any = -1 if name == "segment" else np.nan if name in ("landmarks", "box_xyxy") else 0
    row_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    n_rows = max(1, min(_ROWS_IN_CHUNK, _BYTES_IN_CHUNK // row_bytes))
    return group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(n_rows, *shape),
        dtype=dtype,
        fillvalue=fill,
    )


def _finish(scratch: h5py.File, final: h5py.File, stream: VideoStream) -> dict[str, Any]:
    """Move the faces that are kept to the file, whole over the video, and count."""
    ledger, every = stream.ledger, stream.recipe.faces == "all"
    final["timestamp"], final["source_frame"] = ledger.timestamp, ledger.source_frame
    for name in scratch:
        for dataset in scratch[name].values():
            dataset.resize(len(ledger), axis=0)
    faces = []
    for face in sorted(int(name.removeprefix("face_")) for name in scratch):
        group = scratch[f"face_{face}"]
        if not every and face != stream.main_face:
            continue
        if not every:
            _mark_other_faces(group, [other for other in scratch.values() if other != group])
        _copy(group, final, len(ledger))
        faces.append({"face": face} | _count(group))
    return {"video": _count_video(ledger, stream, len(scratch)), "faces": faces}


def _copy(group: h5py.Group, final: h5py.File, n_frames: int) -> None:
    if n_frames > _ROWS_IN_CHUNK:
        final.copy(group, final)  # as it is: what was never written stays so
        return
    for name, dataset in group.items():  # a single image must not take the room of a chunk
        final[f"{group.name}/{name}"] = dataset[()]


def _mark_other_faces(group: h5py.Group, others: list[h5py.Group]) -> None:
    status = group["status"][()]
    for other in others:
        status[(status == Status.NO_FACE) & (other["segment"][()] >= 0)] = Status.OTHER_FACE
    group["status"][...] = status


def _count(group: h5py.Group) -> dict[str, int]:
    status, segment = group["status"][()], group["segment"][()]
    counts = {name: int((status == s).sum()) for name, s in zip(STATUS_COUNTS, Status, strict=True)}
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
