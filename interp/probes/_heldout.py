"""Held-out decision values of one cell for many label vectors.

Per fold: (1) features scaled by the training rows' statistics; (2) rotated onto the training rows'
space where rows are fewer than features (`RowSpace`; after the scaling, which no rotation
survives); (3) a linear model per label vector on those coordinates. Only (3) depends on the labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, Shaped
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from interp.probes._logistic import fit_logistic
from interp.probes._rowspace import RowSpace


class UndefinedProbe(Exception):
    """The true labels cannot be probed; the message is the cell's status."""


@dataclass(frozen=True)
class ProbeFit:
    """How a probe is fitted."""

    n_classes: int | None
    """K; None for numbers."""
    C: float | int
    """Inverse strength of the L2 penalty."""
    standardise: bool
    """Whether features are scaled by the training rows' statistics."""


def heldout_values(
    rows: Float[np.ndarray, "n d"],
    labels: Shaped[np.ndarray, "vectors n"],
    fold: Integer[np.ndarray, " n"],
    fit: ProbeFit,
    *,
    weights: Float[np.ndarray, "vectors n"] | None = None,
) -> tuple[Float[np.ndarray, "vectors n columns"], Float[np.ndarray, "vectors n"]]:
    """Decision values of every row by probes fitted on the other folds, and training means, with
    rows weighed by `weights` for each label vector.

    A label vector that some fold's training rows leave without a class is NaN; if that is the
    first, which holds the true labels, or if its fit does not converge, raises `UndefinedProbe`.
    """
    columns = 1 if fit.n_classes in (None, 2) else fit.n_classes
    values = np.full((len(labels), len(rows), columns), np.nan)
    means = np.full(labels.shape, np.nan)
    defined = np.ones(len(labels), dtype=bool)
    for held_out in np.unique(fold):
        train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        defined &= _holds_every_class(labels[:, train], fit.n_classes)
        if not train.size or not defined[0]:
            raise UndefinedProbe("one fold" if not train.size else "a fold lacks a class")
        features = _features(rows, train, fit)
        which = np.flatnonzero(defined)
        given = None if weights is None else weights[np.ix_(which, train)]
        decided, converged = _decide(
            features[train], labels[np.ix_(which, train)], features[test], fit, given
        )
        if not converged.all():
            raise UndefinedProbe("not converged")
        values[np.ix_(which, test)] = decided
        if fit.n_classes is None:
            each = None if weights is None else weights[:, train]
            means[:, test] = np.average(labels[:, train], axis=1, weights=each)[:, None]
    values[~defined] = np.nan
    return values, means


def _features(rows: np.ndarray, train: np.ndarray, fit: ProbeFit) -> np.ndarray:
    """Rows scaled and rotated by what the training rows give."""
    if fit.standardise:
        rows = np.asarray(StandardScaler().fit(rows[train]).transform(rows))
    if len(train) < rows.shape[1]:
        rows = RowSpace().fit(rows[train]).transform(rows)
    return rows


def features_of(rows: Float[np.ndarray, "n d"], fit: ProbeFit) -> Float[np.ndarray, "n k"]:
    """All rows, scaled and rotated by themselves."""
    return _features(rows, np.arange(len(rows)), fit)


def _decide(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    fit: ProbeFit,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    if fit.n_classes is None and weights is not None:
        predicted = [
            Ridge(alpha=1 / fit.C).fit(train, y, sample_weight=w).predict(test)
            for y, w in zip(labels, weights, strict=True)
        ]
        return np.array(predicted)[..., None], np.ones(len(labels), dtype=bool)
    if fit.n_classes is None:
        ridge = Ridge(alpha=1 / fit.C).fit(train, labels.T)
        predicted = ridge.predict(test).reshape(len(test), -1)
        return predicted.T[..., None], np.ones(len(labels), dtype=bool)
    probes = fit_logistic(train, labels, fit.n_classes, C=fit.C, sample_weights=weights)
    return probes.decisions(test), probes.converged


def _holds_every_class(labels: np.ndarray, n_classes: int | None) -> np.ndarray:
    if n_classes is None:
        return np.ones(len(labels), dtype=bool)
    return np.all([(labels == k).any(axis=1) for k in range(n_classes)], axis=0)
