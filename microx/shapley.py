"""What each region adds, fairly shared: Shapley values of a table of every subset's score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb

from microx.errors import InputError


def shapley_values(
    value_of: Mapping[frozenset[str], float], players: Sequence[str]
) -> dict[str, float]:
    """Share the value of all players by what each adds to every subset of the others.

    Parameters
    ----------
    value_of : mapping of frozenset of str to float
        The score of each of the 2**P subsets, such as the UF1 of a model that sees only these
        regions; ``frozenset()`` is what is scored without any, chance.
    players : sequence of str
        Such as the regions.

    Returns
    -------
    dict of str to float
        In the order of `players`; they sum to ``value_of[all] - value_of[frozenset()]``.
        No players give an empty dict.

    Raises
    ------
    InputError
        If a subset has no value.

    Notes
    -----
    Source: Shapley 1953, "A value for n-person games", done exactly.

    Examples
    --------
    >>> none, a, b, both = (frozenset(subset) for subset in ("", "a", "b", "ab"))
    >>> shapley_values({none: 0.0, a: 0.5, b: 0.25, both: 1.0}, ["a", "b"])
    {'a': 0.625, 'b': 0.375}
    """
    values = {}
    for player in players:
        others = [other for other in players if other != player]
        values[player] = 0.0
        for size in range(len(players)):
            weight = 1 / (len(players) * comb(len(others), size))
            for subset in map(frozenset, combinations(others, size)):
                with_player = _value(value_of, subset | {player})
                values[player] += weight * (with_player - _value(value_of, subset))
    return values


def _value(value_of: Mapping[frozenset[str], float], subset: frozenset[str]) -> float:
    if subset not in value_of:
        raise InputError(
            f"Shapley values need a score for every subset; found none for "
            f"{' + '.join(sorted(subset)) or 'no region at all'}"
        )
    return value_of[subset]
