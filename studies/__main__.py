"""Lists the studies, or runs one: `python -m studies`, `python -m studies date_manifold --n 100`.

`interp-studies` is the same command under a name of its own. It finds the studies that were
installed even where the working directory has a folder called studies.
"""

import ast
import pkgutil
import runpy
import sys
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


def main() -> None:
    """Print the list, or run the study that is named first with the options that follow.

    The exit status is 2 where no study has that name.
    """
    program, *given = sys.argv
    if not given or given[0] in ("-h", "--help"):
        command = (
            "interp-studies " if Path(program).stem == "interp-studies" else "python -m studies."
        )
        for name, line in listing().items():
            print(f"{name}\n    {line}\n    {command}{name} --help\n")
        return
    name, *options = given
    if name not in listing():
        print(f"there is no study {name!r}; choose from {', '.join(listing())}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [program, *options]
    runpy.run_module(f"studies.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
