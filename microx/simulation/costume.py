"""What surrounds a drawn face: ears, hair, neck and clothes, background.

Called by `microx.simulation.portrait.Portrait`.
All numbers are our choice.
"""

from __future__ import annotations

import cv2
import numpy as np

from microx.preprocessing.drawing import fill, grain, smooth_curve, soften, stroke
from microx.simulation.canvas import CANVAS, face_grid, to_canvas
from microx.simulation.looks import HAIR_STYLES, Look

Array = np.ndarray
Bytes = np.ndarray

_WALLS = ((148, 156, 160), (172, 160, 144), (112, 124, 132), (186, 184, 180), (96, 108, 98),
          (134, 116, 106), (92, 98, 118), (160, 172, 178))  # fmt: skip


def add_ears(look: Look, shape: Array, skin: Array, alpha: Array) -> tuple[Array, Array]:
    """Paint ears behind the head.

    Parameters
    ----------
    look, shape
        Whose ears: looks, and (68, 2) landmarks at rest in face units.
    skin, alpha
        (512, 512, 3) colours 0 to 255 and (512, 512) cover 0 to 1 of the head.

    Returns
    -------
    skin, alpha
        With ears.
    """
    size = (CANVAS, CANVAS)
    colour = np.array(look.skin, np.float32) * np.array([0.96, 0.84, 0.82], np.float32)
    lx = look.light[0]
    for sign, edge in ((-1, shape[0, 0]), (1, shape[16, 0])):
        angle = np.linspace(0, 2 * np.pi, 40)
        radius = 1 - 0.22 * np.clip(np.sin(angle - 0.5), 0, 1)
        ring = np.stack([0.085 * np.cos(angle) * radius, 0.20 * np.sin(angle) * radius], axis=-1)
        ring[:, 0] = sign * (ring[:, 0] + 0.10 * ring[:, 1] * -1)
        middle = np.array([edge + sign * 0.035, 0.16])
        ear = fill(size, to_canvas(middle + ring), 0.8)
        inner = fill(size, to_canvas(middle + np.array([0.0, -0.01]) + 0.62 * ring), 4.0)
        rim = stroke(size, to_canvas(middle + 0.80 * ring[18:38]), 3, 2.0)
        bright = 0.80 + 0.22 * sign * lx - 0.34 * inner + 0.10 * rim
        shaded = colour * bright[..., None]
        behind = np.clip(ear - alpha, 0, 1)[..., None]
        skin = skin * (1 - behind) + shaded * behind
        alpha = np.maximum(alpha, ear)
    return skin, alpha


def _hair_outlines(look: Look, shape: Array) -> tuple[Array, Array]:
    """The outer edge of the front hair and the hairline, in face units, both left to right."""
    style = look.hair_style
    top, sides, low, line, _ = HAIR_STYLES[style]
    shape = shape
    top, sides = top * look.hair_volume, sides * look.hair_volume
    line = line + look.hairline
    part = look.part
    half = 0.5 * float(shape[16, 0] - shape[0, 0]) * 1.02
    angle = np.linspace(np.pi, 0, 25)
    lift = np.sin(angle)
    x = (half + sides * (0.55 + 0.45 * lift)) * np.cos(angle)
    crown = 1.02 + top + 0.02 * np.cos(5 * angle)
    outer = np.stack([x, 0.02 - crown * lift**0.85], axis=-1)
    tuck = 0.6 if low > 0.5 else 0.0
    outer = np.concatenate(
        [
            [[-half - sides * 0.4 + 0.04 * tuck, low]],
            outer,
            [[half + sides * 0.4 - 0.04 * tuck, low]],
        ]
    )
    inside = half - (0.035 if low < 0.5 else 0.05)
    swept = low > 0.5 and style != "fringe"  # hair parted and combed over the temples
    peak, brow_side = (line - 0.20, 0.78) if swept else (line * 1.08, 0.93)
    beside = 0.5 * (peak + line * 0.98) if swept else line * 1.02
    hairline = np.array(
        [
            [-inside + 0.01, low], [-inside, 0.0], [-0.70, -0.22], [-0.62, line * 0.68],
            [-0.44, line * brow_side], [part - 0.12, beside], [part, peak],
            [part + 0.12, beside], [0.44, line * brow_side], [0.62, line * 0.68], [0.70, -0.22],
            [inside, 0.0], [inside - 0.01, low],
        ]
    )  # fmt: skip
    return smooth_curve(outer, 4), smooth_curve(hairline, 6)


def _strands(
    look: Look, shape: Array, cover: Array, rng: np.random.Generator, *, straight_down: bool
) -> Array:
    """Brightness of hair drawn strand by strand along its flow, about 0.4 to 1.6, (512, 512)."""
    style = look.hair_style
    curl = {"curly": 1.0, "afro": 1.3, "buzz": 0.5}.get(style, 0.12)
    length = {"buzz": 3, "afro": 7, "curly": 9}.get(style, 16)
    rows, columns = np.nonzero(cover > 0.3)
    image = np.full((CANVAS, CANVAS), 105, np.uint8)
    if len(rows) == 0:
        return np.ones((CANVAS, CANVAS), np.float32)
    n = int(np.clip(len(rows) / 22, 200, 2600))
    pick = rng.integers(0, len(rows), n)
    place: Array = np.stack([columns[pick], rows[pick]], axis=-1).astype(np.float32)
    part = to_canvas(np.array([look.part, -1.02]))
    twist = curl * 1.6 * grain(rng, (CANVAS, CANVAS), 7)
    path: list[Array] = [place]
    for _ in range(length):
        here = path[-1]
        col, row = np.clip(here, 0, CANVAS - 1).astype(int).T
        away = here - part
        away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-3
        away[:, 1] += 3.0 if straight_down else 0.35
        angle = np.arctan2(away[:, 1], away[:, 0]) + twist[row, col]
        path.append(here + 3.2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    lines = np.round(np.stack(path, axis=1) * 16).astype(np.int32)
    ink = np.clip(105 + 30 * rng.standard_normal(n), 25, 220).astype(int)
    for line, value in zip(lines, ink, strict=True):
        cv2.polylines(image, [line], False, int(value), 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(image, (0, 0), 0.6).astype(np.float32)
    return np.asarray(soft / 105, np.float32)


def _hair_colours(look: Look, shape: Array, bright: Array, crown: float) -> Array:
    """Colours 0 to 255 of hair whose strands have the given brightness, lit like the head."""
    x, y = face_grid()
    lx, ly, lz = look.light
    slope_x, slope_y = x / 1.0, (y + 0.15) / max(crown, 0.8)
    lit = np.clip(0.62 + 0.45 * (lx * slope_x + ly * slope_y) + 0.25 * lz, 0.25, 1.25)
    shine_at = slope_y + 0.55 - 0.10 * slope_x * lx + 0.02 * bright
    shine = np.exp(-0.5 * (shine_at / 0.10) ** 2) * np.exp(-0.5 * ((x - 0.45 * lx) / 0.42) ** 2)
    colour = np.array(look.hair, np.float32)
    glint = 0.5 * colour + np.array([70, 64, 58], np.float32)
    mix = np.clip(0.55 * shine * bright**2, 0, 0.8)[..., None]
    return np.asarray(
        colour * (lit * bright**1.3)[..., None] * (1 - mix) + glint * mix * bright[..., None],
        np.float32,
    )


def _tufted(style: str, cover: Array, bright: Array, rng: np.random.Generator) -> Array:
    """A cover of hair whose edge follows the strands, or curls."""
    curls = style in ("curly", "afro")
    tufts = 1.6 * (bright - 1) + (0.55 * grain(rng, cover.shape, 4.0) if curls else 0.0)
    soft = soften(cover, 7.0 if curls else 3.5)
    ragged = np.clip((soft - 0.5 + 0.30 * tufts) / 0.30 + 0.5, 0, 1)
    ragged *= np.clip((soft - 0.12) / 0.15, 0, 1)  # no tuft floats beside the hair
    return np.asarray(np.maximum(ragged, np.clip((soft - 0.8) / 0.15, 0, 1)), np.float32)


def add_front_hair(
    look: Look, shape: Array, skin: Array, alpha: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Paint the hair in front of the head; arguments and returns as in `add_ears`."""
    style = look.hair_style
    if style == "bald":
        return skin, alpha
    outer, hairline = _hair_outlines(look, shape)
    size = (CANVAS, CANVAS)
    solid = fill(size, to_canvas(np.concatenate([outer, hairline[::-1]])), 0.9)
    bright = _strands(look, shape, solid, rng, straight_down=HAIR_STYLES[style][2] > 0.5)
    ragged = _tufted(style, solid, bright, rng)
    low = HAIR_STYLES[style][2]
    if low > 0.5:  # falls into the hair behind the head
        ragged = ragged * np.clip((low - face_grid()[1]) / 0.30, 0, 1)
    if style == "buzz":
        ragged = np.asarray(0.8 * soften(solid, 6), np.float32)
        ragged *= np.clip(0.85 + 0.15 * grain(rng, size, 0.8), 0, 1)
    fall = soften(ragged, 9)  # the hair's shadow on forehead and temples
    skin = skin * (1 - 0.42 * np.clip(fall - 0.05, 0, 1))[..., None]
    colours = _hair_colours(look, shape, bright, 1.02 + HAIR_STYLES[style][0])
    total = ragged + alpha * (1 - ragged)
    weight = (ragged / np.maximum(total, 1e-3))[..., None]  # beside the head, hair alone
    skin = np.where(total[..., None] > 0.004, skin + (colours - skin) * weight, colours)
    return np.asarray(skin, np.float32), np.asarray(total, np.float32)


def paint_backdrop(look: Look, shape: Array, rng: np.random.Generator) -> Bytes:
    """Background, hair behind the head, neck and clothes.

    Parameters
    ----------
    look, shape
        As in `add_ears`.
    rng
        Source of chance for the background.

    Returns
    -------
    ndarray of uint8, shape (256, 256, 4)
        At the frame's size; alpha is 255.
    """
    image = _background(look, shape, rng)
    image = _back_hair(look, shape, image, rng)
    image = _neck(look, shape, image)
    image = _clothes(look, shape, image, rng)
    small = cv2.resize(image, (CANVAS // 2, CANVAS // 2), interpolation=cv2.INTER_AREA)
    opaque = np.full((*small.shape[:2], 1), 255, np.float32)
    return np.asarray(np.clip(np.dstack([small, opaque]), 0, 255).round(), np.uint8)


def _background(look: Look, shape: Array, rng: np.random.Generator) -> Array:
    """A blurred room: a wall with a gradient, shapes out of focus."""
    small = CANVAS // 4
    wall = np.array(_WALLS[int(rng.integers(0, len(_WALLS)))], np.float32)
    axis = np.linspace(-1, 1, small, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    lx = look.light[0]
    room: Array = wall * (0.86 + 0.16 * lx * x - 0.10 * y)[..., None]
    for _ in range(int(rng.integers(2, 7))):
        colour = wall * rng.uniform(0.5, 1.3) + rng.uniform(-22, 22, 3)
        x0, y0 = rng.uniform(-0.2, 1.0, 2) * small
        w, h = rng.uniform(0.08, 0.4) * small, rng.uniform(0.2, 0.8) * small
        corners = np.array([[x0, y0], [x0 + w, y0], [x0 + w, y0 + h], [x0, y0 + h]], np.float32)
        spot = 0.75 * fill((small, small), corners, float(rng.uniform(2.5, 6)))[..., None]
        room = room * (1 - spot) + colour.astype(np.float32) * spot
    glow = np.exp(-(((x - lx) / 0.9) ** 2) - ((y + 0.7) / 0.8) ** 2)[..., None]
    room = room * (0.92 + 0.18 * glow)
    large = cv2.resize(room, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    return np.asarray(
        large * (1 + 0.008 * grain(rng, (CANVAS, CANVAS), 1.0))[..., None], np.float32
    )


def _back_hair(look: Look, shape: Array, image: Array, rng: np.random.Generator) -> Array:
    style = look.hair_style
    top, sides, _, _, low = HAIR_STYLES[style]
    if low == 0:
        return image
    half = 0.80 + sides
    wide = half + (0.10 if low < 1.6 else 0.04)
    if low < 0.9:
        wide = half * 0.8
    edge = np.array(
        [
            [-wide * 0.85, low], [-wide, 0.75 * low], [-half, 0.2], [-half * 0.86, -0.5],
            [0, -0.95],
            [half * 0.86, -0.5], [half, 0.2], [wide, 0.75 * low], [wide * 0.85, low],
        ]
    )  # fmt: skip
    cover = fill((CANVAS, CANVAS), to_canvas(smooth_curve(edge, 6, closed=True)), 1.2)
    bright = _strands(look, shape, cover, rng, straight_down=True)
    cover = _tufted(style, cover, bright, rng)
    colours = 0.72 * _hair_colours(look, shape, bright, 1.02 + top)
    return np.asarray(image * (1 - cover[..., None]) + colours * cover[..., None], np.float32)


def _neck(look: Look, shape: Array, image: Array) -> Array:
    look, shape = look, shape
    half = 0.66 * float(shape[13, 0] - shape[3, 0]) / 2 + 0.06
    chin = float(shape[8, 1])
    side = np.array([[half, 0.75], [half * 0.98, chin], [half * 1.08, chin + 0.22], [1.05, 1.95]])
    edge = np.concatenate([side * np.array([-1, 1]), side[::-1]])
    cover = fill((CANVAS, CANVAS), to_canvas(edge), 1.0)[..., None]
    x, y = face_grid()
    across = np.clip(x / half, -1, 1)
    bright = 0.54 + 0.22 * np.sqrt(1 - 0.95 * across**2) + 0.24 * look.light[0] * across
    under = np.clip(1 - (y - chin - 0.02) / 0.30, 0, 1)
    under *= np.clip(1 - (np.abs(x + 0.35 * look.light[0]) - 0.25) / 0.5, 0, 1)
    bright = (bright * (1 - 0.45 * under))[..., None]
    colour = np.array(look.skin, np.float32) * bright ** np.array([0.85, 1.05, 1.1], np.float32)
    return np.asarray(image * (1 - cover) + colour * cover, np.float32)


def _clothes(look: Look, shape: Array, image: Array, rng: np.random.Generator) -> Array:
    look, size = look, (CANVAS, CANVAS)
    dip = {"crew": 1.60, "v": 1.86, "shirt": 1.66}[look.collar]
    slope = float(rng.uniform(0.9, 1.1))
    shoulder = np.array([[0.40, 1.40], [0.60, 1.46], [1.0, 1.54 * slope], [1.5, 1.75], [1.7, 2.2]])
    left = shoulder[::-1] * np.array([-1, 1])
    neckline = np.array(
        [[-0.40, 1.40], [-0.26, 0.5 * (1.40 + dip)], [0, dip], [0.26, 0.5 * (1.40 + dip)]]
    )
    if look.collar == "v":
        neckline[[1, 3], 1] = 0.5 * (1.40 + dip) - 0.02
        inner = neckline[1:]
    else:
        neckline[[1, 3], 1] = 0.25 * 1.40 + 0.75 * dip
        inner = smooth_curve(neckline[1:], 6)
    edge = np.concatenate([smooth_curve(left, 6), inner, smooth_curve(shoulder, 6)])
    cover = fill(size, to_canvas(edge), 0.8)
    folds = grain(rng, size, 16) * 0.05 + grain(rng, size, 1.2) * 0.02
    x, y = face_grid()
    lit = 0.80 + 0.16 * look.light[0] * x - 0.10 * (y - 1.5) + folds
    colour = np.array(look.cloth, np.float32) * lit[..., None]
    seam = stroke(size, to_canvas(inner), 7, 1.0)
    colour = colour * (1 - 0.22 * seam)[..., None]
    if look.collar == "shirt":
        for sign in (-1, 1):
            flap = np.array([[0.37, 1.34], [0.02, dip - 0.03], [0.17, 1.80], [0.52, 1.53]]) * [
                sign,
                1,
            ]
            shape = fill(size, to_canvas(flap), 0.8)[..., None]
            colour = colour * (1 - shape) + np.array(look.cloth, np.float32) * 1.06 * shape
            cover = np.maximum(cover, shape[..., 0])
    fall = soften(cover, 6)[..., None]
    image = image * (1 - 0.25 * fall)
    return np.asarray(image * (1 - cover[..., None]) + colour * cover[..., None], np.float32)
