"""Many evaluations as one run: rows, seeds and folds, one by one, continued after a stop.

A run folder::

    RUN/run.json                             what was run: rows, seeds, arguments, corpus
    RUN/results.csv                          the table, see `results_table`
    RUN/predictions.csv                      every row's prediction for every test clip
    RUN/rows/<row>/seed_<s>/fold_<k>/        predictions.csv  history.csv  result.json  model.keras
    RUN/rows/<row>/seed_<s>/fold_<k>/oracle/ the same, its epoch chosen on the test clips

Rows that differ only in their test share a training; the model is in the folder of the first of
them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import joblib
import pandas as pd

from microx._version import VERSION
from microx.corpus.corpus import Corpus
from microx.errors import InputError, MicroxError, ModelError
from microx.evaluation.evaluate import Condition, Plan, evaluate_fold, plan_evaluation
from microx.evaluation.result import (
    EvaluationResult,
    is_finished,
    join_folds,
    read_result,
    tabulate_predictions,
    write_result,
)
from microx.evaluation.summary import results_table
from microx.files import check_new_folder, hold_folder, whole_file
from microx.markup import to_html
from microx.parallel import run_here, run_on_dask
from microx.progress import Progress, ProgressOption, part_of, tell_progress
from microx.training.backend import load_keras, threads_of
from microx.training.model_file import read_versions
from microx.training.protocol import Protocol
from microx.training.settings import SVMS, FitOptions, FitSettings

_OF_A_CORPUS = (*("video_id", "emotion", "subject", "corpus", "onset", "apex", "offset", "sha256"),)
"""Columns that identify a corpus, whatever policy it was cropped by."""

_RUN, _RESULTS, _PREDICTIONS = "run.json", "results.csv", "predictions.csv"
_ORACLE = "oracle"

_ONE_AT_A_TIME = threading.Lock()
"""A worker of Dask has threads, but Keras has one seed and one precision for each process."""


@dataclass(frozen=True)
class Row:
    """One row of a table: how a model is trained, and how it is tested.

    Attributes
    ----------
    name : str
        Of the row, unique in its run.
    fit : mapping
        Where it differs from the run: protocol (its kind), n_folds, preset, regions,
        shuffle_labels, and settings by name.
    condition : Condition
        How its test clips are changed.
    """

    name: str
    fit: Mapping[str, Any] = field(default_factory=dict)
    condition: Condition = field(default_factory=Condition)


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its folder holds it.

    Attributes
    ----------
    folder : Path
    about : dict
        run.json: ``experiment``, ``rows`` (name to fit and condition, in order), ``seeds``,
        ``arguments``, ``corpus``, ``classes`` and ``microx``.
    rows : dict of str to tuple of EvaluationResult
        The finished rows in order, a result for each seed.
    oracles : dict of str to tuple of EvaluationResult
        The same with the epoch chosen on the test clips; not honest results.
    """

    folder: Path
    about: dict[str, Any]
    rows: dict[str, tuple[EvaluationResult, ...]]
    oracles: dict[str, tuple[EvaluationResult, ...]]

    def __repr__(self) -> str:
        experiment = self.about.get("experiment", "run")
        n_rows, n_seeds = len(self.about["rows"]), len(self.about.get("seeds", ()))
        return f"Run({experiment}: {len(self.rows)} of {n_rows} rows, seeds: {n_seeds})"

    def _repr_html_(self) -> str:
        columns = ["name", "n_test", "accuracy", "accuracy_low", "accuracy_high", "uar", "uf1"]
        return to_html(self.table[columns].round(3), caption=repr(self))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Rows of which a seed or a fold is missing."""
        return tuple(name for name in self.about["rows"] if name not in self.rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Scores of the finished rows: `microx.evaluation.summary.results_table`."""
        return results_table(self.rows)


def run_grid(
    corpus: Corpus,
    out: str | Path,
    rows: Sequence[Row],
    *,
    experiment: str,
    arguments: Mapping[str, Any],
    protocol: Protocol | str = "holdout",
    preset: str = "compact",
    settings: FitSettings | None = None,
    seed: int = 0,
    n_seeds: int = 1,
    oracle: bool = False,
    tensorboard: bool = False,
    n_workers: int = 1,
    dask: str | None = None,
    progress: ProgressOption = None,
    warn: Callable[[str], None] | None = None,
    **changes: Unpack[FitOptions],
) -> Run:
    """Evaluate every row with every seed; a run that was cut off continues where it stopped.

    Parameters
    ----------
    corpus : Corpus
    out : path
        Run folder, made if missing. Finished cells in it are read, not trained again.
    rows : sequence of Row
        At least one.
    experiment : str
        Name of the run in its report, such as ``"ablate"``.
    arguments : mapping
        The caller's further arguments, stored in run.json; must be valid JSON.
    protocol, preset, settings, **changes
        Of every row that does not set its own; see `microx.evaluation.evaluate.evaluate`.
    n_seeds : int
        Trainings of each row, with seeds `seed`, `seed` + 1 …; all test the same subjects.
    seed : int
        Also the seed of the split.
    oracle : bool
        See `microx.evaluation.evaluate.evaluate_fold`.
    tensorboard : bool
        Whether each training writes TensorBoard's logs into the folder ``tensorboard`` beside
        its model.
    n_workers : int
        Processes that train; 1 for this one only, -1 for one per core. The numbers are the same
        for any number of them, if Keras was loaded with the threads of `threads_of`, as the
        command line does; a process that loaded it before rounds sums in another order.
    dask : str, optional
        Address of a Dask scheduler, whose workers train instead; they must see the same folders.
    progress : callable or bool, optional
        Called with the steps done, the steps in all, and a few words. None shows a bar in a
        terminal and a notebook, False shows nothing.
    warn : callable, optional
        Called before training with each sentence about the splits, such as a class without
        training clips. The report has them, too.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If `out` holds another run (the difference is named), two rows share a name, or an
        argument is invalid.
    ModelError
        If a training failed; the others are finished and kept.
    """
    check_new_folder(out)
    out = Path(out).absolute()  # workers may run in another folder
    corpus = replace(corpus, folder=corpus.folder.absolute())
    if n_seeds < 1:
        raise InputError(f"`n_seeds` must be at least 1; received {n_seeds}")
    if len({row_folder(out, row.name) for row in rows}) < len(rows) or not rows:
        raise InputError(f"{out}: expected rows of different names; found {[r.name for r in rows]}")
    shared = _list_shared(Protocol.of(protocol), preset, settings, changes)
    told = {**arguments, **shared, "seed": seed, "n_seeds": n_seeds, "oracle": oracle}
    # Invalid arguments are refused before the folder is made.
    seeds = range(seed, seed + n_seeds)
    trainings = _share_trainings(corpus, rows, shared, seeds)
    if warn is not None:
        for sentence in dict.fromkeys(s for one in trainings for s in one.plans[0].cautions()):
            warn(sentence)
    with _held(out):
        _start_run(out, rows, trainings, seeds, experiment, told)
        cells = [
            _Cell(out, plan, fold, one.rows, oracle, tensorboard, threads_of(preset))
            for one in trainings
            for plan in one.plans
            for fold in range(len(plan.splits))
        ]
        cells = [cell for cell in cells if not cell.is_finished()]
        with tell_progress(progress, experiment, "steps") as told_step:
            outcomes = dict(_work(cells, n_workers, dask, told_step))
        failures = [f"{key}: {done['failed']}" for key, done in outcomes.items() if done]
        run = _read_finished(out)
        if run.rows:
            with whole_file(out / _RESULTS) as partial:
                run.table.to_csv(partial, index=False)
            with whole_file(out / _PREDICTIONS) as partial:
                _join_predictions(run).to_csv(partial, index=False)
    if failures:
        raise ModelError(
            f"{out}: {len(failures)} of {len(cells)} trainings failed ({failures[0]}); "
            "the others are kept; fix it and run the same command again to continue"
        )
    return run


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Parameters
    ----------
    folder : path
        What `run_grid` wrote; an interrupted run gives the rows finished so far.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the folder is not a run folder, holds no finished row, or is damaged.
    """
    run = _read_finished(Path(folder))
    if not run.rows:
        raise InputError(
            f"{folder}: none of the {len(run.about['rows'])} rows of this run is finished; "
            f"run the same command again to continue"
        )
    return run


def _read_finished(folder: Path) -> Run:
    about = _read_run_json(folder)
    rows, oracles = {}, {}
    for name in about["rows"]:
        folds = range(about["rows"][name]["n_folds"])
        seeds = [
            [cell_folder(folder, name, seed, fold) for fold in folds] for seed in about["seeds"]
        ]
        if all(is_finished(cell) for cells in seeds for cell in cells):
            rows[name] = tuple(join_folds([read_result(c) for c in cells]) for cells in seeds)
        peeks = [[cell / _ORACLE for cell in cells] for cells in seeds]
        if all(is_finished(cell) for cells in peeks for cell in cells):
            oracles[name] = tuple(join_folds([read_result(c) for c in cells]) for cells in peeks)
    return Run(folder, about, rows, oracles)


def row_folder(run_folder: str | Path, row: str) -> Path:
    """Folder of a row within a run, with a name that every file system accepts.

    Examples
    --------
    >>> row_folder("RUN", "regions+face, labels shuffled").as_posix()
    'RUN/rows/regions+face_labels_shuffled'
    """
    return Path(run_folder) / "rows" / re.sub(r"[^A-Za-z0-9+_-]+", "_", row)


def cell_folder(run_folder: str | Path, row: str, seed: int, fold: int) -> Path:
    """Folder of one fold of a row, trained with one seed; see `row_folder`."""
    return row_folder(run_folder, row) / f"seed_{seed}" / f"fold_{fold}"


@dataclass(frozen=True, eq=False)
class _Training:
    """A training that several rows share, and how each of them tests it."""

    fit: dict[str, Any]
    plans: tuple[Plan, ...]  # one for each seed
    rows: tuple[tuple[str, Condition], ...]


def _share_trainings(
    corpus: Corpus, rows: Sequence[Row], shared: Mapping[str, Any], seeds: Sequence[int]
) -> list[_Training]:
    """Group rows with the same training, in order of appearance."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(json.dumps(dict(row.fit), sort_keys=True), []).append(row)
    trainings = []
    for alike in members.values():
        fit = {**shared, **alike[0].fit}
        plans = tuple(_plan(corpus, fit, seed=seed, split_seed=seeds[0]) for seed in seeds)
        trainings.append(_Training(fit, plans, tuple((row.name, row.condition) for row in alike)))
    return trainings


def _list_shared(
    protocol: Protocol, preset: str, settings: FitSettings | None, changes: FitOptions
) -> dict[str, Any]:
    """The default arguments of all rows, as in run.json."""
    if protocol.split_file is not None:
        protocol = replace(protocol, split_file=Path(protocol.split_file).absolute())
    changed = {**(settings.changes_from(preset) if settings else {}), **changes}
    told = {name: value for name, value in changed.items() if value is not None}
    return {**protocol.as_dict(), "preset": preset, **told}


def _plan(corpus: Corpus, fit: Mapping[str, Any], *, seed: int, split_seed: int) -> Plan:
    """Plan the ``fit`` of a row in run.json: its protocol, its model and its settings."""
    given = dict(fit)
    protocol = Protocol(
        given.pop("protocol"),
        given.pop("n_folds"),
        split_seed=split_seed,
        split_file=given.pop("split_file", None),
    )
    return plan_evaluation(corpus, protocol=protocol, seed=seed, **given)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One fold of one training with one seed, and the rows that test it."""

    out: Path
    plan: Plan
    fold: int
    rows: tuple[tuple[str, Condition], ...]
    oracle: bool
    tensorboard: bool
    n_threads: int | None = None

    @property
    def key(self) -> str:
        return f"{self.rows[0][0]}, seed {self.plan.seed}, fold {self.fold + 1}"

    def folders(self) -> list[Path]:
        """Folders of its results, in the order of `microx.evaluation.evaluate.evaluate_fold`."""
        found = [cell_folder(self.out, row, self.plan.seed, self.fold) for row, _ in self.rows]
        has_oracle = self.oracle and self.plan.preset not in SVMS  # which have no epochs
        return [*found, found[0] / _ORACLE] if has_oracle else found

    def is_finished(self) -> bool:
        return all(map(is_finished, self.folders()))

    def train(self, progress: Progress | None = None) -> tuple[str, dict[str, Any]]:
        """Train, test and store; return the reason if something failed."""
        folders = self.folders()
        try:
            results = evaluate_fold(
                self.plan,
                self.fold,
                self.rows,
                oracle=self.oracle,
                path=folders[0] / "model.keras",
                log_dir=folders[0] / "tensorboard" if self.tensorboard else None,
                progress=progress,
            )
        except MicroxError as error:
            return self.give_up(str(error))
        except Exception as error:  # such as lack of memory: the other cells continue
            folders[0].mkdir(parents=True, exist_ok=True)
            told = folders[0] / "traceback.txt"
            told.write_text(traceback.format_exc(), encoding="utf-8")
            first = (str(error).splitlines() or [""])[0]
            return self.give_up(f"{type(error).__name__}: {first}; see {told}")
        for result, folder in zip(results, folders, strict=True):
            write_result(result, folder)
        return self.key, {}

    def run(self) -> tuple[str, dict[str, Any]]:
        """Run in this process, a worker of a pool."""
        with _ONE_AT_A_TIME:
            load_keras(self.n_threads)
            return self.train()

    def give_up(self, reason: str) -> tuple[str, dict[str, Any]]:
        return self.key, {"failed": reason}


def _work(
    cells: Sequence[_Cell], n_workers: int, dask: str | None, progress: Progress | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if dask is None and joblib.effective_n_jobs(n_workers) == 1:
        for k, cell in enumerate(cells):
            yield cell.train(part_of(progress, k, len(cells), f"{cell.key}: "))
        return
    with closing(run_here(cells, n_workers) if dask is None else run_on_dask(cells, dask)) as run:
        for n_done, (key, outcome) in enumerate(run, start=1):
            if progress is not None:
                progress(n_done, len(cells), key)
            yield key, outcome


def _start_run(
    out: Path,
    rows: Sequence[Row],
    trainings: Sequence[_Training],
    seeds: Sequence[int],
    experiment: str,
    arguments: Mapping[str, Any],
) -> None:
    """Write run.json, or check that the existing one is the same."""
    first = trainings[0].plans[0]
    manifest = first.corpus.manifest[list(_OF_A_CORPUS)]
    about = {
        name: {
            "fit": one.fit,
            "condition": asdict(condition),
            "n_folds": len(one.plans[0].splits),
            "splits_hash": _hash_splits(one.plans[0]),
        }
        for one in trainings
        for name, condition in one.rows
    }
    run: dict[str, Any] = {
        "microx": VERSION,
        "experiment": experiment,
        "arguments": dict(arguments),
        "versions": read_versions(),
        "seeds": list(seeds),
        "rows": {row.name: about[row.name] for row in rows},
        "classes": list(first.corpus.classes),
        "corpus": {
            "recipe_hash": first.corpus.recipe_hash,
            "n_videos": int(first.clips["video_id"].nunique()),
            "n_clips": len(first.clips),
            "manifest_hash": _hash(manifest),
        },
    }
    run = json.loads(json.dumps(run))  # as it will be read
    if (out / _RUN).exists():
        before = _read_run_json(out)
        for part in (
            *("microx", "versions", "experiment", "arguments", "corpus", "classes", "seeds"),
            "rows",
        ):
            _check_same(out, part, before.get(part), run[part])
        return
    # The corpus must stay the same; its path, which the report reads, may change.
    folder = first.corpus.folder
    run["corpus"] |= {"folder": folder.name, "path": str(folder.resolve())}
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / _RUN) as partial:
        partial.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def _hash_splits(plan: Plan) -> str:
    """Hash the parts and labels of a plan, which another list of parts may change."""
    rows = [
        plan.clips.iloc[part][["clip_id", "emotion"]].assign(fold=fold, part=name)
        for fold, split in enumerate(plan.splits)
        for name, part in split.parts()
    ]
    return _hash(pd.concat(rows))


def _hash(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()[:16]


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Lock a run folder for this process, made if missing, or refuse it."""
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with hold_folder(out) as is_held:
        if not is_held:
            raise InputError(f"{out}: another microx is working on this run; wait for it to end")
        try:
            yield
        finally:
            if is_new and not (out / _RUN).exists():
                (out / ".lock").unlink()
                out.rmdir()


def _check_same(out: Path, part: str, before: Any, now: Any) -> None:
    if isinstance(before, dict) and isinstance(now, dict):
        # The path of a corpus may change.
        for key in now if part == "corpus" else before | now:
            _check_same(out, f"{part} {key}", before.get(key), now.get(key))
    elif before != now:
        raise InputError(
            f"{out}: holds a run with {part} {before}, now {now}; "
            f"use the same arguments to continue it, or another folder"
        )


def _read_run_json(folder: Path) -> dict[str, Any]:
    try:
        run = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        return {**run, "rows": dict(run["rows"]), "seeds": list(run["seeds"])}
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a run folder ({_RUN} not found); `microx ablate` makes one"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / _RUN}: cannot be read as a run ({error})") from error


def _join_predictions(run: Run) -> pd.DataFrame:
    """Every row's and every seed's prediction for every test clip."""
    return pd.concat(
        [
            tabulate_predictions(result).assign(row=name, seed=seed, leaky=result.facts.is_leaky)
            for name, results in run.rows.items()
            for seed, result in zip(run.about["seeds"], results, strict=True)
        ]
    )
