"""SMDS grid: this project's solver against the published procedure, in one run.

    python benchmarks/smds.py [--rounds 5] [--widths 768 4096]
    python benchmarks/smds.py --whole        1,000 texts x 13 blocks x 33 words x d 768

Both score the same cell (1000 rows, float32, a circle of 365 days) by three-fold cross-validation
under one thread, in turn, round after round; the table shows medians of the rounds' *ratios*, so
that a noisy machine slows both sides of a ratio. With 200 permutations the published procedure is
charged its measured run 201 times over, as it has no cheaper way. That procedure is written out
below from its description (Tiblias et al. 2025, arXiv 2510.01025; package `smds` 1.6.6, which needs
a newer Python than this project supports) and is first held to that package's own scores.

The floor is the arithmetic that no exact float64 solver avoids here: one Gram product and three
Cholesky factors. "at the floor" is how much faster than the published procedure that floor itself
is: no exact solver can do better on the same machine.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor
from scipy.linalg import eigh
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from interp.smds import smds_grid
from interp.stats import Resampling
from interp.tasks import Workers

REFERENCE = Path(__file__).parents[1] / "tests" / "reference"
ROWS, FOLDS, PERMUTATIONS = 1000, 3, 200


def published_distances(y: np.ndarray) -> np.ndarray:
    """Circular ideal distances of min-max rescaled labels, [n, n]."""
    turn = (y - y.min()) / (y.max() - y.min())
    gap = np.abs(turn[:, None] - turn[None, :])
    return 2 * np.sin(np.pi * np.minimum(gap, 1 - gap))


def published_fold_score(
    X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, alpha: float
) -> float:
    """One fit and score as published: a full eigenproblem, then a d x d inverse."""
    n = len(train)
    centring = np.eye(n) - np.ones((n, n)) / n
    values, vectors = eigh(-0.5 * centring @ published_distances(y[train]) ** 2 @ centring)
    Y = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0))
    mean = X[train].mean(axis=0)
    rows, targets = X[train] - mean, Y - Y.mean(axis=0)
    inverse = np.linalg.inv(rows.T @ rows + alpha * np.eye(X.shape[1]))
    Z = (X[test] - mean) @ (targets.T @ rows @ inverse).T
    predicted = np.linalg.norm(Z[:, None, :] - Z[None, :, :], axis=-1)
    pairs = np.triu_indices(len(test), 1)
    d, dhat = published_distances(y[test])[pairs], predicted[pairs]
    scale = (d @ dhat) / (dhat @ dhat)
    return float(1 - np.sqrt(((d - scale * dhat) ** 2).sum() / (d @ d)))


def published_scores(X: np.ndarray, y: np.ndarray, alpha: float = 1.0) -> list[float]:
    """Cross-validated scores of the published procedure."""
    folds = KFold(FOLDS, shuffle=True, random_state=42).split(X)
    return [published_fold_score(X, y, train, test, alpha) for train, test in folds]


def check_against_the_package() -> float:
    """Largest difference between the procedure above and the package's own scores."""
    rows = json.loads((REFERENCE / "smds_1_6_6.json").read_text())["rows"]
    data = np.load(REFERENCE / "smds_1_6_6.npz", allow_pickle=False)
    worst = 0.0
    for row in rows:
        if row["shape"] == "circular" and not row["orthonormal"]:
            X, y = data[f"X{row['problem']}"], data[f"y{row['problem']}"]
            ours = published_scores(X, y, row["alpha"])
            worst = max(worst, float(np.abs(np.subtract(ours, row["cv3_shuffle_seed42"])).max()))
    if worst > 1e-6:
        raise SystemExit(f"the published procedure is off by {worst:.1e}: no fair comparison")
    return worst


def floor(X: np.ndarray) -> None:
    """One Gram product and one Cholesky factor per fold."""
    rows = X.astype(np.float64)
    kernel = rows @ rows.T + ROWS * np.eye(ROWS)
    train = ROWS * (FOLDS - 1) // FOLDS
    for _ in range(FOLDS):
        np.linalg.cholesky(kernel[:train, :train])


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(d: int, rounds: int) -> list[float]:
    """Medians at width d: four ratios, then seconds of both sides."""
    rng = np.random.default_rng(0)
    days = rng.integers(0, 365, ROWS).astype(float)
    angle = 2 * np.pi * days / 365
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X = (circle @ rng.normal(size=(2, d)) + rng.normal(size=(ROWS, d))).astype(np.float32)
    options = {"groups": np.arange(ROWS), "workers": Workers(n_jobs=1, progress=False)}

    def ours(permutations: int) -> float:
        # The design is shared by all cells of a grid, so a cell costs a grid of three less one.
        few, more = ([("b", np.repeat(X[None], cells, 0))] for cells in (1, 3))
        drawn = Resampling(permutations)
        once = seconds(lambda: smds_grid(few, days, resampling=drawn, **options))
        thrice = seconds(lambda: smds_grid(more, days, resampling=drawn, **options))
        return max(thrice - once, 1e-6) / 2

    ratios, times = [], []
    for _ in range(rounds):
        published = seconds(lambda: published_scores(X, days))
        least = seconds(lambda: floor(X))
        plain, nulled = ours(1), ours(PERMUTATIONS)
        null = published * (PERMUTATIONS + 1) / nulled
        ratios.append((published / plain, published / least, 100 * least / plain, null))
        times.append((published, plain, nulled))
    return np.concatenate([np.median(ratios, axis=0), np.median(times, axis=0)]).tolist()


def whole_grid() -> None:
    """A study's grid in one command, on every core: time and peak memory."""
    blocks, words, d, permutations = 13, 33, 768, 100
    rng = np.random.default_rng(0)
    days = rng.integers(0, 365, ROWS).astype(float)

    def stream():
        for block in range(blocks):
            yield f"block {block}", rng.standard_normal((words, ROWS, d), dtype=np.float32)

    start = time.perf_counter()
    smds_grid(stream(), days, groups=days, period=365, resampling=Resampling(permutations))
    minutes = (time.perf_counter() - start) / 60
    get_reusable_executor().shutdown(wait=True)  # only workers that have ended are accounted for
    own, child = (
        resource.getrusage(who).ru_maxrss / 1e6  # kB on Linux
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    workers = os.cpu_count() or 1
    print(
        f"{ROWS} texts x {blocks} blocks x {words} words x d {d}, {permutations} permutations: "
        f"{minutes:.1f} min on {workers} cores; peak memory at most {own + workers * child:.2f} GB "
        f"({own:.2f} GB here, {child:.2f} GB in the largest of {workers} workers)"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="SMDS grid against the published procedure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[768, 4096])
    parser.add_argument("--whole", action="store_true", help="a study's whole grid instead")
    arguments = parser.parse_args()
    if arguments.whole:
        return whole_grid()
    with threadpool_limits(1):
        print(f"published procedure within {check_against_the_package():.1e} of the package")
        print(f"{ROWS} rows, {FOLDS} folds, one thread, medians over {arguments.rounds} rounds")
        print(
            "    d   times faster   at the floor   % of the floor   faster with 200 permutations   "
            "s per cell: published, ours, ours with null"
        )
        for d in arguments.widths:
            faster, bound, share, null, *times = measure(d, arguments.rounds)
            print(
                f"{d:5d}   {faster:12.1f}   {bound:12.1f}   {share:14.0f}   {null:28.0f}   "
                + ", ".join(f"{value:.3f}" for value in times)
            )


if __name__ == "__main__":
    main()
