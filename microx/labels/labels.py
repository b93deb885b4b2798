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
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from microx.errors import InputError
from microx.markup import to_html
from microx.preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_videos

LABEL_SETS = ("microx7", "ekman7", "megc3")
"""Label sets that come with microx."""

LABEL_COLUMNS = ("path", "emotion", "subject", "corpus", "onset", "apex", "offset")
"""What a labels file may say of a video; path and emotion are needed."""


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
) -> Labels:
    """Bring the videos of a folder together with their labels.

    Parameters
    ----------
    videos : path
        Folder that is searched for videos and images, sub-folders too.
    labels_file : path, optional
        CSV in UTF-8, separated by comma, semicolon or tab, with a header. A path in it names
        a video, be that a file or a folder of frames, and is relative to `videos` or to the
        file itself; a bare name, with or without its ending, will do where only one video
        has it. Titles of columns may differ in capitals. Without it, that is ``labels.csv`` in
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
    root = Path(videos)
    if labels_file is None and (root / "labels.csv").is_file():
        labels_file = root / "labels.csv"
    found = find_videos(root, input_fps=input_fps)
    if not found:
        raise InputError(
            f"{root}: expected a folder of videos or images; found no video file in it and no image"
        )
    if labels_file is None:
        table = _labels_from_folders(root, found)
    else:
        table = _match(_read_file(Path(labels_file), columns or {}), root, Path(labels_file), found)
    usable = table["reason"] == ""
    if labels_file is None and not usable.any():
        raise InputError(
            f"{root}: expected labels; found none: the {len(found)} videos or images lie in no "
            "class sub-folders, and there is no labels.csv; name a labels file: `labels_file`"
        )
    if not usable.any():
        raise InputError(
            f"{labels_file}: expected labels for the {len(found)} videos or images in {root}; "
            f"none fits: {table['reason'].iloc[0]}"
        )
    spelling = table["emotion"].copy()
    classes: tuple[str, ...]
    if label_set is None:
        classes = tuple(sorted(set(table.loc[usable, "emotion"])))
    else:
        classes = _apply_label_set(table, label_set, str(labels_file or root))
    table["spelling"] = spelling
    table.insert(0, "video_id", _video_ids(table["path"]))
    source = f"class sub-folders of {root}" if labels_file is None else str(labels_file)
    return Labels(root, table, classes, label_set or "file", input_fps, source)


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
            raise InputError(f"{name}: spelling {spelling!r} stands for two emotions")
    return mapping


def _labels_from_folders(root: Path, found: list[Path]) -> pd.DataFrame:
    rows = []
    for path in found:
        relative = path.relative_to(root)
        labelled = len(relative.parts) > 1
        rows.append(
            dict.fromkeys(LABEL_COLUMNS, "")
            | {
                "path": relative.as_posix(),
                "emotion": relative.parts[0] if labelled else "",
                "reason": "" if labelled else "no label: it lies in no class sub-folder",
            }
        )
    return pd.DataFrame(rows)


def _read_file(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: expected a labels file; found none there")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected a CSV in UTF-8; byte {error.start} is not; save it as CSV UTF-8"
        ) from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path}: expected a CSV with a header; {error}") from None
    table.columns = table.columns.str.strip()
    # "Path" will do for "path", but "Path" beside "path" tells nothing.
    titles = Counter(table.columns.str.casefold())
    alike = {t.casefold(): t for t in table.columns if titles[t.casefold()] == 1}
    unknown = [name for name in columns if name not in LABEL_COLUMNS]
    if unknown:
        raise InputError(f"column {unknown[0]!r} is unknown; known: {', '.join(LABEL_COLUMNS)}")
    wanted = {name: columns.get(name, name).strip() for name in LABEL_COLUMNS}
    wanted = {
        name: title if title in table.columns else alike.get(title.casefold(), title)
        for name, title in wanted.items()
    }
    for name, title in wanted.items():
        if title not in table.columns and (name in columns or name in ("path", "emotion")):
            raise InputError(
                f"{path}: expected a column {title!r} for {name}; found "
                f"{', '.join(table.columns)}; name it: `columns={name}=COLUMN`"
            )
    chosen = {
        name: table[title].str.strip() if title in table.columns else ""
        for name, title in wanted.items()
    }
    rows = pd.DataFrame(chosen, index=table.index)
    rows = rows[(rows != "").any(axis=1)]  # spreadsheets leave rows of nothing at the end
    unnamed = rows["path"] == ""
    rows.loc[unnamed, "path"] = [
        f"row {number + 2} of {path.name}" for number in rows.index[unnamed]
    ]
    return rows


def _match(table: pd.DataFrame, root: Path, labels_file: Path, found: list[Path]) -> pd.DataFrame:
    """Give each row the video it means, and each video without a row a row of its own."""
    relative = [path.relative_to(root).as_posix() for path in found]
    by_path = {_composed(path): path for path in relative}
    by_name: dict[str, list[str]] = {}
    for path in relative:
        for name in {Path(path).name, Path(path).stem}:
            by_name.setdefault(_composed(name), []).append(path)
    rows: list[dict[Hashable, Any]] = []
    for row in table.to_dict("records"):
        path, reason = _resolve(row["path"], root, labels_file.parent, by_path, by_name)
        if not reason and not row["emotion"]:
            reason = f"no label: its emotion in {labels_file.name} is empty"
        rows.append(row | {"path": path, "reason": reason})
    times = Counter(row["path"] for row in rows)
    for row in rows:
        if times[row["path"]] > 1 and not row["reason"]:
            row["reason"] = f"{times[row['path']]} rows of {labels_file.name} label this video"
    for path in (path for path in relative if path not in times):
        reason = f"no label: not in {labels_file.name}"
        rows.append({**dict.fromkeys(LABEL_COLUMNS, ""), "path": path, "reason": reason})
    return pd.DataFrame(rows).drop_duplicates("path", ignore_index=True)


def _resolve(
    named: str,
    root: Path,
    beside: Path,
    by_path: Mapping[str, str],
    by_name: Mapping[str, list[str]],
) -> tuple[str, str]:
    """Return the video's path relative to the root, and why there is none, else ""."""
    named = _composed(re.sub(r"[\\/]+", "/", named))
    # By name only: a link inside the folder may well point out of it.
    for base in (root, beside):
        path = Path(os.path.relpath(base / named, root)).as_posix()
        if path in by_path:
            return by_path[path], ""
    matches = by_name.get(named.rstrip("/"), [])
    if len(matches) == 1:
        return matches[0], ""
    if matches:
        return named, f"the name fits {len(matches)} videos: {', '.join(matches[:3])}"
    if any(os.path.isdir(base / named) for base in (root, beside)):
        return named, "a folder is a video if it holds images and is given a rate: `input_fps`"
    return named, "no such video"


def _composed(name: str) -> str:
    """An é is one character in a sheet and may be two in a file's name, or the reverse."""
    return unicodedata.normalize("NFC", name)


def _apply_label_set(table: pd.DataFrame, name: str, source: str) -> tuple[str, ...]:
    mapping = read_label_set(name)
    usable = table["reason"] == ""
    spelled = table.loc[usable, "emotion"].str.casefold()
    unknown = sorted(set(spelled) - set(mapping))
    if unknown:
        raise InputError(
            f"{source}: emotion {', '.join(map(repr, unknown))} is not in label set {name}; known: "
            f"{', '.join(mapping)}; mend the label, or map it in a CSV given as `label_set`"
        )
    table.loc[usable, "emotion"] = spelled.map(mapping)
    left_out = usable & (table["emotion"] == "")
    table.loc[left_out, "reason"] = f"its emotion is left out by label set {name}"
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
