import struct

import numpy as np
import pytest

from microx.errors import InputError
from microx.preprocessing.orientation import (
    UPRIGHT,
    Orientation,
    orientation_of,
    read_orientation,
)
from microx.preprocessing.pipeline import preprocess_video
from microx.preprocessing.video import probe_video, read_frames
from microx.simulation.corpus import draw_take

# The a, b, c, d of a display matrix, and how an image comes to be shown: ISO/IEC 14496-12, 6.2.2,
# x' = a x + c y, y' = b x + d y.
EIGHT = {
    "as stored": ((1, 0, 0, 1), lambda rgb: rgb),
    "turned by 90 degrees": ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),
    "turned by 180 degrees": ((-1, 0, 0, -1), lambda rgb: rgb[::-1, ::-1]),
    "turned by 270 degrees": ((0, -1, 1, 0), lambda rgb: np.rot90(rgb)),
    "mirrored": ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
    "mirrored and turned by 90 degrees": ((0, -1, -1, 0), lambda rgb: np.rot90(rgb[:, ::-1], -1)),
    "mirrored and turned by 180 degrees": ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
    "mirrored and turned by 270 degrees": ((0, 1, 1, 0), lambda rgb: np.swapaxes(rgb, 0, 1)),
}


def matrix_bytes(matrix, size_hw=(0, 0)):
    """The nine numbers of a display matrix that keeps the image in view."""
    a, b, c, d = matrix
    height, width = size_hw
    x = width * (a < 0) + height * (c < 0)
    y = width * (b < 0) + height * (d < 0)
    fixed = [round(65536 * number) for number in (a, b, c, d, x, y)]
    return struct.pack(">9i", *fixed[:2], 0, *fixed[2:4], 0, *fixed[4:], 1 << 30)


def rewrite(source, target, matrix, *, box=b"tkhd", at=40):
    """Copy an MP4 file with another matrix in its header."""
    data = bytearray(source.read_bytes())
    place = data.index(box) + 4 + at
    assert data[place : place + 36] == matrix_bytes((1, 0, 0, 1))
    data[place : place + 36] = matrix_bytes(matrix, probe_video(source).size_hw)
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def corners(tmp_path_factory, write_video):
    """A film of three frames, wider than high, whose four corners differ."""
    frames = np.full((3, 64, 96, 3), 40, np.uint8)
    frames[:, :32, :48], frames[:, :32, 48:], frames[:, 32:, :48] = 220, 160, 100
    return write_video(tmp_path_factory.mktemp("corners") / "film.mp4", frames)


@pytest.mark.parametrize("said", EIGHT)
def test_each_of_the_eight_matrices(said):
    matrix, expected = EIGHT[said]
    orientation = orientation_of(matrix)
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(orientation.apply(image), expected(image))
    assert orientation.apply_to_size((2, 3)) == expected(image).shape[:2]
    assert orientation.describe() == ("" if said == "as stored" else said)
    assert orientation.mirrored == said.startswith("mirrored")


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((0, 0, 0, 0), UPRIGHT),
        ((0.7071, 0.7071, -0.7071, 0.7071), UPRIGHT),  # 45 degrees
        ((0.999, 0.01, -0.01, 0.999), UPRIGHT),
        ((0.01, 0.999, -0.999, 0.01), Orientation.turned(90)),
        ((-2, 0, 0, 1), Orientation(False, True, False)),  # pixels that are wider than high
        ((1, 1, 0, 1), UPRIGHT),  # sheared
    ],
)
def test_a_matrix_at_no_right_angle_leaves_the_image(matrix, expected):
    assert orientation_of(matrix) == expected


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0, UPRIGHT),
        (90, Orientation(True, True, False)),
        (-90, Orientation.turned(270)),
        (450, Orientation.turned(90)),
        (45, UPRIGHT),
    ],
)
def test_turns(degrees, expected):
    assert Orientation.turned(degrees) == expected


@pytest.mark.parametrize("said", EIGHT)
def test_a_video_is_shown_as_its_matrix_asks(said, corners, ffmpeg, tmp_path):
    matrix, expected = EIGHT[said]
    path = rewrite(corners, tmp_path / "film.mp4", matrix)
    shown = expected(next(read_frames(corners)).rgb)
    frames = list(read_frames(path))
    assert len(frames) == 3
    assert np.array_equal(frames[0].rgb, shown)
    assert probe_video(path).size_hw == shown.shape[:2]
    assert probe_video(path).orientation.describe() == ("" if said == "as stored" else said)
    # FFmpeg's own program, which knows all eight, shows the same.
    ffmpeg("-i", path, "-frames:v", 1, tmp_path / "shown.png")
    (image,) = read_frames(tmp_path / "shown.png")
    assert np.abs(image.rgb.astype(int) - shown).max() <= 3


def test_the_matrix_of_the_whole_film_counts_too(corners, tmp_path):
    path = rewrite(corners, tmp_path / "film.mp4", (-1, 0, 0, 1))
    rewrite(path, path, (0, 1, -1, 0), box=b"mvhd", at=36)
    assert read_orientation(path) == orientation_of((0, -1, -1, 0))


@pytest.mark.parametrize("said", ["turned by 90 degrees", "mirrored"])
@pytest.mark.parametrize("form", ["mp4", "mov", "m4v", "3gp", "fragments.mp4", "faststart.mov"])
def test_every_form_of_the_header(said, form, corners, ffmpeg, tmp_path):
    turned = rewrite(corners, tmp_path / "turned.mp4", EIGHT[said][0])
    path = tmp_path / f"x.{form}"
    flags = {"fragments.mp4": "frag_keyframe+empty_moov", "faststart.mov": "faststart"}.get(form)
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=duration=0.1:sample_rate=8000", "-i", turned),
        *("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-c:a", "aac"),  # sound comes first
        *(("-movflags", flags) if flags else ()),
        path,
    )
    assert read_orientation(path) == orientation_of(EIGHT[said][0])


def test_a_header_of_64_bits(tmp_path):
    """Boxes whose size has 64 bits, and times that have."""

    def box(kind, content):
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content

    head = struct.pack(">I", 1 << 24)
    tkhd = box(b"tkhd", head + bytes(48) + matrix_bytes((-1, 0, 0, 1)) + bytes(8))
    mvhd = box(b"mvhd", head + bytes(44) + matrix_bytes((1, 0, 0, 1)) + bytes(28))
    mdia = box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + bytes(13)))
    data = box(b"mdat", bytes(99)) + box(b"moov", mvhd + box(b"trak", tkhd + mdia))
    (tmp_path / "x.mov").write_bytes(data)
    assert read_orientation(tmp_path / "x.mov") == Orientation(False, True, False)


@pytest.mark.parametrize("data", [b"", b"\0\0", b"no film at all, but a text", bytes(99)])
def test_what_is_no_such_file_says_nothing(data, tmp_path):
    (tmp_path / "x.mp4").write_bytes(data)
    assert read_orientation(tmp_path / "x.mp4") is None


def test_a_damaged_header_does_no_harm(corners, tmp_path):
    data = corners.read_bytes()
    begin = data.index(b"moov") - 4
    rng = np.random.default_rng(0)
    path = tmp_path / "x.mp4"
    for length in range(begin, len(data), 7):
        path.write_bytes(data[:length])
        assert read_orientation(path) in (None, UPRIGHT)
    for _ in range(300):
        noisy = bytearray(data)
        for place in rng.integers(begin, len(data), 8):
            noisy[place] = rng.integers(256)
        path.write_bytes(noisy)
        orientation = read_orientation(path)
        assert orientation is None or isinstance(orientation, Orientation)


def stored(rgb, matrix):
    """Lay an image so that a display matrix brings it back."""
    a, b, c, d = matrix
    return orientation_of((a, c, b, d)).apply(rgb)  # the other way: its transpose


@pytest.fixture(scope="module")
def smile():
    """A drawn take of a face, 256 x 240 pixels."""
    return draw_take(0, "happy", n_frames=16).frames[:, 8:248]


@pytest.fixture(scope="module")
def crops_of_smile(smile, tmp_path_factory, write_video):
    return preprocess_video(write_video(tmp_path_factory.mktemp("smile") / "plain.mp4", smile))


@pytest.mark.parametrize("said", EIGHT)
def test_crops_are_those_of_the_upright_video(said, smile, crops_of_smile, write_video, tmp_path):
    matrix = EIGHT[said][0]
    film = write_video(tmp_path / "film.mp4", np.stack([stored(rgb, matrix) for rgb in smile]))
    rewrite(film, film, matrix)
    assert_same_crops(preprocess_video(film), crops_of_smile)


def assert_same_crops(found, expected):
    """Hold that crops differ by the noise of compression, and far less than the two eyes do."""
    assert found.n_found == expected.n_found == len(found) == len(expected) > 0
    differences = {
        region: np.abs(found.crops[region].astype(int) - crops).mean()
        for region, crops in expected.crops.items()
    }
    assert max(differences.values()) < 7, differences
    other_eye = np.abs(found.crops["left_eye"].astype(int) - expected.crops["right_eye"]).mean()
    assert 4 * differences["left_eye"] < other_eye, (differences, other_eye)


@pytest.mark.real
@pytest.mark.parametrize("name", ["selfie_hflip.mov", "selfie_vflip.mov"])
def test_a_front_camera_gives_the_crops_of_its_plain_original(name, real_data, ffmpeg, tmp_path):
    found = preprocess_video(real_data / "odd" / name)
    assert_same_crops(found, preprocess_video(real_data / "cremad" / "1001_DFA_HAP_XX.flv"))
    # What FFmpeg's own program shows of it, without loss and with no matrix.
    ffmpeg("-i", real_data / "odd" / name, "-c:v", "ffv1", tmp_path / "shown.mkv")
    shown = preprocess_video(tmp_path / "shown.mkv")
    assert all(np.array_equal(found.crops[region], crops) for region, crops in shown.crops.items())


def test_landmarks_of_other_programs_do_not_fit_a_mirrored_video(corners, tmp_path):
    path = rewrite(corners, tmp_path / "film.mp4", (-1, 0, 0, 1))
    for landmarks in ("csv", "openface"):
        with pytest.raises(InputError, match=r"asks to be shown mirrored.*`landmarks=dlib`"):
            preprocess_video(path, landmarks=landmarks, landmarks_csv=tmp_path / "x.csv")
