"""What reading attention costs: bytes needed beside the bytes a checkpoint holds."""

from dataclasses import dataclass
from pathlib import Path

from interp.weights._assembly import configured
from interp.weights._checkpoint import Checkpoint
from interp.weights._family import refuse_layouts, tensor_names


@dataclass(frozen=True)
class SizeReport:
    """Bytes of tensor data, in the dtype they are stored in."""

    bytes_needed: int
    """Of the attention and norm tensors of all blocks."""
    bytes_total: int
    """Of all tensors of the checkpoint."""
    blocks: int
    """Number of blocks."""


def size_report(path: str | Path) -> SizeReport:
    """How much of a checkpoint the attention weights of all its blocks are.

    Reads the files' headers only. Raises ValueError as `AttentionWeights.from_checkpoint` does.
    """
    checkpoint = Checkpoint(path)
    refuse_layouts(checkpoint.shards)
    family, config = configured(checkpoint)
    needed = {
        name
        for block in range(config.num_hidden_layers)
        for name in tensor_names(checkpoint.shards, family, config, block).values()
    }
    return SizeReport(
        bytes_needed=sum(map(checkpoint.size, needed)),
        bytes_total=sum(map(checkpoint.size, checkpoint.shards)),
        blocks=config.num_hidden_layers,
    )
