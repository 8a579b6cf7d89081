"""The torch solver gives the host's numbers, on the CPU always and on CUDA where there is one."""

import numpy as np
import pytest
import torch

from interp.smds import smds_grid

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n_splits", "categories"), [(3, True), (3, False), (7, False)])
def test_tensors_on_a_device_equal_arrays_on_the_host(device, n_splits, categories):
    rng = np.random.default_rng(0)
    n = 120
    y = rng.integers(0, 12, n)
    X = rng.normal(size=(4, n, 30))
    X[1] += 2 * rng.normal(size=(12, 30))[y]
    X[2], X[3, 0, 0] = 5.0, np.nan
    options = {
        "groups": np.arange(n),
        "shapes": ["circular", "spiral", "cluster", "chain"],
        "period": 12,
        "n_splits": n_splits,
        "n_permutations": 9,
        "controls": {"reversed": (11 - y)[None]},
        "leave_out": y // 3 if categories else None,
        "progress": False,
    }
    host = smds_grid([("b", X)], y, n_jobs=1, **options)
    there = smds_grid([("b", torch.tensor(X, device=device))], y, **options)
    assert there.status.tolist() == host.status.tolist() == [["ok", "ok", "constant", "non-finite"]]
    pairs = [
        (getattr(host, name), getattr(there, name))
        for name in ("score", "fold_scores", "null", "kfold_r2", "kfold_error")
    ]
    pairs.append((host.controls["reversed"], there.controls["reversed"]))
    if categories:
        assert host.leave_out is not None and there.leave_out is not None
        pairs += [
            (getattr(host.leave_out, name), getattr(there.leave_out, name))
            for name in ("score", "r2", "error", "null_r2")
        ]
        pairs.append(
            (host.leave_out.controls_r2["reversed"], there.leave_out.controls_r2["reversed"])
        )
    equal(pairs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "fit",
    [
        {"standardise": True},
        {"orthonormal": True},
        {"source": 1, "standardise": True},
        {"source": 2},
    ],
)
def test_other_ways_of_fitting_agree_too(device, fit):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 12, 90)
    X = rng.normal(size=(3, 90, 30)) * rng.uniform(0.1, 30, 30)
    X[1] += 2 * rng.normal(size=(12, 30))[y]
    X[2] = 5.0
    options = {"groups": np.arange(90), "shapes": ["circular", "cluster"], "period": 12}
    options |= {"n_permutations": 5, "progress": False} | fit
    host = smds_grid([("b", X)], y, n_jobs=1, **options)
    there = smds_grid([("b", torch.tensor(X, device=device))], y, **options)
    assert there.status.tolist() == host.status.tolist()
    names = ("score", "null", "kfold_r2") if host.kfold_r2 is not None else ("score", "null")
    equal([(getattr(host, name), getattr(there, name)) for name in names])
    assert (host.reuse is None) == (there.reuse is None) == ("source" not in fit)
    if host.reuse is not None and there.reuse is not None:
        equal([(host.reuse.observed, there.reuse.observed), (host.reuse.p, there.reuse.p)])


def equal(pairs):
    for ours, theirs in pairs:
        # The host's null is float32, off by some 1e-7; everything else agrees to 1e-10.
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
