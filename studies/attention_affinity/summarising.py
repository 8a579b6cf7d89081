"""What the cells come to: strongest cells, effects by direction, growth, what distance does."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from studies.attention_affinity.results import Kind, Measured, Side
from studies.attention_affinity.unrelated import strength


@dataclass(frozen=True)
class Cell:
    """One cell of the table."""

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
    places: tuple[int, int, int, int, int]
    """Where it stands in the arrays."""

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


def strongest(
    found: Measured, kind: Kind, side: Side, count: int = 1, *, pair: str | None = None
) -> list[Cell]:
    """The cells with the least p, each pair of a head once (ties by |z|)."""
    cells = found.cells[kind, side]
    alone = np.eye(len(found.directions), dtype=bool)
    allowed = {"self": alone, "cross": ~alone}.get(pair or "", np.ones_like(alone))
    score = np.where(allowed[:, :, None], strength(cells.p), -1.0)
    order = np.lexsort((-np.abs(cells.z).ravel(), -score.ravel()))
    chosen: dict[tuple, Cell] = {}
    for flat in order:
        at = tuple(int(place) for place in np.unravel_index(flat, cells.z.shape))
        if score[at] < 0 or len(chosen) == count:
            break
        if at[:4] not in chosen:
            chosen[at[:4]] = _cell(found, kind, side, at)
    return list(chosen.values())


def _cell(found: Measured, kind: Kind, side: Side, at: tuple) -> Cell:
    names, cells = found.directions.names, found.cells[kind, side]
    return Cell(
        block=found.settings.blocks[at[0]],
        head=at[1],
        query=names[at[2]],
        key=names[at[3]],
        distance=found.settings.labels[at[4]] if kind == "QK" else "",
        z=float(cells.z[at]),
        p=float(cells.p[at]),
        places=at,
    )


def alone(
    values: Float[np.ndarray, "blocks heads n n distances"],
) -> Float[np.ndarray, "blocks heads n"]:
    """Self pairs at the first distance."""
    return np.diagonal(values[..., 0], axis1=2, axis2=3)


@dataclass(frozen=True)
class Effect:
    """Mean |z| of self pairs by direction, over heads of chosen blocks."""

    mean: Float[np.ndarray, " n"]
    """By direction. The blocks of one network are no sample of others: it has no limits."""
    unrelated: float
    """Mean of unrelated directions."""
    bound: float
    """What 95 % of unrelated directions stay below."""


def effect(found: Measured, kind: Kind, side: Side, blocks: tuple[int, ...]) -> Effect:
    """Effect by direction over the chosen blocks."""
    at = [found.settings.blocks.index(block) for block in blocks]
    size = np.abs(alone(found.cells[kind, side].z)[at])  # [blocks, heads, n]
    strangers = np.abs(found.gathered[kind, side].self_z[at]).mean(axis=(0, 1))
    bound = float(np.quantile(strangers, 0.95))
    return Effect(size.mean(axis=(0, 1)), float(strangers.mean()), bound)


def growth(found: Measured) -> Float[np.ndarray, "blocks heads"]:
    """Spread of the tuned model's logits on unrelated vectors over the base model's, by head, at
    the first distance."""
    return found.spreads["instruct"] / found.spreads["base"]


def apart(found: Measured) -> tuple[int, int] | None:
    """Places of two distances to compare: 0 and -16, or else the nearest and the farthest."""
    distances = found.settings.distances
    if len(distances) < 2:
        return None
    near, far = max(distances), -16 if -16 in distances else min(distances)
    return distances.index(near), distances.index(far)


def reach(found: Measured) -> Float[np.ndarray, "blocks heads"] | None:
    """Correlation, by head of the base model, of cross pairs' logits at two distances. None with
    one distance, or fewer than three cross pairs."""
    places, n = apart(found), len(found.directions)
    if places is None or n < 3:
        return None
    off = ~np.eye(n, dtype=bool)
    near, far = (found.cells["QK", "base"].raw[..., at][..., off] for at in places)
    near, far = (part - part.mean(axis=-1, keepdims=True) for part in (near, far))
    size = np.sqrt((near**2).sum(axis=-1) * (far**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):  # a head that gives every pair one logit has none
        return (near * far).sum(axis=-1) / size
