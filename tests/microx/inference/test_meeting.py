"""Everyone in a recording: found once, with shares as if filmed alone, named by a file."""

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.inference.meeting import predict_meeting, read_names, write_meeting
from microx.inference.video import predict_video
from microx.schema import DRAWN
from microx.simulation.corpus import draw_take
from microx.training.settings import FitSettings

CLASSES = ["happy", "sad", "neutral"]
RECIPE = {"landmarks": "dlib", "regions": ["mouth", "face"], "size": 24, "policy": "aligned"}
FACTS = {
    "classes": CLASSES, "regions": ["mouth"], "streams": ["mouth"], "inputs": "rgb",
    "recipe": RECIPE | {"margin": 0.2, "frame_rate": 30.0}, "recipe_hash": "0", "n_frames": 6,
    "size": 24, "preset": "compact", "seed": 1, "warnings": [], "versions": {},
    "trained_on": {"subjects": ["s0"], "videos": ["s0_happy"]}, "sources": [DRAWN],
    "arguments": FitSettings(n_frames=6).as_dict(),
}  # fmt: skip


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, save_mouths):
    return save_mouths(tmp_path_factory.mktemp("model") / "model.keras", FACTS)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, write_video):
    """Two actors in tiles of one recording, the right one leaving; and each alone."""
    folder = tmp_path_factory.mktemp("recordings")
    left, right = (draw_take(seed, "happy", seed=1, n_frames=40).frames for seed in (3, 8))
    right[30:] = 60
    return {
        "both": write_video(folder / "both.avi", np.concatenate([left, right], axis=2)),
        "left": write_video(folder / "left.avi", left),
        "right": write_video(folder / "right.avi", right),
    }


@pytest.fixture(scope="module")
def meeting(recordings, model_path):
    return predict_meeting(recordings["both"], model_path, n_expected=3, progress=False)


def test_everyone_is_found_once_with_the_shares_of_a_tile_alone(meeting, recordings, model_path):
    shares = meeting.to_frame().sort_values("seen_s", ascending=False, ignore_index=True)
    assert len(shares) == 2
    assert shares["seen_s"].to_numpy() == pytest.approx([40 / 30, 1.0], abs=0.1)
    assert shares["unseen_s"][1] == pytest.approx(10 / 30, abs=0.1)
    for row, tile in enumerate(("left", "right")):
        alone = predict_video(recordings[tile], model_path, progress=False).percentages
        mean = shares.loc[row, [f"p_{name}" for name in CLASSES]].to_numpy(float)
        assert mean == pytest.approx([alone[name] / 100 for name in CLASSES], abs=0.05)
    times = shares[[f"time_{name}" for name in CLASSES]].to_numpy(float)
    assert times.sum(axis=1) == pytest.approx([1, 1])
    counts = meeting.count_faces()
    assert list(counts["n_faces"]) == [2, 1]
    assert counts["end_s"].iloc[-1] == pytest.approx(40 / 30)


def test_cautions_name_the_source_and_the_missing(meeting):
    assert "learned from drawn actors alone" in meeting.cautions[0]
    assert "2 faces were found where 3 participants are expected" in meeting.cautions[-1]
    assert repr(meeting) == "Meeting(both.avi: 2 of 3 participants, 1 s)"


def test_main_face_says_that_there_are_others(recordings, model_path):
    note = predict_video(recordings["both"], model_path, progress=False).note
    assert "the face seen the most of 2 (`predict_meeting` answers for each)" in note


def test_names_join_faces_and_leave_some_out(recordings, model_path, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("face,name\n0,<i>Ann</i>\n1,<i>Ann</i>\n")
    joined = predict_meeting(recordings["both"], model_path, names=names, progress=False)
    (one,) = joined.participants
    assert one.faces == (0, 1)
    assert len(one.clips) == sum(p.n_clips for p in one.predictions)
    names.write_text("face,name\n0,Ann\n1,\n")
    alone = predict_meeting(recordings["both"], model_path, names=names, progress=False)
    assert [one.name for one in alone.participants] == ["Ann"]


def test_the_page_holds_everything_and_escapes_names(meeting, tmp_path):
    from dataclasses import replace

    bad = replace(meeting.participants[0], name="<script>x</script>")
    page = write_meeting(replace(meeting, participants=(bad,)), tmp_path / "out").read_text()
    assert "<script>x" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png") >= 3
    clips = pd.read_csv(tmp_path / "out" / "clips.csv")
    assert set(clips["name"]) == {bad.name}
    assert read_names(tmp_path / "out" / "participants.csv") == {bad.faces[0]: bad.name}


@pytest.mark.parametrize("text", ["name\nAnn\n", "face,name\nx,Ann\n", "face,name\n0,A\n0,B\n"])
def test_names_that_cannot_be_read_are_refused(text, tmp_path):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(InputError, match=r"names\.csv: expected"):
        read_names(tmp_path / "names.csv")


def test_nobody_for_a_clip_is_one_line(write_video, model_path, tmp_path):
    video = write_video(tmp_path / "grey.avi", np.full((20, 96, 96, 3), 90, np.uint8))
    with pytest.raises(InputError, match=r"grey\.avi: expected a face; found none in any of 20"):
        predict_meeting(video, model_path, progress=False)
