"""The tracker on drawn faces, whose truth is known, and on the real clips, against OpenFace."""

import cv2
import numpy as np
import pytest
from agreement import Watched, compare_with_openface, find_video, read_film

from microx.errors import LandmarkError
from microx.preprocessing.landmarks import outer_eye_distance, read_openface_csv
from microx.preprocessing.tracking import weights
from microx.preprocessing.tracking.dlib import CroppedFaces, DlibTracker, _fit, _Track
from microx.preprocessing.tracking.faces import Status
from microx.preprocessing.tracking.flow import Follower
from microx.preprocessing.tracking.weights import find_weights
from microx.simulation.corpus import draw_take


def _error(faces, xy):
    """Mean distance of found from true points in outer-eye distances, frame by frame."""
    found = np.array([face.xy for face in faces])
    return np.linalg.norm(found - xy, axis=2).mean(axis=1) / outer_eye_distance(xy)


@pytest.fixture(scope="module")
def take():
    return draw_take(3, "happy", n_frames=60)


@pytest.fixture(scope="module")
def other():
    return draw_take(8, "sad", n_frames=60)


def test_a_face_is_one_segment_of_one_identity_and_found_or_followed_in_every_frame(take):
    seen = Watched(take.frames)
    assert seen.identities == {0: 0}
    assert seen.frames_of(0) == list(range(60))
    statuses = [faces[0].status for faces in seen.faces]
    assert statuses[0] == Status.DETECTED
    assert statuses.count(Status.TRACKED) > 40
    assert all(0.5 < faces[0].confidence <= 1 for faces in seen.faces)
    assert np.median(_error([faces[0] for faces in seen.faces], take.landmarks.xy)) < 0.04


def test_a_moving_face_is_not_lagged_behind(take):
    """The face runs 6 px a frame, a tenth of its eye distance, and shakes its head."""
    steps = np.cumsum(np.r_[0, np.tile([6] * 12 + [-6] * 12, 3)[:59]])
    wide = np.full((256, 420, 3), 118, np.uint8)
    film, truth = [], take.landmarks.xy.copy()
    for frame, step, xy in zip(take.frames, steps, truth, strict=True):
        canvas = wide.copy()
        canvas[:, 40 + step : 296 + step] = frame
        film.append(canvas)
        xy += [40 + step, 0]
    seen = Watched(film)
    assert seen.frames_of(0) == list(range(60))
    offset = np.array([faces[0].xy for faces in seen.faces]) - truth
    direction = np.sign(np.diff(steps))
    behind = (offset[1:, 17:, 0].mean(axis=1) * direction).mean()
    assert abs(behind) < 0.25  # px of 6 a frame


def test_a_still_face_stands_still_though_the_image_trembles(take):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, (40, *take.frames[0].shape))
    film = np.clip(take.frames[0] + noise, 0, 255).astype(np.uint8)
    found = np.array([faces[0].xy for faces in Watched(film).faces])
    motion = np.linalg.norm(np.diff(found[8:], axis=0), axis=2).mean()
    assert motion / outer_eye_distance(found[0]) < 0.004


def test_several_faces_have_segments_of_their_own(take, other):
    seen = Watched(np.concatenate([take.frames[:30], other.frames[:30]], axis=2))
    assert sorted(seen.identities.values()) == [0, 1]
    for segment in (0, 1):
        assert seen.frames_of(segment) == list(range(30))
        middles = [faces[segment].xy[:, 0].mean() for faces in seen.faces]
        assert len({middle < 256 for middle in middles}) == 1


def test_faces_that_cross_are_never_mixed(take, other):
    """One passes before the other; the occluded one's segment ends, the front one's continues."""
    film, left = [], []
    for index in range(60):
        canvas = np.full((256, 640, 3), 120, np.uint8)
        front, back = 6 * index, 384 - 6 * index
        canvas[:, back : back + 256] = other.frames[index]
        canvas[:, front : front + 256] = take.frames[index]
        film.append(canvas)
        left.append((front, back))
    seen = Watched(film)
    for segment in seen.identities:
        owners = set()
        for index in seen.frames_of(segment):
            xy = seen.faces[index][segment].xy
            errors = [
                np.linalg.norm(xy - truth.landmarks.xy[index] - [x, 0], axis=1).mean()
                for truth, x in zip((take, other), left[index], strict=True)
            ]
            owners.add(int(np.argmin(errors)))
            assert min(errors) < 30  # px; it is being covered
        assert len(owners) == 1


def test_no_segment_reaches_over_a_cut(take, other):
    seen = Watched([*take.frames[:15], *other.frames[:15]])
    assert seen.cuts == [15]
    spans = [(seen.frames_of(s)[0], seen.frames_of(s)[-1]) for s in seen.identities]
    assert spans == [(0, 14), (15, 29)]


@pytest.mark.parametrize(("n_occluded", "n_segments"), [(3, 1), (20, 2)])
def test_a_face_occluded_for_a_moment_keeps_its_segment_and_for_longer_begins_another(
    take, n_occluded, n_segments
):
    film = take.frames.copy()
    film[20 : 20 + n_occluded, 60:200, 50:200] = 90
    seen = Watched(film)
    assert len(seen.identities) == n_segments
    assert set(seen.identities.values()) == {0}
    found = [bool(faces) for faces in seen.faces]
    assert found[:20] == [True] * 20
    assert not any(found[20 : 20 + n_occluded])
    assert found[20 + n_occluded + 4 :] == [True] * (60 - 20 - n_occluded - 4)
    again = seen.faces[-1]
    assert _error(again.values(), take.landmarks.xy[-1:])[0] < 0.06


def test_most_masked_faces_are_followed():
    n_found = 0
    for seed in range(20, 28):
        n_found += Watched(
            draw_take(seed, "fear", n_frames=16, mask=True).frames
        ).n_frames_with_a_face
    assert n_found >= 0.85 * 8 * 16


def test_an_empty_image_has_no_face_and_a_face_is_found_after_it(take):
    seen = Watched([np.full((256, 256, 3), 127, np.uint8)] * 3 + [take.frames[0]] * 3)
    assert [len(faces) for faces in seen.faces] == [0, 0, 0, 1, 1, 1]
    face = seen.faces[-1][0]
    assert face.xy.shape == (68, 2)
    assert face.xy.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (30, 30, 3)])
def test_tiny_images_are_no_error(shape):
    assert DlibTracker().locate(np.zeros(shape, np.uint8)).faces == {}


@pytest.mark.parametrize("size", [32, 48, 96, 200])
def test_an_image_cropped_to_a_face_is_fitted_without_a_search(take, size):
    xy = take.landmarks.xy[0]
    middle, half = xy[17:].mean(axis=0), 0.95 * outer_eye_distance(xy)
    left, top = (middle - half).round().astype(int)
    crop = take.frames[0][top : top + round(2 * half), left : left + round(2 * half)]
    small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    faces = CroppedFaces().locate(small).faces
    assert faces[0].status == Status.ASSUMED
    truth = (xy - [left, top] + 0.5) * size / crop.shape[0] - 0.5
    assert _error([faces[0]], truth[None])[0] < 0.08


def test_crops_too_small_for_landmarks_have_none():
    assert CroppedFaces().locate(np.zeros((20, 48, 3), np.uint8)).faces == {}


def test_missing_weights_are_named(monkeypatch):
    assert find_weights().is_file()
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LandmarkError, match="pip install face-recognition-models"):
        find_weights()


def _wide(*placed):
    """A 1280x720 frame with faces: (frame, x, y) each."""
    canvas = np.full((720, 1280, 3), 110, np.uint8)
    for frame, x, y in placed:
        canvas[y : y + frame.shape[0], x : x + frame.shape[1]] = frame
    return canvas


def test_a_doubtful_thing_is_given_up_when_looks_speak_against_it_or_time_runs_out(take):
    grey = take.frames[0][..., 1]
    box = np.array([60.0, 80.0, 190.0, 210.0])
    track = _Track(0, Follower(_fit, grey, box), score=-0.2, looked=10)
    assert not track.is_face
    assert not track.is_over(80, max_gap=5)
    assert track.is_over(86, max_gap=5)
    track.confirm(-0.45)
    assert not track.is_over(30, max_gap=5)
    track.confirm(-0.45)
    assert track.is_over(30, max_gap=5)
    for _ in range(4):
        track.confirm(-0.1)
    assert track.is_face
    assert not track.is_over(999, max_gap=5)


def test_a_larger_face_that_comes_late_finds_room(take, monkeypatch):
    monkeypatch.setattr("microx.preprocessing.tracking.dlib._MAX_FACES", 2)
    small = [cv2.resize(frame, (150, 150)) for frame in take.frames]
    film = [_wide((frame, 20, 20), (frame, 300, 20)) for frame in small[:10]]
    film += [
        _wide((frame, 20, 20), (frame, 300, 20), (cv2.resize(large, (400, 400)), 700, 200))
        for frame, large in zip(small * 2, [*take.frames] * 2, strict=True)
    ]
    tracker = DlibTracker()
    seen = [tracker.locate(frame) for frame in film]
    assert any(face.xy[:, 0].mean() > 700 for face in seen[-1].faces.values())


@pytest.mark.real
def test_another_face_in_the_same_place_is_another_segment(real_data):
    """A cut that changes too little of a wide frame to be seen as one."""
    one = read_film(real_data / "cremad" / "1001_DFA_ANG_XX.flv")[:25]
    two = [frame[:, 140:500] for frame in read_film(find_video(real_data, "single_face"))[:25]]
    film = [_wide((frame, 400, 200)) for frame in one]
    film += [_wide((cv2.resize(frame, (480, 360)), 400, 200)) for frame in two]
    seen = Watched(film)
    for segment in seen.identities:
        frames = seen.frames_of(segment)
        assert frames[-1] < 25 or frames[0] >= 25
    assert len(set(seen.identities.values())) == 2


@pytest.mark.real
def test_two_faces_in_sight_are_never_one_identity(real_data):
    """One face moves aside, and another appears in its place, within a filled gap."""
    one = [
        cv2.resize(f, (320, 240)) for f in read_film(real_data / "cremad" / "1001_DFA_ANG_XX.flv")
    ]
    two = [cv2.resize(f, (427, 240)) for f in read_film(find_video(real_data, "single_face"))]
    film = [_wide((frame, 100, 200)) for frame in one[:10]]
    film += [_wide((frame, 800, 200)) for frame in one[10:13]]
    film += [
        _wide((a, 800, 200), (b, 46, 200)) for a, b in zip(one[13:60], two[13:60], strict=True)
    ]
    seen = Watched(film)
    for faces in seen.faces:
        identities = [seen.identities[s] for s in faces if s in seen.identities]
        assert len(identities) == len(set(identities))
    for segment in seen.identities:
        places = [seen.faces[i][segment].xy[:, 0].mean() > 640 for i in seen.frames_of(segment)]
        assert len(set(places)) == 1


@pytest.mark.real
def test_landmarks_agree_with_openface_and_are_as_steady(real_data):
    errors, ratios = compare_with_openface(real_data)
    assert np.median(errors) <= 0.030
    assert np.quantile(errors, 0.95) <= 0.05
    assert np.mean(ratios) <= 1.2


@pytest.mark.real
def test_no_face_is_invented_and_a_late_one_is_found(real_data):
    assert Watched(read_film(find_video(real_data, "no_face"))).n_frames_with_a_face == 0
    identities = Watched(read_film(find_video(real_data, "noface_face"))).identity_by_frame()
    table = read_openface_csv(real_data / "openface_csv" / "pyfeat_noface_face.csv")
    assert abs(identities.index(0) - int(np.argmax(table.success))) <= 10


@pytest.mark.real
def test_small_faces_that_come_near_are_found_as_often_as_by_openface(real_data):
    seen = Watched(read_film(find_video(real_data, "hikers")))
    table = read_openface_csv(real_data / "openface_csv" / "openmpf_video_02_hikers.csv")
    assert seen.n_frames_with_a_face >= table.success.sum()
    for segment in seen.identities:  # no face leaps to another place
        places = np.array([seen.faces[i][segment].xy.mean(axis=0) for i in seen.frames_of(segment)])
        sizes = np.array(
            [outer_eye_distance(seen.faces[i][segment].xy) for i in seen.frames_of(segment)]
        )
        gaps = np.diff(seen.frames_of(segment))
        assert (np.linalg.norm(np.diff(places, axis=0), axis=1) < sizes[1:] * gaps).all()


@pytest.mark.real
def test_real_faces_are_known_again_after_cuts(real_data):
    films = {
        name: [cv2.resize(frame, (480, 360)) for frame in read_film(path)[:20]]
        for name, path in (
            ("one", real_data / "cremad" / "1001_DFA_ANG_XX.flv"),
            ("one again", real_data / "cremad" / "1001_DFA_SAD_XX.flv"),
            ("two", find_video(real_data, "single_face")),
            ("three", find_video(real_data, "Pexels")),
        )
    }
    order = ("one", "two", "one again", "three", "one", "two")
    seen = Watched([frame for name in order for frame in films[name]])
    assert seen.cuts == [20, 40, 60, 80, 100]
    assert seen.identity_by_frame() == [p for p in (0, 1, 0, 2, 0, 1) for _ in range(20)]
