from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microx.models.multistream import build_microx
from microx.training.facts import FitFacts
from microx.training.model_file import save_model


@pytest.fixture(scope="session")
def save_mouths() -> Callable[[Path, dict[str, Any]], Path]:
    """Store a model of mouths, 6 frames of 24 pixels and three classes, untrained."""

    def save(path: Path, facts: dict[str, Any]) -> Path:
        model = build_microx(("mouth",), n_frames=6, size=24, n_classes=3, seed=1)
        save_model(model, path, FitFacts.from_json(facts))
        return path

    return save
