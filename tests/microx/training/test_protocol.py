"""A protocol is a value that cannot be wrong."""

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from microx.errors import InputError, SplitError
from microx.schema import ProtocolKind
from microx.training.protocol import LEAKY, PROTOCOLS, Protocol


def test_every_kind_is_honest_or_leaky():
    assert get_args(ProtocolKind) == (*PROTOCOLS, *LEAKY)
    assert [kind for kind in get_args(ProtocolKind) if Protocol(kind).is_leaky] == list(LEAKY)


def test_a_kind_stands_for_its_protocol():
    assert Protocol.of("loso") == Protocol("loso")
    three = Protocol("kfold", 3)
    assert Protocol.of(three) is three
    assert three.as_dict() == {"protocol": "kfold", "n_folds": 3}
    assert Protocol("list", split_file="a.csv").as_dict()["split_file"] == "a.csv"
    with pytest.raises(FrozenInstanceError):
        three.kind = "clips"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("luck",),
            SplitError,
            "`protocol` must be one of holdout, .*, naive, clip-folds; found 'luck'",
        ),
        (("kfold", 1), SplitError, "kfold needs at least 2 folds; found 1"),
        (("kfold", 2.5), InputError, "`n_folds` must be a whole number; received 2.5"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Protocol(*arguments)
