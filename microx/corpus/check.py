"""Looks through a folder of videos before a long run: what opens, what decodes, what is odd."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd

from microx.corpus.quality import (
    MANY_UNDECODED,
    find_missing_numbers,
    find_numbered_folders,
)
from microx.errors import InputError
from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.interlacing import DEINTERLACE, N_COMB_FRAMES, CombFinder
from microx.preprocessing.preprocessed import MANY_REPEATS
from microx.preprocessing.video import (
    Frame,
    VideoInfo,
    find_videos,
    list_files,
    probe_video,
    read_frames,
)
from microx.progress import Progress
from microx.schema import CLIP_FRAMES, FRAME_RATE
from microx.text import first_few

N_SAMPLED = 5
"""Frames of each video in which a face is looked for (our choice)."""

QUICK_S = 1.0
"""Seconds of each video that a quick scan decodes (our choice)."""

SMALL_SIDE = 120
"""Pixels of the shorter side below which a video is small for landmarks (our choice)."""

_ODD_STEP = 0.25  # of the median step between frames: differing by more is odd (our choice)


@dataclass
class _Looked:
    """What was found of one video."""

    path: str
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    size: str = ""
    codec: str = ""
    frame_rate: float = 0.0
    n_claimed: int = 0
    n_decoded: int = 0
    n_untimed: int = 0
    duration_s: float = 0.0
    n_combed: int = 0
    n_faces: int = 0
    n_sampled: int = 0

    @property
    def faces(self) -> str:
        """In how many of the sampled frames a face was found."""
        return f"{self.n_faces} of {self.n_sampled}" if self.n_sampled else ""


def scan_videos(
    folder: str | Path,
    *,
    input_fps: float | None = None,
    quick: bool = False,
    faces: bool = False,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Open and decode every video below a folder and say what is wrong or odd about each.

    Parameters
    ----------
    folder : path
        Searched as `microx.preprocessing.video.find_videos` does.
    input_fps : float, optional
        Frames a second of folders of images; without it, each image is a video.
    quick : bool
        Decode the first second only. What comes later is then not known.
    faces : bool
        Look for a face in `N_SAMPLED` frames of each video.
    n_workers : int
        Processes; -1 for one per core.
    progress : callable, optional
        Told the videos done, all of them, and the latest.

    Returns
    -------
    DataFrame
        One row a video: path (relative to `folder`), problem (why it cannot be used, or ""),
        remarks (a list of what is odd), size (``"640x480"``), codec, frame_rate, n_claimed,
        n_decoded, n_untimed, duration_s (of what was decoded), n_combed (frames of two
        fields; 0 where the video is not interlaced), n_faces, n_sampled, faces.
        Videos with a problem come first, then those with remarks.

    Raises
    ------
    InputError
        If there is no such folder, or no video in it.

    Examples
    --------
    >>> broken = scan_videos("videos").query("problem != ''")
    >>> len(broken)
    0
    """
    folder = Path(folder)
    videos = find_videos(folder, input_fps=input_fps)
    if not videos:
        raise InputError(f"{folder}: expected a folder of videos or images; found neither in it")
    calls = [joblib.delayed(_look_at)(path, folder, input_fps, quick, faces) for path in videos]
    looked: dict[str, _Looked] = {}
    with joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered") as parallel:
        for video in parallel(calls):
            looked[video.path] = video
            if progress:
                progress(len(looked), len(videos), video.path)
    named = [path.relative_to(folder).as_posix() for path in videos]
    rows = [looked[name] for name in named]
    _remark_names(rows)
    _remark_copies(rows, videos)
    rows.sort(key=lambda video: (not video.problem, not video.remarks))
    return pd.DataFrame([asdict(video) | {"faces": video.faces} for video in rows])


def find_oddities(
    folder: str | Path, paths: Sequence[str], *, input_fps: float | None
) -> list[str]:
    """Say what is odd about a folder as a whole: frames taken for videos, files passed over.

    Parameters
    ----------
    folder : path
    paths : sequence of str
        The videos in it, relative to it.
    input_fps : float or None
        As it was given to `scan_videos`.
    """
    oddities = []
    numbered = find_numbered_folders(paths) if input_fps is None else []
    if numbered:
        oddities.append(
            f"the images in {first_few(numbered)} look like the frames of videos, but each counts "
            "as a video of its own; if they are frames, give their rate: `input_fps`"
        )
    videos = set(paths)
    passed_over: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name).relative_to(folder) for name in names if name[0] != "."):
            frame = input_fps is not None and path.suffix.lower() in IMAGE_SUFFIXES
            if path.as_posix() not in videos and not frame:
                passed_over[path.suffix.lower() or "no ending"] += 1
    if passed_over:
        told = [f"{ending} ({n})" for ending, n in passed_over.most_common()]
        oddities.append(f"files that are not taken for videos: {first_few(told, 6)}")
    return oddities


def _look_at(
    path: Path, folder: Path, input_fps: float | None, quick: bool, faces: bool
) -> _Looked:
    """Look at one video; whatever is wrong with it is in what is returned."""
    cv2.setNumThreads(1)  # the processes share the cores already
    video = _Looked(path.relative_to(folder).as_posix())
    try:
        info = probe_video(path, input_fps=input_fps)
        video.size = f"{info.size_hw[1]}x{info.size_hw[0]}"
        video.codec, video.frame_rate = info.codec, info.frame_rate
        video.n_claimed = info.n_frames_claimed
        times = _decode(path, input_fps, video, quick=quick, faces=faces)
    except (InputError, cv2.error, OSError) as error:
        video.problem = " ".join(str(error).split()).removeprefix(f"{path}: ")
        return video
    if video.n_decoded == 0:
        video.problem = f"no frame can be decoded ({video.n_claimed} claimed)"
        return video
    _remark(path, video, times, info, quick=quick)
    return video


def _decode(
    path: Path, input_fps: float | None, video: _Looked, *, quick: bool, faces: bool
) -> np.ndarray:
    """Decode a video, or its beginning; count, and return the times of the frames in seconds."""
    rate = video.frame_rate or FRAME_RATE
    n_expected = min(video.n_claimed, round(rate * QUICK_S)) if quick else video.n_claimed
    sampled = _places(n_expected)
    times: list[float] = []
    combs = CombFinder()
    for frame in read_frames(path, input_fps=input_fps):
        if quick and frame.time_s > QUICK_S:
            break
        times.append(frame.time_s)
        video.n_untimed += not frame.timed
        if frame.index < N_COMB_FRAMES:
            combs.look(frame.rgb[..., 1])
        if faces and frame.index in sampled:
            video.n_sampled += 1
            video.n_faces += _has_face(frame)
    video.n_decoded = len(times)
    if times:
        video.duration_s = times[-1] + 1 / rate
    video.n_combed = combs.n_combed if combs.is_interlaced else 0
    return np.array(times)


def _places(n_frames: int) -> set[int]:
    """Which frames to look for a face in; where no number is claimed, one every second."""
    if n_frames < 1:
        return {round(FRAME_RATE) * place for place in range(N_SAMPLED)}
    return {int(n_frames * (place + 0.5) / N_SAMPLED) for place in range(N_SAMPLED)}


def _has_face(frame: Frame) -> bool:
    from microx.preprocessing.tracking.dlib import DlibTracker

    return bool(DlibTracker().locate(frame.rgb).identities)  # those of doubtful faces come later


def _remark(path: Path, video: _Looked, times: np.ndarray, info: VideoInfo, *, quick: bool) -> None:
    """Add what is odd about a video that decodes."""
    say = video.remarks.append
    missing = video.n_claimed - video.n_decoded
    if not quick and missing > MANY_UNDECODED * video.n_claimed:
        say(f"{video.n_decoded} of {video.n_claimed} claimed frames decode: cut off or damaged?")
    if video.n_untimed:
        say(f"{video.n_untimed} frames have no usable time; it is reckoned from the rate")
    if video.n_combed:
        say(f"interlaced: its moving edges are combs; deinterlace it: {DEINTERLACE}")
    if path.is_dir():
        lacking = find_missing_numbers(file.name for file in list_files(path))
        if lacking:
            say(f"its images lack the numbers {lacking}: those after them move up in time")
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if step_s * FRAME_RATE >= MANY_REPEATS - 0.1:
        say(
            f"{1 / step_s:.2g} frames a second: at {FRAME_RATE:g} each would be repeated "
            f"{step_s * FRAME_RATE:.0f} times; `frame_rate={1 / step_s:.2g}` shows each once"
        )
    n_odd = _count_odd_steps(times)
    if n_odd:
        say(f"variable rate: {n_odd} of {len(times) - 1} steps between frames are uneven")
    if shown := info.orientation.describe():
        say(f"shown {shown}, as the file asks")
    if (side := min(info.size_hw)) < SMALL_SIDE:
        say(f"small: {side} pixels on the shorter side")
    if not quick and video.n_decoded > 1 and video.duration_s * FRAME_RATE < CLIP_FRAMES - 0.5:
        say(f"shorter than the {CLIP_FRAMES} frames of a clip at {FRAME_RATE:g} a second")
    if video.n_sampled and not video.n_faces:
        say("no face in any sampled frame")


def _count_odd_steps(times: np.ndarray) -> int:
    steps = np.diff(times)
    if len(steps) < 3:
        return 0
    # Containers round times to a millisecond, or two.
    allowed = max(_ODD_STEP * float(np.median(steps)), 0.0021)
    return int((np.abs(steps - np.median(steps)) > allowed).sum())


def _remark_names(videos: list[_Looked]) -> None:
    """Add what is odd about names, alone and beside each other."""
    spelled = Counter(video.path.casefold() for video in videos)
    bare = Counter(str(Path(video.path).with_suffix("")) for video in videos)
    for video in videos:
        parts = Path(video.path).parts
        if any(part != part.strip() or not part.isprintable() for part in parts):
            video.remarks.append(
                f"a space at an end of its name, or a strange sign: {video.path!r}"
            )
        if spelled[video.path.casefold()] > 1:
            video.remarks.append("another name differs in capitals only")
        elif bare[str(Path(video.path).with_suffix(""))] > 1:
            video.remarks.append("another file beside it differs in its ending only")


def _remark_copies(videos: list[_Looked], paths: list[Path]) -> None:
    """Add which videos hold the same bytes; only those of one size are read again."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, video in enumerate(videos):
        if not video.problem:
            sizes = tuple(file.stat().st_size for file in list_files(paths[place]))
            by_size.setdefault(sizes, []).append(place)
    for places in by_size.values():
        first: dict[str, str] = {}
        for place in places if len(places) > 1 else ():
            digest = hashlib.sha256()
            for file in list_files(paths[place]):
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            name = videos[place].path
            original = first.setdefault(digest.hexdigest(), name)
            if original != name:
                videos[place].remarks.append(
                    f"a copy of {original}; preprocess uses one of them, and none if their labels "
                    "differ"
                )
