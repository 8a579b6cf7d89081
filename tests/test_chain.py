"""An order is found, and tables, sorts and spelling are refused by their own nulls."""

from itertools import permutations

import numpy as np
import pytest
from rival_codes import noise

from interp.smds import chain_test
from interp.smds._category_gram import category_gram
from interp.smds._chain import line_frame

NAMES = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def planted(code: np.ndarray, *, amplitude: float = 4.0, seed: int = 0, n: int = 270, d: int = 96):
    rng = np.random.default_rng(seed)
    category = np.arange(n) % len(code)
    code = (code - code.mean(axis=0)) / code.std(axis=0).mean()
    place = amplitude * code @ rng.normal(size=(code.shape[1], d)) / np.sqrt(d)
    own = 2 * rng.normal(size=(4, len(code), d)) / np.sqrt(d)
    return [
        (f"block {b}", (place + own[b])[category] + noise(n, d, rng)) for b in range(4)
    ], category


def test_a_line_is_in_order():
    cells, rank = planted(np.arange(9.0)[:, None])
    test = chain_test(cells, rank, names=NAMES, n_orders=399)
    assert set(test.p) == {"lookup table", "clusters of halves", "clusters of thirds", "spelling"}
    assert test.largest_p()[test.best()] <= 0.05
    assert max(test.floor.values()) < 0.01


@pytest.mark.parametrize(
    ("code", "rival"),
    [
        (np.random.default_rng(1).normal(size=(9, 9)), "lookup table"),
        (np.repeat(np.random.default_rng(2).normal(size=(3, 5)), 3, axis=0), "clusters of thirds"),
        ((np.arange(9) > 4)[:, None].astype(float), "clusters of halves"),
    ],
)
def test_each_rival_stands_where_it_is_the_truth(code, rival):
    cells, rank = planted(code)
    assert chain_test(cells, rank, n_orders=399).p[rival].min() > 0.05


def test_one_depth_equals_a_loop_over_orders():
    rng = np.random.default_rng(0)
    X, rank = rng.normal(size=(60, 9)), np.arange(60) % 5
    test = chain_test([("a", X)], rank)
    A, v = category_gram(X, rank, 5).directions, np.arange(5.0) - 2
    values = np.array([v[list(o)] @ A @ v[list(o)] for o in permutations(range(5))])
    assert test.p["lookup table"][0] == pytest.approx((values >= values[0] - 1e-9).mean())
    assert test.floor["lookup table"] == 2 / 120 and set(test.p) == {"lookup table"}
    G = category_gram(X, rank, 5).distances
    assert test.share[0] == pytest.approx(v @ G @ v / 10 / np.trace(G))
    np.testing.assert_allclose(line_frame(5)[:, 0], v / np.sqrt(10))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="3 categories have no order"):
        chain_test([("a", np.eye(6))], np.arange(6) % 3)
    with pytest.raises(ValueError, match="2 names for 4 categories"):
        chain_test([("a", np.eye(8))], np.arange(8) % 4, names=["a", "b"], n_categories=4)
    with pytest.raises(ValueError, match="no cells"):
        chain_test([], np.arange(8) % 4)
