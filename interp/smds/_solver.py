"""Ridge regression with a free intercept, held-out predictions from one Gram matrix.

With centred rows X, K = X X^T and A = K + alpha I, ridge regression on rows T predicts rows S by a
*smoother* H [S, T] that depends on X alone: Z_S = H P_T for any targets P, so shapes, permutations
and controls are further columns of one product. Two exact routes lead there:

1. One Cholesky factor of A[T, T] per fold. With s = A_TT^-1 1,
   H = K_ST A_TT^-1 - (K_ST s - 1) s^T / (1^T s).
2. One inverse for all folds. G, the upper left block of the inverse of [[A, 1], [1^T, 0]], carries
   the intercept; leaving S out gives Z_S = P_S - G_SS^-1 (G P)_S, so H = -G_SS^-1 G_ST
   (block down-dating, as for leave-one-out in Cook & Weisberg 1982).

Where W itself is wanted, for features scaled by the training rows or for rows of another position:
W = X_T^T A_TT^-1 (P_T - mean P_T) for X centred by the training rows, whose intercept is mean P_T.

Route 1 costs a factor of about 2 n^3 / 3 per fold at three folds and nearly n^3 at ten, route 2 n^3
once and little per fold.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from scipy.linalg import get_lapack_funcs

Train = Integer[np.ndarray, " train"]
Test = Integer[np.ndarray, " test"]
Block = Integer[np.ndarray, " _"]  # blocks of one list differ in size

# Eigenvalues of M M^T are squares, so a direction of less than 1e-6 of the longest is hardly more
# than their rounding: targets that do not span it leave it out.
SPANNED = 1e-12

# LAPACK itself: scipy's own wrappers check and copy, which for blocks of some 80 rows costs more
# than the arithmetic.
_potrf, _potrs, _potri, _posv = get_lapack_funcs(
    ("potrf", "potrs", "potri", "posv"), dtype=np.float64
)


def _factor(matrix: np.ndarray) -> np.ndarray:
    factor, info = _potrf(matrix, lower=1)
    if info:
        raise np.linalg.LinAlgError(
            f"leading minor {info} of K + alpha I is not positive; use a larger alpha"
        )
    return factor


def _block(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    # Rows first, as whole lines of memory: a third of the time of one indexing by both.
    return matrix[rows][:, columns]


def _regularised(kernel: np.ndarray, alpha: float | int) -> np.ndarray:
    kernel[np.diag_indices_from(kernel)] += alpha
    return kernel.T  # symmetric, and in LAPACK's column order without a copy


def fold_predictions(
    kernel: Float[np.ndarray, "n n"],
    train: Train,
    test: Test,
    targets: Float[np.ndarray, "train columns"],
    *,
    alpha: float | int,
) -> Float[np.ndarray, "test columns"]:
    """Predictions of the test rows by route 1, through H or, for few targets, without it."""
    factor = _factor(_regularised(_block(kernel, train, train), alpha))
    cross = _block(kernel, train, test)
    # Whichever is the narrower goes through the factor; the other waits for one product.
    few = targets.shape[1] < len(test)
    right = np.column_stack([targets if few else cross, np.ones(len(train))])
    solved = _potrs(factor, right, lower=1)[0]
    ones = solved[:, -1]
    if few:
        intercept = solved[:, :-1].sum(axis=0) / ones.sum()
        return cross.T @ (solved[:, :-1] - np.outer(ones, intercept)) + intercept
    smoother = solved[:, :-1].T - np.outer((cross.T @ ones - 1) / ones.sum(), ones)
    return smoother @ targets


def ridge_map(
    rows: Float[np.ndarray, "train d"],
    targets: Float[np.ndarray, "train columns"],
    *,
    alpha: float | int,
) -> Float[np.ndarray, "d columns"]:
    """Weights of ridge regression on rows of mean 0, whose intercept is the targets' mean."""
    factor = _factor(_regularised(rows @ rows.T, alpha))
    return rows.T @ _potrs(factor, targets - targets.mean(axis=0), lower=1)[0]


def orthonormal_map(
    rows: Float[np.ndarray, "train d"],
    targets: Float[np.ndarray, "train columns"],
    slices: Sequence[tuple[slice, int]],
) -> Float[np.ndarray, "d columns"]:
    """Projections with orthonormal axes, one for each run of `width` columns of a slice.

    W = U V^T of the SVD of M = P^T X [k, d] (orthogonal Procrustes, Schoenemann 1966) equals
    (M M^T)^-1/2 M, so a null of hundreds of label vectors needs no SVD, and all M are one product.
    Rows have mean 0.
    """
    weights = (targets - targets.mean(axis=0)).T @ rows
    for columns, width in slices:
        stacked = weights[columns].reshape(-1, width, weights.shape[1])
        root = _inverse_root(stacked @ stacked.transpose(0, 2, 1))
        weights[columns] = (root @ stacked).reshape(-1, weights.shape[1])
    return weights.T


def _inverse_root(squares: Float[np.ndarray, "vectors k k"]) -> Float[np.ndarray, "vectors k k"]:
    values, vectors = np.linalg.eigh(squares)
    scale = 1 / np.sqrt(np.where(values > SPANNED * values[:, -1:], values, np.inf))
    return (vectors * scale[:, None, :]) @ vectors.transpose(0, 2, 1)


def intercept_inverse(
    kernel: Float[np.ndarray, "n n"], *, alpha: float | int
) -> Float[np.ndarray, "n n"]:
    """G of route 2, [n, n]: G @ P are the dual coefficients of ridge with a free intercept."""
    lower = _potri(_factor(_regularised(kernel.copy(), alpha)), lower=1)[0]
    inverse = lower + np.tril(lower, -1).T  # potri leaves the upper triangle of its input, 0
    ones = inverse.sum(axis=1)
    inverse -= np.outer(ones / ones.sum(), ones)
    return inverse


def downdated_predictions(
    inverse: Float[np.ndarray, "n n"],
    train: Train,
    test: Test,
    targets: Float[np.ndarray, "train columns"],
) -> Float[np.ndarray, "test columns"]:
    """Predictions of the test rows by route 2; equal to `fold_predictions` up to rounding."""
    across = _block(inverse, test, train) @ targets
    return -_potrs(_factor(_block(inverse, test, test).T), across, lower=1)[0]


def left_out_residuals(
    inverse: np.ndarray, coefficients: np.ndarray, blocks: list[Block]
) -> np.ndarray:
    """P - Z when each block of rows in turn is left out: G_SS^-1 (G P)_S, in row order.

    `inverse` [n, n] is G, `coefficients` [n, targets] G @ P, and so the result. The blocks
    partition the rows. Plain annotations, since a null calls this for every permutation.
    """
    residuals = np.empty_like(coefficients)
    # A null takes thousands of blocks: flat `take` gathers one in 0.6 of the time of an index pair,
    # and as G is symmetric neither its memory order nor the block's transposition matters.
    flat = inverse.ravel(order="K")
    for rows in blocks:
        block = flat.take(rows[:, None] * len(inverse) + rows)
        _, solved, info = _posv(block.T, coefficients[rows], lower=1, overwrite_a=1)
        if info:
            raise np.linalg.LinAlgError(
                f"a left-out block of {len(rows)} rows cannot be solved; use a larger alpha"
            )
        residuals[rows] = solved
    return residuals
