"""A change of attention weights as it was made, beside the same change turned at random.

A direction with long queries or keys moves more under any change of the weights, aimed or not, and
a change by gradients lies where activations do: its rows are sums of inputs. So what tuning did to
a pair of directions is held against dW R, with a random rotation R of each head's outputs: the same
inputs weigh as much in it, and only what they are written to is another. Only its action on the
given directions is needed, and that can be drawn without R: where x^ (the normalised directions
after gain and centring) give x^ dW = L Q with orthonormal rows Q, random orthonormal rows stand for
Q R.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from interp.affinity._forms import Distance, fold, normalised, normed, per_query_head, turned
from interp.stats import p_among
from interp.weights import AttentionWeights

TURNS = 200
"""Random turns of the change; no p value falls below 1 / 201."""
HIGHEST = 0.95
"""Quantile of a cell's |changes| from which on a change counts as high."""


@dataclass(frozen=True)
class TurnedChange:
    """Changes of logits as they were made (row 0) beside those of random turns (rows 1 to TURNS).

    A cell's scale under the turns differs from head to head, so each cell is studentised by its own
    values, the one made included (max-T, Westfall & Young 1993).
    """

    largest: Float[np.ndarray, " rows"]
    """Largest studentised |change| over cells; 0 where the turns change nothing."""
    high: Int[np.ndarray, " rows"]
    """Number of cells in which the row is among the highest twentieth."""
    cells: int
    """Number of cells that the turns tell apart."""

    @classmethod
    def of(cls, changes: Float[np.ndarray, "rows cells"]) -> "TurnedChange":
        """Summary of changes, the one made in row 0."""
        size = np.abs(changes)
        spread = size.std(axis=0)
        size = size[:, spread > 1e-12 * size.max(axis=0, initial=0.0)]
        if not size.shape[1]:
            return cls(np.zeros(len(size)), np.zeros(len(size), dtype=int), 0)
        studentised = (size - size.mean(axis=0)) / size.std(axis=0)
        high = (size >= np.quantile(size, HIGHEST, axis=0)).sum(axis=1)
        return cls(studentised.max(axis=1), high, size.shape[1])

    @classmethod
    def joined(cls, parts: Iterable["TurnedChange"]) -> "TurnedChange":
        """Summary of the cells of all parts, such as blocks."""
        parts = list(parts)
        telling = [part for part in parts if part.cells] or parts
        return cls(
            np.max([part.largest for part in telling], axis=0),
            np.sum([part.high for part in parts], axis=0),
            sum(part.cells for part in parts),
        )

    def rates(self) -> Float[np.ndarray, " rows"]:
        """Share of cells in which each row is among the highest twentieth of all rows."""
        return self.high / max(self.cells, 1)

    def p_largest(self) -> float:
        """p of the largest change made, among the largest of every turn."""
        return p_among(self.largest[0], self.largest[1:])

    def p_rate(self) -> float:
        """p of how many cells changed much, among the rates of the turns."""
        return p_among(self.rates()[0], self.rates()[1:])


def turned_change(
    before: AttentionWeights,
    after: AttentionWeights,
    X: Float[Tensor, "n d"],
    *,
    distances: Sequence[Distance] = (0,),
    seed: int = 0,
) -> TurnedChange:
    """Logits between directions under a change of W_Q and W_K, beside random turns of the change.

    Args:
        before: One block's attention.
        after: The same block after the change, in the same shapes.
        X: Directions, one a row.
        distances: Key position - query position; a distance may be several to average over.
        seed: Seed of the turns, which are the same at all distances.

    Raises:
        ValueError: as `interp.affinity.logits`.
    """
    changes = turned_changes(before, after, X, distances=distances, seed=seed)
    return TurnedChange.joined(
        TurnedChange.of(change.transpose(0, 1).flatten(1).numpy()) for change in changes
    )


def turned_changes(
    before: AttentionWeights,
    after: AttentionWeights,
    X: Float[Tensor, "n d"],
    *,
    distances: Sequence[Distance],
    seed: int,
) -> Iterator[Float[Tensor, "heads rows n n"]]:
    """For each distance, logits with the change minus logits without it, before the cap: first as
    it was made, then turned. The diagonal holds self pairs."""
    forms = fold(before)
    generator = torch.Generator().manual_seed(seed * 100_003 + before.block)
    x = normalised(forms, X)
    q, k = (
        einsum(linear.double(), x, "head e d, n d -> head n e") + offset[:, None].double()
        for linear, offset in ((forms.A, forms.a), (forms.B, forms.b))
    )
    inputs = _inputs(before, x)
    moved_q = q[:, None] + _turned(inputs, after.W_Q - before.W_Q, generator)
    moved_k = k[:, None] + _turned(inputs, after.W_K - before.W_K, generator)
    q, moved_q = (normed(part, forms.q_gain, forms.eps) for part in (q, moved_q))
    k, moved_k = (normed(part, forms.k_gain, forms.eps) for part in (k, moved_k))
    for distance in distances:
        near, far = (per_query_head(forms, turned(forms, part, distance)) for part in (k, moved_k))
        changed = einsum(moved_q, far, "head turn n e, head turn m e -> head turn n m")
        unchanged = einsum(q, near, "head n e, head m e -> head n m")
        yield forms.tau * (changed - unchanged[:, None])


def _inputs(weights: AttentionWeights, x: Tensor) -> Tensor:
    """What the weights see: centred where the norm centres, times its gain, plus its bias."""
    centred = x - x.mean(dim=1, keepdim=True) if weights.norm == "LayerNorm" else x
    gained = centred * weights.norm_gain.double()
    return gained if weights.norm_bias is None else gained + weights.norm_bias.double()


def _turned(
    inputs: Float[Tensor, "n d"], change: Float[Tensor, "head d e"], generator: torch.Generator
) -> Float[Tensor, "head rows n e"]:
    """What the change adds to the rows' queries or keys: as it is, then its outputs turned at
    random."""
    moved = einsum(inputs, change.double(), "n d, head d e -> head n e")
    rank = min(moved.shape[1:])
    values, basis = torch.linalg.eigh(moved @ moved.mT)
    lengths = (basis * values.clamp(min=0).sqrt()[:, None])[..., -rank:]
    shape = (len(change), TURNS, change.shape[2], rank)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    Q, R = torch.linalg.qr(drawn)
    # the signs make the rows uniform (Mezzadri 2007)
    Q = Q * R.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    turned = einsum(lengths, Q, "head n r, head turn e r -> head turn n e")
    return torch.cat([moved[:, None], turned], dim=1)
