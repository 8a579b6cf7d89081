"""Claims: what a study may say, held to its null, its controls and a rule beside the verdict.

A run gives scores; a reader wants to know what they establish. A claim keeps the two together: the
statement, its estimate with an interval, what chance alone gives, the controls and the causal test,
and a verdict that follows mechanically from named conditions. The rule's text is built from the
same conditions that decide it, so the two cannot drift apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsFloat

import numpy as np
import pandas as pd

from interp.files import jsonable
from interp.numerals import numeral

Verdict = Literal["supported", "not supported", "not testable here"]
Conditions = Mapping[str, bool | np.bool_ | None]


@dataclass(frozen=True)
class Claim:
    """One statement about one subject, with everything needed to judge it."""

    question: str
    """The question the study asked, e.g. "Is the day of the year laid out on a circle?"."""
    statement: str
    """The answer under test, worded without the subject so that several models share a row."""
    subject: str
    """The model the statement is about; "" where it is about no model."""
    estimate: float | None
    """The measured quantity; None where there is none."""
    unit: str
    """What the estimate is measured in, e.g. "held-out score"."""
    interval: tuple[float | None, float | None] | None
    """Lower and upper confidence limit of the estimate, in its unit; None in a record for a limit
    that is not finite."""
    null: str
    """What the estimate was held against, in words with numbers."""
    controls: Mapping[str, float | str]
    """Each control by name, with its value or its outcome in words."""
    causal_test: str | None
    """Outcome of an intervention that bears on the statement; None where none was made."""
    rule: str
    """The conditions, joined, under which the statement counts as supported."""
    verdict: Verdict
    """The outcome of the rule."""
    reason: str
    """Which conditions decided the verdict."""

    @classmethod
    def decide(
        cls,
        question: str,
        statement: str,
        *,
        conditions: Conditions,
        null: str,
        subject: str = "",
        estimate: SupportsFloat | None = None,
        unit: str = "",
        interval: tuple[SupportsFloat, SupportsFloat] | None = None,
        controls: Mapping[str, SupportsFloat | str] | None = None,
        causal_test: str | None = None,
    ) -> "Claim":
        """The claim whose verdict, rule and reason follow from `conditions` by `judge`.

        Any scalar number (NumPy's, PyTorch's) is taken for `estimate`, `interval` and `controls`
        and stored as float; an estimate that is NaN is none. Raises ValueError where `judge` does.
        """
        verdict, rule, reason = judge(conditions)
        return cls(
            question=question,
            statement=statement,
            subject=subject,
            estimate=None if estimate is None or math.isnan(float(estimate)) else float(estimate),
            unit=unit,
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
            null=null,
            controls={
                name: value if isinstance(value, str) else float(value)
                for name, value in (controls or {}).items()
            },
            causal_test=causal_test,
            rule=rule,
            verdict=verdict,
            reason=reason,
        )

    def measured(self) -> str:
        """Estimate, interval and unit in words; the reason where there is no estimate."""
        if self.estimate is None:
            return self.reason
        return _measured(self)


def judge(conditions: Conditions) -> tuple[Verdict, str, str]:
    """Verdict, rule and reason from named conditions.

    A condition is True (met), False (failed) or None (could not be tested here). The statement is
    supported if all are met and not supported if one fails, whatever the untested ones would have
    given; it is not testable here if none fails but one is None. Raises ValueError if there is no
    condition, because the empty rule would support anything.
    """
    if not conditions:
        raise ValueError("conditions is empty: a verdict needs at least one named condition")
    rule = " and ".join(conditions)
    untested = [name for name, met in conditions.items() if met is None]
    failed = [name for name, met in conditions.items() if met is not None and not met]
    if failed:
        return "not supported", rule, "failed: " + "; ".join(failed)
    if untested:
        return "not testable here", rule, "could not be tested: " + "; ".join(untested)
    return "supported", rule, "every condition is met"


def as_table(claims: Sequence[Claim | Mapping[str, Any]]) -> pd.DataFrame:
    """Claims to read side by side: a row per (question, statement), a column per subject.

    They may also be records, as a run's results keep them (`run.results()["claims"]`).

    A cell reads "verdict: estimate [interval] unit"; it is empty where nothing was claimed of that
    subject. Rows and columns keep the order of `claims`. Raises ValueError if two claims share
    question, statement and subject, since one would hide the other.
    """
    claims = [claim if isinstance(claim, Claim) else _of_record(claim) for claim in claims]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    subjects = list(dict.fromkeys(claim.subject for claim in claims))
    for claim in claims:
        row = cells.setdefault((claim.question, claim.statement), {})
        if claim.subject in row:
            raise ValueError(f"two claims about {claim.subject!r} state {claim.statement!r}")
        row[claim.subject] = _cell(claim)
    questions, statements = [[key[part] for key in cells] for part in (0, 1)]
    index = pd.MultiIndex.from_arrays([questions, statements], names=["question", "statement"])
    rows = [[row.get(subject, "") for subject in subjects] for row in cells.values()]
    return pd.DataFrame(rows, index=index, columns=pd.Index(subjects, name="subject"))


def _of_record(record: Mapping[str, Any]) -> Claim:
    between = record["interval"]
    return Claim(**{**record, "interval": None if between is None else tuple(between)})


def as_records(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """Claims as JSON-ready dictionaries; a number that is not finite becomes None."""
    return [jsonable(claim) for claim in claims]


def _cell(claim: Claim) -> str:
    if claim.estimate is None:
        return claim.verdict
    return f"{claim.verdict}: {_measured(claim)}"


def _measured(claim: Claim) -> str:
    limits = claim.interval
    between = "" if limits is None else f" [{numeral(limits[0])}, {numeral(limits[1])}]"
    return f"{numeral(claim.estimate)}{between} {claim.unit}".rstrip()
