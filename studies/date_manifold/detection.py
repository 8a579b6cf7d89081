"""Experiment 1: at every block and word, is the date there, and is it a circle?

For each cell of blocks x words:

(a) the held-out circular SMDS score, folds grouped by date, against the same score under dates
    permuted among sentences (max-T over all cells);
(b) the score when the months' order is shuffled: a lookup table of months fits any order as well;
(c) leave one month out: only a circle says where a month lies that was never fitted.

The run is then turned on itself: its first permutation is taken for the truth and held to the
others, in which nothing may survive but a circle planted on purpose.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.smds import LeaveOut, SMDSGrid, heldout_predictions, ideal_coordinates, smds_grid
from interp.stats import PermutationTest, bootstrap_interval, permutation_test, permute_groups
from studies.date_manifold.data import (
    DISTRACTOR,
    PERIOD,
    Dates,
    one_hot_months,
    shuffled_month_orders,
)

Interval = tuple[float, float]
Blocks = Iterable[tuple[str, Float[np.ndarray, "position n d"]]]

UNIFORM_NULL = 1 - np.sqrt(1 - 2 / np.pi)
"""Score of isotropic predictions for labels uniform on the circle, .397."""

PLANTED_RADIUS = 8.0
"""Radius of the planted circle in standard deviations of the cell's features: a circle of radius 8
in unit noise scores .72 at n = 1000, d = 768, far from a trivial 1."""


@dataclass(frozen=True)
class Settings:
    """How experiment 1 is run."""

    n_splits: int
    """Folds."""
    n_permutations: int
    """Permutations of dates among sentences."""
    n_orders: int
    """Shuffled orders of the months."""
    alpha: float
    """Ridge penalty."""
    seed: int
    """Of folds, permutations, orders and the planted circle."""
    jobs: int | None
    """Worker processes; None for every core."""


@dataclass(frozen=True)
class SelfControl:
    """The run on permuted dates, with a circle planted into one cell."""

    cell: str
    """Where the circle was planted."""
    survivors: int
    """Surviving cells among all others; chance alone gives one or more in 5 % of runs."""
    planted_score: float
    """Score of the planted cell."""
    planted_p: float
    """Its family-wise p value."""
    n_permutations: int
    """Permutations that the run was held to."""


@dataclass(frozen=True)
class Detection:
    """Experiment 1 of one model."""

    model: str
    """The model's name."""
    rows: tuple[str, ...]
    """Depths: embedding, blocks, final norm."""
    words: tuple[str, ...]
    """Words of the sentence."""
    grid: SMDSGrid
    """Scores with their nulls and controls."""
    order: PermutationTest
    """The score under the calendar's order against shuffled orders, [rows, words]."""
    left_out: PermutationTest
    """Leave-one-month-out R2 against permuted dates, [rows, words]."""
    lookup: float
    """Score of a one-hot code of the month: what a lookup table reaches."""
    control: SelfControl
    """The run turned on itself."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.rows) - 2

    @property
    def middle(self) -> range:
        """Rows between 25 and 75 % of the depth."""
        return range(-(-self.n_blocks // 4), 3 * self.n_blocks // 4 + 1)

    @property
    def survives(self) -> Bool[np.ndarray, "rows words"]:
        """Cells whose score survives correction over the grid."""
        return self.grid.test.survives()[..., 0]

    @property
    def months(self) -> LeaveOut:
        """Leave-one-month-out results, which every detection has."""
        assert self.grid.leave_out is not None
        return self.grid.leave_out

    def best(self, word: str) -> int:
        """The row between 25 and 75 % of the depth with the largest leave-one-month-out R2."""
        r2 = self.months.r2[:, self.words.index(word)]
        return max(self.middle, key=lambda row: -np.inf if np.isnan(r2[row]) else r2[row])

    def table(self) -> pd.DataFrame:
        """One row per cell."""
        left, test = self.months, self.grid.test
        index = pd.MultiIndex.from_product([self.rows, self.words], names=["depth", "word"])
        columns = {
            "status": self.grid.status,
            "score": test.observed[..., 0],
            "null_mean": test.mean[..., 0],
            "null_sd": test.sd[..., 0],
            "z": test.z[..., 0],
            "p_family": test.p_family[..., 0],
            "survives": self.survives,
            "shuffled_order_mean": self.order.mean,
            "order_z": self.order.z,
            "order_p": self.order.p,
            "kfold_r2": self.grid.kfold_r2,
            "kfold_error_days": self.grid.kfold_error,
            "left_out_score": left.score,
            "left_out_r2": left.r2,
            "left_out_p_family": self.left_out.p_family,
            "left_out_error_days": left.error,
        }
        flat = {name: np.asarray(values).ravel() for name, values in columns.items()}
        table = pd.DataFrame(flat, index=index).reset_index()
        table.insert(0, "model", self.model)
        return table


def detect(
    model: str, rows: tuple[str, ...], blocks: Blocks, dates: Dates, settings: Settings
) -> Detection:
    """Run experiment 1 on one model's activations, read one depth at a time."""
    orders = shuffled_month_orders(dates, settings.n_orders, seed=settings.seed)
    kept: dict[str, np.ndarray] = {}
    target = (len(rows) // 2, dates.words.index(DISTRACTOR))
    grid = _grid(
        _keeping(blocks, target, kept),
        dates.label,
        dates,
        settings,
        n_permutations=settings.n_permutations,
        controls={"month order": orders},
        leave_out=dates.month,
        progress=True,
    )
    lookup = _grid(
        [("lookup", one_hot_months(dates)[None])], dates.label, dates, settings, n_permutations=1
    )
    left = grid.leave_out
    assert left is not None
    return Detection(
        model=model,
        rows=rows,
        words=dates.words,
        grid=grid,
        order=permutation_test(grid.score[..., 0], grid.controls["month order"]),
        left_out=permutation_test(left.r2, left.null_r2),
        lookup=float(lookup.score[0, 0, 0]),
        control=_self_control(grid, rows, target, kept["cell"], dates, settings),
    )


def _keeping(blocks: Blocks, target: tuple[int, int], kept: dict[str, np.ndarray]) -> Blocks:
    """The same blocks, keeping a copy of one cell on the way past."""
    row, word = target
    for number, (name, activations) in enumerate(blocks):
        if number == row:
            kept["cell"] = activations[word].copy()
        yield name, activations


def _grid(
    blocks: Blocks,
    labels: Float[np.ndarray, " n"],
    dates: Dates,
    settings: Settings,
    *,
    progress: bool = False,
    **options,
) -> SMDSGrid:
    return smds_grid(
        blocks,
        labels,
        groups=dates.day,
        period=PERIOD,
        n_splits=settings.n_splits,
        seed=settings.seed,
        alpha=settings.alpha,
        n_jobs=settings.jobs if progress else 1,
        progress=progress,
        **options,
    )


def _self_control(
    grid: SMDSGrid,
    rows: tuple[str, ...],
    target: tuple[int, int],
    cell: Float[np.ndarray, "n d"],
    dates: Dates,
    settings: Settings,
) -> SelfControl:
    """The same grid with the first permutation as truth, a circle of it planted in one cell.

    Permutations of a permutation are permutations, so the other columns of the null are the null
    of the first: the second run costs one cell.
    """
    rng = np.random.default_rng(settings.seed)
    permuted = permute_groups(dates.label, dates.day, settings.n_permutations, rng)
    planted = _plant(cell, permuted[0], settings.seed)
    again = _grid(
        [("planted", planted[None])],
        permuted[0],
        dates,
        settings,
        n_permutations=1,
        controls={"permuted": permuted[1:]},
    )
    observed, null = grid.null[0, ..., 0].copy(), grid.null[1:, ..., 0].copy()
    observed[target] = again.score[0, 0, 0]
    null[:, *target] = again.controls["permuted"][:, 0, 0]
    test = permutation_test(observed, null)
    survives = test.survives()
    return SelfControl(
        cell=f"{rows[target[0]]}, {dates.words[target[1]]}",
        survivors=int(survives.sum() - survives[target]),
        planted_score=float(observed[target]),
        planted_p=float(test.p_family[target]),
        n_permutations=len(null),
    )


def _plant(
    cell: Float[np.ndarray, "n d"], labels: Float[np.ndarray, " n"], seed: int
) -> Float[np.ndarray, "n d"]:
    directions = np.linalg.qr(np.random.default_rng(seed).standard_normal((cell.shape[1], 2)))[0]
    return cell + PLANTED_RADIUS * cell.std(axis=0).mean() * circle_of(labels) @ directions.T


def circle_of(labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Dates as points of the unit circle."""
    return ideal_coordinates(labels, "circular", period=PERIOD)


def predictions(
    cell: Float[np.ndarray, "n d"], dates: Dates, settings: Settings, *, leave_out: bool
) -> Float[np.ndarray, "n 2"]:
    """Held-out places on the circle: folds by date, or one month left out at a time."""
    return heldout_predictions(
        cell,
        dates.label,
        dates.month if leave_out else dates.day,
        period=PERIOD,
        n_splits=12 if leave_out else settings.n_splits,
        seed=settings.seed,
        alpha=settings.alpha,
    )


def r2(predicted: Float[np.ndarray, "n 2"], truth: Float[np.ndarray, "n 2"]) -> float:
    """Share of the variance of (cos, sin) of the date that held-out predictions explain."""
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def r2_interval(
    predicted: Float[np.ndarray, "n 2"],
    dates: Dates,
    *,
    by_month: bool,
    seed: int,
    minus: Float[np.ndarray, "n 2"] | None = None,
) -> Interval:
    """Bootstrap interval over dates, or over months, of the R2, or of how far it exceeds that of
    other predictions of the same sentences."""
    truth = circle_of(dates.label)

    def statistic(rows: np.ndarray) -> float:
        value = r2(predicted[rows], truth[rows])
        return value if minus is None else value - r2(minus[rows], truth[rows])

    groups = dates.month if by_month else dates.day
    return bootstrap_interval(statistic, groups, rng=np.random.default_rng(seed))
