"""The null of attention logits: how they fall on unrelated vectors, or on random ones themselves.

1. Without QK-norm mean and sd are exact (`moments`); with it those of unrelated pairs follow from
   one-dimensional quadrature, and the rest from draws of the null itself, with a fixed seed.
2. The tail comes from `tails`: unrelated pairs are a mixture over drawn queries, self pairs a
   quadratic form, and what is sampled gets Pearson's curve of the draws' kurtosis.

A softcap is monotone, so a null is stated for the logit before it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Distance, Forms, directions, normed, queries, turned
from interp.affinity._inputs import Inputs, factored, inputs, values_on
from interp.affinity._moments import (
    Maps,
    bilinear,
    difference_maps,
    head_maps,
    key_moments,
    projected,
)
from interp.affinity._null import How, Null
from interp.affinity._tails import (
    coordinate_tail,
    cosine_tail,
    mixture_tail,
    pearson_tail,
    quadratic_tail,
)

Case = Literal["independent", "self"]
DRAWS = 4_000
"""Of vectors: 1.1 % of standard error on a sampled sd."""


def null(
    forms: Forms,
    case: Case,
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Null:
    """Null of the logit of two unrelated vectors (`independent`) or of a vector with itself.

    Args:
        forms: One block's attention.
        case: `independent` or `self`.
        distance: Key position - query position, or several to average over.
        residuals: Residual stream before the block on ordinary text, for the covariance null; by
            default all directions are alike, which real residuals are not.
        seed: Of the draws that tails rest on and, for `self` under QK-norm, the moments too.

    Moments are exact for the isotropic null; for the covariance null as far as normalised
    residuals are Gaussian, and under QK-norm as far as queries and keys are, unless they have no
    offset.

    Raises:
        ValueError: an unknown case, no distance, fewer than two residuals, or residuals of the
            wrong width.
    """
    _check_case(case)
    law = inputs(forms, residuals)
    if forms.q_gain is None:
        maps = (head_maps(forms, distance, head) for head in range(len(forms.A)))
        return _bilinear_null(maps, case, law, forms.tau, seed)
    if case == "independent":
        return _normed_null(forms, distance, law, seed)
    return _sampled_null([forms], case, distance, law, seed)


def query_null(
    forms: Forms,
    X_query: Float[Tensor, "n d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
) -> Null:
    """Null of the logit of each given query vector with an unrelated key, [heads, n]; both count by
    their direction alone, as in `interp.affinity.qk`.

    Under QK-norm its tail is exact where the keys of a head are isotropic before their norm.
    Raises ValueError as `logits` does, and for fewer than two residuals.
    """
    law = inputs(forms, residuals)
    mean, covariance = key_moments(forms, distance, law)
    q = queries(forms, directions(forms, X_query))
    sd = torch.einsum("hne,hef,hnf->hn", q, covariance, q).sqrt()
    # a norm on keys leaves their direction the dimensions of the head
    free = law.dimensions if forms.k_gain is None else float(len(forms.k_gain))
    tail = coordinate_tail(free).expand(*sd.shape, -1)
    mean = torch.einsum("hne,he->hn", q, mean)
    return Null(forms.tau * mean, forms.tau * sd, tail, _how(forms), 0.0, None)


def difference_null(
    base: Forms,
    other: Forms,
    case: Case,
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Null:
    """Null of the logit in `other` minus the logit in `base`, both on the same vectors; residuals
    are those of `base`.

    Raises ValueError as `null` does, and for blocks that differ in shape, scale or kind of norm.
    """
    _check_case(case)
    check_pair(base, other)
    law = inputs(base, residuals)
    if base.q_gain is not None:
        return _sampled_null([base, other], case, distance, law, seed)
    maps = (difference_maps(base, other, distance, head) for head in range(len(base.A)))
    return _bilinear_null(maps, case, law, base.tau, seed)


def check_pair(base: Forms, other: Forms) -> None:
    """Raise ValueError for blocks whose logits cannot be compared on the same vectors."""
    for name, facts in {
        "shape": (tuple(base.A.shape), tuple(other.A.shape)),
        "key shape": (tuple(base.B.shape), tuple(other.B.shape)),
        "scale": (base.tau, other.tau),
        "kind of norm": (base.centred, other.centred),
        "QK-norm": (base.q_gain is not None, other.q_gain is not None),
    }.items():
        if facts[0] != facts[1]:
            raise ValueError(f"the two blocks differ in {name}: {facts[0]} and {facts[1]}")


def _bilinear_null(maps: Iterable[Maps], case: Case, law: Inputs, tau: float, seed: int) -> Null:
    found, drawn = [], None
    for A, a, B, b in maps:
        A, a, B, b = *law.spread(A, a), *law.spread(B, b)
        mean, variance = bilinear((A, a, B, b), law.dimensions if case == "self" else None)
        sd = variance.sqrt()
        if case == "self":
            tail = _self_tail((A, a, B, b), law)
        else:
            if drawn is None:  # the same for all heads, whose maps have one shape
                drawn = law.coordinates(len(a), draws=DRAWS, seed=seed)
            (q,) = values_on(drawn, [(A, a)])
            scales = (q @ factored(B).T.float()).norm(dim=1)
            tail = mixture_tail(
                (q @ b.float()).double(), scales.double(), mean, sd, dimensions=law.dimensions
            )
        found.append((tau * mean, tau * sd, tail))
    return _collected(found, "closed form", 0.0, None)


def _self_tail(maps: Maps, law: Inputs) -> Tensor:
    """Of (A x + a) . (B x + b), in the coordinates of x that A and B see."""
    A, a, B, b = maps
    R_A, R_B = factored(torch.cat([A, B])).double().split([len(a), len(b)], dim=1)
    S = R_A @ R_B.T
    return quadratic_tail((S + S.T) / 2, R_A @ b + R_B @ a, dimensions=law.dimensions)


def _normed_null(forms: Forms, distance: Distance, law: Inputs, seed: int) -> Null:
    """Unrelated pairs under QK-norm."""
    k_gain = forms.k_gain
    assert k_gain is not None  # queries and keys have their norms together
    # only directions matter, and those of Gaussian and of spherical vectors are the same
    gaussian = replace(law, dimensions=math.inf)
    width = forms.A.shape[1]
    drawn = [gaussian.coordinates(width, draws=DRAWS, seed=part) for part in _streams(seed)]
    # the transpose of a turn is the turn back
    back = [-step for step in ([distance] if isinstance(distance, int) else distance)]
    found = []
    for head, (k, k_cov) in enumerate(zip(*key_moments(forms, distance, law), strict=True)):
        query, key = _spread(forms, head, law)
        q, q_cov = projected(*query, forms.q_gain)
        mean = q @ k
        sd = ((q_cov * k_cov).sum() + k @ q_cov @ k + q @ k_cov @ q).sqrt()
        (q,), (h,) = (values_on(one, [two]) for one, two in zip(drawn, (query, key), strict=True))
        w = turned(forms, normed(q.double(), forms.q_gain, forms.eps), back) * k_gain
        covariance = key[0] @ key[0].T
        tail = cosine_tail(w, h.double(), key[1], covariance, mean, sd, eps=forms.eps)
        found.append((forms.tau * mean, forms.tau * sd, tail))
    return _collected(found, "quadrature", 0.0, None)


def _sampled_null(
    models: Sequence[Forms], case: Case, distance: Distance, law: Inputs, seed: int
) -> Null:
    """Of one model's logits, or of the second's minus the first's."""
    n, width, tau = len(models), models[0].A.shape[1], models[0].tau
    if case == "self":
        drawn = [law.coordinates(2 * n * width, draws=DRAWS, seed=seed)]
    else:
        drawn = [law.coordinates(n * width, draws=DRAWS, seed=part) for part in _streams(seed)]
    found = []
    for head in range(len(models[0].A)):
        query, key = map(stacked, zip(*(_spread(f, head, law) for f in models), strict=True))
        stacks = [query + key] if case == "self" else [query, key]
        parts = [part for x, maps in zip(drawn, stacks, strict=True) for part in values_on(x, maps)]
        logits = []
        for forms, q, k in zip(models, running(parts[:n]), running(parts[n:]), strict=True):
            q, k = normed(q, forms.q_gain, forms.eps), normed(k, forms.k_gain, forms.eps)
            logits.append((q * turned(forms, k, distance)).sum(dim=1))
        mean, sd, tail = sampled_moments(logits[-1] - logits[0] if n == 2 else logits[0])
        found.append((tau * mean, tau * sd, tail))
    return _collected(found, "sampled", (2 * DRAWS) ** -0.5, seed)


def sampled_moments(scores: Float[Tensor, " draws"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sd and tail of drawn scores."""
    scores = scores.double()
    mean, sd = scores.mean(), scores.std()
    if sd == 0:
        return mean, sd, pearson_tail(3.0, draws=len(scores))
    kurtosis = float(((scores - mean) / sd).pow(4).mean())
    return mean, sd, pearson_tail(kurtosis, draws=len(scores))


def stacked(maps: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The first model's map, then the second's minus the first's, so that equal models stay equal
    through single precision."""
    first, *rest = maps
    return [first, *((linear - first[0], offset - first[1]) for linear, offset in rest)]


def running(parts: list[Tensor]) -> list[Tensor]:
    """Undo `stacked` on drawn values."""
    first, *rest = parts
    return [first, *(first + part for part in rest)]


def _spread(forms: Forms, head: int, law: Inputs) -> list[tuple[Tensor, Tensor]]:
    """Query map and key map of one head on standardised inputs, before norms and turns."""
    kv = head // forms.group
    return [law.spread(forms.A[head], forms.a[head]), law.spread(forms.B[kv], forms.b[kv])]


def _streams(seed: int) -> tuple[int, int]:
    """Seeds for the queries' vectors and for the keys', which are others."""
    return 2 * seed, 2 * seed + 1


def _how(forms: Forms) -> How:
    return "closed form" if forms.q_gain is None else "quadrature"


def _collected(
    found: list[tuple[Tensor, Tensor, Tensor]], how: How, error: float, seed: int | None
) -> Null:
    mean, sd, tail = map(torch.stack, zip(*found, strict=True))
    return Null(mean, sd, tail, how, error, seed)


def _check_case(case: str) -> None:
    if case not in ("independent", "self"):
        raise ValueError(f"case={case!r} is unknown; choose from independent, self")
