"""Pairs against scrambled pairs at every depth and position, with what is read beside.

1. A cell holds both sides' rows at one position of one depth, without pairs that lack it.
2. Cosines of all rows with all rows give the exact test of pairs against scrambled pairs: among
   all, within strata, and within strata without each side's mean. Ranks of the same cosines give
   retrieval@k, with either side searching.
3. Resampled pairs, the same at every depth, give intervals over pairs, and bands for what a depth
   has more than another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, Shaped

from interp.alignment._geometry import linear_cka
from interp.alignment._pairing import Pairing, pairing_test
from interp.alignment._resampling import Resampled, resample
from interp.alignment._scores import cosines, hits
from interp.arrays import Arraylike
from interp.stats import fdr, simultaneous_band

RANKS = (1, 5)
"""k of retrieval@k."""


@dataclass(frozen=True)
class AlignmentCell:
    """One position at one depth."""

    n: int
    """Pairs of which both texts have the position."""
    plain: Pairing
    """Cosine, pairs scrambled among all."""
    stratified: Pairing
    """Cosine, pairs scrambled within their stratum."""
    centred: Pairing
    """Cosine within strata after each side's mean is taken away."""
    retrieval: Mapping[tuple[int, bool, bool], Pairing]
    """Retrieval@k among all texts by (k, whether the second side searches, whether each side's
    mean is taken away)."""
    cka: float
    """Debiased linear CKA."""
    norms: tuple[float, float]
    """Mean norm of either side's rows."""
    meeting: float
    """Cosine of the two sides' means."""
    resampled: Resampled
    """`stratified` on resampled pairs."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % limits of the stratified z over pairs, as far from it on both sides: resampled z
        lie too high where pairs align well, and their percentiles cover 85 %."""
        z = np.array([self.stratified.z])
        low, high = simultaneous_band(z, self.resampled.z[:, None])
        return float(low[0]), float(high[0])

    def row(self) -> dict[str, object]:
        """The cell's entries in a table."""
        tests = {"": self.stratified, "plain_": self.plain, "centred_": self.centred}
        row: dict[str, object] = {"n": self.n}
        for prefix, test in tests.items():
            for name in ("matched", "expected", "z", "p"):
                row[f"{prefix}{name}"] = getattr(test, name)
        low, high = self.interval
        row |= {"z_low": low, "z_high": high, "status": self.stratified.status}
        row |= {"silent": ", ".join(self.stratified.silent), "cka": self.cka}
        for (k, back, without), test in self.retrieval.items():
            name = f"retrieval_{k}{'_back' if back else ''}{'_centred' if without else ''}"
            row[name] = test.matched
        return row | {"norm_first": self.norms[0], "norm_second": self.norms[1]}


@dataclass(frozen=True)
class Gains:
    """Differences of the stratified z between depths, with limits that hold at all of them."""

    difference: Float[np.ndarray, " depths"]
    """z less the z that it is compared with."""
    low: Float[np.ndarray, " depths"]
    """Lower limit that holds at all depths at once."""
    high: Float[np.ndarray, " depths"]
    """Upper limit that holds at all depths at once."""

    @property
    def above(self) -> Bool[np.ndarray, " depths"]:
        """Where z surely exceeds the other."""
        return self.low > 0

    @property
    def below(self) -> Bool[np.ndarray, " depths"]:
        """Where z surely falls short of the other."""
        return self.high < 0


@dataclass(frozen=True)
class AlignmentGrid:
    """How aligned two sides are at every depth and position; undefined cells say why."""

    blocks: tuple[str, ...]
    """Names of the depths, in the order read."""
    positions: tuple[str, ...]
    """Names of the positions."""
    cells: tuple[tuple[AlignmentCell, ...], ...]
    """By depth, then by position."""

    def part(self, start: int, stop: int) -> "AlignmentGrid":
        """The depths from `start` to before `stop`."""
        return AlignmentGrid(self.blocks[start:stop], self.positions, self.cells[start:stop])

    def cell(self, depth: int, position: str) -> AlignmentCell:
        """The cell of a position at a depth."""
        return self.cells[depth][self.positions.index(position)]

    def curve(
        self, position: str, test: str = "stratified", value: str = "z"
    ) -> Float[np.ndarray, " depths"]:
        """A number of one of the tests ("plain", "stratified", "centred") over depths."""
        column = self.positions.index(position)
        return np.array([getattr(getattr(row[column], test), value) for row in self.cells])

    def draws(self, position: str) -> Float[np.ndarray, "resamples depths"]:
        """Stratified z on resampled pairs, the same pairs at every depth."""
        column = self.positions.index(position)
        return np.stack([row[column].resampled.z for row in self.cells], axis=1)

    def limits(self, position: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper 95 % limits of the stratified z, each depth by itself."""
        column = self.positions.index(position)
        limits = np.array([row[column].interval for row in self.cells])
        return limits[:, 0], limits[:, 1]

    def gains(self, position: str) -> Gains:
        """What each depth has more than the first, with a 95 % band over all depths."""
        z, draws = self.curve(position), self.draws(position)
        low, high = simultaneous_band(z - z[0], draws - draws[:, :1])
        return Gains(z - z[0], low, high)

    def increments(self, position: str) -> Gains:
        """What each depth but the first has more than the one before, with a 95 % band over all."""
        z, draws = self.curve(position), self.draws(position)
        low, high = simultaneous_band(np.diff(z), np.diff(draws, axis=1))
        return Gains(np.diff(z), low, high)

    def adjusted(self) -> Float[np.ndarray, "depths positions"]:
        """Benjamini-Hochberg adjusted p within strata, over all cells."""
        return fdr(np.stack([self.curve(name, value="p") for name in self.positions], axis=1))

    def table(self) -> pd.DataFrame:
        """One row per depth and position."""
        return pd.DataFrame(
            [
                {"block": block, "position": name, **cell.row()}
                for block, row in zip(self.blocks, self.cells, strict=True)
                for name, cell in zip(self.positions, row, strict=True)
            ]
        )


def alignment_grid(
    blocks: Iterable[tuple[str, Float[np.ndarray, "positions texts d"]]],
    counts: Integer[np.ndarray, "resamples n"],
    strata: Arraylike,
    *,
    positions: Sequence[str],
    defined: Bool[np.ndarray, "positions n"] | None = None,
) -> AlignmentGrid:
    """Hold pairs against scrambled pairs at every depth and position.

    Args:
        blocks: (name, activations) of one depth after another; the first side's texts stand
            before the second's, both in the order of the pairs.
        counts: How often each pair is drawn in each resample, as of `draw_pairs`.
        strata: Stratum of each pair, within which its partners may be exchanged.
        positions: Names of the positions.
        defined: Whether both texts of a pair have a position; by default all do.

    Raises:
        ValueError: rows that are not twice as many as pairs, and where `cosines` does.
    """
    strata, n = np.asarray(strata), counts.shape[1]
    defined = np.ones((len(positions), n), dtype=bool) if defined is None else defined
    names, cells = [], []
    for name, activations in blocks:
        if activations.shape[:2] != (len(positions), 2 * n):
            raise ValueError(
                f"{name} has {activations.shape[1]} texts at {activations.shape[0]} positions; "
                f"{n} pairs at {len(positions)} positions have {2 * n} texts"
            )
        names.append(name)
        rows = zip(activations, defined, strict=True)
        cells.append(tuple(_cell(X[:n][d], X[n:][d], strata[d], counts[:, d]) for X, d in rows))
    return AlignmentGrid(tuple(names), tuple(positions), tuple(cells))


def _cell(
    A: Float[np.ndarray, "n d"],
    B: Float[np.ndarray, "n d"],
    strata: Shaped[np.ndarray, " n"],
    counts: Integer[np.ndarray, "resamples n"],
) -> AlignmentCell:
    n = len(A)
    if n < 3:
        nothing = Pairing.undefined(f"{n} pairs have such tokens in both texts")
        drawn = Resampled(*np.full((2, len(counts)), np.nan))
        return AlignmentCell(
            n, nothing, nothing, nothing, {}, np.nan, (np.nan, np.nan), np.nan, drawn
        )
    own = np.arange(n)  # no two pairs are one text, whatever a shallow depth tells apart
    scores, centred = (cosines(A, B, groups=own, centre=centre) for centre in (False, True))
    means = A.mean(axis=0, dtype=float), B.mean(axis=0, dtype=float)
    lengths = [float(np.linalg.norm(side, axis=1).mean(dtype=float)) for side in (A, B)]
    return AlignmentCell(
        n=n,
        plain=pairing_test(scores),
        stratified=pairing_test(scores, strata),
        centred=pairing_test(centred, strata),
        retrieval={
            (k, back, without): pairing_test(hits(centred if without else scores, k, backward=back))
            for k in RANKS
            if k < n
            for back, without in product((False, True), repeat=2)
        },
        cka=linear_cka(A, B, groups=own),
        norms=(lengths[0], lengths[1]),
        meeting=float(means[0] @ means[1] / np.prod([np.linalg.norm(m) for m in means])),
        resampled=resample(scores, counts, strata),
    )
