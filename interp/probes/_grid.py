"""Linear probes over a grid of blocks and positions, with the controls a claim needs, in one call.

1. Folds and label permutations are laid out once, so that every cell of every block is held to the
   same ones and max-T corrects over the grid (`interp.probes._permutation`).
2. Blocks are read one at a time; each cell is scored by held-out probes of the true labels, of
   their permutations and of control tasks, all on one rotation per fold (`interp.probes._heldout`).
3. Beside each score stand what a reader would otherwise have to ask for: chance and the majority,
   the surface probe, selectivity (Hewitt & Liang 2019, "Designing and interpreting probes with
   control tasks"), and the score that folds which split groups would have given.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Integer

from interp import arrays
from interp.arrays import Arraylike
from interp.probes._cells import score_cell
from interp.probes._design import ProbeDesign, Samples, lay_out
from interp.probes._probe import Probe
from interp.probes._result import ProbeGrid, collect
from interp.stats import Resampling
from interp.tasks import Shared, Workers, run_tasks

Task = tuple[np.ndarray, Shared]
"""Activations of a cell, and its `interp.probes._cells.CellDesign`."""


BY_ROW = ("groups", "units", "types")
"""What is known of each row beside its label."""


def probe_grid(
    blocks: Iterable[tuple[str, Arraylike]],
    y: Arraylike,
    *,
    groups: Arraylike,
    units: Arraylike | None = None,
    cells: Mapping[str, Arraylike] | None = None,
    types: Arraylike | None = None,
    surface: Arraylike | None = None,
    probe: Probe = Probe(),
    resampling: Resampling = Resampling(),
    workers: Workers = Workers(),
) -> ProbeGrid:
    """Probe every cell of every block for `y`, held to a permutation null, baselines and controls.

    Args:
        blocks: (name, activations [rows, d]) read one at a time, so a store can stream.
        y: label of each row: classes, or numbers for ridge regression.
        groups: rows that folds never split, such as those of a transcript.
        units: exchangeable unit of each row (None: its group), such as its turn; carries one label
            within one group. Labels are permuted among the units of each group that holds several
            labels, and among groups of the same fold where groups carry one.
        cells: name -> its rows, such as those of a position role; None: one cell "all".
        types: token type of each row, for control tasks; None: no selectivity.
        surface: activations [rows, d] of a surface baseline, such as `hook_embed`; None: none.
        probe: how a cell is probed.
        resampling: permutations, and folds, stratified by class as far as groups allow, of which
            there are 5 by default.
        workers: who scores the cells.

    Raises ValueError for arrays of different lengths, missing labels, one class overall, fewer
    groups than folds, a unit with two labels or groups, or rows out of range.
    """
    rows = arrays.taken(y, groups, groups if units is None else units, types, names=BY_ROW)
    chosen = {"all": np.arange(len(rows[0]))} if cells is None else _row_numbers(cells)
    design = lay_out(Samples(*rows), chosen, probe, resampling)
    return _grid(blocks, surface, design, workers)


def _row_numbers(cells: Mapping[str, Arraylike]) -> dict[str, Integer[np.ndarray, " _"]]:
    """Each cell's rows as numbers; a mask over rows gives those where it is True."""
    found = {}
    for name, given in cells.items():
        rows = arrays.labels(given, name=f"cell {name!r}")
        if rows.dtype.kind not in "iub":
            raise ValueError(f"cell {name!r} holds {rows.dtype}; numbers of rows are needed")
        found[name] = np.flatnonzero(rows) if rows.dtype.kind == "b" else rows
    return found


def _grid(
    blocks: Iterable[tuple[str, Arraylike]],
    surface: Arraylike | None,
    design: ProbeDesign,
    workers: Workers,
) -> ProbeGrid:
    names: list[str] = []
    tasks = _tasks(blocks, surface, design, names)
    scored = list(run_tasks(score_cell, tasks, workers=workers))
    width = len(design.cells)
    below, grid = (scored[:width], scored[width:]) if surface is not None else (None, scored)
    if not grid:
        raise ValueError("blocks is empty; at least one (name, activations) is needed")
    return collect(names, grid, below, design)


def _tasks(
    blocks: Iterable[tuple[str, Arraylike]],
    surface: Arraylike | None,
    design: ProbeDesign,
    names: list[str],
) -> Iterator[Task]:
    """The surface's cells without a null, then those of each block; `names` fills on the way."""
    if surface is not None:
        surface = arrays.activations(surface, name="surface", n=design.n_rows)
        for cell in design.cells.values():
            bare = replace(cell.shared, labels=cell.shared.labels[:1], n_permutations=0, n_boot=0)
            yield surface[cell.rows], Shared(bare)
    shared = {name: Shared(cell.shared) for name, cell in design.cells.items()}
    for name, activations in blocks:
        activations = arrays.activations(activations, name=f"block {name!r}", n=design.n_rows)
        names.append(name)
        for column, cell in design.cells.items():
            yield activations[cell.rows], shared[column]
        del activations  # or it would be held while the next block is read
