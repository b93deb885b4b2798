"""Scores of networks of motion, on the selection half of the subjects and on the other.

    microx preprocess CASME2 --corpus casme2 --regions face --size 128 --out CORPUS
    microx experiment motion CORPUS --protocol loso --seeds 3 --out RUN
    python examples/micro_expressions.py RUN

The defaults of the network `motion` were chosen on every other subject of CASME II, in the order of
their names, beginning with the first. What it scores on these is too hopeful; on the others it is
not. Each row is compared with a support vector machine on the same clips.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from microx import read_run
from microx.evaluation.metrics import uf1_score
from microx.evaluation.result import EvaluationResult
from microx.evaluation.statistics import permutation_test, subject_counts
from microx.markup import to_markdown

BASELINE = "flow+svm"


def main(folder: Path) -> None:
    """Print a table: a line for each row of the run."""
    run = read_run(folder)
    subjects = np.unique(run.rows[BASELINE][0].subject)
    halves = {"selection half": subjects[::2], "other half": subjects[1::2], "all": subjects}
    lines = []
    for name, results in run.rows.items():
        line = {"row": name}
        for half, members in halves.items():
            scores = [_uf1(result, members) for result in results]
            spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
            line[half] = f"{np.mean(scores):.3f}{spread}"
            if half != "selection half" and name != BASELINE:
                counts, theirs = (_counts(r, members) for r in (results, run.rows[BASELINE]))
                line[f"p, {half}"] = f"{permutation_test(counts, theirs, 'uf1'):.4f}"
        lines.append(line)
    print(to_markdown(pd.DataFrame(lines).fillna("")))


def _uf1(result: EvaluationResult, subjects: np.ndarray) -> float:
    of_half = np.isin(result.subject, subjects)
    n_classes = len(result.classes)
    return uf1_score(result.y_true[of_half], result.y_pred[of_half], n_classes)


def _counts(results: tuple[EvaluationResult, ...], subjects: np.ndarray) -> np.ndarray:
    """Confusions of each seed and subject, (R, S, K, K)."""
    each = []
    for result in results:
        of_half = np.isin(result.subject, subjects)
        y_true, y_pred = result.y_true[of_half], result.y_pred[of_half]
        each.append(subject_counts(y_true, y_pred, result.subject[of_half], len(result.classes)))
    return np.stack(each)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
