"""Probes with their null: this project's grid against a plain scikit-learn loop, in one run.

    python benchmarks/probes.py [--rounds 5] [--permutations 200] [--width 4096]

The grid it stands for has 33 blocks x 5 cells of 200 rows (40 transcripts) x 4096 features, stored
in float32; cells are alike and independent, so a few are timed, both sides in turn under one
thread, and the table shows the medians of the rounds' ratios. The loop is what one would write:
`make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))` under
`StratifiedGroupKFold`. Of its permutations it runs a few and is charged for all in proportion. It
gives accuracies and a null; ours also AUROCs with their null, intervals over transcripts, and the
score of folds that ignore transcripts.

The loop keeps every advantage that does not change its answer: scikit-learn's default tolerance of
1e-4, where ours solves to 1e-8, and float32 features, where ours are float64.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from interp.probes import probe_grid
from interp.stats import Resampling
from interp.tasks import Workers

ROWS, GROUPS, FOLDS, SEED = 200, 40, 5, 42
BLOCKS, CELLS = 33, 5
SAMPLED_PERMUTATIONS = 4
TOLERANCE, MAX_ITERATIONS = 1e-4, 1000


def activations(d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels, transcripts and turns: a weak class direction, noise shared within turns."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), ROWS // GROUPS)
    y = np.concatenate([rng.permutation(np.arange(ROWS // GROUPS) % 2) for _ in range(GROUPS)])
    scales = rng.lognormal(size=d)
    X = rng.normal(size=(ROWS, d)) + rng.normal(size=(GROUPS, d))[groups]
    X += 0.3 * np.outer(y - 0.5, rng.normal(size=d))
    return (scales * X).astype(np.float32), y, groups, np.arange(ROWS)


def plain_score(X: np.ndarray, y: np.ndarray, folds: list) -> float:
    """Balanced accuracy of pooled held-out predictions, as one would write it."""
    predicted = np.empty(len(y), dtype=int)
    for train, test in folds:
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=1.0, tol=TOLERANCE, max_iter=MAX_ITERATIONS, class_weight="balanced"
            ),
        )
        predicted[test] = probe.fit(X[train], y[train]).predict(X[test])
    return float(balanced_accuracy_score(y, predicted))


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def one_round(d: int, permutations: int, seed: int) -> tuple[float, float, float]:
    """Seconds of the loop and of ours for one cell, and how far their scores differ."""
    X, y, groups, units = activations(d, seed)
    rng = np.random.default_rng(seed)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    folds = list(splitter.split(X, y, groups))
    score = plain_score(X, y, folds)
    shuffled = [rng.permutation(y) for _ in range(SAMPLED_PERMUTATIONS)]
    each = seconds(lambda: [plain_score(X, labels, folds) for labels in shuffled])
    loop = each / SAMPLED_PERMUTATIONS * (permutations + 1)
    options = {"groups": groups, "units": units, "workers": Workers(n_jobs=1, progress=False)}
    options |= {"resampling": Resampling(permutations, FOLDS, SEED)}

    def ours(cells: int):
        blocks = [(str(cell), X) for cell in range(cells)]
        return probe_grid(blocks, y, **options)

    # The design is shared by all cells of a grid, so a cell costs a grid of two less one.
    once = seconds(lambda: ours(1))
    grid = ours(1)
    cell = max(seconds(lambda: ours(2)) - once, 1e-9)
    return loop, cell, abs(float(grid.score[0, 0]) - score)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--width", type=int, default=4096)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        rounds = [
            one_round(arguments.width, arguments.permutations, seed)
            for seed in range(arguments.rounds)
        ]
    loop, ours, difference = np.array(rounds).T
    ratios = loop / ours
    whole = BLOCKS * CELLS
    print(
        f"one cell: {ROWS} rows, {GROUPS} transcripts, {arguments.width} features, {FOLDS} folds, "
        f"{arguments.permutations} permutations, one thread, {arguments.rounds} rounds"
    )
    print(
        f"  plain loop   {np.median(loop):7.2f} s   "
        f"({SAMPLED_PERMUTATIONS} label vectors timed, charged for {arguments.permutations + 1})"
    )
    print(f"  probe_grid   {np.median(ours):7.2f} s   (AUROCs, intervals and leaky score included)")
    print(
        f"  ratio        {np.median(ratios):7.1f} x   "
        f"(rounds: {', '.join(f'{ratio:.1f}' for ratio in ratios)})"
    )
    print(f"  held-out scores differ by at most {difference.max():.4f}")
    print(
        f"whole grid, {BLOCKS} blocks x {CELLS} cells, one thread, from these medians: "
        f"{np.median(loop) * whole / 60:.0f} min against {np.median(ours) * whole / 60:.1f} min"
    )


if __name__ == "__main__":
    main()
