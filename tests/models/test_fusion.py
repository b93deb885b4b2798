"""A model predicts with any subset of regions; missing ones are ignored."""

import itertools

import keras
import numpy as np
import pytest

from microx.models.fusion import (
    PRESENT,
    WEIGHTS,
    RegionDropout,
    StreamAnswers,
    needs_present,
    show_streams,
    show_weights,
)
from microx.models.multistream import build_microx
from microx.schema import DEFAULT_REGIONS

pytestmark = pytest.mark.backends

STREAMS = ("eyes", "nose", "mouth", "face")
REGIONS = ("right_eye", "left_eye", "nose", "mouth", "face")
SUBSETS = np.array(list(itertools.product((0, 1), repeat=len(REGIONS)))[1:], np.float32)


def _disturb(model, seed=0):
    """Weights as after training: no stream counts like another."""
    rng = np.random.default_rng(seed)
    for name in (WEIGHTS, "fusion_softmax"):
        layer = model.get_layer(name)
        layer.set_weights([w + rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return model


def _clips(model, n_clips, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        tensor.name: rng.random((n_clips, *tensor.shape[1:]), np.float32) for tensor in model.inputs
    }
    return inputs | {PRESENT: np.ones_like(inputs[PRESENT])}


@pytest.fixture(scope="module")
def model():
    """The compact network at its usual size, the eyes in one stream."""
    return _disturb(build_microx(STREAMS, seed=0))


@pytest.fixture(scope="module")
def outputs(model):
    """Every subset of the regions, a clip each: the inputs, the probabilities and the weights."""
    inputs = _clips(model, len(SUBSETS)) | {PRESENT: SUBSETS}
    return inputs, *show_weights(model).predict_on_batch(inputs)


def test_every_subset_of_regions_has_a_prediction(outputs):
    _, y_prob, weights = outputs
    assert y_prob.shape == (31, 7)
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-5)
    assert y_prob.min() >= 0
    assert weights.shape == (31, len(STREAMS))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    is_there = np.column_stack([SUBSETS[:, :2].max(axis=1), SUBSETS[:, 2:]])  # one eye is enough
    np.testing.assert_array_equal(weights > 0, is_there > 0)


@pytest.mark.parametrize("pixel", [np.nan, np.inf, 0.0, 1e30])
def test_values_of_a_missing_region_are_ignored(model, outputs, pixel):
    inputs, y_prob, weights = outputs
    other = dict(inputs)
    for index, region in enumerate(REGIONS):
        other[region] = inputs[region].copy()
        other[region][SUBSETS[:, index] == 0] = pixel
    again = show_weights(model).predict_on_batch(other)
    np.testing.assert_array_equal(again[0], y_prob)
    np.testing.assert_array_equal(again[1], weights)


def test_what_is_there_counts(model, outputs):
    inputs, y_prob, _ = outputs
    for index, region in enumerate(REGIONS):
        changed = model.predict_on_batch(inputs | {region: 1 - inputs[region] ** 2})
        differs = np.abs(changed - y_prob).max(axis=1) > 0
        np.testing.assert_array_equal(differs, SUBSETS[:, index] == 1, err_msg=region)


def test_one_eye_keeps_the_stream_of_the_eyes(outputs):
    weights = outputs[2]
    by_subset = {tuple(subset): row for row, subset in enumerate(SUBSETS.astype(int).tolist())}
    one, none = by_subset[0, 1, 0, 1, 0], by_subset[0, 0, 0, 1, 0]
    assert weights[one, 0] > 0
    assert weights[none, 0] == 0
    assert weights[none, 2] == 1


def test_with_everything_missing_the_bias_predicts(model):
    clips = _clips(model, 2)
    nothing = {name: np.full_like(x, np.nan) for name, x in clips.items()}
    nothing[PRESENT] = np.zeros_like(clips[PRESENT])
    y_prob, weights = show_weights(model).predict_on_batch(nothing)
    assert (weights == 0).all()
    bias = model.get_layer("fusion_softmax").get_weights()[1].astype(np.float64)
    expected = np.exp(bias) / np.exp(bias).sum()
    np.testing.assert_allclose(y_prob, np.tile(expected, (2, 1)), atol=1e-6)


def test_an_untrained_fusion_is_the_geometric_mean_of_its_streams():
    model = build_microx(("mouth", "nose"), size=18, n_frames=2, n_classes=3, seed=1)
    inputs = _clips(model, 4)
    fused, *streams = np.moveaxis(show_streams(model).predict_on_batch(inputs), 1, 0)
    mean = np.sqrt(streams[0] * streams[1])
    np.testing.assert_allclose(fused, mean / mean.sum(axis=1, keepdims=True), atol=1e-5)
    _, weights = show_weights(model).predict_on_batch(inputs)
    np.testing.assert_allclose(weights, 0.5, atol=1e-6)


def test_a_surer_stream_counts_more_once_trust_is_learned():
    outputs = np.log([[[0.98, 0.01, 0.01], [0.4, 0.3, 0.3]]]).astype(np.float32)
    layer = build_microx(("mouth", "nose"), size=18, n_frames=1, n_classes=3).get_layer(WEIGHTS)
    layer.trust.assign([1.0, 1.0])
    weights = keras.ops.convert_to_numpy(layer(outputs, np.ones((1, 2), np.float32)))
    entropy = -(np.exp(outputs) * outputs).sum(axis=2)
    expected = np.exp(-entropy) / np.exp(-entropy).sum()
    np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_a_missing_stream_gives_ones_and_learns_nothing():
    model = build_microx(("mouth", "nose"), size=18, n_frames=2, n_classes=3, seed=0)
    shown = show_streams(model)
    inputs = _clips(model, 4)
    inputs[PRESENT][:, 1] = 0
    inputs["nose"][:] = np.nan
    rows = shown.predict_on_batch(inputs)
    assert rows.shape == (4, 3, 3)
    np.testing.assert_array_equal(rows[:, 2], 1)
    np.testing.assert_allclose(rows[:, :2].sum(axis=2), 1, atol=1e-5)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    shown.compile(keras.optimizers.SGD(1.0), _loss_of_all_rows, jit_compile=False)
    shown.train_on_batch(inputs, np.eye(3)[[0, 1, 2, 0]])
    moved = {
        name
        for name, weights in before.items()
        for old, new in zip(weights, model.get_layer(name).get_weights(), strict=True)
        if not np.array_equal(old, new)
    }
    assert {"mouth_conv_1", "mouth_conv_lstm", "mouth_softmax"} <= moved
    assert not {name for name in moved if name.startswith("nose")}
    assert all(np.isfinite(w).all() for w in model.get_weights())


def _loss_of_all_rows(y_true, rows):
    cross_entropy = keras.losses.categorical_crossentropy
    return sum(cross_entropy(y_true, row) for row in keras.ops.unstack(rows, axis=1))


def test_region_dropout_hides_in_training_only_and_never_everything():
    layer = RegionDropout(0.5, seed=3)
    present = np.ones((4000, 3), np.float32)
    present[1000:2000, 0] = 0  # missing from the start
    present[3000:] = 0
    np.testing.assert_array_equal(layer(present), present)
    np.testing.assert_array_equal(layer(present, training=False), present)
    shown = keras.ops.convert_to_numpy(layer(present, training=True))
    assert (shown <= present).all()
    assert (shown[:3000].sum(axis=1) > 0).all()
    assert (shown[3000:] == 0).all()
    # All three hidden in 1 of 8, which then are all shown: 1/2 + 1/8 of the regions are.
    assert shown[:1000].mean() == pytest.approx(0.625, abs=0.03)
    assert shown[1000:2000, 1:].mean() == pytest.approx(0.75, abs=0.03)
    again = keras.ops.convert_to_numpy(layer(present, training=True))
    assert (again != shown).any()
    same = keras.ops.convert_to_numpy(RegionDropout(0.5, seed=3)(present, training=True))
    np.testing.assert_array_equal(same, shown)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_region_dropout_keeps_its_rate(rate):
    present = np.ones((5000, 5), np.float32)
    shown = keras.ops.convert_to_numpy(RegionDropout(rate, seed=0)(present, training=True))
    assert 1 - shown.mean() == pytest.approx(rate, abs=0.02)


def test_region_dropout_is_part_of_a_stored_model(tmp_path):
    model = build_microx(("mouth", "nose"), size=18, n_frames=1, region_dropout=0.4, seed=2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    layer = again.get_layer("region_dropout")
    assert (layer.rate, layer.seed) == (0.4, 2)
    inputs = _clips(model, 2)
    inputs[PRESENT][0, 0] = 0
    np.testing.assert_array_equal(again.predict_on_batch(inputs), model.predict_on_batch(inputs))
    for ours, theirs in zip(
        show_weights(again).predict_on_batch(inputs),
        show_weights(model).predict_on_batch(inputs),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_only_compact_asks_what_is_there():
    assert needs_present(build_microx(("mouth",), size=18, n_frames=1))
    assert not needs_present(build_microx(("mouth",), preset="paper", size=18, n_frames=1))
    model = build_microx(size=18, n_frames=1)
    assert {tensor.name for tensor in model.inputs} == {*DEFAULT_REGIONS, PRESENT}
    columns = [model.get_layer(f"{region}_shown").index for region in DEFAULT_REGIONS]
    assert columns == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("untold", [np.nan, -1.0])
def test_a_region_is_missing_unless_it_is_said_to_be_there(model, outputs, untold):
    inputs, y_prob, weights = outputs
    present = np.where(SUBSETS > 0, np.float32(0.5), np.float32(untold))
    again = show_weights(model).predict_on_batch(inputs | {PRESENT: present})
    np.testing.assert_array_equal(again[0], y_prob)
    np.testing.assert_array_equal(again[1], weights)


@pytest.mark.parametrize("probability", [0.0, 1e-12, 1.0])
def test_the_logarithm_of_an_impossible_class_is_a_number(probability):
    streams = [np.array([[probability, 1 - probability]], np.float32)]
    layer = StreamAnswers([[0]])
    for is_there in (1, 0):
        rows, there = layer(streams, np.array([[is_there]], np.float32))
        rows = keras.ops.convert_to_numpy(rows)
        assert np.isfinite(rows).all()
        assert (rows >= -16.2).all()
        assert float(there[0, 0]) == is_there
        assert is_there or (rows == 0).all()


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_streams_are_fused_in_full_precision(precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = build_microx(("mouth", "nose"), size=18, n_frames=2, n_classes=3, seed=0)
        shown = show_streams(model)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("mouth_conv_1").compute_dtype == precision.removeprefix("mixed_")
    outputs, is_there = model.get_layer("fusion_streams").output
    assert {outputs.dtype, is_there.dtype, model.output.dtype} == {"float32"}
    y_prob = model.predict_on_batch(_clips(model, 3))
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-6)
    rows = shown.predict_on_batch(_clips(model, 3))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:, 0], y_prob)
