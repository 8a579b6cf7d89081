"""A circle is found, and what only looks like one is refused by the rival's own null."""

from itertools import permutations

import numpy as np
import pytest
from rival_codes import MONTHS, planted, points

from interp.smds import ellipse, roundness
from interp.smds._category_gram import category_gram
from interp.smds._cycle import cycle_test, family_p
from interp.smds._orders import arcs, cyclic_orders, orders_within
from interp.smds._rivals import chain_statistic, order_statistic, spelling_statistic
from interp.smds._within import within_category


def result(kind, amplitude=5.0, seed=0, **options):
    cells, month = planted(kind, amplitude=amplitude, seed=seed, depths=4, **options)
    return cycle_test(cells, month, names=MONTHS, n_orders=399, n_within=199, seed=seed)


def test_a_circle_beside_a_table_is_found():
    test = result("circle")
    assert test.standing() == ()
    assert test.closed[test.best()] <= 0.05
    assert test.undecidable() == ()


@pytest.mark.parametrize(
    ("kind", "rival"),
    [
        (None, "lookup table"),
        ("seasons", "clusters of a quarter"),
        ("halves", "clusters of a half"),
        ("line", "open chain"),
        ("open arc", "open chain"),
        ("axis", "one axis"),
        ("spelling", "spelling"),
        ("axis + spelling", "one axis beside spelling"),
        ("axis + seasons", "one axis beside clusters of a quarter"),
    ],
)
def test_each_rival_stands_where_it_is_the_truth(kind, rival):
    """One seed each: the rates are the slow tests' and docs/verdicts.md's."""
    test = result(kind, seed=3)
    compound = rival.startswith("one axis beside")
    assert test.standing()
    assert compound or test.p[rival].min() > 0.05


def test_one_depth_alone_equals_a_loop_over_orders():
    rng = np.random.default_rng(0)
    X, category = rng.normal(size=(60, 9)), np.arange(60) % 6
    test = cycle_test([("a", X)], category, n_orders=50, seed=1)
    A = category_gram(X, category, 6).directions
    angle = 2 * np.pi * (np.arange(6) + 0.5) / 6
    F = np.stack([np.cos(angle), np.sin(angle)], axis=1) / np.sqrt(3)

    def naive(order):
        C = F @ F.T
        return sum(C[order[i], order[j]] * A[i, j] for i in range(6) for j in range(6))

    distinct = [(0, *rest) for rest in permutations(range(1, 6)) if rest[0] < rest[-1]]
    values = np.array([naive(order) for order in distinct])
    assert test.p["lookup table"][0] == pytest.approx(np.mean(values >= values[0] - 1e-9))
    assert test.floor["lookup table"] == 1 / 60


def test_texts_of_one_fact_count_once():
    """Averaged by the test, or before it; a table has a row for every depth."""
    rng = np.random.default_rng(4)
    X, fact = rng.normal(size=(120, 9)), np.repeat(np.arange(40), 3)
    category = fact % 6
    means = X.reshape(40, 3, 9).mean(axis=1)
    by_group = cycle_test([("a", X), ("b", -X)], category, groups=fact, n_orders=50, seed=1)
    before = cycle_test([("a", means), ("b", -means)], category[::3], n_orders=50, seed=1)
    for name, p in before.p.items():
        np.testing.assert_array_equal(by_group.p[name], p)
    table = by_group.table()
    assert table.depth.tolist() == ["a", "b"] and (table.share == by_group.share).all()
    assert (table["p, open chain"] == by_group.p["open chain"]).all()
    with pytest.raises(ValueError, match="carries two categories"):
        cycle_test([("a", X)], np.arange(120) % 6, groups=fact)


def test_the_gram_is_that_of_whitened_means():
    rng = np.random.default_rng(1)
    X, category = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)), np.arange(4000) % 7
    X += rng.normal(size=(7, 5))[category]
    means = np.stack([X[category == c].mean(axis=0) for c in range(7)])
    within = X - means[category]
    inverse = np.linalg.inv(within.T @ within / 4000)
    centred = means - means.mean(axis=0)
    gram = category_gram(X, category, 7)
    # 4,000 rows in 5 dimensions: shrinkage takes a thousandth
    np.testing.assert_allclose(gram.distances, centred @ inverse @ centred.T, rtol=0.02, atol=1e-3)
    assert gram.whitened


def test_a_static_embedding_is_taken_raw_and_nothing_is_made_of_zeros():
    rng = np.random.default_rng(2)
    table, category = rng.normal(size=(12, 30)), np.arange(240) % 12
    gram = category_gram(table[category].astype(np.float32), category, 12)
    centred = table - table.mean(axis=0)
    assert not gram.whitened
    np.testing.assert_allclose(gram.distances, centred @ centred.T, rtol=1e-5, atol=1e-5)
    same = cycle_test([("a", np.ones((240, 30)))], category, names=MONTHS, n_orders=99, n_within=99)
    assert all(p[0] == 1 for p in same.p.values())


def test_orders_within_clusters_keep_every_cluster_in_its_place():
    rng = np.random.default_rng(0)
    for number, n_arcs in ((12, 4), (7, 3), (24, 2)):
        for phase in arcs(number, n_arcs):
            assert sorted(np.concatenate(phase)) == list(range(number))
            for order in orders_within(phase, 20, rng):
                assert all(set(order[cluster]) == set(cluster) for cluster in phase)


def test_few_categories_have_all_their_orders_and_say_what_they_cannot_decide():
    assert len(cyclic_orders(7, 99, np.random.default_rng(0))) == 360
    rng = np.random.default_rng(0)
    weekdays = np.arange(210) % 7
    test = cycle_test([("a", rng.normal(size=(210, 20)))], weekdays, n_within=199)
    assert test.floor["clusters of a third"] == pytest.approx(1 / 24)  # 3! 2! 2! orders
    assert test.undecidable(0.01) == ("clusters of a third",)
    assert "clusters of a quarter" not in test.p  # pairs of neighbours: 8 orders at most


def test_statistics_see_what_they_are_about():
    circle, line = points("circle", np.random.default_rng(0)), np.arange(12.0)[:, None] - 5.5
    orders = np.stack([np.arange(12), np.random.default_rng(0).permutation(12)])
    assert (
        order_statistic(circle @ circle.T, orders)[0]
        > order_statistic(circle @ circle.T, orders)[1]
    )
    assert (
        chain_statistic(circle @ circle.T, orders)[0]
        > 0
        > chain_statistic(line @ line.T, orders)[0]
    )
    # a Gram matrix that is one of the kernels has no correlation left beside them
    kernels = np.stack([np.outer(line, line)])
    assert spelling_statistic(np.outer(line, line), kernels, orders)[0] == pytest.approx(
        0, abs=1e-9
    )


def test_max_over_depths_pays_for_their_choice():
    rng = np.random.default_rng(0)
    hits = [family_p(list(rng.normal(size=(6, 100)))).min() <= 0.05 for _ in range(400)]
    assert sum(hits) < 34  # .05 of 400, fails by the binomial rule at .001 from 35 on


@pytest.mark.parametrize("bad", ["few", "names", "empty", "none"])
def test_bad_input_is_refused(bad):
    X, category = np.zeros((24, 3)), np.arange(24) % 12
    with pytest.raises(ValueError, match="categor|names|cells"):
        if bad == "few":
            cycle_test([("a", X)], category % 3)
        elif bad == "names":
            cycle_test([("a", X)], category, names=MONTHS[:5])
        elif bad == "empty":
            cycle_test([("a", X)], category, n_categories=13)
        else:
            cycle_test([], category)


# --- roundness and the place within the category -------------------------------------------------


@pytest.mark.parametrize(("minor", "seed"), [(1.0, 0), (0.7, 1), (0.3, 2)])
def test_the_axis_ratio_of_a_planted_ellipse_is_found(minor, seed):
    rng = np.random.default_rng(seed)
    ring = points("circle", rng) * [1.0, minor] * 8
    G = ring @ ring.T + np.cov(rng.normal(size=(12, 400)))
    measured = ellipse(G)
    assert measured.lower <= minor
    assert measured.ratio == pytest.approx(minor, abs=0.1)


def test_a_lookup_table_is_not_round():
    centred = np.eye(12) - 1 / 12
    measured = ellipse(centred * 9)
    assert measured.ratio < 0.01 and measured.lower < 0.5
    with pytest.raises(ValueError, match="4 categories"):
        ellipse(np.eye(4))


def test_roundness_of_many_cells_is_that_of_each():
    rng = np.random.default_rng(5)
    category = np.arange(240) % 12
    cells = [rng.normal(size=(2, 240, 9)) for _ in range(3)]
    rings = roundness(cells, category, positions=("x", "y"), n_categories=12, seed=7)
    one = ellipse(category_gram(cells[1][0], category, 12).distances, seed=7)
    assert (rings.ratio[1, 0], rings.lower[1, 0]) == (one.ratio, one.lower)
    table = rings.table(("a", "b", "c"))
    assert table[["position", "depth"]].to_numpy().tolist() == [
        [position, depth] for position in "xy" for depth in "abc"
    ]
    assert table.ratio.iloc[1] == one.ratio


def calendar(n=480, seed=0):
    rng = np.random.default_rng(seed)
    day = rng.permutation(np.arange(n) % 360)
    return rng, day.astype(float), (day // 30).astype(int)


def test_the_day_within_the_month_is_found_and_the_month_alone_is_not_taken_for_it():
    rng, day, month = calendar()
    table = rng.normal(size=(12, 24)) * 3
    noise = rng.normal(size=(len(day), 24))
    number = (day % 30)[:, None] / 9 * rng.normal(size=24) / 5
    months = within_category([("a", table[month] + noise)], day, month, day, period=360.0)
    both = within_category([("a", table[month] + number + noise)], day, month, day, period=360.0)
    assert months.test.p_family[0, 0] > 0.05
    assert both.test.p_family[0, 0] <= 0.05
    assert both.test.p_family[0, 1] > 0.01  # the number is not the place on the arc
    assert both.best("number") == 0 and (both.p("arc") == both.test.p_family[:, 1]).all()
    still = within_category([("a", np.eye(12)[month])], day, month, day, period=360.0)
    assert still.best("number") is None


def test_groups_of_two_labels_and_lonely_groups_are_refused():
    _, day, month = calendar()
    with pytest.raises(ValueError, match="carries two labels"):
        within_category([("a", np.zeros((480, 2)))], day, month, month, period=360.0)
    with pytest.raises(ValueError, match="one group"):
        within_category(
            [("a", np.zeros((12, 2)))], np.arange(12.0), np.arange(12), np.arange(12), period=12.0
        )
