"""Networks of motion through the evaluation of every model."""

import pytest

from microx.errors import InputError, ModelError
from microx.evaluation.evaluate import Condition, evaluate, evaluate_fold, plan_evaluation
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.stored_model import evaluate_model
from microx.training.fit import train

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


@pytest.mark.parametrize("preset", ["ststnet", "off_apexnet", "sssnet"])
def test_networks_of_one_motion_run(moving, preset):
    result = evaluate(moving, preset=preset, epochs=2, progress=False)
    assert result.y_prob.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_an_estimated_apex_is_no_annotated_one(moving):
    result = evaluate(moving, preset="motion", apex="estimated", epochs=2, progress=False)
    assert not any("annotated frames" in line for line in result.facts.warnings)


def test_a_network_of_motion_is_trained_and_stored(moving, tmp_path):
    told = []
    path = train(moving, tmp_path, preset="motion", epochs=2, progress=False, warn=told.append)
    assert path.exists()
    assert any("annotated" in line for line in told)  # before training
    result = evaluate_model(path, moving)
    assert result.facts.inputs == "motion"
    assert not any("lacks" in line and "corpus" in line for line in result.facts.warnings)


def test_what_motion_cannot_show_is_refused_before_training(mouths, moving):
    with pytest.raises(ModelError, match="no face, whose motion is read"):
        evaluate(mouths, preset="motion", progress=False)
    for change in ({"occlude_test": "mask:1"}, {"frames": "onset|apex"}):
        with pytest.raises(InputError, match="motion"):
            evaluate(moving, preset="motion", progress=False, **change)
    plan = plan_evaluation(moving, preset="motion")
    with pytest.raises(InputError, match="can only be changed by flip, shift; received erase"):
        evaluate_fold(plan, 0, [("erased", Condition(augment="erase"))])


def test_a_padded_clip_repeats_the_last_motion(moving):
    windows = {"frames": "all", "n_frames": 8, "tail": "pad", "reference": "onset"}
    result = evaluate(moving, preset="motion", epochs=1, progress=False, **windows)
    assert len(result.y_true) == 3 * len(set(result.video_id))
