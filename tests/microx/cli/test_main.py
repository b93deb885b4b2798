"""The command line as a user meets it: real processes, real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.cli.main import main
from microx.corpus.corpus import load_corpus
from microx.corpus.inspect import N_SHEETS
from microx.evaluation.baselines import GUESSES
from microx.preprocessing.recipe import MIN_FACE
from microx.preprocessing.regions import MARGIN
from microx.preprocessing.tracking.faces import MAX_GAP
from microx.simulation.corpus import draw_take
from microx.training.model_file import load_model
from microx.training.settings import FitSettings


def microx(*arguments):
    command = [sys.executable, "-m", "microx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "videos"
    run = microx("synth", folder, "--subjects", 3, "--takes", 1, "--seed", 5)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def corpus(videos):
    out = videos.parent / "corpus"
    run = microx("preprocess", videos, "--out", out, "--label-set", "microx7")
    assert run.returncode == 0, run.stderr
    assert "videos: 21 done, 0 skipped" in run.stdout
    assert "frames decoded: 945\n" in run.stdout
    assert "frames at 30 a second: 945 of 945 with crops (100.0%)" in run.stdout
    assert "clips of 10 frames: 84 whole; 0 left out" in run.stdout
    assert "subjects: 3" in run.stdout
    assert "caution" not in run.stdout
    return out


@pytest.fixture(scope="module")
def trained(corpus):
    out = corpus.parent / "trained"
    given = ["--regions", "eyes,mouth", "--epochs", 2, "--inputs", "grey", "--balance", "sampling"]
    given += ["--augment", "flip,rotate:5", "--set", "batch_size=16", "--set", "region_dropout=0.2"]
    run = microx("train", corpus, "--out", out, *given)
    assert run.returncode == 0, run.stderr
    assert "epochs: 2 in " in run.stdout
    assert f"microx evaluate {out} {corpus}" in run.stdout
    return out


def test_the_main_job_ends_with_a_table_and_a_report(corpus):
    run_folder = corpus.parent / "run"
    run = microx("ablate", corpus, "--out", run_folder, "--regions", "all", "--epochs", 2)
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(run_folder / "results.csv")
    assert table["name"].tolist() == ["regions+face", "pixels+svm", "hog+svm", *GUESSES]
    assert "most_frequent" in run.stdout
    assert str((run_folder / "report.html").resolve()) in run.stdout
    again = microx("report", run_folder, "--out", corpus.parent / "again.html")
    assert again.returncode == 0, again.stderr
    assert (corpus.parent / "again.html").stat().st_size > 10_000


def test_what_was_set_is_stored_with_the_model(trained):
    _, facts = load_model(trained)
    changed = {"epochs": 2, "inputs": "grey", "balance": "sampling", "augment": "flip,rotate:5"}
    changed |= {"batch_size": 16, "region_dropout": 0.2}
    assert facts.arguments == FitSettings.of("compact", **changed)
    assert facts.streams == ("eyes", "mouth")


def test_a_trained_model_is_scored_on_unseen_subjects(corpus, trained):
    given = ["--out", corpus.parent / "scores", "--without", "mouth"]
    run = microx("evaluate", trained, corpus, *given)
    assert run.returncode == 0, run.stderr
    assert "most_frequent" in run.stdout
    assert len(pd.read_csv(corpus.parent / "scores" / "predictions.csv")) == 28


def test_a_trained_model_predicts_a_video(corpus, trained, videos, tmp_path):
    video = sorted((videos / "videos").glob("*happy*.mp4"))[0]
    run = microx("predict", video, "--model", trained, "--out", tmp_path, "--without", "left_eye")
    assert run.returncode == 0, run.stderr
    (seen,) = [line for line in run.stdout.splitlines() if line.startswith("weights: ")]
    shares = re.fullmatch(r"weights: eyes (\d+)%, mouth (\d+)%", seen)
    assert sum(map(int, shares.groups())) in (99, 100, 101)
    assert "emotion:" in run.stdout
    assert "frames: 45 of 45 with a face (100%)" in run.stdout
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".png"]


def test_videos_are_predicted_without_a_model_of_ones_own(videos, tmp_path):
    paths = sorted((videos / "videos").glob("*happy*.mp4"))[:2]
    run = microx("predict", paths[0], "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("note: the network of microx: it learned from photographs")
    assert "frames: 45 of 45 with a face (100%)\n" in run.stdout
    run = microx("predict", *paths, tmp_path / "nowhere.mp4", "--out", tmp_path / "many")
    assert run.returncode == 0, run.stderr
    assert "2 of 3 recordings predicted" in run.stdout
    assert "caution: " in run.stdout
    assert len(pd.read_csv(tmp_path / "many" / "recordings.csv")) == 3


def test_training_goes_on_and_the_model_leaves(corpus, trained, tmp_path):
    given = ["--regions", "eyes,mouth", "--epochs", 1, "--inputs", "grey", "--continue"]
    run = microx("train", corpus, "--out", tmp_path, *given, trained / "model.keras")
    assert run.returncode == 0, run.stderr
    assert load_model(tmp_path)[1].continued_from == "model.keras"
    run = microx("export", tmp_path, "--to", "h5")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"exported: {tmp_path / 'model'}")
    assert [path.name for path in tmp_path.glob("*.h5")] == ["model.weights.h5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "rate=1"], "setting 'rate' is unknown; known: frames"),
        (["--set", "seed=3"], "setting 'seed' is unknown"),
        (["--set", "epochs"], "setting 'epochs': expected NAME=VALUE"),
        (["--set", "stride=0"], "stride must be a whole number from 1"),
        (["--set", "learning_rate=fast"], "learning_rate must be a number from 0 to 100; rec"),
        (["--set", "build=7"], "build must be arguments by name"),
        (["--set", "build.layers=7"], "build.layers is unknown; known: build.raw_pixels"),
        (["--model", "paper", "--set", "region_dropout=0.1"], "region_dropout is for compact"),
        (["--augment", "fly"], "augmentation 'fly' is unknown"),
        (["--occlude", "hat"], "occlusion 'hat' is unknown"),
        (["--regions", "eyes,left_eye"], "each region once; found eyes, left_eye"),
        (["--regions", "mouth,nose"], "regions nose asked for; the corpus holds mouth, face"),
        (["--continue", "gone.keras"], "gone.keras: expected"),
        (
            ["--model", "cnn6", "--set", "n_frames=4"],
            "n_frames must be 1 for this network; found 4",
        ),
    ],
)
def test_training_that_cannot_be_is_one_clear_line(
    small_corpus, tmp_path, monkeypatch, capfd, options, message
):
    monkeypatch.chdir(tmp_path)
    words = ["microx", "train", str(small_corpus.folder), "--out", "run", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", [*words, *options])
    with pytest.raises(SystemExit) as end:
        main()
    told = capfd.readouterr().err
    assert end.value.code == 1
    assert told.startswith("microx: ")
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run" / "model.keras").exists()


def test_inspect_tells_the_counts_and_draws_the_worst(corpus, tmp_path):
    told = microx("inspect", corpus)
    assert told.returncode == 0, told.stderr
    assert "videos: 21 done, 0 skipped" in told.stdout
    assert "the 10 worst of 21" in told.stdout
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("content hash: ")]
    drawn = microx("inspect", corpus, "--out", tmp_path / "looks", "--sheets", 2)
    assert drawn.returncode == 0, drawn.stderr
    assert line in drawn.stdout
    assert "sheets: the 2 worst of 21 videos" in drawn.stdout
    assert len(list((tmp_path / "looks" / "video_sheets").glob("*.png"))) == 2
    assert len(list((tmp_path / "looks" / "emotion_sheets").glob("*.png"))) == 7
    assert f"page: {tmp_path / 'looks' / 'index.html'}" in drawn.stdout
    wrong = microx("inspect", corpus, "--video", "S99")
    assert wrong.returncode == 1
    assert "none of id or path 'S99'" in wrong.stderr


def test_check_ends_with_a_table_and_fails_where_a_video_cannot_be_used(videos, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for path in sorted((videos / "videos").iterdir())[:12]:
        shutil.copy(path, folder)
    fine = microx("check", folder, "--faces", "--quick")
    assert fine.returncode == 0, fine.stderr
    assert "videos: 12: 12 fine, 0 with remarks, 0 cannot be used" in fine.stdout
    assert "and 2 more without remarks" in fine.stdout
    assert "5 of 5" in fine.stdout
    (folder / "a.mp4").write_text("no film")
    broken = microx("check", folder)
    assert broken.returncode == 1
    assert broken.stderr == ""
    table = broken.stdout[broken.stdout.index("remarks") :]
    assert table.splitlines()[1].startswith("a.mp4")
    assert "videos: 13, 18 s in all: 12 fine, 0 with remarks, 1 cannot be used" in table


def test_the_doctor_says_what_is_missing_and_fails_where_it_was_asked_for():
    run = microx("doctor", "--openface", "nowhere/FeatureExtraction")
    assert run.returncode == 1
    assert "the OpenFace that was named does not" in run.stdout
    assert "30 of 30 frames of a drawn face found" in run.stdout
    assert [line.split()[1] for line in run.stdout.splitlines() if line.startswith("openface")] == [
        "missing"
    ]


def test_the_doctor_outlives_a_broken_opencv(tmp_path, monkeypatch):
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})\n")
    places = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    run = microx("doctor")
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert "libGL.so.1: cannot open shared" in " ".join(run.stdout.split())
    assert "opencv-python-headless" in run.stdout
    assert "microx does not work here" in run.stdout


def test_every_setting_of_the_recipe_can_be_given(videos, tmp_path):
    out = tmp_path / "corpus"
    first = videos / "videos" / "S01_happy_1.mp4"
    (tmp_path / "few" / "happy").mkdir(parents=True)
    shutil.copy(first, tmp_path / "few" / "happy")
    (tmp_path / "csv" / "happy").mkdir(parents=True)
    shutil.copy(videos / "landmarks" / "S01_happy_1.csv", tmp_path / "csv" / "happy")
    given = ["--landmarks", "csv", "--landmarks-dir", tmp_path / "csv", "--faces", "all"]
    given += ["--fps", "native", "--max-gap", 2, "--occlude", "mask:0.5,scarf:0.5", "--seed", 4]
    given += ["--policy", "paper", "--regions", "mouth", "--size", 20, "--min-face", 5]
    run = microx("preprocess", tmp_path / "few", "--out", out, *given)
    assert run.returncode == 0, run.stderr
    assert "frames of faces each at its own time: 45 of 45 with crops (100.0%)" in run.stdout
    assert load_corpus(out).recipe == {
        "landmarks": "csv",
        "faces": "all",
        "regions": ["mouth"],
        "size": 20,
        "policy": "paper",
        "margin": MARGIN,
        "frame_rate": None,
        "min_face": 5.0,
        "max_gap": 2,
        "occlude": "mask:0.5,scarf:0.5",
        "occlude_seed": 4,
        "input_fps": None,
    }


def test_numbered_images_are_frames_where_a_rate_is_given(tmp_path):
    take = draw_take(2, "happy", n_frames=16)
    folder = tmp_path / "videos" / "happy" / "take1"
    folder.mkdir(parents=True)
    for place, frame in enumerate(take.frames[..., ::-1]):
        cv2.imwrite(str(folder / f"img{place}.png"), frame)
    given = [tmp_path / "videos", "--faces", "cropped", "--workers", 1]
    alone = microx("preprocess", *given, "--out", tmp_path / "alone")
    assert "the images in happy/take1 look like the frames of videos" in alone.stdout
    run = microx("preprocess", *given, "--out", tmp_path / "one", "--input-fps", 30)
    assert run.returncode == 0, run.stderr
    assert "videos: 1 done, 0 skipped" in run.stdout
    assert "look like the frames of videos" not in run.stdout
    (folder / "img4.png").unlink()
    again = microx("preprocess", *given, "--out", tmp_path / "one", "--input-fps", 30)
    assert "between the images of 1 video, and those after them" in again.stdout
    assert "move up in time: happy/take1 (4)" in again.stdout


def test_photographs_are_said_to_be_no_clips(tmp_path):
    for subject, emotion in enumerate(("happy", "sad", "fear")):
        (tmp_path / "photos" / emotion).mkdir(parents=True)
        frame = draw_take(subject, emotion, n_frames=16).frames[0, ..., ::-1]
        cv2.imwrite(str(tmp_path / "photos" / emotion / f"{subject}.png"), frame)
    out = tmp_path / "corpus"
    run = microx("preprocess", tmp_path / "photos", "--out", out, "--faces", "cropped")
    assert run.returncode == 0, run.stderr
    assert "caution: no video has the 10 frames of a clip" in run.stdout
    for command in ("train", "ablate"):
        refused = microx(command, out, "--out", tmp_path / "run")
        assert refused.returncode == 1
        assert "no video shows one face in 10 frames on end (at most in 1)" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_what_was_there_already_and_what_a_set_merged_is_said(videos, tmp_path):
    (tmp_path / "few" / "DIS").mkdir(parents=True)
    for path in (videos / "videos").glob("S01_*_1.mp4"):
        shutil.copy(path, tmp_path / "few" / "DIS")
    given = [tmp_path / "few", "--out", tmp_path / "c", "--label-set", "microx7"]
    run = microx("preprocess", *given, "--occlude", "mask:0.5")
    assert run.returncode == 0, run.stderr
    assert "label set microx7: DIS → contempt (7 videos)" in run.stdout
    n_worn = (load_corpus(tmp_path / "c").manifest["occluder"] == "mask").sum()
    assert f"with mask: {n_worn} of 7 videos" in run.stdout
    next((tmp_path / "few" / "DIS").iterdir()).unlink()
    again = microx("preprocess", *given, "--occlude", "mask:0.5")
    assert "videos: 6 done, 0 skipped; 6 of them were there already" in again.stdout
    assert "1 video no longer named: crops removed" in again.stdout


def test_what_help_tells_as_defaults_are_the_librarys(videos):
    help_text = " ".join(microx("preprocess", "--help").stdout.replace("│", " ").split())
    assert f"default: {MAX_GAP}." in help_text
    assert f"0: crop all; default: {MIN_FACE:g}." in help_text
    assert f"[default: {N_SHEETS}]" in microx("inspect", "--help").stdout


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, [], "expected a folder of videos; found nothing there"),
        ({"videos/readme.txt": ""}, [], "found no video file in it"),
        ({"videos/happy/a.mp4": "not a film"}, [], "none could be used"),
        (
            {"videos/a.mp4": "x", "l.csv": "path,emotion\na.mp4,smug\n"},
            ["--labels", "l.csv", "--label-set", "ekman7"],
            "emotion 'smug' is not in label set ekman7",
        ),
        (
            {"videos/a.mp4": "x", "l.csv": "path,emotion\nb.mp4,sad\n"},
            ["--labels", "l.csv"],
            "none fits: no such video",
        ),
        ({"videos/a.mp4": "x"}, ["--labels", "l.csv"], "expected a labels file; found nothing the"),
        ({"videos/sad/a.mp4": "x"}, ["--column", "emotion"], "expected NAME=TITLE"),
        ({"videos/sad/a.mp4": "x"}, ["--regions", "ear"], "region 'ear' is unknown"),
        ({"videos/sad/a.mp4": "x"}, ["--fps", "fast"], "--fps 'fast': expected frames a second"),
        ({"videos/sad/a.mp4": "x"}, ["--occlude", "hat"], "occlusion 'hat' is unknown"),
        ({"videos/sad/a.mp4": "x"}, ["--timeout", 9], "--timeout is for --landmarks openface; rec"),
        ({"videos/sad/a.mp4": "x"}, ["--landmarks", "csv"], "name it with --landmarks-dir"),
        (
            {"videos/sad/a.mp4": "x"},
            ["--landmarks", "openface", "--openface", "nowhere run"],
            "expected a runnable nowhere run",
        ),
        (
            {"videos/sad/a.mp4": "x", "corpus/thesis.txt": "x"},
            [],
            "corpus: expected a new or empty folder",
        ),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, monkeypatch, files, options, message):
    write(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    run = microx("preprocess", "videos", "--out", "corpus", *options)
    assert run.returncode == 1
    assert run.stderr.startswith("microx: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr


def test_where_nothing_could_be_used_nothing_is_counted(tmp_path):
    write(tmp_path, {"videos/a.mp4": "x", "l.csv": "path,emotion,subject\na.mp4,sad,A\n"})
    given = ["--labels", tmp_path / "l.csv", "--out", tmp_path / "c"]
    run = microx("preprocess", tmp_path / "videos", *given)
    assert run.returncode == 1
    told = run.stdout[run.stdout.index("videos: 0 done, 1 skipped") :].splitlines()
    assert len(told) == 2
    assert told[1].startswith("  skipped 1: expected a video that OpenCV can decode")


def test_one_subject_only_is_refused_with_what_to_do(videos, tmp_path):
    rows = (videos / "labels.csv").read_text().splitlines()
    one = [rows[0], *(row for row in rows[1:] if "S01" in row)]
    (tmp_path / "one.csv").write_text("\n".join(one) + "\n")
    out = tmp_path / "corpus"
    run = microx("preprocess", videos, "--labels", tmp_path / "one.csv", "--out", out)
    assert run.returncode == 0, run.stderr
    assert "videos: 7 done, 14 skipped" in run.stdout
    run = microx("ablate", out, "--out", tmp_path / "run")
    assert run.returncode == 1
    assert run.stderr.startswith("microx: ")
    assert "subject" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate", "nowhere", "--out", "run"], "expected a corpus folder with corpus.json"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "nowhere.mp4", "--model", "nowhere"], "nowhere"),
        (["evaluate", "nowhere", "nowhere"], "nowhere"),
        (["inspect", "nowhere"], "expected a corpus folder with corpus.json"),
        (["check", "nowhere"], "expected a folder of videos; found nothing there"),
    ],
)
def test_missing_things_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    run = microx(*arguments)
    assert run.returncode == 1
    assert run.stderr.startswith("microx: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


REFUSED = {
    "check file.csv": "expected a folder of videos; found a file there",
    "check https://a.b/c": "expected a folder of videos; found an address; download it first",
    "preprocess https://a.b/c --out new": "found an address; download it first",
    "preprocess . --out file.csv": "found a file there; name another --out",
    "preprocess . --out https://a.b/c": "found an address; name another --out",
    "preprocess . --labels https://a.b/c --out new": "expected a labels file; found an address; do",
    "train file.csv --out new": "corpus folder with corpus.json; found a file there",
    "train https://a.b/c --out new": "with corpus.json; found an address; download it first",
    "train . --out file.csv": "expected a folder to write to; found a file there",
    "ablate . --out file.csv/below": "file.csv on the way to it; name another --out",
    "evaluate nowhere . --out file.csv": "expected a folder to write to; found a file there",
    "evaluate https://a.b/c corpus": "expected a corpus folder with corpus.json",
    "predict https://a.b/c.mp4 --model nowhere": "expected a video file; found an address; downl",
    "predict . --model nowhere": "expected a .keras file or a folder that holds one; found nothing",
    "predict folder.onnx": "expected videos or images in this folder; found none",
    "predict image.png --model https://a.b/c": "a folder that holds one; found an address; downlo",
    "predict image.png --model nowhere --out file.csv": "found a file there; name another --out",
    "predict image.png --model nowhere --faces cropped --landmarks openface": "need landmarks 'd",
    "export nowhere --to onnx --out model.txt": "ends in .onnx, such as model.onnx",
    "export nowhere --to h5 --out model.h5": "ends in .weights.h5, such as model.weights.h5",
    "export nowhere --to tflite --out .tflite": "ends in .tflite, such as model.tflite",
    "export nowhere --to onnx --out file.csv/x.onnx": "expected a folder to write to; found a file",
    "export nowhere --to onnx --out folder.onnx": "expected the name of a file; found a folder th",
    "export nowhere --to onnx": "expected a .keras file or a folder that holds one; found nothing",
}


def test_what_cannot_be_is_refused_before_a_network_is_loaded(tmp_path):
    (tmp_path / "file.csv").write_text("path,emotion\n")
    (tmp_path / "folder.onnx").mkdir()
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((32, 32, 3), np.uint8))
    code = (
        "import sys, json\nfrom microx.cli.main import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['microx', *line.split()]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 1, (line, end.code)\n"
        "print('keras' in sys.modules)"
    )
    command = [sys.executable, "-c", code, json.dumps(list(REFUSED))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "False"
    told = run.stderr.splitlines()
    assert len(told) == len(REFUSED), run.stderr
    for line, found in zip(REFUSED, told, strict=True):
        assert found.startswith("microx: "), (line, found)
        assert REFUSED[line] in found, (line, found)


def test_ctrl_c_promises_nothing_where_the_next_run_begins_anew(corpus, tmp_path):
    out = tmp_path / "run"
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = listening + "from microx.cli.main import main; main()"
    command = [sys.executable, "-c", code, "train", corpus, "--out", out, "--epochs", 500]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), start_new_session=True, **pipes) as run:
        deadline = time.monotonic() + 120
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 130
    assert stderr.endswith("microx: stopped\n")


def test_ctrl_c_stops_in_one_line_and_the_next_run_goes_on(videos, tmp_path):
    out = tmp_path / "corpus"
    # A shell's background jobs ignore Ctrl-C, and so would what they start: hear it again.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = listening + "from microx.cli.main import main; main()"
    command = [sys.executable, "-c", code, "preprocess", str(videos), "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as run:
        deadline = time.monotonic() + 120
        while not list(out.glob("crops/*.h5")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "microx: stopped; the same command goes on from here" in stderr
    assert "Traceback" not in stderr
    refused = microx("ablate", out, "--out", tmp_path / "run")
    assert "preprocessing was cut off" in refused.stderr
    assert "videos: 21 done, 0 skipped" in microx("preprocess", videos, "--out", out).stdout
