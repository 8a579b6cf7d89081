"""Tensors of a checkpoint directory, found by name and read one at a time.

A safetensors file opens with the length of its header in 8 little-endian bytes and then the header,
JSON that gives each tensor's dtype, shape and byte range. So what a tensor costs is known without
reading it. A sharded checkpoint adds `model.safetensors.index.json`, which names the shard of every
tensor.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """The tensors of a directory written by `save_pretrained`, single or sharded.

    Raises ValueError for a directory without `config.json` or without safetensors.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        """Where `config.json` and the shards lie."""
        self.bytes_read = 0
        """Bytes of tensor data read so far."""
        self._sizes: dict[str, dict[str, int]] = {}
        if not (self.directory / "config.json").is_file():
            raise ValueError(
                f"{self.directory} is not a checkpoint directory: it holds no config.json"
            )
        self.shards = self._shards()
        """The shard of each tensor, by the tensor's name."""

    def size(self, name: str) -> int:
        """Bytes of one tensor, in the dtype it is stored in."""
        return self._sizes_of(name)[name]

    def read(self, name: str) -> Tensor:
        """One tensor as it is stored.

        Raises:
            ValueError: no such tensor, a missing shard, an index that names a tensor its shard
                does not hold, or a tensor of a dtype that is not floating point.
        """
        self.bytes_read += self.size(name)
        with safe_open(self.directory / self.shards[name], framework="pt") as shard:
            tensor = shard.get_tensor(name)
        if not tensor.is_floating_point():
            raise ValueError(
                f"{name!r} is stored as {tensor.dtype}; weights must be floating point"
            )
        return tensor

    def _shards(self) -> Mapping[str, str]:
        if (self.directory / INDEX).is_file():
            return json.loads((self.directory / INDEX).read_text())["weight_map"]
        if (self.directory / SINGLE).is_file():
            self._sizes[SINGLE] = tensor_sizes(self.directory / SINGLE)
            return dict.fromkeys(self._sizes[SINGLE], SINGLE)
        raise ValueError(f"{self.directory} holds neither {SINGLE} nor {INDEX}")

    def _sizes_of(self, name: str) -> dict[str, int]:
        if name not in self.shards:
            raise ValueError(f"{self.directory} holds no tensor {name!r}")
        shard = self.shards[name]
        if shard not in self._sizes:
            if not (self.directory / shard).is_file():
                raise ValueError(f"shard {shard} of {name!r} is missing in {self.directory}")
            self._sizes[shard] = tensor_sizes(self.directory / shard)
        if name not in self._sizes[shard]:
            raise ValueError(f"{INDEX} says {name!r} lies in {shard}, which does not hold it")
        return self._sizes[shard]


def tensor_sizes(path: Path) -> dict[str, int]:
    """Bytes of every tensor in a safetensors file, from its header alone."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    return {
        name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()
    }


def converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype` that owns its memory, so that the file's mapping can be dropped."""
    return tensor.to(dtype, copy=True)
