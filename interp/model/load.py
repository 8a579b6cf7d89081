"""Load a model as a TransformerBridge whose hook names mean the same in every family.

1. Resolve what was asked for to a HuggingFace module and a fast tokenizer: a hub id, a directory,
   a GGUF file (through its converted copy), a local model by name, or a module in memory.
2. Of a multimodal model keep the text part, sharing its weights.
3. Boot the bridge in raw mode: HookedTransformer's names over unchanged weights, logits equal to
   HuggingFace's. `fold=True` folds and centres the weights as HookedTransformer did.
4. Give strings handed to the bridge the tokens that the tokenizer itself gives: TransformerLens
   would prepend BOS by family, which moves every position by one without a word.
5. Check the result (`interp.model.conformance`) and refuse a model whose names would lie.
"""

import copy
import os
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from interp.model.checkpoint import LOCAL_MODELS, converted, fetch
from interp.model.conformance import ConformanceError, conformance
from interp.model.source import (
    Source,
    hash_directory,
    hash_file,
    hash_parameters,
    hash_tokenizer,
)

Placement = str | torch.device


def load(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    revision: str | None = None,
    device: Placement | None = None,
    dtype: torch.dtype | None = None,
    device_map: str | dict | None = None,
    fold: bool = False,
    check: bool = True,
) -> TransformerBridge:
    """Load a model for interpretability work, ready for `run_with_cache` and `run_with_hooks`.

    Args:
        model: A name from `LOCAL_MODELS`, a GGUF file, a checkpoint directory, a hub id, or a
            HuggingFace module in memory. A module in memory is wrapped in place: keep a copy of
            your own if you need it untouched.
        tokenizer: A fast tokenizer; required with a module in memory, else the model's own.
        revision: Branch, tag or commit on the hub.
        device: Defaults to the first GPU, else the CPU; a module in memory stays where it is.
        dtype: Defaults to bfloat16 on a GPU that has it, else float16 there, float32 on a CPU; a
            module in memory keeps its own.
        device_map: Passed to HuggingFace to spread a model over devices; excludes `device`.
        fold: Fold and centre the weights (TransformerLens's compatibility mode) to reproduce
            HookedTransformer's numbers. Costs memory, and moves residuals and bfloat16 logits.
        check: Refuse a model whose hook points break an identity that their names promise.

    Raises:
        ValueError: nothing is found under that name, the hub is out of reach, a directory holds
            no weights, a tokenizer is missing or slow, or `device` and `device_map` conflict.
        ConformanceError: a check failed; the message names it and the measured error.
    """
    if device is not None and device_map is not None:
        raise ValueError(f"give device={device!r} or device_map={device_map!r}, not both")
    own_tokenizer = tokenizer
    if isinstance(model, PreTrainedModel):
        hf, tokenizer, origin = _from_memory(model, tokenizer, device, dtype)
    else:
        where = device if device is not None or device_map is not None else _default_device()
        dtype = dtype or _default_dtype(where)
        hf, tokenizer, origin = _from_name(
            str(model), tokenizer, revision, where, dtype, device_map
        )
    bridge = _boot(_text_part(hf), tokenizer)
    if fold:
        bridge.enable_compatibility_mode()
    bridge.interp_source = Source(
        **origin,
        tokenizer=hash_tokenizer(tokenizer),
        dtype=str(bridge.cfg.dtype).removeprefix("torch."),
        folded=fold,
    )
    bridge.interp_loader = _again(model, origin, own_tokenizer, device, dtype, device_map, fold)
    if check and not (report := conformance(bridge)).passed:
        raise ConformanceError(report)
    return bridge


def checkpoint_directory(name: str | Path, *, revision: str | None = None) -> Path:
    """The directory of `config.json` and safetensors of what a user names, without building a
    model, for methods that read weights alone.

    A directory is taken as it is and none of its files is read. A local name or a GGUF file gives
    its converted copy; a hub id is downloaded, JSON and safetensors only, into the hub's cache.

    Args:
        name: As `load` takes it: a local name, GGUF file, checkpoint directory or hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        ValueError: nothing is found under that name, the hub is out of reach, or a directory
            holds no `config.json` or no safetensors.
    """
    path = Path(name).expanduser()
    if path.is_dir() and str(name) not in LOCAL_MODELS:
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            raise _no_checkpoint(path)
        return path
    place, origin = _locate(str(name))
    if origin["kind"] != "hub":
        return Path(place)
    try:
        found = snapshot_download(
            place, revision=revision, allow_patterns=["*.json", "*.safetensors"]
        )
    except (OSError, ValueError) as error:  # a name the hub would not take is a ValueError
        raise ValueError(_hub_message(place, error)) from error
    return Path(found)


def _again(
    model: str | Path | PreTrainedModel,
    origin: dict,
    tokenizer: PreTrainedTokenizerFast | None,
    device: Placement | None,
    dtype: torch.dtype | None,
    device_map: str | dict | None,
    fold: bool,
) -> partial[TransformerBridge] | None:
    """The same model once more, in whatever process calls it; it has passed its check. None for a
    model from memory, which no other process can load."""
    if isinstance(model, PreTrainedModel):
        return None
    where = Path(model).expanduser()
    return partial(
        load,
        str(where.resolve()) if where.exists() and model not in LOCAL_MODELS else str(model),
        tokenizer=tokenizer,
        revision=origin["revision"],
        # another process may see other GPUs, and by other numbers
        device=None if device is None else torch.device(device).type,
        dtype=dtype,
        device_map=device_map,
        fold=fold,
        check=False,
    )


def _default_device() -> Placement:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _default_dtype(device: Placement | None) -> torch.dtype:
    on_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    if not on_gpu:
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _from_memory(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast | None,
    device: Placement | None,
    dtype: torch.dtype | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict]:
    if tokenizer is None:
        raise ValueError(f"a {type(model).__name__} in memory needs its tokenizer=")
    if offloaded := [name for name, p in model.named_parameters() if p.is_meta]:
        raise ValueError(
            f"{len(offloaded)} weights of the {type(model).__name__} in memory are offloaded, so "
            f"that nothing tells this model from another ({offloaded[0]} first); load it by name "
            "or directory with device_map=, where its files do"
        )
    hashes = hash_parameters(model)
    if device is not None or dtype is not None:
        model = model.to(device=device, dtype=dtype)  # pyright: ignore[reportCallIssue]
    origin = {"name": type(model).__name__, "kind": "memory", "revision": None, "files": hashes}
    return model, tokenizer, origin


def _from_name(
    name: str,
    tokenizer: PreTrainedTokenizerFast | None,
    revision: str | None,
    device: Placement | None,
    dtype: torch.dtype,
    device_map: str | dict | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict]:
    place, origin = _locate(name)
    try:
        hf = AutoModelForCausalLM.from_pretrained(
            place,
            revision=revision or "main",
            dtype=dtype,
            attn_implementation="eager",
            device_map=device_map,
        )
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(place, revision=revision or "main")
    except OSError as error:
        raise ValueError(_hub_message(name, error)) from error
    if origin["kind"] == "hub":
        origin["revision"] = getattr(hf.config, "_commit_hash", None) or revision
        origin["files"] = {"commit": str(origin["revision"])}
    if device is not None:
        hf = hf.to(torch.device(device))  # pyright: ignore[reportArgumentType]
    return hf, tokenizer, origin


def _locate(name: str) -> tuple[str, dict]:
    """What to hand to `from_pretrained`, and the part of the source that is known before it."""
    path = Path(name).expanduser()
    if name in LOCAL_MODELS:
        path = fetch(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"no GGUF file at {path}")
        files = {path.name: hash_file(path)}
        origin = {"name": name, "kind": "gguf", "revision": None, "files": files}
        return str(converted(path)), origin
    if path.is_dir():
        hashes = hash_directory(path)
        if "config.json" not in hashes or not any(f.endswith(("tensors", "bin")) for f in hashes):
            raise _no_checkpoint(path)
        return str(path), {"name": name, "kind": "directory", "revision": None, "files": hashes}
    if name.startswith((".", "~", os.sep)) or name.count("/") > 1 or " " in name:
        raise ValueError(f"unknown model {name!r}: no such directory or file. {_choices()}")
    return name, {"name": name, "kind": "hub", "revision": None, "files": {}}


def _no_checkpoint(path: Path) -> ValueError:
    return ValueError(
        f"{path} holds no checkpoint: it needs config.json and *.safetensors; "
        f"found {', '.join(sorted(p.name for p in path.iterdir())) or 'nothing'}"
    )


def _choices() -> str:
    return (
        f"Without the hub there are: {', '.join(LOCAL_MODELS)}, a checkpoint directory, "
        "a GGUF file, or a HuggingFace model in memory"
    )


def _hub_message(name: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    if "valid model identifier" in reason:
        return (
            f"unknown model {name!r}: the hub does not have it, or not for this login. {_choices()}"
        )
    return f"cannot load {name!r} from the hub: {reason} {_choices()}"


def _text_part(hf: PreTrainedModel) -> PreTrainedModel:
    """The causal language model inside a multimodal one, sharing its modules."""
    text_config = hf.config.get_text_config(decoder=True)
    if text_config is hf.config:
        return hf
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(text_config)
    setattr(text, text.base_model_prefix, hf.get_decoder())
    text.set_output_embeddings(hf.get_output_embeddings())
    return text


def _boot(hf: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> TransformerBridge:
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is not a fast tokenizer; offsets need one (use_fast=True)"
        )
    hf.eval()
    hf.config.architectures = [type(hf).__name__]  # some configs lack it, and the adapter needs it
    tokenizer = copy.deepcopy(tokenizer)
    # TransformerLens would otherwise load the tokenizer anew from its name, with BOS switched on
    name = tokenizer.init_kwargs.setdefault("name_or_path", tokenizer.name_or_path or "in-memory")
    tokenizer.init_kwargs["add_bos_token"] = True
    first = next(hf.parameters())
    try:
        bridge = TransformerBridge.boot_transformers(
            name, hf_model=hf, tokenizer=tokenizer, device=str(first.device), dtype=first.dtype
        )
    except NotImplementedError as error:  # quantised weights that it would have to take apart
        raise ValueError(f"a {type(hf).__name__} like this cannot be wrapped: {error}") from error
    bridge.cfg.default_prepend_bos = bridge.cfg.tokenizer_prepends_bos
    bridge.tokenizer.padding_side = "right"
    return bridge
