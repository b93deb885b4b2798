"""What a leak is worth, where the answer is known.

    python examples/leaks.py OUT

Draws people with habits of their own: how somebody looks tells the emotion, but only within that
person. A split by clips rewards learning this by heart; a split by people does not.
"""

import sys
from pathlib import Path

from microx import build_corpus, draw_corpus, read_labels, run_experiment
from microx.evaluation.summary import measure_gap
from microx.experiments.ablations import HONEST_ROW, LEAKY_ROW


def main(out: Path) -> None:
    """Draw people with and without habits, and print what the leaky split adds."""
    for habits in (True, False):
        place = out / ("habits" if habits else "none")
        file = draw_corpus(place / "videos", n_subjects=12, habits=habits, n_workers=-1)
        labels = read_labels(file.parent, file, label_set="microx7")
        corpus = build_corpus(labels, place / "corpus", n_workers=-1)
        run = run_experiment("inflation", corpus, place / "run")
        gap, low, high, n = measure_gap(run.rows[LEAKY_ROW], run.rows[HONEST_ROW])
        print(f"habits {habits}: {gap:+.3f} ({low:+.3f} to {high:+.3f}, {n} people)", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/leaks.py OUT")
    main(Path(sys.argv[1]))
