import numpy as np
import pytest

from microx.errors import LandmarkError
from microx.preprocessing import dlib_tracker
from microx.preprocessing.dlib_tracker import DlibTracker, weights_path
from microx.synthetic import draw_take


@pytest.fixture(scope="module")
def pair():
    """Two drawn people side by side, the one on the left nearer: ``(16, 256, 512, 3)``."""
    near = draw_take(2, "happy", n_frames=16).frames
    far = np.full_like(near, 120)
    far[:, 28:228:, 28:228] = draw_take(7, "sad", n_frames=16).frames[:, 28:228, 28:228]
    small = far[:, ::2, ::2]
    right = np.full_like(near, 120)
    right[:, 64:192, 64:192] = small
    return np.concatenate([near, right], axis=2)


def test_the_main_face_is_the_larger_and_stays_the_same(pair):
    tracker = DlibTracker()
    places = [tracker.locate(frame) for frame in pair]
    assert all(found is not None and found.xy[:, 0].mean() < 256 for found in places)


def test_an_empty_picture_has_no_face_and_a_face_is_found_after_it(pair):
    tracker = DlibTracker()
    assert tracker.locate(np.full((256, 256, 3), 127, np.uint8)) is None
    found = tracker.locate(pair[0])
    assert found is not None
    assert found.xy.shape == (68, 2)
    assert found.xy.dtype == np.float32
    assert 0.5 < found.confidence <= 1


def test_a_face_that_vanishes_is_not_kept(pair):
    tracker = DlibTracker()
    assert tracker.locate(pair[0]) is not None
    assert tracker.locate(np.zeros_like(pair[0])) is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (30, 30, 3)])
def test_tiny_pictures_are_no_error(shape):
    assert DlibTracker().locate(np.zeros(shape, np.uint8)) is None


def test_missing_weights_are_named(monkeypatch):
    assert weights_path().is_file()
    monkeypatch.setattr(dlib_tracker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LandmarkError, match="pip install face-recognition-models"):
        weights_path()
