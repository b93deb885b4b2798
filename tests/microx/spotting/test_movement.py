"""Movement of regions, the head's own motion taken out."""

import json
from itertools import pairwise

import numpy as np
import pytest

from microx.errors import CorpusError
from microx.simulation.long_videos import draw_long_video
from microx.spotting import movement as module
from microx.spotting.movement import (
    CELLS,
    Block,
    Movement,
    MovementRecipe,
    read_movement,
    trace_movement,
)


@pytest.fixture(scope="module")
def first(faces):
    return read_movement(faces, "S01")


def test_blocks_cover_the_video_and_overlap(first):
    assert first.frame_rate == pytest.approx(30)
    n_cells = sum(map(len, CELLS.values()))
    covered = set()
    for block in first.blocks:
        assert block.displacement.shape == (len(block), n_cells, 2)
        covered |= set(range(block.start, block.start + len(block)))
    assert covered == set(range(480))
    ends = [(block.start, block.start + len(block)) for block in first.blocks]
    assert all(later[0] + 60 <= earlier[1] for earlier, later in pairwise(ends))


def test_a_block_reaches_over_no_cut(first):
    segments = np.repeat([0, -1, 1, 2], [400, 30, 200, 1])
    times = np.arange(len(segments)) / 30
    spans = list(module._list_blocks(segments, times, MovementRecipe()))
    assert spans == [(0, 360), (40, 400), (430, 630)]


def test_a_blink_moves_the_eyes_and_not_the_brows(drawn, first):
    told = json.loads((drawn / "synth.json").read_text())
    video = draw_long_video(1000 * told["seed"], seconds=told["seconds"], seed=told["seed"])
    shut = video.blinks > 0.9
    assert shut.any()
    rest = np.ones(len(shut), bool)
    for shown in video.expressions:
        shut[shown.course.onset : shown.course.offset] = False
        rest[shown.course.onset : shown.course.offset] = False
    rest &= video.blinks == 0
    eyes, brows = (trace_movement(first, name) for name in ("eyes", "brows"))
    assert np.median(eyes[shut]) > 3 * np.median(eyes[rest])
    assert np.median(brows[shut]) < 0.3


def test_movement_is_measured_once(faces, first):
    (kept,) = faces.folder.glob("motion/*/S01.npz")
    made = kept.stat().st_mtime_ns
    again = read_movement(faces, "S01")
    assert kept.stat().st_mtime_ns == made
    for one, same in zip(first.blocks, again.blocks, strict=True):
        assert one.start == same.start
        assert np.allclose(one.displacement, same.displacement, atol=1e-5)


def test_a_head_that_moves_as_a_whole_is_no_movement():
    terms = module._list_terms(np.arange(128))
    flow = (terms @ np.array([[3, 1], [0.5, 2], [-1, 0.3], [0.4, 0], [0, 0.6]]))[None]
    flow[:, 98:122, 23:103, 1] += 2  # the chin
    fitted, off = module._fit_head(flow)
    left = flow - terms @ fitted
    assert np.abs(left[:, :80]).max() < 0.15
    assert left[:, 98:122, 23:103, 1].mean() == pytest.approx(2, abs=0.15)
    assert off.max() < module.FARTHEST


def test_flow_that_found_other_places_is_lost():
    flow = np.random.default_rng(0).normal(0, 30, (1, 128, 128, 2))
    assert module._fit_head(flow)[1].min() > module.FARTHEST


def test_a_corpus_without_faces_has_no_movement(mouths):
    with pytest.raises(CorpusError, match="expected the region face, found mouth"):
        read_movement(mouths, "s0_sad")


def test_a_movement_of_one_frame_has_no_rate():
    assert Movement(np.zeros(1), ()).frame_rate == 0
    assert Block(3, np.zeros((2, 14, 2))).region("mouth").shape == (2, 12)
