"""What ablating directions costs: ranks among other directions, and the best of several depths."""

import numpy as np
import pytest

from interp.probes import Ablation, Sweep


def test_p_is_the_rank_of_the_loss():
    losses = np.linspace(-1, 1, 39)[:, None] * np.ones((1, 4))
    measured = Ablation(
        "block 0", "last", np.ones(4), {"last": np.full(4, 2.0), "tag": np.full(4, -2.0)},
        {"random directions": losses}, 8,
    )  # fmt: skip
    assert measured.p("last", "random directions") == pytest.approx(1 / 40)
    assert measured.p("tag", "random directions") == 1


def test_the_best_of_several_depths_is_held_to_the_best_of_each_other_direction():
    """Directions that cost much at one depth of four, each at another one than the last."""

    def sweep(effect: float, seed: int) -> Sweep:
        rng = np.random.default_rng(seed)
        own, others = rng.normal(size=4), rng.normal(size=(39, 4))
        own[2] += effect
        return Sweep(
            tuple(
                Ablation(
                    f"block {d}", "last", np.ones(6), {"last": np.full(6, own[d])},
                    {"random directions": others[:, [d]] * np.ones(6)}, 8,
                )
                for d in range(4)
            )
        )  # fmt: skip

    hits = sum(sweep(0, seed).p("random directions") <= 0.05 for seed in range(200))
    assert hits <= 21  # a binomial test at .001 says .05 below 22
    strong = sweep(6, 0)
    assert strong.best == 2 and strong.p("random directions") == pytest.approx(1 / 40)


def test_a_table_has_a_row_for_every_direction_at_every_depth():
    rng = np.random.default_rng(0)
    at = tuple(
        Ablation(
            f"block {d}", "last", np.ones(6), {"last": rng.normal(size=6), "tag": np.ones(6)},
            {"random directions": rng.normal(size=(39, 6))}, 8,
        )
        for d in range(2)
    )  # fmt: skip
    table = Sweep(at).table({"random directions": "random"})
    assert table["direction ablated"].tolist() == ["last", "tag", "random directions"] * 2
    row = table[(table["depth"] == "block 1") & (table["direction ablated"] == "last")].iloc[0]
    assert row["low"] < row["logits lost"] == at[1].roles["last"].mean() < row["high"]
    assert row["p, random"] == at[1].p("last", "random directions")
    assert table["sd"].notna().tolist() == [False, False, True] * 2
