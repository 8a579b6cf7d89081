"""Classical multidimensional scaling (Torgerson 1952) and the scale-free stress score.

Coordinates: B = -1/2 H D^2 H, Y = V sqrt(max(lambda, 0)), leading k. Labels repeat (a thousand
sentences name a dozen months), so the eigenproblem is solved on the distinct labels, weighted by
how often each occurs; that is the same embedding at (distinct / n)^3 of the cost.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh
from scipy.sparse.csgraph import csgraph_from_dense, shortest_path


def complete_distances(
    distances: Float[np.ndarray, "labels labels"],
) -> Float[np.ndarray, "labels labels"]:
    """Fill pairs left out (negative) with the shortest path through the pairs that are given.

    Scaling needs every distance. The published code fits incomplete shapes by a non-convex search
    instead, whose answer depends on its random start; the path metric of the defined pairs
    (Tenenbaum et al. 2000) has one answer. Raises ValueError when no path joins two labels.
    """
    if (distances >= 0).all():
        return distances
    edges = csgraph_from_dense(np.where(distances >= 0, distances, np.inf), null_value=np.inf)
    completed = shortest_path(edges, directed=False)
    if np.isinf(completed).any():
        first, second = np.argwhere(np.isinf(completed))[0]
        raise ValueError(f"no defined distance joins labels number {first} and {second}")
    return completed


SPANNED = 1e-9
"""Least eigenvalue of a dimension that distances span, relative to the largest: rounding of a sum
of squares leaves some 1e-15 times the number of labels."""


def spanned(distances: Float[np.ndarray, "labels labels"]) -> int:
    """How many dimensions distances span: one fewer than classes that are equally far apart."""
    squared = distances**2
    centred = squared - squared.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    values = np.linalg.eigvalsh(-0.5 * centred)
    return max(1, int((values > SPANNED * values[-1]).sum()))


def share_held(distances: Float[np.ndarray, "labels labels"], n_components: int) -> float:
    """Part of the squared distances that so many dimensions can hold."""
    squared = distances**2
    centred = squared - squared.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    values = np.linalg.eigvalsh(-0.5 * centred).clip(min=0)[::-1]
    return float(values[:n_components].sum() / values.sum()) if values.any() else 1.0


def classical_mds(
    distances: Float[np.ndarray, "labels labels"],
    which: Int[np.ndarray, " n"],
    n_components: int,
) -> Float[np.ndarray, "n k"]:
    """Coordinates [n, k] of rows whose labels are `which`, given the labels' complete distances.

    Fewer than `n_components` labels present leave the remaining columns 0, as do negative
    eigenvalues (distances that no Euclidean space holds).
    """
    present, compact, count = np.unique(which, return_inverse=True, return_counts=True)
    weight = count / count.sum()
    squared = distances[np.ix_(present, present)] ** 2
    centred = squared - weight @ squared
    centred -= (centred @ weight)[:, None]
    root = np.sqrt(count)
    size = len(present)
    values, vectors = eigh(
        -0.5 * root[:, None] * centred * root,
        subset_by_index=(max(size - n_components, 0), size - 1),
    )
    embedded = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0)) / root[:, None]
    missing = n_components - embedded.shape[1]
    return np.pad(embedded, ((0, 0), (0, missing)))[compact]


def stress_score(
    ideal: Float[np.ndarray, " pairs"], predicted: Float[np.ndarray, " pairs"]
) -> float:
    """1 - sqrt(sum (d - a dhat)^2 / sum d^2) at the best scale a; 1 is perfect.

    Pairs with a negative ideal distance are left out. The score depends on the cosine c of the two
    distance vectors alone, 1 - sqrt(1 - c^2); the residual form is used because 1 - c^2 loses all
    digits near a perfect fit. NaN when either vector is all zero.
    """
    counted = ideal >= 0
    if not counted.all():
        ideal, predicted = ideal[counted], predicted[counted]
    power = predicted @ predicted
    if power == 0 or not ideal.any():
        return float("nan")
    residual = ideal - (ideal @ predicted / power) * predicted
    return float(1 - np.sqrt(residual @ residual / (ideal @ ideal)))
