"""Linear probes and concept directions, each beside its null, its controls and its naive twin."""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.probes._ablation import Ablation, Sweep
    from interp.probes._across import across_conditions, heldout_accuracy
    from interp.probes._direction import (
        Direction,
        concept_direction,
        mean_difference,
        means_coincide,
    )
    from interp.probes._erasure import Eraser, Erasure, erasure_test, leace
    from interp.probes._grid import probe_grid
    from interp.probes._probe import Probe
    from interp.probes._projection import Projection, project
    from interp.probes._result import ProbeGrid
    from interp.probes._rowspace import RowSpace
    from interp.probes._transfer import Transfer, transfer_matrix, unit_means
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "Ablation",
    "Direction",
    "Eraser",
    "Erasure",
    "Probe",
    "ProbeGrid",
    "Projection",
    "RowSpace",
    "Sweep",
    "Transfer",
    "across_conditions",
    "concept_direction",
    "erasure_test",
    "heldout_accuracy",
    "leace",
    "mean_difference",
    "means_coincide",
    "probe_grid",
    "project",
    "transfer_matrix",
    "unit_means",
]
