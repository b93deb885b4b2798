"""Random changes of clips: the same in all frames, sampled from the generator alone."""

import cv2
import numpy as np
import pytest

from microx.errors import InputError
from microx.training.augmentation import (
    CHANGES,
    Change,
    augment_clip,
    augment_motion,
    parse_augmentation,
)

REGIONS = ("left_eye", "right_eye", "nose", "mouth", "face")
EVERYTHING = parse_augmentation("flip,crop,shift,rotate,blur,brightness,erase:1")


def smooth_clip(n_frames=4, size=32, regions=REGIONS):
    """Another smooth image for each region, the same in all frames."""
    rng = np.random.default_rng(7)
    clip = {}
    for region in regions:
        coarse = rng.integers(40, 216, (5, 5, 3), np.uint8)
        image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        clip[region] = np.repeat(image[None], n_frames, axis=0)
    return clip


@pytest.fixture
def clip():
    return smooth_clip()


def augment(clip, text, seed=0):
    return augment_clip(clip, parse_augmentation(text), np.random.default_rng(seed))


def assert_same(one, other):
    assert list(one) == list(other)
    for region in one:
        np.testing.assert_array_equal(one[region], other[region], err_msg=region)


@pytest.mark.parametrize("text", [*CHANGES, ",".join(CHANGES), "rotate:180,erase:1,blur:10"])
@pytest.mark.parametrize("n_frames", [1, 4])
def test_all_frames_change_alike_and_the_given_clip_stays(text, n_frames):
    clip = smooth_clip(n_frames)
    before = {region: crops.copy() for region, crops in clip.items()}
    for seed in range(8):
        changed = augment(clip, text, seed)
        assert list(changed) == list(clip)
        for region, crops in changed.items():
            assert crops.shape == clip[region].shape
            assert crops.dtype == np.uint8
            assert (crops == crops[:1]).all()
    assert_same(clip, before)


@pytest.mark.parametrize("kind", CHANGES)
def test_equal_seeds_give_equal_clips_and_others_do_not(clip, kind):
    changed = [augment(clip, kind, seed) for seed in range(8)]
    assert_same(augment(clip, kind, 3), changed[3])
    assert len({b"".join(map(np.ndarray.tobytes, one.values())) for one in changed}) > 1


def test_the_order_in_which_changes_are_listed_is_nothing(clip):
    forth, back = (
        augment_clip(clip, c, np.random.default_rng(1)) for c in (EVERYTHING, EVERYTHING[::-1])
    )
    assert_same(forth, back)


def test_no_change_no_region_and_no_frame_give_back_what_came(clip):
    rng = np.random.default_rng(0)
    assert_same(augment_clip(clip, (), rng), clip)
    assert augment_clip({}, EVERYTHING, rng) == {}
    assert_same(augment_clip(smooth_clip(n_frames=0), EVERYTHING, rng), smooth_clip(n_frames=0))


def test_a_mirrored_clip_has_its_eyes_exchanged(clip):
    mirrored = augment(clip, "flip:1")
    for region in ("nose", "mouth", "face"):
        np.testing.assert_array_equal(mirrored[region], clip[region][:, :, ::-1])
    np.testing.assert_array_equal(mirrored["left_eye"], clip["right_eye"][:, :, ::-1])
    np.testing.assert_array_equal(mirrored["right_eye"], clip["left_eye"][:, :, ::-1])
    assert_same(augment(mirrored, "flip:1"), clip)


@pytest.mark.parametrize("regions", [("left_eye", "mouth"), ("right_brow",), REGIONS[1:]])
def test_half_a_pair_is_not_mirrored(regions):
    clip = smooth_clip(regions=regions)
    assert_same(augment(clip, "flip:1"), clip)


def test_the_strength_of_a_mirror_is_its_probability(clip):
    changes, rng = parse_augmentation("flip:0.2"), np.random.default_rng(0)
    turned = [augment_clip(clip, changes, rng)["nose"] is not clip["nose"] for _ in range(1000)]
    assert np.mean(turned) == pytest.approx(0.2, abs=0.04)


def test_a_crop_is_a_window_of_the_image():
    """In a ramp, a window shows where it begins and how much it spans."""
    ramp = np.zeros((2, 64, 64, 3), np.uint8)
    ramp[:] = 4 * np.arange(64)[:, None]
    clip = {"nose": ramp, "mouth": ramp}
    spans, starts = [], []
    for seed in range(200):
        for crops in augment(clip, "crop:0.3", seed).values():
            row = crops[0, 5, :, 0] / 4
            spans.append((row[56] - row[8]) / 48)
            starts.append((row[8] + 0.5 - 8.5 * spans[-1]) / 64)
    assert np.corrcoef(spans[::2], spans[1::2])[0, 1] < 0.3  # a window for each region
    assert 0.68 < min(spans) < 0.73
    assert 0.97 < max(spans) < 1.02
    assert min(starts) > -0.02
    assert 0.2 < max(starts) < 0.32


def test_a_turn_is_one_for_all_regions_and_about_the_middle(clip):
    same = dict.fromkeys(REGIONS, clip["face"])
    turned = augment(same, "rotate:20", 3)
    for region in REGIONS:
        np.testing.assert_array_equal(turned[region], turned["face"])
    angle = float(np.random.default_rng(3).uniform(-20, 20))
    matrix = cv2.getRotationMatrix2D((15.5, 15.5), angle, 1)
    expected = [
        cv2.warpAffine(clip["face"][0], m, (32, 32), borderMode=cv2.BORDER_REPLICATE)
        for m in (matrix, cv2.getRotationMatrix2D((15.5, 15.5), -angle, 1))
    ]
    errors = [np.abs(turned["face"][0].astype(int) - image).mean() for image in expected]
    assert min(errors) < 1.5
    assert max(errors) > 3


def test_edges_are_repeated_not_black(clip):
    for seed in range(10):
        assert augment(clip, "rotate:180,crop:0.5", seed)["face"].min() > 20


def test_blur_smooths_all_regions_with_one_sigma(clip):
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    for seed in range(20):
        blurred = augment({"nose": noise, "mouth": noise}, "blur:2", seed)
        np.testing.assert_array_equal(blurred["nose"], blurred["mouth"])
        assert blurred["nose"].std() <= noise.std()
        expected = cv2.GaussianBlur(noise[0], (0, 0), 2)
        assert blurred["nose"].std() >= 0.99 * expected.std()


def test_light_changes_all_regions_by_one_curve_and_is_clipped(clip):
    steps = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    gains, means = [], []
    for seed in range(200):
        lit = augment({"nose": steps, "mouth": steps}, "brightness:0.4", seed)
        np.testing.assert_array_equal(lit["nose"], lit["mouth"])
        curve = lit["nose"][0, ..., 0].ravel().astype(int)
        assert (np.diff(curve) >= 0).all()  # nothing wraps round
        gains.append((curve[150] - curve[106]) / 44)
        means.append(curve[[127, 128]].mean() - 127.5)
    assert 0.58 < min(gains) < 0.65
    assert 1.35 < max(gains) < 1.42
    assert -52 < min(means) < -45
    assert 45 < max(means) < 52


def test_a_rectangle_of_the_mean_colour_is_erased():
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    shares, aspects, places = [], [], set()
    for seed in range(200):
        erased = augment({"nose": noise, "mouth": noise}, "erase:1", seed)
        for crops in erased.values():
            gone = (crops != noise).any(axis=(0, 3))
            rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
            assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98
            assert (crops[:, gone] == np.rint(noise.mean(axis=(0, 1, 2)))).all()
            shares.append(gone.mean())
            aspects.append(len(rows) / len(columns))
            places.add((rows[0], columns[0]))
    assert 0.01 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.36
    assert 0.2 < min(aspects) < 0.4
    assert 2.5 < max(aspects) < 5
    assert len(places) > 150


def test_the_strength_of_erasing_is_its_probability_for_each_region(clip):
    changes, rng = parse_augmentation("erase:0.3"), np.random.default_rng(0)
    erased = []
    for _ in range(300):
        changed = augment_clip(clip, changes, rng)
        erased.append([changed[region] is not clip[region] for region in REGIONS])
    np.testing.assert_allclose(np.mean(erased, axis=0), 0.3, atol=0.09)


def test_regions_may_differ_in_size():
    clip = smooth_clip(regions=("nose",)) | smooth_clip(size=20, regions=("mouth",))
    clip["face"] = clip["mouth"][:, :12]
    changed = augment_clip(clip, EVERYTHING, np.random.default_rng(0))
    assert {r: c.shape for r, c in changed.items()} == {r: c.shape for r, c in clip.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" flip ", (Change("flip", 0.5),)),
        ("rotate:5, crop : 0.2", (Change("rotate", 5.0), Change("crop", 0.2))),
        (
            "blur,brightness,erase",
            (Change("blur", 1), Change("brightness", 0.2), Change("erase", 0.5)),
        ),
    ],
)
def test_changes_are_read(text, expected):
    assert parse_augmentation(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zoom", "augmentation 'zoom' is unknown; known: flip, crop, shift, rotate"),
        ("rotate:far", "rotate: expected degrees such as rotate:10; found 'far'"),
        ("crop:", "expected a share of the side such as crop:0.1; found ''"),
        ("flip:0", "flip: expected a probability above 0 and at most 1; found 0.0"),
        ("crop:0.6", "a share of the side above 0 and at most 0.5; found 0.6"),
        ("blur:nan", "pixels above 0 and at most 10; found nan"),
        ("rotate:inf", "degrees above 0 and at most 180; found inf"),
        ("brightness:-0.1", "a share above 0 and at most 1; found -0.1"),
        ("flip,crop,flip:0.2", "each augmentation once; found flip, crop, flip"),
    ],
)
def test_unreadable_changes_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_augmentation(text)


def test_a_change_twice_is_refused(clip):
    with pytest.raises(InputError, match="each augmentation once"):
        augment_clip(clip, (Change("flip", 1), Change("flip", 0.5)), np.random.default_rng(0))


def test_mirrored_motion_changes_the_sign_of_u():
    maps = np.random.default_rng(0).normal(size=(3, 2, 8, 8, 3)).astype(np.float32)
    mirrored = augment_motion(maps, parse_augmentation("flip:1"), np.random.default_rng(0))
    assert np.array_equal(mirrored[..., 0], -maps[:, :, :, ::-1, 0])
    assert np.array_equal(mirrored[..., 1:], maps[:, :, :, ::-1, 1:])


def test_shifted_motion_has_nothing_at_the_border_and_is_the_same_in_all_frames():
    maps = np.ones((20, 3, 28, 28, 3), np.float32)
    shifted = augment_motion(maps, parse_augmentation("shift"), np.random.default_rng(0))
    assert np.array_equal(shifted[:, 0], shifted[:, 2])
    n_kept = (shifted[:, 0, :, :, 0] > 0).sum(axis=(1, 2))
    assert n_kept.min() >= 26 * 26  # 0.07 of 28 pixels is 2
    assert len(set(n_kept.tolist())) > 2
    assert np.array_equal(maps, np.ones_like(maps))  # the given ones stay


def test_a_shifted_clip_moves_by_at_most_its_share():
    crops = np.zeros((2, 40, 40, 3), np.uint8)
    crops[:, 20, 20] = 255
    for seed in range(5):
        clip = {"face": crops}
        moved = augment_clip(clip, parse_augmentation("shift:0.1"), np.random.default_rng(seed))
        at = np.unravel_index(moved["face"][0, :, :, 0].argmax(), (40, 40))
        assert max(abs(place - 20) for place in at) <= 4
        assert np.array_equal(moved["face"][0], moved["face"][1])
