"""Many calls of one function, spread over processes, their results kept by content."""

from interp.tasks.content import Shared, digest
from interp.tasks.runner import Backend, run_tasks

__all__ = ["Backend", "Shared", "digest", "run_tasks"]
