"""Runs jobs in parallel, here or on a Dask cluster, and survives a worker that is killed."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import joblib

from microx.errors import CorpusError

DASK_TIMEOUT_S = 10
"""Limit for finding the scheduler, and then one of its workers (our choice)."""

IDLE_S = 10
"""Time that an idle worker stays, even if this process was killed (our choice)."""

KILLED = "its process was killed, perhaps for lack of memory"

_CHATTY = ("distributed", "distributed.client", "distributed.comm", "tornado.application")

Outcome = tuple[str, dict[str, Any]]
"""A job's key and its result."""

Outcomes = Generator[Outcome]


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Let OpenCV use one thread, in a process beside others that share the cores already."""
    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(n_threads)


class Job(Protocol):
    """Something to do, such as one video; it can be sent to another process."""

    @property
    def key(self) -> str:
        """Which job it is."""

    def run(self) -> Outcome:
        """Run it."""

    def give_up(self, reason: str) -> Outcome:
        """Report that it cannot be done."""


def peak_memory_mib() -> float | None:
    """Give the peak memory of this process so far, in MiB; None where it is not known.

    Notes
    -----
    Linux's ``VmHWM``. ``ru_maxrss``, used where there is none, is inherited by a process from
    the one that starts it: for a worker it is the maximum of both.
    """
    status = Path("/proc/self/status")
    if status.exists():
        held = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(held.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # on Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024**2 if sys.platform == "darwin" else 1024)


def run_here(jobs: Sequence[Job], n_workers: int) -> Outcomes:
    """Run jobs in processes of this machine.

    Parameters
    ----------
    jobs : sequence of Job
        With different keys.
    n_workers : int
        Processes; 1 for this one only, -1 for one per core.

    Yields
    ------
    tuple
        What each job's `run` returns, in the order in which they end. A job that kills its
        process is run once more, alone, and then given up by its `give_up`.
    """
    waiting = {job.key: job for job in jobs}
    while waiting:
        try:
            # One by one and two ahead: so the running jobs are always among the first waiting.
            with (
                _silent_stop(),
                joblib.parallel_config("loky", idle_worker_timeout=IDLE_S),
                joblib.Parallel(
                    n_jobs=n_workers,
                    batch_size=1,
                    pre_dispatch="2*n_jobs",
                    return_as="generator_unordered",
                ) as parallel,
            ):
                for outcome in parallel(
                    [joblib.delayed(_do_deaf)(j, os.getpid()) for j in waiting.values()]
                ):
                    del waiting[outcome[0]]
                    yield outcome
        except BrokenProcessPool:
            n_suspects = 3 * joblib.effective_n_jobs(n_workers)
            for key in list(waiting)[:n_suspects]:
                yield _run_alone(waiting.pop(key))


@contextmanager
def _silent_stop() -> Iterator[None]:
    """Silence joblib's warnings about unfinished jobs when a run is stopped.

    It also warns of every worker that it replaced because it had grown.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
        yield


def _run_alone(job: Job) -> Outcome:
    """Run one job, alone, in a process of its own."""
    try:
        done: list[Outcome] = joblib.Parallel(n_jobs=2)([joblib.delayed(_do)(job)])
    except BrokenProcessPool:
        return job.give_up(KILLED)
    return done[0]


def run_on_dask(jobs: Sequence[Job], address: str) -> Outcomes:
    """Run jobs on the workers of a Dask scheduler; see `run_here`.

    Raises
    ------
    CorpusError
        If the package distributed is not installed, no scheduler or worker responds, or the
        workers have another version of microx.
    """
    distributed = _import_distributed(address)
    lost = (distributed.CancelledError, distributed.comm.CommClosedError)
    with _quiet():
        try:
            with _dask_client(address) as client:
                job_of = dict(zip(client.map(_do, jobs, pure=False), jobs, strict=True))
                for future in distributed.as_completed(job_of, loop=client.loop):
                    try:
                        yield future.result()
                    except distributed.KilledWorker:  # the third one to die of this job
                        yield job_of[future].give_up(KILLED)
        except lost:
            raise CorpusError(
                f"dask {address}: the scheduler was lost; what is done is kept; start it again, "
                "then run the same command again"
            ) from None


def _import_distributed(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise CorpusError(
            f"dask {address}: expected the package distributed; run: pip install 'microx[dask]'"
        ) from None
    return distributed


def _version() -> str:
    """Give the version of the package as a worker finds it, complete or not."""
    return str(importlib.import_module("microx").__version__)


def _check_workers(client: Any, address: str) -> None:
    """Refuse workers that cannot run a job: Dask would offer it to them for ever."""
    try:
        client.wait_for_workers(1, timeout=DASK_TIMEOUT_S)
        # First with a function that any worker has: a missing one never gets a response.
        if not all(client.run(importlib.util.find_spec, __name__).values()):
            raise ModuleNotFoundError(f"no {__name__}")
        found = set(client.run(_version).values())
    except TimeoutError:
        raise CorpusError(
            f"dask {address}: expected a worker; found none; start one: dask worker {address}"
        ) from None
    except Exception as error:  # whatever an import there raises
        found = {f"{type(error).__name__}: {error}"}
    if found != {_version()}:
        raise CorpusError(
            f"dask {address}: expected workers with microx {_version()}; found "
            f"{', '.join(sorted(found))}; install the same microx there"
        )


@contextmanager
def _dask_client(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        _wait_for_port(address)
        client = Client(address, set_as_default=False, timeout=DASK_TIMEOUT_S)
    except (OSError, ValueError) as error:
        found = " ".join(str(error).split())
        raise CorpusError(
            f"dask {address}: expected a Dask scheduler, such as tcp://host:8786; {found}"
        ) from None
    with client:
        _check_workers(client, address)
        yield client


def _wait_for_port(address: str) -> None:
    """Wait until an address accepts connections; raise `OSError` or `ValueError` if none does.

    A Dask client that cannot connect is cleaned up at any later time, and may then block
    another one for ever: so none is made before there is something to connect to.
    """
    from distributed.comm import get_address_host_port

    place, end = get_address_host_port(address), time.monotonic() + DASK_TIMEOUT_S
    while True:
        try:
            socket.create_connection(place, timeout=DASK_TIMEOUT_S).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from logging tracebacks of errors reported here in one line."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _do(job: Job) -> Outcome:
    return job.run()


def _do_deaf(job: Job, parent: int) -> Outcome:
    """Run a job; Ctrl-C, which reaches every process of a terminal, is for the parent alone.

    The parent ends its workers; one that got the signal would also print a traceback.
    """
    if os.getpid() != parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return job.run()
