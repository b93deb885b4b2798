"""Support vector machines on motion, pixels or HOG: simple baselines of every network.

They are rows like any other: the same splits, the same clips, the same metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from microx.errors import ModelError
from microx.preprocessing.motion import MOTION_SCALE

MOST_CLIPS = 5_000
"""Training clips that a machine is fitted to, at most: its time grows with their square."""


def fit_svm(
    preset: str, train: Any, *, is_weighted: bool
) -> Callable[[Any], npt.NDArray[np.float32]]:
    """Fit a support vector machine to training clips.

    Parameters
    ----------
    preset : str
        Of `microx.training.settings.SVMS`: what is read of a clip. ``"flow+svm"``: its motion, the
        mean over its frames, in pixels, not in units of `microx.preprocessing.motion.MOTION_SCALE`;
        ``"pixels+svm"``: its pixels; ``"hog+svm"``: their histograms of gradients, see
        `microx.models.hog.HOG`.
    train : ClipDataset
        Not shuffled.
    is_weighted : bool
        Whether each class is weighted by n / (K n_class).

    Returns
    -------
    callable
        Gives a `ClipDataset` of N clips its predictions, (N, K) float32: 1 for the predicted
        class, 0 for the others. The probabilities of scikit-learn's SVC are not calibrated on
        small corpora.

    Raises
    ------
    ModelError
        If the training clips are all of one class.

    Notes
    -----
    `sklearn.svm.SVC` with its defaults: C = 1, a Gaussian kernel of width by the values' variance.
    Values are not scaled one by one, which scored less on CASME II; see docs/micro.md.
    """
    from sklearn.svm import SVC

    labels = train.clips["label"].to_numpy(np.int64)
    if len(np.unique(labels)) < 2:
        raise ModelError(
            f"{preset}: expected training clips of two classes or more; found "
            f"{train.clips['emotion'].iloc[0]} alone"
        )
    machine = SVC(class_weight="balanced" if is_weighted else None)
    machine.fit(np.concatenate([*_describe(preset, train)]), labels)
    one_hot = np.eye(train[0][1].shape[1], dtype=np.float32)

    def predict(test: Any) -> npt.NDArray[np.float32]:
        labels = [machine.predict(clips) for clips in _describe(preset, test)]
        predicted: npt.NDArray[np.float32] = one_hot[np.concatenate(labels)]
        return predicted

    return predict


def _describe(preset: str, dataset: Any) -> Iterator[npt.NDArray[np.float32]]:
    """What a machine reads of each clip, (B, n) for each batch."""
    if preset == "hog+svm":
        from microx.models.hog import HOG

        describe = HOG()
    for index in range(len(dataset)):
        batch = dataset[index][0]
        clips = [batch[region] for region in dataset.regions]
        if preset == "flow+svm":
            clips = [clip.mean(axis=1) * MOTION_SCALE for clip in clips]
        elif preset == "hog+svm":
            clips = [np.asarray(describe(clip.reshape(-1, *clip.shape[2:]))) for clip in clips]
        n_clips = len(batch[dataset.regions[0]])
        yield np.concatenate([clip.reshape(n_clips, -1) for clip in clips], axis=1)
