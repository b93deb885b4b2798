"""Makes a video of each expression of a long recording: a folder of links to its frames."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.labels.columns import FRAME_NUMBERS, LabelRows, to_records
from microx.labels.frame_numbers import MARKS
from microx.preprocessing.video import list_files


def link_intervals(rows: LabelRows, root: Path, clips: Path) -> LabelRows:
    """Link the frames of each row, from its onset to its offset, into a folder of its own.

    Parameters
    ----------
    rows : LabelRows
        Usable rows name folders of images, and onset, apex and offset by their places in it. A
        row without an offset ends with its apex.
    root, clips : Path
        The folder of recordings, and the one to write to. Links that are there stay.

    Returns
    -------
    LabelRows
        Its paths are relative to `clips`, its places to the onset.

    Raises
    ------
    InputError
        If the links cannot be made.
    """
    records = to_records(rows.table)
    for record in records:
        if record["reason"]:
            continue
        named = {name: int(record[name]) for name in MARKS if record[name].isdigit()}
        onset, last = named.get("onset"), named.get("offset", named.get("apex"))
        folder = root / record["path"]
        if onset is None or last is None or last < onset or not folder.is_dir():
            row = f"row {record['row']} of {rows.name}"
            record["reason"] = f"no onset and offset, or no folder of images ({row})"
            continue
        name = re.sub(r"[^\w.-]+", "_", f"{record['path']}_row{record['row']}")
        _link(list_files(folder)[onset : last + 1], clips / name)
        record["path"] = name
        record |= {mark: str(place - onset) for mark, place in named.items()}
    table = pd.DataFrame(records, columns=rows.table.columns)
    note = f"each row's frames from onset to offset are a folder of links in {clips}"
    return replace(
        rows,
        table=table.drop(columns=FRAME_NUMBERS, errors="ignore"),
        notes=(*rows.notes, note),
    )


def _link(files: list[Path], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, file in enumerate(files):
            link = folder / f"{i:06d}{file.suffix}"
            if not os.path.lexists(link):
                link.symlink_to(file.resolve())
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder to link frames in; {error.strerror}; name another `clips`"
        ) from None
