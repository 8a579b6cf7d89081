"""Texts that state a quantity and return to it: what the study knows of each of them.

Every word that is asked about is a named span. A dataset names three of them: the word that states
the label (the source), one that returns to it (the destination) and one that has nothing to do
with it (the distractor). The label's axis is cut into categories (months, weekdays, decades), the
things that a lookup table would know: whole categories are left out and put in other orders to
tell a geometry from a table. `tasks` writes the datasets.
"""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.positions import Sample, fingerprint
from interp.smds import Shape
from interp.stats import permute_groups


@dataclass(frozen=True)
class Dataset:
    """Texts and the label of each.

    Raises ValueError when arrays differ in length or samples in their words; for labels that are
    not finite, outside of the cycle or of their category's edges; for a group of two labels; for
    edges that do not rise or do not fit the categories; for fewer categories than have an order
    other than the true one; and for a source, destination or distractor that is no word.
    """

    task: str
    """Which template, or "data" for a user's own texts."""
    quantity: str
    """What the label is, in words."""
    unit: str
    """Unit of the label, plural; "" where it has none."""
    samples: list[Sample]
    """Texts with a span for every word, all in the same order."""
    label: Float[np.ndarray, " n"]
    """The quantity in `unit`."""
    period: float | None
    """Length of the label's cycle; None for a quantity that does not return."""
    shape: str | Shape
    """Geometry that is asked for first."""
    group: Shaped[np.ndarray, " n"]
    """Exchangeable unit, with one label each: folds and permutations never split one."""
    category: Int[np.ndarray, " n"]
    """Number of the label's category, from 0, in the order of the labels."""
    categories: tuple[str, ...]
    """Short names of the categories."""
    category_noun: str
    """What a category is."""
    edges: Float[np.ndarray, " edges"]
    """Label at which each category begins, and the end of the last."""
    source: str
    """Word that states the label."""
    destination: str
    """Word that returns to it."""
    distractor: str | None
    """Word that has nothing to do with it; None where no word is known to be such."""
    before: int
    """Leading words that stand, in every text, before anything of the label is said."""
    other: Float[np.ndarray, " n"] | None = None
    """Label of the other person of a text that names two; one for each group."""
    made_of: str = "Folds and permutations keep all texts of one label whole."
    """What folds are made of, in sentences."""

    def __post_init__(self) -> None:
        self._check_lengths()
        self._check_categories()
        self._check_labels()
        self._check_words()

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the words; slots of a template stand in brackets."""
        return tuple(self.samples[0].spans)

    def permuted(self, seed: int) -> "Dataset":
        """The same texts under labels permuted among groups, all of one group moving together."""
        rng = np.random.default_rng([seed, 1])  # not the permutations that the null is made of
        _, first, member = np.unique(self.group, return_index=True, return_inverse=True)
        taken = permute_groups(first[member], self.group, 1, rng)[0]
        return dataclasses.replace(
            self,
            label=self.label[taken],
            category=self.category[taken],
            other=None if self.other is None else self.other[taken],
        )

    def fingerprint(self) -> str:
        """SHA-256 of texts, spans, labels and groups."""
        other = None if self.other is None else self.other.tolist()
        known = (self.label.tolist(), self.group.tolist(), other)
        return hashlib.sha256((fingerprint(self.samples) + repr(known)).encode()).hexdigest()

    def shuffled_orders(self, n_orders: int, *, seed: int) -> Float[np.ndarray, "orders n"]:
        """Labels with the categories laid out in random orders, the place within one kept.

        A representation that merely looks categories up fits any order as well as the true one.
        Orders are drawn with replacement from all but those that leave the geometry as it is: the
        true one and its mirror image, in a cycle from wherever it begins. Categories of a single
        value exchange their values; others keep their width, for "log_linear" the width in log(y +
        1), the axis on which that shape measures.
        """
        rng = np.random.default_rng(seed)
        name = self.shape if isinstance(self.shape, str) else self.shape.name
        logarithmic = name == "log_linear"
        edges = np.log1p(self.edges) if logarithmic else self.edges
        label = np.log1p(self.label) if logarithmic else self.label
        place = label - edges[self.category]
        labels = []
        for _ in range(n_orders):
            order = _other_order(len(self.categories), self.period is not None, rng)
            begin, starts = np.empty(len(order)), edges[:-1]
            if place.any():
                starts = edges[0] + np.concatenate([[0], np.cumsum(np.diff(edges)[order])[:-1]])
            begin[order] = starts
            labels.append(begin[self.category] + place)
        return np.expm1(labels) if logarithmic else np.array(labels)

    def one_hot(self) -> Float[np.ndarray, "n category"]:
        """The lookup table itself, as features: it knows categories, and nothing of their order."""
        return np.eye(len(self.categories))[self.category]

    def _check_lengths(self) -> None:
        n = len(self.samples)
        arrays = {"label": self.label, "group": self.group, "category": self.category}
        if self.other is not None:
            arrays["other"] = self.other
        for name, values in arrays.items():
            if values.shape != (n,):
                raise ValueError(f"{name} has the shape {values.shape}, not {(n,)} as the samples")

    def _check_categories(self) -> None:
        count = len(self.categories)
        if self.edges.shape != (count + 1,) or not (np.diff(self.edges) > 0).all():
            raise ValueError(
                f"edges {self.edges.tolist()} must be {count + 1} rising numbers, for the "
                f"{count} categories {', '.join(self.categories)}"
            )
        fewest = 3 if self.period is None else 4
        if count < fewest:
            raise ValueError(
                f"{count} categories ({', '.join(self.categories)}) have no order that differs "
                f"from the true one; at least {fewest} are needed"
            )
        for row in np.flatnonzero((self.category < 0) | (self.category >= count))[:1]:
            raise ValueError(f"category {self.category[row]} of row {row} is not in 0..{count - 1}")

    def _check_labels(self) -> None:
        if self.period is not None and not 0 < self.period < np.inf:
            raise ValueError(f"period {self.period} must be a number above 0, or None")
        low, high = (-np.inf, np.inf) if self.period is None else (0, self.period)
        for values in (self.label,) if self.other is None else (self.label, self.other):
            for row in np.flatnonzero(~np.isfinite(values))[:1]:
                raise ValueError(f"label {values[row]} of row {row} is not finite")
            for row in np.flatnonzero((values < low) | (values >= high))[:1]:
                raise ValueError(f"label {values[row]} of row {row} is not in [0, {self.period})")
            # refuses a group of two labels, which could not be permuted
            permute_groups(values, self.group, 1, np.random.default_rng(0))
        begin, end = self.edges[self.category], self.edges[self.category + 1]
        # the largest label of a quantity without a period may be the end itself
        for row in np.flatnonzero((self.label < begin) | (self.label > end))[:1]:
            raise ValueError(
                f"label {self.label[row]} of row {row} is not in "
                f"{self.categories[self.category[row]]!r}, from {begin[row]} to {end[row]}"
            )

    def _check_words(self) -> None:
        for row, sample in enumerate(self.samples):
            if tuple(sample.spans) != self.words:
                raise ValueError(
                    f"row {row} has the words {', '.join(sample.spans)}, not "
                    f"{', '.join(self.words)} as the first"
                )
        for word in (self.source, self.destination, self.distractor):
            if word is not None and word not in self.words:
                raise ValueError(f"{word!r} is none of the words {', '.join(self.words)}")
        if not 0 <= self.before <= self.words.index(self.source):
            raise ValueError(
                f"before = {self.before} is not in 0..{self.words.index(self.source)}, the number "
                f"of words before {self.source!r}"
            )


def _other_order(count: int, cyclic: bool, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """A random order of the categories that is neither the true one nor its mirror image."""
    while True:
        order = rng.permutation(count)
        step = np.diff(order) % count if cyclic else np.diff(order)
        backward = count - 1 if cyclic else -1
        if not ((step == 1).all() or (step == backward).all()):
            return order
