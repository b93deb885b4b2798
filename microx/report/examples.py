"""Images of clips that a model predicted correctly and wrongly, for a run's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus.corpus import Corpus
from microx.evaluation.result import EvaluationResult
from microx.plotting import embed_image
from microx.report.cautions import percent
from microx.report.protocol import clips_of_run

EXAMPLE_FRAMES = 3
"""Frames shown of each example clip: first, middle, last (our choice)."""


def pick_examples(main: EvaluationResult, corpus: Corpus) -> list[dict[str, Any]]:
    """Show per emotion the correct clip of median confidence and the most confident wrong one.

    Parameters
    ----------
    main : EvaluationResult
    corpus : Corpus
        The one it was made from.

    Returns
    -------
    list of dict
        A group an emotion: ``emotion``, ``n_right``, ``n`` and ``clips``, up to two images.
    """
    clips = clips_of_run(corpus, main).set_index("clip_id")
    right = main.y_pred == main.y_true
    groups = []
    for label, emotion in enumerate(main.classes):
        shown = [
            _example(main, corpus, clips.loc[main.clip_id[row]], row)
            for wanted in (True, False)
            for row in _pick(main, label, wanted)
        ]
        of_label = main.y_true == label
        counts = {"n_right": int((right & of_label).sum()), "n": int(of_label.sum())}
        groups.append({"emotion": emotion, "clips": shown} | counts)
    return groups


def _pick(main: EvaluationResult, label: int, right: bool) -> list[int]:
    """The row of median confidence among the correct ones, of the highest among the wrong."""
    rows = np.flatnonzero((main.y_true == label) & ((main.y_pred == label) == right))
    by_confidence = rows[np.argsort(main.y_prob.max(axis=1)[rows], kind="stable")]
    return by_confidence[[(len(rows) - 1) // 2 if right else -1]].tolist() if len(rows) else []


def _example(main: EvaluationResult, corpus: Corpus, clip: pd.Series, row: int) -> dict[str, Any]:
    frames = np.array(clip.get("frames", range(clip["start"], clip["start"] + clip["length"])))
    video_id, predicted = str(main.video_id[row]), main.classes[main.y_pred[row]]
    emotion = main.classes[main.y_true[row]]
    # Motion is that of the whole face, whichever windows of it a model reads.
    shown = ("face",) if main.facts.inputs == "motion" else main.regions
    when = "its first, middle and last frame" if len(frames) > 1 else "its only frame"
    return {
        "right": predicted == emotion,
        "predicted": predicted,
        "confidence": percent(float(main.y_prob[row].max())),
        "video": video_id,
        "uri": embed_image(_strip(corpus, video_id, shown, frames)),
        "alt": f"{emotion} clip of {video_id}, predicted {predicted}: {', '.join(shown)} at {when}",
    }


def _strip(
    corpus: Corpus, video_id: str, regions: Sequence[str], frames: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Lay a clip's crops side by side, regions across and frames down, white between."""
    places = np.linspace(0, len(frames) - 1, min(EXAMPLE_FRAMES, len(frames))).astype(int)
    picked = frames[places]
    gap = ((1, 1), (1, 1), (0, 0))
    columns = [
        np.vstack(
            # A padded clip repeats its video's last frame.
            [
                np.pad(crops[min(frame, len(crops) - 1)], gap, constant_values=255)
                for frame in picked
            ],
        )
        for crops in (corpus.read_crops(video_id, region) for region in regions)
    ]
    return np.hstack(columns)
