"""Checkpoint directories: what lies in one, and whether it is whole, before a weight is read.

A safetensors file opens with the length of its header in 8 little-endian bytes and then the header,
JSON that gives each tensor's dtype, shape and byte range behind it. So a pointer of git-lfs, a file
that was cut, or a page of a failed download is told from weights without reading any. What
transformers would say of such a file is about its hub, or about nothing in particular; here the
file is named, and what to do.
"""

import json
from pathlib import Path
from typing import Any

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

Entry = tuple[str, list[int], int, int]
"""Dtype, shape, first byte in the file and number of bytes of one tensor."""

POINTER = b"version https://git-lfs"
"""How a pointer of git-lfs begins."""

LONGEST = 100_000_000
"""Bytes of the longest header that the format allows."""


def entries(path: Path) -> dict[str, Entry]:
    """Where every tensor of a file lies, from its header alone.

    Raises:
        ValueError: the file is missing, empty, a git-lfs pointer, cut, or no safetensors file; the
            message names it.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    size = path.stat().st_size
    with path.open("rb", buffering=0) as stream:
        head = stream.read(len(POINTER))
        if head == POINTER:
            raise ValueError(
                f"{path} is a git-lfs pointer, not weights: fetch the file with `git lfs pull`"
            )
        length = int.from_bytes(head[:8], "little")
        if size < 8 or length > min(size - 8, LONGEST):
            what = "is empty" if size == 0 else f"is cut or no safetensors file ({size} bytes)"
            raise ValueError(f"{path} {what}")
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        found = {
            name: (entry["dtype"], entry["shape"], 8 + length + first, end - first)
            for name, entry in header.items()
            for first, end in (entry["data_offsets"],)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no safetensors file: its header cannot be read") from error
    end = max((start + n_bytes for _, _, start, n_bytes in found.values()), default=8 + length)
    if end > size:
        raise ValueError(f"{path} is cut: it has {size} bytes, and its tensors end at {end}")
    return found


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises:
        ValueError: it is missing, empty or cut; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}): it may be cut") from None


def check_checkpoint(directory: Path) -> None:
    """Refuse a directory that `from_pretrained` would misread or fill up.

    Raises:
        ValueError: no config.json or weights, adapter files beside or instead of weights, a shard
            that is missing, cut or a git-lfs pointer; the message names the file.
    """
    refuse_adapter(directory)
    names = {path.name for path in directory.iterdir()}
    weights = [name for name in (SINGLE, INDEX, *TORCH) if name in names]
    if "config.json" not in names or not weights:
        raise ValueError(
            f"{directory} holds no checkpoint: it needs config.json and {SINGLE} or {INDEX}; "
            f"found {', '.join(sorted(names)) or 'nothing'}"
        )
    if not isinstance(read_json(directory / "config.json"), dict):
        raise ValueError(f"{directory / 'config.json'} holds no object")
    file, shards = weight_files(directory)
    in_torch = file == SINGLE and SINGLE not in names  # PyTorch's own files have no such header
    for shard in sorted(set(shards.values())) if shards else () if in_torch else (file,):
        entries(directory / shard)


def refuse_adapter(directory: Path) -> None:
    """Refuse a directory with an adapter's files: with peft installed, transformers would lay it
    over the weights without a word, and without peft leave it out.

    Raises:
        ValueError: names the files.
    """
    if adapters := [name for name in ADAPTERS if (directory / name).exists()]:
        raise ValueError(
            f"{directory} holds an adapter ({', '.join(adapters)}): merge it into its base first "
            "(peft: model.merge_and_unload().save_pretrained(...)), and load the directory of that"
        )


def weight_files(directory: Path) -> tuple[str, dict[str, str] | None]:
    """Where transformers would read a checkpoint's weights: the file that config.json names, else
    the single one, else the index. With an index, the shard of each tensor beside it."""
    named = read_json(directory / "config.json").get("transformers_weights")
    by_index = not (directory / SINGLE).exists() and (directory / INDEX).exists()
    file = named or (INDEX if by_index else SINGLE)
    return file, weight_map(directory / file) if file.endswith(".index.json") else None


def weight_map(index: Path) -> dict[str, str]:
    """The shard of each tensor, from an index.

    Raises:
        ValueError: the index is missing or cut, or has no map.
    """
    found = read_json(index)
    if not isinstance(found, dict) or not isinstance(found.get("weight_map"), dict):
        raise ValueError(f"{index} has no weight_map")
    return found["weight_map"]
