"""Text as it is typed and as it is told: lists such as ``mask:0.5,hand:0.2``, and a few of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from microx.errors import InputError


def parse_numbers(
    text: str, thing: str, known: Mapping[str, tuple[float, str]]
) -> dict[str, float]:
    """Read a list of kinds, each with a number or its usual one.

    Parameters
    ----------
    text : str
        Such as ``"flip,crop:0.1,rotate:10"``; spaces count for nothing. Empty gives an empty dict.
    thing : str
        What the kinds are, for messages: ``"augmentation"``.
    known : mapping
        Each kind that may be named, to its usual number and what the number is, such as
        ``(0.5, "a probability")``.

    Returns
    -------
    dict
        Kind to number, in the order of the text. Ranges are for the caller to check.

    Raises
    ------
    InputError
        If a kind is unknown or named twice, or its number is none.

    Examples
    --------
    >>> known = {"flip": (0.5, "a probability"), "rotate": (10, "degrees")}
    >>> parse_numbers("flip, rotate:5", "augmentation", known)
    {'flip': 0.5, 'rotate': 5.0}
    """
    numbers: dict[str, float] = {}
    named: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, colon, number = (word.strip() for word in part.partition(":"))
        check_known(kind, thing, known)
        usual, unit = known[kind]
        try:
            numbers[kind] = float(number) if colon else float(usual)
        except ValueError:
            raise InputError(
                f"{thing} {kind}: expected {unit} such as {kind}:{usual:g}; found {number!r}"
            ) from None
        named.append(kind)
    check_once(named, thing)
    return numbers


def check_known(kind: str, thing: str, known: Iterable[str]) -> None:
    """Refuse a kind that is not among those known."""
    if kind not in known:
        raise InputError(f"{thing} {kind!r} is unknown; known: {', '.join(known)}")


def check_once(kinds: Sequence[str], thing: str) -> None:
    """Refuse kinds of which one is named twice."""
    if len(set(kinds)) != len(kinds):
        raise InputError(f"expected each {thing} once; found {', '.join(kinds)}")


def first_few(names: Sequence[str], n: int = 3) -> str:
    """Name the first few and count the rest.

    Examples
    --------
    >>> first_few(["a", "b", "c"], 1)
    'a and 2 more'
    """
    rest = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + rest
