"""Whether another commit of this project gives the same numbers: all studies, run by both.

    python benchmarks/same_numbers.py COMMIT [--only date_manifold] [--keep DIR]

1. `COMMIT` is checked out beside this tree. Both use the environment that runs this script, so one
   lock on one machine; a commit with other constraints is refused.
2. Every study runs in both, at small n with fixed seeds, on SmolLM2 and on a tiny model.
3. Every number of results.json and of the tables is compared, exactly. What was renamed since
   stands in `renamed_numbers.json`: flags, tables, columns and keys, old name to new. Words are
   compared as well, and told, but do not fail.

The exit status is 1 when a number differs, or is in one of the two only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tiny_models import tiny_hf, tiny_tokenizer  # noqa: E402

from interp.run import Run  # noqa: E402

REAL = "smollm2-135m-instruct-q4"
RUNS: dict[str, tuple[str, ...]] = {
    "date_manifold": ("--model", REAL, "{tiny}", "--n", "120", "--folds", "2",
                      "--permutations", "40", "--interventions", "8", "--jobs", "1"),
    "date_manifold people": ("--model", "{tiny}", "--n", "60", "--people", "2", "--folds", "2",
                             "--permutations", "40", "--interventions", "8", "--jobs", "1"),
    "date_manifold task": ("--model", "{tiny}", "--task", "weekday", "--n", "60", "--folds", "2",
                           "--permutations", "40", "--interventions", "0", "--jobs", "1"),
    "speaker_role": ("--model", REAL, "{tiny}", "--copies", "1", "--permutations", "40",
                     "--ablations", "40", "--jobs", "1"),
    "embedding_alignment": ("--model", REAL, "{tiny}", "--n", "40", "--resamples", "100"),
    "concept_readout": ("--model", REAL, "{tiny}", "--permutations", "40", "--directions", "40"),
    "attention_affinity": ("--blocks", "3", "14", "--components", "4"),
    "attention_affinity pair": ("--base", "{tiny}", "--perturb", "0.01", "--components", "4",
                                "--null", "covariance", "--peer-compat"),
}  # fmt: skip
"""By name (a study, and perhaps a word for the variant), the options of a run."""


@dataclass(frozen=True)
class Renamed:
    """What is called otherwise in this tree than in the other: old name to new."""

    flags: Mapping[str, str]
    tables: Mapping[str, str]
    columns: Mapping[str, str]
    keys: Mapping[str, str]


def run(tree: Path, name: str, options: Sequence[str], runs: Path) -> Path:
    """One run of a study by the code of `tree`; its directory."""
    study = name.split()[0]
    seen = set(runs.glob(f"{study}/*"))
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"studies.{study}", *options, "--device", "cpu"]
    command += ["--runs", str(runs), "--store", str(runs / "stores")]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} in {tree}:\n{done.stderr[-3000:]}")
    (path,) = set(runs.glob(f"{study}/*")) - seen
    return path


def numbers(directory: Path, renamed: Renamed | None) -> dict[str, object]:
    """Every value of a run's results and tables under a path; names of old made new."""
    finished = Run.open(directory)
    results = finished.results()
    # claims by what they say, whatever order they are made in
    results["claims"] = {f"{c['subject']}: {c['statement']}": c for c in results["claims"]}
    held: dict[str, object] = dict(_flat(results, "results", renamed))
    for path in sorted(directory.glob("*.parquet")):
        stem, dash, number = path.stem.rpartition("-")
        name = stem if dash and number.isdecimal() else path.stem
        table = pd.read_parquet(path)
        label = path.stem
        if renamed is not None:
            label = path.stem.replace(name, renamed.tables.get(name, name), 1)
            table = table.rename(columns=dict(renamed.columns))
        held |= {f"{label}.{c}": table[c].to_numpy() for c in map(str, table.columns)}
    return held


def _flat(value: Any, path: str, renamed: Renamed | None) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            name = key if renamed is None else renamed.keys.get(key, key)
            yield from _flat(inner, f"{path}.{name}", renamed)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]", renamed)
    elif value is not None:  # null stands for what is not finite, and for what is not there
        yield path, value


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[list[str], int]:
    """What differs among numbers, a line each; and how many texts do."""
    told = [f"{path}: gone" for path in old if path not in new]
    told += [f"{path}: new" for path in new if path not in old]
    words = 0
    for path in old.keys() & new.keys():
        one, other = (np.asarray(side[path]) for side in (old, new))
        if one.dtype.kind in "OUS" or other.dtype.kind in "OUS":
            words += not np.array_equal(one.astype(str), other.astype(str))
        elif one.shape != other.shape or not np.array_equal(one, other, equal_nan=True):
            told.append(f"{path}: {_short(one)} -> {_short(other)}")
    return sorted(told), words


def _short(values: np.ndarray) -> str:
    return str(values) if values.ndim == 0 else f"{values.shape} {values.ravel()[:4]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every study in both trees; 1 when a number differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commit", help="the other commit")
    parser.add_argument("--only", default="", help="runs whose name begins with this")
    parser.add_argument("--keep", type=Path, default=None, help="directory that keeps the runs")
    options = parser.parse_args(arguments)
    renamed = Renamed(**json.loads((ROOT / "benchmarks" / "renamed_numbers.json").read_text()))
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        home, old = options.keep or Path(scratch), Path(scratch) / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(old), options.commit], check=True)
        try:
            if (old / "constraints.txt").read_bytes() != (ROOT / "constraints.txt").read_bytes():
                raise ValueError(f"{options.commit} has another lock: the numbers may be its own")
            for name in (each for each in RUNS if each.startswith(options.only)):
                try:
                    failed += compare(name, old, home, renamed)
                except RuntimeError as error:  # the others can still be compared
                    failed += 1
                    print(f"{name}: {error}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    return int(failed > 0)


def compare(name: str, old: Path, home: Path, renamed: Renamed) -> int:
    """Run one study in both trees and print what differs; how many numbers do."""
    tiny = home / "tiny"
    if not tiny.exists():
        torch.manual_seed(0)
        # six turns of a transcript fit into so many tokens
        model = tiny_hf("llama", num_hidden_layers=3, max_position_embeddings=512)
        model.save_pretrained(tiny)
        tiny_tokenizer("llama").save_pretrained(tiny)
    chosen = [option.format(tiny=tiny) for option in RUNS[name]]
    before = numbers(run(old, name, chosen, home / "old-runs"), renamed)
    flags = [renamed.flags.get(option, option) for option in chosen]
    after = numbers(run(ROOT, name, flags, home / "new-runs"), None)
    told, words = differences(before, after)
    size = sum(np.size(np.asarray(value)) for value in after.values())
    print(f"{name}: {size} values, {len(told)} differ, {words} texts differ", flush=True)
    print(*(f"  {line}" for line in told[:20]), sep="\n" if told else "", end="\n" if told else "")
    return len(told)


if __name__ == "__main__":
    raise SystemExit(main())
