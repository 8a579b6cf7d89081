"""Do two positions hold the same plane, and is the figure in it round?

Both questions are put to activation *patterns* (how the activations move with the ideal
coordinates, A = (P^T P)^-1 P^T X of centred P and X), not to the weights of a decoder, which mix
the signal with the inverse noise covariance (Haufe et al. 2014).

1. Similarity: cosines of the principal angles between the row spaces of two patterns. Noise turns
   planes away from each other, so the estimate from independent halves of the groups is divided
   by what each pattern reaches with itself on those halves (Spearman 1904).
2. Roundness: a circle in the labels becomes an ellipse with Gram matrix A A^T in activation space.
   Noise adds to its diagonal and makes everything round; the product A1 A2^T of patterns from
   independent halves has no such term.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real, Shaped

from interp.smds.estimator import SupervisedMDS
from interp.smds.shapes import Shape, ideal_coordinates
from interp.stats import permutation_test, permute_groups


@dataclass(frozen=True)
class SubspaceSimilarity:
    """How far two sets of activations vary with the labels along the same directions."""

    similarity: float
    """Mean cosine of the principal angles between the two patterns, all rows; 0 to 1."""
    angles: Float[np.ndarray, " k"]
    """Principal angles in degrees, ascending."""
    reliability: tuple[float, float]
    """Mean cosine of each pattern with itself on independent halves of the groups."""
    corrected: float
    """Similarity across halves over the geometric mean of the reliabilities; about 1 for one
    plane (sampling may carry it a little above), NaN when `status` is not "ok"."""
    z: float
    """`similarity` against its null, the second pattern taken under permuted labels."""
    p: float
    """One-sided permutation p of the same."""
    weight_cosine: float
    """|cosine| of the two flattened decoders, for comparison with published figures; near blind:
    identical planes under different noise gave .27 where chance was .02."""
    status: Literal["ok", "unreliable"]
    """"unreliable": a pattern agrees with itself no better than under permuted labels."""


@dataclass(frozen=True)
class Roundness:
    """Axis ratio of the ellipse that a circle of labels becomes in activation space."""

    ratio: float
    """Minor over major axis, 1 for a circle, 0 for a line; NaN when not identifiable."""
    interval: tuple[float, float]
    """Bootstrap interval of `ratio` over groups, NaN when not identifiable."""
    status: Literal["ok", "not identifiable"]
    """"not identifiable": the pattern's size is not reliably above 0, or any ratio is possible."""


def pattern(
    activations: Shaped[np.ndarray, "n d"], coordinates: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "k d"]:
    """Activation per unit of ideal coordinate: least squares of centred X on centred P, [k, d]."""
    centred = coordinates - coordinates.mean(axis=0)
    rows = activations - activations.mean(axis=0, dtype=np.float64)
    return np.linalg.lstsq(centred, rows, rcond=None)[0]


def principal_cosines(
    first: Float[np.ndarray, "k d"], second: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, " k"]:
    """Cosines of the principal angles between two row spaces, descending (Bjorck & Golub 1973)."""
    bases = [np.linalg.qr(rows.T)[0] for rows in (first, second)]
    return np.clip(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False), 0, 1)


def _halves(
    groups: np.ndarray, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 4:
        raise ValueError(f"{len(names)} groups are too few to split in halves; at least 4 needed")
    for _ in range(repeats):
        chosen = (rng.permutation(len(names)) < len(names) // 2)[member]
        yield np.flatnonzero(chosen), np.flatnonzero(~chosen)


def subspace_similarity(
    first: Shaped[np.ndarray, "n d"],
    second: Shaped[np.ndarray, "n d"],
    y: Real[np.ndarray, "n *columns"],
    *,
    groups: Shaped[np.ndarray, " n"],
    shape: str | Shape = "circular",
    period: float | int | None = None,
    alpha: float | int = 1.0,
    n_halves: int = 20,
    n_permutations: int = 200,
    seed: int = 42,
) -> SubspaceSimilarity:
    """Compare the label patterns of two positions [n, d] read on the same n rows.

    Needs a shape with exact coordinates. Halves are compared across positions (first half of one
    with second half of the other), so noise that two positions of a sentence share cannot pass for
    a common plane. Raises ValueError for unusable labels and fewer than 4 groups.
    """
    coordinates = ideal_coordinates(y, shape, period=period)
    rng = np.random.default_rng(seed)
    halves = list(_halves(groups, n_halves, rng))
    unit = np.unique(groups, return_index=True, return_inverse=True)
    rows = permute_groups(unit[1][unit[2]], groups, n_permutations, rng)
    whole = [pattern(X, coordinates) for X in (first, second)]
    cosines = principal_cosines(*whole)
    across, *own = _half_cosines(first, second, coordinates, halves)
    # One random half per permutation: the null of the reliability needs its spread, not its mean.
    null = np.array(
        [
            (
                principal_cosines(whole[0], pattern(second, coordinates[order])).mean(),
                *_half_cosines(first, second, coordinates[order], [halves[b % n_halves]])[1:],
            )
            for b, order in enumerate(rows)
        ]
    )
    observed = np.array([cosines.mean(), *own])
    test = permutation_test(observed, null)
    reliable = bool((test.p[1:] <= max(0.05, test.floor)).all())
    decoders = [
        SupervisedMDS(shape, alpha=alpha, period=period).fit(X, y).components_.ravel()
        for X in (first, second)
    ]
    overlap = abs(decoders[0] @ decoders[1])
    return SubspaceSimilarity(
        similarity=float(observed[0]),
        angles=np.degrees(np.arccos(cosines)),
        reliability=(float(own[0]), float(own[1])),
        corrected=float(across / np.sqrt(own[0] * own[1])) if reliable else float("nan"),
        z=float(test.z[0]),
        p=float(test.p[0]),
        weight_cosine=float(overlap / np.prod([np.linalg.norm(w) for w in decoders])),
        status="ok" if reliable else "unreliable",
    )


def _half_cosines(
    first: np.ndarray,
    second: np.ndarray,
    coordinates: np.ndarray,
    halves: list[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Mean cosines [3] over halves: across positions, first with itself, second with itself."""
    values = []
    for half, other in halves:
        a, b = ([pattern(X[h], coordinates[h]) for h in (half, other)] for X in (first, second))
        across = principal_cosines(a[0], b[1]).mean() + principal_cosines(b[0], a[1]).mean()
        values.append((across / 2, principal_cosines(*a).mean(), principal_cosines(*b).mean()))
    return np.mean(values, axis=0)


def roundness(
    activations: Shaped[np.ndarray, "n d"],
    y: Real[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"],
    period: float | int,
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
    Raises ValueError for unusable labels and fewer than 4 groups.
    """
    coordinates = ideal_coordinates(y, period=period)
    rng = np.random.default_rng(seed)
    squares = [
        _axes_squared(activations, coordinates, *half) for half in _halves(groups, n_halves, rng)
    ]
    estimate = _axis_ratios(np.mean(squares, axis=0, keepdims=True))[0]
    resampled = np.array(
        [
            _axes_squared(activations, coordinates, *(_resample(h, groups, rng) for h in half))
            for half in _halves(groups, n_boot, rng)
        ]
    )
    tails = [(1 - level) / 2, (1 + level) / 2]
    major_low = np.quantile(resampled[:, 0], tails[0])
    low, high = np.clip(2 * estimate - np.quantile(_axis_ratios(resampled), tails[::-1]), 0, 1)
    if major_low <= 0 or (low == 0 and high == 1):
        nan = float("nan")
        return Roundness(nan, (nan, nan), "not identifiable")
    return Roundness(float(estimate), (float(low), float(high)), "ok")


def _axis_ratios(squares: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Minor over major axis from squared axes; 0 where noise leaves one below 0."""
    major, minor = squares.T
    positive = (major > 0) & (minor > 0)
    return np.sqrt(np.divide(minor, major, out=np.zeros_like(major), where=positive))


def _axes_squared(
    activations: np.ndarray, coordinates: np.ndarray, half: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Squared axes [2], major first, of the ellipse, free of noise on average."""
    a, b = (pattern(activations[rows], coordinates[rows]) for rows in (half, other))
    product = a @ b.T
    return np.linalg.eigvalsh((product + product.T) / 2)[::-1]


def _resample(rows: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    names, member = np.unique(groups[rows], return_inverse=True)
    drawn = rng.integers(len(names), size=len(names))
    by_group = np.split(rows[np.argsort(member, kind="stable")], np.cumsum(np.bincount(member)))
    return np.concatenate([by_group[g] for g in drawn])
