"""The 68 facial landmarks of a video over time, and the CSV files programs store them in."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microx.errors import InputError
from microx.files import whole_file
from microx.schema import LEFT_EYE_OUTER, N_LANDMARKS, RIGHT_EYE_OUTER

_COLUMNS = [f"{axis}_{point}" for axis in "xy" for point in range(N_LANDMARKS)]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The landmarks of one face over the frames of a video.

    Parameters
    ----------
    xy : ndarray of shape (T, 68, 2), float32
        Points in pixels, x to the right and y down; iBUG 300-W order, counted from 0.
    confidence : ndarray of shape (T,), float32
        The tracker's confidence, from 0 to 1.
    success : ndarray of shape (T,), bool
        Whether a face was found. Where False, `xy` means nothing, however plausible.
    timestamp : ndarray of shape (T,), float64
        Seconds since the first frame.

    Raises
    ------
    InputError
        If the shapes do not match.
    """

    xy: np.ndarray
    confidence: np.ndarray
    success: np.ndarray
    timestamp: np.ndarray

    def __post_init__(self) -> None:
        if self.xy.ndim != 3 or self.xy.shape[1:] != (N_LANDMARKS, 2):
            raise InputError(f"landmarks must have shape (T, 68, 2); received {self.xy.shape}")
        for name in ("confidence", "success", "timestamp"):
            shape = getattr(self, name).shape
            if shape != (len(self.xy),):
                raise InputError(f"{name} must have shape ({len(self.xy)},); received {shape}")

    def __len__(self) -> int:
        return len(self.xy)


def outer_eye_distance(xy: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners (points 36 and 45), the usual unit of error.

    Parameters
    ----------
    xy : ndarray of shape (..., 68, 2)
        Landmarks in pixels. Empty gives empty.

    Returns
    -------
    ndarray of shape (...)
        Pixels. Source: Sagonas et al., "300 Faces in-the-Wild Challenge" (2013), section 4.
    """
    return np.asarray(
        np.linalg.norm(xy[..., LEFT_EYE_OUTER, :] - xy[..., RIGHT_EYE_OUTER, :], axis=-1)
    )


def read_landmarks_csv(
    path: str | Path, *, n_frames: int | None = None, several: bool | None = None
) -> list[Landmarks]:
    """Read the landmarks of every face in a CSV that OpenFace 1, OpenFace 2 or py-feat wrote.

    Its columns show which of them wrote it. A frame has no face where the program
    says so, however plausible the points, or where the points are all 0 or not numbers
    (``-nan``). Names and values may follow a space; the case of names matters, because
    ``x_0`` is a 2D point and ``X_0`` a 3D one.

    Parameters
    ----------
    path : path
        The CSV.
    n_frames : int, optional
        Frames in the video. Without it, the last frame in the file is taken as the last.
    several : bool, optional
        For OpenFace 2: True for a file of FaceLandmarkVidMulti, where a frame without a
        face has no row; False for one of FeatureExtraction, where every frame has its row
        and all are of one face. Without it, a file is of FaceLandmarkVidMulti if it holds
        several values of ``face_id`` or skips a frame.

    Returns
    -------
    list of Landmarks
        One for each ``face_id`` or ``Identity``, ordered by first appearance, and each with
        one row a frame; `xy` is NaN in frames the face has no points in. One in which
        `success` is False throughout where every frame has its row and none a face; empty
        where the file has no row.

    Raises
    ------
    InputError
        If the file is missing, is not such a CSV, was cut short, lacks a column or a value,
        or its frames are not those of the video.

    Notes
    -----
    Sources: OpenFace 2.2.0 (``frame, face_id, timestamp, confidence, success, x_0 …``),
    frames from 1; OpenFace 1, the same without ``face_id``; py-feat 0.4 to 2 (``FaceRectX``,
    ``FaceScore``, ``x_0 …``, ``Identity``, ``frame``), frames from 0, a row without numbers
    where there is no face. A ``face_id`` is a slot in OpenFace's list of trackers, which it
    gives to a new face when the old one is lost: it is no proof of identity. Where a file
    gives no time, or py-feat's whole seconds, `timestamp` is 0; frames without a row get theirs
    from the average frame rate, as OpenFace computes the others.

    Examples
    --------
    >>> [int(face.success.sum()) for face in read_landmarks_csv("S01_happy_1.csv")]
    [24]
    """
    path = Path(path)
    table = _read_table(path)
    _check_repeats(path, table)
    names = list(dict.fromkeys(table.face[table.found].tolist()))
    if several is False and len(names) > 1:
        raise InputError(f"{path}: expected one face; found {len(names)}: {', '.join(names)}")
    length = len(set(table.at.tolist()))
    gaps = length > 0 and length < table.at[-1] + 1
    sparse = table.has_ids and (several or (several is None and (len(names) > 1 or gaps)))
    _check_frames(path, table, n_frames, sparse=bool(sparse))
    if not len(table.at) or (sparse and not names):
        return []
    total = n_frames if n_frames is not None else int(table.at[-1]) + 1
    # Where no face was ever found, no row matches, and the one face is absent throughout.
    return [_one_face(table, name, total) for name in names or [""]]


def read_openface_csv(path: str | Path) -> Landmarks:
    """Read a CSV of one face, which has a row for every frame.

    Returns
    -------
    Landmarks
        One row a frame; a CSV with a header and no rows gives length 0.

    Raises
    ------
    InputError
        As `read_landmarks_csv` does, and if the file skips frames or holds several faces.

    Notes
    -----
    Source: OpenFace 2.2.0, FeatureExtraction with ``-2Dfp``. Its timestamp is computed
    from the average frame rate, so the pipeline keeps the decoder's times instead.
    """
    faces = read_landmarks_csv(path, several=False)
    return faces[0] if faces else _absent(0)


def write_openface_csv(path: str | Path, landmarks: Landmarks) -> None:
    """Write landmarks as OpenFace 2.2.0 does with ``-2Dfp``: a space after each comma.

    The file appears whole or not at all. Points keep 2 decimals (OpenFace keeps 1).
    """
    path = Path(path)
    points = landmarks.xy.transpose(0, 2, 1).reshape(len(landmarks), -1)  # (T, 136): x then y
    header = ", ".join(["frame", "face_id", "timestamp", "confidence", "success", *_COLUMNS])
    rows = [header]
    for index, row in enumerate(points):
        facts = (
            f"{index + 1}, 0, {landmarks.timestamp[index]:.3f}, "
            f"{landmarks.confidence[index]:.2f}, {int(landmarks.success[index])}"
        )
        rows.append(", ".join([facts, *(f"{value:.2f}" for value in row)]))
    with whole_file(path) as partial:
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows of a CSV in the order of their frames: N rows, of one face and one frame each."""

    at: np.ndarray  # (N,) the frame, from 0
    first: int  # what the file calls frame 0
    face: np.ndarray  # (N,) its name, as text
    found: np.ndarray  # (N,) whether a face is there with its points
    has_ids: bool  # OpenFace 2, which may leave frames out
    xy: np.ndarray  # (N, 68, 2)
    confidence: np.ndarray  # (N,)
    success: np.ndarray  # (N,)
    timestamp: np.ndarray  # (N,)


def _read_table(path: Path) -> _Table:
    if not path.is_file():
        raise InputError(f"{path}: expected a CSV of landmarks; found no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            # py-feat may write the frame twice, as index and as column: the first will do.
            place = {name: header.index(name) for name in header}
            _check_columns(path, place)
            cells = list(_read_rows(path, reader, place, len(header)))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a CSV of landmarks; {error}") from None

    py_feat = "FaceScore" in place
    first = 0 if py_feat else 1
    frame = _whole_frames(path, np.array([row.numbers[0] for row in cells], float), first)
    order = np.argsort(frame, kind="stable")
    numbers = np.array([row.numbers for row in cells], float).reshape(-1, 4)[order]
    xy = np.array([row.points for row in cells], np.float32).reshape(-1, 2, N_LANDMARKS)
    xy = np.ascontiguousarray(xy[order].transpose(0, 2, 1))  # (N, 68, 2)
    found = np.isfinite(xy).all(axis=(1, 2)) & (xy != 0).any(axis=(1, 2))
    if py_feat:
        found &= numbers[:, 1] > 0
    if len({row.video for row in cells}) > 1:
        raise InputError(f"{path}: expected one video; found several in the column input")
    return _Table(
        at=frame[order] - first,
        first=first,
        face=np.array([row.face for row in cells], object)[order],
        found=found,
        has_ids="face_id" in place and not py_feat,
        xy=xy,
        confidence=np.nan_to_num(numbers[:, 1]),
        success=numbers[:, 2] > 0,
        timestamp=numbers[:, 3],
    )


def _check_columns(path: Path, place: dict[str, int]) -> None:
    missing = [name for name in ("frame", *_COLUMNS) if name not in place]
    if missing:
        raise InputError(
            f"{path}: expected a CSV of landmarks with the columns frame, x_0 … y_67; "
            f"{missing[0]} and {len(missing) - 1} more are missing; run OpenFace's "
            "FeatureExtraction with -2Dfp"
        )
    if f"x_{N_LANDMARKS}" in place:
        raise InputError(
            f"{path}: expected 68 landmarks; found more, which are other points; "
            "run py-feat's Detector, not one that makes a mesh of the face"
        )


@dataclass(frozen=True)
class _Row:
    numbers: tuple[float, float, float, float]  # frame, confidence, success, timestamp
    points: np.ndarray  # (136,): x then y
    face: str
    video: str


def _read_rows(
    path: Path, reader: Iterator[list[str]], place: dict[str, int], n_cells: int
) -> Iterator[_Row]:
    py_feat = "FaceScore" in place
    confidence = place.get("FaceScore" if py_feat else "confidence")
    success = None if py_feat else place.get("success")
    seconds = None if py_feat else place.get("timestamp")
    face = place.get("Identity" if py_feat else "face_id")
    video = place.get("input") if py_feat else None
    points = [place[name] for name in _COLUMNS]
    for row in reader:
        if not row:
            continue
        frame = row[place["frame"]][:20] if place["frame"] < len(row) else "unknown"
        if len(row) != n_cells:
            raise InputError(
                f"{path}: expected {n_cells} values in each row; found {len(row)} for frame "
                f"{frame}; the file was cut short or changed: make it again"
            )
        if not py_feat:
            empty = next((name for name in _COLUMNS if not row[place[name]].strip()), None)
            if empty:
                raise InputError(
                    f"{path}: expected a number for {empty} in frame {frame}; found nothing; "
                    "make the file again"
                )
        yield _Row(
            numbers=(
                _number(frame),
                1.0 if confidence is None else _number(row[confidence]),
                1.0 if success is None else _number(row[success]),
                0.0 if seconds is None else _number(row[seconds]),
            ),
            points=np.array([_number(row[index]) for index in points], np.float32),
            face="" if face is None else row[face].strip(),
            video="" if video is None else row[video],
        )


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:  # nothing, or what Windows writes: -nan(ind)
        return math.nan


def _whole_frames(path: Path, frame: np.ndarray, first: int) -> np.ndarray:
    wrong = ~(frame >= first) | (frame != np.floor(frame))
    if wrong.any():
        raise InputError(
            f"{path}: expected frames counted {first}, {first + 1}, …; "
            f"found {frame[wrong][0]:g} in row {int(np.argmax(wrong)) + 1}"
        )
    return frame.astype(np.int64)


def _check_repeats(path: Path, table: _Table) -> None:
    pairs = Counter(zip(table.at.tolist(), table.face.tolist(), strict=True))
    (at, face), n_rows = max(pairs.items(), key=lambda item: item[1], default=((0, ""), 1))
    if n_rows == 1:
        return
    if not face or face.lower() == "nan":
        raise InputError(
            f"{path}: expected one row for frame {at + table.first}; found {n_rows}, and no "
            "face_id or Identity to tell them apart"
        )
    raise InputError(
        f"{path}: expected one row for face {face} in frame {at + table.first}; found {n_rows}"
    )


def _check_frames(path: Path, table: _Table, n_frames: int | None, *, sparse: bool) -> None:
    """Refuse frames beyond the video and, unless frames may be left out, frames left out."""
    last = int(table.at[-1]) if len(table.at) else -1
    if n_frames is not None and (last >= n_frames or (last + 1 < n_frames and not sparse)):
        raise InputError(
            f"{path}: expected landmarks for the video's {n_frames} frames; found "
            f"{last + 1}; make the file again from this very video"
        )
    absent = np.setdiff1d(np.arange(last + 1), table.at)
    if len(absent) and not sparse:
        raise InputError(
            f"{path}: expected frames {table.first} to {last + table.first}, each once; "
            f"frame {absent[0] + table.first} is missing, and {len(absent) - 1} more; "
            "make the file again from every frame"
        )


def _absent(n_frames: int) -> Landmarks:
    """Landmarks of a face that is in none of the frames."""
    return Landmarks(
        xy=np.full((n_frames, N_LANDMARKS, 2), np.nan, np.float32),
        confidence=np.zeros(n_frames, np.float32),
        success=np.zeros(n_frames, bool),
        timestamp=np.zeros(n_frames),
    )


def _one_face(table: _Table, name: str, n_frames: int) -> Landmarks:
    face = _absent(n_frames)
    mine = table.found & (table.face == name)
    at = table.at[mine]
    face.xy[at] = table.xy[mine]
    face.confidence[at] = table.confidence[mine]
    face.success[at] = table.success[mine]
    face.timestamp[:] = _timestamps(table, n_frames)
    return face


def _timestamps(table: _Table, n_frames: int) -> np.ndarray:
    """The time of each frame, at the average frame rate where no row gives it."""
    known = np.isfinite(table.timestamp)
    at, seconds = table.at[known], table.timestamp[known]
    if not len(at):
        return np.zeros(n_frames)
    frame_s = (seconds[-1] - seconds[0]) / max(at[-1] - at[0], 1)
    timestamp = seconds[0] + (np.arange(n_frames) - at[0]) * frame_s
    timestamp[at] = seconds
    return np.asarray(timestamp)
