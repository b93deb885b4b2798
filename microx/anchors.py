"""Published numbers of the field on corpora that others can get, too; none measured by microx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from microx.schema import EMOTIONS

READ, TOLD = "read in the source", "second-hand"


@dataclass(frozen=True)
class Anchor:
    """A published number on a corpus that others can get.

    Attributes
    ----------
    task : str
    corpora : frozenset of str
        As `microx.published.name_corpus` writes them.
    metric : str
        Such as ``"UF1"``.
    classes : tuple of str
        The emotions told apart; empty where they are not known to us.
    protocol : str
        One of `microx.splits.PROTOCOLS` or `microx.splits.LEAKY`; "" where it is not known to us.
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
