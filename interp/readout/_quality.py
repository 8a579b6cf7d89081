"""What a concept's vector at one block is made of, and how far to trust it.

1. Spread: variance ratios of the positives about their own mean, from a singular value
   decomposition. One large first component says that the positives differ along one line.
2. Alignment: cosine of each positive, taken from the *negatives'* mean, with the vector. About
   their own mean the positives would average to nothing.
3. Neurons: cosine of the vector with each row of W_out, the direction that an MLP neuron writes.
4. Neighbours: cosine with other concepts' vectors, and ridge regression of the vector on all of
   them together, over its d coordinates and without an intercept.

One-against-rest vectors are related by design: without neutral texts the mean differences sum to 0
in proportion to their counts, so that each follows from the others whatever the activations are.
Alignment and R2 are therefore given beside their value for unrelated texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from interp.arrays import Arraylike, coordinate_rounding
from interp.files import jsonable
from interp.readout._contrast import OK, contrasts, taken
from interp.readout._vectors import Readouts

RIDGE = 0.01
"""Penalty of the regression on other concepts, in units of a unit vector's square."""
MOST = 5
"""Neurons, neighbours and coefficients that are named."""


@dataclass(frozen=True)
class Spread:
    """A set of numbers in four; NaN where there are none."""

    mean: float
    """Mean."""
    std: float
    """Standard deviation about it, divided by the count."""
    min: float
    """Smallest."""
    max: float
    """Largest."""


@dataclass(frozen=True)
class Regression:
    """Ridge regression of a unit vector on the other concepts' unit vectors."""

    r2: float
    """1 - squared length of the residual: the share of the vector's own, uncentred, square."""
    r2_unrelated: float
    """The same for texts that have nothing in common, which the design alone gives."""
    residual_norm: float
    """Length of the residual."""
    coefficients: tuple[tuple[str, float], ...]
    """The five largest by size, by concept."""


@dataclass(frozen=True)
class ConceptQuality:
    """One concept's vector at one block. What is undefined is NaN or None, with its reason."""

    concept: str
    """Name."""
    status: str
    """`ok`, or why there is no vector; the rest is then undefined."""
    positives: int
    """Number of positive texts."""
    negatives: int
    """Number of all other texts."""
    norm: float
    """Length of the mean difference, in units of the residual stream."""
    variance_ratios: tuple[float, ...] | None
    """Share of the positives' variance in each principal component, largest first."""
    variance_status: str
    """`ok`, or why there are no ratios: two positives lie on one line whatever they say."""
    projection: Spread
    """Positives' projections on the vector, in units of the residual stream."""
    negative_projection: Spread
    """Negatives' projections."""
    alignment: Spread
    """Cosine of each positive, about the negatives' mean, with the vector."""
    alignment_unrelated: float
    """Mean alignment of texts that have nothing in common: each is part of the mean."""
    lowest: tuple[tuple[str, float], ...]
    """The two least aligned positives by name."""
    neurons: tuple[tuple[int, float], ...] | None
    """The five best aligned MLP neurons, sign kept; None without W_out."""
    nearest: tuple[tuple[str, float], ...]
    """The five nearest other concepts by cosine."""
    regression: Regression | None
    """None for a concept without others."""

    @property
    def first_component(self) -> float:
        """Largest variance ratio; NaN where undefined."""
        return np.nan if self.variance_ratios is None else self.variance_ratios[0]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite becomes None."""
        return jsonable(self)


@dataclass(frozen=True)
class BlockQuality:
    """Every concept's vector at one block."""

    block: int
    """Block whose output the vectors live in, counted from 0."""
    concepts: tuple[ConceptQuality, ...]
    """In the order of `Readouts.concepts`."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: qualities by concept."""
        return {quality.concept: quality.as_dict() for quality in self.concepts}


def block_quality(
    readouts: Readouts,
    block: int,
    X: Arraylike,
    positive: Arraylike,
    names: Sequence[str],
    *,
    W_out: Float[np.ndarray, "d_mlp width"] | None = None,
) -> BlockQuality:
    """Judge the vectors of `block`, fitted on these activations `X` [texts, d] and `positive`.

    `names` are the texts'; `W_out` [d_mlp, d] is the block's MLP output matrix, None where there is
    no one matrix. Raises ValueError for a block without vectors, shapes or lengths that do not
    match, and values that are not finite.
    """
    X, positive = taken(X, positive)
    vectors = readouts.at(block).astype(np.float64)
    _check_shapes(readouts, X, positive, names, W_out)
    rows, rounding = X.astype(np.float64), coordinate_rounding(X)
    own = contrasts(positive)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    cosine, unrelated = vectors @ vectors.T, own @ own.T
    index = readouts.blocks.index(block)
    defined = readouts.status[index] == OK
    written = None if W_out is None else _cosines(W_out.astype(np.float64), vectors.T)
    qualities = []
    for k, label in enumerate(positive):
        others = [int(other) for other in np.flatnonzero(defined) if other != k]
        nearest, regression = (), None
        if defined[k] and others:
            nearest, regression = _neighbours(k, others, cosine, unrelated, readouts.concepts)
        quality = ConceptQuality(
            concept=readouts.concepts[k],
            status=str(readouts.status[index, k]),
            norm=float(readouts.norms[index, k]),
            neurons=None if written is None or not defined[k] else _largest(written[:, k]),
            nearest=nearest,
            regression=regression,
            **_of_texts(rows, rounding, label, vectors[k], names),
        )
        qualities.append(quality)
    return BlockQuality(block, tuple(qualities))


def _of_texts(
    rows: np.ndarray,
    rounding: np.ndarray,
    label: np.ndarray,
    vector: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    """What a concept's quality says of its texts."""
    high, low = rows[label], rows[~label]
    ratios, why = _variance_ratios(high, rounding)
    aligned = _cosines(high - low.mean(axis=0), vector)
    shown = [name for name, inside in zip(names, label, strict=True) if inside]
    order = np.argsort(aligned, kind="stable")[:2]
    return {
        "positives": len(high),
        "negatives": len(low),
        "variance_ratios": ratios,
        "variance_status": why,
        "projection": _spread(high @ vector),
        "negative_projection": _spread(low @ vector),
        "alignment": _spread(aligned),
        "alignment_unrelated": _unrelated_alignment(len(high), len(low)),
        "lowest": () if np.isnan(vector).any() else _named(shown, aligned, order),
    }


def ridge(
    gram: Float[np.ndarray, "vectors vectors"], k: int, others: Sequence[int]
) -> tuple[Float[np.ndarray, " others"], float]:
    """Coefficients of unit vector `k` on `others`, and R2, from the vectors' cosines."""
    features = gram[np.ix_(others, others)]
    target = gram[others, k]
    coefficients = np.linalg.solve(features + RIDGE * np.eye(len(others)), target)
    residual = gram[k, k] - 2 * coefficients @ target + coefficients @ features @ coefficients
    return coefficients, float(1 - residual / gram[k, k])


def _neighbours(
    k: int, others: list[int], cosine: np.ndarray, unrelated: np.ndarray, concepts: tuple[str, ...]
) -> tuple[tuple[tuple[str, float], ...], Regression]:
    names = [concepts[other] for other in others]
    coefficients, r2 = ridge(cosine, k, others)
    near = cosine[k, others]
    regression = Regression(
        r2=r2,
        r2_unrelated=ridge(unrelated, k, others)[1],
        residual_norm=float(np.sqrt(max(1 - r2, 0))),  # an exact fit may round below 0
        coefficients=_named(names, coefficients, np.argsort(-np.abs(coefficients))[:MOST]),
    )
    return _named(names, near, np.argsort(-near)[:MOST]), regression


def _variance_ratios(
    high: np.ndarray, rounding: np.ndarray
) -> tuple[tuple[float, ...] | None, str]:
    if len(high) < 3:
        return None, f"{len(high)} positives; components mean something from 3 on"
    centred = high - high.mean(axis=0)
    if (np.abs(centred) <= rounding).all():
        return None, "the positives are equal"
    variance = np.linalg.svd(centred, compute_uv=False)[: len(high) - 1] ** 2
    return tuple((variance / variance.sum()).tolist()), OK


def _unrelated_alignment(n_high: int, n_low: int) -> float:
    """With orthogonal texts of length 1 the difference has squared length 1/p + 1/n, and so is its
    product with a positive about the negatives' mean, whose squared length is 1 + 1/n."""
    return float(np.sqrt((1 / n_high + 1 / n_low) / (1 + 1 / n_low)))


def _largest(cosine: np.ndarray) -> tuple[tuple[int, float], ...]:
    known = np.nan_to_num(cosine)  # a dead neuron writes nothing and has no cosine
    best = np.argsort(-np.abs(known), kind="stable")[:MOST]
    return tuple((int(neuron), float(known[neuron])) for neuron in best)


def _cosines(rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Cosine of each row with a unit vector [d], or with several, [d, vectors]."""
    with np.errstate(invalid="ignore"):
        return ((rows @ units).T / np.linalg.norm(rows, axis=1)).T


def _spread(values: np.ndarray) -> Spread:
    return Spread(
        *(float(part) for part in (values.mean(), values.std(), values.min(), values.max()))
    )


def _named(
    names: Sequence[str], values: np.ndarray, order: np.ndarray
) -> tuple[tuple[str, float], ...]:
    return tuple((names[int(place)], float(values[place])) for place in order)


def _check_shapes(
    readouts: Readouts,
    X: np.ndarray,
    positive: np.ndarray,
    names: Sequence[str],
    W_out: np.ndarray | None,
) -> None:
    counts = positive.sum(axis=1)
    if not np.array_equal(counts, readouts.positives):
        raise ValueError(
            f"{counts.tolist()} positives, of vectors that were fitted on "
            f"{readouts.positives.tolist()}"
        )
    if len(names) != positive.shape[1]:
        raise ValueError(f"{len(names)} names for {positive.shape[1]} texts")
    width = readouts.vectors.shape[2]
    for name, matrix in (("activations", X), ("W_out", W_out)):
        if matrix is not None and matrix.shape[1] != width:
            raise ValueError(f"{name} of shape {matrix.shape} for vectors of width {width}")
    if W_out is not None and not np.isfinite(W_out).all():
        raise ValueError("W_out holds values that are not finite")
