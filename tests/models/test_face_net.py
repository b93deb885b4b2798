import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.face_net import build_face_net

pytestmark = pytest.mark.backends


def _answer(model, seed=0):
    rng = np.random.default_rng(seed)
    images = {t.name: rng.random((2, *t.shape[1:]), np.float32) for t in model.inputs}
    return images, np.asarray(model.predict_on_batch(images))


def test_parameters_are_those_worked_out():
    # Convolutions have no bias, and batch normalisation 4 numbers a filter.
    blocks = 0
    for before, filters in ((32, 64), (64, 128), (128, 192)):
        blocks += 9 * before * filters + 9 * filters * filters + 8 * filters
        blocks += before * filters + 4 * filters  # the shortcut
    stem, classes = 25 * 32 + 4 * 32, 193 * 7
    assert build_face_net().count_params() == stem + blocks + classes


@pytest.mark.parametrize("regions", [("face",), ("eyes", "mouth")])
def test_rows_sum_to_1_whatever_the_light(regions):
    model = build_face_net(regions, size=24, inputs="rgb", seed=1)
    images, y_prob = _answer(model)
    np.testing.assert_allclose(y_prob.sum(axis=1), 1, atol=1e-5)
    darker = {region: 0.5 * pixels + 0.1 for region, pixels in images.items()}
    np.testing.assert_allclose(model.predict_on_batch(darker), y_prob, atol=0.02)


def test_too_small_an_image_is_refused():
    with pytest.raises(ModelError, match="at least 16 x 16 pixels; found 12 x 12"):
        build_face_net(size=12)
