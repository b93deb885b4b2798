"""Figures: colours that can be told apart, text that stays the user's, bytes that repeat."""

import base64
import warnings
from xml.etree import ElementTree

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest

from microx.figures import (
    draw_confusion,
    draw_curves,
    draw_ranking,
    draw_recall,
    draw_timeline,
    embed_figure,
    embed_image,
    emotion_colours,
    write_figure,
)
from microx.schema import EMOTIONS

HOSTILE = ["<b>&", "$x^{", "高兴", "a_b$"]


def _svg(figure):
    uri, width = embed_figure(figure)
    assert uri.startswith("data:image/svg+xml;base64,")
    assert width > 100
    return base64.b64decode(uri.partition(",")[2]).decode()


def _texts(figure):
    tree = ElementTree.fromstring(_svg(figure))
    return ["".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("text")]


@pytest.mark.parametrize("n_classes", [0, 1, 7, 8, 20])
def test_no_two_emotions_share_a_colour(n_classes):
    classes = [*EMOTIONS, "disgust", *(f"class {k}" for k in range(20))][:n_classes]
    colours = emotion_colours(classes)
    assert len(set(colours)) == len(colours) == n_classes


def test_an_emotion_keeps_its_colour_whatever_its_company_or_spelling():
    assert emotion_colours(["Happiness"]) == emotion_colours(["sad", "happy"])[1:]
    anger, angry = emotion_colours(["anger", "angry"])
    assert anger != angry


def test_ranking_puts_the_best_row_on_top():
    figure = draw_ranking(["nose", "face", "mouth"], [0.2, 0.9, 0.5], baseline=0.3, chance=0.25)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nose", "mouth", "face"]
    assert "90 %" in _texts(figure)
    assert "most frequent class 30 %" in _texts(figure)


def test_confusion_prints_counts_and_colours_shares_of_the_row():
    counts = np.array([[30, 10], [0, 0]])
    figure = draw_confusion(counts, ["happy", "sad"])
    assert {"30", "10", "0"} <= set(_texts(figure))
    (mesh,) = figure.axes[0].collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()).ravel(), [0.75, 0.25, 0, 0])


def test_recall_says_what_was_not_tested():
    texts = _texts(draw_recall([0.75, float("nan")], [8, 0], ["happy", "sad"], chance=0.5))
    assert "6 of 8" in texts
    assert "not tested" in texts


def test_curves_mark_the_chosen_epoch_of_each_fold():
    history = pd.DataFrame(
        {"fold": [0, 0, 1, 1], "epoch": [1, 2, 1, 2]}
        | {name: [4.0, 3.0, 2.0, 1.0] for name in ("loss", "val_loss")}
        | {name: [0.1, 0.2, 0.3, 0.4] for name in ("accuracy", "val_accuracy")}
    )
    upper, lower = draw_curves(history, best_epochs=[2, 1], title="mouth").axes
    for axes, expected in ((upper, [(2, 3.0), (1, 2.0)]), (lower, [(2, 0.2), (1, 0.3)])):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [tuple(np.ravel(dot.get_xydata())) for dot in dots] == expected


def test_timeline_leaves_gaps_and_names_them():
    y_prob = np.array([[0.5, 0.5], [np.nan] * 2, [np.nan] * 2, [0.1, 0.9]], np.float32)
    at = np.arange(4.0)
    figure = draw_timeline(at, at + 1, y_prob, ["clip", "no face", "too short", "clip"], "ab")
    (axes,) = figure.axes
    assert len(axes.collections) == 4  # two runs of two emotions
    assert [patch.get_x() for patch in axes.patches] == [1, 2]
    assert {"no face", "too short", "a", "b"} <= set(_texts(figure))


def test_labels_are_text_not_markup_nor_formulas():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_confusion(np.eye(4, dtype=int), HOSTILE)
        assert set(HOSTILE) <= set(_texts(figure))
        assert "<b>" not in _svg(figure)


def test_the_same_figure_gives_the_same_bytes_and_leaves_no_style_behind(tmp_path):
    before = dict(matplotlib.rcParams)
    one, two = (_svg(draw_recall([0.5], [4], ["sad"], chance=0.5)) for _ in range(2))
    assert one == two
    write_figure(draw_recall([0.5], [4], ["sad"], chance=0.5), tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 300
    assert dict(matplotlib.rcParams) == before


def test_a_picture_survives_embedding():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = base64.b64decode(embed_image(image).partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decoded, image)
