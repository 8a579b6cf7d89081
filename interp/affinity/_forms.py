"""Attention as bilinear forms of the residual stream, with the input norm folded in.

1. The norm before attention is x^ = P x / rms(P x) times a gain plus a bias, with P the centring
   of LayerNorm and the identity for RMSNorm. Gain, bias and P are linear and go into the weights
   (Elhage et al. 2021), so q = A x^ + a, k = B y^ + b, v = C y^ + c; only the denominator remains.
2. RoPE (Su et al. 2021) turns each plane (j, j + pairs) of query and key by position * theta_j.
   With both read as complex numbers and t = key position - query position, their product is
   sum_j Re(conj(q_j) k_j exp(i t theta_j)): it is enough to turn the key by t. An average over
   distances replaces exp(i t theta) by its mean, and the form stays bilinear.
3. Logit = c tanh(tau q . k / c), with q and k through their own RMSNorm first where the family has
   one, and without the cap where it has none.

Keys and values are kept once per key-value head; query head h belongs to h // (heads / kv_heads).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from interp.weights import AttentionWeights, Rope

Distance = int | Sequence[int]
"""Key position minus query position (0 or negative under a causal mask); several are averaged."""


@dataclass(frozen=True)
class Forms:
    """One block's attention on residual vectors. Linear maps are in the weights' precision (at
    least float32); what is computed from them is float64."""

    A: Float[Tensor, "heads head_dim d"]
    """Query map."""
    a: Float[Tensor, "heads head_dim"]
    """Query offset."""
    B: Float[Tensor, "kv_heads head_dim d"]
    """Key map."""
    b: Float[Tensor, "kv_heads head_dim"]
    """Key offset."""
    C: Float[Tensor, "kv_heads head_dim d"]
    """Value map."""
    c: Float[Tensor, "kv_heads head_dim"]
    """Value offset."""
    W_O: Float[Tensor, "heads head_dim d"]
    """Output map of each head, to the right of the value."""
    b_O: Float[Tensor, " d"]
    """Output offset, added once."""
    q_gain: Float[Tensor, " head_dim"] | None
    """Gain of the RMSNorm on queries; None without one."""
    k_gain: Float[Tensor, " head_dim"] | None
    """Gain of the RMSNorm on keys; None without one."""
    post_gain: Float[Tensor, " d"] | None
    """Gain of the RMSNorm on the output; None without one."""
    centred: bool
    """Whether the input norm centres (LayerNorm)."""
    eps: float
    """Added to the mean square under the root of every norm."""
    tau: float
    """Factor on query . key."""
    softcap: float | None
    """Bound of the logit; None without one."""
    rotation: Rope | None
    """Rotary embedding; None without one."""

    @property
    def group(self) -> int:
        """Query heads that share one key-value head."""
        return len(self.A) // len(self.B)


def fold(weights: AttentionWeights) -> Forms:
    """The forms of one block, with the input norm folded in."""
    centred = weights.norm == "LayerNorm"

    def folded(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        # the product with a float32 gain lifts 16-bit weights to float32
        linear = einsum(weight, weights.norm_gain, "head d e, d -> head e d")
        if centred:  # in place: at 27B shape a second copy would cost 75 MB
            linear -= linear.mean(dim=-1, keepdim=True)
        offset = linear.new_zeros(linear.shape[:2])
        if weights.norm_bias is not None:
            offset = einsum(weight.to(linear), weights.norm_bias, "head d e, d -> head e")
        return linear, offset if bias is None else offset + bias

    (A, a), (B, b), (C, c) = (
        folded(weights.W_Q, weights.b_Q),
        folded(weights.W_K, weights.b_K),
        folded(weights.W_V, weights.b_V),
    )
    W_O = weights.W_O.to(A.dtype)
    b_O = A.new_zeros(A.shape[-1]) if weights.b_O is None else weights.b_O.to(A.dtype)
    return Forms(
        A,
        a,
        B,
        b,
        C,
        c,
        W_O,
        b_O,
        q_gain=weights.q_gain,
        k_gain=weights.k_gain,
        post_gain=weights.post_gain,
        centred=centred,
        eps=weights.eps,
        tau=weights.scale,
        softcap=weights.softcap,
        rotation=weights.rope,
    )


def normalised(forms: Forms, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """x over the denominator of the input norm, float64; centring is part of the maps.

    Raises ValueError for vectors of the wrong width, values that are not finite, or a vector that
    the norm takes to zero: it has no direction.
    """
    x, root_mean_square = _measured(forms, x)
    return x / (root_mean_square.square() + forms.eps).sqrt()


def directions(forms: Forms, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """x at a length at which the norm's epsilon has no part, float64: all that counts of it is its
    direction. Raises ValueError as `normalised` does."""
    x, root_mean_square = _measured(forms, x)
    # eps is then less than one unit in the last place of the mean square beside it
    return x / root_mean_square * (1e18 * max(forms.eps, 1e-18)) ** 0.5


def _measured(forms: Forms, x: Tensor) -> tuple[Tensor, Tensor]:
    """The checked vectors in float64 and the root mean square of what centring leaves of each."""
    width = forms.A.shape[-1]
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(
            f"vectors have width {x.shape[-1]} in shape {tuple(x.shape)}; this block's residual "
            f"stream has {width}: give [n, {width}]"
        )
    x = x.double()
    bad = torch.nonzero(~x.isfinite().all(dim=1))
    if len(bad):
        raise ValueError(f"vector {int(bad[0])} is not finite")
    # squares of the largest and smallest float64 are out of range
    size = x.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    unit = x / size
    kept = unit - unit.mean(dim=1, keepdim=True) if forms.centred else unit
    left = kept.pow(2).mean(dim=1, keepdim=True).sqrt()
    # The mean of a constant vector is off by up to log2(d) units in the last place of its entries.
    zero = torch.nonzero(left[:, 0] <= 1e-14)
    if len(zero):
        raise ValueError(
            f"vector {int(zero[0])} is zero{' after centring' * forms.centred}: it has no direction"
        )
    return x, left * size


def queries(forms: Forms, x: Float[Tensor, "n d"]) -> Float[Tensor, "heads n head_dim"]:
    """Queries before rotation, through the query norm where there is one. Raises ValueError as
    `normalised` does."""
    return normed(_mapped(forms.A, forms.a, normalised(forms, x)), forms.q_gain, forms.eps)


def keys(forms: Forms, x: Float[Tensor, "m d"]) -> Float[Tensor, "kv_heads m head_dim"]:
    """Keys before rotation, through the key norm where there is one. Raises ValueError as
    `normalised` does."""
    return normed(_mapped(forms.B, forms.b, normalised(forms, x)), forms.k_gain, forms.eps)


def values(forms: Forms, x: Float[Tensor, "m d"]) -> Float[Tensor, "kv_heads m head_dim"]:
    """Values. Raises ValueError as `normalised` does."""
    return _mapped(forms.C, forms.c, normalised(forms, x))


def turned(
    forms: Forms, k: Float[Tensor, "*batch head_dim"], distance: Distance
) -> Float[Tensor, "*batch head_dim"]:
    """k rotated by the distance, or by the mean rotation over several; unchanged without RoPE.

    Linear in k. Raises ValueError without a distance.
    """
    steps = torch.as_tensor(distance, dtype=torch.float64).reshape(-1)
    if not len(steps):
        raise ValueError("distance is empty; give at least one key position - query position")
    if forms.rotation is None:
        return k
    frequencies = forms.rotation.inverse_frequencies.double()
    angle = steps[:, None] * frequencies
    # query and key each carry the factor
    turn = torch.polar(torch.ones_like(angle), angle).mean(dim=0)
    turn = turn * forms.rotation.attention_scaling**2
    pairs = len(frequencies)
    product = torch.complex(k[..., :pairs].double(), k[..., pairs:].double()) * turn
    return torch.cat([product.real, product.imag], dim=-1)


def logits(
    forms: Forms,
    X_query: Float[Tensor, "n d"],
    X_key: Float[Tensor, "m d"],
    *,
    distance: Distance,
) -> Float[Tensor, "heads n m"]:
    """Attention logits of residual vectors for each other, before mask and softmax, float64.

    Args:
        X_query: Residual stream before the block, one vector a row.
        X_key: The same for the keys.
        distance: Key position - query position, in tokens; 0 or negative under a causal mask. Over
            several the query-key product is averaged, before the cap. GPT-2 has no such
            dependence and gives the same for all.

    Raises:
        ValueError: vectors of the wrong width, one that the norm takes to zero, or no distance.
    """
    k = per_query_head(forms, turned(forms, keys(forms, X_key), distance))
    return capped(
        forms, einsum(queries(forms, X_query), k, "head n e, head m e -> head n m") * forms.tau
    )


def capped(forms: Forms, product: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
    """tau q . k through the softcap; unchanged without one."""
    return product if forms.softcap is None else forms.softcap * (product / forms.softcap).tanh()


def normed(
    vectors: Float[Tensor, "*batch head_dim"], gain: Float[Tensor, " head_dim"] | None, eps: float
) -> Float[Tensor, "*batch head_dim"]:
    """Queries or keys through their own RMSNorm; unchanged without one."""
    if gain is None:
        return vectors
    return vectors / (vectors.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain.double()


def per_query_head(
    forms: Forms, kv: Float[Tensor, "kv_heads *shape"]
) -> Float[Tensor, "heads *shape"]:
    """What belongs to key-value heads, repeated for the query heads that share each."""
    return repeat(kv, "kv ... -> (kv group) ...", group=forms.group)


def _mapped(linear: Tensor, offset: Tensor, x: Tensor) -> Tensor:
    # head by head: a float64 copy of all query maps is 150 MB at 27B shape
    heads = zip(linear, offset, strict=True)
    return torch.stack([x @ one.double().T + shift.double() for one, shift in heads])
