"""Do the vectors act? Steering along each of them, against random directions of equal length.

1. A dose is a multiple of the texts' standard deviation along the vectors at the chosen block, one
   number for all concepts, so that every direction is added at the same length.
2. After neutral openings ("Everyone could see it was a moment of"), the vector is added at every
   token, and the log-probability of the concept's own word as the next token is read.
3. At a later target block the last token's projection on that block's vector is read. What the
   residual stream carries past the blocks between them, the added vector's own projection, is
   taken away: the rest is what those blocks make of it.
4. The same for random directions, and for vectors fitted to labels dealt within scenarios, which
   lie where activations do: an isotropic direction hardly meets what the model reads. Those are
   read out along their own vectors there, since any difference of means raises its own.
5. The price: how much worse neutral texts are predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from transformer_lens.model_bridge import TransformerBridge

from interp.readout import DoseResponse, effects, fit
from studies.concept_readout.judging import Judged
from studies.concept_readout.running import OPENINGS, generations, losses, openings

DOSES = (-4.0, -2.0, 2.0, 4.0)
"""Multiples of the texts' standard deviation along the vectors."""

NEUTRAL_TEXTS, LOSS_RANDOM = 4, 20
"""Texts on which the price is measured, and random directions that it is held to."""


@dataclass(frozen=True)
class Settings:
    """How steering is judged."""

    directions: int
    """Random directions, and vectors of dealt labels."""
    rows: int
    """Directions per forward pass."""
    seed: int
    """Of the directions."""


@dataclass(frozen=True)
class Steered:
    """What steering does at one block."""

    block: int
    """Where vectors are added."""
    read_block: int | None
    """Where the readout downstream is taken; None if no target block follows."""
    unit: float
    """Length of what a dose of 1 adds, in units of the residual stream."""
    norm: float
    """Mean length of the stream at that block over the neutral texts, the first token left out."""
    words: tuple[str, ...]
    """First token of each concept's word."""
    ambiguous: tuple[str, ...]
    """Concepts whose word begins with the same token as another's, or with a lone space."""
    logprob: Float[np.ndarray, "concepts doses"]
    """Change of the own word's log-probability, mean over openings."""
    random_logprob: Float[np.ndarray, "directions concepts doses"]
    """The same under random directions."""
    word: DoseResponse
    """Slopes of the words against random directions."""
    word_dealt: DoseResponse
    """Slopes of the words against vectors of dealt labels."""
    across: Float[np.ndarray, "concepts concepts"]
    """Slope of every concept's word (column) along every vector (row)."""
    readout: DoseResponse | None
    """Slopes of the readout downstream against random directions, what is carried along taken
    away, in standard deviations of the texts there."""
    readout_dealt: DoseResponse | None
    """The same against vectors of dealt labels."""
    dealt_own: Float[np.ndarray, " directions"] | None
    """Slope of what each vector of dealt labels does to its own readout downstream, in the same
    units: any difference of means raises its own."""
    loss: Float[np.ndarray, " concepts"]
    """Rise of neutral texts' loss per token (nats) at the largest dose."""
    random_loss: Float[np.ndarray, " directions"]
    """The same for random directions."""
    plain: str
    """What the model writes without steering."""
    samples: tuple[str, ...]
    """What it writes under each concept's vector, at the largest dose."""


def run_steering(model: TransformerBridge, judged: Judged, settings: Settings) -> Steered:
    """Steer along every concept's vector at the chosen block, and along as many random ones."""
    rng = np.random.default_rng(settings.seed)
    block = judged.block
    vectors = judged.readouts.at(block).astype(np.float64)
    X = judged.readings.residual(block).astype(np.float64)
    unit = float((X @ vectors.T).std(axis=0).mean())
    random = _unit(rng.standard_normal((settings.directions, vectors.shape[1])))
    labels = _dealt_labels(judged, settings.directions, rng)
    dealt = _of_labels(X, labels)
    later = [b for b in judged.readouts.blocks if b > block]
    read_block = later[0] if later else None
    tokens, ambiguous = _word_tokens(model, judged.readouts.concepts)
    every = np.concatenate([vectors, random, dealt])
    logprob, stream = openings(model, block, read_block, unit * every, DOSES, tokens, settings.rows)
    n, m = len(vectors), len(vectors) + len(random)
    against = (slice(n, m), slice(m, None))
    word = [_held(logprob[:n], logprob[rows], settings.seed) for rows in against]
    readout: list[DoseResponse | None] = [None, None]
    dealt_own = None
    if read_block is not None:
        there = judged.readouts.at(read_block).astype(np.float64)
        made = _made(judged, read_block, stream, unit * every, there)
        readout = [_held(made[:n], made[rows], settings.seed) for rows in against]
        own = _of_labels(judged.readings.residual(read_block).astype(np.float64), labels)
        dealt_made = _made(judged, read_block, stream[m:], unit * dealt, own)
        dealt_own = np.diag(_slopes(dealt_made)).copy()
    priced = DOSES[-1] * unit * np.concatenate([vectors, random[:LOSS_RANDOM]])
    loss, norm = losses(model, block, priced, _neutral(judged), settings.rows)
    plain, *samples = generations(model, block, DOSES[-1] * unit * vectors)
    return Steered(
        block=block,
        read_block=read_block,
        unit=unit,
        norm=norm,
        words=tuple(model.tokenizer.decode([token]) for token in tokens),
        ambiguous=ambiguous,
        logprob=_own(logprob[:n]),
        random_logprob=logprob[n:m].transpose(0, 2, 1),
        word=word[0],
        word_dealt=word[1],
        across=_slopes(logprob[:n]),
        readout=readout[0],
        readout_dealt=readout[1],
        dealt_own=dealt_own,
        loss=loss[:n],
        random_loss=loss[n:],
        plain=plain,
        samples=tuple(samples),
    )


def _held(
    real: Float[np.ndarray, "concepts doses concepts"],
    random: Float[np.ndarray, "directions doses concepts"],
    seed: int,
) -> DoseResponse:
    return effects(np.array(DOSES), _own(real), random.transpose(0, 2, 1), seed=seed)


def _own(
    values: Float[np.ndarray, "concepts doses concepts"],
) -> Float[np.ndarray, "concepts doses"]:
    """What each vector does to its own concept."""
    return np.stack([values[k, :, k] for k in range(len(values))])


def _slopes(values: Float[np.ndarray, "rows doses concepts"]) -> Float[np.ndarray, "rows concepts"]:
    centred = np.array(DOSES) - np.mean(DOSES)
    return np.einsum("rdc,d->rc", values, centred / (centred @ centred))


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _dealt_labels(judged: Judged, n: int, rng: np.random.Generator) -> Bool[np.ndarray, "n texts"]:
    """Concepts that do not exist: a concept's labels dealt anew within every scenario, each with
    texts on both sides."""
    positive, scenario = judged.corpus.positive, judged.corpus.scenario
    places = [np.flatnonzero(scenario == name) for name in np.unique(scenario)]
    labels = positive[rng.integers(len(positive), size=n)]
    for row in labels:
        for rows in places:
            row[rows] = rng.permutation(row[rows])
    return labels


def _of_labels(
    X: Float[np.ndarray, "texts d"], labels: Bool[np.ndarray, "n texts"]
) -> Float[np.ndarray, "n d"]:
    names = [str(number) for number in range(len(labels))]
    return fit([(0, X)], labels, names).at(0).astype(np.float64)


def _neutral(judged: Judged) -> list[str]:
    """Baselines; where there are none, texts of all concepts."""
    corpus = judged.corpus
    baselines = [t for i, t in enumerate(corpus.texts) if not corpus.positive[:, i].any()]
    return (baselines or list(corpus.texts))[:NEUTRAL_TEXTS]


def _word_tokens(
    model: TransformerBridge, concepts: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """The token that begins each concept's word after an opening, and the concepts that it does not
    tell from others: it begins another's word too, or is a lone space."""
    start = model.tokenizer(OPENINGS[0])["input_ids"]
    tokens = [model.tokenizer(f"{OPENINGS[0]} {c}")["input_ids"][len(start)] for c in concepts]
    blank = [token for token in tokens if not model.tokenizer.decode([token]).strip()]
    return tokens, tuple(
        concept
        for concept, token in zip(concepts, tokens, strict=True)
        if tokens.count(token) > 1 or token in blank
    )


def _made(
    judged: Judged,
    read_block: int,
    stream: Float[np.ndarray, "n doses d"],
    vectors: Float[np.ndarray, "n d"],
    there: Float[np.ndarray, "readouts d"],
) -> Float[np.ndarray, "n doses readouts"]:
    """Change of the projection on each vector of `read_block`, without what was added, in standard
    deviations of the texts."""
    spread = (judged.readings.residual(read_block).astype(np.float64) @ there.T).std(axis=0)
    added = np.array(DOSES)[None, :, None] * vectors[:, None]
    return (stream - added) @ there.T / spread
