import keras
import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.multistream import build_microx
from microx.models.streams import (
    ClipNormalization,
    add_change,
    compact_block,
    list_regions,
    parse_streams,
)

pytestmark = pytest.mark.backends


@pytest.mark.parametrize(
    ("streams", "parsed"),
    [
        (["mouth"], {"mouth": ("mouth",)}),
        (["eyes"], {"eyes": ("right_eye", "left_eye")}),
        (["brows", "face"], {"brows": ("right_brow", "left_brow"), "face": ("face",)}),
        (["eyes+brows"], {"eyes+brows": ("right_eye", "left_eye", "right_brow", "left_brow")}),
        (["mouth+nose"], {"mouth+nose": ("mouth", "nose")}),
        (
            ["left_eye", "right_eye+mouth"],
            {"left_eye": ("left_eye",), "right_eye+mouth": ("right_eye", "mouth")},
        ),
    ],
)
def test_parse_streams(streams, parsed):
    assert parse_streams(streams) == parsed
    assert list(parse_streams(streams)) == streams
    assert list_regions(streams) == tuple(r for regions in parsed.values() for r in regions)


@pytest.mark.parametrize(
    ("streams", "found"),
    [
        ([], "found none"),
        (["ear"], "found ear"),
        (["mouth", "mouth"], "each region once; found mouth, mouth"),
        (["eyes", "left_eye"], "found eyes, left_eye"),
        (["mouth+mouth"], r"found mouth\+mouth"),
        (["mouth+"], r"found mouth\+"),
        ([""], "found none"),
    ],
)
def test_streams_that_cannot_be_are_refused(streams, found):
    with pytest.raises(ModelError, match=found):
        parse_streams(streams)


def test_joined_regions_stand_side_by_side_in_one_stream():
    model = build_microx(("eyes+brows", "mouth"), size=20, n_frames=2, n_classes=3, seed=0)
    assert {t.name for t in model.inputs} == {
        *("right_eye", "left_eye", "right_brow", "left_brow", "mouth", "present"),
    }
    assert model.get_layer("eyes_and_brows_join").output.shape == (None, 2, 20, 80, 6)
    assert {name for name in (layer.name for layer in model.layers) if "softmax" in name} == {
        *("eyes_and_brows_softmax", "mouth_softmax", "fusion_softmax"),
    }
    paper = build_microx(("eyes",), preset="paper", size=8, n_frames=2)
    assert paper.get_layer("eyes_conv_lstm").output.shape == (None, 6, 14, 64)


def test_a_clip_is_normalised_by_itself_over_time_and_place():
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 5, 6, 3)).astype(np.float32)
    y = keras.ops.convert_to_numpy(ClipNormalization()(x))
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-3)
    alone = keras.ops.convert_to_numpy(ClipNormalization()(x[1:]))
    np.testing.assert_allclose(alone[0], y[1], atol=1e-5)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ClipNormalization()(5 * x - 7)), y, atol=0.01
    )
    assert (keras.ops.convert_to_numpy(ClipNormalization()(np.zeros_like(x))) == 0).all()


def test_a_flat_clip_far_from_zero_is_normalised_to_numbers():
    x = np.full((1, 10, 16, 16, 1), 1000.1, np.float32)  # its mean square is below its squared mean
    x = x * np.linspace(1, 200, 50, dtype=np.float32).reshape(50, 1, 1, 1, 1)
    assert np.isfinite(keras.ops.convert_to_numpy(ClipNormalization()(x))).all()


def test_change_is_told_beside_the_look():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6, 1)).astype(np.float32)
    y = keras.ops.convert_to_numpy(add_change(x))
    np.testing.assert_array_equal(y[..., :1], x)
    assert (y[:, 0, ..., 1] == 0).all()
    mean = (x - x[:, :1])[1, 2, 1:4, 2:5].mean()  # around row 2, column 3
    expected = 10 * np.sign(mean) * max(abs(mean) - 0.1, 0)
    assert y[1, 2, 2, 3, 1] == pytest.approx(expected, abs=1e-5)


def test_noise_is_no_change():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 1, 32, 32, 3)) + 0.05 * rng.normal(size=(1, 10, 32, 32, 3))
    change = keras.ops.convert_to_numpy(add_change(x.astype(np.float32)))[..., 3:]
    assert (change == 0).mean() > 0.99


@pytest.mark.parametrize("size", [17, 18, 32, 48, 60])
def test_compact_stream_takes_images_of_many_sizes(size):
    clip = keras.Input((3, size, size, 1))
    y = compact_block(clip, "mouth", 4)
    assert y.shape == (None, 4)
    assert keras.Model(clip, y).count_params() < 200_000
