"""Which shape fits best? By gain over each shape's own null, never by raw score.

1. Shapes have different floors (at two components and 200 dimensions, pure noise scores .53 for
   365 clusters and .18 for a logarithmic line), so each score is compared with that shape's own
   permutations, the same permutations and folds for all shapes.
2. Shapes are ranked by gain, (score - null mean) / (1 - null mean): the share, of what a shape can
   gain over its own null, that it does gain (Cohen's kappa has this form). z, which divides by the
   null's spread instead, tells how sure it is that a shape gains anything. It is no order of
   shapes, since that spread differs between them: of 80 planted semicircles (200 and 400 rows of
   100 and 200 dimensions, five default shapes) z put another shape first in 69, gain in 9.
3. A lead in gain has an interval from a bootstrap over groups that fits everything anew: groups are
   drawn within folds, so that no copy of a group stands on both sides, and the standard deviation
   of the lead over draws is taken 1.96 times. That standard deviation errs upward by a tenth to a
   fifth, so Student's t would cover 394 of 400 data sets of 24 or 36 groups. Resampling test rows
   under maps that stay as they were fitted leaves out what the fit itself varies, and its 95 %
   intervals cover 77 to 87 %; a jackknife over groups covers 98.5 to 100 %, since a fit of few
   groups has strong interactions (Efron & Stein 1981). The first shape is compared with every
   other, at the level divided by their number (Bonferroni), since which of them comes second was
   seen in the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist
from scipy.stats import norm

from interp import arrays
from interp.arrays import Arraylike, centred_gram
from interp.smds._design import Fit
from interp.smds._grid import N_SPLITS, smds_grid
from interp.smds._scaling import stress_score
from interp.smds._shapes import Shape, as_shape
from interp.smds._solver import fold_predictions
from interp.smds._targets import Targets
from interp.stats import Resampling, grouped_folds
from interp.tasks import Workers

ENOUGH = 0.9
"""Share of the draws that must have a score."""


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
    lead_intervals: Float[np.ndarray, "others limits"]
    """Lower and upper limits of `leads`, which hold for all of them at once; NaN where too few
    draws of groups can be scored."""
    p_floor: float
    """1 / (permutations + 1), below which `p` cannot fall."""

    @property
    def decided(self) -> bool:
        """Whether the first shape is the answer: it leads every other beyond the noise of sampling
        groups, and survives its own null (p <= .05, or at the floor when fewer than 19
        permutations cannot reach that)."""
        survives = self.p[0] <= max(0.05, self.p_floor)
        return bool(survives and (self.lead_intervals[:, 0] > 0).all())

    def table(self) -> pd.DataFrame:
        """One row per shape, best first."""
        return pd.DataFrame(
            {
                "shape": self.shapes,
                "gain": self.gain,
                "lead of the first": [np.nan, *self.leads],
                "lead, low": [np.nan, *self.lead_intervals[:, 0]],
                "lead, high": [np.nan, *self.lead_intervals[:, 1]],
                "z": self.z,
                "p": self.p,
                "score": self.score,
                "null": self.null_mean,
            }
        )


def discover(
    activations: Arraylike,
    y: Arraylike,
    *,
    groups: Arraylike,
    shapes: Sequence[str | Shape] = ("circular", "linear", "log_linear", "semicircular", "spiral"),
    period: float | int | None = None,
    alpha: float | int = 1.0,
    resampling: Resampling = Resampling(),
    n_boot: int = 50,
    level: float = 0.95,
) -> Discovery:
    """Rank `shapes` on one set of activations [n, d] by gain, with the leads of the first.

    `resampling` has the permutations and folds, of which there are 3 by default; `n_boot` are draws
    for the intervals of the leads. Raises ValueError as `smds_grid` does, and for fewer than two
    shapes, permutations or draws.
    """
    _check(shapes, resampling.n_permutations, n_boot)
    (y, groups), activations = arrays.taken(y, groups), arrays.activations(activations)
    chosen = [as_shape(shape, period=period) for shape in shapes]
    grid = smds_grid(
        [("activations", activations[None])],
        y,
        groups=groups,
        shapes=chosen,
        period=period,
        fit=Fit(alpha),
        resampling=resampling,
        workers=Workers(n_jobs=1, progress=False),
    )
    if grid.status.item() != "ok":
        raise ValueError(f"activations cannot be scored: {grid.status.item()}")
    null_mean, z = grid.test.mean[0, 0], grid.test.z[0, 0]
    gain = (grid.score[0, 0] - null_mean) / (1 - null_mean)
    order = np.argsort(-gain, kind="stable")
    folds = grouped_folds(groups, resampling.splits(N_SPLITS), resampling.seed)
    drawn = _resampled_scores(activations, y, groups, chosen, folds, alpha, n_boot, resampling.seed)
    gains = ((drawn - null_mean) / (1 - null_mean))[:, order]
    leads = gain[order[0]] - gain[order[1:]]
    half = _half_widths(gains[:, :1] - gains[:, 1:], level)
    return Discovery(
        shapes=tuple(grid.shapes[s] for s in order),
        score=grid.score[0, 0, order],
        null_mean=null_mean[order],
        z=z[order],
        p=grid.test.p[0, 0, order],
        gain=gain[order],
        leads=leads,
        lead_intervals=np.column_stack([leads - half, leads + half]),
        p_floor=grid.test.floor,
    )


def _check(shapes: Sequence[str | Shape], n_permutations: int, n_boot: int) -> None:
    if len(shapes) < 2:
        raise ValueError(f"shapes={list(shapes)} leaves nothing to rank; give at least two")
    if n_permutations < 2:
        raise ValueError(f"n_permutations={n_permutations} gives a null without spread; at least 2")
    if n_boot < 2:
        raise ValueError(f"n_boot={n_boot} gives no spread of the leads; at least 2")


def _half_widths(
    leads: Float[np.ndarray, "draws others"], level: float
) -> Float[np.ndarray, " others"]:
    """Half the widths of limits that hold for all leads at once, from the leads of every draw."""
    scored = np.isfinite(leads).all(axis=1)
    if scored.mean() < ENOUGH:
        return np.full(leads.shape[1], np.nan)
    tail = (1 - level) / 2 / leads.shape[1]
    return norm.ppf(1 - tail) * leads[scored].std(axis=0, ddof=1)


def _resampled_scores(
    activations: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    shapes: Sequence[Shape],
    folds: list[tuple[np.ndarray, np.ndarray]],
    alpha: float | int,
    n_boot: int,
    seed: int,
) -> Float[np.ndarray, "draws shapes"]:
    """Mean score over folds with groups drawn anew, fitted and scored; NaN where a draw leaves a
    fold with one label."""
    kernel, rng = centred_gram(activations), np.random.default_rng(seed)
    targets = [Targets(shape, y[None]) for shape in shapes]
    _, member = np.unique(groups, return_inverse=True)
    scores = np.full((n_boot, len(shapes)), np.nan)
    for scored in scores:
        times = _drawn(member, folds, rng)
        rows = [(np.repeat(a, times[a]), np.repeat(b, times[b])) for a, b in folds]
        if all(len(np.unique(y[test], axis=0)) > 1 for _, test in rows):
            scored[:] = np.mean([_scores(kernel, targets, *fold, alpha) for fold in rows], axis=0)
    return scores


def _drawn(
    member: Int[np.ndarray, " n"],
    folds: list[tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
) -> Int[np.ndarray, " n"]:
    """How often each row is drawn with its group, as many groups in each fold as it has."""
    times = np.zeros(int(member.max()) + 1, dtype=int)
    for _, test in folds:
        own = np.unique(member[test])
        times[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)))
    return times[member]


def _scores(
    kernel: np.ndarray,
    targets: Sequence[Targets],
    train: np.ndarray,
    test: np.ndarray,
    alpha: float | int,
) -> list[float]:
    """Score of every shape on the test rows; a row's distance to its own copy is 0 in both
    geometries and adds nothing."""
    columns = [target.coordinates(0, train) for target in targets]
    ends = np.cumsum([points.shape[1] for points in columns])
    embedded = fold_predictions(kernel, train, test, np.hstack(columns), alpha=alpha)
    parts = np.split(embedded, ends[:-1], axis=1)
    return [
        stress_score(target.distances(0, test), pdist(points))
        for target, points in zip(targets, parts, strict=True)
    ]
