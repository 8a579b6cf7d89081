"""Where a run's numbers come from: package versions and the state of the code."""

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "interp",
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "safetensors",
    "plotly",
    "circuitsvis",
)
"""Distributions whose versions enter the manifest: those that can change a number or a picture."""


def versions() -> dict[str, str | None]:
    """Version of each of `PACKAGES`; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def git_state() -> tuple[dict[str, Any] | None, str]:
    """Commit, whether anything differs from it, untracked files; and the diff of tracked files.

    (None, "") unless this package is run from a git checkout of its own: one that merely holds the
    environment it is installed in says nothing about this code.
    """

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *command],
            capture_output=True,
            check=True,
            encoding="utf-8",
            # A tracked file in another encoding must not stop a run.
            errors="replace",
        ).stdout

    package = Path(__file__).resolve().parents[1]
    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != package.parent:
            return None, ""
        commit = git("rev-parse", "--verify", "HEAD").strip()
        status = git("status", "--porcelain").splitlines()
        # From the root, so that paths in the diff apply there whatever the user's settings.
        diff = git("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-relative")
    except (OSError, subprocess.CalledProcessError):
        return None, ""
    untracked = [line[3:] for line in status if line.startswith("??")]
    return {"commit": commit, "dirty": bool(status), "untracked": untracked}, diff
