"""Shapes that were planted are found, and a shape is named only where z and gain agree."""

import numpy as np
import pytest

from interp.smds import discover, ideal_coordinates

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
def test_the_planted_shape_leads_by_z_and_by_gain(shape):
    X, y = planted(shape, 5)
    found = discover(X, y, groups=np.arange(N), period=100, n_permutations=39)
    assert found.shapes[0] == found.leader_by_gain == shape and found.decided
    assert (np.diff(found.z) <= 0).all()
    assert found.p[0] == found.p_floor == pytest.approx(1 / 40)
    assert found.lead == pytest.approx(found.z[0] - found.z[1])
    assert found.lead_interval[0] < found.lead < found.lead_interval[1]
    np.testing.assert_allclose(found.gain, (found.score - found.null_mean) / (1 - found.null_mean))


def test_a_semicircle_that_z_takes_for_a_line_is_not_called_one():
    fooled = 0
    for seed in range(6):
        X, y = planted("semicircular", seed)
        found = discover(X, y, groups=np.arange(N), period=100, n_permutations=39, n_boot=300)
        wrong = found.shapes[0] != "semicircular"
        fooled += wrong
        assert found.leader_by_gain == "semicircular"
        assert not (found.decided and wrong)
    assert fooled >= 1  # else gain would have nothing to guard against


def test_noise_has_no_shape_however_high_its_raw_score():
    rng = np.random.default_rng(6)
    y = rng.integers(0, 100, N)
    found = discover(rng.normal(size=(N, D)), y, groups=np.arange(N), n_permutations=39)
    assert (np.abs(found.gain) < 0.03).all() and (np.abs(found.z) < 4).all()
    assert found.score.max() > 0.3 and not found.decided


def test_shapes_known_by_distances_are_ranked_beside_the_others():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, N)
    X = 8 * np.eye(3)[y] @ np.linalg.qr(rng.normal(size=(D, 3)))[0].T + rng.normal(size=(N, D))
    found = discover(
        X, y, groups=np.arange(N), shapes=["linear", "cluster"], n_permutations=39, n_boot=100
    )
    assert found.shapes == ("cluster", "linear") and found.decided


def test_fewer_than_nineteen_permutations_can_decide_only_at_their_floor():
    X, y = planted("circular", 5)
    found = discover(X, y, groups=np.arange(N), period=100, n_permutations=9, n_boot=100)
    assert found.p[0] == found.p_floor == pytest.approx(0.1) and found.decided


def test_too_little_is_refused():
    nine = np.arange(9)
    with pytest.raises(ValueError, match="nothing to rank"):
        discover(np.eye(9), nine, groups=nine, shapes=["linear"])
    with pytest.raises(ValueError, match="n_permutations=1 gives a null without spread"):
        discover(np.eye(9), nine, groups=nine, n_permutations=1)
    with pytest.raises(ValueError, match="constant"):
        discover(np.ones((9, 4)), nine, groups=nine, n_permutations=9)
