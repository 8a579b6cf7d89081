"""Lists the studies, or runs one: `python -m studies`, `python -m studies date_manifold --n 100`.

`interp-studies` is the same command under a name of its own. It finds the studies that were
installed even where the working directory has a folder called studies.
"""

import ast
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import studies


def listing() -> dict[str, str]:
    """First line of the docstring of every study, a package with a `__main__.py`, by name."""
    lines: dict[str, str] = {}
    for module in pkgutil.iter_modules(studies.__path__):
        main = Path(studies.__path__[0]) / module.name / "__main__.py"
        if main.is_file():
            lines[module.name] = _first_line(main.with_name("__init__.py")) or _first_line(main)
    return lines


def _first_line(path: Path) -> str:
    # Parsed and not imported: a list must not load every study's libraries.
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the list, or run the study that is named first with the options that follow.

    The exit status is 2 where no study has that name.
    """
    match list(sys.argv[1:] if arguments is None else arguments):
        case [] | ["-h" | "--help"]:
            installed = Path(sys.argv[0]).stem == "interp-studies"
            command = "interp-studies " if installed else "python -m studies."
            for name, line in listing().items():
                print(f"{name}\n    {line}\n    {command}{name} --help\n")
        case [name, *options] if name in listing():
            sys.argv[1:] = options
            runpy.run_module(f"studies.{name}", run_name="__main__", alter_sys=True)
        case [name, *_]:
            print(
                f"there is no study {name!r}; choose from {', '.join(listing())}", file=sys.stderr
            )
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
