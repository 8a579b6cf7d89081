"""Activations on disk: safetensors shards and a manifest that is written last.

    plan.json               what is to be computed and from which model, written first
    shard-00000.safetensors one tensor [sample, position, ...] per hook, and the samples' numbers
    shard-00000.json        that shard's SHA-256 and size, until the manifest has them
    manifest.json           the plan and the SHA-256 of every shard; its presence means complete

1. A writer takes the store's lock (`interp.store._lock`), then compares its plan with plan.json.
2. It looks for shards that are there and have the bytes that were written, and computes the rest,
   itself or through others: numbers and contents of shards follow from the plan alone.
3. A shard takes its name when it is whole, and its SHA-256 lies beside it only then. A process
   killed at any moment leaves whole shards, which whoever starts again keeps.
4. With all of them there, the manifest is written, and the single SHA-256s go.

However the shards were shared out, and however often the work was broken off, the same files with
the same bytes are left. Reading one hook reads that hook's part of the shards and nothing else,
from a disk or, by address (`s3://...`), from an object store.

`python -m interp.store --help` verifies a store and tells what is in it.
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.store._lock import Locked
    from interp.store._reading import Activations, Store, by_position
    from interp.store._shards import SAMPLES, Row, Shards
    from interp.store._state import State, inspect
    from interp.store._writer import Writer
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "SAMPLES",
    "Activations",
    "Locked",
    "Row",
    "Shards",
    "State",
    "Store",
    "Writer",
    "by_position",
    "inspect",
]
