"""Spotting from the command line."""

import sys

import pandas as pd
import pytest

from microx.cli.main import main


def run(capsys, monkeypatch, *arguments):
    """Exit code, stdout and stderr of a command."""
    monkeypatch.setattr(sys, "argv", ["microx", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


def test_long_videos_are_drawn_and_spotted_and_one_that_fails_stops_no_other(
    tmp_path, capsys, monkeypatch
):
    drawn = tmp_path / "long"
    command = ("synth", drawn, "--long", "--subjects", 1, "--seconds", 8)
    code, out, _ = run(capsys, monkeypatch, *command)
    assert code == 0
    assert f"intervals: {drawn}/intervals.csv" in out
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    looks = tmp_path / "looks"
    videos = (broken, drawn / "videos/S01.mp4")
    code, out, err = run(capsys, monkeypatch, "spot", *videos, "--out", looks)
    assert code == 1
    assert err.startswith(f"microx: {broken}")
    assert "S01.mp4: " in out
    assert "a face in 240 of 240 frames (100%)" in out
    assert "videos: 1 of 2 searched, 1 failed" in out
    assert set(pd.read_csv(looks / "S01.spots.csv")) >= {"onset_s", "apex_s", "offset_s", "kind"}
    assert (looks / "S01.spots.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("spot", "a/talk.mp4", "b/talk.mov"), "two videos are named talk"),
        (("synth", "long", "--long", "--mask"), "leave out --takes, --intensity"),
    ],
)
def test_what_cannot_be_is_refused(arguments, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, monkeypatch, *arguments)
    assert code == 1
    assert told in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "spotting needs the true intervals: --intervals intervals.csv"),
        (("--model", "cnn6"), "spotting trains no network"),
        (("--intervals", "none.csv"), "none.csv: expected a CSV of intervals; found nothing there"),
    ],
)
def test_the_experiment_refuses_what_it_does_not_use(
    options, told, mouths, tmp_path, capsys, monkeypatch
):
    command = ("experiment", "spotting", mouths.folder, "--out", tmp_path / "run", *options)
    code, _, err = run(capsys, monkeypatch, *command)
    assert code == 1
    assert told in err
