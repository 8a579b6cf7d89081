"""CPU time of `import interp` and of every `--help`, as ratios to importing numpy and pandas.

    python benchmarks/imports.py --rounds 5

1. Each case is a process of its own, whose CPU time is user and system time together. A process
   that does nothing is measured as well, and its time is taken from all others.
2. Rounds are interleaved (numpy and pandas, interp, every `--help`, a mistyped flag, again), after
   one to fill the file cache.
3. What counts is the median over rounds of the ratio within a round. It survives a machine shared
   with others, as seconds do not.

Budgets: 1 for `import interp`, 4 for `--help` and for a mistyped flag.
"""

import resource
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

from interp.run import parse
from studies.__main__ import listing

NOTHING, LIBRARIES, FACE = "nothing", "import numpy, pandas", "import interp"
COMMANDS = ("studies", "interp.model", "interp.store")


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often to measure."""

    rounds: int = 5
    """Rounds after the first, which fills the file cache."""


def cases() -> dict[str, tuple[list[str], float]]:
    """Arguments of Python and the budget of every case, by name."""
    studies = [f"studies.{name}" for name in listing()]
    helps = {f"{name} --help": ["-m", name, "--help"] for name in (*COMMANDS, *studies)}
    wrong = {f"{name} --wrong 1": ["-m", name, "--wrong", "1"] for name in studies}
    return {FACE: (["-c", FACE], 1.0)} | {
        name: (arguments, 4.0) for name, arguments in (helps | wrong).items()
    }


def cpu_time(arguments: list[str]) -> float:
    """Seconds of CPU time of a Python process with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(config: Config) -> None:
    """Print seconds, ratio and budget of every case."""
    commands = {NOTHING: ["-c", "pass"], LIBRARIES: ["-c", LIBRARIES]}
    commands |= {name: arguments for name, (arguments, _) in cases().items()}
    rounds = [
        {name: cpu_time(arguments) for name, arguments in commands.items()}
        for _ in range(config.rounds + 1)
    ][1:]
    seconds = {name: median(r[name] - r[NOTHING] for r in rounds) for name in commands}
    print(f"{seconds[LIBRARIES]:6.2f} s  {LIBRARIES}")
    for name, (_, budget) in cases().items():
        ratio = median((r[name] - r[NOTHING]) / (r[LIBRARIES] - r[NOTHING]) for r in rounds)
        verdict = "" if ratio <= budget else f"  over the budget of {budget:g}"
        print(f"{seconds[name]:6.2f} s  {ratio:5.2f}  {name}{verdict}")


if __name__ == "__main__":
    main(parse(Config, prog="benchmarks/imports.py", description=__doc__ or ""))
