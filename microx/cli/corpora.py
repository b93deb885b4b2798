"""Commands about corpora: draw, check, preprocess, inspect."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from microx.cli import console
from microx.cli.console import say, show_progress
from microx.cli.options import (
    Backend,
    DaskOption,
    Faces,
    InputFpsOption,
    Intensity,
    OccludeOption,
    OpenFaceOption,
    Policy,
    SeedOption,
    WorkersOption,
    read_columns,
    read_rate,
    split_names,
)
from microx.errors import InputError
from microx.schema import CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE, REGIONS


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
    habits: Annotated[
        bool,
        typer.Option(
            "--habits", help="Actors have looks that tell the emotion, another one for each actor."
        ),
    ] = False,
    workers: WorkersOption = -1,
) -> None:
    """Draw videos of acted faces whose landmarks and emotions are known."""
    from microx.simulation.corpus import draw_corpus

    with show_progress("drawing", "takes") as advance:
        labels = draw_corpus(
            out,
            n_subjects=subjects,
            n_takes=takes,
            seed=seed,
            intensity=intensity.value,
            moving_regions=split_names(moving_regions) or None,
            mask=mask,
            habits=habits,
            n_workers=workers,
            progress=advance,
        )
    say("labels", labels)


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
    from microx.corpus.check import find_oddities, scan_videos

    with show_progress("checking", "videos") as advance:
        table = scan_videos(
            videos,
            input_fps=input_fps,
            quick=quick,
            faces=faces,
            n_workers=workers,
            progress=advance,
        )
    console.print_scan(table, quick=quick, faces=faces)
    for oddity in find_oddities(videos, table["path"].tolist(), input_fps=input_fps):
        say("note", oddity)
    if (table["problem"] != "").any():
        raise typer.Exit(1)


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
    dask: DaskOption = None,
) -> None:
    """Find the face in every frame and crop its regions: a corpus folder to train on."""
    from microx.corpus.build import build_corpus
    from microx.labels.labels import read_labels

    frame_rate = read_rate(fps)
    labelled = read_labels(
        videos, labels, columns=read_columns(column or []), label_set=label_set, input_fps=input_fps
    )
    say("labels", labelled.source)
    with show_progress("preprocessing", "videos") as advance:
        corpus = build_corpus(
            labelled,
            out,
            landmarks=landmarks.value,
            faces=faces.value,
            regions=split_names(regions),
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
    console.print_ledger(corpus)
    console.print_labelling(labelled)
    if not (corpus.manifest["status"] == "done").any():
        raise InputError(f"{videos}: expected a video with a face; none could be used")
    say("look at it", f"microx inspect {shlex.quote(str(out))} --out FOLDER")
    say("corpus", corpus.folder)


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
    from microx.corpus.corpus import load_corpus
    from microx.corpus.quality import tabulate_videos

    opened = load_corpus(corpus)
    videos = tabulate_videos(opened, video or [])
    console.print_ledger(opened)
    console.print_videos(videos)
    say("content hash", opened.content_hash())
    if out is None:
        say("pictures", f"microx inspect {shlex.quote(str(corpus))} --out FOLDER")
        return
    from microx.corpus.inspect import write_inspection

    with show_progress("drawing", "pictures") as advance:
        page = write_inspection(opened, out, names=video or [], n_sheets=sheets, progress=advance)
    if not video and len(videos) > sheets:
        say("sheets", f"the {sheets} worst of {len(videos)} videos; --sheets {len(videos)} for all")
    say("page", page.resolve())
