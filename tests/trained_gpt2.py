"""A two-block GPT-2 that is trained, in seconds, to repeat a birthday at the end of a sentence.

It gives the GPT-2 family a model whose behaviour is known: to predict the date after "birthday" it
must carry the date there.
"""

from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from studies.date_manifold.data import Dates, generate

STEPS = 120


def _texts(dates: Dates) -> list[str]:
    """The study's sentences, with the date said again behind them."""
    said = []
    for sample in dates.samples:
        day, month = (sample.text[slice(*sample.spans[w])] for w in ("[day]", "[month]"))
        said.append(f"{sample.text} {day} {month}")
    return said


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    splitter = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    vocabulary = {word: i for i, word in enumerate(["<eos>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    )


@cache
def trained_gpt2() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model and its word-level tokenizer, the same on every call."""
    texts = _texts(generate(1460, seed=7))
    tokenizer = _tokenizer(texts)
    ids = torch.tensor([tokenizer(text).input_ids for text in texts])
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=128, n_layer=2, n_head=4, n_positions=64,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = ids[rng.integers(len(ids), size=64)]
        logits = model(batch[:, :-1]).logits[:, -2:]  # where day and month are said again
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def recall(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> float:
    """Share of fresh sentences whose day and month are both repeated."""
    ids = torch.tensor([tokenizer(text).input_ids for text in _texts(generate(365, seed=8))])
    with torch.no_grad():
        guess = model(ids[:, :-1]).logits[:, -2:].argmax(-1)
    return (guess == ids[:, -2:]).all(1).float().mean().item()
