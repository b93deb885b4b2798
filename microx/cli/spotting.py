"""The command that spots expressions in new videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from microx.cli import console
from microx.cli.console import say, show_progress
from microx.cli.options import InputFpsOption, OpenFaceOption, new_folder
from microx.cli.wording import say_options
from microx.errors import InputError, MicroxError
from microx.schema import Finder, OneFace, SpotKind


def spot(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO…", help="Videos, or folders of images.")
    ],
    kind: Annotated[
        SpotKind, typer.Option(help="micro: over in half a second; macro: longer.")
    ] = "both",
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for a CSV and PNG of each video.", callback=new_folder),
    ] = Path("."),
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Score from which a movement counts; higher: fewer false alarms. Default: 3.1.",
            min=1.5,
        ),
    ] = None,
    landmarks: Annotated[Finder, typer.Option(help="How landmarks are found.")] = "dlib",
    faces: Annotated[
        OneFace,
        typer.Option(
            help="main: the face seen the most; cropped: images that are face crops already."
        ),
    ] = "main",
    input_fps: InputFpsOption = None,
    openface: OpenFaceOption = None,
) -> None:
    """Spot when expressions begin, peak and end in videos, without any training."""
    from microx.spotting.spot import THRESHOLD
    from microx.spotting.video import spot_video

    stems = [video.stem for video in videos]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise InputError(
            f"two videos are named {twice[0]}, and their tables would be one; spot them with two "
            "commands, each with a --out of its own"
        )
    n_failed = 0
    with show_progress("spotting", "videos") as advance:
        for n_done, video in enumerate(videos, 1):
            try:
                found = spot_video(
                    video,
                    out,
                    kind=kind,
                    threshold=THRESHOLD if threshold is None else threshold,
                    landmarks=landmarks,
                    faces=faces,
                    input_fps=input_fps,
                    openface=openface,
                )
            except MicroxError as error:
                print(f"microx: {say_options(str(error))}", file=sys.stderr)
                n_failed += 1
            else:
                console.print_spots(found)
            advance(n_done, len(videos), video.name)
    if n_failed:
        say("videos", f"{len(videos) - n_failed} of {len(videos)} searched, {n_failed} failed")
        raise typer.Exit(1)
