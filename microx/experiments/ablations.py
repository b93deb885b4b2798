"""The experiments of the papers, and others: the rows of each.

`microx.experiments.run` runs them. None has a training loop of its own: a row is a set of
arguments of `microx.evaluation.evaluate.evaluate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack, cast, get_args

from microx.corpus.corpus import Corpus, check_corpus
from microx.corpus.motion import list_held
from microx.errors import InputError
from microx.evaluation.evaluate import Condition
from microx.evaluation.result import LEAKY_MARK
from microx.experiments.run import Row, Run, run_grid
from microx.preprocessing.occlusion.occluder import OCCLUSIONS
from microx.progress import ProgressOption
from microx.schema import CLIP_FRAMES, DEFAULT_REGIONS, Apex, MotionNetwork, RegionSet
from microx.training.protocol import Protocol
from microx.training.settings import FitOptions, FitSettings

# MicroX paper, tables of single regions and of face against regions; our names.
_PAPER_ROWS: dict[str, tuple[str, ...]] = {region: (region,) for region in DEFAULT_REGIONS} | {
    "regions": tuple(region for region in DEFAULT_REGIONS if region != "face"),
    "regions+face": DEFAULT_REGIONS,
}

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the test videos that are occluded, along an occlusion curve (our choice)."""

_TRAINING_OBJECTS = ",".join(f"{kind}:0.2" for kind in OCCLUSIONS)  # our choice

_HOG_BLOCK = 16  # pixels along a block of `microx.models.hog.HOG`, and so along the least crop

ALONE = ", trained alone"
"""The end of the names of rows with a single region, the check of a model of all regions."""

LEAKY_ROW, HONEST_ROW = f"by clip{LEAKY_MARK}", "by subject"


def region_sets(kind: str, available: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the regions of each row of an ablation.

    Parameters
    ----------
    kind : {"all", "paper", "full"}
        One model on every region; the published comparisons; every subset.
    available : sequence of str
        Regions the corpus holds.

    Returns
    -------
    dict of str to tuple of str
        Row name to regions, in the order of the table.

    Raises
    ------
    InputError
        If the kind is unknown or the corpus lacks one of the paper's regions.

    Examples
    --------
    >>> list(region_sets("full", ("mouth", "face")))
    ['mouth', 'face', 'mouth+face']
    """
    available = tuple(available)
    missing = [region for region in DEFAULT_REGIONS if region not in available]
    if kind == "all":
        name = "+".join(available) if set(available) != set(DEFAULT_REGIONS) else "regions+face"
        return {name: available}
    if kind == "full":
        sizes = range(1, len(available) + 1)
        sets = [chosen for n in sizes for chosen in itertools.combinations(available, n)]
        return {"+".join(chosen): chosen for chosen in sets}
    if kind != "paper":
        raise InputError(
            f"`regions` must be one of {', '.join(get_args(RegionSet))}; found '{kind}'"
        )
    if missing:
        raise InputError(
            f"the paper's comparisons need {', '.join(DEFAULT_REGIONS)}; the corpus lacks "
            f"{', '.join(missing)}; preprocess again with `regions`, or use `regions=all`"
        )
    return dict(_PAPER_ROWS)


def list_region_rows(
    corpus: Corpus,
    regions: str = "paper",
    *,
    inputs: str = "rgb",
    shuffle_labels: bool = False,
) -> list[Row]:
    """A model for each region set; with `shuffle_labels` a last row of shuffled labels.

    All regions of motion are the network's own streams.
    """
    if inputs == "motion" and regions == "all":
        rows = [Row("motion")]
    else:
        sets = region_sets(regions, list_held(corpus, inputs))
        rows = [Row(name, {"regions": list(chosen)}) for name, chosen in sets.items()]
    if shuffle_labels:
        last = rows[-1]
        fit = {**last.fit, "shuffle_labels": True}
        rows.append(Row(f"{last.name}, labels shuffled", fit))
    return rows


def list_baseline_rows(corpus: Corpus, row: Row, settings: FitSettings) -> list[Row]:
    """Support vector machines on the clips of a network: what it has to beat.

    On the regions of a row, a machine on the pixels and one on histograms of gradients, which need
    crops of 16 pixels; beside a network of motion, one on that motion.
    """
    clips = {"frames": settings.frames, "n_frames": settings.n_frames, "stride": settings.stride}
    own = {"augment": "", "occlude": "", "build": {}, "balance": "weights"}
    if settings.inputs == "motion":
        return [Row("flow+svm", {"preset": "flow+svm", **clips, **own})]
    names = ("pixels+svm", "hog+svm") if corpus.size >= _HOG_BLOCK else ("pixels+svm",)
    shown = {"regions": row.fit["regions"], "inputs": "grey"}
    return [Row(name, {"preset": name, **shown, **clips, **own}) for name in names]


def list_subset_rows(corpus: Corpus) -> list[Row]:
    """One model that can do without regions, tested with every subset of them.

    The single regions are also trained alone, to measure what the shared model loses.
    """
    regions = corpus.regions
    rows = []
    for name, chosen in sorted(region_sets("full", regions).items(), key=lambda one: -len(one[1])):
        missing = tuple(region for region in regions if region not in chosen)
        rows.append(Row(name, {"regions": list(regions)}, Condition(without=missing)))
    return rows + [Row(f"{one}{ALONE}", {"regions": [one]}) for one in regions]


def list_mask_rows(corpus: Corpus) -> list[Row]:
    """With and without a mask, in training and in the test."""
    masked = Condition(occlude="mask")
    fit = {"occlude": "mask:0.5"}
    return [
        Row("trained without masks, tested without masks"),
        Row("trained without masks, tested with masks", {}, masked),
        Row("trained with masks, tested without masks", fit),
        Row("trained with masks, tested with masks", fit, masked),
    ]


def list_occlusion_rows(corpus: Corpus) -> list[Row]:
    """Every kind of object on a growing share of the test videos, and random erasing.

    Twice: trained on unoccluded faces, and with objects on four faces of five.
    """
    rows = []
    for words, fit in (("unoccluded", {}), ("occluded", {"occlude": _TRAINING_OBJECTS})):
        rows.append(Row(f"trained {words}, tested unoccluded", fit))
        for kind, share in itertools.product((*OCCLUSIONS, "erase"), SHARES):
            objects = f"{kind}:{share:g}"
            seen = Condition(augment=objects) if kind == "erase" else Condition(occlude=objects)
            rows.append(Row(f"trained {words}, tested with {objects}", fit, seen))
    return rows


def list_length_rows(corpus: Corpus) -> list[Row]:
    """Clips of several lengths, and overlapping clips of one length."""
    longest = int(corpus.manifest["n_found"].max())
    lengths = [n for n in (1, 5, CLIP_FRAMES, 16, 24) if n <= longest]
    rows = [Row(f"{n} frames", {"n_frames": n, "stride": n}) for n in lengths]
    dense = {"n_frames": CLIP_FRAMES, "stride": CLIP_FRAMES // 2}
    return [*rows, Row(f"{CLIP_FRAMES} frames, every {CLIP_FRAMES // 2}", dense)]


def list_setting_rows(name: str, values: Sequence[str]) -> list[Row]:
    """One setting at several values."""
    return [Row(value, {name: value}) for value in values]


def list_optimizer_rows(corpus: Corpus) -> list[Row]:
    """Adam, RMSprop and SGD, each at a learning rate of its own."""
    rates = {"adam": 3e-3, "rmsprop": 1e-3, "sgd": 0.1}  # our choice, of compact
    return [Row(name, {"optimizer": name, "learning_rate": rate}) for name, rate in rates.items()]


def list_protocol_rows(corpus: Corpus) -> list[Row]:
    """The published protocols beside honest ones; each tests other clips."""
    return [
        Row(f"clips 80/20{LEAKY_MARK}", {"protocol": "clips"}),
        Row(f"clips 70/30{LEAKY_MARK}", {"protocol": "naive"}),
        Row("subjects, holdout", {"protocol": "holdout"}),
        Row("subjects, 5 folds", {"protocol": "kfold"}),
    ]


def list_inflation_rows(corpus: Corpus) -> list[Row]:
    """The same model under the leaky and the honest protocol."""
    return [
        Row(LEAKY_ROW, {"protocol": "clips"}),
        Row(HONEST_ROW, {"protocol": "kfold"}),
    ]


def list_network_rows(corpus: Corpus) -> list[Row]:
    """CNN1, CNN2 and ResNet18, on single images."""
    return list_setting_rows("preset", ("cnn1", "cnn2", "resnet18"))


def list_motion_rows(corpus: Corpus) -> list[Row]:
    """Networks of micro-expressions, and the support vector machine that they have to beat.

    The machine twice: at the apex, and on the mean of the motion around it, which is what microx's
    own network reads.
    """
    own = [Row(name, {"preset": name}) for name in (*get_args(MotionNetwork), "flow+svm")]
    around = {"preset": "flow+svm", "frames": "around-apex"}
    return [*own, Row("flow+svm around apex", around)]


def list_apex_rows(corpus: Corpus) -> list[Row]:
    """What it costs not to be told the apex: annotated, estimated, or the middle of the video."""
    return [
        Row(f"{preset}, apex {apex}", {"preset": preset, "apex": apex})
        for preset in ("motion", "flow+svm")
        for apex in get_args(Apex)
    ]


EXPERIMENTS: dict[str, Callable[[Corpus], list[Row]]] = {
    "regions": list_region_rows,
    "subsets": list_subset_rows,
    "mask": list_mask_rows,
    "occlusion": list_occlusion_rows,
    "inputs": lambda corpus: list_setting_rows("inputs", ("rgb", "grey", "difference", "flow")),
    "lengths": list_length_rows,
    "optimizers": list_optimizer_rows,
    "networks": list_network_rows,
    "motion": list_motion_rows,
    "apex": list_apex_rows,
    "protocols": list_protocol_rows,
    "inflation": list_inflation_rows,
}
"""Experiments by name: a corpus to its rows."""


class RunOptions(FitOptions, total=False):
    """Keyword arguments of every experiment: options of `run_grid`, and settings."""

    protocol: Protocol | str
    preset: str
    settings: FitSettings | None
    seed: int
    n_seeds: int
    oracle: bool
    tensorboard: bool
    n_workers: int
    dask: str | None
    progress: ProgressOption
    warn: Callable[[str], None] | None


def run_ablation(
    corpus: Corpus,
    out: str | Path,
    *,
    regions: str = "paper",
    shuffle_labels: bool = False,
    baselines: bool = True,
    **options: Unpack[RunOptions],
) -> Run:
    """Train and test with each region set.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Run folder, made if missing. Finished cells in it are read, not trained again.
    regions : {"all", "paper", "full"}
        See `region_sets`.
    shuffle_labels : bool
        Add a control row: the last region set, with labels shuffled among videos, separately in
        training and in the test. It must score at chance.
    baselines : bool
        Add the support vector machines of `list_baseline_rows`, on the regions of the last set.
    **options
        See `run_experiment`.

    Returns
    -------
    Run
        Its ``table`` is also in results.csv. The same seed gives the same table.

    Raises
    ------
    InputError
        If `out` holds a run with other arguments or of another corpus; the difference is named.
    SplitError
        If there are too few subjects.
    """
    check_corpus(corpus)
    changes = {name: value for name, value in options.items() if name in FitOptions.__annotations__}
    preset = options.get("preset", "compact")
    settings = FitSettings.of(preset, options.get("settings"), **cast(FitOptions, changes))
    rows = list_region_rows(corpus, regions, inputs=settings.inputs, shuffle_labels=shuffle_labels)
    if baselines:
        rows += list_baseline_rows(corpus, rows[-1], settings)
    own = {"regions": regions, "shuffle_labels": shuffle_labels, "baselines": baselines}
    return run_grid(corpus, out, rows, experiment="ablate", arguments=own, **options)


def run_experiment(
    name: str, corpus: Corpus, out: str | Path, **options: Unpack[RunOptions]
) -> Run:
    """Run one of `EXPERIMENTS`; a run that was cut off continues.

    Parameters
    ----------
    name : str
    corpus : Corpus
    out : path
        Run folder, made if missing.
    **options
        See `microx.experiments.run.run_grid`: protocol, preset, settings, seed, n_seeds, oracle,
        tensorboard, n_workers, dask, progress, warn, and single settings by name, such as
        ``epochs=5``; the same for every row that does not set its own.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If there is no such experiment, or `out` holds another run.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"experiment must be one of {', '.join(EXPERIMENTS)}; found '{name}'")
    check_corpus(corpus)
    rows = EXPERIMENTS[name](corpus)
    return run_grid(corpus, out, rows, experiment=f"experiment {name}", arguments={}, **options)
