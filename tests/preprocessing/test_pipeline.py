import numpy as np
import pytest

from microx.errors import InputError, LandmarkError
from microx.preprocessing import pipeline
from microx.preprocessing.landmarks import outer_eye_distance, write_openface_csv
from microx.preprocessing.pipeline import preprocess_video, stream_video
from microx.schema import EMOTIONS, REGIONS
from microx.synthetic import draw_take


@pytest.fixture(scope="module")
def take():
    return draw_take(4, "surprise", n_frames=20)


@pytest.fixture(scope="module")
def video(take, tmp_path_factory, write_video):
    return write_video(tmp_path_factory.mktemp("take") / "surprise.mp4", take.frames)


def test_every_region_of_every_frame_is_cropped(video):
    whole = preprocess_video(video, regions=REGIONS, size=24)
    assert len(whole) == whole.n_decoded == whole.n_found == 20
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
    chunks = list(stream_video(video))
    assert [len(chunk) for chunk in chunks] == [7, 7, 6]
    for region, crops in whole.crops.items():
        assert np.array_equal(np.concatenate([chunk.crops[region] for chunk in chunks]), crops)


def test_frames_without_a_face_stay_in_their_place(take, tmp_path, write_video):
    frames = take.frames.copy()
    frames[6:9] = 80
    lost = preprocess_video(write_video(tmp_path / "gap.mp4", frames))
    assert np.flatnonzero(~lost.landmarks.success).tolist() == [6, 7, 8]
    assert lost.n_found == 17
    assert not lost.crops["face"][6:9].any()
    assert np.isnan(lost.landmarks.xy[6:9]).all()
    assert np.isnan(lost.box_xyxy[6:9]).all()


def test_slower_videos_repeat_frames_and_say_which(take, tmp_path, write_video):
    half = preprocess_video(write_video(tmp_path / "slow.mp4", take.frames[:8], 15))
    assert half.n_decoded == 8
    assert half.source_frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]


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
    with pytest.raises(InputError, match="needs the CSV"):
        preprocess_video(video, landmarks="csv")
    with pytest.raises(InputError, match="'telepathy' are unknown; known: dlib, openface, csv"):
        preprocess_video(video, landmarks="telepathy")
    with pytest.raises(InputError, match="found none"):
        preprocess_video(video, landmarks="csv", landmarks_csv=tmp_path / "none.csv")
    steps = write_video(tmp_path / "steps.mp4", grey_steps)
    write_openface_csv(tmp_path / "other.csv", draw_take(1, "neutral", n_frames=16).landmarks)
    with pytest.raises(LandmarkError, match="5 frames decoded; found 16 rows"):
        preprocess_video(steps, landmarks="csv", landmarks_csv=tmp_path / "other.csv")


@pytest.mark.real
def test_no_face_is_invented_and_a_late_one_is_found(real_data):
    assert preprocess_video(real_data / "videos" / "pyfeat_no_face.mp4").n_found == 0
    late = preprocess_video(real_data / "videos" / "pyfeat_noface_face.mov")
    first = late.source_frame[np.flatnonzero(late.landmarks.success)[0]]
    assert abs(int(first) - 96) <= 10  # where OpenFace first succeeds
