"""The page is self-contained, complete, honest, and says what the results say."""

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from microx.corpus.corpus import load_corpus
from microx.corpus.key_clips import key_clips
from microx.corpus.quality import summarize_corpus
from microx.errors import CorpusError, InputError
from microx.evaluation.evaluate import ORACLE
from microx.evaluation.facts import ResultFacts
from microx.evaluation.result import EvaluationResult, write_result
from microx.experiments.ablations import run_ablation
from microx.experiments.run import cell_folder, read_run
from microx.report.cautions import find_cautions, is_leaky, main_row, percent
from microx.report.page import write_report
from microx.report.protocol import count_missing, protocol_in_words

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = ("protocol", "counts", "results", "comparable", "ranking", "confusion", "curves")
SECTIONS += ("examples", "reproduce", "meaning")


class Page(HTMLParser):
    """What a reader gets: text by section, tables by cell, images, links and open tags."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, path):
        super().__init__()
        self.html = Path(path).read_text(encoding="utf-8")
        self.sections, self.images, self.links, self.tables = {}, [], [], []
        self._stack, self._section, self.tags = [], "header", set()
        self.feed(self.html)
        self.close()
        assert not self._stack, f"never closed: {self._stack}"
        self.text = " ".join(" ".join(self.sections.values()).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        if tag not in self.VOID:
            self._stack.append(tag)
        if tag == "section":
            self._section = attrs["id"]
        self.links += [attrs[name] for name in ("src", "href", "srcset") if name in attrs]
        if tag == "img":
            self.images.append(attrs)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._stack.pop() == tag

    def handle_data(self, data):
        if "style" in self._stack:
            return
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if {"td", "th"} & set(self._stack) and self._stack[-1] != "small":
            self.tables[-1][-1][-1] += data.strip()

    def row(self, name):
        """Cells of the first table row that begins with `name`."""
        return next(row for table in self.tables for row in table if row and row[0] == name)


def _result(corpus, name, *, right=0.8, regions=("mouth", "face"), folds=1, seed=7, **facts):
    """Predictions for the clips of the last two subjects, a known share of them right."""
    clips = corpus.clips()
    clips = clips[clips["subject"].isin(["s3", "s4", ""])].reset_index(drop=True)
    n_clips, n_classes = len(clips), len(corpus.classes)
    y_true = clips["label"].to_numpy(np.int64)
    wrong = np.arange(n_clips) >= round(right * n_clips)
    y_prob = np.full((n_clips, n_classes), 0.1 / (n_classes - 1), np.float32)
    y_prob[np.arange(n_clips), (y_true + wrong) % n_classes] = 0.9
    epochs = np.tile(np.arange(1, 9), folds)
    history = pd.DataFrame(
        {"fold": np.repeat(np.arange(folds), 8), "epoch": epochs}
        | dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 1 / epochs)
        | {"seconds": 0.1}
    )
    known = {"subjects": ["s0", "s1", "s2"], "videos": []}
    return EvaluationResult(
        name=name,
        regions=regions,
        classes=corpus.classes,
        y_true=y_true,
        y_prob=y_prob,
        clip_id=clips["clip_id"].to_numpy(str),
        video_id=clips["video_id"].to_numpy(str),
        subject=clips["subject"].to_numpy(str),
        fold=np.arange(n_clips) % folds,
        history=history,
        facts=ResultFacts.from_json(
            {
                "protocol": "holdout" if folds == 1 else "kfold",
                "leaky": False,
                "group": "subject",
                "classes": list(corpus.classes),
                "regions": list(regions),
                "streams": list(regions),
                "without": [],
                "seed": seed,
                "n_train": [12] * folds,
                "n_validation": [6] * folds,
                "n_test": [n_clips] * folds,
                "train_class_counts": [[6, 3, 3]] * folds,
                "best_epoch": [2] * folds,
                "trained_on": [known] * folds,
                "seconds_to_best": [1.0] * folds,
                "peak_memory_mib": [100] * folds,
                "seconds": 1.0,
                "n_frames": 10,
                "n_parameters": 1234,
                "preset": "compact",
                "recipe": corpus.recipe,
                "recipe_hash": corpus.recipe_hash,
                "versions": {"microx": "0.1.0", "numpy": "2.4"},
                "arguments": {"epochs": 8, "schedule": "constant"},
                "warnings": [],
                "shuffled_labels": False,
            }
            | facts
        ),
    )


def _write_run(folder, corpus, rows, *, experiment="ablate", oracles=(), row_facts=None, **changes):
    """Store rows as `run_grid` does: a result, or a list of one a seed, by fold."""
    rows = {row.name: [row] for row in rows} if isinstance(rows, list) else rows
    about = {}
    for name, results in rows.items():
        for seed, result in enumerate(results, start=7):
            n_folds = len(result.facts.n_train)
            for fold in range(n_folds):
                cell = cell_folder(folder, name, seed, fold)
                write_result(_one_fold(result, fold), cell)
                if name in oracles:
                    peek = dataclasses.replace(result, name=f"{name}, {ORACLE}", **oracles[name])
                    write_result(_one_fold(peek, fold), cell / "oracle")
        about[name] = {"fit": {"regions": name}, "condition": {}, "n_folds": n_folds}
        about[name] |= (row_facts or {}).get(name, {})
    run = {
        "microx": "0.1.0",
        "experiment": experiment,
        "rows": about,
        "seeds": list(range(7, 7 + max(map(len, rows.values())))),
        "classes": list(corpus.classes),
        "corpus": {"folder": corpus.folder.name, "n_videos": 15, "n_clips": 30}
        | {"manifest_hash": "5ca1ab1e"},
        "arguments": {"regions": "paper", "protocol": "holdout", "preset": "compact"}
        | {"seed": 7, "shuffle_labels": True, "n_folds": 5, "augment": "", "balance": "weights"}
        | {"learning_rate": 0.01, "build": {"dropout": 0.5}},
    }
    (folder / "run.json").write_text(json.dumps(run | changes))
    return folder


def _one_fold(result, fold):
    rows = result.fold == fold
    per_fold = ("n_train", "n_validation", "n_test", "train_class_counts", "best_epoch")
    per_fold += ("trained_on", "seconds_to_best", "peak_memory_mib")
    fields = ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    return dataclasses.replace(
        result,
        **{field: getattr(result, field)[rows] for field in fields},
        history=result.history[result.history["fold"] == fold],
        facts=dataclasses.replace(
            result.facts,
            **{key: getattr(result.facts, key)[fold : fold + 1] for key in per_fold},
        ),
    )


def _cautions(*results, manifest=None):
    return find_cautions({result.name: (result,) for result in results}, manifest)


@pytest.fixture(scope="module")
def results(small_corpus):
    return [
        _result(small_corpus, "mouth", right=1.0, regions=("mouth",)),
        _result(small_corpus, "regions+face", right=0.75),
        _result(small_corpus, "regions+face, labels shuffled", right=0.33, shuffled_labels=True),
    ]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, small_corpus, results):
    """A run of two rows and a control, only to be read."""
    return _write_run(tmp_path_factory.mktemp("runs") / "RUN", small_corpus, results)


@pytest.fixture(scope="module")
def page(run_folder, small_corpus):
    return Page(write_report(run_folder, small_corpus))


def test_page_needs_nothing_but_itself(page):
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object"}
    # A namespace inside an embedded figure is a name; nothing may be fetched from it.
    assert not re.search(r"(@import|url\()", page.html)
    assert len(page.html) < 3e6
    for link in page.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in page.html


def test_page_has_every_section_and_every_image_its_text(page):
    assert set(SECTIONS) <= set(page.sections)
    assert len(page.images) >= 3 + 3 + 3  # figures, learning curves, examples
    assert all(len(image["alt"]) > 20 for image in page.images)


def test_answer_comes_first_with_n_baseline_and_chance(page):
    header = page.sections["header"]
    assert header.index("cautions before you quote this") < header.index("predicted the right one")
    assert "“regions+face” predicted the right one of 3 emotions in 75\xa0% of 12 clips" in header
    assert "of 2 subjects it never saw" in header
    assert "most frequent emotion would score 33\xa0%; chance is 33\xa0%" in header


def test_tables_say_what_the_results_say(page, run_folder):
    table = read_run(run_folder).table
    for _, row in table.iterrows():
        cells = page.row(row["name"])
        expected = [row[column] for column in ("accuracy", "uar", "uf1")]
        expected += [row[f"video_{column}"] for column in ("accuracy", "uar", "uf1")]
        assert cells[1:7] == [percent(value) for value in expected]
        assert cells[7:9] == [str(row["n_train"]), str(row["n_test"])]
    assert page.row("most_frequent")[1] == "33\xa0%"
    assert {"stratified", "uniform"} <= {row[0] for t in page.tables for row in t}
    # s3: both subjects have two clips of each of three emotions
    assert page.row("s3") == ["s3", "2", "2", "2", "6"]
    assert ["1", "12", "6", "s0, s1, s2", "12", "s3, s4", "2"] in page.tables[0]


def test_protocol_control_and_reproduction_are_in_words(page, run_folder, small_corpus):
    assert "No subject is shared" in page.sections["protocol"]
    assert "Subjects tested (2): s3, s4." in page.sections["protocol"]
    assert "predicted once" in page.sections["protocol"]
    assert "labels shuffled among the videos" in page.sections["results"]
    reproduce = page.sections["reproduce"]
    command = f"microx ablate {small_corpus.folder} --out {run_folder} --regions paper"
    command += " --protocol holdout --model compact --seed 7 --shuffle-labels --folds 5"
    command += " --augment '' --balance weights --set=learning_rate=0.01 --set=build.dropout=0.5"
    assert command in reproduce
    assert small_corpus.recipe_hash in reproduce
    assert "numpy 2.4" in reproduce


def test_ledger_counts_videos_frames_and_clips(tmp_path, write_corpus):
    corpus = write_corpus()
    manifest = pd.read_csv(corpus.folder / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.loc[0, ["status", "reason"]] = ["skipped", "no face found in any frame"]
    manifest.loc[1, "n_found"] = "5"
    manifest.to_csv(corpus.folder / "manifest.csv", index=False)
    corpus = load_corpus(corpus.folder)
    run = _write_run(tmp_path / "RUN", corpus, [_result(corpus, "regions+face")])
    page = Page(write_report(run, corpus.folder))
    assert "14 of 15 used" in page.sections["counts"]
    assert "265 of 280 have crops" in page.sections["counts"]
    assert page.row("no face found in any frame")[1:] == ["1", "s0_neutral.mp4"]
    assert "1 of 15 videos were left out" in page.sections["header"]


def test_console_crops_and_report_count_alike(tmp_path, write_corpus, microx):
    corpus = write_corpus()
    manifest = pd.read_csv(corpus.folder / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.loc[0, ["status", "reason"]] = ["skipped", "no face found in any frame"]
    manifest.loc[1, ["status", "reason"]] = ["skipped", "an empty file"]
    counts = {"n_given": 9, "n_interpolated": 4, "n_no_face": 4, "n_other_face": 2}
    counts |= {"n_failed_crop": 1, "n_found": 13}
    manifest.loc[2, list(counts)] = [str(n) for n in counts.values()]
    manifest.to_csv(corpus.folder / "manifest.csv", index=False)
    corpus = load_corpus(corpus.folder)
    summary = summarize_corpus(corpus)
    assert (summary.n_done, summary.n_skipped, summary.n_subjects) == (13, 2, 5)
    assert (summary.n_found, summary.n_frames) == (253, 260)
    assert summary.with_crops == "interpolated 4, given 249"
    assert summary.without_crops == "no face 4, failed crop 1, other face 2"

    printed = microx("inspect", corpus.folder, "--out", tmp_path / "looks").stdout
    assert "videos: 13 done, 2 skipped" in printed
    assert "253 of 260 with crops" in printed
    assert f"{summary.with_crops}, {summary.without_crops}" in printed
    crops = Page(tmp_path / "looks" / "index.html").text
    assert "13 videos done, 2 skipped; 253 of 260 frames have crops" in crops
    for one in f"{summary.with_crops}, {summary.without_crops}".split(", "):
        name, _, n = one.rpartition(" ")
        assert f"{name}: {n}" in crops
    run = _write_run(tmp_path / "RUN", corpus, [_result(corpus, "regions+face")])
    report = Page(write_report(run, corpus.folder)).sections["counts"]
    assert "13 of 15 used" in report
    assert f"253 of 260 have crops ({summary.with_crops})" in report
    assert f"7 have none ({summary.without_crops})" in report
    for reason in ("no face found in any frame", "an empty file"):
        assert all(reason in text for text in (printed, crops, report))


def test_examples_show_right_and_wrong_clips(page):
    shown = " ".join(page.sections["examples"].split())
    for emotion in ("neutral", "happy", "sad"):
        assert emotion in shown
    strips = [image for image in page.images if image["src"].startswith("data:image/png")]
    assert any("predicted sad: mouth, face at its first" in image["alt"] for image in strips)
    assert "9 of 12" not in shown  # counts there are per emotion
    assert "of 4 correct" in shown


def test_faces_stay_out_on_request(tmp_path, small_corpus, run_folder):
    path = write_report(run_folder, small_corpus, tmp_path / "page.html", example_crops=False)
    page = Page(path)
    assert "examples" not in page.sections
    assert not any(image["src"].startswith("data:image/png") for image in page.images)


def test_corpus_is_found_beside_the_run_or_missed_aloud(tmp_path, write_corpus):
    corpus = write_corpus("corpus")
    run = _write_run(tmp_path / "RUN", corpus, [_result(corpus, "regions+face")])
    assert "examples" in Page(write_report(run)).sections
    shutil.rmtree(corpus.folder)
    page = Page(write_report(run))
    assert "The corpus corpus was not found" in page.sections["counts"]
    assert "examples" not in page.sections
    assert page.row("s3") == ["s3", "2", "2", "2", "6"]


def test_another_corpus_is_refused(run_folder, write_corpus):
    with pytest.raises(CorpusError, match="expected the corpus this run was made from"):
        write_report(run_folder, write_corpus("other", size=12))
    with pytest.raises(CorpusError, match="with its test clips"):
        write_report(run_folder, write_corpus("fewer", n_subjects=4))


def test_labels_subjects_and_paths_are_text_not_markup(tmp_path, write_corpus):
    corpus = write_corpus("<i>c</i>", classes=("<b>x", 'a"&', "$y_{"))
    result = _result(corpus, "<script>alert(1)</script>")
    result = dataclasses.replace(result, subject=np.char.add(result.subject, "<u>"))
    page = Page(write_report(_write_run(tmp_path / "<em>RUN", corpus, [result]), corpus))
    assert not page.tags & {"b", "i", "u", "script", "em"}
    assert {"<b>x", 'a"&', "$y_{", "s3<u>, s4<u>"} <= {
        cell for t in page.tables for r in t for cell in r
    }
    assert "<em>RUN" in page.sections["header"]


def test_leaky_and_unnamed_subjects_are_loud(tmp_path, write_corpus):
    corpus = write_corpus(named_subjects=False)
    result = _result(corpus, "regions+face", group="video")
    run = _write_run(tmp_path / "RUN", corpus, [result])
    page = Page(write_report(run, corpus))
    assert "subjects it may have seen" in page.sections["header"]
    assert "corpus names no subjects" in page.sections["header"]
    assert not is_leaky(result)
    leaky = _result(corpus, "regions+face", group="clip")
    page = Page(write_report(_write_run(tmp_path / "LEAKY", corpus, [leaky]), corpus))
    assert page.sections["header"].count("LEAKY") >= 3
    assert "LEAKY" in page.sections["protocol"]


def test_folds_have_a_row_each(tmp_path, small_corpus):
    run = _write_run(tmp_path / "RUN", small_corpus, [_result(small_corpus, "face", folds=3)])
    page = Page(write_report(run, small_corpus))
    assert "3 folds" in page.sections["protocol"]
    assert "the model of that fold is not scored on them" in page.sections["protocol"]
    assert "--oracle" not in page.sections["protocol"]
    assert [row[0] for row in page.tables[0][2:]] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("holdout", "its clips were not trained on and are in no score."),
        ("loso", "not trained on, and the model of that fold is not scored on them."),
        ("list", "chosen on the list's own validation part, or, where it has none, on one taken"),
    ],
)
def test_validation_is_reported_as_it_was(small_corpus, protocol, said):
    lines = protocol_in_words(_result(small_corpus, "face", protocol=protocol))
    assert sum(said in line for line in lines) == 1


def test_unfinished_run_is_reported_as_such(tmp_path, small_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    (cell_folder(run, "mouth", 7, 0) / "result.json").unlink()
    page = Page(write_report(run, small_corpus))
    assert "unfinished" in page.sections["header"]
    assert "Still missing: mouth" in page.sections["header"]
    for ending in ("md", "tex"):
        assert "This run is unfinished" in (run / f"report.{ending}").read_text()


def test_same_run_same_page_and_no_half_page(tmp_path, small_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    first = write_report(run, small_corpus).read_bytes()
    elsewhere = write_report(run, small_corpus, tmp_path / "new" / "page.html")
    assert elsewhere.read_bytes() == first
    beside = [f"page.{ending}" for ending in ("csv", "html", "md", "tex")]
    assert sorted(path.name for path in elsewhere.parent.iterdir()) == beside


def test_what_cannot_be_reported_or_written_says_so(tmp_path, small_corpus, results):
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    with pytest.raises(InputError, match="expected a place for the page"):
        write_report(run, small_corpus, run / "run.json" / "page.html")
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        write_report(run, small_corpus, run / "page.md")
    with pytest.raises(InputError, match="received none"):
        write_report([])
    (cell_folder(run, "mouth", 7, 0) / "predictions.csv").write_text("nonsense\n")
    with pytest.raises(InputError, match="damaged"):
        write_report(run, small_corpus)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Only 2 subjects were tested (fewer than 10)"),
        ({}, "One training per row"),
        (
            {"right": 0.2},
            "No better than always predicting the most frequent class: “regions+face”",
        ),
        ({"best_epoch": [8]}, "Still learning when the epochs ran out"),
        ({"arguments": {"epochs": 1}}, "Trained for 1 epoch at most (fewer than 5): a trial"),
        ({"warnings": ["fold 1: no test clips of fear"]}, "fold 1: no test clips of fear"),
        ({"leaky": True, "group": "clip"}, "LEAKY: clips of the same subject"),
    ],
)
def test_cautions(small_corpus, changes, said):
    found = _cautions(_result(small_corpus, "regions+face", **changes))
    assert any(said in caution for caution in found)


def test_the_last_epoch_is_no_caution_where_it_is_the_best_by_design(small_corpus):
    cosine = {"epochs": 8, "schedule": "cosine"}
    by_design = _result(small_corpus, "face", best_epoch=[8], arguments=cosine)
    level = _result(small_corpus, "mouth", best_epoch=[8])
    level = dataclasses.replace(level, history=level.history.assign(val_loss=1.0))
    assert not any("Still learning" in text for text in _cautions(by_design, level))


def test_cautions_of_classes_and_control(small_corpus):
    result = _result(small_corpus, "regions+face", right=1.0)
    happy = result.y_true == 1
    answers = np.where(happy[:, None], np.eye(3, dtype=np.float32)[0], result.y_prob)
    found = _cautions(dataclasses.replace(result, y_prob=answers))
    assert "“regions+face” never predicted happy." in found
    found = _cautions(dataclasses.replace(result, y_true=np.where(happy, 0, result.y_true)))
    assert "No test clip shows happy: nothing is known about it." in found
    shuffled = _result(small_corpus, "shuffled", right=1.0, shuffled_labels=True)
    assert any("shuffled labels scored 100" in text for text in _cautions(shuffled))
    by_luck = _result(small_corpus, "shuffled", right=0.4, shuffled_labels=True)
    assert not any("shuffled" in text for text in _cautions(by_luck))


def test_main_row_is_chosen_by_its_inputs(small_corpus, results):
    rows = {result.name: [result] for result in results}
    assert main_row(rows) == "regions+face"
    assert main_row(dict(reversed(rows.items()))) == "regions+face"
    leaky = _result(small_corpus, "by clip (LEAKY)", leaky=True, regions=("mouth", "face", "nose"))
    without = _result(small_corpus, "mouth only", without=["face"])
    rows = {result.name: [result] for result in (leaky, without, results[1])}
    assert main_row(rows) == "regions+face"


def test_rows_are_tested_against_the_main_one(page):
    (table,) = (t for t in page.tables if t and "McNemar's p" in t[0])
    row = next(row for row in table if row[0] == "mouth")
    # The same for both subjects: 100 % against 75 %, and two subjects show nothing.
    assert row[1].startswith("+25")
    assert row[2] == row[3] == "1.000"
    assert row[4] == "0.250"  # McNemar's: three clips of twelve, all one way: 2 / 2**3
    assert "With 2 subjects no p can fall below 0.5" in page.sections["results"]
    assert not any(row[0].endswith("labels shuffled") for row in table)


def test_two_by_two_next_emotion_and_calibration_are_there(page):
    counts = next(row for t in page.tables for row in t if row[0] == "neutral" and len(row) == 8)
    assert sum(map(int, counts[1:5])) == 12
    assert "predicted \\ second" in page.sections["confusion"]
    assert "Calibration error" in page.sections["confusion"]


def test_seeds_are_reported_by_mean_and_spread(tmp_path, small_corpus):
    seeds = [_result(small_corpus, "face", right=share) for share in (0.5, 1.0)]
    run = _write_run(tmp_path / "RUN", small_corpus, {"face": seeds})
    page = Page(write_report(run, small_corpus))
    assert page.row("face")[1].startswith("75\xa0%")
    assert "± 35.4" in page.row("face")
    assert "mean of 2 trainings" in page.sections["header"]
    assert "One training per row" not in page.text


def test_leaky_rows_are_marked_wherever_they_stand(tmp_path, small_corpus):
    leaky = _result(small_corpus, "by clip (LEAKY)", leaky=True, group="clip", right=1.0)
    rows = [leaky, _result(small_corpus, "by subject")]
    run = _write_run(tmp_path / "RUN", small_corpus, rows, experiment="experiment inflation")
    path = write_report(run, small_corpus)
    page = Page(path)
    assert "“by subject” predicted" in page.sections["header"]
    assert "LEAKY (rows by clip): clips of the same" in page.sections["header"]
    named = [row[0] for table in page.tables for row in table if "by clip" in row[0]]
    assert len(named) == 4  # scores, more scores, comparison, recall
    assert all(name.endswith("LEAKY") for name in named)
    # An interval over subjects says nothing where they were trained on.
    page_row = page.row("by clipLEAKY")
    assert "\u2013" in path.with_suffix(".md").read_text().split("by clip (LEAKY) |")[1][:30]
    assert "the row is LEAKY and says nothing about new subjects" in page.sections["results"]
    assert page_row[1] == "100\xa0%"
    assert "by clip (LEAKY)" in path.with_suffix(".md").read_text()
    assert pd.read_csv(path.with_suffix(".csv")).set_index("name")["leaky"]["by clip (LEAKY)"]


def test_a_leaky_score_has_no_interval_over_subjects(tmp_path, small_corpus):
    for name, leaky in (("HONEST", False), ("LEAKY", True)):
        result = _result(small_corpus, "face", right=0.5, leaky=leaky)
        path = write_report(_write_run(tmp_path / name, small_corpus, [result]), small_corpus)
        headline = path.with_suffix(".md").read_text().partition("## How it was tested")[0]
        assert ("95 % interval over subjects" in headline) is not leaky
        table = pd.read_csv(path.with_suffix(".csv")).set_index("name")
        assert table["accuracy_low"].isna()["face"] == leaky
        assert table["n_seeds"].isna().tolist() == [False, True, True, True]


def test_who_all_score_alike_gives_no_interval(tmp_path, small_corpus):
    sure = _result(small_corpus, "face", right=1.0)
    odd = (np.arange(len(sure.y_true)) % 2 == 1)[:, None]  # half the clips of each subject
    half = dataclasses.replace(
        sure, name="mouth", y_prob=np.where(odd, np.roll(sure.y_prob, 1, axis=1), sure.y_prob)
    )
    path = write_report(_write_run(tmp_path / "RUN", small_corpus, [half, sure]), small_corpus)
    said = path.with_suffix(".md").read_text()
    assert "“mouth” predicted the right one of 3 emotions in 50\xa0% of 12 clips" in said
    assert "interval over subjects" not in said.partition("## How it was tested")[0]
    assert "| mouth | 50\xa0% (\u2013) |" in said
    assert "| face | +50 | \u2013 | 0.500 | 0.500 | 0.031 | \u2013 |" in said
    assert "nan" not in said + Page(path).text


def test_an_oracle_is_a_gap_and_no_score(tmp_path, small_corpus):
    honest = _result(small_corpus, "face", right=0.5)
    better = {"y_prob": _result(small_corpus, "face", right=11 / 12).y_prob}
    run = _write_run(tmp_path / "RUN", small_corpus, [honest], oracles={"face": better})
    path = write_report(run, small_corpus)
    assert "gap in points (not a result)" in Page(path).sections["results"]
    assert "predicted after every epoch (oracle)" in Page(path).sections["protocol"]
    gaps = [row for table in Page(path).tables for row in table if len(row) == 2]
    assert [row[1][:3] for row in gaps if row[0] == "face"] == ["+42"]
    for ending in (".html", ".md", ".csv", ".tex"):
        assert "92\xa0%" not in path.with_suffix(ending).read_text()
        assert "0.91" not in path.with_suffix(ending).read_text()


def test_occlusions_are_drawn_as_curves(tmp_path, small_corpus):
    shares, rows, row_facts = (0.5, 1), [], {}
    for words, fit in (("bare", {}), ("occluded", {"occlude": "mask:0.2"})):
        rows.append(_result(small_corpus, f"trained {words}, tested bare"))
        row_facts[rows[-1].name] = {"fit": fit}
        for kind, share in itertools.product(("mask", "erase"), shares):
            rows.append(_result(small_corpus, f"trained {words}, {kind} {share}", right=1 - share))
            seen = "augment" if kind == "erase" else "occlude"
            row_facts[rows[-1].name] = {"fit": fit, "condition": {seen: f"{kind}:{share}"}}
    run = _write_run(
        tmp_path / "RUN", small_corpus, rows, row_facts=row_facts, experiment="experiment occlusion"
    )
    page = Page(write_report(run, small_corpus))
    (curves,) = [image["alt"] for image in page.images if "faces occluded" in image["alt"]]
    assert "mask, trained without occlusion: 83\xa0% 50\xa0% 0\xa0%" in curves
    assert "erase, trained with occlusion: 83\xa0% 50\xa0% 0\xa0%" in curves
    assert len([image for image in page.images if "Loss and accuracy" in image["alt"]]) == 2


def test_region_values_stand_beside_models_trained_alone(tmp_path, small_corpus):
    both = ("mouth", "face")
    rows = [
        _result(small_corpus, "mouth+face", right=1.0),
        _result(small_corpus, "mouth", right=1.0, without=["face"]),
        _result(small_corpus, "face", right=4 / 12, without=["mouth"]),
        _result(small_corpus, "mouth, trained alone", right=0.75, regions=("mouth",)),
    ]
    assert rows[0].regions == both
    run = _write_run(tmp_path / "RUN", small_corpus, rows, experiment="experiment subsets")
    page = Page(write_report(run, small_corpus))
    (values,) = [image["alt"] for image in page.images if "each region adds" in image["alt"]]
    assert values.endswith("mouth +67, face 0.")  # 1 is 1/3 above the 1/3 of chance, twice
    cells = [row for table in page.tables for row in table]
    assert ["mouth", "100\xa0%", "75\xa0%"] in cells


def test_images_are_counted_as_images(tmp_path, write_corpus):
    corpus = write_corpus(n_frames=1)
    clips = corpus.clips(1)
    result = _result(corpus, "face", n_frames=1, arguments={"epochs": 8, "frames": "all"})
    keep = clips[clips["subject"].isin(["s3", "s4"])]
    result = dataclasses.replace(
        result,
        y_true=keep["label"].to_numpy(),
        y_prob=np.eye(3, dtype=np.float32)[keep["label"]],
        **{name: keep[name].to_numpy(str) for name in ("clip_id", "video_id", "subject")},
        fold=np.zeros(len(keep), int),
    )
    page = Page(write_report(_write_run(tmp_path / "RUN", corpus, [result]), corpus))
    assert "15 single images" in page.sections["counts"]
    assert "1 frames" not in page.text


def test_missing_faces_are_counted_wrong_too(tmp_path, write_corpus):
    corpus = write_corpus(n_frames=20)
    every = corpus.clips(incomplete=True)
    every.loc[every["clip_id"] == "s3_sad:10", "n_found"] = 5
    result = _result(corpus, "face", right=1.0)
    kept = result.clip_id != "s3_sad:10"
    fields = ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    result = dataclasses.replace(result, **{f: getattr(result, f)[kept] for f in fields})
    rows = count_missing([result], corpus, every)["coverage"]
    assert [row["n"] for row in rows] == ["11", "12"]
    assert [row["scores"][0] for row in rows] == ["100\xa0%", "92\xa0%"]


def _without_faces(corpus, *videos):
    """The corpus as it were, had no face been found in some of its videos."""
    manifest = corpus.manifest.copy()
    lost = manifest["video_id"].isin(videos)
    manifest.loc[lost, ["status", "reason"]] = ["skipped", "no face found in any frame"]
    manifest.loc[lost, "n_found"] = 0
    return dataclasses.replace(corpus, manifest=manifest)


def _all_right(corpus, **changes):
    result = _result(corpus, "face", right=1.0, **changes)
    kept = np.isin(result.video_id, corpus.clips()["video_id"])
    folds = result.facts.n_train
    result = dataclasses.replace(result, fold=(result.subject == "s4") * (len(folds) - 1))
    fields = ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    return dataclasses.replace(result, **{f: getattr(result, f)[kept] for f in fields})


def test_videos_without_any_face_are_counted_wrong_too(small_corpus):
    # s3 was tested, s0 trained on; of s9 it is not known.
    corpus = _without_faces(small_corpus, "s3_sad", "s0_sad", "s1_sad")
    corpus.manifest.loc[corpus.manifest["video_id"] == "s1_sad", "subject"] = "s9"
    missing = count_missing([_all_right(corpus)], corpus, corpus.clips(incomplete=True))
    assert [(row["name"], row["n"], row["scores"][0]) for row in missing["coverage"]] == [
        ("clips: detected only", "10", "100\xa0%"),
        ("clips: all, missing counted wrong", "12", "83\xa0%"),  # 20 frames: two clips of 10
        ("videos: detected only", "5", "100\xa0%"),
        ("videos: all, missing counted wrong", "6", "83\xa0%"),
    ]
    assert missing["unplaced"] == 1


def test_where_folds_go_round_every_video_without_a_face_is_missing(small_corpus):
    corpus = _without_faces(small_corpus, "s3_sad", "s0_sad")
    result = _all_right(corpus, folds=2, arguments={"frames": "apex"})
    missing = count_missing([result], corpus, key_clips(corpus, "apex"))
    assert [row["n"] for row in missing["coverage"]] == ["10", "12", "5", "7"]  # a clip a video
    assert missing["unplaced"] == 0
    pairs = _all_right(corpus, folds=2, arguments={"frames": "onset|apex"})
    corpus.manifest.loc[corpus.manifest["video_id"] == "s0_sad", "apex"] = "5"
    missing = count_missing([pairs], corpus, key_clips(corpus, "onset|apex"))
    assert missing["coverage"][1]["n"] == "13"  # only s0 has an apex: one of each class


def test_tables_for_a_paper_lie_beside_the_page(page, run_folder):
    assert page.text
    texts = {e: (run_folder / f"report.{e}").read_text() for e in ("md", "tex", "csv")}
    assert texts["md"].index("Cautions") < texts["md"].index("75\xa0%")
    assert "| regions+face | 75\xa0%" in texts["md"]
    assert r"regions+face & 75~\%" in texts["tex"]
    assert texts["tex"].count(r"\toprule") == texts["tex"].count(r"\bottomrule") == 2
    table = pd.read_csv(run_folder / "report.csv")
    assert list(table["kind"]) == ["result", "result", "shuffled", "guess", "guess", "guess"]
    assert table["accuracy"][1] == 0.75


def test_what_may_be_compared_is_said(page):
    said = page.sections["comparable"]
    assert "With other runs on the same corpus, test subjects and protocol" in said
    assert "none is known on this corpus" in said


def test_a_papers_numbers_stand_beside_ours(tmp_path, small_corpus):
    known = {"n_subjects": 5, "size": 24}
    rows = [
        _result(small_corpus, "fer_cnn (LEAKY)", right=1.0, leaky=True, group="clip", **known),
        _result(small_corpus, "fer_cnn", right=0.75, folds=5, **known),
    ]
    run = _write_run(
        tmp_path / "RUN",
        small_corpus,
        rows,
        experiment="reproduce meeting",
        arguments={"paper": "meeting", "quick": True, "corpora": [""], "n_folds": 5},
    )
    page = Page(write_report(run, small_corpus))
    # The paper's 66 % is a figure of training: nothing is published to compare our test with.
    assert page.row("all emotions, accuracy")[1:3] == ["\u2013", "1.000"]
    assert page.row("all emotions, train accuracy")[1] == "0.660"
    assert page.row("all emotions, accuracy")[3].startswith("0.750")
    assert "28,710 images of FER2013" in page.sections["comparable"]
    assert "Quick: trained far less" in page.sections["header"]
    assert "microx reproduce meeting" in page.sections["reproduce"]


def _shares(small_corpus, *shares, **facts):
    return [_result(small_corpus, "face", right=share, **facts) for share in shares]


def test_runs_are_compared_by_subject(tmp_path, small_corpus):
    one = _write_run(tmp_path / "A", small_corpus, _shares(small_corpus, 0.5))
    other = _write_run(tmp_path / "B", small_corpus, _shares(small_corpus, 1.0))
    path = write_report([one, other])
    assert path == tmp_path / "comparison.html"
    page = Page(path)
    row = page.row("B against A: face")
    assert row[1].startswith("+50")
    assert row[2] == "1.000"  # all of it is one subject's
    assert "A paired test was possible in all comparisons" in page.sections["header"]
    assert "A, B: Only 2 subjects were tested" in page.sections["header"]
    assert "Nothing: arguments, recipe" in page.sections["differing"]
    assert all(page.html.count(f">{name}</th>") for name in "AB")
    table = pd.read_csv(path.with_suffix(".csv"))
    assert list(table["run"]) == ["A"] * 4 + ["B"] * 4
    assert "B against A: face" in path.with_suffix(".md").read_text()


@pytest.mark.parametrize("found", ["0ff1ce", None])
def test_the_same_names_in_another_corpus_are_other_subjects(tmp_path, small_corpus, found):
    one = _write_run(tmp_path / "A", small_corpus, _shares(small_corpus, 0.5))
    other = _write_run(tmp_path / "B", small_corpus, _shares(small_corpus, 1.0))
    about = json.loads((other / "run.json").read_text())
    about["corpus"]["manifest_hash"] = found
    (other / "run.json").write_text(json.dumps(about))
    path = write_report([one, other])
    page = Page(path)
    assert page.row("B against A: face")[1:] == ["\u2013"] * 5
    assert "not known to be the same corpus: no comparison" in page.sections["comparison"]
    assert "A paired test was possible in 0 of 1 comparisons" in page.sections["header"]


def test_runs_that_cannot_be_compared_say_why(tmp_path, small_corpus, write_corpus):
    one = _write_run(tmp_path / "A", small_corpus, _shares(small_corpus, 0.5))
    seeds = {"face": _shares(small_corpus, 1.0, 0.5)}
    more = _write_run(tmp_path / "B", small_corpus, seeds)
    fewer = _result(small_corpus, "face", right=1.0)
    keep = np.arange(len(fewer.y_true)) % 2 == 0
    fields = ("y_true", "y_prob", "clip_id", "video_id", "subject", "fold")
    fewer = dataclasses.replace(fewer, **{f: getattr(fewer, f)[keep] for f in fields})
    less = _write_run(tmp_path / "C", small_corpus, [fewer])
    corpus = write_corpus("upright", policy="paper", classes=("a", "b", "c"))
    other = _write_run(tmp_path / "D", corpus, [_result(corpus, "face")])
    page = Page(write_report([one, more, less, other], out=tmp_path / "page.html"))
    said = page.sections["comparison"]
    assert "different number of seeds; interval over the 2 subjects" in said
    assert "different clips; interval over the 2 subjects" in said
    assert "different emotions: no comparison" in said
    assert page.row("recipe: policy") == ["recipe: policy", *["aligned"] * 3, "paper"]
    assert "The crops were cut differently" in page.sections["differing"]


def test_percent_is_no_finer_than_its_n():
    assert [percent(0.8267, n) for n in (0, 999, 1000)] == ["83\xa0%", "83\xa0%", "82.7\xa0%"]
    assert percent(float("nan")) == "\u2013"


def test_a_real_run_becomes_a_page(tmp_path, write_corpus):
    corpus = write_corpus("corpus", n_subjects=3, regions=("mouth",), size=24, n_frames=10)
    run_ablation(corpus, tmp_path / "RUN", regions="all", epochs=1, n_seeds=2, oracle=True)
    page = Page(write_report(tmp_path / "RUN"))
    assert set(SECTIONS) <= set(page.sections)
    assert "run_ablation(load_corpus(" in page.sections["reproduce"]
    assert "a trial" in page.sections["header"]
    assert "means of 2 seeds" in page.sections["results"]
    assert "Not a result" in page.sections["results"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("kind", ["run", "runs"])
def test_page_fits_a_phone(tmp_path, run_folder, kind):
    runs = run_folder if kind == "run" else [run_folder, run_folder]
    path = write_report(runs, out=tmp_path / "page.html")
    # headless Chromium makes no window narrower than 500 px, but a frame may be
    probe = path.with_name("probe.html")
    probe.write_text(
        f"<iframe id=f width=390 height=900 src='{path.name}'></iframe><script>onload = () => "
        "document.title = f.contentDocument.documentElement.scrollWidth</script>"
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--allow-file-access-from-files", "--dump-dom", probe.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert 300 < int(re.search(r"<title>(\d+)</title>", run.stdout)[1]) <= 390
