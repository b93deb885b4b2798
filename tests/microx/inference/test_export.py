"""Exported models predict as Keras does, in the runtimes they were made for."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from microx.errors import InputError, ModelError
from microx.inference import export
from microx.inference.export import FORMATS, export_model
from microx.models.multistream import build_microx
from microx.training.facts import FitFacts
from microx.training.model_file import load_model, load_weights, save_model
from microx.training.settings import FitSettings

FACTS = {
    **{"classes": ["happy", "sad", "neutral"], "regions": ["mouth", "nose"]},
    **{"streams": ["mouth", "nose"], "inputs": "rgb", "size": 18, "n_frames": 3},
    **{
        "preset": "compact",
        "seed": 0,
        "recipe": {},
        "arguments": FitSettings(n_frames=3).as_dict(),
    },
    **{"trained_on": {"subjects": [], "videos": ["a"]}, "warnings": [], "versions": {}},
}
NEEDED = {"onnx": "onnxruntime", "tflite": "ai_edge_litert.interpreter", "h5": "h5py"}


def _clips(model, n_clips):
    rng = np.random.default_rng(1)
    return {
        tensor.name: np.float32(rng.random((n_clips, *tensor.shape[1:])))
        if len(tensor.shape) == 5
        else np.ones((n_clips, *tensor.shape[1:]), np.float32)
        for tensor in model.inputs
    }


def _predict(path, to, clips):
    """The output of a file without microx."""
    if to == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        return session.run(None, clips)[0]
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    (y_prob,) = litert.Interpreter(str(path)).get_signature_runner()(**clips).values()
    return y_prob


def _stored(folder, model):
    save_model(model, folder / "model.keras", FitFacts.from_json(FACTS))
    return folder / "model.keras"


def _build(preset="compact", **arguments):
    sizes = {"size": 18, "n_frames": 3, "n_classes": 3, "seed": 0}
    return build_microx(("mouth", "nose"), preset=preset, **sizes | arguments)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A model file of two streams, of which one may be missing."""
    return _stored(tmp_path_factory.mktemp("model"), _build(region_dropout=0.3))


@pytest.mark.parametrize("to", ["onnx", "tflite"])
@pytest.mark.parametrize("preset", ["compact", "paper", "without regions"])
def test_exports_predict_as_keras_does(stored, preset, to, tmp_path, capfd):
    pytest.importorskip(NEEDED[to])
    if preset != "without regions":
        stored = _stored(tmp_path, _build(preset))
    path = export_model(stored, to, tmp_path / f"mine.{to}")
    assert capfd.readouterr() == ("", "")
    assert {file.name for file in tmp_path.iterdir()} >= {f"mine.{to}", f"mine.{to}.json"}
    model, _ = load_model(stored)
    for n_clips in (1, 4):
        clips = _clips(model, n_clips)
        expected = model.predict_on_batch(clips)
        np.testing.assert_allclose(_predict(path, to, clips), expected, atol=1e-4)
    described = json.loads(path.with_name(f"mine.{to}.json").read_text())
    assert described["facts"] == FitFacts.from_json(FACTS).as_dict()
    assert described["inputs"]["mouth"] == [None, 3, 18, 18, 3]
    assert described["largest_difference"] <= export.TOLERANCE


def test_weights_alone_make_the_model_again(stored):
    path = export_model(stored.parent, "h5")
    assert path == stored.with_name("model.weights.h5")
    model, _ = load_model(stored)
    again = keras.models.clone_model(model)
    load_weights(again, path)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_model_of_mixed_precision_is_exported_in_single(preset, tmp_path):
    pytest.importorskip(NEEDED["onnx"])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _build(preset)
    finally:
        keras.config.set_dtype_policy("float32")
    path = export_model(_stored(tmp_path, model), "onnx")
    clips = _clips(model, 2)
    assert _predict(path, "onnx", clips).dtype == np.float32
    np.testing.assert_allclose(
        _predict(path, "onnx", clips), model.predict_on_batch(clips), atol=0.02
    )


@pytest.mark.parametrize("to", FORMATS)
def test_file_with_other_outputs_is_not_kept(stored, to, tmp_path, monkeypatch):
    pytest.importorskip(NEEDED[to])
    out = tmp_path / f"model{export._ENDINGS[to]}"
    out.write_text("an older one")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(
        ModelError, match=r"expected the outputs of .*found a difference of .*; nothing"
    ):
        export_model(stored, to, out)
    assert out.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_format_cannot_say_is_one_line(tmp_path):
    pytest.importorskip(NEEDED["tflite"])
    x = keras.Input((2, 4, 4, 1), name="mouth")
    flat = keras.layers.Flatten()(x)
    # TFLite has no cumulative product: TensorFlow's own operation would be needed
    y = keras.layers.Dense(3, activation="softmax")(keras.ops.cumprod(flat, axis=1))
    path = _stored(tmp_path, keras.Model({"mouth": x}, y))
    with pytest.raises(ModelError, match=r"model\.tflite: cannot be written as tflite") as error:
        export_model(path, "tflite")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_unusable_arguments_are_refused(stored, tmp_path):
    with pytest.raises(InputError, match="exported to onnx, tflite, h5; found 'coreml'"):
        export_model(stored, "coreml")
    with pytest.raises(InputError, match=r"model\.h5: .* for h5 ends in \.weights\.h5"):
        export_model(stored, "h5", tmp_path / "model.h5")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder to write to"):
        export_model(stored, "h5", tmp_path / "file" / "model.weights.h5")
    with pytest.raises(ModelError, match="found nothing there"):
        export_model(tmp_path / "nothing", "onnx")


def test_missing_extra_is_named_before_anything_slow(stored):
    code = (
        "import sys; sys.modules['tf2onnx'] = None\n"
        "from microx.inference.export import export_model\n"
        f"try: export_model({str(stored)!r}, 'onnx')\n"
        "except Exception as error: print(error, 'keras' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs tf2onnx; found none; pip install 'microx[onnx]' False" in run.stdout
