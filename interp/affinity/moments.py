"""What attention logits look like on unrelated vectors: their mean and standard deviation, in
closed form instead of by sampling.

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

A softcap is monotone, so a null is stated for the logit before it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity.forms import Distance, Forms, normalised, per_query_head, queries, turned

Case = Literal["independent", "self"]
Spread = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Maps = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Null:
    """Moments of the logit before the softcap, over random residual vectors."""

    mean: Float[Tensor, "heads *queries"]
    """Expected logit."""
    sd: Float[Tensor, "heads *queries"]
    """Standard deviation of the logit."""


def null(
    forms: Forms,
    case: Case,
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
) -> Null:
    """Null of the logit of two unrelated vectors (`independent`) or of a vector with itself.

    Args:
        forms: One block's attention.
        case: `independent` or `self`.
        distance: Key position - query position, or several to average over.
        residuals: Residual stream before the block on ordinary text, for the covariance null; by
            default all directions are alike, which real residuals are not.

    Exact for the isotropic null; for the covariance null as far as normalised residuals are
    Gaussian, and under QK-norm as far as queries and keys are, unless they have no offset.

    Raises:
        ValueError: an unknown case, `self` under QK-norm (it has no such form), no distance, fewer
            than two residuals, or residuals of the wrong width.
    """
    _check_case(case, forms)
    spread, dimensions = _spread(forms, residuals)
    heads = range(len(forms.A))
    if forms.q_gain is None:
        inputs = dimensions if case == "self" else None
        found = [_bilinear(_maps(forms, distance, head), spread, inputs) for head in heads]
        return _collected(forms.tau, found)
    k_mean, k_cov = _keys(forms, distance, spread)
    found = []
    for head in heads:
        mean, cov = _moments(forms.A[head], forms.a[head], spread, forms.q_gain)
        other, other_cov = k_mean[head], k_cov[head]
        variance = (cov * other_cov).sum() + other @ cov @ other + mean @ other_cov @ mean
        found.append((mean @ other, variance))
    return _collected(forms.tau, found)


def query_null(
    forms: Forms,
    X_query: Float[Tensor, "n d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
) -> Null:
    """Null of the logit of each given query vector with an unrelated key, [heads, n].

    Raises ValueError as `logits` does, and for fewer than two residuals.
    """
    spread, _ = _spread(forms, residuals)
    mean, covariance = _keys(forms, distance, spread)
    q = queries(forms, X_query)
    return Null(
        forms.tau * torch.einsum("hne,he->hn", q, mean),
        forms.tau * torch.einsum("hne,hef,hnf->hn", q, covariance, q).sqrt(),
    )


def difference_null(
    base: Forms,
    other: Forms,
    case: Case,
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
) -> Null:
    """Null of the logit in `other` minus the logit in `base`, both on the same vectors.

    q1.k1 - q0.k0 = [q1 - q0; q0] . [k1; k1 - k0] is again one bilinear form, whose entries are as
    small as the change itself: expanding the variance into those of the two models would subtract
    nearly equal numbers.

    Raises ValueError as `null` does, for QK-norm, and for blocks that differ in shape, scale or
    kind of norm.
    """
    _check_pair(base, other, case)
    spread, dimensions = _spread(base, residuals)

    def stacked(head: int) -> Maps:
        A0, a0, B0, b0 = _maps(base, distance, head)
        A1, a1, B1, b1 = _maps(other, distance, head)
        return (
            torch.cat([A1 - A0, A0]),
            torch.cat([a1 - a0, a0]),
            torch.cat([B1, B1 - B0]),
            torch.cat([b1, b1 - b0]),
        )

    heads = [
        _bilinear(stacked(head), spread, dimensions if case == "self" else None)
        for head in range(len(base.A))
    ]
    return _collected(base.tau, heads)


def _maps(forms: Forms, distance: Distance, head: int) -> Maps:
    """A, a, B, b of one head, keys turned, float64."""
    kv = head // forms.group
    return (
        forms.A[head].double(),
        forms.a[head].double(),
        turned(forms, forms.B[kv].double().T, distance).T,
        turned(forms, forms.b[kv].double(), distance),
    )


def _keys(forms: Forms, distance: Distance, spread: Spread) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the turned key of each query head."""
    pairs = [
        _moments(linear, offset, spread, forms.k_gain)
        for linear, offset in zip(forms.B, forms.b, strict=True)
    ]
    mean, covariance = map(torch.stack, zip(*pairs, strict=True))
    # the turn is linear, so it acts on the covariance from both sides
    covariance = turned(forms, turned(forms, covariance, distance).mT, distance)
    return per_query_head(forms, turned(forms, mean, distance)), per_query_head(forms, covariance)


def _spread(forms: Forms, residuals: Tensor | None) -> tuple[Spread, float]:
    """How random inputs act on a map and its offset, and on how many dimensions (infinitely many
    stand for a Gaussian)."""
    if residuals is None:
        width = forms.A.shape[-1]
        dimensions = float(width - forms.centred)
        # the norm fixes the length at sqrt(width) whatever the number of dimensions left
        return lambda linear, offset: (linear * (width / dimensions) ** 0.5, offset), dimensions
    if len(residuals) < 2:
        raise ValueError(f"{len(residuals)} residuals have no covariance; give at least 2")
    x = normalised(forms, residuals)
    mean = x.mean(dim=0)
    rows = (x - mean) / (len(x) - 1) ** 0.5
    return lambda linear, offset: (linear @ rows.T, offset + linear @ mean), math.inf


def _bilinear(maps: Maps, spread: Spread, dimensions: float | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of q . k for self pairs on so many dimensions; for independent pairs where
    that is None."""
    A, a = spread(*maps[:2])
    B, b = spread(*maps[2:])
    AA, BB, BA = A @ A.T, B @ B.T, B @ A.T
    mean, variance = a @ b, (AA * BB).sum()
    linear = a @ BB @ a + b @ AA @ b
    if dimensions is not None:
        mean = mean + BA.trace()
        variance = variance + (BA * BA.T).sum() - 2 * BA.trace() ** 2 / dimensions
        variance = variance / (1 + 2 / dimensions)
        linear = linear + 2 * a @ BA @ b
    return mean, variance + linear


def _collected(tau: float, heads: list[tuple[Tensor, Tensor]]) -> Null:
    means, variances = map(torch.stack, zip(*heads, strict=True))
    return Null(tau * means, tau * variances.sqrt())


def _moments(
    linear: Tensor, offset: Tensor, spread: Spread, gain: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of one head's query or key, through its norm where there is one."""
    linear, offset = spread(linear.double(), offset.double())
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


def _check_case(case: str, forms: Forms) -> None:
    if case not in ("independent", "self"):
        raise ValueError(f"case={case!r} is unknown; choose from independent, self")
    if case == "self" and forms.q_gain is not None:
        raise ValueError("case='self' has no closed form under QK-norm; use 'independent'")


def _check_pair(base: Forms, other: Forms, case: str) -> None:
    _check_case(case, base)
    if base.q_gain is not None or other.q_gain is not None:
        raise ValueError("the difference of two models has no closed form under QK-norm")
    for name, facts in {
        "shape": (base.A.shape, other.A.shape),
        "key shape": (base.B.shape, other.B.shape),
        "scale": (base.tau, other.tau),
        "kind of norm": (base.centred, other.centred),
    }.items():
        if facts[0] != facts[1]:
            raise ValueError(f"the two blocks differ in {name}: {facts[0]} and {facts[1]}")
