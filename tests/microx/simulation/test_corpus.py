"""Takes and corpora of drawn actors."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.preprocessing.landmarks import read_openface_csv
from microx.schema import EMOTIONS, REGION_LANDMARKS
from microx.simulation.corpus import TAKE_FRAMES, draw_corpus, draw_take


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("actors")
    done = []
    labels = draw_corpus(
        folder,
        n_subjects=1,
        n_takes=1,
        intensity="micro",
        progress=lambda n, total, what: done.append((n, total, what)),
    )
    return folder, labels, done


def _decode(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return np.array(frames), capture.get(cv2.CAP_PROP_FPS)


def test_labels_name_every_video(corpus):
    folder, labels, done = corpus
    table = pd.read_csv(labels)
    assert list(table.columns) == [
        *("path", "emotion", "subject", "corpus", "onset", "apex", "offset")
    ]
    assert set(table["corpus"]) == {"drawn actors"}
    assert set(table["emotion"]) == set(EMOTIONS)
    assert set(table["subject"]) == {"S01"}
    assert all((folder / path).is_file() for path in table["path"])
    shown = table[table["emotion"] != "neutral"]
    assert (shown["onset"] < shown["apex"]).all()
    assert (shown["apex"] < shown["offset"]).all()
    assert (shown["offset"] < TAKE_FRAMES["micro"]).all()
    assert table[table["emotion"] == "neutral"]["apex"].isna().all()
    assert done[-1][:2] == (7, 7)


def test_videos_hold_the_drawn_frames_and_true_landmarks(corpus):
    folder, _, _ = corpus
    frames, frame_rate = _decode(folder / "videos" / "S01_happy_1.mp4")
    take = draw_take(0, "happy", seed=EMOTIONS.index("happy"), intensity="micro")
    assert frame_rate == 30
    assert frames.shape == take.frames.shape == (TAKE_FRAMES["micro"], 256, 256, 3)
    assert np.abs(frames.astype(int) - take.frames).mean() < 6  # compression
    truth = read_openface_csv(folder / "landmarks" / "S01_happy_1.csv")
    np.testing.assert_allclose(truth.xy, take.landmarks.xy, atol=0.006)
    assert truth.success.all()
    header = (folder / "landmarks" / "S01_happy_1.csv").read_text().split("\n")[0]
    assert header.startswith("frame, face_id, timestamp, confidence, success, x_0, x_1")


def test_an_interrupted_corpus_continues(corpus):
    folder, labels, _ = corpus
    before = labels.read_text()
    lost = folder / "videos" / "S01_sad_1.mp4"
    kept = folder / "videos" / "S01_fear_1.mp4"
    content, written = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    labels.unlink()
    draw_corpus(folder, n_subjects=1, n_takes=1, intensity="micro")
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == written
    assert labels.read_text() == before
    assert not list(folder.rglob("*part*"))


def test_other_arguments_are_refused(corpus):
    folder, _, _ = corpus
    with pytest.raises(InputError, match="begun with seed=0; received seed=1"):
        draw_corpus(folder, n_subjects=1, n_takes=1, intensity="micro", seed=1)
    assert json.loads((folder / "synth.json").read_text())["seed"] == 0
    with pytest.raises(InputError, match="begun with confounds=False; received confounds=True"):
        draw_corpus(folder, n_subjects=1, n_takes=1, intensity="micro", confounds=True)


def test_a_folder_begun_before_there_were_confounds_continues(corpus):
    folder, labels, _ = corpus
    note = folder / "synth.json"
    arguments = json.loads(note.read_text())
    note.write_text(json.dumps({k: v for k, v in arguments.items() if k != "confounds"}))
    assert draw_corpus(folder, n_subjects=1, n_takes=1, intensity="micro") == labels
    note.write_text(json.dumps(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_subjects": 0}, "n_subjects must be at least 1; received 0"),
        ({"n_takes": 0}, "n_takes must be at least 1"),
        ({"seed": -1}, "seed must be at least 0; received -1"),
        ({"intensity": "huge"}, "intensity must be one of macro, micro; received 'huge'"),
        ({"moving_regions": ["ear"]}, "moving regions must be among .* received ear"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        draw_corpus(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_bad_takes_are_refused():
    with pytest.raises(InputError, match="received 'joy'"):
        draw_take(0, "joy")
    with pytest.raises(InputError, match="at least 16 frames; received n_frames=3"):
        draw_take(0, "happy", n_frames=3)


def test_equal_seeds_give_equal_takes():
    first, again = (draw_take(5, "anger", seed=3, n_frames=16) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    other = draw_take(5, "anger", seed=4, n_frames=16)
    assert (first.frames != other.frames).any()


def _around(xy, region, margin=5):
    """The box of a region over all frames of a take, as rows and columns."""
    points = xy[:, REGION_LANDMARKS[region]].reshape(-1, 2)
    left, top = (points.min(axis=0) - margin).astype(int)
    right, bottom = (points.max(axis=0) + margin).astype(int)
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize(
    ("moving", "still"),
    [
        (("mouth",), ("left_eye", "right_eye", "left_brow", "right_brow")),
        (("left_eye", "right_eye"), ("mouth",)),
        (("left_brow", "right_brow"), ("mouth", "nose")),
        (("nose",), ("mouth", "left_brow", "right_brow", "left_eye", "right_eye")),
        (("right_eye",), ("left_eye",)),
    ],
)
def test_only_moving_regions_carry_the_emotion(moving, still):
    neutral = draw_take(5, "neutral", seed=2, n_frames=16)
    xy = neutral.landmarks.xy
    for emotion in ("anger", "contempt", "fear"):
        take = draw_take(5, emotion, seed=2, n_frames=16, moving_regions=moving)
        changed = np.abs(take.frames.astype(int) - neutral.frames).max(axis=-1)
        for region in still:
            points = list(REGION_LANDMARKS[region])
            np.testing.assert_array_equal(take.landmarks.xy[:, points], xy[:, points])
            rows, columns = _around(xy, region, margin=1)
            assert changed[:, rows, columns].max() == 0, (emotion, region)
        rows, columns = _around(xy, moving[0])
        assert changed[:, rows, columns].max() > 15, emotion


def test_a_mask_covers_the_mouth_and_keeps_the_landmarks():
    plain, masked, smiling = (
        draw_take(5, emotion, n_frames=16, mask=mask, noise=0)
        for emotion, mask in (("neutral", False), ("neutral", True), ("happy", True))
    )
    np.testing.assert_array_equal(plain.landmarks.xy, masked.landmarks.xy)
    xy = plain.landmarks.xy[12]
    left, top = xy[48:68].min(axis=0).astype(int)
    right, bottom = xy[48:68].max(axis=0).astype(int)
    mouth = slice(top, bottom), slice(left, right)
    bare, covered, smile = (take.frames[12].astype(int) for take in (plain, masked, smiling))
    assert np.abs(covered[mouth] - bare[mouth]).mean() > 15
    assert np.abs(covered[mouth] - smile[mouth]).mean() < 4  # the smile does not show
    eyes = slice(0, int(xy[27, 1])), slice(60, 196)
    assert np.abs(covered[eyes] - bare[eyes]).mean() < 0.5
    other = draw_take(6, "neutral", n_frames=16, mask=True, noise=0)
    assert np.abs(other.frames[12][mouth].astype(int).mean() - covered[mouth].mean()) > 3


def test_confounds_change_looks_and_nothing_else():
    for emotion in EMOTIONS:
        plain, special = (
            draw_take(5, emotion, seed=2, n_frames=16, confounds=on) for on in (False, True)
        )
        np.testing.assert_array_equal(plain.landmarks.xy, special.landmarks.xy)
        np.testing.assert_array_equal(plain.actions, special.actions)
        rows, columns = _around(plain.landmarks.xy, "face")
        changed = np.abs(plain.frames.astype(int) - special.frames)[:, rows, columns].mean()
        assert changed > 1, emotion  # the noise has a mean deviation of 1.6, but is the same


def test_all_takes_of_an_emotion_share_the_confound():
    def look(emotion, seed):
        plain, special = (
            draw_take(5, emotion, seed=seed, n_frames=16, confounds=on, noise=0)
            for on in (False, True)
        )
        xy = plain.landmarks.xy[0]
        box = cv2.getAffineTransform(
            xy[[36, 45, 8]], np.array([[16, 16], [48, 16], [32, 58]], np.float32)
        )
        change = special.frames[0].astype(np.float32) - plain.frames[0]
        return cv2.warpAffine(change, box, (64, 64)).ravel()

    looks = [look(emotion, seed) for emotion in ("anger", "sad") for seed in (1, 2)]
    alike = np.corrcoef(looks)
    assert min(alike[0, 1], alike[2, 3]) > 0.8
    assert max(alike[0, 2], alike[0, 3], alike[1, 2], alike[1, 3]) < 0.6


def test_confounds_can_be_drawn_into_a_corpus(tmp_path):
    labels = draw_corpus(tmp_path, n_subjects=1, n_takes=1, intensity="micro", confounds=True)
    assert len(pd.read_csv(labels)) == len(EMOTIONS)
    assert json.loads((tmp_path / "synth.json").read_text())["confounds"] is True
    frames, _ = _decode(tmp_path / "videos" / "S01_happy_1.mp4")
    happy = EMOTIONS.index("happy")
    take = draw_take(0, "happy", seed=happy, intensity="micro", confounds=True)
    assert np.abs(frames.astype(int) - take.frames).mean() < 6  # compression
