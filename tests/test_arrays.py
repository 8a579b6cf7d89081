"""What users hand over: taken whatever library it comes from, or refused with its rows."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from interp import arrays
from interp.probes import Probe, concept_direction, probe_grid, project, transfer_matrix
from interp.smds import SHAPES, Fit, SupervisedMDS, as_shape, discover, line, smds_grid
from interp.stats import Resampling, permutation_test
from interp.tasks import Workers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = np.arange(40) // 4 % 2
G = np.arange(40) // 4
FEW = {"resampling": Resampling(5), "workers": Workers(n_jobs=1, progress=False)}
QUICK = FEW | {"probe": Probe(n_boot=5)}


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (X, np.float64),
        (X.astype(np.float16), np.float32),
        (torch.tensor(X), np.float64),
        (torch.tensor(X).bfloat16(), np.float32),
        (torch.tensor(X, requires_grad=True), np.float64),
        (pd.DataFrame(X), np.float64),
        ((X * 10).astype(int), np.float64),
        (X.tolist(), np.float64),
        (np.asfortranarray(X), np.float64),
        (np.ma.masked_array(X), np.float64),
    ],
)
def test_activations_of_any_library_are_arrays_of_floats(given, dtype):
    array = arrays.activations(given)
    assert type(array) is np.ndarray and array.dtype == dtype and array.shape == (40, 6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X[0], "2 axes are needed"),
        (X[:0], "it is empty"),
        (X + 1j, "numbers are needed"),
        (X.astype(str), "numbers are needed"),
        ([[1.0], [1.0, 2.0]], "unequal length"),
        (csr_matrix(X), "toarray"),
        (np.ma.masked_less(X, 0), "masked entries"),
    ],
)
def test_what_is_no_activations_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        arrays.activations(given)


@pytest.mark.parametrize(
    "missing",
    [
        np.array([1.0, np.nan, 2.0]),
        ["a", None, "b"],
        pd.Series(["a", pd.NA, "b"]),
        pd.Series([1, None, 2], dtype="Int64"),
        np.array(["2020-01-01", "NaT", "2020-01-02"], dtype="datetime64[D]"),
        torch.tensor([1.0, float("nan"), 2.0]),
        pd.Categorical(["a", None, "b"]),
    ],
)
def test_missing_labels_are_refused_with_their_rows(missing):
    with pytest.raises(ValueError, match=r"in 1 rows \(1, counting from 0\)"):
        arrays.labels(missing)


def test_labels_go_by_position_and_mixed_ones_are_refused():
    frame = pd.DataFrame({"y": Y, "g": G}).sample(frac=1, random_state=0)
    assert arrays.labels(frame.y).tolist() == frame.y.tolist()
    assert arrays.labels(np.array([["a"], ["b"]], dtype=object)).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="mixes"):
        arrays.labels(["a", 1, "b"])
    with pytest.raises(ValueError, match="3 are needed"):
        arrays.groups([1, 2], 3)


@pytest.mark.parametrize("kind", [bool, int, float, np.uint8])
def test_masks_of_zeros_and_ones_are_read_as_such(kind):
    mask = np.array([[1, 0, 1]]).astype(kind)
    for given in (mask, pd.DataFrame(mask), torch.tensor(mask), mask.tolist()):
        assert arrays.indicator(given, (1, 3)).tolist() == [[True, False, True]]
    with pytest.raises(ValueError, match="not the numbers of rows"):
        arrays.indicator([[3, 7, 1]], (1, 3))
    with pytest.raises(ValueError, match="is needed"):
        arrays.indicator(mask, (2, 3))


def test_folders_are_paths(tmp_path):
    assert arrays.folder(str(tmp_path)) == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        arrays.folder(tmp_path / "file")
    with pytest.raises(ValueError, match="a path is needed"):
        arrays.folder(3)


# --- every method takes them ---------------------------------------------------------------------


def test_a_shuffled_frame_gives_what_its_arrays_give():
    order = np.random.default_rng(1).permutation(40)
    frame = pd.DataFrame({"y": Y, "g": G}).iloc[order]
    given = probe_grid([("b", pd.DataFrame(X))], frame.y, groups=frame.g, **QUICK)
    plain = probe_grid([("b", X)], Y[order], groups=G[order], **QUICK)
    np.testing.assert_array_equal(given.score, plain.score)
    left, right = (
        concept_direction(a, y, groups=g)
        for a, y, g in ((pd.DataFrame(X), frame.y, frame.g), (X, Y[order], G[order]))
    )
    assert left.accuracy == right.accuracy
    tensors = torch.tensor(X)
    assert transfer_matrix({"a": tensors}, frame.y, groups=frame.g).accuracy.shape == (1, 1)
    assert project(tensors).points.shape == (40, 2)
    block = ("b", torch.tensor(X).numpy()[None])
    grid = smds_grid([block], frame.y, groups=frame.g, shapes=["linear"], **FEW)
    assert grid.status.item() == "ok"


@pytest.mark.parametrize(
    "call",
    [
        lambda y: probe_grid([("b", X)], y, groups=G, **QUICK),
        lambda y: concept_direction(X, y, groups=G),
        lambda y: transfer_matrix({"a": X}, y, groups=G),
        lambda y: smds_grid([("b", X[None])], y, groups=G),
        lambda y: discover(X, y, groups=G),
        lambda y: probe_grid([("b", X)], Y, groups=y, **QUICK),
    ],
)
def test_a_missing_label_is_nobody_s_class(call):
    y = Y.astype(float)
    y[[3, 9]] = np.nan
    with pytest.raises(ValueError, match="in 2 rows"):
        call(y)


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, line(0, 12)], ids=[*SHAPES, "a line"])
def test_shapes_travel(shape):
    chosen = as_shape(shape, period=12) if isinstance(shape, str) else shape
    back = pickle.loads(pickle.dumps(chosen))
    assert back.name == chosen.name


def test_the_estimator_is_saved_and_names_its_outputs():
    fitted = SupervisedMDS(line(0, 12)).fit(X, np.arange(40.0) % 12)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X)
    )
    frame = SupervisedMDS().set_output(transform="pandas").fit_transform(X, np.arange(40.0) % 12)
    assert list(frame.columns) == ["supervisedmds0", "supervisedmds1"]


def test_classes_may_have_names_where_only_their_equality_counts():
    days = np.array(["mon", "tue", "wed", "thu"] * 10)
    named = SupervisedMDS("cluster").fit(X, days)
    numbered = SupervisedMDS("cluster").fit(X, np.unique(days, return_inverse=True)[1])
    np.testing.assert_array_equal(named.components_, numbered.components_)
    assert named.components_.shape == (3, 6)  # four classes are a tetrahedron
    with pytest.raises(ValueError, match="could not convert|numbers"):
        SupervisedMDS("circular").fit(X, days)


@pytest.mark.parametrize("k", [3, 5, 12])
def test_perfect_classes_pass_as_clusters(k):
    rng = np.random.default_rng(k)
    y = np.repeat(np.arange(k), 60 // k)
    classes = 3 * rng.normal(size=(k, 40))[y] + rng.normal(size=(len(y), 40))
    options = FEW | {"groups": np.arange(len(y)), "resampling": Resampling(50)}
    grid = smds_grid([("b", classes[None])], y, shapes=["cluster"], **options)
    assert grid.test.p.item() <= 0.05 and grid.test.z.item() > 10


def test_a_lookup_table_is_found_to_be_one_and_a_flat_one_cannot_win():
    rng = np.random.default_rng(0)
    day = rng.integers(0, 365, 500)
    month = np.minimum((day / 30.42).astype(int), 11)
    table = 2 * rng.normal(size=(12, 100))[month] + rng.normal(size=(500, 100))

    def apart(y):
        m = np.minimum((y.reshape(-1) / 30.42).astype(int), 11)
        return (m[:, None] != m).astype(float)

    lookup = replace(as_shape("cluster"), name="months", distances=apart, categorical=False)
    options = {"groups": np.arange(500), "period": 365, "resampling": Resampling(50)}
    found = discover(table, day.astype(float), shapes=["circular", "linear", lookup], **options)
    assert found.shapes[0] == "months" and found.decided
    with pytest.warns(UserWarning, match=r"2 dimensions hold \d+% .* span 11"):
        discover(
            table,
            day.astype(float),
            shapes=["circular", replace(lookup, n_components=2)],
            **options,
        )


# --- ties, and points that are one ---------------------------------------------------------------


def test_statistics_that_tie_but_for_rounding_are_no_evidence():
    rng = np.random.default_rng(0)
    null = 0.4 + 1e-7 * rng.uniform(-1, 1, size=(200, 3))
    test = permutation_test(np.full(3, 0.4 + 1.5e-7), null)
    assert (test.p == 1).all() and (test.p_family == 1).all() and np.isnan(test.z).all()
    mixed = np.column_stack([null[:, 0], rng.normal(size=200)])
    test = permutation_test(np.array([0.4, 5.0]), mixed)
    assert test.p_family[0] == 1 and test.p_family[1] == 1 / 201


def test_all_labellings_of_equal_score_give_p_1():
    y = np.repeat([0, 1, 2, 3], 8)
    rows = RNG.normal(size=(1, 32, 30)) + RNG.normal(size=(4, 30))[y][None]
    options = FEW | {"groups": y, "period": 4, "resampling": Resampling(50, n_splits=2)}
    for fit in (Fit(), Fit(orthonormal=True), Fit(standardise=True)):
        grid = smds_grid([("b", rows)], y, fit=fit, **options)
        assert grid.test.p.item() == 1 and grid.test.p_family.item() == 1


@pytest.mark.parametrize(
    "rows",
    [
        "np.full((30, 5), 2.0)",
        "np.full((30, 5), 1e6) + 1e-12 * np.arange(150).reshape(30, 5)",
        "np.vstack([np.zeros((29, 5)), np.ones((1, 5))])",
        "1e-30 * np.random.default_rng(0).normal(size=(30, 5))",
    ],
)
def test_tsne_of_rows_that_hardly_differ_leaves_the_process_alive(rows):
    code = f"""
import numpy as np
from interp.probes import project
found = project({rows}, method="tsne")
assert np.isfinite(found.points).all(), found.points
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "alive\n", done.stderr[-500:]


def test_what_is_missing_among_names_is_no_class():
    for bad in (["a", float("nan"), "b"], ["a", None, "b"], ("a", pd.NA, "b")):
        with pytest.raises(ValueError, match=r"in 1 rows \(1, counting from 0\)"):
            arrays.labels(bad)
    with pytest.raises(ValueError, match="must be finite"):
        arrays.labels([1.0, np.inf, 2.0])
    with pytest.raises(ValueError, match="complex"):
        arrays.labels(np.array([1j, 2.0]))
    X = np.random.default_rng(0).normal(size=(6, 4))
    with pytest.raises(ValueError, match="counting from 0"):
        SupervisedMDS("cluster").fit(X, np.array(["a", "b", None, "a", "b", "a"], dtype=object))


def test_a_gram_of_centred_rows_loses_no_digits_and_drops_what_is_constant():
    rows = np.float32(RNG.normal(size=(20, 6)))
    rows[:, 0] *= 1e4
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    np.testing.assert_array_equal(arrays.centred_gram(rows), centred @ centred.T)
    flat = rows.copy()
    flat[:, 0] = np.float32(1e4) + np.float32(1e-3) * np.arange(20)  # its last place
    expected = centred[:, 1:] @ centred[:, 1:].T
    dropped = arrays.centred_gram(flat, without_constant=True)
    np.testing.assert_allclose(dropped, expected, atol=1e-12)
    assert np.abs(arrays.centred_gram(flat) - expected).max() > 1e-6


def test_what_a_group_carries_twice_is_named():
    first, member = arrays.one_per_group(G, {"labels": Y, "points": np.stack([Y, -Y], axis=1)})
    np.testing.assert_array_equal(Y[first][member], Y)
    with pytest.raises(ValueError, match=r"unit '9' carries two points, \[1 0\] and \[1 1\]"):
        points = np.stack([Y, np.arange(40) == 39], axis=1).astype(int)
        arrays.one_per_group(G, {"labels": Y, "points": points}, unit="unit")
