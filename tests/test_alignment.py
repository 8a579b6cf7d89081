"""Paired alignment: exact moments against counting and sampling, planted pairs, confounds."""

import inspect
from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import binom, norm

from interp.alignment import (
    OK,
    PairingScores,
    cka_permutations,
    cosines,
    decompose,
    dictionary_test,
    draw_pairs,
    heldout_procrustes,
    hits,
    linear_cka,
    matched_vs_scrambled,
    pairing_test,
    principal_components,
    resample,
)


def _sides(n, d=16, *, signal=0.5, seed=0, offset=0.0):
    """Rows that share a part, plus noise of their own and a level all rows have."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d))
    return tuple(signal * common + rng.standard_normal((n, d)) + offset for _ in range(2))


def _arrangements(strata):
    """Every pairing that stays within strata."""
    rows = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    found = [np.arange(len(strata))]
    for mine in rows:
        grown = []
        for order in found:
            for change in permutations(mine):
                new = order.copy()
                new[mine] = change
                grown.append(new)
        found = grown
    return np.array(found)


def _scrambled_means(values, orders):
    return values[np.arange(len(values)), orders].mean(axis=1)


# --- exact moments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strata", ["aaa", "aaaa", "aaaaaa", "aaaaaaa", "aabb", "aaabbbb", "aabbcc"]
)
@pytest.mark.parametrize("kind", ["cosine", "centred", "hits"])
def test_moments_and_p_equal_full_enumeration(strata, kind):
    labels = np.array(list(strata))
    A, B = _sides(len(labels), signal=0.3, seed=len(labels), offset=0.4)
    scores = cosines(A, B, centre=kind == "centred")
    if kind == "hits":
        scores = hits(scores, 2)
    every = _scrambled_means(scores.values, _arrangements(labels))
    found = pairing_test(scores, labels)
    assert found.expected == pytest.approx(every.mean(), rel=1e-12)
    assert found.sd == pytest.approx(every.std(), rel=1e-10)
    assert found.z == pytest.approx((found.matched - every.mean()) / every.std(), rel=1e-9)
    assert found.p == pytest.approx((every >= found.matched - 1e-12).mean(), abs=1e-15)


@pytest.mark.parametrize("n", [12, 40, 200])
@pytest.mark.parametrize("kind", ["plain", "stratified", "centred", "retrieval"])
def test_z_equals_the_sampled_z(n, kind):
    rng = np.random.default_rng(n)
    A, B = _sides(n, signal=0.2, seed=n, offset=0.5)
    strata = np.arange(n) % 4 if kind == "stratified" else np.zeros(n, dtype=int)
    scores = cosines(A, B, centre=kind == "centred")
    if kind == "retrieval":
        scores = hits(scores, 3)
    n_samples = 20_000
    orders = np.tile(np.arange(n), (n_samples, 1))
    for name in np.unique(strata):
        mine = np.flatnonzero(strata == name)
        orders[:, mine] = rng.permuted(np.tile(mine, (n_samples, 1)), axis=1)
    null = _scrambled_means(scores.values, orders)
    found = pairing_test(scores, strata)
    # The sampled mean is off by sd / sqrt(N), the sampled sd by sd sqrt((kurtosis + 2) / 4N), and z
    # by both; four such errors, with room for a kurtosis of 3 + 3.
    assert abs(found.expected - null.mean()) < 4 * null.std() / np.sqrt(n_samples)
    assert found.sd == pytest.approx(null.std(), rel=4 * np.sqrt(5 / (4 * n_samples)))
    sampled = (found.matched - null.mean()) / null.std()
    assert abs(found.z - sampled) < 4 * np.sqrt(1 + found.z**2 * 1.25) / np.sqrt(n_samples)


def test_p_of_skewed_scores_equals_the_sampled_tail():
    """Heavy rows and columns skew the null: the normal tail misses by several times, three moments
    do not."""
    rng = np.random.default_rng(0)
    n, n_samples = 40, 200_000
    values = np.outer(rng.exponential(size=n), rng.exponential(size=n))
    orders = rng.permuted(np.tile(np.arange(n), (n_samples, 1)), axis=1)
    null = _scrambled_means(values, orders)
    ranked = np.argsort(null)
    for tail in (0.05, 0.01, 0.001):
        # the pairing that stands at this quantile is taken for the true one
        order = orders[ranked[int(n_samples * (1 - tail))]]
        found = pairing_test(PairingScores(values[:, order], 1e-12, OK))
        # Over four such matrices p was off by 2 to 33 % at .05 and .01, and 1.7 to 2.4 times too
        # large at .001, where a normal tail is 2 to 100 times too small.
        assert tail / 1.35 < found.p < tail * (1.35 if tail > 0.001 else 3)
    assert norm.sf(found.z) < 0.001 / 3


def test_p_values_of_noise_hold_their_level():
    n_trials, rejected = 400, {0.05: 0, 0.5: 0}
    strata = np.repeat(list("ab"), 15)
    for seed in range(n_trials):
        A, B = _sides(30, 8, signal=0, seed=seed)
        p = pairing_test(cosines(A, B), strata).p
        for level in rejected:
            rejected[level] += p <= level
    for level, count in rejected.items():
        low, high = binom.interval(0.99, n_trials, level)
        assert low <= count <= high


def test_a_category_confound_is_seen_through():
    """Templates alone: pairs share their category's direction and nothing else."""
    plain, stratified = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        category = np.repeat(np.arange(5), 12)
        template = 2 * rng.standard_normal((5, 32))
        A, B = (template[category] + rng.standard_normal((60, 32)) for _ in range(2))
        plain.append(matched_vs_scrambled(A, B).z)
        stratified.append(matched_vs_scrambled(A, B, category).z)
    assert min(plain) > 5
    # z of 60 independent nulls: their mean and spread are those of a standard normal
    assert abs(np.mean(stratified)) < 3 / np.sqrt(60)
    assert 0.75 < np.std(stratified) < 1.25


def test_planted_pairs_are_found_within_categories():
    category = np.repeat(np.arange(5), 12)
    A, B = _sides(60, signal=1.0, seed=1)
    assert matched_vs_scrambled(A, B, category).z > 8


def test_removing_the_mean_uncovers_pairs_behind_a_common_direction():
    A, B = _sides(50, signal=0.5, seed=2, offset=30.0)
    raw, centred = matched_vs_scrambled(A, B), matched_vs_scrambled(A, B, centre=True)
    assert raw.expected > 0.99 and abs(centred.expected) < 0.02
    assert centred.matched > 0.1
    # what all rows share does not hide pairs from z, which is held to the scramblings of its own
    assert raw.z > 5 and centred.z > 5


# --- what cannot be tested says so ---------------------------------------------------------------


def test_equal_rows_within_strata_leave_z_undefined_and_say_why():
    """The last token of a template: one vector per category and side."""
    rng = np.random.default_rng(0)
    category = np.repeat(np.arange(4), 6)
    sides = [rng.standard_normal((4, 24))[category].astype(np.float32) for _ in range(2)]
    found = matched_vs_scrambled(*sides, category)
    assert np.isnan(found.z) and np.isnan(found.p) and found.sd == 0
    assert found.status == (
        "both sides are the same within every stratum, so that scrambling changes nothing"
    )
    assert found.silent == ("0", "1", "2", "3")
    assert np.isfinite(matched_vs_scrambled(*sides).z)
    # equal but for the last bits of float32, as another batch would give them
    noisy = [
        side * (1 + 1e-7 * rng.standard_normal(side.shape)).astype(np.float32) for side in sides
    ]
    assert np.isnan(matched_vs_scrambled(*noisy, category).z)
    one = matched_vs_scrambled(sides[0], rng.standard_normal((24, 24)).astype(np.float32), category)
    assert one.status.startswith("the first side is the same within every stratum")


def test_silent_strata_are_named_and_the_others_decide():
    A, B = _sides(20, signal=1.0, seed=3)
    category = np.repeat(list("ab"), 10)
    A[:10] = A[0]
    found = matched_vs_scrambled(A, B, category)
    rest = matched_vs_scrambled(A[10:], B[10:])
    assert found.silent == ("a",) and found.status == OK
    assert found.z == pytest.approx(rest.z, rel=1e-9)


def test_rows_without_direction_are_a_status():
    A, B = _sides(6, seed=4)
    A[2] = 0
    found = matched_vs_scrambled(A, B)
    assert np.isnan(found.z) and found.status == "row 2 of the first side is zero: no direction"
    equal = np.tile(np.arange(1.0, 17.0, dtype=np.float32), (6, 1))
    found = matched_vs_scrambled(equal, B.astype(np.float32), centre=True)
    assert "all rows of the first side are equal" in found.status


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda A, B: (A[:2], B[:2], None), "2 pairs; scrambling says nothing with fewer than 3"),
        (lambda A, B: (A, B[:5], None), r"sides of shape \(6, 16\) and \(5, 16\)"),
        (lambda A, B: (A, B, np.array(list("aaaaab"))), "stratum 'b' holds 1 pair"),
        (lambda A, B: (A, B, np.array(list("aab"))), "3 strata labels for 6 pairs"),
        (
            lambda A, B: (A, np.where(np.arange(6)[:, None] == 4, np.nan, B), None),
            "row 4 of the sec",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    A, B, strata = change(*_sides(6))
    with pytest.raises(ValueError, match=message):
        matched_vs_scrambled(A, B, strata)


def test_retrieval_of_no_or_too_many_texts_is_refused():
    with pytest.raises(ValueError, match="k = 7; retrieval among 6 texts takes 1 to 6"):
        hits(cosines(*_sides(6)), 7)


# --- retrieval -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("backward", [False, True])
def test_hits_equal_a_plain_ranking(k, backward):
    scores = cosines(*_sides(25, signal=0.8, seed=5))
    values = scores.values.T if backward else scores.values
    expected = np.zeros_like(values)
    for row, best in enumerate(np.argsort(-values, axis=1)[:, :k]):
        expected[row, best] = 1
    found = hits(scores, k, backward=backward)
    np.testing.assert_array_equal(found.values, expected)
    assert pairing_test(found).expected == pytest.approx(k / 25)


def test_ties_share_a_place():
    values = np.array([[0.5, 0.5, 0.1], [0.2, 0.2 + 1e-12, 0.2], [0.9, 0.3, 0.3]])
    np.testing.assert_allclose(
        hits(PairingScores(values, 1e-9, OK)).values, [[0.5, 0.5, 0], [1 / 3] * 3, [1, 0, 0]]
    )
    np.testing.assert_allclose(
        hits(PairingScores(values, 1e-9, OK), 2).values, [[1, 1, 0], [2 / 3] * 3, [1, 0.5, 0.5]]
    )


# --- intervals over pairs ------------------------------------------------------------------------


@pytest.mark.parametrize("strata", [None, np.repeat(list("abc"), 10)])
def test_every_pair_drawn_once_gives_the_test_itself(strata):
    scores = cosines(*_sides(30, seed=6, offset=1.0))
    test = pairing_test(scores, strata)
    found = resample(scores, np.ones((1, 30), dtype=int), strata)
    assert found.z[0] == pytest.approx(test.z, rel=1e-10)
    assert found.excess[0] == pytest.approx(test.excess, rel=1e-10)


def test_resampled_statistics_equal_a_plain_sum_over_distinct_pairs():
    rng = np.random.default_rng(0)
    scores = cosines(*_sides(9, seed=7))
    counts = draw_pairs(9, 20, rng=rng)
    found = resample(scores, counts)
    S, n = scores.values, 9
    S = S - S.mean(0) - S.mean(1, keepdims=True) + S.mean()
    for number, p in enumerate(counts / n):
        if (p > 0).sum() < 2:
            continue
        strangers = np.outer(p, p)
        np.fill_diagonal(strangers, 0)
        strangers /= strangers.sum()

        def mean(values, own, strangers=strangers):
            return own @ np.diag(values) / n + (1 - 1 / n) * (strangers * values).sum()

        row, column = np.empty(n), np.empty(n)
        for i in range(n):
            others = np.where(np.arange(n) == i, 0, p) / (1 - p[i])
            row[i] = S[i, i] / n + (1 - 1 / n) * others @ S[i]
            column[i] = S[i, i] / n + (1 - 1 / n) * others @ S[:, i]
        centred = S - row[:, None] - column + mean(S, p)
        excess = p @ np.diag(S) - mean(S, p)
        variance = n**2 * mean(centred**2, p) / (n - 1)
        assert found.excess[number] == pytest.approx(excess, rel=1e-9)
        assert found.z[number] == pytest.approx(n * excess / np.sqrt(variance), rel=1e-9)


def test_intervals_cover_and_the_usual_bootstrap_does_not():
    """z of new samples of pairs scatters no wider than the resamples of one sample say. Resamples
    that count a pair's copy as a stranger lie below the truth (34 of 100 intervals cover)."""
    n, inside, naive_inside, n_trials = 40, 0, 0, 50
    truth = np.mean([pairing_test(cosines(*_sides(n, signal=1.5, seed=s))).z for s in range(300)])
    for seed in range(1000, 1000 + n_trials):
        scores = cosines(*_sides(n, signal=1.5, seed=seed))
        counts = draw_pairs(n, 200, rng=np.random.default_rng(seed))
        low, high = np.quantile(resample(scores, counts).z, [0.025, 0.975])
        inside += low <= truth <= high
        naive = []
        for draw in counts[:60]:
            rows = np.repeat(np.arange(n), draw)
            naive.append(
                pairing_test(PairingScores(scores.values[np.ix_(rows, rows)], 1e-12, OK)).z
            )
        low, high = np.quantile(naive, [0.025, 0.975])
        naive_inside += low <= truth <= high
    assert inside >= binom.ppf(0.01, n_trials, 0.95)
    assert naive_inside < 0.6 * n_trials


def test_a_stratum_of_one_pair_says_nothing():
    scores = cosines(*_sides(21, seed=13))
    strata = np.array(["a"] * 20 + ["b"])
    counts = draw_pairs(21, 50, strata=strata, rng=np.random.default_rng(0))
    part = PairingScores(scores.values[:20, :20], scores.resolution, OK)
    found, alone = resample(scores, counts, strata), resample(part, counts[:, :20])
    np.testing.assert_allclose(found.z, alone.z)
    assert pairing_test(scores, strata).z == pytest.approx(pairing_test(part).z)
    assert pairing_test(scores, strata).silent == ("b",)


def test_undefined_scores_have_undefined_resamples():
    rng = np.random.default_rng(0)
    category = np.repeat(np.arange(3), 5)
    A, B = (rng.standard_normal((3, 8))[category] for _ in range(2))
    counts = draw_pairs(15, 10, strata=category, rng=rng)
    assert (counts.reshape(10, 3, 5).sum(axis=2) == 5).all()
    assert np.isnan(resample(cosines(A, B), counts, category).z).all()


# --- geometry ------------------------------------------------------------------------------------


def _hsic_by_quadruples(K, L):
    """Song et al. 2012, eq. 3: the unbiased estimator as a mean over four distinct rows."""
    total = []
    for i, j, q, r in permutations(range(len(K)), 4):
        total.append(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]))
    return np.mean(total)


def test_cka_equals_the_mean_over_quadruples():
    A, B = _sides(7, 5, seed=8)
    B = B[:, :3]
    K, L = A @ A.T, B @ B.T
    expected = _hsic_by_quadruples(K, L) / np.sqrt(
        _hsic_by_quadruples(K, K) * _hsic_by_quadruples(L, L)
    )
    assert linear_cka(A, B) == pytest.approx(expected, rel=1e-10)


def test_cka_is_one_for_a_turned_copy_and_zero_on_average_for_noise():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 12)) + 5
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    assert linear_cka(A, 3 * A @ turn - 7) == pytest.approx(1)
    noise = [
        linear_cka(rng.standard_normal((30, 300)), rng.standard_normal((30, 300)))
        for _ in range(60)
    ]
    assert abs(np.mean(noise)) < 3 * np.std(noise) / np.sqrt(60)
    # the plain estimate is nine tenths of the way to a perfect match there
    K, L = ((side := rng.standard_normal((30, 300))) @ side.T for _ in range(2))
    assert (K * L).sum() / np.sqrt((K**2).sum() * (L**2).sum()) > 0.8
    assert np.isnan(linear_cka(A, np.ones((30, 4)))) and np.isnan(linear_cka(A[:3], A[:3]))


@pytest.mark.parametrize("d", [20, 300])
def test_procrustes_finds_a_rotation_on_pairs_it_has_not_seen(d):
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((60, 6))
    A, B = (
        latent @ np.linalg.qr(rng.standard_normal((d, d)))[0][:6]
        + 0.05 * rng.standard_normal((60, d))
        for _ in range(2)
    )
    assert abs(matched_vs_scrambled(A, B).matched) < 0.3
    held_out = heldout_procrustes(A, B, seed=0)
    test = pairing_test(held_out.scores, held_out.folds)
    assert test.z > 10 and test.matched > 0.8
    noise = rng.standard_normal((60, d))
    held_out = heldout_procrustes(A, noise, seed=0)
    assert abs(pairing_test(held_out.scores, held_out.folds).z) < 3.5


def test_procrustes_equals_scipy_where_the_rotation_is_determined():
    A, B = _sides(40, 5, signal=1.0, seed=9)
    held_out = heldout_procrustes(A, B, n_splits=4, seed=3)
    for name in np.unique(held_out.folds):
        test = np.flatnonzero(held_out.folds == name)
        train = np.setdiff1d(np.arange(40), test)
        a, b = A - A[train].mean(axis=0), B - B[train].mean(axis=0)
        rotation = orthogonal_procrustes(a[train], b[train])[0]
        rotated, target = a[test] @ rotation, b[test]
        cosine = (rotated / np.linalg.norm(rotated, axis=1, keepdims=True)) @ (
            target / np.linalg.norm(target, axis=1, keepdims=True)
        ).T
        np.testing.assert_allclose(held_out.scores.values[np.ix_(test, test)], cosine, atol=1e-10)


def test_procrustes_of_templates_alone_fits_nothing_within_categories():
    """The rotation learns where templates lie; strata keep that from counting."""
    rng = np.random.default_rng(1)
    category = np.repeat(np.arange(5), 20)
    A, B = (
        (2 * rng.standard_normal((5, 40)))[category] + rng.standard_normal((100, 40))
        for _ in range(2)
    )
    plain, kept = heldout_procrustes(A, B), heldout_procrustes(A, B, category)
    assert pairing_test(plain.scores, plain.folds).z > 10
    assert abs(pairing_test(kept.scores, kept.folds).z) < 3.5


def test_components_separate_languages_and_hold_pairs():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((80, 3)) * [4, 3, 2]
    A, B = (
        np.hstack([shared, rng.standard_normal((80, 20))]) + level * np.eye(23)[5]
        for level in (6, -6)
    )
    found = principal_components(A, B)
    both = np.concatenate([A, B]) - np.concatenate([A, B]).mean(axis=0)
    variance = np.linalg.svd(both, compute_uv=False) ** 2
    np.testing.assert_allclose(found.explained, (variance / variance.sum())[:10], rtol=1e-9)
    assert abs(found.separation[0]) > 5 and (np.abs(found.separation[1:]) < 1).all()
    assert found.inside[5].matched > 0.8 and found.inside[5].z > 10
    noise = principal_components(*_sides(80, signal=0, seed=11))
    assert abs(noise.inside[10].z) < 3.5
    assert set(principal_components(*_sides(5, 4)).inside) == {2}


# --- shares --------------------------------------------------------------------------------------


def test_shares_are_found_and_add_up():
    """A part that both sides share exactly, beside others that are half alike and twice as long."""
    rng = np.random.default_rng(0)
    n, d = 150, 400
    common, specific = rng.standard_normal((2, n, d))
    others = tuple(specific + side for side in rng.standard_normal((2, n, d)))
    part = (common, common)
    whole = tuple(common + other for other in others)  # products of pairs: 1 and 1 of 3
    counts = draw_pairs(n, 500, rng=rng)
    found = decompose(whole, part, counts)
    assert found.share == pytest.approx(1 / 2, abs=0.02)
    assert found.interval is not None and found.interval[0] < 1 / 2 < found.interval[1]
    rest = decompose(whole, others, counts)
    assert found.share + rest.share == pytest.approx(1, abs=1e-12)
    assert decompose(whole, whole, counts).share == pytest.approx(1, abs=1e-12)
    assert decompose(whole, (0 * common, 0 * common), counts).share == 0


def test_a_share_is_that_of_its_products():
    """Against the sum over pairs written out."""
    rng = np.random.default_rng(1)
    A, B, p, q = rng.standard_normal((4, 30, 20))
    A, B = A + 3 * B, B + p
    found = decompose((A, B), (p, q), draw_pairs(30, 100, rng=rng))

    def excess(first: np.ndarray, second: np.ndarray) -> float:
        table = np.array([[a @ b for b in second] for a in first])
        table /= np.linalg.norm(A, axis=1)[:, None] * np.linalg.norm(B, axis=1)
        return table.diagonal().mean() - table.mean()

    own = excess(p, q) + 0.5 * excess(p, B - q) + 0.5 * excess(A - p, q)
    assert found.share == pytest.approx(own / excess(A, B), rel=1e-9)
    with pytest.raises(ValueError, match="parts have shape"):
        decompose((A, B), (p[:, :5], q[:, :5]), draw_pairs(30, 10, rng=rng))


def test_no_share_of_an_excess_that_is_not_there():
    counts = draw_pairs(40, 200, rng=np.random.default_rng(0))
    noise = _sides(40, signal=0, seed=12)
    found = decompose(noise, noise, counts)
    assert np.isnan(found.share) and found.interval is None
    assert found.status == "no excess of matched over scrambled pairs"


def test_cka_of_templates_alone_is_high_and_no_higher_than_with_partners_exchanged():
    strata = np.repeat(np.arange(4), 10)
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        A, B = 3 * rng.standard_normal((2, 4, 30))[:, strata] + rng.standard_normal((2, 40, 30))
        null = cka_permutations(A, B, strata, n_permutations=39, seed=seed)
        hits += (1 + (null >= linear_cka(A, B)).sum()) / 40 <= 0.05
        if not seed:
            assert linear_cka(A, B) > 0.3
    assert hits <= binom.ppf(0.999, 100, 0.05)
    shared = A + 0.5 * B
    null = cka_permutations(shared, B, strata, n_permutations=39)
    assert (null < linear_cka(shared, B)).all()
    order = np.random.default_rng(0).permutation(np.arange(10))
    one = cka_permutations(A[:10], B[:10], n_permutations=1)
    assert one[0] == pytest.approx(linear_cka(A[:10], B[:10][order]))


# --- dictionaries --------------------------------------------------------------------------------


def _texts(rng: np.random.Generator, n: int = 100, nouns: int = 20) -> np.ndarray:
    """Weights of n texts of two nouns each beside two words of their template."""
    weights = np.zeros((n, nouns + 2))
    weights[:, nouns:] = 1
    for row in weights:
        row[rng.choice(nouns, 2, replace=False)] = 1
    return weights / 4


KINDS = np.array(["noun"] * 20 + ["template"] * 2)


def test_words_that_recur_are_the_unit_and_not_the_texts_they_recur_in():
    texts, dictionaries, n_trials = 0, 0, 200
    for seed in range(n_trials):
        rng = np.random.default_rng(seed)
        weights = _texts(rng)
        A, B = rng.standard_normal((2, 22, 40))  # vectors that know nothing of one another
        pairs = matched_vs_scrambled(weights @ A, weights @ B, groups=np.arange(100))
        texts += pairs.p <= 0.05
        found = dictionary_test((weights, A), (weights, B), KINDS, n_permutations=99, seed=seed)
        dictionaries += found.p <= 0.05
        if seed < 3:
            assert found.excess == pytest.approx(pairs.excess, abs=1e-12)
    assert texts > 0.15 * n_trials
    assert dictionaries <= 21  # a binomial test at .001 says .05 below 22


def test_vectors_that_translate_are_found():
    rng = np.random.default_rng(0)
    weights, strata = _texts(rng), np.repeat(["a", "b"], 50)
    A, B = rng.standard_normal((2, 22, 40))
    for centre in (False, True):
        found = dictionary_test(
            (weights, A), (weights, B + A), KINDS, strata, centre=centre, n_permutations=199
        )
        assert found.p == found.floor == 1 / 200 and found.z > 5


def test_vectors_move_within_their_kind_only():
    rng = np.random.default_rng(0)
    weights = _texts(rng)
    A, B = rng.standard_normal((2, 22, 40))
    alone = dictionary_test((weights, A), (weights, B), np.arange(22), n_permutations=19)
    assert alone.p == 1 and np.isnan(alone.z)
    unchecked = inspect.unwrap(dictionary_test)
    with pytest.raises(ValueError, match="weighs 22 tokens and has 21 vectors"):
        unchecked((weights, A), (weights, B[1:]), KINDS)
    with pytest.raises(ValueError, match="the second 99 in 40"):
        unchecked((weights, A), (weights[1:], B), KINDS)
