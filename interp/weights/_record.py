"""One block's attention as plain tensors and facts: the record that other packages compute on.

Importing it needs neither transformers nor TransformerLens. They come when weights are read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    import transformer_lens.model_bridge


@dataclass(frozen=True)
class Rope:
    """Rotation of queries and keys by position: dimensions j and j + pairs form a plane that turns
    by position * inverse_frequencies[j]."""

    inverse_frequencies: Float[Tensor, " pairs"]
    """Radians per position, after llama3, YaRN or linear scaling."""
    attention_scaling: float
    """Factor on the rotated query and on the rotated key alike (YaRN; else 1), so the logit
    carries its square."""

    @property
    def n_rotated(self) -> int:
        """Rotated dimensions of a head."""
        return 2 * len(self.inverse_frequencies)


@dataclass(frozen=True)
class AttentionWeights:
    """Everything that one block's attention computes with, in one layout for the six families."""

    block: int
    """Which block, from 0."""
    W_Q: Float[Tensor, "heads d head_dim"]
    """Query weights: q = x W_Q + b_Q on the normalised residual x."""
    W_K: Float[Tensor, "kv_heads d head_dim"]
    """Key weights, once per key-value head; head h uses h // (n_heads / n_kv_heads)."""
    W_V: Float[Tensor, "kv_heads d head_dim"]
    """Value weights, once per key-value head."""
    W_O: Float[Tensor, "heads head_dim d"]
    """Output weights."""
    b_Q: Float[Tensor, "heads head_dim"] | None
    """Query bias; None where the architecture has none, as for the others."""
    b_K: Float[Tensor, "kv_heads head_dim"] | None
    """Key bias."""
    b_V: Float[Tensor, "kv_heads head_dim"] | None
    """Value bias."""
    b_O: Float[Tensor, " d"] | None
    """Output bias, added once, not per head."""
    norm: Literal["LayerNorm", "RMSNorm"]
    """Kind of the norm before attention; all other norms here are RMSNorm."""
    norm_gain: Float[Tensor, " d"]
    """Its factor per dimension; for Gemma 1 + weight."""
    norm_bias: Float[Tensor, " d"] | None
    """Its bias; None for RMSNorm."""
    eps: float
    """Added to the variance (mean square) under the root, in every norm here."""
    post_gain: Float[Tensor, " d"] | None
    """Factor of the RMSNorm on the attention's output (Gemma), 1 + weight; None elsewhere."""
    q_gain: Float[Tensor, " head_dim"] | None
    """Factor of the RMSNorm on each query (Qwen3, Gemma-3), before RoPE; None elsewhere."""
    k_gain: Float[Tensor, " head_dim"] | None
    """Factor of the RMSNorm on each key; None elsewhere."""
    scale: float
    """Factor on query . key: d_head^-1/2, or query_pre_attn_scalar^-1/2 for Gemma."""
    softcap: float | None
    """c in c tanh(logit / c), after the scale (Gemma-2); None elsewhere."""
    rope: Rope | None
    """Rotation of this block; None for GPT-2."""
    window: int | None
    """Positions a query sees, its own included (query - key < window); None for all before it."""
    n_heads: int
    """Query heads."""
    n_kv_heads: int
    """Key-value heads."""
    bytes_read: int
    """Tensor data read from the checkpoint, in bytes; 0 from a model in memory."""

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, block: int, *, dtype: torch.dtype = torch.float32
    ) -> "AttentionWeights":
        """One block's attention from a directory of `config.json` and safetensors.

        Args:
            path: The directory; of its files those are read that `from_pretrained` would read.
            block: From 0.
            dtype: Of the projections. Norm gains stay float32 or wider: rounding 1 + weight to a
                16-bit float would lose most of the weight.

        Raises:
            ValueError: an unknown architecture (the six known are listed), a block out of range,
                a missing shard, an index that names an absent tensor, a file that holds no weights
                (a git-lfs pointer, a cut download), an adapter beside the weights, quantised
                tensors (bitsandbytes, AWQ, GPTQ), MLA or MoE, or RoPE that depends on the text's
                length.
        """
        from interp.weights._assembly import of_checkpoint

        return of_checkpoint(path, block, dtype)

    @classmethod
    def from_model(
        cls,
        bridge: "transformer_lens.model_bridge.TransformerBridge",
        block: int,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "AttentionWeights":
        """The same from a loaded bridge; equal bit for bit to the checkpoint that it came from.

        Raises ValueError as `from_checkpoint` does, and for a bridge whose weights were folded.
        """
        from interp.weights._assembly import of_model

        return of_model(bridge, block, dtype)
