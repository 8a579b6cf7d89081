"""Where does cross-lingual alignment come from? `python -m studies.embedding_alignment --help`."""

from dataclasses import dataclass
from pathlib import Path

from interp import study


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """Pairs of texts in two languages against scrambled pairs, at every block and pooling."""

    pairs: Path | None = None
    """Your own pairs, CSV or JSONL with a column per language and perhaps "category"."""
    n: int = 200
    """Generated pairs: Chinese and English mathematics problems in five categories."""
    resamples: int = 1000
    """Resamples of pairs for 95 % intervals; at least 100."""
    folds: int = 5
    """Folds of the held-out rotation."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(resamples=100, folds=2)
        self.refuse_beside("pairs", "n")


STUDY = study.Study(
    name="embedding_alignment",
    config=Config,
    texts="studies.embedding_alignment.problems:texts",
    questions=[
        "studies.embedding_alignment.pairs:raw_embeddings",
        "studies.embedding_alignment.tokens:shared_tokens",
        "studies.embedding_alignment.blocks:added_by_blocks",
        "studies.embedding_alignment.pairs:beyond_cosines",
        "studies.embedding_alignment.blocks:main_axes",
    ],
    comparisons=["studies.embedding_alignment.pairs:side_by_side"],
    method="studies.embedding_alignment.pairs:method",
    title="Where does cross-lingual alignment come from?",
)

if __name__ == "__main__":
    STUDY.main(prog="python -m studies.embedding_alignment", description=__doc__ or "")
