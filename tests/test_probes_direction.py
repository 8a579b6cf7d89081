"""Concept directions, their transfer between places, and their picture."""

import numpy as np
import pytest

from interp.probes import concept_direction, project, transfer_matrix


def two_classes(rng, n, d, gap, share=0.5):
    """Rows [n, d] of two classes `gap` apart along axis 0, `share` of them in the second."""
    y = (np.arange(n) < share * n).astype(int)
    return rng.normal(size=(n, d)) + gap * np.outer(y, np.eye(d)[0]), y


def quick(activations, y, **options):
    defaults = {"groups": np.arange(len(y)), "n_permutations": 40, "n_boot": 100}
    return concept_direction(activations, y, **defaults | options)


def test_a_planted_direction_is_recovered_and_points_to_the_second_class():
    rng = np.random.default_rng(0)
    X, y = two_classes(rng, n=300, d=20, gap=4.0)
    names = np.array(["calm", "joyful"])[y]
    found = quick(X + 50.0, names)
    assert found.classes == ("calm", "joyful")
    assert np.linalg.norm(found.direction) == pytest.approx(1)
    assert found.direction[0] > 0.95
    # Two unit normals 4 apart: accuracy Phi(2) = .977, area Phi(4 / sqrt 2) = .998.
    assert found.accuracy == pytest.approx(0.977, abs=0.03) and found.auroc > 0.99
    assert found.threshold == pytest.approx(found.direction @ (X + 50.0).mean(axis=0), abs=1e-9)
    assert found.stability > 0.95
    assert found.interval[0] < found.accuracy < found.interval[1]
    assert found.test.survives().all()


def test_noise_has_no_direction():
    rng = np.random.default_rng(1)
    X, y = two_classes(rng, n=100, d=20, gap=0.0)
    found = quick(X, y)
    assert found.test.p[0] > 0.05 and abs(found.accuracy - 0.5) < 0.2
    assert found.test.mean[0] == pytest.approx(0.5, abs=0.05)


def test_the_threshold_lies_between_the_means_however_many_rows_each_class_has():
    rng = np.random.default_rng(2)
    X, y = two_classes(rng, n=600, d=5, gap=6.0, share=0.1)
    found = quick(X, y)
    assert found.accuracy > 0.98  # Phi(3) = .9987
    # The median of the scored rows would call half of them positive, where a tenth are.
    along = X @ found.direction
    by_median = (along > np.median(along)) == y
    balanced = np.mean([by_median[y == k].mean() for k in (0, 1)])
    assert balanced < 0.8
    assert found.threshold - along[y == 0].mean() == pytest.approx(
        along[y == 1].mean() - found.threshold
    )


def test_a_direction_of_the_group_does_not_pass_for_one_of_the_class():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(20), 10)
    y = (np.arange(20) % 2)[groups]
    X = rng.normal(size=(200, 200)) + 3 * rng.normal(size=(20, 200))[groups]
    by_group, by_row = quick(X, y, groups=groups), quick(X, y)
    assert by_row.accuracy > 0.9 and by_group.accuracy < 0.8


def test_a_direction_transfers_to_where_it_also_lies():
    rng = np.random.default_rng(4)
    X, y = two_classes(rng, n=200, d=10, gap=5.0)
    turned = np.roll(X, 1, axis=1)  # the same information along another axis
    places = {"a": X, "same, far away": X + 100.0, "turned": turned, "reversed": -X}
    transfer = transfer_matrix(places, y, groups=np.arange(200))
    assert transfer.names == tuple(places)
    accuracy = transfer.accuracy
    assert (np.diag(accuracy) > 0.97).all()
    assert accuracy[0, 1] > 0.97 and accuracy[0, 3] < 0.03
    assert abs(accuracy[0, 2] - 0.5) < 0.2 and abs(accuracy[2, 0] - 0.5) < 0.2
    assert transfer.cosine[0, 1] == pytest.approx(1)
    assert transfer.cosine[0, 3] == pytest.approx(-1)
    assert abs(transfer.cosine[0, 2]) < 0.3
    own = quick(X, y)
    assert accuracy[0, 0] == pytest.approx(own.accuracy)


def test_an_arrow_is_the_direction_in_the_plane_not_the_way_from_the_mean():
    rng = np.random.default_rng(5)
    X, y = two_classes(rng, n=200, d=30, gap=12.0)
    X += 100.0  # the mean lies far from the origin
    direction = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
    picture = project(X, direction=direction)
    means = [picture.points[y == k].mean(axis=0) for k in (0, 1)]
    assert picture.arrow is not None
    np.testing.assert_allclose(picture.arrow, means[1] - means[0])
    assert picture.explained is not None and picture.explained[0] > 0.4
    np.testing.assert_allclose(picture.points.mean(axis=0), 0, atol=1e-9)
    assert project(X).arrow is None


@pytest.mark.parametrize("n", [4, 60])
def test_neighbours_are_laid_out_without_axes(n):
    rng = np.random.default_rng(6)
    X, y = two_classes(rng, n=n, d=80, gap=40.0)
    first, second = (project(X, direction=X[0], method="tsne", seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)
    assert first.points.shape == (n, 2) and first.explained is None and first.arrow is None
    if n > 4:
        means = np.stack([first.points[y == k].mean(axis=0) for k in (0, 1)])
        nearest = np.linalg.norm(first.points[:, None] - means, axis=-1).argmin(axis=1)
        np.testing.assert_array_equal(nearest, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(40)}, "y holds 1 classes"),
        ({"y": np.arange(40)}, "y holds 40 classes"),
        ({"activations": np.full((40, 5), np.nan)}, "row 0 of the activations is not finite"),
        ({"activations": np.ones((40, 5))}, "class means coincide"),
        ({"groups": np.arange(40) % 3}, "n_splits=5 must lie in 2..3"),
        ({"groups": np.arange(40) // 2, "units": np.arange(40) % 2}, "unit '0' carries two groups"),
        ({"y": np.arange(40) // 39}, "lack a class"),
    ],
)
def test_a_direction_that_cannot_be_is_refused_with_the_reason(change, message):
    X = np.random.default_rng(7).normal(size=(40, 5))
    with pytest.raises(ValueError, match=message):
        quick(**{"activations": X, "y": np.arange(40) % 2} | change)


def test_a_picture_or_transfer_that_cannot_be_is_refused_with_the_reason():
    X, y = np.random.default_rng(8).normal(size=(40, 5)), np.arange(40) % 2
    for places in ({"a": X, "b": X[:, :2]}, {}):
        with pytest.raises(ValueError, match="places must be of one shape"):
            transfer_matrix(places, y, groups=np.arange(40))
    with pytest.raises(ValueError, match="a plane needs 3 rows"):
        project(X[:2])
    with pytest.raises(ValueError, match="an option of method='tsne'"):
        project(X, perplexity=5)
    with pytest.raises(ValueError, match="perplexity=40 must lie between 0 and 40"):
        project(X, method="tsne", perplexity=40)
