"""Does a concept's vector single out texts of scenarios that it was not fitted on?

1. Leave each scenario out, refit every vector on the rest, project the scenario's texts.
2. AUROC of all texts' held-out projections, per concept; an interval from doing so without each
   scenario in turn.
3. Null: deal the texts' labels anew, refit, project. Labels move within a scenario, so that what a
   scenario's texts share stays; texts that are a scenario of their own, stories, exchange theirs
   with one another. All concepts' labels move together, so that max-T sees how they depend.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int, Shaped

from interp.arrays import Arraylike, centred_gram, indicator
from interp.readout._contrast import check_concepts, scenario_codes, taken
from interp.readout._leaveout import (
    held_out_scores,
    jackknife_interval,
    pooled_auroc,
    why_undefined,
)
from interp.stats import PermutationTest, permutation_test

AT_ONCE = 2**21
"""Numbers per working array, of which a pass over permutations keeps about ten: 160 MB."""


@dataclass(frozen=True)
class HeldOutVectors:
    """Each concept's vector at one block, judged on scenarios that it was not fitted on."""

    auroc: Float[np.ndarray, " concepts"]
    """Share of (positive, negative) pairs of texts that held-out projections order rightly; texts
    of different scenarios are compared. NaN where undefined."""
    interval: Float[np.ndarray, "concepts 2"]
    """Jackknife interval of `auroc` over scenarios. It is conservative: see
    `interp.readout._leaveout`."""
    status: tuple[str, ...]
    """`ok`, or why the AUROC, or its interval, is undefined."""
    scores: Float[np.ndarray, "concepts texts"]
    """Held-out projections past the training mean, in units of the residual stream."""
    null: Float[np.ndarray, "permutations concepts"]
    """AUROC under permuted labels; with one seed, permutation b is the same at every block, so that
    blocks may be joined for one test."""
    test: PermutationTest
    """`auroc` against `null`, corrected over concepts."""


@dataclass(frozen=True)
class HeldOutGrid:
    """Every concept's vector at several blocks, judged on scenarios that it was not fitted on."""

    blocks: tuple[int, ...]
    """Blocks, in the order of the grid's rows."""
    concepts: tuple[str, ...]
    """Names, in the order of its columns."""
    rows: tuple[HeldOutVectors, ...]
    """Scores of each block."""
    test: PermutationTest
    """AUROC against labels dealt anew, the same at every block; max-T over blocks x concepts."""

    @property
    def auroc(self) -> Float[np.ndarray, "blocks concepts"]:
        """Held-out AUROC; NaN where undefined."""
        return np.stack([row.auroc for row in self.rows])

    @property
    def interval(self) -> Float[np.ndarray, "blocks concepts 2"]:
        """Jackknife interval of `auroc` over scenarios."""
        return np.stack([row.interval for row in self.rows])

    @property
    def status(self) -> Shaped[np.ndarray, "blocks concepts"]:
        """`ok`, or why the AUROC, or its interval, is undefined."""
        return np.array([row.status for row in self.rows])

    def survives(self, level: float = 0.05) -> Bool[np.ndarray, "blocks concepts"]:
        """Cells whose AUROC survives correction over the grid (max-T).

        Raises:
            ValueError: `level` is below what this many permutations can reach.
        """
        return self.test.survives(level)

    def plot(
        self,
        title: str = "AUROC on scenarios that were never fitted",
        *,
        row_labels: Sequence[str] | None = None,
        surface: HeldOutVectors | None = None,
    ) -> go.Figure:
        """AUROC as a heatmap of blocks by concepts, surviving cells dotted.

        Args:
            title: Title of the figure.
            row_labels: Names of the blocks, by default their numbers.
            surface: Scores on a bag of the texts' words, which become the lowest row.
        """
        from interp.plots import Axis, Scale, heatmap

        labels = [f"block {block}" for block in self.blocks] if row_labels is None else row_labels
        below = [] if surface is None else [surface]
        values = np.stack([*(row.auroc for row in below), *self.auroc])
        survivors = np.zeros(values.shape, dtype=bool)
        survivors[len(below) :] = self.survives()
        low = min(0.5, float(np.nanmin(values)))
        return heatmap(
            values,
            Axis([*("bag of words" for _ in below), *labels], "depth"),
            Axis(self.concepts),
            title=title,
            scale=Scale("AUROC", low, 1, reference={"chance": 0.5}),
            survivors=survivors,
            survivors_label="survives max-T correction at 5 %",
            status=np.stack([*(np.array(row.status) for row in below), *self.status]),
        )

    def table(self) -> pd.DataFrame:
        """A row for every block and concept."""
        columns = {
            "block": np.array(self.blocks)[:, None],
            "concept": np.array(self.concepts),
            "auroc": self.auroc,
            "auroc_low": self.interval[..., 0],
            "auroc_high": self.interval[..., 1],
            "p": self.test.p,
            "p_family": self.test.p_family,
            "status": self.status,
        }
        shape = self.status.shape
        return pd.DataFrame(
            {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
        )


def held_out(
    X: Arraylike,
    positive: Arraylike,
    scenario: Arraylike,
    *,
    n_permutations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> HeldOutVectors:
    """Leave-one-scenario-out AUROC of every concept from activations `X` [texts, d] at one block.

    A concept whose positives lie in one scenario cannot be held out and is undefined. Raises
    ValueError for fewer than three scenarios, activations that are not finite, and lengths that
    differ from the number of texts.
    """
    X, positive = taken(X, positive)
    member = scenario_codes(scenario, positive)
    gram = centred_gram(X, without_constant=True)
    scores = held_out_scores(gram, positive, member)
    observed = pooled_auroc(scores, positive)
    orders = permuted_texts(member, n_permutations, np.random.default_rng(seed))
    null = _null(gram, positive, member, orders)

    def without(rows: np.ndarray, codes: np.ndarray, _: int) -> np.ndarray:
        rest = positive[:, rows]
        return pooled_auroc(held_out_scores(gram[np.ix_(rows, rows)], rest, codes), rest)

    limits = jackknife_interval(observed, without, member, level)
    return HeldOutVectors(
        auroc=observed,
        interval=limits,
        status=tuple(
            why_undefined(*cell, member) for cell in zip(scores, limits, positive, strict=True)
        ),
        scores=scores,
        null=null,
        test=permutation_test(observed, null),
    )


def held_out_grid(
    blocks: Mapping[int, Arraylike],
    positive: Arraylike,
    scenario: Arraylike,
    concepts: Sequence[str],
    *,
    n_permutations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> HeldOutGrid:
    """`held_out` at every block of activations [texts, d], with one test over blocks x concepts.

    Raises:
        ValueError: no blocks, names that are missing or not unique, or as `held_out`.
    """
    if not blocks:
        raise ValueError("no block is given; a grid needs at least 1")
    check_concepts(concepts, indicator(positive, (None, None)))
    rows = tuple(
        held_out(X, positive, scenario, n_permutations=n_permutations, level=level, seed=seed)
        for X in blocks.values()
    )
    observed = np.stack([row.auroc for row in rows])
    null = np.stack([row.null for row in rows], axis=1)
    return HeldOutGrid(tuple(blocks), tuple(concepts), rows, permutation_test(observed, null))


def dealt_labels(
    positive: Bool[np.ndarray, "concepts texts"],
    scenario: Shaped[np.ndarray, " texts"],
    n: int,
    *,
    rng: np.random.Generator,
) -> Bool[np.ndarray, "n texts"]:
    """Labels of `n` concepts that do not exist: those of a concept drawn at random, dealt anew
    within every scenario.

    Vectors fitted to them lie where activations do, as those of concepts do. A row keeps its
    concept's number of positives in each scenario, so it has texts on both sides.
    """
    strata = [np.flatnonzero(scenario == name) for name in np.unique(scenario)]
    labels = positive[rng.integers(len(positive), size=n)]
    for label in labels:
        for texts in strata:
            label[texts] = rng.permutation(label[texts])
    return labels


def permuted_texts(
    member: Int[np.ndarray, " texts"], n_permutations: int, rng: np.random.Generator
) -> Int[np.ndarray, "permutations texts"]:
    """Orders that keep scenarios: texts shuffled within each, single ones among themselves."""
    alone = np.bincount(member)[member] == 1
    among = np.where(alone, -1, member)
    orders = np.tile(np.arange(len(member)), (n_permutations, 1))
    for stratum in np.unique(among):
        rows = np.flatnonzero(among == stratum)
        orders[:, rows] = rng.permuted(orders[:, rows], axis=1)
    return orders


def _null(
    gram: np.ndarray, positive: np.ndarray, member: np.ndarray, orders: np.ndarray
) -> Float[np.ndarray, "permutations concepts"]:
    n_concepts, n = positive.shape
    step = max(1, AT_ONCE // (n_concepts * n))
    null = np.empty((len(orders), n_concepts))
    for start in range(0, len(orders), step):
        permuted = positive[:, orders[start : start + step]]  # [concepts, permutations, texts]
        labels = permuted.swapaxes(0, 1).reshape(-1, n)
        found = pooled_auroc(held_out_scores(gram, labels, member), labels)
        null[start : start + step] = found.reshape(-1, n_concepts)
    return null
