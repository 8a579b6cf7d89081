"""What the six families differ in: names of tensors, and facts their configurations hold.

A family's attention is told from the architecture that `config.json` names. Layouts that this
module would misread are refused by the tensor that gives them away.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from transformers import PreTrainedConfig

Family = Literal["gpt2", "llama", "qwen2", "qwen3", "gemma2", "gemma3"]

ARCHITECTURES: Mapping[str, Family] = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
}
"""The six architectures, as `config.json` names them."""
VARIANTS: Mapping[str, str] = {
    "GPT2Model": "GPT2LMHeadModel",
    "LlamaModel": "LlamaForCausalLM",
    "Qwen2Model": "Qwen2ForCausalLM",
    "Qwen3Model": "Qwen3ForCausalLM",
    "Gemma2Model": "Gemma2ForCausalLM",
    "Gemma3TextModel": "Gemma3ForCausalLM",
    "Gemma3Model": "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
}
"""The same attention under a class without a head, or beside a vision tower."""
ROOTS = (
    "model.",
    "transformer.",
    "",
    "language_model.model.",
    "model.language_model.",
    "language_model.",
)
"""Where the stack of blocks may hang; the last three beside a vision tower."""
REFUSED: Mapping[str, str] = {
    ".absmax": "the bitsandbytes quantised layout",
    ".quant_map": "the bitsandbytes quantised layout",
    ".SCB": "the bitsandbytes quantised layout",
    ".g_idx": "the GPTQ quantised layout",
    ".qweight": "the AWQ or GPTQ quantised layout",
    ".qzeros": "the AWQ or GPTQ quantised layout",
    ".weight_scale": "a scaled 8-bit layout",
    "kv_a_proj": "multi-head latent attention (MLA)",
    "q_a_proj": "multi-head latent attention (MLA)",
    ".experts.": "mixture of experts (MoE)",
}
"""Part of a tensor's name: what it gives away. In order: GPTQ also has AWQ's names."""


def family_of(architecture: str | None) -> Family:
    """The family of an architecture. Raises ValueError for one that is not known."""
    known = VARIANTS.get(architecture or "", architecture)
    if known is None or known not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}; choose from {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[known]


def refuse_layouts(names: Collection[str]) -> None:
    """Raise ValueError if a tensor's name shows weights that cannot be read as plain matrices."""
    for mark, layout in REFUSED.items():
        found = next((name for name in names if mark in name), None)
        if found is not None:
            raise ValueError(
                f"tensor {found!r} belongs to {layout}, which is not supported; "
                "use an unquantised checkpoint of one of the six families: "
                f"{', '.join(ARCHITECTURES)}"
            )


def tensor_names(
    names: Collection[str], family: Family, config: PreTrainedConfig, block: int
) -> dict[str, str]:
    """Names of the tensors that one block's attention needs, by their role here.

    Roles: norm, post, q_norm, k_norm, q, k, v, o, with GPT-2's fused qkv, each `.weight` or
    `.bias`. What is optional is decided by the configuration, never by what the checkpoint
    happens to hold: a lost bias must not pass for an architecture without one.

    Raises:
        ValueError: a block out of range, or no stack of blocks under any known prefix.
    """
    if not 0 <= block < config.num_hidden_layers:
        raise ValueError(f"block={block} is out of range 0..{config.num_hidden_layers - 1}")
    if family == "gpt2":
        start = f"{_root(names, 'h.0.ln_1.weight')}h.{block}."
        parts = {"norm": "ln_1", "qkv": "attn.c_attn", "o": "attn.c_proj"}
        biased = set(parts)
    else:
        start = f"{_root(names, 'layers.0.input_layernorm.weight')}layers.{block}."
        parts = {"norm": "input_layernorm"} | {p: f"self_attn.{p}_proj" for p in "qkvo"}
        biased = set("qkv" if family == "qwen2" else "qkvo" if config.attention_bias else "")
    if family in ("gemma2", "gemma3"):
        parts["post"] = "post_attention_layernorm"
    if family in ("qwen3", "gemma3"):
        parts |= {role: f"self_attn.{role}" for role in ("q_norm", "k_norm")}
    weights = {f"{role}.weight": f"{start}{part}.weight" for role, part in parts.items()}
    return weights | {f"{role}.bias": f"{start}{parts[role]}.bias" for role in sorted(biased)}


def head_dim(config: PreTrainedConfig) -> int:
    """Width of one head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def scale(family: Family, config: PreTrainedConfig, block: int) -> float:
    """The factor on query . key."""
    if family in ("gemma2", "gemma3"):
        return config.query_pre_attn_scalar**-0.5
    if family != "gpt2":
        return head_dim(config) ** -0.5
    by_width = head_dim(config) ** -0.5 if config.scale_attn_weights else 1.0
    return by_width / (block + 1) if config.scale_attn_by_inverse_layer_idx else by_width


def softcap(family: Family, config: PreTrainedConfig) -> float | None:
    """The bound of the logit. Gemma-3's configuration has the field too, but nothing applies it."""
    bound = config.attn_logit_softcapping if family == "gemma2" else None
    return None if bound is None else float(bound)


def sliding_window(config: PreTrainedConfig, block: int) -> int | None:
    """How many positions, its own included, a query of this block sees; None for all."""
    kinds = getattr(config, "layer_types", None)
    return config.sliding_window if kinds and kinds[block] == "sliding_attention" else None


def _root(names: Collection[str], first: str) -> str:
    for root in ROOTS:
        if root + first in names:
            return root
    raise ValueError(f"no tensor {first!r} under any of the prefixes {', '.join(map(repr, ROOTS))}")
