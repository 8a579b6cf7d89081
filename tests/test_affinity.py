"""Attention computed from weights alone is the attention of HuggingFace's eager forward pass."""

import dataclasses
from functools import cache

import pytest
import torch
from einops import rearrange
from test_weights import LLAMA3, YARN, blocks_of
from tiny_models import FAMILIES, tiny_pair

from interp.affinity import (
    fold,
    keys,
    logits,
    normalised,
    output,
    per_query_head,
    post_norm,
    queries,
    turned,
    vo,
)
from interp.weights import AttentionWeights

BLOCKS, LENGTH = 4, 24
TOLERANCE = 1e-5
"""Of float32 forward passes: measured at most 2.9e-6 on logits of up to 7.5, 5.3e-7 on
probabilities and 1.3e-6 on outputs of up to 5."""
HYBRID = ["sliding_attention", "full_attention"] * 2
SETTINGS = {
    "gpt2": dict(n_layer=BLOCKS),
    "llama": dict(attention_bias=True),
    "qwen2": dict(use_sliding_window=True, sliding_window=8, max_window_layers=2),
    "qwen3": dict(use_sliding_window=True, sliding_window=8, max_window_layers=2),
    "gemma2": dict(layer_types=HYBRID, attn_logit_softcapping=5.0, query_pre_attn_scalar=20),
    "gemma3": dict(layer_types=HYBRID, query_pre_attn_scalar=20),
    "llama3": dict(rope_parameters=LLAMA3),
    "yarn": dict(rope_parameters=YARN),
}
"""Every part away from where dropping it would not show, such as a scale equal to the default."""
CASES = tuple(SETTINGS)


@dataclasses.dataclass(frozen=True)
class Pass:
    """One block of one eager forward pass."""

    weights: AttentionWeights
    residual: torch.Tensor  # [n, d]
    logits: torch.Tensor  # [heads, n, n], defined where a key is visible
    pattern: torch.Tensor  # [heads, n, n]
    out: torch.Tensor  # [n, d], of the attention module
    written: torch.Tensor  # [n, d], after the post-norm where there is one


@cache
def eager(case: str) -> list[Pass]:
    family = case if case in FAMILIES else "llama"
    depth = {} if family == "gpt2" else {"num_hidden_layers": BLOCKS}
    bridge, model = tiny_pair(family, **depth, **SETTINGS[case])
    tokens = 4 + torch.arange(LENGTH)[None] * 7 % 97  # past the padding token, whose row is zero
    outs, written = {}, {}

    def keep(store, block):
        return lambda _module, _inputs, result: store.update(
            {block: (result[0] if isinstance(result, tuple) else result)[0]}
        )

    for number, block in enumerate(blocks_of(model)):
        attention = block.attn if family == "gpt2" else block.self_attn
        attention.register_forward_hook(keep(outs, number))
        last = block.post_attention_layernorm if family.startswith("gemma") else attention
        last.register_forward_hook(keep(written, number))
    with torch.no_grad():
        found = model(tokens, output_attentions=True, output_hidden_states=True)
        _, cached = bridge.run_with_cache(tokens)
    return [
        Pass(
            AttentionWeights.from_model(bridge, block),
            found.hidden_states[block][0],
            cached[f"blocks.{block}.attn.hook_attn_scores"][0],
            found.attentions[block][0],
            outs[block],
            written[block],
        )
        for block in range(BLOCKS)
    ]


def pair_logits(forms, x, *, sign=1):
    """Logits of all pairs of positions, from one call for each distance."""
    n = len(x)
    step = torch.arange(n) - torch.arange(n)[:, None]  # key position - query position
    result = torch.full((len(forms.A), n, n), -torch.inf, dtype=torch.float64)
    for distance in range(1 - n, 1):
        chosen = step == distance
        result[:, chosen] = logits(forms, x, x, distance=sign * distance)[:, chosen]
    return result


def pattern_of(forms, x, window, **options):
    scores = pair_logits(forms, x, **options)
    if window is not None:
        step = torch.arange(len(x))[:, None] - torch.arange(len(x))
        scores[:, step >= window] = -torch.inf
    return scores.softmax(-1)


def worst(a, b):
    return (a - b).abs().max().item()


@pytest.mark.parametrize("case", CASES)
def test_logits_probabilities_and_output_are_those_of_eager_attention(case):
    windows = set()
    for found in eager(case):
        forms = fold(found.weights)
        window = found.weights.window
        windows.add(window)
        visible = found.pattern[0] > 0
        span = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        assert torch.equal(visible, (span >= 0) & (span < (window or LENGTH)))
        scores = pair_logits(forms, found.residual)
        assert worst(scores[:, visible], found.logits[:, visible]) < TOLERANCE
        pattern = pattern_of(forms, found.residual, window)
        assert worst(pattern, found.pattern) < TOLERANCE
        out = output(forms, pattern, found.residual)
        assert worst(out, found.out) < TOLERANCE
        assert worst(post_norm(forms, out), found.written) < TOLERANCE
    if case.startswith(("gemma", "qwen")):
        assert windows == {8, None}


@pytest.mark.parametrize(
    ("case", "part", "broken"),
    [
        ("llama", "RoPE", dict(rope=None)),
        ("yarn", "RoPE", dict(rope=None)),
        ("qwen3", "QK-norm", dict(q_gain=None, k_gain=None)),
        ("gemma3", "QK-norm", dict(q_gain=None, k_gain=None)),
        ("qwen2", "biases", dict(b_Q=None, b_K=None)),
        ("gpt2", "biases", dict(b_Q=None, b_K=None)),
        ("gpt2", "the norm's bias", dict(norm_bias=None)),
        ("gpt2", "centring", dict(norm="RMSNorm")),
        ("gemma2", "softcap", dict(softcap=None)),
        ("gemma2", "scale", dict(scale=8**-0.5)),
    ],
)
def test_dropping_a_part_moves_a_probability(case, part, broken):
    found = eager(case)[1]
    wrong = fold(dataclasses.replace(found.weights, **broken))
    pattern = pattern_of(wrong, found.residual, found.weights.window)
    assert worst(pattern, found.pattern) > 0.01, part


@pytest.mark.parametrize("case", ["gemma2", "gemma3"])
def test_the_raw_offset_is_not_the_gain(case):
    found = eager(case)[1]
    offset = dataclasses.replace(found.weights, norm_gain=found.weights.norm_gain - 1)
    pattern = pattern_of(fold(offset), found.residual, found.weights.window)
    assert worst(pattern, found.pattern) > 0.01


def test_the_distance_is_key_minus_query():
    found = eager("llama")[1]
    pattern = pattern_of(fold(found.weights), found.residual, None, sign=-1)
    assert worst(pattern, found.pattern) > 0.01


@pytest.mark.parametrize(("case", "plain"), [("yarn", "llama"), ("llama3", "llama")])
def test_unscaled_rope_moves_a_probability(case, plain):
    found = eager(case)[1]
    wrong = dataclasses.replace(found.weights, rope=eager(plain)[1].weights.rope)
    assert worst(pattern_of(fold(wrong), found.residual, None), found.pattern) > 0.01


def test_gemma3_blocks_do_not_share_a_base():
    local, whole = eager("gemma3")[:2]
    wrong = dataclasses.replace(whole.weights, rope=local.weights.rope)
    assert worst(pattern_of(fold(wrong), whole.residual, None), whole.pattern) > 0.01


@pytest.mark.parametrize("case", CASES)
def test_flow_is_the_output_of_attending_to_one_vector(case):
    """A query that sees itself alone attends to itself with probability 1."""
    for found in eager(case):
        forms, first = fold(found.weights), found.residual[:1]
        flow = vo(forms, first, torch.eye(32))
        assert worst(flow.dot[0], found.written[0]) < TOLERANCE
        unit = found.written[0] / found.written[0].norm()
        assert worst(flow.cosine[0], unit) < TOLERANCE
        assert worst(vo(forms, first, 7 * torch.eye(32)).cosine[0], unit) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_flow_per_head(case):
    found = eager(case)[2]
    forms, x = fold(found.weights), found.residual[:6]
    probes = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    flow = vo(forms, x, probes)
    bias = probes.double() @ post_norm_of_bias(forms, x).T  # [probes, n]
    assert worst(flow.head_dot.sum(0) + bias.T, flow.dot) < 1e-10
    gain = 1.0 if forms.post_gain is None else forms.post_gain.double()
    for head in range(4):
        only = torch.zeros(4, 6, 6, dtype=torch.float64)
        only[head] = torch.eye(6)
        alone = (output(forms, only, x) - forms.b_O.double()) * gain
        expected = torch.cosine_similarity(alone[:, None], probes.double()[None], dim=-1)
        assert worst(flow.head_cosine[head], expected) < 1e-10


def post_norm_of_bias(forms, x):
    """What b_O contributes to the written vector, [n, d]: under a post-norm, over the denominator
    of the whole output."""
    every = torch.eye(len(x), dtype=torch.float64).expand(4, -1, -1)
    whole = output(forms, every, x)
    if forms.post_gain is None:
        return forms.b_O.double().expand_as(whole)
    root = (whole.pow(2).mean(1, keepdim=True) + forms.eps).sqrt()
    return forms.b_O.double() / root * forms.post_gain.double()


@pytest.mark.parametrize("case", ["gpt2", "llama", "yarn", "qwen3", "gemma3"])
def test_averaging_over_distances_averages_the_logits(case):
    found = eager(case)[1]
    forms, x = fold(found.weights), found.residual[:5]
    steps = [0, -1, -7, -30]
    each = torch.stack([logits(forms, x, x, distance=step) for step in steps])
    assert worst(logits(forms, x, x, distance=steps), each.mean(0)) < 1e-10
    assert (worst(each[0], each[3]) > 0.01) == (case != "gpt2")


def test_the_cap_is_applied_after_the_average():
    found = eager("gemma2")[1]
    forms, x = fold(found.weights), found.residual[:5]
    uncapped = dataclasses.replace(forms, softcap=None)
    mean = logits(uncapped, x, x, distance=[0, -9])
    assert worst(logits(forms, x, x, distance=[0, -9]), 5 * (mean / 5).tanh()) < 1e-10


def test_turning_keeps_lengths_and_keys_are_kept_once_per_group():
    found = eager("llama")[1]
    forms, x = fold(found.weights), found.residual
    k = keys(forms, x)
    assert k.shape == (2, LENGTH, 8) and queries(forms, x).shape == (4, LENGTH, 8)
    assert worst(turned(forms, k, -13).norm(dim=-1), k.norm(dim=-1)) < 1e-10
    assert worst(turned(forms, turned(forms, k, -13), 13), k) < 1e-10
    assert torch.equal(per_query_head(forms, k), k[[0, 0, 1, 1]])


def test_sixteen_bit_weights_are_folded_in_float32():
    found = eager("gemma3")[1].weights
    half = {
        name: getattr(found, name).bfloat16()
        for name in ("W_Q", "W_K", "W_V", "W_O")
    }  # fmt: skip
    forms = fold(dataclasses.replace(found, **half))
    assert forms.A.dtype == forms.W_O.dtype == torch.float32
    exact = rearrange(half["W_Q"].double() * found.norm_gain.double()[:, None], "h d e -> h e d")
    assert worst(forms.A, exact) < 1e-6


def test_bad_vectors():
    forms, centred = fold(eager("llama")[0].weights), fold(eager("gpt2")[0].weights)
    one = torch.ones(1, 32)
    with pytest.raises(ValueError, match="width 31.* 32"):
        logits(forms, torch.ones(1, 31), torch.ones(1, 31), distance=0)
    with pytest.raises(ValueError, match="vector 1 is zero"):
        logits(forms, one, torch.stack([one[0], 0 * one[0]]), distance=0)
    assert normalised(forms, one).isfinite().all()
    with pytest.raises(ValueError, match="vector 0 is zero"):
        normalised(centred, 0.3 * one)
    with pytest.raises(ValueError, match="distance is empty"):
        logits(forms, one, one, distance=[])
    with pytest.raises(ValueError, match="probes have width 4"):
        vo(forms, one, torch.ones(2, 4))
    with pytest.raises(ValueError, match="probe 1 is zero"):
        vo(forms, one, torch.stack([one[0], 0 * one[0]]))
