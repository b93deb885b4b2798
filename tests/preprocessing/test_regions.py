import cv2
import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.regions import check_regions, crop_region, crop_transform
from microx.schema import REGIONS


def turned(xy, degrees, centre=(100.0, 110.0)):
    matrix = cv2.getRotationMatrix2D(centre, -degrees, 1.0)
    return (xy @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), matrix


@pytest.fixture
def frame():
    """A smooth frame in which every place has its own colour."""
    y, x = np.mgrid[0:220, 0:200]
    return np.stack([x, y, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], axis=-1).astype(np.uint8)


def test_an_aligned_box_is_the_extremes_with_a_margin(frame, upright_landmarks):
    _, box = crop_region(frame, upright_landmarks, "mouth", margin=0.25)
    # The mouth is 36 px wide about (100, 138): a square of 36 * 1.5.
    assert box == pytest.approx([100 - 27, 138 - 27, 100 + 27, 138 + 27], abs=0.1)


def test_left_and_right_are_the_subjects_own(frame, upright_landmarks):
    boxes = {side: crop_region(frame, upright_landmarks, side)[1] for side in REGIONS}
    assert boxes["right_eye"][0] < 80 < boxes["right_eye"][2] < boxes["left_eye"][0] < 120
    assert boxes["right_brow"][2] < boxes["left_brow"][2]


def test_a_crop_shows_what_its_box_holds(frame, upright_landmarks):
    crop, box = crop_region(frame, upright_landmarks, "mouth", size=54, margin=0.25)
    x0, y0, x1, y1 = np.round(box).astype(int)
    assert np.abs(crop.astype(int) - frame[y0:y1, x0:x1]).mean() < 2


@pytest.mark.parametrize("degrees", [-30, -10, 15, 40])
@pytest.mark.parametrize("region", ["left_eye", "mouth", "face"])
def test_a_tilted_head_gives_the_same_aligned_crop(frame, upright_landmarks, degrees, region):
    xy, matrix = turned(upright_landmarks, degrees)
    tilted = cv2.warpAffine(frame, matrix, (200, 220), borderMode=cv2.BORDER_REPLICATE)
    level, _ = crop_region(frame, upright_landmarks, region, size=24)
    levelled, _ = crop_region(tilted, xy, region, size=24)
    inner = slice(4, -4)
    difference = np.abs(level[inner, inner].astype(int) - levelled[inner, inner])
    assert np.median(difference) <= 3


def test_the_papers_box_stands_between_its_landmarks(frame, upright_landmarks):
    _, box = crop_region(frame, upright_landmarks, "mouth", policy="paper")
    left, right = upright_landmarks[48, 0], upright_landmarks[54, 0]
    assert box[[0, 2]] == pytest.approx([int(left) - 5, int(right) + 5])


def test_the_papers_face_is_the_whole_frame(frame, upright_landmarks):
    crop, box = crop_region(frame, upright_landmarks, "face", policy="paper", size=20)
    assert box.tolist() == [0, 0, 200, 220]
    assert np.array_equal(crop, cv2.resize(frame, (20, 20), interpolation=cv2.INTER_AREA))


def test_the_papers_box_can_be_empty(frame, upright_landmarks):
    xy, _ = turned(upright_landmarks, 180)
    crop, box = crop_region(frame, xy, "left_eye", policy="paper")
    assert crop is None
    assert np.isnan(box).all()


@pytest.mark.parametrize("policy", ["aligned", "paper"])
@pytest.mark.parametrize("size", [4, 32, 300])
def test_every_region_has_the_size_asked_for(frame, upright_landmarks, policy, size):
    for region in REGIONS:
        crop, _ = crop_region(frame, upright_landmarks, region, size=size, policy=policy)
        assert crop.shape == (size, size, 3)
        assert crop.dtype == np.uint8


def test_a_face_at_the_border_repeats_the_edge(frame, upright_landmarks):
    crop, box = crop_region(frame, upright_landmarks - np.float32([95, 0]), "face")
    assert box[0] < 0
    assert crop[:, 0].std(axis=0)[0] < 3  # the red channel runs along x


def test_points_on_one_spot_give_no_crop(frame):
    crop, box = crop_region(frame, np.full((68, 2), 50, np.float32), "mouth")
    assert crop is None
    assert np.isnan(box).all()


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["mouth", "chin"], "region 'chin' is unknown; known: left_eye"),
        (["mouth", "mouth"], "each once"),
        ([], "received none"),
    ],
)
def test_region_names_are_checked(regions, message):
    with pytest.raises(InputError, match=message):
        check_regions(regions)


def test_an_unknown_policy_is_refused(frame, upright_landmarks):
    with pytest.raises(InputError, match="'tight' is unknown; known: aligned, paper"):
        crop_region(frame, upright_landmarks, "mouth", policy="tight")


@pytest.mark.parametrize("policy", ["aligned", "paper"])
@pytest.mark.parametrize("size", [12, 24, 64])
@pytest.mark.parametrize("region", REGIONS)
def test_the_transform_is_what_the_crop_was_cut_by(frame, upright_landmarks, policy, size, region):
    xy, _ = turned(upright_landmarks, 8)
    crop, _ = crop_region(frame, xy, region, size=size, policy=policy)
    matrix = crop_transform(xy, region, size=size, policy=policy, size_hw=frame.shape[:2])
    again = cv2.warpAffine(
        cv2.GaussianBlur(frame, (0, 0), max(0.1, 0.4 / np.linalg.norm(matrix[0, :2]))),
        matrix,
        (size, size),
        borderMode=cv2.BORDER_REPLICATE,
    )
    # Red and green run along x and y, so a shift of one pixel of the frame would be 1 level.
    assert np.abs(crop[..., :2].astype(int) - again[..., :2])[2:-2, 2:-2].mean() < 1


def test_a_landmark_is_carried_to_where_the_crop_shows_it(upright_landmarks):
    matrix = crop_transform(upright_landmarks, "mouth", size=54, margin=0.25)
    # The box runs from 73 to 127 px: one pixel of the crop to one of the frame.
    corner = matrix[:, :2] @ upright_landmarks[48] + matrix[:, 2]
    assert corner == pytest.approx(upright_landmarks[48] - [73, 111], abs=0.1)


def test_no_crop_has_no_transform(upright_landmarks):
    assert np.isnan(crop_transform(np.full((68, 2), 50.0), "mouth")).all()
    assert np.isnan(crop_transform(np.full((68, 2), np.nan), "mouth")).all()
    xy, _ = turned(upright_landmarks, 180)
    assert np.isnan(crop_transform(xy, "left_eye", policy="paper", size_hw=(220, 200))).all()


def test_the_papers_transform_asks_for_the_frames_size(upright_landmarks):
    with pytest.raises(InputError, match="needs size_hw"):
        crop_transform(upright_landmarks, "face", policy="paper")
    with pytest.raises(InputError, match="'tight' is unknown"):
        crop_transform(upright_landmarks, "face", policy="tight")


def test_without_landmarks_the_face_is_the_whole_frame(frame):
    crop, box = crop_region(frame, None, "face", size=220)
    assert box.tolist() == [-10, 0, 210, 220]
    assert np.array_equal(crop[:, 10:210], frame)
    assert np.array_equal(crop[:, :10], np.repeat(frame[:, :1], 10, axis=1))
    stretched, box = crop_region(frame, None, "face", size=32, policy="paper")
    assert stretched.shape == (32, 32, 3)
    assert box.tolist() == [0, 0, 200, 220]
    with pytest.raises(InputError, match="region 'mouth' needs landmarks"):
        crop_region(frame, None, "mouth")
