"""A frozen dataclass as a command line, whose help is the fields' docstrings."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields
from typing import TypeVar, get_args, get_origin

import tyro

from interp.files import Unfinished

Config = TypeVar("Config")
Result = TypeVar("Result")

GIVEN: ContextVar[tuple[str, ...] | None] = ContextVar("command", default=None)
"""The command of the study that runs: its program as one entry, then what stood behind it. None
where Python called it, as in a notebook, whose own command line is the kernel's."""


def run_command(
    main: Callable[[Config], Result], config_type: type[Config], *, prog: str, description: str
) -> Result | None:
    """Run `main` with the configuration of the command line, print what it returns and return it.

    Where other ranks have yet to do their part, that is said on stderr and the exit status is 0:
    this rank has done its own, and torchrun would end the others on any other status.
    """
    token = GIVEN.set((prog, *sys.argv[1:]))
    try:
        result = main(parse(config_type, prog=prog, description=description))
        print(result)
        return result
    except Unfinished as waiting:
        print(waiting, file=sys.stderr)
        return None
    finally:
        GIVEN.reset(token)


def parse(
    config_type: type[Config],
    args: Sequence[str] | None = None,
    *,
    prog: str,
    description: str,
) -> Config:
    """A `config_type` (frozen dataclass) read from the command line, `sys.argv` by default.

    `--help` shows each field's docstring. An unknown flag ends the program with status 2. A field
    of type `tuple[X, ...]` takes several values (`--model a b`) or repeats (`--model a --model b`);
    numbers may also stand between commas (`--target-layers 10,14`).
    """
    given = list(sys.argv[1:] if args is None else args)
    several = {
        f"--{field.name.replace('_', '-')}": bool({int, float} & set(get_args(kind)))
        for field in fields(config_type)  # pyright: ignore[reportArgumentType]
        # A field may also be `tuple[X, ...] | None`.
        for kind in (field.type, *get_args(field.type))
        if get_origin(kind) is tuple
    }
    return tyro.cli(
        config_type, args=_gather_repeats(given, several), prog=prog, description=description
    )


def _gather_repeats(args: Sequence[str], several: Mapping[str, bool]) -> list[str]:
    """`--model a --model b` as `--model a b`: the parser alone would keep the last one only.

    `several` says of each flag that takes several values whether they are numbers.
    """
    groups: list[list[str]] = [[]]
    for arg in args:
        name, equals, value = arg.partition("=")
        name = name.replace("_", "-")
        if name in several:
            groups.append([name, value] if equals else [name])
        elif arg.startswith("--"):
            groups.append([arg])
        else:
            groups[-1].append(arg)
    merged: dict[str | int, list[str]] = {}
    for place, group in enumerate(groups):
        key = group[0] if group and group[0] in several else place
        merged[key] = merged[key] + group[1:] if key in merged else group
    for name, group in merged.items():
        if several.get(str(name)):
            merged[name] = [part for arg in group for part in arg.split(",") if part]
    return [arg for group in merged.values() for arg in group]
