"""The network that microx ships: what `"pretrained"` stands for wherever a model is named.

Made by ``examples/pretrain.py``; docs/pretrained.md tells of what, and how good it is.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from microx.errors import ModelError

PRETRAINED = "pretrained"
"""The word; a file or folder of this name is opened by its full path."""

ABOUT = (
    "the network of microx: it learned from photographs (FER2013) and gives 57 of 100 "
    "unseen ones their label, but none disgust"
)

_FILE = Path(__file__).parent / "weights" / "face.keras"
_SHA256 = "082978b2fdaa2e92aa1a57a2ec7ab0862ba82812b48bcd2876220c9f3901d0c6"


@cache
def find_pretrained() -> Path:
    """Find the file of the network that microx ships.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        If it is missing, or is not the file that was shipped.
    """
    if not _FILE.is_file():
        raise ModelError(
            f"{_FILE}: expected the network of microx; found none; install microx again"
        )
    with _FILE.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != _SHA256:
        raise ModelError(
            f"{_FILE}: expected the network of microx, of SHA-256 {_SHA256[:12]}…; found "
            f"{found[:12]}…; install microx again"
        )
    return _FILE
