"""Experiments are loops over `microx.evaluation.evaluate`; none has a training loop of its own.

A run folder::

    RUN/run.json                    what was run: arguments, corpus, row names in order
    RUN/results.csv                 one line per row, then the majority baseline
    RUN/rows/<row>/predictions.csv  history.csv  result.json  fold_<k>.keras
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import microx
from microx import metrics
from microx.corpus import Corpus
from microx.errors import InputError
from microx.evaluation import (
    EvaluationResult,
    evaluate,
    is_finished,
    majority_baseline,
    read_result,
    write_result,
)
from microx.files import whole_file
from microx.progress import Progress, part_of
from microx.schema import DEFAULT_REGIONS
from microx.settings import FitSettings
from microx.splits import make_splits

_RUN, _RESULTS = "run.json", "results.csv"

# MicroX paper, tables of single regions and of face against regions; our names.
_PAPER_ROWS: dict[str, tuple[str, ...]] = {region: (region,) for region in DEFAULT_REGIONS} | {
    "regions": tuple(region for region in DEFAULT_REGIONS if region != "face"),
    "regions+face": DEFAULT_REGIONS,
}


def region_sets(kind: str, available: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which regions the rows of an ablation use.

    Parameters
    ----------
    kind : {"all", "paper", "full"}
        One model on every region; the published comparisons; every subset.
    available : sequence of str
        Regions the corpus holds.

    Returns
    -------
    dict of str to tuple of str
        Row name to regions, in the order of the table.

    Raises
    ------
    InputError
        If the kind is unknown or the paper's regions are not all there.

    Examples
    --------
    >>> list(region_sets("full", ("mouth", "face")))
    ['mouth', 'face', 'mouth+face']
    """
    available = tuple(available)
    missing = [region for region in DEFAULT_REGIONS if region not in available]
    if kind == "all":
        name = "+".join(available) if set(available) != set(DEFAULT_REGIONS) else "regions+face"
        return {name: available}
    if kind == "full":
        sizes = range(1, len(available) + 1)
        sets = [chosen for n in sizes for chosen in itertools.combinations(available, n)]
        return {"+".join(chosen): chosen for chosen in sets}
    if kind != "paper":
        raise InputError(f"regions must be all, paper or full; found '{kind}'")
    if missing:
        raise InputError(
            f"the paper's comparisons need {', '.join(DEFAULT_REGIONS)}; the corpus lacks "
            f"{', '.join(missing)}; preprocess again with --regions, or use --regions all"
        )
    return dict(_PAPER_ROWS)


def run_ablation(
    corpus: Corpus,
    out: str | Path,
    *,
    regions: str = "paper",
    protocol: str = "holdout",
    preset: str = "compact",
    seed: int = 0,
    n_folds: int = 5,
    shuffle_labels: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Evaluate a model on each region set; a run that was cut off goes on with its next row.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Run folder, made if missing. Finished rows in it are read, not trained again.
    regions : {"all", "paper", "full"}
        See `region_sets`.
    protocol, preset, seed, n_folds, **settings
        See `microx.evaluation.evaluate`; the same for every row.
    shuffle_labels : bool
        Add a control row: the last region set, its labels dealt out anew among the videos.
        It must score at chance.
    progress : callable, optional
        Called with epochs done, epochs in all rows, and a few words.

    Returns
    -------
    DataFrame
        `results_table`, also in results.csv. The same seed gives the same table.

    Raises
    ------
    InputError
        If `out` holds a run with other arguments or of another corpus; the difference is named.
    SplitError
        If the subjects are too few.
    """
    from microx.dataset import open_clips

    out = Path(out)
    chosen_settings = FitSettings.of(preset, **settings)
    opened, clips = open_clips(corpus, chosen_settings)
    sets = region_sets(regions, corpus.regions)
    rows = [(name, chosen, False) for name, chosen in sets.items()]
    if shuffle_labels:
        name, chosen, _ = rows[-1]
        rows.append((f"{name}, labels shuffled", chosen, True))
    arguments = {
        "regions": regions,
        "protocol": protocol,
        "preset": preset,
        "seed": seed,
        "n_folds": n_folds,
        "shuffle_labels": shuffle_labels,
    } | {name: value for name, value in settings.items() if value is not None}
    # Too few people is said before the folder is claimed.
    make_splits(clips, protocol, seed=seed, n_folds=n_folds)
    about = {"arguments": arguments, "settings": chosen_settings.as_dict()}
    _start_run(out, opened, clips, about, {name: list(chosen) for name, chosen, _ in rows})
    results = []
    for k, (name, chosen, shuffled) in enumerate(rows):
        folder = row_folder(out, name)
        if not is_finished(folder):
            result = evaluate(
                corpus,
                regions=chosen,
                protocol=protocol,
                preset=preset,
                seed=seed,
                n_folds=n_folds,
                shuffle_labels=shuffled,
                name=name,
                out=folder,
                progress=part_of(progress, k, len(rows), f"{name}: "),
                **settings,
            )
            write_result(result, folder)
        results.append(read_result(folder))
        table = results_table(results)
        with whole_file(out / _RESULTS) as partial:
            table.to_csv(partial, index=False)
    return table


def read_run(
    folder: str | Path,
) -> tuple[dict[str, Any], list[EvaluationResult], pd.DataFrame]:
    """Read a run folder.

    Parameters
    ----------
    folder : path
        What `run_ablation` wrote; an interrupted run gives the rows finished so far.

    Returns
    -------
    run : dict
        run.json: ``rows`` (names in order), ``arguments``, ``corpus``, ``classes`` …
    results : list of EvaluationResult
        The finished rows in the order of ``run["rows"]``, without the baseline.
    table : DataFrame
        `results_table(results)`, the content of results.csv.

    Raises
    ------
    InputError
        If the folder is not a run folder, holds no finished row, or is damaged.
    """
    folder = Path(folder)
    run = _read_run_json(folder)
    finished = [row for row in run["rows"] if is_finished(row_folder(folder, row))]
    if not finished:
        raise InputError(
            f"{folder}: none of the {len(run['rows'])} rows of this run is finished; "
            f"start `microx ablate` again with the same arguments to go on"
        )
    results = [read_result(row_folder(folder, row)) for row in finished]
    return run, results, results_table(results)


def results_table(results: Sequence[EvaluationResult]) -> pd.DataFrame:
    """One line of scores per result, then the majority baseline.

    Parameters
    ----------
    results : sequence of EvaluationResult
        Of one run: same classes, same splits. Empty gives an empty table.

    Returns
    -------
    DataFrame
        Columns name, regions (joined by ``+``), protocol, n_train and n_test (clips; over
        several folds the mean and the sum), accuracy, uar, uf1, recall_<class> …,
        video_accuracy, video_uar, video_uf1, n_parameters. No times: the same seed gives
        the same table.
    """
    rows = [_scores(result) for result in results]
    if results:
        rows.append(_scores(majority_baseline(results[0])))
    return pd.DataFrame(rows)


def row_folder(run_folder: str | Path, row: str) -> Path:
    """Folder of a row within a run, its name made safe for every file system.

    Examples
    --------
    >>> row_folder("RUN", "regions+face, labels shuffled").as_posix()
    'RUN/rows/regions+face_labels_shuffled'
    """
    return Path(run_folder) / "rows" / re.sub(r"[^A-Za-z0-9+_-]+", "_", row)


def _scores(result: EvaluationResult) -> dict[str, Any]:
    n_classes = len(result.classes)
    videos = result.by_video()
    recall = metrics.per_class_recall(result.y_true, result.y_pred, n_classes)
    n_train = result.facts["n_train"]
    return {
        "name": result.name,
        "regions": "+".join(result.regions),
        "protocol": result.facts["protocol"],
        "n_train": round(sum(n_train) / len(n_train)),
        "n_test": len(result.y_true),
        "accuracy": metrics.accuracy_score(result.y_true, result.y_pred),
        "uar": metrics.uar_score(result.y_true, result.y_pred, n_classes),
        "uf1": metrics.uf1_score(result.y_true, result.y_pred, n_classes),
        **{f"recall_{name}": value for name, value in zip(result.classes, recall, strict=True)},
        "video_accuracy": metrics.accuracy_score(videos.y_true, videos.y_pred),
        "video_uar": metrics.uar_score(videos.y_true, videos.y_pred, n_classes),
        "video_uf1": metrics.uf1_score(videos.y_true, videos.y_pred, n_classes),
        "n_parameters": result.facts["n_parameters"],
    }


def _start_run(
    out: Path,
    corpus: Corpus,
    clips: pd.DataFrame,
    about: dict[str, Any],
    rows: dict[str, list[str]],
) -> None:
    """Write run.json, or make sure that the one there says the same."""
    content = clips[["clip_id", "label", "subject"]].to_csv(index=False)
    run: dict[str, Any] = {
        "microx": microx.__version__,
        "rows": list(rows),
        "regions": rows,
        "classes": list(corpus.classes),
        **about,
        "corpus": {
            "recipe_hash": corpus.recipe_hash,
            "n_videos": int(clips["video_id"].nunique()),
            "n_clips": len(clips),
            "clips_hash": hashlib.sha256(content.encode()).hexdigest()[:16],
        },
    }
    if (out / _RUN).exists():
        before = _read_run_json(out)
        for part in ("microx", "arguments", "settings", "corpus", "classes", "rows"):
            _check_same(out, part, before.get(part), run[part])
        return
    # What the corpus holds must stay the same; where it lies, which the report reads, may change.
    run["corpus"] |= {"folder": corpus.folder.name, "path": str(corpus.folder.resolve())}
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / _RUN) as partial:
        partial.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def _check_same(out: Path, part: str, before: Any, now: Any) -> None:
    if isinstance(before, dict) and isinstance(now, dict):
        # Of a corpus, where it lies may change.
        for key in now if part == "corpus" else before | now:
            _check_same(out, f"{part} {key}", before.get(key), now.get(key))
    elif before != now:
        raise InputError(
            f"{out}: holds a run with {part} {before}, now {now}; "
            f"use the same arguments to go on with it, or another folder"
        )


def _read_run_json(folder: Path) -> dict[str, Any]:
    try:
        run = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        return {**run, "rows": list(run["rows"])}
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a run folder ({_RUN} not found); `microx ablate` makes one"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / _RUN}: cannot be read as a run ({error})") from error
