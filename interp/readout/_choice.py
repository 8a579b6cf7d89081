"""Which block to read a concept at, chosen without the texts that judge the choice.

The best of many blocks scores well on noise: it was the best. So the choice is nested (Cawley &
Talbot 2010, "On over-fitting in model selection"):

1. leave a scenario out; on the rest, take the block with the highest leave-one-scenario-out AUROC,
   averaged over concepts;
2. fit that block's vectors on the rest and project the scenario that was left out;
3. pool these projections. Blocks differ in scale, so each is divided by the standard deviation of
   the training negatives along the vector.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from interp.arrays import Arraylike, centred_gram, indicator
from interp.readout._contrast import contrasts, scenario_codes, taken
from interp.readout._leaveout import (
    held_out_scores,
    jackknife_interval,
    kept,
    pooled_auroc,
    why_undefined,
)


@dataclass(frozen=True)
class Choice:
    """A block chosen by leave-one-scenario-out AUROC, and what such a choice is worth."""

    block: int
    """Best block on all scenarios: the one to use."""
    majority: int
    """Block that most left-out scenarios' training texts chose."""
    fold_blocks: dict[Any, int]
    """Block chosen without each scenario, by its label."""
    curve: dict[int, float]
    """Mean AUROC over concepts at each block on all scenarios; its maximum is optimistic."""
    auroc: Float[np.ndarray, " concepts"]
    """AUROC on left-out scenarios at the block chosen without them: what to expect of `block`."""
    interval: Float[np.ndarray, "concepts 2"]
    """Jackknife interval of `auroc` over scenarios, chosen blocks and scales kept."""
    status: tuple[str, ...]
    """`ok`, or why the AUROC, or its interval, is undefined."""


def choose_block(
    blocks: Mapping[int, Arraylike],
    positive: Arraylike,
    scenario: Arraylike,
    *,
    level: float = 0.95,
) -> Choice:
    """Choose among `blocks`, activations [texts, d] by block; equals go to the first given.

    Raises ValueError without blocks, where no concept has positives in enough scenarios to choose
    by, and as `interp.readout.held_out`.
    """
    if not blocks:
        raise ValueError("no block is given to choose from")
    blocks = {block: taken(X, positive)[0] for block, X in blocks.items()}
    positive = indicator(positive, (None, None))
    member = scenario_codes(scenario, positive)
    grams = [centred_gram(X, without_constant=True) for X in blocks.values()]
    names = list(blocks)
    curve = _curve(grams, positive, member)
    best, scale = _by_fold(grams, positive, member)
    scores = _chosen_scores(grams, positive, member, best, scale)
    observed = pooled_auroc(scores, positive)

    def without(rows: np.ndarray, codes: np.ndarray, deleted: int) -> np.ndarray:
        rest, folds = positive[:, rows], np.arange(len(best)) != deleted
        inner = [gram[np.ix_(rows, rows)] for gram in grams]
        return pooled_auroc(_chosen_scores(inner, rest, codes, best[folds], scale[folds]), rest)

    limits = jackknife_interval(observed, without, member, level)
    labels = np.unique(scenario).tolist()
    fold_blocks = {label: names[at] for label, at in zip(labels, best, strict=True)}
    return Choice(
        block=names[int(curve.argmax())],
        majority=Counter(fold_blocks.values()).most_common(1)[0][0],
        fold_blocks=fold_blocks,
        curve=dict(zip(names, curve.tolist(), strict=True)),
        auroc=observed,
        interval=limits,
        status=tuple(
            why_undefined(*cell, member) for cell in zip(scores, limits, positive, strict=True)
        ),
    )


def _curve(
    grams: list[np.ndarray], positive: np.ndarray, member: np.ndarray
) -> Float[np.ndarray, " blocks"]:
    """Mean held-out AUROC at each block over the concepts that are defined at all of them."""
    each = np.array(
        [pooled_auroc(held_out_scores(gram, positive, member), positive) for gram in grams]
    )
    defined = np.isfinite(each).all(axis=0)
    if not defined.any():
        raise ValueError(
            "no concept has an AUROC to choose a block by: one needs positives and negatives in "
            "at least 3 scenarios, whose means differ"
        )
    return each[:, defined].mean(axis=1)


def _by_fold(
    grams: list[np.ndarray], positive: np.ndarray, member: np.ndarray
) -> tuple[Int[np.ndarray, " scenarios"], Float[np.ndarray, "scenarios concepts"]]:
    """Place of the block chosen without each scenario, and its negatives' spread there."""
    places, scales = [], []
    for fold in range(member.max() + 1):
        train, codes = kept(member, fold)
        inner = [gram[np.ix_(train, train)] for gram in grams]
        places.append(_curve(inner, positive[:, train], codes).argmax())
        scales.append(_spread_of_negatives(inner[places[-1]], positive[:, train]))
    return np.array(places), np.array(scales)


def _chosen_scores(
    grams: list[np.ndarray],
    positive: np.ndarray,
    member: np.ndarray,
    best: np.ndarray,
    scale: np.ndarray,
) -> Float[np.ndarray, "concepts texts"]:
    """Held-out projections of each scenario's texts at its chosen block, over its scale."""
    at, scores = best[member], np.empty(positive.shape)
    for place in np.unique(at):
        found = held_out_scores(grams[place], positive, member)
        scores[:, at == place] = found[:, at == place]
    return scores / scale[member].T


def _spread_of_negatives(gram: np.ndarray, positive: np.ndarray) -> Float[np.ndarray, " concepts"]:
    """Standard deviation of the negatives along each unit vector; NaN without one."""
    weights = contrasts(positive)
    along, low = weights @ gram, ~positive
    count = np.maximum(low.sum(axis=1, keepdims=True), 1)  # without any, the contrast is NaN
    mean = (along * low).sum(axis=1, keepdims=True) / count
    square = ((along - mean) ** 2 * low).sum(axis=1) / count[:, 0]
    squared = (weights * along).sum(axis=1)
    ratio = np.divide(square, squared, out=np.full_like(square, np.nan), where=squared > 0)
    return np.sqrt(np.where(ratio > 0, ratio, np.nan))
