"""Ablation: does the next speaker's tag need the speaker's direction?

1. The direction is the difference of the speakers' means, at the depth and role where a probe finds
   the speaker best (of those a later block can still use), made from training transcripts.
2. In the other transcripts, as they were written, it is projected out of the residual stream at
   every token but the first, attention's sink (directional ablation, Arditi et al. 2024).
3. At the token before each next tag: logit of the right name less logit of the other, each by its
   first token. What this loses, mean over turns, is what the direction was worth.
4. The same for random directions, and for differences of means under speakers dealt anew to turns,
   which lie where activations do. The directions of other roles show the scale: that of the tags
   holds the names themselves.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from transformer_lens.model_bridge import TransformerBridge

from interp.claims import Claim
from interp.intervene import ablate
from interp.probes.direction import mean_difference
from interp.report import Section, Table
from interp.stats import bootstrap_interval, grouped_folds, permutation_test, permute_groups
from studies.speaker_role.data import Design
from studies.speaker_role.probing import ALPHA, Probing, Settings
from studies.speaker_role.rendering import plain
from studies.speaker_role.transcripts import Transcript

SKIPPED, TURNS = 4, 6
"""Turns at the start whose tags are not asked for, since a reader does not know yet who takes part
and in which order; and turns that are run in all, since every direction costs a run."""


QUESTION = "Does the model use it?"
"""What the ablation is asked."""

STATEMENT = (
    "Ablating the speaker's direction costs the next tag's logits more than other directions do."
)
"""What it is to show."""


@dataclass(frozen=True)
class Opening:
    """The first turns of a transcript, up to a tag."""

    ids: Int[torch.Tensor, "1 token"]
    """Token ids."""
    before: Int[np.ndarray, " tag"]
    """Position of the token before each tag that is asked for."""
    speaker: Int[np.ndarray, " tag"]
    """Number of the speaker whom that tag names, 0 or 1."""
    names: frozenset[tuple[int, int]]
    """(speaker, id of the first token of the tag) of every tag."""
    group: int
    """Number of the transcript."""


@dataclass(frozen=True)
class Ablation:
    """What the next tags' logits lose, in logits: right name less the other name."""

    depth: str
    """Where directions were ablated."""
    role: str
    """The role whose direction is asked about."""
    before: Float[np.ndarray, " transcript"]
    """Logit of the right name less that of the other, unedited, mean over turns."""
    roles: dict[str, Float[np.ndarray, " transcript"]]
    """Loss under each role's direction."""
    others: dict[str, Float[np.ndarray, "direction transcript"]]
    """Loss under other directions, by kind."""
    n_tags: int
    """Tags that were asked for."""

    def p(self, role: str, kind: str) -> float:
        """Rank of a role's mean loss among that of other directions, one-sided."""
        observed = np.array([self.roles[role].mean()])
        return float(permutation_test(observed, self.others[kind].mean(axis=1)[:, None]).p[0])


def intervene(
    model: TransformerBridge,
    transcripts: Sequence[Transcript],
    design: Design,
    found: Probing,
    settings: Settings,
    *,
    n: int,
) -> tuple[list[Claim], list[Section], str | None]:
    """The claim, its table and the outcome in words, with n random directions and half as many of
    dealt speakers; nothing for n = 0, and a claim that says what the texts lack."""
    if not n:
        return [], [], None
    texts = [] if design.format == "chat" else openings(model, transcripts)
    place, missing = _place(found), _missing(texts, found)
    if place is None or None in missing.values():
        return [_untested(found, missing)], [], None
    measured = measure(model, texts, found, place, settings, n=n)
    section = _section(found, measured, settings)
    return [_claim(found, measured, settings)], [section], _words(measured)


def openings(model: TransformerBridge, transcripts: Sequence[Transcript]) -> list[Opening]:
    """The first turns of every transcript that goes on after the skipped ones."""
    found = []
    # sorted: by these numbers the study knows transcripts
    for number, transcript in enumerate(sorted(transcripts, key=lambda t: t.name)):
        turns = transcript.turns[:TURNS]
        if len(turns) <= SKIPPED:
            continue
        talk = plain(dataclasses.replace(transcript, turns=turns))
        encoded = model.tokenizer(talk.text, return_offsets_mapping=True)
        starts, stops = np.array(encoded["offset_mapping"]).T
        first = [np.flatnonzero((starts <= tag) & (tag < stops))[0] for tag, _ in talk.tags]
        ids, speaker, places = encoded["input_ids"], np.array(talk.speakers), np.array(first)
        found.append(
            Opening(
                ids=torch.tensor([ids[: places[-1]]]),
                before=places[SKIPPED:] - 1,
                speaker=speaker[SKIPPED:],
                names=frozenset((int(s), ids[t]) for s, t in zip(speaker, places, strict=True)),
                group=number,
            )
        )
    return found


def _place(found: Probing) -> tuple[int, int] | None:
    """The best depth and role with a direction, after the embedding and before the final norm."""
    percent, score = found.tokens.percent, found.grid.score
    cells = [
        (depth, role)
        for depth, role in found.directions
        if 0 < percent[depth] < 100 and found.grid.cells[role] != "tag"
    ]
    return max(cells, key=lambda cell: score[cell], default=None)


def _names(texts: Sequence[Opening]) -> dict[int, set[int]]:
    """First tokens by which each speaker is named."""
    pairs = {pair for text in texts for pair in text.names}
    return {speaker: {token for s, token in pairs if s == speaker} for speaker, _ in pairs}


def _missing(texts: Sequence[Opening], found: Probing) -> dict[str, bool | None]:
    """What the ablation needs, and None for what is not there."""
    first = list(_names(texts).values())
    apart = len(first) == 2 and all(len(ids) == 1 for ids in first) and first[0] != first[1]
    return {
        f"there are two transcripts or more of over {SKIPPED} turns, in lines of a name and what "
        "is said": len(texts) > 1 or None,
        "there are two speakers": len(found.tokens.classes) == 2 or None,
        "their names begin with different tokens, each always with the same": apart or None,
        "the speakers' means differ at a depth between embedding and final norm": (
            _place(found) is not None or None
        ),
    }


def measure(
    model: TransformerBridge,
    texts: Sequence[Opening],
    found: Probing,
    place: tuple[int, int],
    settings: Settings,
    *,
    n: int,
) -> Ablation:
    """Ablate at one depth the direction of every role that has one there, n random ones and half as
    many of dealt speakers; each transcript is run with directions made from the others."""
    depth, role = place
    tokens, cells = found.tokens, list(found.tokens.cells().values())
    activations, hook = tokens.read(depth).astype(np.float64), tokens.store.hooks[depth]
    named = {name: i for i, name in enumerate(found.grid.cells) if (depth, i) in found.directions}
    rng = np.random.default_rng(settings.seed)
    random = rng.standard_normal((n, activations.shape[1]))
    rows = cells[role]
    dealt = permute_groups(tokens.speaker[rows], tokens.turn[rows], n // 2, rng)
    first = _names(texts)
    (ids,) = zip(first[0], first[1], strict=True)
    before, losses = np.empty(len(texts)), np.empty((len(texts), len(named) + n + n // 2))
    groups = np.array([text.group for text in texts])
    for _, test in grouped_folds(groups, min(settings.n_splits, len(texts)), settings.seed):
        train = ~np.isin(tokens.group, groups[test])
        fitted = [
            mean_difference(activations[r], tokens.speaker[r][None])[0][0]
            for r in (cells[i][train[cells[i]]] for i in named.values())
        ]
        kept = train[rows]
        chance = mean_difference(activations[rows[kept]], dealt[:, kept])[0]
        directions = np.concatenate([fitted, random, chance])
        for number in test:
            text = texts[number]
            before[number] = preference(model, text, ids, nullcontext())
            positions = range(1, text.ids.shape[1])
            for column, direction in enumerate(directions):
                edit = ablate(model, hook, direction, positions=positions)
                losses[number, column] = before[number] - preference(model, text, ids, edit)
    each = np.split(losses.T, [len(named), len(named) + n])
    return Ablation(
        depth=tokens.depths[depth],
        role=found.grid.cells[role],
        before=before,
        roles=dict(zip(named, each[0], strict=True)),
        others={"random directions": each[1], "directions of dealt speakers": each[2]},
        n_tags=sum(len(text.before) for text in texts),
    )


def preference(
    model: TransformerBridge,
    text: Opening,
    names: Sequence[int],
    edit: AbstractContextManager[None],
) -> float:
    """Logit of the right name less that of the other, mean over tags."""
    device = model.cfg.device
    with torch.no_grad(), edit:
        # the vocabulary may be larger than the rest of the model: only these tokens' logits
        logits = model(text.ids.to(device), logits_to_keep=torch.from_numpy(text.before).to(device))
    gap = (logits[0, :, names[1]] - logits[0, :, names[0]]).double().cpu().numpy()
    return float((np.where(text.speaker == 1, 1, -1) * gap).mean())


def _words(measured: Ablation) -> str:
    loss, random = measured.roles[measured.role], measured.others["random directions"].mean(axis=1)
    return (
        f"ablating it at {measured.depth} costs the next tag {loss.mean():.2f} of "
        f"{measured.before.mean():.2f} logits; {len(random)} random directions {random.mean():.2f} "
        f"+- {random.std():.2f}, p {measured.p(measured.role, 'random directions'):.3f}"
    )


def _untested(found: Probing, missing: dict[str, bool | None]) -> Claim:
    null = "none: no intervention was made"
    return Claim.decide(QUESTION, STATEMENT, subject=found.model, null=null, conditions=missing)


def _interval(values: Float[np.ndarray, " transcript"], seed: int) -> tuple[float, float]:
    return bootstrap_interval(
        lambda chosen: float(values[chosen].mean()),
        np.arange(len(values)),
        rng=np.random.default_rng(seed),
    )


def _claim(found: Probing, measured: Ablation, settings: Settings) -> Claim:
    loss = measured.roles[measured.role]
    interval = _interval(loss, settings.seed)
    p = {kind: measured.p(measured.role, kind) for kind in measured.others}
    held = "; ".join(
        f"{len(of)} {kind}: {of.mean():.3f} (sd {of.mean(axis=1).std():.3f}), p {p[kind]:.3f}"
        for kind, of in measured.others.items()
    )
    controls = {"right name less the other, unedited (logits)": measured.before.mean()}
    if "tag" in measured.roles:
        controls["loss under the direction of the tags"] = measured.roles["tag"].mean()
    conditions = {f"p against {kind} <= {ALPHA}": value <= ALPHA for kind, value in p.items()}
    conditions["the interval over transcripts lies above 0"] = interval[0] > 0
    return Claim.decide(
        QUESTION,
        STATEMENT,
        subject=found.model,
        estimate=loss.mean(),
        unit=f"logits lost of the right name less the other, direction of {measured.role} at "
        f"{measured.depth}, {measured.n_tags} tags of {len(loss)} transcripts it was not made from",
        interval=interval,
        null=f"directions of unit length: {held}",
        controls=controls,
        conditions=conditions,
        causal_test=_words(measured),
    )


def _section(found: Probing, measured: Ablation, settings: Settings) -> Section:
    unedited = measured.before.mean()
    rows: list[dict[str, object]] = []
    for role, loss in measured.roles.items():
        low, high = _interval(loss, settings.seed)
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
