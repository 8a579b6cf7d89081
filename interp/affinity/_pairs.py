"""Scores of every pair of the same vectors in every head, self pairs beside cross pairs.

Logits have their null in closed form. What a head writes has one against isotropic probes
(`vo_cross`), but real residuals share a few large dimensions, along which heads write too, so that
cosines with unrelated residuals spread far wider than 1 / sqrt(d). With residuals the null is
therefore theirs:

1. cross pairs: cosine of what is written for a vector with each residual; its mean and spread, and
   its kurtosis for the tail (Student's t, where it is above a normal variable's);
2. self pairs: cosine of what is written for each residual with that residual.

For two models all of this is done on the difference of their cosines.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._flow import vo
from interp.affinity._flow_scores import vo_cross, vo_cross_difference, vo_self, vo_self_difference
from interp.affinity._forms import Distance, Forms
from interp.affinity._scores import qk, qk_difference, qk_self, qk_self_difference
from interp.affinity._tails import student_tail

CHUNK = 128
"""Residuals at a time, each against itself: all against all would be for nothing."""


@dataclass(frozen=True)
class PairScores:
    """Scores of pairs of n vectors, [heads, n, n], in a survey [blocks, heads, n, n, distances].

    Rows are queries (VO: what is written along), columns are keys (VO: what is attended to). The
    diagonal holds self pairs, which have a null of their own.
    """

    raw: Float[np.ndarray, "*cells"]
    """Logit, or cosine of what is written; for a difference of models, other minus base."""
    z: Float[np.ndarray, "*cells"]
    """Score in standard deviations of its null."""
    p: Float[np.ndarray, "*cells"]
    """Two-sided p under the null's own tail."""
    mean: Float[np.ndarray, "*cells"]
    """Mean of the null; NaN where none is stated."""
    sd: Float[np.ndarray, "*cells"]
    """Standard deviation of the null; NaN where none is stated."""


@dataclass(frozen=True)
class TogetherScores:
    """What all heads of a block write together, [n, n], in a survey [blocks, n, n]."""

    raw: Float[np.ndarray, "*cells"]
    """Cosine of the whole attention output with the direction."""
    z: Float[np.ndarray, "*cells"]
    """Cosine in standard deviations of its null."""


def qk_pairs(
    forms: Forms,
    X: Float[Tensor, "n d"],
    *,
    distance: Distance,
    other: Forms | None = None,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> PairScores:
    """Logits of every vector for every vector, each against its null.

    Args:
        forms: One block's attention.
        X: Residual vectors or directions, one a row.
        distance: Key position - query position, or several to average over.
        other: The same block of a second model, for the logit there minus the logit here.
        residuals: Residual stream before the block on ordinary text, for the covariance null.
        seed: Seed of the null's draws.

    Raises:
        ValueError: as `qk` and `qk_difference`.
    """
    if other is None:
        cross = qk(forms, X, X, distance=distance, residuals=residuals, seed=seed)
        own = qk_self(forms, X, distance=distance, residuals=residuals, seed=seed)
    else:
        options = {"distance": distance, "residuals": residuals, "seed": seed}
        cross = qk_difference(forms, other, X, X, **options)
        own = qk_self_difference(forms, other, X, **options)
    null = (
        _with_diagonal(part[:, None, None].expand_as(cross.raw), alone[:, None].expand_as(own.raw))
        for part, alone in ((cross.null.mean, own.null.mean), (cross.null.sd, own.null.sd))
    )
    raw, z, p = (
        _with_diagonal(getattr(cross, name), getattr(own, name)) for name in ("raw", "z", "p")
    )
    return PairScores(raw, z, p, *null)


def vo_pairs(
    forms: Forms,
    X: Float[Tensor, "n d"],
    *,
    other: Forms | None = None,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> tuple[PairScores, TogetherScores]:
    """Cosines of what is written for every vector with every vector, each against its null.

    Args:
        forms: One block's attention.
        X: Residual vectors or directions, one a row.
        other: The same block of a second model, for the cosine there minus the cosine here.
        residuals: Deviations of residuals before the block from their mean, each with both signs so
            that their mean is 0, for the covariance null; by default probes are isotropic.
        seed: Seed of the isotropic null's draws.

    Returns:
        Scores by head, and of all heads together.

    Raises:
        ValueError: as `vo_cross` and `vo_cross_difference`.
    """
    if residuals is None:
        return _isotropic(forms, other, X, seed)
    raw, whole = (part.mT.numpy().copy() for part in _cosines(forms, other, X, X))
    spread, spread_whole = _cosines(forms, other, X, residuals)
    chunks = [_cosines(forms, other, rows, rows) for rows in residuals.split(CHUNK)]
    own = torch.cat([part.diagonal(dim1=1, dim2=2) for part, _ in chunks], dim=1)
    own_whole = torch.cat([part.diagonal() for _, part in chunks])
    mean, sd, kurtosis = _moments(spread, own)
    z = _standard(raw, mean, sd)
    whole_mean, whole_sd, _ = _moments(spread_whole, own_whole)
    together = TogetherScores(whole, _standard(whole, whole_mean, whole_sd))
    return PairScores(raw, z, student_tail(np.abs(z), kurtosis), mean, sd), together


def _isotropic(
    forms: Forms, other: Forms | None, X: Tensor, seed: int
) -> tuple[PairScores, TogetherScores]:
    if other is None:
        cross, own = vo_cross(forms, X, X), vo_self(forms, X, seed=seed)
    else:
        cross = vo_cross_difference(forms, other, X, X)
        own = vo_self_difference(forms, other, X, seed=seed)
    raw, z, p, whole, whole_z = (
        _with_diagonal(getattr(cross, name).mT, getattr(own, name))
        for name in ("head_cosine", "head_z", "head_p", "cosine", "z")
    )
    # the spread of a difference depends on what is attended to, that of self pairs on the head
    stated = X.shape[1] ** -0.5 if other is None else np.nan
    cross_pair = ~np.eye(len(X), dtype=bool)
    mean, sd = (
        np.where(np.broadcast_to(cross_pair, raw.shape), part, np.nan) for part in (0.0, stated)
    )
    return PairScores(raw, z, p, mean, sd), TogetherScores(whole, whole_z)


def _cosines(
    forms: Forms, other: Forms | None, y: Tensor, probes: Tensor
) -> tuple[Float[Tensor, "heads y probes"], Float[Tensor, "y probes"]]:
    """Cosines of each head and of all heads together."""
    before = vo(forms, y, probes)
    if other is None:
        return before.head_cosine, before.cosine
    after = vo(other, y, probes)
    return after.head_cosine - before.head_cosine, after.cosine - before.cosine


def _moments(cross: Float[Tensor, "*heads n rows"], own: Float[Tensor, "*heads rows"]) -> list:
    """Mean, sd and kurtosis of the null for [*heads, written, attended to]."""
    moments = []
    for part, alone in zip(_law(cross), _law(own[..., None, :]), strict=True):
        # one null for all directions written
        square = np.repeat(part[..., None, :], part.shape[-1], axis=-2)
        _set_diagonal(square, np.broadcast_to(alone, part.shape))
        moments.append(square)
    return moments


def _law(values: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and kurtosis over the last axis; 3 where nothing spreads."""
    drawn = values.numpy()
    mean, sd = drawn.mean(axis=-1), drawn.std(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # no spread: a model against itself
        kurtosis = ((drawn - mean[..., None]) ** 4).mean(axis=-1) / sd**4
    return mean, sd, np.nan_to_num(kurtosis, nan=3.0)


def _standard(raw: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """z; 0 where nothing changed and the null has no spread."""
    return np.divide(raw - mean, sd, out=np.zeros_like(raw), where=sd > 0)


def _with_diagonal(
    square: Float[Tensor, "*heads n n"], diagonal: Float[Tensor, "*heads n"]
) -> Float[np.ndarray, "*heads n n"]:
    scores = square.numpy().copy()
    _set_diagonal(scores, diagonal.numpy())
    return scores


def _set_diagonal(square: np.ndarray, values: np.ndarray) -> None:
    at = np.arange(square.shape[-1])
    square[..., at, at] = values
