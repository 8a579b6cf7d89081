"""Concept readout vectors: contrastive activation addition, judged on held-out texts and exported.

plan_blocks                 which blocks to read
fit                         unit mean differences of every concept at every block
held_out, held_out_grid     leave-one-scenario-out AUROC with its null, at one block or several
choose_block                a block chosen honestly
stability                   how far vectors turn when scenarios are drawn again
block_quality, rank_heads   spread, alignment, neurons, neighbours; selective attention heads
triage, Assessment          which concepts need a second look; all of this for quality.json
effects, dealt_labels       dose responses of steering against random directions; labels of none
check_export                whether a folder is free, before hours are spent
save_*, load_*              readout.safetensors, quality.json, one file a concept, GGUF
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.readout._assessment import Assessment
    from interp.readout._causal import DoseResponse, effects
    from interp.readout._choice import Choice, choose_block
    from interp.readout._contrast import OK
    from interp.readout._export import (
        CONVENTION,
        StoredConcept,
        StoredReadouts,
        check_export,
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
    from interp.readout._heads import Head, HeadRanking, rank_heads
    from interp.readout._heldout import (
        HeldOutGrid,
        HeldOutVectors,
        dealt_labels,
        held_out,
        held_out_grid,
    )
    from interp.readout._quality import (
        BlockQuality,
        ConceptQuality,
        Regression,
        Spread,
        block_quality,
    )
    from interp.readout._stability import Stability, stability
    from interp.readout._targets import TargetBlocks, plan_blocks
    from interp.readout._triage import Triage, triage
    from interp.readout._vectors import Readouts, fit, middle_block
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "CONVENTION",
    "OK",
    "Assessment",
    "BlockQuality",
    "Choice",
    "ConceptQuality",
    "DoseResponse",
    "Head",
    "HeadRanking",
    "HeldOutVectors",
    "HeldOutGrid",
    "Readouts",
    "Regression",
    "Spread",
    "Stability",
    "StoredConcept",
    "StoredReadouts",
    "TargetBlocks",
    "Triage",
    "block_quality",
    "check_export",
    "choose_block",
    "concept_of",
    "dealt_labels",
    "effects",
    "file_stem",
    "fit",
    "held_out",
    "held_out_grid",
    "load_concept",
    "load_control_vector",
    "load_quality",
    "load_readouts",
    "middle_block",
    "plan_blocks",
    "rank_heads",
    "save_concepts",
    "save_control_vectors",
    "save_quality",
    "save_readouts",
    "stability",
    "triage",
]
