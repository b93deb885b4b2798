"""What is installed here, and whether it works: each landmark backend is tried on a drawn face.

Nothing is imported here that may be the very thing that is broken.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from microx._version import VERSION
from microx.errors import InputError, MicroxError
from microx.progress import Progress
from microx.schema import FRAME_RATE

if TYPE_CHECKING:
    import numpy as np

WORST_ERROR = 0.1
"""Mean distance from the drawn landmarks, in outer-eye distances, that still counts as found
(our choice; dlib and OpenFace differ from each other by about 0.025 on real faces)."""

LEAST_FOUND = 0.9
"""Share of the drawn frames in which the face must be found (our choice)."""

LEAST_ROOM = 2 * 2**30
"""Bytes free for temporary files below which a full disk is near (our choice)."""

_PATIENCE_S = 300  # for a backend to come up and look at one second of video (our choice)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
    state : {"ok", "optional", "missing", "failed"}
        "optional" is not there and not needed.
    found : str
        A version, a path, an error.
    advice : str
        What to do; empty where there is nothing to do.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def diagnose(*, openface: str | None = None, progress: Progress | None = None) -> list[Finding]:
    """Look at everything microx needs or can use, and try the landmark backends.

    What may end a process by its fault, as a TensorFlow built for another processor does, runs
    in a process of its own.

    Parameters
    ----------
    openface : str, optional
        The command, where OpenFace is not on PATH.
    progress : callable, optional
        Told the things looked at, all of them, and the latest.

    Returns
    -------
    list of Finding
        In a fixed order. Nothing is raised.

    Examples
    --------
    >>> [finding.name for finding in diagnose() if finding.state == "failed"]  # doctest: +SKIP
    []
    """
    looks: dict[str, Callable[[], Finding]] = {
        "python": _look_at_python,
        "keras": _look_at_keras,
        "tensorflow": lambda: _look_at_package("tensorflow"),
        "h5py": lambda: _look_at_package("h5py"),
        "joblib": lambda: _look_at_package("joblib"),
        "dask": _look_at_dask,
        "opencv": _look_at_opencv,
        "dlib": _look_at_dlib,
        "openface": lambda: _look_at_openface(openface),
        "temporary folder": _look_at_room,
        "processor": _look_at_cores,
        "try dlib": lambda: _try("dlib"),
        "try csv": lambda: _try("csv"),
        "try openface": lambda: _try("openface", openface),
    }
    findings = []
    for name, look in looks.items():
        try:
            findings.append(look())
        except (ImportError, OSError) as error:
            findings.append(Finding(name, "failed", str(error), _mend_import(str(error))))
        if progress:
            progress(len(findings), len(looks), name)
    return findings


def is_well(findings: list[Finding], backend: str = "dlib") -> bool:
    """Tell whether a landmark backend, the default one unless named, finds the drawn face.

    Examples
    --------
    >>> is_well([Finding("try dlib", "ok", "")]), is_well([])
    (True, False)
    """
    return any(finding.name == f"try {backend}" and finding.state == "ok" for finding in findings)


def try_backend(backend: str, openface: str | None = None) -> tuple[int, int, float]:
    """Let a landmark backend find a drawn face in a real video and compare with the truth.

    Parameters
    ----------
    backend : {"dlib", "openface", "csv"}
        For "csv", the truth is written as OpenFace writes it, and read.
    openface : str, optional
        The command, where OpenFace is not on PATH.

    Returns
    -------
    n_found, n_frames : int
        Frames in which the face was found, and frames drawn.
    error : float
        Mean distance from the drawn landmarks in those frames, in outer-eye distances; NaN if
        there are none.

    Raises
    ------
    InputError, LandmarkError
        If the video cannot be written or read, or the backend cannot run.
    """
    import numpy as np

    from microx.preprocessing.landmarks import outer_eye_distance, write_openface_csv
    from microx.preprocessing.pipeline import preprocess_video
    from microx.simulation.corpus import draw_take

    take = draw_take(3, "happy", n_frames=30)
    with tempfile.TemporaryDirectory(prefix="microx-doctor-") as folder:
        video, table = Path(folder, "drawn.mp4"), Path(folder, "drawn.csv")
        _write_video(video, take.frames)
        write_openface_csv(table, take.landmarks)
        seen = preprocess_video(
            video, landmarks=backend, landmarks_csv=table, openface=openface, frame_rate=None
        )
    n_frames = len(take.frames)
    found = np.flatnonzero(seen.landmarks.success[:n_frames])
    truth = take.landmarks.xy[found]
    distance = np.linalg.norm(seen.landmarks.xy[found] - truth, axis=2).mean(axis=1)  # (n,)
    error = float((distance / outer_eye_distance(truth)).mean()) if len(found) else float("nan")
    return len(found), n_frames, error


def _write_video(path: Path, frames: np.ndarray) -> None:
    import cv2

    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAME_RATE, size)
    if not writer.isOpened():
        raise InputError(f"{path}: expected OpenCV to write an mp4; it could not")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def _try(backend: str, openface: str | None = None) -> Finding:
    """Try a backend in a process of its own."""
    name = f"try {backend}"
    if backend == "openface" and _look_at_openface(openface).state != "ok":
        return Finding(name, "optional", "not tried")
    code = (
        "import sys; from microx.cli.doctor import try_backend; print(*try_backend(*sys.argv[1:]))"
    )
    worked, told = _ask_python(code, backend, *([openface] if openface else []))
    if not worked:
        return Finding(name, "failed", told, "" if "; " in told else _mend(backend, told))
    n_found, n_frames, error = told.split()
    text = f"{n_found} of {n_frames} frames of a drawn face found"
    if int(n_found):
        text += f", off by {float(error):.1%} of the outer-eye distance"
    good = int(n_found) >= LEAST_FOUND * int(n_frames) and float(error) <= WORST_ERROR
    return (
        Finding(name, "ok", text) if good else Finding(name, "failed", text, _mend(backend, text))
    )


def _mend(backend: str, told: str) -> str:
    if "libGL" in told:
        return _mend_import(told)
    if backend == "openface":
        return "let OpenFace run on a video by hand, or use --landmarks dlib"
    return "run: pip install --force-reinstall dlib-bin face-recognition-models opencv-python"


def _mend_import(error: str) -> str:
    if "libGL" in error:  # what OpenCV's desktop build lacks on a machine without a desktop
        return "run: pip install --force-reinstall --no-deps 'opencv-python-headless<5'"
    return "install microx again: pip install --force-reinstall microx"


def _ask_python(code: str, *arguments: str) -> tuple[bool, str]:
    """Run code in another Python; return whether it worked, and the last line it said."""
    command = [sys.executable, "-c", code, *arguments]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {_PATIENCE_S} s"
    said = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
    last = said[-1] if said else ""
    if run.returncode < 0:
        return False, f"the process was killed by signal {-run.returncode}; {last}".strip("; ")
    # A message of microx has its class before the colon; only the rest is shown.
    return run.returncode == 0, last.removeprefix("microx.errors.").partition("Error: ")[2] or last


def _look_at_python() -> Finding:
    found = f"Python {platform.python_version()}, microx {VERSION}"
    return Finding("python", "ok", f"{found}, {platform.system()} {platform.machine()}")


def _look_at_keras() -> Finding:
    worked, told = _ask_python(
        "import keras; keras.ops.zeros(1); print(keras.__version__, keras.backend.backend())"
    )
    if not worked:
        return Finding("keras", "failed", told, "run: pip install --upgrade keras tensorflow")
    number, backend = told.split()
    return Finding("keras", "ok", f"{number}, on {backend}")


def _look_at_package(name: str) -> Finding:
    number = _version(name)
    if number:
        return Finding(name, "ok", number)
    if name == "tensorflow":  # Keras has other backends
        return Finding(name, "optional", "not installed", "run: pip install tensorflow")
    return Finding(name, "missing", "not installed", f"run: pip install {name}")


def _look_at_dask() -> Finding:
    number = _version("distributed")
    if number:
        return Finding("dask", "ok", number)
    return Finding("dask", "optional", "not installed; for --dask: pip install 'microx[dask]'")


def _look_at_opencv() -> Finding:
    import cv2

    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    if has_ffmpeg:
        return Finding("opencv", "ok", f"{cv2.__version__}, with FFmpeg")
    return Finding(
        "opencv",
        "failed",
        f"{cv2.__version__}, without FFmpeg, which decodes the videos",
        "run: pip install --force-reinstall opencv-python",
    )


def _look_at_dlib() -> Finding:
    from microx.preprocessing.tracking.weights import find_weights

    try:
        weights = find_weights()
    except MicroxError as error:
        return Finding("dlib", "missing", str(error))
    number = _version("dlib-bin") or _version("dlib")
    if not number:
        return Finding("dlib", "missing", "not installed", "run: pip install dlib-bin")
    return Finding("dlib", "ok", f"{number}, weights {weights}")


def _look_at_openface(command: str | None) -> Finding:
    from microx.preprocessing.openface import describe_openface

    told = describe_openface(command)
    if told["problem"]:
        state = "optional" if command is None else "missing"
        return Finding("openface", state, told["problem"])
    found = f"{told['program']}, model {told['model']}"
    several = "" if told["several"] == "yes" else f"for --faces all: {told['several']}"
    missing = f"for its best model add {told['missing']}" if told["missing"] else ""
    return Finding("openface", "ok", found, "; ".join(filter(None, (missing, several))))


def _look_at_room() -> Finding:
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as scratch:
            scratch.write(b"microx")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        advice = "set TMPDIR to a folder that may be written to"
        return Finding("temporary folder", "failed", str(error), advice)
    found = f"{folder}, {free / 2**30:.0f} GiB free"
    advice = "" if free >= LEAST_ROOM else "make room, or set TMPDIR to another folder"
    return Finding("temporary folder", "ok", found, advice)


def _look_at_cores() -> Finding:
    import joblib

    n_cores = joblib.cpu_count()
    return Finding("processor", "ok", f"{n_cores} {'core' if n_cores == 1 else 'cores'}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
