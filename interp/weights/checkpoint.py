"""The tensors of a checkpoint directory, found by name and read one at a time.

What is read is what transformers' `from_pretrained` would read, in its order:

1. the file that `config.json` names as `transformers_weights`, if it names one;
2. `model.safetensors`, whatever index lies beside it: a model saved over a larger one leaves that
   one's index behind;
3. the shards that `model.safetensors.index.json` names, and of these all that they hold. Where a
   tensor lies is told by the shards' headers; of two copies the last shard's counts.

A safetensors file opens with the length of its header in 8 little-endian bytes and then the header,
JSON that gives each tensor's dtype, shape and byte range. So what a tensor costs is known without
reading it. Tensors are read by plain reads of their byte range: a mapped file is read ahead in
whole pages around what is asked for, about twice the bytes when a few tensors of each block are
wanted.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
DISTRIBUTED = "shard-*-model-*-of-*.safetensors"
"""Files of ranks, which transformers puts together before anything else."""
OTHERS = ("*.safetensors", "*.json", "*.bin", "*.pt", "*.pth", "*.gguf", "*/model*.safetensors")
"""What may lie in a directory in place of weights that can be read, to be named."""
POINTER = b"version https://"
"""How a git-lfs pointer opens, which stands in for a file that was not fetched."""
FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Names of the dtypes that weights may have, in the file's header."""
Entry = tuple[str, list[int], int, int]
"""Dtype, shape, first byte and number of bytes of one tensor in its file."""


class Checkpoint:
    """The tensors of a directory written by `save_pretrained`, single or sharded.

    Raises ValueError for a directory without `config.json` or without safetensors, one that holds
    an adapter, and for files that are not what their name says, each by its name.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory).expanduser()
        """Where `config.json` and the shards lie."""
        self.bytes_read = 0
        """Bytes of tensor data read so far."""
        self._entries: dict[str, dict[str, Entry]] = {}
        if not (self.directory / "config.json").is_file():
            raise ValueError(
                f"{self.directory} is not a checkpoint directory: it holds no config.json"
            )
        if (self.directory / ADAPTER).is_file():
            raise ValueError(
                f"{self.directory} holds {ADAPTER}: its model is a base with an adapter; merge "
                "them (merge_and_unload) and save the result to a directory of its own"
            )
        if any(self.directory.glob(DISTRIBUTED)):
            raise ValueError(
                f"{self.directory} holds {DISTRIBUTED}, one rank's part each; save the whole model "
                "with save_pretrained"
            )
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
        explicit = json_object(self.directory / "config.json").get("transformers_weights")
        for name in [explicit] if explicit else [SINGLE, INDEX]:
            if (self.directory / name).is_file():
                return self._indexed(name) if name.endswith(".index.json") else self._of(name)
        wanted = f"{explicit}, which config.json names" if explicit else f"{SINGLE} and no {INDEX}"
        found = {path for pattern in OTHERS for path in self.directory.glob(pattern)}
        names = sorted(str(path.relative_to(self.directory)) for path in found)
        raise ValueError(
            f"{self.directory} holds no {wanted}; it holds {', '.join(names)}. Save the model with "
            "save_pretrained, which writes safetensors"
        )

    def _indexed(self, index: str) -> Mapping[str, str]:
        placed = json_object(self.directory / index).get("weight_map")
        if not isinstance(placed, dict):
            raise ValueError(f"{self.directory / index} holds no weight_map: no index of shards")
        lies = {name: (self.directory / name).is_file() for name in set(placed.values())}
        held: dict[str, str] = {}
        for shard in sorted(name for name, there in lies.items() if there):
            held |= self._of(shard)
        # a missing shard matters only to whoever asks for what lies there
        return placed | held | {name: shard for name, shard in placed.items() if not lies[shard]}

    def _of(self, shard: str) -> dict[str, str]:
        self._entries[shard] = entries(self.directory / shard)
        return dict.fromkeys(self._entries[shard], shard)

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


def entries(path: Path) -> dict[str, Entry]:
    """Where every tensor of a safetensors file lies, from its header alone.

    Raises ValueError for a file that is none, is cut, or goes on past its last tensor.
    """
    try:
        # the format's own reader: the header fits the file, and the tensors fill it without a gap
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is {_what(path)}, not weights in safetensors ({error})"
        ) from error
    with path.open("rb", buffering=0) as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        found[name] = (entry["dtype"], entry["shape"], 8 + length + first, end - first)
    return found


def json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ValueError, naming the file, if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is {_what(path)}, not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def _what(path: Path) -> str:
    """What a file is that is not what its name says."""
    with path.open("rb") as stream:
        head = stream.read(200)
    if head.startswith(POINTER) and b"\noid " in head:
        return "a git-lfs pointer"
    for mark, kind in ((b"PK", "a zip archive, as torch.save writes"), (b"GGUF", "a GGUF file")):
        if head.startswith(mark):
            return kind
    return f"a file of {path.stat().st_size} bytes, cut or damaged" if head else "an empty file"


def converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype` that shares no memory with a model it may come from."""
    return tensor.to(dtype, copy=True)
