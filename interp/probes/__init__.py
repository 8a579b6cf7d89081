"""Linear probes and concept directions, each beside its null, its controls and its naive twin."""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.probes.direction import Direction, concept_direction
    from interp.probes.erasure import Eraser, leace
    from interp.probes.grid import probe_grid
    from interp.probes.projection import Projection, project
    from interp.probes.result import ProbeGrid
    from interp.probes.rowspace import RowSpace
    from interp.probes.transfer import Transfer, transfer_matrix
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "Direction",
    "Eraser",
    "ProbeGrid",
    "Projection",
    "RowSpace",
    "Transfer",
    "concept_direction",
    "leace",
    "probe_grid",
    "project",
    "transfer_matrix",
]
