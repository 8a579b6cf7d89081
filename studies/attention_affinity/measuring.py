"""Every block against its null: the named directions, unrelated ones, and what tuning changed.

1. Read one block's attention of both models, and the residuals before it.
2. Score the named directions together with unrelated ones: logits at every distance, then what
   attending writes. One null serves both.
3. Keep the named scores, count the unrelated ones by sets, drop the block.
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from interp.affinity import (
    Forms,
    Null,
    Scores,
    effective_rank,
    fold,
    qk,
    qk_difference,
    qk_self,
    qk_self_difference,
)
from interp.affinity.notebook import head_averaged
from studies.attention_affinity.directions import Directions
from studies.attention_affinity.reading import Checkpoint
from studies.attention_affinity.residuals import Residuals, Unrelated, tensor
from studies.attention_affinity.results import Cells, Kind, Measured, Settings, Side
from studies.attention_affinity.routing import Turns, turned_changes
from studies.attention_affinity.unrelated import Gathered
from studies.attention_affinity.writing import written


def measure(
    base: Checkpoint,
    other: Checkpoint | None,
    directions: Directions,
    residuals: Residuals | None,
    settings: Settings,
) -> Measured:
    """Score every block; residuals give the covariance null and the unrelated directions."""
    unrelated = Unrelated.draw(len(directions), residuals, seed=settings.seed)
    walk = _Walk(base, other, directions, residuals, settings, unrelated)
    for at in tqdm(range(len(settings.blocks)), desc="blocks", unit="block", file=sys.stderr):
        walk.block(at)
    return walk.measured()


class _Walk:
    """The way through the blocks: arrays that fill up, and one block's weights at a time."""

    def __init__(
        self,
        base: Checkpoint,
        other: Checkpoint | None,
        directions: Directions,
        residuals: Residuals | None,
        settings: Settings,
        unrelated: Unrelated,
    ):
        self.base, self.other, self.directions = base, other, directions
        self.residuals, self.settings, self.unrelated = residuals, settings, unrelated
        shape = (len(settings.blocks), base.heads)
        n, steps = len(directions), len(settings.steps)
        self.sides: list[Side] = ["base"] if other is None else ["base", "instruct", "difference"]
        self.cells: dict[tuple[Kind, Side], Cells] = {}
        self.gathered: dict[tuple[Kind, Side], Gathered] = {}
        for side in self.sides:
            self.cells["QK", side] = Cells.empty(*shape, n, steps)
            self.cells["VO", side] = Cells.empty(*shape, n, 1)
            for kind in ("QK", "VO"):
                self.gathered[kind, side] = Gathered(unrelated, *shape)
        self.whole = {
            side: tuple(np.full((shape[0], n, n), np.nan) for _ in "cz") for side in self.sides
        }
        self.spreads: dict[Side, np.ndarray] = {side: np.full(shape, np.nan) for side in self.sides}
        self.ranks: dict[Side, np.ndarray] = {
            side: np.full(shape, np.nan) for side in self.sides[:2]
        }
        self.isotropic = None if residuals is None else Gathered(unrelated, *shape)
        self.turns = Turns()
        self.windows: list[int | None] = []
        self.peer: list[pd.DataFrame] = []
        self.bytes_read = 0

    def block(self, at: int) -> None:
        """Score one block."""
        block, seed = self.settings.blocks[at], self.settings.seed
        weights = [m.weights(block) for m in (self.base, self.other) if m is not None]
        forms = [fold(one) for one in weights]
        self.bytes_read += sum(one.bytes_read for one in weights)
        self.windows.append(weights[0].window)
        ordinary, held = (
            (None, None) if self.residuals is None else self.residuals.deviations(block)
        )
        named = tensor(self.directions.vectors)
        X = torch.cat([named, tensor(self.unrelated.vectors(held, self.base.width))])
        rows = None if ordinary is None else tensor(ordinary)
        changed: list[tuple[Null, Null]] = []
        for number, distance in enumerate(self.settings.steps):
            options = {"distance": distance, "residuals": rows, "seed": seed}
            for side, cross, alone in self._logits(forms, X, options):
                self._keep("QK", side, at, number, cross, alone)
                if side == "difference":
                    changed.append((cross.null, alone.null))
            if number == 0 and self.isotropic is not None:
                plain = {"distance": distance, "seed": seed}
                _gather(
                    self.isotropic,
                    at,
                    len(named),
                    qk(forms[0], X, X, **plain),
                    qk_self(forms[0], X, **plain),
                )
        for side, one in zip(self.sides, forms, strict=False):
            self.ranks[side][at] = effective_rank(one, distance=self.settings.steps[0]).numpy()
        self._flow(forms, X, rows, at)
        if self.other is not None:
            self._turns(weights, forms[0], named)
        if self.settings.peer:
            self._peer(weights, named, block)

    def _logits(self, forms: Sequence, X: torch.Tensor, options: dict):
        """Side, cross pairs and self pairs of one distance."""
        for side, one in zip(self.sides, forms, strict=False):
            yield side, qk(one, X, X, **options), qk_self(one, X, **options)
        if len(forms) == 2:
            base, other = forms
            yield (
                "difference",
                qk_difference(base, other, X, X, **options),
                qk_self_difference(base, other, X, **options),
            )

    def _keep(
        self, kind: Kind, side: Side, at: int, number: int, cross: Scores, alone: Scores
    ) -> None:
        n, cells = len(self.directions), self.cells[kind, side]
        diagonal = np.arange(n)
        for name in ("raw", "z", "p"):
            into = getattr(cells, name)[at, ..., number]
            into[:] = getattr(cross, name)[:, :n, :n].numpy()
            into[:, diagonal, diagonal] = getattr(alone, name)[:, :n].numpy()
        for name in ("mean", "sd"):
            into = getattr(cells, name)[at, ..., number]
            into[:] = getattr(cross.null, name).numpy()[:, None, None]
            into[:, diagonal, diagonal] = getattr(alone.null, name).numpy()[:, None]
        if number == 0:
            self.spreads[side][at] = cross.null.sd.numpy()
        _gather(self.gathered[kind, side], at, n, cross, alone, first=number == 0)

    def _flow(
        self, forms: list[Forms], X: torch.Tensor, rows: torch.Tensor | None, at: int
    ) -> None:
        n, seed = len(self.directions), self.settings.seed
        for number, side in enumerate(self.sides):
            one, other = (forms[0], forms[1]) if side == "difference" else (forms[number], None)
            found, cells = written(one, other, X, rows, seed=seed), self.cells["VO", side]
            for name in ("raw", "z", "p", "mean", "sd"):
                getattr(cells, name)[at, ..., 0] = getattr(found, name)[:, :n, :n]
            for into, source in zip(self.whole[side], (found.whole, found.whole_z), strict=True):
                into[at] = source[:n, :n]
            z, p = found.z[:, n:, n:], found.p[:, n:, n:]
            own = (np.diagonal(part, axis1=1, axis2=2) for part in (z, p))
            self.gathered["VO", side].add(at, z, p, *own, first=True)

    def _turns(self, weights: list, forms: Forms, named: torch.Tensor) -> None:
        """Logits between the named directions under the change, as it was made and turned."""
        before, after = weights
        seed, steps = self.settings.seed, self.settings.steps
        for changes in turned_changes(before, after, forms, named, steps, seed=seed):
            self.turns.add(changes.transpose(0, 1).flatten(1).numpy())

    def _peer(self, weights: list, named: torch.Tensor, block: int) -> None:
        """The earlier notebook's numbers, and their difference for two models."""
        names = np.array(self.directions.names, dtype=object)
        row, column = (index.ravel() for index in np.indices((len(names), len(names))))
        # as in that notebook, every block and model gets random vectors of its own
        seeds = [self.settings.seed * 100_003 + 2 * block + side for side in range(len(weights))]
        for kind in ("QK", "VO"):
            columns: dict = {
                "kind": kind,
                "block": block,
                "query": names[row],
                "key": names[column],
            }
            for side, one, seed in zip(self.sides, weights, seeds, strict=False):
                made = head_averaged(one, named, named, seed=seed)
                # rows of vo are what is attended to; here, as in the cells, what is written
                raw, z = (made.pair, made.pair_z) if kind == "QK" else (made.vo.T, made.vo_z.T)
                columns |= {f"{side}_raw": raw.numpy()[row, column]}
                columns |= {f"{side}_z": z.numpy()[row, column]}
            frame = pd.DataFrame(columns)
            if len(weights) == 2:
                frame["difference_z"] = frame["instruct_z"] - frame["base_z"]
            self.peer.append(frame)

    def measured(self) -> Measured:
        """All of it, with the named directions counted beside the unrelated sets."""
        n = len(self.directions)
        off = ~np.eye(n, dtype=bool)
        for key, gathered in self.gathered.items():
            p = np.moveaxis(self.cells[key].p, -1, 2)  # [blocks, heads, distances, n, n]
            for pair, mask in (("cross", off), ("self", ~off)):
                if mask.any():
                    gathered.tally.add(pair, np.zeros(1, dtype=int), p[..., mask].reshape(1, -1))
        return Measured(
            base=self.base,
            other=self.other,
            directions=self.directions,
            settings=self.settings,
            covariance=self.residuals is not None,
            cells=self.cells,
            whole=self.whole,  # pyright: ignore[reportArgumentType]
            gathered=self.gathered,
            turns=self.turns,
            isotropic=self.isotropic,
            spreads=self.spreads,
            ranks=self.ranks,
            windows=tuple(self.windows),
            peer=pd.concat(self.peer, ignore_index=True) if self.peer else None,
            bytes_read=self.bytes_read,
        )


def _gather(
    gathered: Gathered, at: int, n: int, cross: Scores, alone: Scores, *, first: bool = True
) -> None:
    """The unrelated part of scores of named and unrelated directions together."""
    gathered.add(
        at,
        cross.z[:, n:, n:].numpy(),
        cross.p[:, n:, n:].numpy(),
        alone.z[:, n:].numpy(),
        alone.p[:, n:].numpy(),
        first=first,
    )
