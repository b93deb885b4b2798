"""What is installed here is looked at for what it is."""

import sys
from pathlib import Path

import pytest

from microx.cli.doctor import Finding, diagnose, is_well, try_backend

FAKE = Path(__file__).parents[2] / "preprocessing" / "fake_openface.py"


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What is here, and an OpenFace that fails."""
    folder = tmp_path_factory.mktemp("programs")
    program = folder / "face-program"
    program.write_text(FAKE.read_text().replace("/usr/bin/env python3", sys.executable, 1))
    program.chmod(0o755)
    (folder / "lines.csv").write_text("frame\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_OPENFACE_CSV", str(folder / "lines.csv"))
        patch.setenv("FAKE_OPENFACE", "unopened")
        return {finding.name: finding for finding in diagnose(openface=str(program))}


def test_what_the_tests_need_is_found(findings):
    for name in ("python", "keras", "h5py", "joblib", "opencv", "dlib", "processor"):
        assert findings[name].state == "ok", findings[name]
    assert findings["opencv"].found.endswith("with FFmpeg")
    assert "shape_predictor_68_face_landmarks.dat" in findings["dlib"].found


def test_the_default_backend_finds_a_drawn_face(findings):
    assert findings["try dlib"].state == "ok", findings["try dlib"]
    assert "30 of 30 frames" in findings["try dlib"].found
    assert is_well(list(findings.values()))


def test_the_truth_as_a_table_is_the_truth():
    n_found, n_frames, error = try_backend("csv")
    assert (n_found, n_frames) == (30, 30)
    assert error < 0.002


def test_an_openface_that_fails_is_said_to_fail(findings):
    assert findings["openface"].state == "ok"
    assert findings["try openface"].state == "failed"
    assert "OpenFace could not open it" in findings["try openface"].found
    lacking = {name for name, found in findings.items() if found.state not in ("ok", "optional")}
    assert lacking == {"try openface"}


def test_without_the_default_backend_it_is_not_well():
    assert not is_well([Finding("try dlib", "failed", ""), Finding("try csv", "ok", "")])


def test_a_backend_that_was_asked_for_is_well_or_not(findings):
    assert is_well(list(findings.values()), "csv")
    assert not is_well(list(findings.values()), "openface")
