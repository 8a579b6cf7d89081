"""Scores of named directions in every head of some blocks, held against unrelated directions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.affinity._cells import Effect, HeadPair, Survivors
from interp.affinity._forms import Distance
from interp.affinity._pairs import PairScores, TogetherScores
from interp.affinity._unrelated import LEVEL, BinnedP, UnrelatedScores, strength
from interp.stats import fdr, interval, p_among

Kind = Literal["QK", "VO"]
Pair = Literal["self", "cross"]


@dataclass(frozen=True)
class HeadScores:
    """Logits (QK) or cosines of what is written (VO) of named directions, in every head.

    Arrays of `scores` are [blocks, heads, n, n, distances]; VO has one entry for the distance.
    """

    kind: Kind
    """QK or VO."""
    names: tuple[str, ...]
    """Names of the directions."""
    blocks: tuple[int, ...]
    """Blocks surveyed."""
    distances: tuple[Distance, ...]
    """Key position - query position; empty for VO."""
    scores: PairScores
    """Scores of the named directions."""
    together: TogetherScores | None
    """VO of all heads of a block at once; None for QK."""
    self_p: BinnedP
    """p values of self pairs: of the named directions, and of every set of unrelated ones."""
    cross_p: BinnedP | None
    """p values of cross pairs; None for a single direction."""
    unrelated: UnrelatedScores
    """Scores of the unrelated directions."""

    @classmethod
    def joined(cls, parts: Sequence["HeadScores"]) -> "HeadScores":
        """Scores in the blocks of all parts, which differ in nothing else."""
        first = parts[0]
        cross = [part.cross_p for part in parts if part.cross_p is not None]
        together = [part.together for part in parts if part.together is not None]
        return replace(
            first,
            blocks=tuple(block for part in parts for block in part.blocks),
            scores=PairScores(*_concatenated([part.scores for part in parts])),
            together=TogetherScores(*_concatenated(together)) if together else None,
            self_p=BinnedP.joined([part.self_p for part in parts]),
            cross_p=BinnedP.joined(cross) if cross else None,
            unrelated=UnrelatedScores.joined(part.unrelated for part in parts),
        )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Kinds of pair that there are."""
        return ("self",) if self.cross_p is None else ("self", "cross")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the distances; one empty name for VO."""
        names = (str(one) if isinstance(one, int) else "average" for one in self.distances)
        return tuple(names) or ("",)

    def mask(self, pair: Pair | None) -> Bool[np.ndarray, "n n"]:
        """Which cells of a matrix are self pairs or cross pairs; all for None."""
        own = np.eye(len(self.names), dtype=bool)
        return {"self": own, "cross": ~own}.get(pair or "", np.ones_like(own))

    @cached_property
    def q(self) -> Float[np.ndarray, "blocks heads n n distances"]:
        """Benjamini-Hochberg adjusted p over all cells, self pairs and cross pairs each among
        themselves."""
        q = np.full(self.scores.p.shape, np.nan)
        for pair in self.pairs:
            mask = self.mask(pair)
            q[:, :, mask] = fdr(self.scores.p[:, :, mask])
        return q

    def survives(self, level: float = LEVEL) -> Bool[np.ndarray, "blocks heads n n distances"]:
        """Cells whose q is at most a false discovery rate."""
        return self.q <= level

    def survivors(self, pair: Pair, level: float = LEVEL) -> Survivors:
        """Cells of a kind of pair that survive, counted beside those of unrelated sets."""
        binned = self._binned(pair)
        surviving = self.survives(level) & self.mask(pair)[:, :, None]
        heads = np.argwhere(surviving.any(axis=(2, 3, 4))).tolist()
        by_set = binned.survivors(level)
        return Survivors(
            int(surviving.sum()),
            int(binned.counts[0].sum()),
            frozenset((self.blocks[at], head) for at, head in heads),
            by_set[1:],
            p_among(by_set[0], by_set[1:]),
        )

    def strength_by_set(self) -> Float[np.ndarray, " rows"]:
        """Largest -log10 p of the named directions, then of every set of unrelated ones."""
        return np.max([self._binned(pair).largest for pair in self.pairs], axis=0)

    def rate_by_set(self, level: float = LEVEL) -> Float[np.ndarray, " rows"]:
        """Share of cells with p at or below a level, to a bin: of the named directions, then of
        every set of unrelated ones."""
        binned = [self._binned(pair) for pair in self.pairs]
        passing = np.sum([part.passing(level) for part in binned], axis=0)
        return passing / np.sum([part.counts.sum(axis=1) for part in binned], axis=0)

    def strongest(self, count: int = 1, *, pair: Pair | None = None) -> list[HeadPair]:
        """The cells with the least p, each pair of a head once (ties by |z|)."""
        z = self.scores.z
        score = np.where(self.mask(pair)[:, :, None], strength(self.scores.p), -1.0)
        strongest: dict[tuple, HeadPair] = {}
        for flat in np.lexsort((-np.abs(z).ravel(), -score.ravel())):
            index = tuple(int(axis) for axis in np.unravel_index(flat, z.shape))
            if score[index] < 0 or len(strongest) == count:
                break
            if index[:4] not in strongest:
                strongest[index[:4]] = self._pair(index)
        return list(strongest.values())

    def by_head(self) -> tuple[Float[np.ndarray, "blocks heads"], Bool[np.ndarray, "blocks heads"]]:
        """z of each head's most significant cell, and whether any of its cells survives."""
        flat = self.scores.z.reshape(*self.scores.z.shape[:2], -1)
        # the most significant cell, not the largest z: heads' tails differ
        order = self.scores.p.reshape(flat.shape) - 1e-12 * np.minimum(np.abs(flat), 1e6)
        z = np.take_along_axis(flat, order.argmin(axis=2)[..., None], axis=2)[..., 0]
        return z, self.q.reshape(flat.shape).min(axis=2) <= LEVEL

    def self_z(self) -> Float[np.ndarray, "blocks heads n"]:
        """z of self pairs at the first distance."""
        return np.diagonal(self.scores.z[..., 0], axis1=2, axis2=3)

    def mean_z(
        self, pair: Pair, *, directions: int = 4
    ) -> tuple[dict[str, Float[np.ndarray, " blocks"]], tuple[np.ndarray, np.ndarray]]:
        """Mean z over heads by block, at the first distance: of pairs of the first directions by
        name (cross pairs of three at most) and of unrelated ones, and the band that holds 95 % of
        the unrelated pairs' means."""
        z, names = self.scores.z[..., 0].mean(axis=1), self.names
        n = min(directions, len(names))
        if pair == "self":
            series = {names[at]: z[:, at, at] for at in range(n)}
            unrelated = self.unrelated.self_z.mean(axis=1)
        else:
            chosen = permutations(range(min(3, n)), 2)
            series = {f"{names[a]} → {names[b]}": z[:, a, b] for a, b in chosen}
            unrelated = self.unrelated.cross_z.mean(axis=1)
        return series | {"unrelated": unrelated.mean(axis=1)}, interval(unrelated, axis=1)

    def z_by_kind(self) -> dict[str, Float[np.ndarray, "..."]]:
        """z at the first distance: of these directions and of unrelated ones, self and cross."""
        z = {"these, self": self.self_z(), "unrelated, self": self.unrelated.self_z}
        if self.cross_p is not None:
            z["these, cross"] = self.scores.z[..., 0][:, :, self.mask("cross")]
            z["unrelated, cross"] = self.unrelated.cross_z
        return z

    def effect(self, blocks: Sequence[int]) -> Effect:
        """Mean |z| of self pairs over the heads of some blocks, at the first distance. Raises
        ValueError for a block that was not surveyed."""
        at = [self.blocks.index(block) for block in blocks]
        size = np.abs(self.self_z()[at])
        unrelated = np.abs(self.unrelated.self_z[at]).mean(axis=(0, 1))
        bound = float(np.quantile(unrelated, 0.95))
        return Effect(size.mean(axis=(0, 1)), float(unrelated.mean()), bound)

    def correlation(self, first: int, second: int) -> Float[np.ndarray, "blocks heads"]:
        """Correlation of cross pairs' scores at two distances, given by their index; NaN for a head
        that gives every pair the same score."""
        cross = self.mask("cross")
        near, far = (self.scores.raw[..., at][..., cross] for at in (first, second))
        near, far = (part - part.mean(axis=-1, keepdims=True) for part in (near, far))
        size = np.sqrt((near**2).sum(axis=-1) * (far**2).sum(axis=-1))
        with np.errstate(invalid="ignore"):
            return (near * far).sum(axis=-1) / size

    def table(self) -> pd.DataFrame:
        """A row for each block, head, pair and distance, with raw, z, p, q and moments of the null.

        `head` is missing in rows about all heads of a block together, which have a cosine and a z
        alone. `distance` is missing for the average over distances and for VO.
        """
        frames = []
        for at in range(len(self.blocks)):
            frames.append(self._frame(at))
            if self.together is not None:
                frames.append(self._together_frame(at, self.together))
        return pd.concat(frames, ignore_index=True)

    def _frame(self, at: int) -> pd.DataFrame:
        shape = self.scores.z.shape[1:]
        head, query, key, distance = (index.ravel() for index in np.indices(shape))
        steps = [one if isinstance(one, int) else None for one in self.distances] or [None]
        return pd.DataFrame(
            self._index(at, query, key)
            | {
                "head": pd.array(head, dtype="Int32"),
                "distance": pd.array(steps, dtype="Int32")[distance],
                "raw": self.scores.raw[at].ravel(),
                "z": self.scores.z[at].ravel(),
                "null_mean": self.scores.mean[at].ravel(),
                "null_sd": self.scores.sd[at].ravel(),
                "p": self.scores.p[at].ravel(),
                "q": self.q[at].ravel(),
            }
        )

    def _together_frame(self, at: int, together: TogetherScores) -> pd.DataFrame:
        query, key = (index.ravel() for index in np.indices(together.z.shape[1:]))
        missing = pd.array([None] * len(query), dtype="Int32")
        scores = {"raw": together.raw[at].ravel(), "z": together.z[at].ravel()}
        unstated = dict.fromkeys(("null_mean", "null_sd", "p", "q"), np.full(len(query), np.nan))
        labels = {"head": missing, "distance": missing}
        return pd.DataFrame(self._index(at, query, key) | labels | scores | unstated)

    def _index(self, at: int, query: np.ndarray, key: np.ndarray) -> dict[str, np.ndarray]:
        names = np.array(self.names, dtype=object)
        return {
            "kind": np.full(len(query), self.kind, dtype=object),
            "pair": np.where(query == key, "self", "cross"),
            "block": np.full(len(query), self.blocks[at], dtype=np.int32),
            "query": names[query],
            "key": names[key],
        }

    def _pair(self, index: tuple) -> HeadPair:
        return HeadPair(
            block=self.blocks[index[0]],
            head=index[1],
            query=self.names[index[2]],
            key=self.names[index[3]],
            distance=self.labels[index[4]],
            z=float(self.scores.z[index]),
            p=float(self.scores.p[index]),
            index=index,
        )

    def _binned(self, pair: Pair) -> BinnedP:
        binned = self.self_p if pair == "self" else self.cross_p
        if binned is None:
            raise ValueError("a single direction has no cross pairs")
        return binned


def _concatenated(parts: Sequence[PairScores] | Sequence[TogetherScores]) -> Iterator[np.ndarray]:
    """Each array of the scores, along the blocks."""
    return (np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0]))
