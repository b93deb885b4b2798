"""How well spotting does on videos with known intervals, its threshold chosen on other subjects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from microx._version import VERSION
from microx.corpus.corpus import Corpus, check_corpus
from microx.errors import InputError
from microx.files import check_new_folder, say_absence, whole_file
from microx.markup import to_html
from microx.progress import ProgressOption, tell_progress
from microx.spotting.scoring import (
    FALSE_ALARM_RATES,
    KINDS,
    choose_presence,
    choose_threshold,
    count_hits,
    score_hits,
    trace_recall,
)
from microx.spotting.spot import LOWEST, THRESHOLD, spot_expressions, tabulate_spots
from microx.text import first_few

INTERVAL_COLUMNS = ("path", "onset", "apex", "offset", "kind")
_ENDS = ("onset", "apex", "offset")


@dataclass(frozen=True, eq=False)
class SpottingRun:
    """Scores of spotting on a corpus.

    Parameters
    ----------
    folder : Path
        Where spotting.csv, spots.csv and spotting.json lie.
    table : DataFrame
        Of `microx.spotting.scoring.score_hits`, for thresholds chosen on other subjects.
    spots : DataFrame
        What was spotted in each video, at its fold's threshold.
    facts : dict
        thresholds by fold; minutes; recall_at: recall at so many false alarms a minute, by moving
        one threshold over all test videos; presence_accuracy: of "is there one" in a video, by a
        score chosen on other subjects, and presence_most_frequent, of always saying the same.
    cautions : tuple of str
        What a reader must know before quoting a number.
    """

    folder: Path
    table: pd.DataFrame
    spots: pd.DataFrame
    facts: dict[str, Any]
    cautions: tuple[str, ...]

    def __repr__(self) -> str:
        f1 = self.table.set_index("kind")["f1"]
        told = ", ".join(f"F1 {kind} {f1[kind]:.3f}" for kind in f1.index)
        return f"SpottingRun({told})"

    def _repr_html_(self) -> str:
        return to_html(self.table, caption=repr(self))


def read_intervals(path: str | Path, corpus: Corpus) -> pd.DataFrame:
    """Read when each expression of a corpus's videos begins, peaks and ends.

    Parameters
    ----------
    path : path
        CSV with a row an expression: path as in the labels, onset, apex and offset (numbers of
        decoded frames, from 0) and kind, micro or macro. A video without a row shows none.
    corpus : Corpus

    Returns
    -------
    DataFrame
        video_id, onset, apex, offset (frames of the corpus), kind.

    Raises
    ------
    InputError
        If it cannot be read, or a row names no usable video, no frame or no kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a CSV of intervals; found {say_absence(path)}")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path}: expected a CSV of intervals; found {error}") from None
    if missing := [name for name in INTERVAL_COLUMNS if name not in table]:
        raise InputError(
            f"{path}: expected the columns {', '.join(INTERVAL_COLUMNS)}; found no "
            f"{', '.join(missing)}"
        )
    done = corpus.manifest[corpus.manifest["status"] == "done"]
    id_of = dict(zip(done["path"], done["video_id"], strict=True))
    if strange := [name for name in table["path"].unique() if _find_id(id_of, name) is None]:
        raise InputError(
            f"{path}: expected videos that the corpus {corpus.folder} holds; found "
            f"{first_few(strange)}; their paths must be those of the labels"
        )
    table["video_id"] = [_find_id(id_of, name) for name in table["path"]]
    for name in _ENDS:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    ordered = (table["onset"] <= table["apex"]) & (table["apex"] <= table["offset"])
    bad = ~(ordered & (table["onset"] >= 0) & table["kind"].isin(KINDS))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        found = ", ".join(f"{name} {table[name][row]}" for name in INTERVAL_COLUMNS[1:])
        raise InputError(
            f"{path}, row {row + 2}: expected onset <= apex <= offset, counted from 0, and the "
            f"kind micro or macro; found {found}"
        )
    for video_id, rows in table.groupby("video_id"):
        source = corpus.read_ledger(str(video_id))["source_frame"].to_numpy()
        for name in _ENDS:
            off = np.abs(source[None] - table.loc[rows.index, name].to_numpy()[:, None])
            table.loc[rows.index, name] = off.argmin(axis=1)
    return table[["video_id", *_ENDS, "kind"]].astype(dict.fromkeys(_ENDS, int))


def _find_id(id_of: dict[str, str], path: str) -> str | None:
    """The video of a path, which may begin with the name of the folder of videos."""
    return id_of.get(path) or id_of.get(path.partition("/")[2])


def run_spotting(
    corpus: Corpus,
    intervals: str | Path,
    out: str | Path,
    *,
    n_folds: int = 5,
    seed: int = 0,
    progress: ProgressOption = None,
) -> SpottingRun:
    """Spot the expressions of a corpus and score them, by thresholds chosen on other subjects.

    Parameters
    ----------
    corpus : Corpus
        With the region face; crops of 128 pixels show what there is to be seen.
    intervals : path
        See `read_intervals`.
    out : path
        Folder for spotting.csv (the table), spots.csv and spotting.json; made if missing.
    n_folds : int
        Groups of subjects; those of one are tested by what was chosen on the others.
    seed : int
        Which subject is in which group.
    progress : callable or bool, optional
        Called with videos done, videos in all, and the video's id. None shows a bar in a terminal
        and a notebook, False shows nothing.

    Returns
    -------
    SpottingRun

    Raises
    ------
    InputError
        If `out` cannot be written, the intervals cannot be read, or there are fewer subjects than
        folds.
    CorpusError
        If the corpus lacks the face.

    Notes
    -----
    Each video is measured once; a threshold leaves out spots of a lower score. Where a video has no
    subject, it is one of its own.
    """
    check_corpus(corpus)
    check_new_folder(out)
    true = read_intervals(intervals, corpus)
    videos = _list_videos(corpus)
    folds = _deal_subjects(videos["subject"], n_folds, seed)
    spots = _spot_all(corpus, videos, progress)
    chosen, facts = _test_folds(spots, true, videos, folds)
    table = score_hits(count_hits(chosen, true, videos))
    curve = trace_recall(spots, true, videos)
    reached = [
        max(curve.loc[curve["false_alarms"] <= rate, "recall"], default=0.0)
        for rate in FALSE_ALARM_RATES
    ]
    facts |= {
        "minutes": float(videos["minutes"].sum()),
        "recall_at": dict(zip(map(str, FALSE_ALARM_RATES), reached, strict=True)),
    }
    cautions = tuple(_find_cautions(videos, true))
    run = SpottingRun(Path(out), table, chosen, facts, cautions)
    _write(run, {"n_folds": n_folds, "seed": seed, "corpus_hash": corpus.content_hash()})
    return run


def _list_videos(corpus: Corpus) -> pd.DataFrame:
    done = corpus.manifest[corpus.manifest["status"] == "done"]
    return pd.DataFrame(
        {
            "video_id": done["video_id"],
            "subject": done["subject"].where(done["subject"] != "", done["video_id"]),
            "minutes": done["duration_s"] / 60,
        }
    ).reset_index(drop=True)


def _deal_subjects(subjects: pd.Series, n_folds: int, seed: int) -> list[frozenset[str]]:
    names = sorted(subjects.unique())
    if not 2 <= n_folds <= len(names):
        raise InputError(
            f"`n_folds` must be from 2 to the number of subjects, {len(names)}; received {n_folds}"
        )
    dealt = np.random.default_rng(seed).permutation(names)
    return [frozenset(part.tolist()) for part in np.array_split(dealt, n_folds)]


def _spot_all(corpus: Corpus, videos: pd.DataFrame, progress: ProgressOption) -> pd.DataFrame:
    tables = []
    with tell_progress(progress, "spotting", "videos") as told:
        for n_done, video_id in enumerate(videos["video_id"], 1):
            table = tabulate_spots(spot_expressions(corpus, video_id, threshold=LOWEST))
            table.insert(0, "video_id", video_id)
            tables.append(table)
            if told:
                told(n_done, len(videos), video_id)
    return pd.concat(tables, ignore_index=True)


def _test_folds(
    spots: pd.DataFrame,
    true: pd.DataFrame,
    videos: pd.DataFrame,
    folds: list[frozenset[str]],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Give the spots of each video by its fold's threshold, and how presence was told."""
    best = spots.groupby("video_id")["score"].max().reindex(videos["video_id"], fill_value=0.0)
    shown = videos["video_id"].isin(true["video_id"]).to_numpy()
    kept, thresholds, right = [], [], 0
    for subjects in folds:
        is_test = videos["subject"].isin(subjects).to_numpy()
        training = set(videos["video_id"][~is_test])
        curve = trace_recall(
            spots[spots["video_id"].isin(training)],
            true[true["video_id"].isin(training)],
            videos[~is_test],
        )
        thresholds.append(choose_threshold(curve, THRESHOLD))
        tested = spots["video_id"].isin(videos["video_id"][is_test])
        kept.append(spots[tested & (spots["score"] >= thresholds[-1])])
        presence = choose_presence(best[~is_test].tolist(), shown[~is_test].tolist())
        right += int(((best.to_numpy() >= presence) == shown)[is_test].sum())
    facts = {
        "thresholds": thresholds,
        "presence_accuracy": right / len(videos),
        "presence_most_frequent": float(max(shown.mean(), 1 - shown.mean())),
    }
    return pd.concat(kept).sort_index(), facts


def _find_cautions(videos: pd.DataFrame, true: pd.DataFrame) -> Iterator[str]:
    n_subjects = videos["subject"].nunique()
    if n_subjects < 10:
        yield f"{n_subjects} subjects: the intervals are wide, and others may differ more"
    if videos["video_id"].isin(true["video_id"]).all():
        yield (
            "every video shows an expression, so the false alarms of videos without one are not "
            "measured"
        )
    for kind in KINDS:
        n = int((true["kind"] == kind).sum())
        if n < 20:
            yield f"{n} {kind}-expressions to be found: one more or less moves the score"


def _write(run: SpottingRun, arguments: dict[str, Any]) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("spotting", run.table), ("spots", run.spots)):
        with whole_file(run.folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False)
    told = {"microx": VERSION, **arguments, **run.facts, "cautions": list(run.cautions)}
    with whole_file(run.folder / "spotting.json") as partial:
        partial.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
