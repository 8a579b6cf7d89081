"""The grid of alignment: what is planted at a depth is found there, cells equal the methods called
by hand, and what cannot be tested says why."""

import numpy as np
import pytest

from interp.alignment import (
    AlignmentGrid,
    alignment_grid,
    cosines,
    draw_pairs,
    hits,
    linear_cka,
    pairing_test,
    resample,
)

N, D = 40, 24
STRATA = np.repeat(["a", "b"], N // 2)
COUNTS = draw_pairs(N, 200, strata=STRATA, rng=np.random.default_rng(0))
DEFINED = np.array([[True] * N, [True] * 2 + [False] * (N - 2)])


def _blocks(seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Pairs that share nothing, then much, then little, with a template for each stratum."""
    rng = np.random.default_rng(seed)
    template = 2 * rng.standard_normal((2, D))[(STRATA == "b").astype(int)]
    shared = rng.standard_normal((N, D))
    blocks = []
    for depth, strength in enumerate((0.0, 2.0, 0.3)):
        sides = template + strength * shared + rng.standard_normal((2, N, D))
        rows = sides.reshape(2 * N, D).astype(np.float32)
        blocks.append((f"depth {depth}", np.stack([rows, rows])))
    return blocks


@pytest.fixture(scope="module")
def grid() -> AlignmentGrid:
    return alignment_grid(_blocks(), COUNTS, STRATA, positions=("all", "few"), defined=DEFINED)


def test_a_cell_is_what_the_methods_give_by_hand(grid):
    (_, X), cell = _blocks()[1], grid.cell(1, "all")
    A, B, own = X[0, :N], X[0, N:], np.arange(N)
    plain, centred = (cosines(A, B, groups=own, centre=centre) for centre in (False, True))
    assert cell.plain == pairing_test(plain)
    assert cell.stratified == pairing_test(plain, STRATA)
    assert cell.centred == pairing_test(centred, STRATA)
    assert cell.retrieval[5, True, True] == pairing_test(hits(centred, 5, backward=True))
    assert cell.cka == linear_cka(A, B, groups=own)
    assert np.array_equal(cell.resampled.z, resample(plain, COUNTS, STRATA).z)
    low, high = cell.interval
    assert low < cell.stratified.z < high
    assert np.allclose([low + high], 2 * cell.stratified.z)


def test_the_depth_that_makes_alignment_gains_and_the_next_loses(grid):
    gains, increments = grid.gains("all"), grid.increments("all")
    assert gains.above.tolist() == [False, True, False] and not gains.below.any()
    assert increments.above.tolist() == [True, False]
    assert increments.below.tolist() == [False, True]
    z = grid.curve("all")
    assert np.allclose(gains.difference, z - z[0]) and gains.difference[0] == 0
    assert np.allclose(np.cumsum(increments.difference), gains.difference[1:])
    # a template alone is alignment among all pairs, and none within strata
    assert grid.curve("all", "plain")[0] > 5 and abs(z[0]) < 3
    low, high = grid.limits("all")
    assert (low < z).all() and (z < high).all()


def test_a_position_of_too_few_pairs_is_undefined_and_says_why(grid):
    cell = grid.cell(0, "few")
    assert cell.n == 2 and np.isnan(cell.stratified.z) and np.isnan(cell.interval).all()
    assert cell.stratified.status == "2 pairs have such tokens in both texts"
    adjusted = grid.adjusted()
    assert np.isnan(adjusted[:, 1]).all() and adjusted[1, 0] < 0.001
    assert np.isnan(grid.gains("few").low).all()


def test_the_table_has_a_row_for_every_cell_and_parts_keep_them(grid):
    table = grid.table()
    assert list(table.block) == [name for name, _ in _blocks() for _ in range(2)]
    assert list(table.position) == ["all", "few"] * 3
    row = table[(table.block == "depth 1") & (table.position == "all")].squeeze()
    cell = grid.cell(1, "all")
    assert (row.z, row.plain_z, row.centred_p) == (
        cell.stratified.z,
        cell.plain.z,
        cell.centred.p,
    )
    assert (row.z_low, row.z_high) == cell.interval
    assert row.retrieval_1_back_centred == cell.retrieval[1, True, True].matched
    part = grid.part(1, 3)
    assert part.blocks == ("depth 1", "depth 2") and part.cell(0, "all") is cell


def test_rows_that_are_not_two_of_each_pair_are_refused():
    with pytest.raises(ValueError, match="depth 0 has 80 texts at 2 positions; 40 pairs at 1"):
        alignment_grid(_blocks(), COUNTS, STRATA, positions=("all",))
    short = [("depth 0", np.zeros((1, N, D), dtype=np.float32))]
    with pytest.raises(ValueError, match="40 pairs at 1 positions have 80 texts"):
        alignment_grid(short, COUNTS, STRATA, positions=("all",))
