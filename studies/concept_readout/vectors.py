"""Do the vectors tell texts that they were not fitted on?

1. Read the residual stream at every text's last token, after each target block, and the heads'
   mixed values there.
2. Fit a vector per concept and block. Score it on scenarios left out, at a block chosen without
   them, against labels dealt within scenarios and against a bag of the texts' words.
3. Draw the scenarios again and see how far the vectors turn.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.feature_extraction.text import TfidfVectorizer
from transformer_lens.model_bridge import TransformerBridge

from interp import study
from interp.claims import Claim, description, finding
from interp.extract import last_token
from interp.model import resid_post, z
from interp.readout import (
    Choice,
    HeldOutGrid,
    HeldOutVectors,
    Readouts,
    Stability,
    TargetBlocks,
    choose_block,
    fit,
    held_out,
    held_out_grid,
    plan_blocks,
    stability,
)
from interp.report import Figure, Section, Table
from interp.store import Store
from studies.concept_readout.corpus import Corpus

QUESTION = "Do the vectors tell texts they were not fitted on?"


@dataclass(frozen=True)
class Readings:
    """Activations at the last token of every text, in the corpus's order."""

    store: Store
    """Activations [text, 1, ...] by hook."""
    targets: TargetBlocks
    """Blocks read."""
    limit: int
    """Tokens, with those that the tokenizer adds, past which a text is cut."""
    truncated: tuple[str, ...]
    """Names of the texts that were cut to their first `limit` tokens or, where a cut at that place
    would change the tokens before it, to a few less."""

    def residual(self, block: int) -> Float[np.ndarray, "texts d"]:
        """Residual stream after a block."""
        return self.store.read(resid_post(block))[:, 0]

    def z(self, block: int) -> Float[np.ndarray, "texts heads d_head"] | None:
        """Heads' mixed values in a block, before W_O; None for a block without attention."""
        hook = z(block)
        return self.store.read(hook)[:, 0] if hook in self.store.hooks else None


@dataclass(frozen=True)
class Vectors:
    """Vectors of every concept and block, and how well they tell texts of other scenarios."""

    readings: Readings
    """Activations that they are fitted on."""
    readouts: Readouts
    """The vectors."""
    choice: Choice
    """The block, chosen on training scenarios, and what that choice is worth on others."""
    grid: HeldOutGrid
    """Leave-one-scenario-out AUROC of every block and concept, with its null."""
    surface: HeldOutVectors
    """The same test on a bag of the texts' words (TF-IDF) in place of activations."""
    stability: Stability
    """How far the vectors at the chosen block turn."""

    @property
    def block(self) -> int:
        """The block to use."""
        return self.choice.block

    @property
    def row(self) -> int:
        """Its row in the grid."""
        return self.readouts.blocks.index(self.block)

    @property
    def where(self) -> str:
        """The block to use, with its depth."""
        return f"block {self.block} ({self.readings.targets.depths[self.row]:.0f} % of the depth)"

    @property
    def survivors(self) -> Bool[np.ndarray, " concepts"]:
        """Concepts whose AUROC at that block survives correction over the whole grid."""
        return self.grid.survives()[self.row]


def read(subject: study.Subject, corpus: Corpus) -> Readings:
    """Read all texts in one pass, into a store that a later run finds again.

    A text with more than `max_length` tokens, or more than the model's context, is cut.

    Raises:
        ValueError: a block that the model does not have, or as `interp.extract.last_token` and
            `interp.extract`.
    """
    model, config = subject.model, subject.config
    attention = attention_blocks(model)
    targets = plan_blocks(config.target_layers, model.cfg.n_layers, attention)
    print(f"{subject.name}:", *targets.notices, sep="\n  ", file=sys.stderr)
    limit = min(config.max_length, model.cfg.n_ctx)
    samples = [last_token(model.tokenizer, text, limit=limit) for text in corpus.texts]
    hooks = [resid_post(block) for block in targets.blocks]
    hooks += [z(block) for block in targets.blocks if attention[block]]
    store = subject.stores.extract("concept_readout", model, samples, hooks=hooks)
    rows = zip(corpus.names, corpus.texts, samples, strict=True)
    cut = tuple(name for name, text, sample in rows if sample.text != text)
    return Readings(store, targets, limit, cut)


def attention_blocks(model: TransformerBridge) -> tuple[bool, ...]:
    """Whether each block has attention heads."""
    known = model.hook_dict
    return tuple(z(block) in known for block in range(model.cfg.n_layers))


def fit_vectors(subject: study.Subject, corpus: Corpus) -> Vectors:
    """Fit the vectors of every block, and score them on scenarios they were not fitted on."""
    config, readings = subject.config, subject.ask(read)
    blocks = {block: readings.residual(block) for block in readings.targets.blocks}
    positive, scenario = corpus.positive, corpus.scenario
    null = {"n_permutations": config.permutations, "seed": config.seed}
    words = TfidfVectorizer().fit_transform(corpus.texts).toarray()
    choice = choose_block(blocks, positive, scenario)
    rng = np.random.default_rng(config.seed)
    return Vectors(
        readings=readings,
        readouts=fit(blocks.items(), positive, corpus.concepts, minimum=config.min_positives),
        choice=choice,
        grid=held_out_grid(blocks, positive, scenario, corpus.concepts, **null),
        surface=held_out(words, positive, scenario, **null),
        stability=stability(blocks[choice.block], positive, scenario, rng=rng),
    )


def held_out_texts(subject: study.Subject, corpus: Corpus) -> study.Part:
    """Do the vectors tell texts that they were not fitted on?"""
    fitted = subject.ask(fit_vectors)
    auroc = fitted.choice.auroc
    return study.Part(
        claims=[_every_concept(fitted, corpus), _beyond_words(fitted), _stable(fitted)],
        sections=[
            Section(f"{subject.name}: held-out texts", [_auroc(fitted), _at_the_block(fitted)])
        ],
        row={
            "block to use": fitted.where,
            "mean AUROC, block chosen without the scenario": float(np.nanmean(auroc)),
            "concepts that survive there": f"{int(fitted.survivors.sum())} of {len(auroc)}",
            "mean stability there": float(np.nanmean(fitted.stability.mean)),
            "texts cut": len(fitted.readings.truncated),
        },
        words=_words(fitted, corpus),
    )


def listed(
    concepts: Sequence[str], values: Float[np.ndarray, " concepts"], form: str = ".2f"
) -> str:
    """Every concept with its value."""
    pairs = zip(concepts, values, strict=True)
    return ", ".join(f"{concept} {value:{form}}" for concept, value in pairs)


def named(concepts: Sequence[str], chosen: Bool[np.ndarray, " concepts"]) -> str:
    """The chosen concepts, or none."""
    pairs = zip(concepts, chosen, strict=True)
    return ", ".join(concept for concept, inside in pairs if inside) or "none"


def _every_concept(fitted: Vectors, corpus: Corpus) -> Claim:
    choice, test, concepts = fitted.choice, fitted.grid.test, corpus.concepts
    survivors, n = fitted.survivors, len(concepts)
    known = np.isfinite(choice.auroc)
    worst = int(np.nanargmin(choice.auroc)) if known.any() else 0
    limits = choice.interval[worst]
    p = float(test.p_family[fitted.row].max()) if known.all() else np.nan
    return finding(
        QUESTION,
        "Every concept's vector tells its texts from all others in scenarios it was not fitted on.",
        primary=True,
        estimate=choice.auroc[worst],
        unit=f"AUROC of {concepts[worst]}, the least of {n} concepts, at a block chosen without "
        "the scenario",
        interval=(limits[0], limits[1]) if np.isfinite(limits).all() else None,
        null=f"labels dealt anew within scenarios: {int(survivors.sum())} of {n} concepts survive "
        f"at {fitted.where}",
        exchange=f"text, within its scenario ({len(np.unique(corpus.scenario))})",
        selection=f"the block: p is corrected over {test.p.size} cells (max-T); all {n} concepts "
        "must hold, so the largest p counts",
        tests={"labels dealt within scenarios": (p, test.floor)},
        controls={
            "survive": named(concepts, survivors),
            "AUROC of each": listed(concepts, choice.auroc),
            "blocks chosen without a scenario": ", ".join(
                str(block) for block in sorted(set(choice.fold_blocks.values()))
            ),
            "mean AUROC": float(np.nanmean(choice.auroc)) if known.any() else np.nan,
        },
    )


def _beyond_words(fitted: Vectors) -> Claim:
    gap = fitted.choice.auroc - fitted.surface.auroc
    known = np.isfinite(gap)
    return description(
        QUESTION,
        "How much better the stream tells held-out texts than a bag of their words does.",
        estimate=float(gap[known].mean()) if known.any() else None,
        unit="of AUROC, mean over concepts",
        null="mean differences of word counts (TF-IDF), scenarios left out",
        exchange="none: concepts share all texts, and are no sample",
        controls={"bag of words": listed(fitted.readouts.concepts, fitted.surface.auroc)},
    )


def _stable(fitted: Vectors) -> Claim:
    steady, concepts = fitted.stability, fitted.readouts.concepts
    gap = steady.mean - steady.unrelated
    worst = int(np.nanargmin(gap)) if np.isfinite(gap).any() else 0
    return description(
        QUESTION,
        "How far the vectors turn when the scenarios are drawn again.",
        estimate=steady.mean[worst],
        unit=f"mean cosine of {concepts[worst]} with its resamples, the least",
        null=f"a resample shares its texts with the whole: unrelated texts give "
        f"{steady.unrelated[worst]:.2f}",
        controls={"of each": listed(concepts, steady.mean), "at": fitted.where},
    )


def _auroc(fitted: Vectors) -> Figure:
    labels = fitted.readings.targets.labels
    return Figure(
        fitted.grid.plot(row_labels=labels, surface=fitted.surface),
        "Every scenario is left out in turn, vectors are fitted on the others, and its texts are "
        "projected. A story is a scenario of its own. The null deals labels anew within scenarios. "
        "The lowest row is the same test on counts of words: what shows above it is more than the "
        "words that scenarios share.",
    )


def _at_the_block(fitted: Vectors) -> Table:
    grid, choice, steady = fitted.grid, fitted.choice, fitted.stability
    frame = pd.DataFrame(
        {
            "concept": grid.concepts,
            "AUROC": choice.auroc,
            "95 %": [f"{low:.2f}–{high:.2f}" for low, high in choice.interval],
            f"at block {fitted.block}": grid.auroc[fitted.row],
            "corrected p": grid.test.p_family[fitted.row],
            "bag of words": fitted.surface.auroc,
            "stability": steady.mean,
            "5 %": steady.low,
            "unrelated": steady.unrelated,
        }
    )
    return Table(
        frame,
        "AUROC and its interval over scenarios at a block chosen without the scenario; beside it "
        f"the AUROC at block {fitted.block}, chosen on all of them and so a little optimistic. "
        "Stability: cosine of the vector with vectors of resampled scenarios, its 5 % quantile, "
        "and what unrelated texts would give.",
    )


def _words(fitted: Vectors, corpus: Corpus) -> list[str]:
    """The block, and what was read otherwise than it stands."""
    choice, readings = fitted.choice, fitted.readings
    cut, notices = readings.truncated, (*corpus.notices, *readings.targets.notices)
    return [
        f"{corpus.describe()} ({corpus.n_baselines} of them baselines). Block to use: "
        f"{fitted.where}, where the mean held-out AUROC is {choice.curve[fitted.block]:.2f} over "
        "all scenarios; at blocks chosen without the scenario it is "
        f"{np.nanmean(choice.auroc):.2f}.",
        f"{len(cut)} texts were longer than {readings.limit} tokens and were cut"
        + (f": {', '.join(cut[:5])}." if cut else "."),
        "Notices: " + "; ".join(notices) + ".",
    ]


def method(_: Sequence[study.Subject], corpus: Corpus) -> list[str]:
    """What was done."""
    scenarios = len(np.unique(corpus.scenario))
    return [
        f"{len(corpus.texts)} texts of {len(corpus.concepts)} concepts in {scenarios} scenarios (a "
        f"story is one of its own), {corpus.n_baselines} neutral. A concept's vector at a block is "
        "the mean residual stream of its texts' last tokens less that of all others, at unit "
        "length. It is judged on scenarios it was not fitted on, at a block chosen without them; "
        "exported in four forms; and added to the running model: their words against vectors "
        "exchanged among the concepts, what later blocks make of them against vectors of dealt "
        "labels, each on its own readout."
    ]
