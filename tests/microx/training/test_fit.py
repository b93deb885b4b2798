import json
import re
from dataclasses import replace
from io import BytesIO
from zipfile import ZipFile

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError, ModelError
from microx.models.multistream import build_microx
from microx.training.callbacks import Keeper
from microx.training.dataset import ClipDataset, open_clips
from microx.training.fit import _balanced, default_regions, fit_model, fit_split, train
from microx.training.model_file import load_model, save_weights
from microx.training.settings import FitSettings
from microx.training.splits import make_splits

pytestmark = pytest.mark.backends

SHORT = {"n_frames": 2, "stride": 10}
RESTLESS = 0.03
"""A learning rate of Adam at which the last epoch of the small model is not the best."""
COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]


def _datasets(corpus, seed=0, **arguments):
    clips = corpus.clips()
    (split,) = make_splits(clips, seed=seed)
    arguments = {"regions": ("mouth",), "batch_size": 8} | arguments
    return (
        ClipDataset(corpus, clips.iloc[split.train], shuffle=True, seed=seed, **arguments),
        ClipDataset(corpus, clips.iloc[split.validation], **arguments),
    )


def _model():
    """Quick to compile: the mouth's pixels into a softmax."""
    keras.utils.set_random_seed(0)
    mouth = keras.Input((10, 24, 24, 3), name="mouth")
    flat = keras.layers.Flatten()(mouth)
    y = keras.layers.Dense(3, activation="softmax", kernel_initializer="zeros")(flat)
    return keras.Model({"mouth": mouth}, y)


def _streams():
    """Compact's fusion over streams that are quick to compile."""

    def block(x, stream, n_classes):
        x = keras.layers.Flatten()(x)
        return keras.layers.Dense(n_classes, activation="softmax", name=f"{stream}_softmax")(x)

    return build_microx(
        ("mouth", "face"), size=24, n_classes=3, block=block, region_dropout=0.3, seed=0
    )


def _fit(corpus, *, model=None, **settings):
    model = _model() if model is None else model
    return fit_model(model, *_datasets(corpus), FitSettings(**{"epochs": 2} | settings))


@pytest.fixture(scope="module")
def fitted(small_corpus, tmp_path_factory):
    """One short fit: the model, its history and facts, and the file."""
    path = tmp_path_factory.mktemp("fit") / "model.keras"
    clips = small_corpus.clips(2, stride=10)
    (split,) = make_splits(clips)
    settings = FitSettings.of("compact", epochs=2, balance="weights", region_dropout=0.2)
    model, history, facts = fit_split(
        small_corpus, clips, split, settings, regions=("mouth",), path=path
    )
    return model, history, facts, path


def test_history_has_a_row_per_epoch(fitted):
    _, history, _, _ = fitted
    assert list(history) == COLUMNS
    assert list(history["epoch"]) == [1, 2]
    assert np.isfinite(history.to_numpy()).all()


def test_facts_say_what_the_model_was_trained_on(fitted, small_corpus):
    _, history, facts, _ = fitted
    assert facts.classes == ("neutral", "happy", "sad")
    assert facts.regions == facts.streams == ("mouth",)
    assert (facts.inputs, facts.size, facts.n_frames) == ("rgb", 24, 2)
    assert facts.recipe_hash == small_corpus.recipe_hash
    best = history["val_loss"].argmin()
    assert facts.best_epoch == best + 1
    assert facts.seconds_to_best == pytest.approx(history["seconds"][: best + 1].sum(), abs=0.01)
    assert facts.peak_memory_mib > 50
    assert facts.n_train == sum(facts.train_class_counts)
    assert len(facts.trained_on.subjects) == 4  # three train, one chooses the epoch
    assert len(facts.trained_on.videos) == 12
    assert facts.warnings == ()
    assert facts.arguments.region_dropout == 0.2
    json.dumps(facts.as_dict())


def test_stored_model_comes_back_with_its_facts(fitted, small_corpus):
    model, _, facts, path = fitted
    again, facts_again = load_model(path)
    assert facts_again == facts
    clips = small_corpus.clips(2, stride=10)
    inputs, _ = ClipDataset(small_corpus, clips, regions=("mouth",), tell_present=True)[0]
    np.testing.assert_array_equal(again.predict_on_batch(inputs), model.predict_on_batch(inputs))
    assert not again.compiled
    assert load_model(path.parent)[1] == facts
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_best_weights_by_validation_are_kept(small_corpus):
    training, validation = _datasets(small_corpus)
    model = _model()
    steps, kept = [], []
    history = fit_model(
        model, training, validation, FitSettings(epochs=6, learning_rate=RESTLESS),
        callbacks=[Keeper(lambda: kept.append(model.get_weights()))],
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert history["val_loss"].argmin() < len(history) - 1  # else the last weights would do
    y_prob = model.predict(validation, verbose=0)
    y_true = validation.clips["label"].to_numpy()
    right = np.maximum(y_prob[np.arange(len(y_true)), y_true], keras.config.epsilon())
    assert -np.log(right).mean() == pytest.approx(history["val_loss"].min(), rel=1e-4)
    for ours, last in zip(model.get_weights(), kept[-1], strict=True):
        np.testing.assert_array_equal(ours, last)
    assert [step[:2] for step in steps] == [(k, 6) for k in range(1, len(history) + 1)]
    assert steps[0][2].startswith("epoch 1, validation accuracy 0.")


def test_batches_keep_the_order_of_the_dataset(small_corpus):
    """Keras would shuffle them again, each backend in its own way."""
    training, validation = _datasets(small_corpus)

    class Recorder(type(training)):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    seen = []
    training.__class__ = Recorder
    fit_model(_model(), training, validation, FitSettings(epochs=3))
    n_batches = len(training)
    assert n_batches > 2
    # A backend that looks at the first batches beforehand asks for them twice.
    assert seen[-3 * n_batches :] == 3 * list(range(n_batches))


def test_training_stops_early(small_corpus):
    assert len(_fit(small_corpus, epochs=9, learning_rate=0.0, patience=2)) == 3


def test_same_seed_same_history(fitted, small_corpus):
    clips = small_corpus.clips(2, stride=10)
    settings = FitSettings.of("compact", epochs=2, balance="weights", region_dropout=0.2)
    _, history, _ = fit_split(
        small_corpus, clips, make_splits(clips)[0], settings, regions=("mouth",)
    )
    pd.testing.assert_frame_equal(*(h.drop(columns="seconds") for h in (history, fitted[1])))


def test_losses_are_those_of_the_output_alone(small_corpus):
    """Whatever the streams' losses weigh, the epoch is chosen by the fused output."""
    datasets = _datasets(small_corpus, regions=("mouth", "face"), tell_present=True)
    model = _streams()
    history = fit_model(model, *datasets, FitSettings(epochs=1, learning_rate=0.0, auxiliary=5.0))
    y_prob = model.predict(datasets[1], verbose=0)
    right = y_prob[np.arange(len(y_prob)), datasets[1].clips["label"]]
    assert history["val_loss"][0] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    accuracy = (y_prob.argmax(axis=1) == datasets[1].clips["label"]).mean()
    assert history["val_accuracy"][0] == pytest.approx(accuracy)


def test_auxiliary_loss_teaches_a_stream_that_the_fusion_ignores(small_corpus):
    datasets = _datasets(small_corpus, regions=("mouth", "face"), tell_present=True)
    moved = {}
    for auxiliary in (0.0, 1.0):
        model = _streams()
        fusion = model.get_layer("fusion_softmax")
        kernel, bias = fusion.get_weights()
        fusion.set_weights([0 * kernel, bias])
        fusion.trainable = False
        before = model.get_layer("face_softmax").get_weights()[0]
        settings = FitSettings(epochs=1, optimizer="sgd", learning_rate=0.01, auxiliary=auxiliary)
        fit_model(model, *datasets, settings)
        moved[auxiliary] = np.abs(model.get_layer("face_softmax").get_weights()[0] - before).max()
    assert moved[0.0] == 0
    assert moved[1.0] > 0


class Rates(keras.callbacks.Callback):
    """Notes the learning rate that each epoch leaves."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def on_epoch_end(self, epoch, logs=None):
        self.noted.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_schedule_of_the_learning_rate(small_corpus, schedule):
    datasets = _datasets(small_corpus)
    rates = Rates()
    settings = FitSettings(
        epochs=4, learning_rate=1e-7, schedule=schedule, patience=4, optimizer="sgd"
    )
    fit_model(_model(), *datasets, settings, callbacks=[rates])
    assert int(rates.model.optimizer.iterations) == 4 * len(datasets[0])
    expected = {
        "constant": [1e-7] * 4,
        "cosine": [1e-7 * (1 + np.cos(np.pi * share)) / 2 for share in (0.25, 0.5, 0.75, 1)],
    }
    np.testing.assert_allclose(rates.noted, expected[schedule], rtol=1e-4, atol=1e-12)


def test_plateau_lowers_the_rate_where_the_loss_stays(small_corpus):
    """A rate of nothing keeps the loss where it is; a fifth of it after half the patience."""
    rates = Rates()
    history = fit_model(
        _model(),
        *_datasets(small_corpus),
        FitSettings(epochs=9, learning_rate=1e-30, schedule="plateau", patience=5),
        callbacks=[rates],
    )
    assert len(history) == 6
    assert rates.noted[-1] == pytest.approx(0.2**2 * 1e-30, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_optimizer_learns(small_corpus, optimizer):
    rate = 1e-5 if optimizer == "sgd" else 1e-4
    history = _fit(small_corpus, optimizer=optimizer, learning_rate=rate, epochs=3)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_label_smoothing_is_part_of_every_loss(small_corpus):
    """No output can cost less than the targets' own entropy."""
    floor = -(2 / 3 * np.log(2 / 3) + 2 * np.log(1 / 6) / 6)
    plain, smooth = (
        _fit(small_corpus, learning_rate=3e-4, label_smoothing=s, epochs=6) for s in (0.0, 0.5)
    )
    assert plain["val_loss"].min() < floor < smooth[["loss", "val_loss"]].min().min()


def test_rare_emotions_are_weighted_up(small_corpus):
    """With weights, a bias that is all a model has ends with the classes alike."""
    clips = small_corpus.clips()
    rare = clips.drop(clips.index[clips["label"] == 2][3:])  # 10, 10 and 3
    alike = ClipDataset(small_corpus, clips, regions=("mouth",))
    for balance in ("weights", "sampling"):
        keras.utils.set_random_seed(0)
        mouth = keras.Input((10, 24, 24, 3), name="mouth")
        nothing = keras.layers.Flatten()(mouth)[:, :1] * 0
        first = keras.initializers.Constant([0.0, 1.0, -1.0])
        y = keras.layers.Dense(3, activation="softmax", bias_initializer=first)(nothing)
        model = keras.Model({"mouth": mouth}, y)
        dataset = ClipDataset(
            small_corpus, rare, regions=("mouth",), shuffle=True, balance=balance == "sampling",
            batch_size=24,
        )  # fmt: skip
        settings = FitSettings(
            epochs=12, balance=balance, optimizer="sgd", learning_rate=2.0, patience=12
        )
        fit_model(model, dataset, alike, settings)
        y_prob = model.predict_on_batch(dataset[0][0])[0]
        np.testing.assert_allclose(y_prob, 1 / 3, atol=0.03, err_msg=balance)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_class_without_training_clips_is_accepted(small_corpus, balance):
    clips = small_corpus.clips()
    (split,) = make_splits(clips)
    kept = clips.iloc[split.train]
    training = ClipDataset(
        small_corpus, kept[kept["label"] != 1], regions=("mouth",), shuffle=True,
        balance=balance == "sampling",
    )  # fmt: skip
    history = fit_model(
        _model(), training, _datasets(small_corpus)[1], FitSettings(epochs=1, balance=balance)
    )
    assert np.isfinite(history.to_numpy()).all()


def test_half_precision_trains_and_leaves_the_default_alone(small_corpus, tmp_path):
    precision = "mixed_bfloat16"
    clips = small_corpus.clips(length=3, stride=10)
    (split,) = make_splits(clips)
    settings = FitSettings.of("compact", epochs=1, precision=precision, n_frames=3)
    before = keras.config.dtype_policy().name
    path = tmp_path / "model.keras"
    model, history, facts = fit_split(
        small_corpus, clips, split, settings, regions=("mouth",), path=path
    )
    assert keras.config.dtype_policy().name == before
    assert np.isfinite(history.to_numpy()).all()
    assert facts.arguments.precision == precision
    assert {str(w.dtype) for w in model.weights if "seed" not in w.path} == {"float32"}
    assert model.get_layer("mouth_conv_1").compute_dtype == precision.removeprefix("mixed_")
    batch, _ = ClipDataset(small_corpus, clips, regions=("mouth",), tell_present=True)[0]
    y_prob = load_model(path)[0].predict_on_batch(batch)
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-5)


def test_checkpoint_holds_the_best_model_of_a_training_cut_off(small_corpus, tmp_path):
    clips = small_corpus.clips(length=2, stride=10)
    (split,) = make_splits(clips)

    def stop(done, total, words):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_split(
            small_corpus, clips, split, FitSettings.of("compact", epochs=5), regions=("mouth",),
            path=tmp_path / "fold_0.keras", progress=stop,
        )  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == [".fold_0.best.keras"]
    model, facts = load_model(tmp_path / ".fold_0.best.keras")
    assert facts.warnings == ("its training was cut off: these are the best weights up to then",)
    assert facts.n_parameters == model.count_params()
    assert len(facts.trained_on.subjects) == 4
    with pytest.raises(ModelError, match="found none"):
        load_model(tmp_path)


def test_loss_that_is_not_finite_is_reported(small_corpus):
    with pytest.raises(
        ModelError, match=r"expected a finite loss; .* use a learning rate lower than 100"
    ):
        _fit(small_corpus, optimizer="sgd", learning_rate=100.0, model=_explosive())


def _explosive():
    """On every backend its sums are past what float32 can hold."""
    mouth = keras.Input((10, 24, 24, 3), name="mouth")
    x = keras.layers.Dense(3)(keras.layers.Flatten()(mouth))
    return keras.Model({"mouth": mouth}, keras.layers.Softmax()(1e30 * (1e30 * x)))


@pytest.fixture(scope="module")
def trained(small_corpus, tmp_path_factory):
    """A model that `train` made, to continue from."""
    out = tmp_path_factory.mktemp("trained")
    return train(small_corpus, out, regions=("mouth",), epochs=2, **SHORT)


def test_train_leaves_the_test_subjects_out(small_corpus, trained):
    _, facts = load_model(trained)
    split = pd.read_csv(trained.with_name("split.csv"))
    test_subjects = set(split.loc[split["part"] == "test", "subject"])
    assert test_subjects
    assert not test_subjects & set(facts.trained_on.subjects)
    assert sorted(split["part"].unique()) == ["test", "train", "validation"]
    history = pd.read_csv(trained.with_name("history.csv"))
    assert list(history) == COLUMNS
    assert len(history) == 2
    with pytest.raises(InputError, match="already there"):
        train(small_corpus, trained.parent, epochs=1)


def _continue(corpus, out, start, **settings):
    """Continue from a model without changing it: the rate is 0."""
    settings = SHORT | {"epochs": 1, "learning_rate": 0.0, "regions": ("mouth",)} | settings
    path = train(corpus, out, start=start, **settings)
    return load_model(path), pd.read_csv(out / "history.csv")


def test_training_continues_where_a_model_stopped(small_corpus, trained, tmp_path):
    (model, facts), history = _continue(small_corpus, tmp_path / "keras", trained)
    before, facts_before = load_model(trained)
    for ours, theirs in zip(model.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    first = pd.read_csv(trained.with_name("history.csv"))
    row = facts_before.best_epoch - 1
    np.testing.assert_allclose(
        history[["val_loss", "val_accuracy"]].iloc[0],
        first[["val_loss", "val_accuracy"]].iloc[row],
        rtol=1e-5,
    )
    assert facts.continued_from == "model.keras"
    assert facts.trained_on == facts_before.trained_on
    assert facts.warnings == ()


def test_training_subjects_that_choose_the_epoch_later_are_named(small_corpus, trained, tmp_path):
    """Without the subject who chose the epoch, another one chooses it."""
    before = load_model(trained)[1].trained_on
    (chooser,) = before.only_chose_epoch["subjects"]
    kept = small_corpus.manifest["subject"].isin(set(before.subjects) - {chooser})
    tested = ~small_corpus.manifest["subject"].isin(before.subjects)
    corpus = replace(small_corpus, manifest=small_corpus.manifest[kept | tested])
    seed = next(
        seed
        for seed in range(100)
        if set(_subjects_of(corpus, seed, "test")).isdisjoint(before.subjects)
    )
    (_, facts), _ = _continue(corpus, tmp_path / "next", trained, seed=seed)
    (known,) = _subjects_of(corpus, seed, "validation")
    assert list(facts.warnings) == [
        "training continued from model.keras, which was trained on 1 of the subjects that choose "
        f"the best epoch now ({known}): the validation accuracy is too optimistic"
    ]
    assert facts.trained_on.subjects == before.subjects
    assert facts.trained_on.only_chose_epoch["subjects"] == (chooser,)


def _subjects_of(corpus, seed, part):
    clips = corpus.clips(SHORT["n_frames"], stride=SHORT["stride"])
    (split,) = make_splits(clips, seed=seed)
    return sorted(set(clips["subject"].iloc[getattr(split, part)]))


def test_training_continues_from_weights_alone_with_a_warning(small_corpus, trained, tmp_path):
    weights = tmp_path / "theirs.weights.h5"
    before, _ = load_model(trained)
    save_weights(before, weights)
    (model, facts), _ = _continue(small_corpus, tmp_path / "h5", weights)
    for ours, theirs in zip(model.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert facts.continued_from == "theirs.weights.h5"
    assert len(facts.warnings) == 1
    assert "theirs.weights.h5, which does not say which subjects" in facts.warnings[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, r"was trained on subjects of the test part \(s\d.*use the same `seed`"),
        ({"regions": ("face",)}, "expected regions face, as in the new model; found mouth"),
        ({"inputs": "grey"}, "expected inputs grey, as in the new model; found rgb"),
        ({"n_frames": 8}, "expected n_frames 8, as in the new model; found 2"),
        ({"preset": "paper"}, "it is a compact, the new model a paper; name the same `preset`"),
    ],
)
def test_training_does_not_continue_from_a_model_that_does_not_fit(
    small_corpus, trained, tmp_path, settings, message
):
    with pytest.raises(ModelError, match=message) as error:
        _continue(small_corpus, tmp_path / "new", trained, **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new" / "model.keras").exists()


def test_there_must_be_something_to_continue_from(small_corpus, tmp_path):
    for name in ("none.keras", "none.weights.h5"):
        with pytest.raises(ModelError, match=f"{re.escape(name)}: expected .*; found no"):
            _continue(small_corpus, tmp_path / "new", tmp_path / name)


def test_single_images_train_a_network_of_images(write_corpus, tmp_path):
    build = {"dropout": 0.5}
    path = train(write_corpus(n_frames=1), tmp_path, preset="cnn6", epochs=1, build=build)
    model, facts = load_model(path)
    assert facts.regions == ("face",)
    assert (facts.n_frames, facts.inputs, facts.preset) == (1, "grey", "cnn6")
    with h5py.File(BytesIO(ZipFile(path).read("model.weights.h5"))) as weights:
        assert "optimizer" not in weights  # never used again
    assert facts.n_train + facts.n_validation == 12
    assert [tuple(t.shape) for t in model.inputs] == [(None, 1, 24, 24, 1)]
    assert facts.arguments.build == build
    assert "Dropout" in {type(layer).__name__ for layer in model.layers}


def test_annotated_frames_give_a_warning(write_corpus):
    corpus = write_corpus()
    settings = FitSettings.of("cnn6", frames="apex", epochs=1)
    opened, clips = open_clips(corpus, settings)
    _, _, facts = fit_split(
        opened, clips, make_splits(clips)[0], settings, preset="cnn6", regions=("face",)
    )
    assert list(facts.warnings) == [
        "its clips are the annotated frames (apex), which are not known for a new video",
        "15 of 15 clips are of videos without annotated frames: their first, middle or "
        "last frames are used instead",
    ]


def test_default_regions(small_corpus, mouths):
    assert default_regions(small_corpus, "compact") == ("mouth", "face")
    assert default_regions(small_corpus, "cnn6") == ("face",)
    assert default_regions(mouths, "cnn6") == ("mouth",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "huge"}, "`preset` must be one of compact, .*; found 'huge'"),
        ({"regions": ("mouth", "nose")}, "regions nose asked for; the corpus holds mouth, face"),
        ({"preset": "cnn6", "build": {"layers": 3}}, r"cnn6: build\.layers is unknown; known: bu"),
        (
            {"build": {"size": 60}},
            r"compact: build\.size is unknown; known: build\.raw_p",
        ),
        ({"preset": "cnn6", "n_frames": 3}, "3"),
    ],
)
def test_what_cannot_be_trained_is_refused(small_corpus, tmp_path, arguments, message):
    with pytest.raises(ModelError, match=message) as error:
        train(small_corpus, tmp_path, **{"epochs": 1} | arguments)
    assert "\n" not in str(error.value)


def test_tensorboard_can_follow_a_training(mouths, tmp_path):
    pytest.importorskip("tensorboard")
    path = train(mouths, tmp_path / "run", epochs=1, n_frames=2, stride=10, tensorboard=True)
    assert list((path.parent / "tensorboard" / "validation").glob("events.out.tfevents.*"))


def test_class_weights_are_inverse_to_the_counts_of_classes_with_clips(small_corpus):
    clips = small_corpus.clips()
    clips = clips[(clips.emotion != "happy") & ((clips.emotion != "sad") | (clips.start == 0))]
    weights = _balanced(ClipDataset(small_corpus, clips, regions=("mouth",)))
    counts = clips.label.value_counts()
    assert len(counts) == 2
    expected = {label: len(clips) / (len(counts) * n) for label, n in counts.items()}
    assert weights == pytest.approx(expected, rel=1e-12, abs=0)
