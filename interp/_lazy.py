"""Public names of a package that are imported when they are first used.

A package lists its names as ordinary imports, which editors and type checkers read:

    if TYPE_CHECKING:
        from interp.smds._grid import smds_grid
    else:
        __getattr__, __dir__ = attach(__name__)

1. `attach` returns the two functions that Python asks for a module's missing names (PEP 562).
2. The first missing name makes it read those imports from the package's source.
3. The module that defines the name is imported, and the package keeps the object.

So `import interp.smds` costs nothing, and torch or scikit-learn come with the first call.
"""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose imports stand under `TYPE_CHECKING`.

    Args:
        package: Name of the package, its `__name__`.
    """

    def load(name: str) -> Any:
        if name not in origins(package):
            problem = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(problem, name=name, obj=sys.modules[package])
        module, attribute = origins(package)[name]
        if module == package:
            return import_module(f"{package}.{attribute}")
        value = getattr(import_module(module), attribute)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        own = [name for name in vars(sys.modules[package]) if name.startswith("__")]
        return sorted({*own, *origins(package)})

    return load, names


@cache
def origins(package: str) -> dict[str, tuple[str, str]]:
    """Module and name there of every public name, by its name in the package.

    A module of the package itself has the package for its module.
    """
    loader: Any = sys.modules[package].__spec__.loader  # pyright: ignore[reportOptionalMemberAccess]
    tree = ast.parse(loader.get_source(package))
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
