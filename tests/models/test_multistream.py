import keras
import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.conv_lstm import classic_hard_sigmoid
from microx.models.multistream import build_microx
from microx.schema import CROP_INPUTS, DEFAULT_REGIONS

pytestmark = pytest.mark.backends

PRESETS = ("compact", "paper")


def _inputs(model, n_clips=2, seed=0):
    """Clips of every region, all of them there where the model wants to be told."""
    rng = np.random.default_rng(seed)
    inputs = {
        tensor.name: rng.random((n_clips, *tensor.shape[1:]), np.float32) for tensor in model.inputs
    }
    return {name: np.ones_like(x) if name == "present" else x for name, x in inputs.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_sum_to_one_and_every_region_counts(preset):
    model = build_microx(preset=preset, size=18, n_frames=3, n_classes=4, seed=0)
    inputs = _inputs(model)
    y_prob = model.predict_on_batch(inputs)
    assert y_prob.shape == (2, 4)
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-6)
    for region in DEFAULT_REGIONS:
        changed = inputs | {region: 1 - inputs[region]}
        assert np.abs(model.predict_on_batch(changed) - y_prob).max() > 1e-6, region


@pytest.mark.parametrize(
    ("size", "n_parameters"),
    [
        # One stream: ConvLSTM 4 gates x 64 x (9 x (3 + 64) + 1) = 154,624; dense 256 x
        # ((size - 2)^2 x 64 + 1); softmax 7 x 257 = 1,799. Five, then 7 x (35 + 1) = 252.
        (60, 5 * (154_624 + 55_116_032 + 1_799) + 252),
        (30, 5 * (154_624 + 12_845_312 + 1_799) + 252),
    ],
)
def test_paper_preset_has_the_published_parameters(size, n_parameters):
    assert n_parameters == {60: 276_362_527, 30: 65_008_927}[size]
    # Counted without drawing a gigabyte of weights.
    with keras.StatelessScope(initialize_variables=False):
        assert build_microx(preset="paper", size=size).count_params() == n_parameters


def test_paper_preset_is_the_published_stream():
    model = build_microx(("mouth",), preset="paper", size=8)
    roles = [layer.name for layer in model.layers]
    assert roles == [
        *("mouth", "mouth_raw", "mouth_conv_lstm", "mouth_dropout", "mouth_flatten", "mouth_dense"),
        *("mouth_dense_dropout", "mouth_softmax", "fusion_softmax"),
    ]
    conv_lstm = model.get_layer("mouth_conv_lstm")
    assert conv_lstm.output.shape == (None, 6, 6, 64)
    assert conv_lstm.recurrent_activation is classic_hard_sigmoid
    assert model.get_layer("mouth_dropout").rate == 0.2
    assert model.get_layer("mouth_dense_dropout").rate == 0.3


def test_paper_preset_reads_raw_bgr_as_its_authors_gave_it():
    model = build_microx(("mouth",), preset="paper", size=8)
    raw = model.get_layer("mouth_raw")(np.array([[[[[0.2, 0.4, 1.0]]]]], np.float32))
    np.testing.assert_allclose(np.ravel(raw), [255.0, 102.0, 51.0], rtol=1e-6)
    unit = build_microx(("mouth",), preset="paper", size=8, raw_pixels=False)
    assert "mouth_raw" not in [layer.name for layer in unit.layers]
    with pytest.raises(ModelError, match="raw_pixels is for preset paper"):
        build_microx(("mouth",), raw_pixels=True)


def test_compact_preset_is_small_and_named_after_its_regions():
    model = build_microx()
    # One stream: convolutions 16 x (9 x 2 x 3 + 1) + 24 x 145 + 32 x 217,
    # ConvLSTM 128 x (9 x (32 + 32) + 1), softmax 7 x (2 x 2 x 32 + 1).
    stream = 880 + 3_480 + 6_944 + 73_856 + 903
    # Five dense layers 7 x 7 and a bias; a score and a trust for each stream.
    fusion = 5 * 7 * 7 + 7 + 2 * 5
    assert model.count_params() == 5 * stream + fusion == 430_577
    roles = [layer.name for layer in model.layers if layer.count_params()]
    for name in roles:
        assert name.startswith((*DEFAULT_REGIONS, "fusion")), name
    assert [name for name in roles if name.startswith("mouth")] == [
        *("mouth_conv_1", "mouth_conv_2", "mouth_conv_3", "mouth_conv_lstm", "mouth_softmax"),
    ]


@pytest.mark.parametrize(("inputs", "channels"), CROP_INPUTS.items())
@pytest.mark.parametrize("preset", PRESETS)
def test_inputs_decide_the_channels(preset, inputs, channels):
    model = build_microx(
        ("mouth", "nose"), preset=preset, size=18, n_frames=2, n_classes=3, inputs=inputs, seed=0
    )
    clips = {t.name: t.shape for t in model.inputs if t.name != "present"}
    assert clips == dict.fromkeys(("mouth", "nose"), (None, 2, 18, 18, channels))
    np.testing.assert_allclose(model.predict_on_batch(_inputs(model)).sum(axis=1), 1, atol=1e-5)


def test_a_block_of_ones_own_takes_the_place_of_the_stream():
    def block(x, stream, n_classes):
        x = keras.layers.Flatten(name=f"{stream}_flatten")(x)
        return keras.layers.Dense(n_classes, activation="softmax", name=f"{stream}_softmax")(x)

    model = build_microx(("eyes", "mouth"), size=17, n_frames=2, n_classes=3, block=block)
    # Pixels of two frames, and how they changed, to three classes.
    each = [3 * (n_crops * 17 * 17 * 2 * 2 * 3 + 1) for n_crops in (2, 1)]
    assert model.count_params() == sum(each) + 2 * 9 + 3 + 2 * 2
    assert model.predict_on_batch(_inputs(model)).shape == (2, 3)


@pytest.mark.parametrize(("preset", "size"), [("compact", 18), ("paper", 8)])
def test_learns_16_clips_by_heart_and_is_the_same_when_loaded(
    preset, size, check_learning_by_heart
):
    model = build_microx(preset=preset, size=size, n_frames=3, seed=1)
    check_learning_by_heart(model, _inputs(model, 16), learning_rate=3e-3)


def test_seed_decides_the_weights():
    one, same, other = (build_microx(("nose",), size=18, seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


def test_clip_without_light_or_skin_is_the_same_clip():
    """Twice the contrast in another colour changes nothing in the compact model."""
    model = build_microx(("face",), size=18, n_frames=3, seed=0)
    clip = _inputs(model)
    tinted = clip | {"face": 0.4 * clip["face"] + np.array([0.1, 0.3, 0.2], np.float32)}
    np.testing.assert_allclose(
        model.predict_on_batch(tinted), model.predict_on_batch(clip), atol=0.01
    )


@pytest.mark.parametrize(
    ("x", "y"), [(-3, 0), (-2.5, 0), (-1, 0.3), (0, 0.5), (1, 0.7), (2.5, 1), (3, 1)]
)
def test_classic_hard_sigmoid(x, y):
    assert float(classic_hard_sigmoid(keras.ops.array(float(x)))) == pytest.approx(y)


@pytest.mark.parametrize(
    ("regions", "arguments", "message"),
    [
        ((), {}, "found none"),
        (("mouth", "mouth"), {}, "each region once; found mouth, mouth"),
        (("ear",), {}, "one or more of left_eye.*found ear"),
        (("mouth",), {"preset": "big"}, "compact, paper; found 'big'"),
        (("mouth",), {"n_classes": 1}, "at least 2 classes; found 1"),
        (("mouth",), {"size": 16}, r"at least \(1, 17, 17\); found \(10, 16, 16\)"),
        (("mouth",), {"n_frames": 0}, r"found \(0, 32, 32\)"),
        (("mouth",), {"preset": "paper", "size": 2}, r"'paper' must be at least \(1, 3, 3\)"),
        (("mouth",), {"inputs": "depth"}, "rgb, grey, difference, flow, motion; found 'depth'"),
    ],
)
def test_unusable_arguments_are_refused(regions, arguments, message):
    with pytest.raises(ModelError, match=message):
        build_microx(regions, **arguments)


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_joined_streams_predict_in_batches_too(preset):
    """TensorFlow's graphs refuse some names of layers that other calls take."""
    model = build_microx(("mouth+nose", "face"), preset=preset, n_frames=2, size=17, seed=0)
    clips = {tensor.name: np.ones((1, *tensor.shape[1:]), "float32") for tensor in model.inputs}
    np.testing.assert_allclose(model.predict_on_batch(clips).sum(axis=1), 1, atol=1e-5)
