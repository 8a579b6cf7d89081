"""Alignment beyond the cosine of pairs: shared geometry, a rotation between sides, and main axes.

1. Debiased linear CKA compares the two sides' similarity structures, without a map between them.
   The plain form is far above 0 for unrelated sides of few rows and many features; the unbiased
   estimator of HSIC (Song et al. 2012, eq. 5) is 0 there on average.
2. Held-out Procrustes fits the rotation that takes one side to the other on some pairs and scores
   it on pairs it has not seen.
3. Principal components of both sides together show how much of the variance separates them, and
   whether pairs agree inside the largest components.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.decomposition import PCA

from interp import arrays
from interp.alignment.pairing import Pairing, one_group_each, pairing_test
from interp.alignment.scores import OK, Scores, cosines, taken
from interp.arrays import Arraylike, activations
from interp.stats import grouped_folds


def linear_cka(A: Arraylike, B: Arraylike) -> float:
    """Debiased linear CKA of two sides, whose widths may differ; NaN where one does not vary, and
    for fewer than four rows, which the estimator needs (Kornblith et al. 2019; Song et al. 2012).

    Raises ValueError for sides of different length, and as `interp.arrays.activations`.
    """
    A = activations(A, name="the first side")
    B = activations(B, name="the second side", n=len(A))
    K, L = (_gram_without_diagonal(side) for side in (A, B))
    own = _hsic(K, K) * _hsic(L, L)
    return _hsic(K, L) / np.sqrt(own) if own > 0 else np.nan


def _gram_without_diagonal(side: np.ndarray) -> Float[np.ndarray, "n n"]:
    # The estimator does not depend on the mean, but a large one would cost digits.
    rows = side.astype(np.float64)
    rows -= rows.mean(axis=0)
    gram = rows @ rows.T
    np.fill_diagonal(gram, 0)
    return gram


def _hsic(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    if n < 4:
        return np.nan
    level = K.sum() * L.sum() / ((n - 1) * (n - 2))
    cross = 2 * K.sum(axis=0) @ L.sum(axis=0) / (n - 2)
    return float(((K * L).sum() + level - cross) / (n * (n - 3)))


@dataclass(frozen=True)
class HeldOut:
    """Scores after a rotation that was fitted on other pairs."""

    scores: Scores
    """Cosine of the rotated row i with row j; comparable, and kept, within a fold only: elsewhere
    it is 0."""
    folds: Shaped[np.ndarray, " n"]
    """Fold of each pair, and its stratum if there are any: what re-pairing stays within."""


def heldout_procrustes(
    A: Arraylike,
    B: Arraylike,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    n_splits: int = 5,
    seed: int = 0,
) -> HeldOut:
    """Rotate held-out rows of `A` onto `B` (Schönemann 1966), each side centred by training rows.

    With more features than training pairs a rotation is determined only between the spaces that
    those pairs span; the rest of a held-out row is dropped. Folds never split a group; pairs equal
    on both sides are one by construction. The scores carry what a test needs to fit the rotation
    anew for every re-pairing: a rotation that was fitted on the true pairs alone makes pairs of
    noise fit, and p <= .05 in a tenth of data sets. Raises ValueError where `cosines` does, and for
    more folds than groups.
    """
    A, B = taken(A, B)
    status = cosines(A, B, centre=True)
    groups = one_group_each(A, B) if groups is None else arrays.groups(groups, len(A))
    folds = grouped_folds(groups, n_splits, seed)
    n, first, second = len(A), A.astype(np.float64), B.astype(np.float64)
    values, fold_of = np.zeros((n, n)), np.empty(n, dtype=int)
    for number, (train, test) in enumerate(folds):
        fold_of[test] = number
        if status.status == OK:
            rotated, target = _rotated(first, second, train, test)
            values[np.ix_(test, test)] = _unit(rotated) @ _unit(target).T
    names = [f"fold {fold + 1}" for fold in fold_of]
    if strata is not None:
        strata = arrays.labels(strata, n, name="strata")
        names = [f"{name}, {stratum}" for name, stratum in zip(names, strata, strict=True)]
    refit = partial(_refitted_sum, first, second, folds)
    return HeldOut(Scores(values, status.resolution, status.status, refit, groups), np.array(names))


def _refitted_sum(
    A: np.ndarray,
    B: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
    order: np.ndarray,
) -> float:
    """Sum over folds of the cosines of held-out pairs, with row i paired with candidate order[i]
    in the fit as well."""
    paired, total = B[order], 0.0
    for train, test in folds:
        rotated, target = _rotated(A, paired, train, test)
        total += float((_unit(rotated) * _unit(target)).sum())
    return total


def _rotated(
    A: np.ndarray, B: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    centre_a, centre_b = A[train].mean(axis=0), B[train].mean(axis=0)
    basis_a, R = np.linalg.qr((A[train] - centre_a).T)
    basis_b, S = np.linalg.qr((B[train] - centre_b).T)
    U, singular, Vt = np.linalg.svd(R @ S.T)
    # Directions without any covariance are not determined; rounding would turn them at random.
    kept = singular > singular[0] * len(train) * np.finfo(float).eps
    rotation = U[:, kept] @ Vt[kept]
    return (A[test] - centre_a) @ basis_a @ rotation @ basis_b.T, B[test] - centre_b


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


@dataclass(frozen=True)
class Components:
    """Principal components of both sides together."""

    explained: Float[np.ndarray, " components"]
    """Share of the variance that each holds."""
    separation: Float[np.ndarray, " components"]
    """Cohen's d between the sides along each: mean difference in pooled standard deviations."""
    inside: dict[int, Pairing]
    """By number of leading components: cosines of pairs inside them, each side's mean taken away,
    against scrambled pairs within strata."""
    points: Float[np.ndarray, "2 n components"]
    """Coordinates of both sides' rows, for pictures."""


def principal_components(
    A: Arraylike,
    B: Arraylike,
    strata: Arraylike | None = None,
    *,
    n_components: int = 10,
    inside: tuple[int, ...] = (2, 5, 10),
) -> Components:
    """PCA of all rows of both sides, and what pairs do inside its first components.

    Fewer components are kept where the data have no more. Raises ValueError where `cosines` does.
    """
    A, B = taken(A, B)
    n, d = A.shape
    both = np.concatenate([A, B]).astype(np.float64)
    pca = PCA(min(n_components, d, 2 * n - 1), svd_solver="full")
    points = pca.fit_transform(both).reshape(2, n, -1)
    within = np.sqrt(points.var(axis=1, ddof=1).mean(axis=0))
    apart = points[0].mean(axis=0) - points[1].mean(axis=0)
    return Components(
        explained=pca.explained_variance_ratio_,
        separation=np.divide(apart, within, out=np.full_like(apart, np.nan), where=within > 0),
        inside={
            k: pairing_test(cosines(*points[:, :, :k], centre=True), strata)
            for k in inside
            if k <= points.shape[2]
        },
        points=points,
    )
