"""The batched solver against the published package, against plain refits, and against noise."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from circles import PERIOD, days_and_months, planted, shuffled_months
from records import gathered
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom
from sklearn.preprocessing import StandardScaler

from interp.arrays import centred_gram
from interp.smds import (
    Fit,
    Shape,
    as_shape,
    heldout_predictions,
    ideal_coordinates,
    ideal_distances,
    smds_grid,
)
from interp.smds._heldout import Rows
from interp.smds._pairs import RingPairs, sums_of_squares
from interp.smds._scaling import classical_mds, complete_distances, stress_score
from interp.smds._shapes import line
from interp.smds._solver import (
    downdated_predictions,
    fold_predictions,
    intercept_inverse,
    left_out_residuals,
)
from interp.stats import Resampling, grouped_folds, permutation_test, permute_groups
from interp.tasks import Workers

FOLDER = Path(__file__).parent / "reference"
ROWS = json.loads((FOLDER / "smds_1_6_6.json").read_text())["rows"]
DATA = np.load(FOLDER / "smds_1_6_6.npz", allow_pickle=False)


def quick(blocks, y, **options):
    """`smds_grid` in this process, without a bar and with each row its own group."""
    options = {"groups": np.arange(len(y)), "n_jobs": 1, "progress": False} | options
    records = {"fit": Fit, "resampling": Resampling, "workers": Workers}
    return smds_grid(blocks, y, **gathered(options, **records))


def plain_ridge(train_x, train_p, test_x, alpha):
    """Ridge with a free intercept from the definition: least squares on augmented rows."""
    center, offset = train_x.mean(axis=0), train_p.mean(axis=0)
    d = train_x.shape[1]
    rows = np.concatenate([train_x - center, np.sqrt(alpha) * np.eye(d)])
    right = np.concatenate([train_p - offset, np.zeros((d, train_p.shape[1]))])
    return (test_x - center) @ np.linalg.lstsq(rows, right, rcond=None)[0] + offset


@pytest.mark.parametrize(
    "row",
    # Not the orthonormal lines: see `test_the_rows_left_out_are_the_reference_s_own_rounding`.
    [r for r in ROWS if not (r["orthonormal"] and r["shape"] in ("euclidean", "log_linear"))],
    ids=lambda row: f"{row['problem']}-{row['shape']}-{row['alpha']}-{row['orthonormal']}",
)
def test_fold_scores_equal_the_published_package(row):
    X, y = DATA[f"X{row['problem']}"], DATA[f"y{row['problem']}"]
    shape = as_shape("linear" if row["shape"] == "euclidean" else row["shape"])
    if shape.name == "cluster":  # the package takes two dimensions however many classes there are
        shape = replace(shape, n_components=2)
    options = {"alpha": row["alpha"], "orthonormal": row["orthonormal"], "n_permutations": 1}
    grid = quick([("b", X[None])], y, shapes=[shape], **options)
    # The reference was computed from float64 input; 1e-6 is what its own float32 mode would allow.
    np.testing.assert_allclose(grid.fold_scores[0, 0, 0], row["cv3_shuffle_seed42"], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "n_splits"),
    [
        ("circular", 3),
        ("circular", 7),
        ("spiral", 7),
        ("cluster", 7),
        ("chain", 3),
        ("linear", 3),
    ],
)
def test_grid_equals_a_loop_of_plain_refits_for_every_label_vector(shape, n_splits):
    rng = np.random.default_rng(0)
    n, permutations = 72, 5
    groups = np.repeat(np.arange(36), 2)
    y = rng.integers(0, 12, 36).astype(float)[groups]
    X = rng.normal(size=(2, n, 30)) + rng.normal(size=(12, 30))[y.astype(int)]
    control = (11 - y)[None]
    grid = quick(
        [("b", X)],
        y,
        groups=groups,
        shapes=[shape],
        period=12,
        n_splits=n_splits,
        n_permutations=permutations,
        controls={"reversed": control},
    )
    unit = 2 * groups
    rows = permute_groups(unit, groups, permutations, np.random.default_rng(42))
    chosen = as_shape(shape, period=12)
    width = 11 if shape == "cluster" else 2  # twelve classes span eleven dimensions
    for position in range(2):
        for vector, labels in enumerate([y, *y[rows], control[0]]):
            scores = []
            for train, test in grouped_folds(groups, n_splits, 42):
                distances = ideal_distances(np.arange(12), chosen) if chosen.distances else None
                if distances is None:
                    targets = ideal_coordinates(labels[train], chosen)
                    ideal = pdist(ideal_coordinates(labels[test], chosen))
                else:
                    which = labels.astype(int)
                    targets = classical_mds(complete_distances(distances), which[train], width)
                    ideal = squareform(distances[np.ix_(which[test], which[test])], checks=False)
                predicted = plain_ridge(X[position][train], targets, X[position][test], 1.0)
                scores.append(stress_score(ideal, pdist(predicted)))
            ours = np.concatenate(
                [
                    grid.score[0, position],
                    grid.null[:, 0, position, 0],
                    grid.controls["reversed"][:, 0, position],
                ]
            )[vector]
            # True labels are scored in float64; the null in float32, off by some 1e-7.
            assert ours == pytest.approx(np.mean(scores), abs=1e-10 if vector == 0 else 1e-6)


@pytest.mark.parametrize("d", [20, 200])
@pytest.mark.parametrize("orthonormal", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("source", [None, 1])
def test_every_way_of_fitting_equals_plain_refits(d, orthonormal, standardise, source):
    rng = np.random.default_rng(12)
    y = rng.integers(0, 12, 90).astype(float)
    axes = rng.normal(size=(12, d)) * rng.uniform(0.1, 30, d)  # features of very different size
    X = rng.normal(size=(3, 90, d)) * rng.uniform(0.1, 30, d) + 5 + axes[y.astype(int)]
    X[:, :, 3] = 7.0  # a feature that never varies
    control = (11 - y)[None]
    fit = {"orthonormal": orthonormal, "standardise": standardise, "source": source}
    grid = quick([("b", X)], y, period=12, n_permutations=3, controls={"reversed": control}, **fit)
    permuted = permute_groups(y, np.arange(90), 3, np.random.default_rng(42))
    observed = [grid.score[0, ..., 0], *grid.null[:, 0, :, 0], grid.controls["reversed"][0, 0]]
    for labels, ours in zip([y, *permuted, control[0]], observed, strict=True):
        points = ideal_coordinates(labels, period=12)
        for position in range(3):
            scores, pooled = [], np.empty_like(points)
            for train, test in grouped_folds(np.arange(90), 3, 42):
                at = position if source is None else source
                scaler = StandardScaler(with_std=standardise)
                fitted = scaler.fit_transform(X[at][train])
                held_out = scaler.fit(X[position][train]).transform(X[position][test])
                if orthonormal:
                    left, _, right = np.linalg.svd(
                        (points[train] - points[train].mean(0)).T @ fitted, full_matrices=False
                    )
                    predicted = held_out @ (left @ right).T
                else:
                    predicted = plain_ridge(fitted, points[train], held_out, 1.0)
                pooled[test] = predicted
                scores.append(stress_score(pdist(points[test]), pdist(predicted)))
            # True labels are scored in float64; the null in float32, off by some 1e-7.
            close = 1e-10 if ours is observed[0] else 1e-6
            assert ours[position] == pytest.approx(np.mean(scores), abs=close)
            if ours is observed[0] and not orthonormal:
                assert grid.kfold_r2 is not None
                r2 = 1 - ((points - pooled) ** 2).sum() / ((points - points.mean(0)) ** 2).sum()
                assert grid.kfold_r2[0, position] == pytest.approx(r2)
    assert (grid.kfold_r2 is None) == orthonormal


def test_a_borrowed_map_agrees_in_its_own_plane_and_in_no_other():
    """A plane at right angles passes the score's test through what the map's noise lets in, but
    agrees with the truth no more than maps of permuted labels do."""
    passed, agreed = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        days = rng.permutation(PERIOD)[:150].astype(float)
        circle = 8 * ideal_coordinates(days, period=PERIOD)
        axes = np.linalg.qr(rng.normal(size=(24, 4)))[0].T
        planes = (axes[:2], axes[:2] * 0.5, axes[2:])
        X = np.stack([circle @ plane for plane in planes]) + rng.normal(size=(3, 150, 24))
        fit = {"period": PERIOD, "source": 0, "n_permutations": 39}
        grid = quick([("b", X)], days, **fit)
        assert grid.reuse is not None
        assert (grid.reuse.observed[0, :2] > 0.8).all() and (grid.reuse.p[0, :2] == 1 / 40).all()
        passed += grid.test.p[0, 2, 0] <= 0.05
        agreed += grid.reuse.p[0, 2] <= 0.05
    assert agreed <= binom.ppf(0.995, 20, 0.05) < passed


def test_the_map_of_a_constant_source_is_a_status():
    rng = np.random.default_rng(13)
    X = rng.normal(size=(2, 60, 10))
    X[1] = 1.0
    grid = quick([("b", X)], np.arange(60.0), period=60, source=1, n_permutations=3)
    assert grid.status.tolist() == [["constant source", "constant"]]


def test_a_line_left_out_by_decades_is_extended_and_a_table_is_not():
    rng = np.random.default_rng(14)
    age = rng.integers(0, 100, 300).astype(float)
    axes = np.linalg.qr(rng.normal(size=(40, 11)))[0].T
    on_line = 20 * (age / 100)[:, None] * axes[:1]
    on_table = 20 * axes[1:][(age // 10).astype(int)]
    X = np.stack([on_line, on_table]) + rng.normal(size=(2, 300, 40))
    options = {"shapes": [line(0, 100)], "leave_out": age // 10, "n_permutations": 19}
    grid = quick([("b", X)], age, **options)
    assert grid.kfold_r2 is not None and grid.kfold_error is None and grid.leave_out is not None
    assert (grid.kfold_r2 > 0.9).all()
    assert grid.leave_out.r2[0, 0] > 0.9 and grid.leave_out.r2[0, 1] < 0.2
    assert np.isnan(grid.leave_out.error).all()


@pytest.mark.parametrize("d", [20, 200])
def test_down_dating_equals_refits(d):
    rng = np.random.default_rng(1)
    X, P = rng.normal(size=(90, d)), rng.normal(size=(90, 3))
    kernel = centred_gram(X)
    inverse = intercept_inverse(kernel, alpha=0.5)
    blocks = [test for _, test in grouped_folds(np.arange(90), 6, seed=0)]
    left_out = P - left_out_residuals(inverse, inverse @ P, blocks)
    for test in blocks:
        train = np.setdiff1d(np.arange(90), test)
        refit = plain_ridge(X[train], P[train], X[test], 0.5)
        wide = np.tile(P[train], 30)  # more targets than test rows go the other way round
        for predicted in (
            fold_predictions(kernel, train, test, P[train], alpha=0.5),
            fold_predictions(kernel, train, test, wide, alpha=0.5)[:, -3:],
            downdated_predictions(inverse, train, test, P[train]),
        ):
            np.testing.assert_allclose(predicted, refit, atol=1e-10)
        np.testing.assert_allclose(left_out[test], refit, atol=1e-10)


@pytest.mark.parametrize("points", [2, 3, 4, 7, 50])
def test_ring_pairs_are_all_pairs_once(points):
    rng = np.random.default_rng(points)
    pairs = RingPairs(points)
    assert len({frozenset(pair) for pair in zip(pairs.first, pairs.second, strict=True)}) == (
        points * (points - 1) // 2
    )
    for k in (1, 2, 3):
        Z = rng.normal(size=(points, k))
        ring = squareform(pdist(Z))[pairs.first, pairs.second]
        # float32 rounds differences of values near 1 by some 1e-7.
        np.testing.assert_allclose(pairs.distances(Z), ring, atol=1e-6)
        assert sums_of_squares(Z[:, None]).item() == pytest.approx((pdist(Z) ** 2).sum())


def test_a_float32_gram_loses_the_circle_beside_massive_dimensions():
    rng = np.random.default_rng(2)
    n, d = 300, 200
    days, _ = days_and_months(rng, n)
    X = np.concatenate(
        [ideal_coordinates(days, period=PERIOD), 500 * rng.normal(size=(n, 4))], axis=1
    )
    X = (X @ rng.normal(size=(6, d)) + 0.02 * rng.normal(size=(n, d))).astype(np.float32)
    truth, rounded = [], []
    P = ideal_coordinates(days, period=PERIOD)
    centred = X - X.mean(axis=0)
    for train, test in grouped_folds(np.arange(n), 3, 42):
        ideal = pdist(P[test])
        refit = plain_ridge(X[train].astype(float), P[train], X[test].astype(float), 1.0)
        truth.append(stress_score(ideal, pdist(refit)))
        kernel = (centred @ centred.T).astype(float)  # the sums were rounded to float32
        regularised = kernel[np.ix_(train, train)] + np.eye(len(train))
        dual = np.linalg.solve(regularised, P[train] - P[train].mean(axis=0))
        rounded.append(stress_score(ideal, pdist(kernel[np.ix_(test, train)] @ dual)))
    ours = quick([("b", X[None])], days, period=PERIOD, n_permutations=1).score.item()
    assert ours == pytest.approx(np.mean(truth), abs=1e-6)
    assert np.mean(truth) - np.mean(rounded) > 0.05


@pytest.fixture(scope="module")
def four_cells():
    rng = np.random.default_rng(3)
    days, months = days_and_months(rng, 1000)
    cells = planted(rng, days, 768)
    grid = quick(
        [(name, X[None].astype(np.float32)) for name, X in cells.items()],
        days,
        period=PERIOD,
        n_permutations=39,
        controls={"months": shuffled_months(rng, days, 20)},
        leave_out=months,
    )
    return list(cells), grid


def row(four_cells, name):
    names, grid = four_cells
    b = names.index(name)
    control = grid.controls["months"][:, b, 0]
    out = grid.leave_out
    assert out is not None and grid.kfold_r2 is not None and grid.kfold_error is not None
    return {
        "score": grid.score[b, 0, 0],
        "null": grid.test.mean[b, 0, 0],
        "survives": grid.test.survives()[b, 0, 0],
        "control": control.mean(),
        "control_z": (grid.score[b, 0, 0] - control.mean()) / control.std(),
        "out_score": out.score[b, 0],
        "out_r2": out.r2[b, 0],
        "out_null": out.null_r2[:, b, 0],
        "out_control": out.controls_r2["months"][:, b, 0],
        "out_error": out.error[b, 0],
        "kfold_r2": grid.kfold_r2[b, 0],
        "kfold_error": grid.kfold_error[b, 0],
    }


def test_noise_scores_its_null_which_is_not_zero(four_cells):
    cell = row(four_cells, "noise")
    # 1 - sqrt(1 - 2/pi) = .397 for isotropic predictions of labels uniform on the circle.
    assert cell["null"] == pytest.approx(1 - np.sqrt(1 - 2 / np.pi), abs=0.004)
    assert cell["score"] == pytest.approx(cell["null"], abs=0.01) and not cell["survives"]
    assert cell["out_r2"] < -3 and cell["out_error"] == pytest.approx(91, abs=12)
    # The category moves with the label, so noise falls inside the null of its R^2.
    assert abs(cell["out_r2"] - cell["out_null"].mean()) < 3 * cell["out_null"].std()


def test_a_lookup_table_passes_k_fold_and_fails_both_controls(four_cells):
    cell = row(four_cells, "lookup")
    assert cell["survives"] and cell["score"] > cell["null"] + 0.15
    assert abs(cell["control_z"]) < 3
    assert cell["out_score"] < cell["score"] - 0.1
    assert -1.6 < cell["out_r2"] < -0.3
    assert cell["out_r2"] < cell["out_control"].max()


@pytest.mark.parametrize("name", ["months", "smooth"])
def test_a_circle_passes_both_controls(four_cells, name):
    cell = row(four_cells, name)
    assert cell["survives"] and cell["control_z"] > 50
    assert cell["control"] == pytest.approx(0.4, abs=0.01)
    assert cell["out_score"] == pytest.approx(cell["score"], abs=0.05)
    assert cell["out_r2"] > 0.7 and cell["out_error"] < 16
    assert cell["out_r2"] > cell["out_control"].max() + 0.5


def test_pooled_predictions_are_those_of_the_grid(four_cells):
    rng = np.random.default_rng(3)
    days, _ = days_and_months(rng, 1000)
    X = planted(rng, days, 768)["smooth"].astype(np.float32)
    predicted = heldout_predictions(X, days, np.arange(1000), period=PERIOD)
    truth = ideal_coordinates(days, period=PERIOD)
    total = ((truth - truth.mean(axis=0)) ** 2).sum()
    cell = row(four_cells, "smooth")
    assert 1 - ((truth - predicted) ** 2).sum() / total == pytest.approx(cell["kfold_r2"])
    turn = np.arctan2(predicted[:, 1], predicted[:, 0]) / (2 * np.pi) * PERIOD
    gap = np.abs(turn - days) % PERIOD
    error = np.median(np.minimum(gap, PERIOD - gap))
    assert error == pytest.approx(cell["kfold_error"])


@pytest.mark.parametrize("fit", [{}, {"orthonormal": True}, {"standardise": True, "source": 1}])
def test_p_values_of_noise_hold_their_level(fit):
    rng = np.random.default_rng(15)
    days, _ = days_and_months(rng, 40)
    trials, B = 400, 19
    X = rng.normal(size=(2, 40, 12))
    permutations = trials * (B + 1)
    grid = quick([("b", X)], days, period=PERIOD, n_splits=2, n_permutations=permutations, **fit)
    # Each run of B + 1 permutations is a trial with labels of its own. Cells of one grid would not
    # do: they share their labels, some of which suit every cell's folds better than others do.
    runs = grid.null[:, 0, 0, 0].reshape(trials, B + 1)
    p = (runs >= runs[:, :1]).mean(axis=1)
    for level in (0.05, 0.5):
        low, high = binom.interval(0.99, trials, level)
        assert low <= (p <= level).sum() <= high


def test_noise_grids_hold_the_family_wise_rate():
    rng = np.random.default_rng(4)
    days, _ = days_and_months(rng, 40)
    trials, B, cells = 80, 19, 4
    X = rng.normal(size=(cells, 40, 12))
    X[2:] += X[:2]  # cells of a grid are correlated
    grid = quick([("b", X)], days, period=PERIOD, n_splits=2, n_permutations=trials * (B + 1))
    # Under the null the true labels are one more permutation, so each run of B + 1 is a whole test.
    runs = grid.null[..., 0].reshape(trials, B + 1, 1, cells)
    false_alarms = sum(permutation_test(run[0], run[1:]).survives().any() for run in runs)
    low, high = binom.interval(0.99, trials, 0.05)
    assert low <= false_alarms <= high


def test_the_planted_twin_of_a_noise_grid_is_found():
    rng = np.random.default_rng(5)
    for _ in range(10):
        days, _ = days_and_months(rng, 40)
        X = rng.normal(size=(4, 40, 12))
        X[3, :, :2] += 3 * ideal_coordinates(days, period=PERIOD)
        grid = quick([("b", X)], days, period=PERIOD, n_splits=2, n_permutations=19)
        assert grid.test.survives()[0, 3, 0]


def test_undefined_cells_carry_a_status_and_no_number():
    rng = np.random.default_rng(5)
    days, months = days_and_months(rng, 60)
    X = rng.normal(size=(3, 60, 20)).astype(np.float32)
    X[1] = 40 + X[1, 0] * (1 + 1e-7 * rng.normal(size=(60, 20)))
    X[2, 5, 5] = np.inf
    grid = quick(
        [("b", X)],
        days,
        period=PERIOD,
        n_permutations=19,
        leave_out=months,
        controls={"c": days[None]},
    )
    assert grid.status.tolist() == [["ok", "constant", "non-finite"]]
    out = grid.leave_out
    assert out is not None and grid.kfold_r2 is not None
    for values in (grid.score, grid.test.p_family, grid.kfold_r2, out.r2, out.error, out.score):
        assert np.isfinite(values[0, 0]).all() and np.isnan(values[0, 1:]).all()
    for values in (grid.null, out.null_r2, grid.controls["c"], out.controls_r2["c"]):
        assert np.isfinite(values[:, 0, 0]).all() and np.isnan(values[:, 0, 1:]).all()
    assert grid.controls["c"][0, 0, 0] == pytest.approx(grid.score[0, 0, 0], abs=1e-6)


def test_labels_too_few_for_a_fold_leave_a_status():
    y = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 2.0])
    X = np.random.default_rng(10).normal(size=(1, 6, 4))
    folds = grouped_folds(np.arange(6), 3, seed=42)
    assert any(len(set(y[test])) == 1 for _, test in folds)
    grid = quick([("b", X)], y, shapes=["linear"], n_permutations=19)
    assert grid.status.item() == "degenerate fold" and np.isnan(grid.score).all()


def test_a_cell_beyond_float64_does_not_end_the_grid():
    rng = np.random.default_rng(11)
    days, _ = days_and_months(rng, 60)
    X = rng.normal(size=(2, 60, 20))
    X[1, :, 0] *= 1e12  # squared, 16 digits above the ridge
    grid = quick([("b", X)], days, period=PERIOD, n_permutations=19)
    assert grid.status[0].tolist() == ["ok", "ill-conditioned"]
    assert np.isfinite(grid.score[0, 0]).all() and np.isnan(grid.score[0, 1]).all()


def test_a_weak_signal_is_not_taken_for_rounding():
    rng = np.random.default_rng(6)
    rows = np.full((50, 30), 100.0) + 1e-2 * rng.normal(size=(50, 30))
    assert Rows.of(rows).status == "ok"
    assert Rows.of(rows.astype(np.float32)).status == "ok"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_blocks_are_streamed_and_workers_change_nothing(n_jobs):
    rng = np.random.default_rng(7)
    days, _ = days_and_months(rng, 60)
    X = rng.normal(size=(12, 3, 60, 20)).astype(np.float32)
    held, most = [], 0

    def stream():
        nonlocal most
        for number in range(len(X)):
            block = X[number].copy()
            held.append(weakref.ref(block))
            most = max(most, sum(reference() is not None for reference in held))
            yield f"block {number}", block

    options = {"period": PERIOD, "n_permutations": 9}
    streamed = quick(stream(), days, n_jobs=n_jobs, **options)
    at_once = quick([(f"block {b}", block) for b, block in enumerate(X)], days, **options)
    np.testing.assert_array_equal(streamed.null, at_once.null)
    np.testing.assert_array_equal(streamed.score, at_once.score)
    assert streamed.blocks == at_once.blocks
    # Runs under way or ahead (n_jobs + 1), the block being read, and up to two that joblib has
    # finished with but not yet let go.
    assert most <= n_jobs + 4


def test_shapes_have_their_own_nulls_and_families():
    rng = np.random.default_rng(8)
    days, _ = days_and_months(rng, 90)
    X = rng.normal(size=(2, 90, 20))
    X[0, :, :2] += 4 * ideal_coordinates(days, period=PERIOD)
    both = quick([("b", X)], days, period=PERIOD, shapes=["circular", "linear"], n_permutations=19)
    alone = quick([("b", X)], days, period=PERIOD, shapes=["linear"], n_permutations=19)
    assert both.shapes == ("circular", "linear") and alone.kfold_r2 is None
    np.testing.assert_allclose(both.score[..., 1], alone.score[..., 0])
    np.testing.assert_allclose(both.test.p_family[..., 1], alone.test.p_family[..., 0])
    assert both.test.mean[0, 1, 0] > both.test.mean[0, 1, 1] + 0.05


def test_fewer_components_than_coordinates_take_the_principal_ones():
    rng = np.random.default_rng(9)
    points = rng.normal(size=(60, 2)) * [5, 1]
    X = points @ rng.normal(size=(2, 20)) + 0.1 * rng.normal(size=(60, 20))
    plane = Shape("plane", coordinates=lambda y: y)
    line = replace(plane, n_components=1)
    scores = quick([("b", X[None])], points, shapes=[plane, line], n_permutations=1).score[0, 0]
    assert scores[0] > 0.95
    assert 0.6 < scores[1] < scores[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(30, 2.0)}, "every label is 2.0"),
        ({"y": np.arange(30) * 20.0}, r"label 380 lies outside \[0, 365\)"),
        ({"y": np.append(np.arange(29.0), np.nan)}, "labels hold nan"),
        ({"y": np.ones((30, 2)) * np.arange(30)[:, None]}, r"takes 1 label column"),
        ({"groups": np.arange(30) // 2}, "group '0' carries two labels, 0.0 and 1.0"),
        ({"leave_out": np.arange(30) % 3, "period": None}, "leave_out needs plain ridge"),
        ({"leave_out": np.arange(30) % 3, "standardise": True}, "standardise=True"),
        ({"leave_out": np.zeros(30)}, "leave_out holds the one category"),
        ({"source": 2}, "source=2 is no position; choose from 0 to 1"),
        ({"alpha": 0.0}, "alpha=0.0 must be positive"),
        ({"n_permutations": 0}, "n_permutations=0"),
        ({"n_splits": 31}, "n_splits=31"),
        ({"blocks": []}, "blocks is empty"),
        ({"blocks": [("b", np.ones((2, 29, 4)))]}, r"block 'b' is \(2, 29, 4\)"),
        (
            {"blocks": [("a", np.ones((2, 30, 4))), ("b", np.ones((1, 30, 4)))]},
            "block 'b' has 1 positions, the blocks before 2",
        ),
    ],
)
def test_bad_input_is_refused_with_its_value(change, message):
    options = {"blocks": [("a", np.ones((2, 30, 4)))], "y": np.arange(30.0), "period": 365} | change
    blocks, y = options.pop("blocks"), options.pop("y")
    with pytest.raises(ValueError, match=message):
        quick(iter(blocks), y, **options)


# --- what a result says of itself ----------------------------------------------------------------


@pytest.fixture(scope="module")
def described():
    """Three blocks of three positions: the months, noise, and one vector; a shuffled control."""
    rng = np.random.default_rng(0)
    days, months = days_and_months(rng, 200)
    circle = 3 * ideal_coordinates(days, period=PERIOD) @ rng.normal(size=(2, 20))
    blocks = []
    for name, strength in (("a", 0.0), ("b", 1.0), ("c", 0.5)):
        cells = rng.normal(size=(3, 200, 20))
        cells[0] += strength * circle
        cells[2] = 1.0
        blocks.append((name, cells))
    return quick(
        blocks, days, groups=days, period=PERIOD, n_permutations=39, leave_out=months,
        controls={"order": shuffled_months(rng, days, 20)},
    )  # fmt: skip


def test_a_table_has_a_row_for_every_cell(described):
    table = described.table(["word", "noise", "none"])
    assert table[["depth", "position"]].to_numpy().tolist() == [
        [block, position] for block in "abc" for position in ("word", "noise", "none")
    ]
    assert table.score.to_numpy().reshape(3, 3)[1, 0] == described.score[1, 0, 0]
    np.testing.assert_array_equal(table.order_z, described.against["order"].z.ravel())
    np.testing.assert_array_equal(
        table.left_out_p_family, described.leave_out.test.p_family.ravel()
    )
    np.testing.assert_array_equal(table.survives, described.survives().ravel())
    assert not {"agreement", "reused"} & set(table)
    assert set(described.table("xyz", depths=("one", "two", "three")).depth) == {
        "one", "two", "three"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"3 depths and 2 positions .* \(3, 3\)"):
        described.table("xy")


def test_a_source_s_table_has_the_agreement_and_no_left_out_category():
    rng = np.random.default_rng(1)
    days, _ = days_and_months(rng, 60)
    grid = quick(
        [("a", rng.normal(size=(2, 60, 8)))], days, groups=days, period=PERIOD, source=0,
        n_permutations=39,
    )  # fmt: skip
    table = grid.table("xy")
    np.testing.assert_array_equal(table.agreement, grid.reuse.observed.ravel())
    assert not {"left_out_r2", "order_z"} & set(table)
    with pytest.raises(ValueError, match="no categories were left out"):
        grid.best(0, [0])


def test_peaks_and_the_best_block_are_those_of_the_planted_circle(described):
    peaks = described.peaks(["word", "noise", "none"]).set_index("position")
    assert peaks.loc["word"].depth == "b" and peaks.loc["word"].survive >= 1
    assert peaks.defined.tolist() == [3, 3, 0] and peaks.loc["none"].depth == "a"
    assert peaks.loc["noise"].score == np.nanmax(described.score[:, 1, 0])
    assert described.best(0, range(3)) == 1 and described.best(0, [0, 2]) == 2
    assert "family-wise p 0.025" in described.in_words(1, 0)
