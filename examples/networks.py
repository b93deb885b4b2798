"""CNN1, CNN2 and ResNet18 on single images: accuracy, and the time to train.

    python examples/networks.py CORPUS RUN

CORPUS is of photographs or of videos; of videos, every tenth frame is used.
"""

import sys

from microx import load_corpus, run_experiment


def main(corpus: str, out: str) -> None:
    """Train the three and print accuracy, size and time."""
    run = run_experiment("networks", load_corpus(corpus), out)
    table = run.table.set_index("name")
    for name, (result, *_) in run.rows.items():
        row = table.loc[name]
        print(
            f"{name}: accuracy {row['accuracy']:.3f}, {row['n_parameters']:,} parameters, "
            f"{result.facts.seconds:.0f} s"
        )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/networks.py CORPUS RUN")
    main(*sys.argv[1:])
