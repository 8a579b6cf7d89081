"""What the ablation establishes: one claim, its table, and its outcome in words."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import sem
from scipy.stats import t as student
from transformer_lens.model_bridge import TransformerBridge

from interp.claims import Claim, finding
from interp.report import Section, Table
from interp.selection import best_of
from studies.speaker_role.data import Design
from studies.speaker_role.intervention import (
    DEALT,
    RANDOM,
    SKIPPED,
    Opening,
    Sweep,
    first_tokens,
    measure,
    openings,
)
from studies.speaker_role.probing import ALPHA, FEWEST_GROUPS, Probing, Settings
from studies.speaker_role.transcripts import Transcript

QUESTION = "Does the model use it?"
"""What the ablation is asked."""

STATEMENT = (
    "Ablating the speaker's direction costs the next tag's logits more than other directions do."
)
"""What it is to show."""


SHORT = {RANDOM: "random", DEALT: "dealt"}
"""Other directions, as short as a column's name has to be."""


def intervene(
    model: TransformerBridge,
    transcripts: Sequence[Transcript],
    design: Design,
    found: Probing,
    settings: Settings,
    *,
    n: int,
    batch_size: int,
) -> tuple[list[Claim], list[Section], str | None]:
    """The claim, its table and the outcome in words, with n random directions and as many of dealt
    speakers; nothing for n = 0, and a claim that says what the texts lack."""
    if not n:
        return [], [], None
    texts = [] if design.format == "chat" else openings(model, transcripts)
    place, missing = _place(found), _missing(texts, found)
    if place is None or None in missing.values():
        return [_untested(found, missing)], [], None
    each = [
        measure(model, texts, found, (depth, place[1]), settings, n=n, batch_size=batch_size)
        for depth in _depths(found, place)
    ]
    sweep = Sweep(tuple(each))
    outcome = _words(sweep)
    claim = _claim(found, sweep, _turns_that_change(transcripts), outcome)
    return [claim], [_section(found, sweep)], outcome


def _place(found: Probing) -> tuple[int, int] | None:
    """The best depth and role with a direction, after the embedding and before the final norm."""
    percent, score = found.tokens.percent, found.grid.score
    cells = [
        (depth, role)
        for depth, role in found.directions
        if 0 < percent[depth] < 100 and found.grid.cells[role] != "tag"
    ]
    return max(cells, key=lambda cell: score[cell], default=None)


def _depths(found: Probing, place: tuple[int, int]) -> list[int]:
    """The place's own depth and, of the others where its role has a direction, those nearest to a
    quarter, a half and three quarters: where a speaker is told best he need not be used."""
    percent = found.tokens.percent
    rows = [d for d, role in found.directions if role == place[1] and 0 < percent[d] < 100]
    nearest = {min(rows, key=lambda row: abs(percent[row] - at)) for at in (25, 50, 75)}
    return sorted(nearest | {place[0]})


def _missing(texts: Sequence[Opening], found: Probing) -> dict[str, bool | None]:
    """What the ablation needs, and None for what is not there."""
    first = list(first_tokens(texts).values())
    apart = len(first) == 2 and all(len(ids) == 1 for ids in first) and first[0] != first[1]
    return {
        f"two plain transcripts or more of over {SKIPPED} turns": len(texts) > 1 or None,
        "two speakers": len(found.tokens.classes) == 2 or None,
        "names that begin with different tokens, each always with the same": apart or None,
        "speakers whose means differ at a depth between embedding and final norm": (
            _place(found) is not None or None
        ),
    }


def _words(sweep: Sweep) -> str:
    measured = sweep.at[sweep.best]
    loss, random = measured.roles[measured.role], measured.others[RANDOM].mean(axis=1)
    return (
        f"ablating it at {measured.depth}, of {len(sweep.at)} depths the one where most is lost, "
        f"costs the next tag {loss.mean():.2f} of {measured.before.mean():.2f} logits; "
        f"{len(random)} random directions {random.mean():.2f} +- {random.std():.2f}, p "
        f"{sweep.p(RANDOM):.3f}"
    )


def _untested(found: Probing, missing: dict[str, bool | None]) -> Claim:
    lacking = " and ".join(name for name, there in missing.items() if not there)
    return finding(
        QUESTION,
        STATEMENT,
        subject=found.model,
        tests={},
        exchange="direction, and transcript",
        needs=lacking,
    )


def limits_over_transcripts(values: Float[np.ndarray, " transcript"]) -> tuple[float, float]:
    """Student's t over transcripts: a percentile bootstrap of eight of them covers 88 %."""
    low, high = student.interval(
        0.95, len(values) - 1, loc=values.mean(), scale=sem(values) or np.finfo(float).tiny
    )
    return float(low), float(high)


def _claim(found: Probing, sweep: Sweep, changes: float, outcome: str) -> Claim:
    measured = sweep.at[sweep.best]
    loss = measured.roles[measured.role]
    p = {kind: sweep.p(kind) for kind in measured.others}
    held = "; ".join(
        f"{len(of)} {kind}: {of.mean():.3f} (sd {of.mean(axis=1).std():.3f}), p {p[kind]:.3f}"
        for kind, of in measured.others.items()
    )
    controls = {
        "right name less the other, unedited (logits)": measured.before.mean(),
        "turns that change the speaker (%): where all do, who speaks says who comes next": changes,
    }
    tag = measured.roles.get("tag")
    if tag is not None:
        controls["loss under the direction of the tags"] = tag.mean()
    bites = None if tag is None or len(tag) < FEWEST_GROUPS else _costs(tag)
    return finding(
        QUESTION,
        STATEMENT,
        subject=found.model,
        estimate=loss.mean(),
        unit=f"logits lost of the right name less the other, direction of {measured.role} at "
        f"{measured.depth}, {measured.n_tags} tags of {len(loss)} transcripts it was not made from",
        interval=_interval(sweep),
        null=f"directions of unit length: {held}",
        exchange=f"direction, and transcript ({len(loss)})",
        selection=f"the depth, of {len(sweep.at)}, by what is lost: p and limits hold for the best "
        "of all of them (max-T); the role, by the probes of other texts",
        controls=controls,
        tests={kind: (value, measured.floor(kind)) for kind, value in p.items()},
        # where the names' own direction costs nothing at this depth, no direction could
        conditions={"the direction of the tags themselves costs logits there": bites or None},
        causal_test=outcome,
    )


def _interval(sweep: Sweep) -> tuple[float, float] | None:
    """Limits of the loss at the depth where it is largest; none of few transcripts."""
    if sweep.lost.shape[1] < FEWEST_GROUPS:
        return None
    of_all = best_of(sweep.lost.T)
    return float(of_all.low[sweep.best]), float(of_all.high[sweep.best])


def _turns_that_change(given: Sequence[Transcript]) -> float:
    pairs = [
        before.speaker != after.speaker
        for transcript in given
        for before, after in pairwise(transcript.turns)
    ]
    return 100 * float(np.mean(pairs))


def _costs(loss: Float[np.ndarray, " transcript"]) -> bool:
    return bool(best_of(loss[:, None]).p[0] <= ALPHA)


def _section(found: Probing, sweep: Sweep) -> Section:
    rows: list[dict[str, object]] = []
    for measured in sweep.at:
        for role, loss in measured.roles.items():
            low, high = limits_over_transcripts(loss)
            row = {"depth": measured.depth, "direction ablated": role, "logits lost": loss.mean()}
            p = {f"p, {SHORT[kind]}": measured.p(role, kind) for kind in measured.others}
            rows.append({**row, "low": low, "high": high, **p})
        for kind, losses in measured.others.items():
            each = losses.mean(axis=1)
            row = {"depth": measured.depth, "direction ablated": kind, "logits lost": each.mean()}
            rows.append({**row, "sd": each.std()})
    before = sweep.at[0].before
    caption = (
        f"Before a tag the right name leads the other by {before.mean():.2f} logits, transcripts "
        "as written. Each direction is projected out at every token but the first. Intervals over "
        f"{len(before)} transcripts; p per role and depth, uncorrected; dealt speakers are those "
        f"of {sweep.at[0].role}. The direction of the tags holds the names themselves: it shows "
        "how much there is to lose."
    )
    title = f"{found.model}: what the next tag loses without the direction"
    return Section(title, [Table(pd.DataFrame(rows), caption)])
