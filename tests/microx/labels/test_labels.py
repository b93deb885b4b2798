import re
import unicodedata

import pytest

from microx.errors import InputError
from microx.labels.labels import LABEL_SETS, find_mapped, read_label_set, read_labels


@pytest.fixture
def folder(tmp_path):
    """A folder of four files named as videos; labels are read without opening any of them."""
    for name in ("S01/a.mp4", "S01/b.mp4", "S02/a.mp4", "S02/ç d.avi"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


def write(folder, text, name="labels.csv", encoding="utf-8"):
    (folder.parent / name).write_text(text, encoding=encoding)
    return folder.parent / name


def reasons(labels):
    return dict(zip(labels.table["path"], labels.table["reason"], strict=True))


def test_paths_names_and_bare_names_find_their_video(folder):
    sheet = write(folder, "path,emotion,subject\nS01/a.mp4,joy,001\nb,sad,001\nç d.avi,fear,02\n")
    labels = read_labels(folder, sheet)
    assert labels.table["path"].tolist()[:3] == ["S01/a.mp4", "S01/b.mp4", "S02/ç d.avi"]
    assert labels.table["subject"].tolist()[:3] == ["001", "001", "02"]
    assert labels.classes == ("fear", "joy", "sad")
    assert labels.label_set == "file"


def test_paths_relative_to_the_sheet_are_found(folder):
    labels = read_labels(folder, write(folder, "path,emotion\nvideos/S01/a.mp4,joy\n"))
    assert reasons(labels)["S01/a.mp4"] == ""


def test_nothing_vanishes(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,joy\nS01/z.mp4,joy\nS01/b.mp4,\na.mp4,sad\n")
    assert reasons(read_labels(folder, sheet)) == {
        "S01/a.mp4": "",
        "S01/z.mp4": "no such video",
        "S01/b.mp4": "no label: its emotion in labels.csv is empty",
        "a.mp4": "the name fits 2 videos: S01/a.mp4, S02/a.mp4",
        "S02/a.mp4": "no label: not in labels.csv",
        "S02/ç d.avi": "no label: not in labels.csv",
    }


def test_labels_in_the_folder_itself_are_found_and_named(folder):
    (folder / "labels.csv").write_text("path,emotion\nS01/a.mp4,joy\n")
    labels = read_labels(folder)
    assert labels.source == str(folder / "labels.csv")
    assert labels.classes == ("joy",)
    (folder / "labels.csv").unlink()
    assert read_labels(folder).source == f"class sub-folders of {folder}"
    assert read_labels(folder).classes == ("S01", "S02")


def test_labels_show_how_much_they_hold(folder):
    sheet = write(folder, "path,emotion,subject\nS01/a.mp4,joy,A\nb,joy,A\nç d.avi,fear,B\n")
    assert repr(read_labels(folder, sheet)) == (
        "Labels(3 videos, 1 left out, 2 subjects, 2 emotions)"
    )
    mapped = read_labels(folder, sheet, label_set="ekman7")
    assert repr(mapped) == "Labels(3 videos, 1 left out, 2 subjects, 7 emotions of ekman7)"
    assert "<td>fear</td>" in mapped._repr_html_()


def test_a_video_labelled_twice_is_not_guessed_at(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,joy\nS01/a.mp4,sad\nS01/b.mp4,sad\n")
    labels = read_labels(folder, sheet)
    assert reasons(labels)["S01/a.mp4"] == "2 rows of labels.csv label this video: 2 joy, 3 sad"
    assert len(labels.table) == 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_of_every_country_read(folder, separator):
    text = separator.join(["Clip", "Estimated Emotion", "Notes"])
    text += "\n" + separator.join(["S01/a.mp4", " joy ", "smiles"]) + "\n"
    sheet = write(folder, text, encoding="utf-8-sig")
    columns = {"path": "Clip", "emotion": "Estimated Emotion"}
    assert read_labels(folder, sheet, columns=columns).classes == ("joy",)


def test_class_sub_folders_are_labels(folder):
    (folder / "loose.mp4").touch()
    labels = read_labels(folder)
    assert labels.classes == ("S01", "S02")
    assert reasons(labels)["loose.mp4"].startswith("no label")
    assert set(labels.table["subject"]) == {""}


def test_spellings_are_mapped_and_the_order_is_the_sets(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,Joy\nS01/b.mp4,AN\nS02/a.mp4,disgust\n")
    labels = read_labels(folder, sheet, label_set="microx7")
    assert labels.table["emotion"].tolist()[:3] == ["happy", "anger", "contempt"]
    assert labels.classes == ("neutral", "anger", "contempt", "surprise", "fear", "happy", "sad")


def test_spellings_that_became_another_class_are_told(folder):
    rows = "S01/a.mp4,DIS\nS01/b.mp4,disgust\nS02/a.mp4,Happy\nç d.avi,joy\n"
    labels = read_labels(folder, write(folder, f"path,emotion\n{rows}"), label_set="microx7")
    assert find_mapped(labels) == ["DIS, disgust → contempt (2 videos)", "joy → happy (1 video)"]
    assert labels.table["spelling"].tolist() == ["DIS", "disgust", "Happy", "joy"]
    assert find_mapped(read_labels(folder)) == []


def test_titles_of_columns_may_differ_in_capitals(folder):
    sheet = write(folder, " Path ,EMOTION,Subject\nS01/a.mp4,joy,1\n")
    assert read_labels(folder, sheet).table["subject"].tolist()[0] == "1"
    sheet = write(folder, "Path,PATH,emotion\nS01/a.mp4,S01/b.mp4,joy\n")
    with pytest.raises(InputError, match="expected a column 'path' for path"):
        read_labels(folder, sheet)


def test_an_unknown_emotion_is_refused_by_name(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,joy\nS01/b.mp4,smug\n")
    with pytest.raises(InputError, match="emotion 'smug' is not in label set ekman7") as error:
        read_labels(folder, sheet, label_set="ekman7")
    assert "labels.csv" in str(error.value)


def test_emotions_of_baum1_beyond_the_seven_are_left_out_by_name(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,Boredom\nS01/b.mp4,Happiness\n")
    labels = read_labels(folder, sheet, label_set="microx7")
    assert reasons(labels)["S01/a.mp4"] == "its emotion boredom is left out by label set microx7"
    others = ("boredom", "bothered", "concentrating", "thinking", "unsure", "interest")
    assert [read_label_set("microx7")[name] for name in others] == [""] * 6


def test_what_a_set_leaves_out_is_a_row_with_its_reason(folder):
    sheet = write(folder, "path,emotion\nS01/a.mp4,happiness\nS01/b.mp4,others\n")
    labels = read_labels(folder, sheet, label_set="megc3")
    assert labels.classes == ("negative", "positive", "surprise")
    assert reasons(labels)["S01/b.mp4"] == "its emotion others is left out by label set megc3"


def test_a_label_set_of_ones_own(folder):
    own = write(folder, "spelling,emotion\njoy,pleasant\nsad,unpleasant\n", "own.csv")
    sheet = write(folder, "path,emotion\nS01/a.mp4,joy\nS01/b.mp4,sad\n")
    assert read_labels(folder, sheet, label_set=str(own)).classes == ("pleasant", "unpleasant")


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_spelling_of_ours_has_a_source(name):
    from importlib.resources import files

    lines = (files("microx.labels") / "sets" / f"{name}.csv").read_text().splitlines()
    assert all(line.split(",", 2)[2] for line in lines)
    assert read_label_set(name)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,emotion\n", {}, "none fits"),
        ("where,emotion\nS01/a.mp4,joy\n", {}, "a column 'path' for path; found where, emotion"),
        ("path,emotion\nx,joy\n", {"columns": {"subject": "Who"}}, "expected a column 'Who'"),
        ("path,emotion\nx,joy\n", {"columns": {"colour": "Who"}}, "column 'colour' is unknown"),
        ("path,emotion\nnowhere.mp4,joy\n", {}, "none fits: no such video"),
        ("path,emotion\nS01/a.mp4,joy\n", {"label_set": "nine"}, "label set 'nine' is unknown"),
        ("", {}, "labels.csv: expected a CSV"),
    ],
)
def test_sheets_that_cannot_be_used_say_why(folder, text, options, message):
    with pytest.raises(InputError, match=message) as error:
        read_labels(folder, write(folder, text), **options)
    assert "\n" not in str(error.value)


def test_rows_of_nothing_and_rows_without_a_path(folder):
    sheet = write(folder, "path,emotion,subject\nS01/a.mp4,joy,1\n,sad,1\n,,\n,,\n")
    assert reasons(read_labels(folder, sheet))["row 3 of labels.csv"] == "no such video"
    assert len(read_labels(folder, sheet).table) == 5


def test_links_to_videos_elsewhere_are_videos(folder):
    (folder.parent / "elsewhere.mp4").touch()
    (folder / "S01" / "link.mp4").symlink_to(folder.parent / "elsewhere.mp4")
    sheet = write(folder, "path,emotion\nvideos/S02/../S01/link.mp4,joy\n")
    assert reasons(read_labels(folder, sheet))["S01/link.mp4"] == ""


def test_long_paths_get_safe_ids_too(tmp_path):
    path = tmp_path / "happy" / ("long-" * 20) / ("name" + "-x" * 49 + ".mp4")
    path.parent.mkdir(parents=True)
    path.touch()
    (video_id,) = read_labels(tmp_path).table["video_id"]
    assert video_id[0].isalnum()
    assert len(video_id) <= 110


def test_other_encodings_are_guessed_aloud_or_named(folder):
    sheet = write(folder, "path,emotion\nS02/ç d.avi,joy\n", encoding="latin-1")
    labels = read_labels(folder, sheet)
    assert reasons(labels)["S02/ç d.avi"] == ""
    assert "byte 17 is not UTF-8: read as Windows-1252, such as 'ç'" in labels.notes[0]
    sheet.write_bytes(b"path,emotion\nS02/\x81.avi,joy\n")
    with pytest.raises(InputError, match=r"labels\.csv: expected a CSV in UTF-8, .* byte 17 is"):
        read_labels(folder, sheet)


def test_folders_without_videos_are_named(tmp_path):
    for input_fps in (None, 25):
        with pytest.raises(InputError, match="found no video file in it and no image"):
            read_labels(tmp_path, input_fps=input_fps)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"labels\.csv: expected a labels file; found nothing"):
        read_labels(tmp_path, tmp_path / "labels.csv")


def test_ids_are_safe_unique_and_stable(tmp_path):
    names = ["a b.mp4", "a_b.mp4", "A_b.mp4", "日本.mp4", "東京.mp4", "plain.mp4", "plain.avi"]
    for name in [*(f"e/{name}" for name in names), "e/x..y.mp4", "f/a b.mp4", "e/f/a.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ids = read_labels(tmp_path).table.set_index("path")["video_id"]
    assert ids.str.casefold().is_unique
    assert ids.str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", flags=re.ASCII).all()
    assert ids[["e/x..y.mp4", "f/a b.mp4", "e/f/a.jpg"]].tolist() == ["e_x..y", "f_a_b", "e_f_a"]
    (tmp_path / "e/new.mp4").touch()
    again = read_labels(tmp_path).table.set_index("path")["video_id"]
    assert again[ids.index].equals(ids)


@pytest.mark.parametrize(
    "named", ["../../x", "/etc/passwd", "../x/..x.", "C:\\x\\y.mp4", "a\x07b", "-rf"]
)
def test_a_path_from_outside_gives_no_video_and_a_safe_id(folder, named):
    labels = read_labels(folder, write(folder, f"path,emotion\n{named},joy\nS01/a.mp4,joy\n"))
    first = labels.table.iloc[0]
    assert first["reason"] == "no such video"
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", first["video_id"])


def test_a_sheet_may_spell_its_letters_another_way(folder):
    decomposed = unicodedata.normalize("NFD", "S02/ç d.avi")
    labels = read_labels(folder, write(folder, f"path,emotion\n{decomposed},joy\n"))
    assert reasons(labels)["S02/ç d.avi"] == ""


def test_images_in_class_sub_folders_are_videos(tmp_path):
    for number in (1, 2, 10):
        for emotion in ("angry", "sad"):
            (tmp_path / emotion).mkdir(exist_ok=True)
            (tmp_path / emotion / f"{number}.jpg").touch()
    labels = read_labels(tmp_path)
    assert labels.table["path"].tolist()[:3] == ["angry/1.jpg", "angry/2.jpg", "angry/10.jpg"]
    assert labels.table["emotion"].tolist() == ["angry"] * 3 + ["sad"] * 3
    assert labels.input_fps is None


@pytest.fixture
def folders_of_frames(tmp_path):
    """Two folders of two frames, a film and a folder named alike; nothing is opened."""
    root = tmp_path / "videos"
    for clip in ("happy/take.1", "happy/take.2", "sad/EP02_01f"):
        (root / clip).mkdir(parents=True)
        for number in (1, 2):
            (root / clip / f"img{number}.jpg").touch()
    (root / "sad/film.mp4").touch()
    return root


def test_with_a_rate_folders_of_frames_are_videos(folders_of_frames):
    labels = read_labels(folders_of_frames, input_fps=200)
    table = labels.table.set_index("path")
    paths = ["happy/take.1", "happy/take.2", "sad/EP02_01f", "sad/film.mp4"]
    assert table.index.tolist() == paths
    assert table["emotion"].tolist() == ["happy", "happy", "sad", "sad"]
    assert table["video_id"].tolist() == [
        "happy_take.1",
        "happy_take.2",
        "sad_EP02_01f",
        "sad_film",
    ]
    assert labels.input_fps == 200


@pytest.mark.parametrize("named", ["sad/EP02_01f", "sad/EP02_01f/", "EP02_01f", "EP02_01f/"])
def test_a_sheet_may_name_a_folder_of_frames(folders_of_frames, named):
    sheet = write(folders_of_frames, f"path,emotion\n{named},disgust\n")
    labels = read_labels(folders_of_frames, sheet, input_fps=200)
    assert reasons(labels)["sad/EP02_01f"] == ""
    assert len(labels.table) == 4


def test_a_folder_of_frames_without_a_rate_is_explained(folders_of_frames):
    sheet = write(folders_of_frames, "path,emotion\nsad/EP02_01f,disgust\n")
    with pytest.raises(InputError, match=r"none fits: a folder is a video if .*`input_fps`"):
        read_labels(folders_of_frames, sheet)


def test_the_searched_folder_may_itself_hold_the_frames(folders_of_frames):
    clip = folders_of_frames / "sad" / "EP02_01f"
    sheet = write(folders_of_frames, "path,emotion\nvideos/sad/EP02_01f,disgust\n")
    (row,) = read_labels(clip, sheet, input_fps=200).table.to_dict("records")
    assert (row["path"], row["reason"]) == (".", "")
    assert re.fullmatch(r"video-[0-9a-f]+", row["video_id"])


def test_a_rate_of_frames_must_be_one(folders_of_frames):
    with pytest.raises(InputError, match="`input_fps` must be above 0"):
        read_labels(folders_of_frames, input_fps=0)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("Actor_01", "Actor_02"), "name no emotion of any label set: they look like subjects"),
        (("train", "test"), "they look like parts of a split"),
        (("0", "1"), "they are numbers; map them to emotions by a CSV"),
        (
            ("meeting", "happy"),
            "the class sub-folders meeting name no emotion of any label set: if",
        ),
    ],
)
def test_folders_that_are_no_emotions_are_cautioned_and_refused(tmp_path, names, reason):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.mp4").touch()
    assert reason in read_labels(tmp_path).cautions[0]
    with pytest.raises(InputError, match="is not in label set ekman7; known: neutral") as error:
        read_labels(tmp_path, label_set="ekman7")
    assert reason.rpartition(": ")[2].partition(";")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_of_emotions_are_noted_to_name_no_subjects(tmp_path):
    (tmp_path / "Happy").mkdir()
    (tmp_path / "Happy" / "1.mp4").touch()
    labels = read_labels(tmp_path)
    assert labels.cautions == ()
    assert labels.notes == (
        "class sub-folders name no subjects, so one may be in training and in test",
    )
