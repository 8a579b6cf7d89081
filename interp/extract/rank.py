"""Which rank this process is, by the variables of whatever started it."""

import os
from collections.abc import Mapping

from interp.plan import Rank

LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE"),
    "a SLURM array": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    "srun": ("SLURM_PROCID", "SLURM_NTASKS"),
}
"""Variables that hold rank and number of ranks, in the order in which they are looked for. An
array comes before srun, whose variables are in an array's tasks too: they say 0 of 1 there."""


def rank_of_environment(environment: Mapping[str, str] | None = None) -> Rank:
    """The rank of this process, from the variables of torchrun, a SLURM array or srun.

    An array's tasks are numbered from `SLURM_ARRAY_TASK_MIN` in steps of `SLURM_ARRAY_TASK_STEP`.

    Raises:
        ValueError: no launcher's variables are set, one of a pair is missing, or they are no rank
            of a world.
    """
    given = os.environ if environment is None else environment
    for launcher, (number, world) in LAUNCHERS.items():
        if number not in given:
            continue
        if world not in given:
            raise ValueError(f"{number}={given[number]} without {world}, of {launcher}")
        first, step = 0, 1
        if number == "SLURM_ARRAY_TASK_ID":
            first = _whole(given, "SLURM_ARRAY_TASK_MIN", 0)
            step = max(1, _whole(given, "SLURM_ARRAY_TASK_STEP", 1))
        place, remainder = divmod(_whole(given, number) - first, step)
        n = _whole(given, world)
        if remainder or not 0 <= place < n:
            raise ValueError(
                f"{number}={given[number]} and {world}={given[world]} are no rank of a world"
                + (
                    ": number an array evenly and without gaps, as in --array=0-7"
                    if "ARRAY" in number
                    else ""
                )
            )
        return Rank(place, n)
    pairs = "; ".join(f"{' and '.join(pair)} ({name})" for name, pair in LAUNCHERS.items())
    raise ValueError(f"executor='rank' finds no rank in the environment; it looks for {pairs}")


def _whole(given: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = given.get(name, default)
    try:
        return int(text)  # pyright: ignore[reportArgumentType]  (None: not asked for without a default)
    except ValueError:
        raise ValueError(f"{name}={text!r} is no whole number") from None
