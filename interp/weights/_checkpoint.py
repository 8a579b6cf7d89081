"""Tensors of a checkpoint directory, found by name and read one at a time.

Which files are read, and what a tensor costs, is known from the files' headers without reading it
(`interp.checkpoints`). Tensors are read by plain reads of their byte range: a mapped file is read
ahead in whole pages around what is asked for, about twice the bytes when a few tensors of each
block are wanted.
"""

import os
from pathlib import Path

import torch
from torch import Tensor

from interp.checkpoints import Entry, refuse_adapter, weight_entries

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
        self.directory = Path(directory).expanduser()
        """Where `config.json` and the shards lie."""
        self.bytes_read = 0
        """Bytes of tensor data read so far."""
        if not (self.directory / "config.json").is_file():
            raise ValueError(
                f"{self.directory} is not a checkpoint directory: it holds no config.json"
            )
        refuse_adapter(self.directory)
        self.shards, self._entries = weight_entries(self.directory)
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

    def _entry(self, name: str) -> Entry:
        if name not in self.shards:
            raise ValueError(f"{self.directory} holds no tensor {name!r}")
        shard = self.shards[name]
        if shard not in self._entries:
            raise ValueError(f"shard {shard} of {name!r} is missing in {self.directory}")
        if name not in self._entries[shard]:
            raise ValueError(
                f"the index says {name!r} lies in {shard}, which does not hold it, nor does any "
                f"other shard in {self.directory}"
            )
        return self._entries[shard][name]


def converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype` that shares no memory with a model it may come from."""
    return tensor.to(dtype, copy=True)
