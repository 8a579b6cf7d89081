"""Files as everything here keeps them: whole or absent, strict JSON, known by their hash."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from upath import UPath

Place = Path | UPath
"""A file or directory on this machine, or behind an address such as `s3://bucket/name`."""


class Unfinished(RuntimeError):
    """This process did its part and waits for nobody: the rest is other processes' to do. Nothing
    has failed, and there is no result yet."""


def place(path: str | Place) -> Place:
    """A `Path` for what is on this machine (`~` and `file://` included); anything else that bears a
    protocol is reached through fsspec, whose package for that protocol must be installed.

    Raises:
        ValueError: an address that went through `pathlib.Path`, which drops one of its slashes.
    """
    if isinstance(path, str) and "://" not in path:
        return Path(path).expanduser()  # fsspec would read `a::b` as one address inside another
    if not isinstance(path, Path):
        found = UPath(path)
        return Path(found.path).expanduser() if found.protocol in ("", "file", "local") else found
    if re.match(r"[a-z][a-z0-9+.-]+:/(?!/)", str(path)):
        raise ValueError(f"{path} was an address before pathlib.Path took it; give it as a string")
    return path.expanduser()


@contextmanager
def whole(path: Place) -> Iterator[Path]:
    """A local path to write under, which takes the name `path` on a clean exit: a reader sees the
    old file or the whole new one. On an error nothing is left behind.

    Beside `path` where it is local, so that a rename does it; else the file is uploaded in one
    piece, which object stores show whole or not at all.
    """
    if not isinstance(path, Path):
        with TemporaryDirectory() as scratch:
            partial = Path(scratch, path.name)
            yield partial
            path.fs.put_file(str(partial), path.path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own: two processes may write one file, each of them wholly
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            # Without this a power cut can leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Place, data: bytes | str) -> None:
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
    if isinstance(value, Place):
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


def sha256(path: Place) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        # fsspec's files have what it takes, though their type does not say so
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
