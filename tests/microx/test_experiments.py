import json

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError, SplitError
from microx.experiments import read_run, region_sets, row_folder, run_ablation
from microx.schema import DEFAULT_REGIONS

ARGUMENTS = {"regions": "full", "epochs": 1, "n_frames": 2, "stride": 10, "augment": None}


@pytest.fixture(scope="module")
def run(mouths, tmp_path_factory):
    """The mouth and its shuffled control, one epoch each."""
    folder = tmp_path_factory.mktemp("run") / "RUN"
    steps = []
    table = run_ablation(
        mouths, folder, shuffle_labels=True, progress=lambda *step: steps.append(step),
        **ARGUMENTS,
    )  # fmt: skip
    return folder, table, steps


def test_region_sets_of_the_paper():
    sets = region_sets("paper", DEFAULT_REGIONS)
    assert list(sets) == [
        "left_eye",
        "right_eye",
        "nose",
        "mouth",
        "face",
        "regions",
        "regions+face",
    ]
    assert sets["mouth"] == ("mouth",)
    assert sets["regions"] == ("left_eye", "right_eye", "nose", "mouth")
    assert sets["regions+face"] == DEFAULT_REGIONS


def test_other_region_sets():
    assert region_sets("all", DEFAULT_REGIONS) == {"regions+face": DEFAULT_REGIONS}
    assert region_sets("all", ("mouth", "nose")) == {"mouth+nose": ("mouth", "nose")}
    full = region_sets("full", DEFAULT_REGIONS)
    assert len(full) == 31 == len(set(full.values()))
    with pytest.raises(InputError, match="the corpus lacks left_eye, right_eye, nose; preproc"):
        region_sets("paper", ("mouth", "face"))
    with pytest.raises(InputError, match="all, paper or full; found 'most'"):
        region_sets("most", DEFAULT_REGIONS)


def test_table_has_a_row_per_region_set_and_the_baseline(run):
    folder, table, _ = run
    names = ["mouth", "mouth, labels shuffled", "majority class"]
    assert list(table["name"]) == names
    assert list(table) == [
        *("name", "regions", "protocol", "n_train", "n_test", "accuracy", "uar", "uf1"),
        *("recall_neutral", "recall_happy", "recall_sad"),
        *("video_accuracy", "video_uar", "video_uf1", "n_parameters"),
    ]
    baseline = table.iloc[-1]
    assert baseline["accuracy"] == baseline["uar"] == pytest.approx(1 / 3)
    assert sorted(baseline[["recall_neutral", "recall_happy", "recall_sad"]]) == [0, 0, 1]
    assert (table["n_test"] == 6).all()
    stored = pd.read_csv(folder / "results.csv").fillna({"regions": ""})
    pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def test_run_can_be_read_again(run):
    folder, table, _ = run
    facts, results, again = read_run(folder)
    assert facts["rows"] == [result.name for result in results] == list(table["name"][:-1])
    assert (facts["arguments"]["epochs"], facts["arguments"]["n_frames"]) == (1, 2)
    assert "augment" not in facts["arguments"]  # None was given: the preset's own
    assert (facts["corpus"]["n_videos"], facts["corpus"]["n_clips"]) == (15, 30)
    assert results[-1].facts["shuffled_labels"]
    pd.testing.assert_frame_equal(again, table)
    assert sorted(file.name for file in row_folder(folder, "mouth").iterdir()) == [
        *("fold_0.keras", "history.csv", "predictions.csv", "result.json"),
    ]


def test_shuffled_labels_belong_to_whole_videos(run, mouths):
    result = read_run(run[0])[1][-1]
    table = pd.DataFrame({"video": result.video_id, "label": result.y_true})
    assert (table.groupby("video")["label"].nunique() == 1).all()
    true = mouths.clips().set_index("clip_id")["label"]
    assert (true[result.clip_id].to_numpy() != result.y_true).any()


def test_cut_off_run_goes_on_and_ends_with_the_same_table(run, mouths):
    folder, table, _ = run
    unfinished = row_folder(folder, "mouth, labels shuffled")
    (unfinished / "result.json").unlink()
    before = (row_folder(folder, "mouth") / "result.json").stat().st_mtime_ns
    assert len(read_run(folder)[1]) == 1
    steps = []
    again = run_ablation(
        mouths, folder, shuffle_labels=True, progress=lambda *step: steps.append(step),
        **ARGUMENTS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(again, table)
    assert (row_folder(folder, "mouth") / "result.json").stat().st_mtime_ns == before
    assert [step[:2] for step in steps] == [(2, 2)]


def test_progress_counts_epochs_of_all_rows(run):
    steps = run[2]
    assert [step[:2] for step in steps] == [(1, 2), (2, 2)]
    assert steps[1][2].startswith("mouth, labels shuffled: epoch 1")


def test_run_of_other_arguments_or_another_corpus_is_refused(run, mouths, write_corpus):
    folder = run[0]
    with pytest.raises(InputError, match="holds a run with arguments epochs 1, now 2; use the sa"):
        run_ablation(mouths, folder, shuffle_labels=True, **ARGUMENTS | {"epochs": 2})
    with pytest.raises(InputError, match="holds a run with arguments stride 10, now 5"):
        run_ablation(mouths, folder, shuffle_labels=True, **ARGUMENTS | {"stride": 5})
    with pytest.raises(InputError, match="holds a run with corpus n_videos 15, now 18"):
        run_ablation(
            write_corpus(n_subjects=6, regions=("mouth",)), folder, shuffle_labels=True, **ARGUMENTS
        )


def test_folders_that_are_no_run_are_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"not a run folder \(run.json not found\)"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="cannot be read as a run"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"rows": ["mouth"]}))
    with pytest.raises(InputError, match="none of the 1 rows of this run is finished"):
        read_run(tmp_path)


def test_probabilities_of_every_row_sum_to_one(run):
    for result in read_run(run[0])[1]:
        np.testing.assert_allclose(result.y_prob.sum(axis=1), 1, atol=1e-5)


def test_a_run_on_pictures_knows_them(tmp_path, write_corpus):
    corpus = write_corpus(regions=("mouth",), n_frames=1)
    arguments = {"preset": "cnn6", "regions": "all", "epochs": 1}
    table = run_ablation(corpus, tmp_path / "run", **arguments)
    assert list(table["n_test"]) == [3, 3]
    facts, _, _ = read_run(tmp_path / "run")
    assert (facts["corpus"]["n_videos"], facts["corpus"]["n_clips"]) == (15, 15)
    other = write_corpus("other", n_subjects=6, regions=("mouth",), n_frames=1)
    with pytest.raises(InputError, match="holds a run with corpus n_videos 15, now 18"):
        run_ablation(other, tmp_path / "run", **arguments)


def test_settings_that_cannot_be_leave_the_folder_free(tmp_path, mouths):
    with pytest.raises(InputError, match="setting 'rate' is unknown"):
        run_ablation(mouths, tmp_path / "run", regions="all", rate=1)
    with pytest.raises(InputError, match="epochs must be a whole number"):
        run_ablation(mouths, tmp_path / "run", regions="all", epochs=0)
    assert not (tmp_path / "run").exists()


def test_too_few_people_leave_the_folder_free(tmp_path, write_corpus):
    with pytest.raises(SplitError, match="found 1 with usable clips"):
        run_ablation(write_corpus(n_subjects=1), tmp_path / "run", regions="all")
    assert not (tmp_path / "run").exists()
