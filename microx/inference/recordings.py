"""Many recordings, one after the other: one table, which a later run continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from microx.errors import InputError, LandmarkError, MicroxError
from microx.files import check_new_folder, whole_file
from microx.inference.prediction import Prediction, name_output
from microx.inference.video import VideoOptions, predict_video
from microx.preprocessing.video import find_videos
from microx.progress import ProgressOption, tell_progress
from microx.training.model_file import find_model
from microx.training.pretrained import PRETRAINED

TABLE = "recordings.csv"

_ASKED = ("video", "model", "settings")
_WORDS = (*_ASKED, "error", "emotion", "note", "table")


def list_recordings(
    paths: Sequence[str | Path], *, input_fps: float | None = None
) -> dict[Path, Path]:
    """List the videos that paths mean, and where in a folder the results of each belong.

    Parameters
    ----------
    paths : sequence of path
        Videos, images, and folders of them; see `microx.preprocessing.video.find_videos`.
    input_fps : float, optional
        With it, folders of images are videos of this rate; without, each image is a recording.

    Returns
    -------
    dict of Path to Path
        Each video once, in the order given; and a relative folder: that of the video within the
        folder given.

    Raises
    ------
    InputError
        If a folder holds no video, or two videos would write files of one name.
    """
    places: dict[Path, Path] = {}
    for path in map(Path, paths):
        found = find_videos(path, input_fps=input_fps) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: expected videos or images in this folder; found none")
        for video in found:
            inside = path.is_dir() and video != path
            places.setdefault(video, video.relative_to(path).parent if inside else Path())
    names: dict[Path, Path] = {}
    for video, place in places.items():
        other = names.setdefault(place / video.stem, video)
        if other != video:
            raise InputError(
                f"{video}: its results would be named as those of {other}; predict it into "
                "another folder, or name it otherwise"
            )
    return places


def predict_videos(
    paths: Sequence[str | Path],
    model_path: str | Path = PRETRAINED,
    *,
    out: str | Path,
    progress: ProgressOption = None,
    **options: Unpack[VideoOptions],
) -> pd.DataFrame:
    """Predict many recordings by one model, as `predict_video` does for each.

    What cannot be predicted is a row that says why; the others are not lost. A second call with
    the same model and options predicts only what is new or failed.

    Parameters
    ----------
    paths
        See `list_recordings`.
    model_path : path
        As for `predict_video`.
    out : path
        Folder for ``recordings.csv`` and, by `write_prediction`, each recording's table and time
        line, in sub-folders as those of the recordings.
    progress : callable or bool, optional
        Called with recordings done, recordings in all, and a few words. None shows a bar in a
        terminal and a notebook, False shows nothing.
    **options
        As for `predict_video`; for ``input_fps`` see `list_recordings`, too.

    Returns
    -------
    DataFrame
        A row for each recording: video, model, settings, error ("" where it was predicted),
        emotion, p_<class> … (mean probabilities, from 0 to 1), n_clips, n_found (frames with a
        face), n_frames, note, table (the file). Rows of earlier calls with the same `out` stay.

    Raises
    ------
    InputError
        If there is nothing to predict, or names collide.
    ModelError
        If there is no such model.
    LandmarkError
        If landmarks cannot be found at all, such as without OpenFace.

    Examples
    --------
    >>> table = predict_videos(["S01_happy_1.mp4"], out="answers")
    >>> table["video"].tolist(), table["error"].tolist()
    (['S01_happy_1.mp4'], [''])
    """
    check_new_folder(out)
    places = list_recordings(paths, input_fps=options.get("input_fps"))
    model, _ = find_model(model_path)
    options["without"] = tuple(options.get("without", ()))
    asked_for = ((name, options.get(name)) for name in VideoOptions.__annotations__)
    settings = ", ".join(f"{name}={value}" for name, value in asked_for if value)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = _read_done(folder)
    with tell_progress(progress, "predicting", "recordings") as told:
        for done, (video, place) in enumerate(places.items(), start=1):
            asked = dict(zip(_ASKED, (str(video), str(model), settings), strict=True))
            is_same = (table[list(asked)] == pd.Series(asked)).all(axis=1)
            if not (is_same & (table["error"] == "")).any():
                row = asked | _predict(video, model_path, folder / place, options)
                table = table[table["video"] != str(video)]
                table = _fill(pd.concat([table, pd.DataFrame([row])], ignore_index=True))
                with whole_file(folder / TABLE) as unfinished:
                    table.to_csv(unfinished, index=False, float_format="%.4f")
            if told is not None:
                told(done, len(places), video.name)
    order = {str(video): at for at, video in enumerate(places)}
    return table.sort_values(
        "video", key=lambda names: names.map(order).fillna(len(order)), ignore_index=True,
        kind="stable",
    )  # fmt: skip


def _read_done(folder: Path) -> pd.DataFrame:
    """Read the rows of earlier calls."""
    path = folder / TABLE
    if not path.exists():
        return pd.DataFrame(columns=_WORDS, dtype=str)
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_WORDS, str))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: expected the table of an earlier call; {error}") from None
    if lacking := [name for name in _WORDS if name not in table]:
        raise InputError(
            f"{path}: expected the table of an earlier call; it has no column {lacking[0]}; choose "
            "another folder"
        )
    return _fill(table)


def _fill(table: pd.DataFrame) -> pd.DataFrame:
    """Give cells of words that are missing no words."""
    return table.fillna(dict.fromkeys(_WORDS, ""))


def _predict(video: Path, model: str | Path, folder: Path, options: VideoOptions) -> dict[str, Any]:
    """The rest of a recording's row."""
    try:
        found = predict_video(video, model, out=folder, progress=False, **options)
    except LandmarkError:
        raise  # as for every other recording
    except MicroxError as error:
        return {"error": str(error)}
    return {"error": "", **_describe(found), "table": str(name_output(video, folder, ".csv"))}


def _describe(found: Prediction) -> dict[str, Any]:
    shares = found.percentages
    return {
        "emotion": found.emotion,
        **{f"p_{name}": shares[name] / 100 for name in found.classes},
        "n_clips": found.n_clips,
        "n_found": found.n_found,
        "n_frames": found.n_frames,
        "note": found.note,
    }
