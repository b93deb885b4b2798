"""Measure speed as a user feels it: start-up, and frames a second. Run it by ``make bench``.

Each figure is the median of several runs; a ratio compares two things measured in turn.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from microx.preprocessing.dlib_tracker import DlibTracker
from microx.preprocessing.pipeline import preprocess_video
from microx.preprocessing.video import read_frames
from microx.synthetic import draw_corpus


def seconds(function, runs=5):
    """Median wall-clock seconds of calls, after one that does not count."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def process(*arguments):
    """Return a function that runs a Python process to its end."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def decode(path):
    """Decode a video and find the landmarks of each frame, cutting nothing."""
    tracker = DlibTracker()
    for frame in read_frames(path):
        tracker.locate(frame.rgb)


def main():
    """Print one line a figure."""
    bare = seconds(process("-c", "pass"))
    imported = seconds(process("-c", "import microx"))
    print(f"import microx       {imported - bare:6.3f} s over Python's own {bare:.3f} s")
    print(f"microx --help       {seconds(process('-m', 'microx', '--help')):6.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        draw_corpus(folder, n_subjects=1, n_takes=1)
        spent = time.perf_counter() - start
        videos = sorted(Path(folder).rglob("*.mp4"))
        frames = [sum(1 for _ in read_frames(video)) for video in videos]
        print(f"drawing             {sum(frames) / spent:6.0f} frames/s, one process")
        video, n_frames = videos[0], frames[0]
        whole, located = seconds(lambda: preprocess_video(video)), seconds(lambda: decode(video))
        print(f"preprocessing       {n_frames / whole:6.0f} frames/s at 256 px, one process")
        print(f"  crops cost        {whole / located:6.2f} times the landmarks alone")


if __name__ == "__main__":
    main()
