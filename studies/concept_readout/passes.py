"""Forward passes and generation under steering: many directions side by side in one pass."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from interp.intervene import steer
from interp.model import resid_post

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


def _passes(
    vectors: Float[np.ndarray, "n d"], rows: int
) -> Iterator[tuple[slice, Float[torch.Tensor, "rows d"]]]:
    for first in range(0, len(vectors), rows):
        part = slice(first, first + rows)
        yield part, torch.from_numpy(vectors[part]).float()


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
            ids = model.tokenizer(opening, return_tensors="pt")["input_ids"]
            words, resting = _last(model, ids, read_block, tokens)
            for d, dose in enumerate(doses):
                for part, added in _passes(dose * vectors, rows):
                    with steer(model, {resid_post(block): added}):
                        found, moved = _last(model, ids.expand(len(added), -1), read_block, tokens)
                    logprob[part, d] += (found - words) / len(OPENINGS)
                    stream[part, d] += (moved - resting) / len(OPENINGS)
                    bar.update(len(added))
    return logprob, stream


def _last(
    model: TransformerBridge,
    ids: Int[torch.Tensor, "rows token"],
    read_block: int | None,
    tokens: list[int],
) -> tuple[Float[np.ndarray, "rows concepts"], Float[np.ndarray, "rows _"]]:
    """Log-probabilities of the words after the last token, and its stream at `read_block`."""
    hook = [] if read_block is None else [resid_post(read_block)]
    with torch.no_grad():
        logits, cache = model.run_with_cache(
            ids.to(model.cfg.device), names_filter=hook, output_attentions=False, use_cache=False
        )
    words = logits[:, -1].double().log_softmax(dim=-1)[:, tokens].cpu().numpy()
    if read_block is None:
        return words, np.zeros((len(ids), 1))
    return words, cache[hook[0]][:, -1].double().cpu().numpy()


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
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"][:, :NEUTRAL_TOKENS]
        plain, cache = _loss(model, ids, [resid_post(block)])
        lengths.append(float(cache[resid_post(block)][0, 1:].float().norm(dim=-1).mean()))
        for part, added in _passes(vectors, max(1, rows // 4)):  # whole texts' logits are large
            with steer(model, {resid_post(block): added}):
                steered, _ = _loss(model, ids.expand(len(added), -1), [])
            rise[part] += (steered - plain) / len(texts)
    return rise, float(np.mean(lengths))


def _loss(
    model: TransformerBridge, ids: Int[torch.Tensor, "rows token"], hooks: list[str]
) -> tuple[Float[np.ndarray, " rows"], dict[str, torch.Tensor]]:
    ids = ids.to(model.cfg.device)
    with torch.no_grad():
        logits, cache = model.run_with_cache(
            ids, names_filter=hooks, output_attentions=False, use_cache=False
        )
    predicted, target = logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()
    each = torch.nn.functional.cross_entropy(predicted, target, reduction="none")
    each = each.reshape(len(ids), -1)
    return each.mean(dim=1).double().cpu().numpy(), {name: cache[name] for name in hooks}


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
