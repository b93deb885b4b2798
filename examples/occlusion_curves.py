"""How accuracy falls when more and more faces are partly occluded.

    python examples/occlusion_curves.py CORPUS RUN

Masks, sunglasses, hands, scarves and erased rectangles, on a quarter to all of the test videos;
one model trained on unoccluded faces, one with occluders on four faces of five.
"""

import sys

from microx import load_corpus, run_experiment, write_report


def main(corpus: str, out: str) -> None:
    """Train two models, test each 21 times, and write the report with the curves."""
    run = run_experiment("occlusion", load_corpus(corpus), out)
    print(run.table[["name", "accuracy", "uar"]].to_string(index=False))
    print(write_report(out, corpus))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/occlusion_curves.py CORPUS RUN")
    main(*sys.argv[1:])
