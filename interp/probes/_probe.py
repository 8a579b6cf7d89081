"""A linear probe and what it is held to, checked once."""

from dataclasses import dataclass
from typing import Literal

from interp.probes._cells import FEWEST_ROWS


@dataclass(frozen=True)
class Probe:
    """How a cell is probed, and what its score is set beside.

    Raises ValueError for a value out of range.
    """

    kind: Literal["classes", "numbers"] = "classes"
    """Balanced logistic regression for classes, ridge regression for numbers."""
    C: float | int = 1.0
    """Inverse strength of the L2 penalty as in scikit-learn; ridge regression takes 1 / C."""
    standardise: bool = True
    """Scale features by the training rows' mean and standard deviation."""
    max_rows: int | None = 2000
    """Rows of a cell beyond this are sampled, the same in every block; None takes all."""
    n_controls: int = 5
    """Control tasks drawn, each a label per type from the labels' distribution."""
    n_boot: int = 40
    """Draws for an interval, in each of which probes are fitted anew with other weights of the
    groups; 0 gives no intervals."""
    level: float = 0.95
    """Confidence level of intervals."""

    def __post_init__(self) -> None:
        fewest = self.max_rows is None or self.max_rows >= FEWEST_ROWS
        for name, allowed, choices in (
            ("kind", self.kind in ("classes", "numbers"), "'classes' or 'numbers'"),
            ("C", self.C > 0, "above 0"),
            ("n_controls", self.n_controls >= 1, "at least 1"),
            ("n_boot", self.n_boot >= 0, "at least 0"),
            ("level", 0 < self.level < 1, "between 0 and 1"),
            ("max_rows", fewest, f"at least {FEWEST_ROWS}, or None"),
        ):
            if not allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be {choices}")
