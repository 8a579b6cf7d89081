"""Activations on disk: safetensors shards and a manifest that is written last.

    plan.json               what is to be computed, written first
    shard-00000.safetensors one tensor [sample, position, ...] per hook, and the samples' numbers
    manifest.json           the plan and the SHA-256 of every shard; its presence means complete

A shard is written under a temporary name and renamed, so that a process killed at any moment
leaves whole shards only. Whoever starts again with the same plan computes the missing ones, and
ends with the same bytes. Reading one hook maps that hook's part of the shards and nothing else.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from interp.files import sha256, whole, write_atomically
from interp.plan import Plan

SAMPLES = "sample_numbers"
"""Name of the tensor in each shard that says which samples its rows are: a store keeps samples
sorted by length, and gives them back in their own order."""


@dataclass(frozen=True)
class Activations:
    """Activations in memory, read like a `Store`."""

    tensors: Mapping[str, Float[torch.Tensor, "sample position *d"]]
    """By hook name."""
    positions: tuple[str, ...]
    """Names along the position axis."""

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

    path: Path
    """The directory."""
    plan: Plan
    """What it holds."""
    source: Mapping
    """Where the model came from: name, kind, revision, hashes, dtype."""
    shards: tuple[Mapping, ...]
    """File name, SHA-256 and size of every shard."""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a complete store.

        Raises:
            ValueError: there is none, it is incomplete, or a shard is missing or truncated.
        """
        path = Path(path)
        if not (path / "manifest.json").exists():
            state = "an unfinished store" if (path / "plan.json").exists() else "no store"
            raise ValueError(f"{path} holds {state}: there is no manifest.json")
        manifest = json.loads((path / "manifest.json").read_text())
        plan = Plan(**manifest["plan"])
        store = cls(path, plan, manifest["source"], tuple(manifest["shards"]))
        for shard in store.shards:
            file = path / shard["file"]
            found = file.stat().st_size if file.exists() else 0
            if found != shard["bytes"]:
                raise _corrupt(file, f"{found} bytes where the manifest says {shard['bytes']}")
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
        for shard in self.shards:
            file = self.path / shard["file"]
            out[_read_tensor(file, SAMPLES).numpy()] = _read_tensor(file, hook).float().numpy()
        return out

    def verify(self) -> None:
        """Compare every shard with its SHA-256.

        Raises:
            ValueError: names the first shard that differs.
        """
        for shard in self.shards:
            if sha256(self.path / shard["file"]) != shard["sha256"]:
                raise _corrupt(self.path / shard["file"], "its SHA-256 is not the manifest's")


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


class Writer:
    """Writes the shards of one plan into a directory, going on where an earlier writer stopped."""

    def __init__(self, path: Path, plan: Plan, source: Mapping):
        """
        `source` says where the model came from, for the manifest alone: a model asked for under
        another name is the same model.

        Raises:
            ValueError: the directory holds a store of another plan, or other files.
        """
        self.path, self.plan, self.source = path, plan, source
        self._hashes: dict[int, str] = {}
        path.mkdir(parents=True, exist_ok=True)
        self._claim()
        self.pending = [shard for shard in range(plan.n_shards) if not self._whole(shard)]
        """Shards that are not there, or not whole."""
        needed = sum(len(plan.rows(shard)) for shard in self.pending) * plan.bytes_per_sample()
        free = shutil.disk_usage(path).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"the store needs {_size(needed)}, and {path} has {_size(free)} free",
            )

    def _claim(self) -> None:
        plan_file = self.path / "plan.json"
        if plan_file.exists():
            found = json.loads(plan_file.read_text())
            wanted = self.plan.as_dict()
            changed = [k for k in wanted if found.get(k) != wanted[k]]
            if changed:
                raise ValueError(
                    f"{self.path} holds a store of something else: {', '.join(changed)} changed. "
                    "Choose another directory, or delete that one"
                )
        elif any(file.suffix != ".partial" for file in self.path.iterdir()):
            raise ValueError(f"{self.path} is neither empty nor a store; choose another directory")
        else:
            write_atomically(plan_file, json.dumps(self.plan.as_dict(), indent=1))

    def file(self, shard: int) -> Path:
        """Path of a shard."""
        return self.path / f"shard-{shard:05d}.safetensors"

    def _stamp(self, shard: int) -> dict[str, str]:
        # one entry only: safetensors writes several in random order, and bytes must not differ
        return {"shard": f"{shard} of plan {self.plan.key()}"}

    def _whole(self, shard: int) -> bool:
        if not self.file(shard).exists():
            return False
        manifest = self.path / "manifest.json"
        if manifest.exists():  # a complete store: its hashes are known, so hold the bytes to them
            self._hashes[shard] = sha256(self.file(shard))
            recorded = json.loads(manifest.read_text())["shards"][shard]["sha256"]
            return self._hashes[shard] == recorded
        try:
            with safe_open(self.file(shard), framework="pt") as opened:
                return opened.metadata() == self._stamp(shard)
        except SafetensorError:
            return False

    def write(
        self,
        shard: int,
        samples: Int[torch.Tensor, " row"],
        tensors: Mapping[str, Float[torch.Tensor, "row position *d"]],
    ) -> None:
        """Write one shard, the activations of the numbered samples: under a temporary name, then
        renamed.

        Raises:
            OSError: the disk is full or refuses; shards already written are kept.
        """
        try:
            with whole(self.file(shard)) as partial:
                save_file({SAMPLES: samples, **tensors}, partial, metadata=self._stamp(shard))
                self._hashes[shard] = sha256(partial)
        except (OSError, SafetensorError) as error:
            needed = len(self.plan.rows(shard)) * self.plan.bytes_per_sample()
            free = shutil.disk_usage(self.path).free
            raise OSError(
                getattr(error, "errno", None) or errno.ENOSPC,
                f"shard {shard} of {_size(needed)} could not be written to {self.path} "
                f"({_size(free)} free): {error}. Finished shards are kept; run again to go on",
            ) from error

    def finish(self) -> Store:
        """Write the manifest, which makes the store complete, and open it."""
        shards = []
        for shard in range(self.plan.n_shards):
            file = self.file(shard)
            digest = self._hashes.get(shard) or sha256(file)
            shards.append({"file": file.name, "sha256": digest, "bytes": file.stat().st_size})
        manifest = {"plan": self.plan.as_dict(), "source": dict(self.source), "shards": shards}
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=1))
        return Store.open(self.path)


def _require(hook: str, hooks: tuple[str, ...]) -> None:
    if hook not in hooks:
        raise ValueError(f"hook {hook!r} was not extracted; there are {', '.join(hooks)}")


def _read_tensor(file: Path, name: str) -> torch.Tensor:
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(name)
    except SafetensorError as error:
        raise _corrupt(file, str(error)) from error


def _corrupt(file: Path, why: str) -> ValueError:
    return ValueError(f"corrupt shard {file}: {why}. Run the extraction again to recompute it")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
