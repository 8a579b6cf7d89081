"""The shape of the tree, against its budgets: lines, files, functions, options, names.

    python benchmarks/shape.py

Prints a table; the exit status is 1 where a budget is exceeded.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
DATA = {"templates.py"}
"""Files of data, which may be long."""


def functions(paths: list[Path]) -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every function and method, nested ones included."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def options(function: ast.FunctionDef) -> int:
    """Arguments that have a default or can be given by keyword alone."""
    return len(function.args.defaults) + len(function.args.kwonlyargs)


def main() -> int:
    """Print the table; 1 where a budget is exceeded."""
    library, studies = (sorted((ROOT / part).rglob("*.py")) for part in ("interp", "studies"))
    modules = [path for path in studies if path.name != "__init__.py"]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in library + studies}
    by_study = Counter(path.parent.name for path in modules if path.parent.name != "studies")
    lengths = [(f.end_lineno or 0) - f.lineno + 1 for _, f in functions(library + studies)]
    many = [
        f"{path.relative_to(ROOT)}:{f.name} ({options(f)})"
        for path, f in functions(library + studies)
        if options(f) > 8
    ]
    skips = sum(path.read_text(encoding="utf-8").count("fmt: skip") for path in library + studies)
    classes = Counter(
        node.name
        for path in library
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    twice = [name for name, times in classes.items() if times > 1]
    long = [path for path in modules if lines[path] > 400 and path.name not in DATA]
    rows: list[tuple[str, float, float]] = [
        ("lines of studies", sum(lines[path] for path in studies), 6_000),
        ("lines of interp", sum(lines[path] for path in library), 16_000),
        ("files of studies", len(modules), 30),
        ("files of the largest study", max(by_study.values()), 6),
        ("files of studies over 400 lines", len(long), 0),
        ("median lines of a function", median(lengths), 10),
        ("longest function", max(lengths), 60),
        ("functions with more than eight options", len(many), 0),
        ("fmt: skip", skips, 0),
        ("names defined twice in interp", len(twice), 0),
    ]
    print("| what | is | at most | |\n|---|---|---|---|")
    for what, value, most in rows:
        print(f"| {what} | {value:g} | {most:g} | {'holds' if value <= most else 'EXCEEDED'} |")
    print(*many, *twice, *(str(path.relative_to(ROOT)) for path in long), sep="\n")
    return int(any(value > most for _, value, most in rows))


if __name__ == "__main__":
    sys.exit(main())
