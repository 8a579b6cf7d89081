"""Lists the studies and how to run them: `python -m studies`."""

import ast
import pkgutil
from pathlib import Path

import studies


def listing() -> dict[str, str]:
    """First line of the docstring of every study, a package with a `__main__.py`, by name."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(studies.__path__):
        main = Path(studies.__path__[0]) / module.name / "__main__.py"
        if main.is_file():
            found[module.name] = _first_line(main.with_name("__init__.py")) or _first_line(main)
    return found


def _first_line(path: Path) -> str:
    # Parsed and not imported: a list must not load every study's libraries.
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> None:
    """Prints the list."""
    for name, line in listing().items():
        print(f"{name}\n    {line}\n    python -m studies.{name} --help\n")


if __name__ == "__main__":
    main()
