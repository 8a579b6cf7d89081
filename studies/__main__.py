"""Lists the studies, or runs one: `python -m studies`, `python -m studies date_manifold --n 100`.
`python -m studies new NAME` writes a study of your own to begin with, and
`python -m studies combine RUN RUN ...` combines runs of one study by random effects.

`interp-studies` is the same command under a name of its own. It finds the studies that were
installed even where the working directory has a folder called studies.
"""

import ast
import keyword
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import studies
from interp.files import write_atomically

TEMPLATE = Path(__file__).with_name("template.py")
"""The study that is written: grammatical number by probes."""

TEST = '''"""The study of {name} runs, and its finding has a verdict."""

import {name}

from interp import study


def test_it_runs_and_decides(tmp_path):
    config = {name}.Config(permutations=40, runs=tmp_path, store=tmp_path / "stores")
    outcome = study.run(config, {name}.texts, [{name}.kept])
    (finding,) = outcome.claims
    assert finding.verdict == "supported" and outcome.report.exists()
'''


def write(name: str, into: Path = Path()) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a directory; returns their paths.

    Raises:
        ValueError: a name that no module can have, or a file that is there.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} cannot be a module's name; use letters, digits and _")
    pages = {
        into / f"{name}.py": TEMPLATE.read_text(encoding="utf-8"),
        into / f"test_{name}.py": TEST.format(name=name),
    }
    for path in pages:
        if path.exists():
            raise ValueError(f"{path} is there already; choose another name")
    for path, page in pages.items():
        write_atomically(path, page)
    study, test = pages
    return study, test


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
    """List the studies, write a new one, combine runs, or run the study that is named with the
    options that follow.

    The exit status is 2 where no study has that name, a new one cannot have it, or runs cannot be
    combined.
    """
    match list(sys.argv[1:] if arguments is None else arguments):
        case [] | ["-h" | "--help"]:
            installed = Path(sys.argv[0]).stem == "interp-studies"
            command = "interp-studies " if installed else "python -m studies."
            for name, line in listing().items():
                print(f"{name}\n    {line}\n    {command}{name} --help\n")
            print("A study of your own to begin with: python -m studies new NAME")
            print("Runs of one study side by side: python -m studies combine RUN RUN ...")
        case ["new", name]:
            try:
                study, test = write(name)
            except ValueError as error:
                print(error, file=sys.stderr)
                return 2
            print(f"{study} asks one question; run it: python {study}")
            print(f"{test} tests it: python -m pytest {test}")
        case ["combine", *runs]:
            from interp.study import combined

            try:
                print(combined(runs))
            except (ValueError, OSError) as error:
                print(error, file=sys.stderr)
                return 2
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
