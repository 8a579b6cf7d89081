"""Ellipses that were planted, beside noise and nuisance dimensions that make things look round."""

import numpy as np
import pytest
from circles import PERIOD, days_and_months

from interp.smds import ideal_coordinates, roundness
from interp.smds.similarity import split_halves

N, D = 400, 200


@pytest.fixture(scope="module")
def ellipse():
    rng = np.random.default_rng(0)
    days, _ = days_and_months(rng, N)
    axes = np.linalg.qr(rng.normal(size=(D, 2)))[0].T

    def cell(lengths):
        points = ideal_coordinates(days, period=PERIOD) * lengths
        return points @ axes + rng.normal(size=(N, D))

    return days, cell


@pytest.mark.parametrize(("lengths", "ratio"), [((3, 3), 1.0), ((4, 2), 0.5), ((5, 1), 0.2)])
def test_the_axis_ratio_of_a_planted_ellipse_is_recovered(ellipse, lengths, ratio):
    days, cell = ellipse
    result = roundness(cell(lengths), days, groups=np.arange(N), period=PERIOD)
    low, high = result.interval
    assert result.status == "ok" and result.ratio == pytest.approx(ratio, abs=0.12)
    assert low - 0.05 <= ratio <= high + 0.05 and high - low < 0.4


def test_a_circle_beside_nuisance_dimensions_is_still_round(ellipse):
    days, cell = ellipse
    rng = np.random.default_rng(3)
    nuisance = 10 * rng.normal(size=(N, 20)) @ np.linalg.qr(rng.normal(size=(D, 20)))[0].T
    result = roundness(cell((8, 8)) + nuisance, days, groups=np.arange(N), period=PERIOD)
    assert result.status == "ok" and result.interval[1] > 0.95 and result.ratio > 0.8


@pytest.mark.parametrize("scale", [1, 0])
def test_noise_and_nothing_have_no_roundness(scale):
    rng = np.random.default_rng(4)
    days, noise = rng.integers(0, PERIOD, N), scale * rng.normal(size=(N, D))
    result = roundness(noise, days, groups=np.arange(N), period=PERIOD, n_boot=100)
    assert result.status == "not identifiable" and np.isnan([result.ratio, *result.interval]).all()


def _naive_squares(X, P, half, other):
    """Squared axes from rows listed as often as they were drawn."""
    patterns = []
    for rows in (half, other):
        points = P[rows] - P[rows].mean(axis=0)
        patterns.append(np.linalg.lstsq(points, X[rows] - X[rows].mean(axis=0), rcond=None)[0])
    product = patterns[0] @ patterns[1].T
    return np.linalg.eigvalsh((product + product.T) / 2)[::-1]


def _naive_ratio(squares):
    return np.sqrt(squares[1] / squares[0]) if squares.min() > 0 else 0.0


# Ten groups: a tenth of the resamples of five hold two groups, whose pattern is a least-norm one.
@pytest.mark.parametrize(("count", "noise"), [(40, 1.0), (10, 0.05)])
def test_one_kernel_for_all_resamples_is_one_regression_for_each(count, noise):
    rng = np.random.default_rng(8)
    groups = rng.permutation(np.repeat(np.arange(count), 3))
    y = rng.permutation(count)[groups] * (12 / count)
    P = ideal_coordinates(y, period=12)
    X = 4 * P @ rng.normal(size=(2, 9)) + noise * rng.normal(size=(len(y), 9)) + 50
    fast = roundness(X, y, groups=groups, period=12, n_halves=5, n_boot=60, level=0.9, seed=3)

    rng = np.random.default_rng(3)
    halves = split_halves(groups, 5, rng)
    squares = [_naive_squares(X, P, *map(np.flatnonzero, (half, ~half))) for half in halves]
    estimate = _naive_ratio(np.mean(squares, axis=0))
    halves, resampled = split_halves(groups, 60, rng), []
    size = count // 2
    drawn = [rng.multinomial(size, np.full(size, 1 / size), size=60) for _ in range(2)]
    for b, half in enumerate(halves):
        rows = []
        for side, times in zip((half, ~half), drawn, strict=True):
            listed = zip(np.unique(groups[side]), times[b], strict=True)
            rows.append(
                np.concatenate([np.tile(np.flatnonzero(groups == g), m) for g, m in listed])
            )
        resampled.append(_naive_squares(X, P, *(part.astype(int) for part in rows)))
    quantiles = np.quantile([_naive_ratio(s) for s in resampled], [0.95, 0.05])
    interval = np.clip(2 * estimate - quantiles, 0, 1)
    assert np.quantile(np.array(resampled)[:, 0], 0.05) > 0 and tuple(interval) != (0, 1)
    assert fast.status == "ok"
    assert fast.ratio == pytest.approx(estimate, abs=1e-9)
    assert fast.interval == pytest.approx(tuple(interval), abs=1e-9)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="3 groups are too few"):
        roundness(np.eye(9), np.arange(9), groups=np.arange(9) // 3, period=9)
    broken = np.eye(9)
    broken[4, 2] = np.nan
    with pytest.raises(ValueError, match="not finite in row 4"):
        roundness(broken, np.arange(9), groups=np.arange(9), period=9)


def test_a_minor_axis_lost_in_noise_leaves_the_ratio_open():
    """Noise may leave the minor axis below 0; that is no proof of a line."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        days = rng.permutation(365)[:80]
        angle = 2 * np.pi * days / 365
        cell = rng.normal(size=(80, 30))
        cell[:, 0] += 2 * np.cos(angle)
        found = roundness(cell, days, groups=days, period=365, n_boot=200)
        if found.status == "ok" and found.ratio == 0:
            assert found.interval[0] == 0 < found.interval[1]
            break
    else:
        pytest.fail("no seed lost its minor axis")
