import contextlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError, ModelError, SplitError
from microx.evaluation.evaluate import Condition
from microx.experiments import run as run_module
from microx.experiments.ablations import run_ablation
from microx.experiments.run import Row, cell_folder, read_run, run_grid
from microx.files import hold_folder
from microx.schema import DEFAULT_REGIONS
from microx.training.protocol import Protocol

QUICK = {"epochs": 1, "n_frames": 2, "stride": 10}
ABLATION = {**QUICK, "baselines": False}
ARGUMENTS = {**ABLATION, "regions": "full", "augment": None}


@pytest.fixture(scope="module")
def run(mouths, tmp_path_factory):
    """The mouth and its shuffled control, one epoch each."""
    folder = tmp_path_factory.mktemp("run") / "RUN"
    steps = []
    run = run_ablation(
        mouths, folder, shuffle_labels=True, progress=lambda *step: steps.append(step),
        **ARGUMENTS,
    )  # fmt: skip
    return folder, run.table, steps


def test_table_has_a_row_per_region_set_and_the_guesses(run):
    folder, table, _ = run
    names = ["mouth", "mouth, labels shuffled"]
    assert list(table["name"]) == [
        *names, "most_frequent", "stratified", "uniform"
    ]  # fmt: skip
    baseline = table.iloc[2]
    assert baseline["accuracy"] == baseline["uar"] == pytest.approx(1 / 3)
    assert sorted(baseline[["recall_neutral", "recall_happy", "recall_sad"]]) == [0, 0, 1]
    assert (table["n_test"] == 6).all()
    assert table["accuracy_low"].isna().all()  # one subject says nothing about others
    stored = pd.read_csv(folder / "results.csv").fillna({"regions": ""})
    pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def test_run_shows_its_table(run):
    found = read_run(run[0])
    assert repr(found) == "Run(ablate: 2 of 2 rows, seeds: 1)"
    assert "<td>most_frequent</td>" in found._repr_html_()


def test_run_can_be_read_again(run):
    folder, table, _ = run
    again = read_run(folder)
    assert list(again.about["rows"]) == list(again.rows) == list(table["name"][:2])
    assert again.about["experiment"] == "ablate"
    arguments = again.about["arguments"]
    assert (arguments["epochs"], arguments["n_frames"]) == (1, 2)
    assert "augment" not in arguments  # None was given: the preset's own
    assert again.about["corpus"]["n_videos"] == 15
    assert again.about["corpus"]["n_clips"] == 30
    assert again.rows["mouth, labels shuffled"][0].facts.shuffled_labels
    assert (again.unfinished, again.oracles) == ((), {})
    pd.testing.assert_frame_equal(again.table, table)
    assert sorted(file.name for file in cell_folder(folder, "mouth", 0, 0).iterdir()) == [
        *("history.csv", "model.keras", "predictions.csv", "result.json"),
    ]


def test_predictions_of_all_rows_stand_in_one_file(run):
    table = pd.read_csv(run[0] / "predictions.csv")
    assert len(table) == 12
    assert set(table["row"]) == {"mouth", "mouth, labels shuffled"}
    assert set(table["seed"]) == {0}
    assert not table["leaky"].any()


def test_shuffled_labels_belong_to_whole_videos(run, mouths):
    result = read_run(run[0]).rows["mouth, labels shuffled"][0]
    table = pd.DataFrame({"video": result.video_id, "label": result.y_true})
    assert (table.groupby("video")["label"].nunique() == 1).all()
    true = mouths.clips().set_index("clip_id")["label"]
    assert (true[result.clip_id].to_numpy() != result.y_true).any()


def test_cut_off_run_goes_on_and_ends_with_the_same_table(run, mouths):
    folder, table, _ = run
    (cell_folder(folder, "mouth, labels shuffled", 0, 0) / "result.json").unlink()
    done = cell_folder(folder, "mouth", 0, 0) / "result.json"
    before = done.stat().st_mtime_ns
    assert read_run(folder).unfinished == ("mouth, labels shuffled",)
    steps = []
    again = run_ablation(
        mouths, folder, shuffle_labels=True, progress=lambda *step: steps.append(step),
        **ARGUMENTS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(again.table, table)
    assert done.stat().st_mtime_ns == before
    assert [step[:2] for step in steps] == [(1, 1)]


def test_progress_counts_epochs_of_all_rows(run):
    steps = run[2]
    assert [step[:2] for step in steps] == [(1, 2), (2, 2)]
    assert steps[1][2].startswith("mouth, labels shuffled, seed 0, fold 1: epoch 1")


def test_run_of_other_arguments_or_another_corpus_is_refused(run, mouths, write_corpus):
    folder = run[0]
    with pytest.raises(InputError, match="holds a run with arguments epochs 1, now 2; use the sa"):
        run_ablation(mouths, folder, shuffle_labels=True, **ARGUMENTS | {"epochs": 2})
    with pytest.raises(InputError, match="holds a run with arguments stride 10, now 5"):
        run_ablation(mouths, folder, shuffle_labels=True, **ARGUMENTS | {"stride": 5})
    with pytest.raises(InputError, match=r"holds a run with arguments n_seeds 1, now 2"):
        run_ablation(mouths, folder, shuffle_labels=True, n_seeds=2, **ARGUMENTS)
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
    about = {"rows": {"mouth": {"n_folds": 1}}, "seeds": [0]}
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="none of the 1 rows of this run is finished"):
        read_run(tmp_path)


def test_a_run_on_images_knows_them(tmp_path, write_corpus):
    corpus = write_corpus(regions=("mouth",), n_frames=1)
    arguments = {"preset": "cnn6", "regions": "all", "epochs": 1, "baselines": False}
    run = run_ablation(corpus, tmp_path / "run", **arguments)
    assert list(run.table["n_test"]) == [3] * 4
    about = read_run(tmp_path / "run").about
    assert (about["corpus"]["n_videos"], about["corpus"]["n_clips"]) == (15, 15)
    other = write_corpus("other", n_subjects=6, regions=("mouth",), n_frames=1)
    with pytest.raises(InputError, match="holds a run with corpus n_videos 15, now 18"):
        run_ablation(other, tmp_path / "run", **arguments)


def test_too_few_subjects_leave_the_folder_free(tmp_path, write_corpus):
    with pytest.raises(SplitError, match="found 1 with usable clips"):
        run_ablation(write_corpus(n_subjects=1), tmp_path / "run", regions="all")
    assert not (tmp_path / "run").exists()


def test_workers_do_folds_and_seeds_and_share_trainings(small_corpus, tmp_path):
    """Two rows of one training, two seeds, two folds: four trainings in two processes."""
    rows = [
        Row("both", {"regions": ["mouth", "face"]}),
        Row("face hidden", {"regions": ["mouth", "face"]}, Condition(without=("face",))),
    ]
    steps = []
    run = run_grid(
        small_corpus, tmp_path / "run", rows, experiment="test", arguments={}, n_seeds=2,
        protocol=Protocol("kfold", 2), oracle=True, n_workers=2,
        progress=lambda *step: steps.append(step[:2]), **QUICK,
    )  # fmt: skip
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(list((tmp_path / "run").glob("**/model.keras"))) == 4
    assert [len(results) for results in run.rows.values()] == [2, 2]
    for results in run.rows.values():
        for seed, result in enumerate(results):
            assert sorted(result.clip_id) == sorted(small_corpus.clips(2, stride=10)["clip_id"])
            assert result.facts.seed == seed
    first, second = run.rows["both"]
    np.testing.assert_array_equal(first.fold, second.fold)  # the same subjects
    assert np.abs(first.y_prob - second.y_prob).max() > 1e-4
    assert list(run.oracles) == ["both"]
    assert list(run.table["n_seeds"][:2]) == [2, 2]
    assert (run.table["accuracy_sd"][:2] >= 0).all()


def test_what_fails_is_told_and_the_rest_is_kept(small_corpus, tmp_path):
    rows = [Row("well", {"regions": ["mouth"]}), Row("ill", {"build": {"nothing": 1}})]
    arguments = {"experiment": "test", "arguments": {}, **QUICK}
    with pytest.raises(ModelError, match=r"1 of 2 trainings failed \(ill, seed 0, fold 1: .*"):
        run_grid(small_corpus, tmp_path / "run", rows, **arguments)
    assert read_run(tmp_path / "run").unfinished == ("ill",)


def test_rows_of_one_name_are_refused(small_corpus, tmp_path):
    with pytest.raises(InputError, match="expected rows of different names"):
        run_grid(small_corpus, tmp_path, [Row("a"), Row("a")], experiment="test", arguments={})


def test_a_list_of_others_is_run_and_may_not_change_in_between(small_corpus, tmp_path):
    parts = small_corpus.manifest[["video_id", "subject"]]
    file = tmp_path / "list.csv"

    def run(tested):
        part = parts["subject"].map(lambda subject: "test" if subject == tested else "train")
        parts.assign(part=part).to_csv(file, index=False)
        return run_ablation(
            small_corpus,
            tmp_path / "run",
            regions="all",
            protocol=Protocol("list", split_file=file),
            **ABLATION,
        )

    (results,) = run("s3").rows.values()
    assert set(results[0].subject) == {"s3"}
    with pytest.raises(InputError, match=r"holds a run with rows mouth.face splits_hash"):
        run("s1")


def test_a_run_that_another_works_on_is_refused(small_corpus, tmp_path):
    (tmp_path / "run").mkdir()
    with hold_folder(tmp_path / "run"), pytest.raises(InputError, match="another microx is work"):
        run_ablation(small_corpus, tmp_path / "run", regions="all", **ABLATION)


def test_what_is_no_fault_of_the_input_stops_no_other_cell(small_corpus, tmp_path, monkeypatch):
    fit = run_module.evaluate_fold

    def fail(plan, *arguments, **more):
        if plan.regions == ("face",):
            raise MemoryError("nothing left")
        return fit(plan, *arguments, **more)

    monkeypatch.setattr(run_module, "evaluate_fold", fail)
    with pytest.raises(ModelError, match=r"1 of 3 .*MemoryError: nothing left; see .*traceback"):
        run_ablation(small_corpus, tmp_path / "run", regions="full", **ABLATION)
    assert list(read_run(tmp_path / "run").rows) == ["mouth", "mouth+face"]
    assert len(pd.read_csv(tmp_path / "run" / "results.csv")) == 5


@pytest.mark.slow
def test_a_grid_killed_ten_times_ends_with_the_same_table(tmp_path, write_corpus):
    """Thirty-one subsets of five regions; each kill is a SIGKILL at a random time."""
    folder = write_corpus(regions=DEFAULT_REGIONS, n_frames=10).folder
    command = [sys.executable, "-m", "microx", "ablate", str(folder), "--regions", "full"]
    command += ["--epochs", "3", "--no-baselines", "--out"]
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    n_killed = 0
    while n_killed < 10:
        with subprocess.Popen(
            [*command, str(tmp_path / "killed")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(5, 20))
            assert process.poll() is None, "it came to its end before the tenth"
            process.kill()
            n_killed += 1
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    calm, killed = ((tmp_path / name / "results.csv").read_bytes() for name in ("calm", "killed"))
    assert calm == killed


def test_a_class_without_training_clips_is_told_before_training(write_corpus, tmp_path):
    """Only one subject acts the last class; the one fold that tests him trains without it."""
    corpus = write_corpus(regions=("mouth",))
    table = corpus.manifest
    rare = (table["emotion"] == "sad") & (table["subject"] != "s0")
    told: list[str] = []
    steps: list[int] = []
    run_ablation(
        replace(corpus, manifest=table[~rare]), tmp_path / "RUN", regions="all", epochs=1,
        baselines=False, protocol="loso", warn=lambda text: told.append(f"{len(steps)}: {text}"),
        progress=lambda done, total, what: steps.append(done),
    )  # fmt: skip
    assert any(line.startswith("0: ") and "no train clips of sad" in line for line in told)


def test_workers_change_no_number(write_corpus, tmp_path, microx):
    corpus = write_corpus(regions=("mouth", "face"))
    tables = []
    for n_workers in (1, 2):
        out = tmp_path / f"workers_{n_workers}"
        done = microx(
            "ablate", corpus.folder, "--out", out, "--regions", "full", "--epochs", 2,
            "--workers", n_workers,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        tables.append([(out / name).read_bytes() for name in ("results.csv", "predictions.csv")])
    assert tables[0] == tables[1]
