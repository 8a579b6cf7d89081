"""What the measurements establish, as claims, and in words."""

from typing import Any

import numpy as np

from interp.claims import Claim, description, finding
from studies.attention_affinity.results import Kind, Measured
from studies.attention_affinity.routing import DRAWS
from studies.attention_affinity.summarising import (
    Cell,
    apart,
    effect,
    growth,
    reach,
    strongest,
)
from studies.attention_affinity.table import adjusted
from studies.attention_affinity.unrelated import Gathered, place

LEVEL = 0.05
"""Level of every test."""

CALIBRATED = "Would this study find something where there is nothing?"
MATCH = "Do heads respond to these directions?"
DISTANCE = "Does distance matter?"
CHANGED = "What is different in the second model?"
WHERE = "Which direction is it about?"

SECOND = "a second model: --instruct (or --perturb, for a control)"
"""What a claim about a change takes."""

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
    tested = gathered.tested
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
    return description(
        CALIBRATED,
        "How often unrelated directions pass the null's 5 %.",
        subject=found.subject,
        estimate=100 * rate(gathered),
        unit=f"% of {int(tested.sum())} unrelated pairs with p <= .05 (logits), of "
        f"{len(np.unique(gathered.unrelated.text))} texts",
        null=f"5 %; {_kind_of_null(found)}",
        controls=controls,
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
    shown: dict[str, Any] = dict(
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
        exchange=f"set of {len(found.directions)} directions ({len(by_set) - 1} unrelated sets)",
    )
    if kind == "VO":
        # on weights without structure a quarter of runs pass: heads that write much, write anything
        return description(MATCH, f"{what}: cells, beside those of unrelated directions.", **shown)
    return finding(
        MATCH,
        f"{what}, more than heads do for unrelated directions.",
        primary=pair == "self",
        tests={"sets of unrelated directions": (p, 1 / len(by_set))},
        conditions={"some cell survives": count > 0},
        **shown,
    )


def _distance(found: Measured) -> Claim:
    made, places = reach(found), apart(found)
    said = [found.settings.distances[at] for at in places] if places else []
    worst = ""
    if made is not None:
        by_block = np.nanmedian(made, axis=1)
        at = int(np.nanargmin(by_block))
        worst = f"{by_block[at]:.2f} in block {found.settings.blocks[at]}"
    return description(
        DISTANCE,
        "How alike a head ranks these pairs at two distances.",
        subject=found.subject,
        estimate=None if made is None else np.nanmedian(made),
        unit=f"correlation of logits at distances {' and '.join(map(str, said))}, median head",
        null="1, where the distance plays no part (exactly so without rotary embedding)",
        controls={"least median of a block": worst} if worst else {},
        needs="two distances apart" if made is None else "",
    )


def _rerouted(found: Measured) -> Claim:
    statement = (
        f"{change(found)} changed how some head matches these directions, more than it changed "
        "unrelated ones and than the same change turned at random would."
    )
    if found.other is None:
        return _untestable(found, statement)
    best, tally = strongest(found, "QK", "difference")[0], found.gathered["QK", "difference"].tally
    by_set, by_turns = place(tally.best()), place(found.turns.best())
    return finding(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=best.z,
        unit=f"standard deviations, {best.where}",
        null=f"largest of all cells in sets of unrelated directions (p {by_set:.2g}), and of these "
        f"directions under the change of W_Q and W_K, each head's turned at random (p "
        f"{by_turns:.2g})",
        exchange=f"set of directions ({len(tally.best()) - 1}), and turn of the change ({DRAWS})",
        selection="the largest of all cells, as in every set and every turn",
        controls={
            "the cell alone": best.chance,
            "base": _raw(found, best, "base"),
            "instruct": _raw(found, best, "instruct"),
        },
        tests={
            "sets of unrelated directions": (by_set, 1 / len(tally.best())),
            "the change turned at random": (by_turns, 1 / (1 + DRAWS)),
        },
    )


def _raw(found: Measured, cell: Cell, side: str) -> str:
    cells = found.cells["QK", side]  # pyright: ignore[reportArgumentType]
    return f"logit {cells.raw[cell.places]:.3g}, z {cells.z[cell.places]:.2f}"


def _broadly(found: Measured) -> Claim:
    statement = (
        f"{change(found)} changed these directions' matches in more cells than those of unrelated "
        "ones, and than the same change turned at random would."
    )
    if found.other is None:
        return _untestable(found, statement)
    rates = found.gathered["QK", "difference"].tally.rate(LEVEL)
    by_turns = found.turns.rate()
    passed = (found.cells["QK", "difference"].p <= LEVEL).mean(axis=(2, 3, 4))
    return finding(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=100 * passed.mean(),
        unit="% of cells of the difference with p <= .05",
        null=f"unrelated sets {100 * rates[1:].mean():.2g} % (p {place(rates):.2g}); these "
        f"directions under the change turned at random {100 * by_turns[1:].mean():.2g} % (p "
        f"{place(by_turns):.2g})",
        exchange=f"set of directions ({len(rates) - 1}), and turn of the change ({DRAWS})",
        tests={
            "sets of unrelated directions": (place(rates), 1 / len(rates)),
            "the change turned at random": (place(by_turns), 1 / len(by_turns)),
        },
    )


def _growth(found: Measured) -> Claim:
    statement = f"How much wider {change(found).lower()} made logits of unrelated vectors spread."
    if found.other is None:
        return description(CHANGED, statement, subject=found.subject, needs=SECOND)
    ratio = growth(found)
    low, high = np.nanquantile(ratio, [0.05, 0.95])
    return description(
        CHANGED,
        statement,
        subject=found.subject,
        estimate=np.nanmedian(ratio),
        unit="ratio of the nulls' standard deviations, median head",
        null="1; it says nothing of which directions are meant",
        controls={"5 % to 95 % of heads": f"{low:.3g} to {high:.3g}"},
    )


def _largest(found: Measured, averaged: Averaged) -> Claim:
    first, names = found.directions.leading(), found.directions.names
    made = effect(found, "QK", found.main, averaged)
    flow = effect(found, "VO", found.main, averaged)
    top = int(made.mean.argmax())
    at = top if first is None else first
    of = "logits" if found.main == "base" else "the difference of logits"
    return description(
        WHERE,
        "The effect on the direction that explains most variance.",
        subject=found.subject,
        estimate=made.mean[at],
        unit=f"mean |z| of {of} of {names[at]} with itself, blocks {averaged[0]} to {averaged[-1]}",
        null=f"unrelated directions {made.unrelated:.2f}, 95 % below {made.bound:.2f}; as to which "
        f"leads, chance is 1 in {len(names)}, so that this alone could not be told from chance",
        controls={
            "largest": f"{names[top]}, {made.mean[top]:.2f}",
            "largest in VO": f"{names[int(flow.mean.argmax())]}, {flow.mean.max():.2f}",
        },
        needs="shares of variance of several directions" if first is None else "",
    )


def _untestable(found: Measured, statement: str) -> Claim:
    return finding(
        CHANGED,
        statement,
        subject=found.subject,
        tests={},
        exchange="set of directions, and turn of the change",
        needs=SECOND,
    )
