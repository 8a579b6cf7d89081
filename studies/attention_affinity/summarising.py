"""What the cells come to: strongest cells, effects by direction, growth, what distance does."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from studies.attention_affinity.results import Kind, Measured, Side
from studies.attention_affinity.unrelated import strength

RESAMPLES = 1000
"""Resamples of blocks, or of heads where there are few blocks."""
ENOUGH = 5
"""Blocks from which on whole blocks are resampled."""


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


def resampled_unit(n_blocks: int) -> str:
    """What `resampled` draws anew."""
    return "heads" if n_blocks < ENOUGH else "blocks"


def resampled(n_blocks: int, heads: int, *, seed: int) -> Int[np.ndarray, "resamples cells"]:
    """Flat (block, head) cells, whole blocks drawn anew; heads where blocks are few."""
    rng = np.random.default_rng(seed)
    cells = np.arange(n_blocks * heads).reshape(n_blocks, heads)
    if n_blocks < ENOUGH:
        return rng.choice(cells.ravel(), size=(RESAMPLES, cells.size))
    drawn = rng.integers(n_blocks, size=(RESAMPLES, n_blocks))
    return cells[drawn].reshape(RESAMPLES, -1)


def interval(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """95 % of the resamples."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Effect:
    """Mean |z| of self pairs by direction, over heads of chosen blocks."""

    mean: Float[np.ndarray, " n"]
    """By direction."""
    low: Float[np.ndarray, " n"]
    """Lower limit over resampled blocks, or heads where blocks are few."""
    high: Float[np.ndarray, " n"]
    """Upper limit."""
    leads: Float[np.ndarray, " n"]
    """Share of the resamples in which each is the largest."""
    unrelated: float
    """Mean of unrelated directions."""
    bound: float
    """What 95 % of unrelated directions stay below."""


def effect(found: Measured, kind: Kind, side: Side, blocks: tuple[int, ...]) -> Effect:
    """Effect by direction over the chosen blocks."""
    at = [found.settings.blocks.index(block) for block in blocks]
    size = np.abs(alone(found.cells[kind, side].z)[at])  # [blocks, heads, n]
    draws = resampled(*size.shape[:2], seed=found.settings.seed)
    flat = size.reshape(-1, size.shape[-1])
    means = flat[draws].mean(axis=1)
    leads = np.bincount(means.argmax(axis=1), minlength=size.shape[-1]) / len(means)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    strangers = np.abs(found.gathered[kind, side].self_z[at]).mean(axis=(0, 1))
    bound = float(np.quantile(strangers, 0.95))
    return Effect(flat.mean(axis=0), low, high, leads, float(strangers.mean()), bound)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    """The estimate."""
    interval: tuple[float, float]
    """95 % over the same resamples."""


def growth(found: Measured) -> tuple[Float[np.ndarray, "blocks heads"], Estimate]:
    """Spread of the tuned model's logits on unrelated vectors over the base model's, by head, at
    the first distance; and its median."""
    ratio = found.spreads["instruct"] / found.spreads["base"]
    draws = resampled(*ratio.shape, seed=found.settings.seed)
    medians = np.nanmedian(ratio.ravel()[draws], axis=1)
    return ratio, Estimate(float(np.nanmedian(ratio)), interval(medians))


def apart(found: Measured) -> tuple[int, int] | None:
    """Places of two distances to compare: 0 and -16, or else the nearest and the farthest."""
    distances = found.settings.distances
    if len(distances) < 2:
        return None
    near, far = max(distances), -16 if -16 in distances else min(distances)
    return distances.index(near), distances.index(far)


def reach(found: Measured) -> tuple[Float[np.ndarray, "blocks heads"], Estimate] | None:
    """Correlation, by head of the base model, of cross pairs' logits at two distances; and its
    median. None with one distance, or fewer than three cross pairs."""
    places, n = apart(found), len(found.directions)
    if places is None or n < 3:
        return None
    off = ~np.eye(n, dtype=bool)
    near, far = (found.cells["QK", "base"].raw[..., at][..., off] for at in places)
    near, far = (part - part.mean(axis=-1, keepdims=True) for part in (near, far))
    size = np.sqrt((near**2).sum(axis=-1) * (far**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):  # a head that gives every pair one logit has none
        correlation = (near * far).sum(axis=-1) / size
    draws = resampled(*correlation.shape, seed=found.settings.seed)
    medians = np.nanmedian(correlation.ravel()[draws], axis=1)
    return correlation, Estimate(float(np.nanmedian(correlation)), interval(medians))
