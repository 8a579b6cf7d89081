"""LEACE: the smallest change to activations after which no linear probe tells the classes.

Belrose et al. 2023 ("LEACE: perfect linear concept erasure in closed form", theorem 4.3). With the
covariance S of the rows, their cross-covariance c with the one-hot classes, W = S^-1/2 and P the
projection on the columns of W c:

    r(x) = x - W^-1 P W (x - mean).

After it every class has one mean, so that no linear probe of *these* rows beats a constant. It is
one direction for two classes, and takes as little as can be; the difference of means, projected
out, takes more where noise is unequal. S is shrunk (Ledoit & Wolf 2004): the classes' means are
equal for any W, so that shrinkage costs length and no erasure.

A probe of the rows that an eraser was fitted on has nothing left by construction. `erasure_test`
therefore gives eraser, probe and score a third of the groups each, in turn.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.covariance import ledoit_wolf

from interp import arrays
from interp.arrays import Arraylike
from interp.probes._across import heldout_accuracy
from interp.probes._direction import finite_rows, means_coincide
from interp.stats import grouped_folds

THIRDS = 3
"""Parts of the groups: for an eraser, a probe and its score."""


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


@dataclass(frozen=True)
class Erasure:
    """Balanced accuracy of probes before and after an eraser of other groups is applied."""

    before: float
    """Fitted on one third of the groups, scored on another."""
    after: float
    """That of probes fitted and scored after what tells the classes in the last third is erased."""


def erasure_test(
    activations: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"],
    C: float | int = 1.0,
    seed: int = 42,
) -> Erasure | None:
    """What a linear probe tells of two classes, 0 and 1, after the eraser of other groups.

    Chance is .5: it is reached where one direction, alike in all groups, holds everything and a
    third of them suffices to find it. None for fewer than three groups, classes of one mean, or a
    third that lacks a class. `C` is the inverse strength of the probes' L2 penalty.
    """
    if len(np.unique(groups)) < THIRDS or means_coincide(activations, y):
        return None
    parts = [test for _, test in grouped_folds(groups, THIRDS, seed)]
    if any(len(set(y[part])) < 2 for part in parts):
        return None
    scores = []
    for turn in range(THIRDS):
        own, train, test = (parts[(turn + step) % THIRDS] for step in range(THIRDS))
        erased = leace(activations[own], y[own]).apply(activations)
        for rows in (activations.astype(np.float64), erased):
            scores.append(heldout_accuracy(rows, y, train, test, n_classes=2, C=C))
    before, after = np.reshape(scores, (THIRDS, 2)).mean(axis=0)
    return Erasure(float(before), float(after))
