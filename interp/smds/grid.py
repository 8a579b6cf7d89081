"""SMDS over a whole grid of blocks and positions, each score with its permutation null.

1. Labels, their permutations among groups and the controls are laid out once (`Design`).
2. Blocks are read one at a time and cut into runs of positions (`interp.smds.cells` scores a run).
3. Nulls of all cells come from the same permutations, so max-T corrects over the grid.

The method is Tiblias et al. 2025 ("Shape Happens", arXiv 2510.01025); the null, the controls and
the solver are this project's.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Real, Shaped
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from interp.smds.cells import CellScores, Design, Frame, build_design, score_cells
from interp.smds.leaveout import category_blocks
from interp.smds.result import SMDSGrid, collect
from interp.smds.shapes import Shape, as_shape, check_labels
from interp.smds.solver import fold_predictions, gram
from interp.smds.targets import Targets
from interp.stats import grouped_folds, permute_groups

# Positions scored together share the ideal distances of each permutation; past a few of them
# nothing more is saved and the workers' shares grow uneven.
CELLS_PER_TASK = 4


def smds_grid(
    blocks: Iterable[tuple[str, Shaped[Any, "positions n d"]]],
    y: Real[np.ndarray, "n *columns"],
    *,
    groups: Shaped[np.ndarray, " n"],
    shapes: Sequence[str | Shape] = ("circular",),
    period: float | int | None = None,
    n_splits: int = 3,
    seed: int = 42,
    alpha: float | int = 1.0,
    n_permutations: int = 200,
    controls: Mapping[str, Real[np.ndarray, "repeats n"]] | None = None,
    leave_out: Shaped[np.ndarray, " n"] | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> SMDSGrid:
    """Score every position of every block by K-fold SMDS, with permutation null and controls.

    Args:
        blocks: (name, activations [positions, n, d]) read one at a time, so a store can stream.
            At most `n_jobs` + 4 blocks are held at a time, the one being read included. Torch
            tensors are scored on their own device, one after another.
        y: labels [n], or [n, columns] for shapes that take several.
        groups: exchangeable unit of each row; folds and permutations never split one.
        shapes: names or `Shape`s; the first carries the controls.
        period: length of the labels' cycle, with labels in [0, period); None rescales a circle by
            the smallest and largest label of each fold, as the published code does, which makes
            the first and last label one point.
        alpha: ridge penalty (the published package: 0.1 up to version 1.6.5, 1.0 since).
        n_permutations: B; no p value falls below 1 / (B + 1).
        controls: name -> label vectors [repeats, n] to score in place of `y`.
        leave_out: category of each row, left out in turn; needs "circular" first and a period.
        n_jobs: worker processes, each with one BLAS thread; None takes every core.

    Raises ValueError for unusable labels, a group with two labels, fewer groups than folds, alpha
    or n_permutations that are not positive, and blocks that disagree in shape.
    """
    chosen = [as_shape(shape, period=period) for shape in shapes]
    for shape in chosen:
        check_labels(y, shape)
    labels, categories = _label_vectors(y, groups, leave_out, n_permutations, seed)
    design = _design(
        labels,
        categories,
        chosen,
        dict(controls or {}),
        period=period,
        folds=grouped_folds(groups, n_splits, seed),
        alpha=alpha,
    )
    names: list[str] = []
    runs = _runs(blocks, names, len(y))
    cells = list(_score_runs(runs, design, n_jobs or os.cpu_count() or 1, progress))
    if not cells:
        raise ValueError("blocks is empty; at least one (name, activations) is needed")
    return collect(names, cells, design, dict(controls or {}))


def heldout_predictions(
    activations: Shaped[np.ndarray, "n d"],
    y: Real[np.ndarray, "n *columns"],
    groups: Shaped[np.ndarray, " n"],
    *,
    shape: str | Shape = "circular",
    period: float | int | None = None,
    n_splits: int = 3,
    seed: int = 42,
    alpha: float | int = 1.0,
) -> Float[np.ndarray, "n k"]:
    """Pooled K-fold predictions in the frame of the ideal coordinates of all labels.

    For pictures and for bootstrap intervals over groups. Raises ValueError as `smds_grid` does.
    """
    _check_alpha(alpha)
    target = Targets(as_shape(shape, period=period), y[None])
    coordinates = target.coordinates(0, np.arange(len(y)))
    kernel = gram(activations)
    predictions = np.empty_like(coordinates)
    for train, test in grouped_folds(groups, n_splits, seed):
        targets = coordinates[train]
        predictions[test] = fold_predictions(kernel, train, test, targets, alpha=alpha)
    return predictions


def _check_alpha(alpha: float | int) -> None:
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be positive; SupervisedMDS alone offers alpha=0")


def _label_vectors(
    y: np.ndarray,
    groups: np.ndarray,
    leave_out: np.ndarray | None,
    n_permutations: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """True labels and permutations [1 + B, n, ...], with the categories that move with them."""
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations} must be at least 1")
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    unit = first[member]
    for name, values in (("y", y), ("leave_out", leave_out)):
        if values is None:
            continue
        differs = (values != values[unit]).reshape(len(values), -1).any(axis=1)
        if differs.any():
            row = np.flatnonzero(differs)[0]
            raise ValueError(
                f"group '{groups[row]}' carries two values of {name}, {values[unit[row]]} and "
                f"{values[row]}; the permutation null needs one per group"
            )
    permuted = permute_groups(unit, groups, n_permutations, np.random.default_rng(seed))
    vectors = np.concatenate([np.arange(len(y))[None], permuted])
    return y[vectors], None if leave_out is None else leave_out[vectors]


def _design(
    labels: np.ndarray,
    categories: np.ndarray | None,
    shapes: Sequence[Shape],
    controls: dict[str, np.ndarray],
    *,
    period: float | int | None,
    folds: list[tuple[np.ndarray, np.ndarray]],
    alpha: float | int,
) -> Design:
    _check_alpha(alpha)
    extra = np.concatenate([labels[:0], *controls.values()])
    targets = [Targets(shapes[0], np.concatenate([labels, extra]))]
    targets += [Targets(shape, labels) for shape in shapes[1:]]
    frame = None
    if shapes[0].name == "circular" and period is not None:
        blocks = None
        if categories is not None:
            blocks = [category_blocks(vector) for vector in categories]
        rows = np.arange(labels.shape[1])
        points = [targets[0].coordinates(vector, rows) for vector in range(len(targets[0].labels))]
        frame = Frame(np.stack(points, axis=1), float(period), blocks)
    elif categories is not None:
        raise ValueError(
            f"leave_out needs the shape 'circular' first and a period, "
            f"not {shapes[0].name!r} with period={period}"
        )
    return build_design(targets, folds, n_permutations=len(labels) - 1, alpha=alpha, frame=frame)


def _runs(blocks: Iterable[tuple[str, Any]], names: list[str], n: int) -> Iterator[Any]:
    """Runs of positions [cells, n, d], block after block; `names` is filled on the way."""
    positions = None
    for name, activations in blocks:
        if activations.ndim != 3 or activations.shape[1] != n:
            raise ValueError(f"block {name!r} is {activations.shape}, not [positions, {n}, d]")
        if positions not in (None, len(activations)):
            raise ValueError(
                f"block {name!r} has {len(activations)} positions, the blocks before {positions}"
            )
        positions = len(activations)
        names.append(name)
        for start in range(0, positions, CELLS_PER_TASK):
            yield activations[start : start + CELLS_PER_TASK]
        del activations  # or it would be held while the next block is read


def _score_runs(
    runs: Iterator[Any], design: Design, n_jobs: int, progress: bool
) -> Iterator[CellScores]:
    first = next(runs, None)
    if first is None:
        return
    runs = chain([first], runs)
    on_host = isinstance(first, np.ndarray)
    with tqdm(unit="cell", disable=not progress) as bar:
        for results in _in_workers(runs, design, n_jobs) if on_host else _on_device(runs, design):
            bar.update(len(results))
            yield from results


def _in_workers(
    runs: Iterable[np.ndarray], design: Design, n_jobs: int
) -> Iterator[list[CellScores]]:
    # Processes, not threads: LAPACK is called through wrappers that keep the interpreter lock. 16
    # cells on two cores took 9.0 s in sequence, 6.0 s in two processes, 10.3 s in two threads.
    with threadpool_limits(1, user_api="blas"), parallel_config("loky", inner_max_num_threads=1):
        # pre_dispatch bounds the look-ahead, and so the memory, whatever the number of blocks.
        parallel = Parallel(
            n_jobs,
            return_as="generator",
            pre_dispatch="n_jobs + 1",
            batch_size=1,  # pyright: ignore[reportArgumentType]  (joblib annotates its default)
        )
        scored = parallel(delayed(score_cells)(run, design) for run in runs)
        yield from cast(Iterator[list[CellScores]], scored)


def _on_device(runs: Iterable[Any], design: Design) -> Iterator[list[CellScores]]:
    # Imported here so that worker processes, which never need torch, start without it.
    from interp.smds.device import DeviceDesign, score_cells_on_device

    on_device = None
    for run in runs:
        on_device = on_device or DeviceDesign(design, run.device)
        yield score_cells_on_device(run, design, on_device)
