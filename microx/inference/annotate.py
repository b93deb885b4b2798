"""A video with what a model predicts drawn into it: a box about each face, label and percentage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from microx.errors import InputError
from microx.files import whole_file
from microx.inference.prediction import CLIP, Prediction
from microx.plotting import emotion_colours
from microx.preprocessing.preprocessed import FaceFrames, Ledger
from microx.preprocessing.video import read_frames, resample_frames
from microx.schema import FRAME_RATE

_TEXT_SHARE, _LEAST_TEXT = 0.04, 12  # height of a text, of the frame's and in pixels (our choice)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class FaceBoxes:
    """Where each face of a video is, tick by tick: the box about its landmarks."""

    def __init__(self) -> None:
        """Begin with none."""
        self._pieces: dict[int, list[tuple[int, npt.NDArray[np.float32]]]] = {}

    def watch(self, piece: FaceFrames) -> None:
        """Take the next stretch of a face."""
        xy = piece.landmarks.xy
        boxes = np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)  # NaN where none
        self._pieces.setdefault(piece.face, []).append((piece.start, boxes))

    def of_face(self, face: int, n_ticks: int) -> npt.NDArray[np.float32]:
        """Left, top, right and bottom at each tick, (n_ticks, 4); NaN where it is not seen."""
        boxes = np.full((n_ticks, 4), np.nan, np.float32)
        for start, piece in self._pieces.get(face, ()):
            boxes[start : start + len(piece)] = piece
        return boxes


def write_annotated(
    video: str | Path,
    path: str | Path,
    predictions: Mapping[int, Prediction],
    boxes: FaceBoxes,
    ledger: Ledger,
    *,
    frame_rate: float | None = FRAME_RATE,
    input_fps: float | None = None,
) -> Path:
    """Write a video again with box, label and percentage at each face.

    Parameters
    ----------
    video : path
        The video that was predicted.
    path : path
        File to write: MPEG-4 in ``.mp4``, without sound, since OpenCV writes none.
    predictions : mapping of int to Prediction
        By face. A frame shows the label of the clip whose middle is nearest, and of this its
        probability; a face that is seen but in no clip gets a grey box without a label.
    boxes : FaceBoxes
        Of the same reading of the video.
    ledger : Ledger
        Of the video.
    frame_rate, input_fps
        As the video was read; with None, frames are shown at their mean rate.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If OpenCV cannot write it.
    """
    video, path, n_ticks = Path(video), Path(path), len(ledger)
    drawn = [
        (_Labels(prediction, ledger), boxes.of_face(face, n_ticks))
        for face, prediction in predictions.items()
    ]
    rate = frame_rate or 1 / (ledger.step_s or 1 / FRAME_RATE)
    size_wh = ledger.size_hw[::-1]
    with whole_file(path) as unfinished:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(unfinished), code, rate, size_wh)
        if not writer.isOpened():
            raise InputError(f"{path}: expected to write a video there; OpenCV could not")
        try:
            ticks = resample_frames(read_frames(video, input_fps=input_fps), frame_rate)
            for tick, (_, frame) in zip(range(n_ticks), ticks, strict=False):
                bgr = np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), np.uint8)
                for labels, places in drawn:
                    if np.isfinite(places[tick]).all():
                        _draw(bgr, places[tick], *labels.at(tick))
                writer.write(bgr)
        finally:
            writer.release()
    return path


class _Labels:
    """The label of a face at each tick, its colour in BGR, and a text; none outside of clips."""

    def __init__(self, prediction: Prediction, ledger: Ledger) -> None:
        clips = np.flatnonzero(prediction.status == CLIP)
        middles = prediction.times_s[clips]
        borders = (middles[1:] + middles[:-1]) / 2
        shown_s = ledger.timestamp + ledger.step_s / 2  # the middle of a tick
        self._clip = clips[np.searchsorted(borders, shown_s)]  # of the nearest middle
        starts, ends = prediction.start_s[self._clip], prediction.end_s[self._clip]
        self._is_within = (starts <= shown_s) & (shown_s <= ends)
        self._prediction = prediction
        self._bgr = [
            tuple(int(name[at : at + 2], 16) for at in (5, 3, 1))
            for name in emotion_colours(prediction.classes)
        ]

    def at(self, tick: int) -> tuple[tuple[int, ...], str]:
        """Colour and text at a tick."""
        if not self._is_within[tick]:
            return (128, 128, 128), ""
        y_prob = self._prediction.y_prob[self._clip[tick]]
        best = int(y_prob.argmax())
        return self._bgr[best], f"{self._prediction.classes[best]} {y_prob[best]:.0%}"


def _draw(
    bgr: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], colour: tuple[int, ...], text: str
) -> None:
    """Draw a box, and above it, or below where there is no room, a text on a plate."""
    left, top, right, bottom = (round(float(place)) for place in box)
    thin = max(1, bgr.shape[0] // 240)
    cv2.rectangle(bgr, (left, top), (right, bottom), colour, thin)
    if not text:
        return
    height = max(_LEAST_TEXT, round(_TEXT_SHARE * bgr.shape[0]))
    scale = cv2.getFontScaleFromHeight(_FONT, height, thin)
    (width, _), below = cv2.getTextSize(text, _FONT, scale, thin)
    foot = top - below - thin if top >= height + 2 * below else bottom + height + below + thin
    left = max(0, min(left, bgr.shape[1] - width))
    cv2.rectangle(bgr, (left, foot - height - below), (left + width, foot + below), colour, -1)
    is_light = np.dot(colour, (0.114, 0.587, 0.299)) > 128  # grey of BGR (ITU-R BT.601)
    ink = (0, 0, 0) if is_light else (255, 255, 255)
    cv2.putText(bgr, text, (left, foot), _FONT, scale, ink, thin, cv2.LINE_AA)
