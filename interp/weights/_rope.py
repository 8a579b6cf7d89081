"""Rotary position embedding of one block (Su et al. 2021), as transformers itself computes it."""

from transformers import PreTrainedConfig
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from interp.weights._family import Family
from interp.weights._record import Rope

ROTARY = {
    "llama": LlamaRotaryEmbedding,
    "qwen2": Qwen2RotaryEmbedding,
    "qwen3": Qwen3RotaryEmbedding,
    "gemma2": Gemma2RotaryEmbedding,
}
STATIC = ("default", "linear", "llama3", "yarn")
"""Kinds whose frequencies do not depend on the length of the text."""


def rope(family: Family, config: PreTrainedConfig, block: int) -> Rope | None:
    """The rotation of one block, from transformers' own rotary module of the family; None for
    GPT-2.

    Gemma-3 has one base for its local and one for its global blocks. Raises ValueError for a kind
    whose frequencies change with the length of the text.
    """
    if family == "gpt2":
        return None
    if family == "gemma3":
        kind = config.layer_types[block]
        _check(config.rope_parameters[kind]["rope_type"])
        rotary = Gemma3RotaryEmbedding(config)  # pyright: ignore[reportArgumentType]
        frequencies = getattr(rotary, f"{kind}_inv_freq")
        return Rope(frequencies, float(getattr(rotary, f"{kind}_attention_scaling")))
    _check(config.rope_parameters["rope_type"])
    rotary = ROTARY[family](config)
    return Rope(rotary.inv_freq, float(rotary.attention_scaling))


def _check(kind: str) -> None:
    if kind not in STATIC:
        raise ValueError(
            f"rope_type={kind!r} makes the rotation depend on the text's length; "
            f"choose from {', '.join(STATIC)}"
        )
