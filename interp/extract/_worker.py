"""Computes shards with one model: the same work in every executor."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from interp.batch import padded_batch
from interp.extract._forward import LOGITS, forward
from interp.extract._job import Job
from interp.files import Place
from interp.model import company, padding_id
from interp.plan import DTYPES
from interp.positions import Aligned, Sample, align
from interp.store import Activations, Row, Shards

ALIGNED = 512
"""Texts aligned at a time. Their tokens with offsets take some 100 bytes each, which for a whole
shard of narrow activations, of a hundred thousand texts, was as much again as all libraries."""


class Worker:
    """A model and a job; keeps no more than one shard in memory."""

    def __init__(
        self,
        model: TransformerBridge,
        job: Job,
        *,
        advance: Callable[[int], object] = lambda n: None,  # noqa: ARG005
    ):
        """`advance` is told of every number of texts that is done."""
        self._model, self._job, self._plan, self._advance = model, job, job.plan, advance
        self._rows = job.rows()
        self._batch_size = job.batch_size

    def to_memory(self) -> Activations:
        """All samples, in their own order."""
        tensors = self._empty(self._plan.n_samples)
        for rows in self._rows:
            self._fill(rows, rows, tensors)
        logits = tensors.pop(LOGITS, None)
        return Activations(tensors, tuple(self._plan.positions), logits)

    def write(self, shard: int, path: Place) -> Row:
        """Compute one shard and write it into the store at `path`."""
        rows = self._rows[shard]
        tensors = self._empty(len(rows))
        self._fill(rows, np.arange(len(rows)), tensors)
        return Shards(path, self._plan).write(shard, torch.from_numpy(rows), tensors)

    def _empty(self, n: int) -> dict[str, torch.Tensor]:
        dtype, n_positions = DTYPES[self._plan.dtype], len(self._plan.positions)
        shapes = self._plan.hooks.items()
        return {hook: torch.empty((n, n_positions, *shape), dtype=dtype) for hook, shape in shapes}

    def _fill(
        self,
        rows: Int[np.ndarray, " row"],
        places: Int[np.ndarray, " row"],
        tensors: dict[str, torch.Tensor],
    ) -> None:
        """Compute the numbered samples and put them at the given places of the tensors."""
        for start in range(0, len(rows), ALIGNED):
            some = slice(start, start + ALIGNED)
            self._fill_some(rows[some], places[some], tensors)

    def _fill_some(
        self,
        rows: Int[np.ndarray, " row"],
        places: Int[np.ndarray, " row"],
        tensors: dict[str, torch.Tensor],
    ) -> None:
        aligned = self._align(rows)
        order = np.argsort([len(a.ids) for a in aligned], kind="stable")
        queue = order if self._job.edit is None else np.arange(len(aligned))
        while len(queue):
            chosen = self._company([aligned[i] for i in queue[: self._batch_size]], queue)
            try:
                with self._edited(rows[chosen]):
                    got = self._run([aligned[i] for i in chosen])
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            for name, values in got.items():
                if name == LOGITS and name not in tensors:  # their shape is the caller's
                    tensors[name] = values.new_empty((self._plan.n_samples, *values.shape[1:]))
                elif name != LOGITS:
                    self._check_finite(name, values, rows[chosen])
                tensors[name][torch.from_numpy(places[chosen])] = values
            queue = queue[len(chosen) :]
            self._advance(len(chosen))

    def _edited(self, rows: Int[np.ndarray, " row"]) -> AbstractContextManager[None]:
        """The edit of these samples, to be entered."""
        if self._job.edit is None:
            return nullcontext()
        context = self._job.edit(rows)
        if not isinstance(context, AbstractContextManager):
            raise ValueError(f"edit gave {context!r}; it must give a context, as steer(...) does")
        return context

    def _company(
        self, aligned: list[Aligned], queue: Int[np.ndarray, " _"]
    ) -> Int[np.ndarray, " _"]:
        """The first of a queue that may share a batch: where a model computes otherwise beyond a
        length, rows on both sides of it would change one another."""
        config = self._model.original_model.config
        sides = [company(config, len(a.ids)) for a in aligned]
        same = next((i for i, side in enumerate(sides) if side != sides[0]), len(sides))
        return queue[:same]

    def _align(self, rows: Int[np.ndarray, " row"]) -> list[Aligned]:
        return align(
            self._model.tokenizer,
            [self._job.samples[row] for row in rows],
            self._plan.positions,
            max_tokens=self._model.cfg.n_ctx,
            n_vocabulary=self._model.original_model.get_input_embeddings().weight.shape[0],  # pyright: ignore[reportCallIssue]
            numbers=rows.tolist(),
        )

    def _halve(self) -> None:
        if self._batch_size == 1:
            raise RuntimeError("out of GPU memory with a batch of one text") from None
        self._batch_size //= 2
        torch.cuda.empty_cache()
        tqdm.write(f"Out of GPU memory: going on with batch_size={self._batch_size}", sys.stderr)

    def _run(self, aligned: list[Aligned]) -> dict[str, torch.Tensor]:
        model, pad = self._model, padding_id(self._model)
        batch = padded_batch(aligned, self._plan.rules, pad=pad, device=str(model.cfg.device))
        keep = None if self._job.logits is None else torch.unique(batch.index)
        read = partial(_picked, index=batch.index, weight=batch.weight)
        got = forward(model, tuple(self._plan.hooks), batch.ids, batch.mask, read, keep)
        dtype, logits = DTYPES[self._plan.dtype], got.pop(LOGITS, None)
        tensors = {hook: tensor.to("cpu", dtype) for hook, tensor in got.items()}
        if self._job.logits is not None and logits is not None and keep is not None:
            index = torch.searchsorted(keep, batch.index)
            kept = self._job.logits(_picked(logits, index=index, weight=batch.weight))
            tensors[LOGITS] = self._checked(kept, len(aligned)).cpu()
        return tensors

    def _checked(self, kept: object, n_rows: int) -> torch.Tensor:
        """What the caller's function kept of the logits, a row for each text."""
        if not isinstance(kept, torch.Tensor) or not kept.ndim or len(kept) != n_rows:
            shape = list(kept.shape) if isinstance(kept, torch.Tensor) else repr(kept)
            raise ValueError(
                f"logits gave {shape} for a batch of {n_rows}; it must give a tensor [batch, ...]"
            )
        return kept

    def _check_finite(
        self, hook: str, values: torch.Tensor, numbers: Int[np.ndarray, " row"]
    ) -> None:
        if torch.isfinite(values).all():
            return
        bad = int((~torch.isfinite(values.flatten(1))).any(1).nonzero()[0])
        raise ValueError(
            f"non-finite activation in sample {numbers[bad]} at {hook} "
            f"(model in {str(self._model.cfg.dtype).removeprefix('torch.')}, "
            f"stored as {self._plan.dtype}): {self._shown(int(numbers[bad]))}"
        )

    def _shown(self, number: int) -> str:
        """The start of a text, for an error."""
        sample = self._job.samples[number]
        if isinstance(sample, Sample):
            return repr(sample.text[:60])
        return repr(self._model.tokenizer.decode(sample.ids)[:60])


def _picked(
    tensor: Float[torch.Tensor, "batch token *d"],
    *,
    index: Int[torch.Tensor, "batch position choice"],
    weight: Float[torch.Tensor, "batch position choice"],
) -> Float[torch.Tensor, "batch position *d"]:
    """The tokens of each position, or their mean where there are several."""
    index, weight = index.to(tensor.device), weight.to(tensor.device)
    picked = tensor[torch.arange(len(index), device=tensor.device)[:, None, None], index]
    if index.shape[-1] == 1:
        return picked[:, :, 0]
    picked = picked.float()  # a mean over tokens in 16 bits would add rounding of its own
    axes = "batch position choice ..., batch position choice -> batch position ..."
    return einsum(picked, weight, axes)
