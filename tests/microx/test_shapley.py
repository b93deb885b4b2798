from itertools import chain, combinations, permutations

import numpy as np
import pytest

from microx.errors import InputError
from microx.shapley import shapley_values


def subsets(players):
    sizes = range(len(players) + 1)
    return map(frozenset, chain.from_iterable(combinations(players, size) for size in sizes))


def test_by_hand():
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
