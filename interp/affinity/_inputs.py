"""What a random residual vector is once it has passed the input norm.

Isotropic: uniform on the sphere of radius sqrt(d) in D dimensions, D = d or, centred by LayerNorm,
d - 1. Covariance: Gaussian with the mean and covariance that given residuals have after the norm.
Both are laws of directions: residuals, like the vectors held to them, count without length.

A few linear maps of such a vector depend on few of its coordinates. With the maps stacked as L and
L^T = Q R, L x = R^T (Q^T x), and Q^T x are as many coordinates of a rotated vector as R has rows:
on the sphere g / sqrt(|g|^2 + c) times sqrt(D), with g standard normal and c chi-squared on the
remaining dimensions (Muller 1959), so nothing of length d is ever drawn.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Forms, directions, normalised


@dataclass(frozen=True)
class Inputs:
    """Law of a random vector after the input norm."""

    dimensions: float
    """Of the sphere; infinite for a Gaussian."""
    scale: float
    """Factor that puts unit variance per dimension on a sphere of radius sqrt(d)."""
    mean: Float[Tensor, " d"] | None
    """Mean of the residuals after the norm; None where isotropic."""
    rows: Float[Tensor, "samples d"] | None
    """Centred residuals over sqrt(samples - 1), whose Gram is the covariance."""

    def spread(self, linear: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """A map [k, d] and its offset [k], acting on the vector, rewritten for one of mean 0 and
        covariance 1; float64."""
        linear, offset = linear.double(), offset.double()
        if self.rows is None or self.mean is None:
            return linear * self.scale, offset
        return linear @ self.rows.T, offset + linear @ self.mean

    def coordinates(self, width: int, *, draws: int, seed: int) -> Float[Tensor, "draws rank"]:
        """What stacked maps to `width` numbers see of random vectors; float32. One set serves all
        heads, whose stacks have the same shape."""
        columns = None if self.rows is None else len(self.rows)
        generator = np.random.default_rng(seed)
        rank = width if columns is None else min(width, columns)
        g = generator.standard_normal((draws, rank), dtype=np.float32)
        if math.isinf(self.dimensions):
            return torch.from_numpy(g)
        square = np.square(g).sum(axis=1, keepdims=True)
        if self.dimensions > rank:
            square += generator.chisquare(self.dimensions - rank, size=(draws, 1))
        return torch.from_numpy(g * np.sqrt(self.dimensions / square))


def inputs(forms: Forms, residuals: Float[Tensor, "samples d"] | None) -> Inputs:
    """The isotropic law, or with residuals the Gaussian one. Raises ValueError for fewer than two
    residuals and as `normalised` does."""
    if residuals is None:
        width = forms.A.shape[-1]
        dimensions = float(width - forms.centred)
        # the norm fixes the length at sqrt(width) whatever the number of dimensions left
        return Inputs(dimensions, (width / dimensions) ** 0.5, None, None)
    if len(residuals) < 2:
        raise ValueError(f"{len(residuals)} residuals have no covariance; give at least 2")
    x = normalised(forms, directions(forms, residuals))
    mean = x.mean(dim=0)
    return Inputs(math.inf, 1.0, mean, (x - mean) / (len(x) - 1) ** 0.5)


def factored(stack: Float[Tensor, "k d"]) -> Float[Tensor, "rank k"]:
    """R of stack^T = Q R; float32, since only draws and tails are made from it, which need no
    more than a few digits."""
    return torch.linalg.qr(stack.float().T, mode="r").R


def values_on(
    coordinates: Float[Tensor, "draws rank"], maps: list[tuple[Tensor, Tensor]]
) -> list[Float[Tensor, "draws k"]]:
    """Values of maps [k, d] with offsets [k], already spread, on the drawn vectors; float32."""
    values = coordinates @ factored(torch.cat([linear for linear, _ in maps]))
    parts = values.split([len(offset) for _, offset in maps], dim=1)
    return [part + offset.float() for part, (_, offset) in zip(parts, maps, strict=True)]
