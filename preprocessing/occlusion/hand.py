"""The wearer's own hand over the face, modelled finger by finger and lit as a relief.

Positions are in face units, see `microx.preprocessing.occlusion.painting`; there are about 90 mm
to one. All numbers are our choice.
"""

from __future__ import annotations

import numpy as np

from microx.preprocessing.drawing import Array, round_corners
from microx.preprocessing.occlusion.painting import Painting, Sheet

# Fingers from the index: root, direction in degrees (0 to the right, 90 down), length.
_FINGERS = {
    "mouth": [((-0.26, 0.66), -9, 0.80), ((-0.20, 0.845), -6, 0.88), ((-0.22, 1.03), -3, 0.80),
              ((-0.30, 1.20), 1, 0.66)],
    "cheek": [((-0.10, 0.58), -88, 0.78), ((-0.30, 0.50), -93, 0.88), ((-0.50, 0.56), -97, 0.80),
              ((-0.67, 0.70), -103, 0.62)],
}  # fmt: skip
_THUMBS = {
    "mouth": [(-0.66, 1.20), (-0.64, 0.84), (-0.58, 0.54), (-0.51, 0.30)],
    "cheek": [(-0.22, 1.24), (0.05, 1.08), (0.22, 0.90), (0.31, 0.70)],
}
_PALMS = {
    "mouth": [(-0.30, 0.62), (-0.16, 0.72), (-0.12, 0.98), (-0.14, 1.24), (-0.28, 1.38),
              (-0.52, 1.66), (-0.62, 2.10), (-0.66, 2.98), (-1.36, 2.98), (-1.18, 2.05),
              (-0.98, 1.62), (-0.86, 1.28), (-0.72, 0.98), (-0.50, 0.70)],
    "cheek": [(0.02, 0.62), (-0.10, 0.50), (-0.30, 0.42), (-0.52, 0.48), (-0.72, 0.66),
              (-0.80, 0.94), (-0.74, 1.34), (-0.70, 1.75), (-0.72, 2.2), (-0.80, 2.98),
              (-0.06, 2.98), (-0.10, 2.2), (-0.10, 1.75), (0.02, 1.32), (0.08, 0.98)],
}  # fmt: skip


def paint_hand(rng: np.random.Generator) -> Painting:
    """Paint the wearer's own hand, its back to the viewer: over the mouth, or cheek and eye.

    Parameters
    ----------
    rng : Generator
        Decides pose, side, how the fingers spread and bend, and the tone.

    Returns
    -------
    Painting
        In shares of the wearer's skin.
    """
    pose = ("mouth", "cheek")[int(rng.integers(2))]
    sheet = Sheet((-1.45, -0.62, 0.85, 3.0), rng)
    fingers = _bend_fingers(pose, rng)
    height, shade, nails = _model_hand(sheet, pose, fingers)
    cover = np.clip(sheet.blur((height > 0.001).astype(np.float32), 0.005), 0, 1)
    lit = sheet.light(sheet.blur(height, 0.014), side=0.10, wrap=0.55)
    hollow = np.clip((sheet.blur(height, 0.05) - height) * 4, 0, 0.35)
    lit = lit * (1 - hollow) * (1 - shade) + 0.008 * sheet.grain(0.006) + 0.02 * sheet.grain(0.08)
    red = np.clip(0.4 + 0.3 * sheet.grain(0.10) + 1.2 * shade, 0, 1.5)[..., None]
    colour = 255 * lit[..., None] * (1 - red * np.array((0.0, 0.05, 0.05)))
    nail = nails[..., None]
    colour = colour * (1 - nail) + np.array((250, 232, 232)) * (lit[..., None] + 0.06) * nail
    cover = cover * np.clip((2.95 - sheet.y) / 0.45, 0, 1)  # the arm fades out at the edge
    rgba = sheet.finish(colour, cover, shadow=0.45, reach=0.05)
    box = sheet.box
    if rng.random() < 0.5:
        rgba, box = np.ascontiguousarray(rgba[:, ::-1]), (-box[2], box[1], -box[0], box[3])
    tone = rng.uniform(0.97, 1.11)
    return Painting(rgba, box, True, (tone, tone * rng.uniform(0.99, 1.03), tone))


def _bend_fingers(pose: str, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Joints (4, 2) and radii (4,) of each finger, the thumb last."""
    spread, slimness = rng.uniform(-2, 3), rng.uniform(0.94, 1.06)
    fingers = []
    for k, (root, angle, length) in enumerate(_FINGERS[pose]):
        turn = np.deg2rad(angle + spread * (k - 1.5) + rng.uniform(-2, 2))
        curl = np.deg2rad(rng.uniform(1, 5) * (1 if pose == "mouth" else -1))
        joints = [np.array(root)]
        for part in (0.45, 0.30, 0.22):
            joints.append(joints[-1] + part * length * np.array([np.cos(turn), np.sin(turn)]))
            turn += curl
        radii = np.array((0.112, 0.106, 0.097, 0.080)) * slimness * (0.86 if k == 3 else 1)
        fingers.append((np.stack(joints), radii))
    fingers.append((np.array(_THUMBS[pose]), np.array((0.17, 0.130, 0.115, 0.090)) * slimness))
    return fingers


def _model_hand(
    sheet: Sheet, pose: str, fingers: list[tuple[Array, Array]]
) -> tuple[Array, Array, Array]:
    """Height, darkness of its creases and cover of its nails."""
    palm = sheet.fill(round_corners(_PALMS[pose], closed=True))
    inside = np.clip(sheet.depth(palm) / 0.30, 0, 1)
    back = np.where(palm > 0.5, 0.03 + 0.16 * np.sqrt(1 - (1 - inside) ** 2), 0)
    back = sheet.blur(back.astype(np.float32), 0.03) * palm
    raised, shade, nails = (np.zeros_like(back) for _ in range(3))
    for joints, radii in fingers:
        for k in range(3):
            part = sheet.around(joints[k : k + 2], radii[k])
            rise = _capsule(sheet.x[part], sheet.y[part], joints[k : k + 2], radii[k : k + 2])
            raised[part] = np.maximum(raised[part], rise)
        part = sheet.around(joints, radii[0])
        shade[part] += _finger_creases(sheet, joints, radii)[part]
        part = sheet.around(joints[-1:], radii[0])
        nails[part] = np.maximum(nails[part], _nail(sheet.x[part], sheet.y[part], joints, radii))
    near = np.clip(0.10 - np.abs(raised - back), 0, None) * (palm > 0) * (raised > 0)
    return np.maximum(raised, back) + near**2 / 0.4, shade, nails


def _capsule(x: Array, y: Array, ends: Array, radii: Array) -> Array:
    """Height of a round bar between two points whose radius goes from one to the other."""
    way = ends[1] - ends[0]
    t = np.clip(((x - ends[0, 0]) * way[0] + (y - ends[0, 1]) * way[1]) / (way @ way), 0, 1)
    far = np.hypot(x - ends[0, 0] - t * way[0], y - ends[0, 1] - t * way[1])
    rise = 0.95 * np.sqrt(np.clip((radii[0] + (radii[1] - radii[0]) * t) ** 2 - far**2, 0, None))
    return np.asarray(np.where(rise > 0, rise + 0.03, 0), np.float32)


def _finger_creases(sheet: Sheet, joints: Array, radii: Array) -> Array:
    """Folds of skin over the two outer joints."""
    dark = np.zeros(sheet.size_hw, np.float32)
    for k in (1, 2):
        along = joints[k] - joints[k - 1]
        along /= np.linalg.norm(along)
        aside = np.array([-along[1], along[0]]) * radii[k]
        for step, size in ((-0.022, 0.5), (0.0, 0.62), (0.024, 0.5)):
            middle = joints[k] + step * along
            bow = middle + 0.5 * step * along
            line = round_corners([middle - size * aside, bow, middle + size * aside])
            dark += 0.16 * sheet.stroke(line, 0.006, 0.006)
    return dark


def _nail(x: Array, y: Array, joints: Array, radii: Array) -> Array:
    """Cover of the nail at a finger's last joint."""
    along = joints[-1] - joints[-2]
    along = along / np.linalg.norm(along)
    middle = joints[-1] + 0.20 * radii[-1] * along
    u = (x - middle[0]) * along[0] + (y - middle[1]) * along[1]
    v = (y - middle[1]) * along[0] - (x - middle[0]) * along[1]
    inside = 1 - np.abs(u / (0.72 * radii[-1])) ** 2.6 - np.abs(v / (0.56 * radii[-1])) ** 2.6
    return np.asarray(np.clip(inside * 6, 0, 1), np.float32)
