"""Intervals over pairs for an excess and a z.

The usual bootstrap draws pairs with replacement, so that a pair meets its own copy among the
"scrambled" ones; that copy fits as well as a pair does, and every resampled z comes out too low.
Here strangers are weighed by products of counts over *distinct* pairs only:

1. counts w of m pairs drawn within a stratum, p = w / sum w;
2. means over the diagonal by weights p_i, means off it by p_i p_j / (1 - sum p^2), put together as
   the n by n table of that size has them: 1/m diagonal, 1 - 1/m strangers;
3. row, column and grand means of that kind centre the scores; their weighted squares, put together
   likewise, give the variance of the scrambled sum, and the weighted diagonal its excess.

With every count 1 this is `pairing_test`'s excess and z exactly. All resamples are a few matrix
products.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from interp import arrays
from interp.alignment._pairing import by_group, doubly_centred, strata_rows
from interp.alignment._scores import OK, PairingScores, refuse_fitted
from interp.arrays import Arraylike


@dataclass(frozen=True)
class Resampled:
    """Excess and z of resampled pairs; resample b of two matrices holds the same pairs."""

    excess: Float[np.ndarray, " resamples"]
    """Matched minus expected score."""
    z: Float[np.ndarray, " resamples"]
    """z of that many pairs; NaN where undefined."""


def draw_pairs(
    n: int,
    n_boot: int,
    *,
    strata: Arraylike | None = None,
    groups: Arraylike | None = None,
    rng: np.random.Generator,
) -> Integer[np.ndarray, "resamples n"]:
    """How often each pair is drawn, as many within each stratum as it has; pairs of one group are
    drawn together. Raises ValueError unless strata and groups have a label for each pair, and for a
    group in two strata."""
    if groups is not None:
        member = np.unique(arrays.groups(groups, n), return_inverse=True)[1]
        first = np.unique(member, return_index=True)[1]
        own = None if strata is None else arrays.labels(strata, n, name="strata")
        if own is not None and (split := np.flatnonzero(own != own[first][member])).size:
            raise ValueError(f"the group of row {split[0]} lies in two strata")
        of_groups = None if own is None else own[first]
        return draw_pairs(len(first), n_boot, strata=of_groups, rng=rng)[:, member]
    counts = np.zeros((n_boot, n), dtype=int)
    for rows in strata_rows(n, strata).values():
        m = len(rows)
        counts[:, rows] = rng.multinomial(m, np.full(m, 1 / m), size=n_boot)
    return counts


def resample(
    scores: PairingScores,
    counts: Integer[np.ndarray, "resamples n"],
    strata: Arraylike | None = None,
) -> Resampled:
    """`pairing_test(scores, strata)` on every resample.

    `counts` come from `draw_pairs` with the same groups and the same strata, or finer ones; for a
    part of the pairs, its columns of a larger draw. A resample that leaves a stratum with fewer
    than two distinct pairs is NaN. Raises ValueError for scores that rest on a fit, and where the
    pairs of a group were not drawn together.
    """
    refuse_fitted(scores, "resampled pairs need a new fit")
    if scores.groups is not None:
        first = np.unique(scores.groups, return_index=True)[1]
        member = scores.groups
        scores, strata = by_group(scores, strata, member)
        several = any(len(rows) > 1 for rows in strata_rows(len(scores.values), strata).values())
        if several and (counts != counts[:, first][:, member]).any():
            raise ValueError(
                "counts differ within a group of the scores, whose pairs are drawn together; give "
                "draw_pairs groups=scores.groups"
            )
        counts = counts[:, first]
    excess = np.zeros(len(counts))
    variance = np.zeros(len(counts))
    for rows in strata_rows(len(scores.values), strata).values():
        if len(rows) < 2:  # nothing to scramble, whatever is drawn
            continue
        sums = _stratum(scores.values[np.ix_(rows, rows)], counts[:, rows])
        excess, variance = excess + sums[0], variance + sums[1]
    # Below this a variance is rounding: each of the n^2 scores is off by the resolution at most.
    known = variance > len(scores.values) * scores.resolution**2
    if scores.status != OK:
        known[:] = False
    z = np.divide(excess, np.sqrt(variance), out=np.full_like(excess, np.nan), where=known)
    return Resampled(excess / len(scores.values), z)


def _stratum(
    block: Float[np.ndarray, "m m"], counts: Integer[np.ndarray, "resamples m"]
) -> tuple[Float[np.ndarray, " resamples"], Float[np.ndarray, " resamples"]]:
    """Excess of the matched sum and variance of the scrambled one, for every resample."""
    m = len(block)
    # Rows' and columns' levels cancel in the end; taken away now, they cost no digits.
    block = doubly_centred(block)
    own, strangers = np.diag(block), 1 - 1 / m
    with np.errstate(invalid="ignore", divide="ignore"):  # one pair drawn alone has no strangers
        p = counts / counts.sum(axis=1, keepdims=True)
        twice = (p**2).sum(axis=1)
        by_row, by_column = p @ block.T, p @ block
        diagonal = p @ own
        whole = (p * by_column).sum(axis=1)
        grand = diagonal / m + strangers * (whole - p**2 @ own) / (1 - twice)
        row = own / m + strangers * (by_row - p * own) / (1 - p)
        column = own / m + strangers * (by_column - p * own) / (1 - p)
        row_mean, column_mean = (p * row).sum(axis=1), (p * column).sum(axis=1)
        squares = (
            (p @ block**2 * p).sum(axis=1)
            + (p * row**2).sum(axis=1)
            + (p * column**2).sum(axis=1)
            + grand**2
            - 2 * (p * row * by_row).sum(axis=1)
            - 2 * (p * column * by_column).sum(axis=1)
            + 2 * grand * (whole - row_mean - column_mean)
            + 2 * row_mean * column_mean
        )
        residual = own - row - column + grand[:, None]
        paired, copied = (p * residual**2).sum(axis=1), (p**2 * residual**2).sum(axis=1)
        total = m * paired + m * (m - 1) * (squares - copied) / (1 - twice)
    return m * (diagonal - grand), np.maximum(total, 0) / (m - 1)
