"""Figures of results and predictions, drawn without pyplot and readable by the colour-blind.

Every function takes plain arrays and gives a ``matplotlib.figure.Figure``; `embed_figure`
and `embed_image` turn figures and crops into data URIs for a self-contained page. Colours
are those of Okabe and Ito, "Color Universal Design" (2008); the order and the pairing of
emotions with colours are our choice.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
def style() -> Iterator[None]:
    """Use microx's figure style alone while a figure is made or written."""
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def emotion_colours(classes: Sequence[str]) -> list[str]:
    """Give each emotion a colour: the usual ones always the same, no two alike.

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


def draw_timeline(
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    y_prob: npt.NDArray[np.float32],
    status: Sequence[str],
    classes: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw a video's emotions over time as stacked shares; hatched where there is no prediction.

    Parameters
    ----------
    start_s, end_s : ndarray (n,) float, seconds, n >= 1
        What each row covers, in order of time; clips may overlap.
    y_prob : ndarray (n, K), rows sum to 1, or nan where the row is not a clip
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
    with style():
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


def draw_bands(
    bands: Mapping[str, Sequence[tuple[float, float, str]]],
    classes: Sequence[str],
    duration_s: float,
) -> Figure:
    """Draw a band a participant, coloured by label; grey where there is none.

    Parameters
    ----------
    bands : mapping of str to sequence of (start_s, end_s, emotion)
        Participant to clips in order of time, at least one participant.
    classes : sequence of str
    duration_s : float
        Of the recording.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_bands({"Anna": [(0.0, 1.0, "happy")]}, ["happy", "sad"], 2.0)
    """
    colours = dict(zip(classes, emotion_colours(classes), strict=True))
    with style():
        figure = Figure(figsize=(9.0, 1.1 + 0.42 * len(bands)), layout="constrained")
        axes = figure.add_subplot()
        for row, spans in enumerate(bands.values()):
            axes.broken_barh([(0, duration_s)], (row - 0.36, 0.72), fc="#EEEEEE")
            widths = [(start, end - start) for start, end, _ in spans]
            axes.broken_barh(widths, (row - 0.36, 0.72), fc=[colours[name] for *_, name in spans])
        axes.set_yticks(range(len(bands)), list(bands))
        axes.set_ylim(len(bands) - 0.5, -0.5)
        axes.set_xlim(0, duration_s)
        axes.set_xlabel("time in the recording (s)")
        keys = [Patch(fc=colour, label=name) for name, colour in colours.items()]
        keys.append(Patch(fc="#EEEEEE", label="no clip"))
        figure.legend(handles=keys, loc="outside right center", frameon=False)
    return figure


def draw_attendance(counts: pd.DataFrame, n_expected: int | None) -> Figure:
    """Draw how many participants are seen over time, against how many are present.

    Parameters
    ----------
    counts : DataFrame
        time_s, end_s and n_faces of each stretch, in order of time.
    n_expected : int or None

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = draw_attendance(pd.DataFrame(
    ...     {"time_s": [0.0, 1.0], "end_s": [1.0, 1.5], "n_faces": [1, 2]}), 2)
    """
    most = max(int(counts["n_faces"].max()), n_expected or 0)
    with style():
        figure = Figure(figsize=(9.0, 1.9), layout="constrained")
        axes = figure.add_subplot()
        edges = np.append(counts["time_s"], counts["end_s"].iloc[-1])
        axes.stairs(counts["n_faces"], edges, baseline=None, color=BLUE, linewidth=1.8)
        axes.set_xlim(0, edges[-1])
        if n_expected is not None:
            axes.axhline(n_expected, color=GREY, linestyle="--", linewidth=1)
            axes.annotate("present", (0, n_expected), va="bottom", color=GREY)
        axes.set_ylim(0, most + 0.6)
        axes.set_yticks(sorted({0, most, n_expected or most}))
        axes.set_xlabel("time in the recording (s)")
        axes.set_ylabel("faces seen")
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


def embed_figure(figure: Figure, *, vector: bool = True) -> tuple[str, int]:
    """Give a figure as a data URI, SVG or else PNG, and its natural width in CSS pixels.

    Examples
    --------
    >>> uri, width = embed_figure(Figure())
    >>> uri[:26]
    'data:image/svg+xml;base64,'
    """
    buffer = io.BytesIO()
    with style():
        if vector:
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        else:
            figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    kind = "svg+xml" if vector else "png"
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}", round(figure.get_figwidth() * 96)


def embed_image(image: npt.NDArray[np.uint8]) -> str:
    """Give an RGB image (H, W, 3) uint8 as a PNG data URI.

    Examples
    --------
    >>> embed_image(np.zeros((2, 2, 3), np.uint8))[:22]
    'data:image/png;base64,'
    """
    _, data = cv2.imencode(".png", image[..., ::-1])
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG of 150 dots per inch (our choice) and give its path.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_figure(Figure(), folder / "a.png").name
    'a.png'
    """
    with style(), whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return path
