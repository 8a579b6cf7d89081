"""Supervised multidimensional scaling: does a representation have the geometry of its labels?"""

from interp.smds.discovery import Discovery, discover
from interp.smds.estimator import SupervisedMDS
from interp.smds.grid import SMDSGrid, heldout_predictions, smds_grid
from interp.smds.leaveout import LeaveOut
from interp.smds.roundness import Roundness, roundness
from interp.smds.shapes import SHAPES, Shape, as_shape, ideal_coordinates, ideal_distances, line
from interp.smds.similarity import SubspaceSimilarity, subspace_similarity

__all__ = [
    "SHAPES",
    "Discovery",
    "LeaveOut",
    "Roundness",
    "SMDSGrid",
    "Shape",
    "SubspaceSimilarity",
    "SupervisedMDS",
    "as_shape",
    "discover",
    "heldout_predictions",
    "ideal_coordinates",
    "ideal_distances",
    "line",
    "roundness",
    "smds_grid",
    "subspace_similarity",
]
