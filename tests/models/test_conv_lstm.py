"""Our ConvLSTM is Keras's own, weight by weight and number by number, on every backend."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from microx.errors import ModelError
from microx.models.conv_lstm import ConvLSTM, classic_hard_sigmoid
from microx.models.winograd import Tiles, transform_kernel

pytestmark = pytest.mark.backends


def model_of(layer, shape):
    clip = keras.Input(shape)
    return keras.Model(clip, layer(clip))


@pytest.mark.parametrize("method", ["direct", "winograd", "dense"])
@pytest.mark.parametrize("activation", ["sigmoid", classic_hard_sigmoid])
@pytest.mark.parametrize(
    ("shape", "filters", "padding", "sequences"),
    [
        ((4, 9, 14, 2), 5, "same", True),
        ((3, 3, 3, 1), 4, "valid", True),
        ((1, 8, 7, 3), 4, "valid", False),
        ((5, 2, 3, 2), 4, "same", True),
    ],
)
def test_it_gives_the_numbers_of_keras(shape, filters, padding, sequences, activation, method):
    common = {"padding": padding, "return_sequences": sequences, "recurrent_activation": activation}
    theirs = model_of(layers.ConvLSTM2D(filters, 3, **common), shape)
    ours = model_of(ConvLSTM(filters, 3, method=method, **common), shape)
    ours.set_weights(theirs.get_weights())
    clips = np.random.default_rng(0).random((2, *shape), np.float32)
    expected = theirs.predict(clips, verbose=0)
    assert ours.output_shape == theirs.output_shape
    assert np.abs(ours.predict(clips, verbose=0) - expected).max() < 1e-5
    theirs.set_weights(ours.get_weights())
    assert np.array_equal(theirs.predict(clips, verbose=0), expected)


def test_the_published_size_gives_the_numbers_of_keras():
    theirs = model_of(layers.ConvLSTM2D(64, 3), (10, 30, 30, 3))
    ours = model_of(ConvLSTM(64, 3), (10, 30, 30, 3))
    ours.set_weights(theirs.get_weights())
    clips = np.random.default_rng(0).random((2, 10, 30, 30, 3), np.float32)
    assert np.abs(ours.predict(clips, verbose=0) - theirs.predict(clips, verbose=0)).max() < 1e-5


@pytest.mark.parametrize("method", ["direct", "dense"])
def test_kernels_of_other_sizes_give_the_numbers_of_keras(method):
    theirs = model_of(layers.ConvLSTM2D(4, 5), (3, 12, 9, 2))
    ours = model_of(ConvLSTM(4, 5, method=method), (3, 12, 9, 2))
    ours.set_weights(theirs.get_weights())
    clips = np.random.default_rng(0).random((2, 3, 12, 9, 2), np.float32)
    assert np.abs(ours.predict(clips, verbose=0) - theirs.predict(clips, verbose=0)).max() < 1e-5


def test_a_step_of_training_gives_the_weights_of_keras():
    rng = np.random.default_rng(1)
    clips, wanted = rng.random((4, 5, 14, 14, 3), np.float32), rng.random((4, 12, 12, 32))
    start = model_of(layers.ConvLSTM2D(32, 3), clips.shape[1:]).get_weights()
    trained = []
    for layer in (layers.ConvLSTM2D(32, 3), ConvLSTM(32, 3), ConvLSTM(32, 3, method="direct")):
        model = model_of(layer, clips.shape[1:])
        model.set_weights(start)
        model.compile("sgd", "mse", jit_compile=False)
        model.train_on_batch(clips, wanted)
        trained.append(model.get_weights())
    for ours in trained[1:]:
        for weight, expected, before in zip(ours, trained[0], start, strict=True):
            assert np.abs(expected - before).max() > 1e-5
            assert np.abs(weight - expected).max() < 1e-6


def test_weights_begin_as_those_of_keras():
    layer = ConvLSTM(4)
    layer.build((None, 10, 8, 8, 3))
    theirs = layers.ConvLSTM2D(4, 3)
    theirs.build((None, 10, 8, 8, 3))
    assert [w.shape for w in layer.weights] == [w.shape for w in theirs.weights]
    bias = ops.convert_to_numpy(layer.bias)
    assert np.array_equal(bias, ops.convert_to_numpy(theirs.weights[2]))
    # 3 x 3 x (3 + 4) x 16 + 16
    assert layer.count_params() == 1024


def test_it_can_be_stored(tmp_path):
    keras.utils.set_random_seed(0)
    model = model_of(ConvLSTM(4, recurrent_activation=classic_hard_sigmoid), (3, 8, 8, 1))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    clips = np.random.default_rng(0).random((2, 3, 8, 8, 1), np.float32)
    assert np.array_equal(again.predict(clips, verbose=0), model.predict(clips, verbose=0))


def test_half_precision_is_convolved_directly():
    layer = ConvLSTM(32, dtype="mixed_bfloat16")
    out = model_of(layer, (2, 16, 16, 3)).predict(np.ones((1, 2, 16, 16, 3)), verbose=0)
    assert out.shape == (1, 14, 14, 32)
    assert np.isfinite(np.asarray(out, np.float32)).all()


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"kernel_size": 4}, (3, 8, 8, 1)),
        ({"padding": "full"}, (3, 8, 8, 1)),
        ({"method": "fast"}, (3, 8, 8, 1)),
        ({"method": "winograd", "kernel_size": 5}, (3, 8, 8, 1)),
        ({}, (3, 2, 8, 1)),
        ({}, (None, 8, 8, 1)),
    ],
)
def test_what_cannot_be_is_said(arguments, shape):
    with pytest.raises(ModelError):
        ConvLSTM(4, **arguments)(keras.Input(shape))


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (7, 10)])
def test_winograd_is_a_convolution(size):
    rng = np.random.default_rng(0)
    height, width = size
    image = rng.random((2, height + 2, width + 2, 3), np.float32)
    kernel = rng.random((3, 3, 3, 5), np.float32)
    tiles = Tiles(height, width)
    cells = tiles.convolve(tiles.transform(image, border=0), transform_kernel(kernel))
    expected = ops.convert_to_numpy(ops.conv(image, kernel))
    assert np.abs(ops.convert_to_numpy(tiles.to_map(cells)) - expected).max() < 1e-4
