"""What a value holds, as a SHA-256: equal contents have equal digests, in every process and run.

1. Numbers, strings, arrays (dtype, shape, bytes), sequences, mappings and objects are walked, each
   part under a tag and, where its end would be open, its length, so that no two values spell alike.
2. A function is its name, its code with constants, its defaults and what it closes over, so that
   two lambdas of one name and one line differ by the numbers they hold. The globals it calls are
   not followed: `surroundings` stands for them, the source of the whole package.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, lru_cache, partial
from importlib.metadata import version
from pathlib import Path, PurePath
from types import CodeType, MethodType, ModuleType
from typing import Any

import numpy as np

NUMERICS = ("numpy", "scipy", "scikit-learn")
"""Libraries whose versions move the last digits of a result."""


@dataclass(frozen=True)
class Shared:
    """An argument that many tasks have in common, hashed once for all of them."""

    value: Any
    """What the function receives."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the value's content."""
        return digest(self.value)


def digest(value: Any) -> str:
    """SHA-256 of a value's content, hexadecimal.

    Raises ValueError for what has no content that could be told apart, such as an open file.
    """
    sha = hashlib.sha256()
    _add(sha.update, value)
    return sha.hexdigest()


def surroundings(function: Callable) -> str:
    """SHA-256 of the source of the function's top-level package, and of what it computes with."""
    root = function.__module__.partition(".")[0]
    return digest([_source(root), sys.version_info[:2], *(version(name) for name in NUMERICS)])


@lru_cache
def _source(root: str) -> str:
    """SHA-256 of every module below a top-level name; of nothing where it came from no file."""
    file = getattr(sys.modules.get(root), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return digest([(str(f.relative_to(path.parent)), f.read_bytes()) for f in files])


PLAIN = (bool, int, float, complex, slice, range, PurePath)
"""Types whose repr says all."""

HEAP_TYPE = 1 << 9
"""CPython's flag of a type that a class statement made (`Py_TPFLAGS_HEAPTYPE`)."""

Update = Callable[[bytes | memoryview], object]


def _tag(update: Update, kind: str, *labels: object) -> None:
    text = repr((kind, *labels)).encode()
    update(b"%d:" % len(text) + text)


def _add(update: Update, value: Any) -> None:
    """One value and, through it, all that it holds."""
    if isinstance(value, np.ndarray | np.generic):  # first, as some of NumPy's are Python's too
        _add_array(update, value)
    elif value is None or isinstance(value, PLAIN):
        _tag(update, type(value).__name__, value)
    elif isinstance(value, str):
        # its bytes: what repr() escapes follows the Unicode tables of the interpreter
        _tag(update, type(value).__name__, _of_bytes(value.encode("utf-8", "surrogatepass")))
    elif isinstance(value, bytes):
        _tag(update, "bytes", _of_bytes(value))
    elif isinstance(value, Shared):
        _tag(update, "shared", value.digest)
    elif isinstance(value, list | tuple):
        _add_parts(update, type(value).__name__, value)
    elif isinstance(value, Mapping):
        _add_parts(update, "mapping", [part for item in value.items() for part in item])
    elif isinstance(value, type | ModuleType):
        _tag(update, "name", getattr(value, "__module__", ""), value.__name__)
    elif isinstance(value, CodeType):
        _add_parts(update, "code", (value.co_code, value.co_names, value.co_consts))
    elif isinstance(value, partial):
        _add_parts(update, "partial", (value.func, value.args, value.keywords))
    elif isinstance(value, MethodType):
        _add_parts(update, "method", (value.__func__, value.__self__))
    elif callable(value) and hasattr(value, "__qualname__"):
        _add_function(update, value)
    else:
        _add_object(update, value)


def _add_parts(update: Update, kind: str, parts: Any) -> None:
    _tag(update, kind, len(parts))
    for part in parts:
        _add(update, part)


def _of_bytes(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _add_array(update: Update, array: np.ndarray | np.generic) -> None:
    if isinstance(array, np.ma.MaskedArray):
        _add_parts(update, "masked", (array.filled(0), np.ma.getmaskarray(array)))
        return
    array = np.asarray(array)
    if array.dtype.hasobject:
        _add_parts(update, "objects", (array.shape, array.ravel().tolist()))
        return
    _tag(update, "array", np.dtype(array.dtype).descr, array.shape)
    update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _add_function(update: Update, function: Any) -> None:
    function = inspect.unwrap(function)  # a checker of types around it changes no result
    _tag(update, "function", function.__module__, function.__qualname__)
    if (code := getattr(function, "__code__", None)) is None:
        return  # built in: a name is all that there is
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    _add_parts(update, "held", (code, function.__defaults__, function.__kwdefaults__, held))


def _add_object(update: Update, value: Any) -> None:
    kind = type(value)
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        parts = _state(value)
    if parts is None or kind.__module__.partition(".")[0] == "torch":
        raise ValueError(
            f"{value!r} of type {kind.__name__} has no content to know a result by; give numbers, "
            "strings, NumPy arrays, dataclasses or functions of them, or go without a cache"
        )
    _tag(update, "object", kind.__module__, kind.__qualname__)
    _add(update, parts)


def _state(value: Any) -> Any:
    """Attributes and slots, or what the type says that it consists of; None where something may be
    held out of sight, as in types that are not written in Python."""
    kind = type(value)
    state = value.__getstate__()
    if kind.__getstate__ is not object.__getstate__:
        return state if inspect.isfunction(kind.__getstate__) else None
    compiled = any(not base.__flags__ & HEAP_TYPE for base in kind.__mro__[:-1])
    for name in ("__reduce__", "__reduce_ex__"):
        how = getattr(kind, name)
        compiled |= how is not getattr(object, name) and not inspect.isfunction(how)
    if compiled:
        return None
    return {} if state is None and hasattr(value, "__dict__") else state
