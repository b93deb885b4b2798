"""One video in; crops, landmarks and a ledger of every frame out. Writes nothing.

Each frame is decoded once and goes through these stages: shot cuts, faces, short gaps
filled, a steady rate, the occluder if requested, crops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from microx.errors import InputError, LandmarkError
from microx.preprocessing.interlacing import N_COMB_FRAMES, CombFinder
from microx.preprocessing.landmarks import Landmarks, outer_eye_distance, read_landmarks_csv
from microx.preprocessing.occlusion.occluder import Occluder, choose_occluder, parse_occlusions
from microx.preprocessing.openface import OpenFace, run_openface
from microx.preprocessing.preprocessed import FaceFrames, Ledger, PreprocessedVideo
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.regions import crop_region
from microx.preprocessing.tracking.dlib import CroppedFaces, DlibTracker
from microx.preprocessing.tracking.faces import Face, Sighting, Status, TableFaces, fill_gaps
from microx.preprocessing.tracking.shots import CutFinder
from microx.preprocessing.video import (
    Frame,
    count_claimed,
    probe_video,
    read_frames,
    resample_frames,
)
from microx.progress import Progress
from microx.schema import N_LANDMARKS

_HOLE_S = 0.5
"""Seconds without a frame from which a step far beyond the usual is a hole (our choice)."""

CHUNK_FRAMES, CHUNK_BYTES = 256, 64 * 2**20
"""Most of a face held at a time, so that memory does not grow with a video (our choice)."""


def preprocess_video(
    path: str | Path,
    *,
    landmarks_csv: str | Path | None = None,
    openface: str | Path | OpenFace | None = None,
    **settings: Any,
) -> PreprocessedVideo:
    """Find the main face in every frame of a video and cut its regions out, all in memory.

    Parameters
    ----------
    path : path
        A video, an image, or a folder of images.
    landmarks_csv : path, optional
        For ``landmarks="csv"``.
    openface : str or path, optional
        For ``landmarks="openface"``: the command, where the program is not on PATH.
    **settings
        Fields of `Recipe`: landmarks, faces, regions, size, policy, margin, frame_rate,
        min_face, max_gap, occlude, occlude_seed, input_fps.

    Returns
    -------
    PreprocessedVideo
        T frames; all of them NO_FACE where there is none.

    Raises
    ------
    InputError
        If the file is not a video, has no frame, or an argument is out of range.
    LandmarkError
        If the backend fails, or its table does not have one row per decoded frame.

    Examples
    --------
    >>> preprocess_video("S01_happy_1.mp4").crops["mouth"].shape
    (24, 32, 32, 3)
    """
    recipe = Recipe.of(**settings)
    if recipe.faces == "all":
        raise InputError("preprocess_video gives one face; for all, use stream_video")
    stream = stream_video(path, recipe, landmarks_csv=landmarks_csv, openface=openface)
    pieces = list(stream)
    ledger, main = stream.ledger, stream.main_face
    whole = _nothing(recipe, ledger)
    for piece in pieces:
        at = slice(piece.start, piece.start + len(piece))
        if piece.face != main:
            seen = whole.status[at]
            seen[(seen == Status.NO_FACE) & piece.landmarks.success] = Status.OTHER_FACE
            continue
        for region, crops in piece.crops.items():
            whole.crops[region][at] = crops
        for name in ("xy", "confidence", "success"):
            getattr(whole.landmarks, name)[at] = getattr(piece.landmarks, name)
        for name in ("box_xyxy", "status", "segment"):
            getattr(whole, name)[at] = getattr(piece, name)
    return whole


def stream_video(
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str | None = None,
    landmarks_csv: str | Path | None = None,
    openface: str | Path | OpenFace | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
) -> VideoStream:
    """Do what `preprocess_video` does, for every face, a stretch at a time.

    Parameters
    ----------
    path, landmarks_csv, openface
        See `preprocess_video`.
    recipe : Recipe, optional
    name : str, optional
        What the choice of an occluder depends on; the file's name where None.
    timeout_s : float, optional
        Seconds that OpenFace may take.
    progress : callable, optional
        Called with the frames decoded, the frames claimed, and the video's name.

    Returns
    -------
    VideoStream
        To be iterated once.
    """
    return VideoStream(
        Path(path), recipe or Recipe(), name, landmarks_csv, openface, timeout_s, progress
    )


class VideoStream:
    """The faces of a video, in stretches, see `stream_video`.

    Iterating decodes the video and gives `FaceFrames`; those of one face come in order. A
    fault that shows only at the end, such as a table of too few rows, is raised at the end:
    keep nothing before it. Then `ledger` and `main_face` are available.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        name: str | None,
        landmarks_csv: str | Path | None,
        openface: str | Path | OpenFace | None,
        timeout_s: float | None,
        progress: Progress | None,
    ) -> None:
        self.path, self.recipe = path, recipe
        self._landmarks_csv, self._openface, self._timeout_s = landmarks_csv, openface, timeout_s
        self._progress = progress
        self._occluder = choose_occluder(
            parse_occlusions(recipe.occlude), recipe.occlude_seed, name or path.name
        )
        self._ledger: Ledger | None = None
        self._presence: dict[int, float] = {}

    @property
    def occluder(self) -> str:
        """The occluder drawn on the faces, one of `OCCLUSIONS`, or ""."""
        return self._occluder.kind if self._occluder else ""

    @property
    def ledger(self) -> Ledger:
        """The ledger of every frame; known when the last stretch has been read."""
        if self._ledger is None:
            raise InputError(f"{self.path}: the ledger is not known before the video's end")
        return self._ledger

    @property
    def main_face(self) -> int:
        """The face seen the most, by the sum of its outer-eye distances; 0 where there is none."""
        return max(self._presence, key=lambda face: self._presence[face], default=0)

    def _refuse_mirrored(self) -> None:
        """Refuse tables of programs that pass over the mirror a video asks for."""
        if probe_video(self.path, input_fps=self.recipe.input_fps).orientation.mirrored:
            raise InputError(
                f"{self.path}: asks to be shown mirrored, which other programs pass over, so that "
                "their landmarks do not fit; use `landmarks=dlib`, or store it as it is shown: "
                "ffmpeg -i IN OUT.mp4"
            )

    def __iter__(self) -> Iterator[FaceFrames]:
        if self.recipe.landmarks in ("openface", "csv"):
            self._refuse_mirrored()
        n_claimed = count_claimed(self.path, input_fps=self.recipe.input_fps)
        tables = self._tables(n_claimed)
        locate = self._locator(tables)
        decoding = _Decoding(self.path, self.recipe, locate, n_claimed, self._progress)
        collector = _Collector(self.recipe, decoding, self._occluder)
        for time_s, frame in resample_frames(decoding, self.recipe.frame_rate):
            yield from self._counted(collector.take(time_s, frame))
        if decoding.n_decoded == 0:
            raise InputError(
                f"{self.path}: expected a video; found no frame to decode ({n_claimed} claimed)"
            )
        self._check_rows(tables, decoding.n_decoded)
        yield from self._counted(collector.finish())
        self._ledger = collector.ledger(n_claimed)

    def _counted(self, pieces: Iterator[FaceFrames]) -> Iterator[FaceFrames]:
        for piece in pieces:
            seen = piece.landmarks.xy[piece.landmarks.success]
            size = float(outer_eye_distance(seen).sum())
            self._presence[piece.face] = self._presence.get(piece.face, 0.0) + size
            yield piece

    def _tables(self, n_claimed: int) -> list[Landmarks] | None:
        several = self.recipe.faces == "all"
        if self.recipe.landmarks in ("dlib", "none"):
            return None
        if self.recipe.landmarks == "openface":
            return self._run_openface(n_claimed, several=several)
        if self._landmarks_csv is None:
            raise InputError(f"{self.path}: landmarks 'csv' need the CSV; none was given")
        tables = read_landmarks_csv(self._landmarks_csv, several=several or None)
        if not tables and not several:
            raise LandmarkError(
                f"{self._landmarks_csv}: expected a row for each frame; found none below the header"
            )
        return tables

    def _run_openface(self, n_claimed: int, *, several: bool) -> list[Landmarks]:
        if self.path.is_dir():
            raise InputError(
                f"{self.path}: landmarks 'openface' are of video files; found a folder of images; "
                "use `landmarks=dlib`, or csv"
            )

        def advance(done: int, total: int, what: str) -> None:
            if self._progress:
                self._progress(done, max(done, total, n_claimed), what)

        return run_openface(
            self.path,
            command=self._openface,
            several=several,
            timeout_s=self._timeout_s,
            progress=advance,
        )

    def _locator(self, tables: list[Landmarks] | None) -> _Locator:
        if tables is not None:
            return TableFaces(tables, self.recipe.max_gap)
        if self.recipe.faces == "cropped":
            return CroppedFaces(fit=self.recipe.landmarks != "none")
        return DlibTracker(self.recipe.max_gap)

    def _check_rows(self, tables: list[Landmarks] | None, n_decoded: int) -> None:
        if not tables:
            return
        # A program that follows several faces writes no row for a frame without any.
        n_rows = len(tables[0])
        every_frame = self.recipe.faces != "all" and len(tables) == 1
        if n_rows > n_decoded or (every_frame and n_rows < n_decoded):
            raise LandmarkError(
                f"{self.path}: expected landmarks for the {n_decoded} frames decoded; found "
                f"{n_rows} rows; run the landmark program again on this very file"
            )


class _Locator(Protocol):
    def locate(self, rgb: np.ndarray, *, cut: bool = False) -> Sighting: ...


class _Decoding:
    """Decoded frames passed on in order, each searched once for cuts and faces, and counted."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        locator: _Locator,
        n_claimed: int,
        progress: Progress | None,
    ) -> None:
        self._path, self._recipe, self._locator = path, recipe, locator
        self._n_claimed, self._progress = n_claimed, progress
        self.n_decoded = self.n_untimed = self.n_cuts = 0
        self._holes: deque[tuple[float, float]] = deque(maxlen=4)  # times without a frame
        self.size_hw = (0, 0)
        self.combs = CombFinder()
        self.sightings: dict[int, Sighting] = {}
        self.identities: dict[int, int] = {}
        self.rejected: set[int] = set()

    def __iter__(self) -> Iterator[Frame]:
        for frame, sighting in fill_gaps(self._looked_at(), self._recipe.max_gap):
            self.identities |= sighting.identities
            self.rejected |= sighting.rejected
            # Resampling looks one frame ahead, so two are enough to remember.
            self.sightings.pop(frame.index - 2, None)
            self.sightings[frame.index] = sighting
            yield frame

    def shows(self, time_s: float) -> bool:
        """Whether a frame is shown at a time: not in the middle of a hole."""
        return not any(start < time_s < end for start, end in self._holes)

    def _looked_at(self) -> Iterator[tuple[Frame, Sighting]]:
        cuts, steps, last_s = CutFinder(), deque[float](maxlen=31), 0.0
        for frame in read_frames(self._path, input_fps=self._recipe.input_fps):
            cut = cuts.is_cut(frame.rgb[..., 1])  # green is near enough to grey
            if self._is_hole(frame.time_s - last_s, steps):
                cut = True
                self._holes.append((last_s + _HOLE_S / 2, frame.time_s - _HOLE_S / 2))
            last_s = frame.time_s
            self.n_decoded += 1
            self.n_untimed += not frame.timed
            self.n_cuts += cut
            if frame.index < N_COMB_FRAMES:
                self.combs.look(frame.rgb[..., 1])
            self.size_hw = frame.rgb.shape[:2]
            if self._progress and self.n_decoded % 16 == 0:
                total = max(self.n_decoded, self._n_claimed)
                self._progress(self.n_decoded, total, self._path.name)
            yield frame, self._locator.locate(frame.rgb, cut=cut)
        if self._progress:
            self._progress(self.n_decoded, self.n_decoded, self._path.name)

    def _is_hole(self, step_s: float, steps: deque[float]) -> bool:
        """Whether a step in time is far beyond the latest ones; it is added to them."""
        known = len(steps) >= 5
        usual_s = float(np.median(steps)) if known else 0.0
        steps.append(step_s)
        return known and step_s > max(_HOLE_S, (self._recipe.max_gap + 1) * usual_s)


@dataclass(frozen=True, eq=False)
class _Tick:
    """One face at one tick: `crops` and `box_xyxy` in the order of the regions."""

    face: Face
    status: Status
    crops: list[np.ndarray] | None
    box_xyxy: np.ndarray


class _Collector:
    """Crops the faces tick by tick and joins those of one segment into stretches.

    The frames of a segment are held until its identity is known.
    """

    def __init__(self, recipe: Recipe, decoding: _Decoding, occluder: Occluder | None) -> None:
        self._recipe, self._decoding, self._occluder = recipe, decoding, occluder
        self._open: dict[int, tuple[int, list[_Tick]]] = {}  # segment: its first tick held, ticks
        self._last_crops: dict[int, list[np.ndarray]] = {}
        self._times: list[float] = []
        self._sources: list[int] = []
        tick_bytes = 3 * recipe.size**2 * len(recipe.regions)
        self._most = max(1, min(CHUNK_FRAMES, CHUNK_BYTES // tick_bytes))

    def take(self, time_s: float, frame: Frame) -> Iterator[FaceFrames]:
        """Take the next tick; give what is complete."""
        index = len(self._times)
        self._times.append(time_s)
        self._sources.append(frame.index)
        faces = {
            segment: face
            for segment, face in self._decoding.sightings[frame.index].faces.items()
            if segment not in self._decoding.rejected and self._decoding.shows(time_s)
        }
        rgb = frame.rgb
        if self._occluder is not None:
            for face in faces.values():
                rgb = self._occluder.apply(rgb, face.xy)
        for segment, face in faces.items():
            self._open.setdefault(segment, (index, []))[1].append(self._cut(segment, face, rgb))
        for segment in list(self._open):
            full = len(self._open[segment][1]) >= self._most
            if segment not in faces or (full and segment in self._decoding.identities):
                yield from self._close(segment, ended=segment not in faces)

    def finish(self) -> Iterator[FaceFrames]:
        """Give what is left when the video has ended."""
        for segment in list(self._open):
            yield from self._close(segment, ended=True)

    def ledger(self, n_claimed: int) -> Ledger:
        """The video's ledger, when it has ended."""
        decoding = self._decoding
        return Ledger(
            timestamp=np.array(self._times, np.float64),
            source_frame=np.array(self._sources, np.int32),
            size_hw=decoding.size_hw,
            n_claimed=n_claimed,
            n_decoded=decoding.n_decoded,
            n_untimed=decoding.n_untimed,
            n_cuts=decoding.n_cuts,
            n_rejected=len(decoding.rejected - decoding.identities.keys()),
            n_combed=decoding.combs.n_combed if decoding.combs.is_interlaced else 0,
        )

    def _close(self, segment: int, *, ended: bool) -> Iterator[FaceFrames]:
        """Give what is held of a segment, if its identity is known."""
        identity = self._decoding.identities.get(segment)
        if identity is None:
            if ended:
                del self._open[segment]
                self._decoding.rejected.add(segment)
            return
        start, ticks = self._open.pop(segment)
        if ended:
            self._last_crops.pop(segment, None)
        yield _pack(ticks, identity, segment, start, self._times, self._recipe)

    def _cut(self, segment: int, face: Face, rgb: np.ndarray) -> _Tick:
        boxes = np.full((len(self._recipe.regions), 4), np.nan, np.float32)
        if outer_eye_distance(face.xy) < self._recipe.min_face:
            return _Tick(face, Status.SMALL_FACE, None, boxes)
        crops: list[np.ndarray] = []
        last = self._last_crops.get(segment) if self._recipe.policy == "paper" else None
        for place, region in enumerate(self._recipe.regions):
            crop, boxes[place] = crop_region(
                rgb,
                None if self._recipe.landmarks == "none" else face.xy,
                region,
                size=self._recipe.size,
                policy=self._recipe.policy,
                margin=self._recipe.margin,
            )
            if crop is None:
                if last is None:
                    return _Tick(face, Status.FAILED_CROP, None, np.full_like(boxes, np.nan))
                crop = last[place]
            crops.append(crop)
        if self._recipe.policy == "paper":
            self._last_crops[segment] = crops
        return _Tick(face, face.status, crops, boxes)


def _pack(
    ticks: list[_Tick],
    face: int,
    segment: int,
    start: int,
    times: list[float],
    recipe: Recipe,
) -> FaceFrames:
    black = [np.zeros((recipe.size, recipe.size, 3), np.uint8)] * len(recipe.regions)
    whole = np.array([tick.crops is not None for tick in ticks])
    nowhere = np.full((N_LANDMARKS, 2), np.nan, np.float32)
    return FaceFrames(
        face=face,
        start=start,
        crops={
            region: np.stack([(tick.crops or black)[place] for tick in ticks])
            for place, region in enumerate(recipe.regions)
        },
        landmarks=Landmarks(
            xy=np.stack([tick.face.xy if tick.crops else nowhere for tick in ticks]),
            confidence=np.array([tick.face.confidence for tick in ticks], np.float32),
            success=whole,
            timestamp=np.array(times[start : start + len(ticks)], np.float64),
        ),
        box_xyxy=np.stack([tick.box_xyxy for tick in ticks]),
        status=np.array([tick.status for tick in ticks], np.uint8),
        segment=np.where(whole, segment, -1).astype(np.int32),
    )


def _nothing(recipe: Recipe, ledger: Ledger) -> PreprocessedVideo:
    """A video without a face."""
    n_ticks, shape = len(ledger), (len(ledger), recipe.size, recipe.size, 3)
    return PreprocessedVideo(
        face=0,
        start=0,
        crops={region: np.zeros(shape, np.uint8) for region in recipe.regions},
        landmarks=Landmarks(
            xy=np.full((n_ticks, N_LANDMARKS, 2), np.nan, np.float32),
            confidence=np.zeros(n_ticks, np.float32),
            success=np.zeros(n_ticks, bool),
            timestamp=ledger.timestamp,
        ),
        box_xyxy=np.full((n_ticks, len(recipe.regions), 4), np.nan, np.float32),
        status=np.full(n_ticks, Status.NO_FACE, np.uint8),
        segment=np.full(n_ticks, -1, np.int32),
        ledger=ledger,
    )
