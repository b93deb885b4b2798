"""The command line as a person meets it: real processes, real files."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest


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
    assert "subjects: 3" in run.stdout
    return out


@pytest.fixture(scope="module")
def trained(corpus):
    out = corpus.parent / "trained"
    run = microx("train", corpus, "--out", out, "--regions", "mouth,face", "--epochs", 2)
    assert run.returncode == 0, run.stderr
    return out


def test_the_main_job_ends_with_a_table_and_a_report(corpus):
    run_folder = corpus.parent / "run"
    run = microx("ablate", corpus, "--out", run_folder, "--regions", "all", "--epochs", 2)
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(run_folder / "results.csv")
    assert table["name"].tolist() == ["regions+face", "majority class"]
    assert "majority class" in run.stdout
    assert str((run_folder / "report.html").resolve()) in run.stdout
    again = microx("report", run_folder, "--out", corpus.parent / "again.html")
    assert again.returncode == 0, again.stderr
    assert (corpus.parent / "again.html").stat().st_size > 10_000


def test_a_trained_model_is_scored_on_people_it_never_saw(corpus, trained):
    run = microx("evaluate", trained, corpus, "--out", corpus.parent / "scores")
    assert run.returncode == 0, run.stderr
    assert "majority class" in run.stdout
    assert len(pd.read_csv(corpus.parent / "scores" / "predictions.csv")) == 28


def test_a_trained_model_predicts_a_video(corpus, trained, videos, tmp_path):
    video = sorted((videos / "videos").glob("*happy*.mp4"))[0]
    run = microx("predict", video, "--model", trained, "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert "emotion:" in run.stdout
    assert "frames: 45 of 45 with a face (100%)" in run.stdout
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".png"]


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
        ({"videos/a.mp4": "x"}, ["--labels", "l.csv"], "expected a labels file; found none there"),
        ({"videos/sad/a.mp4": "x"}, ["--column", "emotion"], "expected NAME=TITLE"),
        ({"videos/sad/a.mp4": "x"}, ["--regions", "ear"], "region 'ear' is unknown"),
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
    ],
)
def test_missing_things_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    run = microx(*arguments)
    assert run.returncode == 1
    assert run.stderr.startswith("microx: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


def test_ctrl_c_stops_in_one_line_and_the_next_run_goes_on(videos, tmp_path):
    out = tmp_path / "corpus"
    # A shell's background jobs ignore Ctrl-C, and so would what they start: hear it again.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = listening + "from microx.cli import main; main()"
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
