"""Attention heads whose output tells a concept's texts from the others'.

Selectivity of a head is the length of the mean difference of its z (the pattern-weighted values,
before W_O) between positives and negatives, over the length of the negatives' standard deviation.
For texts that do not differ it is about sqrt(1/p + 1/n) from p positives and n negatives, since
the mean difference then has that share of the texts' variance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.arrays import Arraylike, coordinate_rounding, indicator
from interp.files import jsonable
from interp.readout._contrast import OK, check_concepts, contrasts, taken


@dataclass(frozen=True)
class Head:
    """One head's part in a concept."""

    head: str
    """`block.head`, both counted from 0."""
    selectivity: float
    """Length of the mean difference over that of the negatives' standard deviation."""
    norm: float
    """Length of the mean difference, in units of z."""


@dataclass(frozen=True)
class HeadRanking:
    """The most selective heads of one concept."""

    concept: str
    """Name."""
    status: str
    """`ok`, or why no head is ranked."""
    heads: tuple[Head, ...]
    """By falling selectivity; heads whose negatives do not vary are left out."""
    share: float
    """Part of the sum of all heads' norms that these hold."""
    unrelated: float
    """Selectivity of a head that does not tell the texts apart."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite becomes None."""
        return jsonable(self)


def rank_heads(
    blocks: Iterable[tuple[int, Arraylike | None]],
    positive: Arraylike,
    concepts: Sequence[str],
    *,
    top: int = 10,
) -> tuple[HeadRanking, ...]:
    """Rank the heads of all given blocks for every concept, from their `attn.hook_z` [texts, heads,
    d_head] at the last token; None for a block without attention.

    A concept with fewer than two negatives, or a corpus without heads, leaves the ranking empty
    with its reason in `status`. Raises ValueError for names that are missing or not unique,
    activations that are not finite, lengths that differ and `top` below 1.
    """
    positive = indicator(positive, (None, None))
    check_concepts(concepts, positive)
    if top < 1:
        raise ValueError(f"top={top}; rank at least 1 head")
    labels, norms, spreads = [], [np.empty((len(positive), 0))], [np.empty((len(positive), 0))]
    for block, z in blocks:
        if z is None:
            continue
        z, _ = taken(z, positive, ndim=3)
        labels += [f"{block}.{head}" for head in range(z.shape[1])]
        norm, spread = _norms(z, positive)
        norms.append(norm)
        spreads.append(spread)
    norm, spread = np.concatenate(norms, axis=1), np.concatenate(spreads, axis=1)
    return tuple(
        _ranking(concept, labels, norm[k], spread[k], positive[k], top)
        for k, concept in enumerate(concepts)
    )


def _norms(given: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length of the mean difference and of the negatives' standard deviation, [concepts, heads]."""
    z = given - given.mean(axis=0, dtype=np.float64)  # squares are summed: a level costs digits
    own = coordinate_rounding(given.reshape(len(given), -1)).reshape(z.shape[1:])
    z[:, np.abs(z).max(axis=0) <= own] = 0  # equal but for their rounding
    difference = np.einsum("ct,thd->chd", contrasts(positive), z)
    low = (~positive).astype(np.float64)
    count = low.sum(axis=1)[:, None]
    mean = np.einsum("ct,thd->chd", low, z)
    with np.errstate(invalid="ignore", divide="ignore"):
        square = low @ (z**2).sum(axis=2) - (mean**2).sum(axis=2) / count
        variance = np.where(count > 1, np.maximum(square, 0) / (count - 1), np.nan)
    # Below this a variance is the rounding of squares that cancelled.
    variance[variance <= 1e-14 * (z**2).sum(axis=2).max(axis=0)] = np.nan
    return np.linalg.norm(difference, axis=2), np.sqrt(variance)


def _ranking(
    concept: str,
    labels: list[str],
    norm: np.ndarray,
    spread: np.ndarray,
    label: np.ndarray,
    top: int,
) -> HeadRanking:
    n_high, n_low = int(label.sum()), int((~label).sum())
    selectivity = norm / spread
    order = np.argsort(-selectivity, kind="stable")  # NaN sorts last
    order = order[np.isfinite(selectivity[order])][:top]
    total = norm.sum()
    status = OK
    if not order.size:
        status = "no head is given" if not labels else f"{n_low} negatives: no head varies"
    return HeadRanking(
        concept=concept,
        status=status,
        heads=tuple(Head(labels[h], float(selectivity[h]), float(norm[h])) for h in order),
        share=float(norm[order].sum() / total) if order.size and total > 0 else np.nan,
        unrelated=float(np.sqrt(1 / n_high + 1 / n_low)) if n_high and n_low else np.nan,
    )
