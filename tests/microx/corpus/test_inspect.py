"""A corpus seen through numbers, cautions and images."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from microx.corpus import inspect
from microx.corpus.build import build_corpus
from microx.corpus.contact_sheets import (
    choose_columns,
    draw_emotion_sheet,
    draw_video_sheet,
    write_sheet,
)
from microx.corpus.inspect import write_inspection
from microx.corpus.quality import (
    count_frames,
    find_doubts,
    find_missing_numbers,
    find_numbered_folders,
    group_reasons,
    measure_jumps,
    summarize_corpus,
    tabulate_emotions,
    tabulate_sources,
    tabulate_videos,
)
from microx.errors import CorpusError, InputError
from microx.labels.labels import read_labels
from microx.preprocessing.landmarks import write_openface_csv
from microx.simulation.corpus import draw_take

N_FRAMES = 30
LABEL = "<b>fear & joy</b>"


@pytest.fixture(scope="module")
def take():
    return draw_take(5, "happy", n_frames=N_FRAMES)


def write_table(path, landmarks, *, seen=None, jump=0.0, faces=1):
    """Write landmarks as OpenFace would that sees the face in some frames, or several faces."""
    landmarks.success[:] = True if seen is None else seen
    landmarks.xy[N_FRAMES // 2 :] += jump
    write_openface_csv(path, landmarks)
    landmarks.xy[N_FRAMES // 2 :] -= jump
    lines = path.read_text().splitlines()
    for face in range(1, faces):
        other = [line.split(",") for line in lines[1 : N_FRAMES + 1]]
        lines += [",".join([row[0], str(face), *row[2:]]) for row in other]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video, take):
    """A steady video, one with gaps, one with two faces, an image, and a file that is neither."""
    root = tmp_path_factory.mktemp("videos")
    shown = {"steady": {}, "gaps": {"seen": np.arange(N_FRAMES) % 15 < 7}, "two": {"faces": 2}}
    for name, arguments in shown.items():
        write_video(root / f"{name}.mp4", take.frames)
        write_table(root / f"{name}.csv", take.landmarks, **arguments)
    # Copies of one recording are used once only.
    for name, gain in (("gaps", 0.9), ("two", 0.8)):
        write_video(root / f"{name}.mp4", (take.frames * gain).astype(np.uint8))
    cv2.imwrite(str(root / "image.png"), take.frames[0, ..., ::-1])
    rows = (root / "steady.csv").read_text().splitlines()[:2]
    for name in ("image.csv", "image.png.csv", "broken.csv"):
        (root / name).write_text("\n".join(rows) + "\n")
    (root / "broken.mp4").write_text("no film")
    names = ("steady", "gaps", "two", "image", "broken")
    endings = dict.fromkeys(names, "mp4") | {"image": "png"}
    table = [{"path": f"{n}.{endings[n]}", "emotion": LABEL, "subject": "S&1"} for n in names]
    pd.DataFrame(table).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="module")
def build(videos, tmp_path_factory):
    def build(**settings):
        out = tmp_path_factory.mktemp("built") / "corpus"
        labels = read_labels(videos, videos / "labels.csv")
        return build_corpus(labels, out, landmarks="csv", landmarks_dir=videos, **settings)

    return build


@pytest.fixture(scope="module")
def main(build):
    return build(regions=("mouth", "face"))


@pytest.fixture(scope="module")
def every_face(build):
    return build(regions=("mouth",), faces="all")


def test_videos_are_sorted_by_how_far_their_crops_are_to_be_doubted(main):
    table = tabulate_videos(main)
    assert table["video_id"].iloc[0] == "gaps"
    assert set(table["video_id"]) == {"gaps", "steady", "two", "image"}
    gaps = table.set_index("video_id").loc["gaps"]
    assert gaps["missing"] == pytest.approx(16 / 30)
    assert gaps["eyes_px"] > 60
    assert gaps["n_clips"] == 0
    assert gaps["n_broken"] == 3
    assert (table["doubt"].diff().dropna() <= 0).all()


def test_a_jump_is_measured_in_outer_eye_distances(upright_landmarks):
    xy = np.repeat(upright_landmarks[None], 5, axis=0)
    xy[2:, :, 0] += 30  # the outer eye points of this face lie 60 px apart
    assert measure_jumps(xy, np.zeros(5, int)) == pytest.approx([0, 0, 0.5, 0, 0])
    assert not measure_jumps(xy, np.array([0, 0, 1, 1, 1])).any()
    xy[1] = np.nan
    assert measure_jumps(xy, np.array([0, -1, 1, 1, 1])).tolist() == [0] * 5


def test_counts_add_up(main):
    counts = count_frames(main)
    assert counts["n_decoded"] == counts["n_frames"] == 3 * N_FRAMES + 1
    by_status = [counts[name] for name in ("n_given", "n_no_face")]
    assert sum(by_status) == counts["n_frames"]
    (row,) = tabulate_emotions(main).to_dict("records")
    assert row == {
        "emotion": LABEL,
        "n_videos": 4,
        "n_subjects": 1,
        "n_clips": 6,
        "n_broken": 3,
    }


def test_a_corpus_of_every_face_counts_a_video_once(every_face):
    assert {"two~0", "two~1"} <= set(every_face.manifest["video_id"])
    assert sorted(tabulate_sources(every_face)["video_id"]) == [
        *("broken", "gaps", "image", "steady", "two")
    ]
    assert count_frames(every_face)["n_decoded"] == 3 * N_FRAMES + 1
    assert set(tabulate_videos(every_face, ["two"])["video_id"]) == {"two~0", "two~1"}
    # A face is not to blame for the time before it came and after it left.
    gaps = tabulate_videos(every_face, ["gaps~0"])["missing"].iloc[0]
    assert gaps == pytest.approx(8 / 22)


def test_doubts_are_sentences(main, every_face):
    said = " | ".join(find_doubts(main))
    assert "18% of the frames have no crops" in said
    assert "1 of 4 videos show several faces: two.mp4 (2)" in said
    assert "1 video is shorter than the 10 frames of a clip: image.png" in said
    assert "1 video is without a clip: no 10 consecutive frames show one face: gaps.mp4" in said
    assert "several faces" not in " | ".join(find_doubts(every_face))


@pytest.mark.parametrize(
    ("column", "values", "doubt"),
    [
        ("subject", ["S 1", "s1", "B", "B", "B"], "and in test: 'S 1' and 's1'; if they are one"),
        ("subject", ["", "A", "B", "B", "B"], "1 video is without a subject while others have one"),
        (
            "emotion",
            ["Joy", "joy", "joy", "sad", "sad"],
            "treated as different: 'Joy' and 'joy'; if",
        ),
    ],
)
def test_typing_errors_are_asked_about(main, column, values, doubt):
    manifest = main.manifest.assign(**{column: values})
    classes = tuple(sorted(set(manifest["emotion"])))
    said = find_doubts(dataclasses.replace(main, manifest=manifest, classes=classes))
    assert doubt in " | ".join(said)
    assert doubt not in " | ".join(find_doubts(main))


def test_faces_that_share_one_subject_are_asked_about(every_face):
    assert "all faces of two.mp4 have the same" in " | ".join(find_doubts(every_face))


def test_a_corpus_of_photographs_names_its_models(main):
    manifest = main.manifest.assign(n_frames=1)
    said = " | ".join(find_doubts(dataclasses.replace(main, manifest=manifest)))
    assert "no video has the 10 frames of a clip; a model of fewer can be trained" in said
    assert "`preset=cnn6`" in said


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        ([], ""),
        (["img1.png", "img2.png"], ""),
        (["img01.png", "img02.png", "img09.png"], "3 to 8"),
        (["1.png", "3.png", "5.png", "7.png", "9.png"], ""),
        (["1.png", "6.png", "11.png", "21.png"], "16"),
        ([f"{n}.png" for n in (1, 2, 4, 6, 8, 10)], "3, 5, 7 and 1 more"),
        (["a1.png", "b9.png"], ""),
        (["a1.png", "rest.png", "a9.png"], ""),
    ],
)
def test_missing_numbers_of_images_are_found(names, lacking):
    assert find_missing_numbers(names) == lacking


def test_small_faces_are_told_of(main):
    manifest = main.manifest.assign(n_small_face=9)
    small = dataclasses.replace(main, manifest=manifest)
    assert "show a face whose outer eye corners are less than 12" in " | ".join(find_doubts(small))
    assert "small face 36" in summarize_corpus(small).without_crops


@pytest.mark.parametrize(
    ("rate", "wanted", "told"),
    [(1, 30, "(1 a second)"), (5, 30, "(5 a second)"), (5, 5, ""), (5, None, ""), (15, 30, "")],
)
def test_videos_far_under_the_rate_are_told_of(rate, wanted, told, tmp_path, write_video):
    take = draw_take(2, "sad", n_frames=16).frames[:6]
    write_video(tmp_path / "v" / "sad" / "slow.mp4", take, rate)
    corpus = build_corpus(tmp_path / "v", tmp_path / "c", frame_rate=wanted)
    said = " | ".join(find_doubts(corpus))
    assert ("of far fewer frames a second than the 30 of the corpus" in said) == bool(told)
    assert told in said
    assert ("`frame_rate=" in said) == bool(told)


def test_a_corpus_of_nothing_has_counts_of_nothing(tmp_path):
    (tmp_path / "videos" / "sad").mkdir(parents=True)
    (tmp_path / "videos" / "sad" / "a.mp4").write_text("no film")
    corpus = build_corpus(read_labels(tmp_path / "videos"), tmp_path / "corpus")
    assert not any(count_frames(corpus).values())
    assert tabulate_emotions(corpus)["n_videos"].tolist() == [0]
    assert tabulate_videos(corpus).empty
    assert find_doubts(corpus) == []
    text = write_inspection(corpus, tmp_path / "looks").read_text()
    assert "0 videos done, 1 skipped" in text


def test_reasons_that_differ_in_names_only_are_one():
    rows = [
        {"path": "a", "status": "skipped", "reason": "found 7 bytes that begin with b'x'; convert"},
        {
            "path": "b",
            "status": "skipped",
            "reason": "found 9 bytes that begin with b'it'; convert",
        },
        {"path": "c", "status": "skipped", "reason": "no face found in any frame"},
        {"path": "d", "status": "done", "reason": ""},
    ]
    groups = group_reasons(pd.DataFrame(rows))
    assert [paths for _, paths in groups] == [["a", "b"], ["c"]]
    assert [reason for reason, _ in groups] == [rows[0]["reason"] + ", or alike", rows[2]["reason"]]


@pytest.mark.parametrize(
    ("paths", "folders"),
    [
        ([f"S1/EP02_01f/img{number}.jpg" for number in range(1, 9)], ["S1/EP02_01f"]),
        ([f"reg_{number:03d}.bmp" for number in range(46, 60)], ["."]),
        ([f"sad/IMG_{number}.jpg" for number in (17, 204, 518, 519, 2040)], []),
        ([f"S1/take{number}.mp4" for number in range(9)], []),
        (["a.png"], []),
        ([], []),
    ],
)
def test_folders_of_frames_are_known_by_their_numbers(paths, folders):
    assert find_numbered_folders(paths) == folders


def test_an_unknown_video_is_refused(main):
    with pytest.raises(InputError, match="none of id or path 'unknown'; there are steady, gaps"):
        tabulate_videos(main, ["unknown"])


def read_image(path):
    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_the_page_shows_every_video_and_escapes_what_users_wrote(main, tmp_path):
    steps = []
    page = write_inspection(main, tmp_path, progress=lambda *step: steps.append(step))
    text = page.read_text()
    assert "<b>fear" not in text
    assert "&lt;b&gt;fear &amp; joy&lt;/b&gt;" in text
    assert "S&amp;1" in text
    assert main.content_hash() in text
    assert text.index('href="#v-gaps"') < text.index('href="#v-image"')
    assert "broken.mp4" in text
    for name in ("gaps", "steady", "two", "image"):
        assert read_image(tmp_path / "video_sheets" / f"{name}.png").std() > 5
    assert read_image(tmp_path / "emotion_sheets" / "00.png").std() > 5
    assert steps[-1] == (5, 5, LABEL)
    assert "http" not in text


def test_only_the_worst_get_a_sheet_and_the_page_says_so(main, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").write_text("someone's only copy")
    text = write_inspection(main, tmp_path, n_sheets=1).read_text()
    assert [path.name for path in (tmp_path / "video_sheets").iterdir()] == ["gaps.png"]
    assert (tmp_path / "videos" / "mine.mp4").read_text() == "someone's only copy"
    assert "Sheets show the 1 worst of 4" in text


def test_faces_of_one_video_have_sheets_of_their_own(every_face, tmp_path):
    text = write_inspection(every_face, tmp_path, names=["two"]).read_text()
    assert {path.name for path in (tmp_path / "video_sheets").iterdir()} == {
        "two~0.png",
        "two~1.png",
    }
    assert "mouth crops spread over" in text


def test_a_folder_that_cannot_be_written_is_named(main, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: expected a folder for the images"):
        write_inspection(main, tmp_path / "file")


def test_a_lost_file_of_crops_is_named(build, tmp_path):
    corpus = build(regions=("mouth",))
    corpus.crops_path("steady").unlink()
    with pytest.raises(CorpusError, match=r"steady\.h5: expected the crops of a video"):
        write_inspection(corpus, tmp_path)


def ledger_of(segment, status="tracked"):
    segment = np.array(segment)
    return pd.DataFrame(
        {
            "time_s": np.arange(len(segment)) / 30,
            "source_frame": np.arange(len(segment)),
            "status": np.where(segment >= 0, status, "no_face"),
            "segment": segment,
            "confidence": np.where(segment >= 0, 0.9, 0.0),
        }
    )


def test_columns_show_the_spread_the_worst_and_each_gap():
    segment = np.zeros(200, int)
    segment[120:123] = -1
    segment[150:] = 1
    doubt = np.zeros(200)
    doubt[77] = 1
    columns = choose_columns(ledger_of(segment), doubt)
    assert len(columns) == 16
    assert {0, 77, 121, 199} <= set(columns.tolist())
    assert (np.diff(columns) > 0).all()
    assert choose_columns(ledger_of([0, -1, 0]), np.zeros(3)).tolist() == [0, 1, 2]
    assert len(choose_columns(ledger_of([-1] * 40), np.zeros(40))) == 1


@pytest.mark.parametrize("n_frames", [1, 2, 40, 20_000])
def test_a_video_of_any_length_has_a_sheet(tmp_path, n_frames):
    ledger = ledger_of([0] * n_frames)
    columns = choose_columns(ledger, np.zeros(n_frames))
    crops = {"mouth": np.full((len(columns), 8, 8, 3), 120, np.uint8)}
    title = "a very long name " * 20 + "$x_1$ 嬉しい"
    figure = draw_video_sheet(crops, ledger, columns, title=title)
    assert read_image(write_sheet(figure, tmp_path / "sheet.png")).shape[1] < 1600


def test_the_sheet_of_an_emotion_has_rows_of_twelve(tmp_path):
    crops = [np.full((16, 16, 3), 200, np.uint8)] * 13
    figure = draw_emotion_sheet(crops, ["S1"] * 13, ["given"] * 13, title="happy")
    one = draw_emotion_sheet(crops[:1], ["S1"], ["given"], title="happy")
    assert figure.get_figheight() > one.get_figheight()
    assert read_image(write_sheet(figure, tmp_path / "sheet.png")).shape[1] > 900


def test_the_page_lists_no_more_than_can_be_looked_through(main, tmp_path, monkeypatch):
    monkeypatch.setattr(inspect, "N_LISTED", 2)
    text = write_inspection(main, tmp_path, n_sheets=1).read_text()
    assert text.count('alt="crops of gaps"') == 1
    assert text.count('class="thumbs"') == 2
    assert "The 2 worst of 4 are listed" in text
    assert write_inspection(main, tmp_path, n_sheets=3).read_text().count('class="thumbs"') == 3
