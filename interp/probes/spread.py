"""How far a held-out score would move with other groups: intervals from probes fitted anew.

1. Features are scaled and rotated once, by all rows: both look at no label, and one group more or
   less hardly moves them.
2. Each draw weighs whole groups (Bayesian bootstrap, `interp.stats.group_weights`), in the fits and
   in the scores alike. All draws are label vectors of one batch, as permutations are.
3. The draws' standard deviation gives Student's interval (`interp.stats.refit_interval`).
"""

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

from interp.probes.heldout import Fit, UndefinedProbe, features_of, heldout_values
from interp.stats import group_weights, refit_interval

Interval = tuple[float, float]
UNDEFINED: Interval = (float("nan"), float("nan"))


def intervals(
    rows: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " n"],
    fold: Integer[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    fit: Fit,
    *,
    estimates: tuple[float, float],
    n_draws: int,
    level: float,
    seed: int,
) -> tuple[Interval, Interval]:
    """Intervals of the score and of the ordering, NaN where groups are too few for one."""
    weights = group_weights(groups, n_draws, np.random.default_rng(seed))
    labels = np.broadcast_to(y, weights.shape)
    plain = Fit(fit.n_classes, fit.C, standardise=False)
    try:
        values, means = heldout_values(features_of(rows, fit), labels, fold, plain, weights=weights)
    except UndefinedProbe:
        return UNDEFINED, UNDEFINED
    number = len(np.unique(groups))
    if fit.n_classes is None:
        draws = (
            [_r_squared(y, v[:, 0], m, w) for v, m, w in zip(values, means, weights, strict=True)],
            [_correlation(y, v[:, 0], fold, w) for v, w in zip(values, weights, strict=True)],
        )
        bounds = ((-np.inf, 1.0), (-1.0, 1.0))
    else:
        draws = (
            [_recall(y, v, fit.n_classes, w) for v, w in zip(values, weights, strict=True)],
            [_auroc(y, v, fit.n_classes, fold, w) for v, w in zip(values, weights, strict=True)],
        )
        bounds = ((0.0, 1.0), (0.0, 1.0))
    score, ordering = (
        _limits(estimate, np.array(each), number, level, ends)
        for estimate, each, ends in zip(estimates, draws, bounds, strict=True)
    )
    return score, ordering


def _limits(
    estimate: float,
    draws: Float[np.ndarray, " draws"],
    n_groups: int,
    level: float,
    bounds: tuple[float, float],
) -> Interval:
    if np.isnan(estimate):
        return UNDEFINED
    try:
        return refit_interval(estimate, draws, n_groups, level=level, bounds=bounds)
    except ValueError:
        return UNDEFINED


def _recall(
    y: Int[np.ndarray, " n"],
    values: Float[np.ndarray, "n columns"],
    n_classes: int,
    weights: Float[np.ndarray, " n"],
) -> float:
    """Weighted mean recall of the classes that occur."""
    predicted = (values[:, 0] > 0).astype(int) if n_classes == 2 else values.argmax(axis=1)
    total = np.bincount(y, weights, minlength=n_classes)
    right = np.bincount(y, weights * (predicted == y), minlength=n_classes)
    return float((right[total > 0] / total[total > 0]).mean())


def _auroc(
    y: Int[np.ndarray, " n"],
    values: Float[np.ndarray, "n columns"],
    n_classes: int,
    fold: Integer[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
) -> float:
    """Weighted share of pairs within folds in the right order, mean over classes."""
    columns = range(n_classes) if n_classes > 2 else (1,)
    each = [
        _one_auroc(y == k, values[:, k if n_classes > 2 else 0], fold, weights) for k in columns
    ]
    return float(np.nanmean(each)) if not np.isnan(each).all() else np.nan


def _one_auroc(
    positive: np.ndarray, values: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> float:
    right = pairs = 0.0
    for held_out in np.unique(fold):
        inside = fold == held_out
        order = np.argsort(values[inside], kind="stable")
        heavy = weights[inside][order]
        above, below = heavy * positive[inside][order], heavy * ~positive[inside][order]
        right += above @ (np.cumsum(below) - below / 2)
        pairs += above.sum() * below.sum()
    return float(right / pairs) if pairs > 0 else np.nan


def _r_squared(y: np.ndarray, values: np.ndarray, means: np.ndarray, weights: np.ndarray) -> float:
    total = weights @ (y - means) ** 2
    return float(1 - weights @ (y - values) ** 2 / total) if total > 0 else np.nan


def _correlation(y: np.ndarray, values: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> float:
    """Weighted correlation of ranks, within folds, averaged by their weight."""
    found, sizes = [], []
    for held_out in np.unique(fold):
        inside = fold == held_out
        ranks = np.stack([np.argsort(np.argsort(side[inside])) for side in (y, values)]).astype(
            float
        )
        heavy = weights[inside] / weights[inside].sum()
        ranks -= (ranks @ heavy)[:, None]
        (left, cross), (_, right) = (ranks * heavy) @ ranks.T
        if left > 0 and right > 0:
            found.append(cross / np.sqrt(left * right))
            sizes.append(weights[inside].sum())
    return float(np.average(found, weights=sizes)) if found else np.nan
