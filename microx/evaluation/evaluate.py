"""Train on some subjects, test on others: the only evaluation loop of microx.

An ablation is this loop with fewer regions, a control is this loop with shuffled labels.
`plan_evaluation` makes the splits, `evaluate_fold` does one fold, `evaluate` all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus.corpus import Corpus, check_corpus
from microx.evaluation.facts import ResultFacts, SplitFacts
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import (
    HISTORY_COLUMNS,
    EvaluationResult,
    join_folds,
)
from microx.evaluation.svm import MOST_CLIPS, fit_svm
from microx.files import check_new_folder
from microx.progress import Progress, ProgressOption, part_of, tell_progress
from microx.training.backend import load_keras, threads_of
from microx.training.facts import FitFacts
from microx.training.protocol import Protocol
from microx.training.settings import STREAMED, SVMS, FitOptions, FitSettings
from microx.training.splits import Split, clip_groups, make_splits, read_parts, split_warnings

BATCH_CLIPS = 32
"""Clips predicted at a time (our choice)."""

ORACLE = "epoch chosen on the test clips"
"""The end of an oracle's name, so that it is not quoted by mistake."""


@dataclass(frozen=True)
class Condition:
    """How the test clips are changed.

    Attributes
    ----------
    occlude : str, optional
        Objects put on the faces, such as ``"mask:0.5"``.
    without : tuple of str
        Regions treated as missing, for models that can do without them.
    augment : str
        Random changes, the same each time, such as ``"erase"``.
    """

    occlude: str | None = None
    without: tuple[str, ...] = ()
    augment: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """An evaluation before it is run: see `plan_evaluation`.

    Attributes
    ----------
    corpus : Corpus
        With the classes of the clips' labels.
    clips : DataFrame
        With their true labels; a control shuffles them within each fold.
    splits : tuple of Split
        One for each fold.
    settings : FitSettings
    regions : tuple of str
        Streams of the model.
    preset : str
    seed : int
        Of training.
    facts : SplitFacts
        How the clips were divided.
    notes : tuple of str
        What a reader of the scores should know about the splits.
    """

    corpus: Corpus
    clips: pd.DataFrame
    splits: tuple[Split, ...]
    settings: FitSettings
    regions: tuple[str, ...]
    preset: str
    seed: int
    facts: SplitFacts
    notes: tuple[str, ...] = ()

    def cautions(self) -> list[str]:
        """Warnings before training: parts of the splits that lack a class."""
        return [
            sentence
            for split in self.splits
            for sentence in split_warnings(self.clips, split, self.corpus.classes)
        ]


def plan_evaluation(
    corpus: Corpus,
    *,
    regions: Sequence[str] | None = None,
    protocol: Protocol | str = "holdout",
    preset: str = "compact",
    settings: FitSettings | None = None,
    seed: int = 0,
    shuffle_labels: bool = False,
    **changes: Unpack[FitOptions],
) -> Plan:
    """Split a corpus into training, validation and test, and refuse invalid arguments.

    Parameters
    ----------
    corpus, regions, protocol, preset, settings, seed, shuffle_labels, **changes
        See `evaluate`.

    Returns
    -------
    Plan

    Raises
    ------
    MicroxError
        As `evaluate` does.
    """
    load_keras(threads_of(preset))
    from microx.models.streams import list_regions
    from microx.training.dataset import check_regions, open_clips
    from microx.training.fit import default_regions

    regions = tuple(default_regions(corpus, preset) if regions is None else regions)
    chosen = FitSettings.of(preset, settings, **changes)
    check_regions(corpus, list_regions(regions), inputs=chosen.inputs)
    protocol = Protocol.of(protocol)
    corpus, clips = open_clips(corpus, chosen)
    parts: pd.DataFrame | None = None
    notes: list[str] = []
    if protocol.split_file is not None:
        parts, notes = read_parts(protocol.split_file, corpus.manifest, clips)
    split_seed = seed if protocol.split_seed is None else protocol.split_seed
    splits = make_splits(
        clips, protocol.kind, seed=split_seed, n_folds=protocol.n_folds, parts=parts
    )
    if chosen.patience == 0:
        splits = [split.without_validation() for split in splits]
    facts = SplitFacts(
        protocol=protocol.kind,
        leaky=protocol.is_leaky,
        group="clip" if protocol.is_leaky else clip_groups(clips)[1],
        split_seed=split_seed,
        split_file=None if protocol.split_file is None else Path(protocol.split_file).name,
        n_subjects=int(clips["subject"].replace("", np.nan).nunique()),
        n_videos=int(clips["video_id"].nunique()),
        shuffled_labels=shuffle_labels,
        corpus=corpus.folder.resolve().name,
    )
    return Plan(corpus, clips, tuple(splits), chosen, regions, preset, seed, facts, tuple(notes))


def evaluate_fold(
    plan: Plan,
    fold: int,
    conditions: Sequence[tuple[str, Condition]],
    *,
    oracle: bool = False,
    path: str | Path | None = None,
    log_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> list[EvaluationResult]:
    """Train on one fold and test on its test part, once in each condition.

    Parameters
    ----------
    plan : Plan
    fold : int
        From 0.
    conditions : sequence of (str, Condition)
        Names of the results and how each changes the test clips.
    oracle : bool
        Whether to report also the score of the epoch that is best on the test clips, in the first
        condition.
    path : path, optional
        ``.keras`` file for the model.
    log_dir : path, optional
        Folder for TensorBoard's logs.
    progress : callable, optional
        Called with epochs done, epochs in all, and a few words.

    Returns
    -------
    list of EvaluationResult
        One for each condition; with `oracle` one more, its name ending in `ORACLE` and
        ``facts.oracle`` true. That one is not honest: its epoch was chosen on the test labels.
    """
    from microx.training.fit import fit_split

    start = time.perf_counter()
    split, clips = plan.splits[fold], plan.clips
    if plan.facts.is_shuffled:
        clips = shuffle_fold(clips, split, plan.corpus.classes, plan.seed + fold)
    test = clips.iloc[split.test]
    is_svm = plan.preset in SVMS
    # Before training, so that invalid conditions are refused first.
    datasets = [_show(plan, test, condition) for _, condition in conditions]
    watcher = _Watcher(_show(plan, test, conditions[0][1])) if oracle and not is_svm else None
    if is_svm:
        predict, history, fit = _fit_svm(plan, clips, split)
    else:
        model, history, fit = fit_split(
            plan.corpus,
            clips,
            split,
            plan.settings,
            regions=plan.regions,
            preset=plan.preset,
            seed=plan.seed,
            path=path,
            after_epoch=watcher,
            log_dir=log_dir,
            progress=progress,
            keep=True,
        )
        predict = partial(predict_clips, model)
    history = history.assign(fold=fold)[list(HISTORY_COLUMNS)]
    facts = ResultFacts.of(fit, plan.facts, n_test=(len(test),))
    results = []
    for (name, condition), dataset in zip(conditions, datasets, strict=True):
        seconds = round(time.perf_counter() - start, 2)
        y_prob = predict(dataset)
        dataset.forget()
        note = note_missing(fit, condition.without)
        told = replace(
            facts,
            occlude_test=condition.occlude,
            without=tuple(condition.without),
            augment_test=condition.augment,
            seconds=seconds,
            warnings=(*fit.warnings, *plan.notes, *([note] if note else [])),
        )
        results.append(make_result(name, test, y_prob, fold, history, told))
    if watcher is not None:
        watcher.dataset.forget()
        told = replace(results[0].facts, oracle=True, best_epoch=(watcher.epoch,))
        name = f"{conditions[0][0]}, {ORACLE}"
        results.append(make_result(name, test, watcher.y_prob, fold, history, told))
    return results


def _fit_svm(
    plan: Plan, clips: pd.DataFrame, split: Split
) -> tuple[Callable[[Any], npt.NDArray[np.float32]], pd.DataFrame, FitFacts]:
    """Fit a support vector machine, which has no epochs and is not stored, to a fold's training."""
    from microx.training.fit import describe_fit

    fit = describe_fit(
        plan.corpus, clips, split, plan.settings, plan.preset, plan.regions, plan.seed
    )
    fit = replace(fit, n_parameters=0)
    rows = split.train
    if len(rows) > MOST_CLIPS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_CLIPS).round().astype(np.int64)]
        told = f"{plan.preset} was fitted to {MOST_CLIPS:,} of {len(split.train):,} training clips."
        fit = replace(fit, warnings=(*fit.warnings, told))
    trained_on = _show(plan, clips.iloc[rows], Condition())
    predict = fit_svm(plan.preset, trained_on, is_weighted=plan.settings.balance == "weights")
    history = pd.DataFrame(columns=list(HISTORY_COLUMNS), dtype=float)
    return predict, history, fit


class _Watcher:
    """Tests after each epoch and keeps the best: what an honest evaluation must not do."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._y_true = dataset.clips["label"].to_numpy(np.int64)
        self._n_epochs, self._best = 0, -1.0
        self.epoch = 0
        self.y_prob = np.zeros((0, 0), np.float32)

    def __call__(self, model: Any) -> None:
        self._n_epochs += 1
        y_prob = predict_clips(model, self.dataset)
        accuracy = accuracy_score(self._y_true, y_prob.argmax(axis=1))
        if accuracy > self._best:
            self._best, self.epoch, self.y_prob = accuracy, self._n_epochs, y_prob


def _show(plan: Plan, test: pd.DataFrame, condition: Condition) -> Any:
    from microx.models.streams import list_regions

    return open_test(
        plan.corpus,
        test,
        list_regions(plan.regions),
        plan.settings,
        condition,
        tell_present=plan.preset in STREAMED,
        seed=plan.seed,
    )


def evaluate(
    corpus: Corpus,
    *,
    regions: Sequence[str] | None = None,
    protocol: Protocol | str = "holdout",
    preset: str = "compact",
    settings: FitSettings | None = None,
    seed: int = 0,
    occlude_test: str | None = None,
    without: Sequence[str] = (),
    shuffle_labels: bool = False,
    name: str | None = None,
    out: str | Path | None = None,
    progress: ProgressOption = None,
    **changes: Unpack[FitOptions],
) -> EvaluationResult:
    """Train on some subjects, test on others, once per split.

    Parameters
    ----------
    corpus : Corpus
    regions : sequence of str, optional
        Streams of the model; None means those of `microx.training.fit.default_regions`.
    protocol : Protocol or str
        How clips are divided, or its kind alone.
    preset : str
        See `microx.training.fit.fit_split`.
    seed : int
        For weights, dropout, order, augmentation and shuffled labels.
    occlude_test : str, optional
        Objects put on the tested faces, such as ``"mask:0.5"``; see
        `microx.training.dataset.ClipDataset`. The setting `occlude` is for training and validation.
    without : sequence of str
        Regions treated as missing in the test, for models that can do without them.
    shuffle_labels : bool
        A control that must score at chance; see `shuffle_fold`.
    name : str, optional
        Of the row; None means the regions joined by ``+``.
    out : path, optional
        Folder for each fold's model, ``fold_<k>.keras``.
    progress : callable or bool, optional
        Called with epochs done, epochs in all folds, and a few words. None shows a bar in a
        terminal and a notebook, False shows nothing.
    settings : FitSettings, optional
        How models are trained; None means the preset's own.
    **changes
        Single settings to change, such as ``epochs=5``.

    Returns
    -------
    EvaluationResult
        Each test clip predicted once, by the epoch that was best on other, validation subjects, or
        with ``patience=0`` by the last.

    Raises
    ------
    SplitError
        If there are too few subjects.
    ModelError
        If the corpus lacks a region or the preset is unknown.

    Examples
    --------
    >>> result = evaluate(load_corpus("corpus"), regions=("mouth",))  # doctest: +SKIP
    >>> float((result.y_pred == result.y_true).mean())  # doctest: +SKIP
    0.81
    """
    check_corpus(corpus)
    if out is not None:
        check_new_folder(out)
    plan = plan_evaluation(
        corpus,
        regions=regions,
        protocol=protocol,
        preset=preset,
        settings=settings,
        seed=seed,
        shuffle_labels=shuffle_labels,
        **changes,
    )
    name = "+".join(plan.regions) if name is None else name
    condition = Condition(occlude_test, tuple(without))
    n_folds = len(plan.splits)
    folds = []
    with tell_progress(progress, "evaluating", "epochs") as told:
        for fold in range(n_folds):
            words = f"fold {fold + 1} of {n_folds}, " if n_folds > 1 else ""
            path = None if out is None else Path(out) / f"fold_{fold}.keras"
            part = part_of(told, fold, n_folds, words)
            folds += evaluate_fold(plan, fold, [(name, condition)], path=path, progress=part)
    return join_folds(folds)


def note_missing(facts: FitFacts, missing: Sequence[str]) -> str:
    """Warn if regions are missing for a model that was always trained with all of them.

    Parameters
    ----------
    facts : FitFacts
        From `microx.training.model_file.load_model`.
    missing : sequence of str
        Regions.

    Returns
    -------
    str
        One line; empty if nothing is missing, or training dropped regions too.
    """
    if not missing or facts.arguments.region_dropout > 0:
        return ""
    return (
        f"the model has to do without {', '.join(missing)}, but was trained with all its regions "
        "present (region_dropout 0)"
    )


def open_test(
    corpus: Corpus,
    clips: pd.DataFrame,
    regions: Sequence[str],
    settings: FitSettings,
    condition: Condition,
    *,
    tell_present: bool,
    seed: int,
) -> Any:
    """Open test clips, changed by a condition, in order, as a `ClipDataset`."""
    from microx.training.dataset import ClipDataset

    return ClipDataset(
        corpus,
        clips,
        regions=regions,
        inputs=settings.inputs,
        reference=settings.reference,
        motion=settings.motion,
        batch_size=BATCH_CLIPS,
        occlude=condition.occlude,
        augment=condition.augment,
        tell_present=tell_present,
        without=condition.without,
        seed=seed,
    )


def predict_clips(model: Any, dataset: Any) -> npt.NDArray[np.float32]:
    """Predict every clip of a dataset.

    Parameters
    ----------
    model : keras.Model
    dataset : microx.training.dataset.ClipDataset

    Returns
    -------
    array (N, K) float32
        In the order of the dataset's batches.

    Notes
    -----
    Not by Keras's `predict`: on PyTorch that advances the random generator of the dropout, so
    that a test between two epochs changes the next one; and TensorFlow would trace the model
    again for a shorter last batch.
    """
    y_prob: list[npt.NDArray[np.float32]] = []
    for index in range(len(dataset)):
        clips, one_hot = dataset[index]
        lacking = dataset.batch_size - len(one_hot)
        # One shape for all batches, and for all folds of a small network that is kept.
        if lacking and (y_prob or dataset.inputs == "motion"):
            clips = {
                name: np.pad(x, ((0, lacking), *((0, 0),) * (x.ndim - 1)), mode="edge")
                for name, x in clips.items()
            }
        y_prob.append(np.asarray(model.predict_on_batch(clips), np.float32)[: len(one_hot)])
    return np.concatenate(y_prob)


def make_result(
    name: str,
    test: pd.DataFrame,
    y_prob: npt.NDArray[np.float32],
    fold: int,
    history: pd.DataFrame,
    facts: ResultFacts,
) -> EvaluationResult:
    """Join the predictions (N, K) of one fold's test clips with their labels."""
    return EvaluationResult(
        name=name,
        regions=facts.regions,
        classes=facts.classes,
        y_true=test["label"].to_numpy(np.int64),
        y_prob=y_prob,
        clip_id=test["clip_id"].to_numpy(str),
        video_id=test["video_id"].to_numpy(str),
        subject=test["subject"].to_numpy(str),
        fold=np.full(len(test), fold, np.int64),
        history=history,
        facts=facts,
    )


def shuffle_fold(
    clips: pd.DataFrame, split: Split, classes: Sequence[str], seed: int
) -> pd.DataFrame:
    """Shuffle labels among videos, separately in training and in the test.

    Parameters
    ----------
    clips : DataFrame
        Columns video_id, label, emotion.
    split : Split
        Rows of `clips`.
    classes : sequence of str
    seed : int

    Returns
    -------
    DataFrame
        The same clips. The clips of a video keep one label, unless their labels already differ,
        as onset and apex do; then labels are shuffled among clips. If a split leaks, so that a
        video is in both parts, labels are shuffled among all its videos, and the leak shows.

    Notes
    -----
    Shuffled among all videos at once, a label that is frequent in training is rare in the test:
    a model that separates 7 emotions of 12 subjects without error then scores .122 in the mean of
    4,000 shuffles, not .143. With the two parts shuffled separately it scores .142 (standard
    deviation .075), and with only the training labels shuffled .145, but with about twice the
    deviation (.136), because each emotion is then right or wrong as a whole.
    """
    video = clips["video_id"].to_numpy(str)
    label = clips["label"].to_numpy(np.int64).copy()
    fitted = np.concatenate([split.train, split.validation])
    parts = [fitted, split.test]
    if set(video[fitted]) & set(video[split.test]):
        parts = [np.concatenate(parts)]
    rng = np.random.default_rng(seed)
    is_whole = clips.groupby("video_id")["label"].nunique().max() == 1
    for rows in parts:
        units = video[rows] if is_whole else np.arange(len(rows))
        _, first, of_unit = np.unique(units, return_index=True, return_inverse=True)
        label[rows] = rng.permutation(label[rows][first])[of_unit]
    return clips.assign(label=label, emotion=np.array(classes)[label])
