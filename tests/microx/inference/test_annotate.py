"""The annotated video: as long as the video, and labels where the faces are."""

import cv2
import numpy as np
import pytest

from microx.errors import InputError
from microx.inference.annotate import FaceBoxes, _Labels
from microx.inference.prediction import CLIP, NO_FACE, Prediction
from microx.inference.video import predict_video
from microx.preprocessing.preprocessed import Ledger
from microx.simulation.corpus import draw_take


def test_every_face_gets_a_box_and_a_label(tmp_path, write_video):
    film = draw_take(1, "happy", n_frames=20, seed=0).frames
    path = write_video(tmp_path / "two.mp4", np.concatenate([film, film], axis=2))
    prediction = predict_video(path, out=tmp_path, annotate=True)
    capture = cv2.VideoCapture(str(tmp_path / "two.emotions.mp4"))
    shown = [capture.read()[1] for _ in range(20)]
    assert not capture.read()[0]
    bgr = np.concatenate([film[10], film[10]], axis=1)[..., ::-1].astype(int)
    changed = np.abs(shown[10] - bgr).max(axis=-1) > 60
    left, right = np.split(changed, 2, axis=1)
    assert min(left.sum(), right.sum()) > 500
    assert "of 2" in prediction.note


def test_a_tick_shows_the_nearest_clip_and_none_outside_of_clips():
    ticks = np.arange(40)
    ledger = Ledger(ticks / 10, ticks.astype(np.int32), (9, 9), 40, 40, 0, 0, 0)
    prediction = Prediction(
        video="v.mp4", model="m", note="", classes=("happy", "sad"),
        start_s=np.array([0.0, 0.6, 1.6]), end_s=np.array([1.0, 1.6, 4.0]),
        status=np.array([CLIP, CLIP, NO_FACE]),
        y_prob=np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]], np.float32),
        streams=(), weights=np.empty((3, 0), np.float32), n_frames=40, n_found=15,
    )  # fmt: skip
    labels = _Labels(prediction, ledger)
    texts = [labels.at(tick)[1] for tick in range(40)]
    assert texts == ["happy 90%"] * 8 + ["sad 80%"] * 8 + [""] * 24


def test_a_face_that_was_not_seen_has_no_box():
    assert np.isnan(FaceBoxes().of_face(3, 5)).all()


def test_annotated_videos_need_a_folder():
    with pytest.raises(InputError, match="`annotate` writes a video into `out`"):
        predict_video(__file__, annotate=True)
