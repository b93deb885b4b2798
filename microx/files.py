"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        A hidden name of the same ending to write to. If the block raises, what was written
        is removed and `path` stays as it was.

    Examples
    --------
    >>> with whole_file("table.csv") as partial:  # doctest: +SKIP
    ...     table.to_csv(partial)
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
