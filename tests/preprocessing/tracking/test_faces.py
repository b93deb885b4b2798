import numpy as np
import pytest

from microx.preprocessing.landmarks import Landmarks
from microx.preprocessing.tracking.faces import Face, Sighting, Status, TableFaces, fill_gaps
from microx.preprocessing.video import Frame

FRAME = np.zeros((4, 4, 3), np.uint8)


def _film(seen, step_s=1 / 30):
    """Frames of one segment, seen at x = 10 times its number where `seen` has an x."""
    for index, mark in enumerate(seen):
        face = Face(np.full((68, 2), 10.0 * index, np.float32), 0.9, Status.TRACKED)
        yield (
            Frame(index, index * step_s, FRAME, True),
            Sighting({0: face} if mark == "x" else {}),
        )


@pytest.mark.parametrize(
    ("seen", "max_gap", "filled"),
    [
        ("xxxx", 5, ""),
        ("x.x", 5, "1"),
        ("x..x.x", 2, "124"),
        ("x...x", 2, ""),
        ("x...x", 3, "123"),
        ("..x..", 5, ""),
        ("x.x", 0, ""),
        ("", 5, ""),
    ],
)
def test_short_gaps_are_filled_and_long_ones_are_not(seen, max_gap, filled):
    after = list(fill_gaps(_film(seen), max_gap))
    assert [frame.index for frame, _ in after] == list(range(len(seen)))
    for frame, sighting in after:
        if str(frame.index) in filled:
            assert sighting.faces[0].status == Status.INTERPOLATED
            assert sighting.faces[0].xy == pytest.approx(10.0 * frame.index)
        else:
            assert bool(sighting.faces) == (seen[frame.index] == "x")


def test_a_gap_is_filled_by_time_and_not_by_number():
    times = [0.0, 0.01, 0.10]
    film = [
        (Frame(i, t, FRAME, True), sighting)
        for i, (t, (_, sighting)) in enumerate(zip(times, _film("x.x"), strict=True))
    ]
    assert list(fill_gaps(film))[1][1].faces[0].xy == pytest.approx(2.0)


def _table(found, places=None):
    places = np.zeros(len(found)) if places is None else np.asarray(places, float)
    xy = np.zeros((len(found), 68, 2), np.float32)
    xy[:, 45] = [40, 0]  # 40 px from eye corner to eye corner
    xy += places[:, None, None]
    n_frames = len(found)
    return Landmarks(
        xy.astype(np.float32), np.ones(n_frames, np.float32), np.array(found), np.zeros(n_frames)
    )


def _segments(tables, n_frames, cuts=(), **kwargs):
    faces = TableFaces(tables, **kwargs)
    sightings = [faces.locate(FRAME, cut=index in cuts) for index in range(n_frames)]
    identities = {s: i for sighting in sightings for s, i in sighting.identities.items()}
    return [sorted(sighting.faces) for sighting in sightings], identities


def test_a_table_is_read_as_a_tracker_would():
    found = [True, True, False, True, True]
    assert _segments([_table(found)], 5) == ([[0], [0], [], [0], [0]], {0: 0})


def test_a_long_gap_a_leap_and_a_cut_begin_a_new_segment():
    found = [True, False, False, True, True, True]
    assert _segments([_table(found)], 6, max_gap=1)[0] == [[0], [], [], [1], [1], [1]]
    leaping = _table([True] * 4, [0, 5, 100, 105])
    assert _segments([leaping], 4)[0] == [[0], [0], [1], [1]]
    assert _segments([_table([True] * 4)], 4, cuts={2})[0] == [[0], [0], [1], [1]]


def test_faces_of_a_table_keep_their_number_and_a_table_may_end_early():
    tables = [_table([True, True, True]), _table([False, True])]
    segments, identities = _segments(tables, 3)
    assert segments == [[0], [0, 1], [0]]
    assert identities == {0: 0, 1: 1}
