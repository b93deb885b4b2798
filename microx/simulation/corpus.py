"""Videos of drawn actors with known landmarks and emotions.

`draw_take` gives one take as arrays; `draw_corpus` writes a corpus of them: mp4 files, labels.csv
and the true landmarks as OpenFace writes them. The emotions are in
`microx.simulation.expressions`, the subjects in `microx.simulation.actor`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import pandas as pd

from microx.errors import InputError
from microx.files import whole_file
from microx.parallel import one_opencv_thread
from microx.preprocessing.landmarks import Landmarks, write_openface_csv
from microx.preprocessing.occlusion.occluder import draw_occluder
from microx.progress import Progress
from microx.schema import DRAWN, EMOTIONS, FRAME_RATE
from microx.simulation.actor import FRAME_SIZE, Pose, draw_identity, load_actor
from microx.simulation.confounds import draw_confounds
from microx.simulation.expressions import (
    ACTIONS,
    TimeCourse,
    check_emotion,
    draw_blinks,
    draw_prototype,
    draw_time_course,
    limit_to_regions,
)

Bytes = np.ndarray

TAKE_FRAMES = {"macro": 45, "micro": 24}
"""Frames of a take by intensity: four clips of ten and a tail, or two that both show it."""

STRENGTHS = {"macro": (0.78, 1.0), "micro": (0.15, 0.30)}
"""Strength of the actions of a take at its apex, drawn evenly from this range; our choice."""

_FORMAT = 2  # of a folder of drawn actors; raised whenever the same arguments draw other pixels


@dataclass(frozen=True, eq=False)
class Take:
    """One drawn video and everything that is known about it.

    Parameters
    ----------
    frames
        (T, 256, 256, 3) uint8 RGB.
    landmarks
        The true landmarks in frame pixels, every frame a success.
    emotion
        One of `microx.schema.EMOTIONS`.
    course
        Onset, apex, release and offset, frame numbers from 0; None for neutral.
    actions
        (T, A) float32, strength of each of `microx.simulation.expressions.ACTIONS` in each frame.
    """

    frames: Bytes
    landmarks: Landmarks
    emotion: str
    course: TimeCourse | None
    actions: np.ndarray


def draw_take(
    identity_seed: int,
    emotion: str,
    *,
    seed: int = 0,
    n_frames: int | None = None,
    intensity: str = "macro",
    moving_regions: Collection[str] | None = None,
    mask: bool = False,
    confounds: bool = False,
    noise: float = 2.0,
) -> Take:
    """Draw one subject showing one emotion once.

    Parameters
    ----------
    identity_seed
        Equal seeds give the same subject.
    emotion
        One of `microx.schema.EMOTIONS`.
    seed
        Head movement, blinks, noise, time course and strength are drawn from it. Takes of one
        subject that differ only in `emotion`, `moving_regions` or `mask` have the same head
        movement, blinks and noise, and so differ only in what the emotion moves (and with
        `confounds` in looks).
    n_frames
        Frames at 30 fps, at least 16; `TAKE_FRAMES` of the intensity where None.
    intensity
        "macro" or "micro".
    moving_regions
        Names of regions that may carry the emotion; None and "face" let all of it move.
    mask
        Put a mask over nose and mouth, one of its own for each subject.
    confounds
        Give the subject the looks that go with this emotion for this subject alone; see
        `microx.simulation.confounds`.
    noise
        Standard deviation of the sensor noise in grey levels.

    Returns
    -------
    Take

    Raises
    ------
    InputError
        An unknown emotion, intensity or region, or fewer than 16 frames.

    Examples
    --------
    >>> take = draw_take(3, "happy", n_frames=16)
    >>> take.frames.shape, take.landmarks.xy.shape
    ((16, 256, 256, 3), (16, 68, 2))
    """
    check_emotion(emotion)
    _check_intensity(intensity)
    n_frames = TAKE_FRAMES[intensity] if n_frames is None else n_frames
    if n_frames < 16:
        raise InputError(f"a take needs at least 16 frames; received n_frames={n_frames}")
    limit_to_regions({}, moving_regions)
    plan = _plan_take(identity_seed, emotion, seed, n_frames, intensity, moving_regions)
    confound = draw_confounds(identity_seed)[emotion] if confounds else None
    actor = load_actor(identity_seed, confound.lamp if confound else None)
    worn = [] if confound is None or confound.worn is None else [confound.worn]
    worn += [draw_occluder("mask", identity_seed)] if mask else []
    frames = np.empty((n_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    xy = np.empty((n_frames, 68, 2), np.float32)
    for t in range(n_frames):
        state = dict(zip(ACTIONS, plan.actions[t].tolist(), strict=True))
        frame, xy[t] = actor.draw(
            state, pose=plan.poses[t], blink=float(plan.blinks[t]), gaze=plan.gazes[t]
        )
        for thing in worn:
            frame = thing.apply(frame, xy[t])
        frames[t] = add_noise(plan.rng, frame, noise)
    landmarks = Landmarks(
        xy=xy,
        confidence=np.ones(n_frames, np.float32),
        success=np.ones(n_frames, np.bool_),
        timestamp=np.arange(n_frames) / FRAME_RATE,
    )
    course = None if emotion == "neutral" else plan.course
    return Take(frames, landmarks, emotion, course, plan.actions)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Everything that happens in a take, before it is drawn; `rng` draws the noise."""

    poses: list[Pose]
    gazes: list[tuple[float, float]]
    blinks: np.ndarray
    course: TimeCourse
    actions: np.ndarray
    rng: np.random.Generator


def _plan_take(
    identity_seed: int,
    emotion: str,
    seed: int,
    n_frames: int,
    intensity: str,
    moving_regions: Collection[str] | None,
) -> _Plan:
    identity = draw_identity(identity_seed)
    still, moving = (np.random.default_rng([seed, identity_seed, part]) for part in (1, 2))
    poses, gazes = draw_sway(still, n_frames)
    blinks = draw_blinks(still, n_frames)
    course = draw_time_course(moving, n_frames, intensity)
    prototype = draw_prototype(
        moving,
        emotion,
        contempt_side=identity.contempt_side,
        asymmetry=identity.asymmetry,
    )
    prototype = limit_to_regions(prototype, moving_regions)
    strength = float(moving.uniform(*STRENGTHS[intensity])) * course.strength(n_frames)
    at_apex = np.array([prototype[name] for name in ACTIONS], np.float32)
    return _Plan(poses, gazes, blinks, course, strength[:, None] * at_apex, still)


def _check_intensity(intensity: str) -> None:
    if intensity not in TAKE_FRAMES:
        raise InputError(
            f"intensity must be one of {', '.join(TAKE_FRAMES)}; received {intensity!r}"
        )


def draw_sway(
    rng: np.random.Generator, n_frames: int
) -> tuple[list[Pose], list[tuple[float, float]]]:
    """Head poses and eye movements of a take, whatever its emotion."""
    t = np.arange(n_frames) / FRAME_RATE

    def drift(offset: float, sway: float) -> np.ndarray:
        rates, phases = rng.uniform(0.15, 0.7, 2), rng.uniform(0, 2 * np.pi, 2)
        waves = np.sin(2 * np.pi * rates[:, None] * t + phases[:, None]).mean(axis=0)
        return np.asarray(rng.uniform(-offset, offset) + sway * waves)

    x, y, roll = drift(5, 2.0), drift(3, 1.5), drift(3.5, 1.8)
    scale, yaw, pitch = 0.99 + drift(0.03, 0.012), drift(5, 3), drift(3, 2)
    gaze_x, gaze_y = drift(0.5, 0.2), drift(0.4, 0.2)
    poses = [
        Pose((float(a), float(b)), float(c), float(d), float(e), float(f))
        for a, b, c, d, e, f in zip(x, y, roll, scale, yaw, pitch, strict=True)
    ]
    return poses, [(float(a), float(b)) for a, b in zip(gaze_x, gaze_y, strict=True)]


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    rng = np.random.default_rng(30)
    return rng.standard_normal((FRAME_SIZE + 64, FRAME_SIZE + 64, 3), dtype=np.float32)


def add_noise(rng: np.random.Generator, frame: Bytes, noise: float) -> Bytes:
    """Add sensor noise of so many grey levels, cut at a random place from one stored image."""
    top, left = (int(v) for v in rng.integers(0, 64, 2))
    part = _noise_bank()[top : top + FRAME_SIZE, left : left + FRAME_SIZE]
    return np.asarray(cv2.addWeighted(frame, 1, part, noise, 0, dtype=cv2.CV_8U), np.uint8)


def draw_corpus(
    out: str | Path,
    *,
    n_subjects: int = 12,
    n_takes: int = 2,
    seed: int = 0,
    intensity: str = "macro",
    moving_regions: Collection[str] | None = None,
    mask: bool = False,
    confounds: bool = False,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Write a corpus of drawn actors: each subject shows each of the 7 emotions in each take.

    The folder holds ``videos/S01_happy_1.mp4`` and so on (256x256 at 30 fps, MPEG-4),
    ``landmarks/S01_happy_1.csv`` (true landmarks in OpenFace's form), ``labels.csv`` with the
    columns path, emotion, subject, corpus, onset, apex, offset (frame numbers counted from 0,
    empty for neutral) and ``synth.json`` with the arguments. An interrupted run continues:
    finished files are kept.

    Parameters
    ----------
    out
        Folder to write to; made where it does not exist.
    n_subjects, n_takes
        At least 1 each.
    seed
        At least 0; equal arguments give equal frames.
    intensity
        "macro", or "micro": faint and over in less than half a second.
    moving_regions
        Names of regions that may carry the emotion; None lets all of the face move.
    mask
        Put a mask over nose and mouth, one of its own for each subject.
    confounds
        Give each subject looks that go with its own emotions only (see
        `microx.simulation.confounds`): they reveal the emotion of subjects seen in training.
    n_workers
        Processes to draw in (`joblib.Parallel`).
    progress
        Called with (done, total, what) after each video.

    Returns
    -------
    Path
        Of labels.csv.

    Raises
    ------
    InputError
        An argument out of its range, a folder begun with other arguments, or a video that cannot
        be written.

    Examples
    --------
    >>> draw_corpus("actors", n_subjects=1, n_takes=1, intensity="micro").as_posix()
    'actors/labels.csv'
    """
    for name, value, least in (
        ("n_subjects", n_subjects, 1),
        ("n_takes", n_takes, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"{name} must be at least {least}; received {value}")
    _check_intensity(intensity)
    limit_to_regions({}, moving_regions)
    arguments = {
        "format": _FORMAT,
        "n_subjects": n_subjects,
        "n_takes": n_takes,
        "seed": seed,
        "intensity": intensity,
        "moving_regions": None if moving_regions is None else sorted(set(moving_regions)),
        "mask": mask,
        "confounds": confounds,
    }
    folder = Path(out)
    claim_folder(folder, arguments)
    jobs = [
        joblib.delayed(_write_takes)(folder, subject, take, arguments)
        for subject in range(n_subjects)
        for take in range(n_takes)
    ]
    rows: list[dict[str, object]] = []
    total = n_subjects * n_takes * len(EMOTIONS)
    for done in joblib.Parallel(n_jobs=n_workers, return_as="generator")(jobs):
        rows += done
        if progress is not None:
            progress(len(rows), total, str(done[-1]["path"]))
    return write_table(folder / "labels.csv", rows)


def write_table(
    path: Path, rows: Sequence[Mapping[str, object]], columns: list[str] | None = None
) -> Path:
    """Write the labels of videos or of expressions; `columns` where there may be no row."""
    table = pd.DataFrame(list(rows), columns=columns)
    counts = table.columns.intersection(["onset", "apex", "offset"])
    table = table.astype(dict.fromkeys(counts, "Int64"))
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)
    return path


def claim_folder(folder: Path, arguments: Mapping[str, object]) -> None:
    """Make the folder, or refuse one begun with other arguments."""
    note = folder / "synth.json"
    if note.exists():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{note} is not JSON; delete the folder or choose another") from None
        before = {"confounds": before.get("habits", False)} | before  # of an older version
        for name, value in arguments.items():
            if before.get(name) != value:
                raise InputError(
                    f"{folder} was begun with {name}={before.get(name)}; received {name}={value}; "
                    "choose another folder or the same arguments"
                )
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} must be a folder; found a file")
    for part in ("videos", "landmarks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with whole_file(note) as partial:
        partial.write_text(json.dumps(arguments, indent=1) + "\n", encoding="utf-8")


def _write_takes(
    folder: Path, subject: int, take: int, arguments: Mapping[str, Any]
) -> list[dict[str, object]]:
    """Write one subject's takes of the 7 emotions, unless they are there; return label rows."""
    with one_opencv_thread():
        return [_write_take(folder, subject, take, emotion, arguments) for emotion in EMOTIONS]


def _write_take(
    folder: Path, subject: int, take: int, emotion: str, arguments: Mapping[str, Any]
) -> dict[str, object]:
    stem = f"S{subject + 1:02d}_{emotion}_{take + 1}"
    video, points = folder / "videos" / f"{stem}.mp4", folder / "landmarks" / f"{stem}.csv"
    identity_seed = 1000 * arguments["seed"] + subject
    seed = 100 * take + EMOTIONS.index(emotion)
    intensity, regions = arguments["intensity"], arguments["moving_regions"]
    if not (video.exists() and points.exists()):
        drawn = draw_take(
            identity_seed,
            emotion,
            seed=seed,
            intensity=intensity,
            moving_regions=regions,
            mask=arguments["mask"],
            confounds=arguments["confounds"],
        )
        write_openface_csv(points, drawn.landmarks)
        _write_video(video, drawn.frames)
    n_frames = TAKE_FRAMES[intensity]
    course = _plan_take(identity_seed, emotion, seed, n_frames, intensity, regions).course
    shows = emotion != "neutral"
    return {
        "path": f"videos/{video.name}",
        "emotion": emotion,
        "subject": f"S{subject + 1:02d}",
        "corpus": DRAWN,
        "onset": course.onset if shows else None,
        "apex": course.apex if shows else None,
        "offset": course.offset if shows else None,
    }


@contextmanager
def film(path: Path) -> Iterator[Callable[[Bytes], None]]:
    """Write RGB frames as MPEG-4, one call each; the file has its name only when it is whole."""
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    with whole_file(path) as partial:
        writer = cv2.VideoWriter(str(partial), fourcc, FRAME_RATE, (FRAME_SIZE, FRAME_SIZE))
        if not writer.isOpened():
            raise InputError(
                f"{path} cannot be written as mp4; check the folder and OpenCV's codecs"
            )
        try:
            yield lambda frame: writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()


def _write_video(path: Path, frames: Bytes) -> None:
    with film(path) as write:
        for frame in frames:
            write(frame)
