"""Video files as frames with the time each is shown, and as frames at one steady rate."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from microx.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv"}
)
"""What counts as a video when a folder is searched; a file named outright may end in anything."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video's container says of itself, before a frame is decoded.

    Parameters
    ----------
    path : Path
        The file.
    size_hw : tuple of int
        Height and width in pixels, after the rotation the container asks for.
    frame_rate : float
        Average frames a second; 0 where the container does not say.
    n_frames_claimed : int
        Frames the container promises; what is decoded may differ, and is counted apart.
    codec : str
        Four-letter code, such as ``"h264"``.
    """

    path: Path
    size_hw: tuple[int, int]
    frame_rate: float
    n_frames_claimed: int
    codec: str


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
    timed : bool
        False where the stream gave no usable time, so that `time_s` was reckoned from the
        frame rate.
    """

    index: int
    time_s: float
    rgb: np.ndarray
    timed: bool


def probe_video(path: str | Path) -> VideoInfo:
    """Read what a video's container claims, decoding nothing.

    Raises
    ------
    InputError
        If there is no such file, or OpenCV cannot open it as a video.

    Examples
    --------
    >>> probe_video("S01_happy_1.mp4").frame_rate  # doctest: +SKIP
    30.0
    """
    with _opened(Path(path)) as capture:
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        return VideoInfo(
            path=Path(path),
            size_hw=(
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            ),
            frame_rate=_plausible_rate(capture.get(cv2.CAP_PROP_FPS)),
            n_frames_claimed=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
            codec=code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 "),
        )


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Decode a video frame by frame, each with its presentation time.

    Times come from the stream (OpenCV's ``CAP_PROP_POS_MSEC`` after each read, FFmpeg
    back end), so a variable frame rate stays true. Where a time does not advance, it is
    reckoned from the average rate and the frame is marked ``timed=False``. One frame is
    held at a time.

    Yields
    ------
    Frame
        In order; a file with no decodable frame yields nothing.

    Raises
    ------
    InputError
        If there is no such file, or OpenCV cannot open it as a video.
    """
    with _opened(Path(path)) as capture:
        step_s = 1.0 / (_plausible_rate(capture.get(cv2.CAP_PROP_FPS)) or 30.0)
        start_s = last_s = 0.0
        index = 0
        while True:
            decoded, bgr = capture.read()
            if not decoded:
                return
            shown_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if index == 0:
                start_s = shown_s
            timed = index == 0 or shown_s - start_s > last_s
            last_s = 0.0 if index == 0 else shown_s - start_s if timed else last_s + step_s
            yield Frame(index, last_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), timed)
            index += 1


def resample_frames(
    frames: Iterable[Frame], frame_rate: float = 30.0
) -> Iterator[tuple[float, Frame]]:
    """Show frames at a steady rate, each tick taking the frame nearest in time.

    Ticks stand at ``0, 1/frame_rate, 2/frame_rate, …`` up to half a tick past the last
    frame; a tick halfway between two frames takes the earlier. A slower video repeats
    frames and a faster one leaves some out, never blending two pictures; ``Frame.index``
    tells which was taken.

    Parameters
    ----------
    frames : iterable of Frame
        In order of time, as `read_frames` gives them. Empty gives empty.
    frame_rate : float
        Ticks a second, above 0.

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
    if not frame_rate > 0:
        raise InputError(f"frame_rate must be above 0 frames a second; received {frame_rate}")
    tick = 0
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            # A hair of tolerance, so that rounding never decides a tie.
            middle_s = (held.time_s + frame.time_s) / 2 + 1e-6
            while tick / frame_rate <= middle_s:
                yield tick / frame_rate, held
                tick += 1
        held = frame
    if held is not None:
        while tick / frame_rate < held.time_s + 0.5 / frame_rate:
            yield tick / frame_rate, held
            tick += 1


def find_videos(folder: str | Path) -> list[Path]:
    """List the videos below a folder, sorted by path; hidden files and folders are passed over.

    Raises
    ------
    InputError
        If the folder does not exist or is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: expected a folder of videos; found {found} there")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"{path}: expected a video file; found {found} there")
    # FFmpeg and OpenCV print their own complaints on stderr; ours is the one line that counts.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture()
    try:
        # One thread: workers run one a core, and frames come out the same either way.
        if not capture.open(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]):
            raise InputError(
                f"{path}: expected a video that OpenCV can decode; found {_first_bytes(path)}; "
                "check that it plays, or convert it: ffmpeg -i IN OUT.mp4"
            )
        yield capture
    finally:
        capture.release()
        cv2.utils.logging.setLogLevel(level)


def _first_bytes(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(12)
    size = path.stat().st_size
    return f"{size} bytes that begin with {head!r}" if size else "an empty file"


def _plausible_rate(frame_rate: float) -> float:
    """Average rate, or 0 where the container gives none (NaN, 0, or a 90,000 Hz time base)."""
    return float(frame_rate) if 0 < frame_rate < 2000 else 0.0
