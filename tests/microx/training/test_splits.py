import numpy as np
import pandas as pd
import pytest

from microx.errors import SplitError
from microx.training.splits import (
    LEAKY,
    Split,
    check_disjoint,
    clip_groups,
    make_splits,
    read_parts,
    split_warnings,
)


def _clips(n_subjects=8, n_classes=3, n_clips=2, named=True):
    rows = [
        {
            "clip_id": f"v{subject}_{label}:{10 * clip}",
            "video_id": f"v{subject}_{label}",
            "subject": f"s{subject}" if named else "",
            "corpus": "AB"[subject % 2],
            "label": label,
        }
        for subject in range(n_subjects)
        for label in range(n_classes)
        for clip in range(n_clips)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("protocol", "n_splits"), [("holdout", 1), ("kfold", 4), ("loso", 8)])
@pytest.mark.parametrize("seed", range(3))
def test_no_subject_is_in_two_parts(protocol, n_splits, seed):
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


def _clips_of_length(length, stride):
    """14 subjects, each with three of four classes, in videos of 16 to 60 frames."""
    rng = np.random.default_rng(1)
    rows = [
        (f"v{subject}_{label}", f"s{subject}", label)
        for subject in range(14)
        for label in rng.permutation(4)[:3]
        for _ in range(0, rng.integers(16, 61) - length + 1, stride)
    ]
    return pd.DataFrame(rows, columns=["video_id", "subject", "label"])


@pytest.mark.parametrize("protocol", ["holdout", "kfold"])
@pytest.mark.parametrize("seed", range(5))
def test_clips_of_every_length_split_the_same_subjects(protocol, seed):
    divisions, n_clips = set(), set()
    for length, stride in ((5, 5), (10, 10), (16, 16), (10, 3)):
        clips = _clips_of_length(length, stride)
        n_clips.add(len(clips))
        subjects = clips["subject"].to_numpy()
        splits = make_splits(clips, protocol, seed=seed)
        parts = [rows for split in splits for _, rows in split.parts()]
        divisions.add(tuple(tuple(np.unique(subjects[rows])) for rows in parts))
    assert len(n_clips) == 4
    assert len(divisions) == 1


@pytest.mark.parametrize("seed", range(20))
def test_holdout_leaves_no_class_without_training_clips(seed):
    """Four classes of nine are of two subjects of twelve only; either may be tested."""
    rows = [(f"s{s}", k) for s in range(12) for k in range(9) if k < 5 or s in (2, 7)]
    clips = pd.DataFrame(rows, columns=["subject", "label"])
    clips["video_id"] = clips.index.astype(str)
    (split,) = make_splits(clips, seed=seed)
    assert set(clips["label"].iloc[split.train]) == set(range(9))


@pytest.mark.parametrize("protocol", ["holdout", "kfold"])
def test_number_of_clips_a_video_changes_nothing(protocol):
    for split, same in zip(
        make_splits(_clips(12, n_clips=1), protocol),
        make_splits(_clips(12, n_clips=3), protocol),
        strict=True,
    ):
        for (_, videos), (_, clips) in zip(split.parts(), same.parts(), strict=True):
            np.testing.assert_array_equal(np.unique(clips // 3), videos)
            assert len(clips) == 3 * len(videos)


def test_classes_rarer_than_folds_can_be_folded():
    clips = _clips(5, n_classes=1, n_clips=1).assign(label=[0, 1, 2, 0, 1])
    tests = [split.test.tolist() for split in make_splits(clips, "kfold")]
    assert sorted(tests) == [[0], [1], [2], [3], [4]]


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
        (1, {}, "holdout needs at least 3 subjects.*found 1 with usable clips; add subjects"),
        (2, {"protocol": "loso"}, "loso needs at least 3 subjects.*found 2"),
        (4, {"protocol": "kfold"}, "kfold needs at least 5 subjects.*found 4"),
        (8, {"protocol": "kfold", "n_folds": 1}, "at least 2 folds; found 1"),
        (8, {"protocol": "random"}, "holdout, kfold, .* clips, naive, clip-folds; found 'random'"),
        (8, {"protocol": "list"}, "`protocol=list` and a list of parts .* go together"),
        (3, {"test_fraction": 0.7}, "testing on 2 subjects leaves fewer than 2"),
    ],
)
def test_too_few_subjects_are_counted(n_subjects, arguments, message):
    with pytest.raises(SplitError, match=message):
        make_splits(_clips(n_subjects), **arguments)


@pytest.mark.parametrize("protocol", ["holdout", *LEAKY])
def test_no_clips_at_all(protocol):
    with pytest.raises(SplitError, match="found 0"):
        make_splits(_clips().iloc[:0], protocol)


def test_each_corpus_is_left_out_once():
    clips = _clips()
    splits = make_splits(clips, "loco")
    assert [split.name for split in splits] == ["corpus A", "corpus B"]
    for split, (held, other) in zip(splits, ("AB", "BA"), strict=True):
        assert set(clips["corpus"].iloc[split.test]) == {held}
        assert set(clips["corpus"].iloc[np.concatenate([split.train, split.validation])]) == {other}
        assert len(split.test) == (clips["corpus"] == held).sum()


@pytest.mark.parametrize("names", [["A"] * 48, ["A", ""] * 24])
def test_loco_wants_every_video_to_name_one_of_two_corpora(names):
    with pytest.raises(SplitError, match=r"loco .* at least 2, named for every video; found .*A"):
        make_splits(_clips().assign(corpus=names), "loco")


def test_one_name_in_two_corpora_is_one_subject():
    clips = _clips()
    clips.loc[clips["subject"] == "s1", "subject"] = "s0"
    with pytest.raises(SplitError, match=r"s0 is in both.*rename different subjects of one name"):
        make_splits(clips, "loco")


@pytest.mark.parametrize(("protocol", "tested", "validated"), [("clips", 10, 8), ("naive", 15, 7)])
def test_leaky_protocols_divide_clips_as_published(protocol, tested, validated):
    """Of 48 clips: ceil(.2 * 48) and ceil(.2 * 38); ceil(.3 * 48) and ceil(.2 * 33)."""
    clips = _clips()
    (split,) = make_splits(clips, protocol, seed=3)
    assert [len(rows) for _, rows in split.parts()] == [48 - tested - validated, validated, tested]
    assert set(clips["video_id"].iloc[split.train]) & set(clips["video_id"].iloc[split.test])
    (again,), (other,) = (make_splits(clips, protocol, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(split.test, again.test)
    assert set(split.test) != set(other.test)


def test_planted_overlap_is_found():
    clips = _clips(3, n_classes=1)  # rows 0-1 of s0, 2-3 of s1, 4-5 of s2
    good = Split("x", *(np.array(rows) for rows in ([0, 1], [2, 3], [4, 5])))
    check_disjoint(clips, good)
    leaky = Split("x", *(np.array(rows) for rows in ([0, 1, 4], [2, 3], [5])))
    with pytest.raises(SplitError, match="subject s2 is in both train and test"):
        check_disjoint(clips, leaky)
    unnamed = clips.assign(subject="")
    with pytest.raises(SplitError, match="video_id v2_0 is in both train and test"):
        check_disjoint(unnamed, leaky)


def test_split_checks_itself():
    with pytest.raises(SplitError, match="the same clip is in two parts"):
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


def _manifest(clips):
    videos = clips.drop_duplicates("video_id")[["video_id", "subject"]]
    return videos.assign(path=videos["video_id"] + ".mp4", status="done")


def _list(tmp_path, text, clips=None, *, by_clip=False):
    """The splits of a list, as rows by part, and the notes."""
    path = tmp_path / "list.csv"
    path.write_text(text)
    clips = _clips(4, n_classes=1) if clips is None else clips
    parts, notes = read_parts(path, _manifest(clips), clips if by_clip else None)
    return make_splits(clips, "list", parts=parts), notes


@pytest.mark.parametrize(
    "text",
    [
        "video_id,part\nv0_0,train\nv1_0,Training\nv2_0,VAL\nv3_0,test\n",
        "path,Usage\nv0_0.mp4,Training\nv1_0.mp4,Training\nv2_0.mp4,PublicTest\nv3_0.mp4,PrivateTest\n",
        "clip_id,part\nv0_0:7,train\nv0_0:9,train\nv1_0:0,train\nv2_0:0,dev\nv3_0:0,test\n",
    ],
)
def test_list_of_parts(tmp_path, text):
    (split,), notes = _list(tmp_path, text)
    assert notes == []
    assert split.name == "list"
    assert [rows.tolist() for _, rows in split.parts()] == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_list_of_folds_tests_each_once_and_validates_on_other_subjects(tmp_path):
    clips = _clips(6)
    folds = clips[["video_id"]].assign(fold=np.arange(len(clips)) // 12)  # two subjects each
    splits, notes = _list(tmp_path, folds.to_csv(index=False), clips)
    assert [split.name for split in splits] == ["fold 0", "fold 1", "fold 2"]
    assert notes == []
    for k, split in enumerate(splits):
        np.testing.assert_array_equal(split.test, np.arange(12 * k, 12 * k + 12))
        assert [len(rows) for _, rows in split.parts()] == [18, 6, 12]


def test_single_fold_is_tested_on_all_else(tmp_path):
    """As predictions.csv of a holdout is: only the tested clips stand in it."""
    (split,), notes = _list(tmp_path, "clip_id,video_id,subject,fold\nv3_0:0,v3_0,s3,0\n")
    assert split.test.tolist() == [6, 7]
    assert len(split.train) + len(split.validation) == 6
    assert notes == []


def test_clips_of_a_list_may_be_fewer_than_those_of_its_videos(tmp_path):
    text = "clip_id,part\nv0_0:0,train\nv1_0:0,train\nv2_0:10,test\n"
    (split,), notes = _list(tmp_path, text, by_clip=True)
    assert split.test.tolist() == [5]
    assert sorted([*split.train, *split.validation]) == [0, 2]
    assert notes == ["list.csv: 1 videos are in no part: v3_0"]


def test_clips_that_are_not_in_the_corpus_are_noted(tmp_path):
    """As in a run of other clips: only its videos can be compared then."""
    text = "clip_id,part\nv0_0:0,train\nv1_0:0,train\nv2_0:5,test\n"
    (split,), notes = _list(tmp_path, text, by_clip=True)
    assert split.test.tolist() == [4, 5]
    assert notes[0] == (
        "list.csv: 1 clips are not among the corpus's (v2_0:5), so it was read as a list of "
        "whole videos; whether clips of one video are in two parts is not known"
    )


def test_rows_and_seeds_of_a_run_are_lists_of_their_own(tmp_path):
    """Two rows test alike, the third has two folds; the seeds of a row test alike."""
    tested = {"mouth": ["v3_0"], "nose": ["v3_0"], "eyes": ["v0_0 v1_0", "v2_0 v3_0"]}
    lines = ["clip_id,fold,row,seed"]
    for row, folds in tested.items():
        for fold, videos in enumerate(folds):
            lines += [f"{video}:0,{fold},{row},{seed}" for video in videos.split() for seed in "01"]
    splits, notes = _list(tmp_path, "\n".join(lines))
    assert notes == []
    assert {split.name: split.test.tolist() for split in splits} == {
        "mouth, seed 0 and 3 more, fold 0": [6, 7],
        "eyes, seed 0 and 1 more, fold 0": [0, 1, 2, 3],
        "eyes, seed 0 and 1 more, fold 1": [4, 5, 6, 7],
    }
    path = tmp_path / "one.csv"
    path.write_text("\n".join(line for line in lines if not line.endswith("1")))
    parts, _ = read_parts(path, _manifest(_clips(4, n_classes=1)))
    folds = ["mouth and 1 more, fold 0", "eyes, fold 0", "eyes, fold 1"]
    assert list(parts["fold"].unique()) == folds
    trained = parts[(parts["fold"] == "eyes, fold 1") & (parts["part"] == "train")]
    assert set(trained["video_id"]) == {"v0_0", "v1_0"}


def test_list_and_corpus_that_differ_are_told(tmp_path):
    text = "video_id,part\nv0_0,train\nv1_0,train\nv3_0,test\nv9,test\nv8,train\n"
    _, notes = _list(tmp_path, text)
    assert notes == [
        "list.csv: 2 names are not in the corpus: v9, v8",
        "list.csv: 1 videos are in no part: v2_0",
    ]


def test_list_that_shares_a_subject_is_refused(tmp_path):
    clips = _clips(4)
    parts = clips[["clip_id"]].assign(part=["train"] * 19 + ["test"] * 5)
    with pytest.raises(SplitError, match="list': subject s3 is in both train and test"):
        _list(tmp_path, parts.to_csv(index=False), clips, by_clip=True)
    with pytest.raises(SplitError, match="the same clip is in two parts"):
        _list(tmp_path, parts.to_csv(index=False), clips)


def test_name_of_a_video_means_all_its_faces(tmp_path):
    clips = _clips(4, n_classes=1)
    clips["video_id"] = clips["video_id"].replace({"v2_0": "talk~0", "v3_0": "talk~1"})
    (split,), _ = _list(tmp_path, "video_id,part\nv0_0,train\nv1_0,train\ntalk,test\n", clips)
    assert split.test.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CSV of parts or folds"),
        ("video_id,part\n", "found 0 rows"),
        ("video_id,emotion\nv0_0,sad\n", "a column part .* or fold; found 1 rows and the columns"),
        ("video_id,part\nv0_0,train\nv1_0,\n", "train, validation or test; found .nothing."),
        ("video_id,fold\nv0_0,1\nv1_0,\n", "a fold in every row"),
        ("name,part\nv0_0,train\n", "a column clip_id, video_id or path; found name, part"),
        ("video_id,part\nx,train\n", r"corpus \(v0_0, v1_0, v2_0 and 1 more\); found only x"),
        ("video_id,part\nv0_0,train\nv1_0,test\n", "testing on 1 subjects leaves fewer than 2"),
        ("video_id,part\nv0_0,train\nv1_0,train\n", "the test part is empty"),
    ],
)
def test_bad_lists_are_refused_by_name(tmp_path, text, message):
    with pytest.raises(SplitError, match=message):
        _list(tmp_path, text)


def test_list_that_is_not_there(tmp_path):
    with pytest.raises(SplitError, match=r"nowhere.csv: expected a CSV of parts or folds"):
        read_parts(tmp_path / "nowhere.csv", _manifest(_clips()))
