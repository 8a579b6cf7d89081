"""What a store is known by is what the model computes when it is made, and nothing else."""

import functools
from functools import partial

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, ModelHook, add_hook_to_module
from tiny_models import FAMILIES, TEXTS, tiny_hf, tiny_tokenizer
from tokenizers import normalizers
from torch.nn.utils import parametrize, prune

from interp.extract import extract
from interp.model import foreign, load, resid_post, source
from interp.positions import Sample

HOOK = resid_post(1)
SAMPLES = [Sample(text, {"start": (0, 3)}) for text in TEXTS]


def tiny_bridge(family: str, **overrides):
    """As the one of `tiny_models`, but for the checks at load, which are not what is tested."""
    hf = tiny_hf(family, **overrides)
    return load(hf, tokenizer=tiny_tokenizer(family), check=False)


def block(model, number: int = 0):
    return model.original_model.model.layers[number]


def inner(component):
    """The module that a component of the bridge wraps."""
    return component._modules["_original_component"]


def scaled(model) -> None:
    block(model).mlp.up_proj.weight.data.mul_(2)  # torch's version counter does not see it


def stepped(model) -> None:
    optimiser = torch.optim.SGD(model.original_model.parameters(), lr=0.1)
    model(torch.arange(5)[None]).sum().backward()
    optimiser.step()


CHANGES = {
    "in place": lambda m: block(m).mlp.up_proj.weight.requires_grad_(False).mul_(2),
    "through data": scaled,
    "one value": lambda m: block(m, 2).mlp.down_proj.weight.data[0, 0].add_(1e-6),
    "an optimiser": stepped,
    "a buffer": lambda m: m.original_model.model.rotary_emb.inv_freq.mul_(2),
    "dtype": lambda m: m.half(),
    "folding": lambda m: m.enable_compatibility_mode(),
    "an epsilon": lambda m: setattr(inner(block(m).input_layernorm), "variance_epsilon", 0.1),
    "a scale": lambda m: setattr(inner(block(m).self_attn), "scaling", 9.0),
    "a module": lambda m: setattr(inner(block(m).mlp), "act_fn", torch.nn.Identity().eval()),
    "a class": lambda m: setattr(
        inner(block(m)), "__class__", type("Mine", (type(inner(block(m))),), {})
    ),
    "rope": lambda m: m.original_model.config.rope_parameters.update(rope_theta=5.0),
    "attention": lambda m: m.original_model.set_attn_implementation("sdpa"),
    "the bridge's settings": lambda m: setattr(m.cfg, "eps", 0.1),
    "BOS": lambda m: setattr(m.tokenizer, "add_bos_token", False),
    "EOS": lambda m: setattr(m.tokenizer, "add_eos_token", True),
    "a new token": lambda m: m.tokenizer.add_tokens(["zzz"]),
    "lower case": lambda m: setattr(
        m.tokenizer.backend_tokenizer, "normalizer", normalizers.Lowercase()
    ),
    "special tokens as text": lambda m: setattr(m.tokenizer, "split_special_tokens", True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_the_model_changes_what_it_is_known_by(change):
    model = tiny_bridge("llama")
    before = source(model).digest()
    assert before == source(model).digest()
    change(model)
    assert source(model).digest() != before


UNCHANGED = {
    "edited and edited back": lambda m: (scaled(m), block(m).mlp.up_proj.weight.data.div_(2)),
    "gradients": lambda m: m(torch.arange(5)[None]).sum().backward(),
    "frozen": lambda m: m.original_model.requires_grad_(False),
    "gates": lambda m: (m.set_use_attn_result(True), m(torch.arange(5)[None])),
    "padding side": lambda m: setattr(m.tokenizer, "padding_side", "left"),
    "a pad token": lambda m: setattr(m.tokenizer, "pad_token", "<eos>"),
    "a chat template": lambda m: setattr(m.tokenizer, "chat_template", "{{ messages }}"),
    "a backward hook": lambda m: block(m).register_full_backward_hook(lambda *_: None),
    "the name": lambda m: setattr(m.original_model.config, "_name_or_path", "/elsewhere"),
    "the tokenizer in use": lambda m: m.tokenizer(
        list(TEXTS), padding="max_length", truncation=True, max_length=10
    ),
}


@pytest.mark.parametrize("change", UNCHANGED.values(), ids=UNCHANGED)
def test_what_no_activation_depends_on_does_not(change):
    model = tiny_bridge("llama")
    before = source(model).digest()
    change(model)
    assert source(model).digest() == before and not foreign(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_use_leaves_a_model_as_it_was(family):
    model = tiny_bridge(family)
    before = source(model).digest()
    ids = torch.tensor([model.tokenizer(TEXTS[2]).input_ids])
    model.run_with_cache(ids)
    model.generate(TEXTS[0], max_new_tokens=3, do_sample=False, verbose=False)
    model.original_model(ids, output_hidden_states=True, output_attentions=True)
    extract(model, SAMPLES, hooks=[HOOK], progress=False)
    assert source(model).digest() == before and not foreign(model)


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_frequencies_that_follow_the_length_are_no_part_of_a_model(rope):
    parameters = {"rope_type": rope, "rope_theta": 1e4, "factor": 2.0}
    if rope == "longrope":
        parameters |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
        parameters |= {"original_max_position_embeddings": 20}
    hf = tiny_hf("llama", rope_parameters=parameters, max_position_embeddings=20)
    model = load(hf, tokenizer=tiny_tokenizer("llama"), check=False)
    before = source(model).digest()
    frequencies = model.original_model.model.rotary_emb.inv_freq.clone()
    model(torch.arange(50)[None] + 5)
    assert not torch.equal(model.original_model.model.rotary_emb.inv_freq, frequencies)
    assert source(model).digest() == before


# --- what stands on a model ----------------------------------------------------------------------


def tripled(_module, _inputs, output):
    return output * 3


class Tripling(ModelHook):
    def post_forward(self, module, output):  # noqa: ARG002 (accelerate's signature)
        return output * 3


def patched(model) -> None:
    module = inner(block(model).mlp)
    plain = module.forward
    module.forward = functools.wraps(plain)(lambda *args: plain(*args) * 3)  # under its own name


def adapted(model) -> None:
    peft = pytest.importorskip("peft", reason="adapters were not checked: pip install peft")
    config = peft.LoraConfig(target_modules=".*q_proj._original_component")
    peft.inject_adapter_in_model(config, model.original_model)


ALTERATIONS = {
    "add_hook": (lambda m: m.add_hook(HOOK, lambda t, **_: t * 3), "a hook on blocks.1.hook_out"),
    "permanent": (
        lambda m: m.add_hook(HOOK, lambda *_, **__: None, is_permanent=True),
        "a hook on blocks.1",
    ),
    "torch on a point": (
        lambda m: m.hook_dict[HOOK].register_forward_hook(tripled),
        "a hook on blocks.1",
    ),
    "forward hook": (
        lambda m: block(m).register_forward_hook(tripled),
        r"a forward hook \(test_source.tripled\) on model.layers.0",
    ),
    "pre-hook inside": (
        lambda m: inner(block(m).mlp.up_proj).register_forward_pre_hook(lambda *_: None),
        "a forward hook .* on model.layers.0.mlp.up_proj",
    ),
    "method": (patched, r"a replaced forward\(\) on model.layers.0.mlp"),
    "accelerate": (
        lambda m: add_hook_to_module(inner(block(m).mlp), Tripling()),
        r"a hook of accelerate \(Tripling\) on model.layers.0.mlp",
    ),
    "parametrization": (
        lambda m: parametrize.register_parametrization(
            inner(block(m).mlp.up_proj), "weight", torch.nn.Identity()
        ),
        "a parametrization on model.layers.0.mlp.up_proj",
    ),
    "pruning": (
        lambda m: prune.l1_unstructured(inner(block(m).mlp.up_proj), "weight", 0.5),
        "a forward hook .torch.nn.utils.prune.* on model.layers.0.mlp.up_proj",
    ),
    "adapter": (adapted, "an adapter of peft .*merge it first"),
}


@pytest.mark.parametrize(("alter", "message"), ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_store_is_refused_while_anything_stands_on_the_model(tmp_path, alter, message):
    model = tiny_bridge("llama")
    alter(model)
    keep = partial(extract, model, SAMPLES, hooks=[resid_post(2)], progress=False)
    with pytest.raises(ValueError, match=message):
        keep(out=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    keep()  # in memory nobody takes it for the plain model's


def test_hooks_from_before_loading_count(tmp_path):
    hf = tiny_hf("llama")
    hf.model.layers[0].mlp.register_forward_hook(tripled)
    model = load(hf, tokenizer=tiny_tokenizer("llama"), check=False)
    with pytest.raises(ValueError, match="a forward hook .* on model.layers.0.mlp"):
        extract(model, SAMPLES, hooks=[HOOK], out=tmp_path / "s", progress=False)


def test_a_method_of_a_class_counts(monkeypatch):
    model = tiny_bridge("llama")
    monkeypatch.setattr(type(inner(block(model).mlp)), "forward", lambda _, x: x)
    assert "a replaced LlamaMLP.forward() on model.layers.0.mlp" in foreign(model)


def test_what_is_in_force_around_a_model_counts():
    model = tiny_bridge("llama")
    with torch.autocast("cpu"):
        assert foreign(model) == ("torch.autocast('cpu') around the call",)
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert foreign(model) == ("a global forward hook of torch on every module",)
    finally:
        handle.remove()
    assert not foreign(model)


def test_what_only_places_tensors_is_allowed():
    model = tiny_bridge("llama")
    add_hook_to_module(inner(block(model).mlp), AlignDevicesHook(io_same_device=True))
    before = source(model).digest()
    assert not foreign(model)
    assert source(model).digest() == before
