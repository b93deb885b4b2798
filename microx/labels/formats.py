"""What microx knows of a corpus as it is downloaded, and the two ways to read its labels.

A corpus is a `CorpusFormat`: a row of a table, not a class of code. Its labels stand in a coding
sheet, read by `read_coding_sheet`, or in the names of its files, read by `read_file_names`. Its
counts are those of the papers and releases; another count is told, and nothing is made to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.labels.columns import (
    LABEL_COLUMNS,
    LabelRows,
    is_no_emotion,
    plain_title,
    read_number,
)
from microx.labels.sheets import SHEET_SUFFIXES, Page, Row, read_pages
from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.video import find_videos

Reader = Callable[["CorpusFormat", Path, Path | None], LabelRows]


@dataclass(frozen=True, eq=False)
class CorpusFormat:
    """A corpus as released.

    Parameters
    ----------
    name, title : str
        Its name on the command line, and its usual name.
    read : callable
        Gives the rows of labels of a folder and, if there is one, a coding sheet.
    layout : str
        How a video of it is named.
    n_rows, n_subjects : tuple of int
        Counts of its releases; empty where not known to us.
    licence, ask, protocol, compare : str
        Its terms, its owner, the protocol to use, and what a score may be compared with.
    sheets : tuple of str
        Patterns of the name of its coding sheet, the likeliest first; none where names tell all.
    columns : mapping of str to str
        Column to the title in its sheet, as `microx.labels.columns.plain_title` makes it.
    codes : mapping of str to str
        Code of an emotion, in lower case, to its name.
    pattern : str
        Regular expression of a file's path with the groups emotion and subject.
    parts : mapping of str to str
        Folder of the release, in lower case, to train, validation or test.
    frame_numbers : str, optional
        A rule of `microx.labels.frame_numbers.RULES`.
    input_fps : float, optional
        Frames a second of its folders of images.
    frame_rate : float, optional
        Frames a second to take; None for all.
    faces : str
        ``"cropped"`` for images that are face crops.
    label_set : str, optional
    known : tuple of str
        Errors of the release, and our choice where there are several.
    many : bool
        Whether a recording holds several expressions, each with its own row.
    """

    name: str
    title: str
    read: Reader
    layout: str
    n_rows: tuple[int, ...]
    n_subjects: tuple[int, ...]
    licence: str
    ask: str
    protocol: str
    compare: str
    sheets: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    frame_numbers: str | None = None
    input_fps: float | None = None
    frame_rate: float | None = 30.0
    faces: str = "main"
    label_set: str | None = None
    known: tuple[str, ...] = ()
    many: bool = False

    def find_part(self, path: str) -> str:
        """Give the part of the corpus's own split that a path lies in; "" where there is none."""
        for folder in path.casefold().split("/")[:-1]:
            for name in (folder, folder.partition("_")[0]):
                if name in self.parts:
                    return self.parts[name]
        return ""

    def describe_settings(self) -> str:
        """Say the options that come with the corpus, as the command line has them."""
        told = [f"--fps {'native' if self.frame_rate is None else f'{self.frame_rate:g}'}"]
        told += [f"--input-fps {self.input_fps:g}"] if self.input_fps else []
        told += [f"--faces {self.faces}"]
        told += [f"--label-set {self.label_set}"] if self.label_set else []
        return " ".join(told)


def find_sheet(form: CorpusFormat, root: Path, sheet: Path | None) -> Path:
    """Find the coding sheet of a corpus: the one that is named, or one in its folder or above.

    Raises
    ------
    InputError
        If there is none, or several of one pattern.
    """
    if sheet is not None:
        return sheet
    for pattern in form.sheets:
        for folder in (root, root.parent):
            found = [
                path
                for path in sorted(folder.rglob("*") if folder == root else folder.glob("*"))
                if re.fullmatch(pattern, path.name, re.IGNORECASE)
                and path.suffix.lower() in SHEET_SUFFIXES
                and not path.name.startswith((".", "~$"))
            ]
            if len(found) > 1:
                raise InputError(
                    f"{folder}: expected one coding sheet of {form.title}; found "
                    f"{', '.join(path.name for path in found[:3])}; name one: `labels_file`"
                )
            if found:
                return found[0]
    raise InputError(
        f"{root}: expected the coding sheet of {form.title}; found no file named like "
        f"{form.sheets[0]}; name it: `labels_file`"
    )


def read_table(form: CorpusFormat, path: Path, page: int | None = None) -> pd.DataFrame:
    """Read a coding sheet under its header, wherever that is, with titles made plain.

    Columns without a title are left out. The index is the row's number in the sheet.

    Raises
    ------
    InputError
        If no line has the titles of the corpus.
    """
    wanted = set(form.columns.values())

    def count_titles(rows: list[Row]) -> int:
        return max((len(_plain(cells) & wanted) for _, cells in rows[:40]), default=0)

    pages = read_pages(path, count_titles)
    chosen: Page | None = None
    if pages:
        chosen = pages[page] if page is not None else max(pages, key=lambda p: count_titles(p.rows))
    if chosen is None or count_titles(chosen.rows) < min(2, len(wanted)):
        titles = ", ".join(chosen.rows[0][1][:8]) if chosen else "nothing"
        raise InputError(
            f"{path}: expected the sheet of {form.title} with the columns "
            f"{', '.join(form.columns.values())}; found {titles}"
        )
    counts = [len(_plain(cells) & wanted) for _, cells in chosen.rows[:40]]
    place = counts.index(max(counts))
    titles_plain = [plain_title(title) for title in chosen.rows[place][1]]
    rows = chosen.rows[place + 1 :]
    table = pd.DataFrame(
        [
            {
                title: cells[i] if i < len(cells) else ""
                for i, title in reversed(list(enumerate(titles_plain)))
                if title
            }
            for _, cells in rows
        ],
        index=[number for number, _ in rows],
        dtype=str,
    )
    lacking = [title for title in wanted if title not in titles_plain]
    if lacking:
        raise InputError(
            f"{path}: expected the column {lacking[0]!r} of the sheet of {form.title}; found "
            f"{', '.join(chosen.rows[place][1])}; rename its column"
        )
    return table


def read_coding_sheet(
    form: CorpusFormat,
    root: Path,
    sheet: Path | None,
    path_of: Callable[[Mapping[str, str]], str],
) -> LabelRows:
    """Read the labels of a corpus from its coding sheet.

    Parameters
    ----------
    form, root, sheet
        See `CorpusFormat.read`.
    path_of : callable
        Gives the end of a video's path from the cells of its row.
    """
    path = find_sheet(form, root, sheet)
    table = read_table(form, path)
    rows = []
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        named = {name: str(cells[title]) for name, title in form.columns.items()}
        if not named.get("path"):
            continue
        emotion = named["emotion"]
        rows.append(
            label_row(
                path_of(named),
                form.codes.get(emotion.casefold(), emotion),
                named.get("subject", ""),
                row=number,
                **{name: named.get(name, "") for name in ("onset", "apex", "offset")},
            )
        )
    return make_rows(form, rows, path.name)


def read_file_names(form: CorpusFormat, root: Path, sheet: Path | None = None) -> LabelRows:
    """Read the labels of a corpus from the names of its files; see `CorpusFormat.pattern`.

    Raises
    ------
    InputError
        If no name is like those of the corpus, or a sheet is given.
    """
    if sheet is not None:
        raise InputError(
            f"{sheet}: {form.title} has its labels in its files' names; leave `labels_file` out"
        )
    rows = []
    for path in find_videos(root, input_fps=form.input_fps):
        relative = path.relative_to(root).as_posix()
        found = re.search(form.pattern, relative, re.IGNORECASE)
        if not found:
            reason = f"its name is not like {form.layout}"
            rows.append(label_row(relative, "", "", reason=reason))
            continue
        parts = found.groupdict()
        code = parts["emotion"].casefold()
        reason = (
            "" if code in form.codes else f"the code {parts['emotion']!r} is none of its emotions"
        )
        rows.append(
            label_row(relative, form.codes.get(code, ""), parts.get("subject") or "", reason=reason)
        )
    if not any(not row["reason"] for row in rows):
        raise InputError(
            f"{root}: expected files of {form.title} named like {form.layout}; found "
            f"{rows[0]['path'] if rows else 'no video and no image'}"
        )
    return make_rows(form, rows, "the files' names")


def label_row(
    path: str, emotion: str, subject: str, *, reason: str = "", row: int | str = "", **marks: str
) -> dict[str, str]:
    """Make one row of labels."""
    return (
        dict.fromkeys(LABEL_COLUMNS, "")
        | {"path": path, "emotion": "" if is_no_emotion(emotion) else emotion, "subject": subject}
        | {"row": str(row), "reason": reason}
        | {name: read_number(text) for name, text in marks.items()}
    )


def make_rows(form: CorpusFormat, rows: Sequence[Mapping[str, str]], name: str) -> LabelRows:
    """Put rows together, and tell where their counts are not those of the releases."""
    columns = [*LABEL_COLUMNS, "row", "reason"]
    table = pd.DataFrame(rows, columns=columns, dtype=str)
    table["corpus"] = table["corpus"].where(table["corpus"] != "", form.name)
    labelled = table[table["reason"] == ""]
    n_subjects = labelled["subject"].replace("", None).nunique()
    counts = (("rows", len(labelled), form.n_rows), ("subjects", n_subjects, form.n_subjects))
    told = [
        f"{' or '.join(f'{n:,}' for n in expected)} {what} expected, {found:,} found"
        for what, found, expected in counts
        if expected
    ]
    notes = [f"{form.title}: {'; '.join(told)}" if told else f"{form.title}: {len(table)} rows"]
    cautions = [
        f"{form.title}: expected {' or '.join(map(str, expected))} {what}; found {found} in "
        f"{name}: another release, or a part of it"
        for what, found, expected in counts
        if expected and found not in expected
    ]
    return LabelRows(table, name, (*notes, *form.known), tuple(cautions))


def number_codes(first: int, names: str) -> dict[str, str]:
    """Number emotions from `first` on.

    Examples
    --------
    >>> number_codes(1, "happy sad")
    {'1': 'happy', '2': 'sad'}
    """
    return {str(first + i): name for i, name in enumerate(names.split())}


def _plain(cells: Sequence[str]) -> set[str]:
    return {plain_title(cell) for cell in cells}


def has_images(folder: Path) -> bool:
    """Tell whether a folder directly holds an image."""
    return folder.is_dir() and any(
        path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()
    )
