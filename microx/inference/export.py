"""A trained model in a form that other programs run, checked against Keras before it is kept."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from microx.errors import InputError, ModelError
from microx.files import check_new_folder, whole_file
from microx.schema import Format
from microx.training.backend import load_keras
from microx.training.model_file import find_model, load_model, load_weights, save_weights

_PIXELS = {
    "rgb": "red, green, blue from 0 to 1",
    "grey": "grey from 0 to 1",
    "difference": "red, green, blue less those of the reference frame, from -1 to 1",
    "motion": "motion of the face, see microx.preprocessing.motion.measure_motion",
    "flow": "optical flow and strain, see microx.preprocessing.motion.convert_crops",
}

FORMATS: tuple[str, ...] = get_args(Format)
"""ONNX and TFLite (LiteRT) run without Keras; h5 is the weights alone, for `load_weights`."""

TOLERANCE = 1e-4
"""Largest difference of a probability from Keras's own (our choice)."""

CHECKED_CLIPS = 3
"""Random clips predicted by both (our choice)."""

_ENDINGS = {"onnx": ".onnx", "tflite": ".tflite", "h5": ".weights.h5"}
_NEEDED = {"onnx": ("tf2onnx", "onnxruntime"), "tflite": ("ai_edge_litert",), "h5": ()}

_Clips = dict[str, npt.NDArray[np.float32]]
_Answer = Callable[[_Clips], npt.NDArray[np.float32]]


def export_model(model_path: str | Path, to: str, out: str | Path | None = None) -> Path:
    """Write a model for another program, and what is needed to use it as JSON beside it.

    Parameters
    ----------
    model_path : path
        A ``.keras`` file of microx, or a folder: see `microx.training.model_file.find_model`.
    to : {"onnx", "tflite", "h5"}
    out : path, optional
        File to write, ending in ``.onnx``, ``.tflite`` or ``.weights.h5``; beside the model
        and named like it by default. Written whole or not at all.

    Returns
    -------
    Path
        Of the file. Beside it is ``<its name>.json``: the model's facts (classes in the order of
        the outputs, regions, recipe), and its inputs by name and shape (null: any number of
        clips).

    Raises
    ------
    InputError
        If the format is unknown or the name does not end as it should.
    ModelError
        If there is no such model, the extra that the format needs is not installed, the model
        cannot be converted, or the file's output differs from Keras's by more than `TOLERANCE`
        on random clips. No file is then left, and an older one stays.

    Notes
    -----
    Keras itself converts, on its TensorFlow backend, the one that can do both. A model trained
    in mixed precision is exported as one that computes in float32.

    Examples
    --------
    >>> export_model("RUN", "onnx", "mouth.onnx")  # doctest: +SKIP
    PosixPath('mouth.onnx')
    """
    if to not in FORMATS:
        raise InputError(f"a model is exported to {', '.join(FORMATS)}; found '{to}'")
    if out is not None:
        _check_name(Path(out), to)
    source, _ = find_model(model_path)
    path = source.with_suffix(_ENDINGS[to]) if out is None else Path(out)
    _check_tools(to)
    model, facts = load_model(source)
    model = _in_float32(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: expected a folder to write to; {error.strerror}") from None
    beside = path.with_name(f"{path.name}.json")
    with whole_file(path) as partial, whole_file(beside) as partial_beside:
        difference = _convert(model, partial, to, name=path)
        if not difference <= TOLERANCE:  # true of nan, too
            raise ModelError(
                f"{path}: expected the outputs of {source} to within {TOLERANCE:g}; found a "
                f"difference of {difference:.2g}; nothing was written"
            )
        inputs = {tensor.name: tensor.shape for tensor in model.inputs}
        description = {
            "model": source.name,
            "inputs": inputs,
            "pixels": f"clips, frames, rows, columns, channels; {_PIXELS[facts.inputs]}",
            "output": "one probability for each of the classes of the facts, in their order",
            "largest_difference": difference,
        }
        if "present" in inputs:
            regions = ", ".join(facts.regions)
            description["present"] = f"1 where the region is present, else 0; order: {regions}"
        partial_beside.write_text(json.dumps(description | {"facts": facts.as_dict()}, indent=2))
    return path


def _check_name(path: Path, to: str) -> None:
    """Refuse a name that cannot be that of an exported file, before anything slow is done."""
    if not path.name.endswith(_ENDINGS[to]) or path.name == _ENDINGS[to]:
        raise InputError(
            f"{path}: the name of a file for {to} ends in {_ENDINGS[to]}, such as "
            f"model{_ENDINGS[to]}"
        )
    if path.is_dir():
        raise InputError(f"{path}: expected the name of a file; found a folder there")
    check_new_folder(path.parent)


def _check_tools(to: str) -> None:
    """Refuse what cannot be converted here, before anything slow is done."""
    missing = [module for module in _NEEDED[to] if importlib.util.find_spec(module) is None]
    if missing:
        raise ModelError(
            f"export to {to} needs {' and '.join(missing)}; found none; pip install 'microx[{to}]'"
        )
    load_keras()
    import keras

    if to != "h5" and (backend := keras.backend.backend()) != "tensorflow":
        raise ModelError(
            f"export to {to} needs Keras's TensorFlow backend; found {backend}; "
            f"set KERAS_BACKEND=tensorflow"
        )


def _in_float32(model: Any) -> Any:
    """Give a model trained in mixed precision as one that computes as other programs do."""
    import keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def in_float32(node: Any) -> Any:
        # Among the layers of a model are operations, which have no precision of their own.
        precision = {"dtype": "float32"} if isinstance(node, keras.Layer) else {}
        return type(node).from_config(node.get_config() | precision)

    plain = keras.models.clone_model(model, clone_function=in_float32)
    plain.set_weights(model.get_weights())
    return plain


def _convert(model: Any, partial: Path, to: str, *, name: Path) -> float:
    """Write a model, and measure how much the outputs of the file differ."""
    clips = _random_clips(model)
    with _quiet():
        expected = np.asarray(model.predict_on_batch(clips))  # Keras exports what has been called
    try:
        with _quiet():
            found = np.asarray(_CONVERTERS[to](model, partial)(clips))
    # A converter raises whatever it meets in a model it does not know.
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{name}: cannot be written as {to} ({type(error).__name__}: {reason})"
        ) from error
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf


def _to_onnx(model: Any, partial: Path) -> _Answer:
    import onnxruntime

    model.export(partial, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(None, clips)[0]


def _to_tflite(model: Any, partial: Path) -> _Answer:
    # LiteRT has none of TensorFlow's own operations: a file that needs them fails here.
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model.export(partial, format="litert", verbose=False)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    run = Interpreter(str(partial), experimental_op_resolver_type=plain).get_signature_runner()
    return lambda clips: next(iter(run(**clips).values()))


def _to_h5(model: Any, partial: Path) -> _Answer:
    import keras

    again = keras.models.clone_model(model)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.weights.h5"
        save_weights(model, weights)
        load_weights(again, weights)
        shutil.copyfile(weights, partial)
    return again.predict_on_batch  # type: ignore[no-any-return]


_CONVERTERS = {"onnx": _to_onnx, "tflite": _to_tflite, "h5": _to_h5}


def _random_clips(model: Any) -> _Clips:
    """Draw what the model reads: pixels in [0, 1], and regions that are there or not."""
    from microx.models.fusion import PRESENT

    rng = np.random.default_rng(0)
    clips = {}
    for tensor in model.inputs:
        values = rng.random((CHECKED_CLIPS, *tensor.shape[1:]), np.float32)
        if tensor.name == PRESENT:
            values = (values < 0.5).astype(np.float32)
            values[:, 0] = 1  # one of them must be
        clips[tensor.name] = values
    return clips


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what converters tell the terminal, from C++ too, off it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as told, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(told.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
