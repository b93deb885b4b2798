"""A small corpus written by hand, in which only the mouth tells the emotion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus import Corpus, hash_recipe, load_corpus


def write_small_corpus(
    folder: Path,
    *,
    n_subjects: int = 5,
    classes: tuple[str, ...] = ("neutral", "happy", "sad"),
    regions: tuple[str, ...] = ("mouth", "face"),
    size: int = 24,
    n_frames: int = 20,
    named_subjects: bool = True,
    policy: str = "aligned",
) -> Corpus:
    """Each subject acts each class once; a bar in the mouth stands at the class's height."""
    recipe = {
        "landmarks": "csv",
        "regions": list(regions),
        "size": size,
        "policy": policy,
        "margin": 0.2,
        "frame_rate": 30.0,
    }
    (folder / "crops").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(n_subjects):
        looks = {region: rng.integers(40, 160, (size, size, 3)) for region in regions}
        for k, emotion in enumerate(classes):
            video_id = f"s{subject}_{emotion}"
            with h5py.File(folder / "crops" / f"{video_id}.h5", "w") as file:
                for region in regions:
                    crops = np.repeat(looks[region][None], n_frames, axis=0)
                    if region == "mouth":
                        top = round((k + 0.5) / len(classes) * size) - 1
                        crops[:, top : top + 3] += 80
                    crops += rng.integers(-5, 6, crops.shape)
                    file[region] = crops.astype(np.uint8)
                file["success"] = np.ones(n_frames, bool)
            name = f"s{subject}" if named_subjects else ""
            rows.append(
                {"video_id": video_id, "path": f"{video_id}.mp4", "emotion": emotion}
                | {"subject": name, "corpus": "", "onset": "", "apex": "", "offset": ""}
                | {"status": "done", "reason": "", "n_claimed": n_frames, "n_decoded": n_frames}
                | {"n_untimed": 0, "n_frames": n_frames, "n_found": n_frames}
                | {"duration_s": n_frames / 30, "sha256": video_id}
            )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    description = {
        "format": 1,
        "microx": "0.1.0",
        "recipe": recipe,
        "recipe_hash": hash_recipe(recipe),
        "label_set": "file",
        "classes": list(classes),
    }
    (folder / "corpus.json").write_text(json.dumps(description))
    return load_corpus(folder)


WriteCorpus = Callable[..., Corpus]


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Five subjects, three classes, one video of 20 frames of each: 30 clips."""
    return write_small_corpus(tmp_path_factory.mktemp("small") / "corpus")


@pytest.fixture(scope="session")
def mouths(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The same with mouths only, so that a row of an ablation is one stream."""
    folder = tmp_path_factory.mktemp("mouths") / "corpus"
    return write_small_corpus(folder, regions=("mouth",))


@pytest.fixture
def write_corpus(tmp_path: Path) -> WriteCorpus:
    """`write_small_corpus` into the test's own folder."""

    def write(name: str = "corpus", **arguments: object) -> Corpus:
        return write_small_corpus(tmp_path / name, **arguments)  # type: ignore[arg-type]

    return write
