import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest

from microx.corpus import build_corpus, clip_starts, hash_recipe, load_corpus
from microx.errors import CorpusError, InputError
from microx.labels import read_labels
from microx.preprocessing.landmarks import write_openface_csv
from microx.synthetic import draw_take


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    """Two drawn takes, one without a face, one file that is no video, one without a label."""
    folder = tmp_path_factory.mktemp("videos")
    for subject, emotion in enumerate(("happy", "sad")):
        take = draw_take(subject, emotion, n_frames=24)
        write_video(folder / f"{emotion}.mp4", take.frames)
    write_video(folder / "wall.mp4", np.full((12, 96, 128, 3), 90, np.uint8))
    (folder / "notes.mp4").write_text("not a film")
    shutil.copy(folder / "sad.mp4", folder / "unlabelled.mp4")
    rows = ["happy.mp4,joy,A", "sad.mp4,SAD,B", "wall.mp4,sad,C", "notes.mp4,sad,C", "gone,sad,C"]
    (folder / "labels.csv").write_text("\n".join(["path,emotion,subject", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def labels(videos):
    return read_labels(videos, videos / "labels.csv", label_set="ekman7")


@pytest.fixture(scope="module")
def corpus(labels, tmp_path_factory):
    return build_corpus(labels, tmp_path_factory.mktemp("corpora") / "corpus")


def content(corpus):
    """Every number of a corpus's crops files, by name."""
    held = {}
    for path in sorted((corpus.folder / "crops").iterdir()):
        with h5py.File(path) as file:
            held |= {f"{path.name}/{name}": data[()].tobytes() for name, data in file.items()}
            held[path.name] = sorted((k, str(v)) for k, v in file.attrs.items())
    return held


def test_every_video_is_a_row_with_its_fate(corpus):
    rows = corpus.manifest.set_index("path")
    assert rows["status"].to_dict() == {
        "happy.mp4": "done",
        "sad.mp4": "done",
        "wall.mp4": "skipped",
        "notes.mp4": "skipped",
        "gone": "skipped",
        "unlabelled.mp4": "skipped",
    }
    assert rows.loc["wall.mp4", "reason"] == "no face found in any frame"
    assert "expected a video that OpenCV can decode" in rows.loc["notes.mp4", "reason"]
    assert rows.loc["gone", "reason"] == "no such video"
    assert rows.loc["unlabelled.mp4", "reason"] == "no label: not in labels.csv"


def test_frames_are_counted(corpus):
    rows = corpus.manifest.set_index("path")
    counts = rows[["n_claimed", "n_decoded", "n_untimed", "n_frames", "n_found"]]
    assert counts.loc["happy.mp4"].tolist() == [24, 24, 0, 24, 24]
    assert counts.loc["wall.mp4"].tolist() == [12, 12, 0, 12, 0]
    assert rows.loc["happy.mp4", "duration_s"] == pytest.approx(0.8)
    assert len(rows.loc["happy.mp4", "sha256"]) == 64


def test_crops_files_hold_what_design_says(corpus):
    with h5py.File(corpus.crops_path("happy")) as file:
        shapes = {name: (data.shape, data.dtype.kind) for name, data in file.items()}
    regions = dict.fromkeys(corpus.regions, ((24, 32, 32, 3), "u"))
    assert shapes == regions | {
        "landmarks": ((24, 68, 2), "f"),
        "confidence": ((24,), "f"),
        "success": ((24,), "b"),
        "timestamp": ((24,), "f"),
        "box_xyxy": ((24, 5, 4), "f"),
        "source_frame": ((24,), "i"),
    }
    assert corpus.read_crops("happy", "mouth").std() > 5


def test_labels_and_recipe_travel_with_it(corpus):
    assert corpus.classes == ("neutral", "anger", "disgust", "fear", "happy", "sad", "surprise")
    assert corpus.label_set == "ekman7"
    described = json.loads((corpus.folder / "corpus.json").read_text())
    assert described["recipe_hash"] == corpus.recipe_hash == hash_recipe(corpus.recipe)
    assert corpus.recipe["policy"] == "aligned"
    assert load_corpus(corpus.folder).manifest.equals(corpus.manifest)


def test_clips_are_an_index(corpus):
    clips = corpus.clips()
    assert clips["clip_id"].tolist() == ["happy:0", "happy:10", "sad:0", "sad:10"]
    assert clips["label"].tolist() == [4, 4, 5, 5]
    assert clips["subject"].tolist() == ["A", "A", "B", "B"]
    assert len(corpus.clips(8, stride=4)) == 10
    padded = corpus.clips(tail="pad")
    assert padded["start"].tolist() == [0, 10, 20, 0, 10, 20]
    assert padded["n_found"].tolist() == [10] * 6
    assert corpus.clips(100).empty


def test_clips_with_a_faceless_frame_are_left_out_and_can_be_counted(corpus, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "copy")
    with h5py.File(tmp_path / "copy" / "crops" / "sad.h5", "a") as file:
        file["success"][13] = False
    copy = load_corpus(tmp_path / "copy")
    assert copy.clips()["clip_id"].tolist() == ["happy:0", "happy:10", "sad:0"]
    every = copy.clips(incomplete=True)
    assert every["n_found"].tolist() == [10, 10, 10, 9]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 10, 10), []),
        ((9, 10, 10), []),
        ((10, 10, 10), [0]),
        ((25, 10, 5), [0, 5, 10, 15]),
        ((9, 10, 10, "pad"), [0]),
        ((20, 10, 10, "pad"), [0, 10]),
        ((21, 10, 10, "pad"), [0, 10, 20]),
        ((0, 10, 10, "pad"), []),
    ],
)
def test_clip_starts(arguments, expected):
    assert clip_starts(*arguments) == expected


def test_a_second_run_does_nothing_twice(corpus, labels):
    before = {path: path.stat().st_mtime_ns for path in (corpus.folder / "crops").iterdir()}
    again = build_corpus(labels, corpus.folder)
    assert before == {path: path.stat().st_mtime_ns for path in (corpus.folder / "crops").iterdir()}
    assert again.manifest.equals(corpus.manifest)


def test_an_interrupted_run_continues_to_the_same_end(corpus, labels, tmp_path):
    def stop_after_two(done, total, video_id):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(labels, tmp_path / "c", progress=stop_after_two)
    with pytest.raises(CorpusError, match="preprocessing was cut off; run the same"):
        load_corpus(tmp_path / "c")
    whole = build_corpus(labels, tmp_path / "c")
    assert whole.manifest.equals(corpus.manifest)
    assert content(whole) == content(corpus)
    assert not list((tmp_path / "c").rglob("*.part"))


def test_two_workers_give_what_one_gives(corpus, labels, tmp_path):
    pair = build_corpus(labels, tmp_path / "c", n_workers=2)
    assert content(pair) == content(corpus)


def test_a_damaged_crops_file_is_made_again(corpus, labels, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "c")
    target = tmp_path / "c" / "crops" / "happy.h5"
    target.write_bytes(target.read_bytes()[:500])
    with pytest.raises(CorpusError, match=r"happy.h5.*run microx preprocess again"):
        load_corpus(tmp_path / "c").clips()
    assert content(build_corpus(labels, tmp_path / "c")) == content(corpus)


def test_another_recipe_is_refused_with_the_difference(corpus, labels):
    with pytest.raises(CorpusError, match="was made with size 32; received 48"):
        build_corpus(labels, corpus.folder, size=48)
    with pytest.raises(CorpusError, match="was made with policy aligned; received paper"):
        build_corpus(labels, corpus.folder, policy="paper")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": ("mouth", "chin")}, "region 'chin' is unknown"),
        ({"size": 1}, "size must be from 4 to 1024; received 1"),
        ({"policy": "loose"}, "crop policy 'loose' is unknown"),
        ({"landmarks": "magic"}, "landmarks 'magic' are unknown"),
        ({"landmarks": "csv"}, "need a folder of CSVs; found none named"),
        ({"frame_rate": 0}, r"frame_rate must be from 0\.1"),
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(labels, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build_corpus(labels, tmp_path / "c", **options)
    assert not (tmp_path / "c").exists()


def test_a_copy_of_a_video_is_used_once(videos, tmp_path):
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        shutil.copy(videos / ("sad.mp4" if name == "three.mp4" else "happy.mp4"), tmp_path / name)
    shutil.copy(videos / "sad.mp4", tmp_path / "four.mp4")
    rows = ["one.mp4,joy,A", "two.mp4,joy,A", "three.mp4,sad,B", "four.mp4,sad,C"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,emotion,subject", *rows]) + "\n")
    corpus = build_corpus(read_labels(tmp_path, tmp_path / "labels.csv"), tmp_path / "c")
    assert corpus.manifest["reason"].tolist() == [
        "",
        "a copy of one.mp4",
        "a copy of four.mp4, which is labelled otherwise",
        "a copy of three.mp4, which is labelled otherwise",
    ]


def test_mended_landmarks_are_not_ignored(videos, tmp_path):
    take = draw_take(0, "happy", n_frames=24)
    shutil.copy(videos / "happy.mp4", tmp_path / "happy.mp4")
    (tmp_path / "labels.csv").write_text("path,emotion\nhappy.mp4,joy\n")
    labels = read_labels(tmp_path, tmp_path / "labels.csv")
    crops = []
    for shift in (0, 6):
        moved = dataclasses.replace(take.landmarks, xy=take.landmarks.xy + shift)
        write_openface_csv(tmp_path / "happy.csv", moved)
        corpus = build_corpus(labels, tmp_path / "c", landmarks="csv", landmarks_dir=tmp_path)
        crops.append(corpus.read_crops("happy", "mouth"))
    assert not np.array_equal(*crops)


def test_unsafe_ids_are_refused(labels, tmp_path):
    labels.table.loc[0, "video_id"], safe = "../../x", labels.table.loc[0, "video_id"]
    try:
        with pytest.raises(CorpusError, match=r"video_id '\.\./\.\./x' must be letters"):
            build_corpus(labels, tmp_path / "c")
    finally:
        labels.table.loc[0, "video_id"] = safe


def test_folders_that_are_not_a_corpus_are_named(labels, tmp_path, corpus):
    with pytest.raises(CorpusError, match="expected a corpus folder with corpus"):
        load_corpus(tmp_path)
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(CorpusError, match="found other files"):
        build_corpus(labels, tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="expected a corpus description of format 1"):
        load_corpus(tmp_path)
    shutil.copy(corpus.folder / "corpus.json", tmp_path)
    with pytest.raises(CorpusError, match=r"expected manifest\.csv"):
        load_corpus(tmp_path)


def test_a_region_that_was_not_cropped_is_named(corpus):
    with pytest.raises(CorpusError, match="expected 'left_brow'; found box_xyxy"):
        corpus.read_crops("happy", "left_brow")


@pytest.mark.real
def test_real_faces_are_found_and_every_frame_accounted_for(real_data, tmp_path):
    names = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]
    rows = [f"1001_DFA_{name}_XX.flv,{name},1001" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["path,emotion,subject", *rows]))
    labels = read_labels(real_data / "cremad", tmp_path / "labels.csv", label_set="ekman7")
    corpus = build_corpus(labels, tmp_path / "corpus", n_workers=2)
    assert (corpus.manifest["status"] == "done").all()
    assert corpus.manifest["n_decoded"].equals(corpus.manifest["n_claimed"])
    assert corpus.manifest["n_found"].sum() / corpus.manifest["n_frames"].sum() >= 0.99
