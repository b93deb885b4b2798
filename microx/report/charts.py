"""Charts of a run's results: rows, confusions, learning, calibration, occlusion, regions.

Every function takes plain arrays and gives a ``matplotlib.figure.Figure`` in the style of
`microx.plotting`. Whatever colour shows, dashes, a marker or a word shows too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve

from microx.plotting import BLUE, GREY, INK, VERMILLION, style
from microx.report.cautions import marked
from microx.report.tables import points

_PALE_BLUE = "#9CC9E3"

N_BINS = 10
"""Bins of confidence in a calibration chart, with equal counts of clips (our choice)."""

# One after the other along a chart, distinct without colour by dashes and markers.
_LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "ls": "-", "marker": "o", "ms": 4.5, "lw": 1.5},
    {"color": VERMILLION, "ls": "--", "marker": "s", "ms": 4.5, "lw": 1.5},
    {"color": INK, "ls": "-.", "marker": "^", "ms": 4.5, "lw": 1.5},
    {"color": GREY, "ls": ":", "marker": "D", "ms": 4.5, "lw": 1.5},
)


def draw_ranking(
    names: Sequence[str],
    scores: Sequence[float],
    *,
    baseline: float,
    chance: float,
    intervals: Sequence[tuple[float, float]] = (),
    seeds: Sequence[Sequence[float]] = (),
    leaky: Sequence[str] = (),
    highlight: str = "",
) -> Figure:
    """Draw one horizontal bar per row, best on top, with the baselines to beat.

    Parameters
    ----------
    names : sequence of str, length n >= 1
        Row names.
    scores : sequence of float, length n, in [0, 1]
        Accuracy of each row.
    baseline : float in [0, 1]
        Accuracy of always predicting the most frequent training class (dashed line).
    chance : float in [0, 1]
        One over the number of classes (dotted line).
    intervals : sequence of (float, float), length n or 0
        Drawn as whiskers; nan for none.
    seeds : sequence of sequences of float, length n or 0
        The score of every seed, drawn as dots where there are several.
    leaky : sequence of str
        Names of rows that are hatched and marked LEAKY.
    highlight : str
        Name of the row drawn dark.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_ranking(["mouth", "nose"], [0.6, 0.3], baseline=0.2, chance=0.14)
    """
    order = np.argsort(np.asarray(scores, dtype=float), kind="stable")
    shown = [marked(name, name in leaky) for name in names]
    with style():
        width = 5.4 + 0.07 * max(0, max(map(len, shown)) - 14)
        figure = Figure(figsize=(width, 1.25 + 0.33 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for height, index in enumerate(order):
            colour = BLUE if names[index] == highlight else _PALE_BLUE
            face = {"fc": "white", "ec": VERMILLION, "hatch": "////"}
            look: Any = face if names[index] in leaky else {"color": colour}
            axes.barh(height, scores[index], height=0.68, **look)
            ends = _add_spread(axes, height, intervals[index : index + 1], seeds[index : index + 1])
            end = max([scores[index], *ends])
            axes.text(end + 0.02, height, f"{100 * scores[index]:.0f} %", va="center", fontsize=9)
        axes.set_yticks(range(len(order)), [shown[index] for index in order])
        for label, index in zip(axes.get_yticklabels(), order, strict=True):
            label.set_color(VERMILLION if names[index] in leaky else INK)
        axes.set_ylim(-0.6, len(order) - 0.4)
        baseline_label = f"most frequent class {100 * baseline:.0f} %"
        axes.axvline(baseline, color=VERMILLION, ls="--", lw=1.6, label=baseline_label)
        axes.axvline(chance, color=INK, ls=":", lw=1.6, label=f"chance {100 * chance:.0f} %")
        _percent_axis(axes, "x")
        axes.set_xlabel("accuracy on test clips")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _add_spread(
    axes: Axes,
    height: float,
    intervals: Sequence[tuple[float, float]],
    seeds: Sequence[Sequence[float]],
) -> list[float]:
    """Draw a row's whiskers and the dots of its seeds, where it has them; give where they lie."""
    drawn: list[float] = []
    for low, high in intervals:
        if not math.isnan(low):
            axes.plot([low, high], [height] * 2, color=INK, lw=1.2, marker="|", ms=7)
            drawn += [low, high]
    for scores in seeds:
        if len(scores) > 1:
            dots: dict[str, Any] = {
                "ls": "",
                "marker": "o",
                "ms": 3.5,
                "mfc": "white",
                "mec": INK,
                "mew": 0.8,
            }
            axes.plot(scores, [height] * len(scores), **dots)
            drawn += scores
    return drawn


def draw_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix: counts, below them each row's shares in per cent, and as colour.

    Parameters
    ----------
    counts : ndarray (K, K) of int
        Rows are true, columns predicted. A row without clips stays white.
    classes : sequence of str, length K

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_confusion(np.array([[3, 1], [0, 2]]), ["happy", "sad"])
    """
    n_classes = len(classes)
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    side = 1.5 + 0.5 * n_classes
    with style():
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        # pcolormesh stays vector in the SVG and sharp on paper
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.2)
        for row, column in np.ndindex(counts.shape):
            n, part = counts[row, column], share[row, column]
            colour = "white" if part > 0.55 else "#999999" if n == 0 else INK
            place: Any = {"ha": "center", "va": "center", "color": colour}
            axes.text(column + 0.5, row + (0.4 if n else 0.5), f"{n}", **place)
            if n:
                axes.text(column + 0.5, row + 0.75, f"{100 * part:.0f} %", fontsize=6.5, **place)
        ticks = np.arange(n_classes) + 0.5
        axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, classes)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("predicted emotion")
        axes.set_ylabel("true emotion")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def draw_recall(
    recall: Sequence[float],
    support: Sequence[int],
    classes: Sequence[str],
    *,
    chance: float,
) -> Figure:
    """Draw the recall of each emotion, with the number of test clips beside it.

    Parameters
    ----------
    recall : sequence of float in [0, 1] or nan, length K
    support : sequence of int, length K
        Test clips of each emotion; 0 is written "not tested".
    classes : sequence of str, length K
    chance : float in [0, 1]

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_recall([0.8, float("nan")], [10, 0], ["happy", "sad"], chance=0.5)
    """
    with style():
        figure = Figure(figsize=(4.9, 1.15 + 0.33 * len(classes)), layout="constrained")
        axes = figure.add_subplot()
        for height, (value, n) in enumerate(zip(recall, support, strict=True)):
            value = 0.0 if n == 0 or math.isnan(value) else value
            axes.barh(height, value, height=0.68, color=BLUE)
            text = f"{round(value * n)} of {n}" if n else "not tested"
            axes.text(value + 0.012, height, text, va="center", fontsize=9)
        axes.axvline(chance, color=INK, ls=":", lw=1.6, label=f"chance {100 * chance:.0f} %")
        axes.set_yticks(range(len(classes)), classes)
        axes.set_ylim(len(classes) - 0.4, -0.6)
        _percent_axis(axes, "x")
        axes.set_xlabel("recall on test clips")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return figure


def draw_curves(
    history: pd.DataFrame, *, best_epochs: Sequence[int], title: str, max_loss: float | None = None
) -> Figure:
    """Draw one row's learning curves, loss above accuracy, each fold a thin line.

    Parameters
    ----------
    history : DataFrame
        Columns fold, epoch, loss, accuracy, val_loss, val_accuracy; at least one row.
    best_epochs : sequence of int
        The chosen epoch of each fold, in the history's own counting (circles).
    title : str
    max_loss : float, optional
        Top of the loss axis, so that several figures can be compared.

    Returns
    -------
    Figure
        Training is dashed blue, inner validation solid vermillion.

    Examples
    --------
    >>> history = pd.DataFrame({"fold": 0, "epoch": [1, 2], "loss": [2.0, 1.0],
    ...     "accuracy": [0.2, 0.6], "val_loss": [2.0, 1.5], "val_accuracy": [0.1, 0.4]})
    >>> figure = draw_curves(history, best_epochs=[2], title="mouth")
    """
    with style():
        figure = Figure(figsize=(3.0, 2.9), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        folds = [group for _, group in history.groupby("fold", sort=True)]
        for index, fold in enumerate(folds):
            for axes, what in ((upper, "loss"), (lower, "accuracy")):
                axes.plot(fold["epoch"], fold[what], color=BLUE, ls="--", lw=1.2)
                axes.plot(fold["epoch"], fold[f"val_{what}"], color=VERMILLION, lw=1.4)
                if index < len(best_epochs):
                    best = fold[fold["epoch"] == best_epochs[index]]
                    dot = {
                        "ls": "",
                        "marker": "o",
                        "ms": 6,
                        "mfc": "white",
                        "mec": INK,
                        "clip_on": False,
                    }
                    axes.plot(best["epoch"], best[f"val_{what}"], **dot)
        upper.set_title(textwrap.fill(title, 27), fontweight="bold", loc="left", fontsize=9)
        upper.set_ylabel("loss", fontsize=9)
        upper.set_ylim(0, max_loss)
        _percent_axis(lower, "y")
        lower.set_ylabel("accuracy", fontsize=9)
        lower.set_xlabel("epoch", fontsize=9)
        lower.set_xlim(0.5, float(history["epoch"].max()) + 0.5)
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        for axes in (upper, lower):
            axes.tick_params(labelsize=8)
            axes.grid(axis="y", color="#E5E5E5", lw=0.8)
            axes.set_axisbelow(True)
    return figure


def draw_calibration(
    y_true: npt.NDArray[np.int64], y_prob: npt.NDArray[np.float32], *, title: str = ""
) -> Figure:
    """Draw the model's accuracy against its confidence.

    Parameters
    ----------
    y_true : (n,) int
        n >= 1.
    y_prob : (n, K) float
        Rows sum to 1.
    title : str

    Returns
    -------
    Figure
        Dots lie on the dotted line where confidence equals accuracy, below it where the model is
        overconfident; each stands for a tenth of the clips.

    Examples
    --------
    >>> figure = draw_calibration(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    """
    highest = np.minimum(y_prob.max(axis=1), 1)
    right = y_prob.argmax(axis=1) == y_true
    accuracy, confidence = calibration_curve(
        right, highest, n_bins=N_BINS, strategy="quantile", pos_label=True
    )
    with style():
        figure = Figure(figsize=(3.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=INK, ls=":", lw=1.2)
        axes.plot(confidence, accuracy, color=BLUE, marker="o", ms=5, lw=1.4, clip_on=False)
        _percent_axis(axes, "y")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        axes.set_aspect("equal")
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.set_title(title, loc="left", fontweight="bold")
    return figure


def draw_occlusion(curves: Mapping[str, Sequence[Mapping[str, Any]]], *, chance: float) -> Figure:
    """Draw how accuracy falls as more faces are occluded, one panel per kind of object.

    Parameters
    ----------
    curves : mapping of str to sequence of mapping
        Kind to lines, each with ``name``, and of length n ``shares``, ``scores``, ``low`` and
        ``high``, all in [0, 1]; nan for no interval. At least one kind.
    chance : float in [0, 1]
        Dotted line.

    Returns
    -------
    Figure

    Examples
    --------
    >>> line = {"name": "bare", "shares": [0, 1], "scores": [0.8, 0.3]}
    >>> line |= {"low": [0.7, 0.2], "high": [0.9, 0.4]}
    >>> figure = draw_occlusion({"mask": [line]}, chance=0.14)
    """
    n_columns = min(3, len(curves))
    n_rows = math.ceil(len(curves) / n_columns)
    with style():
        figure = Figure(figsize=(0.6 + 2.7 * n_columns, 0.7 + 2.4 * n_rows), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        for axes, (kind, lines) in zip(grid, curves.items(), strict=False):
            for line, look in zip(lines, _LINES, strict=False):
                band = (line["shares"], line["low"], line["high"])
                axes.fill_between(*band, color=look["color"], alpha=0.12, lw=0)
                axes.plot(line["shares"], line["scores"], label=line["name"], **look)
            axes.axhline(chance, color=INK, ls=":", lw=1.2)
            axes.set_title(kind, loc="left", fontweight="bold")
            axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
            axes.set_xlabel("test videos occluded", fontsize=9)
            _percent_axis(axes, "y")
        for axes in grid[len(curves) :]:
            axes.set_visible(False)
        for axes in grid[::n_columns]:
            axes.set_ylabel("accuracy on test clips", fontsize=9)
        keys, names = grid[0].get_legend_handles_labels()
        figure.legend(
            keys,
            names,
            loc="outside lower center",
            ncols=min(2, n_columns),
            frameon=False,
            fontsize=9,
        )
    return figure


def draw_region_values(values: pd.DataFrame) -> Figure:
    """Draw what each region adds to the accuracy and to each emotion's recall.

    Parameters
    ----------
    values : DataFrame
        From `microx.evaluation.summary.region_values`: a row a region, columns ``all`` and one a
        class.

    Returns
    -------
    Figure
        Points of accuracy as numbers; blue adds, red takes away.

    Examples
    --------
    >>> values = pd.DataFrame({"all": [0.4, 0.1], "happy": [0.6, -0.1]}, index=["mouth", "nose"])
    >>> figure = draw_region_values(values)
    """
    order = values["all"].to_numpy().argsort(kind="stable")[::-1]
    shown = values.iloc[order].to_numpy(float)
    reach = max(float(np.nanmax(np.abs(shown))), 0.01)
    columns = ["all clips", *values.columns[1:]]
    with style():
        figure = Figure(figsize=(2.0 + 0.55 * len(columns), 1.4 + 0.4 * len(shown)),
                        layout="constrained")  # fmt: skip
        axes = figure.add_subplot()
        axes.pcolormesh(
            shown, cmap="RdBu", vmin=-reach, vmax=reach, edgecolors="white", linewidth=1.2
        )
        for row, column in np.ndindex(shown.shape):
            value = shown[row, column]
            text = points(float(value))
            colour = "white" if abs(value) > 0.6 * reach else INK
            weight = "bold" if column == 0 else "normal"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour,
                      fontsize=9, fontweight=weight)  # fmt: skip
        axes.axvline(1, color=INK, lw=1.2)
        axes.set_xticks(
            np.arange(len(columns)) + 0.5, columns, rotation=45, ha="right", rotation_mode="anchor"
        )
        axes.set_yticks(np.arange(len(shown)) + 0.5, values.index[order])
        axes.invert_yaxis()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _percent_axis(axes: Axes, which: str) -> None:
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    labels = ["0", "25", "50", "75", "100 %"]
    if which == "x":
        axes.set_xlim(0, 1.16)
        axes.set_xticks(ticks, labels)
        axes.spines["bottom"].set_bounds(0, 1)
    else:
        axes.set_ylim(0, 1.02)
        axes.set_yticks(ticks, labels)
