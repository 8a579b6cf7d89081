"""How far a held-out score would move with other groups: intervals from probes fitted anew.

1. Features are scaled and rotated once, by all rows: both look at no label, and one group more or
   less hardly moves them.
2. Each draw weighs whole groups (Bayesian bootstrap, `interp.stats.group_weights`), in the fits and
   in the scores alike. All draws are label vectors of one batch, as permutations are.
3. The draws' standard deviation gives Student's interval (`interp.stats.refit_interval`).
"""

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

from interp.probes._heldout import ProbeFit, UndefinedProbe, features_of, heldout_values
from interp.stats import group_weights, refit_interval

Interval = tuple[float, float]
UNDEFINED: Interval = (float("nan"), float("nan"))


def intervals(
    rows: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " n"],
    fold: Integer[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    fit: ProbeFit,
    *,
    estimates: tuple[float, float],
    n_draws: int,
    level: float,
    seed: int,
) -> tuple[Interval, Interval]:
    """Intervals of the score and of the ordering, NaN where groups are too few for one.

    A rank correlation has none: weights do not reach the ranks, and such intervals held the truth
    in 88 % of data sets where 95 % were asked for.
    """
    weights = group_weights(groups, n_draws, np.random.default_rng(seed))
    labels = np.broadcast_to(y, weights.shape)
    plain = ProbeFit(fit.n_classes, fit.C, standardise=False)
    try:
        values, means = heldout_values(features_of(rows, fit), labels, fold, plain, weights=weights)
    except UndefinedProbe:
        return UNDEFINED, UNDEFINED
    number = len(np.unique(groups))
    if fit.n_classes is None:
        rows_of = zip(values, means, weights, strict=True)
        drawn = [_r_squared(y, v[:, 0], m, w) for v, m, w in rows_of]
        return _limits(estimates[0], drawn, number, level, (-np.inf, 1.0)), UNDEFINED
    recalls = [_recall(y, v, fit.n_classes, w) for v, w in zip(values, weights, strict=True)]
    orders = [_auroc(y, v, fit.n_classes, fold, w) for v, w in zip(values, weights, strict=True)]
    return (
        _limits(estimates[0], recalls, number, level, (0.0, 1.0)),
        _limits(estimates[1], orders, number, level, (0.0, 1.0)),
    )


def _limits(
    estimate: float,
    draws: list[float],
    n_groups: int,
    level: float,
    bounds: tuple[float, float],
) -> Interval:
    if np.isnan(estimate):
        return UNDEFINED
    try:
        return refit_interval(estimate, np.array(draws), n_groups, level=level, bounds=bounds)
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
