"""A model on a video: the recipe is kept, every frame is accounted for, mistakes are explained."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.errors import InputError, LandmarkError, ModelError
from microx.inference.prediction import CLIP, NO_FACE, TOO_SHORT, Prediction, write_prediction
from microx.inference.video import _ClipReader, _Reader, predict_video
from microx.models.baselines import build_cnn6
from microx.models.multistream import build_microx
from microx.preprocessing.landmarks import Landmarks
from microx.preprocessing.motion import convert_crops
from microx.preprocessing.pipeline import preprocess_video
from microx.preprocessing.preprocessed import FaceFrames, Ledger
from microx.simulation.corpus import draw_take
from microx.training.facts import FitFacts
from microx.training.model_file import load_model, save_model
from microx.training.settings import FitSettings

pytestmark = pytest.mark.backends

CLASSES = ["<b>happy", "sad", "高兴"]
RECIPE = {"landmarks": "dlib", "regions": ["mouth", "face"], "size": 24}
RECIPE |= {"policy": "aligned", "margin": 0.2, "frame_rate": 15.0}
FACTS = {"classes": CLASSES, "regions": ["mouth"], "streams": ["mouth"], "inputs": "rgb"}
FACTS |= {"recipe": RECIPE, "recipe_hash": "0", "n_frames": 6, "size": 24}
FACTS |= {"preset": "compact", "seed": 1, "warnings": [], "versions": {}}
FACTS["trained_on"] = {"subjects": ["s0"], "videos": ["s0_happy"]}
FACTS["arguments"] = FitSettings(n_frames=6).as_dict()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, save_mouths):
    return save_mouths(tmp_path_factory.mktemp("model") / "model.keras", FACTS)


@pytest.fixture(scope="module")
def two_streams(tmp_path_factory):
    """A model of three regions in two streams, which weighs them unlike."""
    path = tmp_path_factory.mktemp("two") / "model.keras"
    model = build_microx(("mouth", "eyes"), n_frames=6, size=24, n_classes=3, seed=1)
    model.get_layer("fusion_weights").score.assign([0.0, 1.0])
    regions = ["mouth", "right_eye", "left_eye"]
    save_model(
        model, path, FitFacts.from_json(FACTS | {"regions": regions, "streams": ["mouth", "eyes"]})
    )
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video):
    """At 30 fps: 30 frames with a face, 12 without, 8 with (too few at 15 fps for a clip of 6)."""
    take = draw_take(2, "happy", n_frames=38, seed=0).frames
    empty = np.full((12, *take.shape[1:]), 90, np.uint8)
    frames = np.concatenate([take[:30], empty, take[30:]])
    return write_video(tmp_path_factory.mktemp("video") / "a face.mp4", frames)


@pytest.fixture(scope="module")
def prediction(video, model_path):
    return predict_video(video, model_path)


def test_every_frame_is_in_a_row(prediction):
    assert (prediction.n_frames, prediction.n_found) == (25, 19)
    assert prediction.status.tolist() == [CLIP] * 4 + [NO_FACE, TOO_SHORT]
    rate = RECIPE["frame_rate"]
    np.testing.assert_allclose(prediction.start_s * rate, [0, 3, 6, 9, 15, 21], atol=0.01)
    np.testing.assert_allclose(prediction.end_s * rate, [6, 9, 12, 15, 21, 25], atol=0.01)
    known = prediction.status == CLIP
    assert np.isnan(prediction.y_prob[~known]).all()
    np.testing.assert_allclose(prediction.y_prob[known].sum(axis=1), 1, atol=1e-5)


def test_the_crops_are_those_of_the_models_recipe(prediction, video, model_path):
    settings = {name: RECIPE[name] for name in ("size", "policy", "margin", "frame_rate")}
    crops = preprocess_video(video, regions=("mouth",), **settings).crops["mouth"]
    clips = np.stack([crops[start : start + 6] for start in (0, 3, 6, 9)])
    model, _ = load_model(model_path)
    expected = model.predict_on_batch(_told({"mouth": clips.astype(np.float32) / 255}))
    np.testing.assert_allclose(prediction.y_prob[:4], expected, atol=1e-5)


def _told(batch):
    """Inputs of a compact model that sees all of its regions."""
    n_clips = len(next(iter(batch.values())))
    return batch | {"present": np.ones((n_clips, len(batch)), np.float32)}


def test_the_emotion_is_the_mean_of_the_clips(prediction):
    mean = prediction.y_prob[:4].mean(axis=0) * 100
    assert prediction.emotion == CLASSES[mean.argmax()]
    assert list(prediction.percentages.values()) == pytest.approx(
        sorted(mean.tolist(), reverse=True), abs=1e-4
    )
    assert sum(prediction.percentages.values()) == pytest.approx(100, abs=0.01)
    assert prediction.n_clips == 4


def test_a_prediction_shows_itself(prediction):
    table = prediction.to_frame()
    assert table["status"].tolist() == prediction.status.tolist()
    assert table[[f"p_{name}" for name in CLASSES]].to_numpy()[:4].sum(axis=1) == pytest.approx(1)
    assert table.loc[4, f"p_{CLASSES[0]}"] != table.loc[4, f"p_{CLASSES[0]}"]  # nan
    assert table["emotion"].tolist()[4:] == ["", ""]
    assert repr(prediction).startswith(f"Prediction(a face.mp4: {prediction.emotion} ")
    assert repr(prediction).endswith(" %, 4 clips, 19 of 25 frames with a face)")
    assert f"<td>{prediction.emotion}</td>" in prediction._repr_html_()
    assert prediction.plot().axes


def test_table_and_time_line_are_written(prediction, tmp_path):
    csv, png = write_prediction(prediction, tmp_path / "new" / "out")
    assert (csv.name, png.name) == ("a face.emotions.csv", "a face.emotions.png")
    assert sorted(path.name for path in csv.parent.iterdir()) == [
        "a face.emotions.csv",
        "a face.emotions.png",
    ]
    table = pd.read_csv(csv, keep_default_na=False, dtype=str)
    assert list(table.columns)[:5] == ["start_s", "time_s", "end_s", "status", "emotion"]
    assert list(table.columns)[5:] == [*(f"p_{name}" for name in CLASSES), "weight_mouth"]
    np.testing.assert_allclose(table["time_s"].astype(float), prediction.times_s, atol=1e-3)
    assert table["status"].tolist() == prediction.status.tolist()
    assert (table.iloc[4:, 4:] == "").all(axis=None)
    written = table.iloc[:4, 5:8].to_numpy().astype(float)
    np.testing.assert_allclose(written, prediction.y_prob[:4], atol=1e-4)
    assert (table["weight_mouth"][:4] == "1.0000").all()
    assert table["emotion"][0] == CLASSES[prediction.y_prob[0].argmax()]
    assert cv2.imread(str(png)).shape[1] > 1000


def test_what_each_stream_counted_for_is_told(video, two_streams, tmp_path):
    result = predict_video(video, two_streams, out=tmp_path)
    assert result.streams == ("mouth", "eyes")
    is_clip = result.status == CLIP
    assert np.isnan(result.weights[~is_clip]).all()
    # Scores of 0 and 1: 1 to e.
    expected = np.array([1, np.e]) / (1 + np.e)
    np.testing.assert_allclose(result.weights[is_clip], np.tile(expected, (4, 1)), atol=1e-5)
    assert result.mean_weights == pytest.approx(
        dict(zip(("mouth", "eyes"), expected, strict=True)), abs=1e-5
    )
    table = pd.read_csv(tmp_path / "a face.emotions.csv", keep_default_na=False, dtype=str)
    assert list(table.columns)[-2:] == ["weight_mouth", "weight_eyes"]
    written = table.iloc[:4, -2:].to_numpy().astype(float)
    np.testing.assert_allclose(written, np.tile(expected, (4, 1)), atol=1e-4)
    assert (table.iloc[4:, -2:] == "").all(axis=None)


def test_a_video_is_read_without_what_is_hidden(video, two_streams):
    every = predict_video(video, two_streams)
    mouth = predict_video(video, two_streams, without=("right_eye", "left_eye"))
    eye = predict_video(video, two_streams, without=("mouth", "left_eye"))
    assert mouth.mean_weights == {"mouth": 1.0, "eyes": 0.0}
    assert eye.mean_weights == {"mouth": 0.0, "eyes": 1.0}
    known = every.status == CLIP
    for one in (mouth, eye):
        np.testing.assert_allclose(one.y_prob[known].sum(axis=1), 1, atol=1e-5)
        assert np.abs(one.y_prob[known] - every.y_prob[known]).max() > 1e-4
    for without, found in (
        (("mouth", "left_eye", "right_eye"), "without mouth, left_eye, right_eye: it reads"),
        (("nose",), "without nose: it reads mouth, right_eye, left_eye$"),
    ):
        with pytest.raises(ModelError, match=found):
            predict_video(video, two_streams, without=without)


def test_a_model_that_needs_every_region_says_so(video, tmp_path):
    path = tmp_path / "paper.keras"
    model = build_microx(("mouth",), preset="paper", n_frames=6, size=24, n_classes=3, seed=1)
    save_model(model, path, FitFacts.from_json(FACTS))
    result = predict_video(video, path, out=tmp_path, stride=6)
    assert (result.streams, result.weights.shape) == ((), (len(result.status), 0))
    header = (tmp_path / "a face.emotions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "weight" not in header
    with pytest.raises(ModelError, match="without mouth: it reads mouth and needs them all"):
        predict_video(video, path, without=("mouth",))


def test_annotated_frames_are_refused(video, model_path, tmp_path):
    model, facts = load_model(model_path)
    path = tmp_path / "annotated.keras"
    settings = dataclasses.replace(facts.arguments, frames="onset-apex-offset")
    save_model(model, path, dataclasses.replace(facts, arguments=settings))
    with pytest.raises(
        ModelError, match=r"annotated\.keras: expected annotated onset, apex and offset"
    ):
        predict_video(video, path)


def test_a_missing_onset_is_noted(video, tmp_path):
    path = tmp_path / "onset.keras"
    model = build_microx(("mouth",), n_frames=6, size=24, n_classes=3, inputs="difference", seed=1)
    settings = FitSettings(n_frames=6, inputs="difference", reference="onset")
    save_model(
        model,
        path,
        FitFacts.from_json(FACTS | {"inputs": "difference", "arguments": settings.as_dict()}),
    )
    result = predict_video(video, path)
    assert result.note == "clips are compared with their first frame: the video has no onset"
    assert result.n_clips == 4


def test_an_image_is_a_clip_of_one_frame(tmp_path):
    model = build_cnn6(("face",), size=24, n_classes=3, seed=0)
    facts = FitFacts.from_json(
        FACTS | {"regions": ["face"], "streams": ["face"], "inputs": "grey", "n_frames": 1}
    )
    save_model(model, tmp_path / "cnn6.keras", facts)
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), draw_take(2, "happy", n_frames=16).frames[8, ..., ::-1])
    result = predict_video(image, tmp_path / "cnn6.keras")
    assert result.status.tolist() == [CLIP]
    assert (result.n_frames, result.n_clips, result.streams) == (1, 1, ())
    np.testing.assert_allclose(result.y_prob.sum(axis=1), 1, atol=1e-5)


def test_progress_and_out_folder(video, model_path, tmp_path):
    seen = []
    predict_video(
        video, model_path, out=tmp_path, stride=6, progress=lambda *what: seen.append(what)
    )
    assert seen[-1] == (50, 50, "a face.mp4")
    assert (tmp_path / "a face.emotions.csv").is_file()


def _stretches(success, length):
    """The frames of a video whose mouth is its frame's number, a stretch at a time."""
    n_frames = len(success)
    crops = np.repeat(np.arange(n_frames, dtype=np.uint8), 3).reshape(n_frames, 1, 1, 3)
    segment = np.where(success, np.cumsum(np.diff(success, prepend=False)), -1).astype(np.int32)
    for start in range(0, n_frames, length):
        at = slice(start, start + length)
        n = len(success[at])
        if not success[at].any():
            continue  # a face that is not seen has no stretch
        yield FaceFrames(
            face=0,
            start=start,
            crops={"mouth": crops[at]},
            landmarks=Landmarks(
                np.zeros((n, 68, 2), np.float32),
                np.ones(n, np.float32),
                success[at],
                np.arange(n_frames)[at] / 30,
            ),
            box_xyxy=np.zeros((n, 1, 4), np.float32),
            status=success[at].astype(np.uint8),
            segment=segment[at],
        )


def _ledger(n_frames):
    every = np.arange(n_frames)
    return Ledger(every / 30, every.astype(np.int32), (9, 9), n_frames, n_frames, 0, 0, 0)


class _FirstAndLast:
    """In place of a network: a clip's first and last frame numbers, over 1000; and the first."""

    classes, streams = ("a", "b", "c"), ("mouth",)

    def __call__(self, clips):
        first, last = clips["mouth"][:, [0, -1], 0, 0, 0].T / 1000
        return np.column_stack([first, last, 1 - first - last, first]).astype(np.float32)


@pytest.mark.parametrize("stretch", [1, 7, 64, 300])
@pytest.mark.parametrize("seed", range(4))
def test_stretches_of_any_length_give_the_same_rows(stretch, seed):
    rng = np.random.default_rng(seed)
    runs = rng.integers(1, 60, 12)
    success = np.repeat(np.arange(12) % 2 == seed % 2, runs)[:250]
    length, stride = 10, int(rng.integers(1, 11))
    reader = _Reader(_FirstAndLast(), length, stride)
    for chunk in _stretches(success, stretch):
        reader.read(chunk)
    result = reader.result("v.mp4", "m.keras", "", _ledger(len(success)))

    expected, edges = [], np.flatnonzero(np.diff(success)) + 1
    for run in np.split(np.arange(len(success)), edges):
        first, past = int(run[0]), int(run[-1]) + 1
        if not success[first]:
            expected.append((first, past, NO_FACE))
        elif len(run) < length:
            expected.append((first, past, TOO_SHORT))
        else:
            starts = sorted({*range(first, past - length + 1, stride), past - length})
            expected += [(start, start + length, CLIP) for start in starts]
    rows = zip(
        (result.start_s * 30).round(), (result.end_s * 30).round(), result.status, strict=True
    )
    assert [(int(a), int(b), str(c)) for a, b, c in rows] == expected
    spans = np.array([row[:2] for row in expected if row[2] == CLIP])
    known = result.y_prob[result.status == CLIP]
    np.testing.assert_array_equal((known[:, :2] * 1000).round(), spans - [0, 1])
    np.testing.assert_array_equal(result.weights[result.status == CLIP, 0], known[:, 0])
    assert (result.n_frames, result.n_found) == (len(success), success.sum())


def test_single_frames_are_smoothed_within_their_run_alone():
    success = np.repeat([True, False, True], [30, 1, 20])
    reader = _Reader(_FirstAndLast(), 1, 1)
    for chunk in _stretches(success, 7):
        reader.read(chunk)
    result = reader.result("v.mp4", "m.keras", "", _ledger(len(success)))
    told = (result.y_prob[:, 0] * 1000).tolist()
    assert told[0] == pytest.approx(np.mean(range(5)))  # 5 frames before and 4 after, if there
    assert told[15] == pytest.approx(np.mean(range(10, 20)))
    assert told[29] == pytest.approx(np.mean(range(24, 30)))
    assert np.isnan(told[30])
    assert told[31] == pytest.approx(np.mean(range(31, 36)))
    np.testing.assert_allclose(result.weights[15, 0], result.y_prob[15, 0])


def test_video_without_a_face_is_explained(tmp_path, write_video, model_path):
    grey = write_video(tmp_path / "grey.mp4", np.full((20, 64, 64, 3), 99, np.uint8))
    with pytest.raises(InputError, match=r"grey\.mp4: expected a face; found none in any of 10"):
        predict_video(grey, model_path)


def test_a_face_too_small_is_explained(tmp_path, write_video, model_path):
    model, facts = load_model(model_path)
    far = dataclasses.replace(facts, recipe={**facts.recipe, "min_face": 500.0})
    save_model(model, tmp_path / "far.keras", far)
    path = write_video(tmp_path / "far.mp4", draw_take(2, "sad", n_frames=16).frames)
    with pytest.raises(InputError, match=r"in 8 of 8 frames it is smaller than the `min_face`"):
        predict_video(path, tmp_path / "far.keras")


def test_a_slow_video_is_told_of(tmp_path, write_video, model_path):
    path = write_video(tmp_path / "slow.mp4", draw_take(2, "sad", n_frames=16).frames[:6], 3)
    note = predict_video(path, model_path).note
    assert "about 3 frames a second where the model reads 15: each is repeated about 5" in note


def test_face_seen_too_briefly_is_explained(tmp_path, write_video, model_path):
    take = draw_take(2, "sad", n_frames=16).frames
    empty = np.full((10, *take.shape[1:]), 90, np.uint8)
    path = write_video(tmp_path / "brief.mp4", np.concatenate([take[:8], empty]))
    with pytest.raises(InputError, match=r"6 frames on end.* in 4 of 9 frames, at most 4 on end"):
        predict_video(path, model_path)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"faces": "all"}, "`faces` must be one of main, cropped, for a prediction is of one face"),
        ({"landmarks": "csv"}, "`landmarks` must be one of dlib, openface; received 'csv'"),
        ({"faces": "cropped", "landmarks": "openface"}, "faces 'cropped' need landmarks 'dlib'"),
        ({"out": "https://a.b/c"}, "expected a folder to write to; found an address"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_looked_for(video, request_, message):
    with pytest.raises(InputError, match=message):
        predict_video(video, "nowhere", **request_)


def test_bad_input_is_explained(tmp_path, video, model_path):
    with pytest.raises(InputError, match=r"none\.mp4"):
        predict_video(tmp_path / "none.mp4", model_path)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(InputError, match=r"text\.mp4"):
        predict_video(text, model_path)
    with pytest.raises(ModelError, match=r"text\.mp4"):
        predict_video(video, text)
    for stride in (0, 7):
        with pytest.raises(InputError, match="`stride` must be from 1 frame to the 6 of a clip"):
            predict_video(video, model_path, stride=stride)
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_prediction(_prediction(), text)


def _prediction(**changes):
    good = {"video": "v.mp4", "model": "m.keras", "note": "", "classes": ("a", "b")}
    good |= {"start_s": np.zeros(1), "end_s": np.ones(1), "status": np.array([CLIP])}
    good |= {"y_prob": np.full((1, 2), 0.5, np.float32), "n_frames": 10, "n_found": 10}
    good |= {"streams": (), "weights": np.empty((1, 0), np.float32)}
    return Prediction(**good | changes)


def test_prediction_checks_itself():
    assert _prediction().emotion == "a"  # the first of equals
    with pytest.raises(InputError, match=r"end_s must have shape \(1,\); found \(2,\)"):
        _prediction(end_s=np.ones(2))
    with pytest.raises(InputError, match=r"weights must have shape \(1, 0\); found \(1, 2\)"):
        _prediction(weights=np.ones((1, 2)))
    with pytest.raises(InputError, match="at least one clip"):
        _prediction(status=np.array([NO_FACE]))


def test_other_landmarks_than_the_models_are_noted(video, tmp_path, model_path):
    model, facts = load_model(model_path)
    path = tmp_path / "openface.keras"
    save_model(model, path, dataclasses.replace(facts, recipe=RECIPE | {"landmarks": "openface"}))
    note = predict_video(video, path, landmarks="dlib").note
    assert "trained with openface landmarks" in note
    with pytest.raises(LandmarkError, match="nowhere"):
        predict_video(video, path, openface=tmp_path / "nowhere")
    save_model(model, path, dataclasses.replace(facts, recipe=RECIPE | {"landmarks": "csv"}))
    assert "trained with csv landmarks, this video has dlib's" in predict_video(video, path).note
    whole = RECIPE | {"landmarks": "none", "faces": "cropped"}
    save_model(model, path, dataclasses.replace(facts, recipe=whole))
    note = predict_video(video, path, faces="main").note
    assert "trained with whole face crops, this video has dlib's" in note


@pytest.mark.real
def test_real_face(real_data, model_path):
    result = predict_video(real_data / "cremad" / "1001_DFA_HAP_XX.flv", model_path)
    assert set(result.status) == {CLIP}
    assert result.n_found == result.n_frames
    # 56 frames at 29.97 a second, shown at the model's 15
    assert result.end_s[-1] == pytest.approx(56 / 29.97, abs=0.07)


def _clip_reader(path, *, without=()):
    model, facts = load_model(path)
    return model, _ClipReader(model, facts, without, name="m.keras")


def test_predict_converts_pixels_as_training_does(two_streams):
    model, read = _clip_reader(two_streams)
    rng = np.random.default_rng(0)
    crops = {
        region: rng.integers(0, 256, (2, 6, 24, 24, 3), np.uint8)
        for region in ("left_eye", "right_eye", "mouth")  # in any order
    }
    batch = {
        region: np.stack([convert_crops(one, "rgb") for one in clips])
        for region, clips in crops.items()
    }
    expected = model.predict_on_batch(_told(batch))
    np.testing.assert_allclose(read(crops)[:, :3], expected, atol=1e-6)


def test_a_region_out_of_the_image_is_missing_as_in_training(two_streams):
    """Of the first clip the mouth is black, of the second an eye."""
    _, read = _clip_reader(two_streams)
    crops = {
        region: np.full((2, 6, 24, 24, 3), 99, np.uint8)
        for region in ("mouth", "right_eye", "left_eye")
    }
    crops["mouth"][0] = crops["left_eye"][1] = 0
    weights = read(crops)[:, 3:]
    np.testing.assert_allclose(weights[0], [0, 1], atol=1e-6)
    assert (weights[1] > 0).all()
    _, read = _clip_reader(two_streams, without=("right_eye", "left_eye"))
    with pytest.raises(ModelError, match=r"m\.keras: reads mouth, .*none of those.* are black"):
        read(crops)
