"""Runs the OpenFace program on one video and believes only the CSV it leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from microx.errors import LandmarkError
from microx.preprocessing.landmarks import Landmarks, read_openface_csv

PROGRAM = "FeatureExtraction"
_CLNF_MODEL = "model/main_clnf_general.txt"
_CEN_PATCHES = "model/patch_experts/cen_patches_0.25_of.dat"
# More threads than this abort OpenFace on hosts with many cores, and slow it on others.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def run_openface(
    video: str | Path, *, program: str | Path | None = None, timeout_s: float | None = None
) -> Landmarks:
    """Let OpenFace find the 68 landmarks in every frame of one video.

    Parameters
    ----------
    video : path
        The video.
    program : path, optional
        OpenFace's ``FeatureExtraction``; without it, the one on PATH.
    timeout_s : float, optional
        Seconds after which the run is stopped; without it, no limit.

    Returns
    -------
    Landmarks
        One row for each frame OpenFace read. Whether these are all the frames there are
        is for the caller to compare with what it decodes: OpenFace exits 0 either way.

    Raises
    ------
    LandmarkError
        If the program is not there, fails, takes too long, or leaves no CSV.

    Notes
    -----
    Source: OpenFace 2.2.0, ``FeatureExtraction -f VIDEO -2Dfp -out_dir DIR``. Its real path
    is called, because its models are looked for beside the path it is called by.
    """
    video = Path(video).resolve()
    executable = find_openface(program)
    with tempfile.TemporaryDirectory(prefix="microx-openface-") as folder:
        command = [str(executable), "-f", str(video), "-2Dfp", "-out_dir", folder]
        if not (executable.parent / _CEN_PATCHES).exists():
            command += ["-mloc", _CLNF_MODEL]
        try:
            run = subprocess.run(
                command,
                capture_output=True,
                cwd=executable.parent,
                encoding="utf-8",
                env=os.environ | _ONE_THREAD,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise LandmarkError(
                f"{video}: OpenFace was stopped after {timeout_s:g} s without an end"
            ) from None
        except OSError as error:
            raise LandmarkError(f"{executable}: expected to run OpenFace; {error}") from None
        tables = sorted(Path(folder).glob("*.csv"))
        if run.returncode != 0 or len(tables) != 1:
            raise LandmarkError(
                f"{video}: expected one CSV from OpenFace; found {len(tables)}, exit code "
                f"{run.returncode}; it last said: {_last_words(run.stdout, run.stderr)}"
            )
        return read_openface_csv(tables[0])


def find_openface(program: str | Path | None = None) -> Path:
    """Return the real path of OpenFace's ``FeatureExtraction``.

    Raises
    ------
    LandmarkError
        If `program` is not a runnable file, or without it, none is on PATH.
    """
    found = shutil.which(str(program) if program is not None else PROGRAM)
    if found is None:
        raise LandmarkError(
            f"OpenFace: expected a runnable {program or PROGRAM + ' on PATH'}; found none; "
            "name it with --openface, or use the embedded --landmarks dlib"
        )
    return Path(found).resolve()


def _last_words(*streams: str) -> str:
    lines = [line.strip() for stream in streams for line in stream.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
