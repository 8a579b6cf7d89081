"""Interventions: what an edit does downstream, at which tokens, and that nothing stays behind."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, TEXTS, tiny_bridge, tiny_hf, tiny_tokenizer

from interp.extract import extract
from interp.intervene import ablate, active, intervening, patch, steer
from interp.model import attn_out, embed, load, mlp_out, points, resid_mid, resid_post, resid_pre, z
from interp.positions import Sample, find

WIDTH = 32
BLOCK = 1
# measured 0 to 5e-7 on activations of size 5: sums of float32 in another order
TOLERANCE = 2e-6

bridge = cache(tiny_bridge)


def _ids(rows: int = 2) -> torch.Tensor:
    """Rows of ten different tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(5, 100, (rows, 10), generator=generator)


def _vector(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape or (WIDTH,), generator=torch.Generator().manual_seed(seed))


def _cache(model, ids, **options):
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids, **options)
    return {"logits": logits, **{name: cache[name] for name in cache}}


def _logits(model, ids, **options):
    with torch.no_grad():
        return model(ids, **options)


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() < TOLERANCE * max(1, expected.abs().max().item()))


# --- every editable point ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_resid_mid_reaches_the_skip_connection_as_attn_out_does(family):
    model, ids, vector = bridge(family), _ids(), 3 * _vector()
    plain = _cache(model, ids)
    with steer(model, {resid_mid(BLOCK): vector}):
        middle = _cache(model, ids)
    with steer(model, {attn_out(BLOCK): vector}):
        written = _cache(model, ids)
    for name in (resid_mid(BLOCK), resid_post(BLOCK), "logits"):
        assert _close(middle[name], written[name])
    # the vector is in the stream, beside what the MLP makes of it
    moved = middle[resid_post(BLOCK)] - plain[resid_post(BLOCK)]
    by_mlp = middle[mlp_out(BLOCK)] - plain[mlp_out(BLOCK)]
    assert _close(moved - by_mlp, vector.expand_as(moved))
    assert by_mlp.abs().max() > 0.1


def test_a_tensor_returned_at_resid_mid_would_miss_the_skip_connection():
    """The trap itself, so that a TransformerLens without it is noticed."""
    model, ids, vector = bridge("llama"), _ids(), 3 * _vector()
    written = model.run_with_hooks(ids, fwd_hooks=[(attn_out(BLOCK), lambda t, hook: t + vector)])  # noqa: ARG005
    lost = model.run_with_hooks(ids, fwd_hooks=[(resid_mid(BLOCK), lambda t, hook: t + vector)])  # noqa: ARG005
    assert (written - lost).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_at_any_point_that_fires_moves_the_logits_and_keeps_the_stream_a_sum(family):
    model, ids = bridge(family), _ids()
    plain = _cache(model, ids)
    fires = [s.point for s in points(model) if s.status == "fires"]
    assert len(fires) > 15
    for point in fires:
        name = point(BLOCK) if point.per_block else point()
        with intervening(model, {name: lambda t: t.flip(-1)}):  # norms undo a factor
            got = _cache(model, ids)
        assert (got["logits"] - plain["logits"]).abs().max() > 1e-3, name
        assert _close(got[name], plain[name].flip(-1)), f"{name} is cached before the edit"
        # a stream that was edited is no longer the sum of what was written into it before
        sums = {
            resid_mid(BLOCK): (resid_pre(BLOCK), attn_out(BLOCK)),
            resid_post(BLOCK): (resid_mid(BLOCK), mlp_out(BLOCK)),
            resid_pre(BLOCK + 1): (resid_post(BLOCK),),
        }
        for total, parts in sums.items():
            if total != name:
                assert _close(got[total], sum(got[part] for part in parts)), f"{name}: {total}"


@pytest.mark.parametrize("family", FAMILIES)
def test_points_behind_a_switch_can_be_edited_once_it_is_on(family):
    model, ids = tiny_bridge(family), _ids()
    waiting = [s.point for s in points(model) if s.status == "behind a switch"]
    assert waiting
    for point in waiting:
        with pytest.raises(ValueError, match=f"switched off: call model.{point.switch}"):
            steer(model, {point(BLOCK): _vector()}).__enter__()
        getattr(model, point.switch)(True)
        plain = _logits(model, ids)
        with intervening(model, {point(BLOCK): lambda t: t.flip(-1)}):
            assert (_logits(model, ids) - plain).abs().max() > 1e-3, point.name
        getattr(model, point.switch)(False)


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_zero_is_the_baseline_bit_for_bit(family):
    model, ids = bridge(family), _ids()
    hooks = [embed(), resid_pre(0), resid_mid(1), resid_post(2), attn_out(0), mlp_out(1)]
    plain = _cache(model, ids)
    with steer(model, dict.fromkeys(hooks, _vector()), strength=0):
        got = _cache(model, ids)
    assert all(torch.equal(got[name], plain[name]) for name in plain)


# --- what the three edits do ---------------------------------------------------------------------


def test_steering_adds_the_vector_to_all_rows_or_each_its_own():
    model, ids = bridge("llama"), _ids(rows=3)
    plain = _cache(model, ids)[resid_post(BLOCK)]
    each = _vector(3, WIDTH)
    for vector, expected in ((each[0], each[0].expand(3, -1)), (each, each), (each.numpy(), each)):
        with steer(model, {resid_post(BLOCK): vector}, strength=-2.5):
            got = _cache(model, ids)[resid_post(BLOCK)]
        assert torch.equal(got, plain + (-2.5 * expected)[:, None])
    heads = _vector(4, 8)
    with steer(model, {z(BLOCK): heads}):
        got = _cache(model, ids)
    assert torch.equal(got[z(BLOCK)], _cache(model, ids)[z(BLOCK)] + heads)


def test_ablation_leaves_nothing_of_the_span_and_everything_else():
    model, ids = bridge("gpt2"), _ids()
    directions = _vector(3, WIDTH) * torch.tensor([[1e-3], [1.0], [50.0]])
    hooks = [resid_mid(0), resid_post(1)]
    plain = _cache(model, ids)
    with ablate(model, hooks, directions):
        once = _cache(model, ids)
        with ablate(model, hooks, directions):
            twice = _cache(model, ids)
    unit = directions / directions.norm(dim=1, keepdim=True)
    for hook in hooks:
        assert (once[hook] @ unit.T).abs().max() < 1e-5  # of activations of size 5
        assert _close(twice[hook], once[hook])
    # before the first hook nothing moves, and at it only what lies in the span
    assert torch.equal(once[attn_out(0)], plain[attn_out(0)])
    complement = torch.eye(WIDTH) - torch.linalg.pinv(unit) @ unit
    assert _close(once[resid_mid(0)], plain[resid_mid(0)] @ complement)


def test_patching_gives_the_other_run_s_logits():
    """The whole stream after a block, taken from another text, makes it that text."""
    model, ids = bridge("gemma3"), _ids()
    target, donor = ids[:1], ids[1:]
    other = _cache(model, donor)
    everywhere = range(ids.shape[1])
    with patch(model, {resid_post(0): other[resid_post(0)].numpy()}, positions=everywhere):
        assert _close(_logits(model, target), other["logits"])
    last = ids.shape[1] - 1
    with patch(model, {resid_mid(2): other[resid_mid(2)][:, [last]]}, positions=last):
        got = _cache(model, ids[[0, 0]])  # one donor for two rows
    assert torch.equal(got["logits"][0], got["logits"][1])
    assert _close(got["logits"][0, last], other["logits"][0, last])
    assert torch.equal(got["logits"][0, :last], _logits(model, target)[0, :last])


def test_patching_takes_what_extract_read_at_spans():
    model = bridge("llama")
    texts = [TEXTS[0], f"Grace likes chess. {TEXTS[0]}"]
    samples = [Sample(t, {"the": find(t, " the"), "of": find(t, "of")}) for t in texts]
    hooks = [z(BLOCK), resid_mid(BLOCK)]
    read = extract(model, samples, hooks=hooks, progress=False)
    batch = model.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    encoded = [model.tokenizer(t) for t in texts]
    places = np.array(
        [
            [e.char_to_token(find(t, " the")[1] - 1), e.char_to_token(find(t, "of")[1] - 1)]
            for e, t in zip(encoded, texts, strict=True)
        ]
    )
    assert (places[0] != places[1]).any()
    plain = _logits(model, ids, attention_mask=mask)
    with patch(model, {hook: read.read(hook) for hook in hooks}, positions=places):
        same = _logits(model, ids, attention_mask=mask)
    assert _close(same[mask.bool()], plain[mask.bool()])
    swapped = {hook: read.read(hook)[::-1].copy() for hook in hooks}
    with patch(model, swapped, positions=places):
        got = _cache(model, ids, attention_mask=mask)
    for row in range(2):
        found = got[resid_mid(BLOCK)][row, places[row]]
        assert torch.equal(found, torch.from_numpy(swapped[resid_mid(BLOCK)][row]))


def test_an_edit_may_write_into_what_it_gets():
    model, ids = bridge("llama"), _ids()
    plain = _cache(model, ids)
    with intervening(model, {resid_pre(BLOCK): lambda t: t.zero_()}):
        got = _cache(model, ids)
    assert not got[resid_pre(BLOCK)].any()
    # what the block before had put out is the same tensor
    assert torch.equal(got[resid_post(BLOCK - 1)], plain[resid_post(BLOCK - 1)])


# --- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [resid_mid(BLOCK), resid_post(BLOCK), z(BLOCK)])
def test_only_the_named_tokens_change(hook):
    model, ids = bridge("qwen3"), _ids(rows=2)
    plain = _cache(model, ids)[hook]
    vector = _vector(*plain.shape[2:])
    each = torch.tensor([[1, 7], [0, 4]])
    for positions, rows in (
        (3, [[3], [3]]),
        (np.int64(3), [[3], [3]]),
        ([0, 9], [[0, 9], [0, 9]]),
        ([9, 0, 9], [[0, 9], [0, 9]]),  # named twice counts once
        (each, each.tolist()),
        (each.numpy(), each.tolist()),
    ):
        expected = plain.clone()
        for row, chosen in enumerate(rows):
            expected[row, chosen] += vector
        with steer(model, {hook: vector}, positions=positions):
            assert torch.equal(_cache(model, ids)[hook], expected)


def _generate(model, ids, *, cached, n=8):
    options = dict(do_sample=False, stop_at_eos=False, return_type="tokens", verbose=False)
    return model.generate(ids, max_new_tokens=n, use_past_kv_cache=cached, **options)


@pytest.mark.parametrize("positions", [None, 2, [0, 3, 11, 12, 16], [[9, 10, 15], [1, 2, 13]]])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3"])
def test_generation_with_and_without_a_cache_steers_the_same_tokens(family, positions):
    """Also past Gemma's sliding window of 8, where the cache holds fewer tokens than went by."""
    model, ids = bridge(family), _ids()
    where = np.array(positions) if isinstance(positions, list) else positions
    vectors = {resid_mid(0): 2 * _vector(), resid_post(1): 2 * _vector(seed=1)}
    plain = _generate(model, ids, cached=True)
    with steer(model, vectors, positions=where):
        cached = _generate(model, ids, cached=True)
        whole = _generate(model, ids, cached=False)
        # the steered continuation is what one pass over all of it predicts, token by token
        predicted = _logits(model, whole).argmax(-1)
    assert torch.equal(cached, whole)
    assert torch.equal(predicted[:, 9:-1], whole[:, 10:])
    assert not torch.equal(plain, whole)


def test_cached_generation_sees_the_absolute_position():
    model, ids = bridge("llama"), _ids()
    seen = []

    def watch(tensor):
        seen.append(tensor.shape[1])
        return torch.zeros_like(tensor)

    with intervening(model, {resid_post(0): watch}, positions=[9, 12]):
        _generate(model, ids, cached=True, n=6)
    assert seen == [2, 2]  # the prompt of ten, and the pass that reads token 12


def test_huggingface_s_own_generation_and_hand_made_caches_are_steered_alike():
    model, ids = bridge("gemma3"), _ids()
    vectors = {resid_mid(1): 2 * _vector()}
    with steer(model, vectors, positions=[4, 11]):
        expected = _generate(model, ids, cached=False, n=4)
        by_hf = model.hf_generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None)
        assert torch.equal(by_hf, expected)
        whole = _logits(model, expected)
        with torch.no_grad():
            _, past = model(expected[:, :6], return_type="logits_and_cache", use_cache=True)
            rest = model(expected[:, 6:], past_key_values=past)
    assert _close(rest, whole[:, 6:])


def test_passes_in_one_context_do_not_count_into_one_another():
    model, ids = bridge("llama"), _ids()
    with steer(model, {resid_post(0): _vector()}, positions=4):
        first, _, again = (_logits(model, i) for i in (ids, ids[:, :7], ids))
        _generate(model, ids, cached=True)
        after = _logits(model, ids)
    assert torch.equal(first, again) and torch.equal(first, after)
    assert not torch.equal(first, _logits(model, ids))


# --- from a position on, caches, and what no pass reaches -----------------------------------------


@pytest.mark.parametrize("start", [0, 4, 9, np.int64(12), [3, 12], torch.tensor([12, 13])])
def test_from_a_position_on_holds_for_the_prompt_and_what_is_generated(start):
    """Equal to naming every token from there to the end of the sequence."""
    model, ids = bridge("gemma3"), _ids()
    vectors, last = {resid_mid(0): 2 * _vector()}, 17  # 10 tokens of prompt, 8 new, one unread
    first = torch.as_tensor(start).reshape(-1, 1).expand(2, 1)
    with steer(model, vectors, positions=slice(start, None)):
        found = [_generate(model, ids, cached=cached) for cached in (True, False)]
    assert torch.equal(*found)
    where = torch.arange(last).expand(2, -1)
    mask = (where >= first).float()[..., None]

    def by_hand(tensor):
        return tensor + mask[:, : tensor.shape[1]] * vectors[resid_mid(0)]

    with intervening(model, {resid_mid(0): by_hand}):
        assert torch.equal(_generate(model, ids, cached=False), found[0])


def test_a_static_cache_tells_its_length_too():
    model, ids = bridge("llama"), _ids()
    with steer(model, {resid_mid(1): 2 * _vector()}, positions=[4, 11]):
        options = dict(max_new_tokens=4, do_sample=False, eos_token_id=None)
        one, other = (
            model.hf_generate(ids, cache_implementation=kind, **options)
            for kind in ("static", None)
        )
    assert torch.equal(one, other)


def test_a_position_that_was_cached_before_is_none_of_the_context_s():
    model, ids = bridge("llama"), _ids()
    with torch.no_grad():
        _, past = model(ids[:, :6], return_type="logits_and_cache", use_cache=True)
    with (
        pytest.raises(ValueError, match="position 2 was never reached: it was in a cache before"),
        steer(model, {resid_post(0): _vector()}, positions=[2, 8]),
    ):
        _logits(model, ids[:, 6:], past_key_values=past)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (slice(torch.tensor([2, 10]), None), "position 10 of row 1 was never reached"),
        (slice(10, None), "position 10 was never reached"),
        (slice(1.7, 4), "one start and one end, integers"),
        (slice([1, 2], 4), "one start and one end, integers"),
        (slice(1.7, None), "need integers"),
        (slice(0, 4, 2), "no step"),
        (slice(3, 3), "need integers"),
        (True, "need integers"),
    ],
)
def test_wrong_stretches_are_refused(positions, message):
    model, ids = bridge("llama"), _ids()
    with (
        pytest.raises(ValueError, match=message),
        steer(model, {resid_post(0): _vector()}, positions=positions),
    ):
        _logits(model, ids)


def test_asking_for_shapes_is_no_text_of_the_context(tmp_path):
    """A store's plan is made from a short pass of its own, over one row of 13 tokens."""
    model = bridge("llama")
    samples = [Sample(t, {"end": (len(t) - 2, len(t))}) for t in TEXTS[:2]]
    seen = []

    def watch(tensor):
        seen.append(len(tensor))
        return tensor

    with intervening(model, {resid_pre(0): watch}, positions=np.array([[1], [2]])):
        extract(model, samples, hooks=[resid_post(0)], batch_size=2, progress=False)
    assert seen == [2]


def test_a_context_can_be_used_again_but_not_inside_itself():
    model, ids = bridge("llama"), _ids()
    once = steer(model, {resid_post(0): _vector()}, positions=3)
    with once:
        first = _logits(model, ids)
    with once:
        assert torch.equal(_logits(model, ids), first)
        with pytest.raises(ValueError, match="cannot be entered again before it is left"), once:
            pass
        assert torch.equal(_logits(model, ids), first)
    assert active(model) == ()


def test_passes_of_other_threads_are_left_alone_and_that_is_said():
    model, ids = bridge("llama"), _ids()
    plain = _logits(model, ids)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.warns(UserWarning, match="ran in other threads only"),
        steer(model, {resid_post(0): _vector()}),
    ):
        assert torch.equal(pool.submit(_logits, model, ids).result(), plain)


# --- contexts ------------------------------------------------------------------------------------


def _attached(model) -> int:
    handles = len(model.original_model._forward_pre_hooks) + len(
        model.original_model._forward_hooks
    )
    return handles + sum(len(p.fwd_hooks) + len(p._forward_hooks) for p in set(model.hook_points()))


def test_contexts_nest_in_the_order_of_entering():
    model, ids, vector = bridge("qwen2"), _ids(), _vector()
    hook = resid_mid(BLOCK)
    with steer(model, {hook: vector}, strength=3):
        expected = _cache(model, ids)
    with steer(model, {hook: vector}), steer(model, {hook: vector}, strength=2):
        twice = _cache(model, ids)
    assert _close(twice["logits"], expected["logits"])
    unit = vector / vector.norm()
    with steer(model, {hook: vector}), ablate(model, hook, vector):
        removed = _cache(model, ids)[hook]
    with ablate(model, hook, vector), steer(model, {hook: vector}):
        added = _cache(model, ids)[hook]
    assert (removed @ unit).abs().max() < 1e-5
    assert _close(added @ unit, vector.norm().expand(added.shape[:2]))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_hooks_go_on_every_path_out_and_others_stay(error):
    model, ids = tiny_bridge("llama"), _ids()
    calls = []
    model.add_hook(resid_post(0), lambda t, hook: calls.append("other"))  # noqa: ARG005
    model.add_perma_hook(resid_post(0), lambda t, hook: calls.append("permanent"))  # noqa: ARG005
    before, plain = _attached(model), _logits(model, ids)

    def fails(tensor):  # noqa: ARG001
        raise error

    with pytest.raises(error), steer(model, {resid_post(0): _vector()}):
        raise error
    with pytest.raises(error), intervening(model, {resid_mid(0): fails}):
        _logits(model, ids)
    with pytest.raises(ValueError, match="unknown hook"):
        steer(model, {resid_post(0): _vector(), "blocks.0.nothing": _vector()}).__enter__()

    def steered():
        with steer(model, {resid_post(0): _vector()}):
            yield _logits(model, ids)

    abandoned = steered()
    assert not torch.equal(next(abandoned), plain)
    assert active(model) == (resid_post(0),)
    del abandoned
    assert _attached(model) == before and active(model) == ()
    calls.clear()
    assert torch.equal(_logits(model, ids), plain)
    assert calls == ["other", "permanent"]


def test_an_intervention_outlives_a_reset_of_hooks():
    model, ids = bridge("llama"), _ids()
    with steer(model, {resid_post(0): _vector()}):
        steered = _logits(model, ids)
        model.reset_hooks()
        assert torch.equal(_logits(model, ids), steered)
        assert active(model) == (resid_post(0),)
    assert not torch.equal(_logits(model, ids), steered)


def test_run_with_hooks_inside_sees_the_edit():
    model, ids = bridge("gpt2"), _ids()
    seen = {}

    def look(tensor, hook):
        seen[hook.name] = tensor.clone()

    plain = _cache(model, ids)
    hooks = [resid_mid(BLOCK), resid_post(BLOCK)]
    with torch.no_grad(), steer(model, dict.fromkeys(hooks, _vector())):
        model.run_with_hooks(ids, fwd_hooks=[(hook, look) for hook in hooks])
        expected = _cache(model, ids)
    for hook in hooks:
        assert torch.equal(seen[model.hook_dict[hook].name], expected[hook])
        assert not torch.equal(expected[hook], plain[hook])


def test_extract_reads_steered_activations_and_stopping_early_is_no_fault():
    model = bridge("gemma2")
    samples = [Sample(t, {"end": (len(t) - 2, len(t))}) for t in TEXTS]
    hooks = [resid_mid(BLOCK), resid_post(BLOCK)]
    plain = extract(model, samples, hooks=hooks, progress=False)
    vector = _vector()
    with steer(model, {resid_post(BLOCK): vector, resid_post(BLOCK + 1): vector}):
        got = extract(model, samples, hooks=hooks, progress=False)
    assert np.array_equal(got.read(hooks[0]), plain.read(hooks[0]))
    difference = got.read(hooks[1]) - plain.read(hooks[1])
    assert np.abs(difference - vector.numpy()).max() < TOLERANCE * 10
    with steer(model, {resid_mid(BLOCK): vector}):
        got = extract(model, samples, hooks=hooks, progress=False)
    difference = got.read(hooks[0]) - plain.read(hooks[0])
    assert np.abs(difference - vector.numpy()).max() < TOLERANCE * 10


def test_a_folded_model_is_edited_once():
    model = load(tiny_hf("gpt2"), tokenizer=tiny_tokenizer("gpt2"), fold=True)
    ids, vector = _ids(), _vector()
    for hook in (resid_mid(BLOCK), resid_post(BLOCK)):
        plain = _cache(model, ids)[hook]
        with steer(model, {hook: vector}):
            assert torch.equal(_cache(model, ids)[hook], plain + vector)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_precision(dtype):
    model = load(tiny_hf("llama").to(dtype), tokenizer=tiny_tokenizer("llama"), check=False)
    ids, vector = _ids(), _vector()
    plain = _cache(model, ids)
    with steer(model, {resid_mid(BLOCK): vector.double()}):
        steered = _cache(model, ids)
    assert torch.equal(steered[resid_mid(BLOCK)], plain[resid_mid(BLOCK)] + vector.to(dtype))
    with ablate(model, [resid_mid(BLOCK), resid_post(BLOCK)], vector):
        ablated = _cache(model, ids)
    unit = vector / vector.norm()
    exact = plain[resid_mid(BLOCK)].float()
    exact = exact - (exact @ unit)[..., None] * unit
    # rounded once, at the end; a coordinate on the border between two numbers may go either way
    assert (ablated[resid_mid(BLOCK)] != exact.to(dtype)).float().mean() < 1e-2
    assert ablated[resid_post(BLOCK)].dtype == dtype
    assert steered["logits"].dtype == dtype


@pytest.mark.parametrize("positions", [None, [2, 5]])
@pytest.mark.parametrize("hook", [resid_mid(BLOCK), resid_post(BLOCK), attn_out(BLOCK)])
def test_gradients_flow_through_an_edit(hook, positions):
    model, ids = bridge("gpt2"), _ids()
    vector, step = _vector().requires_grad_(), 1e-2 * _vector(seed=1)

    def loss(v):
        with steer(model, {hook: v}, positions=positions):
            return model(ids)[:, -1].logsumexp(-1).sum()

    (gradient,) = torch.autograd.grad(loss(vector), vector)
    with torch.no_grad():
        slope = (loss(vector + step) - loss(vector - step)) / 2
    assert slope.abs() > 1e-4
    # a central difference in float32 is good to a few thousandths here
    assert torch.isclose(gradient @ step, slope, rtol=2e-2)


# --- bad input -----------------------------------------------------------------------------------

BAD_VECTORS = {
    "nan": (torch.full((WIDTH,), float("nan")), r"resid_post.*non-finite.*index \[0\]"),
    "scalar": (torch.tensor(1.0), "at least one axis"),
    "width": (torch.ones(WIDTH + 1), r"vector of shape \[33\].*needed: \[32\], or \[2, 32\]"),
    "rank": (torch.ones(2, 10, WIDTH), r"vector of shape \[2, 10, 32\]"),
    "batch": (torch.ones(3, WIDTH), r"vector of shape \[3, 32\]"),
}


@pytest.mark.parametrize("kind", BAD_VECTORS)
def test_wrong_vectors_are_refused_under_the_hook_s_name(kind):
    model, ids = bridge("llama"), _ids()
    vector, message = BAD_VECTORS[kind]
    with pytest.raises(ValueError, match=message) as caught, steer(model, {resid_post(0): vector}):
        _logits(model, ids)
    assert "blocks.0.hook_resid_post" in str(caught.value)
    assert active(model) == ()


def _untyped(function):
    """As a user meets it: annotations are held to only in tests."""
    return inspect.unwrap(function)


@pytest.mark.parametrize("strength", ["2", None, True, np.True_, 1j, float("nan"), [1.0]])
def test_a_strength_is_one_finite_number(strength):
    with pytest.raises(ValueError, match="strength = .*finite number"):
        _untyped(steer)(bridge("llama"), {resid_post(0): _vector()}, strength=strength)


@pytest.mark.parametrize("given", [[(resid_post(0), 1)], None, "blocks.0.hook_resid_post", {}])
def test_what_is_no_mapping_from_hooks_is_refused(given):
    model = bridge("llama")
    for call in (
        lambda: _untyped(steer)(model, given),
        lambda: _untyped(patch)(model, given, positions=0),
        lambda: _untyped(intervening)(model, given),
    ):
        with pytest.raises(ValueError, match="mapping from hook names|nothing to edit"):
            call()


def test_what_is_infinite_in_sixteen_bits_is_refused():
    model, ids = load(tiny_hf("llama").half(), tokenizer=tiny_tokenizer("llama")), _ids()
    for context in (
        steer(model, {resid_post(0): _vector()}, strength=1e6),
        patch(model, {resid_post(0): 1e6 * torch.ones(1, 1, WIDTH)}, positions=0),
    ):
        with pytest.raises(ValueError, match="hook_resid_post.*is infinite in"), context:
            _logits(model, ids)


def test_arrays_that_run_backwards_are_arrays():
    model, ids = bridge("llama"), _ids()
    vector = _vector().numpy()
    with steer(model, {resid_post(0): vector[::-1]}):
        found = _logits(model, ids)
    with steer(model, {resid_post(0): vector[::-1].copy()}):
        assert torch.equal(found, _logits(model, ids))


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        (torch.zeros(WIDTH), "direction 0 of 1 is zero"),
        (torch.stack([torch.ones(WIDTH), torch.zeros(WIDTH)]), "direction 1 of 2 is zero"),
        (_vector().outer(torch.ones(2)).T.clone(), "2 directions of width 32 span 1"),
        (torch.stack([_vector(), _vector(seed=1), _vector() + _vector(seed=1)]), "32 span 2"),
        (_vector(WIDTH + 1, WIDTH), "33 directions of width 32 span 32"),
        (torch.full((WIDTH,), float("inf")), "non-finite"),
        (torch.ones(1, 1, WIDTH), r"need \[d\] or \[k, d\]"),
        (torch.ones(WIDTH - 1), r"directions of shape \[1, 31\].*width 32"),
    ],
)
def test_wrong_directions_are_refused(directions, message):
    model, ids = bridge("llama"), _ids()
    with pytest.raises(ValueError, match=message), ablate(model, resid_post(0), directions):
        _logits(model, ids)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (-1, "position -1 is out of range.*attention_mask"),
        ([0, 160], "position 160 is out of range.*to 159"),
        ([0, 10], "position 10 was never reached.*10 tokens"),
        (np.zeros((2, 1, 1), int), "need integers"),
        (np.array([], dtype=int), "need integers"),
        (np.zeros((3, 1), int), "positions for 3 rows, but the model runs 2"),
    ],
)
def test_wrong_positions_are_refused(positions, message):
    model, ids = bridge("llama"), _ids()
    with (
        pytest.raises(ValueError, match=message),
        steer(model, {resid_post(0): _vector()}, positions=positions),
    ):
        _logits(model, ids)


def test_padding_is_no_place_to_edit():
    model = bridge("llama")
    batch = model.tokenizer(
        list(TEXTS[:2]), padding=True, padding_side="right", return_tensors="pt"
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    last = (mask.sum(1) - 1)[:, None]
    with steer(model, {resid_post(0): _vector()}, positions=last):
        _logits(model, ids, attention_mask=mask)
    short = int(last[1])
    with (
        pytest.raises(ValueError, match=f"position {short + 1} of row 1 is padding"),
        steer(model, {resid_post(0): _vector()}, positions=short + 1),
    ):
        _logits(model, ids, attention_mask=mask)


def test_patched_values_must_fit_the_positions():
    model, ids = bridge("llama"), _ids()
    for values, message in (
        (torch.ones(2, 3, WIDTH), r"values of shape \[2, 3, 32\] for activations of shape \[2, 2"),
        (torch.ones(3, 2, WIDTH), r"values of shape \[3, 2, 32\]"),
    ):
        with (
            pytest.raises(ValueError, match=message),
            patch(model, {resid_post(0): values}, positions=[1, 2]),
        ):
            _logits(model, ids)
    with pytest.raises(ValueError, match=r"position 4 is named twice in \[4, 1, 4\]"):
        patch(model, {resid_post(0): torch.ones(2, 3, WIDTH)}, positions=[4, 1, 4])


def test_gradients_cached_by_backward_hooks_exclude_an_edit_at_resid_mid():
    model, ids = bridge("gpt2"), _ids()
    wanted = dict(names_filter=[resid_post(2)], incl_bwd=True, return_type="loss")
    with steer(model, {resid_mid(BLOCK): _vector()}):
        _, got = model.run_with_cache(ids, **wanted)
    assert got[f"{resid_post(2)}_grad"].abs().max() > 0
    wanted["names_filter"] = [resid_mid(BLOCK)]
    with (
        pytest.raises(RuntimeError, match="is a view and is being modified inplace"),
        steer(model, {resid_mid(BLOCK): _vector()}),
    ):
        model.run_with_cache(ids, **wanted)


def test_an_edit_must_return_the_shape_it_got():
    model, ids = bridge("llama"), _ids()
    for edit, message in (
        (lambda t: None, "got None"),  # noqa: ARG005
        (lambda t: t[:, :1], r"shape \[2, 10, 32\] must return that shape, got \[2, 1, 32\]"),
    ):
        with pytest.raises(ValueError, match=message), intervening(model, {resid_post(0): edit}):
            _logits(model, ids)
    with pytest.raises(ValueError, match="nothing to edit"), intervening(model, {}):
        pass


@pytest.mark.parametrize(
    "name", ["attn.hook_pattern", "attn.hook_attn_scores", "attn.hook_q_normed"]
)
def test_positions_are_refused_where_the_second_axis_is_another(name):
    model = bridge("qwen3")
    with (
        pytest.raises(ValueError, match=f"positions cannot be chosen at 'blocks.1.{name}'"),
        intervening(model, {f"blocks.1.{name}": lambda t: t}, positions=0),
    ):
        pass


def test_a_hook_that_never_fires_is_an_error_once_the_model_has_run():
    model, ids = bridge("llama"), _ids()
    with steer(model, {"hook_pos_embed": _vector()}):
        pass  # nothing ran, so nothing is known
    with (
        pytest.raises(ValueError, match="never fire in this model: hook_pos_embed"),
        steer(model, {"hook_pos_embed": _vector(), resid_post(0): _vector()}),
    ):
        _logits(model, ids)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_vectors_follow_the_model_to_its_device():
    model = load(tiny_hf("llama").to("cuda"), tokenizer=tiny_tokenizer("llama"), check=False)
    ids, vector = _ids().to("cuda"), _vector()
    plain = _cache(model, ids)
    for hook in (resid_mid(BLOCK), resid_post(BLOCK)):
        with steer(model, {hook: vector}, positions=torch.tensor([[1], [2]])):
            got = _cache(model, ids)[hook]
        assert torch.equal(
            (got - plain[hook]).norm(dim=-1).nonzero().cpu()[:, 1], torch.tensor([1, 2])
        )
        with ablate(model, hook, vector):
            assert (_cache(model, ids)[hook].cpu() @ vector).abs().max() < 1e-3
        with patch(model, {hook: plain[hook][:, [3]].cpu()}, positions=3):
            assert _close(_logits(model, ids), plain["logits"])
