"""Vectors of every concept and block, judged on texts they were not fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.feature_extraction.text import TfidfVectorizer
from transformer_lens.model_bridge import TransformerBridge

from interp.readout import (
    BlockQuality,
    Choice,
    HeadRanking,
    HeldOut,
    Readouts,
    Stability,
    Triage,
    block_quality,
    choose_block,
    fit,
    held_out,
    middle_block,
    rank_heads,
    stability,
    triage,
)
from interp.stats import PermutationTest, permutation_test
from studies.concept_readout.activations import Readings
from studies.concept_readout.corpus import Corpus


@dataclass(frozen=True)
class Judged:
    """Everything about one model's vectors that needs no intervention."""

    model: str
    """The name it was asked for by."""
    corpus: Corpus
    """The texts."""
    readings: Readings
    """Their activations."""
    depths: tuple[float, ...]
    """Depth of each block in %."""
    readouts: Readouts
    """The vectors."""
    choice: Choice
    """The block, chosen on training scenarios, and what that choice is worth on others."""
    held: Mapping[int, HeldOut]
    """Leave-one-scenario-out AUROC by block."""
    test: PermutationTest
    """AUROC against dealt labels, corrected over blocks x concepts."""
    surface: HeldOut
    """The same test on a bag of the texts' words (TF-IDF) in place of activations."""
    stability: Stability
    """Of the vectors at the chosen block."""
    quality: Mapping[int, BlockQuality]
    """By block; empty where no report was asked for."""
    heads: tuple[HeadRanking, ...]
    """The most selective heads of each concept; empty where no report was asked for."""
    triage: Triage | None
    """Which vectors need a second look, at the middle block; None where no report was asked for."""

    @property
    def block(self) -> int:
        """The block to use."""
        return self.choice.block

    @property
    def where(self) -> str:
        """The block to use, with its depth."""
        depth = self.depths[self.readouts.blocks.index(self.block)]
        return f"block {self.block} ({depth:.0f} % of the depth)"

    def auroc(self) -> Float[np.ndarray, "blocks concepts"]:
        """Held-out AUROC."""
        return np.stack([self.held[block].auroc for block in self.readouts.blocks])

    def table(self) -> pd.DataFrame:
        """A row for every block and concept."""
        rows = []
        for b, block in enumerate(self.readouts.blocks):
            held = self.held[block]
            for k, concept in enumerate(self.readouts.concepts):
                rows.append(
                    {
                        "block": block,
                        "depth": self.depths[b],
                        "concept": concept,
                        "positives": int(self.readouts.positives[k]),
                        "auroc": held.auroc[k],
                        "auroc_low": held.interval[k, 0],
                        "auroc_high": held.interval[k, 1],
                        "p": self.test.p[b, k],
                        "p_family": self.test.p_family[b, k],
                        "norm": self.readouts.norms[b, k],
                        "status": held.status[k],
                        **_quality_row(self, block, k),
                    }
                )
        return pd.DataFrame(rows)

    def report(self) -> dict[str, Any]:
        """What `quality.json` holds."""
        assert self.triage is not None
        return {
            "model": self.model,
            "block": self.block,
            "held_out_auroc": {
                concept: float(self.choice.auroc[k])
                for k, concept in enumerate(self.readouts.concepts)
            },
            "triage": self.triage.as_dict(),
            "blocks": {str(block): quality.as_dict() for block, quality in self.quality.items()},
            "heads": {ranking.concept: ranking.as_dict() for ranking in self.heads},
        }


def judge(
    name: str,
    model: TransformerBridge,
    corpus: Corpus,
    readings: Readings,
    depths: tuple[float, ...],
    *,
    minimum: int,
    permutations: int,
    seed: int,
    report: bool,
) -> Judged:
    """Fit the vectors of every block and judge them; `report` adds quality, heads and triage."""
    blocks = {block: readings.residual(block) for block in readings.blocks}
    positive, scenario = corpus.positive, corpus.scenario
    readouts = fit(blocks.items(), positive, corpus.concepts, minimum=minimum)
    choice = choose_block(blocks, positive, scenario)
    held = {
        block: held_out(X, positive, scenario, n_permutations=permutations, seed=seed)
        for block, X in blocks.items()
    }
    null = np.stack([held[block].null for block in blocks], axis=1)
    quality, heads = {}, ()
    if report:
        quality = {
            block: block_quality(
                readouts, block, X, positive, corpus.names, W_out=mlp_output(model, block)
            )
            for block, X in blocks.items()
        }
        heads = rank_heads(((b, readings.z(b)) for b in blocks), positive, corpus.concepts)
    return Judged(
        model=name,
        corpus=corpus,
        readings=readings,
        depths=depths,
        readouts=readouts,
        choice=choice,
        held=held,
        test=permutation_test(np.stack([held[block].auroc for block in blocks]), null),
        surface=held_out(
            _bag_of_words(corpus), positive, scenario, n_permutations=permutations, seed=seed
        ),
        stability=stability(
            blocks[choice.block], positive, scenario, rng=np.random.default_rng(seed)
        ),
        quality=quality,
        heads=heads,
        triage=triage(quality[middle_block(readouts.blocks)]) if report else None,
    )


def _bag_of_words(corpus: Corpus) -> Float[np.ndarray, "texts words"]:
    return TfidfVectorizer().fit_transform(corpus.texts).toarray()


def mlp_output(model: TransformerBridge, block: int) -> Float[np.ndarray, "d_mlp d"] | None:
    """The block's MLP output matrix; None where it has no single one (experts)."""
    weights = getattr(getattr(model.blocks[block], "mlp", None), "W_out", None)
    return None if weights is None else weights.detach().float().cpu().numpy()


def _quality_row(judged: Judged, block: int, concept: int) -> dict[str, object]:
    if block not in judged.quality:
        return {}
    one = judged.quality[block].concepts[concept]
    return {
        "first_component": one.first_component,
        "alignment": one.alignment.mean,
        "nearest": one.nearest[0][0] if one.nearest else "",
        "nearest_cosine": one.nearest[0][1] if one.nearest else np.nan,
        "neuron": one.neurons[0][0] if one.neurons else -1,
        "neuron_cosine": one.neurons[0][1] if one.neurons else np.nan,
        "r2": np.nan if one.regression is None else one.regression.r2,
        "lowest": ", ".join(name for name, _ in one.lowest),
    }
