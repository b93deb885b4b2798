"""A model's file: the network, its weights, and the facts needed to use it again.

A stored model is a ``.keras`` file with one more member in its zip, ``microx.json``: its
classes, regions and crop recipe, and the subjects it must not be tested on. Weights alone are
HDF5, as the authors of MicroX stored theirs. Nothing in a file is executed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from microx._version import VERSION
from microx.errors import InputError, ModelError
from microx.files import say_absence, whole_file
from microx.training.backend import load_keras
from microx.training.facts import NEEDED, FitFacts
from microx.training.pretrained import ABOUT, PRETRAINED, find_pretrained

_FACTS_MEMBER, _WEIGHTS_MEMBER = "microx.json", "model.weights.h5"

_WEIGHTS_ENDING = ".weights.h5"  # Keras insists on it

_DECIDING = ("classes", "regions", "streams", "inputs", "size", "n_frames")

# Keras packs without compression; a file that grows beyond this is refused (our choice).
_MOST_UNPACKED, _MOST_GROWTH = 2**28, 20


def find_model(path: str | Path) -> tuple[Path, str]:
    """Find the model file that a path means.

    A file is itself. In a run folder it is the first fold of the row with the most regions
    whose labels were not shuffled; in any other folder, the only model or the first fold.

    Parameters
    ----------
    path : path
        A ``.keras`` file, a folder that holds some, or a run folder; or the word "pretrained",
        the network that microx ships.

    Returns
    -------
    model : Path
    note : str
        Which one was chosen, if there were several; else empty.

    Raises
    ------
    ModelError
        If there is none, or several without a rule to choose one; the choices are named.

    Examples
    --------
    >>> path, note = find_model("RUN")
    >>> path.as_posix(), note
    ('RUN/rows/mouth+face/seed_0/fold_0/model.keras', '')
    """
    if str(path) == PRETRAINED:
        return find_pretrained(), ABOUT
    path = Path(path)
    if path.is_file():
        return path, ""
    if not path.is_dir():
        raise ModelError(
            f"{path}: expected a .keras file or a folder that holds one; found "
            f"{say_absence(path)}; "
            f"`microx train` and `microx ablate` write some"
        )
    models = sorted(path.glob("[!.]*.keras"))
    # A run holds a folder for each row, seed and fold; see `microx.experiments.run`.
    every = models or sorted(path.glob("**/fold_*/model.keras"))
    if not every:
        raise ModelError(
            f"{path}: expected a .keras file in this folder; found none; "
            f"`microx train` and `microx ablate` write some"
        )
    if len(every) == 1:
        return every[0], ""
    if (path / "rows").is_dir():
        chosen = _main_model(path)
    elif models and not (path / "fold_0.keras").is_file():
        names = ", ".join(model.name for model in models)
        raise ModelError(f"{path}: expected one .keras file; found {names}; name one of them")
    else:
        chosen = path / "fold_0.keras" if models else every[0]
    return chosen, f"used {chosen.relative_to(path)}, one of {len(every)} models in {path}"


def _main_model(run: Path) -> Path:
    """Find the main model of a run: the one of most regions, whatever its score."""
    best, most = None, 0
    for model in sorted(run.glob("rows/*/seed_*/fold_0/model.keras")):
        try:
            row: dict[str, Any] = json.loads((model.parent / "result.json").read_text("utf-8"))
            shuffled, n_regions = row["facts"].get("shuffled_labels"), len(row["regions"])
        except (OSError, ValueError, KeyError, AttributeError):
            continue  # an unfinished row
        if not shuffled and n_regions > most:
            best, most = model, n_regions
    if best is None:
        raise ModelError(f"{run}: expected a finished row with a model; found none; run it again")
    return best


def save_model(model: Any, path: str | Path, facts: FitFacts) -> None:
    """Write a model and its facts as one ``.keras`` file.

    Parameters
    ----------
    model : keras.Model
    path : path
        Ending in ``.keras``; written whole or not at all.
    facts : FitFacts
        Stored as the zip member ``microx.json``.

    Raises
    ------
    ModelError
        If the name does not end in ``.keras``.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: a model's file name ends in .keras")
    with whole_file(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.writestr(_FACTS_MEMBER, json.dumps(facts.as_dict(), indent=2))


def load_model(path: str | Path) -> tuple[Any, FitFacts]:
    """Read a model written by `save_model`; nothing stored in it is executed.

    Parameters
    ----------
    path : path
        A ``.keras`` file, or a folder: see `find_model`.

    Returns
    -------
    model : keras.Model
        Not compiled: ready to predict.
    facts : FitFacts
        As given to `save_model`; settings that an older file lacks have their defaults.

    Raises
    ------
    ModelError
        If there is no model, it is damaged, microx did not write it, or facts that are needed
        to use it are missing or invalid.

    Notes
    -----
    Keras's ``safe_mode`` is on: a file with arbitrary code in a Lambda layer is refused, and
    only layers of Keras and of `microx.models` are built.
    """
    load_keras()
    import keras

    path, _ = find_model(path)
    with _one_line(path, "cannot be read as a microx model"):
        found = _read_facts(path)
        try:
            facts = _check_facts(found, path)
            _register_layers()
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            if note := note_version(found.get("versions")):
                raise ModelError(f"{path}: cannot be read; {note}") from error
            raise
    return model, facts


def note_version(theirs: Any) -> str:
    """Say whether a newer microx or Keras than this one wrote a model.

    Parameters
    ----------
    theirs : mapping of str to str
        The versions that the model's facts name; anything else gives no note.

    Returns
    -------
    str
        One line, empty if the model's versions are not newer or not known.

    Examples
    --------
    >>> note_version({"microx": "99.0"})
    'the model was written by microx 99.0, newer than the 0.1.0 here; upgrade it'
    """
    here = read_versions()
    if not isinstance(theirs, Mapping):
        return ""
    for name in ("microx", "keras"):
        if _numbers(str(theirs.get(name, ""))) > _numbers(here[name]):
            return (
                f"the model was written by {name} {theirs[name]}, newer than the {here[name]} "
                f"here; upgrade it"
            )
    return ""


def find_differences(facts: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare what two models read and predict, and how their crops were made.

    Parameters
    ----------
    facts, other : dict
        Facts of models, or the corresponding entries of a corpus.

    Returns
    -------
    dict of str to (value, value)
        The differences, the most important first: classes, regions, streams, inputs, size and
        n_frames where both name them, and every entry of the first one's recipe.

    Examples
    --------
    >>> find_differences({"size": 32, "recipe": {"margin": 0.1}}, {"size": 60, "recipe": {}})
    {'size': (32, 60), 'margin': (0.1, None)}
    """
    both = [key for key in _DECIDING if key in facts and key in other]
    pairs = {key: (facts[key], other[key]) for key in both}
    theirs = other.get("recipe", {})
    for key, value in facts.get("recipe", {}).items():
        if key != "regions":  # the model may read fewer than were cut
            pairs.setdefault(key, (value, theirs.get(key)))
    return {key: (a, b) for key, (a, b) in pairs.items() if a != b}


def save_weights(model: Any, path: str | Path) -> None:
    """Write the weights of a model alone, as HDF5.

    Parameters
    ----------
    model : keras.Model
    path : path
        Ending in ``.weights.h5``; written whole or not at all.

    Raises
    ------
    ModelError
        If the name does not end in ``.weights.h5``.
    """
    path = Path(path)
    if not path.name.endswith(_WEIGHTS_ENDING):
        raise ModelError(f"{path}: the name of a file of weights ends in {_WEIGHTS_ENDING}")
    with whole_file(path) as partial, _weights_of(model) as written:
        shutil.copyfile(written, partial)


def load_weights(model: Any, path: str | Path) -> None:
    """Load the weights of a file into a model: all of them, or none if they do not fit.

    Parameters
    ----------
    model : keras.Model
        Changed in place. Its layers must have the names of the file's, which include the
        streams' names, in the same order.
    path : path
        A ``.weights.h5`` file or a ``.keras`` file.

    Raises
    ------
    ModelError
        If the file cannot be read, or a layer's weights differ in name, shape or order; the
        first is named.
    """
    path = Path(path)
    if not path.is_file() or not path.name.endswith((_WEIGHTS_ENDING, ".keras")):
        raise ModelError(f"{path}: expected a {_WEIGHTS_ENDING} or .keras file; found none")
    with _one_line(path, "weights cannot be read"):
        _check_weights(model, path)
        before = model.get_weights()
        try:
            model.load_weights(path)
        except BaseException:
            model.set_weights(before)
            raise


def read_versions() -> dict[str, str]:
    """Versions of what results depend on: python, microx, keras, its backend, numpy.

    Examples
    --------
    >>> sorted(read_versions())[:3]
    ['backend', 'keras', 'microx']
    """
    import keras

    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "microx": VERSION,
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.metadata.version(backend),
        "numpy": np.__version__,
    }


def _read_facts(path: Path) -> dict[str, Any]:
    with _open_archive(path) as archive:
        if _FACTS_MEMBER not in archive.namelist():
            raise ModelError(
                f"{path}: a Keras file without {_FACTS_MEMBER}: not written by microx, or its "
                f"training was cut off; train it with microx train"
            )
        facts: dict[str, Any] = json.loads(archive.read(_FACTS_MEMBER))
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: {_FACTS_MEMBER} must hold facts by name; found {facts!r:.40}")
    return facts


def _check_facts(found: dict[str, Any], path: Path) -> FitFacts:
    """Refuse a model whose facts lack what every use of it needs."""
    for name, words in NEEDED.items():
        if name not in found:
            raise ModelError(
                f"{path}: expected {name} in {_FACTS_MEMBER}, {words}; found none, as in models "
                f"of an earlier microx; train it again"
            )
    try:
        return FitFacts.from_json(found)
    except (InputError, ModelError) as error:
        raise ModelError(f"{path}: {_FACTS_MEMBER}: {error}; train it again") from None


def _open_archive(path: Path) -> zipfile.ZipFile:
    """Open a model's file, unless it would fill the memory."""
    archive = zipfile.ZipFile(path)
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_MOST_UNPACKED, _MOST_GROWTH * path.stat().st_size):
        archive.close()
        raise ModelError(
            f"{path}: expected a model; found a file that unpacks to {unpacked / 1e6:.0f} MB "
            f"from {path.stat().st_size / 1e6:.1f}; do not open it"
        )
    return archive


def _register_layers() -> None:
    """Import the modules whose layers a file may name; Keras imports nothing for a file."""
    import microx.models

    for module in pkgutil.iter_modules(microx.models.__path__, "microx.models."):
        importlib.import_module(module.name)


@contextmanager
def _one_line(path: Path, what: str) -> Iterator[None]:
    """Turn whatever Keras raises for a file that is not its own into one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path}: {what} ({type(error).__name__}: {reason})") from error


@contextmanager
def _weights_of(model: Any) -> Iterator[Path]:
    """Write the weights of a model to a temporary file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{_WEIGHTS_ENDING}"
        model.save_weights(path)
        yield path


def _check_weights(model: Any, path: Path) -> None:
    with _weights_of(model) as written, written.open("rb") as file:
        ours, our_places = _read_shapes(file)
    if path.suffix == ".keras":
        with _open_archive(path) as archive, archive.open(_WEIGHTS_MEMBER) as file:
            theirs, their_places = _read_shapes(file)
    else:
        with path.open("rb") as file:
            theirs, their_places = _read_shapes(file)
    differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    if differing:
        first = differing[0]
        raise ModelError(
            f"{path}: {len(differing)} weights do not fit {model.name}; for {first}, expected "
            f"shape {ours.get(first, 'none')}; found {theirs.get(first, 'none')}; build the "
            f"model as the file's was"
        )
    # Keras assigns weights by place, whatever the layer's name.
    for place, name in our_places.items():
        if their_places.get(place) != name:
            raise ModelError(
                f"{path}: its layers are in another order: it holds {their_places.get(place)} "
                f"where {model.name} has {name}; build the model with the file's order of regions"
            )


def _read_shapes(file: IO[bytes]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of the weights in an HDF5 file, by layer and number; and its layers, by place.

    Links are not followed.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    places: dict[str, str] = {}

    def read(place: str, item: Any) -> None:
        # layers/conv2d_1/vars/0, the layer's own name beside; or layers/rnn/cell/vars/0
        if isinstance(item, h5py.Dataset) and place.startswith("layers/"):
            _, kind, *rest = place.split("/")
            name = stored[f"layers/{kind}/vars"].attrs.get("name", kind)
            shapes["/".join([name, *(part for part in rest if part != "vars")])] = item.shape
            places[kind] = name

    with h5py.File(file, "r") as stored:
        stored.visititems(read)
    return shapes, places


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor; a patch release changes no file."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
