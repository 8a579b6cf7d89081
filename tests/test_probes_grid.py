"""Probes of a grid: planted signal, clean nulls, and equality with the plain pipeline."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from records import gathered
from scipy.stats import binom, spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from interp.probes import Probe, RowSpace, probe_grid
from interp.probes import _logistic as logistic
from interp.probes._design import Samples, lay_out
from interp.probes._heldout import ProbeFit, heldout_values
from interp.probes._logistic import fit_logistic
from interp.probes._permutation import fold_of_rows, permuted_labels
from interp.probes._scores import HeldOutClasses, auroc_within_folds
from interp.stats import Resampling
from interp.tasks import Workers


def quick(blocks, y, **options):
    """`probe_grid` in this process, without a bar, intervals or a long null."""
    quickly: dict[str, Any] = {"n_jobs": 1, "progress": False, "n_boot": 0, "n_permutations": 1}
    quickly |= {"groups": np.arange(len(y))} | options
    records = {"probe": Probe, "resampling": Resampling, "workers": Workers}
    return probe_grid(blocks, y, **gathered(quickly, **records))


def turns(rng, groups, per_group, tokens):
    """Rows of transcripts whose turns alternate at random: groups, units, labels by turn."""
    group = np.repeat(np.arange(groups), per_group * tokens)
    unit = np.repeat(np.arange(groups * per_group), tokens)
    labels = np.concatenate([rng.permutation(np.arange(per_group) % 2) for _ in range(groups)])
    return group, unit, labels[unit]


def test_a_planted_direction_is_found_where_it_is_and_nowhere_else():
    rng = np.random.default_rng(0)
    groups, units, y = turns(rng, groups=10, per_group=4, tokens=4)
    blocks = {name: rng.normal(size=(160, 60)) for name in ("a", "b", "c")}
    cells = {"early": np.arange(0, 160, 2), "late": np.arange(1, 160, 2)}
    blocks["b"][cells["late"]] += 1.5 * np.outer(y[cells["late"]], np.eye(60)[7])
    grid = quick(
        blocks.items(), y, groups=groups, units=units, cells=cells, n_permutations=60, n_boot=200
    )
    assert grid.blocks == ("a", "b", "c") and grid.cells == ("early", "late")
    planted = np.array([[False, False], [False, True], [False, False]])
    np.testing.assert_array_equal(grid.test.survives(), planted)
    np.testing.assert_array_equal(grid.auroc_test.survives(), planted)
    low, high = grid.interval[1, 1]
    assert 0.5 < low < grid.score[1, 1] < high <= 1
    low, high = grid.auroc_interval[1, 1]
    assert 0.5 < low < grid.auroc[1, 1] < high <= 1
    assert grid.chance == 0.5 and grid.majority == pytest.approx([0.5, 0.5])


def accuracies(X, labels, fold):
    """Balanced accuracy of every label vector on one cell."""
    values, means = heldout_values(X, labels, fold, ProbeFit(2, 0.1, False))
    everything = np.arange(len(fold))
    return np.array(
        [
            HeldOutClasses(*one, fold, 2).score()(everything)
            for one in zip(labels, values, means, strict=True)
        ]
    )


def test_noise_in_transcripts_of_one_label_passes_at_its_rate():
    rng = np.random.default_rng(1)
    trials, B, passed, above = 200, 19, 0, []
    groups = np.arange(10)
    for trial in range(trials):
        y = rng.permutation(groups % 2)
        X = rng.normal(size=(10, 6))
        fold = fold_of_rows(y, groups, stratify=True, n_splits=5, seed=trial)
        permuted = permuted_labels(
            y, groups=groups, units=groups, fold=fold, stratified=True, n_permutations=B, rng=rng
        )
        score, *null = accuracies(X, np.concatenate([y[None], permuted]), fold)
        passed += int(score > max(null))
        above.append(score - np.mean(null))
    # p <= 1 / 20 is that no permutation reaches the true labels. Two groups a fold make 32
    # arrangements, so that ties with the true one keep p from being small as often as it may be.
    assert passed <= binom.interval(0.99, trials, 0.05)[1]
    # Labels dealt to groups of any fold would leave the true ones .09 above their null.
    assert abs(np.mean(above)) < 3 * np.std(above) / np.sqrt(trials)


def test_p_values_of_turns_hold_their_level():
    rng = np.random.default_rng(2)
    trials, B = 200, 19
    groups, units, y = turns(rng, groups=6, per_group=6, tokens=2)
    X = rng.normal(size=(72, 6)) + rng.normal(size=(36, 6))[units]
    grid = quick(
        [("b", X)], y, groups=groups, units=units, n_splits=2, n_permutations=trials * (B + 1) - 1
    )
    # The true labels are one more permutation, so each run of B + 1 is a whole test.
    runs = np.concatenate([grid.score[None], grid.null])[:, 0, 0].reshape(trials, B + 1)
    p = (runs >= runs[:, :1]).mean(axis=1)
    for level in (0.05, 0.5):
        low, high = binom.interval(0.99, trials, level)
        assert low <= (p <= level).sum() <= high


def test_folds_that_split_units_inflate_accuracy():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(40), 6)
    y = rng.permutation(np.arange(40) % 2)[groups]
    X = rng.normal(size=(240, 80)) + 2 * rng.normal(size=(40, 80))[groups]  # no label anywhere
    grid = quick([("b", X)], y, groups=groups)
    assert grid.leaky[0, 0] > 0.9
    assert abs(grid.score[0, 0] - 0.5) < 0.25  # 40 independent labels: sd .08


@pytest.mark.parametrize("d", [20, 300])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("standardise", [True, False])
def test_rotated_probes_equal_the_plain_pipeline(d, classes, standardise):
    rng = np.random.default_rng(3)
    n = 120
    y = rng.integers(0, classes, n)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d) + np.outer(y == 1, np.eye(d)[3])
    groups = np.repeat(np.arange(n // 2), 2)
    fold = fold_of_rows(y, groups, stratify=True, n_splits=4, seed=0)
    ours, _ = heldout_values(X, y[None], fold, ProbeFit(classes, 0.5, standardise))
    plain = np.empty_like(ours[0])
    predicted = np.empty(n, dtype=int)
    # At tol 1e-10 lbfgs runs into float64; at its default of 1e-4 values differ by some 1e-2.
    model = make_pipeline(
        StandardScaler(with_mean=standardise, with_std=standardise),
        LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000, class_weight="balanced"),
    )
    for held_out in range(4):
        test = fold == held_out
        model.fit(X[~test], y[~test])
        plain[test] = model.decision_function(X[test]).reshape(test.sum(), -1)
        predicted[test] = model.predict(X[test])
    np.testing.assert_allclose(ours[0], plain, atol=1e-3)
    grid = quick(
        [("b", X)], y, groups=groups, units=np.arange(n), n_splits=4, seed=0, C=0.5,
        standardise=standardise,
    )  # fmt: skip
    assert grid.score[0, 0] == pytest.approx(balanced_accuracy_score(y, predicted), abs=1e-12)
    by_fold = [balanced_accuracy_score(y[fold == f], predicted[fold == f]) for f in range(4)]
    np.testing.assert_allclose(grid.fold_scores[0, 0], by_fold)
    if classes == 2:
        pairs = [np.prod(np.bincount(y[fold == f])) for f in range(4)]
        areas = [roc_auc_score(y[fold == f], plain[fold == f, 0]) for f in range(4)]
        assert grid.auroc[0, 0] == pytest.approx(np.average(areas, weights=pairs), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_label_vectors_fitted_together_equal_one_fit_each(classes):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(60, 15))
    labels = np.stack([rng.permutation(np.arange(60) % classes) for _ in range(6)])
    labels[0, :40] = 0  # unbalanced
    labels[1] = np.arange(60) * classes // 60
    X[:, 0] += 10 * labels[1]  # separable by far
    fit = fit_logistic(X, labels, classes, C=10.0)
    assert fit.converged.all()
    for vector, decided in zip(labels, fit.decisions(X), strict=True):
        model = LogisticRegression(
            C=10.0, solver="newton-cholesky", tol=1e-12, class_weight="balanced"
        )
        expected = model.fit(X, vector).decision_function(X).reshape(60, -1)
        # A gradient of 1e-8 over the penalty's curvature, 1 / (C n), is 6e-6 in a weight.
        np.testing.assert_allclose(decided, expected, atol=1e-4)
    with pytest.raises(ValueError, match="label vector 1 lacks a class"):
        fit_logistic(X, np.stack([labels[1], np.minimum(labels[1], classes - 2)]), classes)


def test_numbers_equal_plain_ridge_regression():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(90, 200))
    y = X[:, 0] * 3 + rng.normal(size=90)
    grid = quick([("b", X)], y, kind="numbers", C=0.01, n_permutations=40)
    fold = fold_of_rows(y, np.arange(90), stratify=False, n_splits=5, seed=42)
    predicted, baseline = np.empty(90), np.empty(90)
    for held_out in range(5):
        test = fold == held_out
        model = make_pipeline(StandardScaler(), Ridge(alpha=100.0)).fit(X[~test], y[~test])
        predicted[test], baseline[test] = model.predict(X[test]), y[~test].mean()
    r2 = 1 - ((y - predicted) ** 2).sum() / ((y - baseline) ** 2).sum()
    assert grid.score[0, 0] == pytest.approx(r2)
    assert r2 != pytest.approx(r2_score(y, predicted), abs=1e-5)  # about the scored rows' mean
    ranks = [spearmanr(y[fold == f], predicted[fold == f])[0] for f in range(5)]
    assert grid.auroc[0, 0] == pytest.approx(np.mean(np.array(ranks, dtype=float)))
    assert grid.test.survives()[0, 0] and grid.majority is None and grid.chance == 0
    assert "rank_correlation" in grid.table()


def test_several_classes_are_found_and_named_in_any_type():
    rng = np.random.default_rng(6)
    codes = np.arange(150) % 3
    X = rng.normal(size=(150, 30)) + 2 * np.eye(30)[codes]
    grid = quick([("b", X)], np.array(["x", "y", "z"])[codes], n_permutations=30)
    assert grid.chance == pytest.approx(1 / 3)
    assert grid.score[0, 0] > 0.75 and grid.auroc[0, 0] > 0.9
    assert grid.test.survives()[0, 0]
    # two classes named 0 and 1 or True and False are the same two classes
    two = codes < 1
    as_bool, as_int = (quick([("b", X)], labels) for labels in (two, two.astype(int)))
    np.testing.assert_array_equal(as_bool.score, as_int.score)


def test_control_tasks_tell_a_lookup_table_from_a_feature():
    rng = np.random.default_rng(7)
    types = rng.integers(0, 30, 600)
    y = (types % 2).astype(int)
    groups = np.arange(600) // 6
    table = 12 * np.eye(30)[types]  # one axis per type, on which any label can be read off
    feature = 12 * np.outer(y, np.eye(30)[0])
    noise = rng.normal(size=(2, 600, 30))
    blocks = [("table", table + noise[0]), ("feature", feature + noise[1])]
    grid = quick(blocks, y, groups=groups, units=np.arange(600), types=types)
    assert (grid.score > 0.9).all() and grid.selectivity is not None and grid.control is not None
    assert abs(grid.selectivity[0, 0]) < 0.05
    assert grid.selectivity[1, 0] > 0.3
    np.testing.assert_allclose(grid.control, grid.score - grid.selectivity)


def test_the_surface_is_scored_once_and_says_when_it_tells_nothing():
    rng = np.random.default_rng(8)
    y = np.arange(100) % 2
    X, surface = rng.normal(size=(100, 40)), rng.normal(size=(100, 12))
    surface[:, 0] += 4 * y
    surface[60:] = 1.0
    cells = {"word": np.arange(60), "mark": np.arange(60, 100)}
    grid = quick([("a", X), ("b", X)], y, cells=cells, surface=surface)
    assert grid.surface is not None and grid.surface_status is not None
    assert grid.surface_status.tolist() == ["ok", "constant"]
    assert grid.surface[0] > 0.9 and np.isnan(grid.surface[1])
    assert grid.score[0, 0] < 0.8  # the blocks hold none of it


def test_undefined_cells_carry_a_status_and_no_number():
    rng = np.random.default_rng(9)
    n = 80
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 10)).astype(np.float32)
    X[40:60] = 3.0 + 1e-6 * rng.normal(size=(20, 10))  # the same token, up to float32 rounding
    X[60, 2] = np.inf
    groups = np.arange(n)
    fold = fold_of_rows(y, groups, stratify=True, n_splits=5, seed=42)
    last_of_class = np.flatnonzero((y == 1) & (fold == 2))[:2]
    cells = {
        "fine": np.arange(40),
        "constant": np.arange(40, 60),
        "non-finite": np.arange(60, 80),
        "few": np.arange(3),
        "none": np.arange(0),
        "one class": np.arange(0, 40, 2),
        "lacks": np.concatenate([np.arange(0, 40, 2), last_of_class]),
    }
    grid = quick([("b", X)], y, cells=cells, n_boot=20)
    expected = ["ok", "constant", "non-finite", "too few rows", "too few rows", "one class"]
    assert grid.status[0].tolist() == [*expected, "a fold lacks a class"]
    for values in (grid.score, grid.auroc, grid.leaky, grid.test.p, grid.interval[..., 0]):
        assert np.isfinite(values[0, 0]) and np.isnan(values[0, 1:]).all()
    assert grid.rows.tolist() == [40, 20, 20, 3, 0, 20, 22]


def test_numbers_and_solvers_have_statuses_of_their_own(monkeypatch):
    rng = np.random.default_rng(15)
    X, y, groups = rng.normal(size=(80, 10)), rng.normal(size=80), np.arange(80) // 8
    y[:10] = 2.0
    cells = {"fine": np.arange(80), "one group": np.arange(72, 80), "flat": np.arange(10)}
    grid = quick([("b", X)], y, groups=groups, units=np.arange(80), kind="numbers", cells=cells)
    assert grid.status[0].tolist() == ["ok", "one fold", "constant labels"]
    monkeypatch.setattr(logistic, "MAX_STEPS", 2)
    grid = quick([("b", X)], np.arange(80) % 2)
    assert grid.status[0, 0] == "not converged" and np.isnan(grid.score[0, 0])


def test_a_cell_whose_null_is_undefined_has_a_score_and_no_test():
    rng = np.random.default_rng(10)
    groups, units, y = turns(rng, groups=4, per_group=8, tokens=1)
    ones = [np.flatnonzero((groups == g) & (y == k))[0] for g in range(4) for k in (0, 1)]
    X = rng.normal(size=(32, 5))
    grid = quick(
        [("b", X)], y, groups=groups, units=units, cells={"two per group": np.array(ones)},
        n_splits=2, n_permutations=60,
    )  # fmt: skip
    assert grid.status[0, 0] == "degenerate null"
    assert np.isfinite(grid.score[0, 0]) and np.isnan(grid.test.p[0, 0])


def test_processes_change_nothing_and_a_stream_is_read_once():
    rng = np.random.default_rng(11)
    y, groups = np.arange(120) % 3, np.arange(120) // 2
    X = rng.normal(size=(3, 120, 150)) + y[:, None]
    cells = {"even": np.arange(0, 120, 2), "odd": np.arange(1, 120, 2)}
    options = {"groups": groups, "units": np.arange(120), "cells": cells, "types": y + groups % 5}
    options |= {"surface": X[0], "n_permutations": 5, "n_boot": 50, "max_rows": 50}
    stream = ((f"b{i}", block) for i, block in enumerate(X))
    here, there = (
        quick(blocks, y, n_jobs=jobs, **options)
        for blocks, jobs in ((stream, 1), ([(f"b{i}", block) for i, block in enumerate(X)], 2))
    )
    for field, value in vars(here).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(there, field), err_msg=field)
    assert here.rows.tolist() == [50, 50] and here.rows_given.tolist() == [60, 60]
    table = here.table()
    assert len(table) == 6 and table["cell"].tolist() == ["even", "odd"] * 3
    np.testing.assert_array_equal(table["score"], here.score.ravel())


def test_labels_move_within_their_group_or_else_among_groups_of_a_fold():
    rng = np.random.default_rng(12)
    mixed, units, y = turns(rng, groups=6, per_group=4, tokens=3)
    groups = np.concatenate([mixed, 6 + np.repeat(np.arange(8), 2)])
    units = np.concatenate([units, 24 + np.repeat(np.arange(8), 2)])
    y = np.concatenate([y, np.repeat(np.arange(8) % 2, 2)])
    fold = fold_of_rows(y, groups, stratify=True, n_splits=2, seed=0)
    permuted = permuted_labels(
        y, groups=groups, units=units, fold=fold, stratified=True, n_permutations=50, rng=rng
    )
    assert len(np.unique(permuted, axis=0)) > 40
    for labels in permuted:
        for unit in range(32):
            assert len(np.unique(labels[units == unit])) == 1
        for group in range(6):
            assert labels[groups == group].sum() == y[groups == group].sum()
        for f in range(2):
            assert labels[fold == f].sum() == y[fold == f].sum()


def test_decision_values_of_different_folds_are_not_compared():
    rng = np.random.default_rng(13)
    fold = np.repeat([0, 1], 50)
    positive = rng.integers(0, 2, 100) == 1
    values = np.round(positive + rng.normal(size=100), 1)  # with ties
    shifted = values + 100 * fold
    everything = np.arange(100)
    each = [roc_auc_score(positive[fold == f], values[fold == f]) for f in (0, 1)]
    pairs = [np.prod(np.bincount(positive[fold == f])) for f in (0, 1)]
    expected = np.average(each, weights=pairs)
    assert auroc_within_folds(positive, shifted, fold)(everything) == pytest.approx(expected)
    rows = rng.integers(0, 100, 100)  # a resample, rows repeated
    drawn = [rows[fold[rows] == f] for f in (0, 1)]
    each = [roc_auc_score(positive[r], values[r]) for r in drawn]
    expected = np.average(each, weights=[np.prod(np.bincount(positive[r])) for r in drawn])
    assert auroc_within_folds(positive, shifted, fold)(rows) == pytest.approx(expected)


def test_row_space_is_an_estimator_and_keeps_inner_products():
    rng = np.random.default_rng(14)
    check_estimator(RowSpace())
    for shape in ((20, 90), (90, 20)):
        X = rng.normal(size=shape) * 10 ** rng.uniform(-2, 2, shape[1])
        rotation = RowSpace().fit(X)
        Z = rotation.transform(X)
        assert Z.shape[1] == 20
        np.testing.assert_allclose(Z @ Z.T, X @ X.T, atol=1e-9 * np.abs(X @ X.T).max())
        np.testing.assert_allclose(
            rotation.components_ @ rotation.components_.T, np.eye(20), atol=1e-6
        )
    repeated = np.repeat(rng.normal(size=(5, 40)), 3, axis=0)
    assert RowSpace().fit(repeated).components_.shape == (5, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(40, dtype=int)}, "one class"),
        ({"groups": np.arange(40) % 4}, "n_splits=5 must lie in 2..4"),
        (
            {"units": np.arange(40) // 2, "groups": np.arange(40) // 8},
            "unit '0' carries two labels",
        ),
        ({"units": np.arange(40) % 2, "groups": np.arange(40) // 8}, "unit '0' carries two groups"),
        ({"kind": "numbers", "y": np.full(40, np.nan)}, "must be finite"),
        ({"cells": {"x": np.array([40])}}, "cell 'x' names row 40"),
        ({"cells": {}}, "cells is empty"),
        ({"C": 0.0}, "C=0.0 must be above 0"),
        ({"n_permutations": 0}, "n_permutations=0"),
        ({"level": 1.5}, "level=1.5"),
        ({"max_rows": 3}, "max_rows=3"),
        ({"blocks": []}, "blocks is empty"),
        ({"blocks": iter([("b", np.zeros((39, 2)))])}, r"block 'b' is \(39, 2\)"),
        (
            {"groups": np.arange(40) // 20, "y": np.arange(40) // 20, "n_splits": 2},
            "labels cannot be permuted",
        ),
    ],
)
def test_bad_input_is_refused_with_the_reason(change, message):
    arguments = {"blocks": [("b", np.ones((40, 2)))], "y": np.arange(40) % 2} | change
    with pytest.raises(ValueError, match=message):
        quick(arguments.pop("blocks"), arguments.pop("y"), **arguments)


def test_an_unknown_kind_is_refused_where_nothing_checks_types():
    unchecked = SimpleNamespace(**vars(Probe()) | {"kind": "ranks"})
    with pytest.raises(ValueError, match="kind='ranks' must be 'classes' or 'numbers'"):
        Probe.__post_init__(cast(Any, unchecked))


@pytest.mark.parametrize("name", ["groups", "units", "types"])
def test_arrays_of_another_length_are_refused_where_nothing_checks_types(name):
    n, short = np.arange(40), np.arange(39)
    samples = Samples(**{"y": n % 2, "groups": n, "units": n, "types": n} | {name: short})
    with pytest.raises(ValueError, match=f"{name} has 39 rows, y has 40"):
        lay_out(samples, {"all": n}, Probe(), Resampling())
