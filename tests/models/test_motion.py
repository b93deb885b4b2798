import keras
import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.motion import (
    MOTION_STREAMS,
    build_motion,
    build_off_apexnet,
    build_sssnet,
    build_ststnet,
)
from microx.models.streams import list_regions

pytestmark = pytest.mark.backends

SINGLE = {"ststnet": build_ststnet, "off_apexnet": build_off_apexnet, "sssnet": build_sssnet}


def _inputs(model, n_clips=3, seed=0):
    rng = np.random.default_rng(seed)
    clips = {
        tensor.name: rng.normal(size=(n_clips, *tensor.shape[1:])).astype(np.float32)
        for tensor in model.inputs
    }
    if "present" in clips:
        clips["present"][:] = 1
    return clips


# A convolution of side s from a to b channels has s²ab weights and, unless batch normalisation
# follows, b biases; batch normalisation has 4 numbers a channel; a dense layer from a to b has
# (a + 1) b.
def test_motion_has_the_parameters_worked_out():
    # Cells left of 28 x 28 (pool 3, then 2), 11 x 26, 11 x 14 and 11 x 18 (2, then 2), rounded up.
    n_cells = 5 * 5 + 3 * 7 + 3 * 4 + 3 * 5
    first = 5 * 5 * 3 * 12 + 3 * (3 * 3 * 3 * 12) + 4 * 4 * 12
    second = 4 * (3 * 3 * 12 * 16 + 4 * 16)
    model = build_motion(n_classes=5)
    assert model.count_params() == first + second + 16 * 5 * n_cells + 4 * 5 == 15_092


def test_networks_of_one_motion_have_the_parameters_worked_out():
    branches = sum(3 * 3 * 3 * n + n + 4 * n for n in (3, 5, 8))
    assert build_ststnet(n_classes=3).count_params() == branches + (5 * 5 * 16 + 1) * 3
    branch = 3 * 3 * 6 + 6 + 3 * 3 * 6 * 16 + 16
    dense = (2 * 7 * 7 * 16 + 1) * 1024 + 1025 * 1024 + 1025 * 3
    assert build_off_apexnet(n_classes=3).count_params() == 2 * branch + dense
    convolutions = 5 * 5 * 3 * 32 + 32 + 4 * 32 + 3 * 3 * 32 * 64 + 64 + 4 * 64
    dense = (10 * 10 * 64 + 1) * 256 + 257 * 3
    assert build_sssnet(n_classes=3).count_params() == convolutions + dense


@pytest.mark.parametrize("name", SINGLE)
def test_a_network_of_one_motion_answers_by_the_mean_of_its_frames(name):
    size = 32 if name == "sssnet" else 28
    one = SINGLE[name](n_frames=1, size=size, n_classes=3, seed=0)
    three = SINGLE[name](n_frames=3, size=size, n_classes=3, seed=0)
    maps = _inputs(three)["face"]
    answers = three.predict_on_batch({"face": maps})
    assert answers.shape == (3, 3)
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert answers == pytest.approx(
        one.predict_on_batch({"face": maps.mean(axis=1, keepdims=True)}), abs=1e-5
    )


@pytest.mark.parametrize("name", SINGLE)
def test_a_network_of_one_motion_reads_one_region(name):
    with pytest.raises(ModelError, match=f"{name} reads one region; found mouth, face"):
        SINGLE[name](("mouth", "face"))


def test_each_region_changes_the_answer_of_motion_and_a_missing_one_does_not():
    model = build_motion(n_frames=2, n_classes=3, seed=0)
    clips = _inputs(model)
    answers = model.predict_on_batch(clips)
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)
    names = list_regions(MOTION_STREAMS)
    for index, name in enumerate(names):
        changed = clips | {name: clips[name] * 2}
        assert not np.allclose(model.predict_on_batch(changed), answers, atol=1e-4), name
        gone = clips["present"].copy()
        gone[:, index] = 0
        without = model.predict_on_batch(clips | {"present": gone})
        assert not np.allclose(without, answers, atol=1e-4), name
        nothing = {name: np.full_like(clips[name], np.nan), "present": gone}
        assert np.allclose(model.predict_on_batch(clips | nothing), without), name


def test_with_nothing_there_motion_favours_no_class():
    model = build_motion(("mouth", "face"), n_classes=4)
    clips = _inputs(model)
    clips["present"][:] = 0
    assert model.predict_on_batch(clips) == pytest.approx(0.25)


def test_motion_is_stored_and_read(tmp_path):
    model = build_motion(("eyes+mouth", "face"), n_frames=1, n_classes=3)
    clips = _inputs(model)
    model.save(tmp_path / "motion.keras")
    again = keras.models.load_model(tmp_path / "motion.keras")
    assert np.allclose(again.predict_on_batch(clips), model.predict_on_batch(clips))


def test_motion_learns_eight_clips():
    model = build_motion(n_frames=1, n_classes=2, seed=0)
    clips, one_hot = _inputs(model, 8), np.eye(2, dtype=np.float32)[[0, 1] * 4]
    model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy")
    losses = [model.train_on_batch(clips, one_hot) for _ in range(15)]
    assert float(losses[-1]) < float(losses[0]) / 2


def test_motion_refuses_what_it_cannot_read():
    with pytest.raises(ModelError, match=r"regions of motion must be of .*found left_brow"):
        build_motion(("left_brow", "face"))
    with pytest.raises(ModelError, match="must be motion; found 'rgb'"):
        build_motion(inputs="rgb")
    with pytest.raises(ModelError, match="1 frame or more of 8 pixels or more; found 1 of 4"):
        build_motion(n_frames=1, size=4)
    assert MOTION_STREAMS[0] == "eyes"
