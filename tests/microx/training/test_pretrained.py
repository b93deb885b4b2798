"""The network that microx ships is in the package, is what was shipped, and answers."""

import shutil

import numpy as np
import pytest

from microx.errors import ModelError
from microx.training import pretrained
from microx.training.model_file import find_model, load_model
from microx.training.pretrained import PRETRAINED, find_pretrained


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the network in its place."""
    path = tmp_path / "face.keras"
    shutil.copyfile(find_pretrained(), path)
    monkeypatch.setattr(pretrained, "_FILE", path)
    find_pretrained.cache_clear()
    yield path
    find_pretrained.cache_clear()


def test_its_file_is_small_and_names_what_it_learned_from():
    assert find_pretrained().stat().st_size < 8e6
    model, facts = load_model(PRETRAINED)
    assert facts.sources == ("FER2013",)
    assert (facts.regions, facts.n_frames, facts.size) == (("face",), 1, 48)
    faces = np.random.default_rng(0).random((3, 1, 48, 48, 1), np.float32)
    np.testing.assert_allclose(model.predict_on_batch({"face": faces}).sum(axis=1), 1, atol=1e-5)


def test_the_word_is_the_network_even_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PRETRAINED).mkdir()
    path, note = find_model(PRETRAINED)
    assert path == find_pretrained()
    assert "FER2013" in note
    with pytest.raises(ModelError, match=r"expected a \.keras file in this folder"):
        find_model(tmp_path / PRETRAINED)


def test_a_changed_file_is_refused(copy):
    copy.write_bytes(copy.read_bytes() + b"0")
    with pytest.raises(ModelError, match="expected the network of microx, of SHA-256"):
        find_pretrained()


def test_a_missing_file_is_told(copy):
    copy.unlink()
    with pytest.raises(ModelError, match="found none; install microx again"):
        find_pretrained()
