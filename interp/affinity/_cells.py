"""What cells of a survey come to: the strongest ones, those that survive, and effects."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class HeadPair:
    """One pair of directions in one head."""

    block: int
    """Block of the model."""
    head: int
    """Head in the block."""
    query: str
    """Direction that attends; for VO, that is written along."""
    key: str
    """Direction attended to."""
    distance: str
    """Distance by name; "" for VO."""
    z: float
    """Score in standard deviations of its null."""
    p: float
    """Two-sided p, for this cell alone."""
    index: tuple[int, int, int, int, int]
    """Index of the cell in the arrays of scores."""

    @property
    def chance(self) -> str:
        """p in words; what lies past 1e-30 rests on the shape of a tail that nothing can show."""
        return f"p {self.p:.1g}" if self.p > 1e-30 else "p < 1e-30"

    @property
    def where(self) -> str:
        """Head and pair in words."""
        at = f", distance {self.distance}" if self.distance else ""
        pair = (
            f"{self.query} with itself" if self.query == self.key else f"{self.query} → {self.key}"
        )
        return f"head {self.block}.{self.head}, {pair}{at}"


@dataclass(frozen=True)
class Survivors:
    """Cells that survive correction, beside those of sets of unrelated directions."""

    count: int
    """Number of cells of the named directions."""
    tested: int
    """Number of cells that were corrected together."""
    heads: frozenset[tuple[int, int]]
    """Block and head of every cell that survives."""
    by_set: Int[np.ndarray, " sets"]
    """Number of cells of each set of unrelated directions."""
    p: float
    """p of the named directions' number among those of the sets."""


@dataclass(frozen=True)
class Effect:
    """Mean |z| of self pairs by direction, over heads of chosen blocks."""

    mean: Float[np.ndarray, " n"]
    """By direction. The blocks of one network are no sample of others: it has no limits."""
    unrelated: float
    """Mean of unrelated directions."""
    bound: float
    """What 95 % of unrelated directions stay below."""
