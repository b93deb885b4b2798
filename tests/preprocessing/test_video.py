import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.video import (
    Frame,
    find_videos,
    probe_video,
    read_frames,
    resample_frames,
)


def film(times):
    return [Frame(i, t, np.zeros((1, 1, 3), np.uint8), True) for i, t in enumerate(times)]


@pytest.mark.parametrize(
    ("times", "frame_rate", "expected"),
    [
        ([], 30, []),
        ([0.0], 30, [0]),
        (np.arange(4) / 30, 30, [0, 1, 2, 3]),
        (np.arange(4) / 15, 30, [0, 0, 1, 1, 2, 2, 3]),
        (np.arange(8) / 60, 30, [0, 2, 4, 6]),
        (np.arange(5) / 25, 30, [0, 1, 2, 2, 3, 4]),
        ([0.0, 0.0137, 0.0553, 0.097], 30, [0, 1, 2, 3]),  # a telephone's variable rate
        ([0.0, 0.5], 10, [0, 0, 0, 1, 1, 1]),  # a gap in the stream
    ],
)
def test_resampling_takes_the_nearest_frame(times, frame_rate, expected):
    assert [frame.index for _, frame in resample_frames(film(times), frame_rate)] == expected


@pytest.mark.parametrize("rate", [23.976, 24, 25, 29.97, 50, 59.94, 60, 200])
def test_resampled_frames_are_never_further_than_half_a_tick_or_frame(rate):
    ticks = list(resample_frames(film(np.arange(500) / rate), 30))
    assert len(ticks) == pytest.approx(500 / rate * 30, abs=1)
    worst = max(abs(time_s - frame.time_s) for time_s, frame in ticks)
    assert worst <= max(0.5 / rate, 0.5 / 30) + 1e-4


def test_a_rate_of_zero_is_refused():
    with pytest.raises(InputError, match="above 0"):
        list(resample_frames(film([0.0]), 0))


def test_frames_come_back_in_order_with_their_times(tmp_path, write_video, grey_steps):
    path = write_video(tmp_path / "steps.mp4", grey_steps, 25)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert all(frame.timed for frame in frames)
    levels = [int(frame.rgb.mean()) for frame in frames]
    assert levels == pytest.approx([30, 70, 110, 150, 190], abs=4)


def test_colours_are_rgb(tmp_path, write_video):
    red = np.zeros((3, 64, 64, 3), np.uint8)
    red[..., 0] = 200
    frame = next(read_frames(write_video(tmp_path / "red.mp4", red)))
    assert frame.rgb[..., 0].mean() > 150 > 60 > frame.rgb[..., 2].mean()


def test_probe_tells_what_the_container_claims(tmp_path, write_video, grey_steps):
    info = probe_video(write_video(tmp_path / "steps.mp4", grey_steps))
    assert (info.size_hw, info.frame_rate, info.n_frames_claimed) == ((64, 96), 30.0, 5)


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"this is text, not film", "begin with b'this is text'"), (b"", "an empty file")],
)
def test_a_file_that_is_no_video_is_named(tmp_path, content, found):
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.mp4.*expected a video") as error:
        probe_video(path)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="found nothing there"):
        probe_video(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="found a folder there"):
        list(read_frames(tmp_path))
    with pytest.raises(InputError, match="found nothing there"):
        find_videos(tmp_path / "gone")


def test_videos_are_found_in_sub_folders_and_hidden_ones_left(tmp_path):
    for name in ("b/Two.MP4", "a.avi", ".trash/c.mp4", "notes.txt", "b/.d.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_videos(tmp_path)] == [
        "a.avi",
        "b/Two.MP4",
    ]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "n_frames", "last_s"),
    [
        ("pyfeat_noface_face.mov", 169, 6.34),
        ("openmpf_xvid_aac.avi", 31, 1.03),
        ("openmpf_vp8_opus.webm", 31, 1.0),
        ("openmpf_h265_aac.mp4", 31, 1.0),
    ],
)
def test_real_containers_give_every_frame_in_time(real_data, name, n_frames, last_s):
    times = [frame.time_s for frame in read_frames(real_data / "videos" / name)]
    assert len(times) == n_frames
    assert np.all(np.diff(times) > 0)
    assert times[-1] == pytest.approx(last_s, abs=0.05)
