"""One directory per run, complete once its manifest is there.

1. `Run` makes a fresh directory `root/<study>/<run-id>/` and takes in tables, results and a report.
2. On a clean exit it writes `manifest.json` last, in one atomic step: configuration, versions, git
   state, times, whatever the study recorded, and the SHA-256 of every file. So the manifest's
   presence means that the run is complete.
3. A run that fails leaves its files and the traceback in `error.txt`, and no manifest; one that
   waits for other processes says for what in `waiting.txt`.
"""

import hashlib
import json
import platform
import shlex
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from interp.files import Unfinished, as_json, jsonable, sha256, write_atomically
from interp.run._command import GIVEN
from interp.run._origin import git_state, versions


def is_complete(path: Path) -> bool:
    """Whether the run directory `path` belongs to a run that ended cleanly."""
    return (path / "manifest.json").is_file()


@dataclass(frozen=True)
class FinishedRun:
    """A complete run, read back and checked against its manifest."""

    path: Path
    """The run directory."""
    manifest: Mapping[str, Any]
    """What `manifest.json` holds."""

    def results(self) -> dict[str, Any]:
        """The run's `results.json`; null stands for a number that was not finite."""
        return json.loads((self.path / "results.json").read_text(encoding="utf-8"))

    def table(self, name: str) -> pd.DataFrame:
        """The table saved under `name`."""
        return pd.read_parquet(self.path / f"{name}.parquet")


class Run:
    """Context manager over one run directory, `root/<study>/<run-id>/`.

    `config` is the study's configuration (a dataclass instance or a mapping). By default the run
    id is the UTC start time and a hash of study and configuration, suffixed should it be taken.
    An explicit `run_id` may name a directory left by a run that failed, and goes on in it; if that
    run is complete, entering raises ValueError, since a run is never overwritten.
    """

    def __init__(
        self,
        study: str,
        config: Any,
        *,
        root: Path | str = "runs",
        run_id: str | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        """`command` is the program ("python -m studies.example") and its arguments, by default
        what `run_command` was given."""
        self.study = study
        self.config: dict[str, Any] = jsonable(config)
        self._command = GIVEN.get() if command is None else tuple(command)
        self._call = _as_call(config)
        self._directory = Path(root) / study
        self._run_id = run_id
        self._written: set[str] = set()
        self._recorded: dict[str, Any] = {}
        self._results: dict[str, Any] = {}

    def __enter__(self) -> "Run":
        self.started = datetime.now(UTC)
        self.path = self._claim_directory()
        self.git, diff = git_state()
        if diff:
            write_atomically(self.path / "git.diff", diff)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Unfinished):  # nothing failed, and there is no result yet
            write_atomically(self.path / "waiting.txt", f"{error}\n")
            return
        if error is not None:
            text = "".join(traceback.format_exception(kind, error, trace))
            write_atomically(self.path / "error.txt", text)
            return
        for left in ("error.txt", "waiting.txt"):
            (self.path / left).unlink(missing_ok=True)
        write_atomically(self.path / "manifest.json", as_json(self._manifest()))

    @staticmethod
    def open(path: Path | str) -> FinishedRun:
        """The complete run at `path`; ValueError if it is incomplete or a file has changed."""
        path = Path(path)
        if not is_complete(path):
            raise ValueError(f"{path} holds no complete run: it has no manifest.json")
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, digest in manifest["files"].items():
            if not (path / name).is_file() or sha256(path / name) != digest:
                raise ValueError(f"{path / name} is missing or not what the manifest says")
        return FinishedRun(path=path, manifest=manifest)

    def save_table(self, name: str, table: pd.DataFrame) -> Path:
        """Writes `<name>.parquet`, the index kept. ValueError if this run wrote it already."""
        path = self._new(f"{name}.parquet")
        write_atomically(path, table.to_parquet(None))
        return path

    def save_results(self, results: Mapping[str, Any]) -> Path:
        """Writes `results.json`, with what was kept before, made strict by `jsonable`."""
        path = self._new("results.json")
        write_atomically(path, as_json(self._results | dict(results)))
        return path

    def keep_result(self, key: str, value: Any) -> None:
        """Keeps a value for `results.json`. ValueError if this run keeps one of that name."""
        if key in self._results:
            raise ValueError(f"{key!r} is kept already; kept: {sorted(self._results)}")
        self._results[key] = value

    def save_report(self, page: str) -> Path:
        """Writes `report.html`."""
        path = self._new("report.html")
        write_atomically(path, page)
        return path

    def record(self, key: str, value: Any) -> None:
        """Adds to the manifest, under "recorded", what only the study knows: sources, seeds."""
        if key in self._recorded:
            raise ValueError(f"{key!r} is recorded already; recorded: {sorted(self._recorded)}")
        self._recorded[key] = jsonable(value)

    def command(self) -> str | None:
        """What was typed into a shell for this run; None where Python called the study."""
        if self._command is None:
            return None
        program, *arguments = self._command
        return f"{program} {shlex.join(arguments)}".strip()

    def summary(self) -> dict[str, str]:
        """The run in a few lines of text, for the foot of a report."""
        commit = "none" if self.git is None else self.git["commit"]
        dirty = self.git is not None and self.git["dirty"]
        known = {name: version for name, version in versions().items() if version}
        return {
            "command": self.command() or self._call,
            "run": self.path.name,
            "started": self.started.isoformat(timespec="seconds"),
            "git commit": f"{commit} with uncommitted changes" if dirty else commit,
            "python": platform.python_version(),
            "packages": ", ".join(f"{name} {version}" for name, version in known.items()),
        }

    def _claim_directory(self) -> Path:
        if self._run_id is not None:
            path = self._directory / self._run_id
            if is_complete(path):
                raise ValueError(f"{path} holds a complete run: choose another run id")
            path.mkdir(parents=True, exist_ok=True)
            return path
        digest = hashlib.sha256(as_json([self.study, self.config]).encode()).hexdigest()
        stem = f"{self.started:%Y%m%dT%H%M%SZ}-{digest[:8]}"
        attempt = 1
        while True:
            path = self._directory / (stem if attempt == 1 else f"{stem}-{attempt}")
            try:
                path.mkdir(parents=True)
                return path
            except FileExistsError:
                attempt += 1

    def _new(self, name: str) -> Path:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not a plain file name")
        if name in self._written:
            raise ValueError(f"{name} is written already; written: {sorted(self._written)}")
        self._written.add(name)
        return self.path / name

    def _manifest(self) -> dict[str, Any]:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        return {
            "study": self.study,
            "command": self.command(),
            "arguments": None if self._command is None else list(self._command[1:]),
            "call": self._call,
            "config": self.config,
            "started": self.started.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": versions(),
            "git": self.git,
            "recorded": self._recorded,
            "files": {str(path.relative_to(self.path)): sha256(path) for path in files},
        }


def _as_call(config: Any) -> str:
    """The configuration as Python calls a study with it: what differs from the defaults."""
    if not is_dataclass(config) or isinstance(config, type):
        return f"called from Python with {jsonable(config)}"
    given = {entry.name: getattr(config, entry.name) for entry in fields(config) if entry.init}
    other = [
        f"{entry.name}={_plain(given[entry.name])}"
        for entry in fields(config)
        if entry.init and _default(entry) != given[entry.name]
    ]
    return f"called from Python: main({type(config).__name__}({', '.join(other)}))"


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _plain(value: Any) -> str:
    """As it may be typed: a path as a string."""
    return repr(str(value)) if isinstance(value, Path) else repr(value)
