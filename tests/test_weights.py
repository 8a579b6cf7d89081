"""Attention weights read from a checkpoint are those that HuggingFace computes with."""

import copy
import dataclasses
import json
import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, tiny_bridge, tiny_hf
from transformers import LlamaForCausalLM

from interp.weights import AttentionWeights, ModelWeights, perturbed, size_report

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Directory and model by family and overrides, saved once each."""
    made = {}

    def save(family, **overrides):
        key = (family, str(overrides))
        if key not in made:
            model = tiny_hf(family, **overrides)
            directory = tmp_path_factory.mktemp(family)
            model.save_pretrained(directory)
            made[key] = directory, model
        return made[key]

    return save


def rewrite(source, target, *, rename=lambda name: name, drop=(), add=None, **config):
    """A copy of a checkpoint with tensors renamed, dropped or added and settings changed."""
    target.mkdir()
    tensors = load_file(source / "model.safetensors")
    kept = {rename(n): t.contiguous() for n, t in tensors.items() if n not in drop}
    save_file(kept | (add or {}), target / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((source / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(settings))
    return target


def same(a: AttentionWeights, b: AttentionWeights) -> bool:
    def equal(x, y):
        if isinstance(x, torch.Tensor):
            return x.dtype == y.dtype and torch.equal(x, y)
        if dataclasses.is_dataclass(x):
            return all(equal(getattr(x, f.name), getattr(y, f.name)) for f in dataclasses.fields(x))
        return x == y

    return equal(dataclasses.replace(a, bytes_read=0), dataclasses.replace(b, bytes_read=0))


def blocks_of(model) -> Any:
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_and_model_agree_bit_for_bit(saved, family):
    directory, _ = saved(family)
    bridge = tiny_bridge(family)
    from_file = [AttentionWeights.from_checkpoint(directory, block) for block in range(3)]
    from_model = [AttentionWeights.from_model(bridge, block) for block in range(3)]
    assert all(map(same, from_file, from_model))
    assert not same(from_file[0], dataclasses.replace(from_model[1], block=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_projections_and_norms_are_those_of_the_modules(saved, family):
    directory, model = saved(family)
    x = 3 * torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    w = AttentionWeights.from_checkpoint(directory, 1)
    block = blocks_of(model)[1]
    zero = torch.zeros(())
    with torch.no_grad():
        if family == "gpt2":
            centred = x - x.mean(-1, keepdim=True)
            normed, expected = block.ln_1(x), block.attn.c_attn(x).chunk(3, -1)
            output = block.attn.c_proj(x)
        else:
            centred, attn = x, block.self_attn
            normed = block.input_layernorm(x)
            expected = attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
            output = attn.o_proj(x)
        by_hand = centred / (centred.pow(2).mean(-1, keepdim=True) + w.eps).sqrt() * w.norm_gain
    norm_bias = zero if w.norm_bias is None else w.norm_bias
    torch.testing.assert_close(by_hand + norm_bias, normed)
    for role, wanted in zip("QKV", expected, strict=True):
        weight, bias = getattr(w, f"W_{role}"), getattr(w, f"b_{role}")
        got = torch.einsum("nd,hde->nhe", x, weight) + (zero if bias is None else bias)
        torch.testing.assert_close(got.flatten(1), wanted)
    assert (w.W_Q.shape[0], w.W_K.shape[0]) == (w.n_heads, w.n_kv_heads) == (4, len(w.W_K))
    got = torch.einsum("nhe,hed->nd", x.view(5, 4, 8), w.W_O)
    torch.testing.assert_close(got + (zero if w.b_O is None else w.b_O), output)


def test_family_facts(saved):
    facts = {family: AttentionWeights.from_checkpoint(saved(family)[0], 0) for family in FAMILIES}
    assert {f for f, w in facts.items() if w.q_gain is not None} == {"qwen3", "gemma3"}
    assert {f for f, w in facts.items() if w.post_gain is not None} == {"gemma2", "gemma3"}
    assert {f for f, w in facts.items() if w.b_Q is not None} == {"gpt2", "qwen2"}
    assert {f for f, w in facts.items() if w.rope is None} == {"gpt2"}
    assert {f for f, w in facts.items() if w.norm == "LayerNorm"} == {"gpt2"}
    assert {f for f, w in facts.items() if w.softcap == 50.0} == {"gemma2"}
    assert {f for f, w in facts.items() if w.window == 8} == {"gemma2", "gemma3"}
    assert AttentionWeights.from_checkpoint(saved("gemma3")[0], 1).window is None
    scaled = saved("gemma2", query_pre_attn_scalar=100)[0]
    assert AttentionWeights.from_checkpoint(scaled, 0).scale == 0.1
    by_block = saved("gpt2", scale_attn_by_inverse_layer_idx=True)[0]
    assert AttentionWeights.from_checkpoint(by_block, 1).scale == 8**-0.5 / 2


def test_gemma_gain_is_one_plus_weight_and_is_not_rounded(saved, tmp_path):
    directory, model = saved("gemma3")
    w = AttentionWeights.from_checkpoint(directory, 0, dtype=torch.bfloat16)
    assert w.W_Q.dtype == torch.bfloat16
    for gain, module in (
        (w.norm_gain, model.model.layers[0].input_layernorm),
        (w.post_gain, model.model.layers[0].post_attention_layernorm),
        (w.q_gain, model.model.layers[0].self_attn.q_norm),
        (w.k_gain, model.model.layers[0].self_attn.k_norm),
    ):
        assert gain is not None and torch.equal(gain, 1 + module.weight)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    stored = AttentionWeights.from_checkpoint(tmp_path, 0)
    assert stored.W_Q.dtype == stored.norm_gain.dtype == torch.float32
    assert torch.equal(stored.norm_gain, 1 + model.model.layers[0].input_layernorm.weight.float())
    assert stored.bytes_read * 2 == AttentionWeights.from_checkpoint(directory, 0).bytes_read


@pytest.mark.parametrize("parameters", [LLAMA3, YARN, {**YARN, "rope_type": "linear"}])
def test_scaled_rope_is_that_of_the_forward_pass(saved, parameters):
    directory, model = saved("llama", rope_parameters=parameters)
    rope = AttentionWeights.from_checkpoint(directory, 0).rope
    plain = AttentionWeights.from_checkpoint(saved("llama")[0], 0).rope
    assert rope is not None and plain is not None
    assert rope.n_rotated == 8
    assert not torch.allclose(rope.inverse_frequencies, plain.inverse_frequencies)
    assert (rope.attention_scaling > 1.1) == (parameters["rope_type"] == "yarn")
    positions = torch.arange(50)[None]
    cos, sin = model.model.rotary_emb(torch.zeros(1), positions)
    angles = positions[0, :, None] * rope.inverse_frequencies
    torch.testing.assert_close(cos[0, :, :4], angles.cos() * rope.attention_scaling)
    torch.testing.assert_close(sin[0, :, 4:], angles.sin() * rope.attention_scaling)


def test_gemma3_blocks_have_their_own_base(saved):
    directory, _ = saved("gemma3")
    ropes = [AttentionWeights.from_checkpoint(directory, block).rope for block in (0, 1)]
    slowest = [rope.inverse_frequencies[-1].item() for rope in ropes if rope is not None]
    assert slowest == pytest.approx([1e4**-0.75, 1e6**-0.75], rel=1e-5)


def test_sharded_equals_single_and_other_shards_are_not_opened(saved, tmp_path):
    directory, model = saved("qwen2")
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    shards = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(shards.values())) > 3
    assert size_report(tmp_path) == size_report(directory)
    needed = {
        shard
        for name, shard in shards.items()
        if ".1.self_attn." in name or ".1.input_layernorm." in name
    }
    for shard in set(shards.values()) - needed:
        (tmp_path / shard).unlink()
    read = AttentionWeights.from_checkpoint(tmp_path, 1)
    assert same(read, AttentionWeights.from_checkpoint(directory, 1))
    (tmp_path / min(needed)).unlink()
    with pytest.raises(ValueError, match=f"shard {min(needed)} .* is missing"):
        AttentionWeights.from_checkpoint(tmp_path, 1)
    with pytest.raises(ValueError, match="is missing"):
        size_report(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_read_are_the_bytes_needed(saved, family):
    directory, model = saved(family)
    report = size_report(directory)
    read = [AttentionWeights.from_checkpoint(directory, b).bytes_read for b in range(3)]
    attention = sum(
        p.numel() * 4
        for name, p in blocks_of(model)[0].named_parameters()
        if "attn" in name
        or name.split(".")[0] in ("ln_1", "input_layernorm")
        or (family.startswith("gemma") and name.startswith("post_attention"))
    )
    assert read == [attention] * 3
    assert report.bytes_needed == sum(read)
    assert report.bytes_total == 4 * sum(p.numel() for p in model.parameters())
    assert report.blocks == 3


@pytest.mark.parametrize(
    ("family", "architecture", "strip"),
    [
        ("gpt2", "GPT2Model", "transformer."),
        ("llama", "LlamaModel", "model."),
        ("gemma3", "Gemma3TextModel", "model."),
    ],
)
def test_models_without_a_head(saved, tmp_path, family, architecture, strip):
    directory, _ = saved(family)
    bare = rewrite(
        directory,
        tmp_path / "bare",
        rename=lambda name: name.removeprefix(strip),
        architectures=[architecture],
    )
    read = AttentionWeights.from_checkpoint(bare, 2)
    assert same(read, AttentionWeights.from_checkpoint(directory, 2))


@pytest.mark.parametrize("root", ["language_model.model.", "model.language_model."])
def test_the_language_model_of_a_multimodal_checkpoint(saved, tmp_path, root):
    directory, _ = saved("gemma3")
    text = json.loads((directory / "config.json").read_text())
    both = rewrite(
        directory,
        tmp_path / "both",
        rename=lambda name: root + name.removeprefix("model."),
        architectures=["Gemma3ForConditionalGeneration"],
        model_type="gemma3",
        text_config=text,
    )
    read = AttentionWeights.from_checkpoint(both, 1)
    assert same(read, AttentionWeights.from_checkpoint(directory, 1))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ("model.layers.0.self_attn.q_proj.weight.absmax", "bitsandbytes"),
        ("model.layers.0.self_attn.q_proj.weight.quant_map", "bitsandbytes"),
        ("model.layers.0.self_attn.q_proj.qweight", "AWQ"),
        ("model.layers.0.self_attn.q_proj.qzeros", "AWQ"),
        ("model.layers.0.self_attn.q_proj.g_idx", "GPTQ"),
        ("model.layers.0.self_attn.q_proj.weight_scale_inv", "8-bit"),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "latent attention"),
        ("model.layers.0.mlp.experts.0.up_proj.weight", "mixture of experts"),
    ],
)
def test_other_layouts_are_refused_by_name(saved, tmp_path, tensor, message):
    odd = rewrite(saved("llama")[0], tmp_path / "odd", add={tensor: torch.ones(2)})
    for reader in (lambda: AttentionWeights.from_checkpoint(odd, 0), lambda: size_report(odd)):
        with pytest.raises(ValueError, match=message) as error:
            reader()
        assert tensor in str(error.value)


def test_integer_weights_are_refused(saved, tmp_path):
    name = "model.layers.0.self_attn.q_proj.weight"
    packed = {name: torch.ones(32, 32, dtype=torch.uint8)}
    odd = rewrite(saved("llama")[0], tmp_path / "odd", add=packed)
    with pytest.raises(ValueError, match=f"{name}.*U8"):
        AttentionWeights.from_checkpoint(odd, 0)


def test_a_lost_bias_does_not_pass_for_an_architecture_without_one(saved, tmp_path):
    name = "model.layers.1.self_attn.k_proj.bias"
    lost = rewrite(saved("qwen2")[0], tmp_path / "lost", drop=[name])
    AttentionWeights.from_checkpoint(lost, 0)
    with pytest.raises(ValueError, match=name):
        AttentionWeights.from_checkpoint(lost, 1)


def test_bad_checkpoints(saved, tmp_path):
    directory, model = saved("llama")
    for block in (-1, 3):
        with pytest.raises(ValueError, match=rf"block={block} .* 0\.\.2"):
            AttentionWeights.from_checkpoint(directory, block)
    unknown = rewrite(directory, tmp_path / "unknown", architectures=["MambaForCausalLM"])
    with pytest.raises(ValueError, match="MambaForCausalLM.*GPT2LMHeadModel.*Gemma3ForCausalLM"):
        AttentionWeights.from_checkpoint(unknown, 0)
    with pytest.raises(ValueError, match=r"config\.json"):
        AttentionWeights.from_checkpoint(tmp_path, 0)
    shutil.copy(directory / "config.json", tmp_path)
    with pytest.raises(
        ValueError, match="holds no model.safetensors and no .*; it holds config.json"
    ):
        AttentionWeights.from_checkpoint(tmp_path, 0)
    elsewhere = rewrite(directory, tmp_path / "elsewhere", rename=lambda name: f"deep.{name}")
    with pytest.raises(ValueError, match="prefixes"):
        AttentionWeights.from_checkpoint(elsewhere, 0)
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    stretched = rewrite(directory, tmp_path / "stretched", rope_parameters=dynamic)
    with pytest.raises(ValueError, match="dynamic.*llama3"):
        AttentionWeights.from_checkpoint(stretched, 0)


def index_of(directory):
    """The index of a sharded checkpoint, and how to write another."""
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    return index, lambda changed: path.write_text(json.dumps(changed))


def q_of(directory, block=0):
    """The query weights that transformers reads from a directory, in the layout that we give."""
    read = LlamaForCausalLM.from_pretrained(directory).model.layers[block].self_attn.q_proj.weight
    return read.detach().view(4, 8, 32).mT


Q = "model.layers.0.self_attn.q_proj.weight"


def test_a_tensor_is_read_from_the_shard_that_holds_it_whatever_the_index_says(saved, tmp_path):
    """transformers reads all that the named shards hold, and so must we."""
    directory, model = saved("llama")
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    index, write = index_of(tmp_path)
    named = set(index["weight_map"].values())
    wrong = max(shard for shard in named if shard != index["weight_map"][Q])
    for change in ({Q: wrong}, {Q: None}):
        placed = {k: v for k, v in (index["weight_map"] | change).items() if v}
        write({**index, "weight_map": placed})
        read = AttentionWeights.from_checkpoint(tmp_path, 0)
        assert torch.equal(read.W_Q, q_of(tmp_path))
        assert same(read, AttentionWeights.from_checkpoint(directory, 0))
    # of two copies transformers keeps the last shard's
    last = load_file(tmp_path / max(named)) | {Q: torch.ones(32, 32)}
    save_file(last, tmp_path / max(named), metadata={"format": "pt"})
    assert torch.equal(AttentionWeights.from_checkpoint(tmp_path, 0).W_Q, q_of(tmp_path))
    assert torch.equal(q_of(tmp_path), torch.ones(4, 32, 8))


def test_an_index_that_names_an_absent_tensor(saved, tmp_path):
    _, model = saved("llama")
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    shard = tmp_path / index_of(tmp_path)[0]["weight_map"][Q]
    save_file({"other": torch.ones(2)}, shard, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{Q}.* does not hold it"):
        AttentionWeights.from_checkpoint(tmp_path, 0)


@pytest.mark.parametrize("case", ["index alone stale", "index and shards stale", "named in config"])
def test_of_several_sets_of_weights_the_one_transformers_reads(saved, tmp_path, case):
    _, base = saved("llama")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.layers[0].self_attn.q_proj.weight += 1
    base.save_pretrained(tmp_path, max_shard_size="30KB")
    if case == "index alone stale":
        tuned.save_pretrained(tmp_path)  # takes the shards away and leaves the index
    else:
        tuned.save_pretrained(tmp_path / "tuned")
        shutil.move(tmp_path / "tuned" / "model.safetensors", tmp_path)
    if case == "named in config":
        config = json.loads((tmp_path / "config.json").read_text())
        config["transformers_weights"] = "model.safetensors.index.json"
        (tmp_path / "config.json").write_text(json.dumps(config))
    # files of other names, which from_pretrained does not read
    save_file({Q: torch.zeros(32, 32)}, tmp_path / "model.fp16.safetensors")
    save_file({Q: torch.zeros(32, 32)}, tmp_path / "consolidated.safetensors")
    torch.save({Q: torch.zeros(32, 32)}, tmp_path / "pytorch_model.bin")
    expected = base if case == "named in config" else tuned
    read = AttentionWeights.from_checkpoint(tmp_path, 0)
    assert torch.equal(read.W_Q, q_of(tmp_path))
    assert torch.equal(q_of(tmp_path), expected.model.layers[0].self_attn.q_proj.weight.view(4, 8, 32).mT)  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.fp16.safetensors", "consolidated.safetensors", "w.gguf",
             "sub/model.safetensors", "pytorch_model.bin.index.json"],
)  # fmt: skip
def test_weights_that_are_not_read_are_named(saved, tmp_path, name):
    shutil.copy(saved("llama")[0] / "config.json", tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"no model.safetensors .*it holds .*{name}"):
        AttentionWeights.from_checkpoint(tmp_path, 0)


@pytest.mark.parametrize("name", ["adapter_config.json", "shard-00000-model-00001-of-00002.safetensors"])  # fmt: skip # noqa: E501
def test_files_that_make_transformers_read_something_else_are_refused(saved, tmp_path, name):
    directory = shutil.copytree(saved("llama")[0], tmp_path / "copy")
    (directory / name).write_text("{}")
    with pytest.raises(
        ValueError, match="merge_and_unload" if "adapter" in name else f"{name}, one rank"
    ):
        size_report(directory)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 2690605\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: POINTER.encode(), "a git-lfs pointer, not weights: fetch"),
        (lambda _: b"", "is empty"),
        (lambda whole: whole[:5], "cut or no safetensors file: 5 bytes"),
        (lambda whole: whole[:40], "cut or no safetensors file: 40 bytes"),
        (lambda whole: whole[:-1], "cut or no safetensors file"),
        (lambda whole: whole + b"\0", "cut or no safetensors file"),
        (lambda whole: (2**62).to_bytes(8, "little") + whole[8:], "cut or no safetensors file"),
        (lambda whole: whole[:8] + b"x" + whole[9:], "cut or no safetensors file"),
        (lambda whole: b"PK\3\4" + whole, "a zip archive"),
        (lambda _: b"<html>not found</html>", "cut or no safetensors file"),
        (lambda _: (2).to_bytes(8, "little") + b"[]", "cut or no safetensors file"),
    ],
)
@pytest.mark.parametrize("sharded", [False, True])
def test_files_without_weights_are_named(saved, tmp_path, change, message, sharded):
    directory, model = saved("llama")
    model.save_pretrained(tmp_path, **({"max_shard_size": "30KB"} if sharded else {}))
    broken = sorted(tmp_path.glob("*.safetensors"))[0]
    broken.write_bytes(change(broken.read_bytes()))
    for reader in (lambda: AttentionWeights.from_checkpoint(tmp_path, 0), lambda: size_report(tmp_path)):  # fmt: skip # noqa: E501
        with pytest.raises(ValueError, match=f"{broken.name} .*{message}"):
            reader()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "", "is no JSON"),
        ("config.json", "[]", "holds no object"),
        ("model.safetensors.index.json", POINTER, "is no JSON"),
        ("model.safetensors.index.json", '{"weight_map"', "is no JSON.*: it may be cut"),
        ("model.safetensors.index.json", "{}", "has no weight_map"),
    ],
)
def test_settings_and_indices_that_hold_nothing_are_named(saved, tmp_path, name, content, message):
    saved("llama")[1].save_pretrained(tmp_path, max_shard_size="30KB")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} .*{message}"):
        AttentionWeights.from_checkpoint(tmp_path, 0)


def test_a_folded_bridge_is_refused():
    bridge = tiny_bridge("gpt2")
    bridge.enable_compatibility_mode()
    with pytest.raises(ValueError, match="fold=False"):
        AttentionWeights.from_model(bridge, 0)


# --- noise, and all blocks of a model ------------------------------------------------------------


def test_noise_has_its_size_in_every_head_and_is_its_own_in_every_block(tmp_path):
    tiny_hf("llama").save_pretrained(tmp_path)
    blocks = [AttentionWeights.from_checkpoint(tmp_path, block) for block in (0, 1)]
    noisy = [perturbed(one, 0.1, seed=3) for one in blocks]
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        before, after = (getattr(one, name) for one in (blocks[0], noisy[0]))
        size = (after - before).pow(2).mean(dim=(1, 2)) / before.pow(2).mean(dim=(1, 2))
        assert (size.sqrt() - 0.1).abs().max() < 0.03
        added = [getattr(n, name) - getattr(b, name) for n, b in zip(noisy, blocks, strict=True)]
        joint = torch.corrcoef(torch.stack([part.flatten() for part in added]))
        assert joint[0, 1].abs() < 0.3
    assert torch.equal(noisy[0].norm_gain, blocks[0].norm_gain)
    again = perturbed(blocks[0], 0.1, seed=3)
    assert torch.equal(again.W_Q, noisy[0].W_Q)
    assert not torch.equal(perturbed(blocks[0], 0.1, seed=4).W_Q, noisy[0].W_Q)
    with pytest.raises(ValueError, match="relative = 0"):
        perturbed(blocks[0], 0.0)


def test_a_model_is_read_a_block_at_a_time(tmp_path):
    for name, overrides in (("base", {}), ("wide", {"hidden_size": 48})):
        tiny_hf("llama", **overrides).save_pretrained(tmp_path / name)
    model = ModelWeights.open(tmp_path / "base")
    one = AttentionWeights.from_checkpoint(tmp_path / "base", 1)
    assert torch.equal(model.attention(1).W_Q, one.W_Q)
    assert (model.label, model.heads, model.kv_heads) == ("base", one.n_heads, one.n_kv_heads)
    assert model.width == one.W_Q.shape[1] and model.blocks == size_report(tmp_path / "base").blocks
    noisy = model.with_noise(0.01, seed=5)
    assert noisy.label == "base with 1 % noise" and noisy.fingerprint()["noise"] == 0.01
    assert torch.equal(noisy.attention(1).W_Q, perturbed(one, 0.01, seed=5).W_Q)
    noisy.require_shape_of(model)
    with pytest.raises(ValueError, match="differ in width: base has 32, wide has 48"):
        ModelWeights.open(tmp_path / "wide").require_shape_of(model)
    # the fingerprint tells files apart by their headers
    shards = "shards (bytes, SHA-256 of the header, not of the content)"
    assert list(model.fingerprint()[shards]) == ["model.safetensors"]
