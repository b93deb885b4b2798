import numpy as np
import pytest

from microx.preprocessing.tracking.shots import CutFinder
from microx.preprocessing.video import read_frames
from microx.simulation.corpus import draw_take


def _cuts(frames):
    finder = CutFinder()
    return [index for index, frame in enumerate(frames) if finder.is_cut(frame[..., 1])]


def test_cuts_between_faces_are_found_and_nothing_else():
    films = [draw_take(seed, "happy", n_frames=20).frames for seed in range(8)]
    assert _cuts(np.concatenate(films)) == [20 * n for n in range(1, 8)]


def test_a_fade_a_flicker_and_a_pan_are_no_cuts():
    take = draw_take(1, "neutral", n_frames=40).frames
    fade = [np.clip(frame * level, 0, 255).astype(np.uint8) for frame, level in
            zip(take, np.linspace(0.4, 1.1, 40), strict=True)]  # fmt: skip
    assert _cuts(fade) == []
    rng = np.random.default_rng(0)
    flicker = [np.clip(f * rng.uniform(0.94, 1.06), 0, 255).astype(np.uint8) for f in take]
    assert _cuts(flicker) == []
    pan = [np.roll(take[0], 3 * n, axis=1) for n in range(40)]
    assert _cuts(pan) == []


@pytest.mark.real
def test_takes_of_one_shot_have_no_cuts(real_data):
    for path in [
        *sorted((real_data / "cremad").glob("*.flv")),
        *(real_data / "videos").glob("open*"),
    ]:
        assert _cuts(frame.rgb for frame in read_frames(path)) == [], path.name
