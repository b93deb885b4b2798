"""Fit a model on one split, and keep it with the facts needed to use it again.

A stored model is a ``.keras`` file with one more member in its zip, ``microx.json``: its
classes, regions and crop recipe, and the people it must not be tested on.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

import microx
from microx.corpus import Corpus
from microx.dataset import ClipDataset
from microx.errors import InputError, ModelError
from microx.files import whole_file
from microx.models.multistream import PRESETS, build_microx
from microx.progress import Progress
from microx.splits import Split, make_splits, split_warnings

FIT_SETTINGS: dict[str, dict[str, Any]] = {
    # Our choice, by trial on drawn actors.
    "compact": {
        "epochs": 10,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "cosine": True,
        "label_smoothing": 0.1,
        "patience": 4,
        "augment": True,
    },
    # MicroX paper (optimiser, rate, batch) and its released code (epochs, patience).
    "paper": {
        "epochs": 120,
        "batch_size": 8,
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "cosine": False,
        "label_smoothing": 0.0,
        "patience": 7,
        "augment": False,
    },
}
"""How each preset is trained unless told otherwise."""

_OPTIMIZERS = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}

_FACTS_MEMBER = "microx.json"


def fit_model(
    model: keras.Model,
    train: ClipDataset,
    validation: ClipDataset,
    *,
    epochs: int,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    cosine: bool = False,
    label_smoothing: float = 0.0,
    class_weight: str | None = None,
    patience: int = 7,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Train a model; the weights of the epoch with the lowest validation loss stay.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    train, validation : ClipDataset
        Of different subjects; see `microx.splits`.
    epochs : int
        At most so many, at least 1.
    optimizer : {"adam", "sgd"}
    learning_rate : float
    cosine : bool
        Whether the rate falls along a cosine, to zero at the last of `epochs`.
    label_smoothing : float
        In [0, 1): how much of each target is spread over all classes.
    class_weight : {None, "balanced"}
        ``"balanced"`` weighs each class by n / (K n_class), counted on training clips only.
    patience : int
        Epochs without improvement before training stops.
    seed : int
        For Keras's global generators.
    checkpoint : path, optional
        ``.keras`` file that always holds the best model so far, should training be cut off.
    progress : callable, optional
        Called with epochs done, epochs in all, and a few words.

    Returns
    -------
    DataFrame
        One row per epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy, seconds.

    Raises
    ------
    InputError
        If an argument is out of its range.
    ModelError
        If the loss is no longer a number.

    Examples
    --------
    >>> history = fit_model(model, train, validation, epochs=5)  # doctest: +SKIP
    >>> int(history["val_loss"].argmin())  # doctest: +SKIP
    4
    """
    if epochs < 1 or class_weight not in (None, "balanced") or optimizer not in _OPTIMIZERS:
        raise InputError(
            f"training needs epochs of at least 1, class_weight None or 'balanced' and optimizer "
            f"{' or '.join(_OPTIMIZERS)}; found {epochs}, {class_weight!r} and {optimizer!r}"
        )
    keras.utils.set_random_seed(seed)
    rate = learning_rate
    if cosine:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(train))
    model.compile(
        optimizer=_OPTIMIZERS[optimizer](rate),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
        metrics=["accuracy"],
        # TensorFlow's XLA makes a ConvLSTM's training step 18 times slower on a CPU; the
        # other backends need their own compilers.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    clock = _Clock(epochs, progress)
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=patience, restore_best_weights=True
    )
    callbacks = [clock, stopping, keras.callbacks.TerminateOnNaN()]
    if checkpoint is not None:
        callbacks.append(keras.callbacks.ModelCheckpoint(checkpoint, save_best_only=True))
    fitted = model.fit(
        train,
        validation_data=validation,
        epochs=epochs,
        class_weight=_balanced(train) if class_weight else None,
        callbacks=callbacks,
        verbose=0,
    )
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    history = pd.DataFrame({name: fitted.history.get(name, []) for name in columns})
    if history.empty or not np.isfinite(history["loss"]).all():
        raise ModelError(
            f"{model.name}: the training loss is no longer a number; use a lower learning rate "
            f"than {learning_rate}"
        )
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    history["seconds"] = clock.seconds
    return history


def fit_split(
    corpus: Corpus,
    clips: pd.DataFrame,
    split: Split,
    *,
    regions: Sequence[str],
    preset: str = "compact",
    epochs: int | None = None,
    seed: int = 0,
    class_weight: str | None = None,
    occlude: str | None = None,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[keras.Model, pd.DataFrame, dict[str, Any]]:
    """Build a model and train it on one split; the test part is not looked at.

    Parameters
    ----------
    corpus : Corpus
    clips : DataFrame
        `Corpus.clips`.
    split : Split
        Of `clips`.
    regions : sequence of str
        The model's streams.
    preset : {"compact", "paper"}
        Of network and, from `FIT_SETTINGS`, of training.
    epochs : int, optional
        At most; None means the preset's.
    seed : int
        For weights, dropout, order and augmentation.
    class_weight : {None, "balanced"}
        See `fit_model`.
    occlude : str, optional
        Objects put on the faces of training and validation clips, such as ``"mask:0.5"``; see
        `microx.dataset.ClipDataset`.
    path : path, optional
        ``.keras`` file for the model and its facts.
    progress : callable, optional
        As for `fit_model`.

    Returns
    -------
    model : keras.Model
    history : DataFrame
        See `fit_model`.
    facts : dict
        What `load_model` gives back: classes, regions, recipe, recipe_hash, size, n_frames,
        preset, n_parameters, seed, best_epoch, trained_on, n_train, n_validation,
        train_class_counts, warnings, arguments, versions.

    Raises
    ------
    ModelError
        If the preset is unknown or the corpus lacks a region.
    """
    if preset not in PRESETS:
        raise ModelError(f"preset must be one of {', '.join(PRESETS)}; found '{preset}'")
    settings = FIT_SETTINGS[preset] | ({} if epochs is None else {"epochs": epochs})
    fit_arguments = dict(settings)
    batch_size, augment = fit_arguments.pop("batch_size"), fit_arguments.pop("augment")
    train, validation = clips.iloc[split.train], clips.iloc[split.validation]
    datasets = [
        ClipDataset(corpus, train, regions=regions, batch_size=batch_size, seed=seed,
                    shuffle=True, augment=augment, occlude=occlude),
        ClipDataset(corpus, validation, regions=regions, batch_size=batch_size,
                    occlude=occlude),
    ]  # fmt: skip
    n_frames = int(clips["length"].iloc[0])
    model = build_microx(
        regions,
        preset=preset,
        n_frames=n_frames,
        size=corpus.size,
        n_classes=len(corpus.classes),
        seed=seed,
    )
    # The best weights so far lie under a hidden name; the model's own name means it is finished.
    checkpoint = None if path is None else Path(path).with_name(f".{Path(path).stem}.best.keras")
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    history = fit_model(
        model,
        *datasets,
        **fit_arguments,
        class_weight=class_weight,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    seen = pd.concat([train, validation])
    counts = np.bincount(train["label"].to_numpy(int), minlength=len(corpus.classes))
    facts = {
        "classes": list(corpus.classes),
        "regions": list(regions),
        "recipe": corpus.recipe,
        "recipe_hash": corpus.recipe_hash,
        "size": corpus.size,
        "n_frames": n_frames,
        "preset": preset,
        "n_parameters": int(model.count_params()),
        "seed": seed,
        "best_epoch": int(history["epoch"][history["val_loss"].argmin()]),
        "trained_on": {
            "subjects": sorted(set(seen["subject"]) - {""}),
            "videos": sorted(set(seen["video_id"])),
        },
        "n_train": len(train),
        "n_validation": len(validation),
        "train_class_counts": counts.tolist(),
        "warnings": split_warnings(clips, split, corpus.classes),
        "arguments": settings | {"class_weight": class_weight, "occlude": occlude},
        "versions": read_versions(),
    }
    if path is not None and checkpoint is not None:
        save_model(model, path, facts)
        checkpoint.unlink(missing_ok=True)
    return model, history, facts


def train(
    corpus: Corpus,
    out: str | Path,
    *,
    regions: Sequence[str] | None = None,
    preset: str = "compact",
    epochs: int | None = None,
    seed: int = 0,
    class_weight: str | None = None,
    occlude: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train one model on a holdout's training people and leave its test people untouched.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Folder for model.keras, history.csv and split.csv (clip_id, video_id, subject, part).
    regions : sequence of str, optional
        Streams of the model; None means every region the corpus holds.
    preset, epochs, seed, class_weight, occlude, progress
        See `fit_split`.

    Returns
    -------
    Path
        Of the model, for `microx.evaluation.evaluate_model` and `microx.predict`.

    Raises
    ------
    InputError
        If `out` already holds a model.
    CorpusError
        If no video is long enough for a clip.
    SplitError
        If there are fewer than three subjects, or videos where there are no subjects.
    """
    path = Path(out) / "model.keras"
    if path.exists():
        raise InputError(f"{path}: already there; choose another folder for a new model")
    corpus.check_clips()
    clips = corpus.clips()
    (split,) = make_splits(clips, "holdout", seed=seed)
    _, history, _ = fit_split(
        corpus,
        clips,
        split,
        regions=corpus.regions if regions is None else regions,
        preset=preset,
        epochs=epochs,
        seed=seed,
        class_weight=class_weight,
        occlude=occlude,
        path=path,
        progress=progress,
    )
    with whole_file(path.with_name("history.csv")) as partial:
        history.to_csv(partial, index=False)
    table = clips[["clip_id", "video_id", "subject"]].copy()
    for part, rows in split.parts():
        table.loc[rows, "part"] = part
    with whole_file(path.with_name("split.csv")) as partial:
        table.to_csv(partial, index=False)
    return path


def save_model(model: keras.Model, path: str | Path, facts: dict[str, Any]) -> None:
    """Write a model and its facts as one ``.keras`` file.

    Parameters
    ----------
    model : keras.Model
    path : path
        Ending in ``.keras``; replaced whole, never half.
    facts : dict
        Fit for JSON; stored as the zip member ``microx.json``.

    Raises
    ------
    ModelError
        If the name does not end in ``.keras``.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: a model's file name ends in .keras")
    with whole_file(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.writestr(_FACTS_MEMBER, json.dumps(facts, indent=2))


def load_model(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """Read a model written by `save_model`; nothing stored in it is executed.

    Parameters
    ----------
    path : path
        A ``.keras`` file, or a folder that holds exactly one.

    Returns
    -------
    model : keras.Model
        Not compiled: ready to predict.
    facts : dict
        As given to `save_model`.

    Raises
    ------
    ModelError
        If there is no model, it is damaged, or microx did not write it.

    Notes
    -----
    Keras's ``safe_mode`` is on: a file with arbitrary code in a Lambda layer is refused.
    """
    path = _find_model(Path(path))
    try:
        with zipfile.ZipFile(path) as archive:
            if _FACTS_MEMBER not in archive.namelist():
                raise ModelError(
                    f"{path}: a Keras file without {_FACTS_MEMBER}: not written by microx, or its "
                    f"training was cut off; train it with microx train"
                )
            facts: dict[str, Any] = json.loads(archive.read(_FACTS_MEMBER))
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except ModelError:
        raise
    # Keras raises whatever its deserialisers and HDF5 meet in a file that is not its own.
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{path}: cannot be read as a microx model ({type(error).__name__}: {reason})"
        ) from error
    return model, facts


def read_versions() -> dict[str, str]:
    """Versions of what decides a number: python, microx, keras, its backend, numpy.

    Examples
    --------
    >>> sorted(read_versions())[:3]
    ['backend', 'keras', 'microx']
    """
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "microx": microx.__version__,
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.metadata.version(backend),
        "numpy": np.__version__,
    }


class _Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras carries no types
    """Seconds of each epoch, validation included; tells the caller of each."""

    def __init__(self, epochs: int, progress: Progress | None) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._epochs = epochs
        self._progress = progress

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        if self._progress:
            accuracy = (logs or {}).get("val_accuracy", float("nan"))
            words = f"epoch {epoch + 1}, validation accuracy {accuracy:.2f}"
            self._progress(epoch + 1, self._epochs, words)


def _balanced(train: ClipDataset) -> dict[int, float]:
    labels = train.clips["label"].to_numpy(int)
    present, counts = np.unique(labels, return_counts=True)
    weights = len(labels) / (len(present) * counts)
    return {int(label): float(weight) for label, weight in zip(present, weights, strict=True)}


def _find_model(path: Path) -> Path:
    if path.is_dir():
        held = sorted(file for file in path.glob("*.keras") if not file.name.startswith("."))
        if len(held) == 1:
            return held[0]
        names = ", ".join(file.name for file in held) or "none"
        raise ModelError(f"{path}: expected one .keras file in this folder; found {names}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model; microx train makes one")
    return path
