"""A trained model on a video: its predictions over time, and for the whole video.

The video is cropped exactly as the corpus was that the model learned from; the recipe
travels in the model file. Every frame is accounted for: frames in no clip are rows too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.errors import InputError, ModelError
from microx.evaluation.evaluate import BATCH_CLIPS, note_missing
from microx.files import check_new_folder
from microx.inference.annotate import FaceBoxes, write_annotated
from microx.inference.prediction import (
    CLIP,
    NO_FACE,
    TOO_SHORT,
    Prediction,
    name_output,
    write_prediction,
)
from microx.preprocessing.motion import convert_crops
from microx.preprocessing.pipeline import stream_video
from microx.preprocessing.preprocessed import (
    MANY_REPEATS,
    FaceFrames,
    Ledger,
    count_repeats,
)
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.tracking.faces import Status
from microx.preprocessing.video import probe_video
from microx.progress import ProgressOption, tell_progress
from microx.schema import CLIP_FRAMES, DRAWN, FRAME_RATE, Finder, OneFace
from microx.training.facts import FitFacts
from microx.training.model_file import find_model, load_model, note_version
from microx.training.pretrained import PRETRAINED
from microx.training.settings import COMPARED


class VideoOptions(TypedDict, total=False):
    """What `predict_video` is told besides the video, the model and where to write, by name."""

    annotate: bool
    stride: int | None
    without: Sequence[str]
    landmarks: str | None
    faces: str | None
    input_fps: float | None
    openface: str | Path | None


_TAKEN_OVER = ("size", "policy", "margin", "frame_rate", "min_face", "max_gap")
"""What of the recipe of a model's corpus holds for a new video, too."""


def predict_video(
    path: str | Path,
    model_path: str | Path = PRETRAINED,
    *,
    out: str | Path | None = None,
    annotate: bool = False,
    stride: int | None = None,
    without: Sequence[str] = (),
    landmarks: str | None = None,
    faces: str | None = None,
    input_fps: float | None = None,
    openface: str | Path | None = None,
    progress: ProgressOption = None,
) -> Prediction:
    """Run a model over a video and predict the emotions of the subject seen the most.

    What a network of single frames gives is smoothed: each frame gets the mean over the 10 frames
    about it, as far as the face is followed.

    Parameters
    ----------
    path : path
        The video, an image, or a folder of images.
    model_path : path
        A ``.keras`` file of microx, or a folder: see `microx.training.model_file.find_model`.
        By default the network that microx ships, see docs/pretrained.md.
    out : path, optional
        Folder to write the table and the time line to, by `write_prediction`.
    annotate : bool
        Whether to write ``<video>.emotions.mp4`` there, too: the video with every face's box, label
        and percentage; see `microx.inference.annotate.write_annotated`.
    stride : int, optional
        Frames from one clip's start to the next; half a clip by default (our choice). Each
        run of frames with a face ends with a clip of its last frames, so none is left over.
    without : sequence of str
        Regions that are occluded in this video, such as the mouth behind a mask, for models that
        can do without them.
    landmarks : {"dlib", "openface"}, optional
        How landmarks are found; by default as for the model's training, or by dlib if these came
        as CSV, or if there were none and `faces` is "main". If the two differ, the note says so.
    faces : {"main", "cropped"}, optional
        The face seen the most, or images that are face crops already; by default "cropped" if
        the model was trained on such.
    input_fps : float, optional
        Frames a second of a folder of images.
    openface : str or path, optional
        The OpenFace command, where the program is not on PATH.
    progress : callable or bool, optional
        Called with frames done, frames expected and the video's name. None shows a bar in a
        terminal and a notebook, False shows nothing.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If the file is no video, no face is found in it, or no face is followed for as many
        frames as a clip needs.
    ModelError
        If there is no such model, it needs a region that is missing, or it reads annotated
        frames, which a new video lacks.

    Examples
    --------
    >>> prediction = predict_video("S01_happy_1.mp4", "RUN")
    >>> prediction.emotion in prediction.classes
    True
    """
    if annotate and out is None:
        raise InputError("`annotate` writes a video into `out`; name that folder")
    check_request(path, landmarks, faces, out, input_fps)
    boxes = FaceBoxes()
    reading = read_video(
        path, model_path, stride=stride, without=without, landmarks=landmarks, faces=faces,
        input_fps=input_fps, openface=openface, progress=progress,
        watch=boxes.watch if annotate else None,
    )  # fmt: skip
    prediction = reading.predict(reading.main_face)
    if (n_faces := len(reading.faces)) > 1:
        told = f"the face seen the most of {n_faces} (`predict_meeting` answers for each)"
        prediction = replace(prediction, note=_joined(prediction.note, told))
    if out is not None:
        write_prediction(prediction, out)
        if annotate:
            others = [face for face in reading.faces if face != reading.main_face]
            shown = {face: reading.predict(face) for face in others if reading.has_clips(face)}
            shown[reading.main_face] = prediction
            write_annotated(
                *(path, name_output(path, out, ".mp4"), shown, boxes, reading.ledger),
                frame_rate=reading.frame_rate,
                input_fps=input_fps,
            )
    return prediction


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model read of a video, face by face.

    Attributes
    ----------
    video, model : Path
    note : str
        As that of `Prediction`.
    facts : FitFacts
        Of the model.
    ledger : Ledger
        Of the video.
    main_face : int
        The face seen the most.
    frame_rate : float or None
        At which the video was read.
    """

    video: Path
    model: Path
    note: str
    facts: FitFacts
    ledger: Ledger
    main_face: int
    frame_rate: float | None
    _readers: Mapping[int, _Reader]

    @property
    def faces(self) -> tuple[int, ...]:
        """Every face that was found, in order of identification."""
        return tuple(sorted(self._readers))

    def predict(self, face: int) -> Prediction:
        """Give the predictions of one face.

        Raises
        ------
        InputError
            If it is not followed for as many frames as a clip needs, or there is none.
        """
        return self._readers[face].result(self.video, self.model, self.note, self.ledger)

    def has_clips(self, face: int) -> bool:
        """Whether a face is followed for as many frames as a clip needs."""
        return self._readers[face].longest >= self.facts.n_frames


def read_video(
    path: str | Path,
    model_path: str | Path = PRETRAINED,
    *,
    stride: int | None = None,
    without: Sequence[str] = (),
    landmarks: str | None = None,
    faces: str | None = None,
    input_fps: float | None = None,
    openface: str | Path | None = None,
    watch: Callable[[FaceFrames], None] | None = None,
    progress: ProgressOption = None,
) -> Reading:
    """Do what `predict_video` does, for every face that is found.

    Parameters
    ----------
    path, model_path, stride, without, landmarks, input_fps, openface, progress
        See `predict_video`.
    faces : {"main", "all", "cropped"}, optional
        As there; programs that write tables look for several faces with "all" only.
    watch : callable, optional
        Called with each stretch of a face, in order.

    Returns
    -------
    Reading
    """
    file, note = find_model(model_path)
    model, facts = _open_model(file, file.stat().st_mtime_ns)
    note = _joined(note, note_version(facts.versions))
    read = _ClipReader(model, facts, without, name=str(file))
    note = _joined(_note_source(facts), note, read.note, note_missing(facts, without))
    recipe = facts.recipe
    learned_from = recipe.get("landmarks", "dlib")
    if landmarks is None:
        needed = learned_from == "csv" or (learned_from == "none" and faces in ("main", "all"))
        landmarks = "dlib" if needed else learned_from
    if learned_from != landmarks:
        what = "whole face crops" if learned_from == "none" else f"{learned_from} landmarks"
        note = _joined(note, f"the model was trained with {what}, this video has {landmarks}'s")
    length = facts.n_frames
    stride = max(1, length // 2) if stride is None else stride
    if not 1 <= stride <= length:
        raise InputError(
            f"`stride` must be from 1 frame to the {length} of a clip, so that no frame is left "
            f"out; found {stride}"
        )
    if faces is None:
        stays = recipe.get("faces") == "cropped" and landmarks != "openface"
        faces = "cropped" if stays else "main"
    taken = {name: recipe[name] for name in _TAKEN_OVER if name in recipe}
    used = Recipe(
        landmarks=landmarks, faces=faces, regions=facts.regions, input_fps=input_fps, **taken
    )
    readers: dict[int, _Reader] = {}
    with tell_progress(progress, "looking", "frames") as told:
        stream = stream_video(path, used, openface=openface, progress=told)
        for piece in stream:
            reader = readers.setdefault(piece.face, _Reader(read, length, stride))
            reader.read(piece)
            if watch is not None:
                watch(piece)
    interlaced = ""
    if stream.ledger.n_combed:
        interlaced = "the video is interlaced: moving edges are combed"
    note = _joined(note, interlaced, _note_rate(stream.ledger, used.frame_rate))
    readers.setdefault(stream.main_face, _Reader(read, length, stride))
    return Reading(
        Path(path), file, note, facts, stream.ledger, stream.main_face, used.frame_rate, readers
    )


def check_request(
    path: str | Path,
    landmarks: str | None,
    faces: str | None,
    out: str | Path | None,
    input_fps: float | None,
) -> None:
    """Refuse what cannot be before a model is loaded, which takes seconds."""
    if faces not in (None, *get_args(OneFace)):
        raise InputError(
            f"`faces` must be one of {', '.join(get_args(OneFace))}, for a prediction is of one "
            f"face; received {faces!r}"
        )
    if landmarks not in (None, *get_args(Finder)):
        raise InputError(
            f"`landmarks` must be one of {', '.join(get_args(Finder))}; received {landmarks!r}"
        )
    if faces == "cropped" and landmarks not in (None, "dlib"):
        raise InputError(f"faces 'cropped' need landmarks 'dlib'; received {landmarks}")
    if out is not None:
        check_new_folder(out)
    probe_video(path, input_fps=input_fps)


@lru_cache(maxsize=1)
def _open_model(file: Path, changed_ns: int) -> tuple[Any, FitFacts]:
    """Open a model once for several videos, and again when its file has changed."""
    return load_model(file)


class _ClipReader:
    """Asks a model about clips: probabilities (n, K), and beside them weights (n, S)."""

    def __init__(self, model: Any, facts: FitFacts, without: Sequence[str], *, name: str) -> None:
        from microx.models.fusion import needs_present, show_weights

        self._regions = regions = facts.regions
        self._name = name
        self._inputs, self.classes = facts.inputs, facts.classes
        if facts.inputs == "motion":
            raise ModelError(
                f"{name}: reads how a face moved since an annotated onset, which a video lacks; "
                "evaluate it on a corpus whose labels name onsets"
            )
        self._present = np.array([region not in without for region in regions], np.float32)
        self._tells = needs_present(model)
        if unknown := sorted(set(without) - set(regions)):
            raise ModelError(
                f"{name}: cannot do without {', '.join(unknown)}: it reads {', '.join(regions)}"
            )
        if without and not (self._tells and any(self._present)):
            raise ModelError(
                f"{name}: cannot do without {', '.join(without)}: it reads {', '.join(regions)} "
                f"and needs {'one of them' if self._tells else 'them all'}"
            )
        if facts.arguments.frames == "onset-apex-offset":
            raise ModelError(
                f"{name}: expected annotated onset, apex and offset; found none, as in any new "
                "video; train with frames=apex or all"
            )
        compared = self._inputs in COMPARED
        if compared and facts.n_frames == 1:
            raise ModelError(
                f"{name}: expected an annotated onset to compare single frames with; found none, "
                "as in any new video; train with inputs=rgb or grey"
            )
        self.note = ""
        if compared and facts.arguments.reference == "onset":
            self.note = "clips are compared with their first frame: the video has no onset"
        self._model = show_weights(model) if self._tells else model
        self.streams: tuple[str, ...] = facts.streams if self._tells else ()

    def __call__(self, clips: dict[str, npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        batch = {
            region: np.stack([convert_crops(clip, self._inputs) for clip in crops])
            for region, crops in clips.items()
        }
        if not self._tells:
            return np.asarray(self._model.predict_on_batch(batch), np.float32)
        seen = [clips[region].any(axis=(1, 2, 3, 4)) for region in self._regions]
        present = np.stack(seen, axis=1) * self._present  # what is black is missing
        if not present.any(axis=1).all():
            raise ModelError(
                f"{self._name}: reads {', '.join(self._regions)}; a clip of the video shows none "
                "of those that are not missing: they are black"
            )
        batch["present"] = present
        return np.concatenate(self._model.predict_on_batch(batch), axis=1).astype(np.float32)


class _Reader:
    """Cuts the frames of a video into clips as they come, and predicts them."""

    def __init__(self, read: _ClipReader, length: int, stride: int) -> None:
        self._read, self._length, self._stride = read, length, stride
        self._held: dict[str, npt.NDArray[np.uint8]] = {}  # crops of the run still wanted
        self._held_from = 0  # frame number of the first of them
        self._next = 0  # where the next clip of the run starts
        self._run_from = 0
        self._waiting: list[dict[str, npt.NDArray[np.uint8]]] = []
        # first frame, past the last, status, first frame of its run
        self._rows: list[tuple[int, int, str, int]] = []
        self._predictions: list[npt.NDArray[np.float32]] = []  # probabilities, then weights
        self._segment: int | None = None  # of the run; -1 where there is no face
        self._seen = self.n_found = self.n_small = self.longest = 0

    def read(self, piece: FaceFrames) -> None:
        """Take the next stretch of the face."""
        self._pass_over(piece.start)
        self.n_small += int((piece.status == Status.SMALL_FACE).sum())
        edges = np.flatnonzero(np.diff(piece.segment)) + 1
        for rows in np.split(np.arange(len(piece)), edges):
            self._begin_run(int(piece.segment[rows[0]]))
            self._seen += len(rows)
            if self._segment != -1:
                self.n_found += len(rows)
                self.longest = max(self.longest, self._seen - self._run_from)
                self._extend({region: crops[rows] for region, crops in piece.crops.items()})

    def _pass_over(self, tick: int) -> None:
        """Go on to a tick before which the face was not seen."""
        if tick > self._seen:
            self._begin_run(-1)
            self._seen = tick

    def _begin_run(self, segment: int) -> None:
        if segment != self._segment:
            self._end_run()
            self._segment, self._run_from = segment, self._seen
            self._held, self._held_from, self._next = {}, self._seen, self._seen

    def _extend(self, crops: dict[str, npt.NDArray[np.uint8]]) -> None:
        self._held = {
            region: np.concatenate([self._held[region], new]) if self._held else new
            for region, new in crops.items()
        }
        while self._next + self._length <= self._seen:
            self._take(self._next)
            self._next += self._stride
        # the last `length` frames may still become the run's closing clip
        keep_from = max(self._held_from, min(self._next, self._seen - self._length))
        self._held = {
            region: held[keep_from - self._held_from :] for region, held in self._held.items()
        }
        self._held_from = keep_from

    def _take(self, start: int) -> None:
        at = slice(start - self._held_from, start - self._held_from + self._length)
        self._waiting.append({region: held[at] for region, held in self._held.items()})
        self._rows.append((start, start + self._length, CLIP, self._run_from))
        if len(self._waiting) == BATCH_CLIPS:
            self._predict_waiting()

    def _predict_waiting(self) -> None:
        if self._waiting:
            regions = self._waiting[0]
            clips = {
                region: np.stack([clip[region] for clip in self._waiting]) for region in regions
            }
            self._predictions.append(self._read(clips))
            self._waiting = []

    def _end_run(self) -> None:
        n_frames = self._seen - self._run_from
        if n_frames == 0:
            return
        if self._segment == -1:
            self._rows.append((self._run_from, self._seen, NO_FACE, self._run_from))
            return
        if n_frames < self._length:
            self._rows.append((self._run_from, self._seen, TOO_SHORT, self._run_from))
        elif self._rows[-1][1] < self._seen:
            self._take(self._seen - self._length)

    def result(self, video: Path, model: Path, note: str, ledger: Ledger) -> Prediction:
        """End the video and put its rows together."""
        self._pass_over(len(ledger))
        self._end_run()
        self._predict_waiting()
        if not self._predictions:
            raise InputError(self._why_nothing(video))
        first, past, status, run = (np.array(column) for column in zip(*self._rows, strict=True))
        predictions = np.concatenate(self._predictions)
        rows = np.full((len(status), predictions.shape[1]), np.nan, np.float32)
        rows[status == CLIP] = predictions
        if self._length == 1:
            rows = _smooth(rows, run)
        # A photograph is shown as long as a frame of a video.
        step_s = ledger.step_s or 1 / FRAME_RATE
        return Prediction(
            video=str(video),
            model=str(model),
            note=note,
            classes=self._read.classes,
            start_s=ledger.timestamp[first],
            end_s=ledger.timestamp[past - 1] + step_s,
            status=status,
            y_prob=rows[:, : len(self._read.classes)],
            streams=self._read.streams,
            weights=rows[:, len(self._read.classes) :],
            n_frames=self._seen,
            n_found=self.n_found,
        )

    def _why_nothing(self, video: Path) -> str:
        if self.n_found == 0 and self.n_small:
            return (
                f"{video}: expected a face whose eyes can be seen; in {self.n_small} of "
                f"{self._seen} frames it is smaller than the `min_face` that the model learned "
                "with; film it nearer"
            )
        if self.n_found == 0:
            return (
                f"{video}: expected a face; found none in any of {self._seen} frames; a face must "
                f"be lit, near and turned to the camera"
            )
        return (
            f"{video}: expected a face in {self._length} frames on end, the length of a clip; "
            f"found one in {self.n_found} of {self._seen} frames, at most {self.longest} on end"
        )


def _smooth(rows: npt.NDArray[np.float32], run: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Give each single frame the mean of those about it, of the same run."""
    about = pd.DataFrame(rows).groupby(run).rolling(CLIP_FRAMES, min_periods=1, center=True)
    return about.mean().to_numpy(np.float32)


def _note_source(facts: FitFacts) -> str:
    """Say that a model has seen no real face; else ""."""
    if facts.sources == (DRAWN,):
        return "the model learned from drawn actors alone: what it says of real faces means nothing"
    return ""


def _note_rate(ledger: Ledger, frame_rate: float | None) -> str:
    """Say that a video has far fewer frames a second than the model reads; else ""."""
    repeats = count_repeats(ledger.source_frame)
    if frame_rate is None or repeats < MANY_REPEATS:
        return ""
    return (
        f"the video has about {frame_rate / repeats:.2g} frames a second where the model reads "
        f"{frame_rate:g}: each is repeated about {repeats:.0f} times, and its clips hardly move"
    )


def _joined(*sentences: str) -> str:
    return "; ".join(sentence for sentence in sentences if sentence)
