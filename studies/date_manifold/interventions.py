"""Experiments 5 and 6: does the destination take its label from the source?

Some texts are set apart. A map of the label is fitted at the destination on all others, at the
depth where the destination holds it best, and decodes what the destination holds when one of these
texts is run under an edit. A word stands for its last token, as everywhere in the study.

5. *Patching*: at one depth after another the source word of a text (the receiver) gets the residual
   stream of another text (the donor; `interp.smds.Patching`). The distractor is patched in the same
   way, and the donors are dealt to other receivers.
6. *Turning*: the pattern of the label at the source, fitted on other texts, gives the vector that
   turns the label by some angle (`smds.turning_vectors`). Held against it are random planes, and
   planes fitted to labels dealt to other texts, stretched to the same size.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Complex, Float, Int
from transformer_lens.model_bridge import TransformerBridge

from interp import smds
from interp.claims import Claim, description
from interp.extract import BatchEdit, extract
from interp.intervene import patch, steer
from interp.plots import attention_between, can_be_shown, moved_lines
from interp.positions import align
from interp.report import Figure, Section, Table
from interp.smds import MovedShares, PatchedPairs, Patching, SupervisedMDS, Turning
from interp.stats import permute_groups, r_squared
from interp.store import Store
from interp.study import Part, Subject
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import best_depth

FEWEST_PAIRS = 6
"""Pairs below which donors cannot be dealt anew in enough ways for a 5 % test."""

DEPTHS = 6
"""Depths at which words are patched, the embedding among them."""

DOSES = (-90, -45, 45, 90)
"""Degrees by which the label is turned."""

PLANES = 40
"""Random planes; of dealt labels there are half as many, enough for a 5 % test."""

TURNED, TURNED_BY_OTHERS = 16, 4
"""Receivers that are turned in the label's own plane, and in each of the many other planes."""


class Reader:
    """Runs texts up to one depth and decodes the label at the destination, as complex numbers: the
    angle is that of the label in its cycle, the length 1 where the map is sure."""

    def __init__(
        self,
        model: TransformerBridge,
        store: Store,
        texts: Dataset,
        row: int,
        training: Int[np.ndarray, " text"],
        *,
        alpha: float | int,
        batch_size: int,
    ):
        self.model, self.store, self.texts = model, store, texts
        self.row, self.batch_size = row, batch_size
        self.stored = self.activations(row, texts.destination)
        self.map = SupervisedMDS(texts.shape, alpha=alpha, period=texts.period)
        self.map.fit(self.stored[training], texts.labels[training])

    def activations(self, row: int, word: str) -> Float[np.ndarray, "text d"]:
        """Unedited activations of one depth and word."""
        return self.store.read(self.store.hooks[row])[:, self.store.positions.index(word)]

    def decode(self, activations: Float[np.ndarray, "n d"]) -> Complex[np.ndarray, " n"]:
        """The map's predictions."""
        x, y = self.map.transform(activations).T
        return x + 1j * y

    def places(self, rows: Int[np.ndarray, " n"], word: str) -> Int[np.ndarray, "n 1"]:
        """Position of the word's last token in each text."""
        aligned = align(self.model.tokenizer, [self.texts.samples[row] for row in rows], [word])
        return np.array([[sample.tokens[0][-1]] for sample in aligned])

    def run(
        self, rows: Int[np.ndarray, " n"], edit: BatchEdit = lambda _: nullcontext()
    ) -> Complex[np.ndarray, " n"]:
        """Decoded labels of the texts under an edit."""
        hook = self.store.hooks[self.row]
        activations = extract(
            self.model,
            [self.texts.samples[row] for row in rows],
            hooks=hook,
            positions=self.texts.destination,
            batch_size=self.batch_size,
            edit=edit,
            progress=False,
        )
        return self.decode(activations.read(hook)[:, 0])

    def patched(self, row: int, word: str, pairs: PatchedPairs) -> Complex[np.ndarray, " pair"]:
        """Decoded labels of the receivers, of which a word has the donors' activations."""
        hook, places = self.store.hooks[row], self.places(pairs.receivers, word)
        values = self.activations(row, word)[pairs.donors, None]
        return self.run(
            pairs.receivers,
            lambda batch: patch(self.model, {hook: values[batch]}, positions=places[batch]),
        )

    def turned(
        self,
        row: int,
        word: str,
        planes: Float[np.ndarray, "plane 2 d"],
        rows: Int[np.ndarray, " text"],
        doses: Sequence[int],
    ) -> Complex[np.ndarray, "plane dose text"]:
        """Decoded labels of the texts, turned at a word in each plane by each dose."""
        vectors = smds.turning_vectors(planes, self.texts.angles(rows), doses)
        added = rearrange(vectors, "plane dose text d -> (plane dose text) d").astype(np.float32)
        every = np.tile(rows, len(planes) * len(doses))
        hook, places = self.store.hooks[row], self.places(every, word)
        decoded = self.run(
            every, lambda batch: steer(self.model, {hook: added[batch]}, positions=places[batch])
        )
        return decoded.reshape(len(planes), len(doses), len(rows))


def readable(reader: Reader, pairs: PatchedPairs) -> float:
    """R2 of the map on the texts set apart, unedited: where it is not above 0, there is nothing
    that an edit could move."""
    rows = np.concatenate([pairs.receivers, pairs.donors])
    truth, decoded = np.exp(1j * reader.texts.angles(rows)), reader.decode(reader.stored[rows])
    return float(r_squared(truth[:, None], decoded[:, None]))


def depths_before(row: int) -> tuple[int, ...]:
    """Depths to patch for a destination that is read at `row`: only before it can a word reach
    another one."""
    return tuple(np.linspace(0, row - 1, min(row, DEPTHS)).round().astype(int).tolist())


def patch_words(
    reader: Reader, pairs: PatchedPairs, words: tuple[str, str], rows: Sequence[int]
) -> Patching:
    """Give words of the receivers the donors' activations, at one depth after another."""
    return Patching(
        words=words,
        rows=tuple(rows),
        patched=np.array([[reader.patched(row, w, pairs) for row in rows] for w in words]),
        receiver=reader.run(pairs.receivers),
        donor=reader.decode(reader.stored[pairs.donors]),
        receiver_angle=reader.texts.angles(pairs.receivers),
        donor_angle=reader.texts.angles(pairs.donors),
    )


def turn_words(reader: Reader, pairs: PatchedPairs, row: int, *, planes: int, seed: int) -> Turning:
    """Turn the label at the source and at the destination, and the source in random planes and half
    as many of dealt labels."""
    texts, training = reader.texts, pairs.training
    words, angle = (texts.source, texts.destination), texts.angles(training)
    at = {word: reader.activations(row, word)[training].astype(np.float64) for word in words}
    own = {word: smds.cyclic_pattern(at[word], angle)[None] for word in words}
    receivers = pairs.receivers[:TURNED]
    few, ends = receivers[:TURNED_BY_OTHERS], (DOSES[0], DOSES[-1])
    turned = [reader.turned(row, word, own[word], receivers, DOSES)[0] for word in words]
    plain = reader.run(receivers)

    def slopes(others: Iterable[np.ndarray]) -> np.ndarray:
        same_size = np.array([smds.stretched(plane, own[texts.source][0]) for plane in others])
        edited = reader.turned(row, texts.source, same_size, few, ends)
        return smds.per_degree(smds.turn(edited, plain[: len(few)]), ends)

    rng = np.random.default_rng([seed, 3])
    random = rng.standard_normal((planes, *own[texts.source].shape[1:]))
    dealt = permute_groups(angle, texts.groups[training], planes // 2, rng)
    patterns = (smds.cyclic_pattern(at[texts.source], labels) for labels in dealt)
    return Turning(
        row=row,
        words=words,
        doses=DOSES,
        turned=np.array(turned),
        plain=plain,
        others={"random planes": slopes(random), "planes of dealt labels": slopes(patterns)},
        beside=float(slopes(own[texts.source])[0]),
    )


@dataclass(frozen=True)
class Edited:
    """What the edited runs of one model gave."""

    row: int
    """Depth at which the destination is read, by number."""
    r2: float
    """R2 of the map on texts set apart."""
    shares: MovedShares
    """What patching moves."""
    turning: Turning
    """What turning turns."""


def lacking(subject: Subject, texts: Dataset) -> list[str]:
    """What the texts lack for interventions."""
    pairs = PatchedPairs.draw(texts.groups, subject.config.interventions, seed=subject.config.seed)
    needed = {
        f"{texts.article} that is a cycle": texts.period is not None,
        "a word that is known to have nothing to do with it": texts.distractor is not None,
        f"{FEWEST_PAIRS} pairs or more": len(pairs.donors) >= FEWEST_PAIRS,
    }
    return [name for name, there in needed.items() if not there]


def edited(subject: Subject, texts: Dataset) -> Edited | None:
    """Patching and turning; None where they are left out, or texts do not allow them."""
    config = subject.config
    if not config.interventions or lacking(subject, texts):
        return None
    assert texts.distractor is not None
    pairs = PatchedPairs.draw(texts.groups, config.interventions, seed=config.seed)
    row = best_depth(subject, texts, texts.destination)
    options = {"alpha": config.alpha, "batch_size": config.batch_size}
    reader = Reader(subject.model, subject.residuals, texts, row, pairs.training, **options)
    words = (texts.source, texts.distractor)
    patching = patch_words(reader, pairs, words, depths_before(row))
    turning = turn_words(reader, pairs, patching.deepest_half(), planes=PLANES, seed=config.seed)
    shares = patching.moved(n_permutations=config.permutations, seed=config.seed)
    return Edited(row, readable(reader, pairs), shares, turning)


def outcome(subject: Subject, texts: Dataset) -> str | None:
    """What both did to the destination, in words; None without them."""
    if (result := subject.ask(edited)) is None:
        return None
    return f"{_moved(subject, texts, result.shares)}; {_turned(subject, result.turning)}"


def patching(subject: Subject, texts: Dataset) -> Part:
    """Does patching the source move the label at the destination?"""
    statement = (
        f"How far patching {texts.source} moves the {texts.quantity} decoded at "
        f"{texts.destination}, beyond patching {texts.distractor or 'another word'}."
    )
    if (result := subject.ask(edited)) is None:
        return _untested(subject, texts, statement)
    shares, (source, other) = result.shares, result.shares.patching.words
    return Part(
        claims=[_moves(subject, texts, result, statement)],
        sections=[Section(f"{subject.name}: patching", [_shares(subject, texts, result)])],
        tables={"patching": shares.table(subject.depths).assign(model=subject.name)},
        row={f"share moved by patching {source}, less {other}": shares.excess},
    )


def _question(texts: Dataset) -> str:
    return f"Does {texts.destination} take its {texts.quantity} from {texts.source}?"


def _untested(subject: Subject, texts: Dataset, statement: str) -> Part:
    """The claim that says what is missing; nothing where interventions are left out."""
    if not subject.config.interventions:
        return Part()
    needs = " and ".join(lacking(subject, texts))
    return Part(claims=[description(_question(texts), statement, needs=needs)])


def _moved(subject: Subject, texts: Dataset, shares: MovedShares) -> str:
    source, other = shares.share[:, shares.blocks].mean(axis=1)
    patching = shares.patching
    names = [subject.depths[row] for row in np.array(patching.rows)[shares.blocks]]
    return (
        f"patching {patching.words[0]} ({len(patching.receiver)} pairs, mean over {len(names)} "
        f"depths from {names[0]} to {names[-1]}) moves the {texts.quantity} decoded at "
        f"{texts.destination} by {source:.2f} of the way to the donor's, patching "
        f"{patching.words[1]} by {other:.2f}"
    )


def _moves(subject: Subject, texts: Dataset, result: Edited, statement: str) -> Claim:
    shares, patching = result.shares, result.shares.patching
    source, distractor = patching.words
    assert texts.period is not None
    # at the embedding the word itself is replaced, which always moves what is read after it
    p = float(shares.test.p_family[0, 1:].min(initial=1.0))
    before = patching.distance(patching.receiver) * texts.period
    after = patching.distance(patching.patched) * texts.period
    first, last = (subject.depths[patching.rows[end]] for end in (0, -1))
    return description(
        _question(texts),
        statement,
        estimate=shares.excess if result.r2 > 0 else None,
        unit=f"share of the way to the donor's {texts.quantity}, less that of {distractor}, mean "
        f"over {shares.blocks.sum()} depths, as a decoder reads it at {subject.depths[result.row]}",
        null=f"{len(shares.null)} deals of the donors to other receivers, max-T over words and "
        f"depths after the embedding: p {p:.3f}",
        exchange=f"pair of texts ({len(patching.receiver)})",
        needs="" if result.r2 > 0 else "a map that reads unedited texts (R2 above 0)",
        controls={
            f"share of {source} at {first}": shares.share[0, 0],
            f"share of {source} at {last}": shares.share[0, -1],
            f"largest share of {distractor}": shares.share[1].max(),
            f"median distance from the donor's, unedited ({texts.unit})": before,
            f"the same with {source} patched at {first}": after[0, 0],
            f"R2 of the map on the {2 * len(patching.receiver)} texts set apart": result.r2,
        },
        causal_test=_moved(subject, texts, shares),
    )


def _shares(subject: Subject, texts: Dataset, result: Edited) -> Figure:
    patching = result.shares.patching
    title = f"Whose {texts.quantity} does {texts.destination} hold?"
    return Figure(
        moved_lines(result.shares, subject.depths, title=title),
        f"{len(patching.receiver)} texts got another text's activations at one word and depth; "
        f"{texts.destination} is read at {subject.depths[result.row]} by a map fitted on other "
        f"texts. Where the curve of {patching.words[0]} falls, the {texts.quantity} has gone on to "
        "other words. Bands: 95 %, simultaneous over both words' depths; of dealt donors, 95 % of "
        "the deals.",
    )


def turning(subject: Subject, texts: Dataset) -> Part:
    """Does turning the label in its plane turn what the destination holds?"""
    statement = (
        f"How far turning {texts.source} in its plane turns the {texts.quantity} decoded at "
        f"{texts.destination}."
    )
    if (result := subject.ask(edited)) is None:
        return _untested(subject, texts, statement)
    turning, table = result.turning, result.turning.table(subject.depths)
    caption = (
        f"Vectors added to {len(turning.plain)} texts at {subject.depths[turning.row]}; the "
        f"{texts.quantity} decoded at {texts.destination}, {subject.depths[result.row]}, by a map "
        "fitted on other texts; intervals over texts. Of other planes mean and sd, over "
        f"{TURNED_BY_OTHERS} texts."
    )
    title = f"{subject.name}: turning the {texts.quantity}"
    return Part(
        claims=[_turns(subject, texts, result, statement)],
        sections=[Section(title, [Table(table, caption)])],
        tables={"turning": table.assign(model=subject.name)},
        row={f"degrees turned per degree at {texts.source}": turning.slope()[0]},
    )


def _turned(subject: Subject, turning: Turning) -> str:
    largest = turning.doses[-1]
    random = largest * turning.others["random planes"]
    return (
        f"turning {turning.words[0]} by {largest} degrees in its plane at "
        f"{subject.depths[turning.row]} turns it by {turning.degrees()[0, -1]:.0f} (random planes "
        f"by {random.mean():.0f} +- {random.std():.0f})"
    )


def _turns(subject: Subject, texts: Dataset, result: Edited, statement: str) -> Claim:
    turning, slope = result.turning, result.turning.slope()
    others = ", ".join(
        f"{len(slopes)} {kind} {slopes.mean():.3f} (sd {slopes.std():.3f}), p {turning.p(kind):.3f}"
        for kind, slopes in turning.others.items()
    )
    return description(
        _question(texts),
        statement,
        estimate=slope[0] if result.r2 > 0 else None,
        unit=f"degrees per degree, added at {subject.depths[turning.row]}, as a decoder reads it "
        f"at {subject.depths[result.row]}",
        null=f"other planes of the same size: {others}",
        exchange=f"plane ({sum(map(len, turning.others.values()))} others)",
        needs="" if result.r2 > 0 else "a map that reads unedited texts (R2 above 0)",
        controls={
            f"the own plane over the same {TURNED_BY_OTHERS} texts": turning.beside,
            f"the pattern of {texts.destination} added at {texts.destination}": slope[1],
        },
        causal_test=_turned(subject, turning),
    )


def attention(subject: Subject, texts: Dataset) -> Part:
    """Where does the destination attend?"""
    model = subject.model
    sample = next((s for s in texts.samples if can_be_shown(model, s.text)), None)
    title = f"{subject.name}: attention"
    if sample is None:
        return Part(sections=[Section(title, ["Every text is too long for a picture of it."])])
    (aligned,) = align(model.tokenizer, [sample], [texts.source, texts.destination])
    source, destination = (int(tokens[-1]) for tokens in aligned.tokens)
    view = attention_between(model, sample.text, destination, [source])
    caption = (
        f"Attention patterns of one text in block {view.block}, which holds the head that attends "
        f"most from {texts.destination} to {texts.source}; heads stand in the order of that "
        "attention."
    )
    return Part(sections=[Section(f"{title} of block {view.block}", [Figure(view, caption)])])
