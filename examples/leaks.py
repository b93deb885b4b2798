"""What a leak adds to the score, where the leak is known.

    python examples/leaks.py OUT

Draws subjects with confounds: the look of a subject reveals the emotion, but only within that
subject. A split by clips rewards memorising it; a split by subject does not.
"""

import sys
from pathlib import Path

from microx import build_corpus, draw_corpus, read_labels, run_experiment
from microx.evaluation.summary import measure_gap
from microx.experiments.ablations import HONEST_ROW, LEAKY_ROW


def main(out: Path) -> None:
    """Draw subjects with and without confounds, and print what the leaky split adds."""
    for confounds in (True, False):
        place = out / ("confounds" if confounds else "none")
        file = draw_corpus(place / "videos", n_subjects=12, confounds=confounds, n_workers=-1)
        labels = read_labels(file.parent, file, label_set="microx7")
        corpus = build_corpus(labels, place / "corpus", n_workers=-1)
        run = run_experiment("inflation", corpus, place / "run")
        gap, low, high, n = measure_gap(run.rows[LEAKY_ROW], run.rows[HONEST_ROW])
        interval = f"{low:+.3f} to {high:+.3f}, {n} subjects"
        print(f"confounds {confounds}: {gap:+.3f} ({interval})", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/leaks.py OUT")
    main(Path(sys.argv[1]))
