"""All figures that explain a model's prediction for one video, in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from microx.corpus.corpus import Corpus
from microx.errors import InputError, ModelError
from microx.evaluation.evaluate import predict_clips
from microx.explain.attribution import (
    grad_cam,
    list_frames,
    occlusion_sensitivity,
    open_for_model,
    region_weights,
)
from microx.explain.filters import feature_maps, find_filter_responses
from microx.explain.layers import Stream, find_stream_of, find_streams
from microx.explain.plots import (
    draw_cam,
    draw_feature_maps,
    draw_filters,
    draw_occlusion,
    draw_weights,
)
from microx.files import whole_file
from microx.models.fusion import needs_present
from microx.plotting import write_figure
from microx.training.dataset import ClipDataset
from microx.training.facts import FitFacts
from microx.training.model_file import load_model

MOST_CLIPS = 200
"""Clips of a corpus searched for the strongest responses of filters (our choice)."""


def write_explanation(
    model_path: str | Path,
    corpus: Corpus,
    video_id: str,
    out: str | Path,
    *,
    emotion: str | None = None,
    layer: str | None = None,
) -> list[Path]:
    """Draw why a model predicts what it does for a video of a corpus.

    Parameters
    ----------
    model_path : path
        See `microx.training.model_file.find_model`.
    corpus : Corpus
        Made by the same recipe as the model's.
    video_id : str
        Of the corpus.
    out : path
        Folder for the figures, created if needed. Files of the same names are replaced.
    emotion : str, optional
        What to explain; by default the video's prediction: the largest mean over its clips.
    layer : str, optional
        A layer whose filters to draw, see `microx.explain.layers.Stream.map_layers`; by
        default the first and the last convolution of the stream that counts most.

    Returns
    -------
    list of Path
        ``<video>.cam.png`` and ``.occlusion.png``, of the clip with the highest confidence;
        ``.maps.png``, the feature maps of one stream for its middle frame;
        ``.filters.<layer>.png``, their best places in up to `MOST_CLIPS` clips of the corpus;
        of a model that weighs its streams ``.weights.csv`` and ``.weights.png``.

    Raises
    ------
    ModelError
        If model and corpus do not fit, or the model has no such layer.
    InputError
        If there is no such video or emotion, the video has no whole clip, or `out` is not a folder.

    Examples
    --------
    >>> write_explanation("RUN", corpus, "S01_sad_1", "why")[0].name
    'S01_sad_1.cam.png'
    """
    model, facts = load_model(model_path)
    if facts.inputs == "motion":
        raise ModelError(
            f"{model_path}: reads motion, which is not explained by crops; to see what each region "
            "counts for, evaluate it `without` one"
        )
    dataset = open_for_model(model, facts, corpus, video_id=video_id)
    label, place, prob = _choose(model, dataset, facts.classes, emotion)
    folder, clip = _make_folder(out), _take_clip(dataset, place)
    frames = list_frames(dataset, len(corpus.read_frames_found(video_id)))[place]
    times = corpus.read_ledger(video_id)["time_s"].to_numpy(float)[frames]
    crops = {
        region: corpus.read_crops(video_id, region, frames)
        for region in facts.regions
        if region in corpus.regions
    }
    title = f"{video_id}, {times[0]:.2f} s: {facts.classes[label]} {100 * prob:.0f} %"
    if video_id in facts.trained_on.videos:
        title += ", trained on this video"
    cam = grad_cam(model, clip, label)
    drops = {name: maps[0] for name, maps in occlusion_sensitivity(model, clip, label).items()}
    figures = {
        "cam": draw_cam(crops, {name: maps[0] for name, maps in cam.items()}, times, title=title),
        "occlusion": draw_occlusion(_middle(crops), drops, title=title),
    }
    table = None
    if needs_present(model):
        table = region_weights(model, facts, corpus, video_id)
        figures["weights"] = draw_weights(table, title=f"{video_id}: weight of each stream")
    stream = _main_stream(model, table, layer)
    figures |= _draw_layers(model, facts, corpus, clip, crops, stream, layer)
    written = [
        write_figure(figure, folder / f"{video_id}.{name}.png") for name, figure in figures.items()
    ]
    if table is not None:
        with whole_file(folder / f"{video_id}.weights.csv") as partial:
            table.to_csv(partial, index=False, float_format="%.4f")
        written.append(folder / f"{video_id}.weights.csv")
    return written


def _choose(
    model: Any, dataset: ClipDataset, classes: Sequence[str], emotion: str | None
) -> tuple[int, int, float]:
    """Choose the emotion and the clip to explain, and give the emotion's probability there."""
    if emotion is not None and emotion not in classes:
        raise InputError(f"emotion must be one of {', '.join(classes)}; found {emotion!r}")
    prob = predict_clips(model, dataset)
    label = int(prob.mean(axis=0).argmax()) if emotion is None else classes.index(emotion)
    place = int(prob[:, label].argmax())
    return label, place, float(prob[place, label])


def _take_clip(dataset: ClipDataset, place: int) -> dict[str, npt.NDArray[np.float32]]:
    """Take one clip of a dataset, as a batch of one."""
    index, row = divmod(place, dataset.batch_size)
    return {name: x[row : row + 1] for name, x in dataset[index][0].items()}


def _middle(crops: Mapping[str, npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.uint8]]:
    return {region: each[len(each) // 2] for region, each in crops.items()}


def _main_stream(model: Any, table: pd.DataFrame | None, layer: str | None) -> Stream:
    """The stream of a layer, or else the one of most weight."""
    if layer is not None:
        return find_stream_of(model, layer)
    streams = {stream.name: stream for stream in find_streams(model)}
    if table is None:
        return next(iter(streams.values()))
    return streams[str(table.drop(columns="time_s").mean().idxmax())]


def _draw_layers(
    model: Any,
    facts: FitFacts,
    corpus: Corpus,
    clip: Mapping[str, npt.NDArray[np.float32]],
    crops: Mapping[str, npt.NDArray[np.uint8]],
    stream: Stream,
    layer: str | None,
) -> dict[str, Figure]:
    """Draw a stream's feature maps of a clip's middle frame, and its filters' best patches."""
    shown = [one for one in stream.map_layers if "relu" in one or "lstm" in one]
    shown = shown or list(stream.map_layers)
    shown = [shown[at] for at in np.unique(np.linspace(0, len(shown) - 1, 6).round().astype(int))]
    each = {name: feature_maps(model, clip, name)[0] for name in shown}
    maps = {name: one[len(one) // 2] for name, one in each.items()}
    image = np.concatenate([_middle(crops)[r] for r in stream.regions if r in crops], axis=1)
    figures = {"maps": draw_feature_maps(image, maps, title=f"Feature maps of {stream.name}")}
    searched = open_for_model(model, facts, corpus, most=MOST_CLIPS)
    filters = stream.convolutions or (stream.cam_layer,)
    for name in [layer] if layer else dict.fromkeys([filters[0], filters[-1]]):
        batches = (searched[index][0] for index in range(len(searched)))
        found = find_filter_responses(model, batches, name)
        figures[f"filters.{name}"] = draw_filters(found, title=f"Strongest responses of {name}")
    return figures


def _make_folder(out: str | Path) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: expected a folder to write to; {error.strerror}") from None
    return Path(out)
