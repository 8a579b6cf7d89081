"""Supervised multidimensional scaling: does a representation have the geometry of its labels?"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.smds._chain import ChainTest, chain_test
    from interp.smds._cycle import CycleTest, RivalTest, cycle_test
    from interp.smds._design import Fit
    from interp.smds._discovery import Discovery, discover
    from interp.smds._ellipse import Ellipse, Roundness, ellipse, roundness
    from interp.smds._estimator import SupervisedMDS
    from interp.smds._grid import SMDSGrid, heldout_predictions, smds_grid
    from interp.smds._leaveout import LeaveOut
    from interp.smds._patching import MovedShares, PatchedPairs, Patching
    from interp.smds._shapes import (
        SHAPES,
        Shape,
        as_shape,
        ideal_coordinates,
        ideal_distances,
        line,
    )
    from interp.smds._similarity import (
        SubspaceSimilarity,
        pattern_coefficients,
        subspace_similarity,
    )
    from interp.smds._turning import (
        Turning,
        cyclic_pattern,
        per_degree,
        stretched,
        turn,
        turning_vectors,
    )
    from interp.smds._within import WithinCategory, within_category
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "SHAPES",
    "ChainTest",
    "CycleTest",
    "Discovery",
    "Ellipse",
    "Fit",
    "LeaveOut",
    "MovedShares",
    "PatchedPairs",
    "Patching",
    "RivalTest",
    "Roundness",
    "SMDSGrid",
    "Shape",
    "SubspaceSimilarity",
    "SupervisedMDS",
    "Turning",
    "WithinCategory",
    "as_shape",
    "chain_test",
    "cycle_test",
    "cyclic_pattern",
    "discover",
    "ellipse",
    "heldout_predictions",
    "ideal_coordinates",
    "ideal_distances",
    "line",
    "pattern_coefficients",
    "per_degree",
    "roundness",
    "smds_grid",
    "stretched",
    "subspace_similarity",
    "turn",
    "turning_vectors",
    "within_category",
]
