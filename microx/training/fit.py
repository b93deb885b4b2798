"""Fit a model on one split: the only training loop of microx."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import keras
import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_class_weight

from microx.corpus.corpus import N_NAMED, Corpus, check_corpus
from microx.errors import InputError, ModelError
from microx.files import check_new_folder, whole_file
from microx.models.motion import MOTION_STREAMS
from microx.models.streams import list_regions
from microx.parallel import peak_memory_mib
from microx.progress import Progress, ProgressOption, tell_progress
from microx.text import first_few
from microx.training.callbacks import WATCHED, Clock, list_callbacks
from microx.training.dataset import ClipDataset, check_regions, open_clips
from microx.training.facts import FitFacts, TrainedOn, find_best
from microx.training.model_file import (
    find_differences,
    find_model,
    load_model,
    load_weights,
    read_versions,
    save_model,
)
from microx.training.network import compile_for_training, open_network
from microx.training.settings import COMPARED, STREAMED, SVMS, FitOptions, FitSettings
from microx.training.splits import Split, make_splits, split_warnings

_PLATEAU_FACTOR = 0.2
"""What the learning rate is multiplied by on a plateau (our choice)."""


def fit_model(
    model: keras.Model,
    train: ClipDataset,
    validation: ClipDataset | None,
    settings: FitSettings,
    *,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Progress | None = None,
    trained: keras.Model | None = None,
) -> pd.DataFrame:
    """Train a model; the weights of the epoch with the lowest validation loss are kept.

    Without a validation, those of the last epoch do.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    train, validation : ClipDataset
        Of different subjects; see `microx.training.splits`. None as the validation: no epoch is
        chosen.
    settings : FitSettings
        Its epochs, optimizer, learning_rate, schedule, label_smoothing, auxiliary, balance
        ("weights") and patience are used here; the rest made the model and the datasets.
    seed : int
        For Keras's global generators.
    callbacks : sequence of keras.callbacks.Callback
        Called in addition to those that stop the training.
    progress : callable, optional
        Called with epochs done, epochs in all, and a few words.
    trained : keras.Model, optional
        Of `microx.training.network.compile_for_training`; None compiles one.

    Returns
    -------
    DataFrame
        One row per epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy, seconds; without
        a validation its columns are nan. The losses are those of the model's output, without its
        streams'.

    Raises
    ------
    ModelError
        If the loss is not finite.

    Examples
    --------
    >>> history = fit_model(model, train, validation, FitSettings(epochs=5))  # doctest: +SKIP
    >>> int(history["val_loss"].argmin())  # doctest: +SKIP
    4
    """
    keras.utils.set_random_seed(seed)
    if trained is None:
        trained = compile_for_training(model, settings, n_steps=len(train))
    clock = Clock(settings.epochs, progress)
    own = [clock, keras.callbacks.TerminateOnNaN()]
    if validation is not None:
        own.append(
            keras.callbacks.EarlyStopping(
                monitor=WATCHED, mode="min", patience=settings.patience, restore_best_weights=True
            )
        )
    if settings.schedule == "plateau":
        own.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=WATCHED,
                mode="min",
                factor=_PLATEAU_FACTOR,
                patience=max(1, settings.patience // 2),
            )
        )
    with warnings.catch_warnings():
        # With clips of one frame, a ConvLSTM's recurrent kernel has nothing to learn from.
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        fitted = trained.fit(
            train,
            validation_data=validation,
            epochs=settings.epochs,
            class_weight=_balanced(train) if settings.balance == "weights" else None,
            shuffle=False,  # the dataset does: Keras would do so again, without our seed
            callbacks=[*own, *callbacks],
            verbose=0,
        )
    columns = {
        "loss": "output_loss",
        "accuracy": "output_accuracy",
        "val_loss": "val_output_loss",
        "val_accuracy": "val_output_accuracy",
    }
    n_epochs = len(fitted.history.get("output_loss", []))
    unknown = [math.nan] * n_epochs
    history = pd.DataFrame(
        {name: fitted.history.get(key, unknown) for name, key in columns.items()}
    )
    watched = ["loss"] if validation is None else ["loss", "val_loss"]
    if history.empty or not np.isfinite(history[watched]).all(axis=None):
        raise ModelError(
            f"{model.name}: expected a finite loss; found NaN or infinity; use a learning rate "
            f"lower than {settings.learning_rate}"
        )
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    history["seconds"] = clock.seconds
    return history


def fit_split(
    corpus: Corpus,
    clips: pd.DataFrame,
    split: Split,
    settings: FitSettings,
    *,
    preset: str = "compact",
    regions: Sequence[str],
    seed: int = 0,
    start: str | Path | None = None,
    path: str | Path | None = None,
    after_epoch: Callable[[keras.Model], None] | None = None,
    log_dir: str | Path | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    keep: bool = False,
) -> tuple[keras.Model, pd.DataFrame, FitFacts]:
    """Build a model and train it on one split; the test part is not used.

    Parameters
    ----------
    corpus : Corpus
    clips : DataFrame
        See `microx.training.dataset.open_clips`.
    split : Split
        Of `clips`.
    settings : FitSettings
    preset : str
        Of `microx.models.BUILDERS`.
    regions : sequence of str
        The model's streams; see `microx.models.streams.parse_streams`.
    seed : int
        For weights, dropout, order and augmentation.
    start : path, optional
        A ``.keras`` file of microx, or ``.weights.h5``, whose weights training continues from;
        the optimizer starts afresh.
    path : path, optional
        ``.keras`` file for the model and its facts. During training, the best model so far is
        stored beside it as ``.<name>.best.keras``.
    after_epoch : callable, optional
        Called with the model after each epoch.
    log_dir : path, optional
        Folder for TensorBoard's logs.
    progress : callable, optional
        As for `fit_model`.
    warn : callable, optional
        Called before training with each sentence about the split or the settings, such as a class
        without training clips. The facts have them, too.
    keep : bool
        Whether the next call may train the same network anew, as it was before training: a fold
        need not wait until the same graph is traced again. The model returned is then the next
        one's, too.

    Returns
    -------
    model : keras.Model
    history : DataFrame
        See `fit_model`.
    facts : FitFacts
        What `microx.training.model_file.load_model` gives back.

    Raises
    ------
    ModelError
        If the preset is unknown, the corpus lacks a region, or the model to start from does not
        fit or was trained on subjects of the test part.
    """
    # A region that is never present cannot be learned.
    check_regions(corpus, list_regions(regions), inputs=settings.inputs)
    train, validation = clips.iloc[split.train], clips.iloc[split.validation]
    facts = describe_fit(corpus, clips, split, settings, preset, regions, seed)
    with _precision(settings.precision):
        shared: dict[str, Any] = {
            "regions": facts.regions,
            "inputs": settings.inputs,
            "reference": settings.reference,
            "motion": settings.motion,
            "batch_size": settings.batch_size,
            "occlude": settings.occlude,
            "tell_present": preset in STREAMED,
        }
        fitted_on = ClipDataset(
            corpus,
            train,
            **shared,
            shuffle=True,
            balance=settings.balance == "sampling",
            augment=settings.augment,
            part="train",
            seed=seed,
        )
        chosen_on = None
        if len(validation):
            chosen_on = ClipDataset(corpus, validation, **shared, part="validation", seed=seed)
        network = open_network(facts, n_steps=len(fitted_on), keep=keep)
        model = network.model
        facts = replace(facts, n_parameters=int(model.count_params()))
        if start is not None:
            facts = _continue_from(model, Path(start), facts, clips, split)
        if warn is not None:
            for caution in facts.warnings:
                warn(caution)
        checkpoint = _Checkpoint(model, path, facts)
        history = fit_model(
            model,
            fitted_on,
            chosen_on,
            settings,
            seed=seed,
            callbacks=list_callbacks(model, checkpoint.write, after_epoch, log_dir),
            progress=progress,
            trained=network.trained,
        )
        for dataset in (fitted_on, chosen_on):
            if dataset is not None:
                dataset.forget()
    best, memory = find_best(history), peak_memory_mib()
    facts = replace(
        facts,
        best_epoch=int(history["epoch"][best]),
        seconds_to_best=round(float(history["seconds"][: best + 1].sum()), 2),
        peak_memory_mib=None if memory is None else round(memory),
    )
    checkpoint.finish(facts)
    return model, history, facts


def train(
    corpus: Corpus,
    out: str | Path,
    *,
    regions: Sequence[str] | None = None,
    preset: str = "compact",
    settings: FitSettings | None = None,
    seed: int = 0,
    start: str | Path | None = None,
    tensorboard: bool = False,
    progress: ProgressOption = None,
    warn: Callable[[str], None] | None = None,
    **changes: Unpack[FitOptions],
) -> Path:
    """Train one model on a holdout's training subjects; its test subjects are not used.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Folder for model.keras, history.csv and split.csv (clip_id, video_id, subject, part).
    regions : sequence of str, optional
        Streams of the model; None means those of `default_regions`.
    preset, seed, start
        See `fit_split`.
    tensorboard : bool
        Whether to write TensorBoard's logs into the folder ``tensorboard``.
    progress : callable or bool, optional
        As for `fit_model`; None shows a bar in a terminal and a notebook, False shows nothing.
    warn : callable, optional
        As for `fit_split`.
    settings : FitSettings, optional
        How it is trained; None means the preset's own.
    **changes
        Single settings to change, such as ``epochs=5``.

    Returns
    -------
    Path
        Of the model, for `microx.evaluate_model` and `microx.predict_video`.

    Raises
    ------
    InputError
        If `out` already holds a model, or a setting is invalid.
    CorpusError
        If no video is long enough for a clip.
    SplitError
        If there are fewer than three subjects, or videos where there are no subjects.
    """
    check_corpus(corpus)
    check_new_folder(out)
    if preset in SVMS:
        raise ModelError(
            f"{preset} is evaluated, not stored; use `evaluate`, or an experiment such as motion"
        )
    path = Path(out) / "model.keras"
    if path.exists():
        raise InputError(f"{path}: already there; choose another folder for a new model")
    chosen = FitSettings.of(preset, settings, **changes)
    corpus, clips = open_clips(corpus, chosen)
    (split,) = make_splits(clips, "holdout", seed=seed)
    if chosen.patience == 0:
        split = split.without_validation()
    with tell_progress(progress, "training", "epochs") as told:
        _, history, _ = fit_split(
            corpus,
            clips,
            split,
            chosen,
            preset=preset,
            regions=default_regions(corpus, preset) if regions is None else regions,
            seed=seed,
            start=start,
            path=path,
            log_dir=path.with_name("tensorboard") if tensorboard else None,
            progress=told,
            warn=warn,
        )
    with whole_file(path.with_name("history.csv")) as partial:
        history.to_csv(partial, index=False)
    table = clips[["clip_id", "video_id", "subject"]].copy()
    for part, rows in split.parts():
        table.loc[rows, "part"] = part
    with whole_file(path.with_name("split.csv")) as partial:
        table.to_csv(partial, index=False)
    return path


def default_regions(corpus: Corpus, preset: str) -> tuple[str, ...]:
    """Streams of a model by default: all regions that a corpus holds, those of the motion of the
    face, or the face for presets that read single images.
    """
    if preset == "motion":
        return MOTION_STREAMS
    reads_image = preset not in ("compact", "paper")
    return ("face",) if reads_image and "face" in corpus.regions else corpus.regions


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def describe_fit(
    corpus: Corpus,
    clips: pd.DataFrame,
    split: Split,
    settings: FitSettings,
    preset: str,
    regions: Sequence[str],
    seed: int,
) -> FitFacts:
    """Tell what is known before training; for arguments see `fit_split`."""
    train, validation = clips.iloc[split.train], clips.iloc[split.validation]
    seen, fitted = pd.concat([train, validation]), _list_subjects(train)
    counts = np.bincount(train["label"].to_numpy(int), minlength=len(corpus.classes))
    cautions = split_warnings(clips, split, corpus.classes)
    if settings.reference == "onset" and settings.inputs in COMPARED:
        cautions.append("it compares with the annotated onset, which a new video lacks")
    if settings.frames != "all" and settings.apex == "estimated":
        cautions.append("its apex is estimated from the annotated onset, which a new video lacks")
    if settings.frames == "onset-apex-offset" or (
        settings.frames != "all" and settings.apex == "coded"
    ):
        cautions.append(
            f"its clips are the annotated frames ({settings.frames}), which are not known for a "
            "new video"
        )
        if n_guessed := int((clips["n_guessed"] > 0).sum()):
            cautions.append(
                f"{n_guessed} of {len(clips)} clips are of videos without annotated frames: their "
                "first, middle or last frames are used instead"
            )
    chose = {  # leaky splits share subjects
        kind: tuple(sorted(set(names) - set(fitted[kind])))
        for kind, names in _list_subjects(validation).items()
    }
    return FitFacts(
        classes=corpus.classes,
        regions=list_regions(regions),
        streams=tuple(regions),
        inputs=settings.inputs,
        recipe=corpus.recipe,
        recipe_hash=corpus.recipe_hash,
        size=corpus.size,
        n_frames=int(clips["length"].iloc[0]),
        preset=preset,
        seed=seed,
        trained_on=TrainedOn(**_list_subjects(seen), only_chose_epoch=chose),
        sources=tuple(sorted(set(train["corpus"].astype(str)) - {""})),
        n_train=len(train),
        n_validation=len(validation),
        train_class_counts=tuple(counts.tolist()),
        warnings=tuple(cautions),
        arguments=settings,
        versions=read_versions(),
    )


def _list_subjects(clips: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    return {
        "subjects": tuple(sorted(set(clips["subject"]) - {""})),
        "videos": tuple(sorted(set(clips["video_id"]))),
    }


def _continue_from(
    model: keras.Model, start: Path, facts: FitFacts, clips: pd.DataFrame, split: Split
) -> FitFacts:
    """Give a model the weights of another, and its facts the subjects that one was trained on."""
    facts = replace(facts, continued_from=start.name)
    if start.suffix != ".h5":
        start, _ = find_model(start)
    if start.suffix == ".h5":
        load_weights(model, start)
        caution = (
            f"training continued from {start.name}, which does not say which subjects it was "
            "trained on: these may be subjects of the test"
        )
        return replace(facts, warnings=(*facts.warnings, caution))
    _, before = load_model(start)
    if before.preset != facts.preset:
        raise ModelError(
            f"{start}: cannot continue from it: it is a {before.preset}, the new model a "
            f"{facts.preset}; name the same `preset`"
        )
    facts = replace(facts, warnings=tuple(dict.fromkeys((*facts.warnings, *before.warnings))))
    for key, (theirs, ours) in find_differences(before.as_dict(), facts.as_dict()).items():
        raise ModelError(
            f"{start}: cannot continue from it: expected {key} {_listed(ours)}, as in the new "
            f"model; found {_listed(theirs)}; give the same options as for that model"
        )
    for kind, test in _list_subjects(clips.iloc[split.test]).items():
        if known := sorted(set(before.trained_on.of_kind(kind)) & set(test)):
            raise ModelError(
                f"{start}: cannot continue from it: it was trained on {kind} of the test part "
                f"({first_few(known, N_NAMED)}); use the same `seed` and corpus as for that model"
            )
    train = _list_subjects(clips.iloc[split.train])
    facts = _add_subjects(facts, before.trained_on, train, start.name)
    facts = replace(facts, sources=tuple(sorted({*before.sources, *facts.sources})))
    load_weights(model, start)
    return facts


def _add_subjects(
    facts: FitFacts, seen: TrainedOn, train: dict[str, tuple[str, ...]], name: str
) -> FitFacts:
    """Add the subjects of another model's training; warn of those that now choose the epoch."""
    joined, choosing, cautions = dict[str, Any](), dict[str, tuple[str, ...]](), list[str]()
    for kind, names in train.items():
        before, now = seen.of_kind(kind), facts.trained_on
        fitted = set(before) - set(seen.only_chose_epoch.get(kind, ()))
        if known := sorted(fitted & set(now.only_chose_epoch[kind])):
            cautions.append(
                f"training continued from {name}, which was trained on {len(known)} of the {kind} "
                f"that choose the best epoch now ({first_few(known, N_NAMED)}): the validation "
                "accuracy is too optimistic"
            )
        joined[kind] = tuple(sorted({*now.of_kind(kind), *before}))
        choosing[kind] = tuple(sorted(set(joined[kind]) - fitted - set(names)))
    return replace(
        facts,
        trained_on=TrainedOn(**joined, only_chose_epoch=choosing),
        warnings=(*facts.warnings, *cautions[:1]),  # subjects imply their videos
    )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


class _Checkpoint:
    """The best model so far under a hidden name; the model's own name means it is finished."""

    def __init__(self, model: keras.Model, path: str | Path | None, facts: FitFacts) -> None:
        self._model, self._facts = model, facts
        self._path = None if path is None else Path(path)
        self._hidden = self._path and self._path.with_name(f".{self._path.stem}.best.keras")
        if self._hidden:
            self._hidden.parent.mkdir(parents=True, exist_ok=True)

    def write(self) -> None:
        if self._hidden:
            cut_off = "its training was cut off: these are the best weights up to then"
            told = replace(self._facts, warnings=(*self._facts.warnings, cut_off))
            save_model(self._model, self._hidden, told)

    def finish(self, facts: FitFacts) -> None:
        if self._path and self._hidden:
            save_model(self._model, self._path, facts)
            self._hidden.unlink(missing_ok=True)


def _balanced(train: ClipDataset) -> dict[int, float]:
    labels = train.clips["label"].to_numpy(int)
    present = np.unique(labels)
    weights = compute_class_weight("balanced", classes=present, y=labels)
    return {int(label): float(weight) for label, weight in zip(present, weights, strict=True)}
