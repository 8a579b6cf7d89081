"""What is read off the measurements: gains over the embedding, named depths, reasons."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interp.alignment import OK
from interp.stats import simultaneous_band
from studies.embedding_alignment.measuring import Measured
from studies.embedding_alignment.tokens import POOLINGS, same_last


@dataclass(frozen=True)
class Gains:
    """Stratified z of the mean pooling at each depth, against that of the raw embedding."""

    difference: Float[np.ndarray, " depths"]
    """z here minus z of the embedding."""
    low: Float[np.ndarray, " depths"]
    """Lower limit that holds at all depths at once."""
    high: Float[np.ndarray, " depths"]
    """Upper limit that holds at all depths at once."""

    @property
    def above(self) -> Bool[np.ndarray, " depths"]:
        """Where z surely exceeds the embedding's."""
        return self.low > 0

    @property
    def below(self) -> Bool[np.ndarray, " depths"]:
        """Where z surely falls short of the embedding's."""
        return self.high < 0


def gains(found: Measured, pooling: str = "mean") -> Gains:
    """A pooling's gains over the embedding, with a 95 % band over all depths."""
    z, draws = found.curve(pooling), found.draws(pooling)
    low, high = simultaneous_band(z - z[0], draws - draws[:, :1])
    return Gains(z - z[0], low, high)


def increments(found: Measured) -> Gains:
    """What each block adds to the mean pooling's z, with a 95 % band over all blocks; the last is
    the final norm's."""
    z, draws = found.curve("mean"), found.draws("mean")
    low, high = simultaneous_band(np.diff(z), np.diff(draws, axis=1))
    return Gains(np.diff(z), low, high)


def named(found: Measured, chosen: Bool[np.ndarray, " depths"]) -> str:
    """The depths that are chosen, runs of them as "block 3 to block 9"; "none"."""
    runs: list[list[int]] = []
    for depth in np.flatnonzero(chosen).tolist():
        if runs and depth == runs[-1][-1] + 1:
            runs[-1].append(depth)
        else:
            runs.append([depth])
    names = found.depths
    said = [names[r[0]] if len(r) == 1 else f"{names[r[0]]} to {names[r[-1]]}" for r in runs]
    return ", ".join(said) or "none"


def why_undefined(found: Measured, depth: int, pooling: str) -> str:
    """Why a cell has no z within categories, with the tokens that are to blame."""
    status = found.cell(depth, pooling).stratified.status
    if status == OK or pooling != "last" or depth:
        return status
    return f"last tokens are identical within every category ({last_tokens(found)}): {status}"


def last_tokens(found: Measured) -> str:
    """The last tokens that all texts of a category share, by category."""
    same = same_last(found.poolings, found.pairs)
    ends: dict[str, list[str]] = {}
    for category, (one, other) in same.items():
        ends.setdefault(f"{one or 'various'} {other or 'various'}", []).append(category)
    return "; ".join(f"{end} in {', '.join(names)}" for end, names in ends.items()) or "various"


def undefined(found: Measured) -> list[str]:
    """Every cell of the residual stream without a z within categories, and why."""
    return [
        f"{depth}, {pooling}: {why_undefined(found, row, pooling)}"
        for row, depth in enumerate(found.depths)
        for pooling in POOLINGS
        if found.cell(row, pooling).stratified.status != OK
    ]


def separations(found: Measured) -> Float[np.ndarray, " depths"]:
    """|Cohen's d| between the languages along the largest component, by depth."""
    return np.array([abs(c.separation[0]) for c in found.components])


def best_block(found: Measured) -> int:
    """Depth of the block where pairs stand out most, by the mean pooling within categories."""
    return 1 + int(np.argmax(np.nan_to_num(found.curve("mean")[1:-1], nan=-np.inf)))
