"""One or two checkpoints, opened for their attention weights and read a block at a time."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interp.files import sha256
from interp.model import checkpoint_directory
from interp.weights import AttentionWeights, SizeReport, size_report


@dataclass(frozen=True)
class Checkpoint:
    """A model that is read and never run."""

    label: str
    """What figures and claims call it."""
    directory: Path
    """Where `config.json` and the shards lie."""
    size: SizeReport
    """Bytes needed and held, and the number of blocks."""
    shape: Mapping[str, int | str | None]
    """Facts in which two models must agree."""
    noise: float | None = None
    """Relative size of the noise on its attention weights; None for the model as it is."""
    seed: int = 0
    """Of the noise."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.size.blocks

    @property
    def heads(self) -> int:
        """Query heads of a block."""
        return int(self.shape["heads"] or 0)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(self.shape["width"] or 0)

    def weights(self, block: int) -> AttentionWeights:
        """One block's attention, in float32, with the noise if there is one."""
        weights = AttentionWeights.from_checkpoint(self.directory, block)
        return weights if self.noise is None else perturbed(weights, self.noise, self.seed)

    def fingerprint(self) -> dict[str, Any]:
        """What the manifest says of it. Shards are known by their size and the SHA-256 of their
        header (names, dtypes, shapes and places of all tensors), not of their content: reading
        all of two large models would cost more than the study itself."""
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


def open_checkpoint(name: str, *, revision: str | None = None) -> Checkpoint:
    """A checkpoint whose every needed tensor is there, told from the headers alone.

    Raises ValueError for an unknown name, an architecture or layout that is not supported, a
    missing shard, or a tensor that is missing.
    """
    directory = checkpoint_directory(name, revision=revision)
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
    label = name if not Path(name).expanduser().exists() else Path(name).expanduser().stem
    return Checkpoint(label, directory, size, shape)


def open_other(
    base: Checkpoint,
    instruct: str | None,
    perturb: float | None,
    *,
    revision: str | None,
    seed: int,
) -> Checkpoint | None:
    """What the base is compared with: a tuned model, the base itself with noise, or nothing.

    Raises ValueError as `open_checkpoint` does, and for models of two shapes.
    """
    if perturb is not None:
        label = f"{base.label} with {100 * perturb:g} % noise"
        return replace(base, label=label, noise=perturb, seed=seed)
    if instruct is None:
        return None
    other = open_checkpoint(instruct, revision=revision)
    for fact, value in base.shape.items():
        if other.shape[fact] != value:
            raise ValueError(
                f"the two models differ in {fact}: {base.label} has {value}, {other.label} has "
                f"{other.shape[fact]}; compare models of one shape"
            )
    if other.label == base.label:  # two directories of one name in different places
        other = replace(other, label=f"{other.label} (tuned)")
    return other


def perturbed(weights: AttentionWeights, noise: float, seed: int) -> AttentionWeights:
    """Gaussian noise on the four projections, its standard deviation `noise` times the root mean
    square of each head's weights: a change of which no part is aimed at anything."""
    # a stream of its own for each block, so that reading a block does not depend on the others
    generator = torch.Generator().manual_seed(seed * 100_003 + weights.block)

    def noisy(weight: torch.Tensor) -> torch.Tensor:
        size = weight.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
        drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        return weight + noise * size * drawn

    return replace(
        weights,
        W_Q=noisy(weights.W_Q),
        W_K=noisy(weights.W_K),
        W_V=noisy(weights.W_V),
        W_O=noisy(weights.W_O),
    )


def _header_hash(shard: Path) -> str:
    with shard.open("rb") as stream:
        length = stream.read(8)
        return hashlib.sha256(length + stream.read(int.from_bytes(length, "little"))).hexdigest()
