"""A result on disk: an .npz of its arrays and, as JSON, how they make it up, then its SHA-256.

Exact to the last bit, NaN included. A truncated or damaged file is found by its hash, before any of
it is read. What comes back can only be an array, a number, a string, None, a list, tuple or dict of
them, or a dataclass that the reader names.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interp.files import write_atomically

FORMAT = 1
"""Version of the layout."""
LAYOUT = "layout"
"""Name of the array that holds the JSON; the others are numbered."""
CHECKSUM = 32
"""Bytes of the SHA-256 at the end."""


class Unreadable(Exception):
    """A file that is not there, or not whole."""


def write(path: Path, result: Any) -> None:
    """Writes a result so that a reader sees all of it or nothing, stamped with its file's name, the
    key of what it is the result of.

    Raises ValueError for a part that is of none of the types above.
    """
    arrays: list[np.ndarray] = []
    stamped = {"format": FORMAT, "key": path.stem, "result": _laid_out(result, arrays)}
    layout = json.dumps(stamped, allow_nan=False).encode()
    named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    named[LAYOUT] = np.frombuffer(layout, np.uint8)
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **named)
    content = archive.getvalue()
    write_atomically(path, content + hashlib.sha256(content).digest())


def read(path: Path, classes: Mapping[str, Any]) -> Any:
    """The result in a file; its dataclasses are looked up in `classes` by name.

    Raises Unreadable for a file that is absent, damaged, of another version's format or
    dataclasses, or the result of something else under this name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error}") from error
    content, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
    if hashlib.sha256(content).digest() != checksum:
        raise Unreadable(f"{path} is truncated or damaged")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    try:
        stamped = json.loads(arrays[LAYOUT].tobytes())
        if (stamp := (stamped["format"], stamped["key"])) != (FORMAT, path.stem):
            raise Unreadable(f"{path} is format {stamp[0]} of {stamp[1]}")
        return _made(stamped["result"], arrays, classes)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{path}: {error}") from error


def _laid_out(value: Any, arrays: list[np.ndarray]) -> Any:
    """JSON in which a list is [kind, content]; arrays go to `arrays`."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ValueError(f"an array of objects, {array!r}, cannot be kept")
        arrays.append(array)
        return ["array" if isinstance(value, np.ndarray) else "scalar", str(len(arrays) - 1)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return ["float", value.hex()]  # exact, and JSON has no NaN
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_laid_out(item, arrays) for item in value]]
    if isinstance(value, dict):
        pairs = [[_laid_out(part, arrays) for part in item] for item in value.items()]
        return ["dict", pairs]
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: _laid_out(getattr(value, f.name), arrays) for f in fields(value)}
        return [f"dataclass {type(value).__name__}", held]
    raise ValueError(
        f"{value!r} of type {type(value).__name__} cannot be kept; a result is made of arrays, "
        "numbers, strings, None, lists, tuples, dicts and dataclasses"
    )


def _made(node: Any, arrays: Mapping[str, np.ndarray], classes: Mapping[str, Any]) -> Any:
    if not isinstance(node, list):
        return node
    kind, content = node
    if kind in ("array", "scalar"):
        return arrays[content] if kind == "array" else arrays[content][()]
    if kind == "float":
        return float.fromhex(content)
    if kind in ("list", "tuple"):
        items = [_made(item, arrays, classes) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {_made(k, arrays, classes): _made(v, arrays, classes) for k, v in content}
    found = classes[kind.removeprefix("dataclass ")]
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{kind} is no dataclass here")
    return found(**{name: _made(part, arrays, classes) for name, part in content.items()})
