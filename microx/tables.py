"""A run's numbers as rows of text, ready for a page: scores, recalls, splits and the ledger.

Nothing is scored here: `microx.experiments.results_table` has done it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from microx.cautions import NONE, is_shuffled, main_row, percent
from microx.corpus import Corpus
from microx.evaluation import EvaluationResult


def clips_of_run(corpus: Corpus, main: EvaluationResult) -> pd.DataFrame:
    """Index the corpus's clips as the run did, with those that lack a face."""
    arguments = main.facts.get("arguments", {})
    if arguments.get("frames", "all") != "all":
        return corpus.key_clips(arguments["frames"])
    given = {name: arguments[name] for name in ("stride", "tail") if name in arguments}
    if "n_frames" in main.facts:
        given["length"] = main.facts["n_frames"]
    return corpus.clips(**given, incomplete=True)


def ledger(corpus: Corpus, every: pd.DataFrame) -> dict[str, Any]:
    """Account for every video, frame and clip of the corpus."""
    manifest = corpus.manifest
    done = manifest[manifest["status"] == "done"]
    skipped = manifest[manifest["status"] != "done"]
    reasons = [
        {"reason": str(reason), "n": len(rows), "videos": listed(rows["path"].map(str).tolist(), 5)}
        for reason, rows in skipped.groupby("reason", dropna=False)
    ]
    clips = every[every["n_found"] == every["length"]]
    without = done[~done["video_id"].isin(clips["video_id"])]
    return {
        "n_videos": len(manifest),
        "n_done": len(done),
        "reasons": reasons,
        "n_frames": int(done["n_frames"].sum()),
        "n_found": int(done["n_found"].sum()),
        "n_clips": len(clips),
        "n_incomplete": len(every) - len(clips),
        "length": int(every["length"].iloc[0]) if len(every) else 0,
        "without_clip": listed(without["path"].map(str).tolist(), 5),
        "n_without_clip": len(without),
    }


def clip_counts(main: EvaluationResult, clips: pd.DataFrame | None) -> dict[str, Any]:
    """Count clips by subject and emotion: all of the corpus, else those tested."""
    if clips is None:
        named = np.array(main.classes)[main.y_true]
        clips = pd.DataFrame({"subject": main.subject, "emotion": named})
        what = "tested clips"
    else:
        what = "clips"
    tested = set(main.subject.tolist())
    counts = pd.crosstab(clips["subject"], clips["emotion"]).reindex(
        columns=list(main.classes), fill_value=0
    )
    rows = [
        {
            "subject": subject or "(not named)",
            "tested": subject in tested,
            "counts": [int(value) for value in row],
            "total": int(row.sum()),
        }
        for subject, row in zip(counts.index.map(str), counts.to_numpy(), strict=True)
    ]
    totals = [int(value) for value in counts.to_numpy().sum(axis=0)]
    return {"what": what, "rows": rows, "totals": totals, "total": sum(totals)}


def fold_rows(main: EvaluationResult) -> list[dict[str, Any]]:
    """Count what each split trained, validated and tested, and name whom."""
    facts = main.facts
    rows = []
    for fold in range(len(facts["n_train"])):
        tested = main.fold == fold
        known = (_of_fold(facts.get("trained_on"), fold) or {}).get("subjects", [])
        rows.append(
            {
                "fold": fold,
                "n_train": facts["n_train"][fold],
                "n_validation": _of_fold(facts.get("n_validation"), fold),
                "n_test": int(tested.sum()),
                "known": listed(known, 12),
                "test": listed(sorted(set(main.subject[tested].tolist()) - {""})),
                "best_epoch": _of_fold(facts.get("best_epoch"), fold),
            }
        )
    return rows


def score_rows(results: Sequence[EvaluationResult], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the table of scores as text, the baselines last."""
    n_classes = len(results[0].classes)
    n_videos = len(results[0].by_video().y_true)
    rows = []
    for index, (_, row) in enumerate(table.iterrows()):
        result = results[index] if index < len(results) else None
        regions = str(row["regions"])
        rows.append(
            {
                "name": row["name"],
                "regions": "" if regions == row["name"] else regions.replace("+", " + "),
                "kind": "baseline" if result is None else "shuffled" if is_shuffled(result) else "",
                "n_train": f"{row['n_train']:,}",
                "n_test": f"{row['n_test']:,}",
                "clips": [percent(row[s], row["n_test"]) for s in ("accuracy", "uar", "uf1")],
                "videos": [
                    percent(row[f"video_{s}"], n_videos) for s in ("accuracy", "uar", "uf1")
                ],
                "n_parameters": f"{row['n_parameters']:,}" if row["n_parameters"] else NONE,
            }
        )
    chance = percent(1 / n_classes)
    rows.append(
        {
            "name": f"chance (1 of {n_classes})",
            "regions": "",
            "kind": "baseline",
            "n_train": NONE,
            "n_test": f"{len(results[0].y_true):,}",
            "clips": [chance, chance, NONE],
            "videos": [chance, chance, NONE],
            "n_parameters": NONE,
        }
    )
    return rows


def recall_rows(results: Sequence[EvaluationResult], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the recall of every emotion by every row, as text and as a share for shading."""
    classes, main = results[0].classes, main_row(results)
    support = np.bincount(main.y_true, minlength=len(classes))
    return [
        {
            "name": row["name"],
            "cells": [
                {
                    "text": percent(row[f"recall_{name}"], int(n)),
                    "share": 0.0 if np.isnan(row[f"recall_{name}"]) else row[f"recall_{name}"],
                }
                for name, n in zip(classes, support, strict=True)
            ],
        }
        for _, row in table.iterrows()
    ]


def fact_rows(main: EvaluationResult, corpus: str) -> list[tuple[str, str]]:
    """Name what somebody else needs to get the same numbers."""
    facts = main.facts
    versions = facts.get("versions", {})
    rows = [
        ("seed", facts.get("seed")),
        ("corpus", corpus),
        ("recipe hash", facts.get("recipe_hash")),
        *((f"recipe: {name}", value) for name, value in (facts.get("recipe") or {}).items()),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("model preset", facts.get("preset")),
        ("parameters", f"{facts['n_parameters']:,}" if "n_parameters" in facts else None),
        *((f"setting: {name}", value) for name, value in facts.get("arguments", {}).items()),
        ("seconds to the best epoch", facts.get("seconds_to_best")),
        ("peak memory in MiB", facts.get("peak_memory_mib")),
    ]
    return [(name, _plain(value)) for name, value in rows if value not in (None, "", {})]


def listed(names: Sequence[str], most: int = 40) -> str:
    """Join names by commas, the first `most` of them and how many more there are.

    Examples
    --------
    >>> listed(["S01", "S02", "S03"], 2)
    'S01, S02 and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _of_fold(values: Any, fold: int) -> Any:
    """Give a fold's own entry of a fact that is one a fold, where the run recorded it."""
    return values[fold] if isinstance(values, list) and fold < len(values) else None


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
