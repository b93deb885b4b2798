from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus import load_corpus
from microx.errors import InputError, ModelError, SplitError
from microx.evaluation import (
    EvaluationResult,
    evaluate,
    evaluate_model,
    majority_baseline,
    read_result,
    write_result,
)
from microx.modelfiles import load_model


def _result(y_true=(0, 1, 1, 2), y_prob=None, video_id=("v", "w", "w", "x"), **changes):
    n_clips = len(y_true)
    y_prob = np.eye(3)[np.array(y_true, int)] if y_prob is None else y_prob
    result = EvaluationResult(
        name="mouth",
        regions=("mouth",),
        classes=("neutral", "sad", "NA"),
        y_true=np.array(y_true, np.int64),
        y_prob=np.asarray(y_prob, np.float32).reshape(n_clips, 3),
        clip_id=np.array([f"c{k}" for k in range(n_clips)], str),
        video_id=np.array(video_id, str),
        subject=np.array(["", "NA", "NA", "007"][:n_clips], str),
        fold=np.zeros(n_clips, np.int64),
        history=pd.DataFrame({"fold": [0], "epoch": [1], "loss": [0.1]}),
        facts={"train_class_counts": [[2, 5, 5]], "n_train": [12]},
    )
    return replace(result, **changes)


def test_stored_result_comes_back_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    result = _result(y_prob=rng.dirichlet(np.ones(3), 4))
    write_result(result, tmp_path / "row")
    again = read_result(tmp_path / "row")
    for field in ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold"):
        np.testing.assert_array_equal(getattr(again, field), getattr(result, field))
    assert (again.name, again.regions, again.classes) == ("mouth", ("mouth",), result.classes)
    assert again.facts == result.facts
    pd.testing.assert_frame_equal(again.history, result.history)
    table = pd.read_csv(tmp_path / "row" / "predictions.csv", keep_default_na=False)
    assert list(table["y_true"]) == ["neutral", "sad", "sad", "NA"]
    assert list(table)[-3:] == ["p_neutral", "p_sad", "p_NA"]


def test_unfinished_or_damaged_result_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished result here"):
        read_result(tmp_path)
    write_result(_result(), tmp_path)
    (tmp_path / "predictions.csv").write_text("clip_id\nc0\n")
    with pytest.raises(InputError, match="the stored result is damaged"):
        read_result(tmp_path)


def test_video_takes_the_mean_of_its_clips():
    y_prob = [[1, 0, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0, 0, 1]]
    result = _result(y_prob=y_prob)
    np.testing.assert_array_equal(result.y_pred, [0, 0, 1, 2])
    videos = result.by_video()
    assert list(videos.video_id) == ["v", "w", "x"]
    assert list(videos.subject) == ["", "NA", "007"]
    np.testing.assert_array_equal(videos.y_true, [0, 1, 2])
    np.testing.assert_allclose(videos.y_prob[1], [0.35, 0.65, 0], atol=1e-6)
    np.testing.assert_array_equal(videos.y_pred, [0, 1, 2])
    assert len(_result((), np.zeros((0, 3)), ()).by_video().y_true) == 0


def test_majority_baseline_names_the_first_most_frequent_training_class():
    baseline = majority_baseline(_result())
    assert (baseline.name, baseline.regions) == ("majority class", ())
    np.testing.assert_array_equal(baseline.y_pred, [1, 1, 1, 1])
    facts = {"train_class_counts": [[2, 5, 5], [7, 0, 0]]}
    folds = replace(_result(), fold=np.array([0, 1, 1, 0]), facts=facts)
    np.testing.assert_array_equal(majority_baseline(folds).y_pred, [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": np.array(["a"])}, r"subject must have shape \(4,\).*found \(1,\)"),
        ({"y_prob": np.ones((4, 2)) / 2}, r"y_prob must have shape \(4, 3\)"),
        ({"y_prob": np.full((4, 3), np.nan)}, "must sum to 1"),
        ({"y_true": np.array([0, 1, 2, 3])}, r"y_true must lie in 0 … 2"),
    ],
)
def test_result_checks_itself(changes, message):
    with pytest.raises(InputError, match=message):
        replace(_result(), **changes)


QUICK = {"n_frames": 2, "stride": 10}


@pytest.fixture(scope="module")
def evaluated(small_corpus, tmp_path_factory):
    """Mouth of the small corpus, two folds of few epochs, with progress and models."""
    out = tmp_path_factory.mktemp("evaluated")
    steps = []
    result = evaluate(
        small_corpus, regions=("mouth",), protocol="kfold", n_folds=2, epochs=2, out=out,
        progress=lambda *step: steps.append(step), **QUICK,
    )  # fmt: skip
    return result, out, steps


def test_every_clip_is_tested_once_by_a_model_that_never_saw_its_subject(evaluated, small_corpus):
    result, out, steps = evaluated
    assert sorted(result.clip_id) == sorted(small_corpus.clips()["clip_id"])
    for fold in (0, 1):
        _, facts = load_model(out / f"fold_{fold}.keras")
        assert not set(result.subject[result.fold == fold]) & set(facts["trained_on"]["subjects"])
    assert sorted(result.history["fold"].unique()) == [0, 1]
    assert [step[:2] for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps[2][2].startswith("fold 2 of 2, epoch 1")


def test_facts_tell_what_was_done(evaluated):
    facts = evaluated[0].facts
    assert (facts["protocol"], facts["group"], facts["seed"]) == ("kfold", "subject", 0)
    assert sum(facts["n_test"]) == 30
    total = np.add(np.add(facts["n_train"], facts["n_validation"]), facts["n_test"])
    np.testing.assert_array_equal(total, 30)
    assert len(facts["best_epoch"]) == 2
    assert facts["shuffled_labels"] is False
    assert facts["corpus"] == "corpus"
    assert facts["n_subjects"] == 5
    assert facts["versions"]["microx"]
    assert len(facts["seconds_to_best"]) == len(facts["peak_memory_mib"]) == 2
    assert (facts["occlude_test"], facts["without"]) == (None, [])
    assert facts["arguments"]["epochs"] == 2
    assert (facts["regions"], facts["streams"]) == (["mouth"], ["mouth"])


@pytest.fixture(scope="module")
def two_streams(small_corpus, tmp_path_factory):
    """A compact model of two streams, tested with its mouth taken as missing."""
    out = tmp_path_factory.mktemp("two")
    result = evaluate(small_corpus, epochs=1, without=("mouth",), out=out, **QUICK)
    return out / "fold_0.keras", result


def test_a_model_is_tested_without_some_of_its_regions(two_streams, small_corpus):
    path, result = two_streams
    assert result.regions == ("mouth", "face")
    assert result.facts["without"] == ["mouth"]
    every, again, other = (
        evaluate_model(path, small_corpus, without=without)
        for without in ((), ("mouth",), ("face",))
    )
    np.testing.assert_allclose(again.y_prob, result.y_prob, atol=1e-6)
    for one in (every, other):
        np.testing.assert_allclose(one.y_prob.sum(axis=1), 1, atol=1e-5)
        assert np.abs(one.y_prob - again.y_prob).max() > 1e-4
    assert again.facts["without"] == ["mouth"]


def test_a_corpus_that_lacks_a_region_is_scored_with_what_it_has(two_streams, write_corpus):
    path, result = two_streams
    corpus = write_corpus(regions=("face",))
    with h5py.File(corpus.crops_path("s2_sad")) as file:
        assert "mouth" not in file["face_0"]
    scored = evaluate_model(path, corpus)
    assert sorted(scored.clip_id) == sorted(result.clip_id)
    assert "the corpus lacks mouth: taken as missing" in scored.facts["warnings"]
    np.testing.assert_allclose(scored.y_prob.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ModelError, match=r"reads mouth, face; .* lacks mouth, face"):
        evaluate_model(path, write_corpus("noses", regions=("nose",)))


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


def test_pictures_are_evaluated_as_clips_of_one_frame(write_corpus, tmp_path):
    corpus = write_corpus(n_frames=1)
    result = evaluate(corpus, preset="fer_cnn", epochs=1, out=tmp_path)
    assert result.regions == ("face",)
    assert len(result.y_true) == 3
    assert result.facts["inputs"] == "grey"
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
    assert any("frames that people marked" in warning for warning in result.facts["warnings"])
    again = evaluate_model(tmp_path / "fold_0.keras", corpus)
    np.testing.assert_allclose(again.y_prob, result.y_prob, atol=1e-6)


def test_stored_model_is_scored_on_people_it_never_saw(evaluated, small_corpus, tmp_path):
    result, out, _ = evaluated
    again = evaluate_model(out / "fold_1.keras", small_corpus, out=tmp_path)
    own = result.fold == 1
    assert sorted(again.clip_id) == sorted(result.clip_id[own])
    np.testing.assert_allclose(again.y_prob, result.y_prob[own], atol=1e-6)
    assert (
        "left out, because the model was trained on them: 3 subjects (s"
        in again.facts["warnings"][0]
    )
    np.testing.assert_array_equal(read_result(tmp_path).y_prob, again.y_prob)
    assert len(majority_baseline(again).y_true) == own.sum()


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
    assert (bare.facts["occlude_test"], masked.facts["occlude_test"]) == (None, "mask")
    assert np.abs(bare.y_prob - masked.y_prob).max() > 0.01  # its mouths are hidden
    np.testing.assert_array_equal(masked.y_prob, again.y_prob)


def test_model_is_not_scored_on_the_people_it_learnt_from(evaluated, write_corpus):
    facts = load_model(evaluated[1] / "fold_0.keras")[1]
    corpus = write_corpus()
    kept = corpus.manifest["subject"].isin(facts["trained_on"]["subjects"])
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
        result = evaluate(corpus, regions=regions, protocol="kfold", n_folds=3, epochs=12,
                          shuffle_labels=shuffled)  # fmt: skip
        scores[name] = float(np.mean(result.y_pred == result.y_true))
    assert scores["mouth"] >= 0.9
    assert 0.1 <= scores["face"] <= 0.6
    assert 0.1 <= scores["shuffled"] <= 0.6


def test_a_control_of_onset_and_apex_keeps_both_classes(small_corpus):
    """Each video has a clip of either class, so there is no label of the video to deal out."""
    from microx.evaluation import _shuffled

    clips = small_corpus.clips().assign(label=lambda table: np.arange(len(table)) % 2)
    dealt = _shuffled(clips, ("no expression", "expression"), seed=0)
    assert dealt["label"].sum() == clips["label"].sum()
    assert (dealt["label"] != clips["label"]).any()


def test_a_video_of_two_classes_is_two_rows():
    result = _result(y_true=(0, 1, 1, 1), video_id=("a", "a", "b", "b"))
    assert result.by_video().y_true.tolist() == [0, 1, 1]
