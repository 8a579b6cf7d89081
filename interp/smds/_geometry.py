"""Formulas of the shapes: labels [n] or [n, columns] -> coordinates [n, k] or distances [n, n].

`u` is a label rescaled by the smallest and largest value present (`unit`), as the published method
does. Formulas follow Tiblias et al. 2025 ("Shape Happens", arXiv 2510.01025) and its package.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import pdist, squareform
from sklearn.neighbors import kneighbors_graph

Labels = np.ndarray
"""Labels [n] or [n, columns], float64, finite."""


def unit(y: Labels) -> np.ndarray:
    """Labels moved and scaled to [0, 1] by the extremes of all their columns together."""
    low, high = y.min(), y.max()
    return (y - low) / (high - low) if high > low else np.zeros_like(y)


def column(y: Labels) -> np.ndarray:
    """Labels [n] or [n, 1] as [n]."""
    return y.reshape(len(y))


def two_columns(y: Labels) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates on a square [0, 1]^2; one label column is padded by a column of zeros."""
    table = y.reshape(len(y), -1)
    padded = unit(np.pad(table, ((0, 0), (0, 2 - table.shape[1]))))
    return padded[:, 0], padded[:, 1]


def gap(values: np.ndarray) -> np.ndarray:
    """|difference| of all pairs, [n, n]."""
    return np.abs(values[:, None] - values[None, :])


def on_circle(angle: np.ndarray) -> np.ndarray:
    """Points [n, 2] at these angles, in radians, on the unit circle."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def phase(y: Labels, period: float | int | None) -> np.ndarray:
    """Labels as turns of a circle, [n]. Raises ValueError for a label outside [0, period)."""
    y = column(y)
    if period is None:
        return unit(y)
    outside = (y < 0) | (y >= period)
    if outside.any():
        raise ValueError(f"label {y[outside][0]:g} lies outside [0, {period:g}), the period given")
    return y / period


def log_linear(y: Labels) -> np.ndarray:
    """log(1 + y), one column. Raises ValueError for a negative label."""
    if y.min() < 0:
        raise ValueError(f"label {y.min():g} is negative; log_linear needs labels >= 0")
    return np.log1p(column(y))[:, None]


def spiral(y: Labels) -> np.ndarray:
    """Two turns of an Archimedean spiral, r = 0.5 + angle, angle = 4 pi u."""
    angle = 4 * np.pi * unit(column(y))
    return (0.5 + angle)[:, None] * on_circle(angle)


def ring(y: Labels, period: float | int | None) -> np.ndarray:
    """Steps along a ring; its length is the period, or one more than the largest label."""
    y = column(y)
    length = y.max() + 1 if period is None else period
    ahead = np.mod(gap(y), length)
    return np.minimum(ahead, length - ahead)


def chain(y: Labels, period: float | int | None, threshold: float | int) -> np.ndarray:
    """`ring`, with -1 for pairs `threshold` steps apart or more."""
    steps = ring(y, period)
    return np.where(steps < threshold, steps, -1.0)


def hierarchical(y: Labels, level_distances: Sequence[float]) -> np.ndarray:
    """The distance of the first level (column) at which two labels differ; 0 if none."""
    differs = y[:, None, :] != y[None, :, :]
    first = np.asarray(level_distances, dtype=float)[differs.argmax(axis=2)]
    return np.where(differs.any(axis=2), first, 0.0)


def cylinder(y: Labels) -> np.ndarray:
    """Labels (height, longitude) in degrees on a cylinder of radius 1; height in radians."""
    height, angle = np.radians(y).T
    return np.column_stack([on_circle(angle), height])


def sphere(y: Labels) -> np.ndarray:
    """Labels (latitude, longitude) in degrees on the unit sphere."""
    latitude, longitude = np.radians(y).T
    return np.column_stack([np.cos(latitude)[:, None] * on_circle(longitude), np.sin(latitude)])


def geodesic(y: Labels) -> np.ndarray:
    """Great-circle distances, in radians, of labels (latitude, longitude) in degrees."""
    # The chord is accurate for near points, where the arc cosine of a dot product is not; the
    # clip only removes rounding above the diameter.
    chord = squareform(pdist(sphere(y)))
    return 2 * np.arcsin(np.clip(chord / 2, 0, 1))


def torus(y: Labels) -> np.ndarray:
    """Flat torus on the unit square: shortest difference of each coordinate, both of which wrap."""
    gaps = [gap(column) for column in two_columns(y)]
    return np.hypot(*(np.minimum(gap, 1 - gap) for gap in gaps))


def klein_bottle(y: Labels) -> np.ndarray:
    """Flat Klein bottle on the unit square: v wraps, u wraps with v mirrored."""
    u, v = two_columns(y)
    straight, mirrored = gap(v), np.abs(v[:, None] + v[None, :] - 1)
    return np.minimum(
        np.hypot(gap(u), np.minimum(straight, 1 - straight)),
        np.hypot(1 - gap(u), np.minimum(mirrored, 1 - mirrored)),
    )


def graph_geodesic(y: Labels, n_neighbors: int) -> np.ndarray:
    """Shortest paths over the graph of nearest neighbours; -1 between separate pieces."""
    table = unit(y).reshape(len(y), -1)
    graph = kneighbors_graph(table, min(n_neighbors, len(y) - 1), mode="distance")
    distances = shortest_path(graph, directed=False)
    return np.where(np.isfinite(distances), distances, -1.0)


def vertices(count: int, dimensions: int) -> np.ndarray:
    """Points [count, dimensions] on the unit sphere, pushed apart by an energy of 1 / distance."""

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        free = flat.reshape(count, dimensions)
        norm = np.linalg.norm(free, axis=1, keepdims=True)
        point = free / norm
        difference = point[:, None] - point[None]
        distance = np.linalg.norm(difference, axis=2) + np.eye(count)
        pull = (-difference / distance[..., None] ** 3).sum(axis=1)
        tangent = pull - (pull * point).sum(axis=1, keepdims=True) * point
        return (1 / distance)[np.triu_indices(count, 1)].sum(), (tangent / norm).ravel()

    # A fixed start: the optimum is unique only up to rotation, and a shape must not vary by call.
    start = np.random.default_rng(0).normal(size=count * dimensions)
    # Tight tolerances: the defaults stop at the fifth digit of a regular simplex's edges.
    tight = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
    best = minimize(energy, start, jac=True, method="L-BFGS-B", options=tight).x
    best = best.reshape(count, dimensions)
    return best / np.linalg.norm(best, axis=1, keepdims=True)


def polytope(y: Labels, dimensions: int) -> np.ndarray:
    """Distances between the `vertices` that stand for the distinct labels."""
    values, which = np.unique(column(y), return_inverse=True)
    return squareform(pdist(vertices(len(values), dimensions)))[np.ix_(which, which)]
