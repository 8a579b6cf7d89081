"""Shards by the workers of a Ray cluster, each with a model of its own.

1. Samples and plan go into Ray's object store once. Every worker (an actor, a process that stays)
   loads the model, checks that it is the one that planned the store, and says that it is ready.
2. A ready worker is handed one shard; it computes and writes it, and returns its line of the
   manifest, never a tensor. Only then does it get the next: a slow disk slows the workers down,
   and nothing piles up or is dropped.
3. The shard of a worker that dies goes back to the front of the queue, and another worker takes
   its place. What it had written stays. A shard at which workers die `DEATHS` times is reported.
4. An exception of ours, such as a text that is too long, ends the run as it would have here.

Ray (Moritz et al. 2018, OSDI, "Ray: a distributed framework for emerging AI applications") does
the scheduling, the watching over processes, and the transport.
"""

import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.extract._job import Job
from interp.extract._worker import Worker
from interp.files import Place
from interp.store import Row

DEATHS = 3
"""Deaths of workers at one shard, or in a row while loading, after which there is a cause."""

LOADING = -1
"""In the place of a shard's number: a worker that loads its model."""


@dataclass(frozen=True)
class Assignment:
    """What every worker is told once."""

    job: Job
    """What is computed."""
    path: Place
    """The store's directory, which its driver has locked."""
    loader: Callable[[], TransformerBridge]
    """Gives the model."""
    threads: int
    """How many PyTorch uses, as in the driver: sums split otherwise may differ in the last bits."""


class Remote:
    """What runs in a worker's process."""

    # Nothing happens on the way into being: Ray would report an error there as a death.

    def prepare(self, assignment: Assignment) -> None:
        """Load the model, and make sure that this is the right place with the right model."""
        if not (assignment.path / "plan.json").exists():
            raise ValueError(
                f"a worker on {socket.gethostname()} does not see {assignment.path}: a store that "
                "several processes write must be on storage that all of them share"
            )
        torch.set_num_threads(assignment.threads)
        model = assignment.loader()
        assignment.job.require_same_model(model)
        self._worker, self._path = Worker(model, assignment.job), assignment.path

    def write(self, shard: int) -> Row:
        """Compute and write a shard."""
        return self._worker.write(shard, self._path)


def on_ray(
    job: Job,
    path: Place,
    pending: Sequence[int],
    done: Callable[[int, Row], object],
    loader: Callable[[], TransformerBridge],
    *,
    workers: int | None,
) -> None:
    """Have shards written by Ray's workers, telling `done` of each.

    Connects to the cluster of `RAY_ADDRESS`, or the one on this machine, or starts one here and
    stops it at the end. `workers` is by default the cluster's number of GPUs or, without any, of
    CPUs over `torch.get_num_threads()`; more of them than the cluster holds wait for room.

    Raises:
        ValueError: Ray is not installed, the cluster has no room for a worker, a worker sees
            another model or not the store, or as in `Worker`.
        RuntimeError: workers keep dying at one shard, or while loading.
    """
    if not pending:
        return
    with _cluster() as ray:
        threads = torch.get_num_threads()
        with_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        room = int(ray.cluster_resources().get("GPU" if with_gpu else "CPU", 0))
        n_workers = min(len(pending), workers or (room if with_gpu else room // threads))
        if n_workers < 1:
            raise ValueError(
                f"the Ray cluster has {room} CPUs and a worker wants {threads}, as many as the "
                "threads here; lower torch.set_num_threads or add nodes"
            )
        actor = ray.remote(num_cpus=threads, num_gpus=int(with_gpu), max_restarts=0)(Remote)
        told = ray.put(Assignment(job, path.absolute(), loader, threads))
        _Crew(ray, actor.remote, told, path).run(pending, n_workers, done)


@contextmanager
def _cluster() -> Iterator[Any]:
    try:
        import ray
    except ImportError:
        raise ValueError("executor='ray' needs Ray: pip install 'interp[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


class _Crew:
    """The driver's side: who is alive, and at which shard."""

    def __init__(self, ray: Any, spawn: Callable[[], Any], told: Any, path: Place):
        self._ray, self._spawn, self._told, self._path = ray, spawn, told, path
        self._at_work: dict[Any, tuple[Any, int]] = {}  # by the result that is awaited
        self._deaths: Counter[int] = Counter()

    def run(
        self, pending: Sequence[int], n_workers: int, done: Callable[[int, Any], object]
    ) -> None:
        """Return when every shard is written."""
        queue, left = deque(pending), len(pending)
        try:
            for _ in range(n_workers):
                self._hire()
            while left:
                (result,), _ = self._ray.wait(list(self._at_work), num_returns=1)
                worker, shard = self._at_work.pop(result)
                alive, row = self._result(result, shard)
                if row is not None:
                    done(shard, row)
                    left -= 1
                if not alive:
                    self._ray.kill(worker)  # dead, or out of reach and soon in the way
                    if shard != LOADING:
                        queue.appendleft(shard)
                    self._hire()
                elif queue:
                    shard = queue.popleft()
                    self._at_work[worker.write.remote(shard)] = (worker, shard)
                else:
                    self._ray.kill(worker)
        finally:
            for worker, _ in self._at_work.values():
                self._ray.kill(worker)

    def _hire(self) -> None:
        worker = self._spawn()
        self._at_work[worker.prepare.remote(self._told)] = (worker, LOADING)

    def _result(self, result: Any, shard: int) -> tuple[bool, Any]:
        """Whether the worker lives, and what it wrote."""
        errors = self._ray.exceptions
        try:
            row = self._ray.get(result)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from error
            raise
        except errors.RayError as error:
            self._deaths[shard] += 1
            if self._deaths[shard] >= DEATHS:
                at = "loading the model" if shard == LOADING else f"shard {shard} of {self._path}"
                reason = str(error).partition("\n")[0]
                raise RuntimeError(
                    f"{DEATHS} workers died at {at}, perhaps for want of memory; the last: {reason}"
                ) from error
            return False, None
        if shard == LOADING:
            self._deaths[LOADING] = 0
        return True, row
