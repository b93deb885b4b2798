"""The audit finds each planted leak, and is quiet where there is none."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from microx import build_corpus
from microx.corpus.corpus import load_corpus
from microx.errors import SplitError
from microx.evaluation.evaluate import Condition
from microx.evaluation.facts import ResultFacts
from microx.evaluation.result import EvaluationResult, write_result
from microx.experiments.leakage import (
    Leak,
    audit_file,
    audit_split,
    find_leaks,
    list_blind_spots,
    name_parts,
)
from microx.experiments.run import Row, cell_folder, run_grid
from microx.labels.labels import read_labels
from microx.simulation.corpus import draw_corpus
from microx.training.splits import LEAKY, make_splits


def _relabelled(corpus, **names):
    """The same corpus whose manifest gives some videos another subject."""
    manifest = corpus.manifest.copy()
    manifest["subject"] = manifest["video_id"].map(names).fillna(manifest["subject"])
    return replace(corpus, manifest=manifest)


def _parts(**videos):
    rows = [(name, "list", part) for part, names in videos.items() for name in names.split()]
    return pd.DataFrame(rows, columns=["video_id", "fold", "part"])


def _kinds(leaks):
    return {leak.kind for leak in leaks}


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "loso"])
def test_our_own_splits_leak_nothing(small_corpus, protocol):
    assert audit_split(small_corpus, protocol) == ([], [])


@pytest.mark.parametrize("protocol", LEAKY)
def test_leaky_protocols_leak(small_corpus, protocol):
    leaks, _ = audit_split(small_corpus, protocol)
    assert _kinds(leaks) == {"subject", "video"}
    assert {leak.sides for leak in leaks} == {
        ("train", "test"),
        ("validation", "test"),
        ("train", "validation"),
    }


def test_shared_subject_and_shared_video(small_corpus):
    parts = _parts(train="s0_happy s1_sad", validation="s2_sad", test="s0_sad s3_sad")
    assert find_leaks(small_corpus, parts) == [
        Leak("list", "subject", "s0", "s0", ("train", "test"))
    ]
    parts = _parts(train="s0_happy s1_sad", test="s0_happy s3_sad")
    subject, video = find_leaks(small_corpus, parts)
    assert str(subject) == "list: subject s0 is in train and in test"
    assert str(video) == "list: video s0_happy is in train and in test"


def test_no_parts_no_leaks(small_corpus):
    assert find_leaks(small_corpus, name_parts(small_corpus.clips(), [])) == []


def test_renamed_subject_looks_like_himself(small_corpus):
    corpus = _relabelled(small_corpus, s0_sad="newcomer")
    train = "s0_happy s0_neutral s1_happy s1_sad s2_happy s2_sad"
    leaks = find_leaks(corpus, _parts(train=train, test="s0_sad s3_happy s3_sad"))
    leak = leaks.pop()
    assert (leak.kind, leak.train, leak.test) == ("face", "s0", "newcomer")
    assert [(other.kind, other.train, other.test) for other in leaks] == [
        ("image", "s0_neutral", "s0_sad"),  # all that moves in this corpus is a bar
        ("image", "s0_happy", "s0_sad"),
    ]
    assert str(leak).startswith("list: s0 in train looks like newcomer in test (0.")
    together = _parts(train=f"{train} s0_sad", test="s3_happy s3_sad")
    assert find_leaks(corpus, together) == []


def test_what_cannot_be_told_is_said(small_corpus, write_corpus):
    parts = _parts(train="s0_happy s1_happy", test="s2_happy")
    assert list_blind_spots(small_corpus, parts) == [
        "fewer than 3 subjects have two videos: whether two names are one subject is not known"
    ]
    nameless = write_corpus(named_subjects=False)
    leaks, notes = audit_split(nameless)
    assert notes[0].startswith("15 of 15 videos name no subject")
    assert _kinds(leaks) == {"image"}  # one subject in one light in both parts


def test_each_fold_is_audited(small_corpus):
    clips = small_corpus.clips()
    splits = make_splits(clips, "kfold", n_folds=5)
    parts = name_parts(clips, splits)
    assert parts.groupby("fold")["video_id"].nunique().tolist() == [15] * 5
    corpus = _relabelled(small_corpus, s0_sad="s4")
    leaks = find_leaks(corpus, parts)
    assert {leak.fold for leak in leaks if leak.kind == "subject"} == {
        split.name
        for split in splits
        if len({name for name, rows in split.parts() for v in clips["video_id"].iloc[rows]
                if v.startswith(("s0_", "s4_"))}) > 1
    }  # fmt: skip


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, takes, ffmpeg):
    """Six drawn actors, and copies of two of them under other names, tracked again."""
    folder = tmp_path_factory.mktemp("filmed")
    for emotion, path in takes.items():
        (folder / f"{emotion}.mp4").write_bytes(path.read_bytes())
    happy, sad = takes["happy"], takes["sad"]
    ffmpeg("-ss", "0.2", "-i", happy, "-vf", "scale=128:-2", "-c:v", "libx264", "-crf", "30",
           folder / "again.mp4")  # fmt: skip
    ffmpeg("-i", sad, "-vf", "hflip", "-c:v", "libvpx-vp9", "-b:v", "200k", folder / "turned.webm")
    (folder / "twin.mp4").write_bytes(takes["fear"].read_bytes())
    rows = [f"{emotion}.mp4,{emotion},{emotion}" for emotion in takes]
    rows += ["again.mp4,happy,A", "turned.webm,sad,B", "twin.mp4,fear,fear"]
    (folder / "labels.csv").write_text("\n".join(["path,emotion,subject", *rows]) + "\n")
    return build_corpus(
        read_labels(folder, folder / "labels.csv"), tmp_path_factory.mktemp("corpora") / "corpus"
    )


def _audit_list(corpus, path, **videos):
    rows = [f"{name},{part}" for part, names in videos.items() for name in names.split()]
    path.write_text("\n".join(["video_id,part", *rows]) + "\n")
    return audit_file(corpus, path)


def test_copies_are_found_by_their_images(filmed, tmp_path):
    leaks, _ = _audit_list(
        filmed,
        tmp_path / "list.csv",
        train="happy sad fear anger",
        validation="surprise",
        test="again turned twin neutral",
    )
    assert [(leak.kind, leak.train, leak.test) for leak in leaks] == [
        ("subject", "fear", "fear"),
        ("file", "fear", "twin"),
        ("image", "happy", "again"),
        ("mirrored image", "sad", "turned"),
    ]
    assert "happy in train shows almost the same images as again in test (distance 0.0" in str(
        leaks[2]
    )


def test_copies_on_one_side_are_no_leak(filmed, tmp_path):
    leaks, notes = _audit_list(
        filmed,
        tmp_path / "list.csv",
        train="happy again sad turned fear twin",
        test="anger neutral nobody",
    )
    assert leaks == []
    assert notes[0] == "list.csv: 1 names are not in the corpus: nobody"
    assert "1 of 8 videos have no crops: only names compared" in notes[2]


def test_list_that_is_none_is_refused(filmed, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("video_id,emotion\nhappy,happy\n")
    with pytest.raises(SplitError, match="a column part"):
        audit_file(filmed, path)


def _tested_s0(corpus, folder, trained, fold=0):
    """Store a result that tested one clip of s0 and was trained on these subjects, by fold."""
    trained_on = [
        {"subjects": names.split(), "videos": [f"{name}_{emotion}" for name in names.split()
                                               for emotion in ("sad", "happy")]}
        for names in trained
    ]  # fmt: skip
    result = EvaluationResult(
        name="mouth",
        regions=("mouth",),
        classes=corpus.classes,
        y_true=np.array([0]),
        y_prob=np.array([[1, 0, 0]], np.float32),
        clip_id=np.array(["s0_neutral:0"]),
        video_id=np.array(["s0_neutral"]),
        subject=np.array(["s0"]),
        fold=np.array([fold]),
        history=pd.DataFrame(),
        facts=ResultFacts.from_json(
            {"classes": list(corpus.classes), "regions": ["mouth"], "streams": ["mouth"]}
            | {"trained_on": trained_on}
        ),
    )
    write_result(result, folder)
    return folder / "predictions.csv"


@pytest.mark.parametrize("fold", [0, 1, 4])
@pytest.mark.parametrize(("trained", "leaky"), [("s1 s2", False), ("s0 s1", True)])
def test_predictions_of_a_run_are_audited_against_its_training_subjects(
    small_corpus, tmp_path, trained, leaky, fold
):
    """The run tested one clip of s0; nothing is concluded of subjects it was not trained on."""
    path = _tested_s0(small_corpus, tmp_path, [trained], fold)
    leaks, _ = audit_file(small_corpus, path)
    assert _kinds(leaks) == ({"subject"} if leaky else set())
    assert {leak.fold for leak in leaks} == ({f"mouth, fold {fold + 1}"} if leaky else set())
    (tmp_path / "result.json").unlink()  # then all other clips trained it, as of a holdout
    leaks, _ = audit_file(small_corpus, path)
    assert _kinds(leaks) == {"subject", "video"}


def test_result_that_tells_of_other_folds_is_refused(small_corpus, tmp_path):
    path = _tested_s0(small_corpus, tmp_path, ["s1", "s2"])
    with pytest.raises(
        SplitError, match=r"'mouth': expected .* of each of its 1 folds; .* for 2; del"
    ):
        audit_file(small_corpus, path)


def test_run_of_another_corpus_is_told(small_corpus, tmp_path):
    _, notes = audit_file(small_corpus, _tested_s0(small_corpus, tmp_path, ["s1 s77"]))
    assert notes[0].startswith("2 videos are not in the corpus (s77_happy, s77_sad): neither their")


LEAKY_RUN = "by clip (LEAKY)"


@pytest.fixture(scope="module")
def run(small_corpus, tmp_path_factory):
    """Trained by clip and, tested in two ways, by subject, on clips of 5 frames."""
    out = tmp_path_factory.mktemp("run") / "RUN"
    honest = {"protocol": "kfold", "n_folds": 2}
    rows = [
        Row(LEAKY_RUN, {"protocol": "clips"}),
        Row("by subject", honest),
        Row("by subject, erased", honest, Condition(augment="erase")),
    ]
    run_grid(
        small_corpus, out, rows, experiment="inflation", arguments={},
        regions=["mouth"], epochs=1, n_frames=5, stride=5, augment="",
    )  # fmt: skip
    return out


def test_each_row_of_a_run_is_audited_by_itself(small_corpus, run):
    leaks, notes = audit_file(small_corpus, run / "predictions.csv")
    assert notes == []
    assert _kinds(leaks) == {"subject", "video"}
    assert {leak.fold for leak in leaks} == {f"{LEAKY_RUN}, fold 1"}
    assert str(leaks[0]).startswith(f"{LEAKY_RUN}, fold 1: subject s0 is in train and in test")


def test_every_cell_of_a_run_is_audited(small_corpus, run):
    for fold in range(2):
        cell = cell_folder(run, "by subject", 0, fold)
        assert audit_file(small_corpus, cell / "predictions.csv") == ([], [])
    leaks, _ = audit_file(small_corpus, cell_folder(run, LEAKY_RUN, 0, 0) / "predictions.csv")
    assert _kinds(leaks) == {"subject", "video"}


def test_predictions_away_from_their_run_say_what_cannot_be_told(small_corpus, run, tmp_path):
    """The corpus's clips have 10 frames, those of the run 5: only whole videos are known."""
    path = tmp_path / "predictions.csv"
    path.write_bytes((run / "predictions.csv").read_bytes())
    _, notes = audit_file(small_corpus, path)
    assert "clips are not among the corpus's" in notes[0]
    assert "whether clips of one video are in two parts is not known" in notes[0]


def test_leak_in_a_later_fold_is_told_once_for_rows_alike(small_corpus, run, tmp_path):
    """A test subject of the second fold is written into its training."""
    run = shutil.copytree(run, tmp_path / "RUN")

    def plant(row):
        path = cell_folder(run, row, 0, 1) / "result.json"
        result = json.loads(path.read_text())
        tested = pd.read_csv(path.parent / "predictions.csv")["video_id"].iloc[0]
        result["facts"]["trained_on"][0]["videos"].append(tested)
        path.write_text(json.dumps(result))

    def honest_rows():
        leaks, notes = audit_file(small_corpus, run / "predictions.csv")
        return sorted(leak.fold for leak in leaks if not leak.fold.startswith(LEAKY_RUN)), notes

    plant("by subject")
    assert set(honest_rows()[0]) == {"by subject, fold 2"}
    plant("by subject, erased")
    assert honest_rows() == (["by subject and 1 more, fold 2"] * 2, [])  # a subject, a video
    (cell_folder(run, "by subject", 0, 0) / "result.json").unlink()
    folds, notes = honest_rows()
    assert set(folds) == {"by subject, erased, fold 2"}
    assert notes == ["rows that are not finished are not audited: by subject"]


def test_progress_names_every_video(small_corpus):
    told = []
    audit_split(small_corpus, progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(done, 15) for done in range(1, 16)]


@pytest.mark.slow
def test_quiet_on_a_thousand_honest_videos(tmp_path):
    """And one of its 36 actors, renamed in any of his videos, is found without a false alarm."""
    draw_corpus(tmp_path / "drawn", n_subjects=36, n_takes=4, intensity="micro", n_workers=2)
    corpus = build_corpus(
        read_labels(tmp_path / "drawn", tmp_path / "drawn" / "labels.csv"),
        tmp_path / "corpus",
        landmarks="csv",
        landmarks_dir=tmp_path / "drawn" / "landmarks",
        n_workers=2,
    )
    assert len(corpus.manifest) == 1008
    assert audit_split(corpus, "kfold") == ([], [])
    video_id = corpus.manifest["video_id"].iloc[100]
    leaks, _ = audit_split(_relabelled(load_corpus(corpus.folder), **{video_id: "new"}), "loso")
    named = {leak.train + leak.test for leak in leaks if leak.kind == "face"}
    assert len(named) == 2  # in both orders
    assert all("new" in pair for pair in named)
    others = [leak for leak in leaks if leak.kind != "face"]
    assert all(leak.kind == "image" and video_id in (leak.train, leak.test) for leak in others)
