import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

import microx
from microx.errors import ModelError
from microx.training.facts import FitFacts
from microx.training.model_file import (
    find_differences,
    find_model,
    load_model,
    load_weights,
    note_version,
    read_versions,
    save_model,
    save_weights,
)
from microx.training.settings import FitSettings

pytestmark = pytest.mark.backends

FACTS = {
    **{"classes": ["happy", "sad", "neutral"], "regions": ["mouth"], "streams": ["mouth"]},
    **{"inputs": "grey", "size": 4, "n_frames": 2, "preset": "compact", "seed": 0},
    **{"recipe": {}, "arguments": FitSettings(n_frames=2, inputs="grey").as_dict()},
    **{"trained_on": {"subjects": ["s0"], "videos": ["a"]}, "warnings": [], "versions": {}},
}

ALL_FACTS = FitFacts.from_json(FACTS).as_dict()


def _model(*streams, n_classes=3, seed=0):
    """A small network of streams that Keras itself could not tell apart."""
    keras.utils.set_random_seed(seed)
    inputs = {stream: keras.Input((2, 4, 4, 1), name=stream) for stream in streams or ("mouth",)}
    answers = [
        keras.layers.Dense(n_classes, activation="softmax", name=f"{stream}_softmax")(
            keras.layers.Flatten(name=f"{stream}_flatten")(x)
        )
        for stream, x in inputs.items()
    ]
    answer = keras.layers.Average()(answers) if len(answers) > 1 else answers[0]
    return keras.Model(inputs, answer, name="+".join(inputs))


def _row(run, name, regions, n_folds=1, **facts):
    for fold in range(n_folds):
        folder = run / "rows" / name / "seed_0" / f"fold_{fold}"
        folder.mkdir(parents=True)
        (folder / "model.keras").touch()
        (folder / "result.json").write_text(json.dumps({"regions": regions, "facts": facts}))


def test_find_model(tmp_path):
    run = tmp_path / "RUN"
    _row(run, "mouth", ["mouth"], n_folds=2)
    _row(run, "regions+face", ["mouth", "face"], n_folds=2)
    _row(run, "regions+face_labels_shuffled", ["a", "b", "c"], shuffled_labels=True)
    (run / "rows" / "half" / "seed_0" / "fold_0").mkdir(parents=True)
    (run / "rows" / "half" / "seed_0" / "fold_0" / ".model.best.keras").touch()
    model, note = find_model(run)
    assert model == run / "rows" / "regions+face" / "seed_0" / "fold_0" / "model.keras"
    where = model.relative_to(run)
    assert note == f"used {where}, one of 5 models in {run}"
    assert find_model(run / "rows" / "mouth")[0].parent.parent.parent.name == "mouth"
    assert "one of 2" in find_model(run / "rows" / "mouth")[1]
    assert find_model(model) == (model, "")
    single = tmp_path / "train"
    single.mkdir()
    with pytest.raises(ModelError, match=r"expected a \.keras file in this folder; found none"):
        find_model(single)
    (single / "model.keras").touch()
    assert find_model(single) == (single / "model.keras", "")
    (single / "other.keras").touch()
    with pytest.raises(ModelError, match=r"found model\.keras, other\.keras; name one"):
        find_model(single)
    with pytest.raises(ModelError, match=r"nowhere: expected a \.keras file or a folder"):
        find_model(tmp_path / "nowhere")
    for result in run.glob("rows/*/seed_0/fold_0/result.json"):
        if "shuffled" not in str(result):
            result.unlink()
    with pytest.raises(ModelError, match="expected a finished row"):
        find_model(run)


def test_files_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="found nothing there; `microx train` and"):
        load_model(tmp_path / "none.keras")
    text = tmp_path / "text.keras"
    text.write_text("hello")
    with pytest.raises(ModelError, match=r"text\.keras: cannot be read as a microx model"):
        load_model(text)
    hollow = tmp_path / "hollow.keras"
    with zipfile.ZipFile(hollow, "w") as archive:
        archive.writestr("microx.json", json.dumps(FACTS))
    with pytest.raises(ModelError, match=r"hollow\.keras: cannot be read as a microx model"):
        load_model(hollow)
    with pytest.raises(ModelError, match=r"file name ends in \.keras"):
        save_model(None, tmp_path / "model.h5", {})
    listed = tmp_path / "listed.keras"
    with zipfile.ZipFile(listed, "w") as archive:
        archive.writestr("microx.json", json.dumps(["no", "facts"]))
    with pytest.raises(ModelError, match=r"microx\.json must hold facts by name; found \['no'"):
        load_model(listed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_model_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "model.keras"
    save_model(_model(), path, FitFacts.from_json(FACTS))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"model\.keras: cannot be read as a mic") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_file_that_swells_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("microx.json", "{}")
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
    for read in (load_model, lambda path: load_weights(_model(), path)):
        with pytest.raises(ModelError, match=r"unpacks to 315 MB from 0\.3; do not open it"):
            read(path)


def test_code_in_a_file_is_not_run(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    save_model(model, tmp_path / "lambda.keras", FitFacts.from_json(FACTS))
    with pytest.raises(ModelError, match="cannot be read as a microx model"):
        load_model(tmp_path / "lambda.keras")


def test_versions_name_the_backend():
    versions = read_versions()
    assert versions["keras"] == keras.__version__
    assert versions["backend"] in versions


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_go_from_model_to_model(tmp_path, ending):
    model, other = _model("mouth", "nose"), _model("mouth", "nose", seed=1)
    path = tmp_path / f"model{ending}"
    model.compile("adam", "mse")
    if ending == ".keras":
        save_model(model, path, FitFacts.from_json(FACTS))
    else:
        save_weights(model, path)
    load_weights(other, path)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n_classes": 4},
            r"4 weights .*for mouth_softmax/0, expected shape \(32, 4\); found \(32, 3",
        ),
        ({"streams": ["mouth"]}, r"for nose_softmax/0, expected shape none; found \(32, 3\)"),
        ({"streams": ["mouth", "face"]}, r"4 weights .*for face_softmax/0, expected .* found none"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, arguments, message):
    path = tmp_path / "model.weights.h5"
    save_weights(_model("mouth", "nose"), path)
    other = _model(*arguments.pop("streams", ["mouth", "nose"]), **arguments)
    before = other.get_weights()
    with pytest.raises(ModelError, match=message) as error:
        load_weights(other, path)
    assert "\n" not in str(error.value)
    for ours, theirs in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_of_streams_in_another_order_are_refused(tmp_path, ending):
    """Keras tells layers apart by their order: each stream would get the other's weights."""
    path = tmp_path / f"model{ending}"
    if ending == ".keras":
        save_model(_model("mouth", "face"), path, FitFacts.from_json(FACTS))
    else:
        save_weights(_model("mouth", "face"), path)
    other = _model("face", "mouth", seed=1)
    before = other.get_weights()
    with pytest.raises(
        ModelError, match=r"holds mouth_softmax where face\+mouth has face_softmax; build the mo"
    ) as error:
        load_weights(other, path)
    assert "\n" not in str(error.value)
    for ours, theirs in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_are_none_are_refused(tmp_path):
    model = _model()
    with pytest.raises(ModelError, match=r"ends in \.weights\.h5"):
        save_weights(model, tmp_path / "model.h5")
    for name in ("model.weights.h5", "model.h5"):
        with pytest.raises(
            ModelError, match=r"expected a \.weights\.h5 or \.keras file; found non"
        ):
            load_weights(model, tmp_path / name)
    for name in ("text.weights.h5", "text.keras"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ModelError, match=f"{name}: weights cannot be read"):
            load_weights(model, tmp_path / name)


def test_weights_elsewhere_are_not_followed(tmp_path):
    """A file that points at another one could show what is in it."""
    path, secret = tmp_path / "model.weights.h5", tmp_path / "secret.weights.h5"
    save_weights(_model(), path)
    shutil.copyfile(path, secret)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(secret.name, "layers/dense/vars/0")
    with pytest.raises(ModelError, match=r"mouth_softmax/0, expected .*found none"):
        load_weights(_model(), path)


def test_unknown_layer_is_not_built(tmp_path):
    """A file may name what layer it likes; only Keras's and ours are made."""
    path = tmp_path / "model.keras"
    save_model(_model(), path, FitFacts.from_json(FACTS))
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    config = held["config.json"].decode()
    held["config.json"] = (
        config.replace('"Flatten"', '"system"').replace('"keras.layers"', '"os"').encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=r"model\.keras: cannot be read as a microx model"):
        load_model(path)


@pytest.mark.parametrize(
    ("versions", "newer"),
    [
        ({"microx": "99.0"}, "microx 99.0"),
        ({"microx": microx.__version__, "keras": "99.1.2"}, "keras 99.1.2"),
        ({"microx": microx.__version__, "keras": keras.__version__}, ""),
        ({"microx": "0.0.9"}, ""),
        ({}, ""),
    ],
)
def test_newer_versions_are_noted(tmp_path, versions, newer):
    note = note_version(versions)
    assert note.startswith(f"the model was written by {newer}, newer than") if newer else not note
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("microx.json", json.dumps(FACTS | {"versions": versions}))
    with pytest.raises(ModelError, match=f"cannot be read.*{newer}"):
        load_model(path)


def _stored(folder, facts):
    """A file of these facts and no network: the facts are looked at first."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("microx.json", json.dumps(facts))
    return path


@pytest.mark.parametrize("name", FACTS)
def test_facts_that_are_missing_are_named(tmp_path, name):
    path = _stored(tmp_path, {key: value for key, value in FACTS.items() if key != name})
    with pytest.raises(
        ModelError,
        match=rf"model\.keras: expected {name} in microx.json, .*; found none.*; train it again$",
    ) as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_model_of_an_earlier_version_is_named(tmp_path):
    """As microx wrote them before there were streams and kinds of inputs."""
    facts = {key: FACTS[key] for key in FACTS if key not in ("streams", "inputs")}
    facts["arguments"] = {"epochs": 30, "batch_size": 8, "class_weight": None, "occlude": None}
    path = _stored(tmp_path, facts)
    with pytest.raises(
        ModelError, match=r"expected streams .*, as in models of an earlier microx; train it again"
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classes", "happy", "two names or more, each once; found 'happy'"),
        ("classes", ["happy"], "two names or more"),
        ("classes", ["happy", "happy"], "each once"),
        ("classes", ["happy", 3], "two names"),
        ("regions", ["ear"], r"a list of regions, each once; found \['ear'\]"),
        ("regions", [], "a list of regions"),
        ("regions", [["mouth"]], "a list of regions"),
        ("regions", ["face"], "streams mouth do not read the regions face"),
        ("streams", ["ear"], "regions must be one or more of .*; found ear"),
        ("streams", None, "a list of streams"),
        ("inputs", "sepia", "one of rgb, grey, difference, flow, motion; found 'sepia'"),
        ("inputs", ["rgb"], "one of rgb"),
        ("size", 0, "a whole number of pixels; found 0"),
        ("size", "32", "found '32'"),
        ("n_frames", 2.5, "a whole number of frames; found 2.5"),
        ("n_frames", True, "found True"),
        ("preset", "huge", "one of compact, paper"),
        ("preset", {}, "one of compact, paper"),
        ("seed", None, "a whole number; found None"),
        ("recipe", "aligned", "the crops' options by name; found 'aligned'"),
        ("arguments", [], r"the training's settings by name; found \[\]"),
        ("arguments", {"class_weight": None}, "setting 'class_weight' is unknown"),
        ("arguments", {"epochs": 0}, "epochs must be a whole number from 1 to 100000; received 0"),
        ("arguments", {"frames": ["all"]}, "frames must be one of"),
        ("trained_on", ["s0"], "lists of subjects and of videos, by these names"),
        ("trained_on", {"subjects": ["s0"]}, "lists of subjects and of videos"),
        ("trained_on", {"subjects": "s0", "videos": []}, "lists of subjects"),
        ("warnings", "none", "a list of sentences"),
        ("versions", ["0.1.0"], r"versions by name; found \['0\.1\.0'\]"),
    ],
)
def test_facts_that_cannot_be_are_refused(tmp_path, name, value, message):
    path = _stored(tmp_path, FACTS | {name: value})
    with pytest.raises(ModelError, match=rf"model\.keras: .*{message}.*; train it again$") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_settings_that_a_file_does_not_name_have_their_defaults(tmp_path):
    path = tmp_path / "model.keras"
    save_model(
        _model(), path, FitFacts.from_json(FACTS | {"arguments": {"n_frames": 2, "inputs": "grey"}})
    )
    assert load_model(path)[1].as_dict() == ALL_FACTS


def test_facts_of_a_newer_version_are_not_judged(tmp_path):
    path = _stored(tmp_path, {"versions": {"microx": "99.0"}})
    with pytest.raises(ModelError, match=r"microx 99\.0, newer than .*; upgrade it"):
        load_model(path)


def test_differences_between_models_are_found():
    facts = {"classes": ["a"], "size": 32, "inputs": "rgb", "n_frames": 10, "seed": 0}
    facts["recipe"] = {"size": 32, "margin": 0.15, "regions": ["mouth"], "policy": "aligned"}
    assert find_differences(facts, facts) == {}
    other = facts | {"inputs": "flow", "classes": ["b"], "seed": 1}
    other["recipe"] = facts["recipe"] | {"policy": "paper", "regions": ["face"]}
    assert list(find_differences(facts, other).items()) == [
        ("classes", (["a"], ["b"])),
        ("inputs", ("rgb", "flow")),
        ("policy", ("aligned", "paper")),
    ]
    assert find_differences({"size": 32}, {"n_frames": 10}) == {}
    assert find_differences({}, {}) == {}
