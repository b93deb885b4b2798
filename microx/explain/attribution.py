"""Why a model predicts as it does: where it looks, what it needs, what counts over a video.

Arrays in, arrays out, for every network of `microx.models` and every backend of Keras. Such
maps do not show whether the model is right, only what its prediction is based on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import ops

from microx.corpus.corpus import Corpus
from microx.errors import InputError, ModelError
from microx.evaluation.stored_model import check_model_fits
from microx.explain.layers import (
    RUN_EAGERLY,
    Clips,
    Maps,
    complete_clips,
    find_streams,
    read_layers,
    stop_at,
)
from microx.models.fusion import PRESENT, WEIGHTS, needs_present, show_weights
from microx.training.dataset import ClipDataset, open_clips
from microx.training.facts import FitFacts

N_CELLS = 8
"""Places along a side of a crop that `occlusion_sensitivity` covers (our choice)."""

_BATCH_CLIPS = 32
_LEAST_PROBABILITY = 1e-30


def grad_cam(model: keras.Model, clips: Clips, label: int | None = None) -> Maps:
    """Show where and when a clip holds evidence for an emotion.

    Parameters
    ----------
    model : keras.Model
        Of `microx.models`, trained; see `microx.training.model_file.load_model`. It is not changed.
    clips : dict of str to (B, T, H, W, C) float32
        By region, as the model reads them. Without ``"present"``, all regions are present.
    label : int, optional
        The emotion's index among the classes; by default each clip's prediction.

    Returns
    -------
    dict of str to (B, T, H, W) float32
        By region, in [0, 1]: 1 is the strongest place in all regions of the clip, so regions
        can be compared; all 0 without evidence for the emotion. No clips give no maps.

    Raises
    ------
    ModelError
        If the network is not one of `microx.models`, or clips do not fit it.

    Notes
    -----
    After Selvaraju et al., "Grad-CAM" (2017), in the form of Draelos and Carin, "HiResCAM"
    (2020): gradients are not averaged over a channel first, whose mean says nothing once
    `microx.models.streams.ClipNormalization` has taken it out. In compact at the maps of
    H / 2 cells that follow the first convolution, blurred by H / 16 pixels before evidence
    against the emotion is cut off, so that neighbours which contradict each other cancel (our
    choice). On 42 clips of drawn subjects not trained on, this correlates with
    `occlusion_sensitivity` by .58; without the blur .51, at the last maps of
    H / 8 cells .29, and averaged as in Grad-CAM .17. In "paper", whose ConvLSTM reads
    pixels and gives its last state only, and in the networks of single images, the last spatial
    maps are taken, and every frame has the same. The score is the logarithm of the
    emotion's probability less the mean of those of all: its logit up to a shift, which does not
    vanish where confidence is high (our choice).
    """
    streams = find_streams(model)
    clips = complete_clips(model, clips)
    n_clips, n_frames, size, *_ = next(iter(clips.values())).shape
    if n_clips == 0:
        return {name: np.empty(x.shape[:4], np.float32) for name, x in clips.items() if x.ndim == 5}
    layers = [stream.cam_layer for stream in streams]
    cams: Maps = {}
    for stream, maps, gradient in zip(
        streams, *measure_gradients(model, clips, layers, label), strict=True
    ):
        if maps.ndim == 4:
            maps, gradient = maps[:, None], gradient[:, None]  # (B, 1, h, w, C)
        evidence = (gradient * maps).sum(axis=-1)  # (B, T or 1, h, w)
        for region, cut in stream.split(evidence, size).items():
            cam = np.maximum(_blur(cut), 0)
            cams[region] = np.broadcast_to(cam, (n_clips, n_frames, size, size))
    strongest = np.max([cam.max(axis=(1, 2, 3)) for cam in cams.values()], axis=0)
    scale = np.where(strongest > 0, strongest, 1).reshape(-1, 1, 1, 1)
    return {region: (cam / scale).astype(np.float32) for region, cam in cams.items()}


def _blur(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Blur each map of (B, T, H, W) by a sixteenth of its side."""
    flat = maps.reshape(-1, *maps.shape[2:])
    blurred = [cv2.GaussianBlur(one, (0, 0), len(one) / 16) for one in flat]
    return np.stack(blurred).reshape(maps.shape)


def measure_gradients(
    model: keras.Model, clips: Clips, layers: Sequence[str], label: int | None = None
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """Measure how an emotion's score changes with the outputs of layers.

    Parameters
    ----------
    model, clips, label
        As for `grad_cam`.
    layers : sequence of str
        Names; none may come before another one.

    Returns
    -------
    outputs, gradients : list of (B, …) float32
        Of each layer: its output, and the score's gradient by it; same shapes.

    Notes
    -----
    Keras has no gradients of its own that all its backends share, but all of them can train:
    zeros are added to the outputs of the layers and trained by one step of plain gradient
    descent at a rate of 1. The step is the gradient.
    """
    clips = complete_clips(model, clips)
    fixed = [clips[tensor.name] for tensor in model.inputs]
    outputs = read_layers(stop_at(model, layers), clips)
    labels = _labels(model, clips, label)
    wanted = np.eye(model.output_shape[-1], dtype=np.float32)[labels]
    tensors = [model.get_layer(name).output for name in layers]
    probed = _Probed(keras.Model([*tensors, *model.inputs], model.output), outputs)
    trainable = [layer for layer in model.layers if layer.trainable]
    try:
        for layer in trainable:
            layer.trainable = False
        probed.compile(optimizer=keras.optimizers.SGD(1.0), loss=_minus_score)
        probed.run_eagerly = RUN_EAGERLY
        probed.train_on_batch((outputs, fixed), wanted)
    finally:
        for layer in trainable:
            layer.trainable = True
    return outputs, [np.asarray(ops.convert_to_numpy(zeros)) for zeros in probed.zeros]


def occlusion_sensitivity(
    model: keras.Model, clips: Clips, label: int | None = None, *, cells: int = N_CELLS
) -> Maps:
    """Measure how much of an emotion's probability is lost if a place of a region is occluded.

    Parameters
    ----------
    model, clips, label
        As for `grad_cam`.
    cells : int
        Places along a side of each crop.

    Returns
    -------
    dict of str to (B, cells, cells) float32
        By region, in [-1, 1]: the probability less that with the place occluded; below 0 where
        occlusion helps. 0 throughout for a missing region. No clips give no maps.

    Raises
    ------
    ModelError
        As for `grad_cam`.
    InputError
        If `cells` is below 1 or above the number of pixels.

    Notes
    -----
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014). Our
    choices: the patch is two cells a side around the place, cut off at the border, the same in
    all frames, and has the mean of the region's pixels. One region's crop is occluded at a time:
    the mouth may be occluded in the face's crop and visible in its own.
    """
    clips = complete_clips(model, clips)
    regions = [name for name in clips if name != PRESENT]
    n_clips, _, size, *_ = clips[regions[0]].shape
    if not 1 <= cells <= size:
        raise InputError(f"cells must be from 1 to the {size} pixels of a crop; found {cells}")
    if n_clips == 0:
        return {region: np.empty((0, cells, cells), np.float32) for region in regions}
    labels = _labels(model, clips, label)
    whole = _probabilities(model, clips)[np.arange(n_clips), labels]
    repeated = {name: np.repeat(x, cells, axis=0) for name, x in clips.items()}
    columns = np.repeat(labels, cells)
    drops: Maps = {}
    for region in regions:
        drop = np.empty((n_clips, cells, cells), np.float32)
        for row in range(cells):
            covered = _cover_row(clips[region], row, cells)
            prob = _probabilities(model, repeated | {region: covered})
            drop[:, row] = whole[:, None] - prob[np.arange(len(prob)), columns].reshape(-1, cells)
        drops[region] = drop
    return drops


def _cover_row(clips: npt.NDArray[np.float32], row: int, cells: int) -> npt.NDArray[np.float32]:
    """Occlude each place of a row of cells in turn: (B cells, T, H, W, C)."""
    edges = np.linspace(0, clips.shape[2], 2 * cells + 1).round().astype(int)  # half cells
    covered = np.repeat(clips[:, None], cells, axis=1)  # (B, cells, T, H, W, C)
    mean = clips.mean(axis=(1, 2, 3))[:, None, None, None]

    def reach(place: int) -> slice:
        return slice(edges[max(2 * place - 1, 0)], edges[min(2 * place + 3, 2 * cells)])

    for column in range(cells):
        covered[:, column, :, reach(row), reach(column)] = mean
    return covered.reshape(-1, *clips.shape[1:])


def open_for_model(
    model: keras.Model,
    facts: FitFacts,
    corpus: Corpus,
    *,
    video_id: str | None = None,
    most: int | None = None,
) -> ClipDataset:
    """Open clips of a corpus as a model reads them.

    Parameters
    ----------
    model, facts
        From `microx.training.model_file.load_model`.
    corpus : Corpus
        Made by the same recipe as the model's.
    video_id : str, optional
        Only this video's clips; without it, those of all videos.
    most : int, optional
        At most this many clips, evenly chosen.

    Returns
    -------
    ClipDataset
        In order of time; clips start half a clip apart (our choice), as in prediction.

    Raises
    ------
    ModelError
        If model and corpus do not fit.
    InputError
        If there is no such video, or no whole clip.
    """
    settings = facts.arguments
    settings = replace(settings, stride=max(1, facts.n_frames // 2))
    corpus, clips = open_clips(corpus, settings)
    tells = needs_present(model)
    check_model_fits(facts, corpus, name=model.name, can_do_without=tells)
    if video_id is not None:
        n_found = int(corpus.read_frames_found(video_id).sum())  # refuses an unknown video
        clips = clips[clips["video_id"] == video_id]
        if clips.empty:
            raise InputError(
                f"{corpus.folder}: expected a clip of {facts.n_frames} frames with a face in "
                f"{video_id!r}; it has {n_found} such frames, not enough in a row"
            )
    chosen = np.linspace(0, len(clips) - 1, min(len(clips), most or len(clips))).round().astype(int)
    return ClipDataset(
        corpus,
        clips.iloc[chosen],
        regions=facts.regions,
        inputs=facts.inputs,
        reference=facts.arguments.reference,
        motion=settings.motion,
        batch_size=_BATCH_CLIPS,
        tell_present=tells,
    )


def region_weights(
    model: keras.Model, facts: FitFacts, corpus: Corpus, video_id: str
) -> pd.DataFrame:
    """Give the weight of each stream over a video of a corpus.

    For a video file, `microx.inference.video.predict_video` gives the same.

    Parameters
    ----------
    model, facts, corpus, video_id
        As for `open_for_model`.

    Returns
    -------
    DataFrame
        One row a clip: ``time_s``, the middle of the clip, and a column for each stream, from
        0 to 1; these sum to 1.

    Raises
    ------
    ModelError
        If the model does not weigh its streams.
    InputError
        As for `open_for_model`.
    """
    if all(layer.name != WEIGHTS for layer in model.layers):
        raise ModelError(
            f"expected a model that weighs its streams, as preset compact does; {model.name} does "
            "not; train with `preset=compact`"
        )
    dataset = open_for_model(model, facts, corpus, video_id=video_id)
    weighing = show_weights(model)
    batches = (dataset[index][0] for index in range(len(dataset)))
    weights = [weighing.predict_on_batch(clips)[1] for clips in batches]
    table = pd.DataFrame(np.concatenate(weights), columns=list(facts.streams))
    times = corpus.read_ledger(video_id)["time_s"].to_numpy(float)
    middles = [float(times[frames].mean()) for frames in list_frames(dataset, len(times))]
    table.insert(0, "time_s", middles)
    return table


def list_frames(dataset: ClipDataset, n_frames: int) -> list[npt.NDArray[np.int64]]:
    """List the frames of a video of `n_frames` that each of its clips shows."""
    clips = dataset.clips
    if "frames" in clips:
        return [np.array(frames) for frames in clips["frames"]]
    rows = zip(clips["start"], clips["length"], strict=True)
    return [np.minimum(start + np.arange(length), n_frames - 1) for start, length in rows]


class _Probed(keras.Model):  # type: ignore[misc]  # Keras carries no types
    """What follows some layers, with zeros added to their outputs."""

    def __init__(self, above: keras.Model, outputs: Sequence[npt.NDArray[Any]]) -> None:
        super().__init__(name="probed")
        self.above = above
        self.zeros = [
            self.add_weight(shape=output.shape, initializer="zeros", name=f"zeros_{place}")
            for place, output in enumerate(outputs)
        ]

    def call(self, inputs: tuple[list[Any], list[Any]]) -> Any:
        """Predict as in inference, not as in training: nothing is dropped."""
        outputs, fixed = inputs
        moved = [output + zeros for output, zeros in zip(outputs, self.zeros, strict=True)]
        return self.above([*moved, *fixed], training=False)


def _minus_score(wanted: Any, prob: Any) -> Any:
    """Minus the summed scores of the wanted emotions; see `grad_cam`."""
    log = ops.log(ops.maximum(prob, _LEAST_PROBABILITY))
    return -ops.sum(wanted * (log - ops.mean(log, axis=-1, keepdims=True)))


def _probabilities(model: keras.Model, clips: Clips) -> npt.NDArray[np.float32]:
    return np.asarray(model.predict_on_batch(dict(clips)), np.float32)


def _labels(model: keras.Model, clips: Clips, label: int | None) -> npt.NDArray[np.int64]:
    """The emotion to explain, of each clip."""
    n_classes = model.output_shape[-1]
    if label is None:
        return np.asarray(_probabilities(model, clips).argmax(axis=1), np.int64)
    if not 0 <= label < n_classes:
        raise InputError(
            f"label must be from 0 to {n_classes - 1}, a class of the model; found {label}"
        )
    return np.full(len(next(iter(clips.values()))), label)
