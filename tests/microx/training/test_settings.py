"""Every choice of training has a name, a range and a preset that makes it."""

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from microx.errors import InputError, ModelError
from microx.models import BUILDERS
from microx.schema import Preset
from microx.training.settings import (
    CHOICES,
    FIT_SETTINGS,
    OF_MOTION,
    SVMS,
    FitOptions,
    FitSettings,
    join_settings,
    read_setting,
)


def test_every_preset_has_a_builder_and_settings():
    assert [*BUILDERS, *SVMS] == list(FIT_SETTINGS)
    assert list(get_args(Preset)) == list(FIT_SETTINGS)


def test_options_by_name_are_the_settings():
    assert list(get_type_hints(FitOptions)) == [one.name for one in fields(FitSettings)]


def test_settings_are_told_by_what_the_preset_does_otherwise():
    settings = FitSettings.of("paper", epochs=3)
    assert settings.changes_from("paper") == {"epochs": 3}
    assert FitSettings.of("paper", settings, batch_size=4).changes_from("paper") == {
        "epochs": 3,
        "batch_size": 4,
    }
    with pytest.raises(InputError, match="region_dropout is for compact"):
        FitSettings.of("cnn6", FitSettings.of("compact"))


def test_the_docs_name_every_choice():
    text = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, choices in CHOICES.items():
        assert f"- `{name}`: {', '.join(f'`{one}`' for one in choices)}\n" in text
    assert not {preset for preset in get_args(Preset) if preset not in text}


def test_a_presets_settings_are_changed_where_something_is_given():
    assert FitSettings.of("paper") == FIT_SETTINGS["paper"]
    changed = FitSettings.of("paper", epochs=3, learning_rate=None, build={"a": 1})
    assert (changed.epochs, changed.optimizer, changed.batch_size) == (3, "sgd", 8)
    assert changed.learning_rate == FIT_SETTINGS["paper"].learning_rate
    assert FIT_SETTINGS["paper"].epochs == 120
    with pytest.raises(FrozenInstanceError):
        changed.epochs = 4


@pytest.mark.parametrize("preset", FIT_SETTINGS)
def test_settings_come_back_from_json(preset):
    build = {} if preset in SVMS else {"dropout": 0.5}
    settings = FitSettings.of(preset, build=build)
    again = FitSettings(**json.loads(json.dumps(settings.as_dict())))
    assert again == settings


def test_presets_of_images_read_one_frame():
    for preset in set(FIT_SETTINGS) - {"compact", "paper"} - set(OF_MOTION):
        assert FitSettings.of(preset).n_frames == 1, preset


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for choice in CHOICES[name]:
        assert getattr(FitSettings(**{name: choice}), name) == choice
    with pytest.raises(InputError, match=rf"{name} must be one of .*; received 'other'"):
        FitSettings(**{name: "other"})
    with pytest.raises(InputError, match=f"{name} must be one of"):
        FitSettings(**{name: 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "a whole number from 1 to 100000; received 0"),
        ("epochs", 2.5, "a whole number from 1 to 100000; received 2.5"),
        ("epochs", 10.0, "a whole number from 1"),
        ("epochs", True, "received True"),
        ("epochs", "ten", "received 'ten'"),
        ("batch_size", 0, "from 1"),
        ("n_frames", 0, "from 1 to 10000"),
        ("stride", 0, "a whole number from 1 to 10000; received 0"),
        ("stride", "half", "received 'half'"),
        ("patience", -1, "from 0"),
        ("learning_rate", -1e-3, "a number from 0 to 100"),
        ("learning_rate", float("nan"), "received nan"),
        ("learning_rate", float("inf"), "received inf"),
        ("label_smoothing", 1.0, "from 0 to 0.9"),
        ("region_dropout", 1, "from 0 to 0.9"),
        ("auxiliary", -0.1, "from 0 to 100"),
        ("build", 5, r"arguments by name, such as build\.dropout=0\.5; received 5"),
        ("augment", 5, "text; received 5"),
        ("augment", "fly", "'fly' is unknown"),
        ("augment", "flip:2", "flip: expected a probability"),
        ("occlude", "hat", "'hat' is unknown"),
        ("occlude", True, "text; received True"),
    ],
)
def test_values_that_cannot_be_are_refused(name, value, message):
    with pytest.raises(InputError, match=message) as error:
        FitSettings.of("compact", **{name: value})
    assert "\n" not in str(error.value)


def test_edges_of_the_ranges_can_be():
    for name, value in (("epochs", 1), ("learning_rate", 0), ("label_smoothing", 0.9)):
        assert getattr(FitSettings(**{name: value}), name) == value
    assert FitSettings(stride=None).stride is None


def test_unknown_names_are_refused():
    with pytest.raises(ModelError, match=r"`preset` must be one of compact, .*; found 'huge'"):
        FitSettings.of("huge")
    with pytest.raises(
        InputError, match=r"setting 'rate' is unknown; known: frames, apex, n_frames"
    ):
        FitSettings.of("compact", rate=1)
    for text in ("seed=3", "out=x", "region=mouth"):
        with pytest.raises(InputError, match=f"setting '{text.split('=')[0]}' is unknown"):
            join_settings([text])


@pytest.mark.parametrize("name", ["region_dropout", "auxiliary"])
def test_what_only_compact_has_is_refused_elsewhere(name):
    assert getattr(FitSettings.of("compact", **{name: 0.2}), name) == 0.2
    assert getattr(FitSettings.of("paper", **{name: 0}), name) == 0
    with pytest.raises(InputError, match=f"{name} is for compact.*; received 0.2 for cnn6"):
        FitSettings.of("cnn6", **{name: 0.2})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        (" learning_rate =1e-3", "learning_rate", 0.001),
        ("optimizer=sgd", "optimizer", "sgd"),
        ("frames=onset|apex", "frames", "onset|apex"),
        ("augment=flip,crop:0.1", "augment", "flip,crop:0.1"),
        ("augment=", "augment", ""),
        ("stride=null", "stride", None),
        ("stride=None", "stride", None),
        ("build.hog=False", "build", {"hog": False}),
        ("build.hog= True", "build", {"hog": True}),
        ("build.hog=no", "build", {"hog": "no"}),
        ("build.dropout=0.5", "build", {"dropout": 0.5}),
        ("build.hog=true", "build", {"hog": True}),
        ("occlude=mask:0.5=x", "occlude", "mask:0.5=x"),
    ],
)
def test_read_setting(text, name, value):
    assert read_setting(text) == (name, value)


@pytest.mark.parametrize("text", ["", "epochs", "=3", " = "])
def test_settings_that_cannot_be_read_are_refused(text):
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        read_setting(text)


def test_join_settings():
    assert join_settings([]) == {}
    assert join_settings(["epochs=2", "build.hog=true", "epochs=3", "build.l2=0.1"]) == {
        "epochs": 3,
        "build": {"hog": True, "l2": 0.1},
    }
    assert set(join_settings([f"{one.name}=1" for one in fields(FitSettings)])) == {
        one.name for one in fields(FitSettings)
    }


def test_motion_is_for_its_own_networks():
    with pytest.raises(InputError, match=r"inputs motion are for motion, .*inputs motion for cnn6"):
        FitSettings.of("cnn6", inputs="motion", reference="onset")
    with pytest.raises(InputError, match="received inputs rgb for motion"):
        FitSettings.of("motion", inputs="rgb")
    assert FitSettings.of("motion", region_dropout=0.2).region_dropout == 0.2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"augment": "flip,blur"},
            "of inputs motion must be of flip, shift; received blur",
        ),
        ({"occlude": "mask:0.5"}, "occlude cannot be combined with inputs motion"),
        ({"reference": "first"}, "would be compared with itself"),
        ({"schedule": "plateau"}, "schedule plateau watches the validation"),
        ({"motion_size": 4}, "motion_size must be a whole number from 8 to 256; received 4"),
        ({"flow": "tvl1"}, "flow must be one of dis-medium"),
    ],
)
def test_settings_that_motion_cannot_have(change, match):
    with pytest.raises(InputError, match=match):
        FitSettings.of("motion", **change)
