"""Paired representational alignment: do texts that mean the same lie closer than strangers?

matched_vs_scrambled(A, B, strata)   mean cosine of pairs, its exact null, z and p
cosines, hits, pairing_test          the same for any score matrix: centred cosines, retrieval@k
dictionary_test                      texts made of few words: vectors dealt to other tokens
draw_pairs, resample                 intervals over pairs, for curves that share their resamples
linear_cka, cka_permutations         debiased linear CKA, and its null
heldout_procrustes                   a rotation fitted on other pairs
principal_components                 main axes: what separates the sides, pairs inside the first k
decompose                            the share of an alignment that some tokens carry
alignment_grid                       all of a depth and position in a cell, at every depth
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.alignment._dictionary import DictionaryTest, dictionary_test
    from interp.alignment._geometry import (
        Components,
        HeldOutRotation,
        cka_permutations,
        heldout_procrustes,
        linear_cka,
        principal_components,
    )
    from interp.alignment._grid import AlignmentCell, AlignmentGrid, Gains, alignment_grid
    from interp.alignment._pairing import Pairing, matched_vs_scrambled, pairing_test
    from interp.alignment._resampling import Resampled, draw_pairs, resample
    from interp.alignment._scores import OK, PairingScores, cosines, hits
    from interp.alignment._shares import Decomposition, decompose
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "OK",
    "AlignmentCell",
    "AlignmentGrid",
    "Components",
    "Decomposition",
    "DictionaryTest",
    "Gains",
    "HeldOutRotation",
    "Pairing",
    "Resampled",
    "PairingScores",
    "alignment_grid",
    "cka_permutations",
    "cosines",
    "decompose",
    "dictionary_test",
    "draw_pairs",
    "heldout_procrustes",
    "hits",
    "linear_cka",
    "matched_vs_scrambled",
    "pairing_test",
    "principal_components",
    "resample",
]
