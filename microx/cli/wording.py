"""Messages of the library in the words of the command line: an argument becomes its option."""

from __future__ import annotations

import re

OPTION_OF = {
    "augment": "--augment",
    "balance": "--balance",
    "columns": "--column",
    "epochs": "--epochs",
    "faces": "--faces",
    "frame_rate": "--fps",
    "inputs": "--inputs",
    "input_fps": "--input-fps",
    "label_set": "--label-set",
    "labels_file": "--labels",
    "kind": "--kind",
    "landmarks": "--landmarks",
    "landmarks_dir": "--landmarks-dir",
    "max_gap": "--max-gap",
    "min_face": "--min-face",
    "n_folds": "--folds",
    "n_frames": "--set n_frames",
    "n_seeds": "--seeds",
    "n_workers": "--workers",
    "occlude": "--occlude",
    "occlude_seed": "--seed",
    "openface": "--openface",
    "oracle": "--oracle",
    "out": "--out",
    "policy": "--policy",
    "preset": "--model",
    "protocol": "--protocol",
    "quick": "--quick",
    "regions": "--regions",
    "seed": "--seed",
    "shuffle_labels": "--shuffle-labels",
    "size": "--size",
    "split_file": "--split",
    "seconds": "--seconds",
    "threshold": "--threshold",
    "timeout_s": "--timeout",
}
"""Argument of a library function to the option that gives it; a message marks arguments by
backticks, alone or with a value: ```out```, ```preset=cnn6```."""

_MARKED = re.compile(r"`(\w+)(?:=([^`]*))?`")


def say_options(message: str) -> str:
    """Put options in the place of the arguments that a message of the library marks.

    Examples
    --------
    >>> say_options("name another `out`, or train with `n_frames=6` or `preset=cnn6`")
    'name another --out, or train with --set n_frames=6 or --model cnn6'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in OPTION_OF:
            return found[0]
        if value is None:
            return OPTION_OF[name]
        return f"{OPTION_OF[name]}{'=' if ' ' in OPTION_OF[name] else ' '}{value}"

    return _MARKED.sub(option, message)
