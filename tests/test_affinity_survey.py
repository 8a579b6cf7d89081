"""Surveys of directions: calibrated by unrelated sets, turned changes, what is written."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control
from test_directions import named_directions
from tiny_models import tiny_hf, tiny_tokenizer

from interp.affinity import (
    Comparison,
    Deviations,
    Survey,
    TurnedChange,
    Unrelated,
    compare,
    fold,
    logits,
    qk,
    qk_pairs,
    qk_self,
    survey,
    turned_change,
    vo,
    vo_cross,
    vo_pairs,
    vo_self,
)
from interp.affinity._turns import TURNS, turned_changes
from interp.affinity._unrelated import SETS, UNRELATED, BinnedP
from interp.weights import AttentionWeights, perturbed

D, HEADS, BLOCKS, N = 32, 4, 2, 4


def checkpoint(family: str, path: Path, **overrides: Any) -> Path:
    depth = {"n_layer" if family == "gpt2" else "num_hidden_layers": BLOCKS}
    tiny_hf(family, **(depth | {"max_position_embeddings": 400} | overrides)).save_pretrained(path)
    tiny_tokenizer(family).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("survey") / "base")


def X_named() -> torch.Tensor:
    return torch.from_numpy(named_directions().vectors)


# --- a change turned at random -------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_turns_drawn_in_few_dimensions_are_turns_of_the_change(family, tmp_path):
    """Centring, biases, gain, rotation, shared keys and QK-norm, against a change that is really
    turned, head by head, and added to the weights."""
    before = AttentionWeights.from_checkpoint(checkpoint(family, tmp_path / family), 1)
    after = perturbed(before, 0.05)
    X = X_named()
    (fast,) = turned_changes(before, after, X, distances=[-3], seed=1)
    assert fast.shape == (HEADS, 1 + TURNS, N, N)
    plain = logits(fold(before), X, X, distance=-3)
    generator = torch.Generator().manual_seed(2)

    def turned(one, other):
        drawn = torch.randn(len(one), *[one.shape[2]] * 2, generator=generator, dtype=torch.float64)
        Q, R = torch.linalg.qr(drawn)
        Q = Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None]
        return (one.double() + (other - one).double() @ Q).to(one.dtype)

    full = []
    for _ in range(TURNS):
        made = dataclasses.replace(
            before, W_Q=turned(before.W_Q, after.W_Q), W_K=turned(before.W_K, after.W_K)
        )
        full.append(logits(fold(made), X, X, distance=-3) - plain)
    full, made, fast = torch.stack(full, dim=1), fast[:, 0], fast[:, 1:]
    changed = dataclasses.replace(before, W_Q=after.W_Q, W_K=after.W_K)
    expected = logits(fold(changed), X, X, distance=-3) - plain
    np.testing.assert_allclose(made, expected, atol=1e-5)
    spread = fast.pow(2).mean(dim=1) / full.pow(2).mean(dim=1)
    # each of the 64 is a ratio of two variances of 200 draws: sd .14; their mean is held to four
    # of its standard errors, were only the four heads independent
    assert abs(spread.log().mean()) < 4 * 0.14 / 2
    assert spread.log().abs().max() < 5 * 0.14
    # and between cells: a turn of one query moves all of its logits together
    assert _correlation(fast).sub(_correlation(full)).abs().mean() < 0.1


def test_a_change_along_what_varies_most_is_no_rerouting(base):
    """What any gradient step does: rows are sums of inputs, outputs are unrelated to the head."""
    one = AttentionWeights.from_checkpoint(base, 1)
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.normal(size=(D, D)))[0]
        inputs = rng.normal(size=(200, D)) * np.geomspace(10, 0.1, D) @ axes.T

        def step(W, rng=rng, inputs=inputs):
            delta = rng.normal(size=(W.shape[0], len(inputs), W.shape[2]))
            change = torch.from_numpy(np.einsum("nd,hne->hde", inputs, delta)).to(W.dtype)
            return W + 0.05 * change * W.norm() / change.norm()

        other = dataclasses.replace(one, W_Q=step(one.W_Q), W_K=step(one.W_K))
        X = torch.from_numpy(axes[:, :N].T.copy())
        p.append(turned_change(one, other, X, seed=seed).p_largest())
    # .05 of 40, by a binomial test at .001
    assert sum(value <= 0.05 for value in p) <= 8 and np.mean(p) == pytest.approx(0.5, abs=0.2)


def _correlation(changes: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.corrcoef(head.flatten(1).T) for head in changes])


def test_a_change_of_nothing_has_no_turn(base):
    one = AttentionWeights.from_checkpoint(base, 1)
    same = turned_change(one, one, X_named())
    assert same.cells == 0 and same.p_largest() == 1 and same.p_rate() == 1
    changed = turned_change(one, perturbed(one, 0.01), X_named(), distances=[0, -3])
    joined = TurnedChange.joined([same, changed])
    assert joined.cells == changed.cells == 2 * HEADS * N * N
    assert np.array_equal(joined.largest, changed.largest)


# --- pairs of vectors ----------------------------------------------------------------------------


def test_pairs_hold_cross_pairs_and_on_the_diagonal_self_pairs(base):
    before = AttentionWeights.from_checkpoint(base, 1)
    forms, other, X = fold(before), fold(perturbed(before, 0.1)), X_named()
    off, at = ~np.eye(N, dtype=bool), np.arange(N)
    pairs = qk_pairs(forms, X, distance=-3, seed=1)
    cross, own = qk(forms, X, X, distance=-3, seed=1), qk_self(forms, X, distance=-3, seed=1)
    written, together = vo_pairs(forms, X, seed=1)
    flow, alone = vo_cross(forms, X, X), vo_self(forms, X, seed=1)
    for name in ("raw", "z", "p"):
        values = getattr(pairs, name)
        assert np.array_equal(values[:, off], getattr(cross, name).numpy()[:, off])
        assert np.array_equal(values[:, at, at], getattr(own, name).numpy())
    # rows are written, columns attended to
    assert np.array_equal(written.z[:, off], flow.head_z.mT.numpy()[:, off])
    assert np.array_equal(written.p[:, at, at], alone.head_p.numpy())
    assert np.array_equal(together.z[at, at], alone.z.numpy())
    change = qk_pairs(forms, X, distance=-3, other=other, seed=1)
    after = qk_pairs(other, X, distance=-3, seed=1)
    assert np.allclose(change.raw, after.raw - pairs.raw, atol=1e-9)


def test_what_heads_write_is_held_to_what_residuals_share(base):
    """Deviations that lie along what heads write: isotropic probes take them for discoveries."""
    forms = fold(AttentionWeights.from_checkpoint(base, 1))
    _, _, basis = np.linalg.svd(forms.W_O.flatten(0, 1).double().numpy())
    drawn = np.random.default_rng(4).standard_normal((600, D)) * np.repeat([10.0, 1.0], [6, D - 6])
    rows = torch.from_numpy(drawn @ basis)
    fitted, held = torch.cat([rows[:500], -rows[:500]]), rows[500:]
    (ours, together), (plain, plain_together) = (
        vo_pairs(forms, held, residuals=part) for part in (fitted, None)
    )
    off = ~np.eye(100, dtype=bool)
    for mask in (off, ~off):
        assert 0.03 < (ours.p[:, mask] <= 0.05).mean() < 0.07
    assert (plain.p[:, off] <= 0.05).mean() > 0.1
    assert np.allclose(ours.raw, plain.raw, atol=1e-12)
    assert np.allclose(together.raw, plain_together.raw, atol=1e-12)
    assert abs(together.z[off].std() - 1) < 0.15
    # rows are written, columns attended to
    flow = vo(forms, held[:2], held[:2])
    assert ours.raw[0, 1, 0] == pytest.approx(float(flow.head_cosine[0, 0, 1]))
    nothing, _ = vo_pairs(forms, held[:5], other=forms, residuals=fitted)
    assert (nothing.z == 0).all() and (nothing.p == 1).all()


# --- unrelated directions ------------------------------------------------------------------------


def test_survivors_of_binned_p_are_those_of_benjamini_and_hochberg():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(3, 500)) ** np.array([[1.0], [2.0], [4.0]])
    # block by block
    binned = BinnedP.joined([BinnedP.of(part) for part in np.split(p, 5, axis=1)])
    exact = (np.apply_along_axis(false_discovery_control, 1, p) <= 0.05).sum(axis=1)
    # a bin's width may put p a tenth higher
    low = (np.apply_along_axis(false_discovery_control, 1, p * 10**-0.05) <= 0.05).sum(axis=1)
    survivors = binned.survivors(0.05)
    assert (survivors <= exact).all() and exact[2] > 50
    higher = np.apply_along_axis(false_discovery_control, 1, np.minimum(1, p * 10**0.05))
    assert (survivors >= (higher <= 0.05).sum(axis=1)).all()
    assert (low >= exact).all()
    assert np.allclose(binned.passing(0.05) / 500, (p <= 0.05).mean(axis=1), atol=0.02)
    assert np.allclose(binned.largest, -np.log10(p.min(axis=1)))


def test_sets_are_the_same_in_every_block_and_of_different_texts():
    rng = np.random.default_rng(0)
    drawn = [Unrelated.of_texts(N, rng.standard_normal((24, 16, D)), seed=3) for _ in range(2)]
    assert np.array_equal(drawn[0].sets, drawn[1].sets)
    assert not np.allclose(drawn[0].vectors, drawn[1].vectors)
    assert drawn[0].sets.shape == (SETS, N) and drawn[0].vectors.shape == (UNRELATED, D)
    assert all(len(set(row)) == N for row in drawn[0].text[drawn[0].sets].tolist())
    with pytest.raises(ValueError, match="there are 3 held-out texts; 4 directions need at least"):
        Unrelated.of_texts(N, np.zeros((3, 16, D)))
    with pytest.raises(ValueError, match="residuals of 1 texts"):
        Deviations.of(np.zeros((1, 16, D)))


def test_deviations_have_no_mean_and_keep_texts_apart():
    residuals = np.random.default_rng(0).standard_normal((9, 4, D)) + 5
    deviations = Deviations.of(residuals)
    assert np.abs(deviations.fitted.mean(axis=0)).max() < 1e-12
    assert len(deviations.fitted) == 2 * 5 * 4 and len(deviations.held_out) == 4
    mean = residuals[::2].mean(axis=(0, 1))
    assert np.allclose(deviations.held_out + mean, residuals[1::2])


# --- surveys -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks(base) -> list[Survey]:
    options: dict[str, Any] = {"distances": [0, -3, [0, -1, -2]], "names": tuple("abcd"), "seed": 3}
    return [
        survey(fold(AttentionWeights.from_checkpoint(base, at)), X_named(), block=at, **options)
        for at in range(BLOCKS)
    ]


def test_a_survey_of_blocks_is_the_surveys_of_each(blocks):
    joined = Survey.joined(blocks)
    assert joined.qk.blocks == (0, 1) and joined.qk.labels == ("0", "-3", "average")
    assert joined.qk.scores.z.shape == (BLOCKS, HEADS, N, N, 3)
    assert joined.vo.scores.z.shape == (BLOCKS, HEADS, N, N, 1)
    for kind in ("QK", "VO"):
        parts, scores = [one.of(kind) for one in blocks], joined.of(kind)
        assert np.array_equal(scores.scores.p[1], parts[1].scores.p[0])
        assert np.array_equal(scores.unrelated.self_z[1], parts[1].unrelated.self_z[0])
        assert scores.unrelated.tested == sum(part.unrelated.tested for part in parts)
        assert scores.unrelated.passed == sum(part.unrelated.passed for part in parts)
        assert scores.cross_p is not None
        by_hand = sum(part.cross_p.counts for part in parts if part.cross_p is not None)
        assert np.array_equal(scores.cross_p.counts, by_hand)
    table = joined.table()
    assert len(table) == BLOCKS * (HEADS * N * N * 4 + N * N)
    assert (np.diff(table.block) >= 0).all()
    # q is corrected over all blocks, so it is of the whole survey alone
    second, alone = (
        part.drop(columns="q").reset_index(drop=True)
        for part in (table[table.block == 1], blocks[1].table())
    )
    pd.testing.assert_frame_equal(second, alone)


def test_counts_of_a_survey_are_those_of_its_cells(blocks):
    scores = Survey.joined(blocks).qk
    off = ~np.eye(N, dtype=bool)
    survivors = scores.survivors("cross")
    p = scores.scores.p[:, :, off]
    q = false_discovery_control(p, axis=None).reshape(p.shape)
    assert survivors.count == (q <= 0.05).sum() and survivors.tested == q.size
    assert len(survivors.by_set) == SETS and 1 / (1 + SETS) <= survivors.p <= 1
    assert survivors.heads == {
        (a, h) for a, h in np.argwhere((q <= 0.05).any(axis=(2, 3))).tolist()
    }
    rates = scores.rate_by_set()
    assert rates[0] == pytest.approx((scores.scores.p <= 0.05).mean(), abs=0.02)
    assert abs(scores.unrelated.rate - 0.05) < 0.01
    best, second = scores.strongest(2)
    assert best.p == scores.scores.p.min() <= second.p
    assert scores.strongest(pair="self")[0].p == scores.scores.p[:, :, ~off].min()
    assert scores.scores.z[best.index] == best.z
    effect = scores.effect((1,))
    assert np.allclose(effect.mean, np.abs(scores.self_z()[1]).mean(axis=0))
    assert effect.unrelated < effect.bound
    alike = scores.correlation(0, 1)
    near, far = (scores.scores.raw[1, 2][..., at][off] for at in (0, 1))
    assert alike[1, 2] == pytest.approx(np.corrcoef(near, far)[0, 1])
    series, (low, high) = scores.mean_z("cross")
    assert "a → b" in series and (low < high).all()


def test_a_comparison_holds_both_models_and_their_difference(base):
    parts = []
    residuals = np.random.default_rng(0).standard_normal((24, 8, D))
    for block in range(BLOCKS):
        before = AttentionWeights.from_checkpoint(base, block)
        after = perturbed(before, 0.05)
        parts.append(compare(before, after, X_named(), residuals=residuals, names=tuple("abcd")))
    joined = Comparison.joined(parts)
    assert joined.other is not None and joined.turned is not None and joined.isotropic is not None
    assert joined.main is joined.difference and joined.growth().shape == (BLOCKS, HEADS)
    change = joined.main.qk.scores.raw
    assert np.allclose(change, joined.other.qk.scores.raw - joined.base.qk.scores.raw, atol=1e-9)
    table = joined.table(other="tuned")
    assert {"base_z", "tuned_z", "difference_z", "base_effective_rank"} <= set(table)
    assert "difference_effective_rank" not in table
    one = compare(AttentionWeights.from_checkpoint(base, 0), None, X_named())
    assert one.main is one.base and one.isotropic is None and one.turned is None
    with pytest.raises(ValueError, match="no second model"):
        one.growth()


def test_what_does_not_fit_the_directions_is_refused(base):
    forms, X = fold(AttentionWeights.from_checkpoint(base, 0)), X_named()
    with pytest.raises(ValueError, match="3 names for 4 directions"):
        survey(forms, X, names=tuple("abc"))
    with pytest.raises(ValueError, match="sets hold 3 unrelated directions beside 4"):
        survey(forms, X, unrelated=Unrelated.isotropic(3, D))
    with pytest.raises(ValueError, match="distances are empty"):
        survey(forms, X, distances=[])
    alone = survey(forms, X[:1])
    assert alone.qk.pairs == ("self",) and set(alone.table()["pair"]) == {"self"}
    with pytest.raises(ValueError, match="no cross pairs"):
        alone.qk.survivors("cross")
