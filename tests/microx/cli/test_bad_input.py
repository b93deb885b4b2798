"""Bad input beside a good video: a row with its reason, and the good one as if it were alone."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from microx import build_corpus, load_corpus
from microx.corpus.storage import hash_crops
from microx.labels.labels import read_labels
from microx.preprocessing.landmarks import write_openface_csv
from microx.simulation.corpus import draw_take


@pytest.fixture(scope="module")
def good_alone(takes, tmp_path_factory):
    """What the good video's crops hold when it is alone."""
    folder = tmp_path_factory.mktemp("alone")
    put(takes["happy"], folder / "v" / "happy" / "good.mp4")
    corpus = build_corpus(read_labels(folder / "v"), folder / "c")
    return hash_crops(corpus.crops_path("happy_good"))


@pytest.fixture(scope="module")
def bench(takes, ffmpeg, write_video):
    """What the cases are made with: a drawn take, its frames, and programs that write files."""
    capture = cv2.VideoCapture(str(takes["sad"]))
    frames = [capture.read()[1][..., ::-1] for _ in range(22)]
    return Bench(takes["sad"], np.stack(frames), ffmpeg, write_video)


class Bench:
    def __init__(self, take, frames, ffmpeg, write_video):
        self.take, self.frames, self.ffmpeg, self.write_video = take, frames, ffmpeg, write_video

    def convert(self, *arguments):
        self.ffmpeg("-i", self.take, *arguments)


def put(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(source, target))


def damaged(bench, path, *, faststart, keep=1.0, scratch=()):
    """Write an H.264 file, cut off after a share of its bytes, or with shares of them scratched."""
    flags = ["-movflags", "+faststart"] if faststart else []
    bench.convert("-c:v", "libx264", "-g", 5, *flags, path)
    data = bytearray(path.read_bytes())
    for start, stop in scratch:
        at, end = int(start * len(data)), int(stop * len(data))
        data[at:end] = np.random.default_rng(0).bytes(end - at)
    path.write_bytes(data[: int(keep * len(data))])


def image(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


def bmp_that_claims(path, side):
    """Write a BMP that says it has this many pixels a side, and has none."""
    small = image(path, np.zeros((4, 4, 3), np.uint8)).read_bytes()
    size = side.to_bytes(4, "little")
    path.write_bytes(small[:18] + size + size + small[26:])


def avi_of_no_frame(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 64))
    assert writer.isOpened()
    writer.release()


def avi_that_claims(bench, path, side):
    """Write a motion JPEG that says in both its headers that it has this many pixels a side."""
    bench.convert("-c:v", "mjpeg", path)
    data, claim = bytearray(path.read_bytes()), side.to_bytes(4, "little") * 2
    for header, offset in ((b"avih", 40), (b"strf", 12)):
        at = data.index(header) + offset
        assert data[at : at + 4] == (160).to_bytes(4, "little")
        data[at : at + 8] = claim
    path.write_bytes(data)


def cut_short(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def noise(n_frames, height, width):
    return np.random.default_rng(0).integers(0, 255, (n_frames, height, width, 3), np.uint8)


NO_FACE = "no face found in any frame"
NO_VIDEO = "expected a video that OpenCV can decode; found"
NO_IMAGE = "expected an image that OpenCV can decode; found"

# What is written into the folder sad/, and what becomes of it: the reason's beginning.
SKIPPED = {
    "empty file": (lambda b, d: (d / "x.mp4").touch(), f"{NO_VIDEO} an empty file; check"),
    "text named mp4": (
        lambda b, d: (d / "x.mp4").write_text("not a film"),
        f"{NO_VIDEO} 10 bytes that begin with b'not a film'",
    ),
    "zeros named mkv": (lambda b, d: (d / "x.mkv").write_bytes(bytes(9999)), f"{NO_VIDEO} 9999 by"),
    "no moov": (
        lambda b, d: damaged(b, d / "x.mp4", faststart=False, keep=0.5),
        f"{NO_VIDEO} ",
    ),
    "header only": (
        lambda b, d: damaged(b, d / "x.mp4", faststart=True, keep=0.005),
        f"{NO_VIDEO} ",
    ),
    "sound only": (
        lambda b, d: b.ffmpeg("-f", "lavfi", "-i", "sine=duration=1", d / "x.mp4"),
        f"{NO_VIDEO} ",
    ),
    "no frame": (lambda b, d: avi_of_no_frame(d / "x.avi"), "expected a video"),
    "one pixel": (lambda b, d: image(d / "x.png", np.full((1, 1, 3), 90, np.uint8)), NO_FACE),
    "two pixels": (lambda b, d: b.write_video(d / "x.mp4", noise(9, 2, 2)), NO_FACE),
    "a strip": (lambda b, d: image(d / "x.png", noise(1, 1, 4000)[0]), NO_FACE),
    "huge image": (lambda b, d: bmp_that_claims(d / "x.bmp", 40_000), NO_IMAGE),
    "absurd image": (lambda b, d: bmp_that_claims(d / "x.bmp", 2**31 - 1), NO_IMAGE),
    "huge claim": (
        lambda b, d: (d / "x.pgm").write_bytes(b"P5 30000 30000 255\n" + bytes(64)),
        NO_IMAGE,
    ),
    "cut jpeg": (
        lambda b, d: cut_short(image(d / "x.jpg", b.frames[0]), 0.5),
        "expected an image; found a JPEG that ends before its image data do",
    ),
    "cut png": (lambda b, d: cut_short(image(d / "x.png", b.frames[0]), 0.5), NO_IMAGE),
    "text named png": (lambda b, d: (d / "x.png").write_text("no"), NO_IMAGE),
    "all black": (lambda b, d: b.write_video(d / "x.mp4", noise(12, 64, 64) * 0), NO_FACE),
    "noise": (lambda b, d: b.write_video(d / "x.mp4", noise(12, 96, 96)), NO_FACE),
    "a wide wall": (lambda b, d: b.write_video(d / "x.mp4", noise(3, 16, 1024)), NO_FACE),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_a_file_that_cannot_be_used_is_a_row(case, bench, takes, good_alone, tmp_path):
    write, reason = SKIPPED[case]
    (tmp_path / "v" / "sad").mkdir(parents=True)
    write(bench, tmp_path / "v" / "sad")
    rows = build_beside_good(takes, good_alone, tmp_path)
    (row,) = rows.to_dict("records")
    assert row["status"] == "skipped"
    assert row["reason"].startswith(reason)
    assert "\n" not in row["reason"]


def test_all_of_them_at_once_say_nothing_on_stderr(bench, takes, microx, tmp_path):
    for place, (write, _) in enumerate([*SKIPPED.values(), *USABLE.values()]):
        (tmp_path / "v" / "sad" / str(place)).mkdir(parents=True)
        write(bench, tmp_path / "v" / "sad" / str(place))
    run = microx("preprocess", tmp_path / "v", "--out", tmp_path / "c", "--workers", 2)
    said = [line for line in run.stderr.splitlines() if not line.startswith("libpng error")]
    assert (run.returncode, said) == (0, [])  # libpng cannot be silenced
    manifest = load_corpus(tmp_path / "c").manifest
    n_copies = int(manifest["reason"].str.startswith("a copy of").sum())
    assert len(manifest) == len(SKIPPED) + len(USABLE)
    assert (manifest["status"] == "done").sum() == len(USABLE) - n_copies


def build_beside_good(takes, good_alone, tmp_path, *, before=None, **arguments):
    """Build with the good video beside; check that it is as if alone; return the other rows."""
    put(takes["happy"], tmp_path / "v" / "happy" / "good.mp4")
    labels = read_labels(tmp_path / "v", **arguments)
    if before is not None:
        before()
    corpus = build_corpus(labels, tmp_path / "c")
    assert hash_crops(corpus.crops_path("happy_good")) == good_alone
    rows = corpus.manifest.set_index("path")
    assert rows.loc["happy/good.mp4", ["status", "n_found"]].tolist() == ["done", 20]
    assert not (rows["reason"].str.contains(str(tmp_path), regex=False)).any()
    return rows.drop(index="happy/good.mp4").reset_index()


# What is odd and yet of use: frames decoded, at the least.
USABLE = {
    "cut in the middle": (lambda b, d: damaged(b, d / "x.mp4", faststart=True, keep=0.7), 5),
    "scratched": (
        lambda b, d: damaged(b, d / "x.mp4", faststart=True, scratch=[(0.5, 0.52), (0.7, 0.71)]),
        5,
    ),
    "one frame": (lambda b, d: b.convert("-frames:v", 1, d / "x.mp4"), 1),
    "mp4 named avi": (lambda b, d: shutil.copy(b.take, d / "x.avi"), 22),
    "png named jpg": (
        lambda b, d: image(d / "x.png", b.frames[0]).rename(d / "x.jpg"),
        1,
    ),
    "grey": (lambda b, d: b.convert("-pix_fmt", "gray", "-c:v", "ffv1", d / "x.mkv"), 22),
    "odd sizes": (
        lambda b, d: b.convert("-vf", "scale=157:163", "-c:v", "ffv1", d / "x.mkv"),
        22,
    ),
    "animated gif": (lambda b, d: b.convert(d / "x.gif"), 22),
    "16 bits": (lambda b, d: image(d / "x.png", b.frames[0].astype(np.uint16) * 257), 1),
    "transparent": (
        lambda b, d: image(d / "x.png", cv2.cvtColor(b.frames[0], cv2.COLOR_RGB2BGRA)),
        1,
    ),
    "cmyk": (lambda b, d: Image.fromarray(b.frames[0]).convert("CMYK").save(d / "x.jpg"), 1),
    "a huge claim": (lambda b, d: avi_that_claims(b, d / "x.avi", 60_000), 22),
    "linked": (lambda b, d: (d / "x.mp4").symlink_to(b.take), 22),
}


@pytest.mark.parametrize("case", USABLE)
def test_an_odd_file_is_used_as_far_as_it_goes(case, bench, takes, good_alone, tmp_path):
    write, n_least = USABLE[case]
    (tmp_path / "v" / "sad").mkdir(parents=True)
    write(bench, tmp_path / "v" / "sad")
    (row,) = build_beside_good(takes, good_alone, tmp_path).to_dict("records")
    assert (row["status"], row["reason"]) == ("done", "")
    assert n_least <= row["n_decoded"] <= 22
    assert row["n_found"] == row["n_frames"]


NAMES = [
    "two words.mp4",
    "-rf.mp4",
    "--help.mp4",
    'it\'s "quoted".mp4',
    "a,b;c\td.mp4",
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "Größe 漢字 🙂.mp4",
    "e\u0301.mp4",
    "take%03d.mp4",
    "S01:a.mp4",
    "file:x.mp4",
    "a?*[b].mp4",
    "$(touch x)`y`.mp4",
    "back\\slash.mp4",
    "=1+1.mp4",
    "NaN.mp4",
    "007.mp4",
    "x" * 251 + ".mp4",
    "漢" * 83 + ".mp4",
    "a..b.mp4",
    "happy.mp4.mp4",
    "UPPER.MP4",
]


def test_any_name_will_do(bench, takes, good_alone, tmp_path):
    for place, name in enumerate(NAMES):  # each of its own bytes, or they would be copies
        with put(bench.take, tmp_path / "v" / "sad" / name).open("ab") as stream:
            stream.write(place.to_bytes(4, "big"))
    rows = build_beside_good(takes, good_alone, tmp_path)
    assert set(rows["path"]) == {f"sad/{name}" for name in NAMES}
    assert rows["status"].eq("done").all(), rows[["path", "reason"]].to_string()
    assert rows["n_found"].eq(22).all()
    assert len(list((tmp_path / "c" / "crops").iterdir())) == len(NAMES) + 1
    assert not (tmp_path / "x").exists()


def test_equal_names_and_capitals_are_different_videos(bench, takes, good_alone, tmp_path):
    paths = [
        "sad/a/x.mp4",
        "sad/b/x.mp4",
        "sad/a/X.mp4",
        "sad/a_x.mp4",
        "sad/a x.mp4",
        "sad/a/x.avi",
    ]
    for place, path in enumerate(paths):
        bench.convert("-vf", f"eq=brightness=0.0{place}", put(bench.take, tmp_path / "v" / path))
    rows = build_beside_good(takes, good_alone, tmp_path)
    assert set(rows["path"]) == set(paths)
    assert rows["status"].eq("done").all()
    assert len(set(rows["video_id"].str.lower())) == len(paths)


def folder_of_frames(bench, folder):
    folder.mkdir(parents=True)
    for place, frame in enumerate(bench.frames):
        image(folder / f"img{place}.png", frame[..., ::-1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: (d / "img7.png").unlink(), ""),  # no one can know how many there should be
        (lambda d: image(d / "img7.png", noise(1, 32, 32)[0]), "img7.png: expected 160 x 160 pix"),
        (lambda d: cut_short(d / "img7.png", 0.5), "img7.png: expected an image that OpenCV can"),
        (lambda d: (d / "img7.png").write_bytes(b""), "img7.png: expected an image that OpenCV"),
        (
            lambda d: [path.unlink() for path in d.iterdir()],
            "a folder is a video if it holds images",
        ),
        (lambda d: (d / "Thumbs.db").write_text("x"), ""),
        (lambda d: (d / "img7.png").rename(d / "img07.png"), ""),
    ],
)
def test_a_folder_of_frames(change, reason, bench, takes, good_alone, tmp_path):
    folder_of_frames(bench, tmp_path / "v" / "sad" / "take")
    put(bench.take, tmp_path / "v" / "sad" / "other.mp4")
    change(tmp_path / "v" / "sad" / "take")
    rows = ["happy/good.mp4,happy", "sad/take,sad", "sad/other.mp4,sad"]
    (tmp_path / "l.csv").write_text("\n".join(["path,emotion", *rows]) + "\n")
    rows = build_beside_good(
        takes, good_alone, tmp_path, labels_file=tmp_path / "l.csv", input_fps=30
    ).set_index("path")
    assert rows.loc["sad/other.mp4", "status"] == "done"
    found = rows.loc["sad/take", "reason"]
    assert found.removeprefix("sad/take/").startswith(reason)
    assert bool(found) == bool(reason)


LABELS = {
    "out of the folder": ("../../x.mp4,sad", "no such video"),
    "absolute": ("/etc/passwd,sad", "no such video"),
    "an absolute device": ("/dev/zero,sad", "no such video"),
    "missing": ("sad/gone.mp4,sad", "no such video"),
    "a folder named so": ("sad/folder.mp4,sad", "a folder is a video if it holds images"),
    "a dangling link": ("sad/dangling.mp4,sad", "no such video"),
    "a loop of links": ("sad/loop.mp4,sad", "no such video"),
    "a pipe": ("sad/pipe.mp4,sad", "no such video"),
    "no emotion": ("sad/x.mp4,", "no label: its emotion in l.csv is empty"),
    "two emotions": ("sad/x.mp4,sad\nsad/x.mp4,fear", "2 rows of l.csv label this video"),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_without_a_video_is_a_row(case, bench, takes, good_alone, tmp_path):
    lines, reason = LABELS[case]
    folder = tmp_path / "v" / "sad"
    put(bench.take, folder / "x.mp4")
    put(bench.take, tmp_path / "x.mp4")  # where ../../x.mp4 from sad/ leads
    (folder / "folder.mp4").mkdir()
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (tmp_path / "l.csv").write_text(f"path,emotion\nhappy/good.mp4,happy\n{lines}\n")
    put(takes["happy"], tmp_path / "v" / "happy" / "good.mp4")
    before = set(tmp_path.rglob("*"))
    rows = build_beside_good(takes, good_alone, tmp_path, labels_file=tmp_path / "l.csv")
    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "c") for path in made)
    row = rows[rows["path"] == lines.split(",")[0]].iloc[0]
    assert (row["status"], row["reason"][: len(reason)]) == ("skipped", reason)


def test_a_video_that_vanishes_before_it_is_read_is_a_row(bench, takes, good_alone, tmp_path):
    path = put(bench.take, tmp_path / "v" / "sad" / "x.mp4")
    rows = build_beside_good(takes, good_alone, tmp_path, before=path.unlink)
    assert rows["reason"].tolist() == ["expected a video or image file; found nothing there"]


def test_videos_renamed_and_overwritten_while_running_are_rows(bench, takes, tmp_path):
    names = ["a", "b", "c", "d"]
    for place, name in enumerate(names):
        with put(bench.take, tmp_path / "v" / "sad" / f"{name}.mp4").open("ab") as stream:
            stream.write(bytes([place]))
    folder = tmp_path / "v" / "sad"

    def disturb(done, total, video_id):
        if done == 1:
            (folder / "c.mp4").rename(folder / "e.mp4")
            (folder / "d.mp4").write_text("something else")

    corpus = build_corpus(read_labels(tmp_path / "v"), tmp_path / "c", progress=disturb)
    assert corpus.manifest["status"].tolist() == ["done", "done", "skipped", "skipped"]
    assert "found nothing there" in corpus.manifest["reason"][2]
    assert "found 14 bytes" in corpus.manifest["reason"][3]


@pytest.fixture(scope="module")
def truth(tmp_path_factory, write_video):
    """A drawn take at its own size with the CSV of its true landmarks."""
    folder = tmp_path_factory.mktemp("truth")
    take = draw_take(0, "happy", n_frames=20)
    write_video(folder / "x.mp4", take.frames)
    write_openface_csv(folder / "x.csv", take.landmarks)
    return folder


def lines_of(path, change):
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def cell(path, row, column, value):
    lines = [line.split(", ") for line in path.read_text().splitlines()]
    lines[row][lines[0].index(column)] = value
    path.write_text("\n".join(map(", ".join, lines)) + "\n")


TABLES = {
    "missing": (lambda p: p.unlink(), "x.csv: expected the landmarks of this video; found no file"),
    "empty": (lambda p: p.write_text(""), "x.csv: expected a CSV of landmarks with the columns"),
    "binary": (
        lambda p: p.write_bytes(bytes(range(256)) * 9),
        "x.csv: expected a CSV of landmarks",
    ),
    "too short": (lambda p: lines_of(p, lambda lines: lines[:-5]), "expected landmarks for the 20"),
    "one short": (lambda p: lines_of(p, lambda lines: lines[:-1]), "expected landmarks for the 20"),
    "header only": (
        lambda p: lines_of(p, lambda lines: lines[:1]),
        "x.csv: expected a row for each frame; found none below the header",
    ),
    "too long": (
        lambda p: lines_of(p, lambda lines: [*lines, lines[-1].replace("20,", "21,", 1)]),
        "expected landmarks for the 20 frames decoded; found 21 rows",
    ),
    "a frame twice": (
        lambda p: lines_of(p, lambda lines: [*lines[:9], *lines[8:]]),
        "x.csv: expected one row",
    ),
    "cut in a row": (lambda p: cut_short(p, 0.77), "x.csv: expected 141 values in each row; found"),
    "other columns": (
        lambda p: p.write_text("frame,AU01\n1,2\n"),
        "x.csv: expected a CSV of landmarks with the columns frame, x_0",
    ),
    "an empty cell": (lambda p: cell(p, 3, "x_5", ""), "x.csv: expected a number for x_5 in frame"),
    "no frame number": (lambda p: cell(p, 3, "frame", "abc"), "x.csv: expected frames counted 1"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "x.csv: expected the landmarks of this video"),
}


@pytest.mark.parametrize("case", TABLES)
def test_landmarks_that_do_not_fit_are_a_row(case, truth, tmp_path):
    change, reason = TABLES[case]
    for name in ("x", "good"):
        put(truth / "x.mp4", tmp_path / "v" / "happy" / f"{name}.mp4")
        put(truth / "x.csv", tmp_path / "tables" / "happy" / f"{name}.csv")
    change(tmp_path / "tables" / "happy" / "x.csv")
    with (tmp_path / "v" / "happy" / "x.mp4").open("ab") as stream:
        stream.write(b"other bytes")
    labels = read_labels(tmp_path / "v")
    corpus = build_corpus(
        labels, tmp_path / "c", landmarks="csv", landmarks_dir=tmp_path / "tables"
    )
    rows = corpus.manifest.set_index("path")
    assert rows.loc["happy/good.mp4", ["status", "n_given"]].tolist() == ["done", 20]
    found = rows.loc["happy/x.mp4", "reason"]
    assert found.removeprefix("happy/").startswith(reason)
    assert str(tmp_path) not in found


@pytest.mark.parametrize("value", ["nan", "-nan(ind)", "inf", "abc", "99999"])
def test_a_point_that_is_no_number_costs_its_frame_only(value, truth, tmp_path):
    put(truth / "x.mp4", tmp_path / "v" / "happy" / "x.mp4")
    cell(put(truth / "x.csv", tmp_path / "v" / "happy" / "x.csv"), 3, "x_40", value)
    corpus = build_corpus(
        read_labels(tmp_path / "v"), tmp_path / "c", landmarks="csv", landmarks_dir=tmp_path / "v"
    )
    (row,) = corpus.manifest.to_dict("records")
    assert row["status"] == "done", row["reason"]
    assert row["n_given"] >= 19
    assert row["n_frames"] == 20
