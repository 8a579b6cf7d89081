"""Which model is this? Identities when used, guards, files, objects: nothing passes for it."""

import copy
import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, TEXTS, tiny_bridge, tiny_hf, tiny_tokenizer
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.extract import extract
from interp.intervene import steer
from interp.model import (
    OLD_NAMES,
    ConformanceError,
    check_device,
    check_name,
    checkpoint_directory,
    conformance,
    load,
    resid_post,
    source,
    untrained,
)
from interp.model._company import company, switches
from interp.model._conformance import _worst
from interp.model._releases import unknown_releases
from interp.positions import Sample, find

SAMPLES = [Sample(text, {"w": (0, 3)}) for text in TEXTS]
HOOK = resid_post(1)


def saved(directory: Path, **options) -> Path:
    tiny_hf("llama").save_pretrained(directory, **options)
    tiny_tokenizer("llama").save_pretrained(directory)
    return directory


def read(model, out=None):
    return extract(model, SAMPLES, hooks=[HOOK], out=out, progress=False).read(HOOK)


# --- an identity is taken when it is used --------------------------------------------------------


def scaled(model):
    with torch.no_grad():
        model.original_model.transformer.h[0].mlp.c_proj.weight.mul_(2)


def through_data(model):
    model.original_model.transformer.h[0].mlp.c_proj.weight.data.mul_(2)  # no version counter moves


def trained(model):
    optimizer = torch.optim.SGD(model.original_model.parameters(), lr=0.5)
    model(torch.tensor([[1, 2, 3]])).square().mean().backward()
    optimizer.step()


def replaced(model):
    block = model.original_model.transformer.h[1]
    block.mlp = torch.nn.Identity()


CHANGES = {
    "in place": scaled,
    "through .data": through_data,
    "an optimiser's step": trained,
    "folded": lambda model: model.enable_compatibility_mode(),
    "BOS added": lambda model: setattr(model.tokenizer, "add_bos_token", True),
    "another activation": lambda model: setattr(
        model.original_model.config, "activation_function", "relu"
    ),
    "half precision": lambda model: model.to(torch.bfloat16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_another_one(change):
    model = tiny_bridge("gpt2")
    before = source(model).digest()
    assert before == model.interp_source.digest() == source(model).digest()
    CHANGES[change](model)
    assert source(model).digest() != before


def test_a_store_of_before_is_not_given_back_and_of_the_same_again_is(tmp_path):
    model, out = tiny_bridge("gpt2"), tmp_path / "{key}"
    before = read(model, out)
    weight = model.original_model.transformer.h[0].mlp.c_proj.weight
    kept = weight.detach().clone()
    scaled(model)
    assert np.allclose(read(model, out), read(model), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2
    with torch.no_grad():
        weight.copy_(kept)
    assert np.array_equal(read(model, out), before)
    assert len(list(tmp_path.iterdir())) == 2


def test_training_mode_is_refused_where_it_drops_out_and_no_dropout_is_none():
    model = tiny_bridge("gpt2")
    model.train()
    with pytest.raises(ValueError, match=r"training mode .*dropout.*model\.eval"):
        read(model)
    quiet = tiny_bridge("qwen2")
    quiet.train()
    assert np.isfinite(read(quiet)).all()


def test_where_a_model_comes_from_is_no_part_of_what_it_is(tmp_path):
    on_disk = load(saved(tmp_path))
    in_memory = load(tiny_hf("llama"), tokenizer=tiny_tokenizer("llama"))
    assert source(on_disk).digest() == source(in_memory).digest()
    assert source(on_disk).kind == "directory" and source(in_memory).kind == "memory"


def test_a_tokenizer_that_was_used_is_the_same_one():
    tokenizer = copy.deepcopy(tiny_tokenizer("qwen2"))
    before = load(tiny_hf("qwen2"), tokenizer=tokenizer).interp_source.digest()
    tokenizer(list(TEXTS), padding=True, truncation=True, max_length=10)
    assert load(tiny_hf("qwen2"), tokenizer=tokenizer).interp_source.digest() == before
    tokenizer.add_tokens(["zzz"])
    assert load(tiny_hf("qwen2"), tokenizer=tokenizer).interp_source.digest() != before


def test_models_of_the_hub_are_told_apart_by_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, seed in (("base", 0), ("instruct", 1)):
        commit = "0" * 39 + str(seed)
        base = tmp_path / f"models--me--{name}"
        (base / "refs").mkdir(parents=True)
        (base / "refs" / "main").write_text(commit)
        tiny_hf("qwen2", seed=seed).save_pretrained(base / "snapshots" / commit)
        tiny_tokenizer("qwen2").save_pretrained(base / "snapshots" / commit)
    check_name("me/base")
    sources = [load(f"me/{name}", check=False).interp_source for name in ("base", "instruct")]
    assert [s.revision[-1] for s in sources] == ["0", "1"]
    assert sources[0].digest() != sources[1].digest()


# --- nobody else's edits -------------------------------------------------------------------------


def parametrized(model):
    layer = model.original_model.transformer.h[1].mlp.c_proj.original_component
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", torch.nn.Identity())


ATTACHED = {
    "add_hook": lambda model: model.add_hook(resid_post(0), lambda tensor, hook: tensor * 3),
    "permanent": lambda model: model.add_hook(
        resid_post(0), lambda tensor, hook: tensor * 3, is_permanent=True
    ),
    "torch": lambda model: model.original_model.transformer.h[0].register_forward_hook(
        lambda module, args, output: None
    ),
    "torch, before": lambda model: model.original_model.transformer.h[0].register_forward_pre_hook(
        lambda module, args: None
    ),
    "forward": lambda model: setattr(
        model.original_model.transformer.h[2].mlp, "forward", lambda x: x
    ),
    "parametrization": parametrized,
}


@pytest.mark.parametrize("what", ATTACHED)
def test_a_foreign_hook_writes_no_store(what, tmp_path):
    model = tiny_bridge("gpt2")
    read(model, tmp_path / "clean")  # its own hooks are none of a stranger's
    ATTACHED[what](model)
    with pytest.raises(ValueError, match="somebody's hooks or forwards are on"):
        read(model, tmp_path / "edited")
    assert not (tmp_path / "edited").exists()


def test_hooks_from_before_the_load_and_over_all_modules_count(tmp_path):
    hf = tiny_hf("llama")
    hf.model.layers[0].register_forward_hook(lambda module, args, output: None)
    with pytest.raises(ValueError, match="somebody's hooks"):
        read(load(hf, tokenizer=tiny_tokenizer("llama")), tmp_path / "a")
    model = tiny_bridge("llama")
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *args: None)
    try:
        with pytest.raises(ValueError, match="every module"):
            read(model, tmp_path / "b")
    finally:
        handle.remove()
    read(model, tmp_path / "b")


def test_threads_leave_one_another_alone():
    model = tiny_bridge("llama")
    ids = model.tokenizer(TEXTS[0], return_tensors="pt").input_ids
    plain, both, seen = model(ids), threading.Barrier(2), {}

    def steered():
        with steer(model, {HOOK: torch.ones(32)}):
            both.wait()
            both.wait()
            seen["steered"] = model(ids)

    def other():
        both.wait()
        seen["plain"] = model(ids)
        both.wait()

    crew = [threading.Thread(target=target) for target in (steered, other)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert torch.equal(seen["plain"], plain)
    assert not torch.equal(seen["steered"], plain)


def test_extractions_of_several_threads_are_those_of_one():
    model = tiny_bridge("llama")
    right, outcomes = read(model), Counter()

    def work():
        for _ in range(5):
            outcomes[bool(np.array_equal(read(model), right))] += 1

    crew = [threading.Thread(target=work) for _ in range(4)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert outcomes == {True: 20}


# --- files and objects ---------------------------------------------------------------------------


def test_missing_and_misshapen_weights_are_refused_by_name_and_tied_ones_are_not(tmp_path):
    file = saved(tmp_path / "a") / "model.safetensors"
    tensors = load_file(file)
    kept = {name: t for name, t in tensors.items() if ".layers.1." not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"9 weights are missing .*layers\.1\.input_layernorm"):
        load(tmp_path / "a")
    head = {name: t for name, t in tensors.items() if name != "lm_head.weight"}
    save_file(head, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing .*lm_head\.weight"):
        load(tmp_path / "a")
    tied = tiny_hf("llama", tie_word_embeddings=True)
    tied.save_pretrained(tmp_path / "b")
    tiny_tokenizer("llama").save_pretrained(tmp_path / "b")
    load(tmp_path / "b", check=False)


def test_an_adapter_is_to_be_merged_first(tmp_path):
    lora = peft.LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(tiny_hf("llama"), lora)
    saved(tmp_path)
    wrapped.save_pretrained(tmp_path)
    for refuse in (load, check_name):
        with pytest.raises(ValueError, match=r"adapter_config\.json.*merge"):
            refuse(tmp_path)
    with pytest.raises(ValueError, match=r"merge .*merge_and_unload"):
        load(wrapped, tokenizer=tiny_tokenizer("llama"))
    with pytest.raises(ValueError, match="holds adapters of peft"):
        load(wrapped.base_model.model, tokenizer=tiny_tokenizer("llama"))
    load(wrapped.merge_and_unload(), tokenizer=tiny_tokenizer("llama"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda d, f: f.unlink(), "model-00002-of-.*safetensors is missing"),
        (lambda d, f: f.write_bytes(f.read_bytes()[:500]), "model-00002-of-.* is cut"),
        (lambda d, f: f.write_bytes(f.read_bytes()[:-1]), "model-00002-of-.* is cut"),
        (lambda d, f: f.write_bytes(b""), "model-00002-of-.* is empty"),
        (lambda d, f: f.write_text("<html>not found</html>"), "model-00002-of-.* no safetensors"),
        (
            lambda d, f: f.write_text("version https://git-lfs.github.com/spec/v1\n"),
            "model-00002-of-.* is a git-lfs pointer, not weights",
        ),
        (lambda d, f: (d / "config.json").write_text("{"), r"config\.json is no JSON"),
        (lambda d, f: (d / "config.json").unlink(), "it needs config.json"),
        (
            lambda d, f: (d / "model.safetensors.index.json").write_text("{}"),
            r"index\.json has no weight_map",
        ),
    ],
)
def test_broken_files_are_named_and_the_hub_is_not(break_it, message, tmp_path):
    directory = saved(tmp_path, max_shard_size="20KB")
    break_it(directory, sorted(directory.glob("*.safetensors"))[1])
    with pytest.raises(ValueError, match=message) as caught:
        load(directory)
    assert "hub" not in str(caught.value) and "huggingface.co" not in str(caught.value)


class Pipeline:
    """What transformers' own pipelines look like."""

    def __init__(self, model):
        self.model = model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.compile(tiny_hf("llama")), "_orig_mod"),
        (lambda: torch.nn.DataParallel(tiny_hf("llama")), r"model\.module"),
        (lambda: tiny_bridge("llama"), "TransformerBridge already"),
        (lambda: Pipeline(tiny_hf("llama")), r"model\.model"),
        (lambda: LlamaForCausalLM, "the class LlamaForCausalLM"),
        (lambda: LlamaConfig(), "a LlamaConfig is no model"),
        (lambda: None, "a NoneType is no model"),
        (lambda: b"gpt2", "a bytes is no model"),
        (lambda: tiny_bridge("llama").original_model, "wrapped by a bridge already"),
    ],
)
def test_objects_are_no_names(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(make(), tokenizer=tiny_tokenizer("llama"))
    assert len(str(caught.value)) < 250


def test_arguments_that_cannot_apply_are_refused(tmp_path):
    hf, tokenizer = tiny_hf("llama"), tiny_tokenizer("llama")
    for options, message in (
        ({"revision": "main"}, "revision"),
        ({"device_map": "auto"}, "device_map"),
        ({"weights": "random"}, "in memory"),
        ({"seed": 3}, "weights='random' too"),
        ({"weights": "best"}, "choose from trained, random"),
        ({"device": "cuda:7"}, "is not on this machine"),
    ):
        with pytest.raises(ValueError, match=message):
            load(hf, tokenizer=tokenizer, **options)
    with pytest.raises(ValueError, match="revision = 'step1000' applies to models of the hub"):
        load(saved(tmp_path), revision="step1000")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        check_device("gpu")


def test_names_are_checked_without_loading_and_near_ones_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_name("smollm2-135m-instruct-q4")
    check_name(saved(tmp_path))
    for name, message in (
        ("smolm2-135m", "Did you mean smollm2-135m-instruct-q4"),
        (tmp_path / "nowhere", "no such directory or file"),
        (tmp_path / "model.gguf", "no GGUF file"),
        ("", "no such directory"),
    ):
        with pytest.raises(ValueError, match=message):
            check_name(name)


def test_old_names_are_understood_and_true_ones_recorded():
    with pytest.warns(UserWarning, match="dequantised from 4 bits"):
        model = load("smollm2-135m")
    assert source(model).name == OLD_NAMES["smollm2-135m"] == "smollm2-135m-instruct-q4"


def test_random_weights_are_a_model_of_their_own(tmp_path):
    directory = saved(tmp_path)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (
        load(directory, weights="random", seed=seed, check=False) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    digests = [source(m).digest() for m in (first, second, other, load(directory))]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert source(first).name.endswith("(random weights, seed 0)")
    assert source(load(f"random:{directory}", check=False)).digest() == digests[0]
    check_name(f"random:{directory}")
    assert untrained(["a", "random:a"]) == ("random:a",)
    with pytest.raises(ValueError, match="random ones have none"):
        checkpoint_directory(f"random:{directory}")
    with pytest.raises(ValueError, match="unknown model"):
        check_name("random:./nowhere")
    assert source(first.interp_loader()).digest() == digests[0]
    ids = torch.tensor([[2, 5, 7]])
    assert not torch.allclose(first(ids), load(directory)(ids))


# --- conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_generation_is_that_of_an_untouched_greedy_loop(family):
    hf = tiny_hf(family)
    reference = copy.deepcopy(hf)
    model = load(hf, tokenizer=tiny_tokenizer(family))
    ids = right = model.tokenizer(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        for _ in range(12):
            right = torch.cat(
                [right, reference(right, use_cache=False).logits[:, -1:].argmax(-1)], 1
            )
    options = {"do_sample": False, "verbose": False, "stop_at_eos": False, "return_type": "tokens"}
    assert torch.equal(model.generate(ids, max_new_tokens=12, **options), right)


def test_a_cache_that_is_dropped_is_found(monkeypatch):
    """As under releases that call it otherwise: every step begins at nothing."""
    model = tiny_bridge("llama")
    forward = model.original_model.forward

    def forgetful(*args, past_key_values=None, **kwargs):
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.original_model, "forward", forgetful)
    broken = {check.name for check in conformance(model).checks if not check.passed}
    assert broken & {"cached steps equal one pass", "generation takes the likeliest token"}
    assert "resid_pre + attn_out = resid_mid" not in broken


def test_zero_over_zero_is_no_error_and_a_nan_in_any_block_is():
    for block in (0, 2):
        hf = tiny_hf("llama")
        with torch.no_grad():
            hf.model.layers[block].self_attn.o_proj.weight.zero_()
            hf.model.layers[block].mlp.down_proj.weight.zero_()
        load(hf, tokenizer=tiny_tokenizer("llama"))
    for bad in range(3):
        test = lambda model, cache, block, bad=bad: float("nan") if block == bad else 0.0  # noqa: E731
        check = _worst("x", 1e-4, test, tiny_bridge("llama"), {}, range(3))
        assert not check.passed and check.where == f"block {bad}"
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ConformanceError, match="finite"):
        load(hf, tokenizer=tiny_tokenizer("llama"))


def longrope(**options):
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=800,
        initializer_range=0.2,
        rope_parameters={"rope_theta": 10000.0, "factor": 4.0} | options,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


SCALINGS = {
    "longrope": {
        "rope_type": "longrope",
        "original_max_position_embeddings": 200,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 2.0, 4.0, 8.0],
    },
    "dynamic": {"rope_type": "dynamic", "original_max_position_embeddings": 200},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_company_beyond_a_switch_changes_nothing(kind):
    hf, tokenizer = longrope(**SCALINGS[kind])
    reference = copy.deepcopy(hf)
    with pytest.warns(UserWarning, match=f"rope type {kind}.*200"):
        model = load(hf, tokenizer=tokenizer)
    texts = [TEXTS[0], "Bob likes chess. " * 40, "Bob likes chess. " * 44, TEXTS[1]]
    samples = [Sample(t, {"end": (len(t.rstrip()) - 1, len(t.rstrip()))}) for t in texts]
    got = extract(model, samples, hooks=[HOOK], progress=False).read(HOOK)[:, 0]
    for row, text in zip(got, texts, strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        fresh = copy.deepcopy(reference)
        with torch.no_grad():
            states = fresh(ids, output_hidden_states=True, use_cache=False).hidden_states[2]
        last = states[0, -2] if text.endswith(" ") and not np.allclose(row, states[0, -1], atol=1e-3) else states[0, -1]  # fmt: skip # noqa: E501
        np.testing.assert_allclose(row, last.numpy(), atol=1e-3)


def test_a_window_that_leaks_into_the_company_is_refused_and_a_long_one_is_told(monkeypatch):
    with pytest.warns(UserWarning, match="sliding_window = 2000: company longer .* not tried"):
        hf = tiny_hf("gemma3", sliding_window=2000, max_position_embeddings=4000)
        load(hf, tokenizer=tiny_tokenizer("gemma3"))
    config = tiny_hf("gemma3").config
    assert [(s.name, s.length) for s in switches(config)] == [("sliding_window", 8)]
    assert company(config, 3) == company(config, 100) == 0


def test_a_tokenizer_that_appends_eos_loads_and_says_where_strings_differ():
    tokenizer = copy.deepcopy(tiny_tokenizer("qwen2"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 0)]
    )
    with pytest.warns(UserWarning, match=r"differ at token \d+: nothing where .*'<eos>' \(0\)"):
        load(tiny_hf("qwen2"), tokenizer=tokenizer)


def test_a_tokenizer_without_pad_and_eos_works():
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer("qwen2").backend_tokenizer)
    model = load(tiny_hf("qwen2"), tokenizer=bare)
    np.testing.assert_allclose(read(model), read(tiny_bridge("qwen2")), atol=1e-5)


def test_a_release_outside_of_what_is_known_is_named(monkeypatch):
    assert unknown_releases() == []
    versions = {"transformers": "5.24.0", "tokenizers": "0.23.3", "torch": "2.13.0"}
    monkeypatch.setattr(
        "interp.model._releases.metadata.version", lambda name: versions.get(name, "4.3.0")
    )
    (sentence,) = unknown_releases()
    assert sentence.startswith("transformers 5.24.0 is installed") and "<5.24" in sentence
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ConformanceError, match=r"transformers 5\.24\.0 is installed"):
        load(hf, tokenizer=tiny_tokenizer("llama"))


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_rendered_chat_gets_the_template_s_own_ids():
    tokenizer = copy.deepcopy(tiny_tokenizer("llama"))
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    )
    chat = [{"role": "user", "content": "Alice was born."}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    right = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
    hf = tiny_hf("llama")
    reference = copy.deepcopy(hf)
    model = load(hf, tokenizer=tokenizer)
    sample = Sample(text, {"name": find(text, "Alice")})
    got = extract(model, [sample], hooks=[HOOK], progress=False).read(HOOK)[0, 0]
    with torch.no_grad():
        states = reference(torch.tensor([right]), output_hidden_states=True).hidden_states[2][0]
    errors = (states - torch.from_numpy(got)).abs().max(1).values
    assert errors.min() < 1e-4
