"""Blocks, heads and directions that the options name."""

import re
from pathlib import Path

from studies.attention_affinity.directions import Directions, from_file
from studies.attention_affinity.reading import Checkpoint


def chosen_blocks(base: Checkpoint, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The blocks, rising; all where none is named. Raises ValueError for one that the model does
    not have."""
    for block in wanted:
        if not 0 <= block < base.blocks:
            raise ValueError(
                f"{base.label} has no block {block}; choose from 0 to {base.blocks - 1}"
            )
    return tuple(sorted(set(wanted))) or tuple(range(base.blocks))


def averaged_blocks(blocks: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the blocks read that effects are averaged over; the middle third by default."""
    for block in wanted:
        if block not in blocks:
            raise ValueError(f"block {block} is to be averaged but not read; blocks: {blocks}")
    third = len(blocks) // 3
    return tuple(sorted(set(wanted))) or blocks[third : len(blocks) - third]


def chosen_head(
    base: Checkpoint, blocks: tuple[int, ...], wanted: str | None
) -> tuple[int, int] | None:
    """Block and head of BLOCK.HEAD; None where none is named."""
    if wanted is None:
        return None
    match = re.fullmatch(r"(\d+)\.(\d+)", wanted)
    if match is None:
        raise ValueError(f"head = {wanted!r}; write it as BLOCK.HEAD, such as {blocks[0]}.0")
    block, head = int(match[1]), int(match[2])
    if block not in blocks or head >= base.heads:
        raise ValueError(
            f"there is no head {wanted}: blocks {blocks[0]} to {blocks[-1]} are read, each with "
            f"heads 0 to {base.heads - 1}"
        )
    return block, head


def chosen_directions(base: Checkpoint, path: Path, n: int, block: int | None) -> Directions:
    """The first n directions of a file. Raises ValueError as `from_file` does, and for those of
    another width than the model's residual stream."""
    found = from_file(path, block=block).first(n)
    width = found.vectors.shape[1]
    if width != base.width:
        raise ValueError(
            f"{path} holds directions of width {width}; the residual stream of {base.label} has "
            f"{base.width}"
        )
    return found
