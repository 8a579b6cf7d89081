"""Which directions attend to which, by the weights alone, and what tuning changed?
`python -m studies.attention_affinity --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.claims import as_records, judged
from interp.extract import Stores
from interp.report import Section, render
from interp.run import Run, RunConfig, run_command
from studies.attention_affinity import figures, findings, overview, table, wording
from studies.attention_affinity.choosing import (
    averaged_blocks,
    chosen_blocks,
    chosen_directions,
    chosen_head,
)
from studies.attention_affinity.directions import principal_components, save_directions
from studies.attention_affinity.measuring import measure
from studies.attention_affinity.reading import Checkpoint, open_checkpoint, open_other
from studies.attention_affinity.residuals import Residuals, extracted, opened
from studies.attention_affinity.results import Settings


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
        if not self.distances or max(self.distances) > 0 or len(set(self.distances)) < len(self.distances):  # fmt: skip # noqa: E501
            raise ValueError(f"distances = {self.distances}; give some, each once, none above 0")
        self.require_at_least(components=1)
        if self.null == "isotropic" and self.residuals is not None:
            raise ValueError("null = isotropic makes no use of residuals; leave one of them out")

    def needed(self, base: Checkpoint) -> Residuals | None:
        """Residuals for the directions or the null; None where neither asks for them."""
        if self.residuals is not None:
            return opened(self.residuals, blocks=base.blocks, width=base.width)
        if self.vectors is not None and self.null != "covariance":
            return None
        return extracted(base.directory, device=self.device, stores=Stores.of(self))


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    # 1. checkpoints and directions: all that can be refused before long work
    base = open_checkpoint(config.base, revision=config.base_revision)
    other = open_other(base, config.instruct, config.perturb, revision=config.instruct_revision, seed=config.seed)  # fmt: skip # noqa: E501
    blocks = chosen_blocks(base, config.blocks)
    averaged = averaged_blocks(blocks, config.averaged)
    head = chosen_head(base, blocks, config.head)
    source = base.blocks // 2 if config.source_block is None else config.source_block
    chosen_blocks(base, (source,))
    directions = None if config.vectors is None else chosen_directions(base, config.vectors, config.components, config.source_block)  # fmt: skip # noqa: E501
    with Run("attention_affinity", config, root=config.runs) as run:
        for side, model in (("base", base), ("instruct", other)):
            run.record(side, None if model is None else model.fingerprint())
        # 2. residuals before every block, and components of them where no directions are given
        residuals = config.needed(base)
        if directions is None:
            assert residuals is not None
            rows = residuals.rows(source).reshape(-1, base.width)
            directions = principal_components(rows, config.components, block=source)
        save_directions(run.path / "directions.safetensors", directions)
        null = None if config.null == "isotropic" else residuals
        # 3. every head, block by block
        settings = Settings(blocks, config.distances, config.average, config.peer_compat, config.seed)  # fmt: skip # noqa: E501
        found = measure(base, other, directions, null, settings)
        run.record("residuals", None if residuals is None else residuals.store.source)
        run.record("bytes read", found.bytes_read)
        # 4. tables, and what they establish
        rows = table.write(run.path / "affinity.parquet", found)
        if found.peer is not None:
            run.save_table("peer", found.peer)
        claims = judged(findings.claims(found, averaged))
        run.save_results({"claims": as_records(claims), "directions": directions.names})
        # 5. the report
        shown = head or figures.default_head(found)
        page = render(
            overview.title(found),
            as_records(claims),
            [
                Section("In words", wording.summary(found, claims)),
                overview.method(found, null, rows),
                *figures.sections(found, averaged, shown),
            ],
            introduction=f"{found.subject}; {len(directions)} directions",
            facts=run.summary(),
        )
        return run.save_report(page)


if __name__ == "__main__":
    command = "python -m studies.attention_affinity"
    run_command(main, Config, prog=command, description=__doc__ or "")
