"""A new video, its landmarks found by dlib."""

import cv2
import pandas as pd
import pytest

from microx.errors import InputError
from microx.spotting.spot import Spot
from microx.spotting.timeline import MOST_SHOWN, choose_shown
from microx.spotting.video import spot_video


def test_a_video_gives_a_table_and_a_time_line(drawn, tmp_path):
    found = spot_video(drawn / "videos/S01.mp4", tmp_path / "out")
    assert found.n_frames == found.n_found == 480
    assert found.searched > 0.95
    table = pd.read_csv(tmp_path / "out/S01.spots.csv")
    assert len(table) == len(found.spots)
    true = pd.read_csv(drawn / "intervals.csv").query("path == 'videos/S01.mp4'")
    macro = true[true["kind"] == "macro"].iloc[0]
    assert ((table["onset"] < macro["apex"]) & (table["offset"] > macro["apex"])).any()
    assert cv2.imread(str(found.image)).shape[1] == 1500


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.mp4"):
        spot_video(tmp_path / "none.mp4")


def test_the_clearest_are_shown_in_order_of_time():
    spots = [Spot(t, t, t, 0, 0, 0, t % 7, "mouth", "micro") for t in range(20)]
    shown = choose_shown(spots)
    assert len(shown) == MOST_SHOWN
    assert shown == sorted(shown, key=lambda spot: spot.onset)
    assert min(spot.score for spot in shown) >= 4
