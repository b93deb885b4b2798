"""Every public name is documented, and so is every command of the command line."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from typer.main import get_command

import microx
from microx.cli.main import app

README = Path(__file__).parents[1] / "README.md"


def _modules():
    yield "microx"
    for info in pkgutil.walk_packages(microx.__path__, "microx."):
        if not info.name.endswith("__main__"):
            yield info.name


@pytest.mark.parametrize("name", sorted(_modules()))
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for attribute, value in vars(module).items():
        ours = getattr(value, "__module__", None) == name
        if attribute.startswith("_") or not ours or not callable(value):
            continue
        assert inspect.getdoc(value), f"{name}.{attribute} has no docstring"
        if inspect.isclass(value):
            for member, function in vars(value).items():
                public = not member.startswith("_") and inspect.isfunction(function)
                assert not public or function.__doc__, f"{name}.{attribute}.{member}"


@pytest.mark.parametrize("room", ["training", "evaluation", "experiments", "inference", "report"])
def test_public_functions_take_no_argument_of_any_name(room):
    """A type checker must see every argument: ``**changes`` is a dict of known names."""
    package = importlib.import_module(f"microx.{room}")
    for info in pkgutil.iter_modules(package.__path__, f"microx.{room}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(value):
                continue
            for argument in inspect.signature(value).parameters.values():
                is_any = argument.kind is argument.VAR_KEYWORD and argument.annotation == "Any"
                assert not is_any, f"{info.name}.{name}: **{argument.name}: Any"


def test_public_names_are_those_listed():
    assert sorted(microx.__all__) == dir(microx)
    for name in microx.__all__:
        assert getattr(microx, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        microx.nonsense  # noqa: B018


def test_readme_names_every_public_name_and_command():
    text = README.read_text(encoding="utf-8")
    commands = get_command(app).commands
    missing = [name for name in commands if f"microx {name}" not in text]
    missing += [name for name in microx.__all__ if name != "__version__" and name not in text]
    assert not missing


@pytest.mark.parametrize("command", sorted(get_command(app).commands))
def test_every_command_and_option_has_help(command):
    found = get_command(app).commands[command]
    assert found.help
    for parameter in found.params:
        assert getattr(parameter, "help", None), f"microx {command}: {parameter.name} has no help"
