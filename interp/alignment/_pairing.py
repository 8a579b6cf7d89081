"""Do pairs fit better than strangers? The permutation test of a score matrix, without permutations.

Let S hold the scores of n by n candidates, T = sum_i S[i, i] the pairs' sum, and let pi be a
uniformly random pairing. Then sum_i S[i, pi(i)] has

1. mean n * mean(S);
2. variance |S~|^2 / (n - 1), the sum of squares of the doubly centred S~ (Hoeffding 1951);
3. third central moment n / ((n - 1) (n - 2)) * sum(S~^3): written out over equal and distinct
   indices, every term with an index that occurs once vanishes, because rows and columns of S~ sum
   to zero, and those left share this sum.

Within strata (pairs scrambled only among their category) the sum is one of independent sums, and
each moment adds up. So z is exact. p follows from the three moments by Pearson's type III
distribution, or from all arrangements where they can be counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial, prod

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import pearson3

from interp import arrays
from interp.alignment._scores import OK, PairingScores, collapsed, cosines, taken
from interp.arrays import Arraylike

ENUMERATED = factorial(7)
"""Up to this many arrangements p is counted rather than approximated."""

FINEST = 60
"""Parts of 1 down to which scores are looked at for a common step, as places shared by ties."""


@dataclass(frozen=True)
class Pairing:
    """Matched scores held against every way of scrambling the pairs, one-sided."""

    matched: float
    """Mean score of the pairs; of groups, each of which counts once, where there are any."""
    expected: float
    """Mean of that over all scramblings."""
    sd: float
    """Standard deviation of that over all scramblings."""
    z: float
    """(matched - expected) / sd; NaN where scrambling changes nothing."""
    p: float
    """Share of scramblings with a mean at or above `matched`; exact up to 5,040 arrangements, else
    from their first three moments, from half a step below where sums move in steps, as of hits."""
    status: str
    """`ok`, or why z is undefined."""
    silent: tuple[str, ...]
    """Strata in which scrambling changes nothing, and which therefore say nothing."""

    @property
    def excess(self) -> float:
        """Matched minus expected, in units of the score."""
        return self.matched - self.expected

    @classmethod
    def undefined(cls, why: str) -> "Pairing":
        """A test without numbers, with the reason as its status."""
        return cls(np.nan, np.nan, np.nan, np.nan, np.nan, why, ())


def matched_vs_scrambled(
    A: Arraylike,
    B: Arraylike,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    centre: bool = False,
) -> Pairing:
    """Mean cosine of pairs against scrambled pairs: `pairing_test` of `cosines(A, B)`.

    `A` and `B` have one shape, [n, d]; rows of one number are a pair. Raises ValueError where those
    functions do, and for a stratum of one pair or group, which no scrambling can move.
    """
    A, B = taken(A, B)
    scores = cosines(A, B, groups=groups, centre=centre)
    rows_of = strata_rows(len(A), strata)
    given = np.arange(len(A)) if groups is None or scores.groups is None else scores.groups
    alone = [name for name, rows in rows_of.items() if len(np.unique(given[rows])) < 2]
    if alone:
        raise ValueError(
            f"stratum {alone[0]!r} holds 1 pair or group, which cannot be scrambled; merge or drop "
            f"it (strata: {', '.join(rows_of)})"
        )
    return pairing_test(scores, strata)


def pairing_test(
    scores: PairingScores,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    n_permutations: int = 199,
    seed: int = 0,
) -> Pairing:
    """The diagonal of `scores` against all pairings, or all that stay within `strata`.

    A template shared within a category makes strangers of other categories unlike, which inflates
    the unstratified z; give the category as strata, and report both. A stratum of one pair is
    silent.

    Pairs of one group (`groups`, by default those of the scores) are exchanged together, and within
    one stratum: the statistic is the mean over groups of the mean score of all their rows with one
    another, and the null exchanges groups. Groups of different size change places only where their
    rows are copies: the mean of many rows that differ scatters less than one row. A group of a size
    that no other has is silent.

    Scores that rest on something fitted (`heldout_procrustes`) are tested by `n_permutations`
    re-pairings of whole groups, with everything fitted anew; `seed` draws them. A count of hits
    over the true pairs' fit would pass a tenth of noise at .05.

    Raises ValueError unless there is a label for each pair, and for a group in two strata.
    """
    n = len(scores.values)
    strata = None if strata is None else arrays.labels(strata, n, name="strata")
    member = scores.groups
    if groups is not None:
        member = np.unique(arrays.groups(groups, n), return_inverse=True)[1]
    if scores.status != OK:
        return Pairing.undefined(scores.status)
    if scores.refit is not None:
        return _refitted(scores, strata, member, n_permutations, seed)
    if member is not None and len(np.unique(member)) < n:
        scores, strata = by_group(scores, strata, member)
    if scores.status != OK:
        return Pairing.undefined(scores.status)
    return _counted(scores, strata)


def _counted(scores: PairingScores, strata: np.ndarray | None) -> Pairing:
    """By the moments of all pairings within strata, or by all of them where they are few."""
    rows_of = strata_rows(len(scores.values), strata)
    blocks = {name: scores.values[np.ix_(rows, rows)] for name, rows in rows_of.items()}
    silent = tuple(
        name
        for name, block in blocks.items()
        if np.abs(doubly_centred(block)).max() <= scores.resolution
    )
    n = len(scores.values)
    matched = float(np.trace(scores.values) / n)
    expected = float(sum(len(block) * block.mean() for block in blocks.values()) / n)
    if len(silent) == len(blocks):
        reason = _why_silent(blocks, scores.resolution, strata is not None)
        return Pairing(matched, expected, 0.0, np.nan, np.nan, reason, silent)
    spoken = [block for name, block in blocks.items() if name not in silent]
    sd = float(np.sqrt(sum(_moments(block)[0] for block in spoken)))
    z = n * (matched - expected) / sd
    return Pairing(matched, expected, sd / n, z, _p(spoken, z, sd), OK, silent)


def by_group(
    scores: PairingScores, strata: np.ndarray | None, member: np.ndarray
) -> tuple[PairingScores, np.ndarray | None]:
    """Scores of groups with groups, and the stratum of each; of its size too, where rows differ."""
    within = np.zeros(len(member), dtype=int) if strata is None else strata
    if strata is not None and all(len(np.unique(member[within == s])) == 1 for s in set(within)):
        member = np.unique(strata, return_inverse=True)[1]  # nothing varies in any stratum
    first, size = np.unique(member, return_index=True, return_counts=True)[1:]
    split = np.flatnonzero(within != within[first][member])
    if split.size:
        one, other = first[member[split[0]]], split[0]
        apart = f"{str(within[one])!r} and {str(within[other])!r}"
        raise ValueError(
            f"the group of rows {one} and {other} (given, or equal on both sides) lies in two "
            f"strata, {apart}; a group is exchanged within one"
        )
    means = collapsed(scores, member)
    copied = np.abs(means.values[np.ix_(member, member)] - scores.values).max() <= scores.resolution
    if copied or np.ptp(size) == 0:
        return means, None if strata is None else within[first]
    name = "" if strata is None else "{}, "
    kinds = [name.format(s) + f"groups of {k}" for s, k in zip(within[first], size, strict=True)]
    if len(set(kinds)) == len(kinds):
        return replace(means, status="no two groups of one size, which could change places"), None
    return means, np.array(kinds)


def _refitted(
    scores: PairingScores,
    strata: np.ndarray | None,
    member: np.ndarray | None,
    n_permutations: int,
    seed: int,
) -> Pairing:
    """By re-pairings within strata, everything fitted anew for each; groups of one size change
    places with one another, row by row."""
    assert scores.refit is not None
    n = len(scores.values)
    member = np.arange(n) if member is None else member
    sizes = np.bincount(member)[member]
    within = np.zeros(n, dtype=int) if strata is None else strata
    kinds = np.array([f"{name}, {size}" for name, size in zip(within, sizes, strict=True)])
    rng = np.random.default_rng(seed)
    sums = [scores.refit(_repaired(member, kinds, rng)) for _ in range(n_permutations)]
    observed = scores.refit(np.arange(n))
    mean, sd = float(np.mean(sums)), float(np.std(sums))
    rounding = 1e-12 * n  # of sums of n cosines that went through a few products of n terms
    if sd <= rounding:
        reason = "re-pairing changes nothing"
        return Pairing(observed / n, mean / n, 0.0, np.nan, np.nan, reason, ())
    p = (1 + sum(s >= observed - rounding for s in sums)) / (n_permutations + 1)
    return Pairing(observed / n, mean / n, sd / n, (observed - mean) / sd, float(p), OK, ())


def _repaired(
    member: Int[np.ndarray, " n"], kinds: np.ndarray, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """For each row the row whose partner it gets."""
    order = np.arange(len(member))
    rows_of = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    kind_of = np.array([kinds[rows[0]] for rows in rows_of])
    for kind in np.unique(kind_of):
        groups = np.flatnonzero(kind_of == kind)
        for group, other in zip(groups, rng.permutation(groups), strict=True):
            order[rows_of[group]] = rows_of[other]
    return order


def permuted_within(
    rows_of: Iterable[Int[np.ndarray, " _"]], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """An order of all rows that exchanges them within each of the sets only."""
    sets = list(rows_of)
    order = np.empty(sum(map(len, sets)), dtype=int)
    for rows in sets:
        order[rows] = rng.permutation(rows)
    return order


def strata_rows(n: int, strata: Arraylike | None) -> dict[str, Int[np.ndarray, " _"]]:
    """Rows of each stratum by name; without strata all rows are one. Raises ValueError unless there
    is a label for each row."""
    if strata is None:
        return {"all": np.arange(n)}
    if len(strata) != n:
        raise ValueError(f"{len(strata)} strata labels for {n} pairs")
    strata = arrays.labels(strata, n, name="strata")
    names, member = np.unique(strata, return_inverse=True)
    return {str(name): np.flatnonzero(member == number) for number, name in enumerate(names)}


def doubly_centred(block: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """The matrix without its rows' and columns' means."""
    return block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()


def _moments(block: np.ndarray) -> tuple[float, float]:
    """Variance and third central moment of the pairs' sum (steps 2 and 3)."""
    m, centred = len(block), doubly_centred(block)
    # Of two pairs there are two arrangements, which lie symmetrically.
    third = 0.0 if m < 3 else m / ((m - 1) * (m - 2)) * float((centred**3).sum())
    return float((centred**2).sum() / (m - 1)), third


def _p(blocks: list[np.ndarray], z: float, sd: float) -> float:
    if prod(factorial(len(block)) for block in blocks) <= ENUMERATED:
        sums = np.zeros(1)
        for block in blocks:
            orders = np.array(list(permutations(range(len(block)))))
            sums = np.add.outer(sums, block[np.arange(len(block)), orders].sum(axis=1)).ravel()
        observed = sum(np.trace(block) for block in blocks)
        # The true pairing is one of the arrangements; its own sum may differ in the last digit.
        return float((sums >= observed - 1e-12 * max(1.0, abs(observed))).mean())
    skewness = sum(_moments(block)[1] for block in blocks) / sd**3
    # A sum of hits moves in steps, and "at or above" begins half a step below it (Yates 1934).
    return float(pearson3.sf(z - step(blocks) / 2 / sd, skewness))


def step(blocks: list[np.ndarray]) -> float:
    """The step in which sums of the scores move, 1 / 60 or more; 0 where they have none."""
    values = np.unique(np.concatenate([block.ravel() for block in blocks]))
    if len(values) > FINEST + 1:
        return 0.0
    for denominator in range(1, FINEST + 1):
        parts = values * denominator
        if np.abs(parts - np.round(parts)).max() < 1e-9 * denominator:
            return 1 / denominator
    return 0.0


def _why_silent(blocks: dict[str, np.ndarray], resolution: float, stratified: bool) -> str:
    varies = [
        any(np.ptp(block, axis=side).max() > resolution for block in blocks.values())
        for side in (0, 1)
    ]
    within = "within every stratum" if stratified else "for all pairs"
    constant = [name for name, some in zip(("first", "second"), varies, strict=True) if not some]
    if not constant:
        return f"scrambling changes nothing {within}, though both sides vary"
    sides = "both sides are" if len(constant) == 2 else f"the {constant[0]} side is"
    return f"{sides} the same {within}, so that scrambling changes nothing"
