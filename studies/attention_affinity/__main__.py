"""Which directions attend to which, by the weights alone, and what tuning changed?
`python -m studies.attention_affinity --help`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from interp.affinity import Distance
from interp.claims import Claim, as_records, judged
from interp.directions import (
    Directions,
    load_directions,
    principal_components,
    save_directions,
)
from interp.extract import Stores
from interp.model import checkpoint_directory
from interp.report import Section, render
from interp.run import Run, RunConfig, run_command
from interp.weights import ModelWeights
from studies.attention_affinity import change, distance_and_effect, heads
from studies.attention_affinity.comparison import ModelComparison, compare_models, method, title
from studies.attention_affinity.residuals import Residuals


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Named directions through every head of one checkpoint, or of two and their difference."""

    base: str = "smollm2-135m-instruct-q4"
    """Model: a local name, checkpoint directory, GGUF file or hub id. Scored, never run, except
    once over the study's short texts where directions or the covariance null come from it."""
    instruct: str | None = None
    """Second model of the same shape, such as the tuned one; scores of the difference are added."""
    perturb: float | None = None
    """Instead of a second model: the base with Gaussian noise of this relative size on its
    attention weights. A control, in which nothing is routed anew; .01 is 1 %."""
    vectors: Path | None = None
    """Directions: a safetensors file (format: see the study's README) or a readout export; without
    it, principal components of the base model's residuals."""
    residuals: str | Path | None = None
    """Store with residuals before every block at single tokens, for the covariance null; without
    it, where one is needed, the study reads its own short texts."""
    null: Literal["auto", "covariance", "isotropic"] = "auto"
    """What unrelated vectors are; auto: covariance where residuals are at hand, so without
    --vectors or with --residuals, else isotropic."""
    components: int = 8
    """How many directions to use, the first ones of a file."""
    source_block: int | None = None
    """Block whose residuals give the components, the middle one by default; of an export, the block
    to take; of a file, the block to mark in figures."""
    distances: tuple[int, ...] = (0, -1, -4, -16, -64)
    """Key position less query position, none positive."""
    average: bool = True
    """Add the mean over all distances from 0 to the farthest."""
    blocks: tuple[int, ...] = ()
    """Blocks to read, from 0; all by default."""
    averaged: tuple[int, ...] = ()
    """Blocks that effects by direction are averaged over; the middle third by default."""
    head: str | None = None
    """Head of the pair heatmap, as BLOCK.HEAD; by default the one with the least p."""
    peer_compat: bool = False
    """Add head-averaged scores as an earlier notebook computed them, in a table of their own."""
    base_revision: str | None = None
    """Branch, tag or commit of the base on the hub."""
    instruct_revision: str | None = None
    """The same of the second model."""

    def __post_init__(self):
        super().__post_init__()
        if self.instruct is not None and self.perturb is not None:
            raise ValueError(f"give instruct={self.instruct!r} or perturb={self.perturb}, not both")
        if self.perturb is not None and not self.perturb > 0:
            raise ValueError(f"perturb = {self.perturb}; the size of noise must be positive")
        steps = self.distances
        if not steps or max(steps) > 0 or len(set(steps)) < len(steps):
            raise ValueError(f"distances = {steps}; give some, each once, none above 0")
        self.require_at_least(components=1)
        if self.null == "isotropic" and self.residuals is not None:
            raise ValueError("null = isotropic makes no use of residuals; leave one of them out")

    def models(self) -> tuple[ModelWeights, ModelWeights | None]:
        """The base, and what it is compared with: a tuned model, noise, or nothing. Raises
        ValueError for what cannot be read, and for models of two shapes."""
        base = _opened(self.base, self.base_revision)
        if self.perturb is not None:
            return base, base.with_noise(self.perturb, seed=self.seed)
        if self.instruct is None:
            return base, None
        other = _opened(self.instruct, self.instruct_revision)
        other.require_shape_of(base)
        if other.label == base.label:  # two directories of one name in different places
            other = replace(other, label=f"{other.label} (tuned)")
        return base, other

    def given_directions(self, base: ModelWeights) -> Directions | None:
        """The first directions of a file; None where none is named. Raises ValueError for those of
        another width than the model's residual stream."""
        if self.vectors is None:
            return None
        directions = load_directions(self.vectors, block=self.source_block).first(self.components)
        width = directions.vectors.shape[1]
        if width != base.width:
            raise ValueError(
                f"{self.vectors} holds directions of width {width}; the residual stream of "
                f"{base.label} has {base.width}"
            )
        return directions

    def needed_residuals(self, base: ModelWeights) -> Residuals | None:
        """Residuals for the directions or the null; None where neither asks for them."""
        if self.residuals is not None:
            return Residuals.open(self.residuals, blocks=base.blocks, width=base.width)
        if self.vectors is not None and self.null != "covariance":
            return None
        return Residuals.read(base.directory, device=self.device, stores=Stores.of(self))

    def steps(self) -> list[Distance]:
        """Distances, and the average over them last."""
        average = [list(range(min(self.distances), 1))] if self.average else []
        return [*self.distances, *average]


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    # 1. checkpoints and directions: all that can be refused before long work
    base, other = config.models()
    blocks = _blocks(base, config.blocks)
    averaged = _averaged(blocks, config.averaged)
    head = _head(base, blocks, config.head)
    source = base.blocks // 2 if config.source_block is None else config.source_block
    _blocks(base, (source,))
    directions = config.given_directions(base)
    with Run("attention_affinity", config, root=config.runs) as run:
        for side, model in (("base", base), ("instruct", other)):
            run.record(side, None if model is None else model.fingerprint())
        # 2. residuals before every block, and components of them where no directions are given
        residuals = config.needed_residuals(base)
        if directions is None:
            assert residuals is not None
            rows = residuals.rows(source).reshape(-1, base.width)
            directions = principal_components(rows, config.components, block=source)
        save_directions(run.path / "directions.safetensors", directions)
        null = None if config.null == "isotropic" else residuals
        # 3. every head, block by block
        comparison = compare_models(
            base,
            other,
            directions,
            null,
            blocks=blocks,
            averaged=averaged,
            distances=config.steps(),
            notebook=config.peer_compat,
            seed=config.seed,
        )
        run.record("residuals", None if residuals is None else residuals.store.source)
        run.record("bytes read", comparison.bytes_read)
        table = comparison.table()
        run.save_table("affinity", table)
        if comparison.notebook is not None:
            run.save_table("peer", comparison.notebook)
        # 4. what the scores establish
        claims = judged(claims_of(comparison))
        run.save_results({"claims": as_records(claims), "directions": directions.names})
        # 5. the report
        words = [*heads.words(comparison), *change.words(comparison, claims)]
        sections = [
            Section("In words", words),
            method(comparison, null, len(table)),
            *heads.sections(comparison, head),
            *distance_and_effect.sections(comparison),
            *change.sections(comparison),
        ]
        about = f"{comparison.subject}; {len(directions)} directions"
        page = render(
            title(comparison),
            as_records(claims),
            sections,
            introduction=about,
            facts=run.summary(),
        )
        return run.save_report(page)


def claims_of(comparison: ModelComparison) -> list[Claim]:
    """Every claim about the models."""
    return [
        *heads.claims(comparison),
        distance_and_effect.distance_claim(comparison),
        *change.claims(comparison),
        distance_and_effect.effect_claim(comparison),
    ]


def _opened(name: str, revision: str | None) -> ModelWeights:
    path = Path(name).expanduser()
    directory = checkpoint_directory(name, revision=revision)
    return ModelWeights.open(directory, label=path.stem if path.exists() else name)


def _blocks(base: ModelWeights, named: tuple[int, ...]) -> tuple[int, ...]:
    """The blocks, rising; all where none is named."""
    for block in named:
        if not 0 <= block < base.blocks:
            raise ValueError(
                f"{base.label} has no block {block}; choose from 0 to {base.blocks - 1}"
            )
    return tuple(sorted(set(named))) or tuple(range(base.blocks))


def _averaged(blocks: tuple[int, ...], named: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks that effects are averaged over; the middle third of those read by default."""
    for block in named:
        if block not in blocks:
            raise ValueError(f"block {block} is to be averaged but not read; blocks: {blocks}")
    third = len(blocks) // 3
    return tuple(sorted(set(named))) or blocks[third : len(blocks) - third]


def _head(base: ModelWeights, blocks: tuple[int, ...], named: str | None) -> tuple[int, int] | None:
    """Block and head of BLOCK.HEAD; None where none is named."""
    if named is None:
        return None
    match = re.fullmatch(r"(\d+)\.(\d+)", named)
    if match is None:
        raise ValueError(f"head = {named!r}; write it as BLOCK.HEAD, such as {blocks[0]}.0")
    block, head = int(match[1]), int(match[2])
    if block not in blocks or head >= base.heads:
        raise ValueError(
            f"there is no head {named}: blocks {blocks[0]} to {blocks[-1]} are read, each with "
            f"heads 0 to {base.heads - 1}"
        )
    return block, head


if __name__ == "__main__":
    command = "python -m studies.attention_affinity"
    run_command(main, Config, prog=command, description=__doc__ or "")
