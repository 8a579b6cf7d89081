"""The law of a score on unrelated vectors: its moments, and the tail of its absolute z score.

A product of random vectors has heavier tails than a normal variable, so a p value is read off the
score's own tail: log P(|Z| > t), tabulated once per head on a grid of t and interpolated.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

How = Literal["closed form", "quadrature", "sampled"]
STEP, REACH = 0.1, 12.0
GRID = torch.arange(0, round(REACH / STEP) + 1, dtype=torch.float64) * STEP
"""Of |z|. Log p is linear between its points to STEP^2 / 8 = .13 %, where its curvature is that of
a normal tail."""


@dataclass(frozen=True)
class Null:
    """Moments and tail of a score over random residual vectors; for a logit, before the softcap."""

    mean: Float[Tensor, "heads *queries"]
    """Expected score."""
    sd: Float[Tensor, "heads *queries"]
    """Standard deviation of the score."""
    tail: Float[Tensor, "heads *queries grid"]
    """log P(|Z| > t) of the standardised score Z = (score - mean) / sd, for t on `GRID`."""
    how: How
    """How mean and sd were found: exactly, by one-dimensional quadrature, or from draws."""
    error: float
    """Relative standard error of sd: 1 / sqrt(2 draws) where sampled, else 0."""
    seed: int | None
    """Of the draws; None where moments were not sampled."""

    def z(self, score: Float[Tensor, "heads *pairs"]) -> Float[Tensor, "heads *pairs"]:
        """Standard scores. Where the null has no spread (a model against itself), a score at the
        mean is 0 and any other infinite."""
        mean, sd = (_aligned(part, score) for part in (self.mean, self.sd))
        return ((score - mean) / sd).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf)

    def p(self, z: Float[Tensor, "heads *pairs"]) -> Float[Tensor, "heads *pairs"]:
        """P(|Z| >= |z|), two-sided; past the grid its log goes on linearly, which for a tail that
        falls faster is too large, never too small."""
        size = z.abs().double()
        at = (size / STEP).floor().clamp(max=len(GRID) - 2)
        at = at.nan_to_num().long()
        table = self.tail.expand(*z.shape[:1], *self.tail.shape[1:])
        table = table.reshape(*table.shape[:-1], *[1] * (z.ndim - table.ndim + 1), len(GRID))
        table = table.expand(*z.shape, len(GRID))
        low = table.gather(-1, at[..., None])[..., 0]
        high = table.gather(-1, at[..., None] + 1)[..., 0]
        return (low + (high - low) * (size / STEP - at)).exp().clamp(max=1)

    def rate(self, threshold: float) -> Float[Tensor, "heads *queries"]:
        """How often unrelated vectors pass |z| > threshold."""
        return self.p(torch.full(self.mean.shape, float(threshold), dtype=torch.float64))


def _aligned(part: Tensor, score: Tensor) -> Tensor:
    return part.reshape(*part.shape, *[1] * (score.ndim - part.ndim))
