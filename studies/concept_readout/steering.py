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

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import mannwhitneyu

from interp import study
from interp.alignment import OK, PairingScores, pairing_test
from interp.claims import Claim, description, finding
from interp.plots import Axis, Scale, heatmap, lines
from interp.readout import DoseResponse, dealt_labels, effects, fit
from interp.report import Figure, Section, Table
from interp.stats import interval
from studies.concept_readout.corpus import Corpus
from studies.concept_readout.passes import (
    OPENINGS,
    STORY,
    generations,
    losses,
    openings,
    word_tokens,
)
from studies.concept_readout.vectors import Vectors, fit_vectors, listed, named

QUESTION = "Do the vectors act?"

DOSES = (-4.0, -2.0, 2.0, 4.0)
"""Multiples of the texts' standard deviation along the vectors."""

NEUTRAL_TEXTS, LOSS_RANDOM = 4, 20
"""Texts on which the price is measured, and random directions that it is held to."""

SHOWN = 6
"""Concepts whose dose response is drawn: more curves cannot be told apart."""


@dataclass(frozen=True)
class Downstream:
    """What the blocks up to a later one make of an added vector, in standard deviations of the
    texts there per dose; what the stream carries along is taken away."""

    block: int
    """Where it is read."""
    readout: DoseResponse
    """Each concept's vector on its own readout, against random directions."""
    readout_dealt: DoseResponse
    """The same against vectors of dealt labels."""
    dealt_own: Float[np.ndarray, " directions"]
    """Slope of each vector of dealt labels on its own readout: any difference of means raises its
    own."""


@dataclass(frozen=True)
class Steered:
    """What adding each concept's vector at the chosen block does."""

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
    """Change of every word's under random directions."""
    word: DoseResponse
    """Slopes of the words against random directions."""
    word_dealt: DoseResponse
    """Slopes of the words against vectors of dealt labels."""
    across: Float[np.ndarray, "concepts concepts"]
    """Slope of every concept's word (column) along every vector (row)."""
    downstream: Downstream | None
    """The readout at the next target block; None if no target block follows."""
    loss: Float[np.ndarray, " concepts"]
    """Rise of neutral texts' loss per token (nats) at the largest dose."""
    random_loss: Float[np.ndarray, " directions"]
    """The same for random directions."""
    samples: tuple[str, ...]
    """What the model writes without steering, then under each concept's vector at the largest
    dose."""


def steer_by_vectors(subject: study.Subject, corpus: Corpus) -> Steered:
    """Steer along every concept's vector at the chosen block, and along as many random ones."""
    model, config, fitted = subject.model, subject.config, subject.ask(fit_vectors)
    rng = np.random.default_rng(config.seed)
    block = fitted.block
    units = fitted.readouts.at(block).astype(np.float64)
    X = fitted.readings.residual(block)
    unit = float(fitted.readouts.apply(X, block).std(axis=0).mean())
    random = rng.standard_normal((config.directions, units.shape[1]))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    labels = dealt_labels(corpus.positive, corpus.scenario, config.directions, rng=rng)
    added = unit * np.concatenate([units, random, _fitted_to(labels, X)])
    later = [b for b in fitted.readouts.blocks if b > block]
    read_block = later[0] if later else None
    tokens, ambiguous = word_tokens(model, corpus.concepts)
    logprob, stream = openings(model, block, read_block, added, DOSES, tokens, config.rows)
    n, m = len(units), len(units) + len(random)
    downstream = None
    if read_block is not None:
        downstream = _downstream(fitted, read_block, stream, added, labels, config.seed)
    priced = DOSES[-1] * added[: n + LOSS_RANDOM]
    loss, norm = losses(model, block, priced, _neutral(corpus), config.rows)
    return Steered(
        unit=unit,
        norm=norm,
        words=tuple(model.tokenizer.decode([token]) for token in tokens),
        ambiguous=ambiguous,
        logprob=_own(logprob[:n]),
        random_logprob=logprob[n:m].transpose(0, 2, 1),
        word=_response(logprob[:n], logprob[n:m], config.seed),
        word_dealt=_response(logprob[:n], logprob[m:], config.seed),
        across=_slopes(logprob[:n]),
        downstream=downstream,
        loss=loss[:n],
        random_loss=loss[n:],
        samples=tuple(generations(model, block, DOSES[-1] * added[:n])),
    )


def _downstream(
    fitted: Vectors,
    block: int,
    stream: Float[np.ndarray, "n doses d"],
    added: Float[np.ndarray, "n d"],
    labels: Bool[np.ndarray, "directions texts"],
    seed: int,
) -> Downstream:
    """Effects on the readouts of a later block, from the change of its stream under every added
    vector: concepts', random ones, and those of dealt labels."""
    X = fitted.readings.residual(block).astype(np.float64)
    n, m = len(fitted.readouts.concepts), len(added) - len(labels)
    written = _written(X, stream, added, fitted.readouts.at(block).astype(np.float64))
    dealt = _written(X, stream[m:], added[m:], _fitted_to(labels, X))
    return Downstream(
        block=block,
        readout=_response(written[:n], written[n:m], seed),
        readout_dealt=_response(written[:n], written[m:], seed),
        dealt_own=np.diag(_slopes(dealt)).copy(),
    )


def _written(
    X: Float[np.ndarray, "texts d"],
    stream: Float[np.ndarray, "n doses d"],
    added: Float[np.ndarray, "n d"],
    readouts: Float[np.ndarray, "readouts d"],
) -> Float[np.ndarray, "n doses readouts"]:
    """Change of the projection on each readout, without what was added, in standard deviations of
    the texts."""
    spread = (X @ readouts.T).std(axis=0)
    carried = np.array(DOSES)[None, :, None] * added[:, None]
    return (stream - carried) @ readouts.T / spread


def _response(
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


def _fitted_to(
    labels: Bool[np.ndarray, "n texts"], X: Float[np.ndarray, "texts d"]
) -> Float[np.ndarray, "n d"]:
    names = [str(number) for number in range(len(labels))]
    return fit([(0, X)], labels, names).at(0).astype(np.float64)


def _neutral(corpus: Corpus) -> list[str]:
    """Baselines; where there are none, texts of all concepts."""
    baselines = [t for i, t in enumerate(corpus.texts) if not corpus.positive[:, i].any()]
    return (baselines or list(corpus.texts))[:NEUTRAL_TEXTS]


def acting(subject: study.Subject, _: Corpus) -> study.Part:
    """Do the vectors act?"""
    if not subject.config.directions:
        return study.Part()
    fitted, steered = subject.ask(fit_vectors), subject.ask(steer_by_vectors)
    return study.Part(
        claims=[
            _own_word(fitted, steered),
            _own_readout(fitted, steered.downstream),
            _price(fitted, steered),
        ],
        sections=[
            Section(
                f"{subject.name}: steering",
                [_doses(fitted, steered), _effects(fitted, steered), _across(fitted, steered)],
            ),
            Section(f"{subject.name}: in its own words", [_samples(fitted, steered)]),
        ],
    )


def _own_word(fitted: Vectors, steered: Steered) -> Claim:
    """Held to vectors exchanged among the concepts: directions in general may move a word."""
    n, across = len(fitted.readouts.concepts), steered.across
    test = pairing_test(PairingScores(across, resolution=1e-9 * np.abs(across).max(), status=OK))
    best = int((across.argmax(axis=0) == np.arange(n)).sum())
    controls = {
        "words raised most by their own vector": f"{best} of {n}",
        "against random directions": named(fitted.readouts.concepts, steered.word.raised()),
        "length of the largest dose": f"{DOSES[-1] * steered.unit:.3g} in a stream of "
        f"{steered.norm:.3g}",
    }
    if steered.ambiguous:
        controls["words that begin alike"] = ", ".join(steered.ambiguous)
    return finding(
        QUESTION,
        "Steering along a concept's vector makes its own word likelier than other concepts' "
        "vectors do.",
        estimate=test.matched - test.expected,
        unit=f"of log-probability per dose above vectors exchanged among the concepts, at "
        f"{fitted.where}",
        null=f"vectors exchanged among {n} concepts: mean {test.expected:.3g} (sd {test.sd:.2g})",
        exchange=f"concept ({n})",
        tests={"vectors exchanged among the concepts": test.p},
        controls=controls,
    )


def _own_readout(fitted: Vectors, downstream: Downstream | None) -> Claim:
    statement = (
        "What the next blocks make of an added vector raises the concept's own readout, more than "
        "for concepts that do not exist."
    )
    n = len(fitted.readouts.concepts)
    exchange = f"concept ({n})"
    if downstream is None:
        needs = f"a target block after {fitted.where}"
        return finding(QUESTION, statement, tests={}, exchange=exchange, needs=needs)
    own, dealt = downstream.readout.slope, downstream.dealt_own
    p = float(mannwhitneyu(own, dealt, alternative="greater").pvalue)
    above = int((own > np.quantile(dealt, 0.95)).sum())
    return finding(
        QUESTION,
        statement,
        estimate=float(np.median(own) - np.median(dealt)),
        unit=f"standard deviations of the texts per dose, read at block {downstream.block}, "
        "median of concepts less that of dealt labels; what the stream carries along is taken away",
        null=f"{len(dealt)} vectors of labels dealt within scenarios, each on its own readout: "
        f"median {np.median(dealt):.3g}, of the concepts {np.median(own):.3g}",
        exchange=exchange,
        tests={"dealt labels on their own readout": p},
        controls={"beyond 95 % of dealt labels": f"{above} of {n}"},
    )


def _price(fitted: Vectors, steered: Steered) -> Claim:
    concepts, bar = fitted.readouts.concepts, float(np.quantile(steered.random_loss, 0.95))
    return description(
        QUESTION,
        "What steering costs neutral texts.",
        estimate=float(np.median(steered.loss)),
        unit="nats per token at the largest dose, median over concepts",
        null=f"{len(steered.random_loss)} random directions of equal length: median "
        f"{np.median(steered.random_loss):.3g}, 95 % below {bar:.3g}",
        controls={
            "of each": listed(concepts, steered.loss),
            "dearer": named(concepts, steered.loss > bar),
        },
    )


def _doses(fitted: Vectors, steered: Steered) -> Figure:
    strongest = np.argsort(-steered.word.slope)[:SHOWN]
    series = {fitted.readouts.concepts[k]: _with_zero(steered.logprob[k]) for k in strongest}
    pooled = steered.random_logprob.reshape(-1, len(DOSES))
    low, high = interval(pooled)
    series["random directions"] = _with_zero(pooled.mean(axis=0))
    figure = lines(
        series,
        _with_zero(np.array(DOSES)).tolist(),
        title=f"Steering at {fitted.where}: log-probability of the concept's word",
        x_title="dose, in standard deviations of the texts along the vectors",
        y_title="change in nats",
        bands={"random directions": (_with_zero(low), _with_zero(high))},
    )
    return Figure(
        figure,
        f"Mean over {len(OPENINGS)} neutral openings such as {OPENINGS[0]!r}. The {len(strongest)} "
        "strongest concepts, every dose; the band holds 95 % of random directions of equal length, "
        f"over all words. A dose of 1 has length {steered.unit:.3g} in a stream of "
        f"{steered.norm:.3g}.",
    )


def _with_zero(values: Float[np.ndarray, " doses"]) -> Float[np.ndarray, " more"]:
    return np.insert(values, len(values) // 2, 0.0)


def _effects(fitted: Vectors, steered: Steered) -> Table:
    bar = np.quantile(steered.random_loss, 0.95)
    columns: dict[str, object] = {
        "concept": fitted.readouts.concepts,
        "word": [word.strip() for word in steered.words],
        "slope": steered.word.slope,
        "p": steered.word.test.p,
        "corrected": steered.word.test.p_family,
        "dealt": steered.word_dealt.test.p_family,
        "acts": np.where(steered.word.raised(), "yes", "no").tolist(),
    }
    if steered.downstream is not None:
        columns |= {
            "readout": steered.downstream.readout.slope,
            "corrected ": steered.downstream.readout.test.p_family,
            "dealt ": steered.downstream.readout_dealt.test.p_family,
        }
    columns["loss"] = steered.loss
    return Table(
        pd.DataFrame(columns),
        "Slope: nats of the word's log-probability per unit of dose; p: two-sided, against "
        f"{len(steered.word.random)} random directions, then corrected over concepts, then against "
        "as many vectors of dealt labels. Readout: what the blocks up to the next target make of "
        "the vector, in standard deviations there per dose. Loss: nats per token that neutral "
        f"texts lose at the largest dose; 95 % of random directions stay below {bar:.3g}.",
    )


def _across(fitted: Vectors, steered: Steered) -> Figure:
    figure = heatmap(
        steered.across,
        Axis(fitted.readouts.concepts, "vector"),
        Axis([word.strip() for word in steered.words], "word"),
        title="What each vector does to each word",
        scale=Scale("nats per dose", midpoint=0),
    )
    return Figure(
        figure,
        "Slope of every word's log-probability along every vector. A bright diagonal alone is a "
        "concept of its own; a bright block is a feeling that several names share.",
    )


def _samples(fitted: Vectors, steered: Steered) -> Table:
    written = {"vector": ["none", *fitted.readouts.concepts], "the model goes on": steered.samples}
    return Table(
        pd.DataFrame(written),
        f"After {STORY!r}, greedily, at the largest dose, added at every token. Samples show "
        "what steering looks like; the tests above say whether it works.",
    )
