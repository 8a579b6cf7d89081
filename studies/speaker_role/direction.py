"""Is it one direction, and does the model use it? The difference of means, erased and ablated.

The difference of means is set beside the probe, applied at other depths and roles, and erased
(`linear`). Then it is ablated (`ablated`):

1. The direction is the difference of the speakers' means, at the depth and role where a probe finds
   the speaker best (of those a later block can still use), made from training transcripts.
2. In the other transcripts, as they were written, it is projected out of the residual stream at
   every token but the first, attention's sink (directional ablation, Arditi et al. 2024).
3. At the token before each next tag: logit of the right name less logit of the other, each by its
   first token. What this loses, mean over turns, is what the direction was worth.
4. The same for random directions, and for differences of means under speakers dealt anew to turns,
   which lie where activations do. The directions of other roles show the scale: that of the tags
   holds the names themselves.
5. All of it at several depths, with the same random directions and dealings, so that the depth
   where most is lost is held to the depth where each of the others loses most (max-T).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from interp.claims import LEVEL, Claim, description, finding
from interp.intervene import Edit, intervening
from interp.plots import Scale
from interp.probes import (
    Ablation,
    Erasure,
    Sweep,
    Transfer,
    erasure_test,
    mean_difference,
    means_coincide,
    transfer_matrix,
    unit_means,
)
from interp.report import Figure, Section, Table
from interp.selection import best_of
from interp.stats import grouped_folds, permute_groups
from interp.study import Part, Subject
from studies.speaker_role.data import SKIPPED, Opening, Sources, first_tokens, openings
from studies.speaker_role.probing import (
    FEWEST_GROUPS,
    directions,
    folds,
    of_directions,
    probes,
    role_map,
)
from studies.speaker_role.tokens import preference

LINEAR = "Linear or diffuse?"
USED = "Does the model use it?"
STATEMENT = (
    "Ablating the speaker's direction costs the next tag's logits more than other directions do."
)

FEWEST_SHARED = 4
"""Turns with all roles below which directions of roles are not compared."""

RANDOM, DEALT = "random directions", "directions of dealt speakers"
"""What isotropic directions are called, and differences of means under speakers dealt anew."""

SHORT = {RANDOM: "random", DEALT: "dealt"}
"""Other directions, as short as a column's name has to be."""


def erased(subject: Subject, sources: Sources) -> Erasure | None:
    """Probes at the best cell before and after the direction of other texts is erased; None for
    more than two speakers, or too few groups of both."""
    probed = subject.ask(probes)
    rows = probed.tokens
    if len(rows.classes) != 2:
        return None
    cell = rows.cells()[probed.role]
    X, speaker, config = rows.read(probed.best[0])[cell], rows.speaker[cell], subject.config
    return erasure_test(X, speaker, groups=rows.group[cell], C=config.C, seed=config.seed)


def transfers(subject: Subject, sources: Sources) -> dict[str, Transfer]:
    """Directions of two speakers applied at other places, by what is said of them.

    That of the best role at one depth is applied at others, where the speakers' means differ. That
    of one role is applied at others at the best depth, means per turn, where turns have all roles.
    """
    probed, applied = subject.ask(probes), {}
    rows, (depth, _) = probed.tokens, probed.best
    cell = rows.cells()[probed.role]
    at_depths = {name: activations[cell] for name, activations in rows.blocks()}
    speaker = rows.speaker[cell]
    places = {name: X for name, X in at_depths.items() if not means_coincide(X, speaker)}
    if len(places) > 1:
        applied[f"The direction of {probed.role} at other depths"] = transfer_matrix(
            places, speaker, groups=rows.group[cell], **folds(subject)
        )
    means, first = unit_means(rows.read(depth), rows.cells(), rows.turn)
    if len(first) >= FEWEST_SHARED:
        title = f"The direction of one role at others, {rows.depths[depth]}, means per turn"
        applied[title] = transfer_matrix(
            means, rows.speaker[first], groups=rows.group[first], **folds(subject)
        )
    return applied


def linear(subject: Subject, sources: Sources) -> Part:
    """Is it one direction, and does that direction hold everything?"""
    probed, after = subject.ask(probes), subject.ask(erased)
    direction = subject.ask(directions).get(probed.best)
    beside = description(
        LINEAR,
        "How the difference of means does beside the whole probe.",
        estimate=None if direction is None else direction.accuracy,
        unit=f"balanced accuracy of the direction at {probed.where}",
        null=f"the probe's score, {probed.score:.3f}. Both are one direction: the probe weighs "
        "features by their noise, the difference of means does not",
        controls={} if direction is None else {"cosine between folds": direction.stability},
        needs="two speakers whose means differ" if direction is None else "",
        causal_test=subject.ask(outcome),
    )
    without = description(
        LINEAR,
        "What a probe tells after the direction that tells speakers in other texts is erased.",
        estimate=None if after is None else after.after,
        unit=f"balanced accuracy at {probed.where}; eraser (LEACE), probe and score on a third of "
        "the groups each",
        null="0.5 where one direction, the same in all texts, holds all there is, and a third of "
        "them suffices to find it",
        controls={} if after is None else {"before": after.before},
        needs="" if after else "two speakers in three groups of texts",
    )
    figures = _figures(subject) if subject.ask(directions) else []
    return Part(
        claims=[beside, without],
        sections=[Section(f"{subject.name}: one direction", figures)] if figures else [],
        row={"one direction": np.nan if direction is None else direction.accuracy},
    )


def _figures(subject: Subject) -> list[Figure]:
    probed = subject.ask(probes)
    accuracy = role_map(
        probed,
        of_directions(subject, "accuracy"),
        "One direction: difference of means, held-out balanced accuracy",
        Scale("balanced accuracy", high=1, reference={"chance": probed.grid.chance}),
    )
    title = "Stability of the direction: mean cosine between folds"
    stability = of_directions(subject, "stability")
    return [
        Figure(
            accuracy,
            "Direction and threshold come from the training transcripts. Where this equals the "
            "probe, one direction suffices; where it falls short, the probe combines several.",
        ),
        Figure(
            role_map(probed, stability, title, Scale("cosine", 0, 1)),
            "Directions of different folds share most of their transcripts, so even noise does "
            "not stand at 0; a low value says that there is no direction to speak of.",
        ),
        *(
            Figure(
                transfer.plot(title),
                "Fitted on training transcripts at the row's place, applied to held-out ones at "
                "the column's; .5 is chance, below it the direction is turned round.",
            )
            for title, transfer in subject.ask(transfers).items()
        ),
    ]


# --- does the model use it ----------------------------------------------------------------------


def ablated(subject: Subject, sources: Sources) -> Part:
    """Does the next speaker's tag need the speaker's direction?"""
    if not subject.config.ablations:
        return Part()
    swept = subject.ask(sweep)
    if swept is None:
        return Part(claims=[_untested(subject)])
    before = swept.at[0].before
    caption = (
        f"Before a tag the right name leads the other by {before.mean():.2f} logits, transcripts "
        "as written. Each direction is projected out at every token but the first. Intervals over "
        f"{len(before)} transcripts; p per role and depth, uncorrected; dealt speakers are those "
        f"of {swept.at[0].role}. The direction of the tags holds the names themselves: it shows "
        "how much there is to lose."
    )
    title = f"{subject.name}: what the next tag loses without the direction"
    return Part(
        claims=[_claim(swept, sources.changes, subject.ask(outcome))],
        sections=[Section(title, [Table(swept.table(SHORT), caption)])],
    )


def outcome(subject: Subject, sources: Sources) -> str | None:
    """What the ablation showed, in words; None where none was made."""
    swept = subject.ask(sweep)
    if swept is None:
        return None
    best = swept.at[swept.best]
    random = best.others[RANDOM].mean(axis=1)
    return (
        f"ablating it at {best.depth}, of {len(swept.at)} depths the one where most is lost, "
        f"costs the next tag {best.roles[best.role].mean():.2f} of {best.before.mean():.2f} "
        f"logits; {len(random)} random directions {random.mean():.2f} +- {random.std():.2f}, p "
        f"{swept.p(RANDOM):.3f}"
    )


def sweep(subject: Subject, sources: Sources) -> Sweep | None:
    """The direction of the best role ablated at its own depth and those nearest to a quarter, a
    half and three quarters: where a speaker is told best he need not be used.

    None where no ablation was asked for, or texts lack what it needs.
    """
    if not subject.config.ablations or None in subject.ask(requirements).values():
        return None
    best, percent = subject.ask(place), subject.ask(probes).tokens.percent
    assert best is not None  # as `requirements` says
    rows = [d for d, role in subject.ask(directions) if role == best[1] and 0 < percent[d] < 100]
    nearest = {min(rows, key=lambda row: abs(percent[row] - at)) for at in (25, 50, 75)}
    return Sweep(tuple(measure(subject, (d, best[1])) for d in sorted(nearest | {best[0]})))


def place(subject: Subject, sources: Sources) -> tuple[int, int] | None:
    """The best depth and role with a direction, after the embedding and before the final norm."""
    probed = subject.ask(probes)
    percent, grid = probed.tokens.percent, probed.grid
    cells = [
        (depth, role)
        for depth, role in subject.ask(directions)
        if 0 < percent[depth] < 100 and grid.cells[role] != "tag"
    ]
    return max(cells, key=lambda cell: grid.score[cell], default=None)


def requirements(subject: Subject, sources: Sources) -> dict[str, bool | None]:
    """What the ablation needs, and None for what is not there."""
    texts = subject.ask(openings)
    first = list(first_tokens(texts).values())
    differ = len(first) == 2 and all(len(ids) == 1 for ids in first) and first[0] != first[1]
    return {
        f"two plain transcripts or more of over {SKIPPED} turns": len(texts) > 1 or None,
        "two speakers": len(subject.ask(probes).tokens.classes) == 2 or None,
        "names that begin with different tokens, each always with the same": differ or None,
        "speakers whose means differ at a depth between embedding and final norm": (
            subject.ask(place) is not None or None
        ),
    }


def _untested(subject: Subject) -> Claim:
    lacking = [name for name, there in subject.ask(requirements).items() if not there]
    exchange = "direction, and transcript"
    return finding(USED, STATEMENT, tests={}, exchange=exchange, needs=" and ".join(lacking))


def _claim(swept: Sweep, changes: float, outcome: str | None) -> Claim:
    best = swept.at[swept.best]
    loss, tag = best.roles[best.role], best.roles.get("tag")
    p = {kind: swept.p(kind) for kind in best.others}
    others = "; ".join(
        f"{len(of)} {kind}: {of.mean():.3f} (sd {of.mean(axis=1).std():.3f}), p {p[kind]:.3f}"
        for kind, of in best.others.items()
    )
    controls = {
        "right name less the other, unedited (logits)": best.before.mean(),
        "turns that change the speaker (%): where all do, who speaks says who comes next": changes,
    }
    if tag is not None:
        controls["loss under the direction of the tags"] = tag.mean()
    few = len(loss) < FEWEST_GROUPS
    costs = None if tag is None or few else bool(best_of(tag[:, None]).p[0] <= LEVEL)
    return finding(
        USED,
        STATEMENT,
        estimate=loss.mean(),
        unit=f"logits lost of the right name less the other, direction of {best.role} at "
        f"{best.depth}, {best.n_answers} tags of {len(loss)} transcripts it was not made from",
        interval=None if few else _interval(swept),
        null=f"directions of unit length: {others}",
        exchange=f"direction, and transcript ({len(loss)})",
        selection=f"the depth, of {len(swept.at)}, by what is lost: p and limits hold for the best "
        "of all of them (max-T); the role, by the probes of other texts",
        controls=controls,
        tests={kind: (value, best.floor(kind)) for kind, value in p.items()},
        # where the names' own direction costs nothing at this depth, no direction could
        conditions={"the direction of the tags themselves costs logits there": costs or None},
        causal_test=outcome,
    )


def _interval(swept: Sweep) -> tuple[float, float]:
    """Limits of the loss at the depth where it is largest, its choice included."""
    limits = best_of(swept.lost.T)
    return float(limits.low[swept.best]), float(limits.high[swept.best])


# --- how it is measured -------------------------------------------------------------------------


def measure(subject: Subject, cell: tuple[int, int]) -> Ablation:
    """Ablate at one depth the direction of every role that has one there, random ones and as many
    of dealt speakers; each transcript is run with directions made from the others."""
    rows, (depth, role), config = subject.ask(probes).tokens, cell, subject.config
    texts, groups = subject.ask(openings), np.array([text.group for text in subject.ask(openings)])
    activations = rows.read(depth).astype(np.float64)
    fitted = {name for d, name in subject.ask(directions) if d == depth}
    cells = {n: c for i, (n, c) in enumerate(rows.cells().items()) if i in fitted}
    name = list(rows.cells())[role]
    rng, n = np.random.default_rng(config.seed), config.ablations
    random = rng.standard_normal((n, activations.shape[1]))
    dealt = permute_groups(rows.speaker[cells[name]], rows.turn[cells[name]], n, rng)
    (ids,) = zip(*(first_tokens(texts)[speaker] for speaker in (0, 1)), strict=True)
    before, lost = np.empty(len(texts)), np.empty((len(texts), len(cells) + 2 * n))
    n_splits = min(folds(subject)["n_splits"], len(texts))
    for _, test in grouped_folds(groups, n_splits, config.seed):
        train = ~np.isin(rows.group, groups[test])
        own = [
            mean_difference(activations[r], rows.speaker[r][None])[0][0]
            for r in (c[train[c]] for c in cells.values())
        ]
        inside = train[cells[name]]
        chance = mean_difference(activations[cells[name][inside]], dealt[:, inside])[0]
        vectors = np.concatenate([own, random, chance])
        for number in test:
            before[number], lost[number] = losses(
                subject.model,
                texts[number],
                ids,
                rows.store.hooks[depth],
                vectors,
                batch_size=config.batch_size,
            )
    by_role, by_random, by_dealt = np.split(lost.T, [len(cells), len(cells) + n])
    return Ablation(
        depth=rows.depths[depth],
        role=name,
        before=before,
        roles=dict(zip(cells, by_role, strict=True)),
        others={RANDOM: by_random, DEALT: by_dealt},
        n_answers=sum(len(text.before) for text in texts),
    )


def losses(
    model: TransformerBridge,
    text: Opening,
    names: Sequence[int],
    hook: str,
    directions: Float[np.ndarray, "direction d"],
    *,
    batch_size: int,
) -> tuple[float, Float[np.ndarray, " direction"]]:
    """The preference for the right name, and what each direction's ablation takes from it."""
    axes, positions = torch.from_numpy(directions), range(1, text.ids.shape[1])

    def edit(rows: np.ndarray) -> AbstractContextManager[None]:
        return intervening(model, {hook: _without(axes[rows])}, positions=positions)

    plain = preference(model, text, names)
    edited = preference(model, text, names, edit=edit, n=len(directions), batch_size=batch_size)
    return float(plain[0]), plain - edited


def _without(directions: Float[torch.Tensor, "row d"]) -> Edit:
    """Directional ablation as `interp.intervene.ablate` does it, of another direction in each
    row: a pass of one short text would mostly wait for the weights."""

    def edit(stream: torch.Tensor) -> torch.Tensor:
        wide = stream.to(torch.promote_types(stream.dtype, torch.float32))
        axes = (directions / directions.norm(dim=1, keepdim=True)).to(wide)
        along = einsum(wide, axes, "row position d, row d -> row position")
        return wide - einsum(along, axes, "row position, row d -> row position d")

    return edit
