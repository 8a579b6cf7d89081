"""Which shape fits best? Ranked against each shape's own null, never by raw score.

Shapes have different floors (at two components and 200 dimensions, pure noise scores .53 for
365 clusters and .18 for a logarithmic line), so raw scores are not comparable. Shapes are ranked by
gain, (score - null mean) / (1 - null mean): the share, of what a shape can gain over its own null,
that it does gain (Cohen's kappa has this form). Whether it gains anything is for z and p, from
permutations shared by all shapes. z itself is no rank: it also carries the null's spread, which
differs between shapes, and beside strong signals takes a planted semicircle for a line (5 of 6
trials, gain 0 of 6). The lead of the best over the second is bootstrapped with both scored on the
same resampled groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.spatial.distance import pdist, squareform

from interp.smds.grid import smds_grid
from interp.smds.shapes import Shape, as_shape
from interp.smds.solver import fold_predictions, gram
from interp.smds.targets import Targets
from interp.stats import grouped_folds


@dataclass(frozen=True)
class Discovery:
    """Shapes in order of their gain, best first."""

    shapes: tuple[str, ...]
    """Shape names."""
    score: Float[np.ndarray, " shapes"]
    """Mean held-out score over folds."""
    null_mean: Float[np.ndarray, " shapes"]
    """Mean score of each shape under permuted labels: its floor."""
    gain: Float[np.ndarray, " shapes"]
    """(score - null_mean) / (1 - null_mean): 0 is chance, 1 perfect, whatever the shape."""
    z: Float[np.ndarray, " shapes"]
    """Score in standard deviations of the null: evidence that there is a gain, not its size."""
    p: Float[np.ndarray, " shapes"]
    """Permutation p of each shape, uncorrected."""
    lead: float
    """Gain of the best less gain of the second."""
    lead_interval: tuple[float, float]
    """Bootstrap interval of `lead` over groups, both shapes scored on the same resamples."""

    @property
    def decided(self) -> bool:
        """Whether the best shape leads the second beyond the noise of sampling groups."""
        return self.lead_interval[0] > 0


def discover(
    activations: Shaped[np.ndarray, "n d"],
    y: Real[np.ndarray, "n *columns"],
    *,
    groups: Shaped[np.ndarray, " n"],
    shapes: Sequence[str | Shape] = ("circular", "linear", "log_linear", "semicircular", "spiral"),
    period: float | int | None = None,
    n_splits: int = 3,
    seed: int = 42,
    alpha: float | int = 1.0,
    n_permutations: int = 200,
    n_boot: int = 1000,
    level: float = 0.95,
) -> Discovery:
    """Rank `shapes` on one set of activations [n, d], with the lead of the best bootstrapped.

    Raises ValueError as `smds_grid` does, for fewer than two shapes, and when the activations
    cannot be scored.
    """
    if len(shapes) < 2:
        raise ValueError(f"shapes={list(shapes)} leaves nothing to rank; give at least two")
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
    floor = grid.test.mean[0, 0]
    gain = (grid.score[0, 0] - floor) / (1 - floor)
    order = np.argsort(-gain, kind="stable")
    best = order[:2]
    folds, rng = grouped_folds(groups, n_splits, seed), np.random.default_rng(seed)
    two = [chosen[s] for s in best]
    scores = _resampled_scores(
        activations, y, groups, two, folds, alpha=alpha, n_boot=n_boot, rng=rng
    )
    leads = -np.diff((scores - floor[best]) / (1 - floor[best]))
    low, high = np.nanquantile(leads, [(1 - level) / 2, (1 + level) / 2])
    return Discovery(
        shapes=tuple(grid.shapes[s] for s in order),
        score=grid.score[0, 0, order],
        null_mean=floor[order],
        gain=gain[order],
        z=grid.test.z[0, 0, order],
        p=grid.test.p[0, 0, order],
        lead=float(gain[best[0]] - gain[best[1]]),
        lead_interval=(float(low), float(high)),
    )


def _resampled_scores(
    activations: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    shapes: Sequence[Shape],
    folds: list[tuple[np.ndarray, np.ndarray]],
    *,
    alpha: float | int,
    n_boot: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Mean score over folds [n_boot, shapes] with the test groups of each fold resampled.

    A group drawn m times weighs its rows by m, and a pair of rows by the product of their weights;
    a row's distance to its own copy is 0 in both geometries and adds nothing.
    """
    kernel = gram(activations)
    scores = np.zeros((n_boot, len(shapes)))
    for train, test in folds:
        _, member = np.unique(groups[test], return_inverse=True)
        units = member.max() + 1
        weights = rng.multinomial(units, np.full(units, 1 / units), size=n_boot)[:, member]
        weights = weights.astype(np.float64)
        for s, shape in enumerate(shapes):
            target = Targets(shape, y[None])
            ideal = squareform(target.distances(0, test))
            targets = target.coordinates(0, train)
            embedded = fold_predictions(kernel, train, test, targets, alpha=alpha)
            predicted = squareform(pdist(embedded))
            predicted[ideal < 0] = 0
            ideal = np.maximum(ideal, 0)
            cross, own, length = (
                ((weights @ product) * weights).sum(axis=1)
                for product in (ideal * predicted, ideal**2, predicted**2)
            )
            cosine = cross / np.sqrt(own * length)
            scores[:, s] += (1 - np.sqrt(np.maximum(1 - cosine**2, 0))) / len(folds)
    return scores
