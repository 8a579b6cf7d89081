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
5. All of it at several depths, with the same random directions and dealings, so that the depth
   where most is lost is held to the depth where each of the others loses most (max-T).
"""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import BatchEdit, extract
from interp.intervene import intervening
from interp.intervene.edits import Edit
from interp.positions import Aligned
from interp.probes.direction import mean_difference
from interp.stats import grouped_folds, p_among, permutation_test, permute_groups
from interp.store import Activations
from studies.speaker_role.probing import Probing, Settings
from studies.speaker_role.rendering import plain
from studies.speaker_role.transcripts import Transcript

SKIPPED, TURNS = 4, 6
"""Turns at the start whose tags are not asked for, since a reader does not know yet who takes part
and in which order; and turns that are run in all, since every direction costs a run."""


RANDOM, DEALT = "random directions", "directions of dealt speakers"
"""What isotropic directions are called, and differences of means under speakers dealt anew."""


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
        return p_among(self.roles[role].mean(), self.others[kind].mean(axis=1))

    def floor(self, kind: str) -> float:
        """The least p that so many directions of a kind allow."""
        return 1 / (len(self.others[kind]) + 1)


@dataclass(frozen=True)
class Sweep:
    """The same role's direction ablated at several depths, beside the same others at each."""

    at: tuple[Ablation, ...]
    """One ablation a depth."""

    @property
    def lost(self) -> Float[np.ndarray, "depth transcript"]:
        """Loss under the role's own direction."""
        return np.stack([each.roles[each.role] for each in self.at])

    @property
    def best(self) -> int:
        """The depth where most is lost."""
        return int(self.lost.mean(axis=1).argmax())

    def p(self, kind: str) -> float:
        """p of the loss there among those of other directions, family-wise over depths."""
        others = np.stack([each.others[kind].mean(axis=1) for each in self.at], axis=1)
        test = permutation_test(self.lost.mean(axis=1), others)
        return float(test.p_family[self.best])


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


def first_tokens(texts: Sequence[Opening]) -> dict[int, set[int]]:
    """First tokens by which each speaker is named."""
    pairs = {pair for text in texts for pair in text.names}
    return {speaker: {token for s, token in pairs if s == speaker} for speaker, _ in pairs}


def measure(
    model: TransformerBridge,
    texts: Sequence[Opening],
    found: Probing,
    place: tuple[int, int],
    settings: Settings,
    *,
    n: int,
    batch_size: int,
) -> Ablation:
    """Ablate at one depth the direction of every role that has one there, n random ones and as
    many of dealt speakers; each transcript is run with directions made from the others."""
    depth, role = place
    tokens, cells = found.tokens, list(found.tokens.cells().values())
    activations, hook = tokens.read(depth).astype(np.float64), tokens.store.hooks[depth]
    named = {name: i for i, name in enumerate(found.grid.cells) if (depth, i) in found.directions}
    rng = np.random.default_rng(settings.seed)
    random = rng.standard_normal((n, activations.shape[1]))
    rows = cells[role]
    dealt = permute_groups(tokens.speaker[rows], tokens.turn[rows], n, rng)
    first = first_tokens(texts)
    (ids,) = zip(first[0], first[1], strict=True)
    before, lost = np.empty(len(texts)), np.empty((len(texts), len(named) + 2 * n))
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
            before[number], lost[number] = losses(
                model, texts[number], ids, hook, directions, batch_size=batch_size
            )
    each = np.split(lost.T, [len(named), len(named) + n])
    return Ablation(
        depth=tokens.depths[depth],
        role=found.grid.cells[role],
        before=before,
        roles=dict(zip(named, each[0], strict=True)),
        others={RANDOM: each[1], DEALT: each[2]},
        n_tags=sum(len(text.before) for text in texts),
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


def preference(
    model: TransformerBridge,
    text: Opening,
    names: Sequence[int],
    *,
    edit: BatchEdit | None = None,
    n: int = 1,
    batch_size: int = 1,
) -> Float[np.ndarray, " n"]:
    """Logit of the right name less that of the other, mean over tags, in n copies of a text."""
    tags = Aligned(text.ids[0].tolist(), tuple(text.before[:, None]))
    read = extract(
        model,
        [tags] * n,
        hooks=(),
        batch_size=batch_size,
        edit=edit,
        logits=lambda logits: (logits[..., names[1]] - logits[..., names[0]]).double(),
        progress=False,
    )
    assert isinstance(read, Activations) and read.logits is not None
    return (np.where(text.speaker == 1, 1, -1) * read.logits.numpy()).mean(axis=1)
