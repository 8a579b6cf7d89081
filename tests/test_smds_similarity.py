"""Planes that were planted at positions, under noise that hides them from weights."""

import numpy as np
import pytest
from circles import PERIOD, days_and_months
from scipy.stats import binom

from interp.smds import SupervisedMDS, ideal_coordinates, subspace_similarity
from interp.smds._similarity import split_halves
from interp.stats import permutation_test, permute_groups

N, D = 400, 200
SAME, AGAIN, TURNED, OTHER, PART, NOISE, ECHO = range(7)


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    days, _ = days_and_months(rng, N)
    circle = 3 * ideal_coordinates(days, period=PERIOD)
    axes = np.linalg.qr(rng.normal(size=(D, 4)))[0].T
    planes = [[0, 1], [0, 1], [1, 0], [2, 3], [0, 3]]
    cells = [circle @ axes[where] + rng.normal(size=(N, D)) for where in planes]
    shared = rng.normal(size=(N, D))
    cells += [shared, shared + 0.01 * rng.normal(size=(N, D))]
    return subspace_similarity(
        np.stack(cells), days, groups=np.arange(N), period=PERIOD, n_permutations=39, n_halves=10
    )


def test_one_plane_under_different_noise_is_one_plane(planted):
    assert planted.status[SAME] == planted.status[AGAIN] == "ok"
    assert planted.p_family[SAME, AGAIN] == pytest.approx(1 / 40)
    assert planted.corrected[SAME, AGAIN] == pytest.approx(1, abs=0.03)
    assert planted.angles[SAME, AGAIN].max() < 30
    # The decoders of the same plane hardly agree.
    assert planted.weight_cosine[SAME, AGAIN] < 0.6 < planted.similarity[SAME, AGAIN]


def test_turned_axes_of_one_plane_are_still_one_plane(planted):
    assert planted.corrected[SAME, TURNED] == pytest.approx(1, abs=0.03)


def test_different_planes_and_half_shared_planes(planted):
    assert planted.status[OTHER] == "ok" and planted.corrected[SAME, OTHER] < 0.2
    assert planted.corrected[SAME, PART] == pytest.approx(0.5, abs=0.1)
    assert planted.angles[SAME, PART, 0] < 40 and planted.angles[SAME, PART, 1] > 70


def test_noise_shared_between_positions_is_not_a_common_plane(planted):
    # Raw similarity is fooled by construction; the test and the reliability are not.
    assert planted.similarity[NOISE, ECHO] > 0.9 and planted.p[NOISE, ECHO] > 0.05
    assert planted.status[NOISE] == planted.status[ECHO] == "unreliable"
    assert np.isnan(planted.corrected[NOISE]).all() and np.isnan(planted.corrected[:, ECHO]).all()


def test_a_table_has_a_row_for_every_pair_and_pairs_say_what_is_wrong(planted):
    names = ("same", "again", "turned", "other", "part", "noise", "echo")
    table = planted.table(names)
    assert len(table) == 21 and (table["first"] != table["second"]).all()
    row = table.set_index(["first", "second"]).loc[("same", "again")]
    assert row.corrected == planted.corrected[SAME, AGAIN]
    assert row.reliability_second == planted.reliability[AGAIN]
    assert row.angle_2_degrees == planted.angles[SAME, AGAIN, 1]
    assert planted.pair_status[SAME, AGAIN] == "ok"
    assert planted.pair_status[SAME, NOISE] == planted.pair_status[ECHO, SAME] == "unreliable"
    assert set(np.diag(planted.pair_status)) == {"the word itself"}


def test_reliability_and_similarity_of_noise_hold_their_level():
    rng = np.random.default_rng(3)
    days, _ = days_and_months(rng, 60)
    mixing = rng.normal(size=(20, 20)) * rng.uniform(0.1, 3, 20)  # a covariance all positions share
    X = rng.normal(size=(40, 60, 20)) @ mixing
    found = subspace_similarity(
        X, days, groups=np.arange(60), period=PERIOD, n_permutations=39, n_halves=4
    )
    low, high = binom.interval(0.99, 40, 0.05)
    assert low <= (found.status == "ok").sum() <= high
    # Pairs share positions, so neighbours on the diagonal are the independent ones.
    p = np.array([found.p[i, i + 1] for i in range(0, 40, 2)])
    low, high = binom.interval(0.99, 20, 0.05)
    assert low <= (p <= 0.05).sum() <= high
    assert np.isfinite(found.p_family[0, 1])


def _plane(X, P):
    slopes = np.linalg.lstsq(P - P.mean(axis=0), X - X.mean(axis=0), rcond=None)[0]
    return np.linalg.qr(slopes.T)[0]


def _cosines(a, b):
    return np.linalg.svd(a.T @ b, compute_uv=False)


def _across(first, second, P, Q, halves):
    """Mean cosine of one half of `first` under labels P with the other of `second` under Q."""
    sides = [side for half in halves for side in (half, ~half)]
    planes = [(_plane(first[h], P[h]), _plane(second[~h], Q[~h])) for h in sides]
    return np.mean([_cosines(*pair).mean() for pair in planes])


def _naive_pair(first, second, P, halves, orders):
    """Angles' cosines, similarity across halves and both reliabilities, and the nulls of these."""
    observed = [
        _across(*pair, P, P, halves) for pair in ((first, second), (first,) * 2, (second,) * 2)
    ]
    null = [
        (
            _across(first, second, P, P[order], halves),
            _across(first, first, P[order], P[order], halves),
            _across(second, second, P[order], P[order], halves),
        )
        for order in orders
    ]
    return _cosines(_plane(first, P), _plane(second, P)), observed, np.array(null)


@pytest.fixture(scope="module")
def small():
    """Eight positions, the third constant up to rounding, the fifth with one infinity."""
    rng = np.random.default_rng(1)
    groups = rng.permutation(np.repeat(np.arange(40), 2))
    y = rng.uniform(0, 10, 40)[groups]
    plane = ideal_coordinates(y, period=10) @ rng.normal(size=(2, 9))
    strength = np.array([1.0, 0.7, 0, 0, 0.3, 0.1, 0.05, 0])
    X = strength[:, None, None] * plane + rng.normal(size=(8, 80, 9)) + 20
    X[2] = 20 * rng.normal(size=9) + 1e-6 * rng.normal(size=(80, 9))
    X[4, 3, 5] = np.inf
    return X.astype(np.float32), y, groups


def test_all_positions_at_once_are_the_pairs_one_by_one(small):
    X, y, groups = small
    fast = subspace_similarity(
        X, y, groups=groups, period=10, alpha=0.5, n_halves=6, n_permutations=29, seed=7
    )
    assert list(fast.status[[2, 4]]) == ["constant", "non-finite"]
    rng = np.random.default_rng(7)
    halves = split_halves(groups, 6, rng)
    first_row = np.array([np.flatnonzero(groups == group)[0] for group in groups])
    orders = permute_groups(first_row, groups, 29, rng)
    P, usable = ideal_coordinates(y, period=10), [0, 1, 3, 5, 6, 7]
    pairs = [(i, j) for i in usable for j in usable if i < j]
    X = X.astype(np.float64)
    naive = {(i, j): _naive_pair(X[i], X[j], P, halves, orders) for i, j in pairs}
    test = permutation_test(
        np.array([naive[pair][1][0] for pair in pairs]),
        np.stack([naive[pair][2][:, 0] for pair in pairs], axis=1),
    )
    decoders = [
        SupervisedMDS(alpha=0.5, period=10).fit(X[i], y).components_.ravel() for i in usable
    ]
    decoders = {i: w / np.linalg.norm(w) for i, w in zip(usable, decoders, strict=True)}
    own, own_p = {}, {}
    for (i, j), (_, observed, null) in naive.items():
        for position, column in ((i, 1), (j, 2)):
            own[position] = observed[column]
            own_p[position] = (1 + (null[:, column] >= observed[column]).sum()) / 30
    expected = {i: "ok" if own_p[i] <= 0.05 else "unreliable" for i in usable}
    assert set(expected.values()) == {"ok", "unreliable"}  # else half of this compares nothing
    for i in usable:
        assert fast.status[i] == expected[i]
        assert fast.reliability[i] == pytest.approx(own[i], abs=1e-12)
    for number, (i, j) in enumerate(pairs):
        cosines, across, _ = naive[i, j]
        both = expected[i] == expected[j] == "ok"
        corrected = across[0] / np.sqrt(own[i] * own[j]) if both else np.nan
        for at in ((i, j), (j, i)):
            assert fast.angles[at] == pytest.approx(np.degrees(np.arccos(cosines)), abs=1e-9)
            assert fast.similarity[at] == pytest.approx(cosines.mean(), abs=1e-12)
            assert fast.corrected[at] == pytest.approx(corrected, abs=1e-12, nan_ok=True)
            assert fast.z[at] == pytest.approx(test.z[number], abs=1e-9)
            assert fast.p[at] == test.p[number]
            assert fast.p_family[at] == test.p_family[number]
            overlap = abs(decoders[i] @ decoders[j])
            assert fast.weight_cosine[at] == pytest.approx(overlap, abs=1e-9)
    pairwise = [getattr(fast, name) for name in ("similarity", "corrected", "z", "p", "p_family")]
    for field in (*pairwise, fast.weight_cosine, *np.moveaxis(fast.angles, 2, 0)):
        assert np.isnan(np.diag(field)).all() and np.isnan(field[[2, 4]]).all()
    assert np.isnan(fast.reliability[[2, 4]]).all()


def test_a_pair_is_the_case_of_two_positions(small):
    X, y, groups = small
    asked = dict(groups=groups, period=10, n_halves=4, n_permutations=19)
    pair = subspace_similarity(X[[0, 5]], y, **asked)
    among = subspace_similarity(X, y, **asked)
    for name in ("similarity", "corrected", "z", "p", "weight_cosine"):
        np.testing.assert_allclose(getattr(pair, name)[0, 1], getattr(among, name)[0, 5])
    assert pair.p_family[0, 1] == pair.p[0, 1]  # a family of one


def test_standardising_takes_features_to_one_size_and_leaves_a_constant_word_constant(small):
    X, y, groups = small
    sizes = np.geomspace(0.01, 100, 9)
    options = dict(groups=groups, period=10, n_halves=3, n_permutations=9, standardise=True)
    plain, sized = (subspace_similarity(x, y, **options) for x in (X, X * sizes))
    np.testing.assert_allclose(sized.similarity, plain.similarity, atol=1e-6)
    assert sized.status[2] == "constant"


def test_halves_never_split_a_group(small):
    _, _, groups = small
    halves = split_halves(groups, 50, np.random.default_rng(0))
    for half in halves:
        assert not set(groups[half]) & set(groups[~half]) and half.sum() == 40
    assert len(np.unique(halves, axis=0)) == 50


def test_what_has_no_pattern_is_refused():
    X, y, alone = np.random.default_rng(2).normal(size=(2, 12, 5)), np.arange(12), np.arange(12)
    with pytest.raises(ValueError, match="'0' carries two labels"):
        subspace_similarity(X, y, groups=alone // 2, period=12)
    with pytest.raises(ValueError, match="3 groups are too few"):
        subspace_similarity(X, y // 4, groups=alone // 4, period=3)
    with pytest.raises(ValueError, match="1 of the shape's 2 dimensions"):
        subspace_similarity(X, y % 2, groups=alone, period=2)
    with pytest.raises(ValueError, match="1 dimensions hold no pattern of 2"):
        subspace_similarity(X[:, :, :1], y, groups=alone, period=12)
