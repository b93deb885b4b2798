"""Adam, RMSprop or SGD, each at its usual rate.

    python examples/optimizers.py CORPUS RUN

The six-convolution paper compares Adam with RMSprop by one run each; here three seeds show
whether a difference is more than chance.
"""

import sys

from microx import load_corpus, run_experiment


def main(corpus: str, out: str) -> None:
    """Train with each optimizer and print accuracy, spread and time."""
    run = run_experiment("optimizers", load_corpus(corpus), out, n_seeds=3)
    print(run.table[["name", "accuracy", "accuracy_sd"]])
    for name, results in run.rows.items():
        seconds = [sum(result.facts.seconds_to_best) for result in results]
        print(f"{name}: {sum(seconds) / len(seconds):.0f} s to the best epoch")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/optimizers.py CORPUS RUN")
    main(*sys.argv[1:])
