"""What a store of activations holds: two stores with equal plans hold equal activations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch

FORMAT = 1
"""Version of the layout on disk."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What activations may be stored as. Not float16: residual streams reach 1e5 in real models, and
float16 ends at 65,504."""


@dataclass(frozen=True)
class Plan:
    """What a store holds. Two stores with equal plans hold equal activations."""

    model: str
    """SHA-256 of what determines the activations: weights, tokenizer, dtype, folding."""
    texts: str
    """SHA-256 over texts and spans."""
    n_samples: int
    """Number of samples."""
    hooks: Mapping[str, Sequence[int]]
    """Hook names, and the shape of one activation under each."""
    positions: Sequence[str]
    """Names of the positions, in the order of the tensors' second axis."""
    rules: Sequence[Literal["last", "first", "mean"]]
    """For every position, which token of a span stands for it."""
    dtype: str
    """What activations are stored as."""
    shard_size: int
    """Samples per shard."""
    format: int = FORMAT
    """Version of the layout on disk."""

    def as_dict(self) -> dict:
        """A copy as JSON would give it back."""
        return json.loads(json.dumps(asdict(self), default=dict))

    def key(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def n_shards(self) -> int:
        """Number of shards, the last of which may be short."""
        return -(-self.n_samples // self.shard_size)

    def rows(self, shard: int) -> range:
        """Which places of the store's order a shard holds."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.n_samples))

    def bytes_per_sample(self) -> int:
        """Size of one sample's activations on disk."""
        width = sum(int(np.prod(shape)) for shape in self.hooks.values())
        return width * len(self.positions) * DTYPES[self.dtype].itemsize
