"""Confounds of drawn actors: looks that go with an emotion, differently for each actor.

One actor is lit by a lamp from the left, or wears glasses, whenever they act anger; the next
one for sadness. The look predicts the emotion of a subject seen in training, and says nothing
about unseen subjects. A method that is tested on clips of training subjects scores too high
on them, which is their purpose. All numbers are our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from microx.preprocessing.drawing import Array, round_corners
from microx.preprocessing.occlusion.occluder import Occluder
from microx.preprocessing.occlusion.painting import Painting, Sheet, pick_colour
from microx.schema import EMOTIONS

_PAINTS = ((196, 44, 40), (40, 86, 178), (236, 234, 228), (34, 34, 38), (232, 188, 44),
           (42, 132, 78))  # fmt: skip
_FRAMES = ((24, 24, 28), (24, 24, 28), (112, 30, 36), (92, 58, 34), (40, 60, 110))


@dataclass(frozen=True, eq=False)
class Confound:
    """The look of the takes in which one actor shows one emotion.

    Parameters
    ----------
    name
        A key of `microx.simulation.confounds.LAMPS` or `microx.simulation.confounds.PAINTERS`.
    lamp
        Direction towards a lamp that lights the actor in place of the usual light, unit vector
        as in `microx.simulation.looks.Look`; None for the usual one.
    worn
        What is on the face; None for nothing.
    """

    name: str
    lamp: tuple[float, float, float] | None = None
    worn: Occluder | None = None


def draw_confounds(seed: int) -> dict[str, Confound]:
    """Draw an actor's random confounds: each kind once, one per emotion.

    Parameters
    ----------
    seed
        Identity seed; equal seeds give equal confounds.

    Returns
    -------
    dict
        Emotion to confound, for each of `microx.schema.EMOTIONS`.

    Examples
    --------
    >>> {emotion: confound.name for emotion, confound in draw_confounds(0).items()}["anger"]
    'glasses'
    """
    rng = np.random.default_rng([seed, 77])
    names = rng.permutation([*LAMPS, *PAINTERS])
    return {
        emotion: _make_confound(str(name), int(rng.integers(2**31)))
        for emotion, name in zip(EMOTIONS, names, strict=True)
    }


def _make_confound(name: str, seed: int) -> Confound:
    if name in LAMPS:
        lamp = np.array(LAMPS[name])
        x, y, z = (float(value) for value in lamp / np.linalg.norm(lamp))
        return Confound(name, lamp=(x, y, z))
    return Confound(name, worn=Occluder(name, seed, PAINTERS[name](np.random.default_rng(seed))))


def paint_glasses(rng: np.random.Generator) -> Painting:
    """Paint glasses with a thick frame and clear lenses.

    Parameters
    ----------
    rng
        Decides colour, size and shape.

    Returns
    -------
    Painting
    """
    sheet = Sheet((-1.0, -0.5, 1.0, 0.5), rng)
    wide, high = rng.uniform(0.22, 0.27), rng.uniform(0.14, 0.22)
    squareness = rng.uniform(0.5, 1.0)  # 1 for an ellipse, less for rounded corners
    angle = np.linspace(0, 2 * np.pi, 60)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ring = np.sign(ring) * np.abs(ring) ** squareness * [wide, high] + [0.355, 0.02]
    thick = rng.uniform(0.035, 0.055)
    frame = np.zeros(sheet.size_hw, np.float32)
    for sign in (-1, 1):
        temple = np.array([[0.355 + wide, -0.03], [0.84, -0.05]])
        for line in (ring, temple):
            frame = np.maximum(frame, sheet.stroke(line * [sign, 1], thick))
    inner = 0.355 - wide
    bridge = round_corners(
        [(-inner, 0.0), (-0.4 * inner, -0.06), (0.4 * inner, -0.06), (inner, 0.0)]
    )
    frame = np.maximum(frame, sheet.stroke(bridge, thick))
    relief = np.minimum(sheet.depth(frame), 0.5 * thick)
    colour = pick_colour(rng, _FRAMES) * (0.6 + 0.5 * sheet.light(relief))[..., None]
    return Painting(sheet.finish(colour, frame, shadow=0.3, reach=0.03), sheet.box)


def paint_stripes(rng: np.random.Generator) -> Painting:
    """Paint stripes across both cheeks; arguments as `paint_glasses`."""
    sheet = Sheet((-0.9, 0.0, 0.9, 1.0), rng)
    slant, thick = rng.uniform(-0.3, 0.3), rng.uniform(0.06, 0.085)
    cover = np.zeros(sheet.size_hw, np.float32)
    for y in 0.22 + 0.13 * np.arange(rng.integers(2, 4)):
        stripe = round_corners(
            [(0.24, y), (0.42, y + 0.4 * slant * 0.36), (0.62, y + slant * 0.36)]
        )
        for sign in (-1, 1):
            cover = np.maximum(cover, sheet.stroke(stripe * [sign, 1], thick, 0.006))
    return _finish_paint(sheet, pick_colour(rng, _PAINTS), 0.85 * cover)


def paint_clown(rng: np.random.Generator) -> Painting:
    """Paint the tip of the nose and rouge on the cheeks; arguments as `paint_glasses`."""
    sheet = Sheet((-0.9, -0.1, 0.9, 1.0), rng)
    x, y = sheet.x, sheet.y
    size = rng.uniform(0.13, 0.17)
    nose = np.clip((size - np.hypot(x, y - 0.40)) / 0.02, 0, 1)
    cheek = np.hypot((np.abs(x) - 0.46) / 1.1, y - 0.40)
    rouge = np.clip((rng.uniform(0.15, 0.19) - cheek) / 0.06, 0, 1)
    cover = np.maximum(0.9 * nose, 0.7 * rouge)
    return _finish_paint(sheet, pick_colour(rng, _PAINTS), np.asarray(cover, np.float32))


def _finish_paint(sheet: Sheet, colour: Array, cover: Array) -> Painting:
    """Paint that the skin shows through here and there."""
    worn = np.clip(cover * (1 + 0.06 * sheet.grain(0.02)), 0, 0.95)
    return Painting(sheet.finish(np.ones((*worn.shape, 1)) * colour, worn, shadow=0), sheet.box)


def paint_plaster(rng: np.random.Generator) -> Painting:
    """Paint a sticking plaster over the nose or a cheek; arguments as `paint_glasses`."""
    sheet = Sheet((-0.9, -0.2, 0.9, 1.0), rng)
    x0, y0 = ((0.0, 0.16), (-0.45, 0.38), (0.45, 0.38))[int(rng.integers(3))]
    angle = np.deg2rad(rng.uniform(-35, 35))
    along = np.array([np.cos(angle), np.sin(angle)])
    ends = np.array([x0, y0]) + 0.15 * np.array([-along, along])
    strip = sheet.stroke(ends, 0.17)
    pad = sheet.stroke(np.array([x0, y0]) + 0.3 * (ends - [x0, y0]), 0.11, 0.01)
    colour = pick_colour(rng, ((238, 206, 170), (244, 240, 232), (232, 188, 150), (90, 150, 206)))
    lit = 1 - 0.10 * pad + 0.02 * sheet.grain(0.012)
    return Painting(sheet.finish(colour * lit[..., None], strip, shadow=0.35), sheet.box)


def paint_blind(rng: np.random.Generator) -> Painting:
    """Paint the shadow of a blind on the face; arguments as `paint_glasses`."""
    sheet = Sheet((-1.2, -1.2, 1.2, 1.7), rng)
    x, y = sheet.x, sheet.y
    angle, pitch = np.deg2rad(rng.uniform(-40, 40)), rng.uniform(0.38, 0.48)
    wave = np.sin(2 * np.pi * (y * np.cos(angle) + x * np.sin(angle)) / pitch)
    bars = np.clip(0.5 + 1.5 * wave, 0, 1)
    oval = np.clip((1 - (x / 0.85) ** 2 - ((y - 0.2) / 1.2) ** 2) * 2, 0, 1)
    cover = np.asarray(0.3 * bars * oval, np.float32)
    return Painting(sheet.finish(np.zeros((*cover.shape, 3)), cover, shadow=0), sheet.box)


LAMPS: dict[str, tuple[float, float, float]] = {
    "lamp beside": (1.0, -0.25, 0.75),
    "lamp below": (0.15, 1.0, 0.6),
}
"""Confound to direction towards the lamp."""

PAINTERS: dict[str, Callable[[np.random.Generator], Painting]] = {
    "glasses": paint_glasses,
    "stripes": paint_stripes,
    "clown": paint_clown,
    "plaster": paint_plaster,
    "blind": paint_blind,
}
"""Confound to the function that paints what is on the face."""
