"""Matches the onset, apex and offset of a sheet to frames, by one rule for a whole corpus.

A sheet's number may be the one in a file's name (46 is ``reg_img46.jpg``, though it is the first
of its folder), a count of frames, or a time. What comes out is the frame's place in its video,
from 0, or a time such as ``1.5 s``, which is brought to a frame when the video is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.labels.columns import FRAME_NUMBERS, LabelRows, to_records
from microx.preprocessing.video import list_files

RULES: dict[str, str] = {
    "names": "the numbers in the names of the image files",
    "from0": "counts of frames from 0",
    "from1": "counts of frames from 1",
    "onset": "numbers of a recording, of which the first file of a folder is the onset",
    "seconds": "seconds since the first frame",
}
"""How the numbers of a sheet are to be read."""

MARKS = ("onset", "apex", "offset")
_TRIED = ("names", "from0", "from1")


def match_frames(rows: LabelRows, root: Path, rule: str | None = None) -> LabelRows:
    """Bring the frame numbers of usable rows to places from 0; what matches nothing is an error.

    Parameters
    ----------
    rows : LabelRows
        Its table with path and reason; numbers as `microx.labels.columns.read_number` gives them.
    root : Path
        Folder of the videos.
    rule : str, optional
        One of `RULES`. Without it, of names, from0 and from1 the one that fits the most folders of
        images, the first of equals; video files, of which nothing can be seen, count from 0. A
        row's own column frame_numbers goes before either.

    Returns
    -------
    LabelRows
        A row whose number matches no frame has it, and its row, as the reason. The rule is a note.

    Raises
    ------
    InputError
        If the rule is unknown.
    """
    for name in {rule, *rows.table.get(FRAME_NUMBERS, [])} - {None, ""}:
        if name not in RULES:
            raise InputError(
                f"frame numbers {name!r} are unknown; expected one of {', '.join(RULES)}"
            )
    records = to_records(rows.table)
    marked = [
        (record, _FrameNames(root / record["path"]), record.get(FRAME_NUMBERS, ""))
        for record in records
        if not record["reason"] and any(record[name] for name in MARKS)
    ]
    folders = [(record, frames) for record, frames, own in marked if frames.n_frames and not own]
    fits = {
        name: sum(not _place(record, frames, name)[1] for record, frames in folders)
        for name in _TRIED
    }
    chosen = rule or max(_TRIED, key=lambda name: fits[name])
    for record, frames, own in marked:
        by = own or rule or (chosen if frames.n_frames else "from0")
        places, lacking = _place(record, frames, by)
        if lacking:
            row = f" (row {record['row']} of {rows.name})" if record["row"] else ""
            record["reason"] = f"{lacking}{row}{_suggest(record, frames, by)}"
        record |= places
    table = pd.DataFrame(records, columns=rows.table.columns)
    notes = list(rows.notes)
    n_without = sum(not record["reason"] and not record["apex"] for record, _, _ in marked)
    if n_without:
        notes.append(f"no apex is given in {n_without} of {len(marked)} rows with frame numbers")
    if folders:
        n_fit = sum(not record["reason"] for record, _ in folders)
        notes.append(
            f"frame numbers of {rows.name}: {RULES[chosen]} ({chosen}); they fit {n_fit} of "
            f"{len(folders)} folders of images"
        )
    if any(not frames.n_frames and not own for _, frames, own in marked):
        notes.append(f"frame numbers of {rows.name}, video files: {RULES[rule or 'from0']}")
    broken = [
        record["path"]
        for record, _, _ in marked
        if any("." in record[name] and not record[name].endswith("s") for name in MARKS)
    ]
    cautions = [*rows.cautions, *_find_disorder(table)]
    if broken:
        cautions.append(
            f"frame numbers of {len(broken)} rows are no whole numbers, so the nearest frame is "
            f"taken ({broken[0]}); if they are seconds: `frame_numbers=seconds`"
        )
    return LabelRows(table, rows.name, tuple(notes), tuple(cautions))


class _FrameNames:
    """The numbers in the names of a folder's images; of a file, none."""

    def __init__(self, path: Path) -> None:
        names = [image.stem for image in list_files(path)] if path.is_dir() else []
        self.n_frames = len(names)
        found = [re.findall(r"\d+", name)[-1:] for name in names]
        numbers = [int(digits[0]) for digits in found if digits]
        is_clear = len(set(numbers)) == len(names)
        self.places = {number: i for i, number in enumerate(numbers)} if is_clear else {}

    def describe(self, rule: str) -> str:
        if rule == "names" and self.places:
            return f"its files are numbered {min(self.places)} to {max(self.places)}"
        if rule == "names":
            return "the names of its files hold no number, or one twice"
        return f"it has {self.n_frames} frames ({rule})"


def _place(row: Mapping[str, str], frames: _FrameNames, rule: str) -> tuple[dict[str, str], str]:
    """Give the places of a row's numbers, and what is amiss with the first that has none."""
    first = _number(row["onset"])
    by_rule: dict[str, Callable[[float], float | None]] = {
        "names": lambda number: frames.places.get(int(number)) if number % 1 == 0 else None,
        "from0": lambda number: number,
        "from1": lambda number: number - 1,
        "onset": lambda number: None if first is None else number - first,
    }
    places = {}
    for name in MARKS:
        text = str(row[name])
        number = _number(text)
        if number is None or text.endswith("s"):
            continue
        if rule == "seconds":
            places[name] = f"{text} s"
            continue
        place = by_rule[rule](number)
        last = frames.n_frames - 1 if frames.n_frames else float("inf")
        if place is None or not 0 <= place <= last:
            if frames.n_frames:
                return places, f"{name} {text} matches no frame: {frames.describe(rule)}"
            return places, f"{name} {text} is no frame of a video file ({rule})"
        places[name] = f"{place:g}" if place % 1 else str(int(place))
    return places, ""


def _suggest(row: Mapping[str, str], frames: _FrameNames, rule: str) -> str:
    """Name another rule that would fit a row, for the user to judge."""
    fit = [
        name
        for name in (*_TRIED, "onset")
        if name != rule and frames.n_frames and not _place(row, frames, name)[1]
    ]
    likely = [name for name in fit if name != "onset"] or fit
    told = " or ".join(f"`frame_numbers={name}`" for name in likely)
    return f"; {told} would fit" if told else ""


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix(" s"))
    except ValueError:
        return None


def _find_disorder(table: pd.DataFrame) -> list[str]:
    """Find rows whose onset, apex and offset are not in this order."""
    usable = table[(table["reason"] == "")]
    values = usable[list(MARKS)].map(lambda text: _number(str(text)))
    values = values.astype(float)
    wrong = usable[
        (values["onset"] > values["apex"])
        | (values["apex"] > values["offset"])
        | (values["onset"] > values["offset"])
    ]
    if wrong.empty:
        return []
    named = ", ".join(wrong["path"].head(3))
    return [f"onset, apex and offset are out of order in {len(wrong)} rows: {named}"]
