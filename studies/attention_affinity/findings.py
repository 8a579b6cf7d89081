"""What the measurements establish, as claims, and in words."""

import numpy as np

from interp.claims import Claim
from interp.stats import bootstrap_interval
from studies.attention_affinity.results import Kind, Measured
from studies.attention_affinity.summarising import (
    Cell,
    apart,
    effect,
    growth,
    interval,
    reach,
    resampled,
    resampled_unit,
    strongest,
)
from studies.attention_affinity.table import adjusted
from studies.attention_affinity.unrelated import Gathered, place

LEVEL = 0.05
"""Level of every test."""
BAND = (0.03, 0.07)
"""Rates that count as the null's 5 %: what is left to the shape of its tail and to a covariance
that is estimated from a few hundred residuals."""

CALIBRATED = "Would this study find something where there is nothing?"
MATCH = "Do heads respond to these directions?"
DISTANCE = "Does distance matter?"
CHANGED = "What is different in the second model?"
WHERE = "Which direction is it about?"

Averaged = tuple[int, ...]


def claims(found: Measured, averaged: Averaged) -> list[Claim]:
    """Every claim; `averaged` are the blocks that effects by direction are averaged over."""
    kinds: tuple[Kind, ...] = ("QK", "VO")
    pairs = ("self", "cross") if len(found.directions) > 1 else ("self",)
    return [
        _calibrated(found),
        *(_matches(found, kind, pair) for kind in kinds for pair in pairs),
        _distance(found),
        _rerouted(found),
        _broadly(found),
        _growth(found),
        _largest(found, averaged),
    ]


def change(found: Measured) -> str:
    """What made the second model of the first."""
    return "Random noise" if found.other and found.other.noise is not None else "Tuning"


def rate(gathered: Gathered) -> float:
    """Share of unrelated cross pairs with p at most .05."""
    return float(gathered.passed.sum() / gathered.tested.sum())


def _calibrated(found: Measured) -> Claim:
    gathered = found.gathered["QK", "base"]
    text, passed, tested = gathered.unrelated.text, gathered.passed, gathered.tested
    limits = bootstrap_interval(
        lambda rows: float(passed[rows].sum() / tested[rows].sum()),
        text,
        rng=np.random.default_rng(found.settings.seed),
    )
    estimate = rate(gathered)
    controls: dict[str, float | str] = {
        "share with p <= .001 (%)": 100 * float(gathered.far.sum() / tested.sum()),
        "of what is written, p <= .05 (%)": 100 * rate(found.gathered["VO", "base"]),
    }
    if found.isotropic is not None:
        controls["the same against the isotropic null (%)"] = 100 * rate(found.isotropic)
        far = found.isotropic.far.sum() / found.isotropic.tested.sum()
        controls["... with p <= .001 (%)"] = 100 * float(far)
    if found.other is not None:
        controls["of the difference (%)"] = 100 * rate(found.gathered["QK", "difference"])
    return Claim.decide(
        CALIBRATED,
        "Unrelated directions hold the null's rate.",
        subject=found.subject,
        estimate=100 * estimate,
        unit="% of unrelated pairs with p <= .05 (logits)",
        interval=(100 * limits[0], 100 * limits[1]),
        null=f"5 %; {_kind_of_null(found)}",
        controls=controls,
        conditions={
            f"the rate lies in {100 * BAND[0]:.0f} to {100 * BAND[1]:.0f} %": BAND[0]
            <= estimate
            <= BAND[1]
        },
    )


def _kind_of_null(found: Measured) -> str:
    if not found.covariance:
        return "isotropic null, isotropic directions"
    return "covariance null, directions from texts that it was not fitted on"


def survivors(found: Measured, kind: Kind, pair: str) -> tuple[int, int, set[tuple[int, int]]]:
    """Cells of the base model that survive at 5 %, of how many, and the heads that hold them."""
    q = adjusted(found, kind, "base")
    mask = np.eye(len(found.directions), dtype=bool)
    kept = (q <= LEVEL) & (mask if pair == "self" else ~mask)[:, :, None]
    heads = {(int(at), int(head)) for at, head in np.argwhere(kept.any(axis=(2, 3, 4)))}
    tested = found.gathered[kind, "base"].tally.counts[pair][0].sum()
    return int(kept.sum()), int(tested), heads


def _matches(found: Measured, kind: Kind, pair: str) -> Claim:
    count, tested, heads = survivors(found, kind, pair)
    by_set = found.gathered[kind, "base"].tally.survivors(pair, LEVEL)
    p = place(by_set)
    middle, high = np.quantile(by_set[1:], [0.5, 0.95])
    best = strongest(found, kind, "base", pair=pair)[0]
    verb = "attend" if kind == "QK" else "write"
    what = {
        ("QK", "self"): "Some heads match a direction with itself",
        ("QK", "cross"): "Some heads match one of the directions with another",
        ("VO", "self"): "Some heads write a direction where they attend to it",
        ("VO", "cross"): "Some heads write one of the directions where they attend to another",
    }[kind, pair]
    total = len(found.settings.blocks) * found.base.heads
    return Claim.decide(
        MATCH,
        f"{what}, more than heads do for unrelated directions.",
        subject=found.subject,
        estimate=count,
        unit=f"of {tested} cells, in {len(heads)} of {total} heads, at a false discovery rate of "
        "5 %",
        null=f"{len(by_set) - 1} sets of {len(found.directions)} unrelated directions: "
        f"{middle:.0f} cells at the median, {high:.0f} at 95 %; p {p:.2g}",
        controls={
            "largest": f"{best.where}: z {best.z:.1f}, {best.chance}",
            "model": f"{found.base.label}: which directions {verb}",
        },
        conditions={
            "some cell survives": count > 0,
            f"more do than in 95 % of unrelated sets (p <= {LEVEL})": p <= LEVEL,
        },
    )


def _distance(found: Measured) -> Claim:
    made, places = reach(found), apart(found)
    said = [found.settings.distances[at] for at in places] if places else []
    worst = ""
    if made is not None:
        by_block = np.nanmedian(made[0], axis=1)
        at = int(np.nanargmin(by_block))
        worst = f"{by_block[at]:.2f} in block {found.settings.blocks[at]}"
    return Claim.decide(
        DISTANCE,
        "A head ranks these pairs otherwise at another distance.",
        subject=found.subject,
        estimate=None if made is None else made[1].value,
        unit=f"correlation of logits at distances {' and '.join(map(str, said))}, median head",
        interval=None if made is None else made[1].interval,
        null="1, where the distance plays no part (exactly so without rotary embedding); the bar "
        "is .9, where a fifth of the variance is another's",
        controls={"least median of a block": worst} if worst else {},
        conditions={
            "the interval lies below .9": None if made is None else made[1].interval[1] < 0.9
        },
    )


def _rerouted(found: Measured) -> Claim:
    statement = (
        f"{change(found)} changed how some head matches these directions, more than it changed "
        "unrelated ones and than a random change of the weights would."
    )
    if found.other is None:
        return _untestable(found, statement, "the largest difference lies beyond both nulls")
    best, tally = strongest(found, "QK", "difference")[0], found.gathered["QK", "difference"].tally
    by_set, by_noise = place(tally.best()), place(found.noise.best())
    return Claim.decide(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=best.z,
        unit=f"standard deviations, {best.where}",
        null=f"largest of all cells in sets of unrelated directions (p {by_set:.2g}), and of these "
        f"directions under noise on W_Q and W_K as large as the change (p {by_noise:.2g})",
        controls={
            "the cell alone": best.chance,
            "base": _raw(found, best, "base"),
            "instruct": _raw(found, best, "instruct"),
        },
        conditions={
            f"beyond 95 % of unrelated sets (p <= {LEVEL})": by_set <= LEVEL,
            f"beyond 95 % of random changes (p <= {LEVEL})": by_noise <= LEVEL,
        },
    )


def _raw(found: Measured, cell: Cell, side: str) -> str:
    cells = found.cells["QK", side]  # pyright: ignore[reportArgumentType]
    return f"logit {cells.raw[cell.places]:.3g}, z {cells.z[cell.places]:.2f}"


def _broadly(found: Measured) -> Claim:
    statement = (
        f"{change(found)} changed these directions' matches in more cells than those of unrelated "
        "ones, and than a random change of the weights would."
    )
    if found.other is None:
        return _untestable(found, statement, "the rate lies beyond both nulls")
    rates = found.gathered["QK", "difference"].tally.rate(LEVEL)
    by_noise = found.noise.rate(LEVEL)
    passed = (found.cells["QK", "difference"].p <= LEVEL).mean(axis=(2, 3, 4))
    draws = resampled(*passed.shape, seed=found.settings.seed)
    limits = interval(passed.ravel()[draws].mean(axis=1))
    return Claim.decide(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=100 * passed.mean(),
        unit="% of cells of the difference with p <= .05",
        interval=(100 * limits[0], 100 * limits[1]),
        null=f"unrelated sets {100 * rates[1:].mean():.2g} % (p {place(rates):.2g}); these "
        f"directions under noise {100 * by_noise[1:].mean():.2g} % (p {place(by_noise):.2g}); the "
        f"interval is over {resampled_unit(len(passed))}",
        conditions={
            f"beyond 95 % of unrelated sets (p <= {LEVEL})": place(rates) <= LEVEL,
            f"beyond 95 % of random changes (p <= {LEVEL})": place(by_noise) <= LEVEL,
        },
    )


def _growth(found: Measured) -> Claim:
    statement = f"{change(found)} made logits of unrelated vectors spread wider: weights grew."
    if found.other is None:
        return _untestable(found, statement, "the interval lies above 1")
    ratio, made = growth(found)
    low, high = np.nanquantile(ratio, [0.05, 0.95])
    return Claim.decide(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=made.value,
        unit="ratio of the nulls' standard deviations, median head",
        interval=made.interval,
        null="1; it says nothing of which directions are meant",
        controls={"5 % to 95 % of heads": f"{low:.3g} to {high:.3g}"},
        conditions={"the interval lies above 1": made.interval[0] > 1},
    )


def _largest(found: Measured, averaged: Averaged) -> Claim:
    first, names = found.directions.leading(), found.directions.names
    made = effect(found, "QK", found.main, averaged)
    flow = effect(found, "VO", found.main, averaged)
    top = int(made.mean.argmax())
    known = first is not None and len(names) > 1
    at = top if first is None else first
    of = "logits" if found.main == "base" else "the difference of logits"
    unit = resampled_unit(len(averaged))
    return Claim.decide(
        WHERE,
        "The largest effect falls on the direction that explains most variance.",
        subject=found.subject,
        estimate=made.mean[at],
        unit=f"mean |z| of {of} of {names[at]} with itself, blocks {averaged[0]} to {averaged[-1]}",
        interval=(made.low[at], made.high[at]),
        null=f"unrelated directions {made.unrelated:.2f}, 95 % below {made.bound:.2f}; as to which "
        f"leads, chance is 1 in {len(names)}, so that this alone could not be told from chance",
        controls={
            "largest": f"{names[top]}, {made.mean[top]:.2f}",
            f"{names[at]} leads in (% of resamples)": 100 * made.leads[at],
            "largest in VO": f"{names[int(flow.mean.argmax())]}, {flow.mean.max():.2f}",
        },
        conditions={
            f"it leads in {100 * (1 - LEVEL):.0f} % of resampled {unit}": made.leads[at]
            >= 1 - LEVEL
            if known
            else None,
            "its effect is above that of 95 % of unrelated directions": made.mean[at] > made.bound,
        }
        if known
        else {"the directions' shares of variance are known": None},
    )


def _untestable(found: Measured, statement: str, condition: str) -> Claim:
    return Claim.decide(
        CHANGED,
        statement,
        subject=found.subject,
        null="one model alone: give --instruct (or --perturb, for a control)",
        conditions={condition: None},
    )
