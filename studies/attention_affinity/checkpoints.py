"""What is asked: checkpoints and directions, and the residual stream of short neutral texts.

Residuals before each block, at single tokens, show how ordinary text spreads, and give unrelated
directions and principal components. Texts stand in `texts.txt`, one a line, written for this
purpose: nothing in them is about people's roles, feelings or dates. The first token is left out: it
sees only itself, many heads park their attention there, and its norm is out of all proportion (Xiao
et al. 2023, "attention sinks").
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformers import PreTrainedTokenizerFast

from interp.directions import Directions, load_directions
from interp.extract import Stores
from interp.files import as_json
from interp.model import checkpoint_directory, load, resid_pre
from interp.positions import Sample
from interp.store import Store
from interp.study import GIGA, Needs, free_disk, free_memory
from interp.weights import ModelWeights

PER_TEXT = 16
"""Tokens read in each text, evenly spaced."""
TEXTS = tuple(Path(__file__).with_name("texts.txt").read_text(encoding="utf-8").splitlines())
"""Short neutral texts."""


@dataclass(frozen=True)
class Residuals:
    """Residuals at single tokens before every block."""

    store: Store
    """Activations [text, token, d] under blocks.l.hook_resid_pre for every block l."""

    @classmethod
    def read(cls, directory: Path, *, device: str | None, stores: Stores) -> "Residuals":
        """Run the model once over the texts, into a store that a later run finds again."""
        model = load(directory, device=device)
        hooks = [resid_pre(block) for block in range(model.cfg.n_layers)]
        texts = samples(model.tokenizer)
        return cls(stores.extract("attention_affinity", model, texts, hooks=hooks))

    @classmethod
    def open(cls, path: str | Path, *, blocks: int, width: int) -> "Residuals":
        """Residuals of a store that `interp.extract` made. Raises ValueError for one that lacks a
        block's residuals or holds vectors of another width."""
        store = Store.open(path)
        for block in range(blocks):
            shape = store.plan.hooks.get(resid_pre(block))
            if shape is None:
                raise ValueError(
                    f"{path} holds no {resid_pre(block)!r}; the null of each block needs the "
                    f"residuals before it. There are {', '.join(store.hooks)}"
                )
            if tuple(shape) != (width,):
                raise ValueError(
                    f"{path} holds {list(shape)} under {resid_pre(block)}, not [{width}]"
                )
        return cls(store)

    def rows(self, block: int) -> Float[np.ndarray, "texts tokens d"]:
        """Residuals before a block."""
        return self.store.read(resid_pre(block)).astype(np.float64)


def needed(config: Any, base: ModelWeights) -> Residuals | None:
    """Residuals for the directions or the null; None where neither asks for them."""
    if config.residuals is not None:
        return Residuals.open(config.residuals, blocks=base.blocks, width=base.width)
    if config.vectors is not None and config.null != "covariance":
        return None
    return Residuals.read(base.directory, device=config.device, stores=Stores.of(config))


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


@dataclass(frozen=True)
class Checkpoints:
    """What is asked: one model or two, by their files, and which directions, blocks and heads."""

    base: ModelWeights
    """The model, or the first of two."""
    other: ModelWeights | None
    """What it is compared with: a tuned model, noise, or nothing."""
    directions: Directions | None
    """Those of a file; None for principal components of the base model's residuals."""
    source: int
    """Block whose residuals give the components."""
    blocks: tuple[int, ...]
    """Blocks to read, rising."""
    averaged: tuple[int, ...]
    """Blocks that effects by direction are averaged over."""
    head: tuple[int, int] | None
    """Block and head of the pair heatmap; None for the one with the least p."""

    @property
    def fingerprints(self) -> dict[str, dict[str, Any] | None]:
        """What tells the models from others, by side."""
        return {
            "base": self.base.fingerprint(),
            "instruct": None if self.other is None else self.other.fingerprint(),
        }

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
        runs = config.residuals is None and (config.vectors is None or config.null == "covariance")
        rows = {}
        for model in (self.base, self.other):
            if model is None or model.noise is not None:
                continue
            size, whole = model.size, runs and model is self.base
            vectors = len(TEXTS) * PER_TEXT * model.blocks if whole else 0
            rows[model.label] = {
                "blocks": model.blocks,
                "width": model.width,
                "read": (size.bytes_total if whole else size.bytes_needed) / GIGA,
                "weights": (size.bytes_total if whole else 2 * size.bytes_needed / model.blocks)
                / GIGA,
                "held": 4 * vectors * model.width / max(1, model.blocks) / GIGA,
                "stored": 4 * vectors * model.width / GIGA,
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
            or a block or head that there is not.
    """
    base = ModelWeights.open(_directory(config, "base"), label=config.labels[0])
    other = None
    if config.perturb is not None:
        other = replace(base.with_noise(config.perturb, seed=config.seed), label=config.labels[1])
    elif config.instruct is not None:
        other = ModelWeights.open(_directory(config, "instruct"), label=config.labels[1])
        other.require_shape_of(base)
    blocks = _blocks(base, config.blocks)
    averaged = _averaged(blocks, config.averaged)
    head = _head(base, blocks, config.head)
    source = base.blocks // 2 if config.source_block is None else config.source_block
    _blocks(base, (source,))
    directions = _given_directions(config, base)
    return Checkpoints(base, other, directions, source, blocks, averaged, head)


def _directory(config: Any, side: str) -> Path:
    revision = getattr(config, f"{side}_revision")
    return checkpoint_directory(getattr(config, side), revision=revision)


def _given_directions(config: Any, base: ModelWeights) -> Directions | None:
    """The first directions of a file; None where none is named."""
    if config.vectors is None:
        return None
    directions = load_directions(config.vectors, block=config.source_block)
    directions = directions.first(config.components)
    width = directions.vectors.shape[1]
    if width != base.width:
        raise ValueError(
            f"{config.vectors} holds directions of width {width}; the residual stream of "
            f"{base.label} has {base.width}"
        )
    return directions


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
