"""A smooth map from face units to an image, fitted to the landmarks of one face.

Only landmarks that expressions hardly move count, so that what is laid on the face rides on the
head and not on the mouth. All numbers are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from microx.errors import InputError
from microx.preprocessing.mean_face import MIRROR, mean_face
from microx.schema import N_LANDMARKS

# Landmarks that are fitted, and the weight of each: jaw points slide along the cheek, and the
# chin drops with the mouth. Each counts with its mirror image.
_TRUST = {
    **dict.fromkeys((0, 1, 2, 3), 0.5), 4: 0.4, **dict.fromkeys((5, 6, 7, 8), 0.3),
    **dict.fromkeys((27, 28, 29, 30, 33, 32, 31), 1.0), **dict.fromkeys((36, 39), 1.5),
}  # fmt: skip
_MIDDLE = np.array([0.0, 0.45])  # of the face, in face units
_REACH = 0.85  # face units from the middle to where the bending ends: ears and chin
_NOSE = 0.3  # face units from its tip to where it stands out by a third
_STIFFNESS = 0.15  # against bending, in the unit of the trust above
_MOST_BENDING = 0.8  # at 1 the far side of a turned face would fold over
_GRID = 17  # points a side at which the map is computed; between them it is linear


@dataclass(frozen=True, eq=False)
class FaceWarp:
    """The map from face units to an image: a plane, and bending as of a turned paraboloid.

    A head is near a paraboloid; turned, each point moves by its depth, which is a square in x
    and y, and the nose stands out of it. Face units have their origin midway between the outer
    eye corners, x to the right of the image, y down, and their distance is 1.

    Parameters
    ----------
    plane : ndarray of shape (3, 2), float64
        Pixels: the origin, and what a face unit along x and along y adds.
    bending : ndarray of shape (3, 2), float64
        Face units: what the depth along x, along y and that of the nose add.
    """

    plane: np.ndarray
    bending: np.ndarray

    @classmethod
    def fit(cls, xy: np.ndarray) -> FaceWarp | None:
        """Fit the map to the landmarks of one face by least squares.

        Parameters
        ----------
        xy : ndarray of shape (68, 2)
            In pixels of the image.

        Returns
        -------
        FaceWarp or None
            None where landmarks are NaN or span no face.

        Raises
        ------
        InputError
            If the shape is another.
        """
        if xy.shape != (N_LANDMARKS, 2):
            raise InputError(f"landmarks must have shape (68, 2); received {xy.shape}")
        points, weights = _solver()
        map_ = weights @ xy[points].astype(np.float64)  # (6, 2)
        plane, bending = map_[:3], map_[3:]
        if not np.isfinite(map_).all() or abs(np.linalg.det(plane[1:])) < 1:
            return None
        bending = bending @ np.linalg.inv(plane[1:])
        steepest = np.array([2 * _REACH, 2 * _REACH, 0.86 / _NOSE])  # of each term
        folding = float(np.abs(steepest @ np.abs(bending)).max())
        return cls(plane, bending * min(1.0, _MOST_BENDING / max(folding, 1e-9)))

    @property
    def pixels_per_unit(self) -> float:
        """Image pixels per face unit, the mean of both directions."""
        return float(np.sqrt(abs(np.linalg.det(self.plane[1:]))))

    def to_image(self, face: np.ndarray) -> np.ndarray:
        """Face units (..., 2) to image pixels (..., 2)."""
        bent = face + _bend_terms(face) @ self.bending
        return np.asarray(self.plane[0] + bent @ self.plane[1:])

    def find_box(
        self, box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]
    ) -> tuple[slice, slice]:
        """Rows and columns of the image that a box in face units can reach."""
        x = np.linspace(box_xyxy[0], box_xyxy[2], 9)
        y = np.linspace(box_xyxy[1], box_xyxy[3], 9)
        at = self.to_image(np.stack(np.meshgrid(x, y), axis=-1)).reshape(-1, 2)
        low = np.clip(np.floor(at.min(axis=0)) - 1, 0, size_hw[::-1]).astype(int)
        high = np.clip(np.ceil(at.max(axis=0)) + 2, 0, size_hw[::-1]).astype(int)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def to_face(self, rows: slice, columns: slice) -> np.ndarray:
        """Face units of each pixel of a box of the image, (h, w, 2) float32."""
        x = np.linspace(columns.start, columns.stop - 1, _GRID)
        y = np.linspace(rows.start, rows.stop - 1, _GRID)
        at = np.stack(np.meshgrid(x, y), axis=-1)
        flat = (at - self.plane[0]) @ np.linalg.inv(self.plane[1:])
        face = flat
        for _ in range(12):  # face + bending(face) = flat
            before, face = face, flat - _bend_terms(face) @ self.bending
            if np.abs(face - before).max() < 3e-4:
                break
        down = _hats(rows.stop - rows.start)
        along = _hats(columns.stop - columns.start)
        return np.stack([down @ face[..., k].astype(np.float32) @ along.T for k in (0, 1)], axis=-1)


def _bend_terms(face: np.ndarray) -> np.ndarray:
    """Terms of the bending at places in face units, (..., 3): depth along x and y, nose.

    Beside the head the slope goes on, so that the far side of a turned face stays behind it;
    what hangs below the chin only moves along.
    """
    rel = face - _MIDDLE
    far = np.abs(rel)
    squares = np.minimum(far, _REACH) ** 2
    squares[..., 0] += 2 * _REACH * np.clip(far[..., 0] - _REACH, 0, None)
    nose = np.exp(-((face[..., 0] / _NOSE) ** 2) - ((face[..., 1] - 0.42) / _NOSE) ** 2)
    return np.concatenate([squares, nose[..., None]], axis=-1)


@lru_cache(maxsize=1)
def _solver() -> tuple[np.ndarray, np.ndarray]:
    """The steady landmarks (n,), and the weights (6, n) that fit the map to their places."""
    points = [MIRROR[point] for point in _TRUST]
    points += [point for point in _TRUST if MIRROR[point] != point]
    places = mean_face()[points]
    trust = np.array([_TRUST.get(point) or _TRUST[MIRROR[point]] for point in points])
    terms = np.column_stack([np.ones(len(points)), places, _bend_terms(places)])
    stiff = np.diag([0, 0, 0, *[_STIFFNESS] * 3])
    weights = np.linalg.solve(terms.T * trust @ terms + stiff, terms.T * trust)
    return np.array(points), weights


@lru_cache(maxsize=256)
def _hats(n: int) -> np.ndarray:
    """Weights (n, grid) that interpolate `_GRID` values linearly at n even places."""
    at = np.linspace(0, _GRID - 1, n)[:, None]
    weights = np.clip(1 - np.abs(at - np.arange(_GRID)), 0, 1)
    return np.asarray(weights, np.float32)
