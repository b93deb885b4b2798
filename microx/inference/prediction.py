"""What a model predicts over the length of a video, as numbers, a table and a time line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.errors import InputError
from microx.files import check_new_folder, whole_file
from microx.markup import to_html
from microx.plotting import draw_timeline, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIP, NO_FACE, TOO_SHORT = "clip", "no face", "too short"
"""The status of a row: a clip, frames without a face, or with one but too few for a clip."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions of a model over the length of a video.

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
    streams : tuple of str
        The S streams of a model that weighs them; empty for any other.
    weights : (n, S) float32
        What each stream counted for, from 0 to 1, 0 where its regions are missing; rows sum to
        1; nan where the row is no clip.
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
    streams: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    n_frames: int
    n_found: int

    def __post_init__(self) -> None:
        n_rows = len(self.status)
        for name, shape in (
            ("start_s", (n_rows,)),
            ("end_s", (n_rows,)),
            ("y_prob", (n_rows, len(self.classes))),
            ("weights", (n_rows, len(self.streams))),
        ):
            if np.shape(getattr(self, name)) != shape:
                raise InputError(
                    f"{self.video}: {name} must have shape {shape}; "
                    f"found {np.shape(getattr(self, name))}"
                )
        if not (self.status == CLIP).any():
            raise InputError(f"{self.video}: a prediction needs at least one clip; found none")

    def __repr__(self) -> str:
        share = self.percentages[self.emotion]
        return (
            f"Prediction({Path(self.video).name}: {self.emotion} {share:.0f} %, {self.n_clips} "
            f"clips, {self.n_found} of {self.n_frames} frames with a face)"
        )

    def _repr_html_(self) -> str:
        table = pd.DataFrame(
            {
                "emotion": list(self.percentages),
                "per cent": [f"{share:.1f}" for share in self.percentages.values()],
            }
        )
        return to_html(table, caption=repr(self))

    def to_frame(self) -> pd.DataFrame:
        """Give a row each: what `write_prediction` writes, as numbers.

        Returns
        -------
        DataFrame
            start_s, time_s (the middle), end_s, status, emotion ("" where the row is no clip),
            p_<class> … and, of a model that weighs its streams, weight_<stream> …, nan where the
            row is no clip.
        """
        is_clip = self.status == CLIP
        best = np.where(is_clip[:, None], self.y_prob, 0).argmax(axis=1)
        return pd.DataFrame(
            {
                "start_s": self.start_s,
                "time_s": self.times_s,
                "end_s": self.end_s,
                "status": self.status,
                "emotion": np.where(is_clip, np.array(self.classes)[best], ""),
            }
            | {f"p_{name}": self.y_prob[:, k] for k, name in enumerate(self.classes)}
            | {f"weight_{name}": self.weights[:, k] for k, name in enumerate(self.streams)}
        )

    def plot(self) -> Figure:
        """Draw the time line that `write_prediction` writes, as a matplotlib figure."""
        share = self.percentages[self.emotion]
        title = (
            f"{Path(self.video).name}: {self.emotion} {share:.0f} % "
            f"({self.n_found} of {self.n_frames} frames with a face)"
        )
        return draw_timeline(
            self.start_s,
            self.end_s,
            self.y_prob,
            self.status.tolist(),
            self.classes,
            title=title,
        )

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
    def mean_weights(self) -> dict[str, float]:
        """Stream to what it counted for on average over the clips, from 0 to 1."""
        mean = self.weights[self.status == CLIP].mean(axis=0, dtype=np.float64)
        return dict(zip(self.streams, mean.tolist(), strict=True))

    @property
    def emotion(self) -> str:
        """The emotion of the largest percentage, the first in the class list of equals."""
        return next(iter(self.percentages))


def name_output(video: str | Path, folder: str | Path, ending: str) -> Path:
    """Name the file of an ending that belongs to the prediction of a video."""
    return Path(folder) / f"{Path(video).stem}.emotions{ending}"


def write_prediction(prediction: Prediction, folder: str | Path) -> tuple[Path, Path]:
    """Write a prediction as a table and an image.

    Parameters
    ----------
    prediction : Prediction
    folder : path
        Made if missing.

    Returns
    -------
    csv, png : Path
        ``<video>.emotions.csv`` with the columns start_s, time_s (the middle), end_s, status,
        emotion, p_<class> … and, of a model that weighs its streams, weight_<stream> …, the
        last ones empty where the row is no clip;
        ``<video>.emotions.png``, the time line.

    Examples
    --------
    >>> [path.name for path in write_prediction(prediction, "out")]
    ['S01_happy_1.emotions.csv', 'S01_happy_1.emotions.png']
    """
    folder = Path(folder)
    check_new_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write to; {error.strerror}") from None
    table = prediction.to_frame()
    for column in ("start_s", "time_s", "end_s"):
        table[column] = table[column].map("{:.3f}".format)
    for column in table.columns[table.columns.str.startswith(("p_", "weight_"))]:
        is_clip = prediction.status == CLIP
        table[column] = table[column].map("{:.4f}".format).where(is_clip, "")
    csv, png = (name_output(prediction.video, folder, ending) for ending in (".csv", ".png"))
    with whole_file(csv) as unfinished:
        table.to_csv(unfinished, index=False)
    return csv, write_figure(prediction.plot(), png)
