"""What a mask costs, and what training with masks gives back.

    python examples/masks.py CORPUS RUN

Masks are drawn on the faces of subjects the model never saw; no mask is one used in training.
"""

import sys

from microx import load_corpus, run_experiment


def main(corpus: str, out: str) -> None:
    """Train and test with and without masks."""
    run = run_experiment("mask", load_corpus(corpus), out, n_seeds=3)
    print(run.table[["name", "accuracy", "accuracy_sd", "uar"]])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/masks.py CORPUS RUN")
    main(*sys.argv[1:])
