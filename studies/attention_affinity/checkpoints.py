"""What is asked: checkpoints and directions, and the residual stream of short neutral texts.

Residuals before each block, at single tokens, show how ordinary text spreads, and give unrelated
directions and principal components. Texts stand in `texts.txt`, one a line, written for this
purpose: nothing in them is about people's roles, feelings or dates. The first token is left out: it
sees only itself, many heads park their attention there, and its norm is out of all proportion (Xiao
et al. 2023, "attention sinks").
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from interp.affinity import Distance
from interp.directions import Directions, load_directions
from interp.files import as_json
from interp.model import checkpoint_directory, load, resid_pre
from interp.positions import Sample
from interp.store import Store
from interp.study import GIGA, Needs, Subject, free_disk, free_memory
from interp.weights import ModelWeights

PER_TEXT = 16
"""Tokens read in each text, evenly spaced."""
TEXTS = tuple(Path(__file__).with_name("texts.txt").read_text(encoding="utf-8").splitlines())
"""Short neutral texts."""


@dataclass(frozen=True)
class Checkpoints:
    """What is asked: one model or two, by their files, and which directions, blocks and heads."""

    base: ModelWeights
    """The model, or the first of two."""
    other: ModelWeights | None
    """What it is compared with: a tuned model, noise, or nothing."""
    directions: Directions | None
    """Those of a file; None for principal components of the base model's residuals."""
    residuals: Store | None
    """Residuals [text, token, d] before every block, where a store of them is named."""
    source: int
    """Block whose residuals give the components."""
    blocks: tuple[int, ...]
    """Blocks to read, rising."""
    averaged: tuple[int, ...]
    """Blocks that effects by direction are averaged over."""
    head: tuple[int, int] | None
    """Block and head of the pair heatmap; None for the one with the least p."""
    distances: tuple[Distance, ...]
    """Key position less query position; several together are averaged."""

    @property
    def fingerprints(self) -> dict[str, dict[str, Any] | None]:
        """What tells the models from others, by side."""
        other = None if self.other is None else self.other.fingerprint()
        return {"base": self.base.fingerprint(), "instruct": other}

    def fingerprint(self) -> str:
        """SHA-256 of both models' fingerprints and of the directions that were given."""
        vectors = b"" if self.directions is None else self.directions.vectors.tobytes()
        return hashlib.sha256(as_json(self.fingerprints).encode() + vectors).hexdigest()

    def describe(self) -> str:
        """How many blocks and directions are asked about."""
        of = "components" if self.directions is None else f"{len(self.directions)} directions"
        return f"{of} in {len(self.blocks)} blocks"

    def needs(self, config: Any) -> Needs:
        """What a run would read, hold and store: two blocks' weights, and the whole base model
        where it reads texts."""
        rows = {}
        for model in (self.base, self.other):
            if model is None or model.noise is not None:
                continue
            size, runs = model.size, config.reads_texts and model is self.base
            by_block = 4 * len(TEXTS) * PER_TEXT * model.width * runs
            two_blocks = 2 * size.bytes_needed / model.blocks
            rows[model.label] = {
                "blocks": model.blocks,
                "width": model.width,
                "read": (size.bytes_total if runs else size.bytes_needed) / GIGA,
                "weights": (size.bytes_total if runs else two_blocks) / GIGA,
                "held": by_block / GIGA,
                "stored": by_block * model.blocks / GIGA,
            }
        table = pd.DataFrame.from_dict(rows, orient="index")
        return Needs(table, free_memory(config.device), free_disk(str(config.store)))

    @property
    def title(self) -> str:
        """The report's title; a control run says so."""
        question = "Which directions attend to which"
        if self.other is None:
            return f"{question}?"
        if self.other.noise is not None:
            return f"Control: {question.lower()}, and what does noise change?"
        return f"{question}, and what did tuning change?"


def checkpoints(config: Any) -> Checkpoints:
    """All that can be refused before long work.

    Raises:
        ValueError: a model that cannot be read, models of two shapes, directions of another width,
            a store that lacks a block's residuals, or a block or head that there is not.
    """
    base, other = _opened(config, "base", config.labels[0]), None
    if config.perturb is not None:
        other = base.with_noise(config.perturb, seed=config.seed)
    elif config.instruct is not None:
        other = _opened(config, "instruct", config.labels[1])
        other.require_shape_of(base)
    blocks = _blocks(base, config.blocks)
    source = base.blocks // 2 if config.source_block is None else config.source_block
    _blocks(base, (source,))
    average = [list(range(min(config.distances), 1))] if config.average else []
    return Checkpoints(
        base=base,
        other=other,
        directions=_given_directions(config, base),
        residuals=_given_residuals(config, base),
        source=source,
        blocks=blocks,
        averaged=_averaged(blocks, config.averaged),
        head=_head(base, blocks, config.head),
        distances=(*config.distances, *average),
    )


def needed_residuals(subject: Subject, checkpoints: Checkpoints) -> Store | None:
    """Residuals for the directions or the null, where either asks for them: those that were given,
    or those of the texts, kept in a store that a later run finds again."""
    config = subject.config
    if not config.reads_texts:
        return checkpoints.residuals
    model = load(checkpoints.base.directory, device=config.device)
    hooks = [resid_pre(block) for block in range(model.cfg.n_layers)]
    return subject.stores.extract(subject.run.study, model, samples(model.tokenizer), hooks=hooks)


def samples(tokenizer: PreTrainedTokenizerFast) -> list[Sample]:
    """Each text with `PER_TEXT` of its tokens as named spans t0, t1, ...; never the first.

    Raises ValueError for a tokenizer that splits a text into too few tokens.
    """
    encoded = tokenizer(list(TEXTS), return_offsets_mapping=True)
    spanned = []
    for text, offsets in zip(TEXTS, encoded["offset_mapping"], strict=True):
        tokens = [(start, stop) for start, stop in offsets if text[start:stop].strip()][1:]
        if len(tokens) < PER_TEXT:
            raise ValueError(
                f"the tokenizer gives {len(tokens) + 1} tokens, fewer than {PER_TEXT + 1}, "
                f"for {text[:40]!r}"
            )
        chosen = np.linspace(0, len(tokens) - 1, PER_TEXT).round().astype(int)
        spanned.append(Sample(text, {f"t{n}": tokens[at] for n, at in enumerate(chosen)}))
    return spanned


def _opened(config: Any, side: str, label: str) -> ModelWeights:
    revision = getattr(config, f"{side}_revision")
    directory = checkpoint_directory(getattr(config, side), revision=revision)
    return ModelWeights.open(directory, label=label)


def _given_directions(config: Any, base: ModelWeights) -> Directions | None:
    """The first directions of a file; None where none is named."""
    if config.vectors is None:
        return None
    directions = load_directions(config.vectors, block=config.source_block)
    width = directions.vectors.shape[1]
    if width != base.width:
        raise ValueError(
            f"{config.vectors} holds directions of width {width}; the residual stream of "
            f"{base.label} has {base.width}"
        )
    return directions.first(config.components)


def _given_residuals(config: Any, base: ModelWeights) -> Store | None:
    """A store that `interp.extract` made; None where none is named."""
    if config.residuals is None:
        return None
    store = Store.open(config.residuals)
    for block in range(base.blocks):
        shape = store.plan.hooks.get(resid_pre(block))
        if shape is None:
            raise ValueError(
                f"{config.residuals} holds no {resid_pre(block)!r}; the null of each block needs "
                f"the residuals before it. There are {', '.join(store.hooks)}"
            )
        if tuple(shape) != (base.width,):
            raise ValueError(
                f"{config.residuals} holds {list(shape)} under {resid_pre(block)}, not "
                f"[{base.width}]"
            )
    return store


def _blocks(base: ModelWeights, named: tuple[int, ...]) -> tuple[int, ...]:
    """The blocks, rising; all where none is named."""
    for block in named:
        if not 0 <= block < base.blocks:
            raise ValueError(
                f"{base.label} has no block {block}; choose from 0 to {base.blocks - 1}"
            )
    return tuple(sorted(set(named))) or tuple(range(base.blocks))


def _averaged(blocks: tuple[int, ...], named: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks that effects are averaged over; the middle third of those read by default."""
    for block in named:
        if block not in blocks:
            raise ValueError(f"block {block} is to be averaged but not read; blocks: {blocks}")
    third = len(blocks) // 3
    return tuple(sorted(set(named))) or blocks[third : len(blocks) - third]


def _head(base: ModelWeights, blocks: tuple[int, ...], named: str | None) -> tuple[int, int] | None:
    """Block and head of BLOCK.HEAD; None where none is named."""
    if named is None:
        return None
    match = re.fullmatch(r"(\d+)\.(\d+)", named)
    if match is None:
        raise ValueError(f"head = {named!r}; write it as BLOCK.HEAD, such as {blocks[0]}.0")
    block, head = int(match[1]), int(match[2])
    if block not in blocks or head >= base.heads:
        raise ValueError(
            f"there is no head {named}: blocks {blocks[0]} to {blocks[-1]} are read, each with "
            f"heads 0 to {base.heads - 1}"
        )
    return block, head
