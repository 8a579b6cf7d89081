"""Unrelated directions that go through the same heads as the named ones, and what they score.

Cells of one survey share their directions and lie in blocks that feed each other, so their number
says little about their independence. Whatever is said of the named directions is therefore said of
whole sets of unrelated ones too, through every head, pair and distance, and a p value is a place
among those sets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from interp.affinity._pairs import PairScores
from interp.stats import fdr_survivors

UNRELATED = 96
"""Unrelated directions that go through every head beside the named ones."""
SETS = 200
"""Sets of as many unrelated directions as there are named ones; no p value falls below 1 / 201."""
BIN, BINS = 0.05, 1200
"""Width and number of bins of -log10 p; what lies past 60 counts as 60."""
LEVEL, FAR = 0.05, 0.001
"""Levels at which unrelated pairs are counted."""


@dataclass(frozen=True)
class Deviations:
    """Residuals as deviations from their mean, which is what directions can be held against.

    A direction (a component, a contrast) has no mean of its own, so deviations count with both
    signs. Texts are split in two: the null is fitted on one half, and unrelated directions come
    from the other, which shows whether the null holds.
    """

    fitted: Float[np.ndarray, "rows d"]
    """Deviations of fitted texts, each with both signs, so that their mean is exactly 0."""
    held_out: Float[np.ndarray, "texts tokens d"]
    """Deviations of the other texts from the fitted texts' mean."""

    @classmethod
    def of(cls, residuals: Float[np.ndarray, "texts tokens d"]) -> "Deviations":
        """Deviations of residuals before a block, texts fitted and held out in turn. Raises
        ValueError for fewer than two texts."""
        if len(residuals) < 2:
            raise ValueError(f"residuals of {len(residuals)} texts cannot be split in two halves")
        fitted, held_out = residuals[::2], residuals[1::2]
        mean = fitted.mean(axis=(0, 1))
        rows = (fitted - mean).reshape(-1, residuals.shape[-1])
        return cls(np.concatenate([rows, -rows]), held_out - mean)


@dataclass(frozen=True)
class Unrelated:
    """Unrelated directions, and how they are dealt into sets of as many as there are named ones.

    The members of sets depend on the seed and on the number of texts and tokens only. So a set is
    one set of directions throughout a model, whose residuals differ from block to block.
    """

    vectors: Float[np.ndarray, "m d"]
    """Directions."""
    text: Int[np.ndarray, " m"]
    """Text of each direction; pairs from one text are not unrelated."""
    sets: Int[np.ndarray, "sets n"]
    """Members of each set, from different texts."""

    @classmethod
    def isotropic(cls, n: int, width: int, *, seed: int = 0) -> "Unrelated":
        """Directions of a residual stream in which all are alike, for sets of n."""
        text = np.arange(UNRELATED)
        # the same before every block, as the named ones are
        vectors = np.random.default_rng(seed + 1).standard_normal((UNRELATED, width))
        return cls(vectors, text, _sets(n, text, np.random.default_rng(seed)))

    @classmethod
    def of_texts(
        cls, n: int, residuals: Float[np.ndarray, "texts tokens d"], *, seed: int = 0
    ) -> "Unrelated":
        """Deviations of held-out texts, for sets of n directions from n different texts.

        Raises:
            ValueError: fewer texts than directions in a set, or a single text.
        """
        texts, tokens, _ = residuals.shape
        if texts < max(n, 2):
            raise ValueError(
                f"there are {texts} held-out texts; {n} directions need at least {max(n, 2)}, "
                "beside as many for the null"
            )
        rng = np.random.default_rng(seed)
        per_text = min(tokens, max(1, UNRELATED // texts))
        text = np.repeat(np.arange(texts), per_text)
        token = np.concatenate([rng.permutation(tokens)[:per_text] for _ in range(texts)])
        return cls(residuals[text, token], text, _sets(n, text, rng))


def _sets(n: int, text: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    texts = np.unique(text)
    return np.stack(
        [
            [rng.choice(np.flatnonzero(text == chosen)) for chosen in rng.permutation(texts)[:n]]
            for _ in range(SETS)
        ]
    )


def strength(p: Float[np.ndarray, "*cells"]) -> Float[np.ndarray, "*cells"]:
    """-log10 p, where an exact 0 counts as the end of the scale."""
    return np.asarray(-np.log10(np.maximum(p, 10.0 ** -(BIN * BINS))))


@dataclass(frozen=True)
class BinnedP:
    """p values of the named directions (row 0) and of every set of unrelated ones, in bins."""

    counts: Int[np.ndarray, "rows bins"]
    """Number of p values by bin of -log10 p."""
    largest: Float[np.ndarray, " rows"]
    """Largest -log10 p."""

    @classmethod
    def of(cls, p: Float[np.ndarray, "rows cells"]) -> "BinnedP":
        """Counts of the p values of each row."""
        size = strength(p)
        flat = np.arange(len(p))[:, None] * (BINS + 1) + (size / BIN).astype(int)
        counts = np.bincount(flat.ravel(), minlength=len(p) * (BINS + 1))
        return cls(counts.reshape(len(p), BINS + 1), size.max(axis=1, initial=0))

    @classmethod
    def joined(cls, parts: Sequence["BinnedP"]) -> "BinnedP":
        """Counts over all parts, such as blocks and distances."""
        return cls(
            np.sum([part.counts for part in parts], axis=0),
            np.max([part.largest for part in parts], axis=0),
        )

    def survivors(self, level: float = LEVEL) -> Int[np.ndarray, " rows"]:
        """Cells of each row that survive the Benjamini-Hochberg procedure, each row on its own;
        fewer than exact p values give by at most a bin's width, a tenth of p."""
        return fdr_survivors(self.counts, 10.0 ** -(BIN * np.arange(BINS + 1)), level=level)

    def passing(self, level: float = LEVEL) -> Int[np.ndarray, " rows"]:
        """Number of each row's p values at or below a level, to a bin."""
        edge = round(strength(np.array(level)).item() / BIN)
        return self.counts[:, edge:].sum(axis=1)


@dataclass(frozen=True)
class UnrelatedScores:
    """Scores of unrelated directions in the same heads; z at the first distance."""

    self_z: Float[np.ndarray, "blocks heads m"]
    """z of self pairs."""
    cross_z: Float[np.ndarray, "blocks heads pairs"]
    """z of one cross pair of each set, its first two members."""
    spread: Float[np.ndarray, "blocks heads"]
    """Standard deviation of the null of cross pairs (VO: with the first of the directions)."""
    texts: int
    """Number of texts that the directions come from."""
    tested: int
    """Number of cross pairs of different texts, over heads."""
    passed: int
    """How many of them have p <= .05."""
    far: int
    """How many of them have p <= .001."""

    @classmethod
    def of(cls, pairs: PairScores, unrelated: Unrelated) -> "UnrelatedScores":
        """Scores of one block at one distance, of unrelated directions alone."""
        across_texts = unrelated.text[:, None] != unrelated.text
        first, second = unrelated.sets[:, :2].T if unrelated.sets.shape[1] > 1 else ([], [])
        p = pairs.p[:, across_texts]
        return cls(
            self_z=np.diagonal(pairs.z, axis1=1, axis2=2)[None],
            cross_z=pairs.z[None, :, np.array(first, dtype=int), np.array(second, dtype=int)],
            spread=pairs.sd[None, :, 1, 0],
            texts=len(np.unique(unrelated.text)),
            tested=p.size,
            passed=int((p <= LEVEL).sum()),
            far=int((p <= FAR).sum()),
        )

    @classmethod
    def joined(cls, parts: Iterable["UnrelatedScores"]) -> "UnrelatedScores":
        """Scores in the blocks of all parts."""
        parts = list(parts)
        by_block = ("self_z", "cross_z", "spread")
        counted = ("tested", "passed", "far")
        return replace(
            parts[0],
            **{name: np.concatenate([vars(part)[name] for part in parts]) for name in by_block},
            **{name: sum(vars(part)[name] for part in parts) for name in counted},
        )

    @property
    def rate(self) -> float:
        """Share of unrelated cross pairs with p <= .05."""
        return self.passed / self.tested

    @property
    def far_rate(self) -> float:
        """Share of unrelated cross pairs with p <= .001."""
        return self.far / self.tested
