"""Corpora of filmed expressions as downloaded: BAUM, RAVDESS, CREMA-D, eNTERFACE'05, AFEW, DFEW."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from microx.errors import InputError
from microx.labels.columns import LabelRows, read_rows, to_records
from microx.labels.formats import (
    CorpusFormat,
    find_sheet,
    label_row,
    make_rows,
    read_file_names,
    read_table,
)

_RESEARCH = "research only, by signed agreement"


def _read_baum(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read the sheet of clips and emotions; the clip's name tells the subject: S001_001."""
    path = find_sheet(form, root, sheet)
    found = read_rows(path)
    table = found.table.assign(reason="")
    subjects = [re.match(r"s\d+", name, re.IGNORECASE) for name in table["path"].map(_base)]
    table["subject"] = [named.group().upper() if named else "" for named in subjects]
    rows = make_rows(form, to_records(table), path.name)
    cautions = [text for text in found.cautions if "no column subject" not in text]
    return replace(rows, notes=(*found.notes, *rows.notes), cautions=(*cautions, *rows.cautions))


def _base(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]


def _read_dfew(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read one of the five folds' lists with its other part, which together name every clip."""
    lists = [sheet] if sheet else []
    for part in () if sheet else ("train", "test"):
        lists += sorted(root.rglob(f"single_{part}set_1.csv"))[:1]
    if not lists:
        raise InputError(
            f"{root}: expected label/single_trainset_1.csv and single_testset_1.csv of DFEW; found "
            "neither; name a list: `labels_file`"
        )
    rows = []
    for path in lists:
        table = read_table(form, path)
        for number, cells in zip(table.index, table.to_dict("records"), strict=True):
            code = str(cells["label"])
            reason = "" if code in form.codes else f"the code {code!r} is none of its emotions"
            name = str(cells["videoname"])
            name = name.zfill(5) if name.isdigit() else name
            rows.append(label_row(name, form.codes.get(code, ""), "", row=number, reason=reason))
    return make_rows(form, rows, lists[0].name)


def _baum(name: str, title: str, n_rows: int, n_subjects: tuple[int, ...]) -> CorpusFormat:
    return CorpusFormat(
        name=name,
        title=title,
        read=_read_baum,
        layout="S001_001.mp4",
        n_rows=(n_rows,),
        n_subjects=n_subjects,
        licence=_RESEARCH,
        ask="Bahçeşehir University (Zhalehpour et al. 2017; Eroglu Erdem et al. 2015)",
        protocol="kfold, 5 folds of subjects",
        compare=(
            "BAUM-1s, six basic emotions, 521 clips: 45.04 %, 46.51 %"
            if name == "baum1s"
            else "none that we know of"
        ),
        sheets=(rf".*{title.replace('-', '.?')}.*", r".*annotation.*", r".*label.*"),
        known=(
            "emotions written as numbers stay numbers: give their names by a CSV as `label_set`",
        ),
    )


BAUM1S = _baum("baum1s", "BAUM-1s", 1184, (31,))
BAUM1A = _baum("baum1a", "BAUM-1a", 273, ())
BAUM2 = _baum("baum2", "BAUM-2", 1047, ())

RAVDESS = CorpusFormat(
    name="ravdess",
    title="RAVDESS",
    read=read_file_names,
    layout="Actor_12/01-01-03-01-01-01-12.mp4",
    pattern=r"(?:^|/)\d\d-\d\d-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-(?P<subject>\d\d)\.\w+$",
    codes={
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgust",
        "08": "surprised",
    },
    n_rows=(4904, 2452, 2880, 1440, 1012, 2024),
    n_subjects=(24, 23),
    licence="CC BY-NC-SA 4.0",
    ask="zenodo.org, record 1188976 (Livingstone and Russo 2018)",
    protocol="kfold, 5 folds of subjects",
    compare="RAVDESS, 8 emotions, folds of actors; most published scores mix actors",
    known=("01-… has sound and 02-… is the same film without: use one of them",),
)
CREMAD = CorpusFormat(
    name="cremad",
    title="CREMA-D",
    read=read_file_names,
    layout="1001_DFA_ANG_XX.flv",
    pattern=r"(?:^|/)(?P<subject>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_\w{2}\.\w+$",
    codes={
        "ang": "anger",
        "dis": "disgust",
        "fea": "fear",
        "hap": "happy",
        "neu": "neutral",
        "sad": "sad",
    },
    n_rows=(7442,),
    n_subjects=(91,),
    licence="ODbL 1.0, contents DbCL 1.0",
    ask="github.com/CheyneyComputerScience/CREMA-D (Cao et al. 2014)",
    protocol="kfold, 5 folds of subjects",
    compare="CREMA-D, 6 emotions, folds of actors",
)
ENTERFACE = CorpusFormat(
    name="enterface",
    title="eNTERFACE'05",
    read=read_file_names,
    layout="subject 1/anger/sentence 1/s1_an_1.avi",
    pattern=r"(?:^|/)s(?P<subject>\d+)_(?P<emotion>an|di|fe|ha|sa|su)_\d+\.\w+$",
    codes={
        "an": "anger",
        "di": "disgust",
        "fe": "fear",
        "ha": "happy",
        "sa": "sad",
        "su": "surprise",
    },
    n_rows=(1293,),
    n_subjects=(44,),
    licence="research",
    ask="enterface.net (Martin et al. 2006)",
    protocol="loso",
    compare="eNTERFACE'05, 6 emotions, LOSO",
)
AFEW = CorpusFormat(
    name="afew",
    title="AFEW",
    read=read_file_names,
    layout="Train/Angry/000046280.avi",
    pattern=(
        r"(?:^|/)(?:train|val)\w*/(?:\w+/)?"
        r"(?P<emotion>angry|disgust|fear|happy|neutral|sad|surprise)/[^/]+$"
    ),
    codes={
        name: name for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    },
    parts={"train": "train", "val": "test"},
    n_rows=(1156, 773, 383),
    n_subjects=(),
    licence=_RESEARCH,
    ask="the EmotiW organisers (Dhall et al. 2012)",
    protocol="list, its Train and Val",
    compare="AFEW Val, 7 emotions",
    label_set="ekman7",
    known=("subjects are not named: films are in Train or in Val, so keep these parts",),
)
DFEW = CorpusFormat(
    name="dfew",
    title="DFEW",
    read=_read_dfew,
    layout="clip/00001.mp4",
    columns={"path": "videoname", "emotion": "label"},
    codes={
        "1": "happy",
        "2": "sad",
        "3": "neutral",
        "4": "angry",
        "5": "surprise",
        "6": "disgust",
        "7": "fear",
    },
    n_rows=(11697,),
    n_subjects=(),
    licence=_RESEARCH,
    ask="Southeast University (Jiang et al. 2020)",
    protocol="list, its five folds",
    compare="DFEW, 5 folds, UAR/WAR: ResNet18+LSTM 51.3/63.9, MAE-DFER 63.4/74.4",
    label_set="ekman7",
    known=("subjects are not named",),
)
VIDEOS = (BAUM1S, BAUM1A, BAUM2, RAVDESS, CREMAD, ENTERFACE, AFEW, DFEW)
"""The corpora of this module."""
