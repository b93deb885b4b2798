"""Model builders: plain arguments in, a functional `keras.Model` out; no file is read."""

from collections.abc import Callable
from functools import partial

import keras

from microx.models.baselines import (
    build_apex_dcnn,
    build_cnn1,
    build_cnn2,
    build_cnn6,
    build_fer_cnn,
    build_resnet18,
)
from microx.models.face_net import build_face_net
from microx.models.motion import (
    build_motion,
    build_off_apexnet,
    build_sssnet,
    build_ststnet,
)
from microx.models.multistream import build_microx

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "compact": partial(build_microx, preset="compact"),
    "paper": partial(build_microx, preset="paper"),
    "face_net": build_face_net,
    "fer_cnn": build_fer_cnn,
    "apex_dcnn": build_apex_dcnn,
    "cnn6": build_cnn6,
    "cnn1": build_cnn1,
    "cnn2": build_cnn2,
    "resnet18": build_resnet18,
    "motion": build_motion,
    "ststnet": build_ststnet,
    "off_apexnet": build_off_apexnet,
    "sssnet": build_sssnet,
}
"""Preset to its builder; all take ``(regions, *, n_frames, size, n_classes, inputs, seed)``."""

__all__ = [
    "BUILDERS",
    "build_apex_dcnn",
    "build_cnn1",
    "build_cnn2",
    "build_cnn6",
    "build_face_net",
    "build_fer_cnn",
    "build_microx",
    "build_motion",
    "build_off_apexnet",
    "build_resnet18",
    "build_sssnet",
    "build_ststnet",
]
