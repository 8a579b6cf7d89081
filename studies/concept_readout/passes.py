"""Forward passes and generation under steering: many directions side by side in one pass."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import BatchEdit, LogitReader, extract
from interp.intervene import steer
from interp.model import resid_post
from interp.positions import Aligned
from interp.store import Activations

OPENINGS = (
    "Everyone could see it was a moment of",
    "The letter was full of",
    "When the news came, the first feeling was",
    "What she felt at that moment was",
)
"""Neutral texts that a name of a feeling may follow."""

STORY = "Tom put the box on the table and looked at it."
"""What generation begins with."""

NEUTRAL_TOKENS = 48
"""Tokens of each text on which the price is measured."""

NEW_TOKENS = 24
"""Length of the sample texts."""


def _copies(
    model: TransformerBridge,
    ids: list[int],
    hooks: Sequence[str],
    logits: LogitReader,
    *,
    edit: BatchEdit | None = None,
    n: int = 1,
    rows: int = 1,
) -> Activations:
    """Activations and what is kept of the logits at every token of n copies of a text."""
    tokens = Aligned(ids, tuple(np.arange(len(ids))[:, None]))
    read = extract(
        model,
        [tokens] * n,
        hooks=hooks,
        batch_size=rows,
        edit=edit,
        logits=logits,
        progress=False,
    )
    assert isinstance(read, Activations)  # as there is no `out`
    return read


def _adding(model: TransformerBridge, block: int, vectors: Float[np.ndarray, "n d"]) -> BatchEdit:
    """Adds each copy's own vector to the stream that leaves a block."""
    added = torch.from_numpy(vectors).float()
    return lambda rows: steer(model, {resid_post(block): added[rows]})


def openings(
    model: TransformerBridge,
    block: int,
    read_block: int | None,
    vectors: Float[np.ndarray, "n d"],
    doses: Sequence[float],
    tokens: list[int],
    rows: int,
) -> tuple[Float[np.ndarray, "n doses concepts"], Float[np.ndarray, "n doses d"]]:
    """Change of the words' log-probabilities, and of the last token's stream at `read_block`, under
    every direction and dose, mean over openings."""
    logprob = np.zeros((len(vectors), len(doses), len(tokens)))
    stream = np.zeros((len(vectors), len(doses), vectors.shape[1]))
    total = len(OPENINGS) * len(doses) * len(vectors)
    with tqdm(total=total, desc=f"steering at block {block}", unit="run") as bar:
        for opening in OPENINGS:
            ids = model.tokenizer(opening)["input_ids"]
            words, resting = _last(model, ids, read_block, tokens)
            for d, dose in enumerate(doses):
                edit = _adding(model, block, dose * vectors)
                steered, moved = _last(
                    model, ids, read_block, tokens, edit=edit, n=len(vectors), rows=rows
                )
                logprob[:, d] += (steered - words) / len(OPENINGS)
                stream[:, d] += (moved - resting) / len(OPENINGS)
                bar.update(len(vectors))
    return logprob, stream


def _last(
    model: TransformerBridge,
    ids: list[int],
    read_block: int | None,
    tokens: list[int],
    **copies: Any,
) -> tuple[Float[np.ndarray, "n concepts"], Float[np.ndarray, "n _"]]:
    """Log-probabilities of the words after the last token, and its stream at `read_block`."""

    def words(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, -1].double().log_softmax(dim=-1)[:, tokens]

    hooks = [] if read_block is None else [resid_post(read_block)]
    read = _copies(model, ids, hooks, words, **copies)
    assert read.logits is not None
    if read_block is None:
        return read.logits.numpy(), np.zeros((len(read.logits), 1))
    return read.logits.numpy(), read.read(hooks[0])[:, -1].astype(np.float64)


def losses(
    model: TransformerBridge,
    block: int,
    vectors: Float[np.ndarray, "n d"],
    texts: Sequence[str],
    rows: int,
) -> tuple[Float[np.ndarray, " n"], float]:
    """Rise of the texts' loss per token under each vector, and the stream's mean length there."""
    rise, lengths = np.zeros(len(vectors)), []
    for text in tqdm(texts, desc="loss on neutral texts", unit="text"):
        ids = model.tokenizer(text)["input_ids"][:NEUTRAL_TOKENS]
        loss = partial(_loss, torch.tensor(ids))
        plain = _copies(model, ids, [resid_post(block)], loss)
        stream = torch.from_numpy(plain.read(resid_post(block)))
        lengths.append(float(stream[0, 1:].norm(dim=-1).mean()))
        steered = _copies(
            model,
            ids,
            [],
            loss,
            edit=_adding(model, block, vectors),
            n=len(vectors),
            rows=max(1, rows // 4),  # whole texts' logits are large
        )
        assert plain.logits is not None and steered.logits is not None
        rise += (steered.logits - plain.logits).numpy() / len(texts)
    return rise, float(np.mean(lengths))


def _loss(
    ids: Int[torch.Tensor, " token"], logits: Float[torch.Tensor, "rows token vocabulary"]
) -> Float[torch.Tensor, " rows"]:
    """Mean loss per token of copies of a text."""
    predicted = logits[:, :-1].float().flatten(0, 1)
    target = ids[1:].to(logits.device).repeat(len(logits))
    losses = torch.nn.functional.cross_entropy(predicted, target, reduction="none")
    return losses.reshape(len(logits), -1).mean(dim=1).double()


def generations(
    model: TransformerBridge, block: int, vectors: Float[np.ndarray, "concepts d"]
) -> list[str]:
    """Greedy continuations of the story without steering, then under each vector."""
    added = torch.from_numpy(np.concatenate([np.zeros_like(vectors[:1]), vectors])).float()
    ids = model.tokenizer(STORY, return_tensors="pt")["input_ids"].to(model.cfg.device)
    with torch.no_grad(), steer(model, {resid_post(block): added}):
        written = model.generate(
            ids.expand(len(added), -1),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            verbose=False,
            stop_at_eos=False,
            return_type="tokens",
        )
    return [
        model.tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True) for row in written
    ]


def word_tokens(
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
