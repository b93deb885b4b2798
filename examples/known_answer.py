"""Does an ablation find the regions that carry the emotion, where these are known?

    python examples/known_answer.py out

Draws two corpora of the same actors: in one only the mouth acts, in the other only the eyes.
Then it trains a model on the mouth alone and on each eye alone. The region that acts must
predict the emotion; the others must be near chance, 1/7.
"""

import sys
from pathlib import Path

import pandas as pd

from microx import build_corpus, draw_corpus, evaluate, read_labels
from microx.evaluation.metrics import accuracy_score


def main(out: Path, n_subjects: int = 12, seed: int = 0) -> None:
    """Draw, preprocess, train and print accuracy on subjects never seen, per moving region."""
    rows = []
    for name, moving in (("mouth", ["mouth"]), ("eyes", ["left_eye", "right_eye"])):
        labels_file = draw_corpus(
            out / name / "videos",
            n_subjects=n_subjects,
            moving_regions=moving,
            seed=seed,
            n_workers=-1,
        )
        labels = read_labels(labels_file.parent, labels_file, label_set="microx7")
        corpus = build_corpus(labels, out / name / "corpus", n_workers=-1)
        row = {"what moves": name}
        for region in ("mouth", "left_eye", "right_eye"):
            result = evaluate(corpus, regions=[region], seed=seed)
            row[f"{region} alone"] = accuracy_score(result.y_true, result.y_pred)
        rows.append(row)
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/known_answer.py OUT")
    main(Path(sys.argv[1]))
