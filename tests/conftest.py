"""Inputs that several tests share, drawn in code."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real videos and real OpenFace output, which not every checkout has."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real videos are not beside this checkout")
    return REAL_DATA


@pytest.fixture(scope="session")
def write_video():
    """Return a function that writes frames ``(T, H, W, 3)`` uint8 RGB as an mp4 file."""

    def write(path: Path, frames: np.ndarray, frame_rate: float = 30.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = frames.shape[1:3]
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), code, frame_rate, (width, height))
        assert writer.isOpened()
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def ffmpeg():
    """Return a function that runs a real ffmpeg with these arguments and returns what it says."""
    from imageio_ffmpeg import get_ffmpeg_exe

    def run(*arguments: object) -> str:
        command = [get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


@pytest.fixture(scope="session")
def grey_steps() -> np.ndarray:
    """Five frames, each flat and brighter than the last: ``(5, 64, 96, 3)``."""
    levels = np.arange(30, 230, 40, dtype=np.uint8)
    return np.tile(levels[:, None, None, None], (1, 64, 96, 3))


@pytest.fixture
def upright_landmarks() -> np.ndarray:
    """A level face of known points, ``(68, 2)`` float32: eyes 40 px apart, around (100, 100)."""
    xy = np.zeros((68, 2), np.float32)
    xy[:17] = np.stack([np.linspace(60, 140, 17), 100 + 60 * np.sin(np.linspace(0, np.pi, 17))], 1)
    for first, left in ((17, 68), (22, 108)):  # brows
        xy[first : first + 5] = np.stack([np.linspace(left, left + 24, 5), np.full(5, 84)], 1)
    xy[27:31] = np.stack([np.full(4, 100), np.linspace(98, 116, 4)], 1)
    xy[31:36] = np.stack([np.linspace(92, 108, 5), [120, 121, 122, 121, 120]], 1)
    lid = np.array([[-10, 0], [-4, -4], [4, -4], [10, 0], [4, 4], [-4, 4]])
    xy[36:42] = lid + np.array([80, 98])
    xy[42:48] = lid + np.array([120, 98])
    angles = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    xy[48:60] = np.stack([100 + 18 * np.cos(angles), 138 + 7 * np.sin(angles)], 1)
    inner = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    xy[60:68] = np.stack([100 + 13 * np.cos(inner), 138 + 3 * np.sin(inner)], 1)
    return xy
