import numpy as np
import pytest

from microx.dataset import ClipDataset
from microx.errors import InputError, ModelError


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
