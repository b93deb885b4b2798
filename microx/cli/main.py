"""The command line: parsing only. What it does is in the library, what it says in `printing`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from microx._version import VERSION
from microx.cli import corpora, evidence, models, spotting
from microx.cli.console import console, print_findings, show_progress
from microx.cli.options import OpenFaceOption
from microx.cli.wording import say_options
from microx.errors import MicroxError

app = typer.Typer(
    add_completion=False,
    help="From a folder of face videos to region clips, trained classifiers and an honest report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# The others start again.
_GO_ON = ("synth", "preprocess", "ablate", "experiment", "inflation", "reproduce")


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        console.print(f"microx {VERSION}")
        raise typer.Exit


for command in (
    *(corpora.synth, corpora.check, corpora.labels, corpora.preprocess, corpora.inspect),
    *(models.train, models.evaluate, models.predict, models.meeting),
    *(models.explain, models.export),
    spotting.spot,
    *(evidence.audit, evidence.ablate, evidence.experiment, evidence.inflation),
    *(evidence.reproduce, evidence.report),
):
    app.command()(command)


@app.command()
def doctor(openface: OpenFaceOption = None) -> None:
    """Say what is installed and try every landmark backend on a drawn face."""
    from microx.cli.doctor import diagnose, is_well

    with show_progress("looking", "things") as advance:
        findings = diagnose(openface=openface, progress=advance)
    print_findings(findings)
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
        print(f"microx: {say_options(str(error))}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # what Typer makes of Ctrl-C
            command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
            goes_on = "; the same command goes on from here" if command in _GO_ON else ""
            print(f"microx: stopped{goes_on}", file=sys.stderr)
        raise
