"""What heads write along the directions, against what they write along unrelated ones.

Against isotropic probes the null is closed (`interp.affinity.vo_cross`). Real residuals share a few
large dimensions, along which heads write too, so that cosines with unrelated residuals spread far
wider than 1 / sqrt(d). Where residuals are at hand the null is therefore theirs:

1. cross pairs: cosine of what is written for a direction with each fitted deviation, of mean 0 by
   their two signs; its spread, and its kurtosis for the tail (Student's t, where it is above a
   normal variable's);
2. self pairs: cosine of what is written for each fitted deviation with that deviation.

For two models all of this is done on the difference of their cosines.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.affinity import (
    Forms,
    vo,
    vo_cross,
    vo_cross_difference,
    vo_self,
    vo_self_difference,
)

CHUNK = 128
"""Deviations at a time, each against itself: all against all would be for nothing."""


@dataclass(frozen=True)
class Written:
    """Scores of pairs, rows written, columns attended to; the diagonal holds self pairs."""

    raw: Float[np.ndarray, "heads n n"]
    """Cosine of what the head writes with the direction; other less base for a difference."""
    z: Float[np.ndarray, "heads n n"]
    """In standard deviations of the null."""
    p: Float[np.ndarray, "heads n n"]
    """Two-sided."""
    mean: Float[np.ndarray, "heads n n"]
    """Of the null; NaN where none is stated."""
    sd: Float[np.ndarray, "heads n n"]
    """Of the null."""
    whole: Float[np.ndarray, "n n"]
    """Cosine of what all heads write together."""
    whole_z: Float[np.ndarray, "n n"]
    """In standard deviations of its null."""


def written(
    base: Forms,
    other: Forms | None,
    X: Float[Tensor, "n d"],
    deviations: Float[Tensor, "rows d"] | None,
    *,
    seed: int,
) -> Written:
    """Scores of one model, or of `other` less `base`, with the null of `deviations` (both signs of
    each, so that their mean is 0) or the isotropic one."""
    if deviations is None:
        return _isotropic(base, other, X, seed)
    heads, whole = _difference(base, other, X, X)
    spread, spread_whole = _difference(base, other, X, deviations)
    owns = [_difference(base, other, rows, rows) for rows in deviations.split(CHUNK)]
    own = torch.cat([part.diagonal(dim1=1, dim2=2) for part, _ in owns], dim=1)[:, None]
    own_whole = torch.cat([part.diagonal() for _, part in owns])[None]
    null, null_own, null_whole = (_law(part) for part in (spread, own, spread_whole))
    # [heads, attended] to [heads, 1, attended]: one null for all directions written
    parts = [np.repeat(part[:, None], X.shape[0], axis=1) for part in null]
    for part, alone in zip(parts, null_own, strict=True):
        _on_diagonal(part, np.broadcast_to(alone, part.shape[:2]))
    mean, sd, freedom = parts
    raw = heads.mT.numpy().copy()
    z = _standard(raw, mean, sd)
    whole_raw = whole.T.numpy().copy()
    whole_mean, whole_sd = (np.repeat(part[None], X.shape[0], axis=0) for part in null_whole[:2])
    for part, alone in zip((whole_mean, whole_sd), _law(own_whole)[:2], strict=True):
        np.fill_diagonal(part, alone)
    whole_z = _standard(whole_raw, whole_mean, whole_sd)
    return Written(raw, z, _tail(z, freedom), mean, sd, whole_raw, whole_z)


def _isotropic(base: Forms, other: Forms | None, X: Tensor, seed: int) -> Written:
    if other is None:
        cross, own = vo_cross(base, X, X), vo_self(base, X, seed=seed)
    else:
        cross = vo_cross_difference(base, other, X, X)
        own = vo_self_difference(base, other, X, seed=seed)
    made = []
    for name in ("head_cosine", "head_z", "head_p", "cosine", "z"):
        part = getattr(cross, name).mT.numpy().copy()
        _on_diagonal(part, getattr(own, name).numpy())
        made.append(part)
    raw, z, p, whole, whole_z = made
    mean = np.zeros(raw.shape)
    # the spread of a difference depends on what is attended to, that of self pairs on the head
    sd = np.full(raw.shape, X.shape[1] ** -0.5 if other is None else np.nan)
    for part in (mean, sd):
        _on_diagonal(part, np.full(part.shape[:2], np.nan))
    return Written(raw, z, p, mean, sd, whole, whole_z)


def _difference(base: Forms, other: Forms | None, y: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip # noqa: E501
    """Cosines per head [heads, y, probes] and of all heads [y, probes]."""
    first = vo(base, y, probes)
    if other is None:
        return first.head_cosine, first.cosine
    second = vo(other, y, probes)
    return second.head_cosine - first.head_cosine, second.cosine - first.cosine


def _law(values: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and degrees of freedom of a Student's t of their kurtosis."""
    found = values.numpy()
    mean, sd = found.mean(axis=-1), found.std(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # no spread: a model against itself
        excess = np.nan_to_num(((found - mean[..., None]) ** 4).mean(axis=-1) / sd**4 - 3)
    # with a million degrees of freedom it is a normal variable
    freedom = 4 + 6 / np.maximum(excess, 6e-6)
    return mean, sd, freedom


def _standard(raw: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """z; 0 where nothing changed and the null has no spread."""
    return np.divide(raw - mean, sd, out=np.zeros_like(raw), where=sd > 0)


def _tail(z: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Two-sided p of a Student's t scaled to variance 1."""
    return 2 * stats.t.sf(np.abs(z) * np.sqrt(freedom / (freedom - 2)), freedom)


def _on_diagonal(into: np.ndarray, values: np.ndarray) -> None:
    at = np.arange(into.shape[-1])
    into[..., at, at] = values
