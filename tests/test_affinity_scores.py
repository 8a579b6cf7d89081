"""Scores with their null: logits, flows, two models, the earlier notebook, and bytes read."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from scipy import stats
from test_affinity import worst
from test_affinity_null import gaussian, moved, weights_of
from tiny_models import FAMILIES, tiny_hf

from interp.affinity import (
    Forms,
    effective_rank,
    fold,
    logits,
    qk,
    qk_difference,
    qk_self,
    qk_self_difference,
    query_null,
    turned,
    vo,
    vo_cross,
    vo_cross_difference,
    vo_self,
    vo_self_difference,
)
from interp.affinity._flow_null import self_null
from interp.affinity._null import GRID
from interp.affinity._tails import pearson_tail, quadratic_tail
from interp.affinity.notebook import head_averaged, head_averaged_table
from interp.weights import AttentionWeights, size_report

STEPS = [0, -3, -20]
LONG = 1e8
"""Length at which a norm's epsilon is below the rounding of float64."""


def within(hits, rate, draws):
    """A count lies in the central 99 % of the binomial law."""
    low, high = stats.binom.interval(0.99, draws, float(rate))
    return low <= int(hits) <= high


@pytest.mark.parametrize("case", FAMILIES)
def test_scores_are_the_logits_in_their_null(case):
    f = fold(weights_of(case))
    g = fold(moved(weights_of(case), 0.05))
    x, y = gaussian(6, 0), gaussian(4, 1)
    found, own = qk(f, x, y, distance=STEPS), qk_self(f, x, distance=STEPS)
    assert found.raw.shape == found.z.shape == found.p.shape == (4, 6, 4)
    assert worst(found.raw, logits(f, x, y, distance=STEPS)) < 1e-10
    assert worst(own.raw, logits(f, x, x, distance=STEPS).diagonal(dim1=1, dim2=2)) < 1e-10
    free = dataclasses.replace(f, softcap=None)
    after = logits(dataclasses.replace(g, softcap=None), x, y, distance=STEPS)
    change, own_change = (
        qk_difference(f, g, x, y, distance=STEPS),
        qk_self_difference(f, g, x, distance=STEPS),
    )
    assert worst(change.raw, after - logits(free, x, y, distance=STEPS)) < 1e-10
    # the null is one of directions, at a length that leaves the norm's epsilon no part
    product = logits(free, LONG * x, LONG * y, distance=STEPS)
    mean, sd = found.null.mean[:, None, None], found.null.sd[:, None, None]
    assert worst(found.z, (product - mean) / sd) < 1e-10
    assert own_change.raw.shape == (4, 6)
    assert torch.equal(qk_difference(f, f, x, y, distance=0).z, torch.zeros(4, 6, 4).double())
    same = qk_self_difference(f, f, x, distance=0)
    assert not same.z.any() and (same.p == 1).all()
    normed = case in ("qwen3", "gemma3")
    assert found.null.how == ("quadrature" if normed else "closed form")
    assert own_change.null.how == ("sampled" if normed else "closed form")
    assert (own_change.null.error > 0) == (own_change.null.seed is not None) == normed


@pytest.mark.parametrize("case", ["gpt2", "qwen3", "gemma2"])
@pytest.mark.parametrize("covariance", [False, True])
def test_scores_do_not_depend_on_lengths(case, covariance):
    """Not of the vectors, nor of the probes, nor of the residuals that make the null."""
    f, g = fold(weights_of(case)), fold(moved(weights_of(case), 0.05))
    x, y, rows = gaussian(3, 0).double(), gaussian(2, 1).double(), gaussian(60, 2).double()

    def everything(length):
        a, b = length * x, y / length
        options = {"distance": -3, "residuals": length * rows if covariance else None}
        yield from (qk(f, a, b, **options), qk_difference(f, g, a, b, **options))
        yield from (qk_self(f, a, **options), qk_self_difference(f, g, a, **options))
        yield query_null(f, a, **options)
        if not covariance:
            yield from (vo_cross(f, a, b), vo_cross_difference(f, g, a, b))
            yield from (vo_self(f, a), vo_self_difference(f, g, a))

    first = list(everything(1.0))
    for length in (1e-200, 1e-3, 1e200):
        for one, other in zip(first, everything(length), strict=True):
            for name in ("cosine", "head_cosine", "z", "p", "head_z", "head_p", "sd"):
                if isinstance(getattr(one, name, None), torch.Tensor):
                    assert worst(getattr(one, name), getattr(other, name)) < 1e-9, (length, name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_not_finite_are_refused(value):
    f, one = fold(weights_of("llama")), gaussian(3, 0)
    bad = one.clone()
    bad[1, 4] = value
    for call in (
        lambda: qk(f, bad, one, distance=0),
        lambda: qk_self(f, bad, distance=0),
        lambda: qk(f, one, one, distance=0, residuals=bad),
        lambda: vo_cross(f, bad, one),
        lambda: vo_cross(f, one, bad),
        lambda: vo_self(f, bad),
        lambda: head_averaged(weights_of("llama"), bad, one, seed=0),
    ):
        with pytest.raises(ValueError, match="(vector|probe) 1 is not finite"):
            call()


def test_p_falls_with_z_and_goes_on_past_the_grid():
    found = qk(fold(weights_of("llama")), gaussian(2, 0), gaussian(2, 1), distance=0).null
    z = torch.linspace(-20, 20, 401, dtype=torch.float64).expand(4, -1)
    p = found.p(z)
    assert torch.equal(p, p.flip(1)) and (found.p(0 * z) == 1).all()
    assert (p[:, 200:].diff(dim=1) <= 0).all() and (p[:, 200:300].diff(dim=1) < 0).all()
    assert torch.allclose(found.rate(2.0), found.p(torch.full((4,), -2.0).double()))


@pytest.mark.parametrize("dimensions", [40.0, math.inf])
def test_quadratic_tail(dimensions):
    """Against draws, with a linear part and a trace: within 7 % down to 1e-4, of which up to 3 % is
    the draws' own noise; a normal tail is off by half at 1e-2 already."""
    generator = torch.Generator().manual_seed(0)
    S = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    S = S + S.T + 0.5 * torch.eye(24)
    linear = torch.randn(24, generator=generator, dtype=torch.float64) * 3
    z = []
    for _ in range(5):
        x = torch.randn(100_000, 40, generator=generator, dtype=torch.float64)
        if not math.isinf(dimensions):
            x = x * 40**0.5 / x.norm(dim=1, keepdim=True)
        x = x[:, :24]
        z.append(((x @ S) * x).sum(1) + x @ linear)
    z = torch.cat(z)
    z = ((z - z.mean()) / z.std()).abs()
    tail = quadratic_tail(S, linear, dimensions=dimensions).exp()
    for at in (5, 10, 20, 30):
        drawn = (z > GRID[at]).double().mean()
        assert abs(tail[at] / drawn - 1) < 0.07
    normal = torch.erfc(GRID[30] / 2**0.5)
    assert (z > 3).double().mean() > 1.5 * normal


def test_pearson_tail_is_the_normal_one_at_kurtosis_3():
    normal = torch.special.erfc(GRID[1:60] / 2**0.5).log()
    for kurtosis in (3.0, 3 - 1e-6, 3 + 1e-6):
        assert worst(pearson_tail(kurtosis, draws=4000)[1:60], normal) < 1e-3
    # p = 3.6e-33 at 12: far out, where differences from 1 have no digits left
    assert pearson_tail(3.0, draws=4000)[-1].exp().item() == pytest.approx(math.erfc(12 / 2**0.5))
    # a variable on two dimensions of a circle: P(|sqrt(2) cos| > t) = 2 arccos(t / sqrt 2) / pi
    t = GRID[1:14]
    arc = (2 * torch.arccos(t / 2**0.5) / math.pi).log()
    tail = pearson_tail(1.5, draws=4000)
    assert worst(tail[1:14], arc) < 0.05
    # its bound at sqrt 2 is an estimate: past it p falls as a normal's does, and never to 0
    steps = GRID[16:60].square().diff().sum() / 2
    assert (tail.diff() < 0).all() and tail[59] > -math.log(4000) - steps - 5


def wide_forms(seed):
    """One block of 256 dimensions and 2 heads of 16, where normalised residuals are Gaussian."""
    generator = torch.Generator().manual_seed(seed)

    def weights(*shape):
        return torch.randn(*shape, generator=generator) / 16

    zero = torch.zeros(2, 16)
    return Forms(
        weights(2, 16, 256), zero, weights(2, 16, 256), zero, weights(2, 16, 256), zero,
        weights(2, 16, 256), torch.zeros(256),
        q_gain=None, k_gain=None, post_gain=None, centred=False, eps=1e-6, tau=0.25,
        softcap=None, rotation=None,
    )  # fmt: skip


def test_residuals_that_are_not_isotropic_need_the_covariance_null():
    forms, draws = wide_forms(0), 4000
    generator = torch.Generator().manual_seed(1)
    spectrum, mean = torch.logspace(-0.5, 0.5, 256), 0.5 * torch.randn(256, generator=generator)
    rows = torch.randn(2 * draws + 2000, 256, generator=generator) * spectrum + mean
    x, y, residuals = rows[:draws], rows[draws : 2 * draws], rows[2 * draws :]
    blind = qk(forms, x[:1], y[:1], distance=0).null
    found = qk(forms, x[:1], y[:1], distance=0, residuals=residuals).null
    product = torch.stack(
        [logits(forms, a, b, distance=0).diagonal(dim1=1, dim2=2) for a, b in pairs_of(x, y)]
    ).transpose(0, 1).reshape(2, -1)  # fmt: skip
    for head in range(2):
        passed = (found.z(product)[head].abs() > 2).sum()
        assert within(passed, found.rate(2.0)[head], draws)
        passed = (blind.z(product)[head].abs() > 2).sum()
        assert not within(passed, blind.rate(2.0)[head], draws)


def pairs_of(x, y):
    return zip(x.split(500), y.split(500), strict=True)


@pytest.mark.parametrize("case", ["gpt2", "qwen2", "gemma2"])
def test_flow_into_random_probes_has_variance_1_over_d_and_uniform_p(case):
    """Each probe is a draw of its own; the two models' difference has the same law."""
    f, g, draws = fold(weights_of(case)), fold(moved(weights_of(case), 0.05)), 20_000
    y, probes = gaussian(1, 0), gaussian(draws, 1)
    flow = vo(f, LONG * y, probes[:5])
    for scores in (vo_cross(f, y, probes), vo_cross_difference(f, g, y, probes)):
        whole = torch.cat([scores.head_z, scores.z[None]])[:, 0]
        p = torch.cat([scores.head_p, scores.p[None]])[:, 0]
        assert p.shape == (5, draws)
        for head in range(5):
            # the mean of z^2, whose variance is 2 (d - 1) / (d + 2): 4 standard errors
            assert abs(whole[head].square().mean() - 1) < 4 * (2 / draws) ** 0.5
            # 30 tests on three sets of probes
            assert stats.kstest(p[head].numpy(), "uniform").pvalue > 0.001 / 30
    assert worst(vo_cross(f, y, probes[:5]).head_cosine, flow.head_cosine) < 1e-12
    assert worst(vo_cross(f, y, probes[:5]).cosine, flow.cosine) < 1e-12
    change = vo_cross_difference(f, f, y, probes)
    assert not change.z.any() and (change.p == 1).all()


@pytest.mark.parametrize("case", ["gpt2", "qwen2", "gemma3"])
def test_flow_of_vectors_into_themselves(case):
    """Moments of 20,000 vectors that go through the norm and the maps one by one, of each head and
    of the whole, with value and output biases in GPT-2."""
    f, g, draws = fold(weights_of(case)), fold(moved(weights_of(case), 0.05)), 20_000
    x = gaussian(draws, 3)
    for null, scores in (
        (self_null([f], seed=0), vo_self(f, x)),
        (self_null([f, g], seed=0), vo_self_difference(f, g, x)),
    ):
        cosine = torch.cat([scores.head_cosine, scores.cosine[None]])
        z = torch.cat([scores.head_z, scores.z[None]])
        assert scores.how == "sampled"
        # two samples' errors of 1.1 % and .5 %, heavy tails included: 4 %
        assert ((cosine.std(1) / null.sd - 1).abs() < 0.04).all()
        assert (z.mean(1).abs() < 0.06).all()
        assert (((z.abs() > 2).double().mean(1) / null.rate(2.0) - 1).abs() < 0.25).all()
    same = vo_self_difference(f, f, x[:3])
    assert not same.z.any() and (same.p == 1).all()
    own = vo(f, LONG * x[:3], x[:3])
    assert worst(vo_self(f, x[:3]).head_cosine, own.head_cosine.diagonal(dim1=1, dim2=2)) < 1e-12
    assert worst(vo_self(f, x[:3]).cosine, own.cosine.diagonal()) < 1e-12


def delta_sd(N):
    """Of cos(x, N x) on the sphere, linearised in x^T N x and |N x|^2."""
    d = len(N)
    S, G = (N + N.T) / 2, N.T @ N
    s, v = S.trace(), G.trace()

    def covariance(A, B):
        return d / (d + 2) * (2 * (A * B).sum() - 2 * A.trace() * B.trace() / d)

    a, b = (d * v).rsqrt(), -s / (2 * d**0.5 * v**1.5)
    both = 2 * a * b * covariance(S, G)
    return (a**2 * covariance(S, S) + b**2 * covariance(G, G) + both).sqrt()


def test_linearising_the_cosine_fails_where_one_dimension_carries_a_head():
    """Head 0 writes along one dimension and head 1 along sixteen: why this null is drawn."""
    forms = wide_forms(2)
    forms.W_O[0, 1:] = 0
    forms.W_O[0, 0] = forms.C[0, 0]  # the head writes what it reads, so its cosine is |cos|
    found = self_null([forms], seed=0)
    x = torch.randn(100_000, 256, generator=torch.Generator().manual_seed(3))
    cosine = vo_self(forms, x).head_cosine
    drawn = cosine.std(dim=1)
    linear = [delta_sd(forms.W_O[h].double().T @ forms.C[h].double()) for h in (0, 1)]
    assert (found.sd[:2] / drawn - 1).abs().max() < 0.04  # three standard errors of the draws
    assert linear[0] / drawn[0] > 1.1 and abs(linear[1] / drawn[1] - 1) < 0.02


@pytest.mark.parametrize("case", ["gpt2", "llama"])
def test_effective_rank_is_that_of_the_whole_form(case):
    f = fold(weights_of(case))
    found = effective_rank(f, distance=STEPS)
    for head in range(4):
        key = turned(f, f.B[head // f.group].double().T, STEPS)
        share = torch.linalg.svdvals(f.A[head].double().T @ key.T)
        share = share[:8] / share.sum()  # M is [32, 32] and has rank 8
        assert abs(found[head] - (-(share * share.log()).sum()).exp()) < 1e-8
    one = dataclasses.replace(f, A=f.A * torch.eye(8)[0][:, None])
    assert worst(effective_rank(one, distance=0), torch.ones(4)) < 1e-5


def naive_peer(w, x, probe):
    """One vector's QK with itself and VO with a probe, one head and one dimension at a time."""
    x = x.double() / x.double().norm()
    x = x / (x.pow(2).mean() + 1e-6).sqrt() * w.norm_gain.double()
    qk, written = 0.0, torch.zeros(len(x), dtype=torch.float64)
    for head in range(w.n_heads):
        kv = head // (w.n_heads // w.n_kv_heads)
        q, k = x @ w.W_Q[head].double(), x @ w.W_K[kv].double()
        qk += float(sum(q[i] * k[i] for i in range(8))) / 8**0.5 / w.n_heads
        v = x @ w.W_V[kv].double()
        for i in range(8):
            written += v[i] * w.W_O[head, i].double()
    if w.post_gain is not None:
        written = written / (written.pow(2).mean() + 1e-6).sqrt() * w.post_gain.double()
    return qk, float(torch.cosine_similarity(written, probe.double(), dim=0))


def test_the_notebook_is_reproduced():
    w, other = weights_of("gemma2"), moved(weights_of("gemma2"), 0.05)
    x, probes = gaussian(3, 0).float(), gaussian(2, 1).float()
    found = head_averaged(w, x, probes, seed=0)
    for n in range(3):
        for m in range(2):
            qk_one, vo_one = naive_peer(w, x[n], probes[m])
            assert abs(found.qk[n] - qk_one) < 1e-10 and abs(found.vo[n, m] - vo_one) < 1e-10
    assert found.pair.diagonal().equal(found.qk)
    slope = (found.qk_z[1] - found.qk_z[0]) / (found.qk[1] - found.qk[0])
    assert abs(found.qk_z[2] - found.qk_z[0] - slope * (found.qk[2] - found.qk[0])) < 1e-9
    change = head_averaged(other, x, probes, seed=1).qk_z - found.qk_z
    assert change.abs().max() > 0
    assert not torch.equal(found.qk_z, head_averaged(w, x, probes, seed=1).qk_z)


def test_the_notebook_of_two_models_has_their_change():
    w, other = weights_of("gemma2"), moved(weights_of("gemma2"), 0.05)
    x, names = gaussian(3, 0).float(), ["a", "b", "c"]
    both = head_averaged_table({"base": w, "tuned": other}, x, names=names, seed=2)
    alone = head_averaged_table({"base": w}, x, names=names, seed=2)
    assert set(alone) == {"kind", "query", "key", "base_raw", "base_z", "block"}
    pd.testing.assert_frame_equal(both[list(alone)], alone)
    rows = both[both.kind == "QK"].set_index(["query", "key"])
    first, second = (
        head_averaged(one, x, x, seed=2 * 100_003 + 2 * w.block + number)
        for number, one in enumerate((w, other))
    )
    row = rows.loc[("a", "c")]
    assert row.base_z == float(first.pair_z[0, 2]) and row.tuned_z == float(second.pair_z[0, 2])
    assert row.difference_z == row.tuned_z - row.base_z
    with pytest.raises(ValueError, match=r"sides = \[\]; give one model or two"):
        head_averaged_table({}, x, names=names, seed=2)


def test_what_the_notebook_gets_wrong():
    """A head whose keys are its queries gives every vector a high logit with itself, so unrelated
    pairs lie far below 0; and 20 vectors fix neither mean nor spread."""
    w = weights_of("gemma2")
    tied = dataclasses.replace(w, W_Q=w.W_K[[0, 0, 1, 1]].contiguous())
    x = gaussian(60, 0).float()
    pairs = head_averaged(tied, x, x, seed=0).pair_z
    unrelated = pairs[~torch.eye(60, dtype=torch.bool)]
    assert unrelated.mean() < -1
    ours = qk(fold(tied), x, x, distance=0).z[:, ~torch.eye(60, dtype=torch.bool)]
    assert ours.mean().abs() < 0.1
    z = torch.stack([head_averaged(w, x[:1], x[:1], seed=s).qk_z[0] for s in range(50)])
    assert 0.15 < z.std() < 0.6  # near 1 / sqrt(20) for a typical vector


def test_bad_input():
    f, g = fold(weights_of("llama")), fold(weights_of("gpt2"))
    one = torch.ones(1, 32)
    zero = torch.zeros(1, 32)
    short = dataclasses.replace(f, A=f.A[:2], a=f.a[:2], W_O=f.W_O[:2])
    for call in (qk_self, lambda *a, **_: vo_self(*a), lambda f, x, **_: vo_cross(f, x, x)):
        with pytest.raises(ValueError, match="s have width 31"):
            call(f, torch.ones(1, 31), distance=0)
        with pytest.raises(ValueError, match="(vector|probe) 0 is zero"):
            call(f, zero, distance=0)
    with pytest.raises(ValueError, match="vector 0 is zero"):
        qk(f, one, zero, distance=0)
    with pytest.raises(ValueError, match="probe 0 is zero"):
        vo_cross_difference(f, f, one, zero)
    for call in (qk_self_difference, lambda *a, **_: vo_self_difference(*a)):
        with pytest.raises(ValueError, match="differ in shape"):
            call(f, short, one, distance=0)
    with pytest.raises(ValueError, match="differ in"):
        vo_cross_difference(f, g, one, one)
    with pytest.raises(ValueError, match="differ in scale"):
        qk_difference(f, dataclasses.replace(f, tau=1.0), one, one, distance=0)
    with pytest.raises(ValueError, match="1 residuals"):
        qk(f, one, one, distance=0, residuals=one)
    with pytest.raises(ValueError, match="vector 0 is zero"):
        head_averaged(weights_of("llama"), zero, one, seed=0)
    with pytest.raises(ValueError, match="vectors have width 31"):
        head_averaged(weights_of("llama"), one[:, :31], one[:, :31], seed=0)
    with pytest.raises(ValueError, match="n_random=1"):
        head_averaged(weights_of("llama"), one, one, seed=0, n_random=1)


def test_reading_a_sharded_pair_costs_what_it_needs(tmp_path):
    """Bytes asked of the system: tensors, the headers of the shards, index and configuration."""
    paths = [tmp_path / "base", tmp_path / "other"]
    for seed, path in enumerate(paths):
        model = tiny_hf("gemma2", seed=seed, hidden_size=256, intermediate_size=512, head_dim=32)
        model.save_pretrained(path, max_shard_size="1MB")
    assert len(list(paths[0].glob("*.safetensors"))) > 2
    AttentionWeights.from_checkpoint(paths[0], 0)  # what the first call imports is not read here
    before = asked()
    read = [AttentionWeights.from_checkpoint(p, b).bytes_read for p in paths for b in range(3)]
    needed = sum(size_report(path).bytes_needed for path in paths)
    assert sum(read) == needed
    assert asked() - before <= 1.1 * needed


def asked():
    with open("/proc/self/io") as stream:
        return int(next(line for line in stream if line.startswith("rchar")).split()[1])
