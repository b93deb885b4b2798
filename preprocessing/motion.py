"""Turn the crops of a clip into what a model reads: colours, greys, differences or optical flow.

Raw pixels show little of micro-expressions; what moved since the onset shows more (Liong et
al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition",
2019, feeds u, v and optical strain). `microx.schema.INPUTS` names the kinds and their channels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from microx.errors import InputError
from microx.schema import INPUTS

FLOW_SCALE = 10.0
"""Factor on u and v (our choice): a tenth of a crop's side is 1, about as far as the mouth and
the lids of drawn actors move; in a micro-expression they move a quarter of that."""

_FLOW_SIDE = 48
"""Pixels along a side that crops are enlarged to for the flow (our choice); see `convert_crops`."""


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
        converted = _measure_flow(crops, reference)
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


def _measure_flow(crops: np.ndarray, reference: np.ndarray) -> np.ndarray:
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
