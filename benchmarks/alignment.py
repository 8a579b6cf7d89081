"""Matched against scrambled pairs at every block: exact moments against a permutation loop.

    python benchmarks/alignment.py [--rounds 5] [--blocks 33] [--pairs 200] [--width 2048]

Both sides get the same float32 activations of 200 pairs at 33 blocks and return matched and
expected cosine, z and p per block, on one thread, in turn. The loop is what one would write: unit
rows once, then 1,000 times the mean of the products with permuted rows. It keeps float32; ours
works in float64. The loop's cost is timed on a few blocks and charged for all, which are alike.
`within` scrambles within five categories, as ours then does by adding moments up.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from interp.alignment import matched_vs_scrambled

PERMUTATIONS, CATEGORIES, TIMED_BLOCKS = 1000, 5, 3

Result = tuple[float, float, float, float]


def activations(blocks: int, n: int, d: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share a part, with a level common to all rows, as residual streams have it."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d), dtype=np.float32)
    level = 3 * rng.standard_normal(d, dtype=np.float32)

    def side() -> np.ndarray:
        return common + level + 2 * rng.standard_normal((n, d), dtype=np.float32)

    return [(side(), side()) for _ in range(blocks)]


def loop(A: np.ndarray, B: np.ndarray, strata: np.ndarray | None, seed: int) -> Result:
    """Matched and expected mean cosine, z and p from 1,000 permutations."""
    rng = np.random.default_rng(seed)
    A = A / np.linalg.norm(A, axis=1, keepdims=True)
    B = B / np.linalg.norm(B, axis=1, keepdims=True)
    members = [np.arange(len(A))]
    if strata is not None:
        members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    matched = (A * B).sum(axis=1).mean()
    null = np.empty(PERMUTATIONS)
    for number in range(PERMUTATIONS):
        order = np.arange(len(A))
        for rows in members:
            order[rows] = rng.permutation(rows)
        null[number] = (A * B[order]).sum(axis=1).mean()
    z = (matched - null.mean()) / null.std()
    return matched, null.mean(), z, (1 + (null >= matched).sum()) / (PERMUTATIONS + 1)


def ours(A: np.ndarray, B: np.ndarray, strata: np.ndarray | None, _seed: int) -> Result:
    """The same from exact moments."""
    test = matched_vs_scrambled(A, B, strata)
    return test.matched, test.expected, test.z, test.p


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=33)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--width", type=int, default=2048)
    arguments = parser.parse_args()
    n, blocks = arguments.pairs, arguments.blocks
    category = np.arange(n) % CATEGORIES
    print(f"{n} pairs, {blocks} blocks x {arguments.width}, one thread, {arguments.rounds} rounds")
    with threadpool_limits(1):
        for name, strata in (("plain", None), ("within", category)):
            ratios, times = [], []
            for seed in range(arguments.rounds):
                cells = activations(blocks, n, arguments.width, seed)
                few = cells[:TIMED_BLOCKS]
                slow = seconds(lambda few=few, s=strata, r=seed: [loop(*c, s, r) for c in few])
                slow *= blocks / len(few)
                fast = seconds(lambda cells=cells, s=strata: [ours(*c, s, 0) for c in cells])
                ratios.append(slow / fast)
                times.append((slow, fast))
            sampled, exact = loop(*cells[0], strata, 0), ours(*cells[0], strata, 0)
            slow, fast = np.median(times, axis=0)
            print(
                f"{name:>7}: loop {slow:6.2f} s, exact {fast:5.2f} s, ratio "
                f"{np.median(ratios):.0f}x ({min(ratios):.0f}-{max(ratios):.0f}); "
                f"z {exact[2]:.1f} exact, {sampled[2]:.1f} sampled"
            )


if __name__ == "__main__":
    main()
