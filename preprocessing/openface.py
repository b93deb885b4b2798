"""Runs the OpenFace program on one video and trusts only the CSV it writes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from microx.errors import InputError, LandmarkError
from microx.preprocessing.landmarks import Landmarks, read_landmarks_csv
from microx.progress import Progress

PROGRAM = "FeatureExtraction"
"""OpenFace's program for one face."""

SEVERAL_PROGRAM = "FaceLandmarkVidMulti"
"""OpenFace's program for several faces."""

_CLNF_MODEL = "model/main_clnf_general.txt"
_CEN_SIZES, _CLNF_SIZES = ("0.25", "0.35", "0.50", "1.00"), ("0.25", "0.35", "0.5")
_MODEL_FILES = {  # what each model reads first, the default model before the other
    "CEN": (
        "model/main_ceclm_general.txt",
        *(f"model/patch_experts/cen_patches_{size}_of.dat" for size in _CEN_SIZES),
    ),
    "CLNF": (
        _CLNF_MODEL,
        *(f"model/patch_experts/ccnf_patches_{size}_general.txt" for size in _CLNF_SIZES),
    ),
}
# More threads than this abort OpenFace on hosts with many cores, and slow it on others.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_POLL_S = 0.2  # between looks at the growing CSV (our choice)
_GRACE_S = 3.0  # from being asked to stop to being killed (our choice)
_TAIL_BYTES = 1 << 16  # holds several rows of the widest CSV (our choice)
_ELSE = "or use the embedded `landmarks=dlib`"
_REASONS = {
    1: "its models are missing or do not load",
    125: "the container could not be started",
    126: "the program may not be run",
    127: "the program was not found",
    128 + 6: "it could not write its folder, or ran out of threads or memory",  # SIGABRT
    128 + 9: "by a user or for lack of memory",  # SIGKILL, which Windows does not define
}


@dataclass(frozen=True)
class OpenFace:
    """How to call OpenFace here; `find_openface` makes one.

    Parameters
    ----------
    argv : tuple of str
        The words before OpenFace's own arguments.
    mloc : str or None
        The model to ask for with ``-mloc``; None leaves it to the program.
    cwd : Path or None
        The folder to run in; None for the current one.
    """

    argv: tuple[str, ...]
    mloc: str | None
    cwd: Path | None


def find_openface(command: str | Path | None = None, *, several: bool = False) -> OpenFace:
    """Find OpenFace by the command a user gives, and the model it can load.

    Parameters
    ----------
    command : str or path, optional
        As typed in a shell: the program's path or its name on PATH, with arguments or
        without; OpenFace's folder, where the program or ``build/bin`` is in it; or a longer
        command that ends in the program's name, such as ``docker run --rm -v /tmp:/tmp -v
        /data:/data -e OMP_NUM_THREADS=1 -e OPENBLAS_NUM_THREADS=1 IMAGE FeatureExtraction``.
        A container must see the videos and the temporary folder under the paths they have
        outside. Without it, the program on PATH.
    several : bool
        Use FaceLandmarkVidMulti, which follows several faces, not FeatureExtraction, which
        follows one. Where `command` names the other, the one beside it is used.

    Returns
    -------
    OpenFace
        With the program's real path, because its models are looked for beside the path it
        is called by. `mloc` is the CLNF model where only that is complete and the
        command gives none.

    Raises
    ------
    LandmarkError
        If the program or its model files are missing. A program of another name is not
        checked, since it may be a container's or a script of the user's.

    Notes
    -----
    Source: OpenFace 2.2.0, its default model (CEN) and where it looks for it: beside the
    program, or for an installed one in ``../etc/OpenFace``.
    """
    name = SEVERAL_PROGRAM if several else PROGRAM
    text = name if command is None else os.fspath(command).strip()
    program = _find_program(text, name)
    words = [text] if program else _split(text)
    program = program or (_find_program(words[0], name) if words else None)
    if program is None:
        wanted = f"{name} on PATH" if command is None else text or "command"
        raise LandmarkError(
            f"OpenFace: expected a runnable {wanted}; found none; name it with `openface`, {_ELSE}"
        )
    if not _is_openface(program.resolve()):
        return OpenFace((str(program), *_renamed(words[1:], name)), mloc=None, cwd=None)
    program = _neighbour(program.resolve(), name)
    asks = "-mloc" in words
    return OpenFace(
        (str(program), *words[1:]),
        mloc=None if asks or _model(program) == "CEN" else _CLNF_MODEL,
        # A model the user gives may be relative to the current folder.
        cwd=None if asks else program.parent,
    )


def describe_openface(command: str | Path | None = None) -> dict[str, str]:
    """Describe what would run as OpenFace, for a report on the installation; raises nothing.

    Returns
    -------
    dict of str
        ``program``, the path or command; ``model``, "CEN", "CLNF", or why it is unknown;
        ``missing``, the files without which CEN, the default, cannot run; ``several``,
        "yes", or why several faces cannot be followed; ``problem``, why OpenFace cannot run.
        Empty where there is nothing to report.
    """
    facts = dict.fromkeys(("program", "model", "missing", "several", "problem"), "")
    try:
        found = find_openface(command)
    except LandmarkError as error:
        return facts | {"problem": str(error)}
    program = Path(found.argv[0])
    facts |= {"program": shlex.join(found.argv), "several": "yes"}
    if not _is_openface(program):
        facts["model"] = "unknown: the command is not OpenFace itself"
    elif "-mloc" in found.argv:
        facts["model"] = "given in the command"
    else:
        facts["model"] = _model(program)
        facts["missing"] = ", ".join(map(str, _missing(program)["CEN"]))
    try:
        find_openface(command, several=True)
    except LandmarkError as error:
        facts["several"] = str(error)
    return facts


def run_openface(
    video: str | Path,
    *,
    command: str | Path | OpenFace | None = None,
    several: bool = False,
    n_frames: int | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
) -> list[Landmarks]:
    """Find the 68 landmarks in every frame of one video with OpenFace.

    Parameters
    ----------
    video : path
        The video.
    command : str, path or OpenFace, optional
        See `find_openface`, or what it returned for this value of `several`.
    several : bool
        Follow several faces with FaceLandmarkVidMulti.
    n_frames : int, optional
        Frames the video has when decoded. OpenFace exits 0 after a video cut short;
        only this number shows it.
    timeout_s : float, optional
        Seconds after which the run is stopped; without it, no limit.
    progress : callable, optional
        Called with the frames done, `n_frames` (0 if unknown) and the video's name.

    Returns
    -------
    list of Landmarks
        One; or with `several`, one for each ``face_id`` by first appearance, none where no
        face was seen. Each has one row a frame.

    Raises
    ------
    InputError
        If there is no such video.
    LandmarkError
        If the program is missing, fails, is killed, takes too long, or leaves no CSV or
        one with another number of frames.

    Notes
    -----
    Source: OpenFace 2.2.0, ``FeatureExtraction -f VIDEO -2Dfp -out_dir DIR``, in a fresh
    folder each time. The program and all it starts end with this call, however it ends.
    """
    video = Path(video).absolute()
    if not video.is_file():
        raise InputError(f"{video}: expected a video; found no such file")
    program = command if isinstance(command, OpenFace) else find_openface(command, several=several)
    with tempfile.TemporaryDirectory(
        prefix="microx-openface-", ignore_cleanup_errors=True
    ) as scratch:
        folder = Path(scratch).resolve() / "out"
        folder.mkdir()
        with tempfile.TemporaryFile() as log:
            code = _run(program, video, folder, log, n_frames, timeout_s, progress)
            tables = sorted(folder.glob("*.csv"))
            if code != 0 or len(tables) != 1:
                raise LandmarkError(_failure(video, code, len(tables), folder, n_frames, log))
        faces = _read(video, tables[0], several, n_frames)
    if progress is not None:
        length = len(faces[0]) if faces else n_frames or 0
        progress(length, n_frames or length, video.name)
    return faces


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise LandmarkError(
            f"OpenFace: expected a command; {error} in {text}; check its quotes"
        ) from None


def _find_program(text: str, name: str) -> Path | None:
    """The program that one word, which may contain spaces, refers to."""
    word = os.path.expanduser(text)
    found = shutil.which(word)
    if found is not None:
        return Path(found).absolute()
    if text and os.path.isdir(word):
        for place in (Path(word), Path(word, "bin"), Path(word, "build", "bin")):
            if (inside := shutil.which(str(place.absolute() / name))) is not None:
                return Path(inside)
        raise LandmarkError(
            f"{text}: expected {name} in this folder, its bin or its build/bin; found none; "
            f"build OpenFace, {_ELSE}"
        )
    if os.path.isfile(word):
        if os.access(word, os.X_OK):
            return Path(word).absolute()
        raise LandmarkError(
            f"{text}: expected a runnable program; found a file that may not be run; "
            f"run: chmod +x {shlex.quote(word)}"
        )
    return None


def _is_openface(program: str | Path) -> bool:
    return Path(program).name in (PROGRAM, SEVERAL_PROGRAM)


def _renamed(words: list[str], name: str) -> list[str]:
    """A longer command's words, with `name` for the last program of OpenFace in them."""
    places = [place for place, word in enumerate(words) if _is_openface(word)]
    if places:
        words[places[-1]] = str(Path(words[places[-1]]).with_name(name))
    return words


def _neighbour(program: Path, name: str) -> Path:
    other = program.with_name(name)
    if not os.access(other, os.X_OK):
        raise LandmarkError(
            f"{other}: expected OpenFace's {name} beside {program.name}; found none; "
            f"build all of OpenFace, {_ELSE}"
        )
    return other


def _missing(program: Path) -> dict[str, list[Path]]:
    """For each model, the files it lacks."""
    folders = [program.parent, program.parent.parent / "etc" / "OpenFace"]
    folder = next((place for place in folders if (place / "model").is_dir()), program.parent)

    def lacks(path: Path) -> bool:
        return not path.is_file() or path.stat().st_size == 0

    return {
        model: [folder / name for name in names if lacks(folder / name)]
        for model, names in _MODEL_FILES.items()
    }


def _model(program: Path) -> str:
    """Which model is complete, the default before the other."""
    lacking = _missing(program)
    for model, files in lacking.items():
        if not files:
            return model
    raise LandmarkError(
        f"{program}: expected its model files; {lacking['CEN'][0]} is missing or empty; run "
        f"OpenFace's download_models.sh and copy the files there, {_ELSE}"
    )


def _run(
    program: OpenFace,
    video: Path,
    folder: Path,
    log: IO[bytes],
    n_frames: int | None,
    timeout_s: float | None,
    progress: Progress | None,
) -> int:
    """Run OpenFace to its end, or end it; return its exit code."""
    began, reported = time.monotonic(), 0
    process = _start(program, video, folder, log)
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_S)
            done = _frames_written(folder)
            if progress is not None and done > reported:
                progress(done, n_frames or 0, video.name)
                reported = done
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise LandmarkError(
                    f"{video}: OpenFace was stopped after {timeout_s:g} s; by then it "
                    f"{_wrote(done, n_frames)}; allow it more time"
                )
    finally:
        _end_group(process)


def _start(program: OpenFace, video: Path, folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [*program.argv, "-f", str(video), "-2Dfp", "-out_dir", str(folder)]
    if program.mloc is not None:
        command += ["-mloc", program.mloc]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=program.cwd,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        raise LandmarkError(f"{command[0]}: expected to run OpenFace; {error}") from None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and all it started (on Windows, itself), and leave nothing behind."""
    if sys.platform == "win32":  # has no process groups to end
        process.kill()
        process.wait()
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            process.poll()  # lets the ended leader leave its group
            os.killpg(process.pid, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _frames_written(folder: Path) -> int:
    """The frame in the last whole row of the CSV as far as it is written; 0 if none."""
    for table in folder.glob("*.csv"):
        with table.open("rb") as file:
            file.seek(max(0, table.stat().st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]  # what follows the last line's end is not whole
        with suppress(ValueError, IndexError):
            return int(lines[-1].split(b",")[0])
    return 0


def _failure(
    video: Path, code: int, n_tables: int, folder: Path, n_frames: int | None, log: IO[bytes]
) -> str:
    lines = _printed(log)
    unopened = [line for line in lines if "Failed to open" in line]
    if code == 0 and n_tables == 0 and unopened:
        return (
            f"{video}: expected a video; OpenFace could not open it: {unopened[0]}; "
            "convert it, to mp4 with H.264 for instance"
        )
    how = _ending(code) if code else f"left {n_tables} CSVs and not one, with exit code 0"
    return (
        f"{video}: OpenFace {how}; by then it {_wrote(_frames_written(folder), n_frames)}; "
        f"its last output: {lines[-1] if lines else 'nothing'}"
    )


def _ending(code: int) -> str:
    """An exit code in words. Shells and containers report signal n as 128 + n."""
    code = 128 - code if code < 0 else code
    reason = f" ({_REASONS[code]})" if code in _REASONS else ""
    if code - 128 in set(signal.Signals):
        return f"was killed by {signal.Signals(code - 128).name}{reason}"
    return f"failed with exit code {code}{reason}"


def _printed(log: IO[bytes]) -> list[str]:
    """The first and the last of what the program printed, which may be very long."""
    size = log.seek(0, os.SEEK_END)
    log.seek(0)
    text = log.read(_TAIL_BYTES)
    log.seek(max(log.tell(), size - _TAIL_BYTES))
    text += log.read()
    lines = text.decode("utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _wrote(n_written: int, n_frames: int | None) -> str:
    return f"wrote {n_written} of {n_frames} frames" if n_frames else f"wrote {n_written} frames"


def _read(video: Path, table: Path, several: bool, n_frames: int | None) -> list[Landmarks]:
    try:
        faces = read_landmarks_csv(table, n_frames=n_frames if several else None, several=several)
    except InputError as error:
        fault = str(error).removeprefix(f"{table}: ")
        raise LandmarkError(f"{video}: OpenFace left a CSV that cannot be used: {fault}") from None
    if not several:
        n_written = len(faces[0]) if faces else 0
        if n_written == 0 or n_frames not in (None, n_written):
            raise LandmarkError(
                f"{video}: OpenFace {_wrote(n_written, n_frames)}; the video may be damaged "
                "or still being written; convert it and try again"
            )
    return faces
