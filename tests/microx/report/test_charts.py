"""Charts of results: what is shown where, what was not tested, what shows without colour."""

import numpy as np
import pandas as pd
import pytest

from microx.report.charts import (
    draw_calibration,
    draw_confusion,
    draw_curves,
    draw_occlusion,
    draw_ranking,
    draw_recall,
    draw_region_values,
)


def _texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_ranking_puts_the_best_row_on_top():
    figure = draw_ranking(["nose", "face", "mouth"], [0.2, 0.9, 0.5], baseline=0.3, chance=0.25)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nose", "mouth", "face"]
    assert "90 %" in _texts(figure)
    (legend,) = figure.legends
    assert legend.get_texts()[0].get_text() == "most frequent class 30 %"


def test_ranking_draws_intervals_seeds_and_leaks():
    figure = draw_ranking(
        ["by clip (LEAKY)", "by subject"],
        [0.9, 0.5],
        baseline=0.3,
        chance=0.25,
        intervals=[(np.nan, np.nan), (0.4, 0.6)],
        seeds=[[0.9], [0.45, 0.55]],
        leaky=["by clip (LEAKY)"],
        highlight="by subject",
    )
    (axes,) = figure.axes
    whiskers = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(whiskers, [[0.4, 0.6]])
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[0.45, 0.55]])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "by subject",
        "by clip (LEAKY)",
    ]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, True]


def test_confusion_prints_counts_and_shares_of_the_row():
    counts = np.array([[30, 10], [0, 0]])
    figure = draw_confusion(counts, ["happy", "sad"])
    assert _texts(figure) == ["30", "75 %", "10", "25 %", "0", "0"]
    (mesh,) = figure.axes[0].collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()).ravel(), [0.75, 0.25, 0, 0])


def test_recall_says_what_was_not_tested():
    texts = _texts(draw_recall([0.75, float("nan")], [8, 0], ["happy", "sad"], chance=0.5))
    assert texts == ["6 of 8", "not tested"]


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


def test_calibration_of_an_honest_guesser_lies_on_the_line():
    # Two steps of confidence, right as often as it says: 6 of 10 and 9 of 10.
    y_prob = np.repeat([[0.6, 0.4], [0.9, 0.1]], 10, axis=0)
    y_true = np.array([0] * 6 + [1] * 4 + [0] * 9 + [1])
    (axes,) = draw_calibration(y_true, y_prob).axes
    line, dots = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(dots.get_xdata(), dots.get_ydata(), atol=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_calibration_of_one_confident_prediction(right):
    (axes,) = draw_calibration(np.array([0 if right else 1]), np.array([[1.0, 0.0]])).axes
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[1, float(right)]])


def test_occlusions_get_a_panel_a_kind_and_dashes_of_their_own():
    line = {"shares": [0, 1], "scores": [0.8, 0.3], "low": [0.7, np.nan], "high": [0.9, np.nan]}
    two = [line | {"name": "bare"}, line | {"name": "occluded"}]
    figure = draw_occlusion({"mask": two, "hand": two, "scarf": two, "erase": two}, chance=0.2)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["mask", "hand", "scarf", "erase"]
    assert len({line.get_linestyle() for line in shown[0].lines}) == 3  # chance is the third
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["bare", "occluded"]


def test_region_values_are_signed_numbers_the_largest_on_top():
    values = pd.DataFrame({"all": [-0.1, 0.4], "sad": [np.nan, 0.2]}, index=["nose", "mouth"])
    figure = draw_region_values(values)
    assert _texts(figure) == ["+40", "+20", "\u221210", "\u2013"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mouth", "nose"]
