"""A bar in a terminal or a notebook, and nothing elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from microx.corpus.corpus import Corpus
from microx.progress import tell_progress
from microx.training.fit import train

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

BUILD = """
import sys, microx
corpus = microx.build_corpus(sys.argv[1], sys.argv[2], size=16, **eval(sys.argv[3]))
print("made", corpus)
"""
RUN = """
import sys, microx
corpus = microx.load_corpus(sys.argv[1])
settings = dict(epochs=1, regions=("mouth",), **eval(sys.argv[3]))
microx.train(corpus, sys.argv[2] + "/train", **settings)
microx.evaluate(corpus, **settings)
settings["regions"] = "all"
microx.run_ablation(corpus, sys.argv[2] + "/run", **settings)
"""
CALLED = "dict(progress=lambda *step: print('called', *step))"


def run_in_terminal(code: str, *arguments: object) -> tuple[str, str]:
    """Run Python with a real terminal as stderr; return stdout and what the terminal shows."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux, when the other side is closed
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None
        told = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return told, shown.decode()


def run_in_pipe(code: str, *arguments: object) -> tuple[str, str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def videos(takes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, path in takes.items():
        (folder / name).mkdir()
        shutil.copy(path, folder / name)
    return folder


def test_a_terminal_shows_a_bar(videos, tmp_path):
    told, shown = run_in_terminal(BUILD, videos, tmp_path / "c", "{}")
    assert "preprocessing" in shown
    assert "6/6" in shown
    assert "videos/s" in shown
    assert told.startswith("made Corpus(")  # stdout is the user's own


@pytest.mark.parametrize("run", [run_in_terminal, run_in_pipe])
def test_silence_and_callables_are_heeded(run, videos, tmp_path):
    run_in_pipe(BUILD, videos, tmp_path / "c", "{}")
    told, shown = run(BUILD, videos, tmp_path / "c", "dict(progress=False)")
    assert (told[:5], shown) == ("made ", "")
    told, shown = run(BUILD, videos, tmp_path / "c", CALLED)
    assert told.count("called") == 6
    assert shown == ""


def test_nothing_goes_to_a_file(videos, tmp_path):
    assert run_in_pipe(BUILD, videos, tmp_path / "c", "{}")[1] == ""


def test_trainings_show_a_bar_each_and_tensorflow_says_nothing(mouths: Corpus, tmp_path):
    _, shown = run_in_terminal(RUN, mouths.folder, tmp_path / "loud", "{}")
    for what in ("training", "evaluating", "ablate"):
        assert what in shown
    assert "tensorflow" not in shown.lower()
    assert run_in_pipe(RUN, mouths.folder, tmp_path / "quiet", "{}")[1] == ""


def test_a_prediction_shows_a_bar(mouths: Corpus, takes, tmp_path):
    model = train(mouths, tmp_path, epochs=1)
    code = "import sys, microx; print(microx.predict_video(*sys.argv[1:]))"
    told, shown = run_in_terminal(code, takes["happy"], model)
    assert told.startswith("Prediction(")
    assert "looking" in shown
    assert "frames/s" in shown


def test_the_command_shows_one_bar(videos, tmp_path):
    code = "import sys; from microx.__main__ import main; sys.argv[0] = 'microx'; main()"
    told, shown = run_in_terminal(code, "preprocess", videos, "--out", tmp_path / "c")
    assert "videos: 6 done" in told
    assert shown == ""  # its own bar goes where its words go


@pytest.mark.parametrize(
    "code", ["microx.build_microx", "microx.build_microx(('mouth',), size=32)"]
)
def test_keras_wakes_in_silence(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import microx; {code}"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_true_is_as_none(capsys):
    with tell_progress(True, "training", "epochs") as told:  # under pytest, no terminal
        assert told is None


def test_a_notebook_shows_one_bar_below_the_cell(videos, tmp_path):
    """A real kernel, run as Jupyter runs it, with rich's own notebook extras missing."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    calls = [
        f"microx.build_corpus({str(videos)!r}, {str(tmp_path / 'c')!r}, size=16{more})"
        for more in ("", ", progress=False")
    ]
    cells = [
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": str(k),
            "source": f"import microx; _ = {call}",
        }
        for k, call in enumerate(calls)
    ]
    notebook = tmp_path / "one.ipynb"
    notebook.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    run = "from nbclient.cli import main; main()"
    command = [sys.executable, "-c", run, "--inplace", str(notebook)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    loud, silent = [cell["outputs"] for cell in json.loads(notebook.read_text())["cells"]]
    assert silent == []
    (bar,) = loud
    assert "6/6" in "".join(bar["data"]["text/plain"])
