"""Runs side by side: seeds of one study, or models of several runs, combined by random effects.

1. `replicate` runs a study once for each seed, from which texts, folds and permutations are all
   drawn. The first seed is the study's own.
2. `combined` reads complete runs of one study. Of each claim it takes the estimates of all runs
   about one model, and then the means of all models.
3. Estimates with standard errors are combined by random effects (DerSimonian & Laird 1986, limits
   of Hartung & Knapp 2001). Where a run gives no error, runs count alike: mean and Student's t.

Runs that share texts are not independent: their interval is about what the seed moves, folds and
permutations among it, and not about other texts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import Claim, as_records, description, from_record
from interp.report import Section, Table, render
from interp.run import Run, RunConfig
from interp.stats import mean_interval, random_effects

EVERY = "all models"
"""The subject of a mean over models."""


@dataclass(frozen=True)
class Combined:
    """Several runs of a study."""

    runs: tuple[Path, ...]
    """Their directories."""
    effects: pd.DataFrame
    """A row for every claim and subject: number of estimates, mean, 95 % limits, standard deviation
    between them beyond their errors, and how often a finding was supported."""
    path: Path
    """The directory of the combined run."""

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        return self.effects.to_html(index=False) + f"<p>{self.report}</p>"

    def __str__(self) -> str:
        return str(self.report)


def seeds(first: int, number: int) -> list[int]:
    """Seeds of replicates, the first of which is given."""
    others = np.random.SeedSequence(first).generate_state(number - 1)
    return [first, *others.tolist()]


def replicate(run: Callable[[Any], Any], config: RunConfig) -> Combined:
    """Run a study for `config.replicates` seeds, and combine the runs."""
    configs = [
        replace(config, seed=seed, replicates=1) for seed in seeds(config.seed, config.replicates)
    ]
    return combined([run(each).path for each in configs], root=config.runs)


def combined(paths: Sequence[Path | str], *, root: Path | str = "runs") -> Combined:
    """Combine complete runs of one study, and write a run `combined` with table and report.

    Args:
        paths: Directories of runs.
        root: Directory of run directories.

    Raises:
        ValueError: fewer than two runs, one that is not complete, runs of several studies, or one
            given twice.
    """
    directories = tuple(Path(path).resolve() for path in paths)
    if len(directories) < 2 or len(set(directories)) < len(directories):
        raise ValueError(f"runs are {[str(p) for p in paths]}; give two or more, each once")
    runs = [Run.open(path) for path in directories]
    studies = {str(run.manifest["study"]) for run in runs}
    if len(studies) > 1:
        raise ValueError(
            f"runs of several studies cannot be combined: {', '.join(sorted(studies))}"
        )
    claims = [from_record(claim) for run in runs for claim in run.results()["claims"]]
    effects = pd.DataFrame(list(_rows(claims)))
    (study,) = studies
    with Run("combined", {"study": study, "runs": directories}, root=root) as run:
        run.save_table("effects", effects)
        run.save_results({"study": study, "claims": as_records(_claims(effects))})
        run.save_report(_page(study, effects, len(runs), run))
        return Combined(directories, effects, run.path)


def _rows(claims: Sequence[Claim]) -> Iterator[dict[str, Any]]:
    for question, statement in dict.fromkeys((c.question, c.statement) for c in claims):
        alike = [c for c in claims if (c.question, c.statement) == (question, statement)]
        means = []
        for subject in dict.fromkeys(claim.subject for claim in alike):
            row = _effect([claim for claim in alike if claim.subject == subject])
            means.append(row)
            yield {"question": question, "statement": statement, "model": subject} | row
        if len(means) > 1:
            row = _of_models(means)
            yield {"question": question, "statement": statement, "model": EVERY} | row


def _effect(claims: Sequence[Claim]) -> dict[str, Any]:
    """One model's estimates in several runs."""
    known = [claim for claim in claims if claim.estimate is not None]
    estimates = np.array([claim.estimate for claim in known], dtype=float)
    errors = np.array([claim.standard_error or np.nan for claim in known], dtype=float)
    findings = [claim for claim in claims if claim.kind == "finding"]
    row = _summary(estimates, errors) | {"unit": _common([claim.unit for claim in claims])}
    row["supported"] = sum(claim.verdict == "supported" for claim in findings)
    return row | {"findings": len(findings)}


def _common(units: Sequence[str]) -> str:
    """The words with which all units begin, but for where: the block may differ."""
    if len(set(units)) == 1:
        return units[0]
    words = zip(*(unit.split() for unit in units), strict=False)
    common = " ".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, words))
    return common.removesuffix(" block").removesuffix(" at").removesuffix(",")


def _of_models(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [row for row in rows if np.isfinite(row["mean"])]
    row = _summary(
        np.array([row["mean"] for row in known], dtype=float),
        np.array([row["error"] for row in known], dtype=float),
    )
    counts = {name: sum(row[name] for row in rows) for name in ("supported", "findings")}
    return row | {"unit": rows[0]["unit"]} | counts


def _summary(
    estimates: Float[np.ndarray, " runs"], errors: Float[np.ndarray, " runs"]
) -> dict[str, Any]:
    """Mean, limits and spread; a single estimate has the limits of its own error."""
    unknown = dict.fromkeys(("mean", "low", "high", "between", "error"), np.nan)
    counted = {"estimates": len(estimates)} | unknown
    if len(estimates) < 2:
        alone = {"mean": estimates[0], "error": errors[0]} if len(estimates) else {}
        return counted | alone
    if np.isfinite(errors).all() and (errors > 0).all():
        effect = random_effects(estimates, errors)
        mean, (low, high), between = effect.mean, effect.interval, effect.between
    else:
        mean, (low, high) = float(estimates.mean()), mean_interval(estimates)
        between = float(estimates.std(ddof=1))
    error = float(estimates.std(ddof=1) / np.sqrt(len(estimates)))
    return counted | {"mean": mean, "error": error, "low": low, "high": high, "between": between}


def _claims(effects: pd.DataFrame) -> list[Claim]:
    """The means as descriptions; how often a finding was supported stands beside them."""
    return [
        description(
            row["question"],
            row["statement"],
            subject=row["model"],
            estimate=row["mean"],
            interval=(row["low"], row["high"]),
            unit=f"{row['unit']} (mean of {row['estimates']})".strip(),
            standard_error=row["error"],
            controls={"supported": f"{row['supported']} of {row['findings']} times"}
            if row["findings"]
            else {},
        )
        for row in effects.to_dict("records")
    ]


def _page(study: str, effects: pd.DataFrame, number: int, run: Run) -> str:
    body = [
        "Limits are 95 % for the mean over runs, and for all models over models; between is the "
        "standard deviation beyond the runs' own errors. Each run has a report of its own.",
        Table(effects.drop(columns=["error", "question", "unit"])),
    ]
    return render(
        f"{study}: {number} runs",
        as_records(_claims(effects)),
        [Section("Every estimate", body)],
        facts=run.summary(),
    )
