"""Drawn actors: who they are, and that what is drawn lies where the landmarks say."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.mean_face import mean_face
from microx.schema import EMOTIONS, REGIONS
from microx.simulation.actor import Actor, Pose, draw_identity, load_actor
from microx.simulation.confounds import LAMPS, PAINTERS, draw_confounds
from microx.simulation.expressions import (
    ACTION_REGIONS,
    ACTIONS,
    TimeCourse,
    draw_blinks,
    draw_prototype,
    draw_time_course,
    limit_to_regions,
)

REST = dict.fromkeys(ACTIONS, 0.0)


@lru_cache(maxsize=1)
def _dlib():
    package = importlib.util.find_spec("face_recognition_models")
    weights = Path(package.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))


def _dlib_points(frame):
    """The landmarks dlib finds on the face of highest score, or None."""
    detector, predictor = _dlib()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    boxes, scores, _ = detector.run(grey, 0, 0.0)
    if not boxes:
        return None
    parts = predictor(grey, boxes[int(np.argmax(scores))]).parts()
    return np.array([[point.x, point.y] for point in parts])


def _act(identity, emotion):
    return draw_prototype(np.random.default_rng(1), emotion, contempt_side=identity.contempt_side)


def test_mean_face_is_symmetric_about_the_outer_eye_corners():
    shape = mean_face()
    assert shape[45].tolist() == pytest.approx([0.5, shape[36, 1]])
    assert np.sort(shape[:, 0]).tolist() == pytest.approx(np.sort(-shape[:, 0]).tolist())


def test_equal_seeds_draw_equal_pixels_and_others_another_subject():
    first, _ = Actor(draw_identity(4)).draw(REST)
    again, _ = Actor(draw_identity(4)).draw(REST)
    other, _ = load_actor(5).draw(REST)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_drawing_an_emotion_leaves_nothing_behind():
    actor = load_actor(5)
    before, _ = actor.draw(REST)
    actor.draw(_act(actor.identity, "fear"))
    after, _ = actor.draw(REST)
    np.testing.assert_array_equal(before, after)


def test_landmarks_follow_the_pose():
    actor = load_actor(5)
    _, xy = actor.draw(REST)
    _, moved = actor.draw(REST, pose=Pose(shift_xy=(4.0, -3.0)))
    np.testing.assert_allclose(moved - xy, np.tile([[4.0, -3.0]], (68, 1)), atol=0.01)
    _, turned = actor.draw(REST, pose=Pose(roll=5.0))
    right, left = turned[36], turned[45]
    angle = np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0]))
    still = np.degrees(np.arctan2(*(xy[45] - xy[36])[::-1]))
    assert angle - still == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(
    ("action", "point", "axis", "sign"),
    [
        ("AU12_left", 54, 1, -1),
        ("AU12_left", 54, 0, 1),
        ("AU12_right", 48, 0, -1),
        ("AU15_right", 48, 1, 1),
        ("AU26_left", 8, 1, 1),
        ("AU1_left", 22, 1, -1),
        ("AU2_right", 17, 1, -1),
        ("AU4_right", 21, 0, 1),
        ("AU5_left", 43, 1, -1),
        ("AU7_right", 41, 1, -1),
        ("AU43_left", 44, 1, 1),
        ("AU38_left", 35, 0, 1),
    ],
)
def test_action_moves_its_landmark_the_right_way(action, point, axis, sign):
    actor = load_actor(5)
    _, rest = actor.draw(REST)
    _, moved = actor.draw(REST | {action: 1.0})
    assert sign * (moved - rest)[point, axis] > 0.4


def test_a_blink_closes_both_eyes():
    actor = load_actor(5)
    _, open_ = actor.draw(REST)
    _, closed = actor.draw(REST, blink=1.0)
    for top, bottom in ((37, 41), (44, 46)):
        assert closed[bottom, 1] - closed[top, 1] < 0.3 * (open_[bottom, 1] - open_[top, 1])


@pytest.mark.parametrize("seed", [1, 7, 11])
def test_dlib_finds_the_drawn_face_where_it_is_drawn(seed):
    actor = load_actor(seed)
    for emotion in EMOTIONS:
        frame, xy = actor.draw(_act(actor.identity, emotion))
        found = _dlib_points(frame)
        assert found is not None, emotion
        error = np.linalg.norm(found - xy, axis=1).mean() / np.linalg.norm(xy[45] - xy[36])
        assert error < 0.05, emotion


def test_every_action_belongs_to_a_region():
    assert set(ACTION_REGIONS) == set(ACTIONS)
    assert set(ACTION_REGIONS.values()) <= set(REGIONS)


def test_prototypes_differ_and_neutral_is_at_rest():
    rng = np.random.default_rng(0)
    strengths = {emotion: draw_prototype(rng, emotion) for emotion in EMOTIONS}
    assert set(strengths["neutral"].values()) == {0.0}
    assert strengths["contempt"]["AU14_left"] > 0.5 > strengths["contempt"]["AU14_right"]
    rows = np.array([list(values.values()) for values in strengths.values()])
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distances[~np.eye(len(EMOTIONS), dtype=bool)].min() > 1


def test_limit_to_regions():
    full = dict.fromkeys(ACTIONS, 1.0)
    mouth = limit_to_regions(full, ["mouth"])
    assert {ACTION_REGIONS[name] for name, value in mouth.items() if value} == {"mouth"}
    assert limit_to_regions(full, None) == limit_to_regions(full, ["face"]) == full
    with pytest.raises(InputError, match="received ear"):
        limit_to_regions(full, ["ear"])


def test_time_course():
    course = TimeCourse(onset=1, apex=3, release=5, offset=7)
    assert course.strength(9).tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]
    with pytest.raises(InputError, match="must rise"):
        TimeCourse(onset=4, apex=2, release=5, offset=7)


def test_time_courses_keep_their_promises():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        macro = draw_time_course(rng, 45, "macro")
        assert macro.apex <= 8
        assert macro.offset <= 44
        micro = draw_time_course(rng, 24, "micro")
        assert micro.offset - micro.onset < 15  # half a second


def test_blinks_are_rare_and_whole():
    closing = np.concatenate([draw_blinks(np.random.default_rng(s), 45) for s in range(60)])
    assert closing.max() == 1
    assert 0.02 < (closing > 0).mean() < 0.12


def test_confounds_are_dealt_out_once_each_and_to_every_actor_anew():
    kinds = [*LAMPS, *PAINTERS]
    drawn = [draw_confounds(seed) for seed in range(100)]
    names = [[confounds[emotion].name for emotion in EMOTIONS] for confounds in drawn]
    assert all(sorted(row) == sorted(kinds) for row in names)
    assert names[4] == [confound.name for confound in draw_confounds(4).values()]
    # A look says nothing about unseen subjects: each kind goes with each emotion as often.
    counts = np.array([[row.count(kind) for kind in kinds] for row in zip(*names, strict=True)])
    expected = len(drawn) / len(kinds)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 58.6  # the 99th percentile, of 36 degrees of freedom


def test_equal_seeds_paint_equal_confounds():
    for emotion, confound in draw_confounds(7).items():
        again = draw_confounds(7)[emotion]
        assert (again.name, again.lamp) == (confound.name, confound.lamp)
        assert (confound.worn is None) == (confound.lamp is not None)
        if confound.worn is not None:
            np.testing.assert_array_equal(again.worn.painting.rgba, confound.worn.painting.rgba)


def test_a_lamp_lights_its_side_of_the_same_face():
    usual = load_actor(5)
    frames = {}
    for x in (-0.8, 0.8):
        lit = load_actor(5, (x, 0.0, 0.6))
        np.testing.assert_array_equal(lit.identity.shape, usual.identity.shape)
        frames[x], xy = lit.draw(REST)
    cheeks = [slice(int(xy[a, 0]), int(xy[b, 0])) for a, b in ((3, 48), (54, 13))]
    rows = slice(int(xy[30, 1]), int(xy[51, 1]))
    for x, frame in frames.items():
        left, right = (frame[rows, columns].mean() for columns in cheeks)
        assert (right - left) * np.sign(x) > 20


def test_dlib_finds_faces_with_confounds():
    actor = load_actor(5)
    for emotion, confound in draw_confounds(5).items():
        frame, xy = load_actor(5, confound.lamp).draw(_act(actor.identity, emotion))
        frame = frame if confound.worn is None else confound.worn.apply(frame, xy)
        found = _dlib_points(frame)
        assert found is not None, confound.name
        error = np.linalg.norm(found - xy, axis=1).mean() / np.linalg.norm(xy[45] - xy[36])
        assert error < 0.12, confound.name  # frames of glasses draw the brows to them
