"""Named directions: their file, readout exports, and principal components."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from interp.directions import (
    Directions,
    load_directions,
    principal_components,
    save_directions,
)
from interp.readout import Readouts, save_concepts, save_readouts

N, D = 4, 32


def named_directions() -> Directions:
    rows = np.random.default_rng(5).standard_normal((N, D))
    return Directions(tuple("abcd"), rows, np.array([0.4, 0.3, 0.2, 0.1]), 1, "made for tests")


def test_directions_come_back_from_their_file(tmp_path):
    made = named_directions()
    save_directions(tmp_path / "v.safetensors", made)
    read = load_directions(tmp_path / "v.safetensors")
    assert read.names == made.names and read.block == 1 and read.note == made.note
    assert np.allclose(read.vectors, made.vectors, atol=1e-7)
    assert np.allclose(np.linalg.norm(read.vectors, axis=1), 1)
    assert read.leading() == 0 and read.first(2).labels() == ["a (40.0 %)", "b (30.0 %)"]


def test_a_file_of_one_tensor_a_direction_needs_no_metadata(tmp_path):
    save_file({"y": np.ones(D), "x": np.arange(D, dtype=float)}, tmp_path / "v.safetensors")
    read = load_directions(tmp_path / "v.safetensors")
    assert read.names == ("x", "y") and read.variance is None and read.leading() is None


def readout_export(folder: Path, width: int = D) -> Path:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2, 3, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    shape = (2, 3)
    readouts = Readouts(
        ("calm", "joy", "fear"), (0, 2), vectors,
        np.ones(shape), np.full(shape, "ok"), np.full(3, 5),
    )  # fmt: skip
    folder.mkdir()
    save_readouts(folder, readouts)
    save_concepts(folder, readouts)
    return folder


def test_a_readout_export_gives_its_concepts_at_a_block(tmp_path):
    folder = readout_export(tmp_path / "export")
    read = load_directions(folder, block=0)
    assert read.names == ("calm", "joy", "fear") and read.block == 0
    joy = load_directions(folder / "joy.safetensors", block=0)
    assert joy.names == ("joy",)
    assert np.allclose(joy.vectors[0], read.vectors[1], atol=1e-3)  # the export is in float16
    assert load_directions(folder / "readout.safetensors").block == 2
    with pytest.raises(ValueError, match=r"no block 1; choose from \(0, 2\)"):
        load_directions(folder, block=1)


def test_components_have_fixed_signs_and_shares_of_variance():
    rng = np.random.default_rng(2)
    skewed = rng.exponential(size=(400, 3)) * [6, 3, 1.5]
    rows = np.zeros((400, D))
    rows[:, :3] = skewed
    rows += 0.1 * rng.standard_normal(rows.shape) + 5
    components = principal_components(rows, 3, block=7)
    again = principal_components(rows[::-1], 3, block=7)
    assert np.allclose(components.vectors, again.vectors, atol=1e-8)
    unit = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True))
    scores = (unit - unit.mean(axis=0)) @ components.vectors.T
    assert ((scores**3).sum(axis=0) > 0).all()
    assert components.variance is not None
    assert np.allclose(components.variance, scores.var(axis=0) / unit.var(axis=0).sum())
    assert components.leading() == 0 and components.block == 7
    with pytest.raises(ValueError, match="400 components cannot be had from 400 residuals"):
        principal_components(rows, 400, block=0)
