"""Do the categories of a cycle (months, weekdays, hours) lie on a circle at some depth?

1. `category_gram` gives each depth the Gram matrix of its category means.
2. Each rival of `interp.smds._rivals` has a statistic and a null of orders of the categories, the
   same orders at all depths; a depth is held to the largest studentised statistic over depths
   (max-T), so that the depth may be chosen afterwards.
3. *Neighbours are alike, and no single rival explains it*: every condition on single rivals holds
   at one depth. *Circle*: the conditions on the minor axis hold there as well, since compounds of
   rivals (an axis beside clusters or beside spelling) pass the single ones.

All conditions must hold, so their p values need no correction among one another
(intersection-union, Berger 1982). A p that few categories cannot bring below the level is told as
that condition's floor, and then nothing is decided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from interp.arrays import group_means, one_per_group
from interp.smds import _rivals as rivals
from interp.smds._category_gram import CategoryGram, category_gram
from interp.smds._orders import (
    all_orders,
    arcs,
    circle_frame,
    cyclic_orders,
    number_within,
    orders_within,
)

ARCS = {"half": 2, "third": 3, "quarter": 4}
"""Clusters that neighbours may form: arcs of a half, a third and a quarter of the cycle."""

SINGLE = ("lookup table", *(f"clusters of a {name}" for name in ARCS), "open chain", "one axis")
"""Conditions on single rivals; "spelling" joins them where the categories have names."""

MINOR = ("one axis beside clusters of a quarter", "one axis beside clusters of a half")
"""Conditions on compounds; "one axis beside spelling" joins them where categories have names."""


@dataclass(frozen=True)
class RivalTest:
    """One position's depths, held to what else would bring neighbouring categories together."""

    depths: tuple[str, ...]
    """Names of the depths."""
    p: Mapping[str, Float[np.ndarray, " depth"]]
    """By rival, the p of refusing it at each depth, family-wise over depths."""
    floor: Mapping[str, float]
    """By rival, the least p that so few categories or so many draws allow."""
    share: Float[np.ndarray, " depth"]
    """Part of the squared distances of category means that lies in the claimed geometry."""

    def largest_p(self) -> Float[np.ndarray, " depth"]:
        """At each depth the largest p over the rivals."""
        return np.max(list(self.p.values()), axis=0)

    def best(self) -> int:
        """The depth whose largest p is least."""
        return int(np.argmin(self.largest_p()))

    def tests(self, depth: int) -> dict[str, tuple[float, float]]:
        """By rival, p and floor at one depth, as a finding takes them."""
        return {name: (float(p[depth]), self.floor[name]) for name, p in self.p.items()}

    def undecidable(self, level: float = 0.05) -> tuple[str, ...]:
        """Rivals that this design cannot refuse at a level, whatever the data are."""
        return tuple(name for name in self.p if self.floor[name] > level)

    def standing(self, level: float = 0.05) -> tuple[str, ...]:
        """Rivals that are not refused at the best depth."""
        tests = self.tests(self.best())
        return tuple(name for name, (p, _) in tests.items() if not p <= level)

    def table(self) -> pd.DataFrame:
        """One row per depth: the share, and p by rival."""
        columns = {f"p, {name}": values for name, values in self.p.items()}
        return pd.DataFrame({"depth": self.depths, "share": self.share, **columns})


@dataclass(frozen=True)
class CycleTest(RivalTest):
    """One position's depths, held to all rivals of a circle, compounds of rivals among them. The
    share is that in the circle's plane; a lookup table has 2 / (categories - 1)."""

    closed: Float[np.ndarray, " depth"]
    """Largest p of closeness over all breaks of the cycle: whether it is open nowhere."""
    whitened: Bool[np.ndarray, " depth"]
    """Whether rows vary within categories, so that their covariance was divided out."""
    grams: tuple[CategoryGram, ...]
    """The Gram matrices tested."""

    @property
    def neighbours(self) -> RivalTest:
        """The test of neighbours that are alike: single rivals, no compounds."""
        p = {name: values for name, values in self.p.items() if not _is_compound(name)}
        return RivalTest(self.depths, p, self.floor, self.share)


def cycle_test(
    cells: Iterable[tuple[str, Float[np.ndarray, "n d"]]],
    category: Int[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    names: Sequence[str] | None = None,
    n_categories: int | None = None,
    n_orders: int = 999,
    n_within: int = 499,
    seed: int = 0,
) -> CycleTest:
    """Hold the category means of one position at every depth to the rivals of a circle.

    Args:
        cells: (depth, activations) of one position.
        category: Place of each row's category on the cycle, 0 to `n_categories` - 1.
        groups: Texts that state one fact, which are averaged first; by default every row is one of
            its own. The test counts them only in the covariance.
        names: How the categories are written, for the rival that names written alike are alike.
        n_categories: Length of the cycle; by default the number of names, or of categories seen.
        n_orders: Draws of a null over whole orders (all orders where there are fewer than 1,000).
        n_within: Draws of a null within clusters, for each of their phases.
        seed: Of the draws.

    Raises:
        ValueError: no cells, fewer than four categories, a category without a row, or names of
            another number than categories.
    """
    number = n_categories or (len(names) if names is not None else int(category.max()) + 1)
    if number < 4:
        raise ValueError(f"a cycle of {number} categories has no order to test; 4 are needed")
    depths, grams = category_grams(cells, category, groups, names, number)
    nulls = _Nulls(number, names, n_orders, n_within, np.random.default_rng(seed))
    p = {name: nulls.p(name, grams) for name in nulls.names}
    return CycleTest(
        depths=depths,
        p=p,
        floor={name: nulls.floor(name) for name in nulls.names},
        closed=np.max([nulls.chain(grams, first) for first in range(number)], axis=0),
        share=np.array([share_along(gram.distances, circle_frame(number)) for gram in grams]),
        whitened=np.array([gram.whitened for gram in grams]),
        grams=grams,
    )


def category_grams(
    cells: Iterable[tuple[str, Float[np.ndarray, "n d"]]],
    category: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"] | None,
    names: Sequence[str] | None,
    n_categories: int,
) -> tuple[tuple[str, ...], tuple[CategoryGram, ...]]:
    """Names of the depths, and the Gram matrix of each, over means of groups if there are any.

    Raises:
        ValueError: no cells, a category without a row, a group of two categories, or names of
            another number than categories.
    """
    if names is not None and len(names) != n_categories:
        raise ValueError(f"{len(names)} names for {n_categories} categories")
    if groups is not None:
        first, member = one_per_group(groups, {"categories": category})
        cells = [(depth, group_means(X, member)) for depth, X in cells]
        category = category[first]
    named = [(depth, category_gram(X, category, n_categories)) for depth, X in cells]
    if not named:
        raise ValueError("there are no cells to test")
    depths, grams = zip(*named, strict=True)
    return depths, grams


class _Nulls:
    """The draws of every null, made once and shared by all depths."""

    def __init__(
        self,
        number: int,
        names: Sequence[str] | None,
        n_orders: int,
        n_within: int,
        rng: np.random.Generator,
    ):
        self.orders = all_orders(number, n_orders, rng)
        self.cyclic = cyclic_orders(number, n_orders, rng)
        self.noise = rng.normal(size=(n_orders, number))
        self.clusters = {name: arcs(number, n) for name, n in ARCS.items() if number >= 2 * n}
        self.within = {
            name: [orders_within(phase, n_within, rng) for phase in phases]
            for name, phases in self.clusters.items()
        }
        self.kernels = None if names is None else rivals.spelling_kernels(names)
        single = [name for name in SINGLE if _arc(name) is None or _arc(name) in self.clusters]
        minor = [name for name in MINOR if _arc(name) in self.clusters]
        spelling = [] if names is None else ["spelling"]
        both = [] if names is None else ["one axis beside spelling"]
        self.names = (*single, *spelling, *minor, *both)

    def p(self, name: str, grams: Sequence[CategoryGram]) -> Float[np.ndarray, " depth"]:
        """Family-wise p of one condition at every depth; the largest over the clusters' phases."""
        levelled = [gram.directions for gram in grams]
        if name == "open chain":
            return self.chain(grams, 0)
        if name == "one axis":
            return family_p([rivals.axis_statistic(A, self.noise) for A in levelled])
        if name == "lookup table":
            return family_p([rivals.order_statistic(A, self.cyclic) for A in levelled])
        if self.kernels is not None and name.endswith("spelling"):
            minor = name.startswith("one axis")
            statistic = rivals.minor_spelling_statistic if minor else rivals.spelling_statistic
            return family_p([statistic(A, self.kernels, self.orders) for A in levelled])
        minor = name.startswith("one axis")
        statistic = rivals.minor_axis_statistic if minor else rivals.order_statistic
        phases = self.within[_arc(name) or ""]
        return np.max(
            [family_p([statistic(A, orders) for A in levelled]) for orders in phases], axis=0
        )

    def chain(self, grams: Sequence[CategoryGram], first: int) -> Float[np.ndarray, " depth"]:
        """Family-wise p of closeness across one break."""
        return family_p([rivals.chain_statistic(g.distances, self.orders, first) for g in grams])

    def floor(self, name: str) -> float:
        """Least p that the condition's null allows."""
        if (arc := _arc(name)) is not None:
            # a reflection of all clusters at once is no other statistic
            draws = len(self.within[arc][0])
            return max(1 / draws, *(1 / number_within(phase) for phase in self.clusters[arc]))
        if name == "one axis":
            return 1 / (len(self.noise) + 1)
        return 1 / len(self.cyclic if name == "lookup table" else self.orders)


def family_p(statistics: Sequence[Float[np.ndarray, " draw"]]) -> Float[np.ndarray, " depth"]:
    """p of row 0 at every depth, held to the largest studentised statistic over depths.

    Row 0 is among the draws (Phipson & Smyth 2010). A depth whose statistic never varies has p 1.
    """
    table = np.stack(statistics, axis=1)
    sd = table.std(axis=0)
    # below that, draws differ by the rounding of sums over some hundred pairs
    varies = sd > 1e-12 * np.abs(table).max(axis=0)
    studentised = np.divide(
        table - table.mean(axis=0), sd, out=np.full(table.shape, -np.inf), where=varies
    )
    largest = studentised.max(axis=1)
    # ties are decided against the claim, within the same rounding
    p = np.mean(largest[:, None] >= studentised[0] - 1e-9, axis=0)
    return np.where(varies, p, 1.0)


def _is_compound(name: str) -> bool:
    return name.startswith("one axis beside")


def _arc(name: str) -> str | None:
    return next((arc for arc in ARCS if name.endswith(f"clusters of a {arc}")), None)


def share_along(
    distances: Float[np.ndarray, "category category"], frame: Float[np.ndarray, "category k"]
) -> float:
    """Part of the squared distances of category means that lies in a frame; NaN where all are 0."""
    total = np.trace(distances)
    return float(np.trace(frame.T @ distances @ frame) / total) if total > 0 else np.nan
