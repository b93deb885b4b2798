"""Long videos of drawn actors who show an expression now and then: what spotting is measured on.

Between expressions the face is neutral. It blinks, its head sways, it talks, and the lamp becomes
slowly brighter and darker: none of this is an expression. All numbers without a source are our
choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np

from microx.errors import InputError
from microx.parallel import one_opencv_thread
from microx.preprocessing.landmarks import Landmarks, write_openface_csv
from microx.progress import Progress
from microx.schema import DRAWN, EMOTIONS, FRAME_RATE
from microx.simulation.actor import Pose, draw_identity, load_actor
from microx.simulation.corpus import (
    STRENGTHS,
    add_noise,
    claim_folder,
    draw_sway,
    film,
    write_table,
)
from microx.simulation.expressions import (
    ACTIONS,
    TimeCourse,
    draw_blinks,
    draw_prototype,
    draw_time_course,
)

SHORTEST_S = 8.0
"""Seconds of the shortest long video: room for one expression of each kind or two."""

_FORMAT = 1
_GAP_S = (1.5, 4.5)  # neutral between two events
_MACRO_S = (0.7, 3.0)  # from onset to offset
_TALK_S = (1.5, 4.0)
_TALK_RATES = (3.0, 5.0)  # syllables a second
_TALK_OPENING = (0.25, 0.5)  # of the jaw, at the loudest syllable
_LAMP = 0.12  # the light's gain is within 1 +- this
_NOISE = 2.0  # grey levels, as of a take


@dataclass(frozen=True)
class Shown:
    """An expression in a long video: its kind, "macro" or "micro", and its course in frames."""

    kind: str
    emotion: str
    course: TimeCourse


@dataclass(frozen=True, eq=False)
class LongVideo:
    """All that happens in a long video of T frames, before it is drawn.

    Parameters
    ----------
    identity_seed
        Whom it shows.
    poses, gazes
        T each: the head, and where the eyes look.
    blinks, lamp
        (T,): how far the lids are closed by blinking, and the gain of the light.
    actions
        (T, A) float32, strength of each of `microx.simulation.expressions.ACTIONS`.
    expressions
        In order of time.
    """

    identity_seed: int
    poses: list[Pose]
    gazes: list[tuple[float, float]]
    blinks: np.ndarray
    lamp: np.ndarray
    actions: np.ndarray
    expressions: tuple[Shown, ...]


def draw_long_video(
    identity_seed: int, *, seconds: float = 60.0, seed: int = 0, expressive: bool = True
) -> LongVideo:
    """Draw what happens in a long video by chance; `draw_frames` draws the frames.

    Parameters
    ----------
    identity_seed
        Equal seeds give the same subject.
    seconds
        At least `SHORTEST_S`, at 30 frames a second.
    seed
        Everything that happens is drawn from it.
    expressive
        Whether the subject shows expressions at all, or only talks now and then.

    Returns
    -------
    LongVideo

    Raises
    ------
    InputError
        If the video is too short.

    Notes
    -----
    Macro-expressions, micro-expressions and talking come in a random order, each of them once in a
    round, with 1.5 to 4.5 s between. A macro-expression lasts 0.7 to 3 s at a strength of .78 to 1,
    a micro-expression less than half a second at .15 to .30, as in `microx.simulation.corpus`.
    Talking is a jaw that opens to and fro 3 to 5 times a second.

    Examples
    --------
    >>> [shown.kind for shown in draw_long_video(3, seconds=20).expressions]
    ['micro', 'macro', 'macro']
    """
    if not seconds >= SHORTEST_S:
        raise InputError(f"`seconds` must be at least {SHORTEST_S:g}; received {seconds:g}")
    n_frames = round(seconds * FRAME_RATE)
    still, moving = (np.random.default_rng([seed, identity_seed, part]) for part in (3, 4))
    poses, gazes = draw_sway(still, n_frames)
    actions = np.zeros((n_frames, len(ACTIONS)), np.float32)
    expressions = []
    for kind, start, stop in _draw_order(moving, n_frames, expressive):
        if kind == "talk":
            _talk(moving, actions[start:stop])
            continue
        emotion = str(moving.choice([name for name in EMOTIONS if name != "neutral"]))
        course = _place_course(moving, kind, start, stop)
        actions += _act(moving, identity_seed, emotion, kind, course.strength(n_frames))
        expressions.append(Shown(kind, emotion, course))
    return LongVideo(
        identity_seed=identity_seed,
        poses=poses,
        gazes=gazes,
        blinks=draw_blinks(still, n_frames),
        lamp=_draw_lamp(still, n_frames),
        actions=actions,
        expressions=tuple(expressions),
    )


def draw_frames(video: LongVideo, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw the frames one by one, so that a long video is never held as a whole.

    Parameters
    ----------
    video
    seed
        Of the sensor noise.

    Yields
    ------
    frame : ndarray of uint8, shape (256, 256, 3)
        RGB.
    xy : ndarray of float32, shape (68, 2)
        The true landmarks in frame pixels.
    """
    actor = load_actor(video.identity_seed)
    rng = np.random.default_rng([seed, video.identity_seed, 5])
    for t, pose in enumerate(video.poses):
        state = dict(zip(ACTIONS, video.actions[t].tolist(), strict=True))
        blink = float(video.blinks[t])
        frame, xy = actor.draw(state, pose=pose, blink=blink, gaze=video.gazes[t])
        lit = cv2.convertScaleAbs(frame, alpha=float(video.lamp[t]))
        yield add_noise(rng, np.asarray(lit, np.uint8), _NOISE), xy


def _draw_order(
    rng: np.random.Generator, n_frames: int, expressive: bool
) -> Iterator[tuple[str, int, int]]:
    """What happens, and from which frame to which: rounds of each kind once, in random order."""
    kinds = ("macro", "micro", "talk") if expressive else ("talk", "rest", "rest")
    start = 0
    while True:
        for kind in rng.permutation(kinds).tolist():
            start += round(rng.uniform(*_GAP_S) * FRAME_RATE)
            lengths = {"macro": _MACRO_S, "talk": _TALK_S}.get(kind, (0.5, 0.5))
            stop = start + round(rng.uniform(*lengths) * FRAME_RATE)
            if stop + round(_GAP_S[0] * FRAME_RATE / 2) > n_frames:
                return
            if kind != "rest":
                yield kind, start, stop
            start = stop


def _place_course(rng: np.random.Generator, kind: str, start: int, stop: int) -> TimeCourse:
    if kind == "micro":
        course = draw_time_course(rng, stop - start, "micro")
        return TimeCourse(*(start + frame for frame in astuple(course)))
    apex = start + int(rng.integers(4, 10))
    return TimeCourse(start, apex, max(apex, stop - int(rng.integers(5, 13))), stop)


def _act(
    rng: np.random.Generator, identity_seed: int, emotion: str, kind: str, strength: np.ndarray
) -> np.ndarray:
    identity = draw_identity(identity_seed)
    prototype = draw_prototype(
        rng, emotion, contempt_side=identity.contempt_side, asymmetry=identity.asymmetry
    )
    at_apex = np.array([prototype[name] for name in ACTIONS], np.float32)
    return np.asarray(rng.uniform(*STRENGTHS[kind]) * strength[:, None] * at_apex, np.float32)


def _talk(rng: np.random.Generator, actions: np.ndarray) -> None:
    """Open the jaw to and fro, each syllable another width, over all of these frames."""
    t = np.arange(len(actions)) / FRAME_RATE
    syllables = rng.uniform(*_TALK_RATES) * t
    width = rng.uniform(0.4, 1.0, int(syllables[-1]) + 1)[syllables.astype(int)]
    ends = np.clip(np.minimum(t, t[-1] - t) / 0.2, 0, 1)
    opening = rng.uniform(*_TALK_OPENING) * width * ends * np.sin(np.pi * syllables) ** 2
    for name in ("AU25_left", "AU25_right", "AU26_left", "AU26_right"):
        actions[:, ACTIONS.index(name)] += opening


def _draw_lamp(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    periods, phases = rng.uniform(8, 30, 2), rng.uniform(0, 2 * np.pi, 2)
    t = np.arange(n_frames) / FRAME_RATE
    waves = np.sin(2 * np.pi * t / periods[:, None] + phases[:, None]).mean(axis=0)
    return np.asarray(1 + _LAMP * waves)


def draw_spotting_corpus(
    out: str | Path,
    *,
    n_subjects: int = 20,
    seconds: float = 60.0,
    seed: int = 0,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Write a long video of each of several drawn actors, and when each shows an expression.

    The folder holds ``videos/S01.mp4`` and so on (256x256 at 30 fps, MPEG-4), ``landmarks/S01.csv``
    (true landmarks in OpenFace's form), ``labels.csv`` (path, emotion, subject, corpus, where the
    emotion is "expression" or "no expression"), ``intervals.csv`` (path, onset, apex, offset, kind,
    emotion; frames counted from 0) and ``synth.json`` with the arguments. An interrupted run
    continues: finished files are kept.

    Parameters
    ----------
    out
        Folder to write to; made where it does not exist.
    n_subjects
        At least 1; two in ten, the third and the eighth, show no expression at all.
    seconds
        Length of each video, at least `SHORTEST_S`.
    seed
        At least 0; equal arguments give equal frames.
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
    >>> draw_spotting_corpus("long", n_subjects=1, seconds=8).as_posix()
    'long/labels.csv'
    """
    for name, value, least in (("n_subjects", n_subjects, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"`{name}` must be at least {least}; received {value}")
    arguments = {
        "format": _FORMAT,
        "long": True,
        "n_subjects": n_subjects,
        "seconds": seconds,
        "seed": seed,
    }
    videos = [_plan_subject(subject, arguments) for subject in range(n_subjects)]
    folder = Path(out)
    claim_folder(folder, arguments)
    jobs = [joblib.delayed(_write_subject)(folder, n, arguments) for n in range(n_subjects)]
    for n_done, path in enumerate(joblib.Parallel(n_workers, return_as="generator")(jobs), 1):
        if progress is not None:
            progress(n_done, n_subjects, path)
    write_table(
        folder / "intervals.csv",
        [
            {"path": _video_path(subject)}
            | {name: getattr(shown.course, name) for name in ("onset", "apex", "offset")}
            | {"kind": shown.kind, "emotion": shown.emotion}
            for subject, video in enumerate(videos)
            for shown in video.expressions
        ],
        columns=["path", "onset", "apex", "offset", "kind", "emotion"],
    )
    rows = [
        {
            "path": _video_path(subject),
            "emotion": "expression" if video.expressions else "no expression",
            "subject": _subject_name(subject),
            "corpus": DRAWN,
        }
        for subject, video in enumerate(videos)
    ]
    return write_table(folder / "labels.csv", rows)


def _subject_name(subject: int) -> str:
    return f"S{subject + 1:02d}"


def _video_path(subject: int) -> str:
    return f"videos/{_subject_name(subject)}.mp4"


def _plan_subject(subject: int, arguments: Mapping[str, Any]) -> LongVideo:
    return draw_long_video(
        1000 * arguments["seed"] + subject,
        seconds=arguments["seconds"],
        seed=arguments["seed"],
        expressive=subject % 5 != 2,
    )


def _write_subject(folder: Path, subject: int, arguments: Mapping[str, Any]) -> str:
    """Write a subject's video and true landmarks, unless they are there."""
    name = _subject_name(subject)
    video, points = folder / _video_path(subject), folder / "landmarks" / f"{name}.csv"
    if not (video.exists() and points.exists()):
        with one_opencv_thread():
            xy = _film_subject(video, _plan_subject(subject, arguments), arguments["seed"])
        write_openface_csv(points, xy)
    return _video_path(subject)


def _film_subject(path: Path, video: LongVideo, seed: int) -> Landmarks:
    xy = []
    with film(path) as write:
        for frame, points in draw_frames(video, seed):
            write(frame)
            xy.append(points)
    return Landmarks(
        xy=np.stack(xy),
        confidence=np.ones(len(xy), np.float32),
        success=np.ones(len(xy), np.bool_),
        timestamp=np.arange(len(xy)) / FRAME_RATE,
    )
