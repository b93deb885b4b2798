r"""Train the network that microx ships, and test it on images it never saw.

    microx labels fer2013 FOLDER --out labels.csv
    microx preprocess FOLDER --labels labels.csv --out CORPUS --faces cropped --landmarks dlib \
        --regions face --size 48 --min-face 0
    python examples/pretrain.py CORPUS labels.csv OUT [EPOCHS]

Nine tenths of FER2013's Training images train, the other tenth chooses the epoch, PublicTest is
tested; in `microx labels` these are the parts train and validation. PrivateTest is not read. OUT
gets the result's tables and face.keras, which becomes microx/training/weights/face.keras (and its
SHA-256 that of microx/training/pretrained.py).
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from microx import evaluate, load_corpus
from microx.evaluation.result import write_result
from microx.training.model_file import load_model, save_model
from microx.training.protocol import Protocol

SEED = 0

TRAINING, TESTED = ("train", "training"), ("validation", "publictest")
"""What labels call the two parts of FER2013, in their column part or split."""


def main(corpus: str, labels: str, out: str, epochs: int | None = None) -> None:
    """Train, test, and print accuracy and UF1."""
    folder = Path(out)
    folder.mkdir(parents=True)
    parts = folder / "parts.csv"
    divide(pd.read_csv(labels)).to_csv(parts, index=False)
    result = evaluate(
        load_corpus(corpus),
        regions=("face",),
        protocol=Protocol("list", split_file=str(parts)),
        preset="face_net",
        seed=SEED,
        out=folder,
        epochs=epochs,
        progress=lambda done, n, words: print(f"{done} of {n}: {words}", flush=True),
    )
    write_result(result, folder)
    print(result)
    ship(folder)


def divide(labels: pd.DataFrame) -> pd.DataFrame:
    """Give the images of Training and PublicTest a part each: columns path and part."""
    usage = labels["part" if "part" in labels else "split"].str.lower()
    training, tested = labels[usage.isin(TRAINING)], labels[usage.isin(TESTED)]
    if training.empty or tested.empty:
        sys.exit("labels: expected images of FER2013's Training and PublicTest; a part is empty")
    train, validation = train_test_split(
        training, test_size=0.1, random_state=SEED, stratify=training["emotion"]
    )
    named = ((train, "train"), (validation, "validation"), (tested, "test"))
    return pd.concat([rows[["path"]].assign(part=part) for rows, part in named])


def ship(folder: Path) -> None:
    """Write face.keras: the same network, for faces of any video rather than cropped ones."""
    model, facts = load_model(folder / "fold_0.keras")
    recipe = {name: facts.recipe[name] for name in ("landmarks", "size", "policy", "margin")}
    save_model(model, folder / "face.keras", replace(facts, recipe=recipe, sources=("FER2013",)))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: python examples/pretrain.py CORPUS LABELS OUT [EPOCHS]")
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
