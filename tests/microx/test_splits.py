import numpy as np
import pandas as pd
import pytest

from microx.errors import SplitError
from microx.splits import Split, check_disjoint, clip_groups, make_splits, split_warnings


def _clips(n_subjects=8, n_classes=3, n_clips=2, named=True):
    rows = [
        {
            "video_id": f"v{subject}_{label}",
            "subject": f"s{subject}" if named else "",
            "label": label,
        }
        for subject in range(n_subjects)
        for label in range(n_classes)
        for _ in range(n_clips)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("protocol", "n_splits"), [("holdout", 1), ("kfold", 4), ("loso", 8)])
@pytest.mark.parametrize("seed", range(3))
def test_no_subject_stands_in_two_parts(protocol, n_splits, seed):
    clips = _clips()
    splits = make_splits(clips, protocol, seed=seed, n_folds=4)
    assert len(splits) == n_splits
    for split in splits:
        held = [set(clips["subject"].iloc[rows]) for _, rows in split.parts()]
        assert sum(map(len, held)) == 8 == len(set.union(*held))
    if n_splits > 1:
        tested = np.concatenate([split.test for split in splits])
        np.testing.assert_array_equal(np.sort(tested), np.arange(len(clips)))


def test_holdout_takes_the_fractions_of_subjects():
    (split,) = make_splits(_clips(12), test_fraction=0.25, validation_fraction=0.2)
    assert [len(rows) // 6 for _, rows in split.parts()] == [7, 2, 3]


def test_same_seed_same_split():
    first, again, other = (make_splits(_clips(), seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test, again.test)
    assert set(first.test) != set(other.test)


def test_holdout_keeps_the_balance_of_classes():
    """Two subjects of eight act class 1 only; a test part of four holds one of them."""
    clips = _clips(8, n_classes=1)
    clips.loc[clips["subject"].isin(["s0", "s1"]), "label"] = 1
    for seed in range(5):
        (split,) = make_splits(clips, test_fraction=0.5, seed=seed)
        assert clips["label"].iloc[split.test].mean() == 0.25


def test_videos_take_the_place_of_unknown_subjects():
    clips = _clips(named=False)
    assert clip_groups(clips)[1] == "video"
    (split,) = make_splits(clips)
    assert not set(clips["video_id"].iloc[split.train]) & set(clips["video_id"].iloc[split.test])
    with pytest.raises(SplitError, match="not every video has a subject"):
        make_splits(clips, "loso")


@pytest.mark.parametrize(
    ("n_subjects", "arguments", "message"),
    [
        (1, {}, "holdout needs at least 3 subjects.*found 1 with usable clips; add people"),
        (2, {"protocol": "loso"}, "loso needs at least 3 subjects.*found 2"),
        (4, {"protocol": "kfold"}, "kfold needs at least 5 subjects.*found 4"),
        (8, {"protocol": "kfold", "n_folds": 1}, "at least 2 folds; found 1"),
        (8, {"protocol": "clips"}, "holdout, kfold, loso; found 'clips'"),
        (3, {"test_fraction": 0.7}, "testing on 2 subjects leaves fewer than 2"),
    ],
)
def test_too_few_subjects_are_counted(n_subjects, arguments, message):
    with pytest.raises(SplitError, match=message):
        make_splits(_clips(n_subjects), **arguments)


def test_no_clips_at_all():
    with pytest.raises(SplitError, match="found 0"):
        make_splits(_clips().iloc[:0])


def test_planted_overlap_is_found():
    clips = _clips(3, n_classes=1)  # rows 0-1 of s0, 2-3 of s1, 4-5 of s2
    good = Split("x", *(np.array(rows) for rows in ([0, 1], [2, 3], [4, 5])))
    check_disjoint(clips, good)
    leaky = Split("x", *(np.array(rows) for rows in ([0, 1, 4], [2, 3], [5])))
    with pytest.raises(SplitError, match="subject s2 stands in both train and test"):
        check_disjoint(clips, leaky)
    unnamed = clips.assign(subject="")
    with pytest.raises(SplitError, match="video_id v2_0 stands in both train and test"):
        check_disjoint(unnamed, leaky)


def test_split_checks_itself():
    with pytest.raises(SplitError, match="the same clip stands in two parts"):
        Split("x", np.array([0, 1]), np.array([1]), np.array([2]))
    with pytest.raises(SplitError, match="the test part is empty"):
        Split("x", np.array([0, 1]), np.array([2]), np.array([], int))


def test_missing_classes_are_told_by_name():
    clips = _clips(3, n_classes=1)
    split = Split("fold 1", *(np.array(rows) for rows in ([0, 1], [2, 3], [4, 5])))
    assert split_warnings(clips, split, ["sad"]) == []
    clips.loc[0:1, "label"] = 1
    assert split_warnings(clips, split, ["sad", "happy"]) == [
        "fold 1: no train clips of sad",
        "fold 1: no validation clips of happy",
    ]


def test_rare_class_in_kfold_raises_no_warning():
    clips = _clips(6, n_classes=1)
    clips.loc[0, "label"] = 1
    assert len(make_splits(clips, "kfold", n_folds=3)) == 3
