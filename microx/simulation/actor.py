"""Drawn actors: their identity, their 68 landmarks, and one frame of them.

An `Actor` is drawn in layers. What does not change (head with hair, body, background) is painted
once by `microx.simulation.portrait` on a canvas twice as large as the frame; in each frame the
eyes and mouth are drawn again by `microx.simulation.features`, wrinkles are multiplied in, and the
canvas is bent by smooth displacement fields (brows, cheeks, jaw, a little yaw), moved by the
head's pose and brought down to the frame's size in one resampling. The true landmarks go through
the same steps.

Positions on the face are in face units: the origin is midway between the outer eye corners, x to
the right of the image, y down, and 1 is the outer-eye distance of the mean face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from microx.preprocessing.mean_face import mean_face
from microx.simulation.canvas import CANVAS, CENTRE, UNIT, to_canvas
from microx.simulation.features import EyeArtist, MouthArtist
from microx.simulation.looks import Look, draw_look
from microx.simulation.portrait import Portrait

Array = np.ndarray

FRAME_SIZE = CANVAS // 2
"""Height and width of a drawn frame in pixels; our choice."""

_LAMP_CONTRAST = 0.8  # at least, of a single lamp; our choice

_GRID_STEP = 8  # canvas pixels between two points of a displacement field
_GRID = CANVAS // _GRID_STEP + 1


@dataclass(frozen=True)
class Identity:
    """One subject: the landmarks of the face at rest and everything about its looks.

    Parameters
    ----------
    seed
        Seed of the identity.
    shape
        (68, 2) float32, landmarks at rest in face units.
    look
        Skin, hair, eyes, lips, light and background; see `microx.simulation.looks.Look`.
    contempt_side
        "left" or "right": the side on which the subject shows contempt.
    asymmetry
        In [-1, 1]: how much stronger the left half of the face acts.
    """

    seed: int
    shape: Array
    look: Look
    contempt_side: str
    asymmetry: float


def draw_identity(seed: int) -> Identity:
    """Draw a random subject.

    Parameters
    ----------
    seed
        Equal seeds give equal subjects.

    Returns
    -------
    Identity
    """
    rng = np.random.default_rng([seed, 68])
    look = draw_look(rng)
    return Identity(
        seed=seed,
        shape=_draw_shape(rng, masculine=look.lash_weight < 0.45),
        look=look,
        contempt_side=str(rng.choice(["left", "right"])),
        asymmetry=float(rng.uniform(-1, 1)),
    )


def _draw_shape(rng: np.random.Generator, *, masculine: bool) -> Array:
    """Vary the mean shape: jaw, brows, eyes, nose, lips. The ranges are our choice."""
    shape = mean_face().astype(np.float32)
    x, y = shape[:, 0], shape[:, 1]
    side = np.sign(x)
    low = np.clip((y[:17] - 0.3) / 0.8, 0, 1)
    squareness = rng.uniform(-0.01, 0.06) if masculine else rng.uniform(-0.08, -0.01)
    x[:17] *= rng.uniform(0.95, 1.03) * (1 + squareness * np.sin(np.pi * low))
    y[:17] += low * rng.uniform(-0.05, 0.04)
    brows = slice(17, 27)
    y[brows] += rng.uniform(-0.025, 0.015)
    y[[19, 20, 23, 24]] += rng.uniform(-0.012, 0.012)
    y[[17, 26]] += rng.uniform(-0.015, 0.02)
    x[[21, 22]] += side[[21, 22]] * rng.uniform(-0.012, 0.015)
    eyes = slice(36, 48)
    y[eyes] *= rng.uniform(0.96, 1.2) + 0.08 * (not masculine)
    y[[36, 45]] += rng.uniform(-0.018, 0.012)
    x[[39, 42]] += side[[39, 42]] * rng.uniform(-0.012, 0.01)
    length = rng.uniform(-0.025, 0.025)
    y[27:36] += length * np.clip((y[27:36] + 0.05) / 0.5, 0, 1)
    x[31:36] *= rng.uniform(0.9, 1.15)
    mouth = slice(48, 68)
    thickness = np.where(y[mouth] < 0.75, rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.05))
    thickness = thickness * (1.0 if masculine else 1.12)
    y[mouth] = 0.75 + (y[mouth] - 0.75) * thickness + 0.6 * length + rng.uniform(-0.015, 0.015)
    x[mouth] *= rng.uniform(0.92, 1.1)
    return shape


@dataclass(frozen=True)
class Pose:
    """Where the head is in a frame.

    Parameters
    ----------
    shift_xy
        Shift of the head in frame pixels, (x, y).
    roll
        Turn in the image plane in degrees, positive clockwise.
    scale
        Size against the size at rest.
    yaw, pitch
        Small turns out of the plane in degrees, shown as parallax only.
    """

    shift_xy: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0

    def matrix(self) -> Array:
        """The (2, 3) matrix from canvas positions to frame positions, both in pixels."""
        pivot = np.array(CENTRE) + UNIT * np.array([0.0, 1.1])
        angle = np.deg2rad(self.roll)
        turn = self.scale * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        offset = pivot - turn @ pivot + 2 * np.asarray(self.shift_xy)
        # A frame pixel covers two canvas pixels, whose centres lie at integers: x -> (x - 0.5) / 2.
        return (np.column_stack([turn, offset - 0.5]) / 2).astype(np.float32)


def _side_pairs(actions: Mapping[str, float], name: str) -> tuple[float, float]:
    return actions[f"{name}_right"], actions[f"{name}_left"]


def _move_lids(shape: Array, actions: Mapping[str, float], blink: float) -> None:
    for side, corner_out, upper, lower, corner_in in (
        ("right", 36, (37, 38), (41, 40), 39),
        ("left", 45, (44, 43), (46, 47), 42),
    ):
        au5, au6, au7, au43, down = (
            actions[f"{name}_{side}"] for name in ("AU5", "AU6", "AU7", "AU43", "gaze_down")
        )
        shape[list(upper), 1] += -0.034 * au5 + 0.010 * au7 + 0.007 * au6
        shape[list(lower), 1] += -0.024 * au7 - 0.017 * au6 + 0.004 * au5
        shape[corner_out, 1] += 0.006 * au43 + 0.006 * au6
        shape[corner_in, 1] += 0.0
        closing = max(blink, 0.5 * au43 + 0.16 * down)
        for top, bottom, droop in zip(upper, lower, (1.1, 0.9), strict=True):
            gap = shape[bottom, 1] - shape[top, 1]
            shape[top, 1] += min(closing * droop, 0.97) * gap
            shape[bottom, 1] += 0.10 * blink * gap * -1


def _move_mouth(shape: Array, actions: Mapping[str, float]) -> None:
    points = shape[48:68]
    x, y = points[:, 0], points[:, 1]
    line = y[12]  # height of the closed mouth: an inner corner
    left = np.clip(0.5 + x / 0.3, 0, 1)
    sign = np.sign(x)
    corner = np.clip(np.abs(x) / np.abs(x).max(), 0, 1) ** 1.6
    middle = 1 - corner**2
    is_upper = np.isin(np.arange(20), (1, 2, 3, 4, 5, 13, 14, 15)).astype(np.float32)
    is_lower = np.isin(np.arange(20), (7, 8, 9, 10, 11, 17, 18, 19)).astype(np.float32)
    inner = np.arange(20) >= 12

    def act(name: str) -> Array:
        right_value, left_value = _side_pairs(actions, name)
        return (right_value + (left_value - right_value) * left).astype(np.float32)

    tight = act("AU24")
    thin = np.clip(1 - 0.62 * tight - 0.25 * act("AU20") - 0.2 * act("AU12") * is_upper, 0.3, 1)
    dx = sign * corner * (0.075 * act("AU12") + 0.085 * act("AU20") - 0.03 * act("AU14"))
    dx -= sign * corner * (0.03 * tight + 0.07 * act("AU26") + 0.012 * act("AU17"))
    dy = corner * (-0.066 * act("AU12") + 0.062 * act("AU15") - 0.022 * act("AU14"))
    dy += corner * (0.015 * act("AU20") + 0.012 * tight)
    dy += is_upper * middle * (-0.020 * act("AU25") - 0.012 * act("AU26"))
    dy += is_upper * (0.35 + 0.65 * middle) * -0.040 * act("AU10")
    opening = 0.050 * act("AU25") + 0.03 * act("AU16") * (0.5 + inner)
    dy += is_lower * middle * opening + corner * 0.035 * act("AU26")
    dy += is_lower * (1 - corner**3) * act("AU26") * (0.070 + 0.024 * inner)
    dy += is_lower * -0.024 * act("AU17") - is_upper * middle * 0.014 * act("AU17")
    dy += is_lower * middle * 0.012 * act("AU12")
    points[:, 0] = x + dx
    points[:, 1] = line + (y - line) * thin + dy
    for top, bottom in ((13, 19), (14, 18), (15, 17)):  # the lips do not cross
        points[bottom, 1] = max(points[bottom, 1], points[top, 1] + 0.003)


def move_landmarks(shape: Array, actions: Mapping[str, float], blink: float = 0.0) -> Array:
    """Landmarks of lids and lips under facial actions, before the skin is displaced.

    Parameters
    ----------
    shape
        (68, 2) landmarks at rest in face units.
    actions
        Action name to strength for every name in `microx.simulation.expressions.ACTIONS`.
    blink
        How far both lids are closed, 0 to 1.

    Returns
    -------
    ndarray of float32, shape (68, 2)
    """
    moved = shape.copy()
    _move_lids(moved, actions, blink)
    _move_mouth(moved, actions)
    return moved


def _rise(value: Array, start: float, stop: float) -> Array:
    t = np.clip((value - start) / (stop - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _window(name: str, x: Array, y: Array) -> Array:
    """Where an action may displace skin: exactly 0 outside its own region's surroundings."""
    window: Array = _rise(y, 0.36, 0.54)
    if name in ("AU1", "AU2", "AU4"):
        window = _rise(y, -0.10, -0.235) * _rise(y, -0.82, -0.55) * _rise(x, 0.0, 0.09)
    elif name == "AU6":
        window = _rise(y, 0.09, 0.17) * _rise(y, 0.44, 0.30) * _rise(x, 0.16, 0.28)
    elif name in ("AU9", "AU38"):
        window = _rise(y, 0.24, 0.36) * _rise(y, 0.58, 0.52) * _rise(x, 0.26, 0.20)
    return window


# Action: (centre, spread, shift) in face units on the subject's right half mirrored to x > 0.
_BUMPS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "AU1": ((0.20, -0.27), (0.15, 0.17), (0.0, -0.062)),
    "AU2": ((0.52, -0.24), (0.16, 0.17), (0.0, -0.055)),
    "AU4": ((0.20, -0.25), (0.22, 0.12), (-0.038, 0.050)),
    "AU6": ((0.42, 0.25), (0.20, 0.12), (0.0, -0.035)),
    "AU9": ((0.14, 0.45), (0.09, 0.08), (0.0, -0.030)),
    "AU38": ((0.16, 0.46), (0.06, 0.06), (0.018, -0.004)),
    "AU10": ((0.20, 0.58), (0.12, 0.07), (0.0, -0.018)),
    "AU12": ((0.47, 0.62), (0.16, 0.16), (0.028, -0.045)),
    "AU14": ((0.42, 0.76), (0.10, 0.10), (-0.018, -0.008)),
    "AU15": ((0.36, 0.88), (0.14, 0.12), (0.0, 0.030)),
    "AU17": ((0.00, 1.12), (0.20, 0.13), (0.0, -0.035)),
    "AU20": ((0.45, 0.82), (0.16, 0.18), (0.035, 0.008)),
}


def _displacement_fields(shape: Array) -> tuple[tuple[str, ...], Array]:
    """The displacement of the skin for each action at full strength, and for a degree of yaw/pitch.

    Returns the names of the fields and an array (n, grid, grid, 2) in canvas pixels.
    """
    axis = np.arange(_GRID, dtype=np.float32) * _GRID_STEP
    gx, gy = np.meshgrid((axis - CENTRE[0]) / UNIT, (axis - CENTRE[1]) / UNIT)
    names: list[str] = []
    fields: list[Array] = []
    for name, ((cx, cy), (sx, sy), (dx, dy)) in _BUMPS.items():
        for side, sign in (("right", -1.0), ("left", 1.0)):
            x = sign * gx
            weight = np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((gy - cy) / sy) ** 2))
            weight *= _window(name, x, gy) * (0.5 if name == "AU17" else 1.0)
            names.append(f"{name}_{side}")
            fields.append(np.stack([weight * dx * sign, weight * dy], axis=-1))
    mouth_y = float(shape[60, 1])
    drop = _rise(gy, mouth_y - 0.02, mouth_y + 0.42) * _rise(np.abs(gx), 1.05, 0.75)
    for side in ("right", "left"):
        names.append(f"AU26_{side}")
        fields.append(0.5 * np.stack([-0.06 * gx * drop, 0.155 * drop], axis=-1))
    depth = 0.8 * np.sqrt(np.clip(1 - (gx / 0.95) ** 2 - ((gy - 0.2) / 1.35) ** 2, 0, 1))
    nose = np.exp(-0.5 * (gx / 0.10) ** 2) * _rise(gy, -0.1, 0.4) * _rise(gy, 0.58, 0.46)
    depth = depth + 0.18 * nose
    names += ["yaw", "pitch"]
    still = np.zeros_like(depth)
    fields.append(np.deg2rad(1) * np.stack([depth - 0.35, still], axis=-1))
    fields.append(np.deg2rad(1) * np.stack([still, depth - 0.35], axis=-1))
    return tuple(names), (UNIT * np.stack(fields)).astype(np.float32)


class Actor:
    """A subject ready to be drawn: the painted layers and everything that moves over them.

    Parameters
    ----------
    identity
        Who is drawn.

    Examples
    --------
    >>> from microx.simulation.expressions import ACTIONS
    >>> frame, xy = Actor(draw_identity(0)).draw(dict.fromkeys(ACTIONS, 0.0))
    >>> frame.shape, xy.shape
    ((256, 256, 3), (68, 2))
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._portrait = Portrait(identity.shape, identity.look, identity.seed)
        self._eyes = [EyeArtist(self._portrait, side, identity.seed) for side in ("right", "left")]
        self._mouth = MouthArtist(self._portrait, identity.seed)
        self._names, self._fields = _displacement_fields(identity.shape)
        size = np.arange(FRAME_SIZE, dtype=np.float32)
        self._frame_x, self._frame_y = np.meshgrid(size, size)

    def draw(
        self,
        actions: Mapping[str, float],
        *,
        pose: Pose = Pose(),
        blink: float = 0.0,
        gaze: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[np.ndarray, Array]:
        """Draw one frame.

        Parameters
        ----------
        actions
            Action name to strength for every name in `microx.simulation.expressions.ACTIONS`.
        pose
            Where the head is.
        blink
            How far both lids are closed, 0 to 1.
        gaze
            Where both eyes look besides the actions, (x, y) in [-1, 1].

        Returns
        -------
        frame : ndarray of uint8, shape (256, 256, 3)
            RGB, without camera noise.
        xy : ndarray of float32, shape (68, 2)
            The true landmarks in frame pixels.
        """
        moved = move_landmarks(self.identity.shape, actions, blink)
        canvas = self._portrait.canvas
        self._portrait.press_wrinkles(actions)
        for eye in self._eyes:
            eye.paint(canvas, moved, actions, gaze)
        self._mouth.paint(canvas, moved, actions)
        field = self._field(actions, pose)
        matrix = pose.matrix()
        head = cv2.remap(canvas, *self._source(matrix, field), cv2.INTER_LINEAR)
        frame = cv2.cvtColor(_over(head, self._portrait.backdrop), cv2.COLOR_RGBA2RGB)
        return np.asarray(frame, np.uint8), _displace(to_canvas(moved), field, matrix)

    def _field(self, actions: Mapping[str, float], pose: Pose) -> Array:
        strengths = dict(actions) | {"yaw": pose.yaw, "pitch": pose.pitch}
        weights = np.array([strengths[name] for name in self._names], np.float32)
        return np.tensordot(weights, self._fields, axes=1).astype(np.float32)

    def _source(self, matrix: Array, field: Array) -> tuple[Array, Array]:
        """Where on the canvas each frame pixel comes from."""
        back = cv2.invertAffineTransform(matrix).astype(np.float32)
        x = back[0, 0] * self._frame_x + back[0, 1] * self._frame_y + back[0, 2]
        y = back[1, 0] * self._frame_x + back[1, 1] * self._frame_y + back[1, 2]
        shift = cv2.remap(field, x / _GRID_STEP, y / _GRID_STEP, cv2.INTER_LINEAR)
        return x - shift[..., 0], y - shift[..., 1]


def _over(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Lay an RGBA image over another; the alpha of `below` is kept where `top` is clear."""
    alpha = top[..., 3].astype(np.float32) * np.float32(1 / 255)
    blended: np.ndarray = cv2.blendLinear(top, below, alpha, 1 - alpha)
    if below.shape[2] == 4:
        blended[..., 3] = np.maximum(top[..., 3], below[..., 3])
    return blended


def _displace(points: Array, field: Array, matrix: Array) -> Array:
    """Carry canvas positions through the displacement field and the pose to the frame."""
    target = points.copy()
    nowhere = np.empty(0, np.float32)
    for _ in range(6):  # frames are drawn backwards: target - field(target) = point
        grid = (target / _GRID_STEP)[:, None]
        target = points + cv2.remap(field, grid, nowhere, cv2.INTER_LINEAR)[:, 0]
    return np.asarray(target @ matrix[:, :2].T + matrix[:, 2], np.float32)


@lru_cache(maxsize=4)
def load_actor(seed: int, lamp: tuple[float, float, float] | None = None) -> Actor:
    """The actor of an identity seed; the four latest are kept, not painted again.

    Parameters
    ----------
    seed
        Identity seed.
    lamp
        Direction towards a lamp in place of the actor's usual light, unit vector as
        `microx.simulation.looks.Look.light`; None for the usual light.

    Returns
    -------
    Actor
    """
    identity = draw_identity(seed)
    if lamp is not None:
        contrast = max(identity.look.contrast, _LAMP_CONTRAST)
        look = replace(identity.look, light=lamp, contrast=contrast)
        identity = replace(identity, look=look)
    return Actor(identity)
