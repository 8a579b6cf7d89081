"""Trials of the table of verdicts: on made data, is a finding said, or does a limit hold the truth?

Each function takes what the data are and a seed, runs the method that the study runs, and returns
one answer. Noise has the structure of residual streams (`rival_codes.noise`).
"""

import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # planted codes and tiny models are the tests'

from rival_codes import MONTHS, noise, planted  # noqa: E402
from tiny_models import tiny_hf  # noqa: E402

from interp.affinity import fold, survey_logits, turned_change  # noqa: E402
from interp.alignment import (  # noqa: E402
    OK,
    PairingScores,
    cosines,
    decompose,
    dictionary_test,
    draw_pairs,
    matched_vs_scrambled,
    pairing_test,
    resample,
)
from interp.arrays import group_means  # noqa: E402
from interp.probes import Ablation, Probe, Sweep, probe_grid  # noqa: E402
from interp.readout import choose_block, held_out  # noqa: E402
from interp.selection import best_of  # noqa: E402
from interp.smds import (  # noqa: E402
    Fit,
    Patching,
    chain_test,
    cycle_test,
    discover,
    ellipse,
    heldout_predictions,
    ideal_coordinates,
    smds_grid,
    subspace_similarity,
    within_category,
)
from interp.smds._category_gram import category_gram  # noqa: E402
from interp.stats import (  # noqa: E402
    Resampling,
    mean_interval,
    permutation_test,
    simultaneous_band,
)
from interp.tasks import Workers  # noqa: E402
from interp.weights import AttentionWeights  # noqa: E402

LEVEL = 0.05
"""Of every trial's test."""
ALONE = Workers(n_jobs=1, progress=False)
"""Trials are what is spread over processes."""


def months(kind: str | None, circle: bool, amplitude: float, seed: int) -> bool:
    """Whether months of a code are called alike side by side, or a circle."""
    cells, month = planted(kind, amplitude=amplitude, seed=seed, depths=6)
    test = cycle_test(cells, month, names=MONTHS, n_orders=399, n_within=199, seed=seed)
    return float((test if circle else test.neighbours).largest_p().min()) <= LEVEL


def days(effect: float, seed: int) -> bool:
    """Whether a table of months, with a day's number of a size beside it, tells the day."""
    rng = np.random.default_rng(seed)
    day = rng.permutation(360).astype(float)
    month = (day // 30).astype(int)
    number = effect * (day % 30 - 14.5)[:, None] / 8.7 * rng.normal(size=64) / 8
    X = 3 * rng.normal(size=(12, 64))[month] + number + noise(360, 64, rng)
    found = within_category([("a", X)], day, month, day, period=360.0, n_permutations=99)
    return bool(found.test.p_family[0, 0] <= LEVEL)


def speakers(effect: float, seed: int) -> bool:
    """Whether the best of six cells tells who speaks, in eight transcripts whose turns share a
    deviation."""
    rng = np.random.default_rng(seed)
    turn = np.repeat(np.arange(96), 3)
    group, speaker = turn // 12, np.concatenate([rng.permutation([0, 1] * 6) for _ in range(8)])
    blocks = []
    for depth in range(6):
        X = noise(288, 24, rng) + rng.normal(size=(96, 24))[turn]
        X[:, 5] += effect * (2 * speaker[turn] - 1) * (depth == 2)
        blocks.append((f"block {depth}", X))
    grid = probe_grid(
        blocks,
        speaker[turn],
        groups=group,
        units=turn,
        probe=Probe(C=0.1, n_boot=0),
        resampling=Resampling(99, n_splits=4, seed=seed),
        workers=ALONE,
    )
    return bool(np.nanmin(grid.test.p_family) <= LEVEL)


def flips(effect: float, covers: bool, seed: int) -> bool:
    """Whether the best of 30 cells that eight transcripts share lies above chance, or its limits
    hold the truth."""
    rng = np.random.default_rng(seed)
    scores = 0.5 + 0.05 * rng.normal(size=(8, 30)) + 0.03 * rng.normal(size=(8, 1))
    scores[:, 4] += effect
    found = best_of(scores, baseline=0.5, seed=seed)
    low, high = found.interval
    truth = effect * (found.best == 4)
    return bool(low <= truth <= high if covers else found.p[found.best] <= LEVEL)


def words(effect: float, seed: int) -> bool:
    """Whether vectors raise their own words, in slopes of 12 vectors on 12 words."""
    rng = np.random.default_rng(seed)
    across = rng.normal(size=(12, 12)) + rng.normal(size=12) + 2 * rng.normal(size=(12, 1))
    across[np.diag_indices(12)] += effect
    return pairing_test(PairingScores(across, 1e-9, OK)).p <= LEVEL


def pairs(effect: float, seed: int) -> bool:
    """Whether 60 pairs in five categories, whose texts share a template, align."""
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(5), 12)
    template = rng.normal(size=(2, 5, 64))
    common = effect * rng.normal(size=(60, 64))
    A, B = (noise(60, 64, rng) + side[category] + common for side in template)
    return matched_vs_scrambled(A, B, category.astype(str)).p <= LEVEL


@cache
def base() -> AttentionWeights:
    """One block of a small Llama."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_hf("llama").save_pretrained(folder)
        return AttentionWeights.from_checkpoint(Path(folder), 1)


def rerouted(broadly: bool, seed: int) -> bool:
    """Whether a change made of inputs, as gradients are, is called rerouting along what varies
    most: of the largest cell, or in more cells."""
    rng, one = np.random.default_rng(seed), base()
    d = one.W_Q.shape[1]
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    inputs = rng.normal(size=(200, d)) * np.geomspace(10, 0.1, d) @ axes.T

    def step(W: torch.Tensor) -> torch.Tensor:
        delta = rng.normal(size=(W.shape[0], len(inputs), W.shape[2]))
        change = torch.from_numpy(np.einsum("nd,hne->hde", inputs, delta)).to(W.dtype)
        return W + 0.05 * change * W.norm() / change.norm()

    other = AttentionWeights(**{**vars(one), "W_Q": step(one.W_Q), "W_K": step(one.W_K)})
    turned = turned_change(one, other, torch.from_numpy(axes[:, :4].T.copy()), seed=seed)
    return (turned.p_rate() if broadly else turned.p_largest()) <= LEVEL


def ordered(kind: str, amplitude: float, seed: int) -> bool:
    """Whether nine categories of a code are called ordered, at the best of six depths."""
    rng = np.random.default_rng(seed)
    category = np.arange(360) % 9
    code = {
        "unrelated directions": lambda: np.zeros((9, 1)),
        "halves": lambda: (np.arange(9) > 4)[:, None].astype(float),
        "thirds": lambda: np.repeat(rng.normal(size=(3, 4)), 3, axis=0),
        "line": lambda: np.arange(9.0)[:, None],
    }[kind]()
    code = code - code.mean(axis=0)
    code = code / max(np.sqrt((code**2).sum(axis=1).mean()), 1e-9)
    place_of = amplitude * code @ np.linalg.qr(rng.normal(size=(96, code.shape[1])))[0].T
    cells = []
    for depth in range(6):
        own = 2 * rng.normal(size=(9, 96)) / np.sqrt(96)
        cells.append((str(depth), (place_of + own)[category] + noise(360, 96, rng)))
    test = chain_test(cells, category, n_orders=399, seed=seed)
    return float(test.largest_p().min()) <= LEVEL


def _dated(effects: tuple[float, ...], shared: bool, rng: np.random.Generator):
    """Two texts each of 60 dates: words that hold the date in one plane, or each in its own."""
    group = np.repeat(np.arange(60), 2)
    day = (6.0 * np.arange(60) + 1)[group]
    waves = np.stack([np.cos(day / 365 * 2 * np.pi), np.sin(day / 365 * 2 * np.pi)], axis=1)
    first = rng.normal(size=(2, 48)) / np.sqrt(48)
    words = []
    for effect in effects:
        plane = first if shared else rng.normal(size=(2, 48)) / np.sqrt(48)
        words.append(effect * waves @ plane * 5 + rng.normal(size=(60, 48))[group])
    return group, day, np.stack(words)


def carries(effect: float, seed: int) -> bool:
    """Whether the best of six depths of two words carries a date."""
    rng = np.random.default_rng(seed)
    blocks = []
    for depth in range(6):
        group, day, words = _dated((effect * (depth == 3), 0.0), False, rng)
        blocks.append((str(depth), words + np.stack([noise(120, 48, rng) for _ in words])))
    grid = smds_grid(
        blocks,
        day,
        groups=group,
        period=365.0,
        resampling=Resampling(99, seed=seed),
        workers=ALONE,
    )
    return bool(np.nanmin(grid.test.p_family) <= LEVEL)


def planes(effect: float, shared: bool, seed: int) -> bool:
    """Whether the first two of three words hold a date along shared directions."""
    rng = np.random.default_rng(seed)
    group, day, words = _dated((effect, effect, 0.0), shared, rng)
    found = subspace_similarity(
        words, day, groups=group, period=365.0, n_permutations=99, standardise=True, seed=seed
    )
    return bool(found.p_family[0, 1] <= LEVEL)


def reused(effect: float, shared: bool, seed: int) -> bool:
    """Whether the map of the first word reads the date at the second, at one of two depths."""
    rng = np.random.default_rng(seed)
    group, day, words = _dated((effect, effect, 0.0), shared, rng)
    _, _, silent = _dated((0.0, 0.0, 0.0), shared, rng)
    grid = smds_grid(
        [("a", words), ("b", silent)],
        day,
        groups=group,
        period=365.0,
        fit=Fit(source=0, standardise=True),
        resampling=Resampling(99, seed=seed),
        workers=ALONE,
    )
    assert grid.reuse is not None
    return bool(grid.reuse.p_family[0, 1] <= LEVEL)


def moved(spread: float, band: bool, seed: int) -> bool:
    """Whether limits over 40 pairs hold what patching moves: half of the way from one word, none
    from another, at four depths at once (`band`) or their mean difference."""
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 2 * np.pi, size=(2, 40))
    receiver, donor = (
        0.8 * np.exp(1j * angle) + 0.3 * rng.normal(size=(40, 2)) @ [1, 1j]
        for angle in (first, second)
    )
    share = np.array([0.5, 0.0])[:, None, None] + spread * rng.normal(size=(2, 1, 40))
    noisy = 0.2 * rng.normal(size=(2, 4, 40, 2)) @ [1, 1j]
    patched = receiver + share * (donor - receiver) + noisy
    patching = Patching(("a", "b"), (1, 2, 3, 4), patched, receiver, donor, first, second)
    shares = patching.moved(n_permutations=1, seed=seed)
    if band:
        truth = np.array([[0.5], [0.0]])
        return bool(((shares.low <= truth) & (truth <= shares.high)).all())
    return shares.interval[0] <= 0.5 <= shares.interval[1]


def copies(kind: str, seed: int) -> bool:
    """Whether the control of recurring labels fails: facts told six times each, or a circle whose
    labels recur."""
    rng = np.random.default_rng(seed)
    fact = np.repeat(np.arange(40), 6)
    day = rng.permutation(365)[:40][fact].astype(float)
    angle = day / 365 * 2 * np.pi
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ rng.normal(size=(2, 48))
    own = rng.normal(size=(40, 48))[fact]
    X = (circle if kind == "circle" else 2 * own) + rng.normal(size=(240, 48))
    predicted = heldout_predictions(X, day, day, shape="circular", period=365.0, seed=seed)
    truth = ideal_coordinates(day, "circular", period=365.0)
    return bool(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum() <= 0)


def rounder(ratio: float, seed: int) -> bool:
    """Whether the lower limit of a ring's axis ratio lies above the truth; 0 is a table's.

    The truth is that of the ring alone in the same units of spread within months: a ring of 2 : 1
    in raw activations is one of 1.8 to 2.2 : 1 in those (one standard deviation).
    """
    rng = np.random.default_rng(seed)
    month = np.arange(400) % 12
    angle = 2 * np.pi * (np.arange(12) + 0.5) / 12
    ring = 4 * np.stack([np.cos(angle), ratio * np.sin(angle)], axis=1) * (ratio > 0)
    code = ring @ np.linalg.qr(rng.normal(size=(96, 2)))[0].T
    table = 2 * rng.normal(size=(12, 96)) / np.sqrt(96)
    rows = noise(400, 96, rng)
    within = rows - group_means(rows, month)[month]
    truth = ellipse(category_gram(code[month] + within, month, 12).distances).ratio
    gram = category_gram((code + table)[month] + rows, month, 12).distances
    return ellipse(gram, seed=seed).lower > truth


def ablated(effect: float, seed: int) -> bool:
    """Whether ablating a direction at the best of three depths costs more than dealt directions and
    random ones, which cost next to nothing."""
    rng = np.random.default_rng(seed)
    transcript = 0.2 * rng.normal(size=8)

    def losses(n: int, size: float) -> np.ndarray:
        return size * rng.normal(size=(n, 1)) + size * transcript + 0.1 * rng.normal(size=(n, 8))

    def at(effect: float) -> Ablation:
        own = losses(1, 1.0)[0] + effect
        others = {"random": losses(40, 0.05), "dealt": losses(40, 1.0)}
        return Ablation("", "last", np.zeros(8), {"last": own}, others, 16)

    sweep = Sweep((at(0.0), at(effect), at(0.0)))
    return max(sweep.p(kind) for kind in sweep.at[0].others) <= LEVEL


def lost(shape: float, seed: int) -> bool:
    """Whether limits over eight transcripts hold a mean loss, of transcripts that are skewed."""
    loss = np.random.default_rng(seed).gamma(shape, size=8) - shape
    low, high = mean_interval(loss)
    return bool(low <= 0 <= high)


def _corpus(effects: tuple[float, ...], rng: np.random.Generator):
    """Texts of eight scenarios, two a concept and two of none, at three blocks."""
    concept = np.tile(np.repeat(np.arange(len(effects) + 1), 2), 8)
    scenario = np.repeat(np.arange(8), 2 * (len(effects) + 1))
    positive = np.stack([concept == k for k in range(len(effects))])
    blocks = {}
    for block in range(3):
        X = noise(len(concept), 32, rng) + rng.normal(size=(8, 32))[scenario]
        for k, effect in enumerate(effects):
            X[:, 4 + k] += effect * positive[k]
        blocks[block] = X
    return blocks, positive, scenario


def told(effects: tuple[float, ...], seed: int) -> bool:
    """Whether every concept's vector is said to tell its texts at the chosen block."""
    blocks, positive, scenario = _corpus(effects, np.random.default_rng(seed))
    held = {
        b: held_out(X, positive, scenario, n_permutations=99, seed=seed) for b, X in blocks.items()
    }
    test = permutation_test(
        np.stack([found.auroc for found in held.values()]),
        np.stack([found.null for found in held.values()], axis=1),
    )
    at = list(blocks).index(choose_block(blocks, positive, scenario).block)
    return bool(test.p_family[at].max() <= LEVEL)


def _chosen(effect: float, seed: int) -> tuple[float, float, float]:
    blocks, positive, scenario = _corpus((effect,) * 4, np.random.default_rng(seed))
    choice = choose_block(blocks, positive, scenario)
    return float(choice.auroc[0]), *map(float, choice.interval[0])


@cache
def _expected(effect: float) -> float:
    return float(np.mean([_chosen(effect, 10_000 + seed)[0] for seed in range(400)]))


def auroc_limits(effect: float, seed: int) -> bool:
    """Whether limits of a concept's AUROC, at a block chosen without the scenario, hold its
    expectation."""
    _, low, high = _chosen(effect, seed)
    return low <= _expected(effect) <= high


def downstream(effect: float, seed: int) -> bool:
    """Whether twelve concepts raise their own readouts more than dealt labels do theirs; texts are
    shared, and some vectors act far more than others."""
    rng = np.random.default_rng(seed)
    common = rng.normal()
    dealt = common + rng.lognormal(size=40)
    own = common + rng.lognormal(size=12) + effect
    return bool(mannwhitneyu(own, dealt, alternative="greater").pvalue <= LEVEL)


NOUNS = 52
"""Words that the texts of a language are made of."""


def dictionary(effect: float, seed: int) -> bool:
    """Whether 200 texts of two nouns each, in five templates, align: texts exchanged, and vectors
    dealt to other tokens."""
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(5), 40)
    weights = np.zeros((200, NOUNS + 10))
    for row, kind in zip(weights, category, strict=True):
        row[rng.choice(NOUNS, 2, replace=False)] = 1
        row[NOUNS + 2 * kind : NOUNS + 2 * kind + 2] = 2
    weights /= weights.sum(axis=1, keepdims=True)
    A, B = rng.normal(size=(2, NOUNS + 10, 64))
    B = B + effect * A
    kinds = np.array(["noun"] * NOUNS + ["template"] * 10)
    texts = matched_vs_scrambled(weights @ A, weights @ B, category.astype(str)).p
    dealt = dictionary_test(
        (weights, A), (weights, B), kinds, category.astype(str), n_permutations=199, seed=seed
    )
    return max(texts, dealt.p) <= LEVEL


def _aligned(n: int, effect: float, seed: int):
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(5), n // 5)
    template = np.random.default_rng(5).normal(size=(2, 5, 64))
    common, rest = effect * rng.normal(size=(2, n, 64))
    sides = tuple(noise(n, 64, rng) + side[category] + common + rest for side in template)
    counts = draw_pairs(n, 300, strata=category.astype(str), rng=rng)
    return sides, (common, common), category.astype(str), counts


@cache
def _expected_z(n: int, effect: float) -> float:
    made = (_aligned(n, effect, 10_000 + seed) for seed in range(300))
    return float(np.mean([matched_vs_scrambled(*sides, kind).z for sides, _, kind, _ in made]))


def z_limits(n: int, effect: float, seed: int) -> bool:
    """Whether limits of a z over pairs hold its expectation."""
    sides, _, category, counts = _aligned(n, effect, seed)
    scores = cosines(*sides)
    z = np.array([pairing_test(scores, category).z])
    low, high = simultaneous_band(z, resample(scores, counts, category).z[:, None])
    return bool(low[0] <= _expected_z(n, effect) <= high[0])


DEEPER = (0.5, 0.5, 0.8, 1.2, 1.2)
"""Common part of two sides at five depths, the embedding's first."""


def _deep_scores(seed: int) -> tuple[list[PairingScores], np.ndarray]:
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(5), 20)
    common, *sides = rng.normal(size=(3, 100, 64))
    template = np.random.default_rng(5).normal(size=(2, 5, 64))
    scores, own = [], [noise(100, 64, rng) + template[k][category] + sides[k] for k in (0, 1)]
    for effect in DEEPER:
        # a residual stream: what a depth adds lies on what all depths before it hold
        own = [side + 0.3 * noise(100, 64, rng) for side in own]
        scores.append(cosines(own[0] + effect * common, own[1] + effect * common))
    return scores, category.astype(str)


def _depth_z(scores: list[PairingScores], category: np.ndarray) -> np.ndarray:
    return np.array([pairing_test(each, category).z for each in scores])


@cache
def _expected_gains(steps: bool) -> np.ndarray:
    each = [_gained(_depth_z(*_deep_scores(10_000 + seed)), steps) for seed in range(300)]
    return np.mean(each, axis=0)


def _gained(z: np.ndarray, steps: bool) -> np.ndarray:
    return np.diff(z) if steps else z[..., 1:] - z[..., :1]


def gain_limits(steps: bool, seed: int) -> bool:
    """Whether limits of what depths gain over the embedding, or each over the one before it
    (`steps`), hold all expectations at once."""
    scores, category = _deep_scores(seed)
    counts = draw_pairs(100, 300, strata=category, rng=np.random.default_rng(seed))
    draws = np.stack([resample(each, counts, category).z for each in scores], axis=1)
    low, high = simultaneous_band(_gained(_depth_z(scores, category), steps), _gained(draws, steps))
    truth = _expected_gains(steps)
    return bool(((low <= truth) & (truth <= high)).all())


def _lead(n_groups: int, rows: int, seed: int) -> tuple[float, float, float]:
    """Lead of a circle over a line and its limits; twelve labels, groups with a deviation each."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), rows)
    y = rng.permutation(np.arange(n_groups) % 12).astype(float)[groups]
    circle = np.column_stack([np.cos(np.pi * y / 6), np.sin(np.pi * y / 6)])
    X = circle @ rng.normal(size=(2, 20)) + rng.normal(size=(len(y), 20))
    X += 0.5 * rng.normal(size=(n_groups, 20))[groups]
    shapes = ["circular", "linear"]
    drawn = Resampling(30, seed=seed)
    found = discover(X, y, groups=groups, shapes=shapes, period=12, resampling=drawn)
    sign = 1 if found.shapes[0] == "circular" else -1
    low, high = sorted(sign * found.lead_intervals[0])
    return float(sign * found.leads[0]), float(low), float(high)


@cache
def _expected_lead(n_groups: int, rows: int) -> float:
    return float(np.mean([_lead(n_groups, rows, 10_000 + seed)[0] for seed in range(300)]))


def lead_limits(n_groups: int, rows: int, seed: int) -> bool:
    """Whether limits of a circle's lead over a line hold its expectation."""
    _, low, high = _lead(n_groups, rows, seed)
    return low <= _expected_lead(n_groups, rows) <= high


@cache
def _expected_share(effect: float) -> float:
    made = (_aligned(60, effect, 10_000 + seed) for seed in range(300))
    each = [decompose(sides, part, counts, kind) for sides, part, kind, counts in made]
    return float(
        np.mean([of.part.excess for of in each]) / np.mean([of.whole.excess for of in each])
    )


def share_limits(effect: float, seed: int) -> bool:
    """Whether limits of a share hold that of all pairs."""
    sides, part, category, counts = _aligned(60, effect, seed)
    found = decompose(sides, part, counts, category)
    assert found.interval is not None
    return found.interval[0] <= _expected_share(effect) <= found.interval[1]


def matched(effect: float, pair: str, seed: int) -> bool:
    """Whether heads are said to match four directions: weights without structure, heads of unequal
    size, and perhaps one that is planted."""
    rng, one = np.random.default_rng(seed), base()
    heads, d, _ = one.W_Q.shape
    size = torch.from_numpy(rng.lognormal(0, 0.7, size=(heads, 1, 1))).to(one.W_Q.dtype)
    W_Q = torch.from_numpy(rng.normal(size=one.W_Q.shape)).to(one.W_Q.dtype) * size / d**0.5
    W_K = torch.from_numpy(rng.normal(size=one.W_K.shape)).to(one.W_K.dtype) / d**0.5
    named = rng.normal(size=(4, d))
    if effect:
        axis = torch.from_numpy(rng.normal(size=W_Q.shape[2])).to(W_Q.dtype)
        key = named[0 if pair == "self" else 1]
        for W, side in ((W_Q, named[0]), (W_K, key)):
            W[0] += effect * torch.outer(torch.from_numpy(side).to(W.dtype), axis) / d**0.5
    forms = fold(AttentionWeights(**{**vars(one), "W_Q": W_Q, "W_K": W_K}))
    survivors = survey_logits(forms, torch.from_numpy(named), seed=seed).survivors(pair, LEVEL)
    return survivors.count > 0 and survivors.p <= LEVEL
