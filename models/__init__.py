"""Model builders: plain arguments in, a functional `keras.Model` out; no file is read."""

from microx.models.multistream import PRESETS, build_microx

__all__ = ["PRESETS", "build_microx"]
