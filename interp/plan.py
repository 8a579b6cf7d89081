"""What a store of activations holds: two stores with equal plans hold equal activations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np
import torch

FORMAT = 1
"""Version of the layout on disk."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What activations may be stored as. Not float16: residual streams reach 1e5 in real models, and
float16 ends at 65,504."""


@dataclass(frozen=True)
class Rank:
    """One of several processes that share a store's shards without speaking to one another."""

    number: int
    """Counted from 0."""
    world: int
    """How many there are."""

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.world:
            raise ValueError(
                f"rank {self.number} of {self.world}: ranks count from 0 to {self.world - 1}"
            )

    def __str__(self) -> str:
        return f"rank {self.number} of {self.world}"

    def shards(self, n_shards: int) -> range:
        """Its shards: every `world`-th of all, whatever is done already, so that a rank that
        starts again has the same ones."""
        return range(self.number, n_shards, self.world)


@dataclass(frozen=True)
class Plan:
    """What a store holds. Two stores with equal plans hold equal activations."""

    model: str
    """SHA-256 of what determines the activations: weights, tokenizer, dtype, folding."""
    texts: str
    """SHA-256 over texts and spans."""
    n_samples: int
    """Number of samples."""
    hooks: Mapping[str, Sequence[int]]
    """Hook names, and the shape of one activation under each."""
    positions: Sequence[str]
    """Names of the positions, in the order of the tensors' second axis."""
    rules: Sequence[Literal["last", "first", "mean"]]
    """For every position, which token of a span stands for it."""
    dtype: str
    """What activations are stored as."""
    shard_size: int
    """Samples per shard."""
    format: int = FORMAT
    """Version of the layout on disk."""

    def as_dict(self) -> dict:
        """A copy as JSON would give it back."""
        return json.loads(json.dumps(asdict(self), default=dict))

    @classmethod
    def from_dict(cls, stored: Mapping, where: object) -> "Plan":
        """The plan that a file holds, as `as_dict` gave it.

        Raises:
            ValueError: it is of another format, or lacks or adds an entry; names `where`.
        """
        form = stored.get("format")
        if form != FORMAT:
            raise ValueError(
                f"{where} has format {form}, and this version reads format {FORMAT}: extract "
                "again, or read it with the version that wrote it"
            )
        names, known = set(stored) - {"source"}, {entry.name for entry in fields(cls)}
        if names != known:
            raise ValueError(
                f"{where} is no plan: entries {', '.join(sorted(names ^ known))} differ"
            )
        return cls(**{name: stored[name] for name in known})

    def key(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def n_shards(self) -> int:
        """Number of shards, the last of which may be short."""
        return -(-self.n_samples // self.shard_size)

    def rows(self, shard: int) -> range:
        """Which places of the store's order a shard holds."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.n_samples))

    def bytes_per_sample(self) -> int:
        """Size of one sample's activations on disk."""
        width = sum(int(np.prod(shape)) for shape in self.hooks.values())
        return width * len(self.positions) * DTYPES[self.dtype].itemsize


def changes(old: Mapping, new: Mapping) -> list[str]:
    """What differs between two plans in the form of `Plan.as_dict`, in words. An entry `source`
    (`Source.as_dict`) in both says what of a model differs."""
    found = []
    for key in (key for key in new if key != "source" and old.get(key) != new[key]):
        before, after = old.get(key), new[key]
        if key == "model":
            parts = _model_changes(old.get("source", {}), new.get("source", {}))
            found.append(f"model changed ({', '.join(parts)})" if parts else "model changed")
        elif key == "texts":
            found.append("texts or spans changed")
        elif key == "hooks":
            found.append(f"hooks changed ({_entries(before or {}, after)})")
        else:
            found.append(f"{key} changed ({_short(before)} -> {_short(after)})")
    # of two plans that differ in what is stored, the size of a shard only follows
    return [c for c in found if len(found) == 1 or not c.startswith("shard_size")]


def _model_changes(old: Mapping, new: Mapping) -> list[str]:
    parts = []
    if old.get("files") and new.get("files") and old["files"] != new["files"]:
        parts.append(_entries(old["files"], new["files"]))
    # files, dtype and folding, where they differ, say it of the parameters
    told = parts or any(key in old and old[key] != new.get(key) for key in ("dtype", "folded"))
    for key in (*(() if told else ("parameters",)), "config", "tokenizer", "dtype", "folded"):
        if key in old and key in new and old[key] != new[key]:
            parts.append(f"{key} {_short(old[key])} -> {_short(new[key])}")
    return parts


def _entries(old: Mapping, new: Mapping) -> str:
    """Entries that one of two mappings lacks or has otherwise; the first few of them."""
    parts = [f"without {key}" for key in old if key not in new]
    parts += [f"with {key}" for key in new if key not in old]
    changed = (key for key in new if key in old and old[key] != new[key])
    parts += [f"{key} {_short(old[key])} -> {_short(new[key])}" for key in changed]
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:8]}..." if len(text) == 64 and text.isalnum() else text  # a SHA-256
