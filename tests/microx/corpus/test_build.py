"""Many videos to a corpus: each is a row with its fate, and equal input gives equal content."""

import dataclasses
import json
import shutil

import cv2
import h5py
import numpy as np
import pytest

from microx import build_corpus, load_corpus
from microx.corpus.corpus import MANIFEST_COLUMNS, hash_recipe
from microx.corpus.key_clips import key_clips
from microx.corpus.storage import STATUS_COUNTS
from microx.errors import CorpusError, InputError
from microx.labels.labels import read_labels
from microx.preprocessing.landmarks import write_openface_csv
from microx.simulation.corpus import draw_take


def labelled(folder, *rows, **arguments):
    """Write a labels file of these rows and read it."""
    header = "path,emotion,subject"[: 12 if rows[0].count(",") == 1 else None]
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return read_labels(folder, folder / "labels.csv", **arguments)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, takes, write_video):
    """Two drawn takes, one without a face, one file that is no video, one without a label."""
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(takes["happy"], folder)
    shutil.copy(takes["sad"], folder)
    shutil.copy(takes["sad"], folder / "unlabelled.mp4")
    write_video(folder / "wall.mp4", np.full((12, 96, 128, 3), 90, np.uint8))
    (folder / "notes.mp4").write_text("not a film")
    return folder


@pytest.fixture(scope="module")
def labels(videos):
    rows = ["happy.mp4,joy,A", "sad.mp4,SAD,B", "wall.mp4,sad,C", "notes.mp4,sad,C", "gone,sad,C"]
    return labelled(videos, *rows, label_set="ekman7")


@pytest.fixture(scope="module")
def corpus(labels, tmp_path_factory):
    return build_corpus(labels, tmp_path_factory.mktemp("corpora") / "corpus")


def test_a_folder_is_read_as_read_labels_reads_it(takes, tmp_path):
    videos = tmp_path / "videos"
    (videos / "joy").mkdir(parents=True)
    shutil.copy(takes["happy"], videos / "joy")
    corpus = build_corpus(videos, tmp_path / "by_folders", landmarks="dlib")
    assert corpus.manifest["emotion"].tolist() == ["joy"]
    (videos / "labels.csv").write_text("path,emotion,subject\njoy/happy.mp4,glad,A\n")
    corpus = build_corpus(str(videos), tmp_path / "by_sheet")
    assert (
        corpus.content_hash()
        == build_corpus(read_labels(videos), tmp_path / "by_labels").content_hash()
    )
    assert corpus.classes == ("glad",)


def test_a_sheet_in_place_of_the_folder_is_explained(videos, tmp_path):
    (tmp_path / "l.csv").write_text("path,emotion\n")
    for name in ("l.csv", str(tmp_path / "l.csv")):
        with pytest.raises(InputError, match=r"read_labels\(FOLDER, 'l\.csv'\)"):
            build_corpus(tmp_path / name, tmp_path / "corpus")


def test_faces_that_are_too_small_are_counted(labels, takes, tmp_path):
    corpus = build_corpus(labels, tmp_path / "corpus", min_face=500)
    rows = corpus.manifest.set_index("path")
    assert rows.loc["happy.mp4", "status"] == "skipped"
    assert rows.loc["happy.mp4", "reason"].startswith("every face in it is too small: its outer ey")
    assert rows.loc["happy.mp4", ["n_frames", "n_found", "n_small_face"]].tolist() == [20, 0, 20]
    assert (corpus.read_ledger("happy")["status"] == "small_face").all()


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
    assert counts.loc["happy.mp4"].tolist() == [20, 20, 0, 20, 20]
    assert counts.loc["wall.mp4"].tolist() == [12, 12, 0, 12, 0]
    assert rows.loc["happy.mp4", ["n_faces", "n_segments", "n_cuts"]].tolist() == [1, 1, 0]
    assert rows.loc["happy.mp4", "duration_s"] == pytest.approx(2 / 3, rel=1e-5)
    assert len(rows.loc["happy.mp4", "sha256"]) == 64
    done = rows[rows["status"] == "done"]
    assert done[list(STATUS_COUNTS)].sum(axis=1).equals(done["n_frames"])


def test_crops_files_hold_what_design_says(corpus):
    with h5py.File(corpus.crops_path("happy")) as file:
        held = {}
        file.visititems(lambda name, item: held.update({name: item}))
        shapes = {
            name: (item.shape, item.dtype.kind)
            for name, item in held.items()
            if isinstance(item, h5py.Dataset)
        }
    regions = {f"face_0/{region}": ((20, 32, 32, 3), "u") for region in corpus.regions}
    assert shapes == regions | {
        "timestamp": ((20,), "f"),
        "source_frame": ((20,), "i"),
        "face_0/landmarks": ((20, 68, 2), "f"),
        "face_0/confidence": ((20,), "f"),
        "face_0/box_xyxy": ((20, 5, 4), "f"),
        "face_0/status": ((20,), "u"),
        "face_0/segment": ((20,), "i"),
    }
    assert corpus.read_crops("happy", "mouth").std() > 5
    assert corpus.read_size_hw("happy") == (160, 160)


def test_labels_and_recipe_travel_with_it(corpus):
    assert corpus.classes == ("neutral", "anger", "disgust", "fear", "happy", "sad", "surprise")
    assert corpus.label_set == "ekman7"
    described = json.loads((corpus.folder / "corpus.json").read_text())
    assert described["recipe_hash"] == corpus.recipe_hash == hash_recipe(corpus.recipe)
    assert corpus.recipe["policy"] == "aligned"
    assert load_corpus(corpus.folder).manifest.equals(corpus.manifest)
    assert tuple(corpus.manifest.columns) == MANIFEST_COLUMNS


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
    with pytest.raises(CorpusError, match="preprocessing was cut off; wait, or run the same"):
        load_corpus(tmp_path / "c")
    whole = build_corpus(labels, tmp_path / "c")
    assert whole.manifest.equals(corpus.manifest)
    assert whole.content_hash() == corpus.content_hash()


def test_neither_workers_nor_the_place_change_the_content(corpus, videos, tmp_path):
    shutil.copytree(videos, tmp_path / "moved" / "videos")
    moved = tmp_path / "moved" / "videos"
    labels = read_labels(moved, moved / "labels.csv", label_set="ekman7")
    pair = build_corpus(labels, tmp_path / "deep" / "er" / "c", n_workers=2)
    assert pair.content_hash() == corpus.content_hash()
    assert pair.manifest.equals(corpus.manifest)


def test_a_single_image_takes_little_room(takes, tmp_path):
    capture = cv2.VideoCapture(str(takes["happy"]))
    cv2.imwrite(str(tmp_path / "one.png"), capture.read()[1])
    corpus = build_corpus(labelled(tmp_path, "one.png,happy"), tmp_path / "c")
    assert corpus.manifest[["n_frames", "n_found"]].to_numpy().tolist() == [[1, 1]]
    n_bytes = sum(corpus.read_crops("one", region).nbytes for region in corpus.regions)
    assert corpus.crops_path("one").stat().st_size < 3 * n_bytes


def test_every_face_is_a_row_where_all_are_asked_for(takes, write_video, tmp_path):
    pair = []
    for emotion in ("happy", "sad"):
        capture = cv2.VideoCapture(str(takes[emotion]))
        pair.append(np.stack([capture.read()[1][..., ::-1] for _ in range(20)]))
    write_video(tmp_path / "pair.mp4", np.concatenate(pair, axis=2))
    labels = labelled(tmp_path, "pair.mp4,happy")
    every = build_corpus(labels, tmp_path / "all", faces="all")
    assert every.manifest["video_id"].tolist() == ["pair~0", "pair~1"]
    assert every.manifest["n_faces"].tolist() == [2, 2]
    with pytest.raises(InputError, match="found no 'pair'; its faces are pair~0, pair~1"):
        every.read_crops("pair", "mouth")
    mouths = [every.read_crops(video_id, "mouth") for video_id in every.manifest["video_id"]]
    assert not np.array_equal(*mouths)
    assert len(every.clips()) == 4
    main = build_corpus(labels, tmp_path / "main")
    assert main.manifest[["video_id", "n_faces"]].to_numpy().tolist() == [["pair", 2]]
    assert len(main.clips()) == 2


RECIPES = [
    ({"landmarks": "csv", "landmarks_dir": "."}, "`landmarks=dlib`; received `landmarks=csv`"),
    ({"faces": "all"}, "`faces=main`; received `faces=all`"),
    ({"regions": ("mouth",)}, r"`regions=left_eye,.*`; received `regions=mouth`"),
    ({"size": 48}, "`size=32`; received `size=48`"),
    ({"policy": "paper"}, "`policy=aligned`; received `policy=paper`"),
    ({"margin": 0.4}, r"`margin=0\.15`; received `margin=0\.4`"),
    ({"frame_rate": None}, "`frame_rate=30`; received `frame_rate=native`"),
    ({"max_gap": 0}, "`max_gap=5`; received `max_gap=0`"),
    ({"occlude": "mask:0.5"}, r"`occlude=none`; received `occlude=mask:0\.5`"),
    ({"occlude_seed": 3}, "`occlude_seed=0`; received `occlude_seed=3`"),
    (
        {"size": 48, "frame_rate": 25},
        r"`size=32`, `frame_rate=30`; .*`size=48`, `frame_rate=25`",
    ),
]


@pytest.mark.parametrize(("settings", "difference"), RECIPES)
def test_another_recipe_is_refused_with_the_difference(corpus, labels, settings, difference):
    with pytest.raises(CorpusError, match=f"was made with {difference}; use the same settings"):
        build_corpus(labels, corpus.folder, **settings)
    assert load_corpus(corpus.folder).manifest.equals(corpus.manifest)


def test_another_rate_of_image_folders_is_refused(corpus, labels):
    faster = dataclasses.replace(labels, input_fps=25.0)
    with pytest.raises(CorpusError, match="`input_fps=none`; received `input_fps=25`"):
        build_corpus(faster, corpus.folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": ("mouth", "chin")}, "region 'chin' is unknown"),
        ({"size": 1}, "`size` must be .*from 4 to 1024; received 1"),
        ({"policy": "loose"}, "`policy` 'loose' is unknown"),
        ({"landmarks": "magic"}, "`landmarks` 'magic' is unknown"),
        ({"landmarks": "csv"}, "need a folder of CSVs; found none given"),
        ({"frame_rate": 0}, r"`frame_rate` must be from 0\.1"),
        ({"faces": "cropped", "landmarks": "csv"}, "faces 'cropped' need landmarks 'dlib'"),
        (
            {"landmarks_dir": "."},
            "`landmarks_dir` is for `landmarks=csv`; received `landmarks=dlib`",
        ),
        ({"openface": "x"}, "`openface` is for `landmarks=openface`; received `landmarks=dlib`"),
        ({"timeout_s": 9.0}, "`timeout_s` is for `landmarks=openface`; received `landmarks=dlib`"),
        ({"n_workers": 0}, "`n_workers` must be 1 or more, or -1 for one a core; found 0"),
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(labels, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build_corpus(labels, tmp_path / "c", **options)
    assert not (tmp_path / "c").exists()


def test_a_copy_of_a_video_is_used_once(takes, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(takes["happy"], tmp_path / name)
    for name in ("three.mp4", "four.mp4"):
        shutil.copy(takes["sad"], tmp_path / name)
    rows = ["one.mp4,joy,A", "two.mp4,joy,A", "three.mp4,sad,B", "four.mp4,sad,C"]
    corpus = build_corpus(labelled(tmp_path, *rows), tmp_path / "c")
    assert corpus.manifest["reason"].tolist() == [
        "",
        "a copy of one.mp4",
        "a copy of four.mp4, which is labelled otherwise",
        "a copy of three.mp4, which is labelled otherwise",
    ]


def test_mended_landmarks_are_not_ignored(tmp_path, write_video):
    take = draw_take(0, "happy", n_frames=24)
    write_video(tmp_path / "happy.mp4", take.frames)
    labels = labelled(tmp_path, "happy.mp4,joy")
    crops = []
    for shift in (0, 6):
        moved = dataclasses.replace(take.landmarks, xy=take.landmarks.xy + shift)
        write_openface_csv(tmp_path / "happy.csv", moved)
        corpus = build_corpus(labels, tmp_path / "c", landmarks="csv", landmarks_dir=tmp_path)
        crops.append(corpus.read_crops("happy", "mouth"))
    assert not np.array_equal(*crops)


def test_a_video_whose_bytes_changed_is_done_anew(takes, tmp_path):
    shutil.copy(takes["happy"], tmp_path / "a.mp4")
    labels = labelled(tmp_path, "a.mp4,joy")
    before = build_corpus(labels, tmp_path / "c").read_crops("a", "mouth")
    shutil.copy(takes["sad"], tmp_path / "a.mp4")
    after = build_corpus(labels, tmp_path / "c").read_crops("a", "mouth")
    assert len(before) != len(after)


def test_a_video_that_broke_leaves_no_trace_in_the_content(takes, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(takes["happy" if name == "a.mp4" else "sad"], tmp_path / name)
    labels = labelled(tmp_path, "a.mp4,joy", "b.mp4,sad")
    build_corpus(labels, tmp_path / "c")
    (tmp_path / "b.mp4").write_bytes(b"no film any more")
    again, fresh = (build_corpus(labels, tmp_path / name) for name in ("c", "fresh"))
    assert again.manifest["status"].tolist() == ["done", "skipped"]
    assert again.content_hash() == fresh.content_hash()
    with pytest.raises(InputError, match="'b' was skipped: expected a video"):
        again.read_crops("b", "mouth")
    with pytest.raises(InputError, match="found no 'c'; known: a, b"):
        again.read_ledger("c")


def test_other_videos_do_not_take_the_place_of_those_that_are_there(takes, tmp_path):
    for folder, emotion in (("one", "happy"), ("two", "sad")):
        (tmp_path / folder).mkdir()
        shutil.copy(takes[emotion], tmp_path / folder / f"{emotion}.mp4")
    one = labelled(tmp_path / "one", "happy.mp4,joy")
    two = labelled(tmp_path / "two", "sad.mp4,sad")
    corpus = build_corpus(one, tmp_path / "c")
    for gone in (False, True):
        with pytest.raises(CorpusError, match=r"made of the videos in .*one; received .*two; use"):
            build_corpus(two, tmp_path / "c")
        (tmp_path / "one").rename(tmp_path / "moved") if not gone else None
    moved = labelled(tmp_path / "moved", "happy.mp4,joy")
    again = build_corpus(moved, tmp_path / "c")
    assert again.content_hash() == corpus.content_hash()
    assert (corpus.n_kept, again.n_kept) == (0, 1)


def test_crops_of_videos_that_are_gone_are_removed_and_counted(takes, tmp_path):
    for emotion in ("happy", "sad"):
        shutil.copy(takes[emotion], tmp_path / f"{emotion}.mp4")
    build_corpus(labelled(tmp_path, "happy.mp4,joy", "sad.mp4,sad"), tmp_path / "c")
    (tmp_path / "sad.mp4").unlink()
    corpus = build_corpus(labelled(tmp_path, "happy.mp4,joy"), tmp_path / "c")
    assert (corpus.n_kept, corpus.n_left_out) == (1, 1)
    assert [path.name for path in (tmp_path / "c" / "crops").iterdir()] == ["happy.h5"]


def test_the_manifest_tells_who_wears_what(takes, tmp_path):
    for emotion in takes:
        shutil.copy(takes[emotion], tmp_path)
    labels = labelled(tmp_path, *(f"{emotion}.mp4,{emotion}" for emotion in takes))
    worn = build_corpus(labels, tmp_path / "c", occlude="mask:0.5").manifest["occluder"]
    assert set(worn) == {"", "mask"}
    assert worn.equals(load_corpus(tmp_path / "c").manifest["occluder"])


def test_a_video_without_a_face_has_a_ledger(tmp_path, write_video, grey_steps):
    write_video(tmp_path / "grey.mp4", np.tile(grey_steps, (1, 4, 4, 1)))
    corpus = build_corpus(labelled(tmp_path, "grey.mp4,joy"), tmp_path / "c")
    ledger = corpus.read_ledger("grey")
    assert len(ledger) == corpus.manifest["n_frames"].item() == 5
    assert set(ledger["status"]) == {"no_face"}
    assert set(ledger["segment"]) == {-1}
    with pytest.raises(InputError, match="'grey' was skipped: no face found"):
        corpus.read_crops("grey", "mouth")


def test_unsafe_ids_are_refused(labels, tmp_path):
    table = labels.table.copy()
    table.loc[0, "video_id"] = "../../x"
    with pytest.raises(CorpusError, match=r"video_id '\.\./\.\./x' must be letters"):
        build_corpus(dataclasses.replace(labels, table=table), tmp_path / "c")
    table.loc[0, "video_id"] = "sad"
    with pytest.raises(CorpusError, match="video_id 'sad' stands for two videos"):
        build_corpus(dataclasses.replace(labels, table=table), tmp_path / "c")


def test_a_folder_of_other_things_is_refused(labels, tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(CorpusError, match="found other files, such as 'thesis"):
        build_corpus(labels, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


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


def test_marks_that_match_no_frame_are_errors_and_seconds_become_frames(takes, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("happy", "sad", "fear"):
        shutil.copy(takes[name], folder)
    rows = ["happy.mp4,joy,A,2,0:00.2,9", "sad.mp4,sad,B,1,59,", "fear.mp4,fear,C,0,9 s,"]
    text = "\n".join(["path,emotion,subject,onset,apex,offset", *rows, ""])
    (folder / "labels.csv").write_text(text)
    corpus = build_corpus(read_labels(folder), tmp_path / "corpus")
    rows = corpus.manifest.set_index("path")
    assert rows.loc["happy.mp4", ["onset", "apex", "offset"]].tolist() == ["2", "6", "9"]
    assert corpus.find_frame("happy", "apex") == 6
    assert rows.loc["sad.mp4", "reason"].startswith(
        "apex 59 matches no frame (row 3 of the labels): it has 22 frames, counted from 0"
    )
    assert rows.loc["fear.mp4", "reason"].startswith(
        "apex 9 s matches no frame (row 4 of the labels): it lasts 0."
    )
    assert key_clips(corpus, "apex")["n_guessed"].tolist() == [0]
