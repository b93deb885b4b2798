"""Onset, apex and offset are matched to frames by one rule, and what matches nothing is told."""

import pytest

from microx.errors import InputError
from microx.labels.labels import read_labels

MARKS = ["onset", "apex", "offset"]


@pytest.fixture
def clips(tmp_path):
    """Return a function that makes folders of images numbered so, and a sheet of marks."""

    def make(numbers, rows, titles="path,emotion,onset,apex,offset", form="img{}.jpg"):
        root = tmp_path / "videos"
        for clip, frames in numbers.items():
            (root / clip).mkdir(parents=True)
            for number in frames:
                (root / clip / form.format(number)).touch()
        (tmp_path / "sheet.csv").write_text("\n".join([titles, *rows, ""]))
        return root, tmp_path / "sheet.csv"

    return make


def read(clips, **arguments):
    return read_labels(*clips, input_fps=200, **arguments)


def marks(labels):
    return [tuple(row) for row in labels.table[MARKS].to_numpy()]


@pytest.mark.parametrize(
    ("first", "row", "rule", "places"),
    [
        (46, "46,59,86", "names", ("0", "13", "40")),
        (46, "0,13,40", "from0", ("0", "13", "40")),
        (46, "1,14,45", "from1", ("0", "13", "44")),
        (0, "0,13,40", "names", ("0", "13", "40")),
        (1, "1,14,41", "names", ("0", "13", "40")),
        (1, "0,13,40", "from0", ("0", "13", "40")),
    ],
)
def test_the_rule_that_fits_is_taken_and_told(clips, first, row, rule, places):
    made = clips({"a": range(first, first + 45)}, [f"a,sad,{row}"])
    labels = read(made)
    assert marks(labels) == [places]
    assert f"({rule}); they fit 1 of 1 folders of images" in labels.notes[-1]
    assert marks(read_labels(*made, input_fps=200, frame_numbers=rule)) == [places]


def test_one_rule_holds_for_the_whole_sheet_and_misfits_are_errors_with_their_row(clips):
    numbers = {"a": range(46, 91), "b": range(10, 40), "c": range(100, 120)}
    labels = read(clips(numbers, ["a,sad,46,59,86", "b,sad,12,20,30", "c,sad,0,9,19"]))
    assert labels.table["reason"].tolist() == [
        "",
        "",
        "onset 0 matches no frame: its files are numbered 100 to 119 (row 4 of sheet.csv); "
        "`frame_numbers=from0` would fit",
    ]


def test_frames_renamed_from_0_fit_counts_from_the_onset(clips):
    made = clips({"a": range(41)}, ["a,sad,46,59,86"])
    with pytest.raises(InputError, match="`frame_numbers=onset` would fit"):
        read(made)
    assert marks(read(made, frame_numbers="onset")) == [("0", "13", "40")]


def test_files_without_numbers_are_counted(clips):
    made = clips({"a": "abcdefgh"}, ["a,sad,1,4,8"], form="{}.jpg")
    labels = read(made)
    assert marks(labels) == [("0", "3", "7")]  # 8 is no count from 0 of eight files
    with pytest.raises(InputError, match="the names of its files hold no number, or one twice"):
        read(made, frame_numbers="names")


@pytest.mark.parametrize(
    ("titles", "row", "rule", "kept"),
    [
        ("path,emotion,onset,apex,offset", "0.5,1,2", "seconds", ("0.5 s", "1 s", "2 s")),
        ("path,emotion,onset_s,apex (s),offset", "0.5,1,2", None, ("0.5 s", "1 s", "2")),
        ("path,emotion,onset,apex,offset", "0:01.5,2 s,", None, ("1.5 s", "2 s", "")),
    ],
)
def test_seconds_stay_seconds_until_the_video_is_decoded(clips, titles, row, rule, kept):
    labels = read(clips({"a": range(45)}, [f"a,sad,{row}"], titles), frame_numbers=rule)
    assert marks(labels) == [kept]


def test_a_row_may_name_its_own_rule(clips):
    titles = "path,emotion,onset,apex,offset,frame_numbers"
    made = clips({"a": range(46, 90)}, ["a,sad,0,5,9,from0"], titles)
    assert marks(read(made)) == [("0", "5", "9")]
    with pytest.raises(
        InputError, match="frame numbers 'from2' are unknown; expected one of names"
    ):
        read(made, frame_numbers="from2")


def test_marks_out_of_order_are_cautioned(clips):
    labels = read(clips({"a": range(45)}, ["a,sad,20,10,30"]))
    assert "onset, apex and offset are out of order in 1 rows: a" in labels.cautions
