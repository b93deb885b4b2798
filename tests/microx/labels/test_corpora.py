"""Each corpus as downloaded, in miniature: names, sheets, preamble, frames numbered as released."""

import openpyxl
import pandas as pd
import pytest

from microx.cli.corpora import CORPUS_NAMES
from microx.errors import InputError
from microx.labels.corpora import CORPORA, find_corpus
from microx.labels.labels import read_labels, write_labels
from microx.training.splits import read_parts


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def frames(root, folder, numbers, form="img{}.jpg"):
    touch(root, *(f"{folder}/{form.format(number)}" for number in numbers))


def write_book(path, *pages):
    """Write pages of rows as an Excel file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, rows in enumerate(pages):
        sheet = book.create_sheet(f"Sheet{i + 1}")
        for row in rows:
            sheet.append(row)
    book.save(path)


def usable(labels, *columns):
    table = labels.table[labels.table["reason"] == ""]
    return list(table[["path", "emotion", "subject", *columns]].itertuples(index=False, name=None))


def reasons(labels):
    table = labels.table[labels.table["reason"] != ""]
    return dict(zip(table["path"], table["reason"], strict=True))


MARKS = ("onset", "apex", "offset")


def lay_casme2(root):
    for clip, numbers in {"sub01/EP02_01f": range(46, 91), "sub02/EP01_11f": range(46, 97)}.items():
        frames(root, f"Cropped/{clip}", numbers, "reg_img{}.jpg")
    frames(root, "Cropped/sub02/EP09_01", range(1, 30), "reg_img{}.jpg")
    frames(root, "Cropped/sub02/EP09_02", range(1, 30), "reg_img{}.jpg")
    titles = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
    write_book(
        root / "CASME2-coding-20190701.xlsx",
        [
            [*titles, "Action Units", "Estimated Emotion"],
            [1, "EP02_01f", None, 46, 59, 86, None, 12, "happiness"],
            [2, "EP01_11f", None, 46, 91, 96, None, 15, "repression"],
            [2, "EP09_01", None, 2, "/", 20, None, 15, "others"],
            [2, "EP09_02", None, 2, 40, 20, None, 15, "others"],
            [3, "EP09_09", None, 2, 4, 20, None, 15, "disgust"],
        ],
    )


def test_casme2_by_the_numbers_of_its_files(tmp_path):
    lay_casme2(tmp_path)
    labels = read_labels(tmp_path, corpus="casme2")
    assert usable(labels, *MARKS) == [
        ("Cropped/sub01/EP02_01f", "happiness", "sub01", "0", "13", "40"),
        ("Cropped/sub02/EP01_11f", "repression", "sub02", "0", "45", "50"),
        ("Cropped/sub02/EP09_01", "others", "sub02", "1", "", "19"),
    ]
    assert reasons(labels) == {
        "Cropped/sub02/EP09_02": "apex 40 matches no frame: its files are numbered 1 to 29 (row 5 "
        "of CASME2-coding-20190701.xlsx)",
        "sub03/EP09_09": "no such video",
    }
    assert labels.input_fps == 200
    assert (
        "the numbers in the names of the image files (names); they fit 3 of 4" in labels.notes[-1]
    )
    assert labels.cautions[0].startswith("CASME II: expected 255 or 247 rows; found 5 in CASME2-")


def test_a_sheet_that_is_written_reads_the_same_again(tmp_path):
    lay_casme2(tmp_path / "casme2")
    labels = read_labels(tmp_path / "casme2", corpus="CASME II")
    write_labels(labels, tmp_path / "labels.csv")
    again = read_labels(tmp_path / "casme2", tmp_path / "labels.csv", input_fps=200)
    assert usable(again, *MARKS) == usable(labels, *MARKS)
    with pytest.raises(InputError, match="expected a file that can be written"):
        write_labels(labels, tmp_path / "nowhere" / "labels.csv")


SAMM_TITLES = (
    *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame"),
    *("Duration", "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
)


def lay_samm(root):
    frames(root, "006/006_1_2", range(5562, 5633, 2), "006_{:05d}.jpg")
    frames(root, "007/007_4_2", range(5900, 6000), "007_{:05d}.jpg")
    write_book(
        root / "SAMM_Micro_FACS_Codes_v2.xlsx",
        [
            *(["SAMM"], ["Copyright"], ["Emotions are estimated"], []),
            SAMM_TITLES,
            ["006", "006_1_2", 1, 5562, 5588, 5632, 71, "Micro - 1/2", "4+7", "Anger", 3, None],
            ["007", "007_4_2", 4, 5900, 5943, 5999, 100, "Micro", "24", "Other", 7, "L12?"],
        ],
    )


def test_samm_below_its_preamble(tmp_path):
    lay_samm(tmp_path)
    assert usable(read_labels(tmp_path, corpus="samm"), *MARKS) == [
        ("006/006_1_2", "Anger", "006", "0", "13", "35"),
        ("007/007_4_2", "Other", "007", "0", "43", "99"),
    ]


def test_samm_long_videos_become_a_folder_of_links_for_each_expression(tmp_path):
    root = tmp_path / "samm"
    frames(root, "006_1", range(1, 200), "006_1_{:04d}.jpg")
    titles = [
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset",
        "Apex",
        "Offset",
        "Duration",
        "Type",
    ]
    write_book(
        root / "SAMM_LongVideos_V2_Release.xlsx",
        [
            *([f"line {i}"] for i in range(10)),
            titles,
            ["006", "006_1_1", 1, 10, 12, 15, 6, "Macro"],
            ["006", "006_1_2", 1, 100, 103, 110, 11, "Micro - 1/2"],
        ],
    )
    labels = read_labels(root, corpus="samm_lv", clips=tmp_path / "clips")
    assert usable(labels, *MARKS) == [
        ("006_1_row12", "Macro", "006", "0", "2", "5"),
        ("006_1_row13", "Micro - 1/2", "006", "0", "3", "10"),
    ]
    links = sorted((tmp_path / "clips" / "006_1_row13").iterdir())
    assert len(links) == 11
    assert links[3].resolve().name == "006_1_0103.jpg"
    with pytest.raises(InputError, match="name one to write links to: `clips`"):
        read_labels(root, corpus="samm_lv")


def test_smic_by_the_names_of_its_folders(tmp_path):
    for clip in ("s01/micro/positive/s1_po_01", "s01/micro/negative/s1_ne_02"):
        frames(tmp_path, clip, range(3), "image{:06d}.bmp")
    frames(tmp_path, "s14/micro/surprise/s14_sur_01", range(3), "image{:06d}.bmp")
    frames(tmp_path, "s14/non_micro/s14_01", range(3), "image{:06d}.bmp")
    labels = read_labels(tmp_path, corpus="smic_hs")
    assert usable(labels) == [
        ("s01/micro/negative/s1_ne_02", "negative", "1"),
        ("s01/micro/positive/s1_po_01", "positive", "1"),
        ("s14/micro/surprise/s14_sur_01", "surprise", "14"),
    ]
    assert list(reasons(labels)) == ["s14/non_micro/s14_01"]


def test_the_composite_leaves_out_what_megc2019_does(tmp_path):
    lay_casme2(tmp_path / "CASME2")
    lay_samm(tmp_path / "SAMM")
    frames(tmp_path / "SMIC_HS", "s01/micro/positive/s1_po_01", range(3), "image{}.bmp")
    labels = read_labels(tmp_path, corpus="megc2019")
    assert usable(labels) == [
        ("CASME2/Cropped/sub01/EP02_01f", "positive", "casme2-sub01"),
        ("CASME2/Cropped/sub02/EP01_11f", "negative", "casme2-sub02"),
        ("SMIC_HS/s01/micro/positive/s1_po_01", "positive", "smic_hs-1"),
        ("SAMM/006/006_1_2", "negative", "samm-006"),
    ]
    assert set(labels.table.loc[labels.table["reason"] == "", "corpus"]) == {
        *("casme2", "smic_hs", "samm")
    }
    assert "442 rows expected, 5 found" in " ".join(labels.notes)


def test_casme_squared_without_a_header_and_with_codes(tmp_path):
    root = tmp_path / "casme"
    frames(root, "rawpic/s15/15_0101disgustingteeth", range(1, 900))
    frames(root, "rawpic/s16/16_0102eatingworms", range(1, 90))
    write_book(
        root / "CAS(ME)^2code_final.xlsx",
        [
            *(
                [1, "disgust1_1", 557, 572, 608, "4", "negative", "macro-expression", "d"],
                [1, "disgust1_2", 700, 705, 0, "4", "negative", "micro-expression", "d"],
                [2, "disgust2_1", 5, 9, 12, "12", "positive", "macro-expression", "h"],
            )
        ],
        [["a", 15, 1], ["b", 16, 2]],
        [["0101", "disgust1"], ["0102", "disgust2"]],
    )
    labels = read_labels(root, corpus="casme_squared", clips=tmp_path / "clips")
    assert [row[1:] for row in usable(labels, *MARKS)] == [
        ("negative", "s15", "0", "15", "51"),
        ("negative", "s15", "0", "5", ""),
        ("positive", "s16", "0", "4", "7"),
    ]


def test_casme3_links_several_expressions_of_a_recording(tmp_path):
    root = tmp_path / "casme3"
    frames(root, "spNO.1/e/color", range(120), "{}.jpg")
    write_book(
        root / "CAS(ME)3_part_A_v2.xlsx",
        [
            ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"],
            ["spNO.1", "e", 62, 68, 96, "R12", "I", "others"],
            ["spNO.1", "e", 96, 102, 106, "R12", "I", "Others"],
        ],
    )
    labels = read_labels(root, corpus="casme3", clips=tmp_path / "clips")
    assert usable(labels, *MARKS) == [
        ("spNO.1_e_color_row2", "others", "spNO.1", "0", "6", "34"),
        ("spNO.1_e_color_row3", "others", "spNO.1", "0", "6", "10"),
    ]


def test_mmew_by_emotion_and_clip(tmp_path):
    frames(tmp_path, "Micro_Expression/disgust/S01-02-001", range(1, 30), "{}.jpg")
    titles = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"]
    write_book(
        tmp_path / "MMEW_Micro_Exp.xlsx",
        [[*titles, "remarks"], [1, "S01-02-001", 1, 8, 19, "disgust", None]],
    )
    assert usable(read_labels(tmp_path, corpus="mmew"), *MARKS) == [
        ("Micro_Expression/disgust/S01-02-001", "disgust", "S01", "0", "7", "18")
    ]


def test_meview_counts_frames_of_video_files(tmp_path):
    touch(tmp_path, "01.mp4", "02.mp4")
    text = "Video;Onset;Offset;Emotion\n01;10;20;fear\n02.mp4;4;9;happiness\n"
    (tmp_path / "meview_labels.csv").write_text(text)
    labels = read_labels(tmp_path, corpus="meview")
    assert usable(labels, "onset", "offset") == [
        ("01.mp4", "fear", "", "10", "20"),
        ("02.mp4", "happiness", "", "4", "9"),
    ]


@pytest.mark.parametrize("corpus", ["baum1s", "baum1a", "baum2"])
def test_baum_tells_subjects_by_the_names_of_clips(tmp_path, corpus):
    touch(tmp_path, "S001/S001_001.mp4", "S031/S031_012.mp4")
    write_book(
        tmp_path / "Annotations.xlsx",
        [
            ["Clip Name", "Emotion", "Emotion Code"],
            ["S001_001", "Anger", 1],
            ["S031_012", "Boredom", 9],
        ],
    )
    labels = read_labels(tmp_path, corpus=corpus)
    assert usable(labels) == [
        ("S001/S001_001.mp4", "Anger", "S001"),
        ("S031/S031_012.mp4", "Boredom", "S031"),
    ]
    assert not any("no column subject" in caution for caution in labels.cautions)


@pytest.mark.parametrize(
    ("corpus", "names", "rows"),
    [
        (
            "ravdess",
            ("Actor_12/01-01-03-01-01-01-12.mp4", "Actor_02/02-01-02-01-01-01-02.mp4"),
            [("calm", "02"), ("happy", "12")],
        ),
        (
            "cremad",
            ("1001_DFA_ANG_XX.flv", "1002_IEO_SAD_HI.flv"),
            [("anger", "1001"), ("sad", "1002")],
        ),
        (
            "enterface",
            ("subject 1/anger/sentence 1/s1_an_1.avi", "subject 2/fear/sentence 1/s2_fe_1.avi"),
            [("anger", "1"), ("fear", "2")],
        ),
        (
            "afew",
            ("Train/Angry/000046280.avi", "Val/Sad/000133480.avi"),
            [("anger", ""), ("sad", "")],
        ),
        (
            "jaffe",
            ("YM.SU3.60.tiff", "NA.AN1.211.tiff", "KA.NE1.26.tiff"),
            [("neutral", "KA"), ("anger", "NA"), ("surprise", "YM")],
        ),
        (
            "fer2013",
            ("train/angry/1.jpg", "test/surprise/2.jpg"),
            [("surprise", ""), ("anger", "")],
        ),
        (
            "rafdb",
            ("train/1/train_00001_aligned.jpg", "test/4/test_0001_aligned.jpg"),
            [("happy", ""), ("surprise", "")],
        ),
    ],
)
def test_corpora_that_name_their_files_after_labels(tmp_path, corpus, names, rows):
    touch(tmp_path, *names)
    labels = read_labels(tmp_path, corpus=corpus)
    assert [(emotion, subject) for _, emotion, subject in usable(labels)] == rows
    assert labels.cautions or not CORPORA[corpus].n_rows


def test_a_file_of_another_name_is_left_out_and_a_folder_of_others_refused(tmp_path):
    touch(tmp_path, "1001_DFA_ANG_XX.flv", "1001_DFA_XXX_XX.flv", "notes.mp4")
    assert reasons(read_labels(tmp_path, corpus="cremad")) == {
        "1001_DFA_XXX_XX.flv": "the code 'XXX' is none of its emotions",
        "notes.mp4": "its name is not like 1001_DFA_ANG_XX.flv",
    }
    with pytest.raises(InputError, match="expected files of RAVDESS named like Actor_12/"):
        read_labels(tmp_path, corpus="ravdess")
    with pytest.raises(InputError, match="has its labels in its files' names"):
        read_labels(tmp_path, "sheet.csv", corpus="cremad")


FER_TITLES = "emotion,pixels,Usage"


def write_fer2013(root, codes=(0, 3, 6)):
    pixels = " ".join(str(i % 256) for i in range(48 * 48))
    rows = [f"{code},{pixels},Training" for code in codes]
    (root / "fer2013.csv").write_text("\n".join([FER_TITLES, *rows, ""]))


def test_the_pixels_of_fer2013_become_images(tmp_path):
    import cv2
    import numpy as np

    write_fer2013(tmp_path)
    labels = read_labels(tmp_path, corpus="fer2013")
    assert [row[:2] for row in usable(labels)] == [
        ("fer2013_images/Training/00000.png", "anger"),
        ("fer2013_images/Training/00001.png", "happy"),
        ("fer2013_images/Training/00002.png", "neutral"),
    ]
    image = cv2.imread(str(tmp_path / "fer2013_images/Training/00000.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(image.ravel(), np.arange(48 * 48) % 256)
    (tmp_path / "fer2013.csv").write_text(f"{FER_TITLES}\n0,1 2 3,Training\n")
    with pytest.raises(
        InputError, match="row 2: expected an emotion 0 to 6 and 2304 pixels; found"
    ):
        read_labels(tmp_path, corpus="fer2013")


def test_the_own_split_of_fer2013_is_a_list_for_the_protocol(tmp_path):
    pixels = " ".join(["7"] * 48 * 48)
    rows = [f"3,{pixels},{usage}" for usage in ("Training", "PublicTest", "PrivateTest")]
    (tmp_path / "fer2013.csv").write_text("\n".join([FER_TITLES, *rows, ""]))
    labels = read_labels(tmp_path, corpus="fer2013")
    write_labels(labels, tmp_path / "labels.csv", find_corpus("fer2013"))
    written = pd.read_csv(tmp_path / "labels.csv").set_index("part")["path"]
    assert dict(written) == {
        "train": "fer2013_images/Training/00000.png",
        "validation": "fer2013_images/PublicTest/00001.png",
        "test": "fer2013_images/PrivateTest/00002.png",
    }
    manifest = labels.table.assign(status="done")
    parts, notes = read_parts(tmp_path / "labels.csv", manifest)
    assert sorted(parts["part"]) == ["test", "train", "validation"]
    assert not notes
    assert find_corpus("rafdb").find_part("Image/Train_aligned/1/1.jpg") == "train"
    assert find_corpus("rafdb").find_part("1/train_00001_aligned.jpg") == ""


def test_the_real_form_of_fer2013(real_data, tmp_path):
    (tmp_path / "fer2013.csv").write_bytes((real_data / "odd" / "fer2013.csv").read_bytes())
    assert len(usable(read_labels(tmp_path, corpus="fer2013"))) == 8


def test_ferplus_takes_the_most_votes(tmp_path):
    write_fer2013(tmp_path, codes=(0, 3, 6, 6))
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = ("0,0,0,0,8,2,0,0,0,0", "0,5,5,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,0,0,10")
    rows = [f"Training,fer{i}.png,{line}" for i, line in enumerate((*votes, "1,0,0,0,0,0,0,9,0,0"))]
    text = "\n".join([f"Usage,Image name,{names}", *rows, ""])
    (tmp_path / "fer2013new.csv").write_text(text)
    labels = read_labels(tmp_path, corpus="ferplus")
    assert [emotion for _, emotion, _ in usable(labels)] == ["anger", "contempt"]
    assert list(reasons(labels).values()) == [
        "its most votes are for happy and surprise",
        "its most votes are for NF",
    ]
    write_fer2013(tmp_path)
    with pytest.raises(InputError, match="a row of ten votes for each of the 3 rows"):
        read_labels(tmp_path, corpus="ferplus")


def test_rafdb_by_its_list(tmp_path):
    touch(tmp_path, *(f"basic/Image/aligned/t_{i}_aligned.jpg" for i in (1, 2)))
    lists = tmp_path / "basic" / "EmoLabel"
    lists.mkdir()
    (lists / "list_patition_label.txt").write_text("t_1.jpg 5\nt_2.jpg 2\n")
    assert [row[1] for row in usable(read_labels(tmp_path, corpus="rafdb"))] == ["sad", "fear"]


def test_ckplus_by_its_label_files(tmp_path):
    frames(tmp_path, "cohn-kanade-images/S010/004", range(1, 18), "S010_004_{:08d}.png")
    frames(tmp_path, "cohn-kanade-images/S010/005", range(1, 9), "S010_005_{:08d}.png")
    label = tmp_path / "Emotion" / "S010" / "004" / "S010_004_00000017_emotion.txt"
    label.parent.mkdir(parents=True)
    label.write_text("   7.0000000e+00\n")
    labels = read_labels(tmp_path, corpus="ckplus")
    assert usable(labels) == [("cohn-kanade-images/S010/004", "surprise", "S010")]
    assert list(reasons(labels)) == ["cohn-kanade-images/S010/005"]


def test_dfew_by_the_lists_of_a_fold(tmp_path):
    touch(tmp_path, "clip/00001.mp4", "clip/00002.mp4")
    lists = tmp_path / "label"
    lists.mkdir()
    (lists / "single_trainset_1.csv").write_text("video_name,label\n1,1\n")
    (lists / "single_testset_1.csv").write_text("video_name,label\n2,7\n")
    assert [row[:2] for row in usable(read_labels(tmp_path, corpus="dfew"))] == [
        ("clip/00001.mp4", "happy"),
        ("clip/00002.mp4", "fear"),
    ]


def test_a_missing_or_a_foreign_sheet_is_told(tmp_path):
    frames(tmp_path, "sub01/EP02_01f", range(46, 50))
    with pytest.raises(InputError, match=r"expected the coding sheet of CASME II; .* name it"):
        read_labels(tmp_path, corpus="casme2")
    (tmp_path / "sheet.csv").write_text("Subject,Clip\n1,EP02_01f\n")
    with pytest.raises(InputError, match="expected the sheet of CASME II with the columns"):
        read_labels(tmp_path, tmp_path / "sheet.csv", corpus="casme2")
    (tmp_path / "sheet.csv").write_text("Subject,Filename,OnsetFrame\n1,EP02_01f,3\n")
    with pytest.raises(InputError, match=r"expected the column '(estimated|apex|offset)"):
        read_labels(tmp_path, tmp_path / "sheet.csv", corpus="casme2")


def test_an_unknown_corpus_is_refused_and_names_are_forgiving(tmp_path):
    assert find_corpus("CAS(ME)²").name == "casme_squared"
    assert find_corpus("RAF-DB").name == "rafdb"
    with pytest.raises(InputError, match="corpus 'mug' is unknown; known: baum1s"):
        read_labels(tmp_path, corpus="mug")


def test_every_corpus_is_whole_and_documented(request):
    assert set(CORPUS_NAMES) == set(CORPORA)
    page = (request.config.rootpath / "docs" / "corpora.md").read_text(encoding="utf-8")
    for form in CORPORA.values():
        assert form.licence
        assert form.ask
        assert form.protocol
        assert form.compare
        row = next(line for line in page.splitlines() if line.startswith(f"| {form.title} "))
        assert f"`--corpus {form.name}`" in row
        for count in form.n_rows:
            assert f"{count:,}" in row
        assert form.licence in row
