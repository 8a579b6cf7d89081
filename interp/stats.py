"""Nulls, multiplicity, folds and intervals shared by every method.

Four rules are kept here so that no method has to restate them:

1. What is permuted, resampled or held out is the *exchangeable unit* (a sentence, a turn, a
   scenario), given as `groups`; rows that share a unit move together.
2. A permutation p value cannot fall below 1 / (B + 1). A step-up procedure such as
   Benjamini-Hochberg over m cells asks the smallest p to reach alpha / m, so with B = 200 and
   hundreds of cells it rejects nothing whatever the data say. Permutation nulls are therefore
   corrected by max-T (Westfall & Young 1993): permutations are shared by all cells and each cell
   is held to the null distribution of the largest studentised statistic on the grid. `fdr` is for
   p values that have no such floor because they are analytic.
3. A cell without a statistic is NaN from one end to the other; it never counts as 0.
4. Nothing is fitted and scored on the same unit.
"""

from dataclasses import dataclass, fields
from typing import SupportsFloat

import numpy as np
import scipy  # its subpackages are imported when they are used: scipy.stats alone takes .4 s
from jaxtyping import Bool, Float, Inexact, Int, Integer, Real, Shaped

from interp.arrays import one_per_group

TIE = 1e-6
"""Difference, relative to a cell's values, up to which two statistics are one value. Scores
that are equal in exact arithmetic come out up to 5e-7 of their size apart where the true labels are
scored in float64 and their permutations in float32, whose rounding is 6e-8 a term."""
USUAL = 0.9
"""Quantile of |values| that counts as their size: one fold's R2 of -1e6 must not tie all others."""


@dataclass(frozen=True)
class Resampling:
    """How labels are permuted and rows held out, alike in all cells of a grid.

    Raises ValueError without permutations.
    """

    n_permutations: int = 200
    """B; no p value falls below 1 / (B + 1)."""
    n_splits: int | None = None
    """Folds; None takes as many as the method does by default."""
    seed: int = 42
    """Of permutations, folds and whatever else is drawn."""

    def __post_init__(self) -> None:
        if self.n_permutations < 1:
            raise ValueError(f"n_permutations={self.n_permutations} must be at least 1")

    def splits(self, default: int) -> int:
        """Number of folds, of a method with this default."""
        return default if self.n_splits is None else self.n_splits


@dataclass(frozen=True)
class PermutationTest:
    """One-sided permutation test of every cell of a grid, large values counting as evidence."""

    observed: Float[np.ndarray, "*cells"]
    """The statistic on the true labels."""
    mean: Float[np.ndarray, "*cells"]
    """Mean of the cell's null, in units of the statistic."""
    sd: Float[np.ndarray, "*cells"]
    """Standard deviation of the cell's null, in units of the statistic."""
    z: Float[np.ndarray, "*cells"]
    """(observed - mean) / sd; NaN where the null does not vary."""
    p: Float[np.ndarray, "*cells"]
    """(1 + number of permutations at or above observed) / (B + 1), uncorrected."""
    p_family: Float[np.ndarray, "*cells"]
    """max-T adjusted p: the chance that *any* cell of the grid does this well under the null."""
    floor: float
    """1 / (B + 1), below which neither p can fall."""

    def best(self) -> tuple[int, ...]:
        """Index of the cell whose z is largest. Raises ValueError where no cell has one."""
        if np.isnan(self.z).all():
            raise ValueError("no cell of the grid has a z: see its status")
        return tuple(int(i) for i in np.unravel_index(np.nanargmax(self.z), self.z.shape))

    def survives(self, alpha: float = 0.05) -> Bool[np.ndarray, "*cells"]:
        """Cells significant at family-wise error rate `alpha`; undefined cells do not survive.

        Raises ValueError when `alpha` is below `floor`, where the answer would be "none" whatever
        the data say.
        """
        if alpha < self.floor:
            raise ValueError(
                f"alpha={alpha} is below the floor {self.floor:.4g} of this many permutations; "
                f"use at least {int(np.ceil(1 / alpha)) - 1} permutations"
            )
        return self.p_family <= alpha  # NaN compares False


def permutation_test(
    observed: Float[np.ndarray, "*cells"], null: Float[np.ndarray, "permutations *cells"]
) -> PermutationTest:
    """Compare a grid of statistics with their joint permutation null.

    `null[b]` holds every cell under the *same* permutation b: max-T lives on that dependence.
    Each cell is studentised by the mean and standard deviation of its B + 1 values, the observed
    one included. Under the null those values are exchangeable and such a studentisation treats
    them alike, so the adjusted p is exact at any B (Westfall & Young 1993, single step; Phipson
    & Smyth 2010 for the 1 + in numerator and denominator).

    Cells with a NaN in `observed` or `null` are left out of the maximum and stay NaN. Raises
    ValueError without permutations.
    """
    if null.shape[0] == 0:
        raise ValueError("null holds 0 permutations; at least 1 is needed")
    defined = np.isfinite(observed) & np.isfinite(null).all(axis=0)
    values = np.concatenate([observed[None], null])[:, defined]  # [B + 1, defined cells]
    mean, sd = values[1:].mean(axis=0), values[1:].std(axis=0)
    size = np.quantile(np.abs(values), USUAL, axis=0)
    tie = TIE * np.maximum(np.abs(values[0]), size)
    varies = np.ptp(values, axis=0) > 2 * tie
    spread = np.where(varies, values.std(axis=0), 1.0)
    # A cell that never varies has no studentised value; -inf keeps it from setting the maximum.
    studentised = np.where(varies, (values - values.mean(axis=0)) / spread, -np.inf)
    largest = studentised.max(axis=1, initial=-np.inf)
    # where the observed value ties with others, each of them counts against it
    reached = np.where(varies, studentised[0] - tie / spread, -np.inf)

    def on_grid(cells: np.ndarray) -> np.ndarray:
        grid = np.full(observed.shape, np.nan)
        grid[defined] = cells
        return grid

    informative = (sd > 0) & (np.ptp(values[1:], axis=0) > 2 * tie)
    z = np.divide(values[0] - mean, sd, out=np.full_like(mean, np.nan), where=informative)
    return PermutationTest(
        observed=observed,
        mean=on_grid(mean),
        sd=on_grid(sd),
        z=on_grid(z),
        p=on_grid((values >= values[0] - tie).mean(axis=0)),
        p_family=on_grid((largest[:, None] >= reached).mean(axis=0)),
        floor=1 / len(values),
    )


def separate_tests(
    observed: Float[np.ndarray, "*cells kinds"],
    null: Float[np.ndarray, "permutations *cells kinds"],
) -> PermutationTest:
    """`permutation_test` of each entry of the last axis by itself: one max-T family for each kind,
    since nulls of different kinds answer different questions."""
    tests = [permutation_test(observed[..., k], null[..., k]) for k in range(observed.shape[-1])]
    stacked = {
        entry.name: np.stack([getattr(test, entry.name) for test in tests], axis=-1)
        for entry in fields(PermutationTest)
        if entry.name != "floor"
    }
    return PermutationTest(**stacked, floor=tests[0].floor)


def p_among(value: SupportsFloat, others: Real[np.ndarray, " others"]) -> float:
    """One-sided p of a value among others that are exchangeable with it under the null.

    (1 + number of others at or above the value) / (1 + number of others), where values that differ
    by no more than rounding count as equal. Raises ValueError without others.
    """
    observed, null = np.array([float(value)]), others[:, None].astype(float)
    return float(permutation_test(observed, null).p[0])


def fdr(p: Float[np.ndarray, "*cells"]) -> Float[np.ndarray, "*cells"]:
    """Benjamini-Hochberg adjusted p values of *analytic* p values; NaN cells stay NaN.

    For permutation p values use `permutation_test(...).p_family` (see the module's rule 2).
    """
    adjusted = np.full(p.shape, np.nan)
    defined = ~np.isnan(p)
    if defined.any():
        adjusted[defined] = scipy.stats.false_discovery_control(p[defined])
    return adjusted


def fdr_survivors(
    counts: Int[np.ndarray, "*families bins"],
    largest: Float[np.ndarray, " bins"],
    *,
    level: float = 0.05,
) -> Int[np.ndarray, "*families"]:
    """How many p values survive the Benjamini-Hochberg procedure, told from counts in bins.

    Each family is corrected by itself. A p value counts as the largest of its bin, so that the
    answer errs towards fewer by at most the width of a bin.

    Args:
        counts: Number of analytic p values in each bin.
        largest: Largest p of each bin, falling.
        level: False discovery rate.

    Raises:
        ValueError: bins that do not fall.
    """
    if (np.diff(largest) >= 0).any():
        raise ValueError("largest p values of bins must fall from the first bin to the last")
    below = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]  # p values in each bin or past it
    passed = largest <= level * below / counts.sum(axis=-1, keepdims=True)
    first = passed.argmax(axis=-1)[..., None]
    surviving = np.take_along_axis(below, first, axis=-1)[..., 0]
    return np.where(passed.any(axis=-1), surviving, 0)


def r_squared(
    truth: Inexact[np.ndarray, "n *vectors k"], predicted: Inexact[np.ndarray, "n *vectors k"]
) -> Float[np.ndarray, "*vectors"]:
    """Share of the variance of points that predictions explain, 1 - SS_res / SS_tot.

    Squares are summed over rows and coordinates, SS_tot about the mean of the true points. Points
    of the plane may be complex numbers, of one coordinate.
    """
    residual = np.square(np.abs(truth - predicted)).sum(axis=(0, -1))
    total = np.square(np.abs(truth - truth.mean(axis=0))).sum(axis=(0, -1))
    return np.asarray(1 - residual / total)


def permute_groups(
    y: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    n_permutations: int,
    rng: np.random.Generator,
) -> Shaped[np.ndarray, "permutations n"]:
    """`y` with its labels permuted among groups, `n_permutations` times.

    The exchangeable unit is the group: all of its rows receive the label of one other group.
    Raises ValueError when a group carries two labels.
    """
    first, member = one_per_group(groups, {"labels": y})
    order = rng.permuted(np.tile(np.arange(len(first)), (n_permutations, 1)), axis=1)
    return y[first][order][:, member]


def group_weights(
    groups: Shaped[np.ndarray, " n"], n_draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draws n"]:
    """Weights of rows in a Bayesian bootstrap over groups (Rubin 1981), of mean 1.

    No group is ever left out, so what is fitted with them never lacks a class, as it would on
    resamples of few groups.
    """
    names, member = np.unique(groups, return_inverse=True)
    return rng.dirichlet(np.ones(len(names)), size=n_draws)[:, member] * len(names)


def refit_interval(
    estimate: float,
    draws: Float[np.ndarray, " draws"],
    n_groups: int,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """Student's interval of a held-out score, from draws in which everything was fitted anew.

    A bootstrap of fixed held-out predictions leaves out that they share their training rows: such
    95 % intervals held the truth in 74 to 87 % of data sets, where those of refits held it in 96 %
    of 8 groups or of 20 (and in 99 % where every row is a group). A jackknife with refits doubles
    the width, because an accuracy jumps.

    Args:
        estimate: The score on everything.
        draws: The score, fitted and counted with the weights of each draw of `group_weights`.
        n_groups: Number of groups, whose degrees of freedom the interval has.
        level: Confidence level.
        bounds: What the score cannot exceed.

    Raises:
        ValueError: fewer than three groups, or draws on a tenth of which it is undefined.
    """
    defined = draws[np.isfinite(draws)]
    if n_groups < 3 or len(defined) < max(2, 0.9 * len(draws)):
        raise ValueError(
            f"{n_groups} groups, and the score defined on {len(defined)} of {len(draws)} draws: "
            "an interval needs more groups"
        )
    half = scipy.stats.t.ppf((1 + level) / 2, n_groups - 1) * defined.std()
    return float(max(bounds[0], estimate - half)), float(min(bounds[1], estimate + half))


def interval(
    draws: Float[np.ndarray, "*cells"], *, axis: int = 0, level: float = 0.95
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Lower and upper limits between which `level` of the draws along an axis lie; NaN draws are
    left out."""
    tail = round((1 - level) / 2, 12)  # .025 at 95 %, without the rounding of 1 - .95
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=axis)
    return np.asarray(low), np.asarray(high)


def mean_interval(
    values: Float[np.ndarray, " units"], *, level: float = 0.95
) -> tuple[float, float]:
    """Student's limits of the mean over units.

    A percentile bootstrap of eight units covers 88 % where 95 % are asked for. Units that all have
    one value leave limits of next to no width.
    """
    error = scipy.stats.sem(values) or np.finfo(float).tiny
    low, high = scipy.stats.t.interval(level, len(values) - 1, loc=values.mean(), scale=error)
    return float(low), float(high)


def jackknife_error(
    without: Float[np.ndarray, "units *cells"],
) -> Float[np.ndarray, "*cells"]:
    """Standard error of a statistic from its values without each unit in turn (Efron & Stein
    1981)."""
    return np.asarray(np.sqrt((len(without) - 1) * without.var(axis=0)))


def jackknife_half_width(
    without: Float[np.ndarray, "units *cells"], *, level: float = 0.95
) -> Float[np.ndarray, "*cells"]:
    """Half of an interval's width: the jackknife's error times Student's t, for few units."""
    few = scipy.stats.t.ppf((1 + level) / 2, len(without) - 1)
    return np.asarray(few * jackknife_error(without))


def simultaneous_band(
    estimate: Float[np.ndarray, " cells"],
    draws: Float[np.ndarray, "resamples cells"],
    *,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Lower and upper limits that hold at all cells at once, from a joint bootstrap.

    `draws[b]` holds every cell on the *same* resample b. Deviations from the estimate are divided
    by the cell's standard deviation, and the quantile of the largest one over cells is the half
    width in those units (Romano & Wolf 2005), so that a reader may pick the best cell afterwards.
    Cells that are NaN, or on a tenth or more of the resamples, stay NaN and are left out of the
    maximum; so are resamples on which a remaining cell is undefined.
    """
    low, high = np.full(estimate.shape, np.nan), np.full(estimate.shape, np.nan)
    kept = np.isfinite(estimate) & (np.isnan(draws).mean(axis=0) < 0.1)
    whole = draws[:, kept][np.isfinite(draws[:, kept]).all(axis=1)]
    if not kept.any() or len(whole) < 2:
        return low, high
    sd = whole.std(axis=0)
    deviation = np.abs(whole - estimate[kept])
    # A cell that does not vary (one compared with itself) has an interval of no width.
    studentised = np.divide(deviation, sd, out=np.zeros_like(deviation), where=sd > 0)
    half = np.quantile(studentised.max(axis=1), level) * sd
    low[kept], high[kept] = estimate[kept] - half, estimate[kept] + half
    return low, high


@dataclass(frozen=True)
class RandomEffects:
    """One quantity, measured in several runs or models that differ in truth."""

    mean: float
    """Mean over the runs that could have been."""
    interval: tuple[float, float]
    """Limits of the mean."""
    between: float
    """Standard deviation between runs, beyond their own errors."""


def random_effects(
    estimates: Float[np.ndarray, " runs"],
    errors: Float[np.ndarray, " runs"],
    *,
    level: float = 0.95,
) -> RandomEffects:
    """Combine estimates with standard errors (DerSimonian & Laird 1986), limits by Student's t on
    the runs' own scatter (Hartung & Knapp 2001), since a normal's are too narrow for few runs.

    Args:
        estimates: Of each run.
        errors: Standard error of each.
        level: Confidence level.

    Raises:
        ValueError: fewer than two runs, an estimate that is not finite, or an error that is not
            above 0.
    """
    k = len(estimates)
    if k < 2 or not np.isfinite(estimates).all() or not (errors > 0).all():
        raise ValueError(
            f"estimates {estimates.tolist()} with errors {errors.tolist()}; needed: two finite "
            "estimates or more, and errors above 0"
        )
    fixed = 1 / errors**2
    scatter = float(fixed @ (estimates - fixed @ estimates / fixed.sum()) ** 2)
    excess = scatter - (k - 1)
    variance = max(0.0, excess / float(fixed.sum() - (fixed**2).sum() / fixed.sum()))
    weights = 1 / (errors**2 + variance)
    mean = float(weights @ estimates / weights.sum())
    spread = float(weights @ (estimates - mean) ** 2 / ((k - 1) * weights.sum()))
    half = float(scipy.stats.t.ppf((1 + level) / 2, k - 1)) * spread**0.5
    return RandomEffects(mean, (mean - half, mean + half), variance**0.5)


def grouped_folds(
    groups: Shaped[np.ndarray, " n"], n_splits: int, seed: int
) -> list[tuple[Integer[np.ndarray, " _"], Integer[np.ndarray, " _"]]]:
    """(train, test) rows of `n_splits` folds that never split a group, shuffled by `seed`.

    Folds are balanced in rows: groups of one size are dealt out in runs, which for groups of
    single rows is scikit-learn's `KFold(n_splits, shuffle=True, random_state=seed)`; otherwise
    each group, largest first, joins the smallest fold so far. Raises ValueError when there are
    fewer groups than folds.
    """
    names, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= n_splits <= len(names):
        raise ValueError(f"n_splits={n_splits} must lie in 2..{len(names)}, the number of groups")
    order = np.random.RandomState(seed).permutation(len(names))
    fold_of = np.empty(len(names), dtype=int)
    if np.ptp(size) == 0:
        for fold, run in enumerate(np.array_split(order, n_splits)):
            fold_of[run] = fold
    else:
        load = np.zeros(n_splits)
        for group in order[np.argsort(-size[order], kind="stable")]:
            fold_of[group] = load.argmin()
            load[fold_of[group]] += size[group]
    row_fold = fold_of[member]
    return [
        (np.flatnonzero(row_fold != fold), np.flatnonzero(row_fold == fold))
        for fold in range(n_splits)
    ]
