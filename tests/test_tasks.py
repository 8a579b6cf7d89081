"""Tasks come back in order and the same however they were computed, and none is computed twice."""

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from circles import PERIOD, days_and_months
from records import gathered

from interp.probes import Probe, probe_grid
from interp.smds import Fit, Shape, smds_grid
from interp.smds._shapes import circular, line
from interp.stats import Resampling
from interp.tasks import Shared, Workers, digest, run_tasks
from interp.tasks._results import Unreadable, read, write


@dataclass(frozen=True)
class Point:
    name: str | None
    place: np.ndarray
    weight: float = 0.0


def scaled(point: Point, factor: float) -> Point:
    return replace(point, place=point.place * factor)


def noted(number: int, diary: Path) -> int:
    """Squares a number and leaves a line for it."""
    with diary.open("a") as file:
        file.write(f"{number}\n")
    return number**2


def alone(cache: Path) -> Workers:
    return Workers(n_jobs=1, cache=cache, progress=False)


# --- content -------------------------------------------------------------------------------------

ROW = np.arange(6.0)
DIFFERENT = [
    None, False, 0, 0.0, "0", b"0", "", [], (), {}, [0], [[0]], ["a", "b"], ["ab"], {"a": 1},
    {"a": "1"}, 1, 1.0, np.float64(1), np.float32(1), np.nan, -0.0, slice(0, 1), ROW,
    ROW.astype(np.float32), ROW.reshape(2, 3), ROW.reshape(3, 2), np.array(["a", "b"]),
    np.array(["ab", ""]), np.array(["a", "b"], dtype=object), Point("a", ROW), Point("a", ROW + 1),
    Point(None, ROW), circular(12), circular(365), line(0, 1), line(0, 2),
    Shape("mine", coordinates=lambda y: y * 2), Shape("mine", coordinates=lambda y: y * 3),
    partial(scaled, factor=2), partial(scaled, factor=3), scaled, np.sum, np.mean, Path("a"),
    Point("a", ROW).place.sum,
]  # fmt: skip


def test_different_contents_have_different_digests():
    digests = [digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)


def test_equal_contents_have_equal_digests():
    sliced = np.stack([ROW, ROW], axis=1)[:, 0]
    assert not sliced.flags.c_contiguous
    assert digest([Point("a", sliced), circular(12)]) == digest([Point("a", ROW), circular(12)])
    assert digest(Shared(ROW)) == digest(Shared(ROW.copy())) != digest(Shared(-ROW))


def test_digests_are_the_same_in_another_process():
    code = (
        "from interp.smds._shapes import circular; from interp.tasks import digest;"
        "print(digest([{'b': 1, 'a': 2}, circular(12), ('x', 1.5, None)]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    there = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert there.strip() == digest([{"b": 1, "a": 2}, circular(12), ("x", 1.5, None)])


def test_what_has_no_content_is_refused(tmp_path):
    with pytest.raises(ValueError, match="of type object has no content"):
        list(run_tasks(noted, [(object(), tmp_path)], workers=alone(tmp_path)))


class Slotted:
    __slots__ = ("number",)


class Mixed(Slotted):
    """With slots and a `__dict__`."""


def test_what_a_value_holds_out_of_sight_counts_or_is_refused():
    masked = [np.ma.array([1, 2, 3], mask=mask) for mask in ([0, 0, 1], [0, 1, 0])]
    mixed = [Mixed(), Mixed()]
    for number, value in enumerate(mixed):
        value.number = number
    for values in (masked, mixed, [random.Random(1), random.Random(2)]):
        assert digest(values[0]) != digest(values[1])
    assert digest(random.Random(1)) == digest(random.Random(1))
    assert digest(masked[0]) != digest(np.array([1, 2, 3]))
    for value in (np.random.default_rng(0), datetime.date(2000, 1, 1), pd.DataFrame({"a": [1]})):
        with pytest.raises(ValueError, match="has no content"):
            digest(value)


def test_text_is_hashed_by_its_bytes():
    """`repr` writes a character out or escapes it, by the Unicode tables of the interpreter."""
    texts = ["\U0001fae8", "\\U0001fae8", "'\U0001fae8'", "\ud800", "\\ud800", "e\u0301", "\xe9"]
    assert len({digest(text) for text in texts}) == len(texts)


def test_hashing_costs_little_beside_scoring():
    rows = np.random.default_rng(0).normal(size=(500, 576)).astype(np.float32)
    start = time.perf_counter()
    for _ in range(10):
        digest(rows)
    # 1.2 MB at some 1 GB/s; a cell of this size takes a tenth of a second and more to score
    assert (time.perf_counter() - start) / 10 < 0.02


# --- results -------------------------------------------------------------------------------------

RESULT = [
    Point("a", np.array([0.1, np.nan, -0.0, np.inf]), np.nan),
    {(1, True): None, "b": (1.5, "", -1)},
    np.float32(0.1),
    np.array(["x", "yz"]),
    np.zeros((0, 3), dtype=np.int8),
    True,
]


def same(found: object, expected: object) -> bool:
    """Equal to the last bit, with types and NaN."""
    if isinstance(expected, Point):
        assert isinstance(found, Point)
        return same(list(vars(found).values()), list(vars(expected).values()))
    if isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        return len(found) == len(expected) and all(map(same, found, expected))  # pyright: ignore
    if isinstance(expected, np.ndarray | np.generic):
        assert type(found) is type(expected) and found.dtype == expected.dtype  # pyright: ignore
        return found.shape == expected.shape and found.tobytes() == expected.tobytes()  # pyright: ignore
    return type(found) is type(expected) and (found == expected or repr(found) == repr(expected))


def test_results_come_back_as_they_were(tmp_path):
    write(tmp_path / "result.npz", RESULT)
    assert same(read(tmp_path / "result.npz", {"Point": Point}), RESULT)
    assert os.listdir(tmp_path) == ["result.npz"]


def test_only_named_dataclasses_come_back(tmp_path):
    write(tmp_path / "result.npz", RESULT)
    for classes in ({}, {"Point": os.system}, {"Point": Shared}):
        with pytest.raises(Unreadable):
            read(tmp_path / "result.npz", classes)
    with pytest.raises(ValueError, match="of type Path|of type PosixPath"):
        write(tmp_path / "path.npz", tmp_path)
    with pytest.raises(ValueError, match="array of objects"):
        write(tmp_path / "objects.npz", np.array([None]))
    assert os.listdir(tmp_path) == ["result.npz"]


def test_a_damaged_file_is_never_taken_for_a_result(tmp_path):
    path = tmp_path / "result.npz"
    write(path, RESULT[0])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Unreadable):
            read(path, {"Point": Point})
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(Unreadable):
            read(path, {"Point": Point})


def test_a_result_under_another_s_name_is_not_taken(tmp_path):
    write(tmp_path / "one.npz", 1)
    (tmp_path / "two.npz").write_bytes((tmp_path / "one.npz").read_bytes())
    assert read(tmp_path / "one.npz", {}) == 1
    with pytest.raises(Unreadable, match="is format 1 of one"):
        read(tmp_path / "two.npz", {})


def test_a_result_of_another_format_is_not_taken(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("interp.tasks._results.FORMAT", 2)
        write(tmp_path / "one.npz", 1)
    with pytest.raises(Unreadable, match="is format 2 of one"):
        read(tmp_path / "one.npz", {})


# --- running -------------------------------------------------------------------------------------


def test_tasks_come_back_in_order_and_only_new_ones_are_computed(tmp_path):
    cache, diary = tmp_path / "cache", tmp_path / "diary"
    run = partial(run_tasks, noted, workers=Workers(2, cache=cache))
    shared = Shared(diary)

    def squares(numbers) -> list[int]:
        return list(run((number, shared) for number in numbers))

    assert squares([5, 3, 4]) == [25, 9, 16]
    assert squares([3, 1, 5, 2, 4, 0]) == [9, 1, 25, 4, 16, 0]
    assert squares([]) == []
    assert sorted(map(int, diary.read_text().split())) == [0, 1, 2, 3, 4, 5]
    assert len(list(cache.iterdir())) == 6


def test_other_options_and_functions_have_results_of_their_own(tmp_path):
    points = [Point("a", ROW), Point("b", -ROW)]
    for factor in (2.0, 3.0, 2.0):
        found = run_tasks(scaled, [(p, factor) for p in points], workers=alone(tmp_path))
        for point, result in zip(points, found, strict=True):
            np.testing.assert_array_equal(result.place, point.place * factor)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_unknown_backend_and_a_missing_ray_say_what_to_do(monkeypatch):
    unchecked = SimpleNamespace(backend="dask")  # the tests' type checker would refuse it first
    with pytest.raises(ValueError, match="unknown backend 'dask'; choose from loky, ray"):
        Workers.__post_init__(cast(Any, unchecked))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'interp\[ray\]'"):
        list(run_tasks(scaled, [], workers=Workers(backend="ray")))


# --- grids ---------------------------------------------------------------------------------------


def cells(**options):
    """A grid of SMDS and one of probes over the same blocks."""
    rng = np.random.default_rng(3)
    days, months = days_and_months(rng, 90)
    X = rng.normal(size=(4, 6, 90, 40)).astype(np.float32)
    X[:, 2, :, 0] += days / 100
    X[2, 3] = 1.0  # a cell without scores, which has NaN and a status
    blocks = [(f"block {number}", block) for number, block in enumerate(X)]
    options = {"n_jobs": 1, "progress": False, "n_permutations": 20} | options
    options = gathered(options, resampling=Resampling, workers=Workers)
    circle = smds_grid(
        blocks, days, groups=np.arange(90), period=PERIOD, leave_out=months, **options
    )
    rows = [(name, block[2]) for name, block in blocks]
    halves = {"first": np.arange(45), "second": np.arange(45, 90)}
    summer = np.isin(months, [5, 6, 7]).astype(int)
    more = options | {"cells": halves, "probe": Probe(n_boot=20)}
    return circle, probe_grid(rows, summer, groups=np.arange(90), **more)


def assert_identical(found, expected):
    for one, other in zip(found, expected, strict=True):
        for field, value in vars(other).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(one, field), value, err_msg=field)


@pytest.fixture(scope="module")
def plain():
    return cells()


def test_workers_and_cache_change_no_bit(plain, tmp_path):
    assert_identical(cells(n_jobs=2, cache=tmp_path), plain)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 4 * 2 + 4 * 2  # runs of at most four of six positions; cells of probes
    assert_identical(cells(n_jobs=1, cache=tmp_path), plain)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_a_truncated_result_is_computed_again(plain, tmp_path):
    cells(cache=tmp_path)
    victim = min(tmp_path.iterdir())
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert_identical(cells(cache=tmp_path), plain)
    assert victim.read_bytes() == whole
    assert [p for p, time in before.items() if p.stat().st_mtime_ns != time] == [victim]


def test_whatever_changes_a_score_changes_its_key(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    X, days = rng.normal(size=(1, 1, 60, 8)), days_and_months(rng, 60)[0]
    plain = {"y": days, "groups": np.arange(60), "period": PERIOD, "n_permutations": 3}
    other = X.copy()
    other[0, 0, 59, 7] = np.nextafter(other[0, 0, 59, 7], 9)

    def score(X=X, **options):
        chosen = gathered(plain | options, fit=Fit, resampling=Resampling)
        smds_grid([("b", X[0])], **chosen, workers=alone(tmp_path))
        return len(list(tmp_path.iterdir()))

    assert score() == score() == 1
    changes = [
        {"X": other}, {"X": X.astype(np.float32)}, {"y": days[::-1]}, {"alpha": 2.0}, {"seed": 1},
        {"n_permutations": 4}, {"shapes": ["linear"]}, {"standardise": True}, {"period": 366},
        {"controls": {"reversed": days[None, ::-1]}}, {"source": 0},
    ]  # fmt: skip
    for number, change in enumerate(changes, start=2):
        assert score(**change) == number, change
    monkeypatch.setattr("interp.tasks._content.version", lambda name: f"another {name}")
    assert score() == len(changes) + 2


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_tasks import cells
if __name__ == "__main__":
    cells(n_jobs=2, cache=Path(sys.argv[2]), n_permutations=60)
"""


def test_a_killed_grid_goes_on_where_it_was(tmp_path):
    cache, script = tmp_path / "cache", tmp_path / "grid.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(cache)]
    process = subprocess.Popen(command, start_new_session=True)
    while len(list(cache.glob("*.npz"))) < 3:
        assert process.poll() is None, "the grid ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # with its workers, which would end their tasks
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("*.npz")}
    assert 3 <= len(kept) < 16
    resumed = cells(n_jobs=2, cache=cache, n_permutations=60)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(cache.glob("*.npz"))) == 16
    assert_identical(resumed, cells(n_permutations=60))


def test_ray_computes_the_same(plain, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray's backend was not run: pip install 'interp[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        assert_identical(cells(n_jobs=2, backend="ray", cache=tmp_path), plain)
        assert_identical(cells(cache=tmp_path), plain)
    finally:
        ray.shutdown()
