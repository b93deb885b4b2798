"""The page is self-contained, complete, honest, and says what the results say."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from microx import report
from microx.cautions import find_cautions, is_leaky, main_row, percent
from microx.corpus import load_corpus
from microx.errors import CorpusError, InputError
from microx.evaluation import EvaluationResult, write_result
from microx.experiments import read_run, row_folder, run_ablation
from microx.report import write_report
from microx.settings import join_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = ("protocol", "counts", "results", "ranking", "confusion", "curves", "examples")
SECTIONS += ("cautions", "reproduce", "meaning")


class Page(HTMLParser):
    """What a reader gets: text by section, tables by cell, pictures, links and open tags."""

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


def _result(corpus, name, *, right=0.8, regions=("mouth", "face"), folds=1, seed=0, **facts):
    """Answers to the clips of the last two subjects, a known share of them right."""
    clips = corpus.clips()
    clips = clips[clips["subject"].isin(["s3", "s4", ""])].reset_index(drop=True)
    n_clips, n_classes = len(clips), len(corpus.classes)
    y_true = clips["label"].to_numpy(np.int64)
    wrong = np.arange(n_clips) >= round(right * n_clips)
    y_prob = np.full((n_clips, n_classes), 0.1 / (n_classes - 1), np.float32)
    y_prob[np.arange(n_clips), (y_true + wrong) % n_classes] = 0.9
    epochs = np.tile([1, 2, 3], folds)
    history = pd.DataFrame(
        {"fold": np.repeat(np.arange(folds), 3), "epoch": epochs}
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
        facts={
            "protocol": "holdout" if folds == 1 else "kfold",
            "group": "subject",
            "seed": 7,
            "n_train": [12] * folds,
            "n_validation": [6] * folds,
            "n_test": [n_clips] * folds,
            "train_class_counts": [[6, 3, 3]] * folds,
            "best_epoch": [2] * folds,
            "trained_on": [known] * folds,
            "n_frames": 10,
            "n_parameters": 1234,
            "preset": "compact",
            "recipe": corpus.recipe,
            "recipe_hash": corpus.recipe_hash,
            "versions": {"microx": "0.1.0", "numpy": "2.4"},
            "arguments": {"epochs": 3},
            "warnings": [],
            "shuffled_labels": False,
        }
        | facts,
    )


def _write_run(folder, corpus, results):
    for result in results:
        write_result(result, row_folder(folder, result.name))
    run = {
        "rows": [result.name for result in results],
        "classes": list(corpus.classes),
        "corpus": {"folder": corpus.folder.name},
        "arguments": {"regions": "paper", "protocol": "holdout", "preset": "compact"}
        | {"seed": 7, "shuffle_labels": True, "n_folds": 5, "augment": "", "balance": "weights"}
        | {"learning_rate": 0.01, "build": {"dropout": 0.5}},
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def results(small_corpus):
    return [
        _result(small_corpus, "mouth", right=1.0, regions=("mouth",)),
        _result(small_corpus, "regions+face", right=0.75),
        _result(small_corpus, "regions+face, labels shuffled", right=0.33, shuffled_labels=True),
    ]


@pytest.fixture
def page(tmp_path, small_corpus, results):
    return Page(write_report(_write_run(tmp_path / "RUN", small_corpus, results), small_corpus))


def test_page_needs_nothing_but_itself(page):
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object"}
    # A namespace inside an embedded figure is a name; nothing may be fetched from it.
    assert not re.search(r"(@import|url\()", page.html)
    assert len(page.html) < 3e6
    for link in page.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in page.html


def test_page_has_every_section_and_every_picture_its_words(page):
    assert set(SECTIONS) <= set(page.sections)
    assert len(page.images) >= 3 + 3 + 3  # figures, learning curves, examples
    assert all(len(image["alt"]) > 20 for image in page.images)


def test_answer_comes_first_with_n_baseline_and_chance(page):
    answer = page.sections["header"]
    assert "“regions+face” named the right one of 3 emotions in 75\xa0% of 12 clips" in answer
    assert "of 2 people it never saw" in answer
    assert "most frequent emotion would be right in 33\xa0%; chance is 33\xa0%" in answer


def test_tables_say_what_the_results_say(page, tmp_path):
    _, _, table = read_run(tmp_path / "RUN")
    for _, row in table.iterrows():
        cells = page.row(row["name"])
        expected = [row[column] for column in ("accuracy", "uar", "uf1")]
        expected += [row[f"video_{column}"] for column in ("accuracy", "uar", "uf1")]
        assert cells[1:7] == [percent(value) for value in expected]
        assert cells[7:9] == [str(row["n_train"]), str(row["n_test"])]
    assert page.row("chance (1 of 3)")[1] == "33\xa0%"
    assert page.row("majority class")[1] == "33\xa0%"
    # s3: both subjects have two clips of each of three emotions
    assert page.row("s3") == ["s3", "2", "2", "2", "6"]
    assert ["1", "12", "6", "s0, s1, s2", "12", "s3, s4", "2"] in page.tables[0]


def test_protocol_control_and_reproduction_are_in_words(page, tmp_path, small_corpus):
    assert "No person is shared" in page.sections["protocol"]
    assert "Subjects tested (2): s3, s4." in page.sections["protocol"]
    assert "predicted once" in page.sections["protocol"]
    assert "dealt out at random among the videos" in page.sections["results"]
    reproduce = page.sections["reproduce"]
    command = f"microx ablate {small_corpus.folder} --out {tmp_path / 'RUN'} --regions paper"
    command += " --protocol holdout --model compact --seed 7 --shuffle-labels --folds 5"
    command += " --augment '' --balance weights --set=learning_rate=0.01 --set=build.dropout=0.5"
    assert command in reproduce
    assert small_corpus.recipe_hash in reproduce
    assert "numpy 2.4" in reproduce


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({"hog": False, "l2": 1e-4}, "--set=build.hog=false --set=build.l2=0.0001"),
        ({"pad_to": None}, "--set=build.pad_to=null"),
    ],
)
def test_arguments_of_the_builder_are_read_as_they_were(build, words):
    run = {"arguments": {"preset": "cnn6", "build": build, "stride": None, "n_frames": 1}}
    commands = report._commands(run, Path("RUN"), "CORPUS")
    assert commands["shell"] == (
        f"microx ablate CORPUS --out RUN --model cnn6 {words} --set=n_frames=1"
    )
    words = shlex.split(commands["shell"])
    told = [word.removeprefix("--set=") for word in words if word.startswith("--set=build")]
    assert join_settings(told) == {"build": build}
    assert f"build={build!r}, n_frames=1)" in commands["python"]


@pytest.mark.parametrize(
    ("class_weight", "option", "argument"),
    [(None, "", ""), ("balanced", " --balance weights", ", balance='weights'")],
)
def test_a_run_of_before_is_repeated_by_the_names_of_today(class_weight, option, argument):
    run = {
        "arguments": {
            **{"regions": "paper", "epochs": None, "seed": 0, "class_weight": class_weight},
            "shuffle_labels": False,
        }
    }
    commands = report._commands(run, Path("RUN"), "CORPUS")
    assert commands["shell"] == f"microx ablate CORPUS --out RUN --regions paper --seed 0{option}"
    assert commands["python"] == (
        "run_ablation(load_corpus('CORPUS'), 'RUN', regions='paper', seed=0, "
        f"shuffle_labels=False{argument})"
    )


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
    assert "found in 265 of 280; 15 had none" in page.sections["counts"]
    assert page.row("no face found in any frame")[1:] == ["1", "s0_neutral.mp4"]
    assert "1 of 15 videos were left out" in page.sections["cautions"]


def test_examples_show_right_and_wrong_clips(page):
    shown = " ".join(page.sections["examples"].split())
    for emotion in ("neutral", "happy", "sad"):
        assert emotion in shown
    strips = [image for image in page.images if image["src"].startswith("data:image/png")]
    assert any("named sad: mouth, face at its first" in image["alt"] for image in strips)
    assert "9 of 12" not in shown  # counts there are per emotion
    assert "of 4 right" in shown


def test_faces_stay_out_on_request(tmp_path, small_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    page = Page(write_report(run, small_corpus, example_crops=False))
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


def test_another_corpus_is_refused(tmp_path, small_corpus, write_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    with pytest.raises(CorpusError, match="expected the corpus this run was made from"):
        write_report(run, write_corpus("other", size=12))
    with pytest.raises(CorpusError, match="with its test clips"):
        write_report(run, write_corpus("fewer", n_subjects=4))


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
    assert "people it may have seen" in page.sections["header"]
    assert "corpus names no subjects" in page.sections["cautions"]
    assert not is_leaky(result)
    leaky = _result(corpus, "regions+face", group="clip")
    page = Page(write_report(_write_run(tmp_path / "LEAKY", corpus, [leaky]), corpus))
    assert page.sections["header"].count("LEAKY") >= 3
    assert "LEAKY" in page.sections["protocol"]


def test_folds_have_a_row_each(tmp_path, small_corpus):
    run = _write_run(tmp_path / "RUN", small_corpus, [_result(small_corpus, "face", folds=3)])
    page = Page(write_report(run, small_corpus))
    assert "3 folds" in page.sections["protocol"]
    assert [row[0] for row in page.tables[0][2:]] == ["1", "2", "3"]


def test_unfinished_run_is_reported_as_such(tmp_path, small_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    (row_folder(run, "mouth") / "result.json").unlink()
    page = Page(write_report(run, small_corpus))
    assert "unfinished" in page.sections["header"]
    assert "Still missing: mouth" in page.sections["header"]


def test_same_run_same_page_and_no_half_page(tmp_path, small_corpus, results):
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    first = write_report(run, small_corpus).read_bytes()
    elsewhere = write_report(run, small_corpus, tmp_path / "new" / "page.html")
    assert elsewhere.read_bytes() == first
    assert [path.name for path in elsewhere.parent.iterdir()] == ["page.html"]


def test_what_cannot_be_reported_or_written_says_so(tmp_path, small_corpus, results):
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    run = _write_run(tmp_path / "RUN", small_corpus, results)
    with pytest.raises(InputError, match="expected a place for the page"):
        write_report(run, small_corpus, run / "run.json" / "page.html")
    (row_folder(run, "mouth") / "predictions.csv").write_text("nonsense\n")
    with pytest.raises(InputError, match="damaged"):
        write_report(run, small_corpus)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Only 2 subjects were tested (fewer than 10)"),
        ({"right": 0.2}, "No better than always naming the most frequent class"),
        ({"best_epoch": [3]}, "Still improving when the epochs ran out: regions+face"),
        ({"warnings": ["fold 1: no test clips of fear"]}, "fold 1: no test clips of fear"),
    ],
)
def test_cautions(small_corpus, changes, said):
    found = find_cautions([_result(small_corpus, "regions+face", **changes)], 0.33)
    assert any(said in caution for caution in found)


def test_cautions_of_classes_and_control(small_corpus):
    result = _result(small_corpus, "regions+face", right=1.0)
    happy = result.y_true == 1
    answers = np.where(happy[:, None], np.eye(3, dtype=np.float32)[0], result.y_prob)
    found = find_cautions([dataclasses.replace(result, y_prob=answers)], 0.33)
    assert "“regions+face” never answered happy." in found
    found = find_cautions(
        [dataclasses.replace(result, y_true=np.where(happy, 0, result.y_true))], 0
    )
    assert "No test clip shows happy: nothing is known about it." in found
    shuffled = _result(small_corpus, "shuffled", right=1.0, shuffled_labels=True)
    assert any("shuffled labels scored 100" in text for text in find_cautions([shuffled], 0.33))
    by_luck = _result(small_corpus, "shuffled", right=0.4, shuffled_labels=True)
    assert not any("shuffled" in text for text in find_cautions([by_luck], 0.33))


def test_main_row_is_chosen_by_its_inputs(results):
    assert main_row(results).name == "regions+face"
    assert main_row(results[::-1]).name == "regions+face"


def test_percent_is_no_finer_than_its_n():
    assert [percent(0.8267, n) for n in (0, 999, 1000)] == ["83\xa0%", "83\xa0%", "82.7\xa0%"]
    assert percent(float("nan")) == "\u2013"


def test_a_real_run_becomes_a_page(tmp_path, write_corpus):
    corpus = write_corpus("corpus", n_subjects=3, regions=("mouth",), size=24, n_frames=10)
    run_ablation(corpus, tmp_path / "RUN", regions="all", epochs=1)
    page = Page(write_report(tmp_path / "RUN"))
    assert set(SECTIONS) <= set(page.sections)
    assert "run_ablation(load_corpus(" in page.sections["reproduce"]
    assert "Still improving" in page.sections["cautions"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_page_fits_a_phone(tmp_path, small_corpus, results):
    path = write_report(_write_run(tmp_path / "RUN", small_corpus, results), small_corpus)
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
