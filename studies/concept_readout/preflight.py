"""What can be refused before hours are spent: checks without a model, and the blocks to read."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interp.readout import file_stem
from studies.concept_readout.corpus import Corpus

DEPTHS = (25, 50, 60, 75, 90)
"""Depths of the blocks read by default, in % of the model's blocks."""

EXPORTED = ("readout.safetensors", "readout.json", "quality.json")
"""Files that an export leaves under names of their own; concepts' files stand beside them."""


@dataclass(frozen=True)
class Targets:
    """Which blocks to read."""

    blocks: tuple[int, ...]
    """Blocks, counted from 0, rising."""
    depths: tuple[float, ...]
    """Their depths: the share of the model's blocks, in %, up to and with that block."""
    notices: tuple[str, ...]
    """Each block with its depth, and what is otherwise than asked for."""


def check(
    corpus: Corpus,
    output: Path | None,
    targets: Sequence[int] | None = None,
    *,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Check texts, blocks and the directory of the export, `output`; returns notices.

    Raises:
        ValueError: fewer than two concepts, a concept without negatives or with a name that no
            file can have, a negative block, or an output that is no directory, cannot be written
            to, or holds an export that is not to be overwritten.
    """
    if len(corpus.concepts) < 2:
        raise ValueError(f"{list(corpus.concepts)} is too few concepts; at least 2 are told apart")
    for concept, positive in zip(corpus.concepts, corpus.positive, strict=True):
        file_stem(concept)  # refuses what is too long to be a file's name
        if positive.all():
            raise ValueError(f"concept {concept!r} is shown by all texts; it needs negatives")
    for block in targets or ():
        if block < 0:
            raise ValueError(f"target block {block} is negative; blocks count from 0")
    if output is not None:
        _check_output(output, overwrite)
    return _corpus_notices(corpus)


def _check_output(output: Path, overwrite: bool) -> None:
    present = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not present.is_dir():
        raise ValueError(f"output {output}: {present} is no directory")
    if not os.access(present, os.W_OK | os.X_OK):
        raise ValueError(f"output {output}: no permission to write in {present}")
    held = [name for name in EXPORTED if (output / name).exists()]
    if held and not overwrite:
        raise ValueError(
            f"output {output} already holds an export ({', '.join(held)}); choose another "
            "directory, or allow overwriting"
        )


def _corpus_notices(corpus: Corpus) -> tuple[str, ...]:
    notices = [*corpus.skipped, *corpus.notes]
    if corpus.n_baselines == 0:
        notices.append("no baselines: a concept's only negatives are the other concepts' texts")
    n_scenarios = len(np.unique(corpus.scenario))
    if n_scenarios < 3:
        notices.append(f"{n_scenarios} scenarios: holding one out needs at least 3")
    shown: dict[bytes, str] = {}
    for concept, positive in zip(corpus.concepts, corpus.positive, strict=True):
        other = shown.setdefault(positive.tobytes(), concept)
        if other != concept:
            notices.append(f"{concept!r} and {other!r} have the same positives: one vector twice")
    return tuple(notices)


def plan_blocks(target: Sequence[int] | None, n_layers: int, attention: Sequence[bool]) -> Targets:
    """Blocks to read in a model of `n_layers` blocks, of which `attention` says whether they have
    any: those of `target`, or, without one, those nearest 25, 50, 60, 75 and 90 % of the depth.

    A block without attention has a residual stream like any other and is kept; a notice says that
    it has no heads to rank.

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
    notices = [f"block {b}: {depth:.0f} % of the depth" for b, depth in zip(blocks, depths, strict=True)]  # fmt: skip # noqa: E501
    if not target:
        listed = ", ".join(map(str, DEPTHS))
        notices.insert(0, f"no target blocks given: those nearest {listed} % of the depth")
    twice = sorted({block for block in wanted if wanted.count(block) > 1})
    if twice:
        notices.append(f"blocks asked for more than once, read once: {twice}")
    notices += [f"block {b} has no attention: no heads to rank" for b in blocks if not attention[b]]
    return Targets(blocks, depths, tuple(notices))


def _nearest(percent: float, n_layers: int) -> int:
    """The block whose output is nearest a depth; of two equally near, the deeper."""
    return max(0, math.floor(percent / 100 * n_layers + 0.5) - 1)
