"""What affinity needs to know of one block's attention, as a structural type.

Any record with these attributes will do, so that no method here depends on how weights are read.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Rotation(Protocol):
    """Rotary position embedding: dimensions j and j + pairs of a head turn as one plane."""

    @property
    def inverse_frequencies(self) -> Tensor:
        """[pairs] Radians per position."""
        ...

    @property
    def attention_scaling(self) -> float:
        """Factor on the rotated query and on the rotated key."""
        ...


@runtime_checkable
class Weights(Protocol):
    """One block's attention weights; shapes in brackets, None where the family lacks the part."""

    @property
    def W_Q(self) -> Tensor:
        """[heads, d, d_head]"""
        ...

    @property
    def W_K(self) -> Tensor:
        """[kv_heads, d, d_head]"""
        ...

    @property
    def W_V(self) -> Tensor:
        """[kv_heads, d, d_head]"""
        ...

    @property
    def W_O(self) -> Tensor:
        """[heads, d_head, d]"""
        ...

    @property
    def b_Q(self) -> Tensor | None:
        """[heads, d_head]"""
        ...

    @property
    def b_K(self) -> Tensor | None:
        """[kv_heads, d_head]"""
        ...

    @property
    def b_V(self) -> Tensor | None:
        """[kv_heads, d_head]"""
        ...

    @property
    def b_O(self) -> Tensor | None:
        """[d]"""
        ...

    @property
    def norm(self) -> str:
        """LayerNorm or RMSNorm."""
        ...

    @property
    def norm_gain(self) -> Tensor:
        """[d], the factor itself (1 + weight for Gemma)."""
        ...

    @property
    def norm_bias(self) -> Tensor | None:
        """[d]"""
        ...

    @property
    def eps(self) -> float:
        """Added to the mean square under the root of every norm."""
        ...

    @property
    def post_gain(self) -> Tensor | None:
        """[d] Of the RMSNorm on the output."""
        ...

    @property
    def q_gain(self) -> Tensor | None:
        """[d_head] Of the RMSNorm on queries."""
        ...

    @property
    def k_gain(self) -> Tensor | None:
        """[d_head] Of the RMSNorm on keys."""
        ...

    @property
    def scale(self) -> float:
        """Factor on query . key."""
        ...

    @property
    def softcap(self) -> float | None:
        """Bound of the logit."""
        ...

    @property
    def rope(self) -> Rotation | None:
        """The block's rotation."""
        ...
