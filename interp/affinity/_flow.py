"""What attending to a vector writes into the residual stream, and how it lies to given directions.

Head h that attends to y with weight 1 writes W_O (C y^ + c); all heads together write the sum plus
b_O, which Gemma's RMSNorm on the attention's output then divides by its own root mean square. That
denominator belongs to all heads at once, so per head the direction (with the gain) is defined, and
the amount only once all heads are known. Heads are taken one after the other; nothing of size d x d
and no second copy of the output maps is formed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Forms, per_query_head, values


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
    return sum(_contributions(forms, pattern.double() @ v), start=forms.b_O.double())


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
    check_probes(forms, probes)
    probes = probes.double()
    length = probes.norm(dim=1)
    gain = 1.0 if forms.post_gain is None else forms.post_gain.double()
    whole, dots, cosines = forms.b_O.double(), [], []
    for contribution in contributions(forms, y):
        whole = whole + contribution
        contribution = contribution * gain
        dots.append(contribution @ probes.T)
        cosines.append(dots[-1] / (contribution.norm(dim=1, keepdim=True) * length))
    denominator = 1.0 if forms.post_gain is None else _denominator(forms, whole)
    written = post_norm(forms, whole)
    return Flow(
        head_dot=torch.stack(dots) / denominator,
        head_cosine=torch.stack(cosines),
        dot=written @ probes.T,
        cosine=written @ probes.T / (written.norm(dim=1, keepdim=True) * length),
    )


def contributions(forms: Forms, y: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, "n d"]]:
    """What each head in turn writes when it attends to y, before a post-norm and without the
    output bias, float64. Raises ValueError as `output` does."""
    return _contributions(forms, per_query_head(forms, values(forms, y)))


def _contributions(forms: Forms, z: Tensor) -> Iterator[Tensor]:
    # one head at a time: float64 output maps of all heads are 150 MB at 27B shape
    return (one @ W.double() for one, W in zip(z, forms.W_O, strict=True))


def _denominator(forms: Forms, out: Tensor) -> Tensor:
    return (out.pow(2).mean(dim=1, keepdim=True) + forms.eps).sqrt()


def check_probes(forms: Forms, probes: Float[Tensor, "probes width"]) -> None:
    """Raise ValueError for probes of the wrong width, not finite, or a zero one."""
    width = forms.W_O.shape[-1]
    if probes.ndim != 2 or probes.shape[1] != width:
        raise ValueError(
            f"probes have width {probes.shape[-1]} in shape {tuple(probes.shape)}; the residual "
            f"stream has {width}: give [n, {width}]"
        )
    bad = (~probes.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(f"probe {int(bad[0])} is not finite")
    zero = (probes == 0).all(dim=1).nonzero()
    if len(zero):
        raise ValueError(f"probe {int(zero[0])} is zero and has no direction")
