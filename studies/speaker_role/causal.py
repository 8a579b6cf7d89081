"""What the ablation establishes: one claim, its table, and its outcome in words."""

from collections.abc import Sequence

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
    SKIPPED,
    Ablation,
    Opening,
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
    """The claim, its table and the outcome in words, with n random directions and half as many of
    dealt speakers; nothing for n = 0, and a claim that says what the texts lack."""
    if not n:
        return [], [], None
    texts = [] if design.format == "chat" else openings(model, transcripts)
    place, missing = _place(found), _missing(texts, found)
    if place is None or None in missing.values():
        return [_untested(found, missing)], [], None
    measured = measure(model, texts, found, place, settings, n=n, batch_size=batch_size)
    section = _section(found, measured)
    return [_claim(found, measured)], [section], _words(measured)


def _place(found: Probing) -> tuple[int, int] | None:
    """The best depth and role with a direction, after the embedding and before the final norm."""
    percent, score = found.tokens.percent, found.grid.score
    cells = [
        (depth, role)
        for depth, role in found.directions
        if 0 < percent[depth] < 100 and found.grid.cells[role] != "tag"
    ]
    return max(cells, key=lambda cell: score[cell], default=None)


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


def _words(measured: Ablation) -> str:
    loss, random = measured.roles[measured.role], measured.others["random directions"].mean(axis=1)
    return (
        f"ablating it at {measured.depth} costs the next tag {loss.mean():.2f} of "
        f"{measured.before.mean():.2f} logits; {len(random)} random directions {random.mean():.2f} "
        f"+- {random.std():.2f}, p {measured.p(measured.role, 'random directions'):.3f}"
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


def _claim(found: Probing, measured: Ablation) -> Claim:
    loss = measured.roles[measured.role]
    interval = limits_over_transcripts(loss)
    p = {kind: measured.p(measured.role, kind) for kind in measured.others}
    held = "; ".join(
        f"{len(of)} {kind}: {of.mean():.3f} (sd {of.mean(axis=1).std():.3f}), p {p[kind]:.3f}"
        for kind, of in measured.others.items()
    )
    controls = {"right name less the other, unedited (logits)": measured.before.mean()}
    if "tag" in measured.roles:
        controls["loss under the direction of the tags"] = measured.roles["tag"].mean()
    tag = measured.roles.get("tag")
    bites = None if tag is None or len(tag) < FEWEST_GROUPS else _costs(tag)
    return finding(
        QUESTION,
        STATEMENT,
        subject=found.model,
        estimate=loss.mean(),
        unit=f"logits lost of the right name less the other, direction of {measured.role} at "
        f"{measured.depth}, {measured.n_tags} tags of {len(loss)} transcripts it was not made from",
        interval=interval,
        null=f"directions of unit length: {held}",
        exchange=f"direction, and transcript ({len(loss)})",
        selection="depth and role, by the probes of other texts; none by what ablation does",
        controls=controls,
        tests={kind: (value, measured.floor(kind)) for kind, value in p.items()},
        # where the names' own direction costs nothing at this depth, no direction could
        conditions={"the direction of the tags themselves costs logits there": bites or None},
        causal_test=_words(measured),
    )


def _costs(loss: Float[np.ndarray, " transcript"]) -> bool:
    return bool(best_of(loss[:, None]).p[0] <= ALPHA)


def _section(found: Probing, measured: Ablation) -> Section:
    unedited = measured.before.mean()
    rows: list[dict[str, object]] = []
    for role, loss in measured.roles.items():
        low, high = limits_over_transcripts(loss)
        row = {"direction ablated": role, "logits lost": loss.mean(), "low": low, "high": high}
        rows.append({**row, **{f"p, {kind}": measured.p(role, kind) for kind in measured.others}})
    for kind, losses in measured.others.items():
        each = losses.mean(axis=1)
        rows.append({"direction ablated": kind, "logits lost": each.mean(), "sd": each.std()})
    caption = (
        f"Before a tag the right name leads the other by {unedited:.2f} logits, transcripts as "
        f"written. Each direction is projected out at {measured.depth}, at every token but the "
        f"first. Intervals over {len(measured.before)} transcripts; p per role, uncorrected; dealt "
        f"speakers are those of {measured.role}. The direction of the tags holds the names "
        "themselves: it shows how much there is to lose."
    )
    title = f"{found.model}: what the next tag loses without the direction"
    return Section(title, [Table(pd.DataFrame(rows), caption)])
