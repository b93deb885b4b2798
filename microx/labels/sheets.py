"""Reads a sheet in any usual form: Excel, OpenDocument, CSV of any encoding and separator.

A sheet becomes rows of text, each with the number that a spreadsheet shows beside it. What had
to be guessed on the way is a note. What the columns mean is the matter of
`microx.labels.columns`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from microx.errors import InputError
from microx.files import say_absence

SHEET_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".ods")
"""Endings of files that are taken for a sheet when one is looked for."""

Row = tuple[int, list[str]]
"""The number of a row, from 1, and its cells."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = (",", ";", "\t", "|")
_WORD = re.compile(r"[\w.-]*[^\x00-\x7f][\w.-]*")
_MOST_REPEATED = 10_000
"""Rows or cells that an OpenDocument sheet may repeat; beyond, they fill the empty rest of it."""


@dataclass(frozen=True)
class Page:
    """One table of a file, all text.

    Parameters
    ----------
    name : str
        The name on its tab; "" of a CSV.
    rows : list of (int, list of str)
        Rows that are not empty, by their number; cells without outer spaces, empty ones at the
        end left out.
    notes : tuple of str
        What was guessed.
    """

    name: str
    rows: list[Row] = field(repr=False)
    notes: tuple[str, ...] = ()


def read_pages(path: str | Path, score: Callable[[list[Row]], int] | None = None) -> list[Page]:
    """Read the pages of a sheet that hold anything.

    Parameters
    ----------
    path : path
        An .xlsx, .xlsm or .ods file, or a text of cells between commas, semicolons, tabs or
        bars, in UTF-8, UTF-16 or Windows-1252. The bytes tell which, not the name.
    score : callable, optional
        Rates rows, so that the separator is chosen under which they say the most.

    Returns
    -------
    list of Page
        Empty where the file holds no cell.

    Raises
    ------
    InputError
        If there is no such file, or it is of a kind that cannot be read; the message names the
        kind that can.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{path}: expected a labels file; found a folder; name the file") from None
    except OSError as error:
        found = say_absence(path) if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise InputError(f"{path}: expected a labels file; found {found}") from None
    if data.startswith(b"PK\x03\x04"):
        return _read_archive(path, data)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise _unreadable(path, "a sheet of Excel 97-2003 (.xls)")
    if data.startswith((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b")):
        raise _unreadable(path, f"bytes that begin with {data[:4]!r}")
    text, notes = _decode(path, data)
    if text.lstrip()[:9].lower().startswith(("<html", "<!doctype", "<?xml", "{\\rtf")):
        raise _unreadable(path, f"a text that begins with {text.lstrip()[:9]!r}")
    rows = _split_text(path, text, score or _rate_evenness)
    return [Page("", rows, tuple(notes))] if rows else []


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: expected a labels file; found {found}; open it in a spreadsheet program and "
        "save it as .xlsx or CSV UTF-8"
    )


def _decode(path: Path, data: bytes) -> tuple[str, list[str]]:
    """Give a text and, where its encoding had to be guessed, the guess."""
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), "")
    if not encoding and data[:400].count(b"\0") * 4 > len(data[:400]):
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        text = data.decode(encoding or "utf-8")
        if "\0" in text:
            raise _unreadable(path, "zero bytes")
        return text, [f"read as {encoding[:6].upper()}"] if "16" in encoding else []
    except UnicodeDecodeError as error:
        if encoding:
            raise _unreadable(path, f"{encoding.upper()} that is damaged: {error.reason}") from None
        at = error.start
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: expected a CSV in UTF-8, UTF-16 or Windows-1252; byte {at} is none of them; "
            "save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        raise _unreadable(path, "zero bytes")
    odd = _WORD.search(text)
    word = f", such as {odd.group()!r}" if odd else ""
    note = f"byte {at} is not UTF-8: read as Windows-1252{word}; if that is wrong, save it as UTF-8"
    return text, [note]


def _split_text(path: Path, text: str, score: Callable[[list[Row]], int]) -> list[Row]:
    """Split a text into cells, by the separator it names or the one that makes the most of it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    named = re.match(r'\s*"?sep=(.)"?[^\n]*(\n|$)', text, re.IGNORECASE)
    if named:  # what Excel writes and reads; the line stays a row in the count
        return _parse(path, "\n" + text[named.end() :], named.group(1))
    tried = [_parse(path, text, separator) for separator in _SEPARATORS]
    return max(tried, key=lambda rows: (score(rows), _rate_evenness(rows)))


def _parse(path: Path, text: str, separator: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows, following = [], 1
    try:
        for cells in reader:
            rows.append((following, cells))
            following = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: expected a CSV; line {following}: {error}") from None
    return _tidy(rows)


def _rate_evenness(rows: list[Row]) -> int:
    """Rate rows by how many have the usual number of cells, if that is more than one."""
    widths = Counter(len(cells) for _, cells in rows)
    width, n_rows = widths.most_common(1)[0] if widths else (0, 0)
    return n_rows if width > 1 else 0


def _tidy(rows: Sequence[Row]) -> list[Row]:
    """Leave out the outer spaces of cells, empty cells at the end, and rows of nothing."""
    tidy = []
    for number, cells in rows:
        cells = [cell.replace("\xa0", " ").strip() for cell in cells]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            tidy.append((number, cells))
    return tidy


def _read_archive(path: Path, data: bytes) -> list[Page]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if "content.xml" in names:
                return _read_opendocument(archive.read("content.xml"))
            if "xl/workbook.xml" in names:
                return _read_excel(data)
        found = "an archive that is no sheet"
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        found = f"a damaged sheet ({error})"
    raise _unreadable(path, found)


def _read_excel(data: bytes) -> list[Page]:
    import warnings

    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of looks and lists, which hold no cell
        book = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
    pages = []
    for sheet in book.worksheets:
        cells = [[_show_cell(cell) for cell in row] for row in sheet.iter_rows()]
        for block in sheet.merged_cells.ranges:  # one value for several rows is the value of each
            for row in range(block.min_row, block.max_row + 1):
                cells[row - 1][block.min_col - 1] = cells[block.min_row - 1][block.min_col - 1]
        rows = _tidy(list(enumerate(cells, 1)))
        if rows:
            pages.append(Page(sheet.title, rows))
    return pages


def _show_cell(cell: Any) -> str:
    """Show a cell as its program does: 1.0 is 1, and 1 in the form 000 is 001."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    form = str(cell.number_format)
    if type(value) is int and re.fullmatch(r"0{2,}", form):
        return str(value).zfill(len(form))
    return str(value)


_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def _read_opendocument(content: bytes) -> list[Page]:
    """Read the tables of an OpenDocument spreadsheet (OASIS OpenDocument 1.2, part 1, 9.1)."""
    pages = []
    for table in ElementTree.fromstring(content).iter(f"{_TABLE}table"):
        rows: list[Row] = []
        number = 1
        for row in table.iter(f"{_TABLE}table-row"):
            cells: list[str] = []
            for cell in row:
                if cell.tag in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
                    n_times = int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
                    cells += [_show_opendocument(cell)] * (n_times if n_times < 1000 else 1)
            n_rows = int(row.get(f"{_TABLE}number-rows-repeated", "1"))
            if n_rows < _MOST_REPEATED:
                rows += [(number + i, cells) for i in range(n_rows)]
            number += n_rows
        rows = _tidy(rows)
        if rows:
            pages.append(Page(table.get(f"{_TABLE}name", ""), rows))
    return pages


def _show_opendocument(cell: ElementTree.Element) -> str:
    shown = "\n".join("".join(line.itertext()) for line in cell.iter(f"{_TEXT}p"))
    value = cell.get(f"{_OFFICE}value")
    if value is None or shown.isdigit():  # 001 is shown so, and stored as 1
        return shown
    return str(int(float(value))) if float(value).is_integer() else value
