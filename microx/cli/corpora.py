"""Commands about corpora: draw, check, labels, preprocess, inspect."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from microx.cli import console
from microx.cli.console import say, show_progress
from microx.cli.options import (
    Backend,
    ClipsOption,
    DaskOption,
    Faces,
    FrameNumbers,
    InputFpsOption,
    Intensity,
    OccludeOption,
    OpenFaceOption,
    Policy,
    SeedOption,
    WorkersOption,
    new_folder,
    read_columns,
    read_rate,
    split_names,
)
from microx.errors import InputError
from microx.schema import CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE, REGIONS

CORPUS_NAMES = (
    *("baum1s", "baum1a", "baum2", "ravdess", "cremad", "enterface", "afew", "dfew", "casme2"),
    *("samm", "samm_lv", "smic_hs", "casme_squared", "casme3", "mmew", "meview", "megc2019"),
    *("fer2013", "ferplus", "rafdb", "ckplus", "jaffe"),
)
"""The keys of `microx.labels.corpora.CORPORA`, for the help, which loads no library."""


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    subjects: Annotated[int, typer.Option(help="Actors to draw.", min=1)] = 12,
    takes: Annotated[int, typer.Option(help="Takes of each emotion by each actor.", min=1)] = 2,
    seed: SeedOption = 0,
    intensity: Annotated[Intensity, typer.Option(help="How strongly they act.")] = Intensity.macro,
    moving_regions: Annotated[
        str, typer.Option(help="Only these regions carry the emotion: mouth,left_eye,…")
    ] = "",
    mask: Annotated[bool, typer.Option("--mask", help="Every actor wears a mask.")] = False,
    confounds: Annotated[
        bool,
        typer.Option(
            "--confounds", help="Each actor has looks that reveal the emotion, for that actor only."
        ),
    ] = False,
    long: Annotated[
        bool,
        typer.Option(
            "--long", help="One long video of each actor, with intervals.csv, for spotting."
        ),
    ] = False,
    seconds: Annotated[float, typer.Option(help="For --long: of each video.", min=8)] = 60.0,
    workers: WorkersOption = -1,
) -> None:
    """Draw videos of acted faces whose landmarks and emotions are known."""
    from microx.simulation.corpus import draw_corpus
    from microx.simulation.long_videos import draw_spotting_corpus

    if long:
        if moving_regions or mask or confounds or takes != 2 or intensity != Intensity.macro:
            raise InputError(
                "--long draws one video of each actor, with expressions of both kinds; leave out "
                "--takes, --intensity, --moving-regions, --mask and --confounds"
            )
        with show_progress("drawing", "videos") as advance:
            labels = draw_spotting_corpus(
                out,
                n_subjects=subjects,
                seconds=seconds,
                seed=seed,
                n_workers=workers,
                progress=advance,
            )
        say("intervals", labels.with_name("intervals.csv"))
        say("labels", labels)
        return
    with show_progress("drawing", "takes") as advance:
        labels = draw_corpus(
            out,
            n_subjects=subjects,
            n_takes=takes,
            seed=seed,
            intensity=intensity.value,
            moving_regions=split_names(moving_regions) or None,
            mask=mask,
            confounds=confounds,
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


def labels(
    corpus: Annotated[str, typer.Argument(help=f"One of {', '.join(CORPUS_NAMES)}.")],
    folder: Annotated[Path, typer.Argument(help="The corpus as downloaded and unpacked.")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Its coding sheet, if it does not lie in FOLDER.")
    ] = None,
    label_set: Annotated[
        str | None, typer.Option(help="As for preprocess; default: the corpus's own.")
    ] = None,
    clips: ClipsOption = None,
) -> None:
    """Write the labels of a known corpus, and say what was expected, found and left out."""
    from microx.labels.corpora import find_corpus
    from microx.labels.labels import read_labels, write_labels

    form = find_corpus(corpus)
    found = read_labels(folder, sheet, corpus=corpus, label_set=label_set, clips=clips)
    console.print_reading(found)
    console.print_left_out(found)
    say("licence", f"{form.licence}; from {form.ask}")
    say("protocol", f"{form.protocol}; may be compared with: {form.compare}")
    write_labels(found, out, form)
    say("labels", out)
    settings = form.describe_settings()
    if found.label_set != "file":
        settings = settings.partition(" --label-set")[0] + f" --label-set {found.label_set}"
    command = f"microx preprocess {shlex.quote(str(found.root))} --labels {shlex.quote(str(out))}"
    say("go on", f"{command} {settings} --out CORPUS")
    if form.parts:
        say("own split", f"microx ablate CORPUS --protocol list --split {shlex.quote(str(out))} …")


def preprocess(
    videos: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of videos.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="Corpus folder to write or continue.", callback=new_folder),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV or sheet with path and emotion, and subject if known. Without it: "
            "INPUT/labels.csv, or else class sub-folders."
        ),
    ] = None,
    corpus_name: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            metavar="NAME",
            help="INPUT is this corpus as downloaded, --labels its coding sheet if that lies "
            "elsewhere; rates, --faces and --label-set come with it. See microx labels --help.",
        ),
    ] = None,
    frame_numbers: Annotated[
        FrameNumbers | None,
        typer.Option(
            help="How onset, apex and offset count: by the numbers in the names of image files, "
            "from 0, from 1, from the onset, in seconds. Default: what fits."
        ),
    ] = None,
    clips: ClipsOption = None,
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
    landmarks: Annotated[
        Backend,
        typer.Option(
            help="How landmarks are found; none: face crops are taken whole, for the face alone. "
            "Default (auto): dlib, or none where that does."
        ),
    ] = Backend.auto,
    landmarks_dir: Annotated[
        Path | None, typer.Option(help="For csv: folder of OpenFace CSVs.")
    ] = None,
    openface: OpenFaceOption = None,
    timeout: Annotated[
        float | None, typer.Option(help="For openface: seconds it may take for a video.", min=1)
    ] = None,
    faces: Annotated[
        Faces | None,
        typer.Option(
            help="main: the face seen the most; all: every face; cropped: images that are "
            "face crops already. Default: main, or the corpus's own.",
        ),
    ] = None,
    regions: Annotated[str, typer.Option(help=f"Of {', '.join(REGIONS)}.")] = ",".join(
        DEFAULT_REGIONS
    ),
    size: Annotated[int, typer.Option(help="Pixels along a side of a crop.")] = CROP_SIZE,
    policy: Annotated[Policy, typer.Option(help="How boxes are chosen.")] = Policy.aligned,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|native",
            help="Frames a second, taken by time; native: every frame at its own time. Default: "
            f"{FRAME_RATE:g}, or the corpus's own.",
        ),
    ] = None,
    input_fps: InputFpsOption = None,
    min_face: Annotated[
        float | None,
        typer.Option(
            help="Least pixels between a face's outer eye corners; smaller faces are counted, not "
            "cropped; 0: crop all; default: 12.",
        ),
    ] = None,
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
    from microx.labels.corpora import find_corpus
    from microx.labels.labels import read_labels

    form = find_corpus(corpus_name) if corpus_name else None
    frame_rate = read_rate(fps) if fps else form.frame_rate if form else FRAME_RATE
    whose = faces.value if faces else form.faces if form else Faces.main.value
    if form is not None and form.many and clips is None:
        clips = out.with_name(f"{out.name}_clips")
    labelled = read_labels(
        videos,
        labels,
        columns=read_columns(column or []),
        label_set=label_set,
        input_fps=input_fps,
        corpus=corpus_name,
        frame_numbers=frame_numbers.value if frame_numbers else None,
        clips=clips,
    )
    console.print_reading(labelled)
    if form is not None:
        say("settings of the corpus, unless others are given", form.describe_settings())
    say("labels", labelled.source)
    with show_progress("preprocessing", "videos") as advance:
        corpus = build_corpus(
            labelled,
            out,
            landmarks=landmarks.value,
            faces=whose,
            regions=split_names(regions),
            size=size,
            policy=policy.value,
            frame_rate=frame_rate,
            occlude=occlude,
            occlude_seed=seed,
            **({} if min_face is None else {"min_face": min_face}),
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
        typer.Option(
            "--out",
            help="Folder for a page and sheets of crops, which are faces.",
            callback=new_folder,
        ),
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Only this video, by id or path. Repeatable.")
    ] = None,
    sheets: Annotated[
        int, typer.Option(help="Videos to draw a sheet of, the worst first.", min=0)
    ] = 24,
) -> None:
    """Look into a corpus: counts, the most doubtful videos, and contact sheets of their crops."""
    from microx.corpus.corpus import load_corpus
    from microx.corpus.quality import tabulate_videos

    opened = load_corpus(corpus)
    videos = tabulate_videos(opened, video or [])
    console.print_ledger(opened)
    console.print_videos(videos)
    say("content hash", opened.content_hash())
    if out is None:
        say("images", f"microx inspect {shlex.quote(str(corpus))} --out FOLDER")
        return
    from microx.corpus.inspect import write_inspection

    with show_progress("drawing", "images") as advance:
        page = write_inspection(opened, out, names=video or [], n_sheets=sheets, progress=advance)
    if not video and len(videos) > sheets:
        say("sheets", f"the {sheets} worst of {len(videos)} videos; --sheets {len(videos)} for all")
    say("page", page.resolve())
