"""Which shape fits best? By gain over each shape's own null, never by raw score.

1. Shapes have different floors (at two components and 200 dimensions, pure noise scores .53 for
   365 clusters and .18 for a logarithmic line), so each score is compared with that shape's own
   permutations, the same permutations and folds for all shapes.
2. Shapes are ranked by gain, (score - null mean) / (1 - null mean): the share, of what a shape can
   gain over its own null, that it does gain (Cohen's kappa has this form). z, which divides by the
   null's spread instead, tells how sure it is that a shape gains anything. It is no order of
   shapes, since that spread differs between them: of 80 planted semicircles (200 and 400 rows of
   100 and 200 dimensions, five default shapes) z put another shape first in 69, gain in 9.
3. A lead in gain must exceed a margin: Student's t times the standard error of a jackknife over
   groups, which fits everything anew without each of 20 parts of them (Efron & Tibshirani 1993,
   ch. 11). The first shape is compared with every other, at the level divided by their number
   (Bonferroni), since which of them comes second was seen in the same data.

The margin is no half width of an interval. A jackknife counts a second-order part of the variance
twice (Efron & Stein 1981), and few groups determine a fit with strong interactions: on a circle
against a line the margin is 1.3, 1.6, 2.0 and 2.5 times 1.96 standard deviations for 120, 36, 24
and 12 groups, so that 394 to 400 of 400 such intervals would cover. As a test it errs on the safe
side. Resampling test rows under maps that stay as they were fitted errs on the other: its 95 %
intervals cover 77 to 87 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist
from scipy.stats import t as student

from interp import arrays
from interp.arrays import Arraylike
from interp.smds.grid import smds_grid
from interp.smds.scaling import stress_score
from interp.smds.shapes import Shape, as_shape
from interp.smds.solver import fold_predictions, gram
from interp.smds.targets import Targets
from interp.stats import grouped_folds

PARTS = 20
"""Parts of the groups that the jackknife leaves out in turn; each group alone where fewer."""


@dataclass(frozen=True)
class Discovery:
    """Shapes in order of gain, best first."""

    shapes: tuple[str, ...]
    """Shape names."""
    score: Float[np.ndarray, " shapes"]
    """Mean held-out score over folds."""
    null_mean: Float[np.ndarray, " shapes"]
    """Mean score of each shape under permuted labels: its floor."""
    z: Float[np.ndarray, " shapes"]
    """(score - null_mean) / standard deviation of the null."""
    p: Float[np.ndarray, " shapes"]
    """Permutation p of each shape, uncorrected."""
    gain: Float[np.ndarray, " shapes"]
    """(score - null_mean) / (1 - null_mean): 0 is chance, 1 perfect, whatever the shape."""
    leads: Float[np.ndarray, " others"]
    """Gain of the first shape less that of each other, in their order."""
    margins: Float[np.ndarray, " others"]
    """What each lead must exceed; for all of them at once."""
    p_floor: float
    """1 / (permutations + 1), below which `p` cannot fall."""

    @property
    def decided(self) -> bool:
        """Whether the first shape is the answer: it leads every other by more than its margin, and
        survives its own null (p <= .05, or at the floor when fewer than 19
        permutations cannot reach that)."""
        survives = self.p[0] <= max(0.05, self.p_floor)
        return bool(survives and (self.leads > self.margins).all())


def discover(
    activations: Arraylike,
    y: Arraylike,
    *,
    groups: Arraylike,
    shapes: Sequence[str | Shape] = ("circular", "linear", "log_linear", "semicircular", "spiral"),
    period: float | int | None = None,
    n_splits: int = 3,
    seed: int = 42,
    alpha: float | int = 1.0,
    n_permutations: int = 200,
    level: float = 0.95,
) -> Discovery:
    """Rank `shapes` on one set of activations [n, d] by gain, with what a lead must exceed.

    Raises ValueError as `smds_grid` does, and for fewer than two shapes or permutations.
    """
    _check(shapes, n_permutations)
    (y, groups), activations = arrays.taken(y, groups), arrays.activations(activations)
    chosen = [as_shape(shape, period=period) for shape in shapes]
    grid = smds_grid(
        [("activations", activations[None])],
        y,
        groups=groups,
        shapes=chosen,
        period=period,
        n_splits=n_splits,
        seed=seed,
        alpha=alpha,
        n_permutations=n_permutations,
        n_jobs=1,
        progress=False,
    )
    if grid.status.item() != "ok":
        raise ValueError(f"activations cannot be scored: {grid.status.item()}")
    null_mean, z = grid.test.mean[0, 0], grid.test.z[0, 0]
    gain = (grid.score[0, 0] - null_mean) / (1 - null_mean)
    order = np.argsort(-gain, kind="stable")
    folds = grouped_folds(groups, n_splits, seed)
    without = _scores_without(activations, y, _parts(groups, seed), chosen, folds, alpha)
    gains = ((without - null_mean) / (1 - null_mean))[:, order]
    return Discovery(
        shapes=tuple(grid.shapes[s] for s in order),
        score=grid.score[0, 0, order],
        null_mean=null_mean[order],
        z=z[order],
        p=grid.test.p[0, 0, order],
        gain=gain[order],
        leads=gain[order[0]] - gain[order[1:]],
        margins=_margins(gains[:, :1] - gains[:, 1:], level),
        p_floor=grid.test.floor,
    )


def _check(shapes: Sequence[str | Shape], n_permutations: int) -> None:
    if len(shapes) < 2:
        raise ValueError(f"shapes={list(shapes)} leaves nothing to rank; give at least two")
    if n_permutations < 2:
        raise ValueError(f"n_permutations={n_permutations} gives a null without spread; at least 2")


def _parts(groups: np.ndarray, seed: int) -> Int[np.ndarray, " n"]:
    """The part of each row: groups dealt at random to `PARTS` of them."""
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1
    return np.random.default_rng(seed).permutation(n_groups)[member] % min(PARTS, n_groups)


def _margins(
    leads: Float[np.ndarray, "parts others"], level: float
) -> Float[np.ndarray, " others"]:
    """From the leads without each part, what the leads must exceed, for all at once."""
    n, others = leads.shape
    error = np.sqrt((n - 1) / n * ((leads - leads.mean(axis=0)) ** 2).sum(axis=0))
    return student.ppf(1 - (1 - level) / 2 / others, n - 1) * error


def _scores_without(
    activations: np.ndarray,
    y: np.ndarray,
    part: Int[np.ndarray, " n"],
    shapes: Sequence[Shape],
    folds: list[tuple[np.ndarray, np.ndarray]],
    alpha: float | int,
) -> Float[np.ndarray, "parts shapes"]:
    """Mean score over folds without each part, fitted and scored anew; NaN where a fold has too
    few rows left."""
    kernel = gram(activations)
    targets = [Targets(shape, y[None]) for shape in shapes]
    scores = np.zeros((int(part.max()) + 1, len(shapes)))
    for left_out in range(len(scores)):
        for rows in folds:
            train, test = (side[part[side] != left_out] for side in rows)
            if len(test) < 2 or len(train) < 2:
                scores[left_out] = np.nan
                break
            columns = [target.coordinates(0, train) for target in targets]
            ends = np.cumsum([points.shape[1] for points in columns])
            embedded = fold_predictions(kernel, train, test, np.hstack(columns), alpha=alpha)
            for s, points in enumerate(np.split(embedded, ends[:-1], axis=1)):
                score = stress_score(targets[s].distances(0, test), pdist(points))
                scores[left_out, s] += score / len(folds)
    return scores
