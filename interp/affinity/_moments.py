"""Mean and variance of attention logits on random vectors, in closed form instead of by sampling.

With q = A x + a and k = B y + b (B, b already turned by the distance), M = A^T B and x, y of mean 0
and covariance 1 on D dimensions:

    independent x, y   mean a.b             variance |M|^2 + |B^T a|^2 + |A^T b|^2
    self, x = y        mean tr M + a.b      variance c (|M|^2 + tr M^2 - 2 (tr M)^2 / D)
                                                     + |B^T a + A^T b|^2
    a fixed query q    mean q.b             variance q^T B B^T q

times tau and tau^2. On the sphere c = D / (D + 2), from the fourth moments of a uniform direction;
for a Gaussian c = 1 and the term in (tr M)^2 is gone. All of it needs d_head x d_head Grams only:
|M|^2 = tr(A A^T B B^T), tr M = tr(B A^T), tr M^2 = tr((B A^T)^2). The isotropic null has x of norm
sqrt(d) in D = d dimensions, or D = d - 1 after LayerNorm's centring, hence a factor d / D on the
covariance. The covariance null takes mean mu and covariance L L^T from residuals: a + A mu for a,
A L for A, and the same for B.

With QK-norm, q / |q| enters instead. Its first two moments follow from those of exp(-s |q|^2) q and
exp(-s |q|^2) q q^T for Gaussian q, which are elementary, integrated over s, since
1 / u = int exp(-s u) ds and 1 / sqrt(u) = int exp(-s u) / sqrt(pi s) ds.
"""

import math

import torch
from torch import Tensor

from interp.affinity._forms import Distance, Forms, per_query_head, turned
from interp.affinity._inputs import Inputs

Maps = tuple[Tensor, Tensor, Tensor, Tensor]
"""Query map and offset, key map and offset: [k, d], [k], [k, d], [k]."""


def head_maps(forms: Forms, distance: Distance, head: int) -> Maps:
    """A, a, B, b of one head without QK-norm, keys turned, float64."""
    kv = head // forms.group
    return (
        forms.A[head].double(),
        forms.a[head].double(),
        turned(forms, forms.B[kv].double().T, distance).T,
        turned(forms, forms.b[kv].double(), distance),
    )


def difference_maps(base: Forms, other: Forms, distance: Distance, head: int) -> Maps:
    """One bilinear form for the difference: q1.k1 - q0.k0 = [q1 - q0; q0] . [k1; k1 - k0].

    Its entries are as small as the change itself: expanding the variance into those of the two
    models would subtract nearly equal numbers.
    """
    A0, a0, B0, b0 = head_maps(base, distance, head)
    A1, a1, B1, b1 = head_maps(other, distance, head)
    return (
        torch.cat([A1 - A0, A0]),
        torch.cat([a1 - a0, a0]),
        torch.cat([B1, B1 - B0]),
        torch.cat([b1, b1 - b0]),
    )


def bilinear(maps: Maps, dimensions: float | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of q . k, of maps spread over their inputs: for self pairs on so many
    dimensions; for independent pairs where that is None."""
    A, a, B, b = maps
    AA, BB, BA = A @ A.T, B @ B.T, B @ A.T
    mean, variance = a @ b, (AA * BB).sum()
    linear = a @ BB @ a + b @ AA @ b
    if dimensions is not None:
        mean = mean + BA.trace()
        variance = variance + (BA * BA.T).sum() - 2 * BA.trace() ** 2 / dimensions
        variance = variance / (1 + 2 / dimensions)
        linear = linear + 2 * a @ BA @ b
    return mean, variance + linear


def key_moments(forms: Forms, distance: Distance, law: Inputs) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the turned key of each query head."""
    pairs = [
        projected(*law.spread(linear, offset), forms.k_gain)
        for linear, offset in zip(forms.B, forms.b, strict=True)
    ]
    mean, covariance = map(torch.stack, zip(*pairs, strict=True))
    # the turn is linear, so it acts on the covariance from both sides
    covariance = turned(forms, turned(forms, covariance, distance).mT, distance)
    return per_query_head(forms, turned(forms, mean, distance)), per_query_head(forms, covariance)


def projected(linear: Tensor, offset: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and covariance of one head's query or key, of a map spread over its inputs, through its
    norm where there is one."""
    if gain is None:
        return offset, linear @ linear.T
    mean, second = _directional(offset, linear @ linear.T)
    factor = gain.double() * len(gain) ** 0.5  # the norm divides by |q| / sqrt(d_head)
    return factor * mean, torch.outer(factor, factor) * (second - torch.outer(mean, mean))


def _directional(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """E[q / |q|] and E[q q^T / |q|^2] of a Gaussian q. Exact also for the sphere when `mean` is
    zero, since the length then cancels."""
    values, basis = torch.linalg.eigh(covariance)
    values, centre = values.clamp(min=0), basis.T @ mean
    # Trapezoids in log s. Both integrands fall off at least like sqrt(s) to the left and like a
    # power of 1 / s to the right, so +-50 around the typical 1 / |q|^2 leaves 1e-10; a step of .1
    # is far finer than their width of about 1.
    step = 0.1
    s = torch.arange(-50, 50, step, dtype=torch.float64).exp() / (
        values.sum() + mean.square().sum()
    )
    shrink = 1 / (1 + 2 * s[:, None] * values)
    weight = (shrink.log().sum(1) / 2 - s * (centre.square() * shrink).sum(1)).exp() * step
    tilted = centre * shrink
    first = (weight * (s / math.pi).sqrt()) @ tilted
    second = torch.diag((weight * s) @ (values * shrink))
    second = second + torch.einsum("s,si,sj->ij", weight * s, tilted, tilted)
    return basis @ first, basis @ second @ basis.T
