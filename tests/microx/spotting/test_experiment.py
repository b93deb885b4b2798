"""The experiment on drawn subjects."""

import json

import pandas as pd
import pytest

from microx.errors import InputError
from microx.spotting.experiment import read_intervals, run_spotting


@pytest.fixture(scope="module")
def run(drawn, faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return run_spotting(faces, drawn / "intervals.csv", out, n_folds=3, progress=False)


def test_scores_are_told_and_written(run):
    assert run.table["kind"].tolist() == ["overall", "micro", "macro"]
    assert run.table["n_intervals"].tolist() == [4, 2, 2]
    assert run.table["f1"][0] > 0.5
    written = pd.read_csv(run.folder / "spotting.csv")
    assert written["f1"].tolist() == pytest.approx(run.table["f1"].tolist())
    told = json.loads((run.folder / "spotting.json").read_text())
    assert len(told["thresholds"]) == told["n_folds"] == 3
    assert told["minutes"] == pytest.approx(0.8, abs=0.01)
    assert 0 <= told["presence_accuracy"] <= 1
    spots = pd.read_csv(run.folder / "spots.csv")
    assert set(spots["video_id"]) <= {"S01", "S02", "S03"}


def test_few_subjects_are_cautioned(run):
    assert run.cautions[0].startswith("3 subjects: the intervals are wide")
    assert "2 micro-expressions to be found" in run.cautions[1]


def test_intervals_may_name_the_folder_of_videos_or_not(drawn, faces, tmp_path):
    table = pd.read_csv(drawn / "intervals.csv")
    bare = tmp_path / "bare.csv"
    table.assign(path=table["path"].str.removeprefix("videos/")).to_csv(bare, index=False)
    one, other = (read_intervals(path, faces) for path in (drawn / "intervals.csv", bare))
    assert one.equals(other)
    assert one["onset"].tolist() == table["onset"].tolist()


ROW = "videos/S01.mp4,1,2,3,micro\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,onset,apex,kind\n", "found no offset"),
        ("path,onset,apex,offset,kind\nx.mp4,1,2,3,micro\n", "found x.mp4; their paths"),
        (f"path,onset,apex,offset,kind\n{ROW}videos/S01.mp4,5,4,6,micro\n", "row 3: expected"),
        ("path,onset,apex,offset,kind\nvideos/S01.mp4,1,2,3,tiny\n", "kind tiny"),
        ("path,onset,apex,offset,kind\nvideos/S01.mp4,,2,3,micro\n", "onset nan"),
    ],
)
def test_intervals_that_make_no_sense_are_refused(faces, tmp_path, text, told):
    path = tmp_path / "intervals.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_intervals(path, faces)


def test_missing_intervals_and_too_many_folds_are_refused(drawn, faces, tmp_path):
    with pytest.raises(InputError, match="expected a CSV of intervals; found nothing there"):
        read_intervals(tmp_path / "none.csv", faces)
    with pytest.raises(InputError, match="from 2 to the number of subjects, 3; received 4"):
        run_spotting(faces, drawn / "intervals.csv", tmp_path / "run", n_folds=4, progress=False)
