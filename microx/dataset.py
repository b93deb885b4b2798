"""Clips of a corpus as batches for Keras."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus import Corpus
from microx.errors import InputError, ModelError
from microx.preprocessing.occlusion import (
    Occluder,
    choose_occluder,
    measure_light,
    parse_occlusions,
)
from microx.preprocessing.regions import crop_transform

CACHE_BYTES = 2 * 2**30
"""Crops one `ClipDataset` keeps in memory before it forgets the least recently used (our
choice): 2 GiB hold about 14,000 five-region clips of 10 frames of 32 x 32 pixels."""

_MIRRORED = {"left_eye": "right_eye", "left_brow": "right_brow"}
_MIRRORED |= {right: left for left, right in _MIRRORED.items()}

_TRAINING_SEEDS = 10**6
"""Added to the seed of what training clips wear, so that tests show objects never seen."""

Batch = tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class ClipDataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras carries no types
    """Batches of region clips and one-hot emotions, in Keras's own dataset form.

    Parameters
    ----------
    corpus : Corpus
    clips : DataFrame
        Rows of `Corpus.clips`: clip_id, video_id, start, length, label. All of one length.
    regions : sequence of str
        Which of the corpus's regions to give.
    batch_size : int
        Clips in a batch; the last may be smaller.
    shuffle : bool
        Whether each epoch has an order of its own, drawn from `seed`.
    augment : bool
        Whether every second clip is seen in a mirror, all its frames and regions alike. Its
        left eye is then its mirrored right eye; where `regions` holds only one of the two
        nothing is mirrored, so that a model of the left eye never sees the right one. Light
        is left alone, for the compact model takes it out itself, and so is the place: shifts
        of 1 or 2 pixels brought the mouth of drawn actors from 0.99 down to 0.93 and the face
        from 0.88 to 0.34 (means of two splits).
    occlude : str, optional
        Objects put on the faces, such as ``"mask:0.5"``; see
        `microx.preprocessing.occlusion.parse_occlusions`. A video wears the same in all its
        frames and regions. A shuffled dataset, as for training, deals them out anew in each
        epoch; any other shows the same each time, and never an object that training showed.
    seed : int
        Order, augmentation and occlusion depend on it, on the epoch and on the batch alone.
    cache_bytes : int
        Crops kept in memory; see `CACHE_BYTES`.

    Raises
    ------
    ModelError
        If the corpus lacks a region.
    InputError
        If there is no clip, lengths differ, or `occlude` cannot be read or comes on top of
        what the corpus was made with.

    Examples
    --------
    >>> dataset = ClipDataset(corpus, corpus.clips(), regions=("mouth",))  # doctest: +SKIP
    >>> inputs, one_hot = dataset[0]  # doctest: +SKIP
    >>> inputs["mouth"].shape, one_hot.shape  # doctest: +SKIP
    ((8, 10, 32, 32, 3), (8, 7))
    """

    def __init__(
        self,
        corpus: Corpus,
        clips: pd.DataFrame,
        *,
        regions: Sequence[str],
        batch_size: int = 8,
        shuffle: bool = False,
        augment: bool = False,
        occlude: str | None = None,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        super().__init__()
        missing = [region for region in regions if region not in corpus.regions]
        if missing or not regions:
            raise ModelError(
                f"{corpus.folder}: regions {', '.join(missing) or '(none)'} asked for; the corpus "
                f"holds {', '.join(corpus.regions)}; preprocess again with --regions"
            )
        if occlude and corpus.recipe.get("occlude"):
            raise InputError(
                f"{corpus.folder}: its faces wear {corpus.recipe['occlude']} already; received "
                f"occlude {occlude}; use a corpus made without --occlude"
            )
        if clips.empty or clips["length"].nunique() != 1:
            lengths = ", ".join(map(str, sorted(clips["length"].unique()))) or "no clips"
            raise InputError(f"{corpus.folder}: expected clips of one length; found {lengths}")
        self.corpus = corpus
        self.clips = clips.reset_index(drop=True)
        self.regions = tuple(regions)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augment = augment
        self.seed = seed
        self._occlusions = parse_occlusions(occlude or "")
        self._crops = _CropCache(corpus, cache_bytes)
        self._faces = _FaceReader(corpus)
        self._one_hot = np.eye(len(corpus.classes), dtype=np.float32)[self.clips["label"]]
        self._video_id = self.clips["video_id"].to_list()
        self._frames = self.clips["start"].to_numpy()[:, None] + np.arange(
            self.clips["length"].iloc[0]
        )  # (N, T)
        self._epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.clips) // self.batch_size)

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order; Keras calls this."""
        self._epoch += 1
        n_clips = len(self.clips)
        rng = np.random.default_rng([self.seed, self._epoch])
        self._order = rng.permutation(n_clips) if self.shuffle else np.arange(n_clips)

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` of this epoch.

        Returns
        -------
        inputs : dict of (B, T, H, W, C) float32
            By region, in [0, 1].
        one_hot : (B, K) float32
        """
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        clips = [self._clip(row) for row in rows]
        inputs = {
            region: np.divide([clip[region] for clip in clips], 255, dtype=np.float32)
            for region in self.regions
        }
        if self.augment:
            inputs = self._mirrored(inputs, np.random.default_rng([self.seed, self._epoch, index]))
        return inputs, self._one_hot[rows]

    def _clip(self, row: int) -> dict[str, npt.NDArray[np.uint8]]:
        occluder = self._occluder(self._video_id[row])
        if occluder is None:
            return {region: self._read(row, region) for region in self.regions}
        video_id, frames = self._video_id[row], self._frames[row]
        light = None
        if "face" in self.corpus.regions:  # one light for all regions, and no flicker
            points = self._faces.read(video_id, frames[:1], "face")[0]
            light = measure_light(self._read(row, "face")[0], points)
        clip = {}
        for region in self.regions:
            clip[region] = self._read(row, region)  # a copy
            for crop, points in zip(
                clip[region], self._faces.read(video_id, frames, region), strict=True
            ):
                crop[:] = occluder.apply(crop, points, light=light)
        return clip

    def _read(self, row: int, region: str) -> npt.NDArray[np.uint8]:
        video = self._crops.read(self._video_id[row], region)
        # A clip that passes the end of its video repeats the last frame (`tail="pad"`).
        return np.asarray(video[np.minimum(self._frames[row], len(video) - 1)])

    def _occluder(self, video_id: str) -> Occluder | None:
        if not self.shuffle:
            return choose_occluder(self._occlusions, self.seed, video_id)
        name = f"{video_id}, epoch {self._epoch}"
        return choose_occluder(self._occlusions, _TRAINING_SEEDS + self.seed, name)

    def _mirrored(
        self, inputs: dict[str, npt.NDArray[np.float32]], rng: np.random.Generator
    ) -> dict[str, npt.NDArray[np.float32]]:
        if any(_MIRRORED.get(region, region) not in inputs for region in inputs):
            return inputs
        n_clips = len(next(iter(inputs.values())))
        turned = rng.random((n_clips, 1, 1, 1, 1)) < 0.5
        return {
            region: np.where(turned, inputs[_MIRRORED.get(region, region)][:, :, :, ::-1], pixels)
            for region, pixels in inputs.items()
        }


class _FaceReader:
    """Where the faces of a corpus are in its crops; landmarks are read once."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._held: dict[str, tuple[npt.NDArray[np.float32], tuple[int, int]]] = {}

    def read(
        self, video_id: str, frames: npt.NDArray[np.int64], region: str
    ) -> npt.NDArray[np.float64]:
        """Landmarks of frames in pixels of a region's crops, (T, 68, 2); NaN where none."""
        if video_id not in self._held:
            self._held[video_id] = (
                self._corpus.read_landmarks(video_id),
                self._corpus.read_size_hw(video_id),
            )
        xy, size_hw = self._held[video_id]
        carried = np.empty((len(frames), *xy.shape[1:]))
        for t, points in enumerate(xy[np.minimum(frames, len(xy) - 1)]):
            matrix = crop_transform(
                points,
                region,
                size=self._corpus.size,
                policy=self._corpus.recipe["policy"],
                margin=self._corpus.recipe["margin"],
                size_hw=size_hw,
            )
            carried[t] = points @ matrix[:, :2].T + matrix[:, 2]
            if t > 0 and np.isnan(matrix).any():
                carried[t] = carried[t - 1]  # a crop that failed repeats the one before
        return carried


class _CropCache:
    """A corpus's crops, read once and kept as uint8 up to a number of bytes."""

    def __init__(self, corpus: Corpus, max_bytes: int) -> None:
        self._corpus = corpus
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._held: OrderedDict[tuple[str, str], npt.NDArray[np.uint8]] = OrderedDict()

    def read(self, video_id: str, region: str) -> npt.NDArray[np.uint8]:
        key = (video_id, region)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        crops = self._corpus.read_crops(video_id, region)
        self._held[key] = crops
        self._n_bytes += crops.nbytes
        while self._n_bytes > self._max_bytes and len(self._held) > 1:
            self._n_bytes -= self._held.popitem(last=False)[1].nbytes
        return crops
