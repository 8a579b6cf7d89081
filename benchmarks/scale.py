"""Do time per text and memory stay level from a thousand texts to a hundred thousand?

    python benchmarks/scale.py --rounds 3 --picture docs/images/scale.png
    python benchmarks/scale.py --cost smollm2-135m-instruct-q4

1. A tiny Llama (3 blocks, d 32, random weights) reads texts of 10 to 30 words into a store, one
   position at every block, one thread. Each size runs in a process of its own, and the sizes take
   turns, so that a neighbour on a shared machine disturbs all alike.
2. Time is the CPU time of `extract`, with what it spends before the first text. Memory is the peak
   resident size of the whole process. The texts lie in a file (`interp.samplefile.SampleFile`), or,
   with `--in_memory`, in a list.
3. What counts is the ratio of the medians of the largest and the smallest size.

`--cost` measures what `docs/scale.md` reckons with on one model instead: seconds per token and
block, bytes per token and block, reading one position of a text or every token.
"""

import gc
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformer_lens.model_bridge import TransformerBridge
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.extract import extract
from interp.model import load, resid_post
from interp.positions import Sample
from interp.run import parse
from interp.samplefile import SampleFile
from interp.store import Store

TIME, MEMORY = 1.2, 1.1
"""Largest ratio allowed between the largest and the smallest number of texts."""

WORDS = ["the", "sun", "river", "we", "walk", "green", "old", "house", "day", "and", "time", "way"]
TEXTS = 64
"""Texts that `--cost` reads."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Numbers of texts."""
    rounds: int = 3
    """Rounds over all sizes."""
    batch_size: int = 64
    """Texts per forward pass."""
    picture: Path | None = None
    """Draw the result: a PNG through chromium, or an .html file."""
    in_memory: bool = False
    """Hold the texts in a list in place of a file."""
    cost: str | None = None
    """Measure the cost per token and block on this model instead."""


@dataclass(frozen=True)
class Measured:
    """One extraction in a process of its own."""

    texts: int
    """How many."""
    seconds: float
    """CPU time of `extract`."""
    before: int
    """Peak resident bytes with model and libraries, before there were texts."""
    with_texts: int
    """The same with texts and spans, or the file that holds them."""
    peak: int
    """The same in the end."""
    stored: int
    """Bytes of the store."""


def samples_of(n: int, *, shortest: int = 10, longest: int = 30) -> Iterator[Sample]:
    """Texts of so many words, a token each, with a span over the last word."""
    rng = np.random.default_rng(0)
    for length in rng.integers(shortest, longest + 1, size=n):
        text = " ".join(rng.choice(WORDS, size=length))
        yield Sample(text, {"end": (text.rindex(" ") + 1, len(text))})


def tiny_model() -> TransformerBridge:
    """A Llama of 3 blocks with random weights over the words above."""
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<eos>", **special)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")
    return load(model, tokenizer=tokenizer)


def peak() -> int:
    """Peak resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(n: int, batch_size: int, in_memory: bool) -> Measured:
    """Extract n texts in this process."""
    torch.set_num_threads(1)
    model, before = tiny_model(), peak()
    hooks = [resid_post(block) for block in range(model.cfg.n_layers)]
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as directory:
        made = samples_of(n)
        samples = list(made) if in_memory else SampleFile.write(Path(place, "texts.jsonl"), made)
        with_texts = peak()
        start = time.process_time()
        extract(
            model,
            samples,
            hooks=hooks,
            out=directory,
            batch_size=batch_size,
            progress=False,
        )
        seconds = time.process_time() - start
        stored = sum(file.stat().st_size for file in Path(directory).iterdir())
    return Measured(n, seconds, before, with_texts, peak(), stored)


def alone(function: Callable, *arguments: Any) -> Any:
    """The result of a call in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def median(runs: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return float(np.median([value(run) for run in runs]))


def report(runs: dict[int, list[Measured]]) -> None:
    """Print a row for each size, and the two ratios."""
    print(f"{'texts':>8} {'ms a text':>10} {'peak MB':>8} {'of it texts':>12} {'bytes a text':>13}")
    for n, here in runs.items():
        print(
            f"{n:>8} {1e3 * median(here, lambda r: r.seconds / r.texts):>10.3f} "
            f"{median(here, lambda r: r.peak) / 1e6:>8.0f} "
            f"{median(here, lambda r: r.with_texts - r.before) / 1e6:>12.0f} "
            f"{median(here, lambda r: r.stored / r.texts):>13.0f}"
        )
    few, many = runs[min(runs)], runs[max(runs)]
    for name, value, target in (
        ("time per text", lambda r: r.seconds / r.texts, TIME),
        ("peak memory", lambda r: r.peak, MEMORY),
    ):
        ratio = median(many, value) / median(few, value)
        verdict = "reached" if ratio <= target else "MISSED"
        print(f"{name}, {max(runs)} over {min(runs)}: {ratio:.2f} (target {target}) {verdict}")


def draw(runs: dict[int, list[Measured]], path: Path) -> None:
    """Both measures against the number of texts: a point for each round, lines through medians."""
    panels = (
        ("CPU time per text, ms", lambda r: 1e3 * r.seconds / r.texts, TIME),
        ("peak memory, MB", lambda r: r.peak / 1e6, MEMORY),
    )
    figure = make_subplots(cols=2, subplot_titles=[name for name, _, _ in panels])
    sizes = list(runs)
    for column, (_, value, allowed) in enumerate(panels, start=1):
        points = [(n, value(run)) for n in sizes for run in runs[n]]
        line = [median(runs[n], value) for n in sizes]
        x, y = zip(*points, strict=True)
        figure.add_scatter(x=x, y=y, mode="markers", marker_color="#999", col=column, row=1)
        figure.add_scatter(x=sizes, y=line, mode="lines", line_color="#1f77b4", col=column, row=1)
        figure.add_hline(
            y=allowed * line[0], line_dash="dot", col=column, row=1,  # pyright: ignore[reportArgumentType]
            annotation_text=f"{allowed} times the smallest",
        )  # fmt: skip
        figure.update_yaxes(range=[0, 1.3 * allowed * max(line)], col=column, row=1)
    ticks = {"tickvals": sizes, "ticktext": [f"{n:,}" for n in sizes]}
    figure.update_xaxes(type="log", title="texts", **ticks)
    figure.update_layout(template="plotly_white", showlegend=False)
    figure.update_layout(width=900, height=340, margin_t=40)
    save(figure, path)


def save(figure: go.Figure, path: Path) -> None:
    """An .html file as it is, a .png as chromium shows it."""
    if path.suffix == ".html":
        figure.write_html(path, include_plotlyjs=True)
        return
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise ValueError(f"{path}: a PNG needs chromium on the PATH; name an .html file instead")
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory, "figure.html")
        shown = figure.to_html(full_html=False, config={"displayModeBar": False})
        page.write_text(f"<style>body {{margin: 0}}</style>{shown}")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--window-size=900,340", "--virtual-time-budget=5000", f"--screenshot={path}",
             page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


def cost(name: str, rounds: int) -> None:
    """Seconds and bytes per token and block of one model, one position a text and all tokens."""
    torch.set_num_threads(1)
    model = load(name, device="cpu")
    samples = list(samples_of(TEXTS, shortest=20, longest=60))
    ids = model.tokenizer([sample.text for sample in samples]).input_ids
    tokens, blocks = sum(map(len, ids)), model.cfg.n_layers
    parameters = sum(p.numel() for p in model.original_model.parameters())
    print(f"{name}: {parameters / 1e6:.0f} million parameters, {blocks} blocks, {tokens} tokens")
    hooks = [resid_post(block) for block in range(blocks)]
    for label, chosen, read in (
        ("one position", samples, 1),
        ("every token", [_every_word(sample, 20) for sample in samples], 20),
    ):
        seconds, stored = [], 0
        for _ in range(rounds):
            gc.collect()
            with tempfile.TemporaryDirectory() as directory:
                start = time.process_time()
                store = extract(
                    model, chosen, hooks=hooks, out=directory, progress=False,
                )  # fmt: skip
                seconds.append(time.process_time() - start)
                assert isinstance(store, Store)
                stored = store.plan.bytes_per_sample() * len(chosen)
        each = np.median(seconds) / tokens
        print(
            f"{label}: {each * 1e3:.3f} ms a token, {each / blocks * 1e6:.1f} us a block, "
            f"{2 * parameters / each / 1e9:.1f} GFLOP/s of a core; "
            f"{stored / (read * len(chosen)) / blocks:.0f} bytes a row and block"
        )


def _every_word(sample: Sample, n: int) -> Sample:
    """The text with a span over each of its first n words."""
    spans, start = {}, 0
    for number, word in enumerate(sample.text.split()[:n]):
        spans[f"word {number}"] = (start, start + len(word))
        start += len(word) + 1
    return Sample(sample.text, spans)


def main(config: Config) -> None:
    if config.cost is not None:
        cost(config.cost, config.rounds)
        return
    runs: dict[int, list[Measured]] = {n: [] for n in sorted(config.sizes)}
    for _ in range(config.rounds):
        for n, here in runs.items():
            here.append(alone(measure, n, config.batch_size, config.in_memory))
    report(runs)
    if config.picture is not None:
        draw(runs, config.picture)


if __name__ == "__main__":
    main(parse(Config, prog="python benchmarks/scale.py", description=__doc__ or ""))
