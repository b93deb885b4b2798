"""What the library calls an argument, the command line calls by an option that exists."""

import ast
from pathlib import Path

import pytest
from typer.main import get_command

from microx.cli.main import app
from microx.cli.wording import OPTION_OF, say_options

TELL_COMMANDS = {"formats.py", "micro.py"}
"""Of the labels: they say which command a corpus as downloaded needs."""

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


@pytest.mark.parametrize("room", ["corpus", "labels"])
def test_the_library_names_no_option(room):
    for path in (SOURCES / room).glob("*.py"):
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
                assert node in docstrings or "--" not in node.value, f"{path}: {node.value}"
