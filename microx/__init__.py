"""microx: from a folder of face videos to region clips, trained classifiers and honest tables.

The names below load on first use, so ``import microx`` is quick and loads no Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from microx._version import VERSION as __version__

if TYPE_CHECKING:
    from microx.corpus.build import build_corpus as build_corpus
    from microx.corpus.corpus import Corpus as Corpus
    from microx.corpus.corpus import load_corpus as load_corpus
    from microx.errors import MicroxError as MicroxError
    from microx.evaluation.evaluate import evaluate as evaluate
    from microx.evaluation.result import EvaluationResult as EvaluationResult
    from microx.evaluation.stored_model import evaluate_model as evaluate_model
    from microx.experiments.ablations import run_ablation as run_ablation
    from microx.experiments.ablations import run_experiment as run_experiment
    from microx.experiments.run import read_run as read_run
    from microx.inference.export import export_model as export_model
    from microx.inference.meeting import predict_meeting as predict_meeting
    from microx.inference.recordings import predict_videos as predict_videos
    from microx.inference.video import predict_video as predict_video
    from microx.labels.labels import read_labels as read_labels
    from microx.models.multistream import build_microx as build_microx
    from microx.preprocessing.pipeline import preprocess_video as preprocess_video
    from microx.report.page import write_report as write_report
    from microx.simulation.corpus import draw_corpus as draw_corpus
    from microx.training.fit import train as train
    from microx.training.model_file import load_model as load_model
    from microx.training.protocol import Protocol as Protocol
    from microx.training.settings import FitSettings as FitSettings
    from microx.training.splits import make_splits as make_splits

_HOME = {
    "Corpus": "corpus.corpus",
    "EvaluationResult": "evaluation.result",
    "FitSettings": "training.settings",
    "MicroxError": "errors",
    "Protocol": "training.protocol",
    "build_corpus": "corpus.build",
    "build_microx": "models.multistream",
    "draw_corpus": "simulation.corpus",
    "evaluate": "evaluation.evaluate",
    "evaluate_model": "evaluation.stored_model",
    "export_model": "inference.export",
    "load_corpus": "corpus.corpus",
    "load_model": "training.model_file",
    "make_splits": "training.splits",
    "predict_meeting": "inference.meeting",
    "predict_video": "inference.video",
    "predict_videos": "inference.recordings",
    "preprocess_video": "preprocessing.pipeline",
    "read_labels": "labels.labels",
    "read_run": "experiments.run",
    "run_ablation": "experiments.ablations",
    "run_experiment": "experiments.ablations",
    "train": "training.fit",
    "write_report": "report.page",
}

_NEEDS_KERAS = {"build_microx", "train"}
"""Names whose modules import Keras; the others' functions do when they first need it."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'microx' has no attribute {name!r}")
    if name in _NEEDS_KERAS:
        import_module("microx.training.backend").load_keras()  # in silence
    return getattr(import_module(f"microx.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
