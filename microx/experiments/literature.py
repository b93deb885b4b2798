"""What the papers published, as data, and what a result of ours may be compared with.

`PUBLISHED` holds the tables that `microx.experiments.replicate` does again, `ANCHORS` the numbers
of the field. Shares lie in [0, 1]. Nothing here was measured by microx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from microx.evaluation.facts import ResultFacts
from microx.labels.labels import read_label_set
from microx.schema import DRAWN, EMOTIONS
from microx.training.protocol import LEAKY

PAPERS: dict[str, str] = {
    "microx": "2,747 clips of 10 frames from BAUM-1 and BAUM-2, 7 emotions; a fifth of the "
    "shuffled clips was tested, so that clips of one video and one person stood on both sides",
    "meeting": "28,710 pictures of FER2013 and 1,000 own faces, 48 x 48 grey, 7 emotions, "
    "divided 8:2",
    "apex": "254 apex frames of CASME II, padded black to 400 x 400; 99 of them are “others”",
    "cnn6": "grey pictures of 48 x 48 pixels; accuracy and loss in training and validation",
    "cnn-comparison": "1,860 tested pictures of 7 emotions",
}
"""Papers that can be done again, and what their numbers were measured on."""


@dataclass(frozen=True)
class Published:
    """A number of a paper.

    Attributes
    ----------
    paper : str
        One of `PAPERS`.
    table, row : str
        Where it stands, in plain words.
    metric : str
        As the paper calls it.
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


def _list(
    paper: str, table: str, source: str, rows: Mapping[str, Mapping[str, float]]
) -> list[Published]:
    return [
        Published(paper, table, row, metric, value, source)
        for row, values in rows.items()
        for metric, value in values.items()
    ]


def _accuracies(**rows: float) -> dict[str, dict[str, float]]:
    return {row.replace("_", " "): {"accuracy": value} for row, value in rows.items()}


_MICROX, _CNN6 = "MicroX paper", "paper of the six-convolution network"
_APEX, _COMPARISON = "paper of the apex-frame network", "paper of CNN1, CNN2 and ResNet18"

PUBLISHED: tuple[Published, ...] = (
    *_list(
        "microx",
        "general metrics",
        f"{_MICROX}, general metrics; recall differs from accuracy, so that the three are means "
        "over the emotions, unweighted",
        {
            "five streams": {
                "accuracy": 0.5520,
                "precision": 0.527,
                "recall": 0.534,
                "F": 0.526,
            }
        },
    ),
    *_list(
        "microx",
        "others on BAUM-1",
        f"{_MICROX}, which quotes them",
        _accuracies(Zhalehpour=0.4504, Pan=0.4651),
    ),
    *_list(
        "microx",
        "own videos",
        f"{_MICROX}, own videos",
        _accuracies(with_mask=0.1786, without_mask=0.102),
    ),
    *_list(
        "microx",
        "colour or grey",
        f"{_MICROX}, colour and grey",
        _accuracies(colour=0.552, grey=0.371),
    ),
    *_list(
        "microx",
        "face and regions",
        f"{_MICROX}, full face and regions",
        _accuracies(full_face=0.715, regions=0.231, both=0.552),
    ),
    *_list(
        "microx",
        "single regions",
        f"{_MICROX}, single regions; it calls the eye on the picture's left the left one, "
        "microx the person's own",
        _accuracies(left_eye=0.378, right_eye=0.398, nose=0.276, mouth=0.238),
    ),
    *_list(
        "meeting",
        "pictures divided 8:2",
        "paper of the meeting-recording network",
        {"all emotions": {"accuracy": 0.66}, "joy": {"recognised": 0.89}},
    ),
    *_list(
        "apex",
        "naive 70/30",
        f"{_APEX}: 0 % or 100 %",
        _accuracies(lowest_run=0.0, highest_run=1.0),
    ),
    *_list("apex", "5 folds", f"{_APEX}: at best", _accuracies(best_fold=0.45)),
    *_list(
        "apex",
        "5 folds",
        f"counted: 99 of the 254 frames of the {_APEX} are “others”",
        _accuracies(most_frequent_class=99 / 254),
    ),
    *_list(
        "cnn6",
        "Adam or RMSprop",
        _CNN6,
        {
            "Adam": {
                "train accuracy": 0.8972,
                "validation accuracy": 0.8530,
                "train loss": 0.91,
                "validation loss": 1.63,
            },
            "RMSprop": {
                "train accuracy": 0.7691,
                "validation accuracy": 0.7452,
                "train loss": 0.91,
                "validation loss": 1.72,
            },
        },
    ),
    *_list(
        "cnn-comparison",
        "by accuracy",
        _COMPARISON,
        {
            "CNN1": {"train accuracy": 0.9420, "accuracy": 0.8081},
            "CNN2": {"train accuracy": 0.9120, "accuracy": 0.8253},
            "ResNet18": {"train accuracy": 0.9005, "accuracy": 0.8183},
        },
    ),
    *_list(
        "cnn-comparison",
        "classification report",
        f"{_COMPARISON}; of which of the three is not known to us",
        _accuracies(all_emotions=0.82),
    ),
)
"""Numbers of the papers of `PAPERS`, table by table."""

CNN_SUPPORT: dict[str, int] = {
    "anger": 350,
    "disgust": 160,
    "fear": 120,
    "happiness": 480,
    "neutral": 160,
    "sadness": 330,
    "surprise": 260,
}
"""Tested pictures of each emotion in the paper of CNN1, CNN2 and ResNet18."""

CNN_CONFUSION: tuple[tuple[int | None, ...], ...] = (
    (280, 22, 4, 12, 14, 17, 1),
    (22, 113, 6, 6, 2, 8, 3),
    (5, 4, 82, 0, 1, 5, 23),
    (6, 3, 8, 450, 3, 4, 6),
    (5, 2, 4, 3, 127, 19, 0),
    (12, 17, 22, 10, 16, 251, 2),
    (2, 1, 23, 8, 0, None, 226),
)
"""Its confusion: true emotions down, predicted across, in the order of `CNN_SUPPORT`; None is a
cell that cannot be read."""

READ, TOLD = "read in the source", "second-hand"


@dataclass(frozen=True)
class Anchor:
    """A published number on a corpus that others can get.

    Attributes
    ----------
    task : str
    corpora : frozenset of str
        As `name_corpus` writes them.
    metric : str
        Such as ``"UF1"``.
    classes : tuple of str
        The emotions told apart; empty where they are not known to us.
    protocol : str
        One of `microx.training.splits.PROTOCOLS` or `microx.training.splits.LEAKY`; "" where it is
        not known to us.
    n_tested : int
        Videos or pictures tested; 0 where it is not known to us.
    method : str
    value : float
        In [0, 1].
    mark : str
        `READ` or `TOLD`.
    source : str
        In words.
    is_epoch_honest : bool or None
        Whether the epoch was chosen without the tested people; None where that is not known.
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


def _anchors(
    about: tuple[str, Iterable[str], str, tuple[str, ...], str, int],
    source: tuple[str, str],
    values: Mapping[str, float],
    is_epoch_honest: bool | None = None,
) -> list[Anchor]:
    task, corpora, metric, classes, protocol, n_tested = about
    return [
        Anchor(
            *(task, frozenset(corpora), metric, classes, protocol, n_tested),
            *(method, value, *source, is_epoch_honest),
        )
        for method, value in values.items()
    ]


_MEGC = ("CASME II", "SAMM", "SMIC")
_SIGNS = ("negative", "positive", "surprise")
_SEVEN = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_UF1 = ("MEGC2019 composite", _MEGC, "UF1", _SIGNS, "loso", 442)
_UAR = ("MEGC2019 composite", _MEGC, "UAR", _SIGNS, "loso", 442)
_FIVE = ("micro-expressions of five classes", _MEGC[:2], "F1", (), "", 0)
_FER = ("FER2013 test", ("FER2013",), "accuracy", _SEVEN, "list", 3589)
_DFEW_UAR = ("DFEW", ("DFEW",), "UAR", (), "list", 0)
_DFEW = ("DFEW", ("DFEW",), "accuracy", (), "list", 0)
_MEB = "MEB, which ran them again"
_OTHERS = "quoted by others"
_RERUN = "STSTNet, its authors' rerun"

ANCHORS: tuple[Anchor, ...] = (
    *_anchors(
        _UF1,
        (TOLD, _OTHERS),
        {
            "LBP-TOP": 0.588,
            "Bi-WOOF": 0.630,
            "OFF-ApexNet": 0.720,
            "STSTNet": 0.735,
            "EMR": 0.789,
            "HTNet": 0.860,
            "D-FACE": 0.894,
        },
    ),
    *_anchors(_UF1, (READ, "its authors' rerun"), {_RERUN: 0.721}),
    *_anchors(
        _UAR,
        (TOLD, _OTHERS),
        {
            "LBP-TOP": 0.579,
            "Bi-WOOF": 0.623,
            "OFF-ApexNet": 0.710,
            "STSTNet": 0.761,
            "EMR": 0.782,
            "HTNet": 0.848,
            "D-FACE": 0.897,
        },
    ),
    *_anchors(_UAR, (READ, "its authors' rerun"), {_RERUN: 0.725}),
    *_anchors(_UF1, (READ, _MEB), {"STSTNet": 0.713, "Off-ApexNet": 0.703, "SSSNet": 0.739}, True),
    *_anchors(_UF1, (READ, _MEB), {"Off-ApexNet": 0.839}, False),
    *_anchors(
        _FIVE, (READ, _MEB), {"SSSNet on optical flow": 0.698, "R(2+1)D on RGB": 0.248}, True
    ),
    *_anchors(
        ("BAUM-1", ("BAUM-1",), "accuracy", (), "", 0),
        (TOLD, "MicroX paper, which quotes them"),
        {"Zhalehpour": 0.4504, "Pan": 0.4651},
    ),
    *_anchors(
        ("MicroX", ("BAUM-1", "BAUM-2"), "accuracy", EMOTIONS, "clips", 0),
        (READ, "MicroX paper and its released code"),
        {"MicroX": 0.5520},
    ),
    *_anchors(
        _FER,
        (READ, "their own sources"),
        {
            "small CNNs, the weakest": 0.57,
            "small CNNs, the strongest": 0.66,
            "ResNet34": 0.724,
            "RMN": 0.741,
        },
    ),
    *_anchors(_FER, (TOLD, _OTHERS), {"humans, within 5 points": 0.65}),
    *_anchors(_DFEW_UAR, (TOLD, _OTHERS), {"ResNet18+LSTM": 0.513}),
    *_anchors(_DFEW, (TOLD, _OTHERS), {"ResNet18+LSTM": 0.639}),
    *_anchors(_DFEW_UAR, (READ, "MAE-DFER"), {"MAE-DFER": 0.634}),
    *_anchors(_DFEW, (READ, "MAE-DFER"), {"MAE-DFER": 0.744}),
)
"""Numbers of the field. The protocol "list" is the corpus's own: of FER2013 one of its two test
parts, 3,589 pictures each; DFEW's, and which emotions it tells apart, are not known to us."""

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
    """Write a corpus's name in one way, however it is spelled; others stay as they are.

    Examples
    --------
    >>> name_corpus("casme_ii"), name_corpus("BAUM-1s"), name_corpus("ours")
    ('CASME II', 'BAUM-1', 'ours')
    """
    return _SPELLINGS.get(re.sub(r"[^a-z0-9]", "", name.casefold()), name)


@dataclass(frozen=True)
class Comparison:
    """What numbers may be compared with, and with what they may not: a sentence each."""

    may: tuple[str, ...]
    may_not: tuple[str, ...]


def tell_comparable(facts: ResultFacts, corpora: Iterable[str], n_tested: int) -> Comparison:
    """Say what a result's numbers may be compared with.

    Parameters
    ----------
    facts : ResultFacts
        Of a `microx.evaluation.result.EvaluationResult`; what counts is protocol, group, classes
        and arguments.
    corpora : iterable of str
        Names in the manifest's column ``corpus``; `DRAWN` for drawn actors. Empty, or a name of
        "", means a corpus of somebody's own.
    n_tested : int
        Videos or pictures tested.

    Returns
    -------
    Comparison
        Neither part is empty. A published number may be compared with only where corpora,
        emotions, protocol and what was tested are known to be the same, and the epoch was chosen
        without the tested people; else it stands in ``may_not``, with the reason.

    Examples
    --------
    >>> own = ResultFacts(classes=("a", "b"), regions=("face",), streams=("face",))
    >>> tell_comparable(own, [""], 120).may_not[0]
    'With any published number: nobody else has measured on this corpus.'
    """
    names = frozenset(name_corpus(name) for name in corpora) or frozenset([""])
    known = [anchor for anchor in ANCHORS if anchor.corpora == names]
    against: dict[str, list[Anchor]] = {}
    for anchor in known:
        against.setdefault(_reason_against(anchor, facts, n_tested), []).append(anchor)
    may = [f"Its {told}." for told in _quote(against.pop("", []))]
    may.append("With other runs on the same corpus that tested the same people in the same way.")
    may_not = _about_corpus(names, known) + _about_split(facts)
    may_not += [
        f"Its {told}: {reason}." for reason, anchors in against.items() for told in _quote(anchors)
    ]
    if known:
        may_not.append(
            "Its accuracy with anybody's UF1, F1 or UAR: each number with its own kind only."
        )
    return Comparison(tuple(may), tuple(may_not + _about_frames(facts)))


def _reason_against(anchor: Anchor, facts: ResultFacts, n_tested: int) -> str:
    """Say why a number of the same corpora may not be compared with; "" where it may."""
    ours = facts.protocol
    if not anchor.protocol:
        return "how they divided the clips is not known to us"
    if anchor.protocol != ours:
        return f"they have protocol {anchor.protocol}, this is {ours}"
    if facts.is_leaky != (anchor.protocol in LEAKY):
        return "here clips of the same people were trained on and tested on (LEAKY)"
    if not anchor.classes:
        return "which emotions they told apart is not known to us"
    if _plain_names(anchor.classes) != _plain_names(facts.classes):
        return f"they told {', '.join(anchor.classes)} apart, this {', '.join(facts.classes)}"
    if anchor.protocol == "list" and not anchor.n_tested:
        return "how much their list tests is not known to us"
    if anchor.n_tested not in (0, n_tested):
        return f"they tested {anchor.n_tested:,} videos or pictures, this {n_tested:,}"
    # A fixed list has a validation part; who leaks already does not become worse by the epoch.
    if not (anchor.is_epoch_honest or anchor.protocol in ("list", *LEAKY)):
        return (
            "they chose their epoch on the tested people, or are not known to have done otherwise"
        )
    return ""


def _plain_names(classes: Iterable[str]) -> list[str]:
    """Emotions in one spelling and one order."""
    spellings = read_label_set("ekman7")
    return sorted(spellings.get(name.casefold()) or name.casefold() for name in classes)


def _quote(anchors: Sequence[Anchor]) -> list[str]:
    """Name anchors, a phrase a task and metric."""
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
            "With any published number: these people are drawn, not filmed, and how well drawn "
            "expressions are told apart says nothing about real ones."
        ]
    if known:
        return []
    if "" in names:
        return ["With any published number: nobody else has measured on this corpus."]
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
            "With any score on people never seen: clips of the same people were trained on and "
            "tested on (LEAKY); what this is good for is the gap to the honest protocol."
        ]
    if facts.group == "video":
        return [
            "With any score on people never seen: the corpus names no subjects, so that only "
            "videos were kept apart."
        ]
    return []


def _about_frames(facts: ResultFacts) -> list[str]:
    arguments = facts.arguments
    if arguments.frames == "all" and arguments.reference != "onset":
        return []
    return [
        "With systems that find onset or apex themselves: here the labels told where they are, "
        "in the tested videos too."
    ]
