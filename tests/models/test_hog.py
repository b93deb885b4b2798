import cv2
import keras
import numpy as np
import pytest

from microx.errors import ModelError
from microx.models.hog import HOG

pytestmark = pytest.mark.backends


def _smooth_image(shape, seed=0):
    """Blobs of about 2 pixels, from black to white."""
    noise = np.random.default_rng(seed).random(shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def _describe(images):
    return keras.ops.convert_to_numpy(HOG()(np.asarray(images, np.float32)))


def _block_by_hand(image, top, left):
    """One block's 9 x 4 numbers, pixel by pixel."""
    height, width = image.shape
    votes = np.zeros((9, 2, 2))
    for y in range(16):
        for x in range(16):
            row, column = top + y, left + x
            inside_row, inside_column = 0 < row < height - 1, 0 < column < width - 1
            down = image[row + 1, column] - image[row - 1, column] if inside_row else 0.0
            across = image[row, column + 1] - image[row, column - 1] if inside_column else 0.0
            degrees = np.degrees(np.arctan2(down, across)) % 180
            lower = int(np.floor((degrees - 10) / 20))  # bin 0 is centred on 10 degrees
            upper_share = (degrees - 10) / 20 - lower
            weight = np.exp(-((y - 7.5) ** 2 + (x - 7.5) ** 2) / (2 * 4**2))
            for cell_row, cell_column in np.ndindex(2, 2):
                # Centres of the cells lie 3.5 and 11.5 pixels into the block.
                near = max(0, 1 - abs(y - 3.5 - 8 * cell_row) / 8)
                near *= max(0, 1 - abs(x - 3.5 - 8 * cell_column) / 8)
                vote = np.hypot(across, down) * weight * near
                votes[lower % 9, cell_row, cell_column] += vote * (1 - upper_share)
                votes[(lower + 1) % 9, cell_row, cell_column] += vote * upper_share
    block = votes.ravel()
    block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
    return block / np.sqrt((block**2).sum() + 1e-10)


def test_every_block_is_that_computed_pixel_by_pixel():
    image = _smooth_image((27, 33))  # the last 3 rows and 1 column are in no block
    expected = [_block_by_hand(image, top, left) for top in (0, 8) for left in (0, 8, 16)]
    np.testing.assert_allclose(
        _describe(image[None, :, :, None]).reshape(6, 36), expected, atol=2e-4
    )


@pytest.mark.parametrize("shape", [(16, 16), (48, 48), (64, 40)])
def test_agrees_with_opencv(shape):
    """Correlation 0.96 to 0.99, mean difference 0.009 to 0.014 where the mean is 0.15.

    What is left comes of OpenCV's Gaussian, which is half a pixel off the middle of a block:
    with that Gaussian here, the correlation was 0.9999 and more.
    """
    pixels = np.round(_smooth_image(shape) * 255).astype(np.uint8)
    opencv = cv2.HOGDescriptor(
        *(shape[::-1], (16, 16), (8, 8), (8, 8), 9),
        *(1, -1, cv2.HOGDESCRIPTOR_L2HYS, 0.2, False, 64, False),
    )
    # OpenCV counts blocks and cells column by column, and directions last.
    theirs = opencv.compute(pixels).reshape(shape[1] // 8 - 1, shape[0] // 8 - 1, 2, 2, 9)
    theirs = theirs.transpose(1, 0, 4, 3, 2).ravel()
    ours = _describe(pixels[None, :, :, None] / 255)[0]
    assert ours.shape == theirs.shape
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert np.abs(ours - theirs).mean() < 0.015


@pytest.mark.parametrize(
    ("degrees", "bins"),
    # Bin k is centred on 10 + 20 k; a direction and its opposite are the same.
    [(10, {0}), (0, {0, 8}), (90, {4}), (100, {4, 5}), (170, {8}), (190, {0}), (-90, {4})],
)
def test_edges_of_one_direction_fill_their_bins(degrees, bins):
    y, x = np.mgrid[:32, :32]
    slope = x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees))
    image = 0.5 + 0.01 * slope
    middle = _describe(image[None, :, :, None]).reshape(3, 3, 9, 4)[1, 1]
    assert set(np.flatnonzero(middle.sum(axis=1) > 0.1)) == bins


def test_image_of_one_colour_gives_zeros():
    images = np.full((2, 16, 24, 3), 0.3, np.float32)
    np.testing.assert_array_equal(_describe(images), np.zeros((2, 72)))
    assert _describe(images[:0]).shape == (0, 72)


def test_flat_image_has_finite_derivatives():
    """Weights before the layer, which paint everything one colour, stay numbers."""
    pixels = keras.Input((16, 16, 1))
    flat = keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(pixels)
    model = keras.Model(pixels, keras.layers.Dense(1)(HOG()(flat)))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.train_on_batch(_smooth_image((16, 16))[None, :, :, None], np.ones((1, 1)))
    for weight in model.get_weights():
        assert np.isfinite(weight).all()


def test_steepest_channel_counts():
    image = _smooth_image((24, 24))
    colours = np.stack([0.3 * image, image, 0.5 + 0 * image], axis=-1)
    np.testing.assert_allclose(
        _describe(colours[None]), _describe(image[None, :, :, None]), atol=1e-6
    )


def test_brightness_and_contrast_hardly_count():
    image = _smooth_image((24, 24))[None, :, :, None]
    np.testing.assert_allclose(_describe(0.2 + 0.5 * image), _describe(image), atol=1e-3)


def test_image_smaller_than_a_block_is_refused():
    with pytest.raises(ModelError, match="at least 16 x 16 pixels; found 20 x 15"):
        HOG()(np.zeros((1, 20, 15, 1), np.float32))


def test_mirrored_image_has_the_mirrored_descriptor():
    image = _smooth_image((24, 32))
    plain, mirrored = (
        _describe(pixels[None, :, :, None]).reshape(2, 3, 9, 2, 2)
        for pixels in (image, image[:, ::-1])
    )
    # Columns of blocks and of cells change places, and so do directions: 10 and 170 degrees.
    np.testing.assert_allclose(mirrored, plain[:, ::-1, ::-1, :, ::-1], atol=1e-5)
