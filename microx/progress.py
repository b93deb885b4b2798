"""How a long function says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with things done, things in all, and a few words on the latest."""


def part_of(
    progress: Progress | None, part: int, n_parts: int, prefix: str = ""
) -> Progress | None:
    """Tell the progress of one of several equal parts as progress of the whole.

    Parameters
    ----------
    progress : callable or None
        The whole's; None gives None.
    part, n_parts : int
        Which part this is, from 0, and how many there are.
    prefix : str
        Put before the part's own words.

    Examples
    --------
    >>> half = part_of(print, 1, 2, "fold 2 of 2, ")
    >>> half(1, 10, "epoch 1")
    11 20 fold 2 of 2, epoch 1
    """
    if progress is None:
        return None

    def advance(done: int, total: int, what: str) -> None:
        progress(part * total + done, n_parts * total, prefix + what)

    return advance
