"""Spotting in movements made of numbers, and in drawn videos."""

import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError
from microx.spotting.movement import SPOTTED_REGIONS, Block, Movement
from microx.spotting.spot import find_spots, spot_expressions, tabulate_spots

N_FRAMES, RATE = 360, 30
MOUTH = slice(6, 12)


def ramp(start, apex, release, stop):
    """Nought, rising to one, and nought again."""
    return np.interp(np.arange(N_FRAMES), [start, apex, release, stop], [0, 1, 1, 0])


def move(course, pixels=2.0, *, seed=0, cells=MOUTH, rate=RATE):
    """A movement of cells downwards, and noise everywhere."""
    noise = np.random.default_rng(seed).normal(0, 0.06, (len(course), 14, 2))
    noise[:, cells, 1] += pixels * course[:, None]
    return Movement(np.arange(len(course)) / rate, (Block(0, noise),))


@pytest.mark.parametrize(
    ("ends", "kind"), [((150, 154, 156, 161), "micro"), ((120, 127, 160, 170), "macro")]
)
def test_a_departure_with_return_is_found_where_it_is(ends, kind):
    (spot,) = find_spots(move(ramp(*ends)))
    assert (spot.kind, spot.region) == (kind, "mouth")
    assert abs(spot.onset - ends[0]) <= 3
    assert abs(spot.offset - ends[3]) <= 3
    assert ends[0] < spot.apex < ends[3]
    assert spot.onset_s == pytest.approx(spot.onset / RATE)


def test_the_region_that_moved_is_named():
    spots = [
        find_spots(move(ramp(150, 154, 156, 161), cells=slice(a, b)))
        for a, b in ((0, 4), (4, 6), (6, 12))
    ]
    assert [spot.region for (spot,) in spots] == list(SPOTTED_REGIONS)


def test_a_step_is_no_expression():
    assert not find_spots(move(ramp(150, 155, N_FRAMES, N_FRAMES + 1), 3))


def test_a_slow_drift_is_no_expression():
    assert not find_spots(move(np.sin(np.arange(N_FRAMES) / N_FRAMES * np.pi), 2))


def test_noise_is_no_expression():
    assert not any(find_spots(move(np.zeros(N_FRAMES), seed=seed)) for seed in range(5))


def test_a_frozen_video_shows_no_expression():
    assert not find_spots(Movement(np.arange(N_FRAMES) / RATE, (Block(0, np.zeros((360, 14, 2))),)))


def test_a_blink_that_pulls_at_the_brows_is_no_expression():
    course = ramp(150, 154, 156, 161)
    movement = move(course, 1, cells=slice(0, 4))
    assert find_spots(movement)
    movement.blocks[0].displacement[:, 12:, 1] += 5 * course[:, None]
    assert not find_spots(movement)


def test_talking_is_no_expression():
    t = np.arange(N_FRAMES) / RATE
    talk = np.sin(np.pi * 4 * t) ** 2 * ((t > 4) & (t < 7))
    assert not find_spots(move(talk, 3))


def test_rest_between_two_expressions_is_none():
    two = ramp(90, 97, 130, 138) + ramp(168, 175, 210, 218)
    spots = find_spots(move(np.pad(two, (0, 600)), 3))
    assert len(spots) == 2
    assert spots[0].offset < 150 < spots[1].onset


def test_lost_frames_are_not_searched_and_end_nothing_but_what_they_touch():
    movement = move(ramp(150, 154, 156, 161) + ramp(300, 304, 306, 311))
    movement.blocks[0].displacement[305:309] = np.nan
    (spot,) = find_spots(movement)
    assert 148 <= spot.onset <= 153


def test_a_leap_of_single_frames_is_flow_that_failed():
    movement = move(np.zeros(N_FRAMES))
    movement.blocks[0].displacement[[200, 202], MOUTH.start] += 5
    assert not find_spots(movement)


def test_kind_and_threshold_choose():
    movement = move(ramp(90, 94, 96, 101) + ramp(200, 207, 240, 250))
    assert {spot.kind for spot in find_spots(movement)} == {"micro", "macro"}
    for kind in ("micro", "macro"):
        assert {spot.kind for spot in find_spots(movement, kind=kind)} == {kind}
    best = max(spot.score for spot in find_spots(movement))
    assert not find_spots(movement, threshold=best + 1)


def test_seconds_count_not_frames():
    """The same frames at 200 a second last a sixth of the time: a macro becomes a micro."""
    (spot,) = find_spots(move(ramp(120, 127, 160, 170), rate=200))
    assert spot.kind == "micro"


@pytest.mark.parametrize("movement", [Movement(np.zeros(0), ()), Movement(np.arange(3.0), ())])
def test_no_face_gives_no_spots(movement):
    assert find_spots(movement) == []
    assert tabulate_spots([]).empty


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "tiny"}, "`kind` must be one of micro, macro, both; found 'tiny'"),
        ({"threshold": 1.0}, "`threshold` must be at least 1.5; received 1"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        find_spots(Movement(np.zeros(0), ()), **arguments)


def test_drawn_macro_expressions_are_found(drawn, faces):
    true = pd.read_csv(drawn / "intervals.csv").query("kind == 'macro'")
    n_spots = 0
    for video_id in ("S01", "S02", "S03"):
        spots = spot_expressions(faces, video_id, kind="macro")
        n_spots += len(spots)
        for one in true[true["path"] == f"videos/{video_id}.mp4"].itertuples():
            assert any(
                abs(spot.onset - one.onset) < 6 and abs(spot.offset - one.offset) < 6
                for spot in spots
            )
    assert len(true) == 2
    assert n_spots <= 3
