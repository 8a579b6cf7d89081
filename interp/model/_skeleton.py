"""A model without its weights: what its configuration alone says.

The bridge stands on torch's meta device, where tensors have shapes and no numbers. Its `cfg`, its
hook points and its tokenizer are the model's own; it cannot be run.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import model_info
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from interp.model._checkpoint import LOCAL_MODELS, cached_gguf, tokenizer_of
from interp.model._given import UNTRAINED, check_name, true_name
from interp.model._load import boot, hub_message, text_part


@dataclass(frozen=True)
class Skeleton:
    """A model's architecture and the size of its files."""

    name: str
    """As it was asked for."""
    bridge: TransformerBridge
    """The model on the meta device."""
    bytes_on_disk: int | None
    """Of its weights' files; None where the hub does not say, 0 for random weights."""

    @property
    def parameters(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.bridge.original_model.parameters())


def skeleton(name: str, *, revision: str | None = None) -> Skeleton:
    """The model that `load` would give, without reading a weight.

    Args:
        name: As `load` takes it.
        revision: Branch, tag or commit on the hub.

    Raises:
        ValueError: nothing is found under that name, or a local model that is not fetched yet.
    """
    check_name(name, revision=revision)
    place = _gguf(true_name(name)) or Path(true_name(name)).expanduser()
    on_hub = not place.exists()
    where = {"revision": revision or "main"} if on_hub else {}
    named = true_name(name) if on_hub else str(place)
    try:
        if place.suffix.lower() == ".gguf":
            config = AutoConfig.from_pretrained(place.parent, gguf_file=place.name)
            tokenizer = tokenizer_of(place)
        else:
            config = AutoConfig.from_pretrained(named, **where)
            tokenizer = AutoTokenizer.from_pretrained(named, **where)
    except OSError as error:
        raise ValueError(hub_message(name, error)) from error
    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32
        )
    size = 0 if name.startswith(UNTRAINED) else _size(place, named, where.get("revision"))
    return Skeleton(name, boot(text_part(hf), tokenizer, fold=False), size)


def _gguf(name: str) -> Path | None:
    """The file of a local model."""
    if name not in LOCAL_MODELS:
        return None
    file = cached_gguf(name)
    if file is None:
        raise ValueError(f"{name} is not fetched yet: python -m interp.model fetch {name}")
    return file


def _size(place: Path, named: str, revision: str | None) -> int | None:
    if place.is_file():
        return place.stat().st_size
    if place.is_dir():
        return sum(file.stat().st_size for file in place.glob("*.safetensors"))
    siblings = model_info(named, revision=revision, files_metadata=True).siblings or []
    sizes = [file.size for file in siblings if file.rfilename.endswith(".safetensors")]
    return sum(size for size in sizes if size is not None) or None
