"""Concept readout vectors: equal to plain computations, found where planted, silent on noise."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file
from safetensors.torch import save as torch_save
from scipy.stats import binom
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from interp.arrays import centred_gram
from interp.readout import (
    OK,
    Assessment,
    Regression,
    block_quality,
    check_export,
    choose_block,
    concept_of,
    dealt_labels,
    effects,
    file_stem,
    fit,
    held_out,
    held_out_grid,
    load_concept,
    load_control_vector,
    load_quality,
    load_readouts,
    middle_block,
    plan_blocks,
    rank_heads,
    save_concepts,
    save_control_vectors,
    save_quality,
    save_readouts,
    stability,
    triage,
)
from interp.readout._heldout import permuted_texts
from interp.readout._leaveout import held_out_scores, pooled_auroc
from interp.stats import permutation_test


def _corpus(n_concepts=4, n_paired=4, n_stories=2, *, neutral=True):
    """Paired scenarios with one text of each concept and a neutral one, then stories."""
    shown, scenario = [], []
    for s in range(n_paired):
        shown += list(range(n_concepts)) + [-1] * neutral
        scenario += [f"paired {s}"] * (n_concepts + neutral)
    for k in range(n_concepts):
        shown += [k] * n_stories
        scenario += [f"story {k} {number}" for number in range(n_stories)]
    return np.array(shown) == np.arange(n_concepts)[:, None], np.array(scenario)


def _planted(positive, d=32, *, gap=4.0, seed=0, offset=20.0):
    """Noise about a common level, plus a direction of its own for each concept."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((d, len(positive))))[0].T
    X = rng.standard_normal((positive.shape[1], d)) + offset + gap * positive.T @ directions
    return X.astype(np.float32), directions


def _names(positive):
    return [f"text {number}" for number in range(positive.shape[1])]


def _concepts(positive):
    return [f"concept {number}" for number in range(len(positive))]


def _fitted(X, positive, **options):
    return fit([(0, X)], positive, _concepts(positive), **options)


# --- blocks --------------------------------------------------------------------------------------


def test_blocks_by_default_are_those_nearest_five_depths():
    targets = plan_blocks(None, 30, [True] * 30)
    # the output of block b has b + 1 blocks behind it: 8, 15, 18, 23 and 27 of 30
    assert targets.blocks == (7, 14, 17, 22, 26)
    assert "25, 50, 60, 75, 90 % of the depth" in targets.notices[0]
    assert "block 14: 50 % of the depth" in targets.notices
    for n_layers in (1, 2, 3, 12, 80):
        ends = np.take(plan_blocks(None, n_layers, [True] * n_layers).blocks, (0, -1))
        for percent, block in zip((25, 90), ends, strict=True):
            gaps = [abs(100 * (b + 1) / n_layers - percent) for b in range(n_layers)]
            assert gaps[block] == pytest.approx(min(gaps))


def test_target_blocks_are_checked_and_said():
    targets = plan_blocks([2, 0, 2], 3, [True, True, False])
    assert targets.blocks == (0, 2) and targets.depths == pytest.approx((100 / 3, 100))
    assert targets.notices == (
        "block 0: 33 % of the depth",
        "block 2: 100 % of the depth",
        "blocks asked for more than once, read once: [2]",
        "block 2 has no attention: no heads to rank",
    )
    for block in (3, -1):
        with pytest.raises(ValueError, match=f"target block {block}; this model has blocks 0 to 2"):
            plan_blocks([block], 3, [True] * 3)
    with pytest.raises(ValueError, match="told of 2 blocks out of 3"):
        plan_blocks(None, 3, [True] * 2)
    assert targets.labels == ("block 0 (33 %)", "block 2 (100 %)")


# --- vectors -------------------------------------------------------------------------------------


def test_vectors_equal_a_plain_torch_computation_to_half_precision():
    positive, _ = _corpus()
    blocks = {2: _planted(positive, seed=1)[0], 5: _planted(positive, seed=2, offset=300.0)[0]}
    found = fit(blocks.items(), positive, ["a", "b", "c", "d"])
    assert found.concepts == ("a", "b", "c", "d") and found.blocks == (2, 5)
    for block, X in blocks.items():
        rows = torch.from_numpy(X).double()
        for k, label in enumerate(torch.from_numpy(positive)):
            difference = rows[label].mean(dim=0) - rows[~label].mean(dim=0)
            unit = (difference / difference.norm()).half().numpy()
            np.testing.assert_array_equal(found.at(block)[k].astype(np.float16), unit)
            index = found.blocks.index(block)
            assert found.norms[index, k] == pytest.approx(float(difference.norm()), rel=1e-9)
    assert found.vectors.dtype == np.float32 and (found.status == OK).all()
    assert found.positives.tolist() == [6] * 4


def test_a_text_of_two_concepts_is_a_negative_of_neither():
    positive = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0]], dtype=bool)
    X = np.eye(5)
    found = _fitted(X, positive)
    for k, expected in enumerate(
        [[1 / 2, 1 / 2, -1 / 3, -1 / 3, -1 / 3], [-1 / 3, 1 / 2, 1 / 2, -1 / 3, -1 / 3]]
    ):
        unit = np.array(expected) / np.linalg.norm(expected)
        np.testing.assert_allclose(found.vectors[0, k], unit, atol=1e-7)


def test_a_readout_scores_texts_and_gives_a_vector_to_steer_with():
    positive, _ = _corpus()
    X, _ = _planted(positive)
    readouts = fit([(2, X), (5, 2 * X)], positive, _concepts(positive))
    vector = readouts.vector("concept 1", 5)
    np.testing.assert_array_equal(vector, readouts.vectors[1, 1])
    scores = readouts.apply(X[:3], 5)
    assert scores.shape == (3, 4)
    np.testing.assert_allclose(scores[:, 1], X[:3].astype(np.float64) @ vector, rtol=1e-6)
    table = readouts.table()
    assert table.block.tolist() == [2] * 4 + [5] * 4
    assert table.concept.tolist() == _concepts(positive) * 2
    np.testing.assert_array_equal(table.norm, readouts.norms.ravel())
    assert table.positives.tolist() == positive.sum(axis=1).tolist() * 2
    cosines = readouts.plot(2, label="first").data[0]["z"]
    np.testing.assert_array_equal(cosines, readouts.at(2) @ readouts.at(2).T)
    gone = replace(readouts, status=np.array([[OK] * 4, [OK, "gone", OK, OK]]))
    for refused, message in (
        (lambda: readouts.vector("joy", 5), "concept 'joy' is none of concept 0, concept 1"),
        (lambda: readouts.vector("concept 1", 3), r"block 3 has no vectors; there are \[2, 5\]"),
        (lambda: gone.vector("concept 1", 5), "'concept 1' has no vector at block 5: gone"),
        (lambda: readouts.apply(X[:, :3], 5), "for vectors of width 32"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_texts_that_are_alike_at_a_block_have_a_status_there_and_no_vector():
    positive, _ = _corpus()
    X, _ = _planted(positive)
    alike = np.tile(X[:1], (len(X), 1)) * (1 + 1e-7 * np.arange(len(X))[:, None] % 3)
    found = fit([(0, alike.astype(np.float32)), (1, X)], positive, list("abcd"))
    assert set(found.status[0]) == {"positives and negatives have one mean"}
    assert np.isnan(found.vectors[0]).all() and (found.status[1] == OK).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive": np.zeros((2, 6), bool)}, r"too few positives.*{'a': 0, 'b': 0}"),
        ({"minimum": 4}, "too few positives, of at least 4 each: {'b': 3}"),
        ({"positive": np.ones((2, 6), bool)}, r"every text is a positive of \['a', 'b'\]"),
        ({"concepts": ["a", "a"]}, r"given more than once or empty: \['a'\]"),
        ({"concepts": ["a", ""]}, r"given more than once or empty: \[''\]"),
        ({"concepts": ["a"]}, "1 concepts for 2 rows"),
        ({"blocks": [(0, np.ones((5, 3)))]}, "5 rows of activations for 6 texts"),
        ({"blocks": [(0, np.full((6, 3), np.nan))]}, "row 0 of the activations is not finite"),
        ({"blocks": [(0, np.eye(6)), (1, np.eye(6)[:, :2])]}, "one width; they are {0: 6, 1: 2}"),
        ({"blocks": [(0, np.eye(6)), (0, np.eye(6))]}, "block 0 is given twice"),
        ({"blocks": []}, "no block"),
        ({"positive": np.zeros((0, 6), bool), "concepts": []}, "at least 1 concept"),
    ],
)
def test_vectors_that_cannot_be_are_refused_with_the_reason(change, message):
    positive = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=bool)
    given = {"blocks": [(0, np.eye(6))], "positive": positive, "concepts": ["a", "b"]} | change
    with pytest.raises(ValueError, match=message):
        fit(given.pop("blocks"), given.pop("positive"), given.pop("concepts"), **given)


# --- held-out scores -----------------------------------------------------------------------------


def _refitted_scores(X, positive, scenario):
    """One fit for every concept and scenario."""
    rows, scores = X.astype(np.float64), np.empty(positive.shape)
    for name in np.unique(scenario):
        train = scenario != name
        for k, label in enumerate(positive):
            unit = rows[train & label].mean(axis=0) - rows[train & ~label].mean(axis=0)
            unit /= np.linalg.norm(unit)
            scores[k, ~train] = (rows[~train] - rows[train].mean(axis=0)) @ unit
    return scores


@pytest.mark.parametrize("d", [5, 300])
def test_held_out_scores_equal_refitting(d):
    positive, scenario = _corpus()
    positive[1, 0] = True  # one text of two concepts
    X, _ = _planted(positive, d, gap=1.0)
    found = held_out(X, positive, scenario, n_permutations=5)
    expected = _refitted_scores(X, positive, scenario)
    np.testing.assert_allclose(found.scores, expected, atol=1e-10)
    for k, label in enumerate(positive):
        assert found.auroc[k] == pytest.approx(roc_auc_score(label, expected[k]))


def test_the_null_refits_under_labels_that_stay_within_scenarios():
    positive, scenario = _corpus()
    X, _ = _planted(positive, gap=1.0)
    found = held_out(X, positive, scenario, n_permutations=6, seed=3)
    member = np.unique(scenario, return_inverse=True)[1]
    orders = permuted_texts(member, 6, np.random.default_rng(3))
    for null, order in zip(found.null, orders, strict=True):
        dealt = positive[:, order]
        for name in np.unique(scenario[:20]):  # the paired ones keep one text of each concept
            np.testing.assert_array_equal(dealt[:, scenario == name].sum(axis=1), 1)
        scores = _refitted_scores(X, dealt, scenario)
        expected = [roc_auc_score(label, row) for label, row in zip(dealt, scores, strict=True)]
        np.testing.assert_allclose(null, expected)
    assert len({tuple(order) for order in orders}) == 6


def test_the_interval_is_that_of_whole_runs_without_a_scenario():
    positive, scenario = _corpus()
    X, _ = _planted(positive, gap=1.0)
    found = held_out(X, positive, scenario, n_permutations=1, level=0.9)
    without = []
    for name in np.unique(scenario):
        kept = scenario != name
        part = held_out(X[kept], positive[:, kept], scenario[kept], n_permutations=1)
        without.append(part.auroc)
    deviation = np.array(without) - np.mean(without, axis=0)
    error = np.sqrt(11 / 12 * (deviation**2).sum(axis=0))
    for side, factor in enumerate((-1.6449, 1.6449)):
        expected = np.clip(found.auroc + factor * error, 0, 1)
        np.testing.assert_allclose(found.interval[:, side], expected, atol=1e-4)


def test_passes_over_permutations_do_not_change_the_null(monkeypatch):
    positive, scenario = _corpus()
    X, _ = _planted(positive, gap=0.5)
    whole = held_out(X, positive, scenario, n_permutations=9)
    monkeypatch.setattr("interp.readout._heldout.AT_ONCE", 2 * positive.size)
    parts = held_out(X, positive, scenario, n_permutations=9)
    np.testing.assert_array_equal(whole.null, parts.null)


def test_a_grid_holds_every_block_and_corrects_over_all_of_them():
    positive, scenario = _corpus()
    blocks = {3: _planted(positive, gap=0.0)[0], 8: _planted(positive, gap=8.0, seed=1)[0]}
    names = _concepts(positive)
    grid = held_out_grid(blocks, positive, scenario, names, n_permutations=99, seed=2)
    alone = [held_out(X, positive, scenario, n_permutations=99, seed=2) for X in blocks.values()]
    np.testing.assert_array_equal(grid.auroc, [row.auroc for row in alone])
    np.testing.assert_array_equal(grid.interval, [row.interval for row in alone])
    joint = permutation_test(grid.auroc, np.stack([row.null for row in alone], axis=1))
    np.testing.assert_array_equal(grid.test.p_family, joint.p_family)
    assert (grid.test.p_family[1] >= alone[1].test.p_family).all()
    assert grid.survives()[1].all() and not grid.survives()[0].all()
    table = grid.table()
    assert table.block.tolist() == [3] * 4 + [8] * 4 and table.concept.tolist() == names * 2
    np.testing.assert_array_equal(table.auroc, grid.auroc.ravel())
    np.testing.assert_array_equal(table.auroc_high, grid.interval[..., 1].ravel())
    assert set(table.status) == {OK}
    words = held_out(blocks[3], positive, scenario, n_permutations=1)
    drawn = grid.plot(surface=words, row_labels=["early", "late"]).data
    np.testing.assert_array_equal(drawn[0]["z"], np.vstack([words.auroc, grid.auroc]))
    dots = next(trace for trace in drawn if trace["name"] == "survives max-T correction at 5 %")
    assert list(dots["y"]) == [2] * 4  # the words have no test of their own
    assert grid.plot().layout.yaxis.ticktext == ("block 3", "block 8")
    with pytest.raises(ValueError, match="no block is given; a grid needs at least 1"):
        held_out_grid({}, positive, scenario, names)
    with pytest.raises(ValueError, match="3 concepts for 4 rows"):
        held_out_grid(blocks, positive, scenario, names[:3])


def test_dealt_labels_keep_each_scenario_s_number_of_positives():
    positive, scenario = _corpus()
    labels = dealt_labels(positive, scenario, 30, rng=np.random.default_rng(0))
    assert labels.shape == (30, positive.shape[1])
    for name in np.unique(scenario):
        texts = scenario == name
        counts = set(positive[:, texts].sum(axis=1))
        assert set(labels[:, texts].sum(axis=1)) <= counts
    assert len({tuple(label) for label in labels}) > 4  # and are not those of the concepts


def test_planted_concepts_are_found_on_scenarios_they_were_not_fitted_on():
    positive, scenario = _corpus(n_paired=6)
    X, directions = _planted(positive, 64, gap=8.0)
    found = held_out(X, positive, scenario)
    assert (found.auroc > 0.97).all() and (found.interval[:, 0] > 0.9).all()
    assert found.test.survives().all() and found.status == (OK,) * 4
    vectors = _fitted(X, positive).vectors[0]
    # The negatives hold 8/30 of each of 3 other directions, and means of 8 and 30 keep noise in 64
    # dimensions: (1 + 3 (8/30)^2 + (1/8 + 1/30) 64 / 8^2)^-1/2.
    cosines = np.diag(vectors @ directions.T)
    assert cosines.mean() == pytest.approx(0.854, abs=0.03) and cosines.min() > 0.8
    turned = stability(X, positive, scenario, rng=np.random.default_rng(0))
    assert (turned.mean > 0.9).all() and (turned.low > 0.85).all() and turned.status == (OK,) * 4


def test_what_a_scenario_shares_does_not_pass_for_a_concept():
    """Scenario levels are large, concepts are not there; scores of noise are at .5."""
    positive, scenario = _corpus(n_paired=6, n_stories=0)
    member = np.unique(scenario, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 64)) + 5 * rng.standard_normal((6, 64))[member]
    assert (held_out(X, positive, scenario).test.p_family > 0.05).all()


def test_noise_has_an_auroc_of_one_half_and_p_values_hold_their_level():
    positive, scenario = _corpus(n_concepts=3, n_paired=4, n_stories=3)
    trials, means, family, covered = 120, [], 0, 0
    for seed in range(trials):
        X = np.random.default_rng(seed).standard_normal((positive.shape[1], 200))
        found = held_out(X, positive, scenario, n_permutations=39, seed=seed)
        means.append(found.auroc.mean())
        family += found.test.p_family.min() <= 0.05
        covered += found.interval[0, 0] <= 0.5 <= found.interval[0, 1]
    # the mean AUROC of 3 concepts scatters by its own standard error over trials
    assert abs(np.mean(means) - 0.5) < 3 * np.std(means) / np.sqrt(trials)
    low, high = binom.interval(0.99, trials, 0.05)
    assert low <= family <= high
    # a bootstrap of the projections covers 78 % here
    assert covered >= binom.ppf(0.005, trials, 0.95)


def test_a_midpoint_would_order_single_texts_of_noise_the_wrong_way():
    """Why projections are measured from the training mean."""
    label, by_mean, by_midpoint = np.arange(60) < 6, [], []
    for seed in range(100):
        X = np.random.default_rng(seed).standard_normal((60, 400))
        gram = centred_gram(X, without_constant=True)
        by_mean.append(pooled_auroc(held_out_scores(gram, label[None], np.arange(60)), label[None]))
        scores = []
        for row in range(60):
            train = np.arange(60) != row
            high, low = X[train & label].mean(axis=0), X[train & ~label].mean(axis=0)
            scores.append((X[row] - (high + low) / 2) @ (high - low) / np.linalg.norm(high - low))
        by_midpoint.append(roc_auc_score(label, scores))
    assert np.mean(by_midpoint) < 0.5 - 3 * np.std(by_midpoint) / 10
    assert abs(np.mean(by_mean) - 0.5) < 3 * np.std(by_mean) / 10


def test_a_concept_of_one_scenario_is_undefined_and_leaves_the_others_alone():
    positive, scenario = _corpus()
    alone = positive[0] & (scenario == "paired 0")
    X, _ = _planted(positive, gap=6.0)
    found = held_out(X, np.concatenate([alone[None], positive]), scenario, n_permutations=40)
    assert found.status[0] == "no AUROC: positives in 1 of at least 2 scenarios"
    assert np.isnan(found.auroc[0]) and np.isnan(found.test.p_family[0])
    others = held_out(X, positive, scenario, n_permutations=40)
    np.testing.assert_allclose(found.auroc[1:], others.auroc)
    np.testing.assert_allclose(found.test.p_family[1:], others.test.p_family)


def test_equal_texts_and_rare_concepts_say_so():
    positive, scenario = _corpus()
    equal = held_out(np.full((28, 4), 0.1, np.float32), positive, scenario, n_permutations=9)
    assert set(equal.status) == {
        "no AUROC: positives and negatives have one mean where a scenario is left out"
    }
    rare = np.zeros((1, 28), bool)
    rare[0, [0, 5]] = True
    X, _ = _planted(positive)
    found = held_out(X, rare, scenario, n_permutations=9)
    assert found.status == ("no interval: positives in 2 of at least 3 scenarios",)
    assert np.isfinite(found.auroc[0]) and np.isnan(found.interval[0]).all()
    turned = stability(X, rare, scenario, n_boot=200, rng=np.random.default_rng(0))
    assert np.isnan(turned.mean[0]) and "of 200 resamples" in turned.status[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((27, 4))}, "27 rows of activations for 28 texts"),
        ({"X": np.full((28, 4), np.inf)}, "row 0 of the activations is not finite"),
        ({"scenario": np.arange(27)}, "27 scenario labels for 28 texts"),
        ({"scenario": np.arange(28) % 2}, r"2 scenarios, \[0, 1\]; holding one out"),
    ],
)
def test_what_cannot_be_held_out_is_refused_with_the_reason(change, message):
    positive, scenario = _corpus()
    given = {"X": np.eye(28), "scenario": scenario} | change
    for judge in (
        lambda X, s: held_out(X, positive, s),
        lambda X, s: choose_block({0: X}, positive, s),
        lambda X, s: stability(X, positive, s, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match=message):
            judge(given["X"], given["scenario"])


# --- choice of a block ---------------------------------------------------------------------------


def test_the_best_of_many_blocks_of_noise_looks_good_and_the_nested_choice_does_not():
    positive, scenario = _corpus(n_concepts=2, n_paired=5, n_stories=1)
    best, nested = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        blocks = {b: rng.standard_normal((positive.shape[1], 20)) * 2**b for b in range(8)}
        found = choose_block(blocks, positive, scenario)
        assert found.curve[found.block] == max(found.curve.values())
        best.append(max(found.curve.values()))
        nested.append(found.auroc.mean())
    assert np.mean(best) > 0.6
    assert abs(np.mean(nested) - 0.5) < 3 * np.std(nested) / np.sqrt(40)


def test_the_nested_choice_equals_loops_that_refit():
    positive, scenario = _corpus(n_concepts=2, n_paired=3, n_stories=1)
    blocks = {b: _planted(positive, 10, gap=gap, seed=b)[0] for b, gap in ((2, 0.5), (4, 1.0))}
    found = choose_block(blocks, positive, scenario)

    def mean_auroc(X, positive, scenario):
        scores = _refitted_scores(X, positive, scenario)
        return np.mean([roc_auc_score(p, s) for p, s in zip(positive, scores, strict=True)])

    scores = np.empty(positive.shape)
    for name in np.unique(scenario):
        train = scenario != name
        inner = {
            b: mean_auroc(X[train], positive[:, train], scenario[train]) for b, X in blocks.items()
        }
        best = max(inner, key=lambda b: inner[b])
        assert found.fold_blocks[name] == best
        rows = blocks[best].astype(np.float64)
        for k, label in enumerate(positive):
            unit = rows[train & label].mean(axis=0) - rows[train & ~label].mean(axis=0)
            along = (rows - rows[train].mean(axis=0)) @ unit
            scores[k, ~train] = along[~train] / along[train & ~label].std()
    expected = [roc_auc_score(p, s) for p, s in zip(positive, scores, strict=True)]
    np.testing.assert_allclose(found.auroc, expected)
    assert len(set(found.fold_blocks.values())) == 2
    assert list(found.curve) == [2, 4]
    assert found.curve[4] == pytest.approx(mean_auroc(blocks[4], positive, scenario))


def test_the_block_that_holds_the_concepts_is_chosen():
    positive, scenario = _corpus()
    gaps = {3: 0.0, 7: 8.0, 9: 1.0}
    blocks = {block: _planted(positive, gap=gap, seed=block)[0] for block, gap in gaps.items()}
    found = choose_block(blocks, positive, scenario)
    assert found.block == found.majority == 7 and set(found.fold_blocks.values()) == {7}
    assert set(found.fold_blocks) == set(scenario.tolist())
    assert (found.auroc > 0.95).all() and (found.interval[:, 0] > 0.85).all()
    assert found.status == (OK,) * 4
    one = choose_block({7: blocks[7]}, positive, scenario)
    # without a choice to make it is leave-one-scenario-out, each fold in its own standard deviation
    plain = held_out(blocks[7], positive, scenario, n_permutations=1)
    np.testing.assert_allclose(one.auroc, plain.auroc, atol=0.03)
    np.testing.assert_allclose(one.curve[7], plain.auroc.mean())


def test_a_choice_without_blocks_or_concepts_to_choose_by_is_refused():
    positive, scenario = _corpus()
    with pytest.raises(ValueError, match="no block is given"):
        choose_block({}, positive, scenario)
    rare = np.zeros((1, 28), bool)
    rare[0, [0, 5]] = True  # gone from training once one of the two scenarios is left out
    with pytest.raises(ValueError, match="no concept has an AUROC to choose a block by"):
        choose_block({0: np.random.default_rng(0).standard_normal((28, 4))}, rare, scenario)


# --- stability -----------------------------------------------------------------------------------


def test_stability_equals_refitting_on_resampled_texts():
    positive, scenario = _corpus()
    X, _ = _planted(positive, gap=1.0)
    found = stability(X, positive, scenario, n_boot=30, rng=np.random.default_rng(5))
    names = np.unique(scenario)
    times = np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / 12), size=30)
    whole = _fitted(X, positive).vectors[0]
    cosines = []
    for draw in times:
        rows = np.concatenate(
            [np.tile(np.flatnonzero(scenario == n), t) for n, t in zip(names, draw, strict=True)]
        )
        drawn = _fitted(X[rows.astype(int)], positive[:, rows.astype(int)]).vectors[0]
        cosines.append((drawn * whole).sum(axis=1))
    np.testing.assert_allclose(found.mean, np.mean(cosines, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.low, np.quantile(cosines, 0.05, axis=0), atol=1e-6)


def test_the_stability_of_noise_is_that_of_unrelated_texts():
    positive, scenario = _corpus(n_paired=8)
    X = np.random.default_rng(0).standard_normal((positive.shape[1], 4000))
    found = stability(X, positive, scenario, rng=np.random.default_rng(0))
    # cosines of noise in 4000 dimensions scatter by 1 / sqrt(4000) = .016
    np.testing.assert_allclose(found.mean, found.unrelated, atol=0.03)
    assert (np.abs(found.unrelated - 1 / np.sqrt(2)) < 0.05).all()


# --- quality -------------------------------------------------------------------------------------


def _judged(X, positive, **options):
    return block_quality(_fitted(X, positive), 0, X, positive, _names(positive), **options)


def test_quality_equals_plain_computations():
    positive, _ = _corpus(n_concepts=8)
    X, _ = _planted(positive, gap=3.0)
    rows, W_out = X.astype(np.float64), np.random.default_rng(1).standard_normal((100, 32))
    W_out[7] = 0  # a dead neuron
    vectors = _fitted(X, positive).vectors[0].astype(np.float64)
    for k, one in enumerate(_judged(X, positive, W_out=W_out).concepts):
        high, low = rows[positive[k]], rows[~positive[k]]
        assert (one.positives, one.negatives, one.status) == (6, len(rows) - 6, OK)
        assert one.variance_ratios is not None
        variance = np.linalg.eigvalsh(np.cov(high.T))[::-1]
        np.testing.assert_allclose(one.variance_ratios, (variance / variance.sum())[:5], atol=1e-9)
        along = [float(v @ vectors[k]) for v in high]
        spread = (np.mean(along), np.std(along), min(along), max(along))
        found = one.projection
        assert (found.mean, found.std, found.min, found.max) == pytest.approx(spread)
        assert one.negative_projection.mean == pytest.approx((low @ vectors[k]).mean())
        away = high - low.mean(axis=0)
        aligned = away @ vectors[k] / np.linalg.norm(away, axis=1)
        assert (one.alignment.mean, one.alignment.std) == pytest.approx(
            (aligned.mean(), aligned.std())
        )
        texts = np.flatnonzero(positive[k])[np.argsort(aligned)[:2]]
        assert [name for name, _ in one.lowest] == [f"text {text}" for text in texts]
        cosines = [w @ vectors[k] / np.linalg.norm(w) if w.any() else 0.0 for w in W_out]
        best = sorted(range(100), key=lambda n: -abs(cosines[n]))[:5]
        assert one.neurons is not None and [n for n, _ in one.neurons] == best
        assert [c for _, c in one.neurons] == pytest.approx([cosines[n] for n in best])
        near = {f"concept {o}": float(vectors[o] @ vectors[k]) for o in range(8) if o != k}
        assert dict(one.nearest) == pytest.approx(
            dict(sorted(near.items(), key=lambda i: -i[1])[:5])
        )


def test_regression_equals_scikit_learn():
    positive, _ = _corpus(n_concepts=8)
    X, _ = _planted(positive, gap=3.0)
    vectors = _fitted(X, positive).vectors[0].astype(np.float64)
    for k, one in enumerate(_judged(X, positive).concepts):
        others = [o for o in range(8) if o != k]
        model = Ridge(alpha=0.01, fit_intercept=False, tol=1e-12).fit(vectors[others].T, vectors[k])
        missed = vectors[k] - model.predict(vectors[others].T)
        found = one.regression
        assert found is not None
        # unit vectors are of length 1 to the rounding of float32
        assert found.residual_norm == pytest.approx(np.linalg.norm(missed), rel=1e-6)
        assert found.r2 == pytest.approx(1 - missed @ missed, rel=1e-6)
        best = np.argsort(-np.abs(model.coef_))[:5]
        expected = {f"concept {others[b]}": model.coef_[b] for b in best}
        assert list(dict(found.coefficients)) == list(expected)
        assert dict(found.coefficients) == pytest.approx(expected)


def test_unrelated_texts_give_the_alignment_and_r2_that_the_design_says():
    """In very many dimensions noise is orthogonal, so the sampled values meet the exact ones."""
    for neutral in (True, False):
        positive, _ = _corpus(n_paired=6, n_stories=0, neutral=neutral)
        X = np.random.default_rng(0).standard_normal((positive.shape[1], 40_000))
        for one in _judged(X, positive).concepts:
            found = one.regression
            assert found is not None
            assert one.alignment.mean == pytest.approx(one.alignment_unrelated, abs=0.02)
            # cosines scatter by 1 / sqrt(40,000) = .005, and R2 sums over four of them
            assert found.r2 == pytest.approx(found.r2_unrelated, abs=0.03)
            assert found.r2_unrelated < 0.7 if neutral else found.r2_unrelated > 0.95


def test_few_positives_have_no_made_up_components():
    positive = np.eye(3, 12, dtype=bool)
    positive[1, 3] = positive[2, 4] = positive[2, 5] = True
    X = np.random.default_rng(0).standard_normal((12, 6))
    one, two, three = _judged(X, positive).concepts
    assert one.variance_ratios is None and one.variance_status.startswith("1 positives")
    assert two.variance_ratios is None and two.variance_status.startswith("2 positives")
    assert three.variance_ratios is not None and len(three.variance_ratios) == 2
    assert one.as_dict()["variance_ratios"] is None and one.alignment_unrelated == 1
    assert triage(_judged(X, positive)).classes[0] == "untestable"
    X[[2, 4, 5]] = X[2]
    assert _judged(X, positive).concepts[2].variance_status == "the positives are equal"


def test_a_concept_without_a_vector_is_judged_nowhere():
    positive, _ = _corpus()
    X, _ = _planted(positive)
    readouts = _fitted(X, positive)
    same = replace(
        readouts,
        status=np.array([[OK, "gone", OK, OK]]),
        vectors=np.where(np.arange(4)[:, None] == 1, np.nan, readouts.vectors).astype(np.float32),
    )
    quality = block_quality(same, 0, X, positive, _names(positive), W_out=np.eye(32))
    gone = quality.concepts[1]
    assert gone.status == "gone" and gone.neurons is None and gone.regression is None
    assert gone.nearest == () == gone.lowest and np.isnan(gone.alignment.mean)
    assert all("concept 1" not in dict(one.nearest) for one in quality.concepts)
    judged = triage(quality)
    assert judged.classes[1] == "untestable" and judged.redundant[1] is None
    json.dumps(quality.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 3}, r"block 3 has no vectors; there are \[0\]"),
        ({"names": ["a"]}, "1 names for 28 texts"),
        ({"X": np.eye(28)}, r"activations of shape \(28, 28\) for vectors of width 32"),
        ({"W_out": np.eye(5)}, r"W_out of shape \(5, 5\) for vectors of width 32"),
        ({"W_out": np.full((5, 32), np.nan)}, "W_out holds values that are not finite"),
        ({"positive": np.eye(4, 28, dtype=bool)}, r"\[1, 1, 1, 1\] positives, of vectors"),
    ],
)
def test_quality_of_what_was_not_fitted_is_refused(change, message):
    positive, _ = _corpus()
    X, _ = _planted(positive)
    given = {"block": 0, "X": X, "positive": positive, "names": _names(positive)} | change
    with pytest.raises(ValueError, match=message):
        block_quality(
            _fitted(X, positive),
            given["block"],
            given["X"],
            given["positive"],
            given["names"],
            W_out=given.get("W_out"),
        )


# --- heads ---------------------------------------------------------------------------------------


def test_heads_are_ranked_as_by_plain_computation():
    positive, _ = _corpus()
    rng = np.random.default_rng(0)
    z = {b: rng.standard_normal((28, 6, 3)) * rng.uniform(0.1, 5, (6, 1)) + 40 for b in (1, 4)}
    z[4][positive[2], 5] += 60.0
    z[1][:, 0] = 0.5  # a head that says nothing
    ranked = rank_heads([(0, None), *z.items()], positive, _concepts(positive))
    for k, one in enumerate(ranked):
        expected = {}
        for block, values in z.items():
            for head in range(6):
                high, low = values[positive[k], head], values[~positive[k], head]
                norm = np.linalg.norm(high.mean(axis=0) - low.mean(axis=0))
                spread = np.linalg.norm(low.std(axis=0, ddof=1))
                if spread > 1e-9:
                    expected[f"{block}.{head}"] = (norm / spread, norm)
        order = sorted(expected, key=lambda head: -expected[head][0])[:10]
        assert [head.head for head in one.heads] == order and one.status == OK
        for head in one.heads:
            assert (head.selectivity, head.norm) == pytest.approx(expected[head.head])
        total = sum(norm for _, norm in expected.values())
        assert one.share == pytest.approx(sum(expected[head][1] for head in order) / total)
    assert ranked[2].heads[0].head == "4.5" and ranked[2].heads[0].selectivity > 5


def test_heads_of_noise_have_the_selectivity_of_unrelated_texts():
    positive, _ = _corpus()
    z = np.random.default_rng(0).standard_normal((28, 12, 500))
    one = rank_heads([(0, z)], positive, _concepts(positive), top=12)[0]
    found = np.mean([head.selectivity for head in one.heads])
    # a squared length of 500 normals scatters by sqrt(2 / 500) = 6 %, the mean of 12 heads by 2 %
    assert found == pytest.approx(one.unrelated, rel=0.05)
    assert one.share == pytest.approx(1)


def test_heads_that_are_not_there_are_a_status_and_bad_ones_refused():
    positive, _ = _corpus()
    none = rank_heads([(0, None)], positive, _concepts(positive))[0]
    assert none.status == "no head is given" and none.as_dict()["share"] is None
    one_negative = np.arange(28)[None] < 27
    z = np.random.default_rng(0).standard_normal((28, 2, 3))
    assert rank_heads([(0, z)], one_negative, ["a"])[0].status == "1 negatives: no head varies"
    with pytest.raises(ValueError, match="row 0 of the activations is not finite"):
        rank_heads([(0, np.full_like(z, np.nan))], positive, _concepts(positive))
    with pytest.raises(ValueError, match="top=0"):
        rank_heads([(0, z)], positive, _concepts(positive), top=0)


# --- triage --------------------------------------------------------------------------------------


def _class_of_planted(along, apart, neuron, twin):
    """Class of concept 0, whose 6 positives lie `apart` along its direction, spread `along` it."""
    rng = np.random.default_rng(0)
    positive = np.arange(30) // 6 == np.arange(4)[:, None]
    axes = np.eye(40)
    X = 0.1 * rng.standard_normal((30, 40))
    X += 3 * positive.T[:, 1:] @ axes[1:4]
    X[:6] += apart * axes[0] + along * np.outer(np.linspace(-1, 1, 6), axes[0])
    X[:6] += (
        6 * np.repeat(axes[10:13], 2, axis=0) * np.tile([[1], [-1]], (3, 1))
    )  # three lines, no mean
    if twin:
        X[6:12] = X[:6] + 0.1 * rng.standard_normal((6, 40))
    W_out = axes[[0, 20]] if neuron else axes[[20, 21]]
    quality = _judged(X, positive, W_out=W_out)
    return triage(quality).classes[0], quality.concepts[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"along": 20, "apart": 12, "neuron": True, "twin": False}, "single-neuron"),
        ({"along": 20, "apart": 12, "neuron": False, "twin": False}, "low-dimensional"),
        ({"along": 0, "apart": 0, "neuron": True, "twin": False}, "fragmented"),
        ({"along": 0, "apart": 9, "neuron": True, "twin": False}, "unremarkable"),
        ({"along": 20, "apart": 12, "neuron": True, "twin": True}, "contaminated"),
        ({"along": 0, "apart": 9, "neuron": False, "twin": True}, "contaminated"),
        ({"along": 20, "apart": 0, "neuron": False, "twin": False}, "low-dimensional"),
    ],
)
def test_each_class_is_found_in_an_example_made_for_it(given, expected):
    found, quality = _class_of_planted(**given)
    assert found == expected, quality
    if given == {"along": 20, "apart": 0, "neuron": False, "twin": False}:
        assert quality.alignment.mean < 0.4  # one component outranks the fragments


def test_redundancy_stands_beside_the_class():
    rng = np.random.default_rng(0)
    positive = np.arange(40) // 5 == np.arange(4)[:, None]  # half of the texts are neutral
    axes = 4 * np.eye(30)
    X = 0.1 * rng.standard_normal((40, 30))
    for k, place in enumerate([axes[0], axes[1], axes[0] + axes[1] + axes[2], axes[2]]):
        X[positive[k]] += place
    judged = triage(_judged(X, positive))
    assert judged.redundant[2] is True and judged.classes[2] == "unremarkable"
    record = judged.as_dict()
    assert record["redundant"]["count"] == sum(flag is True for flag in judged.redundant)
    assert "concept 2" in record["redundant"]["names"] and record["block"] == 0
    without_neutral = triage(_judged(X[:20], positive[:, :20]))
    assert without_neutral.redundant == (None,) * 4
    assert without_neutral.as_dict()["redundancy untestable"]["count"] == 4


def test_triage_counts_all_and_names_five():
    positive, _ = _corpus(n_concepts=8)
    X, _ = _planted(positive, gap=8.0)
    record = triage(_judged(X, positive)).as_dict()
    assert record["unremarkable"] == {
        "count": 8,
        "names": [f"concept {number}" for number in range(5)],
    }
    assert record["fragmented"] == {"count": 0, "names": []}
    alone = _judged(X, positive[:1])
    assert alone.concepts[0].regression is None and triage(alone).redundant == (False,)
    rules = replace(
        alone.concepts[0], regression=Regression(r2=0.91, r2_unrelated=0.5, residual_norm=0.3,
                                                 coefficients=())
    )  # fmt: skip
    assert triage(replace(alone, concepts=(rules,))).redundant == (True,)


def test_the_middle_block():
    assert middle_block([8, 2, 5]) == 5 and middle_block([1, 2, 3, 4]) == 3
    with pytest.raises(ValueError, match="no block"):
        middle_block([])


def test_an_assessment_holds_all_blocks_and_judges_the_middle_one():
    positive, _ = _corpus()
    X, _ = _planted(positive)
    names, concepts = _names(positive), _concepts(positive)
    readouts = fit([(b, X) for b in (1, 4, 9)], positive, concepts)
    qualities = [
        block_quality(readouts, b, X, positive, names, W_out=np.eye(32) if b == 4 else None)
        for b in (1, 4, 9)
    ]
    z = np.random.default_rng(0).standard_normal((len(names), 2, 8))
    heads = rank_heads([(4, z)], positive, concepts)
    assessment = Assessment(tuple(qualities), heads)
    assert assessment.middle is qualities[1] and assessment.triage == triage(qualities[1])
    record = assessment.as_dict()
    assert list(record) == ["triage", "blocks", "heads"]
    assert record["blocks"]["9"] == qualities[2].as_dict()
    assert record["heads"]["concept 2"] == heads[2].as_dict()
    table = assessment.table()
    assert table.block.tolist() == [1] * 4 + [4] * 4 + [9] * 4
    row, quality = table.iloc[5], qualities[1].concepts[1]
    assert (row.nearest, row.nearest_cosine) == quality.nearest[0]
    assert quality.neurons is not None and (row.neuron, row.neuron_cosine) == quality.neurons[0]
    assert row.lowest == ", ".join(name for name, _ in quality.lowest)
    assert quality.regression is not None and row.r2 == quality.regression.r2
    assert table.iloc[0].neuron == -1 and np.isnan(table.iloc[0].neuron_cosine)


def test_a_table_of_classes_counts_and_names_them():
    positive, _ = _corpus(n_concepts=8)
    X, _ = _planted(positive, gap=8.0)
    found = triage(_judged(X, positive))
    table = found.table().set_index("class")
    assert table.concepts["unremarkable"] == 8 and table["such as"]["fragmented"] == ""
    assert table["such as"]["unremarkable"].split(", ")[4] == "concept 4"
    assert list(table.index) == [name for name in found.as_dict() if name != "block"]


# --- files ---------------------------------------------------------------------------------------


ODD = ["calm", "grief / loss", "naïveté", "..", "100%"]


def _exported(blocks=(0, 3, 12)):
    positive, _ = _corpus(n_concepts=5)
    return fit([(b, _planted(positive, seed=b)[0]) for b in blocks], positive, ODD)


def test_readouts_come_back_bit_for_bit(tmp_path):
    readouts = _exported()
    save_readouts(tmp_path, readouts)
    found = load_readouts(tmp_path)
    assert found.concepts == readouts.concepts and found.blocks == readouts.blocks
    np.testing.assert_array_equal(found.vectors, readouts.vectors.astype(np.float16))
    tensors = load_file(tmp_path / "readout.safetensors")
    assert set(tensors) == {"layer_0.vectors", "layer_3.vectors", "layer_12.vectors"}
    assert all(t.dtype == torch.float16 and t.shape == (5, 32) for t in tensors.values())
    assert (tmp_path / "readout.safetensors").read_bytes() == torch_save(tensors)
    pairs = json.loads((tmp_path / "readout.json").read_text("utf-8"), object_pairs_hook=list)
    expected = {"concepts": ODD, "layers": [0, 3, 12], "hidden_size": 32, "dtype": "float16"}
    assert [tuple(pair) for pair in pairs] == list(expected.items())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_readouts(tmp_path, readouts)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_concepts_come_back_from_files_of_their_own(tmp_path):
    readouts = _exported()
    paths = save_concepts(tmp_path / "concepts", readouts)
    assert list(paths) == ODD and {p.parent for p in paths.values()} == {tmp_path / "concepts"}
    first = {name: path.read_bytes() for name, path in paths.items()}
    for k, (concept, path) in enumerate(paths.items()):
        assert concept_of(path.stem) == concept
        found = load_concept(path)
        assert (found.concept, found.blocks) == (concept, (0, 3, 12))
        np.testing.assert_array_equal(found.vectors, readouts.vectors[:, k])
    for _ in range(5):  # metadata in several entries would come in another order
        save_concepts(tmp_path / "concepts", readouts)
        assert first == {name: path.read_bytes() for name, path in paths.items()}


def test_control_vectors_are_what_llama_cpp_reads(tmp_path):
    readouts = _exported()
    with pytest.warns(UserWarning, match="block 0 is left out"):
        paths = save_control_vectors(tmp_path, readouts, model_hint="llama")
    for k, (concept, path) in enumerate(paths.items()):
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        assert fields["general.architecture"] == "controlvector"
        assert fields["controlvector.model_hint"] == "llama"
        assert fields["controlvector.layer_count"] == 2
        assert "output of block N" in fields["controlvector.convention"]
        assert "block 0 left out" in fields["controlvector.warning"]
        assert [tensor.name for tensor in reader.tensors] == ["direction.3", "direction.12"]
        for tensor, block in zip(reader.tensors, (3, 12), strict=True):
            assert tensor.tensor_type.name == "F32" and tensor.shape.tolist() == [32]
            np.testing.assert_array_equal(tensor.data, readouts.at(block)[k])
        found = load_control_vector(path)
        assert (found.concept, found.blocks) == (concept, (3, 12))
        np.testing.assert_array_equal(found.vectors, readouts.vectors[1:, k])
    whole = save_control_vectors(tmp_path, _exported((2, 5)), model_hint="llama")["calm"]
    assert "controlvector.warning" not in GGUFReader(whole).fields
    with pytest.raises(ValueError, match="cannot hold block 0"):
        save_control_vectors(tmp_path, _exported((0,)), model_hint="llama")


def test_quality_is_strict_json_under_its_convention(tmp_path):
    positive, _ = _corpus()
    X, _ = _planted(positive)
    quality = _judged(X, positive, W_out=np.eye(32))
    content = {"blocks": {0: quality.as_dict()}, "triage": triage(quality).as_dict(), "x": np.nan}
    save_quality(tmp_path, content)
    found = load_quality(tmp_path)
    assert list(found) == ["convention", "blocks", "triage", "x"] and found["x"] is None
    assert "hidden_states[l + 1]" in found["convention"]
    assert found["blocks"]["0"] == json.loads(json.dumps(quality.as_dict()))


def test_a_file_is_whole_or_absent_and_undefined_vectors_are_refused(tmp_path, monkeypatch):
    readouts = _exported((1, 2))
    save_readouts(tmp_path, readouts)
    before = (tmp_path / "readout.safetensors").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_readouts(tmp_path, _exported((3, 4)))
    assert (tmp_path / "readout.safetensors").read_bytes() == before
    status = readouts.status.astype("<U60")
    status[1, 0] = "positives and negatives have one mean"
    for save in (save_readouts, save_concepts):
        with pytest.raises(ValueError, match="'calm' has no vector at block 2"):
            save(tmp_path, replace(readouts, status=status))


@pytest.mark.parametrize("name", [*ODD, "a b", "C:\\x", "忧伤", "%2F", "CON.", "~", "-"])
def test_names_are_safe_for_files_and_come_back(name):
    stem = file_stem(name)
    assert concept_of(stem) == name and stem.isascii() and not set(stem) & set('/\\:*?"<>| ')


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(ValueError, match="makes a file name of 360 characters"):
        file_stem("忧" * 40)


def test_an_export_is_not_overwritten_unasked(tmp_path):
    check_export(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()  # a check leaves nothing behind
    for name in ("used/readout.safetensors", "free/notes.txt", "file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    check_export(tmp_path / "free")
    with pytest.raises(ValueError, match=r"already holds an export \(readout.safetensors\)"):
        check_export(tmp_path / "used")
    check_export(tmp_path / "used", overwrite=True)
    with pytest.raises(ValueError, match="file is no directory"):
        check_export(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="no permission to write"):
        check_export(tmp_path / "below")


# --- causal check --------------------------------------------------------------------------------


def test_slopes_and_p_values_equal_plain_computations():
    rng = np.random.default_rng(0)
    doses = np.array([2.0, -1.0, 0.0, 4.0])
    real, random = rng.standard_normal((3, 4)), rng.standard_normal((40, 3, 4))
    found = effects(doses, real, random)
    for k in range(3):
        assert found.slope[k] == pytest.approx(np.polyfit(doses, real[k], 1)[0])
        slopes = [np.polyfit(doses, one[k], 1)[0] for one in random]
        np.testing.assert_allclose(found.random[:, k], slopes)
        above = sum(abs(slope) >= abs(found.slope[k]) for slope in slopes)
        assert found.test.p[k] == pytest.approx((1 + above) / 41)


def test_a_planted_effect_is_found_with_its_sign_and_a_bent_one_is_not_monotone():
    rng = np.random.default_rng(1)
    doses = np.array([4.0, 1.0, 2.0, 0.0])
    random = rng.standard_normal((99, 3, 1)) * doses
    real = np.stack([-9 * doses, np.array([3.0, 9.0, 12.0, 0.0]), 0.1 * doses])
    found = effects(doses, real, random)
    assert found.slope[0] == pytest.approx(-9) and found.test.p_family[0] <= 0.02
    assert found.monotone.tolist() == [True, False, True]
    assert found.test.p_family[2] > 0.5
    # the first is lowered, the second is raised, the third moves no more than random ones do
    assert found.raised().tolist() == [False, bool(found.test.p_family[1] <= 0.05), False]
    upward = effects(doses, -real, random)
    assert upward.raised()[0] and not upward.raised()[2]


def test_families_of_noise_hold_their_level_also_where_all_concepts_measure_alike():
    """Random directions that all concepts share move measures that are alike together; one row of
    them is then one chance, against as many as there are concepts."""
    rng = np.random.default_rng(2)
    doses, trials, n_concepts = np.array([-1.0, 1.0]), 300, 8
    own, alike, joint = 0, 0, 0
    for seed in range(trials):
        real = rng.standard_normal(n_concepts)
        each = rng.standard_normal((99, n_concepts))
        shared = np.tile(each[:, :1], n_concepts)
        for slopes, kind in ((each, "own"), (shared, "alike")):
            test = effects(doses, real[:, None] * doses, slopes[..., None] * doses, seed=seed).test
            passed = test.p_family.min() <= 0.05
            own, alike = own + (kind == "own" and passed), alike + (kind == "alike" and passed)
        joint += permutation_test(np.abs(real), np.abs(shared)).p_family.min() <= 0.05
    low, high = binom.interval(0.99, trials, 0.05)
    assert low <= own <= high
    # 99 shared directions leave the null's tail itself to chance; the excess is small
    assert alike <= binom.ppf(0.995, trials, 0.08) and joint > 0.2 * trials


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doses": np.ones(3)}, "a slope needs at least 2 that differ"),
        ({"real": np.ones((2, 4))}, r"effects of shape \(2, 4\)"),
        ({"random": np.ones((5, 1, 3))}, r"random directions, \(5, 1, 3\)"),
        ({"random": np.ones((0, 2, 3))}, "no random direction"),
        ({"real": np.full((2, 3), np.nan)}, "effects hold values that are not finite"),
    ],
)
def test_responses_that_cannot_be_are_refused_with_the_reason(change, message):
    given = {"doses": np.arange(3.0), "real": np.ones((2, 3)), "random": np.ones((5, 2, 3))}
    with pytest.raises(ValueError, match=message):
        effects(*(given | change).values())
