"""Random noise on attention weights: a change of a model of which no part is aimed at anything."""

from dataclasses import replace

import torch
from torch import Tensor

from interp.weights._record import AttentionWeights


def perturbed(weights: AttentionWeights, relative: float, *, seed: int = 0) -> AttentionWeights:
    """Copy of one block's attention with Gaussian noise on W_Q, W_K, W_V and W_O.

    Args:
        weights: One block's attention.
        relative: Standard deviation of the noise over the root mean square of each head's weights;
            .01 is 1 %.
        seed: Seed of the noise. Each block has a stream of its own, so that reading a block does
            not depend on the others.

    Raises:
        ValueError: a size that is not positive.
    """
    if not relative > 0:
        raise ValueError(f"relative = {relative}; the size of noise must be positive")
    generator = torch.Generator().manual_seed(seed * 100_003 + weights.block)

    def noisy(weight: Tensor) -> Tensor:
        size = weight.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
        drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        return weight + relative * size * drawn

    return replace(
        weights,
        W_Q=noisy(weights.W_Q),
        W_K=noisy(weights.W_K),
        W_V=noisy(weights.W_V),
        W_O=noisy(weights.W_O),
    )
