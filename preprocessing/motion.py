"""Turn the crops of a clip into what a model reads: colours, greys, differences, flow or motion.

Raw pixels show little of micro-expressions; what moved since the onset shows more (Liong et
al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition",
2019, feeds u, v and optical strain). `microx.schema.INPUTS` names the kinds and their channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np

from microx.errors import InputError
from microx.schema import INPUTS, MOTION_SIZE, Flow

FLOW_SCALE = 10.0
"""Factor on u and v (our choice): a tenth of a crop's side is 1, about as far as the mouth and
the lids of drawn actors move; in a micro-expression they move a quarter of that."""

_FLOW_SIDE = 48
"""Pixels along a side that crops are enlarged to for the flow (our choice); see `convert_crops`."""


MOTION_SIDE = 128
"""Pixels along a side that faces are compared at for `measure_motion` (our choice)."""

MOTION_SCALE = np.array([0.5, 0.5, 0.05], np.float32)
"""What u, v (pixels of `MOTION_SIDE`) and strain are divided by, the same for every clip (our
choice): the spread of micro-expressions is then about 1."""


@dataclass(frozen=True)
class MotionRecipe:
    """How motion is measured: the arguments of `measure_motion`."""

    size: int = MOTION_SIZE
    flow: str = "dis-medium"


USUAL_MOTION = MotionRecipe()

_DIS_PRESETS = {
    "dis-medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "dis-fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis-ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
}


def measure_motion(
    faces: np.ndarray,
    reference: np.ndarray,
    *,
    size: int = MOTION_SIZE,
    flow: str = "dis-medium",
) -> np.ndarray:
    """Measure how a face moved since a reference frame, its head's own motion taken out.

    Parameters
    ----------
    faces : ndarray of shape (T, H, W, 3), uint8
        RGB, all of one alignment with the reference; see `microx.corpus.motion`.
    reference : ndarray of shape (H, W, 3), uint8
        Such as the onset frame.
    size : int
        Pixels along a side of what is returned.
    flow : {"dis-medium", "dis-fast", "dis-ultrafast", "farneback"}
        Algorithm, and the preset of DIS.

    Returns
    -------
    ndarray of shape (T, size, size, 3), float32
        u (to the right) and v (down) in pixels of a face of `MOTION_SIDE`, and their optical
        strain ``sqrt(u_x² + v_y² + (u_y + v_x)² / 2)``, each divided by `MOTION_SCALE`. The median
        of u and of v over the face is taken out: the head's own motion. No faces give no motion.

    Raises
    ------
    InputError
        If the algorithm is unknown, or a shape or type is wrong.

    Notes
    -----
    Greys resized to `MOTION_SIDE` by area, flow from the reference to each frame, strain, and all
    three resized by area: the input of Liong et al., "Shallow Triple Stream Three-dimensional CNN
    (STSTNet) for Micro-expression Recognition", 2019, by the flow that opencv-python has; theirs is
    TV-L1. The median and the scale are our choice.

    Examples
    --------
    >>> face = np.zeros((64, 64, 3), np.uint8)
    >>> measure_motion(face[None], face).shape
    (1, 28, 28, 3)
    """
    u_v = measure_flow(faces, reference, flow=flow)
    if not len(u_v):
        return np.empty((0, size, size, 3), np.float32)
    motion = np.concatenate([u_v, _strain(u_v)[..., None]], axis=-1)
    motion[..., :2] -= np.median(u_v, axis=(1, 2), keepdims=True)
    resized = [cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in motion]
    scaled: np.ndarray = np.stack(resized) / MOTION_SCALE
    return scaled


def measure_flow(
    faces: np.ndarray, reference: np.ndarray, *, flow: str = "dis-medium"
) -> np.ndarray:
    """Measure where each point of a reference face went, the head's own motion included.

    Parameters
    ----------
    faces, reference, flow
        See `measure_motion`.

    Returns
    -------
    ndarray of shape (T, side, side, 2), float32
        u (to the right) and v (down) in pixels of a face of `MOTION_SIDE`, the side.

    Raises
    ------
    InputError
        If the algorithm is unknown, or a shape or type is wrong.

    Examples
    --------
    >>> face = np.zeros((64, 64, 3), np.uint8)
    >>> measure_flow(face[None], face).shape
    (1, 128, 128, 2)
    """
    _check_crops(faces, "motion", reference)
    if flow not in get_args(Flow):
        raise InputError(f"flow must be one of {', '.join(get_args(Flow))}; received {flow!r}")
    if not len(faces):
        return np.empty((0, MOTION_SIDE, MOTION_SIDE, 2), np.float32)
    still, *moved = (
        cv2.resize(grey, (MOTION_SIDE, MOTION_SIDE), interpolation=cv2.INTER_AREA)
        for grey in _grey(np.concatenate([reference[None], faces]))
    )
    return _calculate_flow(still, moved, flow)  # (T, side, side, 2)


def _calculate_flow(still: np.ndarray, moved: list[np.ndarray], flow: str) -> np.ndarray:
    no_guess = np.empty(0, np.float32)
    if flow == "farneback":
        return np.stack(
            [
                cv2.calcOpticalFlowFarneback(
                    still, image, no_guess, pyr_scale=0.5, levels=3, winsize=15, iterations=3,
                    poly_n=5, poly_sigma=1.1, flags=0,
                )
                for image in moved
            ]
        )  # fmt: skip
    dis = cv2.DISOpticalFlow.create(_DIS_PRESETS[flow])
    return np.stack([dis.calc(still, image, no_guess) for image in moved])


def convert_crops(
    crops: np.ndarray, inputs: str, *, reference: np.ndarray | None = None
) -> np.ndarray:
    """Convert one region's crops to one kind of input.

    Parameters
    ----------
    crops : ndarray of shape (T, H, W, 3), uint8
        RGB.
    inputs : str
        One of `microx.schema.INPUTS`:

        - ``"rgb"``: the colours, in [0, 1].
        - ``"grey"``: their luma (ITU-R BT.601, as OpenCV weighs them), in [0, 1].
        - ``"difference"``: each crop less the reference, in [-1, 1].
        - ``"flow"``: how far the reference's pixels moved to the right (u) and down (v), in
          widths of the crop times `FLOW_SCALE`, and the optical strain
          ``sqrt(u_x² + v_y² + (u_y + v_x)² / 2)`` of u and v in pixels, which has no unit.
          Usual expressions stay within about ±1 in all three.
    reference : ndarray of shape (H, W, 3), uint8, optional
        What "difference" and "flow" compare with, such as the onset frame; the first crop
        where None. "rgb" and "grey" do not use it.

    Returns
    -------
    ndarray of shape (T, H, W, C), float32
        C as `microx.schema.INPUTS` says. No crops (T = 0) give no frames.

    Raises
    ------
    InputError
        If the kind is unknown, or a shape or type is wrong.

    Notes
    -----
    Optical flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016)
    with OpenCV's preset "fast". Our choice: crops below 48 px are first enlarged to 48 px, and
    larger ones are searched at 48 to 96 px. On drawn crops of 32 px with noise of 3 grey levels
    a shift of 0.5 to 2.5 px is found to 0.06 px, and two thirds of the peak of a movement as
    narrow as a corner of the mouth; not enlarged, less than half of it. At 64 px it would be
    three quarters, but noise counts for more and it takes 1.7 times as long. Below 12 px DIS
    refuses.

    Examples
    --------
    >>> crops = np.zeros((10, 32, 32, 3), np.uint8)
    >>> convert_crops(crops, "flow").shape, convert_crops(crops, "grey").shape
    ((10, 32, 32, 3), (10, 32, 32, 1))
    """
    _check_crops(crops, inputs, reference)
    if inputs == "motion":
        raise InputError("inputs 'motion' are of whole faces; use `measure_motion`")
    if len(crops) == 0:
        return np.empty((*crops.shape[:3], INPUTS[inputs]), np.float32)
    reference = crops[0] if reference is None else reference
    converted: np.ndarray
    if inputs == "rgb":
        converted = np.divide(crops, 255, dtype=np.float32)
    elif inputs == "grey":
        converted = np.divide(_grey(crops)[..., None], 255, dtype=np.float32)
    elif inputs == "difference":
        converted = np.subtract(crops, reference, dtype=np.float32)
        converted /= 255
    else:
        converted = _flow_of_crops(crops, reference)
    return converted


def _check_crops(crops: np.ndarray, inputs: str, reference: np.ndarray | None) -> None:
    if inputs not in INPUTS:
        raise InputError(f"inputs {inputs!r} are unknown; known: {', '.join(INPUTS)}")
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise InputError(
            f"crops must be uint8 of shape (T, H, W, 3); received {crops.dtype} {crops.shape}"
        )
    if reference is not None and (
        reference.shape != crops.shape[1:] or reference.dtype != np.uint8
    ):
        raise InputError(
            f"a reference for these crops must be uint8 of shape {crops.shape[1:]}; received "
            f"{reference.dtype} {reference.shape}"
        )


def _grey(crops: np.ndarray) -> np.ndarray:
    """Luma of a stack of images, (T, H, W) uint8."""
    n_frames, height, width, _ = crops.shape
    stacked = cv2.cvtColor(crops.reshape(n_frames * height, width, 3), cv2.COLOR_RGB2GRAY)
    return stacked.reshape(n_frames, height, width)


def _flow_of_crops(crops: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Flow from the reference to each crop and its strain, (T, H, W, 3) float32."""
    height, width = reference.shape[:2]
    grow = max(1.0, _FLOW_SIDE / min(height, width))
    size_wh = (round(width * grow), round(height * grow))
    # One per clip: creating it costs little, and threads must not share one.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(int(math.log2(min(size_wh) / _FLOW_SIDE)))
    still, *moved = (
        cv2.resize(grey, size_wh, interpolation=cv2.INTER_CUBIC)
        for grey in _grey(np.concatenate([reference[None], crops]))
    )
    no_guess = np.empty(0, np.float32)
    flow = np.stack([dis.calc(still, image, no_guess) for image in moved])  # (T, h, w, 2) px
    u_v = flow * np.float32(FLOW_SCALE / size_wh[0])
    motion = np.concatenate([u_v, _strain(flow)[..., None]], axis=-1)
    return np.stack(
        [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in motion]
    )


def _strain(flow: np.ndarray) -> np.ndarray:
    """Size of the optical strain of flow in pixels, (T, h, w)."""
    u_y, u_x = np.gradient(flow[..., 0], axis=(1, 2))
    v_y, v_x = np.gradient(flow[..., 1], axis=(1, 2))
    strain: np.ndarray = np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)
    return strain
