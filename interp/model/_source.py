"""Where a model came from, and what it computes now.

What was loaded is noted once. What a store may be shared by is taken anew whenever it is asked for:
weights are edited and trained, a model is folded or cast, its tokenizer is told to add a token, and
none of that may pass for the model of before.

1. `Origin` says what was asked for: a name, files and their hashes, a commit.
2. `source(model)` adds what determines activations now: every parameter and buffer by its bytes
   (SHA-256, about 1.3 GB/s a core), the configuration, the classes of its modules, the tokenizer.
3. `Source.digest` is over the second part alone: one model under two names, from a directory or in
   memory, has one digest.

Weights that are offloaded have no bytes in memory, and nothing here can edit them: they are known
by the hashes of the files they lie in.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from interp.files import sha256
from interp.model._settings import settings, state_of_length

WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.json")

RUNTIME = ("truncation", "padding")
"""Entries of a tokenizer's definition that a call of it sets, and that ids of a text alone do not
depend on."""

PIECE = 64_000_000
"""Bytes of a tensor that are hashed at a time, and copied from a GPU for it."""


@dataclass(frozen=True)
class Origin:
    """What was asked for."""

    name: str
    """What `load` was asked for, or the class name of a model handed over in memory."""
    kind: str
    """`hub`, `directory`, `gguf` or `memory`."""
    revision: str | None = None
    """The hub's commit, where there is one."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name, where it came from files."""
    random_seed: int | None = None
    """Of weights drawn in place of the trained ones."""
    quantised: str | None = None
    """`4bit` or `8bit` where weights were quantised as they were read."""


@dataclass(frozen=True, kw_only=True)
class Source(Origin):
    """What was loaded, and what it computes: enough to say whether two stores hold activations of
    one model."""

    parameters: str
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    config: str
    """SHA-256 over the configurations, and the classes and attributes of all modules."""
    tokenizer: str
    """SHA-256 of the fast tokenizer's definition."""
    dtype: str
    """The dtype the model computes in."""
    folded: bool
    """Whether the weights were folded and centred as HookedTransformer's were."""

    def as_dict(self) -> dict:
        """A JSON-ready copy."""
        return asdict(self) | {"files": dict(self.files)}

    def digest(self) -> str:
        """SHA-256 over what determines the activations; where the model came from does not."""
        origin = {entry.name for entry in fields(Origin)}
        relevant = {key: value for key, value in self.as_dict().items() if key not in origin}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, without reading it into memory. A file of the hub's cache is a link to a
    blob that already bears that hash as its name."""
    blob = path.resolve().name
    if path.is_symlink() and len(blob) == 64 and all(c in "0123456789abcdef" for c in blob):
        return blob
    return sha256(path)


def hash_directory(directory: Path) -> dict[str, str]:
    """SHA-256 by name of the weights and configuration files of a checkpoint."""
    files = {path for pattern in WEIGHT_PATTERNS for path in directory.glob(pattern)}
    return {path.name: hash_file(path) for path in sorted(files)}


def origin(model: TransformerBridge) -> Origin:
    """Where a model came from, as `load` noted it."""
    noted = getattr(model, "interp_origin", None)
    return noted or Origin(type(model.original_model).__name__, "memory")


def source(model: TransformerBridge) -> Source:
    """Where a model came from, as `load` noted it, and what it computes now."""
    noted = origin(model)
    return Source(
        **vars(noted),
        parameters=hash_parameters(model, noted.files),
        config=_hash_config(model),
        tokenizer=hash_tokenizer(model.tokenizer),
        dtype=str(model.cfg.dtype).removeprefix("torch."),
        folded=bool(model.compatibility_mode),
    )


def hash_parameters(model: torch.nn.Module, files: Mapping[str, str]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers.

    Args:
        model: A bridge or any other module; a tensor that several names share counts once.
        files: Hashes that stand for weights that are offloaded.

    Raises:
        ValueError: weights are offloaded, and no file's hash is known.
    """
    tensors = [*model.named_parameters(), *_buffers(model)]
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing leaves the interpreter to others
        hashes = list(pool.map(lambda named: _hash_tensor(named[1]), tensors))
    digest = hashlib.sha256()
    for (name, tensor), known in sorted(
        zip(tensors, hashes, strict=True), key=lambda row: row[0][0]
    ):
        if known is None and not files:
            raise ValueError(
                f"{name} is offloaded and no file's hash stands for it: nothing tells this model "
                "from another; load it by name or directory with device_map="
            )
        digest.update(
            f"{name} {tensor.dtype} {tuple(tensor.shape)} {known or 'offloaded'}\n".encode()
        )
        if known is None:
            digest.update(json.dumps(dict(files), sort_keys=True).encode())
    return digest.hexdigest()


def _buffers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Buffers by name, but for those that keep what the last text's length made of them."""
    for name, buffer in model.named_buffers():
        parent, _, own = name.rpartition(".")
        if not state_of_length(model.get_submodule(parent), own):
            yield name, buffer


def _hash_tensor(tensor: torch.Tensor) -> str | None:
    if tensor.is_meta:
        return None
    digest = hashlib.sha256()
    flat = tensor.detach().contiguous().reshape(-1)
    # numpy has no bfloat16, so the bytes are read through a view of bytes
    for piece in flat.view(torch.uint8).split(PIECE) if flat.numel() else ():
        digest.update(piece.cpu().numpy().data)
    return digest.hexdigest()


def _hash_config(model: TransformerBridge) -> str:
    """Configurations, classes and attributes: what the same weights are put through."""
    return hashlib.sha256(settings(model).encode()).hexdigest()


def hash_tokenizer(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of what determines a fast tokenizer's ids of a text: its definition without what a
    call of it leaves behind, and whether it adds special tokens."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    for entry in RUNTIME:
        definition.pop(entry, None)
    told = ("add_bos_token", "add_eos_token", "split_special_tokens")
    adds = [getattr(tokenizer, name, None) for name in told]
    text = json.dumps([definition, adds], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
