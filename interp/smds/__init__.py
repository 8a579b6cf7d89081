"""Supervised multidimensional scaling: does a representation have the geometry of its labels?"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.smds._ellipse import Ellipse, Roundness, ellipse, roundness
    from interp.smds.chain import ChainTest, chain_test
    from interp.smds.cycle import CycleTest, RivalTest, cycle_test
    from interp.smds.discovery import Discovery, discover
    from interp.smds.estimator import SupervisedMDS
    from interp.smds.grid import SMDSGrid, heldout_predictions, smds_grid
    from interp.smds.leaveout import LeaveOut
    from interp.smds.patching import MovedShares, PatchedPairs, Patching
    from interp.smds.shapes import SHAPES, Shape, as_shape, ideal_coordinates, ideal_distances, line
    from interp.smds.similarity import SubspaceSimilarity, pattern_coefficients, subspace_similarity
    from interp.smds.turning import Turning
    from interp.smds.within import WithinCategory, within_category
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "SHAPES",
    "ChainTest",
    "CycleTest",
    "Discovery",
    "Ellipse",
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
    "discover",
    "ellipse",
    "heldout_predictions",
    "ideal_coordinates",
    "ideal_distances",
    "line",
    "pattern_coefficients",
    "roundness",
    "smds_grid",
    "subspace_similarity",
    "within_category",
]
