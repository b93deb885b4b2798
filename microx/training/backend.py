"""Wakes the backend of Keras, in silence."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import get_args

from microx.schema import MotionNetwork

# What TensorFlow, and the libraries below all three backends, read when they are imported.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")

_SMALL = ("compact", *get_args(MotionNetwork))
"""Presets of many small operations, which gain little from several threads each."""


def threads_of(preset: str) -> int | None:
    """Threads that one operation may use in training, whatever the number of processes.

    The number of threads decides in which order sums are rounded, and so the last digits of every
    weight: a run gives the same numbers with any number of workers because this does not depend
    on them. For compact this costs a single worker 7 to 16 % on two cores (five streams, the
    three steadier of four pairs of runs); with a worker for each core it costs nothing.

    Returns
    -------
    int or None
        1 for presets of many small operations; None, which means one for each core, for others.
    """
    return 1 if preset in _SMALL else None


def load_keras(n_threads: int | None = None) -> None:
    """Import Keras without the greeting its TensorFlow backend writes, past every setting.

    TensorFlow also warns of tracing a function again, which cannot be avoided with a model a row.

    Parameters
    ----------
    n_threads : int, optional
        Threads an operation may use; see `threads_of`. Without effect once Keras is imported;
        None leaves it to the backend.
    """
    if n_threads is not None:
        for name in _THREADS:
            os.environ[name] = str(n_threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # or it logs its memory later on
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as greeting:
        os.dup2(greeting.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)  # the search for a GPU, and its complaints, come with the first use
        except BaseException:
            greeting.seek(0)
            os.write(stderr, greeting.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
