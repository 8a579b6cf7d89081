"""What a model computes with besides its tensors: configurations, and its modules' own attributes.

An epsilon, a scale or a window is no tensor, and may be edited like one. State that use leaves
behind is no part of it: what a rotary embedding recomputes for a length follows from its
configuration.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

INERT = {
    "config": frozenset(
        "_name_or_path name_or_path transformers_version architectures dtype torch_dtype "
        "use_cache output_attentions output_hidden_states return_dict id2label label2id "
        "problem_type initializer_range pad_token_id bos_token_id eos_token_id _commit_hash".split()
    ),
    "cfg": frozenset(
        "device dtype model_name tokenizer_name tokenizer_prepends_bos tokenizer_appends_eos "
        "default_prepend_bos default_padding_side seed init_mode init_weights "
        "initializer_range n_params n_devices trust_remote_code from_checkpoint "
        "checkpoint_index checkpoint_label_type checkpoint_value use_attn_result "
        "use_split_qkv_input use_attn_in use_hook_mlp_in use_hook_tokens pad_token_id "
        "bos_token_id eos_token_id".split()
    ),
    "module": frozenset("training gradient_checkpointing name_or_path".split()),
}
"""Settings that no activation depends on, by where they stand; any other counts."""


PLAIN = (bool, int, float, str, list, tuple, dict, set, frozenset, torch.dtype)
"""Types of attributes that are settings."""


def modules_of(model: TransformerBridge) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, those of the wrapped model first and under its own names; no hook points.

    A module and the bridge's component around it have one name.
    """
    seen: set[int] = set()
    for root in (model.original_model, model):
        for name, module in root.named_modules():
            if id(module) not in seen and not isinstance(module, HookPoint):
                seen.add(id(module))
                yield plain_name(name), module


def plain_name(name: str) -> str:
    """A module's or tensor's name without the bridge's wrapping."""
    return name.replace("._original_component", "").removeprefix("_original_component.")


def package(thing: object) -> str:
    """The top-level package in which a class or function was written."""
    return str(getattr(thing, "__module__", "")).partition(".")[0]


def settings(model: TransformerBridge) -> str:
    """Configurations by entry and modules by class with their attributes, as one line of JSON."""
    return json.dumps(_canonical(dict(_settings(model))), sort_keys=True)


def _settings(model: TransformerBridge) -> Iterator[tuple[str, Any]]:
    configs: dict[int, tuple[str, Any]] = {}
    classes: dict[str, list] = {}
    for label, config in (("config", model.original_model.config), ("cfg", model.cfg)):
        configs[id(config)] = label, config
    for name, module in modules_of(model):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        classes.setdefault(kind, []).append([name, _attributes(module)])
        config = getattr(module, "config", None)
        if callable(getattr(config, "to_dict", None)):
            configs.setdefault(id(config), (f"config of {name}", config))
    for label, config in configs.values():
        yield from _entries(label, config)
    yield "compatibility mode", bool(model.compatibility_mode)
    for kind, members in classes.items():
        yield f"modules {kind}", members


def _entries(label: str, config: Any) -> Iterator[tuple[str, Any]]:
    ours = package(type(config)) == "transformer_lens"
    entries = dict(vars(config) if ours else config.to_dict())
    if not ours:
        entries["attn_implementation"] = getattr(config, "_attn_implementation", None)
    for key, value in entries.items():
        if key not in INERT["cfg" if ours else "config"]:
            yield f"{label}.{key}", value


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Numbers, strings and functions that a module keeps as attributes."""
    if package(type(module)) == "transformer_lens":
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name not in INERT["module"]
        and not state_of_length(module, name)
        and (isinstance(value, PLAIN) or inspect.isroutine(value))
    }


def state_of_length(module: nn.Module, name: str) -> bool:
    """Whether an attribute of a module is what it keeps of the last text's length."""
    if name.endswith("_cached"):  # the longest length so far, and tables of angles up to it
        return True
    frequencies = name.endswith("inv_freq") and not name.endswith("original_inv_freq")
    if not frequencies and not name.endswith("attention_scaling"):
        return False
    rope = str(getattr(module, "rope_type", ""))
    return "dynamic" in rope or "longrope" in rope


def _canonical(value: Any) -> Any:
    """A value in JSON, alike whatever type of number or order of a set it came in."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_canonical(part)) for part in value)
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, torch.dtype):
        return str(value)
    if getattr(value, "ndim", None) == 0:  # a number of NumPy or torch
        return _canonical(value.item())
    if isinstance(value, int | float):
        return float(value).hex() if abs(value) < 2**53 else str(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"
