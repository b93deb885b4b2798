import gc
import os
import re
import weakref

import cv2
import numpy as np
import pytest
from PIL import Image

from microx.errors import InputError
from microx.preprocessing.video import (
    MAX_GAP_S,
    Frame,
    find_videos,
    list_files,
    probe_video,
    read_frames,
    resample_frames,
)

# How files are made of the source film; what each codec must give back is the same.
CODECS = {
    "h264.mp4": ["-c:v", "libx264", "-bf", "3"],
    "h264.mkv": ["-c:v", "libx264", "-bf", "3"],
    "h264.flv": ["-c:v", "libx264", "-bf", "2"],
    "h264.mts": ["-c:v", "libx264", "-bf", "2", "-f", "mpegts"],
    "h264.avi": ["-c:v", "libx264", "-bf", "2"],
    "hevc.mov": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    "ten bits.mp4": [
        "-c:v",
        "libx265",
        "-pix_fmt",
        "yuv420p10le",
        "-x265-params",
        "log-level=none",
    ],
    "vp8.webm": ["-c:v", "libvpx"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "mpeg1.mpg": ["-c:v", "mpeg1video"],
    "wmv2.wmv": ["-c:v", "wmv2"],
    "wmv2.asf": ["-c:v", "wmv2"],
    "mpeg2.vob": ["-c:v", "mpeg2video", "-f", "vob"],
    "mpeg2.mxf": ["-c:v", "mpeg2video"],
    "mpeg2.ts": ["-c:v", "mpeg2video"],
    "mpeg4.3g2": ["-c:v", "mpeg4"],
    "theora.ogv": ["-c:v", "libtheora"],
    "prores.mov": ["-c:v", "prores_ks"],
    "lossless.mkv": ["-c:v", "ffv1"],
    "loop.gif": [],
}
UNEVEN = "setpts='(N/30+0.013*mod(N,3)+if(gt(N,30),0.7,0))/TB'"
TIMELINES = {
    "uneven.mp4": ["-vf", UNEVEN, "-fps_mode", "vfr", "-c:v", "libx264", "-bf", "2"],
    "uneven.mkv": ["-vf", UNEVEN, "-fps_mode", "vfr", "-c:v", "libx264", "-bf", "2"],
    "uneven.webm": ["-vf", UNEVEN, "-fps_mode", "vfr", "-c:v", "libvpx"],
    "late.mp4": ["-output_ts_offset", "1.5", "-c:v", "libx264"],
    "late.mkv": ["-output_ts_offset", "1.5", "-c:v", "libx264"],
    "late.ts": ["-output_ts_offset", "1.5", "-c:v", "libx264"],
}


def numbered(n_frames):
    """Frames that carry their number as eight bars, the first bar the lowest bit."""
    bits = np.arange(n_frames)[:, None] >> np.arange(8) & 1
    bars = np.repeat(bits * 200 + 25, 12, axis=1).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(bars[:, None, :, None], (n_frames, 64, 96, 3)))


def number(rgb):
    return int((rgb[32, 6::12].mean(axis=-1) > 128) @ (1 << np.arange(8)))


def film(times):
    return [Frame(i, t, np.zeros((1, 1, 3), np.uint8), True) for i, t in enumerate(times)]


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_video):
    """A film of 60 numbered frames at 30 a second."""
    return write_video(tmp_path_factory.mktemp("source") / "source.mp4", numbered(60))


@pytest.fixture
def shown(ffmpeg):
    """Return a function that lists when ffmpeg itself shows each frame, from its first."""

    def times(path):
        arguments = ("-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-")
        said = ffmpeg("-max_error_rate", 1, "-i", path, "-map", "0:v:0", *arguments)
        seconds = np.array(re.findall(r"pts_time:\s*(\S+)", said), float)
        return seconds - seconds[0]

    return times


@pytest.mark.parametrize(
    ("times", "frame_rate", "expected"),
    [
        ([], 30, []),
        ([0.0], 30, [0]),
        (np.arange(4) / 30, 30, [0, 1, 2, 3]),
        (np.arange(4) / 15, 30, [0, 0, 1, 1, 2, 2, 3]),
        (np.arange(8) / 60, 30, [0, 2, 4, 6]),
        (np.arange(5) / 25, 30, [0, 1, 2, 2, 3, 4]),
        (np.arange(5) / 24, 30, [0, 1, 2, 2, 3, 4]),
        (np.arange(21) / 200, 30, [0, 7, 13, 20]),
        ([0.0, 0.0137, 0.0553, 0.097], 30, [0, 1, 2, 3]),  # a telephone's variable rate
        ([0.0, 0.5], 10, [0, 0, 0, 1, 1, 1]),  # a gap in the stream
        ([], None, []),
        ([0.0, 0.005, 0.5], None, [0, 1, 2]),
    ],
)
def test_resampling_takes_the_nearest_frame(times, frame_rate, expected):
    assert [frame.index for _, frame in resample_frames(film(times), frame_rate)] == expected


@pytest.mark.parametrize("rate", [23.976, 24, 25, 29.97, 50, 59.94, 60, 200])
def test_resampling_neither_drifts_nor_shortens(rate):
    times = np.arange(round(10 * rate)) / rate
    ticks = list(resample_frames(film(times), 30))
    tick_s = np.array([time_s for time_s, _ in ticks])
    assert tick_s == pytest.approx(np.arange(len(ticks)) / 30)
    distance = np.abs(tick_s[:, None] - times)
    taken = np.array([frame.index for _, frame in ticks])
    assert np.take_along_axis(distance, taken[:, None], 1)[:, 0] == pytest.approx(
        distance.min(axis=1), abs=2e-6
    )
    assert abs(tick_s[-1] - times[-1]) <= 0.5 / 30


def test_at_their_own_rate_frames_keep_their_own_times():
    times = [0.0, 0.005, 0.011, 0.5]
    assert [time_s for time_s, _ in resample_frames(film(times), None)] == times


@pytest.mark.parametrize("rate", [0, -30, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate, tmp_path):
    with pytest.raises(InputError, match="`frame_rate` must be above 0"):
        list(resample_frames(film([0.0]), rate))
    with pytest.raises(InputError, match="`input_fps` must be above 0"):
        find_videos(tmp_path, input_fps=rate)


@pytest.mark.parametrize(
    ("rate", "n_frames", "expected"),
    [
        ("24", 12, [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11]),
        ("30000/1001", 12, list(range(12))),
        ("60", 12, [0, 2, 4, 6, 8, 10]),
        ("200", 41, [0, 7, 13, 20, 27, 33, 40]),
    ],
)
def test_a_film_of_any_rate_is_shown_at_thirty(
    tmp_path, ffmpeg, write_video, rate, n_frames, expected
):
    drawn = write_video(tmp_path / "drawn.mp4", numbered(n_frames))
    path = tmp_path / "film.mp4"
    ffmpeg(
        "-r",
        rate,
        "-i",
        drawn,
        "-r",
        rate,
        "-c:v",
        "libx264",
        "-video_track_timescale",
        90000,
        path,
    )
    assert [number(frame.rgb) for _, frame in resample_frames(read_frames(path))] == expected


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


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_gives_every_frame_in_time(tmp_path, source, ffmpeg, shown, name):
    path = tmp_path / name
    ffmpeg("-i", source, *CODECS[name], path)
    frames = list(read_frames(path))
    assert [number(frame.rgb) for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == pytest.approx(shown(path), abs=1e-3)
    assert probe_video(path).size_hw == (64, 96)


@pytest.mark.parametrize("name", TIMELINES)
def test_times_are_those_of_the_stream(tmp_path, source, ffmpeg, shown, name):
    path = tmp_path / name
    ffmpeg("-i", source, *TIMELINES[name], path)
    frames = list(read_frames(path))
    assert [number(frame.rgb) for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == pytest.approx(shown(path), abs=1e-3)
    assert all(frame.timed for frame in frames)


def test_frames_before_the_edit_list_are_not_shown(tmp_path, source, ffmpeg, shown):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", source, "-c:v", "libx264", "-bf", 3, whole)
    ffmpeg("-ss", 0.75, "-i", whole, "-c", "copy", cut)
    frames = list(read_frames(cut))
    assert number(frames[0].rgb) == 23
    assert [number(frame.rgb) for frame in frames] == list(range(23, 60))
    assert [frame.time_s for frame in frames] == pytest.approx(shown(cut), abs=1e-3)
    assert probe_video(cut).n_frames_claimed == 60


def test_a_leap_in_time_is_not_believed(tmp_path, source, ffmpeg):
    path = tmp_path / "leap.mkv"
    leap = f"setpts='(N/30+if(gte(N,30),{10 * MAX_GAP_S},0))/TB'"
    ffmpeg("-i", source, "-vf", leap, "-fps_mode", "vfr", "-c:v", "libvpx", path)
    frames = list(read_frames(path))
    assert [frame.timed for frame in frames] == [True] * 30 + [False] * 30
    steps_s = np.diff([frame.time_s for frame in frames])
    assert 0 < steps_s.min() <= steps_s.max() < MAX_GAP_S


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_a_turned_video_comes_upright(tmp_path, source, ffmpeg, container, turns):
    path = tmp_path / f"turned.{container}"
    ffmpeg("-display_rotation", 90 * turns, "-i", source, "-c", "copy", path)
    upright = np.rot90(next(read_frames(source)).rgb, turns)
    (frame, *_) = read_frames(path)
    assert np.array_equal(frame.rgb, upright)
    assert probe_video(path).size_hw == upright.shape[:2]


@pytest.mark.parametrize("harm", ["cut short", "noise inside"])
@pytest.mark.parametrize("container", ["mp4", "mkv", "flv", "mts", "avi"])
def test_of_a_damaged_file_all_that_decodes_is_read(tmp_path, ffmpeg, shown, container, harm):
    path = tmp_path / f"film.{container}"
    film = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=30:duration=4")
    ffmpeg(*film, "-c:v", "libx264", "-g", 20, "-movflags", "+faststart", path)
    data = bytearray(path.read_bytes())
    if harm == "cut short":
        del data[len(data) * 6 // 10 :]
    else:
        start, length = len(data) * 5 // 10, len(data) // 10
        data[start : start + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(data)
    frames = list(read_frames(path))
    assert 40 < len(frames) == len(shown(path)) < 120
    assert np.all(np.diff([frame.time_s for frame in frames]) > 0)


def test_a_film_without_its_index_is_named(tmp_path, source):
    path = tmp_path / "cut.mp4"
    path.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match=r"cut\.mp4: expected a video that OpenCV can decode"):
        list(read_frames(path))


def test_sound_alone_is_no_video(tmp_path, ffmpeg):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.mp4")
    with pytest.raises(InputError, match=r"sound\.mp4: expected a video"):
        probe_video(tmp_path / "sound.mp4")


def test_a_name_may_look_like_an_address(tmp_path, source, monkeypatch):
    (tmp_path / "S01:take 1%d.mp4").write_bytes(source.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames("S01:take 1%d.mp4"))) == 60


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"g\xfclen.mp4")).touch()
    (entry,) = tmp_path.iterdir()
    for look in (probe_video, lambda path: find_videos(path.parent)):
        with pytest.raises(InputError, match=r"g\ufffdlen\.mp4: expected a file name in UTF-8"):
            look(entry)


def test_one_frame_is_held_at_a_time(tmp_path, source):
    for index, rgb in enumerate(numbered(60)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), rgb)
    for path, input_fps in ((source, None), (tmp_path, 30)):
        held = []
        for _, frame in resample_frames(read_frames(path, input_fps=input_fps)):
            held.append(weakref.ref(frame.rgb))
            gc.collect(0)
            assert sum(rgb() is not None for rgb in held) <= 3
        assert len(held) == 60


def test_probe_tells_what_the_container_claims(tmp_path, write_video, grey_steps):
    info = probe_video(write_video(tmp_path / "steps.mp4", grey_steps))
    assert (info.size_hw, info.frame_rate, info.n_frames_claimed) == ((64, 96), 30.0, 5)


@pytest.mark.parametrize("name", ["notes.mp4", "notes.jpg"])
@pytest.mark.parametrize(
    ("content", "found"),
    [(b"this is text, not film", "begin with b'this is text'"), (b"", "an empty file")],
)
def test_a_file_that_is_no_video_is_named(tmp_path, name, content, found):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: expected an? (video|image)") as error:
        probe_video(path)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "gone.mp4", tmp_path / "gone.jpg"):
        with pytest.raises(InputError, match="found nothing there"):
            probe_video(path)
        with pytest.raises(InputError, match="found nothing there"):
            list_files(path)
    with pytest.raises(InputError, match=r"found a folder there; .*`input_fps`"):
        list(read_frames(tmp_path))
    with pytest.raises(InputError, match="found nothing there"):
        find_videos(tmp_path / "gone")


def test_videos_are_found_in_sub_folders_and_hidden_ones_left(tmp_path):
    names = ("b/Two.MP4", "a.avi", ".trash/c.mp4", "notes.txt", "b/.d.mov", "b/10.JPG", "b/9.png")
    for name in (*names, "b/e/f.tif", "folder.mp4/g.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(**options):
        return [p.relative_to(tmp_path).as_posix() for p in find_videos(tmp_path, **options)]

    files = ["a.avi", "b/9.png", "b/10.JPG", "b/Two.MP4", "b/e/f.tif", "folder.mp4/g.webm"]
    assert found() == files
    assert found(input_fps=200) == ["a.avi", "b", "b/Two.MP4", "b/e", "folder.mp4/g.webm"]


def test_frames_in_a_folder_are_a_video(tmp_path):
    folder = tmp_path / "EP02_01f"
    folder.mkdir()
    for index, rgb in enumerate(numbered(12)):
        cv2.imwrite(str(folder / f"reg_img{index + 1}.png"), rgb)
    for name in (".DS_Store", "._reg_img1.png", "notes.txt"):
        (folder / name).touch()
    (folder / "reg_img0.png").mkdir()
    frames = list(read_frames(folder, input_fps=200))
    assert [number(frame.rgb) for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(12) / 200)
    assert all(frame.timed for frame in frames)
    info = probe_video(folder, input_fps=200)
    assert (info.size_hw, info.frame_rate) == ((64, 96), 200.0)
    assert (info.n_frames_claimed, info.codec) == (12, "images")
    assert [path.stem for path in list_files(folder)] == [f"reg_img{i}" for i in range(1, 13)]


def test_the_image_that_spoils_a_folder_is_named(tmp_path):
    for name, size in (("f1.png", 8), ("f2.png", 8), ("f3.png", 9)):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, size, 3), np.uint8))
    frames = read_frames(tmp_path, input_fps=25)
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(InputError, match=r"f3\.png: expected 8 x 8 pixels.*found 9 x 8"):
        next(frames)
    (tmp_path / "f2.png").write_text("no image")
    with pytest.raises(InputError, match=r"f2\.png: expected an image"):
        list(read_frames(tmp_path, input_fps=25))


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="expected a folder of images; found none directly in it"):
        list(read_frames(tmp_path, input_fps=25))
    assert find_videos(tmp_path, input_fps=25) == []


@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("grey.png", np.full((8, 12), 90, np.uint8), [90, 90, 90]),
        ("grey 16.png", np.full((8, 12), 40000, np.uint16), [156, 156, 156]),
        ("grey 16.tif", np.full((8, 12), 40000, np.uint16), [156, 156, 156]),
        ("colour 16.png", np.full((8, 12, 3), (2560, 25600, 51200), np.uint16), [200, 100, 10]),
        ("alpha.png", np.full((8, 12, 4), (10, 100, 200, 0), np.uint8), [200, 100, 10]),
        ("plain.bmp", np.full((8, 12, 3), (10, 100, 200), np.uint8), [200, 100, 10]),
        ("plain.webp", np.full((8, 12, 3), (10, 100, 200), np.uint8), [200, 100, 10]),
        ("日本 é.JPG", np.full((8, 12, 3), (10, 100, 200), np.uint8), [200, 100, 10]),
    ],
)
def test_an_image_is_a_video_of_one_frame(tmp_path, name, pixels, expected):
    cv2.imwrite(str(tmp_path / name), pixels)
    (frame,) = read_frames(tmp_path / name)
    assert (frame.index, frame.time_s, frame.timed) == (0, 0.0, True)
    assert (frame.rgb.shape, frame.rgb.dtype) == ((8, 12, 3), np.uint8)
    assert frame.rgb[4, 6].tolist() == pytest.approx(expected, abs=2)
    info = probe_video(tmp_path / name)
    assert (info.size_hw, info.frame_rate, info.n_frames_claimed) == ((8, 12), 0.0, 1)
    assert list_files(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_photograph_comes_upright(tmp_path, suffix, orientation, turns):
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:16, :24] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(rgb).save(path, exif=exif)
    (frame,) = read_frames(path)
    assert np.array_equal(frame.rgb > 100, np.rot90(rgb, turns) > 100)
    assert probe_video(path).size_hw == frame.rgb.shape[:2]


def test_half_a_photograph_is_refused(tmp_path):
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    photo = cv2.imencode(".jpg", noise)[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    photo = photo[:2] + segment + photo[2:]
    (tmp_path / "whole.jpg").write_bytes(photo + b"what a telephone adds \xff\xda")
    (tmp_path / "half.jpg").write_bytes(photo[: len(photo) * 6 // 10])
    assert next(read_frames(tmp_path / "whole.jpg")).rgb.shape == (64, 64, 3)
    with pytest.raises(InputError, match=r"half\.jpg: expected an image; found a JPEG that ends"):
        list(read_frames(tmp_path / "half.jpg"))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "n_claimed", "n_frames", "last_s"),
    [
        ("pyfeat_noface_face.mov", 169, 169, 6.34),
        ("openmpf_xvid_aac.avi", 32, 31, 1.03),
        ("openmpf_vp8_opus.webm", 31, 31, 1.0),
        ("openmpf_h265_aac.mp4", 31, 31, 1.0),
        ("pyfeat_no_face.mp4", 98, 95, 3.9),
    ],
)
def test_real_containers_give_every_frame_in_time(
    real_data, shown, name, n_claimed, n_frames, last_s
):
    path = real_data / "videos" / name
    times = [frame.time_s for frame in read_frames(path)]
    assert len(times) == n_frames
    assert np.all(np.diff(times) > 0)
    assert times == pytest.approx(shown(path), abs=1e-3)
    assert times[-1] == pytest.approx(last_s, abs=0.05)
    assert probe_video(path).n_frames_claimed == n_claimed
