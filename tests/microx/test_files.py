import pytest

from microx.files import whole_file


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
