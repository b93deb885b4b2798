"""What a model loses when a mask occludes nose and mouth, with region dropout and without.

    microx synth actors --subjects 24 --takes 1 --seed 6
    microx preprocess actors --out corpus --label-set microx7
    python examples/missing_regions.py corpus OUT [--seeds 2]

A mask is drawn over the faces of subjects the model never saw; no training face wore one.
The occluded regions are then given as missing: nose, mouth and most of the face.
"""

import argparse
from pathlib import Path

import pandas as pd

from microx import EvaluationResult, evaluate_model, load_corpus, train

MODELS = {
    "dropout 0.5, 15 epochs": {"region_dropout": 0.5, "epochs": 15},
    "compact": {},
    "no region dropout": {"region_dropout": 0.0},
    "nor stream losses": {"region_dropout": 0.0, "auxiliary": 0.0},
}
TESTS = {
    "nothing missing": {},
    "mask drawn": {"occlude": "mask"},
    "no mouth": {"without": ("mouth",)},
    "no nose, no mouth": {"without": ("nose", "mouth")},
    "eyes alone": {"without": ("nose", "mouth", "face")},
    "no eyes": {"without": ("left_eye", "right_eye")},
}


def accuracy(result: EvaluationResult) -> float:
    """Share of correct predictions."""
    return float((result.y_pred == result.y_true).mean())


def main() -> None:
    """Train, test and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    corpus = load_corpus(given.corpus)
    rows = []
    for name, settings in MODELS.items():
        for seed in range(given.seeds):
            folder = given.out / f"{name} {seed}"
            if not (folder / "model.keras").exists():
                train(corpus, folder, seed=seed, **settings)
            rows += [
                {"model": name, "test": test, "seed": seed}
                | {"accuracy": accuracy(evaluate_model(folder, corpus, seed=seed, **missing))}
                for test, missing in TESTS.items()
            ]
    table = pd.DataFrame(rows).pivot_table(
        index="test", columns=["model", "seed"], values="accuracy", sort=False
    )
    table.to_csv(given.out / "missing_regions.csv")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
