"""Concept readout vectors: contrastive activation addition, judged on held-out texts and exported.

fit                         unit mean differences of every concept at every block
held_out, choose_block      leave-one-scenario-out AUROC with its null; a block chosen honestly
stability                   how far vectors turn when scenarios are drawn again
block_quality, rank_heads   spread, alignment, neurons, neighbours; selective attention heads
triage                      which concepts need a second look
effects                     dose responses of steering against random directions
save_*, load_*              readout.safetensors, quality.json, one file a concept, GGUF
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.readout._stability import Stability, stability
    from interp.readout._triage import Triage, triage
    from interp.readout.causal import DoseResponse, effects
    from interp.readout.choice import Choice, choose_block
    from interp.readout.contrast import OK
    from interp.readout.export import (
        CONVENTION,
        StoredConcept,
        StoredReadouts,
        concept_of,
        file_stem,
        load_concept,
        load_control_vector,
        load_quality,
        load_readouts,
        save_concepts,
        save_control_vectors,
        save_quality,
        save_readouts,
    )
    from interp.readout.heads import Head, HeadRanking, rank_heads
    from interp.readout.heldout import HeldOut, held_out
    from interp.readout.quality import (
        BlockQuality,
        ConceptQuality,
        Regression,
        Spread,
        block_quality,
    )
    from interp.readout.vectors import Readouts, fit, middle_block
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "CONVENTION",
    "OK",
    "BlockQuality",
    "Choice",
    "ConceptQuality",
    "DoseResponse",
    "Head",
    "HeadRanking",
    "HeldOut",
    "Readouts",
    "Regression",
    "Spread",
    "Stability",
    "StoredConcept",
    "StoredReadouts",
    "Triage",
    "block_quality",
    "choose_block",
    "concept_of",
    "effects",
    "file_stem",
    "fit",
    "held_out",
    "load_concept",
    "load_control_vector",
    "load_quality",
    "load_readouts",
    "middle_block",
    "rank_heads",
    "save_concepts",
    "save_control_vectors",
    "save_quality",
    "save_readouts",
    "stability",
    "triage",
]
