"""Whoever computes the shards, and whoever is killed meanwhile, the same bytes are left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from recorded_model import files, finished, loader, passes, recorded, samples
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer

from interp.extract import Stores, Unfinished, extract
from interp.extract import _call as call
from interp.extract import _job as job
from interp.extract._rank import rank_of_environment
from interp.extract._ray_workers import Assignment, Remote, _Crew
from interp.model import load, resid_post, source
from interp.plan import Rank
from interp.positions import Sample
from interp.run import StudyConfig, run_command
from interp.store import Store

TEXTS = samples(96)
N_SHARDS = 6
HOOKS = [resid_post(0), resid_post(2)]
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "SLURM_NTASKS")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 1)  # 16 samples a shard, the least
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    tiny_hf("llama").save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def bridge(checkpoint):
    return load(checkpoint, device="cpu")


@pytest.fixture
def take(bridge):
    """An extraction that differs in nothing but what the test asks for."""
    return partial(extract, bridge, TEXTS, hooks=HOOKS, progress=False)


@pytest.fixture
def expected(take, tmp_path):
    return files(take(out=tmp_path / "expected").path)


def _wait_for(condition, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- ranks ---------------------------------------------------------------------------------------


def _as_rank(take, variables, outcomes) -> None:
    os.environ.update(variables)
    try:
        take(executor="rank")
    except Unfinished:
        outcomes.put("unfinished")
    else:
        outcomes.put("complete")


@pytest.mark.parametrize("launcher", ["torchrun", "array"])
def test_three_ranks_at_a_time_leave_the_bytes_of_one_process(take, expected, tmp_path, launcher):
    # forked, since what is asked is whether processes get in each other's way
    fork = multiprocessing.get_context("fork")
    outcomes, processes = fork.Queue(), []
    for rank in range(3):
        variables = {"RANK": str(rank), "WORLD_SIZE": "3"}
        if launcher == "array":
            variables = {"SLURM_ARRAY_TASK_ID": str(10 + 2 * rank), "SLURM_ARRAY_TASK_COUNT": "3"}
            variables |= {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2"}
        arguments = (partial(take, out=tmp_path / "ranks"), variables, outcomes)
        processes.append(fork.Process(target=_as_rank, args=arguments))
        processes[-1].start()
    found = sorted(outcomes.get(timeout=90) for _ in processes)
    for process in processes:
        process.join()
    assert found[0] == "complete" and set(found) <= {"complete", "unfinished"}
    assert files(tmp_path / "ranks") == expected


def test_a_rank_writes_its_own_shards_and_does_not_wait(take, expected, tmp_path, monkeypatch):
    out = tmp_path / "ranks"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(Unfinished, match="rank 1 of 3: its 2 shards are done; 4 of 6 .* wait for"):
        take(out=out, executor="rank")
    first = finished(out)
    assert sorted(first) == ["shard-00001.safetensors", "shard-00004.safetensors"]
    with pytest.raises(ValueError, match="an unfinished store"):
        Store.open(out)

    monkeypatch.setenv("RANK", "2")
    with pytest.raises(Unfinished, match="2 of 6"):
        take(out=out, executor="rank")
    # a sibling's shard that was cut off counts as missing; its own rank mends it
    damaged = out / "shard-00004.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(Unfinished, match="1 of 6"):
        take(out=out, executor="rank")
    monkeypatch.setenv("RANK", "1")
    assert isinstance(take(out=out, executor="rank"), Store)
    assert (out / "shard-00001.safetensors").stat().st_mtime_ns == first["shard-00001.safetensors"][1]  # fmt: skip # noqa: E501
    assert files(out) == expected


def test_ranks_come_from_the_launchers_variables():
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}
    srun = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    assert rank_of_environment({"RANK": "2", "WORLD_SIZE": "8"} | array) == Rank(2, 8)
    assert rank_of_environment(array | srun) == Rank(2, 4)
    assert rank_of_environment({"SLURM_PROCID": "5", "SLURM_NTASKS": "6"}) == Rank(5, 6)
    assert list(Rank(2, 4).shards(11)) == [2, 6, 10]
    shared = sorted(s for number in range(4) for s in Rank(number, 4).shards(11))
    assert shared == list(range(11))
    for given, message in [
        ({}, "finds no rank in the environment.*torchrun.*SLURM array.*srun"),
        ({"RANK": "0"}, "RANK=0 without WORLD_SIZE, of torchrun"),
        ({"RANK": "3", "WORLD_SIZE": "3"}, "RANK=3 and WORLD_SIZE=3 are no rank"),
        ({"RANK": "one", "WORLD_SIZE": "3"}, "RANK='one' is no whole number"),
        (array | {"SLURM_ARRAY_TASK_ID": "7"}, "TASK_ID=7 .*number an array evenly"),
    ]:
        with pytest.raises(ValueError, match=message):
            rank_of_environment(given)


def test_executors_name_what_they_lack(take, tmp_path):
    for arguments, message in [
        (dict(executor="ray"), "executor='ray' writes a store; give it a directory"),
        (dict(executor="rank", out=tmp_path / "s"), "finds no rank in the environment"),
        (dict(workers=2, out=tmp_path / "s"), "workers = 2; .*executor='ray', not 'local'"),
        (dict(workers=0, executor="ray", out=tmp_path / "s"), "workers = 0; give 1 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            take(**arguments)
    with pytest.raises(ValueError, match="executor = 'dask'; choose from local, rank, ray"):
        call._check_executor(
            "dask", None, None, tmp_path
        )  # the annotation of `extract` refuses it here
    memory = tiny_bridge("llama")
    with pytest.raises(ValueError, match="handed over in memory.*pass loader="):
        extract(memory, TEXTS, hooks=HOOKS, out=tmp_path / "s", executor="ray", progress=False)
    assert not (tmp_path / "s").exists()


def test_a_command_of_a_rank_says_that_others_are_not_done(bridge, tmp_path, monkeypatch, capsys):
    def main(config):
        return Stores.of(config).extract("x", bridge, TEXTS, hooks=HOOKS).path

    monkeypatch.setenv("WORLD_SIZE", "2")
    run = partial(run_command, main, StudyConfig, prog="x", description="")
    options = ["x", "--executor", "rank", "--store", str(tmp_path), "--batch-size", "8"]
    for rank in "01":
        monkeypatch.setattr(sys, "argv", options)
        monkeypatch.setenv("RANK", rank)
        run()  # without a traceback, and with exit status 0
        told = capsys.readouterr()
        if rank == "0":
            assert "rank 0 of 2: its 3 shards are done; 3 of 6" in told.err and not told.out
    assert Store.open(told.out.strip()).plan.n_shards == N_SHARDS


# --- Ray -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'interp[ray]'")
    # for the workers: the models of the tests, and no less of the machine than others have
    os.environ |= {"PYTHONPATH": str(Path(__file__).parent), "RAY_worker_niceness": "0"}
    address = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False).address_info
    yield address["gcs_address"]
    ray.shutdown()


@pytest.fixture
def in_flight(cluster, monkeypatch):  # noqa: ARG001 (it must be there)
    """How many results were awaited at a time."""
    import ray

    counts, plain = [], ray.wait

    def wait(refs, **kwargs):
        counts.append(len(refs))
        return plain(refs, **kwargs)

    monkeypatch.setattr(ray, "wait", wait)
    return counts


def test_ray_leaves_the_bytes_of_one_process(take, expected, tmp_path, in_flight):
    store = take(out=tmp_path / "ray", executor="ray", workers=2)
    assert files(store.path) == expected
    # no more than a shard for each worker, however many there are to do: and none is dropped
    assert max(in_flight) <= 2 and len(in_flight) >= N_SHARDS
    assert take(out=tmp_path / "ray", executor="ray").plan == store.plan  # there is nothing to do


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_the_shard_in_flight_and_no_more(
    take, expected, checkpoint, tmp_path
):
    log, out, survived = tmp_path / "log", tmp_path / "ray", {}

    def kill() -> None:
        # the second shard of one worker has begun, and takes a second
        _wait_for(lambda: len(passes(log)) > len(set(passes(log))))
        survived.update(finished(out))
        os.kill(passes(log)[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    slow = loader(checkpoint, log, pause=1.0)
    take(out=out, executor="ray", workers=2, loader=slow)
    killer.join()
    assert files(out) == expected
    assert len(passes(log)) == N_SHARDS + 1  # of 16 texts each: a shard is one pass
    # two workers, and a third in the killed one's place if it is ready before all is done
    assert 2 <= len(set(passes(log))) <= 3
    for name, (inode, written) in survived.items():
        assert ((out / name).stat().st_ino, (out / name).stat().st_mtime_ns) == (inode, written)
    assert survived


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from interp.extract import _job as job
from interp.extract import extract
from interp.model import load
from recorded_model import loader, samples
job.SHARD_BYTES = 1
slow = loader(Path({checkpoint!r}), Path({log!r}), 1.0)
bridge = load({checkpoint!r}, device="cpu")
extract(bridge, samples(96), hooks={hooks!r}, out={out!r}, executor="ray", workers=2, loader=slow)
"""


def test_a_killed_driver_is_taken_over_from(expected, checkpoint, tmp_path, cluster):
    log, out = tmp_path / "log", tmp_path / "ray"
    code = DRIVER.format(tests=str(Path(__file__).parent), checkpoint=str(checkpoint), log=str(log), hooks=HOOKS, out=str(out))  # fmt: skip # noqa: E501
    driver = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"RAY_ADDRESS": cluster},
        stderr=subprocess.DEVNULL,
    )
    _wait_for(lambda: len(finished(out)) >= 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _wait_for(lambda: not any(_alive(pid) for pid in set(passes(log))))
    before, survived = len(passes(log)), finished(out)
    assert 2 <= len(survived) < N_SHARDS
    assert before - len(survived) <= 2  # at most a shard for each worker was in flight

    # by another executor even
    extract(recorded(checkpoint, log, 0.0), TEXTS, hooks=HOOKS, out=out, progress=False)
    assert files(out) == expected
    assert len(passes(log)) - before == N_SHARDS - len(survived)
    for name, (inode, written) in survived.items():
        assert ((out / name).stat().st_ino, (out / name).stat().st_mtime_ns) == (inode, written)


@pytest.mark.usefixtures("cluster")
def test_workers_that_keep_dying_are_reported_with_their_shard():
    import ray

    class Fragile:
        def prepare(self, told):
            if told == "stillborn":
                os._exit(1)

        def write(self, shard):
            if shard == 2:
                os._exit(1)
            return f"row {shard}"

    rows, spawn = {}, ray.remote(num_cpus=0)(Fragile).remote
    with pytest.raises(RuntimeError, match="3 workers died at shard 2 of store"):
        _Crew(ray, spawn, None, Path("store")).run(range(4), 2, rows.__setitem__)
    assert rows.items() <= {0: "row 0", 1: "row 1", 3: "row 3"}.items()
    with pytest.raises(RuntimeError, match="3 workers died at loading the model"):
        _Crew(ray, spawn, "stillborn", Path("store")).run([0], 1, print)


@pytest.mark.usefixtures("cluster")
def test_an_error_in_a_worker_arrives_as_it_is(bridge, tmp_path):
    long = [*TEXTS[:20], Sample("word " * 300, dict(TEXTS[0].spans))]
    arguments = dict(hooks=HOOKS, out=tmp_path / "s", workers=1, progress=False)
    with pytest.raises(ValueError, match=r"^sample 20 has .* tokens, more than the context of 160"):
        extract(bridge, long, executor="ray", **arguments)


def test_a_worker_refuses_another_model_and_storage_of_its_own(bridge, tmp_path):
    """What it would find on a node with other files, or without the shared file system."""
    task = job.Job(
        TEXTS, job.plan_for(bridge, source(bridge), TEXTS, HOOKS, None, "last", None), 16
    )
    other = partial(tiny_bridge, "llama", seed=1)
    with pytest.raises(ValueError, match="a worker on .* does not see .*that all of them share"):
        Remote().prepare(Assignment(task, tmp_path, other, 1))
    (tmp_path / "plan.json").touch()
    with pytest.raises(ValueError, match="a worker loaded another model .* its model differ;"):
        Remote().prepare(Assignment(task, tmp_path, other, 1))
