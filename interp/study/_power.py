"""What a study could show: how often it finds effects of given sizes that were planted.

1. The study's texts are made, where it generates them also fewer of them.
2. For every size, none included, noise with the effect planted stands in for a model
   (`interp.study._rehearsal`), and the study's questions are asked of it, 20 times each.
3. Findings are judged as in a run. The size that is found in four of five draws is detectable.

A question that needs the model itself takes no part, nor its findings in the correction; the table
says which do.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from tqdm import tqdm

from interp.claims import Claim, judged
from interp.run import RunConfig
from interp.study._asked import MakeTexts, Plant, Question, Subject
from interp.study._rehearsal import NeedsModel

DRAWS = 20
"""Draws of noise for each size."""
SHARES = (0.25, 0.5, 1.0)
"""Of the texts that a study generates."""
FOUND = 0.8
"""Share of draws from which an effect counts as detectable."""


@dataclass(frozen=True)
class Power:
    """How often planted effects were found."""

    counts: pd.DataFrame
    """A row for every finding, number of texts and size: in how many draws it was supported, and in
    how many it could not be tested."""
    left_out: tuple[str, ...]
    """Questions that need the model itself."""

    def table(self) -> pd.DataFrame:
        """`counts` with shares and their 95 % limits (Clopper & Pearson 1934)."""
        tests = [binomtest(hits, DRAWS) for hits in self.counts["supported"]]
        limits = [test.proportion_ci(0.95, method="exact") for test in tests]
        return self.counts.assign(
            share=self.counts["supported"] / DRAWS,
            low=[limit.low for limit in limits],
            high=[limit.high for limit in limits],
        )

    def detectable(self) -> pd.DataFrame:
        """For every finding and number of texts, the least size that is found in four of five
        draws; NaN where none was."""
        enough = self.counts["supported"] >= FOUND * DRAWS
        sizes = np.where(enough & (self.counts["size"] > 0), self.counts["size"], np.nan)
        found = self.counts.assign(least=sizes)
        return found.pivot_table(
            index="finding", columns="texts", values="least", aggfunc="min", sort=False
        )

    def __str__(self) -> str:
        lines = ["Supported, of planted effects (size in standard deviations of noise):"]
        heading = None
        for row in self.table().to_dict("records"):
            if (row["finding"], row["texts"]) != heading:
                heading = row["finding"], row["texts"]
                lines += ["", " ".join(heading)]
            untested = f"; not testable in {row['untestable']}" if row["untestable"] else ""
            lines.append(
                f"  size {row['size']:g}: {row['supported']} of {DRAWS} "
                f"[{row['low']:.2f}, {row['high']:.2f}]{untested}"
            )
        lines += [
            "",
            f"Least size found in {FOUND:.0%} of draws:",
            "",
            self.detectable().to_string(),
        ]
        if self.left_out:
            lines += ["", f"Not rehearsed, as they need a model: {', '.join(self.left_out)}"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False)


def power(
    config: RunConfig,
    texts: MakeTexts,
    questions: Sequence[Question],
    plant: Plant,
    sizes: Sequence[float],
) -> Power:
    """Ask questions of planted effects.

    Args:
        config: The study's options.
        texts: From the options to what the study is about.
        questions: Of the study.
        plant: From options, texts, size and number of the draw to a subject without a model.
        sizes: Of the effects; 0, no effect, is added.

    Raises:
        ValueError: no question can be asked without a model.
    """
    asked, left_out = _rehearsed(questions, plant(config, texts(config), 0.0, 0))
    grid = sorted({0.0, *sizes})
    configs = _smaller(config)
    rows = []
    with tqdm(total=len(configs) * len(grid) * DRAWS, unit="draw", file=sys.stderr) as bar:
        for smaller in configs:
            material = texts(smaller)
            for size in grid:
                bar.set_description(f"{material.describe()}, size {size:g}")
                for draw in range(DRAWS):
                    for claim in _findings(asked, plant(smaller, material, size, draw)):
                        verdict = {"supported": claim.verdict == "supported"}
                        verdict["untestable"] = claim.verdict == "not testable here"
                        design = {"finding": claim.statement, "texts": material.describe()}
                        rows.append(design | {"size": size} | verdict)
                    bar.update()
    design = ["finding", "texts", "size"]
    counts = pd.DataFrame(rows).pivot_table(index=design, aggfunc="sum", sort=False)
    # as the study states them, sizes rising
    return Power(counts.reset_index().sort_values(design[:2], kind="stable", key=_first), left_out)


def rehearsed_claims(
    questions: Sequence[Question], subject: Subject
) -> tuple[dict[str, list[Claim]], tuple[str, ...]]:
    """Claims of each question by its name, and the names of those that need a model."""
    claims, left_out = {}, []
    for question in questions:
        try:
            claims[question.__name__] = list(subject.ask(question).claims)
        except NeedsModel:
            left_out.append(question.__name__)
    return claims, tuple(left_out)


def _rehearsed(
    questions: Sequence[Question], subject: Subject
) -> tuple[list[Question], tuple[str, ...]]:
    """Questions with findings that can be asked without a model, and the names of the others."""
    claims, left_out = rehearsed_claims(questions, subject)
    findings = {
        name for name, made in claims.items() if any(c.kind == "finding" and c.tests for c in made)
    }
    if not findings:
        raise ValueError(
            f"no question can be asked without a model: {', '.join(left_out) or 'none has a test'}"
        )
    return [question for question in questions if question.__name__ in findings], left_out


def _findings(questions: Sequence[Question], subject: Subject) -> list[Claim]:
    claims = [claim for question in questions for claim in subject.ask(question).claims]
    return [claim for claim in judged(claims) if claim.kind == "finding"]


def _first(column: pd.Series) -> pd.Series:
    """Numbers of the entries by when they first stand in a column."""
    return pd.Series(pd.factorize(column)[0], index=column.index)


def _smaller(config: Any) -> list[Any]:
    """The options for fewer texts, where the study generates them."""
    if not hasattr(config, "n"):
        return [config]
    numbers = dict.fromkeys(int(np.ceil(share * config.n)) for share in SHARES)
    return [replace(config, n=number) for number in numbers]
