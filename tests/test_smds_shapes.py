"""Ideal distances against the published package's, and the embedding they lead to."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from interp.smds._scaling import classical_mds, complete_distances, stress_score
from interp.smds._shapes import (
    SHAPES,
    Shape,
    as_shape,
    hierarchical,
    ideal_coordinates,
    ideal_distances,
)

REFERENCE = json.loads((Path(__file__).parent / "reference/shape_distances.json").read_text())
OURS = {
    "CircularShape": "circular",
    "EuclideanShape": "linear",
    "KleinBottleShape": "klein_bottle",
    "LogLinearShape": "log_linear",
    "SemicircularShape": "semicircular",
    "SpiralShape": "spiral",
    "TorusShape": "torus",
    "ChainShape": "chain",
    "ClusterShape": "cluster",
    "DiscreteCircularShape": "discrete_circular",
    "HierarchicalShape": hierarchical((3.0, 2.0, 1.0)),
    "GraphGeodesicShape": "graph_geodesic",
    "CylindricalShape": "cylinder",
    "GeodesicShape": "geodesic",
    "SphericalShape": "sphere",
}
CASES = [
    (name, labels)
    for name, entry in REFERENCE["shapes"].items()
    for labels in entry["cases"]
    # Three label columns have no place on a torus of two; the reference reduces them by PCA.
    if (name, labels) != ("TorusShape", "levels6")
]


@pytest.mark.parametrize(("name", "labels"), CASES)
def test_ideal_distances_equal_the_reference(name, labels):
    ours = ideal_distances(np.array(REFERENCE["labels"][labels]), OURS[name])
    reference = np.array(REFERENCE["shapes"][name]["cases"][labels])
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-9)


def test_every_reference_shape_and_every_name_of_ours_is_compared():
    compared = {shape.name if isinstance(shape, Shape) else shape for shape in OURS.values()}
    assert set(REFERENCE["shapes"]) == set(OURS)
    assert set(SHAPES) - compared == {"polytope"}  # random in the reference


def test_polytope_of_four_is_a_regular_simplex_and_of_six_an_octahedron():
    edges = pdist(ideal_distances(np.arange(4), "polytope"))
    np.testing.assert_allclose(edges, edges[0], rtol=1e-5)
    octahedron = np.sort(squareform(ideal_distances(np.arange(6), "polytope"), checks=False))
    np.testing.assert_allclose(octahedron, [2**0.5] * 12 + [2.0] * 3, rtol=1e-5)


def test_circular_distance_is_the_chord():
    days = np.array([0, 100, 200, 364])
    turn = days / 365
    gap = np.abs(turn[:, None] - turn)
    chord = 2 * np.sin(np.pi * np.minimum(gap, 1 - gap))
    np.testing.assert_allclose(ideal_distances(days, period=365), chord, atol=1e-12)


def test_a_period_keeps_december_off_january():
    months = np.arange(12)
    neighbour = 2 * np.sin(np.pi / 12)
    assert ideal_distances(months)[0, 11] == pytest.approx(0, abs=1e-12)
    assert ideal_distances(months, period=12)[0, 11] == pytest.approx(neighbour)
    assert ideal_distances(months, "discrete_circular", period=12)[0, 11] == 1


@pytest.mark.parametrize(
    ("labels", "shape", "period", "message"),
    [
        ([0.0, 12.0], "circular", 12, r"label 12 lies outside \[0, 12\)"),
        ([-1.0, 3.0], "circular", 12, "label -1 lies outside"),
        ([0.0, np.nan], "circular", None, "labels hold nan at row 1"),
        ([2.0, 2.0], "cluster", None, "every label is 2.0"),
        ([-1.0, 2.0], "log_linear", None, "label -1 is negative"),
        ([[0.0, 1.0], [1.0, 0.0]], "circular", None, r"takes 1 label column\(s\)"),
        ([0.0, 1.0], "sphere", None, r"takes 2 label column\(s\)"),
        ([0.0, 1.0], "moebius", None, "unknown shape 'moebius'; choose from circular"),
        ([0.0, 1.0], "circular", 0.0, "period=0.0 must be positive"),
    ],
)
def test_unusable_labels_are_refused_with_their_value(labels, shape, period, message):
    with pytest.raises(ValueError, match=message):
        ideal_distances(np.array(labels), shape, period=period)


def test_a_shape_of_your_own_is_coordinates_or_distances():
    points = np.random.default_rng(0).normal(size=(9, 3))
    own = Shape("own", coordinates=lambda y: y)
    table = squareform(pdist(points))
    fixed = Shape("fixed", 3, distances=lambda y: table[np.ix_(y.astype(int), y.astype(int))])
    np.testing.assert_allclose(
        ideal_distances(points, own), ideal_distances(np.arange(9), fixed), atol=1e-12
    )
    assert as_shape(own, period=5) is own
    with pytest.raises(ValueError, match="either coordinates or distances"):
        Shape("neither")
    with pytest.raises(ValueError, match="no exact coordinates"):
        ideal_coordinates(np.arange(3), "cluster")


@pytest.mark.parametrize("shape", ["cluster", "discrete_circular", "torus", "klein_bottle"])
def test_scaling_on_distinct_labels_equals_scaling_on_all_rows(shape):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 7, size=(60, 1 if shape in ("cluster", "discrete_circular") else 2))
    values, which = np.unique(y, axis=0, return_inverse=True)
    coordinates = classical_mds(ideal_distances(values, shape), which, 3)
    whole = classical_mds(ideal_distances(values, shape)[which][:, which], np.arange(60), 3)
    n = len(y)
    centring = np.eye(n) - 1 / n
    squared = ideal_distances(values, shape)[which][:, which] ** 2
    eigenvalues, vectors = np.linalg.eigh(-0.5 * centring @ squared @ centring)
    direct = vectors[:, -3:] * np.sqrt(eigenvalues[-3:])
    for embedded in (coordinates, whole):
        np.testing.assert_allclose(pdist(embedded), pdist(direct), atol=1e-7)


def test_pairs_left_out_are_completed_by_the_path_through_the_others():
    months = np.arange(12)
    chain = ideal_distances(months, "chain")
    assert (chain < 0).any()
    np.testing.assert_allclose(
        complete_distances(chain), ideal_distances(months, "discrete_circular", period=12)
    )
    apart = np.where(np.eye(4, dtype=bool), 0.0, -1.0)
    with pytest.raises(ValueError, match="no defined distance joins labels number 0 and 1"):
        complete_distances(apart)


def test_stress_score_is_invariant_and_left_out_pairs_do_not_count():
    rng = np.random.default_rng(2)
    ideal, predicted = rng.random(45), rng.random(45)
    score = stress_score(ideal, predicted)
    cosine = ideal @ predicted / np.linalg.norm(ideal) / np.linalg.norm(predicted)
    assert score == pytest.approx(1 - np.sqrt(1 - cosine**2))
    assert stress_score(ideal, 1e-3 * predicted) == pytest.approx(score)
    assert stress_score(3 * ideal, ideal) == pytest.approx(1, abs=1e-12)
    assert np.isnan(stress_score(ideal, np.zeros(45)))
    masked = np.where(np.arange(45) < 20, ideal, -1.0)
    assert stress_score(masked, predicted) == pytest.approx(
        stress_score(ideal[:20], predicted[:20])
    )
