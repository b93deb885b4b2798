"""How drawn actors move their faces: facial actions, emotion prototypes and time courses.

A facial action is one number in [0, 1] (0 at rest, 1 as strong as it is drawn); its name is the
Action Unit of the Facial Action Coding System and the side it acts on, ``AU12_left``. Every action
belongs to one region, so that an experiment can let only some regions carry the emotion. Besides
Action Units there are AU43 as a droop of the upper lid, `gaze_down`, and `gaze_side`, which turns
an eye to the subject's left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from microx.errors import InputError
from microx.schema import EMOTIONS, REGIONS

Array = np.ndarray

_BROW = ("AU1", "AU2", "AU4")
_EYE = ("AU5", "AU6", "AU7", "AU43", "gaze_side", "gaze_down")
_NOSE = ("AU9", "AU38")
_MOUTH = ("AU10", "AU12", "AU14", "AU15", "AU16", "AU17", "AU20", "AU24", "AU25", "AU26")


def _action_regions() -> dict[str, str]:
    regions: dict[str, str] = {}
    for side in ("left", "right"):
        regions |= {f"{name}_{side}": f"{side}_brow" for name in _BROW}
        regions |= {f"{name}_{side}": f"{side}_eye" for name in _EYE}
        regions |= {f"{name}_{side}": "nose" for name in _NOSE}
        regions |= {f"{name}_{side}": "mouth" for name in _MOUTH}
    return regions


ACTION_REGIONS: dict[str, str] = _action_regions()
"""The region that each facial action belongs to, by the action's name."""

ACTIONS: tuple[str, ...] = tuple(ACTION_REGIONS)
"""Every facial action, in the order of the columns of an action array."""

# Sources: Ekman & Friesen, EMFACS, and Ekman, Friesen & Hager, FACS Investigator's Guide (2002),
# table of emotion prototypes; Lucey et al., "The Extended Cohn-Kanade Dataset" (2010), table 1;
# Du, Tao & Martinez, "Compound facial expressions of emotion" (2014), table 1. The strengths are
# our choice. Du et al. give the lids of each emotion; where they leave one out (contempt, sad) the
# gaze and the narrowing are our choice, so that the eyes alone separate the seven classes.
_PROTOTYPES: dict[str, dict[str, float]] = {
    "neutral": {},
    "anger": {
        "AU4": 1.0, "AU5": 0.45, "AU7": 1.0, "AU9": 0.15, "AU38": 0.7, "AU24": 1.0, "AU17": 0.35,
    },
    # The MicroX paper counts disgust with contempt, so its prototype adds to the one-sided
    # R12 + R14 of contempt the raised lip (10) and wrinkled nose (9) of disgust.
    "contempt": {
        "AU7": 0.45, "AU43": 0.35, "gaze_side": 0.9, "AU9": 0.8, "AU4": 0.3,
    },
    "surprise": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.75, "AU25": 0.5, "AU26": 1.0},
    "fear": {
        "AU1": 0.9, "AU2": 0.5, "AU4": 0.7, "AU5": 1.0, "AU7": 0.7, "AU38": 0.6,
        "AU20": 1.0, "AU25": 0.75, "AU26": 0.35, "AU16": 0.4,
    },
    "happy": {
        "AU6": 1.0, "AU7": 0.25, "AU38": 0.5, "AU12": 1.0, "AU25": 0.85, "AU26": 0.15, "AU10": 0.15,
    },
    "sad": {
        "AU1": 1.0, "AU4": 0.55, "AU6": 0.15, "AU43": 0.5, "gaze_down": 0.9,
        "AU15": 1.0, "AU17": 0.8,
    },
}  # fmt: skip

_CONTEMPT_SIDE = {"AU12": 0.5, "AU14": 1.0, "AU10": 0.85, "AU7": 0.15}


@dataclass(frozen=True)
class TimeCourse:
    """When an expression starts, peaks and ends, as frame numbers counted from 0.

    Parameters
    ----------
    onset
        Last frame at rest.
    apex
        First frame at full strength.
    release
        Last frame at full strength.
    offset
        First frame at rest again; at most the last frame of the take.
    """

    onset: int
    apex: int
    release: int
    offset: int

    def __post_init__(self) -> None:
        order = (self.onset, self.apex, self.release, self.offset)
        if list(order) != sorted(order) or self.onset < 0 or self.apex == self.onset:
            raise InputError(
                f"onset, apex, release and offset must rise from 0 and apex follow onset; "
                f"received {order}"
            )

    def strength(self, n_frames: int) -> Array:
        """Strength of the expression in each frame.

        Parameters
        ----------
        n_frames
            Frames in the take.

        Returns
        -------
        ndarray of float32, shape (n_frames,)
            0 up to `onset`, rising smoothly to 1 at `apex`, 1 up to `release`, 0 from `offset` on.

        Examples
        --------
        >>> TimeCourse(0, 2, 3, 5).strength(6).tolist()
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
        """
        t = np.arange(n_frames, dtype=np.float32)
        up = np.clip((t - self.onset) / (self.apex - self.onset), 0, 1)
        down = np.clip((self.offset - t) / max(self.offset - self.release, 1), 0, 1)
        ramp = np.minimum(up, down)
        return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def draw_time_course(rng: np.random.Generator, n_frames: int, intensity: str) -> TimeCourse:
    """Draw a random time course.

    Parameters
    ----------
    rng
        Source of chance.
    n_frames
        Frames in the take, at least 16.
    intensity
        "macro": the apex is reached within eight frames, so that the first clip of ten frames
        shows it, and held almost to the end. "micro": from onset to offset under half a second
        (Ekman's definition of a micro-expression), so at most 14 frames at 30 fps.

    Returns
    -------
    TimeCourse
    """
    if intensity == "micro":
        onset = int(rng.integers(1, 4))
        apex = onset + int(rng.integers(3, 6))
        release = apex + int(rng.integers(1, 3))
        return TimeCourse(onset, apex, release, release + int(rng.integers(4, 7)))
    onset = int(rng.integers(0, 2))
    apex = onset + int(rng.integers(4, 7))
    offset = n_frames - 1 - int(rng.integers(0, 2))
    return TimeCourse(onset, apex, offset - int(rng.integers(4, 7)), offset)


def draw_prototype(
    rng: np.random.Generator,
    emotion: str,
    *,
    contempt_side: str = "left",
    asymmetry: float = 0.0,
) -> dict[str, float]:
    """One subject's way of showing an emotion once: the strength of every facial action.

    Parameters
    ----------
    rng
        Source of chance: each action varies by up to 15 %, each side by a further 5 % (our choice).
    emotion
        One of `microx.schema.EMOTIONS`.
    contempt_side
        Side of the one-sided actions of contempt, "left" or "right".
    asymmetry
        In [-1, 1]; 1 makes the left side 12 % stronger and the right side 12 % weaker.

    Returns
    -------
    dict
        Action name to strength in [0, 1] for every name in `ACTIONS`.
    """
    strengths = dict.fromkeys(ACTIONS, 0.0)
    for name, value in _PROTOTYPES[emotion].items():
        shared = value * rng.uniform(0.85, 1.0)
        for side, sign in (("left", 1.0), ("right", -1.0)):
            own = shared * (1 + 0.12 * sign * asymmetry) * rng.uniform(0.95, 1.05)
            strengths[f"{name}_{side}"] = own
    if emotion == "contempt":
        for name, value in _CONTEMPT_SIDE.items():
            strengths[f"{name}_{contempt_side}"] += value * rng.uniform(0.85, 1.0)
    return {name: float(np.clip(value, 0, 1)) for name, value in strengths.items()}


def limit_to_regions(
    strengths: Mapping[str, float], moving_regions: Collection[str] | None
) -> dict[str, float]:
    """Set the facial actions outside some regions to rest.

    Parameters
    ----------
    strengths
        Action name to strength.
    moving_regions
        Regions that may move; "face" and None stand for all.

    Returns
    -------
    dict
        As `strengths`; actions of other regions are 0.

    Raises
    ------
    InputError
        A region that is not in `microx.schema.REGIONS`.
    """
    if moving_regions is None:
        return dict(strengths)
    unknown = sorted(set(moving_regions) - set(REGIONS))
    if unknown:
        raise InputError(
            f"moving regions must be among {', '.join(REGIONS)}; received {', '.join(unknown)}"
        )
    moves = set(REGIONS) if "face" in moving_regions else set(moving_regions)
    return {
        name: value if ACTION_REGIONS[name] in moves else 0.0 for name, value in strengths.items()
    }


def draw_blinks(rng: np.random.Generator, n_frames: int) -> Array:
    """How far the lids are closed by blinking, whatever the emotion.

    Parameters
    ----------
    rng
        Source of chance; a blink starts about every 3.5 s and lasts 6 frames (0.2 s), our choice
        near the means of Bentivoglio et al. (1997).
    n_frames
        Frames in the take.

    Returns
    -------
    ndarray of float32, shape (n_frames,)
        0 open, 1 closed.
    """
    closing = np.zeros(n_frames, np.float32)
    shape = np.array([0.45, 1.0, 0.95, 0.6, 0.3, 0.1], np.float32)
    for start in range(n_frames):
        if rng.random() < 1 / 105:
            part = shape[: n_frames - start]
            stop = start + len(part)
            closing[start:stop] = np.maximum(closing[start:stop], part)
    return closing


def check_emotion(emotion: str) -> None:
    """Refuse an emotion that has no prototype.

    Raises
    ------
    InputError
        `emotion` is not in `microx.schema.EMOTIONS`.
    """
    if emotion not in EMOTIONS:
        raise InputError(f"emotion must be one of {', '.join(EMOTIONS)}; received {emotion!r}")
