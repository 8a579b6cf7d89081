"""Score matrices: how well every row of one side fits every row of the other.

Whatever asks "do pairs fit better than strangers?" is a test on such a matrix: its diagonal holds
the pairs, the rest what scrambling them would give. Cosines say how close two texts are; hits say
whether a text finds its partner among all.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from interp import arrays
from interp.arrays import Arraylike, activations, coordinate_rounding

OK = "ok"
"""Status of a matrix or a test that is defined."""


@dataclass(frozen=True)
class PairingScores:
    """How well row i of the first side fits row j of the second."""

    values: Float[np.ndarray, "n n"]
    """The scores, in float64; pairs stand on the diagonal."""
    resolution: float
    """Differences up to this size are rounding of the activations and count as ties."""
    status: str
    """`ok`, or why the scores are undefined."""
    refit: Callable[[np.ndarray], float] | None = None
    """Where something was fitted on the pairs: from a re-pairing (row i with candidate order[i]) to
    the pairs' sum after everything is fitted anew; a test then permutes instead of counting."""
    groups: Int[np.ndarray, " n"] | None = None
    """Number of each pair's group, from 0, whose pairs a test exchanges together; None where every
    pair is a group of its own."""


def cosines(
    A: Arraylike, B: Arraylike, *, groups: Arraylike | None = None, centre: bool = False
) -> PairingScores:
    """Cosine of every row of `A` with every row of `B`, both [n, d]; rows of one number are pairs.

    `centre` takes each side's mean away first: a direction that all texts of a language share
    makes strangers as alike as pairs. Pairs of one of the `groups` (copies, paraphrases) are no
    witnesses of one another, and whatever tests the scores exchanges them together. By default
    pairs that are equal on both sides are one group, with a warning.

    The result is undefined, with its reason in `status`, where a row has no direction. Raises
    ValueError for sides of different shape, fewer than three pairs and values that are not finite.
    """
    A, B = taken(A, B)
    first, second = (_Side.of(n, rows, centre) for n, rows in (("first", A), ("second", B)))
    if problems := [side.problem for side in (first, second) if side.problem]:
        nothing = np.full((len(A), len(A)), np.nan)
        return PairingScores(nothing, np.nan, "; ".join(problems))
    values = first.units @ second.units.T
    stored = first.error(second, values) + second.error(first, values.T).T
    # Rounding of the sums themselves, in float64; a row near the mean of all is off by more than
    # others, and must not make ties of theirs.
    resolution = max(float(np.median(stored)), 8 * float(np.finfo(float).eps))
    return PairingScores(values, resolution, OK, groups=grouped(A, B, groups))


def grouped(A: np.ndarray, B: np.ndarray, groups: Arraylike | None) -> Int[np.ndarray, " n"] | None:
    """The given groups as numbers from 0; else those of pairs that are equal on both sides, told in
    a warning. None where every pair is a group of its own.

    Pairs that are equal on one side only stay pairs of their own: given that side, the other's rows
    are as exchangeable as any. Copies on both sides are not, since what agrees by chance agrees in
    all of them.
    """
    if groups is None:
        both = np.concatenate([A.astype(np.float64), B.astype(np.float64)], axis=1)
        names, member = np.unique(both, axis=0, return_inverse=True)
    else:
        names, member = np.unique(arrays.groups(groups, len(A)), return_inverse=True)
    if len(names) == len(A):
        return None
    member = member.reshape(-1)
    if groups is None and len(names) > 1:  # of one, tests say that both sides are the same
        rows = np.flatnonzero(member == member[np.bincount(member)[member] > 1][0])
        warnings.warn(
            f"{len(A) - len(names)} of {len(A)} pairs repeat another on both sides (rows "
            f"{', '.join(map(str, rows[:3]))} and others): copies are one group. Pass groups= to "
            "say otherwise",
            stacklevel=3,
        )
    return member


def unit_rows(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1; a row without a direction stays 0, and fits no other."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def taken(A: Arraylike, B: Arraylike) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as arrays of floats in their own precision, checked.

    Raises:
        ValueError: sides of different shape, fewer than three pairs, or values that are not finite.
    """
    A, B = (
        activations(side, name=f"the {n} side", widen=False)
        for side, n in ((A, "first"), (B, "second"))
    )
    _check(A, B)
    return A, B


@dataclass(frozen=True)
class _Side:
    """Unit rows of one side, and how the rounding of what was stored reaches their cosines."""

    units: np.ndarray
    length: np.ndarray
    """[n, 1], of what was made unit."""
    rounding: np.ndarray
    """[d], of what was stored."""
    problem: str

    @classmethod
    def of(cls, name: str, given: np.ndarray, centre: bool) -> "_Side":
        rows, own = given.astype(np.float64), coordinate_rounding(given)
        left = rows - rows.mean(axis=0) if centre else rows
        empty = np.flatnonzero((np.abs(left) <= own).all(axis=1) if centre else ~rows.any(axis=1))
        # lengths of the largest and smallest float64 are out of range
        size = np.abs(left).max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            units = left / size
            length = np.linalg.norm(units, axis=1, keepdims=True)
            units /= length
        problem = _without_direction(name, empty, len(rows), centre) if empty.size else ""
        return cls(units, length * size, own, problem)

    def error(self, other: "_Side", cosines: np.ndarray) -> Float[np.ndarray, "n n"]:
        """How far the cosine of row i with row j of the other side moves with this side's rounding.

        To first order a change e of a row of length l moves its cosine c with unit row v by
        e . (v - c u) / l: what lies along the row itself moves nothing. Coordinates round
        independently, so squares add up. A dimension that holds all rows' length thus costs none of
        the digits in which they differ.
        """
        largest = max(float(self.rounding.max()), np.finfo(float).tiny)
        share = self.rounding / largest  # squares of the largest float64 are out of range
        mine, theirs = self.units * share, other.units * share
        square = (theirs**2).sum(axis=1) - 2 * cosines * (mine @ theirs.T)
        square += cosines**2 * (mine**2).sum(axis=1, keepdims=True)
        return np.sqrt(np.maximum(square, 0)) / (self.length / largest)


def collapsed(scores: PairingScores, member: Int[np.ndarray, " n"]) -> PairingScores:
    """Scores of groups with groups: means over all their rows, so that a copy counts once."""
    inside = np.eye(member.max() + 1)[member]
    inside /= inside.sum(axis=0)
    return replace(scores, values=inside.T @ scores.values @ inside, groups=None)


def hits(scores: PairingScores, k: int = 1, *, backward: bool = False) -> PairingScores:
    """Whether column j is among the `k` best of row i: 1 or 0, shared out where scores tie.

    The mean of the diagonal is retrieval@k, its expectation under scrambling k / n. `backward`
    lets the second side search among the first (rows and columns change places). Raises ValueError
    unless 1 <= k <= n, and for scores of a held-out fit, which compare within a fold only.
    """
    refuse_fitted(scores, "retrieval ranks all texts")
    n = len(scores.values)
    if not 1 <= k <= n:
        raise ValueError(f"k = {k}; retrieval among {n} texts takes 1 to {n}")
    values = scores.values.T if backward else scores.values
    last = np.partition(values, n - k, axis=1)[:, n - k, None]
    above = values > last + scores.resolution
    tied = ~above & (values >= last - scores.resolution)
    places = k - above.sum(axis=1, keepdims=True)
    found = above + tied * places / np.maximum(tied.sum(axis=1, keepdims=True), 1)
    if scores.status != OK:
        found = np.full_like(values, np.nan)
    # Shares of ties are fractions; their rounding is that of float64.
    return replace(scores, values=found, resolution=8 * float(np.finfo(float).eps))


def refuse_fitted(scores: PairingScores, what: str) -> None:
    """Raise ValueError for scores that rest on a fit to the pairs."""
    if scores.refit is not None:
        raise ValueError(
            f"{what}, and these scores are of a rotation that was fitted on the pairs, fold by "
            "fold; give them to pairing_test, which fits it anew for every re-pairing"
        )


def _check(A: np.ndarray, B: np.ndarray) -> None:
    if A.shape != B.shape:
        raise ValueError(
            f"sides of shape {A.shape} and {B.shape}; both must be [n, d], pair by pair"
        )
    if len(A) < 3:
        raise ValueError(f"{len(A)} pairs; scrambling says nothing with fewer than 3")
    for name, side in (("first", A), ("second", B)):
        bad = np.flatnonzero(~np.isfinite(side).all(axis=1))
        if bad.size:
            raise ValueError(f"row {bad[0]} of the {name} side is not finite")


def _without_direction(side: str, empty: np.ndarray, n: int, centre: bool) -> str:
    if centre and len(empty) == n:
        return f"all rows of the {side} side are equal, so that nothing remains without their mean"
    where = f"row {empty[0]}" if len(empty) == 1 else f"{len(empty)} rows"
    return f"{where} of the {side} side {'is' if len(empty) == 1 else 'are'} zero: no direction"
