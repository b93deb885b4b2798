import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.landmarks import (
    Landmarks,
    outer_eye_distance,
    read_landmarks_csv,
    read_openface_csv,
    write_openface_csv,
)


@pytest.fixture
def landmarks(upright_landmarks):
    steps = np.arange(3, dtype=np.float32)
    return Landmarks(
        xy=upright_landmarks + steps[:, None, None],
        confidence=np.array([0.98, 0.02, 0.98], np.float32),
        success=np.array([True, False, True]),
        timestamp=steps.astype(np.float64) / 30,
    )


def test_what_is_written_is_read_again(tmp_path, landmarks):
    write_openface_csv(tmp_path / "a.csv", landmarks)
    again = read_openface_csv(tmp_path / "a.csv")
    assert again.xy == pytest.approx(landmarks.xy, abs=0.006)
    assert again.success.tolist() == [True, False, True]
    assert again.confidence == pytest.approx(landmarks.confidence)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_spaces_in_the_header_do_not_matter_and_case_does(tmp_path, landmarks):
    write_openface_csv(tmp_path / "spaced.csv", landmarks)
    text = (tmp_path / "spaced.csv").read_text()
    assert text.startswith("frame, face_id, timestamp")
    three_d = text.replace(", ", ",").replace("y_67", "y_67,X_0", 1)
    (tmp_path / "tight.csv").write_text(
        "\n".join(
            line + ("" if i == 0 else ",999") for i, line in enumerate(three_d.split("\n")[:-1])
        )
    )
    assert read_openface_csv(tmp_path / "tight.csv").xy[0, 0, 0] == pytest.approx(
        landmarks.xy[0, 0, 0], abs=0.01
    )


def test_cells_that_are_no_number_are_frames_without_a_face(tmp_path, landmarks):
    write_openface_csv(tmp_path / "a.csv", landmarks)
    text = (tmp_path / "a.csv").read_text().split("\n")
    cells = text[1].split(", ")
    cells[7] = "-nan"
    (tmp_path / "a.csv").write_text("\n".join([text[0], ", ".join(cells), *text[2:]]))
    again = read_openface_csv(tmp_path / "a.csv")
    assert again.success.tolist() == [False, False, True]
    assert again.confidence[0] == 0


def without_x_0(lines):
    return [lines[0].replace("x_0, ", "a_0, ", 1), *lines[1:]]


def with_a_cell(value, frame=2, column=7):
    def edit(lines):
        cells = lines[frame].split(", ")
        cells[column] = value
        return [*lines[:frame], ", ".join(cells), *lines[frame + 1 :]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without_x_0, "x_0 and 0 more are missing"),
        (lambda lines: [lines[0], lines[1], lines[1]], "one row for face 0 in frame 1; found 2"),
        (lambda lines: [lines[0], lines[2], lines[3]], "frames 1 to 3, each once; frame 1 is mis"),
        (lambda lines: [*lines[:2], lines[3]], "frame 2 is missing, and 0 more"),
        (
            lambda lines: [*lines[:3], lines[3][:90]],
            r"141 values in each row; found \d+ for fr.* 3",
        ),
        (lambda lines: [*lines[:3], lines[3] + ", 1"], "in each row; found 142 for frame 3"),
        (with_a_cell(""), "a number for x_2 in frame 2; found nothing"),
        (with_a_cell("0", column=0), r"frames counted 1, 2, …; found 0 in row 2"),
        (with_a_cell("1.5", column=0), r"frames counted 1, 2, …; found 1.5 in row 2"),
        (with_a_cell("two", column=0), r"frames counted 1, 2, …; found nan in row 2"),
        (with_a_cell("1", column=1), "expected one face; found 2: 0, 1"),
        (lambda lines: [], "expected a CSV of landmarks"),
        (lambda lines: ["a text, and no table"], "frame and 136 more are missing"),
        (lambda lines: [lines[0], "x" * 200_000], "expected a CSV of landmarks; field larger"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, landmarks, edit, message):
    landmarks.success[:] = True
    write_openface_csv(tmp_path / "a.csv", landmarks)
    lines = edit((tmp_path / "a.csv").read_text().splitlines())
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message) as error:
        read_openface_csv(tmp_path / "a.csv")
    assert str(error.value).startswith(f"{tmp_path / 'a.csv'}: ")


def test_a_missing_file_and_a_file_of_other_bytes_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"b\.csv: expected a CSV of landmarks; found no such file"
    ):
        read_landmarks_csv(tmp_path / "b.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.csv: expected a CSV of landmarks; 'utf-8' codec"):
        read_landmarks_csv(tmp_path / "a.csv")


def test_a_header_without_rows_gives_no_frames(tmp_path, landmarks):
    write_openface_csv(tmp_path / "a.csv", landmarks)
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().splitlines()[0] + "\n")
    assert len(read_openface_csv(tmp_path / "a.csv")) == 0


def test_shapes_must_belong_together(landmarks):
    with pytest.raises(InputError, match=r"\(T, 68, 2\); received \(3, 67, 2\)"):
        Landmarks(
            landmarks.xy[:, :67], landmarks.confidence, landmarks.success, landmarks.timestamp
        )
    with pytest.raises(InputError, match=r"success must have shape \(3,\)"):
        Landmarks(landmarks.xy, landmarks.confidence, landmarks.success[:2], landmarks.timestamp)


def test_outer_eye_distance_is_from_corner_to_corner(upright_landmarks):
    assert outer_eye_distance(upright_landmarks) == pytest.approx(60)
    assert outer_eye_distance(np.zeros((0, 68, 2))).shape == (0,)


def write_rows(path, names, rows, *, comma=", "):
    """Write a CSV of `names` and the landmark columns from rows of facts and points."""
    points = [f"{axis}_{point}" for axis in "xy" for point in range(68)]
    lines = [comma.join([*names, *points])]
    for *facts, xy in rows:
        lines.append(comma.join([*map(str, facts), *(f"{value:.2f}" for value in xy.T.ravel())]))
    path.write_text("\n".join(lines) + "\n")
    return path


OPENFACE_1 = ("frame", "timestamp", "confidence", "success")
OPENFACE_2 = ("frame", "face_id", "timestamp", "confidence", "success")
PY_FEAT = ("FaceRectX", "FaceScore", "Identity", "input", "frame")
NOWHERE = np.full((68, 2), np.nan)


def test_openface_1_has_no_face_id(tmp_path, upright_landmarks):
    rows = [
        (1, 0, 0.9, 1, upright_landmarks),
        (3, 0.09, 0.8, 1, upright_landmarks),
        (2, 0.04, 0.1, 0, upright_landmarks),
    ]
    path = write_rows(tmp_path / "a.csv", OPENFACE_1, rows)
    (face,) = read_landmarks_csv(path, n_frames=3)
    assert face.success.tolist() == [True, False, True]
    assert face.confidence == pytest.approx([0.9, 0.1, 0.8])
    assert face.timestamp.tolist() == [0, 0.04, 0.09]
    assert face.xy[0] == pytest.approx(upright_landmarks, abs=0.006)
    write_rows(path, OPENFACE_1, [rows[0], rows[0]])
    with pytest.raises(InputError, match="one row for frame 1; found 2, and no face_id or Ident"):
        read_landmarks_csv(path)


def test_points_at_nought_are_no_face_whatever_is_claimed(tmp_path, upright_landmarks):
    rows = [(1, 0, 0, 0.9, 1, np.zeros((68, 2))), (2, 0, 0.04, 0.9, 1, upright_landmarks)]
    (face,) = read_landmarks_csv(write_rows(tmp_path / "a.csv", OPENFACE_2, rows))
    assert face.success.tolist() == [False, True]
    assert np.isnan(face.xy[0]).all()
    assert face.confidence[0] == 0
    write_rows(tmp_path / "a.csv", OPENFACE_2, rows[:1])
    (face,) = read_landmarks_csv(tmp_path / "a.csv", n_frames=1)
    assert face.success.tolist() == [False]


def test_several_faces_come_by_first_appearance_with_a_row_a_frame(tmp_path, upright_landmarks):
    rows = [
        (2, 3, 0.04, 0.9, 1, upright_landmarks),
        (4, 0, 0.12, 0.8, 1, upright_landmarks + 50),
        (4, 3, 0.12, 0.1, 0, upright_landmarks + 1),
    ]
    path = write_rows(tmp_path / "a.csv", OPENFACE_2, rows)
    first, second = read_landmarks_csv(path)
    assert first.success.tolist() == [False, True, False, False]
    assert second.success.tolist() == [False, False, False, True]
    assert first.timestamp == pytest.approx([0, 0.04, 0.08, 0.12])
    assert second.xy[3] == pytest.approx(upright_landmarks + 50, abs=0.006)
    assert len(read_landmarks_csv(path, n_frames=6)[1]) == 6
    with pytest.raises(InputError, match="for the video's 3 frames; found 4"):
        read_landmarks_csv(path, n_frames=3)
    with pytest.raises(InputError, match="expected one face; found 2: 3, 0"):
        read_openface_csv(path)


def test_frames_left_out_are_frames_without_a_face_only_where_they_may_be(
    tmp_path, upright_landmarks
):
    rows = [(frame, 0, 0, 0.9, 1, upright_landmarks) for frame in (1, 2)]
    path = write_rows(tmp_path / "a.csv", OPENFACE_2, rows)
    with pytest.raises(InputError, match="for the video's 3 frames; found 2; make the file again"):
        read_landmarks_csv(path, n_frames=3)
    (face,) = read_landmarks_csv(path, n_frames=3, several=True)
    assert face.success.tolist() == [True, True, False]
    write_rows(path, OPENFACE_2, [rows[1]])
    assert read_landmarks_csv(path)[0].success.tolist() == [False, True]


def test_a_file_without_rows_holds_no_face(tmp_path):
    path = write_rows(tmp_path / "a.csv", OPENFACE_2, [])
    assert read_landmarks_csv(path) == []
    assert read_landmarks_csv(path, n_frames=5, several=True) == []
    with pytest.raises(InputError, match="for the video's 5 frames; found 0"):
        read_landmarks_csv(path, n_frames=5)


def test_py_feat_counts_from_nought_and_leaves_cells_empty(tmp_path, upright_landmarks):
    rows = [
        (9, 0.99, "Person_0", "a.mp4", 0, upright_landmarks),
        ("", 0, "", "a.mp4", 1, NOWHERE),
        (9, 0.97, "Person_1", "a.mp4", 2, upright_landmarks + 50),
        (9, 0.98, "Person_0", "a.mp4", 2, upright_landmarks),
        (9, 0, "Person_0", "a.mp4", 3, upright_landmarks),
    ]
    path = write_rows(tmp_path / "a.csv", PY_FEAT, rows, comma=",")
    path.write_text(path.read_text().replace(",nan", ","))
    first, second = read_landmarks_csv(path, n_frames=4)
    assert first.success.tolist() == [True, False, True, False]
    assert second.success.tolist() == [False, False, True, False]
    assert first.confidence == pytest.approx([0.99, 0, 0.98, 0])
    assert second.xy[2] == pytest.approx(upright_landmarks + 50, abs=0.006)
    with pytest.raises(InputError, match="for the video's 5 frames; found 4"):
        read_landmarks_csv(path, n_frames=5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("", 0), ("", 0)], "one row for frame 0; found 2, and no face_id or Identity"),
        ([("nan", 0), ("nan", 0)], "one row for frame 0; found 2, and no face_id or Identity"),
        ([("Person_0", 1), ("Person_0", 1)], "one row for face Person_0 in frame 1; found 2"),
        ([("Person_0", 0), ("Person_0", 24)], "frames 0 to 24, each once; frame 1 is missing"),
    ],
)
def test_py_feat_rows_that_are_ambiguous_are_refused(tmp_path, upright_landmarks, rows, message):
    whole = [(9, 0.9, name, "a.mp4", frame, upright_landmarks) for name, frame in rows]
    path = write_rows(tmp_path / "a.csv", PY_FEAT, whole)
    with pytest.raises(InputError, match=message):
        read_landmarks_csv(path)


def test_py_feat_files_of_two_videos_or_of_other_points_are_refused(tmp_path, upright_landmarks):
    rows = [(9, 0.9, "", video, at, upright_landmarks) for at, video in enumerate("ab")]
    path = write_rows(tmp_path / "a.csv", PY_FEAT, rows)
    with pytest.raises(InputError, match="expected one video; found several in the column input"):
        read_landmarks_csv(path)
    path.write_text(path.read_text().replace("FaceRectX", "x_68"))
    with pytest.raises(InputError, match="expected 68 landmarks; found more"):
        read_landmarks_csv(path)


def test_py_feat_may_write_the_frame_twice(tmp_path, upright_landmarks):
    rows = [(0, 0.9, "", "a.mp4", 0, upright_landmarks)]
    path = write_rows(tmp_path / "a.csv", ("frame", *PY_FEAT[1:]), rows)
    assert read_landmarks_csv(path)[0].success.tolist() == [True]


@pytest.mark.real
@pytest.mark.parametrize("several", [None, False, True])
def test_real_openface_output_reads(real_data, several):
    for path in sorted((real_data / "openface_csv").glob("*.csv")):
        n_rows = len(path.read_text().splitlines()) - 1
        faces = read_landmarks_csv(path, n_frames=n_rows, several=several)
        if several and path.stem == "pyfeat_no_face":
            assert faces == []
            continue
        (face,) = faces
        assert len(face) == n_rows > 30
        assert np.isfinite(face.xy[face.success]).all()
        assert face.success.any() == (path.stem != "pyfeat_no_face")
        assert (np.diff(face.timestamp) > 0).all()


@pytest.mark.real
def test_real_openface_output_is_written_again_as_it_was(real_data, tmp_path):
    path = real_data / "openface_csv" / "pyfeat_noface_face.csv"
    landmarks = read_openface_csv(path)
    write_openface_csv(tmp_path / "again.csv", landmarks)
    again = read_openface_csv(tmp_path / "again.csv")
    assert again.success.tolist() == landmarks.success.tolist()
    assert np.array_equal(again.xy[again.success], landmarks.xy[landmarks.success])
    assert again.timestamp.tolist() == landmarks.timestamp.tolist()
