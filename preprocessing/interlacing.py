"""Interlaced video: frames whose even lines were taken at another time than their odd ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from microx.errors import InputError

DEINTERLACE = "ffmpeg -i IN -vf bwdif OUT.mp4"
"""The command that makes a video of whole frames from one of fields."""

_STALE_FRAMES = 10
"""Equal frames at the beginning of a video from which it is asked why (our choice)."""

_REFUSAL = b"Cannot convert interlaced"
_DECODE = "import cv2, sys; cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG).read()"

_LEAST_RATIO = 1.04
"""How much better one order of fields must fit than the other; that of FFmpeg's ``idet``."""

_MOST_OF_OWN = 2.0
"""How much worse the lines of the frames beside may fit than a combed frame's own: of a video that
pans up and down, one order fits better, too (our choice)."""

_LEAST_FRAMES, _LEAST_SHARE = 5, 0.2
"""Combed frames, and their share, from which a video is interlaced. Of 18 real progressive videos
at most 3 % of the frames were taken for combed; of one interlaced and compressed hard, 73 % (our
choice)."""

N_COMB_FRAMES = 100
"""Frames of a video in which combs are looked for (our choice)."""

_COLUMN_STEP = 4  # every fourth column tells as much and costs a quarter (our choice)


class CombFinder:
    """Finds combs in moving frames, as they remain where nobody deinterlaced.

    The lines of a frame that were taken earlier fit between those of the frame before, the
    later ones between those of the frame after. In one order of the fields that fits better
    than in the other; in a progressive video neither does. A still scene tells nothing.

    Source: FFmpeg 7, ``libavfilter/vf_idet.c``; the share of frames from which a video counts
    as interlaced is ours.

    Examples
    --------
    >>> finder = CombFinder()
    >>> for _ in range(9):
    ...     finder.look(np.zeros((48, 64), np.uint8))
    >>> finder.is_interlaced
    False
    """

    def __init__(self) -> None:
        self._before: list[np.ndarray] = []
        self.n_looked = 0
        self._n_top_first = self._n_bottom_first = 0

    def look(self, grey: np.ndarray) -> None:
        """Look at the next frame, ``(H, W)`` uint8, upright as it was stored."""
        self._before.append(grey[:, ::_COLUMN_STEP].astype(np.int16))
        if len(self._before) < 3:
            return
        before, now, after = self._before
        del self._before[0]
        if before.shape != now.shape or now.shape != after.shape or len(now) < 4:
            return
        beside = now[:-2] + now[2:]  # of each line but the first and last: those above and below
        earlier = np.abs(beside - 2 * before[1:-1]).sum(axis=1, dtype=np.int64)  # (H - 2,)
        later = np.abs(beside - 2 * after[1:-1]).sum(axis=1, dtype=np.int64)
        odd, even = slice(0, None, 2), slice(1, None, 2)
        # A line of the other field, put in place of the frame's own, fits where it was taken last.
        top_first = int(earlier[even].sum() + later[odd].sum())
        bottom_first = int(earlier[odd].sum() + later[even].sum())
        self.n_looked += 1
        own = int(np.abs(beside - 2 * now[1:-1]).sum(dtype=np.int64))
        if min(top_first, bottom_first) > _MOST_OF_OWN * own:
            return  # its own lines fit: it moves, and is whole
        self._n_top_first += top_first * _LEAST_RATIO < bottom_first
        self._n_bottom_first += bottom_first * _LEAST_RATIO < top_first

    @property
    def n_combed(self) -> int:
        """Frames that are combed, of the more frequent order of fields, less the others."""
        return abs(self._n_top_first - self._n_bottom_first)

    @property
    def is_interlaced(self) -> bool:
        """Whether enough frames are combed, and in one order."""
        return self.n_combed >= max(_LEAST_FRAMES, _LEAST_SHARE * self.n_looked)


def check_converted(path: Path, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the decoded frames of a file, unless OpenCV does not convert them.

    FFmpeg refuses to convert the colours of frames that are marked as interlaced. OpenCV (4.13
    and 4.14) passes over that and gives, for each of them, what lay in memory: black, or
    another image; only FFmpeg's log tells. A video that begins with equal frames is
    therefore decoded once more, by a process whose log can be read. See vllm-project/vllm, pull
    request 47853.

    Raises
    ------
    InputError
        If the frames are not converted, when the `_STALE_FRAMES`-th or the last is asked for.
    """
    first: np.ndarray | None = None
    n_alike = 0
    for bgr in frames:
        if n_alike == 0:
            first, n_alike = bgr, 1
        elif first is not None:
            n_alike += 1
            if not np.array_equal(first, bgr):
                first = None
            elif n_alike == _STALE_FRAMES:
                _refuse_unconverted(path)
                first = None
        yield bgr
    if first is not None and n_alike > 1:
        _refuse_unconverted(path)


def _refuse_unconverted(path: Path) -> None:
    command = [sys.executable, "-c", _DECODE, str(path.absolute())]
    told = subprocess.run(
        command, capture_output=True, env=os.environ | {"OPENCV_FFMPEG_LOGLEVEL": "16"}, check=False
    )
    if _REFUSAL in told.stdout + told.stderr:  # some builds log on stdout
        raise InputError(
            f"{path}: expected a video that OpenCV can show; found an interlaced one, whose frames "
            f"it does not convert; deinterlace it: {DEINTERLACE}"
        )
