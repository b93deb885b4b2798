"""Corpora of micro-expressions as downloaded: CASME II, SAMM, SMIC, CAS(ME)², CAS(ME)³, MMEW …

Layouts and counts: the releases and the papers named in each row. Frame numbers of CASME II,
SAMM and their like are those of the recording, which the names of the image files bear.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from microx.errors import InputError
from microx.labels.columns import LabelRows, to_records
from microx.labels.formats import (
    CorpusFormat,
    find_sheet,
    label_row,
    make_rows,
    read_coding_sheet,
    read_file_names,
)
from microx.labels.sheets import read_pages

_RESEARCH = "research only, by signed agreement"
_LOSO = "loso"


def _read_casme2(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    def path_of(cells: Mapping[str, str]) -> str:
        return f"sub{_digits(cells['subject'], 2)}/{cells['path']}"

    rows = read_coding_sheet(form, root, sheet, path_of)
    subjects = ["sub" + _digits(subject, 2) for subject in rows.table["subject"]]
    return replace(rows, table=rows.table.assign(subject=subjects))


def _read_samm(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    def path_of(cells: Mapping[str, str]) -> str:
        return f"{_digits(cells['subject'], 3)}/{cells['path']}"

    rows = read_coding_sheet(form, root, sheet, path_of)
    subjects = [_digits(subject, 3) for subject in rows.table["subject"]]
    return replace(rows, table=rows.table.assign(subject=subjects))


def _read_samm_lv(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    # A clip 006_1_2 lies in the long video 006_1.
    rows = read_coding_sheet(form, root, sheet, lambda cells: cells["path"].rpartition("_")[0])
    subjects = [_digits(subject, 3) for subject in rows.table["subject"]]
    return replace(rows, table=rows.table.assign(subject=subjects))


def _read_casme_squared(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read the first page, without a header; the second and third name subjects and videos."""
    path = find_sheet(form, root, sheet)
    pages = read_pages(path)
    if len(pages) < 3 or any(len(cells) < 8 for _, cells in pages[0].rows[:3]):
        raise InputError(
            f"{path}: expected the sheet of {form.title}: a page of 9 columns without a header and "
            f"two pages that name subjects and videos; found {len(pages)} pages"
        )
    # The second page: …, subject's code, number; the third: video's code, name.
    subjects = {
        cells[2]: re.sub(r"\D", "", cells[1]) for _, cells in pages[1].rows if len(cells) > 2
    }
    videos = {cells[1]: cells[0].zfill(4) for _, cells in pages[2].rows if len(cells) > 1}
    folders = _find_recordings(root)
    rows = []
    for number, cells in pages[0].rows:
        if not cells[0].isdigit():
            continue  # an added title
        cells = [*cells, *[""] * 9]
        subject = subjects.get(cells[0], cells[0])
        code = videos.get(cells[1].split("_")[0], cells[1])
        rows.append(
            label_row(
                folders.get((subject, code), f"s{subject}/{subject}_{code}"),
                cells[6],
                f"s{subject}",
                row=number,
                onset=cells[2],
                apex=cells[3],
                offset="" if cells[4] == "0" else cells[4],
            )
        )
    return make_rows(form, rows, path.name)


def _find_recordings(root: Path) -> dict[tuple[str, str], str]:
    """Find the folders of CAS(ME)² by subject and code: ``s15/15_0101disgustingteeth``."""
    found = {}
    for folder in sorted(path for path in root.rglob("*_*") if path.is_dir()):
        code = re.match(r"0*(\d+)_(\d{4})", folder.name)
        if code:
            found[code.group(1), code.group(2)] = folder.relative_to(root).as_posix()
    return found


def _read_casme3(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    rows = read_coding_sheet(
        form, root, sheet, lambda cells: f"{cells['subject']}/{cells['path']}/color"
    )
    return replace(rows, table=rows.table.assign(emotion=rows.table["emotion"].str.lower()))


def _read_mmew(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    rows = read_coding_sheet(
        form, root, sheet, lambda cells: f"{cells['emotion'].lower()}/{cells['path']}"
    )
    subjects = [re.split(r"[-_]", path.rpartition("/")[2])[0] for path in rows.table["path"]]
    return replace(rows, table=rows.table.assign(subject=subjects))


def _read_meview(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    return read_coding_sheet(form, root, sheet, lambda cells: cells["path"])


def _read_megc2019(form: CorpusFormat, root: Path, sheet: Path | None) -> LabelRows:
    """Read the three corpora of the composite, each in a folder that bears its name."""
    if sheet is not None:
        raise InputError(f"{sheet}: {form.title} has three sheets; put each in its corpus's folder")
    tables: list[pd.DataFrame] = []
    notes: list[str] = []
    cautions: list[str] = []
    for part in (CASME2, SMIC_HS, SAMM):
        word = part.name.removesuffix("_hs")
        found = [
            folder
            for folder in sorted(root.iterdir())
            if folder.is_dir() and re.sub(r"\W|_", "", folder.name.casefold()).startswith(word[:5])
        ]
        if len(found) != 1:
            raise InputError(
                f"{root}: expected one folder each of casme2, smic and samm; found "
                f"{', '.join(folder.name for folder in found) or 'none'} for {part.title}"
            )
        rows = part.read(part, found[0], None)
        table = rows.table.copy()
        table["path"] = [f"{found[0].name}/{path}" for path in table["path"]]
        table["subject"] = [f"{part.name}-{subject}" for subject in table["subject"]]
        if part is CASME2:
            _leave_out_of_megc(table)
        tables.append(table)
        notes += rows.notes
        cautions += rows.cautions
    table = pd.concat(tables, ignore_index=True)
    kept = table["emotion"].str.casefold().isin(_MEGC_EMOTIONS)
    table.loc[(table["reason"] == "") & ~kept, "reason"] = "its emotion is left out by MEGC2019"
    whole = make_rows(form, to_records(table), "the three corpora")
    return replace(whole, notes=(*notes, *whole.notes), cautions=(*cautions, *whole.cautions))


_MEGC_EMOTIONS = frozenset(
    {"negative", "positive", "surprise", "happiness", "disgust", "repression", "anger", "contempt"}
    | {"fear", "sadness"}
)


def _leave_out_of_megc(table: pd.DataFrame) -> None:
    """Leave out what MEGC2019 does not use of CASME II: fear and sadness, and two clips of 147."""
    other = table["emotion"].isin(["fear", "sadness"])
    table.loc[other, "reason"] = "its emotion is left out of CASME II by MEGC2019"
    dropped = table["path"].str.endswith(("sub04/EP12_01f", "sub05/EP09_05f"))
    table.loc[dropped, "reason"] = "not among the 145 clips of MEGC2019"


def _digits(text: str, width: int) -> str:
    """Bring a subject's number to its width: 1, 01 and sub1 to 01."""
    digits = re.sub(r"\D", "", text)
    return str(int(digits)).zfill(width) if digits else text


_CODING = {
    "path": "filename",
    "subject": "subject",
    "emotion": "estimatedemotion",
    "onset": "onsetframe",
    "apex": "apexframe",
    "offset": "offsetframe",
}

CASME2 = CorpusFormat(
    name="casme2",
    title="CASME II",
    read=_read_casme2,
    layout="sub01/EP02_01f/reg_img46.jpg",
    n_rows=(255, 247),
    n_subjects=(26,),
    licence=_RESEARCH,
    ask="Institute of Psychology, Chinese Academy of Sciences (Yan et al. 2014)",
    protocol=_LOSO,
    compare="CASME II, 5 classes, LOSO; with --label-set megc3: its part of MEGC2019",
    sheets=(r"CASME2[-_ ]coding.*", r".*CASME.*"),
    columns=_CODING,
    frame_numbers="names",
    input_fps=200.0,
    frame_rate=None,
    known=("an apex of / is none: 3 rows of some releases of the sheet",),
)
SAMM = CorpusFormat(
    name="samm",
    title="SAMM",
    read=_read_samm,
    layout="006/006_1_2/006_05562.jpg",
    n_rows=(159,),
    n_subjects=(32, 29),
    licence=_RESEARCH,
    ask="Manchester Metropolitan University (Davison et al. 2018)",
    protocol=_LOSO,
    compare="SAMM, 5 classes, LOSO; with --label-set megc3: its part of MEGC2019",
    sheets=(r"SAMM.*Micro.*", r"SAMM.*"),
    columns=_CODING,
    frame_numbers="names",
    input_fps=200.0,
    frame_rate=None,
    known=("the 159 rows show 29 of the 32 subjects",),
)
SAMM_LV = CorpusFormat(
    name="samm_lv",
    title="SAMM Long Videos",
    read=_read_samm_lv,
    layout="006_1/006_1_0001.jpg",
    n_rows=(),
    n_subjects=(),
    licence=_RESEARCH,
    ask="Manchester Metropolitan University (Yap et al. 2020)",
    protocol=_LOSO,
    compare="spotting, over all videos",
    sheets=(r"SAMM_?Long.*",),
    columns={
        "path": "filename",
        "subject": "subject",
        "emotion": "type",
        "onset": "onset",
        "apex": "apex",
        "offset": "offset",
    },
    frame_numbers="names",
    input_fps=200.0,
    many=True,
    frame_rate=None,
    known=("its classes are Macro and Micro - 1/2; a video holds several expressions",),
)
SMIC_HS = CorpusFormat(
    name="smic_hs",
    title="SMIC-HS",
    read=read_file_names,
    layout="s01/micro/positive/s1_po_01/image001.bmp",
    pattern=r"(?:^|/)s(?P<subject>\d+)_(?P<emotion>po|ne|sur)_\d+$",
    codes={"po": "positive", "ne": "negative", "sur": "surprise"},
    n_rows=(164,),
    n_subjects=(16,),
    licence=_RESEARCH,
    ask="University of Oulu (Li et al. 2013)",
    protocol=_LOSO,
    compare="SMIC-HS, 3 classes, LOSO; its part of MEGC2019",
    label_set="megc3",
    input_fps=100.0,
    frame_rate=None,
    known=("no apex is coded",),
)
CASME_SQUARED = CorpusFormat(
    name="casme_squared",
    title="CAS(ME)²",
    read=_read_casme_squared,
    layout="s15/15_0101disgustingteeth/img1.jpg",
    n_rows=(357,),
    n_subjects=(22,),
    licence=_RESEARCH,
    ask="Institute of Psychology, Chinese Academy of Sciences (Qu et al. 2018)",
    protocol=_LOSO,
    compare="spotting, over all videos",
    sheets=(r"CAS\(ME\)\^2code.*", r"CAS.*code.*"),
    frame_numbers="names",
    input_fps=30.0,
    many=True,
    frame_rate=None,
    known=("an offset of 0 is none; a video holds several expressions",),
)
CASME3 = CorpusFormat(
    name="casme3",
    title="CAS(ME)³ part A",
    read=_read_casme3,
    layout="spNO.1/a/color/355.jpg",
    n_rows=(860,),
    n_subjects=(),
    licence=_RESEARCH,
    ask="Institute of Psychology, Chinese Academy of Sciences (Li et al. 2022)",
    protocol=_LOSO,
    compare="CAS(ME)³ part A, LOSO",
    sheets=(r".*CAS.?ME.?3.*", r".*part_?A.*"),
    columns={
        "path": "filename",
        "subject": "subject",
        "emotion": "emotion",
        "onset": "onset",
        "apex": "apex",
        "offset": "offset",
    },
    frame_numbers="names",
    input_fps=30.0,
    many=True,
    frame_rate=None,
    known=("others and Others are one; a video holds several expressions",),
)
MMEW = CorpusFormat(
    name="mmew",
    title="MMEW",
    read=_read_mmew,
    layout="disgust/S01-02-001/1.jpg",
    n_rows=(300,),
    n_subjects=(),
    licence=_RESEARCH,
    ask="Shandong University (Ben et al. 2021)",
    protocol=_LOSO,
    compare="MMEW, LOSO",
    sheets=(r"MMEW.*",),
    columns=_CODING | {"subject": "subject"},
    frame_numbers="names",
    input_fps=90.0,
    frame_rate=None,
)
MEVIEW = CorpusFormat(
    name="meview",
    title="MEVIEW",
    read=_read_meview,
    layout="01.mp4",
    n_rows=(),
    n_subjects=(),
    licence=_RESEARCH,
    ask="Czech Technical University in Prague (Husák et al. 2017)",
    protocol="kfold",
    compare="none: too few videos, and subjects are not named",
    sheets=(r".*MEVIEW.*", r".*labels?.*"),
    columns={"path": "video", "emotion": "emotion", "onset": "onset", "offset": "offset"},
    frame_numbers="from0",
    frame_rate=None,
)
MEGC2019 = CorpusFormat(
    name="megc2019",
    title="MEGC2019 composite",
    read=_read_megc2019,
    layout="casme2/…, smic/…, samm/…",
    n_rows=(442,),
    n_subjects=(68,),
    licence=_RESEARCH,
    ask="the three corpora (See et al. 2019)",
    protocol=_LOSO,
    compare="MEGC2019 full composite, UF1 and UAR pooled over LOSO",
    label_set="megc3",
    frame_numbers="names",
    input_fps=200.0,
    frame_rate=None,
    known=(
        "of CASME II's 147, sub04 EP12_01f and sub05 EP09_05f are left out; another list of the "
        "145 leaves out others",
    ),
)
MICRO = (CASME2, SAMM, SAMM_LV, SMIC_HS, CASME_SQUARED, CASME3, MMEW, MEVIEW, MEGC2019)
"""The corpora of this module."""
