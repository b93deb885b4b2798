"""Everyone in a recording: what each participant shows, for how long, and when they were not seen.

The meeting-recording paper counts each emotion's share over a recording and holds the faces found
against the participants present; so does this, for every face that is followed, by any model.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx._version import VERSION
from microx.errors import InputError
from microx.files import check_new_folder, whole_file
from microx.inference.prediction import CLIP, NO_FACE, Prediction
from microx.inference.video import Reading, check_request, read_video
from microx.markup import render_page, to_html
from microx.plotting import draw_attendance, draw_bands, embed_figure, embed_image
from microx.preprocessing.preprocessed import FaceFrames
from microx.progress import ProgressOption
from microx.training.pretrained import PRETRAINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("face", "name")
"""Columns of the CSV that gives faces their names."""

N_THUMBNAILS = 6
"""Images kept of each face, spread over the time it is seen (our choice)."""

_BIN_S = 1.0  # of the count of faces over time (our choice)


@dataclass(frozen=True, eq=False)
class Participant:
    """One person of a recording.

    Attributes
    ----------
    name : str
    faces : tuple of int
        What the tracker took for one face each; several where the names file joins them.
    predictions : tuple of Prediction
        Of the faces that were followed for a clip at least.
    seen_s : float
        Seconds with crops.
    images : tuple of ndarray (size, size, 3), uint8
        Crops in order of time.
    """

    name: str
    faces: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    seen_s: float
    images: tuple[npt.NDArray[np.uint8], ...]

    @cached_property
    def clips(self) -> pd.DataFrame:
        """The clips in order of time: start_s, end_s, emotion, p_<class> …, from_s, to_s, shown_s.

        The last three are the time that counts for a clip: the middle of an overlap of two clips
        is the border between them.
        """
        tables = [one.to_frame() for one in self.predictions]
        if not tables:
            return pd.DataFrame(
                columns=["start_s", "end_s", "emotion", "shown_s", "from_s", "to_s"]
            )
        table = pd.concat(tables, ignore_index=True)
        table = table[table["status"] == CLIP].sort_values("start_s", ignore_index=True)
        start, end = table["start_s"].to_numpy(), table["end_s"].to_numpy()
        border = np.where(start[1:] < end[:-1], (start[1:] + end[:-1]) / 2, np.nan)
        begins = np.concatenate([start[:1], np.where(np.isnan(border), start[1:], border)])
        ends = np.concatenate([np.where(np.isnan(border), end[:-1], border), end[-1:]])
        return table.assign(shown_s=np.maximum(ends - begins, 0), from_s=begins, to_s=ends)


@dataclass(frozen=True, eq=False)
class Meeting:
    """A model's predictions for everyone in a recording.

    Attributes
    ----------
    video, model : str
    note : str
        As that of `Prediction`.
    cautions : tuple of str
        What the model learned from, and what may spoil the shares.
    classes : tuple of str
    duration_s : float
    participants : tuple of Participant
        In the order in which their faces were identified.
    n_expected : int or None
        Participants present, if told.
    """

    video: str
    model: str
    note: str
    cautions: tuple[str, ...]
    classes: tuple[str, ...]
    duration_s: float
    participants: tuple[Participant, ...]
    n_expected: int | None

    def __repr__(self) -> str:
        expected = f" of {self.n_expected}" if self.n_expected is not None else ""
        n = len(self.participants)
        return (
            f"Meeting({Path(self.video).name}: {n}{expected} participants, {self.duration_s:.0f} s)"
        )

    def _repr_html_(self) -> str:
        return to_html(self.to_frame().round(2), caption=repr(self))

    def to_frame(self) -> pd.DataFrame:
        """Give a row for each participant.

        Returns
        -------
        DataFrame
            name, faces (joined by ``+``), seen_s, usable_s (seconds within clips), unseen_s,
            emotion (of the largest mean probability; "" without a clip), time_<class> …, the share
            of usable time with that label, and p_<class> …, the mean probability over it, nan
            without a clip.
        """
        return pd.DataFrame([self._line(one) for one in self.participants])

    def _line(self, one: Participant) -> dict[str, Any]:
        clips = one.clips
        usable = float(clips["shown_s"].sum())
        time = dict.fromkeys(self.classes, math.nan)
        mean = dict(time)
        if usable:
            weight = clips["shown_s"] / usable
            time = {name: float(weight[clips["emotion"] == name].sum()) for name in self.classes}
            mean = {name: float((weight * clips[f"p_{name}"]).sum()) for name in self.classes}
        return {
            "name": one.name,
            "faces": "+".join(map(str, one.faces)),
            "seen_s": one.seen_s,
            "usable_s": usable,
            "unseen_s": max(self.duration_s - one.seen_s, 0.0),
            "emotion": max(mean, key=mean.__getitem__) if usable else "",
            **{f"time_{name}": share for name, share in time.items()},
            **{f"p_{name}": share for name, share in mean.items()},
        }

    def count_faces(self) -> pd.DataFrame:
        """Count the participants seen in each second: time_s, end_s and n_faces."""
        n_bins = max(1, math.ceil(self.duration_s / _BIN_S))
        seen = np.zeros((len(self.participants), n_bins), bool)
        for row, one in enumerate(self.participants):
            for prediction in one.predictions:
                shows = prediction.status != NO_FACE
                spans = zip(prediction.start_s[shows], prediction.end_s[shows], strict=True)
                for start, end in spans:
                    first = int(start / _BIN_S)
                    seen[row, first : max(first + 1, math.ceil(end / _BIN_S))] = True
        begin = np.arange(n_bins) * _BIN_S
        end = np.minimum(begin + _BIN_S, self.duration_s)
        return pd.DataFrame({"time_s": begin, "end_s": end, "n_faces": seen.sum(axis=0)})

    def plot(self) -> Figure:
        """Draw a band for each participant, coloured by label over time."""
        bands = {}
        for one in self.participants:
            clips = one.clips
            spans = zip(clips["from_s"].tolist(), clips["to_s"].tolist(), strict=True)
            bands[one.name] = [
                (*span, str(name)) for span, name in zip(spans, clips["emotion"], strict=True)
            ]
        return draw_bands(bands, self.classes, self.duration_s)


def predict_meeting(
    path: str | Path,
    model_path: str | Path = PRETRAINED,
    *,
    out: str | Path | None = None,
    names: str | Path | None = None,
    n_expected: int | None = None,
    stride: int | None = None,
    without: Sequence[str] = (),
    landmarks: str | None = None,
    openface: str | Path | None = None,
    progress: ProgressOption = None,
) -> Meeting:
    """Run a trained model over a recording and predict the emotions of everyone in it.

    Parameters
    ----------
    path, model_path, stride, without, landmarks, openface, progress
        See `microx.inference.video.predict_video`.
    out : path, optional
        Folder to write to, by `write_meeting`.
    names : path, optional
        CSV with the columns face and name, such as participants.csv of an earlier `out`, edited.
        Faces of one name are one participant; a face without a name is left out.
    n_expected : int, optional
        Participants present, to hold the faces found against.

    Returns
    -------
    Meeting

    Raises
    ------
    InputError
        If the file is no video, no face is followed for as many frames as a clip needs, or the
        names cannot be read.
    ModelError
        As `microx.inference.video.predict_video`.

    Notes
    -----
    Shares are of usable time: frames within clips. A face that is seen for less than a clip has
    no share. The count of participants per recording and the percentage of each emotion follow
    the meeting-recording paper; shares of time beside mean probabilities are our choice.
    """
    check_request(path, landmarks, None, out, None)
    given = None if names is None else read_names(names)
    watcher = _Watcher()
    reading = read_video(
        path, model_path, stride=stride, without=without, landmarks=landmarks, faces="all",
        openface=openface, watch=watcher.look, progress=progress,
    )  # fmt: skip
    meeting = _gather(reading, watcher, given, n_expected)
    if not any(one.predictions for one in meeting.participants):
        reading.predict(reading.main_face)  # says why there is no clip
    if out is not None:
        write_meeting(meeting, out)
    return meeting


def read_names(path: str | Path) -> dict[int, str]:
    """Read the names of faces: the CSV columns face, a number, and name.

    Raises
    ------
    InputError
        If it is no such file, or names a face twice.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        pairs = [(int(row["face"]), (row["name"] or "").strip()) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a CSV with the columns face, a number, and name; found "
            f"{type(error).__name__}: {error}"
        ) from None
    if len(dict(pairs)) < len(pairs):
        raise InputError(f"{path}: expected each face once; found one in two rows")
    return dict(pairs)


@dataclass
class _Seen:
    """How often a face was seen, and some of its crops."""

    n_found: int = 0
    kept: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    step: int = 1  # frames from one kept crop to the next

    def add(self, crop: npt.NDArray[np.uint8]) -> None:
        """Count a frame; keep every so many crops, ever rarer."""
        if self.n_found % self.step == 0:
            self.kept.append(crop.copy())
            if len(self.kept) == 2 * N_THUMBNAILS:
                del self.kept[1::2]
                self.step *= 2
        self.n_found += 1

    def images(self) -> list[npt.NDArray[np.uint8]]:
        """Up to `N_THUMBNAILS` crops, in order of time."""
        n_shown = min(N_THUMBNAILS, len(self.kept))
        places = np.linspace(0, len(self.kept) - 1, n_shown).round().astype(int)
        return [self.kept[place] for place in places]


@dataclass
class _Watcher:
    """Looks at every stretch of a recording; knows the faces that have crops."""

    seen: dict[int, _Seen] = field(default_factory=dict)

    def look(self, piece: FaceFrames) -> None:
        """Take the next stretch of a face."""
        crops = piece.crops.get("face")
        if crops is None:
            crops = next(iter(piece.crops.values()))
        for row in np.flatnonzero(piece.landmarks.success).tolist():
            self.seen.setdefault(piece.face, _Seen()).add(crops[row])


def _gather(
    reading: Reading, watcher: _Watcher, names: Mapping[int, str] | None, n_expected: int | None
) -> Meeting:
    ledger, facts = reading.ledger, reading.facts
    members: dict[str, list[int]] = {}
    for face in reading.faces:
        name = f"participant {face + 1}" if names is None else names.get(face, "")
        if name and face in watcher.seen:
            members.setdefault(name, []).append(face)
    predictions = {
        face: reading.predict(face)
        for faces in members.values()
        for face in faces
        if reading.has_clips(face)
    }
    participants = [
        Participant(
            name,
            tuple(faces),
            tuple(predictions[face] for face in faces if face in predictions),
            seen_s=sum(watcher.seen[face].n_found for face in faces) * ledger.step_s,
            images=tuple(image for face in faces for image in watcher.seen[face].images()),
        )
        for name, faces in members.items()
    ]
    return Meeting(
        video=str(reading.video),
        model=str(reading.model),
        note=reading.note,
        cautions=tuple(_find_cautions(reading, len(participants), n_expected)),
        classes=facts.classes,
        duration_s=float(ledger.timestamp[-1]) + ledger.step_s,
        participants=tuple(participants),
        n_expected=n_expected,
    )


def _find_cautions(reading: Reading, n_found: int, n_expected: int | None) -> list[str]:
    found = [reading.note] if reading.note else []
    if n_expected is not None and n_found != n_expected:
        found.append(
            f"{n_found} faces were found where {n_expected} participants are expected: some were "
            "never seen, or one counts as two; name them in participants.csv and run again."
        )
    return found


def write_meeting(meeting: Meeting, folder: str | Path) -> Path:
    """Write a meeting as one page and tables.

    Parameters
    ----------
    meeting : Meeting
    folder : path
        Made if missing.

    Returns
    -------
    Path
        Of meeting.html, which holds everything it shows. Beside it: shares.csv, see
        `Meeting.to_frame`; clips.csv, a row for each participant's clip; participants.csv, to be
        edited and given back as `names`.
    """
    folder = Path(folder)
    check_new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shares = meeting.to_frame()
    clips = pd.concat(
        [one.clips.assign(name=one.name) for one in meeting.participants], ignore_index=True
    )
    faces = [(face, one.name) for one in meeting.participants for face in one.faces]
    columns = ["name", "start_s", "end_s", "shown_s", "emotion"]
    columns += [f"p_{name}" for name in meeting.classes]
    for name, table in (
        ("shares.csv", shares.round(4)),
        ("clips.csv", clips[columns].round(4)),
        ("participants.csv", pd.DataFrame(sorted(faces), columns=list(NAMES))),
    ):
        with whole_file(folder / name) as partial:
            table.to_csv(partial, index=False)
    page = folder / "meeting.html"
    with whole_file(page) as partial:
        partial.write_text(_render(meeting, shares), encoding="utf-8")
    return page


def _render(meeting: Meeting, shares: pd.DataFrame) -> str:
    people = []
    for one, (_, line) in zip(meeting.participants, shares.iterrows(), strict=True):
        people.append(
            {
                "line": line.to_dict(),
                "images": [embed_image(image) for image in one.images[:N_THUMBNAILS]],
                "has_clips": bool(one.predictions),
            }
        )
    bands, bands_width = embed_figure(meeting.plot())
    counts = meeting.count_faces()
    count, count_width = embed_figure(draw_attendance(counts, meeting.n_expected))
    return render_page(
        "meeting.html.j2",
        {
            "title": Path(meeting.video).name,
            "version": VERSION,
            "meeting": meeting,
            "people": people,
            "bands": {"uri": bands, "width": bands_width, "alt": "labels of everyone over time"},
            "count": {"uri": count, "width": count_width, "alt": "faces seen over time"},
            "n_most": int(counts["n_faces"].max()),
        },
    )
