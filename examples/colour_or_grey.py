"""Colour, grey, difference to the first frame, or optical flow: what should a model read?

    python examples/colour_or_grey.py CORPUS RUN

On ordinary expressions colour and grey are close; on micro-expressions motion (flow,
difference) says more than appearance. Three seeds test the same subjects.
"""

import sys

from microx import load_corpus, run_experiment
from microx.evaluation.summary import compare_rows


def main(corpus: str, out: str) -> None:
    """Train on each kind of pixels and test which differ from colour."""
    run = run_experiment("inputs", load_corpus(corpus), out, n_seeds=3)
    print(run.table[["name", "accuracy", "accuracy_sd", "accuracy_low", "accuracy_high"]])
    print(compare_rows(run.rows, "rgb")[["name", "difference", "low", "high", "p_holm"]])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/colour_or_grey.py CORPUS RUN")
    main(*sys.argv[1:])
