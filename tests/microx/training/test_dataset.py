import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus.corpus import load_corpus
from microx.errors import CorpusError, InputError, ModelError
from microx.preprocessing.motion import convert_crops
from microx.preprocessing.occlusion.occluder import choose_occluder, parse_occlusions
from microx.preprocessing.regions import crop_region
from microx.schema import CROP_INPUTS, INPUTS
from microx.simulation.corpus import draw_take
from microx.training.dataset import ClipDataset, open_clips
from microx.training.settings import FitSettings


def _dataset(corpus, *, clips=None, **arguments):
    clips = corpus.clips() if clips is None else clips
    return ClipDataset(corpus, clips, **({"regions": ("mouth", "face")} | arguments))


def _assert_same(batch, expected):
    assert list(batch) == list(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(batch[name], x, err_msg=name)


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
    plain, varied = (_dataset(small_corpus, batch_size=30, augment=a)[0][0] for a in ("", "flip"))
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
    varied, _ = _dataset(corpus, augment="flip", **arguments)[0]
    mirrored = np.any(plain["left_eye"] != varied["left_eye"], axis=(1, 2, 3, 4))
    assert 0 < mirrored.sum() < 30
    for one, other in (("left_eye", "right_eye"), ("right_eye", "left_eye")):
        np.testing.assert_array_equal(varied[one][mirrored], plain[other][mirrored][:, :, :, ::-1])
        np.testing.assert_array_equal(varied[one][~mirrored], plain[one][~mirrored])


def test_one_eye_alone_is_never_mirrored(write_corpus):
    corpus = write_corpus(regions=("left_eye", "right_eye"))
    plain = _dataset(corpus, regions=("left_eye",), batch_size=30)
    varied = _dataset(corpus, regions=("left_eye",), batch_size=30, augment="flip")
    np.testing.assert_array_equal(plain[0][0]["left_eye"], varied[0][0]["left_eye"])


def test_padded_clip_repeats_the_last_frame(small_corpus):
    clips = small_corpus.clips(length=15, tail="pad").iloc[[1]]
    assert clips["start"].item() == 15  # of 20 frames
    mouth = _dataset(small_corpus, clips=clips)[0][0]["mouth"][0]
    assert mouth.shape[0] == 15
    np.testing.assert_array_equal(mouth[5:], np.repeat(mouth[4:5], 10, axis=0))


def test_small_cache_gives_the_same_batches(small_corpus):
    video = 20 * 24 * 24 * 3
    held = {}
    for room in (2**30, 5 * video - 1, 1):
        dataset = _dataset(small_corpus, cache_bytes=room)
        held[room] = [dataset[k][0] for k in range(len(dataset))]
        assert sum(crops.nbytes for crops in dataset._crops._held.values()) <= room
    for small in (5 * video - 1, 1):
        for expected, batch in zip(held[2**30], held[small], strict=True):
            _assert_same(batch, expected)


def test_unusable_arguments_are_refused(small_corpus):
    with pytest.raises(ModelError, match="regions nose asked for; the corpus holds mouth, face"):
        _dataset(small_corpus, regions=("mouth", "nose"))
    clips = small_corpus.clips()
    with pytest.raises(InputError, match="found no clips"):
        _dataset(small_corpus, clips=clips.iloc[:0])
    clips.loc[0, "length"] = 9
    with pytest.raises(InputError, match="one length; found 9, 10"):
        _dataset(small_corpus, clips=clips)


@pytest.mark.parametrize("inputs", CROP_INPUTS)
def test_each_kind_of_pixels_is_what_convert_crops_gives(small_corpus, inputs):
    batch, _ = _dataset(small_corpus, inputs=inputs, batch_size=4)[0]
    for region in ("mouth", "face"):
        assert batch[region].shape == (4, 10, 24, 24, INPUTS[inputs])
        assert batch[region].dtype == np.float32
        crops = small_corpus.read_crops("s0_neutral", region)
        for clip, start in ((0, 0), (1, 10)):
            expected = convert_crops(crops[start : start + 10], inputs)
            np.testing.assert_allclose(batch[region][clip], expected, rtol=1e-6)


def _name_frames(corpus, frames):
    """Open a corpus whose labels name frames: ``{"s0_sad": {"onset": "3"}}``."""
    table = pd.read_csv(corpus.folder / "manifest.csv", dtype=str, keep_default_na=False)
    table = table.set_index("video_id", drop=False)
    for video_id, named in frames.items():
        table.loc[video_id, list(named)] = list(named.values())
    table.to_csv(corpus.folder / "manifest.csv", index=False)
    return load_corpus(corpus.folder)


@pytest.mark.parametrize("inputs", ["difference", "flow"])
def test_clips_are_compared_with_the_onset_where_labels_name_it(write_corpus, inputs):
    corpus = _name_frames(write_corpus(n_subjects=1), {"s0_neutral": {"onset": "4"}})
    first, onset = (
        _dataset(corpus, inputs=inputs, reference=r)[0][0]["mouth"] for r in ("first", "onset")
    )
    crops = corpus.read_crops("s0_neutral", "mouth")
    for clip, start in ((0, 0), (1, 10)):
        expected = convert_crops(crops[start : start + 10], inputs, reference=crops[4])
        np.testing.assert_allclose(onset[clip], expected, rtol=1e-6)
        assert np.abs(onset[clip] - first[clip]).max() > 0
    np.testing.assert_array_equal(onset[2], first[2])  # without an onset: its first frame
    happy = corpus.read_crops("s0_happy", "mouth")
    expected = convert_crops(happy[10:], inputs, reference=happy[0])
    np.testing.assert_allclose(onset[3], expected, rtol=1e-6)  # not the clip's own first
    plain, same = (_dataset(corpus, reference=r)[0][0] for r in ("first", "onset"))
    _assert_same(same, plain)


def test_a_mirrored_clip_is_compared_with_its_mirrored_reference(small_corpus):
    arguments = {"inputs": "difference", "batch_size": 30}
    plain = _dataset(small_corpus, **arguments)[0][0]["mouth"]
    varied = _dataset(small_corpus, augment="flip:1", **arguments)[0][0]["mouth"]
    np.testing.assert_array_equal(varied, plain[:, :, :, ::-1])


def test_batches_do_not_depend_on_who_asks_first(small_corpus):
    """As many threads as batches, in any order, get what one gets."""
    arguments = {"shuffle": True, "seed": 3, "batch_size": 2, "tell_present": True}
    arguments |= {"augment": "flip,crop,rotate,blur,brightness,erase", "inputs": "difference"}
    for room in (2**30, 100_000):
        alone, asked = (_dataset(small_corpus, cache_bytes=room, **arguments) for _ in range(2))
        expected = [alone[k] for k in range(len(alone))]
        order = [*range(len(asked))][::-1]
        with ThreadPoolExecutor(4) as pool:
            given = dict(zip(order, pool.map(asked.__getitem__, order), strict=True))
        for k, (batch, one_hot) in enumerate(expected):
            _assert_same(given[k][0], batch)
            np.testing.assert_array_equal(given[k][1], one_hot)


def test_open_clips_lists_what_settings_ask_for(write_corpus):
    corpus = _name_frames(write_corpus(n_subjects=1), {"s0_sad": {"apex": "13", "onset": "2"}})
    same, clips = open_clips(corpus, FitSettings(n_frames=8, stride=4, tail="pad"))
    assert same is corpus
    pd.testing.assert_frame_equal(clips, corpus.clips(8, stride=4, tail="pad"))
    _, clips = open_clips(corpus, FitSettings(frames="onset-apex-offset"))
    batch, _ = _dataset(corpus, clips=clips)[0]
    np.testing.assert_allclose(
        batch["mouth"][2], corpus.read_crops("s0_sad", "mouth", (2, 13, 19)) / 255, rtol=1e-6
    )
    asked, clips = open_clips(corpus, FitSettings(frames="onset|apex"))
    assert asked.classes == ("no expression", "expression")
    batch, one_hot = _dataset(asked, clips=clips)[0]
    assert batch["mouth"].shape == (2, 1, 24, 24, 3)
    np.testing.assert_array_equal(one_hot, np.eye(2))
    assert corpus.classes == ("neutral", "happy", "sad")


def test_clips_that_a_corpus_does_not_hold_are_refused(small_corpus):
    with pytest.raises(CorpusError, match="clips of 21 frames; no video shows one face in 21"):
        open_clips(small_corpus, FitSettings(n_frames=21))
    assert len(open_clips(small_corpus, FitSettings(n_frames=21, tail="pad"))[1]) == 15
    with pytest.raises(CorpusError, match=r"clips of onset.apex; none names one; give labels with"):
        open_clips(small_corpus, FitSettings(frames="onset|apex"))


def _drawn(dataset, n_epochs):
    """Class of each clip, and the clip itself, in the order of each epoch."""
    epochs = []
    for _ in range(n_epochs):
        batches = [dataset[k] for k in range(len(dataset))]
        labels = np.concatenate([one_hot for _, one_hot in batches]).argmax(axis=1)
        clips = np.concatenate([inputs["mouth"] for inputs, _ in batches])
        epochs.append((labels, [clip.tobytes() for clip in clips]))
        dataset.on_epoch_end()
    return epochs


def test_balanced_epochs_draw_each_class_equally_often(small_corpus):
    clips = small_corpus.clips()
    rare = clips.drop(clips.index[clips["label"] == 2][2:])  # 10, 10 and 2 clips
    dataset = _dataset(
        small_corpus, clips=rare, regions=("mouth",), shuffle=True, balance=True, batch_size=7
    )
    assert len(dataset) == 4  # 24 clips: three times the 8 that 22 clips are a class
    first, second = _drawn(dataset, 2)
    for labels, shown in (first, second):
        assert np.bincount(labels).tolist() == [8, 8, 8]
        for label, n_clips in enumerate((10, 10, 2)):
            of_class = [clip for one, clip in zip(labels, shown, strict=True) if one == label]
            times = [of_class.count(clip) for clip in set(of_class)]
            assert len(times) == min(n_clips, 8)  # all of them before any comes again
            assert max(times) - min(times) <= 1
    assert first[0].tolist() != second[0].tolist()
    plain = _dataset(small_corpus, clips=rare, balance=True)
    np.testing.assert_array_equal(plain[0][1].argmax(axis=1), rare["label"][:8])


def test_regions_that_are_taken_as_missing_are_told_and_zero(small_corpus):
    plain, _ = _dataset(small_corpus)[0]
    told, _ = _dataset(small_corpus, tell_present=True)[0]
    np.testing.assert_array_equal(told.pop("present"), np.ones((8, 2)))
    _assert_same(told, plain)
    told, _ = _dataset(small_corpus, tell_present=True, without=("mouth",))[0]
    np.testing.assert_array_equal(told["present"], np.tile([0, 1], (8, 1)))
    assert told["present"].dtype == np.float32
    assert (told["mouth"] == 0).all()
    np.testing.assert_array_equal(told["face"], plain["face"])


def test_a_region_that_the_corpus_lacks_is_missing(small_corpus):
    regions = ("nose", "mouth", "left_brow")
    told, _ = _dataset(small_corpus, regions=regions, tell_present=True, inputs="grey")[0]
    assert list(told) == [*regions, "present"]
    np.testing.assert_array_equal(told["present"], np.tile([0, 1, 0], (8, 1)))
    assert told["nose"].shape == told["mouth"].shape == (8, 10, 24, 24, 1)


def _blacken(corpus, video_id, *regions):
    with h5py.File(corpus.crops_path(video_id), "a") as file:
        for region in regions:
            file["face_0"][region][...] = 0


@pytest.mark.parametrize("inputs", ["rgb", "flow"])
def test_black_crops_are_missing_however_they_are_lit(write_corpus, inputs):
    corpus = write_corpus(n_subjects=1)
    _blacken(corpus, "s0_happy", "mouth")
    for augment in ("", "brightness:1,blur"):
        told, _ = _dataset(corpus, tell_present=True, augment=augment, inputs=inputs)[0]
        np.testing.assert_array_equal(told["present"][:, 0], [1, 1, 0, 0, 1, 1])
        np.testing.assert_array_equal(told["present"][:, 1], 1)
        assert (told["mouth"][2:4] == 0).all()


def test_a_clip_of_which_nothing_is_seen_is_named(write_corpus):
    corpus = write_corpus(n_subjects=1)
    _blacken(corpus, "s0_happy", "mouth", "face")
    dataset = _dataset(corpus, tell_present=True, batch_size=2)
    assert dataset[0]
    with pytest.raises(ModelError, match=r"clip s0_happy:0 has none of the regions mouth, face"):
        dataset[1]
    with pytest.raises(
        ModelError, match=r"all regions are missing: mouth; a model needs at least one"
    ):
        _dataset(corpus, regions=("mouth",), tell_present=True, without=("mouth",))
    with pytest.raises(ModelError, match="all regions are missing: nose, mouth"):
        _dataset(corpus, regions=("nose", "mouth"), tell_present=True, without=("mouth",))
    with pytest.raises(ModelError, match="all regions are missing: nose;"):
        _dataset(corpus, regions=("nose",), tell_present=True)
    with pytest.raises(ModelError, match=r"without nose: .* this one reads mouth, face"):
        _dataset(corpus, tell_present=True, without=("nose",))
    with pytest.raises(ModelError, match=r"without mouth: .* this one needs them all"):
        _dataset(corpus, without=("mouth",))


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


def test_a_clip_has_in_all_regions_the_object_of_its_frames(faces):
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


def test_what_an_object_covers_is_missing(faces):
    corpus, _ = faces
    arguments = {"batch_size": 12, "tell_present": True}
    masked, _ = _dataset(corpus, regions=("mouth", "left_eye"), occlude="mask", **arguments)[0]
    np.testing.assert_array_equal(masked["present"], np.tile([0, 1], (12, 1)))
    assert (masked["mouth"] == 0).all()
    bare, _ = _dataset(corpus, regions=("mouth", "left_eye"), **arguments)[0]
    np.testing.assert_array_equal(bare["present"], 1)
    some, _ = _dataset(corpus, regions=("mouth", "face"), occlude="mask:0.5", **arguments)[0]
    assert 0 < some["present"][:, 0].sum() < 12
    alone, _ = _dataset(corpus, regions=("mouth",), occlude="mask", **arguments)[0]
    np.testing.assert_array_equal(alone["present"], 1)  # what is covered least stays
    untold, _ = _dataset(corpus, regions=("mouth",), occlude="mask", batch_size=12)[0]
    np.testing.assert_array_equal(alone["mouth"], untold["mouth"])


def test_what_is_hidden_is_hidden_in_the_mirrored_clip_too(write_corpus):
    """Neither the covered eye nor its neighbour comes to stand in the other's place."""
    corpus = write_corpus(regions=("left_eye", "right_eye", "face"))
    _blacken(corpus, "s0_happy", "left_eye")
    arguments = {"regions": ("left_eye", "right_eye", "face"), "batch_size": 30}
    plain, _ = _dataset(corpus, tell_present=True, **arguments)[0]
    varied, _ = _dataset(corpus, tell_present=True, augment="flip:1", **arguments)[0]
    np.testing.assert_array_equal(varied["present"], plain["present"])
    np.testing.assert_array_equal(varied["right_eye"][2:4], plain["right_eye"][2:4])
    np.testing.assert_array_equal(varied["right_eye"][4], plain["left_eye"][4][:, :, ::-1])


def test_training_changes_objects_each_epoch_and_tests_do_not(faces):
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
    bare = replace(small_corpus, recipe=small_corpus.recipe | {"landmarks": "none"})
    with pytest.raises(InputError, match="its faces have no landmarks to draw hand by; prepro"):
        _dataset(bare, occlude="hand")
    with pytest.raises(
        InputError, match="its faces are already occluded by mask; received occlude hand"
    ):
        _dataset(covered, occlude="hand")
    with pytest.raises(InputError, match="'beard' is unknown"):
        _dataset(small_corpus, occlude="beard")


@pytest.mark.parametrize("augment", ["", "flip"])
def test_what_was_compared_once_is_kept_and_is_the_same(small_corpus, augment):
    arguments = {"inputs": "difference", "shuffle": True, "augment": augment, "batch_size": 30}
    kept, fresh = (
        _dataset(small_corpus, **arguments, cache_bytes=n_bytes) for n_bytes in (2**30, 1)
    )
    for _ in range(4):
        for region, pixels in kept[0][0].items():
            np.testing.assert_array_equal(pixels, fresh[0][0][region])
        kept.on_epoch_end()
        fresh.on_epoch_end()
    assert len(kept._compared) == 30 if augment == "" else len(kept._compared) > 30
    assert not fresh._compared


def test_no_object_is_in_two_parts_of_a_split(small_corpus):
    worn = [
        {dataset._occluder(f"video {number}").seed for number in range(60)}
        for dataset in (
            _dataset(small_corpus, occlude="mask", part=part, seed=3)
            for part in ("train", "validation", "test")
        )
    ]
    train, validation, test = worn
    assert not train & validation
    assert not (train | validation) & test
