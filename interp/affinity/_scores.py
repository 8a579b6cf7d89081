"""How strongly directions attend to each other, per head, with the null beside every number.

A logit by itself says nothing: heads differ in scale and in the logit they give to anything. Each
score is therefore stated as a z value and a two-sided p value under the null of unrelated vectors:
isotropic ones by default, or with the mean and covariance of given residuals.

The null is one of directions: before the norm a vector's length counts only beside the epsilon
under its root, which takes 4 % from a unit vector of 4,096 numbers, all from a far shorter one, and
nothing from a residual stream. So z and p take every vector at a length at which it has no part.
"""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import (
    Distance,
    Forms,
    capped,
    directions,
    keys,
    per_query_head,
    queries,
    turned,
)
from interp.affinity._logit_null import difference_null, null
from interp.affinity._null import Null


@dataclass(frozen=True)
class Scores:
    """Attention logits and where they lie in their null."""

    raw: Float[Tensor, "heads *pairs"]
    """The logit as the model computes it, after the softcap; for a difference of two models, other
    minus base of the logits before the cap, which is what the null describes."""
    z: Float[Tensor, "heads *pairs"]
    """(logit of the directions, before the cap - mean) / sd."""
    p: Float[Tensor, "heads *pairs"]
    """P(|Z| >= |z|) under the null's own tail, which is heavier than a normal one."""
    null: Null
    """Moments and tail per head."""


def qk(
    forms: Forms,
    X_query: Float[Tensor, "n d"],
    X_key: Float[Tensor, "m d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Scores:
    """Logits of every query vector for every key vector, [heads, n, m], against unrelated pairs.

    Args:
        forms: One block's attention.
        X_query: Residual vectors or directions, one a row. `raw` takes each at its own length; z
            and p do not depend on it.
        X_key: The same for the keys. Where a key is the query's own vector, use `qk_self`: its
            null is another.
        distance: Key position - query position, 0 or negative under a causal mask; over several
            the logit before the cap is averaged.
        residuals: Residual stream before the block on ordinary text, for the covariance null;
            by default all directions are alike.
        seed: Of the draws that the tail, and where there is no closed form the moments, rest on.

    Raises:
        ValueError: vectors of the wrong width, a zero vector, values that are not finite, no
            distance, fewer than two residuals.
    """
    found = null(forms, "independent", distance=distance, residuals=residuals, seed=seed)
    raw = capped(forms, _products(forms, X_query, X_key, distance))
    query, key = directions(forms, X_query), directions(forms, X_key)
    return _scores(raw, _products(forms, query, key, distance), found)


def qk_self(
    forms: Forms,
    X: Float[Tensor, "n d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Scores:
    """Logits of every vector for itself, [heads, n], against random vectors for themselves.

    Arguments and errors as for `qk`.
    """
    found = null(forms, "self", distance=distance, residuals=residuals, seed=seed)
    raw = capped(forms, _self_products(forms, X, distance))
    return _scores(raw, _self_products(forms, directions(forms, X), distance), found)


def qk_difference(
    base: Forms,
    other: Forms,
    X_query: Float[Tensor, "n d"],
    X_key: Float[Tensor, "m d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Scores:
    """Logit in `other` minus logit in `base`, before the cap, [heads, n, m], against the same
    difference on unrelated pairs.

    Arguments and errors as for `qk`, and ValueError for blocks that differ in shape, scale or
    kind of norm.
    """
    options = {"distance": distance, "residuals": residuals, "seed": seed}
    found = difference_null(base, other, "independent", **options)
    raw, change = (
        _products(other, query, key, distance) - _products(base, query, key, distance)
        for query, key in ((X_query, X_key), (directions(base, X_query), directions(base, X_key)))
    )
    return _scores(raw, change, found)


def qk_self_difference(
    base: Forms,
    other: Forms,
    X: Float[Tensor, "n d"],
    *,
    distance: Distance,
    residuals: Float[Tensor, "samples d"] | None = None,
    seed: int = 0,
) -> Scores:
    """The difference of two models for every vector with itself, [heads, n]. Arguments and errors
    as for `qk_difference`."""
    options = {"distance": distance, "residuals": residuals, "seed": seed}
    found = difference_null(base, other, "self", **options)
    raw, change = (
        _self_products(other, vectors, distance) - _self_products(base, vectors, distance)
        for vectors in (X, directions(base, X))
    )
    return _scores(raw, change, found)


def effective_rank(forms: Forms, *, distance: Distance) -> Float[Tensor, " heads"]:
    """Effective rank of each head's query-key form: exp of the entropy of its singular values,
    normalised to sum 1 (Roy & Vetterli 2007); between 1 and d_head.

    M = A^T B is [d, d], but with A^T = Q R and B^T = Q' R' its singular values are those of
    R R'^T, which is [d_head, d_head]. Raises ValueError without a distance.
    """
    ranks = []
    for head, query in enumerate(forms.A):
        key = turned(forms, forms.B[head // forms.group].double().T, distance)
        R_query, R_key = (torch.linalg.qr(side, mode="r").R for side in (query.double().T, key))
        share = torch.linalg.svdvals(R_query @ R_key.T)
        ranks.append(torch.special.entr(share / share.sum()).sum().exp())
    return torch.stack(ranks)


def _products(forms: Forms, X_query: Tensor, X_key: Tensor, distance: Distance) -> Tensor:
    k = per_query_head(forms, turned(forms, keys(forms, X_key), distance))
    return forms.tau * einsum(queries(forms, X_query), k, "head n e, head m e -> head n m")


def _self_products(forms: Forms, X: Tensor, distance: Distance) -> Tensor:
    k = per_query_head(forms, turned(forms, keys(forms, X), distance))
    return forms.tau * einsum(queries(forms, X), k, "head n e, head n e -> head n")


def _scores(raw: Tensor, product: Tensor, found: Null) -> Scores:
    """Scores of products before the cap, beside the logits as the model computes them."""
    z = found.z(product)
    return Scores(raw, z, found.p(z), found)
