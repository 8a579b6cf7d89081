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
        array = _whole(given, "SLURM_ARRAY_TASK_COUNT", 1)
        if number == "RANK" and array > 1 and _whole(given, world, 1) == 1:
            continue  # torchrun of one process in each task: the tasks are the ranks
        inside = _whole(given, "SLURM_STEP_NUM_TASKS", 1)
        if number == "SLURM_ARRAY_TASK_ID" and array > 1 and inside > 1:
            raise ValueError(
                f"{inside} processes in each of {array} tasks of a SLURM array: which rank is "
                "whose cannot be told; give a task one process, or use one launcher alone"
            )
        if world not in given:
            raise ValueError(f"{number}={given[number]} without {world}, of {launcher}")
        first, step = 0, 1
        if number == "SLURM_ARRAY_TASK_ID":
            first = _whole(given, "SLURM_ARRAY_TASK_MIN", 0)
            step = max(1, _whole(given, "SLURM_ARRAY_TASK_STEP", 1))
        place, remainder = divmod(_whole(given, number) - first, step)
        n = _whole(given, world)
        # tasks 1, 5 and 9 are an array of 3, of which the first alone would look whole
        last = first + step * (n - 1)
        gaps = "ARRAY" in number and _whole(given, "SLURM_ARRAY_TASK_MAX", last) != last
        if remainder or gaps or not 0 <= place < n:
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
