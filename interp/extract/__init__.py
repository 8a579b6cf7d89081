"""Read activations at named places of many texts, in memory or onto disk.

1. A short text is run to learn each hook's shape, and that every hook fires.
2. Samples are sorted by length and cut into shards; within a shard they are batched by their
   number of tokens, right-padded, and run with an explicit mask.
3. Each hook gathers the wanted positions on the device, as a copy of a few rows instead of the
   whole tensor; the hook that completes the set stops the forward pass, so nothing past the last
   block asked for is computed, and no logits ever.
4. Activations are checked to be finite, cast, and written shard by shard.

Steps 2 to 4 know nothing of one another's shards, so shards may be computed by this process alone
(`local`), by processes that share them by their rank, each for itself (`rank`), or by workers of a
Ray cluster (`ray`). The store's bytes are the same, as a shard's contents follow from the plan, the
batch size and the machine's arithmetic. Between machines of one kind and with equally many threads
that is the same too; for Ray's workers the threads are set, for ranks they are their launcher's.

Edited runs, `extract(..., edit=)`, stay in memory. Their samples run in the order given, each batch
under an edit of its own, and with `logits=` a pass goes on to the model's output.
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.extract._call import extract
    from interp.extract._ending import LAST, last_token
    from interp.extract._job import BatchEdit, LogitReader
    from interp.extract._stores import StoreOptions, Stores
    from interp.files import Unfinished
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "LAST",
    "BatchEdit",
    "LogitReader",
    "StoreOptions",
    "Stores",
    "Unfinished",
    "extract",
    "last_token",
]
