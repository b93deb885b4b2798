"""The 68 facial landmarks of a video over time, and the CSV files OpenFace keeps them in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

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
        How sure the tracker is, from 0 to 1.
    success : ndarray of shape (T,), bool
        Whether a face was found. Where False, `xy` means nothing, however plausible.
    timestamp : ndarray of shape (T,), float64
        Seconds since the first frame.

    Raises
    ------
    InputError
        If the shapes do not belong together.
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


def read_openface_csv(path: str | Path) -> Landmarks:
    """Read the 2D landmarks that OpenFace wrote for one face.

    Header names may or may not follow a space, and their case is kept, because ``x_0`` is
    a 2D point and ``X_0`` a 3D one. Cells that are not numbers (``-nan``) make their frame
    a frame without a face. Rows come back in the order of ``frame``, which counts from 1.

    Returns
    -------
    Landmarks
        One row a frame; a CSV with a header and no rows gives length 0.

    Raises
    ------
    InputError
        If the file is missing, lacks a column, skips or repeats frames, or holds several faces.

    Notes
    -----
    Source: OpenFace 2.2.0, FeatureExtraction with ``-2Dfp``. Its timestamp is reckoned
    from the average frame rate, so the pipeline keeps the decoder's times instead.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a CSV of landmarks as OpenFace writes it; found none")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:  # ValueError covers pandas' own
        raise InputError(f"{path}: expected a CSV of landmarks; {error}") from None
    table.columns = [str(name).strip() for name in table.columns]
    missing = [name for name in ("frame", *_COLUMNS) if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: expected the columns frame, x_0 … y_67; {missing[0]} "
            f"and {len(missing) - 1} more are missing; run OpenFace with -2Dfp"
        )
    if "face_id" in table.columns and table["face_id"].nunique() > 1:
        raise InputError(
            f"{path}: expected one face; found {table['face_id'].nunique()} values of face_id"
        )
    table = table.sort_values("frame", kind="stable")
    if not np.array_equal(table["frame"].to_numpy(), np.arange(1, len(table) + 1)):
        raise InputError(f"{path}: expected frames 1 to {len(table)}, each once; found others")
    return _from_table(table)


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


def _from_table(table: pd.DataFrame) -> Landmarks:
    points = table[_COLUMNS].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    xy = points.reshape(len(table), 2, N_LANDMARKS).transpose(0, 2, 1)  # (T, 68, 2)
    readable = np.isfinite(xy).all(axis=(1, 2))

    def column(name: str, otherwise: float) -> np.ndarray:
        if name not in table.columns:
            return np.full(len(table), otherwise)
        return pd.to_numeric(table[name], errors="coerce").fillna(0).to_numpy(np.float64)

    return Landmarks(
        xy=np.ascontiguousarray(xy),
        confidence=np.where(readable, column("confidence", 1.0), 0).astype(np.float32),
        success=readable & (column("success", 1.0) > 0),
        timestamp=column("timestamp", 0.0),
    )
