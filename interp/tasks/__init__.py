"""Many calls of one function, spread over processes, their results kept by content."""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.tasks._content import Shared, digest
    from interp.tasks._runner import Backend, Workers, run_tasks
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = ["Backend", "Shared", "Workers", "digest", "run_tasks"]
