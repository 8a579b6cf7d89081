"""Score cells of a grid: activations of one position in one block against a shared design.

Per cell: (1) one Gram matrix in float64; (2) per fold, by a Cholesky factor or by down-dating one
inverse, (3) held-out predictions for every shape, permutation and control at once; (4) scores of
the true labels in float64, of all other label vectors in the ring order of `interp.smds.pairs`;
(5) leave-one-category-out from the same inverse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial.distance import pdist

from interp.smds.leaveout import angle_error, left_out_predictions, r_squared
from interp.smds.pairs import RingPairs, sums_of_squares
from interp.smds.scaling import stress_score
from interp.smds.solver import (
    downdated_predictions,
    fold_predictions,
    gram,
    intercept_inverse,
)
from interp.smds.targets import Folds, Targets

# Root mean square deviation, relative to the activations, up to which rows count as one row. The
# same token after the same context yields rows that differ only by the rounding of batched float32
# kernels, measured at some 1e-6 of the row; the weakest real signals lie above 1e-4.
ROUNDING = 1e-5

# Five or fewer factors of a fold cost less than one inverse of all rows and its down-dates.
FOLDS_BY_CHOLESKY = 5

# Below this 1 - c^2, float32 sums (error about 1e-8 in c^2) would cost a score its sixth digit.
NEAR_PERFECT = 1e-4


@dataclass(frozen=True)
class Frame:
    """A circle of known period, in which held-out predictions of all folds can be pooled."""

    coordinates: Float[np.ndarray, "n vectors 2"]
    """Ideal coordinates of each label vector."""
    period: float
    """Length of the circle in label units."""
    blocks: list[list[np.ndarray]] | None
    """Rows of each category left out in turn, for the true labels (whose blocks the controls share)
    and for each permutation; None without leave_out."""


@dataclass(frozen=True)
class Design:
    """All that a grid's cells share."""

    folds: Folds
    """(train, test) rows."""
    targets: Sequence[Targets]
    """One per shape; the first holds the controls after the permutations."""
    columns: Sequence[np.ndarray]
    """Per fold [train, columns]: the training coordinates of shapes and label vectors abreast."""
    slices: Sequence[tuple[slice, int]]
    """Per shape its columns and their number of dimensions."""
    n_permutations: int
    """Label vectors 1 .. n_permutations of every shape are permutations of vector 0."""
    alpha: float | int
    """Ridge penalty."""
    frame: Frame | None
    """Set when the first shape is a circle of known period."""

    @property
    def leaves_out(self) -> bool:
        """Whether categories are left out in turn."""
        return self.frame is not None and self.frame.blocks is not None


@dataclass
class CellScores:
    """Results of one cell; NaN until filled, and for good when `status` is not "ok"."""

    status: str
    """"ok", or why there is no score."""
    folds: np.ndarray
    """[shapes, folds]"""
    null: np.ndarray
    """[permutations, shapes]"""
    controls: np.ndarray
    """[control vectors], first shape."""
    kfold: np.ndarray
    """Pooled K-fold (R^2, median angle error)."""
    left_out: np.ndarray
    """Leave-one-category-out (score, R^2, median angle error)."""
    left_out_null: np.ndarray
    """R^2 of [permutations, then control vectors]."""


def build_design(
    targets: Sequence[Targets],
    folds: Folds,
    *,
    n_permutations: int,
    alpha: float | int,
    frame: Frame | None,
) -> Design:
    """Training coordinates of every shape, label vector and fold, laid out as columns."""
    tables: list[np.ndarray] = []
    slices: list[tuple[slice, int]] = []
    for train, _ in folds:
        parts = [
            np.concatenate(
                [target.coordinates(vector, train) for vector in range(len(target.labels))], axis=1
            )
            for target in targets
        ]
        ends = np.cumsum([0] + [part.shape[1] for part in parts]).tolist()
        slices = [
            (slice(low, high), (high - low) // len(target.labels))
            for low, high, target in zip(ends[:-1], ends[1:], targets, strict=True)
        ]
        tables.append(np.concatenate(parts, axis=1))
    return Design(folds, targets, tables, slices, n_permutations, alpha, frame)


def empty_scores(design: Design, status: str) -> CellScores:
    """All-NaN scores under `status`."""
    shapes = len(design.targets)
    controls = len(design.targets[0].labels) - design.n_permutations - 1
    return CellScores(
        status=status,
        folds=np.full((shapes, len(design.folds)), np.nan),
        null=np.full((design.n_permutations, shapes), np.nan),
        controls=np.full(controls, np.nan),
        kfold=np.full(2, np.nan),
        left_out=np.full(3, np.nan),
        left_out_null=np.full(design.n_permutations + controls, np.nan),
    )


def activation_status(activations: Shaped[np.ndarray, "n d"]) -> str:
    """ "ok", "non-finite" or "constant" (all rows equal up to float rounding)."""
    if not np.isfinite(activations).all():
        return "non-finite"
    rows = activations.astype(np.float64)
    deviation = np.linalg.norm(rows - rows.mean(axis=0))
    return "constant" if deviation <= ROUNDING * np.linalg.norm(rows) else "ok"


def score_cells(activations: Shaped[np.ndarray, "cells n d"], design: Design) -> list[CellScores]:
    """Score several cells, sharing among them the ideal distances of each label vector."""
    results = [empty_scores(design, activation_status(cell)) for cell in activations]
    predictions = []
    for number, result in enumerate(results):
        if result.status != "ok":
            continue
        try:
            predictions.append(_predict(activations[number], design, result))
        except np.linalg.LinAlgError:
            # One cell beyond repair must not end a grid of hours.
            results[number] = empty_scores(design, "ill-conditioned")
    live = [number for number, result in enumerate(results) if result.status == "ok"]
    null = np.zeros((len(live), len(design.targets), len(design.targets[0].labels)))
    for fold, (_, test) in enumerate(design.folds):
        in_fold = [cell[fold] for cell in predictions]
        pairs = RingPairs(len(test))
        for shape, target in enumerate(design.targets):
            columns, width = design.slices[shape]
            embedded = [cell[:, columns].reshape(len(test), -1, width) for cell in in_fold]
            ideal = target.distances(0, test)
            for cell, points in enumerate(embedded):
                results[live[cell]].folds[shape, fold] = stress_score(ideal, pdist(points[:, 0]))
            scores = _fast_scores(target, test, embedded, pairs)
            null[:, shape, 1 : scores.shape[1] + 1] += scores / len(design.folds)
    for cell, number in enumerate(live):
        if np.isnan(results[number].folds).any():
            results[number] = empty_scores(design, "degenerate fold")
            continue
        results[number].null[:] = null[cell, :, 1 : design.n_permutations + 1].T
        if np.isnan(results[number].null).any():
            results[number].status = "degenerate null"
        results[number].controls[:] = null[cell, 0, design.n_permutations + 1 :]
    return results


def _predict(
    activations: Shaped[np.ndarray, "n d"], design: Design, result: CellScores
) -> list[np.ndarray]:
    """Held-out predictions [test, columns] of each fold; fills what is pooled over folds."""
    kernel, inverse = gram(activations), None
    if len(design.folds) > FOLDS_BY_CHOLESKY or design.leaves_out:
        inverse = intercept_inverse(kernel, alpha=design.alpha)
    predictions = [
        fold_predictions(kernel, *fold, table, alpha=design.alpha)
        if inverse is None
        else downdated_predictions(inverse, *fold, table)
        for fold, table in zip(design.folds, design.columns, strict=True)
    ]
    if design.frame is None:
        return predictions
    truth = design.frame.coordinates[:, :1]
    pooled = np.empty_like(truth)
    for (_, test), predicted in zip(design.folds, predictions, strict=True):
        pooled[test, 0] = predicted[:, :2]
    result.kfold[:] = (
        r_squared(truth, truth - pooled)[0],
        angle_error(truth[:, 0], pooled[:, 0], design.frame.period),
    )
    if inverse is not None and design.frame.blocks is not None:
        _leave_out(inverse, design.frame, design.frame.blocks, result)
    return predictions


def _leave_out(
    inverse: np.ndarray, frame: Frame, blocks: list[list[np.ndarray]], result: CellScores
) -> None:
    predicted = left_out_predictions(inverse, frame.coordinates, blocks)
    r2 = r_squared(frame.coordinates, frame.coordinates - predicted)
    truth = frame.coordinates[:, 0]
    result.left_out[:] = (
        stress_score(pdist(truth), pdist(predicted[:, 0])),
        r2[0],
        angle_error(truth, predicted[:, 0], frame.period),
    )
    result.left_out_null[:] = r2[1:]


def _fast_scores(
    target: Targets, test: np.ndarray, embedded: list[np.ndarray], pairs: RingPairs
) -> np.ndarray:
    """Scores [cells, vectors - 1] of all label vectors but the first."""
    vectors = len(target.labels)
    scores = np.empty((len(embedded), vectors - 1))
    centred = [points - points.mean(axis=0) for points in embedded]
    lengths = [sums_of_squares(points) for points in embedded]
    for vector in range(1, vectors):
        ideal, power, mask = target.ring_distances(vector, test, pairs)
        for cell, points in enumerate(centred):
            here = points[:, vector]
            distances = pairs.distances(here)
            length = lengths[cell][vector] if mask is None else mask @ distances**2
            with np.errstate(invalid="ignore", divide="ignore"):
                lack = 1 - float(ideal @ distances) ** 2 / np.float64(power * length)
            if lack < NEAR_PERFECT:
                scores[cell, vector - 1] = stress_score(target.distances(vector, test), pdist(here))
            else:
                scores[cell, vector - 1] = 1 - np.sqrt(lack)
    return scores
