"""Which emotion and which subject each video of a folder is said to show.

Labels come from a labels file, or, without one, from the names of class sub-folders. A
label set maps the many spellings of an emotion to the classes of a study; it is a CSV with
the columns spelling, emotion and source, like those in ``microx/labels/sets/``. A video is
what `microx.preprocessing.video` calls one: a file, an image, or a folder of frames.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.files import whole_file
from microx.labels.columns import (
    FRAME_NUMBERS,
    LABEL_COLUMNS,
    LabelRows,
    is_no_emotion,
    read_rows,
    to_records,
)
from microx.labels.corpora import find_corpus
from microx.labels.formats import CorpusFormat
from microx.labels.frame_numbers import match_frames
from microx.labels.intervals import link_intervals
from microx.labels.matching import match_videos
from microx.markup import to_html
from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.video import VIDEO_SUFFIXES, check_folder, find_videos
from microx.text import first_few

LABEL_SETS = ("microx7", "ekman7", "megc3")
"""Label sets that come with microx."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Videos with their labels.

    Parameters
    ----------
    root : Path
        Folder that the paths are relative to.
    table : DataFrame
        One row a video, all text: video_id, the `LABEL_COLUMNS`, reason, and spelling, the
        emotion as it was written. Where reason is not empty, the row cannot be used: a label
        without a video, a video without a label.
    classes : tuple of str
        The emotions: in the order of the label set, or else alphabetical.
    label_set : str
        Name of the label set, ``"file"`` where the labels are taken as they are.
    input_fps : float, optional
        Frames a second of the videos that are folders of images; None where images are
        videos of one frame.
    source : str
        Where the labels were read: the labels file, or ``"class sub-folders of FOLDER"``.
    notes, cautions : tuple of str
        What was taken for what in the sheet; and what may spoil a result.

    Examples
    --------
    >>> Labels(Path("videos"), pd.DataFrame({"reason": [], "subject": []}), (), "file")
    Labels(0 videos, 0 subjects, 0 emotions)
    """

    root: Path
    table: pd.DataFrame
    classes: tuple[str, ...]
    label_set: str
    input_fps: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        usable = self.table[self.table["reason"] == ""]
        n_left_out = len(self.table) - len(usable)
        left_out = f"{n_left_out} left out, " if n_left_out else ""
        n_subjects = usable.loc[usable["subject"] != "", "subject"].nunique()
        classes = f"{len(self.classes)} emotions"
        classes += f" of {self.label_set}" if self.label_set != "file" else ""
        return f"Labels({len(usable)} videos, {left_out}{n_subjects} subjects, {classes})"

    def _repr_html_(self) -> str:
        usable = self.table[self.table["reason"] == ""]
        rows = [
            {
                "emotion": emotion,
                "videos": int((usable["emotion"] == emotion).sum()),
                "subjects": usable.loc[usable["emotion"] == emotion, "subject"].nunique(),
            }
            for emotion in self.classes
        ]
        return to_html(pd.DataFrame(rows), caption=repr(self))


def read_labels(
    videos: str | Path,
    labels_file: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    label_set: str | None = None,
    input_fps: float | None = None,
    corpus: str | None = None,
    frame_numbers: str | None = None,
    clips: str | Path | None = None,
) -> Labels:
    """Bring the videos of a folder together with their labels.

    Parameters
    ----------
    videos : path
        Folder that is searched for videos and images, sub-folders too.
    labels_file : path, optional
        A sheet (.xlsx, .ods) or CSV, see `microx.labels.sheets.read_pages`, with a header, see
        `microx.labels.columns.TITLES`. A path in it names a video, be that a file or a folder of
        frames, see `microx.labels.matching.match_videos`. Without it, that is ``labels.csv`` in
        `videos`; where that is missing, too, the first sub-folder a video lies in is its emotion,
        and there are no subjects.
    columns : dict, optional
        Where the file has other column names: ``{"emotion": "Estimated Emotion"}``.
    label_set : str, optional
        One of `LABEL_SETS`, or the path of a CSV like them. Without it, the emotions are
        taken as they stand.
    input_fps : float, optional
        Frames a second of folders of images: each such folder is then one video. Without it,
        each image is a video of one frame.
    corpus : str, optional
        A name of `microx.labels.corpora.CORPORA`: `videos` is its folder as downloaded, and
        `labels_file` its coding sheet, which is looked for in it otherwise. `label_set`,
        `input_fps` and `frame_numbers` are then the corpus's own unless they are given.
    frame_numbers : str, optional
        How onset, apex and offset count: a name of `microx.labels.frame_numbers.RULES`.
    clips : path, optional
        For a corpus of long recordings: the folder that the frames of each expression are linked
        into.

    Returns
    -------
    Labels

    Raises
    ------
    InputError
        If there is no video, a column is missing, no label fits a video, an emotion is not
        in the label set, or `input_fps` is not above 0; the message names it.

    Examples
    --------
    >>> read_labels("videos", "labels.csv", label_set="microx7").classes
    ('neutral', 'anger', 'contempt', 'surprise', 'fear', 'happy', 'sad')
    """
    check_folder(videos)
    root, form = Path(videos), find_corpus(corpus) if corpus else None
    if form is not None and columns:
        raise InputError(f"`columns`: {form.title} has its own; leave them out")
    if form is None and labels_file is None and (root / "labels.csv").is_file():
        labels_file = root / "labels.csv"
    sheet = None if labels_file is None else Path(labels_file)
    if form is not None:
        input_fps, label_set = input_fps or form.input_fps, label_set or form.label_set
        frame_numbers = frame_numbers or form.frame_numbers
        rows = form.read(form, root, sheet)
    elif sheet is not None:
        rows = read_rows(sheet, columns, spellings=_spellings())
    found = find_videos(root, input_fps=input_fps)
    if not found:
        raise InputError(
            f"{root}: expected a folder of videos or images; found no video file in it and no image"
        )
    from_folders = form is None and sheet is None
    if from_folders:
        rows = _labels_from_folders(root, found)
    else:
        rows = _match(rows, root, root if sheet is None else sheet.parent, found, form)
        rows = match_frames(rows, root, frame_numbers)
        if form is not None and form.many:
            rows = _cut(rows, root, clips, form.title)
            root = Path(clips or "")
    origin = f"class sub-folders of {root}" if from_folders else str(sheet)
    origin = f"{form.title} in {videos}" if form is not None else origin
    return _name_classes(rows, root, label_set, input_fps, origin, from_folders)


def _name_classes(
    rows: LabelRows,
    root: Path,
    label_set: str | None,
    input_fps: float | None,
    origin: str,
    from_folders: bool,
) -> Labels:
    """Map the emotions of matched rows to classes, and give each video its id."""
    table, usable = rows.table, rows.table["reason"] == ""
    if not usable.any() and from_folders:
        raise InputError(
            f"{root}: expected labels; found none: the {len(table)} videos or images lie in no "
            "class sub-folders, and there is no labels.csv; name a labels file: `labels_file`"
        )
    if not usable.any():
        reason = table["reason"].iloc[0] if len(table) else "it has no rows"
        raise InputError(
            f"{origin}: expected labels for the videos or images in {root}; none fits: {reason}"
        )
    spelling = table["emotion"].copy()
    numbers = sorted({emotion for emotion in spelling[usable] if emotion.isdigit()})
    cautions = rows.cautions
    classes: tuple[str, ...]
    if label_set is not None:
        classes = _apply_label_set(table, label_set, origin, from_folders)
    else:
        classes = tuple(sorted(set(spelling[usable])))
        if numbers:
            told = f"the emotions {', '.join(numbers)} are numbers: name them in a CSV of spelling "
            cautions = (*cautions, f"{told}and emotion, given as `label_set`")
    table["spelling"] = spelling
    table.insert(0, "video_id", _video_ids(table["path"]))
    chosen = label_set or "file"
    return Labels(root, table, classes, chosen, input_fps, origin, rows.notes, cautions)


def _cut(rows: LabelRows, root: Path, clips: str | Path | None, title: str) -> LabelRows:
    if clips is None:
        raise InputError(
            f"{root}: expected a folder for the expressions of {title}, whose recordings hold "
            "several each; name one to write links to: `clips`"
        )
    return link_intervals(rows, root, Path(clips))


def write_labels(labels: Labels, path: str | Path, form: CorpusFormat | None = None) -> None:
    """Write the usable videos and their labels as a CSV that `read_labels` reads again.

    Parameters
    ----------
    labels : Labels
    path : path
        CSV in UTF-8 with `LABEL_COLUMNS` and frame_numbers, which tells that frames count from 0.
    form : CorpusFormat, optional
        Whose videos these are. Where every one of them lies in a part of the corpus's own split,
        a column part tells which, and the CSV is a list for ``protocol="list"``, too.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    usable = labels.table[labels.table["reason"] == ""]
    table = usable[list(LABEL_COLUMNS)].assign(**{FRAME_NUMBERS: "from0"})
    parts = [] if form is None else [form.find_part(name) for name in usable["path"]]
    if parts and all(parts):
        table["part"] = parts
    try:
        with whole_file(path) as partial:
            table.to_csv(partial, index=False)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be written; {error.strerror}") from None


def find_mapped(labels: Labels) -> list[str]:
    """Say which spellings a label set made another class of, a phrase for each such class.

    Returns
    -------
    list of str
        Such as ``"DIS, disgust → contempt (3 videos)"``, in the order of the classes; empty
        where every spelling but for capitals is its class's name.
    """
    usable = labels.table[labels.table["reason"] == ""]
    told = []
    for emotion in labels.classes:
        spelled = usable.loc[usable["emotion"] == emotion, "spelling"]
        other = spelled[spelled.str.casefold() != emotion.casefold()]
        if len(other):
            videos = "video" if len(other) == 1 else "videos"
            names = ", ".join(sorted(set(other)))
            told.append(f"{names} → {emotion} ({len(other)} {videos})")
    return told


def read_label_set(name: str) -> dict[str, str]:
    """Read a label set: lower-case spelling to emotion, "" for what is left out on purpose.

    Parameters
    ----------
    name : str
        One of `LABEL_SETS`, or the path of a CSV with the columns spelling and emotion.

    Raises
    ------
    InputError
        If there is no such set or file, or it lacks a column or contradicts itself.

    Examples
    --------
    >>> read_label_set("microx7")["disgust"]
    'contempt'
    """
    if name in LABEL_SETS:
        source = files("microx.labels") / "sets" / f"{name}.csv"
    elif Path(name).is_file():
        source = Path(name)
    else:
        raise InputError(
            f"label set {name!r} is unknown; expected {', '.join(LABEL_SETS)} or a CSV file"
        )
    with source.open("r", encoding="utf-8-sig") as stream:
        table = pd.read_csv(stream, dtype=str, keep_default_na=False)
    if not {"spelling", "emotion"} <= set(table.columns) or table.empty:
        raise InputError(
            f"{name}: expected the columns spelling and emotion, and a row or more; "
            f"found {', '.join(table.columns)} and {len(table)} rows"
        )
    mapping: dict[str, str] = {}
    for spelling, emotion in zip(table["spelling"], table["emotion"], strict=True):
        key = spelling.strip().casefold()
        if mapping.setdefault(key, emotion.strip()) != emotion.strip():
            raise InputError(f"{name}: spelling {spelling!r} is given for two emotions")
    return mapping


def _labels_from_folders(root: Path, found: list[Path]) -> LabelRows:
    rows = []
    for path in found:
        relative = path.relative_to(root)
        labelled = len(relative.parts) > 1
        rows.append(
            dict.fromkeys(LABEL_COLUMNS, "")
            | {
                "path": relative.as_posix(),
                "emotion": relative.parts[0] if labelled else "",
                "row": "",
                "reason": "" if labelled else "no label: it is in no class sub-folder",
            }
        )
    table = pd.DataFrame(rows, dtype=str)
    odd = sorted(
        {name for name in table["emotion"] if name and name.casefold() not in _spellings()}
    )
    notes = ("class sub-folders name no subjects, so one may be in training and in test",)
    if not odd:
        return LabelRows(table, str(root), notes)
    caution = (
        f"the class sub-folders {first_few(odd, 5)} name no emotion of any label set: "
        f"{_guess_folders(odd)}"
    )
    return LabelRows(table, str(root), notes, (caution,))


def _guess_folders(names: list[str]) -> str:
    """Say what folders that are no emotions are likely to be, and what to do."""
    plain = [re.sub(r"[\W\d_]+", "", name.casefold()) for name in names]
    if all(name in ("train", "training", "test", "testing", "val", "valid") for name in plain):
        return "they look like parts of a split; name the folder in it, or say which `corpus` it is"
    subjects = ("actor", "actress", "subject", "sub", "person", "participant", "speaker", "s", "p")
    if all(name in subjects for name in plain):
        return "they look like subjects; say what each video shows in a labels file"
    if not any(plain):
        return "they are numbers; map them to emotions by a CSV as `label_set`, or a labels file"
    return "if they are places or takes, say what each video shows in a labels file"


@cache
def _spellings() -> frozenset[str]:
    """Every spelling of every label set that comes with microx."""
    return frozenset(spelling for name in LABEL_SETS for spelling in read_label_set(name))


def _match(
    rows: LabelRows, root: Path, beside: Path, found: list[Path], form: CorpusFormat | None
) -> LabelRows:
    """Give each row the video it means, and each video without a row a row of its own."""
    relative = [path.relative_to(root).as_posix() for path in found]
    table = rows.table.copy()
    if "reason" not in table:
        table["reason"] = ""
    matches = match_videos(table["path"].tolist(), relative, root, beside, by_name=form is None)
    many = form is not None and form.many
    by: dict[str, list[str]] = {}
    records = to_records(table)
    for record, match in zip(records, matches, strict=True):
        if match.how:
            by.setdefault(match.how, []).append(f"{record['path']} → {match.path}")
        unnamed = f"row {record['row']} of {rows.name}"
        record["path"] = match.path if record["path"] else unnamed
        record["reason"] = record["reason"] or match.reason or _lack_emotion(record, rows.name)
    same: dict[str, list[dict[str, str]]] = {}
    for record in records:
        same.setdefault(record["path"], []).append(record)
    for group in () if many else same.values():
        said = ", ".join(f"{record['row']} {record['emotion']}" for record in group)
        for record in group:
            if len(group) > 1 and not record["reason"]:
                record["reason"] = f"{len(group)} rows of {rows.name} label this video: {said}"
    nothing = dict.fromkeys(table.columns, "")
    records += [
        nothing | {"path": path, "reason": f"no label: not in {rows.name}"}
        for path in relative
        if path not in same
    ]
    table = pd.DataFrame(records, columns=table.columns)
    if not many:
        table = table.drop_duplicates("path", ignore_index=True)
    notes = [
        f"{len(pairs)} rows found {how}: {pairs[0]}{' …' if len(pairs) > 1 else ''}"
        for how, pairs in by.items()
    ]
    return replace(rows, table=table, notes=(*rows.notes, *notes))


def _lack_emotion(record: Mapping[str, str], name: str) -> str:
    if not is_no_emotion(record["emotion"]):
        return ""
    written = f"{record['emotion']!r}, which is none" if record["emotion"] else "empty"
    return f"no label: its emotion in {name} is {written}"


def _apply_label_set(
    table: pd.DataFrame, name: str, source: str, from_folders: bool
) -> tuple[str, ...]:
    mapping = read_label_set(name)
    usable = table["reason"] == ""
    spelled = table.loc[usable, "emotion"].str.casefold()
    unknown = sorted(set(spelled) - set(mapping))
    if unknown:
        mend = "mend the label, or map it in a CSV given as `label_set`"
        if from_folders:
            mend = f"class sub-folders: {_guess_folders(unknown)}"
        raise InputError(
            f"{source}: emotion {', '.join(map(repr, unknown))} is not in label set {name}; known: "
            f"{', '.join(mapping)}; {mend}"
        )
    table.loc[usable, "emotion"] = spelled.map(mapping)
    left_out = usable & (table["emotion"] == "")
    table.loc[left_out, "reason"] = [
        f"its emotion {emotion} is left out by label set {name}" for emotion in spelled[left_out]
    ]
    return tuple(dict.fromkeys(emotion for emotion in mapping.values() if emotion))


def _video_ids(paths: pd.Series) -> list[str]:
    """Make ids fit for file names: the path without its ending, and a hash where that is shared."""
    endings = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    whole = [
        # Folders of frames have no ending: "take.1" and "take.2" are two.
        re.sub(r"[^A-Za-z0-9.-]+", "_", bare if end.lower() in endings else path).strip("._-")
        for path, (bare, end) in zip(paths, map(os.path.splitext, paths), strict=True)
    ]
    plain = [name[-96:].lstrip("._-") for name in whole]
    # Not every file system tells capitals apart.
    times = Counter(name.casefold() for name in plain)
    return [
        name
        if name and len(full) <= 96 and times[name.casefold()] == 1
        else f"{name or 'video'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
        for full, name, path in zip(whole, plain, paths, strict=True)
    ]
