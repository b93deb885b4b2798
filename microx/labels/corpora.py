"""The corpora that microx reads as they are downloaded, by name."""

from __future__ import annotations

from microx.errors import InputError
from microx.labels.formats import CorpusFormat
from microx.labels.micro import MICRO
from microx.labels.photographs import PHOTOGRAPHS
from microx.labels.videos import VIDEOS

CORPORA: dict[str, CorpusFormat] = {form.name: form for form in (*VIDEOS, *MICRO, *PHOTOGRAPHS)}
"""Every corpus whose download microx reads."""


def find_corpus(name: str) -> CorpusFormat:
    """Find a corpus by its name; ``CASME II`` and ``casme-2`` are ``casme2``, too.

    Raises
    ------
    InputError
        If microx does not know it; the message names those it does.

    Examples
    --------
    >>> find_corpus("CASME II").name
    'casme2'
    """
    wanted = _plain(name)
    for form in CORPORA.values():
        if wanted in (_plain(form.name), _plain(form.title)):
            return form
    raise InputError(
        f"corpus {name!r} is unknown; known: {', '.join(CORPORA)}; any other: read it by a labels "
        "file"
    )


def _plain(name: str) -> str:
    text = (
        name.casefold()
        .replace("²", "squared")
        .replace("^2", "squared")
        .replace("³", "3")
        .replace(" ii", " 2")
    )
    return "".join(letter for letter in text if letter.isalnum())
