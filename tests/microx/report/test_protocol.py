"""A run can be done again from what its page says."""

import shlex
from pathlib import Path

import pytest

from microx.experiments.run import Run
from microx.report.protocol import commands
from microx.training.settings import join_settings


def _run_with(arguments, experiment="ablate"):
    return Run(
        Path("RUN"), {"experiment": experiment, "arguments": arguments} | {"seeds": [7]}, {}, {}
    )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({"hog": False, "l2": 1e-4}, "--set=build.hog=false --set=build.l2=0.0001"),
        ({"pad_to": None}, "--set=build.pad_to=null"),
    ],
)
def test_arguments_of_the_builder_are_read_as_they_were(build, words):
    arguments = {"preset": "cnn6", "build": build, "stride": None, "n_frames": 1}
    given = commands(_run_with(arguments), "CORPUS")
    assert given["shell"] == f"microx ablate CORPUS --out RUN --model cnn6 {words} --set=n_frames=1"
    words = shlex.split(given["shell"])
    settings = [word.removeprefix("--set=") for word in words if word.startswith("--set=build")]
    assert join_settings(settings) == {"build": build}
    assert f"build={build!r}, n_frames=1)" in given["python"]


def test_an_experiment_is_repeated_by_its_own_command():
    arguments = {"protocol": "loso", "n_seeds": 3, "oracle": True, "epochs": 4}
    given = commands(_run_with(arguments, "experiment subsets"), "CORPUS")
    assert given["shell"] == (
        "microx experiment subsets CORPUS --out RUN --protocol loso --seeds 3 --oracle --epochs 4"
    )
    assert given["python"].startswith("run_experiment('subsets', load_corpus('CORPUS'), 'RUN', pro")
    assert given["imports"] == "from microx import load_corpus, run_experiment"


def test_a_paper_is_repeated_by_its_name():
    run = _run_with({"paper": "microx", "quick": True, "preset": "compact"}, "reproduce microx")
    given = commands(run, "CORPUS")
    assert given["shell"] == ("microx reproduce microx CORPUS --out RUN --quick --seed 7 --seeds 1")
    assert given["python"].startswith(
        "reproduce('microx', load_corpus('CORPUS'), 'RUN', quick=True"
    )
    names: dict[str, object] = {}
    exec(given["imports"], names)
    assert {"load_corpus", "reproduce"} <= set(names)


@pytest.mark.parametrize(
    ("class_weight", "option", "argument"),
    [(None, "", ""), ("balanced", " --balance weights", ", balance='weights'")],
)
def test_a_run_of_before_is_repeated_by_the_names_of_today(class_weight, option, argument):
    arguments = {"regions": "paper", "epochs": None, "seed": 0, "class_weight": class_weight}
    given = commands(_run_with(arguments | {"shuffle_labels": False}), "CORPUS")
    assert given["shell"] == f"microx ablate CORPUS --out RUN --regions paper --seed 0{option}"
    assert given["python"] == (
        "run_ablation(load_corpus('CORPUS'), 'RUN', regions='paper', seed=0, "
        f"shuffle_labels=False{argument})"
    )
