"""The command line: parsing only. What it does is in the library, what it says in `printing`."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

import microx
from microx import printing
from microx.errors import InputError, MicroxError
from microx.printing import console, say, show_progress
from microx.schema import CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE, JOINED, REGIONS

app = typer.Typer(
    add_completion=False,
    help="From a folder of face videos to region clips, trained classifiers and an honest report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Intensity(StrEnum):
    """How strongly drawn actors act."""

    macro = "macro"
    micro = "micro"


class Backend(StrEnum):
    """Who finds the landmarks."""

    dlib = "dlib"
    openface = "openface"
    csv = "csv"


class Faces(StrEnum):
    """Whose face is cropped."""

    main = "main"
    all = "all"
    cropped = "cropped"


class Finder(StrEnum):
    """Who finds the landmarks of a new video."""

    dlib = "dlib"
    openface = "openface"


class OneFace(StrEnum):
    """Whose face a prediction is about."""

    main = "main"
    cropped = "cropped"


class Policy(StrEnum):
    """How region boxes are chosen."""

    aligned = "aligned"
    paper = "paper"


class Preset(StrEnum):
    """Which network, and its way of training."""

    compact = "compact"
    paper = "paper"
    fer_cnn = "fer_cnn"
    apex_dcnn = "apex_dcnn"
    cnn6 = "cnn6"
    cnn1 = "cnn1"
    cnn2 = "cnn2"
    resnet18 = "resnet18"


class Inputs(StrEnum):
    """Which kind of pixels."""

    rgb = "rgb"
    grey = "grey"
    difference = "difference"
    flow = "flow"


class Balance(StrEnum):
    """What is done for rare emotions."""

    none = "none"
    weights = "weights"
    sampling = "sampling"


class Format(StrEnum):
    """To which format a model is exported."""

    onnx = "onnx"
    tflite = "tflite"
    h5 = "h5"


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


_GO_ON = ("synth", "preprocess", "ablate")  # the others begin anew

OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
SeedOption = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
WorkersOption = Annotated[int, typer.Option(help="Processes; -1: one per core.")]
InputFpsOption = Annotated[
    float | None,
    typer.Option(help="Folders of images are videos of so many frames a second."),
]
OpenFaceOption = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="For openface: the path of FeatureExtraction, or a command such as "
        '"docker run … FeatureExtraction".',
    ),
]
OccludeOption = Annotated[
    str, typer.Option(help='Put drawn things on the faces: "mask", "mask:0.5,sunglasses:0.2".')
]
PresetOption = Annotated[
    Preset, typer.Option("--model", help="The network, and its way of training.")
]
ProtocolOption = Annotated[
    Protocol, typer.Option(help="People are never shared: one held-out group, k folds, or each.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option(help="At most, training stops early; default: the network's own.", min=1),
]
InputsOption = Annotated[
    Inputs | None,
    typer.Option(help="Kind of pixels; difference and flow: against the clip's first frame."),
]
BalanceOption = Annotated[
    Balance | None, typer.Option(help="For rare emotions: weigh them up, or draw them more often.")
]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        help='Change training clips at random: "flip,crop:0.1,rotate:10,blur:1,brightness:0.2,'
        'erase:0.5"; "" for none.'
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting, see docs/models.md: frames (all, apex, onset-apex-offset, onset|apex), "
        "n_frames, stride, tail, reference, batch_size, optimizer, learning_rate, schedule, "
        "label_smoothing, auxiliary, region_dropout, patience, precision; build.NAME=VALUE for the "
        "network's own. Repeatable.",
    ),
]
WithoutOption = Annotated[
    str, typer.Option(help="Regions that are hidden or missing, for models that can do without.")
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
    mask: Annotated[bool, typer.Option("--mask", help="Everyone wears a mask.")] = False,
    workers: WorkersOption = -1,
) -> None:
    """Draw videos of acted faces whose landmarks and emotions are known."""
    from microx.synthetic import draw_corpus

    with show_progress("drawing", "takes") as advance:
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
    say("labels", labels)


@app.command()
def check(
    videos: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of videos.")],
    input_fps: InputFpsOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Decode only the first second of each.")
    ] = False,
    faces: Annotated[
        bool, typer.Option("--faces", help="Look for a face in five frames of each.")
    ] = False,
    workers: WorkersOption = -1,
) -> None:
    """Look through a folder before a long run: what opens, what decodes, what is odd."""
    from microx.scan import find_oddities, scan_videos

    with show_progress("checking", "videos") as advance:
        table = scan_videos(
            videos,
            input_fps=input_fps,
            quick=quick,
            faces=faces,
            n_workers=workers,
            progress=advance,
        )
    printing.print_scan(table, quick=quick, faces=faces)
    for oddity in find_oddities(videos, table["path"].tolist(), input_fps=input_fps):
        say("note", oddity)
    if (table["problem"] != "").any():
        raise typer.Exit(1)


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
        str | None,
        typer.Option(
            help="Map spellings to the classes of microx7 (neutral, anger, contempt, surprise, "
            "fear, happy, sad; disgust is contempt there), ekman7 (with disgust instead), megc3 "
            "(negative, positive, surprise), or a CSV."
        ),
    ] = None,
    landmarks: Annotated[Backend, typer.Option(help="Who finds landmarks.")] = Backend.dlib,
    landmarks_dir: Annotated[
        Path | None, typer.Option(help="For csv: folder of OpenFace CSVs.")
    ] = None,
    openface: OpenFaceOption = None,
    timeout: Annotated[
        float | None, typer.Option(help="For openface: seconds it may take for a video.", min=1)
    ] = None,
    faces: Annotated[
        Faces,
        typer.Option(
            help="main: the person seen the most; all: every person; cropped: pictures cut "
            "about a face already."
        ),
    ] = Faces.main,
    regions: Annotated[str, typer.Option(help=f"Of {', '.join(REGIONS)}.")] = ",".join(
        DEFAULT_REGIONS
    ),
    size: Annotated[int, typer.Option(help="Pixels along a side of a crop.")] = CROP_SIZE,
    policy: Annotated[Policy, typer.Option(help="How boxes are chosen.")] = Policy.aligned,
    fps: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|native",
            help="Frames a second, taken by time; native: every frame at its own time.",
        ),
    ] = f"{FRAME_RATE:g}",
    input_fps: InputFpsOption = None,
    max_gap: Annotated[
        int | None,
        typer.Option(help="Fill gaps of so many frames without a face, 0: none; default: 5."),
    ] = None,
    occlude: OccludeOption = "",
    seed: Annotated[
        int, typer.Option(help="For --occlude: what is put on which videos.", min=0)
    ] = 0,
    workers: WorkersOption = -1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:8786, to work for it."),
    ] = None,
) -> None:
    """Find the face in every frame and crop its regions: a corpus folder to train on."""
    from microx.building import build_corpus
    from microx.labels import read_labels

    frame_rate = _rate(fps)
    if labels is None and (videos / "labels.csv").is_file():
        labels = videos / "labels.csv"
    labelled = read_labels(
        videos, labels, columns=_columns(column or []), label_set=label_set, input_fps=input_fps
    )
    say("labels", labels or f"class sub-folders of {videos}")
    with show_progress("preprocessing", "videos") as advance:
        corpus = build_corpus(
            labelled,
            out,
            landmarks=landmarks.value,
            faces=faces.value,
            regions=_names(regions),
            size=size,
            policy=policy.value,
            frame_rate=frame_rate,
            occlude=occlude,
            occlude_seed=seed,
            **({} if max_gap is None else {"max_gap": max_gap}),
            landmarks_dir=landmarks_dir,
            openface=openface,
            timeout_s=timeout,
            n_workers=workers,
            dask=dask,
            progress=advance,
        )
    printing.print_ledger(corpus)
    printing.print_labelling(labelled)
    if not (corpus.manifest["status"] == "done").any():
        raise InputError(f"{videos}: expected a video with a face; none could be used")
    say("look at it", f"microx inspect {shlex.quote(str(out))} --out FOLDER")
    say("corpus", corpus.folder)


@app.command()
def inspect(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for a page and sheets of crops, which are faces."),
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Only this video, by id or path. Repeatable.")
    ] = None,
    sheets: Annotated[
        int, typer.Option(help="Videos to draw a sheet of, the worst first.", min=0)
    ] = 24,
) -> None:
    """Look into a corpus: counts, the most doubtful videos, and pictures of their crops."""
    from microx.corpus import load_corpus
    from microx.ledger import tabulate_videos

    opened = load_corpus(corpus)
    videos = tabulate_videos(opened, video or [])
    printing.print_ledger(opened)
    printing.print_videos(videos)
    say("content hash", opened.content_hash())
    if out is None:
        say("pictures", f"microx inspect {shlex.quote(str(corpus))} --out FOLDER")
        return
    from microx.inspection import write_inspection

    with show_progress("drawing", "pictures") as advance:
        page = write_inspection(opened, out, names=video or [], n_sheets=sheets, progress=advance)
    if not video and len(videos) > sheets:
        say("sheets", f"the {sheets} worst of {len(videos)} videos; --sheets {len(videos)} for all")
    say("page", page.resolve())


@app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: OutOption,
    regions: Annotated[
        str,
        typer.Option(
            help="Streams: mouth,face,… or joined: eyes,eyes+brows. Default: all; the face alone "
            "for presets of single pictures."
        ),
    ] = "",
    model: PresetOption = Preset.compact,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    inputs: InputsOption = None,
    balance: BalanceOption = None,
    augment: AugmentOption = None,
    occlude: OccludeOption = "",
    settings: SetOption = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            metavar="MODEL",
            help="Go on from a model or its .weights.h5; give the same options as for that one.",
        ),
    ] = None,
) -> None:
    """Train one model, leaving the test people untouched for `microx evaluate`."""
    from microx.corpus import load_corpus

    opened = load_corpus(corpus)
    _load_keras()
    from microx.training import train as train_model

    with show_progress("training", "epochs") as advance:
        path = train_model(
            opened,
            out,
            regions=_names(regions) or None,
            preset=model.value,
            seed=seed,
            start=start,
            progress=advance,
            **_settings(settings, epochs, inputs, balance, augment, occlude),
        )
    say("model", path)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder that holds it.")],
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the predictions.")] = None,
    occlude: OccludeOption = "",
    without: WithoutOption = "",
) -> None:
    """Score a trained model on people it never saw."""
    from microx.corpus import load_corpus
    from microx.evaluation import evaluate_model
    from microx.experiments import results_table
    from microx.modelfiles import find_model

    opened = load_corpus(corpus)
    _load_keras()
    path, note = find_model(model)
    if note:
        say("note", note)
    result = evaluate_model(
        path, opened, occlude=occlude or None, without=_regions(without), out=out
    )
    results = results_table([result])
    printing.print_results(results)
    printing.print_cautions([result], results)
    if out is not None:
        say("predictions", out)


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
    inputs: InputsOption = None,
    balance: BalanceOption = None,
    augment: AugmentOption = None,
    occlude: OccludeOption = "",
    settings: SetOption = None,
) -> None:
    """Train and test with some regions only, compare them, and write the report."""
    from microx.corpus import load_corpus
    from microx.experiments import read_run, run_ablation
    from microx.report import write_report

    opened = load_corpus(corpus)
    _load_keras()
    with show_progress("ablation", "epochs") as advance:
        results = run_ablation(
            opened,
            out,
            regions=regions.value,
            protocol=protocol.value,
            n_folds=folds,
            preset=model.value,
            seed=seed,
            shuffle_labels=shuffle_labels,
            progress=advance,
            **_settings(settings, epochs, inputs, balance, augment, occlude),
        )
    page = write_report(out, corpus=opened)
    printing.print_results(results)
    printing.print_cautions(read_run(out)[1], results)
    say("table", (out / "results.csv").resolve())
    say("report", page.resolve())


@app.command()
def predict(
    video: Annotated[Path, typer.Argument(help="A video, or a folder of images.")],
    model: Annotated[
        Path, typer.Option("--model", help="A .keras file, or the folder that holds it.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the CSV and PNG.")] = Path("."),
    without: WithoutOption = "",
    landmarks: Annotated[
        Finder | None, typer.Option(help="Default: what the model learned from.")
    ] = None,
    faces: Annotated[
        OneFace | None,
        typer.Option(
            help="main: the person seen the most; cropped: pictures cut about a face already; "
            "default: what the model learned from."
        ),
    ] = None,
    input_fps: InputFpsOption = None,
    openface: OpenFaceOption = None,
) -> None:
    """Say what a trained model sees in a video, over time."""
    from microx.modelfiles import find_model
    from microx.predict import predict_video, write_prediction

    find_model(model)
    _load_keras()
    with show_progress("looking", "frames") as advance:
        prediction = predict_video(
            video,
            model,
            without=_regions(without),
            landmarks=landmarks.value if landmarks else None,
            faces=faces.value if faces else None,
            input_fps=input_fps,
            openface=openface,
            progress=advance,
        )
    table, picture = write_prediction(prediction, out)
    if prediction.note:
        say("note", prediction.note)
    share = prediction.n_found / prediction.n_frames
    console.print(
        f"frames: {prediction.n_found} of {prediction.n_frames} with a face ({share:.0%}), "
        f"{prediction.n_clips} clips"
    )
    say("emotion", prediction.emotion)
    for emotion, percentage in prediction.percentages.items():
        console.print(f"  {percentage:5.1f} %  {escape(emotion)}")
    if prediction.streams:
        weights = prediction.mean_weights.items()
        say("seen in", ", ".join(f"{stream} {weight:.0%}" for stream, weight in weights))
    say("table", table)
    say("time line", picture)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder that holds it.")],
    to: Annotated[Format, typer.Option(help="onnx and tflite are extras; h5: the weights alone.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; beside the model by default.")
    ] = None,
) -> None:
    """Write a model in another format, checked number by number against Keras."""
    from microx.modelfiles import find_model

    find_model(model)
    _load_keras()
    from microx.export import export_model

    say("exported", export_model(model, to.value, out))


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
    say("report", page.resolve())


@app.command()
def doctor(openface: OpenFaceOption = None) -> None:
    """Say what is installed and try every landmark backend on a drawn face."""
    from microx.doctor import diagnose, is_well

    with show_progress("looking", "things") as advance:
        findings = diagnose(openface=openface, progress=advance)
    printing.print_findings(findings)
    if not is_well(findings):
        console.print("\nmicrox does not work here: the default landmarks find no face")
        raise typer.Exit(1)
    if openface is not None and not is_well(findings, "openface"):
        console.print("\nthe default landmarks work here, but the OpenFace that was named does not")
        raise typer.Exit(1)
    console.print("\nmicrox works here: the default landmarks find a drawn face")


def main() -> None:
    """Run the command line; a `MicroxError` becomes one line on stderr and exit code 1."""
    try:
        app()
    except MicroxError as error:
        print(f"microx: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # what Typer makes of Ctrl-C
            command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
            goes_on = "; the same command goes on from here" if command in _GO_ON else ""
            print(f"microx: stopped{goes_on}", file=sys.stderr)
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


def _settings(
    given: list[str] | None,
    epochs: int | None,
    inputs: Inputs | None,
    balance: Balance | None,
    augment: str | None,
    occlude: str,
) -> dict[str, Any]:
    from microx.settings import join_settings

    named = {
        "epochs": epochs,
        "inputs": inputs.value if inputs else None,
        "balance": balance.value if balance else None,
        "augment": augment,
        "occlude": occlude or None,
    }
    return join_settings(given or []) | {
        name: value for name, value in named.items() if value is not None
    }


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _regions(text: str) -> tuple[str, ...]:
    return tuple(region for name in _names(text) for region in JOINED.get(name, (name,)))


def _rate(text: str) -> float | None:
    if text == "native":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--fps {text!r}: expected frames a second such as 30, or native"
        ) from None


def _columns(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        name, equals, title = pair.partition("=")
        if not equals or not title:
            raise InputError(f"--column {pair!r}: expected NAME=TITLE, such as emotion=Estimated")
        columns[name.strip()] = title.strip()
    return columns
