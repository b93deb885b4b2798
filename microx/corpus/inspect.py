"""Images of a corpus for visual inspection: contact sheets and one page, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from microx._version import VERSION
from microx.corpus.contact_sheets import (
    STATUS_COLOURS,
    choose_columns,
    draw_emotion_sheet,
    draw_video_sheet,
    worst_statuses,
    write_sheet,
)
from microx.corpus.corpus import Corpus
from microx.corpus.quality import (
    find_doubts,
    measure_jumps,
    summarize_corpus,
    tabulate_emotions,
    tabulate_videos,
)
from microx.errors import InputError
from microx.files import whole_file
from microx.markup import render_page
from microx.plotting import embed_image
from microx.progress import Progress
from microx.text import first_few

N_SHEETS = 24
"""Videos that get their own sheet unless more are requested, the worst first (our choice)."""

N_LISTED = 1000
"""Videos on the page unless more are requested, the worst first (our choice)."""

N_CROPS = 48
"""Crops on the sheet of an emotion (our choice)."""

_STRIP_PARTS = 80  # of a video's bar on the page
_N_THUMBS = 4


def write_inspection(
    corpus: Corpus,
    out: str | Path,
    *,
    names: Sequence[str] = (),
    n_sheets: int = N_SHEETS,
    progress: Progress | None = None,
) -> Path:
    """Write a page and contact sheets that show bad crops at a glance.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Folder, created if needed, for ``index.html``, ``video_sheets/<video_id>.png`` and
        ``emotion_sheets/<number>.png``. Nothing else in it is touched.
    names : sequence of str
        Ids or paths of videos to show; without them, all.
    n_sheets : int
        Videos that get a sheet, the most doubtful first by `microx.corpus.quality.tabulate_videos`;
        listed ones always do. The page lists `N_LISTED` or as many as get one, with four crops
        of each.
    progress : callable, optional
        Called with the images done, all of them, and the video or emotion.

    Returns
    -------
    Path
        The page. It needs no network; the sheets are beside it.

    Raises
    ------
    InputError
        If no finished video has a given name, or `out` cannot be written.
    CorpusError
        If a video's file is missing or broken.

    Examples
    --------
    >>> write_inspection(corpus, "looks").as_posix()
    'looks/index.html'
    """
    out = Path(out)
    videos = tabulate_videos(corpus, names)
    emotions = tabulate_emotions(corpus)
    shown = len(videos) if names else min(n_sheets, len(videos))
    listed = videos.head(max(shown, N_LISTED))
    n_videos = 0 if names else len(videos)
    n_steps = len(listed) + len(emotions)

    def advance(done: int, what: str) -> None:
        if progress:
            progress(done, n_steps, what)

    try:
        for folder in ("video_sheets", "emotion_sheets"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        lines = []
        for place, video in enumerate(listed.to_dict("records")):
            lines.append(_show_video(corpus, video, out if place < shown else None))
            advance(place + 1, str(video["video_id"]))
        groups = []
        for place, emotion in enumerate(emotions.to_dict("records")):
            groups.append(_show_emotion(corpus, emotion, videos, out, place))
            advance(len(listed) + place + 1, str(emotion["emotion"]))
        page = render_page(
            "inspection.html.j2",
            _context(corpus, lines, groups, shown, n_videos),
        )
        with whole_file(out / "index.html") as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: expected a folder for the images; {error.strerror}") from None
    return out / "index.html"


def _show_video(corpus: Corpus, video: dict[Any, Any], out: Path | None) -> dict[str, Any]:
    """Draw a video's sheet, where it gets one, and give its line on the page."""
    video_id = str(video["video_id"])
    ledger = corpus.read_ledger(video_id)
    segment = ledger["segment"].to_numpy()
    found = segment >= 0
    jumps = measure_jumps(corpus.read_landmarks(video_id), segment)
    doubt = np.where(found, 1 - ledger["confidence"].to_numpy() + np.minimum(jumps, 1), -1)
    thumbs = _choose_thumbs(found, doubt)
    line = video | {
        "thumbs": _embed(corpus.read_crops(video_id, _best_region(corpus), thumbs)),
        "strip": _strip(ledger["status"].tolist()),
        "where": "",
        "sheet": "",
    }
    if out is not None:
        columns = choose_columns(ledger, doubt)
        regions = sorted(corpus.regions, key=lambda region: region != _best_region(corpus))
        figure = draw_video_sheet(
            {region: corpus.read_crops(video_id, region, columns) for region in regions},
            ledger,
            columns,
            title=f"{video_id}: {_label_of(video)}",
        )
        write_sheet(figure, out / "video_sheets" / f"{video_id}.png")
        # A "~" and the like are for the browser to read, not to interpret.
        line |= {"where": f"v-{video_id}", "sheet": f"video_sheets/{quote(video_id)}.png"}
    return line


def _show_emotion(
    corpus: Corpus, emotion: dict[Any, Any], videos: pd.DataFrame, out: Path, number: int
) -> dict[str, Any]:
    """Draw the sheet of an emotion: the middle of clips of as many subjects as there are."""
    name, face = str(emotion["emotion"]), _best_region(corpus)
    chosen = _choose_clips(corpus, videos[videos["emotion"] == name])
    if chosen.empty:
        return emotion | {"sheet": "", "caption": ""}
    crops, statuses, names = [], [], []
    for video_id, rows in chosen.groupby(chosen["video_id"].map(str), sort=False):
        crops += list(corpus.read_crops(str(video_id), face, rows["frame"].tolist()))
        status = corpus.read_ledger(str(video_id))["status"]
        statuses += [str(status[frame]) for frame in rows["frame"]]
        names += [str(rows["subject"].iloc[0] or video_id)] * len(rows)
    n_videos = chosen["video_id"].nunique()
    caption = f"{len(crops)} moments of {n_videos} {'video' if n_videos == 1 else 'videos'}"
    figure = draw_emotion_sheet(crops, names, statuses, title=f"{name}: {caption}")
    path = f"emotion_sheets/{number:02d}.png"
    write_sheet(figure, out / path)
    return emotion | {"sheet": path, "caption": caption}


def _choose_clips(corpus: Corpus, videos: pd.DataFrame) -> pd.DataFrame:
    """Choose middle frames of clips, first one per video, taking subjects in turn."""
    clips = corpus.clips()
    middle = clips["start"] + clips["length"] // 2
    by_video = {str(name): list(frames) for name, frames in middle.groupby(clips["video_id"])}
    rows = []
    for video in videos.sort_values(["subject", "video_id"]).itertuples():
        video_id = str(video.video_id)
        frames = by_video.get(video_id) or _middle_found(corpus, video_id)
        order = sorted(range(len(frames)), key=lambda place: abs(place - len(frames) // 2))
        for turn, place in enumerate(order):
            rows.append((str(video.subject), video_id, int(frames[place]), turn))
    table = pd.DataFrame(rows, columns=["subject", "video_id", "frame", "turn"])
    table["nth"] = table.groupby(["subject", "turn"]).cumcount()
    first = table.sort_values(["turn", "nth"], kind="stable").head(N_CROPS)
    return first.sort_values(["subject", "video_id", "frame"])


def _middle_found(corpus: Corpus, video_id: str) -> list[int]:
    """A frame for a video that is too short for a clip."""
    found = np.flatnonzero(corpus.read_frames_found(video_id))
    return [int(found[len(found) // 2])] if len(found) else []


def _best_region(corpus: Corpus) -> str:
    """The region that shows the most."""
    return "face" if "face" in corpus.regions else corpus.regions[0]


def _choose_thumbs(found: np.ndarray, doubt: np.ndarray) -> list[int]:
    """Three frames spread over a video, and its most doubtful one."""
    places = np.flatnonzero(found)
    spread = places[np.linspace(0, len(places) - 1, min(_N_THUMBS - 1, len(places))).astype(int)]
    return list(dict.fromkeys([*spread.tolist(), int(doubt.argmax())]))


def _embed(crops: np.ndarray) -> str:
    """Crops in a row, a white line after each."""
    white = np.full((len(crops[0]), 1, 3), 255, np.uint8)
    return embed_image(np.hstack([part for crop in crops for part in (crop, white)]))


def _strip(statuses: list[str]) -> list[tuple[str, float, float]]:
    """A video's statuses as segments of a bar: colour, begin and end in per cent.

    Where a part of the bar stands for several frames, one without crops is shown first.
    """
    worst = worst_statuses(statuses, _STRIP_PARTS)
    starts = [i for i, status in enumerate(worst) if i == 0 or status != worst[i - 1]]
    ends = [*starts[1:], len(worst)]
    return [
        (STATUS_COLOURS[worst[start]], 100 * start / len(worst), 100 * end / len(worst))
        for start, end in zip(starts, ends, strict=True)
    ]


def _label_of(video: dict[str, Any]) -> str:
    return ", ".join(filter(None, (str(video["emotion"]), str(video["subject"]))))


def _context(
    corpus: Corpus,
    videos: list[dict[str, Any]],
    emotions: list[dict[str, Any]],
    n_shown: int,
    n_videos: int,
) -> dict[str, Any]:
    summary = summarize_corpus(corpus)
    statuses = [
        {"name": name.replace("_", " "), "colour": colour, "n": summary.frames[f"n_{name}"]}
        for name, colour in STATUS_COLOURS.items()
    ]
    return {
        "corpus": corpus.folder.resolve().name,
        "folder": str(corpus.folder),
        "hash": corpus.content_hash(),
        "recipe": _recipe_lines(corpus),
        "summary": summary,
        "reasons": [(reason, len(paths), first_few(paths, 5)) for reason, paths in summary.reasons],
        "statuses": [status for status in statuses if status["n"]],
        "doubts": find_doubts(corpus),
        "videos": videos,
        "emotions": emotions,
        "n_sheets": n_shown,
        "n_videos": n_videos,  # 0 where some were asked for by name
        "every_face": summary.every_face,
        "region": _best_region(corpus).replace("_", " "),
        "size": corpus.size,
        "version": VERSION,
    }


def _recipe_lines(corpus: Corpus) -> Iterator[tuple[str, str]]:
    for name, value in corpus.recipe.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        if value not in (None, ""):
            yield name.replace("_", " "), text
    yield "recipe hash", corpus.recipe_hash
