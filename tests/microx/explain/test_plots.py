"""Figures of explanations: they show what was found, and a folder holds all of a video's."""

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError, ModelError
from microx.explain.explain import write_explanation
from microx.explain.filters import FilterResponses
from microx.explain.plots import (
    draw_cam,
    draw_feature_maps,
    draw_filters,
    draw_occlusion,
    draw_weights,
)
from microx.training.fit import train

RNG = np.random.default_rng(0)
CROPS = {name: RNG.integers(0, 255, (12, 16, 16, 3), np.uint8) for name in ("mouth", "left_eye")}


@pytest.fixture(scope="module")
def model_path(small_corpus, tmp_path_factory):
    return train(small_corpus, tmp_path_factory.mktemp("model"), epochs=1, n_frames=4)


def _image_axes(figure):
    return [axes for axes in figure.axes if axes.images and axes.get_visible()]


def test_a_clip_is_a_strip_of_at_most_ten_frames_a_region():
    cam = {name: RNG.random((12, 16, 16), np.float32) for name in CROPS}
    figure = draw_cam(CROPS, cam, np.arange(12) / 30, title="$why")
    assert len(_image_axes(figure)) == 20
    assert [axes.get_title() for axes in _image_axes(figure)[:2]] == ["0.00 s", "0.03 s"]


@pytest.mark.parametrize("n_frames", [1, 3])
def test_no_evidence_leaves_the_crops_grey(n_frames):
    crops = {name: crop[:n_frames] for name, crop in CROPS.items()}
    cam = {name: np.zeros((n_frames, 16, 16), np.float32) for name in CROPS}
    shown = _image_axes(draw_cam(crops, cam, np.zeros(n_frames), title=""))
    assert len(shown) == 2 * n_frames
    colours = shown[0].images[0].get_array()
    np.testing.assert_allclose(colours[..., 0], colours[..., 2])


def test_occlusion_gives_the_largest_drop():
    drops = {"mouth": np.zeros((4, 4), np.float32), "left_eye": np.full((4, 4), -0.1, np.float32)}
    drops["mouth"][1, 2] = 0.25
    crops = {name: crop[0] for name, crop in CROPS.items()}
    figure = draw_occlusion(crops, drops, title="why")
    labels = [axes.get_xlabel() for axes in _image_axes(figure)]
    assert labels[2:] == ["largest drop: 25", "largest drop: -10"]
    changed = figure.axes[2].images[0].get_array()
    plain = np.ptp(changed, axis=-1) < 1e-9
    assert plain.mean() == pytest.approx(15 / 16)


@pytest.mark.parametrize(("channels", "n_kernels"), [(3, 1), (6, 2), (1, 1), (2, 2), (16, 0)])
def test_filters_show_weights_that_can_be_read(channels, n_kernels):
    found = FilterResponses(
        layer="mouth_conv_1",
        kernels=RNG.normal(size=(5, 3, 3, channels)).astype(np.float32),
        patches=RNG.random((5, 4, 8, 8, 3), np.float32),
        responses=np.ones((5, 4), np.float32),
        clips=np.zeros((5, 4), np.int64),
        field=3,
    )
    assert len(_image_axes(draw_filters(found, title="why"))) == 5 * (n_kernels + 4)


def test_feature_maps_show_the_strongest_channels():
    maps = {"a": np.zeros((4, 4, 12), np.float32), "b": np.ones((2, 2, 3), np.float32)}
    maps["a"][..., 7] = 1
    figure = draw_feature_maps(CROPS["mouth"][0], maps, title="why")
    shown = _image_axes(figure)
    assert len(shown) == 1 + 8 + 3
    assert shown[1].get_title() == "8"
    assert shown[1].get_ylabel() == "a\n4 x 4"


def test_weights_are_one_line_a_stream():
    table = pd.DataFrame({"time_s": [0.1, 0.2], "mouth": [0.7, 0.6], "left_eye": [0.3, 0.4]})
    (axes,) = draw_weights(table, title="why").axes
    assert [line.get_label() for line in axes.lines] == ["mouth", "left eye", "equal weights"]


def test_a_folder_holds_all_of_one_video(small_corpus, model_path, tmp_path):
    written = write_explanation(model_path, small_corpus, "s1_sad", tmp_path / "new" / "why")
    names = {path.name.removeprefix("s1_sad.") for path in written}
    stream = next(name.split(".")[1].split("_")[0] for name in names if "filters" in name)
    assert names == {
        *("cam.png", "occlusion.png", "maps.png", "weights.png", "weights.csv"),
        *(f"filters.{stream}_conv_{step}.png" for step in (1, 3)),
    }
    assert {path.name for path in (tmp_path / "new" / "why").iterdir()} == {
        path.name for path in written
    }
    table = pd.read_csv(tmp_path / "new" / "why" / "s1_sad.weights.csv")
    assert list(table.columns) == ["time_s", "mouth", "face"]
    for path in written:
        if path.suffix == ".png":
            assert cv2.imread(str(path)).std() > 5


def test_an_emotion_and_a_layer_can_be_asked_for(small_corpus, model_path, tmp_path):
    written = write_explanation(
        model_path, small_corpus, "s1_sad", tmp_path, emotion="happy", layer="face_relu_2"
    )
    assert tmp_path / "s1_sad.filters.face_relu_2.png" in written


def test_mistakes_are_explained(small_corpus, model_path, tmp_path):
    with pytest.raises(InputError, match="emotion must be one of neutral, happy, sad; found 'joy'"):
        write_explanation(model_path, small_corpus, "s1_sad", tmp_path, emotion="joy")
    with pytest.raises(ModelError, match="gives maps; found 'mouth_9'"):
        write_explanation(model_path, small_corpus, "s1_sad", tmp_path, layer="mouth_9")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_explanation(model_path, small_corpus, "s1_sad", tmp_path / "file")
