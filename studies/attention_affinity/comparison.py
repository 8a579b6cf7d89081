"""Named directions through every head of one model, or of two and their difference.

Blocks are read, compared with `interp.affinity.compare` and dropped, one after the other. Cells of
one run are not independent (they share directions, and their blocks feed each other), so claims are
held to whole sets of unrelated directions.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from interp.affinity import Comparison, Kind, Survey, compare
from interp.affinity.notebook import head_averaged_table
from interp.directions import Directions, principal_components, save_directions
from interp.model import resid_pre
from interp.report import Block, Table
from interp.store import Store
from interp.study import Subject
from studies.attention_affinity.checkpoints import Checkpoints, needed_residuals

Side = Literal["base", "instruct", "difference"]
KINDS: tuple[Kind, ...] = ("QK", "VO")


@dataclass(frozen=True)
class ModelComparison:
    """What every head of a model, or of two, does with the directions."""

    asked: Checkpoints
    """The models, and their blocks."""
    directions: Directions
    """What was asked of every head."""
    scores: Comparison
    """Scores of each model and of the difference."""
    residuals: Store | None
    """What the null is made of; None for the isotropic one."""
    windows: tuple[int | None, ...]
    """How many positions a query of each block sees; None for all."""
    notebook: pd.DataFrame | None
    """Head-averaged scores as an earlier notebook computed them, where asked for."""
    bytes_read: int
    """Tensor data read from the checkpoints."""

    @property
    def surveys(self) -> Mapping[Side, Survey]:
        """Scores of each side."""
        scores = self.scores
        if scores.other is None or scores.difference is None:
            return {"base": scores.base}
        return {"base": scores.base, "instruct": scores.other, "difference": scores.difference}

    @property
    def main(self) -> Side:
        """The side that the question is about: the difference, or the only one."""
        return "base" if self.asked.other is None else "difference"

    @property
    def block_labels(self) -> list[str]:
        """Blocks as figures name them."""
        return [str(block) for block in self.asked.blocks]

    @property
    def steps(self) -> tuple[int, ...]:
        """Distances but for the average over them."""
        return tuple(one for one in self.scores.base.qk.distances if isinstance(one, int))

    @property
    def change(self) -> str:
        """What made the second model of the first."""
        other = self.asked.other
        return "Random noise" if other and other.noise is not None else "Tuning"

    def name(self, side: Side) -> str:
        """What to call a side in a legend."""
        other = "" if self.asked.other is None else self.asked.other.label
        return {"base": self.asked.base.label, "instruct": other}.get(side, "difference")

    def title(self, side: Side) -> str:
        """What to call a side in a title."""
        if side == "difference":
            return f"{self.name('instruct')} less {self.asked.base.label}"
        return self.name(side)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per head, pair of directions and distance, with the scores of every side.

        `head` is null in rows about all heads of a block together, `distance` is null in rows about
        the average over distances and about VO, which has no distance.
        """
        table = self.scores.table(other="instruct")
        group = self.asked.base.heads // self.asked.base.kv_heads
        return table.assign(kv_head=table["head"] // group)


def compared(subject: Subject, checkpoints: Checkpoints) -> ModelComparison:
    """Every block of the models, compared; the directions are kept in the run directory."""
    config, base, other = subject.config, checkpoints.base, checkpoints.other
    for side, fingerprint in checkpoints.fingerprints.items():
        subject.record(side, fingerprint)
    residuals, directions = needed_residuals(subject, checkpoints), checkpoints.directions
    subject.record("residuals", None if residuals is None else residuals.source)
    if directions is None:
        assert residuals is not None  # they are read where no directions are given
        stream = residuals.read(resid_pre(checkpoints.source)).reshape(-1, base.width)
        directions = principal_components(stream, config.components, block=checkpoints.source)
    save_directions(subject.run.path / "directions.safetensors", directions)
    null = None if config.null == "isotropic" else residuals
    X, names = torch.from_numpy(directions.vectors), directions.names
    options = {"distances": checkpoints.distances, "names": names, "seed": config.seed}
    parts, windows, frames, bytes_read = [], [], [], 0
    for block in tqdm(checkpoints.blocks, desc="blocks", unit="block", file=sys.stderr):
        before = base.attention(block)
        after = None if other is None else other.attention(block)
        rows = None if null is None else null.read(resid_pre(block)).astype(np.float64)
        parts.append(compare(before, after, X, residuals=rows, **options))
        windows.append(before.window)
        bytes_read += before.bytes_read + (0 if after is None else after.bytes_read)
        if config.peer_compat:
            sides = {"base": before} | ({} if after is None else {"instruct": after})
            frames.append(head_averaged_table(sides, X, names=names, seed=config.seed))
    subject.record("bytes read", bytes_read)
    return ModelComparison(
        asked=checkpoints,
        directions=directions,
        scores=Comparison.joined(parts),
        residuals=null,
        windows=tuple(windows),
        notebook=pd.concat(frames, ignore_index=True) if frames else None,
        bytes_read=bytes_read,
    )


def method(subjects: Sequence[Subject], checkpoints: Checkpoints) -> list[Block]:
    """What was done, in words and numbers."""
    comparison = subjects[0].ask(compared)
    directions, other = comparison.directions, checkpoints.other
    body: list[Block] = []
    if other is not None and other.noise is not None:
        body.append(
            f"Control run: the second model is the first with {100 * other.noise:g} % of "
            "Gaussian noise on every head's attention weights. Nothing is routed anew."
        )
    return [
        *body,
        f"{len(directions)} directions, {directions.note}, go through every head of "
        f"{len(checkpoints.blocks)} blocks without running the model: as query and key at "
        f"distances {', '.join(comparison.scores.base.qk.labels)} (logit, with norm, rotation, "
        "query and key norm and biases as the model has them), and as what is attended to and what "
        f"is written (cosine). {len(comparison.table):,} rows are in affinity-1.parquet.",
        _null(comparison),
        "Beside them go 96 unrelated directions, dealt into 200 sets of as many as there are named "
        "ones. Cells of one run are not independent (they share directions, and their blocks feed "
        "each other), so claims are held to whole sets.",
        _files(comparison),
    ]


def _null(comparison: ModelComparison) -> str:
    residuals = comparison.residuals
    if residuals is None:
        return (
            "Null: isotropic, all directions of the residual stream alike, which real residuals "
            "are not: against it many unrelated pairs of real residuals look significant. Give "
            "--residuals or --null covariance for the other one."
        )
    held_out = residuals.plan.n_samples // 2
    fitted = residuals.plan.n_samples - held_out
    return (
        f"Null: the covariance of residuals before each block in {fitted} texts, "
        f"{len(residuals.positions)} tokens each, of {comparison.asked.base.label}, as deviations "
        "from their mean with both signs (a direction has no mean of its own). Unrelated "
        f"directions are such deviations in {held_out} other texts. For what is written, the null "
        "is the cosine with such deviations, and for self pairs that of each deviation with what "
        "is written for it. The difference of two models is scored on the same vectors in both."
    )


def _files(comparison: ModelComparison) -> Table:
    asked = comparison.asked
    rows = [
        {
            "": side,
            "model": model.label,
            **model.shape,
            "MB of attention and norms": model.size.bytes_needed / 1e6,
            "MB in all": model.size.bytes_total / 1e6,
        }
        for side, model in (("base", asked.base), ("instruct", asked.other))
        if model is not None
    ]
    return Table(
        pd.DataFrame(rows),
        f"The checkpoints; {comparison.bytes_read / 1e6:.1f} MB of tensors were read for the "
        "scores.",
    )
