"""Make the figures of the documentation; one of them needs a folder that `make demo` wrote.

python examples/figures.py docs/pictures [demo]
"""

import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from microx import load_corpus
from microx.preprocessing.occlusion.occluder import OCCLUSIONS, draw_occluder
from microx.preprocessing.regions import POLICIES, crop_region, crop_transform
from microx.preprocessing.video import read_frames
from microx.schema import DEFAULT_REGIONS, EMOTIONS
from microx.simulation.corpus import draw_take

COMPARISON = Path(__file__).parents[1] / "docs" / "comparison.csv"


def read_frame(path: Path, index: int) -> np.ndarray:
    """Return one decoded frame, ``(H, W, 3)`` uint8 RGB."""
    return next(frame.rgb for frame in read_frames(path) if frame.index == index)


def draw_overview(demo: Path) -> Figure:
    """Draw actors of each emotion, the crops of one clip, and the accuracy of each region."""
    corpus = load_corpus(demo / "corpus")
    videos = corpus.manifest.groupby("emotion")["path"].agg(list)
    matplotlib.rcParams["font.size"] = 9
    figure = Figure(figsize=(11.5, 5.6), layout="constrained", dpi=110)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.75])
    for k, (axes, emotion) in enumerate(zip(top.subplots(1, 7), EMOTIONS, strict=True)):
        frame = read_frame(demo / "videos" / videos[emotion][k % len(videos[emotion])], 20)
        axes.imshow(frame[10:, 8:-8])
        axes.set_title(emotion)
        axes.axis("off")
    left, right = bottom.subfigures(1, 2, width_ratios=[1.25, 1])
    video = corpus.manifest.query("emotion == 'surprise'")["video_id"].iloc[0]
    axes = left.subplots()
    rows = [corpus.read_crops(video, region)[:10] for region in corpus.regions]
    axes.imshow(np.vstack([np.hstack(list(row)) for row in rows]), interpolation="nearest")
    side = corpus.size
    axes.set_yticks(side * (np.arange(len(rows)) + 0.5), corpus.regions)
    axes.set_xticks(side * (np.arange(10) + 0.5), range(1, 11))
    left.suptitle("A clip: ten frames of each region", fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    right.suptitle("Accuracy on drawn subjects never seen", fontsize=11)
    _draw_accuracy(right.subplots(), pd.read_csv(demo / "run" / "results.csv"))
    return figure


def _draw_accuracy(axes, results: pd.DataFrame) -> None:
    results = results.iloc[::-1]
    control = results["name"].str.contains("shuffled|most_frequent|stratified|uniform")
    colours = np.where(control, "#999999", "#0072B2")
    bars = axes.barh(results["name"], results["accuracy"], color=colours)
    axes.bar_label(
        bars, labels=[f"{100 * value:.0f} %" for value in results["accuracy"]], padding=3
    )
    axes.set_xlim(0, 1.1)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


_SHOWN = {  # seeds of looks that differ well
    "mask": (1, 11, 12, 15),
    "sunglasses": (11, 3, 5, 15),
    "hand": (2, 13, 10, 4),
    "scarf": (2, 6, 17, 3),
}


def draw_occlusions() -> Figure:
    """Draw actors that wear each kind of object, four looks of each."""
    acts = ((1, "happy"), (8, "surprise"), (6, "anger"), (3, "sad"))
    takes = [draw_take(subject, emotion, noise=0) for subject, emotion in acts]
    figure = Figure(figsize=(11.5, 3.3), layout="constrained", dpi=110)
    for part, kind in zip(figure.subfigures(1, 4).flat, OCCLUSIONS, strict=True):
        part.suptitle(kind)
        for k, (axes, take) in enumerate(zip(part.subplots(2, 2).flat, takes, strict=True)):
            occluder = draw_occluder(kind, _SHOWN[kind][k])
            axes.imshow(occluder.apply(take.frames[20], take.landmarks.xy[20])[20:, 18:-18])
            axes.axis("off")
    return figure


def draw_policies() -> Figure:
    """Cut one drawn face, upright and tilted, by both crop policies."""
    take = draw_take(8, "happy", noise=0)
    rgb, xy = take.frames[22], take.landmarks.xy[22]
    turn = cv2.getRotationMatrix2D((128, 128), 16, 1)
    tilted = cv2.warpAffine(rgb, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    faces = {"upright": (rgb, xy), "tilted": (tilted, xy @ turn[:, :2].T + turn[:, 2])}
    figure = Figure(figsize=(11.5, 4.1), layout="constrained", dpi=110)
    for policy, parts in zip(POLICIES, figure.subfigures(2, 1).flat, strict=True):
        parts.suptitle(f'policy "{policy}"', x=0.01, ha="left", fontweight="bold")
        columns = parts.subplots(1, 12, width_ratios=[2, 1, 1, 1, 1, 1] * 2)
        for half, (name, (image, points)) in enumerate(faces.items()):
            axes = columns[6 * half]
            axes.imshow(image)
            axes.set_title(name)
            for region, colour, cell in zip(
                DEFAULT_REGIONS, _COLOURS, columns[6 * half + 1 :], strict=False
            ):
                crop, _ = crop_region(image, points, region, size=64, policy=policy)
                if crop is not None:
                    cell.imshow(crop)
                    corners = _corners_in_frame(points, region, policy)
                    axes.plot(*corners.T, color=colour, linewidth=1.2)
                cell.set_title(region.replace("_", " "), fontsize=8, color=colour)
            axes.set_xlim(0, 255)
            axes.set_ylim(255, 0)
        for axes in columns:
            axes.axis("off")
    return figure


def draw_comparison(rows: pd.DataFrame) -> Figure:
    """Draw what `compare_models.py` stored: one dot per training, bars are their means."""
    cases = list(dict.fromkeys(rows["case"]))
    corpora = list(dict.fromkeys(rows["corpus"]))
    figure = Figure(figsize=(11.5, 0.6 + 0.27 * len(cases)), layout="constrained", dpi=110)
    every_axes = figure.subplots(1, len(corpora), sharey=True, squeeze=False)[0]
    for axes, corpus in zip(every_axes, corpora, strict=True):
        scores = rows[rows["corpus"] == corpus].set_index("case")["accuracy"]
        mean = scores.groupby(level=0).mean().reindex(cases)
        colours = np.where([case == "compact" for case in cases], _COLOURS[0], "#BBBBBB")
        axes.barh(range(len(cases)), mean, color=colours, height=0.7)
        axes.plot(scores, [cases.index(case) for case in scores.index], ".", color="#222222")
        axes.axvline(mean["compact"], color=_COLOURS[0], linewidth=1)
        axes.axvline(1 / len(EMOTIONS), color=_COLOURS[1], linewidth=1, linestyle=":")
        axes.set_title(corpus.replace("_mask", ", masked"), fontsize=11)
        axes.set_xlim(0, 1.03)
        axes.spines[["top", "right"]].set_visible(False)
    every_axes[0].set_yticks(range(len(cases)), cases)
    every_axes[0].invert_yaxis()
    figure.supxlabel(
        "accuracy on subjects never seen; blue line: compact; dotted: chance", fontsize=10
    )
    return figure


_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")


def _corners_in_frame(xy: np.ndarray, region: str, policy: str) -> np.ndarray:
    """The outline of a crop of 64 px, closed, in pixels of the frame: (5, 2)."""
    matrix = crop_transform(xy, region, size=64, policy=policy, size_hw=(256, 256))
    inverse = cv2.invertAffineTransform(matrix)
    square = np.array([[0, 0], [63, 0], [63, 63], [0, 63], [0, 0]])
    return square @ inverse[:, :2].T + inverse[:, 2]


def main(out: Path, demo: Path | None) -> None:
    """Write policies.png, occlusion.png, comparison.png and, from a demo, overview.png."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {
        "policies": draw_policies(),
        "occlusion": draw_occlusions(),
        "comparison": draw_comparison(pd.read_csv(COMPARISON)),
    }
    if demo is not None:
        figures["overview"] = draw_overview(demo)
    for name, figure in figures.items():
        path = out / f"{name}.png"
        figure.savefig(path)
        image = cv2.imread(str(path))
        print(f"{path}: {image.shape[1]} x {image.shape[0]} px")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/figures.py OUT [DEMO]")
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None)
