"""Panels of projected samples: every sample under its class, and the arrow where it belongs."""

import numpy as np
import pytest

from interp.plots import scatter, scatter_grid

POINTS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
NAMES = np.array(["Ann", "Ben", "Ann", "<b>"])


def test_every_sample_stands_under_its_class_and_markup_is_shown():
    figure = scatter(POINTS, NAMES, title="t")
    drawn = {trace.name: np.column_stack([trace.x, trace.y]).tolist() for trace in figure.data}
    assert drawn == {
        "Ann": [[0, 0], [0, 2]],
        "Ben": [[2, 0]],
        "&lt;b&gt;": [[2, 2]],
    }


def test_an_arrow_starts_at_the_mean_and_points_along_the_direction():
    figure = scatter(POINTS, NAMES, title="t", arrow=np.array([0.0, -5.0]))
    arrow = figure.layout.annotations[0]
    assert (arrow.ax, arrow.ay) == (1, 1)
    assert arrow.x == 1 and arrow.y == pytest.approx(1 - 2 / 3)
    assert not scatter(POINTS, NAMES, title="t", arrow=np.zeros(2)).layout.annotations


def test_the_first_row_of_panels_is_at_the_bottom_and_each_class_has_one_legend():
    figure = scatter_grid(
        {(0, 0): POINTS, (1, 1): POINTS + 10},
        {(0, 0): NAMES, (1, 1): NAMES},
        row_labels=["embedding", "block 1"],
        column_labels=["verb", "last"],
        title="t",
        notes={(1, 0): "one class"},
    )
    shown = [t for t in figure.data if t.mode == "markers"]
    low = [t for t in shown if np.max(t.x) < 5]
    high = [t for t in shown if np.max(t.x) >= 5]
    bottom, top = (figure.layout[t[0].yaxis.replace("y", "yaxis")].domain for t in (low, high))
    assert bottom[1] < top[0]
    assert sorted(t.name for t in figure.data if t.showlegend) == ["&lt;b&gt;", "Ann", "Ben"]
    (note,) = (note for note in figure.layout.annotations if note.text == "one class")
    assert note.xref == "x domain" and note.yref == "y domain"  # plotly's first is the upper left
    # plotly draws no panel without a trace, and would put its note into another one
    assert {t.xaxis for t in figure.data} == {"x", "x2", "x3"}


def test_what_does_not_fit_is_refused():
    labels = {"row_labels": ["a"], "column_labels": ["b"], "title": "t"}
    with pytest.raises(ValueError, match="4 points for 3 classes"):
        scatter_grid({(0, 0): POINTS}, {(0, 0): NAMES[:3]}, **labels)
    with pytest.raises(ValueError, match=r"panels \[\(1, 0\)\] are outside of 1 rows x 1 columns"):
        scatter_grid({(1, 0): POINTS}, {(1, 0): NAMES}, **labels)


def test_joined_samples_are_connected_and_no_others():
    figure = scatter(POINTS, NAMES, title="t", joined=np.array([[0, 3], [2, 1]]))
    line = figure.data[0]
    assert line.mode == "lines" and not line.showlegend
    drawn = np.column_stack([line.x, line.y]).reshape(2, 3, 2)
    np.testing.assert_array_equal(drawn[:, :2], [[[0, 0], [2, 2]], [[0, 2], [2, 0]]])
    assert np.isnan(drawn[:, 2]).all()


def test_a_class_looks_the_same_in_every_panel_and_in_the_legend():
    points = np.arange(8.0).reshape(4, 2)
    figure = scatter_grid(
        {(0, 0): points, (0, 1): points},
        {(0, 0): np.array(list("aabb")), (0, 1): np.array(list("bbcc"))},
        row_labels=["block 0"],
        column_labels=["name", "verb"],
        title="t",
    )
    looks = {}
    for trace in figure.data:
        looks.setdefault(trace.name, set()).add((trace.marker.color, trace.marker.symbol))
    assert set(looks) == set("abc") and all(len(look) == 1 for look in looks.values())
    assert len(set.union(*looks.values())) == 3
    assert sorted(t.name for t in figure.data if t.showlegend) == list("abc")


def test_more_classes_than_colours_get_symbols_and_numbers_keep_their_order():
    figure = scatter(np.zeros((40, 2)), np.arange(40), title="t")
    assert len({(t.marker.color, t.marker.symbol) for t in figure.data}) == 40
    assert [t.name for t in figure.data] == [str(number) for number in range(40)]
