"""A trained model on a video: what it answers over time, and on the whole.

The video is cropped exactly as the corpus was that the model learned from; the recipe
travels in the model file. Every frame is accounted for: frames in no clip are rows too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.errors import InputError, ModelError
from microx.figures import draw_timeline, write_figure
from microx.files import whole_file
from microx.preprocessing.face_frames import FaceFrames, Ledger
from microx.preprocessing.pipeline import stream_video
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.video import probe_video
from microx.progress import Progress

CLIP, NO_FACE, TOO_SHORT = "clip", "no face", "too short"
"""The status of a row: a clip, frames without a face, or with one but too few for a clip."""

_TAKEN_OVER = ("size", "policy", "margin", "frame_rate", "max_gap")
"""What of the recipe of a model's corpus holds for a new video, too."""

BATCH_CLIPS = 32
"""Clips predicted at a time (our choice)."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model answered over the length of a video.

    Attributes
    ----------
    video : str
        Path of the video.
    model : str
        Path of the model file used.
    note : str
        One line on choices made for the user, such as which of several models; may be empty.
    classes : tuple of str
        The K emotions, in the order of the columns of `y_prob`.
    start_s, end_s : (n,) float64
        What each row covers, in seconds from the first frame, by time of start. Clips may
        overlap each other.
    status : (n,) str
        ``"clip"``, ``"no face"`` or ``"too short"``.
    y_prob : (n, K) float32
        Rows sum to 1; nan where the row is no clip.
    n_frames, n_found : int
        Frames at the model's frame rate, and those of them in which a face was found.

    Raises
    ------
    InputError
        If the arrays differ in length or there is no clip.
    """

    video: str
    model: str
    note: str
    classes: tuple[str, ...]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    status: npt.NDArray[np.str_]
    y_prob: npt.NDArray[np.float32]
    n_frames: int
    n_found: int

    def __post_init__(self) -> None:
        n_rows = len(self.status)
        for name, shape in (
            ("start_s", (n_rows,)),
            ("end_s", (n_rows,)),
            ("y_prob", (n_rows, len(self.classes))),
        ):
            if np.shape(getattr(self, name)) != shape:
                raise InputError(
                    f"{self.video}: {name} must have shape {shape}; "
                    f"found {np.shape(getattr(self, name))}"
                )
        if not (self.status == CLIP).any():
            raise InputError(f"{self.video}: a prediction needs at least one clip; found none")

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """The middle of each row in seconds, (n,)."""
        return (self.start_s + self.end_s) / 2

    @property
    def n_clips(self) -> int:
        """How many rows are clips."""
        return int((self.status == CLIP).sum())

    @property
    def percentages(self) -> dict[str, float]:
        """Emotion to percentage: the mean of the clips' probabilities, largest first."""
        mean = self.y_prob[self.status == CLIP].mean(axis=0, dtype=np.float64)
        order = np.argsort(-mean, kind="stable")
        return {self.classes[k]: 100 * float(mean[k]) for k in order}

    @property
    def emotion(self) -> str:
        """The emotion of the largest percentage, the first in the class list of equals."""
        return next(iter(self.percentages))


def predict_video(
    path: str | Path,
    model_path: str | Path,
    *,
    out: str | Path | None = None,
    stride: int | None = None,
    landmarks: str | None = None,
    faces: str | None = None,
    input_fps: float | None = None,
    openface: str | Path | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Run a trained model over a video and tell what it says of the person seen the most.

    Parameters
    ----------
    path : path
        The video, an image, or a folder of images.
    model_path : path
        A ``.keras`` file of microx, or a folder: see `find_model`.
    out : path, optional
        Folder to write the table and the time line to, by `write_prediction`.
    stride : int, optional
        Frames from one clip's start to the next; half a clip by default (our choice). Each
        run of frames with a face ends with a clip of its last frames, so none is left over.
    landmarks : {"dlib", "openface"}, optional
        Who finds the landmarks; without it, who found those the model learned from, or dlib
        where these came as CSV. Where the two differ, the note says so.
    faces : {"main", "cropped"}, optional
        Whether the video shows people, or is cut about a face already; without it, "cropped"
        if that is what the model learned from.
    input_fps : float, optional
        Frames a second of a folder of images.
    openface : str or path, optional
        The OpenFace command, where the program is not on PATH.
    progress : callable, optional
        Called with frames done, frames expected and the video's name.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If the file is no video, no face is found in it, or no face is followed for as many
        frames as a clip needs.
    ModelError
        If there is no such model.

    Examples
    --------
    >>> predict_video("meeting.mp4", "RUN").emotion  # doctest: +SKIP
    'happy'
    """
    from microx.training import load_model

    file, note = find_model(model_path)
    probe_video(path, input_fps=input_fps)  # a missing video is said before a model is loaded
    model, facts = load_model(file)
    recipe = facts["recipe"]
    learned_from = recipe.get("landmarks", "dlib")
    if landmarks is None:
        landmarks = "dlib" if learned_from == "csv" else learned_from
    if learned_from != landmarks:
        note = _joined(
            note,
            f"the model learned from {learned_from} landmarks, this video's are of {landmarks}",
        )
    length = int(facts["n_frames"])
    stride = max(1, length // 2) if stride is None else stride
    if not 1 <= stride <= length:
        raise InputError(
            f"stride must be from 1 frame to the {length} of a clip, so that no frame is passed "
            f"over; found {stride}"
        )
    if faces is None:
        faces = "cropped" if recipe.get("faces") == "cropped" and landmarks == "dlib" else "main"
    taken = {name: recipe[name] for name in _TAKEN_OVER if name in recipe}
    stream = stream_video(
        path,
        Recipe(
            landmarks=landmarks,
            faces=faces,
            regions=tuple(facts["regions"]),
            input_fps=input_fps,
            **taken,
        ),
        openface=openface,
        progress=progress,
    )
    readers: dict[int, _Reader] = {}
    for piece in stream:
        if piece.face not in readers:
            readers[piece.face] = _Reader(
                partial(_predict, model), length, stride, len(facts["classes"])
            )
        readers[piece.face].read(piece)
    nobody = _Reader(partial(_predict, model), length, stride, len(facts["classes"]))
    prediction = readers.get(stream.main_face, nobody).result(
        Path(path), file, note, tuple(facts["classes"]), stream.ledger
    )
    if out is not None:
        write_prediction(prediction, out)
    return prediction


def write_prediction(prediction: Prediction, folder: str | Path) -> tuple[Path, Path]:
    """Write a prediction as a table and a picture.

    Parameters
    ----------
    prediction : Prediction
    folder : path
        Made if missing.

    Returns
    -------
    csv, png : Path
        ``<video>.emotions.csv`` with the columns start_s, time_s (the middle), end_s, status,
        emotion and p_<class> …, the last ones empty where the row is no clip;
        ``<video>.emotions.png``, the time line.

    Examples
    --------
    >>> write_prediction(prediction, "out")  # doctest: +SKIP
    (PosixPath('out/meeting.emotions.csv'), PosixPath('out/meeting.emotions.png'))
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write to; {error.strerror}") from None
    is_clip = prediction.status == CLIP
    best = np.where(is_clip[:, None], prediction.y_prob, 0).argmax(axis=1)
    table = pd.DataFrame(
        {
            "start_s": [f"{value:.3f}" for value in prediction.start_s],
            "time_s": [f"{value:.3f}" for value in prediction.times_s],
            "end_s": [f"{value:.3f}" for value in prediction.end_s],
            "status": prediction.status,
            "emotion": np.where(is_clip, np.array(prediction.classes)[best], ""),
        }
        | {
            f"p_{name}": [f"{p:.4f}" if ok else "" for p, ok in zip(column, is_clip, strict=True)]
            for name, column in zip(prediction.classes, prediction.y_prob.T, strict=True)
        }
    )
    name = f"{Path(prediction.video).stem}.emotions"
    csv = folder / f"{name}.csv"
    with whole_file(csv) as unfinished:
        table.to_csv(unfinished, index=False)
    share = prediction.percentages[prediction.emotion]
    title = (
        f"{Path(prediction.video).name}: {prediction.emotion} {share:.0f} % "
        f"({prediction.n_found} of {prediction.n_frames} frames with a face)"
    )
    figure = draw_timeline(
        prediction.start_s,
        prediction.end_s,
        prediction.y_prob,
        prediction.status.tolist(),
        prediction.classes,
        title=title,
    )
    return csv, write_figure(figure, folder / f"{name}.png")


def find_model(path: str | Path) -> tuple[Path, str]:
    """Find the model file a user means.

    A file is itself. Of a run folder it is the first fold of the row with the most regions
    whose labels were not shuffled; of any other folder, the only model or the first fold.

    Parameters
    ----------
    path : path
        A ``.keras`` file, a folder that holds some, or a run folder.

    Returns
    -------
    model : Path
    note : str
        Which one was taken, where there were several; else empty.

    Raises
    ------
    ModelError
        If there is none, or several that nothing tells apart; the choices are named.

    Examples
    --------
    >>> find_model("RUN")  # doctest: +SKIP
    (PosixPath('RUN/rows/regions+face/fold_0.keras'), 'used regions+face/fold_0.keras, …')
    """
    path = Path(path)
    if path.is_file():
        return path, ""
    if not path.is_dir():
        raise ModelError(f"{path}: expected a .keras file or a folder that holds one; found none")
    models = sorted(path.glob("[!.]*.keras"))
    if not models and (path / "rows").is_dir():
        models = sorted(_main_row_folder(path).glob("[!.]*.keras"))
        every = sorted(path.glob("rows/*/[!.]*.keras"))
    else:
        every = models
    if not models:
        raise ModelError(
            f"{path}: expected a .keras file in this folder; found none; "
            f"`microx train` and `microx ablate` write some"
        )
    first = [model for model in models if model.name == "fold_0.keras"]
    if len(models) > 1 and not first:
        names = ", ".join(model.name for model in models)
        raise ModelError(f"{path}: expected one .keras file; found {names}; name one of them")
    chosen = first[0] if first else models[0]
    if len(every) == 1:
        return chosen, ""
    return chosen, f"used {chosen.relative_to(path)}, one of {len(every)} models in {path}"


def _main_row_folder(run: Path) -> Path:
    """Find the row a run is about: of most regions, by its inputs and not by its score."""
    best, most = None, 0
    for model in sorted(run.glob("rows/*/fold_0.keras")):
        try:
            row: dict[str, Any] = json.loads((model.parent / "result.json").read_text("utf-8"))
            shuffled, n_regions = row["facts"].get("shuffled_labels"), len(row["regions"])
        except (OSError, ValueError, KeyError, AttributeError):
            continue  # a row that was never finished
        if not shuffled and n_regions > most:
            best, most = model.parent, n_regions
    if best is None:
        raise ModelError(f"{run}: expected a finished row with a model; found none; run it again")
    return best


class _Reader:
    """Cuts the frames of a video into clips as they come, and predicts them."""

    def __init__(
        self,
        predict: Callable[[dict[str, npt.NDArray[np.uint8]]], npt.NDArray[np.float32]],
        length: int,
        stride: int,
        n_classes: int,
    ) -> None:
        self._predict, self._length, self._stride = predict, length, stride
        self._n_classes = n_classes
        self._held: dict[str, npt.NDArray[np.uint8]] = {}  # crops of the run still wanted
        self._held_from = 0  # frame number of the first of them
        self._next = 0  # where the next clip of the run starts
        self._run_from = 0
        self._waiting: list[dict[str, npt.NDArray[np.uint8]]] = []
        self._rows: list[tuple[int, int, str]] = []  # first frame, past the last, status
        self._probabilities: list[npt.NDArray[np.float32]] = []
        self._segment: int | None = None  # of the run; -1 where there is no face
        self._seen = self.n_found = self.longest = 0

    def read(self, piece: FaceFrames) -> None:
        """Take the next stretch of the face."""
        self._pass_over(piece.start)
        edges = np.flatnonzero(np.diff(piece.segment)) + 1
        for rows in np.split(np.arange(len(piece)), edges):
            self._begin_run(int(piece.segment[rows[0]]))
            self._seen += len(rows)
            if self._segment != -1:
                self.n_found += len(rows)
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
        self._rows.append((start, start + self._length, CLIP))
        if len(self._waiting) == BATCH_CLIPS:
            self._predict_waiting()

    def _predict_waiting(self) -> None:
        if self._waiting:
            regions = self._waiting[0]
            clips = {
                region: np.stack([clip[region] for clip in self._waiting]) for region in regions
            }
            self._probabilities.append(self._predict(clips))
            self._waiting = []

    def _end_run(self) -> None:
        n_frames = self._seen - self._run_from
        if n_frames == 0:
            return
        if self._segment == -1:
            self._rows.append((self._run_from, self._seen, NO_FACE))
            return
        self.longest = max(self.longest, n_frames)
        if n_frames < self._length:
            self._rows.append((self._run_from, self._seen, TOO_SHORT))
        elif self._rows[-1][1] < self._seen:
            self._take(self._seen - self._length)

    def result(
        self, video: Path, model: Path, note: str, classes: tuple[str, ...], ledger: Ledger
    ) -> Prediction:
        """End the video and put its rows together."""
        self._pass_over(len(ledger))
        self._end_run()
        self._predict_waiting()
        if not self._probabilities:
            raise InputError(self._why_nothing(video))
        first, past, status = (np.array(column) for column in zip(*self._rows, strict=True))
        y_prob = np.full((len(status), self._n_classes), np.nan, np.float32)
        y_prob[status == CLIP] = np.concatenate(self._probabilities)
        step_s = float(ledger.timestamp[-1]) / max(1, len(ledger) - 1)
        return Prediction(
            video=str(video),
            model=str(model),
            note=note,
            classes=classes,
            start_s=ledger.timestamp[first],
            end_s=ledger.timestamp[past - 1] + step_s,
            status=status,
            y_prob=y_prob,
            n_frames=self._seen,
            n_found=self.n_found,
        )

    def _why_nothing(self, video: Path) -> str:
        if self.n_found == 0:
            return (
                f"{video}: expected a face; found none in any of {self._seen} frames; a face must "
                f"be lit, near and turned to the camera"
            )
        return (
            f"{video}: expected a face in {self._length} frames on end, the length of a clip; "
            f"found one in {self.n_found} of {self._seen} frames, at most {self.longest} on end"
        )


def _predict(model: Any, clips: dict[str, npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    scaled = {region: crops.astype(np.float32) / 255 for region, crops in clips.items()}
    return np.asarray(model.predict_on_batch(scaled), np.float32)


def _joined(*sentences: str) -> str:
    return "; ".join(sentence for sentence in sentences if sentence)
