"""Texts of a study: samples with a label each, and what is exchangeable among them.

texts = Texts(samples, labels=day, groups=sentence, period=7, categories=WEEKDAYS)
grid = smds_grid(subject.activations(), **texts.design)
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.labelled import read_labelled
from interp.positions import Sample, fingerprint, stretches


@dataclass(frozen=True)
class Categories:
    """Stretches of a label's axis, with a name each: months of a date, decades of an age.

    A lookup table knows the category of a label and nothing of their order. Two controls tell it
    from a geometry: categories are left out one at a time, or put into other orders.

    Raises:
        ValueError: edges that do not rise or do not fit the names, or fewer categories than have an
            order other than the true one (4 in a cycle, else 3).
    """

    names: tuple[str, ...]
    """Names, in the order of the labels."""
    edges: Float[np.ndarray, " edges"]
    """Label at which each category begins, and the end of the last."""
    period: float | int | None = None
    """Length of the label's cycle; None for a label that does not return."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.edges.shape != (count + 1,) or not (np.diff(self.edges) > 0).all():
            raise ValueError(
                f"edges {self.edges.tolist()} must be {count + 1} rising numbers, for the "
                f"{count} categories {', '.join(self.names)}"
            )
        fewest = 3 if self.period is None else 4
        if count < fewest:
            raise ValueError(
                f"{count} categories ({', '.join(self.names)}) have no order that differs "
                f"from the true one; at least {fewest} are needed"
            )

    @classmethod
    def equal_parts(
        cls, labels: Float[np.ndarray, " n"], n_parts: int, *, period: float | int | None = None
    ) -> "Categories":
        """Equal parts of the labels' range, or of the cycle; empty ones join the part before.

        Raises:
            ValueError: as the class does.
        """
        low, high = (labels.min(), labels.max()) if period is None else (0.0, period)
        bounds = np.linspace(low, high, n_parts + 1)
        edges = np.append(bounds[np.unique(_numbers(labels, bounds))], high)
        return cls(tuple(f"{begin:g} to {end:g}" for begin, end in pairwise(edges)), edges, period)

    @classmethod
    def named(
        cls,
        labels: Float[np.ndarray, " n"],
        names: Shaped[np.ndarray, " n"],
        *,
        period: float | int | None = None,
    ) -> "Categories":
        """Categories by the name of each label's.

        Raises:
            ValueError: categories that interleave, or as the class does.
        """
        spans = sorted(
            (labels[names == name].min(), labels[names == name].max(), str(name))
            for name in np.unique(names)
        )
        for (low, high, name), (begin, end, following) in pairwise(spans):
            if high >= begin:
                raise ValueError(
                    f"categories {name!r} ({low:g} to {high:g}) and {following!r} ({begin:g} "
                    f"to {end:g}) interleave; each must be a stretch of the labels of its own"
                )
        # without a cycle the last category ends one step behind its largest label, for otherwise
        # one of a single value would have no width
        step = np.diff(np.unique(labels)).min()
        end = labels.max() + step if period is None else period
        edges = np.array([low for low, _, _ in spans] + [end])
        return cls(tuple(name for _, _, name in spans), edges, period)

    def of(self, labels: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Number of each label's category, from 0.

        Raises:
            ValueError: a label outside of all categories.
        """
        # the largest label of a quantity without a period may be the end itself
        for row in np.flatnonzero(~((labels >= self.edges[0]) & (labels <= self.edges[-1])))[:1]:
            raise ValueError(
                f"label {labels[row]} of row {row} is in none of the categories, from "
                f"{self.edges[0]} to {self.edges[-1]}"
            )
        return _numbers(labels, self.edges)

    def shuffled_orders(
        self,
        labels: Float[np.ndarray, " n"],
        n_orders: int,
        *,
        seed: int,
        logarithmic: bool = False,
    ) -> Float[np.ndarray, "orders n"]:
        """Labels with the categories laid out in random orders, the place within one kept.

        A representation that merely looks categories up fits any order as well as the true one.
        Orders are drawn with replacement from all but the true one and its mirror image, in a
        cycle from wherever it begins. Categories of a single value exchange their values;
        others keep their width, where `logarithmic` the width in log(y + 1).

        Raises:
            ValueError: a label outside of all categories.
        """
        rng, category = np.random.default_rng(seed), self.of(labels)
        edges = np.log1p(self.edges) if logarithmic else self.edges
        place = (np.log1p(labels) if logarithmic else labels) - edges[category]
        shuffled = []
        for _ in range(n_orders):
            order = self._other_order(rng)
            begin, starts = np.empty(len(order)), edges[:-1]
            if place.any():
                starts = edges[0] + np.concatenate([[0], np.cumsum(np.diff(edges)[order])[:-1]])
            begin[order] = starts
            shuffled.append(begin[category] + place)
        return np.expm1(shuffled) if logarithmic else np.array(shuffled)

    def _other_order(self, rng: np.random.Generator) -> Int[np.ndarray, " category"]:
        """A random order of the categories that is neither the true one nor its mirror image."""
        count, cyclic = len(self.names), self.period is not None
        while True:
            order = rng.permutation(count)
            step = np.diff(order) % count if cyclic else np.diff(order)
            backward = count - 1 if cyclic else -1
            if not ((step == 1).all() or (step == backward).all()):
                return order


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Samples with the same named spans, a label and a group each.

    Raises:
        ValueError: no samples, arrays of another length, samples whose spans have other names, a
            period that is no number above 0, labels outside of [0, period), or what `Categories`
            refuses.
    """

    samples: Sequence[Sample]
    """Texts with named spans."""
    labels: Shaped[np.ndarray, " n"]
    """Label of each text: numbers or classes."""
    groups: Shaped[np.ndarray, " _"] = field(default_factory=lambda: np.empty(0, dtype=int))
    """Exchangeable unit of each text, which folds and permutations never split; by default every
    text is one of its own."""
    period: float | int | None = None
    """Length of the labels' cycle; None for labels that do not return."""
    categories: tuple[str, ...] = ()
    """Names of the labels' categories, in the labels' order; empty where they have none."""
    edges: Float[np.ndarray, " edges"] | None = None
    """Label at which each category begins, and the end of the last; None where labels are names or
    have no categories."""

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
            if not 0 < self.period < np.inf:
                raise ValueError(f"period {self.period} must be a number above 0, or None")
            for row in np.flatnonzero((self.labels < 0) | (self.labels >= self.period))[:1]:
                raise ValueError(
                    f"label {self.labels[row]} of row {row} is not in [0, {self.period:g})"
                )
        if self.edges is not None:
            self.axis.of(self.labels)

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

    @cached_property
    def axis(self) -> Categories:
        """The labels' axis, cut into categories.

        Raises:
            ValueError: there are no edges.
        """
        if self.edges is None:
            raise ValueError("these texts have no edges of categories")
        return Categories(self.categories, self.edges, self.period)

    @cached_property
    def category(self) -> Int[np.ndarray, " n"]:
        """Number of each label's category, from 0, in the order of the labels."""
        return self.axis.of(self.labels)

    def one_hot(self) -> Float[np.ndarray, "n category"]:
        """A lookup table as features: it knows categories, and nothing of their order."""
        return np.eye(len(self.categories))[self.category]

    def written(self, position: str) -> list[str] | None:
        """How texts write each category at a position, by its commonest form; None where two
        categories have one form, or a category has no form in half of its texts."""
        at = [stretches(sample.spans[position]) for sample in self.samples]
        words = [s.text[a[0][0] : a[-1][1]] for s, a in zip(self.samples, at, strict=True)]
        forms = []
        for number in range(len(self.categories)):
            own = Counter(words[row] for row in np.flatnonzero(self.category == number))
            (form, times), *_ = own.most_common(1) or [("", 0)]
            if 2 * times < own.total() or not form:
                return None
            forms.append(form)
        return forms if len(set(forms)) == len(forms) else None

    def fingerprint(self) -> str:
        """SHA-256 of texts, spans, labels, groups, period and categories."""
        edges = None if self.edges is None else self.edges.tolist()
        known = (self.labels.tolist(), self.groups.tolist(), self.period, self.categories, edges)
        return hashlib.sha256((fingerprint(self.samples) + repr(known)).encode()).hexdigest()

    def describe(self) -> str:
        """The number of texts."""
        return f"{len(self.samples)} texts"


def _numbers(
    labels: Shaped[np.ndarray, " n"], edges: Float[np.ndarray, " edges"]
) -> Int[np.ndarray, " n"]:
    return np.asarray(np.searchsorted(edges[1:-1], labels, side="right"))
