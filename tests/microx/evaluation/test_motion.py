"""Networks of motion, and the machines they have to beat, through the evaluation of every model."""

import numpy as np
import pytest

from microx.errors import InputError, ModelError
from microx.evaluation.evaluate import Condition, evaluate, evaluate_fold, plan_evaluation
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import read_result, write_result
from microx.training.fit import train
from microx.training.network import open_network
from microx.training.settings import FitSettings

QUICK = {"epochs": 15, "batch_size": 16, "learning_rate": 1e-2}


def score(result):
    return accuracy_score(result.y_true, result.y_pred)


def test_a_network_of_motion_learns_how_a_mouth_moves(moving):
    result = evaluate(moving, protocol="kfold", preset="motion", progress=False, **QUICK)
    assert score(result) > 0.8
    facts = result.facts
    assert (facts.inputs, facts.streams) == ("motion", ("eyes", "nose", "mouth", "face"))
    assert set(facts.n_validation) == {0}  # every clip that is not tested is trained on
    assert set(facts.best_epoch) == {15}
    assert result.history["val_loss"].isna().all()
    assert any("annotated" in line for line in facts.warnings)


def test_without_what_moves_a_network_of_motion_knows_nothing(moving):
    plan = plan_evaluation(moving, preset="motion", **QUICK)
    shown = [("all", Condition()), ("without", Condition(without=("mouth", "face")))]
    whole, blind = evaluate_fold(plan, 0, shown)
    assert score(whole) > score(blind)
    assert any("trained with all its regions" in line for line in blind.facts.warnings)


@pytest.mark.parametrize("preset", ["flow+svm", "hog+svm", "pixels+svm"])
def test_a_support_vector_machine_is_a_row_like_any_other(moving, tmp_path, preset):
    result = evaluate(moving, protocol="kfold", preset=preset, progress=False)
    if preset == "flow+svm":
        assert score(result) > 0.8
    assert set(np.unique(result.y_prob)) == {0, 1}
    assert result.history.empty
    assert (result.facts.preset, result.facts.n_parameters) == (preset, 0)
    write_result(result, tmp_path / "cell")
    assert np.array_equal(read_result(tmp_path / "cell").y_prob, result.y_prob)


@pytest.mark.parametrize("preset", ["ststnet", "off_apexnet", "sssnet"])
def test_networks_of_one_motion_run(moving, preset):
    result = evaluate(moving, preset=preset, epochs=2, progress=False)
    assert result.y_prob.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_folds_are_the_same_whether_a_network_is_kept_or_built_anew(moving):
    plan = plan_evaluation(moving, protocol="kfold", preset="motion", epochs=3)
    shown = [("all", Condition())]
    after_another = [evaluate_fold(plan, fold, shown)[0] for fold in (0, 1)][1]
    evaluate(moving, preset="ststnet", epochs=1, progress=False)  # takes the place of what was kept
    alone = evaluate_fold(plan, 1, shown)[0]
    assert np.array_equal(alone.y_prob, after_another.y_prob)


def test_a_kept_network_is_what_it_was_before_training(moving):
    plan = plan_evaluation(moving, preset="motion", epochs=2)
    (result,) = evaluate_fold(plan, 0, [("all", Condition())])
    n_steps = -(-result.facts.n_train[0] // 32)
    from microx.training.fit import describe_fit

    facts = describe_fit(
        plan.corpus, plan.clips, plan.splits[0], plan.settings, "motion", plan.regions, 0
    )
    kept, anew = (open_network(facts, n_steps=n_steps, keep=keep) for keep in (True, False))
    assert kept.model is not anew.model
    for ours, theirs in zip(kept.model.get_weights(), anew.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_an_estimated_apex_is_no_annotated_one(moving):
    result = evaluate(moving, preset="motion", apex="estimated", epochs=2, progress=False)
    assert not any("annotated frames" in line for line in result.facts.warnings)


def test_a_network_of_motion_is_trained_and_stored(moving, tmp_path):
    told = []
    path = train(moving, tmp_path, preset="motion", epochs=2, progress=False, warn=told.append)
    assert path.exists()
    assert any("annotated" in line for line in told)  # before training


def test_what_has_no_motion_is_refused_before_training(mouths, moving, tmp_path):
    with pytest.raises(ModelError, match="no face, whose motion is read"):
        evaluate(mouths, preset="motion", progress=False)
    with pytest.raises(InputError, match="compares frames"):
        FitSettings.of("motion", frames="onset|apex")
    with pytest.raises(ModelError, match=r"flow\+svm"):
        train(moving, tmp_path, preset="flow+svm", progress=False)
