"""How much of an alignment a part of the tokens carries.

Pool each text once over all its tokens and once without some of them. What is left of the pairs'
excess without them is what the others carry; one minus that ratio is their share.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from interp.alignment.pairing import Pairing, pairing_test
from interp.alignment.resampling import resample
from interp.alignment.scores import OK, Scores
from interp.arrays import Arraylike


@dataclass(frozen=True)
class Decomposition:
    """An excess with and without some tokens."""

    whole: Pairing
    """All tokens."""
    without: Pairing
    """The others alone."""
    share: float
    """1 - excess without / excess of all; below 0 where those tokens hide some of the alignment,
    NaN where there is no excess to share out."""
    interval: tuple[float, float] | None
    """95 % interval of the share over pairs; None where undefined."""
    status: str
    """`ok`, or why there is no share."""


def decompose(
    whole: Scores,
    without: Scores,
    counts: Integer[np.ndarray, "resamples n"],
    strata: Arraylike | None = None,
) -> Decomposition:
    """The share of the tokens that `without` leaves out, over resampled pairs (`draw_pairs`).

    An excess whose interval reaches 0 is not divided by.
    """
    tests = pairing_test(whole, strata), pairing_test(without, strata)
    for name, test in zip(("all tokens", "the others"), tests, strict=True):
        if test.status != OK:
            return Decomposition(*tests, np.nan, None, f"{name}: {test.status}")
    drawn, left = (resample(scores, counts, strata).excess for scores in (whole, without))
    if tests[0].excess <= 0 or np.nanquantile(drawn, 0.025) <= 0:
        return Decomposition(*tests, np.nan, None, "no excess of matched over scrambled pairs")
    low, high = np.nanquantile(1 - left / drawn, [0.025, 0.975])
    share = 1 - tests[1].excess / tests[0].excess
    return Decomposition(*tests, share, (float(low), float(high)), OK)
