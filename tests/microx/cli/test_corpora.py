"""Corpora as downloaded, from the command line: real processes, real files."""

import cv2
import pandas as pd
import pytest

from microx.simulation.corpus import draw_take

TITLES = "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Action Units,Estimated Emotion"


@pytest.fixture(scope="module")
def casme2(tmp_path_factory):
    """Two clips of drawn faces as CASME II has them, and a row more in the sheet."""
    root = tmp_path_factory.mktemp("casme2")
    for clip in ("sub01/EP02_01f", "sub02/EP01_11f"):
        (root / clip).mkdir(parents=True)
        for i, frame in enumerate(draw_take(len(clip), "happy", n_frames=16).frames[:8]):
            small = cv2.resize(frame[..., ::-1], (120, 120), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(root / clip / f"reg_img{46 + i}.jpg"), small)
    rows = ["1,EP02_01f,46,49,52,12,happiness", "2,EP01_11f,46,99,53,15,repression"]
    text = "\n".join([TITLES, *rows, "3,EP01_01,1,2,3,4,disgust", ""])
    (root / "CASME2-coding.csv").write_text(text)
    return root


def test_labels_says_what_was_expected_found_and_left_out(microx, casme2, tmp_path):
    run = microx("labels", "casme2", casme2, "--out", tmp_path / "labels.csv")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("caution: CASME II: expected 255 or 247 rows; found 3 in CASME2-")
    assert "videos: 1 with a label, 2 left out" in lines
    assert any("apex 99 matches no frame: its files are numbered 46 to 53" in x for x in lines)
    assert any(line.endswith("no such video (sub03/EP01_01)") for line in lines)
    assert "--fps native --input-fps 200 --faces main --out CORPUS" in lines[-1]
    (row,) = pd.read_csv(tmp_path / "labels.csv", dtype=str).to_dict("records")
    assert row["path"] == "sub01/EP02_01f"
    assert [row[name] for name in ("onset", "apex", "offset")] == ["0", "3", "6"]


def test_preprocess_takes_the_settings_of_the_corpus(microx, casme2, tmp_path):
    options = ("--regions", "face", "--faces", "cropped", "--workers", 1)
    run = microx("preprocess", casme2, "--corpus", "casme2", "--out", tmp_path / "c", *options)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("caution: CASME II: expected 255")
    assert "others are given: --fps native --input-fps 200 --faces main" in run.stdout
    manifest = pd.read_csv(tmp_path / "c" / "manifest.csv", dtype=str, keep_default_na=False)
    done = manifest[manifest["status"] == "done"]
    assert done[["path", "apex", "n_frames", "emotion"]].to_numpy().tolist() == [
        ["sub01/EP02_01f", "3", "8", "happiness"]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("labels", "casme9", "."), "corpus 'casme9' is unknown; known: baum1s"),
        (("labels", "cremad", "https://x.org/cremad"), "found an address; download it first"),
        (("labels", "casme3", "."), "expected the coding sheet of CAS(ME)³ part A; found no file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(microx, tmp_path, arguments, message):
    run = microx(*arguments, "--out", tmp_path / "labels.csv")
    assert run.returncode == 1
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
