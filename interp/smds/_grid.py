"""SMDS over a whole grid of blocks and positions, each score with its permutation null.

1. Labels, their permutations among groups and the controls are laid out once (`Design`).
2. Blocks are read one at a time and cut into runs of positions (`interp.smds._cells` scores a run).
3. Nulls of all cells come from the same permutations, so max-T corrects over the grid.

The method is Tiblias et al. 2025 ("Shape Happens", arXiv 2510.01025); the null, the controls and
the solver are this project's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from interp import arrays
from interp.arrays import Arraylike
from interp.smds._cells import CellRun, score_cells
from interp.smds._design import Design, Fit, Frame, build_design
from interp.smds._heldout import Rows
from interp.smds._leaveout import category_blocks
from interp.smds._result import SMDSGrid, collect
from interp.smds._shapes import Shape, as_shape, check_labels
from interp.smds._solver import ridge_map
from interp.smds._targets import Targets
from interp.stats import Resampling, grouped_folds, permute_groups
from interp.tasks import Shared, Workers, run_tasks

# Positions scored together share the ideal distances of each permutation; past a few of them
# nothing more is saved and the workers' shares grow uneven. A run is one task of a cache, too.
CELLS_PER_TASK = 4

N_SPLITS = 3
"""Folds by default."""


def smds_grid(
    blocks: Iterable[tuple[str, Arraylike]],
    y: Arraylike,
    *,
    groups: Arraylike,
    shapes: Sequence[str | Shape] = ("circular",),
    period: float | int | None = None,
    controls: Mapping[str, Real[np.ndarray, "repeats n"]] | None = None,
    leave_out: Arraylike | None = None,
    fit: Fit = Fit(),
    resampling: Resampling = Resampling(),
    workers: Workers = Workers(),
) -> SMDSGrid:
    """Score every position of every block by K-fold SMDS, with permutation null and controls.

    Args:
        blocks: (name, activations [positions, n, d]) read one at a time, so a store can stream.
            At most `workers.n_jobs` + 4 are held at a time.
        y: labels [n], or [n, columns] for shapes that take several.
        groups: exchangeable unit of each row; folds and permutations never split one.
        shapes: names or `Shape`s; the first carries the controls.
        period: length of the labels' cycle, with labels in [0, period); None rescales a circle by
            the smallest and largest label of each fold, as the published code does, which makes
            the first and last label one point.
        controls: name -> label vectors [repeats, n] to score in place of `y`.
        leave_out: category of each row, left out in turn; needs a first shape with absolute
            coordinates and plain ridge regression, since every permutation of every category would
            otherwise need a Gram matrix of its own.
        fit: how the maps are fitted.
        resampling: permutations and folds, of which there are 3 by default.
        workers: who scores the cells.

    Raises ValueError for unusable labels, a group with two labels, fewer groups than folds, a
    source that is no position, and blocks that disagree in shape.
    """
    y, groups, leave_out = arrays.taken(y, groups, leave_out, names=("groups", "leave_out"))
    chosen = [as_shape(shape, period=period) for shape in shapes]
    labels, categories = _label_vectors(y, groups, chosen, leave_out, resampling)
    folds = grouped_folds(groups, resampling.splits(N_SPLITS), resampling.seed)
    others = dict(controls or {})
    design = _design(labels, categories, chosen, others, period=period, folds=folds, fit=fit)
    return _score_blocks(blocks, design, others, workers)


def heldout_predictions(
    activations: Arraylike,
    y: Arraylike,
    groups: Arraylike,
    *,
    shape: str | Shape = "circular",
    period: float | int | None = None,
    n_splits: int = N_SPLITS,
    seed: int = 42,
    alpha: float | int = 1.0,
    standardise: bool = False,
    source: Arraylike | None = None,
) -> Float[np.ndarray, "n k"]:
    """Pooled K-fold predictions in the frame of the ideal coordinates of all labels.

    For pictures and for bootstrap intervals over groups. `source` holds the activations [n, d] of
    the position whose map is applied, as in `smds_grid`. Raises ValueError as `smds_grid` does.
    """
    fit = Fit(alpha, standardise)
    activations, y = arrays.activations(activations), arrays.label_columns(y)
    groups = arrays.groups(groups, len(y))
    source = None if source is None else arrays.activations(source, name="source", n=len(y))
    target = Targets(as_shape(shape, period=period), y[None])
    coordinates = target.coordinates(0, np.arange(len(y)))
    rows = Rows.of(activations)
    fitted = rows if source is None else Rows.of(source)
    predictions = np.empty_like(coordinates)
    for train, test in grouped_folds(groups, n_splits, seed):
        targets = coordinates[train]
        own = rows.for_fold(train, standardise=fit.standardise)[test]
        at_source = fitted.for_fold(train, standardise=fit.standardise)[train]
        weights = ridge_map(at_source, targets, alpha=fit.alpha)
        predictions[test] = own @ weights + targets.mean(axis=0)
    return predictions


def _label_vectors(
    y: np.ndarray,
    groups: np.ndarray,
    shapes: Sequence[Shape],
    leave_out: np.ndarray | None,
    resampling: Resampling,
) -> tuple[np.ndarray, np.ndarray | None]:
    """True labels and permutations [1 + B, n, ...], with the categories that move with them."""
    for shape in shapes:
        check_labels(y, shape)
    carried = {"labels": y} | ({} if leave_out is None else {"categories": leave_out})
    first, member = arrays.one_per_group(groups, carried)
    rng = np.random.default_rng(resampling.seed)
    permuted = permute_groups(first[member], groups, resampling.n_permutations, rng)
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
    fit: Fit,
) -> Design:
    extra = np.concatenate([labels[:0], *controls.values()])
    targets = [Targets(shapes[0], np.concatenate([labels, extra]))]
    targets += [Targets(shape, labels) for shape in shapes[1:]]
    frame = None
    if targets[0].absolute and not fit.orthonormal:
        rows = np.arange(labels.shape[1])
        points = [targets[0].coordinates(vector, rows) for vector in range(len(targets[0].labels))]
        turn = None if period is None or shapes[0].name != "circular" else float(period)
        frame = Frame(np.stack(points, axis=1), turn, None)
    if categories is not None:
        if frame is None or not fit.shares_gram:
            raise ValueError(
                f"leave_out needs plain ridge regression and a first shape with absolute "
                f"coordinates, such as a circle with a period; not {shapes[0].name!r} with "
                f"period={period} and {fit}"
            )
        frame = replace(frame, blocks=[category_blocks(vector) for vector in categories])
    return build_design(targets, folds, n_permutations=len(labels) - 1, fit=fit, frame=frame)


def _score_blocks(
    blocks: Iterable[tuple[str, Any]],
    design: Design,
    controls: dict[str, np.ndarray],
    workers: Workers,
) -> SMDSGrid:
    names: list[str] = []
    rows = len(design.targets[0].labels[0])
    runs = _runs(blocks, names, rows, design.fit.source)
    shared = Shared(design)
    scored = run_tasks(score_cells, ((run, shared) for run in runs), workers=workers)
    cells = list(chain.from_iterable(scored))
    if not cells:
        raise ValueError("blocks is empty; at least one (name, activations) is needed")
    return collect(names, cells, design, controls)


def _runs(
    blocks: Iterable[tuple[str, Any]], names: list[str], n: int, source: int | None
) -> Iterator[CellRun]:
    """Runs of positions, block after block; `names` is filled on the way."""
    positions = None
    for name, activations in blocks:
        activations = arrays.activations(activations, name=f"block {name!r}", ndim=3)
        if activations.ndim != 3 or activations.shape[1] != n:
            raise ValueError(f"block {name!r} is {activations.shape}, not [positions, {n}, d]")
        if positions not in (None, len(activations)):
            raise ValueError(
                f"block {name!r} has {len(activations)} positions, the blocks before {positions}"
            )
        positions = len(activations)
        if source is not None and not 0 <= source < positions:
            raise ValueError(f"source={source} is no position; choose from 0 to {positions - 1}")
        names.append(name)
        for start in range(0, positions, CELLS_PER_TASK):
            yield CellRun(
                activations[start : start + CELLS_PER_TASK],
                None if source is None else activations[source],
            )
        del activations  # or it would be held while the next block is read
