"""Figures: colours that can be distinguished, text that stays the user's, bytes that repeat."""

import base64
import warnings
from xml.etree import ElementTree

import cv2
import matplotlib
import numpy as np
import pytest

from microx.plotting import (
    draw_timeline,
    embed_figure,
    embed_image,
    emotion_colours,
    write_figure,
)
from microx.report.charts import draw_confusion, draw_recall
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


def test_an_image_survives_embedding():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = base64.b64decode(embed_image(image).partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decoded, image)
