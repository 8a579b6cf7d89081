"""Logits under the change that was made, turned at random within each head.

A direction with long queries or keys moves more under any change of the weights, aimed or not, and
a change by gradients lies where activations do: its rows are sums of inputs. So what tuning did to
a pair of directions is held against dW R, with a random rotation R of each head's outputs: the same
inputs weigh as much in it, and only what they are written to is another. Only its action on the
given directions is needed, and that can be drawn without R: where x^ (the normalised directions
after gain and centring) give x^ dW = L Q with orthonormal rows Q, random orthonormal rows stand for
Q R.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from interp.affinity import Forms, normalised, per_query_head, turned
from interp.affinity._forms import Distance
from interp.weights import AttentionWeights

DRAWS = 200
"""Turns of the change; no p value falls below 1 / 201."""


@dataclass
class Turns:
    """The change as it was made (row 0) beside its turns, gathered block by block.

    A cell's scale under the turns differs from head to head, so each cell is studentised by its own
    1 + DRAWS values, the one made included (max-T, Westfall & Young 1993).
    """

    largest: Float[np.ndarray, " rows"] = field(default_factory=lambda: np.full(1 + DRAWS, -np.inf))
    """Largest studentised |change| over cells."""
    high: Int[np.ndarray, " rows"] = field(default_factory=lambda: np.zeros(1 + DRAWS, dtype=int))
    """Cells in which the row is among the highest twentieth."""
    cells: int = 0
    """Cells that the turns tell apart."""

    def add(self, changes: Float[np.ndarray, "rows cells"]) -> None:
        """Take in cells of every row."""
        size = np.abs(changes)
        spread = size.std(axis=0)
        size = size[:, spread > 1e-12 * size.max(axis=0, initial=0.0)]
        if not size.shape[1]:
            return
        studentised = (size - size.mean(axis=0)) / size.std(axis=0)
        self.largest = np.maximum(self.largest, studentised.max(axis=1))
        self.high += (size >= np.quantile(size, 0.95, axis=0)).sum(axis=1)
        self.cells += size.shape[1]

    def best(self) -> Float[np.ndarray, " rows"]:
        """Largest of every row; 0 where the turns change nothing."""
        return np.where(np.isfinite(self.largest), self.largest, 0.0)

    def rate(self) -> Float[np.ndarray, " rows"]:
        """Share of cells in which a row is among the highest twentieth of all rows."""
        return self.high / max(self.cells, 1)


def turned_changes(
    weights: AttentionWeights,
    other: AttentionWeights,
    forms: Forms,
    X: Float[Tensor, "n d"],
    distances: list[Distance],
    *,
    seed: int,
) -> Iterator[Float[Tensor, "heads 1+draws n n"]]:
    """For each distance, logits with the change minus logits without it, before the cap: first as
    it was made, then turned, the same turns at all distances. The diagonal holds self pairs."""
    generator = torch.Generator().manual_seed(seed * 100_003 + weights.block)
    x = normalised(forms, X)
    q, k = (
        einsum(linear.double(), x, "head e d, n d -> head n e") + offset[:, None].double()
        for linear, offset in ((forms.A, forms.a), (forms.B, forms.b))
    )
    inputs = _gained(weights, x)
    moved_q = q[:, None] + _turned(inputs, other.W_Q - weights.W_Q, generator)
    moved_k = k[:, None] + _turned(inputs, other.W_K - weights.W_K, generator)
    q, moved_q = (_rms(part, forms.q_gain, forms.eps) for part in (q, moved_q))
    k, moved_k = (_rms(part, forms.k_gain, forms.eps) for part in (k, moved_k))
    for distance in distances:
        near, far = (per_query_head(forms, turned(forms, part, distance)) for part in (k, moved_k))
        changed = einsum(moved_q, far, "head draw n e, head draw m e -> head draw n m")
        before = einsum(q, near, "head n e, head m e -> head n m")
        yield forms.tau * (changed - before[:, None])


def _gained(weights: AttentionWeights, x: Tensor) -> Tensor:
    """What the weights see: centred where the norm centres, times its gain, plus its bias."""
    kept = x - x.mean(dim=1, keepdim=True) if weights.norm == "LayerNorm" else x
    seen = kept * weights.norm_gain.double()
    return seen if weights.norm_bias is None else seen + weights.norm_bias.double()


def _turned(
    inputs: Float[Tensor, "n d"], change: Float[Tensor, "head d e"], generator: torch.Generator
) -> Float[Tensor, "head 1+draw n e"]:
    """What the change adds to the rows' queries or keys: as it is, then its outputs turned at
    random."""
    moved = einsum(inputs, change.double(), "n d, head d e -> head n e")
    rank = min(moved.shape[1:])
    values, basis = torch.linalg.eigh(moved @ moved.mT)
    lengths = (basis * values.clamp(min=0).sqrt()[:, None])[..., -rank:]
    shape = (len(change), DRAWS, change.shape[2], rank)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    Q, R = torch.linalg.qr(drawn)
    # the signs make the rows uniform (Mezzadri 2007)
    Q = Q * R.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    turned = einsum(lengths, Q, "head n r, head draw e r -> head draw n e")
    return torch.cat([moved[:, None], turned], dim=1)


def _rms(vectors: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    if gain is None:
        return vectors
    return vectors / (vectors.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain.double()
