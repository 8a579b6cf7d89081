"""Files as everything here keeps them: whole or absent, strict JSON, known by their hash."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write under, beside `path`, which takes its name on a clean exit: a reader sees the
    old file or the whole new one. On an error nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            # Without this a power cut can leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes `data` (text as UTF-8) so that a reader sees the old file or the whole new one."""
    with whole(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


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
    return json.dumps(jsonable(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
