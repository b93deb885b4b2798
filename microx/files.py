"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = ".part"
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{12}\.part(\.[^.]*)?", re.DOTALL)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write a file under another name in its folder, and give it its own name at the end.

    Parameters
    ----------
    path : path
        The file to make or replace. Its folder must exist.

    Yields
    ------
    Path
        A hidden name of the same ending to write to, of this call alone. If the block raises,
        what was written is removed and `path` stays as it was.

    Examples
    --------
    >>> with whole_file("table.csv") as partial:  # doctest: +SKIP
    ...     table.to_csv(partial)
    """
    path = Path(path)
    with scratch_file(path) as partial:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written)  # some disks say only now that they are full
        partial.replace(path)


@contextmanager
def hold_folder(folder: str | Path) -> Iterator[bool]:
    """Keep a folder for this process; give False where another one holds it.

    The hold falls with the process, however it ends. A file system without locks gives True.
    """
    with (Path(folder) / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True


@contextmanager
def scratch_file(path: str | Path) -> Iterator[Path]:
    """Give a hidden name beside `path`, of the same ending, and remove what is there at the end."""
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{_MARK}{path.suffix}")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Tell whether a file of this name is one that `whole_file` or `scratch_file` gave.

    Examples
    --------
    >>> is_leftover(".table.9f86d081884c.part.csv"), is_leftover("table.csv")
    (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: str | Path) -> int:
    """Remove what killed runs left half written in a folder; return how many files.

    Only where nothing else writes to the folder. A folder that is not there has none.
    """
    folder = Path(folder)
    names = os.listdir(folder) if folder.is_dir() else []
    leftovers = [folder / name for name in names if is_leftover(name)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
