"""Head-averaged scores as an earlier notebook on Gemma-2 computed them.

They are kept so that its numbers can be reproduced and compared. Use `interp.affinity.qk` and
`vo_cross` for anything else.

1. Unit vectors x through the input RMSNorm with gain 1 + w and eps 1e-6.
2. QK(x): mean over heads of q_h . k_g(h) / sqrt(d_head), of x with itself, keys repeated for the
   heads that share them. No RoPE, softcap, biases, QK-norm or query_pre_attn_scalar.
3. VO(x, probe): cosine of RMSNorm_post(W_O repeat(W_V norm(x))) with each probe.
4. z = (value - mean) / (std + 1e-8) over 20 random unit vectors, each with itself, anew for every
   block and model.

What this gets wrong, each held by a test: 20 vectors make z move from draw to draw by a third of a
standard deviation; they stand for x with itself, so that unrelated pairs have a mean z away from 0;
averaging hides heads that differ in sign; and at no distance do real heads attend without RoPE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from interp.weights import AttentionWeights

EPS = 1e-6
"""Of both norms, whatever the model's own."""
FLOOR = 1e-8
"""Added to a standard deviation before dividing by it."""


@dataclass(frozen=True)
class HeadAveraged:
    """The notebook's scores of one block."""

    qk: Float[Tensor, " n"]
    """Logit of each vector with itself, averaged over heads."""
    qk_z: Float[Tensor, " n"]
    """The same against random vectors with themselves."""
    pair: Float[Tensor, "n n"]
    """Logit of each vector (row, query) for each (column, key), averaged over heads."""
    pair_z: Float[Tensor, "n n"]
    """The same, as the notebook has it against random vectors with themselves."""
    vo: Float[Tensor, "n probes"]
    """Cosine of the attention output with each probe."""
    vo_z: Float[Tensor, "n probes"]
    """The same against random vectors, each probed with itself."""

    def table(self, names: Sequence[str]) -> pd.DataFrame:
        """A row for each kind and pair of the named vectors, with raw and z, where the probes are
        the vectors themselves. For VO, `key` is attended to and `query` is written."""
        labels = np.array(names, dtype=object)
        query, key = (index.ravel() for index in np.indices((len(names), len(names))))
        frames = [
            pd.DataFrame(
                {
                    "kind": kind,
                    "query": labels[query],
                    "key": labels[key],
                    "raw": raw.numpy()[query, key],
                    "z": z.numpy()[query, key],
                }
            )
            for kind, raw, z in (("QK", self.pair, self.pair_z), ("VO", self.vo.T, self.vo_z.T))
        ]
        return pd.concat(frames, ignore_index=True)


def head_averaged(
    weights: AttentionWeights,
    X: Float[Tensor, "n d"],
    probes: Float[Tensor, "probes d"],
    *,
    seed: int,
    n_random: int = 20,
) -> HeadAveraged:
    """Scores of one block and model; the notebook's change is the difference of two models' z.

    Args:
        weights: One block's attention.
        X: Vectors, made unit here.
        probes: Directions.
        seed: Of the random unit vectors; the notebook drew without one.
        n_random: How many.

    Raises:
        ValueError: vectors or probes of the wrong width, a zero vector or probe, or fewer than two
            random vectors.
    """
    if n_random < 2:
        raise ValueError(f"n_random={n_random} has no standard deviation; give at least 2")
    width = len(weights.norm_gain)
    X, probes = _unit(X, width, "vector"), _unit(probes, width, "probe")
    generator = np.random.default_rng(seed)
    noise = _unit(torch.from_numpy(generator.standard_normal((n_random, width))), width, "vector")
    pair, random = _mean_logits(weights, X), _mean_logits(weights, noise).diagonal()
    vo = _written(weights, X) @ probes.T
    own = (_written(weights, noise) * noise).sum(dim=1)
    return HeadAveraged(
        pair.diagonal(),
        _z(pair.diagonal(), random),
        pair,
        _z(pair, random),
        vo,
        _z(vo, own),
    )


def head_averaged_table(
    sides: Mapping[str, AttentionWeights],
    X: Float[Tensor, "n d"],
    *,
    names: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """`HeadAveraged.table` of one block of a model, or of two with the notebook's change.

    Args:
        sides: The same block of one model or two, by the prefix of their columns.
        X: Vectors, which are the probes too.
        names: Their names.
        seed: Every block and model gets random vectors of its own, as in the notebook.

    Raises:
        ValueError: as `head_averaged`, or neither one model nor two.
    """
    if len(sides) not in (1, 2):
        raise ValueError(f"sides = {list(sides)}; give one model or two")
    table = pd.DataFrame()
    for number, (side, weights) in enumerate(sides.items()):
        drawn = seed * 100_003 + 2 * weights.block + number
        scores = head_averaged(weights, X, X, seed=drawn).table(names)
        scores = scores.rename(columns={"raw": f"{side}_raw", "z": f"{side}_z"})
        table = scores if table.empty else table.join(scores.iloc[:, -2:])
    first, *second = sides
    for side in second:
        table["difference_z"] = table[f"{side}_z"] - table[f"{first}_z"]
    return table.assign(block=sides[first].block)


def _mean_logits(weights: AttentionWeights, x: Tensor) -> Tensor:
    x = _rms(x, weights.norm_gain)
    heads, _, head_dim = weights.W_Q.shape
    group = heads // len(weights.W_K)
    total = x.new_zeros(len(x), len(x))
    for head in range(heads):  # a float64 copy of all heads would be 150 MB at 27B shape
        q, k = x @ weights.W_Q[head].double(), x @ weights.W_K[head // group].double()
        total += einsum(q, k, "n e, m e -> n m")
    return total / head_dim**0.5 / heads


def _written(weights: AttentionWeights, x: Tensor) -> Tensor:
    """The unit attention output."""
    x = _rms(x, weights.norm_gain)
    group = len(weights.W_O) // len(weights.W_V)
    v = torch.stack([x @ one.double() for one in weights.W_V])
    v = repeat(v, "kv n e -> (kv group) n e", group=group)
    written = torch.zeros_like(x)
    for one, W_O in zip(v, weights.W_O, strict=True):
        written += one @ W_O.double()
    if weights.post_gain is not None:
        written = _rms(written, weights.post_gain)
    return written / written.norm(dim=1, keepdim=True)


def _rms(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + EPS).sqrt() * gain.double()


def _z(value: Tensor, random: Tensor) -> Tensor:
    return (value - random.mean()) / (random.std() + FLOOR)


def _unit(vectors: Tensor, width: int, name: str) -> Tensor:
    if vectors.shape[1] != width:
        raise ValueError(f"{name}s have width {vectors.shape[1]}; the residual stream has {width}")
    vectors = vectors.double()
    bad = (~vectors.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(f"{name} {int(bad[0])} is not finite")
    length = vectors.norm(dim=1, keepdim=True)
    zero = (length[:, 0] == 0).nonzero()
    if len(zero):
        raise ValueError(f"{name} {int(zero[0])} is zero and has no direction")
    return vectors / length
