"""The eyes and mouth of a drawn actor, painted again in each frame.

Each artist keeps its own part of a `microx.simulation.portrait.Portrait` and paints it over the
canvas from the landmarks of lids or lips. All numbers are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from microx.preprocessing.drawing import fill, grain, smooth_curve, soften, stroke
from microx.simulation.canvas import UNIT, bell, box_slices, to_canvas
from microx.simulation.portrait import Portrait

Array = np.ndarray
Bytes = np.ndarray


def _iris_sprite(colour: tuple[float, float, float], seed: int, radius: float) -> Array:
    """An iris with its pupil, (n, n, 4) float32: RGB 0 to 255 and cover 0 to 1."""
    zoom, half = 4, int(radius + 3)
    n = 2 * half + 1
    axis = (np.arange(n * zoom, dtype=np.float32) + 0.5) / zoom - n / 2
    x, y = np.meshgrid(axis, axis)
    r = np.hypot(x, y) / radius
    rng = np.random.default_rng([seed, 7])
    angle = (np.arctan2(y, x) + np.pi) / (2 * np.pi)
    rays = np.interp(angle, np.linspace(0, 1, 65), rng.uniform(0.72, 1.25, 65), period=1)
    bright = rays * (1.15 - 0.30 * r) * (1 + 0.30 * np.clip(y / radius, -0.5, 1))
    bright *= 1 - 0.72 / (1 + np.exp((0.90 - r) / 0.045))  # limbal ring
    pupil = 1 / (1 + np.exp((r - 0.40) / 0.035))
    rgb = np.array(colour, np.float32) * bright[..., None] * 1.12
    rgb = rgb * (1 - pupil[..., None]) + 10 * pupil[..., None]
    cover = 1 / (1 + np.exp(np.minimum((r - 0.985) / 0.03, 30)))
    image = np.dstack([rgb, cover]).astype(np.float32)
    return np.asarray(cv2.resize(image, (n, n), interpolation=cv2.INTER_AREA), np.float32)


class _Part:
    """A rectangle of the canvas with the skin under it and the wrinkles that cross it."""

    def __init__(
        self, portrait: Portrait, box: tuple[float, float, float, float], names: list[str]
    ) -> None:
        self.rows, self.columns = box_slices(box)
        self.skin = portrait.base[self.rows, self.columns].copy()
        self.shade = portrait.shade[self.rows, self.columns, None].copy()
        self.corner = np.array([self.columns.start, self.rows.start], np.float32)
        self.size = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        edge = np.zeros(self.size, np.float32)
        edge[4:-4, 4:-4] = 1
        edge = cv2.GaussianBlur(edge, (0, 0), 2)
        edge[[0, -1]] = 0
        edge[:, [0, -1]] = 0
        self.wrinkles = {
            name: (portrait.wrinkles[name][self.rows, self.columns] * edge)[..., None]
            for name in names
        }

    def wrinkled(self, actions: Mapping[str, float]) -> Array:
        factor: Array | None = None
        for name, wrinkle in self.wrinkles.items():
            if actions[name] > 0:
                part = np.float32(actions[name]) * wrinkle
                factor = part if factor is None else factor + part
        return self.skin.copy() if factor is None else self.skin * (1 + factor)

    def local(self, points: Array) -> Array:
        return to_canvas(points) - self.corner


class EyeArtist:
    """Paints one eye: lids, lashes, sclera, iris, pupil, catch-light.

    Parameters
    ----------
    portrait
        Whose eye.
    side
        "left" or "right", the subject's own.
    seed
        Seed of the rays of the iris.
    """

    def __init__(self, portrait: Portrait, side: str, seed: int) -> None:
        self.side, self.look = side, portrait.look
        sign = 1 if side == "left" else -1
        self._sign = sign
        box = (0.13, -0.128, 0.76, 0.30)
        if side == "right":
            box = (-0.76, -0.128, -0.13, 0.30)
        self._part = _Part(portrait, box, [f"AU6_{side}"])
        rest = portrait.shape[36:42] if side == "right" else portrait.shape[42:48]
        self._middle = rest.mean(axis=0)
        self._height = float(rest[[4, 5], 1].mean() - rest[[1, 2], 1].mean())
        width = float(np.ptp(rest[:, 0]))
        self._radius = 0.215 * width * UNIT
        self._iris = _iris_sprite(self.look.iris, seed, self._radius)
        self._columns = np.arange(self._part.size[1], dtype=np.float32)[None]
        self._rows = np.arange(self._part.size[0], dtype=np.float32)[:, None]
        self._white = self._sclera(rest[3 if side == "right" else 0])
        self._lit = np.clip(0.25 + 0.80 * self._part.shade, 0.4, 1.0)
        self._lash = np.minimum(np.array(self.look.hair, np.float32) * 0.35, 34)

    def _sclera(self, inner: Array) -> Array:
        """The eyeball without its iris, pink at the inner corner, over the whole part."""
        part, rows, columns = self._part, self._rows, self._columns
        middle_x = float(part.local(self._middle[None])[0, 0])
        inner_x, inner_y = part.local(inner[None])[0]
        away = np.clip(np.abs(columns - middle_x) / (0.16 * UNIT), 0, 1.2)
        white = np.full((*part.size, 3), (226, 217, 211), np.float32)
        white *= (1.02 - 0.22 * away**2)[..., None]
        tear = bell(((columns - inner_x) / 4.5) ** 2) * bell(((rows - inner_y) / 5.0) ** 2)
        pink = np.array([198, 132, 124], np.float32)
        return np.asarray(white + (pink - white) * 0.85 * tear[..., None], np.float32)

    def _lids(self, moved: Array) -> tuple[Array, Array]:
        """Upper and lower lid edges on the part, both from the image's left to right."""
        if self.side == "right":
            upper, lower = moved[[36, 37, 38, 39]], moved[[36, 41, 40, 39]]
        else:
            upper, lower = moved[[42, 43, 44, 45]], moved[[42, 47, 46, 45]]
        wide = np.array([[-0.014, 0.0], [0.014, 0.0]], np.float32)
        upper[[0, -1]] += wide
        lower[[0, -1]] += wide
        return (
            self._part.local(smooth_curve(upper, 7)),
            self._part.local(smooth_curve(lower, 7)),
        )

    def paint(
        self,
        canvas: Bytes,
        moved: Array,
        actions: Mapping[str, float],
        gaze: tuple[float, float],
    ) -> None:
        """Paint the eye on the canvas.

        Parameters
        ----------
        canvas
            (512, 512, 4) uint8, changed in place.
        moved
            (68, 2) landmarks in face units, lids already moved.
        actions
            Action name to strength.
        gaze
            Where the eye looks besides the actions, (x, y) in [-1, 1].
        """
        part = self._part
        skin = part.wrinkled(actions)
        upper, lower = self._lids(moved)
        open_ = fill(part.size, np.concatenate([upper, lower[::-1]]))
        self._shade_lids(skin, upper, lower, actions)
        ball = self._ball(upper, open_, actions, gaze)
        image = skin + (ball - skin) * open_[..., None]
        image = self._lashes(image, upper, lower)
        canvas[part.rows, part.columns, :3] = np.clip(image, 0, 255)

    def _shade_lids(
        self, skin: Array, upper: Array, lower: Array, actions: Mapping[str, float]
    ) -> None:
        size, side = self._part.size, self.side
        widen = 0.35 * actions[f"AU5_{side}"]
        squint = max(actions[f"AU6_{side}"], actions[f"AU7_{side}"])
        t = np.linspace(0, 1, len(upper), dtype=np.float32)
        rise = np.sin(np.pi * np.clip(t * 0.94 + 0.03, 0, 1)) ** 0.6
        gap = UNIT * (0.044 - 0.018 * widen)
        crease = upper.copy()
        chord = upper[0, 1] + (upper[-1, 1] - upper[0, 1]) * t
        rest_top = self._part.local(self._middle[None])[0, 1] - 0.62 * self._height * UNIT
        crease[:, 1] = np.minimum(
            upper[:, 1] - 0.55 * gap * rise, chord + rise * (rest_top - chord) - gap * rise
        )
        crease[:, 1] -= 1.5
        line = 0.34 * stroke(size, crease, 2, 1.1) + 0.20 * stroke(size, crease, 5, 4.0)
        under = lower + np.array([0, 0.030 * UNIT], np.float32)
        line += (0.10 + 0.30 * squint) * stroke(size, under[2:-2], 3, 2.0)
        line += 0.16 * stroke(size, upper, 5, 3.0)
        skin *= (1 - line)[..., None]
        rim = stroke(size, lower + np.array([0, 2.0], np.float32), 2, 1.2)
        skin += (14 + 16 * squint) * rim[..., None] * self._part.shade

    def _ball(
        self,
        upper: Array,
        open_: Array,
        actions: Mapping[str, float],
        gaze: tuple[float, float],
    ) -> Array:
        part, side, white = self._part, self.side, self._white
        middle = part.local(self._middle[None])[0]
        look_x = gaze[0] * 0.022 + 0.075 * actions[f"gaze_side_{side}"]
        look_y = gaze[1] * 0.012 + 0.040 * actions[f"gaze_down_{side}"]
        at = middle + UNIT * np.array([look_x, look_y - 0.012], np.float32)
        half = self._iris.shape[0] / 2 - 0.5
        move = np.array([[1, 0, at[0] - half], [0, 1, at[1] - half]], np.float32)
        iris = cv2.warpAffine(self._iris, move, part.size[::-1])
        ball = white + (iris[..., :3] - white) * iris[..., 3:]
        shadow = stroke(part.size, upper + np.array([0, 1.5], np.float32), 7, 3.2)
        depth = cv2.GaussianBlur(open_, (0, 0), 4.0)
        tone = np.clip(0.50 + 0.62 * depth, 0, 1) * (1 - 0.55 * np.clip(shadow, 0, 1))
        ball *= tone[..., None] * self._lit
        lx = self.look.light[0]
        glint = at + self._radius * np.array([0.42 * np.sign(lx), -0.38], np.float32)
        far = ((self._columns - glint[0]) / 2.1) ** 2 + ((self._rows - glint[1]) / 2.3) ** 2
        spark = np.clip(1.35 * bell(far**2), 0, 1)[..., None]
        ball += (250 - ball) * 0.9 * spark
        return np.asarray(ball, np.float32)

    def _lashes(self, image: Array, upper: Array, lower: Array) -> Array:
        size, weight = self._part.size, self.look.lash_weight
        line = stroke(size, upper, 3, 0.7) * (0.72 + 0.20 * weight)
        outer = upper[len(upper) // 2 :] if self.side == "left" else upper[: len(upper) // 2 + 1]
        line = np.maximum(line, stroke(size, outer, 4, 0.8) * (0.55 + 0.4 * weight))
        hairs = np.zeros(size, np.uint8)
        roots = upper[2:-1:2]
        t = np.linspace(0, 1, len(upper), dtype=np.float32)[2:-1:2, None]
        t = t if self.side == "left" else 1 - t
        reach = UNIT * (0.012 + 0.030 * weight) * (0.5 + 0.6 * t)
        tips = roots + reach * np.concatenate(
            [self._sign * (1.5 * t - 0.45), np.full_like(t, -0.75)], axis=1
        )
        ends = np.round(np.stack([roots, tips], axis=1) * 16).astype(np.int32)
        cv2.polylines(hairs, list(ends), False, 255, 1, cv2.LINE_AA, 4)
        line = np.maximum(line, hairs.astype(np.float32) * np.float32((0.35 + 0.5 * weight) / 255))
        low = stroke(size, lower, 2, 0.9) * (0.22 + 0.22 * weight)
        line = np.maximum(line, low)[..., None]
        return np.asarray(image + (self._lash - image) * line, np.float32)


@dataclass(frozen=True, eq=False)
class _Lips:
    """The lips in one frame, on a window of the canvas that just holds them."""

    points: Array  # (20, 2), landmarks 48 to 67 in window pixels
    size: tuple[int, int]
    shade: Array  # (h, w)
    creases: Array  # (h, w)
    rows: Array  # (h, 1)
    columns: Array  # (1, w)

    @property
    def gap(self) -> float:
        """Mean opening in pixels."""
        return float((self.points[17:20, 1] - self.points[[15, 14, 13], 1]).mean())

    def curve(self, *indices: int) -> Array:
        return smooth_curve(self.points[list(indices)], 5)


class MouthArtist:
    """Paints lips, teeth, tongue and the wrinkles around the mouth.

    Parameters
    ----------
    portrait
        Whose mouth.
    seed
        Seed of the creases of the lips.
    """

    def __init__(self, portrait: Portrait, seed: int) -> None:
        names = [
            f"{name}_{side}"
            for name in ("AU10", "AU12", "AU14", "AU15", "AU17")
            for side in ("left", "right")
        ]
        self._part = _Part(portrait, (-0.66, 0.402, 0.66, 1.34), names)
        self.look = portrait.look
        rng = np.random.default_rng([seed, 9])
        height, width = self._part.size
        columns = rng.standard_normal((1, width)).astype(np.float32)
        creases = soften(np.repeat(columns, height, axis=0), 1.1)
        self._creases = 0.06 * creases + 0.02 * grain(rng, self._part.size, 0.8)

    def paint(self, canvas: Bytes, moved: Array, actions: Mapping[str, float]) -> None:
        """Paint the mouth on the canvas; arguments as in `EyeArtist.paint`."""
        part = self._part
        whole = part.wrinkled(actions)
        points = part.local(moved[48:68])
        low, high = points.min(axis=0).astype(int) - 12, points.max(axis=0).astype(int) + 22
        rows = slice(max(low[1], 0), min(high[1], part.size[0]))
        columns = slice(max(low[0], 0), min(high[0], part.size[1]))
        image = whole[rows, columns]
        height, width = image.shape[:2]
        lips = _Lips(
            points - np.array([columns.start, rows.start], np.float32),
            (height, width),
            part.shade[rows, columns, 0],
            self._creases[rows, columns],
            np.arange(height, dtype=np.float32)[:, None],
            np.arange(width, dtype=np.float32)[None],
        )
        self._shade_skin(image, lips)
        self._lay_lips(image, lips, max(actions["AU16_left"], actions["AU16_right"]))
        self._darken_line(image, lips)
        canvas[part.rows, part.columns, :3] = np.clip(whole, 0, 255)

    def _shade_skin(self, image: Array, lips: _Lips) -> None:
        bottom, top = lips.curve(6, 7, 8, 9, 10, 11, 0), lips.curve(0, 1, 2, 3, 4, 5, 6)
        shadow = 0.30 * stroke(lips.size, bottom[6:-6] + np.array([0, 6], np.float32), 6, 4.0)
        shadow += 0.10 * stroke(lips.size, top + np.array([0, -2], np.float32), 3, 2.0)
        rim = stroke(lips.size, top[6:-6] + np.array([0, -3], np.float32), 2, 1.3)
        image *= (1 - shadow)[..., None]
        image += (9 * rim * lips.shade)[..., None]

    def _lay_lips(self, image: Array, lips: _Lips, low_teeth: float) -> None:
        top, top_in = lips.curve(0, 1, 2, 3, 4, 5, 6), lips.curve(0, 12, 13, 14, 15, 16, 6)
        bottom, low_in = lips.curve(6, 7, 8, 9, 10, 11, 0), lips.curve(6, 16, 17, 18, 19, 12, 0)
        upper = fill(lips.size, np.concatenate([top, top_in[::-1]]), 0.9)
        lower = fill(lips.size, np.concatenate([bottom, low_in[::-1]]), 0.9)
        cover = 0.96 * cv2.GaussianBlur(np.clip(upper + lower, 0, 1), (0, 0), 1.0)
        if lips.gap > 1.2:
            ring = smooth_curve(lips.points[12:20], 5, closed=True)
            hole = fill(lips.size, ring, 0.6)
            image += (self._cavity(lips, hole, low_teeth) - image) * hole[..., None]
            cover = cover * (1 - np.clip(hole - 0.1, 0, 1))
        image += (self._lip_colour(lips, upper, lower) - image) * cover[..., None]

    def _darken_line(self, image: Array, lips: _Lips) -> None:
        p = lips.points
        if lips.gap > 1.2:
            between = lips.curve(0, 12, 13, 14, 15, 16, 6)
        else:
            between = np.concatenate([p[0:1], 0.5 * (p[13:16] + p[[19, 18, 17]]), p[6:7]])
            between = smooth_curve(between, 6)
        line = 0.50 * stroke(lips.size, between[3:-3], 2, 0.9)
        line += 0.26 * stroke(lips.size, between, 4, 2.2)
        for x, y in (p[0], p[6]):
            line += 0.30 * bell(((lips.rows - y) / 3.4) ** 2) * bell(((lips.columns - x) / 4) ** 2)
        dark = 1 - np.clip(line, 0, 0.85)
        image[..., 0] *= 0.15 + 0.85 * dark  # blood shows through: less dark in red
        image[..., 1:] *= dark[..., None]

    def _lip_colour(self, lips: _Lips, upper: Array, lower: Array) -> Array:
        p, rows = lips.points, lips.rows
        up = np.clip((rows - p[3, 1]) / max(p[14, 1] - p[3, 1], 3.0), -0.3, 1.3)
        down = np.clip((rows - p[18, 1]) / max(p[9, 1] - p[18, 1], 3.0), -0.3, 1.3)
        tone_low = 1.10 - 0.84 * (down - 0.32) ** 2 - 0.10 * (down < 0)
        across = (lips.columns - 0.5 * (p[0, 0] + p[6, 0])) / max(float(p[6, 0] - p[0, 0]), 10.0)
        tone = np.where(lower > upper, tone_low, 0.92 - 0.20 * up) * (1 + lips.creases)
        tone = (tone * (1.02 - 0.5 * across**2) * lips.shade)[..., None]
        spot = bell(0.5 * ((across - 0.10 * self.look.light[0]) / 0.17) ** 2)
        spot = 46 * spot * bell(0.5 * ((down - 0.36) / 0.16) ** 2)
        gloss = spot * lower * np.clip(1 + 3 * lips.creases, 0.2, 2) * lips.shade
        return np.asarray(
            np.array(self.look.lips, np.float32) * tone + gloss[..., None], np.float32
        )

    def _cavity(self, lips: _Lips, hole: Array, low_teeth: float) -> Array:
        """Dark mouth with tongue and teeth."""
        p, rows, columns, gap = lips.points, lips.rows, lips.columns, lips.gap
        reach = max(float(p[16, 0] - p[12, 0]) / 2, 6.0)
        across = (columns - 0.5 * (p[12, 0] + p[16, 0])) / reach
        inside = np.full((*lips.size, 3), (46, 16, 16), np.float32)
        tongue = bell((across / 0.62) ** 4)
        tongue = tongue * bell(((rows - p[18, 1] - 1) / max(0.42 * gap, 3.0)) ** 2)
        inside += (np.array([128, 58, 58], np.float32) - inside) * (0.8 * tongue[..., None])
        edge = np.interp(columns[0], p[12:17, 0], p[12:17, 1])[None]
        edge = edge + UNIT * 0.052 * (1.0 - 0.20 * across**2)
        teeth = np.clip((edge - rows) / 1.6 + 0.5, 0, 1) * np.clip(1.25 - across**4, 0, 1)
        self._lay_teeth(inside, teeth, across, 1.0)
        if gap > 4 and low_teeth > 0:
            edge = np.interp(columns[0], p[[19, 18, 17], 0], p[[19, 18, 17], 1])[None]
            edge = edge - UNIT * 0.030
            teeth = np.clip((rows - edge) / 1.6 + 0.5, 0, 1) * np.clip(
                1.0 - (across / 0.75) ** 4, 0, 1
            )
            self._lay_teeth(inside, teeth * low_teeth, across * 1.2, 0.82)
        depth = np.clip(0.40 + 0.75 * cv2.GaussianBlur(hole, (0, 0), 4.0), 0, 1)
        depth *= 1 - 0.45 * stroke(lips.size, smooth_curve(p[12:17], 5), 5, 2.2)
        return np.asarray(inside * depth[..., None], np.float32)

    @staticmethod
    def _lay_teeth(inside: Array, teeth: Array, across: Array, bright: float) -> None:
        gaps = np.abs(np.sin(np.pi * np.arcsin(np.clip(across, -0.99, 0.99)) * 2.6))
        tone = bright * (1.02 - 0.42 * across**2) * (0.86 + 0.14 * np.clip(gaps * 3.5, 0, 1))
        colour = np.array([232, 224, 208], np.float32) * tone[..., None]
        inside += (colour - inside) * teeth[..., None]
