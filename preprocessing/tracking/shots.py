"""Shot cuts: where a video jumps from one scene to another."""

from __future__ import annotations

import cv2
import numpy as np

# Our choice, tried on real videos: a cut changes most of the small image at once, by far
# more than the frames before it changed.
_SMALL_WH = (48, 27)
_LEAST_CHANGE = 18.0  # grey levels, mean over the image
_TIMES_USUAL = 4.0
_MEMORY = 0.8  # share of the usual change that is kept from frame to frame


class CutFinder:
    """Decides, frame by frame, whether a shot cut comes before it.

    Examples
    --------
    >>> finder, dark = CutFinder(), np.zeros((90, 160), np.uint8)
    >>> [finder.is_cut(grey) for grey in (dark, dark, dark + 200, dark + 200)]
    [False, False, True, False]
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._usual = 0.0

    def is_cut(self, grey: np.ndarray) -> bool:
        """Look at the next frame, ``(H, W)`` uint8; the first is never a cut."""
        # Subsample first: an exact mean over a large frame costs more than it is worth.
        step = max(1, min(grey.shape) // 180)
        small = cv2.resize(grey[::step, ::step], _SMALL_WH, interpolation=cv2.INTER_AREA)
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(cv2.absdiff(small, last).mean())
        cut = change > max(_LEAST_CHANGE, _TIMES_USUAL * self._usual)
        # A cut says nothing about how much this video usually moves.
        if not cut:
            self._usual = _MEMORY * self._usual + (1 - _MEMORY) * change
        return cut
