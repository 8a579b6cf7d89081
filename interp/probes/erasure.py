"""LEACE: the smallest change to activations after which no linear probe tells the classes.

Belrose et al. 2023 ("LEACE: perfect linear concept erasure in closed form", theorem 4.3). With the
covariance S of the rows, their cross-covariance c with the one-hot classes, W = S^-1/2 and P the
projection on the columns of W c:

    r(x) = x - W^-1 P W (x - mean).

After it every class has one mean, so that no linear probe of *these* rows beats a constant. It is
one direction for two classes, and takes as little as can be; the difference of means, projected
out, takes more where noise is unequal. S is shrunk (Ledoit & Wolf 2004): the classes' means are
equal for any W, so that shrinkage costs length and no erasure.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf

from interp import arrays
from interp.arrays import Arraylike
from interp.probes.direction import finite_rows


@dataclass(frozen=True)
class Eraser:
    """What tells the classes of some rows linearly, to be taken out of any."""

    mean: Float[np.ndarray, " d"]
    """Mean of the rows."""
    read: Float[np.ndarray, "k d"]
    """What is read of a row less the mean; one row fewer than classes."""
    written: Float[np.ndarray, "d k"]
    """What is taken away for it."""

    def apply(self, activations: Arraylike) -> Float[np.ndarray, "n d"]:
        """Rows without it. Raises ValueError for rows of another width."""
        rows = finite_rows(activations)
        if rows.shape[1] != len(self.mean):
            raise ValueError(f"rows have {rows.shape[1]} dimensions, the eraser {len(self.mean)}")
        return rows - (rows - self.mean) @ self.read.T @ self.written.T


def leace(activations: Arraylike, y: Arraylike) -> Eraser:
    """The eraser of the classes `y` from activations [n, d].

    Raises ValueError for a single class, and activations that are not finite.
    """
    rows = finite_rows(activations)
    names, codes = np.unique(arrays.labels(y, len(rows)), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"y holds one class, {names.tolist()}; there is nothing to erase")
    mean = rows.mean(axis=0)
    # one class less: the last follows from the others
    one_hot = np.eye(len(names))[codes][:, :-1]
    cross = (rows - mean).T @ (one_hot - one_hot.mean(axis=0)) / len(rows)
    values, axes = np.linalg.eigh(ledoit_wolf(rows)[0])
    # a dimension that never varies is told by nobody, and must not be divided by
    root = np.sqrt(np.maximum(values, 1e-12 * values.max()))
    whitened = (axes / root) @ axes.T @ cross
    basis, lengths, _ = np.linalg.svd(whitened, full_matrices=False)
    # classes of one mean bring rounding, which would be erased as if it told them
    basis = basis[:, lengths > 1e-10 * max(float(np.sqrt(len(names))), lengths.max())]
    return Eraser(mean, basis.T @ (axes / root) @ axes.T, (axes * root) @ axes.T @ basis)
