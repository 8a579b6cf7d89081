"""What unrelated directions score, gathered block by block.

Cells of one run share their directions and lie in blocks that feed each other, so their number says
little about their independence. Whatever is said of the named directions is therefore said of
whole sets of unrelated ones too, through every head, pair and distance, and a p value is a place
among those sets.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.stats import permutation_test
from studies.attention_affinity.residuals import Unrelated

BIN, BINS = 0.05, 1200
"""Width and number of bins of -log10 p; what lies past 60 counts as 60."""


def strength(p: np.ndarray) -> np.ndarray:
    """-log10 p, an exact 0 at the end of the scale."""
    return -np.log10(np.maximum(p, 10.0 ** -(BIN * BINS)))


@dataclass
class Tally:
    """p values of the named directions (row 0) and of every set of unrelated ones (rows 1 to
    SETS), self pairs and cross pairs apart."""

    sets: int
    """How many sets."""
    counts: dict[str, Int[np.ndarray, "rows bins"]] = field(default_factory=dict)
    """Cells by -log10 p, by kind of pair."""
    largest: dict[str, Float[np.ndarray, " rows"]] = field(default_factory=dict)
    """Largest -log10 p, by kind of pair."""

    def add(
        self, pair: str, rows: Int[np.ndarray, " of"], p: Float[np.ndarray, "of cells"]
    ) -> None:
        """Count the p values of some rows in one block."""
        counts = self.counts.setdefault(pair, np.zeros((self.sets + 1, BINS + 1), dtype=int))
        largest = self.largest.setdefault(pair, np.zeros(self.sets + 1))
        found = strength(p)
        bins = (found / BIN).astype(int)
        flat = rows[:, None] * (BINS + 1) + bins
        counts += np.bincount(flat.ravel(), minlength=counts.size).reshape(counts.shape)
        largest[rows] = np.maximum(largest[rows], found.max(axis=1, initial=0))

    def survivors(self, pair: str, level: float) -> Int[np.ndarray, " rows"]:
        """Cells that survive the Benjamini-Hochberg procedure, each row on its own. Every p counts
        as the upper end of its bin, which errs towards fewer by at most a tenth of p."""
        counts = self.counts[pair]
        above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # cells at or past each bin
        worst = 10.0 ** -(BIN * np.arange(BINS + 1))
        passed = worst <= level * above / counts.sum(axis=1, keepdims=True)
        first = passed.argmax(axis=1)
        kept = above[np.arange(len(above)), first]
        return np.where(passed.any(axis=1), kept, 0)

    def rate(self, level: float) -> Float[np.ndarray, " rows"]:
        """Share of all cells, self and cross, with p at or below a level; to a bin."""
        edge = round(strength(np.array(level)).item() / BIN)
        counts = np.concatenate(list(self.counts.values()), axis=1).reshape(
            self.sets + 1, -1, BINS + 1
        )
        return counts[..., edge:].sum(axis=(1, 2)) / counts.sum(axis=(1, 2))

    def best(self) -> Float[np.ndarray, " rows"]:
        """Largest -log10 p over self and cross pairs."""
        return np.max(list(self.largest.values()), axis=0)


def place(values: Float[np.ndarray, " rows"]) -> float:
    """p value of the first among the others, large values counting as evidence."""
    table = values[:, None].astype(np.float64)
    return float(permutation_test(table[0], table[1:]).p[0])


@dataclass
class Gathered:
    """Scores of one model, or of the difference, along the way through the blocks."""

    unrelated: Unrelated
    """Which directions, and which sets."""
    blocks: int
    """Blocks that are read."""
    heads: int
    """Heads of a block."""

    def __post_init__(self):
        m, (sets, _) = len(self.unrelated.text), self.unrelated.sets.shape
        self.tally = Tally(sets)
        self.passed = np.zeros(m)
        """p <= .05 among cross pairs of different texts, at the first distance, by query."""
        self.far = np.zeros(m)
        """The same at p <= .001."""
        self.tested = np.zeros(m)
        """How many such cells."""
        self.self_z = np.full((self.blocks, self.heads, m), np.nan)
        """Self pairs at the first distance."""
        self.cross_z = np.full((self.blocks, self.heads, len(self.pairs)), np.nan)
        """Some cross pairs at the first distance."""

    @cached_property
    def pairs(self) -> Int[np.ndarray, "pairs 2"]:
        """A cross pair of each set: its first two members."""
        return (
            self.unrelated.sets[:, :2]
            if self.unrelated.sets.shape[1] > 1
            else np.empty((0, 2), int)
        )

    @cached_property
    def strangers(self) -> Bool[np.ndarray, "m m"]:
        """Pairs from different texts."""
        return self.unrelated.text[:, None] != self.unrelated.text

    def add(
        self,
        at: int,
        cross_z: Float[np.ndarray, "heads m m"],
        cross_p: Float[np.ndarray, "heads m m"],
        self_z: Float[np.ndarray, "heads m"],
        self_p: Float[np.ndarray, "heads m"],
        *,
        first: bool,
    ) -> None:
        """Scores of one block at one distance; `first` where it is the distance that figures and
        rates are about."""
        sets = self.unrelated.sets
        rows, n = np.arange(1, len(sets) + 1), sets.shape[1]
        of_sets = cross_p[:, sets[:, :, None], sets[:, None, :]]  # [heads, sets, n, n]
        off = ~np.eye(n, dtype=bool)
        if n > 1:
            self.tally.add("cross", rows, of_sets[..., off].swapaxes(0, 1).reshape(len(sets), -1))
        self.tally.add("self", rows, self_p[:, sets].swapaxes(0, 1).reshape(len(sets), -1))
        if not first:
            return
        self.passed += ((cross_p <= 0.05) & self.strangers).sum(axis=(0, 2))
        self.far += ((cross_p <= 0.001) & self.strangers).sum(axis=(0, 2))
        self.tested += len(cross_p) * self.strangers.sum(axis=1)
        self.self_z[at] = self_z
        self.cross_z[at] = cross_z[:, self.pairs[:, 0], self.pairs[:, 1]]
