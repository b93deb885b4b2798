"""The examples of docstrings run, and print what stands there."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import microx
from microx.corpus.build import build_corpus
from microx.experiments.ablations import run_ablation
from microx.inference.video import predict_video
from microx.labels.labels import read_labels
from microx.simulation.corpus import draw_corpus

GIVEN = ("corpus", "RUN", "run.", "result", "prediction", "S01_happy_1", "videos")
"""Words of examples that run in the folder of `given`, with the names made there."""

MOST_SKIPPED = 8
"""Lines of examples marked to be skipped: they need long training, an extra, or this machine."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(microx.__path__, "microx.")
    if not module.name.endswith("__main__")
]


def list_examples(name: str) -> list[doctest.DocTest]:
    """Examples of what a module itself makes; what it imports has them where it is made."""
    tests = doctest.DocTestFinder().find(importlib.import_module(name), name)
    return [test for test in tests if test.examples]


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder and names as examples take them for granted: three actors, seven emotions."""
    folder = tmp_path_factory.mktemp("examples")
    draw_corpus(folder, n_subjects=3, n_takes=1, intensity="micro")
    for ending, place in (("mp4", "videos"), ("csv", "landmarks")):
        name = f"S01_happy_1.{ending}"
        (folder / name).write_bytes((folder / place / name).read_bytes())
    corpus = build_corpus(
        read_labels(folder / "videos", folder / "labels.csv"),
        folder / "corpus",
        landmarks="csv",
        landmarks_dir=folder / "landmarks",
        regions=("mouth", "face"),
    )
    run = run_ablation(corpus, folder / "RUN", regions="all", epochs=1, baselines=False)
    result = run.rows["mouth+face"][0]
    prediction = predict_video(folder / "S01_happy_1.mp4", folder / "RUN")
    return folder, {"corpus": corpus, "run": run, "result": result, "prediction": prediction}


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, request, monkeypatch):
    for test in list_examples(name):
        if any(word in example.source for example in test.examples for word in GIVEN):
            folder, names = request.getfixturevalue("given")
            test.globs |= names
            monkeypatch.chdir(folder)
        told: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
        assert not told, "".join(told)


def test_few_examples_are_skipped():
    tests = [test for name in MODULES for test in list_examples(name)]
    examples = [example for test in tests for example in test.examples]
    skipped = [example.source for example in examples if example.options.get(doctest.SKIP)]
    assert len(skipped) <= MOST_SKIPPED < len(examples) / 10, skipped
