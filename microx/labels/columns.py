"""What the columns and cells of a sheet mean: titles, missing values, subjects.

A title is taken for a column if it is its name, or one of the names in `TITLES`, which are those
of released corpora and of users' own sheets. What was taken for what is a note, and what
could be two things is asked for by name.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.labels.sheets import Row, read_pages
from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.video import VIDEO_SUFFIXES

LABEL_COLUMNS = ("path", "emotion", "subject", "corpus", "onset", "apex", "offset")
"""What a labels file may say of a video; path and emotion are needed."""

FRAME_NUMBERS = "frame_numbers"
"""A column that tells by which rule of `microx.labels.frame_numbers` a row counts its frames."""

TITLES: dict[str, tuple[str, ...]] = {
    "path": (
        *("file", "filename", "filepath", "videopath", "imagepath", "framepath", "fname"),
        *("video", "videoname", "videofile", "clip", "clipname", "clipfile", "image", "imagename"),
        *("sequence", "recording", "media", "videoid", "clipid", "vidname"),
    ),
    "emotion": (
        *("label", "class", "estimatedemotion", "emotionlabel", "emotionclass", "expression"),
        *("emotions", "category", "annotation", "groundtruth"),
    ),
    "subject": (
        *("subjects", "subjectid", "subjectno", "subjectname", "subid", "subj", "sub", "person"),
        *("personid", "participant", "participantid", "actor", "actorid", "actress", "speaker"),
        *("proband", "patient"),
    ),
    "corpus": ("dataset", "database", "corpusname"),
    "onset": ("onsetframe", "onsetf", "onsets", "onsettime"),
    "apex": ("apexframe", "apexf", "apexs", "apextime"),
    "offset": ("offsetframe", "offsetf", "offsets", "offsettime"),
}
"""Titles in lower case, without spaces and signs, that are taken for a column."""

_SECONDS = re.compile(r"(onset|apex|offset)(s|time|times|sec|seconds|insec|inseconds)")
_ABSENT = frozenset(
    {"nan", "<na>", "#n/a", "#na", "null", "#value!", "#ref!", "#name?", "#div/0!", "#num!"}
    | {"#null!", "nat"}
)
_NO_EMOTION = _ABSENT | {"na", "n/a", "n.a."}
MOST_ABOVE = 30
"""Lines of title or comment that may stand above a header (our choice; SAMM-LV has 10)."""


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Rows of a sheet, brought to `LABEL_COLUMNS`.

    Parameters
    ----------
    table : DataFrame
        One row a line of the sheet that is not empty: `LABEL_COLUMNS`, all text, and row, its
        number in the sheet.
    name : str
        The sheet's name, for messages.
    notes, cautions : tuple of str
        What was taken for what; and what may spoil a result.
    """

    table: pd.DataFrame
    name: str
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def read_rows(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    spellings: frozenset[str] = frozenset(),
) -> LabelRows:
    """Read a labels file of any form that says what it means.

    Parameters
    ----------
    path : path
        See `microx.labels.sheets.read_pages`. Lines above the header are passed over.
    columns : dict, optional
        Titles of columns that have others than their own: ``{"emotion": "Rating"}``.
    spellings : frozenset of str
        Emotions in lower case that tell the columns of a sheet without a header.

    Raises
    ------
    InputError
        If a column is missing or two titles could be it; the message tells the option.
    """
    path, columns = Path(path), {name: title.strip() for name, title in (columns or {}).items()}
    unknown = [name for name in columns if name not in LABEL_COLUMNS]
    if unknown:
        raise InputError(f"column {unknown[0]!r} is unknown; known: {', '.join(LABEL_COLUMNS)}")
    pages = read_pages(path, lambda rows: _find_header(rows, columns)[1])
    if not pages:
        raise InputError(f"{path}: expected a CSV with a header, or a sheet; found no cell in it")
    page = max(
        pages, key=lambda page: min(_find_header(page.rows, columns)[1], 2)
    )  # else the first
    others = [other.name for other in pages if other is not page]
    notes = [*page.notes]
    notes += [f"read the page {page.name!r}, not {', '.join(map(repr, others))}"] if others else []
    place, n_known = _find_header(page.rows, columns)
    bare = None if n_known else _guess_columns(page.rows, spellings)
    if bare is not None:
        notes.append(f"no header: its columns were read as {', '.join(bare)}")
        titles, rows = bare, page.rows
    else:
        titles, rows = page.rows[place][1], page.rows[place + 1 :]
        if place:
            above = page.rows[0][1][0]
            notes.append(f"skipped the lines above the header, from {above!r} on")
    table = _tabulate(titles, rows)
    chosen, said, cautions = _choose_columns(path, list(table.columns), columns)
    notes += said
    result = _clean(table, chosen)
    if FRAME_NUMBERS in table.columns:
        result[FRAME_NUMBERS] = table.loc[result["row"].astype(int), FRAME_NUMBERS].to_numpy()
    result, about_subjects, leaks = unify_subjects(result)
    return LabelRows(result, path.name, (*notes, *about_subjects), (*cautions, *leaks))


def plain_title(title: str) -> str:
    """Bring a title to what is compared: lower case, letters and digits only."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", title).casefold())


def _name_of(title: str, columns: Mapping[str, str]) -> str:
    """Name the column that a title is known for, else ""."""
    for name, own in columns.items():
        if title.casefold() == own.casefold():
            return name
    plain = plain_title(title)
    for name in LABEL_COLUMNS:
        if name not in columns and (plain == name or plain in TITLES[name]):
            return name
    known = _SECONDS.fullmatch(plain)
    return known.group(1) if known and known.group(1) not in columns else ""


def _find_header(rows: list[Row], columns: Mapping[str, str]) -> tuple[int, int]:
    """Find the place of the header, and how many columns it names; without one, (0, 0)."""
    known = [
        len({name for cell in cells if (name := _name_of(cell, columns))})
        for _, cells in rows[: MOST_ABOVE + 1]
    ]
    best = max(known, default=0)
    # One known word is a header only in the first line of several cells.
    if best == 1:
        wide = next((i for i, (_, cells) in enumerate(rows) if len(cells) > 1), 0)
        return (wide, 1) if wide < len(known) and known[wide] else (0, 0)
    return (known.index(best), best) if best else (0, 0)


def _guess_columns(rows: list[Row], spellings: frozenset[str]) -> list[str] | None:
    """Tell the columns of a sheet without a header, if their form is obvious."""
    width = max(len(cells) for _, cells in rows)
    if width not in (2, 3) or any(len(cells) < 2 for _, cells in rows):
        return None
    endings = tuple(VIDEO_SUFFIXES | IMAGE_SUFFIXES)
    names = [""] * width
    for place in range(width):
        cells = [cells[place].casefold() if place < len(cells) else "" for _, cells in rows]
        if all(cell.endswith(endings) for cell in cells):
            names[place] = "path"
        elif all(cell in spellings or cell in _NO_EMOTION for cell in cells):
            names[place] = "emotion"
    if sorted(names) not in (["emotion", "path"], ["", "emotion", "path"]):
        return None
    return [name or "subject" for name in names]


def _tabulate(titles: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    width = max([len(titles), *(len(cells) for _, cells in rows)])
    names = [*titles, *[""] * (width - len(titles))]
    filled = [cells + [""] * (width - len(cells)) for _, cells in rows]
    return pd.DataFrame(filled, columns=names, index=[number for number, _ in rows], dtype=str)


def _choose_columns(
    path: Path, titles: list[str], columns: Mapping[str, str]
) -> tuple[dict[str, int], list[str], list[str]]:
    """Choose the place of each column; say what was taken for it, and what is amiss."""
    chosen: dict[str, int] = {}
    notes, cautions = [], []
    names = [_name_of(title, columns) for title in titles]
    for name in LABEL_COLUMNS:
        own = columns.get(name, name)
        places = [i for i, title in enumerate(titles) if title == own]
        places = places or [
            i for i, title in enumerate(titles) if title.casefold() == own.casefold()
        ]
        if name not in columns:
            places = places or [i for i, found in enumerate(names) if found == name]
        if len(places) > 1:
            both = " and ".join(repr(titles[i]) for i in places)
            raise InputError(
                f"{path}: expected a column {own!r} for {name}; found {both}, and either may be "
                f"it; say which: `columns={name}={titles[places[0]]}`"
            )
        if places:
            chosen[name] = places[0]
            if titles[places[0]].casefold() not in (name, own.casefold()):
                notes.append(f"took the column {titles[places[0]]!r} for {name}")
        elif name in columns or name in ("path", "emotion"):
            raise InputError(_ask(path, name, own, titles, set(chosen.values())))
    unused = [
        title
        for i, title in enumerate(titles)
        if title and i not in chosen.values() and title != FRAME_NUMBERS
    ]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    if "subject" not in chosen:
        close = _resembling("subject", unused)
        hint = f" ({close} → subject? then `columns=subject={close}`)" if close else ""
        cautions.append(
            f"{path.name} has no column subject{hint}: microx does not know the subjects, so one "
            "subject may be in training and in test"
        )
    return chosen, notes, cautions


def _ask(path: Path, name: str, own: str, titles: Sequence[str], taken: set[int]) -> str:
    free = [title for i, title in enumerate(titles) if title and i not in taken]
    close = _resembling(own, free)
    guess = f" ({close} → {name}?)" if close else ""
    return (
        f"{path}: expected a column {own!r} for {name}; found "
        f"{', '.join(title for title in titles if title)}{guess}; name it: "
        f"`columns={name}={close or 'COLUMN'}`; a sheet without a header needs the line "
        "path,emotion,subject"
    )


def _resembling(name: str, titles: Sequence[str]) -> str:
    plain = {plain_title(title): title for title in titles}
    known = [name, *TITLES.get(name, ())]
    for title, own in plain.items():
        if difflib.get_close_matches(title, known, 1, 0.75) or (len(title) > 3 and name in title):
            return own
    return ""


def _clean(table: pd.DataFrame, chosen: Mapping[str, int]) -> pd.DataFrame:
    """Keep the known columns; texts that stand for nothing become nothing."""
    rows = pd.DataFrame(
        {
            name: table.iloc[:, chosen[name]].to_numpy() if name in chosen else ""
            for name in LABEL_COLUMNS
        },
        index=table.index,
        dtype=str,
    )
    rows = rows[(rows != "").any(axis=1)]
    for name in LABEL_COLUMNS:
        absent = _NO_EMOTION if name == "emotion" else _ABSENT
        if name != "path":  # an emotion that is none is told with its row
            rows[name] = [
                cell if name == "emotion" or cell.casefold() not in absent else ""
                for cell in rows[name]
            ]
    for name in ("onset", "apex", "offset"):
        seconds = name in chosen and _SECONDS.fullmatch(plain_title(table.columns[chosen[name]]))
        rows[name] = [read_number(cell, seconds=bool(seconds)) for cell in rows[name]]
    rows["row"] = [str(number) for number in rows.index]
    return rows.reset_index(drop=True)


def to_records(table: pd.DataFrame) -> list[dict[str, str]]:
    """Give the rows of a table of texts."""
    return [
        {str(name): str(text) for name, text in row.items()} for row in table.to_dict("records")
    ]


def is_no_emotion(cell: str) -> bool:
    """Tell whether a cell stands for no emotion.

    Examples
    --------
    >>> is_no_emotion("NaN"), is_no_emotion("#N/A"), is_no_emotion("none")
    (True, True, False)
    """
    return not cell or cell.casefold() in _NO_EMOTION


def read_number(cell: str, *, seconds: bool = False) -> str:
    """Bring a number to one form: a decimal point, none where it is whole, ``s`` for seconds.

    What is no number, such as CASME II's ``/``, becomes nothing.

    Examples
    --------
    >>> read_number("1,5"), read_number("4.0"), read_number("/"), read_number("0:02.5")
    ('1.5', '4', '', '2.5 s')
    """
    cell = cell.strip()
    clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)", cell)
    if clock:
        hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in clock.groups())
        return f"{hours * 3600 + minutes * 60 + rest:g} s"
    found = re.fullmatch(r"([+-]?\d+(?:[.,]\d+)?)\s*(s|sec|seconds)?", cell)
    if not found:
        return ""
    value = float(found.group(1).replace(",", "."))
    text = str(int(value)) if value.is_integer() else repr(value)
    return f"{text} s" if seconds or found.group(2) else text


def unify_subjects(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Write each subject of a corpus in one way.

    Subjects are one if they are equal as numbers (001, 1, 1.0) or but for capitals and outer
    spaces (Anna, anna); the first spelling without decimals is kept.

    Returns
    -------
    DataFrame
        The table with its subjects so.
    notes, cautions : list of str
        Spellings taken for one; and subjects that differ so little that they may be one.
    """
    spelled: dict[tuple[str, str], list[str]] = {}
    keys = []
    for corpus, subject in zip(table["corpus"], table["subject"], strict=True):
        whole = re.sub(r"^(\d+)[.,]0+$", r"\1", subject)
        key = (corpus, str(int(whole)) if whole.isdecimal() else whole.casefold())
        spelled.setdefault(key, []).append(subject)
        keys.append(key)
    kept = {
        key: next((one for one in found if not re.fullmatch(r"\d+[.,]0+", one)), key[1])
        for key, found in spelled.items()
    }
    notes = [
        f"subjects treated as one, equal as numbers or apart from capitals: "
        f"{', '.join(sorted(set(found)))} → {kept[key]}"
        for key, found in spelled.items()
        if len(set(found)) > 1
    ]
    table = table.assign(subject=[kept[key] for key in keys])
    near: dict[tuple[str, str], set[str]] = {}
    for key, subject in kept.items():
        if subject:
            near.setdefault((key[0], _bare_subject(subject)), set()).add(subject)
    cautions = [
        f"subjects {', '.join(sorted(found))} differ by little: if they are one, training and test "
        "share a subject; write them in the same way"
        for found in near.values()
        if len(found) > 1
    ]
    return table, notes, cautions


def _bare_subject(subject: str) -> str:
    """Leave out what is often written differently: accents, signs, spaces, leading zeros."""
    letters = unicodedata.normalize("NFKD", subject.casefold())
    plain = "".join(letter for letter in letters if letter.isalnum())
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain)
