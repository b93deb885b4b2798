"""The frames that labels name, as clips: onset, apex and offset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from microx.corpus.corpus import CLIP_COLUMNS, Corpus

PRESENCE = ("no expression", "expression")
"""The classes of `key_clips` of onset and apex."""

AROUND_APEX_S = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
"""Seconds from the apex of the frames of "around-apex" (our choice, on half of CASME II): 2, 4 and
6 frames of 200 a second to either side."""


def key_clips(
    corpus: Corpus, kind: str, apexes: Mapping[str, int | None] | None = None
) -> pd.DataFrame:
    """Index the frames that the labels name, for models of single images and of motion.

    Parameters
    ----------
    corpus : Corpus
    kind : {"apex", "around-apex", "onset-apex-offset", "onset|apex"}
        The apex of each video as a clip of one frame; the apex and the frames `AROUND_APEX_S`
        to either side of it as one clip, kept within the frames with a face; onset, apex and
        offset as one clip, a triple; or onset and apex as two clips of one frame, labelled 0
        and 1: whether there is an expression. Of a video whose labels lack a number, the
        middle of its frames with a face takes the place of the apex, the first that of the
        onset and the last that of the offset; "onset|apex" leaves videos without an apex out.
    apexes : mapping of str to int, optional
        Apexes of videos in place of those of the labels, as `microx.corpus.motion` estimates
        them; None where there is none, and the middle frame stands in.

    Returns
    -------
    DataFrame
        As `Corpus.clips`, and ``frames``: a tuple of frame numbers; ``n_guessed``: how many of
        them the labels lack.

    Notes
    -----
    A new video has no annotated apex: a score that depends on one has to say so.
    """
    groups = [tuple(group.removeprefix("around-").split("-")) for group in kind.split("|")]
    rows: list[dict[str, Any]] = []
    for video in corpus.manifest[corpus.manifest["status"] == "done"].itertuples():
        video_id = str(video.video_id)
        seen = np.flatnonzero(corpus.segments[video_id] >= 0)
        named = {name: corpus.find_frame(video_id, name) for name in ("onset", "apex", "offset")}
        if apexes is not None:
            named["apex"] = apexes[video_id]
        if not len(seen) or (kind == "onset|apex" and named["apex"] is None):
            continue
        usual = {"onset": seen[0], "apex": seen[len(seen) // 2], "offset": seen[-1]}
        shown = usual | {name: frame for name, frame in named.items() if frame is not None}
        for label, names in enumerate(groups):
            frames = tuple(int(shown[name]) for name in names)
            if kind == "around-apex":
                frames = _around(corpus, video_id, frames[0], seen)
            rows.append(
                {
                    "clip_id": f"{video_id}:{'-'.join(names)}",
                    "video_id": video_id,
                    "start": frames[0],
                    "length": len(frames),
                    "emotion": video.emotion,
                    "label": corpus.classes.index(str(video.emotion)),
                    "subject": video.subject,
                    "corpus": video.corpus,
                    "n_found": len(frames),
                    "frames": frames,
                    "n_guessed": sum(named[name] is None for name in names),
                }
            )
            if kind == "onset|apex":
                rows[-1] |= {"label": label, "emotion": PRESENCE[label]}
    return pd.DataFrame(rows, columns=[*CLIP_COLUMNS, "frames", "n_guessed"])


def _around(corpus: Corpus, video_id: str, apex: int, seen: np.ndarray) -> tuple[int, ...]:
    """Frames about an apex, of equal spacing where the video is long enough."""
    times = corpus.read_times(video_id)
    rate = 1 / max(float(np.median(np.diff(times))), 1e-6) if len(times) > 1 else 0.0
    wanted = apex + np.rint(np.array(AROUND_APEX_S) * rate)
    nearest = np.abs(seen[None] - wanted[:, None]).argmin(axis=1)
    return tuple(seen[nearest].tolist())
