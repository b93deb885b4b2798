"""Many recordings: one table, no good work lost by a bad file, and a second call goes on."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.inference.recordings import TABLE, list_recordings, predict_videos
from microx.simulation.corpus import draw_take


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video):
    """Two videos in folders of their own, a photograph, and a file that is no video."""
    root = tmp_path_factory.mktemp("recordings")
    for subject, emotion in ((1, "happy"), (2, "surprise")):
        (root / f"s{subject}").mkdir()
        frames = draw_take(subject, emotion, n_frames=16, seed=0).frames
        write_video(root / f"s{subject}" / "talk.mp4", frames)
    cv2.imwrite(str(root / "photo.png"), frames[6][..., ::-1])
    (root / "broken.mp4").write_bytes(b"no video")
    return root


def test_every_recording_is_a_row_and_a_second_call_goes_on(folder, tmp_path):
    table = predict_videos([folder], out=tmp_path)
    names = [Path(video).relative_to(folder).as_posix() for video in table["video"]]
    assert names == ["broken.mp4", "photo.png", "s1/talk.mp4", "s2/talk.mp4"]
    assert (table["error"] != "").tolist() == [True, False, False, False]
    good = table[table["error"] == ""]
    shares = good.filter(like="p_").to_numpy(float)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert all(Path(path).is_file() for path in good["table"])
    assert (tmp_path / "s1" / "talk.emotions.csv").is_file()
    stored = pd.read_csv(tmp_path / TABLE)
    assert stored["emotion"].dropna().tolist() == good["emotion"].tolist()

    done, before = [], (tmp_path / "s1" / "talk.emotions.csv").stat().st_mtime_ns
    again = predict_videos([folder], out=tmp_path, progress=lambda *told: done.append(told))
    assert (tmp_path / "s1" / "talk.emotions.csv").stat().st_mtime_ns == before
    assert [told[:2] for told in done] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert again["emotion"].tolist() == table["emotion"].fillna("").tolist()


def test_what_failed_is_tried_again(folder, tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    shutil.copyfile(folder / "broken.mp4", root / "a.mp4")
    shutil.copyfile(folder / "photo.png", root / "b.png")
    out = tmp_path / "out"
    assert (predict_videos([root], out=out)["error"] != "").tolist() == [True, False]
    shutil.copyfile(folder / "s1" / "talk.mp4", root / "a.mp4")
    assert (predict_videos([root], out=out)["error"] == "").all()


def test_results_of_one_name_are_refused(folder):
    with pytest.raises(InputError, match="would be named as those of"):
        list_recordings([folder / "s1" / "talk.mp4", folder / "s2" / "talk.mp4"])
    assert len(list_recordings([folder, folder / "photo.png"])) == 4


def test_a_folder_without_recordings_is_told(tmp_path):
    with pytest.raises(InputError, match="expected videos or images in this folder; found none"):
        list_recordings([tmp_path])


def test_a_table_of_something_else_is_not_overwritten(folder, tmp_path):
    (tmp_path / TABLE).write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column video; choose another folder"):
        predict_videos([folder / "photo.png"], out=tmp_path)
    assert (tmp_path / TABLE).read_text() == "a,b\n1,2\n"
