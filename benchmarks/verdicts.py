"""How often each finding says "supported" where it is false, and where it is true.

    python benchmarks/verdicts.py [--quick] [--only cycle] [--cache DIR] [--output docs/verdicts.md]

1. A row is a finding and a kind of data: noise with the structure of residual streams, a rival
   that is not what the finding says, or the effect itself at a size. Rows of intervals count how
   often the truth lies inside, after the selection that the study makes.
2. Every trial is one task with its own seed; what was computed lies in the cache, so that a run
   that was stopped goes on (`interp.tasks`).
3. A rate that should be at most r fails when a binomial test at .001 says that it is above r; a
   rate above r that does not fail is tried again on 400 fresh data sets, which decide. Power and
   coverage fail in the same way on their side. `--quick` takes a few trials of each row, which only
   a gross fault fails.

The exit status is 1 when a row fails.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import verdict_trials as trials
from scipy.stats import binomtest
from tqdm import tqdm
from verdict_trials import ROOT

from interp.smds import cycle_test
from interp.tasks import Workers, digest, run_tasks
from interp.tasks._content import surroundings

LEVEL, REFUSED, POWER, COVERED = 0.05, 10 / 120, 0.6, (0.92, 0.98)
"""Of false support on noise and under a rival, of true support, and of intervals."""
FAILS = 0.001
"""Level of the binomial test that says a rate is off."""
FRESH = 400
"""Further data sets that decide where a rate is above what it should be, and not surely so."""
QUICK = 4
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
    least: float = POWER
    """Of a row of power, what it should be."""


SINGLE = (None, "seasons", "halves", "spelling")
RIVALS = (*SINGLE, "line", "open arc", "axis", "axis + spelling", "axis + seasons", "axis + halves")
CIRCLES = {1.0: ".05", 1.5: ".40", 2.9: ".78"}
"""Amplitudes of a circle, by the leave-one-month-out R2 that they give (mean over depths)."""


def rows() -> list[Row]:
    """The table."""
    return [*_dates(), *_speakers(), *_concepts(), *_pairs(), *_heads()]


def _dates() -> list[Row]:
    alike, cycle = "neighbouring months are alike", "the months lie on a circle"
    made = []
    for finding, circle, kinds in ((alike, False, SINGLE), (cycle, True, RIVALS)):
        for kind in kinds:
            name = kind or "unrelated directions"
            made.append(Row(finding, name, trials.months, (kind, circle, 5.0), "rival"))
        for size, r2 in CIRCLES.items():
            name, least = f"a circle of R2 {r2}", 0.95 if circle and size > 2 else 0.6
            given = ("circle", circle, size)
            made.append(Row(finding, name, trials.months, given, "power", least=least))
    order, carried = "categories lie in their order", "a word carries the date"
    for kind in ("unrelated directions", "halves", "thirds"):
        made.append(Row(order, kind, trials.ordered, (kind, 5.0), "rival"))
    for size in (1.0, 2.0):
        given = ("line", size)
        made.append(Row(order, f"a line of {size:g}", trials.ordered, given, "power"))
    made += [Row(carried, "facts told twice", trials.carries, (0.0,), "level", 400)]
    made += [Row(carried, f"a date of {a:g}", trials.carries, (a,), "power") for a in (0.6, 1.2)]
    day = "a word tells the day within the month"
    made += [Row(day, "a table of months", trials.days, (0.0,), "level", 400)]
    made += [
        Row(day, f"a number of {a:g} beside it", trials.days, (a,), "power") for a in (0.5, 1.0)
    ]
    for finding, trial in (
        ("two words share directions", trials.planes),
        ("a map of one word reads another", trials.reused),
    ):
        made.append(Row(finding, "planes of their own", trial, (1.0, False), "level", 400))
        made += [
            Row(finding, f"one plane, of {a:g}", trial, (a, True), "power") for a in (0.3, 0.6)
        ]
    control = "control fails: texts of one label are told by their likeness"
    made += [
        Row(control, "40 facts, six wordings each", trials.copies, ("facts",), "power", least=0.95),
        Row(control, "a circle whose labels recur", trials.copies, ("circle",), "level", 400),
    ]
    patching = "limits of what patching moves"
    for spread in (0.1, 0.4):
        name = f"40 pairs, sd {spread:g} between them"
        made += [
            Row(patching, f"{name}, all depths", trials.moved, (spread, True), "covers", 400),
            Row(patching, f"{name}, difference", trials.moved, (spread, False), "covers", 400),
        ]
    lead = "limits of a shape's lead"
    for groups, of_each in ((120, 1), (36, 4), (24, 5)):
        name = f"{groups} dates, texts of each: {of_each}"
        made.append(Row(lead, name, trials.lead_limits, (groups, of_each), "covers", 400))
    ring = "a ring is rounder than it is (lower limit above the truth)"
    for ratio, name in (
        (0.0, "a table of months"),
        (0.5, "an ellipse of 2 : 1"),
        (1.0, "a circle"),
    ):
        made.append(Row(ring, name, trials.rounder, (ratio,), "level", 400))
    return made


def _speakers() -> list[Row]:
    who, exchange = "words tell who speaks", "it survives when names are exchanged"
    costs, best = "ablating a direction costs logits", "limits of the best cell"
    flips = trials.flips
    return [
        Row(who, "turns that share a deviation", trials.speakers, (0.0,), "level", 400),
        Row(who, "a speaker of .6 sd at one depth", trials.speakers, (0.6,), "power"),
        Row(who, "a speaker of 1.2 sd at one depth", trials.speakers, (1.2,), "power"),
        Row(exchange, "eight transcripts, 30 cells, chance", flips, (0.0, False), "level", 1000),
        Row(exchange, "an accuracy of .6 at one cell", flips, (0.1, False), "power"),
        Row(exchange, "an accuracy of .65 at one cell", flips, (0.15, False), "power"),
        Row(best, "chance", flips, (0.0, True), "covers", 1000),
        Row(best, "an accuracy of .6", flips, (0.1, True), "covers", 1000),
        Row(
            costs,
            "dealt speakers' cost as much",
            trials.ablated,
            (0.0,),
            "level",
            1000,
        ),
        Row(costs, "a loss of 2 of their sd", trials.ablated, (2.0,), "power"),
        Row(costs, "a loss of 4 of their sd", trials.ablated, (4.0,), "power"),
        Row("limits of what is lost", "even transcripts", trials.lost, (100.0,), "covers", 1000),
        Row("limits of what is lost", "skewed transcripts", trials.lost, (4.0,), "covers", 1000),
    ]


def _concepts() -> list[Row]:
    every, own = "every concept's vector tells its texts", "a vector raises its own word"
    acts, limits = "the next blocks raise a concept's readout", "limits of a concept's AUROC"
    return [
        Row(every, "three of four are told", trials.told, ((8.0, 8.0, 8.0, 0.0),), "level", 400),
        Row(every, "four of 4 sd", trials.told, ((4.0,) * 4,), "power"),
        Row(every, "four of 8 sd", trials.told, ((8.0,) * 4,), "power"),
        Row(limits, "2 sd, the best of three blocks", trials.auroc_limits, (2.0,), "covers", 400),
        Row(limits, "3 sd, the best of three blocks", trials.auroc_limits, (3.0,), "covers", 400),
        Row(own, "vectors that move words in general", trials.words, (0.0,), "level", 1000),
        Row(own, "an own word raised by .5 sd", trials.words, (0.5,), "power"),
        Row(own, "an own word raised by 1 sd", trials.words, (1.0,), "power"),
        Row(acts, "concepts of dealt labels", trials.downstream, (0.0,), "level", 1000),
        Row(acts, "concepts 1 above", trials.downstream, (1.0,), "power"),
        Row(acts, "concepts 2 above", trials.downstream, (2.0,), "power"),
    ]


def _pairs() -> list[Row]:
    aligned, made_of = "pairs align within categories", "texts made of few words align"
    limits, share = "limits of a z over pairs", "limits of a share"
    gains = "limits of what depths gain, all at once"
    return [
        Row(aligned, "templates alone", trials.pairs, (0.0,), "level", 1000),
        Row(aligned, "a common part of .1", trials.pairs, (0.1,), "power"),
        Row(aligned, "a common part of .5", trials.pairs, (0.5,), "power"),
        Row(made_of, "independent vectors of 52 nouns", trials.dictionary, (0.0,), "level", 400),
        Row(made_of, "vectors alike by .1", trials.dictionary, (0.1,), "power"),
        Row(made_of, "vectors alike by .3", trials.dictionary, (0.3,), "power"),
        Row(limits, "60 pairs alike by .5", trials.z_limits, (60, 0.5), "covers", 400),
        Row(limits, "60 pairs alike by 2", trials.z_limits, (60, 2.0), "covers", 400),
        Row(limits, "200 pairs alike by 2", trials.z_limits, (200, 2.0), "covers", 400),
        Row(gains, "four depths over the embedding", trials.gain_limits, (False,), "covers", 400),
        Row(gains, "each over the one before", trials.gain_limits, (True,), "covers", 400),
        Row(share, "half of the common part", trials.share_limits, (2.0,), "covers", 400),
    ]


def _heads() -> list[Row]:
    tuned, more = "tuning changed how a head matches", "tuning changed more cells"
    made = [
        Row(tuned, "a change along what varies most", trials.rerouted, (False,), "level", 400),
        Row(more, "a change along what varies most", trials.rerouted, (True,), "level", 400),
    ]
    for pair, said in (("self", "itself"), ("cross", "another")):
        finding = f"some head matches a direction with {said}"
        made.append(Row(finding, "no structure", trials.matched, (0.0, pair), "level", 400))
        made += [
            Row(finding, f"a head of {size:g}", trials.matched, (size, pair), "power")
            for size in (1.0, 3.0)
        ]
    return made


def judged(row: Row, hits: int, n: int) -> str:
    """ "holds", "FAILS", or for power below the bar "low"."""

    def fails(bound: float, side: Literal["greater", "less"]) -> bool:
        return binomtest(hits, n, bound, alternative=side).pvalue < FAILS

    if row.due == "power":
        return "low" if hits < row.least * n else "holds"
    if row.due == "covers":
        return "FAILS" if fails(COVERED[0], "less") or fails(COVERED[1], "greater") else "holds"
    return "FAILS" if fails(LEVEL if row.due == "level" else REFUSED, "greater") else "holds"


def _between(row: Row, hits: int, n: int) -> bool:
    """Whether a rate is above what it should be, and yet not surely so."""
    bound = {"level": LEVEL, "rival": REFUSED}.get(row.due)
    return bound is not None and hits > bound * n and judged(row, hits, n) == "holds"


def _hits(row: Row, seeds: range, workers: Workers) -> int:
    tasks = [(*row.arguments, seed) for seed in seeds]
    return sum(map(bool, run_tasks(row.function, tasks, workers=workers)))


def line(row: Row, hits: int, n: int) -> str:
    """The row as Markdown."""
    low, high = binomtest(hits, n).proportion_ci(0.95, method="exact")
    due = {
        "level": f"at most {LEVEL:g}",
        "rival": "at most 10 of 120",
        "power": f"power, {row.least:g}",
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
    failed = False
    # the code of `interp` and of these benchmarks; no trial runs code of a study
    code = digest([surroundings(each) for each in (cycle_test, trials.matched)])
    for row in tqdm(chosen, unit="row", file=sys.stderr):
        n = QUICK if options.quick else row.trials
        # results of the code as it is: a task's key knows this file's source only
        cache_of = None if options.quick else options.cache / code
        workers = Workers(options.jobs, cache=cache_of, progress=False)
        hits = _hits(row, range(n), workers)
        if not options.quick and _between(row, hits, n):
            n, hits = FRESH, _hits(row, range(n, n + FRESH), workers)
        table.append(line(row, hits, n))
        failed |= judged(row, hits, n) == "FAILS"
    page = "\n".join(table) + "\n"
    print(page)
    if options.output is not None:
        options.output.write_text(HEADING + page, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
