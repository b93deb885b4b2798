"""A run's charts as images for its page, each with a text alternative."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from microx.evaluation.baselines import guess
from microx.evaluation.metrics import (
    accuracy_score,
    calibration_error,
    confusion_matrix,
    per_class_recall,
)
from microx.evaluation.result import EvaluationResult
from microx.experiments.replicate import pool_seeds
from microx.experiments.run import Run
from microx.plotting import embed_figure
from microx.preprocessing.occlusion.occluder import OCCLUSIONS
from microx.report import charts
from microx.report.cautions import is_leaky, is_shuffled, main_row, marked, percent
from microx.report.tables import honest_ends, points

VECTOR_LINES = 200
"""Learning curves on a page up to which they are drawn as vectors (our choice)."""


def draw_run(run: Run, values: pd.DataFrame) -> dict[str, Any]:
    """Draw the charts of a run.

    Parameters
    ----------
    run : Run
    values : DataFrame
        Of `microx.evaluation.summary.region_values`; empty where the run has none.

    Returns
    -------
    dict
        ``ranking``, ``confusion``, ``recall``, ``calibration``, ``occlusion``, ``values``, each a
        figure or None, and ``curves``, a list of them. A figure has ``uri``, ``width`` in CSS
        pixels and ``alt``.
    """
    main = main_row(run.rows)
    first = run.rows[main][0]
    y_true, y_prob = pool_seeds(run.rows[main])
    y_pred = np.argmax(y_prob, axis=1)
    n_classes = len(first.classes)
    counts = confusion_matrix(y_true, y_pred, n_classes)
    recall = per_class_recall(y_true, y_pred, n_classes)
    support = counts.sum(axis=1)
    found = ", ".join(
        f"{name} {percent(value)} of {n}"
        for name, value, n in zip(first.classes, recall, support, strict=True)
    )
    error = calibration_error(y_true, y_prob)
    return {
        "ranking": _draw_ranking(run, main),
        "confusion": _embedded(
            charts.draw_confusion(counts, first.classes),
            f"Confusion matrix of {main}; the table below has the same numbers.",
        ),
        "confusion_counts": list(zip(first.classes, counts.tolist(), strict=True)),
        "recall": _embedded(
            charts.draw_recall(
                recall.tolist(), support.tolist(), first.classes, chance=1 / n_classes
            ),
            f"Bars of recall of {main}: {found}.",
        ),
        "calibration": _embedded(
            charts.draw_calibration(y_true, y_prob),
            f"Accuracy of {main} against its confidence; calibration error {percent(error)}.",
        ),
        "calibration_error": percent(error),
        "occlusion": _draw_occlusion(run, 1 / n_classes),
        "values": _draw_values(values),
        "curves": _draw_curves(run),
    }


def _draw_ranking(run: Run, main: str) -> dict[str, Any]:
    table = honest_ends(run).set_index("name")
    first = run.rows[main][0]
    guessed = guess(first, "most_frequent")
    names = [name for name, results in run.rows.items() if not is_shuffled(results[0])]
    ranked = table.loc[names]
    figure = charts.draw_ranking(
        names,
        ranked["accuracy"].tolist(),
        baseline=accuracy_score(guessed.y_true, guessed.y_pred),
        chance=1 / len(first.classes),
        intervals=list(zip(ranked["accuracy_low"], ranked["accuracy_high"], strict=True)),
        seeds=[[accuracy_score(r.y_true, r.y_pred) for r in run.rows[name]] for name in names],
        leaky=[name for name in names if is_leaky(run.rows[name][0])],
        highlight=main,
    )
    best_first = ranked["accuracy"].sort_values(ascending=False, kind="stable")
    in_words = ", ".join(f"{name} {percent(score)}" for name, score in best_first.items())
    return _embedded(figure, f"Bars of accuracy, best first: {in_words}.")


def _draw_occlusion(run: Run, chance: float) -> dict[str, Any] | None:
    """Draw rows that were tested with more and more of the faces occluded, if there are any."""
    table = honest_ends(run).set_index("name")
    curves: dict[str, list[dict[str, Any]]] = {}
    for fit, rows in _by_training(run).items():
        bare = [name for name, condition in rows.items() if condition == ("", 0.0)]
        kinds = list(dict.fromkeys(kind for kind, _ in rows.values() if kind))
        for kind in kinds:
            along = bare + [name for name, condition in rows.items() if condition[0] == kind]
            found = table.loc[along]
            line = {
                "name": "trained with occlusion" if fit else "trained without occlusion",
                "shares": [rows[name][1] for name in along],
                "scores": found["accuracy"].tolist(),
                "low": found["accuracy_low"].tolist(),
                "high": found["accuracy_high"].tolist(),
            }
            if len(along) > 2:
                curves.setdefault(kind, []).append(line)
    if not curves:
        return None
    in_words = "; ".join(
        f"{kind}, {line['name']}: {' '.join(percent(score) for score in line['scores'])}"
        for kind, lines in curves.items()
        for line in lines
    )
    figure = charts.draw_occlusion(curves, chance=chance)
    return _embedded(figure, f"Accuracy with more and more faces occluded. {in_words}.")


def _by_training(run: Run) -> dict[str, dict[str, tuple[str, float]]]:
    """Group finished rows by what training put on faces; each with its test's kind and share."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for name in run.rows:
        row = run.about["rows"][name]
        condition = _read_condition(row.get("condition", {}))
        if condition is not None:
            found.setdefault(row.get("fit", {}).get("occlude") or "", {})[name] = condition
    return found


def _read_condition(condition: Mapping[str, Any]) -> tuple[str, float] | None:
    """Kind and share of one object that tested faces wear; None for anything else."""
    if condition.get("without"):
        return None
    worn = condition.get("occlude") or condition.get("augment") or ""
    kind, _, share = worn.partition(":")
    if kind not in ("", "erase", *OCCLUSIONS):
        return None
    return kind, float(share or bool(kind))


def _draw_values(values: pd.DataFrame) -> dict[str, Any] | None:
    if values.empty:
        return None
    in_words = ", ".join(f"{region} {points(value)}" for region, value in values["all"].items())
    return _embedded(
        charts.draw_region_values(values), f"Points of accuracy that each region adds: {in_words}."
    )


def _draw_curves(run: Run) -> list[dict[str, Any]]:
    """Draw how each training went: once where rows share it, each fold and seed a line."""
    trainings: dict[str, str] = {}
    for name in run.rows:
        fit = json.dumps(run.about["rows"][name].get("fit", {}), sort_keys=True)
        trainings.setdefault(fit, name)
    drawn = {name: history for name in trainings.values() if len(history := _history(run, name))}
    losses = [history[["loss", "val_loss"]].to_numpy() for history in drawn.values()]
    top = float(np.nanquantile(np.concatenate(losses), 0.99)) * 1.1 if losses else None
    # an SVG grows with every line in it, a PNG does not
    n_lines = sum(history["fold"].nunique() for history in drawn.values())
    embedded = []
    for name, history in drawn.items():
        best = [epoch for result in run.rows[name] for epoch in result.facts.best_epoch]
        title = marked(name, is_leaky(run.rows[name][0]))
        figure = charts.draw_curves(history, best_epochs=best, title=title, max_loss=top)
        kept = ", ".join(map(str, best))
        in_words = f"Loss and accuracy of {name} by epoch, training alone; last epoch {kept}."
        if any(run.rows[name][0].facts.n_validation):
            in_words = (
                f"Loss and accuracy of {name} by epoch, training and inner validation; chosen "
                f"epoch {kept}."
            )
        embedded.append(_embedded(figure, in_words, vector=n_lines <= VECTOR_LINES))
    return embedded


def _history(run: Run, name: str) -> pd.DataFrame:
    """The histories of all seeds, their folds counted on, so that each line is one training."""
    results: tuple[EvaluationResult, ...] = run.rows[name]
    n_folds = len(results[0].facts.n_train)
    each = [
        result.history.assign(fold=result.history["fold"] + k * n_folds)
        for k, result in enumerate(results)
        if len(result.history)
    ]
    return pd.concat(each, ignore_index=True) if each else results[0].history


def _embedded(figure: Figure, alt: str, *, vector: bool = True) -> dict[str, Any]:
    uri, width = embed_figure(figure, vector=vector)
    return {"uri": uri, "width": width, "alt": alt}
