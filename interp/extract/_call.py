"""One call from model and samples to activations, whoever computes them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge
from upath import UPath

from interp.extract._job import BatchEdit, Job, LogitReader, plan_for
from interp.extract._rank import rank_of_environment
from interp.extract._ray_workers import on_ray
from interp.extract._worker import Worker
from interp.files import Place, place
from interp.intervene import active
from interp.model import dropout, foreign, origin, source
from interp.store import Activations, Row, Store, Writer

Executor = Literal["local", "rank", "ray"]
"""Who computes shards: this process; this process those of its rank; workers of a Ray cluster."""


def extract(
    model: TransformerBridge,
    samples: Sequence,
    *,
    hooks: str | Sequence[str],
    positions: str | Sequence[str] | None = None,
    rule: str | Mapping[str, str] = "last",
    out: str | Path | UPath | None = None,
    batch_size: int = 16,
    dtype: str | None = None,
    edit: BatchEdit | None = None,
    logits: LogitReader | None = None,
    executor: Executor = "local",
    workers: int | None = None,
    loader: Callable[[], TransformerBridge] | None = None,
    progress: bool = True,
) -> Activations | Store:
    """Activations [sample, position, ...] under each hook.

    Args:
        model: A bridge from `interp.model.load`, or any TransformerBridge.
        samples: Texts with spans, `Sample`s, or tokens, `Aligned`, with positions "0", "1", ...
        hooks: Names of points [batch, position, ...], or one; none are needed with `logits`.
        positions: Names of spans to read, or one; by default all that the first sample has.
        rule: What stands for a span's tokens: `last`, `first` or `mean`, or one by position.
        out: Directory of a store, or its address (`s3://...`), `{key}` standing for the start of
            the plan's hash; None keeps all in memory. A partial store is completed.
        batch_size: Texts per forward pass. On a GPU that runs out of memory it is halved.
        dtype: `float32` or `bfloat16`; by default the model's own, and float32 for a float16 model.
        edit: Opens the edit of a batch, given the numbers of its samples, which run in order, as in
            `lambda rows: patch(model, {hook: values[rows]}, positions=places[rows])`. In memory.
        logits: Maps logits [batch, position, vocabulary] to what is kept of them. In memory.
        executor: `local` (this process), `rank` (one of torchrun's or SLURM's) or `ray`.
        workers: Of Ray; by default one for each GPU or, without any, as many as the CPUs allow.
        loader: How a worker of Ray loads the model; by default as `interp.model.load` did here.
        progress: Show a progress bar on stderr.

    Raises:
        ValueError: no samples or hooks, an unknown name or rule, a hook that never fires or has
            other axes, a text that is too long, non-finite activations, a directory that holds
            something else, or an executor, `edit` or `logits` that cannot apply.
        OSError: the disk is full; what was written is kept.
        RuntimeError: `Unfinished` (other ranks' shards), `Locked`, or Ray's workers keep dying.
    """
    _check_batches(batch_size, {"edit": edit, "logits": logits}, out)
    _check_hooks(hooks, logits)
    _refuse_edited(model, out)
    _check_executor(executor, workers, loader, out)
    rank = rank_of_environment() if executor == "rank" else None
    spread = (loader or _recorded_loader(model), workers) if executor == "ray" else None
    # hashing the weights takes longer than many a run that only memory sees
    identity = None if out is None else source(model)
    plan = plan_for(model, identity, samples, hooks, positions, rule, dtype)
    job = Job(samples, plan, batch_size, edit, logits)
    bar_for = partial(_bar, origin(model).name, job, progress)
    if out is not None and identity is not None:
        writer = Writer(_expanded(out, plan.key()[:16]), plan, identity.as_dict(), rank=rank)
        return _to_disk(model, job, writer, spread, bar_for)
    with bar_for(range(plan.n_shards)) as bar:
        return Worker(model, job, advance=bar.update).to_memory()


def _check_hooks(hooks: str | Sequence[str], logits: LogitReader | None) -> None:
    if not hooks and logits is None:
        raise ValueError("there are no hooks to read; points(model) lists them")


def _to_disk(
    model: TransformerBridge,
    job: Job,
    writer: Writer,
    spread: tuple[Callable[[], TransformerBridge], int | None] | None,
    bar_for: Callable[[Sequence[int]], tqdm],
) -> Store:
    """By this process or, with a loader and a number of workers, by Ray's."""
    path = writer.shards.path
    with writer, bar_for(writer.pending) as bar:
        if spread is not None:
            loader, workers = spread
            on_ray(job, path, writer.pending, partial(_note, writer, bar), loader, workers=workers)
        else:
            worker = Worker(model, job, advance=bar.update)
            for shard in writer.pending:
                writer.done(shard, worker.write(shard, path))
        return writer.finish()


def _check_batches(
    batch_size: object, functions: Mapping[str, object], out: str | Path | UPath | None
) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size = {batch_size!r}; it must be a whole number of at least 1")
    for name, function in functions.items():
        if function is None:
            continue
        if not callable(function):
            example = "rows: steer(...)" if name == "edit" else "logits: logits.log_softmax(-1)"
            raise ValueError(f"{name} = {function!r}; give a function, such as lambda {example}")
        if out is not None:
            raise ValueError(
                f"{name}= goes with out=None: a store on disk would pass for the unedited model's "
                "activations, and functions have no hash"
            )


def _refuse_edited(model: TransformerBridge, out: object) -> None:
    if dropping := dropout(model):
        raise ValueError(
            f"the model is in training mode and drops out at random ({dropping}): call model.eval()"
        )
    if out is None:
        return
    if edited := active(model):
        raise ValueError(
            f"a context edits {', '.join(edited)}: a store on disk would pass for the unedited "
            "model's; use out=None inside of it"
        )
    if attached := foreign(model):
        more = f" and {len(attached) - 3} more" if len(attached) > 3 else ""
        raise ValueError(
            f"somebody's hooks or forwards are on the model, {', '.join(attached[:3])}{more}: a "
            "store on disk would pass for the model without them; remove them "
            "(model.reset_hooks(), or the handles of torch), or use out=None"
        )


def _check_executor(executor: str, workers: int | None, loader: object, out: object) -> None:
    if loader is not None and executor != "ray":
        raise ValueError(f"loader is for executor='ray'; {executor!r} computes with this model")
    if executor not in get_args(Executor):
        raise ValueError(f"executor = {executor!r}; choose from {', '.join(get_args(Executor))}")
    if workers is not None and (workers < 1 or executor != "ray"):
        raise ValueError(
            f"workers = {workers}; give 1 or more, and executor='ray', not {executor!r}"
        )
    if out is None and executor != "local":
        raise ValueError(f"executor={executor!r} writes a store; give it a directory, out=...")


def _recorded_loader(model: TransformerBridge) -> Callable[[], TransformerBridge]:
    loader = getattr(model, "interp_loader", None)
    if loader is None:
        raise ValueError(
            "the model was handed over in memory, so workers cannot load it again: pass loader=, "
            "a function without arguments that gives this model"
        )
    return loader


def _expanded(out: str | Place, key: str) -> Place:
    found = place(out)
    text = str(found).replace("{key}", key)
    return Path(text) if isinstance(found, Path) else UPath(text, **found.storage_options)


def _bar(name: str, job: Job, progress: bool, pending: Sequence[int]) -> tqdm:
    return tqdm(
        total=job.plan.n_samples,
        initial=job.plan.n_samples - sum(len(job.plan.rows(shard)) for shard in pending),
        desc=f"activations of {name}",
        unit="text",
        disable=not progress,
        file=sys.stderr,
    )


def _note(writer: Writer, bar: tqdm, shard: int, row: Row) -> None:
    writer.done(shard, row)
    bar.update(len(writer.plan.rows(shard)))
