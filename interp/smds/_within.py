"""Does a word that holds the category (the month) hold the place within it (the day) as well?

1. Category means are taken out of activations and of two targets: the number within the category
   (day 1 to 31), and the place on the arc (cosine and sine of the label).
2. A ridge smoother on the residuals, standardised and scaled to unit mean square, predicts each
   target with folds by group.
3. The null exchanges the groups of one category with one another (dates within their month), with
   folds and smoother as they are, so that the category's part stays in every draw.
4. max-T over depths, by target. A null's held-out R2 lies below 0: judge by p, and read R2 less the
   null's mean.

That a word knows the day's number and that the date lies on the circle are two statements; planted,
each is found by its own target and not by the other's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.linalg import cho_factor, cho_solve

from interp.arrays import one_per_group
from interp.stats import PermutationTest, grouped_folds, separate_tests

TARGETS = ("number", "arc")
"""Within the category: its number, and its place on the circle of labels."""


@dataclass(frozen=True)
class WithinCategory:
    """Held-out R2 of places within categories, by depth and target."""

    depths: tuple[str, ...]
    """Names of the depths."""
    test: PermutationTest
    """[depth, target], targets as `TARGETS`; p_family is over the depths of a target."""

    def best(self, target: str = "number") -> int | None:
        """The depth, by number, at which a target has the largest z; None where none has one."""
        if not np.isfinite(self.p(target)).any():
            return None
        z = self.test.z[:, TARGETS.index(target)]
        return int(np.argmax(np.where(np.isnan(z), -np.inf, z)))

    def p(self, target: str = "number") -> Float[np.ndarray, " depth"]:
        """p of a target at every depth, corrected over the depths."""
        return self.test.p_family[:, TARGETS.index(target)]


def within_category(
    cells: Iterable[tuple[str, Float[np.ndarray, "n d"]]],
    label: Float[np.ndarray, " n"],
    category: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    period: float,
    n_splits: int = 5,
    n_permutations: int = 199,
    ridge: float = 1.0,
    seed: int = 0,
) -> WithinCategory:
    """Test every depth of one position for places within categories.

    Args:
        cells: (depth, activations) of one position.
        label: Place of each row on the cycle, in units of the period.
        category: Category of each row.
        groups: Exchangeable unit; all rows of one share label and category.
        period: Length of the cycle in label units.
        n_splits: Folds by group.
        n_permutations: Exchanges of groups within categories.
        ridge: Penalty, where the smoother's kernel has a mean square of 1.
        seed: Of folds and exchanges.

    Raises:
        ValueError: no cells, a group with two labels or categories, or no category with two groups.
    """
    folds = grouped_folds(groups, n_splits, seed)
    labels = _exchanged(label, category, groups, n_permutations, np.random.default_rng(seed))
    targets = [_number(labels), _arc(labels, period)]
    targets = [_within(target, category) for target in targets]
    depths, values = [], []
    for depth, X in cells:
        depths.append(depth)
        values.append(_heldout_r2(X, category, targets, folds, ridge))
    if not depths:
        raise ValueError("there are no cells to test")
    table = np.moveaxis(np.array(values), -1, 0)  # [draw, depth, target]
    return WithinCategory(tuple(depths), separate_tests(table[0], table[1:]))


def _exchanged(
    label: Float[np.ndarray, " n"],
    category: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    n_permutations: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw n"]:
    """True labels, then labels exchanged among the groups of each category."""
    first, member = one_per_group(groups, {"labels": label, "categories": category})
    own, of = label[first], category[first]
    drawn = np.tile(own, (n_permutations + 1, 1))
    sizes = []
    for name in np.unique(of):
        units = np.flatnonzero(of == name)
        sizes.append(len(units))
        drawn[1:, units] = rng.permuted(np.tile(own[units], (n_permutations, 1)), axis=1)
    if max(sizes) < 2:
        raise ValueError("every category holds one group; places within them need two or more")
    return drawn[:, member]


def _number(labels: Float[np.ndarray, "draw n"]) -> Float[np.ndarray, "n draw 1"]:
    return labels.T[:, :, None]


def _arc(labels: Float[np.ndarray, "draw n"], period: float) -> Float[np.ndarray, "n draw 2"]:
    angle = 2 * np.pi * labels.T / period
    return np.stack([np.cos(angle), np.sin(angle)], axis=2)


def _within(values: np.ndarray, category: Int[np.ndarray, " n"]) -> np.ndarray:
    """Rows less the mean of their category."""
    values = np.array(values, dtype=np.float64)
    for name in np.unique(category):
        values[category == name] -= values[category == name].mean(axis=0)
    return values


def _heldout_r2(
    X: Float[np.ndarray, "n d"],
    category: Int[np.ndarray, " n"],
    targets: Sequence[Float[np.ndarray, "n draw _"]],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    ridge: float,
) -> Float[np.ndarray, "target draw"]:
    residuals = _within(X, category)
    sd = residuals.std(axis=0)
    residuals = residuals[:, sd > 0] / sd[sd > 0]
    if not residuals.shape[1]:
        return np.full((len(targets), targets[0].shape[1]), np.nan)
    kernel = residuals @ residuals.T / residuals.shape[1]
    errors = [np.empty_like(target) for target in targets]
    for train, test in folds:
        inner = kernel[np.ix_(train, train)] + ridge * np.eye(len(train))
        smoother = cho_solve(cho_factor(inner), kernel[np.ix_(train, test)]).T
        for error, target in zip(errors, targets, strict=True):
            fitted = smoother @ target[train].reshape(len(train), -1)
            error[test] = target[test] - fitted.reshape(len(test), *target.shape[1:])
    return np.stack(
        [
            1 - (error**2).sum(axis=(0, 2)) / (target**2).sum(axis=(0, 2))
            for error, target in zip(errors, targets, strict=True)
        ]
    )
