"""How much of an alignment a part of the tokens carries.

A text's row is a mean over its tokens, so it is a sum of two: what some tokens bring, and what the
others bring. Divided by the whole row's length the two add up to its unit row, and the cosine of a
pair is a sum of four products. Those of the part with itself are its own; the two with the rest
belong to both, half each (the Shapley value of two players). Shares of the part and of the rest
then add up to 1, whatever they are; an excess *of cosines of parts* would not, since each part is
made as long as the whole.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer

from interp.alignment._pairing import Pairing, pairing_test
from interp.alignment._resampling import resample
from interp.alignment._scores import OK, PairingScores, cosines, taken
from interp.arrays import Arraylike
from interp.stats import interval


@dataclass(frozen=True)
class Decomposition:
    """An excess, and what a part of each text brings to it."""

    whole: Pairing
    """All tokens."""
    part: Pairing
    """What these tokens bring, in units of the whole's cosine."""
    share: float
    """Excess of the part over that of the whole; below 0 where those tokens hide some of the
    alignment, NaN where there is no excess to share out."""
    interval: tuple[float, float] | None
    """95 % interval of the share over pairs; None where undefined."""
    status: str
    """`ok`, or why there is no share."""


def decompose(
    whole: tuple[Arraylike, Arraylike],
    part: tuple[Arraylike, Arraylike],
    counts: Integer[np.ndarray, "resamples n"],
    strata: Arraylike | None = None,
    *,
    groups: Arraylike | None = None,
) -> Decomposition:
    """The share of some tokens in the excess of both sides' cosines, over resampled pairs.

    `part` holds each row's sum over these tokens divided by the number of *all* of the row's
    tokens, so that `whole - part` is what the others bring; `counts` come from `draw_pairs`. An
    excess whose interval reaches 0 is not divided by. Raises ValueError where `cosines` does, and
    for parts of another shape than the whole.
    """
    A, B = taken(*whole)
    own, other = (side.astype(np.float64) for side in taken(*part))
    if own.shape != A.shape:
        raise ValueError(f"parts have shape {own.shape}, wholes {A.shape}")
    scores = cosines(A, B, groups=groups)
    if scores.status != OK:
        nothing = pairing_test(scores, strata)
        return Decomposition(nothing, nothing, np.nan, None, scores.status)
    brought = _brought(scores, A.astype(np.float64), B.astype(np.float64), own, other)
    tests = pairing_test(scores, strata), pairing_test(brought, strata)
    if tests[0].status != OK:
        return Decomposition(*tests, np.nan, None, f"all tokens: {tests[0].status}")
    drawn, carried = (resample(each, counts, strata).excess for each in (scores, brought))
    if tests[0].excess <= 0 or interval(drawn)[0] <= 0:
        return Decomposition(*tests, np.nan, None, "no excess of matched over scrambled pairs")
    low, high = interval(carried / drawn)
    share = tests[1].excess / tests[0].excess
    return Decomposition(*tests, share, (float(low), float(high)), OK)


def _brought(
    scores: PairingScores, A: np.ndarray, B: np.ndarray, own: np.ndarray, other: np.ndarray
) -> PairingScores:
    """Half of each part with the other side's whole: its product with itself, and half of both
    products with the rest."""
    lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in (A, B)]
    (A, own), (B, other) = (
        (whole / length, part / length)
        for whole, part, length in zip((A, B), (own, other), lengths, strict=True)
    )
    return replace(scores, values=0.5 * (own @ B.T + A @ other.T))
