"""A paper's experiments reproduced: with its own protocol, and with subjects held out.

Each row is trained twice through `microx.experiments.run.run_grid`: once under the published
protocol, which leaks and is marked LEAKY, and once with subjects held out. Published numbers are
in `microx.experiments.literature`; ours are on another corpus, and the page says what that means.

Besides what the grid writes, a run folder then holds::

    reproduction.csv             published, ours as published, ours honest: a line for each number
    reproduction.md              the same as the paper's tables, and what may be concluded
    confusion_<leaky|honest>.csv       of the main row
    next_emotion_<leaky|honest>.csv    likewise, see `microx.evaluation.metrics.next_emotion_table`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.corpus.corpus import Corpus
from microx.errors import InputError
from microx.evaluation.metrics import confusion_matrix, next_emotion_table
from microx.evaluation.result import LEAKY_MARK, EvaluationResult
from microx.evaluation.summary import measure_gap
from microx.experiments.literature import (
    CNN_CONFUSION,
    CNN_SUPPORT,
    PAPERS,
    PUBLISHED,
    name_corpus,
    tell_comparable,
)
from microx.experiments.replications import RECIPES, Line, Paper
from microx.experiments.run import Run, run_grid
from microx.files import whole_file
from microx.markup import to_markdown
from microx.progress import ProgressOption
from microx.schema import DRAWN
from microx.training.protocol import Protocol

_SIDES = ("leaky", "honest")

_KINDS = {
    "confusion": "Confusion (true emotions down, predicted across, clips)",
    "next_emotion": "Next most likely emotion (predicted emotions down, the second most likely "
    "across, shares of the clips with that prediction)",
}

_NONE = "\u2013"  # an en dash, for a number that does not exist

QUICK_MARK = " (quick)"
"""The end of the name of a table that should not be quoted."""

N_FOLDS = 5
"""Of the honest protocol, as in the paper of the apex-frame network."""

TABLE_COLUMNS = (
    *("table", "row", "metric", "published", "leaky", "honest", "honest_low", "honest_high"),
)


def reproduce(
    paper: str,
    corpus: Corpus,
    out: str | Path,
    *,
    quick: bool = False,
    seed: int = 0,
    n_seeds: int = 1,
    n_workers: int = 1,
    dask: str | None = None,
    progress: ProgressOption = None,
    warn: Callable[[str], None] | None = None,
) -> Run:
    """Reproduce a paper's experiments, as published and honestly, and write its tables.

    Parameters
    ----------
    paper : str
        One of `microx.experiments.literature.PAPERS`.
    corpus : Corpus
        Of at least five subjects, or videos if no subjects are named.
    out : path
        Run folder, made if missing; a run that was cut off continues.
    quick : bool
        Train less than the paper did, to finish on a CPU in minutes; every table says so.
    seed, n_seeds, n_workers, dask, progress, warn
        See `microx.experiments.run.run_grid`.

    Returns
    -------
    Run
        Its tables: `reproduction_table`, `render_reproduction`, also stored in `out`.

    Raises
    ------
    InputError
        If there is no such paper, the corpus lacks a region, or `out` holds another run.
    SplitError
        If there are too few subjects.
    """
    how = _find(paper)
    rows = [
        replace(row, name=row.name + mark, fit={"protocol": protocol, **row.fit})
        for row in how.list_rows(corpus)
        for mark, protocol in ((LEAKY_MARK, how.leaky), ("", "kfold"))
        if mark or "protocol" not in row.fit
    ]
    shared: dict[str, Any] = {"preset": how.preset, **(how.quick if quick else {})}
    run = run_grid(
        corpus,
        out,
        rows,
        experiment=f"reproduce {paper}",
        arguments={"paper": paper, "quick": quick, "corpora": _list_corpora(corpus)},
        protocol=Protocol("kfold", N_FOLDS),
        seed=seed,
        n_seeds=n_seeds,
        n_workers=n_workers,
        dask=dask,
        progress=progress,
        warn=warn,
        **shared,
    )
    write_reproduction(run)
    return run


def reproduction_table(run: Run) -> pd.DataFrame:
    """Published numbers beside ours.

    Parameters
    ----------
    run : Run
        Of `reproduce`.

    Returns
    -------
    DataFrame
        Columns `TABLE_COLUMNS`, a line for each number, nan where there is none; published
        numbers without one of ours are included. Shares are in [0, 1]; honest_low and
        honest_high are the 95 % interval over subjects. The names of a quick run's tables say so.

    Raises
    ------
    InputError
        If the run was not made by `reproduce`.
    """
    paper, how = _paper_of(run)
    lines = how.list_lines(run.about["classes"])
    published = {
        (one.table, one.row, one.metric): one.value for one in PUBLISHED if one.paper == paper
    }
    ours = {(line.table, line.row, line.metric): line for line in lines}
    tables = list(dict.fromkeys(key[0] for key in [*published, *ours]))
    mark = QUICK_MARK if run.about["arguments"]["quick"] else ""
    rows: list[dict[str, Any]] = []
    for key in sorted({**published, **ours}, key=lambda key: tables.index(key[0])):
        measured = {"leaky": np.nan, "honest": np.nan, "honest_low": np.nan, "honest_high": np.nan}
        if key in ours:
            measured |= _measure(run, ours[key])
        names = {"table": key[0] + mark, "row": key[1], "metric": key[2]}
        rows.append(names | {"published": published.get(key, np.nan)} | measured)
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def write_reproduction(run: Run) -> Path:
    """Store the tables in the run's folder.

    Parameters
    ----------
    run : Run
        Of `reproduce`.

    Returns
    -------
    Path
        Of reproduction.md.
    """
    _, how = _paper_of(run)
    with whole_file(run.folder / "reproduction.csv") as partial:
        reproduction_table(run).to_csv(partial, index=False)
    for side in _SIDES:
        for name, table in _class_tables(run, how.main, side).items():
            with whole_file(run.folder / f"{name}_{side}.csv") as partial:
                table.to_csv(partial)
    path = run.folder / "reproduction.md"
    with whole_file(path) as partial:
        partial.write_text(render_reproduction(run), encoding="utf-8")
    return path


def render_reproduction(run: Run) -> str:
    """Write a reproduction as Markdown, beginning with what may be concluded.

    Parameters
    ----------
    run : Run
        Of `reproduce`.

    Returns
    -------
    str
        A page.
    """
    paper, how = _paper_of(run)
    mark = QUICK_MARK if run.about["arguments"]["quick"] else ""
    parts = [f"# {how.title}, reproduced{mark}", *describe_reproduction(run)]
    for name, rows in reproduction_table(run).groupby("table", sort=False):
        name = str(name)
        parts += [f"## {name[0].upper()}{name[1:]}", to_markdown(_as_text(rows))]
        table = name.removesuffix(QUICK_MARK)
        sources = dict.fromkeys(
            one.source for one in PUBLISHED if one.paper == paper and one.table == table
        )
        parts += [f"Published: {'; '.join(sources)}."] if sources else []
    for side, words in zip(_SIDES, ("as published (LEAKY)", "honest"), strict=True):
        for kind, table_of_kind in _class_tables(run, how.main, side).items():
            parts += [f"## {_KINDS[kind]} of “{how.main}”, {words}{mark}"]
            parts += [to_markdown(table_of_kind.map(_number).rename_axis("").reset_index())]
    if paper == "cnn-comparison":
        parts += [
            "## Published confusion (true emotions down, predicted across, images)",
            to_markdown(_published_confusion()),
            "Published: of CNN1. The cell of surprise predicted as sadness is illegible; "
            "it is 0 by its row's support.",
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _published_confusion() -> pd.DataFrame:
    counts = [[str(n) for n in row] for row in CNN_CONFUSION]
    table = pd.DataFrame(counts, list(CNN_SUPPORT), list(CNN_SUPPORT))
    table["tested"] = [str(n) for n in CNN_SUPPORT.values()]
    return table.rename_axis("").reset_index()


def describe_reproduction(run: Run) -> list[str]:
    """Describe the corpora and protocols, and what may be concluded.

    Parameters
    ----------
    run : Run
        Of `reproduce`.

    Returns
    -------
    list of str
        Paragraphs, each "what: sentences".
    """
    paper, how = _paper_of(run)
    quick, corpora = (run.about["arguments"][name] for name in ("quick", "corpora"))
    facts = next(iter(run.rows.values()))[0].facts
    about = run.about["corpus"]
    named = "".join(f", {name}" for name in corpora if name)
    subjects = f"{facts.n_subjects} subjects" if facts.n_subjects else "unnamed subjects"
    kind = "subject" if facts.n_subjects else "video"
    parts = [
        f"Published: measured on {PAPERS[paper]}.",
        f"Ours: measured on the corpus “{about['folder']}”{named}: {about['n_videos']} videos of "
        f"{subjects}, crops of {facts.size} pixels. As published: {how.divided}; LEAKY, since the "
        f"split is not by {kind}. Honest: {run.about['arguments']['n_folds']} folds that share no "
        f"{kind}. Seeds: {len(run.about['seeds'])}.",
        *([f"Quick, not to be quoted: {how.quick_words}"] if quick else []),
        f"What may be concluded: {_conclude(run)}",
    ]
    if how.main in run.rows:
        honest = run.rows[how.main][0]
        told = tell_comparable(honest.facts, corpora, len(np.unique(honest.video_id)))
        parts.append("The honest numbers may be compared: " + " ".join(told.may))
        parts.append("They may not be compared: " + " ".join(told.may_not))
    return [*parts, f"Note: {how.note}"] if how.note else parts


def _find(paper: str) -> Paper:
    if paper not in RECIPES:
        raise InputError(f"paper must be one of {', '.join(RECIPES)}; found '{paper}'")
    return RECIPES[paper]


def _paper_of(run: Run) -> tuple[str, Paper]:
    paper = run.about["arguments"].get("paper")
    if run.about["experiment"] != f"reproduce {paper}":
        raise InputError(
            f"{run.folder}: expected a run of microx reproduce; found {run.about['experiment']}"
        )
    return paper, _find(paper)


def _list_corpora(corpus: Corpus) -> list[str]:
    done = corpus.manifest[corpus.manifest["status"] == "done"]
    return sorted({name_corpus(name) for name in done["corpus"]})


def _measure(run: Run, line: Line) -> dict[str, float]:
    """Take those of a line's numbers that the run has."""
    found: dict[str, float] = {}
    table = {str(row["name"]): row for row in run.table.to_dict("records")}
    for side in line.sides:
        name = line.of + (LEAKY_MARK if side == "leaky" else "")
        if name not in run.rows:
            continue
        if not isinstance(line.measure, str):
            found[side] = line.measure(run.rows[name])
            continue
        found[side] = table[name].get(line.measure, np.nan)
        if side == "honest":
            for end in ("low", "high"):
                found[f"honest_{end}"] = table[name].get(f"{line.measure}_{end}", np.nan)
    return found


def _class_tables(run: Run, main: str, side: str) -> dict[str, pd.DataFrame]:
    """Confusion and next emotion of the main row, its seeds pooled."""
    results = run.rows.get(main + (LEAKY_MARK if side == "leaky" else ""), ())
    if not results:
        return {}
    classes = results[0].classes
    y_true, y_prob = pool_seeds(results)
    y_pred = y_prob.argmax(axis=1)
    counts = confusion_matrix(y_true, y_pred, len(classes))
    confusion = pd.DataFrame(counts, pd.Index(classes, name="true"), list(classes))
    return {"confusion": confusion, "next_emotion": next_emotion_table(y_pred, y_prob, classes)}


def pool_seeds(
    results: Sequence[EvaluationResult],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Pool the predictions of R seeds.

    Parameters
    ----------
    results : sequence of R EvaluationResult, at least one
        Of n clips each.

    Returns
    -------
    y_true : (R n,) int64
    y_prob : (R n, K) float32

    Examples
    --------
    >>> y_true, y_prob = pool_seeds(run.rows["mouth+face"])
    """
    y_true = np.concatenate([result.y_true for result in results])
    return y_true, np.concatenate([result.y_prob for result in results])


def _conclude(run: Run) -> str:
    _, how = _paper_of(run)
    corpora, quick = (run.about["arguments"][name] for name in ("corpora", "quick"))
    told = "the gap between our two columns, which is what the published protocol adds"
    rows = [run.rows.get(how.main + mark) for mark in (LEAKY_MARK, "")]
    if rows[0] and rows[1]:
        gap, low, high, n_groups = measure_gap(rows[0], rows[1])
        both = f"the {n_groups} {rows[1][0].facts.group}s that both tested"
        between = f"95 % interval {low:+.3f} to {high:+.3f} over {both}"
        if np.isnan(low):
            between = f"no interval: {both} are too few or show no spread"
        told += "" if np.isnan(gap) else f": {gap:+.3f} in accuracy for “{how.main}” ({between})"
    if set(corpora) == set(how.corpora) and not quick:
        return (
            f"{told}. By name the corpus is the paper's: if the counts agree, too, the column "
            "as published may be compared with the published one."
        )
    drawn = " Drawn actors are easier to classify than filmed ones." if DRAWN in corpora else ""
    return (
        f"{told}. Not the level: subjects, images and labels are not those of the published "
        f"numbers.{drawn}"
    )


def _as_text(rows: pd.DataFrame) -> pd.DataFrame:
    low, high = rows["honest_low"].map(_number), rows["honest_high"].map(_number)
    return pd.DataFrame(
        {
            "": rows["row"],
            "metric": rows["metric"],
            "published": rows["published"].map(_number),
            "as published (LEAKY)": rows["leaky"].map(_number),
            "honest": rows["honest"].map(_number),
            "honest, 95 %": (low + " to " + high).where(rows["honest_low"].notna(), _NONE),
        }
    )


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return _NONE if np.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
