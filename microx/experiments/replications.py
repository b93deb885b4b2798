"""How each paper is reproduced: its rows, and the lines of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from microx.corpus.corpus import Corpus
from microx.evaluation.baselines import GUESSES, guess
from microx.evaluation.evaluate import Condition
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import EvaluationResult
from microx.experiments.ablations import list_network_rows, list_region_rows, list_setting_rows
from microx.experiments.run import Row
from microx.schema import DEFAULT_REGIONS
from microx.training.facts import find_best

JOYS = ("happy", "happiness", "joy")
"""Names in corpora for what the meeting-recording paper calls joy."""

_BOTH, _GREY, _MASKED = "regions+face", "regions+face, grey", "regions+face, with masks"


@dataclass(frozen=True)
class Line:
    """A number of a paper's table and how ours is measured.

    Attributes
    ----------
    table, row, metric : str
        As in `microx.experiments.literature.PUBLISHED`, or ours where nothing was published.
    of : str
        A row of the run, without `microx.evaluation.result.LEAKY_MARK`.
    measure : str or callable
        A column of `microx.evaluation.summary.results_table`, or a function of the row's results.
    sides : tuple of str
        Which of "leaky" and "honest" are measured.
    """

    table: str
    row: str
    metric: str
    of: str
    measure: str | Callable[[Sequence[EvaluationResult]], float]
    sides: tuple[str, ...] = ("leaky", "honest")


@dataclass(frozen=True)
class Paper:
    """How a paper is reproduced.

    Attributes
    ----------
    title : str
    list_rows : callable
        From a corpus to the rows of the run. A row that names a leaky protocol is trained under
        that one only.
    list_lines : callable
        From the classes to the lines of its tables.
    main : str
        The row whose confusion is stored, and whose gap is reported.
    preset, leaky : str
        The network, and one of `microx.training.splits.LEAKY`.
    divided : str
        The published protocol in words.
    quick : mapping
        Settings that make it quick; our choice.
    quick_words : str
        What they are.
    note : str
        Further differences from the paper.
    corpora : tuple of str
        Where its numbers were measured, if known: on these the level may be compared, too.
    """

    title: str
    list_rows: Callable[[Corpus], list[Row]]
    list_lines: Callable[[Sequence[str]], list[Line]]
    main: str
    preset: str
    leaky: str
    divided: str
    quick: Mapping[str, Any]
    quick_words: str
    note: str = ""
    corpora: tuple[str, ...] = field(default=())


def _of_history(column: str, results: Sequence[EvaluationResult]) -> float:
    """Mean over folds and seeds of a column of the history at the best epoch."""
    kept = [
        fold[column].to_numpy(float)[find_best(fold)]
        for result in results
        for _, fold in result.history.groupby("fold")
    ]
    return float(np.mean(kept))


def _seconds(results: Sequence[EvaluationResult]) -> float:
    """Seconds of one training."""
    each = [result.history.groupby("fold")["seconds"].sum() for result in results]
    return float(np.concatenate(each).mean())


def _seconds_to_best(results: Sequence[EvaluationResult]) -> float:
    return float(np.mean([result.facts.seconds_to_best for result in results]))


def _share(emotion: str, of: str, results: Sequence[EvaluationResult]) -> float:
    """Share of clips with an emotion as the true or the predicted class."""
    label = results[0].classes.index(emotion)
    return float(np.mean([np.mean(getattr(result, of) == label) for result in results]))


def _run_accuracy(
    choose: Callable[[Sequence[float]], float], results: Sequence[EvaluationResult]
) -> float:
    """The lowest or highest accuracy of several seeds."""
    return choose([accuracy_score(result.y_true, result.y_pred) for result in results])


def _best_fold(results: Sequence[EvaluationResult]) -> float:
    return max(
        accuracy_score(result.y_true[result.fold == fold], result.y_pred[result.fold == fold])
        for result in results
        for fold in np.unique(result.fold)
    )


def _guessed(results: Sequence[EvaluationResult]) -> float:
    guessed = guess(results[0], GUESSES[0])
    return accuracy_score(guessed.y_true, guessed.y_pred)


def _list_microx_rows(corpus: Corpus) -> list[Row]:
    every = {"regions": list(DEFAULT_REGIONS)}
    return [
        *list_region_rows(corpus),
        Row(_MASKED, every, Condition(occlude="mask")),
        Row(_GREY, {**every, "inputs": "grey"}),
    ]


def _list_microx_lines(classes: Sequence[str]) -> list[Line]:
    general = {
        "accuracy": "accuracy",
        "precision": "macro_precision",
        "recall": "uar",
        "F": "macro_f1",
    }
    rows = {
        ("own videos", "with mask"): _MASKED,
        ("own videos", "without mask"): _BOTH,
        ("colour or grey", "colour"): _BOTH,
        ("colour or grey", "grey"): _GREY,
        ("face and regions", "full face"): "face",
        ("face and regions", "regions"): "regions",
        ("face and regions", "both"): _BOTH,
        ("single regions", "left eye"): "left_eye",
        ("single regions", "right eye"): "right_eye",
        ("single regions", "nose"): "nose",
        ("single regions", "mouth"): "mouth",
    }
    return [
        *(Line("general metrics", "five streams", name, _BOTH, of) for name, of in general.items()),
        *(Line(*key, "accuracy", of, "accuracy") for key, of in rows.items()),
    ]


def _list_meeting_lines(classes: Sequence[str]) -> list[Line]:
    table, of = "images split 8:2", "fer_cnn"
    joys = [name for name in classes if name in JOYS]
    return [
        Line(table, "all emotions", "train accuracy", of, partial(_of_history, "accuracy")),
        Line(table, "all emotions", "accuracy", of, "accuracy"),
        *(Line(table, "joy", "recognised", of, f"recall_{joy}") for joy in joys),
        *(
            Line("percentage of each emotion", name, metric, of, partial(_share, name, field))
            for name in classes
            for metric, field in (("predicted", "y_pred"), ("true", "y_true"))
        ),
    ]


_APEX, _PRESENCE = "apex frame", "expression or not"
_IMAGE_FOLDS = "apex frame, folds of images"


def _list_apex_rows(corpus: Corpus) -> list[Row]:
    rows = [Row(_APEX), Row(_IMAGE_FOLDS, {"protocol": "clip-folds"})]
    if (corpus.manifest["apex"].str.strip().str.isdigit()).any():
        rows.append(Row(_PRESENCE, {"frames": "onset|apex"}))
    return rows


def _list_apex_lines(classes: Sequence[str]) -> list[Line]:
    naive, folds = "naive 70/30", "5 folds"
    lowest, highest = partial(_run_accuracy, min), partial(_run_accuracy, max)
    return [
        Line(naive, "lowest run", "accuracy", _APEX, lowest, ("leaky",)),
        Line(naive, "highest run", "accuracy", _APEX, highest, ("leaky",)),
        Line(folds, "best fold", "accuracy", _IMAGE_FOLDS, _best_fold, ("leaky",)),
        Line(folds, "best fold of subjects", "accuracy", _APEX, _best_fold, ("honest",)),
        Line(folds, "all folds together", "accuracy", _APEX, "accuracy", ("honest",)),
        Line(folds, "most frequent class", "accuracy", _APEX, _guessed, ("honest",)),
        Line("two classes", _PRESENCE, "accuracy", _PRESENCE, "accuracy"),
        Line("two classes", "most frequent class", "accuracy", _PRESENCE, _guessed),
    ]


# The abstract of the six-convolution paper names these without numbers; strengths are our choice.
_CNN6_PARTS: dict[str, dict[str, Any]] = {
    "HOG": {"hog": True},
    "dropout": {"dropout": 0.3},
    "batch norm": {"batch_norm": True},
    "L2": {"l2": 1e-4},
}


def _list_cnn6_rows(corpus: Corpus) -> list[Row]:
    return [
        *list_setting_rows("optimizer", ("adam", "rmsprop")),
        *(
            Row(f"adam, {part}", {"optimizer": "adam", "build": build})
            for part, build in _CNN6_PARTS.items()
        ),
    ]


def _list_cnn6_lines(classes: Sequence[str]) -> list[Line]:
    table = "Adam or RMSprop"
    columns = {
        "train accuracy": "accuracy",
        "validation accuracy": "val_accuracy",
        "train loss": "loss",
        "validation loss": "val_loss",
    }
    parts = {"none of them": "adam", **{part: f"adam, {part}" for part in _CNN6_PARTS}}
    return [
        line
        for row, of in (("Adam", "adam"), ("RMSprop", "rmsprop"))
        for line in (
            *(Line(table, row, m, of, partial(_of_history, c)) for m, c in columns.items()),
            Line(table, row, "test accuracy", of, "accuracy"),
        )
    ] + [
        Line("with HOG, dropout, batch norm or L2", row, "test accuracy", of, "accuracy")
        for row, of in parts.items()
    ]


def _list_comparison_lines(classes: Sequence[str]) -> list[Line]:
    rows = {"CNN1": "cnn1", "CNN2": "cnn2", "ResNet18": "resnet18"}
    measures: dict[str, tuple[tuple[str, Any], ...]] = {
        "by accuracy": (
            ("train accuracy", partial(_of_history, "accuracy")),
            ("accuracy", "accuracy"),
        ),
        "by time": (
            ("seconds of a training", _seconds),
            ("seconds to the best epoch", _seconds_to_best),
        ),
    }
    return [
        Line(table, row, metric, of, measure)
        for table, columns in measures.items()
        for row, of in rows.items()
        for metric, measure in columns
    ]


_SHUFFLED = "a fifth of the shuffled images is tested"

RECIPES: dict[str, Paper] = {
    "microx": Paper(
        title="The MicroX paper",
        list_rows=_list_microx_rows,
        list_lines=_list_microx_lines,
        main=_BOTH,
        preset="paper",
        leaky="clips",
        divided="a fifth of the shuffled clips is tested, as in the paper's released code",
        quick={"preset": "compact"},
        quick_words="the network is the preset compact with its own training, not the paper's.",
        note="In place of own videos, the test clips themselves are used, without and with masks.",
        corpora=("BAUM-1", "BAUM-2"),
    ),
    "meeting": Paper(
        title="The meeting-recording network",
        list_rows=lambda corpus: [Row("fer_cnn")],
        list_lines=_list_meeting_lines,
        main="fer_cnn",
        preset="fer_cnn",
        leaky="clips",
        divided=f"{_SHUFFLED} (8:2)",
        quick={"epochs": 40, "patience": 40, "batch_size": 8, "augment": ""},
        quick_words="40 epochs in batches of 8, in place of the paper's 50 in batches of 32, and "
        "images not mirrored: with fewer steps it learns nothing from a few hundred images.",
        note="The paper's 66 % is a training accuracy, and is compared with ours of training. "
        "Early stopping and mirroring are ours, not the paper's. The paper gives the percentage "
        "of each emotion in a recording; here it is that of the test images.",
    ),
    "apex": Paper(
        title="The apex-frame network",
        list_rows=_list_apex_rows,
        list_lines=_list_apex_lines,
        main=_APEX,
        preset="apex_dcnn",
        leaky="naive",
        divided="three tenths of the shuffled frames are tested (naive 70/30)",
        quick={"epochs": 15, "build": {"pad_to": None}},
        quick_words="15 epochs in place of the paper's 50, and no black border: the crops are "
        "read as they are.",
        note="Early stopping and mirroring are ours. The paper's 5 folds split images, so that a "
        "subject is in several (LEAKY); the honest ones split subjects. If the labels name no "
        "apex, the middle of the video is used. Lowest and highest run differ only with several "
        "seeds. The best fold is given because the paper gives it; quote all folds together.",
        corpora=("CASME II",),
    ),
    "cnn6": Paper(
        title="The six-convolution network",
        list_rows=_list_cnn6_rows,
        list_lines=_list_cnn6_lines,
        main="adam",
        preset="cnn6",
        leaky="clips",
        divided=f"{_SHUFFLED}, a fifth of the others is for validation (our choice)",
        quick={"epochs": 12, "batch_size": 8},
        quick_words="at most 12 epochs in batches of 8, in place of 50 in batches of 32.",
        note="Early stopping and mirroring are ours: the paper names rescaling, cropping and "
        "rotation. Scores of training and validation are those of the best epoch, averaged over "
        "folds; the test part is used for neither.",
    ),
    "cnn-comparison": Paper(
        title="The comparison of CNN1, CNN2 and ResNet18",
        list_rows=list_network_rows,
        list_lines=_list_comparison_lines,
        main="cnn1",
        preset="cnn1",
        leaky="clips",
        divided=f"{_SHUFFLED} (our choice)",
        quick={"epochs": 12, "batch_size": 8, "augment": "flip"},
        quick_words="at most 12 epochs in batches of 8, in place of 50 in batches of 32, and "
        "images only mirrored, not cropped, blurred or rotated.",
        note="The paper's ResNet18 was pre-trained on ImageNet, ours is not; early stopping is "
        "ours. The report and the confusion of the paper are CNN1's. The paper says that CNN1 "
        "trained fastest. Seconds are those of this machine, and comparable only if nothing else "
        "ran at the same time.",
    ),
}
"""The papers by their keys in `microx.experiments.literature.PAPERS`."""
