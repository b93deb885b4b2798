"""A stored model on the subjects of a corpus that it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from microx.corpus.corpus import N_NAMED, Corpus, check_corpus
from microx.corpus.motion import list_held
from microx.errors import ModelError
from microx.evaluation.evaluate import (
    Condition,
    make_result,
    note_missing,
    open_test,
    predict_clips,
)
from microx.evaluation.facts import ResultFacts, SplitFacts
from microx.evaluation.result import HISTORY_COLUMNS, EvaluationResult, write_result
from microx.files import check_new_folder
from microx.text import first_few
from microx.training.facts import FitFacts
from microx.training.model_file import find_differences, load_model, note_version
from microx.training.splits import clip_groups


def evaluate_model(
    path: str | Path,
    corpus: Corpus,
    *,
    occlude: str | None = None,
    without: Sequence[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
) -> EvaluationResult:
    """Score a stored model on the subjects of a corpus that it was not trained on.

    Parameters
    ----------
    path : path
        A model of `microx.training.fit.train` or of a run; see
        `microx.training.model_file.load_model`.
    corpus : Corpus
        Its own corpus, of which the test subjects remain, or another one of the same recipe.
    occlude : str, optional
        Objects put on the tested faces, such as ``"mask"``; see
        `microx.training.dataset.ClipDataset`.
    without : sequence of str
        Regions treated as missing, for models that can do without them.
    seed : int
        For the objects of `occlude`.
    out : path, optional
        Folder for the result, see `write_result`.

    Returns
    -------
    EvaluationResult
        Named after the file; subjects it was trained on are left out and named in
        ``facts.warnings``.

    Raises
    ------
    ModelError
        If model and corpus differ in regions, size, classes or recipe, or if the model was
        trained on all subjects of the corpus.
    """
    from microx.models.fusion import needs_present
    from microx.training.dataset import open_clips

    check_corpus(corpus)
    if out is not None:
        check_new_folder(out)
    start = time.perf_counter()
    model, fit = load_model(path)
    settings = fit.arguments
    corpus, clips = open_clips(corpus, settings)
    tell_present = needs_present(model)
    check_model_fits(fit, corpus, name=str(path), can_do_without=tell_present)
    seen = clips["subject"].isin(fit.trained_on.subjects)
    seen |= clips["video_id"].isin(fit.trained_on.videos)
    test = clips[~seen]
    known, kind = clip_groups(clips[seen])
    if test.empty:
        raise ModelError(
            f"{path}: was trained on all {len(np.unique(known))} {kind}s of {corpus.folder}; "
            f"a score on them would be too high; use a corpus of other subjects"
        )
    warnings = list(fit.warnings)
    held = list_held(corpus, fit.inputs)
    lacking = [region for region in fit.regions if region not in held]
    notes = note_version(fit.versions), note_missing(fit, [*without, *lacking])
    warnings += [note for note in notes if note]
    if lacking:
        warnings.append(f"the corpus lacks {', '.join(lacking)}: treated as missing")
    if seen.any():
        names = sorted(set(known))
        warnings.append(
            f"left out, because the model was trained on them: {len(names)} {kind}s "
            f"({first_few(names, N_NAMED)})"
        )
    split = SplitFacts(
        protocol="stored model",
        group=clip_groups(test)[1],
        n_subjects=int(test["subject"].replace("", np.nan).nunique()),
        n_videos=int(test["video_id"].nunique()),
        corpus=corpus.folder.resolve().name,
    )
    condition = Condition(occlude, tuple(without))
    dataset = open_test(
        corpus, test, fit.regions, settings, condition, tell_present=tell_present, seed=seed
    )
    y_prob = predict_clips(model, dataset)
    dataset.forget()
    facts = ResultFacts.of(
        fit,
        split,
        n_test=(len(test),),
        occlude_test=occlude,
        without=tuple(without),
        warnings=tuple(warnings),
        seconds=round(time.perf_counter() - start, 2),
    )
    changes = [f"with {occlude}"] if occlude else []
    changes += [f"without {region}" for region in without]
    name = ", ".join([Path(path).stem, *changes])
    no_history = pd.DataFrame(columns=list(HISTORY_COLUMNS))
    result = make_result(name, test, y_prob, 0, no_history, facts)
    if out is not None:
        write_result(result, out)
    return result


def check_model_fits(
    facts: FitFacts, corpus: Corpus, *, name: str, can_do_without: bool = False
) -> None:
    """Refuse a corpus whose crops or classes are not those a model was trained on.

    Parameters
    ----------
    facts : FitFacts
        From `microx.training.model_file.load_model`.
    corpus : Corpus
        May hold more regions than the model reads.
    name : str
        Of the model, for the message.
    can_do_without : bool
        Whether the model needs only one of its regions.

    Raises
    ------
    ModelError
        Naming the first difference.
    """
    held = list_held(corpus, facts.inputs)
    missing = [region for region in facts.regions if region not in held]
    theirs = {"classes": list(corpus.classes), "size": corpus.size, "recipe": corpus.recipe}
    differing = find_differences(facts.as_dict(), theirs)
    if missing and not (can_do_without and set(missing) < set(facts.regions)):
        raise ModelError(
            f"{name}: reads {', '.join(facts.regions)}; {corpus.folder} lacks "
            f"{', '.join(missing)}; preprocess again with `regions`"
        )
    if differing:
        key, (ours, found) = next(iter(differing.items()))
        raise ModelError(
            f"{name}: was trained with {key} {ours}; {corpus.folder} has {found}; "
            f"preprocess the videos as the model's were, or train again"
        )
