"""Videos as frames with the time each is shown, and as frames at one steady rate.

A video is a video file, a single image, or a folder of images with a given rate.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from microx.errors import InputError
from microx.files import say_absence
from microx.preprocessing.images import IMAGE_SUFFIXES, first_bytes, read_image, silent_opencv
from microx.preprocessing.interlacing import check_converted
from microx.preprocessing.orientation import UPRIGHT, Orientation, read_orientation

VIDEO_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2t", ".m2ts", ".m4v"}
    | {".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm"}
    | {".wmv"}
)
"""What counts as a video when a folder is searched; a file given by name may end in anything."""

MAX_FAULTS = 1000
"""Consecutive packets that may fail to decode before a video is given up; our choice."""

MAX_GAP_S = 600.0
"""A frame stamped later than this after the one before has no usable time; our choice."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video's container claims, before a frame is decoded.

    Parameters
    ----------
    path : Path
        The file, or the folder of images.
    size_hw : tuple of int
        Height and width in pixels, as the file asks to be shown.
    frame_rate : float
        Average frames a second: the container's, or the rate given for a folder; 0
        where there is neither.
    n_frames_claimed : int
        Frames the container claims, some computing them from duration and rate; the number
        decoded may differ, and is counted separately. The number of images.
    codec : str
        Four-letter code, such as ``"h264"``; ``"images"`` for images.
    orientation : Orientation
        How a video file asks to be shown; images are upright already.
    """

    path: Path
    size_hw: tuple[int, int]
    frame_rate: float
    n_frames_claimed: int
    codec: str
    orientation: Orientation = UPRIGHT


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame.

    Parameters
    ----------
    index : int
        Its place among the decoded frames, from 0.
    time_s : float
        Seconds since the first frame.
    rgb : ndarray of shape (H, W, 3), uint8
        Upright: turned and mirrored as the file asks. Grey becomes three equal channels, 16
        bits become 8, and transparency is left out.
    timed : bool
        False where the stream gave no usable time, so that `time_s` was computed from the
        frame rate.
    """

    index: int
    time_s: float
    rgb: np.ndarray
    timed: bool


def probe_video(path: str | Path, *, input_fps: float | None = None) -> VideoInfo:
    """Read what a video claims; of images, the first is decoded for its size.

    Parameters
    ----------
    path : path
        A video file, an image, or a folder of images.
    input_fps : float, optional
        Frames a second of a folder of images, which needs it; files do not use it.

    Raises
    ------
    InputError
        If there is no such file, OpenCV cannot open it, or a folder holds no images or has
        no rate.

    Examples
    --------
    >>> probe_video("S01_happy_1.mp4").frame_rate
    30.0
    """
    path = Path(path)
    if path.is_dir() or _ends_in(path, IMAGE_SUFFIXES):
        frame_rate = _checked_rate(path, input_fps) if path.is_dir() else 0.0
        images = list_files(path)
        height, width = read_image(images[0]).shape[:2]
        return VideoInfo(path, (height, width), frame_rate, len(images), "images")
    with _opened(path) as (capture, orientation):
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        return VideoInfo(
            path=path,
            size_hw=orientation.apply_to_size((height, width)),
            frame_rate=_plausible_rate(capture.get(cv2.CAP_PROP_FPS)),
            n_frames_claimed=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
            codec=code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 "),
            orientation=orientation,
        )


def count_claimed(path: str | Path, *, input_fps: float | None = None) -> int:
    """Count the frames a video claims, as `probe_video` does, but decode no image for it."""
    path = Path(path)
    if path.is_dir() and _checked_rate(path, input_fps):
        return len(list_files(path))
    if is_image(path):
        return 1
    return probe_video(path).n_frames_claimed


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image: a video of one frame."""
    return _ends_in(path, IMAGE_SUFFIXES) and not path.is_dir()


def read_frames(path: str | Path, *, input_fps: float | None = None) -> Iterator[Frame]:
    """Decode a video frame by frame, each with its presentation time.

    Times come from the stream (OpenCV's ``CAP_PROP_POS_MSEC`` after each read, FFmpeg
    back end), so a variable frame rate is kept. Where a time does not advance, or leaps
    by more than `MAX_GAP_S`, it is computed from the average rate and the frame is marked
    ``timed=False``. A damaged file is decoded as far as possible, even beyond the damage. An
    image is one frame at time 0; image ``i`` of a folder is shown at ``i / input_fps``, in
    the order of `list_files`. One frame is held at a time.

    Parameters
    ----------
    path : path
        A video file, an image, or a folder of images.
    input_fps : float, optional
        Frames a second of a folder of images, which needs it; files do not use it.

    Yields
    ------
    Frame
        In order; a video file with no decodable frame yields nothing.

    Raises
    ------
    InputError
        If there is no such file, OpenCV cannot open it or shows none of it because it is
        interlaced; if a folder holds no images or has no rate, or an image in it cannot be read
        or differs in size from the first.
    """
    path = Path(path)
    if path.is_dir():
        yield from _frames_of_folder(path, _checked_rate(path, input_fps))
    elif _ends_in(path, IMAGE_SUFFIXES):
        yield Frame(0, 0.0, read_image(path), True)
    else:
        yield from _frames_of_file(path)


def resample_frames(
    frames: Iterable[Frame], frame_rate: float | None = 30.0
) -> Iterator[tuple[float, Frame]]:
    """Show frames at a steady rate, each tick taking the frame nearest in time.

    Ticks are at ``0, 1/frame_rate, 2/frame_rate, …`` up to half a tick past the last
    frame; a tick halfway between two frames takes the earlier. A slower video repeats
    frames and a faster one skips some; two are never blended. ``Frame.index`` says
    which was taken.

    Parameters
    ----------
    frames : iterable of Frame
        In order of time, as `read_frames` gives them. Empty gives empty.
    frame_rate : float or None
        Ticks a second, above 0. None shows every frame once, at its own time.

    Yields
    ------
    time_s : float
        The tick, in seconds since the first frame.
    frame : Frame
        The frame nearest to it.

    Examples
    --------
    >>> import numpy as np
    >>> film = [Frame(i, i / 15, np.zeros((1, 1, 3), np.uint8), True) for i in range(3)]
    >>> [frame.index for _, frame in resample_frames(film, 30.0)]
    [0, 0, 1, 1, 2]
    """
    if frame_rate is None:
        yield from ((frame.time_s, frame) for frame in frames)
        return
    if not 0 < frame_rate < math.inf:
        raise InputError(f"`frame_rate` must be above 0 frames a second; received {frame_rate}")
    tick = 0
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            # A small tolerance, so that rounding never decides a tie.
            middle_s = (held.time_s + frame.time_s) / 2 + 1e-6
            while tick / frame_rate <= middle_s:
                yield tick / frame_rate, held
                tick += 1
        held = frame
    if held is not None:
        while tick / frame_rate < held.time_s + 0.5 / frame_rate:
            yield tick / frame_rate, held
            tick += 1


def find_videos(folder: str | Path, *, input_fps: float | None = None) -> list[Path]:
    """List the videos below a folder, 2 before 10; hidden files and folders are skipped.

    Parameters
    ----------
    folder : path
        Searched with its sub-folders; links to files count, links to folders do not.
    input_fps : float, optional
        Without it, each video file and each image is a video. With it, images are frames:
        each video file and each folder that directly holds images is a video.

    Returns
    -------
    list of Path
        Empty where there are none.

    Raises
    ------
    InputError
        If the folder does not exist, is not a folder or may not be read, a name is not in
        UTF-8, or `input_fps` is not above 0.
    """
    folder = Path(folder)
    check_folder(folder)
    if input_fps is not None:
        _checked_rate(folder, input_fps)
    endings = VIDEO_SUFFIXES if input_fps is not None else VIDEO_SUFFIXES | IMAGE_SUFFIXES
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(place, name) for name in names if not name.startswith(".")]
        found += [path for path in files if _ends_in(path, endings) and path.is_file()]
        if input_fps is not None and any(_ends_in(path, IMAGE_SUFFIXES) for path in files):
            found.append(Path(place))
    for path in found:
        _check_name(path)
    return sorted(found, key=_reading_order)


def check_folder(folder: str | Path) -> None:
    """Refuse what is not a folder of videos, before anything is loaded or read.

    Raises
    ------
    InputError
        If it is an address, a file, or nothing.
    """
    path = Path(folder)
    if path.is_dir():
        return
    found_there = say_absence(folder)
    if path.exists():
        found_there = "a file there; name the folder it lies in"
    raise InputError(f"{folder}: expected a folder of videos; found {found_there}")


def list_files(path: str | Path) -> list[Path]:
    """List the files a video is made of: itself, or the images of a folder in order.

    The order is natural, ``img2`` before ``img10``. Hidden files, files that are not images,
    and sub-folders are skipped.

    Raises
    ------
    InputError
        If there is nothing there, or a folder directly holds no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: expected a video or image file; found {say_absence(path)}")
    images = [
        entry
        for entry in path.iterdir()
        if _ends_in(entry, IMAGE_SUFFIXES) and entry.name[0] != "." and entry.is_file()
    ]
    if not images:
        raise InputError(
            f"{path}: expected a folder of images; found none directly in it; known endings: "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(images, key=_reading_order)


def _frames_of_folder(folder: Path, frame_rate: float) -> Iterator[Frame]:
    shape: tuple[int, ...] = ()
    for index, path in enumerate(list_files(folder)):
        rgb = read_image(path)
        shape = shape or rgb.shape
        if rgb.shape != shape:
            raise InputError(
                f"{path}: expected {shape[1]} x {shape[0]} pixels, as the first frame of its "
                f"folder has; found {rgb.shape[1]} x {rgb.shape[0]}; give each size its own folder"
            )
        yield Frame(index, index / frame_rate, rgb, True)


def _frames_of_file(path: Path) -> Iterator[Frame]:
    with _opened(path) as (capture, orientation):
        step_s = 1.0 / (_plausible_rate(capture.get(cv2.CAP_PROP_FPS)) or 30.0)
        start_s = last_s = 0.0
        for index, bgr in enumerate(check_converted(path, _decoded(capture))):
            shown_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if index == 0:
                start_s, timed = shown_s, True
            else:
                timed = last_s < shown_s - start_s <= last_s + MAX_GAP_S
                last_s = shown_s - start_s if timed else last_s + step_s
            rgb = orientation.apply(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            yield Frame(index, last_s, rgb, timed)


def _decoded(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield each frame of a file; past the end, or past damage, a read fails."""
    n_claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    n_read = n_faults = 0
    # A read that meets a damaged packet fails, yet the next one continues after it.
    while n_faults <= max(0, min(MAX_FAULTS, n_claimed - n_read)):
        decoded, bgr = capture.read()
        if decoded:
            yield bgr
            n_read, n_faults = n_read + 1, 0
        else:
            n_faults += 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[cv2.VideoCapture, Orientation]]:
    if not path.is_file():
        raise InputError(f"{path}: expected a video file; found {say_absence(path)}")
    _check_name(path)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    capture = cv2.VideoCapture()
    with silent_opencv():
        try:
            # The whole path, because FFmpeg takes a name such as "S01:a.mp4" for an address. One
            # thread: workers run one per core, and frames are the same either way.
            name = str(path.absolute())
            if not capture.open(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]):
                raise InputError(
                    f"{path}: expected a video that OpenCV can decode; found {first_bytes(path)}; "
                    "check that it plays, or convert it: ffmpeg -i IN OUT.mp4"
                )
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # it knows turns only, no mirror
            yield capture, _orientation(path, capture)
        finally:
            capture.release()


def _orientation(path: Path, capture: cv2.VideoCapture) -> Orientation:
    """How a file asks to be shown: by its own header, or else by what FFmpeg says of it."""
    known = read_orientation(path)
    if known is not None:
        return known
    return Orientation.turned(int(capture.get(cv2.CAP_PROP_ORIENTATION_META)))


def _plausible_rate(frame_rate: float) -> float:
    """Average rate, or 0 where the container gives none (NaN, 0, or a 90,000 Hz time base)."""
    return float(frame_rate) if 0 < frame_rate < 2000 else 0.0


def _checked_rate(folder: Path, input_fps: float | None) -> float:
    if input_fps is None:
        raise InputError(
            f"{folder}: expected a video or image file; found a folder there; if it holds frames, "
            "give their rate: `input_fps`"
        )
    if not 0 < input_fps < math.inf:
        raise InputError(f"`input_fps` must be above 0 frames a second; received {input_fps}")
    return float(input_fps)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: expected a folder that may be read; {error.strerror}")


def _check_name(path: Path) -> None:
    """Refuse a name that is not UTF-8, such as old archives leave: OpenCV crashes on it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path).decode("utf-8", "replace")
        raise InputError(
            f"{name}: expected a file name in UTF-8; found other bytes in it; rename it"
        ) from None


def _ends_in(path: Path, endings: frozenset[str]) -> bool:
    return path.suffix.lower() in endings


def _reading_order(path: Path) -> tuple[list[int | str], Path]:
    parts = re.split(r"(\d+)", path.as_posix())
    return [int(part) if part.isdecimal() else part for part in parts], path
