"""How often each finding says "supported" where it is false, and where it is true.

    python benchmarks/verdicts.py [--quick] [--only cycle] [--cache DIR] [--output docs/verdicts.md]

1. A row is a finding and a kind of data: noise with the structure of residual streams, a rival
   that is not what the finding says, or the effect itself at a size. Rows of intervals count how
   often the truth lies inside, after the selection that the study makes.
2. Every trial is one task with its own seed; what was computed lies in the cache, so that a run
   that was stopped goes on (`interp.tasks`).
3. A rate that should be at most r fails when a binomial test at .001 says that it is above r; power
   and coverage fail in the same way on their side. `--quick` takes a few trials of each row, which
   only a gross fault fails.

The exit status is 1 when a row fails.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import binomtest
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # planted codes and tiny models are the tests'

from rival_codes import MONTHS, noise, planted  # noqa: E402
from tiny_models import tiny_hf  # noqa: E402

from interp.affinity import fold  # noqa: E402
from interp.alignment import OK, Scores, matched_vs_scrambled, pairing_test  # noqa: E402
from interp.probes import probe_grid  # noqa: E402
from interp.selection import best_of  # noqa: E402
from interp.smds import cycle_test, within_category  # noqa: E402
from interp.tasks import digest, run_tasks  # noqa: E402
from interp.tasks.content import surroundings  # noqa: E402
from interp.weights import AttentionWeights  # noqa: E402
from studies.attention_affinity.routing import Turns, turned_changes  # noqa: E402
from studies.attention_affinity.unrelated import place  # noqa: E402

LEVEL, REFUSED, POWER, COVERED = 0.05, 10 / 120, 0.6, (0.92, 0.98)
"""Of false support on noise and under a rival, of true support, and of intervals."""
FAILS = 0.001
"""Level of the binomial test that says a rate is off."""
QUICK = 6
"""Data sets of each row of the quick table."""
HEADING = """# Verdicts

How often each finding says "supported" on data in which it is false or true, and how often limits
hold the truth; rates with Clopper-Pearson 95 % intervals. Written by
`python benchmarks/verdicts.py --output docs/verdicts.md`. Noise has three massive dimensions and a
rotated power spectrum; months stand on a random table of amplitude 2 at six depths, of which the
best counts. "low" says where an effect of this size is often missed.

"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    finding: str
    """What is said."""
    data: str
    """On which data."""
    function: Callable[..., bool]
    """Whether it is said, or the truth is covered, on the data of a seed."""
    arguments: tuple[Any, ...]
    """Of the function, before the seed."""
    due: Literal["level", "rival", "power", "covers"]
    """What the rate is held to."""
    trials: int = 120
    """Data sets of the whole table."""


def months(kind: str | None, circle: bool, amplitude: float, seed: int) -> bool:
    """Whether months of a code are called alike side by side, or a circle."""
    cells, month = planted(kind, amplitude=amplitude, seed=seed, depths=6)
    test = cycle_test(cells, month, names=MONTHS, n_orders=399, n_within=199, seed=seed)
    return float(test.largest_p(circle=circle).min()) <= LEVEL


def days(effect: float, seed: int) -> bool:
    """Whether a table of months, with a day's number of a size beside it, tells the day."""
    rng = np.random.default_rng(seed)
    day = rng.permutation(360).astype(float)
    month = (day // 30).astype(int)
    number = effect * (day % 30 - 14.5)[:, None] / 8.7 * rng.normal(size=64) / 8
    X = 3 * rng.normal(size=(12, 64))[month] + number + noise(360, 64, rng)
    found = within_category([("a", X)], day, month, day, period=360.0, n_permutations=99)
    return bool(found.test.p_family[0, 0] <= LEVEL)


def speakers(effect: float, seed: int) -> bool:
    """Whether the best of six cells tells who speaks, in eight transcripts whose turns share a
    deviation."""
    rng = np.random.default_rng(seed)
    turn = np.repeat(np.arange(96), 3)
    group, speaker = turn // 12, np.concatenate([rng.permutation([0, 1] * 6) for _ in range(8)])
    blocks = []
    for depth in range(6):
        X = noise(288, 24, rng) + rng.normal(size=(96, 24))[turn]
        X[:, 5] += effect * (2 * speaker[turn] - 1) * (depth == 2)
        blocks.append((f"block {depth}", X))
    grid = probe_grid(
        blocks, speaker[turn], groups=group, units=turn, n_splits=4, C=0.1, n_permutations=99,
        n_boot=0, n_jobs=1, seed=seed, progress=False,
    )  # fmt: skip
    return bool(np.nanmin(grid.test.p_family) <= LEVEL)


def flips(effect: float, covers: bool, seed: int) -> bool:
    """Whether the best of 30 cells that eight transcripts share lies above chance, or its limits
    hold the truth."""
    rng = np.random.default_rng(seed)
    scores = 0.5 + 0.05 * rng.normal(size=(8, 30)) + 0.03 * rng.normal(size=(8, 1))
    scores[:, 4] += effect
    found = best_of(scores, baseline=0.5, seed=seed)
    low, high = found.interval
    truth = effect * (found.best == 4)
    return bool(low <= truth <= high if covers else found.p[found.best] <= LEVEL)


def words(effect: float, seed: int) -> bool:
    """Whether vectors raise their own words, in slopes of 12 vectors on 12 words."""
    rng = np.random.default_rng(seed)
    across = rng.normal(size=(12, 12)) + rng.normal(size=12) + 2 * rng.normal(size=(12, 1))
    across[np.diag_indices(12)] += effect
    return pairing_test(Scores(across, 1e-9, OK)).p <= LEVEL


def pairs(effect: float, seed: int) -> bool:
    """Whether 60 pairs in five categories, whose texts share a template, align."""
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(5), 12)
    template = rng.normal(size=(2, 5, 64))
    common = effect * rng.normal(size=(60, 64))
    A, B = (noise(60, 64, rng) + side[category] + common for side in template)
    return matched_vs_scrambled(A, B, category.astype(str)).p <= LEVEL


@cache
def base() -> AttentionWeights:
    """One block of a small Llama."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_hf("llama").save_pretrained(folder)
        return AttentionWeights.from_checkpoint(Path(folder), 1)


def rerouted(seed: int) -> bool:
    """Whether a change made of inputs, as gradients are, is called rerouting along what varies
    most."""
    rng, one = np.random.default_rng(seed), base()
    d = one.W_Q.shape[1]
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    inputs = rng.normal(size=(200, d)) * np.geomspace(10, 0.1, d) @ axes.T

    def step(W: torch.Tensor) -> torch.Tensor:
        delta = rng.normal(size=(W.shape[0], len(inputs), W.shape[2]))
        change = torch.from_numpy(np.einsum("nd,hne->hde", inputs, delta)).to(W.dtype)
        return W + 0.05 * change * W.norm() / change.norm()

    other = AttentionWeights(**{**vars(one), "W_Q": step(one.W_Q), "W_K": step(one.W_K)})
    X, turns = torch.from_numpy(axes[:, :4].T.copy()), Turns()
    for changes in turned_changes(one, other, fold(one), X, [0], seed=seed):
        turns.add(changes.transpose(0, 1).flatten(1).numpy())
    return place(turns.best()) <= LEVEL


ALIKE, CYCLE = "neighbouring months are alike", "the months lie on a circle"
SINGLE = (None, "seasons", "halves", "spelling")
RIVALS = (*SINGLE, "line", "open arc", "axis", "axis + spelling", "axis + seasons", "axis + halves")


def rows() -> list[Row]:
    """The table."""
    made = [
        Row(ALIKE, kind or "unrelated directions", months, (kind, False, 5.0), "rival")
        for kind in SINGLE
    ]
    made += [
        Row(CYCLE, kind or "unrelated directions", months, (kind, True, 5.0), "rival")
        for kind in RIVALS
    ]
    made += [
        Row(ALIKE, f"a circle of amplitude {size:g}", months, ("circle", False, size), "power")
        for size in (1.0, 2.0, 5.0)
    ]
    made += [
        Row(CYCLE, f"a circle of amplitude {size:g}", months, ("circle", True, size), "power")
        for size in (1.0, 2.0, 5.0)
    ]
    day, who = (
        "a word tells the day within the month",
        "words tell who speaks, in unseen transcripts",
    )
    exchange, own = "it survives when names are exchanged", "a vector raises its own word"
    aligned, tuned = "pairs align within categories", "tuning changed how a head matches"
    return [
        *made,
        Row(day, "a table of months", days, (0.0,), "level", 400),
        Row(day, "a number of .5 beside it", days, (0.5,), "power"),
        Row(day, "a number of 1 beside it", days, (1.0,), "power"),
        Row(who, "turns that share a deviation", speakers, (0.0,), "level", 400),
        Row(who, "a speaker of .6 sd at one depth", speakers, (0.6,), "power"),
        Row(who, "a speaker of 1.2 sd at one depth", speakers, (1.2,), "power"),
        Row(exchange, "eight transcripts, 30 cells, chance", flips, (0.0, False), "level", 1000),
        Row(exchange, "an accuracy of .6 at one cell", flips, (0.1, False), "power"),
        Row(exchange, "an accuracy of .65 at one cell", flips, (0.15, False), "power"),
        Row("limits of the best cell", "chance", flips, (0.0, True), "covers", 1000),
        Row("limits of the best cell", "an accuracy of .6", flips, (0.1, True), "covers", 1000),
        Row(own, "vectors that move words in general", words, (0.0,), "level", 1000),
        Row(own, "an own word raised by .5 sd", words, (0.5,), "power"),
        Row(own, "an own word raised by 1 sd", words, (1.0,), "power"),
        Row(aligned, "templates alone", pairs, (0.0,), "level", 1000),
        Row(aligned, "a common part of .1", pairs, (0.1,), "power"),
        Row(aligned, "a common part of .5", pairs, (0.5,), "power"),
        Row(tuned, "a change along what varies most", rerouted, (), "level", 400),
    ]


def judged(row: Row, hits: int, n: int) -> str:
    """ "holds", "FAILS", or for power below the bar "low"."""

    def fails(bound: float, side: Literal["greater", "less"]) -> bool:
        return binomtest(hits, n, bound, alternative=side).pvalue < FAILS

    if row.due == "power":
        return "low" if hits < POWER * n else "holds"
    if row.due == "covers":
        return "FAILS" if fails(COVERED[0], "less") or fails(COVERED[1], "greater") else "holds"
    return "FAILS" if fails(LEVEL if row.due == "level" else REFUSED, "greater") else "holds"


def line(row: Row, hits: int, n: int) -> str:
    """The row as Markdown."""
    low, high = binomtest(hits, n).proportion_ci(0.95, method="exact")
    due = {
        "level": f"at most {LEVEL:g}",
        "rival": "at most 10 of 120",
        "power": f"power, {POWER:g}",
        "covers": f"{COVERED[0]:g} to {COVERED[1]:g}",
    }[row.due]
    rate = f"{hits} of {n}: {hits / n:.3f} [{low:.3f}, {high:.3f}]"
    return f"| {row.finding} | {row.data} | {rate} | {due} | {judged(row, hits, n)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the table; 1 when a row fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few data sets of each row")
    parser.add_argument("--only", default="", help="rows whose finding or data hold these words")
    parser.add_argument("--jobs", type=int, default=None, help="worker processes")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "cache" / "verdicts")
    parser.add_argument("--output", type=Path, default=None, help="a page to write the table to")
    options = parser.parse_args(arguments)
    chosen = [row for row in rows() if options.only in f"{row.finding} {row.data}"]
    table = [
        "| finding | data | supported, or covered | due | |",
        "|---|---|---|---|---|",
    ]
    failed, code = False, digest([surroundings(each) for each in (cycle_test, turned_changes)])
    for row in tqdm(chosen, unit="row", file=sys.stderr):
        n = QUICK if options.quick else row.trials
        tasks = [(*row.arguments, seed) for seed in range(n)]
        # results of the code as it is: a task's key knows this file's source only
        cache_of = None if options.quick else options.cache / code
        hits = sum(map(bool, run_tasks(row.function, tasks, n_jobs=options.jobs, cache=cache_of)))
        table.append(line(row, hits, n))
        failed |= judged(row, hits, n) == "FAILS"
    page = "\n".join(table) + "\n"
    print(page)
    if options.output is not None:
        options.output.write_text(HEADING + page, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
