"""Alignment, readouts and affinity on what users hand over: copies, 16 bits, masks, lengths."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from interp.affinity import fold, qk, qk_self
from interp.alignment import (
    cosines,
    heldout_procrustes,
    hits,
    linear_cka,
    matched_vs_scrambled,
    pairing_test,
)
from interp.readout import (
    CONVENTION,
    block_quality,
    choose_block,
    fit,
    held_out,
    load_readouts,
    rank_heads,
    save_concepts,
    save_control_vectors,
    save_quality,
    save_readouts,
    stability,
)
from interp.weights import AttentionWeights


def unrelated(seed, n=60, d=8, times=1):
    rng = np.random.default_rng(seed)
    return tuple(np.repeat(rng.normal(size=(n, d)), times, axis=0) for _ in "ab")


def level(p, at=0.05):
    return int((np.array(p) <= at).sum())


# --- Procrustes: the rotation is fitted anew for every re-pairing ---------------------------------


def test_a_rotation_between_sides_is_found_and_unrelated_sides_have_none():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 6))
    B = A @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 0.3 * rng.normal(size=(40, 6))
    held = heldout_procrustes(A, B)
    assert pairing_test(held.scores, held.folds).p == 1 / 200
    held = heldout_procrustes(*unrelated(3, 40, 6))
    assert pairing_test(held.scores, held.folds).p > 0.05


def test_re_pairings_stay_within_strata_and_groups():
    A, B = unrelated(1, 12, 4, times=2)
    strata, groups = np.repeat(["x", "y"], 12), np.repeat(np.arange(12), 2)
    held = heldout_procrustes(A, B, strata, groups=groups, n_splits=3)
    assert all(len({*held.folds[groups == g]}) == 1 for g in range(12))
    seen = []
    watched = held.scores.refit
    scores = type(held.scores)(
        held.scores.values, held.scores.resolution, held.scores.status,
        lambda order: seen.append(order) or watched(order), groups,
    )  # fmt: skip
    pairing_test(scores, strata, n_permutations=9)
    for order in seen:
        assert (strata[order] == strata).all()
        assert (groups[order[::2]] == groups[order[1::2]]).all()


@pytest.mark.slow
def test_procrustes_holds_its_level():
    p = []
    for seed in range(1000):
        held = heldout_procrustes(*unrelated(seed, 40, 6), seed=seed)
        p.append(pairing_test(held.scores, held.folds, n_permutations=99, seed=seed).p)
    print(f"rate Procrustes: p <= .05 in {level(p)}, p <= .01 in {level(p, 0.01)} of 1000")
    assert level(p) < 73 and level(p, 0.01) < 22


# --- copies --------------------------------------------------------------------------------------


def test_copies_are_one_group_by_construction_and_are_told():
    A, B = unrelated(0, 20, 16, times=3)
    with pytest.warns(
        UserWarning, match="40 of 60 pairs repeat another on both sides .rows 0, 1, 2 and"
    ):
        copied = matched_vs_scrambled(A, B)
    once = matched_vs_scrambled(A[::3], B[::3])
    assert copied.z == pytest.approx(once.z) and copied.p == pytest.approx(once.p)
    given = matched_vs_scrambled(A, B, groups=np.repeat(np.arange(20), 3))
    assert given.z == pytest.approx(once.z)


def test_groups_go_with_strata_and_a_split_one_is_refused():
    A, B = unrelated(0, 20, 16, times=2)
    groups, strata = np.repeat(np.arange(20), 2), np.repeat(["a", "b"], 20)
    found = matched_vs_scrambled(A, B, strata, groups=groups)
    assert found.z == pytest.approx(matched_vs_scrambled(A[::2], B[::2], strata[::2]).z)
    with pytest.raises(ValueError, match="lies in two strata"):
        matched_vs_scrambled(A, B, np.tile(["a", "b"], 20), groups=groups)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "times"), [(60, 1), (30, 2), (12, 5)])
def test_pairs_with_copies_hold_their_level(n, times):
    p = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(2000):
            p.append(matched_vs_scrambled(*unrelated(seed, n, 32, times)).p)
    at = level(p), level(p, 0.01)
    print(f"rate pairing, {n} pairs x {times}: p <= .05 in {at[0]}, p <= .01 in {at[1]} of 2000")
    assert level(p) < 132 and level(p, 0.01) < 36


# --- precision, libraries ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float16, "bfloat16"])
def test_sixteen_bits_give_the_answer_of_thirty_two(kind):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=768) * 8
    A = shared + rng.normal(size=(60, 768)) * 0.5
    B = shared + (A - shared) * 0.5 + rng.normal(size=(60, 768)) * 0.4

    def stored(side):
        tensor = torch.tensor(side, dtype=torch.float32)
        return tensor.bfloat16() if kind == "bfloat16" else tensor.half().numpy()

    wide = matched_vs_scrambled(A.astype(np.float32), B.astype(np.float32))
    narrow = matched_vs_scrambled(stored(A), stored(B))
    assert narrow.status == "ok" and narrow.z == pytest.approx(wide.z, rel=0.03)
    found = hits(cosines(stored(A), stored(B)))
    assert np.trace(found.values) / 60 > 0.95
    positive = np.zeros((1, 60), bool)
    positive[0, ::3] = True
    X = rng.normal(size=(60, 768)) + 3 * positive.T * rng.normal(size=768) / 9
    X[:, 3] = 3000 + 20 * rng.normal(size=60)  # a massive dimension
    fits = [fit([(0, x)], positive, ["c"]) for x in (X.astype(np.float32), stored(X))]
    assert fits[1].status[0, 0] == "ok"
    assert fits[1].vectors[0, 0] @ fits[0].vectors[0, 0] > 0.99
    scored = [
        held_out(x, positive, np.arange(60) // 6, n_permutations=5).auroc for x in (X, stored(X))
    ]
    np.testing.assert_allclose(*scored, atol=0.05)


@pytest.mark.parametrize("massive", [3000, 30000])
def test_readouts_of_sixteen_bits_see_past_a_massive_dimension(massive):
    """Its rounding is longer than the differences of all others together, which have none of it."""
    rng = np.random.default_rng(0)
    positive = np.arange(60)[None] % 3 == 0
    X = 0.2 * rng.normal(size=(60, 64)) + 0.3 * positive.T * rng.normal(size=64)
    X[:, 3] = massive
    names, member = [f"t{i}" for i in range(60)], np.arange(60) // 6
    rows = []
    for dtype in (np.float32, np.float16):
        x = X.astype(dtype)
        found = fit([(0, x)], positive, ["c"])
        quality = block_quality(found, 0, x, positive, names).concepts[0]
        heads = rank_heads([(0, x.reshape(60, 4, 16))], positive, ["c"])[0]
        rows.append([
            found.norms[0, 0], held_out(x, positive, member, n_permutations=5).auroc[0],
            choose_block({0: x}, positive, member).auroc[0], quality.first_component,
            stability(x, positive, member, n_boot=50, rng=np.random.default_rng(0)).mean[0],
            heads.heads[0].selectivity,
        ])  # fmt: skip
    np.testing.assert_allclose(rows[1], rows[0], rtol=0.02)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_readouts_of_rows_that_differ_by_their_rounding_are_undefined(dtype):
    rng = np.random.default_rng(0)
    row = np.append(rng.normal(size=31), 3000).astype(dtype)
    X = np.where(rng.random((60, 32)) < 0.5, row, np.nextafter(row, dtype(np.inf)))
    positive = np.arange(60)[None] % 3 == 0
    assert fit([(0, X)], positive, ["c"]).status[0, 0] == "positives and negatives have one mean"
    assert "no head varies" in rank_heads([(0, X.reshape(60, 4, 8))], positive, ["c"])[0].status
    assert np.isnan(held_out(X, positive, np.arange(60) // 6, n_permutations=2).auroc).all()


def test_sides_that_are_equal_in_sixteen_bits_still_are():
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 32)), 12, axis=0).astype(np.float16)
    assert "the same" in matched_vs_scrambled(same, same).status


@pytest.mark.parametrize("make", [torch.tensor, pd.DataFrame, lambda x: x.tolist()])
def test_alignment_takes_what_libraries_give(make):
    A, B = unrelated(0, 12, 5)
    assert cosines(make(A), make(B)).status == "ok"
    assert linear_cka(make(A), make(B)) == pytest.approx(linear_cka(A, B))
    whole = (A * 10).astype(int)
    assert cosines(whole, whole).status == "ok"
    with pytest.raises(ValueError, match="12 rows are needed"):
        linear_cka(A, B[:5])


# --- masks and blocks ----------------------------------------------------------------------------


def corpus():
    rng = np.random.default_rng(0)
    ones = (np.arange(60) % 4 == np.arange(3)[:, None]).astype(np.int64)
    X = (rng.normal(size=(60, 24)) + ones.T @ rng.normal(size=(3, 24))).astype(np.float32)
    return X, ones, np.arange(60) // 10


def test_zeros_and_ones_are_positives_everywhere():
    X, ones, scenario = corpus()
    names, texts = ["a", "b", "c"], [f"t{i}" for i in range(60)]
    results = []
    for positive in (
        ones.astype(bool),
        ones,
        pd.DataFrame(ones),
        torch.tensor(ones),
        ones.tolist(),
    ):
        found = fit([(0, X)], positive, names)
        quality = block_quality(found, 0, X, positive, texts).concepts[0]
        heads = rank_heads([(0, X.reshape(60, 4, 6))], positive, names)[0]
        choice = choose_block({0: X}, positive, scenario).auroc
        results.append((found.norms.tolist(), quality.positives, heads.status, choice.tolist()))
    assert all(result == results[0] for result in results)
    for call in (
        lambda p: fit([(0, X)], p, names),
        lambda p: choose_block({0: X}, p, scenario),
        lambda p: held_out(X, p, scenario),
        lambda p: rank_heads([(0, X.reshape(60, 4, 6))], p, names),
    ):
        with pytest.raises(ValueError, match="not the numbers of rows"):
            call(ones * 3)


def test_exports_take_strings_and_say_what_the_last_block_is(tmp_path):
    X, ones, _ = corpus()
    found = fit([(3, X), (7, X)], ones, ["a", "b", "c"])
    save_readouts(str(tmp_path), found)
    assert load_readouts(str(tmp_path)).blocks == (3, 7)
    save_quality(str(tmp_path), {})
    save_concepts(str(tmp_path), found)
    save_control_vectors(str(tmp_path), found, model_hint="llama")
    assert "except for the last block" in CONVENTION
    last = fit([(-1, X)], ones, ["a", "b", "c"])
    with pytest.raises(ValueError, match="block -1: llama.cpp numbers layers from 0"):
        save_control_vectors(tmp_path, last, model_hint="llama")


# --- weights and lengths -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=256, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=8, num_key_value_heads=4, rms_norm_eps=1e-5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def test_z_and_p_do_not_depend_on_the_length_of_directions(checkpoint):
    forms = fold(AttentionWeights.from_checkpoint(checkpoint, 0))
    x = torch.nn.functional.normalize(torch.randn(4, 256))
    for score in (lambda v: qk(forms, v, v, distance=-1), lambda v: qk_self(forms, v, distance=0)):
        reference = score(x * 1000)
        for length in (1.0, 0.1, 1e-3):
            torch.testing.assert_close(score(x * length).z, reference.z, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(score(x * length).p, reference.p, rtol=1e-4, atol=1e-6)


def test_a_single_file_counts_before_an_index_as_in_transformers(tmp_path):
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    base, tuned = LlamaForCausalLM(config), LlamaForCausalLM(config)
    base.save_pretrained(tmp_path, max_shard_size="30KB")
    tuned.save_pretrained(tmp_path)
    truth = LlamaForCausalLM.from_pretrained(tmp_path).model.layers[0].self_attn.q_proj.weight
    ours = AttentionWeights.from_checkpoint(tmp_path, 0).W_Q.permute(0, 2, 1).reshape(32, 32)
    assert torch.equal(ours, truth)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 269060552\n", "git-lfs pointer"),
        (b"", "is empty"),
        (b"\xff" * 200, "cut or no safetensors"),
        (b"\x10\0\0\0\0\0\0\0{not json at all", "cut or no safetensors.*invalid JSON"),
        (b"\x05\0", "cut or no safetensors"),
    ],
)
def test_what_is_no_weights_is_named(checkpoint, tmp_path, content, message):
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        AttentionWeights.from_checkpoint(tmp_path, 0)
    assert "model.safetensors" in str(caught.value)
