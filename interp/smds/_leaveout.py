"""Leave one category out: does the representation interpolate a circle it has not seen whole?

A lookup table (one direction per month) predicts the circle of any month it was trained on, and so
passes K-fold cross-validation. It knows nothing of a month left out. Predictions of all left-out
categories are pooled in one frame of fixed period before anything is scored: a fold of its own
would be re-centred and re-scaled to its own few labels, and score .66 for the lookup table whose
pooled R^2 is negative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Shaped

from interp.smds._solver import Block, left_out_residuals
from interp.stats import PermutationTest, permutation_test


@dataclass(frozen=True)
class LeaveOut:
    """Leave-one-category-out results of a grid, undefined cells NaN."""

    score: Float[np.ndarray, "blocks positions"]
    """SMDS score of the pooled held-out predictions over all pairs."""
    r2: Float[np.ndarray, "blocks positions"]
    """1 - SS_res / SS_tot, SS_tot about the mean of the ideal coordinates of all rows."""
    error: Float[np.ndarray, "blocks positions"]
    """Median absolute angle between prediction and truth, in label units (days for period 365); NaN
    throughout but for a circle."""
    null_r2: Float[np.ndarray, "permutations blocks positions"]
    """`r2` under the grid's permutations; the category moves with the label."""
    controls_r2: Mapping[str, Float[np.ndarray, "repeats blocks positions"]]
    """`r2` of each control's label vectors, left out by the same rows as the true labels."""

    @cached_property
    def test(self) -> PermutationTest:
        """`r2` against its null, max-T over the grid."""
        return permutation_test(self.r2, self.null_r2)


def category_blocks(categories: Shaped[np.ndarray, " n"]) -> list[Block]:
    """Row numbers of each category. Raises ValueError with fewer than two categories."""
    names, member, size = np.unique(categories, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"leave_out holds the one category {names[0]!r}; at least 2 are needed")
    return np.split(np.argsort(member, kind="stable"), np.cumsum(size)[:-1])


def angle_error(
    targets: Float[np.ndarray, "n 2"], predictions: Float[np.ndarray, "n 2"], period: float
) -> float:
    """Median absolute angle between predictions and targets, in units of the period."""
    true, predicted = (points @ np.array([1, 1j]) for points in (targets, predictions))
    return float(np.median(np.abs(np.angle(predicted * true.conj()))) * period / (2 * np.pi))


def left_out_predictions(
    inverse: Float[np.ndarray, "n n"],
    targets: Float[np.ndarray, "n vectors k"],
    blocks: list[list[Block]],
) -> Float[np.ndarray, "n vectors k"]:
    """Predictions of every label vector: permutation v under its own partition `blocks[v]` of the
    rows, the true labels (vector 0) and the controls (vectors past the permutations) under
    `blocks[0]`."""
    rows, vectors, _ = targets.shape
    coefficients = (inverse @ targets.reshape(rows, -1)).reshape(targets.shape)
    residuals = np.empty_like(targets)
    fixed = [0, *range(len(blocks), vectors)]
    shared = left_out_residuals(inverse, coefficients[:, fixed].reshape(rows, -1), blocks[0])
    residuals[:, fixed] = shared.reshape(rows, len(fixed), -1)
    for vector in range(1, len(blocks)):
        residuals[:, vector] = left_out_residuals(inverse, coefficients[:, vector], blocks[vector])
    return targets - residuals
