"""Intervals of held-out scores hold the truth, and nulls hold their level: simulated."""

import numpy as np
import pytest

from interp.probes import Probe, concept_direction, probe_grid
from interp.smds import smds_grid
from interp.stats import Resampling
from interp.tasks import Workers

ALONE = Workers(n_jobs=1, progress=False)


def grouped(seed, *, groups, rows, d, effect, shared=0.5):
    rng = np.random.default_rng(seed)
    label = np.arange(groups) % 2
    group = np.repeat(np.arange(groups), rows)
    X = rng.normal(size=(len(group), d)) + shared * rng.normal(size=(groups, d))[group]
    X[:, 0] += effect * (label[group] - 0.5)
    return X, label[group], group


def covered(intervals, scores):
    low, high = np.array(intervals).T
    truth = np.mean(scores)  # over data sets: what an interval of a procedure is about
    return int(((low <= truth) & (truth <= high)).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",
    [
        {"groups": 20, "rows": 5, "d": 100, "effect": 1.2},
        {"groups": 8, "rows": 5, "d": 50, "effect": 2.0},
        {"groups": 12, "rows": 10, "d": 60, "effect": 2.0},
    ],
    ids=str,
)
def test_intervals_of_directions_cover(design):
    intervals, scores = [], []
    for seed in range(400):
        X, y, group = grouped(seed, **design)
        splits = min(5, design["groups"] // 2)
        found = concept_direction(X, y, groups=group, n_permutations=1, n_splits=splits, seed=seed)
        intervals.append(found.interval)
        scores.append(found.accuracy)
    number = covered(intervals, scores)
    print(f"rate direction {design}: covered in {number} of 400")
    assert 368 <= number <= 396


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_intervals_of_probes_cover(kind):
    intervals, scores, orderings, orders = [], [], [], []
    for seed in range(400):
        X, y, group = grouped(seed, groups=20, rows=5, d=40, effect=2.0)
        if kind == "numbers":
            y = y + np.random.default_rng(seed).normal(size=20)[group] * 0.5
        options = {"resampling": Resampling(1, seed=seed), "workers": ALONE}
        grid = probe_grid([("b", X)], y, groups=group, probe=Probe(kind=kind), **options)
        intervals.append(grid.interval[0, 0])
        scores.append(grid.score[0, 0])
        orderings.append(grid.auroc_interval[0, 0])
        orders.append(grid.auroc[0, 0])
    measured = {"score": covered(intervals, scores)}
    if kind == "classes":
        measured["ordering"] = covered(orderings, orders)
    else:
        assert np.isnan(orderings).all()
    for what, number in measured.items():
        print(f"rate probe, {kind}, {what}: covered in {number} of 400")
        assert 368 <= number <= 398


def level(p, at):
    return int((np.array(p) <= at).sum())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["smds", "probe", "direction"])
@pytest.mark.parametrize("groups", [6, 20])
def test_nulls_hold_their_level(method, groups):
    p = []
    for seed in range(1000):
        X, y, group = grouped(seed, groups=groups, rows=3, d=10, effect=0.0)
        drawn = Resampling(99, n_splits=3, seed=seed)
        options = {"groups": group, "resampling": drawn, "workers": ALONE}
        if method == "direction":
            flat = concept_direction(X, y, groups=group, n_boot=2, **vars(drawn))
            p.append(flat.test.p.item())
        elif method == "probe":
            grid = probe_grid([("b", X)], y, probe=Probe(n_boot=0), **options)
            p.append(grid.test.p.item())
        else:
            place = np.random.default_rng(seed).permutation(groups).astype(float)[group]
            grid = smds_grid([("b", X[None])], place, period=groups, **options)
            p.append(grid.test.p.item())
    at = {rate: level(p, rate) for rate in (0.05, 0.01)}
    print(f"rate {method}, {groups} groups: p <= .05 in {at[0.05]}, p <= .01 in {at[0.01]} of 1000")
    assert at[0.05] < 73 and at[0.01] < 22  # the binomial rule at .001
