"""What each region adds: Shapley values from one model that tolerates missing regions.

    python examples/region_values.py CORPUS RUN

The model is trained once per seed and tested with every subset of its regions. A region's value
is what it adds on average; the values add up to what all regions score above chance. The rows
"trained alone" show what the shared model loses against one trained on that region only.
"""

import sys

from microx import load_corpus, run_experiment
from microx.evaluation.summary import region_values


def main(corpus: str, out: str) -> None:
    """Test every subset and print the value of each region, over all and per emotion."""
    run = run_experiment("subsets", load_corpus(corpus), out, n_seeds=3)
    print(region_values(run.rows).round(3).to_string())
    print(run.table[["name", "accuracy", "accuracy_sd"]].to_string(index=False))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/region_values.py CORPUS RUN")
    main(*sys.argv[1:])
