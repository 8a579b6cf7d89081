"""One vocabulary of hook names, equal to HuggingFace, and a model that breaks it is refused."""

import json
import types

import pytest
import torch
from tiny_models import (
    BOS_FAMILIES,
    FAMILIES,
    TEXTS,
    tiny_bridge,
    tiny_hf,
    tiny_pair,
    tiny_tokenizer,
)
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from interp.model import (
    VOCABULARY,
    ConformanceError,
    check_hooks,
    conformance,
    depth_names,
    embed,
    final_norm,
    load,
    points,
    resid_post,
    residual_stream,
    source,
    z,
)

# CPU attention kernels reorder sums with the width of the batch; measured 0 to 4e-7
RELATIVE = 1e-5


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("side", ["none", "right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_residuals_equal_huggingface(family, side):
    bridge, reference = tiny_pair(family)
    texts = TEXTS[:1] if side == "none" else list(TEXTS)
    tokenizer = tiny_tokenizer(family)
    batch = tokenizer(texts, padding=side != "none", padding_side="left" if side == "left" else "right", return_tensors="pt")  # fmt: skip # noqa: E501
    ids, mask = batch["input_ids"], batch["attention_mask"]
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = reference(
            input_ids=ids, attention_mask=mask, position_ids=position_ids, output_hidden_states=True
        )
        logits, cache = bridge.run_with_cache(ids, attention_mask=mask)
    real = mask.bool()
    assert mask.all() == (side == "none")
    assert _relative(logits[real], expected.logits[real]) < RELATIVE
    for block in range(bridge.cfg.n_layers - 1):
        found = cache[resid_post(block)][real]
        assert _relative(found, expected.hidden_states[block + 1][real]) < RELATIVE
    assert _relative(cache[final_norm()][real], expected.hidden_states[-1][real]) < RELATIVE
    if family != "gpt2":  # GPT-2 adds position embeddings in between
        assert torch.equal(cache[embed()][real], cache["blocks.0.hook_resid_pre"][real])


@pytest.mark.parametrize("family", FAMILIES)
def test_points_report_every_name_of_the_vocabulary(family):
    bridge = tiny_bridge(family)
    status = {s.point.name: s.status for s in points(bridge)}
    assert set(status) == {p.name for p in VOCABULARY}
    assert status["blocks.{block}.hook_resid_mid"] == "fires"
    assert status["blocks.{block}.attn.hook_result"] == "behind a switch"
    rotary = family != "gpt2"
    assert status["blocks.{block}.attn.hook_rot_q"] == ("fires" if rotary else "absent")
    assert status["hook_pos_embed"] == ("never fires" if rotary else "fires")
    normed = family in ("qwen3", "gemma3")
    assert status["blocks.{block}.attn.hook_q_normed"] == ("fires" if normed else "absent")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_axes_of_every_point_are_those_of_its_tensor(family):
    bridge = tiny_bridge(family)
    cfg = bridge.cfg
    kv_heads = cfg.n_key_value_heads or cfg.n_heads
    sizes = {
        "batch": 1, "position": 13, "query": 13, "key": 13, "head": cfg.n_heads,
        "kv_head": kv_heads, "d_head": cfg.d_head, "d_model": cfg.d_model, "d_mlp": cfg.d_mlp,
    }  # fmt: skip
    _, cache = bridge.run_with_cache(torch.zeros((1, 13), dtype=torch.long))
    for known in points(bridge):
        if known.status == "fires":
            point = known.point
            name = point(0) if point.per_block else point()
            assert tuple(cache[name].shape) == tuple(sizes[a] for a in point.axes.split()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_output_before_and_after_the_post_norm_are_two_points(family):
    bridge = tiny_bridge(family)
    ids = bridge.tokenizer(TEXTS[0], return_tensors="pt").input_ids
    _, cache = bridge.run_with_cache(ids)
    added = cache["blocks.1.hook_resid_mid"] - cache["blocks.1.hook_resid_pre"]
    assert _relative(cache["blocks.1.hook_attn_out"], added) < RELATIVE
    same = _relative(cache["blocks.1.attn.hook_out"], added) < RELATIVE
    assert same == (not family.startswith("gemma"))


@pytest.mark.parametrize("family", FAMILIES)
def test_strings_get_the_tokenizer_s_own_tokens(family):
    bridge = tiny_bridge(family)
    own = tiny_tokenizer(family)(TEXTS[1]).input_ids
    assert bridge.to_tokens(TEXTS[1])[0].tolist() == own
    assert own.count(bridge.tokenizer.bos_token_id) == (family in BOS_FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_models_conform(family):
    report = conformance(tiny_bridge(family))
    assert report.passed
    windows = family.startswith("gemma")  # whose company beyond the window is one check more
    assert len(report.checks) == 14 + windows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_sound_models_conform_in_half_precision(family, dtype):
    assert conformance(load(tiny_hf(family).to(dtype), tokenizer=tiny_tokenizer(family))).passed


def test_folded_model_keeps_the_log_probabilities():
    ids = torch.tensor([tiny_tokenizer("gpt2")(TEXTS[0]).input_ids])
    folded = load(tiny_hf("gpt2"), tokenizer=tiny_tokenizer("gpt2"), fold=True)
    with torch.no_grad():
        plain, changed = (m(ids).log_softmax(-1) for m in (tiny_bridge("gpt2"), folded))
    assert source(folded).folded
    assert torch.allclose(plain, changed, atol=1e-4)  # measured 4e-6


# --- broken models: each identity caught, by name ------------------------------------------------


def _llama_with_residual_scales(at_attention: float, at_mlp: float):
    hf = tiny_hf("llama")

    def forward(self, hidden_states, **kwargs):
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        middle = at_attention * hidden_states + attended
        return at_mlp * middle + self.mlp(self.post_attention_layernorm(middle))

    layer = hf.model.layers[1]
    layer.forward = types.MethodType(forward, layer)
    return hf


def _llama_with_embedding(change):
    hf = tiny_hf("llama")
    plain = hf.model.embed_tokens.forward
    hf.model.embed_tokens.forward = lambda ids: change(plain(ids))
    return hf


def _llama_with_nan():
    hf = tiny_hf("llama")
    hf.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    return hf


def _llama_with_doubled_output():
    hf = tiny_hf("llama")
    projection = hf.model.layers[1].self_attn.o_proj
    plain = projection.forward
    projection.forward = lambda x: 2 * plain(x)
    return hf


BROKEN_MODULES = {
    "all hook points are finite": _llama_with_nan,
    "resid_pre + attn_out = resid_mid": lambda: _llama_with_residual_scales(1.1, 1.0),
    "resid_mid + mlp_out = resid_post": lambda: _llama_with_residual_scales(1.0, 1.1),
    "z W_O + b_O = attn.hook_out": _llama_with_doubled_output,
    "right padding changes nothing": lambda: _llama_with_embedding(
        lambda x: x + x.mean(1, keepdim=True)
    ),
    "left padding changes nothing": lambda: _llama_with_embedding(lambda x: x + x[:, :1]),
    "batch equals single": lambda: _llama_with_embedding(lambda x: x + x.mean(0, keepdim=True)),
}


@pytest.mark.parametrize("name", BROKEN_MODULES)
def test_a_broken_module_is_refused_by_name(name):
    broken = BROKEN_MODULES[name]
    with pytest.raises(ConformanceError) as caught:
        load(broken(), tokenizer=tiny_tokenizer("llama"))
    assert f"BROKEN {name}: error" in str(caught.value)
    failed = [check for check in caught.value.report.checks if not check.passed]
    assert failed[0].error > failed[0].tolerance
    load(broken(), tokenizer=tiny_tokenizer("llama"), check=False)  # at one's own risk


def test_the_broken_module_differs_from_a_sound_rewrite_only_in_its_scale():
    load(_llama_with_residual_scales(1.0, 1.0), tokenizer=tiny_tokenizer("llama"))


def _fails(bridge) -> list[str]:
    return [check.name for check in conformance(bridge).checks if not check.passed]


def test_a_stream_changed_between_blocks_is_caught():
    bridge = tiny_bridge("llama")
    bridge.add_hook("blocks.1.hook_in", lambda t, hook: 1.1 * t, is_permanent=True)  # noqa: ARG005
    assert "resid_post is the next block's resid_pre" in _fails(bridge)


def test_a_pattern_that_is_not_the_softmax_of_the_scores_is_caught():
    bridge = tiny_bridge("llama")
    bridge.add_hook("blocks.1.attn.hook_pattern", lambda t, hook: t / 2, is_permanent=True)  # noqa: ARG005
    assert _fails(bridge) == ["softmax(attn_scores) = pattern"]


def test_hidden_states_off_by_one_are_caught():
    bridge = tiny_bridge("llama")
    plain = bridge.original_model.forward

    def shifted(*args, **kwargs):
        output = plain(*args, **kwargs)
        if output.hidden_states is not None:
            output.hidden_states = output.hidden_states[1:] + output.hidden_states[-1:]
        return output

    bridge.original_model.forward = shifted
    assert _fails(bridge) == ["resid_post(l) = hidden_states[l + 1]"]


def test_a_bos_that_the_tokenizer_does_not_add_is_caught():
    bridge = tiny_bridge("gpt2")
    bridge.cfg.default_prepend_bos = True
    assert _fails(bridge) == ["strings become the tokenizer's own tokens"]


# --- loading -------------------------------------------------------------------------------------


def test_a_saved_directory_loads_as_the_model_in_memory(tmp_path):
    tokenizer = tiny_tokenizer("llama")
    tiny_hf("llama").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = torch.tensor([tokenizer(TEXTS[0]).input_ids])
    loaded = load(tmp_path, device="cpu")
    with torch.no_grad():
        assert torch.equal(loaded(ids), tiny_bridge("llama")(ids))
    assert source(loaded).kind == "directory"
    assert set(source(loaded).files) >= {"model.safetensors", "config.json"}
    assert loaded.to_tokens(TEXTS[0])[0].tolist() == tokenizer(TEXTS[0]).input_ids


def test_the_text_part_of_a_multimodal_model_is_used(tmp_path):
    text = json.loads(tiny_hf("gemma3").config.to_json_string(use_diff=False))
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    whole = Gemma3ForConditionalGeneration(config).eval()
    ids = torch.tensor([tiny_tokenizer("gemma3")(TEXTS[0]).input_ids])
    with torch.no_grad():
        whole.set_attn_implementation("eager")
        expected = whole(input_ids=ids, token_type_ids=torch.zeros_like(ids)).logits
    whole.save_pretrained(tmp_path)
    tiny_tokenizer("gemma3").save_pretrained(tmp_path)
    for model in (load(tmp_path, device="cpu"), load(whole, tokenizer=tiny_tokenizer("gemma3"))):
        with torch.no_grad():
            assert _relative(model(ids), expected) < RELATIVE


def test_loading_does_not_touch_the_caller_s_tokenizer():
    tokenizer = tiny_tokenizer("qwen2")
    before = dict(tokenizer.init_kwargs)
    load(tiny_hf("qwen2"), tokenizer=tokenizer)
    assert tokenizer.init_kwargs == before


def test_sources_tell_weights_apart():
    one, again, other = (tiny_bridge("llama", seed=s) for s in (0, 0, 1))
    assert source(one).digest() == source(again).digest() != source(other).digest()


# --- bad input -----------------------------------------------------------------------------------


def test_unknown_models_name_the_local_choices(tmp_path):
    for name in (str(tmp_path / "nowhere"), "no such model", "./missing"):
        with pytest.raises(ValueError, match="unknown model.*smollm2-135m-instruct-q4"):
            load(name)
    with pytest.raises(ValueError, match="no GGUF file at"):
        load(tmp_path / "missing.gguf")


def test_a_missing_hub_names_the_local_choices(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot load 'gpt2-nowhere' from the hub.*smollm2-135m"):
        load("gpt2-nowhere")


def test_a_directory_without_weights_says_what_it_found(tmp_path):
    tiny_hf("llama").config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no checkpoint.*found config\.json"):
        load(tmp_path)


def test_a_model_in_memory_needs_a_fast_tokenizer():
    with pytest.raises(ValueError, match="LlamaForCausalLM in memory needs its tokenizer="):
        load(tiny_hf("llama"))


def test_device_and_device_map_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        load("smollm2-135m-instruct-q4", device="cpu", device_map="auto")


def test_wrong_hooks_list_the_nearest():
    bridge = tiny_bridge("llama")
    with pytest.raises(
        ValueError, match=r"'blocks\.1\.hook_resid_pots'.*blocks\.1\.hook_resid_post"
    ):
        check_hooks(bridge, ["blocks.1.hook_resid_pots"])
    with pytest.raises(ValueError, match="blocks 0 to 2"):
        check_hooks(bridge, [resid_post(3)])
    with pytest.raises(ValueError, match="switched off.*set_use_attn_result"):
        check_hooks(bridge, ["blocks.0.attn.hook_result"])
    with pytest.raises(ValueError, match="needs a block"):
        resid_post()
    with pytest.raises(ValueError, match="is not per block"):
        embed(1)


def test_the_residual_stream_runs_from_the_embedding_to_the_final_norm():
    names = residual_stream(tiny_bridge("qwen3"))
    assert names[0] == "hook_embed"
    assert names[-1] == "ln_final.hook_out"
    assert len(names) == 3 + 2


def test_depths_are_called_by_their_block():
    names = residual_stream(tiny_bridge("qwen3"))
    assert depth_names(names) == ("embedding", "block 0", "block 1", "block 2", "final norm")
    assert depth_names([names[4], names[2]]) == ("final norm", "block 1")
    with pytest.raises(ValueError, match=r"'blocks.0.attn.hook_z' is no depth"):
        depth_names([z(0)])


def test_tokenizers_survive_saving_with_a_sound_load(tmp_path):
    tiny_tokenizer("qwen2").save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS[2]).input_ids == tiny_tokenizer("qwen2")(TEXTS[2]).input_ids


def test_a_device_map_places_the_model(tmp_path):
    tiny_hf("llama").save_pretrained(tmp_path)
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    ids = torch.tensor([tiny_tokenizer("llama")(TEXTS[0]).input_ids])
    mapped = load(tmp_path, device_map={"": "cpu"}, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(mapped(ids), tiny_bridge("llama")(ids))
