"""Files as a run keeps them: strict JSON, whole or absent, known by their hash."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes `data` (text as UTF-8) so that a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        # Without this a power cut can leave the new name on an empty file.
        os.fsync(file.fileno())
    os.replace(temporary, path)


def jsonable(value: Any) -> Any:
    """`value` in the types of strict JSON: arrays as lists, dataclasses as objects, NaN as null.

    Raises ValueError for a type that has no such form, rather than store its repr.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    # NumPy and PyTorch alike, arrays and scalars, without importing either.
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return jsonable(tolist())
    raise ValueError(
        f"{value!r} of type {type(value).__name__} has no JSON form; give numbers, strings, "
        "arrays, paths, dataclasses, or lists and mappings of them"
    )


def as_json(value: Any) -> str:
    """`value`, made strict by `jsonable`, as indented text."""
    return json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
