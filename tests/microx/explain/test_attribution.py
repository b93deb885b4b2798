"""Why a model predicts: gradients are right, maps lie where the emotion is, nothing is changed."""

import keras
import numpy as np
import pytest

from microx.corpus.corpus import load_corpus
from microx.errors import InputError, ModelError
from microx.explain.attribution import (
    grad_cam,
    measure_gradients,
    occlusion_sensitivity,
    open_for_model,
    region_weights,
)
from microx.explain.filters import feature_maps, find_filter_responses
from microx.explain.layers import RUN_EAGERLY, find_streams, read_layers, stop_at
from microx.models import build_microx
from microx.models.baselines import build_apex_dcnn, build_cnn6, build_resnet18
from microx.training.fit import train
from microx.training.model_file import load_model


@pytest.fixture(scope="module")
def learned(small_corpus, tmp_path_factory):
    """A model of mouth and face that learned the bar in the mouth, and its corpus."""
    out = tmp_path_factory.mktemp("learned")
    settings = {"n_frames": 4, "stride": 4, "epochs": 20, "batch_size": 16, "learning_rate": 3e-3}
    path = train(small_corpus, out, regions=("mouth", "face"), **settings)
    return *load_model(path), small_corpus


@pytest.fixture(scope="module")
def clips(learned):
    """Two clips of each emotion of one subject, and what they show."""
    model, facts, corpus = learned
    dataset = open_for_model(model, facts, corpus)
    rows = dataset.clips.groupby("label").head(2).index.to_numpy()
    batch = dataset[0][0]
    return {name: x[rows] for name, x in batch.items()}, dataset.clips.loc[rows, "label"].to_numpy()


def _score(prob, label):
    log = np.log(np.asarray(prob, np.float64))
    return (log[:, label] - log.mean(axis=1)).sum()


@pytest.mark.parametrize("joined", [False, True])
def test_gradients_are_those_of_small_steps(joined):
    streams = ("mouth+nose",) if joined else ("mouth", "nose")
    model = build_microx(streams, n_frames=3, size=20, n_classes=3, seed=1, region_dropout=0.5)
    rng = np.random.default_rng(0)
    clips = {name: rng.random((2, 3, 20, 20, 3), np.float32) for name in ("mouth", "nose")}
    layers = [f"{stream.replace('+', '_and_')}_relu_3" for stream in streams]
    outputs, gradients = measure_gradients(model, clips, layers, label=1)
    tensors = [model.get_layer(name).output for name in layers]
    above = keras.Model([*tensors, *model.inputs], model.output)
    above.run_eagerly = RUN_EAGERLY
    clips["present"] = np.ones((2, 2), np.float32)
    fixed = [clips[tensor.name] for tensor in model.inputs]
    for _ in range(3):
        ways = [rng.normal(0, 0.01, output.shape).astype(np.float32) for output in outputs]
        ahead, behind = (
            _score(
                above.predict_on_batch(
                    [*(o + sign * way for o, way in zip(outputs, ways, strict=True)), *fixed]
                ),
                1,
            )
            for sign in (1, -1)
        )
        expected = sum(2 * (g * way).sum() for g, way in zip(gradients, ways, strict=True))
        assert expected == pytest.approx(ahead - behind, rel=0.02, abs=2e-5)


def test_explaining_changes_nothing(learned, clips):
    model = learned[0]
    before, trainable = model.get_weights(), [layer.trainable for layer in model.layers]
    grad_cam(model, clips[0])
    occlusion_sensitivity(model, clips[0], cells=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [layer.trainable for layer in model.layers] == trainable


def test_covering_costs_most_where_the_emotion_shows(learned, clips):
    model = learned[0]
    batch, labels = clips
    assert (model.predict_on_batch(batch).argmax(axis=1) == labels).mean() > 0.8
    cam = grad_cam(model, batch)
    assert {name: maps.shape for name, maps in cam.items()} == dict.fromkeys(
        ("mouth", "face"), (len(labels), 4, 24, 24)
    )
    each = np.stack([maps.max(axis=(1, 2, 3)) for maps in cam.values()])
    np.testing.assert_allclose(each.max(axis=0), 1)
    assert min(maps.min() for maps in cam.values()) >= 0
    drops = occlusion_sensitivity(model, batch)["mouth"]
    assert drops.shape == (len(labels), 8, 8)
    heights = np.arange(8) * 3 + 1.5  # of cells, in pixels
    for label, middle in enumerate((4, 12, 20)):  # where the emotion's bar stands
        near = np.abs(heights - middle) < 4
        lost = drops[labels == label].mean(axis=(0, 2))
        assert lost[near].max() > lost[~near].max()


def test_a_stream_that_counts_for_little_speaks_little(learned, clips):
    model, (batch, _) = learned[0], clips
    score = model.get_layer("fusion_weights").score
    before = np.array(keras.ops.convert_to_numpy(score))
    try:
        score.assign([5.0, -5.0])
        cam, drops = grad_cam(model, batch), occlusion_sensitivity(model, batch, cells=2)
        assert cam["mouth"].max() == 1
        assert cam["face"].max() < 0.05
        assert np.abs(drops["face"]).max() < 0.02
    finally:
        score.assign(before)


def test_maps_of_another_emotion_differ(learned, clips):
    model, (batch, _) = learned[0], clips
    assert not np.allclose(grad_cam(model, batch, 0)["mouth"], grad_cam(model, batch, 1)["mouth"])
    drop = sum(occlusion_sensitivity(model, batch, k, cells=2)["mouth"] for k in range(3))
    np.testing.assert_allclose(drop, 0, atol=1e-5)  # what one emotion loses the others gain


def test_a_missing_region_counts_for_nothing(learned, clips):
    model, (batch, _) = learned[0], clips
    missing = batch | {"face": np.zeros_like(batch["face"])}
    missing["present"] = np.tile(np.float32([1, 0]), (len(batch["face"]), 1))
    assert not grad_cam(model, missing)["face"].any()
    drops = occlusion_sensitivity(model, missing, cells=2)["face"]
    assert np.abs(drops).max() < 1e-6  # batches of other sizes are summed in another order


def test_no_clips_give_no_maps(learned, clips):
    nothing = {name: x[:0] for name, x in clips[0].items()}
    assert grad_cam(learned[0], nothing)["mouth"].shape == (0, 4, 24, 24)
    assert occlusion_sensitivity(learned[0], nothing, cells=4)["mouth"].shape == (0, 4, 4)


NETWORKS = {
    "paper": lambda: build_microx(
        ("mouth", "eyes"), preset="paper", n_frames=2, size=8, n_classes=3
    ),
    "cnn6": lambda: build_cnn6(("face",), size=24, n_classes=3, inputs="rgb", hog=True),
    "cnn6 of two": lambda: build_cnn6(("nose", "face"), size=24, n_classes=3, inputs="rgb"),
    "apex_dcnn": lambda: build_apex_dcnn(
        ("nose", "face"), size=20, n_classes=3, inputs="rgb", pad_to=32
    ),
    "resnet18": lambda: build_resnet18(("face",), size=32, n_classes=3, inputs="rgb"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_explained(name):
    keras.utils.set_random_seed(2)
    model = NETWORKS[name]()
    rng = np.random.default_rng(0)
    clips = {t.name: rng.random((2, *t.shape[1:]), np.float32) for t in model.inputs}
    cam, drops = grad_cam(model, clips, 1), occlusion_sensitivity(model, clips, 1, cells=2)
    for region, pixels in clips.items():
        assert cam[region].shape == pixels.shape[:4]
        assert np.isfinite(drops[region]).all()
    stream = find_streams(model)[0]
    assert feature_maps(model, clips, stream.map_layers[0]).ndim == 5
    layer = (stream.convolutions or stream.map_layers)[0]
    found = find_filter_responses(model, [clips], layer, n_patches=2)
    assert found.patches.shape[1:3] == (2, found.patches.shape[3])


def test_patches_are_cut_where_the_filter_responds():
    """A filter that sees one bright pixel: its patch has it in the middle, whatever the layer."""
    model = build_microx(("mouth", "nose"), n_frames=2, size=32, n_classes=2, inputs="difference")
    for step in (1, 2, 3):
        layer = model.get_layer(f"mouth_conv_{step}")
        kernel = np.zeros(layer.kernel.shape, np.float32)
        kernel[1, 1, 0, :] = 1
        layer.set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])
    clips = {name: np.zeros((3, 2, 32, 32, 3), np.float32) for name in ("mouth", "nose")}
    y, x = (23, 15)  # 8 i + 7: the middle of what a cell of the third layer sees
    clips["mouth"][1, 1, y, x] = 1
    for step, field in ((1, 3), (2, 7), (3, 15)):
        found = find_filter_responses(model, [clips], f"mouth_conv_{step}", n_patches=1)
        assert found.field == field
        assert found.clips[0] == [1]
        patch = found.patches[0, 0]
        assert patch.shape == (16, 16, 3)
        assert np.argwhere(patch[..., 0] == 1).tolist() == [[8, 8]]


def test_strongest_patches_are_found_over_batches(learned, clips):
    model, (batch, _) = learned[0], clips
    whole = find_filter_responses(model, [batch], "mouth_conv_1", n_patches=3)
    parts = [{name: x[at : at + 2] for name, x in batch.items()} for at in (0, 2, 4)]
    found = find_filter_responses(model, iter(parts), "mouth_conv_1", n_patches=3)
    np.testing.assert_allclose(found.responses, whole.responses, rtol=1e-4, atol=1e-5)
    assert (np.diff(found.responses, axis=1) <= 0).all()
    np.testing.assert_array_equal(found.kernels, np.moveaxis(
        np.asarray(model.get_layer("mouth_conv_1").get_weights()[0]), -1, 0))  # fmt: skip
    maps = feature_maps(model, batch, "mouth_conv_1")
    assert maps.shape == (6, 4, 12, 12, 16)
    np.testing.assert_allclose(maps.max(axis=(0, 1, 2, 3)), whole.responses[:, 0], rtol=1e-5)
    (flat,) = read_layers(stop_at(model, ["mouth_conv_1"]), batch)
    np.testing.assert_array_equal(flat.reshape(maps.shape), maps)


def test_weights_over_a_video(learned):
    model, facts, corpus = learned
    table = region_weights(model, facts, corpus, "s0_happy")
    assert list(table.columns) == ["time_s", "mouth", "face"]
    np.testing.assert_allclose(table[["mouth", "face"]].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(table["time_s"], (1.5 + 2 * np.arange(9)) / 30)


def test_mistakes_are_explained(learned, clips, tmp_path):
    model, facts, corpus = learned
    batch = clips[0]
    with pytest.raises(InputError, match="label must be from 0 to 2"):
        grad_cam(model, batch, 3)
    with pytest.raises(InputError, match="cells must be from 1 to the 24 pixels"):
        occlusion_sensitivity(model, batch, cells=25)
    with pytest.raises(ModelError, match=r"clips for region '\w+' must have shape \(B, 4, 24"):
        grad_cam(model, {"mouth": batch["mouth"][:, :3]})
    with pytest.raises(ModelError, match="found 'mouth_flatten'; known: mouth_conv_1"):
        feature_maps(model, batch, "mouth_flatten")
    with pytest.raises(InputError, match="expected clips to find what its filters respond to"):
        find_filter_responses(model, [], "mouth_conv_1")
    with pytest.raises(InputError, match="no 's9_happy'"):
        open_for_model(model, facts, corpus, video_id="s9_happy")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match=r"expected a network of microx\.models"):
        find_streams(other)
    paper = NETWORKS["paper"]()
    with pytest.raises(ModelError, match="expected a model that weighs its streams"):
        region_weights(paper, facts, load_corpus(corpus.folder), "s0_happy")
