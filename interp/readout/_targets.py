"""Which blocks to read concepts at, before any is known to hold them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEPTHS = (25, 50, 60, 75, 90)
"""Depths of the blocks read by default, in % of the model's blocks."""


@dataclass(frozen=True)
class TargetBlocks:
    """Which blocks to read."""

    blocks: tuple[int, ...]
    """Blocks, counted from 0, rising."""
    depths: tuple[float, ...]
    """Their depths: the share of the model's blocks, in %, up to and with that block."""
    notices: tuple[str, ...]
    """Each block with its depth, and what is otherwise than asked for."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Each block with its depth, to stand beside a row."""
        pairs = zip(self.blocks, self.depths, strict=True)
        return tuple(f"block {block} ({depth:.0f} %)" for block, depth in pairs)


def plan_blocks(
    target: Sequence[int] | None, n_layers: int, attention: Sequence[bool]
) -> TargetBlocks:
    """Blocks to read in a model of `n_layers` blocks: those of `target`, or, without one, those
    nearest 25, 50, 60, 75 and 90 % of the depth.

    A block without attention has a residual stream like any other and is kept; a notice says that
    it has no heads to rank.

    Args:
        target: Blocks asked for, from 0, in any order.
        n_layers: Number of the model's blocks.
        attention: Whether each of them has attention.

    Raises:
        ValueError: a block that the model does not have, or another length of `attention`.
    """
    if len(attention) != n_layers:
        raise ValueError(f"attention is told of {len(attention)} blocks out of {n_layers}")
    wanted = list(target or (_nearest(percent, n_layers) for percent in DEPTHS))
    for block in wanted:
        if not 0 <= block < n_layers:
            raise ValueError(f"target block {block}; this model has blocks 0 to {n_layers - 1}")
    blocks = tuple(sorted(set(wanted)))
    depths = tuple(100 * (block + 1) / n_layers for block in blocks)
    notices = [
        f"block {block}: {depth:.0f} % of the depth"
        for block, depth in zip(blocks, depths, strict=True)
    ]
    if not target:
        listed = ", ".join(map(str, DEPTHS))
        notices.insert(0, f"no target blocks given: those nearest {listed} % of the depth")
    twice = sorted({block for block in wanted if wanted.count(block) > 1})
    if twice:
        notices.append(f"blocks asked for more than once, read once: {twice}")
    notices += [f"block {b} has no attention: no heads to rank" for b in blocks if not attention[b]]
    return TargetBlocks(blocks, depths, tuple(notices))


def _nearest(percent: int, n_layers: int) -> int:
    """The block whose output is nearest a depth; of two equally near, the deeper."""
    return max(0, math.floor(percent / 100 * n_layers + 0.5) - 1)
