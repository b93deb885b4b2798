import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.landmarks import (
    Landmarks,
    outer_eye_distance,
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


def edit_header(lines):
    return [lines[0].replace("x_0, ", "a_0, ", 1), *lines[1:]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_header, "x_0 and 0 more are missing"),
        (lambda lines: [lines[0], lines[1], lines[1]], "each once"),
        (lambda lines: [lines[0], lines[2]], "each once"),
        (lambda lines: [], "expected a CSV of landmarks"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, landmarks, edit, message):
    write_openface_csv(tmp_path / "a.csv", landmarks)
    lines = edit((tmp_path / "a.csv").read_text().splitlines())
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message) as error:
        read_openface_csv(tmp_path / "a.csv")
    assert "a.csv" in str(error.value)


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


@pytest.mark.real
def test_real_openface_output_reads(real_data):
    for path in sorted((real_data / "openface_csv").glob("*.csv")):
        landmarks = read_openface_csv(path)
        assert len(landmarks) > 30
        assert np.isfinite(landmarks.xy[landmarks.success]).all()
    assert not read_openface_csv(real_data / "openface_csv" / "pyfeat_no_face.csv").success.any()
