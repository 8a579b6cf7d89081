"""Look after stores of activations: `python -m interp.store --help`."""

import sys
from typing import Annotated

import tyro

from interp import store


def verify(path: Annotated[str, tyro.conf.Positional]) -> int:
    """Compare every shard with the SHA-256 of what was written, in a finished store or not.

    Prints a line for every shard that is missing or bad, then a summary. Exit status 0 means that
    the store is complete and whole, 1 that it is not. Running the extraction again computes what
    is missing or bad, and nothing else.

    Args:
        path: Directory of the store, or its address (s3://...).
    """
    state = store.inspect(path)
    for name, problem in state.problems.items():
        print(f"{name}: {problem}")
    print(state.summary)
    return 0 if state.complete and not state.problems else 1


def info(path: Annotated[str, tyro.conf.Positional]) -> int:
    """Print what a store holds: model, samples, positions, hooks, size, and whether it is complete.

    Args:
        path: Directory of the store, or its address (s3://...).
    """
    print(store.inspect(path, bytes_too=False).table())
    return 0


def main(args: list[str] | None = None) -> int:
    """Dispatch to one of the commands; the exit status."""
    try:
        return tyro.extras.subcommand_cli_from_dict(
            {"verify": verify, "info": info},
            prog="python -m interp.store",
            description=__doc__,
            args=args,
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
