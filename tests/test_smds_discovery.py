"""Shapes that were planted are found, and one is named only where it leads every other."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from interp.smds import SupervisedMDS, as_shape, discover, ideal_coordinates, ideal_distances
from interp.smds._discovery import _drawn, _resampled_scores
from interp.smds._scaling import stress_score
from interp.stats import Resampling, grouped_folds

N, D = 400, 200


def planted(shape, seed, scale=5.0):
    """Labels [n] and a figure of unit width, `scale` times the noise, in D dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 100, N)
    points = ideal_coordinates(y, shape, period=100)
    points = points / points.std(axis=0).max()
    X = scale * points @ np.linalg.qr(rng.normal(size=(D, points.shape[1])))[0].T
    return X + rng.normal(size=(N, D)), y


@pytest.mark.parametrize("shape", ["circular", "linear", "log_linear", "spiral"])
def test_the_planted_shape_leads(shape):
    X, y = planted(shape, 5)
    found = discover(X, y, groups=np.arange(N), period=100, resampling=Resampling(39))
    assert found.shapes[0] == shape and found.decided
    assert (np.diff(found.gain) <= 0).all()
    low, high = found.lead_intervals.T
    assert (low < found.leads).all() and (found.leads < high).all()
    assert found.p[0] == found.p_floor == pytest.approx(1 / 40)
    np.testing.assert_allclose(found.leads, found.gain[0] - found.gain[1:])
    np.testing.assert_allclose(found.gain, (found.score - found.null_mean) / (1 - found.null_mean))
    table = found.table()
    assert table["shape"].tolist() == list(found.shapes)
    np.testing.assert_array_equal(table["lead of the first"], [np.nan, *found.leads])


def test_a_semicircle_that_z_takes_for_a_line_is_ranked_first():
    fooled = 0
    for seed in range(6):
        X, y = planted("semicircular", seed)
        found = discover(X, y, groups=np.arange(N), period=100, resampling=Resampling(39))
        fooled += found.shapes[int(found.z.argmax())] != "semicircular"
        assert found.shapes[0] == "semicircular"
    assert fooled >= 1  # else ranking by z would do


def test_a_draw_is_scored_as_a_fit_on_its_rows():
    """Groups drawn twice stand twice in the rows that are fitted and scored, on one side only."""
    rng = np.random.default_rng(8)
    groups, y = np.repeat(np.arange(12), 4), np.repeat(rng.permutation(100)[:12], 4)
    X = np.column_stack([np.cos(y / 16), np.sin(y / 16)]) @ rng.normal(size=(2, 6))
    X += rng.normal(size=X.shape)
    shapes = [as_shape(name, period=100) for name in ("linear", "circular")]
    folds = grouped_folds(groups, 3, 42)
    found = _resampled_scores(X, y, groups, shapes, folds, 1.0, 2, 0)
    rng = np.random.default_rng(0)
    for scores in found:
        times = _drawn(groups, folds, rng)
        assert times.sum() == 48 and all(times[test].sum() == len(test) for _, test in folds)
        rows = [[np.repeat(side, times[side]) for side in fold] for fold in folds]
        for shape, score in zip(shapes, scores, strict=True):
            assert score == pytest.approx(np.mean([_by_hand(X, y, shape, *fold) for fold in rows]))


def _by_hand(X, y, shape, train, test):
    embedded = SupervisedMDS(shape).fit(X[train], y[train]).transform(X[test])
    return stress_score(squareform(ideal_distances(y[test], shape)), pdist(embedded))


def test_noise_has_no_shape_however_high_its_raw_score():
    rng = np.random.default_rng(6)
    y = rng.integers(0, 100, N)
    found = discover(rng.normal(size=(N, D)), y, groups=np.arange(N), resampling=Resampling(39))
    assert (np.abs(found.gain) < 0.03).all() and (np.abs(found.z) < 4).all()
    assert found.score.max() > 0.3 and not found.decided


def test_shapes_known_by_distances_are_ranked_beside_the_others():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 5, N)
    X = 8 * np.eye(5)[y] @ np.linalg.qr(rng.normal(size=(D, 5)))[0].T + rng.normal(size=(N, D))
    found = discover(
        X, y, groups=np.arange(N), shapes=["linear", "cluster"], resampling=Resampling(39)
    )
    assert found.shapes == ("cluster", "linear") and (found.leads > 0).all()


def test_fewer_than_nineteen_permutations_can_decide_only_at_their_floor():
    X, y = planted("circular", 5)
    found = discover(X, y, groups=np.arange(N), period=100, resampling=Resampling(9))
    assert found.p[0] == found.p_floor == pytest.approx(0.1) and found.decided


def test_too_little_is_refused():
    nine = np.arange(9)
    with pytest.raises(ValueError, match="nothing to rank"):
        discover(np.eye(9), nine, groups=nine, shapes=["linear"])
    with pytest.raises(ValueError, match="n_permutations=1 gives a null without spread"):
        discover(np.eye(9), nine, groups=nine, resampling=Resampling(1))
    with pytest.raises(ValueError, match="constant"):
        discover(np.ones((9, 4)), nine, groups=nine, resampling=Resampling(9))
