"""Everything that is known of the vectors beside their held-out scores: what quality.json holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interp.readout._heads import HeadRanking
from interp.readout._quality import BlockQuality, ConceptQuality
from interp.readout._triage import Triage, triage
from interp.readout._vectors import middle_block


@dataclass(frozen=True)
class Assessment:
    """Qualities of every block's vectors, and the heads whose output tells the concepts."""

    blocks: tuple[BlockQuality, ...]
    """Spread, alignment, neurons and neighbours of the vectors at each block."""
    heads: tuple[HeadRanking, ...]
    """The most selective heads of each concept."""

    @property
    def middle(self) -> BlockQuality:
        """The block half way down, at which concepts are put into classes."""
        block = middle_block([quality.block for quality in self.blocks])
        return next(quality for quality in self.blocks if quality.block == block)

    @property
    def triage(self) -> Triage:
        """Which vectors need a second look, at the middle block."""
        return triage(self.middle)

    def table(self) -> pd.DataFrame:
        """A row for every block and concept; where nothing is known, NaN, "" or neuron -1."""
        return pd.DataFrame(
            [
                {"block": quality.block, **_row(concept)}
                for quality in self.blocks
                for concept in quality.concepts
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: triage, qualities by block and concept, heads by concept."""
        return {
            "triage": self.triage.as_dict(),
            "blocks": {str(quality.block): quality.as_dict() for quality in self.blocks},
            "heads": {ranking.concept: ranking.as_dict() for ranking in self.heads},
        }


def _row(quality: ConceptQuality) -> dict[str, object]:
    nearest, nearest_cosine = (quality.nearest or (("", np.nan),))[0]
    neuron, neuron_cosine = (quality.neurons or ((-1, np.nan),))[0]
    return {
        "concept": quality.concept,
        "norm": quality.norm,
        "first_component": quality.first_component,
        "alignment": quality.alignment.mean,
        "alignment_unrelated": quality.alignment_unrelated,
        "nearest": nearest,
        "nearest_cosine": nearest_cosine,
        "neuron": neuron,
        "neuron_cosine": neuron_cosine,
        "r2": np.nan if quality.regression is None else quality.regression.r2,
        "lowest": ", ".join(name for name, _ in quality.lowest),
    }
