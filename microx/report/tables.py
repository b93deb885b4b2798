"""A run's scores as rows of text, ready for a page, a Markdown file or LaTeX.

Nothing is scored here: `microx.evaluation.summary` and `microx.evaluation.metrics` have done it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microx.evaluation.baselines import GUESSES
from microx.evaluation.metrics import next_emotion_table, per_class_scores, two_by_two
from microx.evaluation.result import EvaluationResult
from microx.evaluation.statistics import holm, mcnemar_p
from microx.evaluation.summary import SCORES, compare_rows, measure_gap, same_clips
from microx.experiments.ablations import ALONE
from microx.experiments.replicate import pool_seeds, reproduction_table
from microx.experiments.run import Run
from microx.report.cautions import (
    NONE,
    bare_name,
    group_of,
    is_leaky,
    is_shuffled,
    main_row,
    marked,
    percent,
)

MORE_SCORES = {
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "macro_precision": "macro precision",
    "top2": "top-2 accuracy",
    "ece": "calibration error",
}
"""Columns of `results_table` that a page folds away, and their titles."""

_TITLES = ("accuracy", "UAR", "UF1")

Pair = tuple[Sequence[EvaluationResult], Sequence[EvaluationResult]]
"""A row and what it is compared with, a result a seed each."""


def points(share: float) -> str:
    r"""Write a difference of two shares in percentage points, with its sign.

    Examples
    --------
    >>> points(0.124), points(-0.05), points(float("nan"))
    ('+12', '\u22125', '\u2013')
    """
    if math.isnan(share):
        return NONE
    rounded = round(100 * share)
    return "0" if rounded == 0 else f"{rounded:+d}".replace("-", "\u2212")


def small_number(p: float) -> str:
    """Write a p-value with three decimals.

    Examples
    --------
    >>> small_number(0.03125), small_number(0.0002)
    ('0.031', '< 0.001')
    """
    if math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def honest_ends(run: Run) -> pd.DataFrame:
    """Give the run's table without intervals of leaky rows, which do not hold for new subjects."""
    table = run.table.copy()
    leaky = [name in run.rows and is_leaky(run.rows[name][0]) for name in table["name"]]
    ends = [f"{score}_{end}" for score in SCORES for end in ("low", "high")]
    table.loc[leaky, ends] = np.nan
    return table


def score_rows(run: Run) -> list[dict[str, Any]]:
    """Give the table of scores as text, baselines last.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of dict
        ``name`` (of a leaky row without its mark), ``note`` (its regions), ``kind`` (``""``,
        ``"shuffled"`` or ``"guess"``), ``leaky``, ``main``; ``clips``, a cell for each of `SCORES`
        with ``text`` and ``interval``, an en dash where the row is leaky or the interval nan;
        ``spread`` of the accuracy over seeds, in points; ``videos`` and ``more``, texts.
    """
    main = main_row(run.rows)
    notes = {name: _note(results[0]) for name, results in run.rows.items()}
    if len(set(notes.values())) == 1:  # they say nothing then
        notes = {}
    rows = []
    for _, row in honest_ends(run).iterrows():
        results = run.rows.get(str(row["name"]))
        first = results[0] if results else None
        leaky = first is not None and is_leaky(first)
        n_videos = len((first or run.rows[main][0]).by_video().y_true)
        rows.append(
            {
                "name": bare_name(row["name"]) if leaky else row["name"],
                "note": notes.get(row["name"], ""),
                "kind": "guess" if first is None else "shuffled" if is_shuffled(first) else "",
                "leaky": leaky,
                "main": row["name"] == main,
                "n_train": f"{row['n_train']:,}",
                "n_test": f"{row['n_test']:,}",
                "clips": [_cell(row, score) for score in SCORES],
                "spread": _spread(row),
                "videos": [percent(row[f"video_{score}"], n_videos) for score in SCORES],
                "more": [percent(row[score], row["n_test"]) for score in MORE_SCORES],
                "n_parameters": f"{row['n_parameters']:,}" if row["n_parameters"] else NONE,
            }
        )
    return rows


def _note(result: EvaluationResult) -> str:
    """The regions that a row sees, unless its name lists them."""
    seen = [name for name in result.regions if name not in result.facts.without]
    return "" if "+".join(seen) == bare_name(result.name) else " + ".join(seen)


def _cell(row: pd.Series, score: str) -> dict[str, str]:
    n = int(row["n_test"])
    interval = interval_in_words(row[f"{score}_low"], row[f"{score}_high"], n)
    return {
        "text": percent(row[score], n),
        "interval": "" if row["name"] in GUESSES else interval,
    }


def _spread(row: pd.Series) -> str:
    """The accuracy's standard deviation over seeds, in points."""
    sd = float(row["accuracy_sd"])
    return "" if math.isnan(sd) or row["name"] in GUESSES else f"± {100 * sd:.1f}"


def interval_in_words(low: float, high: float, n: int = 0) -> str:
    r"""Write an interval of shares in per cent; an en dash where there is none.

    Examples
    --------
    >>> interval_in_words(0.52, 0.71), interval_in_words(float("nan"), float("nan"))
    ('52\u201371', '\u2013')
    """
    if math.isnan(low) or math.isnan(high):
        return NONE
    ends = [percent(end, n).removesuffix("\xa0%") for end in (low, high)]
    return NONE.join(ends)


def recall_rows(run: Run) -> list[dict[str, Any]]:
    """Give the recall of every emotion by every row, as text and as a share for shading."""
    main = main_row(run.rows)
    classes = run.rows[main][0].classes
    rows = []
    for _, row in run.table.iterrows():
        results = run.rows.get(str(row["name"]), run.rows[main])
        support = np.bincount(results[0].y_true, minlength=len(classes))
        cells = [
            {
                "text": percent(row[f"recall_{name}"], int(n)),
                "share": 0.0 if np.isnan(row[f"recall_{name}"]) else row[f"recall_{name}"],
            }
            for name, n in zip(classes, support, strict=True)
        ]
        name = str(row["name"])
        leaky = name in run.rows and is_leaky(results[0])
        shown = bare_name(name) if leaky else name
        rows.append({"name": shown, "cells": cells, "leaky": leaky, "main": name == main})
    return rows


def comparison_rows(
    pairs: Mapping[str, Pair], elsewhere: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Compare rows by subject: difference, interval and tests, or why there are none.

    Parameters
    ----------
    pairs : mapping of str to (results, reference)
        What a line is called, to a row and what it is compared with, each a result a seed; of one
        run or of two.
    elsewhere : collection of str
        Lines whose two rows are not of the same corpus: subject 1 of one is another subject in
        the other.

    Returns
    -------
    list of dict
        ``name``, ``leaky``; ``difference`` and ``interval`` in points of accuracy; ``p``,
        ``p_holm`` (Holm, over all the pairs), ``mcnemar`` (p by clip, of one seed each) and
        ``detectable``; ``why_not``, where some of these are missing.
    """
    tests = [None if name in elsewhere else _test(*pair) for name, pair in pairs.items()]
    corrected = holm([np.nan if test is None else test["p"] for test in tests])
    lines = []
    for (name, pair), test, p_holm in zip(pairs.items(), tests, corrected, strict=True):
        leaky = any(is_leaky(results[0]) for results in pair)
        line = {"name": bare_name(name) if leaky else name, "leaky": leaky}
        if name in elsewhere:
            cells = _NOTHING | {"why_not": "not known to be the same corpus: no comparison"}
        else:
            cells = _untested(*pair) if test is None else _tested(test, p_holm)
        lines.append(line | cells)
    return lines


_NOTHING = dict.fromkeys(("difference", "p", "p_holm", "mcnemar", "detectable"), NONE) | {
    "interval": ""
}


def _test(
    results: Sequence[EvaluationResult], reference: Sequence[EvaluationResult]
) -> dict[str, Any] | None:
    """Test two rows, if they are of the same emotions, clips and number of seeds."""
    if results[0].classes != reference[0].classes:
        return None
    found = compare_rows({"row": results, "reference": reference}, "reference")
    if found.empty:
        return None
    by_clip = mcnemar_p(*map(_rights, (results[0], reference[0])))
    return dict(found.iloc[0]) | {"mcnemar": by_clip if len(results) == 1 else np.nan}


def _rights(result: EvaluationResult) -> npt.NDArray[np.bool_]:
    """Whether each clip was predicted correctly, in an order that two results of them share."""
    order = np.lexsort((result.fold, result.clip_id))
    return np.asarray(result.y_pred == result.y_true)[order]


def _tested(test: Mapping[str, Any], p_holm: float) -> dict[str, Any]:
    return {
        "difference": points(test["difference"]),
        "interval": _interval_of_points(test["low"], test["high"]),
        "p": small_number(test["p"]),
        "p_holm": small_number(p_holm),
        "mcnemar": small_number(test["mcnemar"]),
        "detectable": points(test["detectable"]).removeprefix("+"),
        "why_not": "",
    }


def _untested(
    results: Sequence[EvaluationResult], reference: Sequence[EvaluationResult]
) -> dict[str, Any]:
    if results[0].classes != reference[0].classes:
        return _NOTHING | {"why_not": "different emotions: no comparison"}
    gap, low, high, n_shared = measure_gap(results, reference)
    unit = group_of(results[0])
    if n_shared < 2:
        shared = f"no {unit}" if n_shared == 0 else f"one {unit} only"
        return _NOTHING | {"why_not": f"both tested {shared}: no comparison"}
    same = same_clips(results[0], reference[0])
    what = "different number of seeds" if same else "different clips"
    return _NOTHING | {
        "difference": points(gap),
        "interval": _interval_of_points(low, high),
        "why_not": f"{what}; interval over the {n_shared} {unit}s tested in both, no test",
    }


def _interval_of_points(low: float, high: float) -> str:
    return NONE if math.isnan(low) else f"{points(low)} to {points(high)}"


def note_on_tests(main: Sequence[EvaluationResult]) -> str:
    """Say what a few subjects can show: no p is below 2 / 2**S; ``""`` from six on."""
    n_subjects = len(np.unique(main[0].group))
    if n_subjects >= 6:
        return ""
    unit = group_of(main[0])
    return (
        f"With {n_subjects} {unit}{'' if n_subjects == 1 else 's'} no p can fall below "
        f"{min(2 / 2**n_subjects, 1):.2g}: this test set cannot show any difference."
    )


def oracle_rows(run: Run) -> list[dict[str, Any]]:
    """Give by how much choosing the epoch on the test clips would have raised each row.

    Only the gap is given, never what the oracle scored: that is no result.
    """
    rows = []
    for name, oracles in run.oracles.items():
        if name in run.rows:
            gap, low, high, _ = measure_gap(oracles, run.rows[name])
            leaky = is_leaky(run.rows[name][0])
            interval = _interval_of_points(low, high)
            cells = {"gap": points(gap), "interval": interval if gap else NONE}
            rows.append({"name": bare_name(name) if leaky else name, "leaky": leaky} | cells)
    return rows


def alone_rows(run: Run) -> list[dict[str, Any]]:
    """Set regions that were trained alone beside the shared model that sees only them.

    Returns
    -------
    list of dict
        ``name``, ``shared`` and ``alone`` as text; empty where the run has no such pair.
    """
    accuracy = run.table.set_index("name")["accuracy"]
    rows = []
    for name in run.rows:
        region = name.removesuffix(ALONE)
        if region != name and region in run.rows:
            texts = {"shared": percent(accuracy[region]), "alone": percent(accuracy[name])}
            rows.append({"name": region, **texts})
    return rows


def emotion_rows(results: Sequence[EvaluationResult]) -> list[dict[str, Any]]:
    """Give each emotion against all others: counts, precision, recall and F1, all seeds pooled."""
    y_true, y_prob = pool_seeds(results)
    y_pred, classes = np.argmax(y_prob, axis=1), results[0].classes
    counts = two_by_two(y_true, y_pred, classes)[["TP", "FP", "FN", "TN"]].to_numpy(int)
    scores = per_class_scores(y_true, y_pred, classes)[["precision", "recall", "f1"]]
    return [
        {
            "name": name,
            "counts": [f"{n:,}" for n in of_class],
            "scores": [percent(value) for value in how_well],
        }
        for name, of_class, how_well in zip(classes, counts, scores.to_numpy(float), strict=True)
    ]


def next_rows(results: Sequence[EvaluationResult]) -> list[dict[str, Any]]:
    """Give the second most likely emotion for each predicted one, in shares, all seeds pooled."""
    _, y_prob = pool_seeds(results)
    table = next_emotion_table(np.argmax(y_prob, axis=1), y_prob, results[0].classes)
    return [
        {
            "name": name,
            "cells": [
                {"text": percent(share), "share": 0.0 if math.isnan(share) else share}
                for share in row
            ],
        }
        for name, row in zip(table.index, table.to_numpy(float), strict=True)
    ]


def reproduction_rows(run: Run) -> list[dict[str, str]]:
    """Set a paper's numbers beside ours; empty of a run that is no whole `reproduce`."""
    if not str(run.about.get("experiment")).startswith("reproduce ") or run.unfinished:
        return []
    table = reproduction_table(run)
    shares = table[["published", "leaky", "honest"]].to_numpy(float)
    return [
        {
            "table": table_name,
            "name": f"{row}, {metric}",
            **dict(zip(("published", "as_published", "honest"), map(_decimal, line), strict=True)),
            "interval": NONE if math.isnan(low) else f"{_decimal(low)} to {_decimal(high)}",
        }
        for table_name, row, metric, line, low, high in zip(
            table["table"], table["row"], table["metric"], shares,
            table["honest_low"], table["honest_high"], strict=True,
        )
    ]  # fmt: skip


def _decimal(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}"


def number_table(run: Run) -> pd.DataFrame:
    """Give `microx.evaluation.summary.results_table` with what each line is, for a CSV file."""
    rows = score_rows(run)
    table = honest_ends(run)
    table.insert(1, "kind", [row["kind"] or "result" for row in rows])
    table["leaky"] = [row["leaky"] for row in rows]
    # A baseline is not trained: it has no seeds.
    table["n_seeds"] = table["n_seeds"].astype("Int64").mask(table["kind"] == "guess")
    return table


def shown_table(run: Run) -> pd.DataFrame:
    """Give the table of scores as text for Markdown and LaTeX; intervals in brackets."""
    rows = []
    for row in score_rows(run):
        cells = [
            f"{cell['text']} ({cell['interval']})" if cell["interval"] else cell["text"]
            for cell in row["clips"]
        ]
        rows.append(
            {"row": marked(row["name"], row["leaky"])}
            | dict(zip(_TITLES, cells, strict=True))
            | {"seeds": row["spread"] or NONE}
            | {f"{title} by video": n for title, n in zip(_TITLES, row["videos"], strict=True)}
            | {"clips tested": row["n_test"]}
        )
    return pd.DataFrame(rows)


def shown_comparison(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Give `comparison_rows` as text for Markdown and LaTeX."""
    table = pd.DataFrame(
        [
            {
                "row": marked(line["name"], line["leaky"]),
                "difference in accuracy (points)": line["difference"],
                "95 % interval": line["interval"] or NONE,
                "p": line["p"],
                "p (Holm)": line["p_holm"],
                "McNemar's p": line["mcnemar"],
                "minimum detectable difference": line["detectable"],
                "remark": line["why_not"],
            }
            for line in lines
        ]
    )
    return table if any(line["why_not"] for line in lines) else table.drop(columns="remark")
