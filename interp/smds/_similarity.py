"""Do positions of a sentence hold the labels in the same plane?

The question is put to activation *patterns* (how the activations move with the ideal coordinates,
A = (P^T P)^-1 P^T X of centred P and X), not to the weights of a decoder, which mix the signal with
the inverse noise covariance (Haufe et al. 2014).

1. A pattern is linear in the activations. The coefficients (P^T P)^-1 P^T of the whole sample, of
   all halves and of all permutations are rows of one matrix, shared by all positions; one product
   with X gives every pattern of a position.
2. Two patterns are compared by the cosines of the principal angles between their row spaces.
3. Noise turns planes away from each other, so the comparison across independent halves of the
   groups is divided by what each pattern reaches with itself on those halves (Spearman 1904).
4. The null permutes labels among groups; max-T corrects over all pairs of positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from interp import arrays
from interp.arrays import Arraylike
from interp.smds._estimator import SupervisedMDS
from interp.smds._heldout import Rows
from interp.smds._shapes import Shape, ideal_coordinates
from interp.stats import permutation_test, permute_groups

# Variance, relative to the widest direction, below which coordinates do not vary in a direction: a
# width of 1e-5. Centring leaves a variance of some 1e-16 where there is none.
SINGULAR = 1e-10


@dataclass(frozen=True)
class SubspaceSimilarity:
    """How far positions vary with the labels along the same directions.

    Pairs are symmetric matrices with a NaN diagonal, NaN also where a position has no pattern.
    """

    similarity: Float[np.ndarray, "positions positions"]
    """Mean cosine of the principal angles between the two patterns, all rows; 0 to 1."""
    angles: Float[np.ndarray, "positions positions k"]
    """Principal angles in degrees, ascending."""
    reliability: Float[np.ndarray, " positions"]
    """Mean cosine of each pattern with itself on independent halves of the groups."""
    corrected: Float[np.ndarray, "positions positions"]
    """Similarity across halves over the geometric mean of the reliabilities; about 1 for one plane
    (sampling may carry it a little above), NaN where either `status` is not "ok"."""
    z: Float[np.ndarray, "positions positions"]
    """Similarity across halves against its null, the later position's patterns taken under permuted
    labels."""
    p: Float[np.ndarray, "positions positions"]
    """One-sided permutation p of the same, uncorrected."""
    p_family: Float[np.ndarray, "positions positions"]
    """max-T adjusted p over all pairs, the permutations being shared by them."""
    weight_cosine: Float[np.ndarray, "positions positions"]
    """|cosine| of the two flattened decoders, for comparison with published figures; near blind:
    identical planes under different noise gave .27 where chance was .02."""
    status: Shaped[np.ndarray, " positions"]
    """ "ok", "unreliable" (the pattern agrees with itself no better than under permuted labels),
    "constant" (rows equal up to rounding: no pattern) or "non-finite"."""

    @property
    def pair_status(self) -> Shaped[np.ndarray, "positions positions"]:
        """Status of each pair: "the word itself" on the diagonal, "ok", or what is wrong with the
        first of the two that is not."""
        first, second = np.meshgrid(self.status, self.status, indexing="ij")
        pairs = np.where(first == "ok", second, first).astype(object)
        np.fill_diagonal(pairs, "the word itself")
        return pairs.astype(str)

    def table(self, positions: Sequence[str]) -> pd.DataFrame:
        """One row per pair of positions, the earlier first; angles in degrees, ascending."""
        first, second = np.triu_indices(len(self.status), 1)
        names = np.array(positions)
        columns = {"first": names[first], "second": names[second]}
        for name in ("similarity", "corrected", "z", "p", "p_family", "weight_cosine"):
            columns[name] = getattr(self, name)[first, second]
        for axis in range(self.angles.shape[2]):
            columns[f"angle_{axis + 1}_degrees"] = self.angles[first, second, axis]
        columns["reliability_first"] = self.reliability[first]
        columns["reliability_second"] = self.reliability[second]
        return pd.DataFrame(columns)


def split_halves(
    groups: Shaped[np.ndarray, " n"], repeats: int, rng: np.random.Generator
) -> Bool[np.ndarray, "repeats n"]:
    """Rows of one random half of the groups, `repeats` times; the other half is the complement.

    Raises ValueError for fewer than 4 groups.
    """
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 4:
        raise ValueError(f"{len(names)} groups are too few to split in halves; at least 4 needed")
    ranks = rng.permuted(np.tile(np.arange(len(names)), (repeats, 1)), axis=1)
    return (ranks < len(names) // 2)[:, member]


def pattern_coefficients(
    coordinates: Float[np.ndarray, "*#batch n k"], weights: Float[np.ndarray, "*#batch n"]
) -> Float[np.ndarray, "... k n"]:
    """Rows whose product with activations [n, d] is their pattern, activation per coordinate.

    Least squares with row weights: (C^T W C)^-1 C^T W, C the coordinates less their weighted mean.
    Rows of the result sum to 0, so the activations' mean drops out, however they are centred.
    Directions in which the weighted coordinates do not vary get no pattern (least norm).
    """
    share = weights / weights.sum(axis=-1, keepdims=True)
    centred = coordinates - share[..., None, :] @ coordinates
    weighted = np.swapaxes(weights[..., None] * centred, -1, -2)
    return np.linalg.pinv(weighted @ centred, rcond=SINGULAR, hermitian=True) @ weighted


def principal_cosines(
    first: Float[np.ndarray, "*#batch d k"], second: Float[np.ndarray, "*#batch d k"]
) -> Float[np.ndarray, "... k"]:
    """Cosines of the principal angles between two planes, descending (Bjorck & Golub 1973).

    Planes are given by orthonormal bases, in columns.
    """
    products = np.swapaxes(first, -1, -2) @ second
    return np.clip(np.linalg.svd(products, compute_uv=False), 0, 1)


def subspace_similarity(
    activations: Arraylike,
    y: Arraylike,
    *,
    groups: Arraylike,
    shape: str | Shape = "circular",
    period: float | int | None = None,
    alpha: float | int = 1.0,
    standardise: bool = False,
    n_halves: int = 10,
    n_permutations: int = 200,
    seed: int = 42,
) -> SubspaceSimilarity:
    """Compare the label patterns of all positions, read on the same n rows.

    Needs a shape with exact coordinates. `alpha` is the ridge penalty of `weight_cosine` alone;
    `standardise` divides each position's features by their standard deviation.

    Halves are compared across positions (one half of one with the other half of the other), so
    noise that two positions of a sentence share cannot pass for a common plane. What is permuted is
    the label of whole groups, once for all positions, on the same halves: the null of a pair keeps
    the earlier position's true patterns and takes the later one's under permuted labels, the null
    of a position's reliability both of its halves.

    Raises ValueError for unusable labels, a group with two, fewer than 4 groups, or dimensions.
    """
    (y, groups), activations = arrays.taken(y, groups), arrays.activations(activations, ndim=3)
    coordinates = ideal_coordinates(y, shape, period=period)
    positions, _, d = activations.shape
    k = coordinates.shape[1]
    if d < k:
        raise ValueError(f"activations of {d} dimensions hold no pattern of {k}")
    design = _coefficients(coordinates, groups, n_halves, n_permutations, seed)
    status = np.full(positions, "ok", dtype=object)
    cosines = np.full((positions, positions, k), np.nan)
    null = np.full((n_permutations, positions, positions), np.nan)
    across, weights = np.full((positions, positions), np.nan), np.full((positions, k * d), np.nan)
    own, own_null = np.full(positions, np.nan), np.full((n_permutations, positions), np.nan)
    earlier: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for later, cell in enumerate(activations):
        rows = Rows.of(cell)
        status[later] = rows.status
        if rows.status != "ok":
            continue
        cell = rows.for_fold(np.arange(len(cell)), standardise=standardise)
        whole, *bases = np.split(_bases(cell, design), [1])
        bases = bases[0].reshape(1 + n_permutations, 2, n_halves, d, k)
        own[later], own_null[:, later] = _split(principal_cosines(bases[:, 0], bases[:, 1]))
        for before, (plane, sides) in earlier.items():
            cosines[before, later] = principal_cosines(plane, whole)[0]
            agreement = principal_cosines(sides, bases[:, ::-1])
            across[before, later], null[:, before, later] = _split(agreement)
        # Copies, since views would hold the bases of every permutation until the end.
        earlier[later] = whole.copy(), bases[0].copy()
        decoder = SupervisedMDS(shape, alpha=alpha, period=period).fit(cell, y)
        weights[later] = decoder.components_.ravel() / np.linalg.norm(decoder.components_)
    agreement = permutation_test(own, own_null)
    doubtful = (status == "ok") & ~(agreement.p <= max(0.05, agreement.floor))
    status = np.where(doubtful, "unreliable", status).astype(str)
    return _result(cosines, across, null, own, weights, status)


def _split(cosines: Float[np.ndarray, "vectors ..."]) -> tuple[float, np.ndarray]:
    """Mean cosine under the true labels and under each permutation."""
    means = cosines.reshape(len(cosines), -1).mean(axis=1)
    return float(means[0]), means[1:]


def _coefficients(
    coordinates: np.ndarray, groups: np.ndarray, n_halves: int, n_permutations: int, seed: int
) -> Float[np.ndarray, "m k n"]:
    """Coefficients of the whole sample, then [true and permuted labels, two sides, halves]."""
    rng = np.random.default_rng(seed)
    first = split_halves(groups, n_halves, rng)
    unit, member = arrays.one_per_group(groups, {"labels": coordinates})
    orders = permute_groups(unit[member], groups, n_permutations, rng)
    labels = np.concatenate([coordinates[None], coordinates[orders]])
    sides = np.stack([first, ~first]).astype(float)
    k, n = coordinates.shape[::-1]
    # One label vector at a time, as the coefficients of all of them are copied often enough.
    rows = [pattern_coefficients(points, sides).reshape(-1, k, n) for points in labels]
    rows = np.concatenate([pattern_coefficients(coordinates, np.ones(n))[None], *rows])
    rank = np.linalg.matrix_rank(rows @ rows.swapaxes(1, 2), hermitian=True, rtol=SINGULAR).min()
    if rank < k:
        raise ValueError(
            f"labels span {rank} of the shape's {k} dimensions in the sample or a half of its "
            f"{len(unit)} groups; give more groups or a shape of fewer dimensions"
        )
    return rows


def _bases(rows: np.ndarray, coefficients: np.ndarray) -> Float[np.ndarray, "m d k"]:
    """Orthonormal bases of the row spaces of all patterns of centred rows [n, d]."""
    m, k, n = coefficients.shape
    patterns = (coefficients.reshape(m * k, n) @ rows).reshape(m, k, -1)
    return np.linalg.qr(patterns.swapaxes(1, 2))[0]


def _result(
    cosines: np.ndarray,
    across: np.ndarray,
    null: np.ndarray,
    own: np.ndarray,
    weights: np.ndarray,
    status: np.ndarray,
) -> SubspaceSimilarity:
    """Lay out a result from pairs filled above the diagonal only."""

    def symmetric(pairs: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(pairs), pairs.swapaxes(0, 1), pairs)

    test = permutation_test(across, null)
    reliability = np.where(status == "ok", own, np.nan)
    overlap = np.abs(weights @ weights.T)
    np.fill_diagonal(overlap, np.nan)
    return SubspaceSimilarity(
        similarity=symmetric(cosines.mean(axis=-1)),
        angles=symmetric(np.degrees(np.arccos(cosines))),
        reliability=own,
        corrected=symmetric(across) / np.sqrt(np.outer(reliability, reliability)),
        z=symmetric(test.z),
        p=symmetric(test.p),
        p_family=symmetric(test.p_family),
        weight_cosine=overlap,
        status=status,
    )
