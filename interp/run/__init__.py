"""One run of a study: its command line, and the directory that says what was done.

config = parse(Config, prog="python -m studies.example", description="What it asks.")
with Run("example", config) as run:
    run.save_table("scores", table)
    run.save_results({"claims": records})
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.run._command import parse, run_command
    from interp.run._config import RunConfig, StudyConfig
    from interp.run._directory import FinishedRun, Run, is_complete
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "FinishedRun",
    "Run",
    "RunConfig",
    "StudyConfig",
    "is_complete",
    "parse",
    "run_command",
]
