"""LEACE against its definition: nothing linear is left, and no smaller change does that."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from interp.probes import erasure_test, leace, means_coincide


def rows(n=300, d=12, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    spread = np.geomspace(10, 0.1, d)
    means = rng.normal(size=(classes, d))
    return (means[y] + rng.normal(size=(n, d)) * spread) @ np.linalg.qr(rng.normal(size=(d, d)))[
        0
    ], y


@pytest.mark.parametrize("classes", [2, 3])
def test_no_linear_probe_is_left_and_little_is_taken(classes):
    X, y = rows(classes=classes)
    eraser = leace(X, y.astype(str))
    left = eraser.apply(X)
    means = [left[y == c].mean(axis=0) for c in range(classes)]
    np.testing.assert_allclose(means, [X.mean(axis=0)] * classes, atol=1e-9)
    assert LogisticRegression(C=1e6).fit(X, y).score(X, y) > 1.5 / classes
    assert LogisticRegression(C=1e6).fit(left, y).score(left, y) <= 1 / classes + 1e-9
    assert np.linalg.matrix_rank(X - left, tol=1e-6) == classes - 1


def test_the_change_is_smaller_than_that_of_the_difference_of_means():
    X, y = rows()
    direction = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
    direction /= np.linalg.norm(direction)
    projected = np.outer((X - X.mean(axis=0)) @ direction, direction)
    assert np.square(X - leace(X, y).apply(X)).sum() < np.square(projected).sum()


def test_it_is_the_formula():
    """Against the paper's matrices written out, with the same shrunken covariance."""
    X, y = rows()
    centred = X - X.mean(axis=0)
    values, axes = np.linalg.eigh(ledoit_wolf(X)[0])
    W = axes / np.sqrt(values) @ axes.T
    c = W @ centred.T @ (y - y.mean())
    P = np.outer(c, c) / (c @ c)
    expected = X - centred @ (np.linalg.inv(W) @ P @ W).T
    np.testing.assert_allclose(leace(X, y).apply(X), expected, atol=1e-8)


def test_more_dimensions_than_rows_and_constant_ones():
    X, y = rows(n=20, d=60)
    X[:, 3] = 1.0
    left = leace(X, y).apply(X)
    np.testing.assert_allclose(left[y == 0].mean(axis=0), left[y == 1].mean(axis=0), atol=1e-8)


def test_classes_of_one_mean_leave_rows_as_they_are():
    X = np.repeat(np.random.default_rng(0).normal(size=(10, 4)), 2, axis=0)
    np.testing.assert_allclose(leace(X, np.tile([0, 1], 10)).apply(X), X, atol=1e-9)


def test_bad_input_is_named():
    X, y = rows()
    with pytest.raises(ValueError, match="one class"):
        leace(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="5 dimensions, the eraser 12"):
        leace(X, y).apply(X[:, :5])


@pytest.mark.parametrize(("d", "least", "most"), [(10, 0.45, 0.58), (60, 0.6, 0.95)])
def test_one_direction_is_erased_as_far_as_other_groups_can_tell_it(d, least, most):
    """Erased where a third of the groups suffices to find it, and not by construction."""
    rng = np.random.default_rng(0)
    group, y = np.repeat(np.arange(9), 30), np.tile([0, 1], 135)
    X = rng.normal(size=(270, d))
    X[:, 0] += 3 * y
    erasure = erasure_test(X, y, groups=group, C=0.1, seed=0)
    assert erasure is not None and erasure.before > 0.75
    assert least < erasure.after < most, erasure


def test_what_cannot_be_erased_in_thirds_has_no_test():
    rng = np.random.default_rng(0)
    group, y = np.repeat(np.arange(9), 30), np.tile([0, 1], 135)
    X = rng.normal(size=(270, 5))
    assert erasure_test(X, y, groups=np.minimum(group, 1)) is None  # two groups
    assert erasure_test(X, (group > 0).astype(int), groups=group) is None  # a third of one class
    both = np.repeat(X[::2], 2, axis=0)  # every row is of both classes
    assert means_coincide(both, y) and not means_coincide(X, y)
    assert erasure_test(both, y, groups=group) is None
