"""Which directions attend to which, by the weights alone, and what did tuning change?
`python -m studies.attention_affinity --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp import study
from interp.run import RunConfig


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

    @property
    def reads_texts(self) -> bool:
        """Whether the base is run over the study's texts, for directions or the null."""
        return self.residuals is None and (self.vectors is None or self.null == "covariance")

    @property
    def labels(self) -> tuple[str, ...]:
        """What to call the model, or the two."""
        base = _label(self.base)
        if self.perturb is not None:
            return base, f"{base} with {100 * self.perturb:g} % noise"
        if self.instruct is None:
            return (base,)
        other = _label(self.instruct)
        # two directories of one name in different places
        return base, f"{other} (tuned)" if other == base else other

    @property
    def subjects(self) -> tuple[str, ...]:
        """The model, or the pair."""
        return (" → ".join(self.labels),)


def _label(name: str) -> str:
    path = Path(name).expanduser()
    return path.stem if path.exists() else name


STUDY = study.Study(
    name="attention_affinity",
    config=Config,
    texts="studies.attention_affinity.checkpoints:checkpoints",
    questions=[
        "studies.attention_affinity.heads:matching",
        "studies.attention_affinity.distance_and_effect:distance",
        "studies.attention_affinity.change:changed",
        "studies.attention_affinity.distance_and_effect:effect",
    ],
    method="studies.attention_affinity.comparison:method",
    title="{texts.title}",
)

if __name__ == "__main__":
    STUDY.main(prog="python -m studies.attention_affinity", description=__doc__ or "")
