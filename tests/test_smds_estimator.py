"""The estimator against the published package, and as a scikit-learn citizen."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.spatial.distance import pdist, squareform
from sklearn.utils.estimator_checks import parametrize_with_checks

from interp.smds import Shape, SupervisedMDS, ideal_distances
from interp.smds._scaling import stress_score

FOLDER = Path(__file__).parent / "reference"
ROWS = json.loads((FOLDER / "smds_1_6_6.json").read_text())["rows"]
DATA = np.load(FOLDER / "smds_1_6_6.npz", allow_pickle=False)


@pytest.mark.parametrize(
    "row",
    # At two components a line's second coordinate is rounding noise, and an orthonormal map gives
    # its direction the same length as the line's own: the reference's number is its rounding's.
    [
        row
        for row in ROWS
        if not (row["orthonormal"] and row["shape"] in ("euclidean", "log_linear"))
    ],
    ids=lambda row: f"{row['problem']}-{row['shape']}-{row['alpha']}-{row['orthonormal']}",
)
def test_scores_equal_the_published_package(row):
    X, y = DATA[f"X{row['problem']}"], DATA[f"y{row['problem']}"]
    cut = len(y) * 3 // 4
    model = SupervisedMDS(
        "linear" if row["shape"] == "euclidean" else row["shape"],
        n_components=row["n_components"],
        alpha=row["alpha"],
        orthonormal=row["orthonormal"],
    ).fit(X[:cut], y[:cut])
    assert model.score(X[:cut], y[:cut]) == pytest.approx(row["score_train_first75"], abs=1e-6)
    assert model.score(X[cut:], y[cut:]) == pytest.approx(row["score_test_last25"], abs=1e-6)


def published_map(X: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Orthonormal map [2, d] as published, from all of an eigendecomposition, rounding included."""
    H = np.eye(len(ideal)) - 1 / len(ideal)
    values, vectors = eigh(-0.5 * H @ ideal**2 @ H)
    Y = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0))
    left, _, right = np.linalg.svd((Y - Y.mean(0)).T @ (X - X.mean(0)), full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", ["linear", "log_linear"])
def test_the_rows_left_out_are_the_reference_s_own_rounding(shape):
    """Labels of other units in the 13th digit change such a score in its third."""
    X, y = DATA["X1"], DATA["y1"].astype(float)
    scores = []
    for unit in (1, 1 + 1e-13, 1 - 1e-13, 1 + 2e-13):
        ideal = ideal_distances(y, shape) * unit
        embedded = X @ published_map(X, ideal).T
        scores.append(stress_score(squareform(ideal, checks=False), pdist(embedded)))
    assert np.ptp(scores) > 1e-3


@parametrize_with_checks([SupervisedMDS(), SupervisedMDS("linear", alpha=0)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_a_planted_circle_is_embedded_in_its_own_frame():
    rng = np.random.default_rng(0)
    days = rng.integers(0, 365, 200)
    model = SupervisedMDS(period=365)
    angle = 2 * np.pi * days / 365
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X = 50 * circle @ rng.normal(size=(2, 40)) + 3
    embedded = model.fit_transform(X, days)
    np.testing.assert_allclose(embedded, circle, atol=1e-3)
    np.testing.assert_allclose(model.inverse_transform(embedded), X, rtol=1e-6, atol=0.1)


def test_orthonormal_rows_are_orthonormal_and_do_not_see_alpha():
    X, y = DATA["X1"], DATA["y1"]
    maps = [
        SupervisedMDS(alpha=alpha, orthonormal=True).fit(X, y).components_ for alpha in (0.1, 100.0)
    ]
    np.testing.assert_allclose(maps[0] @ maps[0].T, np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(maps[0], maps[1])


def test_your_own_coordinates_are_recovered():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(80, 3))
    X = points @ rng.normal(size=(3, 30))
    own = SupervisedMDS(Shape("own", coordinates=lambda y: y), alpha=0)
    assert own.fit(X, points).score(X, points) == pytest.approx(1, abs=1e-6)


def test_planted_clusters_sit_on_the_vertices_of_a_polytope():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 240)
    X = 5 * rng.normal(size=(4, 20))[labels] + rng.normal(size=(240, 20))
    held_out = {
        name: SupervisedMDS("polytope").fit(X[:160], truth[:160]).score(X[160:], truth[160:])
        for name, truth in (("planted", labels), ("shuffled", rng.permutation(labels)))
    }
    assert held_out["planted"] > 0.85 and held_out["shuffled"] < 0.6


def test_a_negative_penalty_is_refused():
    with pytest.raises(ValueError, match="alpha=-1"):
        SupervisedMDS(alpha=-1).fit(np.eye(4), np.arange(4))
