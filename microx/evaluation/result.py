"""Predictions for each test clip, stored so that every table can be redone without training.

An `EvaluationResult` is one training, or several folds of one; `write_result` stores it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.errors import InputError
from microx.evaluation.facts import ResultFacts, join_facts
from microx.evaluation.metrics import accuracy_score, confusion_matrix, uar_score, uf1_score
from microx.files import whole_file
from microx.training.facts import check
from microx.training.splits import clip_groups

LEAKY_MARK = " (LEAKY)"
"""The end of a row's name if its split shares subjects or videos."""

HISTORY_COLUMNS = ("fold", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")

_PREDICTIONS, _HISTORY, _RESULT = "predictions.csv", "history.csv", "result.json"


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Predictions of one model (one per fold) for each test clip, and how they were made.

    Attributes
    ----------
    name : str
        Name of the row in a table, such as ``"regions+face"``.
    regions : tuple of str
        The streams of the model; empty for a baseline.
    classes : tuple of str
        The K emotions, in the order of the columns of `y_prob`.
    y_true : (n,) int64
        Index into `classes`.
    y_prob : (n, K) float32
        Rows sum to 1.
    clip_id, video_id, subject : (n,) str
        `subject` is ``""`` where the corpus names none.
    fold : (n,) int64
        The split that the clip was tested in; each clip is tested once, unless a list of parts
        tests it in several folds.
    history : DataFrame
        Columns fold, epoch, loss, accuracy, val_loss, val_accuracy, seconds.
    facts : ResultFacts
        Protocol, counts, arguments, versions, warnings.

    Raises
    ------
    InputError
        If the arrays differ in length or hold impossible values.
    """

    name: str
    regions: tuple[str, ...]
    classes: tuple[str, ...]
    y_true: npt.NDArray[np.int64]
    y_prob: npt.NDArray[np.float32]
    clip_id: npt.NDArray[np.str_]
    video_id: npt.NDArray[np.str_]
    subject: npt.NDArray[np.str_]
    fold: npt.NDArray[np.int64]
    history: pd.DataFrame
    facts: ResultFacts

    def __post_init__(self) -> None:
        n_clips, n_classes = len(self.y_true), len(self.classes)
        for field in ("y_true", "clip_id", "video_id", "subject", "fold"):
            if np.shape(getattr(self, field)) != (n_clips,):
                raise InputError(
                    f"result '{self.name}': {field} must have shape ({n_clips},) like y_true; "
                    f"found {np.shape(getattr(self, field))}"
                )
        if np.shape(self.y_prob) != (n_clips, n_classes):
            raise InputError(
                f"result '{self.name}': y_prob must have shape ({n_clips}, {n_classes}); "
                f"found {np.shape(self.y_prob)}"
            )
        if n_clips and not (self.y_true.min() >= 0 and self.y_true.max() < n_classes):
            raise InputError(f"result '{self.name}': y_true must lie in 0 … {n_classes - 1}")
        # A nan fails this comparison too.
        if not np.all(np.abs(self.y_prob.sum(axis=1) - 1) < 1e-3):
            raise InputError(f"result '{self.name}': each row of y_prob must sum to 1")

    def __repr__(self) -> str:
        n_subjects = len(set(self.subject.tolist()) - {""})
        scores = (
            f", accuracy {self.accuracy:.3f}, UAR {self.uar:.3f}, UF1 {self.uf1:.3f}"
            if len(self.y_true)
            else ""
        )
        who = f"{len(self.y_true)} clips, {n_subjects} subjects"
        return f"EvaluationResult({self.name}: {who}{scores})"

    @property
    def accuracy(self) -> float:
        """Share of the clips whose most likely class is the true one."""
        return accuracy_score(self.y_true, self.y_pred)

    @property
    def uar(self) -> float:
        """Mean recall of the classes; see `microx.evaluation.metrics.uar_score`."""
        return uar_score(self.y_true, self.y_pred, len(self.classes))

    @property
    def uf1(self) -> float:
        """Mean F1 of the classes; see `microx.evaluation.metrics.uf1_score`."""
        return uf1_score(self.y_true, self.y_pred, len(self.classes))

    @property
    def confusion(self) -> pd.DataFrame:
        """Counts of clips: a row for each true class, a column for each predicted one."""
        counts = confusion_matrix(self.y_true, self.y_pred, len(self.classes))
        return pd.DataFrame(counts, index=list(self.classes), columns=list(self.classes))

    @property
    def y_pred(self) -> npt.NDArray[np.int64]:
        """The predicted class of each row, (n,) int64: the most likely, among equals the first."""
        return np.asarray(np.argmax(self.y_prob, axis=1), np.int64)

    @property
    def group(self) -> npt.NDArray[np.str_]:
        """The subject of each row, (n,) str, or its video where no subject is named."""
        return clip_groups(pd.DataFrame({"subject": self.subject, "video_id": self.video_id}))[0]

    def by_video(self) -> EvaluationResult:
        """The same result with one row per video: the mean probabilities of its clips.

        Returns
        -------
        EvaluationResult
            In order of first appearance; `clip_id` repeats `video_id`. Empty stays empty. A video
            whose clips have several true classes, such as onset and apex, has a row for each.
        """
        keys = pd.DataFrame({"fold": self.fold, "video_id": self.video_id, "y_true": self.y_true})
        group = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
        _, first = np.unique(group, return_index=True)
        n_rows = np.bincount(group, minlength=len(first))[:, None]
        y_prob = np.zeros((len(first), len(self.classes)))
        np.add.at(y_prob, group, self.y_prob)
        return replace(
            self,
            y_true=self.y_true[first],
            y_prob=(y_prob / n_rows).astype(np.float32),
            clip_id=self.video_id[first],
            video_id=self.video_id[first],
            subject=self.subject[first],
            fold=self.fold[first],
        )


def write_result(result: EvaluationResult, folder: str | Path) -> None:
    """Store a result as predictions.csv, history.csv and, last of all, result.json.

    Parameters
    ----------
    result : EvaluationResult
    folder : path
        Made if missing. result.json is written when the rest is complete, so its presence
        means that the result is complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    predictions = tabulate_predictions(result)
    with whole_file(folder / _PREDICTIONS) as partial:
        predictions.to_csv(partial, index=False)
    if not result.history.empty:  # a stored model's history is beside the model
        with whole_file(folder / _HISTORY) as partial:
            result.history.to_csv(partial, index=False)
    summary = {
        "name": result.name,
        "regions": list(result.regions),
        "classes": list(result.classes),
        "facts": result.facts.as_dict(),
    }
    with whole_file(folder / _RESULT) as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def tabulate_predictions(result: EvaluationResult) -> pd.DataFrame:
    """Tabulate the predictions, a row for each clip.

    Returns
    -------
    DataFrame
        Columns clip_id, video_id, subject, fold, y_true and y_pred (names), p_<class> … as text
        of nine digits, which is exact for a float32.
    """
    classes = np.array(result.classes)
    return pd.DataFrame(
        {
            "clip_id": result.clip_id,
            "video_id": result.video_id,
            "subject": result.subject,
            "fold": result.fold,
            "y_true": classes[result.y_true],
            "y_pred": classes[result.y_pred],
        }
        | {f"p_{name}": [f"{p:.9g}" for p in result.y_prob[:, k]] for k, name in enumerate(classes)}
    )


def is_finished(folder: str | Path) -> bool:
    """Whether a folder holds a complete result."""
    return (Path(folder) / _RESULT).is_file()


def read_result(folder: str | Path) -> EvaluationResult:
    """Read what `write_result` stored.

    Parameters
    ----------
    folder : path

    Returns
    -------
    EvaluationResult
        Equal to the one written, with bit-identical probabilities.

    Raises
    ------
    InputError
        If the folder holds no finished result, or an inconsistent one.
    """
    folder = Path(folder)
    if not is_finished(folder):
        raise InputError(f"{folder}: no finished result here ({_RESULT} not found)")
    try:
        summary = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        classes = tuple(summary["classes"])
        text = dict.fromkeys(["clip_id", "video_id", "subject", "y_true", "y_pred"], str)
        table = pd.read_csv(folder / _PREDICTIONS, dtype=text, keep_default_na=False)
        index = {name: k for k, name in enumerate(classes)}
        return EvaluationResult(
            name=summary["name"],
            regions=tuple(summary["regions"]),
            classes=classes,
            y_true=np.array([index[name] for name in table["y_true"]], np.int64),
            y_prob=table[[f"p_{name}" for name in classes]].to_numpy(np.float32),
            clip_id=table["clip_id"].to_numpy(str),
            video_id=table["video_id"].to_numpy(str),
            subject=table["subject"].to_numpy(str),
            fold=table["fold"].to_numpy(np.int64),
            history=_read_history(folder / _HISTORY),
            facts=_read_facts(folder / _RESULT, summary["facts"]),
        )
    except (OSError, KeyError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"{folder}: the stored result is damaged ({type(error).__name__}: {error}); "
            f"delete the folder and run again"
        ) from error


def _read_facts(path: Path, found: Any) -> ResultFacts:
    try:
        check("facts", isinstance(found, dict), "facts by name", found)
        return ResultFacts.from_json(found)
    except InputError as error:
        raise InputError(f"{path}: {error}; delete the folder and run again") from None


def _read_history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(HISTORY_COLUMNS))
    return pd.read_csv(path)


def join_folds(results: Sequence[EvaluationResult]) -> EvaluationResult:
    """Put the folds of one evaluation together.

    Parameters
    ----------
    results : sequence of EvaluationResult, at least one
        Of the same name and classes, in the order of the folds.

    Returns
    -------
    EvaluationResult
        Its facts are those of the first, with lists for what differs from fold to fold; seconds
        are summed.
    """
    first = results[0]
    joined: dict[str, Any] = {
        field: np.concatenate([getattr(result, field) for result in results])
        for field in ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    }
    return replace(
        first,
        **joined,
        history=pd.concat([result.history for result in results], ignore_index=True),
        facts=join_facts([result.facts for result in results]),
    )
