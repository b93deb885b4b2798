"""One video in; crops, landmarks and a ledger of every frame out. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microx.errors import InputError, LandmarkError
from microx.preprocessing.dlib_tracker import DlibTracker, Found, weights_path
from microx.preprocessing.landmarks import Landmarks, read_openface_csv
from microx.preprocessing.openface import find_openface, run_openface
from microx.preprocessing.regions import MARGIN, POLICIES, check_regions, crop_region
from microx.preprocessing.video import Frame, probe_video, read_frames, resample_frames
from microx.schema import CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE, N_LANDMARKS

BACKENDS = ("dlib", "openface", "csv")
CHUNK_FRAMES = 256
"""Frames held at a time, so that memory does not grow with a video's length (our choice)."""

Locate = Callable[[Frame], Found | None]


@dataclass(frozen=True, eq=False)
class PreprocessedVideo:
    """The crops of a video, or of a stretch of it, and an account of every frame.

    Parameters
    ----------
    crops : dict of ndarray of shape (T, size, size, 3), uint8
        Region to RGB crops; black where no face was found.
    landmarks : Landmarks
        Length T; the points are NaN where no face was found.
    box_xyxy : ndarray of shape (T, R, 4), float32
        Where each region was cut, in pixels of the frame, regions in the order of `crops`;
        NaN where it was not cut from this frame.
    source_frame : ndarray of shape (T,), int32
        The decoded frame, from 0, that each of the T steady ticks shows.
    n_decoded : int
        Frames decoded, before they were brought to the steady rate.
    n_untimed : int
        Of these, frames whose time the stream did not give.
    """

    crops: dict[str, np.ndarray]
    landmarks: Landmarks
    box_xyxy: np.ndarray
    source_frame: np.ndarray
    n_decoded: int
    n_untimed: int

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def n_found(self) -> int:
        """Frames in which a face was found."""
        return int(self.landmarks.success.sum())


def preprocess_video(
    path: str | Path,
    *,
    landmarks: str = "dlib",
    regions: Sequence[str] = DEFAULT_REGIONS,
    size: int = CROP_SIZE,
    policy: str = "aligned",
    margin: float = MARGIN,
    frame_rate: float = FRAME_RATE,
    landmarks_csv: str | Path | None = None,
    openface: str | Path | None = None,
) -> PreprocessedVideo:
    """Find the face in every frame of a video and cut its regions out, all held in memory.

    Parameters
    ----------
    path : path
        The video.
    landmarks : {"dlib", "openface", "csv"}
        Who finds the landmarks: the embedded tracker, the OpenFace program, or a CSV that
        OpenFace wrote before, named by `landmarks_csv`.
    regions : sequence of str
        Of `microx.schema.REGIONS`.
    size : int
        Pixels along a side of each crop.
    policy, margin
        See `microx.preprocessing.regions.crop_region`. Under "paper", a crop that fails
        repeats the last one, as the authors' pipeline does; before the first, the frame
        counts as one without a face.
    frame_rate : float
        Frames a second after resampling by time.
    landmarks_csv : path, optional
        For "csv".
    openface : path, optional
        For "openface": the program, where it is not on PATH.

    Returns
    -------
    PreprocessedVideo
        T frames at `frame_rate`.

    Raises
    ------
    InputError
        If the file is no video, has no frame, or an argument is out of range.
    LandmarkError
        If the backend fails, or its CSV does not have one row per decoded frame.

    Examples
    --------
    >>> preprocess_video("S01_happy_1.mp4").crops["mouth"].shape  # doctest: +SKIP
    (45, 32, 32, 3)
    """
    chunks = list(
        stream_video(
            path,
            landmarks=landmarks,
            regions=regions,
            size=size,
            policy=policy,
            margin=margin,
            frame_rate=frame_rate,
            landmarks_csv=landmarks_csv,
            openface=openface,
        )
    )
    parts = [chunk.landmarks for chunk in chunks]
    return PreprocessedVideo(
        crops={
            region: np.concatenate([chunk.crops[region] for chunk in chunks])
            for region in chunks[0].crops
        },
        landmarks=Landmarks(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("xy", "confidence", "success", "timestamp")
            )
        ),
        box_xyxy=np.concatenate([chunk.box_xyxy for chunk in chunks]),
        source_frame=np.concatenate([chunk.source_frame for chunk in chunks]),
        n_decoded=chunks[-1].n_decoded,
        n_untimed=chunks[-1].n_untimed,
    )


def stream_video(
    path: str | Path,
    *,
    landmarks: str = "dlib",
    regions: Sequence[str] = DEFAULT_REGIONS,
    size: int = CROP_SIZE,
    policy: str = "aligned",
    margin: float = MARGIN,
    frame_rate: float = FRAME_RATE,
    landmarks_csv: str | Path | None = None,
    openface: str | Path | None = None,
) -> Iterator[PreprocessedVideo]:
    """Do what `preprocess_video` does, a stretch of at most `CHUNK_FRAMES` frames at a time.

    In each stretch, `n_decoded` and `n_untimed` count from the start of the video. A fault
    that shows only at the end, such as a CSV of too few rows, is raised at the end: keep
    nothing of a video until the last stretch has come.
    """
    regions = check_regions(regions)
    check_cropping(size=size, policy=policy, margin=margin, frame_rate=frame_rate)
    locate, n_rows = _locator(Path(path), landmarks, landmarks_csv, openface)
    decoding = _Decoding(Path(path), locate)
    cutter = _Cutter(regions, size, policy, margin)
    ticks: list[_Tick] = []
    for time_s, frame in resample_frames(decoding, frame_rate):
        ticks.append(cutter.cut(time_s, frame, decoding.found[frame.index]))
        if len(ticks) == CHUNK_FRAMES:
            yield _pack(ticks, regions, decoding)
            ticks = []
    if decoding.n_decoded == 0:
        claimed = probe_video(path).n_frames_claimed
        raise InputError(f"{path}: expected a video; found no frame to decode ({claimed} claimed)")
    if n_rows is not None and n_rows != decoding.n_decoded:
        raise LandmarkError(
            f"{path}: expected landmarks for the {decoding.n_decoded} frames decoded; found "
            f"{n_rows} rows; run OpenFace again on this very file"
        )
    if ticks:
        yield _pack(ticks, regions, decoding)


def check_cropping(*, size: int, policy: str, margin: float, frame_rate: float) -> None:
    """Raise `InputError` where a setting of the pipeline is out of its range."""
    if policy not in POLICIES:
        raise InputError(f"crop policy {policy!r} is unknown; known: {', '.join(POLICIES)}")
    for name, value, low, high in (
        ("size", size, 4, 1024),
        ("margin", margin, 0, 2),
        ("frame_rate", frame_rate, 0.1, 1000),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} must be from {low} to {high}; received {value}")


def check_backend(
    landmarks: str,
    *,
    openface: str | Path | None = None,
    landmarks_dir: str | Path | None = None,
) -> None:
    """Raise where a landmark backend cannot run at all, before any video is blamed for it.

    Raises
    ------
    LandmarkError
        If dlib's weights or the OpenFace program are not there.
    InputError
        If the backend is unknown, or the folder of CSVs is not there.
    """
    if landmarks == "dlib":
        weights_path()
    elif landmarks == "openface":
        find_openface(openface)
    elif landmarks == "csv":
        if landmarks_dir is None or not Path(landmarks_dir).is_dir():
            raise InputError(
                f"landmarks 'csv' need a folder of CSVs; found {landmarks_dir or 'none named'}; "
                "name it with --landmarks-dir"
            )
    else:
        raise InputError(f"landmarks {landmarks!r} are unknown; known: {', '.join(BACKENDS)}")


def _locator(
    path: Path, backend: str, landmarks_csv: str | Path | None, openface: str | Path | None
) -> tuple[Locate, int | None]:
    """Say how a decoded frame gets its landmarks, and how many frames are known beforehand."""
    if backend == "dlib":
        tracker = DlibTracker()
        return lambda frame: tracker.locate(frame.rgb), None
    if backend == "openface":
        table = run_openface(path, program=openface)
    elif backend == "csv":
        if landmarks_csv is None:
            raise InputError(f"{path}: landmarks 'csv' needs the CSV; found none named")
        table = read_openface_csv(landmarks_csv)
    else:
        raise InputError(f"landmarks {backend!r} are unknown; known: {', '.join(BACKENDS)}")

    def look_up(frame: Frame) -> Found | None:
        if frame.index >= len(table) or not table.success[frame.index]:
            return None
        return Found(table.xy[frame.index], float(table.confidence[frame.index]))

    return look_up, len(table)


class _Decoding:
    """Decoded frames passed on in order, each looked at once for its face, and counted."""

    def __init__(self, path: Path, locate: Locate) -> None:
        self._path, self._locate = path, locate
        self.n_decoded = self.n_untimed = 0
        self.found: dict[int, Found | None] = {}

    def __iter__(self) -> Iterator[Frame]:
        for frame in read_frames(self._path):
            self.n_decoded += 1
            self.n_untimed += not frame.timed
            # Resampling looks one frame ahead, so two are enough to remember.
            self.found.pop(frame.index - 2, None)
            self.found[frame.index] = self._locate(frame)
            yield frame


@dataclass(frozen=True, eq=False)
class _Tick:
    time_s: float
    source_frame: int
    xy: np.ndarray
    confidence: float
    success: bool
    crops: list[np.ndarray]
    box_xyxy: np.ndarray


class _Cutter:
    """Cuts the regions of one frame after another, repeating a crop where the paper does."""

    def __init__(self, regions: tuple[str, ...], size: int, policy: str, margin: float) -> None:
        self._regions, self._size = regions, size
        self._policy, self._margin = policy, margin
        self._last: dict[str, np.ndarray] = {}

    def cut(self, time_s: float, frame: Frame, found: Found | None) -> _Tick:
        black = np.zeros((self._size, self._size, 3), np.uint8)
        boxes = np.full((len(self._regions), 4), np.nan, np.float32)
        crops: list[np.ndarray | None] = [None] * len(self._regions)
        if found is not None:
            for place, region in enumerate(self._regions):
                crops[place], boxes[place] = crop_region(
                    frame.rgb,
                    found.xy,
                    region,
                    size=self._size,
                    policy=self._policy,
                    margin=self._margin,
                )
                if crops[place] is None and self._policy == "paper":
                    crops[place] = self._last.get(region)
        whole = [crop for crop in crops if crop is not None]
        success = found is not None and len(whole) == len(self._regions)
        if success:
            self._last = dict(zip(self._regions, whole, strict=True))
        else:
            boxes[:] = np.nan
        return _Tick(
            time_s=time_s,
            source_frame=frame.index,
            xy=found.xy if success and found else np.full((N_LANDMARKS, 2), np.nan, np.float32),
            confidence=found.confidence if found else 0.0,
            success=success,
            crops=whole if success else [black] * len(self._regions),
            box_xyxy=boxes,
        )


def _pack(ticks: list[_Tick], regions: tuple[str, ...], decoding: _Decoding) -> PreprocessedVideo:
    return PreprocessedVideo(
        crops={
            region: np.stack([tick.crops[place] for tick in ticks])
            for place, region in enumerate(regions)
        },
        landmarks=Landmarks(
            xy=np.stack([tick.xy for tick in ticks]).astype(np.float32),
            confidence=np.array([tick.confidence for tick in ticks], np.float32),
            success=np.array([tick.success for tick in ticks], bool),
            timestamp=np.array([tick.time_s for tick in ticks], np.float64),
        ),
        box_xyxy=np.stack([tick.box_xyxy for tick in ticks]),
        source_frame=np.array([tick.source_frame for tick in ticks], np.int32),
        n_decoded=decoding.n_decoded,
        n_untimed=decoding.n_untimed,
    )
