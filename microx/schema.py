"""The names everything else agrees on: regions, landmarks, emotions and a few constants.

Left and right are the subject's own: in an image the subject's right eye is on the left.
The 68 points are those of iBUG 300-W, which OpenFace and dlib both use, counted from 0.
"""

from __future__ import annotations

from typing import Literal, get_args

# The known choices, each list once: settings check against it, the command line offers it.
Network = Literal[
    "compact", "paper", "face_net", "fer_cnn", "apex_dcnn", "cnn6", "cnn1", "cnn2", "resnet18"
]  # fmt: skip
MotionNetwork = Literal["motion", "ststnet", "off_apexnet", "sssnet"]
SVM = Literal["flow+svm", "pixels+svm", "hog+svm"]
Preset = Literal[Network, MotionNetwork, SVM]
Inputs = Literal["rgb", "grey", "difference", "flow", "motion"]
Flow = Literal["dis-medium", "dis-fast", "dis-ultrafast", "farneback"]
Frames = Literal["all", "apex", "around-apex", "onset-apex-offset", "onset|apex"]
Apex = Literal["coded", "estimated", "middle"]
Tail = Literal["drop", "pad"]
Reference = Literal["first", "onset"]
Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
Schedule = Literal["constant", "cosine", "plateau"]
Balance = Literal["none", "weights", "sampling"]
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
HonestProtocol = Literal["holdout", "kfold", "loso", "loco", "list"]
LeakyProtocol = Literal["clips", "naive", "clip-folds"]
ProtocolKind = Literal[HonestProtocol, LeakyProtocol]
RegionSet = Literal["all", "paper", "full"]
Format = Literal["onnx", "tflite", "h5"]
SpotKind = Literal["micro", "macro", "both"]
Finder = Literal["dlib", "openface"]
OneFace = Literal["main", "cropped"]
Paper = Literal["microx", "meeting", "apex", "cnn6", "cnn-comparison"]
Experiment = Literal[
    "regions",
    "subsets",
    "mask",
    "occlusion",
    "inputs",
    "lengths",
    "optimizers",
    "networks",
    "motion",
    "apex",
    "protocols",
    "spotting",
]

# Source: iBUG 300-W, "A semi-automatic methodology for facial landmark annotation"
# (Sagonas et al., 2013), figure of the 68-point mark-up, counted from 0.
REGION_LANDMARKS: dict[str, tuple[int, ...]] = {
    "left_eye": tuple(range(42, 48)),
    "right_eye": tuple(range(36, 42)),
    "nose": tuple(range(27, 36)),
    "mouth": tuple(range(48, 68)),
    "face": tuple(range(68)),
    "left_brow": tuple(range(22, 27)),
    "right_brow": tuple(range(17, 22)),
}

REGIONS: tuple[str, ...] = tuple(REGION_LANDMARKS)
"""Every region microx can crop."""

DEFAULT_REGIONS: tuple[str, ...] = ("left_eye", "right_eye", "nose", "mouth", "face")
"""The five streams of the MicroX paper; it left the brows out for inaccurate points."""

JOINED: dict[str, tuple[str, ...]] = {
    "eyes": ("right_eye", "left_eye"),
    "brows": ("right_brow", "left_brow"),
}
"""Names for regions that belong together, from left to right in an image."""

N_LANDMARKS = 68
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 36, 45
"""The two points whose distance, the outer-eye distance, is the unit for landmark errors."""

EMOTIONS: tuple[str, ...] = ("neutral", "anger", "contempt", "surprise", "fear", "happy", "sad")
"""The seven classes of the MicroX paper, which counts disgust with contempt."""

FRAME_RATE = 30.0
"""Frames a second after resampling (MicroX paper)."""

CLIP_FRAMES = 10
"""Frames in a clip (MicroX paper)."""

CROP_SIZE = 32
"""Pixels along a side of a square crop; our choice: the paper's text says 30, its code 60."""

INPUTS: dict[str, int] = {kind: 1 if kind == "grey" else 3 for kind in get_args(Inputs)}
"""Kinds of input a model reads and their channels; see `microx.preprocessing.motion`."""

CROP_INPUTS: dict[str, int] = {kind: n for kind, n in INPUTS.items() if kind != "motion"}
"""Those that each region's crops are converted to; motion is of the whole face."""

MOTION_SIZE = 28
"""Pixels along a side of a motion map: what the networks of micro-expressions read."""

MOTION_WINDOWS: dict[str, tuple[int, int, int, int]] = {
    "right_eye": (2, 13, 1, 14),
    "left_eye": (2, 13, 14, 27),
    "nose": (9, 20, 7, 21),
    "mouth": (17, 28, 5, 23),
    "face": (0, 28, 0, 28),
}
"""Where the regions lie on the motion of a face: first row and the one after the last, first column
and the one after the last, of `MOTION_SIZE`. The eyes come with their brows. Our choice, made on
one half of CASME II; see docs/micro.md."""


def motion_window(region: str, size: int = MOTION_SIZE) -> tuple[slice, slice]:
    """Rows and columns of a region on a motion map of `size` x `size` pixels.

    Examples
    --------
    >>> motion_window("mouth", 56)
    (slice(34, 56, None), slice(10, 46, None))
    """
    top, bottom, left, right = (round(end * size / MOTION_SIZE) for end in MOTION_WINDOWS[region])
    return slice(top, bottom), slice(left, right)


DRAWN = "drawn actors"
"""The value of the labels' column ``corpus`` for videos drawn by microx."""
