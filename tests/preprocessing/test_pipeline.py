import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from microx.errors import InputError, LandmarkError
from microx.preprocessing import pipeline
from microx.preprocessing.landmarks import outer_eye_distance, write_openface_csv
from microx.preprocessing.occlusion.occluder import choose_occluder, parse_occlusions
from microx.preprocessing.pipeline import preprocess_video, stream_video
from microx.preprocessing.preprocessed import count_repeats
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.regions import crop_region
from microx.preprocessing.tracking.faces import Status
from microx.preprocessing.video import Frame, read_frames, resample_frames
from microx.schema import EMOTIONS, REGIONS
from microx.simulation.corpus import draw_take


@pytest.fixture(scope="module")
def take():
    return draw_take(4, "surprise", n_frames=20)


@pytest.fixture(scope="module")
def video(take, tmp_path_factory, write_video):
    return write_video(tmp_path_factory.mktemp("take") / "surprise.mp4", take.frames)


def test_every_region_of_every_frame_is_cropped(video):
    whole = preprocess_video(video, regions=REGIONS, size=24)
    assert len(whole) == whole.ledger.n_decoded == whole.n_found == 20
    assert {name: crops.shape for name, crops in whole.crops.items()} == dict.fromkeys(
        REGIONS, (20, 24, 24, 3)
    )
    assert whole.box_xyxy.shape == (20, 7, 4)
    assert whole.landmarks.timestamp == pytest.approx(np.arange(20) / 30)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_landmarks_lie_where_they_were_drawn(emotion, tmp_path, write_video):
    take = draw_take(11, emotion, n_frames=20)
    path = write_video(tmp_path / "take.mp4", take.frames)
    found = preprocess_video(path).landmarks
    assert found.success.all()
    error = np.linalg.norm(found.xy - take.landmarks.xy, axis=-1).mean(axis=1)
    assert np.median(error / outer_eye_distance(take.landmarks.xy)) <= 0.06


def test_a_video_in_chunks_is_the_video(video, monkeypatch):
    whole = preprocess_video(video)
    monkeypatch.setattr(pipeline, "CHUNK_FRAMES", 7)
    stream = stream_video(video)
    chunks = list(stream)
    assert [len(chunk) for chunk in chunks] == [7, 7, 6]
    for region, crops in whole.crops.items():
        assert np.array_equal(np.concatenate([chunk.crops[region] for chunk in chunks]), crops)
    assert [chunk.start for chunk in chunks] == [0, 7, 14]
    assert stream.main_face == 0
    assert np.array_equal(stream.ledger.source_frame, whole.ledger.source_frame)


def test_frames_without_a_face_stay_in_their_place(take, tmp_path, write_video):
    frames = take.frames.copy()
    frames[6:9] = 80
    lost = preprocess_video(write_video(tmp_path / "gap.mp4", frames))
    assert np.flatnonzero(~lost.landmarks.success).tolist() == [6, 7, 8]
    assert lost.n_found == 17
    assert not lost.crops["face"][6:9].any()
    assert np.isnan(lost.landmarks.xy[6:9]).all()
    assert np.isnan(lost.box_xyxy[6:9]).all()
    assert (lost.status[6:9] == Status.NO_FACE).all()
    # A black screen is a cut on either side: what comes after is another segment.
    assert lost.segment.tolist() == [0] * 6 + [-1] * 3 + [1] * 11
    assert lost.ledger.n_cuts == 2


def test_a_short_gap_is_filled_within_its_segment_and_said_to_be(take, tmp_path, write_video):
    frames = take.frames.copy()
    frames[8:11, 60:200, 50:200] = 90
    path = write_video(tmp_path / "occluded.mp4", frames)
    filled = preprocess_video(path)
    assert (filled.status[8:11] == Status.INTERPOLATED).all()
    assert filled.n_found == 20
    assert filled.segment.tolist() == [0] * 20
    error = np.linalg.norm(filled.landmarks.xy[8:11] - take.landmarks.xy[8:11], axis=-1)
    assert error.mean() / outer_eye_distance(take.landmarks.xy).mean() < 0.06
    left = preprocess_video(path, max_gap=0)
    assert not left.landmarks.success[8:11].any()
    assert left.n_found >= 15


def test_native_rate_keeps_every_frame_at_its_own_time(take, tmp_path, write_video):
    fast = preprocess_video(write_video(tmp_path / "fast.mp4", take.frames, 200), frame_rate=None)
    assert fast.ledger.source_frame.tolist() == list(range(20))
    assert fast.landmarks.timestamp == pytest.approx(np.arange(20) / 200, abs=1e-3)


def test_every_face_is_given_and_main_is_the_one_seen_most(take, tmp_path, write_video):
    near, far = take.frames, draw_take(9, "sad", n_frames=20).frames
    small = np.full_like(near, 118)
    small[:, 64:192, 64:192] = far[:, ::2, ::2]
    film = np.concatenate([small, near], axis=2)
    path = write_video(tmp_path / "two.mp4", film)
    stream = stream_video(path, Recipe(faces="all"))
    seen = {piece.face: piece for piece in stream}
    assert len(seen) == 2
    assert all(len(piece) == 20 for piece in seen.values())
    main = preprocess_video(path)
    assert (main.landmarks.xy[..., 0].mean(axis=1) > 256).all()
    with pytest.raises(InputError, match="for all, use stream_video"):
        preprocess_video(path, faces="all")


@pytest.mark.real
def test_frames_of_another_face_are_no_frames_of_the_main_one(real_data, tmp_path, write_video):
    first = [f.rgb for f in read_frames(real_data / "cremad" / "1001_DFA_ANG_XX.flv")][:30]
    second = [f.rgb for f in read_frames(real_data / "videos" / "pyfeat_single_face.mp4")][:20]
    film = np.stack(first + [cv2.resize(frame, (480, 360)) for frame in second])
    main = preprocess_video(write_video(tmp_path / "two.mp4", film), faces="main")
    counts = [int((main.status == s).sum()) for s in (Status.OTHER_FACE, Status.NO_FACE)]
    assert main.n_found in (20, 30)
    assert counts == [50 - main.n_found, 0]


def test_images_already_cropped_are_not_searched(take, tmp_path):
    xy = take.landmarks.xy[0]
    middle, half = xy[17:].mean(axis=0), 0.95 * float(outer_eye_distance(xy))
    left, top, right, bottom = np.r_[middle - half, middle + half].round().astype(int)
    face = cv2.resize(take.frames[0][top:bottom, left:right, ::-1], (48, 48))
    cv2.imwrite(str(tmp_path / "face.png"), face)
    cut = preprocess_video(tmp_path / "face.png", faces="cropped")
    assert cut.status.tolist() == [Status.ASSUMED]
    assert cut.crops["mouth"].shape == (1, 32, 32, 3)
    assert cut.landmarks.confidence[0] == 0.5


@pytest.mark.parametrize("size_wh", [(48, 48), (40, 48)])
def test_the_face_of_a_face_crop_is_the_whole_image(size_wh, take, tmp_path):
    bgr = cv2.resize(take.frames[0], size_wh)
    cv2.imwrite(str(tmp_path / "face.png"), bgr)
    whole = preprocess_video(tmp_path / "face.png", faces="cropped", regions=("face",), size=48)
    middle = slice(24 - size_wh[0] // 2, 24 + size_wh[0] // 2)
    assert np.array_equal(whole.crops["face"][0, :, middle], bgr[..., ::-1])
    assert whole.status.tolist() == [Status.ASSUMED]
    assert whole.n_found == 1
    assert np.isnan(whole.landmarks.xy).all()
    stretched = preprocess_video(
        tmp_path / "face.png", faces="cropped", regions=("face",), size=48, policy="paper"
    )
    assert stretched.box_xyxy[0, 0].tolist() == [0, 0, *size_wh]
    fitted = preprocess_video(
        tmp_path / "face.png", faces="cropped", regions=("face",), landmarks="dlib", min_face=0
    )
    assert np.isfinite(fitted.landmarks.xy).all()


def test_frames_of_face_crops_are_one_segment_up_to_a_cut(take, tmp_path):
    for number, level in enumerate((40, 42, 200)):
        image = np.full((48, 48, 3), level, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    settings = {"faces": "cropped", "regions": ("face",), "input_fps": 30}
    assert preprocess_video(tmp_path, **settings).segment.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("settings", "landmarks"),
    [
        ({}, "dlib"),
        ({"faces": "cropped"}, "dlib"),
        ({"regions": ("face",)}, "dlib"),
        ({"faces": "cropped", "regions": ("face",)}, "none"),
        ({"faces": "cropped", "regions": ("face",), "occlude": "mask"}, "dlib"),
        ({"faces": "cropped", "regions": ("face",), "landmarks": "dlib"}, "dlib"),
    ],
)
def test_only_face_crops_do_without_landmarks(settings, landmarks):
    assert Recipe(**settings).landmarks == landmarks


def test_an_occluder_is_put_on_before_cropping_and_landmarks_stay(video, take):
    bare = preprocess_video(video)
    masked = preprocess_video(video, occlude="mask")
    assert np.array_equal(bare.landmarks.xy, masked.landmarks.xy)
    change = {
        region: np.abs(crops.astype(int) - masked.crops[region]).mean()
        for region, crops in bare.crops.items()
    }
    assert change["mouth"] > 20 > 3 > change["left_eye"]
    again = preprocess_video(video, occlude="mask", occlude_seed=1)
    assert not np.array_equal(again.crops["mouth"], masked.crops["mouth"])
    shares = parse_occlusions("mask:0.5")
    half = preprocess_video(video, occlude="mask:0.5")
    worn = choose_occluder(shares, 0, video.name) is not None
    assert np.array_equal(half.crops["mouth"], masked.crops["mouth"]) == worn


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"faces": "both"}, "`faces` 'both' is unknown; known: main, all, cropped"),
        ({"policy": "loose"}, "`policy` 'loose' is unknown"),
        ({"size": 2}, "`size` must be a whole number from 4 to 1024; received 2"),
        ({"frame_rate": 0}, "`frame_rate` must be from 0.1 to 1000"),
        ({"min_face": -1}, "`min_face` must be from 0 to 1000"),
        ({"max_gap": -1}, "`max_gap` must be a whole number from 0 to 100"),
        ({"faces": "cropped", "landmarks": "csv"}, "faces 'cropped' need landmarks 'dlib'"),
        ({"landmarks": "none"}, "landmarks 'none' are for faces 'cropped', the region face"),
        ({"faces": "cropped", "landmarks": "none"}, "leave `landmarks` out, or name what"),
        ({"occlude": "hat"}, "hat"),
        ({"regions": ("ear",)}, "region 'ear' is unknown"),
        ({"regions": "mouth"}, "`regions` must be several names"),
        ({"size": 32.5}, "`size` must be a whole number"),
        ({"max_gap": None}, "`max_gap` must be a whole number"),
        ({"frame_rate": "native"}, "`frame_rate` must be from"),
        ({"occlude": {"mask": 0.5}}, "`occlude` must be text"),
    ],
)
def test_a_recipe_out_of_range_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        Recipe(**settings)


def test_slower_videos_repeat_frames_and_say_which(take, tmp_path, write_video):
    half = preprocess_video(write_video(tmp_path / "slow.mp4", take.frames[:8], 15))
    assert half.ledger.n_decoded == 8
    assert half.ledger.source_frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]


def test_csv_landmarks_are_used_as_they_are(video, take, tmp_path):
    write_openface_csv(tmp_path / "true.csv", take.landmarks)
    given = preprocess_video(video, landmarks="csv", landmarks_csv=tmp_path / "true.csv")
    assert given.landmarks.xy == pytest.approx(take.landmarks.xy, abs=0.01)


def test_a_crop_that_fails_repeats_the_last_one_under_the_papers_policy(video, take, tmp_path):
    xy = take.landmarks.xy.copy()
    xy[5, [36, 39]] = xy[5, [39, 36]] + [[40, 0], [-40, 0]]  # an eye turned inside out
    turned = type(take.landmarks)(
        xy, take.landmarks.confidence, take.landmarks.success, take.landmarks.timestamp
    )
    write_openface_csv(tmp_path / "turned.csv", turned)
    paper = preprocess_video(
        video, landmarks="csv", landmarks_csv=tmp_path / "turned.csv", policy="paper"
    )
    assert paper.n_found == 20
    assert np.array_equal(paper.crops["right_eye"][5], paper.crops["right_eye"][4])
    assert np.isnan(paper.box_xyxy[5, list(paper.crops).index("right_eye")]).all()
    assert not np.array_equal(paper.crops["left_eye"][5], paper.crops["left_eye"][4])


def test_what_cannot_be_done_is_said(video, tmp_path, write_video, grey_steps):
    with pytest.raises(InputError, match="need the CSV"):
        preprocess_video(video, landmarks="csv")
    with pytest.raises(InputError, match="'telepathy' is unknown; known: dlib, openface, csv"):
        preprocess_video(video, landmarks="telepathy")
    with pytest.raises(InputError, match="found no such file"):
        preprocess_video(video, landmarks="csv", landmarks_csv=tmp_path / "none.csv")
    steps = write_video(tmp_path / "steps.mp4", grey_steps)
    write_openface_csv(tmp_path / "other.csv", draw_take(1, "neutral", n_frames=16).landmarks)
    with pytest.raises(LandmarkError, match="5 frames decoded; found 16 rows"):
        preprocess_video(steps, landmarks="csv", landmarks_csv=tmp_path / "other.csv")


@pytest.mark.real
def test_one_scene_in_four_codecs_gives_the_same_crops(real_data):
    """Crops differ by little more than where they are all cut in the very same place."""
    names = ("video_01.mp4", "h265_aac.mp4", "vp8_opus.webm", "xvid_aac.avi")
    paths = [real_data / "videos" / f"openmpf_{name}" for name in names]
    # The short ones show the first frame twice and then go on with the long one.
    starts = (0, 1, 1, 1)
    frames = [
        [frame.rgb for frame in read_frames(path)][start : start + 30]
        for path, start in zip(paths, starts, strict=True)
    ]
    found = [preprocess_video(path, frame_rate=None) for path in paths]
    assert [film.n_found for film in found] == [90, 31, 31, 31]
    xy = [film.landmarks.xy[start : start + 30] for film, start in zip(found, starts, strict=True)]
    for other in (1, 2, 3):
        apart = np.linalg.norm(xy[other] - xy[0], axis=-1).mean(axis=1)
        assert np.median(apart / outer_eye_distance(xy[0])) < 0.03
        for region in ("left_eye", "mouth", "face"):
            first, same_place, own_place = (
                np.stack([crop_region(f, p, region)[0] for f, p in zip(*pair, strict=True)])
                for pair in ((frames[0], xy[0]), (frames[other], xy[0]), (frames[other], xy[other]))
            )
            noise = np.abs(same_place.astype(float) - first).mean()
            assert np.abs(own_place.astype(float) - first).mean() < 1.5 * noise, (other, region)


@pytest.fixture
def openface(tmp_path, monkeypatch, take):
    """A stand-in for OpenFace that writes the true landmarks of the take."""
    program = tmp_path / "openface" / "run me.py"
    program.parent.mkdir()
    shutil.copy(Path(__file__).with_name("fake_openface.py"), program)
    write_openface_csv(tmp_path / "true.csv", take.landmarks)
    monkeypatch.setenv("FAKE_OPENFACE_CSV", str(tmp_path / "true.csv"))
    return f"{sys.executable} '{program}'"


def test_openface_gives_the_landmarks_and_the_decoder_the_times(video, take, openface):
    found = preprocess_video(video, landmarks="openface", openface=openface)
    assert found.landmarks.xy == pytest.approx(take.landmarks.xy, abs=0.01)
    assert (found.status == Status.GIVEN).all()
    assert found.landmarks.timestamp == pytest.approx(np.arange(20) / 30)


def test_openface_that_stops_half_way_is_not_believed(video, openface, monkeypatch):
    monkeypatch.setenv("FAKE_OPENFACE", "short")
    with pytest.raises(LandmarkError, match=r"expected landmarks for the 20 frames.* found 3 rows"):
        preprocess_video(video, landmarks="openface", openface=openface)


def test_equal_recipes_are_written_alike():
    same = Recipe(frame_rate=30, margin=0, size=np.int64(48), regions=["mouth"])
    assert same == Recipe(frame_rate=30.0, margin=0.0, size=48, regions=("mouth",))
    assert json.dumps(same.as_dict()) == json.dumps(
        Recipe(frame_rate=30.0, margin=0.0, size=48, regions=("mouth",)).as_dict()
    )


def test_a_setting_that_does_not_exist_is_named(video):
    with pytest.raises(InputError, match=r"setting 'fps' is unknown; known: landmarks, faces"):
        preprocess_video(video, fps=25)


def test_a_hole_in_time_shows_no_face_and_breaks_the_segment(take, tmp_path, write_video, ffmpeg):
    whole = write_video(tmp_path / "whole.mp4", take.frames)
    paused = tmp_path / "paused.mkv"
    ffmpeg("-i", whole, "-vf", "setpts='PTS+gte(N,10)*8/TB'", "-fps_mode", "passthrough", paused)
    film = preprocess_video(paused)
    assert len(film) == pytest.approx(8 * 30 + 20, abs=2)
    assert film.n_found < 20 + 2 * 10
    hole = slice(40, 220)
    assert (film.status[hole] == Status.NO_FACE).all()
    assert film.ledger.n_cuts == 1
    assert len(set(film.segment.tolist()) - {-1}) == 2


def test_a_table_without_rows_is_not_a_video_without_a_face(video, take, tmp_path):
    write_openface_csv(tmp_path / "true.csv", take.landmarks)
    header = (tmp_path / "true.csv").read_text().splitlines()[0]
    (tmp_path / "empty.csv").write_text(header + "\n")
    with pytest.raises(LandmarkError, match=r"empty\.csv: expected a row for each frame"):
        preprocess_video(video, landmarks="csv", landmarks_csv=tmp_path / "empty.csv")


def test_a_face_that_leaves_early_needs_no_rows_where_every_face_is_followed(video, take, tmp_path):
    write_openface_csv(tmp_path / "true.csv", take.landmarks)
    lines = (tmp_path / "true.csv").read_text().splitlines(keepends=True)
    (tmp_path / "early.csv").write_text("".join(lines[:13]))
    recipe = Recipe(landmarks="csv", faces="all")
    stream = stream_video(video, recipe, landmarks_csv=tmp_path / "early.csv")
    assert [len(piece) for piece in stream] == [12]
    assert len(stream.ledger) == 20


def receding(take, path, *, small_from):
    """Write the landmarks of a take whose face is 10 pixels wide at the eyes from a frame on."""
    xy, eyes = take.landmarks.xy.copy(), outer_eye_distance(take.landmarks.xy)
    middle = xy.mean(axis=1, keepdims=True)
    shrunk = middle + (xy - middle) * (10 / eyes)[:, None, None]
    xy[small_from:] = shrunk[small_from:]
    marks = take.landmarks
    write_openface_csv(path, type(marks)(xy, marks.confidence, marks.success, marks.timestamp))
    return path


@pytest.mark.parametrize(
    ("min_face", "n_small"), [(Recipe().min_face, 8), (0, 0), (9, 0), (11, 8), (1000, 20)]
)
def test_a_face_that_is_too_small_is_counted_and_not_cropped(
    min_face, n_small, video, take, tmp_path
):
    table = receding(take, tmp_path / "receding.csv", small_from=12)
    found = preprocess_video(video, landmarks="csv", landmarks_csv=table, min_face=min_face)
    small = found.status == Status.SMALL_FACE
    assert np.flatnonzero(small).tolist() == list(range(20 - n_small, 20))
    assert found.n_found == 20 - n_small
    assert (found.segment[small] == -1).all()
    assert np.isnan(found.landmarks.xy[small]).all()
    assert not any(crops[small].any() for crops in found.crops.values())
    assert (found.status[~small] == Status.GIVEN).all()


@pytest.mark.parametrize("status", Status)
def test_each_status_has_crops_or_none(status):
    without = {Status.NO_FACE, Status.FAILED_CROP, Status.OTHER_FACE, Status.SMALL_FACE}
    assert status.has_crops == (status not in without)


@pytest.mark.parametrize(
    ("rate", "n_frames", "wanted", "expected"),
    [
        (30, 20, 30, 1),
        (15, 20, 30, 2),
        (10, 20, 30, 3),
        (5, 20, 30, 6),
        (1, 5, 30, 30),
        (60, 20, 30, 1),
        (5, 20, 5, 1),
        (5, 20, None, 1),
        (30, 1, 30, 1),
    ],
)
def test_how_often_each_frame_is_shown(rate, n_frames, wanted, expected):
    nothing = np.zeros((1, 1, 3), np.uint8)
    film = [Frame(place, place / rate, nothing, True) for place in range(n_frames)]
    shown = [frame.index for _, frame in resample_frames(film, wanted)]
    assert count_repeats(np.array(shown)) == expected


def test_a_pause_is_no_slow_video():
    assert count_repeats(np.array([0, 1, 2, *[3] * 900, 4, 5])) == 1
    assert count_repeats(np.array([], int)) == 1


def test_openface_is_not_asked_for_folders_of_images(take, tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), take.frames[index])
    with pytest.raises(InputError, match="found a folder of images"):
        preprocess_video(tmp_path, landmarks="openface", input_fps=30)
