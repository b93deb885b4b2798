"""Every usual form of a sheet gives the same four rows."""

import itertools
import zipfile

import openpyxl
import pytest

from microx.errors import InputError
from microx.labels.columns import read_number, read_rows
from microx.labels.labels import read_labels
from microx.labels.sheets import read_pages

VIDEOS = ("anna/01.mp4", "anna/02.mp4", "ben/01 lächeln.mp4", "ben/02, überrascht.mp4")
EMOTIONS = ("happy", "sad", "happy", "surprise")
SUBJECTS = ("001", "001", "002", "002")
RIGHT = list(zip(VIDEOS, EMOTIONS, SUBJECTS, ("",) * 4, strict=True))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A folder of the four videos that the sheets name; none is opened."""
    root = tmp_path_factory.mktemp("four")
    for name in VIDEOS:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return root


def rows_of(labels, columns=("path", "emotion", "subject", "reason")):
    return list(labels.table[list(columns)].itertuples(index=False, name=None))


def told(labels, text):
    return any(text in note for note in (*labels.notes, *labels.cautions))


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("labels.xlsx", None),
        ("cp1252.csv", "read as Windows-1252, such as 'lächeln.mp4'"),
        ("utf16.csv", "read as UTF-16"),
        ("comment.csv", "skipped the lines above the header, from '# exported 2024-01-01'"),
        ("sepline.csv", None),
        ("noheader.csv", "no header: its columns were read as path, emotion, subject"),
        ("other_ext.csv", "4 rows found with another ending or none"),
        ("upper_ext.csv", "4 rows found but for capitals"),
        ("windows_abs.csv", "4 rows found by the end of the path"),
        ("casme_titles.csv", "took the column 'Estimated Emotion' for emotion"),
    ],
)
def test_sheets_of_every_form_give_the_four_rows(real_data, four, name, note):
    labels = read_labels(four, real_data / "sheets" / name)
    assert rows_of(labels) == RIGHT
    assert note is None or told(labels, note)


def test_numbers_for_emotions_are_cautioned(real_data, four):
    labels = read_labels(four, real_data / "sheets" / "numeric.csv")
    assert labels.table["emotion"].tolist() == ["0", "1", "0", "2"]
    assert told(labels, "the emotions 0, 1, 2 are numbers: name them in a CSV")


@pytest.mark.parametrize(
    ("name", "subjects", "note"),
    [
        ("subject_float.csv", ["1", "1", "2", "2"], "1, 1.0 → 1"),
        ("subject_case.csv", ["anna", "anna", "ben", "ben"], "Anna, anna → anna"),
    ],
)
def test_subjects_are_written_in_one_way(real_data, four, name, subjects, note):
    labels = read_labels(four, real_data / "sheets" / name)
    assert labels.table["subject"].tolist() == subjects
    assert told(labels, note)


def test_what_is_no_emotion_is_told_with_its_row(real_data, four):
    labels = read_labels(four, real_data / "sheets" / "nan.csv")
    assert rows_of(labels, ("path", "reason")) == [
        (VIDEOS[0], ""),
        (VIDEOS[1], "no label: its emotion in nan.csv is 'NaN', which is none"),
        (VIDEOS[2], "no label: its emotion in nan.csv is 'nan', which is none"),
        (VIDEOS[3], "no label: its emotion in nan.csv is '#N/A', which is none"),
    ]


def test_two_labels_of_one_video_are_not_chosen_from(real_data, four):
    labels = read_labels(four, real_data / "sheets" / "dup_conflict.csv")
    reason = "2 rows of dup_conflict.csv label this video: 2 happy, 6 fear"
    assert [row[3] for row in rows_of(labels)] == [reason, "", "", ""]


def test_decimal_commas_are_numbers(real_data, four):
    labels = read_labels(four, real_data / "sheets" / "decimal_comma_onset.csv")
    assert rows_of(labels, ("onset", "apex", "offset", "reason")) == [
        ("1.5", "4", "9", ""),
        ("3", "5", "8", ""),
        ("2", "6", "7", ""),
        ("2", "", "10", ""),
    ]
    assert told(labels, "no whole numbers, so the nearest frame is taken (anna/01.mp4)")


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")
HEADERS = {
    "plain": ([], ["path", "emotion", "subject"]),
    "titles": ([], ["File Name", "Estimated Emotion", "Participant ID"]),
    "preamble": (["Study 7: smiles", "", "# coded 2024"], ["Clip", "Label", "Subject"]),
    "none": ([], None),
}
PATHS = {
    "path": lambda path: path,
    "windows": lambda path: "D:\\study\\videos\\" + path.replace("/", "\\"),
    "no ending": lambda path: path.removesuffix(".mp4"),
    "upper": lambda path: path.upper(),
}


def write_sheet(file, encoding, separator, header, form, ending="\n"):
    above, titles = HEADERS[header]
    rows = [titles] if titles else []
    rows += [
        [PATHS[form](path), emotion, subject]
        for path, emotion, subject in zip(VIDEOS, EMOTIONS, SUBJECTS, strict=True)
    ]
    quoted = [
        separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in rows
    ]
    file.write_bytes(ending.join([*above, *quoted, ""]).encode(encoding))
    return file


@pytest.mark.parametrize(
    ("encoding", "separator", "header", "form"),
    [
        kind
        for kind in itertools.product(ENCODINGS, (",", ";", "\t", "|"), HEADERS, PATHS)
        if kind[2:] != ("none", "no ending")  # which is not obvious, and refused below
    ],
)
def test_every_form_of_a_sheet_reads_alike(four, tmp_path, encoding, separator, header, form):
    file = write_sheet(tmp_path / "sheet.csv", encoding, separator, header, form)
    assert rows_of(read_labels(four, file)) == RIGHT


@pytest.mark.parametrize("ending", ["\r\n", "\r", ";;\n"])
def test_line_ends_and_empty_cells_at_the_end_do_not_matter(four, tmp_path, ending):
    file = write_sheet(tmp_path / "sheet.csv", "utf-8", ";", "plain", "path", ending)
    assert rows_of(read_labels(four, file)) == RIGHT


def test_a_sheet_without_a_header_or_an_obvious_form_is_asked_for_one(four, tmp_path):
    file = write_sheet(tmp_path / "sheet.csv", "utf-8", ",", "none", "no ending")
    with pytest.raises(InputError, match="needs the line path,emotion,subject"):
        read_labels(four, file)


def write_book(file, *, form="General", titles=("path", "emotion", "subject"), merged=False):
    book = openpyxl.Workbook()
    notes = book.active
    notes.title = "About"
    notes["A1"] = "coded by two"
    sheet = book.create_sheet("Coding")
    sheet.append(["Study 7"])
    sheet.append(list(titles))
    for path, emotion, subject in zip(VIDEOS, EMOTIONS, SUBJECTS, strict=True):
        sheet.append([path, emotion, subject if form == "General" else int(subject)])
        sheet.cell(sheet.max_row, 3).number_format = form
    if merged:
        sheet.merge_cells("C3:C4")
        sheet.merge_cells("C5:C6")
    book.save(file)
    return file


@pytest.mark.parametrize("form", ["General", "000"])
@pytest.mark.parametrize("merged", [False, True])
def test_excel_sheets_with_titles_pages_forms_and_merged_cells(four, tmp_path, form, merged):
    labels = read_labels(four, write_book(tmp_path / "book.xlsx", form=form, merged=merged))
    assert rows_of(labels) == RIGHT
    assert told(labels, "read the page 'Coding', not 'About'")
    assert labels.table["row"].tolist() == ["3", "4", "5", "6"]


def test_an_excel_sheet_called_csv_is_read_as_what_it_is(four, tmp_path):
    file = write_book(tmp_path / "book.xlsx").rename(tmp_path / "book.csv")
    assert rows_of(read_labels(four, file)) == RIGHT


def test_an_opendocument_sheet_is_read(four, tmp_path):
    def cell(text, value=None):
        kind = f'office:value-type="float" office:value="{value}"' if value else ""
        return f"<table:table-cell {kind}><text:p>{text}</text:p></table:table-cell>"

    rows = [cell("path") + cell("emotion") + cell("subject")]
    for path, emotion, subject in zip(VIDEOS, EMOTIONS, SUBJECTS, strict=True):
        rows.append(cell(path) + cell(emotion) + cell(subject, int(subject)))
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    lines = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    empty = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell/>'
    table = f'<table:table table:name="S">{lines}{empty}</table:table-row></table:table>'
    with zipfile.ZipFile(tmp_path / "sheet.ods", "w") as archive:
        archive.writestr(
            "content.xml", f"<office:document-content {names}>{table}</office:document-content>"
        )
    assert rows_of(read_labels(four, tmp_path / "sheet.ods")) == RIGHT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xd0\xcf\x11\xe0 old", r"found a sheet of Excel 97-2003 \(.xls\); open it .* save it"),
        (b"PK\x03\x04 broken", "found a damaged sheet"),
        (b"<html><table>", "found a text that begins with '<html><ta'; open it"),
        (b"%PDF-1.7", "found bytes that begin with b'%PDF'"),
        (b"", "found no cell in it"),
        (b"path,emotion\n\x00,x\n", "found zero bytes"),
    ],
)
def test_what_is_no_sheet_is_told_in_one_line(four, tmp_path, data, message):
    (tmp_path / "sheet.xls").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_labels(four, tmp_path / "sheet.xls")
    assert "\n" not in str(error.value)


def test_a_folder_for_a_sheet_and_an_address_for_a_folder_are_refused(four, tmp_path):
    with pytest.raises(InputError, match="expected a labels file; found a folder"):
        read_labels(four, tmp_path)
    with pytest.raises(InputError, match="found an address; download it first"):
        read_labels("https://example.org/videos")
    with pytest.raises(InputError, match="found a file there; name the folder it lies in"):
        read_labels(four / VIDEOS[0])


@pytest.mark.parametrize(
    ("titles", "message"),
    [
        ("Clip,Video,Emotion", "found 'Clip' and 'Video', and either may be it; say which"),
        ("path,emotoin", r"\(emotoin → emotion\?\); name it: `columns=emotion=emotoin`"),
        ("path,Rating", "expected a column 'emotion' for emotion; found path, Rating; name it"),
    ],
)
def test_titles_that_could_be_two_or_are_misspelt_are_asked_for(four, tmp_path, titles, message):
    (tmp_path / "sheet.csv").write_text(f"{titles}\nanna/01.mp4,happy,sad\n")
    with pytest.raises(InputError, match=message):
        read_labels(four, tmp_path / "sheet.csv")


def test_unused_columns_and_a_missing_subject_are_told(four, tmp_path):
    (tmp_path / "sheet.csv").write_text("path,emotion,Notes,Subject Nr\nanna/01.mp4,happy,a,b\n")
    labels = read_labels(four, tmp_path / "sheet.csv")
    assert told(labels, "columns not used: Notes, Subject Nr")
    assert "(Subject Nr → subject? then `columns=subject=Subject Nr`)" in labels.cautions[0]


def test_a_subject_may_be_called_na_and_near_ones_are_warned_of(tmp_path):
    text = "path,emotion,subject\na,happy,NA\nb,NA,S1\nc,sad,s01\nd,sad,Zoë K\ne,sad,zoe_k\n"
    (tmp_path / "sheet.csv").write_text(text, encoding="utf-8")
    rows = read_rows(tmp_path / "sheet.csv")
    assert rows.table["subject"].tolist() == ["NA", "S1", "s01", "Zoë K", "zoe_k"]
    assert [caution.partition(" differ")[0] for caution in rows.cautions] == [
        "subjects S1, s01",
        "subjects Zoë K, zoe_k",
    ]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        *(("1,5", "1.5"), ("4.0", "4"), ("/", ""), ("", ""), ("12", "12"), ("1,5 s", "1.5 s")),
        *(("0:02", "2 s"), ("1:00:01,5", "3601.5 s"), ("about 3", ""), ("-1", "-1")),
    ],
)
def test_numbers_have_one_form(cell, number):
    assert read_number(cell) == number


def test_pages_of_nothing_are_left_out(tmp_path):
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    assert read_pages(tmp_path / "empty.xlsx") == []


@pytest.mark.parametrize(
    ("named", "path", "reason"),
    [
        ("x/anna/01.mp4", "anna/01.mp4", ""),
        ("elsewhere/01 lächeln.mp4", "ben/01 lächeln.mp4", ""),
        ("anna/01 lächeln.mp4", "anna/01 lächeln.mp4", "no such video"),
        ("02, überrascht", "ben/02, überrascht.mp4", ""),
    ],
)
def test_a_name_alone_finds_a_video_only_where_its_folder_is_unknown(
    four, tmp_path, named, path, reason
):
    (tmp_path / "sheet.csv").write_text(f'path;emotion\n"{named}";sad\nanna/02.mp4;sad\n', "utf-8")
    row = read_labels(four, tmp_path / "sheet.csv").table.iloc[0]
    assert (row["path"], row["reason"]) == (path, reason)


def test_two_videos_of_one_name_are_never_chosen_from(four, tmp_path):
    (four / "carl").mkdir(exist_ok=True)
    (four / "carl" / "02.mp4").touch()
    (tmp_path / "sheet.csv").write_text("path,emotion\n02,sad\nanna/01.mp4,sad\n")
    reason = read_labels(four, tmp_path / "sheet.csv").table["reason"][0]
    (four / "carl" / "02.mp4").unlink()
    assert reason == "the name fits 2 videos: anna/02.mp4, carl/02.mp4"
