"""Score matrices: how well every row of one side fits every row of the other.

Whatever asks "do pairs fit better than strangers?" is a test on such a matrix: its diagonal holds
the pairs, the rest what scrambling them would give. Cosines say how close two texts are; hits say
whether a text finds its partner among all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from interp.arrays import Arraylike, activations, rounding

OK = "ok"
"""Status of a matrix or a test that is defined."""


@dataclass(frozen=True)
class Scores:
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
    groups: np.ndarray | None = None
    """With `refit`, the groups that folds kept together and re-pairings exchange."""


def cosines(A: Arraylike, B: Arraylike, *, centre: bool = False) -> Scores:
    """Cosine of every row of `A` with every row of `B`, both [n, d]; rows of one number are pairs.

    `centre` takes each side's mean away first: a direction that all texts of a language share
    makes strangers as alike as pairs. The result is undefined, with its reason in `status`, where
    a row has no direction. Raises ValueError for sides of different shape, fewer than three pairs
    and values that are not finite.
    """
    A, B = taken(A, B)
    sides = [_Side.of(name, rows, centre) for name, rows in (("first", A), ("second", B))]
    resolution = sum(
        one.rounding * one.stored * other.kept for one, other in (sides, reversed(sides))
    )
    # sums in another order, of float32 kernels
    resolution = max(resolution, rounding(np.result_type(A.dtype, np.float32)))
    if problems := [side.problem for side in sides if side.problem]:
        return Scores(np.full((len(A), len(A)), np.nan), resolution, "; ".join(problems))
    return Scores(sides[0].units @ sides[1].units.T, resolution, OK)


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
    """Unit rows of one side, and how the rounding of what was stored reaches their cosines.

    A coordinate's rounding is relative to that coordinate, and those of d coordinates are
    independent, so a cosine moves by the rounding times sqrt(sum x_i^2 y_i^2) <= |x|_4 |y|_4. That
    is 1 / sqrt(d) where coordinates are alike, and 1 where one dimension holds the whole row.
    """

    units: np.ndarray
    rounding: float
    stored: float
    """Largest |x|_4 of the rows as stored, in lengths of what is left of them."""
    kept: float
    """Largest |x|_4 of the unit rows."""
    problem: str

    @classmethod
    def of(cls, name: str, given: np.ndarray, centre: bool) -> "_Side":
        rows = given.astype(np.float64)
        own = rounding(given.dtype)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        left = rows - rows.mean(axis=0) if centre else rows
        size = np.linalg.norm(left, axis=1, keepdims=True)
        empty = np.flatnonzero(size[:, 0] <= own * length[:, 0])
        with np.errstate(invalid="ignore", divide="ignore"):
            units, stored = left / size, rows / size
        return cls(
            units,
            own,
            float(np.nanmax((stored**4).sum(axis=1), initial=0.0) ** 0.25),
            float(np.nanmax((units**4).sum(axis=1), initial=0.0) ** 0.25),
            _without_direction(name, empty, len(rows), centre) if empty.size else "",
        )


def collapsed(scores: Scores, member: Int[np.ndarray, " n"]) -> Scores:
    """Scores of groups with groups: means over all their rows, so that a copy counts once."""
    inside = np.eye(member.max() + 1)[member]
    inside /= inside.sum(axis=0)
    return replace(scores, values=inside.T @ scores.values @ inside)


def hits(scores: Scores, k: int = 1, *, backward: bool = False) -> Scores:
    """Whether column j is among the `k` best of row i: 1 or 0, shared out where scores tie.

    The mean of the diagonal is retrieval@k, its expectation under scrambling k / n. `backward`
    lets the second side search among the first (rows and columns change places). Raises ValueError
    unless 1 <= k <= n.
    """
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


def _check(A: np.ndarray, B: np.ndarray) -> None:
    if A.shape != B.shape or A.ndim != 2:
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
