"""The state of a corpus's videos, frames and clips: counts, an order of doubt, cautions.

Only the manifest and the small arrays of the crops' files are read, never a crop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from microx.corpus.corpus import FACE_MARK, Corpus
from microx.corpus.storage import STATUS_COUNTS, read_crops_file
from microx.errors import InputError
from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.interlacing import DEINTERLACE
from microx.preprocessing.landmarks import outer_eye_distance
from microx.preprocessing.preprocessed import MANY_REPEATS, count_repeats
from microx.preprocessing.tracking.faces import Status
from microx.schema import CLIP_FRAMES
from microx.text import first_few

MANY_MISSING = 0.1
"""Share of frames without crops, or failed crops, from which there is a caution (our choice)."""

MANY_UNDECODED = 0.1
"""Share of missing claimed frames above which there is a caution; claims are often estimates
(our choice)."""

NUMBERED_IMAGES = 5
"""Consecutively numbered images in one folder from which they look like frames (our choice)."""

_VIDEO_COUNTS = ("n_claimed", "n_decoded", "n_untimed", "n_unused", "n_cuts", "n_rejected")


def tabulate_sources(corpus: Corpus) -> pd.DataFrame:
    """Give the manifest with one row per video, where it may have one for each face of a video.

    Returns
    -------
    DataFrame
        The manifest's columns; ``video_id`` without the number of a face. A video is done if
        any of its faces is.
    """
    rows = corpus.manifest.sort_values("status", kind="stable")  # "done" before "skipped"
    return rows.assign(video_id=_source(rows["video_id"])).drop_duplicates("video_id").sort_index()


def count_frames(corpus: Corpus) -> dict[str, int]:
    """Count the frames of the videos that are done: as decoded, and as stored in the corpus.

    Returns
    -------
    dict
        ``n_claimed``, ``n_decoded``, ``n_untimed``, ``n_unused``, ``n_cuts``, ``n_rejected`` of
        the videos; ``n_frames``, ``n_found`` and one count for each status of the rows, which
        are faces where the corpus holds every face. All 0 for an empty corpus.
    """
    sources = _done(tabulate_sources(corpus))
    rows = _done(corpus.manifest)
    counts = {name: int(sources[name].sum()) for name in _VIDEO_COUNTS}
    return counts | {n: int(rows[n].sum()) for n in ("n_frames", "n_found", *STATUS_COUNTS)}


@dataclass(frozen=True, eq=False)
class CorpusSummary:
    """The counts of a corpus, which the console, the page of crops and the report all show.

    Attributes
    ----------
    n_done, n_skipped : int
        Videos that gave crops, and those that did not; a video of several faces is one.
    n_subjects : int
        Subjects that the labels name, of the videos that are done; 0 where they name none.
    reasons : tuple of (str, tuple of str)
        Why videos were skipped and their paths, the most frequent reason first: `group_reasons`.
    frames : mapping of str to int
        `count_frames`: of the videos that are done, at the corpus's frame rate. Where the corpus
        holds every face, a frame counts once for each face of its video.
    every_face : bool
        Whether the corpus holds every face.
    """

    n_done: int
    n_skipped: int
    n_subjects: int
    reasons: tuple[tuple[str, tuple[str, ...]], ...]
    frames: Mapping[str, int]
    every_face: bool

    @property
    def n_frames(self) -> int:
        """Frames of the videos that are done."""
        return self.frames["n_frames"]

    @property
    def n_found(self) -> int:
        """Those of them that have crops."""
        return self.frames["n_found"]

    @property
    def with_crops(self) -> str:
        """How the frames with crops got their landmarks: ``"detected 30, tracked 115"``."""
        return self._in_words(has_crops=True)

    @property
    def without_crops(self) -> str:
        """Why the other frames have none: ``"no face 422, other face 92"``; "" for none."""
        return self._in_words(has_crops=False)

    @property
    def statuses(self) -> str:
        """Both, one after the other."""
        return ", ".join(filter(None, (self.with_crops, self.without_crops)))

    def _in_words(self, *, has_crops: bool) -> str:
        counts = zip(STATUS_COUNTS, Status, strict=True)
        chosen = [name for name, status in counts if status.has_crops == has_crops]
        pairs = [(name[2:].replace("_", " "), self.frames[name]) for name in chosen]
        return ", ".join(f"{name} {n:,}" for name, n in pairs if n)


def summarize_corpus(corpus: Corpus) -> CorpusSummary:
    """Count the videos and frames of a corpus, once for console, page and report.

    Examples
    --------
    >>> summarize_corpus(corpus).with_crops
    'given 504'
    """
    sources = tabulate_sources(corpus)
    done = _done(sources)
    return CorpusSummary(
        n_done=len(done),
        n_skipped=len(sources) - len(done),
        n_subjects=_n_subjects(done),
        reasons=tuple((reason, tuple(paths)) for reason, paths in group_reasons(sources)),
        frames=count_frames(corpus),
        every_face=corpus.recipe.get("faces") == "all",
    )


def tabulate_emotions(corpus: Corpus) -> pd.DataFrame:
    """Count videos, subjects and clips of `microx.schema.CLIP_FRAMES` frames by emotion.

    Returns
    -------
    DataFrame
        One row a class, in the order of the classes: emotion, n_videos, n_subjects, n_clips
        (whole ones) and n_broken (clips that a missing face or a cut breaks).
    """
    done, clips = _done(corpus.manifest), corpus.clips(incomplete=True)
    whole = clips["n_found"] == clips["length"]
    return pd.DataFrame(
        [
            {
                "emotion": emotion,
                "n_videos": int((done["emotion"] == emotion).sum()),
                "n_subjects": _n_subjects(done[done["emotion"] == emotion]),
                "n_clips": int((whole & (clips["emotion"] == emotion)).sum()),
                "n_broken": int((~whole & (clips["emotion"] == emotion)).sum()),
            }
            for emotion in corpus.classes
        ]
    )


def tabulate_videos(corpus: Corpus, names: Sequence[str] = ()) -> pd.DataFrame:
    """Measure how doubtful each video's crops are, the most doubtful first.

    Parameters
    ----------
    corpus : Corpus
    names : sequence of str
        Ids or paths of videos; without them, all that are done. The id of a video includes
        all its faces.

    Returns
    -------
    DataFrame
        One row for each row of the manifest that is done: video_id, path, emotion, subject,
        n_frames, n_found, n_segments, n_cuts, n_clips, n_broken; ``missing``, the share of
        frames without crops (where the corpus holds every face: between the first and the last
        frame of this face); ``confidence``, the lowest of a frame with crops; ``jump``, the
        largest of `measure_jumps`; ``eyes_px``, the median outer-eye distance in pixels, the
        size of the face before cropping, NaN without landmarks; ``doubt``, by which
        it is sorted: missing + (1 - confidence) + jump, where jump counts up to 1 (our choice).

    Raises
    ------
    InputError
        If no finished video has a given name.
    """
    done = _done(corpus.manifest)
    done = _select(done, names, corpus) if names else done
    clips = corpus.clips(incomplete=True)
    clips = clips.assign(whole=clips["n_found"] == clips["length"])
    by_video = clips.groupby("video_id")["whole"].agg(["sum", "size"])
    kept = ["video_id", "path", "emotion", "subject", "n_frames", "n_found", "n_segments", "n_cuts"]
    table = done[kept].reset_index(drop=True)
    table["n_clips"] = table["video_id"].map(by_video["sum"]).fillna(0).astype(int)
    every = table["video_id"].map(by_video["size"]).fillna(0).astype(int)
    table["n_broken"] = every - table["n_clips"]
    measures = [_measure(corpus, video_id) for video_id in table["video_id"]]
    table[["missing", "confidence", "jump", "eyes_px"]] = np.array(measures).reshape(-1, 4)
    table["doubt"] = table["missing"] + (1 - table["confidence"]) + table["jump"].clip(upper=1)
    return table.sort_values("doubt", ascending=False, kind="stable", ignore_index=True)


def measure_jumps(xy: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Measure how far a face moves from each frame to the next.

    Parameters
    ----------
    xy : ndarray of shape (T, 68, 2)
        Landmarks in pixels, NaN where none.
    segment : ndarray of shape (T,), int
        The segment of each frame; -1 where there is none.

    Returns
    -------
    ndarray of shape (T,)
        The median movement of the landmarks since the frame before, in outer-eye distances; 0
        for the first frame of a segment and where there is no face.

    Examples
    --------
    >>> measure_jumps(np.zeros((0, 68, 2)), np.zeros(0, int))
    array([], dtype=float64)
    """
    jumps = np.zeros(len(xy))
    follows = np.flatnonzero((segment[1:] >= 0) & (segment[1:] == segment[:-1])) + 1
    if not len(follows):
        return jumps
    way = np.median(np.linalg.norm(xy[follows] - xy[follows - 1], axis=2), axis=1)  # (n,)
    jumps[follows] = way / np.maximum(outer_eye_distance(xy[follows - 1]), 1e-6)
    return jumps


def group_reasons(manifest: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Group skipped videos by reason, ignoring the numbers and names in it.

    Returns
    -------
    list of (str, list of str)
        The reason, or that of the first "or alike", and the paths; the most frequent first.
    """
    groups: dict[str, tuple[list[str], list[str]]] = {}
    skipped = manifest[manifest["status"] != "done"]
    for path, reason in zip(skipped["path"], skipped["reason"], strict=True):
        kind = re.sub(r"b?(['\"]).*?\1|\S*[\d/]\S*", "", reason)
        reasons, paths = groups.setdefault(kind, ([], []))
        reasons.append(reason)
        paths.append(path)
    grouped = [
        (reasons[0] + (", or alike" if len(set(reasons)) > 1 else ""), paths)
        for reasons, paths in groups.values()
    ]
    return sorted(grouped, key=lambda group: -len(group[1]))


def find_numbered_folders(paths: Iterable[str]) -> list[str]:
    """Find folders whose images look like the frames of a video: same name, consecutive numbers.

    Parameters
    ----------
    paths : iterable of str
        Of videos, with ``/`` between folders.

    Returns
    -------
    list of str
        The folders, each once.

    Examples
    --------
    >>> find_numbered_folders([f"S1/img{number}.jpg" for number in range(1, 9)])
    ['S1']
    """
    series: dict[tuple[str, str], list[int]] = {}
    for path in map(PurePosixPath, paths):
        number = re.search(r"(\d+)\D*$", path.stem)
        if number and path.suffix.lower() in IMAGE_SUFFIXES:
            start, end = number.span(1)
            alike = f"{path.stem[:start]}#{path.stem[end:]}"
            series.setdefault((str(path.parent), alike), []).append(int(number[1]))
    found = []
    for (folder, _), numbers in series.items():
        steps = np.diff(np.unique(numbers))
        if len(steps) + 1 >= NUMBERED_IMAGES and np.median(steps) == 1:
            found.append(folder)
    return list(dict.fromkeys(found))


def find_missing_numbers(names: Iterable[str]) -> str:
    """Find the numbers missing between those of a video's images; "" where none is.

    The names of one video must differ in their last number only. The smallest step between
    them is taken as the rule.

    Examples
    --------
    >>> find_missing_numbers(["img1.png", "img2.png", "img5.png", "img7.png"])
    '3 to 4, 6'
    """
    series: dict[str, list[int]] = {}
    for name in names:
        number = re.search(r"(\d+)\D*$", PurePosixPath(name).stem)
        if number is None:
            return ""
        start, end = number.span(1)
        series.setdefault(f"{name[:start]}#{name[end:]}", []).append(int(number[1]))
    if len(series) != 1:
        return ""
    numbers = sorted({number for found in series.values() for number in found})
    pairs = list(pairwise(numbers))
    step = min((b - a for a, b in pairs), default=1)  # of every fifth frame kept, none is missing
    gaps = [(a + step, b - step) for a, b in pairs if b - a > step]
    return first_few([str(a) if a == b else f"{a} to {b}" for a, b in gaps])


def find_doubts(corpus: Corpus) -> list[str]:
    """List in sentences what to check before training on a corpus.

    Returns
    -------
    list of str
        Empty where nothing stands out.
    """
    sources = _done(tabulate_sources(corpus))
    doubts = [
        *_doubt_frames(corpus, count_frames(corpus)),
        *_doubt_decoding(sources, corpus),
        *_doubt_rates(sources, corpus),
        *_doubt_faces(sources, corpus),
    ]
    folders = find_numbered_folders(corpus.manifest["path"])
    if folders and corpus.recipe.get("input_fps") is None:
        doubts.append(
            f"the images in {first_few(folders)} look like the frames of videos, but each was "
            "taken as a video of its own; if they are frames, give the frame rate: `input_fps`"
        )
    else:
        doubts += _doubt_clips(sources, corpus)
    return doubts + _doubt_emotions(sources, corpus) + _doubt_subjects(sources, corpus)


def _source(video_ids: pd.Series) -> pd.Series:
    """The ids of the videos that faces are of."""
    return video_ids.map(lambda video_id: video_id.partition(FACE_MARK)[0])


def _done(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "done"]


def _n_subjects(rows: pd.DataFrame) -> int:
    return int(rows.loc[rows["subject"] != "", "subject"].nunique())


def _select(done: pd.DataFrame, names: Sequence[str], corpus: Corpus) -> pd.DataFrame:
    source = _source(done["video_id"])
    chosen = pd.Series(False, index=done.index)
    for name in names:
        hits = (done["video_id"] == name) | (source == name) | (done["path"] == name)
        if not hits.any():
            raise InputError(
                f"{corpus.folder}: expected a video that is done; found none of id or path "
                f"{name!r}; there are {first_few(done['video_id'].tolist())}"
            )
        chosen |= hits
    return done[chosen]


def _measure(corpus: Corpus, video_id: str) -> tuple[float, float, float, float]:
    """Return the share missing, the lowest confidence, the largest jump, the eyes' distance."""
    segment = corpus.read_segments(video_id)
    found = np.flatnonzero(segment >= 0)
    if not len(found):
        return 1.0, 0.0, 0.0, 0.0
    every_face = corpus.recipe.get("faces") == "all"
    n_frames = found[-1] - found[0] + 1 if every_face else len(segment)
    xy = corpus.read_landmarks(video_id)
    jump = float(measure_jumps(xy, segment).max())
    confidence = float(corpus.read_confidence(video_id)[found].min())
    eyes_px = float(np.median(outer_eye_distance(xy[found])))
    return 1 - len(found) / n_frames, confidence, jump, eyes_px


def _doubt_frames(corpus: Corpus, counts: dict[str, int]) -> list[str]:
    doubts, n_frames = [], max(1, counts["n_frames"])
    missing = 1 - counts["n_found"] / n_frames
    if missing >= MANY_MISSING and counts["n_frames"] and corpus.recipe.get("faces") != "all":
        doubts.append(f"{missing:.0%} of the frames have no crops")
    if counts["n_failed_crop"] >= MANY_MISSING * n_frames:
        doubts.append(
            f"{counts['n_failed_crop'] / n_frames:.0%} of the frames have landmarks that give no "
            "crop; are the landmarks of these very videos?"
        )
    if counts["n_small_face"] >= MANY_MISSING * n_frames:
        doubts.append(
            f"{counts['n_small_face'] / n_frames:.0%} of the frames show a face whose outer eye "
            f"corners are less than {corpus.recipe.get('min_face', 0):g} pixels apart, which is "
            "not cropped; `min_face` sets the limit"
        )
    return doubts


def _doubt_decoding(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    doubts = []
    cut_off = sources[sources["n_decoded"] < (1 - MANY_UNDECODED) * sources["n_claimed"]]
    if len(cut_off):
        named = [
            f"{video.path} ({video.n_decoded} of {video.n_claimed})"
            for video in cut_off.itertuples()
        ]
        doubts.append(
            f"fewer frames could be decoded than were claimed: {first_few(named)}; "
            "are these files whole?"
        )
    combed = sources.loc[sources["n_combed"] > 0, "path"].tolist()
    if combed:
        doubts.append(
            f"{_videos(len(combed))} interlaced, so that moving eyes and mouths are combs: "
            f"{first_few(combed)}; deinterlace first: {DEINTERLACE}"
        )
    n_untimed, n_decoded = sources["n_untimed"].sum(), sources["n_decoded"].sum()
    if n_untimed > MANY_UNDECODED * n_decoded:
        doubts.append(
            f"{n_untimed} of {n_decoded} frames had no time of their own; it was computed from "
            "the average rate"
        )
    return doubts


def _doubt_rates(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    """Videos of so few frames a second that their clips are of equal frames."""
    rate = corpus.recipe.get("frame_rate")
    if rate is None:
        return []
    shown = (sources["n_decoded"] - sources["n_unused"]).clip(lower=1)
    few = sources[(sources["n_decoded"] > 1) & (sources["n_frames"] >= MANY_REPEATS * shown)]
    slow = {}
    for video in few.itertuples():
        file = corpus.crops_path(str(video.video_id))
        repeats = count_repeats(read_crops_file(file, "source_frame"))
        if repeats >= MANY_REPEATS:
            slow[str(video.path)] = rate / repeats
    if not slow:
        return []
    told = [f"{path} ({own:.2g} a second)" for path, own in slow.items()]
    return [
        f"{_videos(len(slow))} of far fewer frames a second than the {rate:g} of the corpus: "
        f"{first_few(told)}; each frame is repeated, so that a clip of {CLIP_FRAMES} may be one "
        f"image all along; `frame_rate={min(slow.values()):.2g}` shows each frame once"
    ]


def _doubt_faces(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    several = sources[sources["n_faces"] > 1]
    if not len(several) or corpus.recipe.get("faces") == "all":
        return []
    listed = [f"{video.path} ({video.n_faces})" for video in several.itertuples()]
    return [
        f"{len(several)} of {len(sources)} videos show several faces: {first_few(listed)}; only "
        "the one seen the most was kept; is it the labelled subject? `faces=all` keeps every face"
    ]


def _doubt_clips(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    doubts = []
    short = sources["n_frames"] < CLIP_FRAMES
    if len(sources) and short.all():
        return [
            f"no video has the {CLIP_FRAMES} frames of a clip; a model of fewer can be "
            "trained on this corpus: `preset=cnn6` or another that reads one frame, or "
            f"`n_frames={int(sources['n_frames'].max())}`"
        ]
    if short.any():
        named = first_few(sources.loc[short, "path"].tolist())
        doubts.append(
            f"{_videos(short.sum())} shorter than the {CLIP_FRAMES} frames of a clip: {named}"
        )
    whole = _source(corpus.clips()["video_id"])
    none = ~short & ~sources["video_id"].isin(whole)
    if none.any():
        named = first_few(sources.loc[none, "path"].tolist())
        doubts.append(
            f"{_videos(none.sum())} without a clip: no {CLIP_FRAMES} consecutive frames show one "
            f"face: {named}"
        )
    return doubts


def _videos(n: int) -> str:
    return "1 video is" if n == 1 else f"{n} videos are"


def _doubt_emotions(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    """A class of one video among classes of many may be a typing error."""
    if corpus.label_set != "file":
        return []
    alike = _find_alike(corpus.classes)
    doubts = [
        f"these emotions are treated as different: {first_few(alike)}; if they are one, spell "
        "them alike, or use `label_set`"
    ] * bool(alike)
    times = sources["emotion"].value_counts()
    if not len(times) or times.median() <= 2:
        return doubts
    return doubts + [
        f"only one video shows {emotion!r}: a typing error? `label_set` refuses unknown spellings"
        for emotion in times[times == 1].index
    ]


def _doubt_subjects(sources: pd.DataFrame, corpus: Corpus) -> list[str]:
    named = sources["subject"] != ""
    alike = _find_alike(sources.loc[named, "subject"])
    doubts = [
        f"these subjects are treated as different and may be in training and in test: "
        f"{first_few(alike)}; if they are one, spell them alike"
    ] * bool(alike)
    if named.any() and not named.all():
        unnamed = first_few(sources.loc[~named, "path"].tolist())
        doubts.append(
            f"{_videos((~named).sum())} without a subject while others have one: {unnamed}; each "
            "counts as a subject of its own, so no score will hold for new subjects"
        )
    several = named & (sources["n_faces"] > 1)
    if several.any() and corpus.recipe.get("faces") == "all":
        paths = first_few(sources.loc[several, "path"].tolist())
        doubts.append(
            f"the labels give one subject per video, so all faces of {paths} have the same; "
            "`faces=main` keeps one"
        )
    return doubts


def _find_alike(names: Iterable[str]) -> list[str]:
    """Names that differ in capitals and spaces only: "'A b' and 'ab'"."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault("".join(name.split()).casefold(), set()).add(name)
    return [" and ".join(map(repr, sorted(group))) for group in groups.values() if len(group) > 1]
