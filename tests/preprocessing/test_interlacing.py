import cv2
import numpy as np
import pytest

from microx.corpus.check import scan_videos
from microx.errors import InputError
from microx.preprocessing.interlacing import CombFinder
from microx.preprocessing.pipeline import preprocess_video
from microx.preprocessing.video import read_frames
from microx.simulation.corpus import draw_take


def moving(n_frames, *, step=(0, 3)):
    """Frames of a soft pattern that moves by so many pixels down and right each time."""
    noise = np.random.default_rng(0).integers(0, 255, (160, 240), np.uint8)
    pattern = cv2.GaussianBlur(noise, (0, 0), 4)
    pattern = cv2.normalize(pattern, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([np.roll(pattern, (step[0] * i, step[1] * i), (0, 1)) for i in range(n_frames)])


def weave(frames, *, top_first=True):
    """Make frames of two fields from twice as many whole ones."""
    woven = frames[::2].copy()
    line = 1 if top_first else 0
    woven[:, line::2] = frames[1::2, line::2]
    return woven


def looked_at(frames):
    finder = CombFinder()
    for frame in frames:
        finder.look(frame)
    return finder


@pytest.mark.parametrize("step", [(0, 3), (0, -5), (1, 2)])
@pytest.mark.parametrize("top_first", [True, False])
def test_woven_fields_are_found(step, top_first):
    finder = looked_at(weave(moving(40, step=step), top_first=top_first))
    assert finder.is_interlaced
    assert finder.n_combed == finder.n_looked == 18


@pytest.mark.parametrize("step", [(0, 3), (0, 0), (1, 2), (2, 0), (5, 0)])
def test_whole_frames_are_not(step):
    finder = looked_at(moving(20, step=step))
    assert not finder.is_interlaced
    assert finder.n_looked == 18


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((20, 1, 1), np.uint8),
        np.tile(np.uint8([[0], [255]]), (20, 8, 16)),  # stripes that stand still
    ],
)
def test_nothing_is_no_comb(frames):
    assert not looked_at(frames).is_interlaced


@pytest.fixture(scope="module")
def woven_take(tmp_path_factory, write_video, ffmpeg):
    """A drawn face that moves to the right, of two fields a frame, twice: unmarked and marked."""
    face = draw_take(2, "happy", n_frames=24).frames
    frames = np.stack([np.roll(frame, 2 * place, 1) for place, frame in enumerate(face)])
    folder = tmp_path_factory.mktemp("woven")
    write_video(folder / "plain.mp4", frames)
    write_video(folder / "source.mp4", weave(frames))
    marked = ("-flags", "+ildct+ilme", "-field_order", "tt", "-vf", "setfield=tff")
    for name in ("marked.vob", "marked.mxf"):
        ffmpeg("-i", folder / "source.mp4", *marked, "-c:v", "mpeg2video", "-q:v", 2, folder / name)
    return folder


def test_an_interlaced_video_that_is_not_converted_is_said_to_be(woven_take):
    for name in ("marked.vob", "marked.mxf"):
        capture = cv2.VideoCapture(str(woven_take / name), cv2.CAP_FFMPEG)
        if not np.array_equal(capture.read()[1], capture.read()[1]):
            pytest.skip("this OpenCV shows interlaced frames")
        with pytest.raises(InputError, match=rf"{name}: .* found an interlaced one, whose frames"):
            list(read_frames(woven_take / name))
    rows = scan_videos(woven_take).set_index("path")
    assert "ffmpeg -i IN -vf bwdif OUT.mp4" in rows.loc["marked.vob", "problem"]


def test_one_that_is_not_marked_is_said_to_be_by_check_and_ledger(woven_take):
    rows = scan_videos(woven_take).set_index("path")
    assert "interlaced: its moving edges are combs" in "; ".join(rows.loc["source.mp4", "remarks"])
    assert "interlaced" not in "; ".join(rows.loc["plain.mp4", "remarks"])
    assert preprocess_video(woven_take / "source.mp4").ledger.n_combed >= 5
    assert preprocess_video(woven_take / "plain.mp4").ledger.n_combed == 0


@pytest.mark.parametrize("n_still", [1, 2, 6])
def test_a_still_video_is_not_taken_for_an_interlaced_one(n_still, tmp_path, write_video):
    frames = np.zeros((6, 64, 96, 3), np.uint8)
    frames[n_still:] = 200
    assert len(list(read_frames(write_video(tmp_path / "fade.mp4", frames)))) == 6


@pytest.mark.real
@pytest.mark.slow
def test_no_real_progressive_video_is_taken_for_an_interlaced_one(real_data):
    for folder in ("videos", "cremad"):
        for path in sorted((real_data / folder).glob("*.[mafw]*")):
            assert not looked_at(frame.rgb[..., 1] for frame in read_frames(path)).is_interlaced
