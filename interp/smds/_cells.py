"""Score cells of a grid: activations of one position in one block against a shared design.

Per cell: (1) activations checked and centred in float64; (2) held-out predictions of each fold for
every shape, permutation and control at once (`interp.smds._heldout`); (3) scores of the true labels
in float64, of all other label vectors in the ring order of `interp.smds._pairs`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from scipy.spatial.distance import pdist

from interp.smds._design import CellScores, Design, empty_scores
from interp.smds._heldout import Rows, fit_maps, predict
from interp.smds._pairs import RingPairs, sums_of_squares
from interp.smds._scaling import stress_score
from interp.smds._targets import Targets

# Below this 1 - c^2, float32 sums (error about 1e-8 in c^2) would cost a score its sixth digit.
NEAR_PERFECT = 1e-4


@dataclass(frozen=True)
class CellRun:
    """Positions of one block that are scored together."""

    activations: Shaped[np.ndarray, "cells n d"]
    """Their activations."""
    source: Shaped[np.ndarray, "n d"] | None
    """Activations of the position whose map is applied to all of them, if there is one."""


def score_cells(run: CellRun, design: Design) -> list[CellScores]:
    """Score several cells, sharing among them the ideal distances of each label vector."""
    maps, problem = _source_maps(run, design)
    results, predictions = [], []
    for cell in run.activations:
        result, predicted = _predicted(Rows.of(cell), maps, problem, design)
        results.append(result)
        if predicted is not None:
            predictions.append(predicted)
    _fill_scores([result for result in results if result.status == "ok"], predictions, design)
    return [
        empty_scores(design, result.status) if result.status == "degenerate fold" else result
        for result in results
    ]


def _source_maps(run: CellRun, design: Design) -> tuple[list[np.ndarray] | None, str | None]:
    """Maps of the source, or what is wrong with it."""
    if run.source is None:
        return None, None
    source = Rows.of(run.source)
    if source.status != "ok":
        return None, f"{source.status} source"
    try:
        return fit_maps(source, design), None
    except np.linalg.LinAlgError:
        return None, "ill-conditioned source"


def _predicted(
    rows: Rows, maps: list[np.ndarray] | None, problem: str | None, design: Design
) -> tuple[CellScores, list[np.ndarray] | None]:
    status = problem if problem and rows.status == "ok" else rows.status
    result = empty_scores(design, status)
    if status != "ok":
        return result, None
    try:
        return result, predict(rows, maps, design, result)
    except np.linalg.LinAlgError:
        # One cell beyond repair must not end a grid of hours.
        return empty_scores(design, "ill-conditioned"), None


def _fill_scores(
    results: list[CellScores], predictions: list[list[np.ndarray]], design: Design
) -> None:
    """Scores of cells [results] from their held-out predictions [cells][folds]."""
    null = np.zeros((len(results), len(design.targets), len(design.targets[0].labels)))
    for fold, (_, test) in enumerate(design.folds):
        pairs = RingPairs(len(test))
        for shape, target in enumerate(design.targets):
            columns, width = design.slices[shape]
            embedded = [
                cell[fold][:, columns].reshape(len(test), -1, width) for cell in predictions
            ]
            ideal = target.distances(0, test)
            for result, points in zip(results, embedded, strict=True):
                result.folds[shape, fold] = stress_score(ideal, pdist(points[:, 0]))
            scores = _fast_scores(target, test, embedded, pairs)
            null[:, shape, 1 : scores.shape[1] + 1] += scores / len(design.folds)
    for result, scores in zip(results, null, strict=True):
        if np.isnan(result.folds).any():
            result.status = "degenerate fold"
            continue
        result.null[:] = scores[:, 1 : design.n_permutations + 1].T
        if np.isnan(result.null).any():
            result.status = "degenerate null"
        result.controls[:] = scores[0, design.n_permutations + 1 :]


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
