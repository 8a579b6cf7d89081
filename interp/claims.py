"""Claims: what a study may say, with the design that decides it.

A run gives scores; a reader wants to know what they establish. Three kinds of claim keep that
apart:

- A *finding* has a test and a verdict: *supported*, *refuted* (the interval lies below the smallest
  effect of interest), *undecided* (with the effect that this many units could have shown), or *not
  testable here* (with what it would take).
- A *description* is an estimate with an interval, and no verdict.
- A *control* must pass for the findings about its subject to count, and says on which data it
  fails.

1. A finding states its tests by the rival that each refuses. All of them must hold, so their
   largest p is the finding's (intersection-union, Berger 1982), whatever was chosen among them.
2. `judged` takes all claims of a run. Findings are corrected together by Holm (1979), over a
   study's findings and over the models asked for.
3. A finding whose subject fails a control is not testable here. So is one whose p cannot fall to
   the level after correction, however strong the effect is.

A NaN is never a met condition: it makes the finding not testable here.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, SupportsFloat, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.files import jsonable
from interp.numerals import numeral
from interp.stats import PermutationTest

LEVEL = 0.05
"""Family-wise error rate of a run's findings."""
NORMAL_95 = 1.959964
"""Half of a normal estimate's 95 % interval, in standard errors."""

Kind = Literal["finding", "description", "control"]
Verdict = Literal[
    "supported", "refuted", "undecided", "not testable here", "described", "passed", "failed"
]
Number = SupportsFloat
Interval = tuple[Number, Number]


@dataclass(frozen=True)
class Test:
    """One rival and the p of refusing it."""

    p: float
    """Corrected over what was searched (depths, positions), not over findings."""
    floor: float = 0.0
    """Least p that the number of draws or of arrangements allows; 0 for an analytic p."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement about one subject, with everything needed to judge it."""

    kind: Kind
    """Finding, description or control."""
    question: str
    """The question the study asked, e.g. "Is the day of the year laid out on a circle?"."""
    statement: str
    """The answer under test, worded without the subject so that several models share a row."""
    subject: str = ""
    """The model the statement is about; "" where it is about no model."""
    estimate: float | None = None
    """The measured effect; None where there is none."""
    unit: str = ""
    """What the estimate is measured in, e.g. "held-out R2 at block 7"."""
    interval: tuple[float | None, float | None] | None = None
    """Lower and upper confidence limit of the estimate, in its unit; None in a record for a limit
    that is not finite."""
    standard_error: float | None = None
    """Of the estimate, for a summary over runs or models; by default that of a normal estimate with
    the interval's width."""
    smallest_effect: float | None = None
    """Smallest effect of interest, in the unit: an interval below it refutes the finding."""
    detectable: str = ""
    """The effect that this design could have shown, in words with numbers."""
    exchange: str = ""
    """The unit that is exchanged under the null and resampled, e.g. "transcript (8)"."""
    selection: str = ""
    """What was chosen after looking, and how that is paid for; "" where nothing was."""
    tests: Mapping[str, Test] = field(default_factory=dict)
    """By the rival that it refuses, each test of a finding."""
    conditions: Mapping[str, bool | None] = field(default_factory=dict)
    """Further conditions that must hold; None for one that could not be tested."""
    null: str = ""
    """What the estimate was held against, in words with numbers."""
    controls: Mapping[str, float | str] = field(default_factory=dict)
    """Numbers to read beside the estimate, by name."""
    causal_test: str | None = None
    """Outcome of an intervention that bears on the statement; None where none was made."""
    needs: str = ""
    """What it would take to test the statement, where it is not testable here."""
    primary: bool = False
    """Whether this is the one finding that the study is about."""
    registered: bool | None = None
    """Whether it was registered before anything was read; False makes it exploratory, None says
    that nothing was registered."""
    p: float | None = None
    """Largest p over the tests of a finding."""
    p_adjusted: float | None = None
    """`p` after Holm's correction over the findings of the run; None until `judged`."""
    verdict: Verdict = "described"
    """What follows, by `rule`."""
    rule: str = ""
    """The conditions under which a finding is supported, or a control passes."""
    reason: str = ""
    """What decided the verdict."""

    def measured(self) -> str:
        """Estimate, interval and unit in words; the reason where there is no estimate."""
        if self.estimate is None:
            return self.reason
        return _measured(self)

    def sentence(self) -> str:
        """Statement, verdict if there is one, and what was measured."""
        verdict = "" if self.kind == "description" else f" {self.verdict.capitalize()}:"
        return f"{self.statement}{verdict} {self.measured()}."


def finding(
    question: str,
    statement: str,
    *,
    tests: Mapping[str, Test | tuple[Number, Number] | Number],
    exchange: str,
    conditions: Mapping[str, bool | np.bool_ | None] | None = None,
    needs: str = "",
    **design: Any,
) -> Claim:
    """A statement that may be wrong, with the tests that decide it. Undecided until `judged`.

    Args:
        question: What the study asked.
        statement: The answer under test.
        tests: By rival, p, (p, floor) or a `Test`; all must hold.
        exchange: Unit that is exchanged and resampled.
        conditions: Further conditions that must hold, by name.
        needs: What it would take, where it cannot be tested here; then no test counts.
        **design: Further fields of `Claim`.

    Raises:
        ValueError: no test and no word on what it would take, a p outside [0, 1], or an interval
            whose limits are reversed.
    """
    if not tests and not needs:
        raise ValueError(f"{statement!r} has no test; say what it needs, or describe it")
    held = {rival: _test(statement, rival, given) for rival, given in tests.items()}
    met = {
        name: None if value is None else bool(value) for name, value in (conditions or {}).items()
    }
    p = max((test.p for test in held.values()), default=math.nan)
    return Claim(
        kind="finding",
        question=question,
        statement=statement,
        exchange=exchange,
        tests=held,
        conditions=met,
        needs=needs,
        p=None if math.isnan(p) or any(math.isnan(test.p) for test in held.values()) else p,
        verdict="undecided",
        rule=" and ".join([*(f"{rival} is refused" for rival in held), *met]),
        **_numbers(statement, design),
    )


@runtime_checkable
class Rivals(Protocol):
    """A test of one position at several depths against rivals of what is claimed, such as
    `interp.smds.CycleTest`."""

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the depths."""
        ...

    @property
    def share(self) -> Float[np.ndarray, " depth"]:
        """Effect at each depth."""
        ...

    def best(self) -> int:
        """The depth whose largest p is least."""
        ...

    def tests(self, depth: int) -> Mapping[str, tuple[float, float]]:
        """By rival, p and floor at one depth, corrected over depths."""
        ...


def beats(
    question: str, statement: str, rivals: Rivals, *, exchange: str, unit: str, **design: Any
) -> Claim:
    """Finding that all rivals are refused at one depth, which is chosen.

    Args:
        question: What the study asked.
        statement: The answer under test.
        rivals: The test; each p is corrected over its depths.
        exchange: Unit that is exchanged under the nulls.
        unit: What the effect is measured in.
        **design: Further fields of `Claim`.

    Raises:
        ValueError: as `finding`.
    """
    depth = rivals.best()
    return finding(
        question,
        statement,
        tests=rivals.tests(depth),
        exchange=exchange,
        estimate=rivals.share[depth],
        unit=f"{unit} at {rivals.depths[depth]}",
        selection=f"the depth, of {len(rivals.depths)}: each p is corrected over them (max-T)",
        **design,
    )


def survives(
    question: str,
    statement: str,
    test: PermutationTest,
    *,
    cell: int | tuple[int, ...],
    rival: str,
    exchange: str,
    unit: str,
    **design: Any,
) -> Claim:
    """Finding that one cell of a grid stands out, which may be chosen after looking at all.

    Args:
        question: What the study asked.
        statement: The answer under test.
        test: Of the grid; p is corrected over its cells (max-T).
        cell: Index of the cell.
        rival: What the permutations stand for, such as "speakers exchanged among turns".
        exchange: Unit that is exchanged.
        unit: What the statistic is, and where.
        **design: Further fields of `Claim`.

    Raises:
        ValueError: as `finding`.
    """
    return finding(
        question,
        statement,
        tests={rival: (test.p_family[cell], test.floor)},
        exchange=exchange,
        estimate=test.observed[cell],
        unit=unit,
        null=f"{rival}: mean {test.mean[cell]:.2f}",
        selection=f"the cell, of {np.isfinite(test.p_family).sum()}: p is corrected over all "
        "(max-T)",
        **design,
    )


def description(question: str, statement: str, *, needs: str = "", **design: Any) -> Claim:
    """An estimate with its interval, and no verdict; `needs` says what it would take where there
    is none. `design` holds further fields of `Claim`."""
    return Claim(
        kind="description",
        question=question,
        statement=statement,
        verdict="described",
        needs=needs,
        reason=f"it would take {needs}" if needs else "an estimate: nothing is tested",
        **_numbers(statement, design),
    )


def control(
    question: str, statement: str, *, passed: bool | np.bool_ | None, fails_on: str, **design: Any
) -> Claim:
    """A condition for the findings about the same subject to count.

    Args:
        question: What the study asked.
        statement: What must hold.
        passed: Whether it does; None where it could not be looked at.
        fails_on: The data on which it fails. A control that cannot fail is none.
        **design: Further fields of `Claim`.

    Raises:
        ValueError: an empty `fails_on`.
    """
    if not fails_on.strip():
        raise ValueError(f"control {statement!r} must say on which data it fails")
    verdict = "not testable here" if passed is None else "passed" if passed else "failed"
    return Claim(
        kind="control",
        question=question,
        statement=statement,
        verdict=verdict,
        rule=f"fails on {fails_on}",
        reason=verdict,
        **_numbers(statement, design),
    )


def judged(
    claims: Sequence[Claim], *, level: float = LEVEL, untrained: Collection[str] = ()
) -> list[Claim]:
    """The claims of a run with their verdicts: controls first, then Holm over all findings.

    A finding that cannot be tested takes no part in the correction. An exploratory one is corrected
    together with all others, and takes no part in theirs. Those about `untrained`
    subjects, models of random weights that stand beside others for comparison, are described: they
    are nobody's finding, and a correction for them would cost the others their power.

    Raises:
        ValueError: two primary findings about one subject.
    """
    claims = [_compared(claim) if claim.subject in untrained else claim for claim in claims]
    primary = [claim.subject for claim in claims if claim.primary]
    for subject in primary:
        if primary.count(subject) > 1:
            raise ValueError(f"two primary findings about {subject!r}; a study has one")
    blocked = {claim.subject: claim for claim in claims if claim.verdict == "failed"}
    testable = [c for c in claims if c.kind == "finding" and not _untestable(c, blocked, level)]
    family = [claim for claim in testable if claim.registered is not False]
    adjusted = _adjusted(testable) | _adjusted(family)
    return [_verdict(claim, blocked, adjusted, level) for claim in claims]


def _adjusted(findings: Sequence[Claim]) -> dict[int, float]:
    return dict(zip(map(id, findings), holm([c.p or 0.0 for c in findings]), strict=True))


def _compared(claim: Claim) -> Claim:
    """A finding about a model that has learnt nothing, as an estimate for comparison."""
    if claim.kind != "finding":
        return claim
    p = "" if claim.p is None else f"; p {claim.p:.3g} by itself"
    return replace(
        claim,
        kind="description",
        primary=False,
        verdict="described",
        reason=f"random weights, for comparison{p}",
        rule="",
    )


def about(claims: Sequence[Claim], subject: str) -> list[Claim]:
    """Those about one subject."""
    return [claim for claim in claims if claim.subject == subject]


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted by Holm (1979), in the order given: the chance under the null that any of
    them would be this small."""
    order = np.argsort(p, kind="stable")
    adjusted, running = np.empty(len(p)), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted.tolist()


def _verdict(
    claim: Claim, blocked: Mapping[str, Claim], adjusted: Mapping[int, float], level: float
) -> Claim:
    if claim.kind != "finding":
        return claim
    p = adjusted.get(id(claim))
    if why := _untestable(claim, blocked, level):
        return replace(claim, verdict="not testable here", reason=why, p_adjusted=p)
    failed = [name for name, met in claim.conditions.items() if not met]
    assert p is not None
    if p <= level and not failed:
        reason = f"p {claim.p:.3g}, {p:.3g} after correction over {len(adjusted)} findings"
        reason += "; exploratory, as it was not registered" * (claim.registered is False)
        return replace(claim, verdict="supported", reason=reason, p_adjusted=p)
    if not failed and _at_floor(claim, level):
        reason = (
            f"p {claim.p:.3g} is the least that its draws allow, and {len(adjusted)} findings are "
            "corrected together: more draws could decide it"
        )
        return replace(claim, verdict="not testable here", reason=reason, p_adjusted=p)
    standing = [
        f"{rival} (p {test.p:.3g})" for rival, test in claim.tests.items() if test.p > level
    ]
    reason = _shortfall(standing, failed, p, len(adjusted))
    if _refuted(claim):
        below = f"the interval lies below {claim.smallest_effect:.3g}, the least effect of interest"
        return replace(claim, verdict="refuted", reason=f"{below}; {reason}", p_adjusted=p)
    if claim.detectable:
        reason += f"; could have shown {claim.detectable}"
    return replace(claim, verdict="undecided", reason=reason, p_adjusted=p)


def _at_floor(claim: Claim, level: float) -> bool:
    """Whether every test is passed, and the largest p is as small as it can be."""
    worst = max(claim.tests.values(), key=lambda test: test.p)
    return worst.p <= min(level, worst.floor * (1 + 1e-9))


def _shortfall(standing: Sequence[str], failed: Sequence[str], p: float, number: int) -> str:
    parts = [f"not refused: {', '.join(standing)}"] if standing else []
    parts += [f"not met: {'; '.join(failed)}"] if failed else []
    return "; ".join(parts) or f"p {p:.3g} after correction over {number} findings"


def _refuted(claim: Claim) -> bool:
    high = None if claim.interval is None else claim.interval[1]
    return high is not None and claim.smallest_effect is not None and high < claim.smallest_effect


def _untestable(claim: Claim, blocked: Mapping[str, Claim], level: float) -> str:
    """Why a finding cannot be tested; "" where it can."""
    if claim.needs:
        return f"it would take {claim.needs}"
    untested = [name for name, met in claim.conditions.items() if met is None]
    untested += [rival for rival, test in claim.tests.items() if math.isnan(test.p)]
    if untested:
        return f"could not be tested: {'; '.join(untested)}"
    for subject in (claim.subject, ""):
        if subject in blocked:
            return f"a control failed: {blocked[subject].statement}"
    floor = max(test.floor for test in claim.tests.values())
    if floor > level:
        return f"no data could reach p {level:g}: the least p here is {floor:.3g}"
    return ""


def _test(statement: str, rival: str, given: Test | tuple[Number, Number] | Number) -> Test:
    if isinstance(given, Test):
        test = given
    elif isinstance(given, tuple):
        test = Test(float(given[0]), float(given[1]))
    else:
        test = Test(float(given))
    if not (math.isnan(test.p) or 0 <= test.p <= 1):
        raise ValueError(f"{statement!r}: p = {test.p} against {rival!r} is no probability")
    return test


def _numbers(statement: str, design: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a claim as plain numbers; a number that is NaN is none."""
    made = dict(design)
    for name in ("estimate", "smallest_effect", "standard_error"):
        value = made.get(name)
        made[name] = None if value is None or math.isnan(float(value)) else float(value)
    if made.get("interval") is not None:
        low, high = (float(limit) for limit in made["interval"])
        if low > high:
            raise ValueError(f"{statement!r}: interval [{low}, {high}] is reversed")
        made["interval"] = None if math.isnan(low) or math.isnan(high) else (low, high)
        if made.get("standard_error") is None and math.isfinite(high - low):
            made["standard_error"] = (high - low) / (2 * NORMAL_95)
    made["controls"] = {
        name: value if isinstance(value, str) else float(value)
        for name, value in (made.get("controls") or {}).items()
    }
    return made


def as_table(claims: Sequence[Claim | Mapping[str, Any]]) -> pd.DataFrame:
    """Claims to read side by side: a row per (question, statement), a column per subject.

    They may also be records, as a run's results keep them (`run.results()["claims"]`).

    A cell reads "verdict: estimate [interval] unit"; it is empty where nothing was claimed of that
    subject. Rows and columns keep the order of `claims`. Raises ValueError if two claims share
    question, statement and subject, since one would hide the other.
    """
    claims = [claim if isinstance(claim, Claim) else from_record(claim) for claim in claims]
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


def from_record(record: Mapping[str, Any]) -> Claim:
    """The claim of a record that `as_records` made, as a run's results keep it."""
    between = record["interval"]
    tests = {rival: Test(**test) for rival, test in record["tests"].items()}
    limits = None if between is None else tuple(between)
    return Claim(**{**record, "tests": tests, "interval": limits})


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
