from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from microx.errors import InputError
from microx.evaluation.summary import region_values
from microx.experiments.ablations import (
    EXPERIMENTS,
    list_occlusion_rows,
    list_region_rows,
    list_subset_rows,
    region_sets,
    run_ablation,
    run_experiment,
)
from microx.report.cautions import find_cautions, main_row
from microx.schema import DEFAULT_REGIONS, Experiment


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
    with pytest.raises(InputError, match="all, paper, full; found 'most'"):
        region_sets("most", DEFAULT_REGIONS)


def test_the_command_line_knows_every_experiment():
    assert set(get_args(Experiment)) - {"spotting"} == set(EXPERIMENTS) - {"inflation"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_of_an_experiment_differ(name, small_corpus, write_corpus):
    corpus = write_corpus(regions=DEFAULT_REGIONS) if name == "regions" else small_corpus
    rows = EXPERIMENTS[name](corpus)
    assert len(rows) > 1
    assert len({row.name for row in rows}) == len(rows)


def test_a_control_repeats_the_last_row(mouths):
    rows = list_region_rows(mouths, "full", shuffle_labels=True)
    assert [row.name for row in rows] == ["mouth", "mouth, labels shuffled"]
    assert rows[1].fit == {"regions": ["mouth"], "shuffle_labels": True}


def test_an_ablation_adds_what_its_network_has_to_beat(small_corpus, tmp_path):
    run = run_ablation(small_corpus, tmp_path / "run", regions="all", epochs=1, augment="crop")
    assert list(run.rows) == ["mouth+face", "pixels+svm", "hog+svm"]
    network, *machines = (results[0] for results in run.rows.values())
    for machine in machines:
        assert list(machine.clip_id) == list(network.clip_id)
        assert machine.regions == network.regions
    assert main_row(run.rows) == "mouth+face"
    perfect = replace(machines[1], y_prob=np.eye(3, dtype=np.float32)[machines[1].y_true])
    told = find_cautions({"mouth+face": [network], "hog+svm": [perfect]})
    assert any("does not beat the best simple baseline, “hog+svm”" in line for line in told)


def test_motion_has_regions_of_its_own_on_a_face(write_corpus):
    faces = write_corpus(n_subjects=1, regions=("face",), size=96)
    assert [row.name for row in list_region_rows(faces, "all", inputs="motion")] == ["motion"]
    rows = list_region_rows(faces, "paper", inputs="motion")
    assert [row.name for row in rows] == list(region_sets("paper", DEFAULT_REGIONS))


def test_subsets_share_one_training_and_each_region_has_its_own(small_corpus):
    rows = list_subset_rows(small_corpus)
    assert [row.name for row in rows] == [
        *("mouth+face", "mouth", "face", "mouth, trained alone", "face, trained alone")
    ]
    assert [row.condition.without for row in rows[:3]] == [(), ("face",), ("mouth",)]
    assert rows[0].fit == rows[1].fit != rows[3].fit


def test_occlusion_curves_train_twice(small_corpus):
    rows = list_occlusion_rows(small_corpus)
    assert len({str(row.fit) for row in rows}) == 2
    assert len(rows) == 2 * (1 + 5 * 4)


def test_region_values_add_up_to_the_gain_over_chance(small_corpus, tmp_path):
    run = run_experiment("subsets", small_corpus, tmp_path / "run", epochs=2, n_frames=2, stride=10)
    values = region_values(run.rows)
    assert list(values.index) == ["mouth", "face"]
    row = run.table.set_index("name").loc["mouth+face"]
    np.testing.assert_allclose(values["all"].sum(), row["accuracy"] - 1 / 3)
    np.testing.assert_allclose(values["sad"].sum(), row["recall_sad"] - 1 / 3)
    assert len(list((tmp_path / "run").glob("rows/*/seed_0/fold_0/model.keras"))) == 3


def test_settings_that_cannot_be_leave_the_folder_free(tmp_path, mouths):
    with pytest.raises(InputError, match="setting 'rate' is unknown"):
        run_ablation(mouths, tmp_path / "run", regions="all", rate=1)
    with pytest.raises(InputError, match="epochs must be a whole number"):
        run_ablation(mouths, tmp_path / "run", regions="all", epochs=0)
    with pytest.raises(InputError, match="experiment must be one of regions, subsets"):
        run_experiment("luck", mouths, tmp_path / "run")
    assert not (tmp_path / "run").exists()
