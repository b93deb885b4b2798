"""Many images share a file: shared or alone, killed or not, they give the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from microx import build_corpus, load_corpus
from microx.corpus import build, shards
from microx.corpus.shards import deal_images, list_shards, read_index
from microx.errors import CorpusError
from microx.labels.labels import read_labels
from microx.parallel import KILLED
from microx.preprocessing.pipeline import preprocess_video
from microx.simulation.corpus import draw_take
from microx.training.dataset import ClipDataset

FACE = {"faces": "cropped", "regions": ("face",), "size": 48}
N_IMAGES = 21
MOST_FILES = 6


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    """Deal images to few files, so that few images are enough."""
    monkeypatch.setattr(shards, "MOST_FILES", MOST_FILES)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Drawn faces of 48 pixels in folders by emotion."""
    folder = tmp_path_factory.mktemp("images")
    for subject, emotion in enumerate(("happy", "sad", "surprise")):
        (folder / emotion).mkdir()
        take = draw_take(subject, emotion, n_frames=16)
        for number, frame in enumerate(take.frames[:7]):
            frame = np.roll(frame[40:220, 40:220], number, axis=1)
            small = cv2.resize(frame, (48, 48), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / emotion / f"{number}.png"), small[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def corpus(images, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MOST_FILES", MOST_FILES)
        return build_corpus(images, tmp_path_factory.mktemp("corpora") / "c", **FACE)


def copied(images, tmp_path):
    return shutil.copytree(images, tmp_path / "images")


def held(folder):
    """The bytes of every file of crops."""
    return {path.name: path.read_bytes() for path in (folder / "crops").iterdir()}


@pytest.mark.parametrize(
    ("n_images", "image_bytes", "n_each"),
    [
        (0, 1, []),
        (6, 1, [1] * 6),
        (7, 1, [2, 2, 2, 1]),
        (21, 1, [4, 4, 4, 4, 4, 1]),
        (25, 1, [8, 8, 8, 1]),
        (25, shards.SHARD_BYTES // 2, [2] * 12 + [1]),
        (25, shards.SHARD_BYTES, [1] * 25),
    ],
)
def test_images_are_dealt_by_their_number_and_size(n_images, image_bytes, n_each):
    ids = [f"{number:02d}" for number in range(n_images)]
    dealt = deal_images(ids[::-1], image_bytes)
    assert [len(group) for group in dealt] == n_each
    assert [video_id for group in dealt for video_id in group] == ids


def test_36000_images_of_48_pixels_take_few_files(monkeypatch):
    monkeypatch.undo()
    assert len(deal_images([str(number) for number in range(36_000)], 5 * 48 * 48 * 3)) <= 128


def test_every_image_is_in_one_shard(corpus):
    paths = list_shards(corpus.folder / "crops")
    dealt = [[image["video_id"] for image in read_index(path)] for path in paths]
    assert [len(ids) for ids in dealt] == [4] * 5
    alone = [path.stem for path in (corpus.folder / "crops").iterdir() if path not in paths]
    assert [video_id for ids in dealt for video_id in ids] + alone == sorted(
        corpus.manifest["video_id"]
    )
    assert corpus.crops_path("happy_0") == paths[0]
    assert corpus.crops_path(alone[0]).name == f"{alone[0]}.h5"


def test_the_ledger_is_complete(corpus):
    rows = corpus.manifest
    assert len(rows) == N_IMAGES
    assert (rows["status"] == "done").all()
    assert rows[["n_decoded", "n_frames", "n_found", "n_assumed"]].eq(1).all(axis=None)
    ledger = corpus.read_ledger("sad_3").to_dict("records")
    assert ledger == [
        {"time_s": 0, "source_frame": 0, "status": "assumed", "segment": 0, "confidence": 0.5}
    ]


@pytest.mark.parametrize("regions", [("face",), ("mouth", "face")])
def test_images_are_read_by_video(regions, images, tmp_path):
    settings = FACE | {"regions": regions}
    corpus = build_corpus(images, tmp_path / "c", **settings)
    for row in corpus.manifest.itertuples():
        alone = preprocess_video(images / row.path, **settings)
        for region in regions:
            crops = corpus.read_crops(row.video_id, region)
            assert np.array_equal(crops, alone.crops[region])
            assert np.array_equal(corpus.read_crops(row.video_id, region, [0, 0]), crops[[0, 0]])
        assert np.array_equal(
            corpus.read_landmarks(row.video_id), alone.landmarks.xy, equal_nan=True
        )
        assert corpus.read_size_hw(row.video_id) == (48, 48)
        assert corpus.find_frame(row.video_id, "apex") is None
    with pytest.raises(IndexError):
        corpus.read_crops("happy_0", "face", [1])
    with pytest.raises(CorpusError, match=r"shard~00000\.h5: expected 'nose'; found .*face"):
        corpus.read_crops("happy_0", "nose")


def test_training_reads_images_as_they_are(corpus):
    clips = corpus.clips(1)
    assert clips["clip_id"].tolist() == [f"{name}:0" for name in corpus.manifest["video_id"]]
    inputs, one_hot = ClipDataset(corpus, clips, regions=("face",), batch_size=N_IMAGES)[0]
    crops = [corpus.read_crops(video_id, "face") for video_id in clips["video_id"]]
    assert np.array_equal(inputs["face"], np.stack(crops) / np.float32(255))
    assert one_hot.argmax(axis=1).tolist() == clips["label"].tolist()


def test_the_bytes_are_the_same_for_any_number_of_workers(corpus, images, tmp_path):
    pair = build_corpus(images, tmp_path / "c", n_workers=2, **FACE)
    assert held(pair.folder) == held(corpus.folder)
    assert pair.content_hash() == corpus.content_hash()
    assert pair.manifest.equals(corpus.manifest)


def test_the_hash_does_not_depend_on_who_shares_a_file(corpus, images, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_FILES", N_IMAGES)
    alone = build_corpus(images, tmp_path / "c", **FACE)
    assert len(list((alone.folder / "crops").iterdir())) == N_IMAGES
    assert alone.content_hash() == corpus.content_hash()
    monkeypatch.setattr(shards, "MOST_FILES", MOST_FILES)
    again = build_corpus(images, tmp_path / "c", **FACE)
    assert held(again.folder) == held(corpus.folder)
    assert again.n_left_out == 0


def test_an_interrupted_run_goes_on(corpus, images, tmp_path):
    def stop(done, total, video_id):
        if done >= N_IMAGES // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(images, tmp_path / "c", progress=stop, **FACE)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "crops").iterdir()}
    again = build_corpus(images, tmp_path / "c", **FACE)
    assert again.n_kept == 4 * len(done) == 12
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    assert held(again.folder) == held(corpus.folder)


def test_an_unreadable_image_loses_no_other(corpus, images, tmp_path):
    folder = copied(images, tmp_path)
    (folder / "sad" / "2.png").write_bytes(b"no image")
    (folder / "sad" / "4.png").unlink()
    cv2.imwrite(str(folder / "sad" / "4.png"), np.zeros((9, 9, 3), np.uint8))  # no face
    broken = build_corpus(folder, tmp_path / "c", **FACE)
    skipped = broken.manifest[broken.manifest["status"] == "skipped"].set_index("path")["reason"]
    assert skipped["sad/2.png"].startswith("expected an image that OpenCV can decode; found 8")
    assert skipped["sad/4.png"] == "no face found in any frame"
    assert len(skipped) == 2
    assert np.array_equal(broken.read_crops("sad_3", "face"), corpus.read_crops("sad_3", "face"))
    assert broken.read_ledger("sad_4")["status"].tolist() == ["no_face"]
    assert build_corpus(folder, tmp_path / "c", **FACE).n_kept == N_IMAGES - 1
    for name in ("2.png", "4.png"):
        shutil.copy(images / "sad" / name, folder / "sad")
    mended = build_corpus(folder, tmp_path / "c", **FACE)
    assert mended.n_kept == N_IMAGES - 2
    assert held(mended.folder) == held(corpus.folder)


def test_images_come_and_go(corpus, images, tmp_path):
    folder = copied(images, tmp_path)
    cv2.imwrite(str(folder / "happy" / "00.png"), np.full((48, 48, 3), 90, np.uint8))
    more = build_corpus(folder, tmp_path / "c", **FACE)
    assert more.manifest["status"].eq("done").sum() == N_IMAGES + 1
    (folder / "happy" / "00.png").unlink()
    fewer = build_corpus(folder, tmp_path / "c", **FACE)
    assert fewer.n_left_out == 1
    assert fewer.n_kept > N_IMAGES // 2  # a shard keeps what stays in it
    assert held(fewer.folder) == held(corpus.folder)


def test_of_several_faces_each_is_a_row(tmp_path):
    faces = [draw_take(subject, "happy", n_frames=16).frames[0] for subject in range(2)]
    (tmp_path / "v" / "happy").mkdir(parents=True)
    wall = np.full_like(faces[0], 90)
    for number in range(MOST_FILES + 2):
        shown = (faces[0], faces[1] if number % 2 else wall) if number else (wall, wall)
        image = np.concatenate(shown, axis=1)[..., ::-1]
        cv2.imwrite(str(tmp_path / "v" / "happy" / f"{number}.png"), np.roll(image, number, 0))
    every = build_corpus(tmp_path / "v", tmp_path / "all", faces="all")
    n_faces = every.manifest.groupby("path")["n_faces"].first().tolist()
    assert n_faces == [0, 2, 1, 2, 1, 2, 1, 2]
    assert "happy_3~1" in every.manifest["video_id"].tolist()
    assert every.read_crops("happy_3~1", "face").std() > 5
    assert not np.array_equal(*(every.read_crops(f"happy_3~{face}", "face") for face in (0, 1)))
    main = build_corpus(tmp_path / "v", tmp_path / "main")
    assert main.manifest.set_index("video_id")["n_faces"].to_list() == n_faces
    for corpus in (every, main):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "MOST_FILES", 100)
            alone = build_corpus(
                tmp_path / "v", tmp_path / "alone" / corpus.folder.name, faces=corpus.folder.name
            )
        assert alone.content_hash() == corpus.content_hash()


def test_an_image_that_kills_its_process_takes_no_other_with_it(
    corpus, images, tmp_path, monkeypatch
):
    def deadly(jobs, n_workers):
        for job in jobs:
            deadly = any(video.video_id == "happy_2" for video in job.videos)
            yield job.give_up(KILLED) if deadly else job.run()

    monkeypatch.setattr(build, "run_here", deadly)
    told = []
    hurt = build_corpus(
        images,
        tmp_path / "c",
        progress=lambda done, total, name: told.append((done, total)),
        **FACE,
    )
    rows = hurt.manifest.set_index("video_id")
    assert rows["reason"].to_dict() == dict.fromkeys(rows.index, "") | {"happy_2": KILLED}
    assert told[-1] == (N_IMAGES, N_IMAGES)
    assert np.array_equal(hurt.read_crops("happy_1", "face"), corpus.read_crops("happy_1", "face"))
    monkeypatch.undo()
    monkeypatch.setattr(shards, "MOST_FILES", MOST_FILES)
    healed = build_corpus(images, tmp_path / "c", **FACE)
    assert held(healed.folder) == held(corpus.folder)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:900])]
)
def test_a_damaged_shard_is_named_and_mended(damage, corpus, images, tmp_path):
    folder = shutil.copytree(corpus.folder, tmp_path / "c")
    damage(folder / "crops" / "shard~00001.h5")
    with pytest.raises(CorpusError, match=r"\.h5: expected the crops of a video; .*again"):
        load_corpus(folder).clips(1)
    again = build_corpus(images, folder, **FACE)
    assert again.n_kept == N_IMAGES - 4
    assert held(again.folder) == held(corpus.folder)


def kill_and_go_on(images, folder, n_kills, seed):
    """Kill runs at random moments until so many have met one; return the contents' hashes."""
    rng, hashes, kills = random.Random(seed), [], 0
    code = (
        f"from microx.corpus import shards; shards.MOST_FILES = {MOST_FILES};"
        "import sys; sys.argv[0] = 'microx'; from microx.cli.main import main; main()"
    )
    while True:
        out = folder / str(len(hashes))
        command = [sys.executable, "-c", code, "preprocess", images, "--out", out, "--size", "48"]
        command += ["--faces", "cropped", "--workers", "2"]
        run = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        end = time.monotonic() + 60
        while run.poll() is None and not (out / "crops").is_dir() and time.monotonic() < end:
            time.sleep(0.01)
        if kills < n_kills:
            time.sleep(rng.uniform(0, 2.5))
        if kills < n_kills and run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        said = run.communicate(timeout=120)[1]
        if run.returncode == 0:
            assert said == b""
            hashes.append(load_corpus(out).content_hash())
            assert not [path for path in out.rglob("*") if ".part" in path.name]
            if kills == n_kills:
                return hashes


@pytest.mark.parametrize("n_kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_come_to_the_same_end(n_kills, images, tmp_path):
    whole = build_corpus(read_labels(images), tmp_path / "whole", size=48, faces="cropped")
    hashes = kill_and_go_on(images, tmp_path, n_kills, seed=n_kills)
    assert set(hashes) == {whole.content_hash()}
