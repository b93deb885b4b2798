"""Measure speed and memory, print each figure and store it. Run it by ``make bench``.

A ratio compares two things measured in turn in this one run; each figure is the median of
several. The real clips beside the checkout are used where they are; else drawn ones.
"""

import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from agreement import Watched, compare_with_openface, find_video, read_film
from timing import seconds

import microx
from microx.corpus import shards
from microx.corpus.build import build_corpus
from microx.labels.labels import read_labels
from microx.preprocessing.pipeline import stream_video
from microx.preprocessing.recipe import Recipe
from microx.preprocessing.regions import crop_region
from microx.preprocessing.tracking import dlib as dlib_tracker
from microx.preprocessing.video import read_frames
from microx.schema import DEFAULT_REGIONS
from microx.simulation.corpus import draw_corpus, draw_take

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
STORE = ROOT / "docs" / "bench.csv"
OPENFACE_FPS = 43, 58  # OpenFace 2.2.0, one process, 854x480, measured on two cores

figures = {}


def tell(name, value, unit, bar=""):
    """Print a figure and keep it."""
    figures[name] = {"figure": name, "value": f"{value:.4g}", "unit": unit, "bar": bar}
    print(f"{name:58} {value:9.4g} {unit:12} {'bar: ' + bar if bar else ''}", flush=True)


def process(*arguments):
    """Return a function that runs a Python process to its end."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def follow(path):
    """Preprocess as microx does, every frame once."""
    for _ in stream_video(path, Recipe(frame_rate=None)):
        pass


def detect_in_every_frame(path):
    """Do without a tracker: search each frame for the face, fit it, crop it."""
    for frame in read_frames(path):
        grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        hits = dlib_tracker._detect(grey, min(1.0, 960 / max(grey.shape)), 0.0)
        if hits:
            box, _ = max(hits, key=lambda hit: hit[0][2] - hit[0][0])
            xy = dlib_tracker._fit(grey, box)
            for region in DEFAULT_REGIONS:
                crop_region(frame.rgb, xy, region)


def locate(path):
    """Decode a video and find the landmarks of each frame, cutting nothing."""
    tracker = dlib_tracker.DlibTracker()
    for frame in read_frames(path):
        tracker.locate(frame.rgb)


def write_video(path, frames, n_frames, size_wh):
    """Write a film of so many frames, there and back again over the ones at hand."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, size_wh)
    there_and_back = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    for index in range(n_frames):
        frame = frames[there_and_back[index % len(there_and_back)]]
        writer.write(cv2.cvtColor(cv2.resize(frame, size_wh), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def peak_mib(path):
    """Peak memory of a process that preprocesses one video into a corpus, in MiB."""
    code = (
        "import sys; from pathlib import Path; from microx.corpus.storage import write_crops;"
        "from microx.preprocessing.pipeline import stream_video;"
        "from microx.parallel import peak_memory_mib;"
        "write_crops(Path(sys.argv[1] + '.h5'), stream_video(sys.argv[1]), {});"
        "print(peak_memory_mib())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def measure_start():
    bare, imported, helped = seconds(
        process("-c", "pass"), process("-c", "import microx"), process("-m", "microx", "--help")
    )
    tell("import microx, over Python's own start", imported - bare, "s", "< 0.3")
    tell("microx --help", helped, "s", "< 1")


def measure_tracking(folder, take):
    if REAL.is_dir():
        clips = [*sorted((REAL / "cremad").glob("*.flv"))[:3]]
        clips += [next((REAL / "videos").glob(f"*{n}*")) for n in ("single_face", "Pexels")]
        film = [frame.rgb for frame in read_frames(clips[-1])][:240]
    else:
        film = list(take.frames)
        clips = [write_video(folder / "clip.mp4", film, 120, (480, 480))]
    wide = write_video(folder / "wide.mp4", film, 300, (854, 480))
    for path in (*clips, wide):
        n_frames = sum(1 for _ in read_frames(path))
        ours, every, located = seconds(
            *(lambda f=f, p=path: f(p) for f in (follow, detect_in_every_frame, locate))
        )
        name = "854x480" if path == wide else path.stem
        tell(f"{name}: preprocessing, one process", n_frames / ours, "frames/s")
        tell(f"{name}: against detecting in every frame", every / ours, "times", ">= 5")
        tell(f"{name}: with crops against landmarks alone", ours / located, "times")
        if path == wide:
            slow, fast = (n_frames / ours / fps for fps in OPENFACE_FPS)
            bar = ">= 3"
            tell(f"{name}: against OpenFace 2.2 at its slowest, 43 frames/s", slow, "times", bar)
            tell(f"{name}: against OpenFace 2.2 at its fastest, 58 frames/s", fast, "times", bar)


def measure_agreement(folder, take):
    if not REAL.is_dir():
        return
    errors, ratios = compare_with_openface(REAL)
    tell("distance from OpenFace's points, median", np.median(errors), "eye dist.", "<= 0.030")
    tell("distance from OpenFace's points, 95 %", np.quantile(errors, 0.95), "eye dist.", "<= 0.05")
    tell("motion of a still face against OpenFace's, mean", ratios.mean(), "times", "<= 1.2")
    tell("motion of a still face against OpenFace's, worst clip", ratios.max(), "times")
    for name, bar in (("no_face", "0"), ("noface_face", "72"), ("video_02_hikers", ">= 173")):
        film = Watched(read_film(find_video(REAL, name)))
        tell(f"{name}: frames with a face", film.n_frames_with_a_face, "frames", bar)


def measure_memory(folder, take):
    short, long = (
        write_video(folder / f"{n}.mp4", take.frames, n, (256, 256)) for n in (500, 20_000)
    )
    small, large = peak_mib(str(short)), peak_mib(str(long))
    tell("peak memory, 500 frames", small, "MiB")
    tell("peak memory, 20,000 frames against 500", large / small, "times", "<= 1.2")


def measure_workers(folder, take):
    for index in range(24):
        write_video(folder / "many" / f"{index}.mp4", take.frames, 300 + index, (480, 480))
    rows = "".join(f"{index}.mp4,happy\n" for index in range(24))
    (folder / "many" / "labels.csv").write_text("path,emotion\n" + rows)
    labels = read_labels(folder / "many", folder / "many" / "labels.csv")

    def build(n_workers):
        with tempfile.TemporaryDirectory() as out:
            build_corpus(labels, out, n_workers=n_workers)

    one, two = seconds(lambda: build(1), lambda: build(2))
    tell("two workers against one", one / two, "times", ">= 1.7")


def measure_images(folder, take):
    """Face crops of 48 pixels, each a video of one frame, in shared files and in one each."""
    for index in range(512):
        place = folder / "images" / f"{index % 7}" / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        face = np.roll(take.frames[index % len(take.frames)][40:220, 40:220], index % 9, axis=1)
        cv2.imwrite(str(place), cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA))
    labels = read_labels(folder / "images")

    def build(most_files, **regions):
        with patch.object(shards, "MOST_FILES", most_files), tempfile.TemporaryDirectory() as out:
            start = time.process_time()
            build_corpus(labels, out, faces="cropped", size=48, progress=False, **regions)
            return 1000 * (time.process_time() - start) / len(labels.table)

    build(1)
    face, five, alone = (
        float(np.median([build(*given, **regions) for _ in range(3)]))
        for given, regions in (((1,), {"regions": ("face",)}), ((1,), {}), ((512,), {}))
    )
    tell("face crops of 48 px, the face alone: CPU an image", face, "ms", "<= 3")
    tell("face crops of 48 px, five regions: CPU an image", five, "ms", "<= 8")
    tell("face crops of 48 px: a file each against shards", alone / five, "times", ">= 1.3")


def measure_grid(folder, take):
    """An ablation of all 31 subsets of the five regions, in one process and in two."""
    labels = draw_corpus(folder / "actors", n_subjects=6, n_takes=1, n_workers=-1)
    corpus = build_corpus(
        read_labels(labels.parent, labels, label_set="microx7"),
        folder / "corpus",
        landmarks="csv",
        landmarks_dir=labels.parent / "landmarks",
        n_workers=-1,
    )

    spent = []
    for n_workers in (1, 2):  # minutes each: once, and no warming up
        start = time.perf_counter()
        process(
            *(
                "-m",
                "microx",
                "ablate",
                str(corpus.folder),
                "--out",
                str(folder / f"run{n_workers}"),
            ),
            *("--regions", "full", "--epochs", "3", "--no-baselines"),
            *("--workers", str(n_workers)),
        )()
        spent.append(time.perf_counter() - start)
    tell("31 subsets, one worker", spent[0], "s")
    tell("31 subsets: two workers against one", spent[0] / spent[1], "times", ">= 1.6")


def measure_models(folder, take):
    import networks  # only here, for Keras takes seconds to import

    networks.measure_conv_lstm(tell)
    networks.measure_presets(tell)
    networks.measure_loader(tell, folder)


PARTS = (
    measure_agreement,
    measure_tracking,
    measure_memory,
    measure_workers,
    measure_images,
    measure_grid,
    measure_models,
)


def store():
    """Write the figures, so that a part that fails loses none of those before it."""
    with STORE.open("w", newline="", encoding="utf-8") as stream:
        print(f"# microx {microx.__version__}, Python {platform.python_version()}, "
              f"{os.cpu_count()} cores", file=stream)  # fmt: skip
        writer = csv.DictWriter(stream, ["figure", "value", "unit", "bar"])
        writer.writeheader()
        writer.writerows(figures.values())


def main():
    """Measure everything; words on the command line name parts, whose figures alone change."""
    wanted = sys.argv[1:]
    if wanted and STORE.exists():
        with STORE.open(newline="", encoding="utf-8") as stream:
            stored = csv.DictReader(line for line in stream if not line.startswith("#"))
            figures.update((row["figure"], row) for row in stored)
    take = draw_take(3, "happy", n_frames=60)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many").mkdir()
        if not wanted or "start" in wanted:
            measure_start()
            start = time.perf_counter()
            draw_corpus(folder / "drawn", n_subjects=1, n_takes=1)
            tell("drawing actors, one process", 7 * 45 / (time.perf_counter() - start), "frames/s")
            store()
        for part in PARTS:
            if not wanted or part.__name__.removeprefix("measure_") in wanted:
                part(folder, take)
                store()
    print(f"stored in {STORE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
