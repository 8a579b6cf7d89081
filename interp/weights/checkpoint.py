"""Tensors of a checkpoint directory, found by name and read one at a time.

What a tensor costs is known from its file's header (`interp.checkpoints`) without reading it. A
sharded checkpoint adds an index, which names the shard of every tensor; where a single file lies
beside an index, the file counts, as in transformers. Tensors are read by plain reads of their byte
range: a mapped file is read ahead in whole pages around what is asked for, about twice the bytes
when a few tensors of each block are wanted.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from interp.checkpoints import INDEX, SINGLE, Entry, entries, refuse_adapter, weight_files

FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Names of the dtypes that weights may have, in the file's header."""


class Checkpoint:
    """The tensors of a directory written by `save_pretrained`, single or sharded.

    Raises ValueError for a directory without `config.json` or without safetensors.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        """Where `config.json` and the shards lie."""
        self.bytes_read = 0
        """Bytes of tensor data read so far."""
        self._entries: dict[str, dict[str, Entry]] = {}
        if not (self.directory / "config.json").is_file():
            raise ValueError(
                f"{self.directory} is not a checkpoint directory: it holds no config.json"
            )
        refuse_adapter(self.directory)
        self.shards = self._shards()
        """The shard of each tensor, by the tensor's name."""

    def size(self, name: str) -> int:
        """Bytes of one tensor, in the dtype it is stored in."""
        return self._entry(name)[-1]

    def read(self, name: str) -> Tensor:
        """One tensor as it is stored.

        Raises:
            ValueError: no such tensor, a missing shard, an index that names a tensor its shard
                does not hold, or a tensor of a dtype that is not floating point.
        """
        dtype, shape, start, size = self._entry(name)
        if dtype not in FLOATS:
            raise ValueError(f"{name!r} is stored as {dtype}; weights must be floating point")
        data = memoryview(bytearray(size))
        # unbuffered, and without the kernel's read-ahead: both would read on past the tensor
        with (self.directory / self.shards[name]).open("rb", buffering=0) as stream:
            if hasattr(os, "posix_fadvise"):  # macOS has none
                os.posix_fadvise(stream.fileno(), start, size, os.POSIX_FADV_RANDOM)
            stream.seek(start)
            filled = 0
            while filled < size:  # one read takes 2 GB at most
                if not (got := stream.readinto(data[filled:])):
                    raise ValueError(f"{self.shards[name]} ends before {name!r} does")
                filled += got
        self.bytes_read += size
        return torch.frombuffer(data, dtype=FLOATS[dtype]).reshape(shape)

    def _shards(self) -> Mapping[str, str]:
        file, shards = weight_files(self.directory)
        if shards is not None:
            return shards
        if not (self.directory / file).exists():
            raise ValueError(f"{self.directory} holds neither {SINGLE} nor {INDEX}")
        self._entries[file] = entries(self.directory / file)
        return dict.fromkeys(self._entries[file], file)

    def _entry(self, name: str) -> Entry:
        if name not in self.shards:
            raise ValueError(f"{self.directory} holds no tensor {name!r}")
        shard = self.shards[name]
        if shard not in self._entries:
            if not (self.directory / shard).is_file():
                raise ValueError(f"shard {shard} of {name!r} is missing in {self.directory}")
            self._entries[shard] = entries(self.directory / shard)
        if name not in self._entries[shard]:
            raise ValueError(f"{INDEX} says {name!r} lies in {shard}, which does not hold it")
        return self._entries[shard][name]


def converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype` that shares no memory with a model it may come from."""
    return tensor.to(dtype, copy=True)
