"""The cell solver of `interp.smds.cells` on torch tensors, for a CUDA device.

The same algorithm in the same float64, with what the host does one by one (label vectors, blocks
left out) done in batches. Results agree with the host's to 1e-6, the error of its float32 null.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Shaped

from interp.smds.cells import FOLDS_BY_CHOLESKY, ROUNDING, CellScores, Design, empty_scores
from interp.smds.targets import Targets

# Distances of all pairs for as many label vectors at once as fit in 1 GiB of float64.
BATCH_ELEMENTS = 2**27

Matrix = torch.Tensor


class DeviceDesign:
    """A `Design` copied to a device once, with ideal points or labels for every fold."""

    def __init__(self, design: Design, device: torch.device) -> None:
        self.folds = [
            tuple(torch.as_tensor(rows, device=device) for rows in fold) for fold in design.folds
        ]
        """(train, test) row numbers."""
        self.columns = [torch.as_tensor(table, device=device) for table in design.columns]
        """Per fold [train, columns]."""
        self.ideal = [
            [_ideal_source(target, test, device) for target in design.targets]
            for _, test in design.folds
        ]
        """Per fold and shape: test points [V, test, k], or a table and label numbers."""
        self.coordinates = self.blocks = None
        if design.frame is not None:
            self.coordinates = torch.as_tensor(design.frame.coordinates, device=device)
            if design.frame.blocks is not None:
                blocks = design.frame.blocks
                shared = self.coordinates.shape[1] - len(blocks)  # controls
                self.blocks = torch.as_tensor(_padded(blocks + [blocks[0]] * shared), device=device)
                """Row numbers of each label vector's blocks [V, blocks, rows], -1 past the end."""


def _ideal_source(
    target: Targets, test: np.ndarray, device: torch.device
) -> tuple[Matrix, Matrix | None]:
    if target.shape.coordinates is not None:
        points = [target.shape.coordinates(labels[test]) for labels in target.labels]
        return torch.as_tensor(np.stack(points), device=device), None
    table, which = target.table(test)
    return torch.as_tensor(table, device=device), torch.as_tensor(which, device=device)


def _padded(blocks: list[list[np.ndarray]]) -> np.ndarray:
    counts = max(len(vector) for vector in blocks)
    size = max(len(rows) for vector in blocks for rows in vector)
    padded = np.full((len(blocks), counts, size), -1)
    for vector, parts in enumerate(blocks):
        for number, rows in enumerate(parts):
            padded[vector, number, : len(rows)] = rows
    return padded


def score_cells_on_device(
    activations: Shaped[torch.Tensor, "cells n d"], design: Design, device_design: DeviceDesign
) -> list[CellScores]:
    """`score_cells` on the device of `activations`."""
    return [_score_cell(cell, design, device_design) for cell in activations]


def _score_cell(activations: Matrix, design: Design, on_device: DeviceDesign) -> CellScores:
    rows = activations.double()
    if not torch.isfinite(rows).all():
        return empty_scores(design, "non-finite")
    centred = rows - rows.mean(dim=0)
    if torch.linalg.norm(centred) <= ROUNDING * torch.linalg.norm(rows):
        return empty_scores(design, "constant")
    result = empty_scores(design, "ok")
    predictions = _predict(centred @ centred.T, design, on_device, result)
    scores = np.zeros((len(design.targets), len(design.targets[0].labels)))
    for fold, predicted in enumerate(predictions):
        for shape, (columns, width) in enumerate(design.slices):
            points = predicted[:, columns].unflatten(1, (-1, width)).transpose(0, 1)
            values = _stress_scores(on_device.ideal[fold][shape], points)
            result.folds[shape, fold] = values[0]
            scores[shape, : len(values)] += values / len(predictions)
    if np.isnan(result.folds).any():
        return empty_scores(design, "degenerate fold")
    result.null[:] = scores[:, 1 : design.n_permutations + 1].T
    result.controls[:] = scores[0, design.n_permutations + 1 :]
    if np.isnan(result.null).any():
        result.status = "degenerate null"
    return result


def _predict(
    kernel: Matrix, design: Design, on_device: DeviceDesign, result: CellScores
) -> list[Matrix]:
    """Held-out predictions [test, columns] of each fold; fills what is pooled over folds."""
    inverse = None
    if len(design.folds) > FOLDS_BY_CHOLESKY or design.leaves_out:
        inverse = _intercept_inverse(kernel, design.alpha)
    predictions = []
    for (train, test), table in zip(on_device.folds, on_device.columns, strict=True):
        if inverse is None:
            hat = _fold_smoother(kernel, train, test, design.alpha)
        else:
            factor = torch.linalg.cholesky(inverse[test][:, test])
            hat = -torch.cholesky_solve(inverse[test][:, train], factor)
        predictions.append(hat @ table)
    if design.frame is None or on_device.coordinates is None:
        return predictions
    truth = on_device.coordinates[:, :1]
    pooled = torch.empty_like(truth)
    for (_, test), predicted in zip(on_device.folds, predictions, strict=True):
        pooled[test, 0] = predicted[:, :2]
    result.kfold[0] = _r_squared(truth, truth - pooled).item()
    result.kfold[1] = _angle_error(truth[:, 0], pooled[:, 0], design.frame.period)
    if inverse is not None and on_device.blocks is not None:
        residuals = _left_out_residuals(inverse, on_device.coordinates, on_device.blocks)
        predicted = truth[:, 0] - residuals[:, 0]
        r2 = _r_squared(on_device.coordinates, residuals).cpu().numpy()
        result.left_out[:] = (
            _stress_scores((truth.transpose(0, 1), None), predicted[None])[0],
            r2[0],
            _angle_error(truth[:, 0], predicted, design.frame.period),
        )
        result.left_out_null[:] = r2[1:]
    return predictions


def _fold_smoother(kernel: Matrix, train: Matrix, test: Matrix, alpha: float | int) -> Matrix:
    regularised = kernel[train][:, train]
    regularised.diagonal().add_(alpha)
    cross = kernel[train][:, test]
    ones = torch.ones_like(cross[:, :1])
    solved = torch.cholesky_solve(
        torch.cat([cross, ones], dim=1), torch.linalg.cholesky(regularised)
    )
    weights, ones = solved[:, :-1].T, solved[:, -1]
    return weights - torch.outer((cross.T @ ones - 1) / ones.sum(), ones)


def _intercept_inverse(kernel: Matrix, alpha: float | int) -> Matrix:
    regularised = kernel.clone()
    regularised.diagonal().add_(alpha)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(regularised))
    ones = inverse.sum(dim=1)
    return inverse - torch.outer(ones / ones.sum(), ones)


def _left_out_residuals(
    inverse: Matrix, coordinates: Float[torch.Tensor, "n vectors k"], blocks: Matrix
) -> Float[torch.Tensor, "n vectors k"]:
    """P - Z of every label vector under its own blocks; short blocks are padded by identity."""
    coefficients = torch.einsum("ij,jvk->ivk", inverse, coordinates)
    residuals = torch.empty_like(coefficients)
    step = max(1, BATCH_ELEMENTS // (blocks.shape[1] * blocks.shape[2] ** 2))
    for vectors in torch.arange(len(blocks), device=inverse.device).split(step):
        rows = blocks[vectors]
        real = rows >= 0
        safe = rows.clamp(min=0)
        system = inverse[safe[..., :, None], safe[..., None, :]]
        system = system * (real[..., :, None] & real[..., None, :])
        system.diagonal(dim1=-2, dim2=-1).add_((~real).to(system.dtype))
        right = coefficients[safe, vectors[:, None, None]] * real[..., None]
        solved = torch.cholesky_solve(right, torch.linalg.cholesky(system))
        owner = vectors[:, None, None].expand_as(rows)
        residuals[rows[real], owner[real]] = solved[real]
    return residuals


def _r_squared(targets: Matrix, residuals: Matrix) -> Matrix:
    total = (targets - targets.mean(dim=0)).square().sum(dim=(0, -1))
    return 1 - residuals.square().sum(dim=(0, -1)) / total


def _angle_error(truth: Matrix, predicted: Matrix, period: float) -> float:
    dot = (truth * predicted).sum(dim=1)
    cross = truth[:, 0] * predicted[:, 1] - truth[:, 1] * predicted[:, 0]
    # numpy's median, not torch's: of an even number torch takes the lower.
    return float(np.median(torch.atan2(cross, dot).abs().cpu().numpy()) * period / (2 * np.pi))


def _vector_batches(vectors: int, points: int) -> Iterator[slice]:
    step = max(1, BATCH_ELEMENTS // points**2)
    for start in range(0, vectors, step):
        yield slice(start, start + step)


def _stress_scores(
    source: tuple[Matrix, Matrix | None], points: Float[torch.Tensor, "vectors m k"]
) -> np.ndarray:
    """1 - scale-free stress [V] of predicted points against ideal points or a distance table."""
    scores = []
    for batch in _vector_batches(*points.shape[:2]):
        predicted = _pairwise(points[batch])
        if source[1] is None:
            ideal = _pairwise(source[0][batch])
        else:
            which = source[1][batch]
            ideal = source[0][which[:, :, None], which[:, None, :]]
        counted = ideal >= 0
        ideal, predicted = ideal * counted, predicted * counted
        sums = (ideal * predicted).sum(dim=(1, 2)), predicted.square().sum(dim=(1, 2))
        residual = ideal - (sums[0] / sums[1])[:, None, None] * predicted
        power = ideal.square().sum(dim=(1, 2))
        scores.append(1 - (residual.square().sum(dim=(1, 2)) / power).sqrt())
    return torch.cat(scores).cpu().numpy()


def _pairwise(points: Matrix) -> Matrix:
    # The matrix-product form of cdist loses the distances of near points to cancellation.
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
