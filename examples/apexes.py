"""How far estimated apexes lie from annotated ones, and how far the middles of the videos do.

microx preprocess CASME2 --corpus casme2 --faces cropped --regions face --size 128 --out CORPUS
python examples/apexes.py CORPUS FIGURE.png
"""

import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from microx import load_corpus
from microx.corpus.corpus import Corpus
from microx.corpus.key_clips import key_clips
from microx.corpus.motion import estimate_apex
from microx.markup import to_markdown
from microx.plotting import BLUE, GREY, style, write_figure

NEAR = 5
"""Frames that an apex may be off to count as found (our choice)."""


def main(corpus: Corpus, figure: Path) -> None:
    """Print the table of errors in frames, and draw their distributions."""
    annotated = {str(name): corpus.find_frame(str(name), "apex") for name in _videos(corpus)}
    names = [name for name, apex in annotated.items() if apex is not None]
    estimated = joblib.Parallel(-1, prefer="threads")(
        joblib.delayed(estimate_apex)(corpus, name) for name in names
    )
    clips = key_clips(corpus, "apex", dict.fromkeys(annotated)).set_index("video_id")
    middles = clips["start"].reindex(names).tolist()
    lines, drawn = [], {}
    for how, found in (("estimated", estimated), ("middle", middles)):
        kept = [(t, annotated[name]) for t, name in zip(found, names, strict=True) if t is not None]
        error = np.array([t - apex for t, apex in kept])
        drawn[how] = error
        lines.append(
            {
                "apex": how,
                "videos": len(error),
                "mean error, frames": f"{np.abs(error).mean():.1f}",
                "median": f"{np.median(np.abs(error)):.0f}",
                f"within {NEAR} frames": f"{(np.abs(error) <= NEAR).mean():.0%}",
                "bias": f"{error.mean():+.1f}",
            }
        )
    print(to_markdown(pd.DataFrame(lines)))
    _draw(drawn, figure)


def _videos(corpus: Corpus) -> list[str]:
    done = corpus.manifest["status"] == "done"
    return corpus.manifest.loc[done, "video_id"].astype(str).tolist()


def _draw(errors: dict[str, np.ndarray], path: Path) -> None:
    edges = np.arange(-62.5, 63, 5)
    with style():
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        axes = figure.subplots()
        for (how, error), colour in zip(errors.items(), (BLUE, GREY), strict=True):
            off = np.clip(error, -60, 60)
            axes.hist(off, edges, histtype="step", linewidth=1.8, color=colour, label=how)
        axes.set_xlabel("frames from the annotated apex (60 and more: the last bars)")
        axes.set_ylabel("videos")
        axes.legend(frameon=False)
    write_figure(figure, path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/apexes.py CORPUS FIGURE.png")
    main(load_corpus(sys.argv[1]), Path(sys.argv[2]))
