from collections import Counter

import keras
import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.baselines import (
    build_apex_dcnn,
    build_cnn1,
    build_cnn2,
    build_cnn6,
    build_fer_cnn,
    build_resnet18,
)

pytestmark = pytest.mark.backends

BUILDERS = {
    "fer_cnn": build_fer_cnn,
    "apex_dcnn": build_apex_dcnn,
    "cnn6": build_cnn6,
    "cnn1": build_cnn1,
    "cnn2": build_cnn2,
    "resnet18": build_resnet18,
}
LEAST = {"fer_cnn": 16, "apex_dcnn": 16, "cnn6": 8, "cnn1": 8, "cnn2": 16, "resnet18": 32}


def _inputs(model, n_clips=2, seed=0):
    rng = np.random.default_rng(seed)
    return {
        tensor.name: rng.random((n_clips, *tensor.shape[1:]), np.float32) for tensor in model.inputs
    }


def _small(name, regions=("face",), **arguments):
    """The network at its least size."""
    if name == "apex_dcnn":
        arguments = {"pad_to": None} | arguments
    return BUILDERS[name](regions, **{"size": LEAST[name]} | arguments)


def _counts(model):
    return Counter(type(layer).__name__ for layer in model.layers)


def _count_parameters(name, **arguments):
    # Counted without drawing the weights.
    with keras.StatelessScope(initialize_variables=False):
        return BUILDERS[name](**arguments).count_params()


# In the sums below, a 3 x 3 convolution from a to b channels has 9ab weights and, unless batch
# normalisation follows, b biases; batch normalisation has 4 numbers a channel, mean and
# variance among them; a dense layer from a to b has (a + 1) b.


def test_fer_cnn_has_the_layers_and_parameters_worked_out():
    counts = _counts(build_fer_cnn())
    assert counts["Conv2D"] == counts["BatchNormalization"] == counts["MaxPooling2D"] == 4
    assert counts["Dense"] == 2
    # 48 pixels, halved four times, leave 3 x 3 cells of 256.
    convolutions = 9 * (1 * 64 + 64 * 128 + 128 * 256 + 256 * 256) + 4 * (64 + 128 + 256 + 256)
    dense = (3 * 3 * 256 + 1) * 256 + (256 + 1) * 7
    assert _count_parameters("fer_cnn") == convolutions + dense == 1_553_735


@pytest.mark.parametrize(
    ("arguments", "channels", "cells", "n_classes"),
    [
        # 400 pixels, halved four times, leave 25 x 25 cells of 64; 100 pixels leave 6 x 6.
        ({}, 1, 25 * 25, 7),
        ({"n_frames": 3, "n_classes": 2}, 3, 25 * 25, 2),
        ({"n_frames": 3, "inputs": "rgb", "size": 100, "pad_to": None}, 9, 6 * 6, 7),
    ],
)
def test_apex_dcnn_has_47_layers_and_the_parameters_worked_out(
    arguments, channels, cells, n_classes
):
    with keras.StatelessScope(initialize_variables=False):
        model = build_apex_dcnn(**arguments)
    counts = _counts(model)
    assert counts["Conv2D"] == counts["BatchNormalization"] == counts["ReLU"] == 14
    assert counts["MaxPooling2D"] == 4
    assert counts["Dense"] == 1
    # The rest, input, border, reshaping and flattening, is no layer of the paper's.
    parts = ("Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D", "Dense")
    assert sum(counts[part] for part in parts) == 14 * 3 + 4 + 1 == 47
    convolutions = 9 * (channels * 8 + 2 * 8 * 8)
    convolutions += 9 * (8 * 16 + 2 * 16 * 16)
    convolutions += 9 * (16 * 32 + 3 * 32 * 32)
    convolutions += 9 * (32 * 64 + 3 * 64 * 64)
    norms = 4 * (3 * 8 + 3 * 16 + 4 * 32 + 4 * 64)
    dense = (cells * 64 + 1) * n_classes
    assert model.count_params() == convolutions + norms + dense


CNN6_CONVOLUTIONS = (
    (9 * 1 * 32 + 32)
    + (9 * 32 * 32 + 32)
    + (9 * 32 * 64 + 64)
    + (9 * 64 * 64 + 64)
    + (9 * 64 * 128 + 128)
    + (9 * 128 * 128 + 128)
)


@pytest.mark.parametrize(
    ("arguments", "n_parameters"),
    [
        # 48 pixels, halved three times, leave 6 x 6 cells of 128.
        ({}, CNN6_CONVOLUTIONS + (6 * 6 * 128 + 1) * 256 + 257 * 7),
        # HOG adds 5 x 5 blocks of 36 numbers and no weight of its own.
        ({"hog": True}, CNN6_CONVOLUTIONS + (6 * 6 * 128 + 5 * 5 * 36 + 1) * 256 + 257 * 7),
        # Four numbers a channel in place of a bias.
        (
            {"batch_norm": True, "dropout": 0.3, "l2": 1e-4},
            CNN6_CONVOLUTIONS + 3 * 2 * (32 + 64 + 128) + (6 * 6 * 128 + 1) * 256 + 257 * 7,
        ),
    ],
)
def test_cnn6_has_the_layers_and_parameters_worked_out(arguments, n_parameters):
    counts = _counts(_small("cnn6"))
    assert (counts["Conv2D"], counts["MaxPooling2D"], counts["Dense"]) == (6, 3, 2)
    assert _count_parameters("cnn6", **arguments) == n_parameters


def test_cnn6_options_act_where_they_say():
    plain = _small("cnn6")
    counts = _counts(plain)
    assert counts["BatchNormalization"] == counts["Dropout"] == counts["HOG"] == 0
    assert not plain.losses
    full = _small("cnn6", size=16, hog=True, l2=0.01, dropout=0.3, batch_norm=True)
    counts = _counts(full)
    assert (counts["BatchNormalization"], counts["Dropout"], counts["HOG"]) == (6, 4, 1)
    assert len(full.losses) == 7  # six convolutions and the first dense layer
    kernel = full.get_layer("face_conv_1").kernel
    expected = 0.01 * np.square(keras.ops.convert_to_numpy(kernel)).sum()
    loss = keras.ops.convert_to_numpy(full.losses[0])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_hog_reads_the_pixels_of_the_image():
    """With the convolutions silenced, edges still change the output."""
    model = _small("cnn6", size=16, hog=True, seed=0)
    last = model.get_layer("face_conv_6")
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    y_prob = model.predict_on_batch(_inputs(model))
    assert np.abs(y_prob[0] - y_prob[1]).max() > 1e-3


def test_cnn1_has_the_layers_and_parameters_worked_out():
    counts = _counts(_small("cnn1"))
    assert (counts["Conv2D"], counts["MaxPooling2D"], counts["Dense"]) == (9, 3, 3)
    assert counts["Dropout"] == 0
    # 48 pixels, halved three times, leave 6 x 6 cells of 128.
    convolutions = 9 * (3 * 32 + 2 * 32 * 32) + 3 * 32
    convolutions += 9 * (32 * 64 + 2 * 64 * 64) + 3 * 64
    convolutions += 9 * (64 * 128 + 2 * 128 * 128) + 3 * 128
    dense = (6 * 6 * 128 + 1) * 1024 + (1024 + 1) * 512 + (512 + 1) * 7
    assert _count_parameters("cnn1") == convolutions + dense == 5_728_775


def test_cnn2_has_the_layers_and_parameters_worked_out():
    model = _small("cnn2")
    counts = _counts(model)
    assert (counts["Conv2D"], counts["MaxPooling2D"], counts["Dense"]) == (12, 4, 3)
    for step, units in ((1, 1024), (2, 512)):
        assert model.get_layer(f"face_dense_{step}").units == units
        assert model.get_layer(f"face_dense_dropout_{step}").rate == 0.5
    # 48 pixels, halved four times, leave 3 x 3 cells of 256.
    convolutions = 9 * (3 * 32 + 2 * 32 * 32) + 3 * 32
    convolutions += 9 * (32 * 64 + 2 * 64 * 64) + 3 * 64
    convolutions += 9 * (64 * 128 + 2 * 128 * 128) + 3 * 128
    convolutions += 9 * (128 * 256 + 2 * 256 * 256) + 3 * 256
    dense = (3 * 3 * 256 + 1) * 1024 + (1024 + 1) * 512 + (512 + 1) * 7
    assert _count_parameters("cnn2") == convolutions + dense == 4_844_807


def test_resnet18_is_torchvisions_up_to_its_head():
    with keras.StatelessScope(initialize_variables=False):
        model = build_resnet18(size=224)
    counts = _counts(model)
    # Stem, 8 blocks of two convolutions, 3 projections; 18 counts neither these nor our 512.
    assert counts["Conv2D"] == counts["BatchNormalization"] == 1 + 8 * 2 + 3
    assert (counts["Add"], counts["MaxPooling2D"], counts["Dense"]) == (8, 1, 2)
    assert model.get_layer("face_stem_conv").output.shape == (None, 112, 112, 64)
    for stage, side, filters in ((1, 56, 64), (2, 28, 128), (3, 14, 256), (4, 7, 512)):
        shape = model.get_layer(f"face_stage_{stage}_2_relu").output.shape
        assert shape == (None, side, side, filters)
    stem = 49 * 3 * 64
    stages = 9 * 4 * 64 * 64
    for filters in (128, 256, 512):
        before = filters // 2
        stages += 9 * (before * filters + 3 * filters * filters) + before * filters  # projection
    n_normalised = 64 + 4 * 64 + 5 * (128 + 256 + 512)
    backbone = stem + stages + 2 * n_normalised
    # torchvision's has 11,689,512 with its last layer from 512 to 1,000; it does not count
    # the means and variances of batch normalisation, and Keras does.
    assert backbone == 11_689_512 - 513 * 1000
    assert model.count_params() == backbone + 2 * n_normalised + 513 * 512 + 513 * 7


@pytest.mark.parametrize("name", BUILDERS)
def test_rows_sum_to_one_and_every_region_counts(name):
    model = _small(name, ("left_eye", "mouth"), n_classes=4, seed=0)
    inputs = _inputs(model)
    y_prob = model.predict_on_batch(inputs)
    assert y_prob.shape == (2, 4)
    assert y_prob.dtype == np.float32
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-6)
    for region in ("left_eye", "mouth"):
        changed = inputs | {region: 1 - inputs[region]}
        assert np.abs(model.predict_on_batch(changed) - y_prob).max() > 1e-6, region
    for layer in model.layers:
        assert layer.name.startswith(("left_eye", "mouth")), layer.name


@pytest.mark.parametrize(
    ("streams", "regions"),
    [
        (("mouth", "left_eye", "nose"), ("mouth", "left_eye", "nose")),
        (("eyes", "mouth"), ("right_eye", "left_eye", "mouth")),
    ],
)
def test_regions_lie_side_by_side_in_order(streams, regions):
    model = _small("cnn1", streams)
    name = f"{'_'.join(regions)}_side_by_side"
    image = keras.Model(model.inputs, model.get_layer(name).output)
    inputs = _inputs(model)
    expected = np.concatenate([inputs[region][:, 0] for region in regions], axis=2)
    np.testing.assert_array_equal(image.predict_on_batch(inputs), expected)


def test_onset_apex_and_offset_are_channels_amid_black():
    model = _small("apex_dcnn", size=17, n_frames=3, pad_to=20)
    image = keras.Model(model.inputs, model.get_layer("face_border").output)
    inputs = _inputs(model)
    found = image.predict_on_batch(inputs)
    assert found.shape == (2, 20, 20, 3)
    for frame in range(3):
        np.testing.assert_array_equal(
            found[:, 1:18, 1:18, frame], inputs["face"][:, frame, :, :, 0]
        )
    assert found.sum() == pytest.approx(inputs["face"].sum(), rel=1e-5)  # nothing but the crop


@pytest.mark.parametrize(
    ("inputs", "channels"), [("rgb", 3), ("grey", 1), ("difference", 3), ("flow", 3)]
)
def test_kind_of_pixels_decides_the_channels(inputs, channels):
    assert _small("cnn6", inputs=inputs).input_shape == (None, 1, 8, 8, channels)


def test_seed_decides_the_weights():
    one, same, other = (_small("cnn1", seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


def test_softmax_stays_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _small("cnn6", size=16, hog=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("face_conv_1").compute_dtype == "float16"
    assert model.get_layer("face_hog").compute_dtype == "float32"
    assert model.predict_on_batch(_inputs(model)).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fer_cnn", {}),
        ("apex_dcnn", {"n_frames": 3, "size": 50, "pad_to": 64}),
        ("cnn6", {}),
        ("cnn6", {"size": 16, "hog": True, "l2": 1e-4, "dropout": 0.2, "batch_norm": True}),
        ("cnn1", {}),
        ("cnn2", {}),
        ("resnet18", {}),
    ],
)
def test_learns_16_clips_by_heart_and_is_the_same_when_loaded(
    name, arguments, check_learning_by_heart
):
    model = _small(name, seed=0, **arguments)
    check_learning_by_heart(model, _inputs(model, 16), learning_rate=3e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cnn1", {"regions": ()}, "found none"),
        ("cnn1", {"regions": ("mouth", "mouth")}, "each region once; found mouth, mouth"),
        ("cnn1", {"regions": ("eyes", "left_eye")}, "each region once; found eyes, left_eye"),
        ("cnn1", {"regions": ("ear",)}, "one or more of left_eye.*found ear"),
        ("cnn1", {"inputs": "sepia"}, "one of rgb, grey, difference, flow, motion; found 'sepia'"),
        ("cnn1", {"n_classes": 1}, "at least 2 classes; found 1"),
        ("cnn1", {"n_frames": 3}, "n_frames must be 1 for this network; found 3"),
        ("apex_dcnn", {"n_frames": 2}, "n_frames must be 1 or 3 for this network; found 2"),
        ("apex_dcnn", {"size": 401}, "401 pixels do not fit a square of 400; set pad_to to 401"),
        ("apex_dcnn", {"size": 8, "pad_to": 15}, "at least 16 x 16 pixels; found 15 x 15"),
        ("cnn6", {"size": 15, "hog": True}, "at least 16 x 16 pixels; found 15 x 15"),
        ("cnn6", {"l2": -1}, r"l2 must be a number of at least 0; found -1"),
        ("cnn6", {"dropout": 1}, r"dropout must be a number in \[0, 1\); found 1"),
        ("cnn6", {"dropout": "0.5"}, r"dropout must be a number in \[0, 1\); found '0\.5'"),
        ("cnn6", {"dropout": True}, r"dropout must be a number in \[0, 1\); found True"),
        ("cnn6", {"dropout": float("nan")}, "found nan"),
        ("cnn6", {"l2": None}, "l2 must be a number of at least 0; found None"),
        ("cnn6", {"l2": float("inf")}, "found inf"),
        ("cnn6", {"hog": "False"}, "hog must be true or false; found 'False'"),
        ("cnn6", {"batch_norm": 1}, "batch_norm must be true or false; found 1"),
        ("apex_dcnn", {"pad_to": "400"}, "pad_to must be a whole number, or null; found '400'"),
        ("apex_dcnn", {"pad_to": 400.0}, "pad_to must be a whole number, or null; found 400.0"),
        ("apex_dcnn", {"pad_to": False}, "pad_to must be a whole number, or null; found False"),
    ],
)
def test_unusable_arguments_are_refused(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        BUILDERS[name](**arguments)


@pytest.mark.parametrize("name", BUILDERS)
def test_least_size_is_built_and_less_refused(name):
    least = LEAST[name]
    assert _small(name).output_shape == (None, 7)
    with pytest.raises(ModelError, match=f"at least {least} x {least} pixels; found {least - 1}"):
        _small(name, size=least - 1)
