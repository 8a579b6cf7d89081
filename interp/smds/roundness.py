"""Is the circle of the labels round in activation space?

A circle in the labels becomes an ellipse with Gram matrix A A^T, A the pattern of the activations
(`interp.smds.similarity`). Noise adds to its diagonal and makes everything round; the product
A1 A2^T of patterns from independent halves of the groups has no such term.

With A = B X, where B depends on labels and weights alone, A1 A2^T = B1 K B2^T with one kernel
K = X X^T. A bootstrap resample is a vector of row weights, so all resamples are one product.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from interp import arrays
from interp.arrays import Arraylike
from interp.smds.heldout import Rows
from interp.smds.shapes import ideal_coordinates
from interp.smds.similarity import pattern_coefficients, split_halves


@dataclass(frozen=True)
class Roundness:
    """Axis ratio of the ellipse that a circle of labels becomes in activation space."""

    ratio: float
    """Minor over major axis, 1 for a circle, 0 for a line; NaN when not identifiable."""
    interval: tuple[float, float]
    """Bootstrap interval of `ratio` over groups, NaN when not identifiable."""
    status: Literal["ok", "not identifiable"]
    """"not identifiable": the pattern's size is not reliably above 0, or any ratio is possible."""


def roundness(
    activations: Arraylike,
    y: Arraylike,
    *,
    groups: Arraylike,
    period: float | int,
    standardise: bool = False,
    n_halves: int = 20,
    n_boot: int = 500,
    level: float = 0.95,
    seed: int = 42,
) -> Roundness:
    """Axis ratio of the circular pattern, with a basic bootstrap interval over groups.

    A projection with orthonormal rows is no test of roundness: a perfect circle beside twenty
    nuisance dimensions scores .40 there. Groups are resampled *within* each half, as a group in
    both would bring the noise term back. Sorting the axes pulls the ratio below 1; the bootstrap
    repeats that bias, which the basic interval (2 estimate - quantiles, cut to [0, 1]) removes.
    `standardise` divides features by their standard deviation, so that the ellipse is that of
    standardised features. Raises ValueError for unusable labels, non-finite activations and fewer
    than 4 groups.
    """
    y = arrays.labels(y)
    activations, groups = arrays.activations(activations, n=len(y)), arrays.groups(groups, len(y))
    if not np.isfinite(activations).all():
        row = np.argwhere(~np.isfinite(activations))[0][0]
        raise ValueError(f"activations hold a value that is not finite in row {row}")
    coordinates = ideal_coordinates(y, period=period)
    rows = Rows.of(activations).for_fold(np.arange(len(y)), standardise=standardise)
    rng, kernel = np.random.default_rng(seed), rows @ rows.T
    first = split_halves(groups, n_halves, rng)
    squares = _axes_squared(kernel, coordinates, first.astype(float), (~first).astype(float))
    estimate = _axis_ratios(squares.mean(axis=0, keepdims=True))[0]
    first = split_halves(groups, n_boot, rng)
    weights = [_resampled(half, groups, rng) for half in (first, ~first)]
    resampled = _axes_squared(kernel, coordinates, *weights)
    tails = [(1 - level) / 2, (1 + level) / 2]
    major_low = np.quantile(resampled[:, 0], tails[0])
    low, high = np.clip(2 * estimate - np.quantile(_axis_ratios(resampled), tails[::-1]), 0, 1)
    if estimate == 0:
        # At its bound the basic interval would shrink to 0 and claim a line; the resamples do not.
        low, high = 0.0, np.quantile(_axis_ratios(resampled), tails[1])
    if major_low <= 0 or (low == 0 and high == 1):
        nan = float("nan")
        return Roundness(nan, (nan, nan), "not identifiable")
    return Roundness(float(estimate), (float(low), float(high)), "ok")


def _resampled(
    half: Bool[np.ndarray, "m n"], groups: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "m n"]:
    """How often each row is drawn when the groups of each half are drawn with replacement."""
    _, unit, member = np.unique(groups, return_index=True, return_inverse=True)
    chosen = half[:, unit]
    size = int(chosen[0].sum())  # that of every half
    drawn = np.zeros(chosen.shape)
    drawn[chosen] = rng.multinomial(size, np.full(size, 1 / size), size=len(half)).ravel()
    return drawn[:, member]


def _axes_squared(
    kernel: Float[np.ndarray, "n n"],
    coordinates: Float[np.ndarray, "n k"],
    weights: Float[np.ndarray, "m n"],
    others: Float[np.ndarray, "m n"],
) -> Float[np.ndarray, "m k"]:
    """Squared axes, major first, of the ellipses, free of noise on average."""
    first, second = (pattern_coefficients(coordinates[None], rows) for rows in (weights, others))
    m, k, n = first.shape
    product = (first.reshape(m * k, n) @ kernel).reshape(m, k, n) @ second.swapaxes(1, 2)
    return np.linalg.eigvalsh((product + product.swapaxes(1, 2)) / 2)[:, ::-1]


def _axis_ratios(squares: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Minor over major axis from squared axes; 0 where noise leaves one below 0."""
    major, minor = squares.T
    positive = (major > 0) & (minor > 0)
    return np.sqrt(np.divide(minor, major, out=np.zeros_like(major), where=positive))
