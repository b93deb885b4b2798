"""How drawn subjects look: colours of skin, hair, eyes and clothes, hair styles, light.

All numbers without a source are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Skin in full light, sRGB, light to dark.
_SKINS = (
    (236, 199, 177), (232, 190, 165), (220, 172, 142), (203, 150, 116),
    (178, 124, 90), (146, 98, 70), (112, 74, 54), (92, 61, 46),
)  # fmt: skip
_IRISES = (
    (74, 48, 30),
    (92, 62, 36),
    (110, 84, 48),
    (84, 104, 70),
    (86, 112, 134),
    (104, 122, 136),
)

# Style: (volume on top, volume at the sides, y where the side hair ends, y of the hairline,
# y where the hair behind the head ends; face units).
HAIR_STYLES: dict[str, tuple[float, float, float, float, float]] = {
    "bald": (0.0, 0.0, 0.0, 0.0, 0.0),
    "buzz": (0.03, 0.02, 0.05, -0.66, 0.0),
    "short": (0.13, 0.05, 0.12, -0.62, 0.0),
    "side": (0.18, 0.06, 0.10, -0.60, 0.0),
    "curly": (0.26, 0.20, 0.25, -0.60, 0.60),
    "afro": (0.40, 0.42, 0.35, -0.62, 0.70),
    "bob": (0.16, 0.15, 0.85, -0.56, 1.25),
    "fringe": (0.16, 0.14, 0.75, -0.44, 1.45),
    "long": (0.15, 0.12, 0.70, -0.62, 1.80),
    "tied": (0.09, 0.04, 0.10, -0.64, 0.0),
}
"""Volumes and lengths of the hair styles."""

COLLARS = ("crew", "v", "shirt")
"""Necklines."""

_HAIRS = ((24, 20, 18), (38, 28, 22), (62, 42, 28), (92, 62, 38), (130, 92, 54), (176, 140, 92),
          (120, 58, 30), (140, 134, 128))  # fmt: skip
_CLOTHS = ((52, 62, 84), (128, 46, 50), (70, 92, 80), (190, 186, 178), (60, 60, 62), (150, 130, 96),
           (96, 84, 122), (176, 110, 70), (206, 206, 212), (40, 74, 100))  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a subject looks, besides the positions of the landmarks.

    Parameters
    ----------
    skin, lips, iris, hair, cloth
        sRGB colours, 0 to 255.
    hair_style
        A name in `microx.simulation.looks.HAIR_STYLES`.
    hair_volume
        Factor on the volumes of the style, about 0.7 to 1.3.
    hairline
        Shift of the hairline in face units, downwards positive.
    collar
        A name in `microx.COLLARS`.
    brow_weight
        Thickness of the brows, about 0.7 to 1.4.
    lash_weight
        Darkness and length of the lashes, 0 to 1.
    stubble, freckles, age
        How much of it, 0 to 1; age deepens wrinkles.
    light
        Direction towards the key light, unit vector (x right, y down, z to the camera).
    warmth
        Colour of the key light, -1 (cool) to 1 (warm).
    contrast
        Key light against fill, 0 to 1.
    part
        Where the hair is parted, x in face units.
    """

    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    iris: tuple[float, float, float]
    hair: tuple[float, float, float]
    cloth: tuple[float, float, float]
    hair_style: str
    hair_volume: float
    hairline: float
    collar: str
    brow_weight: float
    lash_weight: float
    stubble: float
    freckles: float
    age: float
    light: tuple[float, float, float]
    warmth: float
    contrast: float
    part: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw the random looks of a subject.

    Parameters
    ----------
    rng
        Source of chance.

    Returns
    -------
    Look
    """
    tone = rng.uniform(0, len(_SKINS) - 1)
    low = int(tone)
    high = min(low + 1, len(_SKINS) - 1)
    skin = np.array(_SKINS[low]) * (1 - tone + low) + np.array(_SKINS[high]) * (tone - low)
    skin = skin * rng.uniform(0.97, 1.03, 3)
    dark = tone / (len(_SKINS) - 1)
    masculine = bool(rng.random() < 0.5)
    lips = skin * np.array([0.93, 0.66, 0.67]) * rng.uniform(0.92, 1.02, 3)
    if not masculine and rng.random() < 0.6:  # lipstick
        lips = 0.55 * lips + 0.45 * np.array([176, 52, 66]) * rng.uniform(0.8, 1.1)
    iris = _IRISES[int(rng.integers(0, 3 if dark > 0.45 else len(_IRISES)))]
    light = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.75, -0.35), 1.0])
    light /= np.linalg.norm(light)
    return Look(
        skin=_triple(skin),
        lips=_triple(lips),
        iris=_triple(np.array(iris) * rng.uniform(0.85, 1.15)),
        hair=_draw_hair_colour(rng, dark),
        cloth=_draw_cloth_colour(rng),
        hair_style=_draw_hair_style(rng, masculine),
        hair_volume=float(rng.uniform(0.7, 1.3)),
        hairline=float(rng.uniform(-0.06, 0.03)),
        collar=str(rng.choice(COLLARS)),
        brow_weight=float(rng.uniform(1.0, 1.4) if masculine else rng.uniform(0.75, 1.1)),
        lash_weight=float(rng.uniform(0.1, 0.4) if masculine else rng.uniform(0.5, 1.0)),
        stubble=float(rng.choice([0.0, rng.uniform(0.2, 1.0)]) if masculine else 0.0),
        freckles=float(max(0.0, rng.uniform(-1.0, 1.0)) * (dark < 0.5)),
        age=float(rng.uniform(0, 1)),
        light=_triple(light),
        warmth=float(rng.uniform(-0.6, 1.0)),
        contrast=float(rng.uniform(0.35, 0.8)),
        part=0.22 if light[0] > 0 else -0.22,
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _draw_hair_colour(rng: np.random.Generator, dark: float) -> tuple[float, float, float]:
    """A random sRGB hair colour; `dark` in [0, 1] is the depth of the skin's colour."""
    n = len(_HAIRS) if dark < 0.5 else 3
    r, g, b = np.array(_HAIRS[int(rng.integers(0, n))]) * rng.uniform(0.85, 1.15)
    return float(r), float(g), float(b)


def _draw_cloth_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A random sRGB colour of clothes."""
    r, g, b = np.array(_CLOTHS[int(rng.integers(0, len(_CLOTHS)))]) * rng.uniform(0.85, 1.1)
    return float(r), float(g), float(b)


def _draw_hair_style(rng: np.random.Generator, masculine: bool) -> str:
    """The name of a random hair style."""
    names = ["bald", "buzz", "short", "short", "side", "side", "curly"]
    if not masculine:
        names = ["bob", "fringe", "long", "long", "tied", "afro", "curly"]
    return str(rng.choice(names))
