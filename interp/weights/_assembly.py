"""The weights and facts that determine one block's attention, read without building a model.

1. Tell the family from the architecture, and refuse layouts that would be misread.
2. Name the tensors that this block's attention needs; nothing else is read.
3. Convert tensor by tensor, so that at no time two dtypes of a whole model are in memory.
4. Bring all families to one layout: per head, [d, d_head] for query, key and value and [d_head, d]
   for the output, with keys and values once per key-value head (Ainslie et al. 2023).
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from interp.weights._checkpoint import Checkpoint, converted
from interp.weights._family import (
    Family,
    family_of,
    head_dim,
    refuse_layouts,
    scale,
    sliding_window,
    softcap,
    tensor_names,
)
from interp.weights._record import AttentionWeights
from interp.weights._rope import rope


def of_checkpoint(path: str | Path, block: int, dtype: torch.dtype) -> AttentionWeights:
    """One block's attention from a checkpoint directory; `AttentionWeights.from_checkpoint`."""
    checkpoint = Checkpoint(path)
    refuse_layouts(checkpoint.shards)
    family, config = configured(checkpoint)
    weights = _assemble(family, config, block, checkpoint.shards, checkpoint.read, dtype)
    return replace(weights, bytes_read=checkpoint.bytes_read)


def of_model(bridge: TransformerBridge, block: int, dtype: torch.dtype) -> AttentionWeights:
    """One block's attention from a loaded bridge; `AttentionWeights.from_model`."""
    if bridge.compatibility_mode:
        raise ValueError("the bridge's weights are folded; load it with fold=False")
    hf = cast(PreTrainedModel, bridge.original_model)
    # the bridge wraps every submodule, which shows in the names and nowhere else
    tensors = {
        name.replace("._original_component", ""): tensor for name, tensor in hf.state_dict().items()
    }
    refuse_layouts(tensors)
    family = family_of(type(hf).__name__)
    config = hf.config.get_text_config()
    return _assemble(family, config, block, tensors, tensors.__getitem__, dtype)


def configured(checkpoint: Checkpoint) -> tuple[Family, PreTrainedConfig]:
    """Family and text configuration of a checkpoint. Raises ValueError for an unknown one."""
    raw = PreTrainedConfig.get_config_dict(checkpoint.directory, local_files_only=True)[0]
    family = family_of(next(iter(raw.get("architectures") or []), None))
    config = AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True)
    return family, config.get_text_config()


def _assemble(
    family: Family,
    config: PreTrainedConfig,
    block: int,
    names: Collection[str],
    read: Callable[[str], Tensor],
    dtype: torch.dtype,
) -> AttentionWeights:
    wanted = tensor_names(names, family, config, block)
    gains = {"norm", "post", "q_norm", "k_norm"}
    wide = torch.promote_types(dtype, torch.float32)
    tensors = {
        role: converted(read(name), wide if role.split(".")[0] in gains else dtype)
        for role, name in wanted.items()
    }
    if family in ("gemma2", "gemma3"):
        for gain in gains & {role.split(".")[0] for role in tensors}:
            tensors[f"{gain}.weight"] += 1
    eps = config.layer_norm_epsilon if family == "gpt2" else config.rms_norm_eps
    n_heads = config.num_attention_heads
    n_kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    return AttentionWeights(
        block=block,
        **_projections(tensors, head_dim(config)),
        b_O=tensors.get("o.bias"),
        norm="LayerNorm" if family == "gpt2" else "RMSNorm",
        norm_gain=tensors["norm.weight"],
        norm_bias=tensors.get("norm.bias"),
        eps=float(eps),
        post_gain=tensors.get("post.weight"),
        q_gain=tensors.get("q_norm.weight"),
        k_gain=tensors.get("k_norm.weight"),
        scale=scale(family, config, block),
        softcap=softcap(family, config),
        rope=rope(family, config, block),
        window=sliding_window(config, block),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        bytes_read=0,
    )


def _projections(tensors: dict[str, Tensor], width: int) -> dict[str, Any]:
    """W_Q, W_K, W_V, W_O and the per-head biases, as views."""
    per_head = {}
    if "qkv.weight" in tensors:  # GPT-2 stores [in, out], query, key and value side by side
        for role, weight, bias in zip(
            "QKV", tensors["qkv.weight"].chunk(3, 1), tensors["qkv.bias"].chunk(3), strict=True
        ):
            per_head[f"W_{role}"] = rearrange(weight, "d (head e) -> head d e", e=width)
            per_head[f"b_{role}"] = rearrange(bias, "(head e) -> head e", e=width)
        output = rearrange(tensors["o.weight"], "(head e) d -> head e d", e=width)
        return per_head | {"W_O": output}
    for role in "qkv":
        weight, bias = tensors[f"{role}.weight"], tensors.get(f"{role}.bias")
        per_head[f"W_{role.upper()}"] = rearrange(weight, "(head e) d -> head d e", e=width)
        per_head[f"b_{role.upper()}"] = (
            None if bias is None else rearrange(bias, "(head e) -> head e", e=width)
        )
    return per_head | {"W_O": rearrange(tensors["o.weight"], "d (head e) -> head e d", e=width)}
