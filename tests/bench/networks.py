"""Measure the models: the ConvLSTM layer, the compact preset against the paper's, the loader.

Run by ``make bench``. Alone, ``python tests/bench/networks.py`` measures the layer on whatever
backend ``KERAS_BACKEND`` names; ``--all`` the presets too, in each precision.
"""

import os
import sys
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from timing import seconds

from microx.corpus.build import build_corpus
from microx.labels.labels import read_labels
from microx.models import BUILDERS, build_microx
from microx.models.conv_lstm import ConvLSTM
from microx.schema import DEFAULT_REGIONS
from microx.simulation.corpus import draw_corpus
from microx.training.fit import compile_for_training
from microx.training.settings import FitSettings

BATCH, SIZE = 8, 32
RUNS = 15


in_turn = partial(seconds, runs=RUNS)


def ready(model, n_classes=7, settings=None):
    """Compile a model; return functions that train and answer on one batch of noise.

    It is trained as `settings` say, without them by plain gradient descent.
    """
    rng = np.random.default_rng(0)
    clips = {
        tensor.name: np.ones((BATCH, *tensor.shape[1:]), np.float32)
        if tensor.name == "present"
        else rng.random((BATCH, *tensor.shape[1:]), np.float32)
        for tensor in model.inputs
    }
    one_hot = np.eye(n_classes, dtype=np.float32)[np.arange(BATCH) % n_classes]
    settings = FitSettings(optimizer="sgd") if settings is None else settings
    trained = compile_for_training(model, settings, n_steps=1000)
    return (
        lambda: float(trained.train_on_batch(clips, one_hot)[0]),
        lambda: np.asarray(model.predict_on_batch(clips)),
        clips,
    )


def measure_conv_lstm(tell):
    """64 filters on (10, 30, 30, 3), against Keras's own."""
    models = []
    for layer in (keras.layers.ConvLSTM2D(64, 3), ConvLSTM(64, 3)):
        clip = keras.Input((10, 30, 30, 3), name="clip")
        x = keras.layers.GlobalAveragePooling2D()(layer(clip))
        models.append(keras.Model(clip, keras.layers.Dense(7, activation="softmax")(x)))
    models[1].set_weights(models[0].get_weights())
    (train_theirs, answer_theirs, clips), (train_ours, answer_ours, _) = map(ready, models)
    states = [
        np.asarray(keras.Model(m.input, m.layers[1].output).predict_on_batch(clips["clip"]))
        for m in models
    ]
    name, bar = keras.backend.backend(), keras.backend.backend() == "tensorflow"
    tell(f"ConvLSTM on {name}: largest difference", np.abs(states[0] - states[1]).max(), "", "1e-5")
    theirs, ours = in_turn(train_theirs, train_ours)
    tell(f"ConvLSTM on {name}: training", theirs / ours, "times", ">= 1.35" if bar else ">= 5")
    theirs, ours = in_turn(answer_theirs, answer_ours)
    tell(f"ConvLSTM on {name}: inference", theirs / ours, "times", ">= 1.25" if bar else "")


def measure_presets(tell):
    """Five regions at the same size; and what the others do by the way."""
    settings = {preset: FitSettings.of(preset) for preset in ("compact", "paper")}
    compact, paper = (
        build_microx(preset=preset, size=SIZE, region_dropout=chosen.region_dropout)
        for preset, chosen in settings.items()
    )
    n_compact, n_paper = compact.count_params(), paper.count_params()
    tell("compact: parameters", n_compact, "", "<= 1e6")
    tell("paper's parameters against compact's, 32 px", n_paper / n_compact, "times", ">= 60")
    train_compact, answer_compact, _ = ready(compact, settings=settings["compact"])
    train_paper, answer_paper, _ = ready(paper, settings=settings["paper"])
    ours, theirs = in_turn(train_compact, train_paper)
    tell("compact: training", BATCH / ours, "clips/s")
    tell("paper: training", BATCH / theirs, "clips/s")
    tell("compact against paper: training", theirs / ours, "times", ">= 15")
    ours, theirs = in_turn(answer_compact, answer_paper)
    tell("compact: inference", BATCH / ours, "clips/s")
    tell("compact against paper: inference", theirs / ours, "times", ">= 15")
    for preset in ("fer_cnn", "cnn6", "cnn1", "cnn2", "resnet18"):
        train, answer, _ = ready(BUILDERS[preset](), settings=FitSettings.of(preset))
        training, answering = in_turn(train, answer)
        tell(f"{preset}: training", BATCH / training, "images/s")
        tell(f"{preset}: inference", BATCH / answering, "images/s")


def measure_loader(tell, folder):
    """Every batch of an epoch, as compact is trained; and from a cache that holds a tenth."""
    from microx.training.dataset import ClipDataset

    drawn = draw_corpus(folder / "loaded", n_subjects=4, n_takes=1, n_workers=-1)
    labels = read_labels(drawn.parent, drawn, label_set="microx7")
    corpus = build_corpus(labels, folder / "loaded_corpus", n_workers=-1)
    clips = corpus.clips()
    n_bytes = int(clips["length"].sum()) * len(DEFAULT_REGIONS) * corpus.size**2 * 3

    def load(**arguments):
        dataset = ClipDataset(
            corpus, clips, regions=DEFAULT_REGIONS, batch_size=BATCH, shuffle=True,
            augment="flip", tell_present=True, **arguments,
        )  # fmt: skip
        for index in range(len(dataset)):
            dataset[index]
        return sum(held.nbytes for held in dataset._crops._held.values())

    settings = FitSettings.of("compact")
    model = build_microx(size=SIZE, region_dropout=settings.region_dropout)
    train, _, _ = ready(model, settings=settings)
    training, loading, starved = in_turn(train, load, lambda: load(cache_bytes=n_bytes // 10))
    tell("loader: clips of five regions", len(clips) / loading, "clips/s")
    ratio = len(clips) / loading / (BATCH / training)
    tell("loader against compact's training", ratio, "times", ">= 3")
    ratio = len(clips) / starved / (BATCH / training)
    tell("loader with room for a tenth, against training", ratio, "times")
    held = load(cache_bytes=n_bytes // 10)
    tell("loader: crops held with room for a tenth", held / n_bytes, "of them", "<= 0.1")


def show(name, value, unit, bar=""):
    """Print a figure."""
    print(f"{name:50} {value:9.4g} {unit} {bar}", flush=True)


if __name__ == "__main__":
    measure_conv_lstm(show)
    if "--all" in sys.argv:
        for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
            keras.config.set_dtype_policy(precision)
            print(precision)
            measure_presets(show)
