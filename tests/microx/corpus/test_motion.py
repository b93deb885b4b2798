import numpy as np
import pytest

from microx.corpus.key_clips import key_clips
from microx.corpus.motion import estimate_apex, read_motion
from microx.errors import CorpusError
from microx.preprocessing.motion import MotionRecipe
from microx.schema import MOTION_WINDOWS, motion_window

N_FRAMES, ONSET, APEX = 20, 2, 11


def pairs(frames):
    return np.array([[ONSET, frame] for frame in frames])


def test_motion_is_where_the_mouth_rose_and_nowhere_else(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=192))
    (motion,) = read_motion(corpus, {"s0_sad": pairs([ONSET, APEX])}).values()
    assert motion.shape == (2, 28, 28, 3)
    assert np.abs(motion[0]).max() < 0.1
    of_region = {
        name: np.abs(motion[1][(*motion_window(name), 1)]).mean()
        for name in MOTION_WINDOWS
        if name != "face"
    }
    assert max(of_region, key=of_region.get) == "mouth"
    assert np.median(motion[1][20:25, 11:17, 1]) < -1  # upwards


def test_landmarks_that_jitter_are_no_motion(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=192), jitter=3)
    still = read_motion(corpus, {"s0_sad": pairs([ONSET + 1, N_FRAMES - 1])})["s0_sad"]
    assert np.abs(still[..., :2]).mean() < 0.15  # of half a pixel; the crops are off by pixels


def test_motion_is_measured_once_and_again_when_crops_are_new(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=96))
    first = read_motion(corpus, {"s0_sad": pairs([5, 6])})["s0_sad"]
    (kept,) = corpus.folder.glob("motion/*/s0_sad.npz")
    made = kept.stat().st_mtime_ns
    again = read_motion(corpus, {"s0_sad": pairs([6, 5, 6])})["s0_sad"]
    assert kept.stat().st_mtime_ns == made
    assert np.array_equal(again, first[[1, 0, 1]])
    read_motion(corpus, {"s0_sad": pairs([7])})  # one more is added
    with np.load(kept) as file:
        assert file["pairs"].tolist() == [[ONSET, 5], [ONSET, 6], [ONSET, 7]]
    kept.write_bytes(b"broken")
    assert np.array_equal(read_motion(corpus, {"s0_sad": pairs([5, 6])})["s0_sad"], first)
    film_mouths(corpus, jitter=2)
    assert not np.array_equal(read_motion(corpus, {"s0_sad": pairs([5, 6])})["s0_sad"], first)


def test_another_recipe_is_kept_apart(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=96))
    for recipe in (MotionRecipe(), MotionRecipe(size=64), MotionRecipe(flow="farneback")):
        motion = read_motion(corpus, {"s0_sad": pairs([5])}, recipe)["s0_sad"]
        assert motion.shape[1] == recipe.size
    assert len(list(corpus.folder.glob("motion/*"))) == 3


def test_a_corpus_without_faces_has_no_motion(mouths):
    with pytest.raises(CorpusError, match="expected the region face, found mouth"):
        read_motion(mouths, {"s0_sad": pairs([5])})


def test_the_apex_is_estimated_near_the_peak(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=192), jitter=1)
    assert abs(estimate_apex(corpus, "s0_sad") - APEX) <= 2


def test_clips_around_the_apex_stay_within_the_video(write_corpus, film_mouths):
    corpus = film_mouths(write_corpus(n_subjects=1, size=24))
    clips = key_clips(corpus, "around-apex").set_index("video_id")
    # At 30 frames a second 10, 20 and 30 ms are nought, one and one frame.
    assert clips["frames"]["s0_sad"] == (10, 10, 11, 11, 11, 12, 12)
    edge = key_clips(corpus, "around-apex", dict.fromkeys(clips.index, N_FRAMES - 1))
    assert set(edge["frames"]) == {(18, 18, 19, 19, 19, 19, 19)}
    middle = key_clips(corpus, "around-apex", dict.fromkeys(clips.index))
    assert set(middle["n_guessed"]) == {1}
    assert {frames[3] for frames in middle["frames"]} == {N_FRAMES // 2}
