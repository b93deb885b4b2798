"""Several runs side by side: their rows, how they differ by subject, and what else differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from microx.evaluation.result import EvaluationResult
from microx.experiments.run import Run
from microx.report import tables
from microx.report.cautions import NONE, bare_name, find_cautions, is_shuffled, main_row
from microx.report.protocol import in_words

CROP_POLICY = "recipe: policy"


def compare_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the page of several runs says.

    Parameters
    ----------
    runs : sequence of Run
        At least two. The first is what the others are compared with.

    Returns
    -------
    dict
        For the template ``comparison.html.j2``.
    """
    names = _name_runs(runs)
    named = dict(zip(names, runs, strict=True))
    pairs, elsewhere = _pair_rows(named)
    lines = tables.comparison_rows(pairs, elsewhere)
    differing = list_differences(named)
    numbers = pd.concat([tables.number_table(run).assign(run=name) for name, run in named.items()])
    return {
        "title": " against ".join(names) if len(names) == 2 else f"{len(names)} runs compared",
        "names": names,
        "headline": _in_a_sentence(named, lines),
        "cautions": _join_cautions(named),
        "unfinished": {name: run.unfinished for name, run in named.items() if run.unfinished},
        "protocol": [],
        "seeds": any(len(results) > 1 for run in runs for results in run.rows.values()),
        "scores": {
            name: list(filter(_is_shown, tables.score_rows(run))) for name, run in named.items()
        },
        "comparison": lines,
        "differing": differing,
        "crop_policy": any(line["what"] == CROP_POLICY for line in differing),
        "comparable": None,
        "plain": _tabulate(named, lines, differing),
        "numbers": numbers[["run", *numbers.columns.drop("run")]],
        "version": runs[0].about.get("microx", ""),
    }


def _join_cautions(runs: dict[str, Run]) -> list[str]:
    """The cautions of all runs, each listed once with the runs it is about."""
    about: dict[str, list[str]] = {}
    for name, run in runs.items():
        for text in find_cautions(run.rows):
            about.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in about.items()]


def _tabulate(
    runs: dict[str, Run], lines: Sequence[dict[str, Any]], differing: Sequence[dict[str, Any]]
) -> list[tuple[str, pd.DataFrame]]:
    """The tables for Markdown and LaTeX, each with its title."""
    scores = []
    for name, run in runs.items():
        table = tables.shown_table(run)
        table.insert(0, "run", name)
        scores.append(table)
    found = [("Scores", pd.concat(scores)), ("Runs compared", tables.shown_comparison(lines))]
    if differing:
        rows = [[line["what"], *line["values"]] for line in differing]
        found.append(("What else differs", pd.DataFrame(rows, columns=["what", *runs])))
    return found


def _name_runs(runs: Sequence[Run]) -> list[str]:
    """Call runs by their folders, and by the whole path where two have the same name."""
    short = [run.folder.resolve().name for run in runs]
    often = Counter(short)
    whole = [run.folder.resolve().as_posix() for run in runs]
    names = [name if often[name] == 1 else path for name, path in zip(short, whole, strict=True)]
    again = Counter(names)  # one run may be given twice
    return [f"{name} ({k + 1})" if again[name] > 1 else name for k, name in enumerate(names)]


def _is_shown(row: dict[str, Any]) -> bool:
    return bool(row["kind"] != "guess" or row["name"] == "most_frequent")


def _pair_rows(runs: dict[str, Run]) -> tuple[dict[str, tables.Pair], set[str]]:
    """Pair each run's rows with those of the same name in the first run, else the main rows.

    Also returns the pairs that are not of the same corpus.
    """
    (first, reference), *others = runs.items()
    pairs: dict[str, tables.Pair] = {}
    elsewhere: set[str] = set()
    for name, run in others:
        before = set(pairs)
        alike = [
            row
            for row, results in run.rows.items()
            if row in reference.rows and not is_shuffled(results[0])
        ]
        for row in alike:
            pairs[f"{name} against {first}: {row}"] = (run.rows[row], reference.rows[row])
        if not alike:
            one, other = main_row(run.rows), main_row(reference.rows)
            label = f"{name} against {first}: {bare_name(one)} against {bare_name(other)}"
            pairs[label] = (run.rows[one], reference.rows[other])
        if not _same_corpus(run, reference):
            elsewhere |= set(pairs) - before
    return pairs, elsewhere


def _same_corpus(one: Run, other: Run) -> bool:
    """Whether two runs are about the same videos and labels, however they were cropped."""
    hashes = {run.about.get("corpus", {}).get("manifest_hash") for run in (one, other)}
    return len(hashes) == 1 and None not in hashes


def _in_a_sentence(runs: dict[str, Run], lines: Sequence[dict[str, Any]]) -> str:
    n_tested = sum(line["p"] != NONE for line in lines)
    which = "all" if n_tested == len(lines) else f"{n_tested} of {len(lines)}"
    return (
        f"{len(runs)} runs, compared by subject with {next(iter(runs))}: rows of the same name, or "
        f"the main rows where there are none. A paired test was possible in {which} comparisons: "
        f"it needs the same corpus, the same clips of the same subjects, and as many seeds."
    )


def list_differences(runs: dict[str, Run]) -> list[dict[str, Any]]:
    """List the arguments, recipes and corpora that are not the same in all runs.

    Parameters
    ----------
    runs : dict of str to Run

    Returns
    -------
    list of dict
        ``what`` and ``values``, a text a run; those of the recipe, how crops are cut, come first.
    """
    facts = [_flatten(run) for run in runs.values()]
    keys = dict.fromkeys(key for each in facts for key in each)
    lines = [{"what": key, "values": [each.get(key, NONE) for each in facts]} for key in keys]
    return [line for line in lines if len(set(line["values"])) > 1]


def _flatten(run: Run) -> dict[str, str]:
    main: EvaluationResult = run.rows[main_row(run.rows)][0]
    facts, about = main.facts, run.about
    corpus = about.get("corpus", {})
    found = {f"recipe: {key}": value for key, value in facts.recipe.items()}
    found |= {
        "corpus": corpus.get("folder"),
        "content hash": corpus.get("manifest_hash"),
        "videos": corpus.get("n_videos"),
        "clips": corpus.get("n_clips"),
        "emotions": main.classes,
        "experiment": about.get("experiment"),
        "protocol": facts.protocol,
        "subjects tested": sorted(set(main.group.tolist())),
        "seeds": about.get("seeds"),
        "preset": facts.preset,
    }
    found |= {f"setting: {key}": value for key, value in facts.arguments.as_dict().items()}
    found |= {f"version: {key}": value for key, value in facts.versions.items()}
    return {key: in_words(value) for key, value in found.items() if value is not None}
