"""Commands about one model: train it, test it, use it, export it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from microx.cli.console import (
    print_cautions,
    print_meeting,
    print_prediction,
    print_recordings,
    print_results,
    print_training,
    say,
    show_progress,
    warn,
)
from microx.cli.options import (
    AugmentOption,
    BalanceOption,
    EpochsOption,
    InputFpsOption,
    InputsOption,
    OccludeOption,
    OpenFaceOption,
    OutOption,
    PredictionsOption,
    PresetOption,
    SeedOption,
    SetOption,
    TensorBoardOption,
    WithoutOption,
    join_options,
    new_folder,
    split_names,
    split_regions,
)
from microx.schema import Finder, Format, OneFace
from microx.training.backend import load_keras
from microx.training.pretrained import PRETRAINED

ModelFileOption = Annotated[
    Path,
    typer.Option(
        "--model", help="A .keras file, or the folder that holds it; pretrained: microx's own."
    ),
]
AsTrainedOption = Annotated[
    Finder | None, typer.Option("--landmarks", help="Default: as in the model's training.")
]


def train(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: OutOption,
    regions: Annotated[
        str,
        typer.Option(
            help="Streams: mouth,face,… or joined: eyes,eyes+brows. Default: all; the face alone "
            "for presets of single images."
        ),
    ] = "",
    model: PresetOption = "compact",
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
    tensorboard: TensorBoardOption = False,
) -> None:
    """Train one model, leaving the test subjects unseen for `microx evaluate`."""
    import pandas as pd

    from microx.corpus.corpus import load_corpus

    opened = load_corpus(corpus)
    load_keras()
    from microx.training.fit import train as train_model

    with show_progress("training", "epochs") as advance:
        path = train_model(
            opened,
            out,
            regions=split_names(regions) or None,
            preset=model,
            seed=seed,
            start=start,
            tensorboard=tensorboard,
            progress=advance,
            warn=warn,
            **join_options(settings, epochs, inputs, balance, augment, occlude),
        )
    print_training(pd.read_csv(path.with_name("history.csv")))
    say("score it", f"microx evaluate {shlex.quote(str(out))} {shlex.quote(str(corpus))}")
    say("model", path)


def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder that holds it.")],
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: PredictionsOption = None,
    occlude: OccludeOption = "",
    without: WithoutOption = "",
) -> None:
    """Score a trained model on unseen subjects."""
    from microx.corpus.corpus import load_corpus
    from microx.evaluation.stored_model import evaluate_model
    from microx.evaluation.summary import results_table
    from microx.training.model_file import find_model

    opened = load_corpus(corpus)
    path, note = find_model(model)
    if note:
        say("note", note)
    load_keras()
    result = evaluate_model(
        path, opened, occlude=occlude or None, without=split_regions(without), out=out
    )
    rows = {result.name: (result,)}
    print_results(results_table(rows))
    print_cautions(rows)
    if out is not None:
        say("predictions", out)


def predict(
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", help="Videos and images, or folders that hold some."),
    ],
    model: ModelFileOption = Path(PRETRAINED),
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the CSVs and time lines.", callback=new_folder),
    ] = Path("."),
    annotate: Annotated[
        bool,
        typer.Option("--annotate", help="Write the video with boxes, labels and percentages, too."),
    ] = False,
    without: WithoutOption = "",
    landmarks: AsTrainedOption = None,
    faces: Annotated[
        OneFace | None,
        typer.Option(
            help="main: the face seen the most; cropped: images that are face crops already; "
            "default: as in the model's training."
        ),
    ] = None,
    input_fps: InputFpsOption = None,
    openface: OpenFaceOption = None,
) -> None:
    """Predict the emotions in videos over time, with microx's own network or a trained model."""
    from microx.inference.prediction import name_output
    from microx.inference.recordings import TABLE, list_recordings, predict_videos
    from microx.inference.video import VideoOptions, predict_video
    from microx.preprocessing.video import is_image

    options: VideoOptions = {
        "without": split_regions(without),
        "landmarks": landmarks,
        "faces": faces,
        "openface": openface,
        "annotate": annotate,
        "input_fps": input_fps,
    }
    places = list_recordings(videos, input_fps=input_fps)
    if len(places) > 1:
        with show_progress("predicting", "recordings") as advance:
            answers = predict_videos(videos, model, out=out, progress=advance, **options)
        if input_fps is None and all(map(is_image, places)):
            say("note", "each image is a recording; with --input-fps, a folder of them is a video")
        print_recordings(answers, list(places))
        say("table", out / TABLE)
        return
    (video,) = places
    with show_progress("looking", "frames") as advance:
        prediction = predict_video(video, model, out=out, progress=advance, **options)
    print_prediction(prediction)
    say("table", name_output(video, out, ".csv"))
    say("time line", name_output(video, out, ".png"))
    if annotate:
        say("annotated", name_output(video, out, ".mp4"))


def meeting(
    video: Annotated[Path, typer.Argument(help="A recording of one or more participants.")],
    out: OutOption,
    model: ModelFileOption = Path(PRETRAINED),
    participants: Annotated[
        int | None, typer.Option(help="How many are present, to hold the faces found against.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="CSV of face and name: participants.csv of an earlier --out, edited."),
    ] = None,
    without: WithoutOption = "",
    landmarks: AsTrainedOption = None,
    openface: OpenFaceOption = None,
) -> None:
    """Predict the emotions of everyone in a recording: shares of time, bands, one page."""
    from microx.inference.meeting import predict_meeting, write_meeting

    with show_progress("looking", "frames") as advance:
        found = predict_meeting(
            video,
            model,
            names=names,
            n_expected=participants,
            without=split_regions(without),
            landmarks=landmarks,
            openface=openface,
            progress=advance,
        )
    page = write_meeting(found, out)
    for caution in found.cautions:
        warn(caution)
    print_meeting(found)
    say("page", page)


def export(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder that holds it.")],
    to: Annotated[Format, typer.Option(help="onnx and tflite are extras; h5: the weights alone.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; beside the model by default.")
    ] = None,
) -> None:
    """Write a model in another format, checked number by number against Keras."""
    from microx.inference.export import export_model

    say("exported", export_model(model, to, out))


def explain(
    model: Annotated[
        Path, typer.Argument(help="A .keras file, or the folder that holds it, such as a run.")
    ],
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    video: Annotated[str, typer.Option(help="Id of a video of the corpus: see manifest.csv.")],
    out: OutOption,
    emotion: Annotated[
        str | None, typer.Option(help="Emotion to explain; default: the predicted one.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer whose filters are shown; default: the first.")
    ] = None,
) -> None:
    """Draw what a model's prediction for a video is based on, and what occlusion costs."""
    from microx.corpus.corpus import load_corpus
    from microx.training.model_file import find_model

    opened = load_corpus(corpus)
    path, note = find_model(model)
    if note:
        say("note", note)
    load_keras()
    from microx.explain.explain import write_explanation

    for image in write_explanation(path, opened, video, out, emotion=emotion, layer=layer):
        say("written", image)
