"""A model of which only the attention weights are read, a block at a time."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interp.files import sha256
from interp.weights._noise import perturbed
from interp.weights._record import AttentionWeights
from interp.weights._size import SizeReport, size_report


@dataclass(frozen=True)
class ModelWeights:
    """Attention weights of all blocks of a model that is never built."""

    label: str
    """Name of the model in figures and claims."""
    directory: Path
    """Directory of `config.json` and the shards."""
    size: SizeReport
    """Bytes needed and held, and the number of blocks."""
    shape: Mapping[str, int | str]
    """Facts in which two models must agree to be compared."""
    noise: float | None = None
    """Relative size of the noise on the weights; None for the model as it is."""
    seed: int = 0
    """Seed of the noise."""

    @classmethod
    def open(cls, directory: str | Path, *, label: str | None = None) -> "ModelWeights":
        """Weights of a checkpoint directory, checked from its headers and its first block.

        Raises:
            ValueError: as `AttentionWeights.from_checkpoint`, for the tensors of any block.
        """
        directory = Path(directory).expanduser()
        size = size_report(directory)
        first = AttentionWeights.from_checkpoint(directory, 0)
        shape = {
            "blocks": size.blocks,
            "width": first.W_Q.shape[1],
            "heads": first.n_heads,
            "key-value heads": first.n_kv_heads,
            "head width": first.W_Q.shape[2],
            "norm": first.norm,
            "norm on queries": "none" if first.q_gain is None else "RMSNorm",
        }
        return cls(directory.name if label is None else label, directory, size, shape)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.size.blocks

    @property
    def heads(self) -> int:
        """Number of query heads of a block."""
        return int(self.shape["heads"])

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads of a block."""
        return int(self.shape["key-value heads"])

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(self.shape["width"])

    def attention(self, block: int) -> AttentionWeights:
        """One block's attention in float32, with the noise if there is one. Raises ValueError as
        `AttentionWeights.from_checkpoint` does."""
        weights = AttentionWeights.from_checkpoint(self.directory, block)
        return weights if self.noise is None else perturbed(weights, self.noise, seed=self.seed)

    def with_noise(self, relative: float, *, seed: int = 0) -> "ModelWeights":
        """The model with `perturbed` weights in every block."""
        label = f"{self.label} with {100 * relative:g} % noise"
        return replace(self, label=label, noise=relative, seed=seed)

    def require_shape_of(self, other: "ModelWeights") -> None:
        """Raise ValueError for a model of another shape."""
        for fact, value in other.shape.items():
            if self.shape[fact] != value:
                raise ValueError(
                    f"the two models differ in {fact}: {other.label} has {value}, {self.label} has "
                    f"{self.shape[fact]}; compare models of one shape"
                )

    def fingerprint(self) -> dict[str, Any]:
        """What a manifest says of the model. Shards are known by their size and the SHA-256 of
        their header (names, dtypes, shapes and places of all tensors), not of their content:
        reading all of two large models would cost more than the scores themselves."""
        shards = sorted(self.directory.glob("*.safetensors"))
        return {
            "label": self.label,
            "directory": self.directory,
            "config.json SHA-256": sha256(self.directory / "config.json"),
            "shards (bytes, SHA-256 of the header, not of the content)": {
                path.name: [path.stat().st_size, _header_hash(path)] for path in shards
            },
            "bytes of attention and norm tensors": self.size.bytes_needed,
            "bytes of all tensors": self.size.bytes_total,
            "noise": self.noise,
        }


def _header_hash(shard: Path) -> str:
    with shard.open("rb") as stream:
        length = stream.read(8)
        return hashlib.sha256(length + stream.read(int.from_bytes(length, "little"))).hexdigest()
