"""Concept readout vectors: contrastive activation addition with one-against-rest contrasts.

1. At each block, take every text's residual stream at its last token.
2. Positives of a concept are the texts that show it; negatives are all others, other concepts'
   texts and neutral ones alike. A text of two concepts is a positive of both, a negative of
   neither.
3. The vector is mean(positives) - mean(negatives), scaled to length 1.

After Rimsky et al. 2024, "Steering Llama 2 via contrastive activation addition", whose contrasts
are pairs of answers; here the rest of the corpus is the contrast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int, Shaped

from interp.arrays import Arraylike, coordinate_rounding, indicator
from interp.readout._contrast import (
    OK,
    block_number,
    check_concepts,
    contrasts,
    taken,
)


@dataclass(frozen=True)
class Readouts:
    """One vector per block and concept."""

    concepts: tuple[str, ...]
    """Names, in the order of every array's concept axis."""
    blocks: tuple[int, ...]
    """Blocks whose output the vectors live in, counted from 0."""
    vectors: Float[np.ndarray, "blocks concepts d"]
    """Unit vectors in float32; NaN where undefined."""
    norms: Float[np.ndarray, "blocks concepts"]
    """Length of the mean difference before scaling, in units of the residual stream."""
    status: Shaped[np.ndarray, "blocks concepts"]
    """`ok`, or why the vector is undefined."""
    positives: Int[np.ndarray, " concepts"]
    """Number of positive texts."""

    def at(self, block: int) -> Float[np.ndarray, "concepts d"]:
        """The vectors of one block. Raises ValueError for a block that is not among `blocks`."""
        if block not in self.blocks:
            raise ValueError(f"block {block} has no vectors; there are {list(self.blocks)}")
        return self.vectors[self.blocks.index(block)]

    def vector(self, concept: str, block: int) -> Float[np.ndarray, " d"]:
        """The vector of one concept, to steer with: `steer(model, {resid_post(block): vector})`.

        Raises:
            ValueError: a concept or a block that has no vector.
        """
        if concept not in self.concepts:
            raise ValueError(f"concept {concept!r} is none of {', '.join(self.concepts)}")
        k = self.concepts.index(concept)
        vector, status = self.at(block)[k], self.status[self.blocks.index(block), k]
        if status != OK:
            raise ValueError(f"concept {concept!r} has no vector at block {block}: {status}")
        return vector

    def apply(
        self, X: Float[np.ndarray, "texts d"], block: int
    ) -> Float[np.ndarray, "texts concepts"]:
        """Projections of texts' activations on the vectors of a block, in units of the residual
        stream, as float64.

        Raises:
            ValueError: a block without vectors, or activations of another width.
        """
        vectors = self.at(block).astype(np.float64)
        if X.ndim != 2 or X.shape[1] != vectors.shape[1]:
            raise ValueError(
                f"activations of shape {X.shape} for vectors of width {vectors.shape[1]}"
            )
        return X.astype(np.float64) @ vectors.T

    def plot(self, block: int, *, label: str | None = None) -> go.Figure:
        """Cosines between the vectors of a block, as a heatmap; `label` names the block.

        Raises:
            ValueError: a block without vectors.
        """
        from interp.plots import Axis, Scale, heatmap

        units = self.at(block)
        return heatmap(
            units @ units.T,
            Axis(self.concepts),
            Axis(self.concepts),
            title=f"Cosine between concepts' vectors, {label or f'block {block}'}",
            scale=Scale("cosine", -1, 1, midpoint=0),
        )

    def table(self) -> pd.DataFrame:
        """A row for every block and concept."""
        columns = {
            "block": np.array(self.blocks)[:, None],
            "concept": np.array(self.concepts),
            "positives": self.positives,
            "norm": self.norms,
            "status": self.status,
        }
        shape = self.status.shape
        return pd.DataFrame(
            {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
        )


def fit(
    blocks: Iterable[tuple[int, Arraylike]],
    positive: Arraylike,
    concepts: Sequence[str],
    *,
    minimum: int = 1,
) -> Readouts:
    """Vectors of every concept at every block, from activations X [texts, d] of each.

    A concept whose difference vanishes at a block (all texts alike there) is undefined there, with
    its reason in `status`. Raises ValueError for a concept with fewer than `minimum` positives or
    without negatives, named with its counts; for names that are missing or not unique; activations
    that are not finite or of another length than the texts; blocks of different width, repeated
    blocks, and none.
    """
    positive = indicator(positive, (None, None))
    check_concepts(concepts, positive)
    _check_counts(concepts, positive, max(minimum, 1))
    weights = contrasts(positive)
    found: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for block, X in blocks:
        X, _ = taken(X, positive)
        block = block_number(block)
        if block in found:
            raise ValueError(f"block {block} is given twice")
        found[block] = _unit_differences(X, weights)
    if not found:
        raise ValueError("no block is given; vectors need at least 1")
    widths = {block: unit.shape[1] for block, (unit, _, _) in found.items()}
    if len(set(widths.values())) != 1:
        raise ValueError(f"blocks must be of one width; they are {widths}")
    vectors, norms, status = (np.stack(part) for part in zip(*found.values(), strict=True))
    return Readouts(tuple(concepts), tuple(found), vectors, norms, status, positive.sum(axis=1))


def middle_block(blocks: Sequence[int]) -> int:
    """The block half way down, at which concepts are judged; of two, the deeper.

    Raises ValueError without blocks.
    """
    if not blocks:
        raise ValueError("no block is given, so that none is in the middle")
    return sorted(blocks)[len(blocks) // 2]


def _check_counts(concepts: Sequence[str], positive: np.ndarray, minimum: int) -> None:
    counts = dict(zip(concepts, positive.sum(axis=1).tolist(), strict=True))
    few = {name: count for name, count in counts.items() if count < minimum}
    if few:
        raise ValueError(f"too few positives, of at least {minimum} each: {few}")
    full = [name for name, count in counts.items() if count == positive.shape[1]]
    if full:
        raise ValueError(f"every text is a positive of {full}, which leaves no negatives")


def _unit_differences(
    X: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors [concepts, d] in float32, lengths and status [concepts]."""
    difference = weights @ X.astype(np.float64)
    length = np.linalg.norm(difference, axis=1)
    # each coordinate has its own rounding; means of many rows have less
    defined = (np.abs(difference) > coordinate_rounding(X)).any(axis=1)
    scale = np.where(defined, length, np.nan)[:, None]
    status = np.where(defined, OK, "positives and negatives have one mean")
    return (difference / scale).astype(np.float32), length, status
