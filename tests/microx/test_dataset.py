import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from microx.dataset import ClipDataset
from microx.errors import InputError, ModelError
from microx.preprocessing.occlusion import choose_occluder, parse_occlusions
from microx.preprocessing.regions import crop_region
from microx.synthetic import draw_take


def _dataset(corpus, **arguments):
    clips = arguments.pop("clips", corpus.clips())
    return ClipDataset(corpus, clips, **({"regions": ("mouth", "face")} | arguments))


def test_batches_hold_the_clips_in_order(small_corpus):
    clips = small_corpus.clips()
    dataset = _dataset(small_corpus, batch_size=7)
    assert len(dataset) == 5  # 30 clips
    batches = [dataset[k] for k in range(len(dataset))]
    assert [len(one_hot) for _, one_hot in batches] == [7, 7, 7, 7, 2]
    inputs, one_hot = batches[0]
    assert {region: x.shape for region, x in inputs.items()} == {
        "mouth": (7, 10, 24, 24, 3),
        "face": (7, 10, 24, 24, 3),
    }
    assert inputs["face"].dtype == one_hot.dtype == np.float32
    second = clips.iloc[1]
    crops = small_corpus.read_crops(second["video_id"], "mouth")
    start = second["start"]
    np.testing.assert_allclose(inputs["mouth"][1], crops[start : start + 10] / 255, rtol=1e-6)
    labels = np.concatenate([y for _, y in batches]).argmax(axis=1)
    np.testing.assert_array_equal(labels, clips["label"])


def test_each_epoch_has_an_order_that_the_seed_decides(small_corpus):
    one, same, other = (
        _dataset(small_corpus, shuffle=True, seed=s, batch_size=30) for s in (1, 1, 2)
    )
    first = one[0][1]
    np.testing.assert_array_equal(first, same[0][1])
    assert not np.array_equal(first, other[0][1])
    one.on_epoch_end()
    assert not np.array_equal(first, one[0][1])
    np.testing.assert_array_equal(first.sum(axis=0), one[0][1].sum(axis=0))


def test_all_frames_and_regions_of_a_clip_are_mirrored_alike(small_corpus):
    plain, varied = (_dataset(small_corpus, batch_size=30, augment=a)[0][0] for a in (False, True))
    mirrored = np.any(plain["face"] != varied["face"], axis=(1, 2, 3, 4))
    assert 0 < mirrored.sum() < 30
    for region in ("mouth", "face"):
        np.testing.assert_array_equal(
            varied[region][mirrored], plain[region][mirrored][:, :, :, ::-1]
        )
        np.testing.assert_array_equal(varied[region][~mirrored], plain[region][~mirrored])


def test_mirrored_clip_swaps_left_and_right(write_corpus):
    corpus = write_corpus(regions=("left_eye", "right_eye"))
    arguments = {"regions": ("left_eye", "right_eye"), "batch_size": 30}
    plain, _ = _dataset(corpus, **arguments)[0]
    varied, _ = _dataset(corpus, augment=True, **arguments)[0]
    mirrored = np.any(plain["left_eye"] != varied["left_eye"], axis=(1, 2, 3, 4))
    assert 0 < mirrored.sum() < 30
    for one, other in (("left_eye", "right_eye"), ("right_eye", "left_eye")):
        np.testing.assert_array_equal(varied[one][mirrored], plain[other][mirrored][:, :, :, ::-1])
        np.testing.assert_array_equal(varied[one][~mirrored], plain[one][~mirrored])


def test_one_eye_alone_is_never_mirrored(write_corpus):
    corpus = write_corpus(regions=("left_eye", "right_eye"))
    plain = _dataset(corpus, regions=("left_eye",), batch_size=30)
    varied = _dataset(corpus, regions=("left_eye",), batch_size=30, augment=True)
    np.testing.assert_array_equal(plain[0][0]["left_eye"], varied[0][0]["left_eye"])


def test_padded_clip_repeats_the_last_frame(small_corpus):
    clips = small_corpus.clips(length=15, tail="pad").iloc[[1]]
    assert clips["start"].item() == 15  # of 20 frames
    mouth = _dataset(small_corpus, clips=clips)[0][0]["mouth"][0]
    assert mouth.shape[0] == 15
    np.testing.assert_array_equal(mouth[5:], np.repeat(mouth[4:5], 10, axis=0))


def test_small_cache_gives_the_same_batches(small_corpus):
    large, small = _dataset(small_corpus), _dataset(small_corpus, cache_bytes=1)
    for k in range(len(large)):
        np.testing.assert_array_equal(large[k][0]["mouth"], small[k][0]["mouth"])
    assert len(small._crops._held) == 1


def test_unusable_arguments_are_refused(small_corpus):
    with pytest.raises(ModelError, match="regions nose asked for; the corpus holds mouth, face"):
        _dataset(small_corpus, regions=("mouth", "nose"))
    clips = small_corpus.clips()
    with pytest.raises(InputError, match="found no clips"):
        _dataset(small_corpus, clips=clips.iloc[:0])
    clips.loc[0, "length"] = 9
    with pytest.raises(InputError, match="one length; found 9, 10"):
        _dataset(small_corpus, clips=clips)


REGIONS = ("mouth", "left_eye", "face")


@pytest.fixture(params=["aligned", "paper"])
def faces(request, write_corpus):
    """Crops of a drawn actor in every video, as the pipeline cuts them; and its frames."""
    corpus = write_corpus(regions=REGIONS, n_subjects=2, policy=request.param)
    take = draw_take(3, "sad", n_frames=20, noise=0)
    xy = take.landmarks.xy
    for video_id in corpus.manifest["video_id"]:
        with h5py.File(corpus.crops_path(video_id), "a") as file:
            for region in REGIONS:
                for t in range(20):
                    crop, _ = _cut(corpus, take.frames[t], xy[t], region)
                    file["face_0"][region][t] = crop
            file["face_0"].require_dataset("landmarks", xy.shape, xy.dtype)[...] = xy
            file.attrs["facts"] = json.dumps({"video": {"size_hw": [256, 256]}})
    return corpus, take


def _cut(corpus, frame, xy, region):
    recipe = corpus.recipe
    return crop_region(
        frame, xy, region, size=corpus.size, policy=recipe["policy"], margin=recipe["margin"]
    )


def test_a_clip_wears_in_all_regions_what_its_frames_would(faces):
    corpus, take = faces
    dataset = _dataset(corpus, regions=REGIONS, batch_size=2, occlude="mask")
    worn = choose_occluder(parse_occlusions("mask"), 0, corpus.clips()["video_id"][0])
    for region in REGIONS:
        clip = 255 * dataset[0][0][region][1]  # frames 10 to 19 of the first video
        for t in (10, 19):
            xy = take.landmarks.xy[t]
            crop, _ = _cut(corpus, worn.apply(take.frames[t], xy), xy, region)
            assert np.abs(clip[t - 10] - crop).mean() < 5, (region, t)
    bare, _ = _dataset(corpus, regions=REGIONS, batch_size=2)[0]
    changed = {r: np.abs(255 * (bare[r] - dataset[0][0][r])).mean() for r in REGIONS}
    assert changed["mouth"] > 20
    assert changed["face"] > 5
    assert changed["left_eye"] < changed["mouth"] / 4


def test_training_deals_objects_out_anew_and_tests_do_not(faces):
    corpus, _ = faces
    arguments = {"regions": ("mouth",), "batch_size": 12, "occlude": "mask:0.5"}
    shown = {}
    for shuffle in (False, True):
        dataset = _dataset(corpus, shuffle=shuffle, **arguments)
        again = _dataset(corpus, shuffle=shuffle, **arguments)
        first = dataset[0][0]["mouth"]
        np.testing.assert_array_equal(first, again[0][0]["mouth"])
        dataset.on_epoch_end()
        shown[shuffle] = np.sort(first.ravel()), np.sort(dataset[0][0]["mouth"].ravel())
    np.testing.assert_array_equal(*shown[False])
    assert not np.array_equal(*shown[True])


def test_stored_crops_stay_bare(faces):
    corpus, _ = faces
    before = corpus.read_crops("s0_happy", "mouth").copy()
    bare = _dataset(corpus, regions=("mouth",), batch_size=12)
    worn = _dataset(corpus, regions=("mouth",), batch_size=12, occlude="scarf")
    once, twice = worn[0][0]["mouth"], worn[0][0]["mouth"]
    np.testing.assert_array_equal(once, twice)
    assert not np.array_equal(once, bare[0][0]["mouth"])
    np.testing.assert_array_equal(corpus.read_crops("s0_happy", "mouth"), before)


def test_unusable_occlusion_is_refused(small_corpus):
    covered = replace(small_corpus, recipe=small_corpus.recipe | {"occlude": "mask"})
    with pytest.raises(InputError, match="its faces wear mask already; received occlude hand"):
        _dataset(covered, occlude="hand")
    with pytest.raises(InputError, match="'beard' is unknown"):
        _dataset(small_corpus, occlude="beard")
