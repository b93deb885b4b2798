"""What covers a face, painted flat: surgical and other masks, sunglasses, hands, scarves.

Each painter draws one random object, in face units (`microx.preprocessing.occlusion.painting`):
a height towards the viewer, lit from above, and a colour.
`microx.preprocessing.occlusion.occluder` lays it on faces. All numbers are our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from microx.preprocessing.drawing import Array, round_corners
from microx.preprocessing.occlusion.hand import paint_hand
from microx.preprocessing.occlusion.painting import (
    PIXELS_PER_UNIT,
    Painting,
    Sheet,
    both_sides,
    pick_colour,
)

# --- masks

_CLOTHS = ((228, 226, 220), (58, 60, 66), (92, 104, 128), (150, 96, 92), (112, 128, 104),
           (196, 178, 150), (78, 88, 110), (190, 120, 140))  # fmt: skip


def paint_mask(rng: np.random.Generator) -> Painting:
    """Paint a mask over nose, mouth and chin: pleated surgical, folded FFP2 or cloth.

    Parameters
    ----------
    rng : Generator
        Decides shape, cloth, colour, pattern and creases.

    Returns
    -------
    Painting
    """
    sheet = Sheet((-1.0, -0.12, 1.0, 1.56), rng)
    shape = ("pleated", "pleated", "pleated", "folded", "cloth")[int(rng.integers(5))]
    outline = _mask_outline(shape, rng)
    cover = sheet.fill(outline)
    if shape == "pleated":
        colour, lit = _pleated(sheet, cover)
    elif shape == "folded":
        colour, lit = _folded(sheet, cover)
    else:
        colour, lit = _cloth(sheet, cover)
    side = outline[:, 0].max()
    lit -= 0.30 * np.abs(sheet.x / 0.75) ** 2.5 + 0.22 * np.clip(sheet.y - 0.95, 0, None)
    lit += 0.010 * sheet.grain(0.005) + 0.022 * sheet.grain(0.06)
    paint = colour * np.clip(lit, 0.15, 1.15)[..., None]
    cord = _ear_loops(sheet, side, shape)
    string = (0.5 * colour.mean(axis=(0, 1)) + 100) if shape != "pleated" else (225, 228, 230)
    weight = (cord * (1 - cover))[..., None]
    paint = paint * (1 - weight) + np.array(string, np.float32) * 0.9 * weight
    return Painting(sheet.finish(paint, np.maximum(cover, cord)), sheet.box)


def _mask_outline(shape: str, rng: np.random.Generator) -> Array:
    top, low = rng.uniform(-0.05, 0.04), rng.uniform(-0.02, 0.04)
    if shape == "pleated":
        half = [(0.0, 0.15), (0.10, 0.16), (0.20, 0.29), (0.42, 0.34), (0.66, 0.37), (0.74, 0.38),
                (0.755, 0.50), (0.74, 0.74), (0.68, 0.92), (0.55, 1.11), (0.38, 1.27),
                (0.18, 1.36), (0.0, 1.375)]  # fmt: skip
    elif shape == "folded":
        half = [(0.0, 0.10), (0.09, 0.11), (0.20, 0.29), (0.42, 0.38), (0.66, 0.47), (0.73, 0.52),
                (0.72, 0.70), (0.62, 0.93), (0.46, 1.15), (0.26, 1.32), (0.08, 1.385),
                (0.0, 1.39)]  # fmt: skip
    else:
        half = [(0.0, 0.14), (0.09, 0.15), (0.19, 0.27), (0.40, 0.32), (0.64, 0.42), (0.72, 0.46),
                (0.73, 0.66), (0.68, 0.84), (0.54, 1.08), (0.34, 1.28), (0.12, 1.36),
                (0.0, 1.365)]  # fmt: skip
    half = [(x, y + (top if y < 0.3 else low if y > 1.1 else 0)) for x, y in half]
    return both_sides(half)


def _tent(sheet: Sheet) -> Array:
    """Light on cloth that hangs over nose and chin."""
    x, y = sheet.x, sheet.y
    ax = np.abs(x)
    nose = np.clip((0.62 - y) / 0.3, 0, 1)
    lit = 0.90 + 0.10 * np.exp(-((x / 0.13) ** 2)) * nose
    lit -= 0.13 * np.exp(-(((ax - 0.27) / 0.10) ** 2)) * nose
    return np.asarray(lit + 0.05 * np.exp(-(((y - 1.02) / 0.12) ** 2) - (x / 0.3) ** 2))


def _creases(sheet: Sheet, n: int) -> Array:
    """Soft creases that run from the corners towards the middle, as changes of light."""
    lit = np.zeros(sheet.size_hw, np.float32)
    for _ in range(n):
        sign, start = sheet.rng.choice([-1, 1]), sheet.rng.uniform(0.42, 0.90)
        reach, fall = sheet.rng.uniform(0.2, 0.45), sheet.rng.uniform(-0.12, 0.18)
        line = round_corners([(0.72, start), (0.72 - reach / 2, start + 0.2 * fall),
                       (0.72 - reach, start + fall)]) * [sign, 1]  # fmt: skip
        lit -= 0.10 * sheet.stroke(line, 0.012, 0.014)
        lit += 0.08 * sheet.stroke(line - [0, 0.026], 0.012, 0.014)
    return lit


def _pleated(sheet: Sheet, cover: Array) -> tuple[Array, Array]:
    x, y, rng = sheet.x, sheet.y, sheet.rng
    colour = pick_colour(rng, ((166, 204, 226), (166, 204, 226), (140, 190, 220), (232, 236, 238),
                         (174, 214, 200), (62, 64, 70), (236, 190, 204)))  # fmt: skip
    lit = _tent(sheet) + _creases(sheet, 3)
    spread = rng.uniform(0.15, 0.19)
    bow = 1 + 0.30 * (1 - np.clip(x / 0.72, -1, 1) ** 2)
    for fold in (-1, 0, 1):
        away = y - (0.76 + 0.02 * fold + fold * spread * bow - 0.04 * (x / 0.7) ** 2)
        lit += 0.10 * np.exp(-(((away + 0.022) / 0.022) ** 2))
        under = np.clip(away / 0.012 + 0.5, 0, 1)
        lit -= 0.26 * np.exp(-((np.clip(away - 0.004, 0, None) / 0.030) ** 2)) * under
        lit -= 0.12 * np.exp(-((away / 0.007) ** 2))
    inside = sheet.depth(cover)
    welt = np.exp(-(((inside - 0.045) / 0.005) ** 2))
    lit += 0.05 * np.clip(1 - inside / 0.04, 0, 1) - 0.10 * welt * (np.sin(260 * (x + y)) > -0.2)
    wire = sheet.stroke(round_corners([(-0.30, 0.345), (-0.16, 0.27), (0, 0.19), (0.16, 0.27),
                                (0.30, 0.345)]), 0.02, 0.007)  # fmt: skip
    lit += 0.12 * wire - 0.10 * np.roll(wire, round(0.026 * PIXELS_PER_UNIT), axis=0)
    return np.broadcast_to(colour, (*sheet.size_hw, 3)), lit


def _folded(sheet: Sheet, cover: Array) -> tuple[Array, Array]:
    x, y = sheet.x, sheet.y
    colour = pick_colour(sheet.rng, ((240, 240, 238), (240, 240, 238), (50, 52, 56),
                                     (120, 132, 146), (214, 200, 188)))  # fmt: skip
    lit = 1.04 - 0.20 * np.abs(x) - 0.03 * np.sign(x) + _creases(sheet, 2)
    lit += 0.10 * np.exp(-((x / 0.012) ** 2)) - 0.16 * np.exp(-(((np.abs(x) - 0.022) / 0.01) ** 2))
    inside = sheet.depth(cover)
    dots = np.sin(190 * np.hypot(x, y - 0.6) + 3 * np.arctan2(y - 0.6, x)) > -0.1
    for seam in (0.035, 0.055):
        lit -= 0.10 * np.exp(-(((inside - seam) / 0.006) ** 2)) * dots
    for level, slant in ((0.62, 0.16), (1.02, -0.18)):
        away = np.abs(y - level - slant * np.abs(x))
        lit -= 0.09 * np.exp(-((away / 0.008) ** 2)) * (np.sin(150 * x) > -0.2)
    clip = np.exp(-(((y - 0.20 - 1.05 * np.abs(x) ** 1.15) / 0.028) ** 4)) * (np.abs(x) < 0.2)
    metal = np.array((150, 152, 156), np.float32)
    mix = (0.5 * clip)[..., None]
    return colour * (1 - mix) + metal * mix, lit


def _cloth(sheet: Sheet, cover: Array) -> tuple[Array, Array]:
    x, y, rng = sheet.x, sheet.y, sheet.rng
    colour, second = pick_colour(rng, _CLOTHS), pick_colour(rng, _CLOTHS)
    u, v = x * (1 + 0.25 * x**2), y + 0.10 * x**2
    pitch = rng.uniform(0.07, 0.13)
    pattern = ("plain", "dots", "stripes", "checks")[int(rng.integers(4))]
    if pattern == "dots":
        row = np.floor(v / pitch)
        at_x = (u / pitch + 0.5 * (row % 2)) % 1 - 0.5
        ink = np.clip((0.28 - np.hypot(at_x, v / pitch % 1 - 0.5)) * 20, 0, 1)
    elif pattern == "stripes":
        ink = np.clip(0.5 + 4 * np.sin(2 * np.pi * v / pitch), 0, 1)
    elif pattern == "checks":
        ink = 0.5 * (np.sin(2 * np.pi * v / pitch) > 0) + 0.5 * (np.sin(2 * np.pi * u / pitch) > 0)
    else:
        ink = np.zeros_like(x)
    ink = np.asarray(ink, np.float32)
    lit = _tent(sheet) + _creases(sheet, 5) + 0.015 * np.sin(420 * u) * np.sin(420 * v)
    lit -= 0.18 * np.exp(-((x / 0.006) ** 2)) - 0.05 * np.exp(-(((x - 0.02) / 0.012) ** 2))
    inside = sheet.depth(cover)
    lit -= 0.10 * np.exp(-(((inside - 0.05) / 0.006) ** 2))
    lit -= 0.12 * np.clip(1 - inside / 0.02, 0, 1)
    return colour + (second - colour) * ink[..., None], lit


def _ear_loops(sheet: Sheet, side: float, shape: str) -> Array:
    """Elastic cords from the corners of a mask to the ears, 0 to 1."""
    cords = np.zeros(sheet.size_hw, np.float32)
    top, low = {"pleated": (0.41, 0.84), "folded": (0.53, 0.72)}.get(shape, (0.47, 0.74))
    for sign in (-1, 1):
        for start, end in ((top, 0.02), (low, 0.36)):
            line = [(side - 0.05, start), (0.78, 0.6 * start + 0.4 * end), (0.83, end)]
            cords = np.maximum(cords, sheet.stroke(round_corners(line) * [sign, 1], 0.017))
    return cords


# --- sunglasses

_LENSES = {
    "square": [(0.08, -0.10), (0.13, -0.17), (0.36, -0.20), (0.60, -0.20), (0.66, -0.13),
               (0.61, 0.12), (0.51, 0.23), (0.32, 0.25), (0.17, 0.18), (0.10, 0.04)],
    "pilot": [(0.07, -0.07), (0.14, -0.15), (0.38, -0.18), (0.60, -0.16), (0.66, -0.06),
              (0.60, 0.16), (0.46, 0.30), (0.32, 0.32), (0.18, 0.22), (0.09, 0.07)],
    "round": [(0.09, -0.08), (0.20, -0.22), (0.36, -0.25), (0.52, -0.22), (0.62, -0.07),
              (0.62, 0.10), (0.52, 0.24), (0.36, 0.28), (0.20, 0.24), (0.10, 0.10)],
    "cat": [(0.09, -0.06), (0.16, -0.14), (0.38, -0.19), (0.68, -0.26), (0.70, -0.16),
            (0.62, 0.08), (0.50, 0.20), (0.32, 0.22), (0.17, 0.16), (0.10, 0.05)],
}  # fmt: skip


def paint_sunglasses(rng: np.random.Generator) -> Painting:
    """Paint dark glasses: frame, lenses that mirror the sky, temples to the ears.

    Parameters
    ----------
    rng : Generator
        Decides shape, colours, how dark the lenses are and what they mirror.

    Returns
    -------
    Painting
    """
    sheet = Sheet((-1.0, -0.42, 1.0, 0.50), rng)
    shape = str(rng.choice(list(_LENSES)))
    rim = 0.018 if shape == "pilot" else rng.uniform(0.02, 0.03) if shape == "round" else 0.05
    frame_colour = pick_colour(rng, ((150, 132, 92), (150, 152, 158), (42, 42, 46)) if rim < 0.03
                         else ((22, 22, 25), (22, 22, 25), (84, 54, 34), (120, 30, 34),
                               (214, 210, 204)))  # fmt: skip
    right = round_corners(_LENSES[shape], closed=True)
    lens, frame = (np.zeros(sheet.size_hw, np.float32) for _ in range(2))
    for sign in (-1, 1):
        outline = right * [sign, 1]
        lens = np.maximum(lens, sheet.fill(outline))
        ring = np.concatenate([outline, outline[:2]])
        frame = np.maximum(frame, sheet.stroke(ring, 1.25 * rim))
        frame = np.maximum(frame, _temple(sheet, right[:, 0].max(), rim, sign))
    low = -0.02 if shape == "round" else -0.06
    bridge = round_corners(
        [(-0.13, low + 0.03), (-0.06, low - 0.03), (0.06, low - 0.03), (0.13, low + 0.03)]
    )
    frame = np.maximum(frame, sheet.stroke(bridge, rim + 0.008))
    if shape == "pilot":
        frame = np.maximum(frame, sheet.stroke([(-0.2, -0.155), (0.2, -0.155)], 0.02))
    relief = 0.5 * np.sqrt(sheet.blur(np.minimum(sheet.depth(frame), rim), 0.006) * rim)
    lit = 0.75 + 0.9 * (sheet.light(relief) - 1) + 0.30 * np.clip(sheet.light(relief) - 1.05, 0, 1)
    glass, opacity = _glass(sheet, lens)
    weight = frame[..., None]
    colour = glass * (1 - weight) + (frame_colour + 30) * np.clip(lit, 0.2, 1.4)[..., None] * weight
    cover = np.maximum(frame, lens * opacity)
    return Painting(sheet.finish(colour, cover, shadow=0.30, reach=0.03), sheet.box)


def _temple(sheet: Sheet, outer: float, rim: float, sign: int) -> Array:
    """The bar from a lens to its ear."""
    thick = max(0.030, 0.9 * rim)
    bar = [(outer - 0.03, -0.14 - thick), (outer + 0.04, -0.12 - thick),
           (0.84, -0.06 - 0.7 * thick), (0.84, -0.04 + 0.5 * thick),
           (outer + 0.03, -0.10 + 0.6 * thick), (outer - 0.03, -0.08 + 0.6 * thick)]  # fmt: skip
    return sheet.fill(np.array(bar) * [sign, 1])


def _glass(sheet: Sheet, lens: Array) -> tuple[Array, Array]:
    """Colours of the lenses and their opacity."""
    x, y, rng = sheet.x, sheet.y, sheet.rng
    tint = pick_colour(rng, ((20, 21, 24), (20, 21, 24), (52, 34, 22), (24, 38, 32), (26, 36, 62)))
    down = np.clip((y + 0.2) / 0.5, 0, 1)[..., None]
    colour = tint * (0.65 + 0.8 * down)
    sky = np.array((150, 170, 196), np.float32) * rng.uniform(0.10, 0.45)
    colour = colour + sky * np.clip(1 - 2.2 * down, 0, 1) ** 1.5
    lean, at = rng.uniform(0.3, 0.7), rng.uniform(0.30, 0.44)
    for side in (-0.69, 0.0):  # the same window in both lenses
        across = x - side - at + lean * y
        streak = np.exp(-((across / 0.055) ** 4)) + 0.6 * np.exp(-(((across - 0.10) / 0.016) ** 4))
        streak *= np.clip(1 - np.abs(y - 0.0) / 0.26, 0, 1) ** 0.6
        inside = (x < 0) if side < 0 else (x > 0)
        colour = colour + (rng.uniform(26, 44) * streak * inside)[..., None]
    colour = colour * (1 - 0.5 * np.clip(1 - sheet.depth(lens) / 0.05, 0, 1))[..., None]
    opacity = rng.uniform(0.93, 0.99) - rng.uniform(0, 0.10) * down[..., 0]
    return np.asarray(colour, np.float32), np.asarray(opacity, np.float32)


# --- scarves

_WOOLS = ((150, 44, 48), (52, 62, 92), (196, 182, 160), (88, 92, 98), (60, 92, 78), (204, 154, 62),
          (222, 218, 210), (110, 74, 96), (38, 38, 42))  # fmt: skip


def paint_scarf(rng: np.random.Generator) -> Painting:
    """Paint a knitted scarf wound round nose, mouth, chin and neck.

    Parameters
    ----------
    rng : Generator
        Decides colours, stripes, stitches and how it is wound.

    Returns
    -------
    Painting
    """
    sheet = Sheet((-1.25, 0.02, 1.25, 2.25), rng)
    x, y = sheet.x, sheet.y
    top = rng.uniform(-0.03, 0.05)
    half = [(0.0, 0.24 + top), (0.20, 0.27 + top), (0.48, 0.38), (0.76, 0.36), (0.94, 0.26),
            (1.00, 0.42), (0.96, 0.85), (1.02, 1.22), (1.00, 1.50), (0.80, 1.80), (0.45, 2.00),
            (0.0, 2.08)]  # fmt: skip
    cover = sheet.fill(both_sides(half))
    tilt, height, along = rng.uniform(-0.16, 0.16), np.zeros_like(x), np.zeros_like(x)
    edges = [0.10, *(np.array([0.62, 0.98, 1.36]) + rng.uniform(-0.06, 0.06, 3)), 2.2]
    for k, (start, end) in enumerate(pairwise(edges)):
        lean = tilt * (1 if k % 2 else -1)
        sag = (0.10 + 0.10 * k) * (1 - (x / 1.0) ** 2) + lean * x
        v = (y - start - sag + 0.08) / (end - start)
        here = v > 0
        bulge = np.clip(1 - (2 * np.clip(v, 0, 1) - 1) ** 2, 0, 1) ** 0.5
        height = np.where(here, 0.10 * bulge - 0.02 * k, height)
        along = np.where(here, v * (end - start) + 0.37 * k, along)
    across = np.arcsin(np.clip(x / 1.12, -0.999, 0.999)) * 1.12
    knit, rows = _knit(across, along, float(rng.uniform(0.055, 0.085)))
    lit = 0.30 + 0.62 * sheet.light(sheet.blur(height, 0.02)) + 0.34 * (knit - 0.6)
    deep = np.clip((sheet.blur(height, 0.06) - height) * 6, 0, 0.4)
    lit = lit * (1 - deep) - 0.24 * np.abs(x) ** 2.5 + 0.05 * sheet.grain(0.09)
    lit -= 0.18 * np.clip(y - 1.2, 0, 1)
    colour, second = pick_colour(rng, _WOOLS), pick_colour(rng, _WOOLS)
    stripes = (rng.random() < 0.4) * (np.sin(rows * 2 * np.pi / rng.integers(6, 14)) > 0.3)
    paint = np.where(stripes[..., None], second, colour) * np.clip(lit, 0.12, 1.2)[..., None]
    ragged = np.clip(cover + 0.5 * (sheet.blur(cover, 0.012) - 0.5) * (knit - 0.6), 0, 1) * cover
    return Painting(sheet.finish(paint, ragged, shadow=0.5, reach=0.05), sheet.box)


def _knit(u: Array, v: Array, pitch: float) -> tuple[Array, Array]:
    """Brightness of rows of V-shaped stitches, 0 to 1, and the number of each pixel's row."""
    column = u / pitch
    aside = np.abs(column % 1 - 0.5)  # 0.5 between columns, 0 in the middle of a V
    row = v / (0.75 * pitch) - 1.5 * (0.5 - aside) * -1
    strand = np.abs(np.sin(np.pi * row)) ** 0.7
    gap = np.clip(1 - np.abs(aside - 0.25) * 3.2, 0, 1) ** 0.5
    return np.asarray(strand * (0.35 + 0.65 * gap), np.float32), np.floor(row)


PAINTERS: dict[str, Callable[[np.random.Generator], Painting]] = {
    "mask": paint_mask,
    "sunglasses": paint_sunglasses,
    "hand": paint_hand,
    "scarf": paint_scarf,
}
"""Kind to the function that paints a random object of it."""
