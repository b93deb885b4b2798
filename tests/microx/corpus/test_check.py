"""What a scan of real files tells before a long run."""

import shutil

import cv2
import numpy as np
import pytest

from microx.corpus.check import find_oddities, scan_videos
from microx.errors import InputError
from microx.simulation.corpus import draw_take


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video, grey_steps, ffmpeg):
    root = tmp_path_factory.mktemp("videos")
    frames = np.tile(np.repeat(grey_steps, 12, axis=0), (1, 3, 2, 1))  # (60, 192, 192, 3)
    write_video(root / "fine.mp4", frames)
    shutil.copy(root / "fine.mp4", root / "same.mp4")
    write_video(root / "short.mp4", frames[:6])
    write_video(root / "slow.mp4", frames[:12], 5)
    write_video(root / "small.mp4", frames[:, :64, :96])
    (root / "text.mp4").write_text("no film")
    turned = root / "turned.mp4"
    ffmpeg("-display_rotation", 90, "-i", root / "fine.mp4", "-c", "copy", turned)
    uneven = "setpts='if(lt(N,30),N,2*N)/30/TB'"
    ffmpeg("-i", root / "fine.mp4", "-vf", uneven, "-fps_mode", "vfr", root / "uneven.mkv")
    whole = (root / "turned.mp4").read_bytes()
    (root / "cut.avi").write_bytes(b"")
    ffmpeg("-i", root / "fine.mp4", "-c:v", "mjpeg", root / "cut.avi")
    whole = (root / "cut.avi").read_bytes()
    (root / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("")
    return root


@pytest.fixture(scope="module")
def scanned(folder):
    return scan_videos(folder).set_index("path")


def remarks(scanned, path):
    return "; ".join(scanned.loc[path, "remarks"])


def test_what_cannot_be_used_comes_first_and_what_is_fine_last(scanned):
    assert scanned.index[0] == "text.mp4"
    assert "expected a video that OpenCV can decode" in scanned.loc["text.mp4", "problem"]
    assert (scanned["problem"] != "").sum() == 1
    assert scanned.index[-1] == "fine.mp4"
    assert scanned.loc["fine.mp4", ["n_decoded", "n_claimed", "n_untimed"]].tolist() == [60, 60, 0]
    assert scanned.loc["fine.mp4", "size"] == "192x192"
    assert scanned.loc["fine.mp4", "duration_s"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("path", "remark"),
    [
        ("same.mp4", "a copy of fine.mp4"),
        ("short.mp4", "shorter than the 10 frames of a clip"),
        ("small.mp4", "small: 64 pixels"),
        ("turned.mp4", "shown turned by 270 degrees, as the file asks"),
        ("uneven.mkv", "variable rate: "),
        ("slow.mp4", "5 frames a second: at 30 each would be repeated 6 times; `frame_rate=5`"),
        ("cut.avi", "claimed frames decode: cut off or damaged?"),
    ],
)
def test_what_is_odd_is_said(scanned, path, remark):
    assert remark in remarks(scanned, path)


def test_a_quick_scan_decodes_one_second_and_does_not_guess_the_rest(folder):
    quick = scan_videos(folder, quick=True).set_index("path")
    assert quick.loc["fine.mp4", "n_decoded"] == 31
    assert quick.loc["fine.mp4", "n_claimed"] == 60
    assert remarks(quick, "fine.mp4") == ""
    assert quick.index[0] == "text.mp4"


def test_the_same_is_found_in_any_number_of_processes(folder, scanned):
    again = scan_videos(folder, n_workers=2).set_index("path")
    assert again.equals(scanned)


def test_images_are_videos_or_frames(tmp_path, grey_steps):
    (tmp_path / "take").mkdir()
    for place, frame in enumerate(np.tile(grey_steps, (1, 2, 2, 1))):
        cv2.imwrite(str(tmp_path / "take" / f"img{place}.png"), frame)
    alone = scan_videos(tmp_path)
    assert len(alone) == 5
    (said,) = find_oddities(tmp_path, alone["path"].tolist(), input_fps=None)
    assert "the images in take look like the frames of videos" in said
    together = scan_videos(tmp_path, input_fps=10)
    assert together["path"].tolist() == ["take"]
    assert together["duration_s"].tolist() == pytest.approx([0.5])
    assert find_oddities(tmp_path, together["path"].tolist(), input_fps=10) == []
    assert "lack the numbers" not in remarks(together.set_index("path"), "take")
    (tmp_path / "take" / "img2.png").unlink()
    lacking = scan_videos(tmp_path, input_fps=10).set_index("path")
    assert "its images lack the numbers 2: those after" in remarks(lacking, "take")


def test_files_that_are_passed_over_are_counted(folder, scanned):
    said = find_oddities(folder, scanned.index.tolist(), input_fps=None)
    assert said == ["files that are not taken for videos: .txt (1)"]


def test_a_face_is_looked_for_in_five_frames(tmp_path, write_video, grey_steps):
    write_video(tmp_path / "face.mp4", draw_take(2, "happy", n_frames=20).frames)
    write_video(tmp_path / "none.mp4", np.tile(grey_steps, (1, 4, 4, 1)))
    scanned = scan_videos(tmp_path, faces=True).set_index("path")
    assert scanned["faces"].to_dict() == {"face.mp4": "5 of 5", "none.mp4": "0 of 5"}
    assert "no face in any sampled frame" in remarks(scanned, "none.mp4")


def test_odd_names_are_remarked(tmp_path, write_video, grey_steps):
    frames = np.tile(np.repeat(grey_steps, 3, axis=0), (1, 2, 2, 1))
    for place, name in enumerate((" a.mp4", "b.mp4", "b.avi", "c.mp4", "C.mp4")):
        write_video(tmp_path / name, frames + np.uint8(place))
    scanned = scan_videos(tmp_path).set_index("path")
    assert "a space at an end" in remarks(scanned, " a.mp4")
    assert "differs in its ending only" in remarks(scanned, "b.avi")
    assert "differs in capitals only" in remarks(scanned, "c.mp4")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_videos_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a folder of videos"):
        scan_videos(tmp_path / name)
