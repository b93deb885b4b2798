"""Clips of a corpus as batches for Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import joblib
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus.corpus import Corpus
from microx.corpus.key_clips import PRESENCE, key_clips
from microx.corpus.motion import estimate_apex, list_held, read_motion
from microx.errors import CorpusError, InputError, ModelError
from microx.preprocessing.motion import USUAL_MOTION, MotionRecipe, convert_crops
from microx.preprocessing.occlusion.occluder import (
    Occluder,
    choose_occluder,
    measure_light,
    parse_occlusions,
)
from microx.schema import motion_window
from microx.training.augmentation import (
    MOTION_CHANGES,
    augment_clip,
    augment_motion,
    mirror_region,
    parse_augmentation,
)
from microx.training.settings import COMPARED, FitSettings

CACHE_BYTES = 2 * 2**30
"""Crops one `ClipDataset` keeps in memory (our choice): 2 GiB hold about 14,000 five-region
clips of 10 frames of 32 x 32 pixels. What does not fit is read from disk each time."""

HIDDEN_SHARE = 0.5
"""A region counts as hidden where an object covers this share of its pixels (our choice)."""

_SEEDS_OF_PART = {"test": 0, "validation": 2**40, "train": 2**41}
"""Added to the seed of occluders, so that test clips show objects never seen before."""

Clip = dict[str, npt.NDArray[np.uint8]]
Batch = tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class ClipDataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras carries no types
    """Batches of region clips and one-hot emotions, in Keras's own dataset form.

    Parameters
    ----------
    corpus : Corpus
    clips : DataFrame
        Rows of `Corpus.clips` or `microx.corpus.key_clips.key_clips`, all of one length.
    regions : sequence of str
        Which of the corpus's regions to give.
    inputs : {"rgb", "grey", "difference", "flow", "motion"}
        Kind of pixels, see `microx.preprocessing.motion.convert_crops`; or windows of the motion of
        the face, the mean over a clip's frames, whatever else the corpus holds: see
        `microx.corpus.motion.read_motion` and `microx.schema.MOTION_WINDOWS`.
    reference : {"first", "onset"}
        What the last three compare with; see `microx.training.settings.FitSettings`.
    motion : MotionRecipe
        How motion is measured.
    batch_size : int
        Clips in a batch; the last may be smaller.
    shuffle : bool
        Whether each epoch has an order of its own, sampled by `seed`.
    balance : bool
        With `shuffle`: whether each epoch samples every class of `clips` equally often, with
        repetitions.
    augment : str
        Random changes, see `microx.training.augmentation.parse_augmentation`. The default is none.
    occlude : str, optional
        Objects put on the faces, such as ``"mask:0.5"``; see
        `microx.preprocessing.occlusion.occluder.parse_occlusions`. A video has the same object
        in all its frames and regions. A shuffled dataset, as for training, samples objects
        again in each epoch; any other shows the same each time.
    part : {"test", "validation", "train"}
        Of the split: no object is in two parts.
    tell_present : bool
        Whether batches say which regions are present, under the name ``"present"``: (B, R), 1 or
        0 in the order of `regions`. A region is missing where the corpus does not hold it,
        where `without` names it, where its crops are black, and where `occlude` covers half of
        it or more; if all regions of a clip would be missing, the least covered one is kept.
    without : sequence of str
        Regions to treat as missing; needs `tell_present`.
    seed : int
        Order, augmentation and occlusion depend on it, on the epoch, and on the clip or its place.
    cache_bytes : int
        Crops kept in memory, see `CACHE_BYTES`; as much again for "difference" and "flow".

    Raises
    ------
    ModelError
        If the corpus lacks a region without `tell_present`, or a clip would have no region.
    InputError
        If there is no clip, lengths differ, `occlude` cannot be read, or the corpus was already
        made with occluders.

    Examples
    --------
    >>> dataset = ClipDataset(corpus, corpus.clips(), regions=("mouth",))
    >>> inputs, one_hot = dataset[0]
    >>> inputs["mouth"].shape, one_hot.shape
    ((8, 10, 32, 32, 3), (8, 7))
    """

    def __init__(
        self,
        corpus: Corpus,
        clips: pd.DataFrame,
        *,
        regions: Sequence[str],
        inputs: str = "rgb",
        reference: str = "first",
        motion: MotionRecipe = USUAL_MOTION,
        batch_size: int = 8,
        shuffle: bool = False,
        balance: bool = False,
        augment: str = "",
        occlude: str | None = None,
        part: str = "test",
        tell_present: bool = False,
        without: Sequence[str] = (),
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        super().__init__()
        check_regions(corpus, regions, without=without, tell_present=tell_present, inputs=inputs)
        if occlude and corpus.recipe.get("occlude"):
            raise InputError(
                f"{corpus.folder}: its faces are already occluded by {corpus.recipe['occlude']}; "
                f"received occlude {occlude}; use a corpus made without `occlude`"
            )
        if occlude and corpus.recipe.get("landmarks") == "none":
            raise InputError(
                f"{corpus.folder}: its faces have no landmarks to draw {occlude} by; preprocess "
                "with `landmarks=dlib`"
            )
        if clips.empty or clips["length"].nunique() != 1:
            lengths = ", ".join(map(str, sorted(clips["length"].unique()))) or "no clips"
            raise InputError(f"{corpus.folder}: expected clips of one length; found {lengths}")
        self.corpus = corpus
        self.clips = clips.reset_index(drop=True)
        self.regions = tuple(regions)
        self.inputs = inputs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.balance = balance
        self.augment = augment
        self.seed = seed
        held = list_held(corpus, inputs)
        self._shown = [r for r in self.regions if r in held and r not in without]
        self._tell_present = tell_present
        self._changes = parse_augmentation(augment)
        self._occlusions = parse_occlusions(occlude or "")
        self._occluder_seed = _SEEDS_OF_PART[part] + seed
        self._crops = _CropCache(corpus, cache_bytes)
        self._faces = _FaceReader(corpus)
        self._one_hot = np.eye(len(corpus.classes), dtype=np.float32)[self.clips["label"]]
        self._video_id = self.clips["video_id"].to_list()
        self._frames = _list_frames(self.clips)
        self._reference = self._find_references(reference)
        self._motion_recipe = motion
        self._motion: npt.NDArray[np.float32] | None = None  # measured when first asked for
        if inputs == "motion":
            self._check_motion()
        # Flow takes 40 ms a clip: it is kept where neither augmentation nor objects change it.
        self._comes_again = not self._occlusions and {c.kind for c in self._changes} <= {"flip"}
        self._compared: dict[tuple[int, bool], dict[str, npt.NDArray[np.float32]]] = {}
        self._room = cache_bytes
        self._epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._order) // self.batch_size)

    def on_epoch_end(self) -> None:
        """Sample the next epoch's order; Keras calls this."""
        self._epoch += 1
        rng = np.random.default_rng([self.seed, self._epoch])
        self._order = np.arange(len(self.clips))
        if self.shuffle and self.balance:
            self._order = _draw_balanced(self.clips["label"].to_numpy(), rng)
        elif self.shuffle:
            self._order = rng.permutation(len(self.clips))

    def forget(self) -> None:
        """Free the crops kept in memory; they are read again when needed.

        TensorFlow keeps every dataset that a model was given.
        """
        self._crops.forget()
        self._motion = None
        self._room += sum(x.nbytes for clip in self._compared.values() for x in clip.values())
        self._compared.clear()

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` of this epoch.

        Returns
        -------
        inputs : dict of (B, T, H, W, C) float32
            By region; and ``"present"`` with `tell_present`.
        one_hot : (B, K) float32
        """
        first = index * self.batch_size
        rows = self._order[first : first + self.batch_size]
        if self.inputs == "motion":
            if self._motion is None:
                self._motion = self._measure_motion(self._motion_recipe)
            return self._show_motion(self._motion[rows], first), self._one_hot[rows]
        clips = [self._make(row, first + place) for place, row in enumerate(rows)]
        inputs = self._join(clips)
        if self._tell_present:
            present = [[region in clip for region in self.regions] for clip in clips]
            inputs["present"] = np.array(present, np.float32)
        return inputs, self._one_hot[rows]

    def _check_motion(self) -> None:
        """Refuse changes that motion, measured once, cannot show."""
        kinds = {change.kind for change in self._changes} - set(MOTION_CHANGES)
        if kinds or self._occlusions:
            found = [*sorted(kinds), *(f"occlude {one.kind}" for one in self._occlusions)]
            raise InputError(
                f"{self.corpus.folder}: motion can only be changed by {', '.join(MOTION_CHANGES)}; "
                f"received {', '.join(found)}; use a corpus made with `occlude`, or `without`"
            )

    def _measure_motion(self, recipe: MotionRecipe) -> npt.NDArray[np.float32]:
        """Measure the mean motion of every clip's frames, (N, 1, S, S, 3)."""
        assert self._reference is not None  # motion is compared
        n_frames = self.corpus.manifest.set_index("video_id")["n_frames"]
        last = n_frames.loc[self._video_id].to_numpy(np.int64)[:, None] - 1
        frames = np.minimum(self._frames, last)  # a padded clip repeats the last frame
        references = np.broadcast_to(self._reference[:, None], frames.shape)
        pairs = np.stack([references, frames], axis=-1)  # (N, T, 2)
        rows = pd.Series(range(len(pairs))).groupby(np.array(self._video_id)).indices
        maps = np.empty((len(frames), 1, recipe.size, recipe.size, 3), np.float32)
        wanted = {str(video_id): pairs[clips].reshape(-1, 2) for video_id, clips in rows.items()}
        for video_id, motion in read_motion(self.corpus, wanted, recipe).items():
            of_clips = motion.reshape(-1, frames.shape[1], *maps.shape[2:])
            maps[rows[video_id]] = of_clips.mean(axis=1, keepdims=True)
        return maps

    def _show_motion(
        self, maps: npt.NDArray[np.float32], first: int
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Cut the regions out of the motion of a batch's faces; missing regions are zeros."""
        if self._changes:
            epoch = self._epoch if self.shuffle else 0  # what tests show stays the same
            rng = np.random.default_rng([self.seed, epoch, first])
            is_whole = all(mirror_region(region) in self.regions for region in self.regions)
            changes = [one for one in self._changes if one.kind != "flip" or is_whole]
            maps = augment_motion(maps, changes, rng)
        shown = {}
        for region in self.regions:
            rows, columns = motion_window(region, maps.shape[2])
            shown[region] = maps[:, :, rows, columns] * np.float32(region in self._shown)
        if self._tell_present:
            present = [region in self._shown for region in self.regions]
            shown["present"] = np.tile(np.array(present, np.float32), (len(maps), 1))
        return shown

    def _make(self, row: int, place: int) -> dict[str, npt.NDArray[Any]]:
        """Give one clip, as uint8 where nothing is compared; without the missing regions."""
        clip, covered = self._clip(row)
        if self._tell_present:
            clip = self._leave_out_missing(row, clip, covered)
        bare = clip
        if self._changes:
            epoch = self._epoch if self.shuffle else 0  # test clips stay the same
            rng = np.random.default_rng([self.seed, epoch, place])
            clip = augment_clip(clip, self._changes, rng)
        if self._reference is None:
            return clip
        return self._compare(clip, row, any(clip[region] is not bare[region] for region in clip))

    def _leave_out_missing(self, row: int, clip: Clip, covered: dict[str, float]) -> Clip:
        seen = {region for region, crops in clip.items() if crops.any()}
        if not seen:
            raise ModelError(
                f"{self.corpus.folder}: clip {self.clips['clip_id'][row]} has none of the regions "
                f"{', '.join(self.regions)}: they are black; leave the clip out"
            )
        if covered:
            least = min(seen, key=lambda region: covered[region])
            seen = {r for r in seen if covered[r] < HIDDEN_SHARE} or {least}
        return {region: crops for region, crops in clip.items() if region in seen}

    def _join(
        self, clips: Sequence[dict[str, npt.NDArray[Any]]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Stack clips as the model reads them; missing regions are zeros."""
        joined = {}
        nothing = np.zeros_like(next(iter(clips[0].values())))
        for region in self._shown:
            pixels = np.stack([clip.get(region, nothing) for clip in clips])
            if self._reference is None:
                flat = convert_crops(pixels.reshape(-1, *pixels.shape[2:]), self.inputs)
                pixels = flat.reshape(*pixels.shape[:4], -1)
            joined[region] = pixels
        zeros = np.zeros_like(next(iter(joined.values())))
        return {region: joined.get(region, zeros) for region in self.regions}

    def _compare(self, clip: Clip, row: int, is_mirrored: bool) -> dict[str, Any]:
        """Compare a clip with its reference, its last frame; the result is kept if reused."""
        key = (row, is_mirrored)
        if key in self._compared:
            return self._compared[key]
        compared = {
            region: convert_crops(crops[:-1], self.inputs, reference=crops[-1])
            for region, crops in clip.items()
        }
        n_bytes = sum(pixels.nbytes for pixels in compared.values())
        if self._comes_again and n_bytes <= self._room:
            self._compared[key] = compared
            self._room -= n_bytes
        return compared

    def _clip(self, row: int) -> tuple[Clip, dict[str, float]]:
        """Read a clip, add its video's occluder, and measure how much that covers."""
        video_id, frames = self._video_id[row], self._frames[row]
        if self._reference is not None:
            frames = np.append(frames, self._reference[row])
        clip = self._crops.read(video_id, self._shown, frames)
        occluder = self._occluder(video_id)
        if occluder is None:
            return clip, {}
        light, covered = self._measure_light(video_id, frames), {}
        for region in self._shown:
            bare = clip[region]
            clip[region] = bare.copy()
            points = self._faces.read(video_id, frames, region)
            for crop, marks in zip(clip[region], points, strict=True):
                crop[:] = occluder.apply(crop, marks, light=light)
            covered[region] = float(np.any(clip[region] != bare, axis=-1).mean())
        return clip, covered

    def _measure_light(self, video_id: str, frames: npt.NDArray[np.int64]) -> Any:
        """One light for all regions, and no flicker."""
        if "face" not in self.corpus.regions:
            return None
        points = self._faces.read(video_id, frames[:1], "face")[0]
        return measure_light(self._crops.read(video_id, ["face"], frames[:1])["face"][0], points)

    def _occluder(self, video_id: str) -> Occluder | None:
        name = f"{video_id}, epoch {self._epoch}" if self.shuffle else video_id
        return choose_occluder(self._occlusions, self._occluder_seed, name)

    def _find_references(self, reference: str) -> npt.NDArray[np.int64] | None:
        """Find the frame that each clip is compared with, if it is compared."""
        if self.inputs not in COMPARED:
            return None
        if reference == "first":
            return self._frames[:, 0]
        onset = {video_id: self._find_onset(video_id) for video_id in set(self._video_id)}
        return np.array([onset[video_id] for video_id in self._video_id])

    def _find_onset(self, video_id: str) -> int:
        """Find the onset, or the first frame with a face of a video that has none.

        Not each clip's own first frame: a difference of zero would reveal the label.
        """
        marked = self.corpus.find_frame(video_id, "onset")
        return int(self.corpus.read_frames_found(video_id).argmax()) if marked is None else marked


def open_clips(corpus: Corpus, settings: FitSettings) -> tuple[Corpus, pd.DataFrame]:
    """List the clips that settings ask for.

    Parameters
    ----------
    corpus : Corpus
    settings : FitSettings
        Its frames, apex, n_frames, stride and tail; an estimated apex depends on motion_size and
        flow, too.

    Returns
    -------
    corpus : Corpus
        The same; with the classes `microx.corpus.key_clips.PRESENCE` if clips are labelled by them.
    clips : DataFrame
        See `Corpus.clips` and `microx.corpus.key_clips.key_clips`.

    Raises
    ------
    CorpusError
        If there is no such clip.
    """
    if settings.frames == "all":
        if settings.tail == "drop":
            corpus.check_clips(settings.n_frames)
        return corpus, corpus.clips(settings.n_frames, stride=settings.stride, tail=settings.tail)
    apexes: dict[str, int | None] | None = None
    if settings.apex != "coded":
        done = corpus.manifest.loc[corpus.manifest["status"] == "done", "video_id"].astype(str)
        apexes = dict.fromkeys(done)
        if settings.apex == "estimated":
            work = (joblib.delayed(estimate_apex)(corpus, name, settings.motion) for name in done)
            apexes = dict(zip(done, joblib.Parallel(-1, prefer="threads")(work), strict=True))
    clips = key_clips(corpus, settings.frames, apexes)
    if clips.empty:
        raise CorpusError(
            f"{corpus.folder}: expected videos with an apex for clips of {settings.frames}; none "
            "names one; give labels with the columns onset, apex and offset"
        )
    if settings.frames == "onset|apex":
        corpus = replace(corpus, classes=PRESENCE)
    return corpus, clips


def check_regions(
    corpus: Corpus,
    regions: Sequence[str],
    *,
    without: Sequence[str] = (),
    tell_present: bool = False,
    inputs: str = "rgb",
) -> None:
    """Refuse regions that a corpus cannot give; for arguments see `ClipDataset`.

    Raises
    ------
    ModelError
        If there is none, the corpus lacks one that cannot be marked as missing, or all would be
        missing.
    """
    held = list_held(corpus, inputs)
    lacking = [region for region in regions if region not in held]
    if not regions or (lacking and not tell_present):
        raise ModelError(
            f"{corpus.folder}: regions {', '.join(lacking) or '(none)'} asked for; the corpus "
            f"holds {', '.join(held) or 'no face, whose motion is read'}; preprocess again with "
            "`regions`"
        )
    unknown = [region for region in without if region not in regions]
    if unknown or (without and not tell_present):
        raise ModelError(
            f"without {', '.join(without)}: expected regions that a model reads and can do "
            f"without; this one {'reads ' + ', '.join(regions) if unknown else 'needs them all'}"
        )
    if set(lacking) | set(without) >= set(regions):
        raise ModelError(
            f"{corpus.folder}: all regions are missing: {', '.join(regions)}; a model needs at "
            "least one of them"
        )


def _list_frames(clips: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Frame numbers of each clip, (N, T)."""
    if "frames" in clips:
        return np.stack(clips["frames"].to_list()).astype(np.int64)
    starts: npt.NDArray[np.int64] = clips["start"].to_numpy(np.int64)
    return starts[:, None] + np.arange(clips["length"].iloc[0])


def _draw_balanced(
    labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Sample rows so that classes are equally frequent, in an epoch of about the usual length."""
    classes = np.unique(labels)
    n_each = -(-len(labels) // len(classes))
    drawn = []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        drawn.append(np.resize(rows, n_each))  # all of them before any is repeated
    return rng.permutation(np.concatenate(drawn))


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
            matrix = self._corpus.map_to_crop(points, region, size_hw)
            carried[t] = points @ matrix[:, :2].T + matrix[:, 2]
            if t > 0 and np.isnan(matrix).any():
                carried[t] = carried[t - 1]  # a crop that failed repeats the one before
        return carried


class _CropCache:
    """A corpus's crops as uint8; kept in memory until it is full, the rest read when needed."""

    def __init__(self, corpus: Corpus, max_bytes: int) -> None:
        self._corpus = corpus
        self._room = max_bytes
        self._held: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}
        self._n_frames = corpus.manifest.set_index("video_id")["n_frames"].to_dict()

    def forget(self) -> None:
        self._room += sum(crops.nbytes for crops in self._held.values())
        self._held.clear()

    def read(self, video_id: str, regions: Sequence[str], frames: npt.NDArray[np.int64]) -> Clip:
        """Read frames of some regions; those past the video's end repeat its last one."""
        n_frames = self._n_frames[video_id]
        frames = np.minimum(frames, n_frames - 1)
        n_bytes = n_frames * self._corpus.size**2 * 3
        clip = {}
        for region in regions:
            key = (video_id, region)
            if key not in self._held and n_bytes <= self._room:
                self._held[key] = self._corpus.read_crops(video_id, region)
                self._room -= n_bytes
            if key in self._held:
                clip[region] = self._held[key][frames]
            else:
                clip[region] = self._corpus.read_crops(video_id, region, frames)
        return clip
