"""Models beyond one device: quantised, spread out, in bfloat16, behind vLLM; what they refuse."""

import copy
from importlib.util import find_spec
from inspect import unwrap

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, TEXTS, tiny_bridge, tiny_hf, tiny_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from interp.extract import extract
from interp.model import ConformanceError, conformance, load, resid_post, source
from interp.positions import Sample
from interp.weights import AttentionWeights

SAMPLES = [Sample(text, {"end": (len(text) - 3, len(text))}) for text in TEXTS]
HOOKS = [resid_post(0), resid_post(2)]

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None,
    reason="quantised models were not checked: pip install bitsandbytes (it runs on a CPU too)",
)


def quantised(tmp_path, family: str = "llama", **options):
    """Two copies of a tiny model as bitsandbytes quantises it."""
    tiny_hf(family).save_pretrained(tmp_path)
    options = {"bnb_4bit_compute_dtype": torch.float32} | options
    return [
        AutoModelForCausalLM.from_pretrained(
            tmp_path,
            quantization_config=BitsAndBytesConfig(**options),
            device_map={"": "cpu"},
            attn_implementation="eager",
            dtype=torch.float32,
        )
        for _ in range(2)
    ]


def assert_streams_equal(bridge, reference):
    """Residual streams of the texts against HuggingFace's hidden states, to the last bit."""
    for text in TEXTS:
        ids = bridge.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states = reference(ids, output_hidden_states=True).hidden_states
            _, cache = bridge.run_with_cache(ids)
        for block in range(bridge.cfg.n_layers - 1):
            assert torch.equal(cache[resid_post(block)], states[block + 1])


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize(
    "options",
    [{"load_in_4bit": True}, {"load_in_8bit": True, "llm_int8_threshold": 0.0}],
    ids=["4bit", "8bit"],
)
def test_quantised_models_conform_and_are_read(tmp_path, family, options):
    hf, reference = quantised(tmp_path, family, **options)
    bridge = load(hf, tokenizer=tiny_tokenizer(family))
    assert_streams_equal(bridge, reference)
    found = extract(bridge, SAMPLES, hooks=HOOKS, progress=False)
    plain = extract(tiny_bridge(family), SAMPLES, hooks=HOOKS, progress=False)
    for hook in HOOKS:
        assert np.isfinite(found.read(hook)).all()
        assert not np.array_equal(found.read(hook), plain.read(hook))  # it was quantised indeed
    assert source(bridge).digest() != source(tiny_bridge(family)).digest()


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_model_by_name_is_quantised_as_it_is_read(tmp_path, bits):
    options = {"4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
               "8bit": {"load_in_8bit": True, "llm_int8_threshold": 0.0}}  # fmt: skip
    _, reference = quantised(tmp_path, **options[bits])
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    bridge = load(str(tmp_path), quantise=bits, device="cpu")
    assert_streams_equal(bridge, reference)
    assert source(bridge).quantised == bits
    again = bridge.interp_loader()
    assert source(again).digest() == source(bridge).digest()
    assert source(load(str(tmp_path))).digest() != source(bridge).digest()


def test_what_cannot_be_quantised_is_refused(tmp_path):
    with pytest.raises(ValueError, match="quantise = '3bit'; choose from 4bit, 8bit"):
        unwrap(load)("smollm2-135m-instruct-q4", quantise="3bit")
    with pytest.raises(ValueError, match="quantise = '4bit' cannot apply to a model in memory"):
        load(tiny_hf("llama"), tokenizer=tiny_tokenizer("llama"), quantise="4bit")
    with pytest.raises(ValueError, match="weights that are read; random ones are not"):
        load("random:smollm2-135m-instruct-q4", quantise="8bit")


def test_a_dtype_may_be_named(tmp_path):
    tiny_hf("llama").save_pretrained(tmp_path)
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    assert source(load(str(tmp_path), dtype="bfloat16")).dtype == "bfloat16"
    with pytest.raises(ValueError, match="dtype = 'int8'; choose from float32, bfloat16, float16"):
        load(str(tmp_path), dtype="int8")


@needs_bitsandbytes
def test_quantised_weights_cannot_be_read_and_say_so(tmp_path):
    bridge = load(quantised(tmp_path, load_in_4bit=True)[0], tokenizer=tiny_tokenizer("llama"))
    with pytest.raises(ValueError, match="bitsandbytes quantised layout.*unquantised checkpoint"):
        AttentionWeights.from_model(bridge, 0)
    for weights in ("W_O", "W_in"):
        with pytest.raises(NotImplementedError, match="packed integer storage"):
            getattr(bridge, weights)


@needs_bitsandbytes
def test_a_quantised_fused_projection_is_refused(tmp_path):
    hf, _ = quantised(tmp_path, "gpt2", load_in_4bit=True)
    with pytest.raises(ValueError, match="GPT2LMHeadModel like this cannot be wrapped.*fused QKV"):
        load(hf, tokenizer=tiny_tokenizer("gpt2"))


@needs_bitsandbytes
def test_eight_bits_with_outliers_depend_on_the_company_and_are_refused(tmp_path):
    # LLM.int8 (Dettmers et al. 2022) keeps in 16 bits the features that exceed a threshold in any
    # row of the batch, so what one text gives depends on the others and on their padding.
    hf, _ = quantised(tmp_path, load_in_8bit=True)
    with pytest.raises(ConformanceError, match="BROKEN batch equals single"):
        load(hf, tokenizer=tiny_tokenizer("llama"))


def test_an_applied_projection_still_shows_a_broken_one(monkeypatch):
    bridge = tiny_bridge("llama")

    def unreadable(_):
        raise NotImplementedError("packed")

    monkeypatch.setattr(type(bridge.blocks[1].attn), "W_O", property(unreadable))
    assert conformance(bridge).passed
    projection = bridge.blocks[1].attn.o.original_component
    monkeypatch.setattr(
        projection, "forward", lambda x, plain=projection.forward: plain(x) + torch.randn(1)
    )
    failed = [check.name for check in conformance(bridge).checks if not check.passed]
    assert "z W_O + b_O = attn.hook_out" in failed


@pytest.mark.parametrize(
    "names", ["q_proj.weight.absmax", "o_proj.SCB", "q_proj.qweight", "k_proj.weight_scale"]
)
def test_checkpoints_of_quantised_weights_are_refused_by_their_names(names):
    bridge = tiny_bridge("llama")
    bridge.original_model.register_buffer("extra", torch.zeros(1))
    plain = bridge.original_model.state_dict

    bridge.original_model.state_dict = lambda: plain() | {f"model.layers.0.self_attn.{names}": 0}
    with pytest.raises(ValueError, match="quantised layout|scaled 8-bit layout"):
        AttentionWeights.from_model(bridge, 0)


def _saved(tmp_path):
    tiny_hf("llama").save_pretrained(tmp_path)
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    return tmp_path


HALF_ON_DISK = {
    "model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk",
    "model.layers.2": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
}  # fmt: skip


@pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto", HALF_ON_DISK], ids=str)
def test_a_model_spread_by_a_map_is_the_model(tmp_path, device_map):
    bridge = load(_saved(tmp_path), device_map=device_map, dtype=torch.float32)
    found = extract(bridge, SAMPLES, hooks=HOOKS, progress=False)
    plain = extract(tiny_bridge("llama"), SAMPLES, hooks=HOOKS, progress=False)
    for hook in HOOKS:
        np.testing.assert_array_equal(found.read(hook), plain.read(hook))


def test_an_offloaded_model_in_memory_says_what_to_do(tmp_path):
    hf = AutoModelForCausalLM.from_pretrained(_saved(tmp_path), device_map=HALF_ON_DISK)
    with pytest.raises(ValueError, match="weights of the LlamaForCausalLM in memory are offloaded"):
        load(hf, tokenizer=tiny_tokenizer("llama"))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_equals_huggingface_in_bfloat16(family, tmp_path):
    hf = tiny_hf(family).to(torch.bfloat16)
    bridge = load(copy.deepcopy(hf), tokenizer=tiny_tokenizer(family))
    assert_streams_equal(bridge, hf)
    store = extract(bridge, SAMPLES, hooks=HOOKS, out=tmp_path / "store", progress=False)
    assert store.plan.dtype == "bfloat16"  # pyright: ignore[reportAttributeAccessIssue]
    memory = extract(bridge, SAMPLES, hooks=HOOKS, progress=False)
    for hook in HOOKS:
        np.testing.assert_array_equal(store.read(hook), memory.read(hook))


def _why_not_vllm() -> str:
    unseen = "RemoteBridge.boot_vllm against HuggingFace was not checked: "
    if find_spec("vllm") is None:
        return unseen + "vLLM is not installed (pip install 'transformer-lens[vllm]')"
    return "" if torch.cuda.is_available() else unseen + "vLLM needs a CUDA device"


@pytest.mark.skipif(bool(_why_not_vllm()), reason=_why_not_vllm() or "it was")
def test_vllm_gives_the_residual_stream_of_huggingface(tmp_path):
    from transformer_lens.model_bridge.remote_bridge import RemoteBridge

    # vLLM's attention kernels take heads of 64 and more
    wide = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    hf = tiny_hf("llama", **wide).to(torch.float16)
    hf.save_pretrained(tmp_path)
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    hf = hf.cuda()
    ids = tiny_tokenizer("llama")(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        states = hf(ids.cuda(), output_hidden_states=True).hidden_states
    with RemoteBridge.boot_vllm(
        str(tmp_path), tiny_tokenizer("llama"), dtype=torch.float16, max_model_len=64
    ) as bridge:
        _, cache = bridge.run_with_cache(ids)
        for block in range(2):  # HuggingFace's last hidden state is behind the final norm
            found, expected = (
                cache[f"blocks.{block}.hook_out"].float().cpu(),
                states[block + 1].cpu(),
            )
            assert found.shape == expected.shape
            # float16 through other kernels: 2^-11 a rounding, some ten of them a block
            assert (found - expected).abs().max() < 1e-2 * expected.abs().max()
