"""What a run holds: options, scores of the named directions, and what they are held against."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.affinity._forms import Distance
from studies.attention_affinity.directions import Directions
from studies.attention_affinity.reading import Checkpoint
from studies.attention_affinity.routing import Turns
from studies.attention_affinity.unrelated import Gathered

Side = Literal["base", "instruct", "difference"]
Kind = Literal["QK", "VO"]


@dataclass(frozen=True)
class Settings:
    """Options of the measurement."""

    blocks: tuple[int, ...]
    """Blocks to read, rising."""
    distances: tuple[int, ...]
    """Key position - query position, one table row each."""
    average: bool
    """Whether to add the mean over all distances from 0 to the farthest."""
    peer: bool
    """Whether to add head-averaged scores as an earlier notebook computed them."""
    seed: int
    """Of all draws."""

    @property
    def steps(self) -> list[Distance]:
        """Distances as the affinities take them; the average last."""
        return [*self.distances, *([list(range(min(self.distances), 1))] if self.average else [])]

    @property
    def labels(self) -> list[str]:
        """Their names."""
        return [*map(str, self.distances), *(["average"] if self.average else [])]


@dataclass(frozen=True)
class Cells:
    """Scores of the named directions for one kind and one side. Rows of the matrix are queries
    (for VO: the direction written along), columns are keys (for VO: the direction attended to), the
    diagonal holds self pairs; the last axis is the distance (one entry for VO)."""

    raw: Float[np.ndarray, "blocks heads n n distances"]
    """Logit, or cosine of what is written; for the difference, instruct minus base."""
    z: Float[np.ndarray, "blocks heads n n distances"]
    """In standard deviations of the null."""
    p: Float[np.ndarray, "blocks heads n n distances"]
    """Two-sided, under the null's own tail."""
    mean: Float[np.ndarray, "blocks heads n n distances"]
    """Of the null; NaN where none is stated."""
    sd: Float[np.ndarray, "blocks heads n n distances"]
    """Its standard deviation."""

    @classmethod
    def empty(cls, blocks: int, heads: int, n: int, distances: int) -> "Cells":
        """To be filled block by block."""
        shape = (blocks, heads, n, n, distances)
        return cls(*(np.full(shape, np.nan) for _ in range(5)))


@dataclass(frozen=True)
class Measured:
    """Everything about one model, or a pair of them."""

    base: Checkpoint
    """The model, or the first of two."""
    other: Checkpoint | None
    """What it is compared with."""
    directions: Directions
    """What was asked of every head."""
    settings: Settings
    """How."""
    covariance: bool
    """Whether the null has the covariance of residuals; else it is isotropic."""
    cells: dict[tuple[Kind, Side], Cells]
    """Scores of the named directions."""
    whole: dict[Side, tuple[Float[np.ndarray, "blocks n n"], Float[np.ndarray, "blocks n n"]]]
    """VO of all heads of a block together: cosine and z."""
    gathered: dict[tuple[Kind, Side], Gathered]
    """Scores of unrelated directions."""
    turns: Turns
    """The change of logits between the named directions, beside its random turns."""
    isotropic: Gathered | None
    """The same unrelated directions held against the isotropic null, where that is not the null."""
    spreads: dict[Side, Float[np.ndarray, "blocks heads"]]
    """Standard deviation of the logit of unrelated pairs at the first distance."""
    ranks: dict[Side, Float[np.ndarray, "blocks heads"]]
    """Effective rank of the query-key form at the first distance."""
    windows: tuple[int | None, ...]
    """How many positions a query of each block sees; None for all."""
    peer: pd.DataFrame | None
    """Head-averaged scores, where asked for."""
    bytes_read: int
    """Tensor data read from the checkpoints."""

    @property
    def sides(self) -> tuple[Side, ...]:
        """What was scored."""
        return ("base",) if self.other is None else ("base", "instruct", "difference")

    @property
    def main(self) -> Side:
        """The side that the question is about: the difference, or the only one."""
        return self.sides[-1]

    def name(self, side: Side) -> str:
        """What to call a side."""
        labels = {"base": self.base.label, "instruct": self.other.label if self.other else ""}
        return labels.get(side, "difference")

    @property
    def subject(self) -> str:
        """What claims are about."""
        return self.base.label if self.other is None else f"{self.base.label} → {self.other.label}"
