import keras
import numpy as np
import pytest

from microx.evaluation.evaluate import Condition, evaluate, evaluate_fold, plan_evaluation
from microx.training.fit import describe_fit
from microx.training.network import open_network


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
    facts = describe_fit(
        plan.corpus, plan.clips, plan.splits[0], plan.settings, "motion", plan.regions, 0
    )
    kept, anew = (open_network(facts, n_steps=n_steps, keep=keep) for keep in (True, False))
    assert kept.model is not anew.model
    for ours, theirs in zip(kept.model.get_weights(), anew.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("keep", [True, False])
def test_a_network_has_the_precision_it_was_asked_for(moving, keep):
    plan = plan_evaluation(moving, preset="motion", precision="mixed_bfloat16")
    facts = describe_fit(
        plan.corpus, plan.clips, plan.splits[0], plan.settings, "motion", plan.regions, 0
    )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = open_network(facts, n_steps=3, keep=keep).model
        assert model.get_layer("mouth_convolution_1").compute_dtype == "bfloat16"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
