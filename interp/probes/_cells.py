"""Score one cell of a grid: the activations of its rows in one block."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.probes._heldout import ProbeFit, UndefinedProbe, heldout_values
from interp.probes._scores import HeldOutClasses
from interp.probes._spread import intervals

# Root mean square deviation, relative to the activations, up to which rows count as one row. The
# same token after the same context yields rows that differ only by the rounding of batched float32
# kernels, measured at some 1e-6 of the row; the weakest real signals lie above 1e-4.
ROUNDING = 1e-5
FEWEST_ROWS = 4
"""Two classes, each once in training and once held out."""


@dataclass(frozen=True)
class CellDesign:
    """What a cell shares with the same cell of other blocks."""

    labels: Shaped[np.ndarray, "vectors n"]
    """True labels, then `n_permutations` permutations, then those of control tasks."""
    n_permutations: int
    """Number of permutations."""
    fold: Int[np.ndarray, " n"]
    """Fold of each row; no group is split."""
    leaky_fold: Int[np.ndarray, " n"]
    """Folds that ignore groups."""
    groups: Shaped[np.ndarray, " n"]
    """Group of each row, for intervals."""
    n_folds: int
    """Folds of the grid; some may hold no row of this cell."""
    fit: ProbeFit
    """How probes are fitted."""
    n_boot: int
    """Draws of an interval, in each of which probes are fitted anew; 0 gives none."""
    level: float
    """Its confidence level."""
    seed: int
    """Seed of its resamples."""


@dataclass
class ProbeScores:
    """Scores of one cell; NaN throughout unless its status is "ok" or "degenerate null"."""

    status: str
    score: Float[np.ndarray, " vectors"]
    ordering: Float[np.ndarray, " vectors"]
    score_interval: tuple[float, float]
    ordering_interval: tuple[float, float]
    folds: Float[np.ndarray, " folds"]
    leaky: float


def score_cell(activations: Shaped[np.ndarray, "n d"], design: CellDesign) -> ProbeScores:
    """Score the true labels, their permutations and control tasks on one cell."""
    rows = activations.astype(np.float64)  # massive features round the rest away in float32
    result = _undefined(design, _status(rows, design))
    if result.status != "ok":
        return result
    try:
        values, means = heldout_values(rows, design.labels, design.fold, design.fit)
    except UndefinedProbe as problem:
        result.status = str(problem)
        return result
    for vector, labels in enumerate(design.labels):
        if np.isnan(values[vector]).any():
            continue
        held_out = _held_out(labels, values[vector], means[vector], design.fold, design)
        score, ordering = held_out.score(), held_out.ordering()
        everything = np.arange(len(rows))
        result.score[vector], result.ordering[vector] = score(everything), ordering(everything)
        if vector == 0:
            for fold in np.unique(design.fold):
                result.folds[fold] = score(np.flatnonzero(design.fold == fold))
    _add_intervals(result, rows, design)
    result.leaky = _leaky_score(rows, design)
    if np.isnan(result.score[: design.n_permutations + 1]).any():
        result.status = "degenerate null"
    return result


def _status(rows: np.ndarray, design: CellDesign) -> str:
    if len(rows) < FEWEST_ROWS:
        return "too few rows"
    with np.errstate(invalid="ignore", over="ignore"):
        whole, power = np.vdot(rows, rows), len(rows) * rows.var(axis=0).sum()
    if not np.isfinite(whole):
        return "non-finite"
    if power <= ROUNDING**2 * whole:
        return "constant"
    if (design.labels[0] == design.labels[0, 0]).all():
        return "constant labels" if design.fit.n_classes is None else "one class"
    return "ok"


def _undefined(design: CellDesign, status: str) -> ProbeScores:
    nothing, nowhere = np.full(len(design.labels), np.nan), (np.nan, np.nan)
    folds = np.full(design.n_folds, np.nan)
    return ProbeScores(status, nothing, nothing.copy(), nowhere, nowhere, folds, np.nan)


def _held_out(
    labels: np.ndarray, values: np.ndarray, means: np.ndarray, fold: np.ndarray, design: CellDesign
) -> HeldOutClasses:
    return HeldOutClasses(labels, values, means, fold, design.fit.n_classes)


def _add_intervals(result: ProbeScores, rows: np.ndarray, design: CellDesign) -> None:
    if not design.n_boot or np.isnan(result.score[0]):
        return
    limits = intervals(
        rows,
        design.labels[0],
        design.fold,
        design.groups,
        design.fit,
        estimates=(float(result.score[0]), float(result.ordering[0])),
        n_draws=design.n_boot,
        level=design.level,
        seed=design.seed,
    )
    result.score_interval, result.ordering_interval = limits


def _leaky_score(rows: np.ndarray, design: CellDesign) -> float:
    truth = design.labels[:1]
    try:
        values, means = heldout_values(rows, truth, design.leaky_fold, design.fit)
    except UndefinedProbe:
        return np.nan
    held_out = _held_out(truth[0], values[0], means[0], design.leaky_fold, design)
    return held_out.score()(np.arange(len(rows)))
