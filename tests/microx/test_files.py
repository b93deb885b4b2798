import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from microx.errors import InputError
from microx.files import (
    check_new_folder,
    hold_folder,
    is_leftover,
    remove_leftovers,
    say_absence,
    scratch_file,
    whole_file,
)


def test_a_file_appears_at_the_end_and_not_before(tmp_path):
    with whole_file(tmp_path / "a.csv") as partial:
        partial.write_text("new")
        assert not (tmp_path / "a.csv").exists()
        assert partial.suffix == ".csv"
    assert (tmp_path / "a.csv").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_failure_leaves_the_old_file(tmp_path):
    (tmp_path / "a.csv").write_text("old")

    def fail():
        with whole_file(tmp_path / "a.csv") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_block_that_writes_nothing_is_told(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, whole_file(tmp_path / "a.csv"):
        pass
    assert raised.value.errno == errno.ENOENT
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.csv", "a", "a.b.c.h5", "new\nline.csv", "Größe 漢字.csv"])
def test_leftovers_are_known_by_their_names(tmp_path, name):
    with whole_file(tmp_path / name) as partial, scratch_file(tmp_path / name) as scratch:
        partial.touch()
        assert is_leftover(partial.name)
        assert is_leftover(scratch.name)
    assert not is_leftover(name)


@pytest.mark.parametrize("name", [".part.csv", "a.part.csv", ".a.part.csv", ".a.xyz.part.csv"])
def test_files_of_others_are_no_leftovers(name):
    assert not is_leftover(name)


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    killed = [f".a.{os.urandom(6).hex()}.part{ending}" for ending in (".csv", ".h5", "")]
    for name in (*killed, "a.csv", ".hidden", "b.part.csv"):
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.csv", "b.part.csv"]
    assert remove_leftovers(tmp_path / "nowhere") == 0


HOLD = """
import sys, time
from microx.files import hold_folder
with hold_folder(sys.argv[1]) as is_held:
    print(is_held, flush=True)
    time.sleep(60)
"""


def test_a_hold_keeps_others_out_and_falls_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with hold_folder(tmp_path) as is_held:
            assert not is_held
        holder.kill()
        holder.wait()
    with hold_folder(tmp_path) as is_held:  # the file that the killed one left says nothing
        assert is_held
        with hold_folder(tmp_path) as twice:
            assert not twice
    with hold_folder(tmp_path) as is_held:
        assert is_held


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks without flock")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_lets_everyone_in(tmp_path, monkeypatch, error):
    import fcntl

    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_folder(tmp_path) as one, hold_folder(tmp_path) as other:
        assert one
        assert other


def test_a_folder_that_is_not_there_cannot_be_held(tmp_path):
    with pytest.raises(FileNotFoundError), hold_folder(tmp_path / "nowhere"):
        pass


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("https://a.b/c.mp4", "an address; download it first"),
        (Path("https://a.b/c.mp4"), "an address; download it first"),  # it has one slash left
        ("s3://bucket/c", "an address; download it first"),
        ("a/b.mp4", "nothing there"),
        ("/a/b.mp4", "nothing there"),
        ("C:/videos", "nothing there"),
        ("S01:a.mp4", "nothing there"),
        ("", "nothing there"),
    ],
)
def test_an_address_is_told_from_a_path(path, found):
    assert say_absence(path) == found


def test_a_folder_named_like_an_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "S01:").mkdir()
    assert say_absence("S01:/a.mp4") == "nothing there"
    check_new_folder("S01:/out")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("file", "a file there"),
        ("file/below", "the file .*file on the way to it"),
        ("file/far/below", "the file .*file on the way to it"),
        ("dangling", "a file there"),
        ("https://a.b/c", "an address"),
    ],
)
def test_what_cannot_be_a_folder_is_refused(path, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InputError, match=f"expected a folder to write to; found {found}; name"):
        check_new_folder(path)
    assert not (tmp_path / "https:").exists()


@pytest.mark.parametrize("path", ["", ".", "new", "new/newer", "there", "there/new", "linked"])
def test_what_can_be_a_folder_is_left_alone(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "linked").symlink_to("there")
    check_new_folder(path)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may not be written to"):
        check_new_folder(tmp_path / "new")
