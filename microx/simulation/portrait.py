"""The layers of a drawn actor that are painted once: skin under light, brows, hair, backdrop.

The head is a relief: an inflated outline with a nose, eye sockets, cheekbones, lips and chin raised
or sunk into it. Its slope gives the shading (a soft key light, a weaker fill, darkening in hollows,
a little gloss); wrinkles are dents in the same relief, so that they are lit by the same light.
Everything is numpy and OpenCV; all numbers without a source are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from microx.preprocessing.drawing import fill, grain, smooth_curve, soften, stroke
from microx.simulation import costume
from microx.simulation.canvas import CANVAS, UNIT, bell, box_slices, face_grid, to_canvas, to_linear
from microx.simulation.looks import Look

Array = np.ndarray


def _bump(x: Array, y: Array, cx: float, cy: float, sx: float, sy: float) -> Array:
    return bell(0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


def head_outline(shape: Array) -> Array:
    """The outline of jaw and cranium, (n, 2) in face units, from the 17 jaw landmarks upwards."""
    right, left = shape[0], shape[16]
    half = 0.5 * (left[0] - right[0])
    top = -1.02
    angle = np.linspace(0, np.pi, 13)[1:-1]
    arc = np.stack(
        [half * 1.02 * np.cos(angle), right[1] + (top - right[1]) * np.sin(angle) ** 0.85], axis=-1
    )
    arc[:, 0] += 0.5 * (left[0] + right[0])
    return smooth_curve(np.concatenate([shape[:17], arc]), 6, closed=True)


def head_radius(outline: Array, x: Array, y: Array) -> Array:
    """Distance from the middle of the head over that of the outline: 0 inside to 1 on it."""
    middle = np.array([0.0, 0.2], np.float32)
    rel = outline - middle
    angle = np.arctan2(rel[:, 1], rel[:, 0])
    order = np.argsort(angle)
    radius = np.hypot(rel[:, 0], rel[:, 1])[order]
    theta = np.arctan2(y - middle[1], x - middle[0])
    edge = np.interp(theta, angle[order], radius, period=2 * np.pi)
    return np.asarray(np.hypot(x - middle[0], y - middle[1]) / edge, np.float32)


class Portrait:
    """The painted layers of one subject.

    Parameters
    ----------
    shape
        (68, 2) landmarks at rest in face units.
    look
        How the subject looks.
    seed
        Seed of the painted details (pores, strands of hair, background).

    Attributes
    ----------
    canvas : ndarray of uint8, shape (512, 512, 4)
        The head, RGBA; eyes, lips and wrinkles are painted over it in each frame.
    base : ndarray of float32, shape (512, 512, 3)
        The head without them, 0 to 255.
    shade : ndarray of float32, shape (512, 512)
        Brightness of the light on the skin, about 0.3 to 1.1.
    backdrop : ndarray of uint8, shape (256, 256, 4)
        Background and body at the frame's size.
    wrinkles : dict
        Action to (512, 512) float32: what to multiply the skin by, less 1, at full strength.
    """

    def __init__(self, shape: Array, look: Look, seed: int) -> None:
        self.shape, self.look = shape, look
        self._rng = np.random.default_rng([seed, 512])
        self.x, self.y = face_grid()
        self.outline = head_outline(shape)
        self.radius = head_radius(self.outline, self.x, self.y)
        self._relief = self._carve()
        light = self._light(self._relief)
        light *= (1 - 0.45 * self._nose_shadow(self._relief))[..., None]
        self.shade = np.clip(light.mean(axis=2), 0.02, 1.3) ** np.float32(1 / 2.2)
        self.base, alpha = self._paint_head(light)
        self.wrinkles = self._dent()
        self.canvas = np.dstack([self.base, 255 * alpha]).astype(np.uint8)
        self.backdrop = costume.paint_backdrop(look, shape, self._rng)
        self._pressed: dict[str, tuple[float, ...]] = {}

    def _carve(self) -> Array:
        """Height of the head towards the camera in face units."""
        x, y, s = self.x, self.y, self.shape
        ax = np.abs(x)
        z = 0.80 * np.sqrt(np.clip(1 - (0.98 * self.radius) ** 2.5, 0, 1))
        eye_x, eye_y = float(s[42:48, 0].mean()), float(s[42:48, 1].mean())
        brow_y = float(s[22:27, 1].mean())
        z += 0.035 * _bump(ax, y, 0.30, brow_y + 0.05, 0.24, 0.055)
        z -= 0.085 * _bump(ax, y, eye_x - 0.02, eye_y - 0.01, 0.17, 0.085)
        z -= 0.035 * _bump(ax, y, 0.17, eye_y - 0.01, 0.05, 0.07)
        z += 0.060 * _bump(ax, y, eye_x, eye_y, 0.115, 0.065)
        z -= 0.010 * _bump(ax, y, eye_x - 0.05, eye_y + 0.14, 0.12, 0.025)
        z += 0.045 * _bump(ax, y, 0.50, 0.30, 0.16, 0.13)
        z -= 0.030 * _bump(ax, y, 0.56, 0.72, 0.12, 0.20)
        z -= 0.030 * _bump(ax, y, 0.72, -0.25, 0.10, 0.20)
        z += self._nose()
        mouth_y = float(s[60, 1])
        z += 0.060 * _bump(x, y, 0, mouth_y + 0.02, 0.24, 0.15)
        z -= 0.012 * _bump(x, y, 0, mouth_y - 0.15, 0.022, 0.06)
        z -= 0.040 * _bump(x, y, 0, float(s[57, 1]) + 0.075, 0.15, 0.040)
        z += 0.055 * _bump(x, y, 0, float(s[8, 1]) - 0.14, 0.14, 0.10)
        return np.asarray(z, np.float32)

    def _nose(self) -> Array:
        x, y, s = self.x, self.y, self.shape
        ax = np.abs(x)
        width = float(s[35, 0]) / 0.142
        top, tip, base = float(s[27, 1]), float(s[30, 1]) - 0.017, float(s[33, 1]) - 0.011
        along = np.clip((y - top + 0.08) / (tip - top + 0.08), 0, 1)
        under = 1 / (1 + np.exp((y - base + 0.040) / 0.020))
        ridge = (0.035 + 0.135 * along**1.2) * under
        ridge *= np.exp(-0.5 * (x / ((0.062 + 0.030 * along) * width)) ** 2)
        ridge *= 1 / (1 + np.exp((top - 0.05 - y) / 0.05))
        ball = 0.080 * _bump(x, y, 0, tip + 0.045, 0.072 * width, 0.066) * under
        wing = 0.090 * _bump(ax, y, 0.116 * width, base - 0.058, 0.040 * width, 0.046)
        return np.asarray(ridge + ball + wing, np.float32)

    def _light(self, relief: Array) -> Array:
        """Linear light on the skin, (512, 512, 3)."""
        look = self.look
        slope_y, slope_x = np.gradient(relief, 1 / UNIT)
        norm = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
        lx, ly, lz = look.light
        toward = (lz - lx * slope_x - ly * slope_y) * norm
        fill_side = (0.75 + 0.55 * lx * slope_x) * norm
        sky = 0.5 + 0.5 * slope_y * norm  # slopes that face up are lit by the sky
        wrap = np.array([0.42, 0.26, 0.20], np.float32)  # light bleeds further in red through skin
        key = np.clip((toward[..., None] + wrap) / (1 + wrap), 0, 1)
        fine = relief - soften(relief, 6)
        broad = relief - soften(relief, 18)
        open_sky = np.clip(
            1 + 7 * np.minimum(fine, 0.01) + 2.6 * np.minimum(broad, 0.03), 0.35, 1.1
        )
        warm = np.array([1 + 0.07 * look.warmth, 1.0, 1 - 0.09 * look.warmth], np.float32)
        strength = 0.62 + 0.25 * look.contrast
        weak = 0.36 * (1.15 - look.contrast)
        rim = np.clip(1 - norm, 0, 1) ** 2
        light = strength * key**1.25 * warm
        light += (weak * (fill_side + 0.6 * sky) + 0.05 + 0.16 * rim)[..., None]
        light *= open_sky[..., None]
        return np.asarray(light, np.float32)

    def _gloss(self, relief: Array) -> Array:
        """Light mirrored by the skin, added to the image, (512, 512)."""
        slope_y, slope_x = np.gradient(relief, 1 / UNIT)
        norm = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
        lx, ly, lz = self.look.light
        half = np.array([lx, ly, lz + 1])
        hx, hy, hz = half / np.linalg.norm(half)
        gloss = np.clip((hz - hx * slope_x - hy * slope_y) * norm, 0, 1)
        return np.asarray(0.075 * gloss**36 + 0.045 * gloss**9, np.float32)

    def _nose_shadow(self, relief: Array) -> Array:
        """Soft cast shadow of the nose and brow ridge, 0 to 1."""
        small = cv2.resize(relief, (CANVAS // 2, CANVAS // 2), interpolation=cv2.INTER_AREA)
        lx, ly, lz = self.look.light
        shadow = np.zeros_like(small)
        for reach in range(2, 20, 2):
            # The relief as seen `reach` half-pixels nearer to the light.
            move = np.array([[1, 0, -lx * reach], [0, 1, -ly * reach]], np.float32)
            nearer = cv2.warpAffine(small, move, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
            rise = 2 * reach / UNIT * lz * 1.1
            shadow = np.maximum(shadow, np.clip((nearer - small - rise) * 14, 0, 1))
        shadow = cv2.GaussianBlur(shadow, (0, 0), 2.5)
        return np.asarray(cv2.resize(shadow, (CANVAS, CANVAS)), np.float32)

    def _albedo(self) -> Array:
        """Linear colour of the skin: blood under it, pores, freckles, stubble."""
        x, y, look, rng = self.x, self.y, self.look, self._rng
        ax = np.abs(x)
        size = (CANVAS, CANVAS)
        red = 0.5 * _bump(ax, y, 0.47, 0.42, 0.17, 0.14) + 0.6 * _bump(x, y, 0, 0.42, 0.13, 0.10)
        red += 0.25 * _bump(x, y, 0, 1.15, 0.16, 0.10) + 0.12 * grain(rng, size, 22)
        dark = 0.7 * _bump(ax, y, 0.33, 0.085, 0.15, 0.05) + 0.45 * _bump(
            ax, y, 0.33, -0.07, 0.17, 0.05
        )
        dark += 0.5 * _bump(ax, y, 0.17, 0.0, 0.04, 0.06)
        tone = 1 + 0.020 * grain(rng, size, 0.8) + 0.018 * grain(rng, size, 1.8)
        tone += 0.020 * grain(rng, size, 5) + 0.030 * grain(rng, size, 24)
        if look.freckles > 0:
            spots = np.clip(grain(rng, size, 1.6) - 1.3, 0, 1.2)
            place = _bump(ax, y, 0.35, 0.30, 0.28, 0.18) + 0.5 * _bump(x, y, 0, -0.45, 0.4, 0.2)
            tone -= 0.35 * look.freckles * spots * place
        tint = np.array([1.0, 0.80, 0.80], np.float32) - 1
        shadow = np.array([0.82, 0.76, 0.78], np.float32) - 1
        albedo = to_linear(look.skin) * tone[..., None]
        albedo = albedo * (1 + red[..., None] * tint) * (1 + 0.8 * dark[..., None] * shadow)
        if look.stubble > 0:
            beard = 1 - np.clip((ax - 0.62) / 0.1, 0, 1)
            beard = beard * np.clip((y - 0.52) / 0.1, 0, 1) + 0.8 * _bump(
                ax, y, 0.70, 0.55, 0.08, 0.25
            )
            beard *= 1 - 0.75 * _bump(ax, y, 0.45, 0.62, 0.13, 0.13)
            hairs = np.clip(0.6 + 0.45 * grain(rng, size, 0.7), 0, 1.3)
            weight = (0.42 * look.stubble * np.clip(beard, 0, 1) * hairs)[..., None]
            albedo = albedo * (1 - weight) + to_linear(look.hair) * 0.7 * weight
        return np.asarray(albedo, np.float32)

    def _paint_head(self, light: Array) -> tuple[Array, Array]:
        """Skin, nostrils, brows, ears and front hair; returns colours 0-255 and alpha 0-1."""
        albedo = self._albedo()
        oily = np.clip(1 + 0.22 * grain(self._rng, (CANVAS, CANVAS), 1.2), 0.2, 2)
        linear = (
            albedo * light
            + (
                self._gloss(self._relief)
                * oily
                * light.mean(axis=2)
                * (0.45 + 0.55 * albedo.mean(axis=2) / 0.5)
            )[..., None]
        )
        linear *= (1 - 0.78 * self._nostrils())[..., None]
        skin = 255 * np.clip(linear, 0, 1) ** np.float32(1 / 2.2)
        brows = self._brow_hairs()[..., None]
        brow_colour = np.minimum(np.array(self.look.hair) * 0.62, np.array(self.look.skin) * 0.5)
        skin = skin * (1 - brows) + brow_colour.astype(np.float32) * self.shade[..., None] * brows
        alpha = fill((CANVAS, CANVAS), to_canvas(self.outline), 0.8)
        skin, alpha = costume.add_ears(self.look, self.shape, skin, alpha)
        skin, alpha = costume.add_front_hair(self.look, self.shape, skin, alpha, self._rng)
        return np.clip(skin, 0, 255).astype(np.float32), np.clip(alpha, 0, 1).astype(np.float32)

    def _nostrils(self) -> Array:
        # dlib sets 31 and 35 under the nostrils, not on the wings
        s, size = self.shape.copy(), (CANVAS, CANVAS)
        s[31:36, 0] *= 1.16
        s[31:36, 1] -= np.array([0.026, 0.020, 0.011, 0.020, 0.026])
        holes = np.zeros(size, np.float32)
        for outer, inner, sign in ((31, 32, -1), (35, 34, 1)):
            middle = 0.45 * s[outer] + 0.55 * s[inner]
            reach = abs(float(s[outer, 0] - s[inner, 0]))
            angle = np.linspace(0, 2 * np.pi, 24)
            ring = np.stack([0.40 * reach * np.cos(angle), 0.016 * np.sin(angle)], axis=-1)
            ring[:, 1] += -0.12 * sign * ring[:, 0] * -1 - 0.010
            holes += fill(size, to_canvas(middle + ring), 1.6)
            crease = np.array(
                [
                    [sign * 0.012, -0.085],
                    [sign * 0.024, -0.035],
                    [sign * 0.012, 0.0],
                    [-sign * 0.03, 0.012],
                ]
            )
            line = smooth_curve(s[outer] + crease)
            holes += 0.28 * stroke(size, to_canvas(line), 3, 2.4)
        base = smooth_curve(s[[32, 33, 34]] + np.array([0.0, -0.004]))
        holes += 0.16 * stroke(size, to_canvas(base), 3, 2.5)
        return np.clip(holes, 0, 1)

    def _brow_hairs(self) -> Array:
        """The brows as strokes of hair, 0 to 1, painted four times larger and brought down."""
        rng, weight = self._rng, self.look.brow_weight
        image = np.zeros((CANVAS, CANVAS), np.float32)
        left, top, zoom = 90, 130, 3
        big = np.zeros((90 * zoom, 340 * zoom), np.uint8)
        for points, sign in ((self.shape[17:22], -1), (self.shape[26:21:-1], 1)):
            curve = smooth_curve(points + np.array([0.0, 0.030]), 12)
            for _ in range(int(190 * weight)):
                t = rng.uniform(0, 1) ** 0.9
                half = weight * np.interp(t, [0, 0.3, 0.75, 1], [0.004, 0.020, 0.032, 0.026])
                root = curve[int(t * (len(curve) - 1))] + np.array([0, rng.uniform(-1, 1) * half])
                lean = np.interp(t, [0, 0.5, 1], [0.35, -0.25, -1.05]) + rng.uniform(-0.2, 0.2)
                way = np.array([sign * np.cos(lean), np.sin(lean)])
                tip = root + way * rng.uniform(0.035, 0.06)
                ends = (to_canvas(np.stack([root, tip])) - np.array([left, top])) * zoom
                ink = int(rng.integers(110, 230))
                points_px = np.round(ends * 16).astype(np.int32)
                cv2.polylines(big, [points_px], False, ink, zoom - 1, cv2.LINE_AA, 4)
        small = cv2.resize(big, (340, 90), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        soft = cv2.GaussianBlur(small, (0, 0), 3)
        image[top : top + 90, left : left + 340] = np.clip(0.75 * small + 0.55 * soft, 0, 0.95)
        return image

    def _dent(self) -> dict[str, Array]:
        """What each facial action's wrinkles multiply the skin by, less 1."""
        depth = 0.75 + 0.5 * self.look.age
        plain = self._light(self._relief)[..., 1]
        wrinkles: dict[str, Array] = {}
        for group in _wrinkle_groups(self.shape):
            dents = {name: self._furrows(furrows) for name, furrows in group.items()}
            relief = self._relief + depth * sum(dents.values())
            ratio = (self._light(relief)[..., 1] / plain) ** np.float32(1 / 2.2) - 1
            for name, dent in dents.items():
                reach = np.clip(soften(np.abs(dent), 6) * 400, 0, 1)
                for side, half in (("right", self.x < 0), ("left", self.x >= 0)):
                    wrinkles[f"{name}_{side}"] = np.where(half, ratio * reach, 0).astype(np.float32)
        return wrinkles

    def _furrows(self, furrows: list[tuple[list[tuple[float, float]], float, float]]) -> Array:
        dent = np.zeros((CANVAS, CANVAS), np.float32)
        for points, spread, height in furrows:
            for sign in (-1, 1):
                curve = smooth_curve(np.array(points) * np.array([sign, 1]), 6)
                line = stroke((CANVAS, CANVAS), to_canvas(curve), 2, spread)
                dent += height * line / max(float(line.max()), 1e-6)
        return dent

    def press_wrinkles(self, actions: Mapping[str, float]) -> None:
        """Paint forehead, frown and nose wrinkles of facial actions on the canvas.

        Parameters
        ----------
        actions
            Action name to strength.
        """
        for box, names in _PRESSED.items():
            strengths = tuple(round(actions[name], 3) for name in names)
            if self._pressed.get(box, (0.0,) * len(names)) == strengths:
                continue
            self._pressed[box] = strengths
            rows, columns = box_slices(_BOXES[box])
            factor = np.ones_like(self.wrinkles[names[0]][rows, columns])
            for name, strength in zip(names, strengths, strict=True):
                if strength > 0:
                    factor += strength * self.wrinkles[name][rows, columns]
            skin = self.base[rows, columns] * factor[..., None]
            self.canvas[rows, columns, :3] = np.clip(skin, 0, 255)


_BOXES: dict[str, tuple[float, float, float, float]] = {
    "brows": (-0.72, -0.74, 0.72, -0.13),
    "nose": (-0.125, -0.085, 0.125, 0.40),
}
_PRESSED: dict[str, tuple[str, ...]] = {
    "brows": tuple(f"{a}_{s}" for a in ("AU1", "AU2", "AU4") for s in ("left", "right")),
    "nose": ("AU9_left", "AU9_right"),
}


def _wrinkle_groups(
    s: Array,
) -> list[dict[str, list[tuple[list[tuple[float, float]], float, float]]]]:
    """Furrows by action: points on the left half (x > 0), blur in pixels, height (dents < 0).

    Actions in one group do not meet, so that their shading is computed together.
    """
    wing_x, wing_y = 1.16 * float(s[35, 0]), float(s[35, 1]) - 0.026
    corner_x, corner_y = float(s[54, 0]), float(s[54, 1])
    out_x, out_y = float(s[45, 0]), float(s[45, 1])
    chin_y = float(s[8, 1])
    fold = [
        (wing_x + 0.035, wing_y - 0.05), (wing_x + 0.11, wing_y + 0.05),
        (corner_x + 0.075, corner_y - 0.13), (corner_x + 0.115, corner_y - 0.01),
    ]  # fmt: skip
    ball = [(wing_x + 0.14, wing_y - 0.03), (corner_x + 0.13, corner_y - 0.17)]
    crow = [
        ([(out_x + 0.045, out_y + dy), (out_x + 0.14, out_y + 2.6 * dy + 0.01)], 1.5, -0.010)
        for dy in (-0.022, 0.008, 0.036)
    ]
    bag = [(0.24, 0.10), (0.33, 0.125), (0.44, 0.11)]
    pouch = [(0.25, 0.065), (0.34, 0.08), (0.43, 0.07)]
    return [
        {
            "AU12": [(fold, 3.0, -0.030), (ball, 13.0, 0.030)],
            "AU4": [
                ([(0.055, -0.30), (0.045, -0.22), (0.055, -0.17)], 2.0, -0.022),
                ([(0.10, -0.26), (0.12, -0.19)], 5.0, 0.012),
            ],
            "AU6": [*crow, (bag, 2.4, -0.016), (pouch, 4.0, 0.014)],
            "AU9": [([(0.0, y), (0.085, y - 0.03)], 1.7, -0.014) for y in (0.02, 0.075, 0.13)],
            "AU17": [([(0.0, chin_y - 0.20), (0.13, chin_y - 0.17)], 4.0, -0.030)],
        },
        {
            "AU1": [([(0.0, y), (0.26, y - 0.012)], 2.0, -0.014) for y in (-0.40, -0.47, -0.54)],
            "AU10": [(fold[:3], 3.0, -0.024), (ball[:1] * 2, 11.0, 0.02)],
            "AU15": [
                (
                    [(corner_x + 0.02, corner_y + 0.02), (corner_x + 0.06, corner_y + 0.13)],
                    2.5,
                    -0.02,
                )
            ],
        },
        {
            "AU2": [
                ([(0.26, y), (0.42, y), (0.55, y + 0.02)], 2.0, -0.012)
                for y in (-0.412, -0.482, -0.552)
            ],
            "AU14": [
                (
                    [(corner_x + 0.045, corner_y - 0.05), (corner_x + 0.05, corner_y + 0.04)],
                    2.6,
                    -0.03,
                )
            ],
        },
    ]
