"""Writes the shards of one plan into a directory, going on where an earlier writer stopped."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from interp.files import Place, Unfinished, write_atomically
from interp.plan import Plan, Rank, changes
from interp.store._lock import LOCK, sole_writer
from interp.store._reading import Store
from interp.store._shards import Row, Shards


class Writer:
    """Context manager over the writing of one store: takes the lock, says which shards are wanted,
    and writes the manifest when all are there. Shards themselves are written by `Shards.write`, in
    this process or in others that work for it."""

    def __init__(self, path: Place, plan: Plan, source: Mapping, *, rank: Rank | None = None):
        """
        `source` says where the model came from, for the record alone: a model asked for under
        another name is the same model. With a `rank`, only its shards are this writer's.
        """
        self.shards, self.plan, self.rank = Shards(path, plan), plan, rank
        self._path, self._source = path, dict(source)
        self._own = list(range(plan.n_shards) if rank is None else rank.shards(plan.n_shards))
        self._rows: dict[int, Row] = {}
        self._held = ExitStack()
        self.pending: list[int] = []
        """Shards of this writer that are not there, or not whole."""

    def __enter__(self) -> "Writer":
        """
        Raises:
            ValueError: the directory holds a store of another plan, or other files.
            Locked: another process writes the store.
            OSError: the disk cannot hold what is to be written.
        """
        self._refuse_other_files()
        if isinstance(self._path, Path):
            self._path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(sole_writer(self._path, self.rank))
            self._claim()
            self._sweep()
            self._find_pending()
            self.shards.require_space(self.pending)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def done(self, shard: int, row: Row) -> None:
        """Take note of a shard that was written."""
        self._rows[shard] = row

    def finish(self) -> Store:
        """Write the manifest, which makes the store complete, and open it.

        Raises:
            Unfinished: this rank's shards are done, and others' are not.
        """
        if self.shards.manifest() is None:
            rows = self._rows | self._others()
            if missing := self.plan.n_shards - len(rows):
                raise Unfinished(
                    f"{self.rank}: its {len(self._own)} shards are done; {missing} of "
                    f"{self.plan.n_shards} in {self._path} wait for other ranks. Run again when "
                    "those are finished"
                )
            manifest = {
                "plan": self.plan.as_dict(),
                "source": self._source,
                "shards": [asdict(rows[shard]) for shard in range(self.plan.n_shards)],
            }
            write_atomically(self._path / "manifest.json", json.dumps(manifest, indent=1))
        for record in list(self._path.glob("shard-*.json")):
            record.unlink(missing_ok=True)
        return Store.open(self._path)

    def _others(self) -> dict[int, Row]:
        """Rows of the shards that other ranks have finished, which answer for their bytes."""
        rows = self.shards.rows(s for s in range(self.plan.n_shards) if s not in self._rows)
        return {
            shard: row
            for shard, row in rows.items()
            if row is not None and not self.shards.problem(shard, row, bytes_too=False)
        }

    def _refuse_other_files(self) -> None:
        if not self._path.exists() or (self._path / "plan.json").exists():
            return
        names = [file.name for file in self._path.iterdir()]
        if any(not name.endswith(".partial") and not name.startswith(LOCK) for name in names):
            raise ValueError(f"{self._path} is neither empty nor a store; choose another directory")

    def _claim(self) -> None:
        file, wanted = self._path / "plan.json", self.plan.as_dict() | {"source": self._source}
        if not file.exists():
            write_atomically(file, json.dumps(wanted, indent=1))
        elif changed := changes(json.loads(file.read_text()), wanted):
            raise ValueError(
                f"{self._path} holds a store of something else: {'; '.join(changed)}. "
                "Choose another directory, or delete that one"
            )

    def _sweep(self) -> None:
        """Remove what killed processes left behind; a rank, only of shards that are its own."""
        own = tuple(f".{self.shards.record(shard).stem}." for shard in self._own)
        for file in list(self._path.iterdir()):
            partial = file.name.endswith(".partial")
            if self.rank is None:
                # no rank is at work, as each would hold the lock that this writer has
                stale = partial or file.name.startswith(f"{LOCK}-")
            else:
                stale = partial and file.name.startswith(own)
            if stale:
                file.unlink(missing_ok=True)

    def _find_pending(self) -> None:
        for shard, row in self.shards.rows(self._own).items():
            if row is None or self.shards.problem(shard, row):
                self.pending.append(shard)
            else:
                self._rows[shard] = row
        if self.pending:
            self._reopen()

    def _reopen(self) -> None:
        """Make a complete store with bad shards an unfinished one that lacks them."""
        manifest = self.shards.manifest()
        for shard, row in enumerate(manifest["shards"] if manifest else ()):
            if shard not in self.pending and not self.shards.record(shard).exists():
                self.shards.put_row(shard, Row(**row))
        (self._path / "manifest.json").unlink(missing_ok=True)
        for shard in self.pending:
            self.shards.record(shard).unlink(missing_ok=True)
