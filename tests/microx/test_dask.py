"""Preprocessing on Dask's workers: a real scheduler and real workers on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from microx import build_corpus
from microx.errors import CorpusError
from microx.labels.labels import read_labels

pytest.importorskip("distributed")
pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def labels(takes):
    """The six drawn takes, labelled by name."""
    folder = next(iter(takes.values())).parent
    rows = [f"{path.name},{emotion}" for emotion, path in takes.items()]
    (folder / "labels.csv").write_text("\n".join(["path,emotion", *rows]) + "\n")
    return read_labels(folder, folder / "labels.csv")


@pytest.fixture(scope="module")
def alone(labels, tmp_path_factory):
    """The content's hash, made by one process."""
    return build_corpus(labels, tmp_path_factory.mktemp("alone") / "c").content_hash()


@contextmanager
def dask(program, *arguments, **options):
    """Run a program of Dask's until the end of the block."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *map(str, arguments)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **silent, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def cluster(n_workers, **options):
    """Run a scheduler and workers; yield its address and the workers' processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with ExitStack() as running:
        plain = ("--host", "127.0.0.1", "--no-dashboard")
        port = address.rpartition(":")[2]
        scheduler = running.enter_context(dask("scheduler", *plain, "--port", port))
        flags = ("--nthreads", 1, "--no-nanny", *plain)
        workers = [
            running.enter_context(dask("worker", address, *flags, **options))
            for _ in range(n_workers)
        ]
        yield address, scheduler, workers


@pytest.fixture(scope="module")
def running():
    with cluster(2) as parts:
        yield parts


def test_workers_elsewhere_give_the_same_content(running, labels, alone, tmp_path):
    steps = []
    corpus = build_corpus(
        labels, tmp_path / "c", dask=running[0], progress=lambda *step: steps.append(step)
    )
    assert corpus.content_hash() == alone
    assert [step[:2] for step in steps] == [(done, 6) for done in range(1, 7)]
    assert {step[2] for step in steps} == set(corpus.manifest["video_id"])


def test_a_fault_of_one_video_is_its_row(running, takes, tmp_path):
    (tmp_path / "v" / "sad").mkdir(parents=True)
    (tmp_path / "v" / "sad" / "x.mp4").write_text("not a film")
    (tmp_path / "v" / "sad" / "good.mp4").symlink_to(takes["sad"])
    corpus = build_corpus(read_labels(tmp_path / "v"), tmp_path / "c", dask=running[0])
    assert corpus.manifest["status"].tolist() == ["done", "skipped"]


def test_a_killed_worker_loses_nothing(running, labels, alone, tmp_path):
    def kill(done, total, video_id):
        if done == 2:
            os.kill(running[2][0].pid, signal.SIGKILL)

    corpus = build_corpus(labels, tmp_path / "c", dask=running[0], progress=kill)
    assert corpus.content_hash() == alone


def test_a_lost_scheduler_is_one_line_and_keeps_what_is_done(labels, alone, tmp_path):
    with cluster(1) as (address, scheduler, _):

        def kill(done, total, video_id):
            if done == 2:
                scheduler.kill()

        with pytest.raises(CorpusError, match=r"dask tcp:.*: the scheduler was lost") as raised:
            build_corpus(labels, tmp_path / "c", dask=address, progress=kill)
    assert "\n" not in str(raised.value)
    assert len(list((tmp_path / "c" / "crops").glob("[!.]*.h5"))) >= 2
    assert build_corpus(labels, tmp_path / "c").content_hash() == alone


def test_workers_without_microx_are_one_line(labels, tmp_path):
    # An empty package of this name, found first, hides the true one.
    (tmp_path / "microx").mkdir()
    (tmp_path / "microx" / "__init__.py").touch()
    with cluster(1, cwd=tmp_path) as (address, _, _):
        with pytest.raises(CorpusError, match=r"; found (ModuleNotFound|Attribute)Error.*install"):
            build_corpus(labels, tmp_path / "c", dask=address)


def test_a_lost_scheduler_is_one_line_on_the_terminal(takes, tmp_path):
    (tmp_path / "sad").mkdir()
    for place in range(8):
        (tmp_path / "sad" / f"{place}.mp4").write_bytes(takes["sad"].read_bytes() + bytes([place]))
    command = [sys.executable, "-m", "microx", "preprocess", tmp_path, "--out", tmp_path / "c"]
    with cluster(1) as (address, scheduler, _):
        run = subprocess.Popen([*command, "--dask", address], text=True, stderr=subprocess.PIPE)
        while run.poll() is None and not list((tmp_path / "c").glob("crops/[!.]*.h5")):
            time.sleep(0.01)
        scheduler.kill()
        stderr = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert stderr.startswith(f"microx: dask {address}: the scheduler was lost; what is done is"), (
        stderr
    )
    assert stderr.count("\n") == 1


@pytest.fixture
def impatient(monkeypatch):
    """Wait for a scheduler or a worker a second only."""
    monkeypatch.setattr("microx.parallel.DASK_TIMEOUT_S", 1)


@pytest.mark.usefixtures("impatient")
def test_a_scheduler_without_workers_is_one_line(labels, tmp_path):
    with cluster(0) as (address, _, _), pytest.raises(CorpusError, match="found none"):
        build_corpus(labels, tmp_path / "c", dask=address)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "ftp://a", "tcp://:x", ""])
def test_no_scheduler_is_one_line(address, labels, tmp_path):
    with pytest.raises(CorpusError, match=f"dask {re.escape(address)}: expected") as raised:
        build_corpus(labels, tmp_path / "c", dask=address)
    assert "\n" not in str(raised.value)
