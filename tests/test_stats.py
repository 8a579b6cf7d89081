"""Nulls that are exact, folds that keep groups whole, intervals that cover."""

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from interp.stats import (
    fdr,
    fdr_survivors,
    grouped_folds,
    interval,
    mean_interval,
    p_among,
    permutation_test,
    permute_groups,
    r_squared,
    random_effects,
    simultaneous_band,
)


def correlated_cells(rng, repeats, cells):
    """Statistics [repeats, cells] that share noise and differ in scale by orders of magnitude."""
    shared = rng.normal(size=(repeats, 1))
    scale = np.logspace(-2, 2, cells)
    return scale * (shared + rng.normal(size=(repeats, cells)))


def test_max_t_holds_the_family_wise_rate_and_finds_a_planted_cell():
    rng = np.random.default_rng(0)
    trials, permutations, alpha = 300, 99, 0.05
    false_alarms, found = 0, 0
    for _ in range(trials):
        draws = correlated_cells(rng, permutations + 1, cells=30)
        false_alarms += permutation_test(draws[0], draws[1:]).survives(alpha).any()
        planted = draws[0].copy()
        planted[3] += 6 * draws[1:, 3].std()
        found += permutation_test(planted, draws[1:]).survives(alpha)[3]
    low, high = binom.interval(0.99, trials, alpha)
    assert low <= false_alarms <= high
    assert found / trials > 0.95


def test_benjamini_hochberg_rejects_nothing_at_the_permutation_floor():
    rng = np.random.default_rng(1)
    null = rng.normal(size=(200, 1000))
    observed = rng.normal(size=1000)
    observed[:10] += 50
    test = permutation_test(observed, null)
    assert not (fdr(test.p) <= 0.05).any()
    assert test.survives()[:10].all()


def test_p_values_count_the_observed_labelling():
    null = np.array([[1.0], [2.0], [3.0]])
    test = permutation_test(np.array([3.0]), null)
    assert test.p[0] == pytest.approx(2 / 4)
    assert test.floor == pytest.approx(1 / 4)
    assert test.z[0] == pytest.approx(1 / null.std())
    with pytest.raises(ValueError, match="below the floor"):
        test.survives(0.05)


def test_undefined_cells_stay_undefined_and_do_not_touch_the_others():
    rng = np.random.default_rng(2)
    observed, null = rng.normal(size=(3, 4)), rng.normal(size=(50, 3, 4))
    whole = permutation_test(observed[:, :3], null[:, :, :3])
    observed[:, 3] = np.nan
    null[7, 0, 3] = np.nan
    test = permutation_test(observed, null)
    for field in ("mean", "sd", "z", "p", "p_family"):
        assert np.isnan(getattr(test, field)[:, 3]).all()
        np.testing.assert_array_equal(getattr(test, field)[:, :3], getattr(whole, field))
    assert not test.survives()[:, 3].any()


def test_a_cell_that_never_varies_is_no_evidence():
    null = np.random.default_rng(3).normal(size=(40, 2))
    null[:, 1] = 0.5
    test = permutation_test(np.array([9.0, 0.5]), null)
    assert np.isnan(test.z[1]) and test.p[1] == 1 and test.p_family[1] == 1
    assert test.p_family[0] == pytest.approx(1 / 41)


def test_one_value_far_off_does_not_tie_the_others():
    """R2 of a constant test fold is -1e6 and less."""
    null = np.random.default_rng(4).normal(scale=0.01, size=(99, 1))
    null[3] = -1e9
    test = permutation_test(np.array([0.5]), null)
    assert test.p[0] == test.p_family[0] == pytest.approx(1 / 100)


def test_equal_scores_are_ties_though_they_are_rounded():
    null = np.float32(np.array([0.3, 0.1, 0.2, 0.3]))[:, None].astype(float)
    assert permutation_test(np.array([0.3]), null).p[0] == pytest.approx(3 / 5)


def test_fdr_leaves_undefined_cells_out_of_the_count():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(fdr(p), [0.03, np.nan, 0.04, 0.04])
    assert np.isnan(fdr(np.full(3, np.nan))).all()


def test_permutations_move_whole_groups():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(12), rng.integers(1, 5, 12))
    y = (10 * np.arange(12))[groups]
    permuted = permute_groups(y, groups, 30, rng)
    for labels in permuted:
        by_group = [np.unique(labels[groups == g]) for g in range(12)]
        assert all(len(values) == 1 for values in by_group)
        assert sorted(values[0] for values in by_group) == sorted(set(y))
    assert len({tuple(labels) for labels in permuted}) == 30


def test_a_group_with_two_labels_is_refused_by_name():
    with pytest.raises(ValueError, match="group 'b'.*1.*2"):
        permute_groups(np.array([0, 1, 2]), np.array(["a", "b", "b"]), 2, np.random.default_rng(0))


def test_r_squared_is_scikit_learns_for_vectors_of_points_and_points_of_the_plane():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 4, 2))
    predicted = truth + rng.normal(size=truth.shape)
    expected = [
        r2_score(truth[:, v], predicted[:, v], multioutput="variance_weighted") for v in range(4)
    ]
    np.testing.assert_allclose(r_squared(truth, predicted), expected)
    one = truth[:, 0, :1], predicted[:, 0, :1]
    assert float(r_squared(*one)) == pytest.approx(r2_score(*one))
    plane = [points[:, 0] @ np.array([1, 1j]) for points in (truth, predicted)]
    assert r_squared(*(p[:, None] for p in plane)) == pytest.approx(
        float(r_squared(truth[:, 0], predicted[:, 0]))
    )


def test_folds_keep_groups_whole_and_balance_rows():
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(40), rng.integers(1, 12, 40))
    folds = grouped_folds(groups, 4, seed=1)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(groups)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(groups)
    sizes = [len(test) for _, test in folds]
    assert max(sizes) - min(sizes) <= 2
    assert any(
        not np.array_equal(a[1], b[1])
        for a, b in zip(folds, grouped_folds(groups, 4, seed=2), strict=True)
    )


def test_single_row_groups_give_the_folds_of_scikit_learn():
    folds = grouped_folds(np.arange(80), 3, seed=42)
    reference = KFold(3, shuffle=True, random_state=42).split(np.zeros(80))
    for ours, theirs in zip(folds, reference, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_more_folds_than_groups_is_refused():
    with pytest.raises(ValueError, match="n_splits=4.*2..3"):
        grouped_folds(np.array([0, 0, 1, 2]), 4, seed=0)


def test_a_simultaneous_band_covers_all_cells_at_once():
    """20 means of correlated cells: the band covers all of them in 95 % of samples, intervals
    taken cell by cell do not."""
    n_trials, band, cellwise = 200, 0, 0
    mixing = np.random.default_rng(0).standard_normal((20, 20)) * 0.3 + np.eye(20)
    for seed in range(n_trials):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((60, 20)) @ mixing
        draws = rng.multinomial(60, np.full(60, 1 / 60), size=300) @ rows / 60
        low, high = simultaneous_band(rows.mean(axis=0), draws)
        band += bool(((low <= 0) & (high >= 0)).all())
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        cellwise += bool(((low <= 0) & (high >= 0)).all())
    # a bootstrap of 60 rows falls a few points short
    assert binom.ppf(0.001, n_trials, 0.93) <= band <= binom.ppf(0.999, n_trials, 0.97)
    assert cellwise < 0.75 * n_trials


def test_survivors_of_counts_are_those_of_benjamini_and_hochberg():
    p = np.random.default_rng(0).uniform(size=(3, 500)) ** np.array([[1.0], [2.0], [4.0]])
    width, bins = 0.05, 400
    at = (-np.log10(p) / width).astype(int)
    counts = np.stack([np.bincount(row, minlength=bins) for row in at])
    binned = fdr_survivors(counts, 10.0 ** -(width * np.arange(bins)), level=0.05)

    def exact(values):
        return (np.apply_along_axis(fdr, 1, np.minimum(1, values)) <= 0.05).sum(axis=1)

    # a bin's width may put p a tenth higher
    assert (exact(p * 10**width) <= binned).all() and (binned <= exact(p)).all()
    assert exact(p)[2] > 50
    with pytest.raises(ValueError, match="must fall"):
        fdr_survivors(counts, np.arange(bins) / bins)


def test_a_value_among_others_counts_itself():
    assert p_among(5.0, np.array([1.0, 2, 3])) == 0.25
    assert p_among(0.0, np.zeros(3)) == 1
    with pytest.raises(ValueError, match="at least 1 is needed"):
        p_among(0.0, np.zeros(0))


def test_an_interval_of_draws_leaves_out_what_is_undefined():
    draws = np.random.default_rng(0).standard_normal((1000, 3))
    for axis, values in ((0, draws), (1, draws.T)):
        low, high = interval(values, axis=axis)
        assert np.array_equal(low, np.quantile(draws, 0.025, axis=0))
        assert np.array_equal(high, np.quantile(draws, 0.975, axis=0))
    gaps = np.concatenate([draws, np.full((9, 3), np.nan)])
    assert np.array_equal(interval(gaps), interval(draws))
    low, high = interval(draws[:, 0], level=0.5)
    assert ((low < draws[:, 0]) & (draws[:, 0] < high)).mean() == 0.5


def test_undefined_and_constant_cells_of_a_band():
    rng = np.random.default_rng(0)
    draws = np.column_stack([np.zeros(50), rng.standard_normal(50), np.full(50, np.nan)])
    low, high = simultaneous_band(np.array([0.0, 0.0, 1.0]), draws)
    assert low[0] == high[0] == 0 and low[1] < -1 and high[1] > 1
    assert np.isnan(low[2]) and np.isnan(high[2])
    assert np.isnan(simultaneous_band(np.array([np.nan]), np.full((9, 1), np.nan))[0]).all()


def test_random_effects_of_equal_errors_are_a_t_interval():
    y = np.array([1.0, 2.0, 4.0, 3.0])
    combined = random_effects(y, np.full(4, 0.01))
    low, high = student.interval(0.95, 3, loc=y.mean(), scale=y.std(ddof=1) / 2)
    assert combined.mean == pytest.approx(y.mean())
    assert combined.interval == pytest.approx((low, high))
    assert combined.between == pytest.approx(y.std(ddof=1), rel=0.01)


def test_an_uncertain_run_counts_less_and_equal_truths_do_not_differ():
    combined = random_effects(np.array([0.0, 0.1, 9.0]), np.array([0.1, 0.1, 50.0]))
    assert 0 < combined.mean < 0.1 and combined.between == 0


@pytest.mark.parametrize(
    ("estimates", "errors"), [([1.0], [1.0]), ([1.0, np.nan], [1.0, 1.0]), ([1.0, 2.0], [1.0, 0.0])]
)
def test_what_cannot_be_combined_is_refused(estimates, errors):
    with pytest.raises(ValueError, match="two finite estimates"):
        random_effects(np.array(estimates), np.array(errors))


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 1.0])
@pytest.mark.parametrize("runs", [4, 10])
def test_limits_over_runs_cover(between, runs):
    covered = 0
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        errors = rng.uniform(0.3, 1.5, size=runs)
        estimates = rng.normal(0, between, size=runs) + rng.normal(size=runs) * errors
        low, high = random_effects(estimates, errors).interval
        covered += low <= 0 <= high
    print(f"rate random effects, {runs} runs, sd between {between}: {covered} of 2000 covered")
    assert 0.92 <= covered / 2000 <= 0.98


def test_limits_of_a_mean_over_few_units_hold_it():
    rng = np.random.default_rng(0)
    limits = np.array([mean_interval(rng.normal(size=8)) for _ in range(600)])
    missed = int(((limits[:, 0] > 0) | (limits[:, 1] < 0)).sum())
    assert binom.cdf(missed, 600, 0.05) > 0.001 and binom.sf(missed - 1, 600, 0.05) > 0.001
    assert mean_interval(np.ones(5)) == pytest.approx((1, 1))
