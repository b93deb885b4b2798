"""Corpora of photographs as downloaded: FER2013, FERPlus, RAF-DB, CK+, JAFFE."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from microx.errors import InputError
from microx.files import scratch_file
from microx.labels.columns import LabelRows
from microx.labels.formats import (
    CorpusFormat,
    find_sheet,
    label_row,
    make_rows,
    number_codes,
    read_file_names,
)
from microx.labels.sheets import read_pages

PIXELS = "fer2013_images"
"""Folder that the images of ``fer2013.csv`` are written to, beside it."""

_SIDE = 48
_EMOTIONS = "angry disgust fear happy sad surprise neutral"
_FERPLUS = ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")
_FER_PARTS = {
    "train": "train",
    "training": "train",
    "publictest": "validation",
    "privatetest": "test",
    "test": "test",
}
_UNSURE = ("unknown", "NF")


def _read_fer2013(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read ``fer2013.csv``, whose pixels become images, or the form in folders."""
    table = sheet or next(iter(sorted(root.glob("fer2013.csv"))), None)
    if table is None:
        return read_file_names(form, root)
    rows = [
        label_row(path, form.codes[code], "", row=number)
        for number, path, code, _ in _write_pixels(form, root, table)
    ]
    made = make_rows(form, rows, table.name)
    told = f"the pixels of {table.name} are images in {root / PIXELS}"
    return replace(made, notes=(*made.notes, told))


def _write_pixels(
    form: CorpusFormat, root: Path, table: Path
) -> Iterator[tuple[int, str, str, str]]:
    """Write each row's pixels as an image, unless it is there; give row, path, code and part."""
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        titles = {title.strip().casefold(): title for title in reader.fieldnames or ()}
        lacking = {"emotion", "pixels"} - set(titles)
        if lacking:
            raise InputError(
                f"{table}: expected the columns emotion, pixels and Usage of FER2013; found "
                f"{', '.join(reader.fieldnames or ['nothing'])}"
            )
        for i, row in enumerate(reader):
            part = str(row.get(titles.get("usage", ""), "") or "all").strip()
            code = str(row[titles["emotion"]]).strip()
            pixels = np.array(str(row[titles["pixels"]]).split(), dtype=np.float64)
            if len(pixels) != _SIDE**2 or code not in form.codes or re.search(r"\W", part):
                raise InputError(
                    f"{table}: row {i + 2}: expected an emotion 0 to 6 and {_SIDE**2} pixels; "
                    f"found {code!r} and {len(pixels)} pixels"
                )
            path = f"{PIXELS}/{part}/{i:05d}.png"
            target = root / path
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                image = pixels.reshape(_SIDE, _SIDE).astype(np.uint8)
                with scratch_file(target) as partial:
                    partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
                    partial.replace(target)
            yield i + 2, path, code, part


def _read_ferplus(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read ``fer2013new.csv``, whose rows are those of ``fer2013.csv``, by the most votes."""
    path = find_sheet(form, root, sheet)
    pixels = root / "fer2013.csv"
    if not pixels.is_file():
        raise InputError(
            f"{root}: expected fer2013.csv beside {path.name}, whose rows it labels; found none"
        )
    images = list(_write_pixels(FER2013, root, pixels))
    (page,) = read_pages(path) or (None,)
    lines = page.rows[1:] if page else []
    titles = [title.casefold() for title in page.rows[0][1]] if page else []
    if len(lines) != len(images) or "neutral" not in titles:
        raise InputError(
            f"{path}: expected a row of ten votes for each of the {len(images)} rows of "
            f"fer2013.csv; found {len(lines)} rows and the columns {', '.join(titles)}"
        )
    first = titles.index("neutral")
    names = (*_FERPLUS, *_UNSURE)
    rows = []
    for (number, cells), (_, image, _, _) in zip(lines, images, strict=True):
        votes = [int(float(cell or 0)) for cell in [*cells, *[""] * 12][first : first + 10]]
        best = [name for name, n in zip(names, votes, strict=True) if n == max(votes)]
        reason = "" if len(best) == 1 else "its most votes are for " + " and ".join(best)
        reason = f"its most votes are for {best[0]}" if best[0] in _UNSURE else reason
        rows.append(label_row(image, best[0], "", row=number, reason=reason))
    return make_rows(form, rows, path.name)


def _read_rafdb(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read ``list_patition_label.txt``, or the form in folders ``train/1/…``."""
    path = sheet or next(iter(sorted(root.rglob("list_pati*ion_label.txt"))), None)
    if path is None:
        return read_file_names(form, root)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        name, _, code = line.strip().rpartition(" ")
        if not name:
            continue
        reason = "" if code in form.codes else f"the code {code!r} is none of its emotions"
        aligned = name.replace(".jpg", "_aligned.jpg")
        name = aligned if next(root.rglob(aligned), None) else name
        rows.append(label_row(name, form.codes.get(code, ""), "", row=number, reason=reason))
    return make_rows(form, rows, path.name)


def _read_ckplus(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read the label files ``Emotion/S010/004/S010_004_00000017_emotion.txt`` of the sequences."""
    if sheet is not None:
        raise InputError(
            f"{sheet}: {form.title} has a label file a sequence; leave `labels_file` out"
        )
    rows = []
    for path in sorted(root.rglob("*_emotion.txt")):
        subject, sequence, _ = path.name.split("_")[:3]
        words = path.read_text(encoding="utf-8").split()
        code = str(int(float(words[0]))) if words else ""
        reason = "" if code in form.codes else f"the code {code!r} is none of its emotions"
        rows.append(
            label_row(f"{subject}/{sequence}", form.codes.get(code, ""), subject, reason=reason)
        )
    if not rows:
        raise InputError(
            f"{root}: expected the folders cohn-kanade-images and Emotion of {form.title}, with "
            "files such as S010_004_00000017_emotion.txt; found no such file"
        )
    return make_rows(form, rows, "the label files")


FER2013 = CorpusFormat(
    name="fer2013",
    title="FER2013",
    read=_read_fer2013,
    layout="train/angry/1.jpg",
    pattern=(r"(?:^|/)(?P<emotion>angry|disgust|fear|happy|sad|surprise|neutral)/[^/]+$"),
    codes={
        **number_codes(0, _EMOTIONS),
        **{name: name for name in _EMOTIONS.split()},
    },
    parts=_FER_PARTS,
    n_rows=(35887,),
    n_subjects=(),
    licence="of the Kaggle challenge; the images have their own owners",
    ask="kaggle.com, Challenges in Representation Learning (Goodfellow et al. 2013)",
    protocol="list, its Training, PublicTest and PrivateTest",
    compare="FER2013 PrivateTest: small CNNs 57-66 %, humans 65±5 %",
    label_set="ekman7",
    faces="cropped",
    known=("subjects are not named; about 1,900 images are exact copies, some in two parts",),
)
FERPLUS = CorpusFormat(
    name="ferplus",
    title="FERPlus",
    read=_read_ferplus,
    layout="fer2013new.csv beside fer2013.csv",
    parts=_FER_PARTS,
    n_rows=(),
    n_subjects=(),
    licence="MIT for the votes; the images as FER2013",
    ask="github.com/microsoft/FERPlus (Barsoum et al. 2016)",
    protocol="list, its Training, PublicTest and PrivateTest",
    compare="FERPlus PrivateTest, 8 emotions, majority vote",
    sheets=(r"fer2013new.*",),
    faces="cropped",
    known=("the emotion of the most votes; ties, unknown and NF (no face) are left out",),
)
RAFDB = CorpusFormat(
    name="rafdb",
    title="RAF-DB",
    read=_read_rafdb,
    layout="train/1/train_00001_aligned.jpg",
    pattern=r"(?:^|/)(?:train|test)\w*/(?P<emotion>[1-7])/[^/]+$",
    codes=number_codes(1, "surprise fear disgust happy sad angry neutral"),
    parts={"train": "train", "test": "test"},
    n_rows=(15339,),
    n_subjects=(),
    licence="research only, by request",
    ask="Beijing University of Posts and Telecommunications (Li et al. 2017)",
    protocol="list, its train and test",
    compare="RAF-DB test, 7 basic emotions",
    label_set="ekman7",
    faces="cropped",
    known=("subjects are not named",),
)
CKPLUS = CorpusFormat(
    name="ckplus",
    title="CK+",
    read=_read_ckplus,
    layout="S010/004/S010_004_00000017.png",
    codes=number_codes(1, "anger contempt disgust fear happy sad surprise"),
    n_rows=(327,),
    n_subjects=(118,),
    licence="research only, by signed agreement",
    ask="University of Pittsburgh (Lucey et al. 2010)",
    protocol="loso",
    compare="CK+, 7 emotions, LOSO",
    input_fps=30.0,
    frame_rate=None,
    known=("each sequence goes from neutral to its peak, its last frame",),
)
JAFFE = CorpusFormat(
    name="jaffe",
    title="JAFFE",
    read=read_file_names,
    layout="YM.SU3.60.tiff",
    pattern=r"(?:^|/)(?P<subject>[A-Z]{2})\.(?P<emotion>AN|DI|FE|HA|NE|SA|SU)\d+\.\d+\.\w+$",
    codes={
        "an": "anger",
        "di": "disgust",
        "fe": "fear",
        "ha": "happy",
        "ne": "neutral",
        "sa": "sad",
        "su": "surprise",
    },
    n_rows=(213,),
    n_subjects=(10,),
    licence="research only, non-commercial",
    ask="zenodo.org, record 3451524 (Lyons et al. 1998)",
    protocol="loso",
    compare="JAFFE, 7 emotions, LOSO",
    label_set="ekman7",
    known=("one subject is called NA",),
)
PHOTOGRAPHS = (FER2013, FERPLUS, RAFDB, CKPLUS, JAFFE)
"""The corpora of this module."""
