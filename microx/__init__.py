"""microx: from a folder of face videos to region clips, trained classifiers and honest tables.

The names below load on first use, so ``import microx`` is quick and loads no Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from microx.building import build_corpus as build_corpus
    from microx.corpus import Corpus as Corpus
    from microx.corpus import load_corpus as load_corpus
    from microx.errors import MicroxError as MicroxError
    from microx.evaluation import evaluate as evaluate
    from microx.evaluation import evaluate_model as evaluate_model
    from microx.experiments import run_ablation as run_ablation
    from microx.experiments import run_experiment as run_experiment
    from microx.export import export_model as export_model
    from microx.grid import read_run as read_run
    from microx.labels import read_labels as read_labels
    from microx.modelfiles import load_model as load_model
    from microx.models.multistream import build_microx as build_microx
    from microx.predict import predict_video as predict_video
    from microx.preprocessing.pipeline import preprocess_video as preprocess_video
    from microx.report import write_report as write_report
    from microx.results import EvaluationResult as EvaluationResult
    from microx.settings import FitSettings as FitSettings
    from microx.splits import make_splits as make_splits
    from microx.synthetic import draw_corpus as draw_corpus
    from microx.training import train as train

_HOME = {
    "Corpus": "corpus",
    "EvaluationResult": "results",
    "FitSettings": "settings",
    "MicroxError": "errors",
    "build_corpus": "building",
    "build_microx": "models.multistream",
    "draw_corpus": "synthetic",
    "evaluate": "evaluation",
    "evaluate_model": "evaluation",
    "export_model": "export",
    "load_corpus": "corpus",
    "load_model": "modelfiles",
    "make_splits": "splits",
    "predict_video": "predict",
    "preprocess_video": "preprocessing.pipeline",
    "read_labels": "labels",
    "read_run": "grid",
    "run_ablation": "experiments",
    "run_experiment": "experiments",
    "train": "training",
    "write_report": "report",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'microx' has no attribute {name!r}")
    return getattr(import_module(f"microx.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
