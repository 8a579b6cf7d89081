"""Copies and groups of pairs: exchanged, drawn, held out and counted together, in every method; and
nulls of what is fitted, which fit it anew."""

import warnings
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom

from interp.alignment import (
    OK,
    PairingScores,
    cosines,
    decompose,
    draw_pairs,
    heldout_procrustes,
    hits,
    linear_cka,
    matched_vs_scrambled,
    pairing_test,
    principal_components,
    resample,
)


def sides(seed, n=20, d=8, *, signal=0.0, size=1):
    """Pairs that share a part, each `size` times."""
    rng = np.random.default_rng(seed)
    common = signal * rng.normal(size=(n, d))
    return tuple(np.repeat(common + rng.normal(size=(n, d)), size, axis=0) for _ in "ab")


def holds(p, at):
    """The rule for a rate that should be at most `at`: not above it by a binomial test at .001."""
    return (np.array(p) <= at).sum() <= binom.ppf(0.999, len(p), at)


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*repeat another on both sides")
def test_copies_count_once_in_every_method():
    once, twice = sides(0, signal=0.7), sides(0, signal=0.7, size=3)
    scores, copied = cosines(*once), cosines(*twice)
    for found, expected in [
        (pairing_test(copied), pairing_test(scores)),
        (matched_vs_scrambled(*twice, centre=True), matched_vs_scrambled(*once, centre=True)),
        (
            pairing_test(copied, np.repeat(np.arange(20) % 2, 3)),
            pairing_test(scores, np.arange(20) % 2),
        ),
        (principal_components(*twice).inside[5], principal_components(*once).inside[5]),
    ]:
        assert found.z == pytest.approx(expected.z, rel=1e-9)
        assert found.p == pytest.approx(expected.p, rel=1e-9)
    assert linear_cka(*twice) == pytest.approx(linear_cka(*once), rel=1e-9)
    counts = draw_pairs(20, 30, rng=np.random.default_rng(1))
    groups = np.repeat(np.arange(20), 3)
    drawn = draw_pairs(60, 30, groups=groups, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(drawn[:, ::3], counts)
    # the numbers of groups found by construction are in another order
    np.testing.assert_allclose(resample(copied, drawn).z, resample(scores, counts).z, rtol=1e-9)
    share = decompose(twice, tuple(0.5 * side for side in twice), drawn, groups=groups)
    alone = decompose(once, tuple(0.5 * side for side in once), counts)
    assert share.interval == pytest.approx(alone.interval)


def test_a_warning_names_rows_and_given_groups_silence_it():
    twice = sides(1, size=2)
    for call in (
        lambda **given: cosines(*twice, **given),
        lambda **given: linear_cka(*twice, **given),
        lambda **given: matched_vs_scrambled(*twice, **given),
        lambda **given: heldout_procrustes(*twice, **given),
        lambda **given: principal_components(*twice, **given),
    ):
        with pytest.warns(UserWarning, match="20 of 40 pairs repeat another .*rows 0, 1"):
            call()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(groups=np.repeat(np.arange(20), 2))
            call(groups=np.arange(40))
    assert cosines(*twice, groups=np.arange(40)).groups is None


def test_the_likeness_of_copies_is_no_likeness_of_sides():
    """Unrelated sides have a debiased CKA of 0 on average; copies would make it .4."""
    once, rows = [], []
    for seed in range(60):
        twice, groups = sides(seed, 10, 40, size=3), np.repeat(np.arange(10), 3)
        once.append(linear_cka(*twice, groups=groups))
        rows.append(linear_cka(*twice, groups=np.arange(30)))
    assert abs(np.mean(once)) < 4 * np.std(once) / np.sqrt(60)
    assert np.mean(rows) > 0.3


def test_what_is_drawn_or_strewn_apart_is_refused():
    twice = sides(2, size=2)
    with pytest.warns(UserWarning):
        scores = cosines(*twice)
    with pytest.raises(ValueError, match="draw_pairs groups=scores.groups"):
        resample(scores, draw_pairs(40, 20, rng=np.random.default_rng(0)))
    with pytest.raises(ValueError, match="rows 0 and 1 .*two strata, 'a' and 'b'"):
        pairing_test(scores, np.tile(["a", "b"], 20))
    with pytest.raises(ValueError, match="the group of row 1 lies in two strata"):
        draw_pairs(40, 9, strata=np.tile(["a", "b"], 20), groups=np.arange(40) // 2,
                   rng=np.random.default_rng(0))  # fmt: skip


# --- groups of several sizes ---------------------------------------------------------------------


def test_groups_change_places_with_their_size():
    """By all arrangements that exchange groups of one size, the statistic written out in full."""
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6, 6])
    A, B = sides(3, 12)
    scores = cosines(A, B)
    means = np.array([[scores.values[np.ix_(groups == g, groups == h)].mean() for h in range(7)]
                      for g in range(7)])  # fmt: skip
    every = [means[range(7), [*two, *one, 6]].mean()
             for two in permutations([0, 1, 2]) for one in permutations([3, 4, 5])]  # fmt: skip
    found = pairing_test(scores, groups=groups)
    assert found.matched == pytest.approx(np.trace(means) / 7)
    assert found.expected == pytest.approx(np.mean(every))
    assert found.sd == pytest.approx(np.std(every))
    assert found.p == pytest.approx(np.mean(np.array(every) >= found.matched - 1e-12))
    assert found.silent == ("groups of 3",)


def test_copies_of_several_numbers_change_places_and_sizes_of_their_own_cannot():
    once = sides(4, 9, signal=0.5)
    times = np.arange(9) + 1
    many = tuple(np.repeat(side, times, axis=0) for side in once)
    found = matched_vs_scrambled(*many, groups=np.repeat(np.arange(9), times))
    assert found.z == pytest.approx(matched_vs_scrambled(*once).z)
    rng = np.random.default_rng(0)
    unlike = tuple(side + 0.1 * rng.normal(size=side.shape) for side in many)
    found = matched_vs_scrambled(*unlike, groups=np.repeat(np.arange(9), times))
    assert np.isnan(found.z) and "no two groups of one size" in found.status


# --- what is fitted is fitted anew ---------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(24, 5), (18, 40)])
def test_a_re_pairing_is_fitted_as_if_it_were_the_data(n, d):
    A, B = sides(5, n, d, signal=0.5)
    held = heldout_procrustes(A, B, n_splits=3, seed=1)
    order = np.random.default_rng(0).permutation(n)
    other = heldout_procrustes(A, B[order], n_splits=3, seed=1)
    assert held.scores.refit(order) == pytest.approx(np.trace(other.scores.values), rel=1e-9)
    assert held.scores.refit(np.arange(n)) == pytest.approx(np.trace(held.scores.values))
    assert pairing_test(held.scores, held.folds, n_permutations=9).matched == pytest.approx(
        np.trace(held.scores.values) / n
    )


def test_scores_of_a_fit_go_to_the_test_that_refits():
    held = heldout_procrustes(*sides(6))
    counts = draw_pairs(20, 5, rng=np.random.default_rng(0))
    for call in (lambda: hits(held.scores), lambda: resample(held.scores, counts)):
        with pytest.raises(ValueError, match="give them to pairing_test, which fits it anew"):
            call()


# --- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("massive", [0, 3000, 30000])
@pytest.mark.parametrize("centre", [False, True])
def test_a_dimension_that_holds_all_the_length_hides_no_pairs(massive, centre):
    """Its rounding, of thousands, is no rounding of the others; nor does it move a cosine."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=256)
    A = shared + rng.normal(size=(40, 256))
    B = shared + 0.5 * (A - shared) + 0.9 * rng.normal(size=(40, 256))
    A[:, 3] = B[:, 3] = massive
    tests, best = [], []
    for dtype in (np.float64, np.float32, np.float16):
        scores = cosines(A.astype(dtype), B.astype(dtype), centre=centre)
        tests.append(pairing_test(scores))
        best.append(np.trace(hits(scores).values))
    assert all(test.status == OK for test in tests) and tests[0].z > 20
    assert [test.z for test in tests] == pytest.approx([tests[0].z] * 3, rel=2e-3)
    assert best == pytest.approx([best[0]] * 3, abs=0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("massive", [0, 3000])
def test_rows_that_differ_by_their_rounding_are_equal(dtype, massive):
    """As another batch gives them: the last place of each number."""
    rng = np.random.default_rng(1)
    category = np.repeat(np.arange(3), 8)
    A, B = (rng.normal(size=(3, 64))[category].astype(dtype) for _ in "ab")
    A[:, 3] = B[:, 3] = massive
    up = [np.nextafter(side, dtype(np.inf)) for side in (A, B)]
    noisy = [np.where(rng.random(side.shape) < 0.5, side, other)
             for side, other in zip((A, B), up, strict=True)]  # fmt: skip
    assert "both sides are the same" in matched_vs_scrambled(*noisy, category).status
    assert matched_vs_scrambled(*noisy).status == OK


def test_a_row_near_the_mean_makes_no_ties_of_the_others():
    A, B = (side.astype(np.float16) for side in sides(7, 30, 64, signal=2.0))
    rows = [side.astype(np.float64) for side in (A, B)]
    rows[0][0] = rows[0][1:].mean(axis=0) + 0.004
    scores = cosines(rows[0].astype(np.float16), B, centre=True)
    assert scores.resolution < 1e-3
    assert np.trace(hits(scores).values) > 28


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_cosines_do_not_depend_on_the_size_of_numbers(size):
    A, B = sides(8, signal=0.5)
    np.testing.assert_allclose(cosines(size * A, B).values, cosines(A, B).values, rtol=1e-9)


# --- levels, over a thousand data sets each ------------------------------------------------------


def report(name, p):
    at = [(np.array(p) <= level).sum() for level in (0.05, 0.01)]
    print(f"rate {name}: p <= .05 in {at[0]}, p <= .01 in {at[1]} of {len(p)}")
    assert holds(p, 0.05) and holds(p, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unequal groups", "one side", "chain", "hits", "centred hits"])
def test_pairing_holds_its_level(kind):
    p = []
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        A, B = rng.normal(size=(2, 40, 24))
        groups, centre = np.arange(40), kind == "centred hits"
        if kind == "unequal groups":  # four of five rows that are alike, twenty of one
            groups = np.concatenate([np.repeat(np.arange(4), 5), np.arange(4, 24)])
            A, B = (side[groups] + 0.5 * rng.normal(size=side.shape) for side in (A, B))
        elif kind == "one side":
            A = A[np.arange(40) // 2]
        elif kind == "chain":  # rows 0 and 1 share the first side, 1 and 2 the second, ...
            A, B = A[np.arange(40) // 2], B[(np.arange(40) + 1) // 2]
        scores = cosines(A, B, groups=groups, centre=centre)
        p.append(pairing_test(hits(scores, 3) if "hits" in kind else scores).p)
    report(kind, p)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wide", "strata", "groups"])
def test_procrustes_holds_its_level_and_finds(kind):
    n, d = (24, 40) if kind == "wide" else (30, 6)
    strata = np.arange(n) % 2 if kind == "strata" else None
    groups = np.arange(n) // 2 if kind == "groups" else None

    def p_of(seed, signal):
        A, B = sides(seed, n, d, signal=signal)
        if groups is not None:  # paraphrases
            A, B = (side[groups] + 0.3 * noise for side, noise in zip((A, B), sides(-seed - 1 + 2**32, n, d), strict=True))  # fmt: skip # noqa: E501
        held = heldout_procrustes(A, B, strata, groups=groups, n_splits=3, seed=seed)
        return pairing_test(held.scores, held.folds, n_permutations=99, seed=seed).p

    report(f"Procrustes, {kind}", [p_of(seed, 0.0) for seed in range(1000)])
    found = sum(p_of(seed, 3.0) <= 0.05 for seed in range(20))
    print(f"power Procrustes, {kind}: {found} of 20")
    assert found >= 18


def test_scores_of_ones_own_making_have_no_groups():
    values = np.random.default_rng(0).normal(size=(8, 8))
    assert pairing_test(PairingScores(values, 1e-12, OK)).status == OK


def test_the_tail_of_hits_begins_half_a_step_below_their_count():
    """Against drawn pairings; without the half step p of a count was half of what it should be."""
    A, B = sides(9, 40, 24, signal=0.4)
    scores = hits(cosines(A, B), 1)
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(40), (100_000, 1)), axis=1)
    sums = scores.values[np.arange(40), orders].sum(axis=1)
    for count in (2, 3, 4):
        order = orders[np.flatnonzero(sums.round() == count)[0]]
        found = pairing_test(PairingScores(scores.values[:, order], scores.resolution, OK))
        # three moments place these tails within 15 % of the drawn ones, on the careful side at 4
        assert found.p == pytest.approx((sums >= count - 1e-9).mean(), rel=0.2)
