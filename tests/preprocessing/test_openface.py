import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from microx.errors import InputError, LandmarkError
from microx.preprocessing.landmarks import Landmarks, write_openface_csv
from microx.preprocessing.openface import describe_openface, find_openface, run_openface

FAKE = Path(__file__).with_name("fake_openface.py")
CLNF = [
    "main_clnf_general.txt",
    *(f"patch_experts/ccnf_patches_{size}_general.txt" for size in ("0.25", "0.35", "0.5")),
]
CEN = [
    "main_ceclm_general.txt",
    *(f"patch_experts/cen_patches_{size}_of.dat" for size in ("0.25", "0.35", "0.50", "1.00")),
]


def add_models(folder, names):
    for name in names:
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("model")


@pytest.fixture
def openface(tmp_path):
    """Both programs of OpenFace as the fake, in a folder with both models."""
    folder = tmp_path / "Open Face" / "build" / "bin"
    add_models(folder, [*CLNF, *CEN])
    for name in ("FeatureExtraction", "FaceLandmarkVidMulti"):
        program = folder / name
        program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
        program.chmod(0o755)
    return folder / "FeatureExtraction"


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "in put.mp4"
    path.write_bytes(b"the fake does not look inside")
    return path


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Return a function that tells how the fake was called."""
    path = tmp_path / "call.json"
    monkeypatch.setenv("FAKE_OPENFACE_CALL", str(path))
    return lambda: json.loads(path.read_text())


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch, upright_landmarks):
    """The CSV the fake leaves behind: five frames, the second without a face."""
    path = tmp_path / "recording.csv"
    landmarks = Landmarks(
        xy=np.tile(upright_landmarks, (5, 1, 1)),
        confidence=np.full(5, 0.98, np.float32),
        success=np.arange(5) != 1,
        timestamp=np.arange(5) / 30,
    )
    write_openface_csv(path, landmarks)
    monkeypatch.setenv("FAKE_OPENFACE_CSV", str(path))
    monkeypatch.delenv("FAKE_OPENFACE", raising=False)
    return path


@pytest.fixture
def fault(monkeypatch):
    """Return a function that chooses what the fake does wrong."""
    return lambda name: monkeypatch.setenv("FAKE_OPENFACE", name)


@pytest.fixture
def impatient(monkeypatch):
    """Kill soon after asking to stop."""
    monkeypatch.setattr("microx.preprocessing.openface._GRACE_S", 0.3)


def runs(pid):
    """Whether a process runs: one that ended may stay listed until its parent looks."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def end(pids):
    """Whether all of these end: what is killed takes a moment to go."""
    deadline = time.monotonic() + 20
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(runs, pids))


def test_its_csv_becomes_landmarks(openface, video, called):
    (face,) = run_openface(video, command=openface, n_frames=5)
    assert face.success.tolist() == [True, False, True, True, True]
    call = called()
    out = Path(call["argv"][5])
    assert call["argv"] == [str(openface), "-f", str(video), "-2Dfp", "-out_dir", str(out)]
    assert call["threads"] == ["1", "1"]
    assert call["cwd"] == str(openface.parent)
    assert call["found"] == []
    assert not out.exists()


def test_a_header_without_spaces_reads_as_well(openface, video, table):
    table.write_text(table.read_text().replace(", ", ","))
    assert run_openface(video, command=openface)[0].success.sum() == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unopened", "could not open it: Failed to open the video file at location"),
        ("no csv", "left 0 CSVs.*exit code 0; by then it wrote 0 of 5 frames.*Closed successfully"),
        ("two", "left 2 CSVs"),
        ("short", "OpenFace wrote 3 of 5 frames; the video may be damaged"),
        ("header", "OpenFace wrote 0 of 5 frames"),
        ("cut in a row", r"cannot be used: expected 141 values in each row; found \d+ for frame 3"),
        ("abort", "was killed by SIGABRT .it could not write its folder"),
        ("killed", "was killed by SIGKILL.*wrote 2 of 5 frames"),
        ("exit 134", "was killed by SIGABRT .it could not write its folder"),
        ("exit 139", "was killed by SIGSEGV"),
        ("exit 1", "exit code 1 .its models are missing.*last output: ERROR: Could not load"),
        ("exit 3", "failed with exit code 3; by then"),
    ],
)
def test_a_failure_is_reported_in_one_line_that_names_the_video(
    openface, video, fault, name, message
):
    fault(name)
    with pytest.raises(LandmarkError, match=message) as error:
        run_openface(video, command=openface, n_frames=5)
    assert str(error.value).startswith(f"{video}: ")
    assert "\n" not in str(error.value)


def test_a_run_without_rows_fails_where_the_number_of_frames_is_unknown_too(openface, video, fault):
    fault("header")
    with pytest.raises(LandmarkError, match="wrote 0 frames"):
        run_openface(video, command=openface)


def test_more_rows_than_frames_are_refused(openface, video):
    with pytest.raises(LandmarkError, match="wrote 5 of 4 frames"):
        run_openface(video, command=openface, n_frames=4)


def test_a_missing_video_is_named_before_anything_runs(openface, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mp4: expected a video; found no such file"):
        run_openface(tmp_path / "nowhere.mp4", command=openface)


def test_a_noisy_program_does_not_block(openface, video, fault):
    fault("noise")
    assert len(run_openface(video, command=openface, n_frames=5, timeout_s=60)[0]) == 5


def test_progress_is_read_from_the_growing_csv(openface, video, fault):
    fault("slow")
    steps = []
    run_openface(video, command=openface, n_frames=5, progress=lambda *what: steps.append(what))
    done = [what[0] for what in steps]
    assert done == sorted(done)
    assert len(set(done)) >= 3
    assert steps[-1] == (5, 5, "in put.mp4")
    assert {what[1:] for what in steps} == {(5, "in put.mp4")}


@pytest.mark.usefixtures("impatient")
def test_a_run_that_hangs_is_ended_with_its_children(openface, video, fault, called):
    fault("hang")
    with pytest.raises(LandmarkError, match=r"stopped after 3 s; by then it wrote 2 of 5 frames"):
        run_openface(video, command=openface, n_frames=5, timeout_s=3)
    assert end(called())


@pytest.mark.usefixtures("impatient")
def test_an_exception_elsewhere_ends_the_run(openface, video, fault, called):
    fault("hang")

    def stop(*_):
        raise RuntimeError("the bar broke")

    with pytest.raises(RuntimeError, match="the bar broke"):
        run_openface(video, command=openface, progress=stop)
    assert end(called())


def test_ctrl_c_ends_the_run_with_its_children(openface, video, fault, called, tmp_path):
    fault("hang")
    # A shell's background jobs ignore Ctrl-C, and so would what they start: hear it again.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from microx.preprocessing.openface import run_openface\n"
        "run_openface(sys.argv[1], command=sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(video), str(openface)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "call.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = called()
        assert all(runs(pid) for pid in pids)
        os.kill(run.pid, signal.SIGINT)
        _, stderr = run.communicate(timeout=60)
    assert b"KeyboardInterrupt" in stderr
    assert end(pids)


def two_faces(table):
    """Face 0 in frames 1 and 4, face 3 in frames 2 to 4, and no rows for what comes after."""
    header, *rows = table.read_text().splitlines()
    rows = [row.replace(", 0.02, 0", ", 0.98, 1") for row in rows]

    def of(frame, face):
        cells = rows[frame - 1].split(", ")
        return ", ".join([str(frame), str(face), *cells[2:4], "1", *cells[5:]])

    lines = [of(1, 0), of(2, 3), of(3, 3), of(4, 0), of(4, 3)]
    table.write_text("\n".join([header, *lines]) + "\n")


def test_several_faces_have_a_row_for_every_frame(openface, video, table, called):
    two_faces(table)
    first, second = run_openface(video, command=openface, several=True, n_frames=6)
    assert called()["argv"][0] == str(openface.with_name("FaceLandmarkVidMulti"))
    assert first.success.tolist() == [True, False, False, True, False, False]
    assert second.success.tolist() == [False, True, True, True, False, False]
    assert np.isnan(first.xy[1]).all()
    assert first.timestamp == pytest.approx(np.arange(6) / 30, abs=0.001)
    with pytest.raises(LandmarkError, match="the video's 3 frames; found 4"):
        run_openface(video, command=openface, several=True, n_frames=3)


def test_several_may_be_none(openface, video, fault):
    fault("header")
    assert run_openface(video, command=openface, several=True, n_frames=5) == []


def test_a_program_on_path_is_found_through_a_link(openface, video, tmp_path, monkeypatch, called):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "FeatureExtraction").symlink_to(openface)
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "bin"))
    run_openface(video)
    assert called()["argv"][0] == str(openface)
    assert find_openface("FeatureExtraction").argv == (str(openface),)
    multi = str(openface.with_name("FaceLandmarkVidMulti"))
    assert find_openface("FeatureExtraction", several=True).argv == (multi,)


def test_a_path_is_taken_from_the_folder_the_user_is_in(openface, monkeypatch):
    monkeypatch.chdir(openface.parent)
    for command in ("FeatureExtraction", "./FeatureExtraction", "../bin/FeatureExtraction", "."):
        assert find_openface(command).argv == (str(openface),)


def test_a_folder_stands_for_the_program_in_it(openface):
    root = openface.parents[2]
    for place in (root, root / "build" / "bin"):
        assert find_openface(place).argv == (str(openface),)
    assert find_openface(str(root), several=True).argv[0].endswith("/FaceLandmarkVidMulti")
    with pytest.raises(LandmarkError, match="expected FeatureExtraction in this folder"):
        find_openface(root / "build" / "bin" / "model")


def test_a_longer_command_is_kept_word_for_word(openface, video, called, tmp_path):
    runner = tmp_path / "runner"
    runner.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    runner.chmod(0o755)
    assert find_openface(runner).argv == (str(runner),)
    command = f"'{runner}' --rm image '{openface}'"
    found = find_openface(command)
    assert found.argv == (str(runner), "--rm", "image", str(openface))
    assert found.mloc is None
    run_openface(video, command=command)
    assert called()["argv"][0] == str(openface)
    assert called()["cwd"] == os.getcwd()
    assert find_openface(command, several=True).argv[-1].endswith("bin/FaceLandmarkVidMulti")


def test_arguments_after_the_program_are_kept_and_so_is_a_model_named(openface, video, called):
    for name in CEN:
        (openface.parent / "model" / name).unlink()
    run_openface(video, command=f"'{openface}' -wild")
    argv = called()["argv"]
    assert argv[1] == "-wild"
    assert argv[-2:] == ["-mloc", "model/main_clnf_general.txt"]
    run_openface(video, command=f"'{openface}' -mloc model/other.txt")
    assert called()["argv"][1:4] == ["-mloc", "model/other.txt", "-f"]
    assert called()["argv"].count("-mloc") == 1


def test_the_model_that_is_complete_is_taken(openface):
    assert find_openface(openface).mloc is None
    cen = openface.parent / "model" / CEN[-1]
    cen.write_bytes(b"")
    assert find_openface(openface).mloc == "model/main_clnf_general.txt"
    (openface.parent / "model" / CLNF[-1]).unlink()
    message = r"cen_patches_1\.00_of\.dat is missing or empty; run OpenFace's download_models"
    with pytest.raises(LandmarkError, match=message):
        find_openface(openface)


def test_models_of_an_installed_program_are_found(openface, tmp_path):
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    shutil.copy(openface, tmp_path / "usr" / "bin" / "FeatureExtraction")
    add_models(tmp_path / "usr" / "etc" / "OpenFace", CLNF)
    found = find_openface(tmp_path / "usr" / "bin" / "FeatureExtraction")
    assert found.mloc == "model/main_clnf_general.txt"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (None, "expected a runnable FeatureExtraction on PATH; found none"),
        ("", "expected a runnable command; found none"),
        ("nothing-here", "expected a runnable nothing-here; found none"),
        ("nothing-here run image FeatureExtraction", "expected a runnable nothing-here run"),
        ("docker 'run", "No closing quotation in docker 'run; check its quotes"),
    ],
)
def test_a_missing_program_is_named(tmp_path, monkeypatch, command, message):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(LandmarkError, match=message):
        find_openface(command)


def test_a_program_that_may_not_be_run_or_has_no_neighbour_is_named(openface):
    openface.with_name("FaceLandmarkVidMulti").unlink()
    with pytest.raises(LandmarkError, match="expected OpenFace's FaceLandmarkVidMulti beside"):
        find_openface(openface, several=True)
    openface.chmod(0o644)
    with pytest.raises(LandmarkError, match=r"may not be run; run: chmod \+x '/"):
        find_openface(openface)


def test_what_would_run_is_described(openface, tmp_path, monkeypatch):
    assert describe_openface(openface) == {
        "program": f"'{openface}'",
        "model": "CEN",
        "missing": "",
        "several": "yes",
        "problem": "",
    }
    openface.with_name("FaceLandmarkVidMulti").unlink()
    assert "found none" in describe_openface(openface)["several"]
    assert describe_openface(f"'{openface}' -mloc a.txt")["model"] == "given in the command"
    assert "unknown" in describe_openface("sh -c FeatureExtraction")["model"]
    (openface.parent / "model" / CEN[0]).unlink()
    assert describe_openface(openface)["model"] == "CLNF"
    assert describe_openface(openface)["missing"].endswith("/bin/model/main_ceclm_general.txt")
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert "found none" in describe_openface()["problem"]


@pytest.mark.openface
@pytest.mark.real
def test_the_true_program_repeats_the_landmarks_it_gave(real_data):
    if shutil.which("FeatureExtraction") is None:
        pytest.skip("OpenFace is not on PATH")
    (face,) = run_openface(real_data / "videos" / "pyfeat_single_face.mp4", n_frames=72)
    assert len(face) == 72
    assert face.success.all()
