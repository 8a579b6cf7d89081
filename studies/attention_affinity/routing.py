"""Logits under a random change of the query and key weights, as large as the change that was made.

A direction with long queries or keys moves more under any change of the weights, aimed or not. So
what tuning did to a pair of directions is held against noise on W_Q and W_K of the same root mean
square per head. Only the noise's action on the given directions is needed, and that can be drawn
without the noise: with x^ the normalised directions after gain and centring, N^T x^ for Gaussian N
is Gaussian with covariance x^ x^^T between directions, alike in every dimension of the head.
"""

from collections.abc import Iterator

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp.affinity import Forms, normalised, per_query_head, turned
from interp.affinity.forms import Distance
from interp.weights import AttentionWeights

DRAWS = 200
"""Draws of the noise; no p value falls below 1 / 201."""


def changes_under_noise(
    weights: AttentionWeights,
    other: AttentionWeights,
    forms: Forms,
    X: Float[Tensor, "n d"],
    distances: list[Distance],
    *,
    seed: int,
) -> Iterator[Float[Tensor, "heads draws n n"]]:
    """For each distance, logits with noise minus logits without, before the cap; the same noise at
    all distances. The diagonal holds self pairs."""
    generator = torch.Generator().manual_seed(seed * 100_003 + weights.block)
    x = normalised(forms, X)
    q, k = (
        einsum(linear.double(), x, "head e d, n d -> head n e") + offset[:, None].double()
        for linear, offset in ((forms.A, forms.a), (forms.B, forms.b))
    )
    root = _root(_gained(weights, x))
    noisy_q = q[:, None] + _noise(weights.W_Q, other.W_Q, root, generator)
    noisy_k = k[:, None] + _noise(weights.W_K, other.W_K, root, generator)
    q, noisy_q = (_rms(part, forms.q_gain, forms.eps) for part in (q, noisy_q))
    k, noisy_k = (_rms(part, forms.k_gain, forms.eps) for part in (k, noisy_k))
    for distance in distances:
        near, far = (per_query_head(forms, turned(forms, part, distance)) for part in (k, noisy_k))
        changed = einsum(noisy_q, far, "head draw n e, head draw m e -> head draw n m")
        before = einsum(q, near, "head n e, head m e -> head n m")
        yield forms.tau * (changed - before[:, None])


def _gained(weights: AttentionWeights, x: Tensor) -> Tensor:
    """What the weights see: centred where the norm centres, times its gain."""
    kept = x - x.mean(dim=1, keepdim=True) if weights.norm == "LayerNorm" else x
    return kept * weights.norm_gain.double()


def _root(x: Tensor) -> Tensor:
    """R with R R^T the Gram matrix of the rows, which may depend on each other."""
    values, basis = torch.linalg.eigh(x @ x.T)
    return basis * values.clamp(min=0).sqrt()


def _noise(before: Tensor, after: Tensor, root: Tensor, generator: torch.Generator) -> Tensor:
    """[heads, draws, n, head width]"""
    size = (after - before).double().pow(2).mean(dim=(1, 2)).sqrt()
    shape = (len(before), DRAWS, len(root), before.shape[2])
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return size[:, None, None, None] * einsum(root, drawn, "n m, head draw m e -> head draw n e")


def _rms(vectors: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    if gain is None:
        return vectors
    return vectors / (vectors.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain.double()
