"""How long should a clip be, and how densely should clips be taken?

    python examples/clip_lengths.py CORPUS RUN

Rows test different clips of the same subjects, so compare them by video. Changing the length
needs no second pass over the videos: clips are windows over the crops.
"""

import sys

from microx import load_corpus, run_experiment


def main(corpus: str, out: str) -> None:
    """Train on clips of several lengths."""
    run = run_experiment("lengths", load_corpus(corpus), out, n_seeds=3)
    print(run.table[["name", "n_test", "accuracy", "video_accuracy", "video_uar"]])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/clip_lengths.py CORPUS RUN")
    main(*sys.argv[1:])
