"""What all cells of a grid share: label vectors, folds and sampled rows, laid out before a fit."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, Shaped

from interp.probes._cells import CellDesign
from interp.probes._heldout import ProbeFit
from interp.probes._permutation import fold_of_rows, permuted_labels
from interp.probes._probe import Probe
from interp.stats import Resampling, grouped_folds

N_SPLITS = 5
"""Folds by default."""


@dataclass(frozen=True)
class Cell:
    """One column of the grid."""

    rows: Integer[np.ndarray, " n"]
    """Its rows, after sampling."""
    given: int
    """Their number before."""
    shared: CellDesign
    """What scoring needs."""


@dataclass(frozen=True)
class ProbeDesign:
    """One grid."""

    n_rows: int
    """Rows of every block."""
    n_classes: int | None
    """Number of classes; None for numbers."""
    probe: Probe
    """How it is probed."""
    n_permutations: int
    """Permutations of the labels, after which control tasks stand."""
    cells: Mapping[str, Cell]
    """Columns by name."""


@dataclass(frozen=True)
class Samples:
    """What is known of each row; arguments of `interp.probes.probe_grid`."""

    y: Shaped[np.ndarray, " _"]
    """Labels."""
    groups: Shaped[np.ndarray, " _"]
    """What folds never split."""
    units: Shaped[np.ndarray, " _"]
    """What permutations never split."""
    types: Shaped[np.ndarray, " _"] | None
    """Token types."""


def lay_out(
    samples: Samples,
    cells: Mapping[str, Integer[np.ndarray, " _"]],
    probe: Probe,
    resampling: Resampling,
) -> ProbeDesign:
    """The design of a grid. Raises ValueError as `interp.probes.probe_grid` says."""
    _check_lengths(samples, cells)
    truth, n_classes = _encoded(samples.y, probe.kind)
    stratify, seed, n_splits = n_classes is not None, resampling.seed, resampling.splits(N_SPLITS)
    fold = fold_of_rows(truth, samples.groups, stratify=stratify, n_splits=n_splits, seed=seed)
    permutation_rng, control_rng, row_rng = np.random.default_rng(seed).spawn(3)
    permuted = permuted_labels(
        truth,
        groups=samples.groups,
        units=samples.units,
        fold=fold,
        stratified=stratify,
        n_permutations=resampling.n_permutations,
        rng=permutation_rng,
    )
    controls = _control_labels(truth, samples.types, probe.n_controls, control_rng)
    labels = np.concatenate([truth[None], permuted, controls])
    laid_out = {}
    for name, given in cells.items():
        rows = _sampled(given, probe.max_rows, row_rng)
        shared = CellDesign(
            labels=labels[:, rows],
            n_permutations=resampling.n_permutations,
            fold=fold[rows],
            leaky_fold=_leaky_folds(len(rows), n_splits, seed),
            groups=samples.groups[rows],
            n_folds=n_splits,
            fit=ProbeFit(n_classes, probe.C, probe.standardise),
            n_boot=probe.n_boot,
            level=probe.level,
            seed=seed,
        )
        laid_out[name] = Cell(rows, len(given), shared)
    return ProbeDesign(len(samples.y), n_classes, probe, resampling.n_permutations, laid_out)


def _check_lengths(samples: Samples, cells: Mapping[str, np.ndarray]) -> None:
    n = len(samples.y)
    for name in ("groups", "units", "types"):
        values = getattr(samples, name)
        if values is not None and len(values) != n:
            raise ValueError(f"{name} has {len(values)} rows, y has {n}")
    if not cells:
        raise ValueError("cells is empty; at least one name -> rows is needed")
    for name, rows in cells.items():
        outside = rows[(rows < 0) | (rows >= n)]
        if outside.size:
            raise ValueError(f"cell {name!r} names row {outside[0]}; rows are 0 to {n - 1}")


def _encoded(y: np.ndarray, kind: str) -> tuple[np.ndarray, int | None]:
    """Classes as 0..K-1 with K, or numbers in float64 with None."""
    if kind == "classes":
        names, codes = np.unique(y, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"y holds one class, {list(names)}; a probe needs two")
        return codes, len(names)
    numbers = y.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"y holds {numbers[~np.isfinite(numbers)][0]}; numbers must be finite")
    return numbers, None


def _control_labels(
    truth: np.ndarray, types: np.ndarray | None, n_controls: int, rng: np.random.Generator
) -> np.ndarray:
    """A label for each type, drawn from the labels of all rows, [controls, rows]."""
    if types is None:
        return truth[None][:0]
    names, member = np.unique(types, return_inverse=True)
    return rng.choice(truth, size=(n_controls, len(names)))[:, member]


def _sampled(rows: np.ndarray, max_rows: int | None, rng: np.random.Generator) -> np.ndarray:
    if max_rows is None or len(rows) <= max_rows:
        return rows
    return np.sort(rng.choice(rows, size=max_rows, replace=False))


def _leaky_folds(n: int, n_splits: int, seed: int) -> np.ndarray:
    fold = np.zeros(n, dtype=int)
    if n >= 2:
        for index, (_, test) in enumerate(grouped_folds(np.arange(n), min(n_splits, n), seed)):
            fold[test] = index
    return fold
