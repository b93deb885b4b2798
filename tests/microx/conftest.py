"""A small corpus written by hand, in which only the mouth tells the emotion."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus.corpus import FORMAT, MANIFEST_COLUMNS, Corpus, hash_recipe, load_corpus
from microx.preprocessing.mean_face import mean_face
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.regions import crop_region
from microx.preprocessing.tracking.faces import Status
from microx.simulation.corpus import draw_take


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
    recipe = Recipe(
        landmarks="csv", regions=regions, size=size, policy=policy, frame_rate=30.0
    ).as_dict()
    (folder / "crops").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(n_subjects):
        looks = {region: rng.integers(40, 160, (size, size, 3)) for region in regions}
        for k, emotion in enumerate(classes):
            video_id = f"s{subject}_{emotion}"
            with h5py.File(folder / "crops" / f"{video_id}.h5", "w") as file:
                file["timestamp"] = np.arange(n_frames) / 30
                file["source_frame"] = np.arange(n_frames, dtype=np.int32)
                face = file.create_group("face_0")
                for region in regions:
                    crops = np.repeat(looks[region][None], n_frames, axis=0)
                    if region == "mouth":
                        top = round((k + 0.5) / len(classes) * size) - 1
                        crops[:, top : top + 3] += 80
                    crops += rng.integers(-5, 6, crops.shape)
                    face[region] = crops.astype(np.uint8)
                face["status"] = np.full(n_frames, Status.GIVEN, np.uint8)
                face["segment"] = np.zeros(n_frames, np.int32)
                face["confidence"] = np.ones(n_frames, np.float32)
                face["landmarks"] = np.zeros((n_frames, 68, 2), np.float32)
                file.attrs["facts"] = json.dumps({"video": {"size_hw": [240, 320]}, "faces": []})
            counts = dict.fromkeys(("n_claimed", "n_decoded", "n_frames", "n_found"), n_frames)
            rows.append(
                dict.fromkeys(MANIFEST_COLUMNS, "")
                | {name: 0 for name in MANIFEST_COLUMNS if name.startswith("n_")}
                | {"video_id": video_id, "path": f"{video_id}.mp4", "emotion": emotion, "face": 0}
                | {"subject": f"s{subject}" if named_subjects else "", "status": "done"}
                | counts
                | {"n_given": n_frames, "n_faces": 1, "n_segments": 1}
                | {"duration_s": n_frames / 30, "sha256": video_id}
            )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    description = {
        "format": FORMAT,
        "microx": "0.1.0",
        "recipe": recipe,
        "recipe_hash": hash_recipe(recipe),
        "label_set": "file",
        "classes": list(classes),
        "videos": str(folder),
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


def film_small_corpus(corpus: Corpus, *, jitter: float = 0.0, rise: int | None = None) -> Corpus:
    """Put into a corpus faces whose mouth rises from frame 2 to 11 and then falls again.

    By `rise` pixels, or without it by 4, 0 or -4 by the class. The crops follow landmarks that are
    off by up to `jitter` pixels, each frame's by others.
    """
    rng = np.random.default_rng(1)
    skin = np.kron(rng.integers(60, 200, (60, 80, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for video in corpus.manifest.itertuples():
        most = 4 * (1 - corpus.classes.index(video.emotion)) if rise is None else rise
        with h5py.File(corpus.crops_path(video.video_id), "r+") as file:
            for t in range(len(file["timestamp"])):
                up = round(most * max(0.0, 1 - abs(t - 11) / 9))
                frame = skin.copy()  # (240, 320, 3)
                frame[150 - up : 180 - up, 130:190] = skin[150:180, 130:190]
                xy = mean_face() * 80 + [160, 100] + rng.uniform(-jitter, jitter, 2)
                file["face_0/landmarks"][t] = xy
                file["face_0/face"][t] = crop_region(
                    frame, xy.astype(np.float32), "face", size=corpus.size
                )[0]
    path = corpus.folder / "manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(onset="2", apex="11").to_csv(path, index=False)
    return load_corpus(corpus.folder)


@pytest.fixture(scope="session")
def film_mouths() -> Callable[..., Corpus]:
    """Give `film_small_corpus`, its mouths rising by 3 pixels."""
    return partial(film_small_corpus, rise=3)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Six subjects whose mouth tells the emotion by how it moves."""
    folder = tmp_path_factory.mktemp("moving") / "corpus"
    return film_small_corpus(write_small_corpus(folder, n_subjects=6, size=96), jitter=1)


@pytest.fixture(scope="session")
def takes(
    tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]
) -> dict[str, Path]:
    """Six drawn videos by emotion, of 20 to 30 frames of 160 pixels a side, quick to preprocess."""
    folder = tmp_path_factory.mktemp("takes")
    found = {}
    for subject, emotion in enumerate(("happy", "sad", "fear", "anger", "surprise", "neutral")):
        frames = draw_take(subject, emotion, n_frames=20 + 2 * subject).frames
        small = [cv2.resize(frame, (160, 160), interpolation=cv2.INTER_AREA) for frame in frames]
        found[emotion] = write_video(folder / f"{emotion}.mp4", np.stack(small))
    return found


@pytest.fixture(scope="session")
def microx() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "microx", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return run
