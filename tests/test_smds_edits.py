"""Edits of a cyclic label: shares moved, turns and patterns, on angles that are known."""

import numpy as np
import pytest

from interp.smds import PatchedPairs, Patching, Turning
from interp.smds._patching import share_moved
from interp.smds._turning import cyclic_pattern, per_degree, stretched, turn, turning_vectors

DOSES = (-90, -45, 45, 90)
DEPTHS = ("embedding", "block 0", "block 1", "final norm")


def _angles(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 2 * np.pi, n)


def test_share_is_0_without_an_effect_1_for_a_full_move_and_linear_between():
    own, donor = _angles()
    rng = np.random.default_rng(1)
    # a map that shrinks, and errs: the share must not know of it
    noise = rng.normal(size=(2, 200)) + 1j * rng.normal(size=(2, 200))
    before, there = 0.6 * np.exp(1j * np.stack([own, donor])) + 0.05 * noise
    share = {part: share_moved(before + part * (there - before), before, there, own, donor)
             for part in (0.0, 0.5, 1.0)}  # fmt: skip
    assert share[0.0] == 0
    assert share[0.5] == pytest.approx(0.5, abs=1e-12)
    assert share[1.0] == pytest.approx(1, abs=1e-12)


def test_share_has_no_seam_at_the_turn_of_the_year():
    # receivers on the last day, donors on the third: two days, not 363
    own, donor = _angles(60)
    before, there = np.exp(1j * own), np.exp(1j * donor)
    shifted = [angle + 2 * np.pi * turns for turns, angle in ((1, own), (-2, donor))]
    plain = share_moved(there, before, there, own, donor)
    assert share_moved(there, before, there, *shifted) == pytest.approx(plain, abs=1e-9)
    close = np.mod(own - 0.02, 2 * np.pi)
    assert share_moved(np.exp(1j * close), before, np.exp(1j * close), own, close) == (
        pytest.approx(1, abs=1e-9)
    )


def test_an_edit_that_only_wipes_the_label_out_moves_it_nowhere():
    own, donor = _angles(2000)
    before, there = np.exp(1j * own), np.exp(1j * donor)
    share = share_moved(np.zeros_like(before), before, there, own, donor)
    # own and donor labels are independent, so that 2000 of them correlate by chance alone
    assert abs(share) < 0.05


def test_a_turn_is_measured_over_the_seam_and_its_slope_is_degrees_per_degree():
    own, _ = _angles(50)
    plain = np.exp(1j * own)
    edited = np.stack([0.3 * plain * np.exp(1j * np.radians(0.4 * dose)) for dose in DOSES])
    degrees = turn(edited, plain)
    np.testing.assert_allclose(degrees, [0.4 * dose for dose in DOSES], atol=1e-9)
    assert per_degree(degrees, DOSES) == pytest.approx(0.4)
    assert turn(plain, plain) == pytest.approx(0, abs=1e-12)


def test_a_pattern_is_the_plane_that_was_planted_and_a_stretched_one_has_its_size():
    own, _ = _angles(100)
    rng = np.random.default_rng(3)
    planted = rng.standard_normal((2, 30))
    rows = np.column_stack([np.cos(own), np.sin(own)]) @ planted + rng.standard_normal(30)
    np.testing.assert_allclose(cyclic_pattern(rows, own), planted, atol=1e-9)
    other = stretched(rng.standard_normal((2, 30)), planted)
    np.testing.assert_allclose(other @ other.T, planted @ planted.T, atol=1e-9)
    assert np.abs(other - planted).max() > 0.1


def test_a_turned_pattern_is_the_pattern_of_turned_labels():
    own, _ = _angles(7)
    plane = np.random.default_rng(3).standard_normal((2, 30))
    (vectors,) = turning_vectors(plane[None], own, DOSES)
    for dose, added in zip(DOSES, vectors, strict=True):
        before, after = (
            np.column_stack([np.cos(a), np.sin(a)]) @ plane for a in (own, own + np.radians(dose))
        )
        np.testing.assert_allclose(before + added, after, atol=1e-9)


def test_pairs_share_no_group_and_leave_half_of_them_to_learn_from():
    groups = np.repeat(np.arange(30), 2)
    pairs = PatchedPairs.draw(groups, 40, seed=1)
    assert len(pairs.receivers) == len(pairs.donors) == 7  # of 30 groups no more than half
    edited = np.concatenate([pairs.receivers, pairs.donors])
    assert len(set(groups[edited])) == 14
    assert set(groups[pairs.training]) == set(groups) - set(groups[edited])
    assert len(PatchedPairs.draw(groups, 3, seed=1).donors) == 3


def _patching(share: float, n: int = 40) -> Patching:
    """A word that moves decoded labels by a share at block 0 and by a third of it at block 1, and
    one that moves nothing."""
    own, donor = _angles(n)
    before, there = np.exp(1j * own), np.exp(1j * donor)
    rng = np.random.default_rng(2)
    moved = np.array([share, share / 3, 0, 0])[:, None] * (there - before)
    noise = 0.1 * rng.normal(size=(4, n, 2)) @ [1, 1j]
    patched = (before + moved + noise).reshape(2, 2, n)
    return Patching(("month", "sport"), (1, 2), patched, before, there, own, donor)


def test_what_one_word_moves_stands_out_of_dealt_donors_and_the_other_does_not():
    patching = _patching(0.6)
    shares = patching.moved(n_permutations=100, seed=0)
    np.testing.assert_allclose(shares.share, [[0.6, 0.2], [0, 0]], atol=0.1)
    assert shares.test.p_family[0, 0] <= 0.05 < shares.test.p_family[1].min()
    assert (shares.low < shares.share).all() and (shares.share < shares.high).all()
    assert shares.excess == pytest.approx(0.4, abs=0.1)
    assert shares.interval[0] < shares.excess < shares.interval[1]
    assert patching.deepest_half() == 1  # a third is less than half
    assert patching.distance(patching.donor) == pytest.approx(0, abs=1e-12)
    table = shares.table(DEPTHS)
    assert table[["word", "depth"]].to_numpy().tolist() == [
        [word, depth] for word in ("month", "sport") for depth in ("block 0", "block 1")
    ]
    assert table.share.tolist() == shares.share.ravel().tolist()


def test_the_own_plane_is_ranked_among_others_and_every_row_says_where_it_was_added():
    own, _ = _angles(12)
    plain = np.exp(1j * own)
    turned = np.stack([plain * np.exp(1j * np.radians(0.5 * dose)) for dose in DOSES])
    others = {"random planes": np.linspace(-0.1, 0.1, 39)}
    turning = Turning(1, ("month", "party"), DOSES, np.stack([turned] * 2), plain, others, 0.5)
    np.testing.assert_allclose(turning.slope(), 0.5)
    assert turning.p("random planes") == 1 / 40
    table = turning.table(DEPTHS)
    assert table["added at"].tolist() == ["month, block 0"] * 4 + ["party, block 0"] * 4 + [
        "month, block 0"
    ]
    np.testing.assert_allclose(table["decoded (degrees)"][:4], [0.5 * dose for dose in DOSES])
    assert table["decoded (degrees)"].iloc[-1] == pytest.approx(0)
    assert table.sd.iloc[-1] == pytest.approx(90 * others["random planes"].std())
