"""The tidy table: one row per head, pair of directions and distance, written block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interp.files import whole
from interp.stats import fdr
from studies.attention_affinity.results import Kind, Measured, Side


def adjusted(found: Measured, kind: Kind, side: Side) -> np.ndarray:
    """Benjamini-Hochberg adjusted p over all cells of a kind and side, self pairs and cross pairs
    each among themselves; in the shape of the cells."""
    p = found.cells[kind, side].p
    off = ~np.eye(len(found.directions), dtype=bool)
    q = np.full(p.shape, np.nan)
    for mask in (off, ~off):
        q[:, :, mask] = fdr(p[:, :, mask])
    return q


def write(path: Path, found: Measured) -> int:
    """Write the table as Parquet, a row group per block and kind, and return its number of rows."""
    rows, writer = 0, None
    with whole(path) as partial:
        try:
            for frame in frames(found):
                table = pa.Table.from_pandas(frame, preserve_index=False)
                writer = writer or pq.ParquetWriter(partial, table.schema)
                writer.write_table(table)
                rows += len(frame)
        finally:
            if writer is not None:
                writer.close()
    return rows


def frames(found: Measured) -> Iterator[pd.DataFrame]:
    """The table, a block of the model and a kind of score at a time.

    `head` is null in rows about all heads of a block together, `distance` is null in rows about
    the average over distances and about VO, which has no distance.
    """
    kinds: tuple[Kind, ...] = ("QK", "VO")
    q = {key: adjusted(found, *key) for key in found.cells}
    for at, block in enumerate(found.settings.blocks):
        for kind in kinds:
            yield _frame(found, kind, at, block, q)
        yield _together(found, at, block)


def _frame(found: Measured, kind: Kind, at: int, block: int, q: dict) -> pd.DataFrame:
    shape = found.cells[kind, "base"].z.shape[1:]
    head, query, key, distance = (index.ravel() for index in np.indices(shape))
    columns = _names(found, kind, block, query, key)
    group = found.base.heads // int(found.base.shape["key-value heads"] or 1)
    columns["head"] = pd.array(head, dtype="Int32")
    columns["kv_head"] = pd.array(head // group, dtype="Int32")
    steps = [*found.settings.distances, *([None] if found.settings.average else [])]
    values = [None if kind == "VO" else steps[place] for place in range(shape[-1])]
    columns["distance"] = pd.array(values, dtype="Int32")[distance]
    for side in found.sides:
        cells = found.cells[kind, side]
        columns[f"{side}_raw"] = cells.raw[at].ravel()
        columns[f"{side}_z"] = cells.z[at].ravel()
        columns[f"{side}_null_mean"] = cells.mean[at].ravel()
        columns[f"{side}_null_sd"] = cells.sd[at].ravel()
        columns[f"{side}_p"] = cells.p[at].ravel()
        columns[f"{side}_q"] = q[kind, side][at].ravel()
        if side in found.ranks:
            columns[f"{side}_effective_rank"] = found.ranks[side][at][head]
    return pd.DataFrame(columns)


def _together(found: Measured, at: int, block: int) -> pd.DataFrame:
    """VO of all heads at once: cosine and z alone."""
    n = len(found.directions)
    query, key = (index.ravel() for index in np.indices((n, n)))
    columns = _names(found, "VO", block, query, key)
    none = pd.array([None] * n**2, dtype="Int32")
    columns |= {"head": none, "kv_head": none, "distance": none}
    for side in found.sides:
        cosine, z = found.whole[side]
        columns[f"{side}_raw"], columns[f"{side}_z"] = cosine[at].ravel(), z[at].ravel()
        for name in ("null_mean", "null_sd", "p", "q"):
            columns[f"{side}_{name}"] = np.full(n**2, np.nan)
        if side in found.ranks:
            columns[f"{side}_effective_rank"] = np.full(n**2, np.nan)
    return pd.DataFrame(columns)


def _names(found: Measured, kind: Kind, block: int, query: np.ndarray, key: np.ndarray) -> dict:
    names = np.array(found.directions.names, dtype=object)
    return {
        "kind": np.full(len(query), kind, dtype=object),
        "pair": np.where(query == key, "self", "cross"),
        "block": np.full(len(query), block, dtype=np.int32),
        "query": names[query],
        "key": names[key],
    }
