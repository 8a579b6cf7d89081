"""How a study extracts: where its stores are, and who computes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformer_lens.model_bridge import TransformerBridge

from interp.extract._call import Executor, extract
from interp.positions import Sample
from interp.store import Store


@runtime_checkable
class StoreOptions(Protocol):
    """What a configuration says of it; `interp.run.RunConfig` does."""

    @property
    def store(self) -> str | Path:
        """Directory or address that holds the stores."""
        ...

    @property
    def batch_size(self) -> int:
        """Texts per forward pass."""
        ...

    @property
    def executor(self) -> Executor:
        """Who computes."""
        ...

    @property
    def workers(self) -> int | None:
        """Workers of a Ray cluster."""
        ...


@dataclass(frozen=True)
class Stores:
    """A directory of stores, each under the name of its use and the hash of its plan."""

    root: str | Path
    """Directory, or an address such as `s3://bucket/stores`."""
    batch_size: int = 16
    """Texts per forward pass."""
    executor: Executor = "local"
    """Who computes, as `extract` takes it."""
    workers: int | None = None
    """Workers of a Ray cluster, as `extract` takes it."""

    @classmethod
    def of(cls, options: StoreOptions) -> "Stores":
        """What a study's configuration asks for."""
        return cls(options.store, options.batch_size, options.executor, options.workers)

    def extract(
        self, name: str, model: TransformerBridge, samples: Sequence[Sample], **what: Any
    ) -> Store:
        """A store that a later run on the same model and texts finds again; `what` are hooks,
        positions, rule and dtype as `extract` takes them, and raises."""
        how = {name: getattr(self, name) for name in ("batch_size", "executor", "workers")}
        out = f"{self.root}/{name}-{{key}}"
        store = extract(model, samples, out=out, **what, **how)
        assert isinstance(store, Store)  # as there is an `out`
        return store
