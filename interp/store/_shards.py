"""The shards of one plan in one directory: what a worker writes, and how to tell a whole one."""

import errno
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from upath import UPath

from interp.files import Place, sha256, whole, write_atomically
from interp.plan import Plan

SAMPLES = "sample_numbers"
"""Name of the tensor in each shard that says which samples its rows are: a store keeps samples
sorted by length, and gives them back in their own order."""

STAMP = "shard"
"""Name of the entry in a shard's metadata that says which shard of which plan it is."""

HEAD = 65_536
"""Bytes that a first request for a remote shard fetches; the header of some 500 hooks fits."""

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64}
"""The types that a shard's tensors have, by safetensors' names."""


@dataclass(frozen=True)
class Row:
    """One shard's line of the manifest."""

    file: str
    """File name."""
    sha256: str
    """Of the file's bytes."""
    bytes: int
    """Size of the file."""


@dataclass(frozen=True)
class Shards:
    """Shards of a plan. Holds no open file and no lock, so that any process may be given one."""

    path: Place
    """The store's directory."""
    plan: Plan
    """What the store holds."""

    def name(self, shard: int) -> str:
        """File name of a shard."""
        return f"shard-{shard:05d}.safetensors"

    def file(self, shard: int) -> Place:
        """Path of a shard."""
        return self.path / self.name(shard)

    def record(self, shard: int) -> Place:
        """Path of the file that says what was written as the shard."""
        return self.path / f"shard-{shard:05d}.json"

    def write(
        self,
        shard: int,
        samples: Int[torch.Tensor, " row"],
        tensors: Mapping[str, Float[torch.Tensor, "row position *d"]],
    ) -> Row:
        """Write one shard, the activations of the numbered samples, and then its row.

        Raises:
            OSError: the disk is full or refuses; shards already written are kept.
        """
        # one entry only: safetensors writes several in random order, and bytes must not differ
        stamp = {STAMP: self.stamp(shard)}
        try:
            with whole(self.file(shard)) as partial:
                save_file({SAMPLES: samples, **tensors}, partial, metadata=stamp)
                row = Row(self.name(shard), sha256(partial), partial.stat().st_size)
        except (OSError, SafetensorError) as error:
            raise OSError(
                getattr(error, "errno", None) or errno.ENOSPC,
                f"shard {shard} of {size(self.expected_bytes([shard]))} could not be written to "
                f"{self.path}{self._free()}: {error}. Finished shards are kept; run again to go on",
            ) from error
        self.put_row(shard, row)
        return row

    def put_row(self, shard: int, row: Row) -> None:
        """Say beside a shard what was written."""
        write_atomically(self.record(shard), json.dumps(asdict(row)))

    def rows(self, shards: Iterable[int]) -> dict[int, Row | None]:
        """What was written as each of these shards, if anything was: the files themselves are not
        looked at."""
        found: dict[int, Row | None] = {}
        wanted, unrecorded = list(shards), []
        for shard in wanted:
            try:
                found[shard] = Row(**json.loads(self.record(shard).read_text()))
            except (ValueError, TypeError):  # damaged: nobody knows what was written
                found[shard] = None
            except FileNotFoundError:
                unrecorded.append(shard)
        # in this order: a manifest is there before a shard's own record goes; and read once, as
        # that of a large store is megabytes
        manifest = self.manifest() if unrecorded else None
        for shard in unrecorded:
            found[shard] = None if manifest is None else Row(**manifest["shards"][shard])
        return {shard: found[shard] for shard in wanted}

    def manifest(self) -> dict | None:
        """The manifest of a complete store."""
        try:
            found = json.loads((self.path / "manifest.json").read_text())
        except FileNotFoundError:
            return None
        if Plan.from_dict(found["plan"], self.path / "manifest.json").key() != self.plan.key():
            raise ValueError(f"{self.path}: its manifest is not that of its plan.json")
        return found

    def problem(self, shard: int, row: Row | None, *, bytes_too: bool = True) -> str | None:
        """What is wrong with a shard, by its size and, `bytes_too`, by its SHA-256."""
        file = self.file(shard)
        try:
            found = file.stat().st_size
        except FileNotFoundError:
            return "missing"
        if row is None:
            return "not finished: nothing says what was written"
        if found != row.bytes:
            return f"{found} bytes where {row.bytes} were written"
        if bytes_too and sha256(file) != row.sha256:
            return "its SHA-256 is not that of what was written"
        if bytes_too and (stamp := read_tensors(file).stamp) != self.stamp(shard):
            return f"it is stamped {stamp!r}, a shard of another store"
        return None

    def stamp(self, shard: int) -> str:
        """What a shard says that it is."""
        return f"{shard} of plan {self.plan.key()}"

    def expected_bytes(self, shards: list[int]) -> int:
        """What shards take, headers apart."""
        return sum(len(self.plan.rows(shard)) for shard in shards) * self.plan.bytes_per_sample()

    def require_space(self, shards: list[int]) -> None:
        """Raises OSError where the disk cannot hold the shards; object stores do not say."""
        if not isinstance(self.path, Path):
            return
        needed, free = self.expected_bytes(shards), shutil.disk_usage(self.path).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"the store needs {size(needed)}, and {self.path} has {size(free)} free",
            )

    def _free(self) -> str:
        if not isinstance(self.path, Path):
            return ""
        return f" ({size(shutil.disk_usage(self.path).free)} free)"


@dataclass(frozen=True)
class Contents:
    """What was read of a shard."""

    stamp: str | None
    """Which shard of which plan it says it is."""
    tensors: Mapping[str, torch.Tensor]
    """By name."""


def read_tensors(file: Place, names: Sequence[str] = ()) -> Contents:
    """The stamp and some tensors of a shard; of the rest of the file only the header is read.

    Raises:
        ValueError: the file is no whole shard, or lacks a tensor.
    """
    try:
        if not isinstance(file, Path):
            return _read_remote(file, names)
        with safe_open(file, framework="pt") as opened:
            stamp = (opened.metadata() or {}).get(STAMP)
            return Contents(stamp, {name: opened.get_tensor(name) for name in names})
    except (SafetensorError, FileNotFoundError, KeyError, RuntimeError, ValueError) as error:
        raise corrupt(file, str(error)) from error


def _read_remote(file: UPath, names: Sequence[str]) -> Contents:
    """By the format's own rules: 8 bytes with the header's length, the header in JSON, tensors."""
    head = _range(file, 0, HEAD)
    start = 8 + int.from_bytes(head[:8], "little")
    if start > len(head):
        head += _range(file, len(head), start)
    header, tensors = json.loads(head[8:start]), {}
    for name in names:
        entry = header[name]
        first, last = (start + offset for offset in entry["data_offsets"])
        data = bytearray(_range(file, first, last))
        tensors[name] = torch.frombuffer(data, dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
    return Contents(header.get("__metadata__", {}).get(STAMP), tensors)


def _range(file: UPath, start: int, stop: int) -> bytes:
    return cast(bytes, file.fs.cat_file(file.path, start=start, end=stop))


def corrupt(file: Place, why: str) -> ValueError:
    """The error that a bad shard is met with."""
    return ValueError(f"corrupt shard {file}: {why}. Run the extraction again to recompute it")


def size(n_bytes: int) -> str:
    """A size in MB or GB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
