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
from interp.alignment._pairing import Pairing, pairing_test, permuted_within
from interp.alignment._scores import OK, PairingScores, cosines, grouped, taken, unit_rows
from interp.arrays import Arraylike, activations, centred_gram
from interp.stats import grouped_folds


def linear_cka(A: Arraylike, B: Arraylike, *, groups: Arraylike | None = None) -> float:
    """Debiased linear CKA of two sides, whose widths may differ; NaN where one does not vary, and
    for fewer than four rows, which the estimator needs (Kornblith et al. 2019; Song et al. 2012).

    Pairs of one of the `groups` count once, by their mean: copies are alike on both sides, which
    the estimator would take for likeness of the sides. By default pairs that are equal on both
    sides are one group, with a warning. Raises ValueError for sides of different length, and as
    `interp.arrays.activations`; activations that are not finite give NaN.
    """
    K, L, size, _ = _geometries(A, B, groups)
    return _hsic(K, L) / size if size > 0 else np.nan


def cka_permutations(
    A: Arraylike,
    B: Arraylike,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    n_permutations: int = 199,
    seed: int = 0,
) -> Float[np.ndarray, " permutations"]:
    """`linear_cka` with partners exchanged within strata: templates make two geometries alike
    whatever the texts say, and 0 is then no null.

    With one seed and the same strata the exchanges are the same, so that several depths may be
    held to their maximum (`interp.stats.permutation_test`). NaN, and ValueError, as `linear_cka`;
    ValueError unless there is a stratum for each pair.
    """
    kinds = np.zeros(len(A), dtype=int) if strata is None else arrays.labels(strata, len(A))
    K, L, size, first = _geometries(A, B, groups)
    kinds, rng = kinds[first], np.random.default_rng(seed)
    rows_of = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    null = np.full(n_permutations, np.nan)
    for draw in range(n_permutations if size > 0 else 0):
        order = permuted_within(rows_of, rng)
        null[draw] = _hsic(K, L[np.ix_(order, order)]) / size
    return null


def _geometries(
    A: Arraylike, B: Arraylike, groups: Arraylike | None
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Both sides' Gram matrices of groups, what their likeness is divided by (NaN where it is not
    defined), and the first row of each group."""
    A = activations(A, name="the first side")
    B = activations(B, name="the second side", n=len(A))
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        return A, B, np.nan, np.arange(len(A))
    first = np.arange(len(A))
    if (member := grouped(A, B, groups)) is not None:
        A, B = (arrays.group_means(side, member) for side in (A, B))
        first = np.unique(member, return_index=True)[1]
    K, L = (_gram_without_diagonal(side) for side in (A, B))
    own = _hsic(K, K) * _hsic(L, L)
    return K, L, np.sqrt(own) if own > 0 else np.nan, first


def _gram_without_diagonal(side: np.ndarray) -> Float[np.ndarray, "n n"]:
    gram = centred_gram(side)  # the estimator does not depend on the mean
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
class HeldOutRotation:
    """Scores after a rotation that was fitted on other pairs."""

    scores: PairingScores
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
) -> HeldOutRotation:
    """Rotate held-out rows of `A` onto `B` (Schönemann 1966), each side centred by training rows.

    With more features than training pairs a rotation is determined only between the spaces that
    those pairs span; the rest of a held-out row is dropped. Folds never split one of the `groups`,
    as in `cosines`. The scores carry what a test needs to fit the rotation
    anew for every re-pairing: a rotation that was fitted on the true pairs alone makes pairs of
    noise fit, and p <= .05 in a tenth of data sets. Raises ValueError where `cosines` does, and for
    more folds than groups.
    """
    A, B = taken(A, B)
    scores = cosines(A, B, groups=groups, centre=True)
    n = len(A)
    member = np.arange(n) if scores.groups is None else scores.groups
    own, target = _coordinates(A), _coordinates(B)
    folds = [_Fold.of(own, target, *rows) for rows in grouped_folds(member, n_splits, seed)]
    values, fold_of = np.zeros((n, n)), np.empty(n, dtype=int)
    for number, fold in enumerate(folds):
        fold_of[fold.test] = number
        if scores.status == OK:
            rotated, mine = fold.rotated(target, np.arange(n))
            values[np.ix_(fold.test, fold.test)] = rotated @ mine.T
    names = [f"fold {fold + 1}" for fold in fold_of]
    if strata is not None:
        strata = arrays.labels(strata, n, name="strata")
        names = [f"{name}, {stratum}" for name, stratum in zip(names, strata, strict=True)]
    refit = partial(_refitted_sum, folds, target)
    fitted = PairingScores(values, scores.resolution, scores.status, refit, scores.groups)
    return HeldOutRotation(fitted, np.array(names))


def _refitted_sum(folds: list["_Fold"], target: np.ndarray, order: np.ndarray) -> float:
    """Sum over folds of the cosines of held-out pairs, with row i paired with candidate order[i]
    in the fit as well."""
    pairs = (fold.rotated(target, order) for fold in folds)
    return sum(float((rotated * mine).sum()) for rotated, mine in pairs)


def _coordinates(rows: np.ndarray) -> Float[np.ndarray, "n rank"]:
    """Rows about their mean, in coordinates of the space that they span: whatever is turned stays
    in it, and the fits of hundreds of re-pairings work on n columns instead of d."""
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    n, d = centred.shape
    return np.linalg.qr(centred.T).R.T if d > n else centred


@dataclass(frozen=True)
class _Fold:
    """One fold, with what re-pairings within it leave as it is: the spaces of both sides."""

    train: np.ndarray
    test: np.ndarray
    basis: np.ndarray
    """What the training rows span, [rank, directions]."""
    inside: np.ndarray
    """Training rows about their mean, in that basis, [directions, train]."""
    moved: np.ndarray
    """Held-out rows about the training mean, in that basis, [test, directions]."""
    other: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Of the second side's training rows: mean, basis, and the rows in it."""

    @classmethod
    def of(
        cls, rows: np.ndarray, target: np.ndarray, train: np.ndarray, test: np.ndarray
    ) -> "_Fold":
        centre = rows[train].mean(axis=0)
        basis, inside = _spanned(rows[train] - centre)
        moved = (rows[test] - centre) @ basis
        return cls(train, test, basis, inside, moved, _about_mean(target[train]))

    def rotated(self, target: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Held-out rows after the rotation onto `target[order]` that training rows fit, and theirs
        of `target[order]`; unit rows."""
        partners = order[self.train]
        if np.array_equal(np.sort(partners), np.sort(self.train)):
            places = np.argsort(self.train)[np.searchsorted(np.sort(self.train), partners)]
            centre, basis, inside = self.other
            inside = inside[:, places]
        else:
            centre, basis, inside = _about_mean(target[partners])
        U, singular, Vt = np.linalg.svd(self.inside @ inside.T, full_matrices=False)
        # Directions without any covariance are not determined; rounding would turn them at random.
        # A singular value carries the rounding of sums of as many terms as there are rows.
        kept = singular > singular[0] * len(self.train) * np.finfo(float).eps
        rotation = U[:, kept] @ Vt[kept]
        return unit_rows(self.moved @ rotation @ basis.T), unit_rows(
            target[order[self.test]] - centre
        )


def _about_mean(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre = rows.mean(axis=0)
    return centre, *_spanned(rows - centre)


def _spanned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of few rows' space and the rows in it, as columns; where there are more
    rows than dimensions all dimensions do."""
    if len(rows) > rows.shape[1]:
        return np.eye(rows.shape[1]), rows.T
    return np.linalg.qr(rows.T)


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
    groups: Arraylike | None = None,
    n_components: int = 10,
    inside: tuple[int, ...] = (2, 5, 10),
) -> Components:
    """PCA of all rows of both sides, and what pairs do inside its first components.

    Components are those of all rows whatever the pairs are, so that scrambling need not refit them.
    `groups` as in `cosines`. Fewer components are kept where the data have no more. Raises
    ValueError where `cosines` does.
    """
    A, B = taken(A, B)
    member = grouped(A, B, groups)
    n, d = A.shape
    own = np.arange(n) if member is None else member
    both = np.concatenate([A, B]).astype(np.float64)
    pca = PCA(min(n_components, d, 2 * n - 1), svd_solver="full")
    points = pca.fit_transform(both).reshape(2, n, -1)
    within = np.sqrt(points.var(axis=1, ddof=1).mean(axis=0))
    apart = points[0].mean(axis=0) - points[1].mean(axis=0)
    return Components(
        explained=pca.explained_variance_ratio_,
        separation=np.divide(apart, within, out=np.full_like(apart, np.nan), where=within > 0),
        inside={
            k: pairing_test(cosines(*points[:, :, :k], groups=own, centre=True), strata)
            for k in inside
            if k <= points.shape[2]
        },
        points=points,
    )
