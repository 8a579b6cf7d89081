"""Activations to read from: in memory, or in a complete store."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from upath import UPath

from interp.files import Place, place
from interp.plan import DTYPES, Plan
from interp.store._shards import SAMPLES, Row, Shards, corrupt, read_tensors


@dataclass(frozen=True)
class Activations:
    """Activations in memory, read like a `Store`."""

    tensors: Mapping[str, Float[torch.Tensor, "sample position *d"]]
    """By hook name."""
    positions: tuple[str, ...]
    """Names along the position axis."""
    logits: Shaped[torch.Tensor, "sample *kept"] | None = None
    """What `extract` was asked to keep of the logits, as it was given."""

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hook names, in the order they were asked for."""
        return tuple(self.tensors)

    def read(self, hook: str) -> Float[np.ndarray, "sample position *d"]:
        """All activations under one hook, in float32.

        Raises:
            ValueError: the hook was not extracted.
        """
        _require(hook, self.hooks)
        return self.tensors[hook].float().numpy()


@dataclass(frozen=True)
class Store:
    """A complete store on disk. Made by `extract`, opened with `Store.open`."""

    path: Place
    """The directory."""
    plan: Plan
    """What it holds."""
    source: Mapping
    """Where the model came from: name, kind, revision, hashes, dtype."""
    shards: tuple[Mapping, ...]
    """File name, SHA-256 and size of every shard."""

    @classmethod
    def open(cls, path: str | Path | UPath) -> "Store":
        """Open a complete store, by its path or its address.

        Raises:
            ValueError: there is none, it is incomplete, or a shard is missing or truncated.
        """
        path = place(path)
        if not (path / "manifest.json").exists():
            state = "an unfinished store" if (path / "plan.json").exists() else "no store"
            raise ValueError(f"{path} holds {state}: there is no manifest.json")
        manifest = json.loads((path / "manifest.json").read_text())
        plan = Plan.from_dict(manifest["plan"], path / "manifest.json")
        if (path / "plan.json").exists():
            planned = Plan.from_dict(
                json.loads((path / "plan.json").read_text()), path / "plan.json"
            )
            if planned.key() != plan.key():
                raise ValueError(f"{path}: its manifest is not that of its plan.json")
        if len(manifest["shards"]) != plan.n_shards:
            raise ValueError(
                f"{path}: {len(manifest['shards'])} shards in its manifest, {plan.n_shards} planned"
            )
        shards = Shards(path, plan)
        for number, row in enumerate(manifest["shards"]):
            if row.get("file") != shards.name(number):
                raise ValueError(
                    f"{path}: its manifest has {row.get('file')!r} in the place of "
                    f"{shards.name(number)!r}"
                )
        store = cls(path, plan, manifest["source"], tuple(manifest["shards"]))
        store._hold(bytes_too=False)
        return store

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hook names."""
        return tuple(self.plan.hooks)

    @property
    def positions(self) -> tuple[str, ...]:
        """Names along the position axis."""
        return tuple(self.plan.positions)

    def read(self, hook: str) -> Float[np.ndarray, "sample position *d"]:
        """All activations under one hook, in float32 and in the order of the samples.

        Raises:
            ValueError: the hook is not in the store, or a shard cannot be read.
        """
        _require(hook, self.hooks)
        shape = (self.plan.n_samples, len(self.positions), *self.plan.hooks[hook])
        out = np.empty(shape, dtype=np.float32)
        read = np.zeros(self.plan.n_samples, dtype=int)
        shards = Shards(self.path, self.plan)
        for number, shard in enumerate(self.shards):
            file = self.path / shard["file"]
            found = read_tensors(file, (SAMPLES, hook))
            if found.stamp != shards.stamp(number):
                raise corrupt(file, f"it is stamped {found.stamp!r}, a shard of another store")
            rows, values = found.tensors[SAMPLES].numpy(), found.tensors[hook]
            expected = (len(self.plan.rows(number)), *shape[1:])
            if values.shape != expected or values.dtype != DTYPES[self.plan.dtype]:
                raise corrupt(
                    file, f"{hook} is {values.dtype} {list(values.shape)}, planned {list(expected)}"
                )
            whole = rows.dtype == np.int64 and len(rows) == len(values)
            if not whole or rows.min() < 0 or rows.max() >= len(out):
                raise corrupt(file, "its sample numbers are not those of its rows")
            out[rows] = values.float().numpy()
            np.add.at(read, rows, 1)
        if (read != 1).any():
            sample = int((read != 1).argmax())
            raise corrupt(self.path, f"sample {sample} is in it {read[sample]} times")
        return out

    def verify(self) -> None:
        """Compare every shard with its SHA-256.

        Raises:
            ValueError: names the first shard that differs.
        """
        self._hold(bytes_too=True)

    def _hold(self, *, bytes_too: bool) -> None:
        shards = Shards(self.path, self.plan)
        for number, row in enumerate(self.shards):
            problem = shards.problem(number, Row(**row), bytes_too=bytes_too)
            if problem is not None:
                raise corrupt(shards.file(number), problem)


def by_position(
    source: Activations | Store,
    *,
    hooks: Sequence[str] | None = None,
    positions: Sequence[str] | None = None,
) -> Iterator[tuple[str, Float[np.ndarray, "position sample d"]]]:
    """One hook after another, position first: the form that the grids of methods take.

    Raises:
        ValueError: a position that was not extracted.
    """
    names = source.positions if positions is None else tuple(positions)
    for name in names:
        if name not in source.positions:
            raise ValueError(f"position {name!r} was not extracted; {', '.join(source.positions)}")
    index = [source.positions.index(name) for name in names]
    for hook in hooks or source.hooks:
        yield hook, np.ascontiguousarray(source.read(hook)[:, index].swapaxes(0, 1))


def _require(hook: str, hooks: tuple[str, ...]) -> None:
    if hook not in hooks:
        raise ValueError(f"hook {hook!r} was not extracted; there are {', '.join(hooks)}")
