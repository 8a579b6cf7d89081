"""The best of many cells is held to the best of every cell, and its limits are those of all."""

import numpy as np
import pytest

from interp.selection import best_of


def scores(seed, *, groups=12, cells=20, effect=0.0):
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(groups, cells)) + 0.7 * rng.normal(size=(groups, 1))
    made[:, min(3, cells - 1)] += effect
    return made


def test_a_planted_cell_is_found_with_limits_that_hold_it():
    found = best_of(scores(0, effect=3.0))
    assert found.best == 3
    assert found.p[3] <= 0.01
    low, high = found.interval
    assert 0 < low < 3.0 < high


def test_one_cell_equals_a_loop_over_all_signs():
    values = scores(1, groups=6, cells=1)
    found = best_of(values)
    t = lambda x: x.mean() / (x.std(ddof=1) / np.sqrt(6))  # noqa: E731
    signs = [[1 - 2 * int(bit) for bit in f"{k:06b}"] for k in range(64)]
    flipped = np.array([t(np.array(s) * values[:, 0]) for s in signs])
    assert found.p[0] == pytest.approx(np.mean(flipped >= flipped[0] - 1e-9))
    assert found.floor == 1 / 64


def test_a_baseline_is_taken_within_groups():
    values = scores(2)
    shared = 50 * np.random.default_rng(0).normal(size=12)
    plain, paired = best_of(values), best_of(values + shared[:, None], baseline=shared)
    np.testing.assert_allclose(plain.mean, paired.mean, atol=1e-9)
    np.testing.assert_allclose(plain.p, paired.p)


def test_equal_cells_tie_and_constant_ones_are_no_evidence():
    assert best_of(np.zeros((8, 3))).p.tolist() == [1.0, 1.0, 1.0]
    same = best_of(np.repeat(scores(3, cells=1), 4, axis=1))
    assert np.ptp(same.p) == 0


@pytest.mark.slow
@pytest.mark.parametrize("groups", [8, 12, 40])
def test_noise_passes_at_its_level_and_limits_cover_after_the_choice(groups):
    passed = covered = 0
    for seed in range(1000):
        found = best_of(scores(seed, groups=groups), n_flips=499, seed=seed)
        passed += found.p[found.best] <= 0.05
        covered += found.interval[0] <= 0 <= found.interval[1]
    print(f"rate {groups} groups: p <= .05 in {passed}, covered in {covered} of 1000")
    assert passed < 73  # .05 of 1,000 fails by the binomial rule at .001 from 73 on
    assert 920 <= covered <= 985


@pytest.mark.parametrize("bad", [np.zeros((3, 2)), np.zeros((8, 0)), np.full((8, 2), np.nan)])
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError, match="group"):
        best_of(bad)
