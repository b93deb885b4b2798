import pytest

from microx.errors import InputError
from microx.text import first_few, parse_numbers

KNOWN = {"flip": (0.5, "a probability"), "rotate": (10, "degrees")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" , ", {}),
        ("flip", {"flip": 0.5}),
        (" rotate : 5 ,flip:1e-1,", {"rotate": 5, "flip": 0.1}),
        ("rotate:-3", {"rotate": -3}),  # the range is the caller's
    ],
)
def test_lists_are_read_in_their_order(text, expected):
    assert list(parse_numbers(text, "augmentation", KNOWN).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zoom:2", "augmentation 'zoom' is unknown; known: flip, rotate"),
        (":2", "augmentation '' is unknown"),
        ("rotate:", "augmentation rotate: expected degrees such as rotate:10; found ''"),
        ("flip:1:2", "expected a probability such as flip:0.5; found '1:2'"),
        ("flip,rotate,flip:1", "expected each augmentation once; found flip, rotate, flip"),
    ],
)
def test_lists_that_cannot_be_read_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_numbers(text, "augmentation", KNOWN)


@pytest.mark.parametrize(
    ("names", "n", "expected"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b"], 2, "a, b"),
        (["a", "b", "c"], 2, "a, b and 1 more"),
    ],
)
def test_a_few_of_many_are_named(names, n, expected):
    assert first_few(names, n) == expected
