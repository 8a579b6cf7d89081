"""Tiny random-weight models of the six families, built from configs in memory, with tokenizers.

Booting a bridge changes the module it wraps in place, so `tiny_pair` also hands out an untouched
copy of the same weights: the independent reference that tests compare with.
"""

import copy
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from interp.model import load

FAMILIES = ("gpt2", "llama", "qwen2", "qwen3", "gemma2", "gemma3")
BOS_FAMILIES = ("llama", "gemma2", "gemma3")
"""Families whose own tokenizer prepends BOS to plain text; GPT-2's and Qwen's do not."""

TEXTS = (
    "Alice was born on the 27th of June.",
    "Bob likes chess.",
    "Every spring, on the 3rd of March, Grace throws a party for 12 friends in Oslo.",
    "A short one",
)
N_CTX = 160
VOCABULARY = 420


@cache
def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A BPE tokenizer trained in memory: byte-level for GPT-2 and Qwen (which splits digits),
    with word-boundary marks and a prepended BOS for Llama and Gemma."""
    bos = family in BOS_FAMILIES
    backend = Tokenizer(models.BPE(unk_token=None if not bos else "<unk>"))
    special = ["<eos>", "<pad>"] + (["<bos>", "<unk>"] if bos else [])
    if bos:
        marks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")
        backend.pre_tokenizer = pre_tokenizers.Sequence([marks, pre_tokenizers.Punctuation()])
        backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="never")
        alphabet = [chr(c) for c in range(32, 127)]
    else:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if "qwen" in family else []
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 4, trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
        )
    names = {"bos_token": "<bos>", "unk_token": "<unk>"} if bos else {}
    if family == "gpt2":  # the real one has pad == bos == eos, where string batching goes wrong
        names = {"bos_token": "<eos>"}
    pad = "<eos>" if family == "gpt2" else "<pad>"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token=pad, **names
    )


def tiny_hf(family: str, *, seed: int = 0, **overrides) -> PreTrainedModel:
    """A 3-block, d 32, 4-head (2 key-value heads) model with weights large enough that every
    part of the architecture moves the output."""
    shape = dict(
        vocab_size=len(tiny_tokenizer(family)),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=N_CTX,
        initializer_range=0.2,
        pad_token_id=tiny_tokenizer(family).pad_token_id,
        bos_token_id=tiny_tokenizer(family).bos_token_id,
        eos_token_id=tiny_tokenizer(family).eos_token_id,
    )
    sliding = dict(
        sliding_window=8,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    gpt2 = dict(
        vocab_size=shape["vocab_size"],
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_inner=64,
        n_positions=N_CTX,
        initializer_range=0.2,
        bos_token_id=shape["bos_token_id"],
        eos_token_id=shape["eos_token_id"],
    )
    builders = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**(gpt2 | overrides))),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**(shape | overrides))),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**(shape | overrides))),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**(shape | overrides))),
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**(shape | sliding | overrides))),
        "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**(shape | sliding | overrides))),
    }
    torch.manual_seed(seed)
    model = builders[family]()
    with torch.no_grad():  # norms and biases start at exact ones and zeros, which hide mistakes
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.set_attn_implementation("eager")
    return model.eval()


def tiny_pair(family: str, **overrides) -> tuple[TransformerBridge, PreTrainedModel]:
    """The bridge over a tiny model, and an untouched copy of that model."""
    hf = tiny_hf(family, **overrides)
    reference = copy.deepcopy(hf)
    return load(hf, tokenizer=tiny_tokenizer(family)), reference


def tiny_bridge(family: str, **overrides) -> TransformerBridge:
    """The bridge over a tiny model."""
    return tiny_pair(family, **overrides)[0]
