"""Texts of a study: samples with a label each, and what is exchangeable among them.

texts = Texts(samples, labels=day, groups=sentence, period=7, categories=WEEKDAYS)
grid = smds_grid(subject.activations(), **texts.design)
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from interp.labelled import read_labelled
from interp.positions import Sample, fingerprint


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Samples with the same named spans, a label and a group each.

    Raises:
        ValueError: no samples, arrays of another length, samples whose spans have other names, or
            labels outside of [0, period).
    """

    samples: Sequence[Sample]
    """Texts with named spans."""
    labels: Shaped[np.ndarray, " n"]
    """Label of each text: numbers or classes."""
    groups: Shaped[np.ndarray, " _"] = field(default_factory=lambda: np.empty(0, dtype=int))
    """Exchangeable unit of each text, which folds and permutations never split; by default every
    text is one of its own."""
    period: float | None = None
    """Length of the labels' cycle; None for labels that do not return."""
    categories: tuple[str, ...] = ()
    """Names of the labels' categories, in the labels' order; empty where they have none."""

    def __post_init__(self):
        n = len(self.samples)
        if not n:
            raise ValueError("a study needs texts; samples is empty")
        if not len(self.groups):
            object.__setattr__(self, "groups", np.arange(n))
        for name, values in (("labels", self.labels), ("groups", self.groups)):
            if len(values) != n:
                raise ValueError(f"{name} has {len(values)} entries for {n} samples")
        for row, sample in enumerate(self.samples):
            if tuple(sample.spans) != self.positions:
                raise ValueError(
                    f"sample {row} has the spans {', '.join(sample.spans)}, not "
                    f"{', '.join(self.positions)} as the first"
                )
        if self.period is not None:
            for row in np.flatnonzero((self.labels < 0) | (self.labels >= self.period))[:1]:
                raise ValueError(
                    f"label {self.labels[row]} of row {row} is not in [0, {self.period:g})"
                )

    @classmethod
    def from_file(cls, path: Path | str, **more: Any) -> "Texts":
        """Texts of a CSV, TSV or JSONL file, as `interp.labelled.read_labelled` reads it; `more`
        are further fields, and raises as both do."""
        rows = read_labelled(path)
        return cls(samples=rows.samples, labels=rows.labels, groups=rows.groups, **more)

    @property
    def positions(self) -> tuple[str, ...]:
        """Names of the spans."""
        return tuple(self.samples[0].spans)

    @property
    def design(self) -> dict[str, Any]:
        """Labels, groups and, where there is one, period, by the names that methods give them."""
        design = {"y": self.labels, "groups": self.groups}
        return design if self.period is None else design | {"period": self.period}

    def fingerprint(self) -> str:
        """SHA-256 of texts, spans, labels, groups, period and categories."""
        known = (self.labels.tolist(), self.groups.tolist(), self.period, self.categories)
        return hashlib.sha256((fingerprint(self.samples) + repr(known)).encode()).hexdigest()

    def describe(self) -> str:
        """The number of texts."""
        return f"{len(self.samples)} texts"
