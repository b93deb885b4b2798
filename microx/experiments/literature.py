"""Published numbers, as data, and what a result of ours may be compared with.

`PUBLISHED` holds the tables that `microx.experiments.replicate` reproduces, `ANCHORS` the numbers
of other papers; both are read from the CSV files in ``published``. Shares are in [0, 1]. Nothing
here was measured by microx.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from microx.evaluation.facts import ResultFacts
from microx.labels.labels import read_label_set
from microx.schema import DRAWN
from microx.training.protocol import LEAKY

PAPERS: dict[str, str] = {
    "microx": "2,747 clips of 10 frames from BAUM-1 and BAUM-2, 7 emotions; a fifth of the "
    "shuffled clips was tested, so that training and test shared videos and subjects",
    "meeting": "28,710 images of FER2013 and 1,000 own faces, 48 x 48 grey, 7 emotions, split 8:2",
    "apex": "254 apex frames of CASME II, padded black to 400 x 400; 99 of them are “others”",
    "cnn6": "grey images of 48 x 48 pixels; accuracy and loss in training and validation",
    "cnn-comparison": "1,860 test images of 7 emotions",
}
"""Papers that can be reproduced, and what their numbers were measured on."""


@dataclass(frozen=True)
class Published:
    """A number of a paper.

    Attributes
    ----------
    paper : str
        One of `PAPERS`.
    table, row : str
        Where it is found, in plain words.
    metric : str
        The paper's name for it.
    value : float
        In [0, 1]; of a loss, at least 0.
    source : str
        In words.
    """

    paper: str
    table: str
    row: str
    metric: str
    value: float
    source: str


def _read_rows(name: str) -> list[dict[str, str]]:
    with (files("microx") / "experiments" / "published" / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


PUBLISHED: tuple[Published, ...] = tuple(
    Published(
        **{name: row[name] for name in ("paper", "table", "row", "metric", "source")},
        value=float(row["value"]),
    )
    for row in _read_rows("papers.csv")
)
"""Numbers of the papers of `PAPERS`, table by table."""

_CONFUSION = _read_rows("cnn1_confusion.csv")

CNN_SUPPORT: dict[str, int] = {row["true"]: int(row["support"]) for row in _CONFUSION}
"""Test images of each emotion in the paper of CNN1, CNN2 and ResNet18."""

CNN_CONFUSION: tuple[tuple[int, ...], ...] = tuple(
    tuple(int(row[emotion]) for emotion in CNN_SUPPORT) for row in _CONFUSION
)
"""Confusion of its CNN1: true emotions down, predicted across, in the order of `CNN_SUPPORT`.
The cell of surprise predicted as sadness is illegible; it is 0 by its row's support of 260."""

READ, TOLD = "read in the source", "second-hand"


@dataclass(frozen=True)
class Anchor:
    """A published number on a corpus that others can obtain.

    Attributes
    ----------
    task : str
    corpora : frozenset of str
        As `name_corpus` writes them.
    metric : str
        Such as ``"UF1"``.
    classes : tuple of str
        The emotions; empty if we do not know them.
    protocol : str
        One of `microx.training.splits.PROTOCOLS` or `microx.training.splits.LEAKY`; "" if we do
        not know it.
    n_tested : int
        Videos or images tested; 0 if we do not know it.
    method : str
    value : float
        In [0, 1].
    mark : str
        `READ` or `TOLD`.
    source : str
        In words.
    is_epoch_honest : bool or None
        Whether the epoch was chosen without the test subjects; None if that is not known.
    """

    task: str
    corpora: frozenset[str]
    metric: str
    classes: tuple[str, ...]
    protocol: str
    n_tested: int
    method: str
    value: float
    mark: str
    source: str
    is_epoch_honest: bool | None = None


def _read_anchor(row: Mapping[str, str]) -> Anchor:
    return Anchor(
        **{name: row[name] for name in ("task", "metric", "protocol", "method", "mark", "source")},
        corpora=frozenset(_split(row["corpora"])),
        classes=_split(row["classes"]),
        n_tested=int(row["n_tested"]),
        value=float(row["value"]),
        is_epoch_honest={"yes": True, "no": False, "": None}[row["is_epoch_honest"]],
    )


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(";") if name.strip())


ANCHORS: tuple[Anchor, ...] = tuple(_read_anchor(row) for row in _read_rows("anchors.csv"))
"""Numbers of other papers. The protocol "list" is the corpus's own: for FER2013 one of its two
test parts, 3,589 images each; DFEW's list and its emotions are not known to us."""

_SPELLINGS = {
    "casmeii": "CASME II",
    "casme2": "CASME II",
    "samm": "SAMM",
    "smic": "SMIC",
    "smichs": "SMIC",
    "baum1": "BAUM-1",
    "baum1s": "BAUM-1",
    "baum1a": "BAUM-1",
    "baum2": "BAUM-2",
    "fer2013": "FER2013",
    "dfew": "DFEW",
    "drawnactors": "drawn actors",
}


def name_corpus(name: str) -> str:
    """Write a corpus's name in one spelling; unknown names stay as they are.

    Examples
    --------
    >>> name_corpus("casme_ii"), name_corpus("BAUM-1s"), name_corpus("ours")
    ('CASME II', 'BAUM-1', 'ours')
    """
    return _SPELLINGS.get(re.sub(r"[^a-z0-9]", "", name.casefold()), name)


@dataclass(frozen=True)
class Comparison:
    """What numbers may and may not be compared with, a sentence each."""

    may: tuple[str, ...]
    may_not: tuple[str, ...]


def tell_comparable(facts: ResultFacts, corpora: Iterable[str], n_tested: int) -> Comparison:
    """Say what a result's numbers may be compared with.

    Parameters
    ----------
    facts : ResultFacts
        Of a `microx.evaluation.result.EvaluationResult`; protocol, group, classes and arguments
        are used.
    corpora : iterable of str
        Names in the manifest's column ``corpus``; `DRAWN` for drawn actors. Empty, or a name of
        "", means an unpublished corpus.
    n_tested : int
        Videos or images tested.

    Returns
    -------
    Comparison
        Neither part is empty. A published number may be compared with only if corpora, emotions,
        protocol and test set are known to be the same, and the epoch was chosen without the test
        subjects; else it is in ``may_not``, with the reason.

    Examples
    --------
    >>> own = ResultFacts(classes=("a", "b"), regions=("face",), streams=("face",))
    >>> tell_comparable(own, [""], 120).may_not[0]
    'With any published number: none is known on this corpus.'
    """
    names = frozenset(name_corpus(name) for name in corpora) or frozenset([""])
    known = [anchor for anchor in ANCHORS if anchor.corpora == names]
    against: dict[str, list[Anchor]] = {}
    for anchor in known:
        against.setdefault(_reason_against(anchor, facts, n_tested), []).append(anchor)
    may = [f"Its {told}." for told in _quote(against.pop("", []))]
    may.append("With other runs on the same corpus, test subjects and protocol.")
    may_not = _about_corpus(names, known) + _about_split(facts)
    may_not += [
        f"Its {told}: {reason}." for reason, anchors in against.items() for told in _quote(anchors)
    ]
    if known:
        may_not.append("Its accuracy with any UF1, F1 or UAR: compare only the same metric.")
    return Comparison(tuple(may), tuple(may_not + _about_frames(facts)))


def _reason_against(anchor: Anchor, facts: ResultFacts, n_tested: int) -> str:
    """Say why a number of the same corpora may not be compared with; "" if it may."""
    ours = facts.protocol
    if not anchor.protocol:
        return "their protocol is not known to us"
    if anchor.protocol != ours:
        return f"their protocol is {anchor.protocol}, this one is {ours}"
    if facts.is_leaky != (anchor.protocol in LEAKY):
        return "here training and test share subjects (LEAKY)"
    if not anchor.classes:
        return "their emotions are not known to us"
    if _plain_names(anchor.classes) != _plain_names(facts.classes):
        return f"their emotions are {', '.join(anchor.classes)}, these {', '.join(facts.classes)}"
    if anchor.protocol == "list" and not anchor.n_tested:
        return "the size of their test part is not known to us"
    if anchor.n_tested not in (0, n_tested):
        return f"they tested {anchor.n_tested:,} videos or images, this {n_tested:,}"
    # A fixed list has a validation part; for a leaky protocol the choice of epoch adds little.
    if not (anchor.is_epoch_honest or anchor.protocol in ("list", *LEAKY)):
        return "their epoch was chosen on the test subjects, or is not known not to have been"
    return ""


def _plain_names(classes: Iterable[str]) -> list[str]:
    """Emotions in one spelling and order."""
    spellings = read_label_set("ekman7")
    return sorted(spellings.get(name.casefold()) or name.casefold() for name in classes)


def _quote(anchors: Sequence[Anchor]) -> list[str]:
    """Name anchors, a phrase for each task and metric."""
    groups: dict[tuple[str, str, str], list[Anchor]] = {}
    for anchor in anchors:
        groups.setdefault((anchor.task, anchor.metric, anchor.mark), []).append(anchor)
    return [
        f"{_OUR_NAME.get(metric, metric)} with the {metric} of "
        + ", ".join(f"{anchor.method} {anchor.value:.3f}" for anchor in group)
        + f" ({task}; {mark})"
        for (task, metric, mark), group in groups.items()
    ]


_OUR_NAME = {"F1": "UF1"}


def _about_corpus(names: frozenset[str], known: Sequence[Anchor]) -> list[str]:
    if DRAWN in names:
        return [
            "With any published number: these subjects are drawn, not filmed, and a score on drawn "
            "expressions says nothing about real ones."
        ]
    if known:
        return []
    if "" in names:
        return ["With any published number: none is known on this corpus."]
    near = sorted(
        {" + ".join(sorted(anchor.corpora)) for anchor in ANCHORS if anchor.corpora & names}
    )
    told = f"; there are some on {', on '.join(near)}, which are other clips" if near else ""
    return [
        f"With any published number: microx knows none on {' + '.join(sorted(names))} alone{told}."
    ]


def _about_split(facts: ResultFacts) -> list[str]:
    if facts.is_leaky:
        return [
            "With any score on unseen subjects: training and test share subjects (LEAKY); use it "
            "only to measure the gap to the honest protocol."
        ]
    if facts.group == "video":
        return [
            "With any score on unseen subjects: the corpus names no subjects, so that the split "
            "is by video only."
        ]
    return []


def _about_frames(facts: ResultFacts) -> list[str]:
    arguments = facts.arguments
    if arguments.frames == "all" and arguments.reference != "onset":
        return []
    return [
        "With systems that find onset or apex themselves: here they are taken from the labels, in "
        "the test videos too."
    ]
