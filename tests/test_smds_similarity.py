"""Planes and ellipses that were planted, under noise that hides them from weights."""

import numpy as np
import pytest
from circles import PERIOD, days_and_months

from interp.smds import discover, ideal_coordinates, roundness, subspace_similarity

N, D = 400, 200


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(0)
    days, _ = days_and_months(rng, N)
    circle = ideal_coordinates(days, period=PERIOD)
    axes = np.linalg.qr(rng.normal(size=(D, 4)))[0].T

    def cell(where, axis_lengths=(3.0, 3.0)):
        return (circle * axis_lengths) @ axes[where] + rng.normal(size=(N, D))

    return days, cell


def compare(planes, first, second):
    days, _ = planes
    return subspace_similarity(
        first, second, days, groups=np.arange(N), period=PERIOD, n_permutations=39, n_halves=10
    )


def test_one_plane_under_different_noise_is_one_plane(planes):
    _, cell = planes
    same = compare(planes, cell([0, 1]), cell([0, 1]))
    assert same.status == "ok" and same.p == pytest.approx(1 / 40)
    assert same.corrected == pytest.approx(1, abs=0.03)
    assert max(same.angles) < 30
    # The decoders of the same plane hardly agree.
    assert same.weight_cosine < 0.6 < same.similarity


def test_turned_axes_of_one_plane_are_still_one_plane(planes):
    _, cell = planes
    assert compare(planes, cell([0, 1]), cell([1, 0])).corrected == pytest.approx(1, abs=0.03)


def test_different_planes_and_half_shared_planes(planes):
    _, cell = planes
    other = compare(planes, cell([0, 1]), cell([2, 3]))
    assert other.status == "ok" and other.corrected < 0.2
    half = compare(planes, cell([0, 1]), cell([0, 3]))
    assert half.corrected == pytest.approx(0.5, abs=0.1)
    assert half.angles[0] < 40 and half.angles[1] > 70


def test_noise_shared_between_positions_is_not_a_common_plane(planes):
    days, _ = planes
    shared = np.random.default_rng(1).normal(size=(N, D))
    noise = compare(planes, shared, shared + 0.01 * np.random.default_rng(2).normal(size=(N, D)))
    # Raw similarity is fooled by construction; the reliability is not.
    assert noise.similarity > 0.9
    assert noise.status == "unreliable" and np.isnan(noise.corrected)


@pytest.mark.parametrize(("lengths", "ratio"), [((3, 3), 1.0), ((4, 2), 0.5), ((5, 1), 0.2)])
def test_the_axis_ratio_of_a_planted_ellipse_is_recovered(planes, lengths, ratio):
    days, cell = planes
    result = roundness(cell([0, 1], lengths), days, groups=np.arange(N), period=PERIOD, n_boot=100)
    low, high = result.interval
    assert result.status == "ok" and result.ratio == pytest.approx(ratio, abs=0.12)
    assert low - 0.05 <= ratio <= high + 0.05 and high - low < 0.4


def test_a_circle_beside_nuisance_dimensions_is_still_round(planes):
    days, cell = planes
    rng = np.random.default_rng(3)
    nuisance = 10 * rng.normal(size=(N, 20)) @ np.linalg.qr(rng.normal(size=(D, 20)))[0].T
    result = roundness(
        cell([0, 1], (8, 8)) + nuisance, days, groups=np.arange(N), period=PERIOD, n_boot=100
    )
    assert result.status == "ok" and result.interval[1] > 0.95 and result.ratio > 0.8


def test_noise_has_no_roundness(planes):
    days, _ = planes
    noise = np.random.default_rng(4).normal(size=(N, D))
    result = roundness(noise, days, groups=np.arange(N), period=PERIOD, n_boot=100)
    assert result.status == "not identifiable" and np.isnan(result.ratio)


@pytest.mark.parametrize("shape", ["circular", "linear", "log_linear", "semicircular", "spiral"])
def test_the_planted_shape_is_discovered(shape):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 100, N)
    points = ideal_coordinates(y, shape, period=100)
    points = points / points.std(axis=0).max()
    X = 5 * points @ np.linalg.qr(rng.normal(size=(D, points.shape[1])))[0].T
    found = discover(
        X + rng.normal(size=(N, D)), y, groups=np.arange(N), period=100, n_permutations=19
    )
    assert found.shapes[0] == shape and found.decided
    assert found.p[0] == pytest.approx(1 / 20)
    assert found.lead == pytest.approx(found.gain[0] - found.gain[1])
    assert found.lead_interval[0] < found.lead < found.lead_interval[1]


def test_noise_has_no_shape_however_high_its_raw_score():
    rng = np.random.default_rng(6)
    y = rng.integers(0, 100, N)
    found = discover(rng.normal(size=(N, D)), y, groups=np.arange(N), n_permutations=39)
    assert (np.abs(found.gain) < 0.03).all() and (np.abs(found.z) < 4).all()
    assert found.score.max() > 0.3 and not found.decided


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="nothing to rank"):
        discover(np.eye(9), np.arange(9), groups=np.arange(9), shapes=["linear"])
    with pytest.raises(ValueError, match="3 groups are too few"):
        roundness(np.eye(9), np.arange(9), groups=np.arange(9) // 3, period=9)
