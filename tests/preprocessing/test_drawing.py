import numpy as np
import pytest

from microx.preprocessing.drawing import fill, grain, round_corners, smooth_curve, soften, stroke
from microx.preprocessing.mean_face import MIRROR, mean_face

CORNER = [(0, 0), (8, 0), (8, 8)]


@pytest.mark.parametrize("closed", [False, True])
def test_a_smooth_curve_goes_through_its_points_and_rounded_corners_do_not(closed):
    through, inside = smooth_curve(CORNER, 5, closed=closed), round_corners(CORNER, closed=closed)
    corner = np.array([8, 0])
    assert np.abs(through - corner).sum(axis=1).min() < 1e-5
    assert 0.5 < np.abs(inside - corner).sum(axis=1).min() < 4
    assert inside.min() >= 0
    assert inside.max() <= 8


def test_fills_and_strokes_lie_where_they_should():
    square = np.array([(4, 4), (12, 4), (12, 12), (4, 12)])
    inside, line = fill((16, 20), square), stroke((16, 20), square[:2], 1)
    assert inside.shape == line.shape == (16, 20)
    assert inside.dtype == line.dtype == np.float32
    assert inside[5:12, 5:12].min() == 1
    assert inside[:3].max() == inside[:, 14:].max() == 0
    assert line[4, 5:12].min() > 0.9
    assert line[6:].max() == 0


def test_coarse_blur_is_near_the_fine_one():
    image = fill((64, 80), np.array([(20, 20), (50, 20), (50, 45), (20, 45)]))
    for sigma in (6, 12):
        fine, coarse = soften(image, sigma, coarse_from=99), soften(image, sigma)
        assert coarse.shape == image.shape
        assert np.abs(fine - coarse).max() < 0.05


@pytest.mark.parametrize("sigma", [0.5, 3, 20])
def test_grain_is_standardised_and_hangs_on_its_seed(sigma):
    one, same, other = (grain(np.random.default_rng(seed), (40, 60), sigma) for seed in (1, 1, 2))
    assert one.shape == (40, 60)
    assert abs(one.mean()) < 1e-3
    assert abs(one.std() - 1) < 1e-3
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_the_mean_face_is_its_own_mirror_image():
    face, mirror = mean_face(), np.array(MIRROR)
    np.testing.assert_array_equal(mirror[mirror], np.arange(68))
    np.testing.assert_array_equal(face[mirror], face * [-1, 1])
    assert len(np.unique(face, axis=0)) == 68
