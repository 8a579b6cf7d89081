"""Which concepts can be read from a model, and do the vectors act?
`python -m studies.concept_readout --help`."""

from dataclasses import dataclass
from pathlib import Path

from interp import study


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """A vector per concept and block from a folder of short texts: judged, exported, steered by."""

    stories_dir: Path | None = None
    """Directory of <concept>.txt; without any directory, the synthetic texts of the study."""
    paired_dir: Path | None = None
    """Directory of <scenario>/<concept>.txt and <scenario>/baseline.txt."""
    target_layers: tuple[int, ...] = ()
    """Blocks to read, from 0; those nearest 25, 50, 60, 75 and 90 % of the depth by default."""
    output: Path | None = None
    """Directory of the export; `export` in the run directory by default."""
    overwrite: bool = False
    """Replace an export that `output` already holds."""
    batch_size: int = 2
    """Texts per forward pass."""
    max_length: int = 512
    """Tokens at which a text is cut; texts that were cut are counted and named."""
    min_positives: int = 1
    """Positive texts that a concept needs."""
    quality_report: bool = True
    """Judge spread, alignment, neurons, neighbours and heads, and write quality.json."""
    permutations: int = 200
    """Dealings of the labels; no p value falls below 1 / (permutations + 1)."""
    directions: int = 200
    """Random directions that steering is held against, and as many vectors of dealt labels; 0: no
    steering."""
    rows: int = 32
    """Directions side by side in one forward pass."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=40, max_length=1, rows=1, min_positives=1)
        if 0 < self.directions < 40:
            raise ValueError(f"directions = {self.directions}; a 5 % test needs at least 40, or 0")

    def folder(self, name: str, run: Path) -> Path:
        """Directory of one model's export: `output` itself for a single model."""
        root = run / "export" if self.output is None else self.output
        return root if len(self.model) == 1 else root / Path(name).stem


STUDY = study.Study(
    name="concept_readout",
    config=Config,
    texts="studies.concept_readout.corpus:texts",
    questions=[
        "studies.concept_readout.vectors:held_out_texts",
        "studies.concept_readout.quality:neighbours",
        "studies.concept_readout.quality:qualities",
        "studies.concept_readout.quality:export",
        "studies.concept_readout.steering:acting",
    ],
    method="studies.concept_readout.vectors:method",
    title="Which concepts can be read from a model, and do the vectors act?",
)

if __name__ == "__main__":
    STUDY.main(prog="python -m studies.concept_readout", description=__doc__ or "")
