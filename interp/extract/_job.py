"""What is to be computed, settled before anything is: which texts, hooks, positions, shards."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from transformer_lens.model_bridge import TransformerBridge

from interp.extract._forward import shapes
from interp.model import Source, check_hooks, source
from interp.plan import DTYPES, Plan
from interp.positions import RULES, Aligned, Rule, Sample, fingerprint

BatchEdit = Callable[[Int[np.ndarray, " batch"]], AbstractContextManager[None]]
"""Opens the edit of a batch, given the numbers of its samples."""

LogitReader = Callable[
    [Float[torch.Tensor, "batch position vocabulary"]], Shaped[torch.Tensor, "batch *kept"]
]
"""From a batch's logits at the positions to what is kept of them."""

SHARD_BYTES = 128_000_000
"""Upper bound of a shard, and so of what a killed run computes again and of what writing to disk
holds in memory; 128 MB is about 50 samples of 32 hooks x 33 positions x d 576."""

SHARD_TEXTS = 4096
"""The same in texts, which bounds narrow shards: what a worker loses when it dies, and how evenly
many workers share a store."""


@dataclass(frozen=True)
class Job:
    """All that the contents of a shard follow from, the model apart."""

    samples: Sequence[Sample | Aligned]
    """Texts with named spans, or tokens with places, in the caller's order."""
    plan: Plan
    """What the store holds."""
    batch_size: int
    """Texts per forward pass."""
    edit: BatchEdit | None = None
    """What is done to each batch."""
    logits: LogitReader | None = None
    """What is kept of each batch's logits."""

    def rows(self) -> list[Int[np.ndarray, " row"]]:
        """Numbers of the samples of every shard: the samples in the order of their length, edited
        ones in their own."""
        if self.edit is not None:
            return [np.arange(len(self.samples))]
        lengths = [len(s.text if isinstance(s, Sample) else s.ids) for s in self.samples]
        order = np.argsort(lengths, kind="stable")
        return [order[list(self.plan.rows(shard))] for shard in range(self.plan.n_shards)]

    def require_same_model(self, model: TransformerBridge) -> None:
        """Refuse a model that another process loaded and that would give other activations.

        Raises:
            ValueError: names what differs.
        """
        found = replace(
            self.plan, model=source(model).digest(), hooks=shapes(model, tuple(self.plan.hooks))
        )
        given, own = found.as_dict(), self.plan.as_dict()
        different = [name for name in ("model", "hooks") if given[name] != own[name]]
        if different:
            raise ValueError(
                f"a worker loaded another model than the one that planned the store: its "
                f"{' and '.join(different)} differ; every node needs the same files"
            )


def plan_for(
    model: TransformerBridge,
    origin: Source | None,
    samples: Sequence,
    hooks: str | Sequence[str],
    positions: str | Sequence[str] | None,
    rule: str | Mapping[str, str],
    dtype: str | None,
) -> Plan:
    """The plan of an extraction, whose model stays unnamed without an origin.

    Raises:
        ValueError: no samples or positions, or unknown hooks, rules or dtype.
    """
    _check_samples(samples)
    names = tuple(samples[0].spans) if positions is None else _distinct("positions", positions)
    rules = _rules(rule, names)
    if not names:
        raise ValueError("there are no positions to read: the first sample has no spans")
    if dtype is None:
        dtype = "bfloat16" if model.cfg.dtype == torch.bfloat16 else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"cannot store as {dtype!r}; choose from {', '.join(DTYPES)}")
    wanted = _distinct("hooks", hooks)
    check_hooks(model, wanted)
    found = shapes(model, wanted)
    one = sum(int(np.prod(shape)) for shape in found.values()) * len(names)
    return Plan(
        model="" if origin is None else origin.digest(),
        texts=fingerprint(samples),
        n_samples=len(samples),
        hooks=found,
        positions=names,
        rules=rules,
        dtype=dtype,
        shard_size=max(
            16, min(SHARD_TEXTS, SHARD_BYTES // max(1, one * DTYPES[dtype].itemsize) // 16 * 16)
        ),
    )


def _check_samples(samples: object) -> None:
    if isinstance(samples, str | Mapping) or not isinstance(samples, Sequence):
        raise ValueError(f"samples must be a list of Sample, not {type(samples).__name__}")
    if not samples:
        raise ValueError("there are no samples to extract from")
    # the first stands for all: a file of samples makes them when they are asked for
    if not isinstance(samples[0], Sample | Aligned):
        raise ValueError(
            f"samples holds {samples[0]!r}: give Sample(text, {{name: (start, stop)}}), a text "
            "with the places to read; find(text, word) gives a place"
        )


def _distinct(argument: str, names: str | Sequence[str]) -> tuple[str, ...]:
    """Names in order, one string being one name."""
    several = (names,) if isinstance(names, str) else tuple(names)
    for name in several:
        if not isinstance(name, str):
            raise ValueError(f"{argument} holds {name!r}, which is no name")
    return tuple(dict.fromkeys(several))


def _rules(rule: str | Mapping[str, str], names: tuple[str, ...]) -> tuple[Rule, ...]:
    if isinstance(rule, Mapping) and (unknown := [name for name in rule if name not in names]):
        raise ValueError(
            f"rule names the position {unknown[0]!r}, which is not read; positions: "
            f"{', '.join(names)}"
        )
    chosen = [rule.get(n, "last") if isinstance(rule, Mapping) else rule for n in names]
    for name in chosen:
        if name not in RULES:
            raise ValueError(f"unknown rule {name!r}; choose from {', '.join(RULES)}")
    return tuple(cast(Rule, name) for name in chosen)
