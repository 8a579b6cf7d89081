"""A two-block GPT-2 that is trained, in seconds, to repeat a birthday at the end of a sentence.

It gives the GPT-2 family a model whose behaviour is known: to say the date after "birthday" it must
have the date there.
"""

from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from interp.positions import Sample, every_kth_word
from studies.date_manifold.data import DAYS_IN_MONTH, MONTHS

STEPS, BATCH = 150, 64


def birthdays(n: int, *, seed: int) -> tuple[list[Sample], np.ndarray]:
    """Sentences whose last two words repeat the date, and the day of the year of each."""
    rng = np.random.default_rng(seed)
    calendar = [(d + 1, m) for m in range(12) for d in range(DAYS_IN_MONTH[m])]
    samples, days = [], rng.permutation(np.resize(np.arange(365), n))
    for day in days:
        name = rng.choice(["Ann", "Bob", "Cy", "Dee", "Eve", "Flo"])
        sport = rng.choice(["chess", "golf", "tennis", "rugby"])
        date = f"{MONTHS[calendar[day][1]]} {calendar[day][0]}"
        text = f"{name} born {date} plays {sport} likes parties every birthday {date}"
        names = ("name", "born", "month", "day", "plays", "sport", "likes", "parties", "every")
        words = dict(zip((*names, "birthday"), every_kth_word(text).values(), strict=False))
        samples.append(Sample(text, words))
    return samples, days


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<eos>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    )


def trained_gpt2(directory: Path) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model and its word-level tokenizer, trained by the first who asks in a directory."""
    with FileLock(directory / "trained.lock"):
        if not (directory / "trained").exists():
            model, tokenizer = _trained()
            model.save_pretrained(directory / "trained")
            tokenizer.save_pretrained(directory / "trained")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory / "trained")
    return GPT2LMHeadModel.from_pretrained(directory / "trained").eval(), tokenizer


def _trained() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    texts = [sample.text for sample in birthdays(1460, seed=7)[0]]
    tokenizer = _tokenizer(texts)
    ids = torch.tensor([tokenizer(text).input_ids for text in texts])
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=128, n_layer=2, n_head=4, n_positions=16,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = ids[rng.integers(len(ids), size=BATCH)]
        logits = model(batch[:, :-1]).logits[:, -2:]  # where day and month are said again
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def recall(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> float:
    """Share of fresh sentences whose day and month are both repeated."""
    texts = [sample.text for sample in birthdays(365, seed=8)[0]]
    ids = torch.tensor([tokenizer(text).input_ids for text in texts])
    with torch.no_grad():
        guess = model(ids[:, :-1]).logits[:, -2:].argmax(-1)
    return (guess == ids[:, -2:]).all(1).float().mean().item()
