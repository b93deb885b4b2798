"""The command line: parsing and printing only; everything it does is a call of the library."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import microx
from microx.errors import InputError, MicroxError
from microx.schema import CLIP_FRAMES, CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE, REGIONS

if TYPE_CHECKING:
    import pandas as pd

    from microx.corpus import Corpus
    from microx.evaluation import EvaluationResult

app = typer.Typer(
    add_completion=False,
    help="From a folder of face videos to region clips, trained classifiers and an honest report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)


class Intensity(StrEnum):
    """How strongly drawn actors act."""

    macro = "macro"
    micro = "micro"


class Backend(StrEnum):
    """Who finds the landmarks."""

    dlib = "dlib"
    openface = "openface"
    csv = "csv"


class Policy(StrEnum):
    """How region boxes are chosen."""

    aligned = "aligned"
    paper = "paper"


class Preset(StrEnum):
    """Which network."""

    compact = "compact"
    paper = "paper"


class Protocol(StrEnum):
    """How subjects are divided."""

    holdout = "holdout"
    kfold = "kfold"
    loso = "loso"


class RegionSets(StrEnum):
    """Which rows an ablation has."""

    all = "all"
    paper = "paper"
    full = "full"


OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
SeedOption = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
WorkersOption = Annotated[int, typer.Option(help="Processes; -1: one per core.")]
PresetOption = Annotated[Preset, typer.Option("--model", help="The network.")]
ProtocolOption = Annotated[
    Protocol, typer.Option(help="People are never shared: one held-out group, k folds, or each.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option(help="At most, training stops early; default: the network's own.", min=1),
]
WeightsOption = Annotated[
    bool, typer.Option("--class-weights", help="Weigh rare emotions up in training.")
]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        console.print(f"microx {microx.__version__}")
        raise typer.Exit


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    subjects: Annotated[int, typer.Option(help="Actors to draw.", min=1)] = 12,
    takes: Annotated[int, typer.Option(help="Takes of each emotion by each actor.", min=1)] = 2,
    seed: SeedOption = 0,
    intensity: Annotated[Intensity, typer.Option(help="How strongly they act.")] = Intensity.macro,
    moving_regions: Annotated[
        str, typer.Option(help="Only these regions carry the emotion: mouth,left_eye,…")
    ] = "",
    mask: Annotated[bool, typer.Option("--mask", help="Everyone wears a surgical mask.")] = False,
    workers: WorkersOption = -1,
) -> None:
    """Draw videos of acted faces whose landmarks and emotions are known."""
    from microx.synthetic import draw_corpus

    with _progress("drawing", "takes") as advance:
        labels = draw_corpus(
            out,
            n_subjects=subjects,
            n_takes=takes,
            seed=seed,
            intensity=intensity.value,
            moving_regions=_names(moving_regions) or None,
            mask=mask,
            n_workers=workers,
            progress=advance,
        )
    _say("labels", labels)


@app.command()
def preprocess(
    videos: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of videos.")],
    out: Annotated[Path, typer.Option("--out", help="Corpus folder to write or continue.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV with path and emotion, and subject if known. Without it: "
            "INPUT/labels.csv, or else class sub-folders."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Another column name: --column emotion=Estimated. Repeatable."),
    ] = None,
    label_set: Annotated[
        str | None, typer.Option(help="Map spellings: microx7, ekman7, megc3 or a CSV.")
    ] = None,
    landmarks: Annotated[Backend, typer.Option(help="Who finds landmarks.")] = Backend.dlib,
    landmarks_dir: Annotated[
        Path | None, typer.Option(help="For csv: folder of OpenFace CSVs.")
    ] = None,
    openface: Annotated[
        Path | None, typer.Option(help="For openface: path of FeatureExtraction.")
    ] = None,
    regions: Annotated[str, typer.Option(help=f"Of {', '.join(REGIONS)}.")] = ",".join(
        DEFAULT_REGIONS
    ),
    size: Annotated[int, typer.Option(help="Pixels along a side of a crop.")] = CROP_SIZE,
    policy: Annotated[Policy, typer.Option(help="How boxes are chosen.")] = Policy.aligned,
    fps: Annotated[float, typer.Option(help="Frames a second, by time.")] = FRAME_RATE,
    workers: WorkersOption = -1,
) -> None:
    """Find the face in every frame and crop its regions: a corpus folder to train on."""
    from microx.corpus import build_corpus
    from microx.labels import read_labels

    if labels is None and (videos / "labels.csv").is_file():
        labels = videos / "labels.csv"
    labelled = read_labels(videos, labels, columns=_columns(column or []), label_set=label_set)
    _say("labels", labels or f"class sub-folders of {videos}")
    with _progress("preprocessing", "videos") as advance:
        corpus = build_corpus(
            labelled,
            out,
            landmarks=landmarks.value,
            regions=_names(regions),
            size=size,
            policy=policy.value,
            frame_rate=fps,
            landmarks_dir=landmarks_dir,
            openface=openface,
            n_workers=workers,
            progress=advance,
        )
    _print_ledger(corpus)
    if not (corpus.manifest["status"] == "done").any():
        raise InputError(f"{videos}: expected a video with a face; none could be used")


@app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: OutOption,
    regions: Annotated[str, typer.Option(help="Streams: mouth,face,… Default: all.")] = "",
    model: PresetOption = Preset.compact,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    class_weights: WeightsOption = False,
) -> None:
    """Train one model, leaving the test people untouched for `microx evaluate`."""
    from microx.corpus import load_corpus

    opened = load_corpus(corpus)
    _load_keras()
    from microx.training import train as train_model

    with _progress("training", "epochs") as advance:
        path = train_model(
            opened,
            out,
            regions=_names(regions) or opened.regions,
            preset=model.value,
            epochs=epochs,
            seed=seed,
            class_weight="balanced" if class_weights else None,
            progress=advance,
        )
    _say("model", path)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder that holds it.")],
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the predictions.")] = None,
) -> None:
    """Score a trained model on people it never saw."""
    from microx.corpus import load_corpus
    from microx.evaluation import evaluate_model
    from microx.experiments import results_table
    from microx.predict import find_model

    opened = load_corpus(corpus)
    _load_keras()
    path, note = find_model(model)
    if note:
        _say("note", note)
    result = evaluate_model(path, opened, out=out)
    results = results_table([result])
    _print_results(results)
    _print_cautions([result], results)
    if out is not None:
        _say("predictions", out)


@app.command()
def ablate(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: OutOption,
    regions: Annotated[
        RegionSets,
        typer.Option(help="all: one model on all streams; paper: its 7 rows; full: every subset."),
    ] = RegionSets.paper,
    protocol: ProtocolOption = Protocol.holdout,
    folds: Annotated[int, typer.Option(help="For kfold.", min=2)] = 5,
    model: PresetOption = Preset.compact,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Add a control row with shuffled labels."),
    ] = False,
    class_weights: WeightsOption = False,
) -> None:
    """Train and test with some regions only, compare them, and write the report."""
    from microx.corpus import load_corpus
    from microx.experiments import read_run, run_ablation
    from microx.report import write_report

    opened = load_corpus(corpus)
    _load_keras()
    with _progress("ablation", "epochs") as advance:
        results = run_ablation(
            opened,
            out,
            regions=regions.value,
            protocol=protocol.value,
            n_folds=folds,
            preset=model.value,
            epochs=epochs,
            seed=seed,
            shuffle_labels=shuffle_labels,
            class_weight="balanced" if class_weights else None,
            progress=advance,
        )
    page = write_report(out, corpus=opened)
    _print_results(results)
    _print_cautions(read_run(out)[1], results)
    _say("table", (out / "results.csv").resolve())
    _say("report", page.resolve())


@app.command()
def predict(
    video: Annotated[Path, typer.Argument(help="A video.")],
    model: Annotated[
        Path, typer.Option("--model", help="A .keras file, or the folder that holds it.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the CSV and PNG.")] = Path("."),
    landmarks: Annotated[
        Backend | None, typer.Option(help="dlib or openface; default: what the model learned from.")
    ] = None,
    openface: Annotated[
        Path | None, typer.Option(help="For openface: path of FeatureExtraction.")
    ] = None,
) -> None:
    """Say what a trained model sees in a video, over time."""
    from microx.predict import find_model, predict_video, write_prediction

    find_model(model)
    _load_keras()
    with _progress("looking", "frames") as advance:
        prediction = predict_video(
            video,
            model,
            landmarks=landmarks.value if landmarks else None,
            openface=openface,
            progress=advance,
        )
    table, picture = write_prediction(prediction, out)
    if prediction.note:
        _say("note", prediction.note)
    share = prediction.n_found / prediction.n_frames
    console.print(
        f"frames: {prediction.n_found} of {prediction.n_frames} with a face ({share:.0%}), "
        f"{prediction.n_clips} clips"
    )
    _say("emotion", prediction.emotion)
    for emotion, percentage in prediction.percentages.items():
        console.print(f"  {percentage:5.1f} %  {escape(emotion)}")
    _say("table", table)
    _say("time line", picture)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of an ablation.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus folder, if it has moved, for example crops.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUN/report.html.")] = None,
    crops: Annotated[bool, typer.Option(help="Show example crops, which are faces.")] = True,
) -> None:
    """Write the report of a finished ablation again: one HTML page that needs no network."""
    from microx.corpus import load_corpus
    from microx.report import write_report

    page = write_report(run, load_corpus(corpus) if corpus else None, out, example_crops=crops)
    _say("report", page.resolve())


def main() -> None:
    """Run the command line; a `MicroxError` becomes one line on stderr and exit code 1."""
    try:
        app()
    except MicroxError as error:
        print(f"microx: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # what Typer makes of Ctrl-C
            print("microx: stopped; the same command goes on from here", file=sys.stderr)
        raise


def _load_keras() -> None:
    """Import Keras without the greeting its TensorFlow backend writes, past every setting.

    TensorFlow also warns of tracing a function again, which a model a row is bound to do.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as greeting:
        os.dup2(greeting.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)  # the search for a GPU, and its complaints, come with the first use
        except BaseException:
            greeting.seek(0)
            os.write(stderr, greeting.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _progress(what: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar with the rate and the time left; yield the callback that moves it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {unit}/s" if speed else "", style="dim")

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[item]}"),
        console=console,
    )
    task = bar.add_task(what, total=None, item="")

    def advance(done: int, total: int, item: str) -> None:
        bar.start()  # not before there is something to show
        bar.update(task, completed=done, total=total, item=escape(item))

    try:
        yield advance
        bar.update(task, item="")
    finally:
        bar.stop()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _columns(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        name, equals, title = pair.partition("=")
        if not equals or not title:
            raise InputError(f"--column {pair!r}: expected NAME=TITLE, such as emotion=Estimated")
        columns[name.strip()] = title.strip()
    return columns


def _say(what: str, value: object) -> None:
    console.print(f"{what}: {escape(str(value))}", soft_wrap=True)


def _print_ledger(corpus: Corpus) -> None:
    """Print what became of every video and frame, and the clips there are."""
    manifest = corpus.manifest
    done = manifest[manifest["status"] == "done"]
    skipped = manifest[manifest["status"] != "done"]
    frames, found = int(manifest["n_frames"].sum()), int(manifest["n_found"].sum())
    console.print(f"\nvideos: {len(done)} done, {len(skipped)} skipped")
    for video in skipped.itertuples():
        console.print(f"  skipped {escape(f'{video.path}: {video.reason}')}", soft_wrap=True)
    for video in done[done["n_decoded"] < 0.9 * done["n_claimed"]].itertuples():
        cut_off = f"{video.n_decoded} of the {video.n_claimed} frames it claims could be decoded"
        console.print(f"  {escape(f'{video.path}: {cut_off}')}; is it whole?", soft_wrap=True)
    share = f" ({found / frames:.1%})" if frames else ""
    console.print(f"frames: {found} with a face{share}, {frames - found} without")
    every = corpus.clips(incomplete=True)
    whole = every[every["n_found"] == every["length"]]
    console.print(
        f"clips of {CLIP_FRAMES} frames: {len(whole)}; left out for a frame without a face: "
        f"{len(every) - len(whole)}"
    )
    table = Table(box=None, pad_edge=False)
    for title in ("emotion", "videos", "clips"):
        table.add_column(title, justify="left" if title == "emotion" else "right")
    for emotion in corpus.classes:
        n_videos, n_clips = ((frame["emotion"] == emotion).sum() for frame in (done, whole))
        table.add_row(escape(emotion), str(n_videos), str(n_clips))
    console.print(table)
    rare = done["emotion"].value_counts()
    if corpus.label_set == "file":
        for emotion in rare[(rare == 1) & (rare.median() > 2)].index:
            console.print(
                f"only one video shows {escape(repr(emotion))}: a slip of the pen? "
                "--label-set refuses spellings it does not know"
            )
    subjects = done["subject"].replace("", None).nunique()
    console.print(f"subjects: {subjects or 'none named, so people are told apart by video'}")
    _say("corpus", corpus.folder)


def _print_cautions(results: Sequence[EvaluationResult], table: pd.DataFrame) -> None:
    """Print what a reader must know before quoting the scores; the report says it, too."""
    from microx.cautions import find_cautions

    for caution in find_cautions(results, float(table["accuracy"].iloc[-1])):
        console.print(f"caution: {escape(caution)}", soft_wrap=True)


def _print_results(results: pd.DataFrame) -> None:
    """Print the scores, a row each, as the report gives them."""
    table = Table(box=None, pad_edge=False)
    titles = {
        "name": "regions",
        "n_test": "test clips",
        "accuracy": "accuracy",
        "uar": "UAR",
        "uf1": "UF1",
        "video_accuracy": "by video",
    }
    shown = [name for name in titles if name in results.columns]
    for name in shown:
        text = name == "name"
        table.add_column(titles[name], justify="left" if text else "right", no_wrap=text)
    for row in results.to_dict("records"):
        cells = [row[name] for name in shown]
        table.add_row(
            *(f"{cell:.3f}" if isinstance(cell, float) else escape(str(cell)) for cell in cells)
        )
    console.print(table)
