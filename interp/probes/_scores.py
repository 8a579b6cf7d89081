"""Scores of held-out predictions, as functions of the rows that a bootstrap draws.

Predicted classes and predicted numbers of all folds may be pooled. Decision values may not: each
fold has an intercept and a scale of its own, and pooling would compare them. What rests on their
order is therefore counted within folds: the AUROC over pairs of one fold, all folds' pairs together
(which weights a fold by its pairs), the rank correlation as the mean of the folds' by their rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

Statistic = Callable[[Integer[np.ndarray, " rows"]], float]


@dataclass(frozen=True)
class HeldOutClasses:
    """What one label vector's probes say about the rows that they were not fitted on."""

    y: Shaped[np.ndarray, " n"]
    """Labels: classes 0..K-1, or numbers."""
    values: Float[np.ndarray, "n columns"]
    """Decision values (one column for two classes) or predicted numbers."""
    baseline: Float[np.ndarray, " n"]
    """Mean label of the rows that each row's probe was fitted on; read for numbers only."""
    fold: Int[np.ndarray, " n"]
    """Fold in which each row was held out."""
    n_classes: int | None
    """K; None for numbers."""

    def score(self) -> Statistic:
        """Balanced accuracy (Brodersen et al. 2010), or R^2 about the training means."""
        if self.n_classes is None:
            return self._r_squared()
        return balanced_accuracy(self.y, self.predicted(), self.n_classes)

    def ordering(self) -> Statistic:
        """AUROC (one class against the rest, mean over classes), or Spearman's correlation."""
        if self.n_classes is None:
            return rank_correlation(self.y, self.values[:, 0], self.fold)
        if self.n_classes == 2:
            return auroc_within_folds(self.y == 1, self.values[:, 0], self.fold)
        each = [
            auroc_within_folds(self.y == k, self.values[:, k], self.fold)
            for k in range(self.n_classes)
        ]
        return partial(_mean_of_defined, each)

    def predicted(self) -> Int[np.ndarray, " n"]:
        """Predicted class of each row."""
        if self.n_classes == 2:
            return (self.values[:, 0] > 0).astype(int)
        return self.values.argmax(axis=1)

    def _r_squared(self) -> Statistic:
        missed = (self.y - self.values[:, 0]) ** 2
        return partial(_explained, missed, (self.y - self.baseline) ** 2)


def balanced_accuracy(
    y: Integer[np.ndarray, " n"], predicted: Integer[np.ndarray, " n"], n_classes: int
) -> Statistic:
    """Mean recall of the classes that occur among the rows; NaN unless two do."""
    return partial(_mean_recall, y, y == predicted, n_classes)


def auroc_within_folds(
    positive: Shaped[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    fold: Integer[np.ndarray, " n"],
) -> Statistic:
    """Share of pairs within a fold that the values order rightly, ties half; NaN without pairs."""
    place = _places(values, fold)
    return partial(_pairs_in_order, positive, place, *_starts(place, fold))


def rank_correlation(
    y: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], fold: Integer[np.ndarray, " n"]
) -> Statistic:
    """Spearman's correlation within folds; folds where either side is one value do not count."""
    sides = [(place, *_starts(place, fold)) for place in (_places(y, fold), _places(values, fold))]
    return partial(_mean_rank_correlation, sides, fold)


# What follows takes the rows last, bound to its data by `partial`: cheaper than a closure where
# types are checked, as a closure would be decorated anew for every label vector.


def _mean_of_defined(each: list[Statistic], rows: np.ndarray) -> float:
    values = np.array([one(rows) for one in each])
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else np.nan


def _explained(missed: np.ndarray, spread: np.ndarray, rows: np.ndarray) -> float:
    total = spread[rows].sum()
    return float(1 - missed[rows].sum() / total) if total > 0 else np.nan


def _mean_recall(y: np.ndarray, hit: np.ndarray, n_classes: int, rows: np.ndarray) -> float:
    count = np.bincount(y[rows], minlength=n_classes)
    found = np.bincount(y[rows], weights=hit[rows], minlength=n_classes)
    present = count > 0
    if present.sum() < 2:
        return np.nan
    return float((found[present] / count[present]).mean())


def _pairs_in_order(
    positive: np.ndarray, place: np.ndarray, start: np.ndarray, here: np.ndarray, rows: np.ndarray
) -> float:
    places, is_positive = place[rows], positive[rows]
    above = np.bincount(places[is_positive], minlength=len(here))
    others = np.bincount(places[~is_positive], minlength=len(here))
    below = np.cumsum(others) - others
    in_fold = np.bincount(here, weights=others)[here]
    pairs = above @ in_fold
    return float(above @ (below - below[start] + others / 2) / pairs) if pairs else np.nan


def _mean_rank_correlation(
    sides: list[tuple[np.ndarray, np.ndarray, np.ndarray]], fold: np.ndarray, rows: np.ndarray
) -> float:
    at = fold[rows]
    size = np.bincount(at)
    ranks = []
    for place, start, here in sides:
        count = np.bincount(place[rows], minlength=len(here))
        below = np.cumsum(count) - count
        rank = (below - below[start] + count / 2)[place[rows]]
        ranks.append(rank - size[at] / 2)  # ranks of a fold are centred on half its size
    left, right = ranks
    both, one, other = (
        np.bincount(at, weights=product) for product in (left * right, left**2, right**2)
    )
    defined = (one > 0) & (other > 0)
    if not defined.any():
        return np.nan
    correlations = both[defined] / np.sqrt(one[defined] * other[defined])
    return float(np.average(correlations, weights=size[defined]))


def _places(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Rank of each row by (fold, value), equal rows sharing one, 0 upwards without gaps."""
    order = np.lexsort((values, fold))
    new = (np.diff(values[order]) != 0) | (np.diff(fold[order]) != 0)
    place = np.empty(len(values), dtype=int)
    place[order] = np.concatenate([[0], np.cumsum(new)])
    return place


def _starts(place: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place: the first place of its fold, and its fold."""
    here = np.empty(place.max() + 1, dtype=int)
    here[place] = fold
    return np.searchsorted(here, here), here
