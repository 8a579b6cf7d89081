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

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial, prod

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import pearson3

from interp import arrays
from interp.alignment.scores import OK, Scores, collapsed, cosines, taken
from interp.arrays import Arraylike

ENUMERATED = factorial(7)
"""Up to this many arrangements p is counted rather than approximated."""


@dataclass(frozen=True)
class Pairing:
    """Matched scores held against every way of scrambling the pairs, one-sided."""

    matched: float
    """Mean score of the pairs."""
    expected: float
    """Mean of that over all scramblings."""
    sd: float
    """Standard deviation of that over all scramblings."""
    z: float
    """(matched - expected) / sd; NaN where scrambling changes nothing."""
    p: float
    """Share of scramblings with a mean at or above `matched`; exact up to 5,040 arrangements, else
    from their first three moments."""
    status: str
    """`ok`, or why z is undefined."""
    silent: tuple[str, ...]
    """Strata in which scrambling changes nothing, and which therefore say nothing."""

    @property
    def excess(self) -> float:
        """Matched minus expected, in units of the score."""
        return self.matched - self.expected


def matched_vs_scrambled(
    A: Arraylike,
    B: Arraylike,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    centre: bool = False,
) -> Pairing:
    """Mean cosine of pairs against scrambled pairs: `pairing_test` of `cosines(A, B)`.

    `A` and `B` have one shape, [n, d]; rows of one number are a pair. Pairs that are equal on both
    sides are one group by construction, with a warning. Raises ValueError where those functions do,
    and for a stratum of one pair or group, which no scrambling can move.
    """
    A, B = taken(A, B)
    scores = cosines(A, B, centre=centre)
    rows_of = strata_rows(len(A), strata)
    if groups is None:
        groups = one_group_each(A, B, list(rows_of.values()))
    groups = arrays.groups(groups, len(A))
    alone = [name for name, rows in rows_of.items() if len(np.unique(groups[rows])) < 2]
    if alone:
        raise ValueError(
            f"stratum {alone[0]!r} holds 1 pair, which cannot be scrambled; merge or drop it "
            f"(strata: {', '.join(rows_of)})"
        )
    return pairing_test(scores, strata, groups=groups)


def one_group_each(
    A: np.ndarray, B: np.ndarray, strata: Sequence[np.ndarray] = ()
) -> Int[np.ndarray, " n"]:
    """A group for each pair, but one for pairs that are equal on both sides, told in a warning.

    Where that would leave the rows of a stratum one group, nothing varies there, which the test
    says by itself; pairs then stay as they are.
    """
    both = np.concatenate([A.astype(np.float64), B.astype(np.float64)], axis=1)
    member = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    if len(np.unique(member)) < 2 or any(len(np.unique(member[rows])) < 2 for rows in strata):
        return np.arange(len(member))
    if copies := len(member) - len(np.unique(member)):
        first = int(np.flatnonzero(np.bincount(member)[member] > 1)[0])
        warnings.warn(
            f"{copies} of {len(member)} pairs repeat another on both sides (row {first} and "
            "others): they are one group each. Pass groups= to say otherwise",
            stacklevel=3,
        )
    return member


def pairing_test(
    scores: Scores,
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
    n_permutations: int = 199,
    seed: int = 0,
) -> Pairing:
    """The diagonal of `scores` against all pairings, or all that stay within `strata`.

    A template shared within a category makes strangers of other categories unlike, which inflates
    the unstratified z; give the category as strata, and report both. A stratum of one pair is
    silent. Pairs that are copies or paraphrases of one another are exchanged together: give the
    `groups` they form, each within one stratum, whose scores are then averaged. Scores that rest on
    something fitted (`heldout_procrustes`) are tested by `n_permutations` re-pairings of whole
    groups, with everything fitted anew; `seed` draws them. Raises ValueError unless there is a
    label for each pair, and for a group in two strata.
    """
    n = len(scores.values)
    strata = None if strata is None else arrays.labels(strata, n, name="strata")
    groups = scores.groups if groups is None else groups
    member = None if groups is None else np.unique(arrays.groups(groups, n), return_inverse=True)[1]
    if scores.refit is not None and scores.status == OK:
        return _refitted(scores, strata, member, n_permutations, seed)
    if member is not None and len(np.unique(member)) < n:
        scores, strata = collapsed(scores, member), _of_groups(strata, member)
    rows_of = strata_rows(len(scores.values), strata)
    if scores.status != OK:
        return Pairing(np.nan, np.nan, np.nan, np.nan, np.nan, scores.status, ())
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


def _of_groups(strata: np.ndarray | None, member: np.ndarray) -> np.ndarray | None:
    """The stratum of each group."""
    if strata is None:
        return None
    first = np.unique(member, return_index=True)[1]
    split = np.flatnonzero(strata != strata[first][member])
    if split.size:
        raise ValueError(
            f"the group of row {split[0]} lies in two strata, {strata[first][member][split[0]]!r} "
            f"and {strata[split[0]]!r}; a group is exchanged within one"
        )
    return strata[first]


def _refitted(
    scores: Scores,
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
    if sd <= 1e-12 * max(1.0, abs(observed)):
        reason = "re-pairing changes nothing"
        return Pairing(observed / n, mean / n, 0.0, np.nan, np.nan, reason, ())
    tied = 1e-9 * abs(observed)  # sums over folds in another order
    p = (1 + sum(s >= observed - tied for s in sums)) / (n_permutations + 1)
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
    return float(pearson3.sf(z, skewness))


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
