"""What the library calls an argument, the command line calls by an option that exists."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from microx.cli.main import app
from microx.cli.wording import OPTION_OF, say_options
from microx.report import protocol

TELL_COMMANDS = {"formats.py", "micro.py"}
"""Of the labels: they say which command a corpus as downloaded needs."""

SHELL_WORDS = {
    *protocol._OPTION_OF.values(),
    *protocol._FLAG_OF.values(),
    "--out",
    "--set=",
    "--set=build.",
}
"""Of the command that a report tells."""

SOURCES = Path(__file__).parents[3] / "microx"


def test_every_option_exists():
    known = {
        option
        for command in get_command(app).commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert {option.split()[0] for option in OPTION_OF.values()} <= known


def test_other_words_in_backticks_stay():
    assert say_options("`microx train` and `nonsense=1`") == "`microx train` and `nonsense=1`"


def test_a_report_tells_the_same_options():
    told = {**protocol._OPTION_OF, **protocol._FLAG_OF}
    assert {name: OPTION_OF.get(name) for name in told} == told


def _room(path: Path) -> str:
    return path.relative_to(SOURCES).parts[0]


ROOMS = sorted({_room(path) for path in SOURCES.glob("*/**/*.py")} - {"cli"})


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_the_library_names_no_option(room):
    for path in (SOURCES / room).rglob("*.py") if room else SOURCES.glob("*.py"):
        if path.name in TELL_COMMANDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                is_option = node.value in SHELL_WORDS or re.search(r"--[a-z]", node.value) is None
                assert node in docstrings or is_option, f"{path}: {node.value}"
