"""Where a model came from: the part of a result's provenance that only the loader knows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from interp.files import sha256

WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.json")


@dataclass(frozen=True)
class Source:
    """What was loaded: enough to say whether two stores hold activations of one model."""

    name: str
    """What `load` was asked for, or the class name of a model handed over in memory."""
    kind: str
    """`hub`, `directory`, `gguf` or `memory`."""
    revision: str | None
    """The hub's commit, where there is one."""
    files: Mapping[str, str]
    """SHA-256 by file name; a model in memory has one entry, `parameters`."""
    tokenizer: str
    """SHA-256 of the fast tokenizer's full definition."""
    dtype: str
    """The dtype the model computes in."""
    folded: bool
    """Whether the weights were folded and centred as HookedTransformer's were."""

    def as_dict(self) -> dict:
        """A JSON-ready copy."""
        return asdict(self) | {"files": dict(self.files)}

    def digest(self) -> str:
        """SHA-256 over what determines the activations; the name under which the model was asked
        for does not."""
        relevant = self.as_dict()
        for label in ("name", "kind", "revision"):
            del relevant[label]
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


def hash_parameters(model: torch.nn.Module) -> dict[str, str]:
    """SHA-256 over the configuration and the names, dtypes and values of all parameters."""
    config = getattr(model, "config", None)
    digest = hashlib.sha256(b"" if config is None else config.to_json_string().encode())
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{parameter.dtype}{tuple(parameter.shape)}".encode())
        # numpy has no bfloat16, so the bytes are read through a same-width view
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return {"parameters": digest.hexdigest()}


def hash_tokenizer(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of a fast tokenizer's whole definition."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def source(model: TransformerBridge) -> Source:
    """Where a model came from: as `load` recorded it, or, for a bridge booted elsewhere, from the
    parameters themselves."""
    recorded = getattr(model, "interp_source", None)
    if recorded is not None:
        return recorded
    hf = model.original_model
    return Source(
        name=type(hf).__name__,
        kind="memory",
        revision=None,
        files=hash_parameters(hf),
        tokenizer=hash_tokenizer(model.tokenizer),
        dtype=str(model.cfg.dtype).removeprefix("torch."),
        folded=bool(model.compatibility_mode),
    )
