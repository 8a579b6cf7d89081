"""Load a model as a TransformerBridge whose hook names mean the same in every family.

1. Resolve what was asked for to a HuggingFace module and a fast tokenizer: a hub id, a directory,
   a GGUF file (through its converted copy), a local model by name, or a module in memory
   (`interp.model._given` refuses what is none of these, `interp.checkpoints` broken files).
2. Of a multimodal model keep the text part, sharing its weights.
3. Boot the bridge in raw mode: HookedTransformer's names over unchanged weights, logits equal to
   HuggingFace's. `fold=True` folds and centres the weights as HookedTransformer did.
4. Give strings handed to the bridge the tokens that the tokenizer itself gives: TransformerLens
   would prepend BOS by family, which moves every position by one without a word.
5. Check the result (`interp.model.conformance`) and refuse a model whose names would lie.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils.hub import cached_file

from interp.checkpoints import ADAPTERS, check_checkpoint
from interp.model._checkpoint import LOCAL_MODELS, OLD_NAMES, converted, fetch, require_all_weights
from interp.model._conformance import ConformanceError, conformance
from interp.model._given import (
    UNTRAINED,
    Bits,
    check_device,
    check_module,
    check_name,
    check_quantise,
    choices,
    refusal,
    true_name,
)
from interp.model._source import Origin, hash_directory, hash_file, source

Placement = str | torch.device
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Dtypes that may be asked for by name."""


def load(
    model: object,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    revision: str | None = None,
    device: Placement | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: str | dict | None = None,
    quantise: Bits | None = None,
    weights: str = "trained",
    seed: int | None = None,
    fold: bool = False,
    check: bool = True,
) -> TransformerBridge:
    """Load a model for interpretability work, ready for `run_with_cache` and `run_with_hooks`.

    Args:
        model: A name (str or Path): one from `LOCAL_MODELS`, a GGUF file, a checkpoint directory, a
            hub id; or a HuggingFace model in memory. That is wrapped in place: keep a copy of your
            own if you need it untouched.
        tokenizer: A fast tokenizer; required with a module in memory, else the model's own.
        revision: Branch, tag or commit on the hub.
        device: Defaults to the first GPU, else the CPU; a module in memory stays where it is.
        dtype: A torch dtype, or `float32`, `bfloat16` or `float16`. Defaults to bfloat16 on a GPU
            that has it, else float16 there, float32 on a CPU; a module in memory keeps its own.
        device_map: Passed to HuggingFace to spread a model over devices; excludes `device`.
        quantise: `4bit` (NF4) or `8bit`: bitsandbytes quantises weights as they are read. `8bit`
            has threshold 0: with outliers apart, a text's activations depend on its batch.
        weights: `trained`, or `random` for weights as they are before training, as a control; a
            name after `random:` asks for them as well.
        seed: Of random weights, 0 by default.
        fold: Fold and centre the weights (compatibility mode) to reproduce HookedTransformer's
            numbers. Costs memory, and moves residuals and bfloat16 logits.
        check: Refuse a model whose hook points break an identity that their names promise.

    Raises:
        ValueError: nothing is found under that name, the hub is out of reach, a file is missing,
            cut or a pointer, weights are missing, an adapter waits to be merged, an object is no
            model, a tokenizer is missing or slow, or an argument cannot apply.
        ConformanceError: a check failed; the message names it and the measured error.
    """
    if isinstance(model, str) and model.startswith(UNTRAINED):
        model, weights = model.removeprefix(UNTRAINED), "random"
    _check_arguments(model, tokenizer, revision, device, device_map, quantise, weights, seed)
    dtype = _dtype(dtype)
    if isinstance(model, PreTrainedModel):
        hf, own, origin = _from_memory(model, tokenizer, device, dtype)
    else:
        random_seed = seed or 0 if weights == "random" else None
        how = _How.of(revision, device, dtype, device_map, random_seed, quantise)
        hf, own, origin, dtype = *_from_name(true_name(str(model)), tokenizer, how), how.dtype
    bridge = boot(text_part(hf), own, fold=fold)
    bridge.interp_origin = origin
    bridge.interp_source = source(bridge)
    again = {"dtype": dtype, "device_map": device_map, "quantise": quantise, "fold": fold}
    bridge.interp_loader = _again(model, origin, tokenizer, device, again)
    if check and not (report := conformance(bridge)).passed:
        raise ConformanceError(report)
    return bridge


@dataclass(frozen=True)
class _How:
    """Where and how a model by name is put into memory."""

    revision: str | None
    device: Placement | None
    dtype: torch.dtype
    device_map: str | dict | None
    random_seed: int | None
    quantise: Bits | None

    @classmethod
    def of(
        cls,
        revision: str | None,
        device: Placement | None,
        dtype: torch.dtype | None,
        device_map: str | dict | None,
        random_seed: int | None,
        quantise: Bits | None,
    ) -> "_How":
        """With the defaults of this machine."""
        where = device if device is not None or device_map is not None else _default_device()
        dtype = dtype or _default_dtype(where)
        return cls(revision, where, dtype, device_map, random_seed, quantise)


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if not isinstance(dtype, str):
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r}; choose from {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _check_arguments(
    model: object,
    tokenizer: object,
    revision: str | None,
    device: Placement | None,
    device_map: str | dict | None,
    quantise: str | None,
    weights: str,
    seed: int | None,
) -> None:
    if device is not None and device_map is not None:
        raise ValueError(f"give device={device!r} or device_map={device_map!r}, not both")
    check_device(device)
    if weights not in ("trained", "random"):
        raise ValueError(f"weights = {weights!r}; choose from trained, random")
    if seed is not None and weights != "random":
        raise ValueError(f"seed = {seed} is of random weights; pass weights='random' too")
    if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(f"tokenizer = {type(tokenizer).__name__}; need a fast tokenizer")
    if isinstance(model, PreTrainedModel):
        by_name = {"revision": revision, "device_map": device_map, "quantise": quantise}
        for name, value in by_name.items():
            if value is not None:
                raise ValueError(f"{name} = {value!r} cannot apply to a model in memory")
        if weights == "random":
            raise ValueError("weights='random' builds a model from its name; this one is in memory")
        check_module(model)
    elif not isinstance(model, str | Path):
        raise refusal(model)
    else:
        check_name(model, revision=revision)
    check_quantise(quantise, random=weights == "random")


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
    if str(name).startswith(UNTRAINED):
        raise ValueError(f"{str(name)!r}: weights are read from files, and random ones have none")
    path = Path(name).expanduser()
    if path.is_dir() and str(name) not in LOCAL_MODELS:
        check_checkpoint(path)
        if not any(path.glob("*.safetensors")):
            raise ValueError(f"{path} holds no *.safetensors; weights are read from those alone")
        return path
    check_name(name, revision=revision)
    place, origin = _locate(true_name(str(name)))
    if origin.kind != "hub":
        return Path(place)
    try:
        found = snapshot_download(
            place, revision=revision, allow_patterns=["*.json", "*.safetensors"]
        )
    except (OSError, ValueError) as error:  # a name the hub would not take is a ValueError
        raise ValueError(hub_message(place, error)) from error
    return Path(found)


def _again(
    model: object,
    origin: Origin,
    tokenizer: PreTrainedTokenizerFast | None,
    device: Placement | None,
    how: dict[str, object],
) -> partial[TransformerBridge] | None:
    """The same model once more, in whatever process calls it; it has passed its check. None for a
    model from memory, which no other process can load."""
    if isinstance(model, PreTrainedModel):
        return None
    name = OLD_NAMES.get(str(model), str(model))
    where = Path(name).expanduser()
    return partial(
        load,
        str(where.resolve()) if name not in LOCAL_MODELS and where.exists() else name,
        tokenizer=tokenizer,
        revision=origin.revision,
        weights="trained" if origin.random_seed is None else "random",
        seed=origin.random_seed,
        # another process may see other GPUs, and by other numbers
        device=None if device is None else torch.device(device).type,
        check=False,
        **how,  # pyright: ignore[reportArgumentType]
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
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, Origin]:
    if tokenizer is None:
        raise ValueError(f"a {type(model).__name__} in memory needs its tokenizer=")
    if device is not None or dtype is not None:
        model = model.to(device=device, dtype=dtype)  # pyright: ignore[reportCallIssue]
    return model, tokenizer, Origin(type(model).__name__, "memory")


def _from_name(
    name: str, tokenizer: PreTrainedTokenizerFast | None, how: _How
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, Origin]:
    place, origin = _locate(name)
    on_hub = origin.kind == "hub"
    # given none, transformers asks for main, and a directory has no revisions
    where = {"revision": how.revision or "main"} if on_hub else {}
    try:
        if on_hub:
            _refuse_adapter_on_hub(name, how.revision)
        hf = (
            _random(place, where, how)
            if how.random_seed is not None
            else _trained(place, where, how)
        )
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(place, **where)
    except OSError as error:
        if not on_hub:
            raise ValueError(f"cannot load {place}: {str(error).splitlines()[0]}") from error
        raise ValueError(hub_message(name, error)) from error
    if on_hub:
        commit = _commit(name, how.revision)
        origin = replace(origin, revision=commit, files={"commit": str(commit)})
    if how.random_seed is not None:
        named = f"{name} (random weights, seed {how.random_seed})"
        origin = replace(origin, name=named, random_seed=how.random_seed)
    if how.quantise is not None:
        origin = replace(origin, quantised=how.quantise)
    elif how.device is not None:
        hf = hf.to(torch.device(how.device))  # pyright: ignore[reportArgumentType]
    return hf, tokenizer, origin


def _trained(place: str, where: dict, how: _How) -> PreTrainedModel:
    hf, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        place,
        **where,
        dtype=how.dtype,
        attn_implementation="eager",
        output_loading_info=True,
        **_placement(how),
    )
    require_all_weights(place, info)
    return hf


def _placement(how: _How) -> dict[str, object]:
    """Where weights are read to; quantised ones cannot be moved afterwards."""
    if how.quantise is None:
        return {"device_map": how.device_map}
    config = BitsAndBytesConfig(
        load_in_4bit=how.quantise == "4bit",
        load_in_8bit=how.quantise == "8bit",
        llm_int8_threshold=0.0,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=how.dtype,
    )
    everything_there = {"": str(how.device)}
    return {"device_map": how.device_map or everything_there, "quantization_config": config}


def _random(place: str, where: dict, how: _How) -> PreTrainedModel:
    """The architecture with weights as its configuration initialises them, other random state left
    as it was."""
    config = AutoConfig.from_pretrained(place, **where)
    with torch.random.fork_rng():
        torch.manual_seed(how.random_seed or 0)
        return AutoModelForCausalLM.from_config(
            config, dtype=how.dtype, attn_implementation="eager"
        )


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of a model in the hub's cache, from where its files lie:
    `.../snapshots/<commit>/config.json`."""
    found = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    return Path(found).parent.name if isinstance(found, str) else revision


def _refuse_adapter_on_hub(name: str, revision: str | None) -> None:
    for file in ADAPTERS:
        found = cached_file(
            name,
            file,
            revision=revision or "main",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found:
            raise ValueError(
                f"{name} holds an adapter ({file}): merge it into its base first "
                "(peft: model.merge_and_unload().save_pretrained(...)), and load that directory"
            )


def _locate(name: str) -> tuple[str, Origin]:
    """What to hand to `from_pretrained`, and the part of the source that is known before it."""
    path = fetch(name) if name in LOCAL_MODELS else Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        return str(converted(path)), Origin(name, "gguf", files={path.name: hash_file(path)})
    if path.is_dir():
        return str(path), Origin(name, "directory", files=hash_directory(path))
    return name, Origin(name, "hub")


def hub_message(name: str, error: Exception) -> str:
    """Why the hub did not give a model, and which names there are."""
    reason = str(error).strip().splitlines()[0]
    if "valid model identifier" in reason:
        return (
            f"unknown model {name!r}: the hub does not have it, or not for this login. "
            f"{choices(name)}"
        )
    return f"cannot load {name!r} from the hub: {reason} {choices(name)}"


def text_part(hf: PreTrainedModel) -> PreTrainedModel:
    """The causal language model inside a multimodal one, sharing its modules."""
    text_config = hf.config.get_text_config(decoder=True)
    if text_config is hf.config:
        return hf
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(text_config)
    setattr(text, text.base_model_prefix, hf.get_decoder())
    text.set_output_embeddings(hf.get_output_embeddings())
    return text


def boot(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, fold: bool
) -> TransformerBridge:
    """The bridge of a HuggingFace model, with a copy of its tokenizer.

    Raises:
        ValueError: a slow tokenizer, or a model that cannot be wrapped.
    """
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
    if fold:
        bridge.enable_compatibility_mode()
    return bridge
