"""What users hand to methods, as the arrays that methods compute on: checked once, in one place.

Two kinds of wrong, one policy for each:

- What is wrong with the *call* is a ValueError that names the argument, the bad value or its rows,
  and what is valid: another type, shape or length, labels or groups that are missing, integers for
  a mask that are not 0 and 1.
- What is wrong with *numbers* of one cell (not finite, constant) is that cell's status, which the
  method gives; nothing here looks at them.

Taken are NumPy arrays, tensors of any dtype on any device, pandas' Series and DataFrames, lists and
memory maps. Rows go by position: a Series' index is not looked at. Activations in 16 bits are
computed on in float32, and integers in float64; what comes in is never written to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Arraylike = Any
"""An array, tensor, Series, DataFrame or (nested) list; any shape is checked when it is called."""

SHOWN = 5
"""Rows that an error names."""


def activations(
    values: Arraylike,
    *,
    name: str = "activations",
    ndim: int | None = 2,
    n: int | None = None,
    widen: bool = True,
) -> Float[np.ndarray, "..."]:
    """Activations as an array of floats, [row, d] unless `ndim` says otherwise.

    Args:
        values: What the user gave.
        name: What the error calls it.
        ndim: Number of axes; None for any from two on.
        n: Number of rows that it must have.
        widen: Whether 16 bits become 32; a method whose tolerance follows the stored precision
            widens them itself.

    Raises:
        ValueError: no numbers, complex or sparse ones, masked entries, rows of unequal length,
            another number of axes or rows, or no rows.
    """
    array = _array(values, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {array.dtype} ({_first(array)}); numbers are needed")
    if array.ndim != ndim and (ndim is not None or array.ndim < 2):
        raise ValueError(f"{name} is {array.shape}; {ndim} axes are needed")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} is {array.shape}; {n} rows are needed, one for each label")
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {list(array.shape)}: it is empty")
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    return array.astype(np.float32) if widen and array.dtype.itemsize < 4 else array


def rounding(dtype: np.dtype) -> float:
    """Relative size of what storing in a dtype leaves of equal numbers.

    In 32 and 64 bits that is the rounding of sums in another order, some units in the last place of
    a term. In 16 bits it is the last place of the stored number itself, and the sums, made in 64
    bits, add nothing: a multiple of it would be a hundredth of the activations.
    """
    eps = float(np.finfo(dtype).eps)
    return eps if np.dtype(dtype).itemsize < 4 else 8 * eps


def coordinate_rounding(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Size of the differences that storing leaves of equal numbers, for each coordinate.

    Each coordinate is rounded by itself, relative to its own numbers: one dimension of thousands
    among others of ones carries thousands' rounding, and the others carry none of it.
    """
    return rounding(rows.dtype) * np.abs(rows.astype(np.float64)).max(axis=0)


def labels(values: Arraylike, n: int | None = None, *, name: str = "y") -> Shaped[np.ndarray, " n"]:
    """One label a row, numbers or names, by position; a column [n, 1] counts as one axis.

    Raises:
        ValueError: another number of rows or axes, or labels that are missing; names the rows.
    """
    _refuse_mixed(values, name)
    if isinstance(values, list | tuple) and any(isinstance(value, str) for value in values):
        values = np.array(values, dtype=object)  # NumPy would make a name of what is missing
    array = _array(values, name)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers; numbers or strings are needed")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {list(array.shape)}; one value a row is needed")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} has {len(array)} rows; {n} are needed")
    if (rows := np.flatnonzero(_missing(array))).size:
        raise ValueError(
            f"{name}: labels hold {array[rows[0]]} in {len(rows)} rows ({_listed(rows)}, counting "
            "from 0); they must be finite, or names: leave those rows out, or label them"
        )
    if array.dtype.kind == "O":
        _refuse_mixed(array.tolist(), name)
        array = np.array(array.tolist())
        if array.dtype.kind == "O":
            raise ValueError(f"{name} holds {_first(array)}; numbers or strings are needed")
    return array


def label_columns(
    values: Arraylike, n: int | None = None, *, name: str = "y"
) -> Shaped[np.ndarray, "n *columns"]:
    """Labels as `labels` takes them, or several numbers a row, [n, columns]."""
    array = _array(values, name)
    if array.ndim != 2:
        return labels(values, n, name=name)
    columns = [labels(column, n, name=name) for column in array.T]
    if not columns:
        raise ValueError(f"{name} has shape {list(array.shape)}: it is empty")
    return np.stack(columns, axis=1)


def taken(
    y: Arraylike, *by_row: Arraylike | None, names: Sequence[str] = ("groups",)
) -> tuple[Any, ...]:
    """Labels, one or several numbers a row, and what goes with each row, under their names;
    arrays, and None for None."""
    columns = label_columns(y)
    others = zip(by_row, names, strict=True)
    return columns, *(None if v is None else labels(v, len(columns), name=n) for v, n in others)


def groups(values: Arraylike, n: int, *, name: str = "groups") -> Shaped[np.ndarray, " n"]:
    """What folds and permutations never split, one value a row; as `labels`."""
    return labels(values, n, name=name)


def indicator(
    values: Arraylike, shape: Sequence[int | None], *, name: str = "positive"
) -> Bool[np.ndarray, "..."]:
    """A mask of booleans, or of the numbers 0 and 1, of a shape; None leaves an axis open.

    Raises:
        ValueError: another shape, or numbers that are not 0 and 1, such as row numbers.
    """
    array = _array(values, name)
    fits = len(shape) == array.ndim and all(
        wanted in (None, got) for wanted, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ["any" if axis is None else axis for axis in shape]
        raise ValueError(f"{name} has shape {list(array.shape)}; {wanted} is needed")
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
        wrong = array[~np.isin(array, (0, 1))] if array.dtype.kind in "iuf" else array.ravel()
        raise ValueError(
            f"{name} holds {wrong.ravel()[0]!r}; a mask of True and False, or of 1 and 0, is "
            "needed (not the numbers of rows)"
        )
    return array.astype(bool)


def folder(path: object, *, name: str = "folder") -> Path:
    """A directory's path, from a string or a path.

    Raises:
        ValueError: something else, or a file of that name.
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"{name} = {path!r}; a path is needed, str or Path")
    found = Path(path).expanduser()
    if found.exists() and not found.is_dir():
        raise ValueError(f"{name} {found} is a file; a directory is needed")
    return found


def _array(values: Arraylike, name: str) -> Shaped[np.ndarray, "..."]:
    """NumPy's array of what was given, whatever library it comes from."""
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{name} is a masked array with masked entries; fill them or leave out"
            )
        return values.data
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "todense"):
        raise ValueError(f"{name} is sparse ({type(values).__name__}); call .toarray() first")
    if hasattr(values, "detach"):  # a tensor: numpy has no bfloat16, and no view of a GPU
        values = values.detach().cpu()
        values = (values.float() if "bfloat16" in str(values.dtype) else values).numpy()
    elif hasattr(values, "to_numpy"):  # pandas
        values = values.to_numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of unequal length, or holds more than numbers") from None


def _refuse_mixed(values: Arraylike, name: str) -> None:
    """A list of names and numbers, of which NumPy would make names without a word."""
    if isinstance(values, list | tuple):
        kinds = {isinstance(value, str) for value in values if not _is_missing(value)}
        if len(kinds) > 1:
            raise ValueError(f"{name} mixes strings and numbers; give values of one type")


def _missing(array: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Values that are None, NaN, NaT or pandas' NA."""
    if array.dtype.kind == "f":
        return ~np.isfinite(array)
    if array.dtype.kind in "mM":
        return np.isnat(array)
    if array.dtype.kind != "O":
        return np.zeros(len(array), dtype=bool)
    return np.array([_is_missing(value) for value in array], dtype=bool)


def _is_missing(value: object) -> bool:
    # NaN and NaT differ from themselves; pandas' NA gives no answer, and says so by its type
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _first(array: np.ndarray) -> str:
    return repr(array.ravel()[0]) if array.size else "nothing"


def _listed(rows: np.ndarray) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ", ".join(str(row) for row in rows[:SHOWN]) + more


def one_per_group(
    groups: Shaped[np.ndarray, " n"],
    values: Mapping[str, Shaped[np.ndarray, "n ..."]],
    *,
    unit: str = "group",
) -> tuple[Int[np.ndarray, " groups"], Int[np.ndarray, " n"]]:
    """First row of every group, and the number of each row's group, once each group is known to
    carry one of every kind of `values`.

    Args:
        groups: Group of each row.
        values: Labels, categories or the like, one or several numbers a row, under their plural.
        unit: What an error calls a group.

    Raises:
        ValueError: a group carries two; names it and both.
    """
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    for name, given in values.items():
        own = given[first][member]
        mixed = np.flatnonzero((given != own).reshape(len(given), -1).any(axis=1))
        if mixed.size:
            row = mixed[0]
            raise ValueError(
                f"{unit} '{groups[row]}' carries two {name}, {own[row]} and {given[row]}; whole "
                f"{unit}s are exchanged, so each needs one (or give finer {unit}s)"
            )
    return first, member


def centred_gram(
    rows: Shaped[np.ndarray, "n d"], *, without_constant: bool = False
) -> Float[np.ndarray, "n n"]:
    """Inner products of the rows about their mean, in float64.

    float64 because a transformer's massive dimensions (standard deviation 500, in GPT-2 up to
    2876) otherwise round away the rest: with them a float32 Gram scored .580 where the truth is
    .852. Centring first keeps a large common offset from costing the same digits. With
    `without_constant`, a coordinate in which all rows are equal but for their rounding counts 0.
    """
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    if without_constant:
        centred[:, np.abs(centred).max(axis=0) <= coordinate_rounding(rows)] = 0
    return centred @ centred.T


def group_means(
    rows: Shaped[np.ndarray, "n d"], member: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "groups d"]:
    """Mean of the rows of every group, numbered from 0, in float64; each group has a row."""
    counts = np.bincount(member)
    total = np.zeros((len(counts), rows.shape[1]))
    np.add.at(total, member, rows)
    return total / counts[:, None]
