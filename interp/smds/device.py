"""The cell solver of `interp.smds.cells` on torch tensors, for a CUDA device.

The same algorithms in the same float64, with what the host does one by one (label vectors, blocks
left out) done in batches. Results agree with the host's to 1e-6, the error of its float32 null.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from interp.smds.cells import Run
from interp.smds.design import CellScores, Design, empty_scores
from interp.smds.heldout import FOLDS_BY_CHOLESKY, ROUNDING
from interp.smds.solver import SPANNED
from interp.smds.targets import Targets

LinAlgError = torch.linalg.LinAlgError  # pyright: ignore[reportPrivateImportUsage]

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


@dataclass(frozen=True)
class _Rows:
    """One position's activations: `interp.smds.heldout.Rows` on a device."""

    status: str
    centred: Matrix
    floor: Matrix

    @classmethod
    def of(cls, activations: Matrix) -> "_Rows":
        rows = activations.double()
        mean = rows.mean(dim=0)
        rows = rows - mean
        power = rows.square().sum()
        whole = power + len(rows) * mean @ mean
        status = "constant" if power <= ROUNDING**2 * whole else "ok"
        status = status if torch.isfinite(whole) else "non-finite"
        return cls(status, rows, ROUNDING * mean.abs())

    def for_fold(self, train: Matrix, standardise: bool) -> Matrix:
        rows = self.centred - self.centred[train].mean(dim=0)
        if standardise:
            deviation = rows[train].std(dim=0, correction=0)
            rows = rows / torch.where(deviation > self.floor, deviation, 1.0)
        return rows


def score_cells_on_device(
    run: Run, design: Design, device_design: DeviceDesign
) -> list[CellScores]:
    """`score_cells` on the device of the run's activations."""
    maps, problem = _source_maps(run, design, device_design)
    cells = (_Rows.of(cell) for cell in run.activations)
    return [_score_cell(rows, maps, problem, design, device_design) for rows in cells]


def _source_maps(
    run: Run, design: Design, on_device: DeviceDesign
) -> tuple[list[Matrix] | None, str | None]:
    if run.source is None:
        return None, None
    source = _Rows.of(run.source)
    if source.status != "ok":
        return None, f"{source.status} source"
    try:
        return _fit_maps(source, design, on_device), None
    except LinAlgError:
        return None, "ill-conditioned source"


def _score_cell(
    rows: _Rows,
    maps: list[Matrix] | None,
    problem: str | None,
    design: Design,
    on_device: DeviceDesign,
) -> CellScores:
    status = problem if problem and rows.status == "ok" else rows.status
    result = empty_scores(design, status)
    if status != "ok":
        return result
    try:
        predictions = _predict(rows, maps, design, on_device, result)
    except LinAlgError:
        return empty_scores(design, "ill-conditioned")
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
    rows: _Rows,
    maps: list[Matrix] | None,
    design: Design,
    on_device: DeviceDesign,
    result: CellScores,
) -> list[Matrix]:
    """Held-out predictions [test, columns] of each fold; fills what is pooled over folds."""
    folds = zip(on_device.folds, on_device.columns, strict=True)
    if not design.fit.shares_gram:
        maps = maps or _fit_maps(rows, design, on_device)
        predictions = [
            rows.for_fold(train, design.fit.standardise)[test] @ weights + table.mean(dim=0)
            for ((train, test), table), weights in zip(folds, maps, strict=True)
        ]
        _pool(predictions, design, on_device, result)
        return predictions
    kernel, inverse = rows.centred @ rows.centred.T, None
    if len(design.folds) > FOLDS_BY_CHOLESKY or design.leaves_out:
        inverse = _intercept_inverse(kernel, design.fit.alpha)
    predictions = []
    for (train, test), table in folds:
        if inverse is None:
            hat = _fold_smoother(kernel, train, test, design.fit.alpha)
        else:
            factor = torch.linalg.cholesky(inverse[test][:, test])
            hat = -torch.cholesky_solve(inverse[test][:, train], factor)
        predictions.append(hat @ table)
    _pool(predictions, design, on_device, result)
    if inverse is not None:
        _leave_out(inverse, design, on_device, result)
    return predictions


def _fit_maps(source: _Rows, design: Design, on_device: DeviceDesign) -> list[Matrix]:
    fit, maps = design.fit, []
    for (train, _), table in zip(on_device.folds, on_device.columns, strict=True):
        rows = source.for_fold(train, fit.standardise)[train]
        targets = table - table.mean(dim=0)
        if fit.orthonormal:
            maps.append(_orthonormal_map(rows, targets, design))
            continue
        regularised = rows @ rows.T
        regularised.diagonal().add_(fit.alpha)
        factor = torch.linalg.cholesky(regularised)
        maps.append(rows.T @ torch.cholesky_solve(targets, factor))
    return maps


def _orthonormal_map(rows: Matrix, targets: Matrix, design: Design) -> Matrix:
    weights = targets.T @ rows
    for columns, width in design.slices:
        stacked = weights[columns].unflatten(0, (-1, width))
        values, vectors = torch.linalg.eigh(stacked @ stacked.mT)
        scale = values.where(values > SPANNED * values[:, -1:], torch.inf).rsqrt()
        root = (vectors * scale[:, None, :]) @ vectors.mT
        weights[columns] = (root @ stacked).flatten(0, 1)
    return weights.T


def _pool(
    predictions: list[Matrix], design: Design, on_device: DeviceDesign, result: CellScores
) -> None:
    if design.frame is None or on_device.coordinates is None:
        return
    vectors = 1 + design.n_permutations if design.fit.source is not None else 1
    truth = on_device.coordinates[:, :1]
    pooled = torch.empty_like(on_device.coordinates[:, :vectors])
    for (_, test), predicted in zip(on_device.folds, predictions, strict=True):
        pooled[test] = predicted[:, : pooled[0].numel()].unflatten(1, tuple(pooled.shape[1:]))
    result.kfold[0] = _r_squared(truth, truth - pooled[:, :1]).item()
    if design.frame.period is not None:
        result.kfold[1] = _angle_error(truth[:, 0], pooled[:, 0], design.frame.period)
    if design.fit.source is not None:
        centred, ideal = (points - points.mean(dim=0) for points in (pooled, truth))
        along = (centred * ideal).sum(dim=(0, 2))
        size = centred.square().sum(dim=(0, 2)) * ideal.square().sum()
        result.agreement[:] = (along / size.sqrt()).cpu().numpy()


def _leave_out(
    inverse: Matrix, design: Design, on_device: DeviceDesign, result: CellScores
) -> None:
    if design.frame is None or on_device.blocks is None or on_device.coordinates is None:
        return
    residuals = _left_out_residuals(inverse, on_device.coordinates, on_device.blocks)
    truth = on_device.coordinates[:, 0]
    predicted = truth - residuals[:, 0]
    r2 = _r_squared(on_device.coordinates, residuals).cpu().numpy()
    result.left_out[0] = _stress_scores((truth[None], None), predicted[None])[0]
    result.left_out[1] = r2[0]
    if design.frame.period is not None:
        result.left_out[2] = _angle_error(truth, predicted, design.frame.period)
    result.left_out_null[:] = r2[1:]


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
