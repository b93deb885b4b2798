"""Figures of results and predictions, drawn without pyplot and readable by the colour-blind.

Every function takes plain arrays and gives a ``matplotlib.figure.Figure``; `embed_figure`
and `embed_image` turn figures and crops into data URIs for a self-contained page. Colours
are those of Okabe and Ito, "Color Universal Design" (2008); the order and the pairing of
emotions with colours are our choice.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from microx.files import whole_file

BLUE, VERMILLION, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#222222"
_PALE_BLUE = "#9CC9E3"

# Okabe & Ito's colours by the beginning of an emotion's name; grey stands in for their black.
_COLOUR_OF = {
    "neutral": "#56B4E9",
    "ang": "#D55E00",
    "contempt": "#8A8A8A",
    "disgust": "#009E73",
    "surpris": "#E69F00",
    "fear": "#CC79A7",
    "happ": "#F0E442",
    "joy": "#F0E442",
    "sad": "#0072B2",
}
_PALETTE = tuple(dict.fromkeys(_COLOUR_OF.values()))

_STYLE: Any = {  # Any: matplotlib types each name of a style by itself
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
    "hatch.color": "#AAAAAA",
    "text.parse_math": False,  # a label such as "$5" is the user's text, not a formula
    "svg.fonttype": "none",  # text stays text: the reader's browser knows more scripts than we do
    "svg.hashsalt": "microx",  # the same figure gives the same bytes
}


@contextmanager
def _style() -> Iterator[None]:
    """Hold microx's figure style, and no one else's, while a figure is made or written."""
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def emotion_colours(classes: Sequence[str]) -> list[str]:
    """Give each emotion a colour: the usual emotions always the same one, no two alike.

    Parameters
    ----------
    classes : sequence of str
        The emotions, any spelling; an empty sequence gives an empty list.

    Returns
    -------
    list of str
        One ``#rrggbb`` a class. Past eight classes the rest are steps of viridis.

    Examples
    --------
    >>> emotion_colours(["happy", "anger"])
    ['#F0E442', '#D55E00']
    """
    chosen: dict[int, str] = {}
    for index, name in enumerate(classes):
        colour = next((c for key, c in _COLOUR_OF.items() if name.lower().startswith(key)), None)
        if colour is not None and colour not in chosen.values():
            chosen[index] = colour
    rest = [index for index in range(len(classes)) if index not in chosen]
    free = [colour for colour in _PALETTE if colour not in chosen.values()]
    steps = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, max(len(rest) - len(free), 1)))
    free += [matplotlib.colors.to_hex(step) for step in steps]
    chosen.update(zip(rest, free, strict=False))
    return [chosen[index] for index in range(len(classes))]


def draw_ranking(
    names: Sequence[str],
    scores: Sequence[float],
    *,
    baseline: float,
    chance: float,
    highlight: str = "",
) -> Figure:
    """Draw one horizontal bar a row, best on top, with the lines it has to pass.

    Parameters
    ----------
    names : sequence of str, length n >= 1
        Row names.
    scores : sequence of float, length n, in [0, 1]
        Accuracy of each row.
    baseline : float in [0, 1]
        Accuracy of always guessing the most frequent training class (dashed line).
    chance : float in [0, 1]
        One over the number of classes (dotted line).
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
    with _style():
        width = 4.9 + 0.07 * max(0, max(map(len, names)) - 14)
        figure = Figure(figsize=(width, 1.25 + 0.33 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for height, index in enumerate(order):
            colour = BLUE if names[index] == highlight else _PALE_BLUE
            axes.barh(height, scores[index], height=0.68, color=colour)
            text = f"{100 * scores[index]:.0f} %"
            axes.text(scores[index] + 0.012, height, text, va="center", fontsize=9)
        axes.set_yticks(range(len(order)), [names[index] for index in order])
        axes.set_ylim(-0.6, len(order) - 0.4)
        baseline_label = f"most frequent class {100 * baseline:.0f} %"
        axes.axvline(baseline, color=VERMILLION, ls="--", lw=1.6, label=baseline_label)
        axes.axvline(chance, color=INK, ls=":", lw=1.6, label=f"chance {100 * chance:.0f} %")
        _percent_axis(axes, "x")
        axes.set_xlabel("test clips named right")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix: the counts as numbers, each row's shares as colour.

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
    side = 1.5 + 0.44 * n_classes
    with _style():
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        # pcolormesh stays vector in the SVG and sharp on paper
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.2)
        for row, column in np.ndindex(counts.shape):
            faint = counts[row, column] == 0
            colour = "white" if share[row, column] > 0.55 else "#999999" if faint else INK
            number = f"{counts[row, column]}"
            axes.text(column + 0.5, row + 0.5, number, ha="center", va="center", color=colour)
        ticks = np.arange(n_classes) + 0.5
        axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, classes)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("named by the model")
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
    """Draw how much of each emotion was found, with the number of test clips beside it.

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
    with _style():
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
        axes.set_xlabel("of this emotion's clips named right")
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
    with _style():
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
        upper.set_title(title, fontweight="bold", loc="left")
        upper.set_ylabel("loss", fontsize=9)
        upper.set_ylim(0, max_loss)
        _percent_axis(lower, "y")
        lower.set_ylabel("accuracy", fontsize=9)
        lower.set_xlabel("epoch", fontsize=9)
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        for axes in (upper, lower):
            axes.tick_params(labelsize=8)
            axes.grid(axis="y", color="#E5E5E5", lw=0.8)
            axes.set_axisbelow(True)
    return figure


def draw_timeline(
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    y_prob: npt.NDArray[np.float32],
    status: Sequence[str],
    classes: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw a video's emotions over time as stacked shares; hatched where there is no answer.

    Parameters
    ----------
    start_s, end_s : ndarray (n,) float, seconds, n >= 1
        What each row covers, in order of time; clips may overlap.
    y_prob : ndarray (n, K), rows sum to 1, or nan where the row is no clip
    status : sequence of str, length n
        Why a row has no probabilities ("no face", "too short"); unused for clips.
    classes : sequence of str, length K
    title : str

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_timeline(np.array([0.0, 1.0]), np.array([1.0, 2.0]),
    ...     np.array([[0.9, 0.1], [np.nan, np.nan]]), ["clip", "no face"], ["happy", "sad"])
    """
    colours = emotion_colours(classes)
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(y_prob).all(axis=1))
    with _style():
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for run in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known)) + 1):
            if known[run[0]]:
                _stack_run(axes, start_s[run], end_s[run], y_prob[run], colours)
        gaps = dict.fromkeys(name for name, clip in zip(status, known, strict=True) if not clip)
        hatches = dict(zip(gaps, ("////", "....", "xxxx"), strict=False))
        for row in np.flatnonzero(~known).tolist():
            hatch = hatches.get(status[row], "xxxx")
            axes.axvspan(start_s[row], end_s[row], fc="white", ec="#AAAAAA", lw=0, hatch=hatch)
        axes.set_xlim(float(start_s.min()), float(end_s.max()))
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel("time in the video (s)")
        axes.set_ylabel("probability")
        axes.set_title(title, loc="left", fontweight="bold")
        keys = [Patch(fc=c, label=n) for n, c in zip(classes, colours, strict=True)][::-1]
        keys += [Patch(fc="white", ec="#AAAAAA", hatch=h, label=n) for n, h in hatches.items()]
        figure.legend(handles=keys, loc="outside right center", frameon=False)
    return figure


def _stack_run(
    axes: Axes,
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    y_prob: npt.NDArray[np.float32],
    colours: Sequence[str],
) -> None:
    """Stack one unbroken run of clips, held level to the outer ends of its first and last."""
    middle = (start_s + end_s) / 2
    at = np.concatenate([start_s[:1], middle, end_s[-1:]])
    held = np.concatenate([y_prob[:1], y_prob, y_prob[-1:]])  # (n + 2, K)
    axes.stackplot(at, held.T, colors=list(colours), edgecolor="white", linewidth=0.6)


def _percent_axis(axes: Axes, which: str) -> None:
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    labels = ["0", "25", "50", "75", "100 %"]
    if which == "x":
        axes.set_xlim(0, 1.12)
        axes.set_xticks(ticks, labels)
        axes.spines["bottom"].set_bounds(0, 1)
    else:
        axes.set_ylim(0, 1.02)
        axes.set_yticks(ticks, labels)


def embed_figure(figure: Figure, *, vector: bool = True) -> tuple[str, int]:
    """Give a figure as a data URI, SVG or else PNG, and its natural width in CSS pixels.

    Examples
    --------
    >>> uri, width = embed_figure(draw_ranking(["a"], [0.5], baseline=0.2, chance=0.1))
    >>> uri[:26]
    'data:image/svg+xml;base64,'
    """
    buffer = io.BytesIO()
    with _style():
        if vector:
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        else:
            figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    kind = "svg+xml" if vector else "png"
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}", round(figure.get_figwidth() * 96)


def embed_image(image: npt.NDArray[np.uint8]) -> str:
    """Give an RGB picture (H, W, 3) uint8 as a PNG data URI.

    Examples
    --------
    >>> embed_image(np.zeros((2, 2, 3), np.uint8))[:22]
    'data:image/png;base64,'
    """
    _, data = cv2.imencode(".png", image[..., ::-1])
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG of 150 dots an inch (our choice) and give its path.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> figure = draw_ranking(["a"], [0.5], baseline=0.2, chance=0.1)
    >>> write_figure(figure, folder / "a.png").name
    'a.png'
    """
    with _style(), whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return path
