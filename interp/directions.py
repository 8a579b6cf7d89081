"""Named directions of the residual stream: from a file, from a readout export, or derived.

load_directions(path)              from a file or a readout export
save_directions(path, directions)  to a file
principal_components(rows, n)      of residual vectors

A file of directions is safetensors, in one of two forms:

1. one matrix `vectors` [n, d], with the metadata entry `directions`, a JSON object that holds
   `names` (n different strings);
2. one tensor [d] for each direction, under its name; metadata are optional.

The same JSON object may hold `variance` (n shares of variance explained, or null), `block` (the
block whose input the directions were taken from) and `note`. One metadata entry, because the format
stores several in an order that changes from write to write. Read besides: the files that
`interp.readout` exports, `readout.safetensors` (with `readout.json` beside it), the folder that
holds it, and `<concept>.safetensors`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from interp.files import write_atomically
from interp.readout import load_concept, load_readouts

KEY = "directions"
"""The metadata entry of a file of directions."""


@dataclass(frozen=True)
class Directions:
    """Directions in order, at unit length."""

    names: tuple[str, ...]
    """One name a direction, all different."""
    vectors: Float[np.ndarray, "n d"]
    """Unit vectors, float64."""
    variance: Float[np.ndarray, " n"] | None
    """Share of variance that each explains; None where the file says nothing of it."""
    block: int | None
    """Block whose input the directions were taken from; None where unknown."""
    note: str
    """Where they come from, in words."""

    def __post_init__(self):
        if not len(self.names):
            raise ValueError(f"there are no directions in {self.note}")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"directions have duplicate names: {', '.join(map(repr, twice))}")
        for name, vector in zip(self.names, self.vectors, strict=True):
            if not np.isfinite(vector).all():
                raise ValueError(f"direction {name!r} holds a value that is not finite")
            if not vector.any():
                raise ValueError(f"direction {name!r} is zero: it points nowhere")
        length = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        object.__setattr__(self, "vectors", self.vectors / length)

    def __len__(self) -> int:
        """Number of directions."""
        return len(self.names)

    def first(self, n: int) -> "Directions":
        """The first n directions."""
        variance = None if self.variance is None else self.variance[:n]
        return replace(self, names=self.names[:n], vectors=self.vectors[:n], variance=variance)

    def leading(self) -> int | None:
        """Index of the direction that explains most variance; None where that is unknown."""
        if self.variance is None or not np.isfinite(self.variance).all():
            return None
        return int(np.argmax(self.variance))

    def labels(self) -> list[str]:
        """Names, with the share of variance where it is known."""
        if self.variance is None:
            return list(self.names)
        pairs = zip(self.names, self.variance, strict=True)
        return [name if np.isnan(v) else f"{name} ({100 * v:.1f} %)" for name, v in pairs]


def save_directions(path: str | Path, directions: Directions) -> None:
    """Write directions in the first form, to be read again by `load_directions`."""
    header = {
        "names": directions.names,
        "variance": None if directions.variance is None else directions.variance.tolist(),
        "block": directions.block,
        "note": directions.note,
    }
    tensors = {"vectors": directions.vectors.astype(np.float32)}
    write_atomically(Path(path), save(tensors, {KEY: json.dumps(header, ensure_ascii=False)}))


def load_directions(path: str | Path, *, block: int | None = None) -> Directions:
    """Directions from a file or a readout export.

    Args:
        path: File of directions, file of an export, or folder of an export.
        block: Block to take from an export, the middle one by default. For other files it replaces
            what they say of their source.

    Raises:
        ValueError: no such file, duplicate names, a vector that is zero or not finite, or a block
            that an export does not hold.
    """
    path = Path(path).expanduser()
    path = path / "readout.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no file of directions at {path}")
    if path.name == "readout.safetensors":
        stored = load_readouts(path.parent)
        at = _index(stored.blocks, block, path)
        return _readouts(stored.concepts, stored.vectors[at], stored.blocks[at])
    tensors, header = _opened(path)
    if "readout" in header:
        concept = load_concept(path)
        at = _index(concept.blocks, block, path)
        return _readouts((concept.concept,), concept.vectors[at][None], concept.blocks[at])
    about = _about(header, path)
    names, vectors = _named(tensors, about, path)
    variance = about.get("variance")
    if variance is not None and len(variance) != len(names):
        raise ValueError(f"{path} gives {len(variance)} variances for {len(names)} directions")
    return Directions(
        names,
        vectors,
        None if variance is None else np.array(variance, dtype=float),
        about.get("block") if block is None else block,
        str(about.get("note") or path.name),
    )


def principal_components(rows: Float[np.ndarray, "rows d"], n: int, *, block: int) -> Directions:
    """The first n principal components of residual vectors, as directions.

    Rows are brought to unit root mean square first, as the norm before attention does, so that a
    few long ones do not decide. A component's sign is free; here its longer tail is positive (third
    moment of the projections). Self pairs do not depend on it, cross pairs change sign with it.

    Args:
        rows: Residual stream before the block, one vector a row.
        n: Number of components.
        block: Block before which the residuals were read.

    Raises:
        ValueError: no more rows or dimensions than components.
    """
    if not 0 < n < min(rows.shape):
        raise ValueError(f"{n} components cannot be had from {rows.shape[0]} residuals")
    rows = rows.astype(np.float64)
    rows = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True))
    centred = rows - rows.mean(axis=0)
    _, values, basis = np.linalg.svd(centred, full_matrices=False)
    tail = ((centred @ basis[:n].T) ** 3).sum(axis=0)
    signs = np.where(tail < 0, -1.0, 1.0)
    return Directions(
        tuple(f"PC{number}" for number in range(1, n + 1)),
        basis[:n] * signs[:, None],
        (values**2 / (values**2).sum())[:n],
        block,
        f"principal components of residuals before block {block}",
    )


def _opened(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        # through torch, because NumPy has no bfloat16
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            return {key: file.get_tensor(key).double().numpy() for key in file.keys()}, header  # noqa: SIM118 (the file has no iterator)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def _about(header: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        about = json.loads(header.get(KEY, "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"metadata {KEY!r} of {path} is no JSON: {error}") from error
    if not isinstance(about, dict):
        raise ValueError(f"metadata {KEY!r} of {path} must be a JSON object, not {about!r}")
    return about


def _named(
    tensors: dict[str, np.ndarray], about: dict[str, Any], path: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and rows of either form."""
    if "vectors" in tensors and tensors["vectors"].ndim == 2:
        names = about.get("names")
        if names is None:
            raise ValueError(
                f"{path} holds a matrix without names: its metadata need {KEY!r}, a JSON object "
                'such as {"names": ["first", "second"]}'
            )
        if len(names) != len(tensors["vectors"]):
            raise ValueError(f"{path} gives {len(names)} names for {len(tensors['vectors'])} rows")
        return tuple(map(str, names)), tensors["vectors"]
    bad = next((name for name, tensor in tensors.items() if tensor.ndim != 1), None)
    if bad is not None or not tensors:
        shape = "nothing" if bad is None else f"{bad!r} of shape {list(tensors[bad].shape)}"
        raise ValueError(f"{path} holds {shape}; give a matrix 'vectors' [n, d] or tensors [d]")
    names = tuple(map(str, about.get("names") or sorted(tensors)))
    if set(names) - set(tensors):
        raise ValueError(f"{path} names {sorted(set(names) - set(tensors))} but does not hold them")
    widths = {len(tensors[name]) for name in names}
    if len(widths) > 1:
        raise ValueError(f"directions of {path} differ in width: {sorted(widths)}")
    return names, np.stack([tensors[name] for name in names])


def _index(blocks: tuple[int, ...], block: int | None, path: Path) -> int:
    if block is None:
        return len(blocks) // 2
    if block not in blocks:
        raise ValueError(f"{path} holds no block {block}; choose from {blocks}")
    return blocks.index(block)


def _readouts(names: tuple[str, ...], vectors: np.ndarray, block: int) -> Directions:
    note = f"concept readouts of the stream after block {block}"
    return Directions(names, vectors.astype(np.float64), None, block, note)
