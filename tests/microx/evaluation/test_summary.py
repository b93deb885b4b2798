from dataclasses import replace
from itertools import chain, combinations, permutations

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.evaluation.facts import ResultFacts
from microx.evaluation.result import EvaluationResult
from microx.evaluation.summary import (
    compare_rows,
    count_by_subject,
    coverage_scores,
    measure_gap,
    region_values,
    results_table,
    shapley_values,
)

N_SUBJECTS, N_CLIPS = 12, 8


def _result(share_right, *, seed=0, name="row", **facts):
    """Twelve subjects, eight clips each of two classes; so many of them predicted correctly."""
    rng = np.random.default_rng(seed)
    n = N_SUBJECTS * N_CLIPS
    y_true = np.tile([0, 1], n // 2)
    right = rng.random(n) < share_right
    y_pred = np.where(right, y_true, 1 - y_true)
    subject = np.repeat([f"S{k:02d}" for k in range(N_SUBJECTS)], N_CLIPS)
    return EvaluationResult(
        name=name,
        regions=("mouth",),
        classes=("sad", "happy"),
        y_true=y_true,
        y_prob=np.eye(2, dtype=np.float32)[y_pred],
        clip_id=np.array([f"c{k}" for k in range(n)]),
        video_id=np.array([f"v{k // 2}" for k in range(n)]),
        subject=subject,
        fold=np.zeros(n, np.int64),
        history=pd.DataFrame(),
        facts=ResultFacts.from_json(
            {"train_class_counts": [[10, 10]], "n_train": [20], "protocol": "kfold"}
            | {"n_parameters": 5, "streams": ["mouth"], "regions": ["mouth"]}
            | {"classes": ["sad", "happy"]}
            | facts
        ),
    )


def test_table_means_over_seeds_and_spreads():
    seeds = [_result(0.8, seed=seed) for seed in range(3)]
    table = results_table({"row": seeds}).set_index("name")
    each = [float((r.y_pred == r.y_true).mean()) for r in seeds]
    row = table.loc["row"]
    assert row["accuracy"] == pytest.approx(np.mean(each))
    assert row["accuracy_sd"] == pytest.approx(np.std(each, ddof=1))
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert (row["n_seeds"], row["n_test"]) == (3, 96)
    assert list(table.index) == ["row", "most_frequent", "stratified", "uniform"]
    assert table.loc["most_frequent", "accuracy"] == 0.5
    assert table.loc["uniform", "accuracy"] == pytest.approx(0.5, abs=0.05)
    assert results_table({}).empty


def test_a_better_row_is_found_and_an_equal_one_is_not():
    rows = {"main": [_result(0.6)], "better": [_result(0.95, seed=1)], "like": [_result(0.6)]}
    table = compare_rows(rows, "main").set_index("name")
    assert table.loc["better", "difference"] > 0.2
    assert table.loc["better", "p_holm"] < 0.05
    assert table.loc["better", "low"] > 0
    assert table.loc["like", "difference"] == 0
    assert table.loc["like", "p_holm"] == 1
    assert np.isnan(table.loc["like", "detectable"])  # they differ nowhere
    assert (table["n_subjects"] == N_SUBJECTS).all()


def test_a_row_of_other_clips_is_not_compared():
    main, other = _result(0.6), _result(0.9)
    others = replace(other, subject=np.char.add(other.subject, "b"))
    assert compare_rows({"main": [main], "other": [others]}, "main").empty
    others = replace(other, clip_id=np.char.add(other.clip_id, "b"))  # of the same subjects
    assert compare_rows({"main": [main], "other": [others]}, "main").empty
    assert len(compare_rows({"main": [main], "other": [other]}, "main")) == 1


def test_gap_is_measured_on_the_subjects_of_both():
    leaky, honest = _result(0.95, seed=1), _result(0.6)
    keep = leaky.subject != "S00"
    fields = ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    leaky = replace(leaky, **{field: getattr(leaky, field)[keep] for field in fields})
    gap, low, high, n_subjects = measure_gap([leaky], [honest])
    assert n_subjects == N_SUBJECTS - 1
    assert 0 < low < gap < high
    alone = replace(leaky, subject=np.full(len(leaky.subject), "S01"))
    assert np.isnan(measure_gap([alone], [honest])[0])


def test_counts_are_of_seeds_and_subjects():
    subjects, counts = count_by_subject([_result(0.6), _result(0.7, seed=1)])
    assert len(subjects) == N_SUBJECTS
    assert counts.shape == (2, N_SUBJECTS, 2, 2)
    assert counts.sum() == 2 * N_SUBJECTS * N_CLIPS


def test_region_values_of_too_few_subsets_are_none():
    two = {"streams": ["mouth", "face"]}
    rows = {"both": [_result(0.9, **two)], "mouth": [_result(0.8, **two, without=["face"])]}
    assert region_values(rows).empty
    rows["face"] = [_result(0.5, seed=3, **two, without=["mouth"])]
    values = region_values(rows)
    accuracy = float((rows["both"][0].y_pred == rows["both"][0].y_true).mean())
    assert values["all"].sum() == pytest.approx(accuracy - 0.5)
    assert values.loc["mouth", "all"] > values.loc["face", "all"]
    assert region_values({}).empty


COVERED_TRUE = np.array([0, 0, 0, 0, 1, 1, 2])
COVERED_PRED = np.array([0, 0, 0, 1, 1, 2, 2])


def test_coverage_by_hand():
    """Two of three right, of which both of class a; a missing one of a and two of b."""
    table = coverage_scores(
        np.array([0, 0, 1]), np.array([0, 0, 0]), np.array([0, 1, 1]), n_classes=3
    )
    detected, everything = table.to_dict("index").values()
    # F1: a 4 / (4 + 1), b 0.
    assert detected == {
        "n": 3,
        "accuracy": pytest.approx(2 / 3),
        "uar": pytest.approx((1 + 0) / 2),
        "uf1": pytest.approx((4 / 5 + 0) / 2),
    }
    # F1 of a 4 / (4 + 1 FP + 1 FN).
    assert everything == {
        "n": 6,
        "accuracy": pytest.approx(2 / 6),
        "uar": pytest.approx((2 / 3 + 0) / 2),
        "uf1": pytest.approx((4 / 6 + 0) / 2),
    }


def test_coverage_at_its_ends():
    nothing = np.array([], int)
    both = coverage_scores(COVERED_TRUE, COVERED_PRED, nothing, 3)
    assert both.iloc[0].equals(both.iloc[1])
    none = coverage_scores(nothing, nothing, COVERED_TRUE, 3)
    assert none["n"].tolist() == [0, 7]
    assert none.iloc[0, 1:].isna().all()
    assert (none.iloc[1, 1:] == 0).all()
    with pytest.raises(InputError, match=r"y_missing must lie in 0 … 2 .* found 3 … 3"):
        coverage_scores(COVERED_TRUE, COVERED_PRED, np.array([3]), 3)


def subsets(players):
    sizes = range(len(players) + 1)
    return map(frozenset, chain.from_iterable(combinations(players, size) for size in sizes))


def test_shapley_values_by_hand():
    """Mouth and eye tell the same, .9; the nose adds .06 to anything; chance is .2."""
    value_of = {
        subset: 0.2 + 0.7 * bool(subset & {"mouth", "eye"}) + 0.06 * ("nose" in subset)
        for subset in subsets(["mouth", "eye", "nose"])
    }
    values = shapley_values(value_of, ["mouth", "eye", "nose"])
    assert list(values) == ["mouth", "eye", "nose"]
    assert values == {
        "mouth": pytest.approx(0.35),
        "eye": pytest.approx(0.35),
        "nose": pytest.approx(0.06),
    }


def test_is_the_mean_gain_over_all_orders_of_joining():
    players = ["left_eye", "right_eye", "nose", "mouth", "face"]
    scores = np.random.default_rng(0).random(32)
    value_of = dict(zip(subsets(players), scores, strict=True))
    values = shapley_values(value_of, players)
    gains = dict.fromkeys(players, 0.0)
    for order in permutations(players):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            gains[player] += (value_of[before | {player}] - value_of[before]) / 120
    assert values == pytest.approx(gains)
    assert sum(values.values()) == pytest.approx(value_of[frozenset(players)] - scores[0])


def test_one_player_and_none():
    assert shapley_values({frozenset(): 0.2, frozenset({"a"}): 0.5}, ["a"]) == {
        "a": pytest.approx(0.3)
    }
    assert shapley_values({}, []) == {}


def test_a_missing_subset_is_refused():
    value_of = dict.fromkeys(subsets(["nose", "mouth"]), 0.0)
    del value_of[frozenset({"nose", "mouth"})]
    with pytest.raises(InputError, match="every subset; found none for mouth \\+ nose"):
        shapley_values(value_of, ["mouth", "nose"])
    with pytest.raises(InputError, match="no region at all"):
        shapley_values({frozenset({"a"}): 1.0}, ["a"])
