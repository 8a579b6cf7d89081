"""Orders of categories on a cycle: the permutations that rival hypotheses allow."""

from itertools import permutations
from math import factorial

import numpy as np
from jaxtyping import Float, Int

MOST = 1000
"""Where fewer orders than this exist, all of them are taken."""

Orders = Int[np.ndarray, "order category"]


def all_orders(n_categories: int, n_orders: int, rng: np.random.Generator) -> Orders:
    """The true order, then others: every one where there are fewer than `MOST`, else drawn."""
    identity = np.arange(n_categories)
    if n_categories < 10 and factorial(n_categories) < MOST:
        return np.array(list(permutations(range(n_categories))))  # the first is the identity
    drawn = rng.permuted(np.tile(identity, (n_orders, 1)), axis=1)
    return np.concatenate([identity[None], drawn])


def cyclic_orders(n_categories: int, n_orders: int, rng: np.random.Generator) -> Orders:
    """As `all_orders`, of orders that no turn and no reflection carries into one another: what a
    statistic that turning and reflecting leave alone can tell apart."""
    if n_categories > 8 or factorial(n_categories - 1) // 2 >= MOST:
        return all_orders(n_categories, n_orders, rng)
    rest = permutations(range(1, n_categories))
    return np.array([(0, *order) for order in rest if order[0] < order[-1] or len(order) < 2])


def arcs(n_categories: int, n_arcs: int) -> list[list[Int[np.ndarray, " _"]]]:
    """Partitions of the cycle into arcs of neighbours as even as can be, one for each phase."""
    sizes = [len(part) for part in np.array_split(np.arange(n_categories), n_arcs)]
    even = n_categories % n_arcs == 0
    phases = range(sizes[0] if even else n_categories)
    cuts = np.cumsum(sizes)[:-1]
    return [np.split((np.arange(n_categories) + phase) % n_categories, cuts) for phase in phases]


def orders_within(
    clusters: list[Int[np.ndarray, " _"]], n_orders: int, rng: np.random.Generator
) -> Orders:
    """The true order, then others that exchange categories within their cluster only."""
    n_categories = sum(len(cluster) for cluster in clusters)
    orders = np.tile(np.arange(n_categories), (n_orders + 1, 1))
    for cluster in clusters:
        orders[1:, cluster] = rng.permuted(np.tile(cluster, (n_orders, 1)), axis=1)
    return orders


def number_within(clusters: list[Int[np.ndarray, " _"]]) -> float:
    """How many orders exchange categories within clusters only."""
    return float(np.prod([factorial(len(cluster)) for cluster in clusters], dtype=float))


def circle_frame(n_categories: int) -> Float[np.ndarray, "category 2"]:
    """Orthonormal cosine and sine of the categories' places on the circle."""
    angle = 2 * np.pi * (np.arange(n_categories) + 0.5) / n_categories
    return np.sqrt(2 / n_categories) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
