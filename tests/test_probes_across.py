"""Probes across two conditions, best cells of a grid, means per unit, and the pictures of both."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.plots import Scale, probe_map, projection_grids
from interp.probes import (
    Probe,
    across_conditions,
    heldout_accuracy,
    probe_grid,
    transfer_matrix,
    unit_means,
)
from interp.stats import Resampling
from interp.tasks import Workers


def conditions(wording: float, speaker: float, seed: int = 0):
    """Eight groups, each read twice: what is said stays, and the label is exchanged."""
    rng = np.random.default_rng(seed)
    group, first = np.repeat(np.arange(8), 20), rng.permutation(np.arange(160) % 2)
    X = np.concatenate([rng.normal(size=(160, 10)) for _ in range(2)])
    labels = np.concatenate([first, 1 - first])
    X[:, 0] += wording * np.concatenate([first, first])
    X[:, 1] += speaker * labels
    return X, labels, np.concatenate([group, group]), np.repeat([False, True], 160)


def test_what_goes_with_one_condition_alone_misleads_in_the_other():
    wording = across_conditions(*conditions(4.0, 0.0), n_classes=2)
    speaker = across_conditions(*conditions(0.0, 4.0), n_classes=2)
    noise = across_conditions(*conditions(0.0, 0.0), n_classes=2)
    assert wording is not None and speaker is not None and noise is not None
    assert wording.shape == (8,) and wording.mean() < 0.1
    assert speaker.mean() > 0.9 and 0.35 < noise.mean() < 0.65


def test_a_group_that_lacks_a_class_leaves_no_score():
    X, labels, groups, second = conditions(0.0, 4.0)
    labels[(groups == 3) & second] = 1
    assert across_conditions(X, labels, groups, second, n_classes=2) is None


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_heldout_accuracy_is_that_of_the_plain_pipeline(n_classes):
    rng = np.random.default_rng(1)
    labels = np.arange(120) % n_classes
    X = rng.normal(size=(120, 8)) * np.geomspace(1, 100, 8)
    X[:, 0] += labels
    train, test = np.arange(80), np.arange(80, 120)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced"))
    predicted = plain.fit(X[train], labels[train]).predict(X[test])
    score = heldout_accuracy(X, labels, train, test, n_classes=n_classes, C=0.1)
    assert score == pytest.approx(balanced_accuracy_score(labels[test], predicted))
    with pytest.raises(ValueError, match="lacks a class"):
        heldout_accuracy(X, labels, np.flatnonzero(labels), test, n_classes=n_classes)


@pytest.fixture(scope="module")
def grid_and_blocks():
    rng = np.random.default_rng(2)
    labels = np.arange(80) % 2
    blocks = {name: rng.normal(size=(80, 12)) for name in ("a", "b")}
    blocks["b"][:, 0] += 4 * labels
    cells = {"tag": np.arange(40), "word": np.arange(40, 80), "two": np.arange(2)}
    options = {"resampling": Resampling(40), "workers": Workers(n_jobs=1, progress=False)}
    options |= {"cells": cells, "probe": Probe(n_boot=0)}
    grid = probe_grid(blocks.items(), labels, groups=np.arange(80), **options)
    return grid, blocks, cells, labels


def test_the_highest_cell_may_leave_positions_out(grid_and_blocks):
    grid, *_ = grid_and_blocks
    block, cell = grid.highest()
    assert grid.score[block, cell] == np.nanmax(grid.score)
    best = grid.highest(without=("tag",))
    assert best == (1, 1) and grid.where(best) == "b, word"
    np.testing.assert_array_equal(grid.survives(), grid.test.survives())
    assert grid.survives()[best] and not grid.survives()[0].any()
    with pytest.raises(ValueError, match="no cell is left"):
        grid.highest(without=("tag", "word", "two"))


def test_a_map_names_depths_and_positions_and_says_what_is_undefined(grid_and_blocks):
    grid, *_ = grid_and_blocks
    figure = probe_map(grid, grid.score, title="t", scale=Scale("score"), column_title="role")
    assert figure.layout.xaxis.title.text == "role" and figure.layout.yaxis.title.text == "depth"
    hover = np.array(figure.data[0].hovertext)
    assert "too few rows" in hover[0, 2] and "too few rows" not in hover[0, 1]


def test_projections_are_those_of_the_rows_given_and_undefined_cells_are_notes(grid_and_blocks):
    grid, blocks, cells, labels = grid_and_blocks
    shown = cells | {"word": cells["word"][:10]}
    (figure,) = projection_grids(
        grid, blocks.items(), shown, np.array(["Ann", "Ben"])[labels], titles={"pca": "t"}
    )
    drawn = [len(trace.x) for trace in figure.data if trace.mode == "markers" and trace.x[0]]
    assert sorted(drawn) == [5, 5, 5, 5, 20, 20, 20, 20]
    assert sum(note.text == "too few rows" for note in figure.layout.annotations) == 2


def test_units_that_all_cells_have_are_averaged():
    rows = np.arange(16, dtype=float).reshape(8, 2)
    units = np.array([5, 5, 7, 7, 7, 9, 9, 9])
    cells = {"verb": np.array([0, 2, 3, 5]), "last": np.array([1, 4, 6, 7])}
    means, first = unit_means(rows, cells, units)
    assert first.tolist() == [0, 2, 5]
    np.testing.assert_allclose(means["verb"], [rows[0], rows[[2, 3]].mean(axis=0), rows[5]])
    np.testing.assert_allclose(means["last"], [rows[1], rows[4], rows[[6, 7]].mean(axis=0)])
    means, first = unit_means(rows, cells | {"tag": np.array([0, 6])}, units)
    assert units[first].tolist() == [5, 9] and {len(m) for m in means.values()} == {2}
    means, first = unit_means(rows, {"verb": np.array([0]), "last": np.array([7])}, units)
    assert len(first) == 0 and means["verb"].shape == (0, 2)


def test_a_transfer_is_drawn_about_chance():
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    places = {name: rng.normal(size=(40, 5)) + 3 * labels[:, None] for name in ("x", "y")}
    transfer = transfer_matrix(places, labels, groups=np.arange(40))
    heat = transfer.plot().data[0]
    np.testing.assert_allclose(heat.z, transfer.accuracy)
    assert (heat.zmin, heat.zmax) == (0, 1)
