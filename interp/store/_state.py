"""What is in a store, complete or not: for people, and before anything is computed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from interp.files import Place, place
from interp.plan import Plan
from interp.store._shards import Shards, size


@dataclass(frozen=True)
class State:
    """A store as it was found."""

    path: Place
    """The directory."""
    plan: Plan
    """What it holds, or is to hold."""
    source: Mapping
    """Where the model came from."""
    complete: bool
    """Whether there is a manifest."""
    problems: Mapping[str, str]
    """What is wrong, by the shard's file name; of an unfinished store, missing shards as well."""
    n_bytes: int
    """Size of the whole shards."""

    @property
    def summary(self) -> str:
        """One line."""
        n, bad = self.plan.n_shards, len(self.problems)
        kind = "complete" if self.complete else "unfinished"
        return f"{self.path}: {kind}, {n - bad} of {n} shards whole, {size(self.n_bytes)}"

    def table(self) -> str:
        """Everything else, a line each."""
        plan = self.plan
        shapes: dict[tuple[int, ...], list[str]] = {}
        for hook, shape in plan.hooks.items():
            shapes.setdefault(tuple(shape), []).append(hook)
        revision = self.source.get("revision")
        rows = {
            "model": f"{self.source.get('name', 'unknown')}{f' at {revision}' if revision else ''}",
            "computed in": f"{self.source.get('dtype', 'unknown')}, stored as {plan.dtype}",
            "samples": f"{plan.n_samples:,}",
            "positions": _few(
                [f"{p} ({r})" for p, r in zip(plan.positions, plan.rules, strict=True)]
            ),
        }
        for number, (shape, hooks) in enumerate(shapes.items()):
            rows["hooks" if number == 0 else f"hooks {number + 1}"] = (
                f"{list(shape)}: {_few(hooks)}"
            )
        n = plan.n_shards
        rows["shards"] = f"{n - len(self.problems)} of {n}, up to {plan.shard_size} samples each"
        rows["size"] = f"{size(self.n_bytes)} of {size(plan.n_samples * plan.bytes_per_sample())}"
        rows["complete"] = "yes" if self.complete and not self.problems else "no"
        rows["plan"] = plan.key()
        width = max(map(len, rows))
        return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def inspect(path: str | Path | UPath, *, bytes_too: bool = True) -> State:
    """Look at a store, at sizes alone or at every byte; nothing in it is changed.

    Raises:
        ValueError: there is no store.
    """
    path = place(path)
    try:
        found = json.loads((path / "plan.json").read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} holds no store: there is no plan.json") from None
    plan = Plan.from_dict(found, path / "plan.json")
    shards = Shards(path, plan)
    manifest = shards.manifest()
    problems, n_bytes = {}, 0
    for shard, row in shards.rows(range(plan.n_shards)).items():
        problem = shards.problem(shard, row, bytes_too=bytes_too)
        if problem is not None:
            problems[shards.name(shard)] = problem
        elif row is not None:
            n_bytes += row.bytes
    source = found.get("source", {}) if manifest is None else manifest["source"]
    return State(path, plan, source, manifest is not None, problems, n_bytes)


def _few(names: list[str], most: int = 6) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, ... {names[-1]} ({len(names)})"
