"""How a long function says how far it is: to a callable, or by a bar in a terminal or notebook."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console

Progress = Callable[[int, int, str], None]
"""Called with things done, things in all, and a few words on the latest."""

ProgressOption = Progress | bool | None
"""What a public function takes as `progress`: a callable; False for silence; None (or True) for a
bar in a terminal or a notebook, see `tell_progress`."""

TOLD_EVERY_S = 60
"""Between two lines of progress in a file (our choice)."""

DRAWN_EVERY_S = 0.5
"""Between two updates of the bar in a notebook (our choice)."""

NOTEBOOK_COLUMNS = 100
"""Of the bar in a notebook (our choice)."""


@contextmanager
def tell_progress(progress: ProgressOption, what: str, unit: str) -> Iterator[Progress | None]:
    """Give what is to be called with the progress of a public function.

    Parameters
    ----------
    progress : callable, bool or None
        A callable is given back; False gives None. None and True give a bar on stderr where that
        is a terminal, or below the cell of a notebook, and None where it is neither: nothing is
        written to a file or another program.
    what, unit : str
        What is done, and what is counted, for the bar: ``"training"``, ``"epochs"``.

    Examples
    --------
    >>> with tell_progress(print, "training", "epochs") as told:
    ...     told(1, 3, "loss 0.7")
    1 3 loss 0.7
    """
    if callable(progress):
        yield progress
        return
    from rich.console import Console

    console = Console(stderr=True)
    if progress is False or not (console.is_jupyter or _is_terminal()):
        yield None
        return
    with show_bar(what, unit, console) as advance:
        yield advance


@contextmanager
def show_bar(what: str, unit: str, console: Console) -> Iterator[Progress]:
    """Show a bar with the rate and the time left; yield the callback that moves it.

    It appears with the first call. Where the console is no terminal, a line a minute takes its
    place.

    Parameters
    ----------
    what, unit : str
        See `tell_progress`.
    console : rich.console.Console
    """
    from rich.markup import escape

    bar = _make_bar(unit, console)
    task = bar.add_task(what, total=None, item="")
    show = _notebook_cell(bar) if console.is_jupyter else None
    told = time.monotonic()

    def advance(done: int, total: int, item: str) -> None:
        nonlocal told
        if show is not None:
            bar.update(task, completed=done, total=total, item=escape(item))
            if done == total or time.monotonic() - told > DRAWN_EVERY_S:
                told = time.monotonic()
                show()
        elif console.is_terminal:
            bar.start()  # not before there is something to show
            bar.update(task, completed=done, total=total, item=escape(item))
        elif time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            console.print(f"{what}: {done} of {total} {unit}, {escape(item)}", soft_wrap=True)

    try:
        yield advance
        bar.update(task, item="")
    finally:
        if bar.live.is_started:  # or it would print an empty line for nothing
            bar.stop()


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


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _make_bar(unit: str, console: Console) -> rich.progress.Progress:
    from rich import progress
    from rich.table import Column
    from rich.text import Text

    class RateColumn(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {unit}/s" if speed else "", style="dim")

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        RateColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("[dim]{task.fields[item]}", table_column=Column(no_wrap=True, ratio=1)),
        console=console,
    )


def _notebook_cell(bar: rich.progress.Progress) -> Callable[[], None]:
    """Give what draws the bar below the cell, again and again in one place.

    rich itself needs ipywidgets for that, and warns where they are missing; every notebook can
    update text.
    """
    from rich.console import Console

    display: Any = import_module("IPython.display").display
    handles: list[Any] = []

    def show() -> None:
        page = Console(file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False)
        page.print(bar.get_renderable())
        text = {"text/plain": page.file.getvalue().rstrip()}  # type: ignore[attr-defined]
        if handles:
            handles[0].update(text, raw=True)
        else:
            handles.append(display(text, raw=True, display_id=True))

    return show
