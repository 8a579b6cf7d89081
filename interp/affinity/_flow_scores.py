"""What attending writes along given directions, with its null: cosines, z scores and p values.

1. A probe of uniformly random direction has with any fixed vector a cosine of mean 0 and variance
   exactly 1 / d, whose square is Beta(1/2, (d - 1) / 2): p values are exact. The difference of two
   models is (u1 - u0) . probe with u the unit outputs, so the same law times |u1 - u0|.
2. A vector with itself is another matter: x and what is written for x depend on each other, and
   their cosine is a ratio of quadratic forms. Its null is drawn (`flow_null`).

What is attended to counts by its direction, at a length at which the norm's epsilon has no part;
`interp.affinity.vo` gives the flow at a vector's own length.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from interp.affinity._flow import check_probes, contributions, post_norm
from interp.affinity._flow_null import self_null
from interp.affinity._forms import Forms, directions
from interp.affinity._logit_null import check_pair
from interp.affinity._null import How


@dataclass(frozen=True)
class FlowScores:
    """Cosines of what is written with probes, and where they lie in their null; for a difference
    of two models, other minus base."""

    head_cosine: Float[Tensor, "heads *pairs"]
    """Cosine of the head's contribution with the probe."""
    head_z: Float[Tensor, "heads *pairs"]
    """(cosine - mean) / sd under the null."""
    head_p: Float[Tensor, "heads *pairs"]
    """P(|Z| >= |z|)."""
    cosine: Float[Tensor, "*pairs"]
    """Cosine of the whole attention output, after the post-norm, with the probe."""
    z: Float[Tensor, "*pairs"]
    """(cosine - mean) / sd under the null."""
    p: Float[Tensor, "*pairs"]
    """P(|Z| >= |z|)."""
    how: How
    """How the null was found."""
    error: float
    """Relative standard error of its sd; 0 in closed form."""
    seed: int | None
    """Of the draws; None in closed form."""


def vo_cross(forms: Forms, y: Float[Tensor, "n d"], probes: Float[Tensor, "m d"]) -> FlowScores:
    """What attending to each y writes along each probe, [heads, n, m] and [n, m], against probes
    of uniformly random direction. Exact.

    Raises ValueError for vectors or probes of the wrong width, zero ones, and values that are not
    finite.
    """
    check_probes(forms, probes)
    return _against_probes(_units(forms, y), probes)


def vo_self(forms: Forms, X: Float[Tensor, "n d"], *, seed: int = 0) -> FlowScores:
    """What attending to each vector writes along that vector itself, [heads, n] and [n], against
    random vectors with themselves.

    Raises ValueError for vectors of the wrong width or a zero vector.
    """
    return _against_random([forms], _own_cosines(forms, X), seed)


def vo_cross_difference(
    base: Forms, other: Forms, y: Float[Tensor, "n d"], probes: Float[Tensor, "m d"]
) -> FlowScores:
    """`vo_cross` in `other` minus `base`, [heads, n, m] and [n, m], against probes of uniformly
    random direction. Exact. Where both write the same, z is 0 and p 1.

    Raises ValueError as `vo_cross` does, and for blocks that differ in shape or kind of norm.
    """
    check_pair(base, other)
    check_probes(base, probes)
    pairs = zip(_units(base, y), _units(other, y), strict=True)
    return _against_probes((after - before for before, after in pairs), probes)


def vo_self_difference(
    base: Forms, other: Forms, X: Float[Tensor, "n d"], *, seed: int = 0
) -> FlowScores:
    """`vo_self` in `other` minus `base`, [heads, n] and [n], both on the same vectors.

    Raises ValueError as `vo_self` does, and for blocks that differ in shape or kind of norm.
    """
    check_pair(base, other)
    change = _own_cosines(other, X) - _own_cosines(base, X)
    return _against_random([base, other], change, seed)


def _units(forms: Forms, y: Tensor) -> Iterator[Tensor]:
    """The direction that each head writes in, [n, d], and last that of the whole output."""
    gain = 1.0 if forms.post_gain is None else forms.post_gain.double()
    whole = forms.b_O.double()
    for contribution in contributions(forms, directions(forms, y)):
        whole = whole + contribution
        yield _unit(contribution * gain)
    yield _unit(post_norm(forms, whole))


def _unit(vectors: Tensor) -> Tensor:
    # squares of the largest and smallest float64 are out of range
    vectors = vectors.double() / vectors.double().abs().amax(dim=1, keepdim=True)
    return vectors / vectors.norm(dim=1, keepdim=True)


def _own_cosines(forms: Forms, X: Tensor) -> Tensor:
    """Of each vector with what is written for it, [heads + 1, n]."""
    own = _unit(directions(forms, X))
    return torch.stack([(unit * own).sum(dim=1) for unit in _units(forms, X)])


def _against_probes(directions: Iterator[Tensor], probes: Tensor) -> FlowScores:
    """Scores of the products of directions, or of their differences, with unit probes."""
    probes = _unit(probes)
    width = probes.shape[1]
    products, z, p = [], [], []
    for direction in directions:
        products.append(direction @ probes.T)
        # where nothing changed 0 / 0 stands for 0
        share = (products[-1] / direction.norm(dim=1, keepdim=True)).nan_to_num(0.0)
        z.append(share * width**0.5)
        outside = (1 - share.square()).clamp(min=0)
        p.append(torch.from_numpy(special.betainc((width - 1) / 2, 0.5, outside.numpy())))
    parts = [torch.stack(part) for part in (products, z, p)]
    return _split(*parts, how="closed form", error=0.0, seed=None)


def _against_random(models: list[Forms], cosines: Tensor, seed: int) -> FlowScores:
    null = self_null(models, seed=seed)
    z = null.z(cosines)
    return _split(cosines, z, null.p(z), how=null.how, error=null.error, seed=null.seed)


def _split(
    cosine: Tensor, z: Tensor, p: Tensor, *, how: How, error: float, seed: int | None
) -> FlowScores:
    """Rows for the heads, and the last for the whole."""
    return FlowScores(cosine[:-1], z[:-1], p[:-1], cosine[-1], z[-1], p[-1], how, error, seed)
