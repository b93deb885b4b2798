from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus.corpus import load_corpus
from microx.errors import ModelError, SplitError
from microx.evaluation.baselines import guess
from microx.evaluation.evaluate import (
    ORACLE,
    Condition,
    evaluate,
    evaluate_fold,
    plan_evaluation,
    shuffle_fold,
)
from microx.evaluation.result import read_result
from microx.evaluation.stored_model import evaluate_model
from microx.training.model_file import load_model, save_model
from microx.training.protocol import Protocol
from microx.training.splits import make_splits

pytestmark = pytest.mark.backends

QUICK = {"n_frames": 2, "stride": 10}


@pytest.fixture(scope="module")
def evaluated(small_corpus, tmp_path_factory):
    """Mouth of the small corpus, two folds of few epochs, with progress and models."""
    out = tmp_path_factory.mktemp("evaluated")
    steps = []
    result = evaluate(
        small_corpus, regions=("mouth",), protocol=Protocol("kfold", 2), epochs=2, out=out,
        progress=lambda *step: steps.append(step), **QUICK,
    )  # fmt: skip
    return result, out, steps


def test_every_clip_is_tested_once_by_a_model_that_never_saw_its_subject(evaluated, small_corpus):
    result, out, steps = evaluated
    assert sorted(result.clip_id) == sorted(small_corpus.clips()["clip_id"])
    for fold in (0, 1):
        _, facts = load_model(out / f"fold_{fold}.keras")
        assert not set(result.subject[result.fold == fold]) & set(facts.trained_on.subjects)
    assert sorted(result.history["fold"].unique()) == [0, 1]
    assert [step[:2] for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps[2][2].startswith("fold 2 of 2, epoch 1")


def test_facts_tell_what_was_done(evaluated):
    facts = evaluated[0].facts
    assert (facts.protocol, facts.group, facts.seed) == ("kfold", "subject", 0)
    assert sum(facts.n_test) == 30
    total = np.add(np.add(facts.n_train, facts.n_validation), facts.n_test)
    np.testing.assert_array_equal(total, 30)
    assert len(facts.best_epoch) == 2
    assert facts.shuffled_labels is False
    assert facts.corpus == "corpus"
    assert facts.n_subjects == 5
    assert facts.versions["microx"]
    assert len(facts.seconds_to_best) == len(facts.peak_memory_mib) == 2
    assert (facts.occlude_test, facts.without) == (None, ())
    assert facts.arguments.epochs == 2
    assert (facts.regions, facts.streams) == (("mouth",), ("mouth",))


@pytest.fixture(scope="module")
def two_streams(small_corpus, tmp_path_factory):
    """A compact model of two streams, tested with its mouth treated as missing."""
    out = tmp_path_factory.mktemp("two")
    result = evaluate(small_corpus, epochs=1, without=("mouth",), out=out, **QUICK)
    return out / "fold_0.keras", result


def test_a_model_is_tested_without_some_of_its_regions(two_streams, small_corpus):
    path, result = two_streams
    assert result.regions == ("mouth", "face")
    assert result.facts.without == ("mouth",)
    every, again, other = (
        evaluate_model(path, small_corpus, without=without)
        for without in ((), ("mouth",), ("face",))
    )
    np.testing.assert_allclose(again.y_prob, result.y_prob, atol=1e-6)
    for one in (every, other):
        np.testing.assert_allclose(one.y_prob.sum(axis=1), 1, atol=1e-5)
        assert np.abs(one.y_prob - again.y_prob).max() > 1e-4
    assert again.facts.without == ("mouth",)


def test_a_corpus_that_lacks_a_region_is_scored_with_what_it_has(
    two_streams, write_corpus, tmp_path
):
    path, result = two_streams
    corpus = write_corpus(regions=("face",))
    with h5py.File(corpus.crops_path("s2_sad")) as file:
        assert "mouth" not in file["face_0"]
    scored = evaluate_model(path, corpus)
    assert sorted(scored.clip_id) == sorted(result.clip_id)
    assert "the corpus lacks mouth: treated as missing" in scored.facts.warnings
    np.testing.assert_allclose(scored.y_prob.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ModelError, match=r"reads mouth, face; .* lacks mouth, face"):
        evaluate_model(path, write_corpus("noses", regions=("nose",)))
    model, facts = load_model(path)
    never_without = replace(facts.arguments, region_dropout=0.0)
    save_model(model, tmp_path / "model.keras", replace(facts, arguments=never_without))
    cautions = evaluate_model(tmp_path, corpus).facts.warnings
    assert any("has to do without mouth, but was trained with all" in line for line in cautions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"without": ("mouth", "face")}, "all regions are missing: mouth, face"),
        ({"without": ("nose",)}, "without nose: .* this one reads mouth, face"),
        ({"preset": "paper", "without": ("mouth",)}, "without mouth: .* needs them all"),
        ({"regions": ("mouth", "nose")}, "regions nose asked for; the corpus holds mouth, face"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_training(small_corpus, arguments, message):
    steps = []
    with pytest.raises(ModelError, match=message):
        evaluate(small_corpus, epochs=1, progress=lambda *step: steps.append(step), **arguments)
    assert not steps


def test_a_model_with_nothing_to_see_is_refused(two_streams, small_corpus):
    with pytest.raises(ModelError, match="all regions are missing: mouth, face"):
        evaluate_model(two_streams[0], small_corpus, without=("mouth", "face"))


def test_images_are_evaluated_as_clips_of_one_frame(write_corpus, tmp_path):
    corpus = write_corpus(n_frames=1)
    result = evaluate(corpus, preset="fer_cnn", epochs=1, out=tmp_path)
    assert result.regions == ("face",)
    assert len(result.y_true) == 3
    assert result.facts.inputs == "grey"
    again = evaluate_model(tmp_path / "fold_0.keras", corpus)
    np.testing.assert_allclose(again.y_prob, result.y_prob, atol=1e-6)
    with pytest.raises(ModelError, match=r"without face: .* this one needs them all"):
        evaluate_model(tmp_path / "fold_0.keras", corpus, without=("face",))


def test_whether_there_is_an_expression_is_a_question_of_two_classes(write_corpus, tmp_path):
    corpus = write_corpus(n_frames=6)
    table = pd.read_csv(corpus.folder / "manifest.csv", dtype=str, keep_default_na=False)
    table.loc[table["emotion"] != "neutral", "apex"] = "3"
    table.to_csv(corpus.folder / "manifest.csv", index=False)
    corpus = load_corpus(corpus.folder)
    result = evaluate(
        corpus, preset="cnn6", frames="onset|apex", regions=("mouth",), epochs=1, out=tmp_path
    )
    assert result.classes == ("no expression", "expression")
    assert result.y_true.tolist() == [0, 1, 0, 1]
    assert any("the annotated frames" in warning for warning in result.facts.warnings)
    again = evaluate_model(tmp_path / "fold_0.keras", corpus)
    np.testing.assert_allclose(again.y_prob, result.y_prob, atol=1e-6)


def test_stored_model_is_scored_on_unseen_subjects(evaluated, small_corpus, tmp_path):
    result, out, _ = evaluated
    again = evaluate_model(out / "fold_1.keras", small_corpus, out=tmp_path)
    own = result.fold == 1
    assert sorted(again.clip_id) == sorted(result.clip_id[own])
    np.testing.assert_allclose(again.y_prob, result.y_prob[own], atol=1e-6)
    assert (
        "left out, because the model was trained on them: 3 subjects (s" in again.facts.warnings[0]
    )
    np.testing.assert_array_equal(read_result(tmp_path).y_prob, again.y_prob)
    assert len(guess(again, "most_frequent").y_true) == own.sum()


def test_stored_model_is_scored_on_covered_faces(evaluated, write_corpus, upright_landmarks):
    corpus = write_corpus()
    for video_id in corpus.manifest["video_id"]:
        with h5py.File(corpus.crops_path(video_id), "a") as file:
            points = file["face_0"].require_dataset("landmarks", (20, 68, 2), np.float32)
            points[...] = upright_landmarks
    bare, masked, again = (
        evaluate_model(evaluated[1] / "fold_1.keras", corpus, occlude=occlude)
        for occlude in (None, "mask", "mask")
    )
    assert (bare.facts.occlude_test, masked.facts.occlude_test) == (None, "mask")
    assert np.abs(bare.y_prob - masked.y_prob).max() > 0.01  # its mouths are hidden
    np.testing.assert_array_equal(masked.y_prob, again.y_prob)


def test_model_is_not_scored_on_its_training_subjects(evaluated, write_corpus):
    facts = load_model(evaluated[1] / "fold_0.keras")[1]
    corpus = write_corpus()
    kept = corpus.manifest["subject"].isin(facts.trained_on.subjects)
    seen = replace(corpus, manifest=corpus.manifest[kept])
    with pytest.raises(ModelError, match=r"was trained on all [23] subjects of .*corpus"):
        evaluate_model(evaluated[1] / "fold_0.keras", seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "paper"}, "was trained with policy aligned; .* has paper"),
        ({"size": 26}, "was trained with size 24; .* has 26"),
        ({"classes": ("neutral", "sad", "happy")}, r"with classes \['neutral', 'happy', 'sad'\]"),
        ({"regions": ("face",)}, "reads mouth; .* lacks mouth"),  # all it has
    ],
)
def test_corpus_that_does_not_fit_the_model_is_refused(evaluated, write_corpus, arguments, message):
    with pytest.raises(ModelError, match=message):
        evaluate_model(evaluated[1] / "fold_0.keras", write_corpus(**arguments))


def test_corpus_with_more_regions_fits(evaluated, write_corpus):
    corpus = write_corpus(regions=("mouth", "face", "nose"))
    assert len(evaluate_model(evaluated[1] / "fold_0.keras", corpus).y_true)


def test_one_subject_only_is_one_clear_line(write_corpus):
    with pytest.raises(SplitError, match=r"holdout needs at least 3 subjects.*found 1"):
        evaluate(write_corpus(n_subjects=1), epochs=1)


@pytest.mark.slow
def test_learns_the_mouth_and_nothing_from_shuffled_labels(write_corpus):
    """The bar in the mouth is the emotion; the face knows nothing; shuffled labels neither."""
    corpus = write_corpus(n_subjects=9)
    scores = {}
    for name, regions, shuffled in (
        ("mouth", ("mouth",), False),
        ("face", ("face",), False),
        ("shuffled", ("mouth",), True),
    ):
        result = evaluate(corpus, regions=regions, protocol=Protocol("kfold", 3), epochs=12,
                          shuffle_labels=shuffled)  # fmt: skip
        scores[name] = float(np.mean(result.y_pred == result.y_true))
    assert scores["mouth"] >= 0.9
    assert 0.1 <= scores["face"] <= 0.6
    assert 0.1 <= scores["shuffled"] <= 0.6


def test_a_control_of_onset_and_apex_keeps_both_classes(small_corpus):
    """Each video has a clip of either class, so there is no label of the video to shuffle."""
    clips = small_corpus.clips().assign(label=lambda table: np.arange(len(table)) % 2)
    (split,) = make_splits(clips)
    shuffled = shuffle_fold(clips, split, ("no expression", "expression"), seed=0)
    assert shuffled["label"].sum() == clips["label"].sum()
    assert (shuffled["label"] != clips["label"]).any()


def test_control_scores_at_chance_where_emotions_are_plain_to_see():
    """A model that tells 7 emotions of 12 subjects apart names each by its most frequent label."""
    n_classes, rng = 7, np.random.default_rng(0)
    names = [f"class {k}" for k in range(n_classes)]
    clips = pd.DataFrame({"label": np.tile(np.arange(n_classes), 12)})
    clips = clips.assign(subject=np.repeat(np.arange(12), n_classes).astype(str))
    clips = clips.assign(video_id=clips.index.astype(str), emotion=np.array(names)[clips["label"]])
    (split,) = make_splits(clips)
    fitted, true = np.concatenate([split.train, split.validation]), clips["label"].to_numpy()
    scores = []
    for seed in range(400):
        label = shuffle_fold(clips, split, names, seed)["label"].to_numpy()
        for part in (fitted, split.test):
            np.testing.assert_array_equal(np.sort(label[part]), np.sort(true[part]))
        counts = [np.bincount(label[fitted][true[fitted] == k], minlength=n_classes)
                  for k in range(n_classes)]  # fmt: skip
        named = np.argmax(np.array(counts) + rng.random((n_classes, n_classes)) / 2, axis=1)
        scores.append(np.mean(named[true[split.test]] == label[split.test]))
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - 1 / n_classes) < 3 * error
    assert np.std(scores) < 0.1


def test_control_of_a_leaky_split_shows_the_leak(small_corpus):
    """A video in both parts keeps one label, so that who knows the video knows its label."""
    clips = small_corpus.clips()
    (split,) = make_splits(clips, "clips")
    shuffled = shuffle_fold(clips, split, small_corpus.classes, seed=0)
    assert (shuffled.groupby("video_id")["label"].nunique() == 1).all()
    assert (shuffled["label"] != clips["label"]).any()


def test_an_oracle_is_told_apart_and_changes_nothing(small_corpus, evaluated):
    plan = plan_evaluation(
        small_corpus, regions=("mouth",), protocol=Protocol("kfold", 2), epochs=2, **QUICK
    )
    honest, oracle = evaluate_fold(plan, 0, [("mouth", Condition())], oracle=True)
    usual = evaluated[0]
    np.testing.assert_array_equal(honest.y_prob, usual.y_prob[usual.fold == 0])
    assert oracle.name == f"mouth, {ORACLE}"
    assert oracle.facts.oracle
    assert not honest.facts.oracle
    right = [(one.y_pred == one.y_true).mean() for one in (oracle, honest)]
    assert right[0] >= right[1]
    assert oracle.facts.best_epoch[0] in (1, 2)


def test_one_training_is_tested_in_several_conditions(small_corpus):
    plan = plan_evaluation(small_corpus, epochs=1, **QUICK)
    conditions = [
        ("whole", Condition()),
        ("without the mouth", Condition(without=("mouth",))),
        ("erased", Condition(augment="erase:1")),
    ]
    whole, without, erased = evaluate_fold(plan, 0, conditions)
    alone = evaluate(small_corpus, epochs=1, without=("mouth",), **QUICK)
    np.testing.assert_array_equal(without.y_prob, alone.y_prob)
    assert np.abs(whole.y_prob - erased.y_prob).max() > 1e-4
    assert [one.facts.augment_test for one in (whole, erased)] == ["", "erase:1"]


def test_trainings_of_other_seeds_test_the_same_subjects(small_corpus):
    one, other = (
        plan_evaluation(small_corpus, seed=seed, protocol=Protocol(split_seed=0)) for seed in (0, 5)
    )
    np.testing.assert_array_equal(one.splits[0].test, other.splits[0].test)
    assert (other.seed, other.facts.split_seed) == (5, 0)


def test_a_leaky_protocol_says_so(small_corpus):
    plan = plan_evaluation(small_corpus, protocol="clips")
    assert plan.facts.leaky
    assert plan.facts.group == "clip"
    assert not plan_evaluation(small_corpus, protocol="kfold").facts.leaky


def test_a_list_of_others_decides_who_is_tested(small_corpus, tmp_path):
    videos = small_corpus.manifest[["video_id", "subject"]]
    parts = videos.assign(part=videos["subject"].map(lambda s: "Test" if s == "s3" else "train"))
    parts.iloc[:-3].to_csv(tmp_path / "list.csv", index=False)
    protocol = Protocol("list", split_file=tmp_path / "list.csv")
    result = evaluate(small_corpus, regions=("mouth",), protocol=protocol, epochs=1, **QUICK)
    assert set(result.subject) == {"s3"}
    assert result.facts.split_file == "list.csv"
    assert any("3 videos are in no part" in line for line in result.facts.warnings)
