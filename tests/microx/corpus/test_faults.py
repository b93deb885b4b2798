"""Runs of microx preprocess that are killed, doubled or starved: nothing good is lost."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from microx import build_corpus, load_corpus
from microx.corpus.storage import write_crops
from microx.errors import CorpusError, InputError
from microx.labels.labels import read_labels
from microx.preprocessing.pipeline import stream_video


@pytest.fixture(scope="module")
def videos(takes, tmp_path_factory):
    """Class folders of the six drawn takes."""
    folder = tmp_path_factory.mktemp("faults") / "videos"
    for emotion, path in takes.items():
        (folder / emotion).mkdir(parents=True)
        shutil.copy(path, folder / emotion)
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory):
    return build_corpus(read_labels(videos), tmp_path_factory.mktemp("whole") / "c")


class Run:
    """A running microx preprocess, in a process group of its own."""

    def __init__(self, videos, out, *options):
        command = [sys.executable, "-m", "microx", "preprocess", videos, "--out", out, *options]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def is_running(self):
        return self.process.poll() is None

    def members(self, word=""):
        """Processes of the group whose command holds a word."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            if group == self.process.pid and word in command:
                found.append(int(folder.name))
        return found

    def kill(self, target, choice):
        """Kill -9 the group, the parent only, or a worker only; return whether one was there."""
        if target == "group":
            os.killpg(self.process.pid, signal.SIGKILL)
            return True
        targets = [self.process.pid] if target == "parent" else self.members("popen_loky_posix")
        if not targets:
            return False
        os.kill(choice(sorted(targets)), signal.SIGKILL)
        return True

    def wait(self):
        """Wait for the end; return the exit code, stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=120)
        return self.process.returncode, stdout, stderr


@contextmanager
def started(videos, out, *options):
    run = Run(videos, out, *options)
    try:
        yield run
    finally:
        if run.members():
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.communicate()


def is_one_line(stderr):
    return stderr.startswith("microx: ") and stderr.count("\n") == 1


def finish(videos, out):
    """Run to the end and return the content's hash."""
    with started(videos, out, "--workers", 2) as run:
        code, _, stderr = run.wait()
    assert (code, stderr) == (0, "")
    return load_corpus(out).content_hash()


def kill_and_go_on(videos, folder, n_kills, seed):
    """Kill runs at random moments, `n_kills` times; when a corpus is done, begin another.

    Returns the contents' hashes and, of each kill, its target and how many videos were done.
    """
    rng = random.Random(seed)
    hashes, kills = [], []
    with ExitStack() as runs:  # what outlives its parent meets the next runs
        while len(kills) < n_kills:
            target = ("group", "worker", "parent")[len(kills) % 3]
            out = folder / str(len(hashes))
            run = runs.enter_context(started(videos, out, "--workers", 2))
            early = rng.random() < 0.2  # a few before they have written anything
            while run.is_running and not (early or run.members("popen_loky_posix")):
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 2.5))
            n_done = len(list((out / "crops").glob("[!.]*.h5")))
            if run.is_running and run.kill(target, rng.choice):
                kills.append((target, n_done))
            if run.process.wait() == 0:
                assert run.wait()[2] == ""
                hashes.append(load_corpus(out).content_hash())
    hashes.append(finish(videos, folder / str(len(hashes))))
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    return hashes, kills


def test_killed_runs_come_to_the_same_end(videos, undisturbed, tmp_path):
    hashes, kills = kill_and_go_on(videos, tmp_path, 3, seed=4)
    assert set(hashes) == {undisturbed.content_hash()}, kills


@pytest.mark.slow
def test_twenty_kills_lose_nothing(videos, undisturbed, tmp_path):
    hashes, kills = kill_and_go_on(videos, tmp_path, 20, seed=20)
    print(kills)
    assert set(hashes) == {undisturbed.content_hash()}, kills


def writers_of(folder, pattern):
    """Processes that hold a file of this name open."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = Path(os.readlink(path))
        except OSError:
            continue  # it has been closed meanwhile
        if target.parent == folder and target.match(pattern):
            found.add(int(path.parts[2]))
    return found


@pytest.mark.slow
def test_a_video_that_kills_its_process_is_a_row(videos, ffmpeg, tmp_path):
    """Such as one that is too large for the memory: whoever works on it is killed."""
    shutil.copytree(videos, tmp_path / "v")
    sad = tmp_path / "v" / "sad" / "sad.mp4"
    ffmpeg("-stream_loop", 8, "-i", sad, "-c", "copy", tmp_path / "v" / "happy" / "long.mp4")
    out, killed = tmp_path / "c", set()
    with started(tmp_path / "v", out, "--workers", 2) as run:
        while run.is_running:
            for pid in writers_of(out / "crops", ".happy_long.*.part.h5"):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.02)
        code, _, stderr = run.wait()
    assert (code, stderr, len(killed)) == (0, "", 2)
    rows = load_corpus(out).manifest.set_index("path")
    assert rows["status"].tolist().count("done") == 6
    assert rows.loc["happy/long.mp4", "reason"].startswith("its process was killed,")
    finish(tmp_path / "v", out)
    assert load_corpus(out).manifest["status"].eq("done").all()


def stderr_of(videos, out, *options):
    """Run to the end, which must be a failure, and return what it says."""
    with started(videos, out, *options) as run:
        code, _, stderr = run.wait()
    assert code == 1
    assert is_one_line(stderr), stderr
    return stderr


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_second_run_and_a_reader_are_turned_away(videos, undisturbed, tmp_path):
    out = tmp_path / "c"
    with started(videos, out, "--workers", 1) as first:
        wait_for(lambda: (out / "corpus.json").is_file())
        os.kill(first.process.pid, signal.SIGSTOP)  # it holds its lock, at work or not
        assert "another microx preprocess is writing this corpus" in stderr_of(videos, out)
        with pytest.raises(CorpusError, match=r"expected manifest\.csv; found none: .*at work"):
            load_corpus(out)
        os.kill(first.process.pid, signal.SIGCONT)
        assert first.wait()[0] == 0
    assert load_corpus(out).content_hash() == undisturbed.content_hash()


def test_a_stop_by_ctrl_c_is_one_line_and_goes_on(videos, undisturbed, tmp_path):
    out = tmp_path / "c"
    with started(videos, out, "--workers", 2) as run:
        wait_for(lambda: list((out / "crops").glob("[!.]*.h5")) or not run.is_running)
        os.killpg(run.process.pid, signal.SIGINT)
        code, _, stderr = run.wait()
    assert code in (0, 130)
    assert stderr in ("", "microx: stopped; the same command goes on from here\n")
    assert finish(videos, out) == undisturbed.content_hash()


def test_what_killed_runs_left_is_removed(videos, undisturbed, tmp_path):
    shutil.copytree(undisturbed.folder, tmp_path / "c")
    leftovers = [
        tmp_path / "c" / ".manifest.0123456789ab.part.csv",
        tmp_path / "c" / "crops" / ".happy_happy.0123456789ab.part.h5",
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    again = build_corpus(read_labels(videos), tmp_path / "c")
    assert again.content_hash() == undisturbed.content_hash()
    assert not any(path.exists() for path in leftovers)


@pytest.mark.parametrize(
    "left", [(".lock",), (".lock", ".corpus.0123456789ab.part.json"), (".lock", "crops")]
)
def test_a_run_killed_before_it_wrote_anything_is_no_obstacle(left, videos, undisturbed, tmp_path):
    (tmp_path / "c").mkdir()
    for name in left:
        path = tmp_path / "c" / name
        path.mkdir() if name == "crops" else path.touch()
    again = build_corpus(read_labels(videos), tmp_path / "c")
    assert again.content_hash() == undisturbed.content_hash()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: (c / "manifest.csv").unlink(),
        lambda c: (c / "manifest.csv").write_bytes(b"\x00half\xff"),
        lambda c: (c / "corpus.json").unlink(),
        lambda c: (c / "crops" / "sad_sad.h5").unlink(),
        lambda c: truncate(c / "crops" / "sad_sad.h5"),
        lambda c: (c / "crops" / "sad_sad.h5").write_bytes(b""),
        lambda c: (c / "crops" / "sad_sad.h5").write_text("no"),
        lambda c: shutil.copy(c / "crops" / "fear_fear.h5", c / "crops" / "sad_sad.h5"),
        lambda c: shutil.rmtree(c / "crops"),
    ],
)
def test_a_damaged_corpus_is_mended_by_the_same_command(damage, videos, undisturbed, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(undisturbed.folder, folder)
    damage(folder)
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "crops").glob("fear*")}
    again = build_corpus(read_labels(videos), folder)
    assert again.content_hash() == undisturbed.content_hash()
    assert all((folder / "crops" / name).stat().st_mtime_ns == at for name, at in kept.items())


def test_a_broken_description_is_not_overwritten(videos, undisturbed, tmp_path):
    shutil.copytree(undisturbed.folder, tmp_path / "c")
    truncate(tmp_path / "c" / "corpus.json")
    before = (tmp_path / "c" / "corpus.json").read_bytes()
    said = stderr_of(videos, tmp_path / "c")
    assert re.search(r"corpus\.json: expected .* delete that file and run microx prepr", said)
    assert (tmp_path / "c" / "corpus.json").read_bytes() == before
    assert (tmp_path / "c" / "manifest.csv").is_file()
    (tmp_path / "c" / "corpus.json").unlink()
    again = build_corpus(read_labels(videos), tmp_path / "c")
    assert again.content_hash() == undisturbed.content_hash()


@contextmanager
def small_disk(folder, size):
    """Mount a file system of this size, which only root may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield lambda more: subprocess.run(
            ["mount", "-o", f"remount,size={more}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["900k", "2500k"])
def test_a_full_disk_is_one_line_and_keeps_what_is_done(size, videos, undisturbed, tmp_path):
    out = tmp_path / "disk" / "c"
    with small_disk(tmp_path / "disk", size) as resize:
        said = stderr_of(videos, out, "--workers", 2)
        assert re.match(rf"microx: {out}.*: could not be written: .*make room", said)
        assert not list(out.rglob(".*.part*"))
        done = {path: path.stat().st_mtime_ns for path in (out / "crops").glob("*.h5")}
        assert size != "2500k" or done
        resize("20m")
        assert finish(videos, out) == undisturbed.content_hash()
        assert all(path.stat().st_mtime_ns == at for path, at in done.items())


@pytest.mark.parametrize("size", range(40, 1000, 60))
def test_no_moment_of_a_full_disk_is_too_much_for_hdf5(size, takes, tmp_path):
    with small_disk(tmp_path / "disk", f"{size}k") as resize:
        target = tmp_path / "disk" / "x.h5"
        with pytest.raises(CorpusError, match=r"x\.h5: could not be written: .*No space left"):
            write_crops(target, stream_video(takes["happy"]), {})
        assert not list((tmp_path / "disk").iterdir())
        resize("4m")
        assert write_crops(target, stream_video(takes["happy"]), {})["video"]["n_frames"] == 20


def test_a_limit_on_files_is_one_line(videos, tmp_path):
    """What a full disk is to one who may not mount any."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "sys.argv[0] = 'microx'; from microx.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "preprocess", videos, "--out", tmp_path / "c"]
    run = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True)
    assert run.returncode == 1
    assert is_one_line(run.stderr), run.stderr
    assert ".h5: could not be written: " in run.stderr
    assert not list((tmp_path / "c" / "crops").iterdir())


@pytest.mark.parametrize("place", ["a file/c", "a file", "/proc/microx", "/dev/null/c"])
def test_an_out_that_cannot_be_a_folder_is_one_line(place, videos, tmp_path):
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(
        (CorpusError, InputError), match=r"(to write to;|be written:) .*name another `out`"
    ):
        build_corpus(read_labels(videos), tmp_path / place)
    assert (tmp_path / "a file").read_text() == "mine"


def test_a_read_only_disk_is_one_line(videos, tmp_path):
    with small_disk(tmp_path / "disk", "64k"):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        with pytest.raises(InputError, match=r"expected a folder to write to; .*not be written to"):
            build_corpus(read_labels(videos), tmp_path / "disk" / "c")


def test_a_corpus_that_vanishes_while_it_is_written_is_one_line(videos, tmp_path):
    def remove(done, total, video_id):
        if done == 1:
            (tmp_path / "c").rename(tmp_path / "moved")

    with pytest.raises(CorpusError, match=r"c/crops: expected the corpus's folder; found none"):
        build_corpus(read_labels(videos), tmp_path / "c", progress=remove)
