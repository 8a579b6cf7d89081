"""How numbers and lists of names are written where a person reads them: never as 1.2e+03."""

import math
from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np
from jaxtyping import Bool


def numeral(value: SupportsFloat | None, digits: int = 3) -> str:
    """A number to `digits` significant ones; whole digits are never cut, so 1234.5 is "1234".

    What is below .0001 or has more than nine whole digits is written with an exponent, and an
    absent number as a dash.
    """
    if value is None:
        return "–"
    number = float(value)
    size = abs(number)
    if not math.isfinite(number) or size < 10.0 ** (digits - 1) or size >= 1e9:
        return f"{number:.{digits}g}"
    return f"{number:.0f}"


def listed(names: Sequence[str], *, none: str = "none") -> str:
    """Names in a sentence, "a, b and c"; `none` where there are none."""
    *most, last = names or [none]
    return f"{', '.join(most)} and {last}" if most else last


def runs(names: Sequence[str], chosen: Bool[np.ndarray, " names"]) -> str:
    """The names that are chosen, neighbours as "block 3 to block 9"; "none" where none is."""
    starts = np.flatnonzero(np.diff(chosen, prepend=False) & chosen)
    stops = np.flatnonzero(np.diff(chosen, append=False) & chosen)
    ends = zip(starts.tolist(), stops.tolist(), strict=True)
    return ", ".join(" to ".join(names[i] for i in sorted(set(run))) for run in ends) or "none"
