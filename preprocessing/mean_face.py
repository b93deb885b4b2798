"""The 68 landmarks of a mean face at rest, for drawn actors and for fitting occluders."""

from __future__ import annotations

import numpy as np

# Our choice, near the mean of dlib's landmarks on frontal faces: the subject's right half and the
# midline, in face units; the left half mirrors it.
_RIGHT_HALF: dict[int, tuple[float, float]] = {
    0: (-0.782, 0.020), 1: (-0.772, 0.228), 2: (-0.750, 0.436), 3: (-0.712, 0.645),
    4: (-0.640, 0.842), 5: (-0.525, 1.010), 6: (-0.378, 1.148), 7: (-0.202, 1.252),
    8: (0.0, 1.290),
    17: (-0.640, -0.135), 18: (-0.540, -0.222), 19: (-0.408, -0.258), 20: (-0.265, -0.245),
    21: (-0.130, -0.205),
    27: (0.0, -0.050), 28: (0.0, 0.093), 29: (0.0, 0.230), 30: (0.0, 0.372),
    31: (-0.142, 0.490), 32: (-0.074, 0.510), 33: (0.0, 0.524),
    36: (-0.500, 0.008), 37: (-0.416, -0.044), 38: (-0.314, -0.046), 39: (-0.218, 0.012),
    40: (-0.316, 0.036), 41: (-0.418, 0.038),
    48: (-0.322, 0.750), 49: (-0.208, 0.695), 50: (-0.088, 0.668), 51: (0.0, 0.686),
    57: (0.0, 0.902), 58: (-0.095, 0.892), 59: (-0.206, 0.842),
    60: (-0.268, 0.752), 61: (-0.092, 0.748), 62: (0.0, 0.754), 66: (0.0, 0.758),
    67: (-0.093, 0.752),
}  # fmt: skip

MIRROR: tuple[int, ...] = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
"""For each landmark, the one it becomes when the face is mirrored."""


def mean_face() -> np.ndarray:
    """Give the 68 landmarks of the mean face at rest, mouth closed.

    Returns
    -------
    ndarray of float64, shape (68, 2)
        In face units: the origin is midway between the outer eye corners, x to the right of the
        image, y down, and 1 is the distance of the outer eye corners.

    Examples
    --------
    >>> right_eye, left_eye = mean_face()[[36, 45]]
    >>> (left_eye - right_eye).tolist()
    [1.0, 0.0]
    """
    face = np.zeros((len(MIRROR), 2))
    for point, (x, y) in _RIGHT_HALF.items():
        face[point] = x, y
        face[MIRROR[point]] = (-x if x else 0.0), y
    return face
