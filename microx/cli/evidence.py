"""Commands about evidence: runs of many trainings, their reports, and the leak audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microx.cli import console
from microx.cli.console import say, show_progress
from microx.cli.options import (
    AugmentOption,
    BalanceOption,
    DaskOption,
    EpochsOption,
    FoldsOption,
    InputsOption,
    OccludeOption,
    OracleOption,
    OutOption,
    PresetOption,
    ProtocolOption,
    SeedOption,
    SeedsOption,
    SetOption,
    SplitOption,
    TensorBoardOption,
    TrainersOption,
    join_options,
)
from microx.errors import InputError
from microx.schema import Experiment, Paper, RegionSet
from microx.training.backend import load_keras, threads_of
from microx.training.protocol import Protocol

if TYPE_CHECKING:
    from microx.corpus.corpus import Corpus

CorpusArgument = Annotated[Path, typer.Argument(help="Corpus folder.")]


def ablate(
    corpus: CorpusArgument,
    out: OutOption,
    regions: Annotated[
        RegionSet,
        typer.Option(help="all: one model on all streams; paper: its 7 rows; full: every subset."),
    ] = "paper",
    protocol: ProtocolOption = "holdout",
    folds: FoldsOption = 5,
    split: SplitOption = None,
    model: PresetOption = "compact",
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    seeds: SeedsOption = 1,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Add a control row with shuffled labels."),
    ] = False,
    baselines: Annotated[
        bool,
        typer.Option(help="Add support vector machines on the same clips, to be beaten."),
    ] = True,
    oracle: OracleOption = False,
    inputs: InputsOption = None,
    balance: BalanceOption = None,
    augment: AugmentOption = None,
    occlude: OccludeOption = "",
    settings: SetOption = None,
    tensorboard: TensorBoardOption = False,
    workers: TrainersOption = 1,
    dask: DaskOption = None,
) -> None:
    """Train and test with some regions only, compare them, and write the report."""
    from microx.corpus.corpus import load_corpus
    from microx.experiments.ablations import run_ablation
    from microx.report.page import write_report

    opened = load_corpus(corpus)
    load_keras(threads_of(model))
    with show_progress("ablation", "steps") as advance:
        run = run_ablation(
            opened,
            out,
            regions=regions,
            protocol=Protocol(protocol, folds, split_file=split),
            preset=model,
            seed=seed,
            n_seeds=seeds,
            shuffle_labels=shuffle_labels,
            baselines=baselines,
            oracle=oracle,
            tensorboard=tensorboard,
            n_workers=workers,
            dask=dask,
            progress=advance,
            warn=console.warn,
            **join_options(settings, epochs, inputs, balance, augment, occlude),
        )
    console.print_run(run, write_report([run.folder], opened))


def experiment(
    name: Annotated[Experiment, typer.Argument(help="What is compared.")],
    corpus: CorpusArgument,
    out: OutOption,
    protocol: ProtocolOption = "holdout",
    folds: FoldsOption = 5,
    split: SplitOption = None,
    model: PresetOption = "compact",
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    seeds: SeedsOption = 1,
    oracle: OracleOption = False,
    settings: SetOption = None,
    tensorboard: TensorBoardOption = False,
    workers: TrainersOption = 1,
    dask: DaskOption = None,
    intervals: Annotated[
        Path | None,
        typer.Option(
            help="For spotting: CSV with path, onset, apex, offset and kind, a row an expression."
        ),
    ] = None,
) -> None:
    """Compare one thing, all else equal, and write the report."""
    from microx.corpus.corpus import load_corpus

    if name == "spotting":
        trained = (protocol, split, model, epochs, seeds, oracle, settings, tensorboard, workers)
        if trained != ("holdout", None, "compact", None, 1, False, None, False, 1) or dask:
            raise InputError(
                "spotting trains no network: of the options it has --intervals, --out, --folds "
                "and --seed; leave out the others"
            )
        _spot(load_corpus(corpus), intervals, out, folds, seed)
        return
    if intervals is not None:
        raise InputError(f"--intervals is for spotting; the experiment is {name}")
    from microx.experiments.ablations import run_experiment
    from microx.report.page import write_report

    opened = load_corpus(corpus)
    load_keras(threads_of(model))
    with show_progress(name, "steps") as advance:
        run = run_experiment(
            name,
            opened,
            out,
            protocol=Protocol(protocol, folds, split_file=split),
            preset=model,
            seed=seed,
            n_seeds=seeds,
            oracle=oracle,
            tensorboard=tensorboard,
            n_workers=workers,
            dask=dask,
            progress=advance,
            warn=console.warn,
            **join_options(settings, epochs, None, None, None, ""),
        )
    console.print_run(run, write_report([run.folder], opened))


def _spot(corpus: Corpus, intervals: Path | None, out: Path, folds: int, seed: int) -> None:
    from microx.spotting.experiment import run_spotting

    if intervals is None:
        raise InputError("spotting needs the true intervals: --intervals intervals.csv")
    with show_progress("spotting", "videos") as advance:
        run = run_spotting(corpus, intervals, out, n_folds=folds, seed=seed, progress=advance)
    console.print_spotting(run)


def inflation(
    corpus: CorpusArgument,
    out: OutOption,
    model: PresetOption = "compact",
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    seeds: SeedsOption = 1,
    settings: SetOption = None,
    workers: TrainersOption = 1,
    dask: DaskOption = None,
) -> None:
    """Measure how much a split by clips, which leaks, inflates the score of a split by subjects."""
    from microx.corpus.corpus import load_corpus
    from microx.evaluation.summary import measure_gap
    from microx.experiments.ablations import HONEST_ROW, LEAKY_ROW, run_experiment
    from microx.report.page import write_report

    opened = load_corpus(corpus)
    load_keras(threads_of(model))
    with show_progress("inflation", "steps") as advance:
        run = run_experiment(
            "inflation",
            opened,
            out,
            preset=model,
            seed=seed,
            n_seeds=seeds,
            n_workers=workers,
            dask=dask,
            progress=advance,
            warn=console.warn,
            **join_options(settings, epochs, None, None, None, ""),
        )
    console.print_run(run, write_report([run.folder], opened))
    console.print_gap(*measure_gap(run.rows[LEAKY_ROW], run.rows[HONEST_ROW]))


def reproduce(
    paper: Annotated[Paper, typer.Argument(help="The paper whose experiments are repeated.")],
    corpus: CorpusArgument,
    out: OutOption,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small networks, few epochs: minutes, not days.")
    ] = False,
    seed: SeedOption = 0,
    seeds: SeedsOption = 1,
    workers: TrainersOption = 1,
    dask: DaskOption = None,
) -> None:
    """Run a paper's protocol as published beside an honest one, and print its numbers beside."""
    from microx.corpus.corpus import load_corpus
    from microx.experiments.replicate import reproduce as reproduce_paper
    from microx.report.page import write_report

    opened = load_corpus(corpus)
    load_keras(threads_of("compact") if quick and paper == "microx" else None)
    with show_progress("reproducing", "steps") as advance:
        run = reproduce_paper(
            paper,
            opened,
            out,
            quick=quick,
            seed=seed,
            n_seeds=seeds,
            n_workers=workers,
            dask=dask,
            progress=advance,
            warn=console.warn,
        )
    console.print_run(run, write_report([run.folder], opened))
    console.print_reproduction(run)


def audit(
    corpus: CorpusArgument,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            "--predictions",
            help="A CSV of clips or videos and their part or fold, or of a run's predictions; "
            "without it the split that `microx train` makes.",
        ),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Look for what stands on both sides of a split; exit with 1 where something does."""
    from microx.corpus.corpus import load_corpus
    from microx.experiments.leakage import audit_file, audit_split

    opened = load_corpus(corpus)
    with show_progress("auditing", "videos") as advance:
        if split is None:
            leaks, notes = audit_split(opened, seed=seed, progress=advance)
        else:
            leaks, notes = audit_file(opened, split, progress=advance)
    for note in notes:
        say("note", note)
    console.print_leaks(leaks)
    if leaks:
        raise typer.Exit(1)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of runs.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus folder, if it has moved, for example crops.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUN/report.html.")] = None,
    crops: Annotated[bool, typer.Option(help="Show example crops, which are faces.")] = True,
) -> None:
    """Write the report of runs: one HTML page that needs no network, and tables beside it."""
    from microx.corpus.corpus import load_corpus
    from microx.report.page import write_report

    if len(runs) > 1 and out is None:
        raise InputError("a report of several runs needs a place: --out PAGE.html")
    page = write_report(runs, load_corpus(corpus) if corpus else None, out, example_crops=crops)
    say("report", page.resolve())
