"""Do the categories of a quantity that does not return (ages, durations) lie in their order?

As `interp.smds._cycle`, with a line in place of the circle: each rival has a statistic of the Gram
matrix of category means and a null of orders of the categories, held to the largest over depths.

- *lookup table*, noise: spread of A along the line of ranks, against orders.
- *clusters*, a few sorts such as young and old: the same, against orders that exchange categories
  within a half, or a third, of the range only.
- *spelling*: partial correlation of A with the line's kernel given spelling, against orders.

All must be refused at one depth. That makes an order, not an even spacing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.smds import _rivals as rivals
from interp.smds._cycle import RivalTest, category_grams, family_p, share_along
from interp.smds._orders import all_orders, number_within, orders_within

PARTS = {"halves": (2, 6), "thirds": (3, 9)}
"""Clusters by name: into how many, and the categories from which on they hold three or more."""


@dataclass(frozen=True)
class ChainTest(RivalTest):
    """One position's depths, held to what else than an order would bring neighbours together. The
    share is that along the line of ranks; a lookup table has 1 / (categories - 1)."""


def chain_test(
    cells: Iterable[tuple[str, Float[np.ndarray, "n d"]]],
    category: Int[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    names: Sequence[str] | None = None,
    n_categories: int | None = None,
    n_orders: int = 999,
    seed: int = 0,
) -> ChainTest:
    """Hold the category means of one position at every depth to the rivals of an order.

    Args:
        cells: (depth, activations) of one position.
        category: Rank of each row's category, 0 to `n_categories` - 1.
        groups: Texts that state one fact, which are averaged first; by default every row is one of
            its own.
        names: How the categories are written, for the rival that names written alike are alike.
        n_categories: By default the number of names, or of categories seen.
        n_orders: Draws of each null (all orders where there are fewer than 1,000).
        seed: Of the draws.

    Raises:
        ValueError: no cells, fewer than four categories, a category without a row, or names of
            another number than categories.
    """
    number = n_categories or (len(names) if names is not None else int(category.max()) + 1)
    if number < 4:
        raise ValueError(f"{number} categories have no order to test; 4 are needed")
    depths, grams = category_grams(cells, category, groups, names, number)
    frame, rng = line_frame(number), np.random.default_rng(seed)
    levelled = [gram.directions for gram in grams]
    # the order read backwards is the same line
    every = all_orders(number, n_orders, rng)
    p = {"lookup table": family_p([rivals.order_statistic(A, every, frame) for A in levelled])}
    floor = {"lookup table": 2 / len(every) if number < 7 else 1 / len(every)}
    for name, (parts, fewest) in PARTS.items():
        if number < fewest:
            continue
        clusters = np.array_split(np.arange(number), parts)
        orders = orders_within(clusters, n_orders, rng)
        rival = f"clusters of {name}"
        p[rival] = family_p([rivals.order_statistic(A, orders, frame) for A in levelled])
        floor[rival] = max(1 / len(orders), 1 / number_within(clusters))
    if names is not None:
        kernels = rivals.spelling_kernels(names)
        p["spelling"] = family_p(
            [rivals.spelling_statistic(A, kernels, every, frame) for A in levelled]
        )
        floor["spelling"] = floor["lookup table"]
    share = np.array([share_along(gram.distances, frame) for gram in grams])
    return ChainTest(depths, p, floor, share)


def line_frame(n_categories: int) -> Float[np.ndarray, "category 1"]:
    """Unit vector of the categories' ranks, centred."""
    rank = np.arange(n_categories) - (n_categories - 1) / 2
    return (rank / np.linalg.norm(rank))[:, None]
