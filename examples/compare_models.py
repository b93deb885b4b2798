"""Compare ways of building and training the compact model, and the paper's, on drawn subjects.

Each case is trained on some subjects of each corpus and tested on others, once per seed; the
seed also decides the split. Rows go to a CSV as they are done, so a run can be interrupted.

    python examples/compare_models.py OUT CORPUS … [--cases "compact;paper"] [--workers 2]

The corpora of docs/models.md: for K in macro micro, with and without --mask (24 subjects where
micro is masked),

    microx synth K/videos --subjects 12 --takes 1 --seed 5 --intensity K [--mask]
    microx preprocess K/videos --out K/corpus --label-set microx7
"""

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from keras import layers, ops

from microx import models
from microx.corpus.corpus import load_corpus
from microx.evaluation.evaluate import evaluate
from microx.models import build_microx, multistream
from microx.models.conv_lstm import ConvLSTM
from microx.models.streams import ClipNormalization, add_change
from microx.training.backend import load_keras


def stream(
    x: Any,
    name: str,
    n_classes: int,
    *,
    filters: tuple[int, ...] = (16, 24, 32),
    norm: str = "clip",
    memory: int = 32,
    head: str = "cells",
    dropout: float = 0.3,
) -> Any:
    """The compact stream with some parts replaced."""
    n_frames = x.shape[1]
    for n_filters in filters:
        x = layers.Conv2D(n_filters, 3, 2, padding="same")(ops.reshape(x, (-1, *x.shape[2:])))
        x = layers.BatchNormalization(momentum=0.9)(x) if norm == "batch" else x
        x = ops.reshape(x, (-1, n_frames, *x.shape[1:]))
        if norm == "clip":
            x = ClipNormalization()(x)
        elif norm == "group":
            x = layers.GroupNormalization(4, center=False, scale=False)(x)
        x = layers.ReLU()(x)
    x = ConvLSTM(memory, 3)(x) if memory else ops.mean(x, axis=1)
    cells = x.shape[1] if head == "mean" else max(1, x.shape[1] // 2)
    x = layers.Flatten()(layers.AveragePooling2D(cells, padding="same")(x))
    x = layers.Dropout(dropout)(x)
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name=f"{name}_softmax")(x)


def built(**parts: Any) -> dict[str, Any]:
    """A case of the compact model with other parts."""
    return {"block": partial(stream, **parts)}


_PAPER = {
    **{"preset": "paper", "epochs": 10, "batch_size": 8, "optimizer": "adam", "patience": 4},
    **{"learning_rate": 3e-4, "schedule": "cosine", "label_smoothing": 0.1, "augment": "flip"},
    "build": {"raw_pixels": False},  # as the figures of docs/models.md were made
}

CASES: dict[str, dict[str, Any]] = {
    "compact": {},
    "paper": {"preset": "paper", "epochs": 30},
    "paper's network, batches of 32": _PAPER | {"batch_size": 32},
    "paper's network, batches of 8": _PAPER,
    # The network.
    "normalised by groups": built(norm="group"),
    "normalised by batches": built(norm="batch"),
    "not normalised": built(norm="none"),
    "half the filters": built(filters=(8, 12, 16), memory=16),
    "twice the filters": built(filters=(32, 48, 64), memory=64),
    "two strides, not three": built(filters=(16, 32)),
    "mean over time, no ConvLSTM": built(memory=0),
    "mean over place": built(head="mean"),
    "dropout 0.5": built(dropout=0.5),
    "no change since the first frame": {"change": {"scale": 0}},
    "change pixel by pixel, any counts": {"change": {"side": 1, "least": 0}},
    "any change counts": {"change": {"least": 0}},
    "change from 0.05": {"change": {"least": 0.05}},
    "change 4 times": {"change": {"scale": 4}},
    "change 20 times": {"change": {"scale": 20}},
    # What it reads.
    "grey": {"inputs": "grey"},
    "difference": {"inputs": "difference"},
    "flow": {"inputs": "flow"},
    # How it is trained.
    "no loss of the streams": {"auxiliary": 0},
    "no region dropout": {"region_dropout": 0},
    "neither": {"auxiliary": 0, "region_dropout": 0},
    "region dropout 0.5": {"region_dropout": 0.5},
    "batches of 32": {"batch_size": 32},
    "batches of 16": {"batch_size": 16},
    "20 epochs": {"epochs": 20},
    "20 epochs, rate 1e-3": {"epochs": 20, "learning_rate": 1e-3},
    "rate 1e-3": {"learning_rate": 1e-3},
    "AdamW": {"optimizer": "adamw"},
    "RMSprop": {"optimizer": "rmsprop", "learning_rate": 1e-3},
    "SGD": {"optimizer": "sgd", "learning_rate": 0.1},
    "no label smoothing": {"label_smoothing": 0},
    "no augmentation": {"augment": ""},
    "flip and crop": {"augment": "flip,crop:0.1"},
    "flip, rotate and light": {"augment": "flip,rotate:5,brightness:0.2"},
    "flip and erase": {"augment": "flip,erase:0.3"},
}


def measure(case: str, folder: Path, seed: int) -> dict[str, Any]:
    """Train and test one case once: a row of the table."""
    settings = dict(CASES[case])
    block = settings.pop("block", None)
    multistream.add_change = partial(add_change, **settings.pop("change", {}))
    # By its module: in a worker's process this file's own names are copies.
    models.BUILDERS["compact"] = partial(build_microx, preset="compact", block=block)
    result = evaluate(load_corpus(folder), seed=seed, **settings)
    return {
        **{"case": case, "corpus": folder.parent.name, "seed": seed},
        "accuracy": round(float((result.y_pred == result.y_true).mean()), 4),
        "n_test": len(result.y_true),
        "train": round(float(result.history["accuracy"].iloc[-1]), 4),
        "best_epoch": result.facts.best_epoch[0],
        "seconds": result.facts.seconds,
        "n_parameters": result.facts.n_parameters,
    }


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="CSV to write, or to go on with")
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("--cases", default=";".join(CASES), help="separated by ; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    given = parser.parse_args()
    rows = pd.read_csv(given.out).to_dict("records") if given.out.exists() else []
    done = {(row["case"], row["corpus"], row["seed"]) for row in rows}
    jobs = [
        joblib.delayed(measure)(case, folder, seed)
        for case, folder, seed in product(given.cases.split(";"), given.corpora, range(given.seeds))
        if (case, folder.parent.name, seed) not in done
    ]
    if given.workers > 1:
        load_keras(n_threads=1)  # so that the processes do not take each other's cores
    parallel = joblib.Parallel(given.workers, batch_size=1, return_as="generator_unordered")
    for row in parallel(jobs):
        rows.append(row)
        print(row, flush=True)
        pd.DataFrame(rows).to_csv(given.out, index=False)
    table = pd.DataFrame(rows).pivot_table(
        index="case", columns="corpus", values="accuracy", aggfunc=["mean", "std"], sort=False
    )
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
