"""The Gram matrix of category means: all that a test of their order needs of a cell.

1. Residuals about the category means give each dimension a scale, so that no massive dimension
   decides, and a covariance shrunk towards a multiple of the identity (Ledoit & Wolf 2004).
2. G = H mu S^-1 mu' H, with the means mu [category, d] in units of the scale, and H removing the
   mean over categories. Distances in G are Mahalanobis distances within categories.
3. Where rows hardly vary within categories (a raw embedding of the category's own word), there is
   no such covariance, and G = H mu mu' H.
4. A = G (G + lambda I)^-1 with lambda the mean eigenvalue: a direction counts by its rank among
   the others rather than by its length, so that one dominant nuisance axis does not decide.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from interp.arrays import group_means

CONSTANT_WITHIN = 1e-8
"""Share of the squared distances between means below which rows do not vary within categories.
float32 activations leave 1e-13 of theirs in a mean over equal rows."""

SMALLEST_SCALE = 1e-3
"""Least scale of a dimension, in standard deviations of all rows: a dimension that tells the
categories apart exactly would otherwise outweigh all others together."""


@dataclass(frozen=True)
class CategoryGram:
    """Inner products of category means."""

    distances: Float[np.ndarray, "category category"]
    """G, centred: its distances are the squared distances of the means."""
    directions: Float[np.ndarray, "category category"]
    """A, the same with the lengths of its directions levelled."""
    whitened: bool
    """Whether within-category covariance was divided out."""


def category_gram(
    X: Float[np.ndarray, "n d"], category: Int[np.ndarray, " n"], n_categories: int
) -> CategoryGram:
    """The Gram matrix of a cell's category means.

    Args:
        X: Activations of one position at one depth.
        category: Category of each row, 0 to `n_categories` - 1; each has a row.
        n_categories: Number of categories.

    Raises:
        ValueError: a category without a row.
    """
    counts = np.bincount(category, minlength=n_categories)
    if len(counts) > n_categories or not counts.all():
        raise ValueError(
            f"rows per category are {counts.tolist()}; each of {n_categories} categories needs one"
        )
    X = X.astype(np.float64)
    means = group_means(X, category)
    residuals = X - means[category]
    between = means - means.mean(axis=0)
    constant = (residuals**2).sum() <= CONSTANT_WITHIN * (counts @ (between**2).sum(axis=1))
    product = between @ between.T if constant else _whitened(X, residuals, means)
    centred = product - product.mean(axis=0) - product.mean(axis=1)[:, None] + product.mean()
    return CategoryGram(centred, _levelled(centred), not constant)


def _whitened(
    X: Float[np.ndarray, "n d"],
    residuals: Float[np.ndarray, "n d"],
    means: Float[np.ndarray, "category d"],
) -> Float[np.ndarray, "category category"]:
    n, d = X.shape
    freedom = n / max(n - len(means), 1)
    scale = np.maximum(
        np.sqrt((residuals**2).mean(axis=0) * freedom), SMALLEST_SCALE * X.std(axis=0)
    )
    scale[scale == 0] = 1.0  # a dimension without any variation tells nothing
    residuals, means = residuals / scale, means / scale
    covariance = residuals.T @ residuals / n
    level = np.trace(covariance) / d
    spread = (np.sum(covariance**2) - d * level**2) / d
    lengths = np.sum(residuals**2, axis=1)
    sampling = (np.mean(lengths**2) - np.sum(covariance**2)) / (n * d)
    shrinkage = np.clip(sampling / spread, 1e-3, 1.0) if spread > 0 else 1.0
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(d)] += shrinkage * level
    return means @ cho_solve(cho_factor(covariance, lower=True), means.T)


def _levelled(
    gram: Float[np.ndarray, "category category"],
) -> Float[np.ndarray, "category category"]:
    values, vectors = np.linalg.eigh(gram)
    values = values.clip(min=0)
    level = values.sum() / (len(gram) - 1)
    if level == 0:
        return np.zeros_like(gram)
    return (vectors * (values / (values + level))) @ vectors.T
