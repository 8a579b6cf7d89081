"""Where does a language model hold a date as a circle? `python -m studies.date_manifold --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp import study


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """Supervised MDS of dates over blocks and words, and interventions, with nulls and controls."""

    task: Literal["birthday", "weekday", "hour", "duration", "age"] = "birthday"
    """What the generated texts are about."""
    data: Path | None = None
    """Your own texts, CSV or JSONL (see README), in place of generated ones."""
    people: Literal[1, 2] = 1
    """2: a second person with another date in the same text, the control for recall (birthday)."""
    n: int = 1000
    """Generated texts."""
    folds: int = 3
    """Cross-validation folds, grouped by date."""
    permutations: int = 200
    """Permutations of the labels; no p value falls below 1 / (permutations + 1), and p values are
    corrected over a run's findings, ten a model: give 200 for each model."""
    orders: int = 20
    """Shuffled orders of the months."""
    alpha: float = 1.0
    """Ridge penalty of SMDS."""
    standardise: Literal["geometry", "all", "none"] = "geometry"
    """Standardise features by training rows: in experiments 2 to 4, in 1 to 4, or in none."""
    interventions: int = 40
    """Pairs of texts for patching, and texts for steering; 0 leaves interventions out."""
    depth: float = 60.0
    """Depth of experiment 2, shape discovery and roundness, in % of the blocks."""
    jobs: int | None = None
    """Processes that score cells; every core by default."""
    permute_dates: bool = False
    """Permute the labels among texts first: a run in which a cell survives in 5 % of seeds."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=40, orders=20, interventions=0)
        self.refuse_beside("data", "task", "people", "n")
        if not 0 <= self.depth <= 100:
            raise ValueError(f"depth = {self.depth}; choose from 0 to 100 % of the blocks")

    @property
    def in_detection(self) -> bool:
        """Whether experiment 1 standardises."""
        return self.standardise == "all"

    @property
    def in_geometry(self) -> bool:
        """Whether experiments 2 to 4 standardise."""
        return self.standardise != "none"


STUDY = study.Study(
    name="date_manifold",
    config=Config,
    texts="studies.date_manifold.data:texts",
    questions=[
        "studies.date_manifold.detection:cells",
        "studies.date_manifold.detection:lookup_table",
        "studies.date_manifold.circle:landmarks",
        "studies.date_manifold.interventions:attention",
        "studies.date_manifold.circle:category_order",
        "studies.date_manifold.circle:within",
        "studies.date_manifold.geometry:planes",
        "studies.date_manifold.geometry:reuse",
        "studies.date_manifold.detection:rigidity",
        "studies.date_manifold.circle:ring",
        "studies.date_manifold.geometry:shapes",
        "studies.date_manifold.geometry:binding",
        "studies.date_manifold.interventions:patching",
        "studies.date_manifold.interventions:turning",
    ],
    method="studies.date_manifold.detection:method",
    planted="studies.date_manifold.detection:rehearsed",
    title="Where does a language model hold {texts.article}, and in what shape?",
)

if __name__ == "__main__":
    STUDY.main(prog="python -m studies.date_manifold", description=__doc__ or "")
