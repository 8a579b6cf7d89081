"""What attending to a vector writes into the residual stream, and how it lies to given directions.

Head h that attends to y with weight 1 writes W_O (C y^ + c); all heads together write the sum plus
b_O, which Gemma's RMSNorm on the attention's output then divides by its own root mean square. That
denominator belongs to all heads at once, so per head the direction (with the gain) is defined, and
the amount only once all heads are known. Lengths and products per head come from Gram matrices of
[d_head, d_head] and [d_head, probes]; nothing of size d x d is formed.
"""

from dataclasses import dataclass

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp.affinity.forms import Forms, per_query_head, values


@dataclass(frozen=True)
class Flow:
    """What flows from each vector y into each probe direction, when every head attends to y."""

    head_dot: Float[Tensor, "heads n probes"]
    """Dot product of the head's contribution with the probe. Under a post-norm the denominator is
    that of all heads attending to the same y; summed over heads, with the output bias, it is
    `dot`."""
    head_cosine: Float[Tensor, "heads n probes"]
    """Cosine of the head's contribution with the probe; needs no denominator. Against a probe of
    uniformly random direction it has mean 0 and variance exactly 1 / d."""
    dot: Float[Tensor, "n probes"]
    """Dot product of the whole attention output, after the post-norm, with the probe."""
    cosine: Float[Tensor, "n probes"]
    """Cosine of the whole attention output with the probe."""


def output(
    forms: Forms, pattern: Float[Tensor, "heads n m"], X_key: Float[Tensor, "m d"]
) -> Float[Tensor, "n d"]:
    """Attention output for given attention probabilities, before a post-norm, float64. Raises
    ValueError for vectors of the wrong width or one that the norm takes to zero."""
    v = per_query_head(forms, values(forms, X_key))
    z = einsum(pattern.double(), v, "head n m, head m e -> head n e")
    return einsum(z, forms.W_O.double(), "head n e, head e d -> n d") + forms.b_O.double()


def post_norm(forms: Forms, out: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The attention output as it enters the residual stream: through Gemma's post-norm; unchanged
    in other families."""
    if forms.post_gain is None:
        return out
    return out / _denominator(forms, out) * forms.post_gain.double()


def vo(forms: Forms, y: Float[Tensor, "n d"], probes: Float[Tensor, "probes width"]) -> Flow:
    """What attending to y writes, as dot products and cosines with the probes.

    Args:
        y: Residual stream before the block, one vector a row.
        probes: Directions in the residual stream; cosines do not depend on their lengths.

    Raises:
        ValueError: vectors or probes of the wrong width, a zero probe, or a vector that the norm
            takes to zero.
    """
    _check(forms, probes)
    probes = probes.double()
    v = per_query_head(forms, values(forms, y))
    whole = einsum(v, forms.W_O.double(), "head n e, head e d -> n d") + forms.b_O.double()
    denominator = 1.0 if forms.post_gain is None else _denominator(forms, whole)
    W_O = forms.W_O.double()
    if forms.post_gain is not None:
        W_O = W_O * forms.post_gain.double()
    gram = einsum(W_O, W_O, "head e d, head f d -> head e f")
    dot = einsum(v, einsum(W_O, probes, "head e d, p d -> head e p"), "h n e, h e p -> h n p")
    square = einsum(v, gram, v, "head n e, head e f, head n f -> head n")
    length = probes.norm(dim=1)
    written = post_norm(forms, whole)
    return Flow(
        head_dot=dot / denominator,
        head_cosine=dot / (square.sqrt()[..., None] * length),
        dot=written @ probes.T,
        cosine=written @ probes.T / (written.norm(dim=1, keepdim=True) * length),
    )


def _denominator(forms: Forms, out: Tensor) -> Tensor:
    return (out.pow(2).mean(dim=1, keepdim=True) + forms.eps).sqrt()


def _check(forms: Forms, probes: Tensor) -> None:
    width = forms.W_O.shape[-1]
    if probes.shape[1] != width:
        raise ValueError(f"probes have width {probes.shape[1]}; the residual stream has {width}")
    zero = (probes == 0).all(dim=1).nonzero()
    if len(zero):
        raise ValueError(f"probe {int(zero[0])} is zero and has no direction")
