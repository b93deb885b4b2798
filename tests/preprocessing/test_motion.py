"""Movement of known size in images of drawn faces."""

import cv2
import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.motion import FLOW_SCALE, convert_crops, measure_motion
from microx.schema import CROP_INPUTS
from microx.simulation.corpus import draw_take

SIZES = (32, 60, 128)


@pytest.fixture(scope="module")
def face():
    """One frame of a drawn face, 256 px, and the middle of its mouth."""
    take = draw_take(3, "happy", n_frames=16, noise=0)
    return take.frames[8], take.landmarks.xy[8][48:68].mean(axis=0)


@pytest.fixture(scope="module")
def cut(face):
    """Cut the mouth; `move` takes a place in sides of the crop to where its content came from."""
    rgb, middle = face

    def cut(size, move=None):
        at = (np.mgrid[0:512, 0:512][::-1].transpose(1, 2, 0) + 0.5) / 512
        place = (middle + ((at if move is None else move(at)) - 0.5) * 64).astype(np.float32)
        big = cv2.remap(rgb, place, None, cv2.INTER_CUBIC)
        return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA)

    return cut


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)


def inner(image):
    """An image without its edges, over which things come and go."""
    edge = len(image) // 8
    return image[edge:-edge, edge:-edge]


def test_colours(crops):
    rgb = convert_crops(crops, "rgb")
    np.testing.assert_array_equal(rgb, np.float32(crops) / np.float32(255))
    assert rgb.dtype == np.float32


def test_greys_are_those_of_opencv(crops):
    grey = convert_crops(crops, "grey")
    expected = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    np.testing.assert_allclose(grey[..., 0] * 255, expected, atol=1e-4)
    assert grey.max() <= 1


def test_differences_reach_from_minus_one_to_one():
    crops = np.zeros((3, 8, 8, 3), np.uint8)
    crops[1] = 255
    np.testing.assert_array_equal(convert_crops(crops, "difference")[:, 0, 0, 0], [0, 1, 0])
    against_white = convert_crops(crops, "difference", reference=crops[1])
    np.testing.assert_array_equal(against_white[:, 0, 0, 0], [-1, 0, -1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [(0.02, 0.0), (0.04, -0.03), (0.0, 0.08)])
def test_a_known_shift_is_found(cut, size, shift):
    pair = np.stack([cut(size), cut(size, lambda at: at - shift)])
    flow = inner(convert_crops(pair, "flow")[1]) / FLOW_SCALE
    error = np.linalg.norm(flow[..., :2] - shift, axis=-1)
    assert error.mean() * size < 0.1 * size / 32  # px
    assert flow[..., 2].mean() * FLOW_SCALE < 0.06


@pytest.mark.parametrize("size", SIZES)
def test_a_stretched_image_is_strained(cut, size):
    middle = np.array([0.5, 0.5])
    wide = cut(size, lambda at: middle + (at - middle) / [1.1, 1])
    sheared = cut(size, lambda at: at - 0.1 * (at - middle)[..., ::-1] * [1, 0])
    _, wide, sheared = map(inner, convert_crops(np.stack([cut(size), wide, sheared]), "flow"))
    places = np.arange(len(wide)) / size
    u_x = np.polyfit(places, wide[..., 0].mean(axis=0), 1)[0] / FLOW_SCALE
    u_y = np.polyfit(places, sheared[..., 0].mean(axis=1), 1)[0] / FLOW_SCALE
    assert u_x == pytest.approx(0.1, abs=0.01)
    assert u_y == pytest.approx(0.1, abs=0.01)
    assert wide[..., 2].mean() == pytest.approx(0.1, abs=0.02)
    assert sheared[..., 2].mean() == pytest.approx(0.1 / np.sqrt(2), abs=0.02)


def test_a_small_movement_is_not_lost_at_32_px(cut):
    """A corner of the mouth rises by a twentieth of the crop; see the notes of convert_crops."""

    def raised(at):
        hill = np.exp(-((at - [0.3, 0.6]) ** 2).sum(axis=-1) / (2 * 0.12**2))
        return at + 0.05 * hill[..., None] * [0, 1]

    v = convert_crops(np.stack([cut(32), cut(32, raised)]), "flow")[1, ..., 1]
    assert v.min() < -0.6 * 0.05 * FLOW_SCALE
    row, column = np.unravel_index(v.argmin(), v.shape)
    assert abs(column / 32 - 0.3) < 0.12
    assert abs(row / 32 - 0.6) < 0.12


@pytest.mark.parametrize("inputs", ["difference", "flow"])
@pytest.mark.parametrize("size", SIZES)
def test_a_still_clip_does_not_move(cut, inputs, size):
    still = np.stack([cut(size)] * 3)
    assert not convert_crops(still, inputs).any()


@pytest.mark.parametrize("inputs", CROP_INPUTS)
def test_the_first_frame_is_the_reference_where_none_is_given(crops, inputs):
    first = convert_crops(crops, inputs)
    np.testing.assert_array_equal(convert_crops(crops, inputs, reference=crops[0]), first)
    # A frame's numbers hang on itself and the reference, not on the frames beside it.
    np.testing.assert_array_equal(
        convert_crops(crops[3:4], inputs, reference=crops[0])[0], first[3]
    )


@pytest.mark.parametrize(("inputs", "channels"), CROP_INPUTS.items())
@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (1, 32, 32, 3), (2, 8, 8, 3), (2, 40, 24, 3)])
def test_shapes(inputs, channels, shape):
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = crops.copy()
    converted = convert_crops(crops, inputs)
    assert converted.shape == (*shape[:3], channels)
    assert converted.dtype == np.float32
    assert np.isfinite(converted).all()
    np.testing.assert_array_equal(crops, before)


@pytest.mark.parametrize(
    ("crops", "inputs", "reference", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), "depth", None, "'depth' are unknown; known: rgb, grey"),
        (np.zeros((8, 8, 3), np.uint8), "rgb", None, r"\(T, H, W, 3\); received uint8 \(8, 8, 3\)"),
        (np.zeros((1, 8, 8, 3)), "rgb", None, r"must be uint8 .*; received float64 \(1, 8, 8, 3\)"),
        (
            np.zeros((1, 8, 8, 3), np.uint8),
            "flow",
            np.zeros((9, 8, 3), np.uint8),
            r"must be uint8 of shape \(8, 8, 3\); received uint8 \(9, 8, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(crops, inputs, reference, message):
    with pytest.raises(InputError, match=message):
        convert_crops(crops, inputs, reference=reference)


def _texture(seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 215, (32, 32, 3)).astype(np.uint8)
    return np.ascontiguousarray(cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("flow", ["dis-medium", "dis-fast", "dis-ultrafast", "farneback"])
def test_motion_of_the_head_is_taken_out_and_that_of_a_part_stays(flow):
    face = _texture()
    moved = np.roll(face, 2, axis=1)  # the head, to the right
    part = face.copy()
    part[80:112, 48:80] = np.roll(face, 3, axis=0)[80:112, 48:80]  # a mouth, downwards
    head, mouth = measure_motion(np.stack([moved, part]), face, flow=flow)
    assert np.median(np.abs(head[4:-4, 4:-4, :2])) < 0.3
    assert np.median(mouth[19:23, 12:16, 1]) > 2  # of 6: 3 pixels in halves of a pixel
    assert np.abs(mouth[2:10, 2:10]).max() < 1


def test_a_still_face_has_no_motion():
    face = _texture()
    assert not measure_motion(face[None], face).any()


def test_motion_of_no_frames_has_no_frames():
    face = _texture()
    assert measure_motion(face[:0].reshape(0, 128, 128, 3), face, size=64).shape == (0, 64, 64, 3)


def test_motion_refuses_what_it_cannot_measure():
    face = _texture()
    with pytest.raises(InputError, match=r"flow must be one of dis-medium, .*received 'tv-l1'"):
        measure_motion(face[None], face, flow="tv-l1")
    with pytest.raises(InputError, match="a reference for these crops must be uint8 of shape"):
        measure_motion(face[None], face[:64])
    with pytest.raises(InputError, match="inputs 'motion' are of whole faces"):
        convert_crops(face[None], "motion")
