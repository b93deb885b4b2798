import json

import keras
import numpy as np
import pandas as pd
import pytest

from microx.dataset import ClipDataset
from microx.errors import InputError, ModelError
from microx.modelfiles import load_model
from microx.splits import make_splits
from microx.training import fit_model, fit_split, train


def _datasets(corpus, seed=0):
    clips = corpus.clips()
    (split,) = make_splits(clips, seed=seed)
    arguments = {"regions": ("mouth",), "batch_size": 8}
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


@pytest.fixture(scope="module")
def fitted(small_corpus, tmp_path_factory):
    """One short fit: the model, its history and facts, and the file."""
    path = tmp_path_factory.mktemp("fit") / "model.keras"
    clips = small_corpus.clips()
    (split,) = make_splits(clips)
    model, history, facts = fit_split(
        small_corpus, clips, split, regions=("mouth",), epochs=2, class_weight="balanced", path=path
    )
    return model, history, facts, path


def test_history_has_a_row_per_epoch(fitted):
    _, history, _, _ = fitted
    assert list(history) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert list(history["epoch"]) == [1, 2]
    assert np.isfinite(history.to_numpy()).all()


def test_facts_say_what_the_model_was_trained_on(fitted, small_corpus):
    _, history, facts, _ = fitted
    assert facts["classes"] == ["neutral", "happy", "sad"]
    assert facts["regions"] == ["mouth"]
    assert facts["recipe_hash"] == small_corpus.recipe_hash
    assert facts["best_epoch"] == history["val_loss"].argmin() + 1
    assert facts["n_train"] == sum(facts["train_class_counts"])
    assert len(facts["trained_on"]["subjects"]) == 4  # three train, one chooses the epoch
    assert len(facts["trained_on"]["videos"]) == 12
    assert facts["warnings"] == []
    json.dumps(facts)


def test_stored_model_comes_back_with_its_facts(fitted, small_corpus):
    model, _, facts, path = fitted
    again, facts_again = load_model(path)
    assert facts_again == facts
    inputs, _ = _datasets(small_corpus)[1][0]
    np.testing.assert_array_equal(again.predict_on_batch(inputs), model.predict_on_batch(inputs))
    assert not again.compiled
    assert load_model(path.parent)[1] == facts
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_best_weights_by_validation_are_kept(small_corpus):
    training, validation = _datasets(small_corpus)
    model = _model()
    steps = []
    history = fit_model(
        model, training, validation, epochs=6, learning_rate=0.01,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    loss, _ = model.evaluate(validation, verbose=0)
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert [step[:2] for step in steps] == [(k, 6) for k in range(1, len(history) + 1)]
    assert steps[0][2].startswith("epoch 1, validation accuracy 0.")


def test_training_stops_early(small_corpus):
    training, validation = _datasets(small_corpus)
    history = fit_model(_model(), training, validation, epochs=9, learning_rate=0.0, patience=2)
    assert len(history) == 3


def test_same_seed_same_history(fitted, small_corpus):
    clips = small_corpus.clips()
    arguments = {"regions": ("mouth",), "epochs": 2, "class_weight": "balanced"}
    _, history, _ = fit_split(small_corpus, clips, make_splits(clips)[0], **arguments)
    pd.testing.assert_frame_equal(*(h.drop(columns="seconds") for h in (history, fitted[1])))


def test_checkpoint_holds_the_best_model_before_the_end(small_corpus, tmp_path):
    training, validation = _datasets(small_corpus)
    path = tmp_path / "fold_0.keras"
    fit_model(_model(), training, validation, epochs=1, checkpoint=path)
    assert keras.saving.load_model(path).count_params() == 3 * (10 * 24 * 24 * 3 + 1)
    with pytest.raises(ModelError, match=r"without microx\.json: not written by microx, or its"):
        load_model(path)


def test_loss_that_is_no_number_is_reported(small_corpus):
    training, validation = _datasets(small_corpus)
    with pytest.raises(ModelError, match="no longer a number; use a lower learning rate than inf"):
        fit_model(
            _model(), training, validation, epochs=2, optimizer="sgd", learning_rate=float("inf")
        )


def test_train_leaves_the_test_people_out(small_corpus, tmp_path):
    path = train(small_corpus, tmp_path / "run", regions=("mouth",), epochs=1)
    _, facts = load_model(path)
    split = pd.read_csv(tmp_path / "run" / "split.csv")
    test_people = set(split.loc[split["part"] == "test", "subject"])
    assert test_people
    assert not test_people & set(facts["trained_on"]["subjects"])
    assert sorted(split["part"].unique()) == ["test", "train", "validation"]
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1
    with pytest.raises(InputError, match="already there"):
        train(small_corpus, tmp_path / "run", epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs of at least 1.*found 0"),
        ({"epochs": 1, "class_weight": "rare"}, "found 1, 'rare'"),
        ({"epochs": 1, "optimizer": "lion"}, "adam or sgd; found 1, None and 'lion'"),
    ],
)
def test_unusable_arguments_are_refused(small_corpus, arguments, message):
    with pytest.raises(InputError, match=message):
        fit_model(_model(), *_datasets(small_corpus), **arguments)
