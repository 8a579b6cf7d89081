"""Does a concept's vector single out texts of scenarios that it was not fitted on?

1. Leave each scenario out, refit every vector on the rest, project the scenario's texts.
2. AUROC of all texts' held-out projections, per concept; an interval from doing so without each
   scenario in turn.
3. Null: deal the texts' labels anew, refit, project. Labels move within a scenario, so that what a
   scenario's texts share stays; texts that are a scenario of their own, stories, exchange theirs
   with one another. All concepts' labels move together, so that max-T sees how they depend.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.arrays import Arraylike, centred_gram
from interp.readout.contrast import scenario_codes, taken
from interp.readout.leaveout import (
    held_out_scores,
    jackknife_interval,
    pooled_auroc,
    why_undefined,
)
from interp.stats import PermutationTest, permutation_test

AT_ONCE = 2**21
"""Numbers per working array, of which a pass over permutations keeps about ten: 160 MB."""


@dataclass(frozen=True)
class HeldOut:
    """Each concept's vector at one block, judged on scenarios that it was not fitted on."""

    auroc: Float[np.ndarray, " concepts"]
    """Share of (positive, negative) pairs of texts that held-out projections order rightly; texts
    of different scenarios are compared. NaN where undefined."""
    interval: Float[np.ndarray, "concepts 2"]
    """Jackknife interval of `auroc` over scenarios. It is conservative: see
    `interp.readout.leaveout`."""
    status: tuple[str, ...]
    """`ok`, or why the AUROC, or its interval, is undefined."""
    scores: Float[np.ndarray, "concepts texts"]
    """Held-out projections past the training mean, in units of the residual stream."""
    null: Float[np.ndarray, "permutations concepts"]
    """AUROC under permuted labels; with one seed, permutation b is the same at every block, so that
    blocks may be joined for one test."""
    test: PermutationTest
    """`auroc` against `null`, corrected over concepts."""


def held_out(
    X: Arraylike,
    positive: Arraylike,
    scenario: Arraylike,
    *,
    n_permutations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> HeldOut:
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
    return HeldOut(
        auroc=observed,
        interval=limits,
        status=tuple(
            why_undefined(*cell, member) for cell in zip(scores, limits, positive, strict=True)
        ),
        scores=scores,
        null=null,
        test=permutation_test(observed, null),
    )


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
