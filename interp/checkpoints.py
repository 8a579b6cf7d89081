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

from safetensors import SafetensorError, safe_open

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
DISTRIBUTED = "shard-*-model-*-of-*.safetensors"
"""Files of ranks, which transformers puts together before it looks for others."""
OTHERS = ("*.safetensors", "*.json", "*.bin", "*.pt", "*.pth", "*.gguf", "*/model*.safetensors")
"""What may lie where weights are missed, to be named."""

Entry = tuple[str, list[int], int, int]
"""Dtype, shape, first byte in the file and number of bytes of one tensor."""

POINTER = b"version https://"
"""How a pointer of git-lfs begins."""

KINDS = {b"PK": "a zip archive, as torch.save writes", b"GGUF": "a GGUF file"}
"""How files of other formats begin."""


def entries(path: Path) -> dict[str, Entry]:
    """Where every tensor of a file lies, from its header alone.

    Raises:
        ValueError: the file is missing, empty, a git-lfs pointer, cut, longer than its tensors, or
            no safetensors file; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        # the format's own reader: the header fits the file, and tensors fill it without a gap
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} {_what_is(path)} ({error})") from error
    with path.open("rb", buffering=0) as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], 8 + length + first, end - first)
        for name, entry in header.items()
        for first, end in (entry["data_offsets"],)
    }


def _what_is(path: Path) -> str:
    """What a file is that is not what its name says."""
    with path.open("rb") as stream:
        head = stream.read(200)
    if not head:
        return "is empty"
    if head.startswith(POINTER) and b"\n" in head:
        return "is a git-lfs pointer, not weights: fetch the file with `git lfs pull`"
    for mark, kind in KINDS.items():
        if head.startswith(mark):
            return f"is {kind}, not weights in safetensors"
    return f"is cut or no safetensors file: {path.stat().st_size} bytes"


def weight_entries(directory: Path) -> tuple[dict[str, str], dict[str, dict[str, Entry]]]:
    """The file of each tensor that transformers would read, and where it lies in it.

    Of the shards that an index names, all that they hold counts, wherever the index says that a
    tensor lies; of two copies that of the last shard. A missing shard matters only to whoever asks
    for what the index says lies there: it has no entries.

    Raises:
        ValueError: as `weight_files` and, for files that are there, as `entries`.
    """
    file, placed = weight_files(directory)
    if placed is None:
        held = {file: entries(directory / file)}
        return dict.fromkeys(held[file], file), held
    shards = sorted(set(placed.values()))
    held = {shard: entries(directory / shard) for shard in shards if (directory / shard).is_file()}
    files = placed | {name: shard for shard, names in held.items() for name in names}
    return files | {name: shard for name, shard in placed.items() if shard not in held}, held


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
    named = read_json(directory / "config.json") if "config.json" in names else None
    if isinstance(named, dict) and named.get("transformers_weights"):
        weights.append(named["transformers_weights"])
    if named is None or not weights:
        raise ValueError(
            f"{directory} holds no checkpoint: it needs config.json and {SINGLE} or {INDEX}; "
            f"found {', '.join(sorted(names)) or 'nothing'}"
        )
    if set(weights) <= set(TORCH):
        return  # PyTorch's own files have no such header
    file, shards = weight_files(directory)
    for shard in sorted(set(shards.values())) if shards else (file,):
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
    the single one, else the index. With an index, the shard of each tensor beside it.

    Raises:
        ValueError: there is none of them, and what there is instead; or ranks' parts.
    """
    if parts := sorted(path.name for path in directory.glob(DISTRIBUTED)):
        raise ValueError(
            f"{directory} holds {parts[0]}, one rank's part of the weights; save the whole model "
            "with save_pretrained"
        )
    config = read_json(directory / "config.json")
    if not isinstance(config, dict):
        raise ValueError(f"{directory / 'config.json'} holds no object")
    named = config.get("transformers_weights")
    file = named or next((name for name in (SINGLE, INDEX) if (directory / name).is_file()), None)
    if file is None or not (directory / file).is_file():
        wanted = f"{named}, which config.json names" if named else f"{SINGLE} and no {INDEX}"
        found = {path for pattern in OTHERS for path in directory.glob(pattern)}
        listed = ", ".join(sorted(str(path.relative_to(directory)) for path in found))
        raise ValueError(f"{directory} holds no {wanted}; it holds {listed}")
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
