import pytest

from microx.corpus.build import build_corpus
from microx.labels.labels import read_labels
from microx.simulation.long_videos import draw_spotting_corpus

SEED, SECONDS = 7, 16


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The folder of three drawn subjects; the third shows no expression."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_spotting_corpus(folder, n_subjects=3, seconds=SECONDS, seed=SEED, n_workers=-1)
    return folder


@pytest.fixture(scope="session")
def faces(drawn):
    """Their corpus, cut by the true landmarks."""
    return build_corpus(
        read_labels(drawn / "videos", drawn / "labels.csv"),
        drawn / "corpus",
        landmarks="csv",
        landmarks_dir=drawn / "landmarks",
        regions=("face",),
        size=128,
        n_workers=-1,
    )
