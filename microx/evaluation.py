"""Score a model on people it never saw, and keep every prediction.

`evaluate` is the only evaluation loop of microx: an ablation is this loop with fewer
regions, a control is this loop with shuffled labels. Its `EvaluationResult` is stored
clip by clip, so that every table and figure can be redone without training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus import N_NAMED, Corpus
from microx.errors import InputError, ModelError
from microx.files import whole_file
from microx.modelfiles import find_differences, load_model, note_version
from microx.progress import Progress, part_of
from microx.settings import FitSettings
from microx.splits import clip_groups, make_splits

HISTORY_COLUMNS = ("fold", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")

BATCH_CLIPS = 32
"""Clips predicted at a time (our choice)."""

_PREDICTIONS, _HISTORY, _RESULT = "predictions.csv", "history.csv", "result.json"


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What one model (one per fold) said about each test clip, and how it was made.

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
        Which split the clip was tested in; each clip is tested once.
    history : DataFrame
        Columns fold, epoch, loss, accuracy, val_loss, val_accuracy, seconds.
    facts : dict
        Protocol, counts, arguments, versions, warnings; fit for JSON.

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
    facts: dict[str, Any]

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

    @property
    def y_pred(self) -> npt.NDArray[np.int64]:
        """The most likely class of each row, (n,) int64; the first of equals."""
        return np.asarray(np.argmax(self.y_prob, axis=1), np.int64)

    def by_video(self) -> EvaluationResult:
        """The same with one row per video: its clips' probabilities averaged.

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
        Made if missing. result.json appears only when the rest is complete, so its
        presence says that the result is whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    classes = np.array(result.classes)
    predictions = pd.DataFrame(
        {
            "clip_id": result.clip_id,
            "video_id": result.video_id,
            "subject": result.subject,
            "fold": result.fold,
            "y_true": classes[result.y_true],
            "y_pred": classes[result.y_pred],
        }
        # Nine digits give a float32 back exactly.
        | {f"p_{name}": [f"{p:.9g}" for p in result.y_prob[:, k]] for k, name in enumerate(classes)}
    )
    with whole_file(folder / _PREDICTIONS) as partial:
        predictions.to_csv(partial, index=False)
    if not result.history.empty:  # a stored model's history lies beside the model
        with whole_file(folder / _HISTORY) as partial:
            result.history.to_csv(partial, index=False)
    summary = {
        "name": result.name,
        "regions": list(result.regions),
        "classes": list(result.classes),
        "facts": result.facts,
    }
    with whole_file(folder / _RESULT) as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def is_finished(folder: str | Path) -> bool:
    """Whether a folder holds a whole result."""
    return (Path(folder) / _RESULT).is_file()


def read_result(folder: str | Path) -> EvaluationResult:
    """Read what `write_result` stored.

    Parameters
    ----------
    folder : path

    Returns
    -------
    EvaluationResult
        Equal to the one written, probabilities to the last bit.

    Raises
    ------
    InputError
        If the folder holds no finished result, or one that does not fit together.
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
            facts=summary["facts"],
        )
    except (OSError, KeyError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"{folder}: the stored result is damaged ({type(error).__name__}: {error}); "
            f"delete the folder and run again"
        ) from error


def _read_history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(HISTORY_COLUMNS))
    return pd.read_csv(path)


def majority_baseline(result: EvaluationResult) -> EvaluationResult:
    """What always naming the most frequent training class would have scored.

    Parameters
    ----------
    result : EvaluationResult
        Its ``facts["train_class_counts"]`` (folds x K) name each fold's majority; of equally
        frequent classes the first in the label list is named.

    Returns
    -------
    EvaluationResult
        Named ``"majority class"``, without regions, for the same rows and folds.
    """
    majority = np.argmax(np.asarray(result.facts["train_class_counts"]), axis=1)
    y_prob = np.eye(len(result.classes), dtype=np.float32)[majority[result.fold]]
    facts = result.facts | {"preset": "majority class", "n_parameters": 0, "seconds": 0.0}
    return replace(
        result,
        name="majority class",
        regions=(),
        y_prob=y_prob,
        history=result.history.iloc[:0],
        facts=facts,
    )


def evaluate(
    corpus: Corpus,
    *,
    regions: Sequence[str] | None = None,
    protocol: str = "holdout",
    preset: str = "compact",
    seed: int = 0,
    n_folds: int = 5,
    occlude_test: str | None = None,
    without: Sequence[str] = (),
    shuffle_labels: bool = False,
    name: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> EvaluationResult:
    """Train on some people, test on others, once per split: the only evaluation loop.

    Parameters
    ----------
    corpus : Corpus
    regions : sequence of str, optional
        Streams of the model; None means one for every region the corpus holds, or the face
        for presets that read one picture.
    protocol : {"holdout", "kfold", "loso"}
        See `microx.splits.make_splits`, also for `n_folds`.
    preset : str
        See `microx.training.fit_split`.
    occlude_test : str, optional
        Objects put on the faces that are tested, such as ``"mask:0.5"``; see
        `microx.dataset.ClipDataset`. The setting `occlude` is for training and validation.
    without : sequence of str
        Regions that testing takes as missing, for models that can do without them.
    seed : int
        For splits, weights, dropout, order, augmentation and shuffled labels.
    shuffle_labels : bool
        A control that must score at chance: the videos' labels are dealt out anew.
    name : str, optional
        Of the row; None means the regions joined by ``+``.
    out : path, optional
        Folder for each fold's model, ``fold_<k>.keras``.
    progress : callable, optional
        Called with epochs done, epochs in all folds, and a few words.
    **settings
        Of `microx.settings.FitSettings`, where they differ from the preset's.

    Returns
    -------
    EvaluationResult
        Each test clip predicted once, by the epoch an inner validation of other people chose.

    Raises
    ------
    SplitError
        If the subjects are too few.
    ModelError
        If the corpus lacks a region or the preset is unknown.

    Examples
    --------
    >>> result = evaluate(load_corpus("corpus"), regions=("mouth",))  # doctest: +SKIP
    >>> float((result.y_pred == result.y_true).mean())  # doctest: +SKIP
    0.81
    """
    import keras

    from microx.dataset import ClipDataset, open_clips
    from microx.models.streams import list_regions
    from microx.training import default_regions, fit_split

    start = time.perf_counter()
    regions = tuple(default_regions(corpus, preset) if regions is None else regions)
    chosen = FitSettings.of(preset, **settings)
    corpus, clips = open_clips(corpus, chosen)
    ClipDataset(  # what cannot be tested is refused before training
        corpus,
        clips,
        regions=list_regions(regions),
        occlude=occlude_test,
        without=without,
        tell_present=preset == "compact",
    )
    # The control keeps the splits of the true labels, and so the people that are tested.
    splits = make_splits(clips, protocol, seed=seed, n_folds=n_folds)
    if shuffle_labels:
        clips = _shuffled(clips, corpus.classes, seed)
    tested, histories, fits = [], [], []
    for fold, split in enumerate(splits):
        model, history, fit = fit_split(
            corpus,
            clips,
            split,
            chosen,
            regions=regions,
            preset=preset,
            seed=seed,
            path=None if out is None else Path(out) / f"fold_{fold}.keras",
            progress=part_of(
                progress,
                fold,
                len(splits),
                f"fold {fold + 1} of {len(splits)}, " if len(splits) > 1 else "",
            ),
        )
        test = clips.iloc[split.test]
        y_prob = predict_clips(
            model, corpus, test, fit, occlude=occlude_test, without=without, seed=seed
        )
        tested.append(test.assign(fold=fold, prob=list(y_prob)))
        histories.append(history.assign(fold=fold)[list(HISTORY_COLUMNS)])
        fits.append(fit)
        del model
        keras.utils.clear_session()  # or each fold's graph stays in memory
    facts = _fit_facts(fits) | {
        "protocol": protocol,
        "group": clip_groups(clips)[1],
        "seed": seed,
        "n_test": [len(split.test) for split in splits],
        "n_subjects": int(clips["subject"].replace("", np.nan).nunique()),
        "n_videos": int(clips["video_id"].nunique()),
        "shuffled_labels": shuffle_labels,
        "occlude_test": occlude_test,
        "without": list(without),
        "corpus": corpus.folder.resolve().name,
        "seconds": round(time.perf_counter() - start, 2),
    }
    name = "+".join(regions) if name is None else name
    return _result(name, pd.concat(tested), pd.concat(histories, ignore_index=True), facts)


def evaluate_model(
    path: str | Path,
    corpus: Corpus,
    *,
    occlude: str | None = None,
    without: Sequence[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
) -> EvaluationResult:
    """Score a stored model on the people of a corpus that it was not trained on.

    Parameters
    ----------
    path : path
        A model of `microx.training.train` or of a run; see `microx.modelfiles.load_model`.
    corpus : Corpus
        Its own corpus, whose test people are then left, or another one made by the same recipe.
    occlude : str, optional
        Objects put on the tested faces, such as ``"mask"``; see `microx.dataset.ClipDataset`.
    without : sequence of str
        Regions taken as missing, for models that can do without them.
    seed : int
        For what is put on whom.
    out : path, optional
        Folder for the result, see `write_result`.

    Returns
    -------
    EvaluationResult
        Named after the file; clips of known people are left out and named in
        ``facts["warnings"]``.

    Raises
    ------
    ModelError
        If model and corpus differ in regions, size, classes or recipe, or if the model was
        trained on everybody in the corpus.
    """
    from microx.dataset import open_clips
    from microx.models.fusion import needs_present

    start = time.perf_counter()
    model, fit = load_model(path)
    corpus, clips = open_clips(corpus, FitSettings(**fit["arguments"]))
    check_model_fits(fit, corpus, name=str(path), can_do_without=needs_present(model))
    seen = clips["subject"].isin(fit["trained_on"]["subjects"])
    seen |= clips["video_id"].isin(fit["trained_on"]["videos"])
    test = clips[~seen]
    known, kind = clip_groups(clips[seen])
    if test.empty:
        raise ModelError(
            f"{path}: was trained on all {len(np.unique(known))} {kind}s of {corpus.folder}; "
            f"a score on them would not be honest; give a corpus of other people"
        )
    warnings = list(fit["warnings"])
    warnings += [note for note in (note_version(fit), note_missing(fit, without)) if note]
    if lacking := [region for region in fit["regions"] if region not in corpus.regions]:
        warnings.append(f"the corpus lacks {', '.join(lacking)}: taken as missing")
    if seen.any():
        names = sorted(set(known))
        more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
        warnings.append(
            f"left out, because the model was trained on them: {len(names)} {kind}s "
            f"({', '.join(names[:N_NAMED])}{more})"
        )
    facts = _fit_facts([fit]) | {
        "protocol": "stored model",
        "group": clip_groups(test)[1],
        "seed": fit["seed"],
        "n_test": [len(test)],
        "n_subjects": int(test["subject"].replace("", np.nan).nunique()),
        "n_videos": int(test["video_id"].nunique()),
        "shuffled_labels": False,
        "occlude_test": occlude,
        "without": list(without),
        "corpus": corpus.folder.resolve().name,
        "warnings": warnings,
    }
    y_prob = predict_clips(model, corpus, test, fit, occlude=occlude, without=without, seed=seed)
    test = test.assign(fold=0, prob=list(y_prob))
    facts["seconds"] = round(time.perf_counter() - start, 2)
    hidden = [f"wearing {occlude}"] if occlude else []
    hidden += [f"without {region}" for region in without]
    name = ", ".join([Path(path).stem, *hidden])
    result = _result(name, test, pd.DataFrame(columns=list(HISTORY_COLUMNS)), facts)
    if out is not None:
        write_result(result, out)
    return result


def note_missing(facts: dict[str, Any], missing: Sequence[str]) -> str:
    """Tell that a model has to do without regions which it never learned to do without.

    Parameters
    ----------
    facts : dict
        From `microx.modelfiles.load_model`.
    missing : sequence of str
        Regions.

    Returns
    -------
    str
        One line; empty where nothing is missing, or training hid regions too.
    """
    if not missing or facts["arguments"]["region_dropout"] > 0:
        return ""
    return (
        f"the model has to do without {', '.join(missing)}, but was trained with all its regions "
        "always there (region_dropout 0)"
    )


def check_model_fits(
    facts: dict[str, Any], corpus: Corpus, *, name: str, can_do_without: bool = False
) -> None:
    """Refuse a corpus whose crops or classes are not those a model was trained on.

    Parameters
    ----------
    facts : dict
        From `microx.modelfiles.load_model`.
    corpus : Corpus
        May hold more regions than the model reads.
    name : str
        Of the model, for the message.
    can_do_without : bool
        Whether one of the model's regions is enough for it.

    Raises
    ------
    ModelError
        Naming the first difference.
    """
    missing = [region for region in facts["regions"] if region not in corpus.regions]
    theirs = {"classes": list(corpus.classes), "size": corpus.size, "recipe": corpus.recipe}
    differing = find_differences(facts, theirs)
    if missing and not (can_do_without and set(missing) < set(facts["regions"])):
        raise ModelError(
            f"{name}: reads {', '.join(facts['regions'])}; {corpus.folder} lacks "
            f"{', '.join(missing)}; preprocess again with --regions"
        )
    if differing:
        key, (ours, found) = next(iter(differing.items()))
        raise ModelError(
            f"{name}: was trained with {key} {ours}; {corpus.folder} has {found}; "
            f"preprocess the videos as the model's were, or train anew"
        )


def predict_clips(
    model: Any,
    corpus: Corpus,
    clips: pd.DataFrame,
    facts: dict[str, Any],
    *,
    occlude: str | None = None,
    without: Sequence[str] = (),
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Probabilities of each clip, in the order of the clips.

    Parameters
    ----------
    model : keras.Model
    corpus : Corpus
    clips : DataFrame
        Rows of `Corpus.clips`, at least one.
    facts : dict
        The model's, for its ``regions``, ``inputs`` and ``arguments``.
    occlude, without, seed
        See `microx.dataset.ClipDataset`.

    Returns
    -------
    (n, K) float32
        Rows sum to 1.
    """
    from microx.dataset import ClipDataset
    from microx.models.fusion import needs_present

    dataset = ClipDataset(
        corpus,
        clips,
        regions=facts["regions"],
        inputs=facts["inputs"],
        reference=facts["arguments"]["reference"],
        batch_size=BATCH_CLIPS,
        occlude=occlude,
        tell_present=needs_present(model),
        without=without,
        seed=seed,
    )
    return np.asarray(model.predict(dataset, verbose=0), np.float32)


def _result(
    name: str, tested: pd.DataFrame, history: pd.DataFrame, facts: dict[str, Any]
) -> EvaluationResult:
    return EvaluationResult(
        name=name,
        regions=tuple(facts["regions"]),
        classes=tuple(facts["classes"]),
        y_true=tested["label"].to_numpy(np.int64),
        y_prob=np.stack(list(tested["prob"])),
        clip_id=tested["clip_id"].to_numpy(str),
        video_id=tested["video_id"].to_numpy(str),
        subject=tested["subject"].to_numpy(str),
        fold=tested["fold"].to_numpy(np.int64),
        history=history,
        facts=facts,
    )


def _fit_facts(fits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Facts of the fits of one evaluation: what they share, and lists of what each has."""
    each = (
        *("n_train", "n_validation", "train_class_counts", "best_epoch", "trained_on"),
        *("seconds_to_best", "peak_memory_mib"),
    )
    shared = {key: value for key, value in fits[0].items() if key not in each}
    warnings = [sentence for fit in fits for sentence in fit["warnings"]]
    return shared | {key: [fit[key] for fit in fits] for key in each} | {"warnings": warnings}


def _shuffled(clips: pd.DataFrame, classes: Sequence[str], seed: int) -> pd.DataFrame:
    """Deal the videos' labels out anew among the videos; the clips of one keep to one label.

    Where the clips of a video differ in label, as onset and apex do, theirs are dealt out.
    """
    if clips.groupby("video_id")["label"].nunique().max() > 1:
        order = np.random.default_rng(seed).permutation(len(clips))
        return clips.assign(
            **{name: clips[name].to_numpy()[order] for name in ("label", "emotion")}
        )
    videos = clips.drop_duplicates("video_id").set_index("video_id")["label"]
    dealt = np.random.default_rng(seed).permutation(videos.to_numpy(np.int64))
    labels = clips["video_id"].map(dict(zip(videos.index, dealt, strict=True))).to_numpy(np.int64)
    return clips.assign(label=labels, emotion=np.array(classes)[labels])
