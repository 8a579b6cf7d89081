"""Options of a grid of probes, checked once."""

from dataclasses import dataclass
from typing import Literal

from interp.probes._cells import FEWEST_ROWS


@dataclass(frozen=True)
class ProbeOptions:
    """How a grid is probed; the fields are `interp.probes.probe_grid`'s of the same names.

    Raises ValueError for a value out of range.
    """

    kind: Literal["classes", "numbers"]
    n_splits: int
    seed: int
    C: float | int
    standardise: bool
    n_permutations: int
    n_controls: int
    n_boot: int
    level: float
    max_rows: int | None

    def __post_init__(self) -> None:
        fewest = self.max_rows is None or self.max_rows >= FEWEST_ROWS
        for name, allowed, choices in (
            ("kind", self.kind in ("classes", "numbers"), "'classes' or 'numbers'"),
            ("C", self.C > 0, "above 0"),
            ("n_permutations", self.n_permutations >= 1, "at least 1"),
            ("n_controls", self.n_controls >= 1, "at least 1"),
            ("n_boot", self.n_boot >= 0, "at least 0"),
            ("level", 0 < self.level < 1, "between 0 and 1"),
            ("max_rows", fewest, f"at least {FEWEST_ROWS}, or None"),
        ):
            if not allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be {choices}")
