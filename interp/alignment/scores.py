"""Score matrices: how well every row of one side fits every row of the other.

Whatever asks "do pairs fit better than strangers?" is a test on such a matrix: its diagonal holds
the pairs, the rest what scrambling them would give. Cosines say how close two texts are; hits say
whether a text finds its partner among all.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

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


def cosines(
    A: Float[np.ndarray, "n d"], B: Float[np.ndarray, "m e"], *, centre: bool = False
) -> Scores:
    """Cosine of every row of `A` with every row of `B`, both [n, d]; rows of one number are pairs.

    `centre` takes each side's mean away first: a direction that all texts of a language share
    makes strangers as alike as pairs. The result is undefined, with its reason in `status`, where
    a row has no direction. Raises ValueError for sides of different shape, fewer than three pairs
    and values that are not finite.
    """
    _check(A, B)
    # Rows that are equal up to the rounding of the stored dtype are equal: a cosine moves by a few
    # units in the last place when each of its d terms does.
    resolution = 8 * max(float(np.finfo(side.dtype).eps) for side in (A, B))
    units, problems = [], []
    for name, side in (("first", A), ("second", B)):
        rows = side.astype(np.float64)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        if centre:
            rows -= rows.mean(axis=0)
        left = np.linalg.norm(rows, axis=1, keepdims=True)
        empty = np.flatnonzero(left[:, 0] <= resolution * length[:, 0])
        if empty.size:
            problems.append(_without_direction(name, empty, len(rows), centre))
        units.append(np.divide(rows, left, out=np.full_like(rows, np.nan), where=left > 0))
    if problems:
        return Scores(np.full((len(A), len(A)), np.nan), resolution, "; ".join(problems))
    return Scores(units[0] @ units[1].T, resolution, OK)


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
