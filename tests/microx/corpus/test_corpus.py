import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from microx.corpus.corpus import (
    MANIFEST_COLUMNS,
    check_corpus,
    clip_starts,
    hash_recipe,
    load_corpus,
)
from microx.corpus.key_clips import PRESENCE, key_clips
from microx.corpus.storage import STATUS_COUNTS, stretch_lengths
from microx.errors import CorpusError, InputError
from microx.preprocessing.tracking.faces import Status


def set_segments(corpus, video_id, changes):
    """Open a copy of a corpus in which frames of a video have other segments: frame to segment."""
    with h5py.File(corpus.crops_path(video_id), "a") as file:
        for frame, segment in changes.items():
            file["face_0/segment"][frame] = segment
    return load_corpus(corpus.folder)


def test_a_corpus_shows_how_much_it_holds(small_corpus):
    assert repr(small_corpus) == "Corpus(15 videos, 5 subjects, 30 clips, 2 regions, 24 px)"
    html = small_corpus._repr_html_()
    assert html.count("<tr") == 1 + len(small_corpus.classes)
    assert "<td>happy</td>" in html


@pytest.mark.parametrize(
    ("n_frames", "clips"), [(1, "15 images"), (4, "15 clips of 4 frames"), (10, "15 clips")]
)
def test_a_corpus_of_short_videos_shows_what_it_holds(write_corpus, n_frames, clips):
    corpus = write_corpus(n_frames=n_frames)
    assert repr(corpus) == f"Corpus(15 videos, 5 subjects, {clips}, 2 regions, 24 px)"


def test_what_was_written_is_read(small_corpus):
    assert small_corpus.classes == ("neutral", "happy", "sad")
    assert (small_corpus.regions, small_corpus.size) == (("mouth", "face"), 24)
    assert small_corpus.recipe_hash == hash_recipe(small_corpus.recipe)
    assert tuple(small_corpus.manifest.columns) == MANIFEST_COLUMNS
    assert small_corpus.read_crops("s0_sad", "mouth").shape == (20, 24, 24, 3)
    assert small_corpus.read_landmarks("s0_sad").shape == (20, 68, 2)
    assert small_corpus.read_frames_found("s0_sad").all()
    assert small_corpus.read_size_hw("s0_sad") == (240, 320)
    ledger = small_corpus.read_ledger("s0_sad")
    assert ledger["time_s"].iloc[-1] == pytest.approx(19 / 30)
    assert set(ledger["status"]) == {"given"}


def test_some_frames_are_read_in_the_order_they_are_asked_for(small_corpus):
    every = small_corpus.read_crops("s0_sad", "mouth")
    for frames in ([], [3], [7, 2, 7, 19], np.arange(20)):
        some = small_corpus.read_crops("s0_sad", "mouth", frames)
        assert np.array_equal(some, every[np.array(frames, int)])


def test_a_corpus_without_a_clip_is_refused_for_what_it_lacks(write_corpus, small_corpus):
    small_corpus.check_clips()
    with pytest.raises(CorpusError, match=r"no video shows one face in 10 frames .*at most in 1"):
        write_corpus(n_frames=1).check_clips()


def name_frames(corpus, frames):
    """Open a copy of a corpus whose labels name frames: ``{"s0_sad": {"apex": "3"}}``."""
    path = corpus.folder / "manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("video_id", drop=False)
    for video_id, named in frames.items():
        table.loc[video_id, list(named)] = list(named.values())
    table.to_csv(path, index=False)
    return load_corpus(corpus.folder)


NAMED = {
    "s0_neutral": {"onset": "", "apex": "/", "offset": "nan"},
    "s0_happy": {"onset": "3", "apex": " 8.0 ", "offset": "15"},
    "s0_sad": {"apex": "12"},
}


@pytest.mark.parametrize(
    ("video_id", "name", "frame"),
    [
        ("s0_neutral", "onset", None),
        ("s0_neutral", "apex", None),
        ("s0_neutral", "offset", None),
        ("s0_happy", "onset", 3),
        ("s0_happy", "apex", 8),
        ("s0_happy", "offset", 15),
        ("s0_sad", "onset", None),
    ],
)
def test_find_frame(write_corpus, video_id, name, frame):
    assert name_frames(write_corpus(n_subjects=1), NAMED).find_frame(video_id, name) == frame


def test_a_named_frame_is_found_by_the_decoded_frame_it_shows(write_corpus):
    """Of a video of 60 frames a second every other one stands in the corpus."""
    corpus = name_frames(write_corpus(n_subjects=1), {"s0_sad": {"apex": "12", "onset": "19"}})
    with h5py.File(corpus.crops_path("s0_sad"), "a") as file:
        file["source_frame"][...] = 2 * np.arange(20)
    assert corpus.find_frame("s0_sad", "apex") == 6
    assert corpus.find_frame("s0_sad", "onset") in (9, 10)
    for beyond in ("-1", "20", "900"):  # of 20 decoded frames
        assert (
            name_frames(corpus, {"s0_sad": {"onset": beyond}}).find_frame("s0_sad", "onset") is None
        )
    corpus = name_frames(corpus, {"s0_sad": {"onset": "19"}})
    corpus = set_segments(corpus, "s0_sad", {5: -1, 6: -1, 7: -1, 9: -1, 10: -1})
    assert corpus.find_frame("s0_sad", "apex") == 4  # the nearest with a face
    assert corpus.find_frame("s0_sad", "onset") in (8, 11)


def test_key_clips(write_corpus):
    corpus = name_frames(write_corpus(n_subjects=1), NAMED)
    apex = key_clips(corpus, "apex")
    assert apex["clip_id"].tolist() == ["s0_neutral:apex", "s0_happy:apex", "s0_sad:apex"]
    assert apex["frames"].tolist() == [(10,), (8,), (12,)]
    assert apex["n_guessed"].tolist() == [1, 0, 0]
    assert apex["label"].tolist() == [0, 1, 2]
    assert set(apex["length"]) == {1}
    triple = key_clips(corpus, "onset-apex-offset")
    assert triple["frames"].tolist() == [(0, 10, 19), (3, 8, 15), (0, 12, 19)]
    assert triple["n_guessed"].tolist() == [3, 0, 2]
    assert triple["start"].tolist() == [0, 3, 0]
    assert set(triple["length"]) == {3}
    asked = key_clips(corpus, "onset|apex")  # nothing is known of the neutral video
    assert asked["frames"].tolist() == [(3,), (8,), (0,), (12,)]
    assert asked["label"].tolist() == [0, 1, 0, 1]
    assert asked["emotion"].tolist() == [*PRESENCE, *PRESENCE]
    assert asked["n_guessed"].tolist() == [0, 0, 1, 0]
    for clips in (apex, triple, asked):
        assert clips["clip_id"].is_unique
        assert list(clips)[:9] == list(corpus.clips())


def test_key_clips_keep_to_the_frames_with_a_face(write_corpus):
    corpus = write_corpus(n_subjects=1)
    faceless = dict.fromkeys([*range(4), *range(14, 20)], -1)
    corpus = set_segments(corpus, "s0_sad", faceless)
    assert key_clips(corpus, "onset-apex-offset")["frames"].tolist()[2] == (4, 9, 13)
    corpus = set_segments(corpus, "s0_happy", dict.fromkeys(range(20), -1))
    assert key_clips(corpus, "apex")["video_id"].tolist() == ["s0_neutral", "s0_sad"]
    assert key_clips(corpus, "onset|apex").empty


def test_there_is_a_count_for_each_status():
    assert tuple(f"n_{status.name.lower()}" for status in Status) == STATUS_COUNTS
    assert set(STATUS_COUNTS) < set(MANIFEST_COLUMNS)


def test_clips_are_an_index(small_corpus):
    clips = small_corpus.clips()
    assert clips["clip_id"].tolist()[:3] == ["s0_neutral:0", "s0_neutral:10", "s0_happy:0"]
    assert clips["label"].tolist()[:6] == [0, 0, 1, 1, 2, 2]
    assert clips["subject"].tolist()[:7] == ["s0"] * 6 + ["s1"]
    assert len(small_corpus.clips(8, stride=4)) == 15 * 4
    assert small_corpus.clips(100).empty


def test_the_last_frame_fills_a_padded_clip(small_corpus):
    padded = small_corpus.clips(15, tail="pad")
    assert padded["start"].tolist()[:4] == [0, 15, 0, 15]
    assert padded["n_found"].tolist() == [15] * 30


def test_clips_with_a_faceless_frame_are_left_out_and_can_be_counted(write_corpus):
    corpus = set_segments(write_corpus(n_subjects=1), "s0_sad", {13: -1})
    assert len(corpus.clips()) == 5
    every = corpus.clips(incomplete=True)
    assert every["n_found"].tolist() == [10, 10, 10, 10, 10, 6]


@pytest.mark.parametrize(
    ("changes", "n_found"),
    [
        (dict.fromkeys(range(13, 20), 1), 7),  # a cut, a face on both sides
        ({13: -1} | dict.fromkeys(range(14, 20), 1), 6),
        (dict.fromkeys(range(10, 20), -1), 0),
        ({12: -1, 15: -1}, 4),  # one segment, twice interrupted
    ],
)
def test_no_clip_reaches_over_the_end_of_a_segment(write_corpus, changes, n_found):
    corpus = set_segments(write_corpus(n_subjects=1), "s0_sad", changes)
    assert "s0_sad:10" not in set(corpus.clips()["clip_id"])
    assert corpus.clips(incomplete=True)["n_found"].tolist()[-1] == n_found


@pytest.mark.parametrize(
    ("segment", "lengths"),
    [([], []), ([-1, -1], []), ([0], [1]), ([3, 3, -1, 3, 4, -1], [2, 1, 1]), ([-1, 5, 5], [2])],
)
def test_stretch_lengths(segment, lengths):
    assert stretch_lengths(np.array(segment, np.int32)).tolist() == lengths


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


@pytest.mark.parametrize("arguments", [(9, 0, 1), (9, 1, 0), (9, 1, 1, "bend")])
def test_clips_of_no_length_are_refused(arguments):
    with pytest.raises(CorpusError, match="received"):
        clip_starts(*arguments)


def test_the_content_hash_tells_contents_apart_and_nothing_else(write_corpus, tmp_path):
    corpus = write_corpus(n_subjects=1)
    before = corpus.content_hash()
    shutil.copytree(corpus.folder, tmp_path / "elsewhere" / "deep")
    assert load_corpus(tmp_path / "elsewhere" / "deep").content_hash() == before

    def rewritten(name, value):
        table = pd.read_csv(corpus.folder / "manifest.csv", dtype=str, keep_default_na=False)
        table.loc[0, name] = value
        table.iloc[::-1].to_csv(tmp_path / "elsewhere" / "deep" / "manifest.csv", index=False)
        return load_corpus(tmp_path / "elsewhere" / "deep").content_hash()

    assert rewritten("reason", f"{tmp_path}: in words") == before
    assert rewritten("path", f"{tmp_path}/other.mp4") == before
    assert rewritten("emotion", "sad") != before
    with h5py.File(corpus.crops_path("s0_sad"), "a") as file:
        file["face_0/mouth"][3, 4, 5] ^= 1
    assert corpus.content_hash() != before


def test_folders_that_are_not_a_corpus_are_named(tmp_path, small_corpus):
    with pytest.raises(CorpusError, match=r"expected a corpus folder with corpus\.json"):
        load_corpus(tmp_path)
    shutil.copy(small_corpus.folder / "corpus.json", tmp_path)
    with pytest.raises(CorpusError, match=r"expected manifest\.csv.*run the same command again"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("videos/corpus", r"received the path 'videos/corpus'; open it: load_corpus\('videos/c"),
        (Path("corpus"), r"received the path 'corpus'; open it: load_corpus\('corpus'\)"),
        (None, "of load_corpus or build_corpus; received NoneType"),
    ],
)
def test_what_is_no_open_corpus_is_explained(given, message):
    from microx import evaluate, evaluate_model, run_ablation, run_experiment

    for call in (
        lambda: check_corpus(given),
        lambda: evaluate(given),
        lambda: evaluate_model("nowhere", given),
        lambda: run_ablation(given, "out"),
        lambda: run_experiment("regions", given, "out"),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", "JSONDecodeError"),
        (b"{", "JSONDecodeError"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b"{}", "KeyError: 'format'"),
        (b'{"format": 1}', "found format 1"),
        (b'{"format": 4, "recipe": {}, "classes": []}', "found no label_set"),
        (b'{"format": 4, "recipe": 7, "classes": [], "label_set": ""}', "found the recipe 7"),
    ],
)
def test_a_broken_description_is_named(tmp_path, text, found):
    (tmp_path / "corpus.json").write_bytes(text)
    with pytest.raises(CorpusError, match=rf"corpus\.json: .* format 4; found .*{found[6:]}"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"\x00\xff\x89PNG", b"video_id,path\na,b\n", b"a\n1,2,3\n1,2\n", b'"open'],
    ids=["empty", "binary", "few columns", "ragged", "cut short"],
)
def test_a_broken_manifest_is_named(write_corpus, text):
    folder = write_corpus(n_subjects=1).folder
    (folder / "manifest.csv").write_bytes(text)
    with pytest.raises(CorpusError, match=r"manifest\.csv: expected a row for each video; found"):
        load_corpus(folder)


def test_a_count_that_is_no_number_is_named(write_corpus):
    path = write_corpus(n_subjects=1).folder / "manifest.csv"
    table = pd.read_csv(path).astype(str)
    table.loc[1, "n_frames"] = "many"
    table.to_csv(path, index=False)
    with pytest.raises(CorpusError, match=r"manifest\.csv: .*many"):
        load_corpus(path.parent)


def test_a_region_that_was_not_cropped_is_named(small_corpus):
    with pytest.raises(CorpusError, match="expected 'left_brow'; found confidence, face"):
        small_corpus.read_crops("s0_sad", "left_brow")


def test_a_damaged_crops_file_is_named(write_corpus):
    corpus = write_corpus(n_subjects=1)
    path = corpus.crops_path("s0_sad")
    path.write_bytes(path.read_bytes()[:500])
    for read in (corpus.clips, corpus.content_hash):
        with pytest.raises(CorpusError, match=r"s0_sad\.h5: .*run microx preprocess again"):
            read()
    path.unlink()
    with pytest.raises(CorpusError, match=r"s0_sad\.h5: .*run microx preprocess again"):
        corpus.content_hash()
    with pytest.raises(CorpusError, match=r"s0_sad\.h5: .*run microx preprocess again"):
        corpus.read_crops("s0_sad", "mouth")


def test_the_description_is_plain_json(small_corpus):
    described = json.loads((small_corpus.folder / "corpus.json").read_text())
    assert described["recipe"]["regions"] == ["mouth", "face"]
    assert described["recipe_hash"] == small_corpus.recipe_hash
