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

from dataclasses import dataclass
from itertools import permutations
from math import factorial, prod

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import pearson3

from interp.alignment.scores import OK, Scores, cosines

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
    A: Float[np.ndarray, "n d"],
    B: Float[np.ndarray, "m e"],
    strata: Shaped[np.ndarray, " labels"] | None = None,
    *,
    centre: bool = False,
) -> Pairing:
    """Mean cosine of pairs against scrambled pairs: `pairing_test` of `cosines(A, B)`.

    `A` and `B` have one shape, [n, d]; rows of one number are a pair. Raises ValueError where those
    functions do, and for a stratum of one pair, which no scrambling can move.
    """
    scores = cosines(A, B, centre=centre)
    rows_of = strata_rows(len(A), strata)
    alone = [name for name, rows in rows_of.items() if len(rows) < 2]
    if alone:
        raise ValueError(
            f"stratum {alone[0]!r} holds 1 pair, which cannot be scrambled; merge or drop it "
            f"(strata: {', '.join(rows_of)})"
        )
    return pairing_test(scores, strata)


def pairing_test(scores: Scores, strata: Shaped[np.ndarray, " labels"] | None = None) -> Pairing:
    """The diagonal of `scores` against all pairings, or all that stay within `strata`.

    A template shared within a category makes strangers of other categories unlike, which inflates
    the unstratified z; give the category as strata, and report both. A stratum of one pair is
    silent. Raises ValueError unless there is a label for each pair.
    """
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


def strata_rows(
    n: int, strata: Shaped[np.ndarray, " labels"] | None
) -> dict[str, Int[np.ndarray, " _"]]:
    """Rows of each stratum by name; without strata all rows are one. Raises ValueError unless there
    is a label for each row."""
    if strata is None:
        return {"all": np.arange(n)}
    if len(strata) != n:
        raise ValueError(f"{len(strata)} strata labels for {n} pairs")
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
