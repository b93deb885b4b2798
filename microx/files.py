"""Files that appear whole or not at all; and places that cannot be read or written, said early."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from microx.errors import InputError

_MARK = ".part"
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{12}\.part(\.[^.]*)?", re.DOTALL)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+:)/", re.IGNORECASE)  # of a Path: one slash


def say_absence(path: str | Path) -> str:
    """Say what stands in the place of a file that is not there.

    Examples
    --------
    >>> say_absence("https://example.org/a.mp4"), say_absence("a/b.mp4")
    ('an address; download it first', 'nothing there')
    """
    return "an address; download it first" if _is_address(path) else "nothing there"


def check_new_folder(path: str | Path, name: str = "out") -> None:
    """Refuse what cannot be a folder to write to, before anything slow is done; make nothing.

    Parameters
    ----------
    path : path
    name : str
        The argument that names it, for the message.

    Raises
    ------
    InputError
        If it is an address, a file, below a file, or where nothing may be written.
    """
    path = Path(path)
    there = next((p for p in (path, *path.absolute().parents) if os.path.lexists(p)), Path())
    if _is_address(path):
        found = "an address"
    elif not there.is_dir():
        found = "a file there" if there == path else f"the file {there} on the way to it"
    elif not os.access(there, os.W_OK | os.X_OK):
        found = f"that {there} may not be written to"
    else:
        return
    raise InputError(f"{path}: expected a folder to write to; found {found}; name another `{name}`")


def _is_address(path: str | Path) -> bool:
    scheme = _ADDRESS.match(str(path))
    return scheme is not None and not os.path.lexists(scheme[1])


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
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_file(Path(folder) / "table.csv") as partial:
    ...         n_written = partial.write_text("name")
    ...     os.listdir(folder)
    ['table.csv']
    """
    path = Path(path)
    with scratch_file(path) as partial:
        yield partial
        with partial.open("r+b") as written:
            os.fsync(written)  # some disks say only now that they are full
        partial.replace(path)


@contextmanager
def hold_folder(folder: str | Path) -> Iterator[bool]:
    """Keep a folder for this process; give False where it is held already.

    The hold falls with the process, however it ends. A file system without locks gives True.

    Parameters
    ----------
    folder : path
        It must exist. Its file ``.lock`` is made, and stays on Linux and macOS.

    Yields
    ------
    bool
        Whether the folder is held by this block.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, hold_folder(folder) as first:
    ...     with hold_folder(folder) as second:
    ...         first, second
    (True, False)
    """
    path = Path(folder) / ".lock"
    with path.open("a"):
        pass  # what cannot be written is told, and not taken for a file system without locks
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, timeout=0, fallback_to_soft=False))
        except Timeout:
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
