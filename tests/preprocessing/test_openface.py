import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from microx.errors import LandmarkError
from microx.preprocessing.landmarks import Landmarks, write_openface_csv
from microx.preprocessing.openface import find_openface, run_openface
from microx.preprocessing.pipeline import preprocess_video


@pytest.fixture
def program(tmp_path):
    """Make a stand-in for FeatureExtraction, for its faults, which no video provokes at will."""

    def make(body: str) -> Path:
        path = tmp_path / "FeatureExtraction"
        path.write_text(f"#!{sys.executable}\nimport os, shutil, sys, time\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        return path

    return make


@pytest.fixture
def video(tmp_path, write_video, grey_steps):
    return write_video(tmp_path / "in put.mp4", grey_steps)


def recording(tmp_path, xy, n_frames):
    rows = np.arange(n_frames)
    path = tmp_path / "recording.csv"
    write_openface_csv(
        path,
        Landmarks(
            xy=np.tile(xy / 2, (n_frames, 1, 1)).astype(np.float32),
            confidence=np.full(n_frames, 0.98, np.float32),
            success=rows != 1,
            timestamp=rows / 30.0,
        ),
    )
    return path


COPY = (
    "assert os.environ['OMP_NUM_THREADS'] == '1' and '-2Dfp' in sys.argv\n"
    "out = sys.argv[sys.argv.index('-out_dir') + 1]\n"
    "shutil.copy({!r}, os.path.join(out, 'in put.csv'))"
)


def test_its_csv_becomes_landmarks(tmp_path, program, video, upright_landmarks):
    path = program(COPY.format(str(recording(tmp_path, upright_landmarks, 5))))
    assert run_openface(video, program=path).success.tolist() == [True, False, True, True, True]
    crops = preprocess_video(video, landmarks="openface", openface=path)
    assert crops.n_found == 4
    assert (crops.crops["mouth"][1] == 0).all()
    assert np.isnan(crops.landmarks.xy[1]).all()


def test_fewer_rows_than_frames_are_refused(tmp_path, program, video, upright_landmarks):
    path = program(COPY.format(str(recording(tmp_path, upright_landmarks, 3))))
    with pytest.raises(LandmarkError, match="for the 5 frames decoded; found 3 rows"):
        preprocess_video(video, landmarks="openface", openface=path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('Failed to open the video file at location: x')", "exit code 0.*Failed to open"),
        ("print('Closed successfully')", "found 0, exit code 0"),
        ("os.abort()", "exit code -6"),
        ("sys.exit(1)", "found 0, exit code 1"),
    ],
)
def test_a_run_without_a_csv_is_a_failure_whatever_its_exit_code(program, video, body, message):
    with pytest.raises(LandmarkError, match=message):
        run_openface(video, program=program(body))


def test_a_run_that_hangs_is_stopped(program, video):
    with pytest.raises(LandmarkError, match=r"stopped after 0\.5 s"):
        run_openface(video, program=program("time.sleep(60)"), timeout_s=0.5)


def test_a_link_is_followed_to_the_real_program(tmp_path, program):
    real = program("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "of").symlink_to(real)
    assert find_openface(tmp_path / "bin" / "of") == real


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(LandmarkError, match="FeatureExtraction on PATH; found none"):
        find_openface()
    with pytest.raises(LandmarkError, match=r"runnable .*nothing-here"):
        find_openface(tmp_path / "nothing-here")
