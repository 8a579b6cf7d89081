"""Read activations at named places of many texts, in memory or onto disk.

1. A short text is run to learn each hook's shape, and that every hook fires.
2. Samples are sorted by length and cut into shards; within a shard they are batched by their
   number of tokens, right-padded, and run with an explicit mask.
3. Each hook gathers the wanted positions on the device, as a copy of a few rows instead of the
   whole tensor; the hook that completes the set stops the forward pass, so nothing past the last
   block asked for is computed, and no logits ever.
4. Activations are checked to be finite, cast, and written shard by shard.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from einops import einsum
from jaxtyping import Int
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from interp.batch import padded_batch
from interp.intervene import active
from interp.model import Source, check_hooks, source
from interp.plan import DTYPES, Plan
from interp.positions import RULES, Aligned, Rule, Sample, align, fingerprint
from interp.store import Activations, Store, Writer

SHARD_BYTES = 128_000_000
"""Upper bound of a shard, and so of what a killed run computes again and of what writing to disk
holds in memory; 128 MB is about 50 samples of 32 hooks x 33 positions x d 576."""


def extract(
    model: TransformerBridge,
    samples: Sequence[Sample],
    *,
    hooks: Sequence[str],
    positions: Sequence[str] | None = None,
    rule: str | Mapping[str, str] = "last",
    out: str | Path | None = None,
    batch_size: int = 16,
    dtype: str | None = None,
    progress: bool = True,
) -> Activations | Store:
    """Activations [sample, position, ...] under each hook.

    Args:
        model: A bridge from `interp.model.load`, or any TransformerBridge.
        samples: Texts with named spans.
        hooks: Hook names; their tensors must begin with the axes batch and position.
        positions: Names of spans to read; by default all that the first sample has.
        rule: Which token stands for a span of several, `last`, `first` or `mean`: one rule, or
            rules by position name (`last` for those not named).
        out: Directory of a store on disk, `{key}` in it standing for the start of the plan's
            hash; None keeps everything in memory. A directory that holds a part of the same
            store is completed, a complete one is verified and opened.
        batch_size: Texts per forward pass. On a GPU that runs out of memory it is halved.
        dtype: What to store, `float32` or `bfloat16`; by default the model's own, and float32
            for a float16 model, whose residual stream may exceed what float16 holds.
        progress: Show a progress bar on stderr.

    Raises:
        ValueError: no samples or hooks, an unknown hook, position or rule, a hook that never fires
            or has other axes, a text that is too long, non-finite activations, or a directory
            that holds something else.
        OSError: the disk is full; what was written is kept.
    """
    if not samples:
        raise ValueError("there are no samples to extract from")
    if not hooks:
        raise ValueError("there are no hooks to read; points(model) lists them")
    if out is not None and (edited := active(model)):
        raise ValueError(
            f"a context edits {', '.join(edited)}: a store on disk would pass for the unedited "
            "model's; use out=None inside of it"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}; it must be at least 1")
    names = tuple(samples[0].spans) if positions is None else tuple(positions)
    origin = source(model)
    wanted = tuple(dict.fromkeys(hooks))
    plan = _plan(model, origin, samples, wanted, names, _rules(rule, names), dtype)
    order = np.argsort([len(sample.text) for sample in samples], kind="stable")
    run = _Extraction(model, origin, samples, plan, order, batch_size, progress)
    if out is None:
        return run.to_memory()
    return run.to_disk(Path(str(out).replace("{key}", plan.key()[:16])).expanduser())


def _rules(rule: str | Mapping[str, str], names: tuple[str, ...]) -> tuple[Rule, ...]:
    chosen = [rule.get(n, "last") if isinstance(rule, Mapping) else rule for n in names]
    for name in chosen:
        if name not in RULES:
            raise ValueError(f"unknown rule {name!r}; choose from {', '.join(RULES)}")
    return tuple(cast(Rule, name) for name in chosen)


def _plan(
    model: TransformerBridge,
    origin: Source,
    samples: Sequence[Sample],
    hooks: tuple[str, ...],
    names: tuple[str, ...],
    rules: tuple[Rule, ...],
    dtype: str | None,
) -> Plan:
    if not names:
        raise ValueError("there are no positions to read: the first sample has no spans")
    if dtype is None:
        dtype = "bfloat16" if model.cfg.dtype == torch.bfloat16 else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"cannot store as {dtype!r}; choose from {', '.join(DTYPES)}")
    check_hooks(model, hooks)
    shapes = _shapes(model, hooks)
    one = sum(int(np.prod(shape)) for shape in shapes.values()) * len(names)
    shard_size = max(16, SHARD_BYTES // (one * DTYPES[dtype].itemsize) // 16 * 16)
    return Plan(
        model=origin.digest(),
        texts=fingerprint(samples),
        n_samples=len(samples),
        hooks=shapes,
        positions=names,
        rules=rules,
        dtype=dtype,
        shard_size=shard_size,
    )


def _shapes(model: TransformerBridge, hooks: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Shape of one activation under every hook, from a run over one short text."""
    n_batch, n_tokens = 1, 13  # no model has 13 heads, which would pass for the position axis
    ids = torch.zeros((n_batch, n_tokens), dtype=torch.long, device=model.cfg.device)
    got = _forward(model, hooks, ids, torch.ones_like(ids), lambda tensor: tensor)
    for hook, tensor in got.items():
        if tuple(tensor.shape[:2]) != (n_batch, n_tokens):
            raise ValueError(
                f"hook {hook!r} has shape {list(tensor.shape)} for {n_tokens} tokens; extract "
                "reads hooks whose first axes are batch and position"
            )
    return {hook: tuple(got[hook].shape[2:]) for hook in hooks}


def _forward(
    model: TransformerBridge,
    hooks: Sequence[str],
    ids: Int[torch.Tensor, "batch token"],
    mask: Int[torch.Tensor, "batch token"],
    read: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Run until every hook has fired, keeping `read` of each hook's tensor."""
    got: dict[str, torch.Tensor] = {}

    def hook_for(name: str) -> tuple[str, Callable]:
        def hook_fn(tensor: torch.Tensor, hook: object) -> None:  # noqa: ARG001 (TransformerLens's signature)
            got[name] = read(tensor)
            if len(got) == len(hooks):
                raise StopAtLayerException(tensor)

        return name, hook_fn

    with torch.no_grad():
        model.run_with_hooks(
            ids,
            fwd_hooks=[hook_for(name) for name in hooks],
            attention_mask=mask,
            output_attentions=False,
            use_cache=False,
            return_type=None,
        )
    silent = [name for name in hooks if name not in got]
    if silent:
        raise ValueError(f"hooks that never fire in this model: {', '.join(silent)}")
    return got


class _Extraction:
    """The state of one call: everything that every shard needs."""

    def __init__(
        self,
        model: TransformerBridge,
        origin: Source,
        samples: Sequence[Sample],
        plan: Plan,
        order: Int[np.ndarray, " sample"],
        batch_size: int,
        progress: bool,
    ):
        self.model, self.samples, self.plan, self.order = model, samples, plan, order
        self.origin, self.batch_size, self.progress = origin, batch_size, progress

    def to_memory(self) -> Activations:
        """All samples as one block of memory."""
        tensors = self._empty(len(self.samples))
        with self._bar(done=0) as bar:
            for shard in range(self.plan.n_shards):
                rows = self.order[list(self.plan.rows(shard))]
                self._fill(rows, rows, tensors, bar)
        return Activations(tensors, tuple(self.plan.positions))

    def to_disk(self, path: Path) -> Store:
        """Shard by shard, skipping those that are there."""
        writer = Writer(path, self.plan, self.origin.as_dict())
        done = len(self.samples) - sum(len(self.plan.rows(shard)) for shard in writer.pending)
        with self._bar(done) as bar:
            for shard in writer.pending:
                rows = self.order[list(self.plan.rows(shard))]
                tensors = self._empty(len(rows))
                self._fill(rows, np.arange(len(rows)), tensors, bar)
                writer.write(shard, torch.from_numpy(rows), tensors)
        return writer.finish()

    def _bar(self, done: int) -> tqdm:
        return tqdm(
            total=len(self.samples),
            initial=done,
            desc=f"activations of {self.origin.name}",
            unit="text",
            disable=not self.progress,
            file=sys.stderr,
        )

    def _empty(self, n: int) -> dict[str, torch.Tensor]:
        dtype, n_positions = DTYPES[self.plan.dtype], len(self.plan.positions)
        shapes = self.plan.hooks.items()
        return {hook: torch.empty((n, n_positions, *shape), dtype=dtype) for hook, shape in shapes}

    def _fill(
        self,
        rows: Int[np.ndarray, " row"],
        places: Int[np.ndarray, " row"],
        tensors: dict[str, torch.Tensor],
        bar: tqdm,
    ) -> None:
        """Compute the numbered samples and put them at the given places of the tensors."""
        aligned = self._align(rows)
        queue = np.argsort([len(a.ids) for a in aligned], kind="stable")
        while len(queue):
            chosen = queue[: self.batch_size]
            try:
                got = self._run([aligned[i] for i in chosen])
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            for hook, values in got.items():
                self._check_finite(hook, values, rows[chosen])
                tensors[hook][torch.from_numpy(places[chosen])] = values
            queue = queue[self.batch_size :]
            bar.update(len(chosen))

    def _align(self, rows: Int[np.ndarray, " row"]) -> list[Aligned]:
        return align(
            self.model.tokenizer,
            [self.samples[row] for row in rows],
            self.plan.positions,
            max_tokens=self.model.cfg.n_ctx,
            numbers=rows.tolist(),
        )

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise RuntimeError("out of GPU memory with a batch of one text") from None
        self.batch_size //= 2
        torch.cuda.empty_cache()
        tqdm.write(f"Out of GPU memory: going on with batch_size={self.batch_size}", sys.stderr)

    def _run(self, aligned: list[Aligned]) -> dict[str, torch.Tensor]:
        pad = self.model.tokenizer.pad_token_id
        batch = padded_batch(aligned, self.plan.rules, pad=pad, device=str(self.model.cfg.device))
        rows = torch.arange(len(aligned), device=batch.ids.device)[:, None, None]

        def read(tensor: torch.Tensor) -> torch.Tensor:
            index, weight = batch.index.to(tensor.device), batch.weight.to(tensor.device)
            picked = tensor[rows.to(tensor.device), index]
            if index.shape[-1] == 1:
                return picked[:, :, 0]
            picked = picked.float()  # a mean over tokens in 16 bits would add rounding of its own
            axes = "batch position choice ..., batch position choice -> batch position ..."
            return einsum(picked, weight, axes)

        got = _forward(self.model, tuple(self.plan.hooks), batch.ids, batch.mask, read)
        dtype = DTYPES[self.plan.dtype]
        return {hook: tensor.to("cpu", dtype) for hook, tensor in got.items()}

    def _check_finite(
        self, hook: str, values: torch.Tensor, numbers: Int[np.ndarray, " row"]
    ) -> None:
        if torch.isfinite(values).all():
            return
        bad = int((~torch.isfinite(values.flatten(1))).any(1).nonzero()[0])
        raise ValueError(
            f"non-finite activation in sample {numbers[bad]} at {hook} "
            f"(model in {self.origin.dtype}, stored as {self.plan.dtype}): "
            f"{self.samples[numbers[bad]].text[:60]!r}"
        )
