"""Held-out predictions of one cell, by each way of fitting that a design may ask for.

1. Ridge regression on the activations as they are: one Gram matrix serves all folds, label vectors
   and left-out categories (`interp.smds._solver`).
2. Ridge regression on standardised features, or by the map of another position: features have the
   training rows' statistics, so each fold has its own Gram matrix and its map W is written out.
3. A projection with orthonormal rows (orthogonal Procrustes): no Gram matrix at all.

Activations come in centred by all rows, which changes no prediction, as every map has a free
intercept, but keeps a large common offset from costing digits.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial.distance import pdist

from interp.smds._design import CellScores, Design, Frame
from interp.smds._leaveout import angle_error, left_out_predictions
from interp.smds._scaling import stress_score
from interp.smds._solver import (
    downdated_predictions,
    fold_predictions,
    intercept_inverse,
    orthonormal_map,
    ridge_map,
)
from interp.stats import r_squared

# Root mean square deviation, relative to the activations, up to which rows count as one row, and
# the values of a feature as one value. The same token after the same context yields rows that
# differ only by the rounding of batched float32 kernels, measured at some 1e-6 of the row; the
# weakest real signals lie above 1e-4.
ROUNDING = 1e-5

# Five or fewer factors of a fold cost less than one inverse of all rows and its down-dates.
FOLDS_BY_CHOLESKY = 5


@dataclass(frozen=True)
class Rows:
    """One position's activations in float64."""

    status: str
    """ "ok", "non-finite" or "constant" (all rows equal up to float rounding)."""
    centred: Float[np.ndarray, "n d"]
    """Activations less their mean."""
    floor: Float[np.ndarray, " d"]
    """Standard deviation of each feature below which it varies by rounding alone."""

    @classmethod
    def of(cls, activations: Shaped[np.ndarray, "n d"]) -> "Rows":
        """Centre and check activations [n, d]."""
        # float64 whatever the input; see `interp.arrays.centred_gram`.
        rows = activations.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = rows.mean(axis=0)
            rows -= mean
            power = np.vdot(rows, rows)
            whole = power + len(rows) * mean @ mean
        status = "constant" if power <= ROUNDING**2 * whole else "ok"
        return cls(status if np.isfinite(whole) else "non-finite", rows, ROUNDING * np.abs(mean))

    def for_fold(self, train: np.ndarray, *, standardise: bool) -> Float[np.ndarray, "n d"]:
        """Rows centred, and scaled if asked, by the statistics of the training rows."""
        rows = self.centred - self.centred[train].mean(axis=0)
        if standardise:
            deviation = rows[train].std(axis=0)
            rows /= np.where(deviation > self.floor, deviation, 1)
        return rows


def fit_maps(source: Rows, design: Design) -> list[np.ndarray]:
    """Weights [d, columns] of each fold, fitted on the training rows of one position."""
    fit, maps = design.fit, []
    for (train, _), targets in zip(design.folds, design.columns, strict=True):
        rows = source.for_fold(train, standardise=fit.standardise)[train]
        maps.append(
            orthonormal_map(rows, targets, design.slices)
            if fit.orthonormal
            else ridge_map(rows, targets, alpha=fit.alpha)
        )
    return maps


def predict(
    rows: Rows, maps: list[np.ndarray] | None, design: Design, result: CellScores
) -> list[np.ndarray]:
    """Held-out predictions [test, columns] of each fold; fills what is pooled over folds.

    `maps` are those of another position; without them the position's own are fitted.
    """
    inverse = None
    if design.fit.shares_gram:
        kernel = rows.centred @ rows.centred.T
        if len(design.folds) > FOLDS_BY_CHOLESKY or design.leaves_out:
            inverse = intercept_inverse(kernel, alpha=design.fit.alpha)
        predictions = [
            fold_predictions(kernel, *fold, table, alpha=design.fit.alpha)
            if inverse is None
            else downdated_predictions(inverse, *fold, table)
            for fold, table in zip(design.folds, design.columns, strict=True)
        ]
    else:
        predictions = [
            rows.for_fold(train, standardise=design.fit.standardise)[test] @ weights
            + targets.mean(axis=0)
            for (train, test), targets, weights in zip(
                design.folds, design.columns, maps or fit_maps(rows, design), strict=True
            )
        ]
    if design.frame is not None:
        _pool(predictions, design, design.frame, result)
        if inverse is not None and design.frame.blocks is not None:
            _leave_out(inverse, design.frame, design.frame.blocks, result)
    return predictions


def _pool(predictions: list[np.ndarray], design: Design, frame: Frame, result: CellScores) -> None:
    vectors = 1 + design.n_permutations if design.fit.source is not None else 1
    pooled = np.empty_like(frame.coordinates[:, :vectors])
    for (_, test), predicted in zip(design.folds, predictions, strict=True):
        pooled[test] = predicted[:, : pooled[0].size].reshape(len(test), *pooled.shape[1:])
    truth = frame.coordinates[:, :1]
    result.kfold[0] = r_squared(truth, pooled[:, :1])[0]
    if frame.period is not None:
        result.kfold[1] = angle_error(truth[:, 0], pooled[:, 0], frame.period)
    if design.fit.source is not None:
        result.agreement[:] = _agreement(pooled, truth)


def _agreement(
    pooled: Float[np.ndarray, "n vectors k"], truth: Float[np.ndarray, "n 1 k"]
) -> Float[np.ndarray, " vectors"]:
    """Cosine of the predictions of each map with the true coordinates, both about their means."""
    centred, ideal = (points - points.mean(axis=0) for points in (pooled, truth))
    along = (centred * ideal).sum(axis=(0, 2))
    return along / np.sqrt((centred**2).sum(axis=(0, 2)) * (ideal**2).sum())


def _leave_out(
    inverse: np.ndarray, frame: Frame, blocks: list[list[np.ndarray]], result: CellScores
) -> None:
    predicted = left_out_predictions(inverse, frame.coordinates, blocks)
    r2 = r_squared(frame.coordinates, predicted)
    truth = frame.coordinates[:, 0]
    result.left_out[:2] = stress_score(pdist(truth), pdist(predicted[:, 0])), r2[0]
    if frame.period is not None:
        result.left_out[2] = angle_error(truth, predicted[:, 0], frame.period)
    result.left_out_null[:] = r2[1:]
