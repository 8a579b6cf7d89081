"""One function, many tasks: in order, a bounded number at a time, none computed twice.

1. A task is a tuple of arguments, read when a worker is about to be free.
2. With a cache, its key is the SHA-256 of the function, of the source it belongs to, and of the
   arguments' content. A result that lies under that key is taken, and no worker sees the task.
3. Otherwise a worker computes it with one BLAS thread and writes it under the key before it hands
   it back, so that whatever stops the caller, only tasks under way are computed again.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from interp.tasks._content import Shared, digest, surroundings
from interp.tasks._results import Unreadable, read, write

Backend = Literal["loky", "ray"]
"""Processes of this machine, or those of a Ray cluster."""

Task = tuple[Any, ...]
Result = TypeVar("Result")

COMPUTED = object()
"""Stands in the queue of results for one that comes from a worker."""


@dataclass(frozen=True)
class Workers:
    """Who computes the tasks of a grid, and where their results are kept.

    Results are the same to the last bit whatever the fields. Raises ValueError for an unknown
    backend.
    """

    n_jobs: int | None = None
    """Processes; None takes every core, or every core of a Ray cluster."""
    backend: Backend = "loky"
    """"ray" goes through Ray's joblib backend: the cluster at RAY_ADDRESS, else one started on this
    machine. It yields nothing before all tasks are done."""
    cache: Path | None = None
    """Directory of results by content, by which a grid that was interrupted goes on; None keeps
    none. Workers on other machines must see it too. Its files may be deleted at any time."""
    progress: bool | str = True
    """A progress bar, under a name if one is given."""

    def __post_init__(self) -> None:
        if self.backend not in ("loky", "ray"):
            raise ValueError(f"unknown backend {self.backend!r}; choose from loky, ray")

    def named(self, name: str) -> "Workers":
        """The same with the progress bar, if there is one, under this name."""
        return replace(self, progress=self.progress and name)


def run_tasks(
    function: Callable[..., Result], tasks: Iterable[Task], *, workers: Workers = Workers()
) -> Iterator[Result]:
    """`function(*task)` of every task, in order.

    Args:
        function: A function of a module; workers run it on one BLAS thread each.
        tasks: Tuples of arguments, read one at a time: at most `n_jobs` + 1 tasks are under way or
            ahead, and joblib may hold on to two that are done. A `Shared` among the arguments is
            handed over as its value.
        workers: Who computes, and where results are kept. The progress bar counts the entries of
            results that are lists.

    Raises ValueError for "ray" without Ray, and, with a cache, arguments or results whose content
    cannot be told or kept.
    """
    name = workers.progress if isinstance(workers.progress, str) else None
    with tqdm(unit=" cells", desc=name, disable=not workers.progress) as bar:
        for result in _results(function, tasks, workers):
            bar.update(len(result) if isinstance(result, list) else 1)
            yield result


def _results(
    function: Callable[..., Result], tasks: Iterable[Task], workers: Workers
) -> Iterator[Result]:
    if workers.cache is None:
        calls = (delayed(function)(*_values(task)) for task in tasks)
        yield from _in_workers(calls, workers.n_jobs, workers.backend)
        return
    found: deque[Any] = deque()
    calls = _missing(function, tasks, workers.cache, found)
    for result in _in_workers(calls, workers.n_jobs, workers.backend):
        while (known := found.popleft()) is not COMPUTED:
            yield known
        yield result
    yield from found


def _values(task: Task) -> Task:
    return tuple(part.value if isinstance(part, Shared) else part for part in task)


def _missing(
    function: Callable, tasks: Iterable[Task], cache: Path, found: deque[Any]
) -> Iterator[Any]:
    """Calls for the tasks without a result; `found` fills with results and where calls stand."""
    setting = digest([function, surroundings(function)])
    # Only dataclasses that the function's own module knows can come back from a file.
    classes = vars(sys.modules[function.__module__])
    for task in tasks:
        path = cache / f"{digest([setting, *task])}.npz"
        try:
            found.append(read(path, classes))
        except Unreadable:
            found.append(COMPUTED)
            yield delayed(_kept)(path, function, *_values(task))
        del task  # or it would be held while the next one is read


def _kept(path: Path, function: Callable[..., Result], *arguments: Any) -> Result:
    result = function(*arguments)
    write(path, result)
    return result


def _in_workers(calls: Iterable[Any], n_jobs: int | None, backend: Backend) -> Iterator[Any]:
    if backend == "ray":
        _register_ray()
        calls = ((_on_one_thread, (function, *rest), named) for function, rest, named in calls)
    # Processes, not threads: LAPACK is called through wrappers that keep the interpreter lock. 16
    # cells of SMDS on two cores took 9.0 s in sequence, 6.0 s in two processes, 10.3 s in two
    # threads.
    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with threadpool_limits(1, user_api="blas"), parallel_config(backend, **threads):
        parallel = Parallel(
            n_jobs or (-1 if backend == "ray" else os.cpu_count() or 1),
            return_as="generator" if backend == "loky" else "list",  # Ray's has no generator
            # bounds the look-ahead, and so the memory, whatever the number of tasks
            pre_dispatch="n_jobs + 1",
            batch_size=1,  # pyright: ignore[reportArgumentType]  (joblib annotates its default)
        )
        yield from cast(Iterable[Any], parallel(calls))


def _on_one_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    with threadpool_limits(1, user_api="blas"):
        return function(*arguments)


def _register_ray() -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ValueError("backend='ray' needs Ray: pip install 'interp[ray]'") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    register_ray()
