"""Long videos of drawn actors with known intervals."""

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.labels.labels import read_labels
from microx.preprocessing.landmarks import read_openface_csv
from microx.simulation.expressions import ACTIONS
from microx.simulation.long_videos import SHORTEST_S, draw_long_video, draw_spotting_corpus

JAW = [ACTIONS.index(name) for name in ("AU26_left", "AU26_right")]


def test_expressions_of_both_kinds_are_apart_and_as_long_as_told():
    for subject in range(6):
        shown = draw_long_video(subject, seconds=60).expressions
        assert {one.kind for one in shown} == {"macro", "micro"}
        ends = [0, *(one.course.offset for one in shown)]
        for one, end in zip(shown, ends, strict=False):
            assert one.course.onset - end >= 45
            seconds = (one.course.offset - one.course.onset) / 30
            assert seconds < 0.5 if one.kind == "micro" else 0.7 <= seconds <= 3


def test_a_micro_expression_is_faint():
    video = draw_long_video(1, seconds=60)
    peaks = {
        one.kind: video.actions[one.course.onset : one.course.offset].max()
        for one in video.expressions
    }
    assert peaks["micro"] <= 0.31 < 0.6 < peaks["macro"]


def test_without_expressions_the_jaw_alone_moves_to_and_fro():
    video = draw_long_video(0, seconds=60, expressive=False)
    assert not video.expressions
    jaw = video.actions[:, JAW[0]]
    spectrum = np.abs(np.fft.rfft(jaw - jaw.mean()))
    fast = np.fft.rfftfreq(len(jaw), 1 / 30)
    assert 2.5 < fast[spectrum * (fast > 1.5) == (spectrum * (fast > 1.5)).max()][0] < 5.5
    assert video.actions[:, ACTIONS.index("AU12_left")].max() == 0
    assert video.blinks.max() == 1
    assert 1.02 < video.lamp.max() <= 1.12


def test_equal_seeds_give_equal_videos():
    one, same, other = (draw_long_video(3, seconds=20, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.actions, same.actions)
    assert not np.array_equal(one.actions, other.actions)


@pytest.fixture(scope="module")
def long_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    labels = draw_spotting_corpus(folder, n_subjects=3, seconds=SHORTEST_S)
    return folder, labels


def test_a_corpus_names_its_videos_and_its_intervals(long_corpus):
    folder, labels = long_corpus
    read = read_labels(folder / "videos", labels)
    assert read.classes == ("expression", "no expression")
    table = pd.read_csv(labels).set_index("subject")
    assert table["emotion"]["S03"] == "no expression"
    intervals = pd.read_csv(folder / "intervals.csv")
    assert list(intervals.columns) == ["path", "onset", "apex", "offset", "kind", "emotion"]
    assert set(intervals["path"]) == set(table["path"][table["emotion"] == "expression"])
    assert (intervals["onset"] < intervals["apex"]).all()
    assert (intervals["apex"] < intervals["offset"]).all()


def test_videos_have_every_frame_and_true_landmarks(long_corpus):
    folder, _ = long_corpus
    video = cv2.VideoCapture(str(folder / "videos/S01.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == SHORTEST_S * 30
    assert len(read_openface_csv(folder / "landmarks/S01.csv").xy) == SHORTEST_S * 30


def test_an_interrupted_run_goes_on_and_other_arguments_are_refused(long_corpus):
    folder, _ = long_corpus
    first, second = (folder / f"videos/S0{n}.mp4" for n in (1, 2))
    whole, made = first.read_bytes(), second.stat().st_mtime_ns
    first.unlink()
    draw_spotting_corpus(folder, n_subjects=3, seconds=SHORTEST_S)
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == made
    with pytest.raises(InputError, match="was begun with seconds=8"):
        draw_spotting_corpus(folder, n_subjects=3, seconds=9)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"seconds": 5}, "`seconds` must be at least 8; received 5"),
        ({"n_subjects": 0}, "`n_subjects` must be at least 1; received 0"),
        ({"seed": -1}, "`seed` must be at least 0; received -1"),
    ],
)
def test_what_is_out_of_range_is_refused(tmp_path, arguments, told):
    with pytest.raises(InputError, match=told):
        draw_spotting_corpus(tmp_path / "long", **arguments)
    assert not (tmp_path / "long").exists()
