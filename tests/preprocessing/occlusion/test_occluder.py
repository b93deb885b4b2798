"""Objects laid over drawn faces, whose landmarks are known to the last digit."""

import cv2
import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.occlusion.occluder import (
    LOOKS,
    OCCLUSIONS,
    Light,
    Occlusion,
    choose_occluder,
    draw_occluder,
    measure_light,
    parse_occlusions,
)
from microx.preprocessing.regions import crop_region, crop_transform
from microx.schema import REGION_LANDMARKS
from microx.simulation.corpus import draw_take


@pytest.fixture(scope="module")
def take():
    """A surprised face: the jaw drops within a few frames."""
    return draw_take(3, "surprise", n_frames=16, noise=0)


@pytest.fixture(scope="module")
def face(take):
    """One frame and its landmarks."""
    return take.frames[0], take.landmarks.xy[0]


def opacity(occluder, xy):
    """How much of each pixel of a frame is occluded, 0 to 1: over white and over black."""
    light = Light((180, 140, 120))
    white, black = (
        occluder.apply(np.full((256, 256, 3), level, np.uint8), xy, light=light)[..., 0].astype(int)
        for level in (255, 0)
    )
    return 1 - (white - black) / 255


def at(image, points):
    """Values of an image at points."""
    return image[tuple(np.round(points).astype(int).T[::-1])]


# (kind, regions occluded, regions left bare)
HIDES = [
    ("mask", ("mouth",), ("left_eye", "right_eye", "left_brow", "right_brow")),
    ("sunglasses", ("left_eye", "right_eye"), ("mouth",)),
    ("scarf", ("mouth",), ("left_eye", "right_eye", "left_brow", "right_brow")),
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("kind", "occluded", "bare"), HIDES)
def test_an_object_hides_what_it_should_and_no_more(face, kind, occluded, bare, seed):
    _, xy = face
    hides = opacity(draw_occluder(kind, seed), xy)
    for region in occluded:
        assert at(hides, xy[list(REGION_LANDMARKS[region])]).min() > 0.8, region
    for region in bare:
        assert at(hides, xy[list(REGION_LANDMARKS[region])]).max() < 0.1, region


@pytest.mark.parametrize("kind", ["mask", "scarf"])
def test_the_tip_of_the_nose_is_covered(face, kind):
    _, xy = face
    for seed in range(12):
        assert at(opacity(draw_occluder(kind, seed), xy), xy[30:36]).min() > 0.95


@pytest.mark.parametrize("seed", range(12))
def test_a_hand_hides_part_of_the_face(face, seed):
    _, xy = face
    hides = opacity(draw_occluder("hand", seed), xy) > 0.5
    outline = cv2.convexHull(np.round(xy[:17]).astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros(hides.shape, np.uint8), outline, 1) > 0
    assert 0.2 < hides[inside].mean() < 0.9
    eyes = [at(hides, xy[list(REGION_LANDMARKS[eye])]).mean() for eye in ("left_eye", "right_eye")]
    assert min(eyes) == 0  # one eye at least looks out
    assert max(eyes) > 0.5 or at(hides, xy[48:68]).mean() > 0.5  # the other, or the mouth


@pytest.mark.parametrize("kind", OCCLUSIONS)
def test_the_look_hangs_on_the_seed_alone(face, kind):
    first = draw_occluder(kind, 4)
    draw_occluder.cache_clear()
    again, other = draw_occluder(kind, 4), draw_occluder(kind, 5)
    np.testing.assert_array_equal(first.painting.rgba, again.painting.rgba)
    np.testing.assert_array_equal(first.apply(*face), again.apply(*face))
    assert np.abs(first.apply(*face).astype(int) - other.apply(*face)).max() > 30


@pytest.mark.parametrize("kind", OCCLUSIONS)
def test_landmark_noise_hardly_moves_it(face, kind):
    rgb, xy = face
    grey = np.full_like(rgb, 128)
    occluder, light = draw_occluder(kind, 1), Light((180, 140, 120))
    still = occluder.apply(grey, xy, light=light).astype(int)
    moved = occluder.apply(grey, xy + np.float32(0.3), light=light).astype(int)
    rng = np.random.default_rng(0)
    shaken = [
        occluder.apply(grey, xy + rng.normal(0, 0.3, xy.shape).astype(np.float32), light=light)
        for _ in range(20)
    ]
    # About a third of what it moves by where the whole face does by 0.3 px to each side.
    noise = np.mean([np.abs(frame.astype(int) - still).mean() for frame in shaken])
    assert noise < 0.5 * np.abs(moved - still).mean()


def test_a_dropping_jaw_moves_the_lower_edge_of_a_mask_only(face):
    rgb, xy = face
    open_ = xy.copy()
    drop = np.concatenate([np.zeros(4), np.sin(np.linspace(0, np.pi, 9)), np.zeros(4)])
    open_[:17, 1] += 12 * drop
    open_[48:68, 1] += 8  # the lips count for nothing
    light = Light((180, 140, 120))
    shut, wide = (
        draw_occluder("mask", 1).apply(np.full_like(rgb, 128), points, light=light).astype(int)
        for points in (xy, open_)
    )
    top, middle, bottom = (round(float(v)) for v in (xy[28, 1], xy[31, 1], xy[8, 1]))
    assert np.abs(shut - wide)[top : middle - 8].mean() < 1.5
    assert np.abs(shut - wide)[bottom - 5 : bottom + 15].mean() > 5


@pytest.mark.parametrize("degrees", [-35, 20])
def test_it_tilts_with_the_head(face, degrees):
    rgb, xy = face
    matrix = cv2.getRotationMatrix2D((128, 128), degrees, 1.0)
    tilted = cv2.warpAffine(rgb, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    tilted_xy = xy @ matrix[:, :2].T + matrix[:, 2]
    light = Light((180, 140, 120))
    occluder = draw_occluder("sunglasses", 2)
    one = cv2.warpAffine(occluder.apply(rgb, xy, light=light), matrix, (256, 256),
                         borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    other = occluder.apply(tilted, tilted_xy, light=light)
    assert np.abs(one.astype(int) - other).mean() < 1.5


@pytest.mark.parametrize("kind", OCCLUSIONS)
@pytest.mark.parametrize("policy", ["aligned", "paper"])
@pytest.mark.parametrize("region", ["face", "mouth", "left_eye"])
def test_covering_a_crop_is_cropping_the_covered_frame(face, kind, policy, region):
    rgb, xy = face
    occluder, light = draw_occluder(kind, 2), measure_light(rgb, xy)
    arguments = {"size": 32, "policy": policy}
    covered_first, _ = crop_region(occluder.apply(rgb, xy), xy, region, **arguments)
    crop, _ = crop_region(rgb, xy, region, **arguments)
    matrix = crop_transform(xy, region, size_hw=rgb.shape[:2], **arguments)
    cropped_first = occluder.apply(crop, xy @ matrix[:, :2].T + matrix[:, 2], light=light)
    difference = np.abs(covered_first.astype(int) - cropped_first)
    assert difference.mean() < 3
    assert np.percentile(difference, 95) < 20


@pytest.mark.parametrize("kind", OCCLUSIONS)
def test_a_crop_as_small_as_can_be_is_covered(face, kind):
    rgb, xy = face
    for size in (1, 8, 32):
        small = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
        worn = draw_occluder(kind, 1).apply(small, (xy + 0.5) * size / 256 - 0.5)
        assert worn.shape == small.shape
        assert size < 8 or (worn != small).any()


def test_no_face_is_left_alone(face):
    rgb, xy = face
    occluder = draw_occluder("mask", 0)
    for points in (np.full((68, 2), np.nan), np.full((68, 2), 50.0), xy + 5000):
        same = occluder.apply(rgb, points)
        assert same is not rgb
        np.testing.assert_array_equal(same, rgb)
    with pytest.raises(InputError, match=r"shape \(68, 2\); received \(5, 2\)"):
        occluder.apply(rgb, np.zeros((5, 2)))


def test_the_given_image_stays_as_it_was(face):
    rgb, xy = face
    before = rgb.copy()
    draw_occluder("scarf", 0).apply(rgb, xy)
    np.testing.assert_array_equal(rgb, before)


def test_the_object_shares_the_light_of_the_face(face):
    rgb, xy = face
    ramp = np.linspace(0.6, 1.4, 256)[:, None]
    lit = np.clip(rgb * ramp, 0, 255).astype(np.uint8)
    light, plain = measure_light(lit, xy), measure_light(rgb, xy)
    assert light.slope > plain.slope + 0.2
    grey = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1)
    worn = draw_occluder("mask", 2).apply(grey, xy).astype(int)
    assert np.ptp(worn, axis=-1).max() <= 2  # nothing coloured on a grey image
    dark = draw_occluder("mask", 2).apply((rgb * 0.4).astype(np.uint8), xy)
    mouth = tuple(np.round(xy[62]).astype(int)[::-1])
    assert dark[mouth].mean() < 0.8 * draw_occluder("mask", 2).apply(rgb, xy)[mouth].mean()


def test_light_of_a_image_without_cheeks_is_its_mean_colour():
    rgb = np.full((20, 20, 3), (90, 60, 30), np.uint8)
    assert measure_light(rgb, np.full((68, 2), np.nan)) == Light((90, 60, 30))
    assert measure_light(rgb, np.random.default_rng(0).normal(9000, 99, (68, 2))).slope == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("mask", (Occlusion("mask", 1.0),)),
        (" mask:0.3 , sunglasses : 0.2", (Occlusion("mask", 0.3), Occlusion("sunglasses", 0.2))),
        ("mask:0.7,hand:0.3", (Occlusion("mask", 0.7), Occlusion("hand", 0.3))),
    ],
)
def test_occlusions_are_read(text, expected):
    assert parse_occlusions(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beard", "'beard' is unknown; known: mask, sunglasses, hand, scarf"),
        ("mask:much", "expected a share such as mask:1; found 'much'"),
        ("mask:", "expected a share such as mask:1; found ''"),
        ("mask:0", "above 0 and at most 1; found 0.0"),
        ("mask:nan", "above 0 and at most 1; found nan"),
        ("mask:1.5", "above 0 and at most 1; found 1.5"),
        ("mask:0.7,hand:0.4", "a sum of 1.1; lower the shares"),
        ("mask,hand", "a sum of 2; lower"),
        ("mask:0.2,mask:0.2", "each occlusion once; found mask, mask"),
    ],
)
def test_unreadable_occlusions_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_occlusions(text)


def test_unknown_objects_are_refused():
    with pytest.raises(InputError, match="'beard' is unknown"):
        draw_occluder("beard", 0)
    with pytest.raises(InputError, match="seed of at least 0; found -1"):
        draw_occluder("mask", -1)


def test_shares_are_kept():
    occlusions = parse_occlusions("sunglasses:0.3,mask:0.2")
    worn = [choose_occluder(occlusions, 1, f"video_{n}") for n in range(1000)]
    kinds = [occluder.kind if occluder else "" for occluder in worn]
    assert kinds.count("sunglasses") == pytest.approx(300, abs=45)
    assert kinds.count("mask") == pytest.approx(200, abs=40)
    assert kinds.count("hand") == 0
    seeds = {occluder.seed for occluder in worn if occluder}
    assert seeds <= set(range(LOOKS, 2 * LOOKS))
    assert len(seeds) > 0.9 * LOOKS


def test_the_choice_hangs_on_seed_and_name():
    all_ = parse_occlusions("sunglasses")
    assert choose_occluder(all_, 0, "one") is choose_occluder(all_, 0, "one")
    assert choose_occluder(all_, 0, "one").seed == 72  # on every machine
    assert choose_occluder(all_, 0, "one").seed != choose_occluder(all_, 0, "two").seed
    assert choose_occluder((), 0, "one") is None
    half = parse_occlusions("sunglasses:0.5")
    assert {choose_occluder(half, seed, "one") is None for seed in range(12)} == {True, False}
