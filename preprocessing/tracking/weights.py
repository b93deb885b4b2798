"""Finds the model files that the package face-recognition-models brings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from microx.errors import LandmarkError

LANDMARK_WEIGHTS = "shape_predictor_68_face_landmarks.dat"


def find_weights(name: str = LANDMARK_WEIGHTS) -> Path:
    """Path of a model file, by default dlib's 68-point weights.

    The package itself is not imported, because it needs the retired ``pkg_resources``.

    Raises
    ------
    LandmarkError
        If the package or the file in it is not installed.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise LandmarkError(
        f"dlib landmarks: expected {name} of the package face-recognition-models; found none; "
        "run: pip install face-recognition-models"
    )
