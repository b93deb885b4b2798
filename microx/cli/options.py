"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from microx.errors import InputError
from microx.files import check_new_folder
from microx.schema import JOINED, Balance, Inputs, Preset, ProtocolKind

if TYPE_CHECKING:
    from microx.training.settings import FitOptions


class Intensity(StrEnum):
    """How strongly drawn actors act."""

    macro = "macro"
    micro = "micro"


class Backend(StrEnum):
    """How landmarks are found."""

    auto = "auto"
    dlib = "dlib"
    openface = "openface"
    csv = "csv"
    none = "none"


class Faces(StrEnum):
    """Which face is cropped."""

    main = "main"
    all = "all"
    cropped = "cropped"


class Policy(StrEnum):
    """How region boxes are chosen."""

    aligned = "aligned"
    paper = "paper"


class FrameNumbers(StrEnum):
    """How the frame numbers of a sheet count."""

    names = "names"
    from0 = "from0"
    from1 = "from1"
    onset = "onset"
    seconds = "seconds"


def new_folder(path: Path | None) -> Path | None:
    """Refuse what cannot be written to as options are read: before a library is loaded."""
    if path is not None:
        check_new_folder(path)
    return path


OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.", callback=new_folder)]
PredictionsOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the predictions.", callback=new_folder),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
WorkersOption = Annotated[int, typer.Option(help="Processes; -1: one per core.")]
InputFpsOption = Annotated[
    float | None,
    typer.Option(help="Folders of images are videos of so many frames a second."),
]
ClipsOption = Annotated[
    Path | None,
    typer.Option(
        help="For a --corpus of long recordings: folder that each expression's frames are linked "
        "into."
    ),
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
    str, typer.Option(help='Draw objects on the faces: "mask", "mask:0.5,sunglasses:0.2".')
]
PresetOption = Annotated[
    Preset, typer.Option("--model", help="The network, and its way of training.")
]
ProtocolOption = Annotated[
    ProtocolKind,
    typer.Option(
        help="Test part: one held-out group of subjects, k folds of them, each subject (loso), "
        "each corpus (loco), or as --split says (list). LEAKY, as published: clips, naive, "
        "clip-folds."
    ),
]
FoldsOption = Annotated[int, typer.Option(help="For kfold.", min=2)]
SplitOption = Annotated[
    Path | None,
    typer.Option(help="For list: a CSV of clips or videos and their part or fold."),
]
SeedsOption = Annotated[
    int, typer.Option(help="Trainings of each row; all test the same subjects.", min=1)
]
OracleOption = Annotated[
    bool,
    typer.Option(
        "--oracle", help="Tell what choosing the epoch on the test would have given: no result."
    ),
]
TensorBoardOption = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write logs: tensorboard --logdir FOLDER follows them."),
]
TrainersOption = Annotated[
    int, typer.Option("--workers", help="Processes that train; -1: one per core.")
]
DaskOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:8786, to work for it."),
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


def join_options(
    given: list[str] | None,
    epochs: int | None,
    inputs: Inputs | None,
    balance: Balance | None,
    augment: str | None,
    occlude: str,
) -> FitOptions:
    """Put settings that have an option of their own beside those of ``--set``."""
    from microx.training.settings import join_settings

    named = {
        "epochs": epochs,
        "inputs": inputs,
        "balance": balance,
        "augment": augment,
        "occlude": occlude or None,
    }
    told = {name: value for name, value in named.items() if value is not None}
    return cast("FitOptions", {**join_settings(given or []), **told})


def split_names(text: str) -> tuple[str, ...]:
    """Read names with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def split_regions(text: str) -> tuple[str, ...]:
    """Read regions, those of a joined stream by its name."""
    return tuple(region for name in split_names(text) for region in JOINED.get(name, (name,)))


def read_rate(text: str) -> float | None:
    """Read frames a second; None for native."""
    if text == "native":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--fps {text!r}: expected frames a second such as 30, or native"
        ) from None


def read_columns(pairs: list[str]) -> dict[str, str]:
    """Read NAME=TITLE pairs."""
    columns = {}
    for pair in pairs:
        name, equals, title = pair.partition("=")
        if not equals or not title:
            raise InputError(f"--column {pair!r}: expected NAME=TITLE, such as emotion=Estimated")
        columns[name.strip()] = title.strip()
    return columns
